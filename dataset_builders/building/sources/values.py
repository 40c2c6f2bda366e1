"""Values of a user's own tables as texts, prices and category paths; what cannot be taken as one is named."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .lines import shortened
from .table_file import RealNumber, WholeNumber

CATEGORY_SEPARATOR = " > "
EXACT_FLOAT = 2**53
"""Whole numbers below are exact as floats; from here on, a file that stores floats has lost digits."""
_MANTISSA_BITS = {pa.float16(): 11, pa.float32(): 24, pa.float64(): 53}

INTEGER, DATE, OFFSET = "integer", "date", "date with an offset"
SECONDS, MILLISECONDS = "integer in seconds", "integer in milliseconds"
MICROSECONDS, NANOSECONDS = "integer in microseconds", "integer in nanoseconds"
DAYS, YEARS = "integer in days", "integer like 2014"
"""Kinds of times. An integer of no known unit may stand beside others: a counter, or a time near 1970."""
BLANKS = " \t\r\n\v\f"
_EPOCH = datetime(1970, 1, 1)
# Kinds of integer times by size: a time from 1973 to 2286 has 9 or 10 digits in seconds, and three more in each finer
# unit; one digit less is a time from 1970 on.
TIME_UNITS = {
    SECONDS: (10**8, 10**10 - 1),
    MILLISECONDS: (10**10, 10**13 - 1),
    MICROSECONDS: (10**13, 10**16 - 1),
    NANOSECONDS: (10**16, 2**63 - 1),
}
"""Unit of an integer time -> its smallest and largest size."""
YEAR_SIZES, DAY_SIZES = (1900, 2100), (10**4, 8 * 10**4)
_LARGE = "integer above those in days"
# Dates written as digits: the kind, digits behind the month, and the kind of any other number of that size.
DIGIT_KINDS = (
    ("integer like 201407", 0, _LARGE),
    ("integer like 20140701", 2, _LARGE),
    ("integer like 2014070112", 4, SECONDS),
    ("integer like 201407011200", 6, MILLISECONDS),
    ("integer like 20140701120000", 8, MICROSECONDS),
)
_NO_DATE = {kind: f"{kind}, but no date" for kind, _, _ in DIGIT_KINDS}
_INTEGER = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_MOMENT = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ](?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?P<fraction>\.[0-9]+)?)?)"
    r" ?(?P<offset>Z|z|UTC|[+-][0-9]{2}(?::?[0-5][0-9])?)?)?"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_CURRENCY = "[$€£¥]?"
# Every way to write an amount that can be read in one way only; a lone group of three digits is a matter of a rule.
_PLAIN = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMAS_GROUP = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_POINTS_GROUP = re.compile(r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}|(?:\.[0-9]{3})+,[0-9]+)")
_BLANKS_GROUP = re.compile(r"[1-9][0-9]{0,2}(?:[ \u00a0\u202f'’][0-9]{3})+(?:[.,][0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[0-9]+,[0-9]+")
_LONE_GROUP = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")


class BadValue(ValueError):
    """Complaint about one value of a column, or about all of them if `index` is `None`."""

    def __init__(self, index: int | None, complaint: str) -> None:
        super().__init__(complaint)
        self.index = index


def texts(values: Sequence[Any] | pa.Array, whole: bool = False) -> pa.Array:
    """Converts a column to texts without blanks around them: a text stays as it is, a number becomes its digits.

    Args:
        values (`Sequence` or `pa.Array`): A column of [`Batch`].
        whole (`bool`, *optional*, defaults to `False`): Whether numbers must be whole, and exact where they are stored
            as floats.

    Returns:
        `pa.Array`: Strings; NULL for an empty text.

    Raises:
        BadValue: If a value is neither text nor number, is not whole, or is no valid text.

    >>> texts(["007", WholeNumber("18446744073709551617"), " "]).to_pylist()
    ['007', '18446744073709551617', None]
    """
    found = _stored_texts(values, whole) if isinstance(values, pa.Array) else _python_texts(values, whole)
    if (nul := pc.index(pc.greater_equal(pc.find_substring(found, "\0"), 0), True).as_py()) >= 0:
        raise BadValue(nul, f"{shortened(found[nul].as_py())} holds a NUL character; remove it")
    trimmed = pc.ascii_trim(found, BLANKS)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def ratings(values: Sequence[Any] | pa.Array) -> pa.Array:
    """Converts a column of ratings to numbers from 1 to 5.

    Args:
        values (`Sequence` or `pa.Array`): A column of [`Batch`].

    Returns:
        `pa.Array`: Floats; NULL for a missing one.

    Raises:
        BadValue: If a rating is no number, or lies outside 1..5.
    """
    if isinstance(values, pa.Array) and pa.types.is_floating(values.type):
        values = values.cast(pa.string())  # with NaN, which texts() takes for a missing value
    digits = texts(values)
    try:
        numbers = digits.cast(pa.float64())
        if pc.all(pc.and_(pc.greater_equal(numbers, 1), pc.less_equal(numbers, 5)), min_count=0).as_py():
            return numbers
    except pa.ArrowInvalid:
        pass  # a slower look finds the value
    return pa.array([_rating(index, text) for index, text in enumerate(digits.to_pylist())], pa.float64())


def _rating(index: int, text: str | None) -> float | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise BadValue(index, f"{shortened(text)} is no number; leave a missing one empty (NULL in Parquet)")
    if not 1 <= float(text) <= 5:
        raise BadValue(
            index, f"{shortened(text)} lies outside 1..5; leave a missing one empty, and scale others to 1..5"
        )
    return float(text)


def times(values: Sequence[Any] | pa.Array) -> tuple[pa.Array, list[str | None]]:
    """Converts a column of times to integers: as they are, or microseconds since 1970 (UTC) of dates.

    Args:
        values (`Sequence` or `pa.Array`): A column of [`Batch`].

    Returns:
        The integers of 64 bits, NULL for a missing one, and the kind of each: as in [`read_time`], of an integer with
        its unit where its size shows it.

    Raises:
        BadValue: As [`texts`] and [`read_time`], or if a time of Parquet is finer than a microsecond or does not fit.
    """
    if isinstance(values, pa.Array) and (pa.types.is_date(values.type) or pa.types.is_timestamp(values.type)):
        return _stored_moments(values), [DATE] * len(values)
    digits = texts(values, whole=True)
    if pc.all(pc.and_(pc.ascii_is_decimal(digits), pc.less(pc.binary_length(digits), 19)), min_count=0).as_py():
        numbers = digits.cast(pa.int64())
        return numbers, _units(numbers)
    kinds: list[str | None] = []
    moments: list[int | None] = []
    for index, text in enumerate(digits.to_pylist()):
        try:
            kind, moment = (None, None) if text is None else read_time(text)
        except ValueError as error:
            raise BadValue(index, str(error)) from error
        kinds.append(kind)
        moments.append(moment)
    numbers = pa.array(moments, pa.int64())
    return numbers, [unit if kind == INTEGER else kind for kind, unit in zip(kinds, _units(numbers), strict=True)]


def _units(numbers: pa.Array) -> list[str | None]:
    """Kind of each integer by its size and, of numbers as large as dates written as digits, by its digits."""
    values = numbers.fill_null(0).to_numpy()
    sizes = np.abs(values.astype(np.float64))  # exact enough, and -2**63 has no int64 beside
    bounds = [least for least, _ in TIME_UNITS.values()]
    units = np.array([INTEGER, *TIME_UNITS], object)[np.searchsorted(bounds, sizes, side="right")]
    units[(values >= YEAR_SIZES[0]) & (values < YEAR_SIZES[1])] = YEARS
    units[(sizes >= DAY_SIZES[0]) & (sizes < DAY_SIZES[1])] = DAYS
    units[(sizes >= DAY_SIZES[1]) & (sizes < bounds[0])] = _LARGE
    for kind, behind, _ in DIGIT_KINDS:
        near = (values >= 190_001 * 10**behind) & (values < 209_913 * 10**behind)
        units[near] = _NO_DATE[kind]
        units[near & _are_dates(values, behind)] = kind
    units[numbers.is_null().to_numpy(zero_copy_only=False)] = None
    return list(units)


def _are_dates(values: np.ndarray, behind: int) -> np.ndarray:
    """Whether numbers are a year and a month with so many digits behind: of a day, an hour, a minute, a second."""
    month = values // 10**behind % 100
    found = (month >= 1) & (month <= 12)
    for place, (least, most) in enumerate([(1, 31), (0, 23), (0, 59), (0, 59)][: behind // 2], 1):
        part = values // 10 ** (behind - 2 * place) % 100
        found &= (part >= least) & (part <= most)
    return found


def mixed_kinds(counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Kinds of times in a column that cannot stand beside each other; at most one of them is no mixture.

    A number that looks like days, a year, or a date written as digits, is no such time in a counter, or among times
    since some start of its own: there, more numbers of its size are no dates, or ten times as many lie between days
    and seconds. An integer of no unit belongs to the most frequent kind.

    Args:
        counts (`Mapping`): Number of times of each kind, as [`times`] names them.

    Returns:
        `dict[str, list[str]]`: Each kind, and the kinds of `counts` that belong to it, itself included.

    >>> mixed_kinds({"integer in seconds": 5, "integer in milliseconds": 1, "integer": 2})
    {'integer in seconds': ['integer in seconds', 'integer'], 'integer in milliseconds': ['integer in milliseconds']}
    >>> mixed_kinds({"integer": 1, "integer in days": 1, "integer in seconds": 1})
    {'integer in days': ['integer in days', 'integer'], 'integer in seconds': ['integer in seconds']}
    """
    found = {kind: [kind] for kind, count in counts.items() if count}
    size = {kind: counts[kind] for kind in found}

    def join(kind: str, other: str) -> None:
        if kind in found:
            found.setdefault(other, []).extend(found.pop(kind))
            size[other] = size.get(other, 0) + size.pop(kind)

    for kind, _, unit in DIGIT_KINDS:
        if size.get(kind, 0) < size.get(_NO_DATE[kind], 0):
            join(kind, unit)
        join(_NO_DATE[kind], unit)
    if size.get(_LARGE, 0) >= 10 * size.get(DAYS, 0):
        join(DAYS, INTEGER)
    join(_LARGE, INTEGER)
    if size.get(INTEGER, 0) >= 10 * size.get(YEARS, 0):
        join(YEARS, INTEGER)
    units = [kind for kind in found if kind not in (INTEGER, DATE, OFFSET)]
    if units:
        join(INTEGER, max(units, key=lambda kind: size[kind]))
    return found


