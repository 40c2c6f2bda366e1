"""Fine- and coarse-grained steering: similar and distinct items, and a preference of its own for each row (eq. 2, 3).

Knows vectors, splits and sequences. Leaves the wording of preferences and the columns of the rows to others.

The matching of eq. (3) is greedy over all rows: a preference that was matched before is replaced by the next most
similar (appendix D.2), so every (preference, item) pair is unique within and across splits, and no preference serves
two splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm.auto import tqdm

from .schema import SPLITS
from .sequences import TEST, TRAIN, VALIDATION, Sequences

NO_PREFERENCE = -1
KINDS = ("fine", "coarse")
CLAIM_ORDER = (TEST, VALIDATION, TRAIN)
"""Evaluation splits choose first: a shortage of preferences shows in train."""
FELLOW_SPLITS = {TRAIN: (TRAIN,), VALIDATION: (VALIDATION, TRAIN), TEST: (TEST, VALIDATION, TRAIN)}
"""Where another user with the same ground truth may be taken from, best first: never from a later split."""
_SLACK = 32
_FREE, _EXCLUDED = -1, -2  # owners that are no split


@dataclass(frozen=True)
class SteeringRows:
    """Rows of one axis and split.

    Attributes:
        occurrence (`np.ndarray`): int64 `(num_rows,)`, row of [`Sequences`] whose user, position and history are used.
        source_item (`np.ndarray`): int32 `(num_rows,)`, the original ground truth.
        target (`np.ndarray`): int32 `(num_rows,)`, the similar or distinct item.
        preference (`np.ndarray`): int64 `(num_rows,)`, index into the distinct preferences.
    """

    occurrence: np.ndarray
    source_item: np.ndarray
    target: np.ndarray
    preference: np.ndarray


@dataclass
class SteeringReport:
    """What did not go by the book, per axis and split (`"fine_train"`, ...).

    Attributes:
        reused: Rows whose preference had been matched to another item of the same split (the pool was too small).
        dropped: Rows without any preference left to pair uniquely.
        own_history: Fine rows for which no other user has the same ground truth: the user's own history is used.
        empty_history: Rows whose ground truth only ever comes first in a window.
    """

    reused: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    own_history: dict[str, int] = field(default_factory=dict)
    empty_history: dict[str, int] = field(default_factory=dict)


def similar_and_distinct(
    embeddings: np.ndarray, texts: Sequence[str], block_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar and the most distinct item of each item, over the whole catalogue (eq. 2).

    Args:
        embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalised.
        texts (`Sequence[str]`): What was embedded; items with the same text (case and spaces aside) are never each
            other's neighbour, as little as an item is its own.
        block_size (`int`): Items at a time, which bounds the memory.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: int64 `(num_items,)` each, indices of the similar and of the distinct item;
        the smallest index where several tie.

    Raises:
        ValueError: If all items have the same text, so that there is no other.
    """
    groups: dict[str, int] = {}
    group = np.array([groups.setdefault(" ".join(text.casefold().split()), len(groups)) for text in texts])
    if len(groups) < 2:
        raise ValueError(f"the {len(texts)} items have {len(groups)} distinct texts; at least 2 are needed")
    similar, distinct = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64)
    for start in range(0, len(texts), block_size):
        block = slice(start, start + block_size)
        cosines = embeddings[block] @ embeddings.T
        same = group[block, None] == group[None, :]
        distinct[block] = np.where(same, np.inf, cosines).argmin(axis=1)
        similar[block] = np.where(same, -np.inf, cosines).argmax(axis=1)
    return similar, distinct


