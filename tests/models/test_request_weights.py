"""Weights of Mender_Steer's terms: what describes a request, what a strength does to them, and their fit."""

import math

import numpy as np
import pytest
import torch
from tiny_models import ITEMS, TITLES, build

from modeling_mender import TransitionGraph
from modeling_mender.data.requests import Request
from modeling_mender.methods.request_weights_fit import Asked, fit_request_weights
from modeling_mender.methods.steer import SteerCollator, catalogue_requests
from modeling_mender.request_weights import (
    COMPONENTS,
    FEATURES,
    PLAIN_FEATURES,
    RequestWeights,
    request_features,
    wanted_shares,
    weigh_requests,
)


@pytest.fixture
def weights():
    """Another weight for every request."""
    made = RequestWeights()
    made.table.copy_(torch.randn(made.table.shape, generator=torch.Generator().manual_seed(0)))
    return made


ALIKE = {"nearest": 0.25, "bought": 0.75, "known": 0.5, "num_matches": 4}  # of every text


def features(strengths, length=3, **texts):
    """Features of one request."""
    strengths = torch.tensor([strengths]).view(1, -1)
    texts = {name: torch.tensor(value).expand_as(strengths) for name, value in (ALIKE | texts).items()}
    return request_features(torch.tensor([length]), strengths, **texts)


def named(row):
    return dict(zip(FEATURES, row[0].tolist(), strict=True))


# -- what describes a request -----------------------------------------------------------------------------------------


def test_features_of_a_request_are_those_of_what_it_wants():
    found = named(features([1.0, 3.0]))
    assert found["constant"] == found["has_preference"] == 1
    assert found["history_length"] == found["history_length_with_preference"] == pytest.approx(math.log(4) / 3)
    assert found["num_preferences"] == pytest.approx(math.log(4 / 3) / math.log(5))  # one, and a third of another
    assert named(features([3.0, 3.0]))["num_preferences"] == pytest.approx(math.log(2) / math.log(5))
    assert found["departure"] == pytest.approx(0.75)
    assert found["bought_words"] == pytest.approx(0.75)
    assert found["known_words"] == pytest.approx(0.5)
    assert found["matches"] == pytest.approx(math.log(5) / 5)
    two = named(features([1.0, 3.0], nearest=[[0.0, 1.0]]))
    assert two["departure"] == pytest.approx(0.25)  # of the stronger one there is no departure


@pytest.mark.parametrize("strengths", [[], [0.0], [-1.0], [-2.0, 0.0, -0.5]])
def test_what_is_avoided_or_of_strength_0_describes_nothing(strengths):
    assert torch.equal(features(strengths), features([]))
    assert torch.equal(features([1.0, *strengths])[:, :PLAIN_FEATURES], features([])[:, :PLAIN_FEATURES])
    torch.testing.assert_close(features([1.0, *strengths]), features([1.0]))


