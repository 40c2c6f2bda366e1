"""Record of the changes of a model's catalog: one line each, with the digest of the change before it."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..bounded_parsing import UnreadableFile, parse_json, read_bounded
from ..items_file import Items
from ..manifest import ModelFiles

CHANGES_FILE = "catalog_changes.jsonl"
MAX_BYTES = 50_000_000
FIELDS = {"id": str, "parent": str | None, "date": str, "added": str, "removed": str, "num_items": int,
          "items_digest": str}  # fmt: skip
_RANGES = re.compile(r"(\d+(-\d+)?(, \d+(-\d+)?)*)?")
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)?")  # empty where it is unknown


def read_changes(folder: str | Path) -> list[dict[str, Any]]:
    """Reads the changes of a model's catalog, the oldest first; empty if there are none.

    Raises:
        ValueError: If the file is damaged: a line is no change, or not the successor of the one before.
    """
    files = ModelFiles(folder)
    files.check((CHANGES_FILE,))
    path = files.find(CHANGES_FILE)
    if path is None:
        return []
    changes: list[dict[str, Any]] = []
    try:
        for line in read_bounded(path, MAX_BYTES).splitlines():
            change = parse_json(line)
            if not isinstance(change, dict) or change.keys() != FIELDS.keys():
                raise UnreadableFile("it is no change of a catalog")
            for name, kind in FIELDS.items():
                if not isinstance(change[name], kind):
                    raise UnreadableFile(f"its {name} is of a wrong type")
            if not (_RANGES.fullmatch(change["added"]) and _RANGES.fullmatch(change["removed"])):
                raise UnreadableFile("its items are no ids")
            if not _DAY.fullmatch(change["date"]):
                raise UnreadableFile("its date is none")
            if change["id"] != _digest({name: value for name, value in change.items() if name != "id"}):
                raise UnreadableFile("its id is not its digest")
            if change["parent"] != (changes[-1]["id"] if changes else None):
                raise UnreadableFile("it does not follow the change before it")
            changes.append(change)
    except UnreadableFile as error:
        raise ValueError(
            f"line {len(changes) + 1} of {path} is damaged ({error}); fetch or copy the model again."
        ) from None
    return changes


def append_change(
    changes: Sequence[dict[str, Any]],
    added: Iterable[int],
    removed: Iterable[int],
    num_items: int,
    items_digest: str,
    date: str | None = None,
) -> list[dict[str, Any]]:
    """Appends a change to those of a catalog.

    Args:
        changes (`Sequence[dict]`): Changes so far, the oldest first.
        added, removed (`Iterable[int]`): Ids of items.
        num_items (`int`): Number of items after it, removed ones included.
        items_digest (`str`): SHA-256 of the items after it.
        date (`str`, *optional*): Date, or "" where it is unknown; defaults to today.
    """
    change: dict[str, Any] = {
        "parent": changes[-1]["id"] if changes else None,
        "date": datetime.now(UTC).date().isoformat() if date is None else date,
        "added": as_ranges(added),
        "removed": as_ranges(removed),
        "num_items": num_items,
        "items_digest": items_digest,
    }
    return [*changes, {"id": _digest(change), **change}]


def _digest(change: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(change, sort_keys=True).encode()).hexdigest()[:12]


def with_unlisted(
    changes: Sequence[dict[str, Any]], num_trained: int, items: Items, items_digest: str
) -> list[dict[str, Any]]:
    """Completes a list by what was changed without it, by `add_items` and `remove_items`; its date is unknown.

    Args:
        changes (`Sequence[dict]`): Changes that are listed, the oldest first.
        num_trained (`int`): Number of items that the model was trained with.
        items ([`Items`]): Items of the processor.
        items_digest (`str`): Their digest.
    """
    before = changes[-1]["num_items"] if changes else num_trained
    listed = {item for change in changes for item in _numbers(change["removed"])}
    gone = [item for item in items.removed if item not in listed]
    added = range(before + 1, len(items) + 1)
    if not gone and not added:
        return list(changes)
    return append_change(changes, added, gone, len(items), items_digest, date="")


def _numbers(ranges: str) -> Iterable[int]:
    """Inverse of [`as_ranges`]."""
    for one in filter(None, ranges.split(", ")):
        first, _, last = one.partition("-")
        yield from range(int(first), int(last or first) + 1)


def write_changes(changes: Iterable[dict[str, Any]], folder: Path) -> None:
    """Writes the changes of a catalog into a new folder."""
    lines = "".join(json.dumps(change) + "\n" for change in changes)
    (folder / CHANGES_FILE).write_text(lines, encoding="utf-8")


def as_ranges(items: Iterable[int]) -> str:
    """Writes ids as ranges.

    >>> as_ranges([7, 3, 4, 5])
    '3-5, 7'
    """
    ranges: list[list[int]] = []
    for item in sorted(items):
        if ranges and item == ranges[-1][1] + 1:
            ranges[-1][1] = item
        else:
            ranges.append([item, item])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
