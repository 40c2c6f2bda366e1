"""The endpoint: every way in which a server can fail ends in a reply, a retry that is counted, or a clear error."""

import asyncio
import base64
import gzip
import json
import logging
import math
import socket
import subprocess
import sys
import time
import traceback
import tracemalloc

import pytest
from fake_endpoint import Answer, FakeEndpoint, five

from dataset_builders.building.preferences.llm import endpoint as endpoint_module
from dataset_builders.building.preferences.llm.endpoint import Endpoint, EndpointError, RequestError
from dataset_builders.building.preferences.llm.endpoint_settings import EndpointSettings, key_variable
from dataset_builders.building.preferences.llm.prompts import answer_schema
from dataset_builders.building.remote_file import retry_after

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
        ({"status": 307, "body": "moved", "headers": {"Location": "http://127.0.0.1:9/"}}, "moved to http"),
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


def test_a_request_that_is_not_asked_again_does_not_say_so(caplog):
    for max_retries, words in ((0, "after 1 attempt"), (1, "after 2 attempts")):
        with always(status=500, body="broken") as server, pytest.raises(RequestError) as error:
            ask(server, max_retries=max_retries)
        assert str(error.value).endswith(words)
        assert len([message for message in caplog.messages if "asking again" in message]) == max_retries


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


TOO_LONG = [
    (400, "max_tokens is too large: 99999. This model supports at most 16384 completion tokens"),
    (400, "max_completion_tokens is too large: 99999. This model supports at most 16384 completion tokens"),
    (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"),
    (400, "the request exceeds the available context size, try increasing it"),
    (422, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 512 `max_new_tokens`"),
    (422, "max_tokens: Input should be less than or equal to 8192"),
    (413, "Request Entity Too Large"),
    (500, "context length exceeded"),
]


@pytest.mark.parametrize(("status", "body"), TOO_LONG, ids=range(len(TOO_LONG)))
def test_a_request_that_is_too_long_is_asked_once_with_advice_to_lower_max_tokens(status, body):
    advice = r"\(--max_tokens below 512, --max_items or --max_review_characters makes the request shorter"
    with always(status=status, body=body) as server, pytest.raises(RequestError, match=advice):
        ask(server)
    assert kinds(server) == ["json_schema"]


def test_a_message_without_content_is_an_empty_reply():
    with always(body='{"choices": [{"message": {"role": "assistant", "content": null}}]}') as server:
        replies, _ = ask(server)
    assert replies[0].text == ""


def sent_to(base_url, **options):
    """Path, query and headers of the one request that an endpoint gets."""
    seen = []

    async def serve(reader, writer):
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def work():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = base_url.format(port=server.sockets[0].getsockname()[1])
        async with Endpoint(EndpointSettings(url, "toy", **options), SCHEMA) as endpoint:
            with pytest.raises(EndpointError):
                await endpoint.complete(MESSAGES, 0)
        server.close()

    asyncio.run(work())
    [request] = seen
    first, *headers = request.splitlines()
    return first.split()[1], {name.lower(): value for name, _, value in (line.partition(": ") for line in headers)}


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("http://127.0.0.1:{port}", "/chat/completions"),
        ("http://127.0.0.1:{port}/v1", "/v1/chat/completions"),
        ("http://127.0.0.1:{port}/v1/", "/v1/chat/completions"),
        ("http://127.0.0.1:{port}/v1beta/openai", "/v1beta/openai/chat/completions"),
        ("http://127.0.0.1:{port}/api/v1/chat/completions", "/api/v1/chat/completions"),
        ("http://127.0.0.1:{port}/openai/m%20x?api-version=2", "/openai/m%20x/chat/completions?api-version=2"),
    ],
)
def test_the_base_url_is_taken_as_it_is_given(base_url, path):
    assert sent_to(base_url)[0] == path


