"""Find the rank of every row's target in a run, under two protocols.

`all` ranks every item; `unseen` removes the items of the row's own history from the same ranking.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..benchmark.axes import AXES, METRICS, VARIANTS, get_axis
from ..benchmark.parquet_files import read_parquet
from ..benchmark.tables import choose_rows
from ..typed_arguments import shown
from .result_parts import AGAIN, is_count
from .runs import Run, read_about, write_described

NOT_FOUND = 0
"""Rank of a target that the ranking lacks; a null rank was not evaluated."""

OTHER_VARIANTS = ("", "no_preference")
"""Variants in which the rank of a row's second item is kept."""
OBEYING_PLACES = 10
"""Places of a list of which the share that obeys is kept."""


def rank_column(variant: str = "", other: bool = False, unseen: bool = False) -> str:
    """Name of a column of ranks.

    >>> rank_column(), rank_column("no_preference", other=True, unseen=True)
    ('rank', 'rank_other_no_preference_unseen')
    """
    return _joined("rank", "other" if other else "", variant, "unseen" if unseen else "")


def obeying_column(variant: str = "") -> str:
    """Name of a column of shares that obey.

    >>> obeying_column(), obeying_column("no_preference")
    ('obeying', 'obeying_no_preference')
    """
    return _joined("obeying", variant)


def other_name(variant: str = "") -> str:
    """Name of the second item's ranks among those of the variants, as in `other_no_preference`."""
    return _joined("other", variant)


def _joined(*parts: str) -> str:
    return "_".join(filter(None, parts))


_RANKS = [
    rank_column(variant, other, unseen)
    for other, variants in ((False, VARIANTS), (True, OTHER_VARIANTS))
    for variant in variants
    for unseen in (False, True)
]
RANKS_SCHEMA = pa.schema(
    {
        "axis": pa.string(),
        "row": pa.int32(),
        "user_id": pa.string(),
        "history_length": pa.int32(),
        "target": pa.int32(),
        "other": pa.int32(),
        "part": pa.string(),
        **dict.fromkeys(_RANKS, pa.int32()),
        **{obeying_column(variant): pa.float32() for variant in OTHER_VARIANTS},
    }
)
"""Columns of rows.parquet; files of earlier versions lack some, which are null."""
_FIRST_COLUMNS = ("axis", "row", "user_id", "history_length", "target", "rank", "rank_no_preference", "rank_negative")


Obeying = Callable[[Sequence[Any]], Sequence[frozenset[int] | None]]


def variants_of(axis: str) -> tuple[str, ...]:
    """Input variants of an axis: `""` has the row's preference (the positive one of two)."""
    return tuple(get_axis(axis).asked)


def query_ids(axis: str, rows: Iterable[int], variant: str = "") -> list[str]:
    """Names of queries in a run.

    >>> query_ids("fine", [0, 7], "no_preference")
    ['fine/0/no_preference', 'fine/7/no_preference']
    """
    ending = f"/{variant}" if variant else ""
    return [f"{axis}/{row}{ending}" for row in rows]


def check_queries(run: Run, num_rows: Mapping[str, int]) -> None:
    """Refuses a run with queries that the benchmark does not have.

    Args:
        run ([`Run`]): Rankings.
        num_rows (`Mapping[str, int]`): Number of rows of every axis of the benchmark, scored or not.

    Raises:
        ValueError: If there are unknown queries; names the first.
    """
    known = [
        query for axis in num_rows for variant in variants_of(axis)
        for query in query_ids(axis, range(num_rows[axis]), variant)
    ]  # fmt: skip
    unknown = run.queries.filter(pc.invert(pc.is_in(run.queries, value_set=pa.array(known, pa.string()))))
    if len(unknown):
        rows = ", ".join(f"{axis} 0..{count - 1}" for axis, count in num_rows.items())
        raise ValueError(
            f"{len(unknown)} queries are not of this benchmark, the first is {unknown[0]}; a query is axis/row, "
            f"axis/row/variant such as fine/3/no_preference, with the rows {rows}."
        )


