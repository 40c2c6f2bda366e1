"""Times exact steering (eq. 2 and 3) over a synthetic catalog, and an approximate index beside it.

    python scripts/benchmarks/benchmark_steering.py --num_items 10000 --num_preferences 100000 [--approximate]

Every item is a target in every split, so that two requests per item and split must be served: the most there can be.
Vectors lie around common centres and lean towards one direction, as those of sentence encoders do. Peak memory is that
of the process above what it held once the inputs were made.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from process_memory import PeakMemory, peak_memory_mb


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_items", type=int, default=10_000)
    parser.add_argument("--num_preferences", type=int, default=100_000)
    parser.add_argument("--hidden_size", type=int, default=384, help="384 is MiniLM's")
    parser.add_argument("--num_users", type=int, help="at least the number of items, which is the default")
    parser.add_argument("--num_centres", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", nargs="+", default=["faiss"], help="faiss, torch, numpy; one run each")
    parser.add_argument("--device", help="of the engine torch, such as cuda")
    parser.add_argument("--steering", default="paper", choices=["paper", "balanced"], help="way to choose targets")
    parser.add_argument("--approximate", action="store_true", help="also an inverted-file index over the preferences")
    parser.add_argument("--num_lists", type=int, help="of the index; 4 times the root of the preferences by default")
    parser.add_argument("--num_probes", type=int, nargs="+", default=[1, 4, 16, 64], help="lists read per item")
    parser.add_argument(
        "--num_queries", type=int, default=10_000, help="items that are looked up in the index, at most"
    )
    parser.add_argument("--k", type=int, default=152, help="ranks that are kept for an item with six requests")
    arguments = parser.parse_args(argv)
    arguments.num_users = arguments.num_users or arguments.num_items
    return arguments


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuses sizes that make no benchmark.

    Raises:
        ValueError: Naming the option.
    """
    for name in ("num_items", "num_preferences", "hidden_size", "num_centres", "num_queries", "k"):
        if getattr(arguments, name) < 2:
            raise ValueError(f"--{name} ({getattr(arguments, name)}) must be at least 2")
    if arguments.num_users < arguments.num_items:
        raise ValueError(f"--num_users ({arguments.num_users}) must be at least --num_items ({arguments.num_items})")


