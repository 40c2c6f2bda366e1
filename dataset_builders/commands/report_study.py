"""Report the answers to a user study: shares with intervals, agreement, and a language model beside people.

mender report-study study org/study-answers --output_dir study_report
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic_write import check_writable, write_text
from ..hub_http import is_repo_id
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command

if TYPE_CHECKING:
    from ..user_study.form import Row


@dataclass(kw_only=True)
class StudyReportArguments:
    """Arguments of [`report_study`]; `--help` describes each."""

    answers: Sequence[str]
    output_dir: Path | None = None


def parse_arguments(argv: list[str] | None) -> StudyReportArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument(
        "answers", nargs="+", help="folders of studies, or datasets on the Hub with answers, of one or more domains"
    )
    parser.add_argument("--output_dir", type=Path, help="folder for report.json and report.md")
    parser.set_defaults(**defaults_of(StudyReportArguments))
    return StudyReportArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Reports a study; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: report_study(arguments))


def report_study(arguments: StudyReportArguments) -> None:
    """Prints the report as Markdown, and writes it as Markdown and JSON to `--output_dir`.

    Raises:
        ValueError: If answers are named twice, or `--output_dir` is their folder.
    """
    from ..user_study.report import format_report, make_report

    places = [Path(one).resolve() for one in arguments.answers]
    if twice := [one for one, place in zip(arguments.answers, places, strict=True) if places.count(place) > 1]:
        raise ValueError(f"answers holds {' and '.join(twice)}, the same place; name it once.")
    if arguments.output_dir is not None:
        if arguments.output_dir.resolve() in places:
            raise ValueError(f"--output_dir {arguments.output_dir} is the folder of the answers; name another one.")
        check_writable(arguments.output_dir)
    rows = [row for answers in arguments.answers for row in rows_of(answers)]
    report = make_report(sorted(rows, key=lambda row: row["time"]))
    text = format_report(report)
    if arguments.output_dir is not None:
        write_text(arguments.output_dir / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        write_text(arguments.output_dir / "report.md", text)
    print(text, end="")


def rows_of(answers: str) -> "list[Row]":
    """Answers in a folder, or in a dataset on the Hub.

    Raises:
        FileNotFoundError: If it is neither.
        ValueError: If a line is no answer.
        OSError: If the Hub's client fails.
    """
    from huggingface_hub import snapshot_download

    from ..user_study.answers import read_rows

    if Path(answers).is_dir():
        return read_rows(Path(answers))
    if not is_repo_id(answers):
        raise FileNotFoundError(
            f"{answers} is no folder, nor the name of a dataset on the Hub (org/name); pass the folder of a study."
        )
    return read_rows(Path(snapshot_download(answers, repo_type="dataset", allow_patterns="*.jsonl")))


if __name__ == "__main__":
    sys.exit(main())
