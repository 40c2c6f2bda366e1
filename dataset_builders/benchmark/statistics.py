"""Statistics of built benchmarks in the form of the paper's tables 3 and 4 and figure 8."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from ..atomic_write import atomic_write
from .fingerprints import split_file
from .parquet_files import read_parquet
from .report import BuildReport, read_reports
from .schema import SPLITS, config_name

INTERACTION_COLUMNS = ("users", "items", "actions/user", "actions/item", "actions")
PREFERENCE_COLUMNS = ("preferences", "positive", "negative", "pos/neg rows", "fine + coarse rows")


def interaction_statistics(report: BuildReport) -> tuple[str, ...]:
    """Row of table 3, in the order of [`INTERACTION_COLUMNS`]."""
    return (
        f"{report.num_users:,}",
        f"{report.num_items:,}",
        f"{report.actions_per_user:.4f}",
        f"{report.actions_per_item:.4f}",
        f"{report.num_actions:,}",
    )


def preference_statistics(report: BuildReport) -> tuple[str, ...]:
    """Row of table 4, in the order of [`PREFERENCE_COLUMNS`]; rows as train/validation/test.

    By the paper's text a distinct target of a split gives one fine and one coarse row; table 4 counts their sum.
    """
    rows = {axis: report.rows.get(config_name(report.domain, axis)) for axis in ("sentiment", "fine", "coarse")}
    steered = None
    if rows["fine"] and rows["coarse"]:
        steered = {split: rows["fine"].get(split, 0) + rows["coarse"].get(split, 0) for split in SPLITS}
    return (
        f"{report.num_preferences:,}",
        f"{report.num_preferences - report.num_negative:,}",
        f"{report.num_negative:,}",
        _splits(rows["sentiment"]),
        _splits(steered),
    )


def _splits(counts: Mapping[str, int] | None) -> str:
    return "/".join(f"{counts.get(split, 0):,}" for split in SPLITS) if counts else "left out"


def statistics_tables(
    folders: Sequence[Path],
    paper: Mapping[str, tuple[tuple[str, ...] | None, tuple[str, ...] | None]] | None = None,
    remarks: Mapping[str, str] | None = None,
) -> str:
    """Renders tables 3 and 4 of built benchmarks in Markdown, with the paper's row under each of its domains.

    Args:
        folders (`Sequence[Path]`): Benchmark directories, of one domain or several each.
        paper (`Mapping`, *optional*): Domain -> (its row of table 3, its row of table 4), either may be missing; see
            [`~dataset_builders.building.domains.Domain`].
        remarks (`Mapping`, *optional*): Domain -> remark on the comparison with the paper's counts.

    Returns:
        `str`: Two tables, and the remarks on their domains.

    Raises:
        FileNotFoundError: If a directory holds no report.
    """
    reports = [report for folder in folders for report in read_reports(folder)]
    parts = []
    for place, (title, columns, row_of) in enumerate(
        (
            ("Table 3: users, items and actions", INTERACTION_COLUMNS, interaction_statistics),
            ("Table 4: preferences and rows (train/validation/test)", PREFERENCE_COLUMNS, preference_statistics),
        )
    ):
        lines = [f"### {title}", "", "| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
        for report in reports:
            lines.append(f"| {report.domain} | " + " | ".join(row_of(report)) + " |")
            published = (paper or {}).get(report.domain, (None, None))[place]
            if published:
                lines.append("| *the paper* | " + " | ".join(f"*{value}*" for value in published) + " |")
        parts.append("\n".join(lines))
    notes = [f"- {report.domain}: {remark}" for report in reports if (remark := (remarks or {}).get(report.domain))]
    return "\n\n".join(parts + (["\n".join(notes)] if notes else [])) + "\n"


def actions_per_item(folder: Path, domain: str) -> np.ndarray:
    """Number of actions of each item, most frequent first (figure 8).

    Args:
        folder (`Path`): A benchmark directory.
        domain (`str`): One of its domains.

    Returns:
        `np.ndarray`: int64 `(num_items,)`.
    """
    path = folder / config_name(domain, "preferences") / split_file("train")
    items = read_parquet(path, "build the benchmark again", ["item_id"])["item_id"]
    counts = pc.value_counts(items).field("counts").to_numpy()
    return np.sort(counts)[::-1]


def plot_distributions(folders: Sequence[Path], path: Path) -> Path:
    """Plots figure 8, the distribution of actions over items, a line per domain.

    Left, the number of actions of each item by its rank, on logarithmic scales; right, the cumulative share of the
    most frequent items in all actions.

    Args:
        folders (`Sequence[Path]`): Benchmark directories.
        path (`Path`): PNG file, written atomically.

    Returns:
        `Path`: The same path.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state, no display
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'mender-recommender[plots]'.") from None
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    by_rank, cumulative = figure.subplots(1, 2)
    domains = [(folder, report.domain) for folder in folders for report in read_reports(folder)]
    for folder, domain in domains:
        counts = actions_per_item(folder, domain)
        rank = np.arange(1, len(counts) + 1)
        by_rank.loglog(rank, counts, label=domain)
        cumulative.plot(100 * rank / len(counts), 100 * np.cumsum(counts) / counts.sum(), label=domain)
    cumulative.plot((0, 100), (0, 100), color="0.7", linewidth=0.8, linestyle="--", label="all items alike")
    by_rank.set(xlabel="rank of the item", ylabel="actions of the item")
    cumulative.set(xlabel="most frequent items, % of the catalog", ylabel="% of all actions")
    cumulative.set(xlim=(0, 100), ylim=(0, 100))
    for plot in (by_rank, cumulative):
        plot.grid(alpha=0.3)
        plot.spines[["top", "right"]].set_visible(False)
    cumulative.legend(frameon=False, loc="lower right")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path
