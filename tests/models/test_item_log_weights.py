"""What is said of single items, inside the search: against scoring every item and adding the weights afterwards."""

import json

import benchmark_item_log_weights
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import ASKED, CASES, IDS, TableOfLogProbs, build, catalogues, random_codes, train_tiny
from tiny_models import tiny_method as build_method
from transformers import pipeline

from modeling_mender import item_log_weights
from modeling_mender.constrained_decoding import TrieLogitsProcessor, beam_search, start_walk
from modeling_mender.hub.handler import EndpointHandler
from modeling_mender.item_log_weights import SparseItemLogWeights, read_log_weights, weigh_items
from modeling_mender.methods.table import METHODS
from modeling_mender.modeling_generative_retriever import GenerativeRetriever
from modeling_mender.recommendation import count_allowed
from modeling_mender.trie import Trie

INF = float("inf")
OTHERS = ASKED._replace(history=(2, 7))
FEW = [("mender_tok", "bert"), ("sasrec", "bert")]  # a generative one, and one that scores every item
log_weights = st.one_of(st.floats(-40, 40, width=32), st.sampled_from([0.0, -INF, -300.0, 300.0]))


@st.composite
def weighted_catalogues(draw):
    """Codes, dense weights of two requests, and the same in the sparse form, some items listed and padding between."""
    codes = draw(catalogues)
    items, weights, rest, dense = [], [], [], []
    for _ in range(2):
        listed = draw(st.permutations(range(1, len(codes) + 1)))[: draw(st.integers(0, len(codes)))]
        named = [(item, draw(log_weights)) for item in listed]
        rest.append(draw(log_weights))
        row = dict(named)
        dense.append([row.get(item, rest[-1]) for item in range(1, len(codes) + 1)])
        named += [(0, draw(log_weights))] * (len(codes) - len(named))
        named = draw(st.permutations(named))
        items.append([item for item, _ in named])
        weights.append([weight for _, weight in named])
    sparse = SparseItemLogWeights(torch.tensor(items), torch.tensor(weights), torch.tensor(rest))
    return codes, torch.tensor(dense), sparse


def ranked_by_hand(model, codes, weights, request):
    """Items and scores by scoring everything, best first."""
    scores = {
        item: model.score(request, code) + weights[request, item - 1].item()
        for item, code in enumerate(codes, start=1)
    }
    allowed = [item for item in scores if scores[item] > -INF]
    return sorted(allowed, key=lambda item: -scores[item]), scores


def children_by_level(trie, node_log_weights):
    """Per level the weight of every node, `(batch_size, num_nodes)`, as a walk sees them."""
    walk, nodes, by_level = start_walk(node_log_weights, 2), torch.zeros(2, 1, dtype=torch.long), []
    for number, level in enumerate(trie.levels):
        children, valid = trie.children(number, nodes)
        codes = level.codes[children].long()
        by_level.append(walk.weigh(number, children, codes)[valid].view(2, -1))
        parents = torch.arange(nodes.shape[1]).repeat_interleave(level.first_child.diff()).expand(2, -1)
        nodes = torch.arange(len(level.codes)).expand(2, -1)
        walk.follow(parents, level.codes.long().expand(2, -1), torch.ones_like(nodes, dtype=torch.bool))
    return by_level


# -- the trie ---------------------------------------------------------------------------------------------------------


@given(weighted_catalogues())
@settings(deadline=None)
def test_a_node_weighs_the_sum_of_its_items_and_in_the_mean_their_average(world):
    codes, dense, sparse = world
    trie = Trie(torch.tensor(codes))
    for weights in (dense, sparse):
        folded, means = (children_by_level(trie, fold(weights)) for fold in (trie.fold, trie.mean_fold))
        for level in range(3):
            prefixes = sorted({code[: level + 1] for code in codes})  # breadth-first order of the nodes
            below = [[i for i, code in enumerate(codes) if code[: level + 1] == prefix] for prefix in prefixes]
            sums = torch.stack([dense[:, items].double().logsumexp(1) for items in below], dim=1)
            counts = torch.tensor([len(items) for items in below]).double()
            torch.testing.assert_close(folded[level].double(), sums, atol=1e-4, rtol=1e-6)
            torch.testing.assert_close(means[level].double(), sums - counts.log(), atol=1e-4, rtol=1e-6)


