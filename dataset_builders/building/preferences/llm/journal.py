"""Journal of preference approximation: one JSON line for every reply, appended in one write.

The death of the process tears the last line at most; the next run moves a torn end to `<journal>.torn` and continues.
`<journal>.lock` keeps a second run from writing the same journal. A request without a reply has no line, so the next
run sends it again.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ....atomic_write import atomic_write
from .journal_lines import (
    HEADER_START,
    MAX_LINE_BYTES,
    BadLine,
    Entry,
    Header,
    JournalContent,
    Key,
    NoJson,
    check_known,
    entry_line,
    entry_of,
    header_line,
    header_of,
    keep_best,
    parse_line,
)

logger = logging.getLogger(__name__)

SYNC_SECONDS = 2.0
"""How much a power cut may cost; the death of the process costs nothing that was written."""


class Journal:
    """A journal open for one run: knows what is finished, and appends.

    Args:
        path (`Path`): The file; made with its folder where it does not exist.
        header ([`Header`]): What this run asks for; must be that of an existing file, unless that has no entries.
        wait (`bool`): Whether to wait while another run holds the journal, instead of raising.

    Raises:
        ValueError: If the file is no journal, is broken before its end, or has another header.
        BlockingIOError: If another run holds it and `wait` is false.
        OSError: If it cannot be read or written.
    """

    def __init__(self, path: Path, header: Header, wait: bool = False) -> None:
        self.path = Path(path)
        _check_kind(self.path)
        self._descriptor = -1
        self._synced = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise _cannot_open(self.path, error) from error
        # Of the file itself: a link to it is another name for the same journal.
        self._lock = FileLock(f"{self.path.resolve()}.lock", timeout=-1 if wait else 0)
        try:
            self._lock.acquire()
        except Timeout:
            os.close(self._descriptor)
            raise BlockingIOError(
                f"Another run is writing {self.path}. Wait for it (--wait), or give this run a --journal of its own "
                "and put the two together afterwards (--merge)."
            ) from None
        except OSError as error:
            os.close(self._descriptor)
            raise _cannot_open(self.path, error) from error
        try:
            self._open(header)
        except BaseException:
            self.close()
            raise

    def _open(self, header: Header) -> None:
        content, size, _ = _read(self.path)
        self._cut_torn_end(size)
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self._write(b"\n")  # an editor or a copy took it; the line itself is whole
        if content is None or not content.entries:
            # Nothing was paid for yet: a first run with a mistyped model must not bind the next one to it.
            os.ftruncate(self._descriptor, 0)
            content = JournalContent(header)
            self._write(header_line(header))
        content.header.check_same(header, self.path, Path("this run"))
        self.header, self.entries = content.header, content.entries

    def _cut_torn_end(self, size: int) -> None:
        """Moves what follows the last whole line to a file of its own: it may have been paid for."""
        total = os.fstat(self._descriptor).st_size
        if total == size:
            return
        torn = os.pread(self._descriptor, total - size, size)
        kept = self.path.with_name(f"{self.path.name}.torn")
        try:
            with kept.open("ab") as file:
                file.write(torn + b"\n")
        except OSError as error:
            raise _cannot_write(kept, error) from error
        os.ftruncate(self._descriptor, size)
        logger.warning("%s ended in a torn line of %d bytes, moved to %s.torn", self.path, len(torn), self.path.name)

    def append(self, entry: Entry) -> None:
        """Writes one finished request; it is on file when this returns.

        Raises:
            OSError: If the disk is full, for example. The file then ends with its last whole line.
            ValueError: If a reader would refuse the line, or read another entry; nothing is written then.
        """
        try:
            line = entry_line(entry, self.header.task)
            read = entry_of(parse_line(line), self.header)
            if read.key != entry.key:
                raise BadLine(f"its key would be read as {read.key}")
            check_known(self.entries, read)
        except (BadLine, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path} cannot take the entry of {entry.key!r}: {error}.") from error
        self._write(line)
        keep_best(self.entries, read)

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):  # what is left of the disk; asking for the rest gives the system's own reason
                os.write(self._descriptor, line[written:])
                written = os.fstat(self._descriptor).st_size - size
                if written < len(line):
                    raise OSError("the system took only a part of the line")
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise _cannot_write(self.path, error) from error

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Brings everything to the disk and lets the next run in."""
        try:
            if self._descriptor >= 0:
                try:
                    self._sync()
                except OSError as error:
                    raise _cannot_write(self.path, error) from error
                finally:
                    os.close(self._descriptor)
                    self._descriptor = -1
        finally:
            self._lock.release()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path) -> JournalContent:
    """Reads a journal, also one that a run is still writing; a torn last line is left out.

    Args:
        path (`Path`): The file.

    Returns:
        [`JournalContent`]: Header and entries.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no journal, or a line before the last is broken (the line's number is named).
    """
    path = Path(path)
    _check_kind(path)
    if not path.exists():
        raise FileNotFoundError(f"The journal {path} does not exist; mender approximate writes one.")
    content, _, torn = _read(path)
    if content is None:
        raise ValueError(f"{path} holds no whole line yet; let the run that writes it start, or remove the file.")
    if torn:
        logger.warning("%s ends in a torn line, which is left out", path)
    return content


