"""User's own tables: one of interactions and one of items, as Parquet, CSV or JSON lines.

| interactions | | items | |
|---|---|---|---|
| `user_id` (or `user`) | required | `item_id` (or `item`) | required, unique |
| `item_id` (or `item`) | required | `title` | optional, but see below |
| `timestamp` | required: integer, or date and time | `brand` | optional |
| `rating` | optional: 1 to 5 | `categories` | optional: list, or text "Beauty > Bath > Soaps" |
| `review` | optional | `price` | optional |
| | | `description` | optional |

An item without a title needs a brand or categories, which are embedded and shown in its place; a price or a
description alone does not stand for an item. Keys may have any type; they are compared as text. Other columns are
ignored. Unlike crawled files, these tables are not cleaned: missing or contradictory values are errors, because their
owner can correct them.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from .cleaning import NO_BRAND
from .raw_tables import ITEM_SCHEMA, RawTables, RecordCounts, is_array_of_strings

ALIASES = {"user_id": ("user_id", "user"), "item_id": ("item_id", "item")}
INTERACTION_COLUMNS = ("user_id", "item_id", "timestamp")
ITEM_COLUMNS = ("item_id",)
CATEGORY_SEPARATOR = " > "
FORMATS = ".parquet, .csv, .csv.gz, .jsonl, .jsonl.gz"
EXAMPLES = 5  # named in an error


class TablesSource:
    """Source of a user's own tables; the module's docstring documents the columns.

    Args:
        interactions (`Path`): One row per action, as `.parquet`, `.csv`, `.jsonl` or `.json` (JSON lines too); all but
            the first also with `.gz`.
        items (`Path`): One row per item, in any of the same formats.
    """

    name = "tables"

    def __init__(self, interactions: Path, items: Path) -> None:
        self.interactions, self.items = Path(interactions), Path(items)

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on."""
        return {"interactions": self.interactions, "items": self.items}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Reads and checks both tables.

        Args:
            connection (`ibis.BaseBackend`): The connection that the tables are written to.

        Returns:
            `RawTables`: Every row of the interactions, in the file's order, and their items. A date and time becomes
            microseconds since 1970 (UTC); an integer timestamp is unchanged. Placeholder brands such as "unknown" are
            "".

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file has an unknown suffix, is unreadable or empty, lacks a column, has a column of an
                unusable type, a NULL key or a repeated item, or an interaction has an item that is missing or has
                neither title nor brand nor categories.
        """
        noted = RecordCounts()
        actions = _read(connection, self.interactions, "interactions", INTERACTION_COLUMNS)
        described = _read(connection, self.items, "items", ITEM_COLUMNS)
        interactions = self._interactions(connection, actions)
        items = self._items(connection, described, interactions, noted)
        for staged in (actions, described):
            connection.raw_sql(f'DROP TABLE "{staged.op().name}"')
        return RawTables(interactions, items, RecordCounts(), noted)

    def _interactions(self, connection: ibis.BaseBackend, table: ibis.Table) -> ibis.Table:
        label = f"interactions file {self.interactions}"
        keyed = table.select(
            user_id=_text(table.user_id),
            source_id=_text(table.item_id),
            timestamp=_time(table, label),
            rating=_rating(table, label),
            review=_optional_text(table, "review"),
            row=table.row,
        )
        for column, given in (("user_id", "user_id"), ("source_id", "item_id"), ("timestamp", "timestamp")):
            _refuse(
                label,
                keyed.filter(keyed[column].isnull()).row + 1,
                given + " is empty in {count} rows, first in row {examples}; fill them in or drop them",
            )
        return connection.create_table(gen_name("interactions"), keyed.order_by("row"), temp=True)

    def _items(
        self, connection: ibis.BaseBackend, table: ibis.Table, interactions: ibis.Table, noted: RecordCounts
    ) -> ibis.Table:
        label = f"items file {self.items}"
        brand, description = _optional_text(table, "brand"), _optional_text(table, "description")
        items = table.select(
            source_id=_text(table.item_id),
            title=_optional_text(table, "title"),
            brand=ibis.ifelse(brand.lower().isin(sorted(NO_BRAND)), "", brand).fill_null(""),
            categories=_categories(table, label),
            price=_price(table, label, noted),
            description=description.fill_null(""),
            row=table.row,
        )
        _refuse(
            label,
            items.filter(items.source_id.isnull()).row + 1,
            "item_id is empty in {count} rows, first in row {examples}; fill them in or drop them",
        )
        repeated = items.group_by("source_id").having(items.count() > 1).agg()
        _refuse(
            label,
            repeated.source_id,
            "{count} items stand in more than one row, for example {examples}; keep one row each",
        )
        named = interactions.select("source_id").distinct()
        _refuse(
            label,
            named.anti_join(items, "source_id").source_id,
            "lacks {count} items that the interactions name, for example {examples}; add them, or drop "
            "their interactions",
        )
        items = items.semi_join(named, "source_id")
        nameless = items.filter(items.title.isnull() & (items.brand == "") & (items.categories.length() == 0))
        _refuse(
            label,
            (nameless.source_id + " (row " + (nameless.row + 1).cast("string") + ")").name("source_id"),
            "{count} items have neither title nor brand nor categories, for example {examples}; these are what the "
            "models read, so give each one of them, or drop the items and their interactions",
        )
        if untitled := _size(items.filter(items.title.isnull())):
            noted[f"{label}: no title, brand and categories stand for it"] += untitled
        return connection.create_table(gen_name("items"), items.order_by("row").select(*ITEM_SCHEMA.names), temp=True)


def _read(connection: ibis.BaseBackend, path: Path, label: str, required: tuple[str, ...]) -> ibis.Table:
    """Reads a file into a temporary table with `row` and the documented column names."""
    if not path.is_file():
        raise FileNotFoundError(f"{label} file {path} does not exist; correct the path")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    suffix = (suffixes[:-1] if compressed else suffixes)[-1:]
    try:
        if suffix == [".parquet"] and not compressed:
            view = connection.read_parquet(path, table_name=gen_name("view"))
        elif suffix == [".csv"]:
            # Every column as text: guessing types would turn the key 007 into 7.
            view = connection.read_csv(path, table_name=gen_name("view"), header=True, all_varchar=True)
        elif suffix in ([".jsonl"], [".json"]):
            view = connection.read_json(path, table_name=gen_name("view"), format="newline_delimited", sample_size=-1)
        else:
            raise ValueError(f"{label} file {path} has an unknown suffix; give one of {FORMATS}")
        table = _renamed(view, f"{label} file {path}", required)
        table = connection.create_table(gen_name("rows"), table.mutate(row=ibis.row_number()), temp=True)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{label} file {path} cannot be read ({reason}); check it, or write it again") from error
    connection.raw_sql(f'DROP VIEW "{view.op().name}"')
    if not _size(table):
        raise ValueError(f"{label} file {path} holds no rows; nothing can be built from it")
    return table


def _renamed(table: ibis.Table, label: str, required: tuple[str, ...]) -> ibis.Table:
    """Selects the documented columns, under their documented names."""
    optional = ("rating", "review", "title", "brand", "categories", "price", "description")
    found = {}
    for column in (*required, *optional):
        present = [name for name in ALIASES.get(column, (column,)) if name in table.columns]
        if present:
            found[column] = table[present[0]]
        elif column in required:
            names = " or ".join(repr(name) for name in ALIASES.get(column, (column,)))
            raise ValueError(f"{label} lacks the column {names}; it has {', '.join(table.columns)}. Rename or add it")
    return table.select(**found)


def _refuse(label: str, offending: ir.Column, complaint: str) -> None:
    """Raises `complaint`, a template for {count} and {examples}, if the column holds any value."""
    name = offending.get_name()
    if count := _size(offending.as_table().filter(ibis._[name].notnull())):
        examples = offending.as_table().order_by(name).limit(EXAMPLES).to_pyarrow()[name].to_pylist()
        raise ValueError(f"{label}: " + complaint.format(count=count, examples=", ".join(map(str, examples))))


def _text(column: ir.Column) -> ir.StringValue:
    """Converts any column to trimmed text, with NULL for the empty text."""
    text = column.cast("string")
    if column.type().is_json():  # texts beside numbers in JSON lines; a plain cast would keep the texts' quotes
        text = ibis.coalesce(column.str, text).nullif("null")
    return text.strip().nullif("")


def _optional_text(table: ibis.Table, column: str) -> ir.StringValue:
    return _text(table[column]) if column in table.columns else ibis.null("string")


def _time(table: ibis.Table, label: str) -> ir.IntegerValue:
    """Converts the timestamp to an integer in the file's own unit, or to microseconds since 1970 for dates."""
    column = table.timestamp
    if column.type().is_date() or column.type().is_timestamp():
        return _microseconds(column)
    if column.type().is_floating():  # as pandas stores integers beside a missing value
        _refuse(
            label,
            table.filter(column != column.floor()).timestamp,
            "{count} timestamps are no whole numbers, for example {examples}; give integers or dates",
        )
    elif column.type().is_string():
        return _time_from_text(table, label)
    elif not column.type().is_integer():
        raise ValueError(f"{label}: timestamp has the type {column.type()}; give integers or dates")
    return column.cast("int64")


