"""Yelp Open Dataset, which each user gets from Yelp: its reviews and businesses, read directly from the archive.

The archive is Yelp's file (`yelp_dataset.tar`, compressed or not, or the zip file around it), or a folder or zip file
with the two extracted members. Both are JSON lines:

- `yelp_academic_dataset_review.json`: `user_id`, `business_id`, `stars`, `text`, `date` ("2018-07-07 22:09:11");
- `yelp_academic_dataset_business.json`: `business_id`, `name`, `categories` ("Pizza, Restaurants"), `city`, `state`,
  `attributes` (of which `RestaurantsPriceRange2` is the price level, "1" to "4").

Properties of the data:
- There is no price, only a level, which is part of `description`; `price` is NULL and `brand` "".
- The stars of a business are left out: they are the mean over all reviews, including those of the test split.
- Yelp has published the dataset in several editions. Table 3 counts one of them after a filter that the paper does not
  state; related work keeps the reviews of 2019. So its counts cannot be reproduced with any `since` and `until`.
"""

from __future__ import annotations

import logging
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import ibis

from . import SOURCES
from .cleaning import clean_names, clean_title, labelled, plain_text, review_text
from .raw_tables import RawTables, RecordCounts
from .records import Layout, RecordFile, is_key, load_records, number, seconds

logger = logging.getLogger(__name__)

REVIEWS, BUSINESSES = "yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"
ARCHIVES = ("yelp_dataset.tar", "yelp_dataset.tar.gz", "yelp_dataset.tgz", "Yelp-JSON.zip")
WHERE = SOURCES["yelp"].page
ADVICE = f"download it again from {WHERE}"
DAY = 86_400

REVIEW_LAYOUT = Layout(
    "the Yelp Open Dataset",
    {"user_id": "user_id", "source_id": "business_id", "timestamp": "date", "rating": "stars", "text": "text"},
    ("user_id", "source_id", "timestamp", "rating"),
)
BUSINESS_LAYOUT = Layout(
    "the Yelp Open Dataset", {"source_id": "business_id", "title": "name"}, ("source_id", "title")
)

EPOCH_DAY = date(1970, 1, 1).toordinal()


