"""Files of a published benchmark: Parquet per config and split, reports, `eval.yaml`, and the card."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from ..benchmark.axes import AXES
from ..benchmark.baselines import BASELINES
from ..benchmark.fingerprints import content_fingerprint, split_file
from ..benchmark.negation import num_negative
from ..benchmark.parquet_files import read_parquet
from ..benchmark.report import BuildReport, report_file
from ..benchmark.schema import config_name, features_of
from ..benchmark.weaknesses import Positions, find_weaknesses
from ..escaping import code, escaped, markdown, one_line, without_html
from .review_sentiment import measured_text

LONGEST_TITLE = 200
_AGAIN = "build the benchmark again"
CARD_TEMPLATE = Path(__file__).with_name("dataset_card.md")


def write_splits(folder: Path, splits: Mapping[str, pa.Table]) -> dict[str, int]:
    """Writes the splits of a config, one Parquet file each.

    Args:
        folder (`Path`): The config's folder.
        splits (`Mapping[str, pa.Table]`): Rows of the published schema.

    Returns:
        `dict[str, int]`: Number of rows per split.
    """
    for split, table in splits.items():
        pq.write_table(table, folder / split_file(split), compression="zstd", write_page_checksum=True)
    return {split: table.num_rows for split, table in splits.items()}


def write_config(folder: Path, splits: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Writes the splits of a config as [`write_splits`], and describes them.

    Returns:
        `dict`: `rows` and, of a config with the column `preference`, `negative_rows`, counts by split; `fingerprint`.
    """
    info: dict[str, Any] = {"rows": write_splits(folder, splits), "fingerprint": content_fingerprint(splits)}
    if all("preference" in table.column_names for table in splits.values()):
        info["negative_rows"] = {
            split: num_negative(table["preference"].to_pylist()) for split, table in splits.items()
        }
    return info


def publish(folder: Path, configs: Mapping[str, Path], report: BuildReport, name: str) -> None:
    """Fills the dataset directory of one domain: the configs' files, report, card and tasks.

    Args:
        folder (`Path`): The dataset directory, empty.
        configs (`Mapping[str, Path]`): Config -> folder that holds a file per split.
        report ([`~dataset_builders.benchmark.report.BuildReport`]): Report of the build.
        name (`str`): Name that the card's code loads.
    """
    copy_configs(folder, configs, report)
    count_weaknesses(folder, report)
    describe(folder, [report], name)


def count_weaknesses(folder: Path, report: BuildReport) -> None:
    """Counts the weak rows of a domain's files, and puts the counts into the report."""
    tables = {
        (config.removeprefix(f"{report.domain}_"), split): read_parquet(folder / config / split_file(split), _AGAIN)
        for config, splits in report.rows.items()
        for split in splits
    }
    positions = Positions(tables["preferences", "train"], report.options["window"])
    report.weaknesses = find_weaknesses(tables, positions)


def copy_configs(folder: Path, configs: Mapping[str, Path], report: BuildReport) -> None:
    """Copies the files of a domain's configs that are in its report."""
    for config, made in configs.items():
        (folder / config).mkdir(parents=True)
        for split in report.rows[config]:
            shutil.copyfile(made / split_file(split), folder / config / split_file(split))


def describe(folder: Path, reports: Sequence[BuildReport], name: str, known: DatasetInfosDict | None = None) -> None:
    """Writes reports, card, tasks of the leaderboards, and terms.

    Args:
        folder, reports, name, known: As in [`dataset_card`].
    """
    for report in reports:
        path = folder / report_file(report.domain)
        path.parent.mkdir(exist_ok=True)
        path.write_text(report.to_json(), encoding="utf-8")
    (folder / "README.md").write_text(dataset_card(folder, reports, name, known), encoding="utf-8")
    (folder / "eval.yaml").write_text(evaluation_tasks(reports), encoding="utf-8")
    if "license_name" in _license(reports):
        (folder / LICENSE_FILE).write_text(_terms(reports), encoding="utf-8")


LICENSE_FILE = "LICENSE.md"
EVALUATION_FRAMEWORK = "preference-discerning"
"""The Hub accepts ids of a fixed list, which has none for recommendation yet; this one has to be requested there."""


