"""Configuration of SASRec (Kang & McAuley, 2018), with defaults tuned on Beauty."""

from .configuration_checks import CheckedConfig

LOSSES = ("cross_entropy", "bce")


class SASRecConfig(CheckedConfig):
    """Sizes and loss of [`SASRec`].

    Args:
        num_items (`int`, defaults to 1): Number of items of the catalog, ids 1..N.
        d_model (`int`, defaults to 64): Width of item embeddings and layers.
        d_ff (`int`, defaults to 256): Width inside a feed-forward layer.
        num_layers (`int`, defaults to 2): Number of layers of attention and feed-forward.
        num_heads (`int`, defaults to 2): Number of attention heads; divides `d_model`.
        dropout_rate (`float`, defaults to 0.5): Dropout of embeddings, attention weights and layer outputs.
        max_history_length (`int`, defaults to 20): Number of positions, and of most recent items that are used.
        loss (`str`, defaults to `"cross_entropy"`): `cross_entropy` over all items, or `bce`, the paper's binary
            cross-entropy of the next item and one sampled item.
        initializer_range (`float`, defaults to 0.02): Standard deviation of initial weights.

    Raises:
        ValueError: If a size is not positive, `num_heads` does not divide `d_model`, or the loss is unknown.
    """

    model_type = "sasrec"
    answers_empty_requests = False
    attribute_map = {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
    }

    num_items: int = 1
    d_model: int = 64
    d_ff: int = 256
    num_layers: int = 2
    num_heads: int = 2
    dropout_rate: float = 0.5
    max_history_length: int = 20
    loss: str = "cross_entropy"
    initializer_range: float = 0.02
    pad_token_id: int | None = 0

    def __post_init__(self, **kwargs) -> None:
        self.check_types()
        for name in ("num_items", "d_model", "d_ff", "num_layers", "num_heads", "max_history_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1; see {type(self).__name__}.")
        if self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must divide d_model ({self.d_model}); change one of the two."
            )
        if self.loss not in LOSSES:
            raise ValueError(f"loss ({self.loss!r}) must be one of {', '.join(LOSSES)}.")
        super().__post_init__(**kwargs)
