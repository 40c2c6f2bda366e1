"""The form and its answers: what is asked when, by whom, and that no answer is lost or misread."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from datasets import load_dataset
from study_world import IMAGE, SCRIPT, make_study, row, scenario

from dataset_builders.user_study.answers import AnswerFile, Answers, read_rows
from dataset_builders.user_study.form import (
    COLUMNS,
    OF_MATCH,
    OF_PREFERENCE,
    STUDY_FILE,
    Step,
    parse_row,
    pseudonym,
    read_study,
)
from dataset_builders.user_study.rendering import render_history, render_preference, render_progress

ALL_YES = {"informed": "yes", "accurate": "yes", "related": "yes"}


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study")


@pytest.fixture
def answers(study, tmp_path):
    return Answers(study, tmp_path / "study")


def answer_all(answers, annotator, most=100):
    """Answers yes to everything that is asked; gives the steps."""
    steps = []
    while len(steps) < most and (step := answers.next_step(annotator)) is not None:
        answers.submit(annotator, step, ALL_YES)
        steps.append(step)
    return steps


def test_each_preference_is_asked_about_first_and_the_next_purchase_is_shown_last(study):
    steps = study.steps(1)
    assert [(step.preference, step.questions) for step in steps] == [
        *((index, OF_PREFERENCE) for index in range(3)),
        (2, OF_MATCH),
    ]
    pages = [render_history(study, step) + render_preference(study, step) for step in steps]
    assert [("Pine Tray 1" in page) for page in pages] == [False, False, False, True]
    assert all("Pine Soap 1" in page and "5 of 5 stars" in page for page in pages)


def test_no_text_of_others_becomes_markup(study):
    pages = [render_history(study, step) + render_preference(study, step) for step in study.steps(0)]
    pages.append(render_progress(study, study.steps(0)[0], IMAGE, 0))
    for page in pages:
        assert SCRIPT not in page and "<img" not in page and "<b>Moth" not in page and "<i>Lamps" not in page
    assert "&lt;script&gt;" in pages[0] and "Oak &amp; &lt;b&gt;Moth" in pages[0]


def test_two_annotators_share_a_history_before_a_third_gets_another(answers):
    assert [answers.next_step(name).scenario for name in ("ann", "bob", "cid")] == [0, 0, 0]  # nobody has begun
    for name in ("ann", "bob"):
        answers.submit(name, answers.next_step(name), ALL_YES)
    assert answers.next_step("cid").scenario == 1
    assert answers.next_step("ann") == Step(0, 1, OF_PREFERENCE)


def test_an_overlap_is_completed_before_a_new_history_is_begun(answers):
    answers.submit("ann", Step(2, 0, OF_PREFERENCE), ALL_YES)
    assert answers.next_step("bob").scenario == 2


def test_all_histories_are_judged_as_often_as_asked_and_by_nobody_more_than_asked(tmp_path):
    answers = Answers(make_study(tmp_path / "study", 4, raters=2, per_annotator=2), tmp_path / "study")
    judged = {name: {step.scenario for step in answer_all(answers, name)} for name in ("ann", "bob", "cid", "dee")}
    assert judged == {"ann": {0, 1}, "bob": {0, 1}, "cid": {2, 3}, "dee": {2, 3}}
    assert answers.next_step("eve") is None
    assert [answers.num_finished(name) for name in ("ann", "eve")] == [2, 0]


def test_who_comes_back_goes_on_where_they_stopped(study, tmp_path):
    folder = tmp_path / "study"
    before = answer_all(Answers(study, folder), "ann", most=6)
    answers = Answers(study, folder, read_rows(folder))
    after = answer_all(answers, "ann")
    assert len(before) == 6 and len(after) == 3 * 4 - 6 and not set(before) & set(after)
    assert len(list((folder / "answers").iterdir())) == 2  # each process has a file of its own


def test_a_skipped_history_is_not_shown_again_and_not_counted(answers, study, tmp_path):
    answers.submit("ann", answers.next_step("ann"), ALL_YES)
    answers.skip("ann", 0)
    assert {step.scenario for step in answer_all(answers, "ann")} == {1, 2}
    assert answers.num_finished("ann") == 2
    assert answers.next_step("bob").scenario == 1  # one other annotator has judged it
    again = Answers(study, tmp_path / "study", read_rows(tmp_path / "study"))
    assert again.next_step("ann") is None


def test_a_question_without_an_answer_stores_nothing(answers, tmp_path):
    step = answers.next_step("ann")
    for given in ({}, {"informed": "yes"}, {"informed": "yes", "accurate": None}, {**ALL_YES, "accurate": "perhaps"}):
        with pytest.raises(ValueError, match="answer every question"):
            answers.submit("ann", step, given)
    assert answers.next_step("ann") == step and not (tmp_path / "study/answers").exists()


def test_answers_of_models_and_of_other_domains_change_nothing_for_people(study, tmp_path):
    about = dict(zip(("user_id", "position", "preference"), study.units(study.steps(0)[0])[0], strict=False))
    rows = [row("ann", "informed", "yes", kind="model") | about, row("ann", "informed", "yes", domain="other") | about]
    answers = Answers(study, tmp_path / "study", rows)
    assert answers.next_step("ann") == study.steps(0)[0]


def test_answers_are_rows_of_a_dataset(answers, tmp_path):
    answers.submit("ann", answers.next_step("ann"), ALL_YES | {"accurate": "cannot_tell"})
    rows = load_dataset(str(tmp_path / "study/answers"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == list(COLUMNS)
    assert list(zip(rows["question"], rows["answer"], rows["annotator"], rows["kind"], strict=True)) == [
        ("informed", "yes", "ann", "person"),
        ("accurate", "cannot_tell", "ann", "person"),
    ]
    assert rows["preference"][0] == scenario(0).preferences[0]


WRITER = """
import sys
from pathlib import Path
from dataset_builders.user_study.answers import Answers
from dataset_builders.user_study.form import read_study

