"""Read the tables of a published benchmark, from a local directory or from the Hub."""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from huggingface_hub import snapshot_download

from .axes import AXES, TABLES, get_axis
from .fingerprints import content_fingerprint
from .parquet_files import read_parquet
from .report import REPORTS_FOLDER, is_on_the_hub, read_stated
from .schema import check_domain, features, splits_of

logger = logging.getLogger(__name__)


def load_table(
    benchmark: str, domain: str, name: str, split: str = "train", revision: str | None = None
) -> datasets.Dataset | None:
    """Loads one split of one config; `None` if the benchmark does not have that config.

    The rows of all its splits are compared with the fingerprint in the report, at about 80,000 rows a second, once in
    a process. A local directory is read directly, since the cache of `datasets` does not notice changed files.

    Args:
        benchmark (`str`): A local dataset directory, or the name of a dataset on the Hub.
        domain (`str`): Domain, such as `beauty`.
        name (`str`): An axis, or `items` or `preferences`.
        split (`str`, defaults to `"train"`): `train`, `validation` or `test`.
        revision (`str`, *optional*): Branch, tag or commit of the Hub.

    Raises:
        FileNotFoundError: If there is no such benchmark, or it has no config of that domain.
        ValueError: If the config exists without that split, a file of it is damaged, or its rows are not those of the
            report.
        OSError: If the Hub's client fails.
    """
    folder = _config_folder(benchmark, domain, name, revision)
    has_report = is_on_the_hub(benchmark) or (Path(benchmark) / REPORTS_FOLDER).is_dir()
    if folder is None:
        if has_report and f"{domain}_{name}" in read_stated(benchmark, domain, revision).get("rows", {}):
            raise ValueError(
                f"{benchmark} lacks the folder {domain}_{name}, which its report states; {_again(benchmark)} the "
                "benchmark again."
            )
        return None
    if not _split_files(folder, split):
        raise ValueError(
            f"{benchmark}/{domain}_{name} has no split {split!r}; {_again(benchmark)} the benchmark again, or choose "
            "a config that has it: a public set may lack rows of a split."
        )
    if has_report and name in _published():
        stated = read_stated(benchmark, domain, revision).get("fingerprints", {})
        if f"{domain}_{name}" in stated:
            _check_fingerprint(benchmark, domain, name, folder, stated)
        else:
            logger.warning(
                "the report of %s has no fingerprint of %s_%s: its rows are not verified", benchmark, domain, name
            )
    rows = [_read_rows(file, name, benchmark) for file in _split_files(folder, split)]
    return datasets.Dataset(_joined(rows, name, benchmark))


def require_table(
    benchmark: str, domain: str, name: str, split: str = "train", revision: str | None = None
) -> datasets.Dataset:
    """Loads one split of one config that must have rows.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`load_table`], or if the config is missing or empty.
    """
    rows = load_table(benchmark, domain, name, split, revision)
    if rows is None or not len(rows):
        lacks = "no config" if rows is None else f"no {split} rows of"
        raise ValueError(f"{benchmark} has {lacks} {domain}_{name}; {_again(benchmark)} the benchmark again.")
    return rows


def check_fingerprints(
    benchmark: str, domain: str, names: Iterable[str], fingerprints: Mapping[str, str], revision: str | None = None
) -> dict[str, str]:
    """Computes the fingerprints of configs from the files of all splits, and compares them with those of the report.

    Args:
        benchmark, domain, revision: As in [`load_table`].
        names (`Iterable[str]`): Axes, or `items` or `preferences`; configs that the benchmark has.
        fingerprints (`Mapping[str, str]`): Config -> digest in the report of the domain.

    Returns:
        `dict[str, str]`: Config -> digest of the existing rows.

    Raises:
        ValueError: If the digest of a config's rows differs from the report's; the message names the config and its
            splits. A config without a digest in the report is not compared.
        FileNotFoundError, OSError: As [`load_table`].
    """
    found = {}
    for name in names:
        folder = _config_folder(benchmark, domain, name, revision)
        found[f"{domain}_{name}"] = _check_fingerprint(benchmark, domain, name, folder, fingerprints)
    return found


def _check_fingerprint(
    benchmark: str, domain: str, name: str, folder: Path | None, fingerprints: Mapping[str, str]
) -> str:
    """Digest of a config's rows, if it is that of the report."""
    config = f"{domain}_{name}"
    files = [] if folder is None else [(split, _state_of(file)) for split, file in _files(folder, name)]
    digest, counts = _digest(name, tuple(files), benchmark)
    if digest != fingerprints.get(config, digest):
        have = ", ".join(f"{split} {count:,}" for split, count in counts.items()) or "no split"
        raise ValueError(
            f"the rows of {benchmark}/{config} are not those of its fingerprint: they ({have}) give {digest}, the "
            f"report has {fingerprints[config]}; {_again(benchmark)} the benchmark again."
        )
    return digest


def _published() -> set[str]:
    return {*AXES, *TABLES}


def _state_of(file: Path) -> tuple[str, int, int, int, int]:
    """Path of a file with what changes when its content does."""
    state = file.stat()
    return str(file), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


@lru_cache(maxsize=256)
def _digest(
    name: str, files: tuple[tuple[str, tuple[str, int, int, int, int]], ...], benchmark: str
) -> tuple[str, dict[str, int]]:
    """Fingerprint of a config's files, and the number of rows of each split."""
    tables: dict[str, list[pa.Table]] = {}
    for split, (path, *_) in files:
        tables.setdefault(split, []).append(_read_rows(Path(path), name, benchmark))
    rows = {split: _joined(found, name, benchmark) for split, found in tables.items()}
    try:
        return content_fingerprint(rows), {split: len(table) for split, table in rows.items()}
    except (TypeError, pa.ArrowException) as error:
        raise ValueError(
            f"{Path(files[0][1][0]).parent} has columns of unknown types ({error}); {_again(benchmark)} it again."
        ) from None


