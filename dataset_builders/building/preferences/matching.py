"""Cached embeddings of texts, and the preference most similar to a target (eq. 1)."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ...atomic_write import atomic_write
from ..text_embedding import dtype_of

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to float32 `(num_texts, hidden_size)`, rows L2-normalized; computed in its attribute `dtype`, if any."""

CHUNK_SIZE = 2048
"""Strings per call of the model: enough for its batches, few enough for a progress bar."""
SHARD_SIZE = 32768
"""Strings per file of the cache, the most that an interruption can lose."""
_PROBE = "A sentence by which text encoders can be told apart"


class EmbeddingTable:
    """Embeddings of strings, each distinct one computed once, in memory and optionally on disk.

    Args:
        embed (`Callable`): Texts to float32 `(num_texts, hidden_size)`, rows L2-normalized.
        cache_dir (`Path`, *optional*): Folder for Parquet shards of (hash of the text, vector); a later build with the
            same `model_name` reads them. Interrupted work resumes at the last shard.
        model_name (`str`): Name of the model in the cache, required with `cache_dir`. Two models of one name (such as
            folders) are distinguished by their vectors of a fixed sentence, and float32 and bfloat16 of one model by
            [`~dataset_builders.building.text_embedding.dtype_of`].
        progress (`bool`): Whether to show a progress bar.

    Raises:
        ValueError: If `cache_dir` is given without `model_name`.
    """

    def __init__(
        self, embed: Embed, cache_dir: Path | None = None, model_name: str = "", progress: bool = True
    ) -> None:
        if cache_dir is not None and not model_name:
            raise ValueError("cache_dir needs model_name: vectors of different models must not be mixed.")
        self._embed = embed
        self._progress = progress
        self._row_of: dict[bytes, int] = {}
        self._vectors = np.zeros((0, 0), np.float32)
        self._count = 0
        self._folder = None
        if cache_dir is not None:
            probe = np.round(_checked(embed([_PROBE]), 1), 2) + 0.0  # rounded: the last digits depend on the machine
            dtype = dtype_of(embed)
            of_dtype = b"" if dtype == "float32" else dtype.encode()  # folders of float32 keep their names
            identity = model_name.encode() + probe.tobytes() + of_dtype
            self._folder = Path(cache_dir) / hashlib.blake2b(identity, digest_size=8).hexdigest()
            self._read_cache()

    def __len__(self) -> int:
        return self._count

    def __call__(self, texts: Sequence[str], name: str = "texts") -> np.ndarray:
        """Embeds texts.

        Args:
            texts (`Sequence[str]`): May repeat.
            name (`str`): Label of the progress bar.

        Returns:
            `np.ndarray`: float32 `(num_texts, hidden_size)`, rows L2-normalized.

        Raises:
            ValueError: If the callable returns another shape, or rows that are not finite unit vectors.
        """
        keys = [_key(text) for text in texts]
        # Sorted by length, so that the model's batches need little padding.
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._row_of}
        ordered = sorted(missing.items(), key=lambda pair: (len(pair[1]), pair[1]))
        with tqdm(total=len(ordered), desc=f"Embedding {name}", disable=not self._progress or not ordered) as bar:
            for shard_start in range(0, len(ordered), SHARD_SIZE):
                shard = ordered[shard_start : shard_start + SHARD_SIZE]
                vectors = []
                for start in range(0, len(shard), CHUNK_SIZE):
                    chunk = [text for _, text in shard[start : start + CHUNK_SIZE]]
                    vectors.append(_checked(self._embed(chunk), len(chunk)))
                    bar.update(len(chunk))
                self._add([key for key, _ in shard], np.concatenate(vectors), write=True)
        return self._vectors[[self._row_of[key] for key in keys]]

    def _add(self, keys: Sequence[bytes], vectors: np.ndarray, write: bool) -> None:
        if self._count and vectors.shape[1] != self._vectors.shape[1]:
            raise ValueError(
                f"Vectors of size {vectors.shape[1]} do not fit the {self._vectors.shape[1]} of those already held; "
                "give another cache_dir, or the model that filled it."
            )
        self._row_of.update(zip(keys, range(self._count, self._count + len(keys)), strict=True))
        self._vectors = np.concatenate([self._vectors, vectors]) if self._count else vectors
        self._count += len(keys)
        if write and self._folder is not None:
            self._write_shard(keys, vectors)

    def _write_shard(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        columns = {
            "key": pa.array(keys, pa.binary(16)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
        path = self._folder / f"{hashlib.blake2b(b''.join(keys), digest_size=8).hexdigest()}.parquet"
        with atomic_write(path) as temporary:
            pq.write_table(pa.table(columns), temporary)

    def _read_cache(self) -> None:
        assert self._folder is not None
        for path in sorted(self._folder.glob("*.parquet")):
            table = pq.read_table(path).combine_chunks()
            keys = table["key"].to_pylist()
            flat = table["vector"].combine_chunks()
            flat = flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat
            vectors = flat.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(keys), -1)
            new = [index for index, key in enumerate(keys) if key not in self._row_of]
            if new:
                self._add([keys[index] for index in new], vectors[new], write=False)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _checked(vectors: np.ndarray, count: int) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != count:
        raise ValueError(
            f"The embedding model must return shape ({count}, dim) for {count} texts; got {vectors.shape}."
        )
    norms = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(norms - 1) < 1e-2):
        worst = float(norms[np.argmax(np.abs(norms - 1))])
        raise ValueError(f"Embeddings must be L2-normalized, one row has norm {worst:.4f}; divide rows by their norm.")
    return vectors


def match_preferences(
    targets: np.ndarray,
    candidates: np.ndarray,
    item_embeddings: np.ndarray,
    preference_embeddings: np.ndarray,
    block_size: int = 8192,
) -> np.ndarray:
    """Finds the candidate with the largest cosine to its target, row by row (eq. 1); the first of equal ones.

    Args:
        targets (`np.ndarray`): int `(num_rows,)`, index of each target into `item_embeddings`.
        candidates (`np.ndarray`): int `(num_rows, num_candidates)`, indices into `preference_embeddings`.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalized.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`, rows L2-normalized.
        block_size (`int`): Rows per block, which bounds the memory.

    Returns:
        `np.ndarray`: int64 `(num_rows,)`, the chosen column of `candidates`.
    """
    best = np.empty(len(targets), np.int64)
    for start in range(0, len(targets), block_size):
        block = slice(start, start + block_size)
        # (block, num_candidates, hidden_size) x (block, hidden_size)
        cosines = np.einsum(
            "ncd,nd->nc", preference_embeddings[candidates[block]], item_embeddings[targets[block]], optimize=True
        )
        best[block] = cosines.argmax(axis=1)
    return best
