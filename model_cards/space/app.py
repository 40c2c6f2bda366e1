"""The demo: a history, a preference, and what it changes; the model's five axes; a leaderboard.

Runs as a Space, with the public libraries alone, or on one's own machine. Knows how to ask the pipeline and how to
show its answers; leaves every question of what a request may be to the model's processor, whose errors it shows.
"""

import argparse
import contextlib
import html
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it reads this once

import gradio as gr
from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.errors import EntryNotFoundError

HERE = Path(__file__).resolve().parent
NUM_MATCHES = 50
MAX_TEXT = 500
MAX_RESULTS = 20
AXES = ("recommendation", "sentiment", "fine", "coarse", "history")
ALL = "all"
WITH, WITHOUT = "#4f46e5", "#94a3b8"
AXIS_TITLES = {
    "recommendation": "Preference-based recommendation",
    "sentiment": "Sentiment following",
    "fine": "Fine-grained steering",
    "coarse": "Coarse-grained steering",
    "history": "History consolidation",
}
LEADERBOARD_HEADERS = [
    "rank", "model", "value", "without", "95 % interval", "metric", "method", "domain", "axis", "rows", "benchmark",
    "date",
]  # fmt: skip
LEADERBOARD_TYPES = ["number", "markdown", *["str"] * 7, "number", "str", "str"]

CSS = """
.gradio-container { width: 100%; max-width: min(1120px, 100%) !important; margin: 0 auto !important; }
.gradio-container, .gradio-container .main, .gradio-container .wrap, .gradio-container .contain,
.gradio-container .tabs, .gradio-container .tabitem, .gradio-container .contain > .column,
.gradio-container .tabitem > .column { min-width: 0 !important; }
.gradio-container .main, .gradio-container .contain { width: 100%; box-sizing: border-box; }
.gradio-container .main { padding-left: clamp(12px, 2.5vw, 32px) !important;
  padding-right: clamp(12px, 2.5vw, 32px) !important; }
#matches .wrap { max-height: 13rem; overflow-y: auto; flex-direction: column; flex-wrap: nowrap; gap: 4px; }
#matches .wrap label { padding: 6px 10px; }
#matches .wrap label input { flex-shrink: 0; }
#history .token { height: auto; white-space: normal; text-align: left; }
#examples { flex-flow: row wrap !important; align-items: center; gap: 8px; }
#examples > * { flex: 0 1 auto !important; width: auto !important; min-width: 0 !important; }
#examples button { font-weight: 400; padding: 5px 10px; }
#answer .html-container, #examples .html-container { padding: 0; }
#axes-table, #leaderboard-table { --font-mono: var(--font); --text-md: .9rem; font-variant-numeric: tabular-nums; }
#leaderboard-table th .cell-menu-button { display: flex; border: 0; background: none; }
#leaderboard-table th .header-content { padding-right: 1.5rem; }
#axes-plot img { width: 100%; max-width: 600px; border-radius: 8px; }
.mender-answer { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
.mender-list { border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden;
  background: var(--block-background-fill); }
.mender-list h3 { margin: 0; padding: 10px 14px; font-size: 1rem; color: var(--body-text-color);
  border-bottom: 1px solid var(--border-color-primary); }
.mender-list h3 small { font-weight: 400; color: var(--body-text-color-subdued); margin-left: 6px; }
.mender-list ol { list-style: none; margin: 0; padding: 0; }
.mender-list li { display: grid; grid-template: "place title move score" auto / 1.5rem 1fr auto auto; gap: 0 8px;
  align-items: center; margin: 0; padding: 8px 14px; color: var(--body-text-color);
  border-top: 1px solid var(--border-color-primary); }
.mender-list li:first-child { border-top: 0; }
.mender-list .place, .mender-list .score { color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.mender-list .place { grid-area: place; text-align: right; }
.mender-list .score { grid-area: score; font-size: .85rem; text-align: right; }
.mender-list .title { grid-area: title; overflow-wrap: anywhere; }
.mender-list .move { grid-area: move; font-size: .8rem; font-weight: 600; min-width: 3.4rem; text-align: center;
  padding: 1px 8px; border-radius: 999px; white-space: nowrap; }
.mender-list .new { background: #4338ca; color: #fff; }
.mender-list .up { background: #d1fae5; color: #065f46; }
.mender-list .down { background: #fef3c7; color: #92400e; }
.mender-list .same { color: var(--body-text-color-subdued); font-weight: 400; }
.mender-list .gone { background: #fee2e2; color: #991b1b; }
.mender-list li.is-gone .title { color: var(--body-text-color-subdued); text-decoration: line-through; }
.mender-list .empty { padding: 14px; margin: 0; color: var(--body-text-color-subdued); }
.mender-summary { margin: 0 0 10px; font-weight: 600; color: var(--body-text-color); }
.mender-notice { margin: 0; padding: 12px 16px; border-radius: 8px; color: var(--body-text-color);
  background: var(--background-fill-secondary); border-left: 4px solid #4f46e5; }
@media (max-width: 720px) {
  .tab-container button { padding: 0 7px !important; font-size: .875rem !important; }
  .mender-answer { grid-template-columns: 1fr; }
  .mender-list li { grid-template: "place title move" auto "place title score" auto / 1.5rem 1fr auto;
    padding: 7px 12px; font-size: .95rem; }
  .mender-list .place { align-self: start; }
  .mender-list .score { text-align: center; }
}
"""


