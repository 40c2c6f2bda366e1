"""Format and validate the lines of a journal.

The first line is the header: model, prompt and parameters. Every other line is a finished request: its key
(`user_id` and `position`, or `source_id` of an item), `request`, the digest of the messages that were sent, and either
the answer (`preferences` or `properties`) or `failure`, the reason, with the start of the last `reply`; then how many
`attempts` it took, the `seed` of the last one, and the `schema` that the server was given. Each line ends in `check`,
a digest of the rest of it. Where they are known, `tokens` (of all attempts: `prompt`, `cached` of these, `completion`)
and `seconds` (from the first request to the last reply) come before it. Lines of earlier versions have neither, or no
`check`, and are read too.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ....benchmark.schema import NUM_PREFERENCES
from .endpoint_settings import SCHEMA_MODES
from .parsing import is_control
from .prompts import MAX_PROPERTIES, PREFERENCES, PROPERTIES, TASKS, Prompt
from .replies import Usage

FORMAT = 1
"""Version of the file format."""
REPLY_CHARACTERS = 500
"""Number of characters kept of a broken reply."""
HEADER_START = b'{"kind": "header"'
MAX_LINE_BYTES = 2**20
"""Of a line; the longest that a run writes has about 20,000, and the header has the text of the prompt."""
MAX_NUMBER = 2**63 - 1

Key = tuple[str, int]
"""(user_id, position), or (source_id, 0) of an item."""


@dataclass(frozen=True, slots=True)
class Header:
    """Common values of all lines of a journal; journals with different headers are not merged.

    Attributes:
        domain (`str`): As in the benchmark's configs.
        model (`str`): Name of the model, as the card will give it.
        task, prompt_version, prompt_digest, instructions, reminder (`str`): The prompt, see
            [`~dataset_builders.building.preferences.llm.prompts.Prompt`]. Its text is kept, so that a journal can be
            checked against the data with no other file.
        temperature, top_p (`float`, *optional*): Sampling parameters; the paper's are 0.6 and 0.9. `None`, as for the
            next two, if omitted from the requests.
        max_tokens (`int`, *optional*): New tokens; the paper's limit is 512.
        seed (`int`, *optional*): Random seed of the first attempt; each further attempt adds 1.
        max_items, max_review_characters (`int`): Limits of the prompt.
    """

    domain: str
    model: str
    task: str
    prompt_version: str
    prompt_digest: str
    instructions: str
    reminder: str
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    max_items: int
    max_review_characters: int
    format: int = FORMAT

    @property
    def prompt(self) -> Prompt:
        """The prompt whose text the journal keeps."""
        return Prompt(self.prompt_version, self.task, self.instructions, self.reminder)

    def check_same(self, other: "Header", mine: Path, theirs: Path) -> None:
        """Refuses a different header.

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
        seed (`int`, *optional*): Random seed of the last attempt.
        schema (`str`): What the server was asked to hold the last reply to, one of
            [`~dataset_builders.building.preferences.llm.endpoint.SCHEMA_MODES`]. Some servers ignore it without a
            word.
        usage ([`~dataset_builders.building.preferences.llm.replies.Usage`], *optional*): Tokens of all attempts, where
            the server counts them; two entries that differ in it alone, or in `seconds`, are equal.
        seconds (`float`, *optional*): From the first request to the last reply.
    """

    key: Key
    request: str
    answer: tuple[str, ...] | None
    failure: str = ""
    reply: str = ""
    attempts: int = 1
    seed: int | None = 0
    schema: str = "none"
    usage: Usage | None = field(default=None, compare=False)
    seconds: float | None = field(default=None, compare=False)

    def better_than(self, other: "Entry") -> bool:
        """Whether this entry wins over another one of the same key: an order that no order of files changes.

        An answer wins over a failure; of two answers the one that took fewer attempts, of two failures the one that
        took more (it knows of the others); then the smaller text.
        """
        return self._rank() < other._rank()

    def _rank(self) -> tuple[Any, ...]:
        failed = self.answer is None
        attempts = -self.attempts if failed else self.attempts
        text = (self.answer or (), self.failure, self.reply, self.seed or 0, self.schema)
        return (failed, attempts, *text, repr(self.usage), self.seconds or 0.0)


@dataclass(frozen=True)
class JournalContent:
    """Content of a journal.

    Attributes:
        header ([`Header`]): Its first line.
        entries (`dict`): Key -> the best entry of that key.
    """

    header: Header
    entries: dict[Key, Entry] = field(default_factory=dict)


_CHECK = "check"


class BadLine(ValueError):
    """Error of an invalid line; its text is the reason."""


class NoJson(BadLine):
    """Error of a line that is no JSON: at the end of a file, what a run was writing when it died."""


def parse_line(line: bytes) -> Any:
    """The JSON value of a line.

    Raises:
        NoJson: If it is none, or one that is nested too deeply.
        BadLine: If it is too long, a key occurs twice, a number is too long, or something follows the value.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise BadLine("a key occurs twice")
        return dict(pairs)

    def whole(digits: str) -> int:
        if len(digits) > len(str(MAX_NUMBER)) + 1:
            raise BadLine(f"a number has {len(digits):,} digits")
        return int(digits)

    if len(line) > MAX_LINE_BYTES:
        raise BadLine(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return json.loads(line, object_pairs_hook=unique, parse_int=whole)
    except BadLine:
        raise
    except (ValueError, RecursionError) as error:
        kind = BadLine if str(error).startswith("Extra data") else NoJson  # two lines in one were written whole
        raise kind(f"{type(error).__name__}: {error}") from error


def header_of(record: Any, path: Path) -> Header:
    """The header that a first line holds.

    Raises:
        ValueError: If it is none, or of another format.
    """
    if not isinstance(record, Mapping) or record.get("kind") != "header":
        raise ValueError(f"{path} is not a journal of preferences: its first line is no header. Name another file.")
    if type(record.get("format")) is not int or record["format"] != FORMAT:
        raise ValueError(
            f"{path} has the format {_short(record.get('format'))}, this version reads {FORMAT}; use the version that "
            "wrote it."
        )
    names = {entry.name for entry in fields(Header)}
    if wrong := sorted((record.keys() - {_CHECK}) ^ (names | {"kind"})):
        raise BadLine(f"keys missing or unknown: {_short(wrong)}")
    for name in ("domain", "model", "prompt_version", "prompt_digest", "instructions", "reminder"):
        _text(record, name)
    if record["task"] not in TASKS:
        raise BadLine(f"task is {_short(record['task'])}, not one of {', '.join(TASKS)}")
    for name in ("temperature", "top_p"):
        value = record[name]
        if value is not None and not (type(value) in (int, float) and 0 <= value < float("inf")):
            raise BadLine(f"{name} is {_short(value)}, no number of at least 0")
    for name, least in (("max_tokens", 1), ("seed", None), ("max_items", 1), ("max_review_characters", 1)):
        if not (name in ("max_tokens", "seed") and record[name] is None):
            _whole_number(record, name, least)
    _check_digest(record)
    return Header(**{key: value for key, value in record.items() if key not in ("kind", _CHECK)})


def header_line(header: Header) -> bytes:
    """The first line of a journal."""
    return _line({"kind": "header", **asdict(header)})


def entry_of(record: Any, header: Header) -> Entry:
    """The finished request that a line holds.

    Raises:
        BadLine: If it is none: whatever a run does not write is refused.
    """
    if not isinstance(record, Mapping):
        raise BadLine(f"{_short(record)} is no object")
    if header.task == PREFERENCES:
        key = (_text(record, "user_id"), _whole_number(record, "position", 1))
        names = {"user_id", "position"}
    else:
        key = (_text(record, "source_id"), 0)
        names = {"source_id"}
    if (header.task in record) == ("failure" in record):
        raise BadLine(f"it needs either {header.task} or failure")
    names |= {"request", "attempts", "seed", "schema", "tokens", "seconds", _CHECK}
    names |= {header.task} if header.task in record else {"failure", "reply"}
    if unknown := sorted(record.keys() - names):
        raise BadLine(f"unknown keys: {_short(unknown)}")
    answer = _answer(record[header.task], header.task) if header.task in record else None
    if answer is None and not _text(record, "failure"):
        raise BadLine("failure gives no reason")
    if record.get("schema") not in SCHEMA_MODES:
        raise BadLine(f"schema is {_short(record.get('schema'))}, not one of {', '.join(SCHEMA_MODES)}")
    entry = Entry(
        key,
        _text(record, "request"),
        answer,
        record.get("failure", ""),
        "" if answer is not None else _text(record, "reply"),
        _whole_number(record, "attempts", 1),
        None if header.seed is None and record.get("seed") is None else _whole_number(record, "seed", None),
        record["schema"],
        _usage(record["tokens"]) if "tokens" in record else None,
        _seconds(record["seconds"]) if "seconds" in record else None,
    )
    _check_digest(record)
    return entry


def _check_digest(record: Mapping[str, Any]) -> None:
    if _CHECK in record and record[_CHECK] != _digest(record):
        raise BadLine(f"its content does not fit its {_CHECK}: it was changed after it was written")


def _digest(record: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name != _CHECK}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=8).hexdigest()


