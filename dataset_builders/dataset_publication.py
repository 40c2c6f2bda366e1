"""Files of a published benchmark: Parquet per config and split, and a card by which `load_dataset` finds them.

Knows layout, YAML and card. Leaves what the rows mean to `axes/`, and what happened in a build to its report.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from .report import BuildReport
from .schema import AXES, features, splits_of

CARD_TEMPLATE = Path(__file__).with_name("dataset_card.md")

AXIS_DESCRIPTIONS = {
    "recommendation": "history and the one preference that fits the target best; recommend the next item",
    "sentiment": "a negative preference, its inversion, and an item that the user disliked; no history",
    "fine": "the history of a user with the same ground truth; the preference asks for a very similar item",
    "coarse": "a user's history; the preference asks for a very distinct item",
    "history": "history and all five preferences; recommend the next item without help from the target",
}


@contextmanager
def new_directory(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A directory that appears under its final name only when it is complete.

    Args:
        path (`Path`): The final name.
        overwrite (`bool`): Whether an existing directory is replaced, at the end.

    Yields:
        `Path`: A temporary directory beside it to write to; removed if an exception leaves the block.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false, or it is not a directory.
    """
    path = Path(path)
    if path.exists() and (not overwrite or not path.is_dir()):
        raise FileExistsError(f"{path} already exists; choose another output directory, or ask to overwrite it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's is private to the user
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.rename(old / "replaced")
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_config(folder: Path, config: str, splits: Mapping[str, pa.Table]) -> dict[str, int]:
    """Writes the splits of a config as `<config>/<split>-00000-of-00001.parquet`.

    Args:
        folder (`Path`): The dataset directory.
        config (`str`): Name of the config.
        splits (`Mapping[str, pa.Table]`): Rows of the published schema.

    Returns:
        `dict[str, int]`: Number of rows per split.
    """
    (folder / config).mkdir(parents=True, exist_ok=True)
    for split, table in splits.items():
        pq.write_table(table, folder / config / f"{split}-00000-of-00001.parquet", compression="zstd")
    return {split: table.num_rows for split, table in splits.items()}


def dataset_card(folder: Path, report: BuildReport) -> str:
    """The README.md of a dataset directory: YAML that `datasets` loads by, and a card filled from the report.

    Args:
        folder (`Path`): The dataset directory, its configs written.
        report ([`~dataset_builders.report.BuildReport`]): What the build gave.

    Returns:
        `str`: Text of the card.
    """
    card_data = DatasetCardData(
        pretty_name=f"Preference discerning: {report.domain}",
        task_categories=["text-retrieval"],
        tags=["recommender-systems", "sequential-recommendation", "preference-discerning", "generative-retrieval"],
    )
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for config in report.rows:
        infos[config], configs[config] = _describe_config(folder, config, report)
    infos.to_dataset_card_data(card_data)
    configs.to_dataset_card_data(card_data)
    axes = [axis for axis in AXES if f"{report.domain}_{axis}" in report.rows]
    card = DatasetCard.from_template(
        card_data,
        template_path=str(CARD_TEMPLATE),
        report=report,
        axes={axis: AXIS_DESCRIPTIONS[axis] for axis in axes},
        columns={config: list(infos[config].features) for config in report.rows},
        steering_notes=_steering_notes(report),
    )
    return str(card)


def _describe_config(folder: Path, config: str, report: BuildReport) -> tuple[DatasetInfo, dict[str, object]]:
    name = config.removeprefix(f"{report.domain}_")
    splits = SplitDict()
    data_files, download_size = [], 0
    for split in splits_of(name):
        path = folder / config / f"{split}-00000-of-00001.parquet"
        table_size = pq.ParquetFile(path).metadata
        num_bytes = sum(table_size.row_group(index).total_byte_size for index in range(table_size.num_row_groups))
        splits[split] = SplitInfo(name=split, num_bytes=num_bytes, num_examples=report.rows[config][split])
        data_files.append({"split": split, "path": f"{config}/{split}-*"})
        download_size += path.stat().st_size
    size = sum(info.num_bytes for info in splits.values())
    info = DatasetInfo(features=features(name), splits=splits, download_size=download_size, dataset_size=size)
    return info, {"data_files": data_files}


def _steering_notes(report: BuildReport) -> list[str]:
    """Sentences on where steering could not go by the book; empty where it could."""
    if report.steering is None:
        return []
    said = {
        "reused": "rows share their preference with another row of the same split (too few distinct preferences)",
        "dropped": "rows were dropped: no preference was left to pair them with uniquely",
        "own_history": "fine rows use the user's own history: no other user has the same ground truth",
        "empty_history": "rows have an empty history: their ground truth only ever comes first in a window",
    }
    notes = []
    for name, sentence in said.items():
        counts = {key: count for key, count in getattr(report.steering, name).items() if count}
        if counts:
            detail = ", ".join(f"{key} {count:,}" for key, count in counts.items())
            notes.append(f"{sum(counts.values()):,} {sentence}: {detail}.")
    return notes
