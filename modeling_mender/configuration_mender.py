"""Configurations of the two Mender variants (section 3.3), with the defaults of the paper (Beauty)."""

from typing import cast

from transformers import AutoConfig, PreTrainedConfig

from .configuration_checks import CheckedConfig, check_item_counts
from .configuration_semantic_ids import vocabulary_size


class MenderConfig(CheckedConfig):
    """Sizes of the catalog, the decoder of semantic IDs, and the text encoder.

    Args:
        num_items (`int`, defaults to 1): Number of items of the catalog.
        num_levels (`int`, defaults to 4): Codes per item, the collision level included (appendix A.1: three learned).
        codebook_size (`int`, defaults to 256): Codes per level.
        d_model (`int`, defaults to 128): Width of the decoder.
        d_ff (`int`, defaults to 1024): Width of its feed-forward layers.
        d_kv (`int`, defaults to 64): Width of one attention head.
        num_heads (`int`, defaults to 6): Number of attention heads.
        num_decoder_layers (`int`, defaults to 6): Number of decoder layers.
        dropout_rate (`float`, defaults to 0.2): Dropout of the decoder and of its input.
        constrained_softmax (`bool`, defaults to `False`): Whether probabilities are normalized over the codes that the
            catalog allows after a prefix, in training and search; the paper constrains neither.
        text_config (`PreTrainedConfig` or `dict`, *optional*): Configuration of the text encoder, of an architecture
            that `AutoModelForTextEncoding` supports; defaults to T5.
        max_history_length (`int`, defaults to 20): Number of most recent items of a history that are used (section 4).
        num_trained_items (`int`, *optional*): Number of items that the model was trained with, the first ones; those
            after them were added later. Defaults to `num_items`.
        num_removed_items (`int`, defaults to 0): Number of items that were removed and are never recommended.

    Raises:
        ValueError: If a size is not positive, items do not add up, or `text_config` names an architecture that is no
            text encoder.
    """

    sub_configs = {"text_config": AutoConfig}
    attribute_map = {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_decoder_layers",
        "head_dim": "d_kv",
    }

    num_items: int = 1
    num_levels: int = 4
    codebook_size: int = 256
    d_model: int = 128
    d_ff: int = 1024
    d_kv: int = 64
    num_heads: int = 6
    num_decoder_layers: int = 6
    dropout_rate: float = 0.2
    constrained_softmax: bool = False
    text_config: dict | PreTrainedConfig | None = None
    max_history_length: int = 20
    num_trained_items: int | None = None
    num_removed_items: int = 0
    pad_token_id: int | None = 0
    bos_token_id: int | None = 0
    decoder_start_token_id: int | None = 0
    eos_token_id: int | None = None  # a semantic ID has a fixed length; an end token would shadow a code
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs) -> None:
        self.check_types()
        if self.text_config is None:
            self.text_config = AutoConfig.for_model("t5")
        elif isinstance(self.text_config, dict):
            fields = dict(self.text_config)
            self.text_config = AutoConfig.for_model(fields.pop("model_type", "t5"), **fields)
        sizes = (
            "num_items",
            "num_levels",
            "codebook_size",
            "d_model",
            "d_ff",
            "d_kv",
            "num_heads",
            "num_decoder_layers",
        )
        for name in (*sizes, "max_history_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1; see {type(self).__name__}.")
        check_item_counts(self)
        super().__post_init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the decoder, the padding token included."""
        return vocabulary_size(self.num_levels, self.codebook_size)

    @property
    def text_hidden_size(self) -> int:
        """Width of the text encoder's states."""
        return cast(PreTrainedConfig, self.text_config).hidden_size

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Returns this configuration, whose vocabulary `generate` decodes, not that of the text encoder."""
        return self


class MenderTokConfig(MenderConfig):
    """Configuration of [`MenderTok`]; see [`MenderConfig`]."""

    model_type = "mender_tok"


class MenderEmbConfig(MenderConfig):
    """Configuration of [`MenderEmb`]; see [`MenderConfig`].

    Args:
        embedding_size (`int`, *optional*): Width of the text embeddings; defaults to the hidden size of the text
            encoder.
        num_encoder_layers (`int`, defaults to 0): Number of causal layers over the history before the decoder, which
            allow all prefixes of a sequence to be learned in one pass; the paper has none.
        code_embeddings (`bool`, defaults to `False`): Whether the embeddings of an item's codes are added to its
            vector.

    Raises:
        ValueError: As [`MenderConfig`], or if `num_encoder_layers` is negative.
    """

    model_type = "mender_emb"

    embedding_size: int | None = None
    num_encoder_layers: int = 0
    code_embeddings: bool = False

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.num_encoder_layers < 0:
            raise ValueError(f"num_encoder_layers ({self.num_encoder_layers}) must not be negative.")
        if self.embedding_size is None:
            self.embedding_size = self.text_hidden_size

    @property
    def causal_history(self) -> bool:
        """Whether an item of the history attends to earlier items only."""
        return self.num_encoder_layers > 0
