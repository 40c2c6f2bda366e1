"""JSON and YAML of foreign origin, parsed within limits of size and depth, without aliases, repeated keys or NaN.

A copy of `dataset_builders/bounded_parsing.py`, which this package does not import.
"""

import json
import math
import re
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 10_000_000
MAX_YAML_BYTES = 300_000
"""With `MAX_YAML_NODES`, about a second of parsing."""
MAX_YAML_NODES = 20_000
"""Keys, values and entries of lists."""
MAX_NUMBER = 300
"""Characters of a number in YAML; shorter ones are converted in no time and fit into a float."""
MAX_DEPTH = 50
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 120  # characters of a text in a message
_INTEGER_TAG, _FLOAT_TAG = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_LARGEST_KEY = 2**60  # beyond it, many integers have one hash
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9_]*)\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class UnreadableFile(ValueError):
    """Error of a foreign text that exceeds a limit or is no valid JSON or YAML."""


def read_bounded(path: str | Path, max_bytes: int = MAX_BYTES) -> str:
    """Reads a text file of a limited size.

    Args:
        path (`str` or `Path`): A file in UTF-8, with or without a byte order mark.
        max_bytes (`int`): Largest size.

    Raises:
        FileNotFoundError: If there is no such regular file.
        UnreadableFile: If it is larger or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; check the path.")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UnreadableFile(f"{path} has more than {max_bytes:,} bytes, the limit for such a file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); write it again.") from None


def parse_json(text: str | bytes, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Parses JSON strictly.

    Args:
        text (`str` or `bytes`): JSON.
        max_bytes (`int`): Largest length, in characters of a text.
        max_depth (`int`): Largest number of arrays and objects within each other.

    Raises:
        UnreadableFile: If it exceeds a limit, is no JSON, repeats a key, or holds NaN, an infinity, or half a
            surrogate pair.

    >>> parse_json('{"k": [5, 10]}')
    {'k': [5, 10]}
    >>> parse_json('{"k": 5, "k": 10}')
    Traceback (most recent call last):
    modeling_mender.bounded_parsing.UnreadableFile: the key 'k' is set twice
    """
    _check_length(text, max_bytes)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnreadableFile:
        raise
    except RecursionError:
        raise _too_deep(max_depth) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"no JSON: {shortened(str(error))}") from None
    except ValueError:  # of Python's own limit
        raise UnreadableFile(
            f"no JSON that is read here: a whole number has more than {sys.get_int_max_str_digits():,} digits"
        ) from None
    return _checked(value, max_depth)


