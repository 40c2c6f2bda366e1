"""Columns and types of every published config, and the text that represents an item when it is embedded."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from datasets import Features, List, Value

from .axes import AXES, TABLES

NUM_PREFERENCES = 5
"""Preferences per user and position (section 3.1)."""
WINDOW = 20
"""Number of a user's most recent items that are used: at most 19 of history and the target (appendix A.4)."""

SPLITS = ("train", "validation", "test")

ITEM_TEXT_FIELDS: tuple[str, ...] = ("title", "price", "brand", "categories")
"""Fields of an item that are embedded by default (appendix A.1: title, price, brand, categories)."""
UNKNOWN_BRANDS = frozenset({"", "unknown", "generic", "n/a", "na", "none", "unbranded", "no brand"})
"""Values of the field brand that are not brands, case-folded."""

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
        "preferences": _FIVE,  # null where the approximator returned none
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


def features_of(name: str, columns: Collection[str]) -> Features:
    """Columns and types of one config in a table that may lack some optional columns.

    Args:
        name (`str`): As in [`features`].
        columns (`Collection[str]`): Columns of the table.

    Returns:
        `datasets.Features`: All columns but the optional ones that the table lacks.

    >>> list(features_of("fine", ["preference", "target"]))
    ['user_id', 'position', 'history', 'preference', 'target', 'source_item']
    """
    optional = AXES[name].optional if name in AXES else ()
    return Features({key: kind for key, kind in features(name).items() if key not in optional or key in columns})


def config_name(domain: str, name: str) -> str:
    """Name of a config, under which it is published and loaded.

    >>> config_name("beauty", "sentiment")
    'beauty_sentiment'
    """
    features(name)
    check_domain(domain)
    return f"{domain}_{name}"


def check_domain(domain: str) -> None:
    """Refuses a domain that cannot be part of the names of folders and configs, such as a path or a pattern.

    Raises:
        ValueError: If it is not ASCII letters and digits, joined by single underscores.
    """
    if not domain or not all(part.isalnum() and part.isascii() for part in domain.split("_")):
        raise ValueError(
            f"The domain {domain!r} must be ASCII letters and digits, joined by single underscores: it becomes part "
            "of the names of folders and configs."
        )


def splits_of(name: str) -> tuple[str, ...]:
    """Splits of a config: three for an axis, `train` alone for a table.

    >>> splits_of("items")
    ('train',)
    """
    return SPLITS if name in AXES else ("train",)


def known_brand(brand: str | None) -> str:
    """The brand, or `""` where the field has a placeholder for an unknown brand.

    >>> known_brand("Unknown"), known_brand(None), known_brand(" OPI ")
    ('', '', 'OPI')
    """
    brand = (brand or "").strip()
    return "" if brand.casefold() in UNKNOWN_BRANDS else brand


def item_text(item: Mapping[str, Any], fields: Sequence[str] = ITEM_TEXT_FIELDS) -> str:
    """Text that is embedded for an item; missing fields are left out.

    Args:
        item (`Mapping`): A row of the config `items`.
        fields (`Sequence[str]`): Columns to use, in this order.

    Returns:
        `str`: The fields, all but the title with their names; `""` for an item without any of them.

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


def item_title(item: Mapping[str, Any]) -> str:
    """Title that is shown for an item: its own, else its brand and categories, else its number.

    Args:
        item (`Mapping`): A row of the config `items`.

    >>> item_title({"item_id": 17, "title": None, "brand": "Dove", "categories": ["Bath", "Soaps"]})
    'Dove, Bath, Soaps'
    >>> item_title({"item_id": 17, "title": " ", "brand": "Unknown", "categories": []})
    'item 17'
    """
    title = item.get("title") or ""
    if title.strip():
        return title
    parts = (known_brand(item.get("brand")), *(item.get("categories") or ()))
    return ", ".join(part for part in parts if part) or f"item {item['item_id']}"
