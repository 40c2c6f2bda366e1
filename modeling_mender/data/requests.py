"""Requests and training examples, and the rows of a published benchmark as such."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datasets


class Request(NamedTuple):
    """What a recommender is asked: items oldest first, and preferences in words; one of the two may be empty.

    `user` is the user's id where there is one; only TIGER with a user embedding looks at it.
    """

    history: tuple[int, ...]
    preferences: tuple[str, ...]
    user: str = ""


class Example(NamedTuple):
    """One thing to learn: the item that followed, or, where `is_negative`, the item that must not come back.

    `needs_preference` marks a target that did not follow its history, such as a row of the steering axes: only the
    preference explains it.
    """

    request: Request
    target: int
    is_negative: bool = False
    needs_preference: bool = False


def requests_of(rows: "datasets.Dataset", preference: str | None = "preference") -> list[Request]:
    """Rows of an axis as requests.

    Args:
        rows (`datasets.Dataset`): Rows with `history`, or without (sentiment).
        preference (`str`, *optional*): The column to take preferences from; `None` asks without any.
    """
    histories = rows["history"][:] if "history" in rows.column_names else [()] * len(rows)
    users = rows["user_id"][:] if "user_id" in rows.column_names else [""] * len(rows)
    texts = [()] * len(rows) if preference is None else rows[preference][:]
    return [
        Request(tuple(history), (text,) if isinstance(text, str) else tuple(text), user or "")
        for history, text, user in zip(histories, texts, users, strict=True)
    ]
