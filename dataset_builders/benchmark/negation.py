"""Polarity of preferences, and the inversion of a negative preference (section 3.2, appendix D.1)."""

import re
from collections.abc import Iterable

POSITIVE, NEUTRAL, NEGATIVE = 1, 0, -1
"""Polarities; `NEUTRAL` also stands for unknown where arrays are needed."""

# The word, not its letters: "Nourishing", "Note" and "No-rinse" do not begin with it (PAPER: "starting with either").
_LEADING_NEGATIVE = re.compile(r"(\s*)(avoid|exclude|no)(?![\w'’-])", re.IGNORECASE)


def is_negative_preference(preference: str) -> bool:
    """Whether a preference begins with the word Avoid, Exclude or No (appendix D.1).

    >>> [is_negative_preference(p) for p in ("Avoid parabens", "no glitter", "Nourishing oils", "No-rinse soap")]
    [True, True, False, False]
    """
    return _LEADING_NEGATIVE.match(preference) is not None


def invert(preference: str, replacement: str = "Find") -> str:
    """Inverts a negative preference; only the leading word changes (appendix D.1).

    Args:
        preference (`str`): Begins with Avoid, Exclude or No.
        replacement (`str`): `"Find"` or `"Search for"`.

    Returns:
        `str`: The same sentence, the case of the rest kept.

    Raises:
        ValueError: If the preference is not negative.

    >>> invert("Avoid OPI polish that says No"), invert("no parabens", "Search for")
    ('Find OPI polish that says No', 'Search for parabens')
    """
    if not is_negative_preference(preference):
        raise ValueError(f"{preference!r} cannot be inverted: it does not begin with Avoid, Exclude or No.")
    return _LEADING_NEGATIVE.sub(rf"\g<1>{replacement}", preference, count=1)


def num_negative(preferences: Iterable[str]) -> int:
    """Number of negative preferences.

    >>> num_negative(["Avoid parabens", "Rose soap"])
    1
    """
    return sum(map(is_negative_preference, preferences))
