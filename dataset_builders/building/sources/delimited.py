r"""CSV of a user's own table, in one stated dialect.

The dialect is that of RFC 4180 and of Python's `csv` module: a header, values separated by commas, double quotes
around a value that holds a comma, a quote (doubled) or a line break, lines that end in \n or \r\n, UTF-8 with or
without a byte order mark. Blank lines are skipped, and every value is text. A file whose header names the required
columns only when it is split at semicolons or tabs has those in place of commas, and a first line `sep=;`, as Excel
writes it, names any delimiter; nothing else is concluded from the content. There are no comments.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path

from .lines import MAX_LINE_BYTES, shortened, text_lines
from .table_file import BATCH_BYTES, BATCH_ROWS, Batch, check_columns, folded

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_COLUMN_NAME = re.compile(r"[a-z][a-z_]*")
_NAMED_DELIMITER = re.compile(r'"?sep=([^"\r\n])"?\s*', re.IGNORECASE)


class DelimitedFile:
    """CSV file with a header.

    Args:
        path (`Path`): An existing file, plain or gzip.
        where (`str`): Its name in errors.
        wanted (`Collection[str]`): Columns to read, if present; others are ignored.
        required (`Collection[Sequence[str]]`): Columns that must be present, each by one of several names.
    """

    unit = "line"

    def __init__(self, path: Path, where: str, wanted: Collection[str], required: Collection[Sequence[str]]) -> None:
        self.path, self.where, self.wanted, self.required = path, where, wanted, required
        self.names: list[str] = []
        self._line = self._record_start = self._record_bytes = 0
        self._record: list[str] = []

    def __iter__(self) -> Iterator[Batch]:
        """Reads the file.

        Raises:
            ValueError: If it is not in the dialect, lacks a column or has one twice, or a row has another number of
                values than the header, or is a header itself.
        """
        lines = self._lines()
        first = self._next_line(lines)
        named = _NAMED_DELIMITER.fullmatch(first)
        if named is not None:
            first = self._next_line(lines)
        delimiter = named[1] if named is not None else self._delimiter(first)
        with _values_of_any_length():
            records = self._records(csv.reader(chain([first], lines), delimiter=delimiter, strict=True), delimiter)
            for _, self.names in records:
                self._check_header()
                yield from self._batches(records)

    def _next_line(self, lines: Iterator[str]) -> str:
        """The next line that is not blank, from which the first record begins; "" after the last one."""
        first = next((line for line in lines if line.strip()), "")
        self._record_start, self._record_bytes, self._record = self._line, len(first), [first]
        return first

    def _lines(self) -> Iterator[str]:
        for line in text_lines(self.path, self.where):
            self._line += 1
            self._record.append(line)
            self._record_bytes += len(line)
            if self._record_bytes > MAX_LINE_BYTES:
                raise ValueError(
                    f"{self.where}, line {self._record_start}: the row that begins there is longer than "
                    f"{MAX_LINE_BYTES:,} characters; a quote that is opened is not closed, or shorten the row"
                )
            yield line

    def _delimiter(self, header: str) -> str:
        for delimiter in DELIMITERS:
            try:
                names = set(next(csv.reader([header], delimiter=delimiter), []))
            except csv.Error:  # the reader of the whole file names it
                continue
            if all(names.intersection(each) for each in self.required):
                return delimiter
        return ","

    def _records(self, reader: Iterator[list[str]], delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Rows that are not blank, with the line that each begins on."""
        escaped = re.escape(delimiter)
        spaced_quote = re.compile(rf'(?:^|{escaped})[ \f\v]+"(?!"[^{escaped}\r\n])')
        exact = _exact_pattern(escaped)
        try:
            for record in reader:
                if record:
                    text = "".join(self._record)
                    if '"' in text and spaced_quote.search(text) and not exact.fullmatch(text):
                        raise ValueError(
                            f"{self.where}, line {self._record_start} has a blank before a quoted value "
                            f"({shortened(text)}); remove it, or the quotes would be part of the value"
                        )
                    yield self._record_start, record
                self._record_start, self._record_bytes = self._line + 1, 0
                self._record.clear()
        except csv.Error as error:
            raise ValueError(f"{self.where}, line {self._record_start} {_explained(error)}") from error

    def _check_header(self) -> None:
        if self.names[0].startswith("#") and not all(set(self.names).intersection(each) for each in self.required):
            raise ValueError(
                f"{self.where}, line {self._record_start} begins with '#' ({shortened(', '.join(self.names))}), but a "
                f"CSV file has no comments: remove such lines, and '#' before the header"
            )
        check_columns(self.where, self.names, self.required, delimiter_advice(self.names))
        for name in self.wanted:
            if (count := self.names.count(name)) > 1:
                places = [place for place, each in enumerate(self.names, 1) if each == name]
                raise ValueError(
                    f"{self.where}: the header names {name!r} {count} times (columns {', '.join(map(str, places))}); "
                    f"rename or drop all but one"
                )

    def _batches(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[Batch]:
        places: list[int] = []
        rows: list[list[str]] = []
        size, width = 0, len(self.names)
        columns = {name: itemgetter(self.names.index(name)) for name in self.wanted if name in self.names}
        key, headings = self._header_key()
        for place, record in records:
            if len(record) != width:
                raise ValueError(self._ragged(place, record))
            if (first := folded(record[key])) in headings and _is_header(first, record, headings):
                raise ValueError(
                    f"{self.where}, line {place} is a header again ({shortened(', '.join(record))}); it looks as if "
                    f"files were appended: give one header, and rows of its columns only, or, if it is a row after "
                    f"all, the table as Parquet or JSON lines"
                )
            places.append(place)
            rows.append(record)
            size += self._record_bytes
            if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
                yield Batch(places, {name: list(map(column, rows)) for name, column in columns.items()})
                places, rows, size = [], [], 0
        if rows:
            yield Batch(places, {name: list(map(column, rows)) for name, column in columns.items()})

    def _header_key(self) -> tuple[int, set[str]]:
        """Column whose value shows a header in the middle of the file, and the names that one may hold."""
        there = [name for each in self.required for name in each if name in self.names]
        return self.names.index(there[0]), {folded(name) for name in (*self.names, *self.wanted)} - {""}

    def _ragged(self, place: int, record: list[str]) -> str:
        values = "1 value" if len(record) == 1 else f"{len(record)} values"
        message = f"{self.where}, line {place} has {values}, but the header names {len(self.names)} columns"
        if len({*self.names, *self.wanted}.intersection(record)) > 1:
            return f"{message}; it is another header ({shortened(', '.join(record))}): files were appended, give one"
        if record[0].startswith("#"):
            return f"{message} ({shortened(', '.join(record))}); a CSV file has no comments: remove such lines"
        return f"{message} ({shortened(', '.join(record))}); quote values that hold a delimiter or a line break"


def _is_header(first: str, record: list[str], headings: set[str]) -> bool:
    """Whether a row whose key `first` is the name of a column names columns and holds no values.

    One such name alone may well be the name of a user or an item. Beside a key that is named in full, other columns
    may have names that the file does not know.
    """
    cells = [cell for cell in map(folded, record) if cell]
    if len(cells) > 1 and headings.issuperset(cells):
        return True
    names = [cell.strip() for cell in record if cell.strip()]
    return len(names) > 2 and first.endswith("_id") and all(map(_COLUMN_NAME.fullmatch, names))


def delimiter_advice(names: Collection[str]) -> str:
    """Advice on a header that was not split: "" if no other delimiter stands in its names.

    >>> delimiter_advice(["user_id|item_id|timestamp"])
    "; the header is separated by '|' instead of commas: write the file with commas, in pandas by read_csv(path, sep='|').to_csv(path, index=False)"
    """  # noqa: E501 (the message)
    for delimiter in (";", "\t", "|", ":", " "):
        if len(names) == 1 and any(delimiter in name for name in names):
            return (
                f"; the header is separated by {delimiter!r} instead of commas: write the file with commas, in pandas "
                f"by read_csv(path, sep={delimiter!r}).to_csv(path, index=False)"
            )
    return ""


def _exact_pattern(delimiter: str) -> re.Pattern[str]:
    """Pattern of a row in which no value begins with a blank and a quote."""
    value = rf'(?:"(?:[^"]|"")*+"|(?![ \f\v]+")[^{delimiter}\r\n]*+)'
    return re.compile(rf"{value}(?:{delimiter}{value})*+[\r\n]*+")


def _explained(error: csv.Error) -> str:
    reason = str(error)
    if "expected after" in reason:
        return (
            f"has text after a closing quote ({reason}); double a quote within a quoted value, as in "
            f'"5"" lamp", without backslashes'
        )
    if "unexpected end" in reason:
        return "opens a quote that is never closed; close it, or double a quote that belongs to the value"
    if "new-line" in reason:
        return r"has a carriage return (\r) outside quotes; end lines in \n or \r\n, and quote values that hold one"
    return f"is no CSV ({reason}); write it again, as Python's csv module does"


@contextmanager
def _values_of_any_length() -> Iterator[None]:
    """Lifts the csv module's limit of 131,072 characters a value; the limit of a row holds in its place."""
    before = csv.field_size_limit(2 * MAX_LINE_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)
