"""The user study as a Space or on one's own machine: people judge generated preferences; answers are kept."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio reads it when it is imported

import gradio as gr
from huggingface_hub import CommitScheduler, HfApi, snapshot_download

from dataset_builders.user_study.answers import Answers, read_rows
from dataset_builders.user_study.form import ANSWERS, ANSWERS_FOLDER, HINTS, QUESTIONS, Step, pseudonym, read_study
from dataset_builders.user_study.rendering import render_history, render_preference, render_progress

HERE = Path(__file__).resolve().parent
MINUTES = 1
"""Between two commits of new answers to the Hub."""
INTRODUCTION = """# Do these sentences fit this customer?

You see what somebody bought and wrote, and sentences that a computer made of it, one at a time. Say whether
they fit. Histories to judge: {total}, each on {pages} short pages. You can stop at any time, and go on later under the
same pseudonym.

Your answers are kept with your pseudonym and the time, and may be published for research. By starting you agree to
that.
"""
END = """# Thank you

There is nothing left for you to judge. Histories that you judged: {finished}. Every answer is stored; you can close
this page.
"""
# Names the groups of answers for screen readers, and goes to the first, so that the keyboard is enough.
TO_QUESTIONS = """() => setTimeout(() => {
  const groups = [...document.querySelectorAll('#questions fieldset')];
  groups.forEach((one) => one.setAttribute('aria-label', one.querySelector('[data-testid=block-info]').innerText));
  if (groups.length) {
    groups[0].querySelector('input').focus({preventScroll: true});
    document.querySelector('.progress').scrollIntoView({block: 'start'});
  }
}, 150)"""

# The radio buttons of Gradio are groups of one, which arrow keys do not reach.
KEYS = """() => document.addEventListener('keydown', (event) => {
  const groups = [...document.querySelectorAll('#questions fieldset')];
  const place = groups.findIndex((one) => one.contains(document.activeElement));
  const answer = place < 0 ? null : groups[place].querySelectorAll('input')[Number(event.key) - 1];
  if (answer) {
    answer.click();
    (place + 1 < groups.length ? groups[place + 1].querySelector('input') : document.querySelector('#next')).focus();
  }
})"""


class Page:
    """The page of a study.

    Args:
        answers ([`Answers`]): Of the study.
    """

    def __init__(self, answers: Answers) -> None:
        self.answers, self.study = answers, answers.study
        total = min(self.study.per_annotator, len(self.study.scenarios))
        introduction = INTRODUCTION.format(total=total, pages=len(self.study.steps(0)))
        with gr.Blocks(title="User study", analytics_enabled=False) as self.blocks:
            # the key only keeps the pseudonym readable after a restart of the page
            self.name = gr.BrowserState("", storage_key="user-study", secret="pseudonym")
            self.step = gr.State()
            with gr.Column(elem_id="start") as self.start:
                gr.Markdown(introduction)
                typed = gr.Textbox(
                    label="Pseudonym", info="Any word that is not your name", max_length=80, autofocus=True
                )
                go = gr.Button("Start", variant="primary")
                self.refusal = gr.HTML()
            with gr.Column(visible=False, elem_id="task") as self.task:
                self.progress = gr.HTML()
                with gr.Row(elem_id="both"):
                    with gr.Column(elem_id="left", scale=5):
                        self.history = gr.HTML()
                    with gr.Column(elem_id="questions", scale=4):
                        self.preference = gr.HTML()
                        choices = [(label, value) for value, label in ANSWERS.items()]
                        self.radios = {
                            name: gr.Radio(choices, label=text, info=HINTS[name]) for name, text in QUESTIONS.items()
                        }
                        self.notice = gr.HTML()
                        submit = gr.Button("Next", variant="primary", elem_id="next")
                        with gr.Row(elem_id="ways"):
                            skip = gr.Button("Skip this history", size="sm")
                            leave = gr.Button("Another pseudonym", size="sm")
                        gr.HTML('<p class="keys">Keys: 1, 2 and 3 answer, Enter goes on.</p>')
            with gr.Column(visible=False, elem_id="end") as self.end:
                self.thanks = gr.Markdown()
                other = gr.Button("Another pseudonym", size="sm")
        self.outputs = [
            self.name, self.step, self.start, self.task, self.end, self.progress, self.history, self.preference,
            *self.radios.values(), self.notice, self.refusal, self.thanks,
        ]  # fmt: skip
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        given = [self.name, self.step, *self.radios.values()]
        with self.blocks:
            self.blocks.load(None, js=KEYS)
            shown = [
                self.blocks.load(self.resume, self.name, self.outputs, **quiet),
                gr.on([typed.submit, go.click], self.begin, typed, self.outputs, **quiet),
                submit.click(self.submit, given, self.outputs, **quiet),
                skip.click(self.skip, given[:2], self.outputs, **quiet),
            ]
            for event in shown:
                event.then(None, js=TO_QUESTIONS)
            gr.on([leave.click, other.click], self.restart, None, self.outputs, **quiet)

    def begin(self, typed: str) -> dict[Any, Any]:
        """Takes a pseudonym, and shows the first step that is not answered."""
        try:
            return self.show(pseudonym(typed))
        except ValueError as error:
            return {self.refusal: message(str(error))}

    def resume(self, name: str | None) -> dict[Any, Any]:
        """Shows a browser that has been here where it stopped; another one stays at the start."""
        return self.begin(name) if name else {self.refusal: ""}

    def restart(self) -> dict[Any, Any]:
        """Asks for a pseudonym."""
        screens = {self.start: gr.update(visible=True), self.task: gr.update(visible=False)}
        return {**screens, self.end: gr.update(visible=False), self.name: "", self.step: None, self.refusal: ""}

    def submit(self, name: str, step: Step | None, *given: str | None) -> dict[Any, Any]:
        """Stores the answers of a step, and shows the next one."""
        return self.store(
            name, step, lambda who, at: self.answers.submit(who, at, dict(zip(QUESTIONS, given, strict=True)))
        )

    def skip(self, name: str, step: Step | None) -> dict[Any, Any]:
        """Leaves a history out, and shows the next one."""
        return self.store(name, step, lambda who, at: self.answers.skip(who, at.scenario))

    def store(self, name: str, step: Step | None, work: Callable[[str, Step], None]) -> dict[Any, Any]:
        """Does the work and shows the next step, or says why it could not be done."""
        if step is None:  # the server was started again since
            return self.begin(name)
        try:
            work(pseudonym(name), step)
        except ValueError as error:
            return {self.notice: message(str(error))}
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return {self.notice: message(f"Your answer could not be stored ({reason}). Please try again in a minute.")}
        return self.show(name)

    def show(self, name: str) -> dict[Any, Any]:
        """The next step of an annotator, or the end."""
        step, finished = self.answers.next_step(name), self.answers.num_finished(name)
        shown = {
            self.name: name,
            self.step: step,
            self.start: gr.update(visible=False),
            self.task: gr.update(visible=step is not None),
            self.end: gr.update(visible=step is None),
            self.notice: "",
            self.refusal: "",
        }
        if step is None:
            return shown | {self.thanks: END.format(finished=finished)}
        return {
            **shown,
            self.progress: render_progress(self.study, step, name, finished),
            self.history: render_history(self.study, step),
            self.preference: render_preference(self.study, step),
            **{
                radio: gr.update(value=None, visible=question in step.questions)
                for question, radio in self.radios.items()
            },
        }


def message(text: str) -> str:
    """A message of ours, read out by a screen reader."""
    return f'<p class="message" role="alert">{text}</p>'


def look() -> dict[str, Any]:
    """Theme and CSS for `launch`, with the fonts of the reader's machine, so that nothing is fetched."""
    theme = gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    ).set(  # the defaults are too pale to read
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
    return {"theme": theme, "css_paths": HERE / "style.css"}


# -- command ----------------------------------------------------------------------------------------------------------


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads options, and what `settings.json` beside this file says of the answers."""
    settings = HERE / "settings.json"
    parser = argparse.ArgumentParser(description="Ask people about generated preferences, in the browser.")
    parser.add_argument("--study", type=Path, default=HERE, help="folder with study.json (default: that of this file)")
    parser.add_argument(
        "--answers",
        default=json.loads(settings.read_text(encoding="utf-8"))["answers"] if settings.is_file() else None,
        help="dataset on the Hub that gets the answers, beside the folder answers/ of the study",
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    return parser.parse_args(argv)


def open_answers(folder: Path, repo_id: str | None) -> Answers:
    """Opens the answers to a study; new ones also go to a dataset on the Hub, if it is named.

    Raises:
        ValueError: If the study or an earlier answer cannot be read.
        OSError: If the study does not exist, or the Hub refuses the dataset.
    """
    study, rows = read_study(folder), read_rows(folder / ANSWERS_FOLDER)
    if repo_id is None:
        return Answers(study, folder, rows)
    api = HfApi()
    api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
    card = HERE / "answers_card.md"  # sent first: without the right to write, no answer is asked for
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo_id, repo_type="dataset")
    rows += read_rows(Path(snapshot_download(repo_id, repo_type="dataset", allow_patterns="*.jsonl")))
    scheduler = CommitScheduler(
        repo_id=repo_id,
        repo_type="dataset",
        folder_path=folder / ANSWERS_FOLDER,
        path_in_repo=ANSWERS_FOLDER,
        allow_patterns="*.jsonl",
        every=MINUTES,
    )
    return Answers(study, folder, rows, scheduler.lock)


def serve(arguments: argparse.Namespace) -> None:
    """Serves the page until it is interrupted.

    Raises:
        ValueError, OSError: As [`open_answers`], or if the port is not free.
    """
    page = Page(open_answers(arguments.study, arguments.answers))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as a Space is stopped: the last answers are still sent
    page.blocks.queue().launch(server_port=arguments.port, ssr_mode=False, footer_links=[], **look())


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page; 1 if the study cannot be read."""
    try:
        serve(parse_arguments(argv))
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
