r"""User's own tables: one of interactions and one of items, as Parquet, CSV or JSON lines.

| interactions | | items | |
|---|---|---|---|
| `user_id` (or `user`) | required | `item_id` (or `item`) | required, unique |
| `item_id` (or `item`) | required | `title` | optional, but see below |
| `timestamp` | required: integer, or date and time | `brand` | optional |
| `rating` | optional: 1 to 5 | `categories` | optional: list, or text "Beauty > Bath > Soaps" |
| `review` | optional | `price` | optional |
| | | `description` | optional |

An item without a title needs a brand or categories, which are embedded and shown in its place; a price or a
description alone does not stand for an item. Other columns are ignored; [`read_items_table`] refuses them. Unlike
crawled files, these tables are not cleaned: missing or contradictory values are errors, which name the line, because
their owner can correct them.

- Formats: CSV in the dialect of Python's `csv` module ([`DelimitedFile`]), one JSON object a line ([`JsonLinesFile`]),
  Parquet. Nothing is concluded from the first rows, a path is never a pattern, and no line may exceed
  [`MAX_LINE_BYTES`][dataset_builders.building.sources.lines.MAX_LINE_BYTES].
- Keys are text, and stay as the file writes them but for blanks around them: 007 is not 7, a number of 30 digits keeps
  them. Floats must be whole and below 2**53.
- Times: either integers of 64 bits, in one unit of the file's own, or dates and times of ISO 8601 such as
  2014-07-01 12:00:00.5, down to microseconds: all with an offset from UTC (Z, +02:00), or all without, in UTC.
  Integers of several units are refused by their size, in digits: seconds have 9 or 10 from 1973 to 2286, milliseconds
  11 to 13, microseconds 14 to 16, nanoseconds more; days have 5, and 2014, 201407, 20140701 and 201407011200 are
  dates unless the column counts through them. Shorter ones are of any unit.
- Ratings lie in 1..5; a missing one is empty.
- Prices are numbers, also as "$1,012.99", "12,50" or "1.234,00" ([`read_price`]). Three digits after a single comma
  are thousands and a single point is a decimal point; where other prices of the file have a decimal comma, it is the
  other way round, and where some have a comma and some a point, such a price is refused. What is no price is left out
  and counted in `noted`.
- Of several paths of categories, as in Amazon's files, every name is kept once, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.util import gen_name

from .cleaning import NO_BRAND
from .delimited import DelimitedFile
from .file_formats import HEAD_BYTES, foreign_format
from .json_lines import JsonLinesFile
from .lines import shortened
from .parquet_table import ParquetTable
from .raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, RecordCounts, fill_table
from .table_file import Batch, TableFile, spelled_otherwise
from .values import (
    BadValue,
    categories,
    decimal_separator,
    mixed_kinds,
    other_price,
    prices,
    ratings,
    read_price,
    texts,
    times,
)

USER_KEY, ITEM_KEY = ("user_id", "user"), ("item_id", "item")
SECOND_NAMES = (USER_KEY[1], ITEM_KEY[1])
KEY_COLUMNS = (*USER_KEY, *ITEM_KEY)
INTERACTION_COLUMNS = (*KEY_COLUMNS, "timestamp", "rating", "review")
INTERACTIONS_REQUIRED = (USER_KEY, ITEM_KEY, ("timestamp",))
ITEM_COLUMNS = (*ITEM_KEY, "title", "brand", "categories", "price", "description")
TIME_COLUMNS = (*ITEM_KEY, "timestamp")
ITEMS_REQUIRED = (ITEM_KEY,)
DESCRIBED_BY = ("title", "brand", "categories")
READERS: Mapping[str, Callable[..., TableFile]] = {
    ".parquet": ParquetTable,
    ".csv": DelimitedFile,
    ".jsonl": JsonLinesFile,
    ".json": JsonLinesFile,
}
FORMATS = ".parquet, .csv, .csv.gz, .jsonl, .jsonl.gz"
SPECIAL_TYPES = {
    "timestamp": pa.int64(),
    "rating": pa.float64(),
    "price": pa.float64(),
    "categories": pa.list_(pa.string()),
}
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
            ValueError: If a file has an unknown suffix, is not in its format's dialect, is damaged, empty or not
                UTF-8, lacks a column, has a value of an unusable type, a time or rating that is none, a NULL key or a
                repeated item, or an interaction has an item that is missing or has neither title nor brand nor
                categories. The message names the file, the line (in Parquet the row) and the value.
        """
        noted = RecordCounts()
        actions = _OwnTable(connection, self.interactions, "interactions", INTERACTION_COLUMNS, INTERACTIONS_REQUIRED)
        described = _OwnTable(connection, self.items, "items", ITEM_COLUMNS, ITEMS_REQUIRED)
        interactions = actions.table.rename(source_id="item_id").select(*INTERACTION_SCHEMA.names)
        items = _items(connection, described, interactions, noted)
        described.drop()
        return RawTables(interactions, items, RecordCounts(), noted)


