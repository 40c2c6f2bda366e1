"""The demo: its plain functions, what it asks of a model, and the page itself in a real browser."""

import ast
import contextlib
import doctest
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import tiny_models
import torch

pytest.importorskip("gradio", reason="the demo needs gradio: pip install -e '.[demo]'")

import gradio  # noqa: E402
from fresh_process import run_fresh  # noqa: E402
from huggingface_hub import SpaceCard  # noqa: E402
from transformers import pipeline  # noqa: E402
from transformers.pipelines import PIPELINE_REGISTRY  # noqa: E402

import modeling_mender  # noqa: E402
from modeling_mender.hub.model_publication import stage_recommender  # noqa: E402

SPACE = Path(__file__).resolve().parents[1] / "model_cards" / "space"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

specification = importlib.util.spec_from_file_location("mender_space", SPACE / "app.py")
app = importlib.util.module_from_spec(specification)
specification.loader.exec_module(app)


def figures(recall, ndcg):
    return {"recall@10": recall, "ndcg@10": ndcg}


RESULTS = {
    "method": "mender_tok",
    "domain": "toy",
    "split": "test",
    "num_beams": 12,
    "axes": {
        "recommendation": {
            "num_rows": 20,
            "with_preference": figures(0.5, 0.25),
            "without_preference": figures(0.125, 0.0625),
            "intervals": {"with_preference": {"recall@10": [0.375, 0.75]}},
        },
        "sentiment": {
            "num_rows": 8,
            "with_preference": {"m@10": 0.375, **figures(0.5, 0.25)},
            "without_preference": None,
        },
    },
    "left_out": {"fine": "no two items are alike"},
}


def record(model, value, domain="toy", axis="recommendation", **others):
    metric = "m@10" if axis == "sentiment" else "recall@10"
    return {"model": model, "method": "M", "domain": domain, "axis": axis, "metric": metric, "value": value} | others


LEADERBOARD = [
    record("org/second", 0.25, fingerprint="0123456789abcdef"),
    record("org/first", 0.5, url="https://hub.test/org/first", interval=[0.375, 0.75], fingerprint="0123456789abcdef"),
    record("org/first", 0.125, axis="sentiment"),
    record("elsewhere", 0.75, domain="other"),
]


def save_tiny_model(folder):
    """A random model that listens: as it is made, no preference would move an item."""
    model, processor = tiny_models.build("tok", "t5", folder / "parts")
    with torch.no_grad():
        for name, weight in model.decoder.named_parameters():
            if "EncDecAttention" in name:
                weight.mul_(10)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("preference-recommendation", model=str(model_folder))


class Recorder:
    """A pipeline that remembers what it was asked."""

    def __init__(self, pipe):
        self.pipe, self.processor, self.model, self.requests = pipe, pipe.processor, pipe.model, []

    def __call__(self, request, **options):
        self.requests.append(request)
        return self.pipe(request, **options)


def tab_of(pipe):
    with gradio.Blocks():
        return app.RecommendTab(pipe, "org/toy", None)


def titles_in(answer):
    return re.findall(r'class="title">([^<]*)<', answer)


# -- plain functions --------------------------------------------------------------------------------------------------


def test_the_docstrings_of_the_demo_are_true():
    outcome = doctest.testmod(app)
    assert outcome.attempted >= 8
    assert outcome.failed == 0


def test_a_search_finds_every_word_in_any_order_and_gives_no_more_than_asked():
    assert app.search_titles(tiny_models.TITLES, "SOAP blue") == [9]
    assert app.search_titles(tiny_models.TITLES, "tea") == [3, 7, 11]
    assert app.search_titles(tiny_models.TITLES, "", limit=4) == [1, 2, 3, 4]
    assert app.search_titles(tiny_models.TITLES, "velvet") == []
    assert len(app.search_titles([f"mug {n}" for n in range(20_000)], "mug")) == 50


@pytest.mark.parametrize("text", ["0", "13", "-1", "1, two", "1.5", "²"])
def test_ids_outside_the_catalogue_are_refused_by_name(text):
    with pytest.raises(ValueError, match="no item of this catalogue; ids are 1 to 12"):
        app.read_ids(text, num_items=12)


