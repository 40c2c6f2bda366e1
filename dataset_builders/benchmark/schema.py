"""Columns of every published config: the only contract between the benchmark and those who read it.

Knows names, types and the text that stands for an item when it is embedded. Leaves to others how rows come about
(`axes/`) and how they are written (`dataset_publication.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Features, List, Value

from .axes import AXES

NUM_PREFERENCES = 5
"""Preferences per user and position (section 3.1)."""
WINDOW = 20
"""The most recent items of a user that the benchmark sees: at most 19 of history and the target (appendix A.4)."""

TABLES = ("items", "preferences")
"""The configs beside the axes; each has the one split train."""
SPLITS = ("train", "validation", "test")

ITEM_TEXT_FIELDS: tuple[str, ...] = ("title", "price", "brand", "categories")
"""What stands for an item in the embedding space (PAPER: title, price, brand, categories)."""
UNKNOWN_BRANDS = frozenset({"", "unknown", "generic", "n/a", "na", "none", "unbranded", "no brand"})
"""Values of the field brand that name no brand, case-folded."""

_FIVE = List(Value("string"))  # no length=: pyarrow 24 and 25 cannot read a null list of a fixed size
_TABLES: dict[str, dict[str, Any]] = {
    "items": {
        "item_id": Value("int32"),
        "source_id": Value("string"),
        "title": Value("string"),
        "brand": Value("string"),
        "categories": List(Value("string")),
        "price": Value("float32"),
        "description": Value("string"),
    },
    "preferences": {
        "user_id": Value("string"),
        "position": Value("int32"),
        "item_id": Value("int32"),
        "preferences": _FIVE,  # null where the approximator gave none
    },
}


def features(name: str) -> Features:
    """Columns and types of one config, the same in every domain.

    Args:
        name (`str`): An axis, see [`~dataset_builders.benchmark.axes.AXES`], or one of [`TABLES`].

    Returns:
        `datasets.Features`: In the published order of columns.

    Raises:
        ValueError: If there is no such config.

    >>> list(features("sentiment"))
    ['preference_positive', 'preference_negative', 'target']
    """
    if name not in (*AXES, *TABLES):
        raise ValueError(f"Unknown config {name!r}; choose one of {', '.join((*AXES, *TABLES))}.")
    return Features(AXES[name].columns if name in AXES else _TABLES[name])


def config_name(domain: str, name: str) -> str:
    """Name under which a config is published and loaded.

    >>> config_name("beauty", "sentiment")
    'beauty_sentiment'
    """
    features(name)
    if not domain or not all(part.isalnum() and part.isascii() for part in domain.split("_")):
        raise ValueError(
            f"The domain {domain!r} must be ASCII letters and digits, joined by single underscores: it becomes part "
            "of the names of folders and configs."
        )
    return f"{domain}_{name}"


def splits_of(name: str) -> tuple[str, ...]:
    """Splits of a config: three for an axis, `train` alone for a table.

    >>> splits_of("items")
    ('train',)
    """
    return SPLITS if name in AXES else ("train",)


def known_brand(brand: str | None) -> str:
    """The brand, or `""` where the field holds a word for not knowing it.

    >>> known_brand("Unknown"), known_brand(None), known_brand(" OPI ")
    ('', '', 'OPI')
    """
    brand = (brand or "").strip()
    return "" if brand.casefold() in UNKNOWN_BRANDS else brand


def item_text(item: Mapping[str, Any], fields: Sequence[str] = ITEM_TEXT_FIELDS) -> str:
    """Text that stands for an item when it is embedded; missing fields are left out.

    Args:
        item (`Mapping`): A row of the config `items`.
        fields (`Sequence[str]`): Which columns to use, in this order.

    Returns:
        `str`: Title first and bare, the others labelled; `""` for an item without any of them.

    >>> item_text({"title": "Rose Soap", "price": 4.5, "brand": "", "categories": ["Bath", "Soaps"]})
    'Rose Soap; price: $4.50; categories: Bath, Soaps'
    """
    parts = []
    for field in fields:
        value = item.get(field)
        if field == "brand":
            value = known_brand(value)
        elif field == "price":
            value = None if value is None or value != value else f"${value:.2f}"
        elif field == "categories":
            value = ", ".join(value if value is not None else ())
        value = (value or "").strip()
        if value:
            parts.append(value if field == "title" else f"{field}: {value}")
    return "; ".join(parts)
