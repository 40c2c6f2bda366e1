"""Run files, ranks under two protocols, figures, intervals, tests and seeds, each against a slow twin or a referee."""

import itertools
import time
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builders.ranking_metrics import score_run
from dataset_builders.scoring.figures import axis_values, format_table, score_axes
from dataset_builders.scoring.ranks import (
    check_queries,
    choose_rows,
    query_ids,
    rank_rows,
    read_ranks,
    variants_of,
    write_ranks,
)
from dataset_builders.scoring.result_parts import AxisResult, BenchmarkIdentity, Maker, Sides
from dataset_builders.scoring.results import Results
from dataset_builders.scoring.runs import Run, read_run, write_run
from dataset_builders.scoring.seeds import aggregate
from dataset_builders.scoring.significance import bootstrap_intervals, paired_test, wilson_interval

NUM_ITEMS = 9
TABLES = {
    "fine": datasets.Dataset.from_dict(
        {"user_id": ["ann", "bob", "cid"], "history": [[1, 2], [], [4]], "preference": ["a", "b", "c"],
         "target": [3, 5, 4]}
    ),
    "sentiment": datasets.Dataset.from_dict(
        {"preference_positive": ["find a", "find b"], "preference_negative": ["avoid a", "avoid b"], "target": [7, 8]}
    ),
}  # fmt: skip
ANSWERS = {
    "fine/0": [1, 9, 2, 3],  # rank 4; 1 and 2 were seen, so 2 without them
    "fine/1": [5],  # rank 1, nothing was seen
    "fine/2": [9, 4],  # rank 2; the target itself was seen: a miss under `unseen`
    "fine/0/no_preference": [3, 1],  # rank 1
    "fine/1/no_preference": [],  # nothing to ask
    "fine/2/no_preference": [1, 2],  # not found
    "sentiment/0": [7, 1],
    "sentiment/1": [1, 8],
    "sentiment/0/negative": [1, 2],
    "sentiment/1/negative": [8, 2],
}


def make_run(answers, **about):
    """A run of bare rankings, with scores that fall."""
    return Run.from_answers({query: (items, -np.arange(len(items))) for query, items in answers.items()}, about)


def random_world(seed, num_rows, num_items, depth):
    """Tables and answers with histories that often hold the target and the ranked items."""
    generator = np.random.default_rng(seed)
    histories = [generator.integers(1, num_items + 1, generator.integers(0, 8)).tolist() for _ in range(num_rows)]
    targets = generator.integers(1, num_items + 1, num_rows).tolist()
    names = {"user_id": [f"u{row}" for row in range(num_rows)], "history": histories, "target": targets}
    tables = {"coarse": datasets.Dataset.from_dict({**names, "preference": ["x"] * num_rows})}
    tables["sentiment"] = datasets.Dataset.from_dict({"target": targets})
    answers = {}
    for axis in tables:
        for variant in variants_of(axis):
            for query in query_ids(axis, range(num_rows), variant):
                answers[query] = generator.permutation(num_items)[: generator.integers(0, depth + 1)] + 1
    return tables, answers


