"""What every generative retriever here shares: the item table, the T5 decoder, `generate` and `recommend`.

Knows how to turn encoder states into items. Leaves to its subclasses how a request becomes encoder states: they give
`encode(**inputs)` and `encoder_input_names`, nothing else.
"""

import copy
from dataclasses import fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel, T5Config
from transformers import initialization as init
from transformers.generation import GenerateBeamEncoderDecoderOutput
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.t5.modeling_t5 import T5Stack
from transformers.utils import ModelOutput

from .constrained_decoding import (
    BeamSearchOutput,
    NextLogProbs,
    NodeLogWeights,
    Trie,
    TrieLogitsProcessor,
    beam_search,
)
from .recommendation import ItemIds, ItemLogWeights, RecommendOutput, check_enough, check_k, count_allowed, weigh_items
from .semantic_ids import PAD_TOKEN_ID, SemanticIds, codes_to_tokens, first_token, tokens_to_codes

# What a generation configuration may set and still be plain beam search; anything else takes the generic loop.
PLAIN_BEAM_SEARCH_SETTINGS = {
    "num_beams", "num_return_sequences", "return_dict_in_generate", "output_scores", "use_cache", "early_stopping",
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "length_penalty", "do_sample", "pad_token_id",
    "bos_token_id", "eos_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config",
}  # fmt: skip


# Up to so many allowed items, `recommend` searches with a beam for each: a few beams would prune prefixes that lead to
# allowed items because others below the same code are improbable.
EXACT_ITEMS = 200
# What transformers calls the keys and values of earlier steps: `cache` since 5.24, `past_key_values` before.
CACHE = "cache" if "cache" in {field.name for field in fields(Seq2SeqLMOutput)} else "past_key_values"
# The logit of a code that no item has there. Finite: a row of padding would be NaN otherwise.
NOT_ALLOWED = -1e9


def build_decoder(config: PreTrainedConfig) -> T5Stack:
    """The T5 decoder of appendix A.2 over the vocabulary of semantic IDs.

    A `T5Stack` as it is, not a subclass: for classes outside transformers, `post_init` passes over modules without
    parameters of their own, among them T5's attention, which would keep unit variance.

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
    """A T5 encoder over vectors, of the decoder's width; whoever calls it gives the mask, causal or not.

    Args:
        config (`PreTrainedConfig`): Gives `d_model`, `d_ff`, `d_kv`, `num_heads`, `dropout_rate`.
        num_layers (`int`): Layers.
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
    del encoder.embed_tokens  # it reads vectors; a weight without a gradient would stop distributed training
    return encoder


def causal_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Who sees whom where nothing sees what comes later: `(batch_size, length)` to `(batch_size, 1, length, length)`.

    Padding sees itself, so that no row of the softmax is empty.

    >>> causal_mask(torch.tensor([[0, 1, 1]]))[0, 0].int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    length = attention_mask.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=attention_mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=attention_mask.device)
    return ((attention_mask[:, None, :].bool() & earlier) | itself).unsqueeze(1)