def _again(benchmark: str) -> str:
    return "publish" if is_on_the_hub(benchmark) else "build"


def _config_folder(benchmark: str, domain: str, name: str, revision: str | None) -> Path | None:
    """Folder of a config's files; `None` if the benchmark does not have it."""
    check_domain(domain)
    config = f"{domain}_{name}"
    if is_on_the_hub(benchmark):
        downloaded = download_config(benchmark, domain, config, revision)
        return None if downloaded is None else downloaded / config
    folder = Path(benchmark)
    if not any(folder.glob(f"{domain}_*")):
        found = ", ".join(sorted(path.name for path in folder.glob("*_*") if path.is_dir()))
        raise FileNotFoundError(
            f"{benchmark} has no config of domain {domain!r}; it has {found or 'no config at all'}; "
            "name another domain, or build this one with mender build."
        )
    return folder / config if (folder / config).is_dir() else None


def _files(folder: Path, name: str) -> list[tuple[str, Path]]:
    """Split and path of every file of a config, in the published order."""
    return [(split, file) for split in splits_of(name) for file in _split_files(folder, split)]


def _split_files(folder: Path, split: str) -> list[Path]:
    """Files of one split, by its name and not by a pattern."""
    found = sorted(file for file in folder.glob("*.parquet") if file.name.startswith(f"{split}-"))
    if lost := [file for file in found if not file.is_file()]:
        raise ValueError(f"{lost[0]} is no file, or a link to none; take it away, or build the benchmark again.")
    return found


def _joined(tables: list[pa.Table], name: str, benchmark: str) -> pa.Table:
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the files of {benchmark}/{name} have different columns ({reason}); {_again(benchmark)} it again."
        ) from None


def _read_rows(file: Path, name: str, benchmark: str) -> pa.Table:
    """Rows of one file, whose published columns have values of the published kinds."""
    table = read_parquet(file, f"{_again(benchmark)} the benchmark again")
    table = table.replace_schema_metadata()  # by which datasets would read the values as other ones
    expected = features(name).arrow_schema if name in _published() else pa.schema([])
    for field in table.schema:
        if field.name in expected.names and _kind(field.type) not in (_kind(expected.field(field.name).type), "null"):
            raise ValueError(
                f"{file} has the column {field.name} as {field.type}, not {expected.field(field.name).type}; "
                f"{_again(benchmark)} the benchmark again."
            )
    return table


def _kind(found: pa.DataType) -> str:
    """Kind of values, whatever their size: `integer`, `number`, `text`, `list of text`, ..."""
    if pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found):
        return "null" if pa.types.is_null(found.value_type) else f"list of {_kind(found.value_type)}"
    if pa.types.is_integer(found):
        return "integer"
    if pa.types.is_floating(found):
        return "number"
    return "text" if pa.types.is_string(found) or pa.types.is_large_string(found) else str(found)


def download_config(benchmark: str, domain: str, config: str, revision: str | None) -> Path | None:
    """Downloads the files of one config from the Hub, or finds them in the cache; `None` if the report lacks it.

    Not through `load_dataset`, which cannot pin a commit while the Hub is out of reach.
    """
    if config not in read_stated(benchmark, domain, revision).get("rows", {}):
        return None
    return Path(
        snapshot_download(benchmark, repo_type="dataset", revision=revision, allow_patterns=f"{config}/*.parquet")
    )


def load_axes(
    benchmark: str, domain: str, split: str, axes: Iterable[str] = AXES, revision: str | None = None
) -> dict[str, datasets.Dataset]:
    """Loads the axes of a benchmark, in the given order, without those that have no rows.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`load_table`], or if no axis is left.
    """
    found = {axis: load_table(benchmark, domain, axis, split, revision) for axis in axes}
    tables = {axis: rows for axis, rows in found.items() if rows is not None and len(rows)}
    if not tables:
        raise ValueError(f"{benchmark} has none of the axes {', '.join(axes)} for {domain}.")
    for axis, rows in tables.items():
        record = get_axis(axis)
        needed = ("target", record.other, *record.asked.values())
        known = {*rows.column_names, *record.optional, None}
        if missing := [name for name in needed if name not in known]:
            raise ValueError(
                f"{benchmark}/{domain}_{axis} has no column {missing[0]}; {_again(benchmark)} the benchmark again."
            )
        if rows.data.column("target").null_count:
            raise ValueError(
                f"{benchmark}/{domain}_{axis} has rows without a target; {_again(benchmark)} the benchmark again."
            )
    return tables


def count_items(benchmark: str, domain: str, revision: str | None = None) -> int:
    """Counts the items of a domain; item ids are 1 to this number.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`load_table`], or if the config of items is missing.
    """
    return len(require_table(benchmark, domain, "items", revision=revision))


def choose_rows(num_rows: int, max_rows: int = 0) -> np.ndarray:
    """Row numbers to score, in ascending order, the same for every method.

    Args:
        num_rows (`int`): Rows of the axis.
        max_rows (`int`, defaults to 0): Maximum number of rows, drawn with a fixed seed; 0 means all.
    """
    if not 0 < max_rows < num_rows:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(0).choice(num_rows, max_rows, replace=False))
