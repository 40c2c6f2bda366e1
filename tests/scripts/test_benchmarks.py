"""Benchmarks that end in figures: each runs whole in a small world, and counts what it says."""

import json
import subprocess

import benchmark_cuda_graph
import benchmark_trainer
import benchmark_trie
import on_gpu
import pytest
import torch
from accelerate.state import AcceleratorState


class TestTrie:
    arguments = benchmark_trie.parse_arguments(
        "--num_items 300 --num_changed 20 --batch_size 2 --num_beams 3 --num_listed 10 --repeats 1".split()
    )

    def test_a_size_is_measured_and_its_changed_tries_equal_built_ones(self):
        found = benchmark_trie.measure(300, self.arguments)
        assert found["is_same"] is True
        assert min(found[name] for name in ("build", "add", "remove", "step", "weighted_step")) > 0
        assert "| 300 |" in benchmark_trie.table([found])

    def test_codes_are_distinct_and_the_collision_level_grows_as_it_must(self):
        for exponent, num_codes in ((0.0, 1), (4.0, 257)):
            codes = benchmark_trie.skewed_catalogue(1000, exponent, torch.Generator().manual_seed(0))
            assert len(codes.unique(dim=0)) == 1000
            assert codes[:, :3].long().max() < 256
            assert codes[:, 3].long().max() + 1 >= num_codes

    def test_a_size_too_small_is_one_line(self, capsys):
        assert benchmark_trie.main(["--num_items", "1"]) == 1
        assert capsys.readouterr().err.startswith("error: --num_items")


class TestCudaGraph:
    def test_without_a_gpu_everything_runs_but_the_capture_and_says_so(self, capsys, tmp_path):
        words = "--num_beams 3 --batch_size 3 --num_items 60 --sequence_length 8 --num_listed 5 --repeats 1"
        output = tmp_path / "found.json"
        assert benchmark_cuda_graph.main([*words.split(), "--device", "cpu", "--output", str(output)]) == 0
        found = json.loads(output.read_text(encoding="utf-8"))
        assert json.loads(capsys.readouterr().out) == found
        assert found["is_captured"] is False and "no GPU" in found["note"]
        assert set(found["by_log_weights"]) == {"none", "dense", "listed"}
        for one in found["by_log_weights"].values():
            assert one["differing_items"] == 0 and one["results"] == 9
            assert one["repeats_itself"] and one["largest_score_difference"] < 1e-4

    def test_a_gpu_that_is_not_there_is_one_line(self, capsys):
        if not torch.cuda.is_available():
            assert benchmark_cuda_graph.main(["--device", "cuda"]) == 1
            assert capsys.readouterr().err.count("\n") == 1

    @pytest.mark.parametrize(("returncode", "found"), [(0, {"ratio": 2.0}), (1, "error: no memory")])
    def test_the_script_for_the_gpu_asks_for_it_in_words_that_it_knows(self, monkeypatch, returncode, found):
        def run(command, **options):
            parsed = benchmark_cuda_graph.parse_arguments(command[2:])
            assert (parsed.dtype, parsed.num_beams) == ("bfloat16", 4)
            return subprocess.CompletedProcess(command, returncode, json.dumps({"ratio": 2.0}), "error: no memory")

        monkeypatch.setattr(subprocess, "run", run)
        arguments = on_gpu.parse_arguments(["run", "pack", "--output_dir", "out", "--small"])
        assert on_gpu.time_cuda_graph(arguments, "bfloat16") == found


class TestTrainer:
    words = (
        "--num_users 3 --batch_size 4 --num_items 30 --longest 6 --text_layers 1 --text_width 32 --width 16 "
        "--num_layers 1 --repeats 1 --num_threads 1 --device cpu"
    ).split()

    @pytest.fixture(autouse=True)
    def a_state_of_its_own(self):
        yield
        AcceleratorState._reset_state(reset_partial_state=True)

    def test_every_way_of_a_method_is_timed_beside_the_trainer(self, capsys):
        assert benchmark_trainer.main(["--methods", "sasrec", *self.words]) == 0
        lines = capsys.readouterr().out.splitlines()
        found = [line.split(" | ") for line in lines if line.startswith("| sasrec")]
        assert [cells[1] for cells in found] == ["Seq2SeqTrainer", "our loop", "+ shared prefixes", "+ bf16"]
        assert all(float(cells[2]) > 0 for cells in found)
        assert found[0][4] == "1.00"

    @pytest.mark.parametrize(
        ("method", "added"),
        [
            ("mender_tok", ["one width", "our loop", "+ real lengths", "+ cached encodings", "+ bf16"]),
            ("mender_emb", ["our loop", "+ real lengths", "+ shared prefixes", "+ bf16"]),
            ("tiger", ["our loop", "+ real lengths", "+ shared prefixes", "+ bf16"]),
        ],
    )
    def test_a_method_is_trained_in_the_ways_that_it_has(self, tmp_path, method, added):
        training = benchmark_trainer.Training(method, benchmark_trainer.parse_arguments(self.words), tmp_path)
        names = [way.name.removeprefix("Seq2SeqTrainer, ") for way in training.ways]
        assert names == ["Seq2SeqTrainer", *added]
        assert training.tokens > len(training.examples) * 3

    def test_no_users_is_one_line(self, capsys):
        assert benchmark_trainer.main(["--num_users", "0"]) == 1
        assert capsys.readouterr().err.startswith("error: --num_users (0)")
