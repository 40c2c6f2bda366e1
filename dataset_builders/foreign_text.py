"""Text of strangers: made fit for a terminal, and read as a time to wait."""

import email.utils
import math
import time


def printable(text: str) -> str:
    r"""One line in which whatever a terminal would obey, and not show, is written as an escape.

    Args:
        text (`str`): Of any origin.

    Returns:
        `str`: White space is one space; printable characters of all languages stay.

    >>> printable("red\x1b[31m\n  Nüsse\ud83d")
    'red\\x1b[31m Nüsse\\ud83d'
    """
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def retry_after(value: str) -> float | None:
    """Seconds that the header Retry-After asks to wait.

    Args:
        value (`str`): Of the header: seconds or a date; `""` without it.

    Returns:
        `float` or `None`: At least 0 and finite; `None` for anything else.

    >>> retry_after("20"), retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), retry_after("soon"), retry_after("-1")
    (20.0, 0.0, None, None)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError, TypeError, OSError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
