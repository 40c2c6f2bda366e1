"""The tools for agents, asked by the SDK's own client: in memory, over HTTP on loopback, over standard streams."""

import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import anyio
import pytest
from serving_world import CALL, make_model

pytest.importorskip("mcp", reason="the extra mcp is not installed")
import httpx  # noqa: E402
import uvicorn  # noqa: E402
from mcp import Client, StdioServerParameters  # noqa: E402

from modeling_mender.serving.mcp_server import make_http_app, make_server, serve_lines  # noqa: E402

ACCEPT = {"Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}
ASKED = {**CALL["inputs"], **CALL["parameters"]}


@pytest.fixture(scope="module")
def model(folder):
    return make_model(folder)


def ask(server, *calls, **options):
    """Names of the tools, and results of calls."""

    async def run():
        async with Client(server, **options) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in calls]

    return anyio.run(run)


def expected(model):
    answer = anyio.run(model.recommend_parsed, CALL)
    return {"items": json.loads(answer.content)}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_recommend_and_search_in_memory(model, mode):
    search = ("search_items", {"search": "green tea"})
    tools, (recommended, found) = ask(make_server({"shop": model}), ("recommend", ASKED), search, mode=mode)
    assert [tool.name for tool in tools] == ["recommend", "search_items"]
    assert "model" not in tools[0].input_schema["properties"]
    assert not recommended.is_error and recommended.structured_content == expected(model)
    assert json.loads(recommended.content[0].text) == expected(model)["items"]
    assert found.structured_content["items"] == [{"item_id": 7, "title": "green tea"}]


@pytest.mark.parametrize(
    ("tool", "given", "words"),
    [
        ("recommend", {"k": 10**9}, "1..12"),
        ("recommend", {"k": "3"}, "without quotes"),
        ("recommend", {"k": True}, "whole number"),
        ("recommend", {"history": [13]}, "no item of this catalog"),
        ("recommend", {"history": 1}, "give a list"),
        ("recommend", {"preference": "a" * 1_000_000}, "2,000"),
        ("recommend", {"wish": "tea"}, "wish: no such argument"),
        ("recommend", {"model": "toys"}, "no such argument"),
        ("search_items", {}, "give words"),
        ("search_items", {"search": "tea", "limit": 0}, "limit"),
        ("buy", {}, "there are recommend, search_items"),
    ],
)
def test_a_bad_argument_is_an_error_that_the_agent_can_read(model, tool, given, words):
    _, (result, after) = ask(make_server({"shop": model}), (tool, given), ("recommend", ASKED))
    assert result.is_error and words in result.content[0].text
    assert not after.is_error


def test_an_agent_picks_one_of_several_models(model):
    server = make_server({"shop": model, "twin": model})
    tools, results = ask(server, *(("recommend", {**ASKED, "model": name}) for name in ("twin", "toys")))
    assert tools[0].input_schema["properties"]["model"]["enum"] == ["shop", "twin"]
    assert [result.is_error for result in results] == [False, True]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_are_reached_over_http_on_loopback_without_a_session(model, mode):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        app = make_http_app(make_server({"shop": model}))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        _, (result,) = ask(f"http://127.0.0.1:{port}/mcp", ("recommend", ASKED), mode=mode)
        opened = httpx.post(f"http://127.0.0.1:{port}/mcp", json=INITIALIZE, headers=ACCEPT)
        server.should_exit = True
        thread.join(10)
    assert result.structured_content == expected(model)
    assert opened.status_code == 200 and "mcp-session-id" not in opened.headers


def test_an_unreadable_line_is_answered_and_the_next_one_too(model):
    call = (
        '{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "recommend", "arguments": {"k": %s}}}'
    )
    lines = [
        "hello",
        json.dumps(INITIALIZE),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        call % '"a\\ud800"',
        call % ("9" * 5000),
        "[1]",
        call % "2",
    ]
    written = io.StringIO()

    async def wait_for_answers():
        while written.getvalue().count("\n") < len(lines) - 1:  # the notification has none
            await anyio.sleep(0.01)

    class Lines:
        async def __aiter__(self):
            for line in lines:
                yield f"{line}\n"
            await wait_for_answers()

    async def serve():
        with anyio.fail_after(20):
            await serve_lines(make_server({"shop": model}), Lines(), anyio.wrap_file(written))

    anyio.run(serve)
    answers = [json.loads(line) for line in written.getvalue().splitlines()]
    codes = [(answer["id"], answer.get("error", {}).get("code")) for answer in answers]
    refused = [(None, -32700), (None, -32700), (None, -32700), (None, -32600)]
    assert sorted(codes, key=str) == sorted([*refused, (1, None), (7, None)], key=str)


@pytest.fixture
def command(project, folder):
    """Words and environment of the command that serves an agent."""
    words = ["-m", "dataset_builders.commands.main", "serve", str(folder), "--mcp"]
    return words, {"PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def test_the_command_serves_an_agent_over_its_standard_streams(project, command, model):
    words, environment = command
    server = StdioServerParameters(command=sys.executable, args=words, cwd=str(project), env=environment)
    tools, (result,) = ask(server, ("recommend", ASKED))
    assert len(tools) == 2
    items = result.structured_content["items"]
    assert [item["item_id"] for item in items] == [item["item_id"] for item in expected(model)["items"]]


def test_ctrl_c_ends_the_tools_while_they_wait_for_the_agent(project, command):
    words, environment = command
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=project,
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "tools for agents" in process.stderr.readline()
        time.sleep(0.5)  # it listens
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0 and process.stderr.read() == ""
