"""Open the page of a user study in the browser: people judge generated preferences (appendix F).

mender user-study study --port 7860
"""

import importlib.util
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

from ..hub_http import check_repo_id
from ..resources import resource
from .command_line import CommandParser, HelpFormatter, check_port, defaults_of, run_command


@dataclass(kw_only=True)
class UserStudyArguments:
    """Arguments of [`user_study`]; `--help` describes each."""

    study: Path
    answers: str | None = None
    port: int | None = None


def parse_arguments(argv: list[str] | None) -> UserStudyArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("study", type=Path, help="folder of mender draw-study; answers are kept in its answers/")
    parser.add_argument("--answers", help="dataset on the Hub that also gets the answers, as in org/study-answers")
    parser.add_argument("--port", type=int, help="port of the page; default: the first free one from 7860")
    parser.set_defaults(**defaults_of(UserStudyArguments))
    return UserStudyArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Serves the page until it is interrupted; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: user_study(arguments))


def user_study(arguments: UserStudyArguments) -> None:
    """Runs the app of the Space.

    Raises:
        ImportError: If gradio is not installed.
        ValueError, OSError: If the study cannot be read, the Hub refuses the answers, or the page cannot be served.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")
    check_port(arguments.port)
    if arguments.answers is not None:
        check_repo_id(arguments.answers, "--answers")
    words = [f"--study={arguments.study}"]
    words += [f"--{name}={value}" for name in ("answers", "port") if (value := getattr(arguments, name)) is not None]
    app = runpy.run_path(str(resource("model_cards/spaces/user_study/app.py")))
    app["serve"](app["parse_arguments"](words))


if __name__ == "__main__":
    sys.exit(main())
