"""The journal of preference approximation: every reply that was paid for, one JSON line each, never lost.

Knows lines, keys, locks and torn ends. Leaves what a reply means to `parsing.py` and who asks to `llm.py`.

The first line is the header: what was asked of which model, and how. Every other line is a finished request: its key
(`user_id` and `position`, or `source_id` of an item), `request`, the digest of the messages that were sent, and either
the answer (`preferences` or `properties`) or `failure`, the reason, with the start of the last `reply`; then how many
`attempts` it took, the `seed` of the last one, and the `schema` that the server was given. What never got a reply (a
server that was down) has no line: it is asked for by the next run.

A line is appended in one write, so the death of the process at any moment can tear the last line at most; the next run
moves a torn end to `<journal>.torn` and goes on. One run at a time writes a journal, held apart by `<journal>.lock`.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ....atomic_write import atomic_write
from .prompts import PREFERENCES, PROPERTIES, Prompt

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the file format."""
REPLY_CHARACTERS = 500
"""Of a broken reply, kept to be read by eye."""
SYNC_SECONDS = 2.0
"""How much a power cut may cost; the death of the process costs nothing that was written."""

_HEADER_START = b'{"kind": "header"'

Key = tuple[str, int]
"""(user_id, position), or (source_id, 0) of an item."""


@dataclass(frozen=True, slots=True)
class Header:
    """What all lines of a journal have in common; journals that differ in it are not merged.

    Attributes:
        domain (`str`): As in the benchmark's configs.
        model (`str`): Name of the model, as the card will give it.
        task, prompt_version, prompt_digest, instructions, reminder (`str`): The prompt, see
            [`~dataset_builders.building.preferences.llm.prompts.Prompt`]. Its text is kept, so that a journal can be
            checked against the data with no other file.
        temperature, top_p (`float`): Of the sampling; the paper's are 0.6 and 0.9.
        max_tokens (`int`): New tokens; the paper's limit is 512.
        seed (`int`): Of the first attempt; the next ones count up.
        max_items, max_review_characters (`int`): What the model was shown.
    """

    domain: str
    model: str
    task: str
    prompt_version: str
    prompt_digest: str
    instructions: str
    reminder: str
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    max_items: int
    max_review_characters: int
    format: int = FORMAT

    @property
    def prompt(self) -> Prompt:
        """The prompt whose text the journal keeps."""
        return Prompt(self.prompt_version, self.task, self.instructions, self.reminder)

    def check_same(self, other: "Header", mine: Path, theirs: Path) -> None:
        """Raises if another header says something else.

        Raises:
            ValueError: Naming the first difference, both values and both files.
        """
        for name in (entry.name for entry in fields(self)):
            left, right = getattr(self, name), getattr(other, name)
            if left != right:
                raise ValueError(
                    f"{mine} and {theirs} differ in {name}: {_short(left)} and {_short(right)}. Preferences of "
                    "different prompts, models or parameters do not mix; keep a journal for each."
                )


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished request.

    Attributes:
        key (`tuple[str, int]`): (user_id, position), or (source_id, 0) of an item.
        request (`str`): Digest of the messages that were sent.
        answer (`tuple[str, ...]`, *optional*): Preferences or properties; `None` after the last failure.
        failure (`str`): Reason of the last failure, or `""`.
        reply (`str`): Start of the last broken reply, or `""`.
        attempts (`int`): Replies asked for, the last one included.
        seed (`int`): Of the last attempt.
        schema (`str`): What the server was asked to hold the last reply to, one of
            [`~dataset_builders.building.preferences.llm.endpoint.SCHEMA_MODES`]. Some servers ignore it without a
            word.
    """

    key: Key
    request: str
    answer: tuple[str, ...] | None
    failure: str = ""
    reply: str = ""
    attempts: int = 1
    seed: int = 0
    schema: str = "none"

    def better_than(self, other: "Entry") -> bool:
        """Whether this entry wins over another one of the same key: an order that no order of files changes.

        An answer wins over a failure; of two answers the one that took fewer attempts, of two failures the one that
        took more (it knows of the others); then the smaller text.
        """
        return self._rank() < other._rank()

    def _rank(self) -> tuple[Any, ...]:
        failed = self.answer is None
        attempts = -self.attempts if failed else self.attempts
        return (failed, attempts, self.answer or (), self.failure, self.reply, self.seed, self.schema)


@dataclass(frozen=True)
class JournalContent:
    """What a journal holds.

    Attributes:
        header ([`Header`]): Its first line.
        entries (`dict`): Key -> the best entry of that key.
    """

    header: Header
    entries: dict[Key, Entry] = field(default_factory=dict)


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{self.path}.lock", timeout=-1 if wait else 0)
        try:
            self._lock.acquire()
        except Timeout:
            raise BlockingIOError(
                f"Another run is writing {self.path}. Wait for it (--wait), or give this run a --journal of its own "
                "and put the two together afterwards (--merge)."
            ) from None
        self._descriptor = -1
        self._synced = time.monotonic()
        try:
            self._open(header)
        except BaseException:
            self.close()
            raise

    def _open(self, header: Header) -> None:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        content, size, _ = _read(self.path)
        self._cut_torn_end(size)
        if content is None or not content.entries:
            # Nothing was paid for yet: a first run with a mistyped model must not bind the next one to it.
            os.ftruncate(self._descriptor, 0)
            content = JournalContent(header)
            self._write(_header_line(header))
        content.header.check_same(header, self.path, Path("this run"))
        self.header, self.entries = content.header, content.entries

    def _cut_torn_end(self, size: int) -> None:
        """Moves what follows the last whole line to a file of its own: it may have been paid for."""
        total = os.fstat(self._descriptor).st_size
        if total == size:
            return
        torn = os.pread(self._descriptor, total - size, size)
        if size == 0 and not _HEADER_START.startswith(torn[: len(_HEADER_START)]):
            raise ValueError(f"{self.path} is not a journal of preferences; name another file.")
        with self.path.with_name(f"{self.path.name}.torn").open("ab") as file:
            file.write(torn + b"\n")
        os.ftruncate(self._descriptor, size)
        logger.warning("%s ended in a torn line of %d bytes, moved to %s.torn", self.path, len(torn), self.path.name)

    def append(self, entry: Entry) -> None:
        """Writes one finished request; it is on file when this returns.

        Raises:
            OSError: If the disk is full, for example. The file then ends with its last whole line.
        """
        self._write(_entry_line(entry, self.header.task))
        _keep_best(self.entries, entry)

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
            raise OSError(
                f"Cannot write to {self.path} ({error.strerror or error}). Every earlier reply is kept: make room and "
                "give the same command again."
            ) from error

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Brings everything to the disk and lets the next run in."""
        try:
            if self._descriptor >= 0:
                try:
                    self._sync()
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
    if not path.is_file():
        raise FileNotFoundError(f"The journal {path} does not exist; scripts/approximate_preferences.py writes one.")
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
            _keep_best(merged.entries, entry)
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
        file.write(_header_line(content.header))
        file.writelines(_entry_line(content.entries[key], content.header.task) for key in sorted(content.entries))
        file.flush()
        os.fsync(file.fileno())
    return content


