"""Disturbs commands and shows that the same command, given again, ends as if nothing had happened.

    python scripts/benchmarks/kill_test.py [--activities train build ...] [--trials 50] [--seed 0] [--output kills.md]
    python scripts/benchmarks/kill_test.py --disturbances full_disk few_files little_memory removed_folder together
    PYTHONHASHSEED=7 python scripts/benchmarks/kill_test.py --trials 0 --folder seven  # outputs to compare

Every trial runs a command in an empty folder, disturbs it, and then gives the same command again. What is there
afterwards is compared with the output of undisturbed runs: equal to the byte, except for times and dates (`VARYING`),
and weight for weight; and no file is there that they do not leave. The disturbances:

- `kill`: SIGKILL to the whole process group at a moment that is uniform over the time of an undisturbed run, in one
  trial of four a second time;
- `full_disk`: no file may grow beyond a random size, as on a disk that is full; `few_files`: a random number of open
  files; `little_memory`: a random number of megabytes beyond those of the imports;
- `removed_folder`: what the command has written so far is removed at a random moment;
- `together`: two processes run the command at once.

A command that is disturbed but not killed must succeed or end with one line that begins with `error:`, and without a
traceback. The commands are forked from one process that has imported the libraries, so the disturbance falls into the
work and not into the imports. Linux only; one thread, for the sums of several depend on their timing.
"""

import argparse
import atexit
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from dataset_builders.commands.command_line import HelpFormatter, run_command
from dataset_builders.commands.main import main as mender

# JSON keys whose values are times and dates, or the digest of a file with these.
VARYING = {"seconds", "validation_seconds", "date", "digest"}
MODEL = "--embedding_model minilm --embedding_dtype float32"
SHOP = (
    "--source tables --interactions ../world/interactions.csv --items ../world/items.csv --domain shop --min_count 3"
)
KINDS = ("candle", "lamp", "mug", "scarf", "soap", "kettle")
MATERIALS = ("lavender", "walnut", "copper", "linen", "cedar", "ivory")


class Activity(NamedTuple):
    """A command that is killed.

    Attributes:
        name (`str`): Name in the table.
        command (`str`): Words of `mender`, run in the folder of the trial beside `world`; `{url}` is that of the
            language-model server.
        needs (`tuple`): Names of the activities whose outputs it reads from `world`.
        output (`str`): What it writes into the folder of the trial.
    """

    name: str
    command: str
    needs: tuple[str, ...]
    output: str


ACTIVITIES = (
    Activity(
        "build",
        f"build {SHOP} --polarity rating_vader {MODEL} --cache_dir cache --output_dir build --overwrite",
        (), "build",
    ),
    Activity(
        "approximate",
        f"approximate {SHOP} --base_url {{url}} --model toy --journal approximate.jsonl --no_progress --concurrency 4",
        (), "approximate.jsonl",
    ),
    Activity(
        "learn-ids",
        f"learn-ids --benchmark ../world/build --output_dir learn-ids --overwrite {MODEL} --codebook_size 8 "
        "--hidden_sizes 32 --epochs 150 --batch_size 64",
        ("build",), "learn-ids",
    ),
    Activity(
        "train",
        "train mender_emb --domain shop --benchmark ../world/build --semantic_ids ../world/learn-ids --bf16 false "
        "--text_encoder minilm --d_model 32 --d_ff 64 --num_heads 2 --num_decoder_layers 1 --num_encoder_layers 1 "
        "--max_steps 60 --warmup_steps 5 --eval_steps 20 --save_steps 6 --max_eval_rows 32 --num_beams 10 "
        "--per_device_train_batch_size 16 --output_dir train",
        ("build", "learn-ids"), "train",
    ),
    Activity(
        "evaluate",
        "evaluate ../world/train/model --benchmark ../world/build --domain shop --max_rows 40 --resamples 50 "
        "--output_dir evaluate",
        ("build", "train"), "evaluate",
    ),
    Activity(
        "publish-model",
        "publish-model ../world/train/model --repo_id org/toy --dry_run --output_dir publish-model --overwrite",
        ("train",), "publish-model",
    ),
    Activity(
        "publish-benchmark",
        "publish-benchmark ../world/build --repo_id org/toy --dry_run --output_dir publish-benchmark --overwrite",
        ("build",), "publish-benchmark",
    ),
)  # fmt: skip


