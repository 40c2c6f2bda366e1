"""Registry of the evaluation axes (section 3.2), one record each."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets import List, Value

METRICS: dict[str, tuple[str, ...]] = {
    "recall": (),
    "m": ("negative",),
    "avoid": ("no_preference",),
    "strength": ("no_preference", "weaker", "stronger"),
    "all": (),
}
"""Main metric of an axis -> the variants that it needs beside the row's own request."""
METRICS_OF_TWO_ITEMS = ("avoid", "all")
"""Metrics that read the rank of a second item of the row."""
VARIANTS = ("", "no_preference", "negative", "original", "weaker", "stronger")
"""Variants of a row's request: with its preference (of two, the positive one), without any, with the negative one,
with the preference in its original words, and with less and more strength."""
PROMISES = ("window", "past_preference", "steering", "inversion", "elicited")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One evaluation axis.

    Attributes:
        name (`str`): Last part of the names of its configs, as in `beauty_sentiment`.
        title (`str`): Heading in tables, plots and the demo.
        description (`str`): Contents of a row and its task, for cards and pages.
        columns (`Mapping`): Published columns and their types, in order; `target` is one of them.
        optional (`tuple[str, ...]`): Columns that some builds lack.
        part (`str`, *optional*): Column whose values split the figures, such as the origin of a row's history.
        asked (`Mapping`): Variant of a row's request, of [`VARIANTS`], to the column with the preferences; `None` for
            a request without preference.
        builder (`str` or `Callable`): Function from the intermediate tables to rows by split, or its
            `module:function`.
        needs (`tuple[str, ...]`): Inputs of the function, of [`~dataset_builders.building.inputs.READS`]; its rows
            are rebuilt when one of these changes, and reading anything else is refused.
        strengths (`Mapping`): Variant -> strength of its preferences; 1 for all others.
        metric (`str`): Main metric, of [`METRICS`], which lists the variants that it needs.
        other (`str`, *optional*): Column of a second item: the one to avoid, or a second target.
        limits (`str`): Sentence on what the axis does not show.
        promises (`tuple[str, ...]`): Invariants, of [`PROMISES`], that
            [`~dataset_builders.benchmark.checks.check_benchmark`] tests: the history is the user's window, the
            preference precedes the target, steering changes the ground truth, the positive preference is the
            inversion of the negative one, and the history is the window without the item that elicited an aversion.

    Raises:
        ValueError: If the fields contradict each other.
    """

    name: str
    title: str
    description: str
    columns: Mapping[str, Any]
    asked: Mapping[str, str | None]
    builder: str | Callable[..., Any]
    needs: tuple[str, ...]
    strengths: Mapping[str, float] = field(default_factory=dict)
    metric: str = "recall"
    other: str | None = None
    optional: tuple[str, ...] = ()
    part: str | None = None
    promises: tuple[str, ...] = ()
    limits: str = ""

    def __post_init__(self) -> None:
        is_text = isinstance(self.name, str)
        if not is_text or not self.name.replace("_", "").isalnum() or not self.name.isascii():
            raise ValueError(f"the axis {self.name!r} must be named by ASCII letters, digits and underscores.")
        named = filter(None, (self.other, self.part, *self.optional, *self.asked.values()))
        missing = {"target", *named} - self.columns.keys()
        if missing:
            raise ValueError(f"the axis {self.name} lacks the column(s) {', '.join(sorted(missing))}; add them.")
        for name, given, known in (
            ("asked", self.asked, VARIANTS),
            ("metric", [self.metric], tuple(METRICS)),
            ("promises", self.promises, PROMISES),
        ):
            if unknown := [value for value in given if value not in known]:
                raise ValueError(f"the axis {self.name} has the {name} {unknown[0]!r}; choose among {known}.")
        needed = {"", *METRICS[self.metric]}
        if lacking := [variant for variant in VARIANTS if variant in needed - self.asked.keys()]:
            raise ValueError(
                f"the axis {self.name} lacks the variant {lacking[0]!r} in asked, for its metric; add it."
            )
        if "negative" in self.asked and self.metric != "m":
            raise ValueError(f"the axis {self.name} has the variant 'negative', which only the metric 'm' reads.")
        if (self.metric in METRICS_OF_TWO_ITEMS) != (self.other is not None):
            raise ValueError(
                f"the axis {self.name} must name the column of a second item in other if and only if its metric is "
                f"{' or '.join(METRICS_OF_TWO_ITEMS)}; its metric is {self.metric}."
            )
        if self.other == "target":
            raise ValueError(f"the axis {self.name} names target as its second item; name another column in other.")
        if self.asked[""] is None or self.asked.get("no_preference") is not None:
            raise ValueError(
                f"the axis {self.name} must ask '' with a column of preferences and 'no_preference' with None; it has "
                f"{dict(self.asked)}."
            )
        if "window" in self.promises and not self.has_history:
            raise ValueError(f"the axis {self.name} promises the window of a history and has none; add the column.")
        if unknown := [variant for variant in self.strengths if variant not in self.asked]:
            raise ValueError(f"the axis {self.name} has a strength of {unknown[0]!r}, which is not in asked; add it.")
        if self.metric == "strength":
            ordered = [self.strengths.get(variant, 1.0) for variant in ("weaker", "", "stronger")]
            if not all(math.isfinite(one) for one in ordered) or not 0 < ordered[0] < ordered[1] < ordered[2]:
                raise ValueError(
                    f"the axis {self.name} has the strengths {ordered} of weaker, '' and stronger; they must be "
                    "finite, above 0 and rise."
                )

    @property
    def has_history(self) -> bool:
        """Whether its rows have a history."""
        return "history" in self.columns

    @property
    def task_metric(self) -> str:
        """Metric of its leaderboard, as part of the name of its task: `recall_at_10`."""
        return f"{self.metric}_at_10"

    def shown_metrics(self, k: int = 10) -> list[str]:
        """Metrics shown by default: the main one, and NDCG except for sentiment (section 3.2)."""
        return [self.main_metric(k), *([] if self.metric == "m" else [f"ndcg@{k}"])]

    def main_metric(self, k: int = 10) -> str:
        """Main metric at a cut-off: `recall@10`."""
        return f"{self.metric}@{k}"


TABLES = ("items", "preferences")
"""Configs beside the axes; each has only the split train."""
HISTORY_FROM = ("another user", "own user")
"""Values of `history_from`: whether another user of the split had the ground truth."""
ITEM_FROM = ("own split", "earlier split")
"""Values of `item_from`: whether the item was disliked at a position of the row's split, or of an earlier one."""
AXES: dict[str, Axis] = {}
"""Name -> axis, in the order of tables and cards."""


