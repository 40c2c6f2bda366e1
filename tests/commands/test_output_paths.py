"""An output folder that cannot be made is refused before the work, by every command that writes one."""

import pytest

from dataset_builders.atomic_write import check_creatable, check_writable
from dataset_builders.commands.command_line import explain
from modeling_mender.commands import evaluate, learn_ids, obedience, train
from modeling_mender.training.output_folder import hold_output


@pytest.fixture
def places(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    return tmp_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


BAD = {"file/x": "is a file", "link": "link to nowhere", "link/x": "link to nowhere", "a" * 300: "too long"}
BAD |= {"a\0b/c": "null", "a\0b": "null", "/proc/x": "cannot write", "/dev/null/x": "is a file"}
COMMANDS = {
    evaluate: ["model", "--benchmark", "b", "--domain", "sample"],
    obedience: ["model", "--benchmark", "b", "--domain", "sample"],
    learn_ids: ["--benchmark", "b", "--domain", "sample", "--overwrite"],
    train: ["most_popular", "--domain", "sample"],
}


@pytest.mark.parametrize("name", BAD)
def test_a_path_that_can_be_no_folder_is_refused_with_its_name(places, name):
    for check in (check_creatable, check_writable):
        with pytest.raises(OSError, match=BAD[name]) as caught:
            check(places / name)
        said = explain(caught.value)
        assert str(places) in said or name in said
        assert (
            said.endswith("choose another place") and "\n" not in said and "Errno" not in said and ".tmp" not in said
        )
    assert names_in(places) == ["file", "link"]


def test_a_folder_to_write_into_is_no_file(places):
    with pytest.raises(NotADirectoryError, match="is a file"):
        check_writable(places / "file")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.split(".")[-1])
@pytest.mark.parametrize("name", ["file", "link", "/dev/null/x"])
def test_each_command_says_so_before_its_work(places, capsys, monkeypatch, command, name):
    monkeypatch.chdir(places)
    assert command.main([*COMMANDS[command], "--output_dir", name]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and name in error and "Errno" not in error
    assert any(way_out in error for way_out in ("choose another", "another --output_dir", "name a folder"))
    assert names_in(places) == ["file", "link"]


@pytest.mark.parametrize("name", ["model", "adapter", "checkpoints", "checkpoints/step_20"])
@pytest.mark.parametrize("kind", ["a file", "a link to nowhere"])
def test_a_part_of_a_training_that_is_no_folder_is_refused_before_the_training(tmp_path, name, kind):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x") if kind == "a file" else path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=f"{path} is {kind}"), hold_output(tmp_path):
        pass
