"""The leaderboard: what is collected and what is marked, what stands beside what, and the page in a browser."""

import json
import re
import shutil

import pytest
import yaml
from huggingface_hub import errors
from leaderboard_world import (
    BENCHMARK,
    DATA_COMMIT,
    FINGERPRINTS,
    MODEL,
    OLD_COMMIT,
    RANKS,
    ROWS,
    TASKS,
    benchmark_files,
    make_report,
    make_results,
    use_memory_hub,
    write_benchmark,
    write_results,
)

from dataset_builders.commands import leaderboard as make_leaderboard
from dataset_builders.commands import submit as submit_to_leaderboard
from dataset_builders.hub_http import httpx
from dataset_builders.leaderboard import collection
from dataset_builders.leaderboard.collection import collect_hub, collect_local, make_record, mark_stale
from dataset_builders.leaderboard.page import make_tables, render_page
from dataset_builders.resources import resource

KEYS = (
    "model method domain axis title metric value std num_seeds without_preference baselines interval num_rows "
    "fingerprint revision date url approximator stale"
).split()


@pytest.fixture
def memory(monkeypatch, tmp_path):
    return use_memory_hub(monkeypatch, tmp_path / "cache")


def entry(task, value, revision=DATA_COMMIT, benchmark=BENCHMARK, **more):
    return {"dataset": {"id": benchmark, "task_id": task, "revision": revision}, "value": value, **more}


def entry_files(*entries, **more):
    apart = json.loads(json.dumps(entries, allow_nan=False))  # else YAML writes an alias of what occurs twice
    return {".eval_results/any.yaml": yaml.safe_dump(apart), **more}


def record(model, value, axis="fine", domain="toy", **more):
    return {**make_record(model, domain, axis, value, "2026-11-20"), "fingerprint": "f", "num_rows": 3, **more}


def axes_of(records, model):
    return [item["axis"] for item in records if item["model"] == model]


def test_a_local_result_gives_a_record_per_axis(tmp_path):
    write_results(tmp_path / "scores" / "mine", make_results())
    records = collect_local([tmp_path / "scores"])
    assert {item["axis"] for item in records} == set(ROWS)
    (fine,) = (item for item in records if item["axis"] == "fine")
    assert list(fine) == KEYS
    date, interval = fine.pop("date"), fine.pop("interval")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date) and 0 <= interval[0] <= 1 / 3 <= interval[1] <= 1
    assert fine == {
        "model": "mine",
        "method": "my_method",
        "domain": "toy",
        "axis": "fine",
        "title": "Fine-grained steering",
        "metric": "recall@10",
        "value": 1 / 3,
        "std": None,
        "num_seeds": 1,
        "without_preference": 0.0,
        "baselines": {},
        "num_rows": 3,
        "fingerprint": FINGERPRINTS["toy_fine"],
        "revision": DATA_COMMIT,
        "url": None,
        "approximator": "metadata",
        "stale": False,
    }


def test_a_method_without_a_sentiment_figure_has_no_record_of_it(tmp_path):
    ranks = {**RANKS, "sentiment": (None, None, None)}
    write_results(tmp_path / "mine", make_results(ranks))
    assert axes_of(collect_local([tmp_path]), "mine") == ["recommendation", "fine"]


RANKS_OF_SEEDS = [{**RANKS, "fine": (ranks, [0, 0, 0], None)} for ranks in ([1, 0, 0], [1, 2, 0], [1, 2, 3])]


def write_seeds(folder, seeds=(0, 1, 2), **changes):
    """A results.json per seed, with recall@10 of 1/3, 2/3 and 1 on the fine axis."""
    for place, (seed, ranks) in enumerate(zip(seeds, RANKS_OF_SEEDS, strict=False)):
        arguments = {"mixture": "pos", "seed": seed, "output_dir": f"seed_{place}"}
        write_results(folder / f"seed_{place}", make_results(ranks, seed=seed, arguments=arguments, **changes))


def fine_of(records):
    return {item["model"]: item for item in records if item["axis"] == "fine"}


