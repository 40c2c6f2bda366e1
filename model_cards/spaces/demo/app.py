"""The demo: a history, a preference, and what it changes; the model's five axes; a leaderboard.

Runs as a Space, with the public libraries alone, or on one's own machine. Knows how to ask the pipeline and how to
show its answers; leaves every question of what a request may be to the model's processor, whose errors it shows.
"""

import argparse
import contextlib
import inspect
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it reads this once

import gradio as gr
from demo_answers import answer_html, avoided_texts, make_request, notice, reading_html
from demo_examples import find_examples
from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.errors import EntryNotFoundError

logger = logging.getLogger("mender.demo")
HERE = Path(__file__).resolve().parent
NUM_MATCHES = 50
MAX_TEXT = 500
MAX_RESULTS = 20
MAX_STRENGTH = 3
MAX_DEPTH = 1000  # places that are compared where the model ranks all items in any case
NUM_BEAMS = 50  # and where each further place is a beam
ALL = "all"
WITH, WITHOUT = "#4f46e5", "#94a3b8"
# Titles of the axes in files of earlier versions; later ones bring their own.
AXIS_TITLES = {
    "recommendation": "Recommendation",
    "sentiment": "Sentiment following",
    "fine": "Fine-grained steering",
    "coarse": "Coarse-grained steering",
    "history": "History consolidation",
}
LEADERBOARD_HEADERS = [
    "rank", "model", "value", "without", "95 % interval", "task", "method", "rows", "benchmark", "date",
]  # fmt: skip
LEADERBOARD_TYPES = ["number", "markdown", *["str"] * 5, "number", "str", "str"]
LEADERBOARD_WIDTHS = [75, 190, 95, 105, 130, 165, 130, 80, 130, 108]  # 1208 pixels: a page of 1280 shows all

