"""Metrics of each axis as means over rows, computed from ranks.

The definitions are those of `ranking_metrics` for one relevant item per row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .result_parts import AxisResult, Sides
from .significance import bootstrap_intervals

SIDES = {"with_preference": "rank", "without_preference": "rank_no_preference"}


def row_values(ranks: np.ndarray, k: Sequence[int], ranks_negative: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Computes recall@k, ndcg@k and, given the ranks for the negative preferences, m@k of every row.

    Args:
        ranks (`np.ndarray`): Ranks of the targets from 1, or 0 if not found; shape `(num_rows,)`.
        k (`Sequence[int]`): Cut-offs.
        ranks_negative (`np.ndarray`, *optional*): Ranks of the same rows for the negative preference.

    Returns:
        `dict[str, np.ndarray]`: float64 `(num_rows,)` each, keys as in `recall@5`.

    >>> values = row_values(np.array([1, 3, 0]), [2, 3], ranks_negative=np.array([0, 3, 0]))
    >>> {name: value.tolist() for name, value in values.items() if name.endswith("@3")}
    {'recall@3': [1.0, 1.0, 0.0], 'ndcg@3': [1.0, 0.5, 0.0], 'm@3': [1.0, 0.0, 0.0]}
    """
    hits = {cutoff: _within(ranks, cutoff) for cutoff in k}
    gains = 1 / np.log2(1 + np.maximum(ranks, 1))
    values = {f"recall@{cutoff}": hit.astype(np.float64) for cutoff, hit in hits.items()}
    values |= {f"ndcg@{cutoff}": np.where(hit, gains, 0.0) for cutoff, hit in hits.items()}
    if ranks_negative is not None:
        values |= {
            f"m@{cutoff}": (hit & ~_within(ranks_negative, cutoff)).astype(np.float64) for cutoff, hit in hits.items()
        }
    return values


def score_axes(ranks: pa.Table, k: Sequence[int], resamples: int = 1000, seed: int = 0) -> dict[str, AxisResult]:
    """Computes the metrics of every axis, with bootstrap intervals.

    Args:
        ranks (`pa.Table`): Of [`~dataset_builders.scoring.ranks.rank_rows`].
        k (`Sequence[int]`): Cut-offs.
        resamples (`int`, defaults to 1000): Number of bootstrap resamples.
        seed (`int`, defaults to 0): Random seed of every interval, which therefore does not depend on other axes.

    Returns:
        `dict[str, AxisResult]`: Results by axis, in the order of the ranks.
    """
    results = {}
    for axis in pc.unique(ranks.column("axis")).to_pylist():
        rows = ranks.filter(pc.equal(ranks.column("axis"), axis))
        figures: dict[str, Any] = {}
        intervals: dict[str, Any] = {}
        unseen: dict[str, Any] = {}
        for side, column in SIDES.items():
            values = side_values(rows, column, k)
            figures[side] = None if values is None else _means(values)
            intervals[side] = None if values is None else _intervals(values, resamples, seed)
            values = side_values(rows, f"{column}_unseen", k)
            unseen[side] = None if values is None else _means(values)
        results[axis] = AxisResult(axis, len(rows), Sides(**figures), Sides(**unseen), Sides(**intervals))
    return results


def side_values(rows: pa.Table, column: str, k: Sequence[int]) -> dict[str, np.ndarray] | None:
    """[`row_values`] of one column of ranks of one axis; `None` if that variant was not evaluated."""
    ranks = _ranks(rows, column)
    return None if ranks is None else row_values(ranks, k, _ranks(rows, "rank_negative"))


def format_table(axes: Mapping[str, AxisResult], k: int = 10, protocol: str = "all") -> str:
    """Formats the axes as a Markdown table at one cut-off.

    Args:
        axes (`Mapping[str, AxisResult]`): Results by axis.
        k (`int`, defaults to 10): Cut-off.
        protocol (`str`, defaults to `"all"`): One of `PROTOCOLS`; `unseen` omits axes whose rows have no history.

    >>> sides = Sides({"recall@10": 0.5, "ndcg@10": 0.3}, {"recall@10": 0.0, "ndcg@10": 0.0})
    >>> print(format_table({"fine": AxisResult("fine", 2, sides)}))
    | axis | rows | metric | with preference | without | NDCG@10 with | without |
    |---|---:|---|---:|---:|---:|---:|
    | fine | 2 | recall@10 | 0.5000 | 0.0000 | 0.3000 | 0.0000 |
    """
    lines = [
        f"| axis | rows | metric | with preference | without | NDCG@{k} with | without |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]

    for axis, result in axes.items():
        if protocol == "unseen" and not result.record.has_history:
            continue
        main = result.record.main_metric(k)
        ndcg = "" if result.record.metric == "m" else f"ndcg@{k}"
        values = [result.figures(side, protocol).get(name) for name in (main, ndcg) for side in SIDES]
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        lines.append(f"| {axis} | {result.num_rows} | {main} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _within(ranks: np.ndarray, k: int) -> np.ndarray:
    return (ranks > 0) & (ranks <= k)


def _ranks(rows: pa.Table, column: str) -> np.ndarray | None:
    values = rows.column(column)
    return None if values.null_count == len(values) else values.to_numpy()


def _means(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in values.items()}


def _intervals(values: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, list[float]]:
    lows, highs = bootstrap_intervals(np.stack(list(values.values()), axis=1), np.random.default_rng(seed), resamples)
    return {name: [float(low), float(high)] for name, low, high in zip(values, lows, highs, strict=True)}
