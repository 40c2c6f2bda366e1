"""Tabs of results: scores of a model on all axes, and a leaderboard."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import gradio as gr

ALL = "all"
WITH, WITHOUT, UNTRAINED = "#4f46e5", "#94a3b8", "#d97706"
# Baselines of the results without training, in the order of tables.
BASELINES = {"constant_list": "constant list", "preference_only": "preference only", "history_only": "history only"}
# Titles of the axes for files of earlier versions, which lack them.
AXIS_TITLES = {
    "recommendation": "Recommendation",
    "sentiment": "Sentiment following",
    "fine": "Fine-grained steering",
    "coarse": "Coarse-grained steering",
    "history": "History consolidation",
}
NO_MODEL = {"url": None, "interval": None, "without_preference": None, "method": "no training", "date": ""}
LEADERBOARD_HEADERS = [
    "rank",
    "model",
    "value",
    "without",
    "95 % interval",
    "task",
    "method",
    "rows",
    "benchmark",
    "date",
]
LEADERBOARD_TYPES = ["number", "markdown", *["str"] * 5, "number", "str", "str"]
LEADERBOARD_WIDTHS = [75, 190, 95, 105, 130, 165, 130, 80, 130, 108]  # 1208 pixels: a page of 1280 shows all


def main_metric(found: Mapping[str, Any]) -> str:
    """Metric that an axis is ranked by: the file's own at 10; if none, m@10 where there is one, or recall@10."""
    known = "m" if "m@10" in (found.get("with_preference") or {}) else "recall"
    return f"{found.get('metric') or known}@10"


def title_of(axis: str, found: Mapping[str, Any]) -> str:
    """Title of an axis: the file's own, else that of the paper's axes, else its name."""
    return found.get("title") or AXIS_TITLES.get(axis, axis)


def axes_rows(results: Mapping[str, Any]) -> list[list[Any]]:
    """Rows of axis, metric, score with preference and without, NDCG@10 with and without, and number of rows; `-`
    stands for an unknown score."""
    rows = []
    for axis, found in results["axes"].items():
        metric = main_metric(found)
        sides = [found.get("with_preference") or {}, found.get("without_preference") or {}]
        ndcg = "" if metric.startswith("m@") else "ndcg@10"  # for the positive preference alone, it would mislead
        values = [side.get(name) for name in (metric, ndcg) for side in sides]
        texts = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([title_of(axis, found), metric, *texts, found.get("num_rows")])
    return rows


def baselines_of(found: Mapping[str, Any]) -> dict[str, float]:
    """Main metric of each known baseline of an axis."""
    metric, known = main_metric(found), found.get("baselines") or {}
    return {name: known[name][metric] for name in BASELINES if metric in (known.get(name) or {})}


