"""Rows of a published benchmark as requests, by their column names alone."""

import datasets

from .collators import Request


def requests_of(rows: datasets.Dataset, preference: str | None = "preference") -> list[Request]:
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
