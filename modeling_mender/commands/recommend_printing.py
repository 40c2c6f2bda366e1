"""Printing of the command recommend: the request, how its texts were read, and the items with their terms."""

import json
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from typing import Any

from ..escaping import printable
from ..serving.title_search import search, suggest

SAME_FOR_ALL = "normalization"  # term that is the same for every item of a request


def print_request(request: dict[str, Any], titles: Sequence[str]) -> None:
    """Prints the request, with the titles of the history."""
    for item in request["history"]:
        print(f"{'history':<12}{item:>7}  {printable(titles[item - 1])}")
    texts = [(name, text) for name in ("preference", "avoid") for text in request[name] or []]
    strength = request["strength"]
    strengths = strength if isinstance(strength, list) else [strength] * len(texts)
    for (name, text), given in zip_longest(texts, strengths):
        print_text(name, text, given)
    if not request["preference"]:
        print_text("preference", "none")


def print_reading(processor: Any, request: dict[str, Any], as_terms: bool) -> None:
    """Prints how the processor parsed the texts, under the names of their terms.

    Args:
        processor: Processor whose `read` returns the items of each request, and texts with `text`, `strength` and
            `corrections`.
        request (`dict`): Request of the pipeline.
        as_terms (`bool`): Whether to print every text, not only those that differ from the request.
    """
    fields = ("preference", "avoid", "strength")
    ((_, read),) = processor.read([request["history"]], *([request[name]] for name in fields))
    given = {text for field in fields[:2] for text in request[field] or []}
    for name, sign in (("preference", 1), ("avoid", -1)):
        for number, text in enumerate([text for text in read if text.strength * sign > 0], start=1):
            corrected = ", ".join(f"{new} for {written}" for written, new in text.corrections.items())
            if as_terms or text.text not in given:
                note = f" ({corrected})" if corrected else ""
                print_text(f"{name} {number}", f"read as {text.text!r}{note}", abs(text.strength))
    for text in dict.fromkeys(text.text.casefold() for text in read if text.strength == 0):
        print_text("note", f"{text!r} is wanted and avoided at once; only the difference counts")


def print_text(name: str, text: str, strength: float | None = None) -> None:
    print(f"{name:<12} {'' if strength is None else f'x {strength:g}':>6}  {printable(text)}")


def print_items(items: Sequence[dict[str, Any]]) -> None:
    """Prints the items, best first, with the terms of their scores if there are any."""
    print(f"{'rank':>4}  {'score':>7} {'item':>6}  title")
    for rank, item in enumerate(items, start=1):
        print(f"{rank:>4}  {item['score']:7.3f} {item['item_id']:>6}  {printable(item['title'])}")
        if "terms" in item:
            terms = {name: value for name, value in item["terms"].items() if name != SAME_FOR_ALL}
            rest = item["score"] - sum(terms.values())
            print(f"{'':>22}{', '.join(f'{name} {round(value, 3) + 0:+.3f}' for name, value in terms.items())}")
    if items and "terms" in items[0]:
        same = f", and {rest:+.3f} for every item" if abs(rest) >= 0.0005 else ""
        print(f"A score is the sum of its terms{same}.")


def print_found(titles: Sequence[str], words: str, as_json: bool = False, removed: Collection[int] = ()) -> None:
    """Prints the items of a search, or those with similar titles; as JSON the former alone."""
    found = search(titles, words, removed)
    if as_json:
        items = [{"item_id": item, "title": titles[item - 1]} for item in found]
        print(json.dumps({"search": words, "items": items}, ensure_ascii=False, indent=2))
        return
    if not found:
        found = [item for item in suggest(titles, words) if item not in removed]
        print(f"no title has all of these words{'; did you mean' if found else ''}")
    print_titles(titles, found)


def print_titles(titles: Sequence[str], items: Iterable[int]) -> None:
    for item in items:
        print(f"{item:>7}  {printable(titles[item - 1])}")