def register_axis(axis: Axis) -> Axis:
    """Adds an axis to the benchmark.

    Raises:
        ValueError: If another axis has its name.
    """
    if axis.name.casefold() in [*map(str.casefold, AXES), *TABLES]:
        raise ValueError(f"there is an axis or a table {axis.name} already; choose another name.")
    AXES[axis.name] = axis
    return axis


def get_axis(name: str) -> Axis:
    """Returns the record of an axis.

    Raises:
        ValueError: If there is no such axis.

    >>> get_axis("sentiment").main_metric(), get_axis("fine").main_metric(5)
    ('m@10', 'recall@5')
    """
    if name not in AXES:
        raise ValueError(f"the axis {name!r} is unknown; choose one of {', '.join(AXES)}.")
    return AXES[name]


_SEQUENCE = {"user_id": Value("string"), "position": Value("int32"), "history": List(Value("int32"))}
_TARGET = {"target": Value("int32")}
_STEERED = {**_SEQUENCE, "preference": Value("string"), **_TARGET, "source_item": Value("int32")}
_WITH_AND_WITHOUT = {"": "preference", "no_preference": None}
_DISJOINT = (
    "Where steering is balanced, no target of test is one of train. A method that strikes the targets of train from "
    "its lists gains by it without reading the preference, and must say so."
)

