"""Table of the item properties in a journal (appendix C.1)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ....atomic_write import atomic_write
from .journal import Journal
from .journal_lines import JournalContent
from .prompts import PROPERTIES


def write_properties(content: Journal | JournalContent, items: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Writes item properties as a Parquet table: `item_id` int32, `source_id` string, `properties` list of string.

    Args:
        content ([`Journal`] or [`JournalContent`]): Of the task `"properties"`.
        items (`Iterable[Mapping]`): Rows of the config `items`; those without properties are left out.
        path (`Path`): The file, replaced if it exists.

    Returns:
        `int`: Number of rows.

    Raises:
        ValueError: If the journal holds preferences.
    """
    if content.header.task != PROPERTIES:
        raise ValueError(f"The journal holds {content.header.task}; give one of item properties.")
    found = [(item, content.entries.get((item["source_id"], 0))) for item in items]
    rows = [
        {"item_id": item["item_id"], "source_id": item["source_id"], "properties": list(entry.answer)}
        for item, entry in found
        if entry is not None and entry.answer is not None
    ]
    schema = pa.schema({"item_id": pa.int32(), "source_id": pa.string(), "properties": pa.list_(pa.string())})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
    return len(rows)
