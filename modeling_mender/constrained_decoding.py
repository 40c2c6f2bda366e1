"""Decoding that can only produce items of the catalogue: the trie, its logits processor, and the beam search.

Knows prefixes, beams and log-probabilities. Knows no network: [`beam_search`] asks a callable for the next level's
log-probabilities, and [`TrieLogitsProcessor`] sees only the scores that the generic `generate` loop hands over.

The trie is an implicit CSR: items are sorted by their code tuples, so the nodes of a level, numbered in breadth-first
order, are the distinct prefixes of that length; the children of a node, and the items (leaves) below it, are
contiguous ranges. A node is therefore one integer, and at the last level it is the item's rank.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor


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
        code_type = torch.uint8 if int(codes.max()) < 256 else torch.int32
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

    def node_masks(self, allowed_items: torch.Tensor) -> list[torch.Tensor]:
        """Which nodes still lead to an allowed item: a bit per edge, for every request of the batch.

        Args:
            allowed_items (`torch.Tensor`): Shape `(batch_size, num_items)`, bool; column `i - 1` is item `i`.

        Returns:
            `list[torch.Tensor]`: Per level, shape `(batch_size, num_nodes)`, bool.
        """
        counts = allowed_items[:, self.leaf_items - 1].int().cumsum(1)
        counts = torch.nn.functional.pad(counts, (1, 0))  # shape (batch_size, num_items + 1): allowed leaves before
        return [
            counts[:, level.first_leaf[1:].long()] > counts[:, level.first_leaf[:-1].long()] for level in self.levels
        ]


def lexicographic_order(codes: torch.Tensor) -> torch.Tensor:
    """Row numbers in lexicographic order of the rows; equal rows keep their order.

    >>> lexicographic_order(torch.tensor([[1, 0], [0, 2], [0, 1]])).tolist()
    [2, 1, 0]
    """
    order = torch.arange(codes.shape[0], device=codes.device)
    for level in reversed(range(codes.shape[1])):
        order = order[torch.argsort(codes[order, level], stable=True)]
    return order


class TrieLogitsProcessor(LogitsProcessor):
    """Forbids every token that leaves the trie; stateless, so any `generate` mode may use it.

    Args:
        trie ([`Trie`]): The catalogue.
        codebook_size (`int`): Codes per level.
        node_masks (`list[torch.Tensor]`, *optional*): [`Trie.node_masks`] of the requests; rows of one request follow
            each other, as `generate` expands them.
        renormalize (`bool`, defaults to `False`): Whether the codes that the catalogue allows share the whole
            probability; see [`beam_search`].
    """

    def __init__(
        self,
        trie: Trie,
        codebook_size: int,
        node_masks: list[torch.Tensor] | None = None,
        renormalize: bool = False,
    ) -> None:
        self.renormalize = renormalize
        self.trie = trie
        self.codebook_size = codebook_size
        self.node_masks = node_masks

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Masks `scores (batch_size * num_beams, vocabulary)` given `input_ids`, start token first."""
        level = input_ids.shape[1] - 1
        if level >= self.trie.num_levels:
            raise ValueError(
                f"a semantic ID has {self.trie.num_levels} codes and {level} are decoded already; leave "
                "max_new_tokens unset."
            )
        offsets = 1 + self.codebook_size * torch.arange(level, device=input_ids.device)
        nodes, exists = self.trie.walk(input_ids[:, 1:] - offsets)
        children, valid = self.trie.children(level, nodes)
        valid = valid & exists.unsqueeze(-1)
        tokens = 1 + self.codebook_size * level + self.trie.levels[level].codes[children].long()
        if self.renormalize:
            scores = self._only(scores, tokens, valid).log_softmax(-1)
        if self.node_masks is not None:
            mask = self.node_masks[level]
            request = torch.arange(len(nodes), device=nodes.device) // (len(nodes) // len(mask))
            valid = valid & mask[request.unsqueeze(-1), children]
        return self._only(scores, tokens, valid)

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
    node_masks: list[torch.Tensor] | None = None,
    renormalize: bool = False,
) -> BeamSearchOutput:
    """Beam search over a trie of fixed depth: `num_levels` steps, the first one beam wide.

    Exact wherever `num_beams` covers every prefix of each length. Scores are sums of the log-probabilities that
    `next_log_probs` returned, so they are exact log-probabilities of the item under the model.

    Args:
        next_log_probs (`Callable`): Called as `next_log_probs(level, codes, parents)`; returns log-probabilities of
            the codes at `level`, shape `(batch_size, width, codebook_size)`. `codes (batch_size, width)` are the
            codes chosen at the level before and `parents (batch_size, width)` the previous beam each one extends;
            both `None` at level 0, whose width is 1.
        trie ([`Trie`]): The catalogue, on the device of the log-probabilities.
        batch_size (`int`): Number of requests.
        num_beams (`int`): Beams kept per request.
        node_masks (`list[torch.Tensor]`, *optional*): [`Trie.node_masks`]: the one place where knowledge of single
            items enters. Log-weights of items, summed up the trie by log-sum-exp, would enter here too.
        renormalize (`bool`, defaults to `False`): Whether the codes that the catalogue allows after a prefix share the
            whole probability, for a model that was trained so; the probabilities of all items then sum to 1, whichever
            of them `node_masks` allow.

    Returns:
        [`BeamSearchOutput`]: `min(num_beams, num_items)` results a request; no item twice.
    """
    device = trie.device
    nodes = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
    scores = torch.zeros(batch_size, 1, device=device)
    history = torch.empty(batch_size, 1, 0, dtype=torch.long, device=device)
    codes = parents = None
    for level, trie_level in enumerate(trie.levels):
        log_probs = next_log_probs(level, codes, parents)
        children, valid = trie.children(level, nodes)  # both (batch_size, width, max_children)
        child_codes = trie_level.codes[children].long()
        log_probs = log_probs.float().gather(-1, child_codes)
        if renormalize:
            # a beam without a prefix of its own has no child: its row would be NaN
            log_probs = log_probs.masked_fill(~valid, torch.finfo(log_probs.dtype).min).log_softmax(-1)
        if node_masks is not None:
            valid = valid & node_masks[level].gather(1, children.flatten(1)).view_as(children)
        candidates = scores.unsqueeze(-1) + log_probs
        candidates = candidates.masked_fill(~valid, -torch.inf).flatten(1)
        width = min(num_beams, candidates.shape[1], len(trie_level.codes))
        scores, chosen = candidates.topk(width, dim=1)
        parents = chosen // trie_level.max_children
        nodes = children.flatten(1).gather(1, chosen)
        codes = child_codes.flatten(1).gather(1, chosen)
        history = history.gather(1, parents.unsqueeze(-1).expand(-1, -1, level))
        history = torch.cat([history, codes.unsqueeze(-1)], dim=-1)
    items = trie.leaf_items[nodes].masked_fill(scores == -torch.inf, 0)
    return BeamSearchOutput(items=items, scores=scores, codes=history)
