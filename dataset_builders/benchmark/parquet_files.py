"""Read Parquet files that may be damaged, with errors that name the file."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_POINTER = b"version https://git-lfs"


def read_parquet(path: str | Path, way_out: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file, and validates all of its values.

    Args:
        path (`str` or `Path`): The file.
        way_out (`str`): End of the error's sentence, as in `build the benchmark again`.
        columns (`Sequence[str]`, *optional*): Columns to read; all by default.

    Raises:
        FileNotFoundError: If it is no file.
        ValueError: If it is no whole Parquet file, or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; {way_out}.")
    is_pointer = False
    try:
        # open, so that its parent folders are not taken for values of columns
        with path.open("rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
            file.seek(0)
            table = pq.read_table(file, page_checksum_verification=True)
        table.validate(full=True)
        names = table.schema.names  # decoded here
    except (pa.ArrowException, OSError, ValueError, MemoryError, RuntimeError) as error:
        if is_pointer:
            raise ValueError(
                f"{path} is a pointer of Git LFS and not the file itself; fetch it with git lfs pull, or {way_out}."
            ) from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a readable Parquet file ({reason:.200}); {way_out}.") from None
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path} has the column {twice[0]!r} twice; {way_out}.")
    if missing := [name for name in columns or () if name not in names]:
        raise ValueError(f"{path} has no column {missing[0]!r}, only {', '.join(names)}; {way_out}.")
    return table if columns is None else table.select(columns)
