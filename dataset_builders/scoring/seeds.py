"""Several trainings of one method, that differ in their seed, put together: mean and standard deviation per figure.

Knows `results.json` as `scripts/evaluate_axes.py` writes it, and refuses to average what is not comparable.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

SAME = ("method", "domain", "split", "benchmark", "k")
"""What must agree before figures are averaged."""


def aggregate(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation of every figure over several results.

    Args:
        results (`Sequence[Mapping]`): Contents of `results.json`, one per seed.

    Returns:
        `dict`: `method`, `domain`, `split`, `benchmark` and `k` as they are in all; `seeds`; and `axes` as in the
        results, without the intervals, each figure a dict of `mean` and `std` (divisor n - 1; `None` of one result).

    Raises:
        ValueError: If there is no result; if they differ in method, domain, split, benchmark, k, axes, rows, or in
            what was asked; or if a seed occurs twice. The message names what differs.
    """
    if not results:
        raise ValueError("there are 0 results; give at least one.")
    for name in SAME:
        _only([result.get(name) for result in results], name)
    seeds = [result.get("seed") for result in results]
    for seed in seeds:
        if seed is not None and seeds.count(seed) > 1:
            raise ValueError(f"seed {seed} occurs {seeds.count(seed)} times; give one result per seed.")
    axes = [result["axes"] for result in results]
    _only([sorted(one) for one in axes], "axes")
    return {
        **{name: results[0].get(name) for name in SAME},
        "seeds": seeds,
        "axes": {axis: _axis(axis, [one[axis] for one in axes]) for axis in axes[0]},
    }


def _axis(axis: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sides = ("with_preference", "without_preference")
    return {
        "num_rows": _only([entry["num_rows"] for entry in entries], f"num_rows of {axis}"),
        **{side: _side([entry[side] for entry in entries], f"{axis}, {side}") for side in sides},
        "unseen": {side: _side([entry["unseen"][side] for entry in entries], f"{axis}, unseen, {side}")
                   for side in sides},
    }  # fmt: skip


def _side(values: Sequence[Mapping[str, float] | None], name: str) -> dict[str, dict[str, float | None]] | None:
    """Figures of one side; `None` where no result has them."""
    names = _only([None if value is None else list(value) for value in values], f"figures of {name}")
    if names is None:
        return None
    columns = {figure: [value[figure] for value in values] for figure in names}
    return {
        figure: {"mean": mean(column), "std": stdev(column) if len(column) > 1 else None}
        for figure, column in columns.items()
    }


def _only(values: Sequence[Any], name: str) -> Any:
    """The one value that all have."""
    for value in values[1:]:
        if value != values[0]:
            raise ValueError(f"results differ in {name}: {values[0]!r} and {value!r}; give results of one alone.")
    return values[0]
