"""Read and write run files: a recommender's rankings, one per query, in Parquet.

A file has the columns `query` (string), `items` (list of integers, best first) and `scores` (list of floats that never
rise, one per item), and may describe its maker in JSON under the key `mender` of the schema's metadata, with the
`fingerprints` of the rows that it answers, by config; other rows are refused. An empty ranking is a miss.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..atomic_write import atomic_write
from ..benchmark.parquet_files import read_parquet
from ..bounded_parsing import parse_json
from ..ranking_metrics.metrics import item_ids
from ..typed_arguments import check_flag, shown
from .result_parts import is_text

METADATA_KEY = b"mender"
_FLOAT32 = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
COLUMNS = {"query": "string", "items": "list of integers", "scores": "list of floats"}


@dataclass(frozen=True)
class Run:
    """Rankings of any lengths, concatenated.

    Attributes:
        queries (`pa.Array`): Strings, shape `(num_queries,)`.
        offsets (`np.ndarray`): int64 `(num_queries + 1,)`; ranking `i` is the entries `offsets[i]:offsets[i + 1]`.
        items (`np.ndarray`): int32 `(num_entries,)`, the best of each ranking first.
        scores (`np.ndarray`): Numbers `(num_entries,)`, in the type in which they were given; written as float32.
        about (`dict`): Description of the maker: `method`, `domain`, `split`, `num_beams`, `fingerprints`, ..., as far
            as known.
    """

    queries: pa.Array
    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_answers(
        cls, answers: Mapping[str, tuple[Sequence[int], Sequence[float]]], about: Mapping[str, Any] | None = None
    ) -> "Run":
        """Makes a run of `query -> (items, scores)`.

        Raises:
            ValueError: If items are not integers (3.0 is none either), scores are no numbers or integers beyond 2**53,
                whose order a float loses, or there is not one score per item; names the query.

        >>> run = Run.from_answers({"fine/0": ([3, 9], [-0.1, -0.5]), "fine/1": ([], [])})
        >>> run.offsets.tolist(), run.items.tolist()
        ([0, 2, 2], [3, 9])
        """
        if not isinstance(answers, Mapping):
            raise ValueError(f"the answers are {type(answers).__name__}; map each query to its items and scores.")
        all_items, all_scores = [np.empty(0, np.int32)], [np.empty(0, np.float64)]
        for query, answer in answers.items():
            if not is_text(query):
                raise ValueError(f"query {query!a} is {type(query).__name__}; name queries by text, as in fine/3.")
            try:
                items, scores = answer
                len(items), len(scores)
            except (TypeError, ValueError):
                raise ValueError(f"query {query} has no pair of items and scores, but {shown(answer)}.") from None
            if len(items) != len(scores):
                raise ValueError(f"query {query} has {len(items)} items and {len(scores)} scores; give one per item.")
            if len(items):
                all_items.append(_item_ids(query, items))
                all_scores.append(_numbers(query, scores))
        return cls(
            queries=pa.array(answers, pa.string()),
            offsets=np.concatenate([[0], np.cumsum([len(items) for items, _ in answers.values()], dtype=np.int64)]),
            items=np.concatenate(all_items),
            scores=np.concatenate(all_scores),
            about=dict(about or {}),
        )

    @property
    def depth(self) -> int:
        """Number of items of the shortest non-empty ranking; 0 if all are empty."""
        lengths = np.diff(self.offsets)
        return int(lengths[lengths > 0].min(initial=np.iinfo(np.int64).max)) if lengths.any() else 0


def write_run(run: Run, path: str | Path, num_items: int) -> None:
    """Writes a run file, whole or not at all.

    Raises:
        ValueError: If [`read_run`] would refuse it.
    """
    path = Path(path)
    check_run(run, str(path), num_items)
    offsets = pa.array(run.offsets, pa.int32())
    scores = np.clip(run.scores, *_FLOAT32).astype(np.float32)  # which keeps their order, though not their differences
    table = pa.table(
        {
            "query": run.queries,
            "items": pa.ListArray.from_arrays(offsets, pa.array(run.items)),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(scores)),
        }
    )
    write_described(table, path, run.about)


def write_described(table: pa.Table, path: str | Path, about: Mapping[str, Any]) -> None:
    """Writes a Parquet file, whole or not at all, with a description in its metadata, see [`read_about`]."""
    described = table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(about))})
    # open, for Arrow takes no name that is not UTF-8
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        pq.write_table(described, file, write_page_checksum=True)


def read_run(path: str | Path, num_items: int, by_score: bool = False) -> Run:
    """Reads a run file, and refuses what cannot be scored.

    Args:
        path (`str` or `Path`): A Parquet file with the columns of this module's first lines.
        num_items (`int`): Items of the benchmark; ids are 1 to this number.
        by_score (`bool`, defaults to `False`): Whether to rank each query's items by their scores, equal ones in the
            order of the file; by default the order of the file is the ranking, and scores that rise in it are refused.
            Scores are compared in the type of the file: integers are not rounded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `by_score` is no truth value, the file is no Parquet file, a column is missing or of another
            type, a value is missing, a query occurs twice, a ranking names an item twice or one that the benchmark
            does not have, `items` and `scores` differ in length, a score is NaN, or scores rise within a ranking. The
            message names the file, the query and the value.
    """
    check_flag("by_score", by_score)
    table = read_parquet(path, f"pass a run file, Parquet with the columns {', '.join(COLUMNS)}")
    _check_types(table.schema, path)
    columns = {name: table.column(name).combine_chunks() for name in COLUMNS}
    for name, column in columns.items():
        if column.null_count or (name != "query" and column.flatten().null_count):
            raise ValueError(f"{path}: column {name} has missing values; an empty ranking is an empty list.")
    lengths, num_scores = (pc.list_value_length(columns[name]).to_numpy() for name in ("items", "scores"))
    if (lengths != num_scores).any():
        first = int(np.argmax(lengths != num_scores))
        raise ValueError(
            f"{path}: query {columns['query'][first]} has {lengths[first]} items and {num_scores[first]} scores; "
            "give one score per item."
        )
    run = Run(
        queries=columns["query"].cast(pa.string()),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        items=_values(columns["items"], pa.int64()),
        scores=_values(columns["scores"], pa.float64()),
        about=read_about(table.schema, path),
    )
    if by_score:
        run = rank_by_score(run)
    check_run(run, str(path), num_items)
    return Run(run.queries, run.offsets, run.items.astype(np.int32), run.scores, run.about)


def _values(column: pa.Array, of_none: pa.DataType) -> np.ndarray:
    """All values of a column of lists, in their own type; empty lists alone may have none."""
    values = column.flatten()
    return (values.cast(of_none) if pa.types.is_null(values.type) else values).to_numpy(zero_copy_only=False)


def rank_by_score(run: Run) -> Run:
    """Orders the items of each query by falling score; equal ones stay in their order, and NaN comes last.

    >>> run = Run.from_answers({"fine/0": ([3, 9, 4], [0.1, 0.5, 0.1])})
    >>> rank_by_score(run).items.tolist()
    [9, 3, 4]
    """
    query_of = np.repeat(np.arange(len(run.queries)), np.diff(run.offsets))
    is_whole = run.scores.dtype.kind in "iu"
    order = np.lexsort((~run.scores if is_whole else -run.scores, query_of))  # the negative of an integer may overflow
    return Run(run.queries, run.offsets, run.items[order], run.scores[order], run.about)


def _item_ids(query: str, items: Sequence[int]) -> np.ndarray:
    """Item ids as int32, without rounding or overflow."""
    found = item_ids(items, f"the ranking of query {query}")
    low, high = int(found.min()), int(found.max())
    if not (low >= -(2**31) and high < 2**31):
        raise ValueError(f"query {query} holds item {low if low < 0 else high}; item ids are below 2**31.")
    return found.astype(np.int32)


def _numbers(query: str, scores: Sequence[float]) -> np.ndarray:
    """Scores as float64, without rounding."""
    values = list(scores)
    kinds = set(map(type, values))
    odd = {kind for kind in kinds if not issubclass(kind, Real) or issubclass(kind, bool | np.timedelta64)}
    for value in values if odd else ():
        if type(value) in odd:
            kind = type(value).__name__
            raise ValueError(f"query {query} has the score {shown(value)} ({kind}); scores are numbers.")
    for value in values if any(issubclass(kind, Integral) for kind in kinds) else ():
        if abs(value) > 2**53 and isinstance(value, Integral):
            raise ValueError(
                f"query {query} has the score {shown(int(value))}; a float loses the order of integers beyond 2**53: "
                "divide them, or give their ranks from the last."
            )
    found = np.array(values, np.float64)
    if np.isnan(found).any() or np.ma.is_masked(scores):
        raise ValueError(f"query {query} has a score that is no number; leave the item out, or give it a number.")
    return found


def _check_types(schema: pa.Schema, path: str | Path) -> None:
    missing = [name for name in COLUMNS if name not in schema.names]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(schema.names) or 'none'}, a run file has "
            f"{', '.join(COLUMNS)}."
        )
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    for name, expected in COLUMNS.items():
        found = schema.field(name).type
        if name == "query":
            fits = pa.types.is_string(found) or pa.types.is_large_string(found)
        else:
            is_value = pa.types.is_integer if name == "items" else _is_number
            # an Arrow list of nothing but empty lists has no type of its own
            fits = any(is_kind(found) for is_kind in is_list) and (
                is_value(found.value_type) or pa.types.is_null(found.value_type)
            )
        if not fits:
            raise ValueError(f"{path}: column {name} is {found}; make it {expected}.")


def _is_number(found: pa.DataType) -> bool:
    return pa.types.is_floating(found) or pa.types.is_integer(found)


def read_about(schema: pa.Schema, path: str | Path) -> dict[str, Any]:
    """Reads the description of the maker in the metadata of a run file or of a table of ranks.

    Raises:
        ValueError: If it is no JSON object, or a value has the wrong type; names the file.
    """
    where = f"{path}: the metadata under {METADATA_KEY.decode()!r}"
    try:
        about = parse_json((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    except ValueError as error:
        raise ValueError(f"{where} are no JSON ({error}); write the file again.") from None
    if not isinstance(about, dict):
        raise ValueError(f"{where} must be a JSON object, got {shown(about)}; write the file again.")
    for key in ("method", "domain", "split"):
        if not isinstance(about.get(key, ""), str):
            raise ValueError(f"{where} have the {key} {shown(about[key])}, which is no text; write the file again.")
    if not isinstance(about.get("fingerprints", {}), dict):
        raise ValueError(
            f"{where} have the fingerprints {shown(about['fingerprints'])}; map each config to its digest."
        )
    return about


def check_run(run: Run, name: str, num_items: int) -> None:
    """Refuses what cannot be scored.

    Raises:
        ValueError: If queries or items repeat, an item is none of the benchmark, or scores are NaN or rise.
    """
    counts = pc.value_counts(run.queries)
    if len(counts) < len(run.queries):
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        raise ValueError(f"{name}: query {twice} occurs more than once; give one ranking per query.")
    query_of = np.repeat(np.arange(len(run.queries)), np.diff(run.offsets))
    for wrong, values, reason in (
        ((run.items < 1) | (run.items > num_items), run.items, f"item ids of this benchmark are 1 to {num_items}"),
        (np.isnan(run.scores), run.scores, "a score is a number"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(f"{name}: query {run.queries[query_of[first]]} holds {values[first]}; {reason}.")
    rises = (run.scores[1:] > run.scores[:-1]) & (query_of[1:] == query_of[:-1])
    if rises.any():
        first = int(np.argmax(rises))
        raise ValueError(
            f"{name}: query {run.queries[query_of[first]]} has the score {run.scores[first]} and then the higher one "
            f"{run.scores[first + 1]}; the order of the items is the ranking, so write the best first, or rank by "
            "score (mender score --by_score)."
        )
    keys = np.sort(query_of * (num_items + 1) + run.items.astype(np.int64))
    repeated = keys[1:] == keys[:-1]
    if repeated.any():
        query, item = divmod(int(keys[np.argmax(repeated)]), num_items + 1)
        raise ValueError(
            f"{name}: item {item} occurs more than once in query {run.queries[query]}; name an item once."
        )