CSS = """
.gradio-container { width: 100%; max-width: min(1280px, 100%) !important; margin: 0 auto !important; }
.gradio-container, .gradio-container .main, .gradio-container .wrap, .gradio-container .contain,
.gradio-container .tabs, .gradio-container .tabitem, .gradio-container .contain > .column,
.gradio-container .tabitem > .column { min-width: 0 !important; }
.gradio-container .main, .gradio-container .contain { width: 100%; box-sizing: border-box; }
.gradio-container .main { padding: 12px clamp(12px, 2.5vw, 32px) !important; }
.gradio-container .contain > .column { gap: 8px; }
#head h1 { margin: 0 0 2px; font-size: 1.5rem; }
#head p { margin: 0; color: var(--body-text-color-subdued); }
#matches .wrap { max-height: 10rem; overflow-y: auto; flex-direction: column; flex-wrap: nowrap; gap: 4px; }
#matches .wrap label { padding: 6px 10px; }
#matches .wrap label input { flex-shrink: 0; }
#history .token { height: auto; white-space: normal; text-align: left; }
#examples { flex-flow: row wrap !important; align-items: center; gap: 8px; }
#examples > * { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important; max-width: 100%; }
#examples button { font-weight: 400; padding: 5px 12px; border-radius: 999px; white-space: normal; }
#recommend { align-items: flex-start; gap: 20px; }
#ask, #past { gap: 12px; }
#answer { padding: 0; border: 0; background: none; overflow: visible; }
#answer .html-container { padding: 0; }
#axes-table, #leaderboard-table { --font-mono: var(--font); --text-md: .9rem; font-variant-numeric: tabular-nums; }
#leaderboard-table th .cell-menu-button { display: flex; border: 0; background: none; }
#leaderboard-table th .header-content { padding-right: 1.2rem; }
#axes-plot img { width: 100%; max-width: 600px; border-radius: 8px; }
.mender-answer { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; align-items: start; }
.mender-list { border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden;
  background: var(--block-background-fill); }
.mender-list h3 { margin: 0; padding: 9px 12px; font-size: 1rem; color: var(--body-text-color);
  border-bottom: 1px solid var(--border-color-primary); }
.mender-list h3 small { font-weight: 400; color: var(--body-text-color-subdued); margin-left: 8px; }
.mender-list ol { list-style: none; margin: 0; padding: 0; }
.mender-list li { margin: 0; color: var(--body-text-color); border-top: 1px solid var(--border-color-primary); }
.mender-list li:first-child { border-top: 0; }
.mender-list .row, .mender-list summary { display: grid; align-items: center; gap: 0 8px; padding: 7px 12px;
  grid-template: "place title move score" auto / 1.4rem 1fr auto 3.2rem; }
.mender-list summary { cursor: pointer; list-style: none; }
.mender-list summary::-webkit-details-marker { display: none; }
.mender-list summary:hover, .mender-list details[open] > summary { background: var(--background-fill-secondary); }
.mender-list summary:focus-visible { outline: 2px solid #6366f1; outline-offset: -2px; }
.mender-list summary .score::after { content: "▾"; display: inline-block; width: .9em; text-align: right; }
.mender-list details[open] > summary .score::after { content: "▴"; }
.mender-list .place, .mender-list .score { color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.mender-list .place { grid-area: place; text-align: right; }
.mender-list .score { grid-area: score; font-size: .8rem; text-align: right; white-space: nowrap; }
.mender-list .text { grid-area: title; overflow-wrap: anywhere; line-height: 1.35; }
.mender-list .text small { display: block; font-size: .8rem; color: #b91c1c; }
.dark .mender-list .text small { color: #fca5a5; }
.mender-list .move { grid-area: move; font-size: .8rem; font-weight: 600; min-width: 3rem; text-align: center;
  padding: 1px 8px; border-radius: 999px; white-space: nowrap; }
.mender-list .new { background: #4338ca; color: #fff; }
.mender-list .up { background: #d1fae5; color: #065f46; }
.mender-list .down { background: #fef3c7; color: #92400e; }
.mender-list .same, .mender-list .stays { color: var(--body-text-color-subdued); font-weight: 400; }
.mender-list .gone { background: #fee2e2; color: #991b1b; }
.mender-list .is-gone .title, .mender-list .is-avoided .title { color: var(--body-text-color-subdued); }
.mender-list .is-avoided .title { text-decoration: line-through; }
.mender-list .empty { padding: 14px; margin: 0; color: var(--body-text-color-subdued); }
.mender-list .terms { padding: 4px 12px 12px calc(12px + 1.4rem + 8px); font-size: .85rem; }
.mender-list .terms p { margin: 0 0 4px; color: var(--body-text-color-subdued); }
.mender-list .terms table { border-collapse: collapse; width: 100%; margin: 0; border: 0 !important; }
.mender-list .terms tr, .mender-list .terms td { border: 0 !important; background: none; }
.mender-list .terms td { padding: 1px 0 !important; text-align: left; color: var(--body-text-color); }
.mender-list .terms td:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.mender-list .terms tr.sum { border-top: 1px solid var(--border-color-primary) !important; font-weight: 600; }
.mender-reading { margin: 0 0 6px; color: var(--body-text-color); }
.mender-reading b { font-weight: 600; padding: 0 6px; border-radius: 4px; }
.mender-reading .wants b { background: #d1fae5; color: #065f46; }
.mender-reading .avoids b { background: #fee2e2; color: #991b1b; }
.mender-reading small { color: var(--body-text-color-subdued); }
.mender-summary { margin: 0 0 10px; font-weight: 600; color: var(--body-text-color); }
.mender-notice { margin: 0; padding: 12px 16px; border-radius: 8px; color: var(--body-text-color);
  background: var(--background-fill-secondary); border-left: 4px solid #4f46e5; }
@media (max-width: 960px) {
  /* the answer comes before the history: what is written and what it brings are on one screen */
  #recommend { display: flex; flex-direction: column; align-items: stretch; gap: 8px; }
  #ask, #reply { display: contents; }
  #ask > *, #reply > * { order: 1; width: 100%; }
  #code { order: 2; }
  #past { order: 3; }
}
@media (max-width: 720px) {
  .tab-container button { padding: 0 7px !important; font-size: .875rem !important; }
  .gradio-container .tabs, .gradio-container .tabitem, .gradio-container .tabitem > .column { gap: 8px; }
  .gradio-container .tabitem { padding: 8px 0 !important; }
  #head h1 { display: inline; font-size: 1.15rem; }
  #head p { display: inline; margin-left: 6px; font-size: .85rem; }
  #examples { flex-flow: row nowrap !important; overflow-x: auto; scrollbar-width: none; }
  #examples button { white-space: nowrap; max-width: none; }
  #examples > * { max-width: none; }
  #preference, #avoid, #strength { padding: 6px 10px !important; }
  #preference label, #avoid label { display: grid; grid-template-columns: 5.6rem 1fr; align-items: center; }
  #preference label > span, #avoid label > span { margin: 0; }
  #preference input, #avoid input, #preference textarea, #avoid textarea { padding: 6px 8px; }
  #strength .head { margin-bottom: 0; }
  .mender-answer { grid-template-columns: 1fr; }
  .mender-list .row, .mender-list summary { padding: 6px 10px; font-size: .925rem;
    grid-template: "place title move" auto "place title score" auto / 1.4rem 1fr auto; }
  .mender-list .place { align-self: start; }
  .mender-list .score { text-align: center; }
  .mender-list h3 { padding: 6px 10px; }
  .mender-summary, .mender-reading { font-size: .9rem; margin-bottom: 4px; }
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


def similar_titles(titles: Sequence[str], query: str, limit: int = 5) -> list[int]:
    """Ids of the items whose titles have the words nearest to a query's, best first.

    >>> similar_titles(["Red soap", "Blue lamp", "Blue soap"], "blu sope")
    [3]
    """
    split = [title.casefold().split() for title in titles]
    vocabulary = sorted({word for words in split for word in words})
    near = [set(get_close_matches(word, vocabulary, 3, 0.6)) for word in query.casefold().split()]
    found = [(-sum(bool(words & set(own)) for words in near), item_id) for item_id, own in enumerate(split, start=1)]
    most = min(found, default=(0, 0))[0]
    return [item_id for count, item_id in found if count == most < 0][:limit]


def all_of(query: str) -> str:
    """A query's words, as a message names them.

    >>> all_of("tea"), all_of("green tea")
    ('the word “tea”', 'all words of “green tea”')
    """
    return f"all words of “{query.strip()}”" if len(query.split()) > 1 else f"the word “{query.strip()}”"


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


def main_metric(found: Mapping[str, Any]) -> str:
    """Metric that an axis is ranked by: m@10 where there is one, else recall@10."""
    return "m@10" if "m@10" in (found.get("with_preference") or {}) or found.get("metric") == "m" else "recall@10"


def title_of(axis: str, found: Mapping[str, Any]) -> str:
    """Title of an axis: the file's own, else that of the paper's axes, else its name."""
    return found.get("title") or AXIS_TITLES.get(axis, axis)


def axes_rows(results: Mapping[str, Any]) -> list[list[Any]]:
    """Axis, metric, with preference, without; NDCG@10 with and without; rows. `-` where there is no figure."""
    rows = []
    for axis, found in results["axes"].items():
        metric = main_metric(found)
        sides = [found.get("with_preference") or {}, found.get("without_preference") or {}]
        ndcg = "" if metric.startswith("m@") else "ndcg@10"  # of the positive preference alone, it would mislead
        values = [side.get(name) for name in (metric, ndcg) for side in sides]
        texts = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([title_of(axis, found), metric, *texts, found.get("num_rows")])
    return rows


def axes_figure(results: Mapping[str, Any]) -> Any:
    """The main metric of each axis, with the preference and without, as bars; 95 % intervals where there are any.

    Returns:
        `matplotlib.figure.Figure`: One group of two bars per axis, the first axis on top.
    """
    from matplotlib.figure import Figure

    axes = results["axes"]
    # narrow and fine: on a phone the words must stay legible, on a desk they must stay sharp
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
    for i, (axis, found) in enumerate(axes.items()):
        title = f"{title_of(axis, found)}, {main_metric(found)}"
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


def axes_of(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Axis -> title, the paper's axes first."""
    titles = {record["axis"]: title_of(record["axis"], record) for record in records}
    names = [*(axis for axis in AXIS_TITLES if axis in titles), *(axis for axis in titles if axis not in AXIS_TITLES)]
    return {name: titles[name] for name in names}


