"""The Amazon review files of the McAuley lab as published in 2014, 2018 and 2023, read record by record.

This file knows the three layouts and how their files break; the leftovers in a single field are known to `cleaning`.
Files are streamed into Parquet parts and from there into DuckDB, so neither is ever held in memory.

Reviews are JSON lines:
- 2014 and 2018: `reviewerID`, `asin`, `unixReviewTime` (seconds), `overall`, `reviewText`, `summary`;
- 2023: `user_id`, `parent_asin`, `timestamp` (milliseconds), `rating`, `text`, `title` (of the review).
Metadata:
- 2014, Python literals: `asin`, `title`, `brand`, `categories` (several paths), `price` (number), `description`;
- 2018, JSON lines: `asin`, `title`, `brand`, `category` (one path), `price` ("$12.99"), `description` (list);
- 2023, JSON lines: `parent_asin`, `title`, `store`, `categories` (one path), `price`, `description` (list).
Python literals are read by `ast.literal_eval`, which builds values and runs nothing.
"""

from __future__ import annotations

import ast
import gzip
import json
import logging
import math
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.util import gen_name
from tqdm.auto import tqdm

from dataset_builders.sources import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, RecordCounts
from dataset_builders.sources.cleaning import (
    clean_brand,
    clean_categories,
    clean_price,
    clean_title,
    join_texts,
    review_text,
)

logger = logging.getLogger(__name__)

FIRST_RECORDS = 1000  # if as many from the start are unusable, the file is not what it was taken for
MAX_BAD_SHARE = 0.5
PART_RECORDS = 20_000  # records in memory at a time


