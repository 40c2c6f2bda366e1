"""The sample shop: a small synthetic domain with planted tastes, for the quickstart and for tests.

Nothing here is real: items, brands, users and reviews are drawn from the tables below by a seeded generator. This file
knows the planted truth, and gives it to tests; it knows nothing of preferences, axes or models, which must find the
tastes from titles, ratings and review texts as they would in real data.

How a user shops. Each user likes two or three kinds of items, one or two attribute values (one scent, one colour...),
sometimes a brand, and is averse to one or two values. A purchase is
- by taste (67 %): an item of a liked kind, preferably with a liked value, of the liked brand, and close to the
  previous purchase (same kind, a shared value); never with an averted value;
- a disappointment (15 %): an item of a liked kind that carries an averted value, found out after the purchase;
- by popularity (18 %): any item.
No item is bought twice by the same user. Every review of an item with an averted value is negative (1 or 2 stars) and
names that value; no other review is. Other reviews name the liked value (4 or 5 stars) or none (3 to 5 stars).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa

from dataset_builders.sources import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, register_table

SYNTHETIC_NOTICE = (
    "The sample domain is synthetic: items, brands, users, ratings and reviews are generated with planted tastes. "
    "Figures on it show that the code works, not how a method does on real data."
)

# Attribute family -> values. Each word belongs to one family only, so a value can be named without its family.
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
    """One kind of item: its category path, how a title is put together, which values it comes in, and its price."""

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
BRANDS_PER_KIND = 4

TASTE, DISAPPOINTMENT, POPULARITY = 0.67, 0.15, 0.18
LIKED_VALUE, LIKED_BRAND, SAME_KIND, SHARED_VALUE = 6.0, 3.0, 2.5, 2.0  # how much likelier such an item is
MISSING_PRICE = 0.04  # of the items have no price, as in real catalogues
START, SPAN = 1_640_995_200, 3 * 365 * 86_400  # seconds since the epoch: three years from 2022-01-01

_PRAISE = {
    "scent": ("The {value} scent is lovely.", "I adore how it smells of {value}.", "Perfect {value} fragrance."),
    "ingredient": ("The {value} in it is wonderful.", "Love the touch of {value}.", "Great {value}, just right."),
    "colour": ("The {value} colour is beautiful.", "Love it in {value}.", "Such a gorgeous {value} tone."),
    "style": ("I love the {value} look.", "The {value} design is beautiful.", "A great {value} style."),
    "material": ("The {value} feels great.", "Beautiful {value}, very well made.", "I love this quality {value}."),
}
_COMPLAINT = {
    "scent": ("The {value} scent is far too strong.", "The smell of {value} is awful.", "I hate this {value} note."),
    "ingredient": (
        "The {value} in it is unpleasant.", "Awful taste of {value}, I regret buying it.", "I dislike the {value}.",
    ),
    "colour": ("The {value} colour is ugly.", "Horrible shade of {value}.", "I dislike it in {value}."),
    "style": ("The {value} look is ugly.", "I hate the {value} design.", "A terrible {value} style."),
    "material": ("The {value} feels cheap and bad.", "Poor {value}, a disappointment.", "I dislike the {value}."),
}  # fmt: skip
_PLAIN = ("A decent {noun}.", "The {noun} is okay.", "This {noun} arrived on time.", "A useful {noun}.")


@dataclass(frozen=True)
class PlantedItem:
    """What an item is: its kind's noun, its attribute values (family -> value) and its brand."""

    kind: str
    values: dict[str, str]
    brand: str


@dataclass(frozen=True)
class PlantedUser:
    """What a user wants: liked kinds (nouns), liked values, averted values (never also liked), and maybe a brand."""

    kinds: tuple[str, ...]
    liked: tuple[str, ...]
    averted: tuple[str, ...]
    brand: str | None


@dataclass(frozen=True)
class PlantedTruth:
    """The truth behind the sample shop: `items` by `source_id`, `users` by `user_id`."""

    items: dict[str, PlantedItem]
    users: dict[str, PlantedUser]

    def follows_taste(self, user_id: str, source_id: str) -> bool:
        """Returns: `bool`: whether the item is of a kind the user likes, or carries a liked value."""
        user, item = self.users[user_id], self.items[source_id]
        return item.kind in user.kinds or not set(user.liked).isdisjoint(item.values.values())

    def is_averted(self, user_id: str, source_id: str) -> bool:
        """Returns: `bool`: whether the item carries a value the user is averse to."""
        return not set(self.users[user_id].averted).isdisjoint(self.items[source_id].values.values())


