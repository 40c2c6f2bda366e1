"""Benchmarks that end in figures: each runs whole in a small world, and counts what it says."""

import json
import subprocess

import benchmark_cuda_graph
import benchmark_trie
import on_gpu
import pytest
import torch


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
        words = "--num_beams 3 --batch_size 3 --num_items 60 --sequence_length 8 --num_listed 5 --device cpu"
        output = tmp_path / "found.json"
        assert benchmark_cuda_graph.main([*words.split(), "--output", str(output)]) == 0
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
