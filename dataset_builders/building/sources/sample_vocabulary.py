"""Vocabulary of the sample shop: attribute values, kinds of items and brands, and what an item is by its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Attribute family -> values. Each word belongs to one family only, so a value identifies its family.
FAMILIES: dict[str, tuple[str, ...]] = {
    "scent": (
        "lavender", "patchouli", "vanilla", "citrus", "rose", "jasmine", "peppermint", "sandalwood", "eucalyptus",
    ),
    "ingredient": ("oat", "honey", "almond", "coconut", "ginger", "chamomile", "turmeric"),
    "colour": ("sage", "navy", "terracotta", "ivory", "mustard", "blush", "emerald", "indigo"),
    "style": ("minimalist", "rustic", "retro", "botanical", "nautical", "geometric"),
    "material": (
        "ceramic", "glass", "enamel", "brass", "walnut", "bamboo", "wool", "linen", "velvet", "leather", "cork",
        "canvas",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of item: its category path, template of its title, possible values, and typical price."""

    noun: str
    categories: tuple[str, str, str]
    title: str  # a template over the attribute families
    values: dict[str, tuple[str, ...]]
    price: float  # typical, in dollars


def _kind(noun: str, path: str, title: str, price: float, **narrowed: str) -> Kind:
    department, subcategory, leaf = path.split(" > ")
    families = [family for family in FAMILIES if "{" + family + "}" in title]
    values = {family: tuple(narrowed.get(family, " ".join(FAMILIES[family])).split()) for family in families}
    assert all(set(chosen) <= set(FAMILIES[family]) for family, chosen in values.items()), noun
    return Kind(noun, (department, subcategory, leaf), title, values, price)


KINDS: tuple[Kind, ...] = (
    _kind("bar soap", "Bath & Body > Cleansing > Bar Soaps", "{scent} {ingredient} Bar Soap", 8.0),
    _kind("hand cream", "Bath & Body > Skin Care > Hand Creams", "{scent} {ingredient} Hand Cream", 12.0),
    _kind("candle", "Home > Fragrance > Scented Candles", "{scent} Scented Candle in {style} {material} Jar", 22.0,
          material="ceramic glass brass"),
    _kind("tea", "Pantry > Hot Drinks > Loose Leaf Teas", "{scent} {ingredient} Loose Leaf Tea", 11.0,
          scent="lavender vanilla citrus rose jasmine peppermint"),
    _kind("mug", "Kitchen > Drinkware > Mugs", "{style} {material} Mug in {colour}", 16.0,
          material="ceramic glass enamel bamboo"),
    _kind("lamp", "Home > Lighting > Table Lamps", "{style} {material} Table Lamp in {colour}", 65.0,
          material="ceramic glass brass walnut bamboo"),
    _kind("blanket", "Home > Bedding > Throw Blankets", "{style} {material} Throw Blanket in {colour}", 58.0,
          material="wool linen velvet"),
    _kind("cushion", "Home > Living Room > Cushions", "{style} {material} Cushion in {colour}", 30.0,
          material="wool linen velvet leather"),
    _kind("notebook", "Stationery > Paper > Notebooks", "{style} {material} Notebook in {colour}", 18.0,
          material="leather linen cork"),
    _kind("backpack", "Bags > Everyday Bags > Backpacks", "{style} {material} Backpack in {colour}", 85.0,
          material="leather canvas cork wool"),
    _kind("vase", "Home > Decor > Vases", "{style} {material} Vase in {colour}", 34.0,
          material="ceramic glass brass walnut"),
    _kind("tray", "Kitchen > Serveware > Serving Trays", "{style} {material} Serving Tray in {colour}", 28.0,
          material="enamel brass walnut bamboo cork"),
)  # fmt: skip

BRANDS = (
    "Harrow & Finch", "Juniper Lane", "Oakmere", "Tillbury", "Marlowe & Reed", "Saltwick", "Fernhollow", "Larkspur Co",
    "Pemberly", "Quillon", "Aldertide", "Brindlewood",
)  # fmt: skip


@dataclass(frozen=True)
class PlantedItem:
    """Truth of an item: its kind's noun, its attribute values (family -> value) and its brand."""

    kind: str
    values: dict[str, str]
    brand: str


def kind_of(item: PlantedItem) -> Kind:
    """Kind of an item."""
    return next(kind for kind in KINDS if kind.noun == item.kind)


def item_title(kind: Kind, item: PlantedItem) -> str:
    """Title of an item: the values in the template of its kind, and the brand."""
    values = {family: value.title() for family, value in item.values.items()}
    return kind.title.format(**values) + f" by {item.brand}"


def planted_item(row: Mapping[str, Any]) -> PlantedItem | None:
    """Reads the truth of an item of the shop from its row of the config `items`.

    Args:
        row (`Mapping`): Title, brand and categories.

    Returns:
        [`PlantedItem`] or `None`: `None` if the shop cannot have drawn such an item.

    >>> row = {"brand": "Oakmere", "categories": ["Bath & Body", "Cleansing", "Bar Soaps"]}
    >>> planted_item({"title": "Rose Oat Bar Soap by Oakmere", **row})
    PlantedItem(kind='bar soap', values={'scent': 'rose', 'ingredient': 'oat'}, brand='Oakmere')
    >>> planted_item({"title": "Rose Soap by Oakmere", **row}) is None
    True
    """
    kind = next((kind for kind in KINDS if list(kind.categories) == list(row.get("categories") or ())), None)
    title, brand = row.get("title") or "", row.get("brand")
    if kind is None or brand not in BRANDS:
        return None
    words = set(title.removesuffix(f" by {brand}").lower().split())
    values = {family: value for family, possible in kind.values.items() for value in possible if value in words}
    item = PlantedItem(kind.noun, values, brand)
    return item if values.keys() == kind.values.keys() and item_title(kind, item) == title else None
