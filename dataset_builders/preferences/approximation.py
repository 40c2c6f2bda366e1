"""The interface of preference approximation (section 3.1, algorithm 1).

Knows what goes in (a user's past items with their reviews) and what must come out (five preferences per position).
Leaves the writing to its implementations: `metadata.py` without an LLM, others by asking one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..schema import NUM_PREFERENCES, WINDOW

FivePreferences = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class PastItem:
    """One action of a user: an item and what the user said of it.

    Attributes:
        item (`Mapping`): The item's row of the config `items` (`item_id`, `title`, `brand`, `categories`, ...).
        rating (`float`, *optional*): Stars, 1 to 5.
        review (`str`, *optional*): Text of the review.
        polarity (`int`, *optional*): 1, -1 or `None`, see [`~dataset_builders.sentiment.review_polarity`].
    """

    item: Mapping[str, Any]
    rating: float | None = None
    review: str | None = None
    polarity: int | None = None


class PreferenceApproximator(ABC):
    """Approximates what users would say they like and dislike.

    Attributes:
        name (`str`): Short name, for cards and reports.
        description (`str`): A sentence or two for the card: what it is, and what it is not.
    """

    name: str
    description: str
    window: int = WINDOW

    def prepare(self, items: Sequence[Mapping[str, Any]]) -> None:  # noqa: B027  (most writers need no preparation)
        """Looks at the whole catalogue once, before any user. Nothing by default.

        Args:
            items (`Sequence[Mapping]`): Rows of the config `items`.
        """

    @abstractmethod
    def approximate_user(self, events: Sequence[PastItem]) -> list[FivePreferences]:
        """Preferences of one user after each action.

        Args:
            events (`Sequence[PastItem]`): The user's whole sequence, oldest first.

        Returns:
            `list[tuple[str, ...]]`: One five-tuple per position. Entry `t - 1` is P^(t): it may depend on the items at
            positions `max(1, t - window + 1) .. t` only, never on a later one.
        """

    def approximate(self, users: Iterable[Sequence[PastItem]]) -> Iterator[list[FivePreferences]]:
        """Preferences of many users, in order; an implementation that waits for a server overlaps them here.

        Args:
            users (`Iterable[Sequence[PastItem]]`): One sequence per user, oldest action first.

        Yields:
            `list[tuple[str, ...]]`: What [`approximate_user`] returns, for each user in turn.
        """
        for events in users:
            yield self.approximate_user(events)


def check_five(preferences: Sequence[str]) -> None:
    """Raises if a set of preferences is not five distinct, non-empty strings.

    Args:
        preferences (`Sequence[str]`): What an approximator returned for one position.

    Raises:
        ValueError: Naming the set.
    """
    if (
        len(preferences) != NUM_PREFERENCES
        or len({preference.casefold() for preference in preferences}) != NUM_PREFERENCES
        or not all(preference.strip() for preference in preferences)
    ):
        raise ValueError(
            f"Every position needs {NUM_PREFERENCES} distinct, non-empty preferences; got {list(preferences)!r}. "
            "The approximator must fill or repair the set."
        )
