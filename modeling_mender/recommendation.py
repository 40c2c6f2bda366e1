"""Results of `recommend`, with the checks that all recommenders share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from .item_log_weights import ItemLogWeights, SparseItemLogWeights
from .request_values import RequestError, shown


@dataclass
class RecommendOutput:
    """Result of `recommend`, best first; not a `ModelOutput`, whose method `items` the field would hide.

    Attributes:
        items (`torch.LongTensor`): Shape `(batch_size, k)`, item ids in `1..num_items`.
        scores (`torch.FloatTensor`): Shape `(batch_size, k)`, log-probabilities of the items under the model, plus
            their log-weights if given.
        terms (`dict[str, torch.Tensor]`, *optional*): Terms by name, shape `(batch_size, k)` each, that sum to the
            scores; only for models that explain their scores.
    """

    items: torch.Tensor
    scores: torch.Tensor
    terms: dict[str, torch.Tensor] | None = None

    def __post_init__(self) -> None:
        if not (self.scores < torch.inf).all():  # nor is NaN
            raise ValueError(
                "the model computes scores that are no finite numbers; its weights are damaged or too large: fetch "
                "the model again, or train it with a smaller learning rate."
            )


def check_k(k: int, num_items: int) -> None:
    """Checks the number of results against the size of the catalogue.

    Raises:
        ValueError: If `k` is not a whole number in `1..num_items`.
    """
    if isinstance(k, bool) or not isinstance(k, int):
        raise ValueError(f"k ({shown(k)}) must be a whole number in 1..{num_items}, the number of items.")
    if not 1 <= k <= num_items:
        raise ValueError(f"k ({k}) must be in 1..{num_items}, the number of items; ask for at most {num_items}.")


def count_allowed(
    item_log_weights: ItemLogWeights | None, num_items: int, is_item: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Number of items that each request allows.

    Args:
        item_log_weights (`ItemLogWeights`, *optional*): Of a batch; of `num_items` columns if dense.
        num_items (`int`): Size of the catalogue, removed items included.
        is_item (`torch.Tensor`, *optional*): Shape `(num_items + 1,)`, bool, false for 0 and for removed items; where
            none were removed it may be left out.

    Returns:
        `torch.Tensor` of shape `(batch_size,)`; `None` without log-weights.
    """
    if item_log_weights is None:
        return None
    if not isinstance(item_log_weights, SparseItemLogWeights):
        is_allowed = item_log_weights > -torch.inf
        return (is_allowed if is_item is None else is_allowed & is_item[1:].to(is_allowed.device)).sum(1)
    listed = item_log_weights.items
    is_listed = listed > 0 if is_item is None else is_item.to(listed.device)[listed]
    allowed = (is_listed & (item_log_weights.log_weights > -torch.inf)).sum(1)
    num_left = num_items if is_item is None else is_item.sum().to(listed.device)
    return allowed + (num_left - is_listed.sum(1)) * (item_log_weights.rest > -torch.inf)


def check_enough(num_allowed: torch.Tensor | None, num_results: int) -> None:
    """Checks that each request allows enough items for its results.

    Args:
        num_allowed (`torch.Tensor`, *optional*): Result of [`count_allowed`].
        num_results (`int`): Number of distinct items to return.

    Raises:
        ValueError: If a request allows fewer items; names the request and its number of items.
    """
    if num_allowed is not None and int(num_allowed.min()) < num_results:
        row = int(num_allowed.argmin())
        raise RequestError(
            row,
            f"allows {int(num_allowed[row])} items and {num_results} results are asked for; allow more or ask for "
            "fewer.",
        )


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Runs a block with a module in evaluation mode, and restores its mode.

    A module that is in it already is left alone: to set the mode of every submodule takes 1 ms, twice per request.
    """
    if not module.training:
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train()
