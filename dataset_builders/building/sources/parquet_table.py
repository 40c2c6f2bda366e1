"""Parquet of a user's own table, read by Arrow a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .table_file import BATCH_ROWS, Batch, check_columns


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
        except (pa.ArrowException, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{self.where} cannot be read ({reason}); check it, or write it again") from error

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
