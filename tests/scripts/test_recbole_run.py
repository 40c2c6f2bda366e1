"""The adapter of RecBole: its files and its run file here; with RecBole itself where MENDER_RECBOLE_PYTHON names it.

The shop is a ring of twelve items in which everyone walks from an item to the next, and a thirteenth that nobody buys.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recbole_run
from recbole_run import Answer, Rows, item_list

from dataset_builders.benchmark.axes import AXES as BENCHMARK_AXES
from dataset_builders.benchmark.axes import METRICS

RING = 12
NUM_ITEMS = 13  # the last one is in no row


def walk(start, length):
    """`length` items of the ring from `start` on."""
    return [(start + step) % RING + 1 for step in range(length)]


def write_axis(folder, axis, split, rows):
    """Rows of (user, history, target)."""
    users, histories, targets = zip(*rows, strict=True)
    columns = {
        "user_id": pa.array(users, pa.string()),
        "position": pa.array([len(history) + 1 for history in histories], pa.int32()),
        "history": pa.array(histories, pa.list_(pa.int32())),
        "preference": pa.array(["never read"] * len(rows), pa.string()),
        "target": pa.array(targets, pa.int32()),
    }
    (folder / f"ring_{axis}").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"ring_{axis}" / f"{split}-00000-of-00001.parquet")


def write_items(folder, ids=range(1, NUM_ITEMS + 1), brand="", categories=()):
    """The catalog; item 1 has brand and categories of its own."""
    rows = [{"item_id": i, "brand": brand, "categories": list(categories)} for i in ids]
    rows[0] |= {"brand": "Larkspur & Co", "categories": ["Bath", "Soap bars", "Bath"]}
    schema = pa.schema({"item_id": pa.int32(), "brand": pa.string(), "categories": pa.list_(pa.string())})
    (folder / "ring_items").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "ring_items" / "train-00000-of-00001.parquet")


@pytest.fixture
def ring(tmp_path):
    """A benchmark: 36 users of the ring, and a fine axis with a row that has no history."""
    folder = tmp_path / "ring"
    names = [f"user\t{u}" for u in range(36)]  # which holds the separator of RecBole's files
    train = [(name, walk(u, n)[:-1], walk(u, n)[-1]) for u, name in enumerate(names) for n in range(2, 7)]
    for shift, split in enumerate(("validation", "test"), start=1):
        walks = [walk(u + shift, 2 + u % 5) for u in range(36)]
        rows = [(name, items[:-1], items[-1]) for name, items in zip(names, walks, strict=True)]
        write_axis(folder, "recommendation", split, rows)
        write_axis(folder, "history", split, rows)
        strangers = [("a stranger", walk(u, 1), walk(u, 2)[-1]) for u in range(RING)]
        write_axis(folder, "fine", split, [("user\t0", [], 3), *strangers])
    write_axis(folder, "recommendation", "train", train)
    write_items(folder)
    return folder


def arguments_for(benchmark, output, *more, model="GRU4Rec", domain="ring"):
    """A command line."""
    where = ["--benchmark", str(benchmark), "--domain", domain, "--output", str(output)]
    return ["--model", model, *where, *more]


def test_the_script_imports_neither_recbole_nor_torch_nor_a_package_of_this_repository(project):
    code = (
        f"import sys; sys.path.insert(0, {str(project / 'scripts')!r}); import recbole_run; "
        "print({'recbole', 'torch', 'modeling_mender', 'dataset_builders'} & {n.split('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_rows_are_those_of_the_split_in_their_order(ring):
    rows = recbole_run.read_axis(ring, "ring", "recommendation", "test")
    assert rows.users[:2] == ["user\t0", "user\t1"]
    assert rows.histories[:2] == [[3], [4, 5]] and rows.targets[:2] == [4, 6]
    assert len(rows.users) == len(rows.histories) == len(rows.targets) == 36


def test_rows_without_a_history_are_not_trained_on():
    rows = Rows(["a", "b", "c"], [[1], [], [2, 3]], [4, 5, 6])
    assert rows.with_history() == Rows(["a", "c"], [[1], [2, 3]], [4, 6])


def test_classes_are_the_brand_and_the_distinct_categories_of_an_item(tmp_path):
    write_items(tmp_path, [1, 2, 3], brand="Bath", categories=["Bath"])  # a brand is no category of the same name
    assert recbole_run.read_item_classes(tmp_path, "ring") == [[0, 1, 2], [3, 1], [3, 1]]


def test_items_without_brand_and_categories_have_no_class(ring):
    assert recbole_run.read_item_classes(ring, "ring")[1:] == [[]] * (NUM_ITEMS - 1)


@pytest.mark.parametrize(
    ("model", "target", "expected"),
    [
        ("SASRec", 9, [4, 5]),
        ("SASRec", None, [4, 5]),
        ("BERT4Rec", 9, [4, 5, 9]),  # its targets are gaps in the list
        ("BERT4Rec", None, [4, 4, 5]),  # it drops the first when asked
    ],
)
def test_item_list_is_the_history_but_for_bert4rec(model, target, expected):
    assert item_list(model, [4, 5], target) == expected


def test_atomic_files_hold_every_row_and_every_item(tmp_path):
    rows = {
        "train": Rows(["ann", "bob"], [[3], [3, 1]], [1, 2]),
        "validation": Rows(["ann"], [[3, 1]], [2]),
        "test": Rows(["bob"], [[3, 1, 2]], [3]),
    }
    length = recbole_run.write_atomic_files(
        tmp_path / "benchmark", "GRU4Rec", rows, {"ann": 0, "bob": 1}, [[0, 2], [], [1], [0]]
    )
    assert length == 3
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "benchmark").iterdir()}
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    assert files == {
        "benchmark.train.inter": header + "0\t3\t1\n1\t3 1\t2\n",
        "benchmark.validation.inter": header + "0\t3 1\t2\n",
        "benchmark.test.inter": header + "1\t3 1 2\t3\n",
        "benchmark.item": "item_id:token\tclass:token_seq\n1\t0 2\n2\t\n3\t1\n4\t0\n",
    }


def test_only_training_lists_of_bert4rec_end_with_the_target(tmp_path):
    rows = {split: Rows(["ann"], [[3, 1]], [2]) for split in recbole_run.SPLITS}
    length = recbole_run.write_atomic_files(tmp_path / "benchmark", "BERT4Rec", rows, {"ann": 0}, [[]] * 3)
    lists = {
        split: (tmp_path / "benchmark" / f"benchmark.{split}.inter").read_text(encoding="utf-8").split("\t")[-2]
        for split in recbole_run.SPLITS
    }
    assert lists == {"train": "3 1 2", "validation": "3 3 1", "test": "3 3 1"} and length == 3


def test_run_file_has_a_row_per_query_cut_at_the_depth(tmp_path):
    path = tmp_path / "new" / "run.parquet"
    answers = {
        "recommendation": [Answer(np.array([7, 3, 5]), np.array([0.5, 0.25, 0.0])), Answer()],
        "fine": [Answer([1], [-2])],
    }
    recbole_run.write_run(path, answers, 2, {"method": "recbole_gru4rec", "num_beams": None})
    table = pq.read_table(path)
    assert table.schema.equals(
        pa.schema({"query": pa.string(), "items": pa.list_(pa.int32()), "scores": pa.list_(pa.float32())})
    )
    assert table.to_pylist() == [
        {"query": "recommendation/0", "items": [7, 3], "scores": [0.5, 0.25]},
        {"query": "recommendation/1", "items": [], "scores": []},
        {"query": "fine/0", "items": [1], "scores": [-2.0]},
    ]
    assert json.loads(table.schema.metadata[b"mender"]) == {"method": "recbole_gru4rec", "num_beams": None}
    assert [file.name for file in path.parent.iterdir()] == ["run.parquet"]


def test_score_agrees_with_a_count_by_hand():
    answers = [Answer([5, 6, 7]), Answer([5]), Answer(), Answer(list(range(1, 12)))]
    found = recbole_run.score(answers, [6, 9, 5, 11])  # second place; absent; no answer; eleventh place
    assert found == pytest.approx({"recall": 1 / 4, "ndcg": 1 / np.log2(3) / 4})


def test_figures_that_recbole_does_not_find_are_an_error():
    def check(theirs):
        evaluator = SimpleNamespace(evaluate=lambda *_, **__: {"recall@10": theirs, "ndcg@10": 0.5})
        data, trained = SimpleNamespace(loaders={"test": None}), SimpleNamespace(trainer=evaluator)
        answers = [Answer([4]), Answer([5])]
        return recbole_run.check_against_recbole(SimpleNamespace(split="test"), data, trained, answers, [4, 9])

    assert check(0.5) == {"recall": 0.5, "ndcg": 0.5}
    with pytest.raises(ValueError, match=r"recall@10 of the rankings is 0.500000, and 0.500010 by RecBole's"):
        check(0.50001)


def one_line_of_error(capsys, argv):
    """Runs the command, which must fail; returns its line."""
    assert recbole_run.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_a_benchmark_that_is_not_there_is_one_line(tmp_path, capsys):
    error = one_line_of_error(capsys, arguments_for(tmp_path / "nowhere", tmp_path / "run.parquet"))
    assert "nowhere is no directory" in error and "mender build" in error


def test_a_domain_that_is_not_there_is_named_with_those_that_are(ring, tmp_path, capsys):
    error = one_line_of_error(capsys, arguments_for(ring, tmp_path / "run.parquet", domain="beauty"))
    assert "has no config beauty_recommendation" in error and "ring_recommendation" in error


def test_a_split_without_a_history_is_an_error(ring, tmp_path, capsys):
    write_axis(ring, "recommendation", "validation", [("user\t0", [], 3)])
    error = one_line_of_error(capsys, arguments_for(ring, tmp_path / "run.parquet"))
    assert "has no row with a history in validation" in error


def test_an_axis_asked_for_must_be_there(ring, tmp_path, capsys):
    argv = arguments_for(ring, tmp_path / "run.parquet", "--axes", "recommendation", "coarse")
    assert "has no config ring_coarse" in one_line_of_error(capsys, argv)


def test_an_axis_not_asked_for_may_be_missing(ring):
    assert list(recbole_run.read_queries(ring, "ring", None, "test")) == ["recommendation", "history", "fine"]


def test_an_item_outside_the_catalogue_is_an_error(ring, tmp_path, capsys):
    write_axis(ring, "fine", "test", [("user\t0", [99], 3)])
    error = one_line_of_error(capsys, arguments_for(ring, tmp_path / "run.parquet"))
    assert "rows name the item 99, and the catalog has 1..13" in error


def test_a_catalogue_with_a_gap_is_an_error(ring, tmp_path, capsys):
    write_items(ring, [*range(1, NUM_ITEMS), NUM_ITEMS + 1])
    error = one_line_of_error(capsys, arguments_for(ring, tmp_path / "run.parquet"))
    assert "ids of ring_items are not 1..13" in error


def test_a_model_of_features_needs_features(ring, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recbole_run, "read_item_classes", lambda *_: [[]] * NUM_ITEMS)
    error = one_line_of_error(capsys, arguments_for(ring, tmp_path / "run.parquet", model="FDSA"))
    assert "FDSA reads brands and categories" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topk: [5]\nlearning_rate: 0.01\n", "sets topk, which the arguments or the benchmark decide"),
        ("epochs: 3\nseed: 1\n", "sets epochs, seed, which"),
        ("- hidden_size\n", "must be a mapping from RecBole's settings to values, not list"),
        ("hidden_size: [1\n", "is not valid YAML"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line(ring, tmp_path, capsys, text, message):
    path = tmp_path / "extra.yaml"
    path.write_text(text, encoding="utf-8")
    argv = arguments_for(ring, tmp_path / "run.parquet", "--config_file", str(path))
    assert message in one_line_of_error(capsys, argv)


def test_settings_of_sizes_and_rates_are_the_users(tmp_path):
    path = tmp_path / "extra.yaml"
    path.write_text("hidden_size: 32\nlearning_rate: 0.01\ntrain_batch_size: 256\n", encoding="utf-8")
    assert recbole_run.read_settings(path) == {"hidden_size": 32, "learning_rate": 0.01, "train_batch_size": 256}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "BPRMF"], "invalid choice: 'BPRMF'"),
        (["--axes", "sentiment"], "invalid choice: 'sentiment'"),
        (["--depth", "0"], "--depth (0) must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        recbole_run.parse_arguments(arguments_for(tmp_path, tmp_path / "run.parquet", *more))
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_help_names_every_argument(capsys):
    with pytest.raises(SystemExit) as stopped:
        recbole_run.main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    for name in ("model", "benchmark", "domain", "output", "split", "axes", "loss", "epochs", "config_file", "seed"):
        assert f"--{name}" in text


@pytest.mark.skipif(find_spec("recbole") is not None, reason="this Python has RecBole")
def test_without_recbole_the_error_says_how_to_get_it(ring, tmp_path, capsys):
    assert recbole_run.main(arguments_for(ring, tmp_path / "run.parquet", "--axes", "fine")) == 1
    error = capsys.readouterr().err
    assert "does not have RecBole" in error and "scripts/recbole_requirements.txt" in error
    assert not (tmp_path / "run.parquet").exists()


@pytest.fixture
def recbole_python():
    """A Python that has RecBole."""
    python = os.environ.get("MENDER_RECBOLE_PYTHON")
    if not python:
        pytest.skip("set MENDER_RECBOLE_PYTHON to a Python that has scripts/recbole_requirements.txt and RecBole")
    return str(Path(python).absolute())


@pytest.mark.parametrize(
    ("model", "loss", "rate"),
    [
        ("GRU4Rec", "CE", 0.01),
        ("GRU4Rec", "BPR", 0.01),
        ("BERT4Rec", "CE", 0.001),
        ("FDSA", "CE", 0.001),
        ("S3Rec", "CE", 0.001),
    ],
)
def test_recbole_learns_the_ring_and_answers_every_query(project, recbole_python, ring, tmp_path, model, loss, rate):
    """That RecBole's evaluator agrees, the script itself demands: its exit code tells."""
    settings, output = tmp_path / "extra.yaml", tmp_path / "run.parquet"
    values = {"learning_rate": rate, "train_batch_size": 32}
    if model != "GRU4Rec":
        values |= {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    settings.write_text(json.dumps(values), encoding="utf-8")  # which is YAML too
    more = ["--epochs", "60", "--patience", "20", "--pretrain_epochs", "2", "--loss", loss]
    argv = arguments_for(ring, output, *more, "--config_file", str(settings), model=model)
    command = [recbole_python, str(project / "scripts" / "recbole_run.py"), *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 3  # the benchmark, the settings, the run, and no logs of RecBole

    table = pq.read_table(output)
    answers = {row["query"]: row["items"] for row in table.to_pylist()}
    rows_of = {"recommendation": 36, "history": 36, "fine": 13}
    assert list(answers) == [f"{axis}/{row}" for axis, number in rows_of.items() for row in range(number)]
    assert answers.pop("fine/0") == []  # no history
    assert all(sorted(items) == list(range(1, NUM_ITEMS + 1)) for items in answers.values())  # never the padding
    assert all(row["scores"] == sorted(row["scores"], reverse=True) for row in table.to_pylist())
    assert all(answers[f"history/{row}"] == answers[f"recommendation/{row}"] for row in range(36))
    assert sum(answers[f"recommendation/{row}"][0] == walk(row + 2, 2 + row % 5)[-1] for row in range(36)) >= 33
    # histories of one item: BERT4Rec as it is in RecBole reads nothing of them, and finds 1 of 12
    assert sum(answers[f"fine/{row}"][0] == walk(row - 1, 2)[-1] for row in range(1, 13)) >= 10
    metadata = json.loads(table.schema.metadata[b"mender"])
    assert metadata["method"] == f"recbole_{model.lower()}" + ("_bpr" if loss == "BPR" else "")
    assert metadata["recbole"] == "1.2.1" and metadata["settings"] == values
    assert (metadata["domain"], metadata["split"], metadata["depth"]) == ("ring", "test", NUM_ITEMS)
    assert 1 <= metadata["best_epoch"] <= metadata["epochs"] <= 60 and metadata["seconds"] > 0


def test_a_setting_that_the_model_does_not_know_is_one_line(project, recbole_python, ring, tmp_path):
    settings, output = tmp_path / "extra.yaml", tmp_path / "run.parquet"
    settings.write_text("hidden_sise: 32\n", encoding="utf-8")
    argv = arguments_for(ring, output, "--epochs", "1", "--config_file", str(settings))
    command = [recbole_python, str(project / "scripts" / "recbole_run.py"), *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and not output.exists()
    assert done.stderr == f"error: {settings} sets hidden_sise, which GRU4Rec does not know.\n"


def test_every_axis_with_histories_is_answered_in_all_ways_that_its_metric_needs():
    expected = {
        name: {"", *(f"/{variant}" for variant in METRICS[axis.metric])}
        for name, axis in BENCHMARK_AXES.items()
        if axis.has_history
    }
    assert {axis: set(endings) for axis, endings in recbole_run.AXES.items()} == expected
