"""Damaged files of model folders: an error by name, or the same answer; a seeded sample of what the script tries."""

import shutil
from functools import cache
from pathlib import Path

import corruption_test
import pytest
from tiny_models import train_tiny

from modeling_mender.manifest import MANIFEST_FILE

FILES = [
    "config.json", "generation_config.json", "items.jsonl", "manifest.json", "model.safetensors",
    "processor_config.json", "tokenizer.json", "tokenizer_config.json", "training_arguments.yaml",
    "training_state.json", "recommendation.py",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny trained model of a method and one of another seed, made once."""

    @cache
    def train(name):
        folder = tmp_path_factory.mktemp(name)
        return tuple(train_tiny(name, folder / str(seed), seed=seed) for seed in (0, 1))

    return train


def wrong(cases):
    return [case for case in cases if case.outcome in ("silent", "other")]


@pytest.fixture
def quiet(caplog):
    caplog.set_level("ERROR")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["mender_tok", "mender_steer", "tiger", "sasrec"])
def test_every_damaged_file_is_refused_by_name_or_changes_nothing(trained, name):
    folders = trained(name)
    cases = corruption_test.corrupt(
        folders[0], corruption_test.ask_by_commands, folders[1], FILES, num_cuts=1, num_flips=1
    )
    assert len(cases) > 50
    assert wrong(cases) == []
    named = {case.file for case in cases if case.outcome == "named"}
    assert named >= {name for name in FILES if (folders[0] / name).is_file()}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["mender_steer", "tiger"])
def test_without_a_manifest_only_what_looks_whole_passes(trained, name, tmp_path):
    """A flipped bit of a weight and the weights of another epoch are what only the manifest knows."""
    folders = trained(name)
    folder = shutil.copytree(folders[0], tmp_path / "model")
    (folder / MANIFEST_FILE).unlink()
    few = ["items.jsonl", "model.safetensors", "tokenizer.json"]
    cases = corruption_test.corrupt(folder, corruption_test.ask_by_commands, folders[1], few, num_cuts=1, num_flips=0)
    assert {(case.file, case.damage) for case in wrong(cases)} <= {
        ("model.safetensors", "replaced by another model's")
    }


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("ask", [corruption_test.ask_by_auto_classes, corruption_test.ask_by_pipeline])
def test_the_auto_classes_and_the_pipeline_refuse_as_the_commands_do(trained, ask):
    folders = trained("mender_steer")
    few = ["items.jsonl", "model.safetensors", "generation_config.json"]
    cases = corruption_test.corrupt(folders[0], ask, folders[1], few, num_cuts=1, num_flips=1)
    assert wrong(cases) == []


def test_the_script_counts_and_changes_nothing(trained, capsys):
    folders = trained("sasrec")
    before = {path.name: path.read_bytes() for path in folders[0].iterdir()}
    words = [str(folders[0]), "--other", str(folders[1]), "--files", "items.jsonl", "--cuts", "0", "--flips", "0"]
    assert corruption_test.main(words) == 0
    counts = "damaged files: 7 refused by name, 0 with the same answer, 0 with another answer in silence, 0 with"
    assert counts in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folders[0].iterdir()} == before


def test_an_unnoticed_damage_is_counted_as_such(tmp_path):
    """The count can find fault: here nothing reads the file's content but its length."""
    (tmp_path / "number.txt").write_text("12")

    def ask(folder: Path) -> int:
        return len((folder / "number.txt").read_text())

    outcomes = {case.damage: case.outcome for case in corruption_test.corrupt(tmp_path, ask, num_cuts=1, num_flips=0)}
    assert outcomes["emptied"] == "silent"
    assert outcomes["replaced by a folder"] == outcomes["deleted"] == "named"
