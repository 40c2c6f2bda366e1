"""Have a language model fill in the form of a user study, to be compared with people.

    mender judge-study study --base_url http://127.0.0.1:8000/v1 --model meta-llama/Meta-Llama-3-70B-Instruct
    mender report-study study

Works with any OpenAI-compatible endpoint. Every answer is appended to the study's answers, and the same command
continues an interrupted run.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from .command_line import USER_ERRORS, CommandParser, HelpFormatter, defaults_of, run_command
from .endpoint_arguments import EndpointArguments, add_endpoint_arguments, endpoint_settings


@dataclass(kw_only=True)
class JudgeArguments(EndpointArguments):
    """Arguments of [`judge_study`]; `--help` describes each."""

    study: Path
    temperature: float = 0.0


def parse_arguments(argv: list[str] | None) -> JudgeArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("study", type=Path, help="folder of mender draw-study; answers are kept in its answers/")
    add_endpoint_arguments(parser)
    parser.set_defaults(**defaults_of(JudgeArguments))
    return JudgeArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Runs the requests; returns 0, 1 after one line on bad input or an unusable endpoint, or 130 after Ctrl-C."""
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from ..building.preferences.llm.endpoint import EndpointError

    return run_command(lambda: judge_study(arguments), (*USER_ERRORS, EndpointError))


def judge_study(arguments: JudgeArguments) -> None:
    """Asks for all answers that the study lacks of this model; prints a summary."""
    from ..user_study.form import OF_MATCH, OF_PREFERENCE, read_study
    from ..user_study.judge import judge

    settings, study = endpoint_settings(arguments), read_study(arguments.study)
    for questions in (OF_PREFERENCE, OF_MATCH):
        counts = judge(
            study,
            arguments.study,
            settings,
            questions,
            arguments.seed,
            concurrency=arguments.concurrency,
            max_attempts=arguments.max_attempts,
            max_failed_share=arguments.max_failed_share,
            progress=not arguments.no_progress,
        )
        print(f"{' and '.join(questions)}\n{counts.summary()}")


if __name__ == "__main__":
    sys.exit(main())