# -- plain functions --------------------------------------------------------------------------------------------------


def search_titles(titles: Sequence[str], query: str, limit: int = NUM_MATCHES) -> list[int]:
    """Ids (1..N) of the items whose titles contain every word of a query, those with whole words first.

    A query that is an id of the catalogue finds that item as well, before all others; an empty one, the first items.

    >>> search_titles(["Red soap", "Blue soapstone", "Blue soap"], "soap blue")
    [3, 2]
    >>> search_titles(["Red soap", "Blue soapstone", "Blue soap"], "2")
    [2]
    """
    query = query.casefold().strip()
    words = query.split()
    found = []
    for item_id, title in enumerate(titles, start=1):
        text = title.casefold()
        if all(word in text for word in words):
            found.append((-len(set(words) & set(text.split())), item_id))
    ids = [item_id for _, item_id in sorted(found)]
    if query.isdecimal() and 1 <= int(query) <= len(titles):
        ids = list(dict.fromkeys([int(query), *ids]))
    return ids[:limit]


def read_ids(text: str, num_items: int) -> list[int]:
    """Ids out of what somebody typed, separated by commas or blanks.

    Raises:
        ValueError: For a word that is no id of the catalogue.

    >>> read_ids("17, 4 5", num_items=20)
    [17, 4, 5]
    """
    words = text.replace(",", " ").split()
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= num_items:
            raise ValueError(f"{word!r} is no item of this catalogue; ids are 1 to {num_items}.")
    return [int(word) for word in words]


def as_avoidance(text: str) -> str:
    """A negative preference in the words that the models were trained on.

    >>> as_avoidance(" leather, or anything heavy ")
    'Avoid leather, or anything heavy'
    >>> as_avoidance("avoid leather")
    'avoid leather'
    """
    text = text.strip()
    if not text or text.casefold().startswith(
        ("avoid", "do not", "don't", "don’t", "never", "no ", "not ", "nothing")
    ):
        return text
    return f"Avoid {text}"


def make_request(history: Sequence[int], preference: str, avoid: str, exclude_history: bool) -> dict[str, Any]:
    """A request of the pipeline; what is empty is left out.

    >>> make_request([3, 1], "Look for tea", "mugs", exclude_history=True)
    {'history': [3, 1], 'preference': ['Look for tea', 'Avoid mugs'], 'exclude': [3, 1]}
    """
    texts = [text for text in (preference.strip(), as_avoidance(avoid)) if text]
    request: dict[str, Any] = {"history": list(history)}
    if texts:
        request["preference"] = texts
    if exclude_history and history:
        request["exclude"] = list(dict.fromkeys(history))
    return request


