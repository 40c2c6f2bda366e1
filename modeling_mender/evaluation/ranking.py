"""Ranked items of a model for requests."""

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
    """Rankings, one per request, best first; empty for an empty request.

    Attributes:
        items (`list[list[int]]`): Item ids, at most `k` each.
        scores (`list[list[float]]`): Their scores; log-probabilities for a generative model.
    """

    items: list[list[int]]
    scores: list[list[float]]


def check_has_beams(model: Any, num_beams: int | None) -> None:
    """Refuses a number of beams for a model that scores every item.

    Raises:
        ValueError: If it is given, and the model has no beam search.
    """
    if num_beams is not None and getattr(model, "generation_config", None) is None:
        raise ValueError(
            f"num_beams ({num_beams}) is given, and a {model.config.model_type} model has no beams: it scores every "
            "item; leave it out."
        )


def resolve_num_beams(model: Any, k: int, num_beams: int | None = None) -> int | None:
    """Number of beams for `k` items: `num_beams` if given, else that of the model but at least `k`; `None` for a model
    without beam search."""
    check_has_beams(model, num_beams)
    generation_config = getattr(model, "generation_config", None)
    if generation_config is None:
        return None
    num_items = getattr(model, "num_active_items", model.config.num_items)
    return num_beams or min(num_items, max(k, generation_config.num_beams or 1))


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
    """Ranks the catalog for every request.

    A request with neither history nor preference gets an empty ranking, unless the configuration of the model has
    `answers_empty_requests`, as for popularity.

    Args:
        model (`PreTrainedModel`): A model with `recommend`; its mode is restored.
        collator ([`Collator`]): Collator of the method.
        requests (`Sequence[Request]`): In any order; batches have similar lengths.
        k (`int`, defaults to 10): Items per request, at most the number of items.
        batch_size (`int`, defaults to 64): Number of requests per batch on each process.
        num_beams (`int`, *optional*): At least `k` and at most the number of items; see [`resolve_num_beams`].
        accelerator (`Accelerator`, *optional*): Splits the requests over its processes; every process returns the
            whole run.
        description (`str`): Text of the progress bar.

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
        gathered: list[Any] = [None] * processes
        torch.distributed.all_gather_object(gathered, found)
        found = [batch for batches_of_process in gathered for batch in batches_of_process]
    for rows, ranked, log_probs in found:
        for row, row_items, row_scores in zip(rows, ranked, log_probs, strict=True):
            items[row], scores[row] = row_items, row_scores
    return Run(items=items, scores=scores)
