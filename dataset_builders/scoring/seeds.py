"""Average the metrics of several trainings of one method that differ in their seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from .result_parts import AxisResult, Figures, Sides
from .results import Results

SAME: dict[str, Callable[[Results], Any]] = {
    "method": lambda results: results.maker.method,
    "domain": lambda results: results.domain,
    "split": lambda results: results.split,
    "benchmark": lambda results: results.benchmark,
    "k": lambda results: list(results.k),
    "axes": lambda results: sorted(results.axes),
}
"""Properties that must be equal in all results."""


@dataclass(frozen=True)
class Spread:
    """A metric over several results: mean, and sample standard deviation (divisor n - 1; `None` of one result)."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class AxisSpread:
    """Spreads of one axis, as the metrics of [`~dataset_builders.scoring.result_parts.AxisResult`]."""

    num_rows: int
    all: Sides[Mapping[str, Spread]]
    unseen: Sides[Mapping[str, Spread]]


def aggregate(results: Sequence[Results]) -> dict[str, AxisSpread]:
    """Computes mean and sample standard deviation of every metric over several results.

    Args:
        results (`Sequence[Results]`): One per seed.

    Returns:
        `dict[str, AxisSpread]`: Spreads by axis.

    Raises:
        ValueError: If there is no result; if they differ in method, domain, split, benchmark, k, axes, rows, or in
            input variants; or if a seed occurs twice. The message names what differs.
    """
    if not results:
        raise ValueError("there are 0 results; give at least one.")
    for name, value_of in SAME.items():
        _only([value_of(result) for result in results], name)
    seeds = [result.maker.seed for result in results]
    for seed in seeds:
        if seed is not None and seeds.count(seed) > 1:
            raise ValueError(f"seed {seed} occurs {seeds.count(seed)} times; give one result per seed.")
    return {axis: _axis(axis, [result.axes[axis] for result in results]) for axis in results[0].axes}


def _axis(axis: str, found: Sequence[AxisResult]) -> AxisSpread:
    def sides(protocol: str, of_all: Sequence[Sides[Figures]]) -> Sides[Mapping[str, Spread]]:
        names = Sides[Any]().items()
        return Sides(**{side: _side([one[side] for one in of_all], f"{axis}, {protocol}{side}") for side, _ in names})

    return AxisSpread(
        num_rows=_only([one.num_rows for one in found], f"num_rows of {axis}"),
        all=sides("", [one.all for one in found]),
        unseen=sides("unseen, ", [one.unseen for one in found]),
    )


def _side(values: Sequence[Figures | None], name: str) -> dict[str, Spread] | None:
    """Spreads of one side; `None` if no result has it."""
    names = _only([None if value is None else list(value) for value in values], f"figures of {name}")
    if names is None:
        return None
    columns = {figure: [value[figure] for value in values if value is not None] for figure in names}
    return {
        figure: Spread(mean(column), stdev(column) if len(column) > 1 else None) for figure, column in columns.items()
    }


def _only(values: Sequence[Any], name: str) -> Any:
    """The common value; refuses values that differ."""
    for value in values[1:]:
        if value != values[0]:
            raise ValueError(f"results differ in {name}: {values[0]!r} and {value!r}; give results of one alone.")
    return values[0]
