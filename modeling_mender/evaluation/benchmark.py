"""Five axes to one table: every axis that the benchmark has, with the preference and without it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets

from ..training.benchmark_tables import requests_of
from ..training.collators import Collator, Request
from .ranking import rank

Metric = Callable[..., dict[str, float]]

# axis -> (column of the preference, main metric); section 3.2
AXIS_PREFERENCES = {
    "recommendation": ("preference", "recall"),
    "sentiment": ("preference_positive", "m"),
    "fine": ("preference", "recall"),
    "coarse": ("preference", "recall"),
    "history": ("preferences", "recall"),
}


def preferences_of(tables: Mapping[str, datasets.Dataset]) -> list[str]:
    """Every distinct preference that an evaluation of these axes will ask with, in order of appearance."""
    texts: dict[str, None] = {}
    for rows in tables.values():
        for column in ("preference", "preference_positive", "preference_negative", "preferences"):
            if column in rows.column_names:
                for value in rows[column][:]:
                    texts.update(dict.fromkeys([value] if isinstance(value, str) else value))
    return list(texts)


def evaluate_axes(
    model: Any,
    collator: Collator,
    tables: Mapping[str, datasets.Dataset],
    metric: Metric,
    k: Sequence[int] = (5, 10),
    batch_size: int = 64,
    num_beams: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores a model on every axis given.

    Without a preference, a row of the sentiment axis asks nothing at all and m@k is 0 whatever comes back, so that
    entry is `None`; a steering row whose history is empty counts as a miss.

    Args:
        model (`GenerativeRetriever`): The recommender.
        collator ([`Collator`]): Made for [`preferences_of`] these tables.
        tables (`Mapping[str, datasets.Dataset]`): Axis name to its rows; see `AXIS_PREFERENCES` for the names.
        metric (`Callable`): `metric(predictions, references, k=..., predictions_negative=None)` to named values; the
            benchmark's `score_run`.
        k (`Sequence[int]`, defaults to `(5, 10)`): Cut-offs.
        batch_size, num_beams: See [`rank`].

    Returns:
        `dict`: Per axis `num_rows`, `with_preference` and `without_preference`, each a dict of metrics or `None`.
    """
    results = {}
    deepest = min(max(k), model.config.num_items)

    # recommendation and history consolidation ask the same without their preferences: answered once
    answered: dict[tuple[Request, ...], list[list[int]]] = {}

    def ranked(requests: list[Request], description: str) -> list[list[int]]:
        key = tuple(requests)
        if key not in answered:
            run = rank(model, collator, requests, deepest, batch_size, num_beams, description=description)
            answered[key] = run.items
        return answered[key]

    for axis, rows in tables.items():
        column, _ = AXIS_PREFERENCES[axis]
        targets = list(rows["target"][:])
        found = ranked(requests_of(rows, column), axis)
        if axis == "sentiment":
            negative = ranked(requests_of(rows, "preference_negative"), f"{axis}, negative")
            with_preference = metric(found, targets, k=k, predictions_negative=negative)
            without_preference = None
        else:
            with_preference = metric(found, targets, k=k)
            without_preference = metric(ranked(requests_of(rows, None), f"{axis}, no preference"), targets, k=k)
        results[axis] = {
            "num_rows": len(rows),
            "with_preference": with_preference,
            "without_preference": without_preference,
        }
    return results


def format_table(results: Mapping[str, Mapping[str, Any]], k: int = 10) -> str:
    """The results as a Markdown table at one cut-off.

    >>> print(format_table({"fine": {"num_rows": 2, "with_preference": {"recall@10": 0.5, "ndcg@10": 0.3},
    ...                              "without_preference": {"recall@10": 0.0, "ndcg@10": 0.0}}}))
    | axis | rows | metric | with preference | without | NDCG@10 with | without |
    |---|---:|---|---:|---:|---:|---:|
    | fine | 2 | recall@10 | 0.5000 | 0.0000 | 0.3000 | 0.0000 |
    """
    lines = [
        f"| axis | rows | metric | with preference | without | NDCG@{k} with | without |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]

    def cell(values: Mapping[str, float] | None, name: str) -> str:
        return f"{values[name]:.4f}" if values is not None and name in values else "-"

    for axis, entry in results.items():
        main = f"{AXIS_PREFERENCES[axis][1]}@{k}"
        ndcg = "" if main.startswith("m@") else f"ndcg@{k}"
        cells = [
            cell(entry[side], name) for name in (main, ndcg) for side in ("with_preference", "without_preference")
        ]
        lines.append(f"| {axis} | {entry['num_rows']} | {main} | {' | '.join(cells)} |")
    return "\n".join(lines)
