"""Prefix tree over the semantic IDs of a catalogue, and log-weights of items folded up to its nodes.

The trie is an implicit CSR: items are sorted by their code tuples, so the nodes of a level, numbered in breadth-first
order, are the distinct prefixes of that length; the children of a node, and the items (leaves) below it, are
contiguous ranges. A node is therefore one integer, and at the last level it is the item's rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from .item_log_weights import ItemLogWeights, SparseItemLogWeights


@dataclass(frozen=True)
class TrieLevel:
    """The nodes at one depth, one per distinct prefix of `level + 1` codes.

    Attributes:
        codes (`torch.Tensor`): Shape `(num_nodes,)`, uint8 or int32, the last code of each prefix; sorted among
            siblings.
        first_leaf (`torch.Tensor`): Shape `(num_nodes + 1,)`; node `n` covers the leaves `first_leaf[n]..first_leaf[n
            + 1] - 1`.
        first_child (`torch.Tensor`): Shape `(num_parents + 1,)`; parent `p` of the level above (the root for the first
            level) has the children `first_child[p]..first_child[p + 1] - 1`.
        max_children (`int`): Largest number of children of a parent.
    """

    codes: torch.Tensor
    first_leaf: torch.Tensor
    first_child: torch.Tensor
    max_children: int

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
    """Prefix tree over a catalogue's semantic IDs.

    Args:
        codes (`torch.Tensor`): Shape `(num_items, num_levels)`, distinct rows; item `i` (1-based) is row `i - 1`.

    >>> trie = Trie(torch.tensor([[0, 1, 0], [0, 1, 1], [3, 2, 0]]))
    >>> trie.num_items, trie.num_levels, [len(level.codes) for level in trie.levels]
    (3, 3, [2, 2, 3])
    >>> nodes, valid = trie.children(0, torch.tensor([0]))       # below the root: codes 0 and 3
    >>> trie.levels[0].codes[nodes[valid]].tolist()
    [0, 3]
    """

    def __init__(self, codes: torch.Tensor) -> None:
        order = lexicographic_order(codes)
        codes = codes[order]
        num_items, num_levels = codes.shape
        self.num_items, self.num_levels = num_items, num_levels
        self.leaf_items = order + 1  # shape (num_items,): the item id at each leaf
        # starts_prefix[i]: leaf i is the first of its prefix; grows from level to level
        starts_prefix = torch.zeros(num_items, dtype=torch.bool, device=codes.device)
        starts_prefix[0] = True
        end = torch.tensor([num_items], device=codes.device)
        parent_starts = torch.zeros(1, dtype=torch.long, device=codes.device)
        self.num_codes = int(codes.max()) + 1  # the range of the codes at all levels
        code_type = torch.uint8 if self.num_codes <= 256 else torch.int32
        self.levels: list[TrieLevel] = []
        for level in range(num_levels):
            starts_prefix[1:] |= codes[1:, level] != codes[:-1, level]
            starts = starts_prefix.nonzero().squeeze(1)
            first_child = torch.cat([torch.searchsorted(starts, parent_starts), end.new_tensor([len(starts)])])
            self.levels.append(
                TrieLevel(
                    codes=codes[starts, level].to(code_type),
                    first_leaf=torch.cat([starts, end]).int(),
                    first_child=first_child.int(),
                    max_children=int(first_child.diff().max()),
                )
            )
            parent_starts = starts

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
        """Codes that the catalogue allows at each level of a semantic ID after the codes before it.

        Args:
            codes (`torch.Tensor`): Shape `(batch_size, num_levels)`, IDs of the catalogue.
            codebook_size (`int`): Codes per level.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_levels, codebook_size)`, bool; all false after a prefix that the
            catalogue does not have.
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
    def item_codes(self) -> torch.Tensor:
        """Codes of each item, shape `(num_levels, num_items + 1)`, uint8 or int32; column 0 is padding."""
        shape = (self.num_levels, self.num_items + 1)
        codes = torch.zeros(shape, dtype=self.levels[0].codes.dtype, device=self.device)
        for number, level in enumerate(self.levels):
            codes[number, self.leaf_items] = level.codes.repeat_interleave(level.first_leaf.diff())
        return codes

    def fold(self, item_log_weights: ItemLogWeights) -> "NodeLogWeights":
        """Folds log-weights of items up the trie: a node's weight is the sum of the weights of its items.

        Args:
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`]): Shape `(batch_size, num_items)`, float;
                column `i - 1` is item `i`; `-inf` excludes an item. Gradients pass through a tensor; those of items at
                `-inf` are 0.

        Returns:
            `NodeLogWeights`: Per level, shape `(batch_size, num_nodes)`, float32, log-sum-exps; `-inf` where all items
            below are excluded. The last level is `item_log_weights` in the order of the leaves.
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


def lexicographic_order(codes: torch.Tensor) -> torch.Tensor:
    """Row numbers in lexicographic order of the rows; equal rows keep their order.

    >>> lexicographic_order(torch.tensor([[1, 0], [0, 2], [0, 1]])).tolist()
    [2, 1, 0]
    """
    order = torch.arange(codes.shape[0], device=codes.device)
    for level in reversed(range(codes.shape[1])):
        order = order[torch.argsort(codes[order, level], stable=True)]
    return order


@dataclass(frozen=True)
class SparseNodeLogWeights:
    """Log-weights of nodes where few items are listed, computed during the search for the visited nodes only.

    Attributes:
        trie ([`Trie`]): The catalogue.
        weights ([`SparseItemLogWeights`]): On the device of the trie.
        times_leaves (`bool`): Whether a node has the sum of the weights of its items rather than their mean.
    """

    trie: Trie
    weights: SparseItemLogWeights
    times_leaves: bool = False


# Log-weights of nodes: per level a tensor of shape `(batch_size, num_nodes)`, or the sparse form.
NodeLogWeights = Sequence[torch.Tensor] | SparseNodeLogWeights
