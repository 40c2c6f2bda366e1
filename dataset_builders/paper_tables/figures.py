"""The paper's figures 3 to 7 from our results, and the star plot of a single model.

Every figure of the paper gives the reasons why a half of it is missing, none if it is whole, or raises [`Skipped`].
Draws with matplotlib's Figure, without pyplot: no global state, no display. Bars stand for means over seeds, their
whiskers for the sample standard deviation.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from ..atomic_write import atomic_write
from ..benchmark.axes import get_axis
from ..escaping import legend_text, one_line
from ..scoring.baselines import best_baseline
from ..scoring.ranks import read_ranks
from ..scoring.result_parts import AxisResult
from .layout import domain_title
from .results import ROWS_FILE, Cell, Group, axes_in_order
from .tables import (
    METHOD_TITLES,
    MIXTURES,
    OUR_MIXTURES,
    QUALITY,
    compared_groups,
    label_of,
    method_order,
    recommendation_groups,
    title_of,
    with_default_encoder,
)

UNTRAINED = "best without training"
GREY = "0.45"
K = 10  # the cut-off of the paper's figures
SIDES = (("with_preference", "with preference"), ("without_preference", "without"))

# Okabe and Ito's colors, told apart by color-blind readers too; each round of them has a dash, a marker and a hatch.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5f5f5f", "#8c510a")
ROUNDS = (("-", "o", ""), ("--", "s", "///"), (":", "^", "..."), ("-.", "D", "xxx"))
DRAWN_FIRST = ("mender_tok", "mender_emb", "tiger", "lc_rec", "vocabext_lm", "vocabext_rnd", "sasrec", "liger",
               "sasrec_bce", "tiger_user_emb", "most_popular", "transition_graph",
               "Mender_Steer (all axes)")  # fmt: skip


class Look(NamedTuple):
    """Look of a method: color, dash and marker of its line, hatch of its bars."""

    color: str
    dash: str
    marker: str
    hatch: str

    @classmethod
    def at(cls, place: int) -> "Look":
        """One of 32 looks that differ; the first eight are solid.

        >>> Look.at(8)
        Look(color='#0072b2', dash='--', marker='s', hatch='///')
        """
        return cls(COLOURS[place % len(COLOURS)], *ROUNDS[place // len(COLOURS) % len(ROUNDS)])


class Skipped(Exception):
    """Raised for a figure without inputs; the message names them."""


# -- one model ------------------------------------------------------------------------------------------------------


def star_plot(axes: Mapping[str, AxisResult], k: int, title: str, path: str | Path) -> None:
    """Draws the main metric of every axis of one model, with the preference and without it, on one common scale.

    A dashed outline is the best baseline without training of each axis, where the results have it. An axis on which
    neither was asked says so, and leaves a gap in the outline.

    Args:
        axes (`Mapping[str, AxisResult]`): Name -> figures.
        k (`int`): Cut-off.
        title (`str`): Above the plot.
        path (`str` or `Path`): A PNG file; written to a temporary name first.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    outlines = {label: [result.main_value(side, k) for result in axes.values()] for side, label in SIDES}
    labels = []
    for i, (axis, result) in enumerate(axes.items()):
        values = [outline[i] for outline in outlines.values()]
        values = values if result.record.metric == "recall" else values[:1]  # the others compare requests themselves
        labels.append(f"{axis}\n{result.record.main_metric(k)}  " + " | ".join(_shown(value, 3) for value in values))
    best = [best_baseline(result, k) for result in axes.values()]
    if any(best):
        outlines[UNTRAINED] = [None if found is None else found[1] for found in best]
        labels = [
            label if found is None else f"{label}\nwithout training {found[1]:.3f}"
            for label, found in zip(labels, best, strict=True)
        ]
    largest = max((value for values in outlines.values() for value in values if value is not None), default=0.0)
    looks = {label: Look.at(i) for i, label in enumerate(outlines)} | {UNTRAINED: Look(GREY, "--", "o", "")}
    figure = _new_figure(8.6, 6.2)
    draw_star(figure, labels, outlines, looks, max(largest, 1e-3), ticks=True)
    figure.suptitle(one_line(title, 120))
    _save(figure, path)


