"""A folder that a command replaces holds nothing but what it writes, and nothing that it needs."""

import shutil
from pathlib import Path

import pytest

from dataset_builders.atomic_write import atomic_write, check_creatable, new_directory
from dataset_builders.commands.main import main as mender
from dataset_builders.replacing import (
    CHECKPOINTS,
    INTERACTIONS,
    PUBLISHED,
    SEMANTIC_IDS,
    benchmark_files,
    check_replaceable,
)

KINDS = {
    "benchmark": (benchmark_files(), ["reports/toy.json", "toy_items/a.parquet", "toy_fine/a.parquet", "README.md"]),
    "semantic IDs": (SEMANTIC_IDS, ["semantic_ids.parquet", "rqvae/config.json", "report.json"]),
    "interactions": (INTERACTIONS, ["counts.json", "events.parquet", "items.parquet"]),
    "model": (PUBLISHED["model"], ["config.json", "model.safetensors", "handler.py", "results/toy.json"]),
    "adapter": (PUBLISHED["model"], ["adapter_config.json", "adapter_model.safetensors"]),
    "space": (PUBLISHED["space"], ["README.md", "app.py", "settings.json"]),
    "checkpoints": (CHECKPOINTS, ["step_20/state.json"]),
}


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_an_earlier_output_of_the_same_kind_is_replaced(tmp_path, kind):
    names, files = KINDS[kind]
    check_replaceable(fill(tmp_path / "out", files), True, names, ["beauty", 17, None, tmp_path / "elsewhere"])
    (tmp_path / "out/.model.abcdefgh.tmp").mkdir()
    check_replaceable(tmp_path / "out", True, names)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("foreign", ["thesis.docx", "actions.csv", "src/main.rs", ".git/HEAD"])
def test_a_folder_with_anything_else_is_refused_by_its_name(tmp_path, kind, foreign):
    names, files = KINDS[kind]
    for held in ([*files, foreign], [foreign]):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        fill(tmp_path / "out", held)
        with pytest.raises(FileExistsError, match=f"holds {foreign.split('/')[0]}.*name another folder"):
            check_replaceable(tmp_path / "out", True, names)
        check_replaceable(tmp_path / "out", False, names)  # which the writer refuses, as it exists


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "space"])
def test_a_folder_of_common_names_alone_is_not_taken_for_an_output(tmp_path, kind):
    with pytest.raises(FileExistsError, match="does not write and would delete"):
        check_replaceable(fill(tmp_path / "out", ["README.md", "manifest.txt"]), True, KINDS[kind][0])


def test_an_empty_or_a_new_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "new/below"):
        check_replaceable(tmp_path / name, True, SEMANTIC_IDS)


@pytest.mark.parametrize("needed", [".", "actions.csv", "deep/cache", ["other", "actions.csv"]])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_is_or_holds_what_the_command_needs_is_refused(tmp_path, needed, overwrite):
    fill(tmp_path / "out", ["actions.csv"])
    needed = [tmp_path / "out" / one for one in needed] if isinstance(needed, list) else tmp_path / "out" / needed
    with pytest.raises(ValueError, match="which this command needs; name another one"):
        check_replaceable(tmp_path / "out", overwrite, ("*",), [needed])
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(ValueError, match="which this command needs"):
        check_replaceable(tmp_path / "link", overwrite, ("*",), [needed])


def test_the_working_directory_is_refused_under_every_name(tmp_path, monkeypatch):
    (tmp_path / "here/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for path in (".", "..", tmp_path, Path.cwd(), "../here", "below/.."):
        with pytest.raises(ValueError, match="the working directory"):
            check_replaceable(path, True, ("*",))
    check_replaceable("below", True, ("*",))


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path, monkeypatch):
    fill(tmp_path / "disk/out", ["old"])
    (tmp_path / "out").symlink_to(tmp_path / "disk/out")
    with new_directory(tmp_path / "out", overwrite=True) as folder:
        fill(folder, ["new"])
    assert (tmp_path / "out").is_symlink() and names_in(tmp_path / "disk/out") == ["new"]
    fill(tmp_path, ["disk/file"])
    (tmp_path / "file").symlink_to("disk/file")
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file").is_symlink() and (tmp_path / "disk/file").read_text() == "new"
    monkeypatch.chdir(tmp_path / "disk/out")
    for name in (".", ".."):
        with pytest.raises(FileExistsError, match="already exists"), new_directory(name):
            pass
        check_creatable(name)
    assert names_in(tmp_path / "disk") == ["file", "out"]


TABLES = "--source tables --domain shop --interactions out/actions.csv --items out/items.csv"


@pytest.mark.parametrize(
    "words",
    [
        f"build {TABLES} --polarity rating_vader --output_dir out",
        f"build {TABLES} --polarity rating_vader --output_dir out/reports/..",
        "build --source sample --domain sample --cache_dir out/cache --output_dir out",
        f"prepare-interactions {TABLES} --output_dir out",
        "learn-ids --benchmark out/benchmark --domain sample --output_dir out",
        "publish-model out/model --repo_id org/x --dry_run --output_dir out",
        "publish-model out/model --repo_id org/x --dry_run --output_dir out/model",
        "publish-benchmark out/benchmark --repo_id org/x --dry_run --output_dir out",
        "publish-space leaderboard --leaderboard out/board --repo_id org/x --dry_run --output_dir out",
    ],
    ids=lambda words: f"{words.split()[0]} {words.split()[-1]}",
)
def test_no_command_deletes_its_input(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    names = ["actions.csv", "benchmark/sample_items/a.parquet", "board/leaderboard.json", "items.csv"]
    names += ["model/config.json", "reports/sample.json"]
    fill(tmp_path / "out", names)
    (tmp_path / "out/benchmark/reports").mkdir()
    (tmp_path / "out/model/config.json").write_text('{"model_type": "mender_emb"}')
    assert mender([*words.split(), "--overwrite"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "Traceback" not in error
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == names
    if not words.startswith("publish-benchmark"):  # whose report is read before
        assert "which this command needs" in error
