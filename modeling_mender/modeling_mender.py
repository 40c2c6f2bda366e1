"""Mender (section 3.3): a decoder of semantic IDs that attends to a pretrained language encoder."""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .configuration_mender import MenderEmbConfig, MenderTokConfig
from .modeling_mender_base import MenderOnEmbeddings, MenderPreTrainedModel
from .recommendation import check_history, check_token_ids
from .semantic_ids import codes_to_tokens
from .t5_stacks import build_history_encoder, causal_mask, fit_mask


class MenderTok(MenderPreTrainedModel, GenerationMixin):
    """Mender_Tok: preference and history form one text, and the decoder attends to all its tokens.

    Args:
        config ([`MenderTokConfig`]): Sizes; [`MenderPreTrainedModel.from_text_encoder`] makes one.
    """

    config_class = MenderTokConfig
    main_input_name = "input_ids"
    encoder_input_names = ("input_ids", "text_hidden_states")

    def __init__(self, config: MenderTokConfig) -> None:
        super().__init__(config)
        self.projection = nn.Linear(config.text_hidden_size, config.d_model)
        self.post_init()

    def encode(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_hidden_states: torch.Tensor | None = None,
    ) -> BaseModelOutput:
        """Encodes tokens.

        Args:
            input_ids (`torch.Tensor`): Shape `(batch_size, sequence_length)`.
            attention_mask (`torch.Tensor`, *optional*): Shape `(batch_size, sequence_length)`; 0 where padded.
            text_hidden_states (`torch.Tensor`, *optional*): Shape `(batch_size, sequence_length, hidden_size)`, output
                of the text encoder from an earlier run, in any precision; replaces `input_ids`.

        Returns:
            `BaseModelOutput`: `last_hidden_state (batch_size, sequence_length, d_model)`.
        """
        if text_hidden_states is None:
            if input_ids is not None and not (self.training or torch.compiler.is_exporting()):
                check_token_ids(input_ids, self.num_text_tokens)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.text_encoder_is_frozen):
                output = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask)
            text_hidden_states = output.last_hidden_state
        return BaseModelOutput(last_hidden_state=self.projection(text_hidden_states.to(self.projection.weight.dtype)))

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        text_hidden_states: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Predicts the semantic ID of the next item.

        Args:
            input_ids (`torch.Tensor`): Shape `(batch_size, sequence_length)`, the processor's text.
            attention_mask (`torch.Tensor`): Shape `(batch_size, sequence_length)`.
            encoder_outputs (`BaseModelOutput`, *optional*): Replaces `input_ids`.
            decoder_input_ids (`torch.Tensor`, *optional*): Shape `(batch_size, target_length)`; defaults to the
                shifted `labels`.
            labels (`torch.Tensor`, *optional*): Shape `(batch_size, num_levels)`, token ids of the target; see
                `item_labels`.
            past_key_values, use_cache: Arguments of the generic generation loop; `cache` replaces the first from
                transformers 5.24 on.
            text_hidden_states (`torch.Tensor`, *optional*): See [`encode`].

        Returns:
            `Seq2SeqLMOutput`: `loss`, the mean cross-entropy, and `logits (batch_size, target_length, vocab_size)`.
        """
        inputs = {"input_ids": input_ids, "text_hidden_states": text_hidden_states}
        return self._forward(
            inputs, attention_mask, encoder_outputs, decoder_input_ids, labels, past_key_values, use_cache, **kwargs
        )


class MenderEmb(MenderOnEmbeddings, GenerationMixin):
    """Mender_Emb: one vector per preference and per item of the history, from the same frozen text encoder.

    Unlike in the authors' release, padding is masked, and a vector carries its position, the number of later items.

    Args:
        config ([`MenderEmbConfig`]): Sizes; [`MenderPreTrainedModel.from_text_encoder`] makes one.
    """

    config_class = MenderEmbConfig
    main_input_name = "history"
    encoder_input_names = ("history", "preference_input_ids", "preference_attention_mask", "preference_embeddings")

    def __init__(self, config: MenderEmbConfig) -> None:
        super().__init__(config)
        self.projection = nn.Linear(cast(int, config.embedding_size), config.d_model)
        # index 0: a preference; 1 + n: an item with n later ones
        self.position_embeddings = nn.Embedding(1 + config.max_history_length, config.d_model)
        self.layer_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout_rate)
        if config.causal_history:
            self.history_encoder = build_history_encoder(config, config.num_encoder_layers)
        self.post_init()
        self.freeze_text_encoder()  # its embeddings are precomputed (section 3.3)

    def encode(
        self,
        history: torch.Tensor,
        preference_input_ids: torch.Tensor | None = None,
        preference_attention_mask: torch.Tensor | None = None,
        preference_embeddings: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> BaseModelOutput:
        """Encodes preferences and history, preferences first.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids, oldest first, padded with 0 on
                the left.
            preference_input_ids (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, sequence_length)`.
            preference_attention_mask (`torch.Tensor`, *optional*): The same shape; all 0 where a row has fewer
                preferences.
            preference_embeddings (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, embedding_size)`,
                replaces the two above.
            attention_mask (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences + history_length)`;
                used by the decoder only.

        Returns:
            `BaseModelOutput`: `last_hidden_state (batch_size, num_preferences + history_length, d_model)`.
        """
        batch_size, history_length = history.shape
        if not (self.training or torch.compiler.is_exporting()):
            check_history(history, history_length, self.config.max_history_length, self.config.num_items)
        preference_embeddings = self.embed_preferences(
            batch_size, preference_input_ids, preference_attention_mask, preference_embeddings
        )
        num_preferences = preference_embeddings.shape[1]
        vectors = torch.cat([preference_embeddings, self.item_embeddings[history]], 1)
        states = self.projection(vectors) + self._positions(num_preferences, history_length)
        if self.config.code_embeddings:
            states = states + functional.pad(self._code_embeddings(history), (0, 0, num_preferences, 0))
        states = self.dropout(self.layer_norm(states))
        if self.config.causal_history:
            preferences, items = states[:, :num_preferences], states[:, num_preferences:]
            mask = fit_mask(causal_mask(history != 0), self.history_encoder)
            items = self.history_encoder(inputs_embeds=items, attention_mask=mask)
            states = torch.cat([preferences, items.last_hidden_state], dim=1)
        return BaseModelOutput(last_hidden_state=states)

    def _positions(self, num_preferences: int, history_length: int) -> torch.Tensor:
        """Position embeddings of the vectors, `(num_preferences + history_length, d_model)`."""
        if self.config.causal_history:  # a state serves many prefixes, so the number of later items is not defined
            recency = torch.ones(history_length, dtype=torch.long, device=self.device)
        else:
            recency = torch.arange(history_length, 0, -1, device=self.device)  # 1 + number of later items
        return self.position_embeddings(torch.cat([recency.new_zeros(num_preferences), recency]))

    def _code_embeddings(self, history: torch.Tensor) -> torch.Tensor:
        """Sums of the codes' embeddings, `(batch_size, history_length, d_model)`; padding gets those of item 1."""
        tokens = codes_to_tokens(self.item_semantic_ids[(history - 1).clamp(min=0)], self.config.codebook_size)
        return self.decoder.embed_tokens(tokens).sum(-2)

    def forward(
        self,
        history: torch.Tensor | None = None,
        preference_input_ids: torch.Tensor | None = None,
        preference_attention_mask: torch.Tensor | None = None,
        preference_embeddings: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        example_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Predicts the semantic ID of the next item.

        Args:
            history, preference_input_ids, preference_attention_mask, preference_embeddings, attention_mask: See
                [`encode`].
            encoder_outputs (`BaseModelOutput`, *optional*): Replaces all of them except the mask.
            decoder_input_ids (`torch.Tensor`, *optional*): Shape `(batch_size, target_length)`; defaults to the
                shifted `labels`.
            labels (`torch.Tensor`, *optional*): Shape `(batch_size, num_levels)`, token ids of the target; see
                `item_labels`.
            past_key_values, use_cache: Arguments of the generic generation loop; `cache` replaces the first from
                transformers 5.24 on.
            example_mask (`torch.Tensor`, *optional*): Shape `(batch_size, num_examples, num_preferences +
                history_length)`; several examples per sequence, see `decode_prefixes`. `labels` then have the shape
                `(batch_size, num_examples, num_levels)`, and the history must be causal.

        Returns:
            `Seq2SeqLMOutput`: `loss`, the mean cross-entropy, and `logits (batch_size, target_length, vocab_size)`.
        """
        inputs = {
            "history": history,
            "preference_input_ids": preference_input_ids,
            "preference_attention_mask": preference_attention_mask,
            "preference_embeddings": preference_embeddings,
        }
        return self._forward(
            inputs,
            attention_mask,
            encoder_outputs,
            decoder_input_ids,
            labels,
            past_key_values,
            use_cache,
            example_mask,
            **kwargs,
        )