def test_results_that_differ_in_their_seed_alone_are_one_row(tmp_path):
    write_seeds(tmp_path / "scores" / "mine")
    write_results(tmp_path / "scores" / "other", make_results(method="other"))
    alone = [fine_of(collect_local([path]))["my_method"] for path in sorted((tmp_path / "scores/mine").iterdir())]
    records = collect_local([tmp_path / "scores"])
    found = fine_of(records)
    assert set(found) == {"mine", "other"}
    # by hand: the mean of 1/3, 2/3 and 1; squared distances 1/9 + 0 + 1/9, halved, root of 1/9
    assert found["mine"]["value"] == pytest.approx(2 / 3) and found["mine"]["std"] == pytest.approx(1 / 3)
    assert found["mine"]["num_seeds"] == 3 and found["mine"]["without_preference"] == 0.0
    assert found["mine"]["interval"] == [alone[0]["interval"][0], alone[2]["interval"][1]]
    page = render_page(records, resource("model_cards/spaces/leaderboard/index.html"))
    assert "0.6667\n" in page and "± 0.3333, 3 seeds" in page and page.count("A figure over several seeds") == 1
    single = render_page([found["other"]], resource("model_cards/spaces/leaderboard/index.html"))
    assert "over several seeds" not in single and "±" not in single


@pytest.mark.parametrize(
    ("seeds", "path", "value", "first"),
    [
        ((0, 0, 1), ("num_beams",), None, ["mine/seed_0", "mine/seed_1"]),
        ((None, None, None), ("num_beams",), None, ["mine/seed_0", "mine/seed_1"]),
        ((0, 1, 2), ("axes", "fine", "num_rows"), 6, ["mine/seed_0", "mine/seed_1"]),
        ((0, 1, 2), ("arguments", "learning_rate"), 0.5, ["mine"]),
        ((0, 1, 2), ("num_beams",), 5, ["mine"]),
    ],
    ids=["a seed twice", "no seed", "other rows", "another argument", "other beams"],
)
def test_results_that_differ_in_more_or_less_than_their_seed_stay_apart(tmp_path, seeds, path, value, first):
    write_seeds(tmp_path / "mine", seeds)
    file = tmp_path / "mine/seed_2/results.json"
    results = json.loads(file.read_text())
    change(results, path, value)
    file.write_text(json.dumps(results))
    assert list(fine_of(collect_local([tmp_path]))) == [*first, "mine/seed_2"]


def test_rows_over_seeds_whose_common_name_is_taken_keep_the_names_of_their_folders(tmp_path):
    write_seeds(tmp_path / "mine")
    write_results(tmp_path / "mine", make_results(method="other"))
    assert set(fine_of(collect_local([tmp_path]))) == {"mine", "mine/seed_0", "mine/seed_1", "mine/seed_2"}


def test_models_of_several_folders_keep_different_names(tmp_path):
    for name in ("first", "second"):
        write_results(tmp_path / name / "mine", make_results(method=name))
    found = {item["model"] for item in collect_local([tmp_path / "first", tmp_path / "second", tmp_path / "first"])}
    assert found == {"first/mine", "second/mine"}


def test_a_broken_local_result_is_skipped_aloud(tmp_path, caplog):
    write_results(tmp_path / "good", make_results())
    write_results(tmp_path / "validation", make_results(split="validation"))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "results.json").write_text('{"method": ')
    assert {item["model"] for item in collect_local([tmp_path])} == {"good"}
    assert "half/results.json: the file is no JSON" in caplog.text and "validation/results.json: split" in caplog.text


@pytest.mark.parametrize(("folder", "said"), [("missing", "does not exist"), ("empty", "no results.json below")])
def test_a_folder_without_results_is_named(tmp_path, folder, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=said):
        collect_local([tmp_path / folder])


def test_what_was_submitted_is_collected(memory, tmp_path):
    file = write_results(tmp_path / "mine", make_results(), RANKS)
    arguments = [str(file), "--model", MODEL, "--benchmark", BENCHMARK, "--date", "2026-11-20", "--no_pr"]
    assert submit_to_leaderboard.main(arguments) == 0
    records = collect_hub(BENCHMARK)
    local = {item["axis"]: item for item in collect_local([tmp_path])}
    assert len(records) == len(local) == 3
    for item in records:
        own = {"model": MODEL, "date": "2026-11-20", "url": f"https://hub.invalid/{MODEL}"}
        assert item == {**local[item["axis"]], **own}


