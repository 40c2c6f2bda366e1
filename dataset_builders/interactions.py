"""From raw actions to users' sequences: k-core, time order, integer item ids, last-20 window, leave-last-out split.

Everything is an Ibis expression on an embedded DuckDB, which spills to disk, so size is not a matter of memory. This
file knows nothing of where the actions come from (`dataset_builders.sources`), nor of preferences and axes.

The sequences follow appendix B of the paper: users and items with fewer than five actions are dropped until all have
five, each user is cut to the most recent 20 items, the last is the test target, the second last the validation target.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from dataset_builders.sources import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables

WINDOW = 20


@dataclass(frozen=True)
class Interactions:
    """
    The users' sequences and the catalogue, on one connection.

    Args:
        events (`ibis.Table`):
            One row per action: `user_id` string, `position` int32 (1-based in the user's whole time-ordered sequence),
            `sequence_length` int32 (that user's number of actions), `item_id` int32, `timestamp` int64, `rating`
            float64 or NULL, `review` string or NULL. A table has no order: sort by (`user_id`, `position`).
        items (`ibis.Table`):
            One row per item that has an action: `item_id` int32, 1..num_items in the order of `source_id`, then
            `source_id`, `title`, `brand`, `categories`, `price`, `description` as in
            [`~dataset_builders.sources.RawTables`].
        num_users (`int`): Number of users.
        num_items (`int`): Number of items.
        num_actions (`int`): Number of actions.
    """

    events: ibis.Table
    items: ibis.Table
    num_users: int
    num_items: int
    num_actions: int


@dataclass(frozen=True)
class Statistics:
    """A row of table 3: the counts after the k-core, and the averages that follow from them."""

    num_users: int
    num_items: int
    num_actions: int
    actions_per_user: float
    actions_per_item: float


def connect(memory_limit: str | None = None, temp_directory: Path | None = None) -> ibis.BaseBackend:
    """
    Opens an embedded DuckDB that spills what exceeds the memory limit to disk.

    Args:
        memory_limit (`str`, *optional*): For example "4GB"; DuckDB's default is 80 % of the machine.
        temp_directory (`Path`, *optional*): Where to spill; the system's temporary folder by default.

    Returns:
        `ibis.BaseBackend`: the connection, in UTC; its tables live as long as it does.

    Raises:
        ValueError: a memory limit that DuckDB cannot read.
    """
    # DuckDB's own default for the spill is `.tmp` in the working directory, which would litter the user's folder.
    spill = temp_directory or Path(tempfile.gettempdir()) / f"mender-duckdb-{os.getpid()}"
    spill.parent.mkdir(parents=True, exist_ok=True)
    settings = {} if memory_limit is None else {"memory_limit": memory_limit}
    try:
        connection = ibis.duckdb.connect(temp_directory=spill, **settings)
    except duckdb.Error as error:
        raise ValueError(f"memory_limit ({memory_limit!r}) is not understood by DuckDB; write it as '4GB'") from error
    connection.raw_sql("SET TimeZone = 'UTC'")  # a timestamp's integer value must not depend on the machine's place
    return connection


def prepare_interactions(raw: RawTables, min_count: int = 5) -> Interactions:
    """
    Applies the k-core, orders every user's actions in time, and numbers the items (appendix B, table 3).

    Time order is by `timestamp`, ties by `row`: the result depends on values, not on the physical order of the rows.
    Equal actions (same user, item and time) are separate actions, as in table 3's counts.

    Args:
        raw (`RawTables`): The tables of a source.
        min_count (`int`, *optional*, defaults to 5):
            Users and items with fewer actions are dropped, until all left have as many. 1 keeps everything.

    Returns:
        `Interactions`: materialised on the connection of `raw`.

    Raises:
        ValueError: `min_count` below 1, a column missing or of another type, NULL or duplicate keys, an action on an
            item that `raw.items` does not hold, or nothing left after the k-core.
    """
    if min_count < 1:
        raise ValueError(f"min_count ({min_count}) must be at least 1; 1 keeps every user and item")
    _check_raw(raw)
    connection = raw.interactions.get_backend()
    kept = _k_core(connection, raw.interactions, min_count)
    items = _numbered_items(connection, raw.items, kept)
    events = _sequences(connection, raw.interactions, kept, items)
    _drop(connection, kept)
    counts = events.aggregate(users=events.user_id.nunique(), actions=events.count()).to_pyarrow().to_pylist()[0]
    return Interactions(events, items, counts["users"], int(items.count().to_pyarrow().as_py()), counts["actions"])


def statistics(interactions: Interactions) -> Statistics:
    """
    Args:
        interactions (`Interactions`): The sequences.

    Returns:
        `Statistics`: users, items, actions and actions per user and per item, the columns of table 3.
    """
    users, items, actions = interactions.num_users, interactions.num_items, interactions.num_actions
    return Statistics(users, items, actions, actions / users, actions / items)


def in_window(
    position: int | ir.IntegerValue, sequence_length: int | ir.IntegerValue, window: int = WINDOW
) -> bool | ir.BooleanValue:
    """
    Whether a position is among the user's last `window` ones; those before are neither targets nor in a history.

    Args:
        position (`int` or `ibis` integer): 1-based.
        sequence_length (`int` or `ibis` integer): The user's number of actions.
        window (`int`, *optional*, defaults to 20): Length of the window.

    Returns:
        `bool`, or an `ibis` boolean for `ibis` arguments.

    Example:

    >>> [position for position in range(1, 24) if in_window(position, 23)][0]
    4
    >>> in_window(1, 7)
    True
    """
    return position > sequence_length - window


def split_of(position: int, sequence_length: int) -> str:
    """
    The split whose target is at this position, by leave-last-out (appendix B).

    Args:
        position (`int`): 1-based.
        sequence_length (`int`): The user's number of actions.

    Returns:
        `str`: "test" for the last position, "validation" for the one before, "train" for all others.

    Raises:
        ValueError: a position outside 1..sequence_length.

    Example:

    >>> [split_of(position, 4) for position in (1, 2, 3, 4)]
    ['train', 'train', 'validation', 'test']
    """
    if not 1 <= position <= sequence_length:
        raise ValueError(f"position ({position}) must lie in 1..{sequence_length}, the user's sequence")
    return {0: "test", 1: "validation"}.get(sequence_length - position, "train")


def split_column(events: ibis.Table) -> ir.StringValue:
    """
    [`split_of`] as an expression.

    Args:
        events (`ibis.Table`): A table with `position` and `sequence_length`.

    Returns:
        `ibis` string column: "train", "validation" or "test".
    """
    from_end = events.sequence_length - events.position
    return ibis.cases((from_end == 0, "test"), (from_end == 1, "validation"), else_="train")


def windowed_events(interactions: Interactions, window: int = WINDOW) -> ibis.Table:
    """
    The events that may be targets or stand in a history: each user's last `window` ones.

    Args:
        interactions (`Interactions`): The sequences.
        window (`int`, *optional*, defaults to 20): Length of the window.

    Returns:
        `ibis.Table`: the columns of `events` and `split`; `position` still counts the whole sequence.
    """
    if window < 1:
        raise ValueError(f"window ({window}) must be at least 1; the paper keeps the last {WINDOW} items")
    events = interactions.events
    events = events.filter(in_window(events.position, events.sequence_length, window))
    return events.mutate(split=split_column(events))


def _check_raw(raw: RawTables) -> None:
    """The seam to sources written by others: what would silently multiply or lose actions is refused here."""
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
    nulls = keys.filter(ibis.or_(keys.user_id.isnull(), keys.source_id.isnull(), keys.timestamp.isnull())).count()
    if count := nulls.to_pyarrow().as_py():
        raise ValueError(f"{count} interactions have a NULL user_id, source_id or timestamp; drop or fill them first")
    for label, column in (("interactions column 'row'", raw.interactions.row), ("items key", raw.items.source_id)):
        total, distinct = (expression.to_pyarrow().as_py() for expression in (column.count(), column.nunique()))
        if total != distinct:
            raise ValueError(f"{label} must be unique, {total - distinct} of {total} values repeat another")
    known = raw.items.select("source_id")
    unknown = keys.select("source_id").distinct().anti_join(known, "source_id").order_by("source_id").limit(5)
    if examples := unknown.to_pyarrow()["source_id"].to_pylist():
        raise ValueError(f"interactions name items that the items table lacks, for example {', '.join(examples)}")


def _k_core(connection: ibis.BaseBackend, interactions: ibis.Table, min_count: int) -> ibis.Table:
    """
    The rows of the largest part in which every user and every item has `min_count` actions.

    Each round is materialised: an expression nested round over round would recompute all earlier ones. The rounds
    carry the keys only; review texts join in at the end.

    Returns:
        `ibis.Table`: `user_id`, `source_id`, `row` of the actions kept.
    """
    kept = connection.create_table(gen_name("kept"), interactions.select("user_id", "source_id", "row"), temp=True)
    before = _sizes(kept)
    size = before["actions"]
    while size and min_count > 1:
        smaller = kept
        for key in ("user_id", "source_id"):
            frequent = kept.group_by(key).having(kept.count() >= min_count).agg()
            smaller = smaller.semi_join(frequent, key)
        smaller = connection.create_table(gen_name("kept"), smaller, temp=True)
        _drop(connection, kept)
        kept, previous_size = smaller, size
        size = int(kept.count().to_pyarrow().as_py())
        if size == previous_size:
            break
    if not size:
        raise ValueError(
            f"no action is left after the k-core with min_count={min_count}; before it: {before['users']} users, "
            f"{before['items']} items, {before['actions']} actions. Lower min_count or give more interactions"
        )
    return kept


def _drop(connection: ibis.BaseBackend, table: ibis.Table) -> None:
    # Ibis 12's own drop_table fails: newer sqlglot writes its DROP TABLE without the name.
    connection.raw_sql(f'DROP TABLE "{table.op().name}"')


def _sizes(actions: ibis.Table) -> dict[str, int]:
    counts = actions.aggregate(
        users=actions.user_id.nunique(), items=actions.source_id.nunique(), actions=actions.count()
    )
    return counts.to_pyarrow().to_pylist()[0]


def _numbered_items(connection: ibis.BaseBackend, items: ibis.Table, kept: ibis.Table) -> ibis.Table:
    """The items of the k-core, numbered from 1 in the order of their keys: 0 stays free for padding."""
    items = items.semi_join(kept, "source_id")
    item_id = (ibis.row_number().over(order_by=items.source_id) + 1).cast("int32")
    numbered = items.select(item_id.name("item_id"), *ITEM_SCHEMA.names).order_by("item_id")
    return connection.create_table(gen_name("items"), numbered, temp=True)


def _sequences(
    connection: ibis.BaseBackend, interactions: ibis.Table, kept: ibis.Table, items: ibis.Table
) -> ibis.Table:
    """The actions of the k-core with their position in the user's sequence and its length.

    Sorting is done on keys alone, and the wide review texts only stream through the last join.
    """
    keys = interactions.select("user_id", "source_id", "timestamp", "row").semi_join(kept, "row")
    keys = keys.inner_join(items, "source_id").select("user_id", "timestamp", "row", "item_id")
    in_time = ibis.window(group_by=keys.user_id, order_by=[keys.timestamp, keys.row])
    places = keys.select(
        "row",
        "item_id",
        position=(ibis.row_number().over(in_time) + 1).cast("int32"),
        sequence_length=keys.count().over(group_by=keys.user_id).cast("int32"),
    )
    places = connection.create_table(gen_name("places"), places, temp=True)
    columns = ("user_id", "position", "sequence_length", "item_id", "timestamp", "rating", "review")
    events = interactions.inner_join(places, "row").select(*columns)
    events = connection.create_table(gen_name("events"), events, temp=True)
    _drop(connection, places)
    return events
