"""Residual k-means: one k-means per level on the residuals of the previous levels.

A quantizer without a network, which also initializes the codebooks of the RQ-VAE.
"""

import logging
import warnings
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from ..atomic_write import atomic_write

logger = logging.getLogger(__name__)

# Number of vectors above which mini-batches replace Lloyd's full passes.
MINIBATCH_ABOVE = 50_000
_FORMAT = "residual_kmeans"


def check_codebook_size(num_items: int, codebook_size: int) -> None:
    """
    Checks that a codebook has at most as many entries as there are items.

    Raises:
        `ValueError`: If it has more, as the others would stay unused.
    """
    if codebook_size > num_items:
        raise ValueError(
            f"codebook_size ({codebook_size}) is larger than the number of items ({num_items}); pass a smaller one, "
            f"as in `--codebook_size {max(1, num_items // 8)}`."
        )


class ResidualKMeans:
    """
    Residual quantization by k-means.

    Args:
        num_codebooks (`int`, *optional*, defaults to 3): Number of levels.
        codebook_size (`int`, *optional*, defaults to 256): Number of clusters of each level.
        seed (`int`, *optional*, defaults to 0): Seed of the initial clusters.

    Attributes:
        codebooks (`np.ndarray` of shape `(num_codebooks, codebook_size, dim)` or `None`): float32 centers, after
            `fit`.

    Raises:
        `ValueError`: If a size is below 1.

    Example:

    ```python
    >>> vectors = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]], dtype=np.float32)
    >>> quantizer = ResidualKMeans(num_codebooks=2, codebook_size=2).fit(vectors)
    >>> codes = quantizer.encode(vectors)
    >>> bool(codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0])  # level 0: left or right
    True
    >>> bool(np.allclose(quantizer.decode(codes), vectors))  # level 1: down or up
    True

    ```"""

    def __init__(self, num_codebooks: int = 3, codebook_size: int = 256, seed: int = 0) -> None:
        for name, value in {"num_codebooks": num_codebooks, "codebook_size": codebook_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.seed = seed
        self.codebooks: np.ndarray | None = None

    def fit(self, embeddings: np.ndarray) -> "ResidualKMeans":
        """
        Fits the codebooks.

        Args:
            embeddings (`np.ndarray` of shape `(num_items, dim)`): Item embeddings.

        Returns:
            [`ResidualKMeans`]: itself.

        Raises:
            `ValueError`: If there are fewer items than `codebook_size`.
        """
        residual = as_matrix(embeddings)
        check_codebook_size(len(residual), self.codebook_size)
        kmeans = KMeans if len(residual) <= MINIBATCH_ABOVE else MiniBatchKMeans
        codebooks = []
        for level in range(self.num_codebooks):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                clusters = kmeans(self.codebook_size, n_init=1, random_state=self.seed + level).fit(residual)
            if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
                logger.warning(
                    "level %d: fewer distinct vectors than codebook_size (%d); some codes stay unused",
                    level,
                    self.codebook_size,
                )
            codebooks.append(clusters.cluster_centers_.astype(np.float32))
            residual = residual - codebooks[-1][nearest(residual, codebooks[-1])]
        self.codebooks = np.stack(codebooks)
        return self

    def encode(self, embeddings: np.ndarray) -> np.ndarray:
        """
        Computes the codes of items.

        Args:
            embeddings (`np.ndarray` of shape `(num_items, dim)`): Item embeddings.

        Returns:
            `np.ndarray` of shape `(num_items, num_codebooks)`, int64, each code in 0..codebook_size-1.

        Raises:
            `ValueError`: If the width differs from that of `fit`, or `fit` was not called.
        """
        codebooks = self._fitted()
        residual = as_matrix(embeddings)
        if residual.shape[1] != codebooks.shape[2]:
            raise ValueError(
                f"embeddings have width {residual.shape[1]}, the codebooks {codebooks.shape[2]}; embed the items with "
                f"the text encoder that this quantizer was fitted on."
            )
        codes = np.empty((len(residual), self.num_codebooks), dtype=np.int64)
        for level, codebook in enumerate(codebooks):
            codes[:, level] = nearest(residual, codebook)
            residual = residual - codebook[codes[:, level]]
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """
        Reconstructs embeddings from codes.

        Args:
            codes (`np.ndarray` of shape `(num_items, num_codebooks)`): Codes, without the collision level.

        Returns:
            `np.ndarray` of shape `(num_items, dim)`, float32: sums of the chosen centers.

        Raises:
            `ValueError`: If the number of codes differs from `num_codebooks` or a code lies outside its codebook.
        """
        codebooks = self._fitted()
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.num_codebooks:
            raise ValueError(f"codes must have shape (num_items, {self.num_codebooks}), got {codes.shape}.")
        if codes.size and not 0 <= codes.min() <= codes.max() < self.codebook_size:
            raise ValueError(
                f"codes must lie in 0..{self.codebook_size - 1} (codebook_size {self.codebook_size}), got "
                f"{codes.min()}..{codes.max()}."
            )
        return codebooks[np.arange(self.num_codebooks), codes].sum(axis=1)

    def save(self, path: str | Path) -> None:
        """Writes the codebooks to a safetensors file, atomically."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            save_file({"codebooks": self._fitted()}, temporary, metadata={"format": _FORMAT, "seed": str(self.seed)})

    @classmethod
    def load(cls, path: str | Path) -> "ResidualKMeans":
        """
        Reads the file of `save`; codes and embeddings are the same bit for bit.

        Raises:
            `FileNotFoundError`: If the file does not exist.
            `ValueError`: If the file has other contents.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no residual k-means at {path}; write one with `ResidualKMeans.save`.")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(
                    f"{path} holds {list(file.keys())}, not a residual k-means; pass a file of `ResidualKMeans.save`."
                )
            codebooks = file.get_tensor("codebooks")
        quantizer = cls(codebooks.shape[0], codebooks.shape[1], seed=int(metadata["seed"]))
        quantizer.codebooks = codebooks
        return quantizer

    def _fitted(self) -> np.ndarray:
        """The codebooks; raises a ValueError before `fit`."""
        if self.codebooks is None:
            raise ValueError("the codebooks are empty; call `fit` (or `ResidualKMeans.load`) first.")
        return self.codebooks


