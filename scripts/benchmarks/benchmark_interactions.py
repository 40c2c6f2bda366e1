"""Takes synthetic actions through k-core, time order, windows and splits, and prints time and memory.

    python scripts/benchmarks/benchmark_interactions.py --rows 1e6 1e7 1e8 --memory_limit 5GB --folder /data/scratch

Users and items follow power laws, times are whole days, so ties are common; each row has a rating and a review of
`--review_length` characters (NULL for 0). DuckDB generates everything from the row's number and the seed, straight
into Parquet. Each size runs in a fresh process, whose peak memory is all of it: Python, Ibis, DuckDB and its buffers.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from process_memory import peak_memory_mb

ROWS_PER_USER, ROWS_PER_ITEM = 4, 10  # on average, before the k-core
USER_EXPONENT, ITEM_EXPONENT = 1.5, 2.5  # the frequency of rank r falls as r ** (1 / exponent - 1)
DAYS = 7000


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7], help="numbers of actions, as in 1e8")
    parser.add_argument("--memory_limit", default="5GB", help="DuckDB's; the process needs a little more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for input, spill and results (about 0.2 GB per million rows)")
    parser.add_argument("--min_count", type=int, default=5)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--review_length", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in_process", action="store_true", help="run one size here, and print its figures as JSON")
    return parser.parse_args(argv)


def generation_sql(num_rows: int, review_length: int, seed: int) -> tuple[str, str]:
    """The queries of the interactions and of the items; a row's values depend on its number and the seed alone."""
    num_users, num_items = num_rows // ROWS_PER_USER + 1, num_rows // ROWS_PER_ITEM + 1

    def rank(salt: int, count: int, exponent: float) -> str:
        uniform = f"hash(n, {seed}, {salt})::DOUBLE / 18446744073709551616"
        return f"least(floor({count} * power({uniform}, {exponent}))::BIGINT, {count - 1})"

    def key(letter: str, number: str, length: int) -> str:  # multiplied by an odd number: keys do not tell the rank
        return f"'{letter}' || lpad(to_hex(({number} * 2654435761) % {16**length}), {length}, '0')"

    review = f"left(repeat(md5(n::VARCHAR), {review_length // 32 + 1}), {review_length})" if review_length else "NULL"
    interactions = f"""SELECT {key("A", rank(1, num_users, USER_EXPONENT), 12)} AS user_id,
        {key("B", rank(2, num_items, ITEM_EXPONENT), 8)} AS source_id,
        (1200000000 + 86400 * (hash(n, {seed}, 3) % {DAYS})::BIGINT) AS timestamp,
        (1 + hash(n, {seed}, 4) % 5)::DOUBLE AS rating, ({review})::VARCHAR AS review, n AS "row"
        FROM range({num_rows}) AS numbers(n)"""
    items = f"""SELECT {key("B", "n", 8)} AS source_id, 'Item ' || n AS title, '' AS brand,
        ['Root', 'Leaf ' || n % 100] AS categories, NULL::DOUBLE AS price, '' AS description
        FROM range({num_items}) AS numbers(n)"""
    return interactions, items


