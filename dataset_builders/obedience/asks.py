"""Asks: preferences as data, each with the items that obey it and the items that it avoids.

Knows what items are and how people word things. Leaves the answers to models, and their scores to `metrics.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .attributes import Attributes, stem, stems
from .wordings import FREE, LANGUAGES, SEEN, UNSEEN

KINDS_ASKED = 12
"""Kinds that are asked for, at most."""
PER_KIND_OF_ASK = 30
"""Pairs of value and kind, titles and values that are asked for, at most."""
MIN_PAIR_ITEMS = 2
"""Items that a pair of value and kind has at least, and that are left of a kind without a value."""

ASK_KINDS = (
    "search kind", "search value and kind", "several wishes", "exact title", "free", "misspelt", "other language",
    "mixed", "mixed, two arguments", "avoid kind", "avoid value", "avoid kind, argument",
)  # fmt: skip
"""Every kind of ask. An argument is the request's field `avoid`; everything else is one sentence."""


@dataclass(frozen=True)
class Ask:
    """One request, and what to expect of its answer.

    Attributes:
        kind (`str`): One of `ASK_KINDS`.
        wording (`int`): Number of the sentence among those of its kind.
        is_seen (`bool`): Whether training may have seen the sentence with other words in it.
        preference (`tuple[str, ...]`): What is wanted, in words; a sentence may also say what is not.
        avoid (`tuple[str, ...]`): What is not wanted, in words, as an argument of its own.
        strength (`float`, *optional*): Of all of them; defaults to the model's own.
        history (`tuple[int, ...]`): Item ids, oldest first; none where empty.
        obeys (`frozenset[int]`): Items that are what was asked for.
        avoided (`frozenset[int]`): Items that should not come back.
    """

    kind: str
    wording: int
    is_seen: bool
    preference: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    strength: float | None = None
    history: tuple[int, ...] = ()
    obeys: frozenset[int] = frozenset()
    avoided: frozenset[int] = frozenset()

    @property
    def only_avoids(self) -> bool:
        """Whether it says nothing but what is not wanted."""
        return self.kind.startswith("avoid")

    @property
    def sentence(self) -> str:
        """The whole ask in words, for those that read one sentence.

        >>> Ask("mixed, two arguments", 0, True, ("Search for candles",), ("lavender",)).sentence
        'Search for candles. Avoid lavender'
        """
        return ". ".join((*self.preference, *(f"Avoid {text}" for text in self.avoid)))


@dataclass(frozen=True)
class _Case:
    """What a sentence is filled with, and what then obeys."""

    x: str
    obeys: frozenset[int]
    avoided: frozenset[int] = frozenset()
    y: str = ""


def make_asks(attributes: Attributes, seed: int = 0) -> list[Ask]:
    """Asks of every kind, without history; the same for the same attributes and seed.

    A kind of item is asked for in every wording. Of everything else there are more cases, and each is asked for in the
    first wording that training may have seen and in one that it has not, in turn.

    Args:
        attributes ([`Attributes`]): What items are.
        seed (`int`, defaults to 0): Of the draws.

    Returns:
        `list[Ask]`: In the order of `ASK_KINDS`; "other language" for the sample shop alone.
    """

    def draw(stage: int) -> np.random.Generator:
        return np.random.default_rng([seed, stage])

    kinds = _choose(list(attributes.kinds), KINDS_ASKED, draw(0))
    pairs = _draw_pairs(attributes, kinds, draw(1))
    searches = [_Case(kind, attributes.kinds[kind]) for kind in kinds]
    titles = [_Case(title, _titled(attributes, title)) for title in _draw_titles(attributes, draw(2))]
    mixed = [case for value, kind in pairs if (case := _without(attributes, kind, value)) is not None]
    values = _choose(list(attributes.values), PER_KIND_OF_ASK, draw(3))
    both = [_Case(f"{value} {kind}", attributes.values[value] & attributes.kinds[kind]) for value, kind in pairs]
    wishes = draw(5)
    wanted = [_Case(value, attributes.values[value]) for value in values]
    unwanted = [[_all_but(attributes, name, having[name]) for name in names]
                for names, having in ((kinds, attributes.kinds), (values, attributes.values))]  # fmt: skip
    return [
        *_every_wording("search kind", searches, SEEN["search"], UNSEEN["search"]),
        *_in_turn("search value and kind", both, SEEN["search"], UNSEEN["search"]),
        *(_several_wishes(attributes, value, kind, wishes) for value, kind in pairs),
        *_in_turn("exact title", titles, SEEN["search"], UNSEEN["title"]),
        *_free(attributes),
        *_in_turn("free", wanted, (), UNSEEN["value"], first=len(FREE)),
        *_in_turn("misspelt", _misspelt(attributes, pairs, draw(4)), SEEN["search"], UNSEEN["search"]),
        *_other_languages(attributes),
        *_in_turn("mixed", mixed, SEEN["mixed"], UNSEEN["mixed"]),
        *(_as_arguments("mixed, two arguments", case, (f"Search for {case.x}",), case.y) for case in mixed),
        *_every_wording("avoid kind", unwanted[0], SEEN["avoid"], UNSEEN["avoid"]),
        *_in_turn("avoid value", unwanted[1], SEEN["avoid"][:1], UNSEEN["avoid"]),
        *(_as_arguments("avoid kind, argument", case, (), case.x) for case in unwanted[0]),
    ]


