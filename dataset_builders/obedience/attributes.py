"""Kinds and values of the items of a benchmark: the planted truth of the sample shop, or words of the items' texts.

By words, an item has an attribute if its title, brand or categories contain all words of its name; a kind is a leaf
category, a value is a distinctive word of titles.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..building.preferences.item_attributes import item_attributes, title_words
from ..building.sources.sample_vocabulary import planted_item

MIN_KIND_ITEMS = 10
"""Minimum of items of a kind."""
MIN_VALUE_ITEMS = 5
"""Minimum of items of a value, where values are words."""
MAX_VALUE_SHARE = 0.05
"""Maximum share of the catalog of a value, where values are words: more frequent words are not distinctive."""
MAX_KIND_SHARE = 0.5
"""Maximum share of the catalog of a kind: avoiding a larger one leaves no list."""
FEW_KINDS = 4
"""Number of leaf categories below which frequent words of titles are kinds as well."""

_WORD = re.compile(r"[^\W_]+")
_CONNECTIVES = frozenset("and or of for with in the".split())
_ENDINGS = (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("ss", "ss"), ("s", ""))


@dataclass(frozen=True)
class Attributes:
    """Attributes of the items 1..N of a benchmark.

    Attributes:
        titles (`tuple[str, ...]`): Titles of items 1..N, in order.
        words (`tuple[frozenset[str], ...]`): Stems of title, brand and categories of each item, in the same order.
        kinds (`dict[str, frozenset[int]]`): Name of a kind, in a customer's words -> its items.
        values (`dict[str, frozenset[int]]`): Attribute value -> its items.
        are_planted (`bool`): Whether these are the planted truth of the sample shop, not words.
        everything (`frozenset[int]`): All items.
    """

    titles: tuple[str, ...]
    words: tuple[frozenset[str], ...]
    kinds: dict[str, frozenset[int]]
    values: dict[str, frozenset[int]]
    are_planted: bool
    everything: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "everything", frozenset(range(1, len(self.titles) + 1)))


def stem(word: str) -> str:
    """Converts a word to lower case and, by its ending, to the singular.

    >>> [stem(word) for word in ("Candles", "vases", "brushes", "Berries", "glass", "tea")]
    ['candle', 'vase', 'brush', 'berry', 'glass', 'tea']
    """
    word = word.lower()
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            return word[: -len(ending)] + replacement
    return word


def stems(text: str) -> list[str]:
    """Stems of the words of a text, in order.

    >>> stems("Bar Soaps & hand-creams")
    ['bar', 'soap', 'hand', 'cream']
    """
    return [stem(word) for word in _WORD.findall(text)]


def read_attributes(items: Iterable[Mapping[str, Any]], domain: str) -> Attributes:
    """Determines the attributes of items: planted ones of the sample shop, else by words.

    Args:
        items (`Iterable[Mapping]`): Rows of the config `items`, in the order of their ids.
        domain (`str`): Domain of the benchmark.

    Raises:
        ValueError: If there are fewer than two kinds, or no values.
    """
    items = list(items)
    titles = tuple(item.get("title") or "" for item in items)
    words = tuple(frozenset(stems(_all_text(item))) for item in items)
    planted = planted_attributes(items) if domain == "sample" else None
    kinds, values = planted or attributes_by_words(items, words)
    if len(kinds) < 2 or not values:
        raise ValueError(
            f"{domain} has {len(kinds)} kinds of {MIN_KIND_ITEMS} items or more and {len(values)} values of "
            f"{MIN_VALUE_ITEMS} or more; obedience needs 2 and 1: give a benchmark whose items have titles and "
            "categories."
        )
    return Attributes(titles, words, kinds, values, planted is not None)


def planted_attributes(
    items: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]] | None:
    """Kinds and values of the sample shop's items; `None` if one of these is not of that shop."""
    kinds: dict[str, set[int]] = {}
    values: dict[str, set[int]] = {}
    for number, item in enumerate(items, start=1):
        truth = planted_item(item)
        if truth is None:
            return None
        kinds.setdefault(f"{truth.kind}s", set()).add(number)
        for value in truth.values.values():
            values.setdefault(value, set()).add(number)
    return _sorted(kinds), _sorted(values)


def attributes_by_words(
    items: Sequence[Mapping[str, Any]], words: Sequence[frozenset[str]]
) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """Determines kinds and values, each with the items that have all of its words.

    A kind is a leaf category, or a frequent word of titles where there are few leaf categories. A value is a
    distinctive word of titles that is in neither brand nor category.

    Args:
        items (`Sequence[Mapping]`): Rows of the config `items`.
        words (`Sequence[frozenset[str]]`): Stems of each item.
    """
    titles = [title_words(item.get("title") or "") for item in items]
    frequency = Counter(word for title in titles for word in title)
    read = [item_attributes(item, title, frequency, len(items)) for item, title in zip(items, titles, strict=True)]
    most = MAX_KIND_SHARE * len(items)
    kinds = _keep({one.leaf for one in read}, words, MIN_KIND_ITEMS, most)
    if len(kinds) < FEW_KINDS:
        kinds |= _keep({word for word in frequency if word not in kinds}, words, MIN_KIND_ITEMS, most)
    named = {word for one in read for word in one.words if frequency[word] >= MIN_VALUE_ITEMS}
    return kinds, _keep(named, words, MIN_VALUE_ITEMS, max(MIN_VALUE_ITEMS, MAX_VALUE_SHARE * len(items)))


def _keep(
    terms: Iterable[str], words: Sequence[frozenset[str]], least: float, most: float
) -> dict[str, frozenset[int]]:
    """Keeps the terms that `least` to `most` items have, each with these items, in alphabetical order."""
    having: dict[str, set[int]] = {}
    for number, said in enumerate(words, start=1):
        for word in said:
            having.setdefault(word, set()).add(number)
    found: dict[str, set[int]] = {}
    for term in terms:
        parts = [having.get(part, set()) for part in stems(term) if part not in _CONNECTIVES]
        members = set.intersection(*parts) if parts else set()
        if least <= len(members) <= most:
            found[term] = members
    return _sorted(found)


def _sorted(terms: Mapping[str, set[int]]) -> dict[str, frozenset[int]]:
    return {term: frozenset(terms[term]) for term in sorted(terms)}


def _all_text(item: Mapping[str, Any]) -> str:
    return " ".join((item.get("title") or "", item.get("brand") or "", *(item.get("categories") or ())))
