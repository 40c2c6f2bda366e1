"""Scores of answers to asks: satisfied preferences, avoided items, and what is kept of the history's own list.

Every score is a mean over lists with its Wilson interval; the lists of one sentence over several histories are not
independent, so an interval tends to be too narrow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ranking_metrics import ndcg_at_k
from ..scoring.significance import bootstrap_intervals, wilson_interval
from .asks import ASK_KINDS, Ask

DEPTH = 10
"""Number of items of a list that are scored."""
SHORT = 5
"""Number of first items, visible without scrolling."""

MAIN_MEASURE = {
    "search kind": f"obeying@{SHORT}",
    "exact title": "first",
    "avoid kind": f"avoided@{SHORT}",
    "avoid value": f"avoided@{SHORT}",
    "avoid kind, argument": f"avoided@{SHORT}",
}
"""Main measure of a kind of ask; "found" for all others."""


def share(ranked: Sequence[int], items: frozenset[int], k: int) -> float:
    """Share of the first `k` places with these items; places beyond the end of a short list count too."""
    return sum(item in items for item in ranked[:k]) / k


def found(ranked: Sequence[int], items: frozenset[int], k: int = DEPTH) -> float:
    """Share of the first n places with these items, n = min(k, number of items).

    >>> found([4, 7, 9], frozenset({7, 9}))  # two items, so two places count
    0.5
    """
    return share(ranked, items, min(k, len(items)))


def list_values(ask: Ask, ranked: Sequence[int], own: Sequence[int] | None = None) -> dict[str, float]:
    """Computes every score of one list.

    Args:
        ask ([`Ask`]): The ask.
        ranked (`Sequence[int]`): The first ten items of the answer, or more.
        own (`Sequence[int]`, *optional*): The answer to the same request without preference, if there is one.

    Returns:
        `dict[str, float]`: The applicable ones of `obeying@5`, `obeying@10`, `found`; `first` and `among@10` for an
        exact title; `avoided@5`, `avoided@10`, and of the own list `avoided_before@5`, `avoided_before@10`; for an ask
        of aversions only also `kept`, the share of the own list's other items that are still among the first ten, and
        `order_kept`, whether these, if there are two or more, are still in the same order.
    """
    values: dict[str, float] = {}
    if not ask.only_avoids:
        values |= {f"obeying@{k}": share(ranked, ask.obeys, k) for k in (SHORT, DEPTH)}
        values["found"] = found(ranked, ask.obeys)
    if ask.kind == "exact title":
        values["first"] = float(bool(ranked) and ranked[0] in ask.obeys)
        values[f"among@{DEPTH}"] = float(not ask.obeys.isdisjoint(ranked[:DEPTH]))
    if ask.avoided:
        values |= {f"avoided@{k}": share(ranked, ask.avoided, k) for k in (SHORT, DEPTH)}
        if own is not None:
            values |= {f"avoided_before@{k}": share(own, ask.avoided, k) for k in (SHORT, DEPTH)}
    if ask.only_avoids and own is not None:
        others = [item for item in own[:DEPTH] if item not in ask.avoided]
        places = [place for item in others if (place := _place(ranked[:DEPTH], item)) is not None]
        if others:
            values["kept"] = len(places) / len(others)
        if len(places) > 1:
            values["order_kept"] = float(places == sorted(places))
    return values


def summarize(
    asks: Sequence[Ask],
    answers: Sequence[Sequence[int] | None],
    own_lists: Mapping[tuple[int, ...], Sequence[int]],
) -> dict[str, Any]:
    """Averages over lists by kind of ask, by whether training may have seen the sentence, and by history.

    Args:
        asks (`Sequence[Ask]`): Asks with and without history.
        answers (`Sequence`): Ranked item ids of each; `None` for no answer.
        own_lists (`Mapping`): History -> the answer without preference.

    Returns:
        `dict`: Kind -> `seen` or `unseen` -> `without_history` or `with_history` -> measure -> `mean`, `low`, `high`,
        `lists`. Groups without a list are left out.
    """
    rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for ask, ranked in zip(asks, answers, strict=True):
        if ranked is not None:
            key = (ask.kind, "seen" if ask.is_seen else "unseen", _side(ask))
            rows.setdefault(key, []).append(list_values(ask, ranked, own_lists.get(ask.history)))
    summary: dict[str, Any] = {}
    for kind, seen, side in sorted(rows, key=lambda key: (ASK_KINDS.index(key[0]), *key[1:])):
        values = rows[kind, seen, side]
        names = dict.fromkeys(name for one in values for name in one)
        summary.setdefault(kind, {}).setdefault(seen, {})[side] = {
            name: _mean([one[name] for one in values if name in one]) for name in names
        }
    return summary


def by_wording(asks: Sequence[Ask], answers: Sequence[Sequence[int] | None]) -> dict[str, dict[str, Any]]:
    """Averages the main measure of every wording over all lists: kind -> number -> an example and the mean."""
    rows: dict[str, dict[str, Any]] = {}
    for ask, ranked in zip(asks, answers, strict=True):
        if ranked is not None:
            entry = rows.setdefault(ask.kind, {}).setdefault(str(ask.wording), {"example": ask.sentence, "values": []})
            entry["values"].append(list_values(ask, ranked)[main_measure(ask.kind)])
    return {
        kind: {
            number: {"example": entry["example"], **_mean(entry["values"])}
            for number, entry in sorted(entries.items(), key=lambda pair: int(pair[0]))
        }
        for kind, entries in rows.items()
    }


def main_measure(kind: str) -> str:
    """Main measure of a kind of ask."""
    return MAIN_MEASURE.get(kind, "found")


def suppression(
    asks: Sequence[Ask],
    targets: Sequence[int],
    answers: Sequence[Sequence[int]],
    own_lists: Mapping[tuple[int, ...], Sequence[int]],
) -> dict[str, float]:
    """Computes one point of a curve: remaining avoided items, kept other items, and NDCG@10 of the true next items.

    Args:
        asks (`Sequence[Ask]`): Asks that avoid, each over a history.
        targets (`Sequence[int]`): The true next item of each.
        answers (`Sequence`): Ranked item ids of each.
        own_lists (`Mapping`): History -> the answer without preference.

    Returns:
        `dict`: Means of `avoided@10`, `kept` (as in [`list_values`]) and `ndcg@10`, the bootstrap interval of the
        last, and `lists`.
    """
    gains = ndcg_at_k(answers, targets, DEPTH)[:, None]
    values = [list_values(ask, ranked, own_lists[ask.history]) for ask, ranked in zip(asks, answers, strict=True)]
    kept = [one["kept"] for one in values if "kept" in one]
    (low,), (high,) = bootstrap_intervals(gains, np.random.default_rng(0))
    return {
        f"avoided@{DEPTH}": float(np.mean([one[f"avoided@{DEPTH}"] for one in values])),
        "kept": float(np.mean(kept)) if kept else 1.0,
        f"ndcg@{DEPTH}": float(gains.mean()),
        "ndcg_low": float(low),
        "ndcg_high": float(high),
        "lists": len(values),
    }


def at_equal_suppression(
    points: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]
) -> list[float | None]:
    """Interpolates NDCG@10 of another curve linearly at each point's share of avoided items.

    >>> curve = [{"avoided@10": 0.5, "ndcg@10": 0.5}, {"avoided@10": 0.0, "ndcg@10": 0.25}]
    >>> at_equal_suppression([{"avoided@10": 0.25}, {"avoided@10": 0.75}], curve)
    [0.375, None]
    """
    best: dict[float, float] = {}
    for other in others:  # a curve may reach one suppression twice; the better point counts
        left, gain = other[f"avoided@{DEPTH}"], other[f"ndcg@{DEPTH}"]
        best[left] = max(gain, best.get(left, gain))
    lefts = sorted(best)
    gains = [best[left] for left in lefts]
    wanted = [point[f"avoided@{DEPTH}"] for point in points]
    inside = [bool(lefts) and lefts[0] <= left <= lefts[-1] for left in wanted]
    return [
        float(np.interp(left, lefts, gains)) if known else None for left, known in zip(wanted, inside, strict=True)
    ]


def compliance(ask: Ask, ranked: Sequence[int]) -> float:
    """Score that should never fall with growing strength: `found`, or the share of places without avoided items."""
    return 1 - share(ranked, ask.avoided, DEPTH) if ask.only_avoids else found(ranked, ask.obeys)


def falls(asks: Sequence[Ask], answers: Sequence[Sequence[Sequence[int] | None]]) -> dict[str, Any]:
    """Counts the requests whose compliance falls at some step of growing strength.

    Args:
        asks (`Sequence[Ask]`): Requests of any strength.
        answers (`Sequence`): For each request its lists, the weakest strength first; `None` for no answer.

    Returns:
        `dict`: `requests`; `falling`, the number of them that fall at all; `steps`, the number of falling steps;
        `largest_fall`; and `compliance`, the mean at each strength over the requests with a list at all of them.
    """
    values = [
        [compliance(ask, ranked) for ranked in lists if ranked is not None]
        for ask, lists in zip(asks, answers, strict=True)
    ]
    drops = [[before - after for before, after in zip(one, one[1:], strict=False)] for one in values]
    drops = [[drop for drop in one if drop > 1e-9] for one in drops]
    longest = max(map(len, answers), default=0)
    whole = [one for one in values if len(one) == longest]
    return {
        "requests": len(values),
        "falling": sum(map(bool, drops)),
        "steps": sum(map(len, drops)),
        "largest_fall": max((drop for one in drops for drop in one), default=0.0),
        "compliance": np.mean(whole, axis=0).tolist() if whole else [],
    }


def _side(ask: Ask) -> str:
    return "with_history" if ask.history else "without_history"


def _mean(values: Sequence[float]) -> dict[str, float]:
    mean = float(np.mean(values))
    low, high = wilson_interval(mean, len(values))
    return {"mean": mean, "low": low, "high": high, "lists": len(values)}


def _place(ranked: Sequence[int], item: int) -> int | None:
    """Place of an item, from 0; `None` where it is not in the list."""
    return next((place for place, other in enumerate(ranked) if other == item), None)
