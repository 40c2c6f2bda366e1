"""Collators: requests and training examples to padded batches, shared by training and evaluation.

A training row is one example, or, for a method that learns every position of a sequence in one pass, a sequence.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ..modeling_mender import MenderEmb
from ..processing_mender import MenderEmbProcessor, MenderProcessor, MenderTokProcessor, pad_token_rows
from ..training.objectives import IGNORED
from .frozen_cache import CACHE_LIMIT_GB, FrozenCache, text_key
from .requests import Example, Request


class Collator:
    """Builds batches of requests for one method.

    Args:
        processor ([`MenderProcessor`]): Processor of the method.
        model (`PreTrainedModel`): Model of the method.
        texts (`Iterable[str]`): All preferences of the requests.
        cache_dir (`str` or `Path`, *optional*): Folder for outputs of a frozen text encoder, see [`FrozenCache`];
            ignored by methods without one.
        cache_limit_gb (`float`, defaults to 50): Largest size of `cache_dir` in 10^9 bytes.

    Attributes:
        groups_by_length (`bool`): Whether batches of similar lengths save time; false where padding costs little.
    """

    groups_by_length = True

    def __init__(
        self,
        processor: MenderProcessor,
        model: Any,
        texts: Iterable[str],
        cache_dir: str | Path | None = None,
        cache_limit_gb: float = CACHE_LIMIT_GB,
    ) -> None:
        self.processor = processor
        self.is_causal = getattr(getattr(model, "config", None), "causal_history", False)
        if hasattr(model, "item_labels"):  # shape (num_items, num_levels): token ids of every target
            items = torch.arange(1, model.config.num_items + 1, device=model.item_semantic_ids.device)
            self.labels = model.item_labels(items).cpu()

    def prepare(self, requests: Iterable[Request]) -> None:
        """Precomputes shared parts of batches of these requests; optional."""

    def length(self, request: Request) -> int:
        """Number of encoder states of a request, for batches of similar lengths."""
        raise NotImplementedError

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        """Inputs of the encoder and `attention_mask`, padded to the longest request."""
        raise NotImplementedError

    def group(self, examples: Sequence[Example]) -> list[list[int]]:
        """Numbers of the examples of each training row: one each, or with causal histories a sequence."""
        if not self.is_causal:
            return [[number] for number in range(len(examples))]
        return group_positions([(example.request.history, example.target) for example in examples])

    def training_batch(self, rows: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """Arguments of the model's `forward`, `labels` included, and `negatives (num_examples,)` if there are any."""
        examples = [example for row in rows for example in row]
        batch = self([example.request for example in examples])
        batch["labels"] = self.labels[torch.tensor([example.target for example in examples]) - 1]
        if any(example.is_negative for example in examples):
            batch["negatives"] = torch.tensor([example.is_negative for example in examples])
        return batch


