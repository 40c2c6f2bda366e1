"""Queries of all axes and the answers of a model, by the query names of run files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from accelerate import Accelerator

from ..data.collators import Collator
from ..data.requests import Request, requests_of
from .ranking import rank


def ask_axes(
    tables: Mapping[str, datasets.Dataset],
    asked: Mapping[str, Mapping[str, str | None]],
    restrict: Callable[[Request], Request],
    rows: Mapping[str, Sequence[int]] | None = None,
    strengths: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Request]:
    """Builds the queries of a method on the axes.

    Args:
        tables (`Mapping[str, datasets.Dataset]`): Rows by axis.
        asked (`Mapping`): Variants by axis, each with the column of its preferences, `None` for none.
        restrict (`Callable`): Removes the parts of a request that the method does not read, see
            [`~modeling_mender.methods.table.Method`].
        rows (`Mapping[str, Sequence[int]]`, *optional*): Numbers of the rows to query by axis; defaults to all.
        strengths (`Mapping`, *optional*): Strengths of the preferences by axis and variant; 1 by default.

    Returns:
        `dict[str, Request]`: Requests by query: `axis/row` has the row's preference, `axis/row/no_preference` its
        history alone, and `axis/row/negative` its negative preference. Rows without a history are left out for a
        method that reads no preference.
    """
    queries: dict[str, Request] = {}
    for axis, table in tables.items():
        numbers = range(len(table)) if rows is None else rows[axis]
        chosen = table if len(numbers) == len(table) else table.select(numbers)
        for variant, column in asked[axis].items():
            strength = ((strengths or {}).get(axis) or {}).get(variant, 1.0)
            requests = [restrict(request) for request in requests_of(chosen, column, strength)]
            if "history" not in table.column_names and not any(request.preferences for request in requests):
                continue
            ending = f"/{variant}" if variant else ""
            queries |= {f"{axis}/{row}{ending}": request for row, request in zip(numbers, requests, strict=True)}
    return queries


def texts_of(requests: Iterable[Request]) -> list[str]:
    """Distinct preferences of the requests, in order of appearance, for the construction of a collator."""
    return list(dict.fromkeys(text for request in requests for text in request.preferences))


def answer_axes(
    model: Any,
    collator: Collator,
    queries: Mapping[str, Request],
    depth: int = 39,
    batch_size: int = 64,
    num_beams: int | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ranks the catalog for every query; equal requests are ranked once.

    Args:
        model, collator: See [`rank`]; the collator is built for [`texts_of`] the requests.
        queries (`Mapping[str, Request]`): Output of [`ask_axes`].
        depth (`int`, defaults to 39): Number of items per answer: the largest cut-off, 20, and 19 more, so that the
            items of a row's history can be removed.
        batch_size, num_beams, accelerator: See [`rank`].

    Returns:
        `dict`: By query, item ids int32 `(depth,)`, best first, and their scores float32 `(depth,)`; both empty for an
        empty request.
    """
    distinct = list(dict.fromkeys(queries.values()))
    run = rank(model, collator, distinct, depth, batch_size, num_beams, accelerator)
    answers = {
        request: (np.array(items, np.int32), np.array(scores, np.float32))
        for request, items, scores in zip(distinct, run.items, run.scores, strict=True)
    }
    return {query: answers[request] for query, request in queries.items()}