def read_items_table(path: Path) -> list[dict[str, Any]]:
    """Reads a table of items without interactions, in the order of the file.

    Args:
        path (`Path`): One row per item, in any format of [`TablesSource`]; `item_id` may be missing. Another column
            than those of the table above is refused, and so is a price that is none.

    Returns:
        `list[dict]`: `item_id` (a text, `None` where the file has none), `title`, `brand`, `categories`, `price` and
        `description` of each item.

    Raises:
        FileNotFoundError, ValueError: As [`TablesSource.load`], and for an unknown column or a price that is none.
    """
    connection = ibis.duckdb.connect()
    try:
        described = _OwnTable(connection, Path(path), "items", ITEM_COLUMNS, (DESCRIBED_BY,))
        if unknown := [shortened(name) for name in described.names if name not in ITEM_COLUMNS]:
            more = f" and {len(unknown) - EXAMPLES} more" if len(unknown) > EXAMPLES else ""
            raise ValueError(
                f"{described.where} has columns that no item to add has: {', '.join(unknown[:EXAMPLES])}{more}; drop "
                f"or rename them, known are {', '.join(ITEM_COLUMNS)}"
            )
        if described.unread_prices:
            left = described.unread_prices - len(described.price_examples)
            more = f" and {left} more" if left else ""
            raise ValueError(
                f"{described.where}: a price is no amount of at least 0: {described.listed(described.price_examples)}"
                f"{more}; correct it, or leave it empty"
            )
        described.table = table = described.table.mutate(
            item_id=described.table.item_id.coalesce(described.table[ITEM_KEY[1]])
        )
        several = table.filter(table.item_id.notnull()).group_by("item_id").having(ibis._.count() > 1).agg()
        described.refuse(
            table.item_id.isin(several.item_id),
            "{count} rows are of items that stand in more than one row: {examples}; keep one row each",
        )
        items = _described_columns(described, table)
        _refuse_nameless(described, items, "or drop them")
        columns = ("title", "brand", "categories", "price", "description")
        return items.order_by("row").select(*columns, item_id="source_id").to_pyarrow().to_pylist()
    finally:
        connection.disconnect()


def read_first_times(path: Path) -> dict[str, int]:
    """Reads when each item of a table of interactions had its first action, as the table counts time.

    Args:
        path (`Path`): One row per action with `item_id` and `timestamp`, in any format of [`TablesSource`].

    Raises:
        FileNotFoundError, ValueError: As [`TablesSource.load`].
    """
    connection = ibis.duckdb.connect()
    try:
        actions = _OwnTable(connection, Path(path), "interactions", TIME_COLUMNS, (ITEM_KEY, ("timestamp",)))
        first = actions.table.group_by("item_id").agg(first=actions.table.timestamp.min()).to_pyarrow()
        return dict(zip(first["item_id"].to_pylist(), first["first"].to_pylist(), strict=True))
    finally:
        connection.disconnect()


