"""Base of the generative models: the semantic IDs of a catalog, and a T5 decoder trained on them."""

from dataclasses import fields
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedConfig
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .catalog_update import LivingCatalog
from .checked_loading import CheckedModel
from .configuration_semantic_ids import PAD_TOKEN_ID, first_token
from .semantic_ids import SemanticIds, codes_to_tokens, tokens_to_codes
from .t5_stacks import build_decoder, decoder_logits, fit_mask, last_visible
from .trie import Trie

# Name in transformers of the keys and values of earlier steps: `cache` since 5.24, `past_key_values` before.
CACHE = "cache" if "cache" in {field.name for field in fields(Seq2SeqLMOutput)} else "past_key_values"
# Logit of a code that no item has at its place; finite, because a row of padding would be NaN otherwise.
NOT_ALLOWED = -1e9


def refuse_unknown(settings: dict[str, Any]) -> None:
    """Checks that `forward` got no keyword that it ignores, except those of the generic loop: unset values,
    `return_dict=True`, and a mask of the target, which has no padding.

    Raises:
        ValueError: For any other keyword; names the first.
    """
    for name, value in settings.items():
        usual = name == "return_dict"
        if value is not None and value is not usual and name != "decoder_attention_mask":
            raise ValueError(f"forward does not take {name}: it gives loss and logits, as a dictionary; leave it out.")


