"""Amazon review files of the McAuley lab as published in 2014, 2018 and 2023, read record by record.

Reviews are JSON lines:
- 2014 and 2018: `reviewerID`, `asin`, `unixReviewTime` (seconds), `overall`, `reviewText`, `summary`;
- 2023: `user_id`, `parent_asin`, `timestamp` (milliseconds), `rating`, `text`, `title` (of the review).
Metadata:
- 2014, Python literals: `asin`, `title`, `brand`, `categories` (several paths), `price` (number), `description`;
- 2018, JSON lines: `asin`, `title`, `brand`, `category` (one path), `price` ("$12.99"), `description` (list);
- 2023, JSON lines: `parent_asin`, `title`, `store`, `categories` (one path), `price`, `description` (list).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis

from .cleaning import clean_brand, clean_categories, clean_price, clean_title, join_texts, review_text
from .raw_tables import RawTables, RecordCounts
from .records import Layout, RecordFile, integer, is_key, load_records, number

logger = logging.getLogger(__name__)

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
# In order of matching: the key of 2014 alone would match 2018 as well.
METADATA_LAYOUTS = (
    Layout("2023", {"source_id": "parent_asin", "brand": "store", "categories": "categories"}, ("source_id",)),
    Layout("2018", {"source_id": "asin", "brand": "brand", "categories": "category"}, ("source_id", "categories")),
    Layout("2014", {"source_id": "asin", "brand": "brand", "categories": "categories"}, ("source_id",)),
)


class AmazonReviewsSource:
    """One category of the Amazon reviews: its reviews file and its metadata file, of the same year.

    The layout of each file is determined from its records' fields. Single bad records are skipped, counted by reason
    and reported in [`RawTables.skipped`]; an item without metadata or without a title is kept, and counted in
    [`RawTables.noted`]. Of several metadata records of an item the first is used. Timestamps stay in the file's unit.

    Args:
        reviews (`Path`): For example `reviews_Beauty_5.json.gz`, `Gift_Cards_5.json.gz`, `All_Beauty.jsonl`.
        metadata (`Path`): For example `meta_Beauty.json.gz`, `meta_All_Beauty.jsonl.gz`.
    """

    name = "amazon_reviews"

    def __init__(self, reviews: Path, metadata: Path) -> None:
        self.reviews, self.metadata = Path(reviews), Path(metadata)

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on."""
        return {"reviews": self.reviews, "metadata": self.metadata}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Reads both files.

        Args:
            connection (`ibis.BaseBackend`): The connection that the tables are written to.

        Returns:
            `RawTables`: All readable reviews, and the items they are about.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file is truncated, mostly unreadable or of another kind, or no reviewed item has metadata.
        """
        skipped, noted = RecordCounts(), RecordCounts()
        tables = load_records(
            connection,
            _review_rows(RecordFile(self.reviews, "reviews", REVIEW_LAYOUTS, skipped)),
            _item_rows(RecordFile(self.metadata, "metadata", METADATA_LAYOUTS, skipped)),
            skipped,
            noted,
            mismatch=f"{self.reviews} has a record in {self.metadata}; give the metadata file of the same category "
            f"and year",
        )
        logger.info("%s: skipped %s", self.reviews.name, skipped.report())
        logger.info("%s: incomplete %s", self.metadata.name, noted.report())
        return tables


def _review_rows(file: RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        value = {name: record.get(field) for name, field in layout.fields.items()}
        timestamp, rating = integer(value["timestamp"]), number(value["rating"])
        if not is_key(value["user_id"]) or not is_key(value["source_id"]):
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


def _item_rows(file: RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        source_id = record[layout.fields["source_id"]]
        if not is_key(source_id):
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