def _answer(value: Any, task: str) -> tuple[str, ...]:
    """Five preferences, or one to ten properties, distinct and not blank."""
    fewest, most = (NUM_PREFERENCES, NUM_PREFERENCES) if task == PREFERENCES else (1, MAX_PROPERTIES)
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise BadLine(f"{task} is {_short(value)}, no array of texts")
    if any(is_control(character) for text in value for character in text):
        raise BadLine(f"{task} is {_short(value)}, with a control character")
    if not fewest <= len(value) <= most:
        wanted = str(most) if fewest == most else f"{fewest} to {most}"
        raise BadLine(f"{task} holds {len(value)} texts, not {wanted}")
    if len({text.casefold() for text in value}) < len(value):
        raise BadLine(f"{task} holds a text twice")
    return tuple(value)


def _usage(value: Any) -> Usage:
    if not isinstance(value, Mapping) or value.keys() - {"cached"} != {"prompt", "completion"}:
        raise BadLine(f"tokens is {_short(value)}, no object with prompt and completion, and cached or not")
    counts = {name: _whole_number(value, name, 0) for name in value}
    if counts.get("cached", 0) > counts["prompt"]:
        raise BadLine(f"tokens has {counts['cached']} cached of {counts['prompt']} tokens")
    return Usage(**counts)


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise BadLine(f"seconds is {_short(value)}, no number of at least 0")
    return float(value)