def read_time(text: str) -> tuple[str, int]:
    """Converts one time to its kind and an integer.

    Args:
        text (`str`): An integer of 64 bits, or a date, or date and time, of ISO 8601.

    Returns:
        ("integer", the number), or microseconds since 1970 (UTC) as "date" if the text has no offset from UTC and as
        "date with an offset" if it has.

    Raises:
        ValueError: If it is anything else.

    >>> read_time("-86400"), read_time("1404172800.0"), read_time("1970-01-02")
    (('integer', -86400), ('integer', 1404172800), ('date', 86400000000))
    >>> read_time("1970-01-01 02:00:00.5+01:00"), read_time("1970-01-01T00:00Z")
    (('date with an offset', 3600500000), ('date with an offset', 0))
    """
    if _INTEGER.fullmatch(text):
        digits = text.partition(".")[0]
        if len(digits) > 4000 or not -(2**63) <= int(digits) < 2**63:
            raise ValueError(f"{shortened(text)} does not fit into 64 bits; give seconds or milliseconds")
        return "integer", int(digits)
    try:
        parts = _MOMENT.fullmatch(text)
        if parts is None or len((parts["fraction"] or "").rstrip("0")) > len(".000000"):
            raise ValueError(text)
        offset = parts["offset"]
        zone = "" if offset is None else "+00:00" if offset in ("Z", "z", "UTC") else offset
        moment = datetime.fromisoformat(f"{parts['day']} {parts['clock'] or '00:00'}{zone}")
    except ValueError as error:
        raise ValueError(
            f"{shortened(text)} is neither an integer nor a date, or time down to microseconds, such as 2014-07-01 "
            f"00:00:00 or 2014-07-01T00:00:00+02:00; write it as one of these"
        ) from error
    since = moment.replace(tzinfo=None) - _EPOCH - (moment.utcoffset() or timedelta())
    return "date" if offset is None else "date with an offset", since // timedelta(microseconds=1)