def nearest(vectors: np.ndarray, codebook: np.ndarray, chunk_size: int = 65_536) -> np.ndarray:
    """
    Finds the nearest entry by Euclidean distance, of equal ones the first.

    Args:
        vectors (`np.ndarray` of shape `(num_items, dim)`): Vectors.
        codebook (`np.ndarray` of shape `(codebook_size, dim)`): Entries.
        chunk_size (`int`, *optional*, defaults to 65536): Number of rows whose distances are in memory at once.

    Returns:
        `np.ndarray` of shape `(num_items,)`, int64.

    Example:

    ```python
    >>> nearest(np.array([[0.0, 0.1], [4.0, 5.0]]), np.array([[0.0, 0.0], [5.0, 5.0]]))
    array([0, 1])

    ```"""
    norms = np.square(codebook).sum(axis=1)  # |v|^2 is the same for every entry and left out
    chunks = [vectors[start : start + chunk_size] for start in range(0, len(vectors), chunk_size)]
    return np.concatenate([(norms - 2 * chunk @ codebook.T).argmin(axis=1) for chunk in chunks])


def as_matrix(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings as a checked float32 array; raises a ValueError if it is empty, not 2-d, or not finite."""
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or not len(embeddings):
        raise ValueError(
            f"embeddings must have shape (num_items, dim) with at least one item, got {embeddings.shape}."
        )
    if not np.isfinite(embeddings).all():
        row = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise ValueError(f"the embedding in row {row} is not finite; embed its text again.")
    return embeddings
