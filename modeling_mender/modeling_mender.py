"""Mender (section 3.3): a decoder of semantic IDs that attends to a pretrained language encoder."""

from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForTextEncoding, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .configuration_mender import MenderConfig, MenderEmbConfig, MenderTokConfig
from .modeling_generative_retriever import GenerativeRetriever
from .semantic_ids import SemanticIds, codes_to_tokens
from .t5_stacks import build_history_encoder, causal_mask, fit_mask
from .text_encoder_mixin import TextEncoderMixin

TEXTS_AT_A_TIME = 16  # texts of similar length per batch on a CPU, where padding costs as much as text

Model = TypeVar("Model", bound="MenderPreTrainedModel")


class MenderPreTrainedModel(TextEncoderMixin, GenerativeRetriever):
    """Base of all variants: a generative retriever with a text encoder, frozen by default."""

    config_class: type[MenderConfig]
    text_encoder: PreTrainedModel

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.text_encoder = AutoModelForTextEncoding.from_config(config.text_config)

    @classmethod
    def from_text_encoder(
        cls: type[Model], name_or_path: str, semantic_ids: SemanticIds, **config_kwargs: Any
    ) -> Model:
        """Builds a model around a pretrained text encoder, with a random decoder and its catalogue set.

        Args:
            name_or_path (`str`): A checkpoint that `AutoModelForTextEncoding` loads (T5 and BERT families), local or
                on the Hub.
            semantic_ids ([`SemanticIds`]): The catalogue.
            config_kwargs: Further fields of the configuration.

        Returns:
            A model in training mode with a frozen text encoder.
        """
        text_encoder = AutoModelForTextEncoding.from_pretrained(name_or_path)
        config = cls.config_class(
            text_config=text_encoder.config,
            num_items=semantic_ids.num_items,
            num_levels=semantic_ids.num_levels,
            codebook_size=semantic_ids.codebook_size,
            **config_kwargs,
        )
        model = cls(config)
        model.text_encoder.load_state_dict(text_encoder.state_dict())
        model.set_item_semantic_ids(semantic_ids)
        model.freeze_text_encoder()
        return model


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


class MenderOnEmbeddings(MenderPreTrainedModel):
    """Base of the variants that read one vector per text and per item from the same text encoder.

    Args:
        config (`PreTrainedConfig`): Sizes; see [`MenderConfig`], and `embedding_size`.
    """

    item_embeddings: torch.Tensor

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        # row 0 is padding; set by `set_item_embeddings` and saved with the weights
        embeddings = torch.zeros(config.num_items + 1, config.embedding_size)
        self.register_buffer("item_embeddings", embeddings, persistent=True)

    def set_item_embeddings(self, item_embeddings: torch.Tensor) -> None:
        """Sets the embeddings of the catalogue.

        Args:
            item_embeddings (`torch.Tensor`): Shape `(num_items, embedding_size)`, in item order, computed by
                `embed_text`.

        Raises:
            ValueError: If the shape differs from the configuration's.
        """
        expected = (self.config.num_items, self.config.embedding_size)
        if tuple(item_embeddings.shape) != expected:
            raise ValueError(
                f"item_embeddings has shape {tuple(item_embeddings.shape)}, the model needs {expected} (num_items, "
                "embedding_size); embed every item of the catalogue with this model's text encoder."
            )
        self.item_embeddings[1:].copy_(item_embeddings)

    @torch.no_grad()
    def embed_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Computes mean-pooled, L2-normalized sentence embeddings.

        Args:
            input_ids (`torch.Tensor`): Shape `(num_texts, sequence_length)`.
            attention_mask (`torch.Tensor`): Shape `(num_texts, sequence_length)`; the embedding of
                a text whose mask is all 0 is 0.

        Returns:
            `torch.Tensor`: Shape `(num_texts, embedding_size)`.
        """
        states = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        # in float32: the 1e-12 that keeps an absent preference from 0 / 0 is itself 0 in float16
        return functional.normalize(pooled.float(), dim=-1).to(states.dtype)

    def embed_preferences(
        self,
        batch_size: int,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        embeddings: torch.Tensor | None,
    ) -> torch.Tensor:
        """Returns the embeddings of preferences, given or computed from tokens.

        Args:
            batch_size (`int`): Number of requests.
            input_ids, attention_mask (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences,
                sequence_length)`.
            embeddings (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, embedding_size)`; replaces
                the tokens.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_preferences, embedding_size)`; `num_preferences` is 0 without both.
        """
        if embeddings is None and input_ids is not None:
            attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            embeddings = self._embed_present(input_ids.flatten(0, 1), attention_mask.flatten(0, 1))
            embeddings = embeddings.view(*input_ids.shape[:2], -1)
        if embeddings is None:
            embeddings = self.item_embeddings.new_zeros(batch_size, 0, self.config.embedding_size)
        return embeddings.to(self.item_embeddings.dtype)

    def _embed_present(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embeds the texts that are not all padding, in batches of similar length."""
        lengths = attention_mask.sum(1)
        order = lengths.argsort(descending=True)[: int((lengths > 0).sum())]
        embeddings = self.item_embeddings.new_zeros(len(input_ids), self.config.embedding_size)
        at_a_time = TEXTS_AT_A_TIME if order.device.type == "cpu" else len(order)
        for rows in order.split(at_a_time) if len(order) else ():
            used = int(attention_mask[rows].amax(0).nonzero().max()) + 1
            embedded = self.embed_text(input_ids[rows, :used], attention_mask[rows, :used])
            embeddings[rows] = embedded.to(embeddings.dtype)
        return embeddings


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
        if history_length > self.config.max_history_length:
            raise ValueError(
                f"history has {history_length} items, the model takes {self.config.max_history_length}; keep the "
                "most recent."
            )
        if not self.training and int(history.max()) > self.config.num_items:
            raise ValueError(
                f"history contains item {int(history.max())}, and the catalogue has {self.config.num_items} items; "
                "let the processor check ids, or map them to the benchmark's items table."
            )
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