class TestRunFiles:
    def test_what_is_written_is_read(self, tmp_path):
        run = make_run(ANSWERS, method="oracle", split="test")
        write_run(run, tmp_path / "run.parquet", NUM_ITEMS)
        again = read_run(tmp_path / "run.parquet", NUM_ITEMS)
        assert again.queries.to_pylist() == list(ANSWERS)
        assert again.about == {"method": "oracle", "split": "test"}
        for number, items in enumerate(ANSWERS.values()):
            start, end = again.offsets[number : number + 2]
            assert again.items[start:end].tolist() == items
            assert again.scores[start:end].tolist() == [-float(i) for i in range(len(items))]
        assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]
        schema = pq.read_schema(tmp_path / "run.parquet")
        assert [str(schema.field(name).type.value_type) for name in ("items", "scores")] == ["int32", "float"]

    def test_the_depth_is_that_of_the_shortest_ranking_which_holds_any(self):
        assert make_run(ANSWERS).depth == 1
        assert make_run({"fine/0": []}).depth == 0

    @pytest.mark.parametrize(
        ("items", "words"),
        [
            ([1, 3.7], r"the ranking of query fine/1 holds 3.7 \(float\); item ids are integers"),
            ([3.0], "item ids are integers"),
            (np.array([1, 2], np.float32), r"query fine/1 holds 1.0 \(float32\)"),
            ([True], r"query fine/1 holds True \(bool\)"),
            (["1"], r"query fine/1 holds '1' \(str\)"),
            ([None], r"query fine/1 holds None \(NoneType\)"),
            ([[1]], "item ids are integers"),
            ([2**32 + 3], "holds item 4294967299; item ids are below"),
        ],
    )
    def test_items_that_are_no_integers_are_refused_and_not_cut(self, items, words):
        with pytest.raises(ValueError, match=words):
            Run.from_answers({"fine/0": ([1], [0.0]), "fine/1": (items, [0.0] * len(items))})

    def test_scores_that_are_no_numbers_are_refused(self):
        for scores in (["0.5"], [None], [True]):
            with pytest.raises(ValueError, match="query fine/1 has the score .*; scores are numbers"):
                Run.from_answers({"fine/1": ([1], scores)})

    def test_answers_of_any_sequence_of_integers_are_taken(self):
        run = Run.from_answers({"a": (range(1, 3), (1, 0)), "b": (np.array([5], np.uint8), [0.5]), "c": ([], [])})
        assert (run.items.tolist(), run.items.dtype, run.scores.dtype) == ([1, 2, 5], np.int32, np.float64)

    @pytest.mark.parametrize("integers", [pa.int64(), pa.uint16(), pa.int8()])
    @pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
    def test_lists_of_any_integers_and_floats_are_read(self, tmp_path, kind, integers):
        table = pa.table(
            {
                "query": pa.array(["fine/0", "fine/1"], pa.large_string()),
                "items": pa.array([[3, 1], []], kind(integers)),
                "scores": pa.array([[0.5, 0.25], []], kind(pa.float64())),
                "comment": ["mine", "too"],
            }
        )
        pq.write_table(table, tmp_path / "run.parquet")
        run = read_run(tmp_path / "run.parquet", NUM_ITEMS)
        assert run.items.dtype == np.int32
        assert (run.items.tolist(), run.offsets.tolist()) == ([3, 1], [0, 2, 2])

    def test_a_run_of_nothing_but_empty_rankings_is_read(self, tmp_path):
        pq.write_table(pa.table({"query": ["fine/0"], "items": [[]], "scores": [[]]}), tmp_path / "run.parquet")
        assert read_run(tmp_path / "run.parquet", NUM_ITEMS).depth == 0

    good = {"query": ["fine/0", "fine/1"], "items": [[3, 1], [2]], "scores": [[0.5, 0.4], [0.3]]}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"scores": None}, "has no column scores; it has query, items"),
            ({"query": [0, 1]}, "column query is int64; make it string"),
            ({"items": [3, 1]}, "column items is int64; make it list of integers"),
            ({"items": [[3.0, 1.0], [2.0]]}, "column items is list<.*double>; make it list of integers"),
            ({"scores": [["a", "b"], ["c"]]}, "column scores is list<.*string>; make it list of floats"),
            ({"query": ["fine/0", None]}, "column query has missing values"),
            ({"items": [[3, 1], None]}, "column items has missing values"),
            ({"items": [[3, None], [2]]}, "column items has missing values"),
            ({"scores": [[0.5, 0.4], [0.3, 0.2]]}, "query fine/1 has 1 items and 2 scores"),
            ({"items": [[3, 1], [10]]}, "query fine/1 holds 10; item ids of this benchmark are 1 to 9"),
            ({"items": [[3, 1], [0]]}, "query fine/1 holds 0; item ids"),
            ({"items": [[3, 2**40], [2]]}, "query fine/0 holds 1099511627776; item ids"),
            ({"items": [[3, 3], [2]]}, "item 3 occurs more than once in query fine/0"),
            ({"query": ["fine/1", "fine/1"]}, "query fine/1 occurs more than once"),
            ({"scores": [[0.5, float("nan")], [0.3]]}, "query fine/0 holds nan; a score is a number"),
        ],
    )
    def test_a_broken_file_is_refused_by_name(self, tmp_path, change, message):
        columns = {name: values for name, values in {**self.good, **change}.items() if values is not None}
        pq.write_table(pa.table(columns), tmp_path / "run.parquet")
        with pytest.raises(ValueError, match=message):
            read_run(tmp_path / "run.parquet", NUM_ITEMS)

    def test_a_file_that_is_none_and_metadata_that_are_none_are_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere.parquet is no file"):
            read_run(tmp_path / "nowhere.parquet", NUM_ITEMS)
        (tmp_path / "run.parquet").write_text("query,items\n")
        with pytest.raises(ValueError, match="is not a readable Parquet file"):
            read_run(tmp_path / "run.parquet", NUM_ITEMS)
        pq.write_table(pa.table(self.good).replace_schema_metadata({"mender": "{"}), tmp_path / "run.parquet")
        with pytest.raises(ValueError, match="the metadata under 'mender' are no JSON"):
            read_run(tmp_path / "run.parquet", NUM_ITEMS)

    def test_what_could_not_be_read_is_not_written(self, tmp_path):
        with pytest.raises(ValueError, match="item 3 occurs more than once in query fine/0"):
            write_run(make_run({"fine/0": [3, 3]}), tmp_path / "run.parquet", NUM_ITEMS)
        assert not list(tmp_path.iterdir())
        with pytest.raises(ValueError, match="query fine/0 has 2 items and 1 scores"):
            Run.from_answers({"fine/0": ([1, 2], [0.5])})


