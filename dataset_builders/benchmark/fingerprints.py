"""File names of a config and the reproducible digest of its rows."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

DIGEST = "digest"
"""Key of a JSON file's own digest, by which a damaged one is known."""


def split_file(split: str) -> str:
    """Name of a split's file.

    >>> split_file("test")
    'test-00000-of-00001.parquet'
    """
    return f"{split}-00000-of-00001.parquet"


def json_digest(values: Mapping[str, Any]) -> str:
    """Digests JSON values, independent of their layout: BLAKE2b (16 bytes) of one line with sorted keys.

    >>> json_digest({"b": [1, 2], "a": 0.5}) == json_digest({"a": 0.5, "b": [1, 2]})
    True
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


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
