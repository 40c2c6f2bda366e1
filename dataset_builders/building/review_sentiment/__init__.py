"""Polarity of reviews: liked or disliked purchases, by stars and text (appendix D.1)."""

from .agreement import agreement, fit_threshold, held_out_agreement, measured_text
from .classifier import PolarityClassifier, decisive_texts, polarity_of_stars
from .pipeline_classifier import DEFAULT_POLARITY, PipelineClassifier
from .rating_vader import OFFLINE_POLARITY, RatingVader, vader_scores

__all__ = [
    "DEFAULT_POLARITY",
    "OFFLINE_POLARITY",
    "PipelineClassifier",
    "PolarityClassifier",
    "RatingVader",
    "agreement",
    "decisive_texts",
    "fit_threshold",
    "get_polarity_classifier",
    "held_out_agreement",
    "measured_text",
    "polarity_of_stars",
    "vader_scores",
]


def get_polarity_classifier(
    name_or_model: str = DEFAULT_POLARITY, device: str | None = None, progress: bool = True
) -> PolarityClassifier:
    """Makes a classifier by its name.

    Args:
        name_or_model (`str`): `"rating_vader"`, or the Hub name or checkpoint folder of a text classifier.
        device (`str`, *optional*): Device of the text classifier.
        progress (`bool`): Whether to show a progress bar.

    Returns:
        [`PolarityClassifier`]: No model is loaded before its `classify`.
    """
    if name_or_model == OFFLINE_POLARITY:
        return RatingVader(progress)
    return PipelineClassifier(name_or_model, device, progress=progress)