class TestOrderOfScores:
    def write(self, path, **columns):
        lists = {"query": ["fine/0", "fine/1"], "items": [[3, 9, 4], [5, 2]], "scores": [[0.5, 0.5, 0.1], [0.2, 0.1]]}
        pq.write_table(pa.table(lists | columns), path)
        return path

    def test_scores_that_rise_are_refused_by_query_and_value(self, tmp_path):
        path = self.write(tmp_path / "run.parquet", scores=[[0.5, 0.5, 0.1], [0.1, 0.25]])
        with pytest.raises(ValueError, match=r"query fine/1 has the score 0\.1\S* and then the higher one 0\.25"):
            read_run(path, NUM_ITEMS)
        with pytest.raises(ValueError, match="--by_score"):
            write_run(Run.from_answers({"fine/0": ([3, 9], [1.0, 2.0])}), tmp_path / "other.parquet", NUM_ITEMS)

    def test_by_score_the_scores_are_the_ranking_and_equal_ones_stay_in_order(self, tmp_path):
        path = self.write(tmp_path / "run.parquet", scores=[[0.1, 0.1, 0.5], [0.1, 0.25]])
        assert read_run(path, NUM_ITEMS, by_score=True).items.tolist() == [4, 3, 9, 2, 5]

    def test_scores_are_compared_as_the_file_has_them(self, tmp_path):
        scores = [[1.0, 1.0 + 1e-9, 0.5], [1e300, 2e300]]
        path = self.write(tmp_path / "run.parquet", scores=scores)
        with pytest.raises(ValueError, match="query fine/0 has the score 1.0 and then the higher one 1.000000001"):
            read_run(path, NUM_ITEMS)
        found = read_run(path, NUM_ITEMS, by_score=True)
        assert found.items.tolist() == [9, 3, 4, 2, 5] and np.isfinite(found.scores).all()
        whole = self.write(tmp_path / "whole.parquet", scores=[[3, 2, 1], [2, 1]])
        assert read_run(whole, NUM_ITEMS).scores.tolist() == [3, 2, 1, 2, 1]

    @pytest.mark.parametrize("answers", [{3: ([1], [0.1])}, {"fine/0": 3}, {"fine/0": ([1], None)}])
    def test_answers_that_are_no_pairs_are_named(self, answers):
        with pytest.raises(ValueError, match="query (3|fine/0)"):
            Run.from_answers(answers)

    def test_scores_may_rise_from_one_query_to_the_next_and_be_equal_within_one(self, tmp_path):
        path = self.write(tmp_path / "run.parquet", scores=[[0.5, 0.5, 0.1], [0.9, 0.9]])
        assert read_run(path, NUM_ITEMS).items.tolist() == [3, 9, 4, 5, 2]

    def test_a_score_that_is_no_number_is_refused_by_score_too(self, tmp_path):
        path = self.write(tmp_path / "run.parquet", scores=[[0.5, np.nan, 0.1], [0.2, 0.1]])
        with pytest.raises(ValueError, match="query fine/0 holds nan"):
            read_run(path, NUM_ITEMS, by_score=True)


