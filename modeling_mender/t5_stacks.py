"""T5 stacks over semantic IDs and vectors, their attention masks, and step-wise decoding for beam search."""

from collections.abc import Sequence
from typing import cast

import torch
from torch.nn import functional
from transformers import PreTrainedConfig, T5Config
from transformers.models.t5.modeling_t5 import T5Block, T5LayerCrossAttention, T5LayerFF, T5LayerSelfAttention, T5Stack

from .configuration_semantic_ids import PAD_TOKEN_ID, first_token


def build_decoder(config: PreTrainedConfig) -> T5Stack:
    """Builds the T5 decoder of appendix A.2 over the vocabulary of semantic IDs.

    It is a plain `T5Stack`, not a subclass: for classes outside transformers, `post_init` skips modules without
    parameters of their own, such as T5's attention, which would keep unit variance.

    Args:
        config (`PreTrainedConfig`): Gives `vocab_size`, `d_model`, `d_ff`, `d_kv`, `num_heads`, `num_decoder_layers`,
            `dropout_rate`.
    """
    t5_config = T5Config(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        d_ff=config.d_ff,
        d_kv=config.d_kv,
        num_heads=config.num_heads,
        num_layers=config.num_decoder_layers,
        dropout_rate=config.dropout_rate,
        feed_forward_proj=getattr(config, "feed_forward_proj", "relu"),  # FLAN-T5's is gated
        is_decoder=True,
        is_encoder_decoder=True,
        pad_token_id=PAD_TOKEN_ID,
        eos_token_id=None,
    )
    t5_config._attn_implementation = config._attn_implementation
    return T5Stack(t5_config)


def build_history_encoder(config: PreTrainedConfig, num_layers: int) -> T5Stack:
    """Builds a T5 encoder over vectors of the decoder's width; the caller gives the mask, causal or not.

    Args:
        config (`PreTrainedConfig`): Gives `d_model`, `d_ff`, `d_kv`, `num_heads`, `dropout_rate`.
        num_layers (`int`): Number of layers.
    """
    t5_config = T5Config(
        vocab_size=1,
        d_model=config.d_model,
        d_ff=config.d_ff,
        d_kv=config.d_kv,
        num_heads=config.num_heads,
        num_layers=num_layers,
        dropout_rate=config.dropout_rate,
        use_cache=False,
        pad_token_id=PAD_TOKEN_ID,
        eos_token_id=None,
    )
    t5_config._attn_implementation = config._attn_implementation
    encoder = T5Stack(t5_config)
    del encoder.embed_tokens  # unused: a weight without a gradient would stop distributed training
    return encoder


def causal_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Causal attention mask: `(batch_size, length)` to bool `(batch_size, 1, length, length)`.

    Padding attends to itself, so that no row of the softmax is empty.

    >>> causal_mask(torch.tensor([[0, 1, 1]]))[0, 0].int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    length = attention_mask.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=attention_mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=attention_mask.device)
    return ((attention_mask[:, None, :].bool() & earlier) | itself).unsqueeze(1)


def fit_mask(mask: torch.Tensor, stack: T5Stack) -> torch.Tensor:
    """Converts a bool mask to the form of a T5 stack, the same shape: bool for SDPA, additive for eager attention.

    Args:
        mask (`torch.Tensor`): Shape `(batch_size, 1, query_length, key_length)`, bool, true where visible.
        stack (`T5Stack`): The stack that the mask is for.
    """
    if stack.config._attn_implementation != "eager":
        return mask
    dtype = stack.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def last_visible(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Last visible state of each request; the first state if none is visible.

    Args:
        states (`torch.Tensor`): Shape `(batch_size, length, d_model)`.
        mask (`torch.Tensor`): Shape `(batch_size, ..., length)`; 0 or false where not visible.

    Returns:
        `torch.Tensor`: Shape `(batch_size, ..., d_model)`.
    """
    positions = torch.arange(states.shape[1], device=states.device)
    last = (positions * mask.bool()).argmax(-1)  # (batch_size, ...)
    flat = last.reshape(states.shape[0], -1, 1).expand(-1, -1, states.shape[-1])
    return states.gather(1, flat).view(*last.shape, states.shape[-1])


def decoder_logits(decoder: T5Stack, hidden_states: torch.Tensor) -> torch.Tensor:
    """Logits by T5's tied head, scaled by `d_model ** -0.5`: `(..., d_model)` to `(..., vocab_size)`."""
    return functional.linear(hidden_states * decoder.config.d_model**-0.5, decoder.embed_tokens.weight)


CrossStates = tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]  # keys and values of encoder states, by layer


