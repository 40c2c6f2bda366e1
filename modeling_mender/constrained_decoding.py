"""Decoding restricted to the items of a catalog: a logits processor and a beam search over its trie.

The network is a callable that returns the log-probabilities of the next level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from transformers import LogitsProcessor

from .configuration_semantic_ids import first_token
from .semantic_ids import tokens_to_codes
from .trie import NodeLogWeights, SparseNodeLogWeights, Trie


class DenseWalk:
    """Reads dense weights of nodes during a search."""

    def __init__(self, node_log_weights: Sequence[torch.Tensor]) -> None:
        self.node_log_weights = node_log_weights
        self.batch_size = len(node_log_weights[0])

    def weigh(self, level: int, nodes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Log-weights of children of each beam; see [`SparseWalk.weigh`]."""
        return self.node_log_weights[level].gather(1, nodes.flatten(1)).view_as(nodes)

    def follow(self, parents: torch.Tensor, codes: torch.Tensor, is_alive: torch.Tensor) -> None:
        """Does nothing: the weights of all nodes are known."""


class SparseWalk:
    """Follows listed items down the trie and drops those below no beam, or moves them to a row of their own.

    A listed item is one entry per beam of its request. See [`SparseNodeLogWeights`] about `keeps_shapes`.
    """

    def __init__(self, node_log_weights: SparseNodeLogWeights, num_rows: int) -> None:
        self.trie, self.times_leaves = node_log_weights.trie, node_log_weights.times_leaves
        weights, keeps_shapes = node_log_weights.weights, node_log_weights.keeps_shapes
        self.keeps_shapes = not weights.items.is_cpu if keeps_shapes is None else keeps_shapes
        self.num_rows = num_rows  # a row is a beam of a request: request * width + beam
        self.batch_size, num_listed = weights.items.shape
        shape = (self.batch_size, num_rows // self.batch_size, num_listed)
        self.items = weights.items.unsqueeze(1).expand(shape).flatten()
        self.rest = weights.rest.float().view(-1, 1, 1)
        self.values = weights.log_weights.float().unsqueeze(1).expand(shape).flatten()
        self.rows = torch.arange(num_rows, device=self.items.device).repeat_interleave(num_listed)
        is_item = self.trie.is_item.index_select(0, self.items)  # not padding, nor an item that was removed
        self._keep(is_item)
        self.num_codes = 1  # of the level that was weighed last
        self.cells = self.rows  # where each entry goes on: row * num_codes + code

    def weigh(self, level: int, nodes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Log-weights of children of each beam.

        Args:
            level (`int`): The children's level.
            nodes (`torch.Tensor`): Shape `(batch_size, width, num_children)`, the children; the weight of
                padding is undefined.
            codes (`torch.Tensor`): The same shape, their codes.

        Returns:
            `torch.Tensor`: The same shape, float32.
        """
        self.num_codes = num_codes = self.trie.levels[level].num_codes
        num_cells = (self.num_rows + 1) * num_codes  # the last row is that of dropped entries
        self.cells = self.rows * num_codes + self.trie.item_codes[level].index_select(0, self.items)
        num_listed = self.values.new_zeros(num_cells).scatter_add_(0, self.cells, torch.ones_like(self.values))
        at = torch.arange(self.num_rows, device=nodes.device).view(*nodes.shape[:2], 1) * num_codes + codes
        at, num_leaves = at.flatten(), self.trie.levels[level].num_leaves
        is_above_listed = num_listed.index_select(0, at) > 0
        weights = self.rest.repeat(1, *nodes.shape[1:]).flatten()
        if self.keeps_shapes:
            weighed = self._weigh_cells(at, num_listed, num_leaves(nodes.flatten()), weights)
            weights = torch.where(is_above_listed, weighed, weights)
        else:
            above = is_above_listed.nonzero().squeeze(1)
            at, leaves = at.index_select(0, above), num_leaves(nodes.flatten().index_select(0, above))
            weights[above] = self._weigh_cells(at, num_listed, leaves, weights.index_select(0, above))
        weights = weights.view_as(nodes)
        return weights + num_leaves(nodes).log() if self.times_leaves else weights

    def _weigh_cells(
        self, at: torch.Tensor, num_listed: torch.Tensor, num_leaves: torch.Tensor, rest: torch.Tensor
    ) -> torch.Tensor:
        """Log-mean-exps of listed and unlisted items, `(num_nodes,)`.

        Args:
            at (`torch.Tensor`): Shape `(num_nodes,)`, the nodes' cells.
            num_listed (`torch.Tensor`): Shape `(num_cells,)`, entries of each cell.
            num_leaves (`torch.Tensor`): Shape `(num_nodes,)`, all items below.
            rest (`torch.Tensor`): Shape `(num_nodes,)`, the weight of unlisted items.
        """
        smallest = torch.finfo(rest.dtype).min
        largest = torch.full_like(num_listed, -torch.inf).scatter_reduce_(0, self.cells, self.values, "amax")
        # one maximum per cell, so that its sum does not underflow; -inf - -inf would be NaN
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
        """Moves down a level with the beams chosen after `weigh`.

        Args:
            parents (`torch.Tensor`): Shape `(batch_size, width)`, the previous beam that each beam extends.
            codes (`torch.Tensor`): The same shape, the appended codes.
            is_alive (`torch.Tensor`): The same shape, bool; false for a beam that no item continues.
        """
        num_cells = (self.num_rows + 1) * self.num_codes
        requests = torch.arange(self.batch_size, device=parents.device).unsqueeze(1)
        rows = requests * (self.num_rows // self.batch_size) + parents
        # a dead beam may have the code of a living one and would take its entries
        cells = torch.where(is_alive, rows * self.num_codes + codes, num_cells)
        rows_of_cells = self.cells.new_full((num_cells + 1,), -1)
        rows_of_cells[cells.flatten()] = torch.arange(cells.numel(), device=cells.device)
        rows_of_cells.narrow(0, num_cells, 1).fill_(-1)  # a number that is assigned would be copied from the host
        self.rows = rows_of_cells.index_select(0, self.cells)
        self.num_rows = cells.numel()
        self._keep(self.rows >= 0)

    def _keep(self, is_kept: torch.Tensor) -> None:
        """Drops the entries where `is_kept` is false, or moves them below the last row."""
        if self.keeps_shapes:
            self.rows = torch.where(is_kept, self.rows, self.num_rows)
            return
        kept = is_kept.nonzero().squeeze(1)
        self.rows, self.values = self.rows.index_select(0, kept), self.values.index_select(0, kept)
        self.items = self.items.index_select(0, kept)


def start_walk(node_log_weights: NodeLogWeights, num_rows: int) -> DenseWalk | SparseWalk:
    """Starts a walk with `num_rows` beams at the root, the beams of a request in consecutive rows."""
    if isinstance(node_log_weights, SparseNodeLogWeights):
        return SparseWalk(node_log_weights, num_rows)
    return DenseWalk(node_log_weights)


class TrieLogitsProcessor(LogitsProcessor):
    """Masks tokens that leave the trie and weights the others; stateless, so it fits every mode of `generate`.

    Args:
        trie ([`Trie`]): The catalog.
        codebook_size (`int`): Codes per level.
        node_log_weights (`NodeLogWeights`, *optional*): As in [`beam_search`]; the rows of a request are
            consecutive, as `generate` expands them.
        renormalize (`bool`, defaults to `False`): Whether probabilities are normalized over the codes that the
            catalog allows; see [`beam_search`].
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

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.FloatTensor:
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
            steps = self._weight_steps(self.node_log_weights, codes, children, tokens - start)
            valid = valid & (steps > -torch.inf)
            scores = scores.scatter_add(1, tokens, steps.masked_fill(~valid, 0.0).to(scores.dtype))
        return cast(torch.FloatTensor, self._only(scores, tokens, valid))

    def _weight_steps(
        self, node_log_weights: NodeLogWeights, prefixes: torch.Tensor, children: torch.Tensor, codes: torch.Tensor
    ) -> torch.Tensor:
        """Log-weight of each child minus that of its parent, `(rows, max_children)`; `-inf` where pruned.

        The generic loop sums these steps over the levels, which leaves the log-weight of the item itself.
        """
        num_rows, level = prefixes.shape
        walk = start_walk(node_log_weights, num_rows)
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
        # a row that no item continues has a parent at -inf, and -inf - -inf would be NaN
        return steps.masked_fill(above == -torch.inf, -torch.inf)

    @staticmethod
    def _only(scores: torch.Tensor, tokens: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Sets `scores (rows, vocabulary)` to `-inf` except at the valid `tokens (rows, max_children)`."""
        allowed = torch.zeros_like(scores, dtype=torch.int8).scatter_add_(1, tokens, valid.to(torch.int8)) > 0
        return scores.masked_fill(~allowed, -torch.inf)


@dataclass(frozen=True)
class BeamSearchOutput:
    """Results of [`beam_search`], best first.

    Attributes:
        items (`torch.Tensor`): Shape `(batch_size, num_beams)`, item ids; 0 where fewer items are allowed.
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
    """Beam search over a trie of fixed depth in `num_levels` steps, the first with one beam.

    The result is exact where `num_beams` covers every prefix of each length. A prefix is ranked by the sum of the
    log-probabilities of `next_log_probs` plus the log-weight of its node, so the score of an item is exactly its
    log-probability under the model plus its own log-weight, whatever the weights above it are.

    Args:
        next_log_probs (`Callable`): Called as `next_log_probs(level, codes, parents)`; returns log-probabilities of
            the codes at `level`, shape `(batch_size, width, codebook_size)`. `codes (batch_size, width)` are the
            codes chosen at the previous level and `parents (batch_size, width)` the beams that they extend; both
            `None` at level 0, whose width is 1.
        trie ([`Trie`]): The catalog, on the device of the log-probabilities.
        batch_size (`int`): Number of requests.
        num_beams (`int`): Beams kept per request.
        node_log_weights (`NodeLogWeights`, *optional*): [`Trie.mean_fold`] or [`Trie.fold`] of log-weights of items,
            the only input about single items. A node at `-inf` is pruned.
        renormalize (`bool`, defaults to `False`): Whether probabilities are normalized over the codes that the
            catalog allows after a prefix, for a model trained that way; the probabilities of all items then sum to
            1, independently of `node_log_weights`.

    Returns:
        [`BeamSearchOutput`]: `min(num_beams, num_leaves)` results per request, without repeated items.
    """
    device = trie.device
    nodes = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
    scores = torch.zeros(batch_size, 1, device=device)
    sums = scores  # of the log-probabilities, without the weights
    history = torch.empty(batch_size, 1, 0, dtype=torch.long, device=device)
    walk = None if node_log_weights is None else start_walk(node_log_weights, batch_size)
    codes: torch.Tensor | None = None
    parents: torch.Tensor | None = None
    for level, trie_level in enumerate(trie.levels):
        if walk is not None and codes is not None and parents is not None:
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
            # the weight of a level replaces that of the level above, so no rounding error accumulates
            candidates = child_sums + walk.weigh(level, children, child_codes).flatten(1)
        width = min(num_beams, candidates.shape[1], len(trie_level.codes))
        scores, chosen = candidates.topk(width, dim=1)
        parents = chosen // trie_level.max_children
        # a pruned beam must stay at -inf: its entries are gone, so the next weights would not exclude it
        sums = child_sums.gather(1, chosen).masked_fill(scores == -torch.inf, -torch.inf)
        nodes = children.flatten(1).gather(1, chosen)
        codes = child_codes.flatten(1).gather(1, chosen)
        history = history.gather(1, parents.unsqueeze(-1).expand(-1, -1, level))
        history = torch.cat([history, codes.unsqueeze(-1)], dim=-1)
    items = trie.leaf_items[nodes].masked_fill(scores == -torch.inf, 0)
    return BeamSearchOutput(items=items, scores=scores, codes=history)
