"""Results as types: what is written is read byte for byte, earlier versions are read, the rest is refused by key."""

import json
import math
from dataclasses import replace

import pytest
from leaderboard_world import make_results

from dataset_builders.scoring.result_parts import (
    AxisResult,
    BenchmarkIdentity,
    Maker,
    Ranking,
    Sides,
    Training,
    Weights,
)
from dataset_builders.scoring.results import InvalidResults, Results

FIGURES = {"recall@5": 0.25, "recall@10": 0.5, "ndcg@5": 0.125, "ndcg@10": 0.25}
INTERVALS = {name: [value / 2, value * 1.5] for name, value in FIGURES.items()}
RESULTS = Results(
    maker=Maker(
        method="mender_tok",
        model="outputs/mine/model",
        weights=Weights(None, "ab" * 32),
        num_beams=39,
        seed=0,
        arguments={"learning_rate": 0.002, "item_fields": ["title"], "cache_dir": None},
        training=Training(12.5, 400, 390),
        ranking=Ranking(0.744, 12),
    ),
    domain="toy",
    split="test",
    date="2026-11-20",
    k=(5, 10),
    depth=29,
    benchmark=BenchmarkIdentity(
        name="outputs/mine/benchmark",
        source="sample",
        approximator="metadata",
        approximator_details={},
        polarity="rating",
        embedding_model="tiny",
        options={"seed": 0},
        fingerprints={"toy_fine": "f1" * 16},
    ),
    axes={"fine": AxisResult("fine", 8, Sides(FIGURES, FIGURES), Sides(FIGURES), Sides(INTERVALS, INTERVALS))},
    left_out={"coarse": "too few items"},
)
WRITTEN = {
    "method": "mender_tok", "model": "outputs/mine/model", "model_revision": None, "weights_sha256": "ab" * 32,
    "num_beams": 39, "seed": 0,
    "arguments": {"learning_rate": 0.002, "item_fields": ["title"], "cache_dir": None},
    "training": {"seconds": 12.5, "steps": 400, "best_step": 390},
    "ranking": {"seconds": 0.744, "num_queries": 12},
    "domain": "toy", "split": "test", "date": "2026-11-20", "k": [5, 10], "depth": 29,
    "benchmark": {
        "name": "outputs/mine/benchmark", "revision": None, "source": "sample", "approximator": "metadata",
        "approximator_details": {}, "polarity": "rating", "embedding_model": "tiny", "options": {"seed": 0},
        "fingerprints": {"toy_fine": "f1" * 16},
    },
    "axes": {
        "fine": {
            "title": "Fine-grained steering", "metric": "recall", "num_rows": 8,
            "with_preference": FIGURES, "without_preference": FIGURES,
            "unseen": {"with_preference": FIGURES, "without_preference": None},
            "intervals": {"with_preference": INTERVALS, "without_preference": INTERVALS},
        },
    },
    "left_out": {"coarse": "too few items"},
}  # fmt: skip


def without(content, *keys):
    return {name: value for name, value in content.items() if name not in keys}


def changed(path, value):
    """The file with one value changed, by its dotted name; `...` takes it out."""
    content = json.loads(json.dumps(WRITTEN))
    *parents, last = path.split(".")
    place = content
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


def test_keys_and_their_order_are_those_of_the_file():
    text = RESULTS.to_json()
    digest = json.loads(text)["digest"]
    assert text == json.dumps({**WRITTEN, "digest": digest}, indent=2) + "\n"


def test_results_that_were_changed_since_are_read_with_a_warning(tmp_path, caplog):
    text = RESULTS.to_json()
    assert Results.from_json(text, "mine") == RESULTS and caplog.text == ""
    changed = text.replace('"depth": ', '"depth": 1')
    assert Results.from_json(changed, "mine").depth != RESULTS.depth
    assert "mine was changed since it was written" in caplog.text


def test_what_is_written_is_read_and_written_again_byte_for_byte(tmp_path):
    path = RESULTS.write(tmp_path / "results.json")
    again = Results.read(path)
    assert again == RESULTS
    assert again.to_json().encode() == path.read_bytes()
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]


def test_the_answers_of_a_run_file_have_no_weights():
    results = replace(RESULTS, maker=Maker("tiger", "my_run.parquet"))
    assert list(json.loads(results.to_json()))[:3] == ["method", "model", "num_beams"]
    assert Results.from_json(results.to_json(), "results.json") == results


