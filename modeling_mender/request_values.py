"""Values of requests: their limits, and readers that name the field and the value of what they refuse."""

import json
import os
import re
import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

MAX_STRENGTH = 1000.0  # largest absolute strength of a preference
MAX_LOG_WEIGHT = 3.4028234663852886e38  # largest number in float32
ENVIRONMENT = "MENDER_MAX_"  # environment variables of limits, as in MENDER_MAX_REQUESTS

# Halves of characters, and control characters other than white space.
_UNREADABLE = re.compile("[\ud800-\udfff\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_DIGITS = re.compile(r"[1-9][0-9]{0,17}")


class _JsonRepr(reprlib.Repr):
    """Shortened values as JSON writes them."""

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 (the name that Repr looks for)
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"

    def repr_str(self, value: str, level: int) -> str:
        text = json.dumps(value[: self.maxstring], ensure_ascii=False)
        return text if len(value) + 2 <= self.maxstring else f'{text[: self.maxstring - 4]}..."'


_PYTHON, _JSON = reprlib.Repr(), _JsonRepr()
for _shortened in (_PYTHON, _JSON):
    _shortened.maxstring = _shortened.maxother = _shortened.maxlong = 60
    _shortened.maxlevel = 2
_IN_JSON = ContextVar("in_json", default=False)  # whether errors are read by those who sent JSON


@contextmanager
def json_errors() -> Iterator[None]:
    """Has the errors of a block name values and ways out as JSON has them, not as Python does.

    >>> with json_errors():
    ...     shown([None, True, "tea"])
    '[null, true, "tea"]'
    """
    token = _IN_JSON.set(True)
    try:
        yield
    finally:
        _IN_JSON.reset(token)


def a_mapping() -> str:
    """Name of a mapping in an error: a dict, or an object for a request in JSON."""
    return "an object" if _IN_JSON.get() else "a dict"


class RequestError(ValueError):
    """Error of one request of a batch.

    Args:
        number (`int`): Number of the request in its batch, from 0.
        reason (`str`): What is wrong with it, and the way out, as in "has no history; give one".

    >>> str(RequestError(1, "is empty; give a history.").moved(10))
    'request 11 is empty; give a history.'
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"request {number} {reason}")
        self.number, self.reason = number, reason

    def moved(self, start: int) -> "RequestError":
        """The error of a batch whose first request has the number `start`."""
        return RequestError(self.number + start, self.reason)


@dataclass(frozen=True)
class RequestLimits:
    """Limits on what one call may ask for; `None` stands for no limit.

    With the defaults, a call takes at most about a minute of one CPU core and a few hundred megabytes.

    Attributes:
        requests: Requests in a list. An iterator is answered as it comes, without this and the limits on all requests.
        batch_size: Requests that are computed at once.
        k: Items that are recommended for a request.
        num_beams: Beams of a generative model, where a call names their number.
        texts: Preferences and avoided texts of a request.
        characters: Characters of a text, or of a user id.
        history: Items of a history, before it is cut to the most recent ones that the model reads.
        items: Entries of each of `candidates`, `exclude` and `item_log_weights`.
        all_texts, all_characters, all_items: Texts, characters of texts, and entries of lists of items, of all
            requests of a list together.
    """

    requests: int | None = 1_000
    batch_size: int | None = 256
    k: int | None = 1_000
    num_beams: int | None = 2_000
    texts: int | None = 100
    characters: int | None = 2_000
    history: int | None = 10_000
    items: int | None = 200_000
    all_texts: int | None = 5_000
    all_characters: int | None = 300_000
    all_items: int | None = 2_000_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"the limit {name} is {shown(value)}; give a whole number from 1, or None for none.")

    @classmethod
    def none(cls) -> "RequestLimits":
        """No limits, for requests of one's own."""
        return cls(**dict.fromkeys(names_of(cls)))

    @classmethod
    def read(cls, given: "RequestLimits | Mapping[str, int | None] | None" = None) -> "RequestLimits":
        """Returns limits from a mapping of their names; others are those of the environment, or the defaults.

        An environment variable such as `MENDER_MAX_REQUESTS` is a whole number, or `none`.

        Raises:
            ValueError: For an unknown name, or a value that is not a whole number from 1.
        """
        if isinstance(given, cls):
            return given
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"limits is {shown(given)}; give a mapping such as {{'requests': 5000}}.")
        refuse_unknown(given or {}, names_of(cls), "{}: no such limit")
        found: dict[str, int | None] = {}
        for name in names_of(cls):
            text = os.environ.get(variable := f"{ENVIRONMENT}{name.upper()}", "")
            if text and text != "none" and not _DIGITS.fullmatch(text):
                raise ValueError(f"{variable} is {shown(text)}; give a whole number from 1, or none for no limit.")
            if text:
                found[name] = None if text == "none" else int(text)
        return cls(**{**found, **(given or {})})

    def check(self, limit: str, size: int, what: str, entries: str) -> None:
        """Raises a ValueError if a size exceeds a limit; the words around it are as in "history has" 3 "items"."""
        most = getattr(self, limit)
        if most is not None and size > most:
            in_python = "" if _IN_JSON.get() else f"limits={{'{limit}': {size}}} of the pipeline or the handler, or "
            raise ValueError(
                f"{what} {size:,} {entries}, and the limit is {most:,}; give fewer, or raise it: {in_python}the "
                f"environment variable {ENVIRONMENT}{limit.upper()}{' of the service' if _IN_JSON.get() else ''}."
            )


