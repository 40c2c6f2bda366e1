"""Largest inner products between two sets of vectors, exact and in bounded memory (the argmax of eq. 2 and 3).

Exact means the same result from every engine, independent of threads, device and blocks. These round a float32 product
differently in its last digits; products that close are computed again in float64 and ordered by that value, then by
index.
"""

from types import ModuleType

import numpy as np

ENGINES = ("faiss", "torch", "numpy")
BLOCK_SIZE = 4096
"""Queries per block."""
KEY_BLOCK_SIZE = 8192
"""Keys per block: with `BLOCK_SIZE`, 128 MB of float32 products."""
WIDTH = 65536
"""Keys per block of PyTorch, with fewer queries: merging the best results of blocks costs more than products."""
_SPARE = 8
"""Results requested beyond `k`, so that equal products at the end of a list are complete."""
_CLOSE = 4e-6
"""About ten times the error of a float32 product of unit vectors."""
_DECIMALS = 12
"""Significant decimals of a float64 product."""


def top_k(
    queries: np.ndarray,
    keys: np.ndarray,
    k: int,
    engine: str = "torch",
    device: str | None = None,
    block_size: int = BLOCK_SIZE,
    key_block_size: int = KEY_BLOCK_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the `k` keys with the largest inner product to each query, best first; ties are ordered by index.

    Beside the result, memory holds about `block_size * key_block_size` floats (`torch`: three times that), independent
    of the numbers of queries and keys; `numpy` holds at least one row of `num_keys`.

    Args:
        queries (`np.ndarray`): float32 `(num_queries, hidden_size)`, rows of about unit length.
        keys (`np.ndarray`): float32 `(num_keys, hidden_size)`, rows of about unit length.
        k (`int`): At least 1; a number above `num_keys` means all keys.
        engine (`str`): `"faiss"` (CPU, all threads), `"torch"` (CPU or GPU) or `"numpy"` (no other library, slow).
        device (`str`, *optional*): Device of `"torch"`, such as `"cuda"`; CPU by default.
        block_size (`int`): Queries per block.
        key_block_size (`int`): Keys per block.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: float32 scores and int64 indices, each `(num_queries, min(k, num_keys))`.

    Raises:
        ValueError: On an unknown engine, a device that the engine does not support, or shapes that do not match.
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
    # During the search and the final sort, several numbers are held for each requested result.
    width = min(len(keys), max(WIDTH, key_block_size)) if budget >= WIDTH else key_block_size
    step = min(block_size, max(1, budget // (len(keys) if engine == "numpy" else 16 * asked)))
    if engine == "torch":
        step = min(step, max(1, budget // width))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        if engine == "numpy":
            scores[block], indices[block] = _top_k_numpy(queries[block], keys, k)
            continue
        if engine == "faiss":
            found = _top_k_faiss(queries[block], keys, asked)
        else:
            found = _top_k_torch(queries[block], keys, asked, device or "cpu", width)
        scores[block], indices[block], whole = _in_order(*found, k, queries[block], keys)
        torn = start + np.flatnonzero(~whole)
        rows_at_a_time = max(1, budget // len(keys))
        for first in range(0, len(torn), rows_at_a_time):
            rows = torn[first : first + rows_at_a_time]
            scores[rows], indices[rows] = _top_k_numpy(queries[rows], keys, k)
    return scores, indices


def nearest_and_farthest(
    vectors: np.ndarray,
    groups: np.ndarray,
    engine: str = "torch",
    device: str | None = None,
    block_size: int = BLOCK_SIZE // 2,
    key_block_size: int = KEY_BLOCK_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each vector the vectors of other groups with the largest and the smallest inner product (eq. 2).

    Memory holds about `block_size * key_block_size` floats, independent of the number of vectors.

    Args:
        vectors (`np.ndarray`): float32 `(num_vectors, hidden_size)`.
        groups (`np.ndarray`): int `(num_vectors,)`; members of one group are never compared.
        engine (`str`): `"torch"` multiplies with PyTorch, the others with NumPy.
        device (`str`, *optional*): Device of `"torch"`; CPU by default.
        block_size (`int`): Vectors per block.
        key_block_size (`int`): Vectors that a block is compared with at a time.

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
    answers = np.zeros((2, len(vectors)), np.int64)
    for start in range(0, len(vectors), block_size):
        block = slice(start, start + block_size)
        queries, best = vectors[block], np.full((2, len(vectors[block])), -np.inf, np.float32)
        for key_start in range(0, len(vectors), key_block_size):
            keys = slice(key_start, key_start + key_block_size)
            same = np.flatnonzero(groups[block, None] == groups[None, keys])
            winners = (_winners_torch if engine == "torch" else _winners_numpy)(queries, vectors[keys], same, device)
            for side, (place, high) in enumerate(winners):
                better = high > best[side] + _CLOSE
                close = np.flatnonzero(np.isfinite(high) & np.isfinite(best[side]))
                close = close[np.abs(high[close] - best[side, close]) <= _CLOSE]
                old, new = (vectors[rows[close]] for rows in (answers[side, block], key_start + place))
                sign = -1 if side else 1
                # Among equal products the smaller index came first and stays.
                before, after = (precise_products(queries[close], found) for found in (old, new))
                better[close] = sign * after > sign * before
                answers[side, block][better] = key_start + place[better]
                best[side] = np.maximum(best[side], high)
    return answers[0], answers[1]


def best_of(candidates: np.ndarray, scores: np.ndarray, count: int, query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Finds the best candidates for one query, best first; ties are ordered by index.

    Args:
        candidates (`np.ndarray`): int `(num_candidates,)`, ascending indices into `keys`.
        scores (`np.ndarray`): float32 `(num_candidates,)`, their inner products with the query.
        count (`int`): Number of results; all candidates if there are fewer.
        query (`np.ndarray`): float32 `(hidden_size,)`.
        keys (`np.ndarray`): float32 `(num_keys, hidden_size)`.

    Returns:
        `np.ndarray`: int64 `(min(count, num_candidates),)`, indices into `keys`.

    Example:
        >>> keys = np.array([[0.5], [0.9], [0.5], [0.1]], np.float32)
        >>> best_of(np.array([0, 1, 2]), keys[:3, 0], 2, np.ones(1, np.float32), keys).tolist()
        [1, 0]
    """
    if count < len(scores):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        kept = scores >= threshold - _CLOSE
        candidates, scores = candidates[kept], scores[kept]
    _, indices = _settled(scores[None], candidates[None], query[None], keys)
    return indices[0, :count]


def check_engine(engine: str, device: str | None = None) -> None:
    """Checks that an engine is known, is installed and supports the device.

    Args:
        engine (`str`): One of `ENGINES`.
        device (`str`, *optional*): `None` or `"cpu"` for all engines; any PyTorch device for `"torch"`.

    Raises:
        ValueError: On an unknown engine, or a device that it does not support.
        ImportError: If its library is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine ({engine!r}) must be one of {', '.join(ENGINES)}.")
    if engine != "torch" and device not in (None, "cpu"):
        raise ValueError(f"engine {engine!r} runs on the CPU, not on {device!r}; give engine='torch' for a GPU.")
    if engine == "faiss":
        _faiss()
    elif engine == "torch":
        try:
            _torch().empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without CUDA
            reason = str(error).splitlines()[0]
            raise ValueError(f"PyTorch cannot use device {device!r} here ({reason}); the CPU needs none.") from error


def _top_k_numpy(queries: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference implementation on whole rows of products."""
    products, everything = queries @ keys.T, np.arange(len(keys))
    pairs = zip(queries, products, strict=True)
    indices = np.stack([best_of(everything, scores, k, query, keys) for query, scores in pairs])
    return np.take_along_axis(products, indices, axis=1), indices


def _top_k_faiss(queries: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches with FAISS, which makes its own blocks. The order among equal products is arbitrary."""
    faiss = _faiss()
    return faiss.knn(queries, keys, k, metric=faiss.METRIC_INNER_PRODUCT)


def _top_k_torch(
    queries: np.ndarray, keys: np.ndarray, k: int, device: str, key_block_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merges the best results so far with those of each block of keys. The order among equal products is arbitrary."""
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
    scores: np.ndarray, indices: np.ndarray, k: int, queries: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorts the results, cuts them at `k`, and marks the rows that are certain to be complete.

    A key as good as the last result may be missing. So the first `k` are certain where the last result is clearly
    worse than the `k`-th, or where all keys were found.
    """
    scores, indices = _settled(scores, indices, queries, keys)
    if scores.shape[1] == len(keys):
        sure = np.ones(len(scores), bool)
    else:
        sure = scores[:, k:].min(axis=1) < scores[:, :k].min(axis=1) - _CLOSE
    return scores[:, :k], indices[:, :k], sure


def _settled(
    scores: np.ndarray, indices: np.ndarray, queries: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts scores and indices by product, close ones recomputed in float64, then by index.

    Args:
        scores (`np.ndarray`): float32 `(num_queries, num_found)`, in any order.
        indices (`np.ndarray`): int64 `(num_queries, num_found)`.
        queries (`np.ndarray`): float32 `(num_queries, hidden_size)`.
        keys (`np.ndarray`): float32 `(num_keys, hidden_size)`.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    scores, indices = np.take_along_axis(scores, order, axis=1), np.take_along_axis(indices, order, axis=1)
    close = np.zeros(scores.shape, bool)
    close[:, 1:] = scores[:, :-1] - scores[:, 1:] <= _CLOSE
    close[:, :-1] |= close[:, 1:]
    products = scores.astype(np.float64)
    rows, columns = np.nonzero(close)
    for start in range(0, len(rows), KEY_BLOCK_SIZE):
        row, column = rows[start : start + KEY_BLOCK_SIZE], columns[start : start + KEY_BLOCK_SIZE]
        products[row, column] = precise_products(queries[row], keys[indices[row, column]])
    order = np.lexsort((indices, -products))
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(indices, order, axis=1)


def precise_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Products of rows, float64 `(num_rows,)`, rounded to 12 decimals: the same on every machine."""
    return np.round(np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64)), _DECIMALS)


_Winners = list[tuple[np.ndarray, np.ndarray]]
"""Of the largest, then of the smallest products: index `(num_queries,)` and value, that of the smallest negated."""


def _winners_numpy(queries: np.ndarray, keys: np.ndarray, same: np.ndarray, device: str | None) -> _Winners:
    """Finds the largest and smallest product of each row, without the flat indices `same`."""
    products, rows = queries @ keys.T, np.arange(len(queries))
    winners = []
    for sign in (1, -1):
        if sign < 0:
            np.negative(products, out=products)
        products.ravel()[same] = -np.inf
        first = products.argmax(axis=1)
        high = products[rows, first]
        products[rows, first] = -np.inf
        second = products[rows, products.argmax(axis=1)]
        products[rows, first] = high
        close = np.flatnonzero(np.isfinite(second) & (second >= high - _CLOSE))
        _settle_winners(first, close, products[close], queries, keys, sign)
        winners.append((first, high))
    return winners


def _winners_torch(queries: np.ndarray, keys: np.ndarray, same: np.ndarray, device: str | None) -> _Winners:
    """Does the same as [`_winners_numpy`] on any device."""
    torch = _torch()
    winners = []
    with torch.inference_mode():
        products = torch.from_numpy(queries).to(device or "cpu") @ torch.from_numpy(keys).to(device or "cpu").T
        left_out = torch.from_numpy(same).to(products.device)
        for sign in (1, -1):
            if sign < 0:
                products.neg_()
            products.view(-1)[left_out] = -torch.inf
            high, first = products.max(dim=1, keepdim=True)
            second = products.scatter_(1, first, -torch.inf).amax(dim=1, keepdim=True)
            products.scatter_(1, first, high)
            close = (second.isfinite() & (second >= high - _CLOSE))[:, 0].nonzero()[:, 0]
            place = first[:, 0].cpu().numpy()
            _settle_winners(place, close.cpu().numpy(), products[close].cpu().numpy(), queries, keys, sign)
            winners.append((place, high[:, 0].cpu().numpy()))
    return winners


def _settle_winners(
    place: np.ndarray, close: np.ndarray, products: np.ndarray, queries: np.ndarray, keys: np.ndarray, sign: int
) -> None:
    """Decides between close products, for the rows `close`; updates `place`."""
    for row, scores in zip(close.tolist(), products, strict=True):
        candidates = np.flatnonzero(scores >= scores.max() - _CLOSE)
        place[row] = best_of(candidates, scores[candidates], 1, sign * queries[row], keys)[0]


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
