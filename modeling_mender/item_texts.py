"""Texts of an item from its fields: with labels, for embeddings; without, for its words."""

from collections.abc import Mapping, Sequence
from typing import Any

ITEM_TEXT_FIELDS = ("title", "price", "brand", "categories")  # as in dataset_builders.benchmark.schema
UNKNOWN_BRANDS = ("", "unknown", "generic", "n/a", "na", "none", "unbranded", "no brand")


def labeled_text(item: Mapping[str, Any], fields: Sequence[str] = ITEM_TEXT_FIELDS) -> str:
    """Text of an item that is embedded: its fields, all but the title with their names; missing ones are left out.

    Equal to `item_text` of `dataset_builders.benchmark.schema`, which a model on the Hub does not carry.

    >>> labeled_text({"title": "Rose Soap", "price": 4.5, "brand": "", "categories": ["Bath", "Soaps"]})
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


def known_brand(brand: str | None) -> str:
    """The brand, or `""` where the field has a placeholder for an unknown brand."""
    brand = (brand or "").strip()
    return "" if brand.casefold() in UNKNOWN_BRANDS else brand


def plain_text(item: Mapping[str, Any], further: Sequence[str] = ()) -> str:
    """Title, brand, categories and further fields of an item without labels: the text that its words are taken from.

    >>> plain_text({"title": "Rose Soap", "brand": "Tillbury", "categories": ["Bath", "Soaps"], "price": 4.5})
    'Rose Soap, Tillbury, Bath, Soaps'
    """
    parts = (
        item.get("title"),
        item.get("brand"),
        *(item.get("categories") or ()),
        *(item.get(one) for one in further),
    )
    return ", ".join(part for part in parts if part)
