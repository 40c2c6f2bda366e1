"""Options of commands: fields with default, help text and range, their check, and the format of `--help`."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # among them bytes of a command line that are not UTF-8
MAX_WHOLE = 2**32 - 1  # the largest seed of NumPy; far above any size that fits into memory

MAX_NUMBER = 1e30  # products of a few such numbers with weights may overflow float32, which training reports


def option(
    default: Any,
    text: str,
    *,
    least: float | None = None,
    above: float | None = None,
    is_share: bool = False,
    choices: Sequence[str] = (),
) -> Any:
    """Makes a field of a dataclass of arguments.

    Args:
        default: Default value; a list is copied for each instance, `MISSING` makes the argument required.
        text (`str`): Help text.
        least, above (`float`, *optional*): Inclusive and exclusive lower bounds.
        is_share (`bool`): Whether the value must be in `[0, 1)`.
        choices (`Sequence[str]`): Allowed values, if they are few.
    """
    metadata = {"help": text, "least": least, "above": above, "is_share": is_share, "choices": tuple(choices)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_value(one: dataclasses.Field, value: Any) -> None:
    """Refuses a value outside the range of its field.

    Args:
        one (`Field`): Field made by [`option`].
        value: Value to check.

    Raises:
        ValueError: If it is out of range; the message names argument, value and range.
    """
    limits = one.metadata
    for text in [value] if isinstance(value, str) else value if isinstance(value, list) else ():
        if not text.strip() or _UNWRITABLE.search(text):
            raise ValueError(f"{one.name} ({text!r}) must be a text, not empty and without control characters.")
    if isinstance(value, int) and value > MAX_WHOLE:
        raise ValueError(f"{one.name} ({_shown(value)}) must be at most {MAX_WHOLE}.")
    if isinstance(value, float) and not abs(value) <= MAX_NUMBER:
        raise ValueError(f"{one.name} ({value}) must be a finite number of at most {MAX_NUMBER:g}.")
    if value is None:
        return
    if limits["least"] is not None and value < limits["least"]:
        must = "not be negative" if limits["least"] == 0 else f"be at least {limits['least']}"
        raise ValueError(f"{one.name} ({value}) must {must}.")
    if limits["above"] is not None and not value > limits["above"]:
        raise ValueError(f"{one.name} ({value}) must be positive.")
    if limits["is_share"] and not 0 <= value < 1:
        raise ValueError(f"{one.name} ({value}) must be in [0, 1).")
    if limits["choices"] and value not in limits["choices"]:
        raise ValueError(f"{one.name} ({value!r}) must be one of {', '.join(limits['choices'])}.")


def _shown(value: int) -> str:
    return str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