folder = Path(sys.argv[1])
answers = Answers(read_study(folder), folder)
while (step := answers.next_step("ann")) is not None:
    answers.submit("ann", step, {"informed": "yes", "accurate": "no", "related": "yes"})
    print(step.scenario, step.preference, flush=True)
"""


def test_a_kill_loses_no_answer_that_was_acknowledged(tmp_path, project):
    folder = tmp_path / "study"
    make_study(folder, 500, per_annotator=500)
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        seen = [process.stdout.readline() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    rows = read_rows(folder)
    assert len({(one["user_id"], one["preference"], one["question"]) for one in rows}) == len(rows)
    per_scenario = 2 * 3 + 1
    finished, place = divmod(len(seen), 4)
    assert len(rows) >= finished * per_scenario + 2 * place


def test_two_annotators_at_once_lose_nothing(tmp_path):
    folder = tmp_path / "study"
    answers = Answers(make_study(folder, 20, per_annotator=20), folder)
    threads = [threading.Thread(target=answer_all, args=(answers, name)) for name in ("ann", "bob", "cid")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read_rows(folder)
    assert len(rows) == len({(one["annotator"], one["user_id"], one["preference"], one["question"]) for one in rows})
    judged = {(one["annotator"], one["user_id"]) for one in rows}
    assert len(rows) == 7 * len(judged) and len(judged) >= 40  # every history by two


def test_a_full_disk_leaves_whole_rows_and_is_reported(answers, tmp_path, monkeypatch):
    answers.submit("ann", answers.next_step("ann"), ALL_YES)
    step, write = answers.next_step("ann"), os.write
    monkeypatch.setattr("os.write", lambda descriptor, lines: write(descriptor, lines[:50]))
    with pytest.raises(OSError, match="No space left"):
        answers.submit("ann", step, ALL_YES)
    monkeypatch.undo()
    assert answers.next_step("ann") == step and len(read_rows(tmp_path / "study")) == 2
    answers.submit("ann", step, ALL_YES)
    assert len(read_rows(tmp_path / "study")) == 4


def test_a_cut_last_line_is_left_out_and_any_other_broken_line_is_named(tmp_path, caplog):
    file = AnswerFile(tmp_path)
    file.append([row("ann", "informed", "yes")])
    with file.path.open("ab") as opened:
        opened.write(b'{"domain": "to')
    with caplog.at_level(logging.WARNING):
        assert [one["annotator"] for one in read_rows(tmp_path)] == ["ann"]
    assert "cut off" in caplog.text
    with file.path.open("ab") as opened:
        opened.write(b"\n")
    with pytest.raises(ValueError, match=r"\.jsonl, line 2 is no answer of a user study \(no JSON"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": "perhaps"}, "does not answer informed"),
        ({"question": "nice"}, "no question 'nice'"),
        ({"question": "scenario", "answer": "yes"}, "does not answer scenario"),
        ({"position": "3"}, "position is '3'"),
        ({"position": True}, "position is True"),
        ({"annotator": None}, "annotator is None"),
        ({"kind": "robot"}, "kind is 'robot'"),
        ({"more": 1}, "needs the columns"),
    ],
)
def test_a_row_of_another_form_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        parse_row(json.dumps(row("ann", "informed", "yes") | change))
    for line in (b"[1]", b"3", b"[" * 100_000, b"\xff"):
        with pytest.raises(ValueError):
            parse_row(line)


@pytest.mark.parametrize(("typed", "name"), [(" Red   Fox ", "red fox"), ("ＦＯＸ", "fox"), ("狐7", "狐7")])
def test_a_pseudonym_is_the_same_however_it_is_typed(typed, name):
    assert pseudonym(typed) == name == pseudonym(name)


@pytest.mark.parametrize("typed", ["", "  ", None, "...", "a" * 41, "a\u202eb", "\x00a", "\u200b"])
def test_a_pseudonym_that_cannot_be_seen_is_refused(typed):
    with pytest.raises(ValueError, match="Please choose a pseudonym"):
        pseudonym(typed)


@pytest.mark.parametrize(
    "change",
    [
        lambda study: study.pop("seed"),
        lambda study: study.update(more=1),
        lambda study: study.update(raters=0),
        lambda study: study.update(per_annotator="many"),
        lambda study: study.update(scenarios=[]),
        lambda study: study.update(scenarios=5),
        lambda study: study["scenarios"][0].update(matched=3),
        lambda study: study["scenarios"][0].update(preferences=["a", "a"]),
        lambda study: study["scenarios"][0].update(history=["a"]),
        lambda study: study["scenarios"][0].update(target=None),
        lambda study: study["scenarios"][0].update(user_id=7),
    ],
)
def test_a_study_of_another_form_is_refused(tmp_path, change):
    make_study(tmp_path / "study")
    path = tmp_path / "study" / STUDY_FILE
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match="is no study .* draw it again with mender draw-study"):
        read_study(tmp_path / "study")


def test_a_folder_without_a_study_and_a_broken_file_say_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="mender draw-study"):
        read_study(tmp_path)
    (tmp_path / STUDY_FILE).write_text("{")
    with pytest.raises(ValueError, match="mender draw-study"):
        read_study(tmp_path)
