"""Metrics of each axis as means over rows, computed from ranks.

The definitions are those of `ranking_metrics` for one relevant item per row, or two.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..benchmark.axes import VARIANTS, get_axis
from ..escaping import one_line
from .ranks import OTHER_VARIANTS, obeying_column, other_name, rank_column
from .result_parts import OBEYING, SHARE_OF_ROWS, AxisResult, Sides
from .significance import bootstrap_intervals, wilson_interval

SIDES = {"with_preference": "", "without_preference": "no_preference"}
"""Side -> variant of the request that its ranks belong to."""


def axis_values(
    metric: str, ranks: Mapping[str, np.ndarray | None], k: Sequence[int], variant: str = ""
) -> dict[str, np.ndarray] | None:
    """Computes recall@k, ndcg@k and the axis' own metric of every row from ranks.

    Args:
        metric (`str`): Main metric of the axis, of [`~dataset_builders.benchmark.axes.METRICS`].
        ranks (`Mapping`): Ranks from 1, or 0 if not found, int `(num_rows,)`, by variant; those of the second item
            under `other` and `other_no_preference`. `None` where a variant was not evaluated.
        k (`Sequence[int]`): Cut-offs.
        variant (`str`): The variant to score. The axis' own metric belongs to the variant `""`.

    Returns:
        `dict[str, np.ndarray]`: float64 `(num_rows,)` each, keys as in `recall@5`; `None` if the variant was not
        evaluated.

    >>> values = axis_values("m", {"": np.array([1, 3, 0]), "negative": np.array([0, 3, 0])}, [2, 3])
    >>> {name: value.tolist() for name, value in values.items() if name.endswith("@3")}
    {'recall@3': [1.0, 1.0, 0.0], 'ndcg@3': [1.0, 0.5, 0.0], 'm@3': [1.0, 0.0, 0.0]}
    >>> axis_values("avoid", {"": np.array([2]), "no_preference": np.array([3]), "other": np.array([0]),
    ...     "other_no_preference": np.array([1])}, [5])["avoid@5"].tolist()
    [1.0]
    """
    first = ranks.get(variant)
    if first is None:
        return None
    wanted = [first]
    if metric == "all" and (second := ranks.get(other_name(variant))) is not None:
        wanted.append(second)
    values: dict[str, np.ndarray] = {}
    for cutoff in k:
        values[f"recall@{cutoff}"] = np.mean([_within(rank, cutoff) for rank in wanted], axis=0)
    for cutoff in k:
        ideal = sum(1 / np.log2(2 + place) for place in range(min(len(wanted), cutoff)))
        values[f"ndcg@{cutoff}"] = sum(_gain(rank, cutoff) for rank in wanted) / ideal
    if variant == "" and metric in _OWN_METRICS:
        names, own = _OWN_METRICS[metric]
        found = [ranks.get(name) for name in names]
        if all(rank is not None for rank in found):
            values |= {f"{metric}@{cutoff}": own(*found, cutoff).astype(np.float64) for cutoff in k}
    return values


def score_axes(ranks: pa.Table, k: Sequence[int], resamples: int = 1000, seed: int = 0) -> dict[str, AxisResult]:
    """Computes the metrics of every axis, with intervals.

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
        for side in SIDES:
            values = side_values(rows, side, k)
            if values is not None and (obeying := _obeying(rows, SIDES[side])) is not None:
                values[OBEYING] = obeying
            figures[side] = None if values is None else _means(values)
            intervals[side] = None if values is None else _intervals(values, resamples, seed)
            values = side_values(rows, side, k, "unseen")
            unseen[side] = None if values is None else _means(values)
        original = side_values(rows, "original", k)
        parts = {}
        for part in pc.unique(rows.column("part").drop_null()).to_pylist():
            of_part = rows.filter(pc.equal(rows.column("part"), part))
            if (values := side_values(of_part, "with_preference", k)) is not None:
                parts[part] = {SHARE_OF_ROWS: len(of_part) / len(rows), **_means(values)}
        results[axis] = AxisResult(
            axis,
            len(rows),
            Sides(**figures),
            Sides(**unseen),
            Sides(**intervals),
            original=None if original is None else _means(original),
            parts=parts,
        )
    return results


def side_values(rows: pa.Table, side: str, k: Sequence[int], protocol: str = "all") -> dict[str, np.ndarray] | None:
    """Computes the metrics of every row of one axis on one side.

    Args:
        rows (`pa.Table`): Rows of one axis, of [`~dataset_builders.scoring.ranks.rank_rows`].
        side (`str`): Of [`SIDES`], or a variant of the request.
        k (`Sequence[int]`): Cut-offs.
        protocol (`str`, defaults to `"all"`): One of `PROTOCOLS`.

    Returns:
        `dict[str, np.ndarray]`: As [`axis_values`]; `None` if that side was not evaluated.
    """
    if not len(rows):
        return None
    axis = get_axis(rows.column("axis")[0].as_py())
    unseen = protocol == "unseen" and axis.has_history
    ranks = {variant: _ranks(rows, rank_column(variant, unseen=unseen)) for variant in VARIANTS}
    for variant in OTHER_VARIANTS:
        ranks[other_name(variant)] = _ranks(rows, rank_column(variant, True, unseen))
    return axis_values(axis.metric, ranks, k, SIDES.get(side, side))


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
        shown = [*result.record.shown_metrics(k), ""][:2]
        values = [result.figures(side, protocol).get(name) for name in shown for side in SIDES]
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        lines.append(f"| {axis} | {result.num_rows} | {main} | {' | '.join(cells)} |")
    return "\n".join(lines)


