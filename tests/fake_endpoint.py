"""A chat endpoint on loopback that answers well, or misbehaves as a test asks; it keeps what it was sent."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def five(request: Mapping[str, Any]) -> str:
    """A good reply; its strings depend on the messages alone."""
    number = sum(json.dumps(request["messages"]).encode())
    opening = ("Look for", "Prefer", "Search for", "Opt for", "Avoid")
    return json.dumps({"instructions": [f"{words} thing {number}" for words in opening]})


@dataclass
class Answer:
    """What the server does with one request.

    Attributes:
        text: Of the model; `None` for a good reply.
        status, body, headers: Sent as they are, if `body` is given.
        seconds: How long to wait first.
        dropped: Whether to close the connection in the middle of the body.
    """

    text: str | None = None
    status: int = 200
    body: str | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    dropped: bool = False


class FakeEndpoint:
    """`with FakeEndpoint(behave) as server:`; `behave(number, request)` gives the [`Answer`] to the request."""

    def __init__(self, behave: Callable[[int, dict[str, Any]], Answer] = lambda number, request: Answer()) -> None:
        self.behave = behave
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "FakeEndpoint":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self) -> list[str]:
        """The last message of every request, in order."""
        return [request["messages"][-1]["content"] for request in self.requests]

    def _answer(self, request: dict[str, Any], key: str | None) -> Answer:
        with self._lock:
            self.requests.append(request)
            self.keys.append(key)
            number = len(self.requests)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        answer = self.behave(number, request)
        time.sleep(answer.seconds)
        with self._lock:
            self.in_flight -= 1
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet per answer: two of them wait for each other
            disable_nagle_algorithm = True

            def do_POST(self) -> None:  # noqa: N802  (the name that http.server looks for)
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = endpoint._answer(request, self.headers["Authorization"])
                message = {"role": "assistant", "content": five(request) if answer.text is None else answer.text}
                completion = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
                body = completion if answer.body is None else answer.body
                body = body.encode() if isinstance(body, str) else body
                try:
                    self.send_response(answer.status)
                    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2] if answer.dropped else body)
                    self.close_connection = answer.dropped
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up waiting

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Says nothing."""

        return Handler
