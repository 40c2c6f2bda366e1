"""Configuration of TIGER and its relatives, with the defaults of the paper (Beauty)."""

from typing import cast

from transformers import AutoConfig, PreTrainedConfig

from .configuration_checks import CheckedConfig, check_item_counts
from .configuration_semantic_ids import vocabulary_size

HISTORY_FORMATS = ("semantic_ids", "text")


class TigerConfig(CheckedConfig):
    """Sizes of the catalog, the input vocabulary, the encoder and the decoder.

    The encoder is a T5 from scratch, or a language encoder if `text_config` is given.

    Args:
        num_items (`int`, defaults to 1): Number of items of the catalog.
        num_levels (`int`, defaults to 4): Codes per item, the collision level included (appendix A.1: three learned).
        codebook_size (`int`, defaults to 256): Codes per level.
        num_user_tokens (`int`, defaults to 0): Number of buckets that users are hashed into (TIGER's paper: 2,000);
            0 for a model that is not conditioned on the user id.
        num_text_tokens (`int`, defaults to 0): Number of words of the input vocabulary; set from `text_config` if
            given.
        history_format (`str`, defaults to `"semantic_ids"`): Form of the items of a history, `"semantic_ids"` or
            `"text"`.
        d_model (`int`, defaults to 128): Width of the decoder, and of an encoder from scratch.
        d_ff (`int`, defaults to 1024): Width of their feed-forward layers.
        d_kv (`int`, defaults to 64): Width of one of their attention heads.
        num_heads (`int`, defaults to 6): Number of their attention heads.
        num_encoder_layers (`int`, *optional*): Number of layers of an encoder from scratch; defaults to
            `num_decoder_layers`.
        num_decoder_layers (`int`, defaults to 6): Number of decoder layers.
        dropout_rate (`float`, defaults to 0.2): Dropout of the decoder and of an encoder from scratch.
        feed_forward_proj (`str`, defaults to `"relu"`): Type of the decoder's feed-forward layers, as in
            `T5Config`; `"gated-gelu"` in FLAN-T5.
        pretrained_decoder (`bool`, defaults to `False`): Whether the decoder started from that of the language model.
            It then shares the embeddings of the codes with the encoder, as in T5.
        constrained_softmax (`bool`, defaults to `False`): Whether probabilities are normalized over the codes that the
            catalog allows after a prefix, in training and search; the paper constrains neither.
        causal_history (`bool`, defaults to `False`): Whether a token attends to earlier ones only, so that all
            prefixes of a sequence are learned in one pass; only for an encoder from scratch without words.
        text_config (`PreTrainedConfig` or `dict`, *optional*): Configuration of the language encoder, of an
            architecture that `AutoModelForTextEncoding` supports.
        max_history_length (`int`, defaults to 20): Number of most recent items of a history that are used (section 4).
        num_trained_items, num_removed_items: See [`MenderConfig`].

    Raises:
        ValueError: If a size is out of range, or two fields contradict one another.
    """

    model_type = "tiger"
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
    num_user_tokens: int = 0
    num_text_tokens: int = 0
    history_format: str = "semantic_ids"
    d_model: int = 128
    d_ff: int = 1024
    d_kv: int = 64
    num_heads: int = 6
    num_encoder_layers: int | None = None
    num_decoder_layers: int = 6
    dropout_rate: float = 0.2
    feed_forward_proj: str = "relu"
    pretrained_decoder: bool = False
    constrained_softmax: bool = False
    causal_history: bool = False
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
        if isinstance(self.text_config, dict):
            fields = dict(self.text_config)
            self.text_config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        if self.text_config is not None:
            self.num_text_tokens = cast(PreTrainedConfig, self.text_config).vocab_size
        if self.num_encoder_layers is None:
            self.num_encoder_layers = self.num_decoder_layers
        self._check()
        check_item_counts(self)
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        """Raises a ValueError for the first field out of range."""
        if self.causal_history and (self.text_config is not None or self.num_text_tokens):
            raise ValueError(
                "causal_history is for histories of codes alone: preferences differ from position to position, and a "
                "pretrained encoder is bidirectional; leave it false."
            )
        sizes = "num_items num_levels codebook_size d_model d_ff d_kv num_heads num_encoder_layers num_decoder_layers"
        at_least_one = (*sizes.split(), "max_history_length")
        for name, least in (*((name, 1) for name in at_least_one), ("num_user_tokens", 0), ("num_text_tokens", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) must be at least {least}; see {type(self).__name__}."
                )
        if self.history_format not in HISTORY_FORMATS:
            raise ValueError(f"history_format ({self.history_format!r}) must be one of {', '.join(HISTORY_FORMATS)}.")
        if self.history_format == "text" and not self.num_text_tokens:
            raise ValueError("history_format text needs words: set num_text_tokens, or give a text_config.")
        if self.text_config is not None and self.num_user_tokens:
            raise ValueError(
                f"num_user_tokens ({self.num_user_tokens}) must be 0 with a language encoder; leave text_config out."
            )
        if self.text_config is None and self.pretrained_decoder:
            raise ValueError("pretrained_decoder needs the language model that it comes from; give its text_config.")

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the decoder, the padding token included."""
        return vocabulary_size(self.num_levels, self.codebook_size)

    @property
    def text_hidden_size(self) -> int:
        """Width of the text encoder's states."""
        return cast(PreTrainedConfig, self.text_config).hidden_size

    @property
    def num_input_tokens(self) -> int:
        """Number of tokens of the encoder: those of the decoder, then users, then words."""
        return self.vocab_size + self.num_user_tokens + self.num_text_tokens

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Returns this configuration, whose vocabulary `generate` decodes, not that of the text encoder."""
        return self
