"""Decoding of Mender_Steer: probabilities of codes from item scores that are folded up the trie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from .configuration_semantic_ids import PAD_TOKEN_ID, first_token
from .constrained_decoding import TrieLogitsProcessor
from .modeling_semantic_id_decoder import NOT_ALLOWED, SemanticIdDecoderModel
from .semantic_ids import codes_to_tokens
from .t5_stacks import DecodingSteps, decoder_logits, project_states
from .trie import Trie

_UNSET: Any = None  # every field of a `ModelOutput` but the first needs a default


@dataclass
class SteerEncoderOutput(BaseModelOutput):
    """Encoded requests of Mender_Steer.

    Attributes:
        last_hidden_state (`torch.FloatTensor`): Shape `(batch_size, 1 + history_length + num_preferences, d_model)`,
            states that the decoder attends to; without a decoder, those of the history alone.
        item_scores (`torch.Tensor`): Shape `(batch_size, num_items)`, float, log-probabilities of all items without
            the decoder.
        head_scores (`torch.Tensor`): The same shape, log-probabilities by the item head alone, on which the decoder
            was trained.
        terms (`dict[str, torch.Tensor]`): Terms by name, of the same shape each, that sum to the scores up to a
            constant per request.
        decoder_mask (`torch.Tensor`): Shape of `last_hidden_state` without the last axis, bool; false where padded.
        has_decoder (`bool`): Whether the decoder changes the item scores.
    """

    item_scores: torch.Tensor = _UNSET
    head_scores: torch.Tensor = _UNSET
    terms: dict[str, torch.Tensor] = _UNSET
    decoder_mask: torch.Tensor = _UNSET
    has_decoder: bool = _UNSET


class SteerLogitsProcessor(TrieLogitsProcessor):
    """Undoes the normalization of the generic beam search, as the codes after a prefix need not sum to 1.

    The logit of the start token is 0, so its score equals what the normalization subtracted.
    """

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.FloatTensor:
        """Masks and weights the shifted scores; see [`TrieLogitsProcessor`]."""
        return super().__call__(input_ids, scores - scores[:, PAD_TOKEN_ID, None])


class FoldedSteps:
    """Log-probabilities of codes for [`beam_search`] from item scores folded up the trie: child minus parent.

    With a decoder, the share of a code among its siblings is multiplied by the decoder's probability, normalized under
    the item head, as in training.

    Args:
        model ([`SemanticIdDecoderModel`]): Gives the trie and the decoder, in evaluation mode.
        gates (`torch.Tensor`): Shape `(num_levels,)`, weights of the decoder per level.
        encoder_outputs ([`SteerEncoderOutput`]): Encoded requests.
        adds_items (`bool`, defaults to `True`): Whether item scores are part of the steps, or the decoder alone.
    """

    def __init__(
        self,
        model: SemanticIdDecoderModel,
        gates: torch.Tensor,
        encoder_outputs: SteerEncoderOutput,
        adds_items: bool = True,
    ) -> None:
        self.trie, self.gates = model.trie, gates
        self.codebook_size = model.config.codebook_size
        self.item_nodes = self._fold(encoder_outputs.item_scores) if adds_items else None
        self.decoder: DecodingSteps | None = None
        self.batch_size = len(encoder_outputs.item_scores)
        if encoder_outputs.has_decoder:
            self.head_nodes = self._fold(encoder_outputs.head_scores)
            states = cast(torch.Tensor, encoder_outputs.last_hidden_state)
            self.decoder = DecodingSteps(
                model.decoder,
                project_states(model.decoder, states),
                encoder_outputs.decoder_mask,
                model.config.num_levels,
                self.codebook_size,
            )
        self.nodes = torch.zeros(self.batch_size, 1, dtype=torch.long, device=self.trie.device)

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        """Log-probabilities of the codes at `level`, `-inf` where no item has a code; see [`beam_search`]."""
        if codes is not None and parents is not None:
            self._descend(level - 1, codes, parents)
        children, valid = self.trie.children(level, self.nodes)
        child_codes = self.trie.levels[level].codes[children].long()
        step = torch.zeros(children.shape, device=children.device)
        if self.item_nodes is not None:
            step = step + self._share(self.item_nodes, level, children)
        if self.decoder is not None:
            log_probs = self.gates[level] * self.decoder(level, codes, parents)
            correction = log_probs.gather(-1, child_codes)
            inside = self._share(self.head_nodes, level, children) + correction
            step = step + correction - inside.masked_fill(~valid, -torch.inf).logsumexp(-1, keepdim=True)
        full = step.new_full((*self.nodes.shape, self.codebook_size), -torch.inf)
        # padding may have the code of a child: the maximum is that of the child
        return full.scatter_reduce(-1, child_codes, step.masked_fill(~valid, -torch.inf), "amax")

    def _descend(self, level: int, codes: torch.Tensor, parents: torch.Tensor) -> None:
        """Moves to the nodes of the chosen codes."""
        nodes = self.nodes.gather(1, parents)
        children, valid = self.trie.children(level, nodes)
        matches = valid & (self.trie.levels[level].codes[children] == codes.unsqueeze(-1))
        self.nodes = children.gather(-1, matches.int().argmax(-1, keepdim=True)).squeeze(-1)

    def _fold(self, scores: torch.Tensor) -> Sequence[torch.Tensor]:
        """Scores of items `(batch_size, num_items)` to those of nodes, per level `(batch_size, num_nodes)`."""
        return cast(Sequence[torch.Tensor], self.trie.fold(scores))

    def _share(self, folded: Sequence[torch.Tensor], level: int, children: torch.Tensor) -> torch.Tensor:
        """Logarithm of each child's share in its parent, `(batch_size, width, max_children)`."""
        child = folded[level].gather(1, children.flatten(1)).view(children.shape)
        if level == 0:
            return child - folded[0].logsumexp(1).view(-1, 1, 1)
        return child - folded[level - 1].gather(1, self.nodes).unsqueeze(-1)


