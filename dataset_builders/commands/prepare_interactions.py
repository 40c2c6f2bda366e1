"""Prepare interaction logs of any size: k-core, time order, and split of every user's sequence.

    mender prepare-interactions --domain mine --output_dir prepared/mine --memory_limit 6GB \\
        --source tables --interactions actions.csv --items items.csv
    spark-submit --master spark://head:7077 scripts/prepare_interactions.py --engine pyspark \\
        --domain mine --output_dir /shared/prepared/mine --temp_directory /shared/scratch \\
        --source raw --interactions /shared/actions --items /shared/items

Writes `events.parquet` (one row per action, with its window, history length and split), `items.parquet` and
`counts.json`. Both engines write the same rows. On a cluster, all workers must be able to access these folders.
"""

import argparse
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from ..replacing import INTERACTIONS, check_replaceable, other_values
from .command_line import CommandParser, defaults_of, run_command
from .source_arguments import SourceArguments, add_source_arguments, source_from, user_stride_of


@dataclass(kw_only=True)
class InteractionArguments(SourceArguments):
    """Arguments of [`prepare`]; `--help` describes each."""

    output_dir: Path
    engine: str = "duckdb"
    memory_limit: str | None = None
    temp_directory: Path | None = None
    overwrite: bool = False


def parse_arguments(argv: list[str] | None) -> InteractionArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source_arguments(parser)
    parser.add_argument("--output_dir", type=Path, required=True, help="new output folder")
    parser.add_argument("--engine", choices=("duckdb", "pyspark"), help="execution engine")
    parser.add_argument(
        "--memory_limit", help="memory limit of DuckDB or local Spark, as in 4GB; DuckDB spills the rest"
    )
    parser.add_argument(
        "--temp_directory", type=Path, help="folder for spilled data and temporary tables; shared on a cluster"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    parser.set_defaults(**defaults_of(InteractionArguments))
    return InteractionArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Prepares the interactions of one source.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0, or 1 on bad input, after one line on stderr.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: prepare(arguments))


def prepare(arguments: InteractionArguments) -> None:
    """Writes the interactions of one source, and prints their counts.

    Raises:
        OSError: If there is no room in memory or on the disk.
        ValueError: If options or files are invalid.
    """
    import duckdb

    from ..atomic_write import new_directory
    from ..building.engines import megabytes
    from ..building.interactions import (
        close,
        connect,
        load_source,
        logger,
        prepare_interactions,
        target_counts,
        write_interactions,
    )

    logger.setLevel(logging.INFO)  # one line per round of the k-core
    check_replaceable(arguments.output_dir, arguments.overwrite, INTERACTIONS, other_values(arguments))
    if arguments.memory_limit is not None:
        megabytes(arguments.memory_limit)
    source, domain = source_from(arguments)
    user_stride = user_stride_of(arguments, domain)
    try:
        with new_directory(arguments.output_dir, arguments.overwrite) as folder:
            connection = connect(arguments.engine, arguments.memory_limit, arguments.temp_directory)
            try:
                raw = load_source(source, connection, arguments.temp_directory)
                prepared = prepare_interactions(raw, arguments.min_count, user_stride)
                write_interactions(prepared, folder, arguments.window)
                targets = target_counts(prepared.events, arguments.window).to_pyarrow().to_pylist()
            finally:
                close(connection)
            counts = {
                "num_users": prepared.num_users,
                "num_items": prepared.num_items,
                "num_actions": prepared.num_actions,
                "min_count": arguments.min_count,
                "user_stride": user_stride,
                "window": arguments.window,
                "targets": {row["split"]: int(row["targets"]) for row in sorted(targets, key=lambda r: r["split"])},
                "skipped": {reason: int(count) for reason, count in sorted(raw.skipped.items())},
                "noted": {reason: int(count) for reason, count in sorted(raw.noted.items())},
            }
            (folder / "counts.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    except duckdb.Error as error:
        raise OSError(str(error).splitlines()[0]) from error
    print(
        f"{prepared.num_actions:,} actions of {prepared.num_users:,} users on {prepared.num_items:,} items\n"
        f"written: {arguments.output_dir}"
    )


if __name__ == "__main__":
    sys.exit(main())
