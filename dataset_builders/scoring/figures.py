"""Figures: means over the rows of each axis, with and without the preference, under both protocols, and their table.

Knows ranks alone. The definitions are those of `ranking_metrics`, for one relevant item per row; a test holds the two
together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..benchmark.axes import get_axis
from .significance import bootstrap_intervals

SIDES = {"with_preference": "rank", "without_preference": "rank_no_preference"}


def row_values(ranks: np.ndarray, k: Sequence[int], ranks_negative: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """recall@k, ndcg@k and, where the ranks for the negative preferences are given, m@k of every row.

    Args:
        ranks (`np.ndarray`): From 1, 0 where the target was not found; shape `(num_rows,)`.
        k (`Sequence[int]`): Cut-offs.
        ranks_negative (`np.ndarray`, *optional*): The same rows asked with the negative preference.

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


def score_axes(ranks: pa.Table, k: Sequence[int], resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Everything that `results.json` says of the axes.

    Args:
        ranks (`pa.Table`): Of [`~dataset_builders.scoring.ranks.rank_rows`].
        k (`Sequence[int]`): Cut-offs.
        resamples (`int`, defaults to 1000), seed (`int`, defaults to 0): Of the bootstrap, anew for every interval, so
            that an axis has the same one whatever else is scored.

    Returns:
        `dict`: Per axis `title`, `metric` and `num_rows`; `with_preference` and `without_preference`, each a dict of
        means or `None` where it was not asked; the same two under `unseen`; under `intervals` their 95 % intervals.
    """
    results = {}
    for axis in pc.unique(ranks.column("axis")).to_pylist():
        rows = ranks.filter(pc.equal(ranks.column("axis"), axis))
        record = get_axis(axis)
        entry: dict[str, Any] = {"title": record.title, "metric": record.metric, "num_rows": len(rows)}
        intervals: dict[str, Any] = {}
        unseen: dict[str, Any] = {}
        for side, column in SIDES.items():
            values = side_values(rows, column, k)
            entry[side] = None if values is None else _means(values)
            intervals[side] = None if values is None else _intervals(values, resamples, seed)
            values = side_values(rows, f"{column}_unseen", k)
            unseen[side] = None if values is None else _means(values)
        results[axis] = {**entry, "unseen": unseen, "intervals": intervals}
    return results


def side_values(rows: pa.Table, column: str, k: Sequence[int]) -> dict[str, np.ndarray] | None:
    """[`row_values`] of one column of ranks of one axis; `None` where it was not asked."""
    ranks = _ranks(rows, column)
    return None if ranks is None else row_values(ranks, k, _ranks(rows, "rank_negative"))


def format_table(results: Mapping[str, Mapping[str, Any]], k: int = 10) -> str:
    """The axes as a Markdown table at one cut-off.

    >>> print(format_table({"fine": {"num_rows": 2, "with_preference": {"recall@10": 0.5, "ndcg@10": 0.3},
    ...                              "without_preference": {"recall@10": 0.0, "ndcg@10": 0.0}}}))
    | axis | rows | metric | with preference | without | NDCG@10 with | without |
    |---|---:|---|---:|---:|---:|---:|
    | fine | 2 | recall@10 | 0.5000 | 0.0000 | 0.3000 | 0.0000 |
    """
    lines = [
        f"| axis | rows | metric | with preference | without | NDCG@{k} with | without |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]

    def cell(values: Mapping[str, float] | None, name: str) -> str:
        return f"{values[name]:.4f}" if values is not None and name in values else "-"

    for axis, entry in results.items():
        main = get_axis(axis).main_metric(k)
        ndcg = "" if main.startswith("m@") else f"ndcg@{k}"
        cells = [cell(entry[side], name) for name in (main, ndcg) for side in SIDES]
        lines.append(f"| {axis} | {entry['num_rows']} | {main} | {' | '.join(cells)} |")
    return "\n".join(lines)


def format_unseen_table(results: Mapping[str, Mapping[str, Any]], k: int = 10) -> str:
    """[`format_table`] of the protocol `unseen`, without axes whose rows have no history to take out."""
    return format_table(
        {
            axis: {"num_rows": entry["num_rows"], **entry["unseen"]}
            for axis, entry in results.items()
            if get_axis(axis).has_history
        },
        k,
    )


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
