"""The endpoint: every way in which a server can fail ends in a reply, a retry that is counted, or a clear error."""

import asyncio
import json
import socket
import time
import traceback

import pytest
from fake_endpoint import Answer, FakeEndpoint, five

from dataset_builders.building.preferences.llm.endpoint import (
    Endpoint,
    EndpointError,
    EndpointSettings,
    RequestError,
    key_variable,
)
from dataset_builders.building.preferences.llm.prompts import answer_schema

MESSAGES = [{"role": "user", "content": "What do they like?"}]
SCHEMA = answer_schema("preferences")
KEY = "sk-very-secret"


def ask(server_or_url, times=1, **options):
    """Replies to `times` requests, one after the other, and the endpoint they came from."""
    url = getattr(server_or_url, "base_url", server_or_url)
    settings = EndpointSettings(url, "toy", **{"backoff": 0.001, "timeout": 5.0, "api_key": KEY, **options})

    async def work():
        async with Endpoint(settings, SCHEMA) as endpoint:
            return [await endpoint.complete(MESSAGES, seed) for seed in range(times)], endpoint

    return asyncio.run(work())


def always(**answer):
    return FakeEndpoint(lambda number, request: Answer(**answer))


def first(count, **answer):
    """Misbehaves for the first `count` requests."""
    return FakeEndpoint(lambda number, request: Answer(**answer) if number <= count else Answer())


def test_the_request_carries_the_papers_sampling_the_seed_and_the_schema():
    with FakeEndpoint() as server:
        replies, _ = ask(server, times=2)
    assert [reply.text for reply in replies] == [five(request) for request in server.requests]
    request = server.requests[1]
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.6, 0.9, 512)
    assert request["model"] == "toy" and request["messages"] == MESSAGES and request["seed"] == 1
    assert request["response_format"]["type"] == "json_schema"
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA
    assert server.keys == [f"Bearer {KEY}"] * 2


def test_a_token_of_the_hub_is_never_sent_where_no_key_was_given(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    with FakeEndpoint() as server:
        ask(server, api_key=None)
    assert "hf_private" not in str(server.keys)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_a_passing_trouble_is_asked_again(status):
    with first(2, status=status, body="busy") as server:
        replies, endpoint = ask(server)
    assert json.loads(replies[0].text)["instructions"] and endpoint.attempts == len(server.requests) == 3


def test_retry_after_is_honoured_by_every_request_in_flight():
    with first(1, status=429, body="{}", headers={"Retry-After": "1"}) as server:
        settings = EndpointSettings(server.base_url, "toy", backoff=0.001)

        async def work():
            async with Endpoint(settings, SCHEMA) as endpoint:
                start = time.monotonic()
                limited = asyncio.create_task(endpoint.complete(MESSAGES, 0))
                while not endpoint._resume_at:
                    await asyncio.sleep(0.01)
                await endpoint.complete(MESSAGES, 1)
                waited = time.monotonic() - start
                await limited
                return waited

        assert asyncio.run(work()) > 0.9
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "--api_key_env"), (402, "credit"), (403, "rights"), (404, "--model")],
)
def test_what_asking_again_cannot_mend_stops_at_once_and_never_shows_the_key(status, words):
    with always(status=status, body=f"wrong key {KEY}") as server, pytest.raises(EndpointError, match=words) as error:
        ask(server)
    assert len(server.requests) == 1
    assert KEY not in "".join(traceback.format_exception(error.value))
    assert KEY not in repr(EndpointSettings("http://x/v1", "m", KEY))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"body": "<html><body>Sign in</body></html>", "headers": {"Content-Type": "text/html"}},
            "no chat completion",
        ),
        ({"body": ""}, "no chat completion"),
        ({"body": "[]"}, "no chat completion"),
        ({"body": "3"}, "no chat completion"),
        ({"body": "{}"}, "no chat completion"),
        ({"body": '{"choices": []}'}, "no chat completion"),
        ({"body": '{"choices": [{"index": 0}]}'}, "no chat completion"),
        ({"body": '{"choices": [{"message": {"content": ["a"]}}]}'}, "no chat completion"),
        ({"body": '{"error": "overloaded"}'}, "no chat completion"),
        ({"status": 307, "body": "moved", "headers": {"Location": "http://127.0.0.1:9/"}}, "no chat completion"),
        ({"dropped": True}, "connection failed"),
        ({"seconds": 1.0}, "no reply within 0.2 s"),
        ({"status": 500, "body": "out of memory"}, "status 500, 'out of memory'"),
    ],
)
def test_a_lasting_trouble_is_named_after_a_bounded_number_of_attempts(answer, words):
    timeout = 0.2 if "seconds" in answer else 20.0  # a busy machine must not turn another trouble into a late reply
    with always(**answer) as server, pytest.raises(RequestError, match=words) as error:
        ask(server, max_retries=2, timeout=timeout)
    assert len(server.requests) == 3 and "after 3 attempts" in str(error.value)