def _time_from_text(table: ibis.Table, label: str) -> ir.IntegerValue:
    """Converts texts to integers if all are integers, else to dates if all are dates: one unit for the whole file."""
    text = _text(table.timestamp)
    if not _size(table.filter(~text.re_search(r"^[+-]?\d{1,18}$"))):
        return text.cast("int64")
    _refuse(
        label,
        table.select(text=text).filter(lambda row: row.text.try_cast("timestamp").isnull()).text,
        "{count} timestamps are no dates while others are no integers, for example {examples}; give one "
        "of both throughout, such as 1404172800 or 2014-07-01 00:00:00",
    )
    return _microseconds(text.cast("timestamp"))


def _microseconds(moment: ir.DateValue | ir.TimestampValue) -> ir.IntegerValue:
    return moment.cast("timestamp").delta(ibis.timestamp("1970-01-01"), unit="microsecond")


def _rating(table: ibis.Table, label: str) -> ir.FloatingValue:
    if "rating" not in table.columns:
        return ibis.null("float64")
    text = _text(table.rating)
    _refuse(
        label,
        table.select(text=text).filter(lambda row: row.text.try_cast("float64").isnull()).text,
        "{count} ratings are no numbers, for example {examples}; leave missing ones empty",
    )
    return _finite(text.cast("float64"))