def compare_rankings(
    ranking: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """A ranking with each item's place (from 1) and what became of it since another ranking.

    Args:
        ranking: Items as the pipeline gives them, best first.
        other: The ranking to compare with, or `None`.

    Returns:
        `list`: The items with `place` and `change`: places gained (negative: lost), `None` for an item that the
        other ranking lacks, 0 everywhere where there is no other ranking.

    >>> [item["change"] for item in compare_rankings([{"item_id": 7}, {"item_id": 5}], [{"item_id": 5}])]
    [None, -1]
    """
    before = {item["item_id"]: place for place, item in enumerate(other or (), start=1)}
    placed = []
    for place, item in enumerate(ranking, start=1):
        change = 0 if other is None else before[item["item_id"]] - place if item["item_id"] in before else None
        placed.append({**item, "place": place, "change": change})
    return placed


def main_metric(axis: str) -> str:
    """The figure that an axis is ranked by."""
    return "m@10" if axis == "sentiment" else "recall@10"


def axes_rows(results: Mapping[str, Any]) -> list[list[Any]]:
    """Axis, metric, with preference, without; NDCG@10 with and without; rows. `-` where there is no figure."""
    rows = []
    for axis in [axis for axis in AXES if axis in results["axes"]]:
        found, metric = results["axes"][axis], main_metric(axis)
        sides = [found.get("with_preference") or {}, found.get("without_preference") or {}]
        ndcg = "" if metric.startswith("m@") else "ndcg@10"  # of the positive preference alone, it would mislead
        values = [side.get(name) for name in (metric, ndcg) for side in sides]
        texts = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([AXIS_TITLES[axis], metric, *texts, found.get("num_rows")])
    return rows


def axes_figure(results: Mapping[str, Any]) -> Any:
    """The main metric of each axis, with the preference and without, as bars; 95 % intervals where there are any.

    Returns:
        `matplotlib.figure.Figure`: One group of two bars per axis, the first axis on top.
    """
    from matplotlib.figure import Figure

    axes = [axis for axis in AXES if axis in results["axes"]]
    # narrow and fine: on a phone the words must stay legible, on a desk they must stay sharp
    figure = Figure(figsize=(4.6, 0.8 + 0.85 * max(1, len(axes))), dpi=220, layout="constrained")
    plot = figure.subplots()
    highest = 0.0
    for side, colour, shift in (("with_preference", WITH, 0.02), ("without_preference", WITHOUT, 0.3)):
        found = [_side(results["axes"][axis], side, main_metric(axis)) for axis in axes]
        values = [value or 0.0 for value, _ in found]
        plot.barh([i + shift for i in range(len(axes))], values, 0.27, color=colour, label=side.replace("_", " "))
        for i, (value, interval) in enumerate(found):
            low, high = interval or (value or 0.0, value or 0.0)
            highest = max(highest, high)
            if interval:
                plot.plot([low, high], [i + shift] * 2, color="0.15", linewidth=1.2)
            text, at = ("not defined" if value is None else f"{value:.3f}"), (high, i + shift)
            plot.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=9.5, color="0.25")
    for i, axis in enumerate(axes):
        title = f"{AXIS_TITLES[axis]}, {main_metric(axis)}"
        plot.annotate(title, (0, i - 0.3), (1, 0), textcoords="offset points", va="center", fontsize=10.5)
    plot.set(ylim=(len(axes) - 0.45, -0.55), xlim=(0, 1.15 * max(highest, 1e-3)), yticks=[])
    plot.tick_params(axis="x", labelsize=9)
    plot.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure


def _side(found: Mapping[str, Any], side: str, metric: str) -> tuple[float | None, Sequence[float] | None]:
    """One figure of an axis and its interval, `None` where there is none."""
    interval = ((found.get("intervals") or {}).get(side) or {}).get(metric)
    return (found.get(side) or {}).get(metric), interval


def leaderboard_rows(records: Sequence[Mapping[str, Any]], domain: str = ALL, axis: str = ALL) -> list[list[Any]]:
    """Rows under `LEADERBOARD_HEADERS`, best first among those that answer the same rows; equal values share a rank.

    Scores of other rows (another fingerprint, a part of the rows, a benchmark as it was) are ranked apart, the most
    rows first.

    Args:
        records: One flat record per model, domain and axis.
        domain, axis (`str`, defaults to `"all"`): Only this one.
    """
    kept = [r for r in records if domain in (ALL, r["domain"]) and axis in (ALL, r["axis"])]
    order = {name: number for number, name in enumerate(AXES)}

    def asked(record: Mapping[str, Any]) -> tuple:
        task = (record["domain"], order.get(record["axis"], len(order)), record["metric"])
        return (*task, bool(record.get("stale")), -(record.get("num_rows") or 0), record.get("fingerprint") or "")

    kept.sort(key=lambda r: (*asked(r), -r["value"], r["model"]))
    rows, group, values = [], None, []
    for record in kept:
        if asked(record) != group:
            group, values = asked(record), []
        values.append(record["value"])
        interval = record.get("interval")
        without = record.get("without_preference")
        rows.append([
            values.index(record["value"]) + 1,
            _model_link(record["model"], record.get("url")),
            f"{record['value']:.4f}",  # of one width, so that they sort as words
            "" if without is None else f"{without:.4f}",
            f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "",
            record["metric"],
            record.get("method") or "",
            record["domain"],
            record["axis"],
            record.get("num_rows"),
            (record.get("fingerprint") or "")[:8],
            record.get("date") or "",
        ])  # fmt: skip
    return rows


