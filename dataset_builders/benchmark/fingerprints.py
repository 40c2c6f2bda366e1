"""File names of a config and the reproducible digest of its rows."""

import hashlib
import json
from collections.abc import Mapping

import pyarrow as pa


def split_file(split: str) -> str:
    """Name of a split's file.

    >>> split_file("test")
    'test-00000-of-00001.parquet'
    """
    return f"{split}-00000-of-00001.parquet"


def content_fingerprint(splits: Mapping[str, pa.Table]) -> str:
    """Digests a config's rows, independent of their storage format.

    It is the BLAKE2b digest (16 bytes) of one line of JSON per split, its name, followed by one line per row: an
    object without spaces, columns in the published order, text unescaped.

    Args:
        splits (`Mapping[str, pa.Table]`): Rows of the published schema, in the published order of splits.

    Returns:
        `str`: 32 hexadecimal digits.

    >>> content_fingerprint({"train": pa.table({"target": [1, 2]})})
    '8e23dc2f8012675d91136b932aeeb866'
    """
    state = hashlib.blake2b(digest_size=16)
    for split, table in splits.items():
        state.update(json.dumps(split).encode() + b"\n")
        for batch in table.to_batches(max_chunksize=8192):
            for row in batch.to_pylist():
                state.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return state.hexdigest()
