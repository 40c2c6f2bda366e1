"""Polarity by star ratings, and by the lexicon VADER where the stars decide nothing."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ...benchmark.negation import NEGATIVE, NEUTRAL, POSITIVE
from ..stage_cache import digest_of
from .agreement import MIN_CALIBRATION, agreement, fit_threshold, held_out_agreement, shares
from .classifier import PolarityClassifier, decisive_texts, polarity_of_stars, stars_of, texts_of, version_of

OFFLINE_POLARITY = "rating_vader"
DEFAULT_THRESHOLD = 0.2
"""Threshold of a negative three-star text where a domain cannot be calibrated: the balanced accuracy is largest
between 0.15 and 0.28 on Digital Music (2014) and on Gift Cards (2018) alike (`scripts/measure_polarity.py`)."""
UNRATED_THRESHOLD = -0.05
"""Threshold of a negative text without stars. Only one such review in twenty is negative, so the threshold is
stricter: near the best F1 of the negative class on both domains, at a precision of one in four."""
MAX_CALIBRATION = 2000
"""Maximum of texts of each class that are scored for the calibration, evenly spaced."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class RatingVader(PolarityClassifier):
    """Classifies by star rating, and by the lexicon VADER where the rating is indecisive; without model or network.

    At most two stars are negative, four or more positive. Three stars: the text's score ([`vader_scores`]) against a
    threshold that is calibrated on the texts of this call whose stars are decisive, or [`DEFAULT_THRESHOLD`] where
    either class has fewer than [`MIN_CALIBRATION`]. No stars: [`UNRATED_THRESHOLD`]. A text without a word of the
    lexicon, or no text at all, stays unknown; there is no other neutral band, as in the paper's classifier.

    Args:
        progress (`bool`): Whether to show a progress bar.
    """

    name = OFFLINE_POLARITY
    description = (
        "The star rating decides: at most two stars are a dislike, four or more are not. Where it is three stars or "
        "missing, the lexicon VADER reads the review's text (mean over its sentences). A lexicon misses irony and "
        "polite complaints; the paper classifies every review with a RoBERTa model."
    )

    def __init__(self, progress: bool = False) -> None:
        self.measured = {}
        self._progress = progress

    def fingerprint(self) -> str:
        """See [`PolarityClassifier.fingerprint`]; it covers the lexicon's version."""
        return digest_of({"name": self.name, "vaderSentiment": version_of("vaderSentiment")})

    def classify(self, ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
        """See [`PolarityClassifier.classify`]."""
        stars, texts = stars_of(ratings, reviews), texts_of(reviews)
        polarity = polarity_of_stars(stars)
        written = np.fromiter(map(bool, texts), bool, len(texts))
        rows = np.flatnonzero((polarity == NEUTRAL) & written)
        figures: dict[str, Any] = {}
        if len(rows):
            threshold, figures = self._threshold(polarity, texts)
            scores = vader_scores([texts[row] for row in rows], self._progress)
            negative = scores < np.where(np.isnan(stars[rows]), UNRATED_THRESHOLD, threshold)
            polarity[rows] = np.select([np.isnan(scores), negative], [NEUTRAL, NEGATIVE], POSITIVE)
        by_text = np.zeros(len(texts), bool)
        by_text[rows] = True
        self.measured = shares(polarity, by_text) | figures
        return polarity

    def _threshold(self, polarity: np.ndarray, texts: Sequence[str]) -> tuple[float, dict[str, Any]]:
        """Threshold of three-star texts, and its agreement on the texts whose stars are decisive."""
        disliked, liked = (
            vader_scores(_evenly(decisive_texts(polarity, texts, label)), self._progress)
            for label in (NEGATIVE, POSITIVE)
        )
        calibrated = bool(min(np.count_nonzero(~np.isnan(s)) for s in (disliked, liked)) >= MIN_CALIBRATION)
        if calibrated:
            threshold, figures = fit_threshold(disliked, liked), held_out_agreement(disliked, liked)
        else:
            threshold, figures = DEFAULT_THRESHOLD, agreement(disliked, liked, DEFAULT_THRESHOLD)
        return threshold, {"threshold": round(threshold, 4), "calibrated": calibrated, **figures}


def vader_scores(texts: Sequence[str], progress: bool = False) -> np.ndarray:
    """VADER's compound score, mean over the sentences; that of a whole long review would saturate at +1 or -1.

    Args:
        texts (`Sequence[str]`): May repeat; each distinct one is scored once.
        progress (`bool`): Whether to show a progress bar.

    Returns:
        `np.ndarray`: float64 `(num_texts,)` in [-1, 1]; NaN where the text has no word of the lexicon.

    Raises:
        ImportError: If vaderSentiment is not installed.

    >>> vader_scores(["I love it. It came in a box.", "A soap."]).round(2).tolist()
    [0.32, nan]
    """
    if not len(texts):
        return np.zeros(0)
    analyzer = vader_analyzer()
    score_of: dict[str, float] = {}
    distinct = dict.fromkeys(texts)
    for text in tqdm(distinct, desc="Scoring reviews", disable=not progress):
        parts = (part for part in _SENTENCE_END.split(text) if part.strip())
        compounds = [analyzer.polarity_scores(part)["compound"] for part in parts]
        score_of[text] = float(np.mean(compounds)) if any(compounds) else np.nan
    return np.array([score_of[text] for text in texts])


def _evenly(texts: Sequence[str]) -> list[str]:
    places = np.linspace(0, len(texts) - 1, min(len(texts), MAX_CALIBRATION)).round().astype(int)
    return [texts[place] for place in places]


@cache
def vader_analyzer() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise ImportError(
            "A review without a decisive star rating needs the lexicon VADER: pip install vaderSentiment."
        ) from error
    return SentimentIntensityAnalyzer()
