"""Attributes of items that preferences are worded from: distinctive title words, brand, leaf category."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...benchmark.schema import known_brand

WORDS_PER_ITEM = 6
"""Distinctive title words kept of each item."""
RARE_TITLES, RARE_SHARE = 5, 1 / 400
"""Words in fewer titles than this, or than this share of the catalog, count as equally rare."""

COMMON_SHARE = 1 / 2
"""Words in more titles than this share of the catalog are not distinctive ("card" among gift cards)."""

_FREE_OF = re.compile(r"\b([^\W\d_]{3,})[\s-]+free\b", re.IGNORECASE)
_WITHOUT = re.compile(r"\b(?:no|non|without)[\s-]+[^\W\d_]+(?:[\s-]+(?:and|or|&)[\s-]+[^\W\d_]+)?", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_STOP_WORD_TEXT = """
    a an and are as at be by can do for from get has have how if in into is it its just like made make more most my
    new no non not of off old on one only or our out over own per plus so than that the their them these they this to
    too two three up us use used very was we what when which will with without you your
    york vary varies all every where who here there down i'm it'll take takes let go goes going come comes
    oz ounce ounces fl fluid floz ml mls liter liters litre gram grams gr mg kg lb lbs pound pounds inch inches in cm
    mm ft feet foot yard yards pack packs packaging pk ct count counts pcs pc piece pieces pair pairs qty quantity
    size sizes sized small medium large extra mini jumbo each set sets kit kits bundle value box boxed bottle bottles
    tube tubes jar jars unit units lot pkg package
    design designs designed delivery
    version edition model style color colour colors colours shade type brand item product products original genuine
    authentic official best great good quality free sale ship shipping usa us uk amazon com www inc ltd llc co
    january february march april may june july august september october november december vol volume part series no
    it's that's let's don't asin configuration misc level even highest normal various name default only
    hour hours minute minutes day days week weeks year years month months up ups
"""
_STOP_WORDS = frozenset(_STOP_WORD_TEXT.split())
_VAGUE_LEAF_TEXT = (
    "face eye eyes lip lips body nails hair hands sets set kits accessories other others men women men's women's "
    "mens womens children children's kids baby boys girls unisex general more basics"
)
_VAGUE_LEAVES = frozenset(_VAGUE_LEAF_TEXT.split())


@dataclass(frozen=True, slots=True, eq=False)
class ItemAttributes:
    """Attributes of an item; `words` are lower-case and in title order, `common` is the most frequent of them."""

    words: tuple[str, ...]
    weights: tuple[float, ...]
    common: str
    brand: str
    leaf: str
    path: tuple[str, ...]


def title_words(title: str) -> list[str]:
    """Distinct words of a title in order, without stop words, measures and numbers.

    >>> title_words("Nag Champa Bar Soap, 2.5-Ounce (Pack of 3) - Soap with Patchouli")
    ['nag', 'champa', 'bar', 'soap', 'patchouli']
    >>> title_words("Sulfate Free Shampoo without Parabens")  # what an item lacks must not be named as what it has
    ['sulfate-free', 'shampoo']
    """
    title = _WITHOUT.sub(" ", _FREE_OF.sub(r"\1-free", title))
    words = (match.group().lower().replace("’", "'") for match in _WORD.finditer(title))
    return list(dict.fromkeys(word for word in words if len(word) > 2 and word not in _STOP_WORDS))


def item_attributes(
    item: Mapping[str, Any], words: Sequence[str], frequency: Mapping[str, int], num_items: int
) -> ItemAttributes:
    """Precomputes the attributes of one item.

    Args:
        item (`Mapping`): A row of the config `items`.
        words (`Sequence[str]`): Its title's words ([`title_words`]).
        frequency (`Mapping[str, int]`): In how many titles each word occurs.
        num_items (`int`): Size of the catalog.

    Returns:
        [`ItemAttributes`]: Words that its brand or categories already say are dropped.
    """
    brand = known_brand(item.get("brand"))
    path = tuple(
        dict.fromkeys(category_phrase(category) for category in item.get("categories") or () if category.strip())
    )
    leaf = path[-1] if path else ""
    if leaf in _VAGUE_LEAVES and len(path) > 1:
        leaf = f"{leaf} {path[-2]}"
    said = set().union(*(word_stems(word.lower()) for word in _WORD.findall(" ".join((brand, leaf, *path)))))
    ranked = sorted(
        (-_distinctiveness(frequency[word], num_items), place, word)
        for place, word in enumerate(words)
        if said.isdisjoint(word_stems(word)) and frequency[word] <= max(COMMON_SHARE * num_items, RARE_TITLES)
    )[:WORDS_PER_ITEM]
    kept = sorted((place, word, -score) for score, place, word in ranked)
    # A word of a single title cannot be shared by users.
    shared = [word for _, word, _ in kept if frequency[word] > 1]
    return ItemAttributes(
        common=max(shared, key=lambda word: frequency[word], default=""),
        words=tuple(word for _, word, _ in kept),
        weights=tuple(weight for _, _, weight in kept),
        brand=brand,
        leaf=leaf,
        path=path,
    )


def _distinctiveness(frequency: int, num_items: int) -> float:
    """Inverse document frequency, flat for rare words; a word of a single title counts half."""
    weight = math.log((num_items + 1) / max(frequency, RARE_TITLES, num_items * RARE_SHARE)) + 1e-3
    return max(weight, 1e-3) * (0.5 if frequency < 2 else 1.0)


def category_phrase(category: str) -> str:
    """A category as preferences name it.

    >>> category_phrase("Bath & Body")
    'bath and body'
    """
    return " ".join(category.replace("&", " and ").split()).lower()


def word_stems(word: str) -> set[str]:
    """The word and its possible singulars, so that "vases" matches "vase" and "boxes" matches "box"."""
    stems = {word}
    for ending, replacement in (("'s", ""), ("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            stems.add(word[: -len(ending)] + replacement)
    return stems
