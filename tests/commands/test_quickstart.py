"""The quickstart: what a run finds of the one before it."""

import signal

import pytest

from modeling_mender.commands import quickstart
from modeling_mender.training.stopping import Interrupted

MADE = ("benchmark", "semantic_ids", "checkpoints")


@pytest.fixture
def output(tmp_path, monkeypatch):
    """An output folder in which an earlier run left everything."""
    monkeypatch.setattr(quickstart, "OUTPUT", tmp_path)
    monkeypatch.setattr(quickstart, "UNFINISHED", tmp_path / "unfinished")
    for name in (*MADE, "model"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_an_interrupted_run_of_the_same_method_keeps_what_it_made(output, capsys):
    (output / "unfinished").write_text("mender_emb")
    quickstart.begin("mender_emb")
    assert all((output / name).is_dir() for name in MADE)
    assert "continuing" in capsys.readouterr().out


@pytest.mark.parametrize("unfinished", [None, "mender_tok"])
def test_a_finished_run_and_one_of_another_method_start_anew(output, unfinished):
    if unfinished:
        (output / "unfinished").write_text(unfinished)
    quickstart.begin("mender_emb")
    assert not any((output / name).exists() for name in MADE)
    assert (output / "model").is_dir()  # until a better one is there
    assert (output / "unfinished").read_text() == "mender_emb"


def test_the_first_run_of_all_makes_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "OUTPUT", tmp_path / "outputs/quickstart")
    monkeypatch.setattr(quickstart, "UNFINISHED", tmp_path / "outputs/quickstart/unfinished")
    quickstart.begin("mender_emb")
    assert (tmp_path / "outputs/quickstart/unfinished").is_file()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (Interrupted("interrupted after step 3", signal.SIGTERM), 143, "interrupted after step 3"),
        (KeyboardInterrupt(), 130, "interrupted."),
        (ValueError("no such thing"), 1, "error: no such thing"),
    ],
)
def test_an_early_end_is_one_line_and_a_status(monkeypatch, capsys, error, status, line):
    def fail(_):
        raise error

    monkeypatch.setattr(quickstart, "quickstart", fail)
    assert quickstart.main([]) == status
    assert capsys.readouterr().err == f"{line}\n"
