"""Rows and catalog of a public set, loaded from the Hub or a folder and checked against the set's record."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, get_dataset_config_names, load_dataset
from datasets.exceptions import DatasetsError
from datasets.table import CastError

from ...atomic_write import scratch_directory
from ...benchmark.report import resolve_revision
from ...benchmark.schema import SPLITS
from ...hub_http import is_repo_id
from .known_sets import INTEGER, TEXT, HubSet

RETRIEVE, AVOID = "retrieve_target", "avoid_target"
"""Values of the column `expected_behavior`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One row of a public set, with the item ids of the benchmark.

    Attributes:
        dimension (`str`): Its dimension, by the set's name.
        avoids (`bool`): Whether the target is to be avoided.
        user (`str`, *optional*): User id.
        history (`tuple[int, ...]`): Items before the target, oldest first.
        text (`str`): The preference.
        target (`int`): Item to retrieve or to avoid.
    """

    dimension: str
    avoids: bool
    user: str | None
    history: tuple[int, ...]
    text: str
    target: int


@dataclass(frozen=True)
class Catalog:
    """Items of a public set, numbered 1 to N in the order of its ids.

    Attributes:
        ids (`Mapping[int, int]`): Id of the set -> id of the benchmark.
        titles (`list[str | None]`): Titles, in the order of the ids.
        codes (`list[list[int]]`): Semantic IDs, in the order of the ids.
    """

    ids: Mapping[int, int]
    titles: list[str | None]
    codes: list[list[int]]


@contextmanager
def open_set(
    one: HubSet, repository: str, revision: str | None
) -> Iterator[tuple[dict[str, dict[str, Dataset]], str]]:
    """Loads the configs of a set for the block.

    Args:
        one ([`HubSet`]): Record of the set.
        repository (`str`): Repository on the Hub, or a local folder.
        revision (`str`, *optional*): Branch, tag or commit of the Hub.

    Yields:
        `tuple`: Config -> split -> rows with the columns that are read, and the commit (`""` for a folder).

    Raises:
        ValueError: If a config, split or column is missing, or a folder is given with a revision.
        FileNotFoundError, OSError: If there is no such repository or revision, or the Hub is out of reach.
    """
    if not Path(repository).is_dir() and not is_repo_id(repository):
        raise FileNotFoundError(
            f"{repository} is no folder, nor the name of a dataset on the Hub (org/name); correct it."
        )
    commit = resolve_revision(repository, revision)
    place = f"{repository} at revision {commit}" if commit else repository
    with scratch_directory() as folder:
        # the cache of datasets does not notice that a local file has changed
        cache = None if commit else str(folder)
        try:
            there = get_dataset_config_names(repository, revision=commit)
        except (DatasetsError, FileNotFoundError) as error:
            if commit:
                raise
            raise FileNotFoundError(
                f"{place} holds no data files ({' '.join(str(error).split())}); give a folder with the README.md and "
                f"the files of {one.repository}, or that name."
            ) from error
        if missing := [config for config in one.splits if config not in there]:
            raise ValueError(
                f"{place} has no config {missing[0]!r}; it has {', '.join(there)}. The README.md of {one.repository} "
                "names its configs: a folder needs that file as well."
            )
        yield {config: _load(one, repository, place, config, commit, cache) for config in one.splits}, commit or ""


def _load(
    one: HubSet, repository: str, place: str, config: str, commit: str | None, cache: str | None
) -> dict[str, Dataset]:
    needed = one.columns[config]
    try:
        loaded = load_dataset(repository, config, revision=commit, cache_dir=cache)
    except DatasetsError as error:
        if isinstance(error.__cause__, CastError):
            _require_columns(one, place, config, error.__cause__.table_column_names)
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{place}, config {config}, cannot be loaded: {error.__cause__ or error}") from error
    if missing := [split for split in one.splits[config] if split not in loaded]:
        raise ValueError(
            f"{place}, config {config}, has no split {missing[0]!r}; it has {', '.join(loaded)}, and needs "
            f"{', '.join(one.splits[config])}."
        )
    for rows in loaded.values():
        _require_columns(one, place, config, rows.column_names)
        _require_kinds(one, place, config, rows.features.arrow_schema)
    return {split: loaded[split].select_columns(list(needed)) for split in one.splits[config]}


def _require_columns(one: HubSet, place: str, config: str, there: list[str]) -> None:
    if missing := [name for name in one.columns[config] if name not in there]:
        raise ValueError(
            f"{place}, config {config}, lacks the column(s) {', '.join(missing)}; it has {', '.join(there)}. The "
            f"columns that this version reads are those of {one.repository} at revision {one.revision}: rename yours, "
            "or pass --revision."
        )


def _require_kinds(one: HubSet, place: str, config: str, schema: pa.Schema) -> None:
    for name, kind in one.columns[config].items():
        found = _kind(schema.field(name).type)
        if found not in (kind, "null"):
            raise ValueError(f"{place}, config {config}: the column {name} is {found} and must be {kind}; convert it.")


def _kind(of: pa.DataType) -> str:
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return f"list of {_kind(of.value_type)}"
    if pa.types.is_string(of) or pa.types.is_large_string(of):
        return TEXT
    return INTEGER if pa.types.is_integer(of) else str(of)


def read_catalog(rows: Dataset) -> Catalog:
    """Reads the catalog.

    Args:
        rows (`Dataset`): Rows with `item_id`, `semantic_id` and `title`.

    Raises:
        ValueError: If it is empty, or an id is missing or there twice.
    """
    items = rows.to_list()
    ids = [item["item_id"] for item in items]
    if not items or None in ids or len(set(ids)) != len(ids):
        raise ValueError(f"the catalog must name each item once; it has {len(ids)} rows and {len(set(ids))} item_id.")
    items.sort(key=lambda item: item["item_id"])
    return Catalog(
        ids={item["item_id"]: number for number, item in enumerate(items, 1)},
        titles=[item["title"] for item in items],
        codes=[item["semantic_id"] or [] for item in items],
    )


def read_requests(one: HubSet, split: str, rows: Dataset, catalog: Catalog) -> tuple[list[Request], int]:
    """Reads the rows of a split.

    Args:
        one ([`HubSet`]): Record of the set.
        split (`str`): Its name, for errors.
        rows (`Dataset`): Rows of the config `benchmark`.
        catalog ([`Catalog`]): The items.

    Returns:
        `tuple`: The rows that have a text, and the number of those without.

    Raises:
        ValueError: If a dimension or an expected behavior is unknown, or an item is not in the catalog.
    """
    assert split in SPLITS
    requests, empty = [], 0
    for number, row in enumerate(rows):
        dimension, behavior = row["dimension"], row["expected_behavior"]
        for name, value, known in (
            ("dimension", dimension, tuple(one.dimensions)),
            ("expected_behavior", behavior, (RETRIEVE, AVOID)),
        ):
            if value not in known:
                raise ValueError(f"{split}, row {number}, has the {name} {value!r}; known are {', '.join(known)}.")
        items = [*(row["history_item_ids"] or ()), row["target_item_id"]]
        if unknown := [item for item in items if item not in catalog.ids]:
            raise ValueError(
                f"{split}, row {number}, names the item {unknown[0]}, which is not among the {len(catalog.ids)} items "
                "of the catalog; take both configs from one revision."
            )
        text = (row["prompt_text"] or "").strip()
        if not text:
            empty += 1
            continue
        *history, target = (catalog.ids[item] for item in items)
        requests.append(Request(dimension, behavior == AVOID, row["user_id"], tuple(history), text, target))
    return requests, empty
