"""Words of the catalog's texts: which items have them, and the correction of misspelled words."""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .word_forms import APOSTROPHE, STOP_WORDS, TOKEN, content_words, fold, stem

MIN_CORRECTED, MIN_TWICE_CORRECTED = 4, 7
"""Smallest number of letters of a corrected word, for one edit and for two."""
MAX_CORRECTED = 30
"""Largest number of letters of a corrected word."""
MIN_HALF = 3
"""Smallest number of letters of each part of a joined word ("tablelamp")."""

_REQUEST_WORD_TEXT = """
    anything avoid except exclude excluding find give hoping instead interested item items looking look maybe nothing
    opt possible possibly prefer preferably preference prioritize product products rather recommend search searching
    show skip something stuff suggest thank thanks thing things want wanting whatever wish
"""
REQUEST_WORDS = frozenset(_REQUEST_WORD_TEXT.split())
"""Words of requests, which may be in the vocabulary but never match, because they do not describe an item."""
_CORRECTED_TO = tuple(word for word in sorted(REQUEST_WORDS | {"please", "without", "neither"}) if len(word) >= 5)


class WordMatch(NamedTuple):
    """Words of a text: `known` as (word id, inverse document frequency), `unknown` as written, lower-cased.

    Both have each word once, in the order of the text, without stop words and words of requests.
    """

    known: list[tuple[int, float]]
    unknown: list[str]