class TestRanks:
    def test_ranks_of_the_toy_world_are_those_the_eye_sees(self):
        ranks = rank_rows(make_run(ANSWERS), TABLES).to_pydict()
        assert ranks["axis"] == ["fine"] * 3 + ["sentiment"] * 2
        assert ranks["row"] == [0, 1, 2, 0, 1]
        assert ranks["user_id"] == ["ann", "bob", "cid", None, None]
        assert ranks["history_length"] == [2, 0, 1, 0, 0]
        assert ranks["target"] == [3, 5, 4, 7, 8]
        assert ranks["rank"] == [4, 1, 2, 1, 2]
        assert ranks["rank_unseen"] == [2, 1, 0, 1, 2]
        assert ranks["rank_no_preference"] == [1, 0, 0, None, None]
        assert ranks["rank_no_preference_unseen"] == [1, 0, 0, None, None]
        assert ranks["rank_negative"] == [None, None, None, 0, 1]

    def test_ranks_equal_a_search_through_the_lists(self):
        tables, answers = random_world(seed=0, num_rows=300, num_items=40, depth=40)
        ranks = rank_rows(make_run(answers), tables).to_pylist()
        columns = {"": "rank", "no_preference": "rank_no_preference", "negative": "rank_negative"}
        for row in ranks:
            source = tables[row["axis"]][row["row"]]
            seen = source.get("history", [])
            for variant in variants_of(row["axis"]):
                ranking = answers[query_ids(row["axis"], [row["row"]], variant)[0]].tolist()
                fresh = [item for item in ranking if item not in seen]
                for name, items in ((columns[variant], ranking), (f"{columns[variant]}_unseen", fresh)):
                    expected = items.index(source["target"]) + 1 if source["target"] in items else 0
                    assert row.get(name, expected) == expected, (row, name)
        assert sum(row["rank"] != row["rank_unseen"] for row in ranks) > 50

    def test_what_a_run_leaves_out_is_null_and_what_it_half_answers_is_an_error(self):
        answers = {query: items for query, items in ANSWERS.items() if "fine/" in query and "no_pref" not in query}
        ranks = rank_rows(make_run(answers), TABLES)
        assert ranks.column("rank_no_preference").null_count == 5
        assert ranks.column("rank").to_pylist() == [4, 1, 2, None, None]
        del answers["fine/1"]
        with pytest.raises(ValueError, match="query fine/1 is missing, and 0 more of 3"):
            rank_rows(make_run(answers), TABLES)

    @pytest.mark.parametrize(("left_out", "named"), [("/negative", "sentiment/0/negative"), ("", "sentiment/0")])
    def test_sentiment_needs_both_of_its_answers(self, left_out, named):
        dropped = [f"sentiment/{row}{left_out}" for row in range(2)]
        answers = {query: items for query, items in ANSWERS.items() if query not in dropped}
        with pytest.raises(ValueError, match=f"query {named} is missing: sentiment needs"):
            rank_rows(make_run(answers), TABLES)

    @pytest.mark.parametrize("query", ["fine/3", "fine/00", "boats/0", "fine/0/negative", "sentiment/0/no_preference"])
    def test_a_query_that_the_benchmark_does_not_ask_is_named(self, query):
        num_rows = {axis: len(rows) for axis, rows in TABLES.items()}
        check_queries(make_run(ANSWERS), num_rows)
        with pytest.raises(ValueError, match=f"1 queries are not of this benchmark, the first is {query}.*fine 0..2"):
            check_queries(make_run({**ANSWERS, query: [1]}), num_rows)

    def test_chosen_rows_keep_their_numbers_and_are_the_same_every_time(self):
        tables, answers = random_world(seed=1, num_rows=50, num_items=9, depth=9)
        everything = rank_rows(make_run(answers), tables)
        some = rank_rows(make_run(answers), tables, max_rows=7)
        rows = choose_rows(50, 7)
        assert some.column("row").to_pylist() == [*rows, *rows]
        assert rows.tolist() == sorted(set(rows.tolist()))
        for name in ("rank", "target", "rank_unseen"):
            assert some.slice(0, 7).column(name).to_pylist() == everything.slice(0, 50).take(rows)[name].to_pylist()

    def test_a_run_that_answers_only_the_chosen_rows_is_enough_for_them(self):
        tables, answers = random_world(seed=1, num_rows=50, num_items=9, depth=9)
        asked = {q for axis in tables for v in variants_of(axis) for q in query_ids(axis, choose_rows(50, 7), v)}
        run = make_run({query: items for query, items in answers.items() if query in asked})
        assert rank_rows(run, tables, 7).equals(rank_rows(make_run(answers), tables, 7))
        with pytest.raises(ValueError, match="is missing"):
            rank_rows(run, tables)

    def test_ranks_are_read_as_they_were_written(self, tmp_path):
        ranks = rank_rows(make_run(ANSWERS), TABLES)
        write_ranks(ranks, tmp_path / "rows.parquet", {"method": "oracle"})
        again, about = read_ranks(tmp_path / "rows.parquet")
        assert again.equals(ranks)
        assert about == {"method": "oracle"}
        pq.write_table(pa.table({"rank": [1]}), tmp_path / "rows.parquet")
        with pytest.raises(ValueError, match="is no table of ranks: it has the columns rank"):
            read_ranks(tmp_path / "rows.parquet")

    def test_twenty_thousand_rows_of_forty_items_take_seconds_at_most(self):
        num_rows, num_items, depth = 22_363, 12_101, 40
        generator = np.random.default_rng(0)
        table = datasets.Dataset.from_dict(
            {"user_id": ["u"] * num_rows, "history": generator.integers(1, num_items + 1, (num_rows, 9)).tolist(),
             "target": generator.integers(1, num_items + 1, num_rows)}
        )  # fmt: skip
        starts = generator.integers(0, num_items - depth, num_rows)
        items = (starts[:, None] + np.arange(depth) + 1).astype(np.int32).ravel()
        run = Run(pa.array(query_ids("coarse", range(num_rows))), np.arange(num_rows + 1) * depth, items,
                  np.zeros(len(items), np.float32))  # fmt: skip
        started = time.perf_counter()
        score_axes(rank_rows(run, {"coarse": table}), [1, 5, 10, 20])
        assert time.perf_counter() - started < 10  # 0.3 s on an idle machine


