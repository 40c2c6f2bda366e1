"""Benchmarks for cold items: some items are held out of the training and added to the catalog afterwards."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..atomic_write import new_directory, scratch_directory
from ..benchmark.report import BuildReport, read_report
from ..benchmark.schema import SPLITS, config_name
from ..benchmark.tables import load_table, require_table
from .publication import copy_configs, count_weaknesses, describe, write_config

AXES_KEPT = ("recommendation", "history", "fine", "coarse")  # what methods are trained, fitted and scored on
ID_COLUMNS = ("target", "source_item", "item_id")
ITEM_FIELDS = ("title", "brand", "categories", "price", "description")
PARTS = {
    "train": "the items that are not held out, and the rows without any that is",
    "cold": "all items, and the test rows whose target is held out",
    "warm": "all items, and the test rows without an item that is held out",
    "full": "all items and rows, for training with nothing held out",
}


@dataclass(frozen=True)
class HoldOut:
    """Items that are held out, and the new ids of all items: the others first, in the order of their old ids.

    Attributes:
        new_ids (`np.ndarray`): Shape `(1 + num_items,)`, the new id of each old one; 0 for 0.
        num_warm (`int`): Number of items that are not held out; their new ids are 1..num_warm.
    """

    new_ids: np.ndarray
    num_warm: int

    @classmethod
    def of_latest(cls, firsts: np.ndarray, share: float) -> "HoldOut":
        """Holds out the items that came last.

        Args:
            firsts (`np.ndarray`): Shape `(num_items,)`, the time of each item, in any unit; of equal ones the larger
                id came later.
            share (`float`): Share of the items to hold out.

        Raises:
            ValueError: If the share leaves no item on one side.
        """
        num_cold = round(share * len(firsts))
        if not 0 < num_cold < len(firsts):
            raise ValueError(
                f"--share ({share}) holds out {num_cold} of {len(firsts)} items; at least one must be held out, and "
                "one must be left."
            )
        order = np.argsort(firsts, kind="stable")
        num_warm = len(firsts) - num_cold
        new_ids = np.zeros(1 + len(firsts), dtype=np.int64)
        new_ids[1 + np.sort(order[:num_warm])] = np.arange(1, 1 + num_warm)
        new_ids[1 + np.sort(order[num_warm:])] = np.arange(1 + num_warm, 1 + len(firsts))
        return cls(new_ids, num_warm)

    def renumber(self, table: pa.Table) -> pa.Table:
        """Replaces the ids in a table's columns of items by the new ones."""
        for name in table.column_names:
            column = table[name].combine_chunks()
            if name in ID_COLUMNS:
                table = _with_column(table, name, self._new(column))
            elif name == "history":
                inner = self._new(column.flatten())
                offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(column).to_numpy())])
                column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner)
                table = _with_column(table, name, column)
        return table

    def has_cold(self, table: pa.Table) -> np.ndarray:
        """Whether each row of a renumbered table names an item that is held out, shape `(num_rows,)`."""
        found = np.zeros(table.num_rows, dtype=bool)
        for name in table.column_names:
            if name in ID_COLUMNS:
                found |= table[name].to_numpy() > self.num_warm
            elif name == "history":
                column = table[name].combine_chunks()
                rows = np.repeat(np.arange(table.num_rows), pc.list_value_length(column).to_numpy())
                found[rows[column.flatten().to_numpy() > self.num_warm]] = True
        return found

    def _new(self, column: pa.Array) -> pa.Array:
        return pa.array(self.new_ids[column.to_numpy(zero_copy_only=False)], column.type)