def draw_star(
    figure: Any,
    labels: Sequence[str],
    outlines: Mapping[str, Sequence[float | None]],
    looks: Mapping[str, Look],
    largest: float,
    ticks: bool = False,
) -> None:
    """A star with one corner per label and one outline per name; `None` leaves a gap in an outline."""
    angles = np.linspace(0, 2 * np.pi, len(labels), endpoint=False)
    plot = figure.add_subplot(projection="polar", theta_offset=np.pi / 2, theta_direction=-1)
    closed = np.append(np.arange(len(angles)), 0)
    for label, values in outlines.items():
        radii = np.array([np.nan if value is None else value for value in values], dtype=float)
        look = looks[label]
        plot.plot(
            angles[closed],
            radii[closed],
            look.dash,
            color=look.color,
            label=legend_text(label),
            marker=look.marker,
            markersize=4,
            zorder=3,
        )
        if len(outlines) < 4 and look.dash == "-":  # more of them would make one grey field
            plot.fill(angles, np.nan_to_num(radii), color=look.color, alpha=0.12)
    plot.set_xticks(angles, [])
    plot.set_ylim(0, 1.05 * largest)
    if ticks:
        plot.set_rlabel_position(180 / len(angles))  # between two corners
        plot.tick_params(axis="y", labelsize=8, labelcolor="0.4")
    else:
        plot.set_yticks(np.linspace(0.25, 1, 4) * largest, [])
    plot.grid(alpha=0.4)
    plot.spines["polar"].set_visible(False)
    for angle, label in zip(angles, labels, strict=True):
        side = np.sin(angle)  # corners on the right are written from their left edge, and the other way round
        alignment = "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        is_top = np.cos(angle) > 0.9  # written from its lower edge, whatever its number of lines
        place = {"ha": alignment, "va": "bottom" if is_top else "center"}
        plot.text(angle, (1.06 if is_top else 1.14) * largest, label, linespacing=1.4, **place)
    figure.legend(loc="outside lower center", ncols=min(4, len(outlines)), frameon=False)


# -- the paper's figures --------------------------------------------------------------------------------------------


def figure_3(groups: Sequence[Group], protocol: str, path: Path) -> list[str]:
    """Every method on the axes of one domain, each corner scaled to the best method and labelled with it."""
    looks = _looks(groups)
    if not looks:
        raise Skipped("no method was trained on recommendation data alone")
    cells = {label_of(group): [_main(group, axis, protocol) for axis in axes_in_order()] for group, _ in looks}
    best = [
        max((c.mean for c in column if c is not None), default=None) for column in zip(*cells.values(), strict=True)
    ]
    axes = [i for i, value in enumerate(best) if value is not None]
    if len(axes) < 3:
        raise Skipped(f"a star needs three axes, and there are results of {len(axes)}")
    order = [get_axis(axis) for axis in axes_in_order()]
    labels = [f"{order[i].title}\n{_metric_title(order[i].main_metric())}, best {best[i]:.4f}" for i in axes]
    outlines = {
        name: [None if (cell := column[i]) is None else cell.mean / top if (top := best[i]) else 0.0 for i in axes]
        for name, column in cells.items()
    }
    figure = _new_figure(10.0, 7.0)
    draw_star(figure, labels, outlines, {label_of(group): look for group, look in looks}, 1.0)
    figure.suptitle(f"{_where(groups, protocol)}: share of the best method on each axis")
    _save(figure, path)
    return []


def figure_4(groups: Sequence[Group], protocol: str, path: Path) -> list[str]:
    """Left, every method; right, the data mixtures of a base method with two of them; a row of panels per axis."""
    columns = {}
    if looks := _looks(groups):
        columns["Methods, on recommendation data"] = [(label_of(group), look, group) for group, look in looks]
    mixtures = (*MIXTURES, *OUR_MIXTURES)
    mixed = [group for group in with_default_encoder(groups) if group.first.mixture in mixtures]
    bases = {group.first.method for group in mixed if group.first.mixture != "none"}
    for method in sorted(bases, key=method_order):
        own = [group for group in mixed if group.first.method == method]
        own.sort(key=lambda group: mixtures.index(group.first.mixture))
        if len(own) > 1:
            columns[f"Data mixtures of {title_of(method)}"] = [
                (_mixture_label(group.first.mixture), Look.at(i), group) for i, group in enumerate(own)
            ]
    if not columns:
        raise Skipped("neither methods trained on recommendation data alone nor mixtures")
    axes = [
        axis
        for axis in axes_in_order()
        if any(_main(g, axis, protocol) for bars in columns.values() for *_, g in bars)
    ]
    if not axes:
        raise Skipped(f"no axis has figures of the protocol {protocol}")
    widths = [max(4.5, 1.6 + 0.62 * len(bars)) for bars in columns.values()]
    figure = _new_figure(sum(widths) + 1, 1.6 * len(axes) + 1.6)
    panels = figure.subplots(len(axes), len(columns), squeeze=False, width_ratios=widths, sharex="col")
    for panel_row, axis in zip(panels, axes, strict=True):
        for plot, (title, bars) in zip(panel_row, columns.items(), strict=True):
            cells = [_main(group, axis, protocol) for *_, group in bars]
            top = _bars(plot, np.arange(len(bars)), cells, 0.75, [look for _, look, _ in bars])
            plot.set_ylim(0, 1.18 * top)
            plot.set_xticks(np.arange(len(bars)), [name for name, *_ in bars], rotation=40, ha="right")
            plot.set_xlim(-0.6, len(bars) - 0.4)
            if axis == axes[0]:
                plot.set_title(title, fontsize=11, pad=10)
        title = textwrap.fill(get_axis(axis).title, 20)
        panel_row[0].set_ylabel(f"{title}\n{_metric_title(get_axis(axis).main_metric())}", fontsize=9)
    figure.suptitle(_where(groups, protocol))
    _save(figure, path)
    return []


