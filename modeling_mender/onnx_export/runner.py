"""Recommendations by exported graphs with ONNX Runtime, without the model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..configuration_semantic_ids import PAD_TOKEN_ID, first_token
from ..constrained_decoding import NextLogProbs, beam_search
from ..item_log_weights import ItemIds, ItemLogWeights, weigh_items
from ..manifest import ModelFiles
from ..modeling_mender_base import TEXTS_AT_A_TIME
from ..recommendation import (
    RecommendOutput,
    check_enough,
    check_history,
    check_k,
    check_not_empty,
    check_size,
    check_token_ids,
    check_words,
    count_allowed,
    default_beams,
    refuse_unread_inputs,
)
from .exported_folder import (
    DECODER_STEP,
    GRAPHS,
    ITEM_SCORES,
    REQUEST_ENCODER,
    STEER,
    TEXT_ENCODER,
    open_graph,
    read_is_item,
    read_settings,
    read_trie,
)


class OnnxRecommender(ABC):
    """Recommends items by the graphs of a folder that `mender export-onnx` wrote; [`from_pretrained`] opens it.

    Args:
        folder (`Path`): The folder.
        settings (`dict`): Its settings; see [`read_settings`].
        num_threads (`int`): Threads per operator.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], num_threads: int) -> None:
        self.settings = settings
        self.num_items: int = settings["num_items"]
        self._is_item = read_is_item(folder, self.num_items)
        self._graphs = {name: open_graph(folder / name, num_threads) for name in GRAPHS[settings["model_type"]]}

    @staticmethod
    def from_pretrained(folder: str | Path, num_threads: int | None = None) -> "OnnxRecommender":
        """Opens an exported model.

        Args:
            folder (`str` or `Path`): The folder.
            num_threads (`int`, *optional*): Threads per operator; defaults to that of PyTorch.

        Returns:
            [`OnnxSteer`] or [`OnnxRetriever`].

        Raises:
            ImportError: If onnxruntime is not installed.
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged, or of another export.
        """
        folder = Path(folder)
        settings = read_settings(folder)
        ModelFiles(folder).check(rest=True)
        kind = OnnxSteer if settings["model_type"] == STEER else OnnxRetriever
        return kind(folder, settings, num_threads or torch.get_num_threads())

    @abstractmethod
    def recommend(self, k: int = 10, **inputs: Any) -> RecommendOutput:
        """Finds the `k` best items for the processor's output, as `recommend` of the exported model."""

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embeds texts; those that are all padding get 0. For models that read one vector per text.

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
            used = _num_used(mask[rows]) if len(rows) else 0
            if used:
                given = {"input_ids": tokens[rows, :used], "attention_mask": mask[rows, :used]}
                embeddings[rows] = _tensor(self._run(TEXT_ENCODER, given)[0])
        return embeddings.view(*input_ids.shape[:-1], -1)

    def embed_preferences(
        self,
        batch_size: int,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        embeddings: torch.Tensor | None,
    ) -> torch.Tensor:
        """Embeddings of preferences, given or computed; see [`MenderOnEmbeddings.embed_preferences`]."""
        if embeddings is None and input_ids is not None:
            attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            embeddings = self.embed_texts(input_ids, attention_mask)
        return torch.zeros(batch_size, 0, self.settings["embedding_size"]) if embeddings is None else embeddings

    def _check_history(self, history: torch.Tensor, longest: int) -> None:
        """Refuses what a graph would read beyond its tables."""
        check_history(history, longest, self.settings["max_history_length"], self.num_items)

    def _run(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> list[Any]:
        """Runs a graph on tensors, or on values that another run gave; neither are copied."""
        from onnxruntime import OrtValue

        values = {
            name: OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value.numpy()))
            if isinstance(value, torch.Tensor)
            else value
            for name, value in inputs.items()
        }
        return self._graphs[graph].run_with_ort_values(outputs, values)


