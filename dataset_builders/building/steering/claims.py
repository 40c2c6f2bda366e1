"""Greedy matching of preferences to items, each preference used once (eq. 3, appendix D.2)."""

from collections.abc import Mapping

import numpy as np
from tqdm.auto import tqdm

from ...benchmark.schema import SPLITS
from .nearest import BLOCK_SIZE, KEY_BLOCK_SIZE, best_of, check_engine, top_k

NO_PREFERENCE = -1
_SLACK = 128
"""Ranks beyond four times the requests of an item, for preferences that others claim before it."""
_FREE = -1  # an owner that is no split


class PreferenceClaims:
    """Assigns preferences to (item, split) requests, each preference once as long as there are enough (eq. 3).

    Memory beside the inputs: one block of products (see [`~dataset_builders.building.steering.nearest.top_k`]), one
    rank list per item, about four numbers per request and 128 per item, and a copy of the pool's vectors where the
    pool is a proper subset.

    Args:
        items (`np.ndarray`): int `(num_requests,)`, item of every request; its count determines the number of ranks.
        splits (`np.ndarray`): int `(num_requests,)`, split of every request.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        forbidden (`Mapping[int, np.ndarray]`): Item -> preferences that must not be assigned to it.
        pool (`np.ndarray`, *optional*): bool `(num_preferences,)`, whether a preference may be claimed; all by
            default.
        block_size (`int`): Number of items ranked per block.
        engine (`str`), device (`str`, *optional*): See [`~dataset_builders.building.steering.nearest.top_k`].
    """

    def __init__(
        self,
        items: np.ndarray,
        splits: np.ndarray,
        item_embeddings: np.ndarray,
        preference_embeddings: np.ndarray,
        forbidden: Mapping[int, np.ndarray],
        pool: np.ndarray | None = None,
        block_size: int = BLOCK_SIZE,
        engine: str = "torch",
        device: str | None = None,
    ) -> None:
        check_engine(engine, device)
        self._items, self._block_size, self._engine, self._device = item_embeddings, block_size, engine, device
        # Below, a preference is an index into the pool; `_ids` maps it back.
        self._ids = np.arange(len(preference_embeddings)) if pool is None else np.flatnonzero(pool)
        everything = len(self._ids) == len(preference_embeddings)
        self._preferences = preference_embeddings if everything else preference_embeddings[self._ids]
        self._forbidden = _places(forbidden, self._ids, len(preference_embeddings))
        self._owner = np.full(len(self._ids), _FREE, np.int8)
        self._quota = _quotas(splits, len(self._ids))
        self._claimed = np.zeros(len(SPLITS), np.int64)
        distinct_items, needs = np.unique(items, return_counts=True)
        self._need = dict(zip(distinct_items.tolist(), needs.tolist(), strict=True))
        self._left = dict(self._need)
        self._ranked: dict[int, np.ndarray] = {}
        self._place: dict[int, int] = {}
        self._used: dict[int, set[int]] = {}
        self._owned: dict[int, tuple[int, np.ndarray, np.ndarray]] = {}
        self._reusable: dict[tuple[int, int], list[int]] = {}

    def rank_all(self, progress: bool = False) -> None:
        """Ranks the pool for every requested item in blocks of matrix products, to the depth its requests need."""
        if not len(self._ids):
            return
        waiting = np.array(sorted(self._need), np.int64)
        depths = np.array([self._depth(item) for item in waiting.tolist()], np.int64)
        with tqdm(total=len(waiting), desc="Ranking preferences", disable=not progress) as bar:
            # Items of similar depth together: most need few ranks, a few hubs need thousands.
            magnitudes = np.ceil(np.log2(depths)).astype(np.int64)
            for magnitude in np.unique(magnitudes).tolist():
                members = np.flatnonzero(magnitudes == magnitude)
                depth = int(depths[members].max())
                step = max(1, min(self._block_size, BLOCK_SIZE * KEY_BLOCK_SIZE // (16 * depth)))
                for start in range(0, len(members), step):
                    block = members[start : start + step]
                    self._rank(waiting[block], depths[block], depth)
                    bar.update(len(block))

    def replenish(self) -> None:
        """Ranks items again if their lists hold too few free preferences for their remaining requests.

        Changes no result: [`claim`] does the same for one item at a time, which takes longer.
        """
        if np.all(self._claimed >= self._quota):
            return
        num_free = int(np.count_nonzero(self._owner == _FREE))
        short = self._short(num_free)
        step = max(1, BLOCK_SIZE * KEY_BLOCK_SIZE // max(1, len(self._ids)))
        for start in range(0, len(short), step):
            block = short[start : start + step]
            for item, cosines in zip(block, self._items[block] @ self._preferences.T, strict=True):
                self._ranked[item], self._place[item] = self._best(item, cosines), 0

    def claim(self, item: int, split: int) -> tuple[int, bool]:
        """Claims the most similar free preference; failing that, one that the same split has for other items.

        Returns:
            `tuple[int, bool]`: Index of the preference (`NO_PREFERENCE` if none is left), and whether it is reused.
        """
        self._left[item] -= 1
        if self._claimed[split] < self._quota[split]:
            preference = self._next_unclaimed(item)
            if preference != NO_PREFERENCE:
                self._owner[preference] = split
                self._claimed[split] += 1
                self._used.setdefault(item, set()).add(preference)
                return int(self._ids[preference]), False
        preference = self._reuse(item, split)
        return (preference if preference == NO_PREFERENCE else int(self._ids[preference])), True

    def _short(self, num_free: int) -> list[int]:
        """Items whose lists hold fewer free preferences than twice their remaining requests."""
        items = [item for item, left in self._left.items() if left]
        unread = [self._ranked.get(item, self._ids[:0])[self._place.get(item, 0) :] for item in items]
        if not items:
            return []
        is_free = self._owner[np.concatenate(unread)] == _FREE
        ends = np.cumsum([len(one) for one in unread])
        counts = np.diff(np.r_[0, np.cumsum(is_free)][np.r_[0, ends]])
        return [
            item
            for item, count in zip(items, counts.tolist(), strict=True)
            if count < min(2 * self._left[item], num_free)
        ]

    def _depth(self, item: int) -> int:
        return 4 * self._need[item] + _SLACK + len(self._forbidden.get(item, ()))

    def _rank(self, items: np.ndarray, depths: np.ndarray, depth: int) -> None:
        _, ranked = top_k(self._items[items], self._preferences, depth, self._engine, self._device, self._block_size)
        for item, own_depth, best in zip(items.tolist(), depths.tolist(), ranked.astype(np.int32), strict=True):
            best = best[:own_depth]
            if item in self._forbidden:
                best = best[~np.isin(best, self._forbidden[item])]
            self._ranked[item], self._place[item] = best.copy(), 0

    def _next_unclaimed(self, item: int) -> int:
        while True:
            ranked = self._ranked.get(item)
            if ranked is None or self._place[item] >= len(ranked):
                ranked = self._best(item, self._preferences @ self._items[item])
                self._ranked[item], self._place[item] = ranked, 0
                if not len(ranked):
                    return NO_PREFERENCE
            for place in range(self._place[item], len(ranked)):
                if self._owner[ranked[place]] == _FREE:
                    self._place[item] = place + 1
                    return int(ranked[place])
            self._place[item] = len(ranked)

    def _best(self, item: int, cosines: np.ndarray) -> np.ndarray:
        """Finds the best free and allowed preferences of an item, best first, as many as its requests may need."""
        allowed = self._owner == _FREE
        allowed[self._forbidden.get(item, [])] = False
        candidates = np.flatnonzero(allowed)
        ranked = best_of(candidates, cosines[candidates], self._depth(item), self._items[item], self._preferences)
        return ranked.astype(np.int32)

    def _reuse(self, item: int, split: int) -> int:
        # A list stays valid: its split either claims nothing more, or only what is forbidden for this item.
        waiting = self._reusable.get((item, split))
        if not waiting:
            waiting = self._reusable[item, split] = self._best_owned(item, split)
        if not waiting:
            return NO_PREFERENCE
        preference = waiting.pop()
        self._used.setdefault(item, set()).add(preference)
        return preference

    def _best_owned(self, item: int, split: int) -> list[int]:
        """Finds the best preferences of a split that the item has not had, the best one last."""
        claimed = int(self._claimed[split])
        if split not in self._owned or self._owned[split][0] != claimed:
            places = np.flatnonzero(self._owner == split)
            self._owned[split] = claimed, places, self._preferences[places]
        _, places, vectors = self._owned[split]
        allowed = ~np.isin(places, list(self._used.get(item, ())))
        allowed &= ~np.isin(places, self._forbidden.get(item, []))
        candidates = np.flatnonzero(allowed)
        cosines = vectors @ self._items[item]
        # No other item uses this list: it serves this request and the remaining ones of the item.
        best = best_of(candidates, cosines[candidates], 1 + self._left[item], self._items[item], vectors)
        return places[best][::-1].tolist()


def _places(forbidden: Mapping[int, np.ndarray], ids: np.ndarray, num_preferences: int) -> dict[int, np.ndarray]:
    """Maps forbidden preferences to their places in the pool; those outside it are left out."""
    place = np.full(num_preferences, -1, np.int64)
    place[ids] = np.arange(len(ids))
    found = {item: place[np.unique(preferences)] for item, preferences in forbidden.items() if len(preferences)}
    return {item: places[places >= 0] for item, places in found.items()}


def _quotas(splits: np.ndarray, pool_size: int) -> np.ndarray:
    """Number of preferences each split may claim: as many as it requests, or its share of a pool that is too small."""
    requests = np.bincount(splits, minlength=len(SPLITS))
    if requests.sum() <= pool_size:
        return requests
    shares = requests * pool_size // requests.sum()
    return np.where(requests > 0, np.maximum(shares, 1), 0)