@given(catalogues, st.floats(-300, 300, width=32))
@settings(deadline=None)
def test_equal_weights_of_all_items_are_the_mean_of_every_node_bit_for_bit(codes, weight):
    trie = Trie(torch.tensor(codes))
    dense = torch.full((2, len(codes)), weight)
    sparse = SparseItemLogWeights(torch.tensor([[1], [1]]), torch.full((2, 1), weight), torch.full((2,), weight))
    for weights in (dense, sparse):
        assert all((level == weight).all() for level in children_by_level(trie, trie.mean_fold(weights)))


def test_the_gradient_of_a_fold_is_each_item_s_share_and_none_where_it_is_not_allowed():
    trie = Trie(random_codes(40, 3, 4, seed=0))
    weights = torch.randn(2, 40, generator=torch.Generator().manual_seed(0)) * 50
    weights[:, :10] = -INF
    weights[1] = -INF
    weights.requires_grad_()
    (gradient,) = torch.autograd.grad(trie.fold(weights)[0][0].logsumexp(0), weights)
    torch.testing.assert_close(gradient[0], weights[0].detach().softmax(0), atol=1e-5, rtol=0)
    finite = sum(level[level > -INF].sum() for level in trie.mean_fold(weights))
    (gradient,) = torch.autograd.grad(finite, weights)
    assert torch.isfinite(gradient).all()
    assert (gradient[weights == -INF] == 0).all()