def test_nothing_of_the_environment_reaches_the_server(monkeypatch):
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    _, headers = sent_to("http://127.0.0.1:{port}/v1")
    assert "private" not in str(headers) and headers["authorization"] == "Bearer none"


@pytest.mark.parametrize("names", [("seed",), ("top_p", "temperature"), ("max_tokens",)])
def test_parameters_that_a_server_refuses_can_be_left_out(names):
    everything = {"seed", "top_p", "temperature", "max_tokens"}
    with FakeEndpoint() as server:
        ask(server, omit=names)
        ask(server, omit=names, max_tokens_name="max_completion_tokens")
    first, second = server.requests
    assert everything & first.keys() == everything - set(names)
    assert ("max_completion_tokens" in second) == ("max_tokens" not in names) and "max_tokens" not in second


def test_the_limit_of_new_tokens_goes_by_the_name_that_the_server_asks_for(caplog):
    refusal = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    body = json.dumps({"error": {"message": refusal}})

    def behave(number, request):
        return Answer(status=400, body=body) if "max_tokens" in request else Answer()

    with FakeEndpoint(behave) as server:
        ask(server, times=2)
    assert ["max_completion_tokens" in request for request in server.requests] == [False, True, True]
    assert server.requests[-1]["max_completion_tokens"] == 512 and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("Unsupported parameter: 'seed'", "(--omit seed leaves it out)"),
        ("temperature and top_p cannot both be set", "(--omit temperature or --omit top_p leaves it out)"),
        ('{"detail": [{"loc": ["body", "top_p"], "msg": "Extra inputs are not permitted"}]}', "--omit top_p"),
        ("I do not like this", "(if it means the schema of the reply: --no_schema)"),
    ],
)
def test_a_refusal_names_the_option_that_may_mend_it(said, options):
    with always(status=400, body=said) as server, pytest.raises(RequestError) as error:
        ask(server)
    assert options in str(error.value) and error.value.kind == "status 400" and len(server.requests) == 1
    with always(status=400, body=said) as server, pytest.raises(EndpointError, match="Leave out what it refuses"):
        ask(server, max_failures=1)


def test_a_refused_name_of_the_limit_of_new_tokens_is_answered_with_the_other_one():
    said = "Unrecognized request argument supplied: max_completion_tokens"
    with (
        always(status=400, body=said) as server,
        pytest.raises(RequestError, match="--max_tokens_name max_tokens gives"),
    ):
        ask(server, max_tokens_name="max_completion_tokens")


@pytest.mark.parametrize(
    "said",
    [
        "This model does not support structured outputs.",
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "JSON mode is not available",
        "Constrained decoding is disabled",
        "guided_json failed",
    ],
)
def test_a_refused_schema_is_known_by_any_of_its_names(said):
    def behave(number, request):
        return Answer(status=400, body=said) if "response_format" in request else Answer()

    with FakeEndpoint(behave) as server:
        replies, _ = ask(server)
    assert kinds(server)[-1] == "none" and replies[0].schema_mode == "none"


def test_the_servers_words_are_shown_without_what_surrounds_them():
    body = json.dumps({"error": {"message": f"The model {KEY} is\n overloaded", "type": "x"}})
    with always(status=503, body=body) as server, pytest.raises(RequestError) as error:
        ask(server, max_retries=0)
    assert str(error.value) == "status 503, 'The model *** is overloaded', after 1 attempt"


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_not_read_to_its_end(status):
    sent = []

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(1000):
                writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent.append(65536)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def work():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        settings = EndpointSettings(url, "toy", max_retries=0, max_reply_bytes=100_000)
        async with Endpoint(settings, SCHEMA) as endpoint:
            with pytest.raises(RequestError, match="longer than 100,000 bytes" if status == 200 else "status 500"):
                await endpoint.complete(MESSAGES, 0)
        server.close()

    asyncio.run(work())
    assert sum(sent) < 20e6  # 65 MB if it were read


