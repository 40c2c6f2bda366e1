"""Fine- and coarse-grained steering: similar and distinct items, and a preference of its own for each row (eq. 2, 3).

Knows vectors, splits and sequences. Leaves the products of vectors to `nearest.py`, the wording of preferences and the
columns of the rows to others.

The matching of eq. (3) is greedy over all rows: a preference that was matched before is replaced by the next most
similar (appendix D.2), so every (preference, item) pair is unique within and across splits, and no preference serves
two splits. The variant `as_released` does what the authors' release does instead, see [`plan_steering`].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ...benchmark.report import SteeringReport
from ...benchmark.schema import SPLITS
from ..sequences import TEST, TRAIN, VALIDATION, Sequences
from .nearest import BLOCK_SIZE, KEY_BLOCK_SIZE, best_of, check_engine, nearest_and_farthest, top_k

NO_PREFERENCE = -1
KINDS = ("fine", "coarse")
STEERING_VARIANTS = ("paper", "as_released")
CLAIM_ORDER = (TEST, VALIDATION, TRAIN)
"""Evaluation splits choose first: a shortage of preferences shows in train."""
FELLOW_SPLITS = {TRAIN: (TRAIN,), VALIDATION: (VALIDATION, TRAIN), TEST: (TEST, VALIDATION, TRAIN)}
"""Where another user with the same ground truth may be taken from, best first: never from a later split."""
_SLACK = 128
"""Ranks beyond four times the requests of an item, for what others claim before it."""
_PARTS = 8
"""Of the rows of an axis and split; before each, the rank lists that became short are made anew together."""
_FREE = -1  # an owner that is no split


class TooAlike(ValueError):
    """A catalogue (or a split of it) that holds no two items with different texts, so that nothing can be steered."""


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


def similar_and_distinct(
    embeddings: np.ndarray,
    texts: Sequence[str],
    block_size: int = BLOCK_SIZE // 2,
    engine: str = "faiss",
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar and the most distinct item of each item, over the whole catalogue (eq. 2).

    Args:
        embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalised.
        texts (`Sequence[str]`): What was embedded; items with the same text (case and spaces aside) are never each
            other's neighbour, as little as an item is its own.
        block_size (`int`): Items at a time, which bounds the memory.
        engine (`str`), device (`str`, *optional*): See
            [`~dataset_builders.building.steering.nearest.nearest_and_farthest`].

    Returns:
        `tuple[np.ndarray, np.ndarray]`: int64 `(num_items,)` each, indices of the similar and of the distinct item;
        the smallest index where several tie.

    Raises:
        ValueError: If all items have the same text, so that there is no other.
    """
    groups: dict[str, int] = {}
    group = np.array([groups.setdefault(" ".join(text.casefold().split()), len(groups)) for text in texts])
    if len(groups) < 2:
        raise TooAlike(f"the {len(texts)} items have {len(groups)} distinct texts; at least 2 are needed")
    return nearest_and_farthest(embeddings, group, engine, device, block_size)


