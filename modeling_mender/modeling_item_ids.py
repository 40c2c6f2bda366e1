"""What every recommender over item ids shares: `recommend` with the same arguments and errors as a generative one.

Knows how scores of all items become the best `k`. Leaves to its subclasses how a history is scored: they give
`score_items`, nothing else.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from .modeling_generative_retriever import RecommendOutput


class ItemIdRecommender(PreTrainedModel):
    """A model that reads a history of item ids and scores the whole catalogue, exactly.

    `config.num_items` gives the catalogue, `config.answers_empty_requests` whether a request without history is one.
    """

    base_model_prefix = ""
    main_input_name = "history"

    def score_items(self, history: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of all items.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first.
            attention_mask (`torch.Tensor`): The same shape, bool; false where padded, on either side.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_items)`, float; column `i - 1` is item `i`.
        """
        raise NotImplementedError

    @torch.no_grad()
    def recommend(
        self,
        history: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        k: int = 10,
        num_beams: int | None = None,
        allowed_items: torch.Tensor | None = None,
        **inputs: Any,
    ) -> RecommendOutput:
        """The `k` most probable items, exactly.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first, 0 where padded.
            attention_mask (`torch.Tensor`, *optional*): The same shape, 0 where padded, on either side.
            k (`int`, defaults to 10): Items per request, in `1..num_items`.
            num_beams (`int`, *optional*): Accepted for the sake of a common signature; every item is scored.
            allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; the items that may come
                back. Column `i - 1` is item `i`. Scores stay those of the whole catalogue.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)`, no item twice, and `scores (batch_size, k)`,
                log-probabilities. Items of the history may come back.

        Raises:
            ValueError: If `k` is out of range, a request is empty, or fewer than `k` items are allowed.
        """
        if not 1 <= k <= self.config.num_items:
            raise ValueError(
                f"k ({k}) must be in 1..{self.config.num_items}, the number of items; ask for at most "
                f"{self.config.num_items}."
            )
        if inputs:
            raise ValueError(
                f"recommend does not take {', '.join(sorted(inputs))}; it takes the processor's output (history, "
                "attention_mask), k, num_beams and allowed_items."
            )
        if history is None:
            raise ValueError("nothing to score: give the processor's output (history, attention_mask).")
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        if not self.config.answers_empty_requests and not bool(attention_mask.any(-1).all()):
            row = int((~attention_mask.any(-1)).int().argmax())
            raise ValueError(f"request {row} is empty: attention_mask is all 0; give a history.")
        self._check_allowed_items(allowed_items, len(history), k)
        was_training = self.training
        self.eval()
        try:
            scores = self.score_items(history, attention_mask)
        finally:
            self.train(was_training)
        if allowed_items is not None:
            scores = scores.masked_fill(~allowed_items.to(scores.device), -torch.inf)
        best = scores.topk(k)
        return RecommendOutput(items=best.indices + 1, scores=best.values.float())

    def _check_allowed_items(self, allowed_items: torch.Tensor | None, batch_size: int, k: int) -> None:
        """Refuses a mask of another shape or type, or one that leaves fewer than `k` items."""
        if allowed_items is None:
            return
        expected = (batch_size, self.config.num_items)
        if tuple(allowed_items.shape) != expected or allowed_items.dtype != torch.bool:
            raise ValueError(
                f"allowed_items must be a bool tensor of shape {expected} (batch_size, num_items), not "
                f"{allowed_items.dtype} of shape {tuple(allowed_items.shape)}."
            )
        fewest = int(allowed_items.sum(1).min())
        if fewest < k:
            raise ValueError(
                f"a request allows {fewest} items and {k} results are asked for; allow more or ask for fewer."
            )
