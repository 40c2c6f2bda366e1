"""scripts/on_gpu.py: what it packs and refuses."""

import json
from pathlib import Path

import on_gpu
import pytest
from benchmark_world import hash_embed

from dataset_builders.building.build import build_benchmark
from dataset_builders.building.sources.sample import SampleSource
from modeling_mender.commands.evaluate import main as evaluate
from modeling_mender.commands.train import main as train

RECIPES = Path(on_gpu.__file__).parent / "recipes"


@pytest.mark.parametrize("job", on_gpu.JOBS, ids=lambda job: job.name)
def test_every_job_has_a_recipe_for_beauty_and_options_that_training_knows(job):
    from modeling_mender.training.recipes import parse_arguments

    folders = Path("encoder"), Path("cache")
    for is_small in (False, True):
        arguments = parse_arguments([*job.words(*folders, is_small), "--domain", "beauty"], RECIPES)
        assert arguments.domain == "beauty" and job.recipe.startswith(arguments.method)


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


def test_a_packed_benchmark_is_enough_to_train_and_to_score(tmp_path):
    whole, packed = tmp_path / "whole", tmp_path / "packed"
    build_benchmark(SampleSource(num_items=120, num_users=90), "sample", whole, hash_embed, progress=False)
    on_gpu.pack_benchmark(whole, "sample", packed)
    assert not (packed / "sample_preferences").exists()
    where = ["--benchmark", str(packed), "--domain", "sample"]
    assert train(["most_popular", *where, "--output_dir", str(tmp_path / "run")]) == 0
    scored = ["--axes", *on_gpu.AXES, "--output_dir", str(tmp_path / "results")]
    assert evaluate([str(tmp_path / "run" / "model"), *where, *scored]) == 0
    assert (tmp_path / "results" / "results.json").is_file()