def evaluation_tasks(reports: Sequence[BuildReport]) -> str:
    """Renders `eval.yaml`, which defines the dataset's leaderboards on the Hub: one task per built domain and axis.

    Args:
        reports (`Sequence` of [`~dataset_builders.benchmark.report.BuildReport`]): One per domain.

    Returns:
        `str`: YAML text.
    """
    tasks = [
        {
            "id": f"{config_name(report.domain, axis)}_{AXES[axis].task_metric}",
            "config": config_name(report.domain, axis),
            "split": "test",
        }
        for report in reports
        for axis in _axes_of(report)
    ]
    content = {
        "name": _pretty_name(reports),
        "description": "Does a recommender follow what its user says? Each axis ranks by the metric in its id.",
        "evaluation_framework": EVALUATION_FRAMEWORK,
        "tasks": tasks,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def dataset_card(
    folder: Path, reports: Sequence[BuildReport], name: str, known: DatasetInfosDict | None = None
) -> str:
    """Renders the README.md of a dataset: YAML that `datasets` loads by, and a card filled from the reports.

    Args:
        folder (`Path`): The dataset directory with its configs.
        reports (`Sequence` of [`~dataset_builders.benchmark.report.BuildReport`]): One per domain, in the order of the
            card.
        name (`str`): Name that the card's code loads: `org/name` of a published dataset, else the directory.
        known (`DatasetInfosDict`, *optional*): Infos of configs whose files are not in `folder`.

    Returns:
        `str`: Text of the card.
    """
    card_data = DatasetCardData(
        pretty_name=_pretty_name(reports),
        **_license(reports),
        language=["en"],
        task_categories=["text-retrieval"],
        size_categories=[_size_category(sum(report.num_actions for report in reports))],
        tags=["recommender-systems", "sequential-recommendation", "preference-discerning", "generative-retrieval"],
    )
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for report in reports:
        for config in report.rows:
            infos[config] = known[config] if known and config in known else _describe_config(folder, config, report)
            configs[config] = {
                "data_files": [{"split": split, "path": f"{config}/{split}-*"} for split in report.rows[config]]
            }
    infos.to_dataset_card_data(card_data)
    configs.to_dataset_card_data(card_data)
    domains = [
        {
            "report": _shown(report),
            "title": markdown(_title(report)),
            "axes": _axes_of(report),
            "baselines": _baseline_rows(report),
            "polarity_measured": _measured(report),
            "steering_notes": _steering_notes(report),
        }
        for report in reports
    ]
    built = {axis for report in reports for axis in _axes_of(report)}
    card = DatasetCard.from_template(
        card_data,
        template_path=str(CARD_TEMPLATE),
        name=json.dumps(name, ensure_ascii=False)[1:-1],
        domains=domains,
        axes={name: (axis.description, axis.limits) for name, axis in AXES.items() if name in built},
        main_metrics=[f"{axis.main_metric()} on {name}" for name, axis in AXES.items() if name in built],
        baseline_titles=list(BASELINES.values()),
        columns={config: list(info.features) for config, info in infos.items()},
    )
    return str(card)


def _shown(report: BuildReport) -> BuildReport:
    """The report with its texts escaped for the card; those of terms and citation are Markdown, without HTML."""
    from_hub = report.options.get("from_hub")
    return replace(
        report,
        source=code(report.source),
        **{name: escaped(getattr(report, name)) for name in _SHOWN},
        options=escaped(report.options)
        | ({"from_hub": {name: code(value) for name, value in from_hub.items()}} if from_hub else {}),
        about={name: without_html(text) for name, text in report.about.items()},
        fingerprints={config: code(digest) for config, digest in report.fingerprints.items()},
    )


_SHOWN = ("approximator", "approximator_description", "approximator_details", "polarity", "polarity_description",
          "embedding_model", "embedding_dtype", "notice", "left_out", "notes", "skipped", "noted",
          "weaknesses")  # fmt: skip
"""Fields of a report whose texts stand in a card as plain text."""


def _measured(report: BuildReport) -> str:
    """Sentences on the polarity classifier.

    Raises:
        ValueError: If the report's measurements are not those of a classifier.
    """
    try:
        return markdown(measured_text(report.polarity_measured)) if report.polarity_measured else ""
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the report of {report.domain} has no polarity_measured that can be shown ({error!r:.80}); build again."
        ) from None