def shown(value: Any) -> str:
    """Formats a value of any type and size for an error, shortened.

    >>> shown("tea"), shown([1, [2, [3]]]), len(shown("x" * 10_000))
    ("'tea'", '[1, [2, [...]]]', 60)
    """
    try:
        return " ".join((_JSON if _IN_JSON.get() else _PYTHON).repr(value).split())
    except Exception:  # an integer with too many digits, or an object without a representation
        return f"a value of type {type(value).__name__}"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "item"), counted(2000, "item")
    ('1 item', '2,000 items')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(examples: Iterable[Any], most: int = 5) -> str:
    """The first of several examples, for an error.

    >>> listed(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    every = list(map(str, examples))
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def too_few(num_allowed: int, k: int, removed: Collection[int] = ()) -> str:
    """Message for a request that allows fewer items than it asks for.

    Args:
        num_allowed (`int`): Items that it allows.
        k (`int`): Items that it asks for.
        removed (`Collection[int]`): Those of its candidates that were removed from the catalog.

    >>> too_few(1, 2, {7})
    'allows 1 item and 2 results are asked for; its candidates hold 1 item that was removed from the catalog (7): leave it out, allow more or ask for fewer.'
    """  # noqa: E501 (the message)
    gone, leave = "", ""
    if removed:
        them = "that was" if len(removed) == 1 else "that were"
        gone = (
            f"its candidates hold {counted(len(removed), 'item')} {them} removed from the catalog "
            f"({listed(sorted(removed))}): "
        )
        leave = f"leave {'it' if len(removed) == 1 else 'them'} out, "
    verb = "is" if k == 1 else "are"
    return (
        f"allows {counted(num_allowed, 'item')} and {counted(k, 'result')} {verb} asked for; {gone}{leave}allow more "
        "or ask for fewer."
    )


def as_scalar(value: Any) -> Any:
    """Returns a number of NumPy or torch as one of Python, and other values unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def as_list(value: Any) -> Sequence[Any] | None:
    """Returns a list, a tuple, another sequence or a one-dimensional array as a sequence; `None` for other values.

    >>> as_list([1, 2]), as_list(range(2)), as_list("12"), as_list(b"12"), as_list({1: 2}), as_list({1, 2}), as_list(3)
    ([1, 2], [0, 1], None, None, None, None, None)
    """
    if isinstance(value, list | tuple):
        return value
    if getattr(value, "ndim", None) is not None:
        return value.tolist() if value.ndim == 1 and hasattr(value, "tolist") else None
    is_text = isinstance(value, str | bytes | bytearray | memoryview)
    return list(value) if isinstance(value, Sequence) and not is_text else None