def leaderboard_rows(records: Sequence[Mapping[str, Any]], domain: str = ALL, axis: str = ALL) -> list[list[Any]]:
    """Rows under `LEADERBOARD_HEADERS`, best first among those that answer the same rows; equal values share a rank.

    Scores of other rows (another fingerprint, a part of the rows, a benchmark as it was) are ranked apart, the most
    rows first.

    Args:
        records: One flat record per model, domain and axis.
        domain, axis (`str`, defaults to `"all"`): Only this one.
    """
    kept = [r for r in records if domain in (ALL, r["domain"]) and axis in (ALL, r["axis"])]
    order = {name: number for number, name in enumerate(axes_of(records))}

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
            f"{record['domain']}: {record['axis']}, {record['metric']}",
            record.get("method") or "",
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


@dataclass(frozen=True)
class Controls:
    """What a model can be asked: a control that it does not read is hidden.

    Attributes:
        preference, avoid, strength (`bool`): Whether its processor reads them.
        terms (`bool`): Whether its scores are sums of terms.
        depth (`int`): How many places are compared; 0 for as many as are shown, where more would take more beams.
    """

    preference: bool
    avoid: bool = False
    strength: bool = False
    terms: bool = False
    depth: int = 0

    @classmethod
    def of(cls, pipe: Any) -> "Controls":
        """Those of a pipeline's model."""
        read = inspect.signature(pipe.processor.__call__).parameters
        terms = "return_terms" in inspect.signature(pipe.model.recommend).parameters
        depth = (NUM_BEAMS if getattr(pipe.model, "has_decoder", True) else MAX_DEPTH) if terms else 0
        return cls(reads_preferences(pipe.processor), "avoid" in read, "strength" in read, terms, depth)


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


