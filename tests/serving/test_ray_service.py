"""The service on Ray Serve, started by the command: the same answers, an exchange and a death under load, its end."""

import contextlib
import threading
import time

import psutil
import pytest
from serving_world import ADMIN, CALL, make_model, settings_of

pytest.importorskip("ray.serve", reason="the extra serve is not installed")
import httpx  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from service_process import ask_until, service  # noqa: E402

from modeling_mender.serving.web import make_app  # noqa: E402

NUM_CLIENTS = 4


@pytest.fixture(scope="module")
def served(project, folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log.txt"
    with service(folder, log, project, "--max_body_bytes", "1000000") as running:
        yield running


@pytest.fixture(scope="module")
def client(served):
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client


@contextlib.contextmanager
def load(url):
    """Clients that ask all the time; gives the list of their answers."""
    stop, answers = threading.Event(), []
    clients = [threading.Thread(target=ask_until, args=(url, CALL, stop, answers)) for _ in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield answers
    finally:
        stop.set()
        for client in clients:
            client.join(60)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def replicas_answer_as_the_model_in_this_process_does(client, folder):
    pages = TestClient(make_app({"default": make_model(folder)}, settings_of("default")))
    for method, path, body in (
        ("POST", "/recommend", CALL),
        ("POST", "/recommend", {"inputs": [CALL["inputs"], "search for tea"], "parameters": {"k": 2}}),
        ("POST", "/recommend", {"inputs": [3]}),
        ("GET", "/items?search=tea", None),
        ("GET", "/health", None),
        ("GET", "/nope", None),
    ):
        answer, expected = client.request(method, path, json=body), pages.request(method, path, json=body)
        assert answer.status_code == expected.status_code
        assert rounded(answer.json()) == rounded(expected.json())


def rounded(value):
    """JSON whose numbers have three decimals."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def a_body_of_100_mb_is_refused_and_the_service_stays_up(client):
    answer = client.post("/recommend", content=b" " * 100_000_000)
    assert answer.status_code == 413 and "1,000,000 bytes" in answer.json()["error"]
    assert client.post("/recommend", json=CALL).status_code == 200


def a_model_is_exchanged_under_load_and_every_call_is_answered(served, client, other_folder):
    with load(served.url) as answers:
        wait_for(lambda: len(answers) > 20)
        swapped = client.post("/models/default", json={"model": str(other_folder)}, headers=ADMIN)
        before = len(answers)
        wait_for(lambda: len(answers) > before + 20)
    assert swapped.json()["version"] == 2
    assert {answer.status_code for answer in answers} == {200}
    versions = [answer.headers["mender-version"] for answer in answers]
    assert set(versions) == {"1", "2"} and set(versions[-10:]) == {"2"}


def when_the_only_replica_is_killed_calls_wait_for_the_new_one_which_has_the_model_of_the_exchange(served):
    (replica,) = served.replicas()
    with load(served.url) as answers:
        wait_for(lambda: len(answers) > 20)
        replica.kill()
        killed = len(answers)
        wait_for(lambda: len(answers) > killed + 20, 60)
    assert {answer.status_code for answer in answers} <= {200, 503, 504}
    assert all(answer.json()["error"] for answer in answers if answer.status_code != 200)
    assert [answer.headers.get("mender-version") for answer in answers[-10:]] == ["2"] * 10
    assert [one.pid for one in served.replicas()] != [replica.pid]


def the_ports_of_ray_itself_ask_for_a_token_of_this_run(served):
    children = psutil.Process(served.process.pid).children()
    (store,) = (child for child in children if "gcs_server" in " ".join(child.cmdline()))
    assert store.environ()["RAY_AUTH_MODE"] == "token" and len(store.environ()["RAY_AUTH_TOKEN"]) == 64


def ctrl_c_ends_all_of_it_quietly(served):
    processes = psutil.Process(served.process.pid).children(recursive=True)
    status, printed = served.end()
    assert status == 0 and "ending, after the calls in progress" in printed
    assert "Traceback" not in printed
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_the_service_on_ray(served, client, folder, other_folder):
    """One test, as its service takes long to start and each step begins where the one before has ended."""
    replicas_answer_as_the_model_in_this_process_does(client, folder)
    a_body_of_100_mb_is_refused_and_the_service_stays_up(client)
    a_model_is_exchanged_under_load_and_every_call_is_answered(served, client, other_folder)
    when_the_only_replica_is_killed_calls_wait_for_the_new_one_which_has_the_model_of_the_exchange(served)
    the_ports_of_ray_itself_ask_for_a_token_of_this_run(served)
    ctrl_c_ends_all_of_it_quietly(served)