def _model_link(model: str, url: str | None) -> str:
    """A model's name in Markdown, which people who submit may choose: only a web address becomes a link."""
    name = "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in model)
    safe = url and url.startswith(("https://", "http://")) and not any(letter in url for letter in " ()<>\n\"'")
    return f"[{name}]({url})" if safe else name


# -- what the model is ------------------------------------------------------------------------------------------------


def reads_preferences(processor: Any) -> bool:
    """Whether a processor takes preferences: it says so, or it has a tokenizer for them."""
    said = getattr(processor, "reads_preferences", None)
    return bool(getattr(processor, "tokenizer", None)) if said is None else bool(said)


def default_examples(titles: Sequence[str], preferences: bool) -> list[dict[str, Any]]:
    """Examples that any catalogue can give: its first items, and a title as a preference."""
    first = list(range(1, min(3, len(titles)) + 1))
    middle = titles[len(titles) // 2]
    examples = [{"name": "The first items of the catalogue", "history": first}]
    if preferences:
        examples += [
            {"name": "The same, and a preference", "history": first, "preference": f"Look for {middle}"},
            {"name": "The same, and something to avoid", "history": first, "avoid": titles[first[-1] - 1]},
            {"name": "A preference alone", "preference": f"Look for {middle}"},
        ]
    return examples


def read_json(path: str | Path | None) -> Any:
    """What a JSON file holds, or `None` where there is no such file.

    Raises:
        ValueError: If it is no JSON.
    """
    if path is None or not Path(path).is_file():
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); write it again.") from error


def model_file(model: str, name: str) -> Path | None:
    """A file beside a model, in its folder or its repository on the Hub; `None` where there is none."""
    if Path(model).is_dir():
        path = Path(model) / name
        return path if path.is_file() else None
    with contextlib.suppress(EntryNotFoundError):  # out of reach and not in the cache counts as missing, too
        return Path(hf_hub_download(model, name))
    return None


def model_results(model: str) -> Path | None:
    """Results of a model: `results.json` beside it, or `results/DOMAIN.json` where it was published; or `None`."""
    if (path := model_file(model, "results.json")) is not None:
        return path
    names: list[str] = []
    if Path(model).is_dir():
        names = [str(path.relative_to(model)) for path in Path(model).glob("results/*.json")]
    else:
        with contextlib.suppress(OSError):  # out of reach: then there are none
            names = [name for name in list_repo_files(model) if Path(name).match("results/*.json")]
    return model_file(model, min(names)) if names else None


# -- HTML -------------------------------------------------------------------------------------------------------------


def notice(text: str) -> str:
    """A message in place of a result."""
    return f'<p class="mender-notice" role="status">{html.escape(text)}</p>'


def movement(change: int | None) -> str:
    """A mark for what became of an item, with words for those who hear the page."""
    if change is None:
        return '<span class="move new">new</span>'
    if change == 0:
        return '<span class="move same" aria-label="same place">=</span>'
    way, arrow = ("up", "▲") if change > 0 else ("down", "▼")
    return f'<span class="move {way}" aria-label="{way} {abs(change)}">{arrow} {abs(change)}</span>'


def ranking_html(title: str, note: str, items: Sequence[Mapping[str, Any]], marks: Sequence[str]) -> str:
    """One column: the ranked items, each with a mark and its log-probability."""
    lines = [
        f'<li class="{"is-gone" if "gone" in mark else ""}"><span class="place">{place}</span>'
        f'<span class="title">{html.escape(item["title"])}</span>{mark or "<span></span>"}'
        f'<span class="score" title="log-probability; item {item["item_id"]}">{item["score"]:.2f}</span></li>'
        for place, (item, mark) in enumerate(zip(items, marks, strict=True), start=1)
    ]
    body = f"<ol>{''.join(lines)}</ol>" if lines else '<p class="empty">No item is left to recommend.</p>'
    return f'<section class="mender-list"><h3>{title}<small>{note}</small></h3>{body}</section>'