# -- the tabs ---------------------------------------------------------------------------------------------------------


class RecommendTab:
    """The first tab: components, and what happens when they are used.

    Args:
        pipe (`Pipeline`): `preference-recommendation`, with the model's processor.
        model_name (`str`): The model's id, for the request as code.
        examples (`Sequence`, *optional*): See the Space's README; found in the catalogue where there are none. The
            first one is what the page opens with.
    """

    def __init__(self, pipe: Any, model_name: str, examples: Sequence[Mapping[str, Any]] | None) -> None:
        self.pipe, self.model_name = pipe, model_name
        self.titles = [item["title"] for item in pipe.processor.items]
        self.controls = Controls.of(pipe)
        self.read = getattr(pipe.processor, "read_preference", None) if self.controls.avoid else None
        self.invitation = (
            "Write what you would like, or choose a history of items, or both; then press Recommend. Above are "
            "examples to try."
            if self.controls.preference
            else "Choose a history of items; then press Recommend."
        )
        self.examples = list(examples or find_examples(pipe, self.controls.preference, self.controls.avoid, self.read))
        self.build()

    def choices(self, item_ids: Sequence[int]) -> list[tuple[str, int]]:
        """Items as options: title and id, so that equal titles stay apart."""
        return [(f"{self.titles[item_id - 1]} · {item_id}", item_id) for item_id in item_ids]

    def build(self) -> None:
        """Lays the tab out, with the first example in it."""
        first = self.examples[0] if self.examples else {}
        with gr.Row(elem_id="examples"):
            buttons = [gr.Button(example["name"], size="sm") for example in self.examples]
        most = min(MAX_RESULTS, len(self.titles))
        with gr.Row(elem_id="recommend"):
            with gr.Column(scale=4, min_width=280, elem_id="ask"):
                preference, avoid, strength = self.preference_boxes(first)
                with gr.Row(elem_id="go"):
                    clear = gr.Button("Start over", size="md")
                    button = gr.Button("Recommend", variant="primary", size="md")
                with gr.Column(elem_id="past"):
                    history = gr.Dropdown(
                        self.choices(first.get("history") or []), value=list(first.get("history") or []),
                        multiselect=True, elem_id="history", label="History, oldest first",
                    )  # fmt: skip
                    query = gr.Textbox(
                        label="Search the catalogue", placeholder="words of a title, or ids: 17, 4",
                        max_length=MAX_TEXT,
                        info=f"{len(self.titles):,} items. Enter adds the first match, or all ids that you typed.",
                    )  # fmt: skip
                    matches = gr.Radio(
                        self.choices(search_titles(self.titles, "")), label="Matches: choose one to add it",
                        elem_id="matches",
                    )  # fmt: skip
                    exclude = gr.Checkbox(True, label="Do not recommend what is in the history")
                    k = gr.Slider(1, most, min(10, most), step=1, label="Number of results")
            with gr.Column(scale=9, min_width=300, elem_id="reply"):
                shown = self.recommend(*self.filled(first), True, min(10, most)) if first else (self.start(), "")
                answer = gr.HTML(shown[0], elem_id="answer")
                with gr.Accordion("This request in Python", open=False, elem_id="code"):
                    code = gr.Code(shown[1], language="python", label="Request", interactive=False)
        boxes = [history, preference, avoid, strength]
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        # one request at a time for all visitors: a fast tokenizer does not serve two threads at once
        model = {"api_visibility": "private", "concurrency_id": "model", "concurrency_limit": 1}
        query.change(self.search, query, matches, trigger_mode="always_last", **quiet)
        query.submit(self.add_typed, [history, query], [history, query, matches], **quiet)
        matches.input(self.add, [history, matches], [history, matches], **quiet)
        inputs, outputs = [*boxes, exclude, k], [answer, code]
        for example, example_button in zip(self.examples, buttons, strict=True):
            shown = example_button.click(self.show_example(example), None, boxes, **quiet)
            shown.then(self.recommend, inputs, outputs, **model)
        clear.click(self.clear, None, [*boxes, query, matches, *outputs], **quiet)
        asked = [button.click, preference.submit, avoid.submit, strength.release]
        gr.on(asked, self.recommend, inputs, outputs, **model)

    def preference_boxes(self, example: Mapping[str, Any]) -> tuple[gr.Textbox, gr.Textbox, gr.Slider]:
        """The two texts and the strength; closed or hidden where the model does not read them."""
        reads = self.controls.preference
        preference = gr.Textbox(
            example.get("preference") or "", label="Preference", interactive=reads, max_length=MAX_TEXT,
            placeholder="in plain words" if self.controls.avoid else "Look for ..." if reads else "",
            info=None if reads else "This model reads no preference, only the history.", elem_id="preference",
        )  # fmt: skip
        avoid = gr.Textbox(
            example.get("avoid") or "", label="Avoid", placeholder="one thing, or several", max_length=MAX_TEXT,
            visible=self.controls.avoid, elem_id="avoid",
        )  # fmt: skip
        strength = gr.Slider(
            0, MAX_STRENGTH, example.get("strength", 1), step=0.1, label="Strength of the preference",
            visible=self.controls.strength, elem_id="strength",
        )  # fmt: skip
        return preference, avoid, strength

    def search(self, query: str) -> dict[str, Any]:
        """The matches of what is typed so far; titles that come near it where there are none."""
        found, label = search_titles(self.titles, query), "Matches: choose one to add it"
        if not found:
            found = similar_titles(self.titles, query)
            label = f"No title has {all_of(query)}{': did you mean one of these?' if found else ''}"
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
                gr.Warning(f"No title has {all_of(query)}.")
                return gr.skip(), gr.skip(), gr.skip()
        return self.picked([*history, *found]), "", self.search("")

    def filled(self, example: Mapping[str, Any]) -> tuple[list[int], str, str, float]:
        """What an example puts into the boxes."""
        texts = (example.get("preference") or "", example.get("avoid") or "")
        return (list(example.get("history") or []), *texts, example.get("strength", 1))

    def show_example(self, example: Mapping[str, Any]) -> Any:
        """A function that fills the boxes with an example."""
        history, *others = self.filled(example)
        return lambda: (self.picked(history), *others)

    def start(self) -> str:
        """The page without a request."""
        return notice(self.invitation)

    def clear(self) -> tuple[Any, ...]:
        """Everything empty."""
        return self.picked([]), "", "", 1, "", self.search(""), self.start(), ""

    def recommend(
        self, history: list[int], preference: str, avoid: str, strength: float, exclude_history: bool, k: float
    ) -> tuple[str, str]:
        """Both rankings as HTML, and the request as code; a message where there is nothing to ask."""
        code = ""
        try:
            avoided, corrections = avoided_texts((avoid or "") if self.controls.avoid else "", self.read)
            strength = strength if self.controls.strength else 1
            request = make_request(history, preference or "", avoided, strength, exclude_history)
            k = min(int(k), len(self.titles) - len(request.get("exclude", ())))
            code = self.code(request, k)
            return self.answer(request, k, corrections), code
        except ValueError as error:  # what the processor or the model refuses, in its words
            gr.Warning(str(error))
            return notice(f"The model cannot answer this: {error}"), code
        except Exception:
            logger.exception("no answer to %s, %s, %s", history, preference, avoid)
            return notice("The model failed at this request. The log of the app has the reason."), code

    def answer(self, request: dict[str, Any], k: int, corrections: Mapping[str, str]) -> str:
        """The answer to a request as HTML; `corrections` are those of its avoided texts."""
        if k == 0:
            return notice("The history holds the whole catalogue, and nothing of it is to come back.")
        asks = "preference" in request or "avoid" in request
        if not request["history"] and not asks and self.controls.preference:
            return self.start()
        plain, reason = self.without_preference(request, k)
        if not asks:
            return notice(reason) if plain is None else answer_html(None, plain, k)
        ranking = self.rank(request, k)
        if self.read is None or not hasattr(self.pipe.processor, "read"):
            return answer_html(ranking, plain, k, reason)
        fields = [[request.get(name)] for name in ("history", "preference", "avoid", "strength")]
        ((_, read),) = self.pipe.processor.read(*fields)
        words = getattr(self.pipe.processor, "words", None)
        unknown = [word for text in read for word in words.match(text.text).unknown] if words is not None else []
        reading = reading_html(read, corrections, len(request["history"]), list(dict.fromkeys(unknown)))
        return reading + answer_html(ranking, plain, k, reason, read)

    def rank(self, request: Mapping[str, Any], k: int) -> list[dict[str, Any]]:
        """The items of a request, more than are shown where the model ranks all of them anyway."""
        left = len(self.titles) - len(request.get("exclude", ()))
        options = {"return_terms": True} if self.controls.terms else {}
        return self.pipe(dict(request), k=max(k, min(self.controls.depth, left)), **options)

    def without_preference(self, request: dict[str, Any], k: int) -> tuple[list[dict[str, Any]] | None, str]:
        """The ranking of the same request without its texts, or what would stand there."""
        plain = {name: request[name] for name in ("history", "exclude") if name in request}
        if plain["history"]:
            return self.rank(plain, k), ""
        if self.controls.preference:
            return None, (
                "Choose a history, and this half shows what it brings without your preference, and the other how far "
                "your preference moves each item."
            )
        try:
            return self.rank(plain, k), ""
        except ValueError:
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
        "favors every method that reads preferences; history consolidation is the figure without that help. "
        "Sentiment is not defined without a preference."
    )