def _text(record: Mapping[str, Any], name: str) -> str:
    if not isinstance(record.get(name), str):
        raise BadLine(f"{name} is {_short(record[name])}, no text" if name in record else f"{name} is missing")
    if name != "reply" and any("\ud800" <= character <= "\udfff" for character in record[name]):
        raise BadLine(f"{name} is {_short(record[name])}, with half of a surrogate pair")
    return record[name]


def _whole_number(record: Mapping[str, Any], name: str, least: int | None) -> int:
    value = record.get(name)
    if type(value) is not int or abs(value) > MAX_NUMBER or (least is not None and value < least):
        wanted = "no whole number" if least is None else f"no whole number of at least {least}"
        raise BadLine(f"{name} is {_short(value)}, {wanted}" if name in record else f"{name} is missing")
    return value


def entry_line(entry: Entry, task: str) -> bytes:
    """The line of a finished request."""
    user_id, position = entry.key
    record: dict[str, Any] = (
        {"source_id": user_id} if task == PROPERTIES else {"user_id": user_id, "position": position}
    )
    record["request"] = entry.request
    if entry.answer is not None:
        record[task] = entry.answer
    else:
        record.update(failure=entry.failure, reply=entry.reply[:REPLY_CHARACTERS])
    record.update(attempts=entry.attempts, seed=entry.seed, schema=entry.schema)
    if entry.usage is not None:
        record["tokens"] = {name: count for name, count in asdict(entry.usage).items() if count is not None}
    if entry.seconds is not None:
        record["seconds"] = entry.seconds
    return _line(record)


def _line(record: Mapping[str, Any]) -> bytes:
    # ASCII: no separator of Unicode can look like the end of a line, and no half of a surrogate pair can fail.
    return json.dumps({**record, _CHECK: _digest(record)}, ensure_ascii=True).encode("ascii") + b"\n"


def check_known(entries: Mapping[Key, Entry], entry: Entry) -> None:
    """Refuses an entry that cannot follow those of earlier lines of one journal.

    Raises:
        BadLine: If an earlier line of its key was asked about other data, or has another answer.
    """
    known = entries.get(entry.key)
    if known is not None and known.request != entry.request:
        raise BadLine(f"an earlier line asked about different data under {entry.key}")
    if known is not None and None not in (known.answer, entry.answer) and known.answer != entry.answer:
        raise BadLine(f"an earlier line has another answer under {entry.key}")


def keep_best(entries: dict[Key, Entry], entry: Entry) -> None:
    """Takes an entry in, unless a better one of its key is there."""
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
