"""Requests of the demo, and comparison of a ranking with the one without preferences."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

NOTICEABLE = 0.5  # smallest difference of a term, in nats, that counts as a reason
NUMBERED = re.compile(r"(preference|avoid) (\d+)")  # names of the terms of texts

Item = Mapping[str, Any]


def as_avoidance(text: str) -> str:
    """Returns a negative preference as a sentence.

    >>> as_avoidance(" leather, or anything heavy ")
    'Avoid leather, or anything heavy'
    >>> as_avoidance("avoid leather")
    'avoid leather'
    """
    text = text.strip()
    if not text or text.casefold().startswith(
        ("avoid", "do not", "don't", "don’t", "never", "no ", "not ", "nothing", "without", "i ")
    ):
        return text
    return f"Avoid {text}"


def avoided_texts(text: str, read: Any = None) -> tuple[list[str], dict[str, str]]:
    """Splits the field `avoid` into single texts, with corrections of spelling.

    One text "lavender and candles" would avoid only items that are both.

    Args:
        text (`str`): Contents of the field.
        read (`Callable`, *optional*): Reads a sentence as texts with `text`, `strength` (below 0 if avoided) and
            `corrections`; defaults to none, which keeps the text as it is.

    >>> avoided_texts(" leather "), avoided_texts(" ")
    ((['leather'], {}), ([], {}))
    """
    text = text.strip()
    parts = read(as_avoidance(text)) if read is not None and text else []
    if len(parts) > 1 and all(part.strength < 0 for part in parts):
        corrections = {word: better for part in parts for word, better in part.corrections.items()}
        return [part.text for part in parts], corrections
    return [text] if text else [], {}


def make_request(
    history: Sequence[int], preference: str, avoid: Sequence[str], strength: float, exclude_history: bool
) -> dict[str, Any]:
    """Builds a request of the pipeline without empty and default fields.

    >>> make_request([3], "Look for tea", ["mugs"], 2, exclude_history=True)
    {'history': [3], 'preference': ['Look for tea'], 'avoid': ['mugs'], 'strength': [2, 2], 'exclude': [3]}
    """
    request: dict[str, Any] = {"history": list(history)}
    if preference.strip():
        request["preference"] = [preference.strip()]
    if avoid:
        request["avoid"] = list(avoid)
    if strength != 1 and "preference" in request:
        # avoided texts stay avoided, however strong the preference is
        request["strength"] = [strength, *([strength] * len(avoid) if strength > 1 else [])]
    if exclude_history and history:
        request["exclude"] = list(dict.fromkeys(history))
    return request


# -- comparisons ------------------------------------------------------------------------------------------------------


def places(ranking: Sequence[Item]) -> dict[int, int]:
    """Places from 1, by item id."""
    return {item["item_id"]: place for place, item in enumerate(ranking, start=1)}


def compare_rankings(ranking: Sequence[Item], other: Sequence[Item] | None) -> list[dict[str, Any]]:
    """A ranking with each item's place (from 1) and what became of it since another ranking.

    Args:
        ranking: Items as the pipeline gives them, best first.
        other: The ranking to compare with, or `None`.

    Returns:
        `list`: The items with `place` and `change`: places gained (negative: lost), `None` for an item that the
        other ranking lacks, 0 everywhere where there is no other ranking.

    >>> [item["change"] for item in compare_rankings([{"item_id": 7}, {"item_id": 5}], [{"item_id": 5}])]
    [None, -1]
    """
    before = places(other or ())
    placed = []
    for place, item in enumerate(ranking, start=1):
        change = 0 if other is None else before[item["item_id"]] - place if item["item_id"] in before else None
        placed.append({**item, "place": place, "change": change})
    return placed


def reasons(item: Item, usual: Mapping[str, float]) -> list[tuple[str, float]]:
    """Terms of texts in which an item differs from the usual values, with the difference, the largest first.

    >>> reasons({"terms": {"history": -9.0, "preference 1": 5.0}}, usual={"preference 1": 1.0})
    [('preference 1', 4.0)]
    """
    found = [(name, value - usual[name]) for name, value in (item.get("terms") or {}).items() if name in usual]
    return sorted(((name, by) for name, by in found if abs(by) >= NOTICEABLE), key=lambda one: -abs(one[1]))


def usual_terms(ranking: Sequence[Item], plain: Sequence[Item] | None) -> dict[str, float]:
    """Mean terms of the texts over items that are also listed without them; 0 for avoided texts."""
    listed = places(plain or ranking)
    compared = [item["terms"] for item in ranking if item["item_id"] in listed and item.get("terms")]
    names = [name for name in (compared[0] if compared else ()) if NUMBERED.fullmatch(name)]
    return {
        name: 0.0 if name.startswith("avoid") else sum(terms[name] for terms in compared) / len(compared)
        for name in names
    }


def round_to_sum(values: Sequence[float], total: float) -> list[float]:
    """Rounds values to hundredths that add up to the rounded total, each with an error of at most a hundredth.

    Values that do not add up to the total are rounded independently.

    >>> round_to_sum([1.004, 1.004, 1.004], 3.012)
    [1.01, 1.0, 1.0]
    """
    cents = [round(100 * value) for value in values]
    missing = round(100 * total) - sum(cents)
    if abs(missing) > len(values):
        return [cent / 100 for cent in cents]
    step = 1 if missing > 0 else -1
    by_error = sorted(range(len(values)), key=lambda i: step * (cents[i] - 100 * values[i]))
    for i in by_error[: abs(missing)]:
        cents[i] += step
    return [cent / 100 for cent in cents]
