"""Data mixtures of training rows (section 4.3, tables 5 and 8)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .requests import Example, Request, requests_of

if TYPE_CHECKING:
    import datasets


class Part(NamedTuple):
    """Rows of an axis that a mixture is composed of.

    Attributes:
        config (`str`): Axis of the benchmark.
        column (`str`): Column of the preference.
        is_negative (`bool`): Whether the target is a negative example.
        needs_preference (`bool`): Whether only the preference explains the target, which did not follow the history.
    """

    config: str
    column: str
    is_negative: bool = False
    needs_preference: bool = False


PARTS = {
    "recommendation": Part("recommendation", "preference"),
    "positive": Part("sentiment", "preference_positive", needs_preference=True),
    "negative": Part("sentiment", "preference_negative", is_negative=True, needs_preference=True),
    "fine": Part("fine", "preference", needs_preference=True),
    "coarse": Part("coarse", "preference", needs_preference=True),
    "history": Part("history", "preferences"),
}

MIXTURES = {
    "none": ("recommendation",),
    "pos": ("recommendation", "positive"),
    "neg": ("recommendation", "negative"),
    "pos_neg": ("recommendation", "positive", "negative"),
    "fine": ("recommendation", "fine"),
    "coarse": ("recommendation", "coarse"),
    "fine_coarse": ("recommendation", "fine", "coarse"),
    "all": ("recommendation", "positive", "negative", "fine", "coarse"),
    "wanted": ("recommendation", "positive", "fine", "coarse"),  # without those that the benchmark lacks
    "all_prefs": ("history",),  # all five preferences in every row, none chosen with the target in view
}
WITHOUT_MISSING = {"wanted"}  # mixtures that skip steering rows that the benchmark lacks


def mixture_examples(
    mixture: str,
    load: "Callable[[str], datasets.Dataset | None]",
    restrict: Callable[[Request], Request] = lambda request: request,
) -> list[Example]:
    """Loads the training examples of a mixture, part by part.

    Args:
        mixture (`str`): A key of `MIXTURES`.
        load (`Callable`): Returns the training rows of an axis, or `None` if the benchmark lacks it.
        restrict (`Callable`, *optional*): Removes the parts of a request that the method does not read; examples
            without any remaining part are dropped.

    Raises:
        ValueError: If the mixture is unknown, or the benchmark lacks an axis that it needs.
    """
    if mixture not in MIXTURES:
        raise ValueError(f"mixture {mixture!r} is unknown; choose one of {', '.join(MIXTURES)}.")
    tables: dict[str, Any] = {}
    examples = []
    for part in MIXTURES[mixture]:
        config, column, is_negative, needs_preference = PARTS[part]
        if config not in tables:
            tables[config] = load(config)
        rows = tables[config]
        if mixture in WITHOUT_MISSING and needs_preference and not rows:
            continue
        if rows is None or len(rows) == 0:
            raise ValueError(
                f"mixture {mixture} needs training rows of the axis {config}, and this benchmark has none; choose a "
                f"mixture without it: {', '.join(_mixtures_without(config))}."
            )
        for request, target in zip(requests_of(rows, column), rows["target"][:], strict=True):
            request = restrict(request)
            if request.history or request.preferences:
                examples.append(Example(request, target, is_negative, needs_preference))
    return examples


def _mixtures_without(config: str) -> list[str]:
    """Names of the mixtures that do not need an axis."""
    return [name for name, parts in MIXTURES.items() if all(PARTS[part].config != config for part in parts)]