class _OwnTable:
    """One file in a temporary table: the documented columns as texts, but for categories and prices; `place`, `row`.

    Attributes:
        table (`ibis.Table`): The rows; a key has its documented name.
        where (`str`): Name of the file in errors.
        unit (`str`): What a place counts, "line" or "row".
        separators (`dict[str, int]`): Decimal separator that a price shows for certain -> place of the first one.
        names (`Sequence[str]`): Columns of the file.
        unread_prices (`int`): Number of prices that are no single amount.
        price_examples (`list`): The first of them, each with its place.
    """

    def __init__(
        self,
        connection: ibis.BaseBackend,
        path: Path,
        label: str,
        columns: tuple[str, ...],
        required: tuple[tuple[str, ...], ...],
    ) -> None:
        self.where = f"{label} file {path}"
        self.separators: dict[str, int] = {}
        self.unread_prices = self._rows = 0
        self.price_examples: list[tuple[Any, int]] = []
        self._time_kinds, self._time_examples = Counter[str](), dict[str, list[tuple[Any, int]]]()
        self._unless_ignored: dict[str, ValueError] = {}  # of a column that another may replace further down
        file = _reader(path, label)(path, self.where, columns, required)
        self.unit = file.unit
        fields = {name: SPECIAL_TYPES.get(name, pa.string()) for name in columns}
        if "price" in columns:
            fields |= {"other_price": pa.float64(), "ambiguous_price": pa.string()}
        self._schema = pa.schema({**fields, "place": pa.int64(), "row": pa.int64()})
        staged = fill_table(connection, map(self._typed, file), self._schema, f"own_{label}")
        self._staged = staged.op().name
        self.names = file.names
        if not self._rows:
            raise ValueError(f"{self.where} holds no rows; nothing can be built from it")
        for name in set(columns).difference(*required):
            if (nearly := spelled_otherwise(name, file.names)) is not None:
                raise ValueError(f"{self.where} has the column {nearly!r}; name it {name!r}, or drop it")
        self._refuse_mixed_times()
        keys = {
            names[0]: next(name for name in names if name in file.names)
            for names in required
            if names is not DESCRIBED_BY
        }
        self.table = staged.mutate(**{key: staged[name] for key, name in keys.items()})
        for key, name in keys.items():
            if name in self._unless_ignored:
                raise self._unless_ignored[name]
            self.refuse(
                self.table[key].isnull(),
                key + " is empty in {count} rows, first in {examples}; fill them in or drop them",
                key,
            )

    def drop(self) -> None:
        """Drops the temporary table."""
        self.table.get_backend().raw_sql(f'DROP TABLE "{self._staged}"')

    def refuse(self, offending: ir.BooleanValue, complaint: str, shown: str = "item_id") -> None:
        """Raises an error if any row is offending.

        Args:
            offending (`ir.BooleanValue`): Condition on the rows of `table`.
            complaint (`str`): Template for {count} and {examples}.
            shown (`str`, *optional*, defaults to `"item_id"`): Column to show of an offending row, beside its place.
        """
        found = self.table.filter(offending).select("row", "place", shown=shown)
        if count := _size(found):
            rows = found.order_by("row").limit(EXAMPLES).to_pyarrow().to_pylist()
            examples = [(row["shown"], row["place"]) for row in rows]
            raise ValueError(f"{self.where}: " + complaint.format(count=count, examples=self.listed(examples)))

    def listed(self, examples: list[tuple[Any, int]]) -> str:
        return ", ".join(
            f"{'' if value is None else f'{shortened(value)} in '}{self.unit} {place}" for value, place in examples
        )

    def _refuse_mixed_times(self) -> None:
        kinds = mixed_kinds(self._time_kinds)
        if len(kinds) < 2:
            return
        counts = {kind: sum(self._time_kinds[each] for each in belonging) for kind, belonging in kinds.items()}
        examples = {
            kind: list(islice((shown for each in belonging for shown in self._time_examples[each]), EXAMPLES))
            for kind, belonging in kinds.items()
        }
        # The kind of the fewest rows is the odd one; of equally many, the kind that comes later.
        odd = min(counts, key=lambda kind: (counts[kind], -examples[kind][0][1]))
        others = " and ".join(
            f"{counts[kind]} of kind {kind!r} ({self.listed(examples[kind][:1])})" for kind in counts if kind != odd
        )
        raise ValueError(
            f"{self.where}: {counts[odd]} timestamps are of kind {odd!r} beside {others}: "
            f"{self.listed(examples[odd])}; give one kind throughout, such as 1404172800, "
            f"2014-07-01 00:00:00 or 2014-07-01T00:00:00+02:00"
        )

    def _typed(self, batch: Batch) -> pa.Table:
        size = len(batch.places)
        columns: dict[str, pa.Array] = {}
        for name, values in batch.columns.items():
            try:
                columns |= self._column(name, values, batch.places)
            except BadValue as error:
                place = "" if error.index is None else f", {self.unit} {batch.places[error.index]}"
                complaint = ValueError(f"{self.where}{place}: {name} {error}")
                if name not in SECOND_NAMES:
                    raise complaint from error
                self._unless_ignored.setdefault(name, complaint)
            except pa.ArrowException as error:
                raise ValueError(
                    f"{self.where}, {self.unit}s {batch.places[0]} to {batch.places[-1]}: {name} cannot be read "
                    f"({shortened(str(error), 200)[1:-1]}); write it as text or as numbers"
                ) from error
        columns["place"] = pa.array(batch.places, pa.int64())
        columns["row"] = pa.array(range(self._rows, self._rows + size), pa.int64())
        self._rows += size
        return pa.table(
            [columns[f.name] if f.name in columns else pa.nulls(size, f.type) for f in self._schema],
            schema=self._schema,
        )

    def _column(self, name: str, values: Sequence[Any] | pa.Array, places: Sequence[int]) -> dict[str, pa.Array]:
        if name == "timestamp":
            return {name: self._times(values, places)}
        if name == "categories":
            return {name: categories(values)}
        if name == "price":
            stored = prices(values)
            amounts = [read_price(value) for value in stored]
            unread = [row for row, value in enumerate(stored) if value is not None and amounts[row] is None]
            self.unread_prices += len(unread)
            room = EXAMPLES - len(self.price_examples)
            self.price_examples += [(str(values[row]), places[row]) for row in unread[:room]]
            for separator, place in zip(map(decimal_separator, stored), places, strict=True):
                if separator is not None:
                    self.separators.setdefault(separator, place)
            others = list(map(other_price, stored))
            ambiguous = [None if other is None else text for text, other in zip(stored, others, strict=True)]
            return {
                name: pa.array(amounts, pa.float64()),
                "other_price": pa.array(others, pa.float64()),
                "ambiguous_price": pa.array(ambiguous, pa.string()),
            }
        if name == "rating":
            return {name: ratings(values)}
        return {name: texts(values, whole=name in KEY_COLUMNS)}

    def _times(self, values: Sequence[Any] | pa.Array, places: Sequence[int]) -> pa.Array:
        moments, kinds = times(values)
        for kind, count in Counter(kinds).items():
            if kind is not None:
                self._time_kinds[kind] += count
                known = self._time_examples.setdefault(kind, [])
                of_kind = (index for index, each in enumerate(kinds) if each == kind)
                known += [(_shown(values[index]), places[index]) for index in islice(of_kind, EXAMPLES - len(known))]
        return moments


