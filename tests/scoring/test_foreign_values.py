"""Values of other types in predictions, answers and run files: nothing is cut, and what is refused is named."""

import fractions
import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_builders.benchmark.report import BuildReport
from dataset_builders.ranking_metrics import score_run
from dataset_builders.ranking_metrics.ranking_metrics import RankingMetrics
from dataset_builders.scoring.runs import Run, read_run, write_run

FOUND = {"recall@2": 1.0, "ndcg@2": pytest.approx(1 / np.log2(3))}
MASKED = np.ma.array([3, 9], mask=[False, True])
CUT = [
    [3.7, 9], [3.0, 9], ["3", 9], [True, 9], [np.bool_(True), 9], [None, 9], [[3], [9]], [2**63, 9], [2**70, 9],
    "39", b"39", {3: 9}, {3, 9}, [float("nan"), 9], [np.float64(3), 9], [fractions.Fraction(7, 2)], MASKED,
    np.array([3.5, 9]), np.array([True]), np.array([2**63], np.uint64), ["a"], [[[3]]],
]  # fmt: skip


def computed(predictions, references):
    return RankingMetrics().compute(predictions=predictions, references=references, k=[2])


def added(predictions, references):
    metric = RankingMetrics()
    for prediction, reference in zip(predictions, references, strict=True):
        metric.add(prediction=prediction, reference=reference)
    return metric.compute(k=[2])


def in_a_batch(predictions, references):
    metric = RankingMetrics()
    metric.add_batch(predictions=predictions, references=references)
    return metric.compute(k=[2])


def at_once(predictions, references):
    return score_run(predictions, references, [2])


@pytest.mark.parametrize("score", [at_once, computed, added, in_a_batch])
def test_predictions_that_are_no_integers_are_refused(score):
    for row in (*CUT, 5, None, [9, 9], [-5, 9], np.array(3)):
        with pytest.raises(ValueError):
            score([row], [9])


@pytest.mark.parametrize("score", [at_once, computed, added, in_a_batch])
def test_references_that_are_no_integers_are_refused(score):
    for one in (
        9.5,
        9.0,
        "9",
        True,
        None,
        [],
        [9, 3.5],
        [[9]],
        -9,
        2**70,
        [9, 9],
        [None],
        float("nan"),
        np.float64(9),
    ):
        with pytest.raises(ValueError):
            score([[3, 9]], [one])


@pytest.mark.parametrize("score", [at_once, computed, in_a_batch])
def test_rows_of_other_containers_count_by_their_place(score):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = [[3, 9], [4, 5]]
    expected = score(rows, [9, 5])
    for predictions in (
        pandas.Series(rows, index=[7, 5]),
        tuple(rows),
        np.array(rows),
        [np.array(row) for row in rows],
    ):
        for references in ([9, 5], pandas.Series([9, 5], index=[2, 1]), np.array([9, 5]), [[9], [5]]):
            assert score(predictions, references) == expected


@pytest.mark.parametrize("k", [None, 0, -1, 2.0, "2", [], [2.0], True, 2**70, {2}])
def test_a_cut_off_that_is_none_is_refused(k):
    with pytest.raises((ValueError, TypeError)) as caught:
        score_run([[3, 9]], [9], k)
    assert isinstance(caught.value, ValueError)


def test_answers_that_are_no_integers_or_scores_no_numbers_are_refused():
    answers = [(row, range(len(row))) for row in CUT]
    answers += [((3,), (score,)) for score in ("1", None, float("nan"), True, 1j, [1])]
    answers += [((2**40,), (1,)), ((3, 9), (1,)), ((3,),), 3, (5, 1), (None, None), (np.array(3), np.array(1))]
    for answer in answers:
        with pytest.raises(ValueError):
            Run.from_answers({"fine/0": answer})
    for odd in (None, 5, [("fine/0", ([1], [1]))], {1: ([1], [1])}):
        with pytest.raises(ValueError):
            Run.from_answers(odd)
    assert np.isfinite(Run.from_answers({"fine/0": ([3], [1e300])}).scores).all()


def test_a_damaged_run_file_is_named_or_the_same(tmp_path):
    generator = random.Random(0)
    answers = {f"fine/{row}": (generator.sample(range(1, 31), 10), -np.arange(10)) for row in range(50)}
    write_run(Run.from_answers(answers, {"method": "mine"}), tmp_path / "run.parquet", 30)
    content, expected = (tmp_path / "run.parquet").read_bytes(), read_run(tmp_path / "run.parquet", 30)
    damaged = tmp_path / "damaged.parquet"
    named = 0
    for number in range(300):
        at = generator.randrange(len(content))
        flipped = bytes([content[at] ^ 1 << generator.randrange(8)])
        damaged.write_bytes(content[:at] + (flipped + content[at + 1 :] if number % 3 else b""))
        try:
            found = read_run(damaged, 30)
        except ValueError as error:
            assert str(damaged) in str(error)
            named += 1
        else:
            assert found.queries.equals(expected.queries) and np.array_equal(found.items, expected.items)
            assert np.array_equal(found.scores, expected.scores)
    assert named > 250


@pytest.mark.parametrize("about", [b"{", b"[1]", b"NaN", b'{"method": 5}', b'{"domain": ["x"]}', b"[" * 5000])
def test_odd_metadata_of_a_run_file_are_named(tmp_path, about):
    path = tmp_path / "run.parquet"
    write_run(Run.from_answers({"fine/0": ([3], [1.0])}), path, 30)
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"mender": about}), path)
    with pytest.raises(ValueError, match=r"run\.parquet"):
        read_run(path, 30)


REPORT = BuildReport(
    "toy", "sample", "metadata", "", "rating", "", "none", {"window": 20}, rows={"toy_fine": {"test": 1}}
)


def test_a_report_with_a_value_of_another_type_is_refused_by_its_key():
    whole = json.loads(REPORT.to_json())
    del whole["digest"]
    assert BuildReport.from_json(json.dumps(whole)) == REPORT
    for key in whole:
        for odd in (5, "x", [1], {"a": {"b": {"c": {"d": "e"}}}}, True, None, -1):
            text = json.dumps({**whole, key: odd})
            try:
                found = BuildReport.from_json(text)
            except ValueError as error:
                assert key in str(error)
            else:
                assert json.loads(found.to_json())[key] == odd


def test_a_report_that_was_changed_is_read_with_a_warning(caplog):
    text = REPORT.to_json()
    assert BuildReport.from_json(text) == REPORT and caplog.text == ""
    assert BuildReport.from_json(text.replace('"window": 20', '"window": 21')).options == {"window": 21}
    assert "was changed since it was written" in caplog.text