def test_an_entry_alone_knows_its_rows_by_the_revision(memory):
    memory.set_model("a/bare", entry_files(entry(TASKS[1], 0.25, date="2026-01-02")))
    (bare,) = collect_hub(BENCHMARK, ["a/bare"])
    assert (bare["fingerprint"], bare["num_rows"], bare["value"]) == (FINGERPRINTS["toy_fine"], 3, 0.25)
    assert (bare["method"], bare["without_preference"], bare["interval"]) == ("", None, None)
    assert bare["date"] == "2026-01-02"


def test_a_results_file_that_says_another_value_adds_nothing(memory):
    results = json.dumps(make_results())
    memory.set_model("a/other", entry_files(entry(TASKS[1], 0.25), **{"results/toy.json": results}))
    (item,) = collect_hub(BENCHMARK, ["a/other"])
    assert item["method"] == "" and item["interval"] is None


@pytest.mark.parametrize(
    "item",
    [
        entry(TASKS[1], 0.5, benchmark="cais/hle"),
        entry("toy_fine_ndcg_at_10", 0.5),
        entry("fine_recall_at_10", 0.5),
        entry(TASKS[1], 33.3),
        entry(TASKS[1], "0.5"),
        entry(TASKS[1], None),
        entry(TASKS[1], True),
    ],
    ids=["other benchmark", "other metric", "no domain", "percent", "text", "null", "true"],
)
def test_an_entry_that_is_no_score_of_ours_is_left_out(memory, item):
    memory.set_model("a/odd", entry_files(item, entry(TASKS[0], 0.5)))
    assert axes_of(collect_hub(BENCHMARK, ["a/odd"]), "a/odd") == ["recommendation"]


@pytest.mark.parametrize(
    "more", [{"revision": 7}, {"revision": ["x"]}, {"source": "text"}, {"date": 2026}], ids=lambda more: str(more)
)
def test_an_odd_field_of_an_entry_breaks_nothing(memory, more):
    memory.set_model("a/odd", entry_files({**entry(TASKS[1], 0.5), **more}, entry(TASKS[0], 0.5, **more)))
    assert len(mark_stale(collect_hub(BENCHMARK), BENCHMARK)) == 2


def test_a_submitted_file_with_odd_values_adds_nothing(memory, caplog):
    results = make_results()
    results["benchmark"]["fingerprints"]["toy_fine"] = ["unhashable"]
    memory.set_model("a/odd", entry_files(entry(TASKS[1], 1 / 3), **{"results/toy.json": json.dumps(results)}))
    (item,) = collect_hub(BENCHMARK, ["a/odd"])
    assert item["method"] == "" and item["fingerprint"] == FINGERPRINTS["toy_fine"]
    assert "must be 32 hexadecimal digits" in caplog.text


@pytest.mark.parametrize("again", [0.5, 0.75])
def test_a_task_that_is_listed_twice_stands_once(memory, caplog, again):
    files = entry_files(entry(TASKS[1], 0.5), entry(TASKS[1], again))
    files[".eval_results/other.yaml"] = yaml.safe_dump([entry(TASKS[1], again, OLD_COMMIT)])
    memory.set_model("a/twice", files)
    assert [item["value"] for item in collect_hub(BENCHMARK, ["a/twice", "a/twice"])] == [0.5]
    assert f"skipped: {TASKS[1]} of a/twice/.eval_results/any.yaml is listed again, {again} after 0.5" in caplog.text
    assert f"a/twice/.eval_results/other.yaml is listed again, {again} after 0.5" in caplog.text


