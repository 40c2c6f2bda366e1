"""The order of training rows: batches of like lengths, so that padding is little, in an order of their own."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

BATCHES_PER_POOL = 20


class LengthGroupedBatches(Sampler[int]):
    """Rows in random order, of which those of one batch are of like lengths, and batches come in random order too.

    Rows are shuffled, cut into pools of 20 batches and sorted inside each pool. The batches are then shuffled: in
    falling order of length, as `LengthGroupedSampler` of transformers leaves them, an optimizer sees long rows and
    then short ones again and again.

    Args:
        lengths (`Sequence[int]`): Length of each row.
        batch_size (`int`): Rows of an optimizer step, over all processes: the order is then the same however they are
            divided.
        generator (`torch.Generator`): Of both shuffles; seeded by the caller before each pass.

    >>> lengths = [5, 1, 5, 1]
    >>> order = list(LengthGroupedBatches(lengths, 2, torch.Generator().manual_seed(0)))
    >>> [lengths[row] for row in order]
    [5, 5, 1, 1]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> None:
        self.lengths, self.batch_size, self.generator = lengths, batch_size, generator

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths), generator=self.generator).tolist()
        pool_size = BATCHES_PER_POOL * self.batch_size
        for start in range(0, len(order), pool_size):
            order[start : start + pool_size] = sorted(
                order[start : start + pool_size], key=lambda row: -self.lengths[row]
            )
        num_full = len(order) // self.batch_size  # the rest stays last, or it would shift every batch after it
        for batch in torch.randperm(num_full, generator=self.generator).tolist():
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size]
        yield from order[num_full * self.batch_size :]
