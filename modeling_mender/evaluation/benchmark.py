"""Five axes to the answers of a model: what is asked of each row, with its preference and without it, asked once.

Makes answers and leaves scoring to the benchmark, which does it alike for everybody: `query -> (items, scores)` in the
names of its run files.
"""

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
) -> dict[str, Request]:
    """What a method is asked on the axes.

    Args:
        tables (`Mapping[str, datasets.Dataset]`): Axis to its rows.
        asked (`Mapping`): Axis to its ways of asking, each with the column of its preferences, `None` for none.
        restrict (`Callable`): Drops what the method may not see, see [`~modeling_mender.methods.table.Method`].
        rows (`Mapping[str, Sequence[int]]`, *optional*): Axis to the numbers of the rows to ask; all where not given.

    Returns:
        `dict[str, Request]`: By query: `axis/row` is the row with its preference, `axis/row/no_preference` its history
        alone, and `axis/row/negative` its negative preference. Rows without a history are not asked of a method that
        sees no preference.
    """
    queries = {}
    for axis, table in tables.items():
        numbers = range(len(table)) if rows is None else rows[axis]
        chosen = table if len(numbers) == len(table) else table.select(numbers)
        for variant, column in asked[axis].items():
            requests = [restrict(request) for request in requests_of(chosen, column)]
            if "history" not in table.column_names and not any(request.preferences for request in requests):
                continue
            ending = f"/{variant}" if variant else ""
            queries |= {f"{axis}/{row}{ending}": request for row, request in zip(numbers, requests, strict=True)}
    return queries


def texts_of(requests: Iterable[Request]) -> list[str]:
    """Every distinct preference of the requests, in order of appearance: what a collator must be made for."""
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
    """Ranks the catalogue for every query; queries that ask the same are answered once.

    Args:
        model, collator: See [`rank`]; the collator made for [`texts_of`] the requests.
        queries (`Mapping[str, Request]`): Of [`ask_axes`].
        depth (`int`, defaults to 39): Items per answer: the deepest cut-off, 20, and 19 more, so that a row's own
            history can be taken out.
        batch_size, num_beams, accelerator: See [`rank`].

    Returns:
        `dict`: By query, item ids int32 `(depth,)`, best first, and their scores float32 `(depth,)`; both empty where
        there was nothing to ask.
    """
    distinct = list(dict.fromkeys(queries.values()))
    run = rank(model, collator, distinct, depth, batch_size, num_beams, accelerator)
    answers = {
        request: (np.array(items, np.int32), np.array(scores, np.float32))
        for request, items, scores in zip(distinct, run.items, run.scores, strict=True)
    }
    return {query: answers[request] for query, request in queries.items()}
