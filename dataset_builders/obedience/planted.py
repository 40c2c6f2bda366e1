"""Obedience on the sample shop, exactly: what a preference wishes, and the items of which this is true."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..benchmark.negation import is_negative_preference
from ..building.preferences.paraphrases import VALUES, read_choice
from ..building.sources.sample_vocabulary import PlantedItem, kind_of, planted_item


@dataclass(frozen=True)
class Wish:
    """Planted attributes that a preference names: values ("oat"), categories ("bar soaps") and brands ("Oakmere").

    Attributes:
        wanted (`frozenset[str]`): Attributes of a positive preference.
        unwanted (`frozenset[str]`): Attributes of a negative one, to be avoided together: "Avoid oat bar soaps" is
            violated neither by every bar soap nor by an oat tea.
    """

    wanted: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()


@cache
def wish_of(preference: str) -> Wish | None:
    """Reads the planted attributes that a preference of the sample shop names.

    Args:
        preference (`str`): In the wording of metadata/1, metadata/2 or their paraphrases, or the inversion of one.

    Returns:
        [`Wish`] or `None`: `None` for a preference that names no attribute ("Opt for durable products"), and for a
        sentence in no known wording.

    >>> wish_of("Avoid oat bar soaps").unwanted == {"oat", "bar soaps"}
    True
    >>> wish_of("Find oat bar soaps").wanted == {"oat", "bar soaps"}
    True
    """
    choice = read_choice(preference)
    if choice is None:
        return None
    named = frozenset(filter(None, (*choice.words, choice.place, choice.brand)))
    return Wish(unwanted=named) if is_negative_preference(preference) else Wish(wanted=named)


def attributes_of(item: PlantedItem) -> frozenset[str]:
    """All planted attributes of an item, in the names of [`Wish`].

    >>> sorted(attributes_of(PlantedItem("mug", {"style": "retro"}, "Oakmere")))
    ['Oakmere', 'drinkware', 'kitchen', 'mugs', 'retro']
    """
    categories = (category.replace("&", "and").lower() for category in kind_of(item).categories)
    return frozenset({*item.values.values(), *categories, item.brand})


def obeying_items(wish: Wish, attributes: Mapping[int, frozenset[str]]) -> frozenset[int]:
    """Items that obey a wish.

    Args:
        wish ([`Wish`]): What is wanted or unwanted.
        attributes (`Mapping`): Item id -> [`attributes_of`] it, for every item of the shop.

    Returns:
        `frozenset[int]`: Of a positive wish, the items of its category and brand that have all wanted values; where no
        item has them all (two materials, "rose or ivory"), those that have the most. Of a negative one, all items but
        those that have all of the unwanted attributes.
    """
    if wish.unwanted:
        return frozenset(item for item, having in attributes.items() if not wish.unwanted <= having)
    values = wish.wanted & VALUES.keys()
    fixed = wish.wanted - values
    counts = {item: len(values & having) for item, having in attributes.items() if fixed <= having}
    most = max(counts.values(), default=0)
    return frozenset(item for item, count in counts.items() if count == most and (most or not values))


def obeying_sets(
    items: Iterable[Mapping[str, Any]], preferences: Sequence[str | Sequence[str]]
) -> list[frozenset[int] | None]:
    """Items of the sample shop that obey each request.

    Args:
        items (`Iterable[Mapping]`): Rows of the config `items`.
        preferences (`Sequence`): Requests, each a preference or several.

    Returns:
        `list`: Item ids for each request: of one preference those of [`obeying_items`]; of several, the items that
        obey a positive one, or any item if none is positive, and violate no negative one. `None` where no preference
        of the request names an attribute, and for every request if these are not the items of the sample shop.
    """
    planted = {int(row["item_id"]): planted_item(row) for row in items}
    attributes = {item_id: attributes_of(item) for item_id, item in planted.items() if item is not None}
    if len(attributes) < len(planted):
        return [None] * len(preferences)
    everything, known = frozenset(attributes), dict[Wish, frozenset[int]]()
    sets: list[frozenset[int] | None] = []
    for request in preferences:
        texts = [request] if isinstance(request, str) else request
        wishes = [wish for text in texts if (wish := wish_of(text)) is not None]
        for wish in wishes:
            if wish not in known:
                known[wish] = obeying_items(wish, attributes)
        wanted = [known[wish] for wish in wishes if wish.wanted] or [everything]
        allowed = [known[wish] for wish in wishes if wish.unwanted]
        sets.append(frozenset().union(*wanted).intersection(*allowed) if wishes else None)
    return sets