class SampleSource:
    """
    The synthetic shop. The same arguments give the same tables, row for row.

    Args:
        num_items (`int`, *optional*, defaults to 360): Number of items, spread evenly over the kinds.
        num_users (`int`, *optional*, defaults to 600): Number of users, with 6 to 16 purchases each.
        seed (`int`, *optional*, defaults to 0): Seed of the generator.

    Raises:
        ValueError: fewer items than make every user's shopping possible, more than there are distinct titles, or no
            users.
    """

    name = "sample"
    notice = SYNTHETIC_NOTICE

    def __init__(self, num_items: int = 360, num_users: int = 600, seed: int = 0) -> None:
        smallest_kind = min(len(_combinations(kind)) for kind in KINDS) * BRANDS_PER_KIND
        low, high = 10 * len(KINDS), smallest_kind * len(KINDS)
        if not low <= num_items <= high:
            raise ValueError(f"num_items ({num_items}) must lie in {low}..{high}; the shop has {len(KINDS)} kinds")
        if num_users < 1:
            raise ValueError(f"num_users ({num_users}) must be at least 1")
        self.num_items, self.num_users, self.seed = num_items, num_users, seed

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Returns: `dict`: everything that `load` depends on."""
        return {"num_items": self.num_items, "num_users": self.num_users, "seed": self.seed}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """
        Generates the shop.

        Args:
            connection (`ibis.BaseBackend`): The connection that the tables are written to.

        Returns:
            `RawTables`: about 11 actions a user, `num_items` items, nothing skipped.
        """
        items, _, interactions = self._shop
        return RawTables(
            register_table(connection, interactions, "sample_interactions"),
            register_table(connection, items, "sample_items"),
        )

    def planted_truth(self) -> PlantedTruth:
        """Returns: `PlantedTruth`: kinds and values of the items, tastes and aversions of the users."""
        return self._shop[1]

    @cached_property
    def _shop(self) -> tuple[pa.Table, PlantedTruth, pa.Table]:
        generator = np.random.default_rng(self.seed)
        items, planted_items = _draw_items(self.num_items, generator)
        catalogue = _Catalogue(planted_items, generator)
        users: dict[str, PlantedUser] = {}
        rows: list[dict[str, object]] = []
        for number in range(1, self.num_users + 1):
            user_id = f"sample-user-{number:04d}"
            users[user_id] = _draw_user(catalogue, generator)
            for action in _shopping(users[user_id], catalogue, generator):
                rows.append({"user_id": user_id, **action, "row": len(rows)})
        return items, PlantedTruth(planted_items, users), pa.Table.from_pylist(rows, INTERACTION_SCHEMA)


class _Catalogue:
    """The items as arrays, in the vocabulary of the shopping: kinds, values, brands, popularity.

    Shapes: `kind` (num_items,), `has_value` (num_items, num_values) bool, `brand` (num_items,), `popularity`
    (num_items,), `closeness` (num_items, num_items): how much likelier the column becomes after buying the row.
    """

    def __init__(self, items: dict[str, PlantedItem], generator: np.random.Generator) -> None:
        self.source_ids = list(items)
        self.items = list(items.values())
        self.value_names = [value for values in FAMILIES.values() for value in values]
        self.kind = np.array([item.kind for item in self.items])
        self.brand = np.array([item.brand for item in self.items])
        carried = [set(item.values.values()) for item in self.items]
        self.has_value = np.array([[value in values for value in self.value_names] for values in carried])
        self.popularity = generator.lognormal(0.0, 0.5, len(self.items))
        shared = self.has_value.astype(np.float64) @ self.has_value.T.astype(np.float64)
        same_kind = self.kind[:, None] == self.kind[None, :]
        self.closeness = SHARED_VALUE**shared * np.where(same_kind, SAME_KIND, 1.0)

    def carries(self, values: tuple[str, ...]) -> np.ndarray:
        """Returns: `np.ndarray`: (num_items,) the number of `values` that each item carries."""
        return self.has_value[:, [self.value_names.index(value) for value in values]].sum(axis=1)


def _combinations(kind: Kind) -> list[tuple[str, ...]]:
    return list(itertools.product(*kind.values.values()))


def _draw_items(num_items: int, generator: np.random.Generator) -> tuple[pa.Table, dict[str, PlantedItem]]:
    """Distinct (values, brand) combinations of each kind: titles name both, so they are unique."""
    planted: dict[str, PlantedItem] = {}
    rows = []
    counts = [len(part) for part in np.array_split(np.arange(num_items), len(KINDS))]
    for kind, count in zip(KINDS, counts, strict=True):
        brands = generator.choice(len(BRANDS), BRANDS_PER_KIND, replace=False)
        combinations = _combinations(kind)
        # Distinct values first, a second brand for the same values only when these run out.
        order = np.concatenate([generator.permutation(len(combinations)) for _ in brands])[:count]
        offsets = generator.integers(BRANDS_PER_KIND, size=len(combinations))
        for rank, index in enumerate(order):
            values = dict(zip(kind.values, combinations[index], strict=True))
            brand = BRANDS[brands[(offsets[index] + rank // len(combinations)) % BRANDS_PER_KIND]]
            source_id = f"S{len(rows) + 1:05d}"
            planted[source_id] = PlantedItem(kind.noun, values, brand)
            rows.append(_item_row(source_id, kind, planted[source_id], generator))
    return pa.Table.from_pylist(rows, ITEM_SCHEMA), planted


def _item_row(source_id: str, kind: Kind, item: PlantedItem, generator: np.random.Generator) -> dict[str, object]:
    price = round(kind.price * float(generator.lognormal(0.0, 0.3)), 2)
    has_price = generator.random() >= MISSING_PRICE
    details = ", ".join(f"{family} {value}" for family, value in item.values.items())
    return {
        "source_id": source_id,
        "title": kind.title.format(**{family: value.title() for family, value in item.values.items()})
        + f" by {item.brand}",
        "brand": item.brand,
        "categories": list(kind.categories),
        "price": price if has_price else None,
        "description": f"A {kind.noun} of the synthetic sample shop: {details}.",
    }


def _draw_user(catalogue: _Catalogue, generator: np.random.Generator) -> PlantedUser:
    nouns = [kind.noun for kind in KINDS]
    kinds = tuple(nouns[index] for index in generator.choice(len(nouns), generator.integers(2, 4), replace=False))
    in_kinds = np.isin(catalogue.kind, kinds)
    # Only values that the liked kinds offer in some choice can show in what the user buys.
    offered = np.flatnonzero(catalogue.has_value[in_kinds].sum(axis=0) >= 3)
    drawn = generator.choice(offered, min(len(offered), int(generator.integers(2, 5))), replace=False)
    num_liked = max(1, len(drawn) // 2)
    names = [catalogue.value_names[index] for index in drawn]
    brands = sorted(set(catalogue.brand[in_kinds]))
    brand = str(generator.choice(brands)) if generator.random() < 0.3 else None
    return PlantedUser(kinds, tuple(names[:num_liked]), tuple(names[num_liked:]), brand)


def _shopping(user: PlantedUser, catalogue: _Catalogue, generator: np.random.Generator) -> list[dict[str, object]]:
    """One user's purchases in time order, without `user_id` and `row`."""
    num_actions = int(generator.integers(6, 17))
    timestamps = np.sort(START + generator.integers(SPAN, size=num_actions))
    in_kinds, averted = np.isin(catalogue.kind, user.kinds), catalogue.carries(user.averted) > 0
    liking = LIKED_VALUE ** catalogue.carries(user.liked) * np.where(catalogue.brand == user.brand, LIKED_BRAND, 1.0)
    by_taste = catalogue.popularity * liking * (in_kinds & ~averted)
    by_disappointment = catalogue.popularity * (in_kinds & averted)
    available = np.ones(len(catalogue.items))
    actions: list[dict[str, object]] = []
    previous: int | None = None
    for timestamp in timestamps:
        reason = generator.choice(3, p=(TASTE, DISAPPOINTMENT, POPULARITY))
        weights = (by_taste, by_disappointment, catalogue.popularity)[reason] * available
        if reason == 0 and previous is not None:
            weights = weights * catalogue.closeness[previous]
        if not weights.any():  # everything of that sort is bought
            weights = catalogue.popularity * available
        chosen = int(generator.choice(len(weights), p=weights / weights.sum()))
        available[chosen] = 0.0
        rating, review = _review(user, catalogue.items[chosen], generator)
        actions.append(
            {
                "source_id": catalogue.source_ids[chosen],
                "timestamp": int(timestamp),
                "rating": rating,
                "review": review,
            }
        )
        # A disappointment is not continued: the next purchase follows the last one that pleased.
        previous = previous if averted[chosen] else chosen
    return actions


def _review(user: PlantedUser, item: PlantedItem, generator: np.random.Generator) -> tuple[float, str]:
    for values, templates, ratings in ((user.averted, _COMPLAINT, (1.0, 2.0)), (user.liked, _PRAISE, (4.0, 5.0))):
        named = [(family, value) for family, value in item.values.items() if value in values]
        if named:
            family, value = named[generator.integers(len(named))]
            return float(generator.choice(ratings)), str(generator.choice(templates[family])).format(value=value)
    return float(generator.choice((3.0, 4.0, 5.0))), str(generator.choice(_PLAIN)).format(noun=item.kind)
