"""Baselines without training on worlds that the eye can count, and their command, report and texts."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from benchmark_world import hash_embed
from datasets import Value

from dataset_builders.benchmark import baselines
from dataset_builders.benchmark.axes import AXES, Axis
from dataset_builders.benchmark.baselines import BASELINES, Catalog, axis_baselines, nearest, rank_axis
from dataset_builders.benchmark.report import BuildReport, read_report
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands import baselines as command
from dataset_builders.commands.score import ScoreArguments, score
from dataset_builders.scoring.baselines import (
    baselines_table,
    best_baseline,
    main_baselines,
    not_beaten,
    read_baselines,
)
from dataset_builders.scoring.result_parts import AxisResult, Sides
from dataset_builders.scoring.results import Results
from dataset_builders.scoring.runs import Run, write_run

# Four items on the axes of a plane with one corner for each word; "red" and "blue" are at right angles.
WORDS = {"red": [1, 0], "blue": [0, 1], "pink": [0.8, 0.6], "grey": [-1, 0]}
VECTORS = np.array(list(WORDS.values()), np.float32)  # items 1 to 4
CATALOG = Catalog(4, VECTORS, lambda texts: np.array([WORDS[text] for text in texts], np.float32))
FINE = AXES["fine"]


def rows(**columns):
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def lists_of(found):
    """Rankings without their empty places."""
    return [[item for item in row if item > 0] for row in found.items.tolist()]


def toy_axis(metric, asked, other=None):
    columns = {name: Value("string") for name in asked.values() if name}
    columns |= {"target": Value("int32"), **({other: Value("int32")} if other else {})}
    return Axis(
        name="toy", title="Toy", description="", columns=columns, asked=asked, builder="x:y", needs=(),
        metric=metric, other=other,
    )  # fmt: skip


class TestConstantList:
    def test_it_has_the_most_frequent_training_targets_and_the_smaller_id_among_equals(self):
        train = rows(target=[3, 1, 4, 4, 2, 2])
        asked = rows(history=[[1], []], preference=["red", "blue"], target=[2, 3])
        found = rank_axis("constant_list", FINE, asked, train, CATALOG, depth=3)
        assert found.keys() == {"", "no_preference"}
        assert lists_of(found[""]) == lists_of(found["no_preference"]) == [[2, 4, 1], [2, 4, 1]]
        assert found[""].scores[0].tolist() == [2, 2, 1]

    def test_its_recall_is_the_share_of_targets_among_them(self):
        train = rows(target=[1] * 5 + [2] * 3 + [3])
        asked = rows(preference=["red"] * 4, target=[1, 1, 2, 4])
        found = axis_baselines(FINE, asked, train, Catalog(4), [1, 2])
        assert found.keys() == {"constant_list"}  # without vectors nothing else is known
        assert found["constant_list"]["recall@1"] == 0.5 and found["constant_list"]["recall@2"] == 0.75
        assert found["constant_list"]["ndcg@2"] == pytest.approx((2 + 1 / np.log2(3)) / 4)

    def test_a_second_target_counts(self):
        train = rows(target=[1, 1, 3], second=[2, 2, 2], text=["red"] * 3)
        found = rank_axis("constant_list", toy_axis("all", {"": "text"}, "second"), train, train, CATALOG, depth=4)
        assert lists_of(found[""])[0] == [2, 1, 3]

    def test_of_avoidance_it_is_two_lists_that_avoid_the_most_without_reading_anything(self):
        axis = toy_axis("avoid", {"": "text", "no_preference": None}, "second")
        train = rows(target=[1, 1, 3], second=[2, 2, 2], text=["red"] * 3)
        test = rows(target=[4, 4], second=[2, 3], text=["red"] * 2)
        found = rank_axis("constant_list", axis, test, train, CATALOG, depth=4)
        assert lists_of(found["no_preference"])[0] == [2] and lists_of(found[""])[0] == [1]
        assert axis_baselines(axis, test, train, CATALOG, [2])["constant_list"]["avoid@2"] == 0.5

    def test_without_a_training_split_it_is_not_known(self):
        assert axis_baselines(FINE, rows(target=[1]), None, Catalog(4), [1]) == {}


class TestPreferenceOnly:
    def test_items_are_ranked_by_cosine_and_the_history_changes_nothing(self):
        asked = rows(history=[[1], [4]], preference=["red", "red"], target=[1, 1])
        found = rank_axis("preference_only", FINE, asked, None, CATALOG, depth=4)
        assert found.keys() == {""}
        assert lists_of(found[""]) == [[1, 3, 2, 4]] * 2
        assert found[""].scores[0] == pytest.approx([1, 0.8, 0, -1])

    def test_several_preferences_are_one_mean_and_none_is_an_empty_list(self):
        asked = rows(preferences=[["red", "blue"], [], None], history=[[1]] * 3, target=[1, 1, 1])
        found = rank_axis("preference_only", AXES["history"], asked, None, CATALOG, depth=2)
        assert lists_of(found[""]) == [[3, 1], [], []]
        assert found[""].scores[0, 0] == pytest.approx(1.4 / np.sqrt(2))

    def test_a_negative_preference_is_searched_for_like_any_other(self):
        asked = rows(preference_positive=["red"], preference_negative=["grey"], target=[1])
        found = rank_axis("preference_only", AXES["sentiment"], asked, None, CATALOG, depth=1)
        assert lists_of(found[""]) == [[1]] and lists_of(found["negative"]) == [[4]]
        assert axis_baselines(AXES["sentiment"], asked, None, CATALOG, [1])["preference_only"]["m@1"] == 1

    def test_where_the_metric_needs_the_question_without_preference_it_is_answered_by_nothing(self):
        axis = toy_axis("avoid", {"": "text", "no_preference": None}, "second")
        asked = rows(text=["red"], target=[1], second=[4])
        found = rank_axis("preference_only", axis, asked, None, CATALOG, depth=2)
        assert lists_of(found["no_preference"]) == [[]]
        assert axis_baselines(axis, asked, None, CATALOG, [1])["preference_only"]["avoid@1"] == 0


class TestHistoryOnly:
    def test_the_last_item_counts_most_and_the_history_is_left_out(self):
        # 1/2 blue + red points at pink, then red (out), blue (out), grey; the other way round too
        asked = rows(history=[[2, 1], [4], []], preference=["grey"] * 3, target=[1, 1, 1])
        found = rank_axis("history_only", FINE, asked, None, CATALOG, depth=4)
        assert lists_of(found[""]) == [[3, 4], [2, 3, 1], []]
        assert found[""].scores[0, 0] == pytest.approx((0.8 + 0.6 / 2) / np.hypot(1, 0.5))
        assert found["no_preference"] is found[""]

    def test_an_axis_without_histories_is_not_answered(self):
        asked = rows(preference_positive=["red"], preference_negative=["grey"], target=[1])
        assert rank_axis("history_only", AXES["sentiment"], asked, None, CATALOG, depth=4) == {}


def test_the_nearest_items_are_those_of_a_full_sort_block_by_block(monkeypatch):
    generator = np.random.default_rng(0)
    vectors = np.round(generator.normal(size=(5000, 4)), 1).astype(np.float32)  # many ties
    queries = np.round(generator.normal(size=(70, 4)), 1).astype(np.float32)
    monkeypatch.setattr(baselines, "BLOCK_ENTRIES", 5056 * 16)
    row_of, seen = np.repeat(np.arange(70), 2), generator.integers(1, 5001, 140)
    found = nearest(vectors, queries, 30, (row_of, seen))
    scores = queries @ vectors.T
    scores[row_of, seen - 1] = -np.inf
    assert np.array_equal(found.items, np.argsort(-scores, axis=1, kind="stable")[:, :30] + 1)
    assert (np.diff(found.scores) <= 0).all()


def test_an_unknown_baseline_is_named():
    with pytest.raises(ValueError, match="'luck' is unknown; choose one of constant_list, "):
        rank_axis("luck", FINE, rows(target=[1]), None, CATALOG, 1)


def axis_result(value, **values):
    return AxisResult(
        "fine", 4, Sides({"recall@10": value}), baselines={name: {"recall@10": one} for name, one in values.items()}
    )


class TestBesideScores:
    def test_a_score_that_is_not_above_the_best_is_named(self):
        equal = axis_result(0.5, constant_list=0.25, history_only=0.5)
        assert best_baseline(equal) == ("history_only", 0.5)
        (sentence,) = not_beaten({"fine": equal})
        assert sentence == "fine: recall@10 0.5000 does not beat the baseline history only (0.5000)"
        assert not_beaten({"fine": axis_result(0.51, history_only=0.5)}) == []
        assert not_beaten({"fine": equal}, method="constant_list") == []

    def test_without_baselines_there_is_no_line(self):
        axes = {"fine": axis_result(0.5)}
        assert baselines_table(axes) == "" and not_beaten(axes) == [] and best_baseline(axes["fine"]) is None

    @pytest.mark.parametrize(
        "odd", ["x", {"fine": 1}, {"fine": {"constant_list": None}}, {"fine": {"constant_list": {"recall@1": "1"}}}]
    )
    def test_a_report_that_says_odd_things_of_them_says_nothing(self, odd):
        assert read_baselines({"baselines": odd}, FINE, [1]) == {}
        assert read_baselines({}, FINE, [1]) == {}

    def test_a_name_that_is_none_of_ours_is_not_shown(self):
        axes = {"fine": axis_result(0.1, **{"<script>": 1.0, "constant_list": 0.25})}
        assert "script" not in baselines_table(axes) and main_baselines(axes["fine"]) == {"constant_list": 0.25}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "benchmark"
    source = SampleSource(num_items=120, num_users=90)
    return folder, build_benchmark(source, "sample", folder, hash_embed, embedding_model="hashed", progress=False)


@pytest.fixture
def embedder(monkeypatch):
    """Hashed words under the name of the build."""

    def load(name, **rest):
        assert name == "hashed"
        return hash_embed

    monkeypatch.setattr("dataset_builders.building.text_embedding.load_embedder", load)


@pytest.fixture(scope="module")
def scored(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataset_builders.building.text_embedding.load_embedder", lambda name, **rest: hash_embed)
        arguments = [str(built[0]), "--domain", "sample", "--output_dir", str(folder), "--resamples", "20"]
        assert command.main(arguments) == 0
    return folder


def score_popular(built, scored, *, output=None, **more):
    run = scored / "constant_list/run.parquet"
    return score(
        ScoreArguments(
            run=run, name="popular", benchmark=str(built[0]), domain="sample", resamples=20, output_dir=output, **more
        )
    )


@pytest.mark.parametrize(
    ("answers", "axes", "said"),
    [
        ({}, ["fine"], "no query, and there is nothing to score"),
        ({"fine/0": ([1], [1.0])}, ["coarse", "history"], "no query of the axes coarse, history, only of fine"),
    ],
)
def test_a_run_that_answers_nothing_is_refused_and_leaves_no_results(built, tmp_path, answers, axes, said):
    run = tmp_path / "mine.parquet"
    write_run(Run.from_answers(answers), run, 120)
    with pytest.raises(ValueError, match=f"mine.parquet answers {said}"):
        score(
            ScoreArguments(run=run, benchmark=str(built[0]), domain="sample", axes=axes, output_dir=tmp_path / "out")
        )
    assert not list(tmp_path.glob("out/*"))


class TestABuiltBenchmark:
    def test_the_report_has_every_axis_and_survives_its_json(self, built):
        folder, report = built
        assert report.baselines.keys() == {name for name in AXES if f"sample_{name}" in report.rows}
        assert report.baselines["fine"].keys() == set(BASELINES)
        assert report.baselines["sentiment"].keys() == {"constant_list", "preference_only"}
        assert report.baselines["sentiment"]["preference_only"].keys() >= {"m@1", "m@20", "recall@5", "ndcg@10"}
        assert read_report(folder, "sample") == report
        assert "without training, recall@10 of coarse: constant list" in report.summary()

    def test_an_older_report_still_loads(self, built):
        content = json.loads(built[1].to_json())
        del content["baselines"]
        assert BuildReport.from_json(json.dumps(content)).baselines == {}

    def test_the_card_shows_them(self, built):
        folder, report = built
        card = (folder / "README.md").read_text()
        values = [report.baselines["coarse"][name]["recall@10"] for name in BASELINES]
        assert f"| coarse | recall@10 | {' | '.join(f'{value:.4f}' for value in values)} |" in card

    def test_the_command_gives_the_figures_of_the_report(self, built, scored):
        for name in BASELINES:
            results = Results.read(scored / name / "results.json")
            assert results.maker.method == name
            for axis, result in results.axes.items():
                stated = built[1].baselines[axis].get(name)
                found = {metric: value for metric, value in result.figures().items() if "obeying" not in metric}
                assert found == pytest.approx(stated or {}, abs=1e-12), (name, axis)
                assert result.baselines == built[1].baselines[axis]

    def test_scores_of_a_run_name_what_they_do_not_beat(self, built, scored, capsys):
        results = score_popular(built, scored)
        printed = capsys.readouterr().out
        assert baselines_table(results.axes) in printed
        best = best_baseline(results.axes["fine"])
        assert best[1] >= results.axes["fine"].main_value()
        assert "note: fine: recall@10" in printed and "does not beat the baseline" in printed

    def test_where_the_report_lacks_it_the_constant_list_is_counted_from_the_rows(self, built, scored, capsys):
        """Other cut-offs, another split, a part of the rows."""
        deeper = score_popular(built, scored, k=[3])
        assert deeper.axes["coarse"].baselines.keys() == {"constant_list"}
        part = score_popular(built, scored, max_rows=5)
        for results in (deeper, part):
            for axis in results.axes.values():
                assert axis.baselines["constant_list"] == pytest.approx(
                    {name: axis.figures()[name] for name in axis.baselines["constant_list"]}
                )

    def test_only_the_constant_list_needs_no_embedding_model(self, built, tmp_path, monkeypatch):
        def never(*_, **__):
            raise AssertionError("no model is needed")

        monkeypatch.setattr("dataset_builders.building.text_embedding.load_embedder", never)
        words = [str(built[0]), "--domain", "sample", "--output_dir", str(tmp_path), "--baselines", "constant_list"]
        assert command.main(words) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["constant_list"]

    def test_a_baseline_without_any_axis_to_answer_is_said(self, built, tmp_path, capsys, embedder):
        words = [str(built[0]), "--domain", "sample", "--output_dir", str(tmp_path), "--axes", "sentiment"]
        assert command.main([*words, "--baselines", "history_only"]) == 0
        assert "history only: none of the axes sentiment has a history" in capsys.readouterr().out

    def test_results_keep_them(self, built, scored, tmp_path):
        results = score_popular(built, scored, output=tmp_path)
        assert Results.read(tmp_path / "results.json") == replace(results)
        assert json.loads((tmp_path / "results.json").read_text())["axes"]["fine"]["baselines"]