def project_states(decoder: T5Stack, encoder_hidden_states: torch.Tensor) -> CrossStates:
    """Projects encoder states to the keys and values of cross-attention, once per request.

    Args:
        decoder (`T5Stack`): The decoder.
        encoder_hidden_states (`torch.Tensor`): Shape `(batch_size, sequence_length, d_model)`.

    Returns:
        `CrossStates`: Per layer, keys and values `(batch_size, num_heads, sequence_length, d_kv)`.
    """
    attentions = [cross_layer.EncDecAttention for _, cross_layer, _ in decoder_layers(decoder)]
    return (
        [split_heads(attention.k(encoder_hidden_states), decoder) for attention in attentions],
        [split_heads(attention.v(encoder_hidden_states), decoder) for attention in attentions],
    )


def decoder_layers(decoder: T5Stack) -> list[tuple[T5LayerSelfAttention, T5LayerCrossAttention, T5LayerFF]]:
    """Self-attention, cross-attention and feed-forward layer of each block."""
    return [
        cast(tuple[T5LayerSelfAttention, T5LayerCrossAttention, T5LayerFF], tuple(cast(T5Block, block).layer))
        for block in decoder.block
    ]


def split_heads(states: torch.Tensor, decoder: T5Stack) -> torch.Tensor:
    """`(batch_size, length, num_heads * d_kv)` to `(batch_size, num_heads, length, d_kv)`."""
    return states.unflatten(-1, (decoder.config.num_heads, decoder.config.d_kv)).transpose(1, 2)


