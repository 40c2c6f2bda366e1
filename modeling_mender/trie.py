"""Prefix tree over the semantic IDs of a catalog, and log-weights of items folded up to its nodes.

The trie is an implicit CSR: items are sorted by their code tuples, so the nodes of a level, numbered in breadth-first
order, are the distinct prefixes of that length; the children of a node, and the items (leaves) below it, are
contiguous ranges. A node is therefore one integer, and at the last level it is the item's rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from .item_log_weights import ItemLogWeights, SparseItemLogWeights


@dataclass(frozen=True)
class TrieLevel:
    """The nodes at one depth, one per distinct prefix of `level + 1` codes.

    Attributes:
        codes (`torch.Tensor`): Shape `(num_nodes,)`, the last code of each prefix, sorted among siblings; uint8, int16
            or int32, the smallest that holds the codes of the level.
        first_leaf (`torch.Tensor`): Shape `(num_nodes + 1,)`; node `n` covers the leaves `first_leaf[n]..first_leaf[n
            + 1] - 1`.
        first_child (`torch.Tensor`): Shape `(num_parents + 1,)`; parent `p` of the level above (the root for the first
            level) has the children `first_child[p]..first_child[p + 1] - 1`.
        max_children (`int`): Largest number of children of a parent.
        num_codes (`int`): The largest code, plus 1.
    """

    codes: torch.Tensor
    first_leaf: torch.Tensor
    first_child: torch.Tensor
    max_children: int
    num_codes: int

    @classmethod
    def of(cls, codes: torch.Tensor, first_leaf: torch.Tensor, first_child: torch.Tensor) -> "TrieLevel":
        """A level of these arrays, whose codes may be of another type."""
        num_codes = int(codes.max()) + 1
        return cls(codes.to(_code_type(num_codes)), first_leaf, first_child, int(first_child.diff().max()), num_codes)

    @cached_property
    def parents(self) -> torch.Tensor:
        """Parent of each node at the level above, shape `(num_nodes,)`, int32; computed on first use."""
        numbers = torch.arange(len(self.first_child) - 1, dtype=torch.int32, device=self.first_child.device)
        return numbers.repeat_interleave(self.first_child.diff().long())

    def num_leaves(self, nodes: torch.Tensor) -> torch.Tensor:
        """Number of items below each of `nodes`, the same shape, float32; exact up to 2 ** 24."""
        ends = self.first_leaf.index_select(0, torch.cat([nodes.flatten() + 1, nodes.flatten()]))
        return (ends[: nodes.numel()] - ends[nodes.numel() :]).float().view_as(nodes)


class Trie:
    """Prefix tree over a catalog's semantic IDs.

    Items are numbered from 1; `num_items` numbers are taken, of which `num_leaves` are in the trie. Those of removed
    items stay free, so that the others keep theirs.

    Args:
        codes (`torch.Tensor`): Shape `(num_items, num_levels)`, integers; row `i - 1` is item `i`. Rows are distinct,
            but for rows of -1: items that were removed.

    Raises:
        ValueError: If two items share their codes, one has a negative code, or no item is left.

    >>> trie = Trie(torch.tensor([[0, 1, 0], [0, 1, 1], [3, 2, 0]]))
    >>> trie.num_items, trie.num_levels, [len(level.codes) for level in trie.levels]
    (3, 3, [2, 2, 3])
    >>> nodes, valid = trie.children(0, torch.tensor([0]))       # below the root: codes 0 and 3
    >>> trie.levels[0].codes[nodes[valid]].tolist()
    [0, 3]
    >>> changed = trie.without_items([1]).with_items(torch.tensor([[3, 0, 0]]))
    >>> changed.num_items, changed.num_leaves, changed.leaf_items.tolist()
    (4, 3, [2, 4, 3])
    """

    leaf_items: torch.Tensor
    levels: list[TrieLevel]

    def __init__(self, codes: torch.Tensor) -> None:
        num_items, num_levels = codes.shape
        items: torch.Tensor | None = None  # ids of the rows, where not all are left
        if int(codes[:, 0].min()) < 0:
            items = (codes[:, 0] >= 0).nonzero().squeeze(1)
            if not len(items):
                raise ValueError(f"all {num_items} items are removed; a catalog needs at least one item.")
            codes = codes[items]
        if int(codes.min()) < 0:
            row = int((codes < 0).any(1).int().argmax())
            item = row + 1 if items is None else int(items[row]) + 1
            raise ValueError(
                f"item {item} has the codes {codes[row].tolist()}; give codes of at least 0, or -1 at all levels for "
                "a removed item."
            )
        num_leaves = len(codes)
        order, columns = sort_rows(codes)
        # starts_prefix[i]: leaf i is the first of its prefix; grows from level to level
        starts_prefix = torch.zeros(num_leaves, dtype=torch.bool, device=codes.device)
        starts_prefix[0] = True
        end = torch.tensor([num_leaves], dtype=torch.int32, device=codes.device)
        parent_starts = torch.zeros(1, dtype=torch.int32, device=codes.device)
        levels = []
        for column in columns:
            starts_prefix[1:] |= column[1:] != column[:-1]
            starts = starts_prefix.nonzero().squeeze(1).int()
            numbers = starts_prefix.cumsum(0, dtype=torch.int32) - 1  # of the node above each leaf
            first_child = torch.cat([numbers.index_select(0, parent_starts), numbers[-1:] + 1])
            levels.append(TrieLevel.of(column.index_select(0, starts), torch.cat([starts, end]), first_child))
            parent_starts = starts
        rows = order if items is None else items.index_select(0, order)
        if len(parent_starts) < num_leaves:
            leaf = int((~starts_prefix).int().argmax())
            _refuse_shared(int(rows[leaf - 1]) + 1, int(rows[leaf]) + 1, [int(column[leaf]) for column in columns])
        self._set(levels, (rows + 1).int(), num_items)

    def _set(self, levels: list[TrieLevel], leaf_items: torch.Tensor, num_items: int) -> None:
        """Sets the arrays; `leaf_items (num_leaves,)`, int32, is the item at each leaf."""
        self.levels, self.leaf_items, self.num_items = levels, leaf_items, num_items
        self.num_levels, self.num_leaves = len(levels), len(leaf_items)

    def with_items(self, codes: torch.Tensor) -> "Trie":
        """Adds items; the arrays equal those of a new trie of the same items, without sorting the catalog again.

        Args:
            codes (`torch.Tensor`): Shape `(num_added, num_levels)`, integers of at least 0. The items get the next
                numbers, `num_items + 1` and so on, in this order.

        Returns:
            [`Trie`]: Another trie; this one does not change.

        Raises:
            ValueError: If the shape or a value is wrong, or an item shares its codes with another.
        """
        if codes.ndim != 2 or codes.shape[1] != self.num_levels or codes.is_floating_point():
            raise ValueError(
                f"codes of added items must be integers of shape (num_added, {self.num_levels}), not {codes.dtype} "
                f"of shape {tuple(codes.shape)}; give every item {self.num_levels} codes."
            )
        if not len(codes):
            return self
        if int(codes.min()) < 0:
            raise ValueError(f"codes of added items contain {int(codes.min())}; give integers of at least 0.")
        sorted_rows, sorted_columns = sort_rows(codes.cpu())
        order, columns = _as_array(sorted_rows), [_as_array(column) for column in sorted_columns]
        items = (self.num_items + 1 + order).astype(np.int32)
        new, levels = _NewRows.at_root(len(codes)), []
        for level, column in zip(self.levels, columns, strict=True):
            above, new = new, new.descend(level, column)
            levels.append(
                TrieLevel.of(
                    self._tensor(new.insert(_as_array(level.codes), column)),
                    self._tensor(new.widen(_as_array(level.first_leaf), np.ones(len(codes), np.int32))),
                    self._tensor(above.widen(_as_array(level.first_child), new.is_new)),
                )
            )
        if not new.is_new.all():
            row = int(new.is_new.argmin())
            other = int(self.leaf_items[new.nodes[row]]) if new.exists[row] else int(items[row - 1])
            _refuse_shared(other, int(items[row]), [int(column[row]) for column in columns])
        trie = Trie.__new__(Trie)
        leaf_items = self._tensor(new.insert(_as_array(self.leaf_items), items))
        trie._set(levels, leaf_items, self.num_items + len(codes))
        return trie

    def without_items(self, items: Sequence[int] | torch.Tensor) -> "Trie":
        """Removes items; the arrays equal those of a new trie of the same items, without sorting the catalog again.

        Args:
            items (`Sequence` or `torch.Tensor`): Ids of items in the trie, `(num_removed,)`; repeats do not matter.

        Returns:
            [`Trie`]: Another trie, of the same `num_items`; this one does not change.

        Raises:
            ValueError: If an id is not in the trie, or no item would be left.
        """
        wanted = torch.as_tensor(items, dtype=torch.long, device="cpu").flatten()
        if not len(wanted):
            return self
        is_known = (wanted >= 1) & (wanted <= self.num_items)
        is_known &= self.is_item.cpu()[wanted.clamp(0, self.num_items)]
        if not bool(is_known.all()):
            raise ValueError(
                f"item {int(wanted[~is_known][0])} cannot be removed: it is not in the catalog of {self.num_leaves} "
                "items; leave it out."
            )
        is_removed = np.zeros(self.num_items + 1, dtype=bool)
        is_removed[wanted.numpy()] = True
        leaves = np.flatnonzero(is_removed[_as_array(self.leaf_items)])
        if len(leaves) == self.num_leaves:
            raise ValueError(f"all {self.num_leaves} items are to be removed; leave at least one.")
        dead_above, levels = np.zeros(0, dtype=np.int64), []
        for level in self.levels:
            first_leaf, first_child = _as_array(level.first_leaf), _as_array(level.first_child)
            counts = np.diff(first_leaf)
            nodes, num_removed = np.unique(np.searchsorted(first_leaf, leaves, "right") - 1, return_counts=True)
            counts[nodes] -= num_removed.astype(np.int32)
            dead = nodes[counts[nodes] == 0]
            num_children = np.diff(first_child)
            np.subtract.at(num_children, np.searchsorted(first_child, dead, "right") - 1, 1)
            levels.append(
                TrieLevel.of(
                    self._tensor(np.delete(_as_array(level.codes), dead)),
                    self._tensor(_starts(np.delete(counts, dead))),
                    self._tensor(_starts(np.delete(num_children, dead_above))),
                )
            )
            dead_above = dead
        trie = Trie.__new__(Trie)
        leaf_items = self._tensor(np.delete(_as_array(self.leaf_items), leaves))
        trie._set(levels, leaf_items, self.num_items)
        return trie

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        """A tensor on the device of the trie."""
        return torch.from_numpy(array).to(self.device)

    @property
    def device(self) -> torch.device:
        """Device of the arrays."""
        return self.leaf_items.device

    def children(self, level: int, parents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Children of nodes, with a mask that marks the padding.

        Args:
            level (`int`): The children's level; at 0 the only parent is the root, node 0.
            parents (`torch.Tensor`): Shape `(...)`, node numbers at `level - 1`.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Node numbers `(..., max_children)` at `level`, and a bool mask of the
            same shape: true for children, false for padding.
        """
        first_child = self.levels[level].first_child
        start, stop = first_child[parents].long(), first_child[parents + 1].long()
        nodes = start.unsqueeze(-1) + torch.arange(self.levels[level].max_children, device=parents.device)
        valid = nodes < stop.unsqueeze(-1)
        return nodes.clamp(max=len(self.levels[level].codes) - 1), valid

    def walk(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Follows prefixes of codes from the root.

        Args:
            codes (`torch.Tensor`): Shape `(batch_size, prefix_length)`, `prefix_length` from 0 to `num_levels`.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Node numbers `(batch_size,)` at level `prefix_length - 1`, and whether
            such a prefix exists.
        """
        nodes = torch.zeros(codes.shape[0], dtype=torch.long, device=codes.device)
        exists = torch.ones_like(nodes, dtype=torch.bool)
        for level in range(codes.shape[1]):
            children, valid = self.children(level, nodes)
            matches = valid & (self.levels[level].codes[children] == codes[:, level, None])
            exists &= matches.any(-1)
            nodes = children.gather(-1, matches.int().argmax(-1, keepdim=True)).squeeze(-1)
        return nodes, exists

    def allowed_codes(self, codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
        """Codes that the catalog allows at each level of a semantic ID after the codes before it.

        Args:
            codes (`torch.Tensor`): Shape `(batch_size, num_levels)`, IDs of the catalog.
            codebook_size (`int`): Codes per level.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_levels, codebook_size)`, bool; all false after a prefix that the
            catalog does not have.
        """
        allowed = torch.zeros(*codes.shape, codebook_size, dtype=torch.bool, device=codes.device)
        nodes = torch.zeros(codes.shape[0], dtype=torch.long, device=codes.device)
        exists = torch.ones_like(nodes, dtype=torch.bool)
        for level in range(self.num_levels):
            children, valid = self.children(level, nodes)
            valid = valid & exists.unsqueeze(-1)
            child_codes = self.levels[level].codes[children].long()
            row, column = valid.nonzero(as_tuple=True)
            allowed[row, level, child_codes[row, column]] = True
            matches = valid & (child_codes == codes[:, level, None])
            exists = matches.any(-1)
            nodes = children.gather(-1, matches.int().argmax(-1, keepdim=True)).squeeze(-1)
        return allowed

    @cached_property
    def is_item(self) -> torch.Tensor:
        """Whether a number is an item of the trie, shape `(num_items + 1,)`, bool; false for 0 and removed items."""
        is_item = torch.zeros(self.num_items + 1, dtype=torch.bool, device=self.device)
        is_item[self.leaf_items] = True
        return is_item

    @cached_property
    def item_codes(self) -> list[torch.Tensor]:
        """Codes of each item per level, shape `(num_items + 1,)`, of the type of the level's codes; 0 for padding
        (place 0) and for removed items."""
        by_level = []
        for level in self.levels:
            codes = torch.zeros(self.num_items + 1, dtype=level.codes.dtype, device=self.device)
            codes[self.leaf_items] = level.codes.repeat_interleave(level.first_leaf.diff())
            by_level.append(codes)
        return by_level

    def fold(self, item_log_weights: ItemLogWeights) -> "NodeLogWeights":
        """Folds log-weights of items up the trie: a node's weight is the sum of the weights of its items.

        Args:
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`]): Shape `(batch_size, num_items)`, float;
                column `i - 1` is item `i`; `-inf` excludes an item, and those of removed items are ignored. Gradients
                pass through a tensor; those of items at `-inf` are 0.

        Returns:
            `NodeLogWeights`: Per level, shape `(batch_size, num_nodes)`, float32, log-sum-exps; `-inf` where all items
            below are excluded. The last level is the columns of `item_log_weights` in the order of the leaves.
            [`SparseNodeLogWeights`] for sparse weights of items.
        """
        means = self.mean_fold(item_log_weights)
        if isinstance(means, SparseNodeLogWeights):
            return replace(means, times_leaves=True)
        return [mean + level.first_leaf.diff().log() for mean, level in zip(means, self.levels, strict=True)]

    def mean_fold(self, item_log_weights: ItemLogWeights) -> "NodeLogWeights":
        """[`Trie.fold`] minus the logarithm of the number of items below: log-mean-exps.

        Equal weights of all items are the same at every level, bit for bit, so weights of 0 change nothing.
        """
        if isinstance(item_log_weights, SparseItemLogWeights):
            item_log_weights.refuse_repeated()
            return SparseNodeLogWeights(self, item_log_weights)
        weights = item_log_weights.float().index_select(1, self.leaf_items - 1)
        folded = [weights]
        for above, level in zip(reversed(self.levels[:-1]), reversed(self.levels[1:]), strict=True):
            if len(above.codes) < len(level.codes):  # else every node has one child
                weights = _log_mean_exp(weights, level, above)
            folded.append(weights)
        return folded[::-1]


def _log_mean_exp(weights: torch.Tensor, level: TrieLevel, above: TrieLevel) -> torch.Tensor:
    """Log-mean-exps of children, `(batch_size, num_nodes)`, to those of their parents, `(batch_size, num_parents)`."""
    # (num_nodes, batch_size): an index that is the same in every column is by far the fastest
    columns = weights.t().contiguous()
    index = level.parents.long().unsqueeze(1).expand_as(columns)
    # one maximum per parent: that of the whole row would underflow where weights differ by hundreds
    largest = columns.detach().new_full((len(above.codes), columns.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, index, columns.detach(), "amax")
    # below a parent without allowed items, -inf - -inf would be NaN, and the logarithm's gradient at 0 infinite
    shifts = largest.clamp(min=torch.finfo(largest.dtype).min).gather(0, index)
    num_leaves, num_leaves_above = level.first_leaf.diff().unsqueeze(1), above.first_leaf.diff().unsqueeze(1)
    terms = (columns - shifts).exp() * num_leaves
    total = torch.zeros_like(largest).scatter_add(0, index, terms) / num_leaves_above
    return (largest + total.clamp(min=torch.finfo(total.dtype).tiny).log()).t().contiguous()


def sort_rows(codes: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Sorts rows lexicographically; equal rows keep their order.

    Args:
        codes (`torch.Tensor`): Shape `(num_rows, num_levels)`, integers of at least 0.

    Returns:
        `tuple[torch.Tensor, list[torch.Tensor]]`: Row numbers in order `(num_rows,)`, and per level the sorted codes
        `(num_rows,)`.

    >>> order, columns = sort_rows(torch.tensor([[1, 0], [0, 2], [0, 1]]))
    >>> order.tolist(), [column.tolist() for column in columns]
    ([2, 1, 0], [[0, 0, 1], [1, 2, 0]])
    """
    num_rows, num_levels = codes.shape
    widths = [int(most).bit_length() for most in codes.amax(0)]
    row_width = (num_rows - 1).bit_length()
    if sum(widths) + row_width > 63:
        order = lexicographic_order(codes)
        return order, [codes[order, level] for level in range(num_levels)]
    # codes and row number in one integer: sorting those alone is ten times as fast as sorting with an index
    keys = torch.zeros(num_rows, dtype=torch.long, device=codes.device)
    for level, width in enumerate(widths):
        keys.bitwise_left_shift_(width).add_(codes[:, level])
    keys.bitwise_left_shift_(row_width).add_(torch.arange(num_rows, dtype=torch.int32, device=codes.device))
    if keys.is_cpu:
        keys.numpy().sort()  # in place
    else:
        keys = keys.sort().values
    order = (keys & (2**row_width - 1)).int()
    keys.bitwise_right_shift_(row_width)
    columns = []
    for width in reversed(widths):
        columns.append((keys & (2**width - 1)).to(_code_type(2**width)))
        keys.bitwise_right_shift_(width)
    return order, columns[::-1]


