"""Ray and the application on this machine alone, started and ended with the command."""

import contextlib
import dataclasses
import errno
import logging
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator

from ..escaping import printable
from .settings import ServiceSettings

OBJECT_STORE_BYTES = 256 * 2**20  # bodies and answers; they are kept for the time of a call


def check_port(host: str, port: int) -> None:
    """Checks that an address is free.

    Raises:
        ValueError: If not.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"--port ({port}) must be in 1..65535; leave it out for the default.")
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"cannot be used ({printable(str(error))})"
        way_out = "give another one with --port" if in_use else "give another --host or --port"
        raise ValueError(f"port {port} of {host} {why}; {way_out}, or end what listens there.") from None


@contextlib.contextmanager
def running(settings: ServiceSettings, host: str = "127.0.0.1", port: int = 8000) -> Iterator[str]:
    """Runs the service while the context is open.

    Args:
        settings ([`ServiceSettings`]): Settings.
        host (`str`): Address to listen at; the default is this machine alone.
        port (`int`): Port.

    Returns:
        A context with the service's URL.

    Raises:
        ImportError: If the extra serve is not installed.
        ValueError: If the port is in use, a model cannot be loaded, or the machine lacks GPUs.
    """
    check_port(host, port)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's own ports are open to the network, and their clients run code here: they need a token of this run. Ray
    # reads the mode when it is imported; where it was before, it guards itself by a token in the home folder.
    for name in ("READY", "HEALTH"):  # a busy machine starts the proxy late, and Ray would end it
        os.environ.setdefault(f"RAY_SERVE_PROXY_{name}_CHECK_TIMEOUT_S", "60")
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray
    from ray import serve

    from .application import APPLICATION, QUIET, build

    needed = 1 + settings.replicas * settings.cpus_per_replica * len(settings.models)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        try:
            ray.init(
                address="local",
                num_cpus=max(needed, os.cpu_count() or 1),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
            )
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
            raise OSError(_did_not_start(error)) from None
        gpus = settings.gpus * settings.replicas * len(settings.models)
        if gpus > (found := ray.cluster_resources().get("GPU", 0)):
            raise ValueError(
                f"the models need {gpus:g} GPUs and this machine has {found:g}; lower --replicas, share one with "
                "gpus_per_replica in a config file, or leave out --device."
            )
        try:
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=QUIET)
        except ray.exceptions.RayError as error:
            raise OSError(_did_not_start(error)) from None
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it has set its own
        try:
            given = {**dataclasses.asdict(settings), "models": dict(settings.models)}
            serve.run(build(given), name=APPLICATION, logging_config=QUIET)
        except RuntimeError as error:
            raise ValueError(_reason(error)) from None
        shown_host = f"[{host}]" if ":" in host else host
        yield f"http://{shown_host}:{port}"
    finally:
        # Ray has no common base of its errors, and the error that ended the service is the one to show
        with contextlib.suppress(Exception):
            serve.delete(APPLICATION)  # waits for the calls in progress
        ray.shutdown()


def _did_not_start(error: Exception) -> str:
    """What to do where a part of Ray itself does not start, or dies."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = printable(lines[0][:200]) if lines else type(error).__name__
    return (
        f"Ray does not run here ({type(error).__name__}: {said}); the machine may be too busy or short of memory: try "
        "again, and see /tmp/ray/session_latest/logs."
    )


def _reason(error: RuntimeError) -> str:
    """Why a deployment failed: what a replica has said of its model, else the last line of Ray's message."""
    from ray import serve

    from .application import LOAD_ERROR

    said = [str(error)]
    for application in serve.status().applications.values():
        said += [application.message, *(one.message for one in application.deployments.values())]
    for text in said:
        if found := re.search(f"{LOAD_ERROR}[^\n]*", text):
            return printable(found[0])
    lines = [line for text in said for line in text.splitlines() if line.strip()]
    return f"Ray Serve could not start the service ({printable(lines[-1][:300])}); see /tmp/ray/session_latest/logs."


def wait_for_signal() -> None:
    """Waits for Ctrl-C or SIGTERM."""
    interrupt_on_signals()  # Ray has set handlers of its own
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)


def interrupt_on_signals() -> None:
    """Takes SIGTERM for Ctrl-C, and Ctrl-C for what it is where the parent process ignores it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
