"""What every recommender here promises in the same words: its results, and which items may be among them.

Knows item ids and masks over the catalogue. Knows no model: those rank, and ask here what they may return.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Item ids: one list for all requests of a batch, or one list per request.
ItemIds = Sequence[int] | Sequence[Sequence[int]] | torch.Tensor


@dataclass
class RecommendOutput:
    """What `recommend` returns, best first. No `ModelOutput`: a dict, whose method `items` the field would hide.

    Attributes:
        items (`torch.LongTensor`): Shape `(batch_size, k)`, item ids in `1..num_items`.
        scores (`torch.FloatTensor`): Shape `(batch_size, k)`, log-probabilities of the items under the model.
    """

    items: torch.LongTensor
    scores: torch.FloatTensor


def check_k(k: int, num_items: int) -> None:
    """Refuses a number of results that no catalogue of that size can give.

    Raises:
        ValueError: If `k` is not in `1..num_items`.
    """
    if not 1 <= k <= num_items:
        raise ValueError(f"k ({k}) must be in 1..{num_items}, the number of items; ask for at most {num_items}.")


def allow_items(
    num_items: int,
    batch_size: int,
    candidates: ItemIds | None = None,
    exclude: ItemIds | None = None,
    allowed_items: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """The items that may come back, from whatever was said of them; all three restrict.

    Args:
        num_items (`int`): Size of the catalogue.
        batch_size (`int`): Number of requests.
        candidates (*optional*): Ids of the only items that may come back, for all requests or one list per request.
        exclude (*optional*): Ids of items that may not, such as what was bought already; likewise.
        allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_items)`, bool; column `i - 1` is item `i`. `None` where nothing was
        said.

    Raises:
        ValueError: For an unknown id, another number of lists than requests, or a mask of another shape or type.

    >>> allow_items(4, 2, candidates=[1, 2, 3], exclude=[[1], []]).int().tolist()
    [[0, 1, 1, 0], [1, 1, 1, 0]]
    """
    mask = None
    if candidates is not None:
        mask = _mark(candidates, "candidates", num_items, batch_size)
    if exclude is not None:
        others = ~_mark(exclude, "exclude", num_items, batch_size)
        mask = others if mask is None else mask & others
    if allowed_items is not None:
        expected = (batch_size, num_items)
        if tuple(allowed_items.shape) != expected or allowed_items.dtype != torch.bool:
            raise ValueError(
                f"allowed_items must be a bool tensor of shape {expected} (batch_size, num_items), not "
                f"{allowed_items.dtype} of shape {tuple(allowed_items.shape)}."
            )
        mask = allowed_items if mask is None else mask.to(allowed_items.device) & allowed_items
    return mask


def check_enough(allowed_items: torch.Tensor | None, num_results: int) -> None:
    """Refuses a mask that leaves a request fewer items than results.

    Raises:
        ValueError: Names the smallest number of items.
    """
    if allowed_items is not None and (fewest := int(allowed_items.sum(1).min())) < num_results:
        raise ValueError(
            f"a request allows {fewest} items and {num_results} results are asked for; allow more or ask for fewer."
        )


def _mark(ids: ItemIds, name: str, num_items: int, batch_size: int) -> torch.Tensor:
    """`(batch_size, num_items)`, true where an item is named."""
    rows = ids.tolist() if isinstance(ids, torch.Tensor) else ids
    if isinstance(rows, str) or not isinstance(rows, Sequence):
        raise ValueError(f"{name} must be item ids, or one list of them per request, not {ids!r}.")
    nested = [isinstance(row, Sequence | torch.Tensor) and not isinstance(row, str) for row in rows]
    is_nested = any(nested)
    if not is_nested:
        rows = [rows]
    elif not all(nested):
        raise ValueError(f"{name} mixes item ids and lists; give ids for all requests, or one list per request.")
    if is_nested and len(rows) != batch_size:
        raise ValueError(
            f"{name} has {len(rows)} lists and there are {batch_size} requests; give one list per request, or one for "
            "all."
        )
    mask = torch.zeros(len(rows), num_items, dtype=torch.bool)
    for row, items in enumerate(rows):
        items = items.tolist() if isinstance(items, torch.Tensor) else list(items)
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= num_items:
                raise ValueError(
                    f"{name} contains {item!r}, which is no item of this catalogue (ids 1..{num_items}); leave it out."
                )
        mask[row, torch.tensor(items, dtype=torch.long) - 1] = True
    return mask.expand(batch_size, -1)
