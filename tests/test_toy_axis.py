"""One more axis, defined here and nowhere else, through everything that knows axes."""

import importlib
import json
import sys

import numpy as np
import pyarrow as pa
import pytest
from benchmark_world import ToySource, hash_embed, item
from datasets import Value

from dataset_builders.benchmark.axes import AXES, Axis, register_axis
from dataset_builders.benchmark.checks import check_benchmark
from dataset_builders.benchmark.schema import SPLITS
from dataset_builders.building.axes.base import as_table, known_targets
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.inputs import UndeclaredRead
from dataset_builders.building.options import BuildOptions
from dataset_builders.commands.leaderboard import LeaderboardArguments, make_leaderboard
from dataset_builders.commands.score import ScoreArguments, score
from dataset_builders.commands.tables import TableArguments, make_tables
from dataset_builders.resources import resource
from modeling_mender.commands.evaluate import EvaluationArguments, evaluate
from modeling_mender.commands.training_run import train_on_benchmark
from modeling_mender.training.arguments import TrainingArguments

NOUNS = "lamp mug vase tray cushion candle soap blanket notebook".split()
calls = []


def target_words(tables):
    """Rows of the toy axis: the first of the five preferences beside the target."""
    calls.append(None)
    splits = {}
    for split, name in enumerate(SPLITS):
        rows = known_targets(tables, split)
        splits[name] = as_table(
            "toy_words",
            {
                "user_id": tables.sequences.user_column(rows),
                "position": tables.sequences.position[rows],
                "history": tables.sequences.histories(rows),
                "preference": pa.array([five[0] for five in tables.preferences.five(rows - 1).to_pylist()]),
                "target": tables.sequences.item_id[rows],
            },
        )
    return splits


def toy_axis(**changes):
    columns = {name: AXES["recommendation"].columns[name] for name in ("user_id", "position", "history")}
    fields = {
        "name": "toy_words",
        "title": "Toy words",
        "description": "the first preference and the history; recommend the next item",
        "columns": {**columns, "preference": Value("string"), "target": Value("int32")},
        "asked": {"": "preference", "no_preference": None},
        "builder": target_words,
        "needs": ("sequences", "preferences"),
        "promises": ("window", "past_preference"),
    }
    return Axis(**fields | changes)


@pytest.fixture
def register():
    """Registers a toy axis for one test."""

    def add(**changes):
        calls.clear()
        AXES.pop("toy_words", None)
        return register_axis(toy_axis(**changes))

    yield add
    AXES.pop("toy_words", None)


def build(folder, cache, name="benchmark", embed=hash_embed, model="hash", **options):
    shop = [item(number, noun.title(), "", ["Shop", noun]) for number, noun in enumerate(NOUNS, 1)]
    users = [np.random.default_rng(user).permutation(9)[:7] + 1 for user in range(12)]
    source = ToySource([user.tolist() for user in users], shop, rating=5.0)
    report = build_benchmark(
        source, "toy", folder / name, embed, cache_dir=cache, embedding_model=model, progress=False,
        options=BuildOptions(min_count=1, **options), overwrite=True,
    )  # fmt: skip
    return folder / name, report


def test_it_is_built_checked_evaluated_and_shown(register, tmp_path, monkeypatch):
    register()
    benchmark, report = build(tmp_path, tmp_path / "cache")
    assert report.rows["toy_toy_words"]["test"] == 12
    assert check_benchmark(benchmark) == []
    assert "toy_toy_words_recall_at_10" in (benchmark / "eval.yaml").read_text()
    assert AXES["toy_words"].description in (benchmark / "README.md").read_text()

    train_on_benchmark(
        TrainingArguments(
            method="most_popular", benchmark=str(benchmark), domain="toy", output_dir=str(tmp_path / "popular")
        )
    )
    out = tmp_path / "results" / "popular"
    by_model = evaluate(
        EvaluationArguments(
            model=str(tmp_path / "popular/model"), benchmark=str(benchmark), domain="toy", output_dir=out
        )
    )
    by_run = score(ScoreArguments(run=out / "run.parquet", benchmark=str(benchmark), domain="toy"))
    assert by_model.axes["toy_words"].num_rows == 12
    assert by_run.axes["toy_words"] == by_model.axes["toy_words"]

    make_tables(TableArguments(folders=[tmp_path / "results"], output_dir=tmp_path / "tables", figures=[]))
    assert "**Toy words**" in (tmp_path / "tables/table_1.md").read_text()
    make_leaderboard(LeaderboardArguments(results=[tmp_path / "results"], output_dir=tmp_path / "board"))
    records = json.loads((tmp_path / "board/leaderboard.json").read_text())
    assert "toy_words" in {record["axis"] for record in records}
    assert "Toy words, recall@10" in (tmp_path / "board/index.html").read_text()

    pytest.importorskip("gradio")
    demo = resource("model_cards/spaces/demo")
    monkeypatch.setattr(sys, "path", [*sys.path, str(demo)])
    shown = importlib.import_module("demo_results")
    assert "Toy words" in [row[0] for row in shown.axes_rows(json.loads((out / "results.json").read_text()))]
    assert shown.axes_of(records)["toy_words"] == "Toy words"


