"""recall@k, ndcg@k, m@k, avoid@k, strength@k and all@k of ranked item ids, in plain NumPy.

Every function returns one value per row, for intervals and tests of significance; `score_run` averages over rows.

Inputs shared by all functions:

    predictions: item ids, best first. An int array of shape (num_rows, width), or one list per row, of any length.
        -1 is an empty place. Rows may be shorter than k: the missing places count as misses.
    references: the relevant items, ids >= 0. Shape (num_rows,) for one each, or one list per row for several.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, cast

import numpy as np

# An int array or a list of lists of ids (predictions); of ids or of lists of ids (references).
Rankings = np.ndarray | Sequence[Sequence[int]]
Relevant = np.ndarray | Sequence[int | Sequence[int]]

EMPTY = -1  # a place of a ranking without an item
_NOTHING = -2  # pads short lists of relevant items; equals no prediction
_NO_LISTS = (str, bytes, bytearray, memoryview, dict, set, frozenset)


def recall_at_k(predictions: Rankings, references: Relevant, k: int) -> np.ndarray:
    """Share of the relevant items among the first k; with one relevant item, the hit rate.

    Args:
        predictions: Item ids, best first, (num_rows, width) or one list per row.
        references: Relevant items, (num_rows,) or one list per row.
        k (`int`): Places that count, at least 1; places beyond the end of a ranking are misses.

    Returns:
        `np.ndarray` of shape `(num_rows,)`, float64 in [0, 1].

    Raises:
        `ValueError`: On empty input, different numbers of rows, k below 1 or not an integer, ids that are not
            integers or negative, an item that occurs twice in one ranking, or a row without a relevant item. Ids are
            never cast: truth values, floats, texts, times and categories are refused.

    Example:

    ```python
    >>> recall_at_k([[3, 9, 1], [4, 5, 6]], [9, 7], k=2)
    array([1., 0.])
    >>> recall_at_k([[3, 9, 1]], [[1, 3, 8, 7]], k=5)  # two of four, in three places
    array([0.5])

    ```"""
    ranked, relevant, num_relevant = _check(predictions, references)
    return _recall(ranked, relevant, num_relevant, _check_k(k))


def ndcg_at_k(predictions: Rankings, references: Relevant, k: int) -> np.ndarray:
    """Normalized discounted cumulative gain with binary relevance (Järvelin and Kekäläinen, 2002).

    The sum of 1 / log2(1 + rank) over the hits among the first k, divided by that of an ideal ranking, whose first
    min(k, number of relevant items) places are hits.

    Args:
        predictions: Item ids, best first, (num_rows, width) or one list per row.
        references: Relevant items, (num_rows,) or one list per row.
        k (`int`): Places that count, at least 1; places beyond the end of a ranking are misses.

    Returns:
        `np.ndarray` of shape `(num_rows,)`, float64 in [0, 1].

    Raises:
        `ValueError`: As [`recall_at_k`].

    Example:

    ```python
    >>> ndcg_at_k([[3, 9, 1], [9, 3, 1]], [9, 9], k=3).round(4)  # 1 / log2(3), 1 / log2(2)
    array([0.6309, 1.    ])
    >>> ndcg_at_k([[3, 9, 1]], [[1, 3]], k=3).round(4)  # (1 + 1 / log2(4)) / (1 + 1 / log2(3))
    array([0.9197])

    ```"""
    ranked, relevant, num_relevant = _check(predictions, references)
    return _ndcg(ranked, relevant, num_relevant, _check_k(k))


def m_at_k(predictions_positive: Rankings, predictions_negative: Rankings, references: Relevant, k: int) -> np.ndarray:
    """Sentiment following (section 3.2), row by row.

    1 where the ranking for the positive preference has a relevant item among its first k and the ranking for the
    negative preference has none; else 0.

    Args:
        predictions_positive: Item ids for the positive preference, (num_rows, width) or one list per row.
        predictions_negative: Item ids for the negative preference, the same rows in the same order.
        references: Relevant items, (num_rows,) or one list per row.
        k (`int`): Places that count, at least 1; places beyond the end of a ranking are misses.

    Returns:
        `np.ndarray` of shape `(num_rows,)`, float64, 0 or 1.

    Raises:
        `ValueError`: As [`recall_at_k`].

    Example:

    ```python
    >>> m_at_k([[9, 1], [9, 1], [2, 1]], [[3, 4], [4, 9], [3, 4]], [9, 9, 9], k=2)  # followed, shown, never found
    array([1., 0., 0.])

    ```"""
    positive, relevant, _ = _check(predictions_positive, references, "predictions_positive")
    negative = _check_rankings(predictions_negative, "predictions_negative")
    _check_lengths(negative, "predictions_negative", len(positive), "predictions_positive")
    return _m(positive, negative, relevant, _check_k(k))


def avoid_at_k(
    predictions: Rankings, predictions_without: Rankings, avoided: Relevant, references: Relevant, k: int
) -> np.ndarray:
    """Avoidance, row by row.

    1 where an item to avoid is among the first k without the request to avoid it, none is with the request, and no
    relevant item is lost by it; else 0. Doing nothing gives 0, and so do showing no such item in the first place and a
    list that is shorter with the request than without.

    Args:
        predictions: Item ids for the requests to avoid, (num_rows, width) or one list per row.
        predictions_without: Item ids without these requests, the same rows in the same order.
        avoided: Items to avoid, (num_rows,) or one list per row.
        references: Relevant items, which should stay, (num_rows,) or one list per row.
        k (`int`): Places that count, at least 1; places beyond the end of a ranking are misses.

    Returns:
        `np.ndarray` of shape `(num_rows,)`, float64, 0 or 1.

    Raises:
        `ValueError`: As [`recall_at_k`].

    Example:

    ```python
    >>> avoid_at_k([[1, 2], [1, 4], [3, 2]], [[4, 2], [4, 2], [4, 2]], [4, 4, 4], [2, 2, 9], k=2)
    array([1., 0., 1.])

    ```"""
    ranked = _check_rankings(predictions, "predictions")
    unwanted, _ = _check_references(avoided, "avoided")
    _check_lengths(unwanted, "avoided", len(ranked), "predictions")
    before = _check_rankings(predictions_without, "predictions_without")
    _check_lengths(before, "predictions_without", len(ranked), "predictions")
    relevant, _ = _check_references(references)
    _check_lengths(relevant, "references", len(ranked), "predictions")
    return _avoid(ranked, before, unwanted, relevant, _check_k(k))


def strength_at_k(predictions_by_strength: Sequence[Rankings], references: Relevant, k: int) -> np.ndarray:
    """Monotonicity in the strength of a preference, row by row.

    1 where the first relevant item is among the first k at the largest strength, is never ranked lower at a larger
    strength than at a smaller one, is ranked higher at the largest strength than without the preference, and higher
    than at the smallest strength above 0 unless it is first there already; else 0. A recommender that ignores the
    preference gets 0, and one that ignores its strength only counts where the item is first.

    Args:
        predictions_by_strength: Rankings by strength, at least three: without the preference, then from the smallest
            strength to the largest; each (num_rows, width) or one list per row, the same rows in the same order.
        references: Relevant items, (num_rows,) or one list per row.
        k (`int`): Places that count, at least 1. An item beyond the end of a ranking is below all others.

    Returns:
        `np.ndarray` of shape `(num_rows,)`, float64, 0 or 1.

    Raises:
        `ValueError`: As [`recall_at_k`], or with fewer than three rankings.

    Example:

    ```python
    >>> none, weak, strong = [[1, 2, 3], [1, 2, 3]], [[1, 3, 2], [1, 3, 2]], [[3, 1, 2], [1, 3, 2]]
    >>> strength_at_k([none, weak, strong], [3, 3], k=2)  # the second does not move beyond the weaker request's
    array([1., 0.])

    ```"""
    return _strength(*_check_strengths(predictions_by_strength, references), _check_k(k))


def all_at_k(predictions: Rankings, references: Relevant, k: int) -> np.ndarray:
    """Whether all relevant items are among the first k, row by row; with one relevant item, the hit.

    Args:
        predictions: Item ids, best first, (num_rows, width) or one list per row.
        references: Relevant items, (num_rows,) or one list per row.
        k (`int`): Places that count, at least 1; places beyond the end of a ranking are misses.

    Returns:
        `np.ndarray` of shape `(num_rows,)`, float64, 0 or 1.

    Raises:
        `ValueError`: As [`recall_at_k`].

    Example:

    ```python
    >>> all_at_k([[3, 9, 1], [3, 4, 1]], [[9, 3], [9, 3]], k=2)
    array([1., 0.])

    ```"""
    ranked, relevant, num_relevant = _check(predictions, references)
    return _all(ranked, relevant, num_relevant, _check_k(k))


def score_run(
    predictions: Rankings,
    references: Relevant,
    k: int | Sequence[int] = (5, 10),
    predictions_negative: Rankings | None = None,
    predictions_without: Rankings | None = None,
    avoided: Relevant | None = None,
    predictions_by_strength: Sequence[Rankings] | None = None,
    all_items: bool = False,
) -> dict[str, float]:
    """Means over rows of recall@k and ndcg@k, and of the other metrics whose rankings are given.

    Args:
        predictions: Item ids, best first, (num_rows, width) or one list per row.
        references: Relevant items, (num_rows,) or one list per row.
        k (`int` or `Sequence[int]`, *optional*, defaults to `(5, 10)`): Places that count, each at least 1.
        predictions_negative (*optional*): Item ids for the negative preferences, for m@k; `predictions` are then the
            positive ones.
        predictions_without, avoided (*optional*): Item ids without the request to avoid, and the items to avoid, for
            avoid@k; `predictions` are then those with the request.
        predictions_by_strength (*optional*): Rankings by strength, for strength@k, see [`strength_at_k`].
        all_items (`bool`, *optional*, defaults to `False`): Whether to add all@k, see [`all_at_k`].

    Returns:
        `dict[str, float]`: keys as in `recall@5`, `ndcg@10`, `m@10`.

    Raises:
        `ValueError`: As [`recall_at_k`], if no k is given, if only one of `predictions_without` and `avoided` is, or
            if `all_items` is no truth value.

    Example:

    ```python
    >>> score_run([[9, 3, 1], [4, 5, 6]], [9, 7], k=[1, 3], predictions_negative=[[3, 9], [4, 5]])
    {'recall@1': 0.5, 'recall@3': 0.5, 'ndcg@1': 0.5, 'ndcg@3': 0.5, 'm@1': 0.5, 'm@3': 0.0}

    ```"""
    cutoffs = check_options(k, all_items)
    ranked, relevant, num_relevant = _check(predictions, references)
    means = {f"recall@{k}": _recall(ranked, relevant, num_relevant, k).mean() for k in cutoffs}
    means |= {f"ndcg@{k}": _ndcg(ranked, relevant, num_relevant, k).mean() for k in cutoffs}
    if predictions_negative is not None:
        negative = _check_rankings(predictions_negative, "predictions_negative")
        _check_lengths(negative, "predictions_negative", len(ranked), "predictions")
        means |= {f"m@{k}": _m(ranked, negative, relevant, k).mean() for k in cutoffs}
    if (predictions_without is None) != (avoided is None):
        given, missing = (
            ("avoided", "predictions_without") if avoided is not None else ("predictions_without", "avoided")
        )
        raise ValueError(f"{given} is given without {missing}; avoid@k needs both.")
    if predictions_without is not None and avoided is not None:
        means |= {
            f"avoid@{k}": avoid_at_k(predictions, predictions_without, avoided, references, k).mean() for k in cutoffs
        }
    if predictions_by_strength is not None:
        checked = _check_strengths(predictions_by_strength, references)
        means |= {f"strength@{k}": _strength(*checked, k).mean() for k in cutoffs}
    if all_items:
        means |= {f"all@{k}": _all(ranked, relevant, num_relevant, k).mean() for k in cutoffs}
    return {name: float(mean) for name, mean in means.items()}


def check_options(k: int | Sequence[int], all_items: bool = False) -> list[int]:
    """Cut-offs of [`score_run`], each at least 1.

    Raises:
        `ValueError`: If one is none, there is none, or `all_items` is no truth value.
    """
    cutoffs = _check_cutoffs(k)
    if not isinstance(all_items, bool | np.bool_):
        raise ValueError(f"all_items ({_shown(all_items)}) must be True or False.")
    return cutoffs


def as_rows(predictions: Rankings, references: Relevant) -> tuple[list[list[int]], list[list[int]]]:
    """Checked rankings, padded at their ends with empty places, and relevant items, as lists of integers.

    Args:
        predictions: Item ids, best first, (num_rows, width) or one list per row.
        references: Relevant items, (num_rows,) or one list per row.

    Raises:
        `ValueError`: As [`recall_at_k`].

    Example:

    ```python
    >>> as_rows([[3, 9], []], np.array([9, 7], np.uint8))
    ([[3, 9], [-1, -1]], [[9], [7]])

    ```"""
    ranked, relevant, num_relevant = _check(predictions, references)
    return ranked.tolist(), [row[:count].tolist() for row, count in zip(relevant, num_relevant, strict=True)]


def _recall(ranked: np.ndarray, relevant: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    return _hits(ranked, relevant, k).sum(axis=1) / num_relevant


def _ndcg(ranked: np.ndarray, relevant: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    hits = _hits(ranked, relevant, k)
    # Entry i of `ideal` before indexing is the gain of i leading hits.
    discounts = 1 / np.log2(np.arange(2, 2 + max(hits.shape[1], min(k, relevant.shape[1]))))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(num_relevant, k)]
    return hits @ discounts[: hits.shape[1]] / ideal


def _m(positive: np.ndarray, negative: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    followed = _hits(positive, relevant, k).any(axis=1) & ~_hits(negative, relevant, k).any(axis=1)
    return np.asarray(followed, np.float64)


def _avoid(ranked: np.ndarray, before: np.ndarray, unwanted: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    shown_before, shown = (_hits(lists, unwanted, k).any(axis=1) for lists in (before, ranked))
    num_before, num_items = ((lists[:, :k] != EMPTY).sum(axis=1) for lists in (before, ranked))
    shown |= num_items < num_before  # leaving items out is no way to avoid one
    lost = _hits(before, relevant, k).sum(axis=1) > _hits(ranked, relevant, k).sum(axis=1)
    return np.asarray(shown_before & ~shown & ~lost, np.float64)


def _strength(by_strength: Sequence[np.ndarray], relevant: np.ndarray, k: int) -> np.ndarray:
    places = np.array([_first_place(ranked, relevant) for ranked in by_strength])
    never_lower = (places[1:] <= places[:-1]).all(axis=0)
    turned = (places[-1] < places[1]) | (places[1] == 1)
    return np.asarray((places[-1] <= k) & never_lower & turned & (places[-1] < places[0]), np.float64)


def _first_place(ranked: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Place of the first relevant item of each row, from 1; infinite where there is none: (num_rows,) float64."""
    hits = np.pad(_hits(ranked, relevant, ranked.shape[1]), ((0, 0), (0, 1)))  # argmax needs a column
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)


