"""Log-weights of single items that a request adds to their scores: candidates, exclusions, and weights by item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from .request_values import as_list, as_rows, read_items, read_log_weights_of, shown

# Item ids: one list for all requests of a batch, or one list per request, where `None` stands for no restriction.
ItemIds = Sequence[int] | Sequence[Sequence[int] | None] | torch.Tensor

# Largest catalog with a dense weight per item and request; beyond it, only named items are listed.
DENSE_ITEMS = 1_000_000


@dataclass(frozen=True)
class SparseItemLogWeights:
    """Log-weights of a large catalog: listed items with a weight each, and one weight for all others.

    Attributes:
        items (`torch.Tensor`): Shape `(batch_size, num_listed)`, int64, item ids without repeats; 0 is padding.
        log_weights (`torch.Tensor`): Shape `(batch_size, num_listed)`, float; `-inf` excludes an item.
        rest (`torch.Tensor`): Shape `(batch_size,)`, float: the weight of every unlisted item.

    >>> weights = SparseItemLogWeights(torch.tensor([[3, 1]]), torch.tensor([[2.0, -1.0]]), torch.tensor([0.5]))
    >>> weights.to_dense(4).tolist()
    [[-1.0, 0.5, 2.0, 0.5]]
    """

    items: torch.Tensor
    log_weights: torch.Tensor
    rest: torch.Tensor

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.items)

    def to(self, device: torch.device | str) -> "SparseItemLogWeights":
        """Log-weights on another device."""
        return SparseItemLogWeights(self.items.to(device), self.log_weights.to(device), self.rest.to(device))

    def to_dense(self, num_items: int) -> torch.Tensor:
        """Dense log-weights, shape `(batch_size, num_items)`, float32.

        Raises:
            ValueError: If an item is listed twice.
        """
        self.refuse_repeated()
        columns = self.rest.float().unsqueeze(1).repeat(1, num_items + 1)
        return columns.scatter(1, self.items, self.log_weights.float())[:, 1:]

    def refuse_repeated(self) -> None:
        """Checks that no request lists an item twice.

        Raises:
            ValueError: If one does; names the first such item.
        """
        items = self.items.clone()
        if items.is_cpu:
            items.numpy().sort()  # in place, ten times as fast as torch's sort
        else:
            items = items.sort().values
        is_repeated = (items[:, 1:] == items[:, :-1]) & (items[:, 1:] > 0)
        if bool(is_repeated.any()):
            row, column = is_repeated.nonzero()[0].tolist()
            raise ValueError(
                f"item_log_weights lists item {int(items[row, column])} of request {row} twice; list every item once."
            )


# Log-weights of the items of a catalog, per request: dense of shape `(batch_size, num_items)`, or sparse.
ItemLogWeights = torch.Tensor | SparseItemLogWeights


def weigh_items(
    num_items: int,
    batch_size: int,
    candidates: ItemIds | None = None,
    exclude: ItemIds | None = None,
    allowed_items: torch.Tensor | None = None,
    item_log_weights: ItemLogWeights | None = None,
) -> ItemLogWeights | None:
    """Combines all restrictions and log-weights of items into one log-weight per item.

    Args:
        num_items (`int`): Size of the catalog.
        batch_size (`int`): Number of requests.
        candidates (*optional*): Ids of the only items to rank, for all requests or one list per request; all others
            get `-inf`.
        exclude (*optional*): Ids of items to leave out, in the same form; they get `-inf`.
        allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; items get `-inf` where
            false.
        item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`], *optional*): Shape `(batch_size, num_items)`,
            float; 0 changes nothing, `-inf` excludes an item.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_items)`, float32; column `i - 1` is item `i`.
        [`SparseItemLogWeights`] if such are given, or if the catalog has more than `DENSE_ITEMS` items and only
        lists of ids are given. `None` without any argument.

    Raises:
        ValueError: For an unknown id, a number of lists that differs from the number of requests, a tensor of another
            shape or type, or a weight that is NaN or `+inf`.

    >>> weigh_items(4, 2, candidates=[1, 2, 3], exclude=[[1], []]).tolist()
    [[-inf, 0.0, 0.0, -inf], [0.0, 0.0, 0.0, -inf]]
    """
    only = None if candidates is None else _rows(candidates, "candidates", num_items, batch_size)
    without = None if exclude is None else _rows(exclude, "exclude", num_items, batch_size)
    if allowed_items is not None:
        _check_tensor(allowed_items, "allowed_items", "bool", (batch_size, num_items))
    if item_log_weights is not None:
        item_log_weights = _check_log_weights(item_log_weights, num_items, batch_size)
    elif only is None and without is None and allowed_items is None:
        return None
    elif num_items > DENSE_ITEMS and allowed_items is None:
        nothing = torch.zeros(batch_size, 0)
        item_log_weights = SparseItemLogWeights(nothing.long(), nothing, torch.zeros(batch_size))
    else:
        item_log_weights = torch.zeros(batch_size, num_items)
    if isinstance(item_log_weights, SparseItemLogWeights):
        if allowed_items is not None:
            raise ValueError(
                "allowed_items is dense and item_log_weights is sparse; give candidates or exclude in place of "
                "allowed_items."
            )
        return _limit_lists(item_log_weights, only, without)
    return _limit_columns(item_log_weights, only, without, allowed_items)


def read_log_weights(
    requests: Sequence[Mapping[Any, float] | Sequence[float] | None], num_items: int
) -> ItemLogWeights | None:
    """Reads log-weights from the plain values of requests into the form that `recommend` takes.

    Args:
        requests (`Sequence`): Per request a mapping of item ids (integers, or their digits as in JSON) to log-weights,
            0 for items without an entry; or a log-weight for each of the `num_items` items; or `None`.
        num_items (`int`): Size of the catalog.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_items)`; [`SparseItemLogWeights`] if the catalog has more than
        `DENSE_ITEMS` items and all requests are mappings; `None` if all are `None`.

    Raises:
        ValueError: For an unknown id, a value that is not a number, or a list whose length is not `num_items`.

    >>> read_log_weights([{"3": 1.5}, None], num_items=3).tolist()
    [[0.0, 0.0, 1.5], [0.0, 0.0, 0.0]]
    """
    if all(request is None for request in requests):
        return None
    read = [{} if one is None else read_log_weights_of("item_log_weights", one, num_items) for one in requests]
    named: list[Mapping[int, float]] = [one if isinstance(one, Mapping) else {} for one in read]
    listed = SparseItemLogWeights(
        pad_sequence([torch.tensor(list(row), dtype=torch.long) for row in named], batch_first=True),
        pad_sequence([torch.tensor(list(row.values()), dtype=torch.float) for row in named], batch_first=True),
        torch.zeros(len(requests)),
    )
    if num_items > DENSE_ITEMS and all(isinstance(one, Mapping) for one in read):
        return listed
    dense = listed.to_dense(num_items)
    for row, one in enumerate(read):
        if not isinstance(one, Mapping):
            dense[row] = torch.tensor(one)
    return dense


def _check_tensor(value: Any, name: str, kind: str, shape: tuple[int, ...]) -> None:
    """Raises a ValueError for a value that is not a tensor of `shape` and `kind` (`bool`, `int` or `float`)."""
    is_kind = {
        "bool": lambda dtype: dtype == torch.bool,
        "int": lambda dtype: dtype in (torch.int64, torch.int32),
        "float": lambda dtype: dtype.is_floating_point,
    }[kind]
    columns = "num_listed" if "." in name else "num_items"
    axes = "(batch_size,)" if len(shape) == 1 else f"(batch_size, {columns})"
    expected = f"{name} must be {'an' if kind == 'int' else 'a'} {kind} tensor of shape {shape} {axes}"
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{expected}, not {shown(value)}.")
    if tuple(value.shape) != shape or not is_kind(value.dtype):
        raise ValueError(f"{expected}, not {value.dtype} of shape {tuple(value.shape)}.")


def _check_log_weights(given: ItemLogWeights, num_items: int, batch_size: int) -> ItemLogWeights:
    """Checked log-weights in float32."""
    if not isinstance(given, SparseItemLogWeights):
        _check_tensor(given, "item_log_weights", "float", (batch_size, num_items))
        given = given.float()
        _check_values(given, "item_log_weights", torch.arange(1, num_items + 1, device=given.device).expand_as(given))
        return given
    width = given.items.shape[-1] if isinstance(given.items, torch.Tensor) and given.items.dim() == 2 else 0
    _check_tensor(given.items, "item_log_weights.items", "int", (batch_size, width))
    _check_tensor(given.log_weights, "item_log_weights.log_weights", "float", (batch_size, width))
    _check_tensor(given.rest, "item_log_weights.rest", "float", (batch_size,))
    given = SparseItemLogWeights(given.items.long(), given.log_weights.float(), given.rest.float())
    if width and not 0 <= int(given.items.min()) <= int(given.items.max()) <= num_items:
        worst = int(given.items.min()) if int(given.items.min()) < 0 else int(given.items.max())
        raise ValueError(
            f"item_log_weights.items contains {worst}, which is no item of this catalog (ids 1..{num_items}, 0 is "
            "padding); leave it out."
        )
    _check_values(given.log_weights, "item_log_weights.log_weights", given.items)
    _check_values(given.rest.unsqueeze(1), "item_log_weights.rest")
    return given


def _check_values(weights: torch.Tensor, name: str, items: torch.Tensor | None = None) -> None:
    """Raises a ValueError for NaN or `+inf` in `weights (batch_size, width)` of `items`, where 0 is padding."""
    is_wrong = ~(weights < torch.inf)
    if items is not None:
        is_wrong &= items > 0
    if bool(is_wrong.any()):
        row, column = is_wrong.nonzero()[0].tolist()
        place = "" if items is None else f" for item {int(items[row, column])}"
        raise ValueError(
            f"{name} of request {row} is {float(weights[row, column])}{place}; give finite numbers, or -inf to "
            "exclude an item."
        )


def _rows(ids: ItemIds, name: str, num_items: int, batch_size: int) -> list[torch.Tensor | None]:
    """Distinct item ids of each request, `(num_ids,)` each; `None` for a request without a list."""
    rows = as_rows(ids)
    if rows is None:
        raise ValueError(f"{name} must be item ids, or one list of them per request, not {shown(ids)}.")
    nested = [row is None or as_list(row) is not None for row in rows]
    if not any(nested):
        return [_distinct(rows, name, num_items)] * batch_size
    if not all(nested):
        raise ValueError(f"{name} mixes item ids and lists; give ids for all requests, or one list per request.")
    if len(rows) != batch_size:
        raise ValueError(
            f"{name} has {len(rows)} lists and there are {batch_size} requests; give one list per request, or one for "
            "all."
        )
    return [
        None if one is None else _distinct(one, f"{name} of request {row}", num_items) for row, one in enumerate(rows)
    ]


def _distinct(row: Any, name: str, num_items: int) -> torch.Tensor:
    """Distinct checked item ids of one request, `(num_ids,)`."""
    return torch.tensor(read_items(name, row, num_items), dtype=torch.long).unique()


def _limit_columns(
    weights: torch.Tensor,
    only: list[torch.Tensor | None] | None,
    without: list[torch.Tensor | None] | None,
    allowed_items: torch.Tensor | None,
) -> torch.Tensor:
    """Dense log-weights with `-inf` for excluded items."""
    if allowed_items is not None:
        weights = weights.masked_fill(~allowed_items.to(weights.device), -torch.inf)
    elif only is not None or without is not None:
        weights = weights.clone()
    for row, items in enumerate(only or []):
        if items is not None:
            columns = items.to(weights.device) - 1
            kept = weights[row, columns]
            weights[row] = -torch.inf
            weights[row, columns] = kept
    for row, items in enumerate(without or []):
        if items is not None:
            weights[row, items.to(weights.device) - 1] = -torch.inf
    return weights


def _limit_lists(
    weights: SparseItemLogWeights, only: list[torch.Tensor | None] | None, without: list[torch.Tensor | None] | None
) -> SparseItemLogWeights:
    """Sparse log-weights with `-inf` for excluded items, without a tensor over the catalog."""
    if only is None and without is None:
        return weights
    all_items, all_weights, rest = [], [], weights.rest.clone()
    for row in range(len(weights)):
        is_listed = weights.items[row] > 0
        items, log_weights = weights.items[row][is_listed], weights.log_weights[row][is_listed]
        if only is not None and (kept := only[row]) is not None:
            kept = kept.to(items.device)
            items, log_weights = _list_also(items, log_weights, kept, rest[row])
            log_weights = log_weights.masked_fill(~torch.isin(items, kept), -torch.inf)
            rest[row] = -torch.inf
        if without is not None and (excluded := without[row]) is not None:
            excluded = excluded.to(items.device)
            items, log_weights = _list_also(items, log_weights, excluded, rest[row])
            log_weights = log_weights.masked_fill(torch.isin(items, excluded), -torch.inf)
        all_items.append(items)
        all_weights.append(log_weights)
    return SparseItemLogWeights(
        pad_sequence(all_items, batch_first=True), pad_sequence(all_weights, batch_first=True), rest
    )


def _list_also(
    items: torch.Tensor, log_weights: torch.Tensor, more: torch.Tensor, rest: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adds the items of `more` to a list, the new ones with the weight of the rest."""
    new = more[~torch.isin(more, items)]
    return torch.cat([items, new]), torch.cat([log_weights, rest.expand(len(new))])
