"""Searches from static buffers: equal to plain ones, and without a step that waits for the host."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import IDS, TableOfLogProbs, build, catalogues, random_codes
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from transformers.modeling_outputs import BaseModelOutput

from modeling_mender import SemanticIds, captured_decoding
from modeling_mender.captured_decoding import CapturedSearch
from modeling_mender.constrained_decoding import beam_search
from modeling_mender.item_log_weights import SparseItemLogWeights
from modeling_mender.trie import SparseNodeLogWeights, Trie

INF = float("inf")
NUM_ITEMS = IDS.num_items


@pytest.fixture(scope="module", params=[False, True], ids=["", "constrained_softmax"])
def model(request, tmp_path_factory):
    config = {"constrained_softmax": request.param, "num_encoder_layers": int(request.param)}
    return build("emb", "bert", tmp_path_factory.mktemp("model"), IDS, **config)[0]


def encoded(model, batch_size=3, length=5):
    """Random encoder states, the last of the first request padded."""
    generator = torch.Generator().manual_seed(batch_size)
    states = torch.randn(batch_size, length, model.config.d_model, generator=generator)
    mask = torch.ones(batch_size, length, dtype=torch.long)
    mask[0, -1] = 0
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": mask}


def weights_of(form, batch_size=3):
    """What `recommend` takes: nothing, a weight per item, or a list of a few."""
    generator = torch.Generator().manual_seed(7)
    if form == "none":
        return None
    if form == "dense":
        weights = torch.randn(batch_size, NUM_ITEMS, generator=generator) * 3
        weights[:, 4] = -INF
        return weights
    items = torch.stack([torch.randperm(NUM_ITEMS, generator=generator)[:6] + 1 for _ in range(batch_size)])
    items[0, 2] = 0
    return SparseItemLogWeights(items, torch.randn(batch_size, 6, generator=generator) * 3, torch.zeros(batch_size))


@pytest.fixture
def capturing(model):
    model.capture_search()
    yield model
    model.capture_search(False)


FORMS = ("none", "dense", "sparse")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_captured_search_finds_what_a_plain_one_does(model, form, batch_size):
    inputs = encoded(model, batch_size) | {"k": 5, "num_beams": 7, "item_log_weights": weights_of(form, batch_size)}
    expected = model.recommend(**inputs)
    model.capture_search()
    found, again = model.recommend(**inputs), model.recommend(**inputs)
    model.capture_search(False)
    assert torch.equal(found.items, expected.items)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
    assert torch.equal(again.scores, found.scores)


def test_generate_takes_the_captured_search_too(capturing):
    inputs = encoded(capturing) | {"num_beams": 4, "num_return_sequences": 4, "return_dict_in_generate": True}
    found = capturing.generate(**inputs)
    assert len(capturing._captured) == 1
    capturing.capture_search(False)
    expected = capturing.generate(**inputs)
    assert torch.equal(found.sequences, expected.sequences)
    torch.testing.assert_close(found.sequences_scores, expected.sequences_scores, atol=1e-5, rtol=0)


def test_requests_of_one_shape_once_padded_share_a_graph_and_results_are_their_own(capturing):
    first = capturing.recommend(**encoded(capturing, 3), k=4)
    kept = first.items.clone(), first.scores.clone()
    capturing.recommend(**encoded(capturing, 4, length=9), k=4)
    assert len(capturing._captured) == 1
    assert torch.equal(first.items, kept[0]) and torch.equal(first.scores, kept[1])
    capturing.recommend(**encoded(capturing, 5), k=4)
    capturing.recommend(**encoded(capturing, 3), k=4, num_beams=9)
    assert len(capturing._captured) == 3


def test_only_so_many_shapes_are_kept(capturing, monkeypatch):
    monkeypatch.setattr(captured_decoding, "MAX_CAPTURED", 2)
    for num_beams in (4, 5, 6):
        capturing.recommend(**encoded(capturing), k=4, num_beams=num_beams)
    assert len(capturing._captured) == 2


def test_another_catalogue_and_weights_that_moved_are_captured_anew(tmp_path):
    model, _ = build("emb", "bert", tmp_path, IDS)
    model.capture_search()
    model.recommend(**encoded(model), k=5)
    model.recommend(**encoded(model), k=5, num_beams=9)
    model.set_item_semantic_ids(SemanticIds(IDS.codes.flip(0), IDS.codebook_size))
    found = model.recommend(**encoded(model), k=5)
    assert len(model._captured) == 1
    model.double()
    inputs = encoded(model)
    inputs["encoder_outputs"].last_hidden_state = inputs["encoder_outputs"].last_hidden_state.double()
    assert torch.equal(model.recommend(**inputs, k=5).items, found.items)
    model.float().capture_search(False)
    assert torch.equal(model.recommend(**encoded(model), k=5).items, found.items)


def test_a_removed_item_is_not_found_by_a_graph_of_before(tmp_path):
    model, processor = build("emb", "bert", tmp_path, IDS)
    model.capture_search()
    first = model.recommend(**encoded(model), k=5).items
    gone = first[0, :2].tolist()
    model.remove_items(gone, processor)
    found = model.recommend(**encoded(model), k=5).items
    assert not set(gone) & set(found.flatten().tolist())
    assert found[0, :3].tolist() == first[0, 2:].tolist()


def test_a_copy_has_graphs_of_its_own(capturing):
    capturing.recommend(**encoded(capturing), k=4)
    other = copy.deepcopy(capturing)
    assert isinstance(other._captured, CapturedSearch) and len(other._captured) == 0
    assert len(pickle.loads(pickle.dumps(capturing._captured))) == 0


def test_mender_steer_says_that_it_has_no_captured_search(tmp_path):
    model, _ = build("steer", "bert", tmp_path)
    with pytest.raises(ValueError, match="Mender_Tok"):
        model.capture_search()
    model.capture_search(False)


# -- without the host -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_no_step_of_a_search_depends_on_values_that_the_host_would_wait_for(model, form):
    """Tensors of shape and type alone: whatever asks for a value, or for a size that values decide, raises."""
    inputs, weights = encoded(model), weights_of(form)
    states, mask = inputs["encoder_outputs"], inputs["attention_mask"]
    folded = None if weights is None else model.trie.mean_fold(weights)
    model.trie.item_codes, model.trie.is_item  # noqa: B018  computed once a catalog
    if isinstance(folded, SparseNodeLogWeights):
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), pytest.raises(DynamicOutputShapeException):
            model._search_beams(states, mask, 7, folded)  # the CPU's way
        folded = SparseNodeLogWeights(folded.trie, folded.weights, keeps_shapes=True)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        found = model._search_beams(states, mask, 7, folded)
        assert found.items.shape == (3, 7)
        with pytest.raises(DataDependentOutputException):
            bool(found.items.any())


@given(catalogues, st.integers(1, 50), st.integers(0, 5), st.data())
@settings(deadline=None, max_examples=60)
def test_listed_items_weigh_the_same_with_arrays_of_one_size(codes, num_beams, seed, data):
    trie = Trie(torch.tensor(codes))
    weight = st.one_of(st.floats(-40, 40, width=32), st.sampled_from([0.0, -INF]))
    count = data.draw(st.integers(1, len(codes)))
    items = [data.draw(st.permutations(range(1, len(codes) + 1)))[: count - 1] + [0] for _ in range(2)]
    listed = [[data.draw(weight) for _ in range(count)] for _ in range(2)]
    given_weights = SparseItemLogWeights(
        torch.tensor(items), torch.tensor(listed), torch.tensor([data.draw(weight), data.draw(weight)])
    )
    for times_leaves in (False, True):
        found, expected = (
            beam_search(
                TableOfLogProbs(2, 5, seed),
                trie,
                2,
                num_beams,
                SparseNodeLogWeights(trie, given_weights, times_leaves, keeps_shapes),
            )
            for keeps_shapes in (True, False)
        )
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.items, expected.items)


def test_removed_items_weigh_nothing_with_arrays_of_one_size():
    codes = random_codes(20, 3, 4, seed=0)
    trie = Trie(codes).without_items([3, 8])
    weights = SparseItemLogWeights(torch.tensor([[3, 5, 8, 0]]), torch.full((1, 4), 9.0), torch.zeros(1))
    found, expected = (
        beam_search(TableOfLogProbs(1, 4, 0), trie, 1, 18, SparseNodeLogWeights(trie, weights, keeps_shapes=keeps))
        for keeps in (True, False)
    )
    assert torch.equal(found.scores, expected.scores)
    assert found.items[0, 0] == 5 and not {3, 8} & set(found.items[0].tolist())
