"""The interface of preference approximation (section 3.1, algorithm 1).

Knows what goes in (a user's past items with their reviews) and what must come out (five preferences per position).
Leaves the writing to its implementations: `metadata.py` without an LLM, others by asking one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...benchmark.schema import NUM_PREFERENCES, WINDOW

FivePreferences = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class PastItem:
    """One action of a user: an item and what the user said of it.

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
    """Approximates what users would say they like and dislike.

    Attributes:
        name (`str`): Short name, for cards and reports.
        description (`str`): A sentence or two for the card: what it is, and what it is not.
        window (`int`): How many of the past items are looked at.
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
    def approximate_user(self, user_id: str, events: Sequence[PastItem]) -> list[FivePreferences | None]:
        """Preferences of one user after each action.

        Args:
            user_id (`str`): The user's name in the data.
            events (`Sequence[PastItem]`): The user's whole sequence, oldest first.

        Returns:
            `list[tuple[str, ...] | None]`: One five-tuple per position. Entry `t - 1` is P^(t): it may depend on the
            items at positions `max(1, t - window + 1) .. t` only, never on a later one. `None` where there are none.
        """

    def fingerprint(self) -> str:
        """Everything the answers depend on but the data and the code: two writers of one fingerprint agree."""
        return f"{self.name}/{self.window}"

    def details(self) -> dict[str, Any]:
        """What the card states beside the description, as JSON values: versions, models, failures. Nothing here."""
        return {}


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