def test_a_listed_item_keeps_its_weight_under_a_beam_that_died():
    """A request with fewer items than beams: the places that stay empty repeat codes of living beams."""
    trie = Trie(torch.tensor([[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [2, 2]]))
    weights = SparseItemLogWeights(torch.tensor([[1, 4]]), torch.tensor([[3.0, 5.0]]), torch.tensor([-INF]))
    found = beam_search(TableOfLogProbs(1, 3, seed=0), trie, 1, 6, trie.mean_fold(weights))
    assert found.items.tolist() == [[4, 1, 0, 0, 0, 0]]


# -- the search -------------------------------------------------------------------------------------------------------


@given(weighted_catalogues(), st.integers(0, 5), st.booleans())
@settings(deadline=None, max_examples=40)
def test_beams_that_cover_the_catalogue_equal_scoring_every_item_and_adding_its_weight(world, seed, in_the_mean):
    codes, dense, sparse = world
    trie = Trie(torch.tensor(codes))
    for weights in (dense, sparse):
        model = TableOfLogProbs(batch_size=2, codebook_size=5, seed=seed)
        folded = (trie.mean_fold if in_the_mean else trie.fold)(weights)
        found = beam_search(model, trie, 2, len(codes), folded)
        for request in range(2):
            ranking, scores = ranked_by_hand(model, codes, dense, request)
            expected = [scores[item] for item in ranking] + [-INF] * (len(codes) - len(ranking))
            assert sorted(found.items[request].tolist()) == sorted(ranking + [0] * (len(codes) - len(ranking)))
            assert found.scores[request].tolist() == pytest.approx(expected, abs=1e-4)


@given(weighted_catalogues(), st.integers(1, 50), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_a_score_is_the_log_probability_plus_the_weight_to_the_last_bit(world, num_beams, seed):
    codes, dense, sparse = world
    trie = Trie(torch.tensor(codes))
    plain = beam_search(TableOfLogProbs(2, 5, seed), trie, 2, len(codes))
    log_probs = torch.zeros(2, len(codes)).scatter(1, plain.items - 1, plain.scores)
    for weights in (dense, sparse):
        found = beam_search(TableOfLogProbs(2, 5, seed), trie, 2, num_beams, trie.mean_fold(weights))
        expected = (log_probs + dense).gather(1, (found.items - 1).clamp(min=0))
        assert torch.equal(found.scores, expected.masked_fill(found.items == 0, -INF))


@given(weighted_catalogues(), st.integers(1, 50), st.integers(0, 5))
@settings(deadline=None, max_examples=60, derandomize=True)  # two prefixes may differ by less than rounding does
def test_few_beams_keep_the_same_scores_whichever_way_the_weights_are_said(world, num_beams, seed):
    codes, dense, sparse = world
    trie = Trie(torch.tensor(codes))
    found, other = (
        beam_search(TableOfLogProbs(2, 5, seed), trie, 2, num_beams, trie.mean_fold(weights))
        for weights in (dense, sparse)
    )
    assert torch.equal(found.scores, other.scores)


@given(catalogues, st.integers(1, 50), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_weights_of_0_change_nothing_bit_for_bit(codes, num_beams, seed):
    trie = Trie(torch.tensor(codes))
    plain = beam_search(TableOfLogProbs(2, 5, seed), trie, 2, num_beams)
    dense = torch.zeros(2, len(codes))
    sparse = SparseItemLogWeights(torch.tensor([[1], [0]]), torch.zeros(2, 1), torch.zeros(2))
    for weights in (dense, sparse):
        found = beam_search(TableOfLogProbs(2, 5, seed), trie, 2, num_beams, trie.mean_fold(weights))
        assert torch.equal(found.items, plain.items)
        assert torch.equal(found.scores, plain.scores)


@given(weighted_catalogues(), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_what_the_processor_adds_level_by_level_sums_to_the_item_s_weight(world, seed):
    codes, dense, sparse = world
    trie = Trie(torch.tensor(codes))
    for weights in (dense, sparse):
        processor = TrieLogitsProcessor(trie, 5, trie.mean_fold(weights))
        tokens = torch.tensor([[0, *(1 + code + 5 * level for level, code in enumerate(row))] for row in codes])
        tokens = tokens.repeat(2, 1)  # every item in every request, the rows of a request one after the other
        total = torch.zeros(len(tokens))
        for level in range(3):
            scores = processor(tokens[:, : level + 1], torch.zeros(len(tokens), 16))
            total += scores.gather(1, tokens[:, level + 1, None]).squeeze(1)
        torch.testing.assert_close(total.view(2, -1), dense, atol=1e-3, rtol=1e-5)


# -- every model ------------------------------------------------------------------------------------------------------


def ask(name, family, folder):
    """A tiny model, the inputs of two requests, and the log-probability of every item for both."""
    method, model, _, collator = build_method(name, family, folder)
    inputs = collator([method.restrict(ASKED), method.restrict(OTHERS)])
    everything = model.recommend(**inputs, k=12, num_beams=12)
    log_probs = torch.zeros(2, 12).scatter(1, everything.items - 1, everything.scores)
    return model, inputs, log_probs


@pytest.fixture(params=CASES, ids="-".join)
def world(request, tmp_path):
    return ask(*request.param, tmp_path)


def random_weights():
    weights = torch.randn(2, 12, generator=torch.Generator().manual_seed(1)) * 5
    weights[0, 3], weights[1, 7] = -INF, -INF
    return weights


def as_sparse(weights):
    items = torch.arange(1, weights.shape[1] + 1).expand(len(weights), -1)
    return SparseItemLogWeights(items.flip(1), weights.flip(1), torch.zeros(len(weights)))


def test_every_method_ranks_by_its_log_probability_plus_the_weight(world):
    model, inputs, log_probs = world
    weights = random_weights()
    expected = (log_probs + weights).topk(11)
    for given_weights in (weights, as_sparse(weights)):
        found = model.recommend(**inputs, k=11, item_log_weights=given_weights)
        assert found.items.tolist() == (expected.indices + 1).tolist()
        torch.testing.assert_close(found.scores, expected.values, atol=1e-5, rtol=0)
        assert found.terms is None


def test_weights_of_0_change_no_method_s_answer_bit_for_bit(world):
    model, inputs, _ = world
    plain = model.recommend(**inputs, k=4, num_beams=5)
    for weights in (torch.zeros(2, 12), as_sparse(torch.zeros(2, 12))):
        found = model.recommend(**inputs, k=4, num_beams=5, item_log_weights=weights)
        assert torch.equal(found.items, plain.items)
        assert torch.equal(found.scores, plain.scores)


def test_candidates_exclusions_and_masks_are_weights_of_minus_infinity(world):
    model, inputs, _ = world
    weights = torch.full((2, 12), -INF)
    weights[:, [1, 4, 6, 9]] = 0.0
    expected = model.recommend(**inputs, k=3, num_beams=4, item_log_weights=weights)
    others = [1, 3, 4, 6, 8, 9, 11, 12]
    for limits in (
        {"candidates": [2, 5, 7, 10]},
        {"exclude": others},
        {"allowed_items": weights == 0},
        {"item_log_weights": as_sparse(weights)},
        {"item_log_weights": as_sparse(torch.zeros(2, 12)), "exclude": [others, others]},
        {"item_log_weights": torch.zeros(2, 12), "candidates": [1, 2, 5, 7, 10], "exclude": [1]},
    ):
        found = model.recommend(**inputs, k=3, num_beams=4, **limits)
        assert torch.equal(found.items, expected.items)
        assert torch.equal(found.scores, expected.scores)


def test_the_given_weights_are_left_as_they_are(world):
    model, inputs, _ = world
    weights = torch.zeros(2, 12)
    model.recommend(**inputs, k=3, item_log_weights=weights, exclude=[1])
    assert (weights == 0).all()


@pytest.mark.parametrize("limits", [{"candidates": [[2, 9, 4], None]}, {"exclude": [[1], [2, 9]]}], ids=str)
def test_a_large_catalogue_s_lists_are_weights_of_the_items_they_name(monkeypatch, limits):
    expected = weigh_items(12, 2, **limits)
    monkeypatch.setattr(item_log_weights, "DENSE_ITEMS", 11)
    listed = weigh_items(12, 2, **limits)
    assert isinstance(listed, SparseItemLogWeights)
    assert listed.items.shape[1] <= 3
    assert torch.equal(listed.to_dense(12), expected)
    assert torch.equal(count_allowed(listed, 12), count_allowed(expected, 12))


def test_limits_hold_beside_listed_weights():
    weights = SparseItemLogWeights(torch.tensor([[3, 5, 0]]), torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([0.5]))
    limited = weigh_items(6, 1, candidates=[2, 3, 5, 6], exclude=[5, 1], item_log_weights=weights)
    assert limited.to_dense(6).tolist() == [[-INF, 0.5, 1.0, -INF, -INF, 0.5]]


# -- a generative model's two loops -----------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["", "constrained_softmax"])
def generative(tmp_path, request):
    model, processor = build("emb", "bert", tmp_path, semantic_ids=IDS, constrained_softmax=request.param)
    weights = torch.randn(2, 30, generator=torch.Generator().manual_seed(2)) * 3
    weights[0, :9] = -INF
    return model, processor(history=[[1, 2], [30]], preference=["search for red tea", None]), weights


@pytest.mark.parametrize("in_lists", [False, True], ids=["dense", "sparse"])
def test_the_generic_loop_finds_the_same_beams_with_the_same_scores(generative, in_lists):
    model, inputs, weights = generative
    asked = {"num_beams": 8, "num_return_sequences": 8, "return_dict_in_generate": True}
    asked["item_log_weights"] = as_sparse(weights) if in_lists else weights
    own = model.generate(**inputs, **asked)
    generic = model.generate(**inputs, **asked, logits_processor=[lambda _, scores: scores], output_scores=True)
    assert own.sequences.tolist() == generic.sequences.tolist()
    torch.testing.assert_close(own.sequences_scores, generic.sequences_scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("in_lists", [False, True], ids=["dense", "sparse"])
def test_sampling_and_greedy_search_follow_the_weights(generative, in_lists):
    model, inputs, _ = generative
    weights = torch.full((2, 30), -30.0)
    weights[0, 4] = weights[1, 21] = 30.0
    weights = as_sparse(weights) if in_lists else weights
    expected = [
        [0, *(1 + code + 5 * level for level, code in enumerate(IDS.codes[item].tolist()))] for item in (4, 21)
    ]
    greedy = model.generate(**inputs, item_log_weights=weights, num_beams=1)
    sampled = model.generate(**inputs, item_log_weights=weights, num_beams=1, do_sample=True, num_return_sequences=3)
    assert greedy.tolist() == expected
    assert sampled.tolist() == [sequence for sequence in expected for _ in range(3)]


def test_an_improbable_item_with_a_large_weight_is_found_by_two_beams(generative):
    """Rescoring what the search found cannot bring it back."""
    model, inputs, _ = generative
    least = model.recommend(**inputs, k=30, num_beams=30).items[:, -1:]
    weights = torch.zeros(2, 30).scatter(1, least - 1, 25.0)
    assert model.recommend(**inputs, k=1, num_beams=2, item_log_weights=weights).items.tolist() == least.tolist()


# -- what no request can mean -----------------------------------------------------------------------------------------


def listed(items=((1, 2), (3, 0)), log_weights=((0.0, 1.0), (1.0, 0.0)), rest=(0.0, 0.0)):
    return SparseItemLogWeights(torch.tensor(items), torch.tensor(log_weights), torch.tensor(rest))


def with_value(value, dtype=torch.float):
    weights = torch.zeros(2, 12, dtype=dtype)
    weights[1, 4] = value
    return weights


@pytest.mark.parametrize("case", FEW, ids="-".join)
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.zeros(2, 11), r"float tensor of shape \(2, 12\)"),
        (torch.zeros(12), r"float tensor of shape \(2, 12\)"),
        (torch.zeros(2, 12, dtype=torch.long), "must be a float tensor .* not torch.int64"),
        (torch.ones(2, 12, dtype=torch.bool), "must be a float tensor .* not torch.bool"),
        ([[0.0] * 12] * 2, "must be a float tensor"),
        (with_value(float("nan")), "of request 1 is nan for item 5"),
        (with_value(INF), "of request 1 is inf for item 5"),
        (with_value(1e300, torch.double), "of request 1 is inf for item 5"),
        (torch.full((2, 12), -INF), "request 0 allows 0 items and 2 results"),
        (listed(items=((1, 2), (3, 13))), "contains 13, which is no item"),
        (listed(items=((1, -2), (3, 0))), "contains -2, which is no item"),
        (listed(items=((1, 2), (3, 3))), "lists item 3 of request 1 twice"),
        (listed(items=((1.0, 2.0), (3.0, 0.0))), "items must be an int tensor"),
        (listed(items=((1, 2, 3), (3, 0, 0))), "log_weights must be a float tensor"),
        (listed(rest=(0.0,)), "rest must be a float tensor"),
        (listed(rest=(0.0, float("nan"))), "rest of request 1 is nan"),
        (listed(log_weights=((0.0, INF), (1.0, 0.0))), "log_weights of request 0 is inf for item 2"),
        (listed(log_weights=((0.0, -INF), (1.0, 0.0)), rest=(-INF, 0.0)), "request 0 allows 1 item and 2 results"),
    ],
)
def test_weights_that_mean_nothing_are_refused_with_the_way_out(tmp_path, case, weights, message):
    model, inputs, _ = ask(*case, tmp_path)
    with pytest.raises(ValueError, match=message):
        model.recommend(**inputs, k=2, item_log_weights=weights)
    if isinstance(model, GenerativeRetriever):
        with pytest.raises(ValueError, match=message):
            model.generate(**inputs, num_beams=2, num_return_sequences=2, item_log_weights=weights)


def test_a_mask_beside_listed_weights_is_refused():
    with pytest.raises(ValueError, match="give candidates or exclude"):
        weigh_items(12, 2, allowed_items=torch.ones(2, 12, dtype=torch.bool), item_log_weights=listed())


# -- requests in plain values -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_tiny("mender_emb", tmp_path_factory.mktemp("emb"))


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("preference-recommendation", model=str(folder), device="cpu")


def test_a_request_s_weights_are_added_to_the_scores_of_its_items_alone(pipe):
    plain = {item["item_id"]: item["score"] for item in pipe({"history": [1, 5]}, k=12, num_beams=12)}
    numbers = [0.0] * 12
    numbers[6], numbers[2] = 4.0, -1.5
    requests = [{"history": [1, 5], "item_log_weights": weights} for weights in ({7: 4, "3": -1.5}, numbers, None)]
    for batch_size in (1, 3):
        *weighted, unsaid = pipe(requests, k=12, num_beams=12, batch_size=batch_size)
        for answer in weighted:
            scores = {item["item_id"]: item["score"] for item in answer}
            expected = {item: score + numbers[item - 1] for item, score in plain.items()}
            assert scores == pytest.approx(expected, abs=1e-5)
        assert {item["item_id"]: item["score"] for item in unsaid} == pytest.approx(plain, abs=1e-5)


def test_a_call_s_weights_are_for_the_requests_that_say_none(pipe):
    own, others = pipe(
        [{"history": [1], "item_log_weights": {3: 50.0}}, {"history": [1]}], k=1, item_log_weights={8: 50.0}
    )
    assert [own[0]["item_id"], others[0]["item_id"]] == [3, 8]


def test_an_endpoint_takes_weights_in_json(folder):
    handler = EndpointHandler(str(folder))
    body = {"inputs": {"history": [1], "item_log_weights": {"9": 50}, "exclude": [2]}, "parameters": {"k": 1}}
    assert handler(json.loads(json.dumps(body)))[0]["item_id"] == 9


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({13: 1.0}, r"contains 13, which is no item of this catalog \(ids 1..12\)"),
        ({"soap": 1.0}, "contains 'soap', which is no item"),
        ({3: "much"}, "item_log_weights for item 3 is 'much', which is not a number"),
        ({3: True}, "for item 3 is True, which is not a number"),
        ({3: 1.0, "3": 2.0}, "names item 3 twice"),
        ({3: float("nan")}, "for item 3 is nan, which is no finite number"),
        ([0.0] * 11, "a list of 12 numbers, one per item, not 11 numbers"),
        ("much", "must map item ids to numbers"),
        (3.0, "must map item ids to numbers"),
    ],
)
def test_a_request_s_weights_that_mean_nothing_are_refused_with_the_way_out(pipe, weights, message):
    with pytest.raises(ValueError, match=message):
        pipe({"history": [1], "item_log_weights": weights})


