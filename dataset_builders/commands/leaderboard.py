"""Collect scores into a leaderboard: a static page and its records.

    mender leaderboard outputs/results --output_dir outputs/leaderboard
    mender leaderboard --benchmark org/pref-discerning --output_dir outputs/leaderboard

Reads folders of results.json, of which those that differ in their seed alone are one row with their mean, and the
models on the Hub that submitted to the benchmark. With --benchmark, scores of outdated rows are marked. Writes
leaderboard.json, index.html and the README.md of a static Space, which `mender publish-space leaderboard` uploads.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic_write import check_writable, write_text
from ..benchmark.report import is_on_the_hub
from ..escaping import one_line
from ..leaderboard.collection import (
    MAX_RECORDS,
    MAX_REVISIONS,
    collect_hub,
    collect_local,
    mark_stale,
    write_records,
)
from ..leaderboard.hub import MODEL_TAG
from ..leaderboard.page import make_tables, readme, render_page
from ..resources import resource
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command

RECORDS, PAGES = "leaderboard.json", ("index.html", "README.md")


@dataclass(kw_only=True)
class LeaderboardArguments:
    """Arguments of [`make_leaderboard`]; `--help` describes each."""

    results: Sequence[Path]
    benchmark: str | None = None
    models: Sequence[str] | None = None
    max_records: int = MAX_RECORDS
    max_revisions: int = MAX_REVISIONS
    output_dir: Path


def parse_arguments(argv: list[str] | None) -> LeaderboardArguments:
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS_DIR", help="folders of results.json files")
    parser.add_argument("--benchmark", help="benchmark: dataset on the Hub, or a local directory")
    parser.add_argument("--models", nargs="+", help=f"models on the Hub; default: all with the tag {MODEL_TAG}")
    parser.add_argument("--max_records", type=int, help="records of a model on the Hub; the rest is skipped")
    parser.add_argument(
        "--max_revisions", type=int, help="commits of the benchmark that a model may name; the rest is skipped"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the page and the records")
    parser.set_defaults(**defaults_of(LeaderboardArguments))
    return LeaderboardArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Makes the leaderboard; returns 0, or 1 after one line on bad input."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    return run_command(lambda: make_leaderboard(parse_arguments(argv)))


class OneLine(logging.Formatter):
    """Messages of one line each, whose foreign names hold nothing that a terminal obeys."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(record.getMessage(), 2000)


def make_leaderboard(arguments: LeaderboardArguments) -> None:
    """Collects the records and writes the files."""
    hub = arguments.benchmark if arguments.benchmark is not None and is_on_the_hub(arguments.benchmark) else None
    if arguments.models and not hub:
        raise ValueError("--models needs a benchmark on the Hub; name it with --benchmark org/name.")
    if not arguments.results and not hub:
        raise ValueError("there is nothing to collect; pass folders of results, or --benchmark org/name.")
    check_writable(arguments.output_dir)
    _check_own(arguments.output_dir)
    records = collect_local(arguments.results) if arguments.results else []
    if hub:
        records += collect_hub(hub, arguments.models, arguments.max_records, arguments.max_revisions)
    if arguments.benchmark is not None:
        records = mark_stale(records, arguments.benchmark)
    if arguments.results and not records:
        raise ValueError(
            f"no score of {', '.join(map(str, arguments.results))} can stand on a leaderboard; the warnings say why."
        )
    write_records(records, arguments.output_dir / RECORDS)
    page = render_page(records, resource("model_cards/spaces/leaderboard/index.html"), hub)
    for file, text in zip(PAGES, (page, readme(hub)), strict=True):
        write_text(arguments.output_dir / file, text)
    stale = sum(record["stale"] for record in records)
    models = len({record["model"] for record in records})
    print(f"{len(records)} scores ({stale} of other rows) of {models} models in {len(make_tables(records))} tables")
    print(f"page: {arguments.output_dir / 'index.html'}")


def _check_own(folder: Path) -> None:
    """Refuses a folder whose page or README another wrote: one without records."""
    foreign = [name for name in PAGES if (folder / name).exists()]
    if foreign and not (folder / RECORDS).is_file():
        raise FileExistsError(
            f"{folder} holds {foreign[0]} and no {RECORDS}, so it is no leaderboard, and {foreign[0]} would be lost; "
            "name another --output_dir."
        )


if __name__ == "__main__":
    sys.exit(main())