def avoid_what_comes(attributes: Attributes, history: Sequence[int], own: Sequence[int], target: int) -> Ask | None:
    """An ask that avoids the kind that takes most places of the history's own list and is not the target's.

    Args:
        attributes ([`Attributes`]): What items are.
        history (`Sequence[int]`): Item ids, oldest first.
        own (`Sequence[int]`): The first items of the answer to this history alone.
        target (`int`): The true next item.

    Returns:
        [`Ask`], *optional*: `None` where the list has no kind but the target's.
    """
    places = {
        kind: sum(item in members for item in own)
        for kind, members in attributes.kinds.items() if target not in members
    }  # fmt: skip
    kind = max(places, key=lambda name: places[name], default="")
    if not places.get(kind):
        return None
    case = _all_but(attributes, kind, attributes.kinds[kind])
    return replace(_as_arguments("avoid kind, argument", case, (), kind), history=tuple(history))


def with_histories(asks: Iterable[Ask], histories: Sequence[Sequence[int]]) -> list[Ask]:
    """Every ask without history, then all of them over each history.

    >>> [ask.history for ask in with_histories([Ask("free", 0, False)], [[3, 1]])]
    [(), (3, 1)]
    """
    asks = list(asks)
    return [replace(ask, history=tuple(history)) for history in ((), *histories) for ask in asks]


def misspell(word: str, generator: np.random.Generator, known: Callable[[str], bool]) -> str:
    """One edit in a word, never in its first letter: a letter doubled, left out, replaced, or two of them swapped.

    Args:
        word (`str`): Of at least three letters.
        generator (`np.random.Generator`): Of the draws.
        known (`Callable[[str], bool]`): Whether a word means something; the misspelt one does not.

    Raises:
        ValueError: If the word has fewer than three letters.
    """
    if len(word) < 3:
        raise ValueError(f"{word!r} has {len(word)} letters; a word to misspell needs 3.")
    while True:
        place = int(generator.integers(1, len(word) - 1))
        head, letter, tail = word[:place], word[place], word[place + 1 :]
        other = "abcdefghijklmnopqrstuvwxyz"[generator.integers(26)]
        edits = (head + letter * 2 + tail, head + tail, head + other + tail, head + tail[0] + letter + tail[1:])
        wrong = edits[generator.integers(len(edits))]
        if wrong != word and not known(wrong):
            return wrong


def _every_wording(kind: str, cases: Iterable[_Case], seen: Sequence[str], unseen: Sequence[str]) -> list[Ask]:
    wordings = [*seen, *unseen]
    return [
        _word(kind, case, number, text, number < len(seen)) for case in cases for number, text in enumerate(wordings)
    ]


def _several_wishes(attributes: Attributes, value: str, kind: str, generator: np.random.Generator) -> Ask:
    """A kind of item, and one to three values that one of its items has, each a preference of its own."""
    obeys = attributes.kinds[kind] & attributes.values[value]
    item = int(generator.choice(sorted(obeys)))
    others = [name for name, having in attributes.values.items() if item in having and name not in (value, kind)]
    chosen = [value, *_choose(others, 2, generator)]
    for name in chosen:
        obeys &= attributes.values[name]
    return Ask("several wishes", 0, True, (f"Search for {kind}", *chosen), obeys=obeys)


def _in_turn(
    kind: str, cases: Iterable[_Case], seen: Sequence[str], unseen: Sequence[str], first: int = 0
) -> list[Ask]:
    """Each case in every wording of `seen` and in one of `unseen`; wordings are numbered from `first`."""
    asks = []
    for place, case in enumerate(cases):
        asks += [_word(kind, case, first + number, text, True) for number, text in enumerate(seen)]
        number = place % len(unseen)
        asks.append(_word(kind, case, first + len(seen) + number, unseen[number], False))
    return asks


