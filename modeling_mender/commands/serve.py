"""Serve models over HTTP on Ray Serve, or as tools for agents (MCP).

    mender serve outputs/quickstart/model --port 8000
    mender serve --name beauty=outputs/beauty/model toys=outputs/toys/model --replicas 2
    mender serve outputs/quickstart/model --mcp

On a cluster, the same application is deployed by the config files of `scripts/serve_configs/`.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command

from ..serving.settings import DEFAULT_NAME, ServiceSettings
from .recommend_request import read_titles

DEFAULT_PORT = 8000
_DEFAULTS = defaults_of(ServiceSettings)


@dataclass(kw_only=True)
class ServeArguments:
    """Arguments of [`serve`]; see `--help` for what each is."""

    model: str | None = None
    name: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    device: str = _DEFAULTS["device"]
    replicas: int = _DEFAULTS["replicas"]
    batch_size: int = _DEFAULTS["batch_size"]
    max_waiting: int = _DEFAULTS["max_waiting"]
    timeout_s: float = _DEFAULTS["timeout_s"]
    max_body_bytes: int = _DEFAULTS["max_body_bytes"]
    mcp: bool = False


def parse_arguments(argv: list[str] | None) -> ServeArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", nargs="?", help="folder of a trained model, or name on the Hub")
    parser.add_argument(
        "--name", nargs="+", metavar="NAME=MODEL", help="several models by names; a call picks one by ?model=NAME"
    )
    parser.add_argument("--host", help="address to listen at; 0.0.0.0 opens the service to the network")
    parser.add_argument("--port", type=int, help=f"port; default: {DEFAULT_PORT}, and with --mcp the standard streams")
    parser.add_argument("--device", help="device of the models, such as cpu or cuda")
    parser.add_argument("--replicas", type=int, help="processes that hold each model, with one core or GPU each")
    parser.add_argument("--batch_size", type=int, help="most requests that a replica computes at once")
    parser.add_argument("--max_waiting", type=int, help="calls of a model that may wait; more are refused (503)")
    parser.add_argument("--timeout_s", type=float, help="seconds after which a call is given up (504)")
    parser.add_argument("--max_body_bytes", type=int, help="size of the body of a call; larger ones are refused (413)")
    parser.add_argument("--mcp", action="store_true", help="serve tools for agents over the Model Context Protocol")
    parser.set_defaults(**defaults_of(ServeArguments))
    return ServeArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Serves until it is interrupted; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: serve(arguments))


def serve(arguments: ServeArguments) -> None:
    """Serves the models.

    Raises:
        ImportError: If the extra serve or mcp is not installed.
        ValueError, OSError: If a model cannot be loaded, or the port is in use.
    """
    settings = make_settings(arguments)
    for needed in ("mcp",) if arguments.mcp else ("ray", "fastapi", "prometheus_client"):
        if importlib.util.find_spec(needed) is None:
            raise ModuleNotFoundError(f"No module named {needed!r}", name=needed)
    for folder in settings.models.values():
        read_titles(folder, None)
    if arguments.mcp:
        serve_tools(settings, arguments.host, arguments.port)
    else:
        serve_http(settings, arguments.host, DEFAULT_PORT if arguments.port is None else arguments.port)


def make_settings(arguments: ServeArguments) -> ServiceSettings:
    """Makes the settings of the service from the command line.

    Raises:
        ValueError: Without a model, for a name that is given twice, or for an option that `--mcp` does not read.
    """
    models = {} if arguments.model is None else {DEFAULT_NAME: arguments.model}
    for given in arguments.name:
        name, separator, folder = given.partition("=")
        if not separator or not folder:
            raise ValueError(f"--name has {given!r}; give a name and a folder, as in beauty=outputs/beauty/model.")
        if name in models:
            raise ValueError(f"--name gives {name!r} twice; give each model a name of its own.")
        models[name] = folder
    if not models:
        raise ValueError("there is no model to serve; give its folder, as in mender serve outputs/quickstart/model.")
    shared = ("device", "replicas", "batch_size", "max_waiting", "timeout_s", "max_body_bytes")
    if arguments.mcp:
        unread = [f"--{name}" for name in shared[1:] if getattr(arguments, name) != _DEFAULTS[name]]
        if unread:
            raise ValueError(f"--mcp runs in one process and does not read {', '.join(unread)}; leave these out.")
    return ServiceSettings(models=models, **{name: getattr(arguments, name) for name in shared})


def serve_http(settings: ServiceSettings, host: str, port: int) -> None:
    """Serves over HTTP on Ray Serve."""
    from ..serving.one_machine import interrupt_on_signals, running, wait_for_signal

    interrupt_on_signals()
    with running(settings, host, port) as url:
        names = ", ".join(f"{name} ({folder})" for name, folder in settings.models.items())
        print(f"serving {names} at {url}\npages: {url}/docs, {url}/health, {url}/metrics; Ctrl-C ends it", flush=True)
        wait_for_signal()
        print("ending, after the calls in progress", flush=True)


def serve_tools(settings: ServiceSettings, host: str, port: int | None) -> None:
    """Serves tools for agents, over the standard streams where there is no port; prints on stderr alone."""
    from transformers.utils import logging as transformers_logging

    from ..serving.mcp_server import PATH, make_server, run_http, run_stdio
    from ..serving.one_machine import check_port
    from ..serving.served_model import LocalModel, ServedModel

    if port is not None:
        check_port(host, port)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    models = {name: LocalModel(ServedModel(folder, settings.device)) for name, folder in settings.models.items()}
    server = make_server(models)
    where = "on the standard streams" if port is None else f"at http://{host}:{port}{PATH}"
    print(f"tools for agents {where}; Ctrl-C ends it", file=sys.stderr, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        if port is None:
            run_stdio(server)
        else:
            run_http(server, host, port)


if __name__ == "__main__":
    sys.exit(main())
