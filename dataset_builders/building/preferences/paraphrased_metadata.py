"""The preferences of metadata in other words: paraphrases on the sample shop, categories and prices on other shops."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ...benchmark.schema import WINDOW
from ..sources.sample_vocabulary import planted_item
from .item_attributes import ItemAttributes, title_words, word_stems
from .metadata import Choice, MetadataApproximator, Tastes
from .paraphrases import SENTENCES, word_choice

MIN_PRICES = 6
"""Minimum of prices in a category by which its items are compared."""
PRICE_BANDS = ("cheaper than most of them", "in the middle of their price range", "dearer than most of them")
"""Wording of each third of a category's prices, cheapest first."""


class ParaphrasedMetadataApproximator(MetadataApproximator):
    """Words the choices of [`MetadataApproximator`] without the words of the items' titles, deterministically.

    On the sample shop every choice is worded by [`~.paraphrases.word_choice`]. On other shops a preference names a
    category, a brand or the third of the category's prices, in so far as none of these has a word of the titles it was
    derived from; a choice of which nothing is left is skipped, and a dislike is only worded if its brand, price or
    category is disliked more often than liked. What is bought together is not used: an approximator sees the catalog
    and one user.

    Args:
        window (`int`): Number of past items that are read.
    """

    name = "metadata/2"
    description = (
        "The choices of the deterministic template over item attributes and the polarity of reviews, worded without "
        "the words of item titles: by a table of paraphrases on the synthetic sample shop, by categories, brands and "
        "prices on other shops. No language model was used and no review text was read for its content. What a "
        "preference asks for cannot be found by the words that it shares with a title; on other shops than the sample "
        "it is also less specific than the items it was derived from."
    )

    def __init__(self, window: int = WINDOW) -> None:
        super().__init__(window)
        self._is_sample = False
        self._said: dict[ItemAttributes, frozenset[str]] = {}
        self._bands: dict[tuple[ItemAttributes, str], str] = {}

    def prepare(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Reads titles, and prices within each category; determines whether this is the sample shop."""
        super().prepare(items)
        self._is_sample = all(planted_item(item) is not None for item in items)
        self._said, prices = {}, dict[str, list[tuple[float, ItemAttributes]]]()
        for item in items:
            attributes = self._attributes[int(item["item_id"])]
            self._said[attributes] = _stems_of(item.get("title") or "")
            price = item.get("price")
            if price is not None and price == price:
                for category in {attributes.leaf, *attributes.path}:
                    prices.setdefault(category, []).append((float(price), attributes))
        self._bands = {}
        for category, priced in prices.items():
            ranked = sorted(price for price, _ in priced)
            third = len(ranked) // len(PRICE_BANDS)
            if len(ranked) >= MIN_PRICES and ranked[third] < ranked[-1 - third]:
                for price, attributes in priced:
                    rank = int(price >= ranked[third]) + int(price > ranked[-1 - third])
                    self._bands[attributes, category] = PRICE_BANDS[rank]

    def word(self, choice: Choice, tastes: Tastes) -> str | None:
        """See [`MetadataApproximator.word`]."""
        if choice.generic:
            return SENTENCES[choice.generic][0]
        return word_choice(choice) if self._is_sample else self._by_relations(choice, tastes)

    def _by_relations(self, choice: Choice, tastes: Tastes) -> str | None:
        """Names the category, brand and price of a choice, without any word of the titles it was derived from."""
        said = frozenset().union(*(self._said[item] for item in choice.items))
        is_negative = choice.verb == "Avoid"
        brand = choice.brand if said.isdisjoint(_stems_of(choice.brand)) else ""
        place = self._place_of(choice, said)
        band = self._band_of(choice, place, tastes) if place else ""
        is_disliked = place == choice.place and tastes.dislikes("leaf", place)
        if not (brand or place) or (is_negative and not (brand or band or is_disliked)):
            return None
        sentence = "".join(
            (
                "Avoid " if is_negative else "Suggest ",
                "other things" if choice.is_other else "things",
                f" from the {place} shelf" if place else "",
                f" of the brand {brand}" if brand else "",
                f", {band}" if band else "",
            )
        )
        return sentence if said.isdisjoint(_stems_of(sentence)) else None

    def _place_of(self, choice: Choice, said: frozenset[str]) -> str:
        """The choice's category, or the nearest above it, that has no word of the titles.

        The root of all categories tells nothing and is only named by a choice of no other attribute.
        """
        path = choice.items[0].path
        above = path[: path.index(choice.place)] if choice.place in path else path
        candidates = (choice.place, *reversed(above[1:])) if choice.place else ()
        names = (name for name in candidates if said.isdisjoint(_stems_of(name)))
        place = next(names, "")
        return "" if choice.verb == "Prefer" and path[:1] == (place,) else place

    def _band_of(self, choice: Choice, place: str, tastes: Tastes) -> str:
        """Third of a category's prices that the choice's items share, if the window likes or dislikes it as well."""
        bands = {self._bands.get((item, place), "") for item in choice.items}
        if len(bands) != 1 or choice.verb in ("Prefer", "Prioritize", "Explore"):
            return ""
        band = bands.pop()
        balance = sum(
            1 if is_liked else -1 for item, is_liked in tastes.window if self._bands.get((item, place)) == band
        )
        return band if balance * (-1 if choice.verb == "Avoid" else 1) > 0 else ""


@cache
def _stems_of(text: str) -> frozenset[str]:
    return frozenset().union(*(word_stems(word) for word in title_words(text)))
