"""Steam reviews and games of Kang and McAuley (2018), as published by the authors of SASRec.

Both files are Python 2 literals, one per line:

- `steam_reviews.json.gz`: `username`, `product_id`, `date` (a day), `text`, and fields that are not used (`hours`,
  `products`, `early_access`, `found_funny`, `page`, `page_order`, `compensation`, sometimes `user_id`);
- `steam_games.json.gz`: `id`, `title` (else `app_name`), `publisher`, `genres`, `specs`, `tags`, `sentiment`, `price`
  (a number, or a text such as "Free To Play"), and fields that are not used.

Properties of the data:
- A user is a `username`, as in the 2,567,538 users that the authors count, because `user_id` is missing in more than
  half of the reviews. Steam does not keep these names unique, so two people may share one. Names are replaced by
  digests, since names of people must not be published.
- There is no rating and no thumb, so `rating` is NULL: only the text shows that a review is negative.
- A date is a day. Reviews of a user on the same day are in the order of the file's rows.
- `sentiment` is the store's summary of all reviews of a game, at the time of the crawl.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis

from .cleaning import clean_brand, clean_names, clean_price, clean_title, labelled, plain_text, review_text
from .raw_tables import RawTables, RecordCounts
from .records import Layout, RecordFile, is_key, load_records, seconds

logger = logging.getLogger(__name__)

REVIEW_LAYOUT = Layout(
    "Kang and McAuley 2018",
    {"user_id": "username", "source_id": "product_id", "timestamp": "date", "text": "text"},
    ("user_id", "source_id", "timestamp"),
)
# A game may lack everything else; no review has an `id`.
GAME_LAYOUT = Layout("Kang and McAuley 2018", {"source_id": "id"}, ("source_id",))
_FREE = re.compile(r"\bfree\b", re.IGNORECASE)


class SteamSource:
    """Source of the reviews file and the games file.

    Single bad records are skipped, counted by reason and reported in [`RawTables.skipped`]; a game without a record or
    without a title is kept, and counted in [`RawTables.noted`]. Appendix A.1 lets title, genre, specs, tags, price,
    publisher and sentiment stand for an item: `brand` is the publisher, `categories` are the genres, and specs, tags
    and sentiment make up `description`. `review` is the user's own.

    Args:
        reviews (`Path`): `steam_reviews.json.gz`, or the same unpacked.
        games (`Path`): `steam_games.json.gz`, or the same unpacked.
    """

    name = "steam"

    def __init__(self, reviews: Path, games: Path) -> None:
        self.reviews, self.games = Path(reviews), Path(games)

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on."""
        return {"reviews": self.reviews, "games": self.games}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Reads both files.

        Args:
            connection (`ibis.BaseBackend`): The connection that the tables are written to.

        Returns:
            `RawTables`: All readable reviews, and the games they are about. Timestamps are seconds, at midnight UTC.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file is truncated, mostly unreadable or of another kind, or no reviewed game has a record.
        """
        skipped, noted = RecordCounts(), RecordCounts()
        tables = load_records(
            connection,
            _review_rows(RecordFile(self.reviews, "reviews", (REVIEW_LAYOUT,), skipped)),
            _game_rows(RecordFile(self.games, "games", (GAME_LAYOUT,), skipped)),
            skipped,
            noted,
            mismatch=f"{self.reviews} has a record in {self.games}; give steam_games.json.gz of the same place",
        )
        logger.info("%s: skipped %s", self.reviews.name, skipped.report())
        logger.info("%s: incomplete %s", self.games.name, noted.report())
        return tables


def user_digest(username: str) -> str:
    """Digests a user name to 64 bits; two of 2.6 million names collide once in five million crawls.

    >>> user_digest("gaben") == user_digest("gaben"), user_digest("gaben") == user_digest("Gaben")
    (True, False)
    """
    return hashlib.blake2b(username.encode("utf-8"), digest_size=8, person=b"mender-steam").hexdigest()


def steam_price(price: object) -> float | None:
    """Converts a price in dollars, 0 for a free game; `None` for anything but a single amount.

    >>> steam_price(19.99), steam_price("Free To Play"), steam_price("Starting at $499.00"), steam_price("Install Now")
    (19.99, 0.0, None, None)
    """
    return 0.0 if isinstance(price, str) and _FREE.search(price) else clean_price(price)


def _review_rows(file: RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        value = {name: record.get(field) for name, field in layout.fields.items()}
        timestamp = seconds(value["timestamp"])
        if not is_key(value["user_id"]) or not is_key(value["source_id"]):
            file.skip("user or item is no text")
        elif timestamp is None:
            file.skip("date is no date")
        else:
            yield {
                "user_id": user_digest(value["user_id"]),
                "source_id": value["source_id"],
                "timestamp": timestamp,
                "rating": None,
                "review": review_text(None, value["text"]),
                "row": row,
            }


def _game_rows(file: RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        source_id = record[layout.fields["source_id"]]
        if not is_key(source_id):
            file.skip("item is no text")
            continue
        yield {
            "source_id": source_id,
            "title": clean_title(record.get("title")) or clean_title(record.get("app_name")),
            "brand": clean_brand(record.get("publisher")),
            "categories": clean_names(record.get("genres")),
            "price": steam_price(record.get("price")),
            "description": labelled(
                specs=", ".join(clean_names(record.get("specs"))),
                tags=", ".join(clean_names(record.get("tags"))),
                sentiment=plain_text(record.get("sentiment")),
            ),
            "row": row,
        }