register_axis(
    Axis(
        name="recommendation",
        title="Recommendation",
        description="history and the one preference that fits the target best; recommend the next item",
        columns={**_SEQUENCE, "preference": Value("string"), **_TARGET},
        asked=_WITH_AND_WITHOUT,
        builder="dataset_builders.building.axes.recommendation:build",
        needs=("sequences", "preferences", "matched"),
        promises=("window", "past_preference"),
    )
)
register_axis(
    Axis(
        name="sentiment",
        title="Sentiment following",
        description="a negative preference, its inversion, and an item that the user disliked; no history",
        columns={"preference_positive": Value("string"), "preference_negative": Value("string"), **_TARGET},
        asked={"": "preference_positive", "negative": "preference_negative"},
        builder="dataset_builders.building.axes.sentiment:build",
        needs=("sequences", "polarity", "items", "preferences", "preference_embeddings", "embed"),
        metric="m",
        promises=("inversion",),
    )
)
register_axis(
    Axis(
        name="fine",
        title="Fine-grained steering",
        description="the history of a user with the same ground truth; the preference asks for a very similar item",
        columns={**_STEERED, "history_from": Value("string")},
        optional=("history_from",),
        part="history_from",
        limits=_DISJOINT,
        asked=_WITH_AND_WITHOUT,
        builder="dataset_builders.building.axes.fine:build",
        needs=("sequences", "preferences", "steering"),
        promises=("window", "steering"),
    )
)
register_axis(
    Axis(
        name="coarse",
        title="Coarse-grained steering",
        description="a user's history; the preference asks for a very distinct item",
        columns=_STEERED,
        limits=_DISJOINT,
        asked=_WITH_AND_WITHOUT,
        builder="dataset_builders.building.axes.coarse:build",
        needs=("sequences", "preferences", "steering"),
        promises=("window", "steering"),
    )
)
register_axis(
    Axis(
        name="history",
        title="History consolidation",
        description="history and all five preferences; recommend the next item without help from the target",
        # no length= of the list: pyarrow 24 and 25 cannot read a null list of a fixed size
        columns={**_SEQUENCE, "preferences": List(Value("string")), **_TARGET},
        asked={"": "preferences", "no_preference": None},
        builder="dataset_builders.building.axes.history:build",
        needs=("sequences", "preferences"),
        promises=("window", "past_preference"),
    )
)
register_axis(
    Axis(
        name="sentiment_with_history",
        title="Sentiment following with a history",
        description=(
            "a negative preference, its inversion, an item that its user disliked, and the user's history without "
            "that item; `item_from` says whether the item was disliked at a position of the row's own split"
        ),
        columns={
            **_SEQUENCE,
            "preference_positive": Value("string"),
            "preference_negative": Value("string"),
            **_TARGET,
            "item_from": Value("string"),
        },
        optional=("item_from",),
        part="item_from",
        asked={"": "preference_positive", "negative": "preference_negative", "no_preference": None},
        builder="dataset_builders.building.axes.sentiment_with_history:build",
        needs=("sequences", "polarity", "items", "preferences", "preference_embeddings", "embed"),
        metric="m",
        promises=("inversion", "elicited"),
        limits=(
            "The history lacks the disliked item, though its user had bought it when the aversion arose, so it does "
            "not show whether a real history that holds the item is overruled."
        ),
    )
)
register_axis(
    Axis(
        name="avoid",
        title="Avoidance",
        description=(
            "history, a negative preference, an item that it names (`avoided`), and the true next item; the first "
            "must leave the list and the second must not"
        ),
        columns={**_SEQUENCE, "preference": Value("string"), **_TARGET, "avoided": Value("int32")},
        asked=_WITH_AND_WITHOUT,
        builder="dataset_builders.building.axes.avoid:build",
        needs=("sequences", "polarity", "preferences", "item_embeddings", "item_texts", "embed"),
        metric="avoid",
        other="avoided",
        promises=("window", "past_preference"),
        limits=(
            "A row counts only where the item to avoid is in the list without the preference, so a low figure can "
            "also come from lists that never held it, and the item is named by its nearness to the words, not by "
            "having all that they say."
        ),
    )
)
register_axis(
    Axis(
        name="strength",
        title="Strength",
        description=(
            "rows of coarse-grained steering, asked with the preference at the strengths 0.5, 1 and 2 and without it; "
            "the target must rise with the strength"
        ),
        columns=_STEERED,
        asked={"": "preference", "no_preference": None, "weaker": "preference", "stronger": "preference"},
        strengths={"weaker": 0.5, "stronger": 2.0},
        builder="dataset_builders.building.axes.strength:build",
        needs=("sequences", "preferences", "steering"),
        metric="strength",
        promises=("window",),
        limits=(
            "A method without an option for strength gives one answer to the three strengths, and is credited only "
            "with targets that its preference puts first; it does not show whether people mean such strengths."
        ),
    )
)
register_axis(
    Axis(
        name="compose",
        title="Composition",
        description="a user's history and two preferences, which ask for two items unlike each other; recommend both",
        columns={
            **_SEQUENCE,
            "preferences": List(Value("string")),
            **_TARGET,
            "second_target": Value("int32"),
        },
        asked={"": "preferences", "no_preference": None},
        builder="dataset_builders.building.axes.compose:build",
        needs=("sequences", "preferences", "steering", "item_embeddings", "item_texts"),
        metric="all",
        other="second_target",
        promises=("window",),
        limits=(
            "The two wishes are for two items, one each, so it does not show whether one item that satisfies both is "
            "found."
        ),
    )
)
register_axis(
    Axis(
        name="words",
        title="Other words",
        description=(
            "rows of the recommendation axis with the preference in other words, and in its `original` ones; "
            "recommend the next item"
        ),
        columns={**_SEQUENCE, "preference": Value("string"), "original": Value("string"), **_TARGET},
        asked={"": "preference", "no_preference": None, "original": "original"},
        builder="dataset_builders.building.axes.words:build",
        needs=("sequences", "preferences", "matched", "items"),
        promises=("window", "past_preference"),
        limits=(
            "Where a domain has no table of paraphrases, only the sentence around the content words changes, and the "
            "axis does not show whether meaning is understood without shared words."
        ),
    )
)