def test_mappings_of_a_large_catalogue_stay_lists(monkeypatch):
    requests = [{3: 1.5, "1": -INF}, None, {}]
    expected = read_log_weights(requests, 5)
    monkeypatch.setattr(item_log_weights, "DENSE_ITEMS", 4)
    weights = read_log_weights(requests, 5)
    assert isinstance(weights, SparseItemLogWeights)
    assert torch.equal(weights.to_dense(5), expected)
    assert read_log_weights([None, None], 5) is None


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_weights_through_the_pipeline(tmp_path, name):
    pipe = pipeline(
        "preference-recommendation", model=str(train_tiny(name, tmp_path, "t5-with-decoder")), device="cpu"
    )
    request = {"history": [1, 5], "item_log_weights": {11: 60.0}}
    if METHODS[name].reads_user:
        request["user"] = "ada"
    assert pipe(request, k=1)[0]["item_id"] == 11


# -- the benchmark ----------------------------------------------------------------------------------------------------


def test_the_benchmark_prints_costs_and_that_weights_inside_the_search_find_more(capsys):
    words = "--num_items 300 --num_large_items 2000 --num_listed 50 --batch_size 2 --num_beams 5 --repeats 1 --k 3"
    assert benchmark_item_log_weights.main(words.split()) == 0
    printed = capsys.readouterr().out
    for line in ("dense fold", "sparse, a step", "found inside", "found after"):
        assert line in printed
