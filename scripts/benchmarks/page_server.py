"""Folder served on this machine, for pages in a browser: the benchmark of the page, and its tests."""

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def serving(folder: str | Path, headers: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """Serves a folder as `python -m http.server` serves it, with further headers; gives its address."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for header in headers:
                self.send_header(*header)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
