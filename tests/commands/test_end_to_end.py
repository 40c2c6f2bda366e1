"""The scripts one after another, as a user runs them, on the sample shop with a tiny random text encoder.

The encoder is random (its code path is the one of a pretrained one), so the figures mean nothing; the files do.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

import benchmark_decoding
import pytest
from accelerate.state import AcceleratorState
from datasets import load_dataset
from tiny_models import save_text_encoder
from transformers import AutoModel, AutoProcessor

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.checks import check_benchmark
from dataset_builders.building.interactions import connect
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands import build as build_benchmark
from dataset_builders.commands.main import main as mender
from modeling_mender.commands import evaluate as evaluate_axes
from modeling_mender.commands import learn_ids as learn_semantic_ids
from modeling_mender.commands import quickstart, train
from modeling_mender.hub.model_publication import weights_digest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Benchmark, semantic IDs and a trained model in one folder."""
    folder = tmp_path_factory.mktemp("world")
    items = SampleSource().load(connect()).items.to_pyarrow().to_pylist()
    words = {word.lower() for item in items for text in (item["title"], *item["categories"]) for word in text.split()}
    encoder = str(
        save_text_encoder("bert", folder, sorted(words))
    )  # knows every word of the shop, and understands none
    benchmark, ids = str(folder / "benchmark"), str(folder / "ids")
    assert build_benchmark.main(
        ["--source", "sample", "--domain", "sample", "--output_dir", benchmark, "--embedding_model", encoder,
         "--polarity", "rating_vader", "--preferences", "metadata/1"]  # five of metadata/2 exceed its 64 positions
    ) == 0  # fmt: skip
    assert learn_semantic_ids.main(
        ["--benchmark", benchmark, "--output_dir", ids, "--embedding_model", encoder, "--codebook_size", "32",
         "--hidden_sizes", "32", "16", "--epochs", "5", "--reset_unused"]
    ) == 0  # fmt: skip
    return folder, benchmark, ids, encoder


