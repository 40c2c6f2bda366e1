"""Order of training rows: batches of similar lengths, to save padding, themselves shuffled."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

BATCHES_PER_POOL = 20


class LengthGroupedBatches(Sampler[int]):
    """Samples rows in random order, in batches of similar lengths that are shuffled too.

    Rows are shuffled, cut into pools of 20 batches and sorted inside each pool. The batches are then shuffled:
    `LengthGroupedSampler` of transformers leaves them in falling order of length, so that long and short rows
    alternate in waves.

    Args:
        lengths (`Sequence[int]`): Length of each row.
        batch_size (`int`): Rows of an optimizer step over all processes, so that the order does not depend on how they
            are divided.
        generator (`torch.Generator`): Source of both shuffles; the caller seeds it before each pass.

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
        num_full = len(order) // self.batch_size  # an incomplete batch stays last, or it would shift all others
        for batch in torch.randperm(num_full, generator=self.generator).tolist():
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size]
        yield from order[num_full * self.batch_size :]
