"""An output folder that cannot be made is refused before the work, by every command that writes one."""

import pytest

from modeling_mender.commands import evaluate, learn_ids, obedience, publish_model, train
from modeling_mender.commands.output_paths import check_output_folder
from modeling_mender.training.output_folder import hold_output


@pytest.fixture
def places(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    return tmp_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


BAD = {"file": "is a file", "file/x": "is a file", "link": "does not exist", "link/x": "does not exist"}
BAD |= {"a" * 300: "too long", "a\0b": "null", "/proc/x": "cannot be a folder", "/dev/null/x": "is a file"}
COMMANDS = {
    evaluate: ["model", "--benchmark", "b", "--domain", "sample"],
    obedience: ["model", "--benchmark", "b", "--domain", "sample"],
    learn_ids: ["--benchmark", "b", "--domain", "sample", "--overwrite"],
    publish_model: ["model", "--repo_id", "org/name", "--dry_run"],
    train: ["most_popular", "--domain", "sample"],
}


@pytest.mark.parametrize("name", BAD)
def test_a_path_that_can_be_no_folder_is_refused_with_its_name(places, name):
    with pytest.raises(OSError, match=BAD[name]) as caught:
        check_output_folder(places / name, "--place")
    said = str(caught.value)
    assert said.startswith("--place (") and said.endswith("; give another one.")
    assert "\n" not in said and "Errno" not in said
    assert names_in(places) == ["file", "link"]


def test_a_folder_that_is_there_or_can_be_made_is_taken_and_left_as_it_is(places):
    (places / "full").mkdir()
    (places / "to").symlink_to(places / "full")
    for name in ("full", "to", "to/below", "new/below"):
        check_output_folder(places / name)
    assert names_in(places) == ["file", "full", "link", "to"]
    assert names_in(places / "full") == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.split(".")[-1])
@pytest.mark.parametrize("name", ["file", "link", "/dev/null/x"])
def test_each_command_says_so_before_its_work(places, capsys, monkeypatch, command, name):
    monkeypatch.chdir(places)
    assert command.main([*COMMANDS[command], "--output_dir", name]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: --output_dir (") and error.endswith("give another one.")


@pytest.mark.parametrize("name", ["model", "adapter", "checkpoints", "checkpoints/step_20"])
@pytest.mark.parametrize("kind", ["a file", "a link to nowhere"])
def test_a_part_of_a_training_that_is_no_folder_is_refused_before_the_training(tmp_path, name, kind):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x") if kind == "a file" else path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=f"{path} is {kind}"), hold_output(tmp_path):
        pass
