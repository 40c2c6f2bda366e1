"""Asks: preferences with the items that satisfy them and the items that they avoid."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .attributes import Attributes, stem, stems
from .wordings import FREE, LANGUAGES, SEEN, UNSEEN

KINDS_ASKED = 12
"""Maximum of requested kinds."""
PER_KIND_OF_ASK = 30
"""Maximum of requested pairs of value and kind, of titles and of values."""
MIN_PAIR_ITEMS = 2
"""Minimum of items of a pair of value and kind, and of a kind without a value."""

ASK_KINDS = (
    "search kind",
    "search value and kind",
    "several wishes",
    "exact title",
    "free",
    "misspelt",
    "other language",
    "mixed",
    "mixed, two arguments",
    "avoid kind",
    "avoid value",
    "avoid kind, argument",
)
"""Every kind of ask. An argument is the request's field `avoid`; every other ask is one sentence."""


@dataclass(frozen=True)
class Ask:
    """One request, and the expected answer.

    Attributes:
        kind (`str`): One of `ASK_KINDS`.
        wording (`int`): Index of the sentence among those of its kind.
        is_seen (`bool`): Whether the sentence, with other words in it, may be in the training data.
        preference (`tuple[str, ...]`): Preferences; a sentence may also contain an aversion.
        avoid (`tuple[str, ...]`): Aversions, as a field of their own.
        strength (`float`, *optional*): Strength of preferences and aversions; the model's own by default.
        history (`tuple[int, ...]`): Item ids, oldest first; empty for none.
        obeys (`frozenset[int]`): Items that satisfy the ask.
        avoided (`frozenset[int]`): Items that should not be recommended.
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
        """Whether it has aversions only."""
        return self.kind.startswith("avoid")

    @property
    def sentence(self) -> str:
        """The whole ask as one text, for models that read a single sentence.

        >>> Ask("mixed, two arguments", 0, True, ("Search for candles",), ("lavender",)).sentence
        'Search for candles. Avoid lavender'
        """
        return ". ".join((*self.preference, *(f"Avoid {text}" for text in self.avoid)))


@dataclass(frozen=True)
class _Case:
    """Values of a wording's placeholders, with the items that satisfy the filled sentence."""

    x: str
    obeys: frozenset[int]
    avoided: frozenset[int] = frozenset()
    y: str = ""


def make_asks(attributes: Attributes, seed: int = 0) -> list[Ask]:
    """Makes asks of every kind, without history; the same for the same attributes and seed.

    A kind of item is requested in every wording. All other cases are more numerous; each is requested in the wordings
    that training may have seen and in one that it has not, in turn.

    Args:
        attributes ([`Attributes`]): Attributes of the items.
        seed (`int`, defaults to 0): Random seed of the draws.

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
    combinations = draw(5)
    wanted = [_Case(value, attributes.values[value]) for value in values]
    unwanted_kinds = [_all_but(attributes, kind, attributes.kinds[kind]) for kind in kinds]
    unwanted_values = [_all_but(attributes, value, attributes.values[value]) for value in values]
    return [
        *_every_wording("search kind", searches, SEEN["search"], UNSEEN["search"]),
        *_in_turn("search value and kind", both, SEEN["search"], UNSEEN["search"]),
        *(_several_preferences(attributes, value, kind, combinations) for value, kind in pairs),
        *_in_turn("exact title", titles, SEEN["search"], UNSEEN["title"]),
        *_free(attributes),
        *_in_turn("free", wanted, (), UNSEEN["value"], first=len(FREE)),
        *_in_turn("misspelt", _misspelt(attributes, pairs, draw(4)), SEEN["search"], UNSEEN["search"]),
        *_other_languages(attributes),
        *_in_turn("mixed", mixed, SEEN["mixed"], UNSEEN["mixed"]),
        *(_as_arguments("mixed, two arguments", case, (f"Search for {case.x}",), case.y) for case in mixed),
        *_every_wording("avoid kind", unwanted_kinds, SEEN["avoid"], UNSEEN["avoid"]),
        *_in_turn("avoid value", unwanted_values, SEEN["avoid"][:1], UNSEEN["avoid"]),
        *(_as_arguments("avoid kind, argument", case, (), case.x) for case in unwanted_kinds),
    ]


def avoid_what_comes(attributes: Attributes, history: Sequence[int], own: Sequence[int], target: int) -> Ask | None:
    """Makes an ask that avoids the most frequent kind of the history's own list other than the target's.

    Args:
        attributes ([`Attributes`]): Attributes of the items.
        history (`Sequence[int]`): Item ids, oldest first.
        own (`Sequence[int]`): The first items of the answer to this history alone.
        target (`int`): The true next item.

    Returns:
        [`Ask`], *optional*: `None` if the list has no kind but the target's.
    """
    places = {
        kind: sum(item in members for item in own)
        for kind, members in attributes.kinds.items()
        if target not in members
    }
    kind = max(places, key=lambda name: places[name], default="")
    if not places.get(kind):
        return None
    case = _all_but(attributes, kind, attributes.kinds[kind])
    return replace(_as_arguments("avoid kind, argument", case, (), kind), history=tuple(history))


def with_histories(asks: Iterable[Ask], histories: Sequence[Sequence[int]]) -> list[Ask]:
    """Returns every ask without history, then all of them with each history.

    >>> [ask.history for ask in with_histories([Ask("free", 0, False)], [[3, 1]])]
    [(), (3, 1)]
    """
    asks = list(asks)
    return [replace(ask, history=tuple(history)) for history in ((), *histories) for ask in asks]


def misspell(word: str, generator: np.random.Generator, known: Callable[[str], bool]) -> str:
    """Makes one edit in a word, never in its first letter: a letter doubled, left out, replaced, or two swapped.

    Args:
        word (`str`): A word of at least three letters.
        generator (`np.random.Generator`): Random generator of the edits.
        known (`Callable[[str], bool]`): Whether a word is in the vocabulary; the misspelled word is not.

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