def code_loss(
    model: SemanticIdDecoderModel,
    gates: torch.Tensor,
    item_log_probs: torch.Tensor,
    states: torch.Tensor,
    visible: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Mean cross-entropy of codes under the product of the folded item head and the decoder.

    At each level, the probabilities of the codes that continue the target's prefix sum to 1; each is proportional to
    the item head's probability below the code times the decoder's. With gates of 0 this is the cross-entropy of the
    item.

    Args:
        model ([`SemanticIdDecoderModel`]): Gives the catalog and the decoder.
        gates (`torch.Tensor`): Shape `(num_levels,)`, weights of the decoder per level.
        item_log_probs (`torch.Tensor`): Shape `(num_examples, num_items)`, by the item head.
        states (`torch.Tensor`): Shape `(num_examples, sequence_length, d_model)`, of the encoder.
        visible (`torch.Tensor`): Shape `(num_examples, sequence_length)`, bool.
        labels (`torch.Tensor`): Shape `(num_examples,)`, item ids.
    """
    codebook_size, trie = model.config.codebook_size, model.trie
    codes = model.item_semantic_ids[labels - 1]
    tokens = codes_to_tokens(codes, codebook_size)
    decoder_input_ids = functional.pad(tokens[:, :-1], (1, 0), value=PAD_TOKEN_ID)
    output = model.decoder(
        input_ids=decoder_input_ids,
        encoder_hidden_states=states,
        encoder_attention_mask=visible,
        use_cache=False,
    )
    logits = decoder_logits(model.decoder, output.last_hidden_state).float()
    log_probs = item_log_probs[:, trie.leaf_items - 1]  # in the order of the leaves
    # the first level sums over the whole catalog; the others over the items of one prefix
    nodes = torch.zeros(len(labels), dtype=torch.long, device=labels.device)
    loss = torch.zeros((), device=labels.device)
    for level, trie_level in enumerate(trie.levels):
        children, valid = trie.children(level, nodes.unsqueeze(1))
        children, valid = children.squeeze(1), valid.squeeze(1)  # (num_examples, max_children)
        folded = fold_children(log_probs, trie, level, children, valid)
        child_codes = trie_level.codes[children].long()
        decoded = logits[:, level, first_token(level, codebook_size) :].gather(1, child_codes)
        product = (folded + gates[level] * decoded).masked_fill(~valid, NOT_ALLOWED)
        is_target = valid & (child_codes == codes[:, level, None])
        place = is_target.int().argmax(1, keepdim=True)
        loss = loss - product.log_softmax(1).gather(1, place).mean()
        nodes = children.gather(1, place).squeeze(1)
    return loss


def fold_children(
    log_probs: torch.Tensor, trie: Trie, level: int, children: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Log-sum-exps of the leaves below siblings, `(num_examples, max_children)`.

    Args:
        log_probs (`torch.Tensor`): Shape `(num_examples, num_items)`, in the order of the leaves.
        trie ([`Trie`]): The catalog.
        level (`int`): Level of the siblings.
        children (`torch.Tensor`): Shape `(num_examples, max_children)`, children of one parent each.
        valid (`torch.Tensor`): The same shape, bool; false for padding.
    """
    trie_level = trie.levels[level]
    if level == 0:  # the same nodes for all: one pass over the catalog
        nodes = torch.arange(len(trie_level.codes), device=children.device)
        number = nodes.repeat_interleave(trie_level.first_leaf.diff())  # (num_items,), the node above each leaf
        largest = log_probs.detach().amax(1, keepdim=True)
        total = torch.zeros(len(log_probs), len(trie_level.codes), device=log_probs.device)
        total = total.index_add(1, number, (log_probs - largest).exp())
        return (total.clamp(min=1e-37).log() + largest).gather(1, children)
    first, last = trie_level.first_leaf[children].long(), trie_level.first_leaf[children + 1].long()
    start = torch.where(valid, first, log_probs.shape[1]).amin(1, keepdim=True)
    stop = torch.where(valid, last, 0).amax(1, keepdim=True)
    width = int((stop - start).max())
    leaves = start + torch.arange(width, device=start.device)
    inside = leaves < stop
    values = log_probs.gather(1, leaves.clamp(max=log_probs.shape[1] - 1)).masked_fill(~inside, NOT_ALLOWED)
    largest = values.detach().amax(1, keepdim=True)
    # the sibling above each leaf; padding repeats the last node of the level and must not match
    bounds = first.masked_fill(~valid, log_probs.shape[1])
    sibling = (torch.searchsorted(bounds, leaves, right=True) - 1).clamp(min=0)
    total = torch.zeros(children.shape, device=log_probs.device)
    total = total.scatter_add(1, sibling, (values - largest).exp() * inside)
    return total.clamp(min=1e-37).log() + largest
