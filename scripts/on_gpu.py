"""Trains and scores on one GPU what a CPU cannot: packs what that takes, runs it within a time limit, leaves one JSON.

    python scripts/on_gpu.py pack --benchmark outputs/beauty/benchmark --semantic_ids outputs/beauty/semantic_ids \\
        --domain beauty --output_dir outputs/gpu_pack
    python scripts/on_gpu.py run outputs/gpu_pack --minutes 8 --output_dir outputs/gpu       # on the other machine
    python scripts/on_gpu.py run outputs/sample_pack --minutes 5 --output_dir outputs/gpu --small            # a trial

The pack holds the benchmark, the semantic IDs, the text encoder in half precision, and wheels of what the other
machine lacks. Jobs run side by side, each a process; one that overruns its time keeps its best model, which is
scored.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
AXES = ("recommendation", "fine", "coarse", "history")
PAPER = {"num_decoder_layers": 6, "num_heads": 6, "d_kv": 64, "d_ff": 1024}
SMALL = {"max_steps": 30, "warmup_steps": 2, "eval_steps": 15, "max_eval_rows": 64}


@dataclass(frozen=True)
class Job:
    """A model to train and score.

    Attributes:
        name (`str`): Of the job and its folder.
        recipe (`str`): A name in `scripts/recipes`.
        options (`dict[str, Any]`): Of `scripts/train.py`, beside the recipe.
        share (`float`): Of the time limit that training may take.
        max_rows (`int`): Rows of each axis that are scored; 0 means all.
    """

    name: str
    recipe: str
    options: dict[str, Any] = field(default_factory=dict)
    share: float = 0.78
    max_rows: int = 0

    def words(self, encoder: Path, cache: Path, is_small: bool = False) -> list[str]:
        """Recipe and options on a command line; the output of an encoder that is not trained is cached."""
        options = self.options | (SMALL if is_small else {})
        if not self.recipe.startswith("tiger"):
            options["text_encoder"] = encoder
        if self.recipe.startswith(("mender_emb", "mender_steer")):
            options["cache_dir"] = cache
        return [self.recipe, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


SEARCH = {"per_device_eval_batch_size": 512, "max_eval_rows": 2000, "num_beams": 20, "code_embedding_std": 0.05}
SEQUENCES = SEARCH | {"per_device_train_batch_size": 256, "learning_rate": 1e-3, "dropout_rate": 0.3}
SEQUENCES |= {"max_steps": 4500, "eval_steps": 500}
ROWS = SEARCH | {"per_device_train_batch_size": 1024, "learning_rate": 1e-3, "warmup_steps": 300, "dropout_rate": 0.2}
ROWS |= {"constrained_softmax": True, "max_steps": 4000, "eval_steps": 400}
TEXTS = ROWS | {"per_device_train_batch_size": 512, "max_steps": 3000, "eval_steps": 300, "dropout_rate": 0.1}
JOBS = (
    *(Job(f"mender_steer_{seed}", "mender_steer", {"seed": seed}) for seed in (0, 1, 2)),
    Job("mender_steer_wide", "mender_steer", {"d_model": 256, "d_ff": 1024}),
    Job("mender_steer_decoder", "mender_steer", PAPER | {"use_decoder": True}),
    Job("mender_emb_paper_size", "mender_emb_all_prefixes", PAPER | SEQUENCES),
    Job("tiger_sequences", "tiger_all_prefixes", PAPER | SEQUENCES),
    Job("tiger_rows", "tiger", ROWS),
    Job("mender_tok", "mender_tok", TEXTS | {"preference_dropout": 0.3}, max_rows=4000),
    Job("liger", "liger", TEXTS | {"finetune_text_encoder": True}, max_rows=4000),
    Job("vocabext_rnd", "vocabext_rnd", ROWS, max_rows=4000),
    Job("vocabext_lm", "vocabext_lm", TEXTS, max_rows=4000),
    Job("lc_rec", "lc_rec", TEXTS, max_rows=4000),
)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack", help="collect what the other machine needs, in one folder")
    pack.add_argument("--benchmark", type=Path, required=True, help="local benchmark directory")
    pack.add_argument("--semantic_ids", type=Path, required=True, help="folder of its semantic IDs")
    pack.add_argument("--domain", required=True, help="domain of the benchmark")
    pack.add_argument("--output_dir", type=Path, required=True, help="the pack")
    pack.add_argument("--python_version", default="3.12", help="of the other machine")
    run = commands.add_parser("run", help="train, score and time on this machine")
    run.add_argument("pack", type=Path, help="folder that `pack` wrote")
    run.add_argument("--minutes", type=float, default=8.0, help="time limit of everything")
    run.add_argument("--output_dir", type=Path, required=True, help="gets on_gpu.json and the logs")
    run.add_argument("--work_dir", type=Path, default=Path("outputs/on_gpu"), help="gets the models")
    run.add_argument("--jobs", nargs="+", help="beginnings of the names of the jobs to run; defaults to all")
    run.add_argument("--no_timing", action="store_true", help="train and score only; decoding is not timed")
    run.add_argument("--small", action="store_true", help="a trial of a few steps and rows")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Packs or runs; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    try:
        pack(arguments) if arguments.command == "pack" else run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def pack(arguments: argparse.Namespace) -> None:
    """Writes the pack and prints its size."""
    import torch
    from safetensors.torch import load_file, save_file

    from dataset_builders.building.text_embedding import minilm_path

    output = arguments.output_dir
    shutil.rmtree(output, ignore_errors=True)
    for folder in (arguments.benchmark, arguments.semantic_ids):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; build the benchmark and learn its semantic IDs first.")
    pack_benchmark(arguments.benchmark, arguments.domain, output / "benchmark")
    (output / "semantic_ids").mkdir()
    shutil.copy(arguments.semantic_ids / "semantic_ids.parquet", output / "semantic_ids")
    encoder = Path(minilm_path())
    shutil.copytree(encoder, output / "encoder", ignore=shutil.ignore_patterns("*.safetensors", "README.md"))
    weights = load_file(encoder / "model.safetensors")
    halves = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    save_file(halves, output / "encoder" / "model.safetensors", metadata={"format": "pt"})
    wheels = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(output / "wheels")]
    wheels += ["--python-version", arguments.python_version, "--only-binary", ":all:"]
    subprocess.run([*wheels, "datasets>=5.2", "dill<0.4.2", "multiprocess<0.70.20", "evaluate>=0.4.6"], check=True)
    (output / "pack.json").write_text(json.dumps({"domain": arguments.domain}), encoding="utf-8")
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{output}: {size / 2**20:.1f} MiB")


def pack_benchmark(benchmark: Path, domain: str, folder: Path) -> None:
    """Copies what training and scoring read: all but the texts of the preferences, which the rows hold as well."""
    shutil.copytree(benchmark, folder, ignore=shutil.ignore_patterns(f"{domain}_preferences"))


def run(arguments: argparse.Namespace) -> None:
    """Runs all jobs side by side and collects their results."""
    started = time.monotonic()
    if not (arguments.pack / "pack.json").is_file():
        raise FileNotFoundError(f"{arguments.pack} has no pack.json; write it by scripts/on_gpu.py pack.")
    domain = json.loads((arguments.pack / "pack.json").read_text(encoding="utf-8"))["domain"]
    install_missing(arguments.pack / "wheels")
    output = arguments.output_dir
    output.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in JOBS if not arguments.jobs or job.name.startswith(tuple(arguments.jobs))]
    if not jobs:
        known = ", ".join(job.name for job in JOBS)
        raise ValueError(f"no job begins with {' or '.join(arguments.jobs)}; there are {known}.")
    results: dict[str, Any] = {"machine": describe_machine(), "jobs": {}}
    running = {job.name: Running(job, arguments, domain, started) for job in jobs}
    while any(not one.is_done for one in running.values()):
        for name, one in running.items():
            one.step()
            results["jobs"][name] = one.summary()
        save(results, output / "on_gpu.json")
        time.sleep(1)
    for name, one in running.items():
        if name in ("mender_steer_0", "mender_steer_1", "mender_steer_2") and one.model.is_dir():
            save_head(one.model, output / f"{name}_head.safetensors")
    if not arguments.no_timing:
        results["decoding"] = time_decoding(arguments)
        results["cuda_graph"] = {dtype: time_cuda_graph(arguments, dtype) for dtype in ("float32", "bfloat16")}
    results["seconds"] = time.monotonic() - started
    save(results, output / "on_gpu.json")
    print((output / "on_gpu.json").read_text(encoding="utf-8"))


class Running:
    """A job under way: training, then scoring, each a process with a log."""

    def __init__(self, job: Job, arguments: argparse.Namespace, domain: str, started: float) -> None:
        self.job, self.arguments, self.domain, self.started = job, arguments, domain, started
        self.limit = 60 * arguments.minutes
        self.model = arguments.work_dir / job.name / "model"
        self.stage, self.seconds, self.returned = "training", {}, {}
        self.process = self._start(self._training())

    @property
    def is_done(self) -> bool:
        return self.stage == "done"

    def step(self) -> None:
        """Looks at the process: stops one that overruns, starts what comes next."""
        if self.is_done:
            return
        elapsed = time.monotonic() - self.started
        overdue = elapsed > self.limit * (self.job.share if self.stage == "training" else 0.97)
        if self.process.poll() is None and not overdue:
            return
        if self.process.poll() is None:  # training keeps its best model; scoring is lost
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.returned[self.stage] = self.process.wait()
        self.seconds[self.stage] = time.monotonic() - self.stage_started
        if self.stage == "training" and self.model.is_dir():
            self.stage = "scoring"
            self.process = self._start(self._scoring())
        else:
            self.stage = "done"

    def _start(self, command: list[str]) -> subprocess.Popen:
        self.stage_started = time.monotonic()
        self.log = self.arguments.work_dir / f"{self.job.name}_{self.stage}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w", encoding="utf-8") as file:
            return subprocess.Popen(command, cwd=PROJECT, stdout=file, stderr=subprocess.STDOUT, env=environment())

    def _training(self) -> list[str]:
        pack, work = self.arguments.pack, self.arguments.work_dir
        words = self.job.words(pack / "encoder", work / "cache" / self.job.name, self.arguments.small)
        return [
            sys.executable, "scripts/train.py", *words, "--domain", self.domain, "--benchmark",
            str(pack / "benchmark"), "--semantic_ids", str(pack / "semantic_ids"), "--output_dir",
            str(self.model.parent), "--resume", "false", "--logging_steps", "100",
        ]  # fmt: skip

    def _scoring(self) -> list[str]:
        rows = 64 if self.arguments.small else self.job.max_rows
        return [
            sys.executable, "scripts/evaluate_axes.py", str(self.model), "--benchmark",
            str(self.arguments.pack / "benchmark"), "--domain", self.domain, "--axes", *AXES, "--max_rows", str(rows),
            "--batch_size", "256", "--output_dir", str(self.model.parent / "results"),
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """What is known of the job so far."""
        found: dict[str, Any] = {"stage": self.stage, "seconds": self.seconds, "returned": self.returned}
        for name, path in (
            ("training", self.model / "training_state.json"),
            ("results", self.model.parent / "results" / "results.json"),
        ):
            if path.is_file():
                found[name] = json.loads(path.read_text(encoding="utf-8"))
        logs = {stage: self.log.with_name(f"{self.job.name}_{stage}.log") for stage in ("training", "scoring")}
        found["logs"] = {
            stage: path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")[-1500:]
            for stage, path in logs.items()
            if path.is_file()
        }
        return found


def time_decoding(arguments: argparse.Namespace) -> str:
    """What `scripts/benchmarks/benchmark_decoding.py` prints for 30 beams and 32 requests."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    beams, requests = ("4", "2") if arguments.small else ("30", "32")
    size = ["--num_beams", beams, "--batch_size", requests]
    command = [sys.executable, "scripts/benchmarks/benchmark_decoding.py", "--device", device, *size]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, env=environment())
    return done.stdout or done.stderr[-500:]


