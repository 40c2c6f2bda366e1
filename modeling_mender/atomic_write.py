"""Atomic writes of files: whole or absent, never partial.

A copy of `dataset_builders/atomic_write.py`, which this package does not import.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it if the block succeeds and removed otherwise.

    Processes that write the same file use different temporary paths; the last one wins.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "scores.json") as temporary:
    ...     _ = temporary.write_text("{}")
    >>> [path.name for path in folder.iterdir()]
    ['scores.json']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Writes a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)
