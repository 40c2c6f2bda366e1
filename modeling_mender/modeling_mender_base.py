"""Base of the Mender variants: a generative retriever with a pretrained text encoder."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch.nn import functional
from transformers import AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel

from .catalog_update import read_embeddings
from .configuration_mender import MenderConfig
from .item_texts import labeled_text
from .modeling_generative_retriever import GenerativeRetriever
from .recommendation import check_token_ids
from .semantic_ids import SemanticIds
from .text_encoder_mixin import TextEncoderMixin

TEXTS_IN_MEMORY = 1024  # new items whose texts are tokenized at once
TEXTS_AT_A_TIME = 16  # texts of similar length per batch on a CPU, where padding costs as much as text

Model = TypeVar("Model", bound="MenderPreTrainedModel")


class MenderPreTrainedModel(TextEncoderMixin, GenerativeRetriever):
    """Base of all variants: a generative retriever with a text encoder, frozen by default."""

    config_class: type[MenderConfig]
    text_encoder: PreTrainedModel

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.text_encoder = AutoModelForTextEncoding.from_config(config.text_config)

    @property
    def num_text_tokens(self) -> int:
        """Number of tokens that the text encoder reads."""
        return len(cast(torch.Tensor, self.text_encoder.get_input_embeddings().weight))

    @classmethod
    def from_text_encoder(
        cls: type[Model], name_or_path: str, semantic_ids: SemanticIds, **config_kwargs: Any
    ) -> Model:
        """Builds a model around a pretrained text encoder, with a random decoder and its catalog set.

        Args:
            name_or_path (`str`): A checkpoint that `AutoModelForTextEncoding` loads (T5 and BERT families), local or
                on the Hub.
            semantic_ids ([`SemanticIds`]): The catalog.
            config_kwargs: Further fields of the configuration.

        Returns:
            A model in training mode with a frozen text encoder.
        """
        text_encoder = AutoModelForTextEncoding.from_pretrained(name_or_path, dtype=torch.float32)
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
        """Sets the embeddings of the catalog.

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
                "embedding_size); embed every item of the catalog with this model's text encoder."
            )
        self.item_embeddings[1:].copy_(item_embeddings)

    def _new_embeddings(
        self,
        items: Sequence[Mapping[str, Any]],
        new: Sequence[Mapping[str, str]],
        processor: Any,
        embeddings: torch.Tensor | None,
    ) -> torch.Tensor:
        """Embeddings of new items, given or computed from their texts."""
        if embeddings is not None:
            shape = (len(new), cast(int, self.config.embedding_size))
            return read_embeddings(embeddings, shape).to(self.item_embeddings)
        return self.embed_texts(self._embedded_texts(items, new, processor), processor)

    def _embedded_texts(
        self, items: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, str]], processor: Any
    ) -> list[str]:
        """Texts of new items whose embeddings are those of the items."""
        fields = processor.item_fields
        return [labeled_text(item, fields) or one["title"] for item, one in zip(items, new, strict=True)]

    def _new_codes(self, items: Sequence[Mapping[str, Any]], processor: Any) -> torch.Tensor:
        """Learned codes of new items by the quantizer of the catalog, from embeddings of this model's encoder."""
        recipe = processor.recipe_of_catalog()
        if not recipe.reads_own_embeddings:
            return super()._new_codes(items, processor)
        return recipe.quantize(self.embed_texts(recipe.texts(items, processor), processor))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], processor: Any) -> torch.Tensor:
        """Embeddings of texts, `(num_texts, embedding_size)`; see [`embed_text`].

        Args:
            texts (`Sequence[str]`): Texts.
            processor ([`MenderProcessor`]): Processor of this model, for its tokenizer.
        """
        parts = []
        for start in range(0, len(texts), TEXTS_IN_MEMORY):
            tokens = processor.tokenizer(
                list(texts[start : start + TEXTS_IN_MEMORY]),
                truncation=True,
                max_length=processor.max_length,
                padding=True,
                return_tensors="pt",
            ).to(self.item_embeddings.device)
            parts.append(self._embed_present(tokens["input_ids"], tokens["attention_mask"]))
        return torch.cat(parts)

    def _append_items(self, codes: torch.Tensor, embeddings: torch.Tensor | None, processor: Any) -> None:
        """Appends the rows of new items; see [`LivingCatalog`]."""
        super()._append_items(codes, embeddings, processor)
        self.item_embeddings = torch.cat([self.item_embeddings, cast(torch.Tensor, embeddings)])

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
        check_token_ids(input_ids, self.num_text_tokens)
        lengths = attention_mask.sum(1)
        order = lengths.argsort(descending=True)[: int((lengths > 0).sum())]
        embeddings = self.item_embeddings.new_zeros(len(input_ids), self.config.embedding_size)
        at_a_time = TEXTS_AT_A_TIME if order.device.type == "cpu" else len(order)
        for rows in order.split(at_a_time) if len(order) else ():
            used = int(attention_mask[rows].amax(0).nonzero().max()) + 1
            embedded = self.embed_text(input_ids[rows, :used], attention_mask[rows, :used])
            embeddings[rows] = embedded.to(embeddings.dtype)
        return embeddings
