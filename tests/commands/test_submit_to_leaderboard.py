"""A score onto the leaderboard: what is refused and why, what is sent, and what an existing entry becomes."""

import json
import math
from dataclasses import replace

import pyarrow as pa
import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries
from leaderboard_world import (
    BENCHMARK,
    DATA_COMMIT,
    FINGERPRINTS,
    LEFT_OUT,
    MODEL,
    OLD_COMMIT,
    RANKS,
    TASKS,
    benchmark_files,
    make_ranks,
    make_report,
    make_results,
    use_memory_hub,
    write_benchmark,
    write_results,
)

from dataset_builders.building.publication import evaluation_tasks
from dataset_builders.commands import submit as submit_to_leaderboard
from dataset_builders.leaderboard.hub import Benchmark
from dataset_builders.leaderboard.submission import compare, make_entries, merge, parse_entries
from dataset_builders.leaderboard.validation import check_benchmark, check_figures, check_ranks, task_id
from dataset_builders.scoring.figures import score_axes
from dataset_builders.scoring.results import InvalidResults, Results

TARGET = ".eval_results/pref-discerning_toy.yaml"


@pytest.fixture
def memory(monkeypatch, tmp_path):
    return use_memory_hub(monkeypatch, tmp_path / "cache")


@pytest.fixture
def results_file(tmp_path):
    return write_results(tmp_path / "mine", make_results(), RANKS)


def submit(file, *options, benchmark=BENCHMARK):
    known = {"--model": MODEL, "--benchmark": str(benchmark), "--date": "2026-11-20"}
    words = [word for name, value in known.items() if name not in options for word in (name, value)]
    return submit_to_leaderboard.main([str(file), *words, *options])


def benchmark(**changes):
    return Benchmark(BENCHMARK, DATA_COMMIT, make_report(**changes), frozenset(TASKS))


def change(results, path, value):
    """Sets a field by its dotted name, or takes it out where the value is `...`."""
    *parents, last = path.split(".")
    for name in parents:
        results = results[name]
    if value is ...:
        del results[last]
    else:
        results[last] = value


def read(content):
    return Results.from_json(content, "results.json")


def objections(content):
    try:
        return " ".join(check_figures(read(content)))
    except InvalidResults as error:
        return " ".join(error.problems)


def test_sound_results_meet_no_objection():
    results = read(make_results())
    assert check_figures(results) == check_benchmark(results, benchmark()) == check_ranks(results, make_ranks()) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("method", ..., ["method is missing"]),
        ("axes", [], ["axes ([])", "an object"]),
        ("axes", {}, ["axes is empty"]),
        ("split", "validation", ["split ('validation')", "'test'", "--split test"]),
        ("domain", "a-b", ["'a-b'", "ASCII"]),
        ("k", [1, 5], ["fine.with_preference.recall@5 is missing", "recall@10 (0.333", "does not follow from k"]),
        ("k", [10, 0], ["k ([10, 0])", "counts"]),
        ("k", [10, "5"], ["k ([10, '5'])", "counts"]),
        ("benchmark.revision", 7, ["benchmark.revision (7) must be a text"]),
        ("benchmark.fingerprints", ["a"], ["benchmark.fingerprints (['a']) must be an object"]),
        (
            "benchmark.fingerprints.toy_fine",
            ["a"],
            ["benchmark.fingerprints.toy_fine (['a']) must be 32 hexadecimal digits"],
        ),
        ("axes.taste", {}, ["axes.taste", "recommendation"]),
        ("axes.fine", 3, ["axes.fine (3)", "object"]),
        ("axes.fine.num_rows", True, ["axes.fine.num_rows (True)", "at least 1"]),
        ("axes.fine.num_rows", 0, ["axes.fine.num_rows (0)"]),
        ("axes.fine.with_preference", None, ["axes.fine.with_preference is missing, and has intervals"]),
        ("axes.fine.with_preference", "high", ["axes.fine.with_preference ('high')"]),
        ("axes.fine.with_preference.recall@10", ..., ["recall@10 is missing"]),
        ("axes.fine.with_preference.recall@10", math.nan, ["axes.fine.with_preference.recall@10 (nan)", "finite"]),
        ("axes.fine.with_preference.ndcg@10", math.inf, ["ndcg@10 (inf)", "from 0 to 1"]),
        ("axes.fine.without_preference.recall@1", 33.3, ["without_preference.recall@1 (33.3)", "from 0 to 1"]),
        ("axes.fine.without_preference.recall@1", "0.3", ["recall@1 ('0.3')"]),
        ("axes.fine.unseen.with_preference.recall@10", -0.1, ["axes.fine.unseen.with_preference.recall@10 (-0.1)"]),
        ("axes.fine.unseen", [1], ["axes.fine.unseen ([1])"]),
        ("axes.fine.intervals.with_preference.recall@10", [0.5, 0.9], ["[0.5, 0.9]", "around its figure (0.333"]),
        ("axes.fine.intervals.with_preference.recall@10", [0.9, 0.1], ["the lower one first"]),
        ("axes.fine.intervals.with_preference.recall@10", [0.1, math.nan], ["two finite numbers"]),
        ("axes.fine.intervals.with_preference.recall@10", 0.1, ["two finite numbers"]),
        ("axes.sentiment.with_preference.m@10", ..., ["axes.sentiment.with_preference.m@10 is missing"]),
    ],
)
def test_a_broken_file_is_refused_with_field_value_and_limit(path, value, said):
    results = make_results()
    change(results, path, value)
    problems = objections(results)
    for part in said:
        assert part in problems


