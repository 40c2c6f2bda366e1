"""Words of the catalogue's texts, the words of a preference among them, and the correction of misspelt ones.

Knows spelling, not meaning, and English inflection only. A text of a script without spaces counts as one word.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

MIN_CORRECTED, MIN_TWICE_CORRECTED = 4, 7
"""Letters that a misspelt word has at least: for one edit, and for two."""
MAX_CORRECTED = 30
"""Letters of the longest word that is corrected; longer ones are no words."""
MIN_HALF = 3
"""Letters of each part of a joined word ("tablelamp") at least."""

_STOP_WORD_TEXT = """
    a about after all also am an and any are as at be because been before both but by can could did do does each etc
    even ever every for free from get had has have he her hers here him his how i if in into is it its just let like
    many may me might mine more most much must my need neither no non none nor not of off on one only onto or other
    our out over own per perhaps please should since so some such than that the their them then there these they this
    those though to too under until up upon us very via was we well were what when where whether which while whose
    why will with within without would yes yet you your
    dont doesnt didnt isnt arent wasnt wont cant couldnt shouldnt wouldnt havent hasnt cannot id ill im ive youre
    thats theres
"""
STOP_WORDS = frozenset(_STOP_WORD_TEXT.split())
"""Words without content: in no vocabulary."""

_REQUEST_WORD_TEXT = """
    anything avoid except exclude excluding find give hoping instead interested item items looking look maybe nothing
    opt possible possibly prefer preferably preference prioritize product products rather recommend search searching
    show skip something stuff suggest thank thanks thing things want wanting whatever wish
"""
REQUEST_WORDS = frozenset(_REQUEST_WORD_TEXT.split())
"""Words of asking: in the vocabulary where a text has them, yet never matched, for they say nothing about an item."""
_CORRECTED_TO = tuple(word for word in sorted(REQUEST_WORDS | {"please", "without", "neither"}) if len(word) >= 5)

_TOKEN = re.compile(r"[^\W_]+(?:['’ʼ´`][^\W_]+)*")
_POSSESSIVE = re.compile(r"(?<=[^\W\d_])['’ʼ´`]s$")
_APOSTROPHE = re.compile(r"['’ʼ´`]")
# What an item lacks is one word ("paraben-free"), so that "parabens" does not find it.
_FREE_OF = re.compile(r"(?<![\w'’-])([^\W\d_]{3,})[ \t-]free(?![\w'’])", re.IGNORECASE)
_LACKING = re.compile(
    r"(?<![\w'’-])(?:no|non|without)[ \t-]([^\W\d_]{3,})(?:[ \t](?:and|or|&)[ \t]([^\W\d_]{3,}))?(?![\w'’])",
    re.IGNORECASE,
)
_FREE = "-free"

_IRREGULAR_TEXT = """
    children child women woman men man feet foot teeth tooth mice mouse leaves leaf knives knife shelves shelf
    scarves scarf wolves wolf lens lens lenses lens grey gray jewellery jewelry