def baselines_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Rows of axis, metric, and the score of each baseline; empty if the results have none."""
    if not any(baselines_of(found) for found in results["axes"].values()):
        return []
    rows = []
    for axis, found in results["axes"].items():
        values = baselines_of(found)
        cells = [f"{values[name]:.4f}" if name in values else "-" for name in BASELINES]
        rows.append([title_of(axis, found), main_metric(found), *cells])
    return rows


def not_beaten(results: Mapping[str, Any]) -> list[str]:
    """Titles of the axes on which the model is not above the best baseline."""
    titles = []
    for axis, found in results["axes"].items():
        value, _ = _side(found, "with_preference", main_metric(found))
        best = max(baselines_of(found).values(), default=None)
        if value is not None and best is not None and value <= best + 1e-9:
            titles.append(title_of(axis, found))
    return titles


def axes_figure(results: Mapping[str, Any]) -> Any:
    """Bar plot of the main metric of each axis, with the preference and without, with 95 % intervals if known.

    Returns:
        `matplotlib.figure.Figure`: One group of two bars per axis, the first axis on top.
    """
    from matplotlib.figure import Figure

    axes = results["axes"]
    # narrow for legible words on a phone, of high resolution for a desktop
    figure = Figure(figsize=(4.6, 0.8 + 0.85 * max(1, len(axes))), dpi=220, layout="constrained")
    plot = figure.subplots()
    highest = 0.0
    for side, color, shift in (("with_preference", WITH, 0.02), ("without_preference", WITHOUT, 0.3)):
        found = [_side(axis, side, main_metric(axis)) for axis in axes.values()]
        values = [value or 0.0 for value, _ in found]
        plot.barh([i + shift for i in range(len(axes))], values, 0.27, color=color, label=side.replace("_", " "))
        for i, (value, interval) in enumerate(found):
            low, high = interval or (value or 0.0, value or 0.0)
            highest = max(highest, high)
            if interval:
                plot.plot([low, high], [i + shift] * 2, color="0.15", linewidth=1.2)
            text, at = ("not defined" if value is None else f"{value:.3f}"), (high, i + shift)
            plot.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=9.5, color="0.25")
    best = [max(baselines_of(axis).values(), default=None) for axis in axes.values()]
    for i, value in enumerate(best):
        if value is not None:
            label = None if any(known is not None for known in best[:i]) else "best without training"
            plot.plot([value] * 2, [i - 0.13, i + 0.45], color=UNTRAINED, linewidth=2, label=label)
            highest = max(highest, value)
    for i, (axis, found) in enumerate(axes.items()):
        title = f"{title_of(axis, found)}, {main_metric(found)}"
        place = {"textcoords": "offset points", "va": "center", "fontsize": 10.5}
        plot.annotate(title, (0, i - 0.3), (1, 0), parse_math=False, **place)  # a title may hold dollar signs
    plot.set(ylim=(len(axes) - 0.45, -0.55), xlim=(0, 1.15 * max(highest, 1e-3)), yticks=[])
    plot.tick_params(axis="x", labelsize=9)
    plot.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure


def _side(found: Mapping[str, Any], side: str, metric: str) -> tuple[float | None, Sequence[float] | None]:
    """Score of one side of an axis and its interval, `None` each if unknown."""
    interval = ((found.get("intervals") or {}).get(side) or {}).get(metric)
    return (found.get(side) or {}).get(metric), interval


def axes_of(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Titles by axis, the paper's axes first."""
    titles = {record["axis"]: title_of(record["axis"], record) for record in records}
    names = [*(axis for axis in AXIS_TITLES if axis in titles), *(axis for axis in titles if axis not in AXIS_TITLES)]
    return {name: titles[name] for name in names}


def leaderboard_rows(records: Sequence[Mapping[str, Any]], domain: str = ALL, axis: str = ALL) -> list[list[Any]]:
    """Rows of the leaderboard, best first among scores on the same rows of a benchmark; equal values share a rank.

    Scores on other rows (another fingerprint, a part of the rows, an earlier benchmark) are ranked separately, the
    largest number of rows first. Baselines without training follow the models of the same rows, without a rank.

    Args:
        records: One flat record per model, domain and axis.
        domain, axis (`str`, defaults to `"all"`): Filters.
    """
    kept = [r for r in records if domain in (ALL, r["domain"]) and axis in (ALL, r["axis"])]
    order = {name: number for number, name in enumerate(axes_of(records))}

    def asked(record: Mapping[str, Any]) -> tuple:
        task = (record["domain"], order.get(record["axis"], len(order)), record["metric"])
        return (*task, bool(record.get("stale")), -(record.get("num_rows") or 0), record.get("fingerprint") or "")

    kept.sort(key=lambda r: (*asked(r), -r["value"], r["model"]))
    rows: list[list[Any]] = []
    for _, found in groupby(kept, asked):
        group = list(found)
        models = [record for record in group if record.get("method") not in BASELINES]
        values = [record["value"] for record in models]
        rows += [_leaderboard_row(record, values.index(record["value"]) + 1) for record in models]
        stated: Mapping[str, float] = next((r["baselines"] for r in group if r.get("baselines")), {})
        known = {**{r["method"]: r["value"] for r in group if r.get("method") in BASELINES}, **stated}
        for name, title in BASELINES.items():
            if name in known:  # a row in italics, without a rank
                row = _leaderboard_row({**group[0], "model": "", "value": known[name], **NO_MODEL}, None)
                rows.append([row[0], f"*{title}*", *row[2:]])
    return rows


def _leaderboard_row(record: Mapping[str, Any], rank: int | None) -> list[Any]:
    interval = record.get("interval")
    without = record.get("without_preference")
    return [
        rank,
        _model_link(record["model"], record.get("url")),
        f"{record['value']:.4f}",  # of one width, so that they sort as strings
        "" if without is None else f"{without:.4f}",
        f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "",
        f"{record['domain']}: {record['axis']}, {record['metric']}",
        record.get("method") or "",
        record.get("num_rows"),
        (record.get("fingerprint") or "")[:8],
        record.get("date") or "",
    ]


