"""Server of the Model Context Protocol: the tools `recommend` and `search_items` for agents, over stdio or HTTP.

The tools read their arguments as the service does, by the request model of the pipeline; the SDK checks none of them.
"""

import os
import signal
from collections.abc import Mapping
from typing import Any, Self

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ErrorData,
    JSONRPCError,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from .. import __version__
from ..bounded_parsing import parse_json
from ..request_values import json_errors, refuse_unknown, shown
from . import call_schema
from .answers import Answer, ServiceError
from .served_model import DEFAULT_LIMIT, LocalModel

PATH = "/mcp"
OPTIONS = ("k", "num_beams", "return_terms")
INSTRUCTIONS = (
    "Recommends items of a catalog. Items have ids: find those of a user's history with search_items, then ask "
    "recommend with the history, and what is wanted in words."
)
_SEARCH_PROPERTIES = {
    "search": {"type": "string", "description": "Words that the title has."},
    "limit": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT, "description": "Number of items."},
}


def make_server(models: Mapping[str, LocalModel]) -> Server:
    """Makes the server.

    Args:
        models (`Mapping`): Models by their names, of which the first is the default. Of several, the tools take the
            name as `model`.
    """
    name = {"model": {"type": "string", "enum": list(models), "description": f"Default: {next(iter(models))}."}}
    names = name if len(models) > 1 else {}
    options = {option: call_schema.OPTION_PROPERTIES[option] for option in OPTIONS}
    found = call_schema.object_schema({"items": call_schema.ITEMS}, ["items"])
    tools = {
        "recommend": Tool(
            name="recommend",
            title="Recommend items",
            description="Recommends items for a history of items, what is wanted, and what to avoid; best first.",
            input_schema=call_schema.object_schema({**call_schema.REQUEST_PROPERTIES, **options, **names}),
            output_schema=found,
            annotations=ToolAnnotations(read_only_hint=True),
        ),
        "search_items": Tool(
            name="search_items",
            title="Search items",
            description="Finds the ids of items by words of their titles.",
            input_schema=call_schema.object_schema({**_SEARCH_PROPERTIES, **names}, ["search"]),
            output_schema=call_schema.FOUND,
            annotations=ToolAnnotations(read_only_hint=True),
        ),
    }

    async def list_tools(context: Any, parameters: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=list(tools.values()))

    async def call_tool(context: Any, parameters: CallToolRequestParams) -> CallToolResult:
        try:
            if parameters.name not in tools:
                raise ValueError(f"there is no tool {shown(parameters.name)}; there are {', '.join(tools)}.")
            given = dict(parameters.arguments or {})
            refuse_unknown(given, tuple(tools[parameters.name].input_schema["properties"]), "{}: no such argument")
            with json_errors():
                model = _find(models, given.pop("model", None))
            answer = await _call(parameters.name, model, given)
        except (ServiceError, ValueError) as error:
            return CallToolResult(content=[TextContent(type="text", text=str(error))], is_error=True)
        value = parse_json(answer.content)
        value = {"items": value} if isinstance(value, list) else value
        text = TextContent(type="text", text=answer.content.decode())
        return CallToolResult(content=[text], structured_content=value)

    return Server(
        "mender",
        version=__version__,
        title="Mender recommender",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _find(models: Mapping[str, LocalModel], name: Any) -> LocalModel:
    name = next(iter(models)) if name is None else name
    if not isinstance(name, str) or name not in models:
        raise ValueError(f"there is no model {shown(name)}; there are {', '.join(models)}.")
    return models[name]


async def _call(tool: str, model: LocalModel, given: dict[str, Any]) -> Answer:
    """Answer of a tool."""
    if tool == "search_items":
        return await model.search(given.get("search"), given.get("limit"))
    options = {name: given.pop(name) for name in OPTIONS if name in given}
    return await model.recommend_parsed({"inputs": given, "parameters": options})


class AnsweringStream:
    """Messages of an agent, without lines that are none: those are answered here, for the SDK passes over them.

    Args:
        messages: Stream of messages, and of exceptions for such lines.
        answers: Stream of answers.
    """

    def __init__(self, messages: Any, answers: Any) -> None:
        self.messages, self.answers = messages, answers

    async def receive(self) -> SessionMessage:
        """The next message."""
        while isinstance(item := await self.messages.receive(), Exception):
            await self.answers.send(SessionMessage(_refusal(item)))
        return item

    async def aclose(self) -> None:
        """Closes the stream of messages."""
        await self.messages.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _refusal(error: Exception) -> JSONRPCError:
    """Answer to a line that is no JSON, or no message; its id cannot be told."""
    first = error.errors()[0] if isinstance(error, ValidationError) else {"type": "", "msg": type(error).__name__}
    if isinstance(error, ValidationError) and first["type"] != "json_invalid":
        code, said = INVALID_REQUEST, "the line is no message of JSON-RPC"
    else:
        code, said = PARSE_ERROR, f"the line cannot be read ({first['msg']})"
    data = ErrorData(code=code, message=f"{said}; send one message per line, in JSON.")
    return JSONRPCError(jsonrpc="2.0", id=None, error=data)


def run_stdio(server: Server) -> None:
    """Serves the process that has started this one, over its standard streams, until they end."""

    for number in (signal.SIGINT, signal.SIGTERM):
        # The thread that reads standard input ends with that alone, and there is nothing to save.
        signal.signal(number, lambda *_: os._exit(0))

    anyio.run(serve_lines, server)


async def serve_lines(server: Server, *streams: Any) -> None:
    """Serves an agent over the standard streams, or over two other streams of lines, until the first one ends."""
    async with stdio_server(*streams) as (read_stream, write_stream):
        answering = AnsweringStream(read_stream, write_stream)
        await server.run(answering, write_stream, server.create_initialization_options())


def make_http_app(server: Server, host: str = "127.0.0.1") -> Any:
    """Makes the application of streamable HTTP at the path `/mcp`; it keeps no sessions, which no tool needs."""
    return server.streamable_http_app(streamable_http_path=PATH, stateless_http=True, host=host)


def run_http(server: Server, host: str, port: int) -> None:
    """Serves streamable HTTP at the path `/mcp` until it is interrupted."""
    import uvicorn

    uvicorn.run(make_http_app(server, host), host=host, port=port, log_level="warning")
