"""Existing raw tables: Parquet with exactly the columns of `RawTables`, read in place.

For data that is too large to copy or was prepared elsewhere: nothing is parsed, cleaned or moved, so either engine
reads the files itself, Spark a folder of parts on storage that its workers share.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from ..engines import read_parquet
from .raw_tables import RawTables


class RawSource:
    """Raw tables in place; [`RawTables`] documents their columns, `row` included.

    Args:
        interactions (`Path`): A Parquet file, or a folder of Parquet files.
        items (`Path`): A Parquet file, or a folder of Parquet files.
    """

    name = "raw"
    any_engine = True

    def __init__(self, interactions: Path, items: Path) -> None:
        self.interactions, self.items = Path(interactions), Path(items)

    def inputs(self) -> dict[str, Path | str | int | None]:
        """Everything that `load` depends on."""
        return {"interactions": self.interactions, "items": self.items}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Registers both tables on a connection.

        Args:
            connection (`ibis.BaseBackend`): On either engine.

        Returns:
            `RawTables`: Views of the files, which must stay in place.

        Raises:
            FileNotFoundError: If a file does not exist, or a folder holds no Parquet file.
            ValueError: If a file is not Parquet.
        """
        tables = []
        for label, path in (("interactions", self.interactions), ("items", self.items)):
            files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
            if not files or not files[0].is_file():
                raise FileNotFoundError(f"{label}: {path} is neither a Parquet file nor a folder of them; correct it")
            try:
                pq.read_schema(files[0])
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"{label}: {files[0]} is not Parquet ({error}); the source 'tables' reads CSV"
                ) from error
            tables.append(read_parquet(connection, path, label))
        return RawTables(*tables)
