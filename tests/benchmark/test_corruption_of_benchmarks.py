"""Damaged benchmark directories: every reader names the file or gives the same answer, whatever was done to a file.

`python tests/benchmark/test_corruption_of_benchmarks.py [cases]` tries as many cases, and prints their counts.
"""

import collections
import contextlib
import io
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.checks import check_benchmark
from dataset_builders.benchmark.report import read_item_text_fields
from dataset_builders.benchmark.statistics import statistics_tables
from dataset_builders.benchmark.tables import load_axes, load_table, require_table
from dataset_builders.commands.baselines import BaselineArguments, score_baselines
from dataset_builders.commands.score import ScoreArguments, score
from dataset_builders.scoring.ranks import query_ids, variants_of
from dataset_builders.scoring.runs import Run, write_run

CASES = 32
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
DAMAGES = ("cut", "flip", "empty", "swap", "delete", "directory", "pointer", "zeros")
SCORING = {"domain": "sample", "k": (10,), "resamples": 1}


def build(folder):
    """A small benchmark, and a run file that answers all of its rows with the items in order."""
    from benchmark_world import hash_embed

    from dataset_builders.building.build import build_benchmark
    from dataset_builders.building.sources.sample import SampleSource

    benchmark = folder / "benchmark"
    build_benchmark(SampleSource(num_items=120, num_users=60), "sample", benchmark, hash_embed, progress=False)
    num_items = len(require_table(str(benchmark), "sample", "items"))
    ranking = np.arange(1, num_items + 1), -np.arange(num_items)
    answers = {
        query: ranking
        for axis, rows in load_axes(str(benchmark), "sample", "test").items()
        for variant in variants_of(axis)
        for query in query_ids(axis, range(len(rows)), variant)
    }
    write_run(Run.from_answers(answers), folder / "run.parquet", num_items)
    return benchmark


def scored(benchmark, run):
    """What mender score and mender evaluate give of a run file."""
    results = score(ScoreArguments(benchmark=str(benchmark), run=run, **SCORING))
    return results.axes, results.left_out, {**vars(results.benchmark), "name": ""}


def baselines(benchmark, run):
    """What mender baselines gives."""
    with tempfile.TemporaryDirectory() as output:
        arguments = BaselineArguments(
            benchmark=str(benchmark), output_dir=Path(output), baselines=["constant_list"], axes=["fine"], **SCORING
        )
        return [results.axes for results in score_baselines(arguments).values()]


def described(benchmark, run):
    """What mender describe prints; a broken promise is named."""
    tables = statistics_tables([benchmark])
    if broken := check_benchmark(benchmark):
        raise ValueError(f"{benchmark}: {broken[0]}")
    return tables


def trained_on(benchmark, run):
    """What a training and the learning of semantic IDs read."""
    name = str(benchmark)
    items = require_table(name, "sample", "items")
    rows = require_table(name, "sample", "recommendation", "validation")
    axes = {axis: load_table(name, "sample", axis) for axis in AXES}
    return (
        items.to_list(),
        rows.to_list(),
        {axis: None if table is None else table.to_list() for axis, table in axes.items()},
        read_item_text_fields(name, "sample"),
    )


READERS = (scored, baselines, described, trained_on)


def damage(path, kind, generator):
    """Does it to a file."""
    content = path.read_bytes()
    others = [other for other in path.parent.parent.rglob(f"*{path.suffix}") if other != path]
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "swap":
        path.write_bytes(generator.choice(others or [path.parent]).read_bytes() if others else b"other")
    elif kind != "delete":
        at = generator.randrange(len(content))
        flipped = bytes([content[at] ^ 1 << generator.randrange(8)])
        path.write_bytes(
            {
                "cut": content[:at],
                "flip": content[:at] + flipped + content[at + 1 :],
                "empty": b"",
                "pointer": POINTER,
                "zeros": content[:at] + bytes(min(50, len(content) - at)) + content[at + 50 :],
            }[kind]
        )


class Warnings(logging.Handler):
    """Warnings of the readers, which name a file too."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        """Keeps the message."""
        self.said.append(record.getMessage())


def outcome(benchmark, run, reader, expected):
    """`same`, `named`, or what must not be: `silent` or `traceback`."""
    heard = Warnings()
    logging.getLogger("dataset_builders").addHandler(heard)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = reader(benchmark, run)
    except (ValueError, OSError) as error:
        return "named" if str(benchmark) in str(error) else f"unnamed: {error}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    finally:
        logging.getLogger("dataset_builders").removeHandler(heard)
    if found == expected:
        return "same"
    return "named" if any(str(benchmark) in said for said in heard.said) else "silent"


def try_cases(benchmark, run, count, seed, scratch):
    """Outcomes of damages drawn at random: (file, damage, reader) -> outcome."""
    generator = random.Random(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = {reader: reader(benchmark, run) for reader in READERS}
    files = sorted(path.relative_to(benchmark) for path in benchmark.rglob("*") if path.is_file())
    outcomes = {}
    for number in range(count):
        file, kind, reader = generator.choice(files), DAMAGES[number % len(DAMAGES)], READERS[number % len(READERS)]
        if number // len(DAMAGES) % 2:
            reader = generator.choice(READERS)
        copy = shutil.copytree(benchmark, scratch / str(number))
        damage(copy / file, kind, generator)
        outcomes[number, str(file), kind, reader.__name__] = outcome(copy, run, reader, expected[reader])
        shutil.rmtree(copy)
    return outcomes


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return build(tmp_path_factory.mktemp("whole"))


def test_every_damaged_file_is_named_or_changes_nothing(benchmark, tmp_path):
    outcomes = try_cases(benchmark, benchmark.with_name("run.parquet"), CASES, 0, tmp_path)
    assert {case: found for case, found in outcomes.items() if found not in ("same", "named")} == {}
    assert list(outcomes.values()).count("named") > CASES // 3


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    with tempfile.TemporaryDirectory() as folder:
        whole = build(Path(folder))
        cases = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
        every = try_cases(whole, whole.with_name("run.parquet"), cases, 1, Path(folder) / "copies")
    lines = [str(collections.Counter(found.split(":")[0] for found in every.values()))]
    lines += [f"{case} {found}" for case, found in every.items() if found not in ("same", "named")]
    sys.stdout.write("\n".join(lines) + "\n")