BOMB = gzip.compress(b" " * 100_000_000, 6, mtime=0)
PACKED = gzip.compress(json.dumps({"choices": [{"message": {"content": "[1]"}}]}).encode(), mtime=0)


def test_a_packed_answer_is_read_though_it_was_not_asked_for():
    with always(body=PACKED, headers={"Content-Encoding": "gzip"}) as server:
        replies, _ = ask(server)
    assert replies[0].text == "[1]"


@pytest.mark.parametrize(
    ("body", "packing", "words"),
    [
        (BOMB, "gzip", "longer than 100,000 bytes"),
        (BOMB, "deflate", "cannot be unpacked"),
        (PACKED[:20], "gzip", "no chat completion but no JSON"),
        (b"no gzip", "gzip", "cannot be unpacked"),
        (PACKED, "br", "packed as 'br', which was not asked for"),
        (PACKED, "gzip, gzip", "packed as 'gzip, gzip'"),
    ],
)
def test_a_packed_answer_is_unpacked_up_to_the_limit(body, packing, words):
    tracemalloc.start()
    with always(body=body, headers={"Content-Encoding": packing}) as server, pytest.raises(RequestError, match=words):
        ask(server, max_retries=0, max_reply_bytes=100_000)
    assert tracemalloc.get_traced_memory()[1] < 20e6  # 100 MB were it unpacked whole
    tracemalloc.stop()


@pytest.mark.parametrize("packing", ["gzip", "br", "zstd"])
def test_a_packed_error_is_unpacked_up_to_its_limit(packing):
    tracemalloc.start()
    with (
        always(status=400, body=BOMB, headers={"Content-Encoding": packing}) as server,
        pytest.raises(RequestError, match="status 400" if packing == "gzip" else f"packed as '{packing}'"),
    ):
        ask(server, max_retries=0)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"choices": [{"message": {"content": "[1]"}}], "usage": {"tokens": ' + "9" * 5000 + "}}", None),
        ('{"choices": [{"message": {"content": "[1]"}}], "usage": [1, "a"]}', None),
        ('{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}", "no chat completion"),
        ('{"error": {"message": "half \\ud83d and \\u001b[31mred"}}', r"half \\ud83d and \\x1b\[31mred"),
        (b"\xff\xfe\x00", "the answer is not in utf-8"),
    ],
)
def test_a_strange_answer_is_read_or_named(body, words):
    with always(body=body, headers={"Content-Type": "application/json; charset=base64"}) as server:
        if words is None:
            assert ask(server)[0][0].text == "[1]"
        else:
            with pytest.raises(RequestError, match=words):
                ask(server, max_retries=0)
            server.behave = lambda number, request: Answer(status=400, body=body)
            with pytest.raises(RequestError, match="status 400"):
                ask(server, max_retries=0)


@pytest.mark.parametrize(
    "value",
    ["", "nan", "inf", "-5", "1e999", "\u0663", "9" * 400, "soon", "0", "Wed, 21 Oct 2015 07:28:00 GMT", "\xb2"],
)
def test_a_wait_that_a_server_asks_for_is_a_finite_time_or_none(value):
    seconds = retry_after(value)
    assert seconds is None or 0 <= seconds < math.inf


def test_a_huge_wait_is_bounded(monkeypatch):
    monkeypatch.setattr(endpoint_module, "MAX_RETRY_AFTER", 0.01)
    with first(2, status=429, body="{}", headers={"Retry-After": "9" * 300}) as server:
        ask(server)
    assert len(server.requests) == 3


