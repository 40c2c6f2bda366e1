"""Parts of the catalog at inference: `candidates` and `exclude` of `recommend`, for every method.

The referee is the whole ranking, filtered afterwards.
"""

import pytest
import torch
from tiny_models import ASKED, CASES, random_codes
from tiny_models import tiny_method as build

from modeling_mender import MenderTok, MenderTokConfig, SemanticIds
from modeling_mender.item_log_weights import weigh_items

OTHERS = ASKED._replace(history=(2, 7))


FEW = [("mender_tok", "bert"), ("sasrec", "bert")]  # a generative one, and one that scores every item


@pytest.fixture(params=CASES, ids="-".join)
def world(request, tmp_path):
    return ask(*request.param, tmp_path)


def ask(name, family, folder):
    """A tiny model, the inputs of two requests, and its ranking of everything for both."""
    method, model, _, collator = build(name, family, folder)
    inputs = collator([method.restrict(ASKED), method.restrict(OTHERS)])
    everything = model.recommend(**inputs, k=12, num_beams=12)
    return model, inputs, everything


def filtered(everything, row, keep):
    """Items and scores of one request, those of `keep` alone."""
    pairs = zip(everything.items[row].tolist(), everything.scores[row].tolist(), strict=True)
    return [(item, score) for item, score in pairs if item in keep]


def same(found, row, expected):
    assert found.items[row].tolist() == [item for item, _ in expected]
    assert found.scores[row].tolist() == pytest.approx([score for _, score in expected], abs=1e-5)


def test_candidates_are_ranked_as_in_the_whole_catalogue_and_nothing_else_comes_back(world):
    model, inputs, everything = world
    found = model.recommend(**inputs, k=4, candidates=[3, 8, 10, 12])
    for row in range(2):
        same(found, row, filtered(everything, row, {3, 8, 10, 12}))


def test_every_request_may_have_candidates_of_its_own(world):
    model, inputs, everything = world
    found = model.recommend(**inputs, k=2, candidates=[[4, 11], torch.tensor([1, 5, 6])])
    same(found, 0, filtered(everything, 0, {4, 11})[:2])
    same(found, 1, filtered(everything, 1, {1, 5, 6})[:2])


def test_what_was_bought_already_does_not_come_back(world):
    model, inputs, everything = world
    found = model.recommend(**inputs, k=9, num_beams=12, exclude=[[1, 5, 9], []])
    same(found, 0, filtered(everything, 0, set(range(1, 13)) - {1, 5, 9}))
    same(found, 1, filtered(everything, 1, set(range(1, 13)))[:9])


def test_candidates_exclusions_and_a_mask_restrict_together(world):
    model, inputs, everything = world
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[:, 3] = False  # item 4
    found = model.recommend(**inputs, k=2, candidates=[2, 3, 4, 5], exclude=[5], allowed_items=mask)
    for row in range(2):
        same(found, row, filtered(everything, row, {2, 3}))


@pytest.mark.parametrize("case", FEW, ids="-".join)
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"candidates": [3]}, "allows 1 item and 2 results"),
        ({"candidates": []}, "allows 0 items and 2 results"),
        ({"exclude": list(range(1, 12))}, "allows 1 item and 2 results"),
        ({"candidates": [0, 3]}, "candidates contains 0, which is no item of this catalog"),
        ({"exclude": [13]}, r"exclude contains 13, which is no item of this catalog \(ids 1..12\)"),
        ({"exclude": ["soap"]}, "exclude contains 'soap', which is no item"),
        ({"exclude": [[1], ["soap"]]}, "exclude of request 1 contains 'soap', which is no item"),
        ({"exclude": [[1], 2]}, "mixes item ids and lists"),
        ({"candidates": [[1, 2], [3, 4], [5, 6]]}, "has 3 lists and there are 2 requests"),
        ({"candidates": "soap"}, "candidates must be item ids"),
        ({"exclude": [True, 2]}, "exclude contains True"),
    ],
)
def test_what_no_request_can_mean_is_refused_with_the_way_out(tmp_path, case, limits, message):
    model, inputs, _ = ask(*case, tmp_path)
    with pytest.raises(ValueError, match=message):
        model.recommend(**inputs, k=2, **limits)


def test_few_candidates_are_ranked_exactly_where_few_beams_are_not():
    """Two hundred items, of which eight may come back: with as few beams as results, some of the best are lost."""
    torch.manual_seed(0)
    config = MenderTokConfig(
        num_items=200,
        num_levels=3,
        codebook_size=8,
        d_model=16,
        d_ff=16,
        d_kv=8,
        num_heads=2,
        num_decoder_layers=1,
        text_config={
            "model_type": "t5",
            "vocab_size": 16,
            "d_model": 8,
            "d_ff": 8,
            "d_kv": 4,
            "num_layers": 1,
            "num_heads": 1,
        },
    )
    model = MenderTok(config).eval()
    model.set_item_semantic_ids(SemanticIds(random_codes(200, 3, 8, seed=0), codebook_size=8))
    inputs = {"input_ids": torch.randint(1, 16, (16, 6)), "attention_mask": torch.ones(16, 6, dtype=torch.long)}
    candidates = [(torch.randperm(200)[:8] + 1).tolist() for _ in range(16)]
    everything = model.recommend(**inputs, k=200, num_beams=200)
    expected = [
        [item for item in row if item in allowed][:4]
        for row, allowed in zip(everything.items.tolist(), candidates, strict=True)
    ]
    assert model.recommend(**inputs, k=4, candidates=candidates).items.tolist() == expected
    assert model.recommend(**inputs, k=4, num_beams=4, candidates=candidates).items.tolist() != expected


def test_nothing_said_is_no_mask_at_all():
    assert weigh_items(5, 2) is None


def test_an_empty_list_excludes_nothing():
    assert (weigh_items(3, 2, exclude=[]) == 0).all()


def test_a_request_of_several_may_have_no_candidates_of_its_own():
    assert weigh_items(3, 2, candidates=[None, [2]]).tolist() == [[0.0, 0.0, 0.0], [-torch.inf, 0.0, -torch.inf]]