class SemanticIdDecoderModel(CheckedModel, LivingCatalog):
    """A T5 decoder over the semantic IDs of a catalog.

    Subclasses create their modules, call `post_init()`, name their inputs in `encoder_input_names` and implement
    `encode(**inputs) -> BaseModelOutput` with `last_hidden_state (batch_size, sequence_length, d_model)`.

    Args:
        config (`PreTrainedConfig`): Sizes; see [`build_decoder`], and `num_items`, `num_levels`, `codebook_size`.
    """

    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["T5Block"]
    accepts_loss_kwargs = False  # the loss is the mean of this batch, although `forward` takes **kwargs
    encoder_input_names: tuple[str, ...] = ()
    item_semantic_ids: torch.Tensor

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.decoder = build_decoder(config)
        # set by `set_item_semantic_ids`; saved with the weights, so that a checkpoint can recommend alone
        self.register_buffer(
            "item_semantic_ids", torch.zeros(config.num_items, config.num_levels, dtype=torch.long), persistent=True
        )
        if config.num_removed_items:
            removed = torch.zeros(config.num_removed_items, dtype=torch.long)
            self.register_buffer("removed_items", removed, persistent=True)
        self._trie: Trie | None = None
        self.generation_config = GenerationConfig(
            # section A.2: more beams than results; 30 on Beauty
            num_beams=min(30, config.num_items - config.num_removed_items),
            length_penalty=0.0,  # a score is the plain log-probability
            max_new_tokens=config.num_levels,
            pad_token_id=PAD_TOKEN_ID,
            bos_token_id=PAD_TOKEN_ID,
            decoder_start_token_id=PAD_TOKEN_ID,
            eos_token_id=None,
        )

    def post_init(self) -> None:
        """Initializes weights; T5's `wo` stays in float32 under float16."""
        super().post_init()
        # the pattern "wo" would keep BERT's `word_embeddings` too
        self._keep_in_fp32_modules = {
            "DenseReluDense.wo" if name == "wo" else name for name in self._keep_in_fp32_modules or ()
        }

    # -- initialization -----------------------------------------------------------------------------------------------

    @classmethod
    def is_custom_code(cls) -> bool:
        """Returns `False`: the initialization here leaves loaded weights alone, and for custom code transformers skips
        modules without parameters of their own, which would leave T5's attention uninitialized."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:  # its buffers, empty until they are set
            for table in self.buffers(recurse=False):
                init.zeros_(table)

    # -- the vocabulary -----------------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Embedding:
        """Embeddings of the decoder's vocabulary, `config.vocab_size` rows."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the embeddings of the decoder's vocabulary."""
        self.decoder.embed_tokens = cast(nn.Embedding, value)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Returns the embeddings; their size is fixed by the catalog.

        Raises:
            ValueError: If `new_num_tokens` differs from the size.
        """
        if new_num_tokens in (None, self.config.vocab_size) and not (args or kwargs):
            return self.get_input_embeddings()
        raise ValueError(
            f"the vocabulary ({self.config.vocab_size} tokens) is that of the catalog's semantic IDs (padding, and "
            f"{self.config.num_levels} levels of {self.config.codebook_size} codes) and cannot be resized to "
            f"{new_num_tokens}; make a new model for another catalog."
        )

    # -- the catalog ------------------------------------------------------------------------------------------------

    def set_item_semantic_ids(self, semantic_ids: SemanticIds) -> None:
        """Sets the catalog.

        Args:
            semantic_ids ([`SemanticIds`]): `num_items x num_levels` codes, as in the configuration.

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
        self.config.items_digest = None  # of the items before
        self._trie = None

    def check_tables(self) -> None:
        """Checks that each item in use has a semantic ID of its own, unless the catalog is not set yet."""
        if self.item_semantic_ids.is_meta:
            return
        if self.config.num_removed_items:
            removed = self.removed_items
            if not 1 <= int(removed.min()) <= int(removed.max()) <= self.config.num_items or bool(
                (removed.diff() <= 0).any()
            ):
                raise ValueError(f"its removed_items must ascend within 1..{self.config.num_items}")
        if bool(self.item_semantic_ids.any()):
            SemanticIds(self._codes_in_use(), self.config.codebook_size)

    @property
    def trie(self) -> Trie:
        """Trie of the catalog, built from `item_semantic_ids` on first use, on its device."""
        if self._trie is None or self._trie.device != self.item_semantic_ids.device:
            if self.config.num_items > 1 and not bool(self.item_semantic_ids.any()):
                raise ValueError(
                    "the item table is empty (all codes 0); call set_item_semantic_ids() or load a trained checkpoint."
                )
            codes = self.item_semantic_ids
            if self.config.num_removed_items:
                codes = codes.index_fill(0, self.removed_items - 1, -1)
            self._trie = Trie(codes)
        return self._trie

    # -- training -----------------------------------------------------------------------------------------------------

    def encode(self, *args: Any, **inputs: Any) -> BaseModelOutput:
        """Encoder states of requests; implemented by each subclass."""
        raise NotImplementedError

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """Returns the model itself: `generate` receives encoder states from `encode`."""
        return self

    @property
    def starts_from_last_state(self) -> bool:
        """Whether the last state of the request is added to the decoder's start token.

        With a causal history that state summarizes all of it, and cross-attention has no positions to find it by.
        """
        return getattr(self.config, "causal_history", False)

    def decode_prefixes(
        self, encoder_hidden_states: torch.Tensor, example_mask: torch.Tensor, labels: torch.Tensor
    ) -> Seq2SeqLMOutput:
        """Decoder pass over several examples per sequence, each of which sees a part of the same encoder states.

        Args:
            encoder_hidden_states (`torch.Tensor`): Shape `(batch_size, sequence_length, d_model)`.
            example_mask (`torch.Tensor`): Shape `(batch_size, num_examples, sequence_length)`; 0 where an example does
                not see a state.
            labels (`torch.Tensor`): Shape `(batch_size, num_examples, num_levels)`; -100 where there is no example.

        Returns:
            `Seq2SeqLMOutput`: `loss`, the mean over all codes of the examples, and `logits (batch_size, num_examples *
            num_levels, vocab_size)`.
        """
        batch_size, num_examples, num_levels = labels.shape
        tokens = functional.pad(labels[..., :-1].clamp(min=PAD_TOKEN_ID), (1, 0), value=PAD_TOKEN_ID)
        embeds = self.decoder.embed_tokens(tokens)  # (batch_size, num_examples, num_levels, d_model)
        if self.starts_from_last_state:
            start = functional.one_hot(torch.zeros_like(labels[..., 0]), num_levels).unsqueeze(-1).to(embeds.dtype)
            embeds = embeds + start * last_visible(encoder_hidden_states, example_mask).unsqueeze(2)
        # causal within an example, masked across examples
        step = torch.arange(num_examples * num_levels, device=labels.device)
        own = step.unsqueeze(1) // num_levels == step // num_levels
        self_mask = (own & (step <= step.unsqueeze(1))).expand(batch_size, 1, -1, -1)
        # an example of padding sees the first state, so that no row of the softmax is empty; its loss is ignored
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
        """Masks the codes that the catalog does not allow after each prefix of the labels.

        Args:
            logits (`torch.Tensor`): Shape `(..., num_levels, vocab_size)`.
            labels (`torch.Tensor`): Shape `(..., num_levels)`, token ids; negative where there is no example.

        Returns:
            `torch.Tensor`: float32 of the shape of `logits`; `NOT_ALLOWED` for masked codes.
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
            use_cache (`bool`, *optional*): Whether to return the cache.
            labels (`torch.Tensor`, *optional*): Shape `(batch_size, target_length)`, for the mean cross-entropy.

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
        """Shared implementation of `forward`."""
        past_key_values = settings.pop("cache", past_key_values)
        refuse_unknown(settings)
        if encoder_outputs is None:
            encoder_outputs = self.encode(attention_mask=attention_mask, **encoder_inputs)
        states = cast(torch.Tensor, encoder_outputs.last_hidden_state)
        if example_mask is not None and labels is not None:
            return self.decode_prefixes(states, example_mask, labels)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("forward needs labels or decoder_input_ids; to get items call generate or recommend.")
            decoder_input_ids = functional.pad(labels[:, :-1], (1, 0), value=PAD_TOKEN_ID)
        return self.decode(states, attention_mask, decoder_input_ids, past_key_values, use_cache, labels)

    def item_labels(self, items: torch.Tensor) -> torch.Tensor:
        """Training labels of target items: `(batch_size,)` item ids to `(batch_size, num_levels)` token ids."""
        return codes_to_tokens(self.item_semantic_ids[items - 1], self.config.codebook_size)