def _read(path: Path) -> tuple[JournalContent | None, int, bool]:
    """Content (`None` without a whole first line), bytes up to the last whole line, and whether a torn one follows."""
    content = None
    size = 0
    torn = False
    lines = enumerate(_lines(path), 1)
    for number, line in lines:
        try:
            if not line.endswith(b"\n"):
                torn = True
                break
            record = json.loads(line)
            if content is None:
                content = JournalContent(_header(record, path))
            else:
                _keep_best(content.entries, _entry(record, content.header.task))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            if next(lines, None) is None and content is not None:
                torn = True
                break
            raise ValueError(
                f"{path}, line {number}: not a line of a journal ({type(error).__name__}: {error}). Only the last "
                "line can be torn; restore the file, or remove that line to have its request asked again."
            ) from error
        size += len(line)
    return content, size, torn


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _header(record: Any, path: Path) -> Header:
    if not isinstance(record, Mapping) or record.get("kind") != "header":
        raise ValueError(f"{path} is not a journal of preferences: its first line is no header. Name another file.")
    if record.get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {record.get('format')!r}, this version reads {FORMAT}; use the version that wrote "
            "it."
        )
    return Header(**{key: value for key, value in record.items() if key != "kind"})


def _header_line(header: Header) -> bytes:
    return _line({"kind": "header", **asdict(header)})


def _entry(record: Any, task: str) -> Entry:
    key = (record["user_id"], record["position"]) if task == PREFERENCES else (record["source_id"], 0)
    answer = record.get(task)
    if not isinstance(key[0], str) or not isinstance(key[1], int):
        raise TypeError(f"key {key!r}")
    if (answer is None) == ("failure" not in record):
        raise KeyError(f"{task} or failure")
    if answer is not None and not all(isinstance(text, str) for text in answer):
        raise TypeError(f"{task} {answer!r}")
    return Entry(
        key,
        record["request"],
        None if answer is None else tuple(answer),
        record.get("failure", ""),
        record.get("reply", ""),
        record["attempts"],
        record["seed"],
        record["schema"],
    )


def _entry_line(entry: Entry, task: str) -> bytes:
    user_id, position = entry.key
    record: dict[str, Any] = (
        {"source_id": user_id} if task == PROPERTIES else {"user_id": user_id, "position": position}
    )
    record["request"] = entry.request
    if entry.answer is not None:
        record[task] = list(entry.answer)
    else:
        record.update(failure=entry.failure, reply=entry.reply[:REPLY_CHARACTERS])
    return _line({**record, "attempts": entry.attempts, "seed": entry.seed, "schema": entry.schema})


def _line(record: Mapping[str, Any]) -> bytes:
    # ASCII: no separator of Unicode can look like the end of a line, and no half of a surrogate pair can fail.
    return json.dumps(record, ensure_ascii=True).encode("ascii") + b"\n"


def _keep_best(entries: dict[Key, Entry], entry: Entry) -> None:
    known = entries.get(entry.key)
    if known is None or entry.better_than(known):
        entries[entry.key] = entry


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def failures_by_reason(entries: Iterable[Entry]) -> dict[str, int]:
    """Reason -> number of entries that failed for it, the most frequent first.

    >>> failures_by_reason([Entry(("u", 1), "", None, "empty"), Entry(("u", 2), "", ("Look for a",))])
    {'empty': 1}
    """
    counts: dict[str, int] = {}
    for entry in entries:
        if entry.answer is None:
            counts[entry.failure] = counts.get(entry.failure, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
