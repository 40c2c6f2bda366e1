"""Collects scores into a leaderboard: a static page and the records behind it.

    python scripts/make_leaderboard.py outputs/results --output_dir outputs/leaderboard
    python scripts/make_leaderboard.py --benchmark org/pref-discerning --output_dir outputs/leaderboard

From folders of results.json, and from the models on the Hub that submitted to the benchmark. With --benchmark, a score
of other rows than the benchmark has now is marked. Writes leaderboard.json, index.html and the README.md of a static
Space: `hf upload org/leaderboard outputs/leaderboard --repo-type space` shows it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic_write import write_text
from ..benchmark.report import is_on_the_hub
from ..leaderboard.collection import collect_hub, collect_local, mark_stale, write_records
from ..leaderboard.page import make_tables, readme, render_page
from ..resources import resource
from .command_line import defaults_of, run_command


@dataclass(kw_only=True)
class LeaderboardArguments:
    """Arguments of [`make_leaderboard`]; see `--help` for what each is."""

    results: Sequence[Path]
    benchmark: str | None = None
    models: Sequence[str] | None = None
    output_dir: Path


def parse_arguments(argv: list[str] | None) -> LeaderboardArguments:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS_DIR", help="folders of results.json files")
    parser.add_argument("--benchmark", help="dataset on the Hub, or a local benchmark directory to compare with")
    parser.add_argument("--models", nargs="+", help="models on the Hub; all that carry our tag where not given")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the page goes")
    parser.set_defaults(**defaults_of(LeaderboardArguments))
    return LeaderboardArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Collects and writes; returns 0, or 1 after one line on bad input."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    return run_command(lambda: make_leaderboard(parse_arguments(argv)))


def make_leaderboard(arguments: LeaderboardArguments) -> None:
    """Everything between the arguments and the files."""
    hub = arguments.benchmark is not None and is_on_the_hub(arguments.benchmark)
    if arguments.models and not hub:
        raise ValueError("--models are asked about a benchmark on the Hub; name it by --benchmark org/name.")
    if not arguments.results and not hub:
        raise ValueError("there is nothing to collect; pass folders of results, or --benchmark org/name.")
    records = collect_local(arguments.results) if arguments.results else []
    if hub:
        records += collect_hub(arguments.benchmark, arguments.models)
    if arguments.benchmark is not None:
        records = mark_stale(records, arguments.benchmark)
    name = arguments.benchmark if hub else None
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    write_records(records, arguments.output_dir / "leaderboard.json")
    for file, text in (
        ("index.html", render_page(records, resource("model_cards/spaces/leaderboard/index.html"), name)),
        ("README.md", readme(name)),
    ):
        write_text(arguments.output_dir / file, text)
    stale = sum(record["stale"] for record in records)
    models = len({record["model"] for record in records})
    print(f"{len(records)} scores ({stale} of other rows) of {models} models in {len(make_tables(records))} tables")
    print(f"page: {arguments.output_dir / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
