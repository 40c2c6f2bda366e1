"""Preferences from item attributes and the polarity of reviews, without a language model.

It words titles, brands and categories as the short imperatives of appendix C and does not read review texts.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...benchmark.schema import NUM_PREFERENCES, WINDOW
from .approximation import FivePreferences, PastItem, PreferenceApproximator
from .item_attributes import ItemAttributes, item_attributes, title_words

MAX_NEGATIVE = 2
"""Maximum of negative preferences among the five (the paper's share is 23 to 29 %, table 4)."""
DECAY = 0.85
"""Weight of an action relative to the next newer one."""
TASTE_DECAY = 0.25
"""Exponent of that weight for preferences that span items, which change slowly."""
_GENERIC = (
    "Look for well-reviewed products",
    "Prioritize products of good quality",
    "Search for products that are easy to use",
    "Opt for durable products",
    "Explore popular products",
    "Prefer versatile products",
)


@dataclass(slots=True)
class _Tastes:
    """Summary of a window of past items: groups of liked items by leaf category, words, brands, dislikes."""

    groups: list[list[ItemAttributes]]
    words: dict[str, float]
    brands: dict[tuple[str, str], float]
    disliked: list[ItemAttributes]
    net: Counter[tuple[str, str]]
    votes: dict[str, int]
    aversions: dict[str, int]

    def likes(self, kind: str, name: str) -> bool:
        """Whether a positive preference may name it: not disliked as often as liked."""
        return not self.disliked or self.net[kind, name] > 0

    def dislikes(self, kind: str, name: str) -> bool:
        """Whether a negative preference may name it: disliked more often than liked."""
        return self.net[kind, name] < 0


class MetadataApproximator(PreferenceApproximator):
    """Approximates five preferences per position from the attributes of the last items, deterministically.

    Positive preferences come from the leaf categories, brands and distinctive title words of the items that the user
    did not dislike, weighted by recency, from different categories where possible (section 3.1: mostly orthogonal). At
    most two of five are negative, begin with "Avoid", and name attributes that only disliked items have.

    Args:
        window (`int`): Number of past items that are read.
    """

    name = "metadata"
    description = (
        "A deterministic template over item attributes (title words, leaf categories, brands) and the polarity of "
        "reviews. No language model was used and no review text was read for its content, so these preferences name "
        "what users bought, not why: they are simpler and closer to item titles than the paper's, which an LLM wrote."
    )

    def __init__(self, window: int = WINDOW) -> None:
        if window < 1:
            raise ValueError(f"window ({window}) must be at least 1: preferences come from past items.")
        self.window = window
        self._attributes: dict[int, ItemAttributes] = {}

    def prepare(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Counts title words over the catalog and keeps each item's most distinctive ones."""
        tokens = [title_words(item.get("title") or "") for item in items]
        frequency = Counter(token for title in tokens for token in title)
        self._attributes = {
            int(item["item_id"]): item_attributes(item, title, frequency, len(items))
            for item, title in zip(items, tokens, strict=True)
        }

    def approximate_user(self, user_id: str, events: Sequence[PastItem]) -> list[FivePreferences | None]:
        """See [`PreferenceApproximator.approximate_user`]; an item of unknown polarity counts as liked."""
        attributes = []
        for event in events:
            item_id = int(event.item["item_id"])
            if item_id not in self._attributes:
                raise ValueError(f"Item {item_id} is not in the catalog; call prepare() with all items first.")
            attributes.append(self._attributes[item_id])
        liked = [event.polarity is None or event.polarity >= 0 for event in events]
        result: list[FivePreferences | None] = []
        for end in range(1, len(events) + 1):
            start = max(0, end - self.window)
            result.append(_five(attributes[start:end], liked[start:end]))
        return result


def _five(window: Sequence[ItemAttributes], liked: Sequence[bool]) -> FivePreferences:
    """Words the five preferences of a window of past items, oldest first."""
    tastes = _read_tastes(window, liked)
    chosen: dict[frozenset[str], str] = {}
    negative: dict[str, str] = {}
    for preference in _negative(tastes):
        negative.setdefault(preference.casefold(), preference)
        if len(negative) == MAX_NEGATIVE:
            break
    for preference in _positive(tastes):
        # "Search for holiday tin cards" and "Prefer tin and holiday cards" are one preference.
        chosen.setdefault(frozenset(_content_words(preference)), preference)
        if len(chosen) + len(negative) == NUM_PREFERENCES:
            break
    first, second, third, fourth, fifth = (*chosen.values(), *negative.values())  # the ladder ends in generic ones
    return first, second, third, fourth, fifth


def _content_words(preference: str) -> list[str]:
    """The words of a preference but its verb, "for" and "and", case-folded.

    >>> _content_words("Search for Holiday tin cards"), _content_words("Prefer tin and holiday cards")
    (['holiday', 'tin', 'cards'], ['tin', 'holiday', 'cards'])
    """
    return [word for word in preference.casefold().split()[1:] if word not in ("for", "and")]


def _read_tastes(window: Sequence[ItemAttributes], liked: Sequence[bool]) -> _Tastes:
    groups: dict[str, tuple[float, list[ItemAttributes]]] = {}
    words: dict[str, float] = {}
    brands: dict[tuple[str, str], float] = {}
    disliked: list[ItemAttributes] = []
    votes: dict[str, int] = {}
    aversions: dict[str, int] = {}
    weight = 1.0
    for item, is_liked in zip(reversed(window), reversed(liked), strict=True):
        if is_liked:
            score, members = groups.get(item.leaf, (0.0, []))
            if item not in members:
                members.append(item)
            groups[item.leaf] = (score + weight, members)
            if item.common:
                words[item.common] = words.get(item.common, 0.0) + weight**TASTE_DECAY
            if item.brand:
                brands[item.brand, item.leaf] = brands.get((item.brand, item.leaf), 0.0) + weight
        elif item not in disliked:
            disliked.append(item)
        counts = votes if is_liked else aversions
        for word in item.words:
            counts[word] = counts.get(word, 0) + 1
        weight *= DECAY
    net: Counter[tuple[str, str]] = Counter()
    if disliked:
        for item, is_liked in zip(window, liked, strict=True):
            step = 1 if is_liked else -1
            for word in item.words:
                net["word", word] += step
            for kind, name in (("brand", item.brand), ("leaf", item.leaf)):
                net[kind, name] += step
    ordered = sorted(groups.values(), key=lambda group: -group[0])
    return _Tastes([members for _, members in ordered], words, brands, disliked, net, votes, aversions)


def _negative(tastes: _Tastes) -> Iterator[str]:
    """Negative preferences, newest first: words of a disliked item that no liked one outweighs, its brand or kind."""
    for item in tastes.disliked:
        words = _best_words(item, 2, tastes.aversions, lambda word: tastes.dislikes("word", word))
        if words:
            yield f"Avoid {' '.join(words)} {item.leaf or 'products'}"
        elif item.brand and tastes.dislikes("brand", item.brand):
            yield f"Avoid {item.brand} {item.leaf or 'products'}"
        elif item.leaf and tastes.dislikes("leaf", item.leaf):
            yield f"Avoid {item.leaf}"


def _positive(tastes: _Tastes) -> Iterator[str]:
    """Positive preferences, best first; the ladder at the end supplies at least five."""
    groups = tastes.groups
    yield from filter(None, (_from_group(group, tastes) for group in groups[:2]))
    yield from _across(tastes)
    yield from filter(None, (_from_group(group, tastes) for group in groups[2:3]))
    yield from _from_brands(tastes, 1)
    yield from filter(None, (_from_group(group, tastes) for group in groups[3:]))
    yield from _from_brands(tastes, NUM_PREFERENCES)
    yield from _ladder(tastes)


def _ladder(tastes: _Tastes) -> Iterator[str]:
    """Less and less specific preferences for users with few or uniform items: items, words, categories, anything."""
    liked = [item for group in tastes.groups for item in group]
    yield from filter(None, (_from_group([item], tastes) for item in liked))
    for item in liked:
        for word in item.words:
            if tastes.likes("word", word):
                yield f"Opt for {word} {item.leaf or 'products'}"
    for item in liked + tastes.disliked:
        other = "" if tastes.likes("leaf", item.leaf) else "other "
        if item.leaf:
            yield f"Prioritize {other}{item.leaf}"
        for category in reversed(item.path[:-1]):
            yield f"Explore {other}{_products(category)}"
    yield from _GENERIC


def _from_group(group: Sequence[ItemAttributes], tastes: _Tastes) -> str:
    """One preference for a leaf category: two words of its only item, or one word of each of the two newest."""
    leaf = group[0].leaf or "products"
    mine = _liked_words(group[0], 1, tastes)
    for other in group[1:]:
        theirs = _liked_words(other, 1, tastes, but=mine)
        if mine and theirs:
            return f"Search for {' '.join(sorted(mine + theirs))} {leaf}"
    first = _liked_words(group[0], 2, tastes)
    return f"Search for {' '.join(first)} {leaf}" if first else ""


def _across(tastes: _Tastes) -> Iterator[str]:
    """One preference that spans items: the strongest word of the window and the strongest of the items without it.

    Each item votes with its most common distinctive word ("moisturizing" rather than the name of a line), so that the
    same preference has the same words for many users.
    """
    allowed = {word: score for word, score in tastes.words.items() if tastes.likes("word", word)}
    if not allowed:
        return
    items = [item for group in tastes.groups for item in group]
    first = max(allowed, key=lambda word: (allowed[word], word))
    having = next(item for item in items if item.common == first)
    others = [item for item in items if item.common in allowed and first not in item.words]
    if not others:
        return
    partner = max(others, key=lambda item: (allowed[item.common], item.common))
    second = partner.common
    shared = [a for a, b in zip(having.path, partner.path, strict=False) if a == b]
    pair = " and ".join(sorted((first, second)))
    yield f"Prefer {pair} {_products(shared[-1]) if shared else 'products'}"


def _from_brands(tastes: _Tastes, limit: int) -> Iterator[str]:
    ordered = sorted(tastes.brands, key=lambda key: -tastes.brands[key])
    liked = (key for key in ordered if tastes.likes("brand", key[0]))
    for (brand, leaf), _ in zip(liked, range(limit), strict=False):
        yield f"Look for {brand} {leaf or 'products'}"


def _liked_words(item: ItemAttributes, count: int, tastes: _Tastes, but: Collection[str] = ()) -> list[str]:
    return _best_words(item, count, tastes.votes, lambda word: tastes.likes("word", word) and word not in but)


def _best_words(
    item: ItemAttributes, count: int, votes: Mapping[str, int], allowed: Callable[[str], bool]
) -> list[str]:
    """The `count` best allowed words of an item in title order: distinctive, and shared by items of the window."""
    places = [place for place, word in enumerate(item.words) if allowed(word)]
    places.sort(key=lambda place: -item.weights[place] * votes[item.words[place]])
    return [item.words[place] for place in sorted(places[:count])]


def _products(category: str) -> str:
    return category if category.endswith("s") else f"{category} products"
