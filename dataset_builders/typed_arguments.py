"""Checks of arguments whose wrong type would be taken for something else, and how values are shown in errors."""

import datetime
import re
import reprlib
from collections.abc import Mapping
from typing import Any

MAX_COUNT = 2**31 - 1
MAX_SEED = 2**32 - 1
"""Largest count and largest random seed that every library below takes."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 2


def check_flag(name: str, value: object) -> None:
    """Refuses what is neither true nor false; a text such as `no` would count as true.

    Args:
        name (`str`): Of the flag, the beginning of the error.
        value: To be checked.

    Raises:
        ValueError: If it is no `bool`.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} ({shown(value)}) must be True or False.")


def check_count(name: str, value: object, low: int) -> None:
    """Refuses what is no integer or is too small; 2.0, True and '2' are none.

    Args:
        name (`str`): Of the count, the beginning of the error.
        value: To be checked.
        low (`int`): Smallest value.

    Raises:
        ValueError: If it is no `int` of at least `low`.
    """
    if type(value) is not int or value < low:
        raise ValueError(f"{name} ({shown(value)}) must be an integer of at least {low}.")


def check_ranges(values: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuses numbers out of their ranges.

    Args:
        values (`Mapping`): Number by name; of other names than `ranges` has, and `None`, are not looked at.
        ranges (`Mapping`): Smallest and largest value by name; of two integers, for integers alone.

    Raises:
        ValueError: If a number is too small, too large or no number; with its name, value and range.

    >>> check_ranges({"seed": -1}, {"seed": (0, MAX_SEED)})
    Traceback (most recent call last):
    ValueError: seed (-1) must be at least 0 and at most 4294967295.
    """
    for name, (low, high) in ranges.items():
        value = values.get(name)
        if value is None:
            continue
        if type(low) is int and type(high) is int and type(value) is not int:
            raise ValueError(f"{name} ({shown(value)}) must be an integer.")
        if not low <= value <= high:
            raise ValueError(f"{name} ({shown(value)}) must be at least {low} and at most {high}.")


def parse_day(text: object) -> datetime.date | None:
    """The day that a text names as in `2026-11-20`, also with a time behind it; `None` if it names none.

    >>> parse_day("2026-11-20T10:00:00Z")
    datetime.date(2026, 11, 20)
    >>> parse_day("2026-02-30"), parse_day("20260220"), parse_day("soon"), parse_day(["2026-02-20"])
    (None, None, None, None)
    """
    if isinstance(text, datetime.date):
        text = text.isoformat()  # YAML makes dates of what is not quoted
    if not isinstance(text, str) or not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ]|$)", text):
        return None
    try:
        return datetime.datetime.fromisoformat(text).date()
    except ValueError:
        return None


def is_future(day: datetime.date) -> bool:
    """Whether a day has begun nowhere on earth."""
    return day > datetime.date.today() + datetime.timedelta(days=1)


def shown(value: Any) -> str:
    """Formats a value of any type and size for an error, shortened.

    >>> shown("tea"), shown([1, [2, [3]]]), len(shown("x" * 10_000)), shown(10**10_000)
    ("'tea'", '[1, [2, [...]]]', 60, 'a value of type int')
    """
    try:
        return " ".join(_SHORT.repr(value).split())
    except Exception:  # an integer with too many digits, or an object without a representation
        return f"a value of type {type(value).__name__}"
