"""Agreement of a judgment by text with the stars, and the threshold of a text score."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...benchmark.negation import NEGATIVE, NEUTRAL

MIN_CALIBRATION = 50
"""Minimum of texts of each class for a calibration; with fewer the threshold varies more than it gains."""


def fit_threshold(disliked: np.ndarray, liked: np.ndarray) -> float:
    """Finds the threshold of the largest balanced accuracy (Youden's J), the lowest of equal ones.

    Args:
        disliked, liked (`np.ndarray`): float, scores of texts of either class; NaN is ignored.

    Returns:
        `float`: A text is negative if its score is below it.

    Raises:
        ValueError: If a class is empty.

    >>> fit_threshold(np.array([-0.5, 0.1, 0.9]), np.array([0.3, 0.5, 0.8]))
    0.2
    """
    disliked, liked = disliked[~np.isnan(disliked)], liked[~np.isnan(liked)]
    if not (len(disliked) and len(liked)):
        raise ValueError("A threshold needs scores of both classes; one of them is empty.")
    scores = np.unique(np.r_[disliked, liked])
    # Midpoints of adjacent scores. Below the lowest score nothing is negative, right for an uninformative score.
    candidates = np.r_[scores[0] - 1e-6, (scores[1:] + scores[:-1]) / 2]
    found = np.searchsorted(np.sort(disliked), candidates) / len(disliked)
    wrong = np.searchsorted(np.sort(liked), candidates) / len(liked)
    return float(candidates[np.argmax(found - wrong)])


def agreement(disliked: np.ndarray, liked: np.ndarray, threshold: float) -> dict[str, Any]:
    """Measures the agreement of a classification by text with the stars.

    Args:
        disliked, liked (`np.ndarray`): float, scores of texts with at most two and at least four stars; NaN is a text
            without a score, which is not negative and is excluded from the AUC.
        threshold (`float`): Score below which a text is negative.

    Returns:
        `dict`: `num_disliked`, `num_liked`; `auc`, the probability that a liked text scores higher; `sensitivity`, the
        share of disliked texts classified as negative; `specificity`, the share of liked texts that are not. The last
        three are left out where a class is empty.
    """
    return agreement_of(disliked, liked, disliked < threshold, liked < threshold)


def held_out_agreement(disliked: np.ndarray, liked: np.ndarray) -> dict[str, Any]:
    """Measures [`agreement`] with two-fold cross-validation of the threshold.

    Args:
        disliked, liked (`np.ndarray`): As in [`agreement`]; at least two of each are not NaN.

    Returns:
        `dict`: As [`agreement`].
    """
    known = [np.flatnonzero(~np.isnan(scores)) for scores in (disliked, liked)]
    called = [np.zeros(len(scores), bool) for scores in (disliked, liked)]
    for half in (0, 1):
        threshold = fit_threshold(disliked[known[0][1 - half :: 2]], liked[known[1][1 - half :: 2]])
        for scores, rows, negative in zip((disliked, liked), known, called, strict=True):
            negative[rows[half::2]] = scores[rows[half::2]] < threshold
    return agreement_of(disliked, liked, *called)


def measured_text(measured: Mapping[str, Any]) -> str:
    """Renders the measurements of a classifier as sentences, for the card and for a terminal.

    Args:
        measured (`Mapping`): [`PolarityClassifier.measured`].

    Returns:
        `str`: Two or three sentences.
    """
    parts = [
        f"Stars alone decided {measured['decided_by_rating']:.1%} of {measured['num_actions']:,} actions and the text "
        f"{measured['decided_by_text']:.1%}; {measured['unknown']:.1%} stay unknown. {measured['disliked']:.1%} are "
        "dislikes."
    ]
    if "threshold" in measured:
        origin = (
            "calibrated on this domain's own texts (figures: each half by the threshold of the other)"
            if measured["calibrated"]
            else f"the default, as a class has fewer than {MIN_CALIBRATION} texts to calibrate on"
        )
        parts.append(f"A three-star text counts as a dislike below a score of {measured['threshold']:.3f}, {origin}.")
    if "auc" in measured:
        parts.append(
            f"Held against the stars of {measured['num_disliked']:,} texts with at most two and "
            f"{measured['num_liked']:,} with at least four, the text alone has an AUC of {measured['auc']:.3f}: it "
            f"finds {measured['sensitivity']:.1%} of the dislikes and spares {measured['specificity']:.1%} of the "
            "others."
        )
    return " ".join(parts)


def agreement_of(disliked: np.ndarray, liked: np.ndarray, found: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    figures: dict[str, Any] = {"num_disliked": len(disliked), "num_liked": len(liked)}
    scores = np.r_[disliked, liked]
    is_liked = np.r_[np.zeros(len(disliked), bool), np.ones(len(liked), bool)]
    known = ~np.isnan(scores)
    if not (is_liked[known].any() and (~is_liked)[known].any()):
        return figures
    from sklearn.metrics import roc_auc_score

    return figures | {
        "auc": round(float(roc_auc_score(is_liked[known], scores[known])), 4),
        "sensitivity": round(float(found.mean()), 4),
        "specificity": round(float(1 - wrong.mean()), 4),
    }


def shares(polarity: np.ndarray, by_text: np.ndarray) -> dict[str, Any]:
    """Shares of the actions decided by rating and by text; a text that left its action unknown decided nothing."""
    known = polarity != NEUTRAL
    shares = {
        "decided_by_rating": known & ~by_text,
        "decided_by_text": known & by_text,
        "unknown": ~known,
        "disliked": polarity == NEGATIVE,
    }
    counts = {name: int(np.count_nonzero(mask)) for name, mask in shares.items()}
    return {"num_actions": len(polarity)} | {n: round(count / max(len(polarity), 1), 4) for n, count in counts.items()}