def test_a_server_that_sends_a_byte_now_and_then_is_slow_too():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):
            writer.write(b" ")
            await asyncio.sleep(0.05)
        writer.close()

    async def work():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with Endpoint(EndpointSettings(url, "toy", timeout=0.5, max_retries=0), SCHEMA) as endpoint:
            with pytest.raises(RequestError, match=r"no reply within 0\.5 s"):
                await endpoint.complete(MESSAGES, 0)
        server.close()

    asyncio.run(work())


def test_an_endpoint_that_is_down_is_named_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EndpointError, match="connection failed") as error:
        ask(f"http://me:secret@127.0.0.1:{port}/v1", max_retries=1, max_failures=1)
    assert f"http://127.0.0.1:{port}/v1" in str(error.value) and "secret" not in str(error.value)


def test_five_hundred_errors_in_a_row_end_in_one_clear_error():
    async def work(server):
        settings = EndpointSettings(server.base_url, "toy", backoff=0.0, max_retries=9, max_failures=50)
        async with Endpoint(settings, SCHEMA) as endpoint:
            errors = []
            for _ in range(50):
                try:
                    await endpoint.complete(MESSAGES, 0)
                except (RequestError, EndpointError) as error:
                    errors.append(error)
            return errors

    with always(status=500, body="broken") as server:
        errors = asyncio.run(work(server))
    assert len(server.requests) == 500
    assert [type(error) for error in errors] == [RequestError] * 49 + [EndpointError]
    assert "50 requests in a row" in str(errors[-1]) and "kept" in str(errors[-1])


def test_a_reply_in_between_starts_the_count_of_failures_anew():
    with FakeEndpoint(lambda n, request: Answer() if n % 3 == 0 else Answer(status=500, body="x")) as server:

        async def work():
            settings = EndpointSettings(server.base_url, "toy", backoff=0.0, max_retries=0, max_failures=3)
            async with Endpoint(settings, SCHEMA) as endpoint:
                failures = 0
                for _ in range(12):
                    try:
                        await endpoint.complete(MESSAGES, 0)
                    except RequestError:
                        failures += 1
                return failures

        assert asyncio.run(work()) == 8


def kind_of(request):
    response_format = request.get("response_format", {"type": "none"})
    return "json_value" if response_format.get("value") == SCHEMA else response_format["type"]


def kinds(server):
    return [kind_of(request) for request in server.requests]


def refuses(*kinds, status=400):
    def behave(number, request):
        kind = kind_of(request)
        return Answer(status=status, body=f"response_format {kind} is unknown") if kind in kinds else Answer()

    return FakeEndpoint(behave)


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_server_without_schemas_is_asked_for_less_and_less_once_per_run(status, caplog):
    with refuses("json_schema", "json_value", "json_object", status=status) as server:
        replies, endpoint = ask(server, times=3)
    assert kinds(server) == ["json_schema", "json_value", "json_object", "none", "none", "none"]
    assert endpoint.schema_mode == "none" and {reply.schema_mode for reply in replies} == {"none"}
    assert len(caplog.records) == 3

    with refuses("json_schema", status=status) as server:
        replies, endpoint = ask(server, times=2)
    assert kinds(server) == ["json_schema", "json_value", "json_value"]
    assert {reply.schema_mode for reply in replies} == {"json_value"}


def test_requests_in_flight_together_loosen_the_schema_once(caplog):
    with refuses("json_schema") as server:

        async def work():
            async with Endpoint(EndpointSettings(server.base_url, "toy"), SCHEMA) as endpoint:
                await asyncio.gather(*(endpoint.complete(MESSAGES, seed) for seed in range(8)))
                return endpoint.schema_mode

        assert asyncio.run(work()) == "json_value"
    assert len(caplog.records) == 1


def test_a_refusal_that_is_not_about_the_schema_fails_this_request_alone():
    body = "maximum context length exceeded"
    with always(status=400, body=body) as server, pytest.raises(RequestError, match="context length"):
        ask(server)
    assert kinds(server) == ["json_schema"]


def test_a_message_without_content_is_an_empty_reply():
    with always(body='{"choices": [{"message": {"role": "assistant", "content": null}}]}') as server:
        replies, _ = ask(server)
    assert replies[0].text == ""


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:8000"},
        {"model": ""},
        {"timeout": 0},
        {"max_retries": -1},
        {"max_tokens": 0},
        {"top_p": 0.0},
        {"temperature": -1.0},
        {"schema_mode": "xml"},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        EndpointSettings(**{"base_url": "http://x/v1", "model": "m", **options})


def test_a_key_variable_that_was_asked_for_must_be_set():
    with pytest.raises(ValueError, match="MY_KEY is not set"):
        key_variable("http://x/v1", {"OPENAI_API_KEY": "x"}, "MY_KEY")
    assert key_variable("http://x/v1", {"MY_KEY": "x"}, "MY_KEY") == "MY_KEY"
    assert key_variable("https://huggingface.co.evil.example/v1", {"HF_TOKEN": "x"}) is None
    assert key_variable("https://abc.us-east-1.aws.endpoints.huggingface.cloud/v1", {"HF_TOKEN": "x"}) == "HF_TOKEN"
