"""Configuration of Mender_Steer: an item head, a transition graph, item texts, and an optional decoder."""

from transformers import AutoConfig, PreTrainedConfig

from .configuration_baselines import TransitionGraphConfig
from .configuration_mender import MenderConfig


class MenderSteerConfig(MenderConfig):
    """Configuration of [`MenderSteer`]; catalog, decoder and text encoder as in [`MenderConfig`].

    Args:
        embedding_size (`int`, *optional*): Width of the text embeddings; defaults to the hidden size of the text
            encoder.
        num_history_layers (`int`, defaults to 2): Number of causal attention layers of the item head.
        num_history_heads (`int`, defaults to 2): Number of attention heads of these layers; divides `d_model`.
        use_decoder (`bool`, defaults to `False`): Whether a decoder of semantic IDs is trained on top of the item
            head.
        num_words (`int`, defaults to 0): Number of words of the catalog's texts.
        num_word_items (`int`, defaults to 0): Number of pairs of a word and an item that has it.
        avoid_weight (`float`, defaults to 20.0): Penalty in nats of an item that fully matches an avoided text of
            strength 1, in addition to the largest gain that wanted texts could give it.
        graph_config (`PreTrainedConfig` or `dict`, *optional*): Sizes of the transition graph.

    Raises:
        ValueError: As [`MenderConfig`]; if `num_history_heads` does not divide `d_model`, or a size is negative.
    """

    model_type = "mender_steer"
    sub_configs = {"text_config": AutoConfig, "graph_config": TransitionGraphConfig}
    answers_empty_requests = True

    embedding_size: int | None = None
    num_history_layers: int = 2
    num_history_heads: int = 2
    use_decoder: bool = False
    num_words: int = 0
    num_word_items: int = 0
    avoid_weight: float = 20.0
    graph_config: dict | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs) -> None:
        if self.graph_config is None:
            self.graph_config = TransitionGraphConfig(num_items=self.num_items)
        elif isinstance(self.graph_config, dict):
            fields = {name: value for name, value in self.graph_config.items() if name != "model_type"}
            self.graph_config = TransitionGraphConfig(**fields)
        super().__post_init__(**kwargs)
        if self.embedding_size is None:
            self.embedding_size = self.text_hidden_size
        for name in ("num_history_layers", "num_history_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1; see {type(self).__name__}.")
        for name in ("num_words", "num_word_items", "avoid_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be negative; see {type(self).__name__}.")
        if self.d_model % self.num_history_heads:
            raise ValueError(
                f"num_history_heads ({self.num_history_heads}) must divide d_model ({self.d_model}); change one of "
                "the two."
            )
