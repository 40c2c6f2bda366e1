"""Results of `recommend`, with the checks that all recommenders share."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from .item_log_weights import ItemIds, ItemLogWeights, SparseItemLogWeights
from .request_values import RequestError, as_list, as_rows, shown, too_few

# Largest number of allowed items for which `recommend` uses one beam per item: fewer beams would prune prefixes of
# allowed items because other items below the same code are improbable.
EXACT_ITEMS = 200

SAME_CATALOG = "load model and processor from one folder, and change them together, by add_items(items, processor)."


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
    """Checks the number of results against the size of the catalog.

    Raises:
        ValueError: If `k` is not a whole number in `1..num_items`.
    """
    if isinstance(k, bool) or not isinstance(k, int):
        raise ValueError(f"k ({shown(k)}) must be a whole number in 1..{num_items}, the number of items.")
    if not 1 <= k <= num_items:
        raise ValueError(f"k ({k}) must be in 1..{num_items}, the number of items; ask for at most {num_items}.")


def check_size(k: int, num_beams: int | None, num_items: int) -> None:
    """Checks the numbers of results and beams against the size of the catalog.

    Raises:
        ValueError: If `k` is not a whole number in `1..num_items`, or `num_beams` none in `k..num_items`.
    """
    check_k(k, num_items)
    is_whole = isinstance(num_beams, int) and not isinstance(num_beams, bool)
    if num_beams is not None and not (is_whole and k <= num_beams <= num_items):
        raise ValueError(
            f"num_beams ({shown(num_beams)}) must be in {k}..{num_items}: at least k, at most the number of "
            "items; leave it unset for the default."
        )


def default_beams(k: int, num_beams: int, num_items: int, num_allowed: torch.Tensor | None) -> int:
    """Number of beams for `k` results.

    Args:
        k (`int`): Items per request.
        num_beams (`int`): That of the model.
        num_items (`int`): Number of items that can be recommended.
        num_allowed (`torch.Tensor`, *optional*): Result of [`count_allowed`].

    Returns:
        `int`: At least `num_beams` and `2 * k`; with at most `EXACT_ITEMS` allowed items, at least their number; at
        most `num_items`.
    """
    num_beams = max(2 * k, num_beams)
    most = num_items if num_allowed is None else int(num_allowed.max())
    return min(num_items, max(num_beams, most) if most <= EXACT_ITEMS else num_beams)


def check_not_empty(attention_mask: torch.Tensor) -> None:
    """Checks that each request `(batch_size, sequence_length)` has something to attend to.

    Raises:
        ValueError: If one has not; names the first.
    """
    is_empty = ~attention_mask.any(-1)
    if bool(is_empty.any()):
        row = int(is_empty.int().argmax())
        raise ValueError(f"request {row} is empty: attention_mask is all 0; give a history, a preference, or both.")


def check_history(history: torch.Tensor, longest: int, max_history_length: int, num_items: int) -> None:
    """Checks the items of histories.

    Args:
        history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids; 0 where padded.
        longest (`int`): Number of items of the longest one.
        max_history_length (`int`): Number that the model takes.
        num_items (`int`): Size of the catalog.

    Raises:
        ValueError: If a history is too long, or has an unknown item.
    """
    if longest > max_history_length:
        raise ValueError(f"history has {longest} items, the model takes {max_history_length}; keep the most recent.")
    check_history_items(history, num_items)


def check_history_items(history: torch.Tensor, num_items: int) -> None:
    """Checks that the items of histories are those of the catalog; see [`check_history`]."""
    if (wrong := _outside(history, num_items)) is not None:
        raise ValueError(
            f"history contains item {wrong}, and the model has {num_items} items; give ids of its catalog, and if "
            f"its processor took this one, {SAME_CATALOG}"
        )


def check_token_ids(input_ids: torch.Tensor, num_tokens: int) -> None:
    """Checks token ids against the size of the vocabulary.

    Raises:
        ValueError: If one is not in `0..num_tokens - 1`.
    """
    if (wrong := _outside(input_ids, num_tokens - 1)) is not None:
        raise ValueError(
            f"input_ids contains {wrong}, and this model reads {num_tokens} tokens; its processor is of another "
            f"model: {SAME_CATALOG}"
        )


def check_words(words: torch.Tensor, num_words: int, num_items: int) -> None:
    """Checks ids of words against the words of the catalog.

    Raises:
        ValueError: If one is not in `0..num_words`, where 0 is padding.
    """
    if (wrong := _outside(words, num_words)) is not None:
        raise ValueError(
            f"preference_words contains word {wrong}, and the model has {num_items} items with {num_words} words; its "
            f"processor has other items: {SAME_CATALOG}"
        )


def _outside(values: torch.Tensor, largest: int) -> int | None:
    """An entry that is not in `0..largest`; `None` if there is none."""
    if not values.numel():
        return None
    least, most = (int(bound) for bound in values.aminmax())
    return least if least < 0 else most if most > largest else None


def refuse_unread_inputs(unread: Collection[str], read: Sequence[str]) -> None:
    """Refuses inputs of `recommend` that the model does not read.

    Args:
        unread (`Collection[str]`): Names that are left when those of `read` have been taken.
        read (`Sequence[str]`): Names of the processor's output, without the mask.

    Raises:
        ValueError: If any are left.
    """
    if unread:
        raise ValueError(
            f"recommend does not take {', '.join(sorted(unread))}; it takes the processor's output "
            f"({', '.join(read)}, attention_mask), k, num_beams, candidates, exclude, allowed_items and "
            "item_log_weights."
        )


def count_allowed(
    item_log_weights: ItemLogWeights | None, num_items: int, is_item: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Number of items that each request allows.

    Args:
        item_log_weights (`ItemLogWeights`, *optional*): Of a batch; of `num_items` columns if dense.
        num_items (`int`): Size of the catalog, removed items included.
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


def check_enough(
    num_allowed: torch.Tensor | None,
    num_results: int,
    candidates: ItemIds | None = None,
    is_item: torch.Tensor | None = None,
) -> None:
    """Checks that each request allows enough items for its results.

    Args:
        num_allowed (`torch.Tensor`, *optional*): Result of [`count_allowed`].
        num_results (`int`): Number of distinct items to return.
        candidates (*optional*): Checked candidates of [`weigh_items`], to name those that were removed.
        is_item (`torch.Tensor`, *optional*): As in [`count_allowed`].

    Raises:
        ValueError: If a request allows fewer items; names the request and its number of items.
    """
    if num_allowed is not None and int(num_allowed.min()) < num_results:
        row = int(num_allowed.argmin())
        gone = set() if candidates is None or is_item is None else _removed_candidates(candidates, row, is_item)
        raise RequestError(row, too_few(int(num_allowed[row]), num_results, gone))


def _removed_candidates(candidates: ItemIds, row: int, is_item: torch.Tensor) -> set[int]:
    """Checked candidates of a request that were removed from the catalog."""
    rows = as_rows(candidates) or ()
    is_nested = any(one is None or as_list(one) is not None for one in rows)
    own = as_list(rows[row]) if is_nested else rows
    return {int(item) for item in own or () if not is_item[int(item)]}


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
