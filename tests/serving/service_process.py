"""The command `mender serve` in a process of its own, on a free port, and the processes that hold its model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from serving_world import TOKEN

START_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class ServiceProcess:
    """A running service."""

    process: subprocess.Popen
    url: str
    log: Path

    def replicas(self, name: str = "default") -> list[psutil.Process]:
        """Processes that hold a model."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if f"ServeReplica:mender:model-{name}" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Ends it as Ctrl-C does; returns its status and all that it has printed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.process.wait(60), self.log.read_text()


@contextlib.contextmanager
def service(folder: Path, log: Path, project: Path, *options: str) -> Iterator[ServiceProcess]:
    """Starts the command, and waits until it says that it serves."""
    port = free_port()
    words = ["serve", str(folder), "--port", str(port), *options]
    environment = {**os.environ, "PYTHONPATH": str(project), "MENDER_ADMIN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dataset_builders.commands.main", *words],
            cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + START_S
        while "serving default" not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield ServiceProcess(process, f"http://127.0.0.1:{port}", log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def ask_until(url: str, call: dict, stop, answers: list[httpx.Response]) -> None:
    """A client that asks one call after the other until an event is set."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            answers.append(client.post("/recommend", json=call))
