"""Tab of recommendations: a request, its ranking beside the ranking without preferences, and the request as code."""

import html
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from demo_answers import answer_html, notice, reading_html
from demo_examples import find_examples
from demo_rankings import avoided_texts, make_request
from demo_search import all_of, read_ids, search_titles, similar_titles

logger = logging.getLogger("mender.demo")
MAX_TEXT = 500
MAX_RESULTS = 20
MAX_STRENGTH = 3
MAX_DEPTH = 1000  # places that are compared for a model that ranks all items
NUM_BEAMS = 50  # places that are compared for a model with beam search


def reads_preferences(processor: Any) -> bool:
    """Whether a processor reads preferences: by its attribute `reads_preferences`, else if it has a tokenizer."""
    reads = getattr(processor, "reads_preferences", None)
    return bool(getattr(processor, "tokenizer", None)) if reads is None else bool(reads)


@dataclass(frozen=True)
class Controls:
    """Controls of the page that a model supports; others are hidden.

    Attributes:
        preference, avoid, strength (`bool`): Whether the processor reads them.
        terms (`bool`): Whether the scores are sums of terms.
        depth (`int`): Number of places that are compared; 0 for as many as are shown.
    """

    preference: bool
    avoid: bool = False
    strength: bool = False
    terms: bool = False
    depth: int = 0

    @classmethod
    def of(cls, pipe: Any) -> "Controls":
        """Controls of the model of a pipeline."""
        read = inspect.signature(pipe.processor.__call__).parameters
        terms = "return_terms" in inspect.signature(pipe.model.recommend).parameters
        depth = (NUM_BEAMS if getattr(pipe.model, "has_decoder", True) else MAX_DEPTH) if terms else 0
        return cls(reads_preferences(pipe.processor), "avoid" in read, "strength" in read, terms, depth)


