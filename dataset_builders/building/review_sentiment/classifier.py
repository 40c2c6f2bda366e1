"""Interface of a polarity classifier of reviews (appendix D.1), and the polarity of star ratings."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ...benchmark.negation import NEGATIVE, NEUTRAL, POSITIVE

MAX_NEGATIVE_RATING = 2
MIN_POSITIVE_RATING = 4


class PolarityClassifier(ABC):
    """Classifies actions as liked or disliked.

    Attributes:
        name (`str`): Short name, for cards and reports.
        description (`str`): A sentence or two for the card, limits included.
        measured (`dict`): Measurements of the last [`classify`] as JSON values; see
            [`~dataset_builders.building.review_sentiment.agreement.measured_text`].
    """

    name: str
    description: str
    measured: dict[str, Any]

    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of everything the result depends on beside the reviews and this package's code."""

    @abstractmethod
    def classify(self, ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
        """Classifies every action.

        Args:
            ratings (`Sequence`): Stars, 1 to 5, or `None`, of length num_actions.
            reviews (`Sequence`): Texts, or `None`, of length num_actions.

        Returns:
            `np.ndarray`: int8 `(num_actions,)`: 1 liked, -1 disliked, 0 unknown.

        Raises:
            ValueError: If the lengths differ.
        """


def polarity_of_stars(stars: np.ndarray) -> np.ndarray:
    """Polarity by the stars alone.

    Args:
        stars (`np.ndarray`): float `(num_actions,)`, NaN where missing.

    Returns:
        `np.ndarray`: int8 `(num_actions,)`.

    >>> polarity_of_stars(np.array([1, 2, 3, 4, 5, np.nan])).tolist()
    [-1, -1, 0, 1, 1, 0]
    """
    decided = [stars <= MAX_NEGATIVE_RATING, stars >= MIN_POSITIVE_RATING]
    return np.select(decided, [NEGATIVE, POSITIVE], NEUTRAL).astype(np.int8)


def decisive_texts(polarity: np.ndarray, texts: Sequence[str], label: int) -> list[str]:
    """Distinct texts of one polarity by the stars, in order of occurrence, without empty ones."""
    return list(dict.fromkeys(texts[row] for row in np.flatnonzero(polarity == label).tolist() if texts[row]))


def stars_of(ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
    if len(ratings) != len(reviews):
        raise ValueError(f"There are {len(ratings)} ratings but {len(reviews)} reviews; give one of each per action.")
    return np.array([np.nan if rating is None else rating for rating in ratings], float)


def texts_of(reviews: Iterable[str | None]) -> list[str]:
    return [(review or "").strip() for review in reviews]


def version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
