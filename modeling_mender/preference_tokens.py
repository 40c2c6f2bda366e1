"""Tokens of an English preference: lower-cased words, contractions written out, and punctuation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .preference_phrases import BEFORE_NEGATION, word_set

_WRITTEN_OUT = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not", "ain't": "is not",
    "dont": "do not", "doesnt": "does not", "didnt": "did not", "isnt": "is not", "arent": "are not",
    "cant": "can not", "wont": "will not", "couldnt": "could not", "wouldnt": "would not", "shouldnt": "should not",
    "i'm": "i am", "im": "i am", "ive": "i have", "let's": "let us", "wanna": "want to", "w/o": "without",
    "pls": "please", "plz": "please", "thx": "thanks",
}  # fmt: skip
_IS = word_set("it's that's there's what's here's he's she's who's this's where's which's everything's")
_ENDINGS = {"'m": "am", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would"}
_ABBREVIATIONS = word_set("dr st mr mrs ms vs approx oz fl vol pt inc co ltd e.g i.e ca")
_SENTENCE_STARTS = word_set("i we find show search look avoid exclude no not never please prefer without also but it")
_SEARCH_WORD = re.compile(r"[a-z]{3}")
_APOSTROPHES = str.maketrans("’‘ʼ´`", "'''''")
_TOKEN = re.compile(
    r""""[^"\n]{1,200}"|“[^”\n]{1,200}”|\bw/o\b|\d+(?:[.,]\d+)*(?![^\W\d_])|[^\W_]+(?:['&-][^\W_]+)*|\S|\n""",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Token:
    """A word, a punctuation mark, or one word of a contraction; `start` and `end` are offsets in the text."""

    word: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """Words and punctuation of a text, normalized for the rules of `preference_phrases`."""
    tokens: list[Token] = []
    straight = text.translate(_APOSTROPHES)
    found = list(_TOKEN.finditer(straight))
    for place, match in enumerate(found):
        word, (start, end) = match[0].lower(), match.span()
        following = straight[end : end + 1]
        if word[0] in '"“' and len(word) > 1:
            word = "quotation"
        elif word[0].isdigit() and word[-1].isdigit():
            word = "#"
        elif word == "\n":
            word = ";"
        elif word == "." and tokens:
            before = tokens[-1].word
            after = found[place + 1][0] if place + 1 < len(found) else ""
            inner = following != "" and not following.isspace() and following not in ')"”!?.'
            if inner or before in _ABBREVIATIONS:
                continue
            if len(before) == 1 and before.isalpha() and after and after.lower() not in _SENTENCE_STARTS:
                continue
            if (before == "no" and after[:1].isdigit()) or (before == "etc" and after[:1].islower()):
                continue
        elif word in ("no", "not") and _is_name(found, place):
            word = "name"
        elif word in "-!" and _SEARCH_WORD.match(straight, end) and (not start or straight[start - 1].isspace()):
            word = "-not"  # as in a search box
        words = _written_out(word)
        tokens += [Token(one, start, end) for one in words]
    return tokens


def _is_name(found: Sequence[re.Match[str]], place: int) -> bool:
    """Whether "No" belongs to a name: capitalized, behind a word and before a capitalized one ("Ties No Crease")."""
    if not 0 < place < len(found) - 1 or found[place][0] not in ("No", "Not"):
        return False
    before, after = found[place - 1][0], found[place + 1][0]
    return after[0].isupper() and before[-1].isalnum() and before.lower() not in BEFORE_NEGATION


def _written_out(word: str) -> list[str]:
    """A contraction as its words.

    >>> _written_out("don't"), _written_out("i'd"), _written_out("there's"), _written_out("mother's")
    (['do', 'not'], ['i', 'would'], ['there', 'is'], ["mother's"])
    """
    if word in _WRITTEN_OUT:
        return _WRITTEN_OUT[word].split()
    if word.endswith("n't") and len(word) > 3:
        return [word[:-3], "not"]
    if word in _IS:
        return [word[:-2], "is"]
    for ending, meaning in _ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return [word.removesuffix(ending), meaning]
    return [word]


def written(text: str, tokens: Sequence[Token], first: int, last: int) -> str:
    """The part of `text` that tokens `first..last - 1` cover, with single spaces."""
    if last <= first:
        return ""
    piece = " ".join(text[tokens[first].start : tokens[last - 1].end].split())
    follows = text[tokens[last - 1].end :].lstrip()[:1]
    return f"{piece})" if follows == ")" and piece.count("(") > piece.count(")") else piece
