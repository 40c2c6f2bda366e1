"""Reading a published benchmark: a local dataset directory or a dataset on the Hub, by its column names alone.

Knows where the configs lie. Leaves what the rows mean to `scoring/` and to whoever trains on them.
"""

from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from .schema import AXES


def load_table(benchmark: str, domain: str, name: str, split: str = "train") -> datasets.Dataset | None:
    """One split of one config; `None` where the benchmark does not have that config.

    A local directory is read directly: the cache of `datasets` does not notice that a file changed.

    Args:
        benchmark (`str`): A local dataset directory, or the name of a dataset on the Hub.
        domain (`str`): Such as `beauty`.
        name (`str`): An axis, or `items` or `preferences`.
        split (`str`, defaults to `"train"`): `train`, `validation` or `test`.

    Raises:
        FileNotFoundError: If there is no such benchmark, or a local directory has no config of that domain.
        ValueError: If the config exists without that split.
    """
    config = f"{domain}_{name}"
    if not Path(benchmark).is_dir():
        try:
            configs = datasets.get_dataset_config_names(benchmark)
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"{benchmark} is no local directory, and the Hub gave no such dataset ({str(error).splitlines()[0]}); "
                "pass the directory that scripts/build_benchmark.py wrote, or check name and connection."
            ) from None
        return datasets.load_dataset(benchmark, config, split=split) if config in configs else None
    if not any(Path(benchmark).glob(f"{domain}_*")):
        found = sorted({path.name for path in Path(benchmark).iterdir() if path.is_dir()})
        raise FileNotFoundError(
            f"{benchmark} has no config of domain {domain!r}; it has {found or 'no config at all'}."
        )
    if not (Path(benchmark) / config).is_dir():
        return None
    files = sorted((Path(benchmark) / config).glob(f"{split}-*.parquet"))
    if not files:
        raise ValueError(f"{Path(benchmark) / config} has no split {split!r}; build the benchmark again.")
    return datasets.Dataset(pa.concat_tables([pq.read_table(file) for file in files]))


def load_axes(benchmark: str, domain: str, split: str, axes: Iterable[str] = AXES) -> dict[str, datasets.Dataset]:
    """The axes that a benchmark has, in the order given; those without a row are left out.

    Raises:
        FileNotFoundError, ValueError: As [`load_table`], or if no axis is left.
    """
    tables = {axis: load_table(benchmark, domain, axis, split) for axis in axes}
    tables = {axis: rows for axis, rows in tables.items() if rows is not None and len(rows)}
    if not tables:
        raise ValueError(f"{benchmark} has none of the axes {', '.join(axes)} for {domain}.")
    return tables


def count_items(benchmark: str, domain: str) -> int:
    """Number of items of a domain; item ids are 1 to this number.

    Raises:
        FileNotFoundError, ValueError: As [`load_table`], or if the config of items is missing.
    """
    items = load_table(benchmark, domain, "items")
    if items is None:
        raise ValueError(f"{benchmark} has no config {domain}_items; build the benchmark again.")
    return len(items)
