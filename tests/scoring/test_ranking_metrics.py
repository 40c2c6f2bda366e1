"""
recall@k, ndcg@k, m@k: by hand, against ranx, and against a slow twin; and the evaluate.Metric in a fresh process.
"""

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from forked_python import server
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.ranking_metrics import (
    all_at_k,
    avoid_at_k,
    m_at_k,
    ndcg_at_k,
    recall_at_k,
    score_run,
    strength_at_k,
)


def slow_ndcg(ranking: list[int], relevant: set[int], k: int) -> float:
    """The textbook's sums, one place at a time."""
    gain = sum(1 / math.log2(1 + rank) for rank, item in enumerate(ranking[:k], start=1) if item in relevant)
    return gain / sum(1 / math.log2(1 + rank) for rank in range(1, min(k, len(relevant)) + 1))


@st.composite
def rankings(draw) -> tuple[list[list[int]], list[list[int]], int]:
    items = st.integers(0, 30)
    num_rows = draw(st.integers(1, 6))
    rows = st.lists(st.lists(items, unique=True, max_size=12), min_size=num_rows, max_size=num_rows)
    relevant = st.lists(st.lists(items, unique=True, min_size=1, max_size=8), min_size=num_rows, max_size=num_rows)
    return draw(rows), draw(relevant), draw(st.integers(1, 15))


def test_values_by_hand():
    predictions = np.array([[3, 9, 1], [9, 3, 1], [1, 2, 3]])
    assert recall_at_k(predictions, [9, 9, 9], 1).tolist() == [0, 1, 0]
    assert recall_at_k(predictions, [9, 9, 9], 2).tolist() == [1, 1, 0]
    np.testing.assert_allclose(ndcg_at_k(predictions, np.array([9, 9, 9]), 3), [1 / math.log2(3), 1, 0])


def test_ideal_ranking_of_several_relevant_items_scores_one_even_beyond_k():
    assert ndcg_at_k([[5, 6]], [[5, 6, 7, 8]], k=2).tolist() == [1.0]
    assert recall_at_k([[5, 6]], [[5, 6, 7, 8]], k=2).tolist() == [0.5]
    # Fewer candidates than k and than relevant items: the missing places are misses, the ideal has four hits.
    expected = (1 + 1 / math.log2(3)) / sum(1 / math.log2(1 + rank) for rank in (1, 2, 3, 4))
    np.testing.assert_allclose(ndcg_at_k([[5, 6]], [[5, 6, 7, 8]], k=10), [expected])


def test_m_needs_a_hit_with_the_positive_and_none_with_the_negative_preference():
    positive, negative = [[9, 1], [9, 1], [2, 1], [2, 1]], [[3, 4], [4, 9], [3, 4], [9, 4]]
    assert m_at_k(positive, negative, [9, 9, 9, 9], k=2).tolist() == [1, 0, 0, 0]
    assert m_at_k(positive, negative, [9, 9, 9, 9], k=1).tolist() == [1, 1, 0, 0]  # 9 is only second for the negative


def test_means_are_over_rows_not_over_batches():
    predictions, references = [[1]] * 3 + [[2]], [1, 1, 1, 1]
    assert score_run(predictions, references, k=1) == {"recall@1": 0.75, "ndcg@1": 0.75}
    # Batches of three and one would average to (1 + 0) / 2.


def test_keys_name_every_metric_and_cutoff():
    results = score_run([[3, 9]], [9], predictions_negative=[[1]])
    assert list(results) == ["recall@5", "recall@10", "ndcg@5", "ndcg@10", "m@5", "m@10"]
    assert all(type(value) is float for value in results.values())


def test_an_empty_place_is_a_miss_and_may_repeat():
    assert recall_at_k(np.array([[-1, 4, -1]]), [4], k=2).tolist() == [1.0]
    assert recall_at_k([[-1, -1], []], [4, 4], k=2).tolist() == [0.0, 0.0]


