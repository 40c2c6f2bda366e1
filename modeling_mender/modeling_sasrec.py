"""SASRec (Kang & McAuley, 2018): causal self-attention over a history of item ids."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_sasrec import SASRecConfig
from .modeling_item_ids import ItemIdRecommender


@dataclass
class SASRecOutput(ModelOutput):
    """Output of `forward`.

    Attributes:
        loss (`torch.Tensor`, *optional*): With labels; the mean over labeled positions.
        logits (`torch.Tensor`, *optional*): Without labels; shape `(batch_size, num_items)`, of the item that follows
            the history. Column `i - 1` is item `i`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class LayerSizes(Protocol):
    """Fields of a configuration that a [`SASRecLayer`] reads."""

    d_model: int
    num_heads: int
    d_ff: int
    dropout_rate: float


class SASRecLayer(nn.Module):
    """Pre-norm self-attention and feed-forward network with residual connections (section III.C).

    Args:
        config ([`LayerSizes`]): Sizes.
    """

    def __init__(self, config: LayerSizes) -> None:
        super().__init__()
        self.num_heads, self.dropout_rate = config.num_heads, config.dropout_rate
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.query_key_value = nn.Linear(config.d_model, 3 * config.d_model)
        self.attention_output = nn.Linear(config.d_model, config.d_model)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.feed_forward_input = nn.Linear(config.d_model, config.d_ff)
        self.feed_forward_output = nn.Linear(config.d_ff, config.d_model)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Applies the layer.

        Args:
            states (`torch.Tensor`): Shape `(batch_size, history_length, d_model)`.
            mask (`torch.Tensor`): Shape `(batch_size, num_heads or 1, query_length, key_length)`, bool or additive.

        Returns:
            `torch.Tensor`: Shape `(batch_size, history_length, d_model)`.
        """
        # each of (batch_size, num_heads, history_length, d_model / num_heads)
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.query_key_value(self.attention_norm(states)).chunk(3, dim=-1)
        )
        context = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout_rate if self.training else 0.0
        )
        states = states + self.dropout(self.attention_output(context.transpose(1, 2).flatten(2)))
        hidden = functional.gelu(self.feed_forward_input(self.feed_forward_norm(states)))
        return states + self.dropout(self.feed_forward_output(hidden))


class SASRec(ItemIdRecommender):
    """Sequential recommendation over item ids; input and output share the item embeddings.

    Positions are counted from the oldest item, so a prefix of a history has the same states alone, and padding on
    either side changes nothing.

    Args:
        config ([`SASRecConfig`]): Sizes and loss.
    """

    config_class = SASRecConfig
    _supports_sdpa = True
    _no_split_modules = ["SASRecLayer"]
    _input_embed_layer = "item_embeddings"

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__(config)
        self.item_embeddings = nn.Embedding(1 + config.num_items, config.d_model, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_history_length, config.d_model)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.layers = nn.ModuleList([SASRecLayer(config) for _ in range(config.num_layers)])
        self.final_norm = nn.LayerNorm(config.d_model)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
        if isinstance(bias := getattr(module, "bias", None), torch.Tensor):
            init.zeros_(bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            init.zeros_(module.weight[module.padding_idx])

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Raises a ValueError: the catalog fixes the size of the item embeddings."""
        raise ValueError(
            f"the item embeddings are those of the catalog ({self.config.num_items} items) and cannot be resized; "
            "make a new model for another catalog."
        )

    def encode(self, history: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Computes the state after each item.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first.
            attention_mask (`torch.Tensor`): The same shape, bool; false where padded, on either side.

        Returns:
            `torch.Tensor`: Shape `(batch_size, history_length, d_model)`; undefined where padded.

        Raises:
            ValueError: If a history has more than `max_history_length` items.
        """
        positions = attention_mask.long().cumsum(-1) - 1
        longest = int(positions.max()) + 1
        if longest > self.config.max_history_length:
            raise ValueError(
                f"a history has {longest} items and this model reads {self.config.max_history_length}; give the most "
                "recent ones, as the processor does."
            )
        states = self.item_embeddings(history) * self.config.d_model**0.5
        states = self.dropout(states + self.position_embeddings(positions.clamp(min=0)))
        length = history.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=history.device).tril()
        # padding attends to itself: a softmax over nothing is NaN, and NaN times 0 is NaN
        itself = torch.eye(length, dtype=torch.bool, device=history.device)
        mask = ((causal & attention_mask.unsqueeze(1)) | itself).unsqueeze(1)
        for layer in self.layers:
            states = layer(states, mask)
        return self.final_norm(states)

    def forward(
        self,
        history: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SASRecOutput:
        """Computes the loss of all labeled positions, or, without labels, the logits of the next item.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first, 0 where padded.
            attention_mask (`torch.Tensor`, *optional*): The same shape, 0 where padded, on either side.
            labels (`torch.Tensor`, *optional*): The same shape, the next item at each position; -100 or 0 where
                there is no label.
        """
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        states = self.encode(history, attention_mask)
        if labels is None:
            # the newest item, wherever the padding is
            newest = (attention_mask * torch.arange(1, 1 + history.shape[1], device=history.device)).argmax(-1)
            states = states[torch.arange(len(history), device=history.device), newest]
            return SASRecOutput(logits=self._item_logits(states))
        is_labeled = labels > 0
        # logits for labeled positions only: (num_labeled, d_model)
        states, targets = states[is_labeled], labels[is_labeled]
        if self.config.loss == "bce":
            rows = torch.cat([history * attention_mask, labels.clamp(min=0)], dim=1)
            row_of_label = is_labeled.nonzero()[:, 0]
            losses = self._binary_cross_entropy(states, targets, rows, row_of_label)
        else:
            losses = functional.cross_entropy(self._item_logits(states).float(), targets - 1, reduction="none")
        return SASRecOutput(loss=losses.sum() / max(1, len(losses)))

    def _item_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits of all items: `(..., d_model)` to `(..., num_items)`."""
        return functional.linear(states, self.item_embeddings.weight[1:])

    def _binary_cross_entropy(
        self, states: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor, row_of_label: torch.Tensor
    ) -> torch.Tensor:
        """Equation 7: each target against one sampled item that its row does not have; `(num_labeled,)`."""
        negatives = draw_unseen(rows, row_of_label, self.config.num_items)
        positive = (states * self.item_embeddings(targets)).sum(-1).float()
        negative = (states * self.item_embeddings(negatives)).sum(-1).float()
        # a row with the whole catalog has no negative item (0)
        return -functional.logsigmoid(positive) - functional.logsigmoid(-negative) * (negatives > 0)

    def score_items(self, history: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of all items."""
        return self(history, attention_mask).logits.float().log_softmax(-1)


def draw_unseen(
    rows: torch.Tensor, row_of_draw: torch.Tensor, num_items: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Samples items uniformly from those that a row does not have, by their rank among these.

    Args:
        rows (`torch.Tensor`): Shape `(num_rows, length)`, item ids in any order, repeats allowed, 0 where empty.
        row_of_draw (`torch.Tensor`): Shape `(num_draws,)`, the row of each draw.
        num_items (`int`): Number of items of the catalog.
        generator (`torch.Generator`, *optional*): Defaults to the global one, which checkpoints restore, as dropout.

    Returns:
        `torch.Tensor`: Shape `(num_draws,)`; 0 where the row has every item.
    """
    beyond = num_items + rows.shape[1] + 1  # sorts after every item, and after any shift
    held = rows.sort(-1).values
    is_repeat = functional.pad(held[:, 1:] == held[:, :-1], (1, 0))
    held = held.masked_fill(is_repeat | (held == 0), beyond).sort(-1).values
    num_free = num_items - (held < beyond).sum(-1)
    # number of free items before the n-th held one
    free_before = held - torch.arange(1, 1 + held.shape[1], device=rows.device)
    share = torch.rand(len(row_of_draw), generator=generator, device=rows.device, dtype=torch.float64)
    rank = (share * num_free[row_of_draw]).long()
    shift = (free_before[row_of_draw] <= rank.unsqueeze(1)).sum(-1)
    return torch.where(num_free[row_of_draw] > 0, 1 + rank + shift, 0)