def figure_5(groups: Sequence[Group], protocol: str, path: Path) -> list[str]:
    """The ablation of the inputs on the recommendation axis: preference alone, history alone, both."""
    names = {"preference": "preference", "history": "history", "both": "history and preference"}
    chosen = [group for group in groups if group.first.mixture == "none" and group.first.inputs in names]
    panels = {}
    for method in sorted({group.first.method for group in chosen}, key=method_order):
        own = {group.first.inputs: group for group in _with_one_encoder(g for g in chosen if g.first.method == method)}
        if len(own) > 1:
            panels[title_of(method)] = {label: own[inputs] for inputs, label in names.items() if inputs in own}
    if not panels:
        raise Skipped("no method was trained both with all its inputs and with one of them alone")
    _bar_figure(panels, _where(groups, protocol) + ": inputs", protocol, path)
    return []


def figure_6(groups: Sequence[Group], protocol: str, path: Path) -> list[str]:
    """Left, hits by length of the history, from rows.parquet; right, TIGER with and without user embedding."""
    reasons = []
    looks = _looks(groups)
    lengths = {
        label_of(group): (look, found)
        for group, look in looks
        if (found := hits_by_length(group, protocol)) is not None
    }
    tigers = [group for group, _ in looks if group.first.method in ("tiger", "tiger_user_emb")]
    if not lengths:
        reasons.append(f"left: no {ROWS_FILE} with recommendation rows beside a results.json")
    if len(tigers) < 2:
        reasons.append("right: it takes results of tiger and of tiger_user_emb")
    if len(reasons) == 2:
        raise Skipped("; ".join(reasons))
    halves = [2.0] * bool(lengths) + [1.0] * (len(tigers) == 2)
    figure = _new_figure(3 + 3.3 * sum(halves), 6.2)
    parts = figure.subfigures(1, len(halves), squeeze=False, width_ratios=halves, wspace=0.03)[0]
    if lengths:
        _draw_lengths(parts[0], lengths)
    if len(tigers) == 2:
        plot = parts[-1].subplots()
        _grouped_bars(plot, {title_of(group.first.method): group for group in tigers}, protocol)
        plot.set_title("TIGER with and without user embedding", fontsize=11)
    figure.suptitle(_where(groups, protocol))
    _save(figure, path)
    return reasons


def figure_7(groups: Sequence[Group], others: Sequence[Group], protocol: str, path: Path) -> list[str]:
    """Left, TIGER against LIGER; right, methods over the granularities of preferences (appendix C).

    Args:
        groups: Of one kind of preferences.
        others: Of the same domain, over every kind of preferences; those of the same writer are compared.
        protocol, path: As everywhere.
    """
    reasons, panels = [], {}
    pair = {g.first.method: g for g in recommendation_groups(groups) if g.first.method in ("tiger", "liger")}
    if len(pair) == 2:
        panels["Items as semantic IDs or as text"] = {title_of(name): pair[name] for name in ("tiger", "liger")}
    else:
        reasons.append("left: it takes results of tiger and of liger")
    same_writer = [group for group in others if group.first.writer == groups[0].first.writer]
    prompts = sorted({group.first.prompt for group in same_writer}, key=lambda prompt: (prompt != "default", prompt))
    written: dict[str, dict[str, Group]] = {}
    for group in recommendation_groups(same_writer):
        if group.first.method.startswith("mender") and groups[0].first.prompt == prompts[0]:  # drawn once per writer
            written.setdefault(group.first.method, {})[group.first.prompt] = group
    for method in sorted(written, key=method_order):
        own = written[method]
        if len(own) > 1:
            panels[f"{title_of(method)}: prompt of the preferences"] = {
                name: own[name] for name in prompts if name in own
            }
    if not any(title.endswith("preferences") for title in panels):
        reasons.append("right: it takes results of one Mender over two prompts, and stands beside the first of them")
    if not panels:
        raise Skipped("; ".join(reasons))
    _bar_figure(panels, _where(groups, protocol), protocol, path)
    return reasons


