"""Polarity by a text classifier of transformers, as in the paper; transformers is imported at the first review."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import hf_hub_download
from tqdm.auto import tqdm

from ...benchmark.negation import NEGATIVE, NEUTRAL, POSITIVE
from ..stage_cache import digest_of
from .agreement import agreement_of, shares
from .classifier import PolarityClassifier, decisive_texts, polarity_of_stars, stars_of, texts_of, version_of
from .rating_vader import OFFLINE_POLARITY

DEFAULT_POLARITY = "siebert/sentiment-roberta-large-english"
"""The paper's classifier (Hartmann et al., 2023)."""
MAX_TOKENS = 512
"""Input length of the paper's classifier; longer reviews are truncated."""


class PipelineClassifier(PolarityClassifier):
    """Classifies every review with a text classifier of transformers; stars decide only where there is no text.

    Its agreement with the stars is overestimated where a shop fills in headlines such as "One Star".

    Args:
        model (`str`): Name on the Hub or checkpoint folder, with labels named positive, negative and optionally
            neutral.
        device (`str`, *optional*): Device; the GPU by default if there is one.
        batch_size (`int`): Texts per batch.
        progress (`bool`): Whether to show a progress bar.

    Raises:
        ValueError: If `batch_size` is below 1.
    """

    def __init__(
        self, model: str = DEFAULT_POLARITY, device: str | None = None, batch_size: int = 32, progress: bool = True
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size ({batch_size}) must be at least 1.")
        self.name = Path(model).name if Path(model).is_dir() else model  # no local path on a card
        self.description = (
            f"The text classifier {self.name} reads every review; where a review has no text, at most two stars are a "
            "dislike and four or more are not. The stars of a review with text are not looked at."
        )
        self.measured = {}
        self._model, self._device, self._batch_size, self._progress = model, device, batch_size, progress

    def fingerprint(self) -> str:
        """See [`PolarityClassifier.fingerprint`]; of a folder's content, or of a name's commit on the Hub.

        Raises:
            FileNotFoundError: If the model cannot be loaded.
        """
        if Path(self._model).is_dir():
            weights: str | Path = Path(self._model)
        else:
            try:
                # The Hub's cache keeps it in snapshots/<commit>/.
                weights = Path(hf_hub_download(self._model, "config.json")).parent.name
            except (OSError, ValueError) as error:
                raise self._not_found(error) from error
        return digest_of(
            {
                "model": self.name,
                "weights": weights,
                "max_tokens": MAX_TOKENS,
                "transformers": version_of("transformers"),
            }
        )

    def classify(self, ratings: Sequence[float | None], reviews: Sequence[str | None]) -> np.ndarray:
        """See [`PolarityClassifier.classify`].

        Raises:
            FileNotFoundError: If the model cannot be loaded.
            ValueError: If the lengths differ, or the model's labels are not named by polarity.
        """
        by_stars, texts = polarity_of_stars(stars_of(ratings, reviews)), texts_of(reviews)
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
        figures = agreement_of(scores[disliked], scores[liked], labels[disliked] < 0, labels[liked] < 0)
        self.measured = shares(polarity, by_text) | figures
        return polarity

    def _judge(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Classifies texts, longest first: batches need little padding, and a lack of memory shows at once.

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
            f"The review classifier {self._model!r} cannot be loaded ({reason}); check the name and the connection, "
            f"pass a checkpoint folder, or do without a model: {OFFLINE_POLARITY!r} reads stars and a lexicon."
        )


def _label_meaning(name: str, labels: Mapping[int, str]) -> dict[str, int]:
    """Polarity of each label of a checkpoint, by the label's name; nothing is guessed from numbers."""
    starts = {"pos": POSITIVE, "neg": NEGATIVE, "neu": NEUTRAL}
    meaning = {label: starts.get(label.casefold()[:3]) for label in labels.values()}
    known = sorted(value for value in meaning.values() if value is not None)
    if len(known) != len(meaning) or known not in ([NEGATIVE, POSITIVE], [NEGATIVE, NEUTRAL, POSITIVE]):
        raise ValueError(
            f"The labels of {name} are {sorted(labels.values())}; they must be positive, negative and optionally "
            "neutral. Rename them under id2label in the checkpoint's config.json."
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