class YelpSource:
    """Source of the Yelp Open Dataset, all of it or between two days.

    Single bad records are skipped, counted by reason and reported in [`RawTables.skipped`], and so are the reviews of
    other days; a business without a record or without a name is kept, and counted in [`RawTables.noted`]. Nothing is
    extracted to disk. A compressed archive is read twice, once for each member.

    Args:
        archive (`Path`): The tar or zip file, or a folder with the two files (plain or gzip).
        since (`str`, *optional*): First day of the reviews, as "2019-01-01"; unlimited by default.
        until (`str`, *optional*): Last day of the reviews, inclusive; unlimited by default.

    Raises:
        ValueError: If a day is malformed, or `until` is before `since`.
    """

    name = "yelp"
    notice = (
        "Made from the Yelp Open Dataset. Its user agreement allows academic use only and restricts passing the data "
        "on: keep this benchmark among those who accepted it."
    )

    def __init__(self, archive: Path, since: str | None = None, until: str | None = None) -> None:
        self.archive, self.since, self.until = Path(archive), since, until
        self._first, self._last = _day("since", since), _day("until", until)
        if self._first is not None and self._last is not None and self._last < self._first:
            raise ValueError(f"until ({until}) must not lie before since ({since})")

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on."""
        paths = {"archive": self.archive}
        if self.archive.is_dir():
            paths = {"reviews": _in_folder(self.archive, REVIEWS), "businesses": _in_folder(self.archive, BUSINESSES)}
        return {**paths, "since": self.since, "until": self.until}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Reads both members.

        Args:
            connection (`ibis.BaseBackend`): The connection that the tables are written to.

        Returns:
            `RawTables`: All readable reviews of the days, and the reviewed businesses. Timestamps are seconds.

        Raises:
            FileNotFoundError: If the archive does not exist or lacks a member.
            ValueError: If a member is truncated, mostly unreadable or of another kind, no review lies between `since`
                and `until`, or no reviewed business has a record.
        """
        if not self.archive.exists():
            raise FileNotFoundError(f"archive {self.archive} does not exist; get it from {WHERE}, or correct the path")
        skipped, noted = RecordCounts(), RecordCounts()
        tables = load_records(
            connection,
            self._review_rows(self._file(REVIEWS, "reviews", REVIEW_LAYOUT, skipped)),
            _business_rows(self._file(BUSINESSES, "businesses", BUSINESS_LAYOUT, skipped)),
            skipped,
            noted,
            mismatch=f"{REVIEWS} has a record in {BUSINESSES}; give both from one edition of the dataset",
        )
        logger.info("%s: skipped %s", self.archive.name, skipped.report())
        logger.info("%s: incomplete %s", self.archive.name, noted.report())
        return tables

    def _file(self, member: str, label: str, layout: Layout, skipped: RecordCounts) -> RecordFile:
        if self.archive.is_dir():
            return RecordFile(_in_folder(self.archive, member), label, (layout,), skipped, advice=ADVICE)
        opened = partial(open_member, member=member)
        return RecordFile(self.archive, label, (layout,), skipped, opened, ADVICE)

    def _review_rows(self, file: RecordFile) -> Iterator[dict[str, Any]]:
        earliest = latest = None
        kept = 0
        for row, layout, record in file:
            value = {name: record.get(field) for name, field in layout.fields.items()}
            timestamp, rating = seconds(value["timestamp"]), number(value["rating"])
            if not is_key(value["user_id"]) or not is_key(value["source_id"]):
                file.skip("user or item is no text")
            elif timestamp is None:
                file.skip("date is no date")
            elif rating is None:
                file.skip("rating is no number")
            elif not 1 <= rating <= 5:
                file.skip("rating outside 1..5")
            else:
                earliest = timestamp if earliest is None else min(earliest, timestamp)
                latest = timestamp if latest is None else max(latest, timestamp)
                if not self._in_days(timestamp):
                    file.skipped["reviews: outside the days asked for"] += 1
                    continue
                kept += 1
                yield {
                    "user_id": value["user_id"],
                    "source_id": value["source_id"],
                    "timestamp": timestamp,
                    "rating": rating,
                    "review": review_text(None, value["text"]),
                    "row": row,
                }
        if not kept and earliest is not None and latest is not None:
            days = " to ".join(
                date.fromordinal(EPOCH_DAY + moment // DAY).isoformat() for moment in (earliest, latest)
            )
            raise ValueError(
                f"no review in {self.archive} lies between since ({self.since}) and until ({self.until}); "
                f"they run from {days}"
            )

    def _in_days(self, timestamp: int) -> bool:
        after = self._first is None or timestamp >= self._first
        return after and (self._last is None or timestamp < self._last + DAY)


def find_archive(folder: Path) -> Path:
    """Finds the dataset in a folder: an archive under one of its usual names, else the folder itself.

    Args:
        folder (`Path`): Folder with Yelp's files.

    Returns:
        `Path`: The `archive` of [`YelpSource`].

    Raises:
        FileNotFoundError: If the folder has neither an archive nor both extracted files.
    """
    for name in ARCHIVES:
        if (folder / name).is_file():
            return folder / name
    try:
        _in_folder(folder, REVIEWS), _in_folder(folder, BUSINESSES)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no Yelp dataset in {folder}; Yelp hands it out at {WHERE} to those who accept its agreement: put one of "
            f"{', '.join(ARCHIVES)} there, or {REVIEWS} and {BUSINESSES}"
        ) from error
    return folder


