"""What is minimised, held against slow twins: smoothing, refusals, and that a bounded loss is bounded."""

import math

import pytest
import torch
from transformers.modeling_outputs import Seq2SeqLMOutput

from modeling_mender.training.objectives import IGNORED, Objective


def outputs(logits, loss=None):
    return Seq2SeqLMOutput(loss=loss, logits=logits)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(3, 2, 5), torch.tensor([[1, 4], [2, 3], [0, 1]])


def probability(logits, labels, row):
    probs = logits.softmax(-1)
    return math.prod(probs[row, level, labels[row, level]].item() for level in range(labels.shape[1]))


def test_without_negatives_and_smoothing_the_models_own_loss_is_taken(batch):
    logits, labels = batch
    assert Objective()(outputs(logits, loss=torch.tensor(7.0)), labels).item() == 7.0
    assert Objective(label_smoothing=0.1)(outputs(None, loss=torch.tensor(7.0)), labels).item() == 7.0


def test_a_negative_example_adds_the_weighted_unlikelihood_of_its_whole_id(batch):
    logits, labels = batch
    negatives = torch.tensor([False, True, False])
    found = Objective(negative_weight=0.5, negative_loss="unlikelihood")(outputs(logits), labels, negatives).item()
    positive = [-math.log(probability(logits, labels, row)) / 2 for row in (0, 2)]
    expected = (sum(positive) - 0.5 * math.log(1 - probability(logits, labels, 1))) / 3
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_plain_form_subtracts_the_cross_entropy(batch):
    logits, labels = batch
    found = Objective(negative_weight=1.0, negative_loss="plain")(
        outputs(logits), labels, torch.tensor([True, True, True])
    ).item()
    assert found == pytest.approx(
        sum(math.log(probability(logits, labels, row)) / 2 for row in range(3)) / 3, abs=1e-5
    )


def test_by_level_every_code_is_made_unlikely(batch):
    logits, labels = batch
    probs = logits.softmax(-1)
    found = Objective(negative_weight=1.0, negative_loss="level_unlikelihood")(
        outputs(logits), labels, torch.ones(3).bool()
    ).item()
    expected = [-math.log(1 - probs[row, level, labels[row, level]].item()) for row in range(3) for level in range(2)]
    assert found == pytest.approx(sum(expected) / 6, abs=1e-5)


@pytest.mark.parametrize("negative_loss", ["unlikelihood", "level_unlikelihood"])
def test_the_bounded_forms_are_finite_and_at_least_zero_even_for_a_certain_item(negative_loss):
    labels, negatives = torch.tensor([[1, 1]]), torch.tensor([True])
    for size in (-50.0, 0.0, 50.0):
        logits = torch.zeros(1, 2, 3, requires_grad=True)
        scaled = logits + torch.tensor([0.0, size, 0.0])
        loss = Objective(negative_loss=negative_loss)(outputs(scaled), labels, negatives)
        loss.backward()
        assert loss.item() >= 0
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


def test_the_plain_form_has_no_bound():
    logits = torch.tensor([[[0.0, -500.0, 0.0]]])
    loss = Objective(negative_weight=1.0, negative_loss="plain")(
        outputs(logits), torch.tensor([[1]]), torch.tensor([True])
    )
    assert loss.item() < -400


def test_a_batch_of_negatives_alone_is_no_nan(batch):
    logits, labels = batch
    assert torch.isfinite(Objective()(outputs(logits), labels, torch.ones(3).bool()))


def test_padding_of_a_batch_of_sequences_counts_for_nothing(batch):
    logits, labels = batch
    wide = torch.cat([labels, torch.full((1, 2), IGNORED)]).view(2, 2, 2)
    padded = torch.cat([logits, torch.randn(1, 2, 5)]).view(2, 2 * 2, 5)
    negatives = torch.tensor([[False, True], [False, False]])
    found = Objective(label_smoothing=0.1)(outputs(padded), wide, negatives)
    expected = Objective(label_smoothing=0.1)(outputs(logits), labels, negatives.flatten()[:3])
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_label_smoothing_spares_negatives(batch):
    logits, labels = batch
    every = torch.ones(3).bool()
    assert Objective(label_smoothing=0.2)(outputs(logits), labels, every) == Objective()(
        outputs(logits), labels, every
    )
