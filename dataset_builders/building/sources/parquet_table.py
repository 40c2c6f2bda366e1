"""Parquet of a user's own table, read by Arrow a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .file_formats import HEAD_BYTES, foreign_format
from .lines import shortened
from .table_file import BATCH_ROWS, Batch, check_columns

MAGIC, ENCRYPTED = b"PAR1", b"PARE"  # at both ends of a file; without encryption of its footer always the first


class ParquetTable:
    """Parquet file.

    Args:
        path (`Path`): An existing file.
        where (`str`): Its name in errors.
        wanted (`Collection[str]`): Columns to read, if present; others are ignored.
        required (`Collection[Sequence[str]]`): Columns that must be present, each by one of several names.
    """

    unit = "row"

    def __init__(self, path: Path, where: str, wanted: Collection[str], required: Collection[Sequence[str]]) -> None:
        self.path, self.where, self.wanted, self.required = path, where, wanted, required
        self.names: list[str] = []

    def __iter__(self) -> Iterator[Batch]:
        """Reads the file.

        Raises:
            ValueError: If it is not Parquet, lacks a column, or has one twice.
        """
        try:
            yield from self._batches()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.where} {damage_of(self.path)}") from error

    def _batches(self) -> Iterator[Batch]:
        with self.path.open("rb") as opened, pq.ParquetFile(opened) as file:
            self.names = file.schema_arrow.names
            check_columns(self.where, self.names, self.required)
            for name in self.wanted:
                if self.names.count(name) > 1:
                    raise ValueError(f"{self.where} has the column {name!r} twice; rename or drop one of them")
            columns = [name for name in self.wanted if name in self.names]
            first = 1
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                batch.validate(full=True)  # texts that are not UTF-8
                yield Batch(range(first, first + len(batch)), {name: batch.column(name) for name in columns})
                first += len(batch)


def damage_of(path: Path) -> str:
    """What is wrong with a Parquet file that Arrow cannot read, and what to do; the end of an error after its name."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(-min(4, len(head)), 2)
        tail = file.read()
    if not head.startswith((MAGIC, ENCRYPTED)):
        if (named := foreign_format(head)) is not None:
            return named
        begins = f"begins with {shortened(head[:20])}" if head else "is empty"
        return f"cannot be read (it {begins}, and is no Parquet); check it, or give it the suffix of its format"
    if ENCRYPTED in (head[:4], tail):
        return "cannot be read (it is encrypted); write it without encryption"
    if tail != MAGIC:
        return "cannot be read (its end is missing: it was cut off); check it, or write it again"
    return (
        "cannot be read (a part of it is damaged, or of a kind that Arrow does not read); check it, or write it again"
    )
