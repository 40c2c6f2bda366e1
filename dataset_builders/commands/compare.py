"""Compare two methods on the same rows of a benchmark by a paired test, with confidence intervals.

    mender compare outputs/a/rows.parquet outputs/b/rows.parquet --axis fine --metric recall@10

Reads two rows.parquet of mender evaluate or mender score; differences are first minus second.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..benchmark.axes import AXES, METRICS, get_axis
from ..escaping import one_line
from ..scoring.figures import SIDES, side_values
from ..scoring.ranks import read_ranks
from ..scoring.result_parts import PROTOCOLS
from ..scoring.significance import PairedTest, paired_test
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command


@dataclass(kw_only=True)
class ComparisonArguments:
    """Arguments of [`compare`]; `--help` describes each."""

    first: Path
    second: Path
    axis: Sequence[str] | None = None
    metric: Sequence[str] | None = None
    side: str = "with_preference"
    protocol: str = "all"
    resamples: int = 10000
    seed: int = 0


def parse_arguments(argv: list[str] | None) -> ComparisonArguments:
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("first", type=Path, help="rows.parquet of the first method")
    parser.add_argument("second", type=Path, help="rows.parquet of the second method, on the same rows")
    parser.add_argument(
        "--axis", nargs="+", choices=list(AXES), help="axes to compare; default: all that both files have"
    )
    parser.add_argument(
        "--metric", nargs="+", help="metrics, as in recall@10; default: the main metric of each axis and NDCG, at 10"
    )
    parser.add_argument("--side", choices=list(SIDES), help="whether the input contains the preference")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="candidates: all items, or only those unseen in the row's own history",
    )
    parser.add_argument("--resamples", type=int, help="number of resamples for the test and the intervals")
    parser.add_argument("--seed", type=int, help="random seed of the resampling")
    parser.set_defaults(**defaults_of(ComparisonArguments))
    return ComparisonArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Compares; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: compare(parse_arguments(argv)))


def compare(arguments: ComparisonArguments) -> dict[tuple[str, str], PairedTest]:
    """Runs the tests and prints their table; returns them by (axis, metric)."""
    (first, first_about), (second, second_about) = read_ranks(arguments.first), read_ranks(arguments.second)
    for name in ("domain", "split"):
        if first_about.get(name) != second_about.get(name):
            raise ValueError(
                f"{name} differs: {first_about.get(name)!r} and {second_about.get(name)!r}; compare runs of one."
            )
    axes = [axis for axis in AXES if len(rows_of(first, axis)) and len(rows_of(second, axis))]
    missing = [axis for axis in arguments.axis or () if axis not in axes]
    if missing or not axes:
        raise ValueError(f"the files have no {missing[0] if missing else 'axis'} in common; they share {axes}.")
    deepest = min(max(about.get("k", [np.inf])) for about in (first_about, second_about))
    metrics = {axis: arguments.metric or default_metrics(axis) for axis in arguments.axis or axes}
    for metric in (one for names in metrics.values() for one in names):
        cut_off(metric, deepest)
    tests = paired_tests(
        [first], [second], metrics, arguments.side, arguments.protocol, arguments.resamples, arguments.seed
    )
    if not tests:
        raise ValueError(
            f"nothing to compare: {', '.join(arguments.axis or axes)} {arguments.side} has no "
            f"{', '.join(arguments.metric or ['metric'])} in both files; an axis has recall, ndcg and its own metric."
        )
    names = [about.get("method", path.parent.name) for about, path in
             ((first_about, arguments.first), (second_about, arguments.second))]  # fmt: skip
    first_name, second_name = (one_line(name, 80) for name in names)
    print(f"{first_name} minus {second_name}, {arguments.side.replace('_', ' ')}, protocol {arguments.protocol}\n")
    print(format_tests(tests))
    return tests


def rows_of(ranks: pa.Table, axis: str) -> pa.Table:
    return ranks.filter(pc.equal(ranks.column("axis"), axis)).sort_by("row")


def paired_tests(
    first: Sequence[pa.Table],
    second: Sequence[pa.Table],
    metrics: Mapping[str, Sequence[str]],
    side: str = "with_preference",
    protocol: str = "all",
    resamples: int = 10000,
    seed: int = 0,
) -> dict[tuple[str, str], PairedTest]:
    """Tests the difference of two methods on the same rows; the value of a row is the mean over a method's seeds.

    Args:
        first, second (`Sequence[pa.Table]`): Ranks of each method, a table of `read_ranks` per seed.
        metrics (`Mapping[str, Sequence[str]]`): Names of metrics, as in `recall@10`, by axis.
        side, protocol, resamples, seed: As in [`ComparisonArguments`].

    Returns:
        `dict`: Tests by (axis, metric), without metrics that one of the tables does not have.

    Raises:
        ValueError: If the tables have other rows, or a metric is unknown.
    """
    tests = {}
    for axis, names in metrics.items():
        tables = same_rows([*first, *second], axis)
        for metric in names:
            k = cut_off(metric)
            found = [(side_values(rows, side, [k], protocol) or {}).get(metric) for rows in tables]
            values = [one for one in found if one is not None]
            if len(values) == len(found):
                one, other = (np.mean(part, axis=0) for part in (values[: len(first)], values[len(first) :]))
                tests[axis, metric] = paired_test(one, other, np.random.default_rng(seed), resamples)
    return tests


def same_rows(tables: Sequence[pa.Table], axis: str) -> list[pa.Table]:
    """The rows of one axis in all tables, checked to be the same."""
    found = [rows_of(ranks, axis) for ranks in tables]
    for rows in found[1:]:
        if len(rows) != len(found[0]):
            raise ValueError(
                f"{axis} has {len(found[0])} and {len(rows)} rows; evaluate both with the same --max_rows."
            )
        for name in ("row", "target", "user_id"):
            if not rows.column(name).equals(found[0].column(name)):
                raise ValueError(
                    f"{axis}: the files differ in {name}; compare runs on the same rows of one benchmark."
                )
    return found


def default_metrics(axis: str) -> list[str]:
    return get_axis(axis).shown_metrics()


def cut_off(metric: str, deepest: float = np.inf) -> int:
    """The cut-off k of a metric, as in `recall@10`."""
    known = ("ndcg", *METRICS)
    match = re.fullmatch(rf"({'|'.join(known)})@([1-9]\d*)", metric)
    if match is None:
        raise ValueError(f"metric {metric!r} must be {', '.join(known)} at a cut-off, as in recall@10.")
    if int(match[2]) > deepest:
        raise ValueError(
            f"metric {metric!r} is deeper than the runs were evaluated; the deepest cut-off is {deepest}."
        )
    return int(match[2])


def format_tests(tests: Mapping[tuple[str, str], PairedTest]) -> str:
    """The tests as a Markdown table."""
    lines = [
        "| axis | metric | rows | rows that differ | difference | 95 % interval | p |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (axis, metric), test in tests.items():
        low, high = test.interval
        lines.append(
            f"| {axis} | {metric} | {test.num_rows} | {test.num_changed} | {test.difference:+.4f} | "
            f"{low:+.4f} .. {high:+.4f} | {test.p_value:.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
