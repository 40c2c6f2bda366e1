"""Requests and training examples, read from the rows of a benchmark."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datasets


class Request(NamedTuple):
    """A request to a recommender: items, oldest first, and preferences in words; one of the two may be empty.

    `user` is the user's id or empty; only TIGER with a user embedding reads it. `strength` is that of the preferences;
    only Mender_Steer reads it.
    """

    history: tuple[int, ...]
    preferences: tuple[str, ...]
    user: str = ""
    strength: float = 1.0


class Example(NamedTuple):
    """A training example: a request with its next item, or, if `is_negative`, an item to avoid.

    `needs_preference` marks a target that did not follow its history and that only the preference explains, as in the
    steering axes.
    """

    request: Request
    target: int
    is_negative: bool = False
    needs_preference: bool = False


def requests_of(
    rows: "datasets.Dataset", preference: str | None = "preference", strength: float = 1.0
) -> list[Request]:
    """Reads rows of an axis as requests.

    Args:
        rows (`datasets.Dataset`): Rows with `history`, or without (sentiment).
        preference (`str`, *optional*): Column of the preferences; `None` for requests without preferences.
        strength (`float`, defaults to 1): Strength of the preferences.
    """
    histories = rows["history"][:] if "history" in rows.column_names else [()] * len(rows)
    users = rows["user_id"][:] if "user_id" in rows.column_names else [""] * len(rows)
    texts = [()] * len(rows) if preference is None else rows[preference][:]
    return [
        Request(tuple(history), (text,) if isinstance(text, str) else tuple(text), user or "", strength)
        for history, text, user in zip(histories, texts, users, strict=True)
    ]