def rank_rows(
    run: Run, tables: Mapping[str, datasets.Dataset], max_rows: int = 0, obeying: Obeying | None = None
) -> pa.Table:
    """Finds the target of every row in the run.

    Args:
        run ([`Run`]): Checked by [`check_queries`].
        tables (`Mapping[str, datasets.Dataset]`): All rows of each axis.
        max_rows (`int`, defaults to 0): Maximum rows of each axis, see [`choose_rows`].
        obeying (`Callable`, *optional*): Preferences of rows to the items that obey each, `None` where that is
            unknown; where known, the share of the first ten that obeys is kept.

    Returns:
        `pa.Table`: `RANKS_SCHEMA`; one row per benchmark row, with its number. Ranks start at 1; 0 is not found; a
        variant that the run lacks on an axis is null.

    Raises:
        ValueError: If the run has only some queries of an axis; names the first missing one.
    """
    return pa.concat_tables(
        [_rank_axis(run, axis, rows, choose_rows(len(rows), max_rows), obeying) for axis, rows in tables.items()]
    )


def write_ranks(ranks: pa.Table, path: str | Path, about: Mapping[str, Any]) -> None:
    """Writes rows.parquet, whole or not at all; `about` describes its maker, as in a run file."""
    write_described(ranks, path, about)


def read_ranks(path: str | Path) -> tuple[pa.Table, dict[str, Any]]:
    """Reads a file of [`write_ranks`]: the ranks and the description of their maker.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no table of ranks.
    """
    table = read_parquet(path, "pass a rows.parquet that mender evaluate wrote")
    fits = set(_FIRST_COLUMNS) <= set(table.schema.names) and all(
        field.name in RANKS_SCHEMA.names and field.type == RANKS_SCHEMA.field(field.name).type
        for field in table.schema
    )
    if not fits:
        raise ValueError(
            f"{path} is no table of ranks: it has the columns {', '.join(table.schema.names)}; pass a rows.parquet "
            "that mender evaluate wrote."
        )
    metadata = table.schema.metadata
    columns = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in RANKS_SCHEMA
    ]
    table = pa.table(columns, schema=RANKS_SCHEMA).replace_schema_metadata(metadata)
    if unknown := set(pc.unique(table.column("axis")).to_pylist()) - AXES.keys():
        named = min(map(str, unknown))
        raise ValueError(f"{path} has rows of the axis {shown(named)}, which is none of {', '.join(AXES)}; {AGAIN}.")
    for name in ("row", "target", *_RANKS):
        low = pc.min(table.column(name)).as_py()
        if low is not None and low < 0:
            raise ValueError(f"{path} has {low} in the column {name}; {AGAIN}.")
        if name in ("row", "target") and table.column(name).null_count:
            raise ValueError(f"{path} has missing values in the column {name}; {AGAIN}.")
    about = read_about(table.schema, path)
    if not isinstance(about.get("k", []), list) or not all(is_count(k, 1) for k in about.get("k", [])):
        raise ValueError(f"{path}: the metadata's k ({shown(about['k'])}) must be counts of at least 1; {AGAIN}.")
    return table, about


def _rank_axis(run: Run, axis: str, rows: datasets.Dataset, numbers: np.ndarray, obeying: Obeying | None) -> pa.Table:
    record = get_axis(axis)
    names = [name for name in ("user_id", "history", "target", record.other, record.part) if name in rows.column_names]
    table = rows.select_columns(names).with_format("arrow")[:].take(pa.array(numbers))
    targets = table.column("target").to_numpy()
    others = table.column(record.other).to_numpy() if record.other else None
    if "history" in names:
        history = table.column("history").combine_chunks()
        lengths, seen = pc.list_value_length(history).to_numpy(), history.flatten().to_numpy()
    else:
        lengths, seen = np.zeros(len(numbers), np.int64), np.empty(0, np.int64)
    columns: dict[str, Any] = {
        "axis": [axis] * len(numbers),
        "row": numbers,
        "user_id": table.column("user_id").combine_chunks() if "user_id" in names else None,
        "history_length": lengths,
        "target": targets,
        "other": others,
        "part": table.column(record.part).combine_chunks() if record.part in names else None,
    }
    answered = {variant: _places(run, axis, numbers, variant) for variant in record.asked}
    if "negative" in answered and answered[""] is None and answered["negative"] is not None:
        missing = query_ids(axis, numbers[:1])[0]
        raise ValueError(f"query {missing} is missing: {axis} needs the answers to both preferences, or neither.")
    if answered[""] is not None:
        for variant in METRICS[record.metric]:
            if answered[variant] is None:
                missing = query_ids(axis, numbers[:1], variant)[0]
                ways = ", ".join("/".join(filter(None, (axis, "row", way))) for way in ("", *METRICS[record.metric]))
                raise ValueError(
                    f"query {missing} is missing: {axis} needs the answers to {ways}, or to none of them."
                )
    wanted = None
    if obeying is not None and (column := record.asked[""]) is not None:
        wanted = obeying(rows.select(numbers)[column])
    for variant, places in answered.items():
        if places is None:
            continue
        for other, items in ((False, targets), (True, others)):
            if items is not None and (not other or variant in OTHER_VARIANTS):
                pair = rank_column(variant, other), rank_column(variant, other, unseen=True)
                columns |= dict(zip(pair, _find(run, places, items, lengths, seen), strict=True))
        if record.metric == "avoid" and variant == "" and (before := answered["no_preference"]) is not None:
            # Leaving items out is no way to avoid one: a shorter list counts as one that shows it.
            shorter = _is_shorter(run, places, before)
            for unseen in (False, True):
                columns[rank_column(other=True, unseen=unseen)][shorter] = 1
        if wanted is not None and variant in OTHER_VARIANTS:
            columns[obeying_column(variant)] = _obeying_shares(run, places, wanted)
    nothing = pa.nulls(len(numbers))
    arrays = [columns.get(field.name) for field in RANKS_SCHEMA]
    return pa.table(
        [
            (nothing if array is None else pa.array(array)).cast(field.type)
            for field, array in zip(RANKS_SCHEMA, arrays, strict=True)
        ],
        schema=RANKS_SCHEMA,
    )


