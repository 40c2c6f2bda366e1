"""Avoidance: a negative preference must take the item that it names out of the list, and keep the true next item."""

import numpy as np
import pyarrow as pa

from ...benchmark.negation import NEGATIVE, invert
from ...benchmark.schema import SPLITS
from ..sequences import Sequences
from ..steering.nearest import top_k
from ..steering.neighbors import number_texts
from .base import BenchmarkTables, UnsupportedAxis, as_table, known_targets, require_rows

NAME = "avoid"
NAMED = 5
"""An aversion names so many items, those nearest to its words; it contradicts a target among them.

With 20 of them, few of the items to avoid have what the words say, and a recommender is right to keep the others.
"""


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per target of each split whose P^(t-1) has a negative preference that does not contradict it.

    The first such preference counts. Of the items that the words after "Avoid" name, the item to avoid is one that the
    split has avoided least often so far, so that no list of a few items avoids many; of these the one nearest to the
    last item of the history that was not disliked (the last one, if all were), so that a recommender may well have it
    in its list. It is neither the target, nor of the same text, nor in the history.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If no preference is negative, or a split has no rows.
    """
    sequences, preferences = tables.sequences, tables.preferences
    is_negative = np.r_[preferences.negative, False]  # -1 stands for a missing preference
    if not is_negative.any():
        raise UnsupportedAxis(NAME, "no preference is negative")
    aversions = np.flatnonzero(preferences.negative)
    words = [
        invert(preferences.strings[aversion], "").strip() or preferences.strings[aversion] for aversion in aversions
    ]
    vectors, items = tables.embed(words, "aversions"), tables.item_embeddings
    named = dict(zip(aversions.tolist(), top_k(vectors, items, NAMED)[1], strict=True))
    text = number_texts(tables.item_texts)

    splits, contradicted, exhausted = {}, {}, {}
    for split, name in enumerate(SPLITS):
        rows, chosen, avoided = [], [], []
        times = np.zeros(len(items), np.int64)
        contradicted[name] = exhausted[name] = 0
        for row in known_targets(tables, split).tolist():
            target, history = int(sequences.item_id[row]) - 1, sequences.history(row) - 1
            own = [aversion for aversion in preferences.ids[row - 1].tolist() if is_negative[aversion]]
            fitting = [aversion for aversion in own if target not in named[aversion]]
            free = {
                aversion: [i for i in named[aversion].tolist() if text[i] != text[target] and i not in history]
                for aversion in fitting
            }
            best = next((aversion for aversion in fitting if free[aversion]), None)
            if best is None:
                contradicted[name] += bool(own and not fitting)
                exhausted[name] += bool(fitting)
                continue
            named_items = np.array(free[best])
            cosines = items[named_items] @ items[_last_liked(sequences, row) - 1]
            item = int(named_items[np.lexsort((-cosines, times[named_items]))[0]])
            times[item] += 1
            rows.append(row)
            chosen.append(best)
            avoided.append(item + 1)
        at = np.array(rows, np.int64)
        columns = {
            "user_id": sequences.user_column(at),
            "position": sequences.position[at],
            "history": sequences.histories(at),
            "preference": preferences.column(np.array(chosen, np.int64)),
            "target": sequences.item_id[at],
            "avoided": np.array(avoided, np.int32),
        }
        splits[name] = as_table(NAME, columns)
    notes = {
        f"rows were left out: their target is among the {NAMED} items nearest to each aversion": contradicted,
        "rows were left out: the items nearest to an aversion are in the history or of the target's text": exhausted,
    }
    return require_rows(NAME, splits, notes)


def _last_liked(sequences: Sequences, row: int) -> int:
    """Item id of the last action of the history that was not disliked; of the last one if all were."""
    history = range(row - 1, row - 1 - int(sequences.history_length[row]), -1)
    return int(sequences.item_id[next((past for past in history if sequences.polarity[past] != NEGATIVE), row - 1)])
