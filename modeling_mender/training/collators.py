"""Requests to batches: padded to their own length, with whatever can be computed once computed once.

A collator is made for the texts it will see and is shared by training and evaluation, so both read a request alike.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from ..modeling_mender import MenderEmb
from ..processing_mender import MenderEmbProcessor, MenderProcessor, MenderTokProcessor, pad_token_rows


class Request(NamedTuple):
    """What a recommender is asked: items oldest first, and preferences in words; one of the two may be empty."""

    history: tuple[int, ...]
    preferences: tuple[str, ...]


class Collator:
    """Makes batches of requests for one method.

    Args:
        processor ([`MenderProcessor`]): Of the same method.
        model (`PreTrainedModel`): Of the same method.
        texts (`Iterable[str]`): Every preference that requests will hold.
    """

    def __init__(self, processor: MenderProcessor, model: Any, texts: Iterable[str]) -> None:
        self.processor = processor

    def length(self, request: Request) -> int:
        """Length of a request's encoder states, for batches of like lengths."""
        raise NotImplementedError

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        """The encoder's inputs and `attention_mask`, padded to the longest request."""
        raise NotImplementedError


class TextCollator(Collator):
    """For methods that read one text: tokens are made when a batch is, items' tokens once."""

    processor: MenderTokProcessor

    def length(self, request: Request) -> int:
        return len(self.processor.token_ids(*request))

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        rows = [self.processor.token_ids(*request) for request in requests]
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
        features = MenderEmbProcessor.pad_requests(requests)
        num_preferences = max(len(request.preferences) for request in requests)
        if num_preferences:
            embeddings = torch.zeros(len(requests), num_preferences, self.table.shape[1])
            for number, request in enumerate(requests):
                if request.preferences:
                    rows = [self.rows[text] for text in request.preferences]
                    embeddings[number, : len(rows)] = self.table[rows]
            features["preference_embeddings"] = embeddings
        return features


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
