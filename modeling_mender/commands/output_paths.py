"""Check of an output folder before the work whose result it gets."""

import contextlib
import errno
import os
from pathlib import Path

from dataset_builders.atomic_write import scratch_directory


def check_output_folder(path: str | os.PathLike, option: str = "--output_dir") -> None:
    """Refuses a path at which no folder can be made, or that is a file or a link to nowhere.

    Args:
        path (`str` or `Path`): Folder that a command will write, which may exist.
        option (`str`): Name of its option, for errors.

    Raises:
        OSError: If so; names the path, what is wrong and the way out.
    """
    try:
        existing = Path(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            existing.lstat()  # tells a name that is too long
        while not os.path.lexists(existing):
            existing = existing.parent
        if existing.is_symlink() and not existing.exists():
            raise OSError(errno.ENOENT, f"{existing} is a link to {existing.readlink()}, which does not exist")
        if not existing.is_dir():
            raise OSError(errno.ENOTDIR, f"{existing} is a file")
        with scratch_directory(existing):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        shown = str(path) if len(str(path)) <= 120 else f"{str(path)[:80]}..., {len(str(path))} characters"
        raise OSError(f"{option} ({shown}) cannot be a folder ({reason}); give another one.") from error
