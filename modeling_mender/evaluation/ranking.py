"""A model and requests to a run: the ranked items of each request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from ..data.collators import Collator
from ..data.requests import Request


@dataclass(frozen=True)
class Run:
    """Rankings, one per request, best first; empty where there was nothing to ask.

    Attributes:
        items (`list[list[int]]`): Item ids, at most `k` each.
        scores (`list[list[float]]`): Their scores; log-probabilities, of a model that generates.
    """

    items: list[list[int]]
    scores: list[list[float]]


def resolve_num_beams(model: Any, k: int, num_beams: int | None = None) -> int | None:
    """Beams of a search for `k` items: those given, else the model's own number, but at least `k`; `None` for a model
    that scores items without a search."""
    generation_config = getattr(model, "generation_config", None)
    if generation_config is None:
        return None
    return num_beams or min(model.config.num_items, max(k, generation_config.num_beams or 1))


@torch.no_grad()
def rank(
    model: Any,
    collator: Collator,
    requests: Sequence[Request],
    k: int = 10,
    batch_size: int = 64,
    num_beams: int | None = None,
    accelerator: Accelerator | None = None,
    description: str = "ranking",
) -> Run:
    """Ranks the catalogue for every request.

    A request with neither history nor preference asks nothing and gets nothing, except of a model whose configuration
    says `answers_empty_requests`, such as popularity.

    Args:
        model (`PreTrainedModel`): Has `recommend`; left in the mode it was in.
        collator ([`Collator`]): Of the same method.
        requests (`Sequence[Request]`): In any order; batches are of like lengths.
        k (`int`, defaults to 10): Items per request, at most the number of items.
        batch_size (`int`, defaults to 64): Requests at a time, on each process.
        num_beams (`int`, *optional*): At least `k` and at most the number of items; see [`resolve_num_beams`].
        accelerator (`Accelerator`, *optional*): Splits the requests over its processes; every process gets the whole
            run.
        description (`str`): What the progress bar says.

    Returns:
        [`Run`]: In the order of `requests`.
    """
    items: list[list[int]] = [[] for _ in requests]
    scores: list[list[float]] = [[] for _ in requests]
    num_beams = resolve_num_beams(model, k, num_beams)
    asks_all = getattr(model.config, "answers_empty_requests", False)
    asked = [row for row, request in enumerate(requests) if asks_all or request.history or request.preferences]
    asked.sort(key=lambda row: (collator.length(requests[row]), row))
    batches = [asked[start : start + batch_size] for start in range(0, len(asked), batch_size)]
    processes, process = (accelerator.num_processes, accelerator.process_index) if accelerator else (1, 0)
    mine = batches[process::processes]
    was_training = model.training
    model.eval()
    found: list[tuple[list[int], list[list[int]], list[list[float]]]] = []
    for rows in tqdm(mine, desc=description, unit="batch", leave=False, disable=process > 0):
        inputs = {name: value.to(model.device) for name, value in collator([requests[row] for row in rows]).items()}
        output = model.recommend(**inputs, k=k, num_beams=num_beams)
        found.append((rows, output.items.tolist(), output.scores.tolist()))
    model.train(was_training)
    if processes > 1:
        everyone = [None] * processes
        torch.distributed.all_gather_object(everyone, found)
        found = [batch for one in everyone for batch in one]
    for rows, ranked, log_probs in found:
        for row, row_items, row_scores in zip(rows, ranked, log_probs, strict=True):
            items[row], scores[row] = row_items, row_scores
    return Run(items=items, scores=scores)