class TestFigures:
    def test_figures_equal_those_of_the_metric(self):
        tables, answers = random_world(seed=2, num_rows=200, num_items=30, depth=30)
        k = [1, 5, 10, 20]
        results = score_axes(rank_rows(make_run(answers), tables), k, resamples=10)

        def referee(axis, variant="", unseen=False, negative=None):
            rows = tables[axis]
            rankings = [answers[query].tolist() for query in query_ids(axis, range(len(rows)), variant)]
            if unseen:
                rankings = [[item for item in items if item not in seen]
                            for items, seen in zip(rankings, rows["history"][:], strict=True)]  # fmt: skip
            return score_run(rankings, rows["target"][:], k=k, predictions_negative=negative)

        coarse, sentiment = results["coarse"], results["sentiment"]
        assert coarse.num_rows == 200
        assert coarse.all.with_preference == pytest.approx(referee("coarse"), abs=1e-12)
        assert coarse.all.without_preference == pytest.approx(referee("coarse", "no_preference"), abs=1e-12)
        assert coarse.unseen.with_preference == pytest.approx(referee("coarse", unseen=True), abs=1e-12)
        assert coarse.unseen.with_preference != coarse.all.with_preference
        negative = [answers[query].tolist() for query in query_ids("sentiment", range(200), "negative")]
        expected = referee("sentiment", negative=negative)
        assert sentiment.all.with_preference == pytest.approx(expected, abs=1e-12)
        assert list(sentiment.all.with_preference) == list(expected)
        assert sentiment.unseen.with_preference == sentiment.all.with_preference
        assert sentiment.all.without_preference is sentiment.intervals.without_preference is None

    def test_every_figure_lies_in_its_interval_and_an_axis_keeps_its_intervals_whatever_else_is_scored(self):
        tables, answers = random_world(seed=3, num_rows=100, num_items=30, depth=30)
        ranks = rank_rows(make_run(answers), tables)
        results = score_axes(ranks, [5, 10])
        for entry in results.values():
            for name, (low, high) in entry.intervals.with_preference.items():
                assert low <= entry.all.with_preference[name] <= high
                assert low < high
        assert score_axes(ranks.slice(100), [5, 10])["sentiment"] == results["sentiment"]

    def test_an_axis_that_a_run_leaves_out_is_null(self):
        run = make_run({query: items for query, items in ANSWERS.items() if query.startswith("fine")})
        results = score_axes(rank_rows(run, TABLES), [1])
        assert results["sentiment"] == AxisResult("sentiment", 2)

    def test_the_tables_say_both_protocols_and_what_is_not_defined(self):
        results = score_axes(rank_rows(make_run(ANSWERS), TABLES), [1, 2])
        assert format_table(results, 2).splitlines()[2:] == [
            "| fine | 3 | recall@2 | 0.6667 | 0.3333 | 0.5436 | 0.3333 |",
            "| sentiment | 2 | m@2 | 0.5000 | - | - | - |",
        ]
        assert format_table(results, 2, "unseen").splitlines()[2:] == [
            "| fine | 3 | recall@2 | 0.6667 | 0.3333 | 0.5436 | 0.3333 |"
        ]
        assert results["fine"].figures()["recall@1"] == results["fine"].figures(protocol="unseen")["recall@1"]