class PreferenceClaims:
    """Hands out preferences to (item, split) requests, each preference once as long as there are enough (eq. 3).

    Memory beside the inputs: one block of products (see [`~dataset_builders.building.steering.nearest.top_k`]), one
    rank list per item, about four numbers per request and 128 per item, and a copy of the pool's vectors where the
    pool is not everything.

    Args:
        items (`np.ndarray`): int `(num_requests,)`, item of every request to come; tells how many ranks each needs.
        splits (`np.ndarray`): int `(num_requests,)`, its split.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        forbidden (`Mapping[int, np.ndarray]`): item -> preferences that it must not be paired with.
        pool (`np.ndarray`, *optional*): bool `(num_preferences,)`, which may be claimed; all by default.
        block_size (`int`): Items ranked at a time.
        engine (`str`), device (`str`, *optional*): What ranks, see
            [`~dataset_builders.building.steering.nearest.top_k`].
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
        engine: str = "faiss",
        device: str | None = None,
    ) -> None:
        check_engine(engine, device)
        self._items, self._block_size, self._engine, self._device = item_embeddings, block_size, engine, device
        # From here on a preference is its place in the pool; `_ids` leads back.
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
        """Ranks the pool for every requested item in blocks of matrix products, as deep as its requests need."""
        if not len(self._ids):
            return
        waiting = np.array(sorted(self._need), np.int64)
        depths = np.array([self._depth(item) for item in waiting.tolist()], np.int64)
        with tqdm(total=len(waiting), desc="Ranking preferences", disable=not progress) as bar:
            # Items of about the same depth together: most ask for little, a few (hubs) for thousands.
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
        """Ranks those items again whose lists hold too few free preferences for the requests that are still to come.

        Changes no answer: [`claim`] does the same for one item at a time, which takes longer.
        """
        if np.all(self._claimed >= self._quota):
            return
        num_free = int(np.count_nonzero(self._owner == _FREE))
        short = [item for item, left in self._left.items() if left and self._num_free(item) < min(2 * left, num_free)]
        step = max(1, BLOCK_SIZE * KEY_BLOCK_SIZE // max(1, len(self._ids)))
        for start in range(0, len(short), step):
            block = short[start : start + step]
            for item, cosines in zip(block, self._items[block] @ self._preferences.T, strict=True):
                self._ranked[item], self._place[item] = self._best(item, cosines), 0

    def claim(self, item: int, split: int) -> tuple[int, bool]:
        """The most similar preference that nobody has; failing that, one that the same split has for other items.

        Returns:
            `tuple[int, bool]`: Index of the preference (`NO_PREFERENCE` where none is left), and whether it is reused.
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

    def _num_free(self, item: int) -> int:
        unread = self._ranked.get(item, self._ids[:0])[self._place.get(item, 0) :]
        return int(np.count_nonzero(self._owner[unread] == _FREE))

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
        """The best free and allowed preferences of an item, best first, as many as its requests may need."""
        allowed = self._owner == _FREE
        allowed[self._forbidden.get(item, [])] = False
        candidates = np.flatnonzero(allowed)
        ranked = best_of(candidates, cosines[candidates], self._depth(item), self._items[item], self._preferences)
        return ranked.astype(np.int32)

    def _reuse(self, item: int, split: int) -> int:
        # A list stays right: its split either claims nothing more, or only what is forbidden for this item.
        waiting = self._reusable.get((item, split))
        if not waiting:
            waiting = self._reusable[item, split] = self._best_owned(item, split)
        if not waiting:
            return NO_PREFERENCE
        preference = waiting.pop()
        self._used.setdefault(item, set()).add(preference)
        return preference

    def _best_owned(self, item: int, split: int) -> list[int]:
        """The best preferences of a split that the item has not had, the best one last."""
        claimed = int(self._claimed[split])
        if split not in self._owned or self._owned[split][0] != claimed:
            places = np.flatnonzero(self._owner == split)
            self._owned[split] = claimed, places, self._preferences[places]
        _, places, vectors = self._owned[split]
        allowed = ~np.isin(places, list(self._used.get(item, ())))
        allowed &= ~np.isin(places, self._forbidden.get(item, []))
        candidates = np.flatnonzero(allowed)
        cosines = vectors @ self._items[item]
        # Nobody else takes from this list: the request at hand and those to come are all it must serve.
        best = best_of(candidates, cosines[candidates], 1 + self._left[item], self._items[item], vectors)
        return places[best][::-1].tolist()


def _places(forbidden: Mapping[int, np.ndarray], ids: np.ndarray, num_preferences: int) -> dict[int, np.ndarray]:
    """The same mapping to places in the pool, of those that are in it."""
    place = np.full(num_preferences, -1, np.int64)
    place[ids] = np.arange(len(ids))
    found = {item: place[np.unique(preferences)] for item, preferences in forbidden.items() if len(preferences)}
    return {item: places[places >= 0] for item, places in found.items()}


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
    *,
    engine: str = "faiss",
    device: str | None = None,
    variant: str = "paper",
    matched: np.ndarray | None = None,
) -> tuple[dict[tuple[str, str], SteeringRows], SteeringReport]:
    """The rows of both steering axes (section 3.2, appendix D.2).

    - `paper`: one fine and one coarse row per distinct target of each split. The similar or distinct item of the whole
      catalogue is the new target; eq. (3) gives a preference, each one once where there are enough.
    - `as_released`: two fine and two coarse rows per distinct target of each split, the source. Its neighbour is the
      similar or distinct one among the targets of that split. One row pairs the preference matched to the source with
      the history of a user whose ground truth is the neighbour, and asks for the source; the other one changes the
      two. Preferences may repeat, in other splits too. The release cut one history at the position of the other, and
      so showed labels and items of the test split; here each is cut at its own.

    Args:
        sequences (`Sequences`): All actions.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`; entry `item_id - 1`.
        item_texts (`Sequence[str]`): What was embedded.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        forbidden (`Mapping[int, np.ndarray]`): Index of an item -> preferences of its rows in recommendation/train.
        pool (`np.ndarray`): bool `(num_preferences,)`, which preferences belong to the set P of eq. (3).
        seed (`int`): Chooses among users with the same ground truth, and in which order rows choose preferences.
        progress (`bool`): Whether to show bars.
        engine (`str`): What multiplies the vectors, one of [`~dataset_builders.building.steering.nearest.ENGINES`];
            all are exact.
        device (`str`, *optional*): Device of the engine `"torch"`, such as `"cuda"`; CPU by default.
        variant (`str`): One of `STEERING_VARIANTS`.
        matched (`np.ndarray`, *optional*): int64 `(num_actions,)`, the preference of eq. (1) of every target, -1 where
            there is none; needed by `as_released`, which uses neither `forbidden` nor `pool` nor eq. (3).

    Returns:
        `tuple`: `(axis, split) -> SteeringRows`, and the [`SteeringReport`].

    Raises:
        ValueError: If the catalogue (`as_released`: a split) holds no two items with different texts, on an unknown
            variant, engine or device, or if `matched` is missing or of another length.
        ImportError: If the engine's library is not installed.
    """
    check_engine(engine, device)
    if variant not in STEERING_VARIANTS:
        raise ValueError(f"variant ({variant!r}) must be one of {', '.join(STEERING_VARIANTS)}.")
    generator = np.random.default_rng(seed)
    if variant == "as_released":
        if matched is None or len(matched) != len(sequences):
            given = "none" if matched is None else len(matched)
            raise ValueError(
                f"variant 'as_released' needs matched, one preference (or -1) for each of the {len(sequences)} "
                f"actions; got {given}."
            )
        return _plan_as_released(sequences, item_embeddings, item_texts, matched, generator, engine, device)
    neighbours = dict(
        zip(KINDS, similar_and_distinct(item_embeddings, item_texts, engine=engine, device=device), strict=True)
    )
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
        engine=engine,
        device=device,
    )
    claims.rank_all(progress)
    rows = {}
    with tqdm(total=sum(map(len, targets.values())), desc="Matching steering", disable=not progress) as bar:
        for kind, split in requests:
            name = f"{kind}_{SPLITS[split]}"
            order = generator.permutation(len(targets[kind, split]))
            chosen = np.full(len(order), NO_PREFERENCE, np.int64)
            report.reused[name] = 0
            for part in np.array_split(order, _PARTS):
                claims.replenish()
                for index in part.tolist():
                    chosen[index], reused = claims.claim(int(targets[kind, split][index]), split)
                    report.reused[name] += int(reused and chosen[index] != NO_PREFERENCE)
                bar.update(len(part))
            own, occurrence = plans[kind, split]
            rows[kind, SPLITS[split]] = _kept_rows(
                sequences, name, occurrence, sequences.item_id[own], targets[kind, split] + 1, chosen, report
            )
    return rows, report