@settings(deadline=None, max_examples=100)
@given(rankings())
def test_vectorised_equals_one_place_at_a_time(case):
    predictions, references, k = case
    recall = [len(set(row[:k]) & set(items)) / len(items) for row, items in zip(predictions, references, strict=True)]
    ndcg = [slow_ndcg(row, set(items), k) for row, items in zip(predictions, references, strict=True)]
    np.testing.assert_allclose(recall_at_k(predictions, references, k), recall)
    np.testing.assert_allclose(ndcg_at_k(predictions, references, k), ndcg)
    followed = [
        bool(set(row[:k]) & set(items)) and not set(other[:k]) & set(items)
        for row, other, items in zip(predictions, predictions[::-1], references, strict=True)
    ]
    assert m_at_k(predictions, predictions[::-1], references, k).tolist() == followed


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
for case in json.load(sys.stdin):
    print(json.dumps(evaluate(Qrels(case["qrels"]), Run(case["run"]), ["recall@5", "recall@10", "ndcg@5", "ndcg@10"])))
"""


def test_equals_ranx_on_random_runs_with_one_and_several_relevant_items():
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx, the referee, is not installed; it comes with the extra `test`")
    rng = np.random.default_rng(0)
    cases, ours = [], []
    for num_relevant in (1, 4):
        # Rankings of 3 to 20 items: some shorter than the cutoffs.
        predictions = [rng.permutation(30)[: rng.integers(3, 21)].tolist() for _ in range(40)]
        references = [rng.permutation(30)[:num_relevant].tolist() for _ in range(40)]
        run = {f"q{n:02}": {f"d{i}": 99.0 - rank for rank, i in enumerate(row)} for n, row in enumerate(predictions)}
        qrels = {f"q{n:02}": {f"d{i}": 1 for i in items} for n, items in enumerate(references)}
        cases.append({"run": run, "qrels": qrels})
        ours.append(score_run(predictions, references))
    # Interpreted: compiling ranx takes a minute, this run a moment.
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run(
        [sys.executable, "-c", RANX], input=json.dumps(cases), env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    for mine, theirs in zip(ours, result.stdout.splitlines(), strict=True):
        assert mine == pytest.approx(json.loads(theirs))


@pytest.mark.parametrize(
    ("predictions", "references", "k", "message"),
    [
        ([], [], 5, "predictions is empty"),
        ([[1]], [], 5, "references is empty"),
        ([[1], [2]], [1], 5, "references has 1 rows, predictions has 2"),
        ([[1]], [1], 0, "k must be an integer of at least 1, got 0"),
        ([[1]], [1], -3, "got -3"),
        ([[1]], [1], 2.0, "got 2.0"),
        ([[1]], [1], True, "got True"),
        ([[1]], [1], "10", "got '10'"),
        ([[1, 2], [7, 3, 7]], [1, 2], 5, "item 7 occurs more than once in row 1"),
        (np.array([[1, 2], [4, 4]]), [1, 2], 5, "item 4 occurs more than once in row 1"),
        ([[1.5]], [1], 5, "row 0 holds 1.5 (float); item ids are integers"),
        ([["a"]], [1], 5, "item ids are integers"),
        ([[1], [None]], [1, 1], 5, "row 1 holds None (NoneType); item ids are integers"),
        ([3, 9], [1, 1], 5, "row 0 is 3 (int); give a flat list"),
        ([[1, -2]], [1], 5, "row 0 holds -2"),
        ([[1]], [-1], 5, "references: row 0 holds -1"),
        ([[1], [1]], [[1], []], 5, "references: row 1 has no relevant item"),
        ([[1]], [[2, 2]], 5, "references: item 2 occurs more than once in row 0"),
        ([[1]], [1.0], 5, "references: row 0 holds 1.0 (float)"),
    ],
)
def test_bad_input_is_named(predictions, references, k, message: str):
    for function in (recall_at_k, ndcg_at_k, score_run):
        with pytest.raises(ValueError, match=re.escape(message)):
            function(predictions, references, k)


def test_a_filtered_series_counts_by_its_places_and_not_by_its_labels():
    table = pd.DataFrame({"ranked": [[3, 9], [4, 2], [7, 1]], "target": [3, 2, 5], "keep": [False, True, True]})
    kept = table[table.keep]
    assert score_run(kept.ranked, kept.target, k=1) == {"recall@1": 0.0, "ndcg@1": 0.0}
    assert score_run(kept.ranked, kept.target, k=2)["recall@2"] == 0.5
    assert score_run(kept.ranked, kept.ranked, k=1)["ndcg@1"] == 1.0
    with pytest.raises(ValueError, match=r"row 0 is 2 \(int64\); give a flat list"):
        score_run(kept.target, kept.target, k=1)


def test_bad_negative_rankings_are_named():
    with pytest.raises(ValueError, match="predictions_negative has 2 rows, predictions has 1"):
        score_run([[1]], [1], predictions_negative=[[1], [2]])
    with pytest.raises(ValueError, match="predictions_negative: item 5 occurs more than once in row 0"):
        m_at_k([[1]], [[5, 5]], [1], 5)
    with pytest.raises(ValueError, match="k is empty"):
        score_run([[1]], [1], k=[])


def test_the_pure_functions_do_not_import_evaluate(project):
    code = "import sys, dataset_builders.ranking_metrics; print('evaluate' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


LOAD_AND_COMPUTE = """
import doctest, pathlib, re, sys, evaluate
card = pathlib.Path(sys.argv[1], "README.md").read_text()
examples = "\\n".join(re.findall("```python\\n(.*?)```", card, flags=re.S))
print(doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(examples, {}, "card", None, 0)))
for folder in sys.argv[1:]:
    metric = evaluate.load(folder)
    print(metric.compute(predictions=[[3, 9, 1]], references=[9], k=[5, 10]))
    print(metric.compute(predictions=[[3, 9], [2]], references=[[9], [2, 3]], k=1, predictions_negative=[[9], [1]]))
    for bad in ({"predictions": [], "references": []}, {"predictions": [[3.7]], "references": [3]},
                {"predictions": [[3]], "references": [3], "k": 0}):
        try:
            metric.compute(**bad)
        except ValueError as error:
            print("ValueError", error)
    metric.add_batch(predictions=[[1, 2]], references=[2])
    for bad in ([3.7], [3.0]):
        try:
            metric.add(prediction=bad, reference=3)
        except ValueError as error:
            print("ValueError", error)
    metric.add(prediction=[4], reference=4)
    metric.add(prediction=[], reference=4)
    print(metric.compute(k=2))