class TestIntervals:
    def test_a_proportion_of_nothing_found_is_not_certainly_nothing(self):
        rows = {"fine": TABLES["fine"]}
        none = score_axes(rank_rows(make_run({query: [9] for query in query_ids("fine", range(3))}), rows), [1])
        low, high = none["fine"].intervals.with_preference["recall@1"]
        assert low == 0 and high == pytest.approx(0.5615, abs=1e-4)  # Wilson's of 0 of 3

    def test_intervals_of_proportions_hold_the_true_one_about_as_often_as_they_say(self):
        generator = np.random.default_rng(0)
        hits = generator.binomial(106, 0.03, 2000)
        covered = [low <= 0.03 <= high for low, high in (wilson_interval(hit / 106, 106) for hit in hits)]
        assert np.mean(covered) > 0.93  # the bootstrap's: .837

    def test_a_mean_of_other_values_keeps_the_bootstrap(self):
        run = make_run({"fine/0": [9, 3], "fine/1": [5], "fine/2": [9]})
        found = score_axes(rank_rows(run, {"fine": TABLES["fine"]}), [2])["fine"].intervals.with_preference
        values = np.array([1 / np.log2(3), 1.0, 0.0])[:, None]
        low, high = bootstrap_intervals(values, np.random.default_rng(0), 1000)
        assert found["ndcg@2"] == [low[0], high[0]]