def test_its_rows_are_made_anew_when_what_it_reads_changes_and_only_then(register, tmp_path):
    def changes(**options):
        calls.clear()
        build(tmp_path, tmp_path / "cache", **options)
        return len(calls)

    def other_embed(texts):
        return hash_embed([text[::-1] for text in texts])

    register()
    assert changes() == 1
    assert changes() == 0
    assert changes(embed=other_embed, model="other") == 0  # it reads no embeddings
    assert changes(seed=1) == 0  # nor steering
    assert changes(window=4) == 1
    register(needs=("sequences", "preferences", "matched"))
    assert changes() == 1
    assert changes(embed=other_embed, model="other") == 1


def test_reading_what_it_does_not_declare_is_refused(register, tmp_path):
    register(needs=("sequences",))
    with pytest.raises(UndeclaredRead, match="toy_words reads preferences and declares sequences; declare it"):
        build(tmp_path, tmp_path / "cache")
    register(needs=("sequences", "weather"))
    with pytest.raises(UndeclaredRead, match="reads weather .* a stage can read source, "):
        build(tmp_path, tmp_path / "cache")


def test_reviews_polarity_counts_only_for_those_who_declare_it(register, tmp_path):
    def by_polarity(tables):
        assert set(tables.sequences.polarity.tolist()) <= {-1, 0, 1}
        return target_words(tables)

    register(builder=by_polarity)
    with pytest.raises(UndeclaredRead, match="polarity"):
        build(tmp_path, tmp_path / "cache")
    register(builder=by_polarity, needs=("sequences", "polarity", "preferences"))
    build(tmp_path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "toy words"}, "letters, digits and underscores"),
        ({"asked": {"": "wish"}}, r"lacks the column\(s\) wish"),
        ({"metric": "accuracy"}, "choose among"),
        ({"metric": "m"}, "lacks the variant 'negative' in asked, for its metric"),
        ({"asked": {"": "preference", "negative": "preference"}}, "'negative', which only the metric 'm' reads"),
        ({"metric": "strength"}, "lacks the variant 'weaker'"),
        ({"metric": "avoid"}, "must name the column of a second item in other"),
        ({"other": "target"}, "if and only if its metric is avoid or all; its metric is recall"),
        ({"metric": "all", "other": "target"}, "names target as its second item"),
        ({"asked": {"": None}}, "must ask '' with a column"),
        ({"name": 5}, "letters, digits and underscores"),
        ({"columns": {"preference": Value("string"), "target": Value("int32")}}, "promises the window of a history"),
        (
            {
                "asked": {"": "preference", "no_preference": None, "weaker": "preference", "stronger": "preference"},
                "metric": "strength",
                "strengths": {"weaker": 2.0, "stronger": 0.5},
            },
            "must be finite, above 0 and rise",
        ),
        ({"strengths": {"stronger": 2.0}}, "has a strength of 'stronger', which is not in asked"),
        ({"promises": ("fame",)}, "promises 'fame'"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        toy_axis(**changes)


def test_a_name_is_given_once(register):
    register()
    with pytest.raises(ValueError, match="there is an axis or a table toy_words already"):
        register_axis(toy_axis())
    for name in ("items", "Fine"):
        with pytest.raises(ValueError, match="axis or a table"):
            register_axis(toy_axis(name=name))