class OnnxSteer(OnnxRecommender):
    """Mender_Steer: one graph for texts, and one for the scores of all items; `semantic_ids.json` is not read."""

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
        self._check_history(history, int((history > 0).sum(1).max()))
        embeddings = self.embed_preferences(
            len(history), preference_input_ids, preference_attention_mask, preference_embeddings
        )
        if not embeddings.shape[1]:
            embeddings = torch.zeros(len(history), 1, self.settings["embedding_size"])
            preference_strengths, preference_known, preference_words = torch.zeros(len(history), 1), None, None
        shape = embeddings.shape[:2]
        words = torch.zeros(*shape, 1, dtype=torch.long) if preference_words is None else preference_words
        check_words(words, self.settings["num_words"], self.num_items)
        given = {
            "history": history,
            "embeddings": embeddings,
            "strengths": torch.ones(shape) if preference_strengths is None else preference_strengths,
            "known": torch.ones(shape) if preference_known is None else preference_known,
            "words": words,
        }
        return _tensor(self._run(ITEM_SCORES, given, ["scores"])[0])

    def recommend(
        self,
        k: int = 10,
        candidates: ItemIds | None = None,
        exclude: ItemIds | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **inputs: Any,
    ) -> RecommendOutput:
        """Finds the `k` best items, as [`MenderSteer.recommend`] without beams and terms.

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
        check_enough(count_allowed(weights, self.num_items, self._is_item), k, candidates, self._is_item)
        if weights is not None:
            scores = scores + (weights if isinstance(weights, torch.Tensor) else weights.to_dense(self.num_items))
        best = scores.topk(k)
        return RecommendOutput(items=best.indices + 1, scores=best.values)


class OnnxRetriever(OnnxRecommender):
    """Mender_Tok, Mender_Emb, TIGER and its relatives: graphs for the request and for each step of the decoder, and
    between the steps the beam search of the model itself.

    See [`OnnxRecommender`] for the arguments.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], num_threads: int) -> None:
        super().__init__(folder, settings, num_threads)
        self.trie = read_trie(folder, self._is_item, settings["num_levels"])

    @property
    def encoder_input_names(self) -> tuple[str, ...]:
        """Names of the processor's output, without the mask."""
        if TEXT_ENCODER in self._graphs:
            return ("history", "preference_input_ids", "preference_attention_mask", "preference_embeddings")
        return ("input_ids",)

    def recommend(
        self,
        k: int = 10,
        num_beams: int | None = None,
        candidates: ItemIds | None = None,
        exclude: ItemIds | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **inputs: Any,
    ) -> RecommendOutput:
        """Finds the `k` most probable items by beam search, as [`GenerativeRetriever.recommend`].

        Args:
            k, num_beams, candidates, exclude, allowed_items, item_log_weights: See
                [`GenerativeRetriever.recommend`].
            inputs: The processor's output.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)` and `scores (batch_size, k)`.

        Raises:
            ValueError: As [`GenerativeRetriever.recommend`].
        """
        num_left = self.trie.num_leaves
        check_size(k, num_beams, num_left)
        given = {name: inputs.pop(name) for name in self.encoder_input_names if name in inputs}
        mask = inputs.pop("attention_mask", None)
        refuse_unread_inputs(inputs, self.encoder_input_names)
        encoded, mask = self._encode(given, mask)
        weights = weigh_items(self.num_items, len(mask), candidates, exclude, allowed_items, item_log_weights)
        num_allowed = count_allowed(weights, self.num_items, self._is_item)
        check_enough(num_allowed, k, candidates, self._is_item)
        found = beam_search(
            self._decoding_steps(encoded, mask),
            self.trie,
            len(mask),
            num_beams or default_beams(k, self.settings["num_beams"], num_left, num_allowed),
            None if weights is None else self.trie.mean_fold(weights),
            renormalize=self.settings["constrained_softmax"],
        )
        return RecommendOutput(items=found.items[:, :k], scores=found.scores[:, :k])

    def _encode(
        self, given: dict[str, torch.Tensor], mask: torch.Tensor | None
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """Checks and encodes requests: what every step of the decoder reads, and its mask."""
        if self.encoder_input_names[0] not in given:
            raise ValueError(
                f"nothing to encode: give the processor's output ({', '.join(self.encoder_input_names)}, "
                "attention_mask)."
            )
        if "history" in given:
            history = given["history"]
            self._check_history(history, history.shape[1])
            embeddings = self.embed_preferences(
                len(history), *(given.get(name) for name in self.encoder_input_names[1:])
            )
            given = {"history": history, "preference_embeddings": embeddings}
            length = embeddings.shape[1] + history.shape[1]
        else:
            check_token_ids(given["input_ids"], self.settings["num_input_tokens"])
            length = given["input_ids"].shape[1]
        first = next(iter(given.values()))
        mask = torch.ones(len(first), length, dtype=torch.long) if mask is None else mask.long()
        check_not_empty(mask)
        if "history" in given:
            values = self._run(REQUEST_ENCODER, {**given, "attention_mask": mask})
        else:
            mask = mask[:, : _num_used(mask)]
            values = self._encode_texts(given["input_ids"], mask)
        names = [one.name for one in self._graphs[REQUEST_ENCODER].get_outputs()]
        return dict(zip(names, values, strict=True)), mask

    def _encode_texts(self, input_ids: torch.Tensor, mask: torch.Tensor) -> list[Any]:
        """Encodes requests that are one text each; in 8 bits one by one, as [`embed_texts`]."""
        parts = []
        for rows in torch.arange(len(mask)).split(1 if self.settings["dtype"] == "int8" else len(mask)):
            used = _num_used(mask[rows])
            given = {"input_ids": input_ids[rows, :used], "attention_mask": mask[rows, :used]}
            parts.append(self._run(REQUEST_ENCODER, given))
        if len(parts) == 1:
            return parts[0]
        return [
            torch.cat([_pad_states(_tensor(value), mask.shape[1]) for value in values])
            for values in zip(*parts, strict=True)
        ]

    def _decoding_steps(self, encoded: dict[str, Any], mask: torch.Tensor) -> NextLogProbs:
        """The decoder for [`beam_search`]: each call runs one step and keeps its cache for the next."""
        shapes = {one.name: one.shape for one in self._graphs[DECODER_STEP].get_inputs()}
        num_layers, _, num_heads, _, d_kv = shapes["past"]
        start = torch.full((len(mask), 1), PAD_TOKEN_ID)
        past: Any = torch.zeros(num_layers, len(mask), num_heads, 0, d_kv)

        def step(level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
            nonlocal past
            given = {
                "tokens": start if codes is None else codes + first_token(level - 1, self.settings["codebook_size"]),
                "parents": torch.zeros_like(start) if parents is None else parents,
                "past": past,
                "attention_mask": mask,
            }
            log_probs, past = self._run(DECODER_STEP, {**given, **encoded})
            return _tensor(log_probs)

        return step


def _tensor(value: Any) -> torch.Tensor:
    """A tensor of a value of ONNX Runtime."""
    return torch.from_numpy(value.numpy())


def _num_used(mask: torch.Tensor) -> int:
    """Number of columns up to the last one of `mask (num_rows, sequence_length)` that is not all padding."""
    return int(mask.amax(0).nonzero().max()) + 1


def _pad_states(states: torch.Tensor, length: int) -> torch.Tensor:
    """Keys or values `(1, num_heads, sequence_length, d_kv)` padded to a length; other tensors as they are."""
    return functional.pad(states, (0, 0, 0, length - states.shape[2])) if states.dim() == 4 else states
