"""The order of rows: each once, batches of like lengths, batches in no order."""

import torch

from modeling_mender.training.sampling import LengthGroupedBatches

LENGTHS = torch.randint(1, 100, (1003,), generator=torch.Generator().manual_seed(1)).tolist()


def batches(seed, batch_size=10):
    order = list(LengthGroupedBatches(LENGTHS, batch_size, torch.Generator().manual_seed(seed)))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def test_every_row_comes_once_and_the_rest_comes_last():
    found = batches(0)
    assert sorted(row for batch in found for row in batch) == list(range(1003))
    assert [len(batch) for batch in found] == [10] * 100 + [3]


def test_rows_of_a_batch_are_of_like_lengths():
    spread = [max(LENGTHS[row] for row in batch) - min(LENGTHS[row] for row in batch) for batch in batches(0)]
    assert sum(spread) / len(spread) < 10  # of 99


def test_neighbouring_batches_are_not():
    means = torch.tensor([sum(LENGTHS[row] for row in batch) / len(batch) for batch in batches(0)[:-1]])
    assert (means.diff() < 0).float().mean() < 0.65  # falling order would be 0.95
    assert torch.corrcoef(torch.stack([means[1:], means[:-1]]))[0, 1].abs() < 0.3


def test_a_seed_gives_one_order_and_another_seed_another():
    assert batches(0) == batches(0)
    assert batches(0) != batches(1)
