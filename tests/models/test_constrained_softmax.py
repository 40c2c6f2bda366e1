"""The whole probability on the catalog: in training, in the own search and in the generic loop alike."""

import pytest
import torch
from tiny_models import IDS, TITLES, build

from modeling_mender.data.collators import EmbeddingCollator
from modeling_mender.data.requests import Example, Request
from modeling_mender.training.objectives import Objective
from modeling_mender.trie import Trie

TEXTS = [f"search for {title}" for title in TITLES]


@pytest.fixture(params=[("emb", {}), ("emb", {"num_encoder_layers": 1}), ("tok", {})], ids=["emb", "causal", "tok"])
def world(tmp_path, request):
    variant, config = request.param
    model, processor = build(variant, "bert", tmp_path, semantic_ids=IDS, constrained_softmax=True, **config)
    return model, processor(history=[[1, 2], [30]], preference=["search for red tea", None])


def test_the_allowed_codes_are_those_that_some_item_has_there():
    codes = IDS.codes
    allowed = Trie(codes).allowed_codes(codes, 5)
    for row in range(30):
        for level in range(3):
            same_prefix = (codes[:, :level] == codes[row, :level]).all(-1)
            assert allowed[row, level].nonzero().flatten().tolist() == sorted(set(codes[same_prefix, level].tolist()))


def test_nothing_is_allowed_after_a_prefix_that_no_item_has():
    allowed = Trie(torch.tensor([[0, 1], [2, 2]])).allowed_codes(torch.tensor([[1, 1]]), 3)
    assert allowed.int().tolist() == [[[1, 0, 1], [0, 0, 0]]]


def test_the_probabilities_of_all_items_sum_to_one(world):
    model, inputs = world
    found = model.recommend(**inputs, k=30, num_beams=30)
    torch.testing.assert_close(found.scores.exp().sum(-1), torch.ones(2), atol=1e-5, rtol=0)


def test_a_score_is_what_training_computes(world):
    model, inputs = world
    found = model.recommend(**inputs, k=30, num_beams=30)
    for rank in (0, 7, 29):
        items = found.items[:, rank]
        logits = model(**inputs, labels=model.item_labels(items)).logits
        log_probs = logits.log_softmax(-1).gather(-1, model.item_labels(items).unsqueeze(-1)).sum((-1, -2))
        torch.testing.assert_close(found.scores[:, rank], log_probs, atol=1e-4, rtol=0)


def test_the_generic_loop_finds_the_same_beams_with_the_same_scores(world):
    model, inputs = world
    settings = {"num_beams": 8, "num_return_sequences": 8, "return_dict_in_generate": True}
    own = model.generate(**inputs, **settings)
    generic = model.generate(**inputs, **settings, logits_processor=[lambda _, scores: scores], output_scores=True)
    assert own.sequences.tolist() == generic.sequences.tolist()
    torch.testing.assert_close(own.sequences_scores, generic.sequences_scores, atol=1e-5, rtol=0)


def test_leaving_items_out_does_not_change_the_scores_of_the_others(world):
    model, inputs = world
    every = model.recommend(**inputs, k=30, num_beams=30)
    allowed = torch.ones(2, 30, dtype=torch.bool)
    allowed[:, every.items[0, 0] - 1] = False
    some = model.recommend(**inputs, k=29, num_beams=30, allowed_items=allowed)
    assert some.items[0].tolist() == every.items[0, 1:].tolist()
    torch.testing.assert_close(some.scores[0], every.scores[0, 1:], atol=1e-5, rtol=0)


def test_smoothing_spreads_over_what_is_allowed_and_padding_is_no_nan(tmp_path):
    model, processor = build("emb", "bert", tmp_path, semantic_ids=IDS, constrained_softmax=True, num_encoder_layers=1)
    collator = EmbeddingCollator(processor, model, TEXTS)
    examples = [Example(Request((1, 2), ()), 3), Example(Request((1,), ()), 2), Example(Request((9,), ()), 4, True)]
    batch = collator.training_batch([[examples[1], examples[0]], [examples[2]]])  # the second row has padding
    negatives = batch.pop("negatives")
    loss = Objective(label_smoothing=0.1)(model.train()(**batch), batch["labels"], negatives)
    loss.backward()
    assert 0 < loss.item() < 20  # a logit that is not allowed would add 1e8
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


def test_a_trained_and_saved_model_keeps_its_softmax(world, tmp_path):
    model, inputs = world
    model.save_pretrained(tmp_path / "saved")
    loaded = type(model).from_pretrained(tmp_path / "saved")
    assert loaded.config.constrained_softmax
    found = loaded.recommend(**inputs, k=5)
    assert torch.equal(found.scores, model.recommend(**inputs, k=5).scores)
