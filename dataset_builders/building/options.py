"""Options of a build; the defaults are the paper's but for steering, which is balanced."""

from dataclasses import asdict, dataclass
from typing import Any

from ..benchmark.schema import ITEM_TEXT_FIELDS, WINDOW
from ..typed_arguments import MAX_COUNT, MAX_SEED, check_ranges
from .steering.assignment import STEERING_VARIANTS
from .steering.balanced import BOUND, MAX_BOUND

STEERING_POOLS = ("all", "positive")
RANGES = {
    "min_count": (1, MAX_COUNT),
    "user_stride": (1, MAX_COUNT),
    "window": (2, MAX_COUNT),
    "steering_bound": (1, MAX_BOUND),
    "seed": (0, MAX_SEED),
}
"""Smallest and largest value of the numbers among the options."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of a build; the defaults are the paper's but for steering, which is balanced.

    Args:
        min_count (`int`): k of the k-core: users and items with fewer actions are dropped (appendix B).
        window (`int`): Number of a user's most recent items that are used (appendix A.2).
        user_stride (`int`): Stride of the users that are kept after the k-core; 1 keeps all, 7 is Steam's subsample.
        item_text_fields (`tuple[str, ...]`): Fields of an item that are embedded (appendix A.1), see
            [`~dataset_builders.benchmark.schema.item_text`].
        steering (`str`): `"balanced"`, the paper's rows without frequent targets; `"paper"`; or `"as_released"` for
            the two rows per source item that the authors' code makes.
        steering_bound (`int`): Times that an item may be a target of one axis in one split of `"balanced"`.
        steering_pool (`str`, *optional*): The set P of eq. (3): `"all"` preferences as in the paper, or the
            `"positive"` ones, so that no row asks to avoid what it counts as right; see [`default_pool`].
        steering_engine (`str`): Engine of the nearest-neighbor search, see
            [`~dataset_builders.building.steering.nearest.top_k`].
        device (`str`, *optional*): Device of the engine `"torch"`.
        seed (`int`): Random seed of the choices among equals in steering.
        engine (`str`): Engine of the k-core and the time order, `"duckdb"` or `"pyspark"`.
        memory_limit (`str`, *optional*): Memory limit of DuckDB, as in `"4GB"`; the rest spills to disk.

    Raises:
        ValueError: If a variant or a pool is unknown, or a number is out of range.
    """

    min_count: int = 5
    window: int = WINDOW
    user_stride: int = 1
    item_text_fields: tuple[str, ...] = ITEM_TEXT_FIELDS
    steering: str = "balanced"
    steering_bound: int = BOUND
    steering_pool: str | None = None
    steering_engine: str = "torch"
    device: str | None = None
    seed: int = 0
    engine: str = "duckdb"
    memory_limit: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("steering", STEERING_VARIANTS), ("steering_pool", (None, *STEERING_POOLS))):
            if getattr(self, name) not in allowed:
                choices = ", ".join(filter(None, allowed))
                raise ValueError(f"{name} ({getattr(self, name)!r}) must be one of {choices}.")
        check_ranges(vars(self), RANGES)

    def published(self) -> dict[str, Any]:
        """Options that the rows depend on, as JSON values; without those of how they are computed."""
        how: tuple[str, ...] = ("device", "engine", "memory_limit")
        if self.steering != "balanced":
            how = (*how, "steering_bound")
        values = {name: value for name, value in asdict(self).items() if name not in how}
        pool = self.steering_pool or default_pool(self.steering)
        return {**values, "item_text_fields": list(self.item_text_fields), "steering_pool": pool}


def default_pool(steering: str) -> str:
    """The default set P of eq. (3).

    >>> default_pool("balanced"), default_pool("paper")
    ('positive', 'all')
    """
    return "positive" if steering == "balanced" else "all"
