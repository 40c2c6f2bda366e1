"""Weaknesses of a benchmark's rows: what a recommender could answer without following a preference.

A build counts them in its report; [`~dataset_builders.benchmark.checks.check_benchmark`] counts them again.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .axes import AXES, Axis
from .baselines import frequent_targets
from .schema import SPLITS

HUB_SHARE = 0.02
"""Share of the test rows of a steering axis that a list of frequent targets may answer."""
COMMON_SHARE = 0.5
"""Share of rows above which reused preferences, or preferences in the words of their targets, are a weakness."""
LIST_LENGTH = 10

_WORD = re.compile(r"[^\W\d_]+")
_SAID_BY_EVERY_PREFERENCE = frozenset("for and or the a an with of in to from no not but products product".split())

Tables = Mapping[tuple[str, str], pa.Table]
"""(axis or table, split) -> rows."""


def find_weaknesses(tables: Tables, positions: "Positions") -> dict[str, int]:
    """Counts the weak rows of one domain.

    Args:
        tables (`Mapping`): (axis, or `items` or `preferences`; split) -> rows.
        positions ([`Positions`]): Positions of the users' actions.

    Returns:
        `dict[str, int]`: Weakness, with axis and split -> number of rows that have it. Only weaknesses that matter: a
        list of frequent targets counts above [`HUB_SHARE`], reused preferences and those in the words of their
        targets above [`COMMON_SHARE`] of the rows.
    """
    found: dict[str, int] = {}
    steered = [axis for axis in AXES.values() if "steering" in axis.promises]
    texts = _item_words(tables["items", "train"])
    for axis in steered:
        rows = {split: tables[axis.name, split] for split in SPLITS if (axis.name, split) in tables}
        if len(rows) == len(SPLITS):
            items, _ = frequent_targets(axis, rows["train"], LIST_LENGTH)
            frequent = int(np.isin(rows["test"]["target"].to_numpy(), items).sum())
            if frequent > HUB_SHARE * rows["test"].num_rows:
                found[
                    f"{axis.name}/test: rows that the {LIST_LENGTH} most frequent targets of {axis.name}/train answer"
                ] = frequent
        for split, table in rows.items():
            found |= _weak_steering(axis, split, table, positions, texts)
    if all((name, split) in tables for name in ("fine", "coarse") for split in SPLITS):
        for split in SPLITS:
            shared = _shared_users(tables["fine", split], tables["coarse", split], split, positions)
            found[f"{split}: ground truths with one user in fine and coarse, though another user has them"] = shared
    for axis in AXES.values():
        if "inversion" in axis.promises:
            for split in SPLITS[1:]:
                if (axis.name, split) in tables:
                    name = f"{axis.name}/{split}: rows whose item the users of the preference only chose in train"
                    found[name] = _chosen_in_train(tables[axis.name, split], tables["preferences", "train"], positions)
    return {name: count for name, count in found.items() if count}


class Positions:
    """Splits of all positions (appendix A.4), and the users that have an item in a split.

    Args:
        preferences (`pa.Table`): The config `preferences`, in the order of users and positions.
        window (`int`): Number of a user's most recent items that are used.

    Attributes:
        users (`list[str]`): User of each row of the config.
        split_of (`dict`): (user, position) -> index into `SPLITS`, of positions inside their user's window.
        users_of (`dict`): (item, split) -> users.
    """

    def __init__(self, preferences: pa.Table, window: int) -> None:
        self.users: list[str] = preferences["user_id"].to_pylist()
        last = dict(zip(self.users, preferences["position"].to_pylist(), strict=True))  # in order of positions
        self.split_of: dict[tuple[str, int], int] = {}
        self.users_of: dict[tuple[int, int], set[str]] = {}
        columns = (preferences[name].to_pylist() for name in ("position", "item_id"))
        for user, position, item in zip(self.users, *columns, strict=True):
            after = last[user] - position
            if after < window:
                split = max(0, 2 - after)
                self.split_of[user, position] = split
                self.users_of.setdefault((item, split), set()).add(user)


def _weak_steering(
    axis: Axis, split: str, table: pa.Table, positions: Positions, texts: Sequence[frozenset[str]]
) -> dict[str, int]:
    own = SPLITS.index(split)
    where = zip(table["user_id"].to_pylist(), table["position"].to_pylist(), strict=True)
    earlier = sum(positions.split_of.get(place, own) < own for place in where)
    found = {f"{axis.name}/{split}: rows whose history ends in an earlier split": earlier}
    preferences = [preference or "" for preference in table["preference"].to_pylist()]
    counts = Counter(preferences)
    reused = sum(count for count in counts.values() if count > 1)
    said = sum(
        said_by(preference, texts[target - 1])
        for preference, target in zip(preferences, table["target"].to_pylist(), strict=True)
    )
    for name, count in (
        ("rows whose preference another row of the split has", reused),
        ("rows whose preference has only words of its target's title, brand and categories", said),
    ):
        if count > COMMON_SHARE * table.num_rows:
            found[f"{axis.name}/{split}: {name}"] = count
    return found


def said_by(preference: str, words: frozenset[str]) -> bool:
    """Whether an item's words are all that a preference says beside its verb.

    >>> said_by("Search for lavender oat soaps", frozenset({"lavender", "oat", "bar", "soap"}))
    True
    >>> said_by("Search for something floral", frozenset({"lavender", "oat", "bar", "soap"}))
    False
    """
    said = [_singular(word) for word in _WORD.findall(preference.casefold())[1:]]
    content = [word for word in said if word not in _SAID_BY_EVERY_PREFERENCE]
    return bool(content) and all(word in words for word in content)


def _item_words(items: pa.Table) -> list[frozenset[str]]:
    """Words of title, brand and categories of the items 1..N, in singular."""
    fields = (items[name].to_pylist() for name in ("title", "brand", "categories"))
    texts = (" ".join((title or "", brand or "", *(path or ()))) for title, brand, path in zip(*fields, strict=True))
    return [frozenset(map(_singular, _WORD.findall(text.casefold()))) for text in texts]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _shared_users(fine: pa.Table, coarse: pa.Table, split: str, positions: Positions) -> int:
    """Ground truths whose fine and coarse rows have one user, though several users of the split have them."""
    user_of = dict(zip(coarse["source_item"].to_pylist(), coarse["user_id"].to_pylist(), strict=True))
    pairs = zip(fine["source_item"].to_pylist(), fine["user_id"].to_pylist(), strict=True)
    having = (len(positions.users_of.get((item, SPLITS.index(split)), ())) for item in fine["source_item"].to_pylist())
    return sum(user_of.get(item) == user and count > 1 for (item, user), count in zip(pairs, having, strict=True))


def _chosen_in_train(rows: pa.Table, preferences: pa.Table, positions: Positions) -> int:
    """Rows whose item no user of the negative preference chose at a position of validation or test."""
    wanted: dict[str, list[int]] = {}
    texts = zip(rows["preference_negative"].to_pylist(), rows["target"].to_pylist(), strict=True)
    for preference, item in texts:
        wanted.setdefault(preference, []).append(item)
    lists = preferences["preferences"].combine_chunks()
    place = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).fill_null(0).to_numpy())
    is_wanted = pc.is_in(lists.flatten(), value_set=pa.array(list(wanted), pa.string())).to_numpy(zero_copy_only=False)
    having: dict[str, set[str]] = {}
    for text, row in zip(
        lists.flatten().filter(pa.array(is_wanted)).to_pylist(), place[is_wanted].tolist(), strict=True
    ):
        having.setdefault(text, set()).add(positions.users[row])
    late = {key: found for key, found in positions.users_of.items() if key[1] > 0}

    def is_late(preference: str, item: int) -> bool:
        return any(having.get(preference, set()) & late.get((item, split), set()) for split in (1, 2))

    return sum(not is_late(preference, item) for preference, items in wanted.items() for item in items)
