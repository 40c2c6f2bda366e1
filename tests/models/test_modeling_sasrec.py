"""SASRec on a toy catalog: what padding, prefixes and batches may not change, and what its losses are."""

import pytest
import torch
from torch.nn import functional

from modeling_mender.configuration_sasrec import SASRecConfig
from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.item_ids import ItemIdCollator, group_positions
from modeling_mender.modeling_sasrec import SASRec, draw_unseen

NUM_ITEMS = 12
SIZES = {"d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "max_history_length": 8, "initializer_range": 0.3}


def build(seed=0, **config):
    torch.manual_seed(seed)
    return SASRec(SASRecConfig(num_items=NUM_ITEMS, **(SIZES | config))).eval()


def example(history, target):
    return Example(Request(tuple(history), ()), target)


def prefixes(*sequences):
    """Every position of every sequence, in the order of the sequences."""
    return [example(one[:end], one[end]) for one in sequences for end in range(1, len(one))]


def batch_of(model, examples):
    collator = ItemIdCollator(None, model)
    return collator.training_batch([[examples[number] for number in row] for row in collator.group(examples)])


# -- requests ---------------------------------------------------------------------------------------------------------


def test_padding_on_either_side_changes_nothing():
    model = build()
    alone = model.recommend(history=torch.tensor([[3, 1, 7]]), k=NUM_ITEMS)
    for padded in ([0, 0, 3, 1, 7], [3, 1, 7, 0, 0], [0, 3, 1, 7, 0]):
        history = torch.tensor([padded, [1, 2, 3, 4, 5]])
        found = model.recommend(history=history, attention_mask=(history > 0).long(), k=NUM_ITEMS)
        assert found.items[0].tolist() == alone.items[0].tolist()
        torch.testing.assert_close(found.scores[0], alone.scores[0])


def test_what_stands_under_a_mask_is_not_read():
    model = build()
    mask = torch.tensor([[0, 0, 1, 1]])
    one = model.recommend(history=torch.tensor([[0, 0, 3, 1]]), attention_mask=mask)
    other = model.recommend(history=torch.tensor([[9, 8, 3, 1]]), attention_mask=mask)
    assert one.scores.equal(other.scores)


def test_a_request_alone_and_in_a_batch_get_the_same_answer():
    model = build()
    collator = ItemIdCollator(None, model)
    requests = [Request(history, ()) for history in ((1,), (2, 3, 4), (12, 1, 5, 5, 9, 2), tuple(range(1, 13)))]
    together = model.recommend(**collator(requests), k=5)
    for row, request in enumerate(requests):
        alone = model.recommend(**collator([request]), k=5)
        assert alone.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(alone.scores[0], together.scores[row])


def test_a_row_of_padding_alone_is_no_nan():
    model = build()
    history = torch.tensor([[0, 0], [1, 2]])
    output = model(history, labels=torch.tensor([[0, 0], [2, 3]]))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(model.item_embeddings.weight.grad).all()


def test_the_order_of_a_history_matters():
    model = build()
    one, other = (model.recommend(history=torch.tensor([history])) for history in ([1, 2, 3], [2, 1, 3]))
    assert not one.scores.allclose(other.scores)


def test_scores_are_the_log_probabilities_of_the_whole_catalogue():
    found = build().recommend(history=torch.tensor([[3, 1, 7]]), k=NUM_ITEMS)
    assert sorted(found.items[0].tolist()) == list(range(1, NUM_ITEMS + 1))
    assert found.scores.exp().sum().item() == pytest.approx(1, abs=1e-6)
    assert found.scores[0].tolist() == sorted(found.scores[0].tolist(), reverse=True)


def test_a_history_longer_than_the_positions_is_refused_and_the_collator_cuts_it():
    model = build(max_history_length=4)
    with pytest.raises(ValueError, match="has 5 items and this model reads 4"):
        model.recommend(history=torch.tensor([[1, 2, 3, 4, 5]]))
    batch = ItemIdCollator(None, model)([Request((1, 2, 3, 4, 5), ())])
    assert batch["history"].tolist() == [[2, 3, 4, 5]]


def test_an_empty_request_is_refused_by_its_number():
    with pytest.raises(ValueError, match="request 1 is empty"):
        build().recommend(history=torch.tensor([[1, 2], [0, 0]]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_heads": 3}, r"num_heads \(3\) must divide d_model \(16\)"),
        ({"loss": "bpr"}, "loss .'bpr'. must be one of cross_entropy, bce"),
        ({"num_layers": 0}, r"num_layers \(0\) must be at least 1"),
    ],
)
def test_an_impossible_configuration_is_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        build(**config)


# -- training ---------------------------------------------------------------------------------------------------------


def test_positions_of_one_sequence_share_a_row_and_no_position_is_lost():
    model = build()
    examples = prefixes((1, 2, 3, 4), (1, 2, 9), (5, 6))
    batch = batch_of(model, examples)
    assert batch["history"].tolist() == [[1, 2, 3], [0, 1, 2], [0, 0, 5]]
    assert batch["labels"].tolist() == [[2, 3, 4], [-100, 2, 9], [-100, -100, 6]]


def test_an_example_without_a_neighbour_keeps_a_row_of_its_own():
    examples = [((1, 2), 3), ((1, 2), 7), ((1,), 2), ((1,), 2), ((4, 1, 2), 3)]
    groups = group_positions(examples)
    assert sorted(number for group in groups for number in group) == list(range(len(examples)))
    for group in groups:
        sequences = [(*examples[number][0], examples[number][1]) for number in group]
        assert all(sequences[-1][: len(one)] == one for one in sequences)  # positions of the longest ...
        assert len({len(one) for one in sequences}) == len(group)  # ... and none of them twice


@pytest.mark.parametrize("max_history_length", [8, 3])
def test_all_positions_in_one_row_learn_what_one_row_per_prefix_learns(max_history_length):
    model = build(max_history_length=max_history_length)
    examples = prefixes((1, 2, 3, 4, 5), (1, 2, 9), (7, 7, 8), (1, 3))
    collator = ItemIdCollator(None, model)
    whole = collator.training_batch([[examples[i] for i in row] for row in collator.group(examples)])
    single = collator.training_batch([[one] for one in examples])
    assert len(whole["history"]) < len(single["history"]) == len(examples)
    losses, gradients = [], []
    for batch in (whole, single):
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.item_embeddings.weight.grad.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_the_cross_entropy_is_that_of_the_recommended_scores():
    model = build()
    examples = prefixes((1, 2, 3, 4), (6, 2))
    expected = []
    for one in examples:
        found = model.recommend(history=torch.tensor([one.request.history]), k=NUM_ITEMS)
        expected.append(-found.scores[0, found.items[0].tolist().index(one.target)].item())
    output = model(**batch_of(model, examples))
    assert output.logits is None  # the training loop then takes the model's own loss
    assert output.loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_the_binary_cross_entropy_is_that_of_the_target_and_the_one_item_left():
    model = build(loss="bce")
    history = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 9]])
    labels = torch.full_like(history, -100)
    labels[0, -1] = 10
    model.config.num_items = 10  # the row holds all of 1..10 but 8
    state, weights = model.encode(history, history > 0)[0, -1], model.item_embeddings.weight
    expected = -functional.logsigmoid(state @ weights[10]) - functional.logsigmoid(-state @ weights[8])
    assert model(history, labels=labels).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_negatives_are_uniform_over_the_items_that_a_row_does_not_hold():
    rows = torch.tensor([[5, 1, 5, 0, 0], [0, 0, 0, 0, 0], [1, 2, 3, 4, 6]])
    row_of_draw = torch.arange(3).repeat_interleave(6000)
    drawn = draw_unseen(rows, row_of_draw, 6, torch.Generator().manual_seed(0)).view(3, -1)
    for row, free in enumerate(({2, 3, 4, 6}, {1, 2, 3, 4, 5, 6}, {5})):
        counts = torch.bincount(drawn[row], minlength=7)
        assert {item for item in range(7) if counts[item]} == free
        assert counts[sorted(free)].min() > 0.85 * 6000 / len(free)


