"""Non-parametric baselines: popularity and the item-transition graph."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_baselines import MostPopularConfig, TransitionGraphConfig
from .modeling_item_ids import ItemIdRecommender

MAX_COUNT = 10**12  # occurrences of an item
LENDING_ITEMS = 3  # trained items that an added item borrows from, chosen on validation rows of Beauty
POPULARITY_WEIGHT = 1e-3  # relative to edges: small, it orders ties and items beyond the graph


class MostPopular(ItemIdRecommender):
    """Recommends the most frequent items of the training sequences to every user; of equal ones, the lower id first.

    Args:
        config ([`MostPopularConfig`]): The size of the catalog; [`from_sequences`] makes one.
    """

    config_class = MostPopularConfig
    item_counts: torch.Tensor

    def __init__(self, config: MostPopularConfig) -> None:
        super().__init__(config)
        self.register_buffer("item_counts", torch.zeros(config.num_items, dtype=torch.long), persistent=True)
        self.post_init()

    @classmethod
    def from_sequences(cls, sequences: Sequence[Sequence[int]], num_items: int, **config_kwargs: Any) -> "MostPopular":
        """Counts the items of training sequences.

        Args:
            sequences (`Sequence[Sequence[int]]`): Item ids of each user, oldest first.
            num_items (`int`): Number of items of the catalog.
            config_kwargs: Further fields of the configuration.
        """
        model = cls(cls.config_class(num_items=num_items, **config_kwargs))
        model.item_counts.copy_(count_items(pad_sequences(sequences, num_items), num_items))
        return model.eval()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        for table in module.buffers(recurse=False):
            init.zeros_(table)

    def forward(self, history: torch.Tensor, **inputs: Any) -> ModelOutput:
        """Raises an error, because the model is not trained.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{type(self).__name__} is not trained and has no forward pass; call recommend.")

    @property
    def device(self) -> torch.device:
        """Device of the tables; the base class reads parameters, and there are none."""
        return self.item_counts.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the scores; the base class reads parameters, and there are none."""
        return torch.float32

    @property
    def num_trained_items(self) -> int:
        """Number of items that were counted, the first ones."""
        return getattr(self.config, "num_trained_items", None) or self.config.num_items

    def check_tables(self) -> None:
        """Checks that counts can be summed."""
        check_numbers("item_counts", self.item_counts, MAX_COUNT)

    def popularity(self) -> torch.Tensor:
        """Smoothed share of each item in the training sequences, `(num_items,)`, float64, all distinct.

        Every item can be recommended, an unseen one as well, and of equal counts the lower id is first.
        """
        num_items, trained = self.config.num_items, self.num_trained_items
        ids = torch.arange(1, 1 + num_items, device=self.item_counts.device, dtype=torch.float64)
        shares = self.item_counts + 1 - ids / (trained + 1)
        # an added item is below all others, and the shares of the others stay
        shares[trained:] = (1 - (ids[trained:] - trained) / (num_items - trained + 1)) / (trained + 1)
        return shares / shares[:trained].sum()

    def score_items(self, history: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Log-shares of all items, the same for every request."""
        return self.popularity().log().expand(len(history), -1)