def test_a_leaderboard_asks_for_its_cut_off_and_for_the_figures_of_rows_with_a_history():
    results = make_results()
    for name in ("unseen", "intervals"):
        results["axes"]["fine"][name]["with_preference"] = None
    results["axes"]["fine"]["with_preference"] = None
    assert "axes.fine.with_preference is missing; a method that reads no preference" in objections(results)
    shallow = Results.from_json(make_results(), "results.json")
    shallow = replace(shallow, k=(1,), axes=score_axes(make_ranks(), [1], resamples=50))
    assert check_figures(shallow) == [
        "k ([1]) must have 10 among them, by which every axis is ranked; score again with mender evaluate."
    ]


@pytest.mark.parametrize("content", ["[]", '"text"', "null", "3"])
def test_a_file_that_is_no_object_is_refused(content):
    assert "not an object" in objections(content)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("axes.fine", ..., ["axes.fine is missing", "3 rows", "--axes"]),
        ("axes.fine.num_rows", 2, ["axes.fine.num_rows (2) must be 3", "--max_rows"]),
        (
            "benchmark.fingerprints.toy_fine",
            "0" * 32,
            [f"toy_fine ('{'0' * 32}') must be {FINGERPRINTS['toy_fine']}", "--revision"],
        ),
        ("benchmark.fingerprints.toy_items", ..., ["toy_items (missing)"]),
        ("benchmark.fingerprints", None, ["toy_recommendation (missing)"]),
        (
            "axes.coarse",
            {"num_rows": 1},
            ["coarse.num_rows (1) must be 0", "'toy_coarse_recall_at_10' is not in eval"],
        ),
    ],
)
def test_results_of_other_rows_than_the_benchmarks_are_refused(path, value, said):
    results = make_results()
    change(results, path, value)
    problems = " ".join(check_benchmark(read(results), benchmark()))
    for part in said:
        assert part in problems


def test_an_axis_that_the_results_name_as_left_out_may_be_missing():
    results = make_results(left_out={**LEFT_OUT, "fine": "my method cannot"})
    del results["axes"]["fine"]
    assert check_benchmark(read(results), benchmark()) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("axes.fine.with_preference.recall@10", 0.34, "recall@10 (0.34) must be 0.3333333333333333"),
        ("axes.fine.with_preference.recall@10", 1 / 3 + 1e-8, "must be 0.3333333333333333"),
        ("axes.sentiment.with_preference.m@10", 1.0, "m@10 (1.0) must be 0.5"),
        ("axes.fine.unseen.with_preference.ndcg@10", 0.9, "axes.fine.unseen.with_preference.ndcg@10 (0.9)"),
        ("axes.fine.unseen.without_preference", None, "without_preference (missing) does not go with rows.parquet"),
        (
            "axes.sentiment.without_preference",
            {f"{kind}@{k}": 0.0 for kind in ("recall", "ndcg", "m") for k in (1, 10)},
            "which has none of these ranks",
        ),
        ("axes.fine.num_rows", 4, "holds 3 rows of fine, 3 of them different, and must hold 0 to 3"),
    ],
)
def test_figures_that_do_not_follow_from_the_ranks_are_refused(path, value, said):
    results = make_results()
    change(results, path, value)
    assert said in " ".join(check_ranks(read(results), make_ranks()))


