"""Decoding that can only produce items of the catalogue: the trie, its logits processor, and the beam search.

Knows prefixes, beams and log-probabilities. Knows no network: [`beam_search`] asks a callable for the next level's
log-probabilities, and [`TrieLogitsProcessor`] sees only the scores that the generic `generate` loop hands over.

The trie is an implicit CSR: items are sorted by their code tuples, so the nodes of a level, numbered in breadth-first
order, are the distinct prefixes of that length; the children of a node, and the items (leaves) below it, are
contiguous ranges. A node is therefore one integer, and at the last level it is the item's rank.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from transformers import LogitsProcessor

from .recommendation import ItemLogWeights, SparseItemLogWeights
from .semantic_ids import first_token, tokens_to_codes


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
        max_children (`int`): The largest number of children that any parent has here.
    """

    codes: torch.Tensor
    first_leaf: torch.Tensor
    first_child: torch.Tensor
    max_children: int

    @cached_property
    def parents(self) -> torch.Tensor:
        """Shape `(num_nodes,)`, int32: each node's parent at the level above; made on first use, by a fold."""
        numbers = torch.arange(len(self.first_child) - 1, dtype=torch.int32, device=self.first_child.device)
        return numbers.repeat_interleave(self.first_child.diff().long())

    def num_leaves(self, nodes: torch.Tensor) -> torch.Tensor:
        """Items below each of `nodes`, in float32 of the same shape; exact up to 2 ** 24."""
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
        """Where the arrays lie."""
        return self.leaf_items.device

    def children(self, level: int, parents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nodes at `level` below nodes of the level above.

        Args:
            level (`int`): The children's level; at 0 the only parent is the root, node 0.
            parents (`torch.Tensor`): Shape `(...)`, node numbers at `level - 1`.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Node numbers `(..., max_children)`, and which of them are children.
        """
        first_child = self.levels[level].first_child
        start, stop = first_child[parents].long(), first_child[parents + 1].long()
        nodes = start.unsqueeze(-1) + torch.arange(self.levels[level].max_children, device=parents.device)
        valid = nodes < stop.unsqueeze(-1)
        return nodes.clamp(max=len(self.levels[level].codes) - 1), valid

    def walk(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Follows prefixes from the root.

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
        """Which codes may stand at each level of a semantic ID, given the codes before it.

        Args:
            codes (`torch.Tensor`): Shape `(batch_size, num_levels)`, IDs of the catalogue.
            codebook_size (`int`): Codes per level.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_levels, codebook_size)`, bool; nothing where a prefix is none of
            the catalogue's.
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
        """Shape `(num_levels, num_items + 1)`, uint8 or int32: each item's codes; column 0 is padding."""
        shape = (self.num_levels, self.num_items + 1)
        codes = torch.zeros(shape, dtype=self.levels[0].codes.dtype, device=self.device)
        for number, level in enumerate(self.levels):
            codes[number, self.leaf_items] = level.codes.repeat_interleave(level.first_leaf.diff())
        return codes

    def fold(self, item_log_weights: ItemLogWeights) -> "NodeLogWeights":
        """Log-sum-exp of the items' log-weights below every node: a node's weight is the sum of its items' weights.

        Args:
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`]): Shape `(batch_size, num_items)`, float;
                column `i - 1` is item `i`; `-inf` where an item may not come back. Gradients pass through a tensor;
                those of items at `-inf` are 0.

        Returns:
            `NodeLogWeights`: Per level, shape `(batch_size, num_nodes)`, float32; `-inf` where no item below may come
            back. The last level is `item_log_weights` in the order of the leaves. [`SparseNodeLogWeights`] where the
            items' are sparse.
        """
        means = self.mean_fold(item_log_weights)
        if isinstance(means, SparseNodeLogWeights):
            return replace(means, times_leaves=True)
        return [mean + level.first_leaf.diff().log() for mean, level in zip(means, self.levels, strict=True)]

    def mean_fold(self, item_log_weights: ItemLogWeights) -> "NodeLogWeights":
        """[`Trie.fold`] less the logarithm of the number of items below: the log-mean-exp.

        Equal weights of all items stay as they are at every level, bit for bit: weights of 0 change nothing.
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
    """Log-mean-exps of the children `(batch_size, num_nodes)` to those of the parents `(batch_size, num_parents)`."""
    # (num_nodes, batch_size), for an index that is the same in every column is by far the fastest
    columns = weights.t().contiguous()
    index = level.parents.long().unsqueeze(1).expand_as(columns)
    # every parent's own largest: one of the whole row would underflow where weights differ by hundreds
    largest = columns.detach().new_full((len(above.codes), columns.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, index, columns.detach(), "amax")
    # where nothing is allowed, -inf less -inf would be NaN, and the logarithm's gradient at 0 infinite
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
    """What nodes weigh where few items are listed: counted during the search, for the nodes that it looks at alone.

    Attributes:
        trie ([`Trie`]): The catalogue.
        weights ([`SparseItemLogWeights`]): On the device of the trie.
        times_leaves (`bool`): Whether a node has the sum of its items' weights, and not their mean.
    """

    trie: Trie
    weights: SparseItemLogWeights
    times_leaves: bool = False


# What each node weighs: per level a tensor of shape `(batch_size, num_nodes)`, or the sparse form.
NodeLogWeights = Sequence[torch.Tensor] | SparseNodeLogWeights


class DenseWalk:
    """Looks up the weights of nodes on the way down the trie."""

    def __init__(self, node_log_weights: Sequence[torch.Tensor]) -> None:
        self.node_log_weights = node_log_weights
        self.batch_size = len(node_log_weights[0])

    def weigh(self, level: int, nodes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """The log-weights of some children of each beam: see [`SparseWalk.weigh`]."""
        return self.node_log_weights[level].gather(1, nodes.flatten(1)).view_as(nodes)

    def follow(self, parents: torch.Tensor, codes: torch.Tensor, is_alive: torch.Tensor) -> None:
        """Nothing to do: every node is at hand."""


class SparseWalk:
    """Follows the listed items down the trie, beam by beam, and drops those that are below none.

    A listed item is an entry; several beams of a request at the root give it an entry each.
    """

    def __init__(self, node_log_weights: SparseNodeLogWeights, num_rows: int) -> None:
        self.trie, self.times_leaves = node_log_weights.trie, node_log_weights.times_leaves
        weights = node_log_weights.weights
        self.num_rows = num_rows  # a row is a beam of a request: request * width + beam
        self.batch_size, num_listed = weights.items.shape
        shape = (self.batch_size, num_rows // self.batch_size, num_listed)
        self.items = weights.items.unsqueeze(1).expand(shape).flatten()
        self.rest = weights.rest.float().view(-1, 1, 1)
        self.values = weights.log_weights.float().unsqueeze(1).expand(shape).flatten()
        self.rows = torch.arange(num_rows, device=self.items.device).repeat_interleave(num_listed)
        if bool((self.items == 0).any()):
            self._keep(self.items > 0)
        self.cells = self.rows  # where each entry goes on: row * num_codes + code

    def weigh(self, level: int, nodes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """The log-weights of some children of each beam.

        Args:
            level (`int`): The children's level.
            nodes (`torch.Tensor`): Shape `(batch_size, width, num_children)`, the children. What is no child of the
                beam gets a weight that means nothing.
            codes (`torch.Tensor`): The same shape, their codes.

        Returns:
            `torch.Tensor`: The same shape, float32.
        """
        num_codes, num_cells = self.trie.num_codes, self.num_rows * self.trie.num_codes
        self.cells = self.rows * num_codes + self.trie.item_codes[level].index_select(0, self.items)
        num_listed = self.values.new_zeros(num_cells).scatter_add_(0, self.cells, torch.ones_like(self.values))
        at = torch.arange(self.num_rows, device=nodes.device).view(*nodes.shape[:2], 1) * num_codes + codes
        is_above_listed = num_listed.index_select(0, at.flatten()) > 0
        above_listed = is_above_listed.nonzero().squeeze(1)
        weights = self.rest.repeat(1, *nodes.shape[1:]).flatten()
        weights[above_listed] = self._weigh_cells(
            at.flatten().index_select(0, above_listed),
            num_listed,
            self.trie.levels[level].num_leaves(nodes.flatten().index_select(0, above_listed)),
            weights.index_select(0, above_listed),
        )
        weights = weights.view_as(nodes)
        return weights + self.trie.levels[level].num_leaves(nodes).log() if self.times_leaves else weights

    def _weigh_cells(
        self, at: torch.Tensor, num_listed: torch.Tensor, num_leaves: torch.Tensor, rest: torch.Tensor
    ) -> torch.Tensor:
        """Log-mean-exps of listed items and the others, `(num_nodes,)`.

        Args:
            at (`torch.Tensor`): Shape `(num_nodes,)`, the nodes' cells.
            num_listed (`torch.Tensor`): Shape `(num_cells,)`, entries of each cell.
            num_leaves (`torch.Tensor`): Shape `(num_nodes,)`, all items below.
            rest (`torch.Tensor`): Shape `(num_nodes,)`, the weight of those that are not listed.
        """
        smallest = torch.finfo(rest.dtype).min
        largest = torch.full_like(num_listed, -torch.inf).scatter_reduce_(0, self.cells, self.values, "amax")
        # every cell's own largest, lest its sum underflows; -inf less -inf would be NaN
        terms = (self.values - largest.clamp(min=smallest).index_select(0, self.cells)).exp()
        total = torch.zeros_like(num_listed).scatter_add_(0, self.cells, terms)
        largest, total, num_listed = (cells.index_select(0, at) for cells in (largest, total, num_listed))
        num_others = num_leaves - num_listed
        others = rest.masked_fill(num_others <= 0, -torch.inf)
        highest = torch.maximum(largest, others)
        shifts = highest.clamp(min=smallest)
        total = total * (largest - shifts).exp() + num_others * (others - shifts).exp()
        return highest + (total / num_leaves).clamp(min=torch.finfo(rest.dtype).tiny).log()

    def follow(self, parents: torch.Tensor, codes: torch.Tensor, is_alive: torch.Tensor) -> None:
        """Goes down a level, with the beams that were chosen after `weigh`.

        Args:
            parents (`torch.Tensor`): Shape `(batch_size, width)`, the previous beam that each one extends.
            codes (`torch.Tensor`): The same shape, the codes they extend them by.
            is_alive (`torch.Tensor`): The same shape, bool; false for a beam that no item continues.
        """
        num_cells = self.num_rows * self.trie.num_codes
        requests = torch.arange(self.batch_size, device=parents.device).unsqueeze(1)
        rows = requests * (self.num_rows // self.batch_size) + parents
        # a dead beam's code may be a living one's, whose entries it would take
        cells = torch.where(is_alive, rows * self.trie.num_codes + codes, num_cells)
        rows_of_cells = self.cells.new_full((num_cells + 1,), -1)
        rows_of_cells[cells.flatten()] = torch.arange(cells.numel(), device=cells.device)
        rows_of_cells[num_cells] = -1
        self.rows = rows_of_cells.index_select(0, self.cells)
        self.num_rows = cells.numel()
        self._keep(self.rows >= 0)

    def _keep(self, is_kept: torch.Tensor) -> None:
        """Drops the other entries."""
        kept = is_kept.nonzero().squeeze(1)
        self.rows, self.values = self.rows.index_select(0, kept), self.values.index_select(0, kept)
        self.items = self.items.index_select(0, kept)


def start_walk(node_log_weights: NodeLogWeights, num_rows: int) -> DenseWalk | SparseWalk:
    """A walk down the trie with `num_rows` beams at the root, those of a request one after the other."""
    if isinstance(node_log_weights, SparseNodeLogWeights):
        return SparseWalk(node_log_weights, num_rows)
    return DenseWalk(node_log_weights)


class TrieLogitsProcessor(LogitsProcessor):
    """Forbids every token that leaves the trie and weights the others; stateless, so any `generate` mode may use it.

    Args:
        trie ([`Trie`]): The catalogue.
        codebook_size (`int`): Codes per level.
        node_log_weights (`NodeLogWeights`, *optional*): As in [`beam_search`]; rows of one request follow each
            other, as `generate` expands them.
        renormalize (`bool`, defaults to `False`): Whether the codes that the catalogue allows share the whole
            probability; see [`beam_search`].
    """

    def __init__(
        self,
        trie: Trie,
        codebook_size: int,
        node_log_weights: NodeLogWeights | None = None,
        renormalize: bool = False,
    ) -> None:
        self.renormalize = renormalize
        self.trie = trie
        self.codebook_size = codebook_size
        self.node_log_weights = node_log_weights

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Masks and weights `scores (batch_size * num_beams, vocabulary)` given `input_ids`, start token first."""
        level = input_ids.shape[1] - 1
        if level >= self.trie.num_levels:
            raise ValueError(
                f"a semantic ID has {self.trie.num_levels} codes and {level} are decoded already; leave "
                "max_new_tokens unset."
            )
        codes = tokens_to_codes(input_ids[:, 1:], self.codebook_size)
        start = first_token(level, self.codebook_size)
        nodes, exists = self.trie.walk(codes)
        children, valid = self.trie.children(level, nodes)
        valid = valid & exists.unsqueeze(-1)
        tokens = start + self.trie.levels[level].codes[children].long()
        if self.renormalize:
            scores = self._only(scores, tokens, valid).log_softmax(-1)
        if self.node_log_weights is not None:
            steps = self._weight_steps(codes, children, tokens - start)
            valid = valid & (steps > -torch.inf)
            scores = scores.scatter_add(1, tokens, steps.masked_fill(~valid, 0.0).to(scores.dtype))
        return self._only(scores, tokens, valid)

    def _weight_steps(self, prefixes: torch.Tensor, children: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """What each child's log-weight adds to its parent's, `(rows, max_children)`; `-inf` where it is pruned.

        The loop sums over the levels, so that the weights of an item's prefixes leave its own.
        """
        num_rows, level = prefixes.shape
        walk = start_walk(self.node_log_weights, num_rows)
        batch_size = walk.batch_size
        width = num_rows // batch_size
        itself = torch.arange(width, device=prefixes.device).expand(batch_size, -1)
        above = torch.zeros(num_rows, 1, device=prefixes.device)
        for number in range(level):
            nodes, exists = self.trie.walk(prefixes[:, : number + 1])
            last = prefixes[:, number].view(batch_size, width)
            above = walk.weigh(number, nodes.view(batch_size, width, 1), last.unsqueeze(-1)).view(-1, 1)
            walk.follow(itself, last, exists.view(batch_size, width))
        shape = (batch_size, width, -1)
        steps = walk.weigh(level, children.view(shape), codes.view(shape)).flatten(0, 1) - above
        # a row that no item continues has a parent at -inf, and -inf less -inf would be NaN
        return steps.masked_fill(above == -torch.inf, -torch.inf)

    @staticmethod
    def _only(scores: torch.Tensor, tokens: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`scores (rows, vocabulary)` of the valid ones of `tokens (rows, max_children)`; all others `-inf`."""
        allowed = torch.zeros_like(scores, dtype=torch.int8).scatter_add_(1, tokens, valid.to(torch.int8)) > 0
        return scores.masked_fill(~allowed, -torch.inf)


@dataclass(frozen=True)
class BeamSearchOutput:
    """What [`beam_search`] found, best first.

    Attributes:
        items (`torch.Tensor`): Shape `(batch_size, num_beams)`, item ids; 0 where fewer items were allowed.
        scores (`torch.Tensor`): Shape `(batch_size, num_beams)`, log-probabilities; `-inf` where `items` is 0.
        codes (`torch.Tensor`): Shape `(batch_size, num_beams, num_levels)`.
    """

    items: torch.Tensor
    scores: torch.Tensor
    codes: torch.Tensor


NextLogProbs = Callable[[int, torch.Tensor | None, torch.Tensor | None], torch.Tensor]


def beam_search(
    next_log_probs: NextLogProbs,
    trie: Trie,
    batch_size: int,
    num_beams: int,
    node_log_weights: NodeLogWeights | None = None,
    renormalize: bool = False,
) -> BeamSearchOutput:
    """Beam search over a trie of fixed depth: `num_levels` steps, the first one beam wide.

    Exact wherever `num_beams` covers every prefix of each length. A prefix is ranked by the sum of the
    log-probabilities that `next_log_probs` returned, plus its node's log-weight; an item's score is therefore exactly
    its log-probability under the model plus its own log-weight, whatever the weights above it are.

    Args:
        next_log_probs (`Callable`): Called as `next_log_probs(level, codes, parents)`; returns log-probabilities of
            the codes at `level`, shape `(batch_size, width, codebook_size)`. `codes (batch_size, width)` are the
            codes chosen at the level before and `parents (batch_size, width)` the previous beam each one extends;
            both `None` at level 0, whose width is 1.
        trie ([`Trie`]): The catalogue, on the device of the log-probabilities.
        batch_size (`int`): Number of requests.
        num_beams (`int`): Beams kept per request.
        node_log_weights (`NodeLogWeights`, *optional*): [`Trie.mean_fold`] or [`Trie.fold`] of log-weights of items,
            the one place where knowledge of single items enters. A node at `-inf` is pruned.
        renormalize (`bool`, defaults to `False`): Whether the codes that the catalogue allows after a prefix share the
            whole probability, for a model that was trained so; the probabilities of all items then sum to 1, whatever
            `node_log_weights` are.

    Returns:
        [`BeamSearchOutput`]: `min(num_beams, num_items)` results a request; no item twice.
    """
    device = trie.device
    nodes = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
    scores = torch.zeros(batch_size, 1, device=device)
    sums = scores  # of the log-probabilities, without the weights
    history = torch.empty(batch_size, 1, 0, dtype=torch.long, device=device)
    walk = None if node_log_weights is None else start_walk(node_log_weights, batch_size)
    codes = parents = None
    for level, trie_level in enumerate(trie.levels):
        if walk is not None and level:
            walk.follow(parents, codes, scores > -torch.inf)
        log_probs = next_log_probs(level, codes, parents)
        children, valid = trie.children(level, nodes)  # both (batch_size, width, max_children)
        child_codes = trie_level.codes[children].long()
        log_probs = log_probs.float().gather(-1, child_codes)
        if renormalize:
            # a beam without a prefix of its own has no child: its row would be NaN
            log_probs = log_probs.masked_fill(~valid, torch.finfo(log_probs.dtype).min).log_softmax(-1)
        child_sums = (sums.unsqueeze(-1) + log_probs).masked_fill(~valid, -torch.inf).flatten(1)
        candidates = child_sums
        if walk is not None:
            # a level's weight takes the place of the one above and is not added to it: nothing is left to round
            candidates = child_sums + walk.weigh(level, children, child_codes).flatten(1)
        width = min(num_beams, candidates.shape[1], len(trie_level.codes))
        scores, chosen = candidates.topk(width, dim=1)
        parents = chosen // trie_level.max_children
        # what was pruned stays so: a node that is not followed has no weight of its own any more
        sums = child_sums.gather(1, chosen).masked_fill(scores == -torch.inf, -torch.inf)
        nodes = children.flatten(1).gather(1, chosen)
        codes = child_codes.flatten(1).gather(1, chosen)
        history = history.gather(1, parents.unsqueeze(-1).expand(-1, -1, level))
        history = torch.cat([history, codes.unsqueeze(-1)], dim=-1)
    items = trie.leaf_items[nodes].masked_fill(scores == -torch.inf, 0)
    return BeamSearchOutput(items=items, scores=scores, codes=history)
