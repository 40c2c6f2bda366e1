"""Preferences from item attributes and the polarity of reviews, without a language model.

It words titles, brands and categories as the short imperatives of appendix C and does not read review texts.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
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
GENERIC = (
    "Look for well-reviewed products",
    "Prioritize products of good quality",
    "Search for products that are easy to use",
    "Opt for durable products",
    "Explore popular products",
    "Prefer versatile products",
)


@dataclass(frozen=True)
class Choice:
    """Attributes that one preference names, before it is worded.

    Attributes:
        verb (`str`): How the preference begins; its kind of choice.
        words (`tuple[str, ...]`): Distinctive title words.
        brand (`str`): A brand, or `""`.
        place (`str`): A leaf category, with the verbs Prefer and Explore any category, or `""` for products of any.
        is_other (`bool`): Whether it asks for others than the known ones.
        items (`tuple`): Items that it was derived from.
        generic (`str`): A whole sentence that names no attribute, in place of all others.
    """

    verb: str = ""
    words: tuple[str, ...] = ()
    brand: str = ""
    place: str = ""
    is_other: bool = False
    items: tuple[ItemAttributes, ...] = ()
    generic: str = ""

    @cached_property
    def text(self) -> str:
        """The preference in the words of titles, brands and categories.

        >>> Choice("Prefer", ("oat", "rose"), place="bath and body").text
        'Prefer oat and rose bath and body products'
        """
        if self.generic:
            return self.generic
        is_category = self.verb in ("Prefer", "Explore")
        words = (" and " if self.verb == "Prefer" else " ").join(self.words)
        place = (_products(self.place) if is_category else self.place) if self.place else "products"
        return " ".join(filter(None, (self.verb, "other" if self.is_other else "", words, self.brand, place)))


@dataclass(slots=True)
class Tastes:
    """Summary of a window of past items: groups of liked items by leaf category, words, brands, dislikes.

    `window` holds every item, oldest first, with whether it was liked.
    """

    groups: list[list[ItemAttributes]]
    words: dict[str, float]
    brands: dict[tuple[str, str], float]
    disliked: list[ItemAttributes]
    net: Counter[tuple[str, str]]
    votes: dict[str, int]
    aversions: dict[str, int]
    window: list[tuple[ItemAttributes, bool]]

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
            result.append(self._five(attributes[start:end], liked[start:end]))
        return result

    def word(self, choice: Choice, tastes: Tastes) -> str | None:
        """Words a choice.

        Args:
            choice ([`Choice`]): The attributes to name.
            tastes ([`Tastes`]): Summary of the window it was derived from.

        Returns:
            `str` or `None`: `None` where it cannot be worded; the next choice then takes its place.
        """
        return choice.text

    def _five(self, window: Sequence[ItemAttributes], liked: Sequence[bool]) -> FivePreferences:
        """Words the five preferences of a window of past items, oldest first."""
        tastes = _read_tastes(window, liked)
        negative = list(islice(self._distinct(_negative(tastes), tastes, str.casefold), MAX_NEGATIVE))
        positive = islice(self._distinct(_positive(tastes), tastes, _content), NUM_PREFERENCES - len(negative))
        first, second, third, fourth, fifth = (*positive, *negative)  # the ladder ends in generic ones
        return first, second, third, fourth, fifth

    def _distinct(
        self, choices: Iterable[Choice], tastes: Tastes, content_of: Callable[[str], Hashable]
    ) -> Iterator[str]:
        """Words choices, each content of their texts and each sentence once."""
        contents: set[Hashable] = set()
        sentences: set[str] = set()
        for choice in choices:
            content = content_of(choice.text)
            sentence = None if content in contents else self.word(choice, tastes)
            if sentence is None:
                continue
            folded = sentence.casefold()
            if folded not in sentences:
                contents.add(content)
                sentences.add(folded)
                yield sentence


@lru_cache(maxsize=1 << 17)  # most preferences recur at the next position
def _content(preference: str) -> frozenset[str]:
    """The words of a preference but its verb, "for" and "and", case-folded and without order.

    >>> _content("Search for Holiday tin cards") == _content("Prefer tin and holiday cards")
    True
    """
    return frozenset(word for word in preference.casefold().split()[1:] if word not in ("for", "and"))


def _read_tastes(window: Sequence[ItemAttributes], liked: Sequence[bool]) -> Tastes:
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
    return Tastes(
        [members for _, members in ordered],
        words,
        brands,
        disliked,
        net,
        votes,
        aversions,
        list(zip(window, liked, strict=True)),
    )


def _negative(tastes: Tastes) -> Iterator[Choice]:
    """Negative preferences, newest first: words of a disliked item that no liked one outweighs, its brand or kind."""
    for item in tastes.disliked:
        words = tuple(_best_words(item, 2, tastes.aversions, lambda word: tastes.dislikes("word", word)))
        if words:
            yield Choice("Avoid", words, place=item.leaf, items=(item,))
        elif item.brand and tastes.dislikes("brand", item.brand):
            yield Choice("Avoid", brand=item.brand, place=item.leaf, items=(item,))
        elif item.leaf and tastes.dislikes("leaf", item.leaf):
            yield Choice("Avoid", place=item.leaf, items=(item,))


def _positive(tastes: Tastes) -> Iterator[Choice]:
    """Positive preferences, best first; the ladder at the end supplies at least five."""
    groups = tastes.groups
    yield from filter(None, (_from_group(group, tastes) for group in groups[:2]))
    yield from _across(tastes)
    yield from filter(None, (_from_group(group, tastes) for group in groups[2:3]))
    yield from _from_brands(tastes, 1)
    yield from filter(None, (_from_group(group, tastes) for group in groups[3:]))
    yield from _from_brands(tastes, NUM_PREFERENCES)
    yield from _ladder(tastes)


def _ladder(tastes: Tastes) -> Iterator[Choice]:
    """Less and less specific preferences for users with few or uniform items: items, words, categories, anything."""
    liked = [item for group in tastes.groups for item in group]
    yield from filter(None, (_from_group([item], tastes) for item in liked))
    for item in liked:
        for word in item.words:
            if tastes.likes("word", word):
                yield Choice("Opt for", (word,), place=item.leaf, items=(item,))
    for item in liked + tastes.disliked:
        is_other = not tastes.likes("leaf", item.leaf)
        if item.leaf:
            yield Choice("Prioritize", place=item.leaf, is_other=is_other, items=(item,))
        for category in reversed(item.path[:-1]):
            yield Choice("Explore", place=category, is_other=is_other, items=(item,))
    yield from (Choice(generic=sentence) for sentence in GENERIC)


def _from_group(group: Sequence[ItemAttributes], tastes: Tastes) -> Choice | None:
    """One preference for a leaf category: two words of its only item, or one word of each of the two newest."""
    mine = _liked_words(group[0], 1, tastes)
    for other in group[1:]:
        theirs = _liked_words(other, 1, tastes, but=mine)
        if mine and theirs:
            return Choice("Search for", tuple(sorted(mine + theirs)), place=group[0].leaf, items=(group[0], other))
    first = tuple(_liked_words(group[0], 2, tastes))
    return Choice("Search for", first, place=group[0].leaf, items=(group[0],)) if first else None


def _across(tastes: Tastes) -> Iterator[Choice]:
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
    words = (min(first, second), max(first, second))
    yield Choice("Prefer", words, place=shared[-1] if shared else "", items=(having, partner))


def _from_brands(tastes: Tastes, limit: int) -> Iterator[Choice]:
    ordered = sorted(tastes.brands, key=lambda key: -tastes.brands[key])
    liked = (key for key in ordered if tastes.likes("brand", key[0]))
    for (brand, leaf), _ in zip(liked, range(limit), strict=False):
        having = tuple(item for group in tastes.groups for item in group if (item.brand, item.leaf) == (brand, leaf))
        yield Choice("Look for", brand=brand, place=leaf, items=having)


def _liked_words(item: ItemAttributes, count: int, tastes: Tastes, but: Collection[str] = ()) -> list[str]:
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
