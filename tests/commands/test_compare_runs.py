"""The command that compares two methods row by row: what it prints, and what it refuses."""

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_builders.commands import compare as compare_runs
from dataset_builders.scoring.ranks import query_ids, rank_rows, variants_of, write_ranks
from dataset_builders.scoring.runs import Run

NUM_ROWS = 60
TARGETS = list(range(1, NUM_ROWS + 1))
TABLES = {
    "fine": datasets.Dataset.from_dict({"user_id": ["u"] * NUM_ROWS, "history": [[61]] * NUM_ROWS, "target": TARGETS}),
    "sentiment": datasets.Dataset.from_dict({"target": TARGETS}),
}


def write_rows(path, num_hits, tables=TABLES, max_rows=0, **about):
    """Ranks of a method that finds the targets of the first rows behind a seen item, and no other."""
    answers = {}
    for axis, rows in tables.items():
        for variant in variants_of(axis):
            for row, query in enumerate(query_ids(axis, range(len(rows)), variant)):
                found = row < num_hits and not variant
                items = [61, rows[row]["target"]] if found else [61]
                answers[query] = (items, -np.arange(len(items)))
    about = {"method": path.stem, "domain": "toy", "split": "test", "k": [1, 10], **about}
    write_ranks(rank_rows(Run.from_answers(answers), tables, max_rows), path, about)
    return str(path)


@pytest.fixture
def pair(tmp_path):
    return [write_rows(tmp_path / "good.parquet", 40), write_rows(tmp_path / "bad.parquet", 10)]


def test_a_difference_is_printed_with_its_interval_and_its_p_value(pair, capsys):
    assert compare_runs.main(pair) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "good minus bad, with preference, protocol all"
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:]]
    assert [row[:5] for row in cells] == [
        ["sentiment", "m@10", "60", "30", "+0.5000"],
        ["fine", "recall@10", "60", "30", "+0.5000"],
        ["fine", "ndcg@10", "60", "30", "+0.3155"],
    ]
    for row in cells:
        low, high = (float(end) for end in row[5].split(" .. "))
        assert 0 < low < float(row[4]) < high
        assert float(row[6]) < 0.001


def test_the_other_way_round_the_difference_is_the_opposite_and_p_the_same(pair):
    there = compare_runs.compare(compare_runs.parse_arguments(pair))
    back = compare_runs.compare(compare_runs.parse_arguments(pair[::-1]))
    for key, test in there.items():
        assert back[key].difference == -test.difference
        assert back[key].p_value == pytest.approx(test.p_value, abs=0.01)


def test_a_method_does_not_differ_from_itself(pair):
    tests = compare_runs.compare(compare_runs.parse_arguments([pair[0], pair[0]]))
    assert all((test.difference, test.p_value, test.num_changed) == (0, 1, 0) for test in tests.values())


def test_axis_metric_side_and_protocol_are_chosen(pair):
    def chosen(*options):
        return compare_runs.compare(compare_runs.parse_arguments([*pair, *options]))

    assert list(chosen("--axis", "fine", "--metric", "recall@1", "m@1")) == [("fine", "recall@1")]
    assert chosen("--axis", "fine", "--metric", "recall@1")["fine", "recall@1"].difference == 0
    unseen = chosen("--axis", "fine", "--metric", "recall@1", "--protocol", "unseen")
    assert unseen["fine", "recall@1"].difference == 0.5  # the seen item in front is taken out
    without = chosen("--side", "without_preference")
    assert list(without) == [("fine", "recall@10"), ("fine", "ndcg@10")]
    assert without["fine", "recall@10"].difference == 0


def test_rows_are_paired_by_number_in_whatever_order_they_lie(pair, tmp_path):
    expected = compare_runs.compare(compare_runs.parse_arguments(pair))
    table = pq.read_table(pair[1])
    pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), tmp_path / "shuffled.parquet")
    assert (
        compare_runs.compare(compare_runs.parse_arguments([pair[0], str(tmp_path / "shuffled.parquet")])) == expected
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metric", "map@10"], "metric 'map@10' must be ndcg, recall, m, avoid"),
        (["--metric", "recall@0"], "metric 'recall@0' must be"),
        (["--metric", "recall@20"], "the deepest cut-off is 10"),
        (["--axis", "coarse"], "the files have no coarse in common; they share ['sentiment', 'fine']"),
        (["--axis", "fine", "--metric", "m@10"], "an axis has recall, ndcg and its own metric"),
        (["--resamples", "0"], "resamples (0)"),
    ],
)
def test_bad_options_are_one_line(pair, capsys, options, words):
    assert compare_runs.main([*pair, *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_files_that_do_not_pair_are_refused(pair, tmp_path, capsys):
    def fails_with(words, path):
        assert compare_runs.main([pair[0], path]) == 1
        assert words in capsys.readouterr().err

    fails_with("nowhere.parquet is no file", str(tmp_path / "nowhere.parquet"))
    fails_with("domain differs: 'toy' and 'boats'", write_rows(tmp_path / "other.parquet", 1, domain="boats"))
    fails_with("sentiment has 60 and 7 rows", write_rows(tmp_path / "other.parquet", 1, max_rows=7))
    targets = {"fine": TABLES["fine"].map(lambda row: {"target": 1 + row["target"] % 60})}
    fails_with("fine: the files differ in target", write_rows(tmp_path / "other.parquet", 1, targets))
    pq.write_table(TABLES["fine"].with_format("arrow")[:], tmp_path / "other.parquet")
    fails_with("is no table of ranks", str(tmp_path / "other.parquet"))
