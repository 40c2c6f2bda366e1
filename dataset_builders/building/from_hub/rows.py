"""Rows of our configs from the rows of a public set: users' sequences, positions, and pairs of preferences."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ...benchmark.axes import Axis
from ...benchmark.schema import features
from .reading import Request

Users = Mapping[str, tuple[int, ...]]
"""User -> items in time order."""
_INVERTED = re.compile(r"avoid|exclude|no |find|search for", re.IGNORECASE)


def users_sequences(requests: Iterable[Request], dimensions: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Collects each user's items: the longest history with its target.

    Args:
        requests (`Iterable[Request]`): Rows of all splits.
        dimensions (`Iterable[str]`): Dimensions whose target is the user's own next item.

    Returns:
        `dict[str, tuple[int, ...]]`: User -> items in time order, sorted by user.
    """
    own = set(dimensions)
    sequences: dict[str, tuple[int, ...]] = {}
    for request in requests:
        if request.dimension in own and request.user is not None:
            items = (*request.history, request.target)
            if len(items) > len(sequences.get(request.user, ())):
                sequences[request.user] = items
    return dict(sorted(sequences.items()))


def single_rows(axis: Axis, requests: Sequence[Request], users: Users) -> pa.Table:
    """Makes the rows of an axis with one request per row of the set.

    The set has no positions, and documents no column as the ground truth of steering (`previous_item_id` is not
    explained): both are those of the user's sequence where the history is its beginning, and null elsewhere. The five
    preferences of history consolidation are one text there, and a list of that text here.

    Args:
        axis (`Axis`): The axis.
        requests (`Sequence[Request]`): Rows of a split.
        users ([`Users`]): Users' sequences.

    Returns:
        `pa.Table`: Rows of the published schema.
    """
    return _as_table(
        axis,
        [
            {**_place(request, users), "preference": request.text, "preferences": [request.text]}
            for request in requests
        ],
    )


def paired_rows(axis: Axis, requests: Sequence[Request], users: Users) -> tuple[pa.Table, int]:
    """Makes one row of each two that retrieve and avoid the same target after the same history.

    Where a target has several pairs, those belong together that differ in nothing but the words that an inversion
    changes; of the rest, the only two.

    Args:
        axis (`Axis`): An axis with a positive and a negative preference.
        requests (`Sequence[Request]`): Rows of a split.
        users ([`Users`]): Users' sequences.

    Returns:
        `tuple`: Rows of the published schema, and the number of rows of the set without a partner.
    """
    groups: dict[tuple, tuple[list[Request], list[Request]]] = defaultdict(lambda: ([], []))
    for request in requests:
        groups[request.user, request.history, request.target][request.avoids].append(request)
    rows, unpaired = [], 0
    for positives, negatives in groups.values():
        pairs, left = _pair(positives, negatives)
        unpaired += left
        rows += [
            {
                **_place(negative, users),
                "preference_positive": positive.text,
                "preference_negative": negative.text,
            }
            for positive, negative in pairs
        ]
    return _as_table(axis, rows), unpaired


def _pair(positives: list[Request], negatives: list[Request]) -> tuple[list[tuple[Request, Request]], int]:
    """Pairs of one target, and the number of requests that are left."""
    waiting: dict[str, list[Request]] = defaultdict(list)
    for positive in positives:
        waiting[_said(positive.text)].append(positive)
    pairs, alone = [], []
    for negative in negatives:
        same = waiting[_said(negative.text)]
        if same:
            pairs.append((same.pop(0), negative))
        else:
            alone.append(negative)
    rest = [positive for same in waiting.values() for positive in same]
    if len(rest) == len(alone) == 1:
        return [*pairs, (rest[0], alone[0])], 0
    return pairs, len(rest) + len(alone)


def _said(text: str) -> str:
    """What two inversions of each other have in common.

    The authors' code lower-cases, replaces the words wherever they stand, and may lose a space.

    >>> _said("Search forparabens") == _said("No Parabens") == "parabens"
    True
    """
    return "".join(_INVERTED.sub("", text).casefold().split())


def _place(request: Request, users: Users) -> dict[str, Any]:
    sequence = users.get(request.user or "", ())
    past = len(request.history)
    begins = past < len(sequence) and sequence[:past] == request.history
    return {
        "user_id": request.user,
        "position": past + 1 if begins else None,
        "history": list(request.history),
        "target": request.target,
        "source_item": sequence[past] if begins else None,
    }


def _as_table(axis: Axis, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = features(axis.name).arrow_schema
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