class TestObeying:
    def test_the_share_of_the_first_ten_that_obeys_is_kept_where_it_is_known(self):
        def obeying(preferences):
            return [{"a": frozenset({1, 9}), "b": None, "c": frozenset({2, 3, 4})}[text] for text in preferences]

        ranks = rank_rows(make_run(ANSWERS), {"fine": TABLES["fine"]}, obeying=obeying)
        assert ranks.column("obeying").to_pylist() == [1.0, None, pytest.approx(1 / 3)]
        assert ranks.column("obeying_no_preference").to_pylist() == [0.5, None, pytest.approx(1 / 3)]
        found = score_axes(ranks, [1])["fine"]
        assert found.all.with_preference["obeying@10"] == pytest.approx(2 / 3)
        assert found.all.without_preference["obeying@10"] == pytest.approx(5 / 12)
        assert "obeying@10" not in found.unseen.with_preference


class TestParts:
    def test_the_figures_of_each_part_are_those_of_its_rows_alone(self):
        columns = TABLES["fine"].to_dict() | {"history_from": ["another user", "own user", "another user"]}
        rows = datasets.Dataset.from_dict(columns)
        ranks = rank_rows(make_run(ANSWERS), {"fine": rows})
        found = score_axes(ranks, [2])["fine"]
        assert found.parts["another user"]["share"] == pytest.approx(2 / 3)
        assert found.parts["another user"]["recall@2"] == 0.5 and found.parts["own user"]["recall@2"] == 1.0
        assert found.figures()["recall@2"] == pytest.approx(2 / 3)
        assert score_axes(rank_rows(make_run(ANSWERS), TABLES), [2])["fine"].parts == {}


class TestSignificance:
    def test_an_interval_is_that_of_drawing_rows_one_by_one(self):
        values = np.stack(list(axis_values("recall", {"": np.arange(60) % 17}, [5, 10]).values()), axis=1)
        low, high = bootstrap_intervals(values, np.random.default_rng(0), resamples=20_000)
        generator = np.random.default_rng(1)
        means = np.array([values[generator.integers(0, 60, 60)].mean(axis=0) for _ in range(20_000)])
        np.testing.assert_allclose(low, np.quantile(means, 0.025, axis=0), atol=0.01)
        np.testing.assert_allclose(high, np.quantile(means, 0.975, axis=0), atol=0.01)

    def test_an_interval_is_that_of_scipy(self):
        from scipy.stats import bootstrap

        values = np.random.default_rng(3).random((80, 1))  # all distinct
        low, high = bootstrap_intervals(values, np.random.default_rng(0), resamples=20_000, confidence=0.9)
        referee = bootstrap((values[:, 0],), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile",
                            rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
        assert (low[0], high[0]) == pytest.approx((referee.low, referee.high), abs=0.003)

    def test_the_p_value_is_the_share_of_all_ways_to_swap(self):
        first, second = np.array([1, 0.5, 0.3, 0, 1, 0.2, 0.9]), np.array([0, 0.2, 0.3, 0.1, 0.4, 0, 0.1])
        differences = first - second
        sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=7)]
        exact = np.mean([value >= abs(differences.sum()) - 1e-12 for value in sums])
        result = paired_test(first, second, np.random.default_rng(0), resamples=100_000)
        assert result.p_value == pytest.approx(exact, abs=0.003)
        assert result.num_changed == 6
        assert result.difference == pytest.approx(differences.mean())

    def test_of_hits_and_misses_the_test_is_that_of_mcnemar(self):
        from scipy.stats import binomtest

        first, second = np.repeat([1, 0, 1, 0], [30, 12, 50, 60]), np.repeat([0, 1, 1, 0], [30, 12, 50, 60])
        result = paired_test(first, second, np.random.default_rng(0), resamples=100_000)
        assert result.p_value == pytest.approx(binomtest(30, 42).pvalue, abs=0.002)
        assert result.interval[0] < result.difference < result.interval[1]

    def test_of_graded_figures_the_test_is_that_of_scipy(self):
        from scipy.stats import permutation_test

        generator = np.random.default_rng(5)
        ranks = generator.integers(1, 15, 150)
        values = [
            axis_values("recall", {"": r}, [10])["ndcg@10"]
            for r in (np.maximum(1, ranks - generator.integers(-5, 6, 150)), ranks)
        ]
        referee = permutation_test(
            values, lambda first, second, axis: np.mean(first - second, axis=axis), permutation_type="samples",
            n_resamples=20_000, vectorized=True, rng=np.random.default_rng(1),
        )  # fmt: skip
        assert 0.01 < referee.pvalue < 0.9
        result = paired_test(*values, np.random.default_rng(0), resamples=20_000)
        assert result.p_value == pytest.approx(referee.pvalue, abs=0.015)

    def test_a_difference_that_is_none_is_not_found_too_often(self):
        generator = np.random.default_rng(7)
        p_values = [paired_test(*generator.integers(0, 2, (2, 200)), generator, 500).p_value for _ in range(400)]
        assert 0.01 < np.mean(np.array(p_values) <= 0.05) < 0.09

    def test_bad_input_is_named(self):
        generator = np.random.default_rng(0)
        with pytest.raises(ValueError, match="0 rows"):
            bootstrap_intervals(np.empty((0, 2)), generator)
        with pytest.raises(ValueError, match=r"resamples \(0\)"):
            bootstrap_intervals(np.ones((3, 1)), generator, resamples=0)
        with pytest.raises(ValueError, match=r"shapes \(3,\), \(4,\)"):
            paired_test(np.ones(3), np.ones(4), generator)


