"""The largest inner products between two sets of vectors, exact and in bounded memory (the argmax of eq. 2 and 3).

Knows vectors and blocks of matrix products: on a CPU through FAISS or PyTorch, on a GPU through PyTorch, or through
NumPy alone. Leaves to its callers what the vectors stand for. faiss and torch are imported where they are asked for.

*Exact* means: the order is that of the float32 products, and of the index where products are equal. Engines may round
a product differently in its last digit, so two neighbours that close may change places between engines.
"""

from types import ModuleType

import numpy as np

ENGINES = ("faiss", "torch", "numpy")
BLOCK_SIZE = 4096
"""Queries at a time."""
KEY_BLOCK_SIZE = 8192
"""Keys at a time: with `BLOCK_SIZE`, 128 MB of float32 products."""
_SPARE = 8
"""Asked for beyond `k`, so that equal products at the end of a list are seen whole."""


def top_k(
    queries: np.ndarray,
    keys: np.ndarray,
    k: int,
    engine: str = "faiss",
    device: str | None = None,
    block_size: int = BLOCK_SIZE,
    key_block_size: int = KEY_BLOCK_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` keys with the largest inner product to each query, best first, the smaller index first where they tie.

    Beside the result, memory holds about `block_size * key_block_size` floats (`torch`: three times that), whatever
    the numbers of queries and keys; `numpy` holds at least one row of `num_keys`.

    Args:
        queries (`np.ndarray`): float32 `(num_queries, hidden_size)`.
        keys (`np.ndarray`): float32 `(num_keys, hidden_size)`.
        k (`int`): At least 1; more than there are keys means all of them.
        engine (`str`): `"faiss"` (CPU, all threads), `"torch"` (CPU or GPU), `"numpy"` (needs nothing else, slow).
        device (`str`, *optional*): Device of `"torch"`, such as `"cuda"`; CPU by default.
        block_size (`int`): Queries at a time.
        key_block_size (`int`): Keys at a time.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: float32 scores and int64 indices, each `(num_queries, min(k, num_keys))`.

    Raises:
        ValueError: On an unknown engine, a device that the engine does not run on, or shapes that do not fit.
        ImportError: If the engine's library is not installed.
    """
    check_engine(engine, device)
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            f"queries {queries.shape} and keys {keys.shape} must be matrices with rows of the same length."
        )
    if k < 1 or not len(keys):
        raise ValueError(f"k ({k}) and the number of keys ({len(keys)}) must be at least 1.")
    queries, keys = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(keys, np.float32)
    k = min(k, len(keys))
    scores, indices = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    asked = min(k + _SPARE, len(keys))
    budget = block_size * key_block_size
    # What is kept per query while its keys pass by is a few times what is asked for.
    step = min(block_size, max(1, budget // (len(keys) if engine == "numpy" else 4 * asked)))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        if engine == "numpy":
            scores[block], indices[block] = _top_k_numpy(queries[block], keys, k)
            continue
        if engine == "faiss":
            found = _top_k_faiss(queries[block], keys, asked)
        else:
            found = _top_k_torch(queries[block], keys, asked, device or "cpu", key_block_size)
        scores[block], indices[block], whole = _in_order(*found, k, len(keys))
        torn = start + np.flatnonzero(~whole)
        rows_at_a_time = max(1, budget // len(keys))
        for first in range(0, len(torn), rows_at_a_time):
            rows = torn[first : first + rows_at_a_time]
            scores[rows], indices[rows] = _top_k_numpy(queries[rows], keys, k)
    return scores, indices


def nearest_and_farthest(
    vectors: np.ndarray,
    groups: np.ndarray,
    engine: str = "faiss",
    device: str | None = None,
    block_size: int = BLOCK_SIZE // 2,
    key_block_size: int = KEY_BLOCK_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """For each vector the one of another group with the largest, and the one with the smallest inner product (eq. 2).

    Memory holds about `block_size * key_block_size` floats, whatever the number of vectors.

    Args:
        vectors (`np.ndarray`): float32 `(num_vectors, hidden_size)`.
        groups (`np.ndarray`): int `(num_vectors,)`; members of one group are never each other's answer.
        engine (`str`): `"torch"` multiplies with PyTorch, the others with NumPy.
        device (`str`, *optional*): Device of `"torch"`; CPU by default.
        block_size (`int`): Vectors at a time.
        key_block_size (`int`): How many they are compared with at a time.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: int64 `(num_vectors,)` each, the smallest index where several tie.

    Raises:
        ValueError: If there are fewer than two groups, or on an unknown engine or device.
        ImportError: If the engine's library is not installed.
    """
    check_engine(engine, device)
    if len(np.unique(groups)) < 2:
        raise ValueError(f"the {len(vectors)} vectors are of one group; at least 2 groups are needed.")
    vectors = np.ascontiguousarray(vectors, np.float32)
    nearest, farthest = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), block_size):
        block = slice(start, start + block_size)
        size = len(vectors[block])
        largest, smallest = np.full(size, -np.inf, np.float32), np.full(size, np.inf, np.float32)
        for key_start in range(0, len(vectors), key_block_size):
            keys = slice(key_start, key_start + key_block_size)
            same = np.flatnonzero(groups[block, None] == groups[None, keys])
            first, high, last, low = _extremes(vectors[block], vectors[keys], same, engine, device or "cpu")
            # Strictly better only: of equal products the one with the smaller index came first.
            better = high > largest
            nearest[block][better], largest[better] = key_start + first[better], high[better]
            better = low < smallest
            farthest[block][better], smallest[better] = key_start + last[better], low[better]
    return nearest, farthest


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest scores, largest first, the smaller index first where scores tie.

    Args:
        scores (`np.ndarray`): float32 `(num_scores,)`.
        count (`int`): How many; all if there are fewer.

    Returns:
        `np.ndarray`: int64 `(min(count, num_scores),)`.

    Example:
        >>> top(np.array([0.5, 0.9, 0.5, 0.1]), 2).tolist()
        [1, 0]
    """
    if count < len(scores):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero(scores >= threshold)
    else:
        chosen = np.arange(len(scores))
    return chosen[np.argsort(-scores[chosen], kind="stable")][:count]


def check_engine(engine: str, device: str | None = None) -> None:
    """Refuses an engine that is unknown, not installed, or does not run on the device.

    Args:
        engine (`str`): One of `ENGINES`.
        device (`str`, *optional*): `None` or `"cpu"` for all engines, anything that PyTorch knows for `"torch"`.

    Raises:
        ValueError: On an unknown engine, or a device that it does not run on.
        ImportError: If its library is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine ({engine!r}) must be one of {', '.join(ENGINES)}.")
    if engine != "torch" and device not in (None, "cpu"):
        raise ValueError(f"engine {engine!r} runs on the CPU, not on {device!r}; give engine='torch' for a GPU.")
    if engine == "faiss":
        _faiss()
    elif engine == "torch":
        _torch()


class ApproximateIndex:
    """An inverted-file index (FAISS, IVFFlat), **not exact**: only the lists nearest to a query are read.

    Steering does without it. It is here to measure what exactness costs (`scripts/benchmark_steering.py`).

    Args:
        keys (`np.ndarray`): float32 `(num_keys, hidden_size)`; the index holds a copy.
        num_lists (`int`, *optional*): Cells of the k-means; four times the square root of `num_keys` by default.
        seed (`int`): Of the k-means.

    Raises:
        ImportError: If FAISS is not installed.
    """

    def __init__(self, keys: np.ndarray, num_lists: int | None = None, seed: int = 0) -> None:
        faiss = _faiss()
        self.num_lists = min(num_lists or int(4 * np.sqrt(len(keys))), len(keys))
        self._quantizer = faiss.IndexFlatIP(keys.shape[1])
        self._index = faiss.IndexIVFFlat(self._quantizer, keys.shape[1], self.num_lists, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.seed = seed + 1  # the seed of FAISS must not be 0
        self._index.cp.max_points_per_centroid = 64
        self._index.cp.min_points_per_centroid = 1
        self._index.cp.spherical = True
        keys = np.ascontiguousarray(keys, np.float32)
        self._index.train(keys)
        self._index.add(keys)

    def top_k(self, queries: np.ndarray, k: int, num_probes: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """The `k` best keys among those in the `num_probes` lists nearest to each query.

        Args:
            queries (`np.ndarray`): float32 `(num_queries, hidden_size)`.
            k (`int`): At least 1.
            num_probes (`int`): Lists to read per query, at most `num_lists`; with all of them the answer is exact.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: float32 scores and int64 indices, each `(num_queries, k)`, best first;
            index -1 where the lists hold fewer.
        """
        self._index.nprobe = num_probes
        return self._index.search(np.ascontiguousarray(queries, np.float32), k)


def _top_k_numpy(queries: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The plain way: whole rows of products."""
    products = queries @ keys.T
    indices = np.stack([top(row, k) for row in products])
    return np.take_along_axis(products, indices, axis=1), indices


def _top_k_faiss(queries: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """FAISS makes its own blocks. The order among equal products is anything."""
    faiss = _faiss()
    return faiss.knn(queries, keys, k, metric=faiss.METRIC_INNER_PRODUCT)


def _top_k_torch(
    queries: np.ndarray, keys: np.ndarray, k: int, device: str, key_block_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best so far, merged with the best of each block of keys. The order among equal products is anything."""
    torch = _torch()
    with torch.inference_mode():
        query = torch.from_numpy(queries).to(device)  # (num_queries, hidden_size)
        scores = query.new_empty((len(queries), 0))
        indices = torch.empty((len(queries), 0), dtype=torch.int64, device=device)
        for start in range(0, len(keys), key_block_size):
            products = query @ torch.from_numpy(keys[start : start + key_block_size]).to(device).T
            high, place = products.topk(min(k, products.shape[1]), dim=1)
            scores, indices = torch.cat([scores, high], 1), torch.cat([indices, start + place], 1)
            scores, place = scores.topk(min(k, scores.shape[1]), dim=1)
            indices = indices.gather(1, place)
        return scores.cpu().numpy(), indices.cpu().numpy()


def _in_order(
    scores: np.ndarray, indices: np.ndarray, k: int, num_keys: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorts by score, then index, cuts at `k`, and says which rows are sure to hold the right ones of equal products.

    There may be keys as good as the last one found that were not found and have a smaller index. So the first `k` are
    sure where the last one found is worse than the `k`-th, or where nothing was left to find.
    """
    order = np.lexsort((indices, -scores))
    scores, indices = np.take_along_axis(scores, order, axis=1), np.take_along_axis(indices, order, axis=1)
    whole = scores[:, -1] < scores[:, k - 1] if scores.shape[1] < num_keys else np.ones(len(scores), bool)
    return scores[:, :k], indices[:, :k], whole


def _extremes(
    queries: np.ndarray, keys: np.ndarray, same: np.ndarray, engine: str, device: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Place and value of the largest, then of the smallest product of each row, the flat indices `same` left out."""
    if engine == "torch":
        torch = _torch()
        with torch.inference_mode():
            products = torch.from_numpy(queries).to(device) @ torch.from_numpy(keys).to(device).T
            flat, left_out = products.view(-1), torch.from_numpy(same).to(device)
            flat[left_out] = -torch.inf
            high = products.max(dim=1)
            flat[left_out] = torch.inf
            low = products.min(dim=1)
            found = (high.indices, high.values, low.indices, low.values)
            return tuple(each.cpu().numpy() for each in found)
    products = queries @ keys.T
    rows = np.arange(len(products))
    products.ravel()[same] = -np.inf
    first = products.argmax(axis=1)
    high = products[rows, first]
    products.ravel()[same] = np.inf
    last = products.argmin(axis=1)
    return first, high, last, products[rows, last]


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "engine 'faiss' needs FAISS, which is not installed: pip install faiss-cpu; or give engine='numpy'."
        ) from error
    return faiss


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "engine 'torch' needs PyTorch, which is not installed: pip install torch; or give engine='numpy'."
        ) from error
    return torch