class RecommendTab:
    """The first tab: its components and their events.

    Args:
        pipe (`Pipeline`): `preference-recommendation`, with the model's processor.
        model_name (`str`): The model's id, for the request as code.
        examples (`Sequence`, *optional*): See the README of the Space; defaults to those found in the catalog. The
            page opens with the first.
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
        """Items as options with title and id, so that equal titles are distinct."""
        return [(f"{self.titles[item_id - 1]} · {item_id}", item_id) for item_id in item_ids]

    def build(self) -> None:
        """Builds the tab with the first example filled in."""
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
                        self.choices(first.get("history") or []),
                        value=list(first.get("history") or []),
                        multiselect=True,
                        elem_id="history",
                        label="History, oldest first",
                    )
                    query = gr.Textbox(
                        label="Search the catalog",
                        placeholder="words of a title, or ids: 17, 4",
                        max_length=MAX_TEXT,
                        info=f"{len(self.titles):,} items. Enter adds the first match, or all ids that you typed.",
                    )
                    matches = gr.Radio(
                        self.choices(search_titles(self.titles, "")),
                        label="Matches: choose one to add it",
                        elem_id="matches",
                    )
                    exclude = gr.Checkbox(True, label="Do not recommend what is in the history")
                    k = gr.Slider(1, most, min(10, most), step=1, label="Number of results")
            with gr.Column(scale=9, min_width=300, elem_id="reply"):
                shown = self.recommend(*self.filled(first), True, min(10, most)) if first else (self.start(), "")
                answer = gr.HTML(shown[0], elem_id="answer")
                with gr.Accordion("This request in Python", open=False, elem_id="code"):
                    code = gr.Code(shown[1], language="python", label="Request", interactive=False)
        boxes = [history, preference, avoid, strength]
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        # one request at a time for all visitors: a fast tokenizer is not thread-safe
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
        """The two texts and the strength; disabled or hidden if the model does not read them."""
        reads = self.controls.preference
        preference = gr.Textbox(
            example.get("preference") or "",
            label="Preference",
            interactive=reads,
            max_length=MAX_TEXT,
            placeholder="in plain words" if self.controls.avoid else "Look for ..." if reads else "",
            info=None if reads else "This model reads no preference, only the history.",
            elem_id="preference",
        )
        avoid = gr.Textbox(
            example.get("avoid") or "",
            label="Avoid",
            placeholder="one thing, or several",
            max_length=MAX_TEXT,
            visible=self.controls.avoid,
            elem_id="avoid",
        )
        strength = gr.Slider(
            0,
            MAX_STRENGTH,
            example.get("strength", 1),
            step=0.1,
            label="Strength of the preference",
            visible=self.controls.strength,
            elem_id="strength",
        )
        return preference, avoid, strength

    def search(self, query: str) -> dict[str, Any]:
        """Matches of the query so far; similar titles if there are none."""
        if len(query) > MAX_TEXT:
            return gr.Radio(choices=[], value=None, label=f"A query has at most {MAX_TEXT} characters.")
        found, label = search_titles(self.titles, query), "Matches: choose one to add it"
        if not found:
            found = similar_titles(self.titles, query)
            label = f"No title has {all_of(query)}{': did you mean one of these?' if found else ''}"
        return gr.Radio(choices=self.choices(found), value=None, label=label)

    def picked(self, item_ids: Sequence[int]) -> dict[str, Any]:
        """The history with the given items."""
        item_ids = list(dict.fromkeys(item_ids))
        return gr.Dropdown(choices=self.choices(item_ids), value=item_ids)

    def add(self, history: list[int], item_id: int | None) -> tuple[Any, Any]:
        """Adds a match to the history."""
        return self.picked([*history, *([] if item_id is None else [item_id])]), gr.Radio(value=None)

    def add_typed(self, history: list[int], query: str) -> tuple[Any, Any, Any]:
        """Adds the typed ids, or the first match, to the history."""
        if not query.strip() or len(query) > MAX_TEXT:
            return gr.skip(), gr.skip(), gr.skip()
        if query.replace(",", " ").replace(" ", "").isdecimal():
            try:
                found = read_ids(query, len(self.titles))
            except ValueError as error:
                gr.Warning(html.escape(str(error)))
                return gr.skip(), gr.skip(), gr.skip()
        else:
            found = search_titles(self.titles, query, limit=1)
            if not found:
                gr.Warning(html.escape(f"No title has {all_of(query)}."))
                return gr.skip(), gr.skip(), gr.skip()
        return self.picked([*history, *found]), "", self.search("")

    def filled(self, example: Mapping[str, Any]) -> tuple[list[int], str, str, float]:
        """Values of an example for the boxes."""
        texts = (example.get("preference") or "", example.get("avoid") or "")
        return (list(example.get("history") or []), *texts, example.get("strength", 1))

    def show_example(self, example: Mapping[str, Any]) -> Any:
        """Returns a function that fills the boxes with an example."""
        history, *others = self.filled(example)
        return lambda: (self.picked(history), *others)

    def start(self) -> str:
        """The page without a request."""
        return notice(self.invitation)

    def clear(self) -> tuple[Any, ...]:
        """Values of the empty page."""
        return self.picked([]), "", "", 1, "", self.search(""), self.start(), ""

    def recommend(
        self, history: list[int], preference: str, avoid: str, strength: float, exclude_history: bool, k: float
    ) -> tuple[str, str]:
        """Both rankings as HTML, and the request as code; a message for a request that cannot be answered."""
        code = ""
        try:
            for name, text in (("preference", preference), ("avoid", avoid)):
                if len(text or "") > MAX_TEXT:  # the boxes of the page hold no more
                    raise ValueError(f"{name} has {len(text):,} characters; write at most {MAX_TEXT}.")
            avoided, corrections = avoided_texts((avoid or "") if self.controls.avoid else "", self.read)
            strength = strength if self.controls.strength else 1
            request = make_request(history, preference or "", avoided, strength, exclude_history)
            k = min(int(k), len(self.titles) - len(request.get("exclude", ())))
            code = self.code(request, k)
            return self.answer(request, k, corrections), code
        except ValueError as error:  # errors of the processor and the model are shown as they are
            gr.Warning(html.escape(str(error)))  # a toast renders HTML
            return notice(f"The model cannot answer this: {error}"), code
        except Exception:
            logger.exception("no answer to %s, %s, %s", history, preference, avoid)
            return notice("The model failed at this request. The log of the app has the reason."), code

    def answer(self, request: dict[str, Any], k: int, corrections: Mapping[str, str]) -> str:
        """The answer to a request as HTML; `corrections` are those of the avoided texts."""
        if k == 0:
            return notice("The history holds the whole catalog, and nothing of it is to come back.")
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
        """Ranks items for a request, more than are shown if the model ranks all of them anyway."""
        left = len(self.titles) - len(request.get("exclude", ()))
        options = {"return_terms": True} if self.controls.terms else {}
        return self.pipe(dict(request), k=max(k, min(self.controls.depth, left)), **options)

    def without_preference(self, request: dict[str, Any], k: int) -> tuple[list[dict[str, Any]] | None, str]:
        """Ranks items for the same request without its texts, or returns a message in place of the ranking."""
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
        """The request as Python code."""
        return (
            "from transformers import pipeline\n\n"
            f'pipe = pipeline("preference-recommendation", model={self.model_name!r}, trust_remote_code=True)\n'
            f"pipe({dict(request)!r}, k={k})\n"
        )