def test_a_model_that_cannot_be_read_is_skipped_unless_it_was_named(memory, caplog):
    memory.set_model("a/good", entry_files(entry(TASKS[1], 0.25)))
    memory.set_model("a/broken", {".eval_results/x.yaml": "{"})
    assert axes_of(collect_hub(BENCHMARK), "a/good") == ["fine"]
    assert "skipped: a/broken" in caplog.text
    with pytest.raises(ValueError, match="a/broken/.eval_results/x.yaml"):
        collect_hub(BENCHMARK, ["a/broken"])


def test_scores_of_other_rows_than_todays_are_marked(memory):
    then = benchmark_files(fingerprints={**FINGERPRINTS, "toy_fine": "rows of then"})
    memory.repos[("dataset", BENCHMARK)] = {OLD_COMMIT: then, DATA_COMMIT: benchmark_files()}
    memory.set_model(
        MODEL, entry_files(entry(TASKS[1], 0.3, OLD_COMMIT), entry(TASKS[0], 0.3, OLD_COMMIT), entry(TASKS[2], 0.3))
    )
    memory.set_model("a/none", entry_files(entry(TASKS[1], 0.9, None)))
    memory.set_model("a/wrong", entry_files(entry(TASKS[1], 0.9, "f" * 40)))
    records = mark_stale(collect_hub(BENCHMARK), BENCHMARK)
    assert {(item["model"], item["axis"]) for item in records if item["stale"]} == {
        (MODEL, "fine"),
        ("a/none", "fine"),
        ("a/wrong", "fine"),
    }
    fine = [table for table in make_tables(records) if table["axis"] == "fine"]
    assert all(table["stale"] for table in fine) and len(fine) == 2


def test_a_part_of_the_rows_is_not_the_benchmark(tmp_path):
    results = make_results()
    results["axes"]["fine"]["num_rows"] = 6
    write_results(tmp_path / "scores" / "part", results)
    records = mark_stale(collect_local([tmp_path / "scores"]), str(write_benchmark(tmp_path / "benchmark")))
    assert [item["axis"] for item in records if item["stale"]] == ["fine"]


def test_a_domain_that_the_benchmark_lacks_is_marked(tmp_path):
    benchmark = str(write_benchmark(tmp_path / "benchmark"))
    assert mark_stale([record("a", 0.5, domain="beauty")], benchmark)[0]["stale"]


def test_equal_scores_share_a_rank_and_other_rows_have_a_table_of_their_own():
    records = [record("a", 0.2), record("b", 0.3), record("c", 0.3), record("d", 0.9, fingerprint="g", num_rows=2)]
    first, second = make_tables(records)
    assert [(item["rank"], item["model"]) for item in first["entries"]] == [(1, "b"), (1, "c"), (3, "a")]
    assert [item["model"] for item in second["entries"]] == ["d"]


def test_tables_come_by_domain_and_axis_and_stale_ones_last_of_their_axis():
    records = [
        record("a", 0.1, "history"),
        record("a", 0.1, "fine", stale=True),
        record("a", 0.1, "fine"),
        record("a", 0.1, "recommendation", domain="beauty"),
    ]
    assert [(table["domain"], table["axis"], table["stale"]) for table in make_tables(records)] == [
        ("beauty", "recommendation", False),
        ("toy", "fine", False),
        ("toy", "fine", True),
        ("toy", "history", False),
    ]


def test_the_bar_is_in_percent_of_the_largest_figure():
    (table,) = make_tables([record("a", 0.2, interval=[0.1, 0.4]), record("b", 0.0)])
    assert [item["bar"] for item in table["entries"]] == [[25.0, 50.0, 100.0], [0.0, 0.0, 0.0]]


BASELINES = {"constant_list": {"recall@10": 0.25}, "history_only": {"recall@10": 0.5}, "<b>": {"recall@10": 1.0}}


def test_baselines_of_the_results_are_rows_without_a_rank(tmp_path):
    results = make_results()
    results["axes"]["fine"]["baselines"] = BASELINES
    write_results(tmp_path / "mine", results)
    records = collect_local([tmp_path])
    assert {item["axis"]: item["baselines"] for item in records}["fine"] == {
        "constant_list": 0.25,
        "history_only": 0.5,
    }
    (fine,) = (table for table in make_tables(records) if table["axis"] == "fine")
    assert [row["title"] for row in fine["baselines"]] == ["history only", "constant list"]
    assert [entry["rank"] for entry in fine["entries"]] == [1]
    page = render_page(records, resource("model_cards/spaces/leaderboard/index.html"))
    assert page.count('<tr class="baseline">') == 2 and "Rows in grey need no training" in page
    assert "<b>:" not in page and ">history only<" in page