"""


def test_evaluate_loads_the_folder_also_when_copied_elsewhere_in_a_fresh_process_offline(project, tmp_path):
    shutil.copytree(project / "dataset_builders" / "ranking_metrics", tmp_path / "alone" / "ranking_metrics")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    folders = ("dataset_builders/ranking_metrics", tmp_path / "alone" / "ranking_metrics")
    result = server().run(LOAD_AND_COMPUTE, *folders, environment=environment, cwd=project)
    assert result.returncode == 0, result.stderr
    ndcg = 1 / math.log2(3)
    once = [
        str({"recall@5": 1.0, "recall@10": 1.0, "ndcg@5": ndcg, "ndcg@10": ndcg}),
        str({"recall@1": 0.25, "ndcg@1": 0.5, "m@1": 0.5}),
        "ValueError predictions is empty; give at least one row.",
        "ValueError predictions: row 0 holds 3.7 (float); item ids are integers.",
        "ValueError k must be an integer of at least 1, got 0 (int).",
        "ValueError predictions: row 0 holds 3.7 (float); item ids are integers.",
        "ValueError predictions: row 0 holds 3.0 (float); item ids are integers.",
        str({"recall@2": 2 / 3, "ndcg@2": (1 + ndcg) / 3}),
    ]
    assert result.stdout.strip().split("\n") == ["TestResults(failed=0, attempted=9)", *once, *once]


def test_importing_the_metric_leaves_the_functions_what_they_are():
    import dataset_builders.ranking_metrics as package
    import dataset_builders.ranking_metrics.ranking_metrics  # noqa: F401  evaluate wants a module of the folder's name

    assert all(callable(getattr(package, name)) for name in package.__all__)


class TestMetricsOfSteering:
    def test_avoidance_counts_only_what_was_shown_before_and_is_gone_without_a_loss(self):
        before = [[4, 2], [4, 2], [1, 2], [4, 2], [4, 1]]
        after = [[1, 2], [4, 2], [1, 2], [1, 3], [1, 2]]
        #        gone     still   never    target lost  gone, target gained
        assert avoid_at_k(after, before, [4] * 5, [2] * 5, k=2).tolist() == [1, 0, 0, 0, 1]

    def test_leaving_items_out_avoids_nothing(self):
        assert avoid_at_k([[], [1], [1, -1], [1, 2]], [[4, 2]] * 4, [4] * 4, [9] * 4, k=2).tolist() == [0, 0, 0, 1]

    def test_a_list_that_does_not_change_avoids_nothing_and_is_not_turned_by_strength(self):
        lists = [[3, 1, 2], [2, 1, 3]]
        assert avoid_at_k(lists, lists, [3, 3], [1, 1], k=3).tolist() == [0, 0]
        assert strength_at_k([lists] * 4, [3, 2], k=3).tolist() == [0, 0]

    def test_strength_needs_a_rise_over_no_preference_and_over_the_weakest_and_no_fall_between(self):
        def one(*places):
            lists = [[[*range(100, 99 + place), 7]] if place else [[1]] for place in places]
            return strength_at_k(lists, [7], k=5).item()

        assert one(9, 5, 3, 2) == 1
        assert one(0, 0, 3, 2) == 1  # not found, then found
        assert one(9, 1, 1, 1) == 1  # first from the weakest on
        assert one(9, 3, 3, 3) == 0  # the strength changes nothing
        assert one(9, 3, 4, 1) == 0  # falls between
        assert one(1, 1, 1, 1) == 0  # first without the preference, too
        assert one(9, 8, 7, 6) == 0  # not among the first five
        assert one(9, 3, 2, 0) == 0

    def test_all_needs_every_relevant_item(self):
        assert all_at_k([[3, 9, 1], [3, 4, 1]], [[9, 3], [9, 3]], k=2).tolist() == [1, 0]
        assert recall_at_k([[3, 9, 1], [3, 4, 1]], [[9, 3], [9, 3]], k=2).tolist() == [1, 0.5]
        assert all_at_k([[3, 9]], [[9]], k=2).tolist() == recall_at_k([[3, 9]], [[9]], k=2).tolist()

    def test_they_are_in_the_run_of_scores_when_asked_for(self):
        found = score_run(
            [[1, 2]], [[2]], k=2, predictions_without=[[4, 1]], avoided=[4], all_items=True,
            predictions_by_strength=[[[4, 1]], [[1, 2]], [[2, 1]]],
        )  # fmt: skip
        assert {name: found[name] for name in ("avoid@2", "strength@2", "all@2")} == dict.fromkeys(
            ("avoid@2", "strength@2", "all@2"), 1.0
        )

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            ({"predictions_by_strength": {0: [[1]]}}, "predictions_by_strength is dict"),
            ({"avoided": [1]}, "avoided is given without predictions_without"),
            ({"predictions_without": [[1]]}, "predictions_without is given without avoided"),
            ({"predictions_by_strength": [[[1]], [[1]]]}, "holds 2 rankings"),
            ({"predictions_by_strength": [[[1]], [[1]], [[1], [2]]]}, r"predictions_by_strength\[2\] has 2 rows"),
        ],
    )
    def test_half_of_what_a_metric_needs_is_refused(self, extra, message):
        with pytest.raises(ValueError, match=message):
            score_run([[1, 2]], [2], k=2, **extra)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (None, [1], r"predictions is None \(NoneType\); give a list"),
        ([[1]], None, r"references is None \(NoneType\); give a list"),
        (np.array(3), [1], r"predictions is array\(3\) \(ndarray\); give a list"),
        ((row for row in [[1]]), [1], r"predictions is .* \(generator\); give a list"),
        (np.array([[2**64 - 1]], np.uint64), [1], "item ids are below"),
    ],
)
def test_what_is_no_list_of_ids_is_refused(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        score_run(predictions, references, k=1)


class TestTensors:
    @pytest.mark.parametrize(
        "given",
        [
            lambda ids: ids, lambda ids: ids.to_sparse(), lambda ids: ids.to_sparse_csr(), lambda ids: list(ids),
            lambda ids: [[one for one in row] for row in ids], lambda ids: [[ids[0, 0].to_sparse(), 9, 1]],
            lambda ids: ids.byte(),
        ],
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore:Sparse CSR")
    def test_integers_of_every_layout_are_read(self, given):
        torch = pytest.importorskip("torch")
        assert score_run(given(torch.tensor([[3, 9, 1]])), torch.tensor([9]), k=2)["recall@2"] == 1

    @pytest.mark.parametrize(
        "given",
        [
            lambda ids: ids.bfloat16(), lambda ids: ids.float().requires_grad_(), lambda ids: ids.to("meta"),
            lambda ids: list(ids.float().requires_grad_()), lambda ids: [[ids[0, 0].bfloat16()]],
            lambda ids: [[ids[0, 0].float().requires_grad_()]], lambda ids: ids.bool(), lambda ids: ids.cfloat(),
        ],
    )  # fmt: skip
    def test_all_else_is_refused_by_name(self, given):
        torch = pytest.importorskip("torch")
        for rows in ((given(torch.tensor([[3, 9, 1]])), [9]), ([[9]], given(torch.tensor([[3, 9, 1]])))):
            with pytest.raises(ValueError, match=r"(predictions|references)(: row 0 holds| is a tensor)"):
                score_run(*rows)

    def test_integers_of_thousands_of_digits_are_refused_without_them(self):
        for rows, k in ((([[10**5000]], [9]), 1), (([[9]], 10**5000), 1), (([[9]], [9]), 10**5000)):
            with pytest.raises(ValueError, match="a value .int."):
                score_run(*rows, k=k)


@pytest.mark.parametrize("in_memory", [True, False])
def test_rows_outlive_options_that_are_refused(in_memory, tmp_path):
    evaluate = pytest.importorskip("evaluate")
    metric = evaluate.load("dataset_builders/ranking_metrics", keep_in_memory=in_memory, cache_dir=str(tmp_path))
    metric.add(prediction=[1, 2], reference=1)
    for options, said in [
        ({"k": 0}, "k must be an integer"), ({"all_items": "no"}, "all_items"), ({"cutoff": 5}, "no option 'cutoff'"),
        ({"k": 1, "avoided": [3]}, "avoided is given without"), ({"predictions_negative": [[3], [4]]}, "has 2 rows"),
        ({"predictions": [[7]], "references": [8], "predictions_negative": [[3]]}, "has 1 rows"),
        ({"predictions": [[7.5]], "references": [8]}, "7.5"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=said):
            metric.compute(**options)
    metric.add(prediction=[3, 4], reference=4)
    assert metric.compute(k=1) == {"recall@1": 0.5, "ndcg@1": 0.5}
    with pytest.raises(ValueError, match="there are no rows"):
        metric.compute(k=1)