class TestSeeds:
    def result(self, seed, ranks):
        run = make_run({f"fine/{row}": answer for row, answer in enumerate(ranks)})
        axes = score_axes(rank_rows(run, {"fine": TABLES["fine"]}), [1, 2], resamples=10)
        return Results(maker=Maker("tiger", seed=seed), domain="toy", split="test", k=(1, 2), axes=axes,
                       benchmark=BenchmarkIdentity(approximator="metadata"))  # fmt: skip

    def three(self, **changes):
        return [
            self.result(0, [[3], [5], [1]]),
            self.result(1, [[3], [1, 5], [1]]),
            replace(self.result(2, [[3], [5], [4]]), **changes),
        ]

    def test_means_and_deviations_are_those_of_numpy(self):
        total = aggregate(self.three())
        recall = total["fine"].all.with_preference["recall@1"]
        shares = [2 / 3, 1 / 3, 1]
        assert (recall.mean, recall.std) == pytest.approx((np.mean(shares), np.std(shares, ddof=1)))
        assert total["fine"].all.without_preference is None
        assert total["fine"].unseen.with_preference["recall@1"].mean == pytest.approx(5 / 9)

    def test_one_result_has_no_deviation(self):
        assert aggregate(self.three()[:1])["fine"].all.with_preference["recall@2"].std is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"domain": "boats"}, "differ in domain: 'toy' and 'boats'"),
            ({"split": "train"}, "differ in split"),
            ({"maker": Maker("sasrec", seed=2)}, "differ in method: 'tiger' and 'sasrec'"),
            ({"benchmark": BenchmarkIdentity(approximator="llm")}, "differ in benchmark"),
            ({"k": (5,)}, "differ in k"),
            ({"maker": Maker("tiger", seed=1)}, "seed 1 occurs 2 times"),
            ({"axes": {}}, "differ in axes"),
        ],
    )
    def test_what_is_not_comparable_is_refused_by_name(self, changes, message):
        with pytest.raises(ValueError, match=message):
            aggregate(self.three(**changes))

    def test_other_rows_or_other_questions_are_refused(self):
        fine = self.three()[2].axes["fine"]
        with pytest.raises(ValueError, match="differ in num_rows of fine: 3 and 2"):
            aggregate(self.three(axes={"fine": replace(fine, num_rows=2)}))
        with pytest.raises(ValueError, match="differ in figures of fine, with_preference"):
            aggregate(self.three(axes={"fine": replace(fine, all=Sides())}))
        with pytest.raises(ValueError, match="0 results"):
            aggregate([])
