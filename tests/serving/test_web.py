"""The pages in this process: answers, refusals in JSON, limits, several models, an exchange, metrics, the schema."""

import asyncio
import re

import pytest
from serving_world import ADMIN, CALL, REFUSED_CASES, TOKEN, make_model, settings_of

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from fastapi.testclient import TestClient  # noqa: E402

from modeling_mender.hub.handler import EndpointHandler  # noqa: E402
from modeling_mender.recommendation_request import CALL_OPTIONS, REQUEST_FIELDS  # noqa: E402
from modeling_mender.serving.answers import Answer, ServiceError  # noqa: E402
from modeling_mender.serving.call_schema import OPTION_PROPERTIES, REQUEST_PROPERTIES  # noqa: E402
from modeling_mender.serving.web import make_app  # noqa: E402


@pytest.fixture(scope="module")
def model(folder):
    return make_model(folder)


@pytest.fixture(scope="module")
def client(model):
    return TestClient(make_app({"shop": model, "twin": model}, settings_of("shop", "twin"), TOKEN))


def client_of(model, **changes):
    return TestClient(make_app({"shop": model}, settings_of("shop", **changes), TOKEN))


def test_a_call_gets_what_the_handler_of_an_endpoint_gives(client, folder):
    handler = EndpointHandler(str(folder))
    for body in (CALL, {"inputs": ["search for tea", {"history": [3]}]}, {"inputs": "red lamp"}):
        answer = client.post("/recommend", json=body)
        expected = handler(body)
        assert answer.status_code == 200
        several = isinstance(body["inputs"], list)
        for found, one in zip(answer.json(), expected, strict=True) if several else [(answer.json(), expected)]:
            assert [item["item_id"] for item in found] == [item["item_id"] for item in one]
            assert [item["score"] for item in found] == pytest.approx([item["score"] for item in one], abs=1e-4)


def test_the_example_of_the_schema_works_for_every_model(client):
    schema = client.get("/openapi.json").json()
    example = schema["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]["example"]
    for name in ("shop", "twin"):
        answer = client.post("/recommend", params={"model": name}, json=example)
        assert answer.status_code == 200 and len(answer.json()) == example["parameters"]["k"]
        assert answer.headers["mender-model"] == name
    assert "/openapi.json" in client.get("/docs").text


def test_the_schema_names_the_fields_of_the_request_model_and_no_others():
    assert tuple(REQUEST_PROPERTIES) == REQUEST_FIELDS
    assert tuple(OPTION_PROPERTIES) == CALL_OPTIONS


@pytest.mark.parametrize(("body", "status", "words"), REFUSED_CASES)
def test_a_bad_body_is_refused_in_json_and_the_service_stays_up(client, body, status, words):
    answer = client.post("/recommend", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert words in answer.json()["error"]
    assert client.post("/recommend", json=CALL).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"null", 'the call is null; give an object, as in {"inputs": '),
        (b'{"inputs": [null]}', "request 0 is an object with history, "),
        (b'{"inputs": {"preference": true}}', "preference is true; give words"),
        (b'{"inputs": {"preference": [null, "tea"]}}', "preference contains null, which is no text"),
        (b'{"inputs": {"history": ["1", 2]}}', 'history contains "1", which is no item'),
        (b'{"inputs": {"history": [2], "item_log_weights": {"3": null}}}', "is null, .*or name the item in exclude"),
        (b'{"inputs": {"history": [2]}, "parameters": {"k": null, "num_beams": "4"}}', "without quotes"),
        (b'{"inputs": {"history": [2]}, "parameters": {"k": 1.5}}', r"k \(1.5\) must be a whole number from 1.$"),
        (b'{"inputs": {"history": [' + b"9" * 5000 + b"]}}", "a whole number has more than 4,300 digits"),
    ],
)
def test_an_error_speaks_json_to_those_who_sent_it(client, body, words):
    error = client.post("/recommend", content=body).json()["error"]
    assert re.search(words, error)
    assert not re.search("None|True|False|dict|limits=|sys[.]|-inf", error)


def test_the_list_of_pages_loads_nothing_from_elsewhere(client):
    page = client.get("/docs").text
    assert not re.search("src=|//", page.replace("<!doctype", ""))
    assert all(f"<code>{name}</code></h2>" in page for name in ("POST /recommend", "GET /items", "GET /metrics"))


def test_unknown_models_pages_and_methods_are_named(client):
    for answer, status, words in (
        (client.post("/recommend?model=nope", json=CALL), 404, "there are shop, twin"),
        (client.get("/items?search=tea&model=nope"), 404, '"nope"'),
        (client.get("/wish"), 404, 'no page "/wish"'),
        (client.get("/recommend"), 405, "no method GET"),
    ):
        assert answer.status_code == status and words in answer.json()["error"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("/recommend?modle=twin", '"modle": no such query parameter of "/recommend"; it takes model.'),
        ("/recommend?model=shop&model=twin", "model is given 2 times"),
        ("/items?search=tea&limt=1", '"limt": no such query parameter of "/items"; it takes search, limit, model.'),
        ("/items?search=tea&limit=1&limit=2", "limit is given 2 times"),
        ("/models/shop?model=other", "it takes none"),
        ("/items?search=%ff", "the query of the URL is no text in UTF-8"),
        ("/recommend?model=%C3", "the query of the URL is no text in UTF-8"),
    ],
)
def test_a_misspelled_or_doubled_query_parameter_is_refused(client, page, words):
    answer = client.get(page) if page.startswith("/items") else client.post(page, json=CALL, headers=ADMIN)
    assert answer.status_code == 422 and words in answer.json()["error"]


