"""Parquet of a user's own table, read by Arrow a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .file_formats import HEAD_BYTES, foreign_format
from .lines import MAX_LINE_BYTES, shortened
from .table_file import BATCH_BYTES, BATCH_ROWS, Batch, check_columns

FREE_BYTES = 2**28
MAX_EXPANSION = 1000
"""Values that take more than so many bytes, and so many times the file, are refused: only repeated ones can."""
MAGIC, ENCRYPTED = b"PAR1", b"PARE"  # at both ends of a file; without encryption of its footer always the first


class ParquetTable:
    """Parquet file, of which no more than some MB are held at a time, however little it takes on the disk.

    A value that stands in many rows is stored once, so the size of the file says nothing of theirs. Texts are read as
    indices into their distinct values; a batch ends before its values, written out, exceed [`BATCH_BYTES`].

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
        self._taken = Counter[str]()  # column -> bytes of its values, written out

    def __iter__(self) -> Iterator[Batch]:
        """Reads the file.

        Raises:
            ValueError: If it is not Parquet, lacks a column, or has one twice, a value exceeds the limit of a line, or
                all exceed [`MAX_EXPANSION`] times the file.
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
            leaves = [file.schema.column(leaf) for leaf in range(len(file.schema))]
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            indexed = [
                leaf.path
                for place, leaf in enumerate(leaves)
                if leaf.physical_type == "BYTE_ARRAY"
                and not any("DELTA" in encoding for group in groups for encoding in group.column(place).encodings)
            ]  # Arrow has no indices of what is stored as differences
            read = [place for place, leaf in enumerate(leaves) if leaf.path.split(".")[0] in columns]
        with self.path.open("rb") as opened, pq.ParquetFile(opened, read_dictionary=indexed) as file:
            first = 1
            for group in range(file.num_row_groups):
                rows = _rows_at_a_time(file, group, read)
                for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
                    batch.validate(full=True)  # texts that are not UTF-8
                    for part in self._parts(batch, first):
                        yield Batch(range(first, first + len(part)), {name: part.column(name) for name in columns})
                        first += len(part)

    def _parts(self, batch: pa.RecordBatch, first: int) -> Iterator[pa.RecordBatch]:
        """Splits a batch, whose first row is the `first` of the file, into parts of at most [`BATCH_BYTES`]."""
        total = np.zeros(len(batch), np.int64)
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            sizes = _sizes(values)
            if (long := np.flatnonzero(sizes > MAX_LINE_BYTES)).size:
                raise ValueError(
                    f"{self.where}, row {first + long[0]}: {name} is longer than {MAX_LINE_BYTES:,} bytes; shorten or "
                    f"remove it"
                )
            total += sizes
            self._taken[name] += int(sizes.sum())
        file_bytes = self.path.stat().st_size
        if self._taken.total() > max(FREE_BYTES, MAX_EXPANSION * file_bytes):
            longest, size = self._taken.most_common(1)[0]
            raise ValueError(
                f"{self.where}: up to row {first + len(batch) - 1}, {longest} takes {size:,} bytes, above "
                f"{MAX_EXPANSION:,} times the file of {file_bytes:,}: long values stand in many rows; shorten them"
            )
        start, ends = 0, np.cumsum(total)
        while start < len(batch):
            before = ends[start - 1] if start else 0
            end = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
            yield batch.slice(start, end - start)
            start = end


def _rows_at_a_time(file: pq.ParquetFile, group: int, leaves: Sequence[int]) -> int:
    """Rows of a row group whose values, as Arrow reads them, take about [`BATCH_BYTES`] or less."""
    rows = BATCH_ROWS
    number = max(1, file.metadata.row_group(group).num_rows)
    for leaf in leaves:
        chunk = file.metadata.row_group(group).column(leaf)
        size = max(chunk.total_uncompressed_size, 8 * chunk.num_values)
        if "DELTA_BYTE_ARRAY" in chunk.encodings:
            number = 1  # a value is stored as what differs from the one before, so each may be as long as all that is
        rows = min(rows, BATCH_BYTES * number // max(1, size), BATCH_BYTES // max(1, file.schema.column(leaf).length))
    return max(1, rows)


def _sizes(values: pa.Array) -> np.ndarray:
    """Bytes of each value of a column, written out; a shape of (rows,)."""
    if pa.types.is_dictionary(values.type):
        sizes = np.append(_sizes(values.dictionary), 0)
        return sizes[values.indices.fill_null(len(sizes) - 1).to_numpy(zero_copy_only=False).astype(np.int64)]
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_map(values.type):
        inner = np.append(0, np.cumsum(_sizes(values.values) + 8))
        offsets = values.offsets.to_numpy()
        return inner[offsets[1:]] - inner[offsets[:-1]]
    if pa.types.is_binary(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.full(len(values), 8, np.int64)


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
