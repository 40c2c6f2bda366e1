"""Atomic writes of files and directories."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it when the block succeeds and removed otherwise.

    Two processes may write the same file; the last one to finish wins.

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
    """Writes a text file atomically, in UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


@contextmanager
def new_directory(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Creates a directory that appears under its final name only when it is complete.

    Args:
        path (`Path`): The final name.
        overwrite (`bool`): Whether an existing directory is replaced, at the end.

    Yields:
        `Path`: A temporary directory beside it; removed if the block raises.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false, or it is not a directory.
    """
    path = Path(path)
    if path.exists() and (not overwrite or not path.is_dir()):
        raise FileExistsError(f"{path} already exists; choose another output directory, or ask to overwrite it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's is private to the user
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.rename(old / "replaced")
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