def leaderboard_tab(records: Sequence[Mapping[str, Any]] | None) -> None:
    """The third tab: everybody's results."""
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
        leaderboard_rows(records, *first), headers=LEADERBOARD_HEADERS, datatype=LEADERBOARD_TYPES,
        interactive=False, label="Leaderboard", elem_id="leaderboard-table", wrap=True,
        column_widths=LEADERBOARD_WIDTHS,
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
        + (" What each adds to a score is a term of a sum." if Controls.of(pipe).terms else "")
        if reads_preferences(pipe.processor)
        else "It reads a history of items, and no preference."
    )
    avoids = (
        "- What is avoided moves down; it is not filtered out. It is known by its words, and where no item has them "
        "by their meaning, which can be wrong. Spelling is corrected, sentences are read by rules for English: the "
        "line *Read as* says what came of it.\n"
        "- *new* and *gone* mean: beyond the places that are compared.\n"
        if Controls.of(pipe).avoid
        else "- What to avoid is understood only as far as the training data taught it: see sentiment following in "
        "*Five axes*.\n- *new* and *gone* mean: not among the results shown on the other side.\n"
    )
    gr.Markdown(
        f"### {model_name}\n\n**{method}**, for the tasks of *Preference Discerning with LLM-Enhanced Generative "
        f"Retrieval* (Paischer et al., 2024). {reads} It recommends from a catalogue of {num_items:,} items.\n\n"
        "### Limits\n\n"
        "- It knows the items it was trained with and no others.\n"
        "- Scores are log-probabilities under the model, not of a purchase; they compare within one request.\n"
        f"{avoids}"
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
        examples (`Sequence`, *optional*): See the Space's README; found in the catalogue where there are none.
    """
    with gr.Blocks(title=f"Mender: {model_name}", analytics_enabled=False) as demo:
        gr.Markdown("# Mender\nSay what you like and what to avoid, and see what that changes.", elem_id="head")
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
    except (ValueError, RuntimeError) as error:  # several lines, tracebacks among them
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"{arguments.model} could not be loaded ({reason}); if another version of the code saved it, train it or "
            "publish it again."
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
