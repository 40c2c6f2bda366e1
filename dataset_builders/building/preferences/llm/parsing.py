"""Parse a model's reply into five preferences, or a named reason of failure.

Nothing is repaired: a reply is read by `json.loads` or it is a failure, because a repair would put words into the
benchmark that no model wrote, and would hide how often a model fails.

The form: white space, then one JSON object with the single key that was asked for, then white space. Its value is an
array of distinct strings, each of at least two words and at most `MAX_CHARACTERS` characters; five of them for
preferences, one to ten (single words allowed) for properties. White space around a string is dropped, nothing else.
The parts of a sentence have two keys, whose arrays may be empty and hold single words.

What form cannot tell: a reply that obeys an instruction hidden in a review is five strings like any other. The prompt
keeps data and instructions apart; what a model then writes must be judged by reading. So with languages: a set written
mostly in another script is refused (`not_latin`), since polarity rests on the English words Avoid, Exclude and No
(appendix D.1) and would silently be positive; another language in Latin script passes, and shows in the report as a
share of negative preferences near zero.
"""

import json
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any, Literal, NoReturn, get_args

from ....benchmark.schema import NUM_PREFERENCES
from ..approximation import FivePreferences
from .prompts import ANSWER_KEYS, MAX_PROPERTIES, PREFERENCES, PROPERTIES

MAX_CHARACTERS = 300
"""Of one string; the prompt asks for fifteen words."""
MAX_REPLY_CHARACTERS = 20_000
"""Of a whole reply, several times what 512 new tokens can hold."""

Reason = Literal[
    "empty",  # nothing but white space
    "reply_too_long",  # more than MAX_REPLY_CHARACTERS
    "code_fence",  # begins with ```
    "not_json",  # prose: what begins with neither { nor [ and is no JSON value
    "single_quotes",  # a Python literal rather than JSON
    "truncated",  # ends in the middle of the JSON value
    "trailing_text",  # something follows the JSON value
    "invalid_json",  # any other break of the syntax
    "control_character",  # raw or escaped: a line break, a tab, half of a surrogate pair ...
    "duplicate_key",  # the same key twice: which one counts?
    "not_finite",  # NaN or Infinity, which JSON does not have
    "not_object",  # an array, a string, a number or null at the top
    "missing_key",  # an object without the key
    "unknown_key",  # an object with further keys
    "not_array",  # the key's value is no array
    "nested_entry",  # an array or an object among the entries
    "null_entry",  # null among the entries
    "not_string",  # a number or a truth value among the entries
    "blank_entry",  # nothing but white space
    "one_word",  # a single word, which is no instruction
    "entry_too_long",  # more than MAX_CHARACTERS
    "not_latin",  # most letters of the set are of another script
    "too_few",
    "too_many",
    "duplicate_entry",  # equal but for case
]
REASONS: tuple[str, ...] = get_args(Reason)
WithoutReply = Literal[
    "refusal",  # the server or the model gives no reply, and says so in a field of its own
    "tool_call",  # a call of a tool, though none was offered
    "reasoning_cut",  # the limit of new tokens is reached, and there is no reply
    "reasoning_only",  # reasoning that ended, and no reply
]
OfChoices = Literal["unknown_choice"]  # a value that is none of those to choose from


class ParseFailure(ValueError):
    """A reply that does not have the form asked for.

    Attributes:
        reason (`str`): One of [`REASONS`], of those of a choice, or of a message that has no text, see `replies.py`.
        reply (`str`): The whole reply; the reasoning or the refusal where there is none.
    """

    def __init__(self, reason: Reason | WithoutReply | OfChoices, reply: str) -> None:
        super().__init__(f"{reason}: {reply[:200]!r}")
        self.reason, self.reply = reason, reply


def parse_preferences(reply: str) -> FivePreferences:
    """Reads a reply that should hold five preferences.

    Args:
        reply (`str`): What the model wrote.

    Returns:
        `tuple[str, str, str, str, str]`: Distinct, in the model's order.

    Raises:
        ParseFailure: With the first reason, in the order of [`Reason`], that applies.

    >>> parse_preferences('{"instructions": ["Look for a", "Avoid b", "Prefer c", "Find d", "No e"]}')
    ('Look for a', 'Avoid b', 'Prefer c', 'Find d', 'No e')
    >>> parse_preferences('Here they are: ["Look for a"]')
    Traceback (most recent call last):
        ...
    dataset_builders.building.preferences.llm.parsing.ParseFailure: not_json: 'Here they are: ["Look for a"]'
    """
    entries = _entries(reply, ANSWER_KEYS[PREFERENCES])
    _check_strings(entries, reply, min_words=2)
    _check_count(entries, reply, NUM_PREFERENCES, NUM_PREFERENCES)
    first, second, third, fourth, fifth = entries
    return first, second, third, fourth, fifth


def parse_properties(reply: str) -> tuple[str, ...]:
    """Reads a reply that should hold one to ten item properties (appendix C.1); a property may be a single word.

    Args:
        reply (`str`): What the model wrote.

    Returns:
        `tuple[str, ...]`: Distinct, in the model's order.

    Raises:
        ParseFailure: With the first reason, in the order of [`Reason`], that applies.

    >>> parse_properties('{"properties": ["inflatable", "frog design"]}')
    ('inflatable', 'frog design')
    """
    entries = _entries(reply, ANSWER_KEYS[PROPERTIES])
    _check_strings(entries, reply, min_words=1)
    _check_count(entries, reply, 1, MAX_PROPERTIES)
    return tuple(entries)