class PreferenceClaims:
    """Hands out preferences to (item, split) requests, each preference once as long as there are enough (eq. 3).

    Args:
        items (`np.ndarray`): int `(num_requests,)`, item of every request to come; tells how many ranks each needs.
        splits (`np.ndarray`): int `(num_requests,)`, its split.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        forbidden (`Mapping[int, np.ndarray]`): item -> preferences that it must not be paired with.
        pool (`np.ndarray`, *optional*): bool `(num_preferences,)`, which may be claimed; all by default.
        block_size (`int`): Items ranked at a time; memory is `block_size * num_preferences` floats.
    """

    def __init__(
        self,
        items: np.ndarray,
        splits: np.ndarray,
        item_embeddings: np.ndarray,
        preference_embeddings: np.ndarray,
        forbidden: Mapping[int, np.ndarray],
        pool: np.ndarray | None = None,
        block_size: int = 256,
    ) -> None:
        self._items, self._preferences, self._forbidden = item_embeddings, preference_embeddings, forbidden
        self._block_size = block_size
        self._owner = np.full(len(preference_embeddings), _FREE, np.int8)
        if pool is not None:
            self._owner[~pool] = _EXCLUDED
        self._quota = _quotas(splits, int(np.count_nonzero(self._owner == _FREE)))
        self._claimed = np.zeros(len(SPLITS), np.int64)
        distinct_items, needs = np.unique(items, return_counts=True)
        self._need = dict(zip(distinct_items.tolist(), needs.tolist(), strict=True))
        self._ranked: dict[int, np.ndarray] = {}
        self._place: dict[int, int] = {}
        self._used: dict[int, set[int]] = {}
        self._reusable: dict[tuple[int, int], list[int]] = {}

    def rank_all(self, progress: bool = False) -> None:
        """Ranks the pool for every requested item in blocks of matrix products, as deep as its requests need."""
        waiting = np.array(sorted(self._need), np.int64)
        blocks = range(0, len(waiting), self._block_size)
        for start in tqdm(blocks, desc="Ranking preferences", disable=not progress):
            block = waiting[start : start + self._block_size]
            for item, cosines in zip(block.tolist(), self._items[block] @ self._preferences.T, strict=True):
                self._ranked[item], self._place[item] = self._best(item, cosines), 0

    def claim(self, item: int, split: int) -> tuple[int, bool]:
        """The most similar preference that nobody has; failing that, one that the same split has for other items.

        Returns:
            `tuple[int, bool]`: Index of the preference (`NO_PREFERENCE` where none is left), and whether it is reused.
        """
        if self._claimed[split] < self._quota[split]:
            preference = self._next_unclaimed(item)
            if preference != NO_PREFERENCE:
                self._owner[preference] = split
                self._claimed[split] += 1
                self._used.setdefault(item, set()).add(preference)
                return preference, False
        return self._reuse(item, split), True

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
        """The best free and allowed preferences of an item, best first, as many as its requests may need."""
        allowed = self._owner == _FREE
        allowed[self._forbidden.get(item, [])] = False
        candidates = np.flatnonzero(allowed)
        return candidates[_top(cosines[candidates], 2 * self._need[item] + _SLACK)]

    def _reuse(self, item: int, split: int) -> int:
        used = self._used.setdefault(item, set())
        for _ in range(2):  # the second time with preferences that the split has claimed since the list was made
            waiting = self._reusable.get((item, split), [])
            while waiting:
                preference = waiting.pop()
                if preference not in used:
                    used.add(preference)
                    return preference
            owned = self._owner == split
            owned[self._forbidden.get(item, [])] = False
            owned[list(used)] = False
            candidates = np.flatnonzero(owned)
            ranked = candidates[_top(self._preferences[candidates] @ self._items[item], len(candidates))]
            self._reusable[item, split] = ranked[::-1].tolist()
        return NO_PREFERENCE


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest scores, largest first, the smaller index first where scores tie."""
    if count < len(scores):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero(scores >= threshold)
    else:
        chosen = np.arange(len(scores))
    return chosen[np.argsort(-scores[chosen], kind="stable")][:count]


def _quotas(splits: np.ndarray, pool_size: int) -> np.ndarray:
    """How many preferences each split may claim: all it asks for, or its fair share of a pool that is too small."""
    requests = np.bincount(splits, minlength=len(SPLITS))
    if requests.sum() <= pool_size:
        return requests
    shares = requests * pool_size // requests.sum()
    return np.where(requests > 0, np.maximum(shares, 1), 0)


def plan_steering(
    sequences: Sequences,
    item_embeddings: np.ndarray,
    item_texts: Sequence[str],
    preference_embeddings: np.ndarray,
    forbidden: Mapping[int, np.ndarray],
    pool: np.ndarray,
    seed: int = 0,
    progress: bool = False,
) -> tuple[dict[tuple[str, str], SteeringRows], SteeringReport]:
    """One fine and one coarse row per distinct target of each split (section 3.2, appendix D.2).

    Args:
        sequences (`Sequences`): All actions.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`; entry `item_id - 1`.
        item_texts (`Sequence[str]`): What was embedded.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        forbidden (`Mapping[int, np.ndarray]`): Index of an item -> preferences of its rows in recommendation/train.
        pool (`np.ndarray`): bool `(num_preferences,)`, which preferences belong to the set P of eq. (3).
        seed (`int`): Chooses among users with the same ground truth, and in which order rows choose preferences.
        progress (`bool`): Whether to show bars.

    Returns:
        `tuple`: `(axis, split) -> SteeringRows`, and the [`SteeringReport`].

    Raises:
        ValueError: If the catalogue holds no two items with different texts.
    """
    generator = np.random.default_rng(seed)
    neighbours = dict(zip(KINDS, similar_and_distinct(item_embeddings, item_texts), strict=True))
    report = SteeringReport()
    plans: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    for split in CLAIM_ORDER:
        own, fellow, has_fellow = choose_occurrences(sequences, split, generator)
        plans["fine", split], plans["coarse", split] = (own, fellow), (own, own)
        report.own_history[f"fine_{SPLITS[split]}"] = int(np.count_nonzero(~has_fellow))
    # Fine first: it asks a little of many items, coarse asks much of few (hubs) and eats up their surroundings.
    requests = [(kind, split) for kind in KINDS for split in CLAIM_ORDER]
    targets = {key: neighbours[key[0]][sequences.item_id[plans[key][0]] - 1] for key in requests}
    claims = PreferenceClaims(
        np.concatenate([targets[key] for key in requests]),
        np.concatenate([np.full(len(targets[key]), key[1]) for key in requests]),
        item_embeddings,
        preference_embeddings,
        forbidden,
        pool,
    )
    claims.rank_all(progress)
    rows = {}
    with tqdm(total=sum(map(len, targets.values())), desc="Matching steering", disable=not progress) as bar:
        for kind, split in requests:
            name = f"{kind}_{SPLITS[split]}"
            order = generator.permutation(len(targets[kind, split]))
            chosen = np.full(len(order), NO_PREFERENCE, np.int64)
            report.reused[name] = 0
            for index in order.tolist():
                chosen[index], reused = claims.claim(int(targets[kind, split][index]), split)
                report.reused[name] += int(reused and chosen[index] != NO_PREFERENCE)
            bar.update(len(order))
            kept = chosen != NO_PREFERENCE
            own, occurrence = plans[kind, split]
            report.dropped[name] = int(np.count_nonzero(~kept))
            report.empty_history[name] = int(np.count_nonzero(sequences.history_length[occurrence[kept]] == 0))
            rows[kind, SPLITS[split]] = SteeringRows(
                occurrence=occurrence[kept],
                source_item=sequences.item_id[own[kept]],
                target=(targets[kind, split][kept] + 1).astype(np.int32),
                preference=chosen[kept],
            )
    return rows, report


def choose_occurrences(
    sequences: Sequences, split: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each distinct target of a split: a user who has it as ground truth, and another one.

    The first target of a window has no history, so an occurrence with a history is taken where there is one. The other
    user is taken from the same split where possible, else from an earlier one, never from a later one; cut at their
    own position, their history then holds nothing of a later split. Where all other users of the split have it first,
    the two change places.

    Args:
        sequences (`Sequences`): All actions.
        split (`int`): Index into `SPLITS`.
        generator (`np.random.Generator`): Chooses among equals.

    Returns:
        `tuple[np.ndarray, np.ndarray, np.ndarray]`: each `(num_targets,)`: int64 own rows, ordered by item; int64 rows
        of the other user (see above; the own row where there is none); bool whether there is one.
    """
    shuffled = generator.permutation(len(sequences))
    pools = {
        other: _occurrences_by_item(sequences, shuffled[(sequences.split == other)[shuffled]])
        for other in FELLOW_SPLITS[split]
    }
    own, fellow, has_fellow = [], [], []
    for item in sorted(pools[split]):
        mine = pools[split][item][0]
        others = (
            row
            for other in FELLOW_SPLITS[split]
            for row in pools[other].get(item, ())
            if sequences.user[row] != sequences.user[mine]
        )
        # Sorting by "has no history" is stable: a same-split fellow with a history comes first.
        best = min(others, key=lambda row: sequences.history_length[row] == 0, default=None)
        has_fellow.append(best is not None)
        if best is None or (sequences.history_length[best] == 0 and sequences.split[best] == split):
            # Alone, or the two change places: both have the item in this split, and only this one has a history.
            best = mine
        own.append(mine)
        fellow.append(best)
    return np.array(own, np.int64), np.array(fellow, np.int64), np.array(has_fellow, bool)


def _occurrences_by_item(sequences: Sequences, rows: np.ndarray) -> dict[int, list[int]]:
    """Item id -> its rows in the window, those with a history first, else in the order given."""
    rows = rows[sequences.in_window[rows]]
    rows = rows[np.argsort(sequences.history_length[rows] == 0, kind="stable")]
    occurrences: dict[int, list[int]] = {}
    for row, item in zip(rows.tolist(), sequences.item_id[rows].tolist(), strict=True):
        occurrences.setdefault(item, []).append(row)
    return occurrences