def format_obeying(axes: Mapping[str, AxisResult]) -> str:
    """Formats the share of the first ten items that obey, with and without the preference; empty if it is unknown.

    >>> sides = Sides({"obeying@10": 0.75}, {"obeying@10": 0.1})
    >>> print(format_obeying({"fine": AxisResult("fine", 8, sides)}))
    first ten that obey, with and without the preference: fine 0.75, 0.10
    """
    known = {axis: [found.figures(side).get(OBEYING) for side in SIDES] for axis, found in axes.items()}
    shown = [
        f"{axis} {', '.join('-' if value is None else f'{value:.2f}' for value in values)}"
        for axis, values in known.items()
        if any(value is not None for value in values)
    ]
    return f"first ten that obey, with and without the preference: {'; '.join(shown)}" if shown else ""


def format_parts(axes: Mapping[str, AxisResult], k: int = 10) -> str:
    """Formats the main metric of the parts of each axis, a line per axis; empty if no axis has any.

    >>> parts = {"another user": {"share": 0.75, "recall@10": 0.5}, "own user": {"share": 0.25, "recall@10": 1.0}}
    >>> print(format_parts({"fine": AxisResult("fine", 8, parts=parts)}))
    fine, history_from: another user 0.5000 (75 % of the rows), own user 1.0000 (25 % of the rows)
    """
    lines = []
    for axis, result in axes.items():
        main = result.record.main_metric(k)
        shown = [
            f"{one_line(part, 80)} {figures[main]:.4f} ({figures[SHARE_OF_ROWS]:.0%} of the rows)".replace("%", " %")
            for part, figures in sorted(result.parts.items())
            if main in figures
        ]
        if shown:
            lines.append(f"{axis}, {result.record.part}: {', '.join(shown)}")
    return "\n".join(lines)


def _within(ranks: np.ndarray, k: int) -> np.ndarray:
    return (ranks > 0) & (ranks <= k)


def _gain(ranks: np.ndarray, k: int) -> np.ndarray:
    return np.where(_within(ranks, k), 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)


def _m(positive: np.ndarray, negative: np.ndarray, k: int) -> np.ndarray:
    return _within(positive, k) & ~_within(negative, k)


def _avoid(
    target: np.ndarray, target_before: np.ndarray, avoided: np.ndarray, avoided_before: np.ndarray, k: int
) -> np.ndarray:
    lost = _within(target_before, k) & ~_within(target, k)
    return _within(avoided_before, k) & ~_within(avoided, k) & ~lost


def _strength(none: np.ndarray, weaker: np.ndarray, usual: np.ndarray, stronger: np.ndarray, k: int) -> np.ndarray:
    places = [np.where(ranks > 0, ranks.astype(np.float64), np.inf) for ranks in (none, weaker, usual, stronger)]
    never_worse = np.all([later <= earlier for earlier, later in zip(places, places[1:], strict=False)], axis=0)
    turned = (places[3] < places[1]) | (places[1] == 1)
    return _within(stronger, k) & never_worse & turned & (places[3] < places[0])


def _all(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    return _within(first, k) & _within(second, k)


_OWN_METRICS: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "m": (("", "negative"), _m),
    "avoid": (("", "no_preference", "other", "other_no_preference"), _avoid),
    "strength": (("no_preference", "weaker", "", "stronger"), _strength),
    "all": (("", "other"), _all),
}
"""Metric -> the ranks that it reads, in order, and its function."""


def _ranks(rows: pa.Table, column: str) -> np.ndarray | None:
    values = rows.column(column)
    return None if values.null_count == len(values) else values.to_numpy()


def _obeying(rows: pa.Table, variant: str) -> np.ndarray | None:
    """Shares of the rows on which it is known what obeys; `None` if there are none."""
    values = rows.column(obeying_column(variant)).drop_null()
    return values.to_numpy().astype(np.float64) if len(values) else None


def _means(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in values.items()}


def _intervals(values: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, list[float]]:
    """Wilson's interval of a proportion, for metrics that are 0 or 1 on every row, else the bootstrap's."""
    found = {}
    for name, value in values.items():
        if np.isin(value, (0.0, 1.0)).all():
            low, high = wilson_interval(float(value.mean()), len(value))
        else:
            lows, highs = bootstrap_intervals(value[:, None], np.random.default_rng(seed), resamples)
            low, high = lows[0], highs[0]
        found[name] = [float(low), float(high)]
    return found
