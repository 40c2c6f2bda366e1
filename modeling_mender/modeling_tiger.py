"""TIGER and its relatives (sections 4.1, A.2, A.4): a decoder of semantic IDs over one mixed sequence of tokens.

The encoder is a T5 from scratch (TIGER, VocabExt-RND) or a language model whose vocabulary is extended by the codes
(LC-REC, VocabExt-LM, LIGER).
"""

import logging
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForTextEncoding,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .configuration_semantic_ids import PAD_TOKEN_ID
from .configuration_tiger import TigerConfig
from .modeling_generative_retriever import GenerativeRetriever
from .recommendation import check_token_ids
from .semantic_ids import SemanticIds
from .t5_stacks import build_history_encoder, causal_mask, fit_mask
from .text_encoder_mixin import TextEncoderMixin

logger = logging.getLogger(__name__)

# Constants that the decoder of a T5 checkpoint must share with that of `build_decoder`.
DECODER_CONSTANTS = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
}


class Tiger(TextEncoderMixin, GenerativeRetriever, GenerationMixin):
    """A decoder of semantic IDs whose encoder reads codes, users and words in one sequence.

    Args:
        config ([`TigerConfig`]): Sizes; [`Tiger.from_text_encoder`] makes one around a language model.
    """

    config_class = TigerConfig
    main_input_name = "input_ids"
    encoder_input_names = ("input_ids",)

    def __init__(self, config: TigerConfig) -> None:
        super().__init__(config)
        self.text_encoder = None
        if config.text_config is None:
            self.encoder = build_history_encoder(config, cast(int, config.num_encoder_layers))
            if config.num_user_tokens + config.num_text_tokens:
                # users, then words; the codes' embeddings are the decoder's
                self.token_embeddings = nn.Embedding(config.num_user_tokens + config.num_text_tokens, config.d_model)
        else:
            self.text_encoder = AutoModelForTextEncoding.from_config(config.text_config)
            if not config.pretrained_decoder:
                self.projection = nn.Linear(config.text_hidden_size, config.d_model)
                if config.history_format == "semantic_ids":
                    self.code_embeddings = nn.Embedding(config.vocab_size, config.text_hidden_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding) and module is getattr(self, "token_embeddings", None):
            init.normal_(module.weight, mean=0.0, std=1.0)  # as T5 and the codes' embeddings

    @property
    def lora_parts(self) -> tuple[str, ...]:
        """Names of the pretrained modules, which LoRA adapts."""
        if self.text_encoder is None:
            return ()
        return ("text_encoder", "decoder") if self.config.pretrained_decoder else ("text_encoder",)

    @classmethod
    def from_text_encoder(
        cls, name_or_path: str, semantic_ids: SemanticIds, pretrained_decoder: bool = False, **config_kwargs: Any
    ) -> "Tiger":
        """Builds a model around a pretrained language model, with its catalog set.

        Args:
            name_or_path (`str`): A checkpoint that `AutoModelForTextEncoding` loads (T5 and BERT families), local or
                on the Hub.
            semantic_ids ([`SemanticIds`]): The catalog.
            pretrained_decoder (`bool`, defaults to `False`): Whether the decoder starts from that of the
                checkpoint, cross-attention included, and takes its sizes in place of those of `config_kwargs`. For a
                checkpoint without a decoder, it starts from scratch, with a warning.
            config_kwargs: Further fields of the configuration.

        Returns:
            A model in training mode; pretrained weights are frozen, the embeddings of the codes are not.

        Raises:
            ValueError: If the checkpoint's decoder differs from T5's in a way that the configuration cannot express.
        """
        text_encoder = AutoModelForTextEncoding.from_pretrained(name_or_path, dtype=torch.float32)
        decoder = load_decoder(name_or_path, text_encoder.config) if pretrained_decoder else None
        if decoder is not None:
            config_kwargs |= decoder_sizes(decoder.config)
        config = cls.config_class(
            text_config=text_encoder.config,
            num_items=semantic_ids.num_items,
            num_levels=semantic_ids.num_levels,
            codebook_size=semantic_ids.codebook_size,
            pretrained_decoder=decoder is not None,
            **config_kwargs,
        )
        model = cls(config)
        model.pretrained.load_state_dict(text_encoder.state_dict())
        if decoder is not None:
            weights = {name: w for name, w in decoder.state_dict().items() if name != "embed_tokens.weight"}
            model.decoder.load_state_dict(weights, strict=False)
            model.decoder.requires_grad_(False)
            model.decoder.embed_tokens.requires_grad_(True)
        if decoder is not None or config.history_format == "semantic_ids":
            draw_like(model._code_table().weight, cast(torch.Tensor, model.pretrained.get_input_embeddings().weight))
        model.set_item_semantic_ids(semantic_ids)
        model.freeze_text_encoder()
        return model

    def _code_table(self) -> nn.Embedding:
        """Embeddings of the codes for the encoder: those of the decoder, unless the two differ in width."""
        return getattr(self, "code_embeddings", self.decoder.embed_tokens)

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of a mixed sequence: `(batch_size, sequence_length)` to `(..., hidden_size)` of the encoder."""
        num_codes = self.config.vocab_size
        if self.config.num_input_tokens == num_codes:
            return self._code_table()(input_ids)
        others = self.token_embeddings if self.text_encoder is None else self.text_encoder.get_input_embeddings()
        embeds = others((input_ids - num_codes).clamp(min=0))
        if self.config.history_format == "text":
            return embeds
        is_code = (input_ids < num_codes).unsqueeze(-1)
        return torch.where(is_code, self._code_table()(input_ids.clamp(max=num_codes - 1)), embeds)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> BaseModelOutput:
        """Encodes tokens of the input vocabulary.

        Args:
            input_ids (`torch.Tensor`): Shape `(batch_size, sequence_length)`, tokens of the input vocabulary.
            attention_mask (`torch.Tensor`, *optional*): Shape `(batch_size, sequence_length)`; 0 where padded.

        Returns:
            `BaseModelOutput`: `last_hidden_state (batch_size, sequence_length, d_model)`.
        """
        if not (self.training or torch.compiler.is_exporting()):
            check_token_ids(input_ids, self.config.num_input_tokens)
        if self.text_encoder is None:
            if self.config.causal_history:
                # no token of the vocabulary is padding, so the ids give the mask
                attention_mask = fit_mask(causal_mask(input_ids != PAD_TOKEN_ID), self.encoder)
            output = self.encoder(inputs_embeds=self.embed(input_ids), attention_mask=attention_mask)
            return BaseModelOutput(last_hidden_state=output.last_hidden_state)
        # gradients pass through a frozen encoder to the embeddings of the codes in its input
        needs_graph = not self.text_encoder_is_frozen or self.config.history_format == "semantic_ids"
        with torch.set_grad_enabled(torch.is_grad_enabled() and needs_graph):
            states = self.text_encoder(
                inputs_embeds=self.embed(input_ids), attention_mask=attention_mask
            ).last_hidden_state
        return BaseModelOutput(last_hidden_state=states if self.config.pretrained_decoder else self.projection(states))

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
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
            input_ids (`torch.Tensor`): Shape `(batch_size, sequence_length)`, of the processor.
            attention_mask (`torch.Tensor`): Shape `(batch_size, sequence_length)`.
            encoder_outputs (`BaseModelOutput`, *optional*): Replaces `input_ids`.
            decoder_input_ids (`torch.Tensor`, *optional*): Shape `(batch_size, target_length)`; defaults to the
                shifted `labels`.
            labels (`torch.Tensor`, *optional*): Shape `(batch_size, num_levels)`, token ids of the target; see
                `item_labels`.
            past_key_values, use_cache: Arguments of the generic generation loop; `cache` replaces the first from
                transformers 5.24 on.
            example_mask (`torch.Tensor`, *optional*): Shape `(batch_size, num_examples, sequence_length)`; several
                examples per sequence, see `decode_prefixes`. `labels` then have the shape `(batch_size,
                num_examples, num_levels)`, and the history must be causal.

        Returns:
            `Seq2SeqLMOutput`: `loss`, the mean cross-entropy, and `logits (batch_size, target_length, vocab_size)`.
        """
        inputs = {"input_ids": input_ids}
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


