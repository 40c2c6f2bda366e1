"""Steps of a reproduction: commands that run in one folder, each once, and the record of each."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from json import dumps
from pathlib import Path
from typing import Any

from dataset_builders.atomic_write import write_text
from dataset_builders.benchmark.fingerprints import DIGEST, json_digest
from dataset_builders.bounded_parsing import UnreadableFile, parse_json, read_bounded
from dataset_builders.replacing import TRAINED, check_replaceable

from ..manifest import sha256

THERE, INTERRUPTED, CHANGED, NEW = "there", "interrupted", "changed", "new"
RECORDS, LOGS = "steps", "logs"
PASSING = "checkpoints"  # in the output of a training, which may be removed once it has ended
_RUN = "import sys; sys.path[:] = {!r}; from dataset_builders.commands.main import main; sys.exit(main())"


@dataclass(frozen=True)
class Step:
    """A command of `mender`.

    Attributes:
        name (`str`): Name of the step, as in `train_sasrec_seed_0`.
        words (`Sequence[str]`): Command line, with paths relative to the folder of the reproduction.
        output (`str`): Folder that it writes, likewise.
        reads (`Sequence[str]`): Names of the earlier steps that it reads.
        depends_on (`Mapping[str, Any]`): JSON values that its output depends on beside these: raw files, a recipe.
    """

    name: str
    words: Sequence[str]
    output: str
    reads: Sequence[str] = ()
    depends_on: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """Record of a step.

    Attributes:
        words, output, depends_on: As in [`Step`].
        reads (`dict[str, str]`): Step that was read -> digest of its files.
        runs (`int`): Runs that it took; more than one after interruptions.
        seconds (`float`), processor_seconds (`float`): Wall-clock time and time of the processor, over all runs.
        threads (`int`): Threads of the last run.
        machine (`dict`): Machine of the last run, see [`describe_machine`].
        files (`dict`, *optional*): Size and SHA-256 by path in the output folder; `None` until the step ended well.
    """

    words: list[str]
    output: str
    depends_on: dict[str, Any]
    reads: dict[str, str]
    runs: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    threads: int = 0
    machine: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] | None = None

    @property
    def num_bytes(self) -> int:
        """Size of the files."""
        return sum(file["size"] for file in (self.files or {}).values())

    @property
    def digest(self) -> str:
        """Digest of the files, by which the steps that read them know whether they have changed."""
        return json_digest(self.files or {})


class Steps:
    """Steps in a folder.

    The record of a step is written when it begins and when it has ended well. A step is there if it ended well, its
    files have their sizes, and it was made by the same command from the same files of the steps that it reads. Their
    contents are checked by the commands that read them, by manifests and fingerprints.

    Args:
        folder (`Path`): Folder of the reproduction.
        steps (`Sequence[Step]`): Steps, in an order in which each may run.
    """

    def __init__(self, folder: Path, steps: Sequence[Step]) -> None:
        self.folder, self.steps = folder, {step.name: step for step in steps}

    def state(self, name: str) -> str:
        """State of a step: `there`, `interrupted`, `changed`, `new`, or `after NAME` of a step that is not there.

        Raises:
            ValueError: If a record is damaged.
            FileExistsError: If the output folder holds something, and there is no record.
        """
        step, record = self.steps[name], self.record(name)
        output = self.folder / step.output
        if record is None:
            if output.exists() and not (output.is_dir() and not any(output.iterdir())):
                raise FileExistsError(
                    f"{output} exists, and no reproduction has made it; move it away, or give another --output_dir."
                )
            return NEW
        for read in step.reads:
            if self.state(read) != THERE:
                return f"after {read}"
        expected = self._new_record(step)
        if (record.words, record.depends_on, record.reads) != (expected.words, expected.depends_on, expected.reads):
            return CHANGED
        if record.files is None:
            return INTERRUPTED
        sizes = {path: output / path for path in record.files}
        is_whole = all(path.is_file() and path.stat().st_size == record.files[one]["size"]
                       for one, path in sizes.items())  # fmt: skip
        return THERE if is_whole else CHANGED

    def record(self, name: str) -> Record | None:
        """Record of a step; `None` if it has never begun.

        Raises:
            ValueError: If it is damaged.
        """
        path = self._record_path(name)
        if not path.is_file():
            return None
        try:
            return Record(**read_sealed(path))
        except (UnreadableFile, TypeError) as error:  # the latter: keys of another version
            output = self.folder / self.steps[name].output
            raise ValueError(f"{path} cannot be read ({error}); remove it and {output}, to make that again.") from None

    def finished(self, name: str) -> Record:
        """Record of a step that is there."""
        record = self.record(name)
        assert record is not None and record.files is not None, f"{name} is there"
        return record

    def run(self, name: str, threads: int, machine: dict[str, Any]) -> None:
        """Runs a step that is not there; an interrupted one continues as far as its command can.

        Args:
            name (`str`): The step.
            threads (`int`): Threads of its command.
            machine (`dict`): Of [`describe_machine`], for the record.

        Raises:
            ValueError: If the command fails; names its error and its log.
            Interrupted: After SIGINT or SIGTERM, which the command gets as well.
        """
        from ..training.stopping import Interrupted

        step, state = self.steps[name], self.state(name)
        record = self.record(name)
        if record is None or state != INTERRUPTED:
            record = self._new_record(step)
            self._clear(step)
        record.runs, record.threads, record.machine = record.runs + 1, threads, machine
        self._write(name, record)
        log = self.folder / LOGS / f"{name}.log"
        started, before = time.perf_counter(), _processor_seconds()
        status, received = _run_command(step.words, self.folder, log, threads, state == INTERRUPTED)
        record.seconds = round(record.seconds + time.perf_counter() - started, 2)
        record.processor_seconds = round(record.processor_seconds + _processor_seconds() - before, 2)
        if status == 0:
            record.files = list_files(self.folder / step.output)
        self._write(name, record)
        if received and status:
            raise Interrupted(f"{name} is interrupted; the same command continues", received)
        if status:
            error = _last_error(log, status).rstrip(".")
            raise ValueError(f"{name} failed: {error}. Its log is {log}; mend that, and the same command continues.")

    def _new_record(self, step: Step) -> Record:
        """Record of a step that begins now, after those that it reads."""
        read = {name: self.record(name) for name in step.reads}
        digests = {name: record.digest for name, record in read.items() if record is not None}
        return Record(list(step.words), step.output, dict(step.depends_on), digests)

    def _clear(self, step: Step) -> None:
        """Removes what a training would continue from; all other commands replace their output themselves."""
        if step.words[0] == "train":
            for name, patterns in TRAINED.items():
                path = self.folder / step.output / name
                check_replaceable(path, True, patterns)
                shutil.rmtree(path, ignore_errors=True)

    def _record_path(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"

    def _write(self, name: str, record: Record) -> None:
        path = self._record_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, asdict(record))


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON values with their digest."""
    write_text(path, dumps({**values, DIGEST: json_digest(values)}, indent=1) + "\n")


