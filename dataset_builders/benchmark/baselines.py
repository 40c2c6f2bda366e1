"""Baselines without training, on any axis: a constant list, the preference alone, and the history alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ..ranking_metrics import score_run
from ..ranking_metrics.metrics import EMPTY
from .axes import METRICS, Axis
from .schema import WINDOW

BASELINES: dict[str, str] = {
    "constant_list": "constant list",
    "preference_only": "preference only",
    "history_only": "history only",
}
"""Name -> title, in the order of tables."""
CUTOFFS = (1, 5, 10, 20)
"""Cut-offs of the figures in a build's report."""
MAX_ROWS = 5000
"""Test rows of an axis that a build scores the vector baselines on; of more, as many are drawn with a fixed seed."""
BLOCK_ENTRIES = 1 << 22
"""Scores that are held at once, 16 MB."""
_GROUP = 64
_PAIR_LENGTH = 10

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to float32 `(num_texts, hidden_size)`, rows L2-normalized."""


@dataclass(frozen=True)
class Rankings:
    """One ranking per row.

    Attributes:
        items (`np.ndarray`): int32 `(num_rows, depth)`, best first; -1 fills the places of shorter rankings.
        scores (`np.ndarray`): float32 `(num_rows, depth)`, never rising.
    """

    items: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Catalog:
    """Everything that the baselines know of the items.

    Attributes:
        num_items (`int`): Number of items; ids are 1 to this number.
        vectors (`np.ndarray`, *optional*): float32 `(num_items, hidden_size)`, rows L2-normalized; row `item_id - 1`.
        embed (`Callable`, *optional*): Encoder of texts into the same space.
    """

    num_items: int
    vectors: np.ndarray | None = None
    embed: Embed | None = None


def depth_of(k: Sequence[int], num_items: int) -> int:
    """Length of the rankings: the largest cut-off still full when a history is taken out.

    >>> depth_of([5, 10], 1000), depth_of([5, 10], 12)
    (29, 12)
    """
    return min(num_items, max(k) + WINDOW - 1)


def rank_axis(
    baseline: str, axis: Axis, rows: pa.Table, train: pa.Table | None, catalog: Catalog, depth: int
) -> dict[str, Rankings]:
    """Ranks the items for every row and every variant that a baseline can answer.

    - `constant_list`: the most frequent targets of the axis' own train split, ties by the smaller id; the same list
      for all rows and variants. Both targets count on an axis judged by `all`. On an axis judged by `avoid`, which
      compares two requests, there are two lists of ten: the most frequent items to avoid without the request, and the
      most frequent targets beside them with it.
    - `preference_only`: by cosine of the item with the preference, several preferences by the mean of their vectors.
      It is not answered without a preference, or by empty lists where the axis' metric needs an answer. A negative
      preference is a text to search for like any other.
    - `history_only`: by cosine of the item with the mean of the history's items, in which the last one counts 1, the
      one before it 1/2, then 1/3 and so on. Items of the history are left out. A row without a history gets an empty
      list, and an axis without histories is not answered.

    Args:
        baseline (`str`): Of [`BASELINES`].
        axis ([`~dataset_builders.benchmark.axes.Axis`]): The axis.
        rows (`pa.Table`): Rows to answer.
        train (`pa.Table`, *optional*): Rows of the axis' split train, for the constant list.
        catalog ([`Catalog`]): The items.
        depth (`int`): Maximum length of a ranking.

    Returns:
        `dict[str, Rankings]`: Rankings by variant; empty if the axis cannot be answered.

    Raises:
        ValueError: If there is no such baseline.
    """
    if baseline not in BASELINES:
        raise ValueError(f"the baseline {baseline!r} is unknown; choose one of {', '.join(BASELINES)}.")
    if baseline == "constant_list":
        if train is None:
            return {}
        every_row = _same_list(axis, train, len(rows), depth)
        if axis.metric == "avoid":
            return _constant_pair(axis, train, len(rows), catalog.num_items)
        return dict.fromkeys(axis.asked, every_row)
    if catalog.vectors is None or (baseline == "history_only" and not axis.has_history):
        return {}
    if baseline == "history_only":
        every_row = _by_history(rows.column("history"), catalog.vectors, depth)
        return dict.fromkeys(axis.asked, every_row)
    if catalog.embed is None:
        return {}
    found, by_column = {}, dict[str, Rankings]()
    for variant, column in axis.asked.items():
        if column is not None:
            if column not in by_column:
                texts = rows.column(column).to_pylist()
                by_column[column] = _by_preference(texts, catalog.vectors, catalog.embed, depth)
            found[variant] = by_column[column]
        elif variant in METRICS[axis.metric]:
            found[variant] = _nothing(len(rows), depth)
    return found


def axis_figures(
    axis: Axis, rows: pa.Table, rankings: Mapping[str, Rankings], k: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """Computes recall@k, ndcg@k and the axis' own metric of rankings.

    Args:
        axis ([`~dataset_builders.benchmark.axes.Axis`]): The axis.
        rows (`pa.Table`): The rows that were answered, at least one.
        rankings (`Mapping`): Of [`rank_axis`], not empty.
        k (`Sequence[int]`): Cut-offs.

    Returns:
        `dict[str, float]`: Means over the rows; keys as in `recall@5`.
    """
    items = {variant: found.items for variant, found in rankings.items()}
    targets = rows.column("target").to_numpy()
    others = None if axis.other is None else rows.column(axis.other).to_numpy()
    if axis.metric == "m":
        return score_run(items[""], targets, k, predictions_negative=items["negative"])
    if axis.metric == "avoid":
        return score_run(items[""], targets, k, predictions_without=items["no_preference"], avoided=others)
    if axis.metric == "strength":
        by_strength = [items[variant] for variant in ("no_preference", "weaker", "", "stronger")]
        return score_run(items[""], targets, k, predictions_by_strength=by_strength)
    if axis.metric == "all" and others is not None:
        return score_run(items[""], np.stack([targets, others], axis=1), k, all_items=True)
    return score_run(items[""], targets, k)


def axis_baselines(
    axis: Axis,
    rows: pa.Table,
    train: pa.Table | None,
    catalog: Catalog,
    k: Sequence[int] = CUTOFFS,
    names: Sequence[str] = tuple(BASELINES),
) -> dict[str, dict[str, float]]:
    """Computes the figures of the baselines on one axis.

    Args:
        axis, rows, train, catalog: As in [`rank_axis`].
        k (`Sequence[int]`): Cut-offs.
        names (`Sequence[str]`): Baselines to compute.

    Returns:
        `dict[str, dict[str, float]]`: Baseline -> metric -> value; without baselines that cannot answer the axis.
    """
    found = {}
    needed = {variant: axis.asked[variant] for variant in ("", *METRICS[axis.metric])}
    scored = replace(axis, asked=needed)
    for name in names if len(rows) else ():
        if rankings := rank_axis(name, scored, rows, train, catalog, depth_of(k, catalog.num_items)):
            found[name] = axis_figures(axis, rows, rankings, k)
    return found


def frequent_targets(axis: Axis, train: pa.Table, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most frequent targets of an axis; ties go to the smaller id.

    Returns:
        Item ids and their counts, both `(at most depth,)`.
    """
    columns = ["target", axis.other] if axis.metric == "all" and axis.other is not None else ["target"]
    return _most_frequent(np.concatenate([train.column(name).to_numpy() for name in columns]), depth)