def _shown(value: Any) -> str:
    """A time for an error; one of Parquet may be beyond the years of Python, or of a zone that is not known."""
    try:
        return str(value)
    except (ValueError, OverflowError, KeyError, LookupError):
        return f"{getattr(value, 'type', type(value).__name__)} {getattr(value, 'value', '')}"


def _reader(path: Path, label: str) -> Callable[..., TableFile]:
    """Reader of a file by its suffix."""
    if not path.is_file():
        raise FileNotFoundError(f"{label} file {path} does not exist, or is no file; correct the path")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    suffix = "".join((suffixes[:-1] if compressed else suffixes)[-1:])
    if suffix not in READERS or (compressed and suffix == ".parquet"):
        with path.open("rb") as file:
            named = foreign_format(file.read(HEAD_BYTES))
        if named is not None and not compressed:
            raise ValueError(f"{label} file {path} {named}")
        raise ValueError(f"{label} file {path} has an unknown suffix; give one of {FORMATS}")
    return READERS[suffix]


def _items(
    connection: ibis.BaseBackend, described: _OwnTable, interactions: ibis.Table, noted: RecordCounts
) -> ibis.Table:
    table = described.table
    several = table.group_by("item_id").having(ibis._.count() > 1).agg()
    described.refuse(
        table.item_id.isin(several.item_id),
        "{count} rows are of items that stand in more than one row: {examples}; keep one row each",
    )
    named = interactions.group_by("source_id").agg(row=interactions.row.min())
    _refuse_unknown(described, named.anti_join(table, named.source_id == table.item_id))
    items = _described_columns(described, table).semi_join(named, "source_id")
    _refuse_nameless(described, items, "or drop the items and their interactions")
    _note_prices(described, noted)
    if untitled := _size(items.filter(items.title.isnull())):
        noted[f"{described.where}: no title, brand and categories stand for it"] += untitled
    return connection.create_table(gen_name("items"), items.order_by("row").select(*ITEM_SCHEMA.names), temp=True)


