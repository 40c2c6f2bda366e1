"""Where interactions and items come from: the tables a source yields, the protocol it follows, and its name.

This file knows the raw tables' columns and the names of the sources. It leaves to `sources/<name>.py` how a format is
read, and to `dataset_builders.building.interactions` what happens next (k-core, time order, integer item ids).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ibis
import ibis.expr.datatypes as dt
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

# Imported on use, so that one source's parser costs nothing to those who use another.
_SOURCES: Mapping[str, tuple[str, str]] = {
    "amazon_reviews": ("dataset_builders.building.sources.amazon_reviews", "AmazonReviewsSource"),
    "raw": ("dataset_builders.building.sources.raw", "RawSource"),
    "sample": ("dataset_builders.building.sources.sample", "SampleSource"),
    "steam": ("dataset_builders.building.sources.steam", "SteamSource"),
    "tables": ("dataset_builders.building.sources.tables", "TablesSource"),
    "yelp": ("dataset_builders.building.sources.yelp", "YelpSource"),
}


class RecordCounts(Counter[str]):
    """Number of raw records per reason, for the report on what a source skipped or found incomplete.

    Example:

    >>> counts = RecordCounts()
    >>> counts["reviews: malformed line"] += 2
    >>> counts["reviews: no rating"] += 1
    >>> counts.report()
    '3 records: 2 reviews: malformed line; 1 reviews: no rating'
    >>> RecordCounts().report()
    'none'
    """

    def report(self) -> str:
        """Returns: `str`: one line, the most frequent reason first."""
        if not self.total():
            return "none"
        reasons = sorted(((reason, count) for reason, count in self.items() if count), key=lambda rc: (-rc[1], rc[0]))
        noun = "record" if self.total() == 1 else "records"
        return f"{self.total()} {noun}: " + "; ".join(f"{count} {reason}" for reason, count in reasons)


@dataclass(frozen=True)
class RawTables:
    """What a source yields: two tables on one connection, and the count of what was left out.

    Args:
        interactions (`ibis.Table`):
            One row per action: `user_id` string, `source_id` string (the item's key in the source), `timestamp` int64
            (only the order counts), `rating` float64 or NULL, `review` string or NULL, `row` int64 (the unique input
            position, which orders actions of equal time).
        items (`ibis.Table`):
            One row per item: `source_id` string, `title` string (may be NULL), `brand` string ("" if none),
            `categories` array<string> from broad to leaf (may be empty), `price` float64 or NULL, `description` string
            ("" if none).
        skipped (`dict[str, int]`): Reason -> number of raw records that were dropped.
        noted (`dict[str, int]`): Reason -> number of raw records that were kept although something is missing.
    """

    interactions: ibis.Table
    items: ibis.Table
    skipped: dict[str, int] = field(default_factory=RecordCounts)
    noted: dict[str, int] = field(default_factory=RecordCounts)


@runtime_checkable
class Source(Protocol):
    """A reader of one format. What the data hold (ratings, reviews, prices) is seen in the tables, not declared.

    A source may have a `notice`: a sentence or two that every card made from it carries first. It may say
    `any_engine = True` if `load` works on Spark as well as on DuckDB.
    """

    name: str

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Reads the source into tables of `connection`; see [`RawTables`] for the columns."""
        ...

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on, by name: a `Path` stands for its content, all else for itself."""
        ...


def available_sources() -> list[str]:
    """Returns: `list[str]`: the names that [`get_source`] knows, sorted."""
    return sorted(_SOURCES)


def get_source(name: str, **options: Any) -> Source:  # options belong to the source named
    """
    Makes a source by its name.

    Args:
        name (`str`): One of [`available_sources`].
        options: The arguments of that source, for example `reviews` and `metadata` for `amazon_reviews`.

    Returns:
        `Source`: the source; nothing is read before its `load`.

    Raises:
        ValueError: an unknown name, or options that this source does not take or cannot do without.
    """
    if name not in _SOURCES:
        raise ValueError(f"source {name!r} is not known; choose one of {', '.join(available_sources())}")
    module, class_name = _SOURCES[name]
    source = getattr(import_module(module), class_name)
    signature = inspect.signature(source)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"source {name!r} takes {signature}, got {sorted(options)}: {error}") from error
    return source(**options)


def register_table(connection: ibis.BaseBackend, table: pa.Table, name: str) -> ibis.Table:
    """
    Copies an Arrow table into a temporary table of `connection`.

    A bound table rather than a bare `ibis.memtable`: a memtable has no backend, so an expression over it alone would
    silently run on Ibis's default connection, beyond the memory limit set on ours.

    Args:
        connection (`ibis.BaseBackend`): The connection that owns the new table.
        table (`pyarrow.Table`): The rows.
        name (`str`): A readable prefix; the table's name is unique.

    Returns:
        `ibis.Table`: the table, with columns as in `table`.
    """
    # Given the Arrow table itself, Ibis 12 ends with a DROP VIEW that newer sqlglot writes without the name.
    return connection.create_table(gen_name(name), ibis.memtable(table), temp=True)


def is_array_of_strings(column_type: dt.DataType) -> bool:
    """Returns: `bool`: whether an Ibis type is `array<string>`."""
    return column_type.is_array() and column_type.value_type.is_string()