class TransitionGraph(MostPopular):
    """Recommends items near the most recent items of the history in the sequences of other users.

    Two items of a sequence that are `distance <= window` apart share an edge of weight `1 / distance` forward, and
    `backward_weight / distance` backward; the edges of an item are divided by its degree (the sum of its edges) to the
    power `degree_power`. The n-th most recent item of a history has the weight `1 / n`. Text neighbors add to that,
    and popularity orders the remaining items.

    Args:
        config ([`TransitionGraphConfig`]): Sizes of the tables; [`from_sequences`] makes one.
    """

    config_class = TransitionGraphConfig
    _supports_sdpa = True  # it has no attention, and must not restrict that of a model around it
    edge_starts: torch.Tensor
    edge_columns: torch.Tensor
    edge_weights: torch.Tensor
    text_columns: torch.Tensor
    text_cosines: torch.Tensor

    def __init__(self, config: TransitionGraphConfig) -> None:
        super().__init__(config)
        # compressed sparse rows: the edges of item i are edge_starts[i - 1] : edge_starts[i]; columns count from 0
        self.register_buffer("edge_starts", torch.zeros(1 + config.num_items, dtype=torch.long), persistent=True)
        self.register_buffer("edge_columns", torch.zeros(config.num_edges, dtype=torch.long), persistent=True)
        self.register_buffer("edge_weights", torch.zeros(config.num_edges), persistent=True)
        if config.num_text_neighbours:
            shape = (config.num_items, config.num_text_neighbours)
            self.register_buffer("text_columns", torch.zeros(shape, dtype=torch.long), persistent=True)
            self.register_buffer("text_cosines", torch.zeros(shape), persistent=True)
        self.post_init()

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequence[Sequence[int]],
        num_items: int,
        text_embeddings: torch.Tensor | None = None,
        **config_kwargs: Any,
    ) -> "TransitionGraph":
        """Builds the graph from training sequences.

        Args:
            sequences (`Sequence[Sequence[int]]`): Item ids of each user, oldest first.
            num_items (`int`): Number of items of the catalog.
            text_embeddings (`torch.Tensor`, *optional*): Shape `(num_items, embedding_size)`, rows of norm 1;
                required if `num_text_neighbours` is not 0.
            config_kwargs: Further fields of the configuration.

        Raises:
            ValueError: If a sequence has an unknown item, or `num_text_neighbours` is not 0 without embeddings.
        """
        config = cls.config_class(num_items=num_items, **config_kwargs)
        rows = pad_sequences(sequences, num_items)
        starts, columns, weights = transition_edges(
            rows, num_items, config.window, config.backward_weight, config.degree_power
        )
        config.num_edges = len(columns)
        config.num_text_neighbours = min(config.num_text_neighbours, num_items - 1)
        model = cls(config)
        model.item_counts.copy_(count_items(rows, num_items))
        model.edge_starts.copy_(starts)
        model.edge_columns.copy_(columns)
        model.edge_weights.copy_(weights)
        if config.num_text_neighbours:
            if text_embeddings is None or len(text_embeddings) != num_items:
                given = "none" if text_embeddings is None else len(text_embeddings)
                raise ValueError(
                    f"num_text_neighbours ({config.num_text_neighbours}) needs {num_items} text embeddings, one per "
                    f"item, and {given} were given; give them, or set it to 0."
                )
            cosines, neighbours = text_neighbours(text_embeddings, config.num_text_neighbours)
            model.text_columns.copy_(neighbours)
            model.text_cosines.copy_(cosines)
        return model.eval()

    def check_tables(self) -> None:
        """Checks counts and edges, and that text neighbors are items."""
        super().check_tables()
        check_sparse_rows("edge_starts", self.edge_starts, "edge_columns", self.edge_columns, self.config.num_items)
        if self.config.num_text_neighbours:
            check_numbers("text_columns", self.text_columns, self.config.num_items - 1)

    def score_items(self, history: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Log-shares of all items by edges, text neighbors and popularity."""
        num_items = self.config.num_items
        # 1 for the newest item, 2 for the one before it, ..., wherever the padding is
        age = attention_mask.long().flip(-1).cumsum(-1).flip(-1)
        request, column = ((age <= self.config.num_recent_items) & attention_mask).nonzero(as_tuple=True)
        item = history[request, column] - 1
        recency = 1 / age[request, column].double()
        scores = torch.zeros(len(history) * num_items, dtype=torch.float64, device=history.device)
        first, degree = self.edge_starts[item], self.edge_starts[item + 1] - self.edge_starts[item]
        # the edges of all recent items, end to end: (num_recent_edges,)
        recent = torch.repeat_interleave(degree)
        edge = torch.arange(len(recent), device=history.device) + (first - degree.cumsum(0) + degree)[recent]
        target = request[recent] * num_items + self.edge_columns[edge]
        scores.index_add_(0, target, recency[recent] * self.edge_weights[edge].double())
        if self.config.text_weight and self.config.num_text_neighbours:
            target = request.unsqueeze(1) * num_items + self.text_columns[item]
            weight = self.config.text_weight * recency.unsqueeze(1) * self.text_cosines[item].double()
            scores.index_add_(0, target.flatten(), weight.flatten())
        scores = scores.view(len(history), num_items) + POPULARITY_WEIGHT * self.popularity()
        # shares of the counted items, whose scores no added item changes
        return (scores / scores[:, : self.num_trained_items].sum(-1, keepdim=True)).log()

    @torch.no_grad()
    def add_items(self, embeddings: torch.Tensor, new_embeddings: torch.Tensor) -> None:
        """Adds items without training sequences, which are reached by what their texts are near to.

        An added item has the nearest texts of the catalog as its neighbors, and each of these gets an edge to it of
        the same weight as a text neighbor has. From every trained item that has edges to the trained items nearest to
        the added one ([`nearest_trained`]), it gets an edge: their weighted mean. Edges and neighbors of the other
        items stay.

        Args:
            embeddings (`torch.Tensor`): Shape `(num_items, embedding_size)`, those of the catalog, of norm 1.
            new_embeddings (`torch.Tensor`): Shape `(num_new, embedding_size)`, of norm 1.
        """
        num_items, num_new = self.config.num_items, len(new_embeddings)
        counts = self.item_counts.new_zeros(num_new)
        starts, columns, weights = self.edge_starts, self.edge_columns, self.edge_weights
        borrowed = self._borrowed_edges(embeddings[: self.num_trained_items], new_embeddings)
        starts = torch.cat([starts, starts[-1].expand(num_new)])
        starts, columns, weights = _merge_edges(starts, columns, weights, *borrowed)
        if self.config.num_text_neighbours:
            everything = torch.cat([embeddings, new_embeddings])
            cosines, neighbours = text_neighbours(everything, self.config.num_text_neighbours, first=num_items)
            self.text_columns = torch.cat([self.text_columns, neighbours])
            self.text_cosines = torch.cat([self.text_cosines, cosines.to(self.text_cosines.dtype)])
            if self.config.text_weight:
                new = torch.arange(num_items, num_items + num_new, device=neighbours.device).unsqueeze(1)
                is_back = neighbours < num_items  # new items are neighbors of one another already, both ways
                source, target = neighbours[is_back], new.expand_as(neighbours)[is_back]
                weight = self.config.text_weight * cosines[is_back]
                starts, columns, weights = _merge_edges(starts, columns, weights, source, target, weight)
        self.item_counts = torch.cat([self.item_counts, counts])
        self.edge_starts, self.edge_columns, self.edge_weights = starts, columns, weights
        self.config.num_trained_items = self.num_trained_items
        self.config.num_items, self.config.num_edges = num_items + num_new, len(columns)

    def _borrowed_edges(
        self, trained: torch.Tensor, new: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Edges from trained items to added ones: sources, targets, both counted from 0, and weights."""
        num_items, num_trained = self.config.num_items, len(trained)
        shares, nearest = nearest_trained(trained, new)
        # the edges between trained items, by their targets: (source, weight) of those to item i are a range
        end = int(self.edge_starts[num_trained])
        sources = torch.repeat_interleave(self.edge_starts[: num_trained + 1].diff())
        is_trained = self.edge_columns[:end] < num_trained
        targets, sources = self.edge_columns[:end][is_trained], sources[is_trained]
        weights = self.edge_weights[:end][is_trained].double()
        order = targets.argsort(stable=True)
        first = torch.searchsorted(targets[order], torch.arange(num_trained + 1, device=targets.device))
        # one entry per edge to a neighbor of an added item
        neighbor = nearest.flatten()
        count = first[neighbor + 1] - first[neighbor]
        pair = torch.repeat_interleave(count)
        edge = order[torch.arange(len(pair), device=order.device) + (first[neighbor] - count.cumsum(0) + count)[pair]]
        added = pair // nearest.shape[1]
        keys, number = torch.unique(sources[edge] * len(new) + added, return_inverse=True)
        summed = weights.new_zeros(len(keys)).index_add_(0, number, weights[edge] * shares.flatten()[pair].double())
        return keys // len(new), num_items + keys % len(new), summed


def nearest_trained(trained: torch.Tensor, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Trained items whose texts are nearest to those of added items, which borrow from them what was learned.

    Args:
        trained (`torch.Tensor`): Shape `(num_trained, embedding_size)`, of norm 1.
        new (`torch.Tensor`): Shape `(num_new, embedding_size)`, of norm 1.

    Returns:
        Shares that sum to 1, by cosine, and columns counted from 0, both `(num_new, LENDING_ITEMS)`.
    """
    cosines, columns = [], []
    for some in new.split(1024):
        best = (some @ trained.T).topk(min(LENDING_ITEMS, len(trained)))
        cosines.append(best.values.clamp(min=1e-6))
        columns.append(best.indices)
    shares = torch.cat(cosines)
    return shares / shares.sum(1, keepdim=True), torch.cat(columns)


def check_numbers(name: str, numbers: torch.Tensor, largest: int) -> None:
    """Checks that a table holds numbers in `0..largest`.

    Raises:
        ValueError: If it does not; names the table.
    """
    if numbers.numel() and not numbers.is_meta and not 0 <= int(numbers.min()) <= int(numbers.max()) <= largest:
        raise ValueError(
            f"its {name} holds numbers from {int(numbers.min())} to {int(numbers.max())}, and they must be in "
            f"0..{largest}"
        )


def check_sparse_rows(
    name: str, starts: torch.Tensor, columns_name: str, columns: torch.Tensor, num_columns: int
) -> None:
    """Checks compressed sparse rows: ascending starts, up to the number of entries, and columns counted from 0.

    Raises:
        ValueError: If a number is out of range; names the table. Rows that are not set yet are accepted.
    """
    check_numbers(columns_name, columns, num_columns - 1)
    if starts.is_meta or not bool(starts.any()):
        return
    if int(starts[0]) or int(starts[-1]) != len(columns) or bool((starts.diff() < 0).any()):
        raise ValueError(f"its {name} is damaged: it must ascend from 0 to {len(columns)}")


def pad_sequences(sequences: Sequence[Sequence[int]], num_items: int) -> torch.Tensor:
    """Pads sequences with 0 on the right: `(num_sequences, length)`.

    Raises:
        ValueError: If there is no sequence, or one has an item outside `1..num_items`.
    """
    if len(sequences) == 0:
        raise ValueError("there are 0 training sequences to count; give at least one.")
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    flat = torch.tensor([item for sequence in sequences for item in sequence], dtype=torch.long)
    if len(flat) and not 1 <= int(flat.min()) <= int(flat.max()) <= num_items:
        wrong = int(flat[(flat < 1) | (flat > num_items)][0])
        raise ValueError(
            f"a sequence contains {wrong}, which is no item of this catalog (ids 1..{num_items}); drop it or map it "
            "to the ids of the benchmark's items table."
        )
    return pad_sequence(flat.split(lengths.tolist()), batch_first=True)


def count_items(rows: torch.Tensor, num_items: int) -> torch.Tensor:
    """Number of occurrences of each item in padded rows, `(num_items,)`."""
    return torch.bincount(rows.flatten(), minlength=1 + num_items)[1:]


def transition_edges(
    rows: torch.Tensor, num_items: int, window: int, backward_weight: float, degree_power: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Edges between nearby items of sequences; see [`TransitionGraph`].

    Args:
        rows (`torch.Tensor`): Shape `(num_sequences, length)`, item ids, 0 where padded.
        num_items, window, backward_weight, degree_power: See [`TransitionGraphConfig`].

    Returns:
        Compressed sparse rows: starts `(num_items + 1,)`, columns `(num_edges,)` counted from 0, weights
        `(num_edges,)` in float64.
    """
    keys, weights = [], []  # an edge's key: source * num_items + target, both counted from 0
    for distance in range(1, min(window, rows.shape[1] - 1) + 1):
        earlier, later = rows[:, :-distance].flatten(), rows[:, distance:].flatten()
        is_pair = (earlier > 0) & (later > 0) & (earlier != later)
        earlier, later = earlier[is_pair] - 1, later[is_pair] - 1
        keys += [earlier * num_items + later, later * num_items + earlier]
        for weight in (1.0, backward_weight):
            weights.append(torch.full((len(earlier),), weight / distance, dtype=torch.float64))
    if not keys:  # no sequence of two items
        empty = torch.zeros(0, dtype=torch.long)
        return torch.zeros(1 + num_items, dtype=torch.long), empty, empty.double()
    edges, number = torch.unique(torch.cat(keys), return_inverse=True)
    summed = torch.zeros(len(edges), dtype=torch.float64).index_add_(0, number, torch.cat(weights))
    source, columns = edges // num_items, edges % num_items
    degree = torch.zeros(num_items, dtype=torch.float64).index_add_(0, source, summed)
    starts = torch.zeros(1 + num_items, dtype=torch.long)
    starts[1:] = torch.bincount(source, minlength=num_items).cumsum(0)
    return starts, columns, summed / degree[source].clamp(min=1e-12) ** degree_power


def _merge_edges(
    starts: torch.Tensor,
    columns: torch.Tensor,
    weights: torch.Tensor,
    source: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Appends edges to the rows of their sources, in compressed sparse rows; see [`transition_edges`]."""
    num_rows = len(starts) - 1
    order = source.argsort(stable=True)
    added = torch.bincount(source, minlength=num_rows)
    before = added.cumsum(0) - added  # number of new edges of earlier rows
    place = torch.arange(len(columns), device=columns.device)
    place = place + before.repeat_interleave(starts.diff())
    new_place = torch.arange(len(order), device=columns.device) + starts[1:].repeat_interleave(added)
    merged_columns = columns.new_empty(len(columns) + len(order))
    merged_weights = weights.new_empty(len(merged_columns))
    merged_columns[place], merged_columns[new_place] = columns, target[order].to(columns.dtype)
    merged_weights[place], merged_weights[new_place] = weights, weight[order].to(weights.dtype)
    return torch.cat([starts[:1], starts[1:] + added.cumsum(0)]), merged_columns, merged_weights


def text_neighbours(
    embeddings: torch.Tensor, num_neighbours: int, batch_size: int = 1024, first: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Finds the most similar other items of each item.

    Args:
        embeddings (`torch.Tensor`): Shape `(num_items, embedding_size)`, rows of norm 1.
        num_neighbours (`int`): At most `num_items - 1`.
        batch_size (`int`, defaults to 1024): Number of items per batch.
        first (`int`, defaults to 0): The first item, from 0, whose neighbors are found.

    Returns:
        Cosines, none below 0, and columns counted from 0, both `(num_items - first, num_neighbours)`, the nearest
        first.
    """
    cosines, columns = [], []
    for start in range(first, len(embeddings), batch_size):
        similarity = embeddings[start : start + batch_size] @ embeddings.T
        own = torch.arange(len(similarity), device=similarity.device)
        similarity[own, start + own] = -torch.inf
        best = similarity.topk(num_neighbours)
        cosines.append(best.values.clamp(min=0))
        columns.append(best.indices)
    return torch.cat(cosines), torch.cat(columns)