def _described_columns(described: _OwnTable, table: ibis.Table) -> ibis.Table:
    """What a table says of its items, cleaned."""
    brand = table.brand
    return table.select(
        source_id=table.item_id,
        title=table.title,
        brand=ibis.ifelse(brand.lower().isin(sorted(NO_BRAND)), "", brand).fill_null(""),
        categories=table.categories.fill_null(ibis.literal([], type="array<string>")),
        price=_price(described),
        description=table.description.fill_null(""),
        row=table.row,
    )


def _refuse_nameless(described: _OwnTable, items: ibis.Table, way_out: str) -> None:
    nameless = items.filter(items.title.isnull() & (items.brand == "") & (items.categories.length() == 0))
    described.refuse(
        described.table.row.isin(nameless.row),
        "{count} items have neither title nor brand nor categories: {examples}; these are what the models read, so "
        f"give each one of them, {way_out}",
    )


def _refuse_unknown(described: _OwnTable, unknown: ibis.Table) -> None:
    if count := _size(unknown):
        examples = unknown.order_by("row").limit(EXAMPLES).to_pyarrow()["source_id"].to_pylist()
        raise ValueError(
            f"{described.where} lacks {count} items that the interactions name, for example "
            f"{', '.join(map(shortened, examples))}; add them, or drop their interactions"
        )


def _price(described: _OwnTable) -> ir.FloatingValue:
    """The prices of a table in its one convention; an ambiguous one beside two conventions is refused."""
    table = described.table
    text, shown = table.ambiguous_price, described.separators
    lone = () if shown else [sign for sign in ",." if _size(table.filter(text.contains(sign)))]
    if len(shown) > 1 or len(lone) > 1:
        signs = "".join(f", as {described.unit} {place} has {sign!r}" for sign, place in sorted(shown.items()))
        described.refuse(
            text.notnull(),
            f"{{count}} prices may have a decimal comma or a decimal point, for the column has both{signs}: "
            f"{{examples}}; write all prices with a decimal point, as in 1234.50",
            "ambiguous_price",
        )
    return table.other_price.coalesce(table.price) if "," in described.separators else table.price


def _note_prices(described: _OwnTable, noted: RecordCounts) -> None:
    if described.unread_prices:
        noted[f"{described.where}: price is no number, kept without one"] += described.unread_prices


def _size(table: ibis.Table) -> int:
    return int(table.count().to_pyarrow().as_py())