def read_sealed(path: Path) -> dict[str, Any]:
    """Reads what [`write_sealed`] wrote.

    Raises:
        UnreadableFile: If it is no JSON, or was changed.
    """
    values = parse_json(read_bounded(path))
    if not isinstance(values, dict) or values.pop(DIGEST, None) != json_digest(values):
        raise UnreadableFile("it was changed since it was written")
    return values


def describe_machine() -> dict[str, Any]:
    """Describes what the figures of a run may depend on: processor, memory, GPU and versions; imports torch."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": named[0] if named else platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "numpy", "duckdb")},
    }


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file in or below a folder but its checkpoints, by its path."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): {"size": path.stat().st_size, "sha256": sha256(path)}
        for name, path in paths.items()
        if name.parts[0] != PASSING
    }


def _run_command(words: Sequence[str], folder: Path, log: Path, threads: int, append: bool) -> tuple[int, int]:
    """Runs a command of `mender` in a folder, by the same packages as this process; passes signals on to it.

    Returns:
        `tuple[int, int]`: Its exit status, and the number of the first SIGINT or SIGTERM, 0 if there was none.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    code = _RUN.format([str(Path(path).resolve()) for path in sys.path])
    received: list[int] = []
    with log.open("a" if append else "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C reaches it once, from here
        )  # fmt: skip

        def pass_on(number: int, _: object) -> None:
            received.append(number)
            process.send_signal(number)

        before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return status, next(iter(received), 0)


def _processor_seconds() -> float:
    """Time of the processor of all commands that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def _last_error(log: Path, status: int) -> str:
    """The last error in a log, or its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return next(iter((*errors[::-1], *lines[::-1])), f"exit status {status}")
