"""Baselines without training beside scores: from the report of a build or the rows, as a table, and compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ..benchmark.axes import Axis
from ..benchmark.baselines import BASELINES, Catalog, axis_baselines
from .result_parts import AxisResult, Figures, is_share

TOLERANCE = 1e-9


def read_baselines(report: Mapping[str, Any], axis: Axis, k: Sequence[int]) -> dict[str, dict[str, float]]:
    """Reads the figures of one axis from the report of a build; what is no figure is left out.

    Args:
        report (`Mapping`): Parsed JSON.
        axis ([`~dataset_builders.benchmark.axes.Axis`]): The axis.
        k (`Sequence[int]`): Cut-offs to keep.

    Returns:
        `dict[str, dict[str, float]]`: Known baseline -> metric -> value; without baselines that lack one of the
        metrics.
    """
    metrics = [f"{metric}@{cutoff}" for metric in dict.fromkeys(("recall", "ndcg", axis.metric)) for cutoff in k]
    of_axis = _object(_object(report.get("baselines")).get(axis.name))
    figures = {name: _object(of_axis.get(name)) for name in BASELINES}
    return {
        name: {metric: found[metric] for metric in metrics}
        for name, found in figures.items()
        if all(is_share(found.get(metric)) for metric in metrics)
    }


def find_baselines(
    report: Mapping[str, Any] | None,
    axis: Axis,
    rows: pa.Table,
    train: Callable[[], pa.Table | None],
    num_items: int,
    k: Sequence[int],
) -> dict[str, dict[str, float]]:
    """Finds the figures of the baselines on scored rows; the constant list is counted where the report lacks it.

    Args:
        report (`Mapping`, *optional*): Report of the build; `None` where it speaks of other rows than these.
        axis, rows: As in [`~dataset_builders.benchmark.baselines.rank_axis`].
        train (`Callable`): Loads the rows of the axis' split train; `None` if there are none.
        num_items (`int`): Number of items.
        k (`Sequence[int]`): Cut-offs.

    Returns:
        `dict[str, dict[str, float]]`: Baseline -> metric -> value, as far as known, in the order of tables.
    """
    known = {} if report is None else read_baselines(report, axis, k)
    if "constant_list" not in known:
        known |= axis_baselines(axis, rows, train(), Catalog(num_items), k)
    return {name: known[name] for name in BASELINES if name in known}


def main_baselines(result: AxisResult, k: int = 10) -> dict[str, float]:
    """Main metric of each known baseline of an axis, in the order of tables.

    >>> main_baselines(AxisResult("fine", 2, baselines={"history_only": {"recall@10": 0.1}, "mine": {"recall@10": 1}}))
    {'history_only': 0.1}
    """
    return main_figures(result.baselines, result.record.main_metric(k))


def best_baseline(result: AxisResult, k: int = 10) -> tuple[str, float] | None:
    """Name and main metric of the best known baseline of an axis; the first of equal ones, `None` if none is known."""
    return max(main_baselines(result, k).items(), key=lambda pair: pair[1], default=None)


def main_figures(baselines: Mapping[str, Figures], metric: str) -> dict[str, float]:
    """One metric of each known baseline, in the order of tables."""
    return {name: baselines[name][metric] for name in BASELINES if metric in baselines.get(name, {})}


def format_baselines(figures: Mapping[str, tuple[str, Mapping[str, float]]]) -> str:
    """Formats baselines as a Markdown table; empty if there are none.

    Args:
        figures (`Mapping`): Axis -> name of its metric, and values by baseline.

    >>> print(format_baselines({"fine": ("recall@10", {"constant_list": 0.25})}))
    | axis | metric | constant list | preference only | history only |
    |---|---|---:|---:|---:|
    | fine | recall@10 | 0.2500 | - | - |
    """
    if not any(values for _, values in figures.values()):
        return ""
    lines = [f"| axis | metric | {' | '.join(BASELINES.values())} |", f"|---|---|{'---:|' * len(BASELINES)}"]
    for axis, (metric, values) in figures.items():
        cells = [f"{values[name]:.4f}" if name in values else "-" for name in BASELINES]
        lines.append(f"| {axis} | {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def baselines_table(axes: Mapping[str, AxisResult], k: int = 10) -> str:
    """Formats the baselines of scored axes, as [`format_baselines`]."""
    return format_baselines(
        {name: (axis.record.main_metric(k), main_baselines(axis, k)) for name, axis in axes.items()}
    )


def not_beaten(axes: Mapping[str, AxisResult], k: int = 10, method: str = "") -> list[str]:
    """Names every axis on which the score with the preference is not above the best baseline, a sentence each.

    Args:
        axes (`Mapping[str, AxisResult]`): Results by axis.
        k (`int`, defaults to 10): Cut-off.
        method (`str`): Method that was scored; baselines are not compared with each other.
    """
    sentences = []
    for name, axis in axes.items() if method not in BASELINES else ():
        best, value = best_baseline(axis, k), axis.main_value(k=k)
        if best is not None and value is not None and value <= best[1] + TOLERANCE:
            sentences.append(
                f"{name}: {axis.record.main_metric(k)} {value:.4f} does not beat the baseline {BASELINES[best[0]]} "
                f"({best[1]:.4f})"
            )
    return sentences


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