@pytest.mark.parametrize(("stated", "shown"), [({}, 0.9), ({"history_only": 0.5}, 0.5)])
def test_a_baseline_that_was_scored_as_a_method_stands_in_grey_alone(stated, shown):
    records = [record("a", 0.8, baselines=stated), record("b/history_only", 0.9, method="history_only")]
    (table,) = make_tables(records)
    assert [(item["rank"], item["model"]) for item in table["entries"]] == [(1, "a")]
    assert [(row["title"], row["value"]) for row in table["baselines"]] == [("history only", shown)]
    (alone,) = make_tables(records[1:])
    assert alone["entries"] == [] and alone["baselines"][0]["bar"] == 100.0


def test_without_baselines_the_page_has_no_line_of_them(tmp_path):
    page = render_page([record("a", 0.5)], resource("model_cards/spaces/leaderboard/index.html"))
    assert "Rows in grey" not in page and '<tr class="baseline">' not in page


def test_baselines_of_the_benchmark_s_report_count_before_those_of_a_submission(memory):
    report = json.loads(make_report().to_json())
    report["baselines"] = {"fine": {"constant_list": {"recall@10": 0.125, "ndcg@10": 0.1}}}
    memory.repos[("dataset", BENCHMARK)][DATA_COMMIT]["reports/toy.json"] = json.dumps(report)
    results = make_results()
    results["axes"]["fine"]["baselines"] = BASELINES
    memory.set_model("a/mine", entry_files(entry(TASKS[1], 1 / 3), **{"results/toy.json": json.dumps(results)}))
    memory.set_model("a/bare", entry_files(entry(TASKS[1], 0.25)))
    records = collect_hub(BENCHMARK, ["a/mine", "a/bare"])
    assert [item["baselines"] for item in records] == [{"constant_list": 0.125}] * 2
    assert records[0]["method"] == "my_method"


def test_everything_on_the_page_is_escaped_and_only_web_addresses_are_links():
    evil = "<script>alert(1)</script>\"'"
    fields = {"method": evil, "fingerprint": evil, "date": evil, "approximator": evil}
    records = [
        record(evil, 0.5, url="javascript:alert(1)", **fields),
        record("b", 0.4, url='https://x/"><b>', **fields),
    ]
    page = render_page(records, resource("model_cards/spaces/leaderboard/index.html"), evil)
    assert "alert(1)&lt;/<wbr>script&gt;" in page and page.count("<wbr>") == 1
    assert page.count("<script>") == 1 and "alert(1)</script>" not in page
    assert "javascript:" not in page and "&lt;script&gt;" in page
    assert re.findall(r"<a [^>]*>", page) == ['<a href="https://x/&#34;&gt;&lt;b&gt;" rel="nofollow noopener">']


def test_the_page_needs_nothing_from_elsewhere():
    page = render_page([record("a", 0.5)], resource("model_cards/spaces/leaderboard/index.html"))
    assert not re.search(r"""<link|src=|@import|url\(|https?://""", page)
    assert "default-src 'none'" in page