def as_rows(value: Any) -> Sequence[Any] | None:
    """Returns a list, or an array of one or two dimensions, as a sequence of its rows; `None` for other values."""
    return value.tolist() if getattr(value, "ndim", None) == 2 and hasattr(value, "tolist") else as_list(value)


def is_item(value: Any, num_items: int) -> bool:
    """Whether a value is a whole number in `1..num_items`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= num_items


def is_blank(text: str) -> bool:
    """Whether a text has no visible character.

    >>> is_blank(" \\u200f\\n"), is_blank("tea")
    (True, False)
    """
    return not text.strip() or not any(letter.isprintable() and not letter.isspace() for letter in text)


def read_items(
    name: str, value: Any, num_items: int, limits: RequestLimits | None = None, limit: str = "items"
) -> tuple[int, ...]:
    """Reads a list of item ids.

    Args:
        name (`str`): Name of the value, for errors.
        value: List of whole numbers in `1..num_items`.
        num_items (`int`): Size of the catalog.
        limits ([`RequestLimits`], *optional*): Limits; none by default.
        limit (`str`, defaults to `"items"`): Limit on the length.

    Raises:
        ValueError: If it is no list, too long, or has another value.
    """
    values = as_list(value)
    if values is None:
        raise ValueError(f"{name} is {shown(value)}; give a list of item ids, such as [17, 4].")
    if limits is not None:
        limits.check(limit, len(values), f"{name} has", "items")
    if not values or set(map(type, values)) == {int} and min(values) >= 1 and max(values) <= num_items:
        return tuple(values)
    items = [as_scalar(item) for item in values]
    for item in items:
        if not is_item(item, num_items):
            raise ValueError(
                f"{name} contains {shown(item)}, which is no item of this catalog (ids 1..{num_items}); drop it or "
                "map it to the ids of the benchmark's items table."
            )
    return tuple(map(int, items))


def read_texts(name: str, value: Any, limits: RequestLimits | None = None) -> tuple[str, ...]:
    """Reads a text or a list of texts; `None` for none.

    Raises:
        ValueError: If a value is no string, too long, or has half a character or a control character; or for too many
            texts.
    """
    texts = () if value is None else (value,) if isinstance(value, str) else as_list(value)
    if texts is None:
        raise ValueError(f"{name} is {shown(value)}; give words, or a list of texts, as in 'Look for lavender soap'.")
    if limits is not None:
        limits.check("texts", len(texts), f"{name} has", "texts")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{name} contains {shown(text)}, which is no text; write it in words.")
        check_text(name, text, limits)
    return tuple(map(str, texts))


def check_text(name: str, text: str, limits: RequestLimits | None = None) -> None:
    """Raises a ValueError for a text that is too long or holds what is no character of a text."""
    if limits is not None and limits.characters is not None and len(text) > limits.characters:
        limits.check("characters", len(text), f"{name} is {shown(text)} of", "characters")
    if found := _UNREADABLE.search(text):
        code = ord(found[0])
        kind = "half of a character (a surrogate)" if 0xD800 <= code <= 0xDFFF else "a control character"
        raise ValueError(
            f"{name} is {shown(text)}, which holds {kind}, U+{code:04X}, at position {found.start()}; decode it as "
            "UTF-8, or take that out."
        )


def read_user(name: str, value: Any, limits: RequestLimits) -> str | None:
    """Reads a user id; `None` for an empty one."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, which is no string; give the benchmark's user_id.")
    check_text(name, value, limits)
    return str(value) or None


def read_number(name: str, value: Any, most: float, way_out: str) -> float:
    """Reads a finite number of at most `most` in absolute value.

    Raises:
        ValueError: For another value.
    """
    number = as_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} is {shown(number)}, which is not a number; {way_out}")
    if number != number or number in (float("inf"), -float("inf")):
        raise ValueError(f"{name} is {number}, which is no finite number; {way_out}")
    if abs(number) > most:
        raise ValueError(f"{name} is {shown(number)}, beyond {most:g}; give a number from {-most:g} to {most:g}.")
    return float(number)


