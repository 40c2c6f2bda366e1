"""JSON lines of a user's own table: one object a line, each value by its own JSON type, numbers by their digits."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from .lines import shortened, text_lines
from .table_file import BATCH_BYTES, BATCH_ROWS, Batch, RealNumber, WholeNumber, check_columns, folded

_AS_LINES = "write one object a line, in pandas by to_json(path, orient='records', lines=True), with jq -c '.[]'"
SHOWN_NAMES = 20  # columns of the file that an error may list


class JsonLinesFile:
    """File of one JSON object a line.

    Args:
        path (`Path`): An existing file, plain or gzip.
        where (`str`): Its name in errors.
        wanted (`Collection[str]`): Keys to read, if present; others are ignored.
        required (`Collection[Sequence[str]]`): Keys that some line must have, each by one of several names.
    """

    unit = "line"

    def __init__(self, path: Path, where: str, wanted: Collection[str], required: Collection[Sequence[str]]) -> None:
        self.path, self.where, self.wanted, self.required = path, where, wanted, required
        self.names: list[str] = []
        self.read = 0
        self._known = frozenset(wanted)

    def __iter__(self) -> Iterator[Batch]:
        """Reads the file; blank lines are skipped.

        Raises:
            ValueError: If a line is not a JSON object, has a key twice or one spelled otherwise than its column, or is
                nested too deeply, or the file is an array.
        """
        decoder = json.JSONDecoder(
            object_pairs_hook=_distinct, parse_int=WholeNumber, parse_float=RealNumber, parse_constant=_no_constant
        )
        places: list[int] = []
        records: list[dict[str, Any]] = []
        size, names = 0, dict[str, None]()
        for place, line in enumerate(text_lines(self.path, self.where), 1):
            if line.isspace():
                continue
            record = self._object(decoder, line, place, first=not self.read)
            self._check_spelling(record, place)
            self.read += 1
            if self.read == 1:
                names.update(dict.fromkeys(list(record)[:SHOWN_NAMES]))
            names.update((name, None) for name in self.wanted if name in record)
            places.append(place)
            records.append(record)
            size += len(line)
            if len(records) == BATCH_ROWS or size > BATCH_BYTES:
                yield self._batch(places, records, names)
                places, records, size = [], [], 0
        self.names = list(names)
        if self.read:
            check_columns(self.where, self.names, self.required)
        if records:
            yield self._batch(places, records, names)

    def _object(self, decoder: json.JSONDecoder, line: str, place: int, first: bool) -> dict[str, Any]:
        if first and line.lstrip().startswith("["):
            raise ValueError(f"{self.where} is a JSON array; {_AS_LINES}")
        try:
            record = decoder.decode(line)
        except RecursionError as error:
            raise ValueError(f"{self.where}, line {place} is nested too deeply; write flat objects") from error
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{self.where}, line {place} is no JSON object ({error.msg} at character {error.pos + 1} of "
                f"{shortened(line.rstrip())}); {_AS_LINES}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self.where}, line {place}: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{self.where}, line {place} is {shortened(line.strip())}, no JSON object; {_AS_LINES}")
        return record

    def _check_spelling(self, record: dict[str, Any], place: int) -> None:
        """Refuses a key that would be ignored for its capitals or blanks; a second name of a key that is there may."""
        for key in record.keys() - self._known:
            name = folded(key)
            if name in self._known and not any(name in each and set(each) & record.keys() for each in self.required):
                raise ValueError(
                    f"{self.where}, line {place} has the key {shortened(key)}; spell it {name!r} in every line, or "
                    f"drop it"
                )

    def _batch(self, places: list[int], records: list[dict[str, Any]], names: Collection[str]) -> Batch:
        return Batch(places, {name: [record.get(name) for record in records] for name in names if name in self.wanted})


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shortened(twice)} stands twice in an object; keep one of them")
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value; write null for a missing number")