def _is_shorter(run: Run, places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each ranking has fewer items, of the first ten, than another one."""
    lengths = np.minimum(np.diff(run.offsets), OBEYING_PLACES)
    return lengths[places] < lengths[others]


def _obeying_shares(run: Run, places: np.ndarray, wanted: Sequence[frozenset[int] | None]) -> list[float | None]:
    """Share of the first ten places with items that obey; of fewer where fewer items obey; `None` if unknown."""
    shares: list[float | None] = []
    for place, items in zip(places.tolist(), wanted, strict=True):
        if not items:
            shares.append(None)
            continue
        depth = min(OBEYING_PLACES, len(items))
        ranked = run.items[run.offsets[place] : run.offsets[place + 1]][:depth].tolist()
        shares.append(sum(item in items for item in ranked) / depth)
    return shares


def _places(run: Run, axis: str, numbers: np.ndarray, variant: str) -> np.ndarray | None:
    """Index of the ranking of each row in the run; `None` if the run has none of them."""
    queries = query_ids(axis, numbers, variant)
    places = pc.index_in(pa.array(queries, pa.string()), value_set=run.queries).fill_null(-1).to_numpy()
    missing = places < 0
    if missing.all():
        return None
    if missing.any():
        raise ValueError(
            f"query {queries[int(np.argmax(missing))]} is missing, and {missing.sum() - 1} more of {len(queries)}; "
            "answer all rows of an axis or none; an empty ranking is a miss."
        )
    return places


def _find(
    run: Run, places: np.ndarray, targets: np.ndarray, lengths: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the targets under both protocols.

    Args:
        places: Index of the ranking of each row, `(num_rows,)`.
        targets: Item ids, `(num_rows,)`.
        lengths, seen: Concatenated histories: lengths, `(num_rows,)`, and items.

    Returns:
        Ranks under `all` and under `unseen`, int32 `(num_rows,)` each.
    """
    num_rows = len(places)
    starts = run.offsets[places]
    depths = run.offsets[places + 1] - starts
    row = np.repeat(np.arange(num_rows), depths)
    rank_of_entry = np.arange(1, len(row) + 1) - np.repeat(np.cumsum(depths) - depths, depths)
    items = run.items[np.repeat(starts, depths) + rank_of_entry - 1]
    ranks = np.zeros(num_rows, np.int32)
    hit = items == targets[row]
    ranks[row[hit]] = rank_of_entry[hit]

    # only items above a target affect its rank, which keeps the search below cheap
    above = rank_of_entry < ranks[row]
    size = int(max(run.items.max(initial=0), seen.max(initial=0), targets.max(initial=0))) + 1
    seen_keys = np.repeat(np.arange(num_rows), lengths) * size + seen
    is_seen = np.isin(row[above] * size + items[above], seen_keys)
    moved = np.bincount(row[above][is_seen], minlength=num_rows).astype(np.int32)
    unseen = np.where(np.isin(np.arange(num_rows) * size + targets, seen_keys), NOT_FOUND, ranks - moved)
    return ranks, unseen.astype(np.int32)
