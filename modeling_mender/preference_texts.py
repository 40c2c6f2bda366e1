"""Reading of a request's texts: split into wanted and avoided ones, spelling corrected, words of the catalog found.

Needs neither torch nor transformers, so that a page in the browser reads requests by the same code.
"""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from .item_words import ItemWords
from .preference_parsing import SplitPreference, split_preference
from .request_values import read_strength

MAX_CACHED = 100_000  # number of texts whose reading is cached

# Words that negate another one: no-walnut and non-ceramic, leatherless, unscented.
_ABSENCE = re.compile(
    r"(?<![\w'’-])(?:(?:no|non)-(?P<no>[^\W\d_]{3,})|(?P<less>[^\W\d_]{3,})less|un(?P<un>[^\W\d_]{4,}))(?![\w'’-])",
    re.IGNORECASE,
)
_ALL_BUT = re.compile(r"\s*(?:everything|anything|all) (?:but|except)\b", re.IGNORECASE)

Split = Callable[[str], SplitPreference]


@dataclass(frozen=True)
class ReadText:
    """A text for the model, wanted or avoided.

    Attributes:
        text (`str`): The text without its frame, with corrected spelling.
        strength (`float`): Above 0 if wanted, below 0 if avoided; 0 if wanted and avoided cancel out.
        words (`tuple[int, ...]`): Ids of the catalog's words in the text, from 0.
        known (`float`): Share of its words, by weight, that the catalog has, in [0, 1].
        corrections (`dict[str, str]`): Corrected words, as written word to new word.
    """

    text: str
    strength: float
    words: tuple[int, ...] = ()
    known: float = 0.0
    corrections: dict[str, str] = field(default_factory=dict)


class TextReader:
    """Reads texts of requests with the words of a catalog.

    Args:
        items (`Sequence[Mapping]`): Items of the catalog, each with `title` and `text`.
        vocabulary (`Container[str]`): Tokens of the text encoder; a word that is one token is not misspelled.
        num_trained_items (`int`, *optional*): Number of items that the model was trained with; see [`ItemWords`].

    Attributes:
        words ([`ItemWords`]): Words of the catalog's texts.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        vocabulary: Container[str],
        num_trained_items: int | None = None,
    ) -> None:
        texts = [item.get("text") for item in items]
        if None in texts:
            raise ValueError(
                f"item {texts.index(None) + 1} has no text, whose words are read; fetch or copy the model again."
            )
        self.words = ItemWords(cast(list[str], texts), num_trained_items)
        self._titles = frozenset(_one_case(item["title"]) for item in items)
        self._vocabulary = vocabulary
        self._read: dict[tuple[str, bool, Split | None], list[ReadText]] = {}

    def read_request(
        self, row: int, wanted: Sequence[str], avoided: Sequence[str], strength: Any, split: Split | None = None
    ) -> list[ReadText]:
        """Reads the texts of one request, without those that are empty or of strength 0, each text once per sign.

        Args:
            row (`int`): Number of the request, for errors.
            wanted, avoided (`Sequence[str]`): Sentences.
            strength: A number, or one per sentence; see [`read_strength`] for errors.
            split (`Callable`, *optional*): See [`read`].
        """
        given = [*((text, 1) for text in wanted), *((text, -1) for text in avoided)]
        strengths = _as_strengths(row, strength, len(wanted), len(avoided))
        return once(
            part
            for (text, sign), factor in zip(given, strengths, strict=True)
            if text.strip() and factor != 0
            for part in self.read(text, sign * factor, is_avoided=sign < 0, split=split)
        )

    def read(
        self, text: str, strength: float = 1.0, is_avoided: bool = False, split: Split | None = None
    ) -> list[ReadText]:
        """Splits a sentence into wanted and avoided texts.

        The title of an item is one wanted text. In the field `avoid`, all of a sentence is avoided.

        Args:
            text (`str`): A sentence.
            strength (`float`, defaults to 1): Strength of the texts; below 0, wanted and avoided are exchanged.
            is_avoided (`bool`, defaults to `False`): Whether the sentence is from the field `avoid`; `strength` is
                below 0 then.
            split (`Callable`, *optional*): Splits a sentence; defaults to the rules of `preference_parsing`.
        """
        key = (text, is_avoided, split)
        if key not in self._read:
            if len(self._read) > MAX_CACHED:
                self._read.clear()
            spelled = _ABSENCE.sub(self._spell_out, text)
            corrected, corrections = self.words.correct_text(spelled, self._is_word)
            is_title = _one_case(text) in self._titles
            parts = [(text, 1)] if is_title else self._split(corrected, is_avoided, split)
            read = [self._read_part(part, direction, corrections) for part, direction in parts if part.strip()]
            self._read[key] = read
        return [replace(part, strength=part.strength * float(strength)) for part in self._read[key]]

    def _spell_out(self, match: re.Match[str]) -> str:
        """Replaces "no-walnut" and "walnutless" by "walnut-free" if the catalog has "walnut" and not that word."""
        whole, negated = match[0], match["no"] or match["less"] or match["un"]
        known = not self.words.knows(whole.casefold()) and self.words.match(negated).known
        return f"{negated}-free" if known else whole

    def _split(self, text: str, is_avoided: bool, split: Split | None) -> list[tuple[str, int]]:
        """Parts of a sentence, each with 1 if wanted and -1 if avoided; in the field `avoid`, 1 stands for avoided."""
        split = split or (lambda sentence: split_preference(sentence, self.words.knows))
        found = split(f"Avoid {text}" if is_avoided and _ALL_BUT.match(text) else text)
        if is_avoided and found.wanted and not found.avoided:
            if _ALL_BUT.match(text):  # avoiding "everything but tea" wants tea
                return [(part, -1) for part in found.wanted]
            found = split(f"Avoid {text}")  # a bare list: "lavender, rose and citrus"
        parts = [(part, 1) for part in found.wanted]
        return parts + [(part, 1 if is_avoided else -1) for part in found.avoided]

    def _read_part(self, text: str, direction: int, corrections: dict[str, str]) -> ReadText:
        """Reads a part of a sentence with the catalog's words in it."""
        match = self.words.match(text)
        corrections = {word: better for word, better in corrections.items() if better in text}
        weight = sum(weight for _, weight in match.known)
        unknown = len(match.unknown) * max(self.words.idf, default=1.0)
        known = weight / (weight + unknown) if weight else 0.0
        return ReadText(text, float(direction), tuple(word for word, _ in match.known), known, corrections)

    def _is_word(self, word: str) -> bool:
        """Whether the vocabulary has a word as one token, and it is thus not misspelled."""
        # sentencepiece and byte-level vocabularies mark the beginning of a word
        return any(mark + word.casefold() in self._vocabulary for mark in ("", "▁", "Ġ"))


