"""Training in processes of its own: `accelerate launch`, several processes, sharded models, signals and sudden death.

Only the CPU is tried, with gloo between processes: no GPU, no NCCL.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from benchmark_world import hash_embed
from forked_python import LARGE, Server
from launched_training import TROUBLES
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny_models import random_codes, save_text_encoder
from tiny_training import arguments, run
from torch.distributed import TCPStore
from transformers import AutoModel

from dataset_builders.building.build import build_benchmark
from dataset_builders.building.interactions import connect
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.resources import resource
from modeling_mender.commands import train as train_script
from modeling_mender.commands import training_run
from modeling_mender.training.checkpoints import checkpoints
from modeling_mender.training.loop import check_launch
from modeling_mender.training.stopping import Interrupted, StopSignals, TooLittleMemory

SECONDS = 300  # until a test gives up on a process; a few suffice where a test has the machine to itself


class Launched:
    """Runs of `launched_training.py` that train together, and the store where they meet, as a launcher has it."""

    def __init__(self, server, folder, words, processes):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.store = folder, TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.store.port), "WORLD_SIZE": str(processes)}
        where |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
        environment = os.environ | {"ACCELERATE_USE_CPU": "true"} | (where if processes > 1 else {})
        ranks = [{"RANK": str(n), "LOCAL_RANK": str(n)} if processes > 1 else {} for n in range(processes)]
        code = "from launched_training import main; main()"
        self.processes = [server.start(code, [folder, *words], environment | rank) for rank in ranks]

    def finish(self):
        """Their exit statuses, and what they wrote to stderr."""
        try:
            errors = "".join(process.communicate(timeout=SECONDS)[1] for process in self.processes)
        finally:
            for process in self.processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return [process.poll() for process in self.processes], errors

    def wait_for(self, name):
        """Waits until a process has written a file."""
        end = time.monotonic() + SECONDS
        while not (self.folder / name).exists():
            for process in self.processes:
                assert process.poll() is None, process.communicate()[1][-3000:]
            assert time.monotonic() < end, f"{name} did not come"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def start(project):
    """Starts processes that have imported what training needs."""
    paths = os.pathsep.join(str(project / name) for name in ("", "tests", "tests/training", "scripts/benchmarks"))
    server = Server.of(*LARGE, "launched_training", "modeling_mender.commands.train", PYTHONPATH=paths)
    return lambda folder, *words, processes=1: Launched(server, folder, words, processes)


@pytest.fixture(scope="module")
def launch(start):
    """A run that must succeed; gives what each process left behind."""

    def run_to_the_end(folder, *words, processes=1):
        statuses, errors = start(folder, *words, processes=processes).finish()
        assert statuses == [0] * processes, errors[-3000:]
        return [json.loads((folder / f"process_{number}.json").read_text()) for number in range(processes)]

    return run_to_the_end


def weights(folder):
    return load_file(folder / "run/model/model.safetensors")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Arguments of mender train on a small sample shop, with a tiny random text encoder."""
    folder = tmp_path_factory.mktemp("world")
    source = SampleSource(num_items=120, num_users=90)
    items = source.load(connect()).items.to_pyarrow().to_pylist()
    words = {word.lower() for row in items for text in (row["title"], *row["categories"]) for word in text.split()}
    encoder = str(save_text_encoder("bert", folder, sorted(words)))
    build_benchmark(source, "sample", folder / "benchmark", hash_embed, progress=False)
    (folder / "ids").mkdir()
    num_items = pq.read_table(folder / "benchmark/sample_items").num_rows
    codes = random_codes(num_items, num_levels=3, codebook_size=8, seed=0).tolist()
    catalogue = pa.table({"item_id": range(1, num_items + 1), "codes": codes})
    pq.write_table(catalogue, folder / "ids/semantic_ids.parquet")
    recipe = str(resource("scripts/recipes/mender_emb/sample.yaml"))
    sizes = {"max_steps": 6, "warmup_steps": 1, "eval_steps": 3, "max_eval_rows": 20, "num_beams": 12,
             "d_model": 16, "d_ff": 16, "per_device_train_batch_size": 16}  # fmt: skip
    inputs = {"benchmark": folder / "benchmark", "semantic_ids": folder / "ids", "text_encoder": encoder}
    return [recipe, *(word for name, value in (inputs | sizes).items() for word in (f"--{name}", str(value)))]


