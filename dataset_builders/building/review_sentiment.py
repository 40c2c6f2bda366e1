"""Polarity of reviews: who liked and who disliked what they bought (appendix D.1).

Knows ratings and review texts, two ways to judge them, and how far a judgement by text agrees with the stars. Leaves
the polarity of preferences to `sentiment.py`, and what follows from a dislike to `axes/sentiment.py`. transformers,
scikit-learn and vaderSentiment are imported at the first review that needs them.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import hf_hub_download
from tqdm.auto import tqdm

from ..benchmark.negation import NEGATIVE, NEUTRAL, POSITIVE
from .stage_cache import digest_of

DEFAULT_POLARITY = "siebert/sentiment-roberta-large-english"
"""The paper's classifier (Hartmann et al., 2023)."""
OFFLINE_POLARITY = "rating_vader"

MAX_NEGATIVE_RATING = 2
MIN_POSITIVE_RATING = 4
MAX_TOKENS = 512
"""What the paper's classifier can read; the rest of a longer review is cut off."""

DEFAULT_THRESHOLD = 0.2
"""Below it a three-star text is negative where a domain cannot be calibrated: the balanced accuracy is largest between
0.15 and 0.28 on Digital Music (2014) and on Gift Cards (2018) alike (`scripts/measure_polarity.py`)."""
UNRATED_THRESHOLD = -0.05
"""The same without any stars. There only one review in twenty is negative, so text must speak more clearly: near the
best F1 of the negative class on both domains, at a precision of one in four."""
MIN_CALIBRATION = 50
"""Texts of each class that a threshold is calibrated on; with fewer it varies more than it gains over the default."""
MAX_CALIBRATION = 2000
"""Texts of each class that are scored for it at most, evenly spaced: the threshold needs no more."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class PolarityClassifier(ABC):
    """Tells liked from disliked.

    Attributes:
        name (`str`): Short name, for cards and reports.
        description (`str`): A sentence or two for the card: what it is, and what it is not.
        measured (`dict`): Figures of the last [`classify`], JSON values; see [`measured_text`].
    """

    name: str
    description: str
    measured: dict[str, Any]

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of everything the answers depend on, except the reviews and this package's code."""

    @abstractmethod
    def classify(self, ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
        """Polarity of every action.

        Args:
            ratings (`Sequence`): Stars, 1 to 5, or `None`, of length num_actions.
            reviews (`Sequence`): Texts, or `None`, of length num_actions.

        Returns:
            `np.ndarray`: int8 `(num_actions,)`: 1 liked, -1 disliked, 0 unknown.

        Raises:
            ValueError: If the lengths differ.
        """


class RatingVader(PolarityClassifier):
    """The star rating, and the lexicon VADER where the rating says nothing: needs no model and no network.

    At most two stars are negative, four or more positive. Three stars: the text's score ([`vader_scores`]) against a
    threshold that is calibrated on the texts of this call whose stars are decisive, or [`DEFAULT_THRESHOLD`] where
    either class has fewer than [`MIN_CALIBRATION`]. No stars: [`UNRATED_THRESHOLD`]. A text without a word that the
    lexicon knows, or no text at all, stays unknown; there is no other neutral band: the paper's classifier has none.

    Args:
        progress (`bool`): Whether to show a bar.
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
        """See [`PolarityClassifier.fingerprint`]; the lexicon's version."""
        return digest_of({"name": self.name, "vaderSentiment": _version("vaderSentiment")})

    def classify(self, ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
        """See [`PolarityClassifier.classify`]."""
        stars, texts = _stars(ratings, reviews), _texts(reviews)
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
        self.measured = _shares(polarity, by_text) | figures
        return polarity

    def _threshold(self, polarity: np.ndarray, texts: Sequence[str]) -> tuple[float, dict[str, Any]]:
        """Of three-star texts, and how it fares on the texts whose stars are decisive."""
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


class PipelineClassifier(PolarityClassifier):
    """A text classifier of transformers reads every review; the stars decide only where there is no text.

    Held against the stars it looks better than it is wherever a shop fills in headlines such as "One Star".

    Args:
        model (`str`): A name on the Hub or a checkpoint folder, with labels named positive, negative and perhaps
            neutral.
        device (`str`, *optional*): Defaults to the GPU if there is one.
        batch_size (`int`): Texts at once.
        progress (`bool`): Whether to show a bar.

    Raises:
        ValueError: If `batch_size` is below 1.
    """

    def __init__(
        self, model: str = DEFAULT_POLARITY, device: str | None = None, batch_size: int = 32, progress: bool = True
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size ({batch_size}) must be at least 1.")
        self.name = Path(model).name if Path(model).is_dir() else model  # a card never shows a path
        self.description = (
            f"The text classifier {self.name} reads every review; where a review has no text, at most two stars are a "
            "dislike and four or more are not. The stars of a review with text are not looked at."
        )
        self.measured = {}
        self._model, self._device, self._batch_size, self._progress = model, device, batch_size, progress

    def fingerprint(self) -> str:
        """See [`PolarityClassifier.fingerprint`]; a folder counts by its content, a name by its commit on the Hub.

        Raises:
            FileNotFoundError: If the model cannot be had.
        """
        if Path(self._model).is_dir():
            weights: str | Path = Path(self._model)
        else:
            try:
                # Lies in snapshots/<commit>/ of the Hub's cache.
                weights = Path(hf_hub_download(self._model, "config.json")).parent.name
            except (OSError, ValueError) as error:
                raise self._not_found(error) from error
        return digest_of(
            {
                "model": self.name,
                "weights": weights,
                "max_tokens": MAX_TOKENS,
                "transformers": _version("transformers"),
            }
        )

    def classify(self, ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
        """See [`PolarityClassifier.classify`].

        Raises:
            FileNotFoundError: If the model cannot be had.
            ValueError: If the lengths differ, or if the model's labels do not say what they mean.
        """
        by_stars, texts = polarity_of_stars(_stars(ratings, reviews)), _texts(reviews)
        distinct = list(dict.fromkeys(text for text in texts if text))
        labels, scores = self._judge(distinct)
        place = {text: index for index, text in enumerate(distinct)}
        by_text = np.fromiter(map(bool, texts), bool, len(texts))
        polarity = by_stars.copy()
        polarity[by_text] = labels[[place[text] for text in texts if text]]
        disliked, liked = (
            np.array([place[text] for text in decisive_texts(by_stars, texts, label)], int)
            for label in (NEGATIVE, POSITIVE)
        )
        figures = _agreement(scores[disliked], scores[liked], labels[disliked] < 0, labels[liked] < 0)
        self.measured = _shares(polarity, by_text) | figures
        return polarity

    def _judge(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Judges texts, longest first: batches need little padding, and too little memory shows at once.

        Returns:
            `tuple`: int8 labels and float scores, P(positive) - P(negative), both `(num_texts,)`.
        """
        labels, scores = np.zeros(len(texts), np.int8), np.zeros(len(texts))
        if not texts:
            return labels, scores
        pipe = self._load()
        meaning = _label_meaning(self.name, pipe.model.config.id2label)
        order = sorted(range(len(texts)), key=lambda row: (-len(texts[row]), texts[row]))
        answers = pipe(
            (texts[row] for row in order),
            batch_size=self._batch_size,
            truncation=True,
            max_length=min(MAX_TOKENS, pipe.tokenizer.model_max_length),
            top_k=None,
        )
        bar = tqdm(answers, total=len(order), desc="Classifying reviews", disable=not self._progress)
        for row, answer in zip(order, bar, strict=True):
            probability = {meaning[entry["label"]]: entry["score"] for entry in answer}
            labels[row] = max(probability, key=probability.__getitem__)
            scores[row] = probability[POSITIVE] - probability[NEGATIVE]
        return labels, scores

    def _load(self) -> Any:
        transformers = _transformers()
        import torch

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return transformers.pipeline("text-classification", model=self._model, device=device)
        except (OSError, ValueError) as error:  # what transformers raises for a missing repository, file, connection
            raise self._not_found(error) from error

    def _not_found(self, error: Exception) -> FileNotFoundError:
        reason = str(error).strip().split("\n")[0]
        return FileNotFoundError(
            f"The review classifier {self._model!r} cannot be had ({reason}); check the name and the connection, give "
            f"a checkpoint folder, or go without a model: {OFFLINE_POLARITY!r} reads stars and a lexicon."
        )


def get_polarity_classifier(
    name_or_model: str = DEFAULT_POLARITY, device: str | None = None, progress: bool = True
) -> PolarityClassifier:
    """Makes a classifier by its name.

    Args:
        name_or_model (`str`): `"rating_vader"`, or a text classifier: a name on the Hub or a checkpoint folder.
        device (`str`, *optional*): Of the text classifier.
        progress (`bool`): Whether to show a bar.

    Returns:
        [`PolarityClassifier`]: No model is loaded before its `classify`.
    """
    if name_or_model == OFFLINE_POLARITY:
        return RatingVader(progress)
    return PipelineClassifier(name_or_model, device, progress=progress)


def polarity_of_stars(stars: np.ndarray) -> np.ndarray:
    """What the stars alone say.

    Args:
        stars (`np.ndarray`): float `(num_actions,)`, NaN where missing.

    Returns:
        `np.ndarray`: int8 `(num_actions,)`.

    >>> polarity_of_stars(np.array([1, 2, 3, 4, 5, np.nan])).tolist()
    [-1, -1, 0, 1, 1, 0]
    """
    decided = [stars <= MAX_NEGATIVE_RATING, stars >= MIN_POSITIVE_RATING]
    return np.select(decided, [NEGATIVE, POSITIVE], NEUTRAL).astype(np.int8)


def vader_scores(texts: Sequence[str], progress: bool = False) -> np.ndarray:
    """VADER's compound score, mean over the sentences; the score of a whole long review runs into +1 or -1.

    Args:
        texts (`Sequence[str]`): May repeat; each distinct one is scored once.
        progress (`bool`): Whether to show a bar.

    Returns:
        `np.ndarray`: float64 `(num_texts,)` in [-1, 1]; NaN where the lexicon knows no word of the text.

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


def decisive_texts(polarity: np.ndarray, texts: Sequence[str], label: int) -> list[str]:
    """The distinct texts of one polarity by the stars, in order of occurrence; empty ones left out."""
    return list(dict.fromkeys(texts[row] for row in np.flatnonzero(polarity == label).tolist() if texts[row]))


def fit_threshold(disliked: np.ndarray, liked: np.ndarray) -> float:
    """The threshold of the largest balanced accuracy (Youden's J); the lowest one where several are equal.

    Args:
        disliked, liked (`np.ndarray`): float, scores of texts of either class; NaN is left out.

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
    # Half-way between neighbours. Below the lowest score nothing is negative: what an uninformative score deserves.
    candidates = np.r_[scores[0] - 1e-6, (scores[1:] + scores[:-1]) / 2]
    found = np.searchsorted(np.sort(disliked), candidates) / len(disliked)
    wrong = np.searchsorted(np.sort(liked), candidates) / len(liked)
    return float(candidates[np.argmax(found - wrong)])


def agreement(disliked: np.ndarray, liked: np.ndarray, threshold: float) -> dict[str, Any]:
    """How a judgement by text agrees with the stars.

    Args:
        disliked, liked (`np.ndarray`): float, scores of texts with at most two and at least four stars; NaN is a text
            without a score, which is not negative, and left out of the AUC.
        threshold (`float`): Below it a text is negative.

    Returns:
        `dict`: `num_disliked`, `num_liked`; `auc`, the chance that a liked text scores higher; `sensitivity`, the
        share of the disliked that are found; `specificity`, the share of the liked that are spared. The last three are
        left out where a class is empty.
    """
    return _agreement(disliked, liked, disliked < threshold, liked < threshold)


def held_out_agreement(disliked: np.ndarray, liked: np.ndarray) -> dict[str, Any]:
    """[`agreement`], the threshold of each half of the texts being fitted on the other half.

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
    return _agreement(disliked, liked, *called)


def measured_text(measured: Mapping[str, Any]) -> str:
    """The figures of a classifier as sentences, for the card and for a terminal.

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


def _agreement(disliked: np.ndarray, liked: np.ndarray, found: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
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


def _shares(polarity: np.ndarray, by_text: np.ndarray) -> dict[str, Any]:
    """What was decided by what; a text that left its action unknown decided nothing."""
    known = polarity != NEUTRAL
    shares = {
        "decided_by_rating": known & ~by_text,
        "decided_by_text": known & by_text,
        "unknown": ~known,
        "disliked": polarity == NEGATIVE,
    }
    counts = {name: int(np.count_nonzero(mask)) for name, mask in shares.items()}
    return {"num_actions": len(polarity)} | {n: round(count / max(len(polarity), 1), 4) for n, count in counts.items()}


def _stars(ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
    if len(ratings) != len(reviews):
        raise ValueError(f"There are {len(ratings)} ratings but {len(reviews)} reviews; give one of each per action.")
    return np.array([np.nan if rating is None else rating for rating in ratings], float)


def _texts(reviews: Iterable[str | None]) -> list[str]:
    return [(review or "").strip() for review in reviews]


def _evenly(texts: Sequence[str]) -> list[str]:
    places = np.linspace(0, len(texts) - 1, min(len(texts), MAX_CALIBRATION)).round().astype(int)
    return [texts[place] for place in places]


def _label_meaning(name: str, labels: Mapping[int, str]) -> dict[str, int]:
    """A checkpoint's labels by what they mean; nothing is guessed from their numbers."""
    starts = {"pos": POSITIVE, "neg": NEGATIVE, "neu": NEUTRAL}
    meaning = {label: starts.get(label.casefold()[:3]) for label in labels.values()}
    known = sorted(value for value in meaning.values() if value is not None)
    if len(known) != len(meaning) or known not in ([NEGATIVE, POSITIVE], [NEGATIVE, NEUTRAL, POSITIVE]):
        raise ValueError(
            f"The labels of {name} are {sorted(labels.values())}; they must be positive, negative and perhaps "
            "neutral. Name them so under id2label in the checkpoint's config.json."
        )
    return {label: value for label, value in meaning.items() if value is not None}


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "A review classifier needs transformers and torch: pip install 'mender-recommender[models]'; "
            f"{OFFLINE_POLARITY!r} needs neither."
        ) from error
    return transformers


@cache
def vader_analyzer() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise ImportError(
            "A review without a decisive star rating needs the lexicon VADER: pip install vaderSentiment."
        ) from error
    return SentimentIntensityAnalyzer()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