def _most_frequent(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent values and their counts; ties go to the smaller value."""
    items, counts = np.unique(values, return_counts=True)
    order = np.lexsort((items, -counts))[:count]
    return items[order], counts[order]


def nearest(
    vectors: np.ndarray, queries: np.ndarray, depth: int, excluded: tuple[np.ndarray, np.ndarray] | None = None
) -> Rankings:
    """Ranks items by the inner product with each query, in blocks of bounded memory.

    Args:
        vectors (`np.ndarray`): float32 `(num_items, hidden_size)`; row `item_id - 1`.
        queries (`np.ndarray`): float32 `(num_rows, hidden_size)`; a row of zeros gets an empty ranking.
        depth (`int`): Maximum length of a ranking, at least 1.
        excluded (`tuple`, *optional*): Items that are left out of rows, as two arrays of one length: row numbers in
            ascending order, and item ids.

    Returns:
        [`Rankings`]: Ties go to the smaller id.

    >>> nearest(np.eye(3, dtype=np.float32), np.array([[0, 1, 0.5], [0, 0, 0]], np.float32), 2).items.tolist()
    [[2, 3], [-1, -1]]
    """
    num_items, depth = len(vectors), min(depth, len(vectors))
    found = _nothing(len(queries), depth)
    width = -(-num_items // _GROUP) * _GROUP
    transposed = np.zeros((vectors.shape[1], width), np.float32)
    transposed[:, :num_items] = vectors.T
    block = max(1, BLOCK_ENTRIES // width)
    asked: np.ndarray = (queries != 0).any(axis=1)
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        scores = queries[part] @ transposed
        scores[:, num_items:] = -np.inf
        scores[~asked[part]] = -np.inf
        if excluded is not None:
            row_numbers, items = excluded
            here = slice(*np.searchsorted(row_numbers, [start, start + len(scores)]))
            scores[row_numbers[here] - start, items[here] - 1] = -np.inf
        _fill(found, start, scores, depth)
    return found


def _fill(found: Rankings, start: int, scores: np.ndarray, depth: int) -> None:
    """Writes the best `depth` entries of each row of scores; entries of -inf are not written.

    At least `depth` entries reach the smallest of the `depth` largest maxima over disjoint groups of columns, so that
    few entries are left to sort.
    """
    num_rows, width = scores.shape
    least = np.full((num_rows, 1), np.finfo(np.float32).min)
    groups = scores.reshape(num_rows, _GROUP, width // _GROUP).max(axis=1)
    if groups.shape[1] > depth:
        least = np.maximum(least, np.partition(groups, groups.shape[1] - depth, axis=1)[:, -depth][:, None])
    rows, columns = np.divmod(np.flatnonzero(scores >= least), width)
    values = scores[rows, columns]
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = places < depth
    found.items[start + rows[kept], places[kept]] = columns[kept] + 1
    found.scores[start + rows[kept], places[kept]] = values[kept]


def _nothing(num_rows: int, depth: int) -> Rankings:
    return Rankings(np.full((num_rows, depth), EMPTY, np.int32), np.full((num_rows, depth), -np.inf, np.float32))


def _same_list(axis: Axis, train: pa.Table, num_rows: int, depth: int) -> Rankings:
    items, counts = frequent_targets(axis, train, depth)
    shape = num_rows, len(items)
    return Rankings(np.broadcast_to(items.astype(np.int32), shape), np.broadcast_to(counts.astype(np.float32), shape))


def _constant_pair(axis: Axis, train: pa.Table, num_rows: int, num_items: int) -> dict[str, Rankings]:
    """Two lists, one for each request, that avoid the most without reading anything."""
    avoided, counts = _most_frequent(train.column(str(axis.other)).to_numpy(), _PAIR_LENGTH)
    targets, _ = _most_frequent(train.column("target").to_numpy(), num_items)
    others = np.concatenate([targets, np.setdiff1d(np.arange(1, num_items + 1), targets)])
    others = others[~np.isin(others, avoided)][: len(avoided)]
    pair = {"no_preference": (avoided, counts), "": (others, np.arange(len(others), 0, -1))}
    return {
        variant: Rankings(
            np.broadcast_to(items.astype(np.int32), (num_rows, len(items))),
            np.broadcast_to(scores.astype(np.float32), (num_rows, len(items))),
        )
        for variant, (items, scores) in pair.items()
    }


def _by_preference(
    preferences: Sequence[str | Sequence[str] | None], vectors: np.ndarray, embed: Embed, depth: int
) -> Rankings:
    lists = [[one] if isinstance(one, str) else [text for text in one or () if text] for one in preferences]
    distinct = {text: number for number, text in enumerate(dict.fromkeys(text for texts in lists for text in texts))}
    queries = np.zeros((len(lists), vectors.shape[1]), np.float32)
    if distinct:
        embedded = np.asarray(embed(list(distinct)), np.float32)
        row_of = np.repeat(np.arange(len(lists)), [len(texts) for texts in lists])
        place = np.concatenate([np.arange(len(texts)) for texts in lists if texts])
        number = np.array([distinct[text] for texts in lists for text in texts])
        for step in range(place.max() + 1):  # one text of each row at a time: no array of all texts' vectors
            chosen = place == step
            queries[row_of[chosen]] += embedded[number[chosen]]
    return nearest(vectors, _unit(queries), depth)


def _by_history(histories: pa.ChunkedArray, vectors: np.ndarray, depth: int) -> Rankings:
    combined = histories.combine_chunks()
    lengths = combined.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    items = combined.flatten().to_numpy()
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    from_the_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(items))
    queries = np.zeros((len(lengths), vectors.shape[1]), np.float32)
    for step in range(1, int(from_the_end.max(initial=0)) + 1):
        chosen = from_the_end == step
        queries[row_of[chosen]] += vectors[items[chosen] - 1] / np.float32(step)
    return nearest(vectors, _unit(queries), depth, (row_of, items))


def _unit(queries: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros stay zeros."""
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    return queries / np.where(lengths > 0, lengths, 1)
