"""Read the tables of a published benchmark, from a local directory or from the Hub."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download

from .axes import AXES
from .fingerprints import content_fingerprint
from .report import is_on_the_hub, report_text
from .schema import splits_of


def load_table(
    benchmark: str, domain: str, name: str, split: str = "train", revision: str | None = None
) -> datasets.Dataset | None:
    """Loads one split of one config; `None` if the benchmark does not have that config.

    A local directory is read directly, since the cache of `datasets` does not notice changed files.

    Args:
        benchmark (`str`): A local dataset directory, or the name of a dataset on the Hub.
        domain (`str`): Domain, such as `beauty`.
        name (`str`): An axis, or `items` or `preferences`.
        split (`str`, defaults to `"train"`): `train`, `validation` or `test`.
        revision (`str`, *optional*): Branch, tag or commit of the Hub.

    Raises:
        FileNotFoundError: If there is no such benchmark, or it has no config of that domain.
        ValueError: If the config exists without that split.
        OSError: If the Hub's client fails.
    """
    folder = _config_folder(benchmark, domain, name, revision)
    if folder is None:
        return None
    rows = _read_split(folder, split)
    if rows is None:
        raise ValueError(
            f"{benchmark}/{domain}_{name} has no split {split!r}; {_again(benchmark)} the benchmark again, or choose "
            "a config that has it: a public set may lack rows of a split."
        )
    return datasets.Dataset(rows)


def check_fingerprints(
    benchmark: str, domain: str, names: Iterable[str], fingerprints: Mapping[str, str], revision: str | None = None
) -> dict[str, str]:
    """Computes the fingerprints of configs from the files of all splits, and compares them with those of the report.

    Throughput is about 20,000 rows a second.

    Args:
        benchmark, domain, revision: As in [`load_table`].
        names (`Iterable[str]`): Axes, or `items` or `preferences`; configs that the benchmark has.
        fingerprints (`Mapping[str, str]`): Config -> digest in the report of the domain.

    Returns:
        `dict[str, str]`: Config -> digest of the existing rows.

    Raises:
        ValueError: If the digest of a config's rows differs from the report's; the message names the config. A config
            without a digest in the report is not compared.
        FileNotFoundError, OSError: As [`load_table`].
    """
    found = {}
    for name in names:
        config, folder = f"{domain}_{name}", _config_folder(benchmark, domain, name, revision)
        splits = {split: None if folder is None else _read_split(folder, split) for split in splits_of(name)}
        try:
            digest = content_fingerprint({split: rows for split, rows in splits.items() if rows is not None})
        except TypeError as error:
            raise ValueError(
                f"{benchmark}/{config} has columns of unknown types ({error}); {_again(benchmark)} it again."
            ) from None
        if config in fingerprints and digest != fingerprints[config]:
            raise ValueError(
                f"the rows of {benchmark}/{config} are not those of its fingerprint: they give {digest}, the report "
                f"has {fingerprints[config]}; {_again(benchmark)} the benchmark again."
            )
        found[config] = digest
    return found


def _again(benchmark: str) -> str:
    return "publish" if is_on_the_hub(benchmark) else "build"


def _config_folder(benchmark: str, domain: str, name: str, revision: str | None) -> Path | None:
    """Folder of a config's files; `None` if the benchmark does not have it."""
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


def _read_split(folder: Path, split: str) -> pa.Table | None:
    """Reads the rows of a split from all its files; `None` if there are none."""
    tables = []
    for file in sorted(folder.glob(f"{split}-*.parquet")):
        try:
            tables.append(pq.read_table(file))
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{file} is not a readable Parquet file ({reason}); build it again.") from None
    return pa.concat_tables(tables) if tables else None


def download_config(benchmark: str, domain: str, config: str, revision: str | None) -> Path | None:
    """Downloads the files of one config from the Hub, or finds them in the cache; `None` if the report lacks it.

    Not through `load_dataset`, which cannot pin a commit while the Hub is out of reach.
    """
    if config not in json.loads(report_text(benchmark, domain, revision))["rows"]:
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
    tables = {axis: load_table(benchmark, domain, axis, split, revision) for axis in axes}
    tables = {axis: rows for axis, rows in tables.items() if rows is not None and len(rows)}
    if not tables:
        raise ValueError(f"{benchmark} has none of the axes {', '.join(axes)} for {domain}.")
    return tables


def count_items(benchmark: str, domain: str, revision: str | None = None) -> int:
    """Counts the items of a domain; item ids are 1 to this number.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`load_table`], or if the config of items is missing.
    """
    items = load_table(benchmark, domain, "items", revision=revision)
    if items is None:
        raise ValueError(f"{benchmark} has no config {domain}_items; build the benchmark again.")
    return len(items)


def choose_rows(num_rows: int, max_rows: int = 0) -> np.ndarray:
    """Row numbers to score, in ascending order, the same for every method.

    Args:
        num_rows (`int`): Rows of the axis.
        max_rows (`int`, defaults to 0): Maximum number of rows, drawn with a fixed seed; 0 means all.
    """
    if not 0 < max_rows < num_rows:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(0).choice(num_rows, max_rows, replace=False))