def _word(kind: str, case: _Case, number: int, text: str, is_seen: bool) -> Ask:
    preference = text.format(x=case.x, y=case.y)
    return Ask(kind, number, is_seen, (preference,), obeys=case.obeys, avoided=case.avoided)


def _as_arguments(kind: str, case: _Case, preference: tuple[str, ...], avoid: str) -> Ask:
    return Ask(kind, 0, True, preference, (avoid,), obeys=case.obeys, avoided=case.avoided)


def _free(attributes: Attributes) -> list[Ask]:
    """The free sentences of the sample shop, those that some item obeys."""
    if not attributes.are_planted:
        return []
    asks = []
    for number, (text, kinds, values) in enumerate(FREE):
        obeys = frozenset().union(*(attributes.kinds.get(kind, frozenset()) for kind in kinds or attributes.kinds))
        for value in values:
            obeys &= attributes.values.get(value, frozenset())
        if obeys:
            asks.append(_word("free", _Case("", obeys), number, text, False))
    return asks


def _other_languages(attributes: Attributes) -> list[Ask]:
    """Every kind of the sample shop in every language, the wordings of each in turn."""
    if not attributes.are_planted:
        return []
    asks = []
    for number, language in enumerate(LANGUAGES.values()):
        wordings = language.wordings
        for place, kind in enumerate(attributes.kinds):
            case, turn = _Case(language.kinds[kind], attributes.kinds[kind]), place % len(wordings)
            asks.append(_word("other language", case, number * len(wordings) + turn, wordings[turn], is_seen=False))
    return asks


def _misspelt(attributes: Attributes, pairs: Sequence[tuple[str, str]], generator: np.random.Generator) -> list[_Case]:
    """Value and kind with one edit, in the value and in the longest word of the kind in turn."""
    vocabulary = frozenset().union(*attributes.words)
    cases = []
    for place, (value, kind) in enumerate(pairs):
        right = max(kind.split(), key=len) if place % 2 else value
        if len(right) < 4:  # three letters with one edit are anything
            continue
        wrong = misspell(right, generator, lambda word: stem(word) in vocabulary)
        text = f"{value} {kind.replace(right, wrong)}" if place % 2 else f"{wrong} {kind}"
        cases.append(_Case(text, attributes.values[value] & attributes.kinds[kind]))
    return cases


def _without(attributes: Attributes, kind: str, value: str) -> _Case | None:
    """A kind but not a value; `None` if that leaves too few."""
    having = attributes.values[value]
    left = attributes.kinds[kind] - having
    return _Case(kind, left, having, value) if len(left) >= MIN_PAIR_ITEMS else None


def _all_but(attributes: Attributes, name: str, avoided: frozenset[int]) -> _Case:
    return _Case(name, attributes.everything - avoided, avoided)


def _titled(attributes: Attributes, title: str) -> frozenset[int]:
    return frozenset(number for number, other in enumerate(attributes.titles, start=1) if other == title)


def _draw_titles(attributes: Attributes, generator: np.random.Generator) -> list[str]:
    """Titles of at least two words: one word is a value."""
    return _choose(
        sorted({title for title in attributes.titles if len(title.split()) > 1}), PER_KIND_OF_ASK, generator
    )


def _draw_pairs(attributes: Attributes, kinds: Sequence[str], generator: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs of a value and a kind that some items have both, as evenly over the kinds as these allow."""
    waiting = {}
    for kind in kinds:
        said, members = set(stems(kind)), attributes.kinds[kind]
        values = [
            value for value, having in attributes.values.items()
            if len(having & members) >= MIN_PAIR_ITEMS and not members <= having and said.isdisjoint(stems(value))
        ]  # fmt: skip
        waiting[kind] = [values[index] for index in generator.permutation(len(values))]
    pairs: list[tuple[str, str]] = []
    while len(pairs) < PER_KIND_OF_ASK and any(waiting.values()):
        pairs += [(values.pop(), kind) for kind, values in waiting.items() if values]
    return pairs[:PER_KIND_OF_ASK]


def _choose(names: Sequence[str], count: int, generator: np.random.Generator) -> list[str]:
    """At most `count` names, in the order given."""
    if len(names) <= count:
        return list(names)
    return [names[index] for index in np.sort(generator.choice(len(names), count, replace=False))]
