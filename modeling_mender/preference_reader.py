"""A left-to-right reader that cuts tokens into segments: wanted, avoided, or neither."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .preference_phrases import (
    AFTER_BUT,
    AGAIN,
    ALL_BUT,
    ARTICLES,
    JOINING,
    MARKS,
    NEGATION,
    NEW_CLAUSE,
    POLITE,
    PREPOSITIONS,
    PRONOUNS,
    RULES,
    SENTENCE_ENDS,
)


@dataclass(slots=True)
class Segment:
    """Tokens `first..last - 1` of one sentence that are wanted (1), avoided (-1) or neither (0).

    `kind` is the rule that opened the segment and `trigger` the words that matched it.
    """

    polarity: int
    first: int
    last: int
    sentence: int
    kind: str = ""
    trigger: str = ""


class Reader:
    """Reads the words of a preference from left to right into segments.

    Args:
        words (`Sequence[str]`): Normalized words of all tokens.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.line = one_line(words)
        self.places = [0]  # offset of every token in the line
        for word in self.words:
            self.places.append(self.places[-1] + len(word) + 1)
        self.number = {place: number for number, place in enumerate(self.places)}
        self.segments: list[Segment] = []
        self.sentence = 0
        self.said = False  # whether this sentence has a word that is not courtesy
        self.flags: set[str] = set()  # of this sentence: "rather", "prefer", "only", "choice"
        self.begin(0, 1)

    def begin(self, first: int, polarity: int, kind: str = "", trigger: str = "") -> None:
        """Opens another segment at token `first`."""
        self.segments.append(Segment(polarity, first, first, self.sentence, kind, trigger))
        self.clause = first

    def read(self) -> list[Segment]:
        """The segments, in order."""
        number = 0
        while number < len(self.words):
            after = self._step(number)
            if after == number:  # a word of the open segment
                after = number + 1
                self.segments[-1].last = after
                self.said = self.said or self.words[number] not in POLITE
            number = after
        return [segment for segment in self.segments if segment.last > segment.first]

    def _step(self, number: int) -> int:
        """Applies the rule at a token; the number of the token behind it, or `number` for a plain word."""
        kind, after = self._longest(number)
        open_segment = self.segments[-1]
        word = self.words[number]
        if kind == "behind":
            return self._refuse_behind(number, after)
        if kind == "kept":
            open_segment.last = after
            return after
        if kind in ("neutral", "doubled"):
            if self.line[self.places[number] : self.places[after]].startswith("not "):
                self.flags.add("only")
            self.begin(after, 0 if kind == "neutral" else 1)
            return after
        if word in SENTENCE_ENDS:
            self.sentence += 1
            self.said = False
            self.flags.clear()
            self.begin(number + 1, 1)
            return number + 1
        around = self._kept_away(number)
        if around is not None:
            return around
        if kind in ("listed", "contrasted", "listed first"):
            return self._refuse(kind, number, after)
        if kind in ("preferred", "requested", "requested later"):
            return self._request(kind, number, after)
        return self._word(number)

    def _longest(self, number: int) -> tuple[str, int]:
        """The rule of the longest phrase that begins at a token, and the token behind the phrase."""
        best, end = "", 0
        for kind, pattern in RULES:
            match = pattern.match(self.line, self.places[number])
            if match is None or match.end() <= end:
                continue
            begins = self._begins_clause(number) or (kind == "requested" and self.segments[-1].kind == "introduced")
            if kind in ("listed first", "requested", "requested later") and not begins:
                continue
            if kind == "listed first" and number == self.segments[-1].first and self.segments[-1].kind == "frame":
                continue  # "Search for Skip Bo"
            if kind == "requested later" and not (number and self.words[number - 1] in JOINING | {","}):
                continue
            best, end = kind, match.end()
        # a phrase ends before the space that follows it
        return best, self.number[end + 1] if best else number

    def _begins_clause(self, number: int) -> bool:
        """Whether only courtesy stands between the beginning of the clause and a token."""
        for place in range(number - 1, max(number - 9, self.clause - 1), -1):
            if self.words[place] in ("and", "but", "or", "so", ","):
                return True
            if self.words[place] not in POLITE:
                return False
        return number - self.clause <= 8

    def _refuse_behind(self, number: int, after: int) -> int:
        """Avoids the open clause: "A is not for me"."""
        clause = self.clause if self.clause < number or not number else self.segments[-1].first
        if self.segments[-1].polarity > 0 and number > clause:
            self.segments[-1].last = min(self.segments[-1].last, clause)
            self.begin(clause, -1, "listed", "behind")
            self.segments[-1].last = number
        self.begin(after, 1)
        return after

    def _kept_away(self, number: int) -> int | None:
        """Avoids A in "keep A away"; returns the token behind it, or `None` without that form."""
        words = self.words
        if words[number] not in ("keep", "leave", "filter", "rule", "cut", "weed") or not self._begins_clause(number):
            return None
        for place in range(number + 2, min(number + 10, len(words))):
            if words[place] in ("away", "out", "off") and words[number + 1] not in ("me", "my", "us", "warm"):
                if PRONOUNS.issuperset(words[number + 1 : place]):  # "A, leave that out"
                    return self._refuse_behind(number, place + 1)
                self.begin(number + 1, -1, "listed", "keep")
                self.segments[-1].last = place
                self.begin(place + 1, 1)
                if words[place + 1 : place + 3] in (["from", "me"], ["of", "it"], ["from", "us"], ["of", "this"]):
                    return place + 3
                return place + 1
            if not words[place][0].isalnum():
                break
        return None

    def _refuse(self, kind: str, number: int, after: int) -> int:
        """Begins an avoided text, or a wanted one behind a double negation."""
        segment = self.segments[-1]
        trigger = self.line[self.places[number] : self.places[after]].strip()
        inside = segment.polarity < 0 and segment.last > segment.first
        if inside and trigger.startswith("without"):
            if segment.trigger.startswith("without"):
                self.begin(after, -1, kind, trigger)
                return after
            if NEGATION.search(segment.trigger):  # "no soap without honey" wants honey
                segment.polarity = 1
                self.begin(after, 1)
                return after
            return number
        if inside and trigger.split()[0] in ("except", "other", "apart", "aside", "besides"):
            self.begin(after, 1)
            return after
        if inside and trigger == "not" and segment.kind == "listed" and not NEGATION.search(segment.trigger):
            self.begin(after, 1)  # "avoid candles, not lamps"
            return after
        if segment.polarity < 0 and segment.last == segment.first and segment.trigger and ALL_BUT.fullmatch(trigger):
            self.begin(after, 1)  # "avoid everything but tea"
            return after
        if kind == "contrasted" and not NEGATION.search(trigger):
            kind = "instead" if re.match("instead|rather|sooner|in place", trigger) else "except"
            if not self.said and not ALL_BUT.fullmatch(trigger):  # "Instead of A, B"
                kind = "introduced"
        self.begin(after, -1, "listed" if kind == "listed first" else kind, trigger)
        return after

    def _request(self, kind: str, number: int, after: int) -> int:
        """Begins a wanted text: "I would like", "show me"."""
        segment = self.segments[-1]
        said = self.words[number:after]
        for word in ("rather", "sooner", "prefer", "prefers", "preferring"):
            if word in said:
                self.flags.add("prefer" if word.startswith("prefer") else "rather")
        plain = kind == "preferred" and not self._begins_clause(number)
        if plain and (segment.polarity > 0 or not {"want", "need", "prefer", "would"} & set(said)):
            return number
        self.begin(after, 1, "frame" if kind == "requested" else "")
        return after

    def _word(self, number: int) -> int:
        """Applies single words that change the polarity depending on their position."""
        word, segment = self.words[number], self.segments[-1]
        following = self.words[number + 1] if number + 1 < len(self.words) else ""
        if word in ("rather", "sooner"):
            self.flags.add("rather")
        if word in ("any", "every", "all", "everything"):
            self.flags.add("choice")
        if word == "-not":
            self.begin(number + 1, -1, "listed", "-")
            self.segments[-1].last = number + 2
            self.begin(number + 2, 1)
            return number + 2
        if word == "than" and "rather" in self.flags:
            self.begin(number + 1, -1, "instead", word)
            return number + 1
        if word == "over" and "prefer" in self.flags and following not in ("#", "$", "my", "the", "a"):
            self.begin(number + 1, -1, "instead", word)
            return number + 1
        if word == "but":
            if segment.polarity <= 0 or "only" in self.flags:
                self.begin(number + 1, 1)
                return number + 1
            if "choice" in self.flags and following not in AFTER_BUT:
                self.begin(number + 1, -1, "except", word)
                return number + 1
        if word == "unless" and segment.polarity < 0:
            self.begin(number + 1, 0)
            return number + 1
        if word in ("though", "however", "although", "otherwise") and segment.polarity < 0:
            self.begin(number + 1, 1)
            return number + 1
        if word in MARKS:
            if segment.polarity > 0:
                self.clause = number + 1
            elif segment.polarity == 0 or word in "()" or not self._list_goes_on(number + 1):
                self.begin(number + 1, 1)
                return number + 1
        if word in ("and", "or") and segment.polarity < 0 and self._begins_again(number + 1):
            self.begin(number + 1, 1)
            return number + 1
        return number

    def _begins_again(self, number: int) -> bool:
        """Whether a token begins a wanted text again."""
        return number < len(self.words) and self.words[number] in AGAIN | {"with"}

    def _list_goes_on(self, number: int) -> bool:
        """Whether the text behind a comma is avoided like the text before it."""
        segment = self.segments[-1]
        if number >= len(self.words) or segment.kind == "introduced":
            return False
        word = self.words[number]
        if word in ("and", "or", "nor"):
            return not self._begins_again(number + 1)
        if word in AGAIN or word in PREPOSITIONS or word in NEW_CLAUSE:
            return False
        if word in ARTICLES:
            return self.words[segment.first] in ARTICLES
        if segment.kind == "listed" and not self._ends_with_only(number):
            return True
        for place in range(number, min(number + 12, len(self.words))):
            if self.words[place] in SENTENCE_ENDS | {"but"}:
                return False
            if self.words[place] in ("or", "nor", "and"):
                return True
        return False

    def _ends_with_only(self, number: int) -> bool:
        """Whether the clause ends with "only" or "instead": "no caffeine, herbal tea only"."""
        for place in range(number, min(number + 8, len(self.words))):
            if self.words[place] in SENTENCE_ENDS or self.words[place] in MARKS:
                return self.words[place - 1] in ("only", "instead")
        return self.words[-1] in ("only", "instead")


def one_line(words: Sequence[str]) -> str:
    """Words as one string that the phrases match: every word followed by a space."""
    return "".join(f"{word} " for word in words)
