"""Polarity of reviews and of preferences, and the inversion of a negative preference (section 3.2, appendix D.1).

Knows single ratings, texts and sentences. Leaves the pairing of negative preferences with items to
`axes/sentiment.py`. The paper classifies reviews with a RoBERTa model; here the star rating decides, and the lexicon
VADER only where the rating says nothing (it overlooks polite complaints). `vaderSentiment` is imported at the first
review that needs it.
"""

import re
from functools import cache
from typing import Any

POSITIVE, NEUTRAL, NEGATIVE = 1, 0, -1
"""Polarities; `NEUTRAL` also stands for unknown where arrays are needed."""
MAX_NEGATIVE_RATING = 2
MIN_POSITIVE_RATING = 4
VADER_NEGATIVE, VADER_POSITIVE = -0.05, 0.05
"""The compound scores below and above which VADER's authors call a text negative or positive."""

# The word, not its letters: "Nourishing", "Note" and "No-rinse" do not begin with it (PAPER: "starting with either").
_LEADING_NEGATIVE = re.compile(r"(\s*)(avoid|exclude|no)(?![\w'’-])", re.IGNORECASE)


@cache
def _vader() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise ImportError(
            "A review without a decisive star rating needs the lexicon VADER: pip install vaderSentiment."
        ) from error
    return SentimentIntensityAnalyzer()


def review_polarity(rating: float | None, review: str | None) -> int | None:
    """Polarity of one review.

    Args:
        rating (`float`, *optional*): Stars, 1 to 5. At most 2 is negative, at least 4 positive.
        review (`str`, *optional*): Its text, read by VADER where the rating is 3 or missing.

    Returns:
        `int` or `None`: 1 positive, -1 negative, `None` where neither rating nor text tells.

    >>> review_polarity(1.0, "great"), review_polarity(5.0, None), review_polarity(None, "  ")
    (-1, 1, None)
    """
    if rating is not None and rating == rating:
        if rating <= MAX_NEGATIVE_RATING:
            return NEGATIVE
        if rating >= MIN_POSITIVE_RATING:
            return POSITIVE
    if not review or not review.strip():
        return None
    compound = _vader().polarity_scores(review)["compound"]
    if compound <= VADER_NEGATIVE:
        return NEGATIVE
    return POSITIVE if compound >= VADER_POSITIVE else None


def is_negative_preference(preference: str) -> bool:
    """Whether a preference begins with the word Avoid, Exclude or No (appendix D.1).

    >>> [is_negative_preference(p) for p in ("Avoid parabens", "no glitter", "Nourishing oils", "No-rinse soap")]
    [True, True, False, False]
    """
    return _LEADING_NEGATIVE.match(preference) is not None


def invert(preference: str, replacement: str = "Find") -> str:
    """Turns a negative preference into its positive twin: only the leading word changes (appendix D.1).

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