def hold_out_items(
    benchmark: str,
    domain: str,
    output_dir: Path | str,
    share: float = 0.05,
    times: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> HoldOut:
    """Divides a benchmark into one without the items that came last, and others that ask for them.

    Args:
        benchmark (`str`): Directory of a benchmark, or its name on the Hub.
        domain (`str`): Domain.
        output_dir (`Path`): New directory, with the benchmarks of `PARTS` in subfolders, and `new_items.parquet`, the
            items that are held out, in the order of their new ids.
        share (`float`, defaults to .05): Share of the items to hold out.
        times (`Mapping`, *optional*): Time of the first action of each item by its `source_id`. By default an item
            comes as late as the median of its places in the sequences of its users, from 0 to 1.
        overwrite (`bool`): Whether to replace the directory.

    Returns:
        [`HoldOut`]: The new ids.

    Raises:
        ValueError: If the share leaves no item on one side, an item has no time, or no test row asks for an item that
            is held out.
        FileNotFoundError: If the benchmark lacks a table.
    """
    report = read_report(benchmark, domain)
    items = require_table(benchmark, domain, "items").with_format("arrow")[:].sort_by("item_id")
    preferences = require_table(benchmark, domain, "preferences").with_format("arrow")[:]
    held = HoldOut.of_latest(_lateness(items, preferences, times), share)
    tables: dict[tuple[str, str], pa.Table] = {("items", "train"): held.renumber(items).sort_by("item_id")}
    tables["preferences", "train"] = held.renumber(preferences)
    for axis in AXES_KEPT:
        for split in SPLITS:
            rows = load_table(benchmark, domain, axis, split)
            if rows is not None:
                tables[axis, split] = held.renumber(rows.with_format("arrow")[:])
    if ("recommendation", "test") not in tables:
        raise ValueError(f"{benchmark} has no test rows of {domain}_recommendation, which items are asked for in.")
    with new_directory(Path(output_dir), overwrite) as folder:
        for part in PARTS:
            _write(folder / part, _tables_of(part, tables, held), report, held, f"{Path(output_dir).name}/{part}")
        new = tables["items", "train"].slice(held.num_warm).select(ITEM_FIELDS)
        pq.write_table(new, folder / "new_items.parquet")
    return held


def _lateness(items: pa.Table, preferences: pa.Table, times: Mapping[str, float] | None) -> np.ndarray:
    """When each item came, `(num_items,)`."""
    if times is not None:
        names = items["source_id"].to_pylist()
        if missing := [name for name in names if name not in times]:
            raise ValueError(
                f"{len(missing)} of {len(names)} items have no time, for example {missing[0]!r}; give the "
                "interactions that the benchmark was built from."
            )
        return np.array([times[name] for name in names], dtype=np.float64)
    users = preferences["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    position, item = preferences["position"].to_numpy(), preferences["item_id"].to_numpy()
    last = np.zeros(users.max() + 1, dtype=np.int64)
    np.maximum.at(last, users, position)
    place = position / last[users]
    order = np.lexsort((place, item))
    item, place = item[order], place[order]
    lateness = np.full(items.num_rows, -1.0)  # an item without an action is known from the start
    for one, values in zip(*_groups(item, place), strict=True):
        lateness[one - 1] = np.median(values)
    return lateness


def _groups(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    distinct, starts = np.unique(keys, return_index=True)
    return distinct, np.split(values, starts[1:])


def _tables_of(
    part: str, tables: Mapping[tuple[str, str], pa.Table], held: HoldOut
) -> dict[tuple[str, str], pa.Table]:
    """Tables of one of `PARTS`."""
    if part == "full":
        return dict(tables)
    kept: dict[tuple[str, str], pa.Table] = {}
    for (name, split), table in tables.items():
        if name == "items":
            kept[name, split] = table.slice(0, held.num_warm) if part == "train" else table
            continue
        if part == "cold" and name in AXES_KEPT and (name != "recommendation" or split == "validation"):
            continue
        wanted = ~held.has_cold(table)
        if part == "cold" and split == "test":
            wanted = table["target"].to_numpy() > held.num_warm
        if wanted.any():
            kept[name, split] = table.filter(pa.array(wanted))
    if missing := [split for split in ("train", "test") if ("recommendation", split) not in kept]:
        num_cold = len(held.new_ids) - 1 - held.num_warm
        raise ValueError(
            f"the part {part} has no {missing[0]} row of recommendation with {num_cold} of {len(held.new_ids) - 1} "
            f"items held out; hold out {'more' if part == 'cold' and missing[0] == 'test' else 'fewer'} (--share)."
        )
    if ("preferences", "train") not in kept:
        raise ValueError(f"the part {part} has no action left; hold out fewer items (--share).")
    return kept


def _write(
    folder: Path, tables: Mapping[tuple[str, str], pa.Table], original: BuildReport, held: HoldOut, name: str
) -> None:
    """Writes a part as a benchmark directory with a report of its own."""
    report = deepcopy(original)
    report.rows, report.fingerprints, report.negative_rows, report.notes = {}, {}, {}, {}
    report.baselines, report.weaknesses, report.steering = {}, {}, None
    report.num_items = tables["items", "train"].num_rows
    report.num_actions = tables["preferences", "train"].num_rows
    report.num_users = pc.count_distinct(tables["preferences", "train"]["user_id"]).as_py()
    report.options |= {"held_out": len(held.new_ids) - 1 - held.num_warm}
    by_config: dict[str, dict[str, pa.Table]] = {}
    for (config, split), table in tables.items():
        by_config.setdefault(config, {})[split] = table
    for axis in (*original.rows, *(config_name(report.domain, one) for one in AXES_KEPT)):
        short = axis.removeprefix(f"{report.domain}_")
        if short not in by_config:
            report.left_out[short] = "it is not in this part of a benchmark with items held out"
    report.notes["recommendation"] = {
        "rows; items were held out, so positions and users are incomplete": {
            split: table.num_rows for split, table in by_config["recommendation"].items()
        }
    }
    with scratch_directory() as made:
        configs = {}
        for config, splits in by_config.items():
            place = Path(made) / config
            place.mkdir()
            report.add_config(config, write_config(place, splits))
            configs[config_name(report.domain, config)] = place
        folder.mkdir()
        copy_configs(folder, configs, report)
        count_weaknesses(folder, report)
        describe(folder, [report], name)


def _with_column(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)
