"""Forks Python processes from a server that has imported the large libraries, so that each of them starts at once.

A process that imports torch and transformers by itself takes some six seconds for it. Here it has its own environment,
working directory, streams and process group; what the server imported it shares. A claim about what is imported, or
about options of the interpreter, needs `subprocess`.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from functools import cache, partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

# None of these reads the environment of Hugging Face, which therefore may differ from process to process.
LARGE = (
    "torch", "torch._dynamo.convert_frame", "torch.distributed.checkpoint", "torch.distributed.fsdp",
    "torch.distributed.launcher", "torch.distributed.tensor", "jinja2", "pandas", "pyarrow.dataset", "pyarrow.parquet",
    "safetensors.torch", "scipy.optimize", "scipy.stats", "sklearn.metrics", "tokenizers", "yaml",
)  # fmt: skip


class ForkedPython:
    """A process, with what the tests use of `subprocess.Popen`."""

    def __init__(self, told: Connection, streams: Sequence[IO[bytes]]) -> None:
        self._told, self._streams = told, streams
        self.pid: int = told.recv()
        self.returncode: int | None = None

    def poll(self, timeout: float | None = 0.0) -> int | None:
        """The exit status, negative after a signal; None if it still runs after so many seconds."""
        if self.returncode is None and self._told.poll(timeout):
            self.returncode = self._told.recv()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        if self.poll(timeout) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        for stream in self._streams:
            stream.seek(0)
        out, err = (stream.read().decode(errors="replace") for stream in self._streams)
        return out, err


class Server:
    """Where requests for a process are sent: a socket with the server at its other end."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    @classmethod
    def of(cls, *modules: str, **environment: str) -> "Server":
        """A new server with these modules. It ends with this process."""
        ours, theirs = socket.socketpair()
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, "-P", __file__, str(theirs.fileno()), str(ours.fileno()), *modules]
        process = subprocess.Popen(
            command, env=kept | {"OMP_NUM_THREADS": "1"} | environment, pass_fds=[theirs.fileno(), ours.fileno()],
            stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        server = cls(ours)
        server._process = process  # with the pipe whose end tells the server to end
        return server

    def start(
        self,
        code: str,
        words: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
        cwd: str | Path = ".",
    ) -> ForkedPython:
        """Starts `python -c code words`."""
        asked = {
            "code": code, "words": [str(word) for word in words], "cwd": str(Path(cwd).resolve()),
            "environment": dict(os.environ if environment is None else environment),
        }  # fmt: skip
        here, there = Pipe()
        with tempfile.TemporaryFile() as request, there:
            request.write(json.dumps(asked).encode())
            request.seek(0)
            streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 (open as long as the process is known)
            socket.send_fds(self._requests, [b"."], [one.fileno() for one in (there, request, *streams)])
            return ForkedPython(here, streams)

    def run(self, code: str, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """`python -c code words`, once it has ended."""
        process = self.start(code, words, **options)
        out, err = process.communicate()
        return subprocess.CompletedProcess(["-c", *map(str, words)], process.poll() or 0, out, err)


@cache
def server() -> Server:
    """The server with the large libraries; in a process of a server, that one."""
    return Server.of(*LARGE)


def run_alone(code: str, folder: Path) -> list[str]:
    """Lines that code prints in a process with a home and a cache of its own, which must end well."""
    environment = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    run = server().run(code, environment=environment, cwd=folder)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.strip().splitlines()


def serve(requests: socket.socket, modules: Sequence[str]) -> None:
    """Forks what it is asked for, until stdin ends; returns in the server and in each new process."""
    for name in modules:
        with contextlib.suppress(ImportError):  # who needs it will say so
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector of a new process would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the minders
    while True:
        if sys.stdin in select.select([requests, sys.stdin], [], [])[0]:
            return
        _, (told, *streams), _, _ = socket.recv_fds(requests, 1, 4)
        if not os.fork():
            break
        for fd in (told, *streams):
            os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    ready, led = os.pipe()
    if process := os.fork():  # a minder tells the process's number, and how it ended
        os.close(led)
        os.read(ready, 1)  # it leads its group now, which a signal may be sent to
        with Connection(told) as connection, contextlib.suppress(BrokenPipeError):  # where nobody listens any more
            connection.send(process)
            connection.send(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        os._exit(0)
    os.close(told)
    os.setsid()
    os.close(led)
    os.close(ready)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    become(**json.load(sys.stdin))


def become(code: str, words: Sequence[str], cwd: str, environment: Mapping[str, str]) -> None:
    """Runs code as the main module of this process, which ends with it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["-c", *words]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    status = 0
    try:
        exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as exit:
        if exit.code is not None and not isinstance(exit.code, int):
            sys.stderr.write(f"{exit.code}\n")
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:  # as the interpreter itself does at its end
        sys.excepthook(*sys.exc_info())
        status = 1
    # as at the end of the interpreter, but without taking every module apart
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.modules["forked_python"] = sys.modules["__main__"]
    requests, itself = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    server = partial(Server, itself)
    serve(requests, sys.argv[3:])
