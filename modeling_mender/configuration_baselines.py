"""Configurations of the non-parametric baselines: popularity and the item-transition graph."""

from .configuration_checks import CheckedConfig


class MostPopularConfig(CheckedConfig):
    """Configuration of [`MostPopular`].

    Args:
        num_items (`int`, defaults to 1): Number of items of the catalog, ids 1..N.
        max_history_length (`int`, defaults to 20): Number of most recent items that a processor passes on; not used by
            the model.

    Raises:
        ValueError: If a size is not positive.
    """

    model_type = "most_popular"
    answers_empty_requests = True

    num_items: int = 1
    max_history_length: int = 20

    def __post_init__(self, **kwargs) -> None:
        self.check_types()
        for name in ("num_items", "max_history_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1; see {type(self).__name__}.")
        super().__post_init__(**kwargs)


class TransitionGraphConfig(MostPopularConfig):
    """Configuration of [`TransitionGraph`]; the defaults were chosen on the validation rows of Beauty and Toys.

    Args:
        num_edges (`int`, defaults to 0): Number of edges of the graph.
        window (`int`, defaults to 5): Largest distance in a sequence of two items that share an edge.
        backward_weight (`float`, defaults to 0.25): Weight of an edge to an earlier item relative to one to a later
            item.
        degree_power (`float`, defaults to 0.5): Power of an item's degree that its edges are divided by: 0 keeps
            counts, 1 gives transition probabilities.
        num_recent_items (`int`, defaults to 5): Number of most recent items of a history that are used.
        num_text_neighbours (`int`, defaults to 0): Number of items with the most similar texts per item; 0 for none.
        text_weight (`float`, defaults to 0.0): Weight of a cosine relative to edges.
        num_trained_items (`int`, *optional*): Number of items that were counted, the first ones; those after them were
            added later. Defaults to `num_items`.

    Raises:
        ValueError: If a size or weight is out of range.
    """

    model_type = "transition_graph"

    num_edges: int = 0
    window: int = 5
    backward_weight: float = 0.25
    degree_power: float = 0.5
    num_recent_items: int = 5
    num_text_neighbours: int = 0
    text_weight: float = 0.0
    num_trained_items: int | None = None

    def __post_init__(self, **kwargs) -> None:
        self.check_types()
        for name in ("window", "num_recent_items"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1; see {type(self).__name__}.")
        for name in ("num_edges", "backward_weight", "degree_power", "num_text_neighbours", "text_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be negative; see {type(self).__name__}.")
        super().__post_init__(**kwargs)