def make_figure(
    number: int, groups: Sequence[Group], others: Sequence[Group], protocol: str, path: str | Path
) -> list[str]:
    """Draws one of the paper's figures from 3 to 7.

    Args:
        number (`int`): Of the figure.
        groups (`Sequence[Group]`): Of one domain and one kind of preferences.
        others (`Sequence[Group]`): Of the same domain, over every kind of preferences; figure 7 compares them.
        protocol (`str`): `all` or `unseen`.
        path (`str` or `Path`): A PNG file; written to a temporary name first.

    Returns:
        `list[str]`: Why a half of the figure is missing; empty if it is whole.

    Raises:
        Skipped: If there is nothing to draw; the message says what it takes.
        ImportError: If matplotlib is not installed.
    """
    if number == 7:
        return figure_7(groups, others, protocol, Path(path))
    return {3: figure_3, 4: figure_4, 5: figure_5, 6: figure_6}[number](groups, protocol, Path(path))


# -- data of the figures --------------------------------------------------------------------------------------------


def hits_by_length(group: Group, protocol: str = "all") -> dict[str, np.ndarray] | None:
    """Rows and hits within the first ten by length of the history, on the recommendation axis.

    Returns:
        `dict`: `length`, ascending, `rows` and `hits` (mean over seeds), each of shape `(num_lengths,)`; `None` if
        no result of the group has a rows.parquet with recommendation rows.
    """
    column = "rank" if protocol == "all" else "rank_unseen"
    found = []
    for result in group.results:
        path = result.path.with_name(ROWS_FILE)
        if path.is_file():
            ranks, _ = read_ranks(path)
            ranks = ranks.filter(pc.equal(ranks.column("axis"), "recommendation"))
            ranks = ranks.filter(pc.is_valid(ranks.column(column)))
            if len(ranks):
                rank = ranks.column(column).to_numpy()
                lengths = ranks.column("history_length").to_numpy()
                found.append((np.bincount(lengths), np.bincount(lengths, (rank > 0) & (rank <= K))))
    if not found:
        return None
    rows, hits = found[0][0], np.mean([hits for _, hits in found], axis=0)
    lengths = np.flatnonzero(rows)
    return {"length": lengths, "rows": rows[lengths], "hits": hits[lengths]}


def _mixture_label(mixture: str) -> str:
    return "recommendation alone" if mixture == "none" else mixture.replace("_", "-")


def _main(group: Group, axis: str, protocol: str) -> Cell | None:
    return group.cell(axis, get_axis(axis).main_metric(), protocol)


def _looks(groups: Sequence[Group]) -> list[tuple[Group, Look]]:
    """Compared configurations with their looks: a known method's is the same in every figure, others come after."""
    chosen = sorted(compared_groups(groups), key=lambda group: method_order(group.first.method))
    titles = (*map(title_of, DRAWN_FIRST), *METHOD_TITLES.values(), *map(label_of, chosen))
    order = list(dict.fromkeys(titles))
    return [(group, Look.at(order.index(label_of(group)))) for group in chosen]


def _with_one_encoder(groups: Iterable[Group]) -> list[Group]:
    """The text encoder with the most kinds of inputs."""
    by_encoder: dict[str, list[Group]] = {}
    for group in groups:
        by_encoder.setdefault(group.first.text_encoder, []).append(group)
    return max(by_encoder.values(), key=len)


def _where(groups: Sequence[Group], protocol: str) -> str:
    """The title of a figure: domain, preferences, protocol."""
    first = groups[0].first
    unseen = ", items of the history taken out" if protocol == "unseen" else ""
    return f"{domain_title(first.domain)} ({first.split})\npreferences by {first.preferences}{unseen}"


