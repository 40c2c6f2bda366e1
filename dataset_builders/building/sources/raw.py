"""Existing raw tables: Parquet with exactly the columns of `RawTables`, read in place.

For data that is too large to copy or was prepared elsewhere: nothing is parsed, cleaned or moved, so either engine
reads the files itself, Spark a folder of parts on storage that its workers share.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from ..engines import named_read_errors, read_parquet
from .parquet_table import damage_of
from .raw_tables import RawTables
from .values import TIME_UNITS

MUST_BE = {
    "user_id": "a text without blanks around it",
    "source_id": "a text without blanks around it",
    "rating": "of 1 to 5, or NULL",
    "price": "finite and not negative, or NULL",
}


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

    @named_read_errors()
    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """Registers both tables on a connection.

        Args:
            connection (`ibis.BaseBackend`): On either engine.

        Returns:
            `RawTables`: Views of the files, which must stay in place.

        Raises:
            FileNotFoundError: If a file does not exist, or a folder holds no Parquet file.
            ValueError: If a file is not Parquet or is damaged, the files of a folder have different types, or a value
                is none that the other sources give: an empty key or one with blanks around it, a rating outside 1 to
                5, a price that is negative or not finite, or times in several units.
        """
        tables = []
        for label, path in (("interactions", self.interactions), ("items", self.items)):
            files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
            if not files or not files[0].is_file():
                raise FileNotFoundError(f"{label}: {path} is neither a Parquet file nor a folder of them; correct it")
            _check_types(label, files)
            tables.append(read_parquet(connection, path, label))
        for (label, path), table in zip(
            (("interactions", self.interactions), ("items", self.items)), tables, strict=True
        ):
            _check_values(f"{label} {path}", table)
        _check_units(f"interactions {self.interactions}", tables[0])
        return RawTables(*tables)


def _check_types(label: str, files: list[Path]) -> None:
    """Refuses what is not Parquet, and parts whose columns have other types than those of the first."""
    first: pa.Schema | None = None
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{label}: {file} {damage_of(file)}; the source 'tables' reads CSV") from error
        first = first or schema
        for field in first:
            if field.name not in schema.names or schema.field(field.name).type != field.type:
                there = schema.field(field.name).type if field.name in schema.names else "missing"
                raise ValueError(
                    f"{label}: {field.name} is {field.type} in {files[0]} and {there} in {file}; write all parts alike"
                )


def _check_units(where: str, table: ibis.Table) -> None:
    """Refuses integer times whose sizes show several units; they would be ordered wrongly."""
    if "timestamp" not in table.columns or not table.timestamp.type().is_integer():
        return
    time = table.timestamp
    first = {
        unit: time.min(where=time.between(least, most) | time.between(-most, -least))
        for unit, (least, most) in TIME_UNITS.items()
    }
    (found,) = table.aggregate(**first).to_pyarrow().to_pylist()
    there = [f"{value} ({unit})" for unit, value in found.items() if value is not None]
    if len(there) > 1:
        raise ValueError(f"{where}: timestamp has values of several units, {' and '.join(there)}; give one throughout")


def _check_values(where: str, table: ibis.Table) -> None:
    """Refuses a value that no other source gives; names one. A table is read once."""
    wrong: dict[str, ir.BooleanValue] = {}
    for name in MUST_BE.keys() & set(table.columns):
        value = table[name]
        if value.type().is_string():
            wrong[name] = value.isnull() | (value == "") | (value != value.strip())
        elif value.type().is_numeric():
            number = value.cast("float64")
            least, most = (1.0, 5.0) if name == "rating" else (0.0, 1e300)
            wrong[name] = number.notnull() & (number.isnan() | ~number.between(least, most))
    if not wrong:
        return
    values = {f"value_of_{name}": table[name] for name in wrong}
    found = table.filter(ibis.or_(*wrong.values())).select(**wrong, **values).limit(1).to_pyarrow().to_pylist()
    for name in wrong if found else ():
        if found[0][name]:
            shown = f"{found[0][f'value_of_{name}']!r:.80}"
            raise ValueError(f"{where}: {name} ({shown}) must be {MUST_BE[name]}; correct or drop the row")