def summary(placed: Sequence[Mapping[str, Any]]) -> str:
    """What moved, in one sentence.

    >>> summary([{"change": None}, {"change": 2}, {"change": 0}])
    'Your preference changed 2 of 3 places: 1 new, 1 up.'
    """
    changes = [item["change"] for item in placed]
    counts = {
        "new": sum(change is None for change in changes),
        "up": sum(change is not None and change > 0 for change in changes),
        "down": sum(change is not None and change < 0 for change in changes),
    }
    moved = sum(counts.values())
    if not moved:
        return "Your preference changed nothing here."
    parts = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return f"Your preference changed {moved} of {len(changes)} places: {parts}."


def answer_html(
    ranking: Sequence[Mapping[str, Any]] | None, plain: Sequence[Mapping[str, Any]] | None, reason: str = ""
) -> str:
    """Both rankings side by side.

    Args:
        ranking: With the preference; `None` where none was given.
        plain: Without it; `None` where the model has no answer to that, for a `reason`.
    """
    score = "scores are log-probabilities"
    if ranking is None:
        return ranking_html("Without a preference", score, plain or [], [""] * len(plain or []))
    placed = compare_rankings(ranking, plain)
    kept = {item["item_id"] for item in ranking}
    marks = [movement(item["change"]) for item in placed] if plain is not None else [""] * len(placed)
    left = ranking_html("With your preference", score, placed, marks)
    if plain is None:
        right = f'<section class="mender-list"><h3>Without it</h3><p class="empty">{html.escape(reason)}</p></section>'
        return f'<div class="mender-answer">{left}{right}</div>'
    gone = ['<span class="move gone">gone</span>' if item["item_id"] not in kept else "" for item in plain]
    right = ranking_html("Without it", score, plain, gone)
    said = f'<p class="mender-summary" role="status">{summary(placed)}</p>'
    return f'{said}<div class="mender-answer">{left}{right}</div>'


# -- the tabs ---------------------------------------------------------------------------------------------------------


