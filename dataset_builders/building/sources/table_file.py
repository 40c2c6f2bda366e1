"""Batches of a user's own table as its readers yield them: values by column, each row with its place in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from .lines import shortened

BATCH_ROWS = 50_000
BATCH_BYTES = 2**26
"""Rows, and bytes of the file, that are held as Python objects at a time."""


class WholeNumber(str):
    """Digits of a whole number as a JSON file writes it, of any size."""


class RealNumber(str):
    """Digits of a number with a fraction or an exponent as a JSON file writes it."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a file.

    Args:
        places (`Sequence[int]`): Line of each row, or its number in a Parquet file, from 1.
        columns (`Mapping`): Column -> values: of CSV texts, of JSON values with [`WholeNumber`] and [`RealNumber`], of
            Parquet an Arrow array. A column that the rows lack is absent.
    """

    places: Sequence[int]
    columns: Mapping[str, Sequence[Any] | pa.Array]


class TableFile(Protocol):
    """Reader of one file.

    Attributes:
        path (`Path`): The file.
        where (`str`): Its name in errors.
        unit (`str`): What a place counts, "line" or "row".
        names (`list[str]`): Its columns, known when the batches have been read.
    """

    path: Path
    where: str
    unit: str
    names: list[str]

    def __iter__(self) -> Iterator[Batch]:
        """Reads the file; iterable once."""
        ...


def folded(name: str) -> str:
    """A name without what is easily overlooked: capitals, blanks around it, a byte order mark.

    >>> folded("\ufeff Rating")
    'rating'
    """
    return name.replace("\ufeff", "").strip().casefold()


def spelled_otherwise(name: str, names: Collection[str]) -> str | None:
    """A column that differs from a known one in capitals, blanks around it or a byte order mark alone.

    >>> spelled_otherwise("rating", ["user_id", " Rating"]), spelled_otherwise("rating", ["rating", "ratings"])
    (' Rating', None)
    """
    return next((one for one in names if one != name and folded(one) == name), None)


def check_columns(where: str, names: Collection[str], required: Collection[Sequence[str]], advice: str = "") -> None:
    """Refuses a file that lacks a column.

    Args:
        where (`str`): Its name in the error.
        names (`Collection[str]`): The columns that it has.
        required (`Collection[Sequence[str]]`): The columns that it needs, each by one of several names.
        advice (`str`, *optional*): End of the error.

    Raises:
        ValueError: If a column is missing.
    """
    for each in required:
        if not set(each) & set(names):
            wanted = " or ".join(repr(name) for name in each)
            has = ", ".join(names)
            for name in each:
                if (nearly := spelled_otherwise(name, names)) is not None:
                    advice = f" ({nearly!r} is spelled otherwise than {name!r})"
            raise ValueError(
                f"{where} lacks the column {wanted}; it has {shortened(has, 300)[1:-1] if len(has) > 300 else has}. "
                f"Rename or add it{advice}"
            )
