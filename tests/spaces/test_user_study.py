"""The page of the user study: in a real browser, its answers on the Hub, and as a Space of its own."""

import ast
import json
import os
import re
import socket
import sys

import pytest
from browsers import chromium, served_app
from fake_hub import FakeHub
from forked_python import server
from huggingface_hub import SpaceCard
from study_world import make_study

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from dataset_builders.commands import publish_space, report_study, user_study  # noqa: E402
from dataset_builders.commands.fresh_process import run_fresh  # noqa: E402
from dataset_builders.resources import resource  # noqa: E402
from dataset_builders.user_study.answers import AnswerFile, read_rows  # noqa: E402
from dataset_builders.user_study.form import QUESTIONS  # noqa: E402

SPACE = resource("model_cards/spaces/user_study")
COMMAND = ["-m", "dataset_builders.commands.main", "user-study"]


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def study(tmp_path):
    make_study(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The study that is served: everybody judges the first history, whose next one comes only where it is skipped."""
    folder = tmp_path_factory.mktemp("served") / "study"
    make_study(folder, raters=100, per_annotator=1)
    return folder


@pytest.fixture(scope="module")
def served(asked, project):
    """The page by `mender user-study`, in a process of its own; the address."""
    environment = os.environ | {"PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1"}
    with served_app([*COMMAND, asked], asked.parent, environment) as address:
        yield address


@pytest.fixture
def rows_of(asked):
    """The answers of some annotators to the study that is served."""
    return lambda *names: [row for row in read_rows(asked) if row["annotator"] in names]


@pytest.fixture
def visit(browser, served):
    """Opens the page in a window of its own; none may complain, ask another host, or run what a text holds."""
    contexts, errors, foreign = [], [], []

    def open_page(context=None, width=1280):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": 844})
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda sent: foreign.append(sent.url) if not sent.url.startswith(local) else None)
        page.goto(served)
        return page

    local = (served, "data:", "blob:")
    yield open_page
    for page in (page for context in contexts for page in context.pages):
        assert page.evaluate("window.hacked") is None
    for context in contexts:
        context.close()
    assert errors == [] and foreign == []


def start(page, name):
    page.get_by_label("Pseudonym").fill(name)
    page.get_by_role("button", name="Start").click()
    is_at(page, 1)


def is_at(page, number):
    from playwright.sync_api import expect

    expect(page.locator(".progress")).to_contain_text(f"page {number} of 4")


def choose(page, question, answer):
    page.get_by_role("group", name=re.compile(re.escape(QUESTIONS[question]))).get_by_label(answer, exact=True).check()


def go_on(page):
    page.get_by_role("button", name="Next").click()


def judge(page, verdicts):
    """Answers the pages of a history: a verdict on each preference, and one on the next purchase."""
    *of_preferences, of_match = verdicts
    for number, verdict in enumerate(of_preferences, 1):
        is_at(page, number)
        choose(page, "informed", "Yes")
        choose(page, "accurate", verdict)
        go_on(page)
    is_at(page, len(verdicts))
    choose(page, "related", of_match)
    go_on(page)


def test_two_annotators_judge_and_their_agreement_is_reported(visit, rows_of, tmp_path, capsys):
    from playwright.sync_api import expect

    ann, bob = visit(), visit()
    start(ann, "Ann ")
    start(bob, "bob")
    for page, verdicts in ((ann, ("Yes", "No", "Yes", "Yes")), (bob, ("Yes", "No", "Too little information", "No"))):
        judge(page, verdicts)
        expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    rows = rows_of("ann", "bob")
    given = {(one["annotator"], one["question"]): [] for one in rows}
    for one in rows:
        assert (one["kind"], one["user_id"], one["position"], one["domain"]) == ("person", "u0", 3, "toy")
        given[one["annotator"], one["question"]].append(one["answer"])
    assert given == {
        ("ann", "informed"): ["yes"] * 3,
        ("bob", "informed"): ["yes"] * 3,
        ("ann", "accurate"): ["yes", "no", "yes"],
        ("bob", "accurate"): ["yes", "no", "cannot_tell"],
        ("ann", "related"): ["yes"],
        ("bob", "related"): ["no"],
    }
    AnswerFile(tmp_path).append(rows)
    assert report_study.main([str(tmp_path), "--output_dir", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    accurate = report["domains"]["toy"]["people"]["accurate"]
    assert (report["people"], report["answers"], accurate["overlaps"], accurate["share"]) == (2, 14, 3, 0.5)
    # 1 - (2 / 6) / (22 / 30): one of three pairs differs; of six values, three yes, two no, one cannot tell
    assert accurate["alpha"] == pytest.approx(1 - (2 / 6) / (22 / 30), abs=1e-4)
    assert "2 people and 0 models gave 14 answers" in capsys.readouterr().out


def test_who_reloads_goes_on_and_another_pseudonym_begins(visit, rows_of):
    from playwright.sync_api import expect

    page = visit()
    start(page, "cid")
    choose(page, "informed", "No")
    choose(page, "accurate", "No")
    go_on(page)
    is_at(page, 2)
    page.reload()
    is_at(page, 2)
    expect(page.locator(".progress")).to_contain_text("cid")
    page.get_by_role("button", name="Another pseudonym").click()
    start(page, "dee")
    assert (len(rows_of("cid")), len(rows_of("dee"))) == (2, 0)


def test_what_is_missing_is_said_and_nothing_is_stored(visit, rows_of):
    from playwright.sync_api import expect

    page = visit()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("Please choose a pseudonym")
    start(page, "eve")
    choose(page, "informed", "Yes")
    go_on(page)
    expect(page.get_by_role("alert")).to_contain_text("Please answer every question")
    is_at(page, 1)
    assert rows_of("eve") == []


def test_a_history_can_be_skipped(visit, rows_of):
    from playwright.sync_api import expect

    page = visit()
    start(page, "fay")
    expect(page.locator(".history")).to_contain_text("Pine Soap 0")
    page.get_by_role("button", name="Skip this history").click()
    expect(page.locator(".history")).to_contain_text("Pine Soap 1")
    assert [(one["question"], one["answer"], one["user_id"]) for one in rows_of("fay")] == [
        ("scenario", "skipped", "u0")
    ]


def test_the_keyboard_is_enough(visit, rows_of):
    page = visit()
    page.get_by_label("Pseudonym").focus()
    page.keyboard.type("gus")
    page.keyboard.press("Enter")
    for number in (1, 2):
        is_at(page, number)
        page.wait_for_function("document.activeElement.type == 'radio' && !document.activeElement.checked")
        for number_answered, key in enumerate("12", start=1):
            page.keyboard.press(key)
            checked = "document.querySelectorAll('#questions input:checked').length"
            page.wait_for_function(f"{checked} == {number_answered}")
        page.keyboard.press("Enter")
    is_at(page, 3)
    assert [one["answer"] for one in rows_of("gus")] == ["yes", "no"] * 2


def test_texts_of_others_are_shown_as_they_are(visit):
    from playwright.sync_api import expect

    page = visit()
    start(page, "<i>ann</i>")
    expect(page.locator(".history")).to_contain_text("<script>window.hacked = 1</script>")
    expect(page.locator(".history")).to_contain_text("${window.hacked = 1} {{ 7 * 7 }}")
    expect(page.locator(".preference")).to_contain_text("<img src=x onerror='window.hacked = 1'>")
    expect(page.locator(".progress")).to_contain_text("<i>ann</i>")
    judge(page, ("Yes", "Yes", "Yes", "Yes"))


def test_a_phone_shows_all_questions_on_one_screen_and_nothing_sticks_out(visit):
    page = visit(width=390)
    start(page, "hal")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for shown in (*page.locator("#questions label:has(input)").all(), page.locator("#next")):
        box = shown.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 36
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844


# -- answers on the Hub -----------------------------------------------------------------------------------------------

ANSWER_ONCE = """
import json, runpy, sys
from pathlib import Path

app = runpy.run_path(sys.argv[1])
answers = app["open_answers"](Path(sys.argv[2]), "org/answers")
step = answers.next_step("ann")
print(json.dumps([step.scenario, step.preference]))
answers.submit("ann", step, {"informed": "yes", "accurate": "no"})
"""


def run_on(hub, home, code, *words, token="hf_writer"):
    """Runs code in a process of its own, whose clients speak to the Hub."""
    return server().run(code, *words, environment=hub.environment(home, token), cwd=SPACE.parents[2])


def test_answers_reach_a_private_dataset_and_a_new_machine_goes_on(tmp_path):
    with FakeHub() as hub:
        for number in range(2):
            make_study(tmp_path / f"machine{number}")  # nothing is left of the first
            done = run_on(hub, tmp_path / "home", ANSWER_ONCE, SPACE / "app.py", tmp_path / f"machine{number}")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout.splitlines()[-1]) == [0, number]
        repo = hub.repo("dataset", "org/answers")
        files = repo.find("main").files
        assert repo.private and len([path for path in files if re.fullmatch(r"answers/\w+\.jsonl", path)]) == 2
        assert b"answers/*.jsonl" in files["README.md"]
        report = "from dataset_builders.commands.report_study import main; raise SystemExit(main(['org/answers']))"
        done = run_on(hub, tmp_path / "other_home", report)
        assert "1 person and 0 models gave 4 answers" in done.stdout, done.stderr


def test_a_space_that_is_stopped_sends_its_last_answers(browser, study, tmp_path, project):
    with FakeHub() as hub:
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(project)}
        with served_app([*COMMAND, study, "--answers", "org/answers"], tmp_path, environment) as address:
            page = browser.new_page()
            page.goto(address)
            start(page, "ann")
            choose(page, "informed", "Yes")
            choose(page, "accurate", "Yes")
            go_on(page)
            is_at(page, 2)
            page.close()
        stored = [
            content
            for path, content in hub.repo("dataset", "org/answers").find("main").files.items()
            if path.endswith(".jsonl")
        ]
        assert [content.count(b"\n") for content in stored] == [2]


def test_without_the_right_to_write_nobody_is_asked(tmp_path):
    make_study(tmp_path / "study")
    with FakeHub() as hub:
        hub.create_repo("dataset", "org/answers")
        done = run_on(hub, tmp_path / "home", ANSWER_ONCE, SPACE / "app.py", tmp_path / "study", token="hf_reader")
        assert done.returncode != 0 and "403" in done.stderr and done.stdout == ""


# -- as a Space -------------------------------------------------------------------------------------------------------


def publish(folder, study, *words):
    command = ["user_study", "--repo_id", "org/study", "--study", str(study), "--answers", "org/answers", "--dry_run"]
    return publish_space.main([*command, "--output_dir", str(folder), *words])


def test_the_space_has_its_study_and_needs_none_of_our_packages(study, tmp_path):
    assert publish(tmp_path / "space", study) == 0
    folder = tmp_path / "space"
    assert (folder / "study.json").read_bytes() == (study / "study.json").read_bytes()
    assert json.loads((folder / "settings.json").read_text()) == {"answers": "org/answers"}
    code = (
        "import os, runpy, sys\n"
        "sys.path.insert(0, os.path.dirname(sys.argv[1]))\n"
        "app = runpy.run_path(sys.argv[1])\n"
        "arguments = app['parse_arguments']([])\n"
        "page = app['Page'](app['open_answers'](arguments.study, None))\n"
        "print(type(page.blocks).__name__, arguments.answers, 'dataset_builders' in sys.modules)\n"
    )
    assert run_fresh(code, [folder / "app.py"]).split()[-3:] == ["Blocks", "org/answers", "False"]
    for path in folder.glob("*.py"):
        assert "dataset_builders" not in path.read_text(), path.name
    assert publish(folder, study, "--overwrite") == 0  # it knows all of its files


def test_the_front_matter_is_a_gradio_space_that_starts_this_app():
    card = SpaceCard.load(SPACE / "README.md").data
    assert (card.sdk, card.app_file) == ("gradio", "app.py")
    assert len(card.to_dict()["short_description"]) <= 60  # the Hub takes no more


def test_the_requirements_name_every_library_that_is_imported(study, tmp_path):
    assert publish(tmp_path / "space", study) == 0
    folder, imported = tmp_path / "space", set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    required = {re.split("[>=<]", line)[0] for line in (SPACE / "requirements.txt").read_text().split()}
    assert imported - set(sys.stdlib_module_names) - {path.stem for path in folder.glob("*.py")} == required


def test_a_space_without_study_or_answers_or_of_restricted_reviews_is_refused(study, tmp_path, capsys):
    def refused(*words):
        assert publish_space.main(["user_study", "--repo_id", "org/study", "--dry_run", *map(str, words)]) == 1
        return capsys.readouterr().err

    assert "needs --study" in refused()
    assert "--answers (None) must be org/name" in refused("--study", study)
    assert "mender draw-study" in refused("--study", tmp_path, "--answers", "org/answers")
    value = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(value | {"source": "yelp"}))
    assert "pass --private" in refused("--study", study, "--answers", "org/answers")
    assert publish(tmp_path / "space", study, "--private") == 0


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--port", "99999"], "must be in 1..65535"), (["--answers", "mine"], "--answers ('mine') must be org/name")],
)
def test_bad_options_end_in_one_line(study, capsys, words, said):
    assert user_study.main([str(study), *words]) == 1
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(study, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert user_study.main([str(study), "--port", str(port)]) == 1
    assert f"--port ({port}) is taken; give another one" in capsys.readouterr().err


def test_a_folder_that_is_no_study_and_a_broken_answer_end_in_one_line(study, tmp_path, capsys):
    assert user_study.main([str(tmp_path)]) == 1
    assert "make the folder with mender draw-study" in capsys.readouterr().err
    (study / "answers").mkdir()
    (study / "answers/mine.jsonl").write_text("{}\n")
    assert user_study.main([str(study)]) == 1
    assert "mine.jsonl, line 1 is no answer of a user study" in capsys.readouterr().err