def test_the_command_writes_page_records_and_the_readme_of_a_static_space(memory, tmp_path, capsys):
    memory.set_model("a/bare", entry_files(entry(TASKS[1], 0.25)))
    write_results(tmp_path / "scores" / "mine", make_results())
    arguments = [str(tmp_path / "scores"), "--benchmark", BENCHMARK, "--output_dir", str(tmp_path / "out")]
    assert make_leaderboard.main(arguments) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "index.html",
        "leaderboard.json",
    ]
    records = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert {item["model"] for item in records} == {"mine", "a/bare"} and list(records[0]) == KEYS
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])
    assert front["sdk"] == "static" and front["datasets"] == [BENCHMARK] and "leaderboard" in front["tags"]
    assert "4 scores (0 of other rows) of 2 models in 3 tables" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to collect"),
        (["--models", "a/b"], "--benchmark org/name"),
        (["--benchmark", "missing"], "missing is no local directory"),
        (["--benchmark", BENCHMARK, "--models", "a/b"], "model a/b does not exist"),
    ],
)
def test_the_command_says_what_it_lacks(memory, tmp_path, capsys, arguments, said):
    assert make_leaderboard.main([*arguments, "--output_dir", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err


def test_an_empty_leaderboard_is_a_page_too(memory, tmp_path):
    assert make_leaderboard.main(["--benchmark", BENCHMARK, "--output_dir", str(tmp_path / "out")]) == 0
    assert "There is no score yet." in (tmp_path / "out" / "index.html").read_text()


@pytest.fixture
def page(tmp_path):
    """A page of two domains in a real browser, which may not reach for anything."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no Chromium found on the PATH")
    records = [
        record("org/first", 0.3, method="zebra", without_preference=0.1, interval=[0.2, 0.4]),
        record("org/second", 0.2, method="aardvark", without_preference=None),
        record("org/third", 0.1, method="lynx", without_preference=0.25),
        record("org/first", 0.5, domain="beauty"),
    ]
    file = tmp_path / "index.html"
    file.write_text(render_page(records, resource("model_cards/spaces/leaderboard/index.html")), encoding="utf-8")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.said, opened.asked_for = [], []
        opened.on("console", lambda message: opened.said.append(message.text))
        opened.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.on("request", lambda request: opened.asked_for.append(request.url))
        opened.goto(file.as_uri())
        yield opened
        browser.close()


def order(page):
    return [
        text.split("/")[1].split()[0] for text in page.locator("section").nth(1).locator("td.model").all_inner_texts()
    ]


def test_a_click_on_a_header_sorts_the_table_and_says_so(page):
    headers = page.locator("section").nth(1).locator("th")
    assert order(page) == ["first", "second", "third"] and headers.nth(0).get_attribute("aria-sort") == "ascending"
    headers.nth(2).locator("button").click()  # method
    assert order(page) == ["second", "third", "first"]
    assert headers.nth(2).get_attribute("aria-sort") == "ascending"
    assert headers.nth(0).get_attribute("aria-sort") is None
    headers.nth(2).locator("button").click()
    assert order(page) == ["first", "third", "second"]
    headers.nth(3).locator("button").focus()
    page.keyboard.press("Enter")
    assert order(page) == ["first", "second", "third"]
    assert headers.nth(3).get_attribute("aria-sort") == "descending"
    assert page.said == []


def test_a_missing_figure_stays_at_the_end_in_either_direction(page):
    button = page.locator("section").nth(1).locator("th button").nth(4)  # without preference
    button.click()
    assert order(page) == ["third", "first", "second"]
    button.click()
    assert order(page) == ["first", "third", "second"]


def test_the_choice_of_a_domain_hides_the_others_and_stays_in_the_address(page):
    page.select_option("#domain", "toy")
    assert [section.is_visible() for section in page.locator("section").all()] == [False, True]
    assert page.url.endswith("#toy")
    page.reload()
    assert [section.is_visible() for section in page.locator("section").all()] == [False, True]
    page.select_option("#domain", "")
    assert all(section.is_visible() for section in page.locator("section").all())


def test_the_page_fits_a_phone_and_asks_for_nothing_else(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert len(page.asked_for) == 1 and page.said == []


BOMB = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n"
BROKEN_ENTRIES = {
    "aliases": BOMB,
    "nested": "[" * 2000,
    "large": "# " + "x" * 1_000_000,
    "repeated key": "- {dataset: {id: a, id: b, task_id: t}, value: 1}",
    "no number": yaml.safe_dump([entry(TASKS[1], 0.5)]).replace("0.5", ".nan"),
    "many": yaml.safe_dump([{"dataset": {"id": "a", "task_id": "t"}, "value": 1}]) * 501,
    "python": "- !!python/object/apply:os.system [ls]",
    "a mapping": "a: 1",
    "an impossible date": "- {dataset: {id: a, task_id: t}, value: 1, date: 2026-99-99}",
}


@pytest.mark.parametrize("text", BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES)
def test_a_broken_file_of_a_stranger_is_skipped_and_named(memory, caplog, text):
    memory.set_model("a/good", entry_files(entry(TASKS[1], 0.25)))
    memory.set_model("a/half", entry_files(entry(TASKS[0], 0.5), **{".eval_results/b.yaml": text}))
    found = collect_hub(BENCHMARK)
    assert (axes_of(found, "a/good"), axes_of(found, "a/half")) == (["fine"], ["recommendation"])
    assert "skipped: a/half/.eval_results/b.yaml" in caplog.text


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.ConnectError("gone"), OSError("disk"), ValueError("odd"), "404"]
)
def test_a_repository_that_cannot_be_reached_stops_no_other(memory, caplog, monkeypatch, error):
    memory.set_model("a/good", entry_files(entry(TASKS[1], 0.25)))
    memory.set_model("a/slow", entry_files(entry(TASKS[1], 0.25)))
    info = memory.model_info

    def model_info(name):
        if name == "a/slow":
            raise memory._refusal(errors.RepositoryNotFoundError, name) if error == "404" else error
        return info(name)

    monkeypatch.setattr(memory, "model_info", model_info)
    assert axes_of(collect_hub(BENCHMARK), "a/good") == ["fine"]
    assert "skipped: a/slow" in caplog.text


def test_a_large_file_is_not_downloaded(memory, caplog, monkeypatch):
    memory.set_model("a/large", entry_files(entry(TASKS[1], 1 / 3), **{"results/toy.json": "{" + " " * 10_000_000}))
    asked, download = [], memory.hf_hub_download
    monkeypatch.setattr(
        memory, "hf_hub_download", lambda *words, **more: asked.append(words) or download(*words, **more)
    )
    assert [item["method"] for item in collect_hub(BENCHMARK)] == [""]
    assert ("a/large", "results/toy.json") not in asked and "10,000,001 bytes" in caplog.text


def test_a_domain_that_is_none_and_a_revision_that_is_no_commit_break_nothing(memory):
    odd = [entry(f"{domain}_fine_recall_at_10", 0.5) for domain in ("ünï", "a__b", "../x", "x" * 200, "")]
    memory.set_model("a/odd", entry_files(*odd, entry(TASKS[1], 0.5, "../../main", date={"a": 1})))
    (item,) = collect_hub(BENCHMARK)
    assert (item["revision"], item["date"]) == (None, "")


def test_a_model_under_two_spellings_stands_once(memory, monkeypatch):
    memory.set_model("a/Mine", entry_files(entry(TASKS[1], 0.25)))
    info = memory.model_info
    monkeypatch.setattr(memory, "model_info", lambda name: info("a/Mine" if name.casefold() == "a/mine" else name))
    assert axes_of(collect_hub(BENCHMARK, ["a/Mine", "A/mine", "a/mine"]), "a/Mine") == ["fine"]


def test_the_same_results_in_two_folders_stand_once(tmp_path, caplog):
    for name in ("first", "second"):
        write_results(tmp_path / name, make_results())
    assert {item["model"] for item in collect_local([tmp_path])} == {"first"}
    assert "second/results.json, which holds the same results" in caplog.text


def test_files_given_one_by_one_are_named_by_their_folders(tmp_path):
    files = [write_results(tmp_path / name / "run", make_results(method=name)) for name in ("first", "second")]
    assert {item["model"] for item in collect_local(files)} == {"first/run", "second/run"}
    assert {item["model"] for item in collect_local(files[:1])} == {"first"}


def test_refused_results_alone_are_no_leaderboard(tmp_path, capsys):
    write_results(tmp_path / "scores", make_results(split="validation"))
    assert make_leaderboard.main([str(tmp_path / "scores"), "--output_dir", str(tmp_path / "out")]) == 1
    assert "no score of" in capsys.readouterr().err
    assert not (tmp_path / "out" / "index.html").exists()


def change(results, path, value):
    for key in path[:-1]:
        results = results[key]
    results[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("axes", "fine", "with_preference", "recall@1"), 2 / 3, "must not be above that at 10"),
        (("axes", "fine", "with_preference", "ndcg@10"), 1.0, "must not be above recall@10"),
        (("axes", "fine", "with_preference", "recall@10"), 0.4, "a share of 3 rows"),
        (("axes", "fine", "with_preference", "recall@10"), 1.5, "a finite number from 0 to 1"),
        (("axes", "fine", "num_rows"), True, "a count of at least 1"),
        (("axes", "fine", "title"), ["x"], "axes.fine.title"),
        (("k",), [1, 10, 10], "counts that differ"),
        (("benchmark", "options"), [1], "must be an object"),
    ],
)
def test_figures_that_no_ranking_has_are_refused(tmp_path, caplog, path, value, said):
    results = make_results()
    change(results, path, value)
    write_results(tmp_path / "mine", results)
    assert collect_local([tmp_path]) == [] and said in caplog.text


def test_foreign_names_reach_the_records_as_one_line(tmp_path, caplog):
    write_results(tmp_path / "mine", make_results(method="red\x1b[31m\n# head" + "x" * 1000))
    (method,) = {item["method"] for item in collect_local([tmp_path])}
    assert method.startswith("red[31m # head") and len(method) < 250


def test_a_flood_of_entries_makes_no_more_records_and_reads_than_the_limits(memory, caplog, monkeypatch):
    invented = [entry(f"d{number}_fine_recall_at_10", 0.5, f"{number:040x}") for number in range(400)]
    again = [entry(TASKS[1], 0.5, f"{number:040x}") for number in range(50)]
    reports = []
    read = collection.read_report
    monkeypatch.setattr(collection, "read_report", lambda *where: reports.append(where) or read(*where))
    memory.set_model("a/flood", entry_files(*invented, *again, entry(TASKS[0], 0.5), entry(TASKS[2], 0.5, None)))
    assert axes_of(collect_hub(BENCHMARK, max_revisions=2), "a/flood") == ["fine", "recommendation"]
    assert len(reports) == 2
    said = [line.getMessage() for line in caplog.records if "skipped: " in line.getMessage()]
    assert f"skipped: 400 entries of a/flood, whose domain {BENCHMARK} does not have" in said
    assert "skipped: 1 entries of a/flood, beyond the 2 revisions of a model (--max_revisions)" in said
    assert "skipped: 39 entries of a/flood, which are no shares or are listed again" in said and len(said) == 13
    assert axes_of(collect_hub(BENCHMARK, max_records=1), "a/flood") == ["fine"]
    assert "beyond the 1 records of a model (--max_records)" in caplog.text
    with pytest.raises(ValueError, match="max_records .0. must be an integer of at least 1"):
        collect_hub(BENCHMARK, max_records=0)


@pytest.mark.parametrize("huge", ["0x" + "f" * 5000, "9" * 290, "1" + ":1" * 500])
def test_a_value_or_a_date_of_many_digits_is_one_line(memory, capsys, caplog, huge):
    text = yaml.safe_dump([entry(TASKS[0], 0.5, date="HUGE"), entry(TASKS[1], "HUGE")]).replace("HUGE", huge)
    memory.set_model("a/huge", {".eval_results/x.yaml": text})
    assert axes_of(collect_hub(BENCHMARK), "a/huge") == ["recommendation"]
    assert "Logging error" not in capsys.readouterr().err
    assert all(len(line.getMessage()) < 300 for line in caplog.records) and "which is no day" in caplog.text


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_the_readme_of_another_is_never_replaced(tmp_path, name, capsys):
    write_results(tmp_path / "scores" / "mine", make_results())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / name).write_text("my own")
    words = [str(tmp_path / "scores"), "--output_dir", str(tmp_path / "own")]
    assert make_leaderboard.main(words) == 1
    assert f"holds {name} and no leaderboard.json" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "own").iterdir()] == [name]
    (tmp_path / "own" / name).unlink()
    assert make_leaderboard.main(words) == make_leaderboard.main(words) == 0  # its own page is replaced
