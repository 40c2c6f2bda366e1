"""The item head of Mender_Steer: a causal transformer over a history, with preferences added to its last state."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig

from .modeling_sasrec import SASRecLayer


class ItemHead(nn.Module):
    """Scores items by inner products of a request's state with their vectors.

    The vector of an item is a learned embedding of its id plus a linear map of its text embedding. The state of a
    history comes from causal layers, so one pass serves all prefixes of a sequence. A preference adds a linear map of
    its embedding plus a network over state and embedding; several preferences add up, in any order.

    Args:
        config ([`MenderSteerConfig`]): Sizes.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        width = config.d_model
        self.item_ids = nn.Embedding(1 + config.num_items, width, padding_idx=0)
        self.item_texts = nn.Linear(config.embedding_size, width)
        # added to attention scores, by the number of items between key and query; one column per head
        self.distances = nn.Embedding(1 + config.max_history_length, config.num_history_heads)
        self.start = nn.Parameter(torch.zeros(width))
        sizes = _LayerSizes(width, config.num_history_heads, config.d_ff, config.dropout_rate)
        self.layers = nn.ModuleList([SASRecLayer(sizes) for _ in range(config.num_history_layers)])
        self.final_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.preference = nn.Linear(config.embedding_size, width)
        self.preference_in = nn.Linear(2 * width, 2 * width)
        self.preference_out = nn.Linear(2 * width, width)

    def item_vectors(self, item_embeddings: torch.Tensor) -> torch.Tensor:
        """Vectors of all items, `(1 + num_items, d_model)`, from text embeddings `(1 + num_items, embedding_size)`."""
        return self.item_ids.weight + self.item_texts(item_embeddings)

    def forward(self, history: torch.Tensor, attention_mask: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Computes the states of all prefixes of a history.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first.
            attention_mask (`torch.Tensor`): The same shape, bool; false where padded, on either side.
            vectors (`torch.Tensor`): Shape `(1 + num_items, d_model)`, see [`item_vectors`].

        Returns:
            `torch.Tensor`: Shape `(batch_size, 1 + history_length, d_model)`; the first is the state before any item;
            undefined where padded.
        """
        batch_size, length = history.shape
        visible = torch.cat([attention_mask.new_ones(batch_size, 1), attention_mask], dim=1)
        # scaled as in SASRec, so that the residual stream is not dominated by the layers
        items = vectors[history] * vectors.shape[-1] ** 0.5
        states = self.dropout(torch.cat([self.start.to(items.dtype).expand(batch_size, 1, -1), items], dim=1))
        position = visible.long().cumsum(-1)
        distance = position.unsqueeze(2) - position.unsqueeze(1)  # (batch_size, query, key)
        earlier = torch.ones(1 + length, 1 + length, dtype=torch.bool, device=history.device).tril()
        seen = visible.unsqueeze(1) & earlier
        bias = self.distances(distance.clamp(min=0)).permute(0, 3, 1, 2)
        # every position attends to the start, so no row is empty
        mask = bias.masked_fill(~seen.unsqueeze(1), torch.finfo(bias.dtype).min)
        for layer in self.layers:
            states = layer(states, mask)
        return self.final_norm(states)

    def preference_states(self, states: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Computes the change of a state by each preference.

        Args:
            states (`torch.Tensor`): Shape `(..., d_model)`.
            embeddings (`torch.Tensor`): Shape `(..., num_preferences, embedding_size)`.

        Returns:
            `torch.Tensor`: Shape `(..., num_preferences, d_model)`.
        """
        mapped = self.preference(embeddings)
        both = torch.cat([states.unsqueeze(-2).expand_as(mapped), mapped], dim=-1)
        return mapped + self.preference_out(self.dropout(nn.functional.gelu(self.preference_in(both))))


@dataclass
class _LayerSizes:
    """Sizes of a [`SASRecLayer`]."""

    d_model: int
    num_heads: int
    d_ff: int
    dropout_rate: float
