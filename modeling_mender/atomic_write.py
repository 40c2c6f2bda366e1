"""Atomic writes of files and directories, and removal of what killed runs have left.

A copy of `dataset_builders/atomic_write.py`, which this package does not import.
"""

import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PROBE_BYTES = 1 << 20  # of free space, without which no directory is begun
_LEFTOVER = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in the errors of safetensors
_HELD = "another run is writing there; wait for it or stop it, or choose another folder"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it when the block succeeds and removed otherwise.

    Two processes may write the same file; the last one to finish wins.

    Raises:
        OSError: If the file cannot be written; names `path`, also where the disk is full.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "scores.json") as temporary:
    ...     _ = temporary.write_text("{}")
    >>> [path.name for path in folder.iterdir()]
    ['scores.json']
    """
    path = _final(path)
    with _place_beside(path) as place:
        new = place / "new"  # writers may put a temporary file of their own beside theirs
        new.mkdir()
        yield new / path.name
        _share(new)
        (new / path.name).replace(path)


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file atomically, in UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


@contextmanager
def new_directory(path: str | Path, overwrite: bool = False, alone: bool = False) -> Iterator[Path]:
    """Creates a directory that appears under its final name only when it is complete.

    Linux and macOS exchange the names of an old and a new directory in one step. Elsewhere a run that is killed
    between two renamings leaves none under the final name; [`remove_leftovers`], which every call begins with,
    restores it.

    Args:
        path (`str` or `Path`): The final name; of a link, where it leads.
        overwrite (`bool`): Whether an existing directory is replaced, at the end.
        alone (`bool`): Whether it is refused while another run writes the same directory; else the last one to finish
            wins.

    Yields:
        `Path`: A temporary directory beside it; removed if the block raises.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false, or it is not a directory.
        FileNotFoundError: If `path` is a link to nowhere.
        BlockingIOError: If `alone`, and another run writes it.
        OSError: If nothing can be written, before the block if that shows already; names `path`.
    """
    path = _final(path)
    _make_folder(path.parent, path)
    _refuse_name(path, path)
    remove_leftovers(path.parent)
    if path.exists() and (not overwrite or not path.is_dir()):
        way_out = ", or give --overwrite (in Python overwrite=True)" if path.is_dir() else ", for it is no folder"
        raise FileExistsError(f"{path} already exists; choose another output directory{way_out}.")
    with _place_beside(path) as place:
        if alone and any(_is_held(other) for other in _places(path) if other != place):
            raise BlockingIOError(errno.EWOULDBLOCK, _HELD, str(path))
        new = place / "new"
        new.mkdir()
        _probe(new)
        yield new
        _share(new)
        try:
            new.rename(path)
        except OSError as error:  # there is one, as before or by now
            if not path.is_dir():
                raise
            if not overwrite:
                raise FileExistsError(error.errno, "another run has just written it", str(path)) from None
            if not _exchange(new, path):
                path.rename(place / "old")
                new.rename(path)


@contextmanager
def scratch_directory(folder: str | Path | None = None) -> Iterator[Path]:
    """Creates a temporary directory, removed after the block, or by the next call if the process is killed.

    Args:
        folder (`str` or `Path`, *optional*): Its parent, created if missing; the system's temporary folder by default.
    """
    parent = Path(folder or tempfile.gettempdir())
    _make_folder(parent, parent)
    with _place_beside(parent / "mender", parent) as place:
        (place / "new").mkdir()
        yield place / "new"


def check_writable(folder: str | Path) -> None:
    """Creates a folder if it is missing, and tries to write into it, before long work whose result it gets.

    Raises:
        OSError: If it is no folder, cannot be written, or has no room; names the folder.
    """
    folder = Path(folder)
    _make_folder(folder, folder)
    with _place_beside(folder / "probe", folder) as place:
        _probe(place)


def check_creatable(path: str | Path) -> None:
    """Tries to write beside a file or folder that long work will create; makes its parent folder if it is missing.

    Raises:
        OSError: If it cannot be written, it is a link to nowhere, or there is no room; names `path`.
    """
    path = _final(path)
    _make_folder(path.parent, path)
    _refuse_name(path, path)
    with _place_beside(path) as place:
        _probe(place)


def remove_leftovers(folder: str | Path) -> None:
    """Removes what killed writers left in a folder, and restores a directory that one of them had moved away."""
    for place in list(Path(folder).glob(".*.tmp")):
        name = _LEFTOVER.fullmatch(place.name)
        if name is None or place.is_symlink() or not place.is_dir():
            continue
        path = place.with_name(name[1])
        try:
            if not {one.name for one in place.iterdir()} <= {"new", "old"}:
                continue  # not ours
            lock = _lock(place)
        except OSError:  # a living writer holds it, or has just removed it
            continue
        if lock is not None:
            _clear(place, path)
            os.close(lock)


@contextmanager
def hold_directory(path: str | Path) -> Iterator[None]:
    """Holds a directory against other processes; the system frees it when this one ends, however it ends.

    Raises:
        BlockingIOError: If another process holds it.
    """
    try:
        lock = _lock(Path(path))
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, _HELD, str(path)) from None
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _final(path: str | Path) -> Path:
    """The path of what is written: where a link leads, and `.` and `..` by their names."""
    path = Path(path)
    with suppress(OSError, ValueError):  # which are refused by their names
        if path.name in ("", "..") or (path.is_symlink() and path.exists()):
            return path.resolve()
    return path


def _make_folder(folder: Path, shown: Path) -> None:
    """Creates a folder with its parents, unless it exists; an error names `shown` and what is in the way."""
    _refuse_name(folder, shown)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        for place in (folder, *folder.parents):
            _refuse_name(place, shown)
            if place.exists() and not place.is_dir():
                reason = "is a file; name a folder"
                if place != shown:
                    reason = f"cannot write ({place} is a file, and a folder is needed); choose another place"
                raise NotADirectoryError(errno.ENOTDIR, reason, str(shown)) from error
        raise _refusal(error.errno or errno.EIO, shown) from error


def _refuse_name(path: Path, shown: Path) -> None:
    """Refuses a path that nothing can be renamed to: no name, or a link to nowhere; the error names `shown`."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "cannot write (a null character); choose another place", str(shown))
    try:
        is_lost = path.is_symlink() and not path.exists()
    except OSError as error:  # it is too long
        raise _refusal(error.errno or errno.EIO, shown) from error
    if is_lost:
        reason = f"cannot write ({path} is a link to nowhere); remove it, or choose another place"
        raise FileNotFoundError(errno.ENOENT, reason, str(shown))