def plain(text: object) -> str:
    """Escapes foreign text for Markdown, so that it is shown as it is written.

    >>> plain("<b>[x](y)")
    '\\\\<b\\\\>\\\\[x\\\\](y)'
    """
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#&~$" else letter for letter in " ".join(str(text).split()))


def _model_link(model: str, url: str | None) -> str:
    """Name of a model in Markdown, escaped because submitters choose it; only a web address becomes a link."""
    name = plain(model)
    safe = url and url.startswith(("https://", "http://")) and not any(letter in url for letter in " ()<>\n\"'")
    return f"[{name}]({url})" if safe else name


def axes_tab(results: Mapping[str, Any] | None, model_name: str, preferences: bool) -> None:
    """The second tab: the model's own results."""
    if not results or not results.get("axes"):
        gr.Markdown(
            f"{plain(model_name)} has no results to show. `mender evaluate` writes `results.json`; `--results` names "
            "it."
        )
        return
    facts = [f"domain **{plain(results['domain'])}**", f"split {plain(results['split'])}"]
    facts += [f"{plain(results['num_beams'])} beams"] if results.get("num_beams") else []
    benchmark = (results.get("benchmark") or {}).get("name")
    facts += [f"benchmark {plain(benchmark)}"] if benchmark else []
    gr.Markdown(f"**{plain(results['method'])}**, {', '.join(facts)}; all items ranked.")
    if not preferences:
        gr.Markdown("This model reads no preference: *with preference* is its answer to the history alone.")
    gr.Plot(axes_figure(results), show_label=False, label="Five axes", elem_id="axes-plot")
    gr.Dataframe(
        axes_rows(results),
        label="Scores",
        interactive=False,
        elem_id="axes-table",
        headers=["axis", "metric", "with preference", "without", "NDCG@10 with", "without", "rows"],
    )
    if baselines := baselines_rows(results):
        gr.Dataframe(
            baselines,
            label="What needs no training, on the same rows",
            interactive=False,
            elem_id="baselines-table",
            headers=["axis", "metric", *BASELINES.values()],
        )
        for title in not_beaten(results):
            gr.Markdown(f"**{plain(title)}**: this model does not beat the best of them.")
    for axis, reason in (results.get("left_out") or {}).items():
        gr.Markdown(f"Left out: **{plain(axis)}** ({plain(reason)}).")
    gr.Markdown(
        "The recommendation axis chooses its preference with the target in view (equation 1 of the paper), which "
        "favors every method that reads preferences; history consolidation is the score without that help. "
        "Sentiment is not defined without a preference."
    )


def leaderboard_tab(records: Sequence[Mapping[str, Any]] | None) -> None:
    """The third tab: the leaderboard."""
    if not records:
        gr.Markdown("There is no leaderboard here: no `leaderboard.json` beside the app, and none by `--leaderboard`.")
        return
    domains = sorted({record["domain"] for record in records})
    axes = axes_of(records)
    first = (domains[0], next(iter(axes))) if axes else (ALL, ALL)
    with gr.Row():
        domain = gr.Dropdown([*domains, ALL], value=first[0], label="Domain", min_width=240)
        axis = gr.Dropdown(
            [*[(title, name) for name, title in axes.items()], ("All axes", ALL)],
            value=first[1],
            label="Axis",
            min_width=240,
        )
    table = gr.Dataframe(
        leaderboard_rows(records, *first),
        headers=LEADERBOARD_HEADERS,
        datatype=LEADERBOARD_TYPES,
        interactive=False,
        label="Leaderboard",
        elem_id="leaderboard-table",
        wrap=True,
        column_widths=LEADERBOARD_WIDTHS,
    )
    gr.on(
        [domain.change, axis.change],
        lambda *chosen: leaderboard_rows(records, *chosen),
        [domain, axis],
        table,
        show_progress="hidden",
        api_visibility="private",
    )
    gr.Markdown(
        "Higher is better; the menu ⋮ of a heading sorts and filters. Scores of other rows (columns *rows* and "
        "*benchmark*) do not compare, and are ranked apart."
    )