class RecommendTab:
    """The first tab: components, and what happens when they are used."""

    def __init__(self, pipe: Any, model_name: str, examples: Sequence[Mapping[str, Any]] | None) -> None:
        self.pipe, self.model_name = pipe, model_name
        self.titles = [item["title"] for item in pipe.processor.items]
        self.reads_preferences = reads_preferences(pipe.processor)
        self.invitation = (
            "Choose a history, write a preference, or both; then press Recommend."
            if self.reads_preferences
            else "Choose a history; then press Recommend."
        )
        self.examples = list(examples or default_examples(self.titles, self.reads_preferences))
        self.build()

    def choices(self, item_ids: Sequence[int]) -> list[tuple[str, int]]:
        """Items as options: title and id, so that equal titles stay apart."""
        return [(f"{self.titles[item_id - 1]} · {item_id}", item_id) for item_id in item_ids]

    def build(self) -> None:
        """Lays the tab out."""
        with gr.Row(elem_id="examples"):
            gr.HTML("<span>Examples</span>")
            buttons = [gr.Button(example["name"], size="sm") for example in self.examples]
        with gr.Row():
            with gr.Column():
                history = gr.Dropdown(
                    [], value=[], multiselect=True, elem_id="history", label="History, oldest first",
                    info="What the person had before. Add items from the list below; a cross takes one out.",
                )  # fmt: skip
                query = gr.Textbox(
                    label="Search the catalogue", placeholder="words of a title, or ids: 17, 4", max_length=MAX_TEXT,
                    info=f"{len(self.titles):,} items. Enter adds the first match, or all ids that you typed.",
                )  # fmt: skip
                matches = gr.Radio(
                    self.choices(search_titles(self.titles, "")), label="Matches: choose one to add it",
                    elem_id="matches",
                )  # fmt: skip
            with gr.Column():
                preference, avoid = self.preference_boxes()
                exclude = gr.Checkbox(True, label="Do not recommend what is in the history")
                k = gr.Slider(1, min(MAX_RESULTS, len(self.titles)), min(10, len(self.titles)), step=1,
                              label="Number of results")  # fmt: skip
                with gr.Row():
                    clear = gr.Button("Start over")
                    button = gr.Button("Recommend", variant="primary")
        answer = gr.HTML(notice(self.invitation), elem_id="answer")
        with gr.Accordion("This request in Python", open=False):
            code = gr.Code(language="python", label="Request", interactive=False)
        boxes = [history, preference, avoid]
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        # one request at a time, whoever asks: a fast tokenizer does not serve two threads at once
        model = {
            "api_visibility": "private",
            "concurrency_id": "model",
            "concurrency_limit": 1,
            "scroll_to_output": True,
        }
        query.input(self.search, query, matches, trigger_mode="always_last", **quiet)
        query.submit(self.add_typed, [history, query], [history, query, matches], **quiet)
        matches.input(self.add, [history, matches], [history, matches], **quiet)
        inputs, outputs = [*boxes, exclude, k], [answer, code]
        for example, example_button in zip(self.examples, buttons, strict=True):
            shown = example_button.click(self.show_example(example), None, boxes, **quiet)
            shown.then(self.recommend, inputs, outputs, **model)
        clear.click(self.clear, None, [*boxes, query, matches, *outputs], **quiet)
        gr.on([button.click, preference.submit, avoid.submit], self.recommend, inputs, outputs, **model)

    def preference_boxes(self) -> tuple[gr.Textbox, gr.Textbox]:
        """The two texts; closed where the model reads none."""
        reads = self.reads_preferences
        preference = gr.Textbox(
            label="Preference", placeholder="Look for ..." if reads else "", interactive=reads, max_length=MAX_TEXT,
            info="In plain language." if reads else "This model reads no preference, only the history.",
        )  # fmt: skip
        avoid = gr.Textbox(
            label="Avoid", placeholder="leather" if reads else "", interactive=reads, visible=reads,
            max_length=MAX_TEXT, info="Handed to the model as a second preference: “Avoid\u00a0…”.",
        )  # fmt: skip
        return preference, avoid

    def search(self, query: str) -> dict[str, Any]:
        """The matches of what is typed so far."""
        found = search_titles(self.titles, query)
        label = "Matches: choose one to add it" if found else "No title has all of these words"
        return gr.Radio(choices=self.choices(found), value=None, label=label)

    def picked(self, item_ids: Sequence[int]) -> dict[str, Any]:
        """The history with these items."""
        item_ids = list(dict.fromkeys(item_ids))
        return gr.Dropdown(choices=self.choices(item_ids), value=item_ids)

    def add(self, history: list[int], item_id: int | None) -> tuple[Any, Any]:
        """One of the matches joins the history."""
        return self.picked([*history, *([] if item_id is None else [item_id])]), gr.Radio(value=None)

    def add_typed(self, history: list[int], query: str) -> tuple[Any, Any, Any]:
        """What was typed joins the history: ids, or the first match."""
        if not query.strip():
            return gr.skip(), gr.skip(), gr.skip()
        if query.replace(",", " ").replace(" ", "").isdecimal():
            try:
                found = read_ids(query, len(self.titles))
            except ValueError as error:
                gr.Warning(str(error))
                return gr.skip(), gr.skip(), gr.skip()
        else:
            found = search_titles(self.titles, query, limit=1)
            if not found:
                gr.Warning("No title has all of these words.")
                return gr.skip(), gr.skip(), gr.skip()
        return self.picked([*history, *found]), "", self.search("")

    def show_example(self, example: Mapping[str, Any]) -> Any:
        """What fills the boxes with an example."""
        return lambda: (
            self.picked(example.get("history") or []),
            example.get("preference") or "",
            example.get("avoid") or "",
        )

    def clear(self) -> tuple[Any, ...]:
        """Everything as at the start."""
        return self.picked([]), "", "", "", self.search(""), notice(self.invitation), ""

    def recommend(
        self, history: list[int], preference: str, avoid: str, exclude_history: bool, k: float
    ) -> tuple[str, str]:
        """Both rankings as HTML, and the request as code; a message where there is nothing to ask."""
        request = make_request(history, preference or "", avoid or "", exclude_history)
        k = min(int(k), len(self.titles) - len(request.get("exclude", ())))
        code = self.code(request, k)
        if k == 0:
            return notice("The history holds the whole catalogue, and nothing of it is to come back."), ""
        if not request["history"] and "preference" not in request and self.reads_preferences:
            return notice(
                "Choose at least one item, or write what you are looking for: there is nothing to go by."
            ), ""
        try:
            plain, reason = self.without_preference(request, k)
            if "preference" not in request:
                return answer_html(None, plain) if plain is not None else notice(reason), code
            return answer_html(self.pipe(request, k=k), plain, reason), code
        except ValueError as error:
            gr.Warning(str(error))
            return notice(f"The model cannot answer this: {error}"), code

    def without_preference(self, request: dict[str, Any], k: int) -> tuple[list[dict[str, Any]] | None, str]:
        """The ranking of the same request without its preference, or why there is none."""
        plain = {name: value for name, value in request.items() if name != "preference"}
        if plain["history"] or not self.reads_preferences:
            try:
                return self.pipe(plain, k=k), ""
            except ValueError:
                if plain["history"]:
                    raise
        if self.reads_preferences:
            return None, "Without a preference and without a history there is nothing to go by."
        return None, "This model needs a history: choose at least one item."

    def code(self, request: Mapping[str, Any], k: int) -> str:
        """The request as one would write it."""
        return (
            "from transformers import pipeline\n\n"
            f'pipe = pipeline("preference-recommendation", model={self.model_name!r}, trust_remote_code=True)\n'
            f"pipe({dict(request)!r}, k={k})\n"
        )