def lexicographic_order(codes: torch.Tensor) -> torch.Tensor:
    """Row numbers in lexicographic order of the rows, level by level; equal rows keep their order.

    >>> lexicographic_order(torch.tensor([[1, 0], [0, 2], [0, 1]])).tolist()
    [2, 1, 0]
    """
    order = torch.arange(codes.shape[0], device=codes.device)
    for level in reversed(range(codes.shape[1])):
        order = order[torch.argsort(codes[order, level], stable=True)]
    return order


@dataclass(frozen=True)
class _NewRows:
    """Sorted rows to be added, seen from one level of the trie.

    Attributes:
        nodes (`np.ndarray`): Shape `(num_rows,)`, the node of each row's prefix, or the one that a new node goes
            before.
        exists (`np.ndarray`): Shape `(num_rows,)`, whether the trie has the prefix.
        is_first (`np.ndarray`): Shape `(num_rows,)`, whether the row is the first with its prefix.
    """

    nodes: np.ndarray
    exists: np.ndarray
    is_first: np.ndarray

    @classmethod
    def at_root(cls, num_rows: int) -> "_NewRows":
        """Rows above the first level: all below the root."""
        is_first = np.zeros(num_rows, dtype=bool)
        is_first[0] = True
        return cls(np.zeros(num_rows, dtype=np.int64), np.ones(num_rows, dtype=bool), is_first)

    @property
    def is_new(self) -> np.ndarray:
        """Whether the row brings a node, `(num_rows,)`."""
        return self.is_first & ~self.exists

    def descend(self, level: TrieLevel, column: np.ndarray) -> "_NewRows":
        """The rows one level below, whose codes are `column (num_rows,)`."""
        codes, first_child = _as_array(level.codes), _as_array(level.first_child)
        low = first_child[self.nodes].astype(np.int64)
        stop = np.where(self.exists, first_child[np.minimum(self.nodes + 1, len(first_child) - 1)], low)
        high = stop
        for _ in range(level.max_children.bit_length()):  # bisection: the first child with at least this code
            middle = np.minimum((low + high) // 2, len(codes) - 1)
            is_less = (low < high) & (codes[middle] < column)
            low, high = np.where(is_less, middle + 1, low), np.where(is_less, high, np.minimum(high, middle))
        exists = (low < stop) & (codes[np.minimum(low, len(codes) - 1)] == column)
        is_first = self.is_first.copy()
        is_first[1:] |= column[1:] != column[:-1]
        return _NewRows(low, exists, is_first)

    def insert(self, values: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Inserts those of `new (num_rows,)` whose rows bring a node into `values (num_nodes,)`."""
        is_new = self.is_new
        return np.insert(values.astype(np.result_type(values, new), copy=False), self.nodes[is_new], new[is_new])

    def widen(self, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Widens the ranges of the nodes by the counts of their rows.

        Args:
            starts (`np.ndarray`): Shape `(num_nodes + 1,)`, where the range of each node starts.
            counts (`np.ndarray`): Shape `(num_rows,)`, what each row adds.
        """
        sizes = np.diff(starts)
        counts = counts.astype(sizes.dtype)
        np.add.at(sizes, self.nodes[self.exists], counts[self.exists])
        is_new = self.is_new
        of_new = np.zeros(int(is_new.sum()), dtype=sizes.dtype)
        np.add.at(of_new, (np.cumsum(is_new) - 1)[~self.exists], counts[~self.exists])
        return _starts(np.insert(sizes, self.nodes[is_new], of_new))


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Where consecutive ranges of these sizes start, with the end of the last: `(n,)` to `(n + 1,)`, int32."""
    starts = np.zeros(len(sizes) + 1, dtype=np.int32)
    np.cumsum(sizes, out=starts[1:])
    return starts


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


def _code_type(num_codes: int) -> torch.dtype:
    """The smallest type of codes below `num_codes`."""
    return torch.uint8 if num_codes <= 2**8 else torch.int16 if num_codes <= 2**15 else torch.int32


def _refuse_shared(first: int, second: int, codes: list[int]) -> None:
    """Raises a ValueError for two items of the same codes."""
    raise ValueError(
        f"items {first} and {second} share the semantic ID {codes}; give one of them another code at the collision "
        "level."
    )


@dataclass(frozen=True)
class SparseNodeLogWeights:
    """Log-weights of nodes where few items are listed, computed during the search for the visited nodes only.

    Attributes:
        trie ([`Trie`]): The catalog.
        weights ([`SparseItemLogWeights`]): On the device of the trie.
        times_leaves (`bool`): Whether a node has the sum of the weights of its items rather than their mean.
        keeps_shapes (`bool`, *optional*): Whether the search computes with arrays of one size, so that the device
            never waits for the host, rather than with what is left of the list; defaults to true but for the CPU,
            where the latter is faster. The weights are the same.
    """

    trie: Trie
    weights: SparseItemLogWeights
    times_leaves: bool = False
    keeps_shapes: bool | None = None


# Log-weights of nodes: per level a tensor of shape `(batch_size, num_nodes)`, or the sparse form.
NodeLogWeights = Sequence[torch.Tensor] | SparseNodeLogWeights