def once(parts: Iterable[ReadText]) -> list[ReadText]:
    """Keeps each wanted and each avoided text once, with its largest strength.

    For a text that is both wanted and avoided, the stronger side keeps the difference and the other side strength 0.

    >>> given = [ReadText("a", 1.0), ReadText("a", 2.0), ReadText("b", 1.0), ReadText("B", -1.0), ReadText("a", -3.0)]
    >>> [(part.text, part.strength) for part in once(given)]
    [('a', 0.0), ('b', 0.0), ('B', 0.0), ('a', -1.0)]
    """
    read: dict[tuple[str, bool], ReadText] = {}
    for part in parts:
        side = (part.text.casefold(), part.strength > 0)
        if side not in read or abs(part.strength) > abs(read[side].strength):
            read[side] = part
    sides = {side: part.strength for side, part in read.items()}
    for (text, is_wanted), part in read.items():
        net = part.strength + sides.get((text, not is_wanted), 0.0)
        read[text, is_wanted] = replace(part, strength=max(net, 0.0) if is_wanted else min(net, 0.0))
    return list(read.values())


def aligned(requests: Sequence[tuple[Sequence[int], Sequence[ReadText]]]) -> list[list[ReadText | None]]:
    """Arranges texts of requests in columns, wanted before avoided ones, with `None` as padding.

    >>> rows = [([], [ReadText("a", -1.0)]), ([], [ReadText("b", 1.0), ReadText("c", -1.0)])]
    >>> [[text and text.text for text in row] for row in aligned(rows)]
    [[None, 'a'], ['b', 'c']]
    """
    parts = [
        ([text for text in texts if text.strength > 0], [text for text in texts if text.strength < 0])
        for _, texts in requests
    ]  # texts of strength 0 have canceled out
    widths = [max((len(part[side]) for part in parts), default=0) for side in (0, 1)]
    return [
        [text for side in (0, 1) for text in (*part[side], *[None] * (widths[side] - len(part[side])))]
        for part in parts
    ]


def _as_strengths(row: int, strength: Any, num_wanted: int, num_avoided: int) -> list[float]:
    """Returns a strength for each text of a request; see [`read_strength`] for errors."""
    given = read_strength(f"the strength of request {row}", strength, num_wanted, num_avoided)
    if isinstance(given, tuple):
        return [*given, *[1.0] * (num_wanted + num_avoided - len(given))]
    return [1.0 if given is None else given] * (num_wanted + num_avoided)


def _one_case(title: str) -> str:
    """A title with single spaces, case-folded."""
    return " ".join(title.split()).casefold()