def parse_yaml(text: str, max_bytes: int = MAX_YAML_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Parses YAML to plain values; anchors and aliases, by which a few bytes expand to gigabytes, are refused.

    Numbers are decimal: what YAML 1.1 reads as octal, hexadecimal, binary or to the base of 60 stays text, as `3e-4`
    does.

    Args:
        text (`str`): YAML.
        max_bytes, max_depth (`int`): As in [`parse_json`].

    Raises:
        UnreadableFile: If it exceeds a limit, is no YAML, has an alias, or repeats a key.

    >>> parse_yaml("k: [5, 10, 0.5, 010, 1:30]")
    {'k': [5, 10, 0.5, '010', '1:30']}
    """
    _check_length(text, max_bytes)
    loader = None
    try:
        loader = _StrictLoader(text, max_depth)
        return _checked(loader.get_single_data(), max_depth)
    except yaml.YAMLError as error:
        raise UnreadableFile(f"no YAML: {shortened(' '.join(str(error).split()))}") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except UnreadableFile:
        raise
    except (ValueError, TypeError, OverflowError, AttributeError) as error:  # an impossible date, a list as a key
        raise UnreadableFile(f"no YAML: {shortened(str(error))}") from None
    finally:
        if loader is not None:
            loader.dispose()


def exact_float(text: str) -> float:
    """Converts a decimal number to the float that is printed with the same digits.

    Args:
        text (`str`): A number as `float` reads it; what exceeds all floats becomes an infinity.

    Raises:
        ValueError: If it is no number.
        UnreadableFile: If the float is another number: 0 for one too small, or rounded.

    >>> exact_float("3e-4"), exact_float("0.10"), exact_float("1e999")
    (0.0003, 0.1, inf)
    >>> exact_float("1e-400")
    Traceback (most recent call last):
    modeling_mender.bounded_parsing.UnreadableFile: '1e-400' cannot be stored exactly, the nearest number is 0.0; write that
    """  # noqa: E501 (the message)
    value = float(text)
    if not math.isfinite(value):
        return value
    try:
        same = Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent beyond those of Decimal
        same = False
    if not same:
        raise UnreadableFile(
            f"{shortened(text)!r} cannot be stored exactly, the nearest number is {value!r}; write that"
        )
    return value


class _StrictLoader(yaml.SafeLoader):
    """Loader that refuses aliases and repeated keys, and nesting and too many nodes before they are composed."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in (_INTEGER_TAG, _FLOAT_TAG)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = dict(yaml.SafeLoader.yaml_constructors)

    def __init__(self, text: str, max_depth: int) -> None:
        super().__init__(text)
        self.num_nodes, self.depth, self.max_depth = 0, 0, max_depth

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise UnreadableFile("no YAML that is read here: it has an alias (*name); write the value out")
        self.num_nodes += 1
        if self.num_nodes > MAX_YAML_NODES:
            raise UnreadableFile(f"it has more than {MAX_YAML_NODES:,} keys and values, the limit for such a file")
        self.depth += 1
        if self.depth > self.max_depth + 1:
            raise _too_deep(self.max_depth)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if isinstance(key, int) and abs(key) >= _LARGEST_KEY:
                raise UnreadableFile(f"the key {shortened(repr(key))} is too large a number for a key; quote it")
        _unique([(key, None) for key in keys])
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Converts a decimal number, also of a node that is tagged as one."""
        text = str(self.construct_scalar(node))
        if len(text) > MAX_NUMBER:
            raise UnreadableFile(f"no YAML: a number has {len(text):,} characters, and the limit is {MAX_NUMBER}")
        kind, pattern = (int, _INTEGER) if node.tag == _INTEGER_TAG else (float, _FLOAT)
        if not pattern.fullmatch(text) and not (kind is float and _INTEGER.fullmatch(text)):
            raise UnreadableFile(f"no YAML: {shortened(repr(text))} is no decimal number")
        return kind(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _pattern, _firsts in ((_FLOAT_TAG, _FLOAT, "-+0123456789."), (_INTEGER_TAG, _INTEGER, "-+0123456789")):
    _StrictLoader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), list(_firsts))
    _StrictLoader.add_constructor(_tag, _StrictLoader.construct_number)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The mapping of pairs, of whose repeated keys both parsers would keep the last."""
    mapping = {}
    for key, value in pairs:
        if key in mapping:
            raise UnreadableFile(f"the key {shortened(repr(key))} is set twice")
        mapping[key] = value
    return mapping


def _checked(value: Any, max_depth: int) -> Any:
    """The value, if it is not too deep and holds no number and no text that JSON and UTF-8 cannot write."""
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, dict | list | tuple | set):
            if depth == max_depth:
                raise _too_deep(max_depth)
            inside = [*one.keys(), *one.values()] if isinstance(one, dict) else one
            waiting.extend((each, depth + 1) for each in inside)
        elif isinstance(one, float) and not math.isfinite(one):
            raise UnreadableFile(f"{one} is no finite number")
        elif isinstance(one, str) and _SURROGATE.search(one):
            raise UnreadableFile(f"the text {shortened(ascii(one))} holds half a surrogate pair")
    return value


def _refuse_constant(name: str) -> None:
    raise UnreadableFile(f"no JSON: {name} is no finite number")


def _check_length(text: str | bytes, max_bytes: int) -> None:
    if len(text) > max_bytes:
        raise UnreadableFile(f"it has more than {max_bytes:,} bytes, the limit for such a file")


def _too_deep(max_depth: int) -> UnreadableFile:
    return UnreadableFile(f"it is nested more than {max_depth} deep, the limit for such a file")


def shortened(text: str, longest: int = _SHOWN) -> str:
    """A text for a message, cut after `longest` characters."""
    return text if len(text) <= longest else text[:longest] + "..."
