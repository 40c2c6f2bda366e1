"""Requests and training examples to batches: padded to their own length, what can be computed once computed once.

A collator is made for the texts it will see and is shared by training and evaluation, so both read a request alike. It
also decides what one training row is: one example, or, where the method can learn every position of a sequence in one
pass, all examples of a user.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from ..modeling_mender import MenderEmb
from ..processing_mender import MenderEmbProcessor, MenderProcessor, MenderTokProcessor, pad_token_rows


class Request(NamedTuple):
    """What a recommender is asked: items oldest first, and preferences in words; one of the two may be empty.

    `user` is the user's id where there is one; only TIGER with a user embedding looks at it.
    """

    history: tuple[int, ...]
    preferences: tuple[str, ...]
    user: str = ""


class Example(NamedTuple):
    """One thing to learn: the item that followed, or, where `is_negative`, the item that must not come back."""

    request: Request
    target: int
    is_negative: bool = False


class Collator:
    """Makes batches of requests for one method.

    Args:
        processor ([`MenderProcessor`]): Of the same method.
        model (`PreTrainedModel`): Of the same method.
        texts (`Iterable[str]`): Every preference that requests will hold.
    """

    def __init__(self, processor: MenderProcessor, model: Any, texts: Iterable[str]) -> None:
        self.processor = processor
        if hasattr(model, "item_labels"):  # shape (num_items, num_levels): token ids of every target
            items = torch.arange(1, model.config.num_items + 1, device=model.item_semantic_ids.device)
            self.labels = model.item_labels(items).cpu()

    def length(self, request: Request) -> int:
        """Length of a request's encoder states, for batches of like lengths."""
        raise NotImplementedError

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        """The encoder's inputs and `attention_mask`, padded to the longest request."""
        raise NotImplementedError

    def group(self, examples: Sequence[Example]) -> list[list[int]]:
        """Which examples make one training row: each its own, unless a method can do better."""
        return [[number] for number in range(len(examples))]

    def training_batch(self, rows: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """What the model's `forward` takes, `labels` included, and `negatives (num_examples,)` where there are any."""
        examples = [example for row in rows for example in row]
        batch = self([example.request for example in examples])
        batch["labels"] = self.labels[torch.tensor([example.target for example in examples]) - 1]
        if any(example.is_negative for example in examples):
            batch["negatives"] = torch.tensor([example.is_negative for example in examples])
        return batch


class TextCollator(Collator):
    """For methods that read one sequence of tokens: tokens are made when a batch is, items' tokens once."""

    processor: MenderTokProcessor

    def length(self, request: Request) -> int:
        return len(self.processor.token_ids(*request[:2]))

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        rows = [self.processor.token_ids(*request[:2]) for request in requests]
        return pad_token_rows(rows, self.processor.tokenizer.pad_token_id)


class EmbeddingCollator(Collator):
    """For methods that read embeddings: every distinct preference is embedded once, by the model's own text encoder.

    Attributes:
        table (`torch.Tensor`): Shape `(num_texts, embedding_size)`, float32 on the CPU, in the order of first
            appearance.
    """

    def __init__(self, processor: MenderEmbProcessor, model: MenderEmb, texts: Iterable[str]) -> None:
        super().__init__(processor, model, texts)
        distinct = list(dict.fromkeys(texts))
        self.rows = {text: row for row, text in enumerate(distinct)}
        self.table = embed_texts(model, processor, distinct, "preferences")

    def length(self, request: Request) -> int:
        return len(request.history) + len(request.preferences)

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        features = MenderEmbProcessor.pad_requests([request[:2] for request in requests])
        num_preferences = max(len(request.preferences) for request in requests)
        if num_preferences:
            embeddings = torch.zeros(len(requests), num_preferences, self.table.shape[1])
            for number, request in enumerate(requests):
                if request.preferences:
                    rows = [self.rows[text] for text in request.preferences]
                    embeddings[number, : len(rows)] = self.table[rows]
            features["preference_embeddings"] = embeddings
        return features


def group_prefixes(examples: Sequence[Example]) -> list[list[int]]:
    """Groups examples whose histories are prefixes of one another, so that one pass over the longest serves them all.

    Every example keeps its own history and target; nothing is added or lost.

    Returns:
        `list[list[int]]`: Numbers of examples, the one with the longest history last in each group; groups in the
        order of their first example.

    >>> histories = [(1,), (1, 2), (3,), (1, 2, 4), (1, 5)]
    >>> group_prefixes([Example(Request(history, ()), 9) for history in histories])
    [[0, 1, 3], [2], [4]]
    """
    longest_first = sorted(range(len(examples)), key=lambda number: -len(examples[number].request.history))
    group_of_prefix: dict[tuple[int, ...], list[int]] = {}
    groups: list[list[int]] = []
    for number in longest_first:
        history = examples[number].request.history
        group = group_of_prefix.get(history) if history else None
        if group is None:
            group = []
            groups.append(group)
            for length in range(1, len(history) + 1):
                group_of_prefix.setdefault(history[:length], group)
        group.append(number)
    for group in groups:
        group.sort(key=lambda number: (len(examples[number].request.history), number))
    return sorted(groups, key=min)


def embed_texts(
    model: MenderEmb, processor: MenderEmbProcessor, texts: Sequence[str], description: str, batch_size: int = 256
) -> torch.Tensor:
    """Embeds texts with the model's text encoder, the longest first, so that padding is little and memory known early.

    Returns:
        `torch.Tensor`: Shape `(num_texts, embedding_size)`, float32 on the CPU, in the order given.
    """
    table = torch.zeros(len(texts), model.config.embedding_size)
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    for start in tqdm(range(0, len(order), batch_size), desc=f"embedding {description}", unit="batch", leave=False):
        rows = order[start : start + batch_size]
        tokens = processor.tokenizer(
            [texts[row] for row in rows],
            truncation=True,
            max_length=processor.max_length,
            padding=True,
            return_tensors="pt",
        ).to(model.device)
        table[rows] = model.embed_text(tokens["input_ids"], tokens["attention_mask"]).float().cpu()
    return table
