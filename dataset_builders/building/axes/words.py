"""Other words: the recommendation axis, its preference worded differently."""

import numpy as np
import pyarrow as pa

from ...benchmark.schema import SPLITS
from ..preferences.item_attributes import category_phrase
from ..preferences.paraphrases import Paraphrase, paraphrase
from .base import BenchmarkTables, as_table, known_targets, require_rows

NAME = "words"


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
    leaves, texts = _leaves(tables), dict[int, Paraphrase | None]()
    for split, name in enumerate(SPLITS):
        rows = known_targets(tables, split)
        for preference in set(tables.matched[rows].tolist()) - texts.keys():
            text = preferences.strings[preference]
            texts[preference] = paraphrase(text, _leaf_of(text, leaves))
        found = [texts[preference] for preference in tables.matched[rows].tolist()]
        kept = rows[np.array([one is not None for one in found], bool)]
        worded = [one for one in found if one is not None]
        columns = {
            "user_id": sequences.user_column(kept),
            "position": sequences.position[kept],
            "history": sequences.histories(kept),
            "preference": pa.array([one.text for one in worded], pa.string()),
            "original": preferences.column(tables.matched[kept]),
            "target": sequences.item_id[kept],
        }
        splits[name] = as_table(NAME, columns)
        without[name] = len(rows) - len(kept)
        framed[name] = sum(one.kind == "frame" for one in worded)
    notes = {
        "rows were left out: their preference has no paraphrase": without,
        "rows have another sentence around the same content words": framed,
    }
    return require_rows(NAME, splits, notes)


def _leaves(tables: BenchmarkTables) -> frozenset[str]:
    """Leaf categories of the catalog, as preferences name them."""
    return frozenset(category_phrase(path[-1]) for path in tables.items["categories"].to_pylist() if path)


def _leaf_of(preference: str, leaves: frozenset[str]) -> str:
    """The leaf category that a preference ends in, the longest one; `""` if there is none."""
    words = preference.split()
    endings = (" ".join(words[place:]) for place in range(1, len(words)))
    return next((ending for ending in endings if ending in leaves), "")
