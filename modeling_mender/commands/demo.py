"""Open a trained model in the browser, to try histories and preferences.

mender demo outputs/quickstart/model --port 7860
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, check_port, defaults_of, run_command
from dataset_builders.resources import resource


@dataclass(kw_only=True)
class DemoArguments:
    """Arguments of [`demo`]; see `--help` for what each is."""

    model: str
    results: Path | None = None
    leaderboard: Path | None = None
    port: int | None = None


def parse_arguments(argv: list[str] | None) -> DemoArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="folder of a trained model, or name on the Hub")
    parser.add_argument("--results", type=Path, help="results.json of the model; default: the one beside it")
    parser.add_argument("--leaderboard", type=Path, help="leaderboard.json written by mender leaderboard")
    parser.add_argument("--port", type=int, help="port of the page; default: the first free one from 7860")
    parser.set_defaults(**defaults_of(DemoArguments))
    return DemoArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Serves the page until it is interrupted; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: demo(arguments))


def demo(arguments: DemoArguments) -> None:
    """Runs the app of the Space; where this package is installed, it runs no code of the model's folder.

    Raises:
        ImportError: If gradio is not installed.
        ValueError, OSError: If the model cannot be loaded, or the page cannot be served.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")
    check_port(arguments.port)
    words = [f"--model={arguments.model}"]
    for name in ("results", "leaderboard"):
        if (path := getattr(arguments, name)) is not None:
            if not path.is_file():
                raise FileNotFoundError(f"--{name} ({path}) is no file; give the JSON file, or leave it out.")
            words.append(f"--{name}={path}")
    words += [] if arguments.port is None else [f"--port={arguments.port}"]
    folder = str(resource("model_cards/spaces/demo"))
    sys.path.insert(0, folder)  # its modules import each other by their plain names
    try:
        app = importlib.import_module("app")
        app.serve(app.parse_arguments(words))
    finally:
        sys.path.remove(folder)


if __name__ == "__main__":
    sys.exit(main())
