"""Files of one record per line: JSON or Python literals, gzip or plain, in known layouts.

Records are streamed into the connection a part at a time, so no file is held in memory, nor a line beyond
`lines.MAX_LINE_BYTES`. Python literals are read by `ast.literal_eval`, which runs no code.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, TypeGuard

import ibis
import pyarrow as pa
from ibis.util import gen_name
from tqdm.auto import tqdm

from .lines import DAMAGED, byte_lines, open_lines
from .raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, RecordCounts, fill_table

FIRST_RECORDS = 1000  # if all of the first records are unusable, the file is of another kind
MAX_BAD_SHARE = 0.5
# Records, and characters of their texts, that are in memory at a time.
PART_RECORDS = 20_000
PART_CHARACTERS = 2**26

# Beginnings of repr() of a dict with string keys, in Python 3 and 2; JSON never begins so.
_LITERAL_STARTS = (b"{'", b"{u'", b'{u"')
_SURROGATE = re.compile(rb"\\(?:u|U0000)[dD]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Layout:
    """Field names of one published layout; `fields` maps our names to the file's."""

    name: str
    fields: Mapping[str, str]
    required: tuple[str, ...]

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has the required fields of this layout."""
        return all(self.fields[name] in record for name in self.required)


class RecordFile:
    """Readable records of one file with their row numbers; iterable once.

    Skipped records are counted; too many of them, or a truncated file, end the iteration with a `ValueError`.

    Args:
        path (`Path`): The file, for messages and for `opened`.
        label (`str`): Kind of its records, in one word, for messages and counts.
        layouts (`tuple[Layout, ...]`): Possible layouts, in order of matching.
        skipped (`RecordCounts`): Counts of skipped records, updated in place.
        opened (`Callable`, *optional*): Opens `path` as binary lines; [`open_lines`] by default.
        advice (`str`, *optional*): Advice on a damaged file.
    """

    def __init__(
        self,
        path: Path,
        label: str,
        layouts: tuple[Layout, ...],
        skipped: RecordCounts,
        opened: Callable[[Path], AbstractContextManager[IO[bytes]]] = open_lines,
        advice: str = "download it again",
    ) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{label} file {path} does not exist; download it, or correct the path")
        self.path, self.label, self.layouts, self.skipped = path, label, layouts, skipped
        self.opened, self.advice = opened, advice
        self.read = self.bad = 0
        self.reasons = RecordCounts()

    def skip(self, reason: str) -> None:
        """Counts the record last read as unusable."""
        self.bad += 1
        self.reasons[reason] += 1
        self.skipped[f"{self.label}: {reason}"] += 1
        if self.bad == self.read == FIRST_RECORDS:
            raise self._wrong_file()

    def __iter__(self) -> Iterator[tuple[int, Layout, dict[str, Any]]]:
        layout: Layout | None = None
        for row, line in enumerate(self._lines()):
            self.read += 1
            record = parse_record(line)
            if record is None:
                self.skip("malformed line")
                continue
            layout = layout or next((each for each in self.layouts if each.matches(record)), None)
            if layout is None or not layout.matches(record):
                self.skip("a required field is missing")
                continue
            yield row, layout, record
        if not self.read:
            raise ValueError(f"{self.label} file {self.path} holds no records; {self.advice}")
        if self.bad > MAX_BAD_SHARE * self.read:
            raise self._wrong_file()

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.opened(self.path) as lines, tqdm(desc=self.path.name, unit=" records") as progress:
                for line in byte_lines(lines, f"{self.label} file {self.path}"):
                    progress.update()
                    if line.strip():
                        yield line
        except DAMAGED as error:
            raise ValueError(
                f"{self.label} file {self.path} is damaged or cut off after {self.read} records ({error}); "
                f"{self.advice}"
            ) from error

    def _wrong_file(self) -> ValueError:
        known = " or ".join(
            f"{layout.name} ({', '.join(layout.fields[name] for name in layout.required)})" for layout in self.layouts
        )
        return ValueError(
            f"{self.bad} of the first {self.read} records in {self.path} are unusable as {self.label} "
            f"({self.reasons.report()}); give a {self.label} file in the layout of {known}"
        )


def parse_record(line: bytes) -> dict[str, Any] | None:
    r"""Parses a JSON object or a Python dict literal; `None` for anything else.

    >>> parse_record(b'{"a": [1, null]}'), parse_record(b"{u'a': u'caf\\xe9', u'b': False}")
    ({'a': [1, None]}, {'a': 'café', 'b': False})
    >>> parse_record(b"{'a': print()}"), parse_record(b"[1]"), parse_record(b"a,b")
    (None, None, None)
    """
    try:
        text = line.decode("utf-8-sig")
        record = ast.literal_eval(text) if line.startswith(_LITERAL_STARTS) else json.loads(text)
        if _SURROGATE.search(line):
            record = _without_surrogates(record)
    # A literal may have a list as a key (TypeError); deep nesting raises the last two.
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return record if isinstance(record, dict) else None


def _without_surrogates(value: Any) -> Any:  # any JSON value
    """Joins surrogate pairs, which narrow builds of Python 2 wrote for emoji; a lone surrogate becomes U+FFFD.

    Neither DuckDB nor Arrow can store surrogates.
    """
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list | tuple):
        return [_without_surrogates(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _without_surrogates(entry) for key, entry in value.items()}
    return value


def is_key(value: object) -> TypeGuard[str]:
    """Whether a value can be the key of a user or an item: a text that is not blank.

    >>> is_key("B001"), is_key(" "), is_key(17), is_key(None)
    (True, False, False, False)
    """
    return isinstance(value, str) and bool(value.strip())


def number(value: object) -> float | None:
    """Converts to a finite number, also from text; `None` for anything else.

    >>> number("4.0"), number(5), number(True), number("five"), number(float("nan"))
    (4.0, 5.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:  # float() takes 1_0 for 10
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def integer(value: object) -> int | None:
    """Converts to a whole number, also from text; `None` for anything else.

    >>> integer("1404172800"), integer(1.5), integer(None)
    (1404172800, None, None)
    """
    result = number(value)
    return int(result) if result is not None and result.is_integer() and abs(result) < 2**53 else None


def seconds(date: object) -> int | None:
    """Converts a date, or a date and time, to seconds since 1970 (UTC without a zone); `None` for anything else.

    >>> seconds("2017-12-17"), seconds("1970-01-02 00:00:01"), seconds("last week"), seconds(None)
    (1513468800, 86401, None, None)
    """
    if not isinstance(date, str):
        return None
    try:
        moment = datetime.fromisoformat(date.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(seconds=1)


def load_records(
    connection: ibis.BaseBackend,
    interactions: Iterator[dict[str, Any]],
    items: Iterator[dict[str, Any]],
    skipped: RecordCounts,
    noted: RecordCounts,
    mismatch: str,
) -> RawTables:
    """Streams reviews and item records into tables, and joins every reviewed item with its first record.

    Args:
        connection (`ibis.BaseBackend`): The connection that the tables are written to.
        interactions (`Iterator[dict]`): Rows with the columns of [`INTERACTION_SCHEMA`].
        items (`Iterator[dict]`): Rows with the columns of [`ITEM_SCHEMA`] and `row`, any number per item; read after
            the interactions.
        skipped (`RecordCounts`): Counts of repeated item records, updated in place.
        noted (`RecordCounts`): Counts of items without a record or a title, updated in place.
        mismatch (`str`): End of the error if no reviewed item has a record, after "none of the N items in ".

    Returns:
        `RawTables`: All rows of `interactions`, and the items they are about.

    Raises:
        ValueError: If no reviewed item has a record, or an iterator raises it.
    """
    item_schema = ITEM_SCHEMA.append(pa.field("row", pa.int64()))
    actions = fill_table(connection, _parts(interactions, INTERACTION_SCHEMA), INTERACTION_SCHEMA, "records")
    described = fill_table(connection, _parts(items, item_schema), item_schema, "records")
    return RawTables(
        actions, _reviewed_items(connection, actions, described, skipped, noted, mismatch), skipped, noted
    )


def _reviewed_items(
    connection: ibis.BaseBackend,
    interactions: ibis.Table,
    described: ibis.Table,
    skipped: RecordCounts,
    noted: RecordCounts,
    mismatch: str,
) -> ibis.Table:
    """Makes one row per reviewed item from its first record."""
    reviewed = interactions.select("source_id").distinct()
    described = described.semi_join(reviewed, "source_id")
    first = described.group_by("source_id").agg(row=described.row.min())
    repeated = _count(described) - _count(first)
    unknown = reviewed.anti_join(first, "source_id")
    without_record, num_reviewed = _count(unknown), _count(reviewed)
    if without_record == num_reviewed:
        raise ValueError(f"none of the {num_reviewed} items in {mismatch}")
    known = described.semi_join(first, ["source_id", "row"]).select(*ITEM_SCHEMA.names)
    bare = unknown.mutate(
        title=ibis.null("string"),
        brand=ibis.literal(""),
        categories=ibis.literal([], type="array<string>"),
        price=ibis.null("float64"),
        description=ibis.literal(""),
    )
    items = connection.create_table(gen_name("items"), known.union(bare), temp=True)
    untitled = _count(items.filter(items.title.isnull())) - without_record
    for counts, reason, count in (
        (skipped, "metadata: repeated record of an item, the first one counts", repeated),
        (noted, "items: no metadata record, kept without a title", without_record),
        (noted, "items: no usable title, kept without one", untitled),
    ):
        if count:
            counts[reason] += count
    return items


def _parts(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    """Collects rows in Arrow tables of limited length and size."""
    part: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        part.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(part) == PART_RECORDS or size > PART_CHARACTERS:
            yield pa.Table.from_pylist(part, schema)
            part, size = [], 0
    if part:
        yield pa.Table.from_pylist(part, schema)


def _count(table: ibis.Table) -> int:
    return int(table.count().to_pyarrow().as_py())
