"""Words of a catalog's titles, and the phrases that several titles share."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

MIN_TITLES = 4  # titles that share a phrase: three make a history, and one is left to recommend
MAX_HISTORY = 3
COUNTED = 0.05  # smallest share of a countable word's uses that is in the plural
FEW, MANY = 2, 5  # smallest and largest number of items of a list that share a word which an example may avoid

TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]")
_STOP_WORDS = frozenset("and for from the with set pack inch ounce".split())


def plural(word: str) -> str:
    """English plural of a noun by its ending.

    >>> plural("lamp"), plural("brush"), plural("cherry"), plural("glass"), plural("earrings")
    ('lamps', 'brushes', 'cherries', 'glasses', 'earrings')
    """
    if word.endswith(("ss", "sh", "ch", "x")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return word if word.endswith("s") else f"{word}s"


def misspell(word: str) -> str:
    """Swaps two letters in the middle of a word; short words are unchanged.

    >>> misspell("candle"), misspell("vase")
    ('cadnle', 'vase')
    """
    middle = len(word) // 2
    if len(word) < 6 or word[middle - 1] == word[middle]:
        return word
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


@functools.lru_cache(maxsize=10_000)
def forms(title: str) -> frozenset[str]:
    """Words of a title and their plurals."""
    tokens = {token.casefold() for token in TOKEN.findall(title)}
    return frozenset(tokens | {plural(token) for token in tokens})


def has_word(title: str, word: str) -> bool:
    """Whether a title has a word in the singular or the plural.

    >>> has_word("Walnut Lamp", "lamps"), has_word("Clamp", "lamp"), has_word("Two lamps", "lamp")
    (True, False, True)
    """
    return word in forms(title) or plural(word) in forms(title)


def has_all(title: str, words: Iterable[str]) -> bool:
    """Whether a title has all words in the singular or the plural."""
    return all(has_word(title, word) for word in words)


class Catalogue:
    """Titles of a catalog, their words, and the phrases that several titles share.

    Args:
        titles (`Sequence[str]`): Titles of the items 1, 2, ...
        texts (`Sequence[str]`): Text of each item, from which countable words such as lamps are recognized.
        is_word (`Callable[[str], bool]`): Whether a lower-cased word is a word of the language and not a name.
    """

    def __init__(self, titles: Sequence[str], texts: Sequence[str], is_word: Callable[[str], bool]) -> None:
        self.said = Counter(token.casefold() for text in texts for token in TOKEN.findall(text))
        self.titles = list(titles)
        self.words: list[frozenset[str]] = []
        self.leading: Counter[str] = Counter()
        groups: dict[tuple[str, ...], list[int]] = {}
        for item_id, title in enumerate(titles, start=1):
            runs = list(_runs(title, is_word))
            self.words.append(frozenset(word for run in runs for word in run))
            self.leading.update({word for run in runs for word in run[:-1]})
            ends = {tuple(run[-size:]) for run in runs for size in (1, 2, 3) if len(run) >= size}
            for end in ends:
                groups.setdefault(end, []).append(item_id)
        self.counts = Counter(word for words in self.words for word in words)
        self.groups = groups

    def phrases(self) -> list[tuple[str, ...]]:
        """Endings such as "ceramic table lamp" that several titles share, but not most; the longest first, then those
        whose last word is countable and most frequent."""
        largest = max(MIN_TITLES, len(self.titles) // 3)
        shared = [phrase for phrase, items in self.groups.items() if MIN_TITLES <= len(items) <= largest]

        def order(phrase: tuple[str, ...]) -> tuple:
            last = phrase[-1]
            return (-len(phrase), not self.is_counted(last), -self.counts[last], -self.size(phrase), phrase)

        return sorted(shared, key=order)

    def is_counted(self, word: str) -> bool:
        """Whether a word is countable, by the use of its plural in the texts: lamps, but not walnuts."""
        return plural(word) != word and self.said[plural(word)] > COUNTED * self.said[word]

    def describes(self, word: str) -> bool:
        """Whether a word mostly precedes another word: walnut lamps, but not a lamp in navy."""
        return 2 * self.leading[word] > self.counts[word]

    def several(self, word: str) -> str:
        """The plural of a countable word, and other words unchanged."""
        return plural(word) if self.is_counted(word) else word

    def name(self, phrase: tuple[str, ...]) -> str:
        """A phrase in the plural."""
        return " ".join((*phrase[:-1], self.several(phrase[-1])))

    def size(self, phrase: tuple[str, ...]) -> int:
        """Number of items whose titles share a phrase."""
        return len(self.groups[phrase])

    def history(self, phrase: tuple[str, ...]) -> list[int]:
        """First items whose titles share a phrase."""
        return self.groups[phrase][:MAX_HISTORY]

    def titles_with(self, *words: str) -> list[str]:
        """Titles with all of the words."""
        return [title for title, own in zip(self.titles, self.words, strict=True) if own.issuperset(words)]

    def words_beside(self, phrase: tuple[str, ...]) -> list[str]:
        """Words of other titles that the titles of a phrase lack; those that co-occur with its last word first."""
        own = set().union(*(self.words[item_id - 1] for item_id in self.groups[phrase]))
        beside = Counter(word for words in self.words if phrase[-1] in words for word in words if word not in own)
        often = [word for word, count in self.counts.items() if MIN_TITLES <= count <= len(self.titles) // 4]
        return sorted(
            set(often) - own,
            key=lambda word: (
                self.is_counted(word) or not self.describes(word),
                -min(beside[word], FEW),
                -self.counts[word],
                word,
            ),
        )


def _runs(title: str, is_word: Callable[[str], bool]) -> Iterator[list[str]]:
    """Runs of adjacent words of the language, separated by names, short words, numbers and punctuation."""
    run: list[str] = []
    for token in [token.casefold() for token in TOKEN.findall(title)]:
        if token.isalpha() and len(token) > 2 and token not in _STOP_WORDS and is_word(token):
            run.append(token)
        else:
            if run:
                yield run
            run = []
    if run:
        yield run


def word_test(tokenizer: Any) -> Callable[[str], bool]:
    """Returns a test whether a tokenizer has a word as one token, as for words of the language but not brands."""
    if tokenizer is None:
        return lambda word: True
    vocabulary = tokenizer.get_vocab()
    return lambda word: any(f"{mark}{word}" in vocabulary for mark in ("", "▁", "Ġ"))