def test_the_first_version_wrote_neither_cut_offs_nor_benchmark_nor_intervals():
    old = {
        "method": "mender_tok", "domain": "toy", "split": "test", "num_beams": 20,
        "axes": {
            "fine": {"num_rows": 8, "with_preference": FIGURES, "without_preference": FIGURES},
            "sentiment": {"num_rows": 2, "without_preference": None,
                          "with_preference": FIGURES | {"m@5": 0.0, "m@10": 0.5}},
        },
        "left_out": {},
    }  # fmt: skip
    results = Results.from_json(old, "old")
    assert (results.k, results.table_k) == ((5, 10), 10)
    assert results.benchmark == BenchmarkIdentity()
    assert results.axes["fine"].unseen == results.axes["fine"].intervals == Sides()
    assert [axis.main_value() for axis in results.axes.values()] == [0.5, 0.5]
    assert Results.from_json(results.to_json(), "again") == results


@pytest.mark.parametrize(
    "keys", [("date",), ("depth",), ("model_revision", "weights_sha256"), ("training", "ranking")]
)
def test_what_later_versions_added_may_be_missing(keys):
    assert Results.from_json(without(WRITTEN, *keys), "old").axes == RESULTS.axes


def test_title_and_metric_of_an_axis_may_be_missing_and_are_written_anew():
    content = changed("axes.fine.title", ...)
    del content["axes"]["fine"]["metric"]
    assert Results.from_json(content, "old").to_json() == RESULTS.to_json()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("method", 3, "method (3) must be a text"),
        ("method", "", "method ('') must be a text"),
        ("method", "half \ud800", "method ('half \\ud800') must be a text"),
        ("model", 3, "model (3) must be a text"),
        ("weights_sha256", 3, "weights_sha256 (3) must be a text"),
        ("num_beams", True, "num_beams (True) must be a count of at least 1"),
        ("num_beams", 0, "num_beams (0) must be a count of at least 1"),
        ("num_beams", "20", "num_beams ('20')"),
        ("seed", 1.5, "seed (1.5) must be an integer"),
        ("seed", False, "seed (False) must be an integer"),
        ("arguments", [], "arguments ([]) must be an object"),
        ("arguments.learning_rate", math.nan, "arguments.learning_rate (nan) must be a finite number"),
        ("arguments.item_fields", [1, math.inf], "arguments.item_fields.1 (inf) must be a finite number"),
        ("training", 3, "training (3) must be an object"),
        ("training.seconds", -1, "training.seconds (-1) must be seconds from 0"),
        ("training.seconds", True, "training.seconds (True) must be seconds from 0"),
        ("training.steps", 1.5, "training.steps (1.5) must be a count"),
        ("ranking.seconds", 10**400, "ranking.seconds (1000"),
        ("ranking.num_queries", "12", "ranking.num_queries ('12') must be a count"),
        ("domain", "a-b", "domain ('a-b') must be ASCII letters"),
        ("domain", ["toy"], "domain (['toy']) must be ASCII letters"),
        ("split", "dev", "split ('dev') must be one of train, validation, test"),
        ("date", 20261120, "date (20261120) must be a day as in 2026-11-20"),
        ("depth", -1, "depth (-1) must be a count"),
        ("k", [], "k ([]) must be counts"),
        ("k", 10, "axes.fine.with_preference.recall@5"),
        ("k", "10", "k (['10']) must be counts"),
        ("k", [5, 10.0], "k ([5, 10.0]) must be counts"),
        ("k", [5, True], "k ([5, True]) must be counts"),
        ("k", [5], "axes.fine.with_preference.recall@10 (0.5) does not follow from k"),
        ("k", [5, 10, 20], "axes.fine.unseen.with_preference.ndcg@20 is missing, and follows from k"),
        ("benchmark", "mine", "benchmark ('mine') must be an object"),
        ("benchmark.name", 3, "benchmark.name (3) must be a text"),
        ("benchmark.options", [], "benchmark.options ([]) must be an object"),
        (
            "benchmark.fingerprints.toy_fine",
            None,
            "benchmark.fingerprints.toy_fine (missing) must be 32 hexadecimal digits in lower case",
        ),
        ("axes", {}, "axes is empty"),
        ("axes", [], "axes ([]) must be an object"),
        ("axes.taste", {}, "axes.taste is none of recommendation, "),
        ("axes.fine", None, "axes.fine.num_rows (missing) must be a count"),
        ("axes.fine", 3, "axes.fine (3) must be an object"),
        ("axes.fine.metric", "m", "axes.fine.metric ('m') must be 'recall'"),
        ("axes.fine.num_rows", 8.0, "axes.fine.num_rows (8.0) must be a count"),
        ("axes.fine.num_rows", 2**31, "axes.fine.num_rows (2147483648) must be a count"),
        ("axes.fine.with_preference", [], "axes.fine.with_preference ([]) must be an object"),
        ("axes.fine.with_preference.recall@5", True, "axes.fine.with_preference.recall@5 (True) must be a finite"),
        ("axes.fine.with_preference.recall@5", math.nan, "recall@5 (nan) must be a finite number from 0 to 1"),
        ("axes.fine.with_preference.recall@5", None, "recall@5 (missing) must be a finite number"),
        ("axes.fine.with_preference.m@5", 0.5, "axes.fine.with_preference.m@5 (0.5) does not follow from k"),
        ("axes.fine.unseen.with_preference.recall@5", 1.5, "axes.fine.unseen.with_preference.recall@5 (1.5)"),
        ("axes.fine.intervals.with_preference.recall@5", [0.1], "recall@5 ([0.1]) must be two finite numbers"),
        ("axes.fine.intervals.with_preference.recall@7", [0.1, 0.2], "recall@7 ([0.1, 0.2]) has no figure beside it"),
        ("left_out", ["coarse"], "left_out (['coarse']) must be an object"),
        ("left_out.coarse", 3, "left_out.coarse (3) must be a text"),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_key_value_and_way_out(path, value, said):
    with pytest.raises(InvalidResults) as refused:
        Results.from_json(changed(path, value), "outputs/mine/results.json")
    assert str(refused.value).startswith("outputs/mine/results.json: ")
    assert said in " ".join(refused.value.problems)
    assert all("score again" in problem for problem in refused.value.problems)