def axes_tab(results: Mapping[str, Any] | None, model_name: str, preferences: bool) -> None:
    """The second tab: the model's own results."""
    if not results or not results.get("axes"):
        gr.Markdown(
            f"`{model_name}` brings no results along, so there is nothing to draw. "
            "`scripts/evaluate_axes.py` writes it; `--results` names it."
        )
        return
    facts = [f"domain **{results['domain']}**", f"split {results['split']}"]
    facts += [f"{results['num_beams']} beams"] if results.get("num_beams") else []
    benchmark = (results.get("benchmark") or {}).get("name")
    facts += [f"benchmark {benchmark}"] if benchmark else []
    gr.Markdown(f"**{results['method']}**, {', '.join(facts)}; all items ranked.")
    if not preferences:
        gr.Markdown("This model reads no preference: *with preference* is its answer to the history alone.")
    gr.Plot(axes_figure(results), show_label=False, label="Five axes", elem_id="axes-plot")
    gr.Dataframe(
        axes_rows(results), label="The figures", interactive=False, elem_id="axes-table",
        headers=["axis", "metric", "with preference", "without", "NDCG@10 with", "without", "rows"],
    )  # fmt: skip
    for axis, reason in (results.get("left_out") or {}).items():
        gr.Markdown(f"Left out: **{axis}** ({reason}).")
    gr.Markdown(
        "The recommendation axis chooses its preference with the target in view (equation 1 of the paper), which "
        "favours every method that reads preferences; history consolidation is the figure without that help. "
        "Sentiment is not defined without a preference."
    )