@contextmanager
def open_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    """Opens one file of a tar or zip file, or of a tar file in a zip file, for reading; nothing is written to disk.

    Args:
        path (`Path`): The archive; its kind is determined from its content.
        member (`str`): The file's name, in any folder of the archive.

    Yields:
        `IO[bytes]`: A binary file.

    Raises:
        FileNotFoundError: If the archive has no such member.
        ValueError: If the file is not an archive, the member is packed in a way that cannot be read, is no plain file,
            occurs twice, or its name leads out of the archive.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [
                entry for entry in archive.infolist() if not (entry.is_dir() or entry.filename.startswith("__MACOSX"))
            ]
            for wanted in (member, *ARCHIVES):
                if found := [entry for entry in entries if PurePosixPath(entry.filename).name == wanted]:
                    break
            else:
                raise FileNotFoundError(f"{path} holds no {member}; {ADVICE}")
            if len(found) > 1:
                raise ValueError(f"{path} holds {wanted} {len(found)} times; {ADVICE}")
            _check_name(path, found[0].filename)
            if stat.S_ISLNK(found[0].external_attr >> 16):
                raise ValueError(f"{path} holds {wanted} as a link; {ADVICE}")
            try:
                packed = archive.open(found[0])
            except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed by an unknown method
                raise ValueError(f"{path} holds {wanted}, which cannot be unpacked ({error}); {ADVICE}") from error
            with packed:
                if wanted == member:
                    yield packed
                else:
                    with tarfile.open(fileobj=packed, mode="r|*") as inner:
                        yield _tar_member(inner, path, member)
        return
    if not tarfile.is_tarfile(path):
        raise ValueError(
            f"{path} is neither a tar nor a zip file, or is damaged at its start; give the archive from {WHERE}, or "
            f"the folder it was unpacked into"
        )
    with tarfile.open(path, "r:*") as archive:
        yield _tar_member(archive, path, member)


def _tar_member(archive: tarfile.TarFile, path: Path, member: str) -> IO[bytes]:
    for entry in archive:  # stops at the member; a lookup by name would read the archive to its end first
        # macOS adds members that start with "._" and hold no data of the dataset.
        if entry.isdir() or PurePosixPath(entry.name).name != member:
            continue
        _check_name(path, entry.name)
        if not entry.isfile() or entry.issparse():  # a sparse file of a few bytes may be read without end
            raise ValueError(f"{path} holds {member} not as a plain file but as a link or another kind; {ADVICE}")
        lines = archive.extractfile(entry)
        assert lines is not None, entry.name
        return lines
    raise FileNotFoundError(f"{path} holds no {member}; {ADVICE}")


def _check_name(path: Path, name: str) -> None:
    """Refuses a name that leads out of the archive: nothing is unpacked, but the dataset has no such name."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name:
        raise ValueError(f"{path} holds {name!r}, a name that leads out of the archive; {ADVICE}")


def _in_folder(folder: Path, member: str) -> Path:
    for path in (folder / member, folder / f"{member}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"folder {folder} holds no {member}; give the folder that the archive was unpacked into")


def _day(label: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return (date.fromisoformat(text).toordinal() - EPOCH_DAY) * DAY
    except ValueError as error:
        raise ValueError(f"{label} ({text!r}) is no day; write it as 2019-01-01") from error


def _business_rows(file: RecordFile) -> Iterator[dict[str, Any]]:
    for row, layout, record in file:
        source_id = record[layout.fields["source_id"]]
        if not is_key(source_id):
            file.skip("item is no text")
            continue
        categories = record.get("categories")
        place = ", ".join(filter(None, (plain_text(record.get("city")), plain_text(record.get("state")))))
        yield {
            "source_id": source_id,
            "title": clean_title(record[layout.fields["title"]]),
            "brand": "",
            # One text in the present editions, a list in those before 2018.
            "categories": clean_names(categories.split(",") if isinstance(categories, str) else categories),
            "price": None,
            "description": labelled(place=place, price_level=price_level(record.get("attributes"))),
            "row": row,
        }


def price_level(attributes: object) -> str:
    """Price level of a business in words; "" for none.

    >>> price_level({"RestaurantsPriceRange2": "2"}), price_level({"WiFi": "u'free'"}), price_level(None)
    ('2 of 4', '', '')
    """
    level = attributes.get("RestaurantsPriceRange2") if isinstance(attributes, dict) else None
    return f"{level} of 4" if str(level) in {"1", "2", "3", "4"} else ""
