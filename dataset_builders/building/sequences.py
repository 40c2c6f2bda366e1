"""Users' sequences as flat arrays, with the arithmetic of windows, histories and splits (appendix B, A.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ..benchmark.schema import SPLITS, WINDOW
from .preferences.approximation import PastItem

TRAIN, VALIDATION, TEST = range(len(SPLITS))


@dataclass(frozen=True, eq=False)
class Sequences:
    """All actions, ordered by user and position; a *row* below is an index into these arrays.

    Attributes:
        user_ids (`list[str]`): Of length `num_users`.
        user (`np.ndarray`): int32 `(num_actions,)`, index into `user_ids`, non-decreasing.
        position (`np.ndarray`): int32 `(num_actions,)`, 1-based in the user's whole sequence.
        length (`np.ndarray`): int32 `(num_actions,)`, T of that user.
        item_id (`np.ndarray`): int32 `(num_actions,)`, 1..num_items.
        ratings, reviews (`list`): Of length `num_actions`, `None` where missing.
        window (`int`): Number of a user's most recent items that are used.
        given_polarity (`np.ndarray`, *optional*): See [`with_polarity`].
    """

    user_ids: list[str]
    user: np.ndarray
    position: np.ndarray
    length: np.ndarray
    item_id: np.ndarray
    ratings: list[float | None]
    reviews: list[str | None]
    window: int = WINDOW
    given_polarity: np.ndarray | None = None

    @classmethod
    def from_arrow(cls, events: pa.Table, window: int = WINDOW) -> Self:
        """Reads an events table.

        Args:
            events (`pa.Table`): Columns of [`~dataset_builders.building.interactions.Interactions.events`], sorted by
                user and position.
            window (`int`): Number of a user's most recent items that are used.

        Returns:
            [`Sequences`]: Without polarity.

        Raises:
            ValueError: If the window is shorter than 2.
        """
        if window < 2:
            raise ValueError(f"window ({window}) must be at least 2: a target and one item of history.")
        users = events["user_id"].combine_chunks().dictionary_encode()
        if isinstance(users, pa.ChunkedArray):
            users = users.combine_chunks()
        names = ("position", "sequence_length", "item_id")
        columns = {name: events[name].to_numpy().astype(np.int32) for name in names}
        position, user = columns["position"], users.indices.to_numpy().astype(np.int32)
        first = np.r_[True, user[1:] != user[:-1]] if len(user) else np.zeros(0, bool)
        assert np.all(position[first] == 1), "every user's positions start at 1"
        assert np.all((np.diff(position) == 1) | first[1:]), "positions of a user are consecutive"
        return cls(
            user_ids=users.dictionary.to_pylist(),
            user=user,
            position=position,
            length=columns["sequence_length"],
            item_id=columns["item_id"],
            ratings=events["rating"].to_pylist(),
            reviews=events["review"].to_pylist(),
            window=window,
        )

    def __len__(self) -> int:
        return len(self.position)

    @cached_property
    def window_start(self) -> np.ndarray:
        """int32 `(num_actions,)`: the first position of the user's window, `max(1, T - window + 1)`."""
        return np.maximum(1, self.length - self.window + 1)

    @cached_property
    def in_window(self) -> np.ndarray:
        """bool `(num_actions,)`: earlier positions are neither targets nor in a history."""
        return self.position >= self.window_start

    @cached_property
    def history_length(self) -> np.ndarray:
        """int32 `(num_actions,)`: items of the window before this row, 0 at its first."""
        return np.maximum(0, self.position - self.window_start)

    @cached_property
    def split(self) -> np.ndarray:
        """int64 `(num_actions,)`: index into `SPLITS`; leave-last-out, T test, T-1 validation, earlier train."""
        return np.select([self.position == self.length, self.position == self.length - 1], [TEST, VALIDATION], TRAIN)

    @property
    def polarity(self) -> np.ndarray:
        """int8 `(num_actions,)`: 1 liked, -1 disliked, 0 unknown.

        Raises:
            ValueError: If the reviews have not been classified.
        """
        if self.given_polarity is None:
            raise ValueError("These sequences have no polarity; classify their reviews and call with_polarity().")
        return self.given_polarity

    def with_polarity(self, polarity: np.ndarray) -> "Sequences":
        """Copies the sequences with a polarity.

        Args:
            polarity (`np.ndarray`): int `(num_actions,)` of -1, 0 and 1.

        Returns:
            [`Sequences`]: A copy that shares the other arrays.

        Raises:
            ValueError: If the shape or a value is wrong.
        """
        if polarity.shape != self.position.shape or not np.isin(polarity, (-1, 0, 1)).all():
            raise ValueError(
                f"polarity has shape {polarity.shape} and values {np.unique(polarity)[:5].tolist()}; it must be -1, 0 "
                f"or 1 for each of {len(self)} actions. Classify these sequences again."
            )
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return Sequences(**given | {"given_polarity": polarity.astype(np.int8)})

    @property
    def has_opinions(self) -> bool:
        """Whether any action has a rating or a review."""
        return any(rating is not None for rating in self.ratings) or any(review for review in self.reviews)

    def target_rows(self, split: int) -> np.ndarray:
        """Rows that are targets of a split: in the window, with at least one item of history."""
        return np.flatnonzero(self.in_window & (self.history_length > 0) & (self.split == split))

    def history(self, row: int) -> np.ndarray:
        """Item ids of the window before a row, oldest first, at most `window - 1`."""
        return self.item_id[row - self.history_length[row] : row]

    def histories(self, rows: np.ndarray) -> pa.ListArray:
        """[`history`] of many rows at once.

        Args:
            rows (`np.ndarray`): int `(num_rows,)`.

        Returns:
            `pa.ListArray`: list of int32, of length num_rows.
        """
        lengths = self.history_length[rows]
        offsets = np.r_[0, np.cumsum(lengths)].astype(np.int32)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        values = self.item_id[np.repeat(rows - lengths, lengths) + within]
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, pa.int32()))

    def user_column(self, rows: np.ndarray) -> pa.Array:
        """User ids of rows, as strings."""
        return pa.array(self.user_ids, pa.string()).take(pa.array(self.user[rows]))

    def past_items(self, items: Sequence[Mapping[str, Any]]) -> list[list[PastItem]]:
        """Every user's whole sequence, as the input of a preference approximator.

        Args:
            items (`Sequence[Mapping]`): Catalog rows; entry `item_id - 1` is the item `item_id`.

        Returns:
            `list[list[PastItem]]`: One list per user, oldest action first.
        """
        sequences: list[list[PastItem]] = [[] for _ in self.user_ids]
        for row, (user, item_id, polarity) in enumerate(
            zip(self.user.tolist(), self.item_id.tolist(), self.polarity.tolist(), strict=True)
        ):
            event = PastItem(items[item_id - 1], self.ratings[row], self.reviews[row], polarity or None)
            sequences[user].append(event)
        return sequences