def _metric_title(metric: str) -> str:
    return metric.replace("recall", "Recall").replace("ndcg", "NDCG")


def _shown(value: float | None, digits: int = 4) -> str:
    return "not run" if value is None else f"{value:.{digits}f}"


# -- drawing --------------------------------------------------------------------------------------------------------


def _bars(
    plot: Any, places: np.ndarray, cells: Sequence[Cell | None], width: float, looks: Sequence[Look], **style: Any
) -> float:
    """Bars with whiskers, each with its value above it, `not run` where there is none; returns the highest whisker."""
    means = np.array([0.0 if cell is None else cell.mean for cell in cells])
    stds = np.array([0.0 if cell is None or cell.std is None else cell.std for cell in cells])
    style |= {"color": [look.color for look in looks], "hatch": [look.hatch for look in looks]}
    plot.bar(places, means, width, edgecolor="white", linewidth=0, **style)
    shown = stds > 0
    plot.errorbar(places[shown], means[shown], stds[shown], fmt="none", ecolor="0.2", capsize=2, linewidth=1)
    for place, cell, height in zip(places, cells, means + stds, strict=True):
        text = "not run" if cell is None else f"{cell.mean:.4f}".removeprefix("0")
        plot.annotate(text, (place, height), (0, 2), textcoords="offset points", ha="center", va="bottom",
                      fontsize=7, color="0.5" if cell is None else "0.2")  # fmt: skip
    plot.tick_params(axis="y", labelsize=8)
    plot.spines[["top", "right"]].set_visible(False)
    return max(float((means + stds).max()), 1e-6)


def _grouped_bars(plot: Any, series: Mapping[str, Group], protocol: str) -> None:
    """The four qualities on the recommendation axis side by side, one bar per name."""
    width, top = 0.8 / len(series), 0.0
    for i, (name, group) in enumerate(series.items()):
        cells = [group.cell("recommendation", metric, protocol) for metric in QUALITY]
        places = np.arange(len(QUALITY)) + (i - (len(series) - 1) / 2) * width
        looks = [Look.at(i)] * len(QUALITY)
        top = max(top, _bars(plot, places, cells, 0.92 * width, looks, label=legend_text(name)))
    plot.set_ylim(0, (1.1 + 0.08 * len(series)) * top)  # room for the legend
    plot.set_xticks(np.arange(len(QUALITY)), [_metric_title(metric) for metric in QUALITY])
    plot.legend(frameon=False, fontsize=9, loc="upper left")


def _bar_figure(panels: Mapping[str, Mapping[str, Group]], title: str, protocol: str, path: Path) -> None:
    """One panel of grouped bars per title."""
    figure = _new_figure(1 + sum(2.2 + 1.5 * len(series) for series in panels.values()), 4.4)
    for plot, (name, series) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _grouped_bars(plot, series, protocol)
        plot.set_title(name, fontsize=11)
    figure.suptitle(title)
    _save(figure, path)


def _draw_lengths(figure: Any, lengths: Mapping[str, tuple[Look, Mapping[str, np.ndarray]]]) -> None:
    """Hits, hit rate and number of rows, one under the other, by length of the history."""
    hits, rates, rows = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.2))
    for label, (look, found) in lengths.items():
        style = {"color": look.color, "linestyle": look.dash, "marker": look.marker, "markersize": 3, "linewidth": 1.3}
        hits.plot(found["length"], found["hits"], label=legend_text(label), **style)
        rates.plot(found["length"], found["hits"] / found["rows"], **style)
    _, first = next(iter(lengths.values()))
    rows.bar(first["length"], first["rows"], color="0.7")
    hits.set_ylabel(f"hits within {K}")
    rates.set_ylabel("hit rate")
    rows.set_ylabel("rows")
    rows.set_xlabel("items in the history")
    rows.xaxis.get_major_locator().set_params(integer=True)
    for plot in (hits, rates):
        plot.set_ylim(bottom=0)
    for plot in (hits, rates, rows):
        plot.grid(alpha=0.3)
        plot.spines[["top", "right"]].set_visible(False)
    hits.set_title("Correctly retrieved test items by length of the history", fontsize=11)
    figure.legend(loc="outside lower center", ncols=min(4, len(lengths)), frameon=False, fontsize=9)


def _new_figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'mender-recommender[plots]'.") from None
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: str | Path) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names are drawn as they are, with any $
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