class Folder:
    """The largest size of a folder's files while the block runs, in bytes, looked at twice a second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak = folder, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            sizes = []
            for path in self.folder.glob("*"):
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:  # gone since it was listed
                    continue
            self.peak = max(self.peak, sum(sizes))

    def __enter__(self) -> "Folder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Marks(logging.Handler):
    """Messages and the seconds since the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.lines = time.time(), []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a message."""
        self.lines.append(f"{record.created - self.last:8.1f} s  {record.getMessage()}")
        self.last = record.created


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Runs one size.

    Args:
        arguments (`argparse.Namespace`): The command line, with one number of rows.
        folder (`Path`): An empty folder.

    Returns:
        `dict`: counts, seconds per phase, peak memory and disk in bytes, the steps of the preparation.
    """
    from dataset_builders.building import interactions
    from dataset_builders.building.engines import read_parquet
    from dataset_builders.building.sources.raw_tables import RawTables

    connection = interactions.connect("duckdb", arguments.memory_limit, folder / "spill")
    connection.raw_sql(f"SET threads = {arguments.threads}")
    num_rows = int(arguments.rows[0])
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal started
        seconds[phase] = round(time.perf_counter() - started, 1)
        started = time.perf_counter()

    with Folder(folder / "spill") as spill:
        raw = []
        for name, query in zip(
            ("in_interactions", "in_items"),
            generation_sql(num_rows, arguments.review_length, arguments.seed),
            strict=True,
        ):
            path = folder / f"{name}.parquet"
            literal = str(path).replace("'", "''")
            connection.raw_sql(f"COPY ({query}) TO '{literal}' (FORMAT parquet)")
            raw.append(read_parquet(connection, path, name))
        lap("generate")
        marks = Marks()
        interactions.logger.addHandler(marks)
        interactions.logger.setLevel(logging.INFO)
        prepared = interactions.prepare_interactions(RawTables(*raw), arguments.min_count)
        lap("prepare")
        interactions.write_interactions(prepared, folder, arguments.window)
        lap("write")
        targets = interactions.target_counts(prepared.events, arguments.window).to_pyarrow().to_pylist()
        lap("count")
    written = {name: (folder / f"{name}.parquet").stat().st_size for name in ("in_interactions", "events")}
    connection.disconnect()
    return {
        "rows": num_rows,
        "users": prepared.num_users,
        "items": prepared.num_items,
        "actions": prepared.num_actions,
        "rounds": prepared.num_rounds,
        "seconds": seconds,
        "peak_memory": int(peak_memory_mb() * 2**20),
        "peak_spill": spill.peak,
        "bytes": written,
        "targets": {row["split"]: row["targets"] for row in targets},
        "steps": marks.lines,
    }


def report(figures: dict[str, object]) -> str:
    """The figures of one size, to be read."""
    seconds, targets = figures["seconds"], figures["targets"]
    lines = [
        f"{figures['rows']:,} rows -> {figures['actions']:,} actions of {figures['users']:,} users on "
        f"{figures['items']:,} items after {figures['rounds']} rounds",
        *figures["steps"],
        "seconds: " + ", ".join(f"{phase} {value}" for phase, value in seconds.items()),
        "targets: " + ", ".join(f"{split} {targets.get(split, 0):,}" for split in ("train", "validation", "test")),
        f"peak memory {figures['peak_memory'] / 1e9:.2f} GB, peak spill {figures['peak_spill'] / 1e9:.2f} GB",
        "files: " + ", ".join(f"{name}.parquet {size / 1e9:.2f} GB" for name, size in figures["bytes"].items()),
    ]
    return "\n".join(lines)


def growth(results: list[dict[str, object]]) -> str:
    """Time and memory of each size against the one before."""
    lines = []
    for before, after in zip(results, results[1:], strict=False):
        times = [sum(figures["seconds"].values()) for figures in (before, after)]
        lines.append(
            f"{after['rows'] / before['rows']:.1f} x the rows: {times[1] / times[0]:.1f} x the time "
            f"({times[0]:.0f} s -> {times[1]:.0f} s), {after['peak_memory'] / before['peak_memory']:.1f} x the memory"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures each size in a fresh process.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0, or 1 on bad input or when a size fails, after one line on stderr.
    """
    arguments = parse_arguments(argv)
    try:
        if min(arguments.rows) < 1000:
            raise ValueError(f"--rows ({min(arguments.rows):.0f}) must be at least 1000, or nothing is left")
        if arguments.folder is not None:
            arguments.folder.mkdir(parents=True, exist_ok=True)
        if arguments.in_process:
            with tempfile.TemporaryDirectory(prefix="benchmark-interactions-", dir=arguments.folder) as folder:
                print(json.dumps(measure(arguments, Path(folder))))
            return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = []
    for rows in arguments.rows:
        options = {**vars(arguments), "rows": rows}
        words = [f"--{name}={value}" for name, value in options.items() if name != "in_process" and value is not None]
        run = subprocess.run(
            [sys.executable, __file__, "--in_process", *words], stdout=subprocess.PIPE, text=True, check=False
        )
        if run.returncode:
            print(f"error: {rows:.0f} rows ended with exit code {run.returncode}, see above", file=sys.stderr)
            return 1
        results.append(json.loads(run.stdout.splitlines()[-1]))
        print(report(results[-1]), flush=True)
    print(growth(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