def test_a_comparison_says_new_up_down_and_same():
    def ranking(*ids):
        return [{"item_id": item} for item in ids]

    placed = app.compare_rankings(ranking(5, 9, 1, 4), ranking(1, 4, 5, 8))
    assert [(item["item_id"], item["place"], item["change"]) for item in placed] == [
        (5, 1, 2),
        (9, 2, None),
        (1, 3, -2),
        (4, 4, -2),
    ]
    assert [item["change"] for item in app.compare_rankings(ranking(1, 2), ranking(1, 2))] == [0, 0]
    assert app.summary(placed) == "Your preference changed 4 of 4 places: 1 new, 1 up, 2 down."


def test_what_to_avoid_becomes_a_second_preference_and_empty_texts_none():
    assert app.make_request([1], " Look for tea ", "mugs", False)["preference"] == ["Look for tea", "Avoid mugs"]
    assert app.make_request([1], "", "Don't show mugs", False)["preference"] == ["Don't show mugs"]
    assert app.make_request([1], "  ", "", True) == {"history": [1], "exclude": [1]}
    assert app.make_request([], "Look for tea", "", True) == {"history": [], "preference": ["Look for tea"]}


def test_the_table_of_the_axes_uses_the_main_metric_and_says_what_is_missing():
    assert app.axes_rows(RESULTS) == [
        ["Preference-based recommendation", "recall@10", "0.5000", "0.1250", "0.2500", "0.0625", 20],
        ["Sentiment following", "m@10", "0.3750", "-", "-", "-", 8],
    ]


def test_the_figure_draws_two_bars_per_axis_with_their_values_and_intervals():
    plot = app.axes_figure(RESULTS).axes[0]
    assert [bar.get_width() for bars in plot.containers for bar in bars] == [0.5, 0.375, 0.125, 0.0]
    texts = [text.get_text() for text in plot.texts]
    assert texts[:4] == ["0.500", "0.375", "0.125", "not defined"]
    assert [list(line.get_xdata()) for line in plot.lines] == [[0.375, 0.75]]


def test_the_leaderboard_ranks_within_a_task_and_filters():
    rows = app.leaderboard_rows(LEADERBOARD, domain="toy", axis="recommendation")
    assert [row[:5] for row in rows] == [
        [1, "[org/first](https://hub.test/org/first)", "0.5000", "", "0.3750 to 0.7500"],
        [2, "org/second", "0.2500", "", ""],
    ]
    assert all(len(row) == len(app.LEADERBOARD_HEADERS) == len(app.LEADERBOARD_TYPES) for row in rows)
    assert [row[0] for row in app.leaderboard_rows(LEADERBOARD)] == [1, 1, 2, 1]  # one task after the other
    assert [row[0] for row in app.leaderboard_rows([record("b", 0.5), record("a", 0.5), record("c", 0.25)])] == [
        1,
        1,
        3,
    ]
    assert app.leaderboard_rows(LEADERBOARD, domain="nowhere") == []