def test_a_row_that_counts_twice_is_noticed():
    ranks = make_ranks()
    rows = ranks.column("row").to_pylist()
    rows[5] = 0  # the second of fine
    twice = ranks.set_column(1, ranks.schema.field("row"), pa.array(rows, pa.int32()))
    assert "3 rows of fine, 2 of them different" in check_ranks(read(make_results()), twice)[0]


def test_a_figure_within_the_tolerance_passes():
    results = make_results()
    results["axes"]["fine"]["with_preference"]["recall@10"] += 1e-12
    assert check_ranks(read(results), make_ranks()) == []


def test_every_objection_is_listed_and_nothing_is_sent(memory, tmp_path, capsys):
    results = make_results()
    del results["axes"]["recommendation"]
    results["axes"]["fine"]["with_preference"]["recall@10"] = 2 / 3
    results["axes"]["fine"]["intervals"] = {}
    results["benchmark"]["fingerprints"]["toy_sentiment"] = "0" * 32
    assert submit(write_results(tmp_path / "broken", results, RANKS)) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line[:2] for line in said] == ["- ", "- ", "- ", "er"]
    for part, line in zip(
        ["axes.recommendation is missing", "toy_sentiment", "(0.6666666666666666) must be"], said, strict=False
    ):
        assert part in line
    assert "objections: 3; nothing was sent" in said[-1]
    assert memory.commits == []


@pytest.mark.parametrize(
    ("options", "results", "said"),
    [
        (
            (),
            {"benchmark": {"revision": OLD_COMMIT, "fingerprints": FINGERPRINTS}},
            "names that revision (0000",
        ),
        (("--revision", "v9"), {}, "dataset org/pref-discerning has no revision 'v9'"),
        (("--date", "20.11.2026"), {}, "'20.11.2026'"),
        (("--model", "mine"), {}, "--model ('mine') must be org/name"),
        (("--model", "me/missing"), {}, "model me/missing does not exist"),
        (("--benchmark", "org/missing"), {}, "dataset org/missing does not exist"),
        (("--benchmark", "missing"), {}, "missing is no local directory"),
        ((), {"domain": "beauty"}, "domain 'beauty'; it has toy"),
    ],
)
def test_what_does_not_exist_is_named(memory, tmp_path, capsys, options, results, said):
    assert submit(write_results(tmp_path / "mine", make_results(**results)), *options) == 1
    assert said in capsys.readouterr().err
    assert memory.commits == []


@pytest.mark.parametrize(("text", "said"), [("{", "no JSON"), ("[]", "not an object"), (None, "is no file")])
def test_a_file_that_cannot_be_read_is_named(memory, tmp_path, capsys, text, said):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    assert submit(tmp_path / "results.json") == 1
    assert said in capsys.readouterr().err


def test_a_benchmark_without_tasks_is_named(memory, results_file, capsys):
    for text in (None, "tasks: [1]", "{"):
        files = {**benchmark_files(), "eval.yaml": text}
        memory.repos[("dataset", BENCHMARK)] = {
            DATA_COMMIT: {path: text for path, text in files.items() if text is not None}
        }
        assert submit(results_file) == 1
        assert "eval.yaml" in capsys.readouterr().err


def test_a_submission_is_a_pull_request_with_entries_and_the_whole_file(memory, results_file, capsys):
    assert submit(results_file, "--source_url", "https://x.invalid/run", "--notes", "beam 20") == 0
    (commit,) = memory.commits
    assert commit["create_pr"] and commit["model"] == MODEL and commit["parent_commit"] == "1" * 40
    assert set(commit["files"]) == {TARGET, "results/toy.json"}
    sent, written = json.loads(commit["files"]["results/toy.json"]), json.loads(results_file.read_text())
    assert sent.pop("digest") != written.pop("digest") and sent == {**written, "model": MODEL}
    entries = parse_eval_result_entries(yaml.safe_load(commit["files"][TARGET]))
    assert [(entry.task_id, entry.value) for entry in entries] == [
        ("toy_recommendation_recall_at_10", 0.5),
        ("toy_sentiment_m_at_10", 0.5),
        ("toy_fine_recall_at_10", 1 / 3),
    ]
    assert entries[0] == EvalResultEntry(
        BENCHMARK, TASKS[0], 0.5, DATA_COMMIT, None, "2026-11-20", "https://x.invalid/run", notes="beam 20"
    )
    shown = capsys.readouterr().out
    assert commit["files"][TARGET] in shown and "| toy_fine_recall_at_10 | 0.3333 | new |" in shown
    assert "pull request: https://hub.invalid/me/my-model/discussions/1" in shown


