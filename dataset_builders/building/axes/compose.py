"""Composition: two preferences at once, from two items that are unlike each other; both items must be found."""

import numpy as np
import pyarrow as pa

from ...benchmark.schema import SPLITS
from ..steering.assignment import SteeringRows
from ..steering.nearest import top_k
from ..steering.neighbors import number_texts
from .base import BenchmarkTables, UnsupportedAxis, as_table, require_rows

NAME = "compose"
ALIKE = 5
"""Two items are alike if one of them is among so many nearest items of the other."""


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Pairs rows of fine-grained steering of the same split, each used once, in an order drawn with a fixed seed.

    Fine targets are as varied as the items of a split; the few targets of coarse steering would let a constant list
    find both. A (preference, item) pair occurs once, also where the plan repeats it (`as_released`), and no preference
    is in two splits wherever the plan holds that. The first row of a pair gives the user and the history, which is not
    empty, and whose position is of the same split. Both preferences are positive and different; the second item is not
    in the history, and the two items have different texts and are not alike.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If the catalog has no items to steer to, or a split has no rows.
    """
    if isinstance(tables.steering, str):
        raise UnsupportedAxis(NAME, tables.steering)
    sequences, splits, unpaired = tables.sequences, {}, {}
    for split, name in enumerate(SPLITS):
        plan = tables.steering["fine", name]
        pairs = _pairs(tables, plan, split)
        first, second = np.array(pairs, np.int64).reshape(-1, 2).T
        at = plan.occurrence[first]
        strings = tables.preferences.strings
        two = [[strings[plan.preference[i]], strings[plan.preference[j]]] for i, j in pairs]
        columns = {
            "user_id": sequences.user_column(at),
            "position": sequences.position[at],
            "history": sequences.histories(at),
            "preferences": pa.array(two, pa.list_(pa.string())),
            "target": plan.target[first],
            "second_target": plan.target[second],
        }
        splits[name] = as_table(NAME, columns)
        unpaired[name] = len(plan.target) - 2 * len(pairs)
    return require_rows(NAME, splits, {"rows of the fine axis are in no pair": unpaired})


def _pairs(tables: BenchmarkTables, plan: SteeringRows, split: int) -> list[tuple[int, int]]:
    """Pairs of indices into the plan, in ascending order of the first."""
    sequences, text = tables.sequences, number_texts(tables.item_texts)
    near = _neighbors(tables.item_embeddings, plan.target)
    is_first = (sequences.history_length[plan.occurrence] > 0) & (sequences.split[plan.occurrence] == split)
    order = np.random.default_rng(split).permutation(len(plan.target))
    asks = {(int(plan.preference[index]), int(plan.target[index])): index for index in order.tolist()}
    waiting = [index for (preference, _), index in asks.items() if not tables.preferences.negative[preference]]

    def fits(i: int, j: int) -> bool:
        a, b = int(plan.target[i]) - 1, int(plan.target[j]) - 1
        if not is_first[i] or plan.preference[i] == plan.preference[j]:
            return False
        if text[a] == text[b]:
            return False
        return a not in near[b] and b not in near[a] and b + 1 not in sequences.history(plan.occurrence[i])

    pairs = []
    while waiting:
        i = waiting.pop(0)
        for place, j in enumerate(waiting):
            pair = next((pair for pair in ((i, j), (j, i)) if fits(*pair)), None)
            if pair is not None:
                pairs.append(pair)
                del waiting[place]
                break
    return sorted(pairs)


def _neighbors(vectors: np.ndarray, targets: np.ndarray) -> dict[int, set[int]]:
    """Index of each target -> indices of the items nearest to it, without itself."""
    distinct = np.unique(targets) - 1
    if not len(distinct):
        return {}
    _, found = top_k(vectors[distinct], vectors, ALIKE + 1)
    nearest = (row[row != item][:ALIKE] for item, row in zip(distinct, found, strict=True))
    return {item: set(row.tolist()) for item, row in zip(distinct.tolist(), nearest, strict=True)}