def _share(folder: Path) -> None:
    """Gives files that a library made for their owner alone, as safetensors does, the rights of any other new file."""
    rights = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if not path.is_symlink() and path.is_file() and path.stat().st_mode & 0o777 == 0o600:
            path.chmod(rights)


def _probe(folder: Path) -> None:
    """Writes a file of some size into a folder, and removes it."""
    (folder / "probe").write_bytes(bytes(_PROBE_BYTES))
    (folder / "probe").unlink()


@contextmanager
def _place_beside(path: Path, shown: Path | None = None) -> Iterator[Path]:
    """Yields a temporary directory beside `path`, held while the block runs and removed after it.

    Errors of writing name `shown`, by default `path`.
    """
    for folder in {path.parent, Path(tempfile.gettempdir())}:
        remove_leftovers(folder)
    place, lock = path.with_name(f".{path.name}.12345678.tmp"), None
    _refuse_name(place, shown or path)
    try:
        while True:
            place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
            try:
                lock = _lock(place)
            except (BlockingIOError, FileNotFoundError):  # taken for a leftover, before it was held
                continue
            if place.is_dir():
                break
            if lock is not None:
                os.close(lock)
        yield place
    except Exception as error:
        if (number := _failed_write(error, path, place)) is not None:
            raise _refusal(number, shown or path) from error
        raise
    finally:
        _clear(place, path)
        if lock is not None:
            os.close(lock)


def _places(path: Path) -> list[Path]:
    """Temporary directories of all writers of `path`."""
    found = [(place, _LEFTOVER.fullmatch(place.name)) for place in path.parent.glob(".*.tmp")]
    return [place for place, name in found if name is not None and name[1] == path.name]


def _is_held(folder: Path) -> bool:
    try:
        lock = _lock(folder)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # its writer has just finished
        return False
    if lock is not None:
        os.close(lock)
    return False


def _clear(place: Path, path: Path) -> None:
    if (place / "old").is_dir() and not path.exists():
        (place / "old").rename(path)
    shutil.rmtree(place, ignore_errors=True)


def _failed_write(error: Exception, path: Path, place: Path) -> int | None:
    """Number of the system's error of a write that names a temporary file, or none; `None` for any other error."""
    in_words = None if isinstance(error, OSError) else _OS_ERROR.search(str(error))
    number = int(in_words[1]) if in_words else getattr(error, "errno", None)
    if "No space left on device" in str(error):
        number = errno.ENOSPC
    name = getattr(error, "filename", None)
    is_ours = str(name).startswith(str(place.parent / f".{path.name}."))
    if not isinstance(number, int) or not (is_ours or in_words or (name is None and number in _DISK_ERRORS)):
        return None
    return number


def _refusal(number: int, shown: Path) -> OSError:
    """Error of a path that cannot be written, with the reason and a way out."""
    way_out = "make room there, or choose another place" if number in _DISK_ERRORS else "choose another place"
    return OSError(number, f"cannot write ({os.strerror(number)}); {way_out}", str(shown))


def _lock(folder: Path) -> int | None:
    """Descriptor of a directory that this process now holds; `None` where the system holds none.

    Raises:
        BlockingIOError: If another holds it.
        FileNotFoundError: If there is no such directory.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None  # a file system without locks
    return descriptor


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges the names of two directories in one step; `False` where the system cannot."""
    names = os.fsencode(first), os.fsencode(second)
    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None)
    if hasattr(library, "renameat2"):  # Linux: AT_FDCWD is -100, RENAME_EXCHANGE 2
        return bool(library.renameat2(-100, names[0], -100, names[1], 2) == 0)
    if hasattr(library, "renamex_np"):  # macOS: RENAME_SWAP is 2
        return bool(library.renamex_np(*names, 2) == 0)
    return False