@dataclass(frozen=True)
class Layout:
    """The field names of one published layout; `fields` maps our names to theirs."""

    years: str
    fields: Mapping[str, str]
    required: tuple[str, ...]

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Returns: `bool`: whether a record has the fields that this layout cannot do without."""
        return all(self.fields[name] in record for name in self.required)


_REVIEW_KEYS = ("user_id", "source_id", "timestamp", "rating")
REVIEW_LAYOUTS = (
    Layout(
        "2014/2018",
        {
            "user_id": "reviewerID",
            "source_id": "asin",
            "timestamp": "unixReviewTime",
            "rating": "overall",
            "summary": "summary",
            "text": "reviewText",
        },
        _REVIEW_KEYS,
    ),
    Layout(
        "2023",
        {
            "user_id": "user_id",
            "source_id": "parent_asin",
            "timestamp": "timestamp",
            "rating": "rating",
            "summary": "title",
            "text": "text",
        },
        _REVIEW_KEYS,
    ),
)
# In the order of the check: the key of 2014 alone would match 2018 as well.
METADATA_LAYOUTS = (
    Layout("2023", {"source_id": "parent_asin", "brand": "store", "categories": "categories"}, ("source_id",)),
    Layout("2018", {"source_id": "asin", "brand": "brand", "categories": "category"}, ("source_id", "categories")),
    Layout("2014", {"source_id": "asin", "brand": "brand", "categories": "categories"}, ("source_id",)),
)


class AmazonReviewsSource:
    """
    One category of the Amazon reviews: its reviews file and its metadata file, of the same year.

    The layout is told from the records' fields, for each file. Single bad records are skipped, counted by reason and
    reported in [`RawTables.skipped`]; an item without metadata or without a title is kept, and counted in
    [`RawTables.noted`]. Of several metadata records of an item the first counts. Timestamps stay in the file's unit.

    Args:
        reviews (`Path`): For example `reviews_Beauty_5.json.gz`, `Gift_Cards_5.json.gz`, `All_Beauty.jsonl`.
        metadata (`Path`): For example `meta_Beauty.json.gz`, `meta_All_Beauty.jsonl.gz`.
    """

    name = "amazon_reviews"

    def __init__(self, reviews: Path, metadata: Path) -> None:
        self.reviews, self.metadata = Path(reviews), Path(metadata)

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """
        Reads both files.

        Args:
            connection (`ibis.BaseBackend`): The connection that the tables are written to.

        Returns:
            `RawTables`: all readable reviews, and the items they are about.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: a file is cut off, is mostly unreadable, or is not of the kind it was given as; or no reviewed
                item has metadata.
        """
        for label, path in (("reviews", self.reviews), ("metadata", self.metadata)):
            if not path.is_file():
                raise FileNotFoundError(f"{label} file {path} does not exist; download it, or correct the path")
        skipped, noted = RecordCounts(), RecordCounts()
        with tempfile.TemporaryDirectory(prefix="mender-amazon-") as folder:
            reviews = _RecordFile(self.reviews, "reviews", REVIEW_LAYOUTS, skipped)
            interactions = _stage(connection, _review_rows(reviews), INTERACTION_SCHEMA, Path(folder))
            metadata = _RecordFile(self.metadata, "metadata", METADATA_LAYOUTS, skipped)
            item_schema = ITEM_SCHEMA.append(pa.field("row", pa.int64()))
            described = _stage(connection, _item_rows(metadata), item_schema, Path(folder))
        items = self._items(connection, interactions, described, skipped, noted)
        logger.info("%s: skipped %s", self.reviews.name, skipped.report())
        logger.info("%s: incomplete %s", self.metadata.name, noted.report())
        return RawTables(interactions, items, skipped, noted)

    def _items(
        self,
        connection: ibis.BaseBackend,
        interactions: ibis.Table,
        described: ibis.Table,
        skipped: RecordCounts,
        noted: RecordCounts,
    ) -> ibis.Table:
        """One row for every reviewed item, with what its first metadata record holds."""
        reviewed = interactions.select("source_id").distinct()
        described = described.semi_join(reviewed, "source_id")
        first = described.group_by("source_id").agg(row=described.row.min())
        repeated = _count(described) - _count(first)
        unknown = reviewed.anti_join(first, "source_id")
        without_metadata, num_reviewed = _count(unknown), _count(reviewed)
        if without_metadata == num_reviewed:
            raise ValueError(
                f"none of the {num_reviewed} items in {self.reviews} has a record in {self.metadata}; give the "
                f"metadata file of the same category and year"
            )
        known = described.semi_join(first, ["source_id", "row"]).select(*ITEM_SCHEMA.names)
        bare = unknown.mutate(
            title=ibis.null("string"),
            brand=ibis.literal(""),
            categories=ibis.literal([], type="array<string>"),
            price=ibis.null("float64"),
            description=ibis.literal(""),
        )
        items = connection.create_table(gen_name("amazon_items"), known.union(bare), temp=True)
        untitled = _count(items.filter(items.title.isnull())) - without_metadata
        for counts, reason, count in (
            (skipped, "metadata: repeated record of an item, the first one counts", repeated),
            (noted, "items: no metadata record, kept without a title", without_metadata),
            (noted, "items: no usable title, kept without one", untitled),
        ):
            if count:
                counts[reason] += count
        return items


class _RecordFile:
    """The readable records of one file, with the row each stands in; iterate once.

    Skips are counted; too many of them, or a file that is cut off, end the iteration with an error that names the way
    out.
    """

    def __init__(self, path: Path, label: str, layouts: tuple[Layout, ...], skipped: RecordCounts) -> None:
        self.path, self.label, self.layouts, self.skipped = path, label, layouts, skipped
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
            record = _parse(line)
            if record is None:
                self.skip("malformed line")
                continue
            layout = layout or next((each for each in self.layouts if each.matches(record)), None)
            if layout is None or not layout.matches(record):
                self.skip("a required field is missing")
                continue
            yield row, layout, record
        if not self.read:
            raise ValueError(f"{self.label} file {self.path} holds no records; download it again")
        if self.bad > MAX_BAD_SHARE * self.read:
            raise self._wrong_file()

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as start:
            compressed = start.read(2) == b"\x1f\x8b"
        open_file = gzip.open if compressed else open
        with open_file(self.path, "rb") as lines, tqdm(desc=self.path.name, unit=" records", disable=None) as progress:
            try:
                for line in lines:
                    progress.update()
                    if line.strip():
                        yield line
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{self.label} file {self.path} is damaged or cut off after {self.read} records ({error}); "
                    f"download it again"
                ) from error

    def _wrong_file(self) -> ValueError:
        known = " or ".join(
            f"{layout.years} ({', '.join(layout.fields[name] for name in layout.required)})" for layout in self.layouts
        )
        return ValueError(
            f"{self.bad} of the first {self.read} records in {self.path} are unusable as {self.label} "
            f"({self.reasons.report()}); give a {self.label} file in the layout of {known}"
        )


def _parse(line: bytes) -> dict[str, Any] | None:
    """A JSON object or a Python dict literal; None for anything else."""
    try:
        # repr() of a dict with string keys starts with {' and JSON never does, so one character tells them apart.
        record = ast.literal_eval(line.decode()) if line.startswith(b"{'") else json.loads(line)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: what deep nesting raises
        return None
    return record if isinstance(record, dict) else None


def _review_rows(file: _RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        value = {name: record.get(field) for name, field in layout.fields.items()}
        timestamp, rating = _integer(value["timestamp"]), _number(value["rating"])
        if not _is_key(value["user_id"]) or not _is_key(value["source_id"]):
            file.skip("user or item is no text")
        elif timestamp is None:
            file.skip("time is no integer")
        elif rating is None:
            file.skip("rating is no number")
        elif not 1 <= rating <= 5:
            file.skip("rating outside 1..5")
        else:
            yield {
                "user_id": value["user_id"],
                "source_id": value["source_id"],
                "timestamp": timestamp,
                "rating": rating,
                "review": review_text(value["summary"], value["text"]),
                "row": row,
            }


def _item_rows(file: _RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        source_id = record[layout.fields["source_id"]]
        if not _is_key(source_id):
            file.skip("item is no text")
            continue
        yield {
            "source_id": source_id,
            "title": clean_title(record.get("title")),
            "brand": clean_brand(record.get(layout.fields["brand"])),
            "categories": clean_categories(record.get(layout.fields["categories"])),
            "price": clean_price(record.get("price")),
            "description": join_texts(record.get("description")),
            "row": row,
        }


def _is_key(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number(value: object) -> float | None:
    """A finite number, also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**53 else None


def _stage(
    connection: ibis.BaseBackend, rows: Iterator[dict[str, Any]], schema: pa.Schema, folder: Path
) -> ibis.Table:
    """Streams rows through a Parquet file into a temporary table of the connection, a part at a time."""
    path = folder / f"{gen_name('rows')}.parquet"
    with pq.ParquetWriter(path, schema) as writer:
        while part := list(islice(rows, PART_RECORDS)):
            writer.write_table(pa.Table.from_pylist(part, schema))
    view = connection.read_parquet(path, table_name=gen_name("staged"))
    table = connection.create_table(gen_name("amazon"), view, temp=True)
    connection.raw_sql(f'DROP VIEW "{view.op().name}"')  # the file it reads is about to go
    path.unlink()
    return table


def _count(table: ibis.Table) -> int:
    return int(table.count().to_pyarrow().as_py())