def edit_distance(first: str, second: str, limit: int) -> int:
    """Number of insertions, deletions, replacements and swaps of neighbors between two words, at most `limit` + 1.

    >>> edit_distance("candels", "candles", 2), edit_distance("lavander", "lavender", 2), edit_distance("a", "xyz", 1)
    (1, 1, 2)
    """
    if abs(len(first) - len(second)) > limit:
        return limit + 1
    while first and second and first[0] == second[0]:
        first, second = first[1:], second[1:]
    while first and second and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    before: list[int] = []
    previous = list(range(len(second) + 1))
    for row, letter in enumerate(first, start=1):
        current = [row]
        for column, other in enumerate(second, start=1):
            cost = min(previous[column], current[-1]) + 1
            cost = min(cost, previous[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == second[column - 2] and first[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        # a swap reaches back two rows, so both must be beyond the limit
        if min(current) > limit and min(previous) > limit:
            return limit + 1
        before, previous = previous, current
    return min(previous[-1], limit + 1)


class ItemWords:
    """Vocabulary of a catalog's texts, with the items of each word and the correction of misspelled words.

    Args:
        texts (`Sequence[str]`): One text per item, in the order of the items; an empty text gives no words.
        num_trained_items (`int`, *optional*): Number of items that a model was trained with, the first ones; ids and
            weights of their words do not depend on the others. Defaults to all.

    Attributes:
        vocabulary (`list[str]`): Distinct stems, sorted, those of added items alone last; the id of a word is its
            index.
        idf (`list[float]`): log(1 + number of trained items / trained items that have the word); for a word of added
            items alone, those that have it, at most the largest of the others.
        starts (`list[int]`), items (`list[int]`): The items of word v, 0-based and ascending, are
            `items[starts[v]:starts[v + 1]]`.

    >>> words = ItemWords(["Walnut Lamp", "Brass Lamps", "Walnut Vase"])
    >>> words.vocabulary, words.starts, words.items
    (['brass', 'lamp', 'vase', 'walnut'], [0, 1, 3, 4, 6], [1, 0, 1, 2, 0, 2])
    >>> words.match("Find walnut lamps or trays").unknown
    ['trays']
    """

    def __init__(self, texts: Sequence[str], num_trained_items: int | None = None) -> None:
        if isinstance(texts, str):
            raise ValueError(f"texts is the string {texts!r}; give a list with one text per item.")
        self.num_items = trained = len(texts) if num_trained_items is None else num_trained_items
        stems: dict[str, str] = {}
        having: dict[str, list[int]] = {}
        frequency: dict[str, int] = {}
        added: dict[str, bool] = {}  # whether the trained items lack a word
        for number, text in enumerate(texts):
            for word in dict.fromkeys(content_words(text)):
                if word not in stems:
                    stems[word] = stem(word)
                items = having.setdefault(stems[word], [])
                if not items or items[-1] != number:
                    items.append(number)
                if number < trained or word not in frequency or added[word]:
                    frequency[word] = frequency.get(word, 0) + 1
                    added[word] = number >= trained
        counts = {word: bisect_left(items, trained) for word, items in having.items()}  # trained items of each word
        self.vocabulary = sorted(having, key=lambda word: (not counts[word], word))
        self.word_ids = {word: number for number, word in enumerate(self.vocabulary)}
        self.idf = [math.log1p(trained / (counts[word] or len(having[word]))) for word in self.vocabulary]
        num_trained = sum(map(bool, counts.values()))
        largest = max(self.idf[:num_trained], default=math.inf)
        self.idf[num_trained:] = [min(weight, largest) for weight in self.idf[num_trained:]]
        self.starts = [0]
        self.items: list[int] = []
        for word in self.vocabulary:
            self.items += having[word]
            self.starts.append(len(self.items))
        self._frequency = frequency
        self._by_length: dict[int, list[tuple[int, str]]] | None = None

    def __len__(self) -> int:
        """Number of words of the vocabulary."""
        return len(self.vocabulary)

    def knows(self, word: str) -> bool:
        """Whether the vocabulary has a word in any inflection; "paraben-free" is one word."""
        return stem(fold(word)) in self.word_ids

    def items_with(self, word_id: int) -> list[int]:
        """Items (0-based, ascending) that have a word."""
        return self.items[self.starts[word_id] : self.starts[word_id + 1]]

    def match(self, text: str) -> WordMatch:
        """Finds the words of a text in the vocabulary, in any inflection; see [`WordMatch`]."""
        known: dict[int, float] = {}
        unknown: dict[str, None] = {}
        for word in content_words(text):
            if word in REQUEST_WORDS:
                continue
            number = self.word_ids.get(stem(word))
            if number is None:
                unknown[word] = None
            else:
                known[number] = self.idf[number]
        return WordMatch(list(known.items()), list(unknown))

    def correct(self, word: str, is_word: Callable[[str], bool]) -> str | None:
        """Corrects a misspelled word to a word of the catalog, in the form of its texts.

        At most one edit for words of at least 4 letters, two for at least 7; a swap of neighbors is one edit. Among
        equally near words, the same first letter is preferred, then words of requests ("serach"), then the word of
        most items. Two words written as one ("tablelamp") are split if an item has both, as one edit.

        Args:
            word (`str`): One word, in any case.
            is_word (`Callable[[str], bool]`): Whether a lower-cased word is correct English; such a word is never
                changed, even if the catalog lacks it. Called with the word, then with its stem.

        Returns:
            `str`, *optional*: Lower-cased; `None` if the word is known, correct, or near no other word.
        """
        word = fold(word)
        if not MIN_CORRECTED <= len(word) <= MAX_CORRECTED or not word.isalpha() or self._knows(word):
            return None
        if is_word(word) or is_word(stem(word)):
            return None
        nearest = self._nearest(word, 1) or self._split(word)
        if nearest is None and len(word) >= MIN_TWICE_CORRECTED:
            nearest = self._nearest(word, 2)
        return nearest

    def correct_text(self, text: str, is_word: Callable[[str], bool]) -> tuple[str, dict[str, str]]:
        """Corrects the misspelled words of a text.

        Args:
            text (`str`): Any text.
            is_word (`Callable[[str], bool]`): See [`correct`].

        Returns:
            `tuple[str, dict[str, str]]`: The text, where only these words differ and capitals are kept, and the
            corrections as written word to new word.
        """
        corrections: dict[str, str] = {}

        def replace(match: re.Match[str]) -> str:
            written = match[0]
            if written not in seen:
                better = None if APOSTROPHE.search(written) else self.correct(written, is_word)
                seen[written] = written if better is None else _in_case_of(written, better)
                if better is not None:
                    corrections[written] = seen[written]
            return seen[written]

        seen: dict[str, str] = {}
        return TOKEN.sub(replace, text), corrections

    def _knows(self, word: str) -> bool:
        """Whether a folded word is a stop word, a word of requests, or in the vocabulary."""
        return word in STOP_WORDS or word in REQUEST_WORDS or stem(word) in self.word_ids

    def _nearest(self, word: str, limit: int) -> str | None:
        """Nearest word within `limit` edits, or `None`."""
        signature = _signature(word)
        best: tuple[int, bool, int, str] | None = None
        by_length = self._words_by_length()
        for length in range(len(word) - limit, len(word) + limit + 1):
            # a replacement changes at most two of the counted letters, an insertion or deletion one, a swap none
            most = 2 * limit - abs(length - len(word))
            for other, candidate in by_length.get(length, ()):
                if (other ^ signature).bit_count() > most:
                    continue
                distance = edit_distance(word, candidate, limit)
                if distance <= limit:
                    frequency = self.num_items + 1 if candidate in _CORRECTED_TO else self._frequency[candidate]
                    key = (distance, candidate[0] != word[0], -frequency, candidate)
                    best = key if best is None else min(best, key)
        return None if best is None else best[-1]

    def _words_by_length(self) -> dict[int, list[tuple[int, str]]]:
        """Pairs (signature, word) of all possible corrections by length, computed on first use."""
        if self._by_length is None:
            self._by_length = {}
            for word in dict.fromkeys((*self._frequency, *_CORRECTED_TO)):
                if len(word) >= MIN_HALF and word.isalpha():
                    self._by_length.setdefault(len(word), []).append((_signature(word), word))
        return self._by_length

    def _split(self, word: str) -> str | None:
        """Two known words that a word consists of and that an item has; of several, those of most items."""
        best: tuple[int, str] | None = None
        for place in range(MIN_HALF, len(word) - MIN_HALF + 1):
            left, right = (self.word_ids.get(stem(part)) for part in (word[:place], word[place:]))
            if left is None or right is None or left == right:
                continue
            together = len(set(self.items_with(left)).intersection(self.items_with(right)))
            if together:
                key = (-together, f"{word[:place]} {word[place:]}")
                best = key if best is None else min(best, key)
        return None if best is None else best[-1]


def _signature(word: str) -> int:
    """Bit mask of letters, one bit for the first and one for the second occurrence; an edit changes at most two."""
    bits = 0
    for letter in word:
        bit = 1 << 2 * (ord(letter) % 29)  # 29: the letters a..z stay apart, others share their bits
        bits |= bit << 1 if bits & bit else bit
    return bits


def _in_case_of(written: str, word: str) -> str:
    """Returns `word` in upper case or capitalized as `written` is."""
    if written.isupper():
        return word.upper()
    return word.capitalize() if written[0].isupper() else word