class TextCollator(Collator):
    """Collator of methods that read one sequence of tokens.

    With `cache_dir`, prepared requests become states of the frozen text encoder, `text_hidden_states (batch_size,
    sequence_length, hidden_size)` in float16, in place of `input_ids`.

    Raises:
        ValueError: If `cache_dir` is given and the text encoder of a model in training mode is trained.
    """

    processor: MenderTokProcessor

    def __init__(
        self,
        processor: MenderTokProcessor,
        model: Any,
        texts: Iterable[str],
        cache_dir: str | Path | None = None,
        cache_limit_gb: float = CACHE_LIMIT_GB,
    ) -> None:
        super().__init__(processor, model, texts)
        self.cache: FrozenCache | None = None
        self.keys: dict[Request, bytes] = {}  # of prepared requests
        if cache_dir is None or "text_hidden_states" not in model.encoder_input_names:
            return
        if model.training and any(weight.requires_grad for weight in model.text_encoder.parameters()):
            raise ValueError(
                f"cache_dir ({cache_dir}) is for the outputs of a frozen text encoder, and this one is trained; leave "
                "cache_dir out."
            )
        self.model = model
        self.cache = FrozenCache(
            cache_dir, "hidden_states", model.text_encoder, torch.float16, per_token=True, limit_gb=cache_limit_gb
        )

    def tokens(self, request: Request) -> list[int]:
        """Token ids of a request for the text encoder."""
        return self.processor.token_ids(*request[:2])

    def prepare(self, requests: Iterable[Request]) -> None:
        if self.cache is None:
            return
        keys: dict[Request, bytes] = {}
        texts: dict[bytes, list[int]] = {}
        for request in dict.fromkeys(requests):
            if request not in self.keys and (request.history or request.preferences):
                tokens = self.tokens(request)
                keys[request] = text_key(tokens)
                texts[keys[request]] = tokens
        self.cache.fill(texts, self._hidden_states, "hidden states")
        self.keys |= keys

    @torch.no_grad()
    def _hidden_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        encoder, device = self.model.text_encoder, self.model.device
        was_training = encoder.training
        encoder.eval()
        try:
            output = encoder(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device))
        finally:
            encoder.train(was_training)
        return output.last_hidden_state

    def length(self, request: Request) -> int:
        key = self.keys.get(request)
        return len(self.tokens(request)) if self.cache is None or key is None else self.cache.length(key)

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        keys = [self.keys[request] for request in requests if request in self.keys]
        if self.cache is not None and len(keys) == len(requests):
            states = [self.cache.read(key) for key in keys]
            lengths = torch.tensor([len(text) for text in states])
            padded = pad_sequence(states, batch_first=True)
            mask = (torch.arange(padded.shape[1]) < lengths.unsqueeze(1)).long()
            return {"text_hidden_states": padded, "attention_mask": mask}
        return pad_token_rows([self.tokens(request) for request in requests], self.processor.tokenizer.pad_token_id)


