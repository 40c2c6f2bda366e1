"""Records of the public sets: repository, license, columns, and the axis of each of their dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...benchmark.report import NOT_STATED

TEXT, INTEGER, INTEGERS = "text", "integer", "list of integer"
"""Kinds of columns."""


@dataclass(frozen=True, kw_only=True)
class HubSet:
    """A public set whose rows become a benchmark.

    Args:
        name (`str`): Name of its format, for folders and copies with the same columns.
        repository (`str`): Dataset on the Hub.
        domain (`str`): First part of the configs' names by default.
        about (`Mapping[str, str]`): `title`, `license`, `terms` and `citation`, for the card.
        approximator, polarity, embedding_model (`str`): Models that made the set, as its card names them.
        splits (`Mapping[str, tuple[str, ...]]`): Config -> its splits.
        columns (`Mapping[str, Mapping[str, str]]`): Config -> columns that are read, with their kinds; others may be
            there.
        revision (`str`): Commit whose columns these are.
        dimensions (`Mapping[str, str]`): Value of the column `dimension` -> axis.
        unknown (`str`): Reason why the set cannot be read; `""` for a set that can.
    """

    name: str
    repository: str
    domain: str
    about: Mapping[str, str]
    approximator: str
    polarity: str = NOT_STATED
    embedding_model: str = NOT_STATED
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    revision: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    unknown: str = ""


_PAPER = (
    "F. Paischer et al., Preference discerning with LLM-enhanced generative retrieval, TMLR 07/2025, arXiv:2412.08604"
)
_AMAZON = (
    "R. He and J. McAuley, Ups and downs: modeling the visual evolution of fashion trends with one-class "
    "collaborative filtering, WWW 2016."
)

STEERABLE_GR = HubSet(
    name="steerable_gr",
    repository="xiaoleichu/amazon-beauty-steerable-gr",
    domain="beauty",
    about={
        "title": "Amazon Beauty (steerable generative retrieval)",
        "license": "mit",
        "terms": "The set xiaoleichu/amazon-beauty-steerable-gr is published under the MIT license; it reformats "
        "paischer101/preference_discerning (MIT). Titles and purchases come from the Amazon reviews of 2014, whose "
        "terms are theirs.",
        "citation": f"{_PAPER}; the set xiaoleichu/amazon-beauty-steerable-gr on the Hugging Face Hub; {_AMAZON}",
    },
    approximator="LLaMA-3-70B-Instruct",
    polarity="siebert/sentiment-roberta-large-english",
    splits={"benchmark": ("train", "validation", "test"), "catalog": ("full",)},
    columns={
        "benchmark": {
            "dimension": TEXT,
            "expected_behavior": TEXT,
            "user_id": TEXT,
            "history_item_ids": INTEGERS,
            "prompt_text": TEXT,
            "target_item_id": INTEGER,
        },
        "catalog": {"item_id": INTEGER, "semantic_id": INTEGERS, "title": TEXT},
    },
    revision="fb35fc8",
    dimensions={
        "preference_rec": "recommendation",
        "sentiment": "sentiment",
        "sentiment_with_history": "sentiment_with_history",
        "fine_steering": "fine",
        "coarse_steering": "coarse",
        "history_consolidation": "history",
    },
)
PREFERENCE_DISCERNING = HubSet(
    name="preference_discerning",
    repository="paischer101/preference_discerning",
    domain="beauty",
    about={"title": "Preference discerning (authors' generated data)", "license": "mit", "citation": _PAPER},
    approximator="LLaMA-3-70B-Instruct",
    unknown="its files and columns are not documented where this version could look them up",
)

HUB_SETS: dict[str, HubSet] = {one.name: one for one in (STEERABLE_GR, PREFERENCE_DISCERNING)}
"""Format -> set."""


def find_set(repository: str, format_name: str | None = None) -> HubSet:
    """Finds the record of a repository or folder.

    Args:
        repository (`str`): Repository on the Hub, or a local folder.
        format_name (`str`, *optional*): Format of a folder or copy, one of [`HUB_SETS`]; that of a known repository
            by default.

    Raises:
        ValueError: If neither names a set that can be read.

    >>> find_set("xiaoleichu/amazon-beauty-steerable-gr").name
    'steerable_gr'
    """
    by_repository = {one.repository: one for one in HUB_SETS.values()}
    if format_name is not None and format_name not in HUB_SETS:
        raise ValueError(f"the format {format_name!r} is unknown; choose one of {', '.join(HUB_SETS)}.")
    found = HUB_SETS[format_name] if format_name is not None else by_repository.get(repository)
    if found is None:
        raise ValueError(
            f"{repository} is none of the known sets ({', '.join(by_repository)}); for a folder or another repository "
            f"with the columns of one of them, add --from_hub_format {' or '.join(HUB_SETS)}."
        )
    if found.unknown:
        raise ValueError(
            f"{found.repository} cannot be read: {found.unknown}. Its Beauty rows, in another layout, are in "
            f"{STEERABLE_GR.repository}, which can be read; so can files with these columns, with --from_hub_format "
            f"{STEERABLE_GR.name}: "
            f"{describe_columns(STEERABLE_GR)}."
        )
    return found


def describe_columns(one: HubSet) -> str:
    """Configs, splits and columns of a set as a phrase.

    >>> describe_columns(STEERABLE_GR).split("; ")[-1]
    'config catalog (full) with item_id, semantic_id, title'
    """
    return "; ".join(
        f"config {config} ({', '.join(splits)}) with {', '.join(one.columns[config])}"
        for config, splits in one.splits.items()
    )
