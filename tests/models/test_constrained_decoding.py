"""Trie and beam search against slow, obvious twins: sets of tuples, and scoring every item."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import TableOfLogProbs, catalogues, random_codes

from modeling_mender.constrained_decoding import TrieLogitsProcessor, beam_search
from modeling_mender.trie import Trie


def children_by_hand(codes, prefix):
    return {code[len(prefix)] for code in codes if code[: len(prefix)] == prefix}


@given(catalogues)
@settings(deadline=None)
def test_children_of_every_prefix_are_those_that_some_item_continues_with(codes):
    trie = Trie(torch.tensor(codes))
    for level in range(3):
        for prefix in {code[:level] for code in codes}:
            nodes, exists = trie.walk(torch.tensor([prefix], dtype=torch.long).reshape(1, level))
            children, valid = trie.children(level, nodes)
            found = trie.levels[level].codes[children[valid]].tolist()
            assert bool(exists)
            assert len(found) == len(set(found))
            assert set(found) == children_by_hand(codes, prefix)


@given(catalogues, st.tuples(*[st.integers(0, 4)] * 3))
@settings(deadline=None)
def test_a_walk_finds_exactly_the_catalogue(codes, code):
    leaf, exists = (value.item() for value in Trie(torch.tensor(codes)).walk(torch.tensor([code])))
    assert exists == (code in codes)
    if exists:
        assert Trie(torch.tensor(codes)).leaf_items[leaf] == codes.index(code) + 1


@given(catalogues, st.data())
@settings(deadline=None)
def test_a_node_is_allowed_exactly_where_an_allowed_item_is_below_it(codes, data):
    allowed = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)))
    trie = Trie(torch.tensor(codes))
    folded = trie.mean_fold(torch.zeros(1, len(codes)).masked_fill(~torch.tensor([allowed]), -torch.inf))
    kept = [code for code, is_allowed in zip(codes, allowed, strict=True) if is_allowed]
    for level, weights in enumerate(folded):
        prefixes = sorted({code[: level + 1] for code in codes})  # breadth-first order of the nodes
        is_allowed = (weights[0] > -torch.inf).tolist()
        assert is_allowed == [any(code[: level + 1] == prefix for code in kept) for prefix in prefixes]


@given(catalogues, st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_beams_that_cover_the_catalogue_equal_scoring_every_item(codes, seed):
    model = TableOfLogProbs(batch_size=2, codebook_size=5, seed=seed)
    found = beam_search(model, Trie(torch.tensor(codes)), 2, num_beams=len(codes))
    for request in range(2):
        scores = {item: model.score(request, code) for item, code in enumerate(codes, start=1)}
        ranking = sorted(scores, key=lambda item: -scores[item])
        assert found.items[request].tolist() == ranking
        assert found.scores[request].tolist() == pytest.approx([scores[item] for item in ranking], abs=1e-5)
        assert [tuple(code) for code in found.codes[request].tolist()] == [tuple(codes[item - 1]) for item in ranking]


@given(catalogues, st.integers(1, 60), st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_any_number_of_beams_gives_distinct_items_with_their_true_scores_best_first(codes, num_beams, seed):
    model = TableOfLogProbs(batch_size=1, codebook_size=5, seed=seed)
    found = beam_search(model, Trie(torch.tensor(codes)), 1, num_beams)
    items, scores = found.items[0].tolist(), found.scores[0].tolist()
    assert len(items) == min(num_beams, len(codes))
    assert len(set(items)) == len(items)
    assert 0 not in items
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([model.score(0, codes[item - 1]) for item in items], abs=1e-5)


def test_masked_items_never_appear_and_missing_results_are_marked():
    codes = random_codes(20, 3, 4, seed=0)
    weights = torch.full((1, 20), -torch.inf)
    weights[0, [2, 11, 17]] = 0.0
    trie = Trie(codes)
    found = beam_search(TableOfLogProbs(1, 4, seed=1), trie, 1, 10, node_log_weights=trie.mean_fold(weights))
    assert sorted(found.items[0, :3].tolist()) == [3, 12, 18]
    assert set(found.items[0, 3:].tolist()) == {0}
    assert (found.scores[0, 3:] == -torch.inf).all()


def test_the_logits_processor_leaves_open_only_tokens_that_continue_an_item():
    codes = [[0, 1], [0, 3], [2, 2]]
    processor = TrieLogitsProcessor(Trie(torch.tensor(codes)), codebook_size=4)
    scores = torch.zeros(2, 9)
    first = processor(torch.tensor([[0], [0]]), scores)
    assert (first[0] == 0).nonzero().flatten().tolist() == [1, 3]  # codes 0 and 2 of level 1
    second = processor(torch.tensor([[0, 1], [0, 3]]), scores)
    assert (second[0] == 0).nonzero().flatten().tolist() == [6, 8]  # codes 1 and 3 of level 2
    assert (second[1] == 0).nonzero().flatten().tolist() == [7]


def test_the_logits_processor_closes_everything_after_a_prefix_of_no_item():
    processor = TrieLogitsProcessor(Trie(torch.tensor([[0, 1], [2, 2]])), codebook_size=4)
    assert (processor(torch.tensor([[0, 2]]), torch.zeros(1, 9)) == -torch.inf).all()


def test_the_logits_processor_refuses_to_go_past_the_last_level():
    processor = TrieLogitsProcessor(Trie(torch.tensor([[0, 1]])), codebook_size=4)
    with pytest.raises(ValueError, match="max_new_tokens"):
        processor(torch.tensor([[0, 1, 6]]), torch.zeros(1, 9))


def test_codes_of_a_level_take_one_byte_where_they_fit():
    levels = Trie(torch.tensor([[255, 256, 2**15]])).levels
    assert [level.codes.dtype for level in levels] == [torch.uint8, torch.int16, torch.int32]
