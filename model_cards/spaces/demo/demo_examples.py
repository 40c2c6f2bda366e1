"""Finds example requests in a catalogue, and keeps those of which the model does what their names say.

Knows titles and the pipeline alone: a word that many titles share stands for a taste, whatever is sold.
"""

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

NUM_RESULTS = 10
MIN_TITLES = 4  # titles that share a phrase: three make a history, and one is left to recommend
MAX_HISTORY = 3
FEWEST = 3  # examples that there should be, with those that promise nothing
MAX_PHRASES, MAX_WORDS, MAX_TRIES = 4, 4, 6  # bounds what a start costs, about 60 requests
SHARE = 0.8  # of the list, or of what the catalogue has, that must be what a name says
COUNTED = 0.05  # share of a word's uses that must be in the plural
FEW, MANY = 2, 5  # items of a list that share a word which an example may avoid

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]")
_WORDS = re.compile(r"\w+")
_ASKING = frozenset("likes wants no but more misspelt asks for by".split())
_STOP_WORDS = frozenset("and for from the with set pack inch ounce".split())

Example = dict[str, Any]
Ask = Callable[[Sequence[Mapping[str, Any]]], list[list[str]]]


def plural(word: str) -> str:
    """The English plural of a noun, by its ending.

    >>> plural("lamp"), plural("brush"), plural("cherry"), plural("glass"), plural("earrings")
    ('lamps', 'brushes', 'cherries', 'glasses', 'earrings')
    """
    if word.endswith(("ss", "sh", "ch", "x")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return word if word.endswith("s") else f"{word}s"


def misspell(word: str) -> str:
    """A word with two letters of its middle swapped; short words stay.

    >>> misspell("candle"), misspell("vase")
    ('cadnle', 'vase')
    """
    middle = len(word) // 2
    if len(word) < 6 or word[middle - 1] == word[middle]:
        return word
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


@functools.lru_cache(maxsize=10_000)
def forms(title: str) -> frozenset[str]:
    """The words of a title, and their plurals."""
    tokens = {token.casefold() for token in _TOKEN.findall(title)}
    return frozenset(tokens | {plural(token) for token in tokens})


def has_word(title: str, word: str) -> bool:
    """Whether a title has a word, in the singular or the plural.

    >>> has_word("Walnut Lamp", "lamps"), has_word("Clamp", "lamp"), has_word("Two lamps", "lamp")
    (True, False, True)
    """
    return word in forms(title) or plural(word) in forms(title)


def has_all(title: str, words: Iterable[str]) -> bool:
    return all(has_word(title, word) for word in words)


class Catalogue:
    """Titles, the words of each, and the phrases that several share.

    Args:
        titles (`Sequence[str]`): Of the items 1, 2, ...
        texts (`Sequence[str]`): All that is known of each item; tells words that are counted, such as lamps.
        is_word (`Callable[[str], bool]`): Whether a lower-cased word is one of the language, and no name.
    """

    def __init__(self, titles: Sequence[str], texts: Sequence[str], is_word: Callable[[str], bool]) -> None:
        self.said = Counter(token.casefold() for text in texts for token in _TOKEN.findall(text))
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
        """Endings such as "ceramic table lamp" that several titles share, and not most; the longest first, then those
        whose last word is counted, and is the most frequent."""
        largest = max(MIN_TITLES, len(self.titles) // 3)
        shared = [phrase for phrase, items in self.groups.items() if MIN_TITLES <= len(items) <= largest]

        def order(phrase: tuple[str, ...]) -> tuple:
            last = phrase[-1]
            return (-len(phrase), not self.is_counted(last), -self.counts[last], -self.size(phrase), phrase)

        return sorted(shared, key=order)

    def is_counted(self, word: str) -> bool:
        """Whether the texts use a word's plural: lamps, but not walnuts."""
        return plural(word) != word and self.said[plural(word)] > COUNTED * self.said[word]

    def describes(self, word: str) -> bool:
        """Whether a word mostly stands before another one: walnut lamps, but not a lamp in navy."""
        return 2 * self.leading[word] > self.counts[word]

    def several(self, word: str) -> str:
        """The plural of a word that is counted, others as they are."""
        return plural(word) if self.is_counted(word) else word

    def name(self, phrase: tuple[str, ...]) -> str:
        return " ".join((*phrase[:-1], self.several(phrase[-1])))

    def size(self, phrase: tuple[str, ...]) -> int:
        return len(self.groups[phrase])

    def history(self, phrase: tuple[str, ...]) -> list[int]:
        return self.groups[phrase][:MAX_HISTORY]

    def titles_with(self, *words: str) -> list[str]:
        """Titles that have all of these words."""
        return [title for title, own in zip(self.titles, self.words, strict=True) if own.issuperset(words)]

    def words_beside(self, phrase: tuple[str, ...]) -> list[str]:
        """Words that the titles of a phrase lack, and that others have: beside the phrase's last word first."""
        own = set().union(*(self.words[item_id - 1] for item_id in self.groups[phrase]))
        beside = Counter(word for words in self.words if phrase[-1] in words for word in words if word not in own)
        often = [word for word, count in self.counts.items() if MIN_TITLES <= count <= len(self.titles) // 4]
        return sorted(
            set(often) - own,
            key=lambda word: (
                self.is_counted(word) or not self.describes(word), -min(beside[word], FEW), -self.counts[word], word
            ),
        )  # fmt: skip


def find_examples(
    pipe: Any, reads_preferences: bool, reads_avoid: bool, read: Callable[[str], Sequence[Any]] | None = None
) -> list[Example]:
    """Examples by name, with `history`, `preference` and `avoid`: the most telling one first.

    Args:
        pipe (`Pipeline`): `preference-recommendation`, with the model's processor.
        reads_preferences, reads_avoid (`bool`): What the model takes.
        read (`Callable`, *optional*): Reads a text, and gives the `corrections` of its spelling.

    Returns:
        `list`: At least one example of a catalogue that has an item. A name that says what the list shows is kept
        only where the list shows it; others name the request alone.
    """
    titles = [item["title"] for item in pipe.processor.items]
    if not titles:
        return []
    texts = [item.get("text") or item["title"] for item in pipe.processor.items]
    catalogue = Catalogue(titles, texts, _word_test(getattr(pipe.processor, "tokenizer", None)))

    def ask(requests: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        left = len(titles) - max(len(request.get("exclude") or ()) for request in requests)
        found = pipe(list(requests), k=min(NUM_RESULTS, left), batch_size=16)
        return [[item["title"] for item in items] for items in found]

    found: list[Example] = []
    if reads_preferences:
        makers: list[Iterator[Example]] = [_combined(catalogue, ask, reads_avoid)]
        makers += [_preferences_alone(catalogue, ask)]
        makers += [_no_more(catalogue, ask), _misspelt(catalogue, ask, read)] if reads_avoid else []
        makers += [_titles(catalogue, ask)]
        for maker in makers:
            made: list[Example] = []
            with contextlib.suppress(ValueError):  # a request that this model refuses
                for example in maker:
                    made.append(example)
                    if not _repeats(example, found):
                        break
            # the last one is of other words than the examples before, or else the first one has to do
            found += made[-1:] if made and not _repeats(made[-1], found) else made[:1]
    if len(found) < FEWEST:
        names = {example["name"] for example in found}
        found += [one for one in _unchecked(catalogue, reads_preferences) if one["name"] not in names]
    first = next((example for example in found if "history" in example), found[0])  # it has two lists to compare
    return [first, *(example for example in found if example is not first)]


# -- kinds of examples ------------------------------------------------------------------------------------------------


def _combined(catalogue: Catalogue, ask: Ask, reads_avoid: bool) -> Iterator[Example]:
    """A taste, a preference that leaves it, and something that would come along: "likes A, wants B, no C"."""
    phrases = _of_distinct_kinds(catalogue.phrases())[: MAX_PHRASES if reads_avoid else 2]
    tried = [(phrase, word) for phrase in phrases for word in catalogue.words_beside(phrase)[:MAX_WORDS]]
    if not tried:
        return
    requests = [_request(catalogue.history(phrase), f"I'd like {word}") for phrase, word in tried]
    lists = ask([*requests, *(_request(catalogue.history(phrase)) for phrase in phrases)])
    plain = dict(zip(phrases, lists[len(tried) :], strict=True))
    good = []
    for (phrase, word), titles in zip(tried, lists, strict=False):
        share = sum(has_word(title, word) for title in titles) / len(titles)
        before = sum(has_word(title, word) for title in plain[phrase]) / len(titles)
        same = sum(has_word(title, phrase[-1]) for title in titles) / len(titles)
        if share >= SHARE and before < 0.5:
            others = _frequent_others(titles, plain[phrase], catalogue, {*phrase, word})
            # a list that keeps to the taste as well as to the preference tells more
            good.append((-share - min(same, 0.5) - before, phrase, word, others))
    good.sort(key=lambda one: one[0])
    if reads_avoid:
        asked = [(phrase, word, other) for _, phrase, word, others in good[:MAX_TRIES] for other in others[:1]]
        checked = ask([
            _request(catalogue.history(phrase), f"I'd like {word}", avoid=other) for phrase, word, other in asked
        ]) if asked else []  # fmt: skip
        for (phrase, word, other), titles in zip(asked, checked, strict=True):
            share = sum(has_word(title, word) for title in titles) / len(titles)
            if share >= SHARE and not any(has_word(title, other) for title in titles):
                name = f"likes {catalogue.name(phrase)}, wants {word}, no {other}"
                yield _example(name, catalogue.history(phrase), f"I'd like {word}", other)
    for _, phrase, word, _ in good:
        yield _example(f"likes {catalogue.name(phrase)}, wants {word}", catalogue.history(phrase), f"I'd like {word}")


def _preferences_alone(catalogue: Catalogue, ask: Ask) -> Iterator[Example]:
    """Two words that never stand side by side: the items that have both lead the list."""
    for first, last in _pairs(catalogue)[:MAX_TRIES]:
        text = f"Search for {first} {catalogue.several(last)}"
        wanted = min(NUM_RESULTS, len(catalogue.titles_with(first, last)))
        if all(has_all(title, (first, last)) for title in ask([_request([], text)])[0][:wanted]):
            yield _example(f"wants {first} {catalogue.several(last)}", [], text)


def _no_more(catalogue: Catalogue, ask: Ask) -> Iterator[Example]:
    """A taste, and enough of it."""
    for phrase in reversed(_of_distinct_kinds(catalogue.phrases())[:MAX_TRIES]):
        history, kind = catalogue.history(phrase), phrase[-1]
        before, after = ask([_request(history), _request(history, avoid=catalogue.several(kind))])
        if sum(has_word(title, kind) for title in before) > MANY and not any(has_word(t, kind) for t in after):
            yield _example(
                f"likes {catalogue.name(phrase)}, but no more {catalogue.several(kind)}",
                history,
                "",
                catalogue.several(kind),
            )


def _misspelt(catalogue: Catalogue, ask: Ask, read: Callable[[str], Sequence[Any]] | None) -> Iterator[Example]:
    """A misspelt sentence that wants and avoids, or else one that wants."""
    asked = []
    for first, last in _pairs(catalogue)[MAX_TRIES : 10 * MAX_TRIES] if read is not None else ():
        both = catalogue.titles_with(first, last)
        others = _frequent_others(both, [], catalogue, {first, last}, fewest=1)
        wrong = misspell(first)
        for other in [*others[:1], ""]:
            text = (
                f"{wrong} {catalogue.several(last)}, but no {other}" if other else f"{wrong} {catalogue.several(last)}"
            )
            if wrong != first and any(part.corrections.get(wrong) == first for part in read(text)):
                asked.append((not other, first, last, other, text))
    for is_plain in (False, True):  # those that avoid something first
        for _, first, last, other, text in [one for one in asked if one[0] == is_plain][:MAX_TRIES]:
            titles = ask([_request([], text)])[0]
            wanted = [title for title in catalogue.titles_with(first, last) if not (other and has_word(title, other))]
            leads = all(has_all(title, (first, last)) for title in titles[: min(NUM_RESULTS, len(wanted))])
            if len(wanted) >= FEW and leads and not any(other and has_word(title, other) for title in titles):
                yield _example(f"misspelt: “{text}”", [], text)


def _titles(catalogue: Catalogue, ask: Ask) -> Iterator[Example]:
    """One item by its title, the shortest ones first."""
    counts = Counter(catalogue.titles)
    several = [title for title, count in counts.items() if count == 1 and len(title.split()) > 1]
    tried = sorted(several, key=lambda title: (len(title.split()) < 3, len(title), title))[:MAX_TRIES]
    found = ask([_request([], f"Search for {title}") for title in tried]) if tried else []
    for title, titles in zip(tried, found, strict=True):
        if title in titles:
            yield _example(f"asks for “{title}”", [], f"Search for {title}")


def _unchecked(catalogue: Catalogue, reads_preferences: bool) -> list[Example]:
    """Examples whose names say what is asked, and nothing about the answer."""
    phrases = _of_distinct_kinds(catalogue.phrases())[:3]
    found = [_example(f"likes {catalogue.name(phrase)}", catalogue.history(phrase)) for phrase in phrases]
    found = found or [_example(f"after “{catalogue.titles[0]}”", [1])]
    if reads_preferences:
        title = min(catalogue.titles, key=lambda title: (len(title), title))
        found = [*found[:2], _example(f"asks for “{title}”", [], f"Search for {title}")]
    return found


# -- parts ------------------------------------------------------------------------------------------------------------


def _runs(title: str, is_word: Callable[[str], bool]) -> Iterator[list[str]]:
    """Words of the language that stand side by side: names, short words, numbers and punctuation part them."""
    run: list[str] = []
    for token in [token.casefold() for token in _TOKEN.findall(title)]:
        if token.isalpha() and len(token) > 2 and token not in _STOP_WORDS and is_word(token):
            run.append(token)
        else:
            if run:
                yield run
            run = []
    if run:
        yield run


def _word_test(tokenizer: Any) -> Callable[[str], bool]:
    """Whether a tokenizer has a word whole, as it has those of the language and not the names of brands."""
    if tokenizer is None:
        return lambda word: True
    vocabulary = tokenizer.get_vocab()
    return lambda word: any(f"{mark}{word}" in vocabulary for mark in ("", "▁", "Ġ"))


def _pairs(catalogue: Catalogue) -> list[tuple[str, str]]:
    """First and last word of phrases of three, such as "lavender (scented) candles", each word in turn."""
    phrases = [phrase for phrase in catalogue.phrases() if len(phrase) == 3]
    turns: Counter[str] = Counter()
    order = []
    for phrase in phrases:
        order.append((turns[phrase[-1]], len(order), phrase))
        turns[phrase[-1]] += 1
    return [(phrase[0], phrase[-1]) for *_, phrase in sorted(order)]


def _of_distinct_kinds(phrases: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The first phrase of each last word."""
    kinds: dict[str, tuple[str, ...]] = {}
    for phrase in phrases:
        kinds.setdefault(phrase[-1], phrase)
    return list(kinds.values())


def _frequent_others(
    titles: Sequence[str], before: Sequence[str], catalogue: Catalogue, known: set[str], fewest: int = FEW
) -> list[str]:
    """Words that some of the titles share, and not most: those first that titles `before` have, too."""
    tokens = {token.casefold() for title in titles for token in _TOKEN.findall(title)}
    words = [
        word
        for word in sorted(tokens & catalogue.counts.keys())
        if word not in known
        and fewest <= sum(has_word(title, word) for title in titles) <= min(MANY, len(titles) - FEW)
    ]
    return sorted(
        words,
        key=lambda word: (
            -sum(has_word(title, word) for title in before), -sum(has_word(title, word) for title in titles), word
        ),
    )  # fmt: skip


def _request(history: Sequence[int], preference: str = "", avoid: str = "") -> dict[str, Any]:
    request: dict[str, Any] = {"history": list(history)}
    request |= {"exclude": list(history)} if history else {}
    request |= {"preference": [preference]} if preference else {}
    return request | ({"avoid": [avoid]} if avoid else {})


def _example(name: str, history: Sequence[int], preference: str = "", avoid: str = "") -> Example:
    fields = {"history": list(history), "preference": preference, "avoid": avoid}
    return {"name": name} | {field: value for field, value in fields.items() if value}


def _repeats(example: Example, others: Sequence[Example]) -> bool:
    """Whether an example has a word of another one, words of asking aside."""
    own, known = ({word for one in several for word in _WORDS.findall(one["name"])} for several in ([example], others))
    return bool((own & known) - _ASKING)