def read_whole(name: str, value: Any) -> int:
    """Reads a whole number from 1.

    Raises:
        ValueError: For another value.
    """
    number = as_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        way_out = "; write it without quotes" if isinstance(number, str) and _DIGITS.fullmatch(number) else ""
        raise ValueError(f"{name} ({shown(number)}) must be a whole number from 1{way_out}.")
    return int(number)


def read_strength(
    name: str, value: Any, num_wanted: int, num_avoided: int, limits: RequestLimits | None = None
) -> float | tuple[float, ...] | None:
    """Reads the strength of texts: a number, or one per preference, or one per preference and avoided text.

    Returns:
        `float`, `tuple` or `None`: `None` for the usual strength. In a list, `None` stands for 1.

    Raises:
        ValueError: If one is no finite number in `-MAX_STRENGTH..MAX_STRENGTH`, or their number fits no texts.
    """
    way_out = "give 1 for the usual one."
    value = as_scalar(value)
    if value is None or isinstance(value, int | float):
        return None if value is None else read_number(name, value, MAX_STRENGTH, way_out)
    values = as_list(value)
    if values is None:
        raise ValueError(f"{name} is {shown(value)}; give a number, or a list with a number for each text.")
    if not values:
        return None
    total = num_wanted + num_avoided
    if len(values) not in (num_wanted, total):
        if limits is not None:
            limits.check("texts", len(values), f"{name} has", "numbers")
        raise ValueError(
            f"{name} has {len(values)} numbers for {num_wanted} preferences and {num_avoided} avoided texts; give one "
            f"number, one per preference, or {total}."
        )
    return tuple(1.0 if one is None else read_number(name, one, MAX_STRENGTH, way_out) for one in values)


def read_log_weights_of(
    name: str, value: Any, num_items: int, limits: RequestLimits | None = None
) -> dict[int, float] | tuple[float, ...]:
    """Reads the log-weights of a request: a mapping of item ids, or their digits, to numbers; or a number per item.

    Raises:
        ValueError: For an unknown id, one that is named twice, a list of another length than `num_items`, or a value
            that is neither a finite number nor `-inf`.
    """
    values = value if isinstance(value, Mapping) else as_list(value)
    if values is None or not isinstance(values, Mapping) and len(values) != num_items:
        given = shown(value) if values is None else f"{len(values)} numbers"
        raise ValueError(
            f"{name} must map item ids to numbers or be a list of {num_items} numbers, one per item, not {given}."
        )
    if limits is not None:
        limits.check("items", len(values), f"{name} has", "entries")
    if not isinstance(values, Mapping):
        return tuple(_read_log_weight(name, item, one) for item, one in enumerate(values, start=1))
    read: dict[int, float] = {}
    for key, one in values.items():
        item = int(key) if isinstance(key, str) and _DIGITS.fullmatch(key) else as_scalar(key)
        if not is_item(item, num_items):
            raise ValueError(
                f"{name} contains {shown(item)}, which is no item of this catalog (ids 1..{num_items}); leave it out."
            )
        if int(item) in read:
            raise ValueError(f"{name} names item {item} twice, as a number and as its digits; name it once.")
        read[int(item)] = _read_log_weight(name, item, one)
    return read


def _read_log_weight(name: str, item: int, value: Any) -> float:
    """Reads one log-weight."""
    value = as_scalar(value)
    if isinstance(value, float) and value == -float("inf"):
        return value
    way_out = "name the item in exclude" if _IN_JSON.get() else "-inf to exclude it"
    return read_number(f"{name} for item {item}", value, MAX_LOG_WEIGHT, f"give a finite one, or {way_out}.")


def names_of(record: type) -> tuple[str, ...]:
    """Names of the fields of a dataclass."""
    return tuple(field.name for field in fields(record))


def refuse_unknown(given: Mapping[Any, Any], known: Sequence[str], message: str) -> None:
    """Raises a ValueError, the message with their names, for keys that are not known."""
    if unknown := [key for key in given if key not in known]:
        names = ", ".join(key if isinstance(key, str) and len(key) <= 60 else shown(key) for key in unknown[:3])
        names += f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise ValueError(f"{message.format(names)}; there are {', '.join(known)}.")