def _all(ranked: np.ndarray, relevant: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(_hits(ranked, relevant, k).sum(axis=1) == num_relevant, np.float64)


def _check_strengths(rankings: Sequence[Rankings], references: Relevant) -> tuple[list[np.ndarray], np.ndarray]:
    """Rankings (num_rows, width) of each strength, and relevant items (num_rows, most relevant)."""
    if not isinstance(rankings, list | tuple | np.ndarray):
        raise ValueError(
            f"predictions_by_strength is {type(rankings).__name__}; give a list of rankings, no preference first."
        )
    if len(rankings) < 3:
        raise ValueError(
            f"predictions_by_strength holds {len(rankings)} rankings; give one without the preference and at least "
            "two strengths."
        )
    checked = [_check_rankings(ranked, f"predictions_by_strength[{i}]") for i, ranked in enumerate(rankings)]
    relevant, _ = _check_references(references)
    for number, ranked in enumerate(checked):
        _check_lengths(ranked, f"predictions_by_strength[{number}]", len(relevant), "references")
    return checked, relevant


def _hits(ranked: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Whether each of the first k places holds a relevant item: (num_rows, min(k, width)) bool."""
    ranked = ranked[:, :k]
    hits = np.zeros(ranked.shape, dtype=bool)
    for column in relevant.T:  # few columns, many rows: no (rows x places x relevant) array
        hits |= ranked == column[:, None]
    return hits


def _check(
    predictions: Rankings, references: Relevant, name: str = "predictions"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rankings (num_rows, width), relevant items (num_rows, most relevant), number of relevant items (num_rows,)."""
    ranked = _check_rankings(predictions, name)
    relevant, num_relevant = _check_references(references)
    _check_lengths(relevant, "references", len(ranked), name)
    return ranked, relevant, num_relevant


def _check_rankings(predictions: Rankings, name: str) -> np.ndarray:
    ranked, _ = _as_matrix(predictions, name, fill=EMPTY)
    if ranked.size and ranked.min() < EMPTY:
        row = int(np.argmax((ranked < EMPTY).any(axis=1)))
        raise ValueError(
            f"{name}: row {row} holds {ranked[row].min()}; item ids are 0 or above, {EMPTY} is an empty place."
        )
    _check_unique(ranked, name, lowest=0)
    return ranked


def _check_references(references: Relevant, name: str = "references") -> tuple[np.ndarray, np.ndarray]:
    rows = _rows_of(references, name)
    if len(rows) and (not hasattr(rows[0], "__len__") or getattr(rows[0], "ndim", 1) == 0):  # one item for each row
        rows = rows[:, None] if isinstance(rows, np.ndarray) else [[item] for item in rows]
    relevant, num_relevant = _as_matrix(rows, name, fill=_NOTHING)
    if not num_relevant.all():
        raise ValueError(f"{name}: row {int(np.argmin(num_relevant))} has no relevant item; leave the row out.")
    negative = (relevant < 0) & (np.arange(relevant.shape[1]) < num_relevant[:, None])
    if negative.any():
        row, column = np.argwhere(negative)[0]
        raise ValueError(f"{name}: row {row} holds {relevant[row, column]}; item ids are 0 or above.")
    _check_unique(relevant, name, lowest=0)
    return relevant, num_relevant


def _as_matrix(rows: Rankings, name: str, fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Pads lists of any length to int64 (num_rows, longest); also returns their lengths (num_rows,)."""
    found = _rows_of(rows, name)
    if not len(found):
        raise ValueError(f"{name} is empty; give at least one row.")
    if isinstance(found, np.ndarray) and found.ndim == 2:
        return _as_ids(found, name), np.full(len(found), found.shape[1])
    arrays = [item_ids(row, f"{name}: row {number}") for number, row in enumerate(found)]
    lengths = np.array([len(row) for row in arrays])
    matrix = np.full((len(arrays), lengths.max()), fill, dtype=np.int64)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = np.concatenate(arrays)
    return matrix, lengths


def item_ids(values: object, name: str) -> np.ndarray:
    """Item ids of one ranking as int64, none of them cast from another type.

    Args:
        values: A flat list or array of integers.
        name (`str`): Their name, the beginning of the error.

    Raises:
        `ValueError`: If they are anything else, or beyond int64.
    """
    found = _rows_of(values, name, "a flat list of item ids")
    if isinstance(found, np.ndarray) and found.ndim != 1:
        raise ValueError(f"{name} has {found.ndim} dimensions; give a flat list of item ids.")
    return _as_ids(found, name)


def _rows_of(values: object, name: str, wanted: str = "a list or an array with one entry per row") -> Any:
    """Values as an array or a list, which are found by their places, as those of a Series are not."""
    if hasattr(values, "columns"):
        raise ValueError(
            f"{name} is a {type(values).__name__}, whose rows have names; give {wanted}, as in frame.to_numpy()."
        )
    if isinstance(values, _NO_LISTS) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
        raise ValueError(f"{name} is {_shown(values)}; give {wanted}.")
    if np.ma.is_masked(values) or (hasattr(values, "isna") and np.any(values.isna())):
        raise ValueError(f"{name} has missing values, which are no item ids; leave them out, or write {EMPTY}.")
    if str(getattr(values, "dtype", "")) == "category":
        raise ValueError(f"{name} is categorical, whose order is no item id; give its values, .astype('int64').")
    if _is_tensor(values):
        return _of_tensor(values, name)
    if hasattr(values, "to_pylist"):  # of Arrow; its missing values would make floats of an array
        return values.to_pylist()
    return np.asarray(values) if hasattr(values, "__array__") else list(cast(Sequence[Any], values))


def _is_tensor(values: object) -> bool:
    return hasattr(values, "is_sparse") and hasattr(values, "detach")  # of torch, which this file does not import


def _of_tensor(values: Any, name: str) -> Any:
    """Numbers of a tensor, also of one whose type or layout NumPy lacks."""
    try:
        tensor = values.detach()
        return (tensor if str(tensor.layout) == "torch.strided" else tensor.to_dense()).tolist()
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{name} is a tensor that cannot be read ({reason}); give a list.") from None


def _as_ids(values: np.ndarray | list[Any], name: str) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype.kind == "i":
        return values.astype(np.int64)
    items = list(values.flat) if isinstance(values, np.ndarray) else values
    items = [
        _of_tensor(item, name)
        if _is_tensor(item)
        else np.asarray(item)[()]
        if getattr(item, "ndim", None) == 0
        else item
        for item in items
    ]
    odd_types = {kind for kind in set(map(type, items)) if not _is_integer(kind)}
    for item in items if odd_types else ():
        if type(item) in odd_types:
            raise ValueError(f"{name} holds {_shown(item)}; item ids are integers.")
    exact = [int(item) for item in items]  # NumPy would round some integers beyond 2**63 to floats
    if large := [item for item in exact if abs(item) >= 2**63]:
        raise ValueError(f"{name} holds {_shown(large[0])}; item ids are below 2**63.")
    return np.array(exact, np.int64).reshape(values.shape if isinstance(values, np.ndarray) else -1)


def _shown(value: object) -> str:
    """A value and its type, for a message."""
    try:
        text = f"{str(value) if isinstance(value, np.generic) else repr(value):.60}"
    except ValueError:  # of an integer with too many digits
        text = "a value"
    return f"{text} ({type(value).__name__})"


def _is_integer(kind: type) -> bool:
    return issubclass(kind, Integral) and not issubclass(kind, bool | np.timedelta64)


def _check_unique(matrix: np.ndarray, name: str, lowest: int) -> None:
    ordered = np.sort(matrix, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= lowest)
    if repeated.any():
        row, column = np.argwhere(repeated)[0]
        raise ValueError(f"{name}: item {ordered[row, column]} occurs more than once in row {row}; name an item once.")


def _check_lengths(rows: np.ndarray, name: str, expected: int, other: str) -> None:
    if len(rows) != expected:
        raise ValueError(
            f"{name} has {len(rows)} rows, {other} has {expected}; give one of each per row, in the same order."
        )


def _check_k(k: int) -> int:
    if not _is_integer(type(k)) or k < 1:
        raise ValueError(f"k must be an integer of at least 1, got {_shown(k)}.")
    if k >= 2**31:
        raise ValueError(f"k must be below 2**31, got {_shown(k)}.")
    return int(k)


def _check_cutoffs(k: int | Sequence[int]) -> list[int]:
    is_list = isinstance(k, list | tuple | range) or getattr(k, "ndim", 0) == 1
    cutoffs = list(cast(Sequence[int], k)) if is_list else [cast(int, k)]
    if not cutoffs:
        raise ValueError("k is empty; give at least one, as in k=[5, 10].")
    return [_check_k(cutoff) for cutoff in cutoffs]
