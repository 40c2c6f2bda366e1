"""Interface of preference approximation: past items with reviews to five preferences per position (algorithm 1)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...benchmark.schema import NUM_PREFERENCES, WINDOW

FivePreferences = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class PastItem:
    """One action of a user: an item with its rating and review.

    Attributes:
        item (`Mapping`): The item's row of the config `items` (`item_id`, `title`, `brand`, `categories`, ...).
        rating (`float`, *optional*): Stars, 1 to 5.
        review (`str`, *optional*): Text of the review.
        polarity (`int`, *optional*): 1, -1 or `None`, see
            [`~dataset_builders.building.review_sentiment.PolarityClassifier`].
    """

    item: Mapping[str, Any]
    rating: float | None = None
    review: str | None = None
    polarity: int | None = None


class PreferenceApproximator(ABC):
    """Approximates the likes and dislikes of users as short sentences.

    Attributes:
        name (`str`): Short name, for cards and reports.
        description (`str`): A sentence or two for the card, limits included.
        window (`int`): Number of past items that are read.
    """

    name: str
    description: str
    window: int = WINDOW

    def prepare(self, items: Sequence[Mapping[str, Any]]) -> None:  # noqa: B027  (most need no preparation)
        """Reads the whole catalog once, before any user; does nothing by default.

        Args:
            items (`Sequence[Mapping]`): Rows of the config `items`.
        """

    def check_users(self, lengths: Mapping[str, int]) -> None:  # noqa: B027  (most know of no users)
        """Checks all users before the first one; does nothing by default.

        Args:
            lengths (`Mapping`): User id -> number of the user's actions.

        Raises:
            ValueError: If the approximator was made for other users.
        """

    @abstractmethod
    def approximate_user(self, user_id: str, events: Sequence[PastItem]) -> list[FivePreferences | None]:
        """Approximates the preferences of one user after each action.

        Args:
            user_id (`str`): The user's id in the data.
            events (`Sequence[PastItem]`): The user's whole sequence, oldest first.

        Returns:
            `list[tuple[str, ...] | None]`: One five-tuple per position. Entry `t - 1` is P^(t): it may depend on the
            items at positions `max(1, t - window + 1) .. t` only, never on a later one. `None` where there are none.
        """

    def fingerprint(self) -> str:
        """Identifies everything the preferences depend on beside data and code."""
        return f"{self.name}/{self.window}"

    def details(self) -> dict[str, Any]:
        """Further facts for the card as JSON values, such as versions, models and failures; empty by default."""
        return {}


def check_five(preferences: Sequence[str]) -> None:
    """Checks that a set of preferences is a list or tuple of five distinct, non-empty strings.

    Args:
        preferences (`Sequence[str]`): Preferences of one position; a single string is no set, but a sequence of
            letters.

    Raises:
        ValueError: If it is not; the message has the set.
    """
    if (
        not isinstance(preferences, list | tuple)
        or not all(isinstance(preference, str) for preference in preferences)
        or len(preferences) != NUM_PREFERENCES
        or len({preference.casefold() for preference in preferences}) != NUM_PREFERENCES
        or not all(preference.strip() for preference in preferences)
    ):
        raise ValueError(
            f"Every position needs {NUM_PREFERENCES} distinct, non-empty preferences; got {preferences!r:.300}. "
            "The approximator must fill or repair the set."
        )
