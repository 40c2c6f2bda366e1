"""Requests to a language model: one per user and position (algorithm 1), or one per item (appendix C.1)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..approximation import PastItem
from .journal_lines import Key
from .prompts import Messages, Prompt, preference_messages, property_messages

if TYPE_CHECKING:
    from ...sequences import Sequences


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to ask for.

    Attributes:
        key (`tuple[str, int]`): (user_id, position), or (source_id, 0) of an item.
        messages (`list[dict]`): What is sent.
    """

    key: Key
    messages: Messages


def shard_of(name: str, num_shards: int) -> int:
    """The shard of a user or an item: the same on every machine and in every run.

    >>> [shard_of(name, 3) for name in ("anna", "bert", "cleo", "dora")]
    [0, 1, 0, 1]
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") % num_shards


def draw_order(name: str, seed: int) -> bytes:
    """A sort key that puts users or items in the random order of a seed, the same on every machine.

    >>> sorted(("anna", "bert", "cleo", "dora"), key=lambda name: draw_order(name, 0))
    ['bert', 'anna', 'cleo', 'dora']
    """
    return hashlib.blake2b(f"{seed} {name}".encode()).digest()


def check_shard(num_shards: int, shard_index: int) -> None:
    """Raises `ValueError` unless `0 <= shard_index < num_shards`."""
    if not 0 <= shard_index < num_shards:
        raise ValueError(f"shard_index ({shard_index}) must be at least 0 and below num_shards ({num_shards}).")


def preference_work(
    users: Iterable[tuple[str, Sequence[PastItem]]], prompt: Prompt, max_items: int, max_review_characters: int
) -> Iterator[Work]:
    """One request per user and position: P^(t) from the last `max_items` actions up to t (section 3.1).

    Args:
        users (`Iterable[tuple]`): User ids with their whole sequences, oldest action first.
        prompt ([`Prompt`]): Of the task `"preferences"`.
        max_items, max_review_characters (`int`): See
            [`~dataset_builders.building.preferences.llm.prompts.preference_messages`].

    Yields:
        [`Work`]: Lazily, user by user.
    """
    for user_id, events in users:
        for position in range(1, len(events) + 1):
            shown = events[max(0, position - max_items) : position]
            yield Work((user_id, position), preference_messages(prompt, shown, max_items, max_review_characters))


def training_reviews(sequences: "Sequences", items: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Reviews of every item at training positions, in the order of users and positions.

    Neither the validation nor the test position of any user is read: a property taken from such a review would tell
    what its writer bought last.

    Args:
        sequences ([`Sequences`]): All actions.
        items (`Sequence[Mapping]`): Catalog rows; entry `item_id - 1` is the item `item_id`.

    Returns:
        `dict[str, list[str]]`: `source_id` -> texts; items without a review are left out.
    """
    from ...sequences import TRAIN

    reviews: dict[str, list[str]] = {}
    for item_id, split, review in zip(sequences.item_id, sequences.split, sequences.reviews, strict=True):
        if split == TRAIN and review and review.strip():
            reviews.setdefault(items[item_id - 1]["source_id"], []).append(review)
    return reviews


def property_work(
    items: Iterable[Mapping[str, Any]],
    reviews: Mapping[str, Sequence[str]],
    prompt: Prompt,
    max_items: int,
    max_review_characters: int,
) -> Iterator[Work]:
    """One request per item that has reviews (appendix C.1).

    Args:
        items (`Iterable[Mapping]`): Rows of the config `items`.
        reviews (`Mapping`): What [`training_reviews`] returns.
        prompt ([`Prompt`]): Of the task `"properties"`.
        max_items, max_review_characters (`int`): See
            [`~dataset_builders.building.preferences.llm.prompts.property_messages`].

    Yields:
        [`Work`]: Lazily, in the order of the catalog.
    """
    for item in items:
        texts = reviews.get(item["source_id"])
        if texts:
            messages = property_messages(prompt, item, texts, max_items, max_review_characters)
            yield Work((item["source_id"], 0), messages)