"""
_IRREGULAR = dict(zip(_IRREGULAR_TEXT.split()[::2], _IRREGULAR_TEXT.split()[1::2], strict=True))
_ES = re.compile(r"(?:ss|x|sh|zz|each|(?<!a)ch|\w{3}o)es$")  # boxes, peaches, heroes; but aches and shoes
_OUR = re.compile(r"(col|flav|fav|od)our")
_IZE = re.compile(r"(?<=\w{4})i[sz](?:e|ed|er|ing)$")


class WordMatch(NamedTuple):
    """Words of a text: `known` as (word id, inverse document frequency), `unknown` as they were written, lower-cased.

    Both name each word once, in the order of the text, without stop words and words of asking.
    """

    known: list[tuple[int, float]]
    unknown: list[str]


def fold(word: str) -> str:
    """Lower case without accents, possessive ending and apostrophes.

    >>> fold("L’Oréal"), fold("Women's"), fold("CRÈME")
    ('loreal', 'women', 'creme')
    """
    if not word.isascii():
        word = "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    return _APOSTROPHE.sub("", _POSSESSIVE.sub("", word.lower()))


def stem(word: str) -> str:
    """The form that the inflections of a folded word share: plurals, and -ise, -iser, -ising, -ized as -ize.

    >>> [stem(word) for word in ("candles", "boxes", "vases", "glass", "brushes", "berries", "cookie", "shoes")]
    ['candle', 'box', 'vase', 'glass', 'brush', 'berry', 'cooky', 'shoe']
    >>> stem("moisturising") == stem("moisturizers") == stem("moisturizer"), stem("women"), stem("colours")
    (True, 'woman', 'color')
    >>> stem("cactus"), stem("iris"), stem("care"), stem("wedding")
    ('cactus', 'iris', 'care', 'wedding')
    """
    if word.endswith(_FREE):
        return stem(word.removesuffix(_FREE)) + _FREE
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 3 and word.endswith("s"):
        if _ES.search(word):
            word = word[:-2]
        elif not word.endswith(("ss", "us", "is")):
            word = word[:-1]
    if len(word) > 4 and word.endswith("ie"):  # berrie(s) and cookie(s)
        word = f"{word[:-2]}y"
    return _OUR.sub(r"\1or", _IZE.sub("ize", word))


def content_words(text: str) -> Iterator[str]:
    """Folded words of a text without stop words, single letters and single digits; what an item lacks is one word.

    >>> list(content_words("Sulfate Free Shampoo without Parabens or Dyes, 12 Ounce"))
    ['sulfate-free', 'shampoo', 'parabens-free', 'dyes-free', '12', 'ounce']
    >>> list(content_words("No-Rinse Soap by Harrow & Finch, No. 7"))
    ['rinse-free', 'soap', 'harrow', 'finch']
    """
    for word, lacking in _words(text):
        if lacking or (len(word) > 1 and word not in STOP_WORDS):
            yield word + _FREE if lacking else word


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """(folded word, whether the text says that the item lacks it) in the order of the text."""
    spans: dict[int, tuple[int, tuple[str, ...]]] = {}
    for match in _FREE_OF.finditer(text):
        if fold(match[1]) not in STOP_WORDS:
            spans[match.start()] = (match.end(), (match[1],))
    for match in _LACKING.finditer(text):
        words = tuple(word for word in match.groups() if word)
        if fold(words[0]) not in STOP_WORDS:
            # "no parabens or sulfates", but "no rinse and is": a stop word ends what is lacking
            if len(words) == 2 and fold(words[1]) in STOP_WORDS:
                spans[match.start()] = (match.end(1), words[:1])
            else:
                spans[match.start()] = (match.end(), words)
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() < end:
            continue
        if token.start() in spans:
            end, words = spans[token.start()]
            yield from ((fold(word), True) for word in words)
        else:
            yield fold(token[0]), False


def edit_distance(first: str, second: str, limit: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbors that turn one word into another, up to `limit` + 1.

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
    """Vocabulary of a catalogue's texts, which items have which word, and the spelling of words that it lacks.

    Args:
        texts (`Sequence[str]`): One text per item, in the order of the items; an empty text gives no words.

    Attributes:
        vocabulary (`list[str]`): Distinct stems, sorted; a word's id is its place.
        idf (`list[float]`): log(1 + number of items / items that have the word).
        starts (`list[int]`), items (`list[int]`): The items of word v, 0-based and ascending, are
            `items[starts[v]:starts[v + 1]]`.

    >>> words = ItemWords(["Walnut Lamp", "Brass Lamps", "Walnut Vase"])
    >>> words.vocabulary, words.starts, words.items
    (['brass', 'lamp', 'vase', 'walnut'], [0, 1, 3, 4, 6], [1, 0, 1, 2, 0, 2])
    >>> words.match("Find walnut lamps or trays").unknown
    ['trays']
    """

    def __init__(self, texts: Sequence[str]) -> None:
        if isinstance(texts, str):
            raise ValueError(f"texts is the string {texts!r}; give a list with one text per item.")
        self.num_items = len(texts)
        stems: dict[str, str] = {}
        having: dict[str, list[int]] = {}
        frequency: dict[str, int] = {}
        for number, text in enumerate(texts):
            for word in dict.fromkeys(content_words(text)):
                if word not in stems:
                    stems[word] = stem(word)
                items = having.setdefault(stems[word], [])
                if not items or items[-1] != number:
                    items.append(number)
                frequency[word] = frequency.get(word, 0) + 1
        self.vocabulary = sorted(having)
        self.word_ids = {word: number for number, word in enumerate(self.vocabulary)}
        self.idf = [math.log1p(self.num_items / len(having[word])) for word in self.vocabulary]
        self.starts = [0]
        self.items: list[int] = []
        for word in self.vocabulary:
            self.items += having[word]
            self.starts.append(len(self.items))
        self._frequency = frequency
        self._by_length: dict[int, list[tuple[int, str]]] | None = None

    def __len__(self) -> int:
        """Words of the vocabulary."""
        return len(self.vocabulary)

    def knows(self, word: str) -> bool:
        """Whether a text has a word in any inflection; "paraben-free" is one word."""
        return stem(fold(word)) in self.word_ids

    def items_with(self, word_id: int) -> list[int]:
        """Items (0-based, ascending) that have a word."""
        return self.items[self.starts[word_id] : self.starts[word_id + 1]]

    def match(self, text: str) -> WordMatch:
        """Which words of a text the catalogue knows, whatever their inflection; see [`WordMatch`]."""
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
        """The word of the catalogue that a misspelt one stands for, in the form that the texts have.

        One edit for words of at least 4 letters, two for at least 7; a swap of neighbors is one. Among equally near
        words: the same first letter, then words of asking ("serach"), then the word of most items. Two words written
        as one ("tablelamp") are parted where an item has both; that counts as one edit.

        Args:
            word (`str`): One word, in any case.
            is_word (`Callable[[str], bool]`): Whether a lower-cased word is correct English; such a word is never
                changed, even where the catalogue lacks it. Given the word, then its stem.

        Returns:
            `str`, *optional*: Lower-cased; `None` where the word is known, correct, or near no other.
        """
        word = fold(word)
        if not MIN_CORRECTED <= len(word) <= MAX_CORRECTED or not word.isalpha() or self._knows(word):
            return None
        if is_word(word) or is_word(stem(word)):
            return None
        nearest = self._nearest(word, 1) or self._parted(word)
        if nearest is None and len(word) >= MIN_TWICE_CORRECTED:
            nearest = self._nearest(word, 2)
        return nearest

    def correct_text(self, text: str, is_word: Callable[[str], bool]) -> tuple[str, dict[str, str]]:
        """A text with its misspelt words corrected, and the corrections as written word -> new word.

        Args:
            text (`str`): Anything that people write.
            is_word (`Callable[[str], bool]`): See [`correct`].

        Returns:
            `tuple[str, dict[str, str]]`: The text keeps everything but those words; capitals stay capitals.
        """
        corrections: dict[str, str] = {}

        def replace(match: re.Match[str]) -> str:
            written = match[0]
            if written not in seen:
                better = None if _APOSTROPHE.search(written) else self.correct(written, is_word)
                seen[written] = written if better is None else _in_case_of(written, better)
                if better is not None:
                    corrections[written] = seen[written]
            return seen[written]

        seen: dict[str, str] = {}
        return _TOKEN.sub(replace, text), corrections

    def _knows(self, word: str) -> bool:
        return word in STOP_WORDS or word in REQUEST_WORDS or stem(word) in self.word_ids

    def _nearest(self, word: str, limit: int) -> str | None:
        """The best word within `limit` edits; `None` if there is none."""
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
        """(signature, word) of everything that a word may be corrected to, by length; made at the first correction."""
        if self._by_length is None:
            self._by_length = {}
            for word in dict.fromkeys((*self._frequency, *_CORRECTED_TO)):
                if len(word) >= MIN_HALF and word.isalpha():
                    self._by_length.setdefault(len(word), []).append((_signature(word), word))
        return self._by_length

    def _parted(self, word: str) -> str | None:
        """The two known words that a word consists of, if an item has both; of several, those of most items."""
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
    """One bit per letter for its first occurrence and one for its second, so that an edit changes at most two."""
    bits = 0
    for letter in word:
        bit = 1 << 2 * (ord(letter) % 29)  # 29: the letters a..z stay apart, others share their bits
        bits |= bit << 1 if bits & bit else bit
    return bits


def _in_case_of(written: str, word: str) -> str:
    """`word` in capitals or with a first capital where `written` is so."""
    if written.isupper():
        return word.upper()
    return word.capitalize() if written[0].isupper() else word