def test_a_dry_run_shows_the_same_and_sends_nothing(memory, results_file, capsys):
    assert submit(results_file, "--dry_run") == 0
    shown = capsys.readouterr().out
    assert TARGET in shown and "results/toy.json" in shown and "task_id: toy_fine_recall_at_10" in shown
    assert "nothing was sent (--dry_run)" in shown and memory.commits == []


def test_a_local_benchmark_serves_for_a_dry_run_alone(memory, results_file, tmp_path, capsys):
    folder = write_benchmark(tmp_path / "pref-discerning")
    memory.repos.clear()  # not asked for anything
    assert submit(results_file, "--dry_run", benchmark=folder) == 0
    assert TARGET in capsys.readouterr().out
    assert submit(results_file, benchmark=folder) == 1
    assert "local directory" in capsys.readouterr().err


def test_results_without_a_revision_are_checked_against_the_newest_commit(memory, tmp_path):
    results = make_results()
    results["benchmark"]["revision"] = None
    assert submit(write_results(tmp_path / "mine", results)) == 0
    (entry, *_) = yaml.safe_load(memory.commits[0]["files"][TARGET])
    assert entry["dataset"] == {"id": BENCHMARK, "task_id": TASKS[0], "revision": DATA_COMMIT}


def test_results_of_an_older_revision_are_checked_against_that_one(memory, tmp_path, results_file, capsys):
    changed = benchmark_files(fingerprints={**FINGERPRINTS, "toy_fine": "rows of today"})
    memory.repos[("dataset", BENCHMARK)] = {DATA_COMMIT: benchmark_files(), "e" * 40: changed}
    assert submit(results_file, "--dry_run") == 0
    assert submit(results_file, "--dry_run", "--revision", "main") == 1
    assert "must be rows of today" in capsys.readouterr().err


def test_a_method_that_reads_no_preference_is_submitted_without_sentiment(memory, tmp_path, capsys):
    ranks = {**RANKS, "sentiment": (None, None, None)}
    assert submit(write_results(tmp_path / "mine", make_results(ranks), ranks)) == 0
    entries = yaml.safe_load(memory.commits[0]["files"][TARGET])
    assert [entry["dataset"]["task_id"] for entry in entries] == TASKS[:2]
    assert "left out: sentiment: no figure, for my_method reads no preference" in capsys.readouterr().out


def test_the_same_score_twice_is_refused(memory, results_file, capsys):
    assert submit(results_file, "--no_pr") == 0
    assert "commit: https://hub.invalid" in capsys.readouterr().out
    assert submit(results_file) == 1
    shown = capsys.readouterr()
    assert "already submitted" in shown.err and f"already submitted ({TARGET})" in shown.out
    assert len(memory.commits) == 1


def test_scores_that_wait_in_an_open_pull_request_are_refused(memory, results_file, capsys):
    assert submit(results_file) == 0
    memory.waiting[MODEL] = {"refs/pr/7": memory.commits[0]["files"]}
    assert submit(results_file) == 1
    assert "https://hub.invalid/me/my-model/discussions/7" in capsys.readouterr().err
    memory.waiting[MODEL] = {"refs/pr/7": {TARGET: "- nothing"}, "refs/pr/8": {}}  # broken, or of something else
    assert submit(results_file) == 0


def test_another_value_is_an_update_in_the_file_where_the_task_stands(memory, results_file, capsys):
    foreign = {"dataset": {"id": "cais/hle", "task_id": "hle"}, "value": 20.9, "verifyToken": "kept"}
    old = {"dataset": {"id": BENCHMARK, "task_id": TASKS[1], "revision": OLD_COMMIT}, "value": 0.25}
    memory.set_model(
        MODEL, {".eval_results/all.yaml": yaml.safe_dump([foreign, old]), TARGET: yaml.safe_dump([foreign])}
    )
    assert submit(results_file) == 0
    files = memory.commits[0]["files"]
    elsewhere, target = yaml.safe_load(files[".eval_results/all.yaml"]), yaml.safe_load(files[TARGET])
    assert elsewhere[0] == foreign and elsewhere[1]["value"] == 1 / 3 and len(elsewhere) == 2
    assert target[0] == foreign
    assert [entry["dataset"]["task_id"] for entry in target[1:]] == [TASKS[0], TASKS[2]]
    assert f"update of 0.25 at revision {OLD_COMMIT} (.eval_results/all.yaml)" in capsys.readouterr().out


