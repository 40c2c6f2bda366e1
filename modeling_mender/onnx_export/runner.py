"""Recommendations by exported graphs with ONNX Runtime, without the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..item_log_weights import ItemIds, ItemLogWeights, weigh_items
from ..items_file import Items
from ..manifest import ITEMS_FILE, ModelFiles
from ..modeling_mender_base import TEXTS_AT_A_TIME
from ..recommendation import RecommendOutput, check_enough, check_k, count_allowed

SETTINGS_FILE = "onnx.json"
TEXT_ENCODER, ITEM_SCORES = "text_encoder.onnx", "item_scores.onnx"
SEMANTIC_IDS_FILE = "semantic_ids.json"


class OnnxRecommender:
    """Recommends items by the graphs of a folder that `mender export-onnx` wrote.

    Its `recommend` takes what that of [`MenderSteer`] takes, without beams and terms, and gives the same items.

    Args:
        folder (`str` or `Path`): The folder.
        num_threads (`int`, *optional*): Threads per operator; defaults to that of PyTorch.

    Raises:
        ImportError: If onnxruntime is not installed.
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or of another export.
    """

    def __init__(self, folder: str | Path, num_threads: int | None = None) -> None:
        folder = Path(folder)
        self.settings = read_settings(folder)
        ModelFiles(folder).check(rest=True)
        self.num_items: int = self.settings["num_items"]
        self._is_item = read_is_item(folder, self.num_items)
        num_threads = num_threads or torch.get_num_threads()
        self._text_encoder = open_graph(folder / TEXT_ENCODER, num_threads)
        self._item_scores = open_graph(folder / ITEM_SCORES, num_threads)

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embeds texts; those that are all padding get 0.

        Args:
            input_ids, attention_mask (`torch.Tensor`): Shape `(..., sequence_length)`.

        Returns:
            `torch.Tensor`: Shape `(..., embedding_size)`, float32.
        """
        tokens, mask = input_ids.flatten(0, -2), attention_mask.flatten(0, -2)
        embeddings = torch.zeros(len(tokens), self.settings["embedding_size"])
        lengths = mask.sum(-1)
        order = lengths.argsort(descending=True)[: int((lengths > 0).sum())]
        # in 8 bits the scale of a tensor depends on all that is in it: alone, a text is embedded alike in every batch
        for rows in order.split(1 if self.settings["dtype"] == "int8" else TEXTS_AT_A_TIME):
            used = int(mask[rows].amax(0).nonzero().max()) + 1 if len(rows) else 0
            if used:
                given = {"input_ids": tokens[rows, :used].numpy(), "attention_mask": mask[rows, :used].numpy()}
                embeddings[rows] = torch.from_numpy(self._text_encoder.run(None, given)[0])
        return embeddings.view(*input_ids.shape[:-1], -1)

    def score_items(
        self,
        history: torch.Tensor,
        preference_input_ids: torch.Tensor | None = None,
        preference_attention_mask: torch.Tensor | None = None,
        preference_embeddings: torch.Tensor | None = None,
        preference_strengths: torch.Tensor | None = None,
        preference_words: torch.Tensor | None = None,
        preference_known: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Computes the log-probabilities of all items.

        Args:
            history, ...: The processor's output; see [`SteerScores.components`].
            attention_mask (*optional*): Ignored, because the history is 0 where it is padded.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_items)`, float32; column `i - 1` is item `i`.

        Raises:
            ValueError: If the history is too long or has an unknown item.
        """
        self._check_history(history)
        if preference_embeddings is None and preference_input_ids is not None:
            if preference_attention_mask is None:
                preference_attention_mask = torch.ones_like(preference_input_ids)
            preference_embeddings = self.embed_texts(preference_input_ids, preference_attention_mask)
        if preference_embeddings is None or not preference_embeddings.shape[1]:
            preference_embeddings = torch.zeros(len(history), 1, self.settings["embedding_size"])
            preference_strengths, preference_known, preference_words = torch.zeros(len(history), 1), None, None
        shape = preference_embeddings.shape[:2]
        if preference_strengths is None:
            preference_strengths = torch.ones(shape)
        if preference_known is None:
            preference_known = torch.ones(shape)
        if preference_words is None:
            preference_words = torch.zeros(*shape, 1, dtype=torch.long)
        given = {
            "history": history,
            "embeddings": preference_embeddings,
            "strengths": preference_strengths,
            "known": preference_known,
            "words": preference_words,
        }
        self._check_words(preference_words)
        arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in given.items()}
        return torch.from_numpy(self._item_scores.run(["scores"], arrays)[0])

    def recommend(
        self,
        k: int = 10,
        candidates: ItemIds | None = None,
        exclude: ItemIds | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **inputs: Any,
    ) -> RecommendOutput:
        """Finds the `k` best items.

        Args:
            k, candidates, exclude, allowed_items, item_log_weights: See [`GenerativeRetriever.recommend`].
            inputs: The processor's output.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)` and `scores (batch_size, k)`.

        Raises:
            ValueError: As [`GenerativeRetriever.recommend`].
        """
        check_k(k, int(self._is_item.sum()))
        if "history" not in inputs:
            raise ValueError("nothing to score: give the processor's output (history, attention_mask, ...).")
        scores = self.score_items(**inputs)
        weights = weigh_items(self.num_items, len(scores), candidates, exclude, allowed_items, item_log_weights)
        check_enough(count_allowed(weights, self.num_items, self._is_item), k)
        if weights is not None:
            scores = scores + (weights if isinstance(weights, torch.Tensor) else weights.to_dense(self.num_items))
        best = scores.topk(k)
        return RecommendOutput(items=best.indices + 1, scores=best.values)

    def _check_history(self, history: torch.Tensor) -> None:
        """Refuses what the graph would read beyond its tables."""
        longest, largest = self.settings["max_history_length"], self.num_items
        if int((history > 0).sum(1).max()) > longest:
            raise ValueError(f"history has more than {longest} items, which the model takes; keep the most recent.")
        if not 0 <= int(history.min()) <= int(history.max()) <= largest:
            wrong = int(history.min()) if int(history.min()) < 0 else int(history.max())
            raise ValueError(
                f"history contains item {wrong}, and the catalogue has {largest} items; let the processor check ids."
            )

    def _check_words(self, words: torch.Tensor) -> None:
        """Refuses word ids of another catalogue."""
        largest = self.settings["num_words"]
        if words.numel() and not 0 <= int(words.min()) <= int(words.max()) <= largest:
            raise ValueError(
                f"words contains {int(words.max())}, and the catalogue has {largest} words; use the processor that "
                "was exported with the graphs."
            )


def read_is_item(folder: Path, num_items: int) -> torch.Tensor:
    """Whether each number from 0 to `num_items` is an item that was not removed, by `items.jsonl`.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged, or has another number of items.
    """
    path = folder / ITEMS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; export the model again.")
    items = Items.read(path)
    if len(items) != num_items:
        raise ValueError(
            f"{path} has {len(items)} items and {SETTINGS_FILE} beside it counts {num_items}; export the model again."
        )
    is_item = torch.ones(1 + num_items, dtype=torch.bool)
    is_item[[0, *items.removed]] = False
    return is_item


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads `onnx.json`.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {SETTINGS_FILE}; give a folder that mender export-onnx wrote.")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] != 1:
            raise ValueError(f"it has the format {settings['format']!r:.40}, and this version reads 1")
        if settings["dtype"] not in ("float32", "int8"):
            raise ValueError(f"its dtype is {settings['dtype']!r:.40}")
        for name in ("num_items", "num_words", "embedding_size", "max_history_length"):
            if not isinstance(settings[name], int) or isinstance(settings[name], bool) or settings[name] < 1:
                raise ValueError(f"its {name} is {settings[name]!r:.40}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); export the model again.") from error
    return settings


def open_graph(path: Path, num_threads: int) -> Any:
    """Opens a graph by ONNX Runtime on the CPU.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it cannot be read.
    """
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; export the model again.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own kinds, all below Exception
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be opened by ONNX Runtime ({reason}); export the model again.") from error