def test_each_preference_counts_its_strength_over_their_number_to_which_weak_ones_add_little():
    strengths = torch.tensor([[2.0, 2.0, -1.0, 0.0], [1.0, 0.25, 0, 0], [3.0, 0.0, 0.0, 0.0], [0.0, -2.0, 0.0, 0.0]])
    shares = [[1, 1, 0, 0], [0.8, 0.2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(wanted_shares(strengths), torch.tensor(shares))


# -- what a strength does ---------------------------------------------------------------------------------------------


def test_at_strength_0_weights_are_those_without_a_preference_bit_for_bit(weights):
    without = weights(features([]), torch.zeros(1))
    assert torch.equal(weights(features([1.0]), torch.zeros(1)), without)
    assert not torch.allclose(weights(features([1.0]), torch.ones(1)), without, atol=0.1)


def test_weights_go_straight_from_those_without_a_preference_to_those_of_strength_1_and_stay(weights):
    asked = features([1.0])
    plain, full = (weights(asked, torch.tensor([strength])) for strength in (0.0, 1.0))
    torch.testing.assert_close(weights(asked, torch.tensor([0.25])), 0.75 * plain + 0.25 * full)
    assert torch.equal(weights(asked, torch.tensor([7.0])), full)
    nearly = weights(features([1e-6]), torch.tensor([1e-6]))
    torch.testing.assert_close(nearly, weights(features([]), torch.zeros(1)), atol=1e-4, rtol=0)  # nothing jumps


def test_every_weight_is_above_0(weights):
    for strength in (0.0, 0.5, 1.0):
        assert (weights(features([1.0]), torch.tensor([strength])) > 0).all()


def test_an_unfitted_model_weighs_every_request_alike():
    made = RequestWeights()
    found = [made(features([1.0], length), torch.ones(1)) for length in (0, 5)]
    assert torch.equal(*found)
    assert found[0].shape == (1, len(COMPONENTS))
    made.table.add_(1)
    made.reset()
    assert torch.equal(made(features([1.0]), torch.ones(1)), found[0])


# -- the fit ----------------------------------------------------------------------------------------------------------

TEXTS = [f"search for {title}" for title in TITLES]


@pytest.fixture
def world(tmp_path):
    """A model whose graph knows that item i + 1 follows item i."""
    model, processor = build("steer", "bert", tmp_path)
    successors = [(item, item % 12 + 1) for item in range(1, 13)]
    model.set_graph(TransitionGraph.from_sequences(successors * 5, 12))
    return model, processor, SteerCollator(processor, model, TEXTS)


# after one item what followed it is right, whatever is asked for; after five what is asked for
FOLLOWS = Asked(
    "follows",
    [Request((item,), (TEXTS[(item + 5) % 12],)) for item in range(1, 13)],
    [[item % 12 + 1] for item in range(1, 13)],
)
LONG = Asked(
    "long",
    [Request((1, 2, 3, 4, item), (TEXTS[(item + 5) % 12],)) for item in range(1, 13)],
    [[(item + 5) % 12 + 1] for item in range(1, 13)],
)
WANTED = Asked("wanted", [Request((), (text,)) for text in TEXTS], [[item] for item in range(1, 13)])
PLAIN = Asked("plain", [Request((item,), ()) for item in range(1, 13)], [[item % 12 + 1] for item in range(1, 13)])


def mean_gain(model, collator, kind):
    """NDCG of the right items among all, by what the model recommends."""
    found = model.recommend(**collator(kind.requests), k=12)
    right = torch.tensor(kind.targets)
    ranks = 1 + (found.items == right).float().argmax(1)
    return float((1 / torch.log2(1 + ranks)).mean())


def test_the_fit_finds_what_helps_which_requests(world):
    model, _, collator = world
    kinds = [FOLLOWS, LONG, PLAIN]
    before = [mean_gain(model, collator, kind) for kind in kinds]
    smooth = fit_request_weights(model, collator, kinds)
    after = [mean_gain(model, collator, kind) for kind in kinds]
    assert before[0] < 0.7  # the words of what is asked for outweigh the graph
    assert min(after) > 0.9
    assert smooth.keys() == {"follows", "long", "plain"}
    assert all(0 < value <= 1 for value in smooth.values())
    found = model.components(**collator([FOLLOWS.requests[0], LONG.requests[0]]))
    short, long = model.request_weights(found["features"], torch.ones(2))
    graph, words = COMPONENTS.index("graph"), COMPONENTS.index("all_words")
    assert short[graph] / short[words] > 2 * long[graph] / long[words]


def test_the_smooth_gain_of_the_fit_is_above_that_of_the_weights_it_started_from(world):
    model, _, collator = world
    kinds = [FOLLOWS, LONG]
    fitted = fit_request_weights(model, collator, kinds)
    start = unfitted_gains(world, kinds)
    assert sum(fitted.values()) > sum(start.values()) + 0.1


def unfitted_gains(world, kinds):
    """What the fit reports where it may not take a step."""
    model, _, collator = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeling_mender.methods.request_weights_fit.NUM_STEPS", 1)
        return fit_request_weights(model, collator, kinds)


def test_the_fit_starts_from_the_formula_and_not_from_the_last_fit(world):
    model, _, collator = world
    first = fit_request_weights(model, collator, [WANTED])
    table = model.request_weights.table.clone()
    model.request_weights.table.mul_(3)
    assert fit_request_weights(model, collator, [WANTED]) == first
    assert torch.equal(model.request_weights.table, table)


def test_the_fit_leaves_the_rest_of_the_model_and_its_mode_alone(world):
    model, _, collator = world
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "request_weights" not in name}
    fit_request_weights(model, collator, [WANTED])
    assert model.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_requests_without_a_preference_keep_their_weights_where_none_is_fitted_for_them(world):
    model, _, collator = world
    plain = features([])
    before = model.request_weights(plain, torch.zeros(1))
    fit_request_weights(model, collator, [WANTED])
    torch.testing.assert_close(model.request_weights(plain, torch.zeros(1)), before)
    assert weigh_requests(model.request_weights.table, features([1.0]), torch.ones(1)).shape == (1, len(COMPONENTS))


def test_requests_of_the_catalogue_ask_for_items_by_their_words(world):
    _, processor, _ = world
    requests, targets = catalogue_requests(processor, [(1, 2)], 40, np.random.default_rng(0))
    assert len(requests) == len(targets) == 40
    assert {request.history for request in requests} == {(), (1, 2)}
    for request, items in zip(requests, targets, strict=True):
        words = set(request.preferences[0].split())
        texts = [set(item["text"].lower().replace(":", "").split()) for item in ITEMS]
        assert items == [number for number, text in enumerate(texts, 1) if words <= text]


def test_the_fit_leaves_the_random_state_of_training_as_it_was(world):
    model, _, collator = world
    before = torch.get_rng_state()
    fit_request_weights(model, collator, [PLAIN, Asked("many", [Request((), (TEXTS[0],))] * 2, [[1, 2], [3]])])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_component_that_is_left_out_weighs_nothing_for_any_request(world):
    model, _, collator = world
    fit_request_weights(model, collator, [FOLLOWS, PLAIN], without=("graph",))
    for kind in (FOLLOWS, PLAIN):
        asked = model.components(**collator(kind.requests))
        strength = asked["strengths"].amax(1) if asked["strengths"].shape[1] else torch.zeros(12)
        weights = model.request_weights(asked["features"], strength)
        assert float(weights[:, COMPONENTS.index("graph")].max()) < 1e-15
        assert float(weights[:, COMPONENTS.index("history")].min()) > 0
