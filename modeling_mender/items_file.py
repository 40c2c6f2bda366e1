"""Items of a catalog as the lines of `items.jsonl`, each of which is parsed when it is asked for."""

import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from .manifest import POINTER

MAPPED_BYTES = 1 << 26  # a smaller file is read at once: people edit it, and a mapped file must stay as it is
BLOCK_BYTES = 1 << 24  # looked through at once
MAX_CACHED = 10_000  # records, of a few kilobytes at most each: the titles of answers come from few items
# What the line of a removed item has: the field, or a letter of its name as an escape.
MARKS = (re.compile(rb'"removed"'), re.compile(rb"\\u00"))
TITLE = re.compile(rb'"title": "[^"]{0,40}')  # of a line, its beginning; no text holds a bare quotation mark
# Parts of a line that differ between items of equal title and text.
OWN_PARTS = re.compile(rb'"item_id": \d+, |, "codes": \[[^]]*\]|\n')


class Items(Sequence[dict[str, Any]]):
    """Records of the items 1..N as a list of dictionaries, in the memory of their lines and 8 bytes an item.

    A record is parsed and checked when it is asked for, and is a copy: [`changed`] gives other items. An item without
    a title is named by its number.

    Args:
        lines (`bytes` or `mmap`): Content of `items.jsonl`: an object of JSON a line, in the order of the ids, with
            `title`, and `item_id`, `text`, `removed` and further fields, all optional.
        path (`Path`, *optional*): The file, for errors.

    >>> items = Items.of([{"title": "Rose Soap"}, {"title": ""}])
    >>> changed = items.changed({1: items[0] | {"removed": True}, 3: {"title": "Brass Lamp"}})
    >>> changed[1:], changed.removed, len(items)
    ([{'title': 'item 2'}, {'title': 'Brass Lamp'}], [1], 2)
    """

    def __init__(self, lines: bytes | mmap.mmap, path: Path | None = None) -> None:
        self.path = path
        self._lines = lines
        self._starts = _line_starts(lines)
        self._changed: dict[int, bytes] = {}  # lines by row, in place of those of the file or after them
        self._size = len(self._starts) - 1
        self._cache: dict[int, dict[str, Any]] = {}  # records by row

    @classmethod
    def read(cls, path: Path) -> "Items":
        """Opens `items.jsonl`, of which nothing is parsed yet.

        Raises:
            OSError: If it cannot be read.
        """
        with path.open("rb") as file:
            if path.stat().st_size < MAPPED_BYTES:
                return cls(file.read(), path)
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path)

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> "Items":
        """Items of records.

        Args:
            records (`Iterable[Mapping]`): In the order of the ids, of what JSON can hold.
        """
        return cls(b"".join(_to_line(number, record) for number, record in enumerate(records, start=1)))

    def changed(self, records: Mapping[int, Mapping[str, Any]]) -> "Items":
        """Other items: these, with some replaced and some appended.

        Args:
            records (`Mapping[int, Mapping]`): By id; those of appended items are N + 1, N + 2 and so on.
        """
        size = max([self._size, *records])
        assert records.keys() >= {*range(self._size + 1, size + 1)}
        other = Items.__new__(Items)
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("digest", None)
        other._cache = {}
        other._size = size
        other._changed = self._changed | {number - 1: _to_line(number, records[number]) for number in records}
        if size > self._size > 0 and not (last := self._line(self._size - 1)).endswith(b"\n"):
            other._changed.setdefault(self._size - 1, last + b"\n")
        gone = {number for number, record in records.items() if record.get("removed")}
        other.__dict__["removed"] = sorted({*self.removed} - records.keys() | gone)
        return other

    def twins(self, records: Sequence[Mapping[str, Any]]) -> dict[int, int]:
        """Which new records have title and text of an item that was not removed, or of a record before them.

        Lines are compared as [`write`] writes them, without parsing any; one that was formatted by others is no twin.

        Args:
            records (`Sequence[Mapping]`): Records to append.

        Returns:
            `dict[int, int]`: Number of the first such item by the row of the record.

        >>> Items.of([{"title": "Rose Soap"}]).twins([{"title": "Tea"}, {"title": "Rose Soap"}, {"title": "Tea"}])
        {1: 1, 2: 2}
        """
        new = [OWN_PARTS.sub(b"", _to_line(0, record)) for record in records]
        heads = {match[0] for says in new if (match := TITLE.search(says))}
        found = (match.start() for match in TITLE.finditer(self._lines) if match[0] in heads)
        rows = np.searchsorted(self._starts, np.fromiter(found, np.int64), "right") - 1
        first: dict[bytes, int] = {}
        for row in sorted({*rows.tolist(), *self._changed}):
            first.setdefault(OWN_PARTS.sub(b"", self._line(row)), row + 1)
        for row, says in enumerate(new):
            first.setdefault(says, self._size + 1 + row)
        return {row: first[says] for row, says in enumerate(new) if first[says] != self._size + 1 + row}

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, row: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, row: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, row: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Record of item `row + 1`.

        Raises:
            ValueError: If its line is no item, or not the one of this number; names the line.
        """
        rows = range(self._size)[row]
        return self._record(rows) if isinstance(rows, int) else [self._record(one) for one in rows]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(one == another for one, another in zip(self, other, strict=True))
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lines": bytes(self._lines), "_cache": {}}  # a mapped file stays in its process

    @cached_property
    def removed(self) -> list[int]:
        """Ids of the items that are never recommended again, ascending."""
        found = (match.start() for mark in MARKS for match in mark.finditer(self._lines))
        rows = np.searchsorted(self._starts, np.fromiter(found, np.int64), "right") - 1
        return [row + 1 for row in np.unique(rows).tolist() if self._record(row).get("removed")]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what [`write`] writes."""
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(part)
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Writes `items.jsonl`."""
        with path.open("wb") as file:
            file.writelines(self._parts())

    def name(self, number: int) -> str:
        """What an error calls an item: its line in the file, or its number."""
        return f"item {number}" if self.path is None else f"line {number} of {self.path}"

    def _line(self, row: int) -> bytes:
        line = self._changed.get(row)
        return self._lines[int(self._starts[row]) : int(self._starts[row + 1])] if line is None else line

    def _record(self, row: int) -> dict[str, Any]:
        record = self._cache.get(row)
        if record is None:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            record = self._cache[row] = self._parse(row + 1, self._line(row))
        return dict(record)

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        """Record of an item from its line, if it is one."""
        try:
            item = json.loads(line.decode())
            if not isinstance(item, dict) or item.pop("item_id", number) != number:
                raise ValueError("it is not the item of this number")
            if "title" not in item:
                raise ValueError("it has no title")
            for name in ("title", "text"):
                if not isinstance(item.get(name) or "", str):
                    raise ValueError(f"its {name} is no text")
                (item.get(name) or "").encode()  # half a surrogate pair is no text
            if not isinstance(item.get("removed", False), bool):
                raise ValueError("its removed is neither true nor false")
        except (ValueError, RecursionError) as error:
            is_pointer = self._lines[: len(POINTER)] == POINTER
            way_out = "is a pointer of Git LFS: run git lfs pull in the clone" if is_pointer else "is damaged"
            raise ValueError(f"{self.name(number)} {way_out} ({error}); fetch or copy the model again.") from None
        item["title"] = item["title"] or f"item {number}"
        return item

    def _parts(self) -> Iterator[bytes | memoryview]:
        """Content of the file, in parts: lines that were changed, and all that is between two of them."""
        lines, position = memoryview(self._lines), 0
        for row in sorted(self._changed):
            start, end = (int(self._starts[min(place, len(self._starts) - 1)]) for place in (row, row + 1))
            yield lines[position:start]
            yield self._changed[row]
            position = end
        yield lines[position:]


def _to_line(number: int, record: Mapping[str, Any]) -> bytes:
    title = record.get("title") or f"item {number}"
    fields = {"item_id": number} | dict(record) | {"item_id": number, "title": title}
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def _line_starts(lines: bytes | mmap.mmap) -> np.ndarray:
    """Where each line begins, and where the last one ends: int64, shape `(num_lines + 1,)`."""
    ends = [np.zeros(1, np.int64)]
    for start in range(0, len(lines), BLOCK_BYTES):
        block = np.frombuffer(lines, np.uint8, min(BLOCK_BYTES, len(lines) - start), start)
        ends.append(np.flatnonzero(block == ord("\n")) + start + 1)
    if lines[-1:] not in (b"", b"\n"):
        ends.append(np.array([len(lines)]))
    return np.concatenate(ends)