def time_cuda_graph(arguments: argparse.Namespace, dtype: str) -> dict[str, Any] | str:
    """What `scripts/benchmarks/benchmark_cuda_graph.py` finds for 30 beams and 32 requests, or its error."""
    size = ["--num_beams", "4", "--batch_size", "2", "--repeats", "1"] if arguments.small else []
    command = [sys.executable, "scripts/benchmarks/benchmark_cuda_graph.py", "--dtype", dtype, *size]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, env=environment())
    return done.stderr[-500:] if done.returncode else json.loads(done.stdout)


def environment() -> dict[str, str]:
    """Of the processes: our packages need not be installed, and the Hub is out of reach."""
    mine = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return os.environ | mine | {"PYTHONPATH": str(PROJECT)}


def describe_machine() -> dict[str, Any]:
    """Device and versions."""
    import torch
    import transformers

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "torch": torch.__version__, "transformers": transformers.__version__}


def install_missing(wheels: Path) -> None:
    """Installs the wheels of packages that cannot be imported."""
    import importlib.util

    missing = [str(path) for path in wheels.glob("*.whl") if importlib.util.find_spec(path.name.split("-")[0]) is None]
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *missing], check=True)


def save_head(model: Path, path: Path) -> None:
    """Writes the trained part of a Mender_Steer, without what can be computed again."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    kept = ("head.", "request_weights.", "decoder")
    save_file({name: value for name, value in weights.items() if name.startswith(kept)}, path)


def save(results: dict[str, Any], path: Path) -> None:
    """Writes JSON at once."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
