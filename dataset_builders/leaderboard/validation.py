"""Validate results for a leaderboard; every objection names its way out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..benchmark.axes import AXES, get_axis
from ..benchmark.schema import config_name
from ..scoring.figures import SIDES, side_values
from ..scoring.result_parts import AGAIN, PROTOCOLS, AxisResult, Figures
from ..scoring.results import Results
from .hub import Benchmark

TOLERANCE = 1e-9
SPLIT = "test"


def task_id(domain: str, axis: str) -> str:
    """Id of a task in `eval.yaml`.

    >>> task_id("beauty", "sentiment")
    'beauty_sentiment_m_at_10'
    """
    return f"{config_name(domain, axis)}_{get_axis(axis).task_metric}"


def check_figures(results: Results) -> list[str]:
    """Objections to the results themselves, including the leaderboard's requirements.

    Args:
        results ([`~dataset_builders.scoring.results.Results`]): Results to submit.

    Returns:
        `list[str]`: One sentence per objection.
    """
    problems = results.problems()
    if problems:
        return problems
    if results.split != SPLIT:
        problems.append(f"split ({results.split!r}) must be {SPLIT!r}; {AGAIN} --split {SPLIT}.")
    if 10 not in results.k:
        problems.append(f"k ({list(results.k)}) must have 10 among them, by which every axis is ranked; {AGAIN}.")
    for axis, result in results.axes.items():
        if result.all.with_preference is None and result.record.has_history:
            problems.append(
                f"axes.{axis}.with_preference is missing; a method that reads no preference answers {axis}/row as "
                "well, from the history alone."
            )
        for protocol in PROTOCOLS:
            for side in SIDES:
                name = f"axes.{axis}.{'unseen.' if protocol == 'unseen' else ''}{side}"
                problems += _check_together(name, result, result.figures(side, protocol), results.k)
        for side, intervals in result.intervals.items():
            for metric, (low, high) in (intervals or {}).items():
                value = result.figures(side)[metric]
                if not low - TOLERANCE <= value <= high + TOLERANCE:
                    problems.append(
                        f"axes.{axis}.intervals.{side}.{metric} ({[low, high]}) must lie around its figure ({value}); "
                        f"{AGAIN}."
                    )
    return problems


def _check_together(name: str, result: AxisResult, figures: Figures, k: Sequence[int]) -> Iterator[str]:
    """Objections to figures of one side that no ranking of these rows has, whatever it is."""
    metric, cutoffs = result.record.metric, sorted(k)
    rising = [kind for kind in ("recall", "ndcg", "strength", "all") if kind != "ndcg" or metric != "all"]
    for kind in rising:
        for low, high in pairwise(cutoffs):
            first, then = figures.get(f"{kind}@{low}"), figures.get(f"{kind}@{high}")
            if first is not None and then is not None and first > then + TOLERANCE:
                yield f"{name}.{kind}@{low} ({first}) must not be above that at {high} ({then}); {AGAIN}."
    for kind in ("m", "all", *(() if metric == "all" else ("ndcg",))):
        for cutoff in cutoffs:
            part, whole = figures.get(f"{kind}@{cutoff}"), figures.get(f"recall@{cutoff}")
            if part is not None and whole is not None and part > whole + TOLERANCE:
                yield f"{name}.{kind}@{cutoff} ({part}) must not be above recall@{cutoff} ({whole}); {AGAIN}."
    counted = {"recall": 2 * result.num_rows if metric == "all" else result.num_rows, metric: result.num_rows}
    for kind, rows in counted.items():
        for cutoff in cutoffs:
            value = figures.get(f"{kind}@{cutoff}")
            if value is not None and abs(value * rows - round(value * rows)) > 1e-6 * max(1, value * rows):
                yield (
                    f"{name}.{kind}@{cutoff} ({value}) must be a share of {result.num_rows} rows, a whole number of "
                    f"them; {AGAIN}."
                )


def check_benchmark(results: Results, benchmark: Benchmark) -> list[str]:
    """Objections to axes, rows and fingerprints, which must be those of the benchmark.

    Args:
        results ([`~dataset_builders.scoring.results.Results`]): [`check_figures`] has no objection to them.
        benchmark ([`~dataset_builders.leaderboard.hub.Benchmark`]): The same domain.
    """
    domain, report, problems = results.domain, benchmark.report, []
    where = f"{benchmark.name} at revision {benchmark.revision}" if benchmark.revision else benchmark.name
    for axis in AXES:
        rows = report.rows.get(config_name(domain, axis), {}).get(SPLIT, 0)
        found = results.axes.get(axis)
        if found is None:
            if rows and axis not in results.left_out:
                problems.append(
                    f"axes.{axis} is missing: the benchmark has {rows} rows of it; {AGAIN} and without --axes."
                )
            continue
        if found.num_rows != rows:
            problems.append(
                f"axes.{axis}.num_rows ({found.num_rows}) must be {rows}, the rows of {SPLIT} of "
                f"{config_name(domain, axis)}; {AGAIN} and without --max_rows."
            )
        if task_id(domain, axis) not in benchmark.tasks:
            problems.append(
                f"axes.{axis} has no task: {task_id(domain, axis)!r} is not in eval.yaml of {where}; name the "
                "revision that has it, or take the axis out."
            )
    for axis, found in results.axes.items():
        stated = report.baselines.get(axis, {})
        for name, figures in found.baselines.items():
            for metric, value in figures.items():
                known = stated.get(name, {}).get(metric, value)
                if abs(known - value) > TOLERANCE:
                    problems.append(
                        f"axes.{axis}.baselines.{name}.{metric} ({value}) must be {known}, as in {where}; {AGAIN}."
                    )
    needed = {config_name(domain, name) for name in ("items", *results.axes)}
    for config, fingerprint in report.fingerprints.items():
        given = results.benchmark.fingerprints.get(config)
        if given != fingerprint and (given is not None or config in needed):
            shown = "missing" if given is None else ascii(given[:60])
            problems.append(
                f"benchmark.fingerprints.{config} ({shown}) must be {fingerprint}, as in {where}: other rows were "
                "scored; pass the --revision that they are of, or score this one."
            )
    return problems


def check_ranks(results: Results, ranks: pa.Table) -> list[str]:
    """Objections to the metrics, which are recomputed from the ranks.

    Args:
        results ([`~dataset_builders.scoring.results.Results`]): [`check_figures`] has no objection to them.
        ranks (`pa.Table`): Of [`~dataset_builders.scoring.ranks.read_ranks`].
    """
    problems = []
    for axis, found in results.axes.items():
        rows = ranks.filter(pc.equal(ranks.column("axis"), axis))
        numbers = np.sort(rows.column("row").to_numpy())
        if len(numbers) != found.num_rows or not np.array_equal(numbers, np.arange(len(numbers))):
            problems.append(
                f"rows.parquet holds {len(numbers)} rows of {axis}, {len(np.unique(numbers))} of them different, and "
                f"must hold 0 to {found.num_rows - 1}, each once; {AGAIN} and without "
                "--max_rows, and keep both files together."
            )
            continue
        for protocol in PROTOCOLS:
            name = "unseen." if protocol == "unseen" else ""
            for side in SIDES:
                values = side_values(rows, side, results.k, protocol)
                figures = found.figures(side, protocol)
                problems += _check_figures_again(f"axes.{axis}.{name}{side}", figures, values)
    return problems


def _check_figures_again(name: str, figures: Figures, values: Mapping[str, np.ndarray] | None) -> Iterator[str]:
    if (values is None) == bool(figures):
        found, shown = ("none", "given") if values is None else ("some", "missing")
        yield f"{name} ({shown}) does not go with rows.parquet, which has {found} of these ranks; {AGAIN}."
        return
    for metric, row_figures in (values or {}).items():
        mean = float(row_figures.mean())
        if abs(figures[metric] - mean) > TOLERANCE:
            yield (
                f"{name}.{metric} ({figures[metric]}) must be {mean}, as it follows from rows.parquet (to "
                f"{TOLERANCE}); {AGAIN}, and keep both files as it writes them."
            )
