"""Rules that split an English preference into wanted and avoided texts.

| written | wanted | avoided |
|---|---|---|
| Avoid, Exclude, No, Not, Without, Skip, Never A; nothing with A; I do not want A; I hate A; stay away from A | | A |
| A is not for me; A is gross; A sucks; keep A away; leave A out; A? No thanks; A? Never | | A |
| A but not B; A without B; A, no B; A that are not B; A free of B; A except B; A other than B; A -b | A | B |
| A instead of B; rather A than B; prefer A over B; not B but A; less B, more A | A | B |
| avoid A and B; no A, B or C; neither A nor B | | each |
| anything but A; everything except A | | A |
| avoid everything but A; nothing but A; cannot live without A; can't get enough of A; don't forget A | A | |
| not only A but also B | A, B | |
| A-free B | A-free B | A |
| no. 7 A; no-rinse A; a no fuss A; no doubt; no more than $20; "not said, but quoted" | as written | |
| I don't mind A; A need not be B; no preference for A | nothing, where anything else is said | |

Every sentence, semicolon and new line begins as wanted. Wanted texts lose their frame ("Could you find me a",
"please"). Where nothing would be left on either side, the whole text is wanted; "no preference" and the like, and a
text without content words ("not", "please", "!!!"), give nothing. A longer phrase takes precedence over a shorter one;
a negated verb that is not listed ("that won't dry my skin") is left as it is. Limits: unquoted names that read as a
negation ("No Crease"; two brands are listed), meanings without a listed word ("lavender reminds me of hospitals"), and
languages other than English.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .preference_phrases import (
    AVOIDED_ENDS,
    AVOIDED_LED,
    EMPTY,
    ENDS,
    FRAMES,
    FREE_WORDS,
    GENERIC,
    LED,
    NOTHING_ASKED,
    OWNERS,
    PERSONAL,
    PREPOSITIONS,
    SENTENCE_ENDS,
    TRAILED,
)
from .preference_reader import Reader, Segment, one_line
from .preference_tokens import Token, tokenize, written

MAX_TEXTS = 40
"""Largest number of texts per side; further ones are joined to the last."""


@dataclass(frozen=True)
class SplitPreference:
    """Wanted and avoided texts of a preference, in the order of the text."""

    wanted: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()


_LACKING = re.compile(
    r"(?<![\w'’-])([^\W\d_]{3,})[ -]free(?![\w'’-])"
    r"(?! (?:of|from|standing|radicals?|shipping|gifts?|samples?|style)\b)",
    re.IGNORECASE,
)


def split_preference(text: str, names_absence: Callable[[str], bool] | None = None) -> SplitPreference:
    """Splits an English preference into wanted and avoided texts by the rules of this module.

    Args:
        text (`str`): One sentence or several.
        names_absence (`Callable[[str], bool]`, *optional*): Whether the catalog's texts have a lower-cased word such
            as "paraben-free". If they do, the word stays wanted and nothing is avoided. If not, it is removed from the
            wanted text, where it would match parabens, and "paraben" is avoided. By default it stays, and "paraben" is
            avoided.

    Returns:
        [`SplitPreference`]: Both sides are empty for an empty text and for "no preference" and the like.

    >>> split_preference("I'd like a lamp, walnut if possible, but nothing rustic, please")
    SplitPreference(wanted=('lamp, walnut',), avoided=('rustic',))
    >>> split_preference("Avoid bar soaps and candles"), split_preference("anything but candles").avoided
    (SplitPreference(wanted=(), avoided=('bar soaps', 'candles')), ('candles',))
    >>> split_preference("Not only lamps but also vases").wanted, split_preference("nothing but candles").wanted
    (('lamps', 'vases'), ('candles',))
    >>> split_preference("Avoid everything except tea").wanted, split_preference("No-rinse soap").avoided
    (('tea',), ())
    >>> split_preference("no preference") == split_preference("not") == split_preference("!!!") == SplitPreference()
    True
    """
    tokens = tokenize(text)
    words = [token.word for token in tokens]
    if not text.strip() or NOTHING_ASKED.match(one_line(words)):
        return SplitPreference()
    wanted: list[str] = []
    avoided: list[str] = []
    sentence = -1
    for segment in Reader(words).read():
        if segment.polarity > 0:
            first, last = _trim_wanted(words, segment)
            if _is_empty(words[first:last], GENERIC):
                continue
            goes_on = words[first] in PREPOSITIONS
            piece, lacking = _take_lacking(written(text, tokens, first, last), names_absence)
            avoided += lacking
            if goes_on and sentence == segment.sentence:
                wanted[-1] = f"{wanted[-1]} {piece}"
            elif piece and not (words[first] == "for" and avoided):
                wanted.append(re.sub("(?i)^with ", "", piece))
                sentence = segment.sentence
        elif segment.polarity < 0:
            texts = _avoided_texts(text, tokens, words, segment)
            if segment.kind == "instead" and wanted and texts:
                wanted[-1] = _with_shared_head([wanted[-1], texts[0]])[0]
            avoided += texts
    if not wanted and not avoided and not _is_empty(words, EMPTY):
        wanted = [core(text)]
    return SplitPreference(_joined(wanted), _joined(avoided))


def _is_empty(words: Sequence[str], empty: frozenset[str]) -> bool:
    """Whether all words are in `empty` or are punctuation."""
    return empty.issuperset(word for word in words if word[0].isalnum() or word == "#")


def core(text: str) -> str:
    """A text without its frame; the text itself if nothing else is left.

    >>> core("Could you please find me a walnut lamp, if possible?"), core("Search for soap"), core("Please!")
    ('walnut lamp', 'soap', 'Please!')
    """
    tokens = tokenize(text)
    first, last = _trim_wanted([token.word for token in tokens], Segment(1, 0, len(tokens), 0))
    return written(text, tokens, first, last) or " ".join(text.split())


def _trim_wanted(words: Sequence[str], segment: Segment) -> tuple[int, int]:
    """First and last token of a wanted text without frames, articles, courtesy and transitions to the next segment."""
    first, last = segment.first, segment.last
    is_cut = last < len(words) and words[last] not in SENTENCE_ENDS
    before = -1
    while before < first < last:
        before = first
        while first < last and words[first] in LED:
            first += 1
        line = one_line(words[first : min(first + 16, last)])
        match = next(filter(None, (frame.match(line) for frame in FRAMES)), None)
        if match and match.end() + 1 < len(line):
            first += line.count(" ", 0, match.end() + 1)
    last = _without_tail(words, first, last, ENDS)
    if is_cut:
        while last > first and words[last - 1] in TRAILED:
            last -= 1
        if last - first == 2 and words[first] in OWNERS and words[segment.last] in PERSONAL:
            last = first  # "my mother hates"
    return first, last


def _without_tail(words: Sequence[str], first: int, last: int, tail: re.Pattern[str]) -> int:
    """The last token without the phrases of `tail` behind the text."""
    while last > first:
        line = " " + " ".join(words[max(first, last - 8) : last])
        match = tail.search(line)
        if match is None:
            break
        last -= match[0].count(" ")
    return max(first, last)


def _avoided_texts(text: str, tokens: Sequence[Token], words: Sequence[str], segment: Segment) -> list[str]:
    """The parts of an avoided list, each without its frame."""
    parts: list[str] = []
    first = segment.first
    for place in range(segment.first, segment.last + 1):
        if place < segment.last and words[place] not in (",", "or", "nor", "and", "/", "-", "–", "—", ":"):
            continue
        start, end = first, place
        first = place + 1
        changed = True
        while changed:
            before = (start, end)
            while start < end and words[start] in AVOIDED_LED:
                start += 1
            end = _without_tail(words, start, _without_tail(words, start, end, ENDS), AVOIDED_ENDS)
            changed = (start, end) != before
        if not _is_empty(words[start:end], GENERIC):
            parts.append(written(text, tokens, start, end))
    return _with_shared_head(parts)


def _with_shared_head(parts: list[str]) -> list[str]:
    """Appends the plural noun at the end of a list to single words before it.

    >>> _with_shared_head(["lavender", "rose candles"]), _with_shared_head(["soaps", "bath bombs"])
    (['lavender candles', 'rose candles'], ['soaps', 'bath bombs'])
    """
    *others, last = [part.split() for part in parts] or [[]]
    modifiers = [part[0] for part in others if len(part) == 1 and not _is_plural(part[0])]
    if len(last) < 2 or not _is_plural(last[-1]) or len(modifiers) < len(others):
        return parts
    return [*(f"{modifier} {last[-1]}" for modifier in modifiers), parts[-1]]


def _is_plural(word: str) -> bool:
    """Whether the ending of a word is that of a plural."""
    return len(word) > 3 and word.lower().endswith("s") and not word.lower().endswith(("ss", "us", "is"))


def _take_lacking(piece: str, names_absence: Callable[[str], bool] | None) -> tuple[str, list[str]]:
    """The wanted text without "A-free", unless the catalog has that word, and the avoided texts A."""
    avoided: list[str] = []

    def decide(match: re.Match[str]) -> str:
        if match[1].lower() in FREE_WORDS:
            return match[0]
        if names_absence is not None and names_absence(f"{match[1].lower()}-free"):
            return match[0]
        avoided.append(match[1])
        return match[0] if names_absence is None else ""

    return " ".join(_LACKING.sub(decide, piece).split()), avoided


def _joined(texts: Sequence[str]) -> tuple[str, ...]:
    """Distinct texts, at most `MAX_TEXTS`, the last ones joined."""
    distinct: dict[str, str] = {}
    for text in texts:
        distinct.setdefault(text.casefold(), text)
    texts = list(distinct.values())
    if len(texts) > MAX_TEXTS:
        texts[MAX_TEXTS - 1 :] = [", ".join(texts[MAX_TEXTS - 1 :])]
    return tuple(texts)
