"""Semantic IDs: the bijection between items and tuples of codes, and the vocabulary their tokens live in.

Knows the layout of the vocabulary and what makes an item table valid. Does not know how codes are learned
(`quantization/`) nor how they are decoded (`constrained_decoding.py`).

The vocabulary holds one special token, then one block of `codebook_size` tokens per level:

    token 0                          padding, and the token that starts the decoder
    token 1 + level * K + code       `code` (0..K-1) at `level` (0..num_levels-1), K = `codebook_size`

There is no end token: every semantic ID has `num_levels` codes, so an end carries no information.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

PAD_TOKEN_ID = 0


def vocabulary_size(num_levels: int, codebook_size: int) -> int:
    """Number of tokens of the decoder.

    >>> vocabulary_size(num_levels=4, codebook_size=256)
    1025
    """
    return first_token(num_levels, codebook_size)


def first_token(level: int | torch.Tensor, codebook_size: int) -> int | torch.Tensor:
    """The token of code 0 of a level, from 0: each level has its own block of the vocabulary, behind the padding.

    >>> first_token(0, codebook_size=256), first_token(2, codebook_size=256)
    (1, 513)
    """
    return 1 + level * codebook_size


def codes_to_tokens(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Shifts each level's codes into its own block of the vocabulary.

    Args:
        codes (`torch.Tensor`): Shape `(..., num_levels)`, codes in `0..codebook_size - 1`.
        codebook_size (`int`): Codes per level.

    Returns:
        `torch.Tensor`: Shape `(..., num_levels)`, token ids.

    >>> codes_to_tokens(torch.tensor([[2, 0, 1]]), codebook_size=4).tolist()
    [[3, 5, 10]]
    """
    return codes + first_token(torch.arange(codes.shape[-1], device=codes.device), codebook_size)


def tokens_to_codes(tokens: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Inverse of [`codes_to_tokens`]; tokens of another level's block come back outside `0..codebook_size - 1`.

    >>> tokens_to_codes(torch.tensor([[3, 5, 10]]), codebook_size=4).tolist()
    [[2, 0, 1]]
    """
    return tokens - first_token(torch.arange(tokens.shape[-1], device=tokens.device), codebook_size)


class SemanticIds:
    """A catalogue's semantic IDs: item `i` (1-based, as in the benchmark) is row `i - 1`.

    Args:
        codes (`torch.Tensor` or nested sequence): Shape `(num_items, num_levels)`, one distinct tuple per item, the
            last level being the collision level.
        codebook_size (`int`): Codes per level, the same for every level.

    Raises:
        ValueError: If `codes` is not a non-empty table of integers in `0..codebook_size - 1`, or two items share a
            tuple.

    >>> ids = SemanticIds([[0, 1, 0], [0, 1, 1], [3, 2, 0]], codebook_size=4)
    >>> ids.num_items, ids.num_levels, ids.vocabulary_size
    (3, 3, 13)
    >>> ids.items_to_tokens(torch.tensor([3])).tolist()
    [[4, 7, 9]]
    >>> ids.tokens_to_items(torch.tensor([[4, 7, 9], [1, 5, 9]])).tolist()
    [3, 0]
    """

    def __init__(self, codes: torch.Tensor | Sequence[Sequence[int]], codebook_size: int) -> None:
        codes = torch.as_tensor(codes)
        if codes.ndim != 2 or codes.numel() == 0 or codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(
                f"codes must be a non-empty integer table of shape (num_items, num_levels), not {codes.dtype} of "
                f"shape {tuple(codes.shape)}; pass the table that scripts/learn_semantic_ids.py wrote."
            )
        codes = codes.long()
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= codebook_size:
            raise ValueError(
                f"codes range from {low} to {high}, outside 0..{codebook_size - 1}; pass the codebook_size these "
                "codes were learned with."
            )
        unique, inverse = torch.unique(codes, dim=0, return_inverse=True)
        if len(unique) != len(codes):
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
        """Number of items of the catalogue."""
        return self.codes.shape[0]

    @property
    def num_levels(self) -> int:
        """Codes per item, the collision level included."""
        return self.codes.shape[1]

    @property
    def vocabulary_size(self) -> int:
        """Tokens of the decoder, the padding token included."""
        return vocabulary_size(self.num_levels, self.codebook_size)

    def items_to_tokens(self, items: torch.Tensor) -> torch.Tensor:
        """Token ids of items: shape `(...)` of ids in `1..num_items` to `(..., num_levels)`."""
        return codes_to_tokens(self.codes, self.codebook_size).to(items.device)[items - 1]

    def tokens_to_items(self, tokens: torch.Tensor) -> torch.Tensor:
        """Items of token ids: shape `(batch_size, num_levels)` to `(batch_size,)`; 0 where no item has that ID."""
        table = codes_to_tokens(self.codes, self.codebook_size).to(tokens.device)
        matches = (tokens.unsqueeze(1) == table.unsqueeze(0)).all(-1)
        return torch.where(matches.any(1), matches.int().argmax(1) + 1, 0)

    @classmethod
    def from_parquet(cls, path: str | Path, codebook_size: int | None = None) -> "SemanticIds":
        """Reads the `semantic_ids.parquet` of `scripts/learn_semantic_ids.py`.

        Args:
            path (`str` or `Path`): Parquet file with the columns `item_id` (1..num_items) and `codes` (list of
                `num_levels` integers).
            codebook_size (`int`, *optional*): Codes per level; the smallest that holds the codes where not given.

        Raises:
            ValueError: If a column is missing or the item ids are not 1..num_items, each once.
            ImportError: If pyarrow is not installed.
        """
        try:  # outside of `try`, transformers would ask everybody who loads a model for it
            import pyarrow.parquet as pq
        except ImportError:
            raise ImportError("semantic IDs in a Parquet file need pyarrow: pip install pyarrow.") from None

        table = pq.read_table(path)
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