def load_decoder(name_or_path: str, config: PreTrainedConfig) -> PreTrainedModel | None:
    """Loads the decoder of a T5 checkpoint; returns `None`, with a warning, for a checkpoint without a decoder.

    Args:
        name_or_path (`str`): The checkpoint.
        config (`PreTrainedConfig`): Its configuration.
    """
    if config.model_type == "t5":
        model, report = AutoModelForSeq2SeqLM.from_pretrained(
            name_or_path, dtype=torch.float32, output_loading_info=True
        )
        # a checkpoint of an encoder alone (sentence-t5) loads as well, with a random decoder
        if not any(name.startswith("decoder.block") for name in report["missing_keys"]):
            return model.get_decoder()
    logger.warning(
        "%s (%s) has no T5 decoder, so the decoder starts from scratch behind a projection; "
        "the paper's method starts from google/flan-t5-small.",
        name_or_path,
        config.model_type,
    )
    return None


def decoder_sizes(config: PreTrainedConfig) -> dict[str, Any]:
    """Fields of [`TigerConfig`] that a T5 decoder determines.

    Raises:
        ValueError: If the decoder differs from T5 in a constant that is not a field.
    """
    for name, expected in DECODER_CONSTANTS.items():
        if getattr(config, name) != expected:
            raise ValueError(
                f"the checkpoint's {name} is {getattr(config, name)}, and this decoder's {expected}; choose a "
                "checkpoint of the T5 or FLAN-T5 family."
            )
    names = ("d_model", "d_ff", "d_kv", "num_heads", "feed_forward_proj")
    return {name: getattr(config, name) for name in names} | {"num_decoder_layers": config.num_layers}


@torch.no_grad()
def draw_like(new: torch.Tensor, pretrained: torch.Tensor) -> None:
    """Draws new embeddings from the distribution of pretrained ones, per dimension.

    At another scale, the pretrained layers would treat them as noise or be dominated by them.

    Args:
        new (`torch.Tensor`): Shape `(num_new, hidden_size)`, written in place.
        pretrained (`torch.Tensor`): Shape `(num_tokens, hidden_size)`.
    """
    mean, std = pretrained.float().mean(0), pretrained.float().std(0)
    new.copy_((mean + std * torch.randn(new.shape, device=new.device)).to(new.dtype))
