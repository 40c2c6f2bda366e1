"""Whether a results.json may go onto a leaderboard: every objection to it, each with its way out.

Knows the file that `scripts/evaluate_axes.py` writes, and rows.parquet beside it. Leaves to `hub.py` where the
benchmark comes from, and to `submission.py` what is sent.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..benchmark.axes import AXES, get_axis
from ..benchmark.schema import config_name
from ..scoring.figures import SIDES, side_values
from .hub import Benchmark

TOLERANCE = 1e-9
SPLIT = "test"
AGAIN = "score again with scripts/evaluate_axes.py"
_KINDS = {"method": str, "domain": str, "split": str, "k": list, "benchmark": dict, "axes": dict, "left_out": dict}


def main_metric(axis: str) -> str:
    """The figure that the leaderboard of an axis ranks by, as results.json names it.

    >>> main_metric("sentiment"), main_metric("fine")
    ('m@10', 'recall@10')
    """
    return get_axis(axis).main_metric()


def task_id(domain: str, axis: str) -> str:
    """Id of a task in `eval.yaml`.

    >>> task_id("beauty", "sentiment")
    'beauty_sentiment_m_at_10'
    """
    return f"{config_name(domain, axis)}_{get_axis(axis).task_metric}"


def main_value(entry: Mapping[str, Any], axis: str, side: str = "with_preference") -> float | None:
    """The figure that counts of one axis of results.json; `None` where it was not asked."""
    figures = entry.get(side)
    return None if figures is None else figures[main_metric(axis)]


def is_share(value: Any) -> bool:
    """Whether a value can be a figure: a finite number from 0 to 1.

    >>> is_share(0.5), is_share(50), is_share(float("nan")), is_share("0.5"), is_share(True)
    (True, False, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def check_figures(results: Any) -> list[str]:
    """Objections to the file itself: what it must have, and what its numbers can be.

    Args:
        results: The parsed results.json, whatever it is.

    Returns:
        `list[str]`: Sentences; empty if there is no objection.
    """
    if not isinstance(results, dict):
        return [f"the file holds a {type(results).__name__} and not an object; {AGAIN}."]
    problems = [
        f"{name} ({_short(results.get(name))}) must be a {kind.__name__}; {AGAIN}."
        for name, kind in _KINDS.items()
        if not isinstance(results.get(name), kind)
    ]
    if problems:
        return problems
    if results["split"] != SPLIT:
        problems.append(f"split ({results['split']!r}) must be {SPLIT!r}; {AGAIN} --split {SPLIT}.")
    try:
        config_name(results["domain"], next(iter(AXES)))
    except ValueError as error:
        problems.append(str(error))
    if 10 not in results["k"] or not all(type(k) is int and k > 0 for k in results["k"]):
        problems.append(
            f"k ({_short(results['k'])}) must be counts, 10 among them, by which every axis is ranked; {AGAIN}."
        )
    problems += _check_names(results["benchmark"])
    if not results["axes"]:
        problems.append(f"axes is empty; {AGAIN}.")
    for axis, entry in results["axes"].items():
        if axis not in AXES:
            problems.append(f"axes.{axis} is none of {', '.join(AXES)}; take it out, or {AGAIN}.")
        elif not isinstance(entry, dict):
            problems.append(f"axes.{axis} ({_short(entry)}) must be an object; {AGAIN}.")
        else:
            problems += _check_axis(axis, entry)
    return problems


def check_benchmark(results: Mapping[str, Any], benchmark: Benchmark) -> list[str]:
    """Objections to what was scored: axes, rows and fingerprints must be those of the benchmark.

    Args:
        results (`Mapping[str, Any]`): A results.json to which [`check_figures`] has no objection.
        benchmark ([`~dataset_builders.leaderboard.hub.Benchmark`]): The same domain.
    """
    domain, report, problems = results["domain"], benchmark.report, []
    where = f"{benchmark.name} at revision {benchmark.revision}" if benchmark.revision else benchmark.name
    for axis in AXES:
        rows = report.rows.get(config_name(domain, axis), {}).get(SPLIT, 0)
        entry = results["axes"].get(axis)
        if entry is None:
            if rows and axis not in results["left_out"]:
                problems.append(
                    f"axes.{axis} is missing: the benchmark has {rows} rows of it; {AGAIN} and without --axes."
                )
            continue
        if entry["num_rows"] != rows:
            problems.append(
                f"axes.{axis}.num_rows ({entry['num_rows']}) must be {rows}, the rows of {SPLIT} of "
                f"{config_name(domain, axis)}; {AGAIN} and without --max_rows."
            )
        if task_id(domain, axis) not in benchmark.tasks:
            problems.append(
                f"axes.{axis} has no task: {task_id(domain, axis)!r} is not in eval.yaml of {where}; name the "
                "revision that has it, or take the axis out."
            )
    given = results["benchmark"].get("fingerprints") or {}
    for config, fingerprint in report.fingerprints.items():
        if given.get(config) != fingerprint:
            problems.append(
                f"benchmark.fingerprints.{config} ({_short(given.get(config))}) must be {fingerprint}, as in {where}: "
                "other rows were scored; pass the --revision that they are of, or score this one."
            )
    return problems


def check_ranks(results: Mapping[str, Any], ranks: pa.Table) -> list[str]:
    """Objections to the figures: each is computed again from the rank of every row.

    Args:
        results (`Mapping[str, Any]`): A results.json to which [`check_figures`] has no objection.
        ranks (`pa.Table`): Of [`~dataset_builders.scoring.ranks.read_ranks`].
    """
    problems = []
    for axis, entry in results["axes"].items():
        rows = ranks.filter(pc.equal(ranks.column("axis"), axis))
        numbers = np.sort(rows.column("row").to_numpy())
        if not np.array_equal(numbers, np.arange(entry["num_rows"])):
            problems.append(
                f"rows.parquet holds {len(numbers)} rows of {axis}, {len(np.unique(numbers))} of them different, and "
                f"must hold 0 to {entry['num_rows'] - 1}, each once; {AGAIN} and without "
                "--max_rows, and keep both files together."
            )
            continue
        for side, column in SIDES.items():
            for name, figures, ending in (
                (f"axes.{axis}.{side}", entry.get(side), ""),
                (f"axes.{axis}.unseen.{side}", (entry.get("unseen") or {}).get(side), "_unseen"),
            ):
                problems += _check_figures_again(name, figures, rows, column + ending, results["k"])
    return problems


def _check_names(benchmark: Mapping[str, Any]) -> Iterator[str]:
    """What names a benchmark is text, or absent."""
    fingerprints = benchmark.get("fingerprints") or {}
    if not isinstance(fingerprints, dict):
        yield f"benchmark.fingerprints ({_short(fingerprints)}) must be an object; {AGAIN}."
        fingerprints = {}
    named = {name: benchmark.get(name) for name in ("revision", "approximator")}
    for name, value in (named | {f"fingerprints.{config}": value for config, value in fingerprints.items()}).items():
        if value is not None and not isinstance(value, str):
            yield f"benchmark.{name} ({_short(value)}) must be a string; {AGAIN}."


def _check_axis(axis: str, entry: Mapping[str, Any]) -> list[str]:
    problems = []
    num_rows = entry.get("num_rows")
    if not isinstance(num_rows, int) or isinstance(num_rows, bool) or num_rows < 1:
        problems.append(f"axes.{axis}.num_rows ({_short(num_rows)}) must be a count of at least 1; {AGAIN}.")
    if entry.get("with_preference") is None and get_axis(axis).has_history:
        problems.append(
            f"axes.{axis}.with_preference is missing; a method that reads no preference answers {axis}/row as well, "
            "from the history alone."
        )
    intervals, unseen = entry.get("intervals") or {}, entry.get("unseen") or {}
    for name, value in (("intervals", intervals), ("unseen", unseen)):
        if not isinstance(value, dict):
            return [*problems, f"axes.{axis}.{name} ({_short(value)}) must be an object; {AGAIN}."]
    for side in SIDES:
        for name, figures in ((side, entry.get(side)), (f"unseen.{side}", unseen.get(side))):
            problems += _check_numbers(f"axes.{axis}.{name}", figures, main_metric(axis))
        problems += _check_intervals(f"axes.{axis}.intervals.{side}", intervals.get(side), entry.get(side))
    return problems


def _check_numbers(name: str, figures: Any, required: str) -> Iterator[str]:
    """`None` is a side that was not asked."""
    if figures is None:
        return
    if not isinstance(figures, dict):
        yield f"{name} ({_short(figures)}) must be an object of figures; {AGAIN}."
        return
    if required not in figures:
        yield f"{name}.{required} is missing, by which the axis is ranked; {AGAIN} --k 1 5 10 20."
    for metric, value in figures.items():
        if not is_share(value):
            yield f"{name}.{metric} ({_short(value)}) must be a finite number from 0 to 1; {AGAIN}."


def _check_intervals(name: str, intervals: Any, figures: Any) -> Iterator[str]:
    if intervals is None:
        return
    if not isinstance(intervals, dict) or not isinstance(figures, dict):
        yield f"{name} ({_short(intervals)}) must be an object of intervals, beside its figures; {AGAIN}."
        return
    for metric, interval in intervals.items():
        value = figures.get(metric)
        if not isinstance(interval, list) or len(interval) != 2 or not all(is_share(end) for end in interval):
            yield f"{name}.{metric} ({_short(interval)}) must be two finite numbers from 0 to 1; {AGAIN}."
        elif is_share(value) and not interval[0] - TOLERANCE <= value <= interval[1] + TOLERANCE:
            yield f"{name}.{metric} ({_short(interval)}) must lie around its figure ({value}); {AGAIN}."


def _check_figures_again(
    name: str, figures: Mapping[str, float] | None, rows: pa.Table, column: str, k: list[int]
) -> Iterator[str]:
    values = side_values(rows, column, k)
    if (values is None) != (figures is None):
        found = "none" if values is None else "some"
        yield f"{name} ({_short(figures)}) does not go with rows.parquet, which has {found} of these ranks; {AGAIN}."
        return
    for metric, row_figures in (values or {}).items():
        mean = float(row_figures.mean())
        if metric not in figures:
            yield f"{name}.{metric} is missing, and follows from rows.parquet ({mean}); {AGAIN}."
        elif abs(figures[metric] - mean) > TOLERANCE:
            yield (
                f"{name}.{metric} ({figures[metric]}) must be {mean}, as it follows from rows.parquet (to "
                f"{TOLERANCE}); {AGAIN}, and keep both files as it writes them."
            )
    for metric in sorted(set(figures or ()) - set(values or ())):
        yield f"{name}.{metric} does not follow from rows.parquet; {AGAIN}."


def _short(value: Any) -> str:
    """A value as an error names it, cut where it is long."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
