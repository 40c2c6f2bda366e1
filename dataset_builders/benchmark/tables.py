"""Reading a published benchmark: a local dataset directory or a dataset on the Hub, by its column names alone.

Knows where the files of the configs lie. Leaves what the rows mean to `scoring/` and to whoever trains on them.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download

from .axes import AXES
from .report import is_on_the_hub, report_text


def load_table(
    benchmark: str, domain: str, name: str, split: str = "train", revision: str | None = None
) -> datasets.Dataset | None:
    """One split of one config; `None` where the benchmark does not have that config.

    A local directory is read directly: the cache of `datasets` does not notice that a file changed.

    Args:
        benchmark (`str`): A local dataset directory, or the name of a dataset on the Hub.
        domain (`str`): Such as `beauty`.
        name (`str`): An axis, or `items` or `preferences`.
        split (`str`, defaults to `"train"`): `train`, `validation` or `test`.
        revision (`str`, *optional*): Branch, tag or commit of the Hub.

    Raises:
        FileNotFoundError: If there is no such benchmark, or it has no config of that domain.
        ValueError: If the config exists without that split.
        OSError: What the Hub's client says.
    """
    config = f"{domain}_{name}"
    if is_on_the_hub(benchmark):
        folder, again = download_config(benchmark, domain, config, revision), "publish"
    else:
        folder, again = Path(benchmark), "build"
        if not any(folder.glob(f"{domain}_*")):
            found = ", ".join(sorted(path.name for path in folder.glob("*_*") if path.is_dir()))
            raise FileNotFoundError(
                f"{benchmark} has no config of domain {domain!r}; it has {found or 'no config at all'}."
            )
        folder = folder if (folder / config).is_dir() else None
    if folder is None:
        return None
    files = sorted((folder / config).glob(f"{split}-*.parquet"))
    if not files:
        raise ValueError(f"{benchmark}/{config} has no split {split!r}; {again} the benchmark again.")
    return datasets.Dataset(pa.concat_tables([pq.read_table(file) for file in files]))


def download_config(benchmark: str, domain: str, config: str, revision: str | None) -> Path | None:
    """The files of one config on the Hub, from the cache where they are in it; `None` if its report has no such one.

    By the files and not by `load_dataset`: that one cannot be held to a commit where the Hub is out of reach.
    """
    if config not in json.loads(report_text(benchmark, domain, revision))["rows"]:
        return None
    wanted = {"allow_patterns": f"{config}/*.parquet", "repo_type": "dataset", "revision": revision}
    return Path(snapshot_download(benchmark, **wanted))


def load_axes(
    benchmark: str, domain: str, split: str, axes: Iterable[str] = AXES, revision: str | None = None
) -> dict[str, datasets.Dataset]:
    """The axes that a benchmark has, in the order given; those without a row are left out.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`load_table`], or if no axis is left.
    """
    tables = {axis: load_table(benchmark, domain, axis, split, revision) for axis in axes}
    tables = {axis: rows for axis, rows in tables.items() if rows is not None and len(rows)}
    if not tables:
        raise ValueError(f"{benchmark} has none of the axes {', '.join(axes)} for {domain}.")
    return tables


def count_items(benchmark: str, domain: str, revision: str | None = None) -> int:
    """Number of items of a domain; item ids are 1 to this number.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`load_table`], or if the config of items is missing.
    """
    items = load_table(benchmark, domain, "items", revision=revision)
    if items is None:
        raise ValueError(f"{benchmark} has no config {domain}_items; build the benchmark again.")
    return len(items)