class EmbeddingCollator(Collator):
    """Collator of methods that read embeddings; every distinct preference is embedded once by the model.

    Attributes:
        table (`torch.Tensor`): Shape `(num_texts, embedding_size)`, float32 on the CPU, in the order of first
            appearance.
    """

    def __init__(
        self,
        processor: MenderEmbProcessor,
        model: MenderEmb,
        texts: Iterable[str],
        cache_dir: str | Path | None = None,
        cache_limit_gb: float = CACHE_LIMIT_GB,
    ) -> None:
        super().__init__(processor, model, texts)
        distinct = list(dict.fromkeys(texts))
        self.rows = {text: row for row, text in enumerate(distinct)}
        self.table = embed_texts(
            model, processor, distinct, "preferences", cache_dir=cache_dir, cache_limit_gb=cache_limit_gb
        )

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

    def training_batch(self, rows: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """Arguments of `forward`; with a causal history, one row is a sequence with its examples, see
        `SemanticIdDecoderModel.decode_prefixes`."""
        if not self.is_causal:
            return super().training_batch(rows)
        num_examples = max(len(row) for row in rows)
        width = max(len(example.request.preferences) for row in rows for example in row)
        batch = prefix_batch(rows, self.labels)
        if width:
            numbers = torch.full((len(rows), num_examples, width), -1)
            for i, row in enumerate(rows):
                for j, example in enumerate(row):
                    texts = [self.rows[text] for text in example.request.preferences]
                    numbers[i, j, : len(texts)] = torch.tensor(texts, dtype=torch.long)
            batch["preference_embeddings"] = self.table[numbers.flatten(1)]
            # an example sees its own preferences only
            own = torch.eye(num_examples, dtype=torch.bool).repeat_interleave(width, dim=1)
            visible = own & (numbers >= 0).flatten(1).unsqueeze(1)
            batch["example_mask"] = torch.cat([visible, batch["example_mask"]], dim=-1)
        return batch


def group_positions(examples: Sequence[tuple[tuple[int, ...], int]]) -> list[list[int]]:
    """Groups examples that are distinct positions of one sequence, so that a row has one label per position.

    Users with the same first items keep the positions that continue as their own sequence does.

    Args:
        examples (`Sequence[tuple]`): Pairs of a history and its next item.

    Returns:
        `list[list[int]]`: Numbers of examples, the one with the longest history last in each group; groups in the
        order of their first example.

    >>> group_positions([((1,), 2), ((1, 2), 3), ((1,), 4), ((1, 4), 9), ((1,), 5)])
    [[0, 1], [2, 3], [4]]
    """
    sequences = [(*history, target) for history, target in examples]
    longest_first = sorted(range(len(sequences)), key=lambda number: -len(sequences[number]))
    waiting: dict[tuple[int, ...], list[list[int]]] = {}  # position -> groups that pass it and lack its example
    groups: list[list[int]] = []
    for number in longest_first:
        sequence = sequences[number]
        if waiting.get(sequence):
            waiting[sequence].pop(0).append(number)
            continue
        group = [number]
        groups.append(group)
        for length in range(2, len(sequence)):
            waiting.setdefault(sequence[:length], []).append(group)
    return sorted((group[::-1] for group in groups), key=min)


def prefix_batch(rows: Sequence[Sequence[Example]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Batches sequences with the examples that are their prefixes, without preferences.

    Args:
        rows (`Sequence[Sequence[Example]]`): Groups of [`group_positions`].
        labels (`torch.Tensor`): Shape `(num_items, num_levels)`, token ids of every target.

    Returns:
        `dict`: `history (batch_size, history_length)`, padded with 0 on the right; `example_mask (batch_size,
        num_examples, history_length)`; `labels (batch_size, num_examples, num_levels)`; and `negatives
        (batch_size, num_examples)` if there are any.
    """
    num_examples = max(len(row) for row in rows)
    history_length = max(1, *(len(row[-1].request.history) for row in rows))
    history = torch.zeros(len(rows), history_length, dtype=torch.long)
    lengths = torch.zeros(len(rows), num_examples, dtype=torch.long)
    targets = torch.zeros(len(rows), num_examples, dtype=torch.long)
    negatives = torch.zeros(len(rows), num_examples, dtype=torch.bool)
    for number, row in enumerate(rows):
        longest = row[-1].request.history
        history[number, : len(longest)] = torch.tensor(longest, dtype=torch.long)
        lengths[number, : len(row)] = torch.tensor([len(example.request.history) for example in row])
        targets[number, : len(row)] = torch.tensor([example.target for example in row])
        negatives[number, : len(row)] = torch.tensor([example.is_negative for example in row])
    batch = {
        "history": history,
        "example_mask": torch.arange(history_length) < lengths.unsqueeze(-1),
        "labels": torch.where((targets > 0).unsqueeze(-1), labels[targets - 1], IGNORED),
    }
    return batch | ({"negatives": negatives} if negatives.any() else {})


def embed_texts(
    model: MenderEmb,
    processor: MenderEmbProcessor,
    texts: Sequence[str],
    description: str,
    batch_size: int = 256,
    cache_dir: str | Path | None = None,
    cache_limit_gb: float = CACHE_LIMIT_GB,
) -> torch.Tensor:
    """Embeds texts with the model's text encoder, the longest first, which saves padding and shows peak memory early.

    With `cache_dir`, texts embedded by an earlier run with the same encoder are read; see [`FrozenCache`].

    Returns:
        `torch.Tensor`: Shape `(num_texts, embedding_size)`, float32 on the CPU, in the order given.
    """
    table = torch.zeros(len(texts), model.config.embedding_size)
    if cache_dir is not None and len(texts):

        def compute(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return model.embed_text(input_ids.to(model.device), attention_mask.to(model.device)).unsqueeze(1)

        # the kind names the pooling of `embed_text`
        cache = FrozenCache(
            cache_dir,
            "embeddings_mean_l2",
            model.text_encoder,
            torch.float32,
            per_token=False,
            limit_gb=cache_limit_gb,
        )
        tokens = processor.tokenizer(list(texts), truncation=True, max_length=processor.max_length)["input_ids"]
        keys = [text_key(row) for row in tokens]
        cache.fill(dict(zip(keys, tokens, strict=True)), compute, f"embeddings of {description}")
        return torch.cat([cache.read(key) for key in keys], out=table)
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