def test_a_score_of_a_part_of_the_rows_is_ranked_apart():
    records = [record("part", 0.9) | {"num_rows": 10}, record("whole", 0.5) | {"num_rows": 20}]
    records += [record("old", 0.8) | {"num_rows": 20, "stale": True}]
    rows = app.leaderboard_rows(records)
    assert [(row[0], row[1]) for row in rows] == [(1, "whole"), (1, "part"), (1, "old")]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x) [y](javascript:alert(1)", 'https://x"onclick="y'])
def test_a_submitted_model_cannot_write_links_or_html_of_its_own(url):
    name = app.leaderboard_rows([record("<b>[x](y)", 0.5, url=url)])[0][1]
    assert name == "\\<b\\>\\[x\\](y)"


def test_titles_and_messages_are_escaped():
    item = {"item_id": 1, "title": "<script>tea</script> & co", "score": -1.0}
    assert "<script>" not in app.answer_html([item], [item])
    assert "&lt;script&gt;tea" in app.answer_html(None, [item])
    assert "<b>" not in app.notice("<b>")


# -- what is asked of a model -----------------------------------------------------------------------------------------


def test_both_rankings_are_the_pipelines_own(pipe):
    tab = tab_of(pipe)
    answer, code = tab.recommend([1, 6], "look for blue tea", "", True, 5)
    request = {"history": [1, 6], "exclude": [1, 6]}
    expected = pipe(request | {"preference": ["look for blue tea"]}, k=5) + pipe(request, k=5)
    assert titles_in(answer) == [item["title"] for item in expected]
    assert "Without it" in answer
    assert "look for blue tea" in code


def test_the_request_shown_as_code_is_the_one_that_was_asked(pipe):
    recorder = Recorder(pipe)
    _, code = tab_of(recorder).recommend([1], "look for tea", "mug", False, 3)
    call = ast.parse(code).body[-1].value
    assert ast.literal_eval(call.args[0]) == recorder.requests[-1]
    assert recorder.requests == [{"history": [1]}, {"history": [1], "preference": ["look for tea", "Avoid mug"]}]


def test_what_was_had_comes_back_only_where_it_may(pipe):
    tab = tab_of(pipe)
    excluding, _ = tab.recommend([1, 2], "", "", True, 12)
    assert sorted(titles_in(excluding)) == sorted(tiny_models.TITLES[2:])  # 10 are left, and 12 were asked for
    including, _ = tab.recommend([1, 2], "", "", False, 12)
    assert sorted(titles_in(including)) == sorted(tiny_models.TITLES)
    assert "whole catalogue" in tab.recommend(list(range(1, 13)), "", "", True, 5)[0]


def test_an_empty_request_gets_a_message_and_a_preference_alone_an_answer(pipe):
    tab = tab_of(pipe)
    assert "there is nothing to go by" in tab.recommend([], " ", "", True, 5)[0]
    answer, _ = tab.recommend([], "look for tea", "", True, 5)
    assert len(titles_in(answer)) == 5
    assert "Without a preference and without a history" in answer


def test_errors_of_the_processor_are_shown_as_text(pipe):
    with pytest.warns(UserWarning, match="max_length"):  # outside of a browser, gradio's toast is a Python warning
        answer, _ = tab_of(pipe).recommend([1], "tea " * 100, "", True, 5)
    assert "The model cannot answer this: the preference takes" in answer


def test_a_model_without_preferences_says_so_and_asks_for_a_history():
    from modeling_mender import ItemIdProcessor, SASRec, SASRecConfig

    model = SASRec(SASRecConfig(num_items=12, d_model=8, d_ff=8, num_heads=2)).eval()
    processor = ItemIdProcessor(items=tiny_models.ITEMS)
    pipe = modeling_mender.PreferenceRecommendationPipeline(model=model, processor=processor)
    with gradio.Blocks() as page:
        tab = app.RecommendTab(pipe, "org/sasrec", None)
    labels = {block.label: block for block in page.blocks.values() if isinstance(block, gradio.Textbox)}
    assert "reads no preference" in labels["Preference"].info
    assert not labels["Preference"].interactive
    assert "needs a history" in tab.recommend([], "", "", True, 5)[0]
    assert len(titles_in(tab.recommend([3], "", "", True, 5)[0])) == 5


def test_examples_without_a_file_are_taken_from_the_catalogue():
    examples = app.default_examples(tiny_models.TITLES, preferences=True)
    assert examples[0] == {"name": "The first items of the catalogue", "history": [1, 2, 3]}
    assert [example.get("preference") for example in examples] == [
        None,
        "Look for green tea",
        None,
        "Look for green tea",
    ]
    assert len(app.default_examples(tiny_models.TITLES, preferences=False)) == 1


def test_the_page_is_built_without_results_and_without_a_leaderboard(pipe):
    page = app.build_demo(pipe, None, None, "org/toy")
    texts = "\n".join(block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown))
    assert "brings no results along" in texts
    assert "no leaderboard here" in texts


