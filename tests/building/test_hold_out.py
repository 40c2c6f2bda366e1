"""Items are held out of a benchmark: nothing of the training names them, and every cold test row asks for one."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmark_world import hash_embed
from datasets import load_dataset

from dataset_builders.benchmark.report import read_report
from dataset_builders.benchmark.tables import check_fingerprints
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.hold_out import AXES_KEPT, PARTS, HoldOut, hold_out_items
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands import hold_out


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "sample"
    build_benchmark(SampleSource(num_items=120, num_users=90), "sample", folder, hash_embed, progress=False)
    return folder


@pytest.fixture(scope="module")
def divided(benchmark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("held") / "out"
    return hold_out_items(str(benchmark), "sample", folder, share=0.2), folder


def rows(folder, name, split):
    path = folder / f"sample_{name}" / f"{split}-00000-of-00001.parquet"
    return pq.read_table(path).to_pylist() if path.exists() else []


def named(row):
    return {row["target"], *row["history"], row.get("source_item", row["target"])}


def test_training_names_no_item_that_is_held_out(divided):
    held, folder = divided
    assert len(rows(folder / "train", "items", "train")) == held.num_warm < len(held.new_ids) - 1
    for axis in AXES_KEPT:
        for split in ("train", "validation", "test"):
            for row in rows(folder / "train", axis, split):
                assert max(named(row)) <= held.num_warm
    assert max(row["item_id"] for row in rows(folder / "train", "preferences", "train")) <= held.num_warm


def test_cold_rows_ask_for_an_item_that_is_held_out_and_warm_rows_name_none(divided):
    held, folder = divided
    cold, warm = (rows(folder / part, "recommendation", "test") for part in ("cold", "warm"))
    assert cold and all(row["target"] > held.num_warm for row in cold)
    assert warm and all(max(named(row)) <= held.num_warm for row in warm)
    assert len(cold) + len(warm) <= len(rows(folder / "full", "recommendation", "test"))


def test_rows_are_the_old_ones_under_new_ids(divided, benchmark):
    held, folder = divided
    new = held.new_ids
    assert sorted(new.tolist()) == list(range(len(new)))
    for old, row in zip(
        rows(benchmark, "recommendation", "test"), rows(folder / "full", "recommendation", "test"), strict=True
    ):
        assert row == {**old, "target": new[old["target"]], "history": [new[item] for item in old["history"]]}
    old_titles = {new[item["item_id"]]: item["title"] for item in rows(benchmark, "items", "train")}
    for part in PARTS:
        items = rows(folder / part, "items", "train")
        assert [item["title"] for item in items] == [old_titles[number] for number in range(1, len(items) + 1)]
    added = pq.read_table(folder / "new_items.parquet")["title"].to_pylist()
    assert added == [old_titles[number] for number in range(held.num_warm + 1, len(new))]


def test_every_part_loads_and_its_fingerprints_are_those_of_its_rows(divided):
    _, folder = divided
    for part in PARTS:
        report = read_report(str(folder / part), "sample")
        names = [config.removeprefix("sample_") for config in report.rows]
        found = check_fingerprints(str(folder / part), "sample", names, report.fingerprints)
        assert found == report.fingerprints and report.options["held_out"] == 20
        assert len(load_dataset(str(folder / part), "sample_recommendation", split="test"))


def test_the_latest_items_are_held_out_by_time_or_by_place(benchmark, divided):
    held = HoldOut.of_latest(np.array([5.0, 9.0, 1.0, 7.0]), 0.5)
    assert held.new_ids.tolist() == [0, 1, 3, 2, 4] and held.num_warm == 2
    by_place, _ = divided
    users = {}
    for row in rows(benchmark, "preferences", "train"):
        users.setdefault(row["user_id"], []).append((row["position"], row["item_id"]))
    places = {}
    for actions in users.values():
        last = max(position for position, _ in actions)
        for position, item in actions:
            places.setdefault(item, []).append(position / last)
    median = {item: float(np.median(values)) for item, values in places.items()}
    cold = {item for item in range(1, len(by_place.new_ids)) if by_place.new_ids[item] > by_place.num_warm}
    assert min(median[item] for item in cold) >= max(median.get(item, 0) for item in range(1, 100) if item not in cold)


class TestCommand:
    def test_times_come_from_a_table_of_actions(self, benchmark, tmp_path, capsys):
        items = rows(benchmark, "items", "train")
        lines = [
            f"{item['source_id']},{1400000000 - item['item_id']}" for item in items
        ]  # the first item is the latest
        (tmp_path / "actions.csv").write_text("\n".join(["item_id,timestamp", *lines]) + "\n")
        words = ["--benchmark", benchmark, "--domain", "sample", "--output_dir", tmp_path / "out", "--share", "0.1"]
        assert hold_out.main([str(word) for word in (*words, "--interactions", tmp_path / "actions.csv")]) == 0
        assert "10 of 99 items held out, ids 90 to 99" in capsys.readouterr().out
        titles = [item["title"] for item in items[:10]]
        assert pq.read_table(tmp_path / "out" / "new_items.parquet")["title"].to_pylist() == titles

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--share", "0"], "must be above 0 and below 1"),
            (["--share", "nan"], "nan"),
            (["--share", "0.99"], "hold out fewer"),
            (["--share", "0.001"], "holds out 0 of 99 items"),
            (["--domain", "beauty"], "beauty"),
            (["--interactions", "no.csv"], "does not exist"),
        ],
    )
    def test_bad_input_is_told_in_one_line(self, words, message, benchmark, tmp_path, capsys):
        given = {"--benchmark": str(benchmark), "--domain": "sample", "--output_dir": str(tmp_path / "out")}
        given |= dict(zip(words[::2], words[1::2], strict=True))
        status = hold_out.main([word for pair in given.items() for word in pair])
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert status == 1 and message in errors[0]
        assert not (tmp_path / "out").exists()