DISTURBANCES = ("kill", "full_disk", "few_files", "little_memory", "removed_folder", "together")


class Outcome(NamedTuple):
    """Counts of the trials of an activity.

    Attributes:
        name, disturbance (`str`): What was disturbed, and how.
        seconds (`float`): Time of an undisturbed run.
        trials (`int`): Trials that were disturbed in time.
        failed (`int`): First runs that ended with an error.
        told (`int`): Of these, those that ended with one line; those that were killed cannot.
        equal (`int`): Trials whose output was equal in the end.
        clean (`int`): Trials that left nothing behind.
        problems (`list[str]`): What went wrong, in words.
    """

    name: str
    disturbance: str
    seconds: float
    trials: int
    failed: int
    told: int
    equal: int
    clean: int
    problems: list[str]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    names = [one.name for one in ACTIVITIES]
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--activities", nargs="+", choices=names, default=names, help="commands that are killed")
    parser.add_argument(
        "--disturbances", nargs="+", choices=DISTURBANCES, default=["kill"], help="what happens to them"
    )
    parser.add_argument("--trials", type=int, default=50, help="trials of each command and disturbance")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments")
    parser.add_argument("--threads", type=int, default=1, help="threads of a command")
    parser.add_argument("--folder", type=Path, help="folder of the trials, kept; default: a temporary one")
    parser.add_argument("--output", type=Path, help="file for the table (Markdown)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs all trials; returns 0, or 1 if one ended otherwise than an undisturbed run."""
    arguments = parse_arguments(argv)
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the table.

    Raises:
        ValueError: If a trial ended otherwise than an undisturbed run.
    """
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(arguments.threads)}
    import_libraries(arguments.threads)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="kill-test-"))
    (folder / "world").mkdir(parents=True, exist_ok=True)
    write_shop(folder / "world")
    server, url = start_server()
    try:
        outcomes = []
        needed = set(arguments.activities)
        for one in reversed(ACTIVITIES):
            needed |= set(one.needs) if one.name in needed else set()
        for one in ACTIVITIES:
            if one.name in needed:
                seconds, expected = undisturbed(one, folder, url)
            for disturbance in arguments.disturbances if one.name in arguments.activities else ():
                trials = Trials(one, disturbance, folder, url, seconds, expected)
                outcomes.append(
                    trials.run(arguments.trials, random.Random(f"{arguments.seed} {one.name} {disturbance}"))
                )
                print(row(outcomes[-1]), flush=True)
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
        if arguments.folder is None:
            shutil.rmtree(folder)
    table = "\n".join([*HEAD, *map(row, outcomes)]) + "\n"
    print(f"\n{table}")
    if arguments.output is not None:
        arguments.output.write_text(table, encoding="utf-8")
    problems = [f"{one.name}: {problem}" for one in outcomes for problem in one.problems]
    if problems:
        raise ValueError(f"{len(problems)} trials ended otherwise: {'; '.join(problems)}")


HEAD = (
    "| command | disturbance | seconds undisturbed | trials | failed | with one line | equal again | nothing left |",
    "|---|---|---|---|---|---|---|---|",
)


def row(outcome: Outcome) -> str:
    """A row of the table."""
    told = "-" if outcome.disturbance == "kill" else outcome.told
    cells = (outcome.disturbance, f"{outcome.seconds:.1f}", outcome.trials, outcome.failed, told)
    return f"| {outcome.name} | {' | '.join(map(str, cells))} | {outcome.equal} | {outcome.clean} |"


def undisturbed(one: Activity, folder: Path, url: str) -> tuple[float, dict[str, str]]:
    """Runs a command three times in folders of its own; the last output stays in `world`.

    Returns:
        `tuple`: The shortest time in seconds, and the content of the output.

    Raises:
        RuntimeError: If a run fails, or two runs differ.
    """
    times, contents = [], []
    for number in range(3):
        place = fresh(folder / f"{one.name}-{number}")
        started = time.perf_counter()
        status = finish(start(one, place, url))
        times.append(time.perf_counter() - started)
        if status:
            raise RuntimeError(f"{one.name} failed: {(place / 'log').read_text()[-2000:]}")
        contents.append(content(place))
    if differing := sorted(
        name for name in contents[0] if any(each.get(name) != contents[0][name] for each in contents)
    ):
        raise RuntimeError(f"undisturbed runs of {one.name} differ in {', '.join(differing)}")
    kept = folder / "world" / one.output
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(place / one.output, kept)
    return statistics.median(times), contents[0]


class Trials(NamedTuple):
    """Trials of an activity under a disturbance."""

    activity: Activity
    disturbance: str
    folder: Path
    url: str
    seconds: float
    expected: Mapping[str, str]

    def run(self, number: int, generator: random.Random) -> Outcome:
        """Runs trials until `number` of them were disturbed in time."""
        trials = failed = told = equal = clean = 0
        problems: list[str] = []
        while trials < number:
            place = fresh(self.folder / f"{self.activity.name}-trial")
            how, statuses = self.disturb(place, generator)
            if self.disturbance == "kill" and not any(statuses):
                continue  # it was faster than its moment
            trials += 1
            failed += any(statuses)
            log = (place / "log").read_text(errors="replace")
            is_told = "error: " in log and "Traceback" not in log and min(statuses) >= 0
            told += any(statuses) and is_told
            status = finish(start(self.activity, place, self.url))
            found = content(place)
            more = sorted(found.keys() - self.expected.keys())
            other = sorted(name for name in self.expected if found.get(name) != self.expected[name])
            equal += not other and not status
            clean += not more
            is_silent = self.disturbance != "kill" and any(statuses) and not is_told
            if status or other or more or is_silent:
                words = " ".join((place / "log").read_text(errors="replace").split())[-300:]
                problems.append(f"{how}: {statuses}, then {status}, other {other[:4]}, more {more[:4]}: {words}")
                print(f"  {self.activity.name}, {self.disturbance}: {problems[-1]}", flush=True)
                place.rename(self.folder / f"{self.activity.name}-{self.disturbance}-{len(problems)}")
        return Outcome(
            self.activity.name, self.disturbance, self.seconds, trials, failed, told, equal, clean, problems
        )

    def disturb(self, place: Path, generator: random.Random) -> tuple[str, list[int]]:
        """Runs the command disturbed; returns how, and its exit statuses."""
        moment = generator.uniform(0, self.seconds)
        if self.disturbance == "kill":
            moments = [moment, generator.uniform(0, self.seconds)] if generator.random() < 0.25 else [moment]
            killed = [kill_after(start(self.activity, place, self.url), one) for one in moments]
            return f"after {' and '.join(f'{one:.2f}' for one in moments)} s", [-9 * one for one in killed]
        if self.disturbance == "together":
            processes = [start(self.activity, place, self.url) for _ in range(2)]
            return "two at once", [finish(one) for one in processes]
        if self.disturbance == "removed_folder":
            process = start(self.activity, place, self.url)
            time.sleep(moment)
            for path in place.glob("*"):
                if path.name != "log":
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            (place / "tmp").mkdir(exist_ok=True)
            return f"after {moment:.2f} s", [finish(process)]
        kind, limit = {
            "full_disk": (resource.RLIMIT_FSIZE, int(10 ** generator.uniform(3.5, 6))),
            "few_files": (resource.RLIMIT_NOFILE, generator.randrange(5, 40)),
            "little_memory": (resource.RLIMIT_AS, memory_in_use() + generator.randrange(0, 400) * 2**20),
        }[self.disturbance]
        process = start(self.activity, place, self.url, lambda: resource.setrlimit(kind, (limit, limit)))
        return f"limit {limit}", [finish(process)]


def memory_in_use() -> int:
    """Address space of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def fresh(place: Path) -> Path:
    """An empty folder with one for temporary files."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "tmp").mkdir(parents=True)
    return place


def start(one: Activity, place: Path, url: str, limit: Callable[[], None] = lambda: None) -> int:
    """Starts a command in a process group of its own, whose leader is a fork of this process; returns its id."""
    if process := os.fork():
        with suppress(OSError):  # both set it, so that neither waits for the other
            os.setpgid(process, process)
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        os.chdir(place)
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error, as on a full disk
        limit()
        os.environ["TMPDIR"] = tempfile.tempdir = str(place.resolve() / "tmp")
        status = mender(one.command.format(url=url).split())
        sys.stdout.flush()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # a traceback is an outcome of its own
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # which os._exit leaves out
        sys.stderr.flush()
        os._exit(status)


def finish(process: int) -> int:
    """Waits for the end of a process; returns its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_after(process: int, seconds: float) -> bool:
    """Kills a process group after a time; returns whether it was still alive."""
    time.sleep(seconds)
    ended, _ = os.waitpid(process, os.WNOHANG)
    if ended:
        return False
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def content(place: Path) -> dict[str, str]:
    """Digests of all files by path, of what does not vary between two runs; folders and temporary files by name."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if name in ("log", "tmp") or name.startswith("cache"):
            if ".tmp" in name:
                found[name] = "left in the cache"
            continue
        found[name] = digest(path) if path.is_file() else "folder"
    return found


def digest(path: Path) -> str:
    """Digest of a file; without times in JSON, the order of JSON lines, and the metadata of safetensors."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
        parts = [f"{name} {array.dtype} {array.shape} {array.tobytes()!r}" for name, array in sorted(tensors.items())]
    elif path.suffix == ".jsonl":
        parts = sorted(json.dumps(lasting(json.loads(line))) for line in path.read_text(encoding="utf-8").splitlines())
    elif path.suffix == ".json":
        value = lasting(json.loads(path.read_text(encoding="utf-8")))
        if path.name == "manifest.json":  # the files of JSON, whose times vary, are compared themselves
            value["files"] = {name: one for name, one in value["files"].items() if not name.endswith(".json")}
        parts = [json.dumps(value)]
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def lasting(value: Any) -> Any:
    """A JSON value without times and dates."""
    if isinstance(value, dict):
        return {key: lasting(one) for key, one in value.items() if key not in VARYING}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def write_shop(world: Path) -> None:
    """Writes the two tables of a small synthetic shop."""
    generator = random.Random(0)
    with (world / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title", "brand", "categories", "price"])
        for number in range(36):
            kind, material = KINDS[number % 6], MATERIALS[number // 6]
            title = f"{material.capitalize()} {kind}"
            writer.writerow(
                [f"i{number}", title, f"Maker {number % 5}", f"Home > {kind.capitalize()}s", 5 + number % 7]
            )
    with (world / "interactions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp", "rating", "review"])
        for user in range(40):
            for place, item in enumerate(generator.sample(range(36), 9)):
                rating = 1 if (item + user) % 5 == 0 else 5
                review = f"I {'dislike' if rating == 1 else 'love'} this {KINDS[item % 6]}."
                writer.writerow([f"u{user}", f"i{item}", 1_600_000_000 + 1000 * user + place, rating, review])


class Answers(BaseHTTPRequestHandler):
    """Chat endpoint whose answer depends on the messages alone."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = sum(json.dumps(request["messages"]).encode()) % 1000
        opening = ("Look for", "Prefer", "Search for", "Opt for", "Avoid")
        text = json.dumps({"instructions": [f"{words} thing {number}" for words in opening]})
        message = {"role": "assistant", "content": text}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        body = json.dumps({"id": "1", "object": "chat.completion", "model": "toy", "choices": choices}).encode()
        time.sleep(0.01)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps the requests out of the log."""


def start_server() -> tuple[int, str]:
    """Starts the endpoint in a process of its own; returns its id and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    process = os.fork()
    if not process:
        server.serve_forever()
    server.server_close()
    return process, f"http://127.0.0.1:{server.server_port}/v1"


def import_libraries(threads: int) -> None:
    """Imports what the commands import, before the forks; nothing is computed, for threads do not survive a fork."""
    import accelerate
    import datasets
    import duckdb
    import ibis
    import openai
    import sentence_transformers
    import torch
    import transformers

    from modeling_mender.commands import evaluate, learn_ids, staging, train, training_run

    torch.set_num_threads(threads)
    assert all((accelerate, datasets, duckdb, ibis, openai, sentence_transformers, transformers))
    assert all((evaluate, learn_ids, staging, train, training_run))


if __name__ == "__main__":
    sys.exit(main())