def test_a_missing_model_an_unpublished_one_and_a_broken_file_end_in_one_line(
    tmp_path, capsys, monkeypatch, model_folder
):
    monkeypatch.delenv("MENDER_MODEL", raising=False)
    assert app.main([]) == 1
    assert "no model is named" in capsys.readouterr().err
    assert app.main(["--model", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    monkeypatch.delitem(PIPELINE_REGISTRY.supported_tasks, "preference-recommendation")
    assert app.main(["--model", str(model_folder)]) == 1
    assert "brings no pipeline along" in capsys.readouterr().err
    broken = tmp_path / "results.json"
    broken.write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        app.read_json(broken)
    assert app.read_json(tmp_path / "absent.json") is None
    assert app.model_file(str(model_folder), "absent.json") is None
    assert app.model_file("org/absent", "results.json") is None  # the Hub is out of reach here


def test_results_lie_beside_a_trained_model_and_under_their_domain_in_a_published_one(tmp_path):
    assert app.model_results(str(tmp_path)) is None
    assert app.model_results("org/absent") is None  # the Hub is out of reach here
    (tmp_path / "results").mkdir()
    (tmp_path / "results/toy.json").write_text("{}")
    assert app.model_results(str(tmp_path)) == tmp_path / "results/toy.json"
    (tmp_path / "results.json").write_text("{}")
    assert app.model_results(str(tmp_path)) == tmp_path / "results.json"


# -- as a Space -------------------------------------------------------------------------------------------------------


def test_the_front_matter_is_a_gradio_space_that_starts_this_app():
    card = SpaceCard.load(SPACE / "README.md").data
    assert (card.sdk, card.app_file) == ("gradio", "app.py")
    assert len(card.to_dict()["short_description"]) <= 60  # the Hub takes no more


def test_the_requirements_name_every_library_that_is_imported():
    required = {re.split("[>=<]", line)[0] for line in (SPACE / "requirements.txt").read_text().split()}
    imported = set()
    for node in ast.walk(ast.parse((SPACE / "app.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"modeling_mender"} <= required
    assert required >= {"gradio", "transformers", "torch"}


def test_a_published_model_is_served_without_our_package(model_folder, tmp_path):
    stage_recommender(model_folder, tmp_path / "published")
    code = (
        "import os, runpy, sys\n"
        "os.environ['MENDER_MODEL'] = sys.argv[2]\n"
        "app = runpy.run_path(sys.argv[1])\n"
        "page = app['load'](app['parse_arguments']([]))\n"
        "print(type(page).__name__, 'modeling_mender' in sys.modules)\n"
    )
    printed = run_fresh(code, [SPACE / "app.py", tmp_path / "published"])
    assert printed.split()[-2:] == ["Blocks", "False"]


# -- in a browser -----------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(url, process, log, seconds=120):
    """Returns when the page answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"no answer from {url} in {seconds} s: {log.read_text()}")


@pytest.fixture(scope="module")
def served(tmp_path_factory, project):
    """The app in a process of its own, as `make demo` starts it; the address."""
    folder = tmp_path_factory.mktemp("served")
    model = save_tiny_model(folder)
    (model / "results.json").write_text(json.dumps(RESULTS))
    (folder / "leaderboard.json").write_text(json.dumps(LEADERBOARD))
    port, log = free_port(), folder / "log.txt"
    command = [sys.executable, SPACE / "app.py", "--model", model, "--leaderboard", folder / "leaderboard.json"]
    environment = os.environ | {"PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_for(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"the browser test needs one of {', '.join(BROWSERS)} on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    """The page, which must not complain, nor ask anything of another host."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors, foreign = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda sent: foreign.append(sent.url) if not sent.url.startswith(local(served)) else None)
    page.goto(served)
    page.get_by_label("Search the catalogue").wait_for()
    yield page
    page.close()
    assert errors == []
    assert foreign == []


def local(served):
    return (served, "data:", "blob:")


def textbox(page, name):
    return page.get_by_role("textbox", name=re.compile(f"^{name}"))


def recommend(page):
    page.get_by_role("button", name="Recommend", exact=True).click()


def pick(page, words):
    """Searches for a title and takes the first match."""
    from playwright.sync_api import expect

    textbox(page, "Search the catalogue").fill("")
    textbox(page, "Search the catalogue").press_sequentially(words)
    match = page.locator("#matches label").first
    expect(match).to_contain_text(words)
    match.click()
    expect(page.locator("#history")).to_contain_text(words)


def test_a_history_and_a_preference_give_two_lists_and_what_moved(page):
    from playwright.sync_api import expect

    pick(page, "green mug")
    pick(page, "red lamp")
    textbox(page, "Preference").fill("look for blue tea")
    recommend(page)
    lists = page.locator(".mender-list")
    expect(lists).to_have_count(2)
    assert lists.nth(0).locator("li").count() == lists.nth(1).locator("li").count() == 10
    assert "With your preference" in lists.nth(0).inner_text()
    marks = lists.nth(0).locator(".move").all_inner_texts()
    assert len(marks) == 10
    assert {mark[0] for mark in marks} >= {"▲", "▼"}, marks
    shown = lists.locator(".title").all_inner_texts()
    assert not {"green mug", "red lamp"} & set(shown)  # the history is excluded by default
    code = request_of(page)
    assert "'history': [8, 2]" in code  # oldest first: as they were picked
    assert "'preference': ['look for blue tea']" in code


def request_of(page):
    """The request, from the fold below the answer; opened once."""
    fold = page.get_by_role("button", name="This request in Python")
    if not page.locator(".cm-content").first.is_visible():
        fold.click()
    page.locator(".cm-content").first.wait_for()
    return page.locator(".cm-content").first.inner_text().replace("\n", "")


def test_something_to_avoid_joins_the_request(page):
    from playwright.sync_api import expect

    pick(page, "green mug")
    textbox(page, "Preference").fill("look for tea")
    textbox(page, "Avoid").fill("red soap")
    recommend(page)
    expect(page.locator(".mender-list")).to_have_count(2)
    assert "['look for tea', 'Avoid red soap']" in request_of(page)


def test_typed_ids_an_example_and_starting_over_fill_and_empty_the_boxes(page):
    from playwright.sync_api import expect

    textbox(page, "Search the catalogue").fill("12, 5")
    textbox(page, "Search the catalogue").press("Enter")
    expect(page.locator("#history")).to_contain_text("blue mug")
    expect(page.locator("#history")).to_contain_text("green soap")
    page.get_by_role("button", name="The same, and a preference").click()
    expect(page.locator(".mender-list")).to_have_count(2)
    expect(textbox(page, "Preference")).to_have_value("Look for green tea")
    expect(page.locator("#history")).not_to_contain_text("blue mug")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".mender-list")).to_have_count(0)
    expect(page.locator("#history")).not_to_contain_text("red soap")


def test_an_empty_request_gets_a_friendly_message(page):
    from playwright.sync_api import expect

    recommend(page)
    expect(page.locator(".mender-notice")).to_contain_text("nothing to go by")


def test_the_other_tabs_show_figures_leaderboard_and_code(page):
    from playwright.sync_api import expect

    page.get_by_role("tab", name="Five axes").click()
    expect(page.locator("#axes-plot img")).to_be_visible()
    expect(page.locator("#axes-table")).to_contain_text("0.3750")
    expect(page.get_by_text("no two items are alike")).to_be_visible()
    page.get_by_role("tab", name="Leaderboard").click()
    table = page.locator("#leaderboard-table")
    expect(table).to_contain_text("elsewhere")  # the first domain by name
    page.get_by_label("Domain").click()
    page.get_by_role("option", name="toy").click()
    expect(table).to_contain_text("org/first")
    expect(table).not_to_contain_text("elsewhere")
    rows = table.get_by_role("row").filter(has_text="org/")
    expect(rows).to_contain_text(["org/first", "org/second"])
    table.get_by_role("columnheader", name="value").get_by_role("button", name="Open cell menu").click()
    page.get_by_role("menuitem", name="Sort ascending").click()
    expect(rows).to_contain_text(["org/second", "org/first"])
    page.get_by_role("tab", name="About").click()
    expect(page.locator(".cm-content").filter(has_text="preference-recommendation").last).to_be_visible()


def test_nothing_sticks_out_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Recommend", "Five axes", "Leaderboard", "About"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, tab
