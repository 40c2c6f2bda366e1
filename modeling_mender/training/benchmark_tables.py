"""Reading a published benchmark: a local dataset directory or a dataset on the Hub, by its column names alone."""

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from .collators import Request

AXES = ("recommendation", "sentiment", "fine", "coarse", "history")


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


def requests_of(rows: datasets.Dataset, preference: str | None = "preference") -> list[Request]:
    """Rows of an axis as requests.

    Args:
        rows (`datasets.Dataset`): Rows with `history`, or without (sentiment).
        preference (`str`, *optional*): The column to take preferences from; `None` asks without any.
    """
    histories = rows["history"][:] if "history" in rows.column_names else [()] * len(rows)
    users = rows["user_id"][:] if "user_id" in rows.column_names else [""] * len(rows)
    texts = [()] * len(rows) if preference is None else rows[preference][:]
    return [
        Request(tuple(history), (text,) if isinstance(text, str) else tuple(text), user or "")
        for history, text, user in zip(histories, texts, users, strict=True)
    ]
