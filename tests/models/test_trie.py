"""A trie that is built, and one that items were added to and removed from: equal in every array."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import IDS, TableOfLogProbs, build, random_codes

from modeling_mender.constrained_decoding import beam_search
from modeling_mender.item_log_weights import SparseItemLogWeights, weigh_items
from modeling_mender.recommendation import count_allowed
from modeling_mender.trie import Trie, lexicographic_order, sort_rows

INF = float("inf")


@st.composite
def changing_catalogues(draw):
    """Steps of a catalog: codes to add, then indices of what to remove; codes may pass 255 and come back."""
    code = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 1, 2, 255, 256, 300]))
    pool = draw(st.lists(code, min_size=1, max_size=54, unique=True))
    first = draw(st.integers(1, len(pool)))
    steps = draw(st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(0, 60), max_size=12)), max_size=4))
    return pool, first, steps


def arrays_of(trie):
    """All that a trie holds: numbers, and arrays with their types."""
    arrays = [trie.leaf_items, *trie.item_codes, trie.is_item]
    for level in trie.levels:
        arrays += [level.codes, level.first_leaf, level.first_child, level.parents]
    numbers = [trie.num_items, trie.num_leaves, trie.num_levels]
    numbers += [number for level in trie.levels for number in (level.max_children, level.num_codes)]
    return numbers, [(array.dtype, array.tolist()) for array in arrays]


@given(changing_catalogues())
@settings(deadline=None, max_examples=150)
def test_a_changed_trie_equals_one_built_anew_in_every_array(world):
    pool, first, steps = world
    table = torch.tensor(pool[:first])
    trie, free = Trie(table), pool[first:]
    for num_added, picked in steps:
        added, free = free[:num_added], free[num_added:]
        trie = trie.with_items(torch.tensor(added, dtype=torch.long).view(-1, 3))
        table = torch.cat([table, torch.tensor(added, dtype=torch.long).view(-1, 3)])
        assert arrays_of(trie) == arrays_of(Trie(table))
        present = (table[:, 0] >= 0).nonzero().flatten().tolist()
        removed = {present[index % len(present)] for index in picked}
        removed = sorted(removed)[: len(present) - 1]
        free += [tuple(table[row].tolist()) for row in removed]  # their codes are free again
        trie = trie.without_items([row + 1 for row in removed])
        table[removed] = -1
        assert arrays_of(trie) == arrays_of(Trie(table))


def test_a_changed_trie_leaves_the_one_that_it_came_from_as_it_was():
    trie = Trie(random_codes(30, 3, 4, seed=0))
    before = arrays_of(trie)
    trie.without_items([3, 9]).with_items(torch.tensor([[9, 9, 9]]))
    assert arrays_of(trie) == before


@given(st.lists(st.tuples(*[st.sampled_from([0, 1, 2, 7, 2**20, 2**30])] * 3), min_size=1, max_size=30))
@settings(deadline=None)
def test_rows_are_sorted_alike_whether_or_not_they_fit_into_one_integer(rows):
    codes = torch.tensor(rows)
    order, columns = sort_rows(codes)
    assert order.tolist() == lexicographic_order(codes).tolist()
    assert torch.stack(columns, dim=1).tolist() == codes[order].tolist()


class TestRemovedItems:
    """Six numbers, of which 2 and 5 are no items any more."""

    table = torch.tensor([[0, 0], [-1, -1], [1, 0], [2, 0], [-1, -1], [2, 2]])
    trie = Trie(table)

    @pytest.mark.parametrize("num_beams", [2, 10])
    @pytest.mark.parametrize("is_sparse", [False, True])
    def test_they_are_never_found_whatever_their_weight(self, num_beams, is_sparse):
        weights = torch.tensor([[0.0, 50.0, 1.0, 0.0, 50.0, 0.0]])
        given_weights = weights
        if is_sparse:
            items, listed = torch.tensor([[5, 3, 2, 0]]), torch.tensor([[50.0, 1.0, 50.0, 9.0]])
            given_weights = SparseItemLogWeights(items, listed, torch.zeros(1))
        model = TableOfLogProbs(1, 3, seed=0)
        found = beam_search(model, self.trie, 1, num_beams, self.trie.mean_fold(given_weights))
        codes = {item: tuple(self.table[item - 1].tolist()) for item in (1, 3, 4, 6)}
        scores = {item: model.score(0, code) + weights[0, item - 1].item() for item, code in codes.items()}
        items = found.items[0].tolist()
        assert set(items) <= set(scores)
        assert len(items) == min(num_beams, 4)
        assert found.scores[0].tolist() == pytest.approx([scores[item] for item in items], abs=1e-5)

    def test_they_weigh_nothing_at_the_nodes_above(self):
        weights = torch.tensor([[1.0, 50.0, 2.0, 3.0, -INF, 4.0]])
        folded = self.trie.fold(weights)
        assert folded[0][0].tolist() == pytest.approx([1.0, 2.0, torch.tensor([3.0, 4.0]).logsumexp(0).item()])
        assert folded[1][0].tolist() == [1.0, 2.0, 3.0, 4.0]

    @pytest.mark.parametrize("limits", [{"candidates": [2, 3, 6]}, {"exclude": [2, 3]}, {"exclude": []}], ids=str)
    def test_they_do_not_count_as_allowed(self, limits, monkeypatch):
        expected = {"candidates": 2, "exclude": 3 if limits.get("exclude") else 4}[next(iter(limits))]
        dense = weigh_items(6, 1, **limits)
        monkeypatch.setattr("modeling_mender.item_log_weights.DENSE_ITEMS", 5)
        sparse = weigh_items(6, 1, **limits)
        for weights in (dense, sparse):
            assert count_allowed(weights, 6, self.trie.is_item).tolist() == [expected]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model, processor = build("emb", "bert", tmp_path_factory.mktemp("model"), IDS)
    model.trie  # noqa: B018  so that this trie is changed, not built again
    model.remove_items([1, 2, 3], processor)
    return model


class TestAModelWithRemovedItems:
    """The items 1, 2 and 3 of 30 are gone; embeddings and log-weights keep their columns."""

    inputs = {"history": torch.tensor([[5, 2]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}

    def test_all_that_is_left_is_found_once_and_scored_as_before(self, model, tmp_path):
        found = model.recommend(**self.inputs, k=27)
        assert sorted(found.items[0].tolist()) == list(range(4, 31))
        whole, _ = build("emb", "bert", tmp_path, IDS)
        expected = whole.recommend(**self.inputs, k=30, num_beams=30)
        scores = dict(zip(expected.items[0].tolist(), expected.scores[0].tolist(), strict=True))
        for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
            assert score == pytest.approx(scores[item], abs=1e-5)

    def test_asking_for_more_than_is_left_is_refused(self, model):
        with pytest.raises(ValueError, match=r"k \(28\) must be in 1\.\.27"):
            model.recommend(**self.inputs, k=28)
        with pytest.raises(ValueError, match="num_beams"):
            model.generate(**self.inputs, num_beams=28)
        with pytest.raises(ValueError, match="allows 1 item and"):
            model.recommend(**self.inputs, k=2, candidates=[1, 4])

    def test_the_generic_loop_finds_the_same(self, model):
        settings = {"num_beams": 9, "num_return_sequences": 9, "return_dict_in_generate": True}
        found = model.generate(**self.inputs, **settings)
        expected = model.generate(**self.inputs, **settings, output_scores=True)
        assert torch.equal(found.sequences, expected.sequences)


class TestBadInput:
    trie = Trie(torch.tensor([[0, 1], [0, 3], [2, 2]]))

    @pytest.mark.parametrize(
        ("codes", "words"),
        [
            ([[2, 2]], r"items 3 and 4 share the semantic ID \[2, 2\]"),
            ([[1, 1], [0, 0], [1, 1]], r"items 4 and 6 share the semantic ID \[1, 1\]"),
            ([[1, 1, 1]], r"\(num_added, 2\)"),
            ([[1.0, 1.0]], "integers"),
            ([[0, -1]], "-1"),
        ],
        ids=["taken", "given twice", "a level too many", "floats", "negative"],
    )
    def test_codes_that_cannot_be_added_are_refused(self, codes, words):
        with pytest.raises(ValueError, match=words):
            self.trie.with_items(torch.tensor(codes))

    @pytest.mark.parametrize("item", [0, 4, -1, 10**12])
    def test_an_item_that_is_not_there_cannot_be_removed(self, item):
        with pytest.raises(ValueError, match=f"item {item} cannot be removed"):
            self.trie.without_items([1, item])

    def test_a_removed_item_cannot_be_removed_again_and_the_last_ones_stay(self):
        trie = self.trie.without_items([1])
        with pytest.raises(ValueError, match="item 1 cannot be removed"):
            trie.without_items([1])
        with pytest.raises(ValueError, match="leave at least one"):
            trie.without_items([2, 3])

    def test_a_table_of_shared_codes_or_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match=r"items 1 and 3 share the semantic ID \[5, 0\]"):
            Trie(torch.tensor([[5, 0], [1, 0], [5, 0]]))
        with pytest.raises(ValueError, match=r"item 3 has the codes \[0, -1\]"):
            Trie(torch.tensor([[5, 0], [-1, -1], [0, -1]]))
        with pytest.raises(ValueError, match="all 2 items are removed"):
            Trie(torch.tensor([[-1, -1], [-1, -1]]))
