"""Unique semantic IDs from learned codes, and a report of the quality of codes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


def assign_semantic_ids(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """
    Adds the collision level: 0 for the first item of a code tuple, 1 for the second, and so on, in the order of the
    rows. With rows in the order of item ids the result is unique.

    Args:
        codes (`np.ndarray` of shape `(num_items, num_codebooks)`): Learned codes, each in 0..codebook_size-1, in
            item id order.
        codebook_size (`int`): Number of codes of a level; the collision level has as many.

    Returns:
        `np.ndarray` of shape `(num_items, num_codebooks + 1)`, int64: rows that are all different.

    Raises:
        `ValueError`: If more items than `codebook_size` share one tuple, or a code lies outside 0..codebook_size-1.

    Example:

    ```python
    >>> assign_semantic_ids(np.array([[1, 7], [2, 3], [1, 7], [1, 7]]), codebook_size=8).tolist()
    [[1, 7, 0], [2, 3, 0], [1, 7, 1], [1, 7, 2]]

    ```"""
    codes = _as_codes(codes, codebook_size)
    tuples, groups, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    if sizes.max() > codebook_size:
        largest = int(sizes.argmax())
        raise ValueError(
            f"{sizes[largest]} items share the codes {tuple(tuples[largest].tolist())}, but the collision level tells "
            f"only {codebook_size} apart (codebook_size); pass a larger `--codebook_size`, more `--num_codebooks`, or "
            f"fuller item texts (`--item_fields`)."
        )
    groups = groups.reshape(-1)
    order = np.argsort(groups, kind="stable")  # stable: within a group the rows keep their order
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - starts[groups[order]]
    return np.concatenate([codes, rank[:, None]], axis=1)


def check_distinct(texts: Sequence[str], codebook_size: int) -> None:
    """
    Checks before the work that the collision level can tell items of the same text apart, which get the same codes.

    Raises:
        `ValueError`: If more than `codebook_size` items have one text.

    Example:

    ```python
    >>> check_distinct(["soap", "soap", "comb"], codebook_size=1)
    Traceback (most recent call last):
    ValueError: 2 items have the text 'soap', and ...

    ```"""
    text, count = Counter(texts).most_common(1)[0]
    if count > codebook_size:
        raise ValueError(
            f"{count} items have the text {text[:60]!r}, and the collision level tells only {codebook_size} apart "
            "(codebook_size); pass a larger `--codebook_size`, or fuller item texts (`--item_fields`)."
        )


@dataclass(frozen=True)
class QuantizationReport:
    """
    Quality of codes: how well they distinguish the items of a catalog, and how well they reconstruct embeddings.

    Args:
        num_items (`int`): Number of items of the catalog.
        coverage (`list[float]`): Per learned level, the share of the codebook in use.
        perplexity (`list[float]`): Per learned level, exp of the entropy of the use of codes: the number of uniformly
            used codes with the same entropy; at most `codebook_size`.
        num_distinct (`int`): Number of distinct code tuples before the collision level.
        num_colliding (`int`): Number of items that share their tuple with another item.
        largest_collision (`int`): Number of items of the most frequent tuple; 1 if all differ.
        reconstruction_error (`float`): Mean over items and dimensions of the squared error, in the embeddings' units.
        explained_variance (`float`): 1 - squared error / squared distance to the mean embedding; 1 is perfect, 0 is
            what the mean alone achieves.
    """

    num_items: int
    coverage: list[float]
    perplexity: list[float]
    num_distinct: int
    num_colliding: int
    largest_collision: int
    reconstruction_error: float
    explained_variance: float

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        shares = " / ".join(f"{share:.1%}" for share in self.coverage)
        perplexities = " / ".join(f"{value:.0f}" for value in self.perplexity)
        return (
            f"codebook coverage per level   {shares}\n"
            f"codebook perplexity per level {perplexities}\n"
            f"distinct before collisions    {self.num_distinct:,} of {self.num_items:,}\n"
            f"colliding items               {self.num_colliding:,} (largest group {self.largest_collision})\n"
            f"reconstruction error          {self.reconstruction_error:.6f} (explained variance "
            f"{self.explained_variance:.1%})"
        )


def quantization_report(
    codes: np.ndarray, ids: np.ndarray, embeddings: np.ndarray, reconstruction: np.ndarray, codebook_size: int
) -> QuantizationReport:
    """
    Computes the quality of codes.

    Args:
        codes (`np.ndarray` of shape `(num_items, num_codebooks)`): Learned codes.
        ids (`np.ndarray` of shape `(num_items, num_codebooks + 1)`): Semantic IDs of the same items.
        embeddings (`np.ndarray` of shape `(num_items, dim)`): Item embeddings.
        reconstruction (`np.ndarray` of shape `(num_items, dim)`): Embeddings decoded from the codes.
        codebook_size (`int`): Number of codes of a level.

    Returns:
        [`QuantizationReport`].

    Raises:
        `ValueError`: If the shapes do not match, the IDs do not begin with the codes, or two items share an ID.

    Example:

    ```python
    >>> codes = np.array([[0, 1], [1, 1], [1, 1]])
    >>> vectors = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]])
    >>> decoded = np.array([[0.0, 0.0], [2.0, 1.0], [2.0, 1.0]])
    >>> report = quantization_report(codes, assign_semantic_ids(codes, 2), vectors, decoded, codebook_size=2)
    >>> report.coverage, report.num_distinct, report.num_colliding, report.largest_collision
    ([1.0, 0.5], 2, 2, 2)
    >>> round(report.reconstruction_error, 4), round(report.explained_variance, 4)
    (0.3333, 0.625)

    ```"""
    codes, ids = _as_codes(codes, codebook_size), np.asarray(ids)
    if ids.shape != (len(codes), codes.shape[1] + 1) or not np.array_equal(ids[:, :-1], codes):
        raise ValueError(f"ids {ids.shape} must be the codes {codes.shape} and one collision level, row by row.")
    if len(np.unique(ids, axis=0)) != len(ids):
        raise ValueError("two items share a semantic ID; make the ids with `assign_semantic_ids`.")
    if embeddings.shape != reconstruction.shape or len(embeddings) != len(codes):
        raise ValueError(
            f"embeddings {embeddings.shape} and reconstruction {reconstruction.shape} must have one shape, with a row "
            f"for each of the {len(codes)} items."
        )
    embeddings, reconstruction = embeddings.astype(np.float64), reconstruction.astype(np.float64)
    error = np.square(embeddings - reconstruction)
    spread = np.square(embeddings - embeddings.mean(axis=0)).sum()
    sizes = np.unique(codes, axis=0, return_counts=True)[1]
    use = [np.bincount(level, minlength=codebook_size) / len(codes) for level in codes.T]
    return QuantizationReport(
        num_items=len(codes),
        coverage=[float((share > 0).mean()) for share in use],
        perplexity=[_perplexity(share) for share in use],
        num_distinct=len(sizes),
        num_colliding=int(sizes[sizes > 1].sum()),
        largest_collision=int(sizes.max()),
        reconstruction_error=float(error.mean()),
        explained_variance=float(1 - error.sum() / spread) if spread > 0 else 1.0 - float(error.sum() > 0),
    )


def _perplexity(shares: np.ndarray) -> float:
    """Exponential of the entropy of shares."""
    used = shares[shares > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def _as_codes(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """Checked codes as int64."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f"codes must be integers of shape (num_items, num_codebooks), got {codes.dtype} {codes.shape}."
        )
    if codes.min() < 0 or codes.max() >= codebook_size:
        raise ValueError(
            f"codes must lie in 0..{codebook_size - 1} (codebook_size {codebook_size}), got "
            f"{codes.min()}..{codes.max()}."
        )
    return codes.astype(np.int64)
