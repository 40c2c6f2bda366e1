"""Methods over item ids: their collator, and construction of SASRec and the non-parametric baselines.

A training row of SASRec is a whole sequence: one pass learns the item after each of its positions.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from ..configuration_sasrec import SASRecConfig
from ..data.collators import Collator, group_positions
from ..data.requests import Example, Request
from ..modeling_baselines import MostPopular, TransitionGraph
from ..modeling_sasrec import SASRec
from ..processing_item_ids import ItemIdProcessor
from ..processing_mender import MenderEmbProcessor
from ..training.arguments import SizeArguments, TextEncoderArguments, TrainingArguments
from ..training.objectives import IGNORED
from .building import Catalogue

if TYPE_CHECKING:
    from .table import Method


class ItemIdCollator(Collator):
    """Pads histories of item ids on the left, after cutting the oldest items that the model cannot read."""

    groups_by_length = False  # logits over the catalog cost more than padding, and exist for labeled positions only

    def __init__(
        self, processor: ItemIdProcessor, model: PreTrainedModel, texts: Iterable[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(processor, model, texts, **kwargs)
        self.max_history_length = model.config.max_history_length

    def _history(self, request: Request) -> tuple[int, ...]:
        """Returns the part of a request's history that the model reads."""
        return request.history[-self.max_history_length :]

    def length(self, request: Request) -> int:
        return len(self._history(request))

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        return MenderEmbProcessor.pad_requests([(self._history(request), ()) for request in requests])

    def group(self, examples: Sequence[Example]) -> list[list[int]]:
        """Groups the examples of all positions of a sequence into a row; see [`group_positions`]."""
        return group_positions([(self._history(example.request), example.target) for example in examples])

    def training_batch(self, rows: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """Returns `history`, `attention_mask` and `labels`, all of shape `(num_rows, history_length)`."""
        if any(example.is_negative for row in rows for example in row):
            raise ValueError("methods over item ids cannot learn from negative examples; choose a mixture without "
                             "them, such as none.")  # fmt: skip
        batch = self([row[-1].request for row in rows])
        length = batch["history"].shape[1]
        batch["labels"] = torch.full_like(batch["history"], IGNORED)
        for number, row in enumerate(rows):
            start = length - self.length(row[-1].request)
            for example in row:
                batch["labels"][number, start + self.length(example.request) - 1] = example.target
        return batch


def training_sequences(examples: Sequence[Example]) -> list[tuple[int, ...]]:
    """Restores the sequences that training examples were cut from: the longest history of each, and its target.

    Examples whose target did not follow the history are left out.

    >>> rows = [Example(Request(history, ()), target) for history, target in (((1,), 2), ((1, 2), 3), ((1,), 4))]
    >>> training_sequences(rows)
    [(1, 2, 3), (1, 4)]
    """
    positions = [(example.request.history, example.target) for example in examples if not example.needs_preference]
    longest = [positions[group[-1]] for group in group_positions(positions)]
    return [(*history, target) for history, target in longest]


def build_sasrec(
    method: "Method",
    arguments: SizeArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[SASRec, ItemIdProcessor]:
    """Builds a SASRec; see `build_mender` for the arguments.

    `num_decoder_layers` is its number of layers; its heads share `d_model`, so that `d_kv` does not apply.
    """
    sizes = {name: getattr(arguments, name) for name in ("d_model", "d_ff", "num_heads", "dropout_rate")}
    config = SASRecConfig(
        num_items=len(catalogue.items), num_layers=arguments.num_decoder_layers, **(sizes | dict(method.config))
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        model = SASRec(config)
    return model, _processor(model, catalogue)


def build_most_popular(
    method: "Method",
    arguments: TrainingArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[MostPopular, ItemIdProcessor]:
    """Builds the most-popular baseline from the training sequences; see `build_mender` for the arguments."""
    model = MostPopular.from_sequences(training_sequences(examples), len(catalogue.items), **dict(method.config))
    return model, _processor(model, catalogue)


def build_transition_graph(
    method: "Method",
    arguments: TextEncoderArguments | TrainingArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[TransitionGraph, ItemIdProcessor]:
    """Builds the item-transition graph of the training sequences; see `build_mender` for the arguments.

    Methods that read `text_encoder` also get embeddings of the item texts.
    """
    config = dict(method.config)
    embeddings = None
    if isinstance(arguments, TextEncoderArguments):
        assert catalogue.load_embedder is not None, "training gives every catalog an embedder"
        embed = catalogue.load_embedder(arguments.text_encoder, str(device))
        embeddings = torch.from_numpy(embed(catalogue.embedding_texts))
    model = TransitionGraph.from_sequences(training_sequences(examples), len(catalogue.items), embeddings, **config)
    return model, _processor(model, catalogue)


def _processor(model: PreTrainedModel, catalogue: Catalogue) -> ItemIdProcessor:
    """Returns the processor of a model over item ids, with the titles of the catalog."""
    return ItemIdProcessor(model.config.max_history_length, model.config.answers_empty_requests, items=catalogue.items)
