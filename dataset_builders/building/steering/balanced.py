"""Balanced targets of steering: similar and distinct items (eq. 2), none of them a target too often.

The least similar items of most items are a few outliers of the embedding space, and the most similar ones have hubs
too. A model that learns the hubs then answers without reading the preference. Here the targets of a split are
assigned: no item is a target more often than a bound, and the catalog is divided so that no target of training is one
of validation or test.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching

from .nearest import KEY_BLOCK_SIZE, precise_products, top_k

BOUND = 2
"""Times that an item may be a target of one axis in one split."""
MAX_BOUND = 100
"""Largest bound; a larger one bounds nothing, and its edges would fill the memory."""
QUANTILE = 0.1
"""Share of the catalog, the least similar to an item, that its distinct item is drawn from."""
CANDIDATES = 32
"""Candidates of each source item before any free item will do."""
NUM_COMPARED = 1024
"""Allowed items of which a distinct item is among the least similar; a random sample where there are more."""
SOURCES_PER_SAMPLE = 128
"""Source items that share a random sample."""
NONE = -1
_NO_CANDIDATE = 1e4
"""Weight of a source without any of its candidates, above the sum of many similarities."""


@dataclass(frozen=True)
class Assignment:
    """Targets of one axis in one split.

    Attributes:
        targets (`np.ndarray`): int64 `(num_sources,)`, index of each source's target, [`NONE`] where none is left.
        beyond (`int`): Sources whose target is none of their candidates: their [`CANDIDATES`] most similar items, or
            the least similar [`QUANTILE`] of [`NUM_COMPARED`].
    """

    targets: np.ndarray
    beyond: int


def divide_catalog(
    num_items: int, num_train: int, num_evaluation: int, bound: int, generator: np.random.Generator
) -> np.ndarray | None:
    """Divides the catalog at random into items that are targets in training and items that are in evaluation.

    Args:
        num_items (`int`): Size of the catalog.
        num_train, num_evaluation (`int`): Number of targets that training, and the larger evaluation split, need.
        bound (`int`): Times that an item may be a target.
        generator (`np.random.Generator`): Random generator of the division.

    Returns:
        `np.ndarray`: bool `(num_items,)`, whether an item is a target in training; both parts have the same slack.
        `None` where the catalog is too small for both.

    >>> divide_catalog(9, 10, 6, 2, np.random.default_rng(0)).sum()  # 5 are needed, and 3; one is left
    np.int64(6)
    >>> divide_catalog(7, 10, 6, 2, np.random.default_rng(0)) is None
    True
    """
    for_train, for_evaluation = -(-num_train // bound), -(-num_evaluation // bound)
    needed = for_train + for_evaluation
    if needed > num_items or not needed:
        return None
    size = for_train + round((num_items - needed) * for_train / needed)
    in_train = np.zeros(num_items, bool)
    in_train[generator.permutation(num_items)[:size]] = True
    return in_train


def assign_targets(
    kind: str,
    vectors: np.ndarray,
    groups: np.ndarray,
    sources: np.ndarray,
    allowed: np.ndarray,
    bound: int,
    generator: np.random.Generator,
    engine: str = "torch",
    device: str | None = None,
) -> Assignment:
    """Assigns a target to every source item, as far as the bound allows.

    Similar items are those of the largest sum of similarities (a minimum-weight matching over the most similar items
    of each source). Distinct items are random ones of the least similar tenth of the allowed items, or of 1,024 random
    ones of more (a maximum matching). A source without a candidate left gets the best free item. Every source gets a
    target unless the bound, the division of the catalog and equal texts make it impossible for some.

    Memory holds one block of products, and [`CANDIDATES`] numbers per source.

    Args:
        kind (`str`): `"fine"` for similar items or `"coarse"` for distinct ones.
        vectors (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalized.
        groups (`np.ndarray`): int `(num_items,)`; an item is never the target of one of its own group.
        sources (`np.ndarray`): int `(num_sources,)`, indices of items, each once.
        allowed (`np.ndarray`): bool `(num_items,)`, whether an item may be a target.
        bound (`int`): Times that an item may be a target.
        generator (`np.random.Generator`): Random generator of the candidates of `"coarse"`.
        engine (`str`), device (`str`, *optional*): See [`~dataset_builders.building.steering.nearest.top_k`].

    Returns:
        [`Assignment`]: The targets.
    """
    items = np.flatnonzero(allowed)
    if not len(items) or not len(sources):
        return Assignment(np.full(len(sources), NONE), 0)
    if kind == "fine":
        candidates = _similar(vectors, groups, sources, items, engine, device)
        targets = _most_similar_matching(candidates, vectors, sources, bound)
    else:
        targets = _matching(_distinct(vectors, groups, sources, items, generator), len(vectors), bound)
    capacity = np.where(allowed, bound, 0)
    capacity -= np.bincount(targets[targets != NONE], minlength=len(capacity))
    waiting = np.flatnonzero(targets == NONE)
    _take_free_items(targets, waiting, capacity, 1 if kind == "fine" else -1, vectors, groups, sources)
    return Assignment(targets, int(np.count_nonzero(targets[waiting] != NONE)))


def _similar(
    vectors: np.ndarray, groups: np.ndarray, sources: np.ndarray, items: np.ndarray, engine: str, device: str | None
) -> np.ndarray:
    """The most similar allowed items of each source, int `(num_sources, num_candidates)`, [`NONE`] for none."""
    _, found = top_k(vectors[sources], vectors[items], CANDIDATES, engine, device)
    candidates = items[found]
    candidates[groups[candidates] == groups[sources][:, None]] = NONE
    return candidates


def _distinct(
    vectors: np.ndarray, groups: np.ndarray, sources: np.ndarray, items: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Random ones of the least similar allowed items of each source, in the shape of [`_similar`]."""
    num_compared = min(len(items), NUM_COMPARED)
    size = max(1, round(QUANTILE * num_compared))
    count = min(CANDIDATES, size)
    candidates = np.full((len(sources), count), NONE)
    for start in range(0, len(sources), SOURCES_PER_SAMPLE):
        block = slice(start, start + SOURCES_PER_SAMPLE)
        compared = items
        if len(items) > num_compared:
            compared = np.sort(generator.choice(items, num_compared, replace=False))
        # In float64, so that no rounding of float32 decides what is inside the tenth.
        products = vectors[sources[block]].astype(np.float64) @ vectors[compared].astype(np.float64).T
        same = groups[sources[block]][:, None] == groups[compared][None, :]
        products[same] = np.inf
        least = np.sort(np.argpartition(products, size - 1, axis=1)[:, :size], axis=1)
        drawn = generator.random(least.shape).argsort(axis=1)[:, :count]
        chosen = np.take_along_axis(least, drawn, axis=1)
        candidates[block] = np.where(np.take_along_axis(same, chosen, axis=1), NONE, compared[chosen])
    return candidates


def _matching(candidates: np.ndarray, num_items: int, bound: int) -> np.ndarray:
    """Candidate of each source in a maximum matching (Hopcroft and Karp, 1973); [`NONE`] where it has none.

    >>> _matching(np.array([[0, 1], [0, NONE], [0, NONE]]), num_items=3, bound=1).tolist()
    [1, 0, -1]
    """
    places = maximum_bipartite_matching(_edges(candidates, np.ones(candidates.shape), num_items, bound), "column")
    return np.where(places >= 0, places // bound, NONE).astype(np.int64)


def _most_similar_matching(candidates: np.ndarray, vectors: np.ndarray, sources: np.ndarray, bound: int) -> np.ndarray:
    """Candidate of each source in the matching of the largest similarity; [`NONE`] where it has none."""
    num_sources, num_candidates = candidates.shape
    weights = np.empty(candidates.shape)
    for block in _blocks(num_sources, num_candidates * vectors.shape[1]):
        pairs = candidates[block].ravel()
        rows = np.repeat(sources[block], num_candidates)
        weights[block] = 2 - precise_products(vectors[rows], vectors[pairs]).reshape(-1, num_candidates)
    edges = _edges(candidates, weights, len(vectors), bound)
    # A place of its own for each source makes the matching full.
    alone = csr_array(
        (np.full(num_sources, _NO_CANDIDATE), (np.arange(num_sources), edges.shape[1] + np.arange(num_sources))),
        shape=(num_sources, edges.shape[1] + num_sources),
    )
    edges.resize(alone.shape)
    _, places = min_weight_full_bipartite_matching(csr_array(edges + alone))
    return np.where(places < len(vectors) * bound, places // bound, NONE).astype(np.int64)


def _edges(candidates: np.ndarray, weights: np.ndarray, num_items: int, bound: int) -> csr_array:
    """Weights `(num_sources, num_items * bound)` of the edges from sources to the places of items."""
    rows, columns = np.nonzero(candidates != NONE)
    items, values = candidates[rows, columns], weights[rows, columns]
    places = (items[:, None] * bound + np.arange(bound)).ravel()
    shape = (len(candidates), num_items * bound)
    return csr_array((np.repeat(values, bound), (np.repeat(rows, bound), places)), shape=shape)


def _take_free_items(
    targets: np.ndarray,
    waiting: np.ndarray,
    capacity: np.ndarray,
    sign: int,
    vectors: np.ndarray,
    groups: np.ndarray,
    sources: np.ndarray,
) -> None:
    """Gives each waiting source the best item with capacity left; changes `targets` and `capacity`."""
    for block in _blocks(len(waiting), len(vectors)):
        rows = waiting[block]
        free = np.flatnonzero(capacity)
        products = sign * (vectors[sources[rows]] @ vectors[free].T)
        products[groups[sources[rows]][:, None] == groups[free][None, :]] = -np.inf
        for row, scores in zip(rows.tolist(), products, strict=True):
            scores[capacity[free] == 0] = -np.inf
            best = int(scores.argmax()) if len(scores) else 0
            if len(scores) and np.isfinite(scores[best]):
                targets[row] = free[best]
                capacity[free[best]] -= 1
            else:
                _exchange(targets, row, capacity, groups, sources)


def _exchange(targets: np.ndarray, row: int, capacity: np.ndarray, groups: np.ndarray, sources: np.ndarray) -> None:
    """Gives a source another one's target, where that one can take a free item.

    All free items are of the source's group here.
    Where no such exchange exists, no assignment serves more sources.
    """
    free = np.flatnonzero(capacity)
    if not len(free):
        return
    group = groups[sources[row]]
    givers = np.flatnonzero((targets != NONE) & (groups[sources] != group))
    givers = givers[groups[targets[givers]] != group]
    if len(givers):
        targets[row], targets[givers[0]] = targets[givers[0]], free[0]
        capacity[free[0]] -= 1


def _blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows whose products with all columns stay within the memory of a block."""
    step = max(1, 1024 * KEY_BLOCK_SIZE // max(1, num_columns))
    for start in range(0, num_rows, step):
        yield slice(start, start + step)