def _axes_of(report: BuildReport) -> list[str]:
    return [axis for axis in AXES if config_name(report.domain, axis) in report.rows]


def _baseline_rows(report: BuildReport) -> list[list[str]]:
    """Axis, metric, and the figure of each baseline, as cells of a table."""
    rows = []
    for axis in _axes_of(report):
        if found := report.baselines.get(axis):
            metric = AXES[axis].main_metric()
            values = [found.get(name, {}).get(metric) for name in BASELINES]
            rows.append([axis, metric, *("-" if value is None else f"{value:.4f}" for value in values)])
    return rows


def _title(report: BuildReport) -> str:
    return one_line(report.about.get("title") or report.domain, LONGEST_TITLE)


def _pretty_name(reports: Sequence[BuildReport]) -> str:
    return f"Preference discerning: {', '.join(map(_title, reports))}"


def _license(reports: Sequence[BuildReport]) -> dict[str, Any]:
    """The Hub's license fields; review data have terms rather than a license, and the card states them."""
    known = {report.about.get("license") for report in reports}
    if len(known) == 1 and (license_id := known.pop()) and re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license_id):
        return {"license": license_id}
    return {"license": "other", "license_name": "terms-of-the-source", "license_link": LICENSE_FILE}


def _terms(reports: Sequence[BuildReport]) -> str:
    """Text that the Hub shows as license where no license covers everything."""
    parts = ["# Terms\n\nNo license of this dataset's makers overrides the terms of the data that it was made from.\n"]
    for report in reports:
        terms = without_html(report.about.get("terms") or "Not stated in the build; ask before you pass it on.")
        parts.append(f"## {markdown(_title(report))} (`{report.domain}`)\n\n{terms}\n")
    return "\n".join(parts)


def _size_category(count: int) -> str:
    """The Hub's category of a number of rows.

    >>> _size_category(999), _size_category(198_502)
    ('n<1K', '100K<n<1M')
    """
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    above = [index for index in range(len(names)) if count >= 10 ** (index + 3)]
    if not above:
        return f"n<{names[0]}"
    return f"{names[above[-1]]}<n<{names[above[-1] + 1]}" if above[-1] + 1 < len(names) else f"n>{names[-1]}"


def _describe_config(folder: Path, config: str, report: BuildReport) -> DatasetInfo:
    name = config.removeprefix(f"{report.domain}_")
    splits = SplitDict()
    download_size, columns = 0, []
    for split in report.rows[config]:
        path = folder / config / split_file(split)
        table_size = pq.ParquetFile(path).metadata
        num_bytes = sum(table_size.row_group(index).total_byte_size for index in range(table_size.num_row_groups))
        splits[split] = SplitInfo(name=split, num_bytes=num_bytes, num_examples=report.rows[config][split])
        download_size += path.stat().st_size
        columns = table_size.schema.to_arrow_schema().names
    size = sum(info.num_bytes for info in splits.values())
    return DatasetInfo(
        features=features_of(name, columns), splits=splits, download_size=download_size, dataset_size=size
    )


def _steering_notes(report: BuildReport) -> list[str]:
    """Sentences on steering's deviations from the paper; empty where there are none."""
    if report.steering is None:
        return []
    said = {
        "reused": "rows share their preference with another row of the same split (too few distinct preferences)",
        "dropped": "rows were dropped: no preference was left to pair them with uniquely",
        "own_history": "fine rows use the user's own history: no other user has the same ground truth",
        "empty_history": "rows have an empty history: their ground truth only ever comes first in a window",
        "no_target": "ground truths have no row: no item was left as their target within the bound",
        "beyond_candidates": "rows lead to an item that is not among those that fit best, which were all taken",
        "shared_targets": "test rows lead to an item that train rows of the same axis lead to, too",
    }
    notes = []
    for name, sentence in said.items():
        counts = {key: count for key, count in getattr(report.steering, name).items() if count}
        if counts:
            detail = ", ".join(f"{key} {count:,}" for key, count in counts.items())
            notes.append(f"{sum(counts.values()):,} {sentence}: {detail}.")
    return notes