def test_secrets_in_a_url_reach_the_server_and_no_message_or_log(caplog):
    caplog.set_level(logging.DEBUG)
    secret, password = "AIza-very-secret", "pass/word"

    def behave(number, request):
        return Answer(status=500, body=f"{KEY} {secret} {password} pass%2Fword {'x' * 370}{KEY}")

    with FakeEndpoint(behave) as server:
        url = server.base_url.replace("http://", "http://me:pass%2Fword@") + f"?key={secret}&v=5"
        with pytest.raises(RequestError) as error:
            ask(url, max_retries=0)
    said = caplog.text + "".join(traceback.format_exception(error.value))
    assert "'*** *** *** *** xxx" in said
    for private in (KEY[:8], secret[:8], password, "pass%2Fword"):
        assert private not in said
    assert server.keys == ["Basic " + base64.b64encode(b"me:pass/word").decode()]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "json_schema is not supported by this backend"),
        (404, "No endpoints found that support structured outputs"),
        (405, "unsupported response_format"),
    ],
)
def test_a_schema_that_is_refused_with_a_misleading_status_is_left_out_too(status, said):
    def behave(number, request):
        return Answer(status=status, body=said) if "response_format" in request else Answer()

    with FakeEndpoint(behave) as server:
        ask(server)
    assert kinds(server)[-1] == "none"


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "said",
    [
        [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID"}}],
        {"error": {"message": "Invalid api_key"}},
        {"error": "Unauthorized"},
        {"error": {"message": "No.", "type": "authentication_error"}},
        {"message": "You do not have permission to use this model"},
        "Missing authentication header",
    ],
)
def test_a_key_that_is_refused_with_a_misleading_status_ends_the_run_with_advice_on_keys(status, said):
    with always(status=status, body=said if isinstance(said, str) else json.dumps(said)) as server:
        with pytest.raises(EndpointError, match=f"status {status}, .*: the key was not accepted; set it in") as error:
            ask(server)
        assert len(server.requests) == 1 and "schema" not in str(error.value)


def test_words_of_the_request_that_a_refusal_repeats_say_nothing_of_the_key():
    said = f"1 validation error {'x' * 300} {{'content': 'It asks for permission, and for an API key'}}"
    with always(status=400, body=json.dumps({"message": said})) as server, pytest.raises(RequestError):
        ask(server)


@pytest.mark.parametrize(
    ("charset", "encoding", "words"),
    [
        ("; charset=iso-8859-1", "latin-1", None),
        ('; charset="Windows-1252"', "cp1252", None),
        ("; charset=utf-16", "utf-16", None),
        ("; charset=UTF-8", "utf-8-sig", None),
        ("", "utf-8", None),
        ("", "latin-1", "the answer is not in utf-8"),
        ("; charset=utf-8", "latin-1", "the answer is not in utf-8"),
        ("; charset=us-ascii", "utf-8", "the answer is not in us-ascii"),
        ("; charset=klingon", "utf-8", None),
        ("; charset=klingon", "latin-1", "the answer is not in utf-8"),
    ],
)
def test_a_reply_is_read_in_its_charset_or_not_at_all(charset, encoding, words):
    completion = {"choices": [{"message": {"content": "Crème brûlée"}, "finish_reason": "stop"}]}
    body = json.dumps(completion, ensure_ascii=False).encode(encoding)
    with always(body=body, headers={"Content-Type": f"application/json{charset}"}) as server:
        if words is None:
            assert ask(server)[0][0].text == "Crème brûlée"
        else:
            with pytest.raises(RequestError, match=words):
                ask(server, max_retries=0)


def test_the_client_is_imported_when_a_connection_is_opened(project):
    code = (
        "import sys; import dataset_builders.building.preferences.llm.run, dataset_builders.commands.approximate; "
        "import dataset_builders.building.preferences.llm.splitting; print('openai' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://"},
        {"base_url": "http://[::1/v1"},
        {"base_url": "http://x:port/v1"},
        {"omit": ("model",)},
        {"max_tokens_name": "tokens"},
        {"max_reply_bytes": 0},
        {"api_key": "sk-1\n"},
        {"api_key": "schlüssel"},
        {"timeout": float("nan")},
        {"temperature": float("nan")},
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
