"""Which rows a method learns from: the data mixtures of section 4.3 (tables 5 and 8)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .requests import Example, Request, requests_of

if TYPE_CHECKING:
    import datasets

# part of a mixture -> (config of the benchmark, column of the preference, whether the item must not come back, whether
# only the preference explains it, for it did not follow the history)
PARTS = {
    "recommendation": ("recommendation", "preference", False, False),
    "positive": ("sentiment", "preference_positive", False, True),
    "negative": ("sentiment", "preference_negative", True, True),
    "fine": ("fine", "preference", False, True),
    "coarse": ("coarse", "preference", False, True),
    "history": ("history", "preferences", False, False),
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
    "wanted": ("recommendation", "positive", "fine", "coarse"),  # those of these that the benchmark has
    "all_prefs": ("history",),  # all five preferences in every row, none chosen with the target in view
}
WITHOUT_MISSING = {"wanted"}  # mixtures that do without steering rows which the benchmark lacks


def mixture_examples(
    mixture: str,
    load: "Callable[[str], datasets.Dataset | None]",
    restrict: Callable[[Request], Request] = lambda request: request,
) -> list[Example]:
    """The training examples of a mixture, one part after the other.

    Args:
        mixture (`str`): A key of `MIXTURES`.
        load (`Callable`): Config name (an axis) to its training rows, or `None` where the benchmark lacks it.
        restrict (`Callable`, *optional*): Takes out of a request what the method may not see; examples of which
            nothing is left are dropped.

    Raises:
        ValueError: If there is no such mixture, or the benchmark lacks a config that it needs.
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
    return [name for name, parts in MIXTURES.items() if all(PARTS[part][0] != config for part in parts)]
