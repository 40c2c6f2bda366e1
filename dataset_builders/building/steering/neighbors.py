"""Similar and distinct items (eq. 2), and the users whose histories lead to them."""

from collections.abc import Sequence

import numpy as np

from ..sequences import TEST, TRAIN, VALIDATION, Sequences
from .nearest import BLOCK_SIZE, nearest_and_farthest

FELLOW_SPLITS = {TRAIN: (TRAIN,), VALIDATION: (VALIDATION, TRAIN), TEST: (TEST, VALIDATION, TRAIN)}
"""Splits that another user with the same ground truth may come from, best first: never a later split."""


class TooAlike(ValueError):
    """A catalog (or a split of it) without two items of different texts, so that steering is impossible."""


def similar_and_distinct(
    embeddings: np.ndarray,
    texts: Sequence[str],
    block_size: int = BLOCK_SIZE // 2,
    engine: str = "torch",
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most similar and the most distinct item of each item, over the whole catalog (eq. 2).

    Args:
        embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalized.
        texts (`Sequence[str]`): The embedded texts; items with the same text (up to case and spaces) are never
            neighbors of each other, nor is an item its own neighbor.
        block_size (`int`): Number of items per block, which bounds the memory.
        engine (`str`), device (`str`, *optional*): See
            [`~dataset_builders.building.steering.nearest.nearest_and_farthest`].

    Returns:
        `tuple[np.ndarray, np.ndarray]`: int64 `(num_items,)` each, indices of the similar and of the distinct item;
        the smallest index where several tie.

    Raises:
        TooAlike: If all items have the same text.
    """
    return nearest_and_farthest(embeddings, text_groups(texts), engine, device, block_size)


def number_texts(texts: Sequence[str]) -> np.ndarray:
    """Numbers the distinct texts, up to case and spaces: int `(num_texts,)`, equal for equal texts.

    >>> number_texts(["Red cap", "red  CAP", "blue cap"]).tolist()
    [0, 0, 1]
    """
    groups: dict[str, int] = {}
    return np.array([groups.setdefault(" ".join(text.casefold().split()), len(groups)) for text in texts], np.int64)


def text_groups(texts: Sequence[str]) -> np.ndarray:
    """Numbers the distinct texts of a catalog, see [`number_texts`].

    Args:
        texts (`Sequence[str]`): The embedded texts of the items.

    Returns:
        `np.ndarray`: int `(num_items,)`, equal for items with the same text.

    Raises:
        TooAlike: If there are fewer than two distinct texts.
    """
    group = number_texts(texts)
    if (count := len(np.unique(group))) < 2:
        raise TooAlike(f"the {len(texts)} items have {count} distinct texts; at least 2 are needed")
    return group


def choose_occurrences(
    sequences: Sequences, split: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses two users for each distinct target of a split: one with this ground truth, and another one.

    The first target of a window has no history, so an occurrence with a history is taken where there is one. The other
    user is taken from the same split where possible, else from an earlier one, never from a later one; the history is
    cut at that user's own position and then holds nothing of a later split. Where all other users of the split have
    the item as the first of their window, the two users swap roles.

    Args:
        sequences (`Sequences`): All actions.
        split (`int`): Index into `SPLITS`.
        generator (`np.random.Generator`): Random generator of the choice among equals.

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
            # Alone, or the two swap roles: both have the item in this split, and only this one has a history.
            best = mine
        own.append(mine)
        fellow.append(best)
    return np.array(own, np.int64), np.array(fellow, np.int64), np.array(has_fellow, bool)


def choose_users(
    sequences: Sequences, split: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses the users of a fine and of a coarse row for each distinct target of a split, of that split alone.

    Both rows have a history where an occurrence has one. They are of different users where another user of the split
    has the ground truth. Where only one of them has a history, it is the fine row's.

    Args:
        sequences (`Sequences`): All actions.
        split (`int`): Index into `SPLITS`.
        generator (`np.random.Generator`): Random generator of the choice among equals.

    Returns:
        `tuple[np.ndarray, np.ndarray, np.ndarray]`: each `(num_targets,)`, ordered by item: int64 rows of
        [`Sequences`] for fine and for coarse, and bool whether both are the same, for lack of another user.
    """
    shuffled = generator.permutation(len(sequences))
    pool = _occurrences_by_item(sequences, shuffled[(sequences.split == split)[shuffled]])
    fine, coarse, is_own = [], [], []
    for item in sorted(pool):
        first = pool[item][0]
        other = next((row for row in pool[item] if sequences.user[row] != sequences.user[first]), first)
        fine.append(first)
        coarse.append(other)
        is_own.append(first == other)
    return np.array(fine, np.int64), np.array(coarse, np.int64), np.array(is_own, bool)


def _occurrences_by_item(sequences: Sequences, rows: np.ndarray) -> dict[int, list[int]]:
    """Maps each item id to its rows in the window, those with a history first, else in the given order."""
    rows = rows[sequences.in_window[rows]]
    rows = rows[np.argsort(sequences.history_length[rows] == 0, kind="stable")]
    occurrences: dict[int, list[int]] = {}
    for row, item in zip(rows.tolist(), sequences.item_id[rows].tolist(), strict=True):
        occurrences.setdefault(item, []).append(row)
    return occurrences