def test_a_search_lists_items_by_words_of_titles(client):
    found = client.get("/items", params={"search": "SOAP", "limit": 2}).json()
    assert found["total"] == 3
    assert found["items"] == [{"item_id": 1, "title": "red soap"}, {"item_id": 5, "title": "green soap"}]
    assert client.get("/items?search=sofa").json()["items"] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "search is missing; give words"),
        ("search=", 'search is ""; give words'),
        ("search=%20", 'search is " "; give words'),
        ("search=tea&limit=0", "limit (0) must be a whole number from 1."),
        ("search=tea&limit=x", 'limit ("x") must be a whole number from 1.'),
        ("search=tea&limit=9999999999", "the limit is 1,000; give fewer, or raise it: the environment variable"),
        (f"search=tea&limit={'9' * 40}", "must be a whole number from 1."),
    ],
)
def test_a_bad_search_is_refused(client, query, words):
    answer = client.get(f"/items?{query}")
    assert answer.status_code == 422 and words in answer.json()["error"]
    assert client.get("/items", params={"search": "a" * 2001}).status_code == 422


def test_a_large_body_is_refused_before_it_is_read_to_its_end(model):
    client, sent = client_of(model, max_body_bytes=1000), []

    def parts():
        for number in range(1000):
            sent.append(number)
            yield b" " * 100

    assert client.post("/recommend", content=b" " * 1001).status_code == 413
    assert client.post("/recommend", content=parts()).status_code == 413

    async def read():
        """The application itself: how many parts it asks for."""
        received, messages = 0, []

        async def receive():
            nonlocal received
            received += 1
            return {"type": "http.request", "body": b" " * 100, "more_body": True}

        async def send(message):
            messages.append(message)

        scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b"", "headers": []}
        await client.app({**scope, "http_version": "1.1", "scheme": "http"}, receive, send)
        return received, messages[0]["status"]

    assert asyncio.run(read()) == (11, 413)


class Stubborn:
    """A model that answers when it is told to, or with an error."""

    def __init__(self, error=None):
        self.error, self.released, self.asked = error, asyncio.Event(), 0

    async def recommend(self, content):
        self.asked += 1
        if self.error is not None:
            raise self.error
        await self.released.wait()
        return Answer(b"[]", version=1, batch_size=1)

    async def describe(self):
        raise ServiceError(504, "no answer")


def test_calls_beyond_those_that_may_wait_are_refused_with_a_time_to_come_back():
    import httpx

    async def ask():
        model = Stubborn()
        settings = settings_of("shop", batch_size=1, max_waiting=1)  # 2 are held by a replica, 1 waits
        app = make_app({"shop": model}, settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            tasks = [asyncio.create_task(client.post("/recommend", json=CALL)) for _ in range(5)]
            while sum(task.done() for task in tasks) < 2:
                await asyncio.sleep(0.001)
            model.released.set()
            answers = await asyncio.gather(*tasks)
            return model.asked, answers, await client.post("/recommend", json=CALL)

    asked, answers, later = asyncio.run(ask())
    assert asked == 3 and later.status_code == 200
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1" and "try again" in refused.json()["error"]


def test_a_failure_of_the_code_is_an_answer_in_json_and_counted():
    client = client_of(Stubborn(RuntimeError("secret detail")))
    answer = client.post("/recommend", json=CALL)
    assert answer.status_code == 500 and "RuntimeError" in answer.json()["error"] and "secret" not in answer.text
    assert 'mender_calls_total{model="shop",page="/recommend",status="500"} 1.0' in client.get("/metrics").text


def test_health_is_bad_until_a_model_has_answered(client):
    good = client.get("/health")
    assert good.status_code == 200 and good.json()["models"]["shop"]["state"] == "ready"
    bad = client_of(Stubborn()).get("/health")
    assert bad.status_code == 503 and bad.json()["models"]["shop"]["state"] == "unavailable"


def test_metrics_count_calls_by_page_model_and_status_without_labels_from_outside(model):
    client = client_of(model)
    client.post("/recommend", json=CALL)
    client.post("/recommend", content=b"{")
    client.post("/recommend?model=invented", json=CALL)
    client.get("/invented")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'mender_calls_total{model="shop",page="/recommend",status="200"} 1.0' in lines
    assert 'mender_calls_total{model="shop",page="/recommend",status="400"} 1.0' in lines
    assert 'mender_batch_size_count{model="shop"} 1.0' in lines
    assert "invented" not in answer.text


def test_an_exchange_asks_for_the_token_and_checks_the_model_first(folder, other_folder, tmp_path):
    model = make_model(folder)
    client = client_of(model)
    new = {"model": str(other_folder)}
    assert TestClient(make_app({"shop": model}, settings_of("shop"))).post("/models/shop", json=new).status_code == 403
    for headers in (
        {},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer no"},
        {"Authorization": "Bearer \xe9".encode()},
    ):
        assert client.post("/models/shop", json=new, headers=headers).status_code == 401
    for name, body, status in (
        ("nope", new, 404),
        ("shop", {"model": str(tmp_path)}, 422),
        ("shop", {"model": 3}, 422),
        ("shop", [], 422),
    ):
        assert client.post(f"/models/{name}", json=body, headers=ADMIN).status_code == status
    large = client.post("/models/shop", json={"model": "a" * 10_000}, headers=ADMIN)
    assert large.status_code == 413 and large.json()["error"].endswith('send {"model": "outputs/new/model"}.')
    before = client.post("/recommend", json=CALL)
    answer = client.post("/models/shop", json=new, headers=ADMIN)
    after = client.post("/recommend", json=CALL)
    assert answer.json() == {"name": "shop", "version": 2, "model_type": "mender_steer", "num_items": 12}
    assert (before.headers["mender-version"], after.headers["mender-version"]) == ("1", "2")
    assert before.json() != after.json()