def _several_preferences(attributes: Attributes, value: str, kind: str, generator: np.random.Generator) -> Ask:
    """Asks for a kind of item and one to three values that one of its items has, each as a separate preference."""
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
    """Fills every wording of `seen` and one of `unseen` with each case; wordings are numbered from `first`."""
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
    """The free sentences of the sample shop that some item satisfies."""
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
        if len(right) < 4:  # three letters with one edit are ambiguous
            continue
        wrong = misspell(right, generator, lambda word: stem(word) in vocabulary)
        text = f"{value} {kind.replace(right, wrong)}" if place % 2 else f"{wrong} {kind}"
        cases.append(_Case(text, attributes.values[value] & attributes.kinds[kind]))
    return cases


def _without(attributes: Attributes, kind: str, value: str) -> _Case | None:
    """A kind without a value; `None` if too few items are left."""
    having = attributes.values[value]
    left = attributes.kinds[kind] - having
    return _Case(kind, left, having, value) if len(left) >= MIN_PAIR_ITEMS else None


def _all_but(attributes: Attributes, name: str, avoided: frozenset[int]) -> _Case:
    return _Case(name, attributes.everything - avoided, avoided)


def _titled(attributes: Attributes, title: str) -> frozenset[int]:
    return frozenset(number for number, other in enumerate(attributes.titles, start=1) if other == title)


def _draw_titles(attributes: Attributes, generator: np.random.Generator) -> list[str]:
    """Draws titles of at least two words, since a single word is a value."""
    return _choose(
        sorted({title for title in attributes.titles if len(title.split()) > 1}), PER_KIND_OF_ASK, generator
    )


def _draw_pairs(attributes: Attributes, kinds: Sequence[str], generator: np.random.Generator) -> list[tuple[str, str]]:
    """Draws pairs of a value and a kind that some items have both, as evenly over the kinds as possible."""
    waiting = {}
    for kind in kinds:
        said, members = set(stems(kind)), attributes.kinds[kind]
        values = [
            value
            for value, having in attributes.values.items()
            if len(having & members) >= MIN_PAIR_ITEMS and not members <= having and said.isdisjoint(stems(value))
        ]
        waiting[kind] = [values[index] for index in generator.permutation(len(values))]
    pairs: list[tuple[str, str]] = []
    while len(pairs) < PER_KIND_OF_ASK and any(waiting.values()):
        pairs += [(values.pop(), kind) for kind, values in waiting.items() if values]
    return pairs[:PER_KIND_OF_ASK]


def _choose(names: Sequence[str], count: int, generator: np.random.Generator) -> list[str]:
    """Draws at most `count` names, in the given order."""
    if len(names) <= count:
        return list(names)
    return [names[index] for index in np.sort(generator.choice(len(names), count, replace=False))]