def clustered(count: int, centres: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Unit vectors around random centres: float32 `(count, hidden_size)`, the noise as long as the centre."""
    hidden_size = centres.shape[1]
    vectors = generator.standard_normal((count, hidden_size), dtype=np.float32)
    vectors *= 1 / np.sqrt(hidden_size)
    for start in range(0, count, 65536):
        block = vectors[start : start + 65536]
        block += centres[generator.integers(len(centres), size=len(block))]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def synthetic_sequences(num_users: int, num_items: int, generator: np.random.Generator) -> "Sequences":  # noqa: F821
    """Six actions per user; every item is the test, the validation and a train target of somebody."""
    import pyarrow as pa

    from dataset_builders.building.sequences import Sequences

    length = 6
    # A shuffled round of the catalog per place: each item is at each place of some user.
    places = [generator.permutation(np.arange(num_users) % num_items) + 1 for _ in range(length)]
    events = {
        "user_id": np.repeat(np.arange(num_users), length).astype(str),
        "position": np.tile(np.arange(1, length + 1), num_users),
        "sequence_length": np.full(num_users * length, length),
        "item_id": np.stack(places, axis=1).ravel(),
    }
    table = pa.table(events)
    nothing = pa.nulls(table.num_rows)
    return Sequences.from_arrow(table.append_column("rating", nothing).append_column("review", nothing))


def benchmark_exact(
    engine: str,
    device: str | None,
    sequences: object,
    items: np.ndarray,
    texts: Sequence[str],
    preferences: np.ndarray,
    variant: str = "paper",
) -> None:
    """Eq. (2) and the whole of steering, timed; of balanced rows the latter alone."""
    from dataset_builders.building.steering.assignment import plan_steering
    from dataset_builders.building.steering.neighbors import similar_and_distinct

    memory, start = PeakMemory(), time.perf_counter()
    if variant == "paper":
        similar, distinct = similar_and_distinct(items, texts, engine=engine, device=device)
        neighbours = time.perf_counter() - start
        most = [int(np.bincount(found).max()) for found in (similar, distinct)]
        print(f"{engine}: eq. (2) {neighbours:.1f} s, peak memory above the inputs {memory.above_start_mb():.0f} MB")
        print(f"  one item is the similar one of at most {most[0]}, the distinct one of at most {most[1]} items")
    start = time.perf_counter()
    pool = np.ones(len(preferences), bool)
    rows, report = plan_steering(
        sequences, items, texts, preferences, {}, pool, engine=engine, device=device, variant=variant
    )
    seconds = time.perf_counter() - start
    count = sum(len(steered.target) for steered in rows.values())
    print(
        f"  {engine}, {variant}: eq. (2) and (3) with claims {seconds:.1f} s, {count:,} rows, "
        f"{sum(report.reused.values()):,} preferences reused, {sum(report.dropped.values()):,} rows dropped, "
        f"peak memory above the inputs {memory.above_start_mb():.0f} MB",
        flush=True,
    )


def benchmark_approximate(items: np.ndarray, preferences: np.ndarray, arguments: argparse.Namespace) -> None:
    """The best `k` preferences of some items: exact, and with the index at several numbers of probes."""
    import faiss

    from dataset_builders.building.steering.nearest import top_k

    items = items[: arguments.num_queries]  # the items come in no order
    start = time.perf_counter()
    _, expected = top_k(items, preferences, arguments.k)
    exact = time.perf_counter() - start
    start = time.perf_counter()
    num_lists = min(arguments.num_lists or int(4 * np.sqrt(len(preferences))), len(preferences))
    quantizer = faiss.IndexFlatIP(preferences.shape[1])
    index = faiss.IndexIVFFlat(quantizer, preferences.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = arguments.seed + 1  # the seed of FAISS must not be 0
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid, index.cp.spherical = 64, 1, True
    index.train(preferences)
    index.add(preferences)
    build = time.perf_counter() - start
    print(f"best {arguments.k} preferences of {len(items):,} items: exact {exact:.1f} s")
    print(f"inverted file of {num_lists} lists: built in {build:.1f} s")
    print("  probes  seconds  times as fast  with the build  best one equal  of the best k found")
    for num_probes in arguments.num_probes:
        start = time.perf_counter()
        index.nprobe = num_probes
        _, found = index.search(items, arguments.k)
        seconds = time.perf_counter() - start
        first = float(np.mean(found[:, 0] == expected[:, 0]))
        shared = [len(np.intersect1d(*pair)) for pair in zip(found, expected, strict=True)]
        print(
            f"  {num_probes:6d}  {seconds:7.1f}  {exact / seconds:13.1f}  {exact / (seconds + build):14.1f}  "
            f"{first:14.1%}  {np.mean(shared) / expected.shape[1]:19.1%}",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    from dataset_builders.building.steering.nearest import check_engine

    try:
        check_arguments(arguments)
        for engine in arguments.engine:
            check_engine(engine, arguments.device)
    except (ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    generator = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    centres = generator.standard_normal((arguments.num_centres, arguments.hidden_size), dtype=np.float32)
    centres += generator.standard_normal(arguments.hidden_size, dtype=np.float32) / 2  # the common direction
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    items = clustered(arguments.num_items, centres, generator)
    preferences = clustered(arguments.num_preferences, centres, generator)
    texts = [f"item {number}" for number in range(arguments.num_items)]
    sequences = synthetic_sequences(arguments.num_users, arguments.num_items, generator)
    print(
        f"{arguments.num_items:,} items, {arguments.num_preferences:,} preferences, {arguments.hidden_size} numbers "
        f"each, {len(sequences):,} actions, seed {arguments.seed}; made in {time.perf_counter() - start:.1f} s, "
        f"{peak_memory_mb():.0f} MB",
        flush=True,
    )
    for engine in arguments.engine:
        benchmark_exact(engine, arguments.device, sequences, items, texts, preferences, arguments.steering)
    if arguments.approximate:
        benchmark_approximate(items, preferences, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
