"""Format tables as Markdown and CSV.

Knows words, digits and notes. Leaves to `tables` which figure belongs where.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from ..benchmark.axes import get_axis
from ..benchmark.baselines import BASELINES
from ..escaping import code, markdown
from .results import Group
from .tables import (
    DOMAIN_TITLES,
    IMPROVEMENT,
    TABLES,
    Block,
    Entry,
    TableSpec,
    domain_order,
    label_of,
    mixture_title,
    title_of,
)

METRIC_TITLES = {"train_minutes": "Train time (min)", "inference_ms": "Inference (ms per query)"}

# (axis, label, method, variant) -> (domain, metric) -> what the cell says
Cells = dict[tuple[str, str, str, str], dict[tuple[str, str], str]]


def format_value(value: float, metric: str, method: str = "") -> str:
    """
    >>> format_value(0.09366, "recall@10"), format_value(33.24, "recall@10", "relative_improvement")
    ('0.0937', '+33.2%')
    >>> format_value(1.234, "inference_ms"), format_value(293.0, "train_minutes")
    ('1.23', '293')
    """
    if method == IMPROVEMENT:
        return f"{value:+.1f}%"
    if metric in METRIC_TITLES:
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{value:.4f}"


def format_entry(entry: Entry, best: bool = False) -> str:
    """Ours, its deviation in parentheses, the published figure in italics: `**0.0937** (0.0012) *0.0937*`."""
    if not entry.shows:
        return "-"
    words = "-"
    if entry.ours is not None:
        words = format_value(entry.ours.mean, entry.metric, entry.method)
        words = f"**{words}**" if best else words
        if entry.ours.std is not None:
            words += f" ({format_value(entry.ours.std, entry.metric)})"
    if entry.published is not None and entry.published.was_run:
        shown = format_value(entry.published.value, entry.metric, entry.method)
        if entry.published.std is not None:
            shown += f" ± {format_value(entry.published.std, entry.metric)}"
        words += f" *{shown}*"
    return words


def best_entries(block: Block) -> set[int]:
    """Places of the best of ours in each column of an axis, by the digits shown; nothing where one is alone."""
    columns: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for i, entry in enumerate(block.entries):
        if entry.ours is not None and entry.method != IMPROVEMENT:
            sign = -1 if entry.metric in METRIC_TITLES else 1
            shown = sign * float(format_value(entry.ours.mean, entry.metric))
            columns.setdefault((entry.domain, entry.axis, entry.metric), []).append((shown, i))
    best = set()
    for figures in columns.values():
        top = max(value for value, _ in figures)
        if len(figures) > 1 and top != 0 and block.table != 6:  # a deviation has no best
            best |= {i for value, i in figures if value == top}
    return best


def domain_title(domain: str) -> str:
    """Title of a domain in tables."""
    return DOMAIN_TITLES.get(domain, markdown(domain))


def block_markdown(block: Block) -> str:
    """One block: heading, table and notes."""
    spec = TABLES[block.table]
    heading = ", ".join(
        filter(
            None,
            (
                block.heading,
                f"{'p' if block.heading else 'P'}references by {block.preferences}",
                "items of the row's own history taken out" if block.protocol == "unseen" else "every item ranked",
            ),
        )
    )
    best = best_entries(block)
    cells: Cells = {}
    for i, entry in enumerate(block.entries):
        column = (
            entry.domain,
            entry.metric.replace(f"{get_axis(entry.axis).metric}@", "recall@"),
        )
        cells.setdefault((entry.axis, entry.label, entry.method, entry.variant), {})[column] = format_entry(
            entry, i in best
        )
    domains = list(dict.fromkeys(entry.domain for entry in block.entries))
    lines = _by_dataset(spec, domains, cells) if block.table == 7 else _by_axis(spec, domains, cells)
    return "\n".join([f"### {markdown(heading)}", "", *lines, "", *notes(block)]) + "\n"


def _by_axis(spec: TableSpec, domains: Sequence[str], cells: Cells) -> list[str]:
    """Methods as rows, a domain's metrics side by side, one group of rows per axis."""
    columns = [(domain, metric) for domain in domains for metric in spec.metrics]
    titles = [
        f"{domain_title(domain)} {metric.replace('recall', 'Recall').replace('ndcg', 'NDCG')}"
        for domain, metric in columns
    ]
    lines = [f"| Method | {' | '.join(titles)} |", "|---|" + "---:|" * len(columns)]
    for axis in dict.fromkeys(axis for axis, *_ in cells):
        own = get_axis(axis).metric
        words = get_axis(axis).title + (f" ({own}@k in place of Recall@k)" if own != "recall" else "")
        lines.append(f"| **{words}** |" + " |" * len(columns))
        for (of_axis, label, *_), row in cells.items():
            if of_axis == axis:
                lines.append(f"| {markdown(label)} | {' | '.join(row.get(column, '-') for column in columns)} |")
    return lines