@pytest.fixture(scope="module", params=["mender_tok", "mender_steer"])
def trained(request, world, project):
    folder, benchmark, ids, encoder = world
    output = folder / request.param
    command = ["--benchmark", benchmark, "--semantic_ids", ids, "--text_encoder", encoder, "--output_dir", str(output)]
    sizes = [
        "--max_steps",
        "6",
        "--warmup_steps",
        "1",
        "--eval_steps",
        "3",
        "--max_eval_rows",
        "20",
        "--num_beams",
        "12",
    ]
    # a process has one precision, and where a CPU is fast in bfloat16 Mender_Steer takes another than the others
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train.main([request.param, "--domain", "sample", *command, *sizes]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return output


def test_the_arguments_saved_beside_a_model_are_a_recipe_that_makes_it_again(trained):
    AcceleratorState._reset_state(reset_partial_state=True)
    again = trained.with_name(f"{trained.name}_again")
    assert train.main([str(trained / "model/training_arguments.yaml"), "--output_dir", str(again)]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    assert weights_digest(again / "model") == weights_digest(trained / "model")


def test_the_benchmark_has_five_axes_and_no_leak(world):
    _, benchmark, _, _ = world
    assert check_benchmark(benchmark) == []


def test_the_benchmark_loads_as_the_readme_says(world, tmp_path):
    rows = load_dataset(world[1], "sample_sentiment", split="test", cache_dir=tmp_path)
    assert rows.column_names == ["preference_positive", "preference_negative", "target"]


def test_the_card_of_the_synthetic_shop_says_so_before_any_figure(world):
    card = (Path(world[1]) / "README.md").read_text()
    assert 0 < card.index("domain is synthetic") < card.index("## Counts")


def test_a_trained_model_is_evaluated_on_all_axes_and_gets_a_card(trained, world):
    _, benchmark, _, _ = world
    command = [str(trained / "model"), "--benchmark", benchmark, "--domain", "sample", "--max_rows", "15"]
    assert evaluate_axes.main([*command, "--num_beams", "12", "--card", "--output_dir", str(trained)]) == 0
    results = json.loads((trained / "results.json").read_text())
    assert list(results["axes"]) == list(AXES)
    for axis, entry in results["axes"].items():
        assert entry["num_rows"] == 15
        assert (entry["without_preference"] is None) == (axis == "sentiment")
    assert (trained / "axes.png").stat().st_size > 10_000
    card = (trained / "model/README.md").read_text()
    assert "metadata" in card
    assert "No language model was used" in card
    assert "domain is synthetic" in card


def test_a_trained_folder_recommends_titles_of_the_shop(trained):
    model, processor = AutoModel.from_pretrained(trained / "model"), AutoProcessor.from_pretrained(trained / "model")
    found = model.recommend(**processor(history=[[1, 2]], preference=["Search for lavender candles"]), k=5)
    titles = processor.titles(found.items[0])
    assert len(set(titles)) == 5
    assert all(" by " in title or " in " in title for title in titles)


def test_the_steering_example_answers_each_preference(trained, world, capsys):
    quickstart.show_steering(trained / "model", world[1])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("history: ")
    assert sum(line.startswith("    - ") for line in lines) == 3 * len(quickstart.EXAMPLE_PREFERENCES)


def test_the_decoding_benchmark_prints_times_ratio_memory_and_difference(capsys):
    command = [
        "--batch_size",
        "2",
        "--num_beams",
        "4",
        "--sequence_length",
        "8",
        "--num_items",
        "300",
        "--repeats",
        "1",
    ]
    assert benchmark_decoding.main(command) == 0
    output = capsys.readouterr().out
    for words in (
        "generic loop + trie processor",
        "own beam search",
        "ratio",
        "peak memory",
        "beams that differ 0 of 8",
    ):
        assert words in output


class TestBadInput:
    @pytest.fixture(autouse=True)
    def forget_the_precision(self):
        """A process has one, and that of a recipe may depend on the domain."""
        AcceleratorState._reset_state(reset_partial_state=True)

    def one_line(self, capsys):
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    def test_training_without_semantic_ids_says_how_to_learn_them(self, world, capsys, tmp_path):
        command = ["--benchmark", world[1], "--semantic_ids", str(tmp_path / "none"), "--domain", "gifts"]
        assert train.main([*command, "--output_dir", str(tmp_path / "out")]) == 1
        assert "gifts" in self.one_line(capsys)
        command[-1] = "sample2"
        assert train.main([*command, "--output_dir", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()

    def test_training_on_a_folder_that_is_no_benchmark(self, capsys, tmp_path):
        (tmp_path / "empty").mkdir()
        command = ["--benchmark", str(tmp_path / "empty"), "--domain", "beauty", "--output_dir", str(tmp_path / "out")]
        assert train.main(command) == 1
        assert "no config of domain 'beauty'" in self.one_line(capsys)

    def test_a_tracker_that_is_not_installed_is_refused_and_not_skipped_in_silence(self, world, capsys, tmp_path):
        command = ["--benchmark", world[1], "--semantic_ids", world[2], "--report_to", "nosuchtracker"]
        assert train.main([*command, "--output_dir", str(tmp_path / "out")]) == 1
        assert "report_to (nosuchtracker)" in self.one_line(capsys)

    def test_semantic_ids_of_another_catalogue(self, world, capsys, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"item_id": [1, 2], "codes": [[0, 0], [0, 1]]}), tmp_path / "semantic_ids.parquet")
        command = ["--benchmark", world[1], "--semantic_ids", str(tmp_path), "--text_encoder", world[3]]
        assert train.main([*command, "--output_dir", str(tmp_path / "out")]) == 1
        assert "354 items and the semantic IDs 2" in self.one_line(capsys)

    def test_evaluating_a_model_that_is_not_there(self, world, capsys, tmp_path):
        command = [str(tmp_path / "nowhere"), "--benchmark", world[1], "--domain", "sample"]
        assert evaluate_axes.main(command) == 1
        assert "nowhere" in self.one_line(capsys)

    def test_evaluating_at_more_beams_than_items(self, trained, world, capsys):
        command = [str(trained / "model"), "--benchmark", world[1], "--domain", "sample", "--num_beams", "9999"]
        assert evaluate_axes.main([*command, "--max_rows", "3"]) == 1
        assert "num_beams (9999) must be in 39..354" in self.one_line(capsys)


def test_the_code_and_the_commands_of_the_readme_run_as_they_are_printed(
    trained, world, project, tmp_path, monkeypatch, capsys
):
    model_type = json.loads((trained / "model" / "config.json").read_text())["model_type"]
    if model_type != "mender_steer":
        pytest.skip(f"the README asks the quickstart's own model, and {model_type} reads neither avoid nor strength")
    (tmp_path / "outputs/quickstart").mkdir(parents=True)
    (tmp_path / "outputs/quickstart/model").symlink_to(trained / "model")
    (tmp_path / "outputs/quickstart/benchmark").symlink_to(world[1])
    monkeypatch.chdir(tmp_path)
    readme = (project / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    blocks += re.findall(
        r"^```python\n(.*?)^```$", (project / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 6
    names: dict = {}  # of one session: a block goes on with the model of the one before
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "by " in printed and "'Zebrano Lamp by Oxley'" in printed  # titles, and that of an added item
    commands = "\n".join(re.findall(r"^```bash\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    ran = []
    for command, words in re.findall(r"^mender ([\w-]+) (.*)", commands, re.MULTILINE):
        words = shlex.split(words, comments=True)
        if command == "update-catalogue":
            (made,) = re.findall(r"^printf .*$", commands, re.MULTILINE)
            subprocess.run(made, shell=True, check=True)
        if command in ("recommend", "score", "submit", "leaderboard", "update-catalogue"):
            assert mender([command, *words]) == 0, command
            ran.append(command)
    assert ran == ["score", "submit", "leaderboard", "recommend", "update-catalogue"]
    assert "Walnut Table Lamp" in capsys.readouterr().out
    assert (tmp_path / "outputs/leaderboard/index.html").is_file()
