"""Base of the recommenders over item ids: `recommend` with the arguments and errors of the generative models."""

from typing import Any

import torch

from .checked_loading import CheckedModel
from .item_log_weights import ItemIds, ItemLogWeights, SparseItemLogWeights, weigh_items
from .recommendation import (
    RecommendOutput,
    check_enough,
    check_history_items,
    check_k,
    count_allowed,
    evaluation_mode,
)


class ItemIdRecommender(CheckedModel):
    """A model that reads a history of item ids and scores the whole catalog.

    Subclasses implement `score_items`. The configuration gives `num_items`, and with `answers_empty_requests` whether
    a request may have no history.
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
        candidates: ItemIds | None = None,
        exclude: ItemIds | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **inputs: Any,
    ) -> RecommendOutput:
        """Finds the `k` most probable items, exactly.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first, 0 where padded.
            attention_mask (`torch.Tensor`, *optional*): The same shape, 0 where padded, on either side.
            k (`int`, defaults to 10): Items per request, in `1..num_items`.
            num_beams (`int`, *optional*): Ignored, for a common signature; every item is scored.
            candidates, exclude (*optional*): Ids of the only items to rank, and of items to leave out, for all
                requests or one list per request.
            allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; the candidates as a
                mask. Column `i - 1` is item `i`. Scores are those over the whole catalog.
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`], *optional*): Shape `(batch_size, num_items)`,
                float, added to the log-probabilities. 0 changes nothing, `-inf` excludes an item.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)` without repeats, and `scores (batch_size, k)`,
                log-probabilities plus log-weights. Items of the history are not excluded.

        Raises:
            ValueError: If `k` is out of range, a request is empty, an id is unknown, a log-weight is NaN or `+inf`, or
                fewer than `k` items are allowed.
        """
        check_k(k, self.config.num_items)
        if inputs:
            raise ValueError(
                f"recommend does not take {', '.join(sorted(inputs))}; it takes the processor's output (history, "
                "attention_mask), k, num_beams, candidates, exclude, allowed_items and item_log_weights."
            )
        if history is None:
            raise ValueError("nothing to score: give the processor's output (history, attention_mask).")
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        if not self.config.answers_empty_requests and not bool(attention_mask.any(-1).all()):
            row = int((~attention_mask.any(-1)).int().argmax())
            raise ValueError(f"request {row} is empty: attention_mask is all 0; give a history.")
        num_items = self.config.num_items
        check_history_items(history, num_items)
        weights = weigh_items(num_items, len(history), candidates, exclude, allowed_items, item_log_weights)
        check_enough(count_allowed(weights, num_items), k)
        with evaluation_mode(self):
            scores = self.score_items(history, attention_mask).float()
        if isinstance(weights, SparseItemLogWeights):
            weights = weights.to_dense(num_items)
        if weights is not None:
            scores = scores + weights.to(scores.device)
        best = scores.topk(k)
        return RecommendOutput(items=best.indices + 1, scores=best.values)