def test_a_row_that_holds_the_whole_catalogue_has_no_negative():
    assert draw_unseen(torch.tensor([[2, 1, 3]]), torch.tensor([0, 0]), 3).tolist() == [0, 0]


def test_negatives_repeat_with_torchs_own_random_state_as_dropout_does():
    model = build(loss="bce", dropout_rate=0.0).train()
    batch = batch_of(model, prefixes((1, 2, 3, 4), (6, 2)))
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(**batch).loss.item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_sixty_steps_teach_the_toy_sequences(loss):
    model = build(loss=loss, dropout_rate=0.0).train()
    sequences = [(1, 2, 3, 4, 5), (6, 7, 8, 9), (10, 11, 12)]
    examples = prefixes(*sequences)
    batch = batch_of(model, examples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.0)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    found = model.recommend(**ItemIdCollator(None, model)([one.request for one in examples]), k=1)
    if loss == "cross_entropy":
        assert found.items[:, 0].tolist() == [one.target for one in examples]
    else:  # a row's own items are never its negatives: it learns which sequence, not which place
        sequence_of = {item: number for number, sequence in enumerate(sequences) for item in sequence}
        for item, one in zip(found.items[:, 0].tolist(), examples, strict=True):
            assert sequence_of[item] == sequence_of[one.target]
    assert model.training  # recommend leaves the mode as it was


def test_a_negative_example_is_refused_rather_than_learned():
    model = build()
    row = [example((1, 2), 3)._replace(is_negative=True)]
    with pytest.raises(ValueError, match="mixture without them"):
        ItemIdCollator(None, model).training_batch([row])
