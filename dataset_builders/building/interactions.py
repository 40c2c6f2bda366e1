"""Users' sequences from raw actions: k-core, time order, integer item ids, last-20 window, leave-last-out split.

Everything is an Ibis expression that runs on either engine of `dataset_builders.building.engines` with the same rows.
The sequences follow appendix B of the paper: users and items with fewer than five actions are dropped until all have
five, each user is cut to the most recent 20 items, the last is the test target, the second last the validation target.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic_write import atomic_write, scratch_directory
from .engines import close, connect, drop, is_duckdb, materialize, named_read_errors, read_parquet
from .sources.raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, Source

logger = logging.getLogger(__name__)

WINDOW = 20


@dataclass(frozen=True)
class Interactions:
    """The users' sequences and the catalog, on one connection.

    Args:
        events (`ibis.Table`): One row per action: `user_id` string, `position` int32 (1-based in the user's whole
            time-ordered sequence), `sequence_length` int32 (that user's number of actions), `item_id` int32,
            `timestamp` int64, `rating` float64 or NULL, `review` string or NULL. A table has no order: sort by
            (`user_id`, `position`).
        items (`ibis.Table`): One row per item that has an action: `item_id` int32, 1..num_items in the order of
            `source_id`, then `source_id`, `title`, `brand`, `categories`, `price`, `description` as in
            [`~dataset_builders.building.sources.raw_tables.RawTables`].
        num_users (`int`): Number of users.
        num_items (`int`): Number of items.
        num_actions (`int`): Number of actions.
        num_rounds (`int`): Rounds of the k-core; each tests all users or all items.
    """

    events: ibis.Table
    items: ibis.Table
    num_users: int
    num_items: int
    num_actions: int
    num_rounds: int


def load_source(source: Source, connection: ibis.BaseBackend, folder: Path | None = None) -> RawTables:
    """Reads a source into tables of either engine.

    For Spark, most sources are read by an embedded DuckDB, which streams their formats, and their tables are copied as
    Parquet. Larger data are given as raw tables that Spark reads itself:
    [`~dataset_builders.building.sources.raw.RawSource`], or [`RawTables`] of `connection.read_parquet("s3a://...")`.

    Args:
        source (`Source`): The source.
        connection (`ibis.BaseBackend`): From [`connect`].
        folder (`Path`, *optional*): As in [`copy_tables`].

    Returns:
        `RawTables`: Tables of `connection`.

    Raises:
        FileNotFoundError, ValueError: As the source's `load`.
    """
    if is_duckdb(connection) or getattr(source, "any_engine", False):
        return source.load(connection)
    reader = connect()
    try:
        return copy_tables(source.load(reader), connection, folder)
    finally:
        close(reader)


def copy_tables(raw: RawTables, connection: ibis.BaseBackend, folder: Path | None = None) -> RawTables:
    """Copies the tables of a source to another connection, through temporary Parquet files.

    Args:
        raw (`RawTables`): Tables of any connection.
        connection (`ibis.BaseBackend`): Connection of the copies.
        folder (`Path`, *optional*): Folder of the files, created if missing; the system's temporary folder by default.
            On a cluster all workers must reach it.

    Returns:
        `RawTables`: The same rows and counts on `connection`.
    """
    copies: dict[str, ibis.Table] = {}
    with scratch_directory(folder) as temporary:
        for name, table in (("interactions", raw.interactions), ("items", raw.items)):
            path = Path(temporary) / f"{name}.parquet"
            table.to_parquet(path)
            copies[name] = materialize(connection, read_parquet(connection, path, "view"), name)
    return RawTables(copies["interactions"], copies["items"], raw.skipped, raw.noted)


@named_read_errors()
def prepare_interactions(raw: RawTables, min_count: int = 5, user_stride: int = 1) -> Interactions:
    """Applies the k-core, orders every user's actions in time, and numbers the items (appendix B, table 3).

    Time order is by `timestamp`, ties by `row`: the result depends on values, not on the physical order of the rows.
    Equal actions (same user, item and time) are separate actions, as in table 3's counts.

    Args:
        raw (`RawTables`): The tables of a source, on either engine; they are only read.
        min_count (`int`, *optional*, defaults to 5): k of the k-core: users and items with fewer actions are dropped
            until none is left. 1 keeps everything.
        user_stride (`int`, *optional*, defaults to 1): Stride of the users that are kept after the k-core, the first
            included, in the order of `user_id`; 7 makes a 1-in-7 subsample, as of Steam in appendix B. Items without
            an action are dropped, the others numbered from 1. Users keep their whole sequences; an item may have fewer
            than `min_count` actions left.

    Returns:
        `Interactions`: Materialized on the connection of `raw`.

    Raises:
        ValueError: If `min_count` or `user_stride` is below 1, a column is missing or has another type, a key is NULL
            or repeated, an action names an item that `raw.items` lacks, or nothing is left after the k-core.
    """
    if min_count < 1:
        raise ValueError(f"min_count ({min_count}) must be at least 1; 1 keeps every user and item")
    if user_stride < 1:
        raise ValueError(f"user_stride ({user_stride}) must be at least 1; 1 keeps every user, 7 every seventh")
    _check_raw(raw)
    connection = raw.interactions.get_backend()
    logger.info("checked the tables")
    kept, num_rounds = _k_core(connection, raw.interactions, min_count)
    if user_stride > 1:
        kept = _replace(connection, kept, _every_kth_user(kept, user_stride))
    items = _numbered_items(connection, raw.items, kept)
    logger.info("numbered the items")
    events = _sequences(connection, raw.interactions, kept, items)
    drop(kept)
    logger.info("ordered the actions")
    counts = events.aggregate(users=events.user_id.nunique(), actions=events.count()).to_pyarrow().to_pylist()[0]
    return Interactions(events, items, int(counts["users"]), _count(items), int(counts["actions"]), num_rounds)


def write_interactions(interactions: Interactions, folder: Path, window: int | None = None) -> None:
    """Writes `events.parquet`, ordered by user and position, and `items.parquet`, ordered by item id.

    Rows stream from the engine to the files, in bounded memory; each file appears only when it is complete.

    Args:
        interactions (`Interactions`): The sequences.
        folder (`Path`): An existing folder; files of these names are replaced.
        window (`int`, *optional*): Window of [`with_splits`], whose columns are added to the events; no such columns
            by default.
    """
    events = interactions.events if window is None else with_splits(interactions.events, window)
    with atomic_write(folder / "events.parquet") as path:
        _stream(events.order_by("user_id", "position"), path)
    with atomic_write(folder / "items.parquet") as path:
        _stream(interactions.items.order_by("item_id"), path)


def with_splits(events: ibis.Table, window: int = WINDOW) -> ibis.Table:
    """Adds the window, history and split of every action as columns.

    [`~dataset_builders.building.sequences.Sequences`] has the same as arrays.

    Args:
        events (`ibis.Table`): Events of [`Interactions`].
        window (`int`, *optional*, defaults to 20): Length of the window.

    Returns:
        `ibis.Table`: All rows and columns of `events`, then `split` string (leave-last-out: the last position is
        "test", the one before "validation", all others "train"), `in_window` bool (among the user's last `window`
        ones; the others are neither targets nor in a history) and `history_length` int32, the number of items of the
        window before this one.

    Raises:
        ValueError: If the window is below 2.
    """
    if window < 2:
        raise ValueError(f"window ({window}) must be at least 2: a target and one item of history")
    window_start = ibis.greatest(1, events.sequence_length - window + 1)
    from_end = events.sequence_length - events.position
    return events.mutate(
        split=ibis.cases((from_end == 0, "test"), (from_end == 1, "validation"), else_="train"),
        in_window=events.position >= window_start,
        history_length=ibis.greatest(0, events.position - window_start).cast("int32"),
    )


def target_counts(events: ibis.Table, window: int = WINDOW) -> ibis.Table:
    """Counts the targets of each split: actions in the window with at least one item of history.

    Args:
        events (`ibis.Table`): Events of [`Interactions`].
        window (`int`, *optional*, defaults to 20): Length of the window.

    Returns:
        `ibis.Table`: `split` string, `targets` int64, `items` int64, the number of distinct items among the targets.
    """
    events = with_splits(events, window)
    events = events.filter(events.history_length > 0)
    return events.group_by("split").agg(targets=events.count(), items=events.item_id.nunique())


def _check_raw(raw: RawTables) -> None:
    """Refuses tables that would silently multiply or lose actions, since sources may be third-party code."""
    for label, table, schema in (
        ("interactions", raw.interactions, INTERACTION_SCHEMA),
        ("items", raw.items, ITEM_SCHEMA),
    ):
        expected = ibis.Schema.from_pyarrow(schema)
        for column, column_type in expected.items():
            if column not in table.columns:
                raise ValueError(f"{label} lack the column {column!r}; a source must give {', '.join(expected)}")
            if table[column].type().copy(nullable=True) != column_type.copy(nullable=True):
                raise ValueError(f"{label} column {column!r} is {table[column].type()}, must be {column_type}")
    keys = raw.interactions
    nulls = ibis.or_(keys.user_id.isnull(), keys.source_id.isnull(), keys.timestamp.isnull(), keys.row.isnull())
    if count := _count(keys.filter(nulls)):
        raise ValueError(f"{count} interactions have a NULL user_id, source_id, timestamp or row; fill or drop them")
    for label, column in (("interactions column 'row'", keys.row), ("items key", raw.items.source_id)):
        counts = column.as_table().aggregate(total=column.count(), distinct=column.nunique())
        total, distinct = counts.to_pyarrow().to_pylist()[0].values()
        if total != distinct:
            raise ValueError(f"{label} must be unique, {total - distinct} of {total} values repeat another")
    known = raw.items.select("source_id")
    unknown = keys.select("source_id").distinct().anti_join(known, "source_id").order_by("source_id").limit(5)
    if examples := unknown.to_pyarrow()["source_id"].to_pylist():
        raise ValueError(f"interactions name items that the items table lacks, for example {', '.join(examples)}")


def _k_core(connection: ibis.BaseBackend, interactions: ibis.Table, min_count: int) -> tuple[ibis.Table, int]:
    """Finds the largest part in which every user and every item has `min_count` actions.

    Rounds test users and items in turn and end with a round that drops nothing. Each round is materialized: a nested
    expression would recompute all earlier rounds. The rounds carry the keys only; review texts are joined at the end.

    Returns:
        `tuple[ibis.Table, int]`: `user_id`, `source_id`, `timestamp`, `row` of the actions kept; the number of rounds.
    """
    kept = materialize(connection, interactions.select("user_id", "source_id", "timestamp", "row"), "kept")
    before = size = _count(kept)
    num_rounds = 0
    while size and min_count > 1:
        key = ("user_id", "source_id")[num_rounds % 2]
        frequent = kept.group_by(key).having(kept.count() >= min_count).agg()
        kept, previous_size = _replace(connection, kept, kept.semi_join(frequent, key)), size
        size, num_rounds = _count(kept), num_rounds + 1
        logger.info("k-core, round %d (%s): %d of %d actions are left", num_rounds, key, size, before)
        if size == previous_size and num_rounds > 1:  # the first round says nothing of the items
            break
    if not size:
        users, items = (int(interactions[key].nunique().to_pyarrow().as_py()) for key in ("user_id", "source_id"))
        raise ValueError(
            f"no action is left after the k-core with min_count={min_count}; before it: {users} users, {items} items, "
            f"{before} actions. Lower min_count or give more interactions"
        )
    return kept, num_rounds


def _every_kth_user(kept: ibis.Table, user_stride: int) -> ibis.Table:
    users = kept.select("user_id").distinct()
    users = users.mutate(number=ibis.row_number().over(order_by=users.user_id))
    return kept.semi_join(users.filter(users.number % user_stride == 0), "user_id")


def _replace(connection: ibis.BaseBackend, table: ibis.Table, expression: ibis.Table) -> ibis.Table:
    """Materializes an expression and drops the table that it is made from."""
    replacement = materialize(connection, expression, "kept")
    drop(table)
    return replacement


def _count(table: ibis.Table) -> int:
    return int(table.count().to_pyarrow().as_py())


def _numbered_items(connection: ibis.BaseBackend, items: ibis.Table, kept: ibis.Table) -> ibis.Table:
    """Numbers the items of the k-core from 1 in the order of their keys; 0 stays free for padding.

    Numbering needs all rows in one place, so it uses the keys alone, and the descriptions are joined.
    """
    keys = kept.select("source_id").distinct()
    keys = keys.mutate(item_id=(ibis.row_number().over(order_by=keys.source_id) + 1).cast("int32"))
    numbered = items.inner_join(keys, "source_id").select("item_id", *ITEM_SCHEMA.names)
    return materialize(connection, numbered, "items")


def _sequences(
    connection: ibis.BaseBackend, interactions: ibis.Table, kept: ibis.Table, items: ibis.Table
) -> ibis.Table:
    """Adds to the actions of the k-core their position in the user's sequence and its length.

    Only keys are sorted; the wide review texts only stream through the last join.
    """
    keys = kept.inner_join(items, "source_id").select("user_id", "timestamp", "row", "item_id")
    in_time = ibis.window(group_by=keys.user_id, order_by=[keys.timestamp, keys.row])
    places = keys.select(
        "row",
        "item_id",
        position=(ibis.row_number().over(in_time) + 1).cast("int32"),
        sequence_length=keys.count().over(group_by=keys.user_id).cast("int32"),
    )
    places = materialize(connection, places, "places")
    columns = ("user_id", "position", "sequence_length", "item_id", "timestamp", "rating", "review")
    events = materialize(connection, interactions.inner_join(places, "row").select(*columns), "events")
    drop(places)
    return events


def _stream(table: ibis.Table, path: Path) -> None:
    """Writes an ordered table as one Parquet file; Spark's parts are joined in order, row group by row group."""
    if is_duckdb(table.get_backend()):
        table.to_parquet(path)
        return
    parts = path.with_suffix(".parts")
    try:
        table.to_parquet(parts)
        files = sorted(parts.glob("part-*.parquet"))
        # Not the parts' own schema: Spark marks columns as non-NULL, DuckDB does not.
        schema = pa.schema([field.with_nullable(True) for field in pq.read_schema(files[0]).remove_metadata()])
        with pq.ParquetWriter(path, schema) as writer:
            for part in map(pq.ParquetFile, files):
                for group in range(part.num_row_groups):
                    writer.write_table(part.read_row_group(group).cast(schema))
    finally:
        shutil.rmtree(parts, ignore_errors=True)
