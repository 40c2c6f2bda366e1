"""Mender_Steer in training: its collator, its construction, and the requests that its weights are fitted on.

A training row is a whole sequence: one pass learns the item after each of its positions, each with its own
preferences.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer

from ..data.collators import Collator, embed_texts, group_positions
from ..data.frozen_cache import CACHE_LIMIT_GB
from ..data.requests import Example, Request, requests_of
from ..item_words import ItemWords, content_words
from ..modeling_baselines import TransitionGraph
from ..modeling_mender_steer import MenderSteer
from ..preference_texts import ReadText, aligned, once
from ..processing_mender_steer import MenderSteerProcessor
from ..training.arguments import MenderSteerArguments
from .building import DECODER_SIZES, Catalogue, longest_text, resolve_text_encoder
from .item_ids import training_sequences
from .request_weights_fit import Asked, fit_request_weights

if TYPE_CHECKING:
    from .table import Method

# As in the baseline `transition_graph_text`, chosen on the validation rows of Beauty and Toys.
GRAPH = {"num_text_neighbours": 20, "text_weight": 0.25}
# Sentences about nothing in a shop, as long as typical requests.
UNRELATED = (
    "I was born in May.", "The train was late again.", "See you on Monday.", "He called me yesterday.", "ok",
    "It rained all week.", "asdf qwertz", "lorem ipsum dolor sit amet", "42", "I have two brothers.",
    "Where do you live?", "That is so funny.", "The meeting starts at nine.", "I forgot my password.",
    "He is taller than me.", "What time is it?", "I have no idea.", "The capital of France is Paris.",
    "Nobody knows why.", "You are welcome.", "My sister got married last year and moved to another town.",
    "Please tell your manager that I want to talk to somebody.",
)  # fmt: skip
# Kinds of requests that the weights are fitted on: name, axis, column of the preferences, and weight.
FITTED_ROWS = (
    ("one preference", "recommendation", "preference", 4.0),
    ("no preference", "recommendation", None, 1.0),
    ("five preferences", "history", "preferences", 3.0),
    ("fine", "fine", "preference", 0.5),
    ("coarse", "coarse", "preference", 0.5),
)
# Requests made from the catalog: name, whether each word is a preference of its own, and weight. With half of
# it, recall of items of a kind and a value over a history falls from .8 to .6 on Beauty; with more, recommendation
# falls.
CATALOGUE_REQUESTS = (("catalogue", False, 1.0), ("several preferences", True, 0.25))


class SteerCollator(Collator):
    """Parses preferences as the processor does, and embeds every distinct text once.

    Attributes:
        table (`torch.Tensor`): Embeddings, shape `(num_texts, embedding_size)`, float32 on the CPU.
    """

    groups_by_length = False  # logits over the catalog cost more than padding
    processor: MenderSteerProcessor

    def __init__(
        self,
        processor: MenderSteerProcessor,
        model: MenderSteer,
        texts: Iterable[str],
        cache_dir: str | Path | None = None,
        cache_limit_gb: float = CACHE_LIMIT_GB,
    ) -> None:
        self.processor = processor
        self.read = {text: processor.read_preference(text) for text in dict.fromkeys(texts)}
        distinct = list(dict.fromkeys(part.text for parts in self.read.values() for part in parts))
        self.rows = {text: row for row, text in enumerate(distinct)}
        self.table = embed_texts(
            cast(Any, model),
            cast(Any, processor),
            distinct,
            "preferences",
            cache_dir=cache_dir,
            cache_limit_gb=cache_limit_gb,
        )

    def length(self, request: Request) -> int:
        return len(request.history) + len(request.preferences)

    def texts(self, request: Request) -> list[ReadText]:
        """Returns the texts that a request wants and avoids, without duplicates."""
        parts = (part for text in request.preferences for part in self.read[text])
        if request.strength != 1:
            parts = (replace(part, strength=part.strength * request.strength) for part in parts)
        return once(parts)

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        longest = self.processor.max_history_length
        read = [(request.history[-longest:], self.texts(request)) for request in requests]
        texts = aligned(read)
        features = self.processor.pad(read, texts)
        if texts and texts[0]:
            features["preference_embeddings"] = self._embeddings(texts)
        return features

    def _embeddings(self, texts: Sequence[Sequence[ReadText | None]]) -> torch.Tensor:
        """Returns embeddings, `(num_rows, num_texts, embedding_size)`; 0 where there is no text."""
        numbers = torch.tensor([[-1 if text is None else self.rows[text.text] for text in row] for row in texts])
        return self.table[numbers] * (numbers >= 0).unsqueeze(-1)

    def group(self, examples: Sequence[Example]) -> list[list[int]]:
        """Groups the examples of all positions of a sequence into one row; see [`group_positions`].

        Histories count as the model reads them: a row must contain the items of all its examples from the first on.
        """
        longest = self.processor.max_history_length
        return group_positions([(example.request.history[-longest:], example.target) for example in examples])

    def training_batch(self, rows: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """Returns `history` and `attention_mask (num_rows, history_length)`, and per example `example_rows`,
        `example_lengths`, `labels (num_examples,)`, `preference_embeddings (num_examples, num_preferences,
        embedding_size)` and `preference_strengths (num_examples, num_preferences)`, without texts to avoid."""
        if any(example.is_negative for row in rows for example in row):
            raise ValueError("mender_steer cannot learn from negative examples; choose a mixture without them, "
                             "such as wanted.")  # fmt: skip
        longest = self.processor.max_history_length
        histories = [row[-1].request.history[-longest:] for row in rows]
        history = torch.zeros(len(rows), max(1, *map(len, histories)), dtype=torch.long)
        for number, items in enumerate(histories):
            history[number, : len(items)] = torch.tensor(items, dtype=torch.long)
        examples = [(number, example) for number, row in enumerate(rows) for example in row]
        batch = {
            "history": history,
            "attention_mask": (history > 0).long(),
            "example_rows": torch.tensor([number for number, _ in examples]),
            "example_lengths": torch.tensor([min(longest, len(example.request.history)) for _, example in examples]),
            "labels": torch.tensor([example.target for _, example in examples]),
        }
        texts = aligned([((), [t for t in self.texts(example.request) if t.strength > 0]) for _, example in examples])
        if texts and texts[0]:
            batch["preference_embeddings"] = self._embeddings(texts)
            batch["preference_strengths"] = torch.tensor([[float(text is not None) for text in row] for row in texts])
        return batch


def build_mender_steer(
    method: "Method",
    arguments: MenderSteerArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[MenderSteer, MenderSteerProcessor]:
    """Builds a Mender_Steer; see `build_mender` for the arguments.

    Its words are those of the embedded item texts, and its graph is that of the training sequences.
    """
    name_or_path = resolve_text_encoder(arguments.text_encoder)
    items = [item | {"text": text} for item, text in zip(catalogue.items, catalogue.plain_texts, strict=True)]
    tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    config = {name: getattr(arguments, name) for name in (*DECODER_SIZES, "use_decoder")} | dict(method.config)
    if arguments.num_encoder_layers is not None:
        config["num_history_layers"] = arguments.num_encoder_layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        model = MenderSteer.from_text_encoder(
            name_or_path, catalogue.known_semantic_ids, ItemWords(catalogue.plain_texts), **config
        )
    processor = MenderSteerProcessor(
        tokenizer,
        max_history_length=model.config.max_history_length,
        max_length=longest_text(tokenizer, model.config.text_config),
        items=items,
    )
    cast(nn.Module, model).to(device)
    encoder: tuple[Any, Any] = (model, processor)  # embed_texts is typed for Mender_Emb
    embeddings = embed_texts(
        *encoder, catalogue.plain_texts, "items", cache_dir=arguments.cache_dir,
        cache_limit_gb=arguments.cache_limit_gb,
    )  # fmt: skip
    model.set_item_embeddings(embeddings.to(device))
    model.set_unrelated(embed_texts(*encoder, UNRELATED, "sentences").to(device))
    graph = TransitionGraph.from_sequences(training_sequences(examples), len(items), embeddings, **GRAPH)
    model.set_graph(cast(TransitionGraph, cast(nn.Module, graph).to(device)))
    return model, processor


class SteerFit:
    """Fits the weights of the terms on validation rows of the axes and on requests made from the catalog.

    Args:
        processor ([`MenderSteerProcessor`]): Processor of the model.
        load (`Callable`): Maps an axis to its validation rows, or to `None` if the benchmark lacks it.
        restrict (`Callable`): Removes from a request the inputs that the method does not read.
        seed (`int`, defaults to 0): Random seed of the requests.
        max_rows (`int`, defaults to 0): Requests of each kind; 0 means all rows, and 600 made from the catalog.

    Raises:
        ValueError: If there are no requests.

    Attributes:
        kinds (`list[Asked]`): Requests of each kind with their correct items.
    """

    def __init__(
        self,
        processor: MenderSteerProcessor,
        load: Callable[[str], Any],
        restrict: Callable[[Request], Request],
        seed: int = 0,
        max_rows: int = 0,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.kinds: list[Asked] = []
        histories: list[tuple[int, ...]] = []
        for name, axis, column, weight in FITTED_ROWS:
            rows = load(axis)
            if rows is None or len(rows) == 0:
                continue
            if 0 < max_rows < len(rows):
                rows = rows.select(sorted(generator.choice(len(rows), max_rows, replace=False)))
            requests = [restrict(request) for request in requests_of(rows, column)]
            histories += [request.history for request in requests if request.history]
            self.kinds.append(Asked(name, requests, [[target] for target in rows["target"][:]], weight))
        for name, several, weight in CATALOGUE_REQUESTS:
            requests, targets = catalogue_requests(processor, histories, max_rows or 600, generator, several)
            if requests:
                self.kinds.append(Asked(name, requests, targets, weight))
        if not self.kinds:
            raise ValueError(
                "there is nothing to fit the weights on: the benchmark has no validation rows and its items no "
                "words; build it again with a smaller min_count."
            )

    def __call__(self, model: MenderSteer, collator: SteerCollator) -> dict[str, float]:
        """Fits the weights of a model and returns the smooth NDCG by kind; see [`fit_request_weights`]."""
        return fit_request_weights(model, collator, self.kinds)


def catalogue_requests(
    processor: MenderSteerProcessor,
    histories: Sequence[tuple[int, ...]],
    count: int,
    generator: np.random.Generator,
    several: bool = False,
) -> tuple[list[Request], list[list[int]]]:
    """Draws requests for items by one to three of their words, with all items that have these words as correct.

    Half of them have an unrelated history, so that the fit learns to follow the preference against it.

    Args:
        processor ([`MenderSteerProcessor`]): Processor with the words of the items.
        histories (`Sequence[tuple[int, ...]]`): Histories to draw from.
        count (`int`): Number of requests.
        generator (`np.random.Generator`): Random generator.
        several (`bool`): Whether each word, of two to four, is a preference of its own.

    Returns:
        `tuple`: Requests, and the ids of the correct items of each.
    """
    words = processor.words
    having = [frozenset(words.items_with(word)) for word in range(len(words))]
    requests, targets = [], []
    for _ in range(count):
        item = int(generator.integers(processor.num_items))
        text = processor.items[item]["text"]
        written = [word for word in dict.fromkeys(content_words(text)) if words.match(word).known]
        if not written:
            continue
        ids, weights = zip(*(words.match(word).known[0] for word in written), strict=True)
        number = min(len(ids), int(generator.integers(1, 4)) + several)
        chosen = sorted(generator.choice(len(ids), number, replace=False, p=np.array(weights) / sum(weights)))
        right = frozenset.intersection(*(having[ids[place]] for place in chosen))
        asked = tuple(written[place] for place in chosen)  # in the order of the text
        history = histories[int(generator.integers(len(histories)))] if histories and generator.random() < 0.5 else ()
        requests.append(Request(history, asked if several else (" ".join(asked),)))
        targets.append(sorted(one + 1 for one in right))
    return requests, targets