def leaderboard_tab(records: Sequence[Mapping[str, Any]] | None) -> None:
    """The third tab: everybody's results."""
    if not records:
        gr.Markdown("There is no leaderboard here: no `leaderboard.json` beside the app, and none by `--leaderboard`.")
        return
    domains = sorted({record["domain"] for record in records})
    axes = [axis for axis in AXES if any(record["axis"] == axis for record in records)]
    first = (domains[0], axes[0]) if axes else (ALL, ALL)
    with gr.Row():
        domain = gr.Dropdown([*domains, ALL], value=first[0], label="Domain", min_width=240)
        axis = gr.Dropdown(
            [*[(AXIS_TITLES[name], name) for name in axes], ("All axes", ALL)],
            value=first[1],
            label="Axis",
            min_width=240,
        )
    table = gr.Dataframe(
        leaderboard_rows(records, *first), headers=LEADERBOARD_HEADERS, datatype=LEADERBOARD_TYPES,
        interactive=False, label="Leaderboard", elem_id="leaderboard-table",
    )  # fmt: skip
    gr.on(
        [domain.change, axis.change], lambda *chosen: leaderboard_rows(records, *chosen), [domain, axis], table,
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    gr.Markdown(
        "Higher is better; the menu ⋮ of a heading sorts and filters. Scores of other rows (columns *rows* and "
        "*benchmark*) do not compare, and are ranked apart."
    )


def about_tab(pipe: Any, model_name: str) -> None:
    """The fourth tab: what this is, and how to have it."""
    method = type(pipe.model).__name__
    num_items = pipe.processor.num_items
    reads = (
        "It reads a history of items and preferences in plain language."
        if reads_preferences(pipe.processor)
        else "It reads a history of items, and no preference."
    )
    gr.Markdown(
        f"### {model_name}\n\n**{method}**, one of the methods of *Preference Discerning with LLM-Enhanced Generative "
        f"Retrieval* (Paischer et al., 2024). {reads} It recommends from a catalogue of {num_items:,} items.\n\n"
        "### Limits\n\n"
        "- It knows the items it was trained with and no others.\n"
        "- Scores are log-probabilities under the model, not of a purchase; they compare within one request.\n"
        "- What to avoid is understood only as far as the training data taught it: see sentiment following in *Five "
        "axes*.\n"
        "- *new* and *gone* mean: not among the results shown on the other side.\n"
        "- It learned from the reviews of a domain, with their gaps and habits, and repeats them.\n\n### Load it"
    )
    gr.Code(
        "from transformers import pipeline\n\n"
        f'pipe = pipeline("preference-recommendation", model={model_name!r}, trust_remote_code=True)\n'
        'pipe({"history": [1, 2, 3]}, k=10)  # {"item_id", "title", "score"}, best first\n',
        language="python", interactive=False, label="Python",
    )  # fmt: skip


def build_demo(
    pipe: Any,
    results: Mapping[str, Any] | None,
    leaderboard: Sequence[Mapping[str, Any]] | None,
    model_name: str,
    examples: Sequence[Mapping[str, Any]] | None = None,
) -> gr.Blocks:
    """The whole page.

    Args:
        pipe (`Pipeline`): `preference-recommendation`, with the model's processor.
        results (`Mapping`, *optional*): `results.json` of the model.
        leaderboard (`Sequence`, *optional*): Records of `leaderboard.json`.
        model_name (`str`): The model's id, for people who want to load it.
        examples (`Sequence`, *optional*): See the Space's README; the catalogue's first items where there are none.
    """
    with gr.Blocks(title=f"Mender: {model_name}", analytics_enabled=False) as demo:
        gr.Markdown("# Mender\nSay what you like and what to avoid, and see what that changes.")
        with gr.Tab("Recommend"):
            RecommendTab(pipe, model_name, examples)
        with gr.Tab("Five axes"):
            axes_tab(results, model_name, reads_preferences(pipe.processor))
        with gr.Tab("Leaderboard"):
            leaderboard_tab(leaderboard)
        with gr.Tab("About"):
            about_tab(pipe, model_name)
    return demo


def look() -> dict[str, Any]:
    """Style for `launch`: fonts of the reader's own machine, so that nothing is fetched from elsewhere."""
    theme = gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(  # the defaults are too pale to read
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
    return {"theme": theme, "css": CSS}


# -- command ----------------------------------------------------------------------------------------------------------


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options, over the environment, over `settings.json` beside this file."""
    settings = read_json(HERE / "settings.json") or {}
    parser = argparse.ArgumentParser(description="Try a recommender that reads preferences, in the browser.")
    parser.add_argument(
        "--model", default=os.environ.get("MENDER_MODEL") or settings.get("model"),
        help="folder or Hub id (default: the variable MENDER_MODEL, or settings.json beside this file)",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, help="results.json (default: the one beside the model)")
    parser.add_argument(
        "--leaderboard", type=Path, default=HERE / settings.get("leaderboard", "leaderboard.json"),
        help="leaderboard.json (default: the one beside this file)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    return parser.parse_args(argv)


def load(arguments: argparse.Namespace) -> gr.Blocks:
    """The page for a model.

    Raises:
        ValueError: If no model is named, it brings no pipeline along, or a file is no JSON.
        OSError: If there is no such model.
    """
    if not arguments.model:
        raise ValueError(
            'no model is named; pass --model, set MENDER_MODEL, or write {"model": "org/name"} to settings.json.'
        )
    with contextlib.suppress(ImportError):
        import modeling_mender  # noqa: F401  (registers the pipeline for folders that carry no code of their own)
    from transformers import pipeline

    try:
        pipe = pipeline("preference-recommendation", model=arguments.model, trust_remote_code=True)
    except KeyError as error:  # the library's way to say that it knows no such task
        raise ValueError(
            f"{arguments.model} brings no pipeline along; publish it with scripts/publish_model.py, or install mender."
        ) from error
    results = read_json(arguments.results or model_results(arguments.model))
    examples = read_json(model_file(arguments.model, "examples.json"))
    return build_demo(pipe, results, read_json(arguments.leaderboard), arguments.model, examples)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        demo = load(arguments).queue(max_size=32)
        demo.launch(server_port=arguments.port, ssr_mode=False, footer_links=[], **look())
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
