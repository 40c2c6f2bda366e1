"""Raw tables that every source yields: their columns, the counts of skipped records, and the protocol of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import ibis
import pyarrow as pa
from ibis.util import gen_name

INTERACTION_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "source_id": pa.string(),
        "timestamp": pa.int64(),
        "rating": pa.float64(),
        "review": pa.string(),
        "row": pa.int64(),
    }
)
ITEM_SCHEMA = pa.schema(
    {
        "source_id": pa.string(),
        "title": pa.string(),
        "brand": pa.string(),
        "categories": pa.list_(pa.string()),
        "price": pa.float64(),
        "description": pa.string(),
    }
)


class RecordCounts(Counter[str]):
    """Number of raw records per reason, for the report on what a source skipped or found incomplete.

    >>> counts = RecordCounts()
    >>> counts["reviews: malformed line"] += 2
    >>> counts["reviews: no rating"] += 1
    >>> counts.report()
    '3 records: 2 reviews: malformed line; 1 reviews: no rating'
    >>> RecordCounts().report()
    'none'
    """

    def report(self) -> str:
        """All counts in one line, the most frequent reason first."""
        if not self.total():
            return "none"
        reasons = sorted(((reason, count) for reason, count in self.items() if count), key=lambda rc: (-rc[1], rc[0]))
        noun = "record" if self.total() == 1 else "records"
        return f"{self.total()} {noun}: " + "; ".join(f"{count} {reason}" for reason, count in reasons)


@dataclass(frozen=True)
class RawTables:
    """Two tables on one connection, and the counts of what was left out.

    Args:
        interactions (`ibis.Table`): One row per action: `user_id` string, `source_id` string (the item's key in the
            source), `timestamp` int64 (only the order counts), `rating` float64 or NULL, `review` string or NULL,
            `row` int64 (the unique input position, which orders actions of equal time).
        items (`ibis.Table`): One row per item: `source_id` string, `title` string (may be NULL), `brand` string ("" if
            none), `categories` array<string> from broad to leaf (may be empty), `price` float64 or NULL, `description`
            string ("" if none).
        skipped (`RecordCounts`): Reason -> number of raw records that were dropped.
        noted (`RecordCounts`): Reason -> number of raw records that were kept although something is missing.
    """

    interactions: ibis.Table
    items: ibis.Table
    skipped: dict[str, int] = field(default_factory=RecordCounts)
    noted: dict[str, int] = field(default_factory=RecordCounts)


@runtime_checkable
class Source(Protocol):
    """A reader of one format; which data are present (ratings, reviews, prices) is found in its tables.

    A source may have a `notice`: a sentence or two at the head of every card made from it. It may declare
    `any_engine = True` if `load` works on Spark as well as on DuckDB.
    """

    name: str

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Reads the source into tables of `connection`; see [`RawTables`] for the columns."""
        ...

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on, by name: a `Path` stands for its content, all else for itself."""
        ...


def register_table(connection: ibis.BaseBackend, table: pa.Table, name: str) -> ibis.Table:
    """Copies an Arrow table into a temporary table of `connection`.

    Args:
        connection (`ibis.BaseBackend`): The connection that owns the new table.
        table (`pyarrow.Table`): The rows.
        name (`str`): A readable prefix; the table's name is unique.

    Returns:
        `ibis.Table`: The table, with columns as in `table`.
    """
    # A bound table, not a bare memtable: that one has no backend, so an expression over it alone would silently run on
    # Ibis's default connection, beyond the memory limit set on ours. And not the Arrow table itself: Ibis 12 then ends
    # with a DROP VIEW that newer sqlglot writes without the name.
    return connection.create_table(gen_name(name), ibis.memtable(table), temp=True)


def fill_table(connection: ibis.BaseBackend, batches: Iterable[pa.Table], schema: pa.Schema, name: str) -> ibis.Table:
    """Streams Arrow tables into a temporary table of DuckDB, one at a time and without a file in between.

    Args:
        connection (`ibis.BaseBackend`): An embedded DuckDB, which owns the new table.
        batches (`Iterable[pyarrow.Table]`): The rows in order, with the columns of `schema`.
        schema (`pyarrow.Schema`): Columns and types.
        name (`str`): A readable prefix; the table's name is unique.

    Returns:
        `ibis.Table`: The table. If `batches` raises, it is dropped.
    """
    table = connection.create_table(gen_name(name), schema=ibis.Schema.from_pyarrow(schema), temp=True)
    batch_name = gen_name("batch")
    try:
        for batch in batches:
            connection.con.register(batch_name, batch.select(schema.names))
            connection.raw_sql(f'INSERT INTO "{table.op().name}" SELECT * FROM "{batch_name}"')
            connection.con.unregister(batch_name)
    except BaseException:
        connection.raw_sql(f'DROP TABLE "{table.op().name}"')
        raise
    return table
