"""Components of Mender_Steer's score as functions of tensors: words, relevance, past matches, and avoidance."""

import math
from typing import NamedTuple

import torch

ALL_WORDS = 0.999  # share of a text's words, by weight, from which an item counts as having them all
PARTIAL_MATCH = 0.5  # share of an avoided text's words, by weight, up to which an item is not a match
MATCH_POWER = 4.0  # steepness of the match with an avoided text
UNIFORM_SHARE = 0.3  # weight of the uniform distribution relative to the graph
STANDS_OUT = 2.0  # standard deviations above the mean cosine at which an item half matches unknown words


class WordTable(NamedTuple):
    """Items of each word in compressed sparse rows: those of word `w` are `items[starts[w - 1]:starts[w]]`, from 0.

    Attributes:
        starts (`torch.Tensor`): Shape `(1 + num_words,)`.
        items (`torch.Tensor`): Shape `(num_word_items,)`.
        weights (`torch.Tensor`): Shape `(1 + num_words,)`, float; row 0 is padding.
    """

    starts: torch.Tensor
    items: torch.Tensor
    weights: torch.Tensor


def word_shares(words: torch.Tensor, table: WordTable, num_items: int) -> torch.Tensor:
    """Share of each text's known words, by weight, that each item has.

    Args:
        words (`torch.Tensor`): Shape `(batch_size, num_preferences, num_words)`, word ids from 1; 0 where padded.
        table ([`WordTable`]): Words of the catalog.
        num_items (`int`): Number of items of the catalog.

    Returns:
        `torch.Tensor`: Shape `(batch_size, num_preferences, num_items)`, float32.
    """
    flat = words.flatten(0, 1)
    shares = torch.zeros(len(flat) * num_items, device=words.device)
    text, column = (flat > 0).nonzero(as_tuple=True)
    word = flat[text, column]
    weight = table.weights.float()[word]
    totals = shares.new_zeros(len(flat)).index_add_(0, text, weight)
    first, count = table.starts[word - 1], table.starts[word] - table.starts[word - 1]
    # one entry per pair of a word of a text and an item that has it
    pair = torch.repeat_interleave(count)
    entry = torch.arange(len(pair), device=word.device) + (first - count.cumsum(0) + count)[pair]
    shares.index_add_(0, text[pair] * num_items + table.items[entry], (weight / totals[text])[pair].to(shares.dtype))
    return shares.view(*words.shape[:2], num_items)


def past_matches(
    embeddings: torch.Tensor,
    words: torch.Tensor,
    item_embeddings: torch.Tensor,
    history: torch.Tensor,
    attention_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest cosine and largest share of words between each preference and the items of the history.

    Args:
        embeddings (`torch.Tensor`): Shape `(batch_size, num_preferences, embedding_size)`.
        words (`torch.Tensor`): Shape `(batch_size, num_preferences, num_items)`, of [`word_shares`].
        item_embeddings (`torch.Tensor`): Shape `(1 + num_items, embedding_size)`.
        history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids, 0 where padded.
        attention_mask (`torch.Tensor`): The same shape, bool.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Both of shape `(batch_size, num_preferences)`; 0 without a history.
    """
    nearest = embeddings @ item_embeddings[history].transpose(1, 2)
    nearest = nearest.masked_fill(~attention_mask.unsqueeze(1), -1).amax(-1)  # no padding is nearer than an item
    nearest = torch.where(attention_mask.any(1, keepdim=True), nearest, 0)
    columns = (history - 1).clamp(min=0).unsqueeze(1).expand(-1, embeddings.shape[1], -1)
    return nearest, words.gather(2, columns).masked_fill(~attention_mask.unsqueeze(1), 0).amax(-1)


def relevance(cosine: torch.Tensor, known: torch.Tensor, unrelated_cosine: torch.Tensor) -> torch.Tensor:
    """How much each text is related to the catalog, in [0, 1].

    A text with a word of the catalog has relevance 1. Otherwise the cosine of its nearest item decides: 0 up to the
    mean of unrelated sentences, 1 from two standard deviations above.

    Args:
        cosine (`torch.Tensor`): Shape `(batch_size, num_preferences, num_items)`.
        known (`torch.Tensor`): Shape `(batch_size, num_preferences)`, the share of known words.
        unrelated_cosine (`torch.Tensor`): Mean and deviation of unrelated sentences; a deviation of 0 if not set.

    Returns:
        `torch.Tensor`: Shape `(batch_size, num_preferences)`.
    """
    usual, deviation = unrelated_cosine
    near = ((cosine.amax(-1) - usual) / (2 * deviation).clamp(min=1e-9)).clamp(0, 1)
    return torch.where((known > 0) | (deviation == 0), 1.0, near)


def mix_uniform(scores: torch.Tensor, num_trained_items: int) -> torch.Tensor:
    """Mixes log-probabilities `(batch_size, num_items)` with the uniform distribution over the trained items, so that
    an item beyond the graph is improbable but not impossible."""
    uniform = scores.new_full((), math.log(UNIFORM_SHARE / num_trained_items))
    return torch.logaddexp(scores, uniform) - math.log(1 + UNIFORM_SHARE)


def avoided_match(components: dict[str, torch.Tensor], column: int | slice, num_trained_items: int) -> torch.Tensor:
    """How much each item matches an avoided text, in [0, 1], `(batch_size, num_items)`; of a slice, all of its texts.

    For the known words of the text, by the share of them that an item has, from `PARTIAL_MATCH` on; for unknown
    words, by how far the cosine of an item stands out from the trained items.
    """
    by_words = ((components["words"][:, column] - PARTIAL_MATCH) / (1 - PARTIAL_MATCH)).clamp(0, 1) ** MATCH_POWER
    cosine = components["cosine"][:, column]
    trained = cosine[..., :num_trained_items]
    deviation = (cosine - trained.mean(-1, keepdim=True)) / trained.std(-1, keepdim=True).clamp(min=1e-6)
    by_cosine = torch.sigmoid(MATCH_POWER * (deviation - STANDS_OUT))
    return torch.lerp(by_cosine, by_words, components["known"][:, column, None])
