"""Search for example requests in a catalog, kept if the model's answer matches their names."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from demo_catalogue import FEW, MANY, TOKEN, Catalogue, has_all, has_word, misspell, word_test

NUM_RESULTS = 10
FEWEST = 3  # smallest number of examples, completed with unchecked ones
MAX_PHRASES, MAX_WORDS, MAX_TRIES = 4, 4, 6  # bounds of the search, about 60 requests
SHARE = 0.8  # smallest share of the list, or of the catalog's matches, that must agree with a name

_WORDS = re.compile(r"\w+")
_ASKING = frozenset("likes wants no but more misspelt asks for by".split())

Example = dict[str, Any]
Ask = Callable[[Sequence[Mapping[str, Any]]], list[list[str]]]


def find_examples(
    pipe: Any, reads_preferences: bool, reads_avoid: bool, read: Callable[[str], Sequence[Any]] | None = None
) -> list[Example]:
    """Finds examples with `name`, `history`, `preference` and `avoid`, the most informative first.

    Args:
        pipe (`Pipeline`): `preference-recommendation`, with the model's processor.
        reads_preferences, reads_avoid (`bool`): Whether the model reads the field.
        read (`Callable`, *optional*): Reads a text as parts with `corrections` of spelling.

    Returns:
        `list`: At least one example for a catalog with items. A name that describes the answer is kept only if the
        answer agrees; other names describe the request alone.
    """
    titles = [item["title"] for item in pipe.processor.items]
    if not titles:
        return []
    texts = [item.get("text") or item["title"] for item in pipe.processor.items]
    catalogue = Catalogue(titles, texts, word_test(getattr(pipe.processor, "tokenizer", None)))

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
            # the last one, if its words differ from the examples before, else the first one
            found += made[-1:] if made and not _repeats(made[-1], found) else made[:1]
    if len(found) < FEWEST:
        names = {example["name"] for example in found}
        found += [one for one in _unchecked(catalogue, reads_preferences) if one["name"] not in names]
    first = next((example for example in found if "history" in example), found[0])  # its page compares two lists
    return [first, *(example for example in found if example is not first)]


# -- kinds of examples ------------------------------------------------------------------------------------------------


def _combined(catalogue: Catalogue, ask: Ask, reads_avoid: bool) -> Iterator[Example]:
    """A history, a preference for another kind, and an avoided word of the answer: "likes A, wants B, no C"."""
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
            # a list that agrees with the history as well as with the preference is more informative
            good.append((-share - min(same, 0.5) - before, phrase, word, others))
    good.sort(key=lambda one: one[0])
    if reads_avoid:
        asked = [(phrase, word, other) for _, phrase, word, others in good[:MAX_TRIES] for other in others[:1]]
        checked = (
            ask(
                [_request(catalogue.history(phrase), f"I'd like {word}", avoid=other) for phrase, word, other in asked]
            )
            if asked
            else []
        )
        for (phrase, word, other), titles in zip(asked, checked, strict=True):
            share = sum(has_word(title, word) for title in titles) / len(titles)
            if share >= SHARE and not any(has_word(title, other) for title in titles):
                name = f"likes {catalogue.name(phrase)}, wants {word}, no {other}"
                yield _example(name, catalogue.history(phrase), f"I'd like {word}", other)
    for _, phrase, word, _ in good:
        yield _example(f"likes {catalogue.name(phrase)}, wants {word}", catalogue.history(phrase), f"I'd like {word}")


def _preferences_alone(catalogue: Catalogue, ask: Ask) -> Iterator[Example]:
    """Two words that are never adjacent: the items that have both lead the list."""
    for first, last in _pairs(catalogue)[:MAX_TRIES]:
        text = f"Search for {first} {catalogue.several(last)}"
        wanted = min(NUM_RESULTS, len(catalogue.titles_with(first, last)))
        if all(has_all(title, (first, last)) for title in ask([_request([], text)])[0][:wanted]):
            yield _example(f"wants {first} {catalogue.several(last)}", [], text)


def _no_more(catalogue: Catalogue, ask: Ask) -> Iterator[Example]:
    """A history, and no more of its kind."""
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
    """A misspelled sentence with a wanted and an avoided word, or else with a wanted one only."""
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
    for is_plain in (False, True):  # those with an avoided word first
        for _, first, last, other, text in [one for one in asked if one[0] == is_plain][:MAX_TRIES]:
            titles = ask([_request([], text)])[0]
            wanted = [title for title in catalogue.titles_with(first, last) if not (other and has_word(title, other))]
            leads = all(has_all(title, (first, last)) for title in titles[: min(NUM_RESULTS, len(wanted))])
            if len(wanted) >= FEW and leads and not any(other and has_word(title, other) for title in titles):
                yield _example(f"misspelt: “{text}”", [], text)


def _titles(catalogue: Catalogue, ask: Ask) -> Iterator[Example]:
    """One item by its title, the shortest titles first."""
    counts = Counter(catalogue.titles)
    several = [title for title, count in counts.items() if count == 1 and len(title.split()) > 1]
    tried = sorted(several, key=lambda title: (len(title.split()) < 3, len(title), title))[:MAX_TRIES]
    found = ask([_request([], f"Search for {title}") for title in tried]) if tried else []
    for title, titles in zip(tried, found, strict=True):
        if title in titles:
            yield _example(f"asks for “{title}”", [], f"Search for {title}")


def _unchecked(catalogue: Catalogue, reads_preferences: bool) -> list[Example]:
    """Examples whose names describe the request alone."""
    phrases = _of_distinct_kinds(catalogue.phrases())[:3]
    found = [_example(f"likes {catalogue.name(phrase)}", catalogue.history(phrase)) for phrase in phrases]
    found = found or [_example(f"after “{catalogue.titles[0]}”", [1])]
    if reads_preferences:
        title = min(catalogue.titles, key=lambda title: (len(title), title))
        found = [*found[:2], _example(f"asks for “{title}”", [], f"Search for {title}")]
    return found


# -- parts ------------------------------------------------------------------------------------------------------------


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
    """First phrase of each last word."""
    kinds: dict[str, tuple[str, ...]] = {}
    for phrase in phrases:
        kinds.setdefault(phrase[-1], phrase)
    return list(kinds.values())


def _frequent_others(
    titles: Sequence[str], before: Sequence[str], catalogue: Catalogue, known: set[str], fewest: int = FEW
) -> list[str]:
    """Words that several of the titles share, but not most; those that titles `before` have as well first."""
    tokens = {token.casefold() for title in titles for token in TOKEN.findall(title)}
    words = [
        word
        for word in sorted(tokens & catalogue.counts.keys())
        if word not in known
        and fewest <= sum(has_word(title, word) for title in titles) <= min(MANY, len(titles) - FEW)
    ]
    return sorted(
        words,
        key=lambda word: (
            -sum(has_word(title, word) for title in before),
            -sum(has_word(title, word) for title in titles),
            word,
        ),
    )


def _request(history: Sequence[int], preference: str = "", avoid: str = "") -> dict[str, Any]:
    """A request of the pipeline that excludes the history."""
    request: dict[str, Any] = {"history": list(history)}
    request |= {"exclude": list(history)} if history else {}
    request |= {"preference": [preference]} if preference else {}
    return request | ({"avoid": [avoid]} if avoid else {})


def _example(name: str, history: Sequence[int], preference: str = "", avoid: str = "") -> Example:
    """An example without empty fields."""
    fields = {"history": list(history), "preference": preference, "avoid": avoid}
    return {"name": name} | {field: value for field, value in fields.items() if value}


def _repeats(example: Example, others: Sequence[Example]) -> bool:
    """Whether the name of an example has a word of another name, apart from words of requests."""
    own, known = ({word for one in several for word in _WORDS.findall(one["name"])} for several in ([example], others))
    return bool((own & known) - _ASKING)
