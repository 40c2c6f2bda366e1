"""Semantic IDs: a bijection between the items of a catalog and tuples of codes, and their tokens."""

from collections.abc import Sequence
from pathlib import Path

import torch

from .configuration_semantic_ids import first_token, vocabulary_size


def codes_to_tokens(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Shifts the codes of each level into its block of the vocabulary.

    Args:
        codes (`torch.Tensor`): Shape `(..., num_levels)`, codes in `0..codebook_size - 1`.
        codebook_size (`int`): Codes per level.

    Returns:
        `torch.Tensor`: Shape `(..., num_levels)`, token ids.

    >>> codes_to_tokens(torch.tensor([[2, 0, 1]]), codebook_size=4).tolist()
    [[3, 5, 10]]
    """
    return codes + _first_tokens(codes, codebook_size)


def tokens_to_codes(tokens: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Inverse of [`codes_to_tokens`]; a token of another level becomes a code outside `0..codebook_size - 1`.

    >>> tokens_to_codes(torch.tensor([[3, 5, 10]]), codebook_size=4).tolist()
    [[2, 0, 1]]
    """
    return tokens - _first_tokens(tokens, codebook_size)


def _first_tokens(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Token of code 0 at each level of `codes (..., num_levels)`, shape `(num_levels,)`."""
    start, stop = (first_token(level, codebook_size) for level in (0, codes.shape[-1]))
    return torch.arange(start, stop, codebook_size, device=codes.device)


def codes_to_numbers(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Each row of int64 codes as one number, which sorts ten times as fast; several rows may share one beyond 64 bits.

    Args:
        codes (`torch.Tensor`): Shape `(num_items, num_levels)`, codes in `0..codebook_size - 1`.
        codebook_size (`int`): Codes per level.

    Returns:
        `torch.Tensor`: Shape `(num_items,)`, int64.

    >>> codes_to_numbers(torch.tensor([[2, 0, 1], [0, 3, 3]]), codebook_size=4).tolist()
    [33, 15]
    """
    numbers = codes.new_zeros(len(codes))
    for column in codes.unbind(1):
        numbers = numbers * codebook_size + column
    return numbers


def _all_differ(codes: torch.Tensor, codebook_size: int) -> bool:
    """Whether all rows of checked `codes (num_items, num_levels)` differ."""
    if codebook_size ** codes.shape[1] > torch.iinfo(torch.long).max:
        return len(codes.unique(dim=0)) == len(codes)
    numbers = codes_to_numbers(codes, codebook_size).sort().values
    return not bool((numbers[1:] == numbers[:-1]).any())


class SemanticIds:
    """Semantic IDs of a catalog; item `i` (1-based, as in the benchmark) is row `i - 1`.

    Args:
        codes (`torch.Tensor` or nested sequence): Shape `(num_items, num_levels)`, one distinct tuple per item; the
            last level is the collision level.
        codebook_size (`int`): Codes per level, the same for every level.

    Raises:
        ValueError: If `codes` is not a non-empty table of integers in `0..codebook_size - 1`, or two items share a
            tuple.

    >>> ids = SemanticIds([[0, 1, 0], [0, 1, 1], [3, 2, 0]], codebook_size=4)
    >>> ids.num_items, ids.num_levels, ids.vocabulary_size
    (3, 3, 13)
    """

    def __init__(self, codes: torch.Tensor | Sequence[Sequence[int]], codebook_size: int) -> None:
        codes = torch.as_tensor(codes)
        if codes.ndim != 2 or codes.numel() == 0 or codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(
                f"codes must be a non-empty integer table of shape (num_items, num_levels), not {codes.dtype} of "
                f"shape {tuple(codes.shape)}; pass the table that `mender learn-ids` wrote."
            )
        codes = codes.long()
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= codebook_size:
            raise ValueError(
                f"codes range from {low} to {high}, outside 0..{codebook_size - 1}; pass the codebook_size these "
                "codes were learned with."
            )
        if not _all_differ(codes, codebook_size):
            inverse = torch.unique(codes, dim=0, return_inverse=True)[1]
            first = next(i for i, count in enumerate(torch.bincount(inverse)[inverse].tolist()) if count > 1)
            second = next(i for i in range(first + 1, len(codes)) if inverse[i] == inverse[first])
            raise ValueError(
                f"items {first + 1} and {second + 1} share the semantic ID {codes[first].tolist()}; add the collision "
                "level (modeling_mender.quantization.assignment) before building SemanticIds."
            )
        self.codes = codes
        self.codebook_size = codebook_size

    @property
    def num_items(self) -> int:
        """Number of items of the catalog."""
        return self.codes.shape[0]

    @property
    def num_levels(self) -> int:
        """Codes per item, the collision level included."""
        return self.codes.shape[1]

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens of the decoder, the padding token included."""
        return vocabulary_size(self.num_levels, self.codebook_size)

    @classmethod
    def from_parquet(cls, path: str | Path, codebook_size: int | None = None) -> "SemanticIds":
        """Reads the `semantic_ids.parquet` of `mender learn-ids`.

        Args:
            path (`str` or `Path`): Parquet file with the columns `item_id` (1..num_items) and `codes` (list of
                `num_levels` integers).
            codebook_size (`int`, *optional*): Codes per level; defaults to the smallest that holds the codes.

        Raises:
            ValueError: If a column is missing or the item ids are not 1..num_items, each once.
            ImportError: If pyarrow is not installed.
        """
        try:  # outside of `try`, transformers would require pyarrow to load a model
            import pyarrow.parquet as pq
        except ImportError:
            raise ImportError("semantic IDs in a Parquet file need pyarrow: pip install pyarrow.") from None

        try:
            table = pq.read_table(path)
        except (OSError, ValueError) as error:  # pyarrow's errors do not name the file
            raise ValueError(f"{path} is no whole Parquet file ({error}); fetch it or learn the IDs again.") from None
        missing = {"item_id", "codes"} - set(table.column_names)
        if missing:
            raise ValueError(f"{path} lacks the column(s) {sorted(missing)}; it has {table.column_names}.")
        table = table.sort_by("item_id")
        item_ids = table["item_id"].to_pylist()
        if item_ids != list(range(1, len(item_ids) + 1)):
            raise ValueError(
                f"item_id in {path} must be 1..{len(item_ids)}, each once; it starts with {item_ids[:5]}."
            )
        codes = torch.tensor(table["codes"].to_pylist())
        return cls(codes, codebook_size or int(codes.max()) + 1)
