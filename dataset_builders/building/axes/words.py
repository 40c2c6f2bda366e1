"""Other words: the recommendation axis, its preference worded differently."""

import zlib

import numpy as np
import pyarrow as pa

from ...benchmark.negation import invert, is_negative_preference
from ...benchmark.schema import SPLITS
from .base import BenchmarkTables, as_table, known_targets, require_rows

try:
    from ..preferences.paraphrases import paraphrase as by_table
except ImportError:
    by_table = None

NAME = "words"
VERBS = ("search for", "look for", "opt for", "find", "explore", "prioritize", "prefer", "seek", "choose")
"""Beginnings that another sentence can replace."""
WANTED = ("I am after {}", "Could you show me {}?", "I would love {}", "{}, please")
AVERSE = ("No {}", "Exclude {}")
"""Sentences of another frame; those of an aversion begin with a word by which aversions are known."""


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per target of each split whose matched preference has a paraphrase.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If a split has no rows.
    """
    sequences, preferences = tables.sequences, tables.preferences
    splits, without, framed = {}, {}, {}
    texts: dict[int, tuple[str, bool] | None] = {}
    for split, name in enumerate(SPLITS):
        rows = known_targets(tables, split)
        for preference in set(tables.matched[rows].tolist()) - texts.keys():
            texts[preference] = _paraphrase(preferences.strings[preference])
        found = [texts[preference] for preference in tables.matched[rows].tolist()]
        kept = rows[np.array([one is not None for one in found], bool)]
        worded = [one for one in found if one is not None]
        columns = {
            "user_id": sequences.user_column(kept),
            "position": sequences.position[kept],
            "history": sequences.histories(kept),
            "preference": pa.array([text for text, _ in worded], pa.string()),
            "original": preferences.column(tables.matched[kept]),
            "target": sequences.item_id[kept],
        }
        splits[name] = as_table(NAME, columns)
        without[name] = len(rows) - len(kept)
        framed[name] = sum(not is_full for _, is_full in worded)
    notes = {
        "rows were left out: their preference has no paraphrase": without,
        "rows have another sentence around the same content words": framed,
    }
    return require_rows(NAME, splits, notes)


def _paraphrase(preference: str) -> tuple[str, bool] | None:
    """Words a preference by the table of paraphrases where there is one, else by [`reframe`].

    Returns:
        `tuple[str, bool]` or `None`: The sentence, and whether its content words are others, too.
    """
    if by_table is None:
        framed = reframe(preference)
        return None if framed is None else (framed, False)
    found = by_table(preference)
    return None if found is None else (found.text, found.kind == "full")


def reframe(preference: str) -> str | None:
    """Puts another sentence around the content words, of the same polarity; the same in every call.

    Returns:
        `str` or `None`: `None` if the preference begins with no verb that can be replaced.

    >>> reframe("Search for rose soap"), reframe("Avoid rose soap"), reframe("Rose soap")
    ('I am after rose soap', 'Exclude rose soap', None)
    """
    frames: tuple[str, ...] = WANTED
    if is_negative_preference(preference):
        rest, frames = invert(preference, "").strip(), AVERSE
    else:
        verb = next((verb for verb in VERBS if preference.casefold().startswith(f"{verb} ")), None)
        rest = "" if verb is None else preference[len(verb) :].strip()
    if not rest:
        return None
    others = [text for text in (frame.format(rest) for frame in frames) if text.casefold() != preference.casefold()]
    return others[zlib.crc32(preference.encode()) % len(others)]