def _price(table: ibis.Table, label: str, noted: RecordCounts) -> ir.FloatingValue:
    """Converts to a number, also from "$1,012.99"; others become NULL and are counted, since prices are optional."""
    if "price" not in table.columns:
        return ibis.null("float64")
    text = _text(table.price)
    amount = _finite(text.re_replace(r"^\$\s*|,", "").try_cast("float64"))
    if unread := _size(table.filter(text.notnull() & amount.isnull())):
        noted[f"{label}: price is no number, kept without one"] += unread
    return amount


def _categories(table: ibis.Table, label: str) -> ir.ArrayValue:
    """Extracts one path from broad to leaf; of several, the longest, the first of equally long ones."""
    empty = ibis.literal([], type="array<string>")
    if "categories" not in table.columns:
        return empty
    column = table.categories
    if column.type().is_array() and is_array_of_strings(column.type().value_type):
        lengths = column.map(lambda path: path.length())
        path = column[lengths.index(lengths.maxs())]
    elif is_array_of_strings(column.type()):
        path = column
    elif column.type().is_string():
        _refuse(
            label,
            table.filter(column.strip().startswith("[")).categories,
            f"{{count}} categories are printed lists, for example {{examples}}; write them as "
            f"{'Beauty' + CATEGORY_SEPARATOR + 'Bath'!r}, or give the table as Parquet or JSON lines",
        )
        path = column.split(CATEGORY_SEPARATOR)
    elif not _size(table.filter(column.cast("string").re_search(r"[^\[\], NULnul]"))):
        return empty  # only empty lists, for whose content the formats keep no type
    else:
        raise ValueError(
            f"{label}: categories has the type {column.type()}; give lists of texts, or texts like "
            f"{'Beauty' + CATEGORY_SEPARATOR + 'Bath'!r}"
        )
    names = path.map(lambda name: name.strip()).filter(lambda name: name != "")
    return names.fill_null(empty)


def _finite(number: ir.FloatingValue) -> ir.FloatingValue:
    # Some writers store a missing number as NaN, which passes comparisons that NULL fails.
    return ibis.ifelse(number.isnan() | number.isinf(), ibis.null("float64"), number)


def _size(table: ibis.Table) -> int:
    return int(table.count().to_pyarrow().as_py())