@pytest.mark.parametrize("key", ["method", "domain", "split", "axes"])
@pytest.mark.parametrize("content", [lambda key: without(WRITTEN, key), lambda key: {**WRITTEN, key: None}])
def test_a_file_without_what_every_version_wrote_is_refused(key, content):
    with pytest.raises(InvalidResults, match=f"mine: {key} is missing"):
        Results.from_json(content(key), "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the file is no JSON"),
        (b"\xff{}", "the file is no JSON"),
        ("[" * 100_000, "the file is no JSON"),
        (f'{{"k": {"9" * 5000}}}', "the file is no JSON"),
        ('{"method": "a", "method": "b"}', "the key 'method' is set twice"),
        ("[]", "the file holds a list and not an object"),
        ("NaN", "NaN is no finite number"),
    ],
)
def test_text_that_is_no_object_is_refused(text, said):
    with pytest.raises(InvalidResults, match=said):
        Results.from_json(text, "mine")


def test_every_objection_is_listed_and_a_long_list_is_cut_in_the_message():
    content = changed("seed", "one")
    for name in FIGURES:
        content["axes"]["fine"]["with_preference"][name] = 2
        content["axes"]["fine"]["without_preference"][name] = -1
    with pytest.raises(InvalidResults, match="And 4 more") as refused:
        Results.from_json(content, "mine")
    assert len(refused.value.problems) == 9


def test_foreign_text_is_cut_and_escaped_in_a_message():
    content = changed("axes.taste", {})
    content["axes"]["\x1b[31m\ud800" + "x" * 10_000] = {}
    with pytest.raises(InvalidResults) as refused:
        Results.from_json(content, "mine")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 1000


def test_results_that_could_not_be_read_are_not_written(tmp_path):
    odd = replace(RESULTS, k=(5,))
    assert odd.problems()
    with pytest.raises(InvalidResults, match="results.json: axes.fine"):
        odd.write(tmp_path / "results.json")
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_exist_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "results.json"):
        with pytest.raises(FileNotFoundError, match="is no file; pass a results.json"):
            Results.read(path)


def test_figures_are_found_by_side_and_protocol():
    axis = RESULTS.axes["fine"]
    assert axis.figures("without_preference") == FIGURES
    assert axis.figures("without_preference", "unseen") == {}
    assert axis.main_value(k=5) == 0.25
    assert AxisResult("sentiment", 2, Sides({"m@10": 0.5})).main_value() == 0.5
    assert AxisResult("sentiment", 2).main_value("without_preference") is None


@pytest.mark.parametrize(("k", "expected"), [((1, 5, 10, 20), 10), ((1, 5), 5)])
def test_tables_are_at_ten_or_at_the_deepest_cut_off(k, expected):
    assert replace(RESULTS, k=k).table_k == expected


def test_scored_results_are_sound():
    assert Results.from_json(make_results(), "mine").problems() == []
