"""scripts/on_gpu.py: what it packs and refuses; no training here."""

import json
from pathlib import Path

import on_gpu
import pytest

RECIPES = Path(on_gpu.__file__).parent / "recipes"


@pytest.mark.parametrize("job", on_gpu.JOBS, ids=lambda job: job.name)
def test_every_job_has_a_recipe_for_beauty_and_options_that_training_knows(job):
    from modeling_mender.training.recipes import parse_arguments

    words = [job.recipe, "--domain", "beauty"]
    arguments = parse_arguments([*words, *job.options], RECIPES)
    assert arguments.domain == "beauty" and job.recipe.startswith(arguments.method)
    text = ["--text_encoder", "encoder", "--cache_dir", "cache"] if job.reads_text else []
    parse_arguments([*words, *text, *job.options, *on_gpu.SMALL], RECIPES)


def test_a_folder_that_is_no_pack_is_one_line(tmp_path, capsys):
    assert on_gpu.main(["run", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "pack.json" in error and error.count("\n") == 1


def test_an_unknown_job_is_refused_by_name(tmp_path, capsys):
    (tmp_path / "pack.json").write_text(json.dumps({"domain": "sample"}), encoding="utf-8")
    assert on_gpu.main(["run", str(tmp_path), "--output_dir", str(tmp_path / "out"), "--jobs", "nothing"]) == 1
    assert "nothing" in capsys.readouterr().err


def test_a_missing_benchmark_is_refused_before_anything_is_packed(tmp_path, capsys):
    command = ["pack", "--benchmark", str(tmp_path / "no"), "--semantic_ids", str(tmp_path), "--domain", "sample"]
    assert on_gpu.main([*command, "--output_dir", str(tmp_path / "pack")]) == 1
    assert "no folder" in capsys.readouterr().err
