"""Odd input of scoring: ids and flags of other types, scores that floats would reorder, names that are no patterns."""

import datetime
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboard_world import make_results, write_results

from dataset_builders.benchmark.tables import load_table
from dataset_builders.commands.score import ScoringArguments, check_same_rows
from dataset_builders.leaderboard.collection import collect_local
from dataset_builders.leaderboard.submission import parse_entries
from dataset_builders.ranking_metrics import score_run
from dataset_builders.ranking_metrics.metrics import as_rows
from dataset_builders.scoring.result_parts import BenchmarkIdentity, Maker, is_share
from dataset_builders.scoring.runs import Run, rank_by_score, read_run, write_run
from dataset_builders.typed_arguments import parse_day

RANKED, TARGETS = [[3, 9, 1], [4, 5, 6]], [9, 5]


@pytest.mark.parametrize(
    "targets",
    [
        np.array(TARGETS, "m8[s]"), np.array(TARGETS, "M8[s]"), [np.timedelta64(9, "s"), np.timedelta64(5, "s")],
        [[datetime.timedelta(9)], [5]], [True, False], np.array([True, False]), pd.Series([True, False]), [9, "5"],
        pd.Series(TARGETS).astype("category"), pd.Series(pd.to_timedelta(TARGETS, unit="s")), [[9, "5"], [5]],
        np.array([9, "5"], object), [9, None], [9, 5.0], pd.Series([9, None], dtype="Int64"), bytearray(TARGETS),
        memoryview(bytes(TARGETS)), pd.DataFrame({0: TARGETS}), pa.array([9, None]), [9, [5]], [2**70, 5], [{9}, {5}],
    ],
)  # fmt: skip
def test_references_of_another_type_are_refused_and_not_cast(targets):
    with pytest.raises(ValueError, match="references.*(give|item ids are|leave them out)"):
        score_run(RANKED, targets, k=3)


@pytest.mark.parametrize(
    "ranked",
    [
        np.array(RANKED, np.uint64), np.array(RANKED, object), pa.array(RANKED),
        pd.Series(RANKED, index=[7, 3]), [pd.Series([3, 9, 1], index=[2, 1, 0]), pd.array([4, 5, 6], dtype="Int64")],
    ],
)  # fmt: skip
def test_integers_of_every_container_are_the_same_ids(ranked):
    assert as_rows(ranked, np.array(TARGETS, object)) == (RANKED, [[9], [5]])


def test_a_frame_of_predictions_is_told_the_way_out():
    with pytest.raises(ValueError, match=r"predictions is a DataFrame.*frame\.to_numpy\(\)"):
        score_run(pd.DataFrame(RANKED), TARGETS)


@pytest.mark.parametrize("flag", ["no", 1, None, np.array([1, 0])])
def test_a_flag_is_true_or_false(flag, tmp_path):
    with pytest.raises(ValueError, match="all_items .* must be True or False"):
        score_run(RANKED, TARGETS, all_items=flag)
    with pytest.raises(ValueError, match="by_score .* must be True or False"):
        read_run(tmp_path / "none.parquet", 9, by_score=flag)


@pytest.mark.parametrize("changes", [{"k": [5.0]}, {"k": ["5"]}, {"k": "5"}, {"k": [True]}, {"max_rows": 2.5},
                                     {"resamples": True}])  # fmt: skip
def test_a_count_is_an_integer(changes):
    with pytest.raises(ValueError, match="must be"):
        ScoringArguments(benchmark="b", domain="d", **changes)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_means_equal_a_count_by_hand(data):
    ids = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 9), unique=True, max_size=6)
    num_rows = data.draw(st.integers(1, 4))
    ranked = [data.draw(ids) for _ in range(num_rows)]
    relevant = [data.draw(ids.filter(len)) for _ in range(num_rows)]
    k = data.draw(st.integers(1, 8))
    shares = [sum(item in row[:k] for item in items) / len(items) for row, items in zip(ranked, relevant, strict=True)]
    found = score_run(ranked, relevant, k=k, all_items=True)
    assert found[f"recall@{k}"] == pytest.approx(sum(shares) / num_rows)
    assert found[f"all@{k}"] == pytest.approx(shares.count(1.0) / num_rows)


def run_file(path, items, scores):
    pq.write_table(pa.table({"query": ["fine/0"], "items": [items], "scores": [scores]}), path)
    return path