@pytest.fixture(scope="module")
def unbroken(launch, tmp_path_factory):
    """Weights of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    launch(folder)
    return weights(folder)


@pytest.fixture(scope="module")
def spread(launch, tmp_path_factory):
    """A run of two processes: its folder, and what each left behind."""
    folder = tmp_path_factory.mktemp("spread")
    return folder, launch(folder, processes=2)


class TestAccelerateLaunch:
    @pytest.mark.parametrize(("configuration", "processes"), [("one_process", 1), ("cpu_processes", 2)])
    def test_the_training_script_runs_from_the_benchmark_to_the_model(
        self, project, command, tmp_path, configuration, processes
    ):
        launcher = ["-m", "accelerate.commands.launch", "--config_file"]
        launcher += [str(project / f"scripts/accelerate_configs/{configuration}.yaml")]
        options = [str(project / "scripts/train.py"), *command, "--output_dir", str(tmp_path / "run")]
        finished = subprocess.run(
            [sys.executable, *launcher, *options], capture_output=True, text=True, timeout=SECONDS, cwd=project,
            env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr[-3000:]
        assert "best validation NDCG@10" in finished.stdout
        state = json.loads((tmp_path / "run/model/training_state.json").read_text())
        assert state["num_processes"] == processes
        assert state["examples"] == state["step"] * 16 * processes
        assert AutoModel.from_pretrained(tmp_path / "run/model").config.d_model == 16

    @pytest.mark.parametrize("name", ["one_process", "cpu_processes", "multi_gpu", "fsdp2"])
    def test_every_configuration_is_read_by_accelerate_and_says_how_it_is_used(self, project, name):
        path = project / f"scripts/accelerate_configs/{name}.yaml"
        configuration = load_config_from_file(str(path))
        assert configuration.mixed_precision == "no"  # the recipe's bf16 decides
        assert configuration.num_processes == (1 if name == "one_process" else 2)
        text = path.read_text()
        assert f"accelerate launch --config_file scripts/accelerate_configs/{name}.yaml" in text
        if name == "fsdp2":
            assert configuration.fsdp_config["fsdp_version"] == 2
            assert configuration.fsdp_config["fsdp_cpu_ram_efficient_loading"] is False

    def test_there_is_no_other_configuration(self, project):
        assert len(list((project / "scripts/accelerate_configs").iterdir())) == 4


class TestTwoProcesses:
    def test_they_share_the_rows_rank_alike_and_agree_on_the_state(self, spread):
        folder, (one, other) = spread
        assert (one["num_processes"], one["step"], one["epoch"]) == (2, 12, 3)  # 48 rows, 2 x 8 a step
        assert one["examples"] == other["examples"] == 12 * 16
        epoch = [target for left in (one, other) for batch in left["seen"][:3] for target in batch]
        assert sorted(epoch) == sorted(list(range(1, 13)) * 4)  # every row once
        assert AutoModel.from_pretrained(folder / "run/model") is not None

    def test_mender_steer_trains_where_a_process_has_a_batch_without_a_preference(self, launch, tmp_path):
        """One row at a time, of which one in three has none: each process waits for the gradients of every weight."""
        words = ('variant="steer"', "per_device_train_batch_size=1", "max_steps=20", "eval_steps=10")
        one, other = launch(tmp_path, *words, "preference_dropout=0.3", processes=2)
        assert (one["step"], one["examples"], other["step"]) == (20, 40, 20)
        assert all(value.isfinite().all() for value in weights(tmp_path).values() if value.is_floating_point())

    def test_a_loss_that_is_not_finite_on_one_stops_both(self, start, tmp_path):
        statuses, errors = start(tmp_path, "nan_on_the_last_process", "eval_steps=2", processes=2).finish()
        assert statuses == [1, 1]
        assert errors.count("FloatingPointError: the loss is nan at step 3") == 2
        assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_2"]
        assert all(value.isfinite().all() for value in weights(tmp_path).values() if value.is_floating_point())

    def test_another_number_of_processes_does_not_continue_a_run(self, start, spread):
        statuses, errors = start(spread[0]).finish()
        assert statuses == [1]
        assert "num_processes of the launcher 2 -> 1" in errors

    def test_processes_that_do_not_know_of_each_other_do_not_start(self, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ValueError, match="started 2 processes, and accelerate sees 1; .*ACCELERATE_USE_CPU=true"):
            check_launch(SimpleNamespace(num_processes=1))
        check_launch(SimpleNamespace(num_processes=2))


class TestSharded:
    def test_a_sharded_run_equals_an_unsharded_one_and_continues_after_a_signal(self, start, launch, tmp_path):
        launch(tmp_path / "whole", 'variant="tok"', processes=2)
        launch(tmp_path / "sharded", "fsdp", 'variant="tok"', processes=2)
        expected, found = weights(tmp_path / "whole"), weights(tmp_path / "sharded")
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)
        broken = tmp_path / "broken"
        both = start(broken, "fsdp", "slow", 'variant="tok"', processes=2)
        both.wait_for("run/started_1")
        os.kill(both.processes[1].pid, signal.SIGTERM)  # to one of the two alone: both must stop
        statuses, errors = both.finish()
        assert statuses == [1, 1]
        assert errors.count("the same command continues") == 2
        assert checkpoints(broken / "run")
        launch(broken, "fsdp", 'variant="tok"', processes=2)
        assert_equal(found, weights(broken))

    def test_lora_in_bf16_with_gradient_checkpointing_is_merged_from_shards(self, launch, tmp_path):
        pytest.importorskip("peft")
        words = ["fsdp", "lora", 'variant="tok"', "bf16=true", "gradient_checkpointing=true", "max_steps=4"]
        launch(tmp_path, *words, processes=2)
        encoder = load_file(tmp_path / "bert/model.safetensors")
        trained = weights(tmp_path)
        assert not any("lora" in name or "base_layer" in name for name in trained)
        changed = {name for name, value in encoder.items() if not torch.equal(trained[f"text_encoder.{name}"], value)}
        assert changed
        assert all(".attention." in name for name in changed)
        assert AutoModel.from_pretrained(tmp_path / "run/model") is not None


class TestDeathAndSignals:
    def test_a_run_killed_while_it_wrote_a_checkpoint_continues_by_the_same_command(
        self, start, launch, unbroken, tmp_path
    ):
        broken = tmp_path / "broken"
        statuses, _ = start(broken, "kill_in_checkpoint").finish()
        assert statuses == [-signal.SIGKILL]
        assert [path.name for path in checkpoints(broken / "run")] == ["step_4"]
        assert list((broken / "run/checkpoints").glob(".step_8.*.tmp"))
        (left,) = launch(broken)
        assert left["step"] == 12
        assert sorted(path.name for path in (broken / "run/checkpoints").iterdir()) == ["step_12", "step_8"]
        assert left["examples"] == 12 * 8
        assert_equal(unbroken, weights(broken))

    def test_the_first_interrupt_finishes_the_step_and_the_same_command_continues(
        self, start, launch, unbroken, tmp_path
    ):
        broken = tmp_path / "broken"
        training = start(broken, "slow")
        training.wait_for("run/started_0")
        os.kill(training.processes[0].pid, signal.SIGINT)
        statuses, errors = training.finish()
        assert statuses == [1]
        assert "Interrupted: interrupted after step" in errors
        assert "the same command continues" in errors
        folder = checkpoints(broken / "run")[-1]
        assert 0 < json.loads((folder / "training_state.json").read_text())["step"] < 12
        launch(broken)
        assert_equal(unbroken, weights(broken))

    def test_the_second_interrupt_stops_at_once(self, start, tmp_path):
        training = start(tmp_path, "stuck")
        training.wait_for("run/started_0")
        (process,) = training.processes
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1.5)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        statuses, errors = training.finish()
        assert statuses == [1]
        assert "KeyboardInterrupt" in errors
        assert "press Ctrl-C again to stop immediately" in errors
        assert not checkpoints(tmp_path / "run")

    def test_signals_act_as_before_when_training_is_over(self):
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # within a second: the launcher's copy of the same signal
            assert signals.received == signal.SIGTERM
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    def test_a_run_that_starts_anew_each_time_says_how_to_continue(self, tmp_path):
        with pytest.raises(Interrupted, match="without --resume false") as caught:
            run(tmp_path, resume=False, change=signal_in_forward)
        assert caught.value.signal_number == signal.SIGTERM

    def test_a_signal_in_the_last_step_lets_the_run_end_as_it_should(self, tmp_path):
        state, _ = run(tmp_path, max_steps=1, warmup_steps=0, change=signal_in_forward)
        assert (state.step, state.best_step) == (1, 1)


def signal_in_forward(model):
    """Every forward pass of the model sends SIGTERM to the process."""
    forward = model.forward

    def signalling(*args, **kwargs):
        signal.raise_signal(signal.SIGTERM)
        return forward(*args, **kwargs)

    model.forward = signalling


class TestOneLineOfTheScript:
    """`mender train` ends with a line, not a traceback."""

    @pytest.mark.parametrize(
        ("error", "status", "line"),
        [
            (TooLittleMemory("out of memory at step 3"), 1, "error: out of memory at step 3\n"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1,
             "error: out of memory (DefaultCPUAllocator: can't allocate memory); choose smaller sizes or a machine "
             "with more.\n"),
            (SafetensorError("header too large"), 1,
             "error: a file of weights could not be read or written (header too large); make it again.\n"),
            (FloatingPointError("the loss is nan at step 3"), 1, "error: the loss is nan at step 3\n"),
            (Interrupted("interrupted after step 3", signal.SIGTERM), 143, "interrupted after step 3\n"),
            (Interrupted("interrupted after step 3", signal.SIGINT), 130, "interrupted after step 3\n"),
        ],
    )  # fmt: skip
    def test_ends_with_a_line_and_a_status(self, monkeypatch, capsys, tmp_path, error, status, line):
        def fail(_):
            raise error

        monkeypatch.setattr(training_run, "train_on_benchmark", fail)
        options = arguments(tmp_path)
        words = [f"--{name}" for name in ("benchmark", "domain", "output_dir")]
        values = [options.benchmark, options.domain, options.output_dir]
        recipe = str(resource("scripts/recipes/mender_emb.yaml"))
        command = [recipe, *(word for pair in zip(words, values, strict=True) for word in pair)]
        assert train_script.main(command) == status
        assert capsys.readouterr().err == line


def test_every_trouble_of_the_launched_run_is_used_here():
    text = Path(__file__).read_text()
    assert all(f'"{trouble}"' in text for trouble in TROUBLES)
