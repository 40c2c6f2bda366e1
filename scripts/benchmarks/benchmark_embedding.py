"""Times the embedding of texts in float32 and in bfloat16, in the given order and sorted by length, in one run.

    python scripts/benchmarks/benchmark_embedding.py [--num_texts 4096] [--texts lines.txt]
    python scripts/benchmarks/benchmark_embedding.py --benchmarks outputs/float32 outputs/bfloat16

By default the texts are items and preferences of the synthetic sample shop, in random order. Runs are interleaved and
the minimum is taken; the cosines of the two vectors of a text are printed beside. Given two benchmarks, built with
`mender build --embedding_dtype float32` and `bfloat16`, it prints the share of equal rows per axis and split instead.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.report import list_domains
from dataset_builders.benchmark.schema import splits_of
from dataset_builders.benchmark.tables import load_table
from dataset_builders.building.build import no_embedding
from dataset_builders.building.sources import get_source
from dataset_builders.building.stage_cache import StageCache
from dataset_builders.building.stages import BenchmarkBuild
from dataset_builders.building.text_embedding import TextEmbedder, load_embedder, multiplies_bfloat16
from dataset_builders.commands.command_line import run_command


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedding_model", default="minilm", help="name or folder for sentence-transformers")
    parser.add_argument("--texts", type=Path, help="file of texts, one a line; default: those of the sample shop")
    parser.add_argument("--num_texts", type=int, default=4096, help="different texts, at most")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--benchmarks", nargs=2, metavar=("FLOAT32", "BFLOAT16"), help="compare the rows of two benchmarks instead"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measures; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    if arguments.benchmarks:
        return run_command(lambda: print_equal_rows(*arguments.benchmarks))
    return run_command(lambda: print_speeds(arguments))


def print_speeds(arguments: argparse.Namespace) -> None:
    """Prints texts a second of each data type and order, and how far the vectors are apart."""
    for name in ("num_texts", "repeats", "num_threads"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} ({getattr(arguments, name)}) must be at least 1")
    torch.set_num_threads(arguments.num_threads)
    texts = read_texts(arguments.texts, arguments.num_texts, arguments.seed)
    embedders = {
        dtype: load_embedder(
            arguments.embedding_model, arguments.device, arguments.batch_size, progress=False, dtype=dtype
        )
        for dtype in ("float32", "bfloat16")
    }
    runs: dict[tuple[str, str], Callable[[], np.ndarray]] = {}
    for dtype, embedder in embedders.items():
        embedder(texts[:64])  # warm
        runs[dtype, "unsorted"] = lambda embedder=embedder: in_given_order(embedder, texts)
        runs[dtype, "sorted"] = lambda embedder=embedder: embedder(texts)
    seconds, vectors = dict.fromkeys(runs, float("inf")), {}
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            vectors[name] = run()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    print(
        f"{len(texts)} texts of {np.mean([len(text) for text in texts]):.0f} characters, batches of "
        f"{arguments.batch_size}, {arguments.embedding_model} on {arguments.device}, {arguments.num_threads} "
        f"thread(s), torch {torch.__version__}; the CPU "
        f"{'multiplies' if multiplies_bfloat16() else 'does not multiply'} bfloat16"
    )
    for (dtype, order), spent in seconds.items():
        ratio = seconds["float32", "unsorted"] / spent
        print(f"{dtype:8}  {order:8}  {len(texts) / spent:8.0f} texts a second  {ratio:6.2f} x")
    exact, fast = (vectors[dtype, "sorted"].astype(np.float64) for dtype in ("float32", "bfloat16"))
    apart = np.abs(1 - (exact * fast).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1))
    print(f"|1 - cosine| of the two vectors of a text: at most {apart.max():.1e}, on average {apart.mean():.1e}")


def read_texts(path: Path | None, count: int, seed: int) -> list[str]:
    """Reads different texts of a file, or makes those of the sample shop, in random order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no texts.
    """
    if path is not None:
        if not path.is_file():
            raise FileNotFoundError(f"--texts {path} does not exist; correct the path")
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        with tempfile.TemporaryDirectory() as folder:
            build = BenchmarkBuild(get_source("sample"), "sample", no_embedding, StageCache(folder), progress=False)
            found = [*build.item_texts, *build.preferences.strings]
    distinct = sorted({text for text in found if text})
    if not distinct:
        raise ValueError(f"--texts {path} has no texts; give one a line")
    order = np.random.default_rng(seed).permutation(len(distinct))
    return [distinct[index] for index in order[:count]]


def in_given_order(embedder: TextEmbedder, texts: Sequence[str]) -> np.ndarray:
    """Embeds texts batch by batch as they come: `(num_texts, hidden_size)`."""
    size = embedder.batch_size
    return np.concatenate([embedder(texts[start : start + size]) for start in range(0, len(texts), size)])


def print_equal_rows(one: str, other: str) -> None:
    """Prints the share of rows that two benchmarks of the same source have in common, per axis and split.

    Beside it, the share that is equal apart from the preferences: the same user, position, history and target.
    """
    for domain in list_domains(one):
        for axis, record in AXES.items():
            texts = {column for column in record.columns if column.startswith("preference")}
            for split in splits_of(axis):
                pair = [load_table(benchmark, domain, axis, split) for benchmark in (one, other)]
                if any(rows is None for rows in pair):
                    print(f"{domain}_{axis}: missing in one of them")
                    break
                whole, asked = equal_share(*pair, left_out=set()), equal_share(*pair, left_out=texts)
                print(
                    f"{domain}_{axis:15} {split:10} {whole:8.2%} of the rows are equal, "
                    f"{asked:8.2%} apart from the preference"
                )


def equal_share(one: Iterable[dict], other: Iterable[dict], left_out: Collection[str]) -> float:
    """Share of the rows of the longer table that the other has as well, without the columns that are left out."""
    counts = [
        Counter(repr([(name, value) for name, value in sorted(row.items()) if name not in left_out]) for row in rows)
        for rows in (one, other)
    ]
    return (counts[0] & counts[1]).total() / max(1, *(each.total() for each in counts))


if __name__ == "__main__":
    sys.exit(main())