def merge_contents(paths: Sequence[Path]) -> JournalContent:
    """Reads several journals into one, in memory; see [`merge_journals`].

    Args:
        paths (`Sequence[Path]`): At least one journal.

    Returns:
        [`JournalContent`]: The common header and the best entry of every key.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If headers differ, or two journals asked different questions under one key.
    """
    if not paths:
        raise ValueError("No journal was given; name at least one.")
    first, *others = sorted({Path(path) for path in paths})
    merged = read_journal(first)
    for path in others:
        content = read_journal(path)
        merged.header.check_same(content.header, first, path)
        for entry in content.entries.values():
            known = merged.entries.get(entry.key)
            if known is not None and known.request != entry.request:
                raise ValueError(
                    f"{path} and another of the journals were asked about different data under {entry.key} "
                    f"(requests {entry.request} and {known.request}); merge journals of the same data only."
                )
            keep_best(merged.entries, entry)
    return merged


def merge_journals(paths: Sequence[Path], output: Path) -> JournalContent:
    """Writes the union of several journals, sorted by key: the same bytes for any order of `paths`.

    Where a key occurs twice, [`Entry.better_than`] decides. A journal with lines in any order and with repeated keys,
    as a run writes it, merges into itself alone.

    Args:
        paths (`Sequence[Path]`): At least one journal.
        output (`Path`): A new file, written under another name and then renamed.

    Returns:
        [`JournalContent`]: What was written.

    Raises:
        FileExistsError: If `output` exists.
        FileNotFoundError, ValueError: See [`merge_contents`].
    """
    output = Path(output)
    if output.exists():
        raise FileExistsError(f"{output} already exists; merge into a new file.")
    content = merge_contents(paths)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as temporary, temporary.open("wb") as file:
        file.write(header_line(content.header))
        file.writelines(entry_line(content.entries[key], content.header.task) for key in sorted(content.entries))
        file.flush()
        os.fsync(file.fileno())
    return content


def _read(path: Path) -> tuple[JournalContent | None, int, bool]:
    """Content (`None` without a whole first line), bytes up to the last whole line, and whether a torn one follows.

    A last line that holds a whole value is whole, with or without an end of line.
    """
    content = None
    size = 0
    lines = enumerate(_lines(path), 1)
    for number, line in lines:
        is_cut = not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES
        if is_cut and content is None and not HEADER_START.startswith(line[: len(HEADER_START)]):
            raise _no_journal(path)
        try:
            record = parse_line(line)
            if content is None:
                content = JournalContent(header_of(record, path))
            else:
                entry = entry_of(record, content.header)
                check_known(content.entries, entry)
                keep_best(content.entries, entry)
        except BadLine as error:
            if is_cut and isinstance(error, NoJson):
                return content, size, True
            if content is None and isinstance(error, NoJson):
                raise _no_journal(path) from error
            if isinstance(error, NoJson) and next(lines, None) is None:
                return content, size, True
            raise _bad_line(path, number, str(error)) from error
        size += len(line)
    return content, size, False


def _no_journal(path: Path) -> ValueError:
    return ValueError(f"{path} is not a journal of preferences: its first line is no header. Name another file.")


def _check_kind(path: Path) -> None:
    """Refuses a folder, a device or a pipe, which can be read without end."""
    try:
        is_other = path.exists() and not path.is_file()
    except OSError as error:
        raise _cannot_open(path, error) from error
    if is_other:
        raise ValueError(f"{path} is a folder or a device, not a journal; name a file.")


def _bad_line(path: Path, number: int, reason: str) -> ValueError:
    return ValueError(
        f"{path}, line {number}: not a line of a journal ({reason}). Only the last line can be torn; restore the "
        "file, or remove that line to have its request asked again."
    )


def _cannot_open(path: Path, error: OSError) -> OSError:
    return OSError(f"The journal {path} cannot be opened ({error.strerror or error}); choose another --journal.")


def _cannot_write(path: Path, error: OSError) -> OSError:
    return OSError(
        f"Cannot write to {path} ({error.strerror or error}). Every earlier reply is kept: make room and give the "
        "same command again."
    )


def _lines(path: Path) -> Iterator[bytes]:
    """The lines; of one that is too long, its beginning."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            yield line


def other_data(paths: Sequence[Path], key: Key) -> ValueError:
    """The error of journals that were asked about other data than those at hand."""
    name, position = key
    place = f"user {name}, position {position}" if position else f"item {name}"
    return ValueError(
        f"{' or '.join(map(str, paths))} was asked about other items or reviews than these data hold for {place}: it "
        "belongs to another file, another k-core or another version of the source. Use the journal's own data, or "
        "start a new journal."
    )