def _by_dataset(spec: TableSpec, domains: Sequence[str], cells: Cells) -> list[str]:
    """Table 7: one row per method and domain."""
    titles = [METRIC_TITLES.get(m, m.replace("recall", "Recall").replace("ndcg", "NDCG")) for m in spec.metrics]
    lines = [f"| Method | Dataset | {' | '.join(titles)} |", "|---|---|" + "---:|" * len(titles)]
    for (_, label, *_), row in cells.items():
        for domain in domains:
            figures = [row.get((domain, metric), "-") for metric in spec.metrics]
            if set(figures) != {"-"}:
                lines.append(f"| {markdown(label)} | {domain_title(domain)} | {' | '.join(figures)} |")
    return lines


def notes(block: Block) -> list[str]:
    """Notes under a table: benchmarks and their rows, seeds, and limits of the values."""
    lines = []
    by_name: dict[str, list[Group]] = {}
    for group in block.groups:
        by_name.setdefault(group.first.domain, []).append(group)
    for domain in sorted(by_name, key=domain_order):
        rows: dict[str, int] = {}
        for group in by_name[domain]:
            for result in group.results:
                rows |= result.num_rows()
        counted = ", ".join(
            f"{get_axis(axis).title.lower()} {rows[axis]:,}" for axis in TABLES[block.table].axes if axis in rows
        )
        lines.append(f"- {domain_title(domain)}: {block.groups[0].first.split} rows: {counted}.")
    seeds: dict[str, list[str]] = {}
    for group in block.groups:
        first = group.first
        name = title_of(first.method) + ("" if first.mixture == "none" else f"-{mixture_title(first.mixture)}")
        name = name if block.heading else label_of(group)
        name = f"{name} ({first.text_encoder})".replace(") (", ", ") if first.text_encoder else name
        seeds.setdefault(name, []).append(f"{len(group.results)} on {domain_title(first.domain)}")
    lines.append(
        "- Seeds: " + "; ".join(f"{markdown(name)} {', '.join(counts)}" for name, counts in seeds.items()) + "."
    )
    for group in block.groups:
        for name, values in group.differences().items():
            lines.append(
                f"- The seeds of {markdown(title_of(group.first.method))} on {domain_title(group.first.domain)} "
                f"differ in {markdown(name)} too: {markdown(', '.join(values))}."
            )
    has_published = any(entry.published is not None for entry in block.entries)
    cell = "the sample standard deviation of ours over seeds"
    if block.table != 6:
        cell = "ours, the sample standard deviation over seeds in parentheses; the best of ours is in bold"
    beside = "; *the published figure* is in italics" if has_published else ""
    lines.append(f"- A cell holds {cell}{beside}; `-` stands for no figure.")
    if block.protocol == "unseen":
        lines.append("- A target that is in the history counts as a miss; nothing is published for this.")
    if stated := dict.fromkeys(entry.label for entry in block.entries if entry.method in BASELINES):
        lines.append(
            f"- {' / '.join(stated)}: without training, as the results state it; a figure that is not above theirs "
            "shows nothing about preferences."
        )
    own = dict.fromkeys(title_of(group.first.method) for group in block.groups if group.first.mixture != "none")
    if own and not block.heading:
        lines.append(
            f"- {' / '.join(own)} learns from the rows of all axes that say what is wanted; the others from "
            "recommendation data alone."
        )
    lines.append(
        "- Recommendation chooses its preference with the target in view (eq. 1), which favors methods that read "
        "preferences; history consolidation is the axis without that help."
    )
    remarks = [TABLES[block.table].note]
    if has_published:
        remarks.append(TABLES[block.table].published_note)
        lines.append(
            "- Published figures rest on preferences that an LLM (LLaMA-3-70B-Instruct) wrote; ours on those of "
            f"`{code(block.preferences)}`."
        )
    return [*lines, *(f"- {note}" for note in remarks if note)]


def table_markdown(table: int, blocks: Sequence[Block]) -> str:
    """A whole table."""
    return f"## Table {table}: {TABLES[table].title}\n\n" + "\n".join(block_markdown(block) for block in blocks)


# -- CSV ------------------------------------------------------------------------------------------------------------

COLUMNS = ("table", "preferences", "protocol", "method", "variant", "domain", "axis", "metric", "ours", "ours_std",
           "seeds", "published", "published_std", "published_note")  # fmt: skip


def tables_csv(blocks: Iterable[Block]) -> str:
    """Every entry as a line; figures that there are not are empty. In table 6 `ours` is the deviation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for block in blocks:
        for entry in block.entries:
            ours, published = entry.ours, entry.published
            writer.writerow(
                [block.table, block.preferences, block.protocol, entry.method, entry.variant, entry.domain, entry.axis,
                 entry.metric, *((ours.mean, ours.std, ours.seeds) if ours else ("", "", 0)),
                 *((published.value, published.std, published.note) if published else ("", "", ""))]
            )  # fmt: skip
    return text.getvalue()
