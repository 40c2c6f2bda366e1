"""Files and directories are whole or absent under their names, and what killed writers leave is cleared away."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dataset_builders import atomic_write as module
from dataset_builders.atomic_write import (
    atomic_write,
    check_creatable,
    check_writable,
    hold_directory,
    new_directory,
    remove_leftovers,
    write_text,
)

KILLED = """
import os, sys
from pathlib import Path
from dataset_builders import atomic_write as module

mode, path = sys.argv[1], Path(sys.argv[2])
if mode == "between":  # a system that exchanges no names
    module._exchange = lambda new, old: False
    rename = Path.rename
    Path.rename = lambda self, target: rename(self, target) if path.exists() else os.kill(os.getpid(), 9)
if mode == "after":
    module.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), 9)
with module.new_directory(path, overwrite=True) as new:
    (new / "text").write_text("second")
    if mode == "within":
        os.kill(os.getpid(), 9)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def written(path, text="first"):
    with new_directory(path, overwrite=True) as new:
        (new / "text").write_text(text)


@pytest.mark.parametrize(("mode", "left"), [("within", "first"), ("after", "second"), ("between", None)])
def test_a_killed_writer_leaves_the_old_or_the_new_directory_and_the_next_run_clears_up(tmp_path, project, mode, left):
    path = tmp_path / "out"
    written(path)
    run = subprocess.run([sys.executable, "-c", KILLED, mode, str(path)], cwd=project)
    assert run.returncode == -9
    assert (path / "text").read_text() == left if left else not path.exists()
    assert len(list(tmp_path.glob(".out.*.tmp"))) == 1
    write_text(tmp_path / "another.txt", "")  # any writer beside it
    assert names(tmp_path) == ["another.txt", "out"]
    assert (path / "text").read_text() == (left or "first")


def test_the_place_of_a_living_writer_is_left_alone_and_so_is_what_is_not_ours(tmp_path):
    (tmp_path / ".notes.abcdefgh.tmp").mkdir()
    (tmp_path / ".notes.abcdefgh.tmp" / "mine").write_text("kept")
    with new_directory(tmp_path / "out") as new:
        (new / "text").write_text("first")
        remove_leftovers(tmp_path)
        assert new.is_dir()
    assert names(tmp_path) == [".notes.abcdefgh.tmp", "out"]


def test_an_error_or_an_existing_directory_changes_nothing(tmp_path):
    written(tmp_path / "out")
    with pytest.raises(RuntimeError), new_directory(tmp_path / "out", overwrite=True):
        raise RuntimeError
    with pytest.raises(FileExistsError, match="choose another output directory"), new_directory(tmp_path / "out"):
        raise AssertionError
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["text"]


@pytest.mark.parametrize("parent", ["/proc", "/proc/x", "/dev/null"])
def test_a_place_that_cannot_be_written_is_named_by_the_path_that_was_given(parent):
    path = f"{parent}/out"
    for write in (check_creatable, check_writable, new_directory, lambda path: new_directory(path, True)):
        with pytest.raises(OSError, match="cannot write .*; choose another place") as error:
            if (place := write(path)) is not None:
                place.__enter__()
        assert error.value.filename == path and ".tmp" not in str(error.value)


def test_a_full_disk_is_named_by_the_folder_and_not_by_a_hidden_file(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    for check, path in ((check_writable, tmp_path / "out"), (check_creatable, tmp_path / "new")):
        with pytest.raises(OSError, match=r"cannot write \(No space left on device\); make room there") as error:
            check(path)
        assert error.value.filename == str(path)
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == []


def test_files_for_their_owner_alone_get_the_rights_of_other_new_files(tmp_path):
    (tmp_path / "usual").touch()
    for path in (tmp_path / "folder" / "weights", tmp_path / "weights"):
        with new_directory(path.parent) if path.parent != tmp_path else atomic_write(path) as new:
            weights = new / path.name if path.parent != tmp_path else new
            weights.touch(mode=0o600)
        assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_two_writers_without_overwrite_lose_nothing(tmp_path):
    with pytest.raises(FileExistsError, match="another run"), new_directory(tmp_path / "out"):
        written(tmp_path / "out", "the other's")
    assert (tmp_path / "out" / "text").read_text() == "the other's"


def test_a_second_writer_that_must_be_alone_is_refused_at_once(tmp_path):
    with new_directory(tmp_path / "out", alone=True) as new:
        refused = pytest.raises(BlockingIOError, match="another run is writing there.*out")
        with refused, new_directory(tmp_path / "out", overwrite=True, alone=True):
            raise AssertionError
        with new_directory(tmp_path / "other", alone=True):
            (new / "text").write_text("first")
    assert names(tmp_path / "out") == ["text"]
    assert names(tmp_path) == ["other", "out"]


def test_the_temporary_file_of_a_killed_library_is_removed_too(tmp_path):
    (tmp_path / ".weights.abcdefgh.tmp/new").mkdir(parents=True)
    (tmp_path / ".weights.abcdefgh.tmp/new/.tmpXyZ").write_text("half")
    written(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_many_writers_at_once_leave_one_whole_directory(tmp_path):
    def write(number):
        for _ in range(10):
            with new_directory(tmp_path / "out", overwrite=True) as new:
                for name in "ab":
                    (new / name).write_text(str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/a").read_text() == (tmp_path / "out/b").read_text()


def test_a_full_disk_is_named_with_the_file(tmp_path):
    full = OSError(28, "No space left on device"), RuntimeError("No space left on device (os error 28)")
    for error in (
        *full,
        RuntimeError("File too large (os error 27)"),
        RuntimeError("Too many open files (os error 24)"),
    ):
        with (
            pytest.raises(OSError, match="cannot write .*(make room there|open files)") as caught,
            atomic_write(tmp_path / "scores.json"),
        ):
            raise error
        assert caught.value.filename == str(tmp_path / "scores.json")
    with pytest.raises(ConnectionResetError), atomic_write(tmp_path / "scores.json"):
        raise ConnectionResetError(104, "reset")
    assert not names(tmp_path)


def test_a_full_disk_shows_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Path, "write_bytes", lambda self, content: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="make room there"), new_directory(tmp_path / "out"):
        raise AssertionError("the work has begun")


def test_a_missing_folder_is_named_by_the_final_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "missing" / "scores.json"):
        raise AssertionError
    assert caught.value.filename == str(tmp_path / "missing" / "scores.json")


def test_a_held_directory_is_refused_to_a_second_process_until_the_first_ends(tmp_path, project):
    code = f"from dataset_builders.atomic_write import hold_directory\nwith hold_directory({str(tmp_path)!r}): pass"
    with hold_directory(tmp_path):
        run = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
        assert "another run is writing there" in run.stderr
        with pytest.raises(BlockingIOError, match="another run"), hold_directory(tmp_path):
            raise AssertionError
    assert subprocess.run([sys.executable, "-c", code], cwd=project).returncode == 0
    assert not names(tmp_path)


def test_a_folder_is_tried_before_the_work_and_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        check_writable(tmp_path / "file")