@pytest.mark.parametrize(
    ("scores", "kind"),
    [([2**53, 2**53 + 1], pa.int64()), ([-(2**63), 2**63 - 1], pa.int64()), ([1, 2**64 - 1], pa.uint64()),
     ([1.0, 1.0 + 1e-12], pa.float64()), ([-np.inf, np.inf], pa.float64())],
)  # fmt: skip
def test_scores_keep_their_order_in_their_own_type(tmp_path, scores, kind):
    path = run_file(tmp_path / "run.parquet", [3, 9], pa.scalar(scores, pa.list_(kind)))
    assert read_run(path, 10, by_score=True).items.tolist() == [9, 3]
    with pytest.raises(ValueError, match="and then the higher one"):
        read_run(path, 10)


def test_integers_that_a_float_would_reorder_are_refused():
    with pytest.raises(ValueError, match="score 9007199254740993; a float loses the order"):
        Run.from_answers({"fine/0": ([3, 9], [2**53, 2**53 + 1])})
    assert rank_by_score(Run.from_answers({"fine/0": ([3, 9], [1.0, 1.0 + 1e-12])})).items.tolist() == [9, 3]


def test_an_item_beyond_int64_is_named_as_it_is(tmp_path):
    path = run_file(tmp_path / "run.parquet", pa.scalar([2**64 - 1, 2], pa.list_(pa.uint64())), [0.5, 0.1])
    with pytest.raises(ValueError, match="holds 18446744073709551615; item ids of this benchmark are 1 to 10"):
        read_run(path, 10)


def test_answers_to_other_rows_are_refused_where_their_file_says_so(tmp_path):
    run = Run.from_answers({"fine/0": ([3], [0.5])}, {"fingerprints": {"toy_fine": "1" * 32}})
    write_run(run, tmp_path / "run.parquet", 9)
    read = read_run(tmp_path / "run.parquet", 9)
    check_same_rows(read, BenchmarkIdentity("b", fingerprints={"toy_fine": "1" * 32}), Maker("m", "run.parquet"))
    with pytest.raises(ValueError, match="run.parquet answers other rows of toy_fine"):
        check_same_rows(read, BenchmarkIdentity("b", fingerprints={"toy_fine": "2" * 32}), Maker("m", "run.parquet"))


@pytest.mark.parametrize("domain", ["*", "sampl?", "[s]ample", "{sample}", "..", "/", "", "~", "s3://x"])
def test_a_domain_is_a_name_and_no_pattern(tmp_path, domain):
    (tmp_path / "sample_items").mkdir()
    with pytest.raises(ValueError, match="must be ASCII letters and digits"):
        load_table(str(tmp_path), domain, "items")


def test_a_split_is_a_name_and_no_pattern(tmp_path):
    (tmp_path / "sample_items").mkdir()
    pq.write_table(pa.table({"item_id": [1]}), tmp_path / "sample_items" / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=r"has no split '\*'"):
        load_table(str(tmp_path), "sample", "items", "*")


@pytest.mark.parametrize("date", ["soon", "99999-99-99", "2026-02-30", "20261120", "2026-11-20x", ["2026-11-20"], 5])
def test_what_is_no_day_is_none(date):
    assert parse_day(date) is None


@pytest.mark.parametrize("value", ["0.5", True, 1.5, -0.1, -0.0, float("nan"), float("inf"), 10**400, [0.5], None])
def test_what_is_no_share_is_none(value):
    assert not is_share(value)


def test_a_name_that_cannot_be_seen_or_looks_like_another_is_skipped(tmp_path, caplog):
    for number, name in enumerate(("mender", "Mender", "\uff4dender", "men\u200bder", "other", "\u202e\u200b")):
        write_results(tmp_path / name, make_results(method=f"m{number}"))
    with caplog.at_level(logging.WARNING):
        found = {record["model"] for record in collect_local([tmp_path])}
    assert len(found) == 2 and "other" in found
    assert caplog.text.count("skipped: ") == 4 and "looks like that of" in caplog.text


@pytest.mark.parametrize("method", ["", " ", "\u200b\u202e", "\u3164"])
def test_a_method_has_a_name_that_can_be_seen(method):
    assert any("method" in problem for problem in Maker(method).problems())


@pytest.mark.parametrize("digest", ["A" * 32, "a" * 31, "a" * 33, "", 5, None])
def test_a_fingerprint_is_32_hexadecimal_digits(digest):
    assert list(BenchmarkIdentity(fingerprints={"toy_fine": digest}).problems())


def test_a_broken_entry_stops_no_other(caplog):
    text = "- 5\n- {dataset: {id: o/b}, value: 1}\n- {dataset: {id: o/b, task_id: t}, value: 0.5}\n"
    assert [entry["value"] for entry in parse_entries(text, "f", skip_wrong=True)] == [0.5]
    with pytest.raises(ValueError, match="f is no list of results"):
        parse_entries(text, "f")