def parse_parts(reply: str, keys: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Reads a reply that should hold the parts of a sentence: an array of texts under each of some keys.

    Args:
        reply (`str`): What the model wrote.
        keys (`Sequence[str]`): Of the JSON object.
        most (`int`): Texts of one array at most.

    Returns:
        `list[tuple[str, ...]]`: One per key, in the order of `keys`; no text stands in two of them.

    Raises:
        ParseFailure: With the first reason, in the order of [`Reason`], that applies.

    >>> parse_parts('{"wanted": ["walnut lamp"], "avoided": []}', ("wanted", "avoided"), most=12)
    [('walnut lamp',), ()]
    """
    arrays = _arrays(reply, keys)
    together = [entry for entries in arrays for entry in entries]
    _check_strings(together, reply, min_words=1)
    for entries in arrays:
        _check_count(entries, reply, 0, most)
    _check_count(together, reply, 0, most * len(keys))
    return [tuple(entries) for entries in arrays]


def parse_choices(reply: str, keys: Sequence[str], choices: Collection[str]) -> tuple[str, ...]:
    """Reads a reply that should hold one of some choices under each key.

    Args:
        reply (`str`): What the model wrote.
        keys (`Sequence[str]`): Of the JSON object.
        choices (`Collection[str]`): Values to choose from.

    Returns:
        `tuple[str, ...]`: One choice per key, in the order of `keys`.

    Raises:
        ParseFailure: With the first reason that applies, in the order of [`Reason`], or `unknown_choice`.

    >>> parse_choices('{"accurate": "no", "informed": "yes"}', ("informed", "accurate"), ("yes", "no"))
    ('yes', 'no')
    """
    value = _object(reply, keys)
    if not all(isinstance(value[key], str) for key in keys):
        raise ParseFailure("not_string", reply)
    if not all(value[key] in choices for key in keys):
        raise ParseFailure("unknown_choice", reply)
    return tuple(value[key] for key in keys)


def _entries(reply: str, key: str) -> list[str]:
    """The stripped strings under the only key of the reply's JSON object."""
    return _arrays(reply, (key,))[0]


def _arrays(reply: str, keys: Sequence[str]) -> list[list[str]]:
    """The stripped strings under each of the keys of the reply's JSON object, which has no others."""
    value = _object(reply, keys)
    return [_stripped(value[key], reply) for key in keys]


def _object(reply: str, keys: Sequence[str]) -> dict[str, Any]:
    """The reply's JSON object, which has the keys and no others."""
    value = _json_value(reply)
    if not isinstance(value, dict):
        raise ParseFailure("not_object", reply)
    if any(key not in value for key in keys):
        raise ParseFailure("missing_key", reply)
    if len(value) > len(keys):
        raise ParseFailure("unknown_key", reply)
    return value


def _stripped(entries: Any, reply: str) -> list[str]:
    if not isinstance(entries, list):
        raise ParseFailure("not_array", reply)
    if any(isinstance(entry, list | dict) for entry in entries):
        raise ParseFailure("nested_entry", reply)
    if any(entry is None for entry in entries):
        raise ParseFailure("null_entry", reply)
    if not all(isinstance(entry, str) for entry in entries):
        raise ParseFailure("not_string", reply)
    return [entry.strip() for entry in entries]


def _json_value(reply: str) -> Any:
    text = reply.strip()
    if not text:
        raise ParseFailure("empty", reply)
    if len(text) > MAX_REPLY_CHARACTERS:
        raise ParseFailure("reply_too_long", reply)
    if text.startswith("```"):
        raise ParseFailure("code_fence", reply)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ParseFailure("duplicate_key", reply)
        return dict(pairs)

    def not_finite(_: str) -> NoReturn:
        raise ParseFailure("not_finite", reply)

    try:
        # Numbers are refused later on, so any type will do: int() would raise on thousands of digits.
        return json.loads(text, object_pairs_hook=unique, parse_constant=not_finite, parse_int=float)
    except json.JSONDecodeError as error:
        raise ParseFailure(_syntax_reason(text, error), reply) from error
    except RecursionError as error:
        raise ParseFailure("invalid_json", reply) from error


def _syntax_reason(text: str, error: json.JSONDecodeError) -> Reason:
    if text[0] not in "{[":
        return "not_json"
    if error.msg.startswith("Extra data"):
        return "trailing_text"
    if error.msg.startswith("Invalid control character"):
        return "control_character"
    if error.pos < len(text) and text[error.pos] == "'":
        return "single_quotes"
    if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
        return "truncated"
    return "invalid_json"


def _check_strings(entries: Sequence[str], reply: str, min_words: int) -> None:
    if any(is_control(character) for entry in entries for character in entry):
        raise ParseFailure("control_character", reply)
    if not all(entries):
        raise ParseFailure("blank_entry", reply)
    if any(len(entry.split()) < min_words for entry in entries):
        # A script that puts no space between words is named for what it is.
        raise ParseFailure("one_word" if _is_latin(entries) else "not_latin", reply)
    if any(len(entry) > MAX_CHARACTERS for entry in entries):
        raise ParseFailure("entry_too_long", reply)
    if not _is_latin(entries):
        raise ParseFailure("not_latin", reply)


def _check_count(entries: Sequence[str], reply: str, fewest: int, most: int) -> None:
    if len(entries) < fewest:
        raise ParseFailure("too_few", reply)
    if len(entries) > most:
        raise ParseFailure("too_many", reply)
    if len({entry.casefold() for entry in entries}) < len(entries):
        raise ParseFailure("duplicate_entry", reply)


def is_control(character: str) -> bool:
    """Control characters, halves of surrogate pairs, and the separators that other readers take for line breaks."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _is_latin(entries: Sequence[str]) -> bool:
    """Whether at least half of the letters are Latin."""
    letters = [character for entry in entries for character in entry if character.isalpha()]
    latin = sum(unicodedata.name(character, "").startswith("LATIN") for character in letters)
    return 2 * latin >= len(letters)