def rows_of_beams(parents: torch.Tensor, num_rows: int) -> torch.Tensor:
    """Rows of a cache that beams extend.

    Args:
        parents (`torch.Tensor`): Shape `(batch_size, width)`, beams of the step before.
        num_rows (`int`): Rows of the cache, one per beam, those of a request in succession.

    Returns:
        `torch.Tensor`: Shape `(batch_size * width,)`.

    >>> rows_of_beams(torch.tensor([[0, 2], [1, 0]]), num_rows=6).tolist()
    [0, 2, 4, 3]
    """
    batch_size = parents.shape[0]
    first = torch.arange(batch_size, device=parents.device).unsqueeze(1) * (num_rows // batch_size)
    return (parents + first).flatten()


class DecodingSteps:
    """Runs the decoder one level at a time for all beams of a request: the network side of [`beam_search`].

    Keys and values of the encoder states are projected once per request and shared by its beams, whose queries form
    one product; the self-attention cache holds at most `num_levels` entries and is gathered by parent beam. The
    generic loop of `transformers` copies, reorders and re-projects the encoder side for every beam.

    Args:
        decoder (`T5Stack`): In evaluation mode; dropout is never applied here.
        cross_states (`CrossStates`): Of the encoder states; see [`project_states`].
        attention_mask (`torch.Tensor`): Shape `(batch_size, sequence_length)`; 0 where padded.
        num_levels (`int`): Length of a semantic ID.
        codebook_size (`int`): Codes per level.
        start_states (`torch.Tensor`, *optional*): Shape `(batch_size, d_model)`, added to the start token.
    """

    def __init__(
        self,
        decoder: T5Stack,
        cross_states: CrossStates,
        attention_mask: torch.Tensor,
        num_levels: int,
        codebook_size: int,
        start_states: torch.Tensor | None = None,
    ) -> None:
        self.decoder = decoder
        self.start_states = start_states
        self.codebook_size = codebook_size
        self.mask = attention_mask[:, None, None, :].bool()  # (batch_size, 1, 1, sequence_length)
        self.layers = decoder_layers(decoder)
        self.cross_keys, self.cross_values = cross_states
        self_attention = self.layers[0][0].SelfAttention
        self.position_bias = self_attention.compute_bias(num_levels, num_levels)  # (1, num_heads, query, key)
        self.keys: dict[int, torch.Tensor] = {}  # by layer, (batch_size * width, num_heads, level + 1, d_kv)
        self.values: dict[int, torch.Tensor] = {}

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        """Log-probabilities of the codes at `level`, `(batch_size, width, codebook_size)`; see [`beam_search`]."""
        if codes is None or parents is None:
            tokens = torch.full((self.mask.shape[0], 1), PAD_TOKEN_ID, device=self.mask.device)
        else:
            tokens = codes + first_token(level - 1, self.codebook_size)
            rows = rows_of_beams(parents, self.keys[0].shape[0])
            for cache in (self.keys, self.values):
                cache.update({index: states.index_select(0, rows) for index, states in cache.items()})
        return self.decode(level, tokens)

    def decode(self, level: int, tokens: torch.Tensor) -> torch.Tensor:
        """[`__call__`] for the tokens of the previous level, `(batch_size, width)`, after their beams' caches."""
        states = self.decoder.embed_tokens(tokens)  # (batch_size, width, d_model)
        # selected, not sliced: in a trace, the bounds of a slice would limit the level
        positions = torch.arange(level + 1, device=tokens.device)
        bias = self.position_bias.index_select(2, positions[-1:]).index_select(3, positions).to(states.dtype)
        if self.start_states is not None:
            is_start = (tokens == PAD_TOKEN_ID).unsqueeze(-1).to(states.dtype)
            states = states + is_start * self.start_states.unsqueeze(1)
        for index, (self_layer, cross_layer, feed_forward) in enumerate(self.layers):
            states = states + self._self_attention(index, bias, self_layer, self_layer.layer_norm(states))
            states = states + self._cross_attention(index, cross_layer, cross_layer.layer_norm(states))
            states = feed_forward(states)
        # normalized over the whole vocabulary, as in training
        log_probs = decoder_logits(self.decoder, self.decoder.final_layer_norm(states)).float().log_softmax(-1)
        columns = torch.arange(self.codebook_size, device=tokens.device) + first_token(level, self.codebook_size)
        return log_probs.index_select(-1, columns)

    def _self_attention(
        self, index: int, bias: torch.Tensor, layer: T5LayerSelfAttention, states: torch.Tensor
    ) -> torch.Tensor:
        """Attends from each beam to its own past: `(batch_size, width, d_model)` in and out."""
        attention, config = layer.SelfAttention, self.decoder.config
        batch_size, width, _ = states.shape
        # one row per beam: (batch_size * width, num_heads, 1, d_kv)
        query, key, value = (
            projection(states).view(batch_size * width, config.num_heads, 1, config.d_kv)
            for projection in (attention.q, attention.k, attention.v)
        )
        if index in self.keys:
            key, value = torch.cat([self.keys[index], key], dim=2), torch.cat([self.values[index], value], dim=2)
        self.keys[index], self.values[index] = key, value
        context = self._attend(query, key, value, bias)
        return attention.o(context.reshape(batch_size, width, -1))

    def _cross_attention(self, index: int, layer: T5LayerCrossAttention, states: torch.Tensor) -> torch.Tensor:
        """Attends from all beams of a request to its encoder states: `(batch_size, width, d_model)` in and out."""
        attention = layer.EncDecAttention
        query = split_heads(attention.q(states), self.decoder)
        context = self._attend(query, self.cross_keys[index], self.cross_values[index], self.mask)
        return attention.o(context.transpose(1, 2).flatten(2))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention `(rows, num_heads, num_queries, d_kv)`, unscaled as in T5; the mask is bool or added."""
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
