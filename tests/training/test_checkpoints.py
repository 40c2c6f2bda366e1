"""Checkpoints: what they hold, damage of every kind, other data, full disks, models that are gone, two trainers."""

import json
import logging
import pickle
import re
import shutil

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny_training import EXAMPLES, run

from modeling_mender.training import checkpoints as module
from modeling_mender.training.checkpoints import (
    CHECKPOINT_FILES,
    MANIFEST_FILE,
    checkpoints,
    newest_whole,
)
from modeling_mender.training.output_folder import hold_output

DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: bytes([*content[:-3], content[-3] ^ 1, *content[-2:]]),
    "emptied": lambda content: b"",
    "deleted": lambda content: None,
}


def damage(path, kind):
    content = DAMAGES[kind](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output folder of a run of eight steps, with checkpoints at the fourth and the eighth."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder, max_steps=8)
    return folder / "run"


@pytest.fixture
def output(finished, tmp_path):
    """A copy of it, for a test to change."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


class TestNoCode:
    def test_a_checkpoint_holds_safetensors_json_and_yaml(self, finished):
        found = {path.name for path in (finished / "checkpoints/step_8").iterdir()}
        assert found == {*CHECKPOINT_FILES, MANIFEST_FILE}
        assert {name.rpartition(".")[2] for name in found} == {"safetensors", "json", "yaml"}

    @pytest.mark.parametrize("has_manifest", [True, False])
    def test_pickles_in_a_checkpoint_are_never_read(self, output, tmp_path, has_manifest):
        class Bomb:
            def __reduce__(self):
                return open, (str(tmp_path / "executed"), "w")

        folder = output / "checkpoints/step_8"
        for name in (
            "custom_checkpoint_0.pkl",
            "random_states_0.pkl",
            "optimizer.bin",
            "scheduler.bin",
            "sampler.bin",
        ):
            (folder / name).write_bytes(pickle.dumps(Bomb()))
        if has_manifest:
            run(tmp_path, max_steps=8)
        else:
            (folder / MANIFEST_FILE).unlink()
            with pytest.raises(ValueError, match="earlier version.*can run code.*--resume false"):
                run(tmp_path, max_steps=8)
        assert not (tmp_path / "executed").exists()
        pickle.loads((folder / "optimizer.bin").read_bytes()).close()  # the bomb works
        assert (tmp_path / "executed").exists()

    def test_nothing_in_the_packages_unpickles(self, project):
        words = re.compile(r"torch\.load\(|pickle\.|import pickle|\.load_state\(|allow_pickle=True|joblib")
        sources = [path for name in ("modeling_mender", "dataset_builders") for path in (project / name).rglob("*.py")]
        assert len(sources) > 100
        assert not [path for path in sources if words.search(path.read_text(encoding="utf-8"))]


class TestDamage:
    @pytest.mark.parametrize("kind", DAMAGES)
    @pytest.mark.parametrize("name", [*CHECKPOINT_FILES, MANIFEST_FILE])
    def test_the_checkpoint_before_is_taken_and_the_damaged_file_named_once(self, output, caplog, name, kind):
        damage(output / "checkpoints/step_8" / name, kind)
        with caplog.at_level(logging.WARNING):
            assert newest_whole(output) == output / "checkpoints/step_4"
        (record,) = caplog.records
        assert re.search(rf"step_8/{name} is (damaged|missing).*resuming from .*step_4 instead", record.getMessage())
        damage(output / "checkpoints/step_4" / name, kind)
        with pytest.raises(ValueError, match=rf"no checkpoint in .* whole: .*step_8/{name}.*step_4.*--resume false"):
            newest_whole(output)

    def test_a_run_continued_from_the_one_before_ends_with_the_same_weights(self, output, tmp_path):
        expected = load_file(output / "checkpoints/step_8/model.safetensors")
        moments = load_file(output / "checkpoints/step_8/optimizer.safetensors")
        damage(output / "checkpoints/step_8/optimizer.safetensors", "flipped")
        state, _ = run(tmp_path, max_steps=8)
        assert state.step == 8
        assert [path.name for path in checkpoints(output)] == ["step_4", "step_8"]
        assert newest_whole(output) == output / "checkpoints/step_8"
        assert_same(expected, load_file(output / "checkpoints/step_8/model.safetensors"))
        assert_same(moments, load_file(output / "checkpoints/step_8/optimizer.safetensors"))

    def test_a_damaged_later_one_is_not_kept_in_place_of_a_whole_one(self, output, tmp_path):
        (output / "checkpoints/step_8").rename(output / "checkpoints/step_12")
        damage(output / "checkpoints/step_12/model.safetensors", "cut")
        run(tmp_path, max_steps=8, save_total_limit=1)
        assert [path.name for path in checkpoints(output)] == ["step_8"]

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("settings.json", lambda settings: settings["random_states"].clear()),
            ("settings.json", lambda settings: settings.pop("schedule")),
            ("settings.json", lambda settings: settings["random_states"][0].update(torch="zz")),
            ("settings.json", lambda settings: settings.update(optimizer=[])),
            ("training_state.json", lambda state: state.pop("epoch")),
        ],
    )
    def test_a_checkpoint_that_holds_something_else_is_refused(self, output, tmp_path, name, change):
        folder = output / "checkpoints/step_8"
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))
        (folder / MANIFEST_FILE).unlink()
        module.write_manifest(folder)
        with pytest.raises(ValueError, match=r"step_8 does not hold what a checkpoint holds.*--resume false"):
            run(tmp_path, max_steps=8)

    def test_weights_of_another_model_are_refused(self, output, tmp_path):
        with pytest.raises(ValueError, match=r"do not fit the model \(.* is .* in the model\)"):
            run(tmp_path, max_steps=8, config={"d_ff": 24})


class TestOtherWords:
    def test_folders_written_another_way_continue_a_run(self, output, tmp_path, monkeypatch):
        (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
        words = {"benchmark": str(tmp_path / "b"), "semantic_ids": "./s/", "cache_dir": "cache/"}
        run(tmp_path, max_steps=8, output_dir=str(tmp_path / "link/run"), text_encoder="enc", **words, resume=False)
        monkeypatch.chdir(tmp_path)
        words = {"benchmark": "link/b", "semantic_ids": str(tmp_path / "s"), "cache_dir": str(tmp_path / "cache")}
        state, _ = run(tmp_path, max_steps=8, output_dir="run/", text_encoder=str(tmp_path / "enc"), **words)
        assert state.step == 8
        with pytest.raises(ValueError, match="text_encoder"):
            run(tmp_path, max_steps=8, text_encoder="another", **words)

    def test_other_data_in_the_same_place_is_refused(self, output, tmp_path):
        with pytest.raises(ValueError, match="the training examples of the benchmark b are not those"):
            run(tmp_path, max_steps=8, examples=EXAMPLES[::-1])


class TestTheModelIsThere:
    def test_a_model_that_is_gone_is_written_again_from_the_same_weights(self, output, tmp_path):
        expected = load_file(output / "model/model.safetensors")
        shutil.rmtree(output / "model")
        run(tmp_path, max_steps=8)
        assert_same(expected, load_file(output / "model/model.safetensors"))

    @pytest.mark.parametrize(
        "change",
        [
            lambda model: (model / "items.jsonl").unlink(),
            lambda model: (model / "model.safetensors").write_bytes(b"cut"),
            lambda model: (model / "config.json").write_text("{}"),
            lambda model: (model / MANIFEST_FILE).write_text("[]"),
            lambda model: shutil.copytree(model.parents[1] / "other/run/model", model, dirs_exist_ok=True),
        ],
        ids=["items", "weights", "configuration", "manifest", "another run's"],
    )
    def test_a_damaged_or_foreign_model_is_written_again_with_a_warning(self, output, tmp_path, caplog, change):
        expected = {name: weight.clone() for name, weight in load_file(output / "model/model.safetensors").items()}
        run(tmp_path / "other", max_steps=8, validate=lambda _: 0.7, seed=3)
        change(output / "model")
        run(tmp_path, max_steps=8)
        assert "is written again from the checkpoint" in caplog.text
        assert_same(expected, load_file(output / "model/model.safetensors"))
        caplog.clear()
        run(tmp_path, max_steps=8)
        assert "written again" not in caplog.text

    def test_a_best_model_that_is_gone_is_an_error_where_other_weights_are_at_hand(self, tmp_path):
        scores = iter([0.3, 0.1])
        run(tmp_path, max_steps=8, validate=lambda _: next(scores))
        shutil.rmtree(tmp_path / "run/model")
        with pytest.raises(FileNotFoundError, match="best model, of step 4, is no longer in .*--resume false"):
            run(tmp_path, max_steps=8)

    def test_a_model_that_vanishes_while_training_is_an_error_at_the_end(self, tmp_path):
        scores = iter([0.3, 0.1])

        def vanish(_):
            shutil.rmtree(tmp_path / "run/model", ignore_errors=True)
            return next(scores)

        with pytest.raises(FileNotFoundError, match="no longer in"):
            run(tmp_path, max_steps=8, validate=vanish)

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_score_that_is_not_finite_is_an_error(self, tmp_path, score):
        with pytest.raises(FloatingPointError, match=f"validation score is {score}"):
            run(tmp_path, max_steps=4, validate=lambda _: score)
        assert not (tmp_path / "run/model").exists()

    def test_weights_that_the_last_step_spoilt_are_not_saved(self, tmp_path):
        with pytest.raises(FloatingPointError, match="weight .* is no longer finite at step 1.*weight_decay"):
            run(tmp_path, max_steps=1, warmup_steps=0, learning_rate=1e30, weight_decay=1e30)
        assert not (tmp_path / "run/model").exists()


class TestOutputFolder:
    def test_a_second_trainer_is_refused_until_the_first_ends(self, output, tmp_path):
        before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
        with hold_output(output), pytest.raises(BlockingIOError, match="another run is writing there.*run"):
            run(tmp_path, max_steps=8)
        assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
        run(tmp_path, max_steps=8)

    @pytest.mark.parametrize("name", ["", "model", "checkpoints"])
    def test_a_file_in_the_place_of_a_folder_is_found_before_the_work(self, tmp_path, name):
        path = tmp_path / "run" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(FileExistsError, match="is a file where a folder will be"), hold_output(tmp_path / "run"):
            pass
        assert path.read_text() == "mine"

    def test_a_folder_that_stays_empty_is_removed_and_any_other_kept(self, tmp_path):
        with pytest.raises(ValueError), hold_output(tmp_path / "run"):
            raise ValueError
        assert not (tmp_path / "run").exists()
        (tmp_path / "run").mkdir()
        (tmp_path / "run/notes").write_text("mine")
        with hold_output(tmp_path / "run"):
            pass
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes"]

    @pytest.mark.parametrize(
        "error",
        [
            OSError(28, "No space left on device"),
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            SafetensorError('Error while serializing: I/O error: Too many open files (os error 24) at path "x"'),
        ],
    )
    def test_a_disk_that_fills_up_names_the_folder_and_the_run_continues(self, tmp_path, monkeypatch, error):
        def full(tensors, path):
            if path.name == "optimizer.safetensors" and "step_8" in str(path):
                raise error
            save_file(tensors, path)

        save_file = module.save_file
        monkeypatch.setattr(module, "save_file", full)
        with pytest.raises(OSError, match="cannot write .*step_8"):
            run(tmp_path)
        monkeypatch.undo()
        assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["step_4"]
        assert newest_whole(tmp_path / "run") is not None
        state, _ = run(tmp_path)
        assert state.step == 12
