"""Baselines that answer asks by shared words, or by the cosine of the sentence and the title."""

import math
from collections.abc import Sequence

import numpy as np

from .asks import Ask
from .attributes import stems

NEGATIONS = frozenset("avoid no not nothing without except but never can't cannot".split())
"""Words after which a sentence describes what is not wanted."""


class WordOverlap:
    """Ranks items by the words that they share with the ask, weighted by rarity; ties keep the history's list.

    Args:
        words (`Sequence[frozenset[str]]`): Stems of each of the items 1..N.
    """

    def __init__(self, words: Sequence[frozenset[str]]) -> None:
        self.num_items = len(words)
        having: dict[str, list[int]] = {}
        for index, said in enumerate(words):
            for word in said:
                having.setdefault(word, []).append(index)
        self._having = {word: np.asarray(indices) for word, indices in having.items()}
        self._known: dict[str, np.ndarray] = {}

    def relevance(self, text: str) -> np.ndarray:
        """Sum of the weights of a text's words that each item has, float64 `(num_items,)`."""
        relevance = np.zeros(self.num_items)
        for word in set(stems(text)) & self._having.keys():
            relevance[self._having[word]] += math.log((1 + self.num_items) / len(self._having[word]))
        return relevance

    def scores(self, sentence: str) -> np.ndarray:
        """Relevance to the wanted words minus that to the unwanted ones, float64 `(num_items,)`, cached."""
        if sentence not in self._known:
            scores = np.zeros(self.num_items)
            for text in sentence.split(". "):
                words = text.split()
                negation = next((place for place, word in enumerate(words) if word.lower() in NEGATIONS), len(words))
                scores += self.relevance(" ".join(words[:negation])) - self.relevance(" ".join(words[negation:]))
            self._known[sentence] = scores
        return self._known[sentence]

    def rank(self, ask: Ask, k: int, own: Sequence[int] = ()) -> list[int]:
        """Ranks the `k` best items.

        Args:
            ask ([`Ask`]): The ask.
            k (`int`): Number of items.
            own (`Sequence[int]`): Items that come first among equals, in this order; then the smallest ids.
        """
        place = np.full(self.num_items, len(own))
        place[np.asarray(own, dtype=np.int64) - 1] = np.arange(len(own))
        return (np.lexsort((place, -self.scores(ask.sentence)))[:k] + 1).tolist()


def rank_by_cosine(sentences: np.ndarray, titles: np.ndarray, k: int, block_size: int = 1024) -> list[list[int]]:
    """Ranks the `k` items whose titles are nearest to each sentence.

    Args:
        sentences (`np.ndarray`): float32 `(num_sentences, hidden_size)`, rows L2-normalized.
        titles (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalized, in the order of the items.
        k (`int`): Number of items.
        block_size (`int`): Sentences per block.

    Returns:
        `list[list[int]]`: Item ids, best first; ties are ordered by id.
    """
    found: list[list[int]] = []
    for start in range(0, len(sentences), block_size):
        products = sentences[start : start + block_size] @ titles.T
        found += (np.argsort(-products, axis=1, kind="stable")[:, :k] + 1).tolist()
    return found