def fit_mask(mask: torch.Tensor, stack: T5Stack) -> torch.Tensor:
    """A bool mask as a T5 stack takes it, of the same shape: SDPA hides where it is false, eager attention adds it.

    Args:
        mask (`torch.Tensor`): Shape `(batch_size, 1, query_length, key_length)`, bool, true where visible.
        stack (`T5Stack`): The stack that is given the mask.
    """
    if stack.config._attn_implementation != "eager":
        return mask
    dtype = stack.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def last_visible(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last state that a request sees: `(batch_size, length, d_model)` and `(batch_size, ..., length)` to
    `(batch_size, ..., d_model)`; the first state where it sees none."""
    positions = torch.arange(states.shape[1], device=states.device)
    last = (positions * mask.bool()).argmax(-1)  # (batch_size, ...)
    flat = last.reshape(len(states), -1, 1).expand(-1, -1, states.shape[-1])
    return states.gather(1, flat).view(*last.shape, states.shape[-1])


def decoder_logits(decoder: T5Stack, hidden_states: torch.Tensor) -> torch.Tensor:
    """T5's tied head, scaled by `d_model ** -0.5`: `(..., d_model)` to `(..., vocab_size)`."""
    return functional.linear(hidden_states * decoder.config.d_model**-0.5, decoder.embed_tokens.weight)


def refuse_unknown(settings: dict[str, Any]) -> None:
    """Refuses keywords of `forward` that nothing reads, but for the generic loop's own: what it leaves unset, a
    dictionary as output, and a mask of the target, of which nothing is padded.

    Raises:
        ValueError: Names the first of them.
    """
    for name, value in settings.items():
        usual = name == "return_dict"
        if value is not None and value is not usual and name != "decoder_attention_mask":
            raise ValueError(f"forward does not take {name}: it gives loss and logits, as a dictionary; leave it out.")


class DecodingSteps:
    """The decoder, one level at a time for all beams of a request at once: the network side of [`beam_search`].

    The keys and values of the encoder states are projected once per request and shared by its beams, whose queries go
    through in one product; the cache of the self-attention never holds more than `num_levels` entries and is gathered
    by parent. The generic loop instead copies, reorders and re-projects the encoder's side for every beam.

    Args:
        decoder (`T5Stack`): In evaluation mode; dropout is never applied here.
        encoder_hidden_states (`torch.Tensor`): Shape `(batch_size, sequence_length, d_model)`.
        attention_mask (`torch.Tensor`): Shape `(batch_size, sequence_length)`; 0 where padded.
        num_levels (`int`): Length of a semantic ID.
        codebook_size (`int`): Codes per level.
        start_states (`torch.Tensor`, *optional*): Shape `(batch_size, d_model)`, added to the start token.
    """

    def __init__(
        self,
        decoder: T5Stack,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        num_levels: int,
        codebook_size: int,
        start_states: torch.Tensor | None = None,
    ) -> None:
        self.decoder = decoder
        self.start_states = start_states
        self.codebook_size = codebook_size
        self.num_heads, self.d_kv = decoder.config.num_heads, decoder.config.d_kv
        self.mask = attention_mask[:, None, None, :].bool()  # (batch_size, 1, 1, sequence_length)
        cross_attentions = [block.layer[1].EncDecAttention for block in decoder.block]
        self.cross_keys = [self._heads(attention.k(encoder_hidden_states)) for attention in cross_attentions]
        self.cross_values = [self._heads(attention.v(encoder_hidden_states)) for attention in cross_attentions]
        self_attention = decoder.block[0].layer[0].SelfAttention
        self.position_bias = self_attention.compute_bias(num_levels, num_levels)  # (1, num_heads, query, key)
        self.keys: list[torch.Tensor | None] = [None] * len(decoder.block)
        self.values: list[torch.Tensor | None] = [None] * len(decoder.block)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """`(batch_size, length, num_heads * d_kv)` to `(batch_size, num_heads, length, d_kv)`."""
        return states.unflatten(-1, (self.num_heads, self.d_kv)).transpose(1, 2)

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        """Log-probabilities of the codes at `level`, `(batch_size, width, codebook_size)`; see [`beam_search`]."""
        if codes is None:
            tokens = torch.full((self.mask.shape[0], 1), PAD_TOKEN_ID, device=self.mask.device)
        else:
            tokens = codes + first_token(level - 1, self.codebook_size)
        states = self.decoder.embed_tokens(tokens)  # (batch_size, width, d_model)
        if codes is None and self.start_states is not None:
            states = states + self.start_states.unsqueeze(1)
        for index, block in enumerate(self.decoder.block):
            self_layer, cross_layer, feed_forward = block.layer
            states = states + self._self_attention(index, level, self_layer, self_layer.layer_norm(states), parents)
            states = states + self._cross_attention(index, cross_layer, cross_layer.layer_norm(states))
            states = feed_forward(states)
        # normalised over the whole vocabulary: scores are what the model was trained to predict, not renormalised
        log_probs = decoder_logits(self.decoder, self.decoder.final_layer_norm(states)).float().log_softmax(-1)
        start = first_token(level, self.codebook_size)
        return log_probs[..., start : start + self.codebook_size]

    def _self_attention(
        self, index: int, level: int, layer: nn.Module, states: torch.Tensor, parents: torch.Tensor | None
    ) -> torch.Tensor:
        """Each beam attends to its own past: `(batch_size, width, d_model)` in and out."""
        attention = layer.SelfAttention
        batch_size, width, _ = states.shape
        # every beam is a row of its own here: (batch_size * width, num_heads, 1, d_kv)
        query, key, value = (
            projection(states).view(batch_size * width, self.num_heads, 1, self.d_kv)
            for projection in (attention.q, attention.k, attention.v)
        )
        if parents is not None:
            previous_width = self.keys[index].shape[0] // batch_size
            rows = (parents + previous_width * torch.arange(batch_size, device=parents.device).unsqueeze(1)).flatten()
            key = torch.cat([self.keys[index][rows], key], dim=2)
            value = torch.cat([self.values[index][rows], value], dim=2)
        self.keys[index], self.values[index] = key, value
        bias = self.position_bias[:, :, level : level + 1, : level + 1].to(query.dtype)
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return attention.o(context.reshape(batch_size, width, -1))

    def _cross_attention(self, index: int, layer: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """All beams of a request attend to its encoder states: `(batch_size, width, d_model)` in and out."""
        attention = layer.EncDecAttention
        context = functional.scaled_dot_product_attention(
            self._heads(attention.q(states)),
            self.cross_keys[index],
            self.cross_values[index],
            attn_mask=self.mask,
            scale=1.0,  # T5 does not scale its scores
        )
        return attention.o(context.transpose(1, 2).flatten(2))


class GenerativeRetriever(PreTrainedModel, GenerationMixin):
    """A model that recommends by generating semantic IDs of its catalogue, and nothing else.

    Subclasses create their modules, call `post_init()`, name their inputs in `encoder_input_names` and give
    `encode(**inputs) -> BaseModelOutput` with `last_hidden_state (batch_size, sequence_length, d_model)`.
    """

    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["T5Block"]
    accepts_loss_kwargs = False  # whatever **kwargs make the Trainer believe: the loss is the mean of this batch
    encoder_input_names: tuple[str, ...] = ()

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.decoder = build_decoder(config)
        # Filled by `set_item_semantic_ids`; travels with the weights, so that a checkpoint can recommend alone.
        self.register_buffer(
            "item_semantic_ids", torch.zeros(config.num_items, config.num_levels, dtype=torch.long), persistent=True
        )
        self._trie: Trie | None = None
        self.generation_config = GenerationConfig(
            num_beams=min(30, config.num_items),  # section A.2: more beams than results; 30 on Beauty
            length_penalty=0.0,  # keeps a score the plain log-probability
            max_new_tokens=config.num_levels,
            pad_token_id=PAD_TOKEN_ID,
            bos_token_id=PAD_TOKEN_ID,
            decoder_start_token_id=PAD_TOKEN_ID,
            eos_token_id=None,
        )

    def post_init(self) -> None:
        super().post_init()
        # T5 keeps its `wo` in float32 under float16; by that pattern BERT's `word_embeddings` would be kept too
        self._keep_in_fp32_modules = {
            "DenseReluDense.wo" if name == "wo" else name for name in self._keep_in_fp32_modules
        }

    # -- weights that no checkpoint gives -----------------------------------------------------------------------------

    @classmethod
    def is_custom_code(cls) -> bool:
        """False, for all that initialises weights here leaves loaded ones alone. Custom code is otherwise passed over
        wherever a module has no parameters of its own, and T5's attention would stay uninitialised memory."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:  # its tables, empty until they are set
            for table in self.buffers(recurse=False):
                init.zeros_(table)

    # -- the vocabulary -----------------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Embedding:
        """Embeddings of the decoder's vocabulary, `config.vocab_size` rows."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.decoder.embed_tokens = value

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Gives the embeddings as they are; refuses any other size.

        Raises:
            ValueError: If another number of tokens is asked for.
        """
        if new_num_tokens in (None, self.config.vocab_size) and not (args or kwargs):
            return self.get_input_embeddings()
        raise ValueError(
            f"the vocabulary ({self.config.vocab_size} tokens) is that of the catalogue's semantic IDs (padding, and "
            f"{self.config.num_levels} levels of {self.config.codebook_size} codes) and cannot be resized to "
            f"{new_num_tokens}; make a new model for another catalogue."
        )

    # -- the catalogue ------------------------------------------------------------------------------------------------

    def set_item_semantic_ids(self, semantic_ids: SemanticIds) -> None:
        """Gives the model its catalogue.

        Args:
            semantic_ids ([`SemanticIds`]): `num_items x num_levels` codes, as the configuration promises.

        Raises:
            ValueError: If the table has another number of items, levels or codes than the configuration.
        """
        for name in ("num_items", "num_levels", "codebook_size"):
            given, expected = getattr(semantic_ids, name), getattr(self.config, name)
            if given != expected:
                raise ValueError(
                    f"{name} of the item table ({given}) must match the model's ({expected}); pass the semantic "
                    "IDs that this model was configured for."
                )
        self.item_semantic_ids.copy_(semantic_ids.codes)
        self._trie = None

    @property
    def trie(self) -> Trie:
        """The catalogue's trie, built on first use from `item_semantic_ids`, on its device."""
        if self._trie is None or self._trie.device != self.item_semantic_ids.device:
            if self.config.num_items > 1 and not bool(self.item_semantic_ids.any()):
                raise ValueError(
                    "the item table is empty (all codes 0); call set_item_semantic_ids() or load a trained checkpoint."
                )
            self._trie = Trie(self.item_semantic_ids)
        return self._trie

    # -- training -----------------------------------------------------------------------------------------------------

    def encode(self, **inputs: Any) -> BaseModelOutput:
        """The request as encoder states; given by each subclass."""
        raise NotImplementedError

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The model itself: `generate` hands over encoder states that `encode` made."""
        return self

    @property
    def starts_from_last_state(self) -> bool:
        """Whether the decoder's start token carries the last state of the request: with a causal history that state
        has seen everything, and cross-attention alone, which knows no positions, could not tell it apart."""
        return getattr(self.config, "causal_history", False)

    def decode_prefixes(
        self, encoder_hidden_states: torch.Tensor, example_mask: torch.Tensor, labels: torch.Tensor
    ) -> Seq2SeqLMOutput:
        """Decoder pass over many examples of one sequence, each of which sees a part of the same encoder states.

        Args:
            encoder_hidden_states (`torch.Tensor`): Shape `(batch_size, sequence_length, d_model)`.
            example_mask (`torch.Tensor`): Shape `(batch_size, num_examples, sequence_length)`; what each example sees.
            labels (`torch.Tensor`): Shape `(batch_size, num_examples, num_levels)`; -100 where there is no example.

        Returns:
            `Seq2SeqLMOutput`: `loss`, the mean over the examples, and `logits (batch_size, num_examples * num_levels,
            vocab_size)`.
        """
        batch_size, num_examples, num_levels = labels.shape
        tokens = functional.pad(labels[..., :-1].clamp(min=PAD_TOKEN_ID), (1, 0), value=PAD_TOKEN_ID)
        embeds = self.decoder.embed_tokens(tokens)  # (batch_size, num_examples, num_levels, d_model)
        if self.starts_from_last_state:
            start = functional.one_hot(torch.zeros_like(labels[..., 0]), num_levels).unsqueeze(-1).to(embeds.dtype)
            embeds = embeds + start * last_visible(encoder_hidden_states, example_mask).unsqueeze(2)
        # within an example causal, across examples nothing
        step = torch.arange(num_examples * num_levels, device=labels.device)
        own = step.unsqueeze(1) // num_levels == step // num_levels
        self_mask = (own & (step <= step.unsqueeze(1))).expand(batch_size, 1, -1, -1)
        # padding sees the first state, so that no row of the softmax is empty; its loss is ignored
        visible = example_mask.bool().clone()
        visible[..., 0] |= ~visible.any(-1)
        output = self.decoder(
            inputs_embeds=embeds.flatten(1, 2),
            attention_mask=fit_mask(self_mask, self.decoder),
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=fit_mask(visible.repeat_interleave(num_levels, dim=1).unsqueeze(1), self.decoder),
            use_cache=False,
        )
        logits = decoder_logits(self.decoder, output.last_hidden_state)
        if self.config.constrained_softmax:
            logits = self.constrain(logits.view(*labels.shape, -1), labels).flatten(1, 2)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return Seq2SeqLMOutput(loss=loss, logits=logits)

    def constrain(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Takes out what the catalogue does not allow after each prefix of the labels.

        Args:
            logits (`torch.Tensor`): Shape `(..., num_levels, vocab_size)`.
            labels (`torch.Tensor`): Shape `(..., num_levels)`, token ids; negative where there is no example.

        Returns:
            `torch.Tensor`: float32 of the shape of `logits`; `NOT_ALLOWED` where no item continues so.
        """
        num_levels, codebook_size = self.config.num_levels, self.config.codebook_size
        codes = tokens_to_codes(labels, codebook_size).view(-1, num_levels)
        codes = torch.where(labels.view(-1, num_levels) < 0, self.item_semantic_ids[0], codes)
        allowed = self.trie.allowed_codes(codes, codebook_size)
        mask = torch.zeros(len(codes), num_levels, self.config.vocab_size, dtype=torch.bool, device=logits.device)
        for level in range(num_levels):
            start = first_token(level, codebook_size)
            mask[:, level, start : start + codebook_size] = allowed[:, level]
        return logits.float().masked_fill(~mask.view(logits.shape), NOT_ALLOWED)

    def decode(
        self,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        decoder_input_ids: torch.Tensor,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        labels: torch.Tensor | None = None,
    ) -> Seq2SeqLMOutput:
        """Decoder pass with teacher forcing.

        Args:
            encoder_hidden_states (`torch.Tensor`): Shape `(batch_size, sequence_length, d_model)`.
            attention_mask (`torch.Tensor`, *optional*): Shape `(batch_size, sequence_length)`.
            decoder_input_ids (`torch.Tensor`): Shape `(batch_size, target_length)`.
            past_key_values (*optional*): Cache of the generic generation loop.
            use_cache (`bool`, *optional*): Whether to return it.
            labels (`torch.Tensor`, *optional*): Shape `(batch_size, target_length)`; gives the mean cross-entropy.

        Returns:
            `Seq2SeqLMOutput`: `loss` (with `labels`) and `logits (batch_size, target_length, vocab_size)`.
        """
        embeds = self.decoder.embed_tokens(decoder_input_ids)
        if self.starts_from_last_state:
            if attention_mask is None:
                attention_mask = torch.ones(encoder_hidden_states.shape[:2], device=embeds.device)
            is_start = (decoder_input_ids == PAD_TOKEN_ID).unsqueeze(-1).to(embeds.dtype)
            embeds = embeds + is_start * last_visible(encoder_hidden_states, attention_mask).unsqueeze(1)
        output = self.decoder(
            inputs_embeds=embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=attention_mask,
            use_cache=use_cache if labels is None else False,
            **{CACHE: past_key_values},
        )
        logits = decoder_logits(self.decoder, output.last_hidden_state)
        if labels is not None and self.config.constrained_softmax:
            logits = self.constrain(logits, labels)
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return Seq2SeqLMOutput(loss=loss, logits=logits, **{CACHE: getattr(output, CACHE)})

    def _forward(
        self,
        encoder_inputs: dict[str, Any],
        attention_mask: torch.Tensor | None,
        encoder_outputs: BaseModelOutput | None,
        decoder_input_ids: torch.Tensor | None,
        labels: torch.Tensor | None,
        past_key_values: Any,
        use_cache: bool | None,
        example_mask: torch.Tensor | None = None,
        **settings: Any,
    ) -> Seq2SeqLMOutput:
        """The part of `forward` that no subclass changes."""
        past_key_values = settings.pop("cache", past_key_values)
        refuse_unknown(settings)
        if encoder_outputs is None:
            encoder_outputs = self.encode(attention_mask=attention_mask, **encoder_inputs)
        if example_mask is not None:
            return self.decode_prefixes(encoder_outputs.last_hidden_state, example_mask, labels)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("forward needs labels or decoder_input_ids; to get items call generate or recommend.")
            decoder_input_ids = functional.pad(labels[:, :-1], (1, 0), value=PAD_TOKEN_ID)
        return self.decode(
            encoder_outputs.last_hidden_state, attention_mask, decoder_input_ids, past_key_values, use_cache, labels
        )

    def item_labels(self, items: torch.Tensor) -> torch.Tensor:
        """Training labels of target items: `(batch_size,)` item ids to `(batch_size, num_levels)` token ids."""
        return codes_to_tokens(self.item_semantic_ids[items - 1], self.config.codebook_size)

    # -- generation ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: list | None = None,
        stopping_criteria: list | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **kwargs: Any,
    ) -> torch.Tensor | ModelOutput:
        """Generates semantic IDs of the catalogue; always constrained, whatever the decoding strategy.

        Plain beam search takes the own loop of `num_levels` steps; greedy search, sampling and anything else that the
        arguments ask for takes the generic loop of `transformers` with a [`TrieLogitsProcessor`]. Both give the same
        beams.

        Args:
            inputs (`torch.Tensor`, *optional*): Not used; give the processor's output by name.
            generation_config, logits_processor, stopping_criteria: As in `transformers`.
            allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; column `i - 1` is item
                `i`.
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`], *optional*): As in `recommend`. Sampling
                draws from the model's tokens times what their items weigh on average.
            kwargs: The processor's output, and settings of the generation configuration.

        Returns:
            `torch.Tensor` of shape `(batch_size * num_return_sequences, 1 + num_levels)`, the start token first; with
            `return_dict_in_generate` a `GenerateBeamEncoderDecoderOutput` whose `sequences_scores` are
            log-probabilities, plus the items' log-weights where given.

        Raises:
            ValueError: If there are more beams or results than items, the settings ask for another length, or
                `item_log_weights` or `allowed_items` are not as promised.
        """
        if inputs is not None:
            raise ValueError(
                f"pass the processor's output by name ({', '.join(self.encoder_input_names)}, attention_mask), "
                "not as inputs."
            )
        settings = copy.deepcopy(generation_config if generation_config is not None else self.generation_config)
        model_inputs = settings.update(**kwargs)
        if model_inputs.get("assistant_model") is not None:
            raise ValueError("assisted decoding drafts tokens that are no item's; leave assistant_model out.")
        self._check_generation(settings)
        encoder_outputs, attention_mask = self._encode_request(model_inputs)
        num_distinct = 1 if settings.do_sample else settings.num_return_sequences or 1  # samples may repeat an item
        weights = weigh_items(
            self.config.num_items, len(attention_mask), allowed_items=allowed_items, item_log_weights=item_log_weights
        )
        check_enough(count_allowed(weights, self.config.num_items), num_distinct)
        node_log_weights = self._fold(weights)
        if self._is_plain_beam_search(settings, logits_processor, stopping_criteria, model_inputs):
            found = self._search_beams(encoder_outputs, attention_mask, settings.num_beams, node_log_weights)
            return self._as_generate_output(found, settings)
        processor = self._trie_processor(node_log_weights)
        settings.max_new_tokens, settings.max_length = self.config.num_levels, None
        return super().generate(
            generation_config=settings,
            logits_processor=[processor, *(logits_processor or [])],
            stopping_criteria=stopping_criteria,
            # a copy: the generic loop expands the states of the object it is given, in place
            encoder_outputs=type(encoder_outputs)(**encoder_outputs),
            attention_mask=attention_mask,
            **model_inputs,
        )

    @torch.no_grad()
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
        """The `k` most probable items, as far as the beams see.

        Args:
            k (`int`, defaults to 10): Items per request, in `1..num_items`.
            num_beams (`int`, *optional*): Beams; more find more of the exact top `k`. Where not given, the generation
                configuration's, and never fewer than `2 * k` where the catalogue has that many items; where at most
                `EXACT_ITEMS` (200) items may come back, as many as these, which is exact.
            candidates (*optional*): Ids of the only items that may come back: a sub-catalogue for all requests, or one
                list per request.
            exclude (*optional*): Ids that may not come back, such as what was bought already; likewise.
            allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; the same as a mask.
                Scores stay those of the whole catalogue.
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`], *optional*): Shape `(batch_size, num_items)`,
                float; column `i - 1` is what is added to the log-probability of item `i`, in the search and not after
                it. 0 says nothing, `-inf` keeps an item from coming back.
            inputs: The processor's output.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)`, no item twice, and `scores (batch_size, k)`,
                log-probabilities plus log-weights.

        Raises:
            ValueError: If `k` or `num_beams` is out of range, an id is unknown, a log-weight is NaN or `+inf`, or
                fewer than `k` items are allowed.
        """
        num_items = self.config.num_items
        self._check_size(k, num_beams)
        encoder_outputs, attention_mask = self._encode_request(inputs)
        if inputs:
            raise ValueError(
                f"recommend does not take {', '.join(sorted(inputs))}; it takes the processor's output "
                f"({', '.join(self.encoder_input_names)}, attention_mask), k, num_beams, candidates, exclude, "
                "allowed_items and item_log_weights."
            )
        weights = weigh_items(num_items, len(attention_mask), candidates, exclude, allowed_items, item_log_weights)
        num_allowed = count_allowed(weights, num_items)
        check_enough(num_allowed, k)
        node_log_weights = self._fold(weights)
        num_beams = num_beams or self._default_beams(k, num_allowed)
        found = self._search_beams(encoder_outputs, attention_mask, num_beams, node_log_weights)
        return RecommendOutput(items=found.items[:, :k], scores=found.scores[:, :k])

    def _check_size(self, k: int, num_beams: int | None) -> None:
        """Refuses a number of results or beams that the catalogue cannot give."""
        num_items = self.config.num_items
        check_k(k, num_items)
        if num_beams is not None and not k <= num_beams <= num_items:
            raise ValueError(
                f"num_beams ({num_beams}) must be in {k}..{num_items}: at least k, at most the number of items; "
                "leave it unset for a sensible default."
            )

    def _default_beams(self, k: int, num_allowed: torch.Tensor | None) -> int:
        """Beams for `k` results: exact where at most `EXACT_ITEMS` may come back; see `recommend`."""
        num_items = self.config.num_items
        num_beams = max(2 * k, self.generation_config.num_beams or 1)
        most = num_items if num_allowed is None else int(num_allowed.max())
        return min(num_items, max(num_beams, most) if most <= EXACT_ITEMS else num_beams)

    def _encode_request(self, inputs: dict[str, Any]) -> tuple[BaseModelOutput, torch.Tensor]:
        """Pops the encoder's inputs out of `inputs` and runs it, unless its states were given."""
        encoder_outputs = inputs.pop("encoder_outputs", None)
        attention_mask = inputs.pop("attention_mask", None)
        encoder_inputs = {name: inputs.pop(name) for name in self.encoder_input_names if name in inputs}
        if encoder_outputs is None:
            if not encoder_inputs:
                raise ValueError(
                    f"nothing to encode: give the processor's output ({', '.join(self.encoder_input_names)}, "
                    "attention_mask)."
                )
            encoder_outputs = self.encode(attention_mask=attention_mask, **encoder_inputs)
        states = encoder_outputs.last_hidden_state
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        if not bool(attention_mask.any(-1).all()):
            row = int((~attention_mask.any(-1)).int().argmax())
            raise ValueError(
                f"request {row} is empty: attention_mask is all 0; give a history, a preference, or both."
            )
        return encoder_outputs, attention_mask

    def _fold(self, weights: ItemLogWeights | None) -> NodeLogWeights | None:
        """Carries log-weights of items up the trie."""
        return None if weights is None else self.trie.mean_fold(weights.to(self.trie.device))

    def _trie_processor(self, node_log_weights: NodeLogWeights | None) -> TrieLogitsProcessor:
        """What keeps the generic loop in the catalogue."""
        return TrieLogitsProcessor(
            self.trie, self.config.codebook_size, node_log_weights, renormalize=self.config.constrained_softmax
        )

    def _check_generation(self, settings: GenerationConfig) -> None:
        """Refuses settings that no semantic ID can satisfy."""
        num_levels, num_items = self.config.num_levels, self.config.num_items
        for name in ("num_beams", "num_return_sequences"):
            if (value := getattr(settings, name) or 1) > num_items and not settings.do_sample:
                raise ValueError(
                    f"{name} ({value}) exceeds the catalogue ({num_items} items); pass at most {num_items}."
                )
        for name in ("output_attentions", "output_hidden_states"):
            if getattr(settings, name):
                raise ValueError(f"{name} is not given by this model; leave it unset.")
        if settings.max_length not in (None, 1 + num_levels):
            raise ValueError(
                f"max_length ({settings.max_length}) must be {1 + num_levels}, the start token and a semantic ID; "
                "leave it unset."
            )
        if settings.max_new_tokens not in (None, num_levels):
            raise ValueError(
                f"max_new_tokens ({settings.max_new_tokens}) must be {num_levels}, the length of a semantic ID; "
                "leave it unset."
            )

    @staticmethod
    def _is_plain_beam_search(
        settings: GenerationConfig, logits_processor: Any, stopping_criteria: Any, model_inputs: dict[str, Any]
    ) -> bool:
        """Whether nothing is asked for that the own loop cannot give."""
        changed = {name for name, value in settings.to_diff_dict().items() if value is not None}
        return (
            not (logits_processor or stopping_criteria or model_inputs)
            and changed <= PLAIN_BEAM_SEARCH_SETTINGS
            and (settings.num_beams or 1) > 1
            and not settings.do_sample
            and not settings.output_scores
            and settings.length_penalty == 0.0
        )

    def _search_beams(
        self,
        encoder_outputs: BaseModelOutput,
        attention_mask: torch.Tensor,
        num_beams: int,
        node_log_weights: NodeLogWeights | None,
    ) -> BeamSearchOutput:
        """[`beam_search`] with this model's decoder, in evaluation mode."""
        steps = DecodingSteps(
            self.decoder,
            encoder_outputs.last_hidden_state,
            attention_mask,
            self.config.num_levels,
            self.config.codebook_size,
            last_visible(encoder_outputs.last_hidden_state, attention_mask) if self.starts_from_last_state else None,
        )
        renormalize = self.config.constrained_softmax
        return self._run_search(steps, len(attention_mask), num_beams, node_log_weights, renormalize)

    def _run_search(
        self,
        steps: NextLogProbs,
        batch_size: int,
        num_beams: int,
        node_log_weights: NodeLogWeights | None,
        renormalize: bool = False,
    ) -> BeamSearchOutput:
        """[`beam_search`] with the decoder in evaluation mode."""
        was_training = self.decoder.training
        self.decoder.eval()
        try:
            return beam_search(steps, self.trie, batch_size, num_beams, node_log_weights, renormalize)
        finally:
            self.decoder.train(was_training)

    def _as_generate_output(self, found: BeamSearchOutput, settings: GenerationConfig) -> torch.Tensor | ModelOutput:
        """The beams in the shape that `generate` promises."""
        num_results = settings.num_return_sequences or 1
        tokens = codes_to_tokens(found.codes[:, :num_results], self.config.codebook_size).flatten(0, 1)
        sequences = functional.pad(tokens, (1, 0), value=PAD_TOKEN_ID)
        if not settings.return_dict_in_generate:
            return sequences
        scores = found.scores[:, :num_results].flatten()
        return GenerateBeamEncoderDecoderOutput(sequences=sequences, sequences_scores=scores)