def test_entries_of_the_same_value_stay_as_they_are_and_other_files_are_not_sent():
    entries, _ = make_entries(read(make_results()), BENCHMARK, DATA_COMMIT, "2026-11-20")
    earlier, _ = make_entries(read(make_results()), BENCHMARK, DATA_COMMIT, "2026-01-01")
    files = {"a.yaml": parse_entries(merge(compare(earlier[:1], {}), {}, "a.yaml")["a.yaml"], "a.yaml")}
    changes = compare(entries, files)
    assert [item.kind for item in changes] == ["already submitted", "new", "new"]
    assert set(merge(changes, files, "b.yaml")) == {"b.yaml"}


def test_a_task_that_stands_twice_is_updated_to_stand_once():
    entries, _ = make_entries(read(make_results()), BENCHMARK, DATA_COMMIT, "2026-11-20")
    (one, *_) = parse_entries(merge(compare(entries[:1], {}), {}, "a.yaml")["a.yaml"], "a.yaml")
    for other in (one, {**one, "value": 0.25}):
        files = {"a.yaml": [one, other], "b.yaml": [other]}
        (change,) = compare(entries[:1], files)
        assert change.kind == "update"
        merged = {path: parse_entries(text, path) for path, text in merge([change], files, "c.yaml").items()}
        assert merged == {"a.yaml": [one], "b.yaml": []}


def test_the_same_value_on_another_revision_is_an_update():
    (entry, *_), _ = make_entries(read(make_results()), BENCHMARK, DATA_COMMIT, "2026-11-20")
    old = {"dataset": {"id": BENCHMARK, "task_id": entry.task_id, "revision": OLD_COMMIT}, "value": entry.value}
    (found,) = compare([entry], {"a.yaml": [old]})
    assert found.kind == "update" and OLD_COMMIT in found.said


@pytest.mark.parametrize(
    "text", ["", "{", "a: 1", "- 1", "- value: 1", "- dataset: x\n  value: 1", "- dataset: {id: x}"]
)
def test_an_existing_file_that_is_no_list_of_results_is_not_overwritten(memory, results_file, capsys, text):
    memory.set_model(MODEL, {TARGET: text})
    assert submit(results_file) == 1
    assert f"{MODEL}/{TARGET}" in capsys.readouterr().err
    assert memory.commits == []


def test_the_note_says_where_figures_could_not_be_computed_again(memory, tmp_path, capsys):
    assert submit(write_results(tmp_path / "mine", make_results()), "--dry_run") == 0
    assert "no rows.parquet beside" in capsys.readouterr().out


def test_a_broken_rows_file_is_an_objection(memory, results_file, capsys):
    results_file.with_name("rows.parquet").write_text("no table")
    assert submit(results_file) == 1
    assert "not a readable Parquet file" in capsys.readouterr().err


def test_task_ids_are_those_that_the_benchmark_publishes():
    published = yaml.safe_load(evaluation_tasks([make_report()]))["tasks"]
    assert {task["id"] for task in published} == {task_id("toy", axis) for axis in RANKS} == set(TASKS)


def test_the_file_is_sent_whole_but_for_the_folders_of_the_machine_it_ran_on(memory, results_file):
    results = make_results() | {"arguments": {"output_dir": "/home/me/x", "benchmark": "/data/toy", "seed": 7}}
    results_file.write_text(json.dumps(results))
    assert submit(results_file) == 0
    sent = json.loads(memory.commits[0]["files"]["results/toy.json"])
    assert sent == results | {"model": MODEL, "arguments": {"seed": 7}, "digest": sent["digest"]}


def test_a_model_that_no_leaderboard_would_find_is_told_so(memory, results_file, capsys):
    memory.set_model("a/untagged", {})
    assert submit(results_file, "--dry_run") == 0
    assert "by the tag" not in capsys.readouterr().out
    assert submit(results_file, "--dry_run", "--model", "a/untagged") == 0
    assert "by the tag preference-discerning, which the card of a/untagged lacks" in capsys.readouterr().out
