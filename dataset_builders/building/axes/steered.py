"""Rows of the axes that follow a plan of steering, and differ only in which."""

import numpy as np
import pyarrow as pa

from ...benchmark.axes import HISTORY_FROM
from ...benchmark.schema import SPLITS
from .base import BenchmarkTables, UnsupportedAxis, as_table, require_rows


def steered_rows(axis: str, tables: BenchmarkTables, plan_of: str | None = None) -> dict[str, pa.Table]:
    """Makes the rows of one axis from a plan of steering.

    Args:
        axis (`str`): Name of the axis.
        tables ([`BenchmarkTables`]): The intermediate tables.
        plan_of (`str`, *optional*): `"fine"` or `"coarse"`, the steering axis of the plan; by default the axis itself.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If the catalog has no items to steer to, or a split has no rows.
    """
    if isinstance(tables.steering, str):
        raise UnsupportedAxis(axis, tables.steering)
    splits = {}
    for split in SPLITS:
        plan = tables.steering[plan_of or axis, split]
        columns = {
            "user_id": tables.sequences.user_column(plan.occurrence),
            "position": tables.sequences.position[plan.occurrence],
            "history": tables.sequences.histories(plan.occurrence),
            "preference": tables.preferences.column(plan.preference),
            "target": plan.target,
            "source_item": plan.source_item,
        }
        if plan.is_own is not None:
            columns["history_from"] = pa.array(np.array(HISTORY_FROM)[plan.is_own.astype(int)].tolist(), pa.string())
        splits[split] = as_table(axis, columns)
    return require_rows(axis, splits)