def _plan_as_released(
    sequences: Sequences,
    item_embeddings: np.ndarray,
    item_texts: Sequence[str],
    matched: np.ndarray,
    generator: np.random.Generator,
    engine: str,
    device: str | None,
) -> tuple[dict[tuple[str, str], SteeringRows], SteeringReport]:
    """Two rows per source item and axis; see [`plan_steering`]."""
    report = SteeringReport()
    rows = {}
    for split in CLAIM_ORDER:
        shuffled = generator.permutation(len(sequences))
        here = shuffled[(sequences.in_window & (sequences.split == split))[shuffled]]
        # Of each item's occurrences one with a history and a matched preference, else one with a history, else any.
        worth = (sequences.history_length[here] > 0) * (1 + (matched[here] != NO_PREFERENCE))
        here = here[np.lexsort((-worth, sequences.item_id[here]))]
        items, first = np.unique(sequences.item_id[here], return_index=True)
        occurrence = here[first]
        try:
            neighbours = similar_and_distinct(
                item_embeddings[items - 1],
                [item_texts[item - 1] for item in items.tolist()],
                engine=engine,
                device=device,
            )
        except TooAlike as error:
            raise TooAlike(f"steering as released needs two items in the split {SPLITS[split]}: {error}") from error
        for kind, neighbour in zip(KINDS, neighbours, strict=True):
            name = f"{kind}_{SPLITS[split]}"
            report.reused[name] = 0
            # The source's two rows stand beside each other: each one's history asks for the item of the other one.
            histories = np.stack([occurrence[neighbour], occurrence], axis=1).ravel()
            wishes = np.stack([occurrence, occurrence[neighbour]], axis=1).ravel()
            truth, target = sequences.item_id[histories], sequences.item_id[wishes]
            rows[kind, SPLITS[split]] = _kept_rows(sequences, name, histories, truth, target, matched[wishes], report)
    return rows, report


def _kept_rows(
    sequences: Sequences,
    name: str,
    occurrence: np.ndarray,
    source_item: np.ndarray,
    target: np.ndarray,
    preference: np.ndarray,
    report: SteeringReport,
) -> SteeringRows:
    """The rows that have a preference; counts the others, and the empty histories."""
    kept = preference != NO_PREFERENCE
    report.dropped[name] = int(np.count_nonzero(~kept))
    report.empty_history[name] = int(np.count_nonzero(sequences.history_length[occurrence[kept]] == 0))
    return SteeringRows(
        occurrence=occurrence[kept],
        source_item=source_item[kept].astype(np.int32),
        target=target[kept].astype(np.int32),
        preference=preference[kept].astype(np.int64),
    )


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


def training_matches(sequences: Sequences, matched: np.ndarray) -> dict[int, np.ndarray]:
    """Preferences that eq. (1) matched to each item at training positions.

    Args:
        sequences ([`Sequences`]): All actions.
        matched (`np.ndarray`): int `(num_actions,)`, index of the preference of each target, -1 for none.

    Returns:
        `dict`: Item id - 1 -> indices of its preferences.
    """
    train = sequences.target_rows(TRAIN)
    train = train[matched[train] >= 0]
    keys, values = sequences.item_id[train] - 1, matched[train]
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(values[order], starts[1:]), strict=True)) if len(keys) else {}
