"""Configuration of TIGER and its relatives: sizes of the catalogue, of the input vocabulary, of encoder and decoder.

Defaults are the paper's (Beauty). Imports nothing of ours, so it can be read alone on the Hub.
"""

from transformers import AutoConfig, PreTrainedConfig

HISTORY_FORMATS = ("semantic_ids", "text")


class TigerConfig(PreTrainedConfig):
    """A decoder of semantic IDs over one mixed sequence of codes, user and text tokens.

    The encoder is a T5 from scratch, or, where `text_config` is given, a language encoder.

    Args:
        num_items (`int`, defaults to 1): Items of the catalogue.
        num_levels (`int`, defaults to 4): Codes per item, the collision level included (appendix A.1: three learned).
        codebook_size (`int`, defaults to 256): Codes per level.
        num_user_tokens (`int`, defaults to 0): Buckets that users are hashed into (TIGER's paper: 2,000); 0 for a
            model that does not look at who asks.
        num_text_tokens (`int`, defaults to 0): Words of the input vocabulary; the language encoder's own where there
            is one.
        history_format (`str`, defaults to `"semantic_ids"`): How items of the history are written, `"semantic_ids"` or
            `"text"`.
        d_model (`int`, defaults to 128): Width of the decoder, and of an encoder from scratch.
        d_ff (`int`, defaults to 1024): Width of their feed-forward layers.
        d_kv (`int`, defaults to 64): Width of one of their attention heads.
        num_heads (`int`, defaults to 6): Their attention heads.
        num_encoder_layers (`int`, *optional*): Layers of an encoder from scratch; as many as the decoder's where not
            given.
        num_decoder_layers (`int`, defaults to 6): Decoder layers.
        dropout_rate (`float`, defaults to 0.2): Dropout of the decoder and of an encoder from scratch.
        feed_forward_proj (`str`, defaults to `"relu"`): Feed-forward layers of the decoder, as in `T5Config`;
            `"gated-gelu"` in FLAN-T5.
        pretrained_decoder (`bool`, defaults to `False`): Whether the decoder started as the language model's. It then
            shares the embeddings of the codes with the encoder, as T5 does.
        constrained_softmax (`bool`, defaults to `False`): Whether the codes that the catalogue allows after a prefix
            share the whole probability, in training and search alike; the paper constrains neither.
        causal_history (`bool`, defaults to `False`): Whether a token sees only earlier ones, so that all prefixes of a
            sequence are learned in one pass; only from scratch and without words.
        text_config (`PreTrainedConfig` or `dict`, *optional*): Configuration of the language encoder; any architecture
            that `AutoModelForTextEncoding` knows.
        max_history_length (`int`, defaults to 20): Items of a history that are used, the most recent ones (section 4).

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
    pad_token_id: int | None = 0
    bos_token_id: int | None = 0
    decoder_start_token_id: int | None = 0
    eos_token_id: int | None = None  # a semantic ID has a fixed length; an end token would shadow a code
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs) -> None:
        if isinstance(self.text_config, dict):
            fields = dict(self.text_config)
            self.text_config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        if self.text_config is not None:
            self.num_text_tokens = self.text_config.vocab_size
        if self.num_encoder_layers is None:
            self.num_encoder_layers = self.num_decoder_layers
        self._check()
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        """Raises a ValueError that names the first field out of range."""
        if self.causal_history and (self.text_config is not None or self.num_text_tokens):
            raise ValueError(
                "causal_history is for histories of codes alone: preferences differ from position to position, and a "
                "pretrained encoder reads both ways; leave it false."
            )
        at_least_one = ("num_items", "num_levels", "codebook_size", "d_model", "d_ff", "d_kv", "num_heads",
                        "num_encoder_layers", "num_decoder_layers", "max_history_length")  # fmt: skip
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
        """Tokens of the decoder: padding and `num_levels` blocks of `codebook_size`."""
        return 1 + self.num_levels * self.codebook_size

    @property
    def num_input_tokens(self) -> int:
        """Tokens of the encoder: the decoder's, then users, then words."""
        return self.vocab_size + self.num_user_tokens + self.num_text_tokens

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """This configuration itself: `generate` asks for the vocabulary it decodes, not for the text encoder's."""
        return self