def _stored_moments(values: pa.Array) -> pa.Array:
    zone = values.type.tz if pa.types.is_timestamp(values.type) else None
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        counts = values.cast(pa.int64())
        finer = pc.not_equal(pc.multiply(pc.divide(counts, 1000), 1000), counts)
        if (index := pc.index(finer, True).as_py()) >= 0:
            raise BadValue(
                index,
                f"{counts[index].as_py()} ns since 1970 is finer than a microsecond; round the times, or store them "
                f"as integers",
            )
    try:
        return values.cast(pa.timestamp("us", zone)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise BadValue(None, "has times too far from 1970 for microseconds in 64 bits; correct them") from error


def _python_texts(values: Sequence[Any], whole: bool) -> pa.Array:
    kinds = set(map(type, values))
    if kinds - {str, WholeNumber, RealNumber, type(None)}:
        index = next(i for i, value in enumerate(values) if value is not None and not isinstance(value, str))
        shown = {True: "true", False: "false"}.get(values[index]) if isinstance(values[index], bool) else None
        raise BadValue(index, f"{shown or shortened(values[index])} is neither text nor number; give one of both")
    if whole and RealNumber in kinds:
        values = [_whole(i, value) if isinstance(value, RealNumber) else value for i, value in enumerate(values)]
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError as error:
        index = next(i for i, value in enumerate(values) if value and any("\ud800" <= c <= "\udfff" for c in value))
        raise BadValue(
            index, f"{shortened(values[index])} holds half a surrogate pair, which is no character; remove it"
        ) from error


def _whole(index: int, digits: str) -> str:
    if abs(float(digits)) >= EXACT_FLOAT:
        raise BadValue(
            index, f"{shortened(str(digits))} is a float too large to be exact; write an integer, or a text"
        )
    try:
        number = Decimal(digits)
        if number == number.to_integral_value():
            return str(int(number))
    except ArithmeticError:  # an exponent beyond those of Decimal, so a tiny fraction
        pass
    raise BadValue(index, f"{shortened(str(digits))} is no whole number; write an integer, or a text")


def _stored_texts(column: pa.Array, whole: bool) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_floating(kind):
        precision = 2 ** _MANTISSA_BITS[kind]
        column = column.cast(pa.float32()) if kind == pa.float16() else column
        column = pc.if_else(pc.is_nan(column), None, column)
        return _whole_digits(column, precision) if whole else column.cast(pa.string())
    if pa.types.is_decimal(kind):
        digits = column.cast(pa.string())
        if whole and kind.scale > 0:
            return pa.array([text and _whole(i, text) for i, text in enumerate(digits.to_pylist())], pa.string())
        return digits
    if _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    raise BadValue(None, f"has the type {kind}; store it as text or as a number")


def _whole_digits(column: pa.Array, precision: int) -> pa.Array:
    for bad, reason in (
        (
            pc.greater_equal(pc.abs(column), precision),
            "is a float too large to be exact; store the column as integers or text",
        ),
        (pc.not_equal(column, pc.floor(column)), "is no whole number; store the column as integers or as text"),
    ):
        if (index := pc.index(bad, True).as_py()) >= 0:
            raise BadValue(index, f"{column[index].as_py()} {reason}")
    return column.cast(pa.int64()).cast(pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def category_path(value: object) -> list[str]:
    """Extracts the category names from broad to leaf; of several paths, every name once, in the order of the paths.

    Args:
        value: A text such as "Beauty > Bath", a list of names, a list of such lists, or `None` for none.

    Returns:
        `list[str]`: The names; may be empty.

    Raises:
        ValueError: If it is anything else, or a list or object printed as text.

    >>> category_path("Beauty > Bath >  Soaps "), category_path([["Beauty", "Bath"], ["Beauty", "", "Spa"]])
    (['Beauty', 'Bath', 'Soaps'], ['Beauty', 'Bath', 'Spa'])
    """
    example = repr(f"Beauty{CATEGORY_SEPARATOR}Bath")
    if value is None or isinstance(value, float) and math.isnan(value):
        return []
    if isinstance(value, str) and not isinstance(value, WholeNumber | RealNumber):
        if value.strip().startswith(("[", "{")):
            raise ValueError(
                f"{shortened(value)} is a printed list or object; write it as {example}, or give the table as Parquet "
                f"or JSON lines"
            )
        value = value.split(CATEGORY_SEPARATOR)
    if not isinstance(value, list):
        raise ValueError(f"{shortened(value)} is neither a list of texts nor a text like {example}")
    several = any(isinstance(entry, list) for entry in value)
    if several:
        value = [name for entry in value for name in (entry if isinstance(entry, list) else [entry])]
    for name in value:
        if name is not None and type(name) is not str:
            raise ValueError(
                f"{shortened(value)} holds {shortened(name)}; give lists of texts, or texts like {example}"
            )
    names = [name.strip() for name in value if name and name.strip()]
    return list(dict.fromkeys(names)) if several else names


def categories(values: Sequence[Any] | pa.Array) -> pa.Array:
    """Converts a column to category paths.

    Args:
        values (`Sequence` or `pa.Array`): A column of [`Batch`].

    Returns:
        `pa.Array`: Lists of strings; empty for none.

    Raises:
        BadValue: As [`category_path`]; if a name is no valid text.
    """
    if isinstance(values, pa.Array):
        _refuse_other_than_lists(values.type)
        values = values.to_pylist()
    paths = []
    for index, value in enumerate(values):
        try:
            paths.append(category_path(value))
        except ValueError as error:
            raise BadValue(index, str(error)) from error
    for index, path in enumerate(paths):
        try:
            texts(path)
        except BadValue as error:
            raise BadValue(index, str(error)) from error
    return pa.array(paths, pa.list_(pa.string()))


def _refuse_other_than_lists(kind: pa.DataType) -> None:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    for _ in range(2):
        if pa.types.is_list(inner) or pa.types.is_large_list(inner) or pa.types.is_fixed_size_list(inner):
            inner = inner.value_type
    inner = inner.value_type if pa.types.is_dictionary(inner) else inner
    if not (_is_text(inner) or pa.types.is_null(inner) or pa.types.is_floating(kind)):
        raise BadValue(
            None,
            f"has the type {kind}; give lists of texts, or texts like {f'Beauty{CATEGORY_SEPARATOR}Bath'!r}",
        )


def read_price(value: object) -> float | None:
    """Converts a price as shops write it to a number; `None` for anything but a single amount from 0 to infinity.

    A point or comma that can be read in one way only is read so. Three digits after a single comma are thousands, and
    a single point is a decimal point; [`other_price`] reads these in the other way.

    Args:
        value: A number, or a text with or without one of the signs $, €, £ and ¥.

    Returns:
        `float`, *optional*: The amount, without its currency.

    >>> read_price("$1,012.99"), read_price("12,50"), read_price("1.234,00"), read_price("1 234,5 €"), read_price(9)
    (1012.99, 12.5, 1234.0, 1234.5, 9.0)
    >>> read_price("1,234"), read_price("1.234"), read_price("0,125"), read_price("1.234.567")
    (1234.0, 1.234, 0.125, 1234567.0)
    >>> read_price("5 - 9"), read_price("-5"), read_price("1,2,3"), read_price("9" * 401), read_price(float("nan"))
    (None, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    text = _amount_text(value) if isinstance(value, str) else str(value)
    if _COMMAS_GROUP.fullmatch(text):
        text = text.replace(",", "")
    elif _POINTS_GROUP.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    elif _BLANKS_GROUP.fullmatch(text):
        text = re.sub(r"[ \u00a0\u202f'’]", "", text).replace(",", ".")
    elif _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    elif not _PLAIN.fullmatch(text):
        return None
    amount = float(text)
    return amount if math.isfinite(amount) else None


def other_price(value: object) -> float | None:
    """The other amount of a price in a text whose separator may be a decimal or a thousands separator.

    Returns:
        `float`, *optional*: The amount if the column has decimal commas; `None` for a price that is not ambiguous.

    >>> other_price("$1,234"), other_price("1.234"), other_price("1.23"), other_price(1.234)
    (1.234, 1234.0, None, None)
    """
    if not isinstance(value, str) or isinstance(value, RealNumber):
        return None
    text = _amount_text(value)
    return float(text.replace(".", "").replace(",", ".")) if _LONE_GROUP.fullmatch(text) else None


def decimal_separator(value: object) -> str | None:
    """The decimal separator that a price in a text shows for certain, by itself or by the separator of thousands.

    >>> [decimal_separator(text) for text in ("12,50", "1.234,00", "1.234.567", "1,234.5", "0.125", "1 234,5")]
    [',', ',', ',', '.', '.', ',']
    >>> [decimal_separator(text) for text in ("1,234", "1.234", "12", "1 234", "ask us")]
    [None, None, None, None, None]
    """
    if not isinstance(value, str) or isinstance(value, RealNumber) or read_price(value) is None:
        return None
    text = _amount_text(value)
    last = re.search(r"[.,](?=[^.,]*$)", text)
    if last is None or _LONE_GROUP.fullmatch(text):
        return None
    if text.count(last[0]) > 1:  # it groups thousands
        return "," if last[0] == "." else "."
    return last[0]


def _amount_text(text: str) -> str:
    text = re.sub(rf"^\s*{_CURRENCY}\s*|\s*$", "", str(text))
    return re.sub(r"\s*[$€£¥]$", "", text)


def prices(values: Sequence[Any] | pa.Array) -> list[Any]:
    """Converts a column to Python values that [`read_price`] takes.

    Args:
        values (`Sequence` or `pa.Array`): A column of [`Batch`].

    Returns:
        `list`: Texts, numbers, other values, and `None` for a missing one.
    """
    stored: Sequence[Any] = values
    if isinstance(values, pa.Array):
        if pa.types.is_nested(values.type) or pa.types.is_temporal(values.type):
            stored = [True if valid else None for valid in values.is_valid().to_pylist()]  # present, and no price
        elif values.type in (pa.float16(), pa.float32()):
            # 3.1 in 32 bits is the text 3.1, but the number 3.0999999 in 64.
            stored = [digits and RealNumber(digits) for digits in texts(values).to_pylist()]
        else:
            stored = values.to_pylist()
    return [None if _is_missing(value) else value for value in stored]


def _is_missing(value: object) -> bool:
    return value is None or isinstance(value, str) and not value.strip() or isinstance(value, float) and value != value
