"""Headless Chromium for tests of pages, left out, visibly, where it is missing, and apps that serve pages."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from page_server import BROWSERS


@contextlib.contextmanager
def chromium():
    """A browser without a window; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"the browser test needs one of {', '.join(BROWSERS)} on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def served_app(command, folder, environment, seconds=120):
    """Runs Python with a command that takes `--port`, in a process of its own; gives its address."""
    port, log = free_port(), folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, command), "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline, url = time.monotonic() + seconds, f"http://127.0.0.1:{port}"
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, f"no answer from {url} in {seconds} s: {log.read_text()}"
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                    break
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)
