"""Engines of Ibis expressions: an embedded DuckDB by default, or Spark for data larger than one machine."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
from ibis.util import gen_name

from ..atomic_write import scratch_directory

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NO_ROOM = re.compile("memory|no space|disk|too many open files", re.IGNORECASE)
ENGINES = ("duckdb", "pyspark")
MEGABYTES = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}
MAX_MEGABYTES = 2**30
# Set by spark-submit and by pyspark's shell, which configure the session themselves.
SUBMITTED = ("PYSPARK_GATEWAY_PORT", "PYSPARK_SUBMIT_ARGS")


def connect(
    engine: str = "duckdb", memory_limit: str | None = None, temp_directory: Path | str | None = None
) -> ibis.BaseBackend:
    """Opens an engine, in UTC.

    - "duckdb": an embedded DuckDB that spills what exceeds the memory limit to disk.
    - "pyspark": the Spark session that is active, or the one that `spark-submit` configured, else a new one in local
      mode that listens on 127.0.0.1 only. The connection has a session of its own (`SparkSession.newSession`), so
      nothing of the given one is changed, and a database of its own, which holds its intermediate tables.

    Args:
        engine (`str`, *optional*, defaults to `"duckdb"`): One of [`ENGINES`].
        memory_limit (`str`, *optional*): Limit such as "4GB". DuckDB's default is 80 % of the machine; Spark's, for a
            session in local mode, is 1 GB.
        temp_directory (`Path` or `str`, *optional*): Folder of DuckDB's spill, the system's temporary folder by
            default; folder of Spark's intermediate tables, its warehouse by default. On a cluster all workers must
            reach it, as with `s3a://...`.

    Returns:
        `ibis.BaseBackend`: The connection; its tables live until [`close`].

    Raises:
        ValueError: If the engine is unknown, or the memory limit is malformed or can no longer be set.
        ImportError: If pyspark is not installed.
        OSError: If Java is missing or Spark does not start.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine ({engine!r}) must be one of {', '.join(ENGINES)}")
    memory = None if memory_limit is None else megabytes(memory_limit)
    return (_connect_duckdb if engine == "duckdb" else _connect_spark)(memory, temp_directory)


def is_duckdb(connection: ibis.BaseBackend) -> bool:
    """Whether a connection is the embedded DuckDB."""
    return connection.name == "duckdb"


def close(connection: ibis.BaseBackend) -> None:
    """Drops the connection's tables and its spill; a shared Spark session stays open."""
    if is_duckdb(connection):
        connection.disconnect()
    else:
        database = connection.current_database
        connection.raw_sql("USE default")
        connection.raw_sql(f"DROP DATABASE `{database}` CASCADE")


def materialize(connection: ibis.BaseBackend, expression: ibis.Table, name: str) -> ibis.Table:
    """Computes an expression once and keeps its rows, out of core.

    On DuckDB the result is a temporary table. Spark has none, so it is a Parquet table in the connection's own
    database, which also cuts the lineage: a loop of expressions would otherwise be recomputed and planned from its
    beginning.

    Args:
        connection (`ibis.BaseBackend`): From [`connect`].
        expression (`ibis.Table`): The rows.
        name (`str`): A readable prefix; the table's name is unique.

    Returns:
        `ibis.Table`: The table.
    """
    if is_duckdb(connection):
        return connection.create_table(gen_name(name), expression, temp=True)
    return connection.create_table(gen_name(name), expression, database=connection.current_database)


def read_parquet(connection: ibis.BaseBackend, path: Path, name: str) -> ibis.Table:
    """Registers a Parquet file, or all of a folder, as a view; no character of the path is taken as a pattern.

    Args:
        connection (`ibis.BaseBackend`): From [`connect`].
        path (`Path`): An existing file, or a folder of files that end in .parquet.
        name (`str`): A readable prefix; the view's name is unique.

    Returns:
        `ibis.Table`: The rows, with the columns of the file alone, whatever the folders are called.

    Raises:
        ValueError: If Spark, which has no way to escape a pattern, is given a path with one of its characters.
    """
    absolute = str(path.absolute())
    if is_duckdb(connection):
        files = sorted(map(str, path.absolute().glob("*.parquet"))) if path.is_dir() else [absolute]
        escaped = [re.sub(r"([*?\[])", r"[\1]", file) for file in files]
        # Otherwise a folder such as `user_id=7` would add or replace a column.
        return connection.read_parquet(escaped, table_name=gen_name(name), hive_partitioning=False)
    if found := re.search(r"[*?\[\]{}\\]", absolute):
        raise ValueError(f"Spark takes {found[0]!r} in {absolute} for a pattern; rename the file or folder")
    where = f"{absolute}/*.parquet" if path.is_dir() else absolute
    return connection.read_parquet(where, table_name=gen_name(name))


@contextmanager
def named_read_errors() -> Iterator[None]:
    """Turns an error of DuckDB about a file that it reads into one that names the file; as a block or a decorator.

    Raises:
        ValueError: If DuckDB cannot read a file, which shows only when its rows are read.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        said = str(error).splitlines()[0] if str(error) else ""
        if _NO_ROOM.search(said):
            raise
        named = re.search(r'file "([^"]+)"|\'([^\']+\.parquet)\'', str(error))
        where = f"the file {named[1] or named[2]}" if named else "the tables"
        raise ValueError(f"DuckDB cannot read {where}: a part is damaged; check it, or write it again") from error


def drop(table: ibis.Table) -> None:
    """Drops a table of [`materialize`], and its files."""
    # Ibis 12's own drop_table fails where a newer sqlglot writes its DROP TABLE without the name.
    connection, namespace = table.get_backend(), table.op().namespace
    if is_duckdb(connection):
        connection.raw_sql(f'DROP TABLE "{table.op().name}"')
    else:
        connection.raw_sql(f"DROP TABLE `{namespace.database}`.`{table.op().name}`")


def _connect_duckdb(memory: int | None, temp_directory: Path | str | None) -> ibis.BaseBackend:
    # DuckDB's own default for the spill is `.tmp` in the working directory.
    spill = Path(temp_directory or _scratch() / gen_name("duckdb"))
    spill.parent.mkdir(parents=True, exist_ok=True)
    settings = {} if memory is None else {"memory_limit": f"{memory}MiB"}
    connection = ibis.duckdb.connect(temp_directory=spill, **settings)
    connection.raw_sql("SET TimeZone = 'UTC'")  # a timestamp's integer value must not depend on the machine
    return connection


def _connect_spark(memory: int | None, temp_directory: Path | str | None) -> ibis.BaseBackend:
    if importlib.util.find_spec("pyspark") is None:
        raise ImportError(
            "engine 'pyspark' needs PySpark, which is not installed: pip install 'mender-recommender[spark]'"
        )
    from pyspark.sql import SparkSession

    # Spark warns at every query; only a few counts are returned through pandas here.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    session = SparkSession.getActiveSession()
    if session is not None or any(name in os.environ for name in SUBMITTED):
        if memory is not None:
            raise ValueError(
                f"memory_limit ({memory} MB) cannot be set on a Spark session that is configured elsewhere; set "
                f"spark.driver.memory and spark.executor.memory there"
            )
        session = session or SparkSession.builder.getOrCreate()
    else:
        session = _start_local_spark(memory, temp_directory)
    connection = ibis.pyspark.connect(session.newSession())
    # Raw SQL, since Ibis would write the location of a new database as a path, and "s3a://" is none.
    database = gen_name("mender")
    where = "" if temp_directory is None else f" LOCATION '{_escaped(temp_directory)}/{database}'"
    connection.raw_sql(f"CREATE DATABASE `{database}`{where}")
    connection.raw_sql(f"USE `{database}`")
    return connection


def _escaped(folder: Path | str) -> str:
    """A folder inside a literal of Spark's SQL; a URL stays one."""
    text = str(folder) if "://" in str(folder) else str(Path(folder).absolute())
    return text.rstrip("/").replace("\\", "\\\\").replace("'", "\\'")


def megabytes(memory_limit: str) -> int:
    """Converts a size to MB of 2**20 bytes, since the engines read units differently.

    >>> megabytes("1.5GB"), megabytes("800 MB")
    (1536, 800)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B", memory_limit.strip(), re.IGNORECASE)
    size = float(match[1]) * MEGABYTES[match[2].upper()] if match else 0
    if match is None or size == 0:
        raise ValueError(f"memory_limit ({memory_limit!r:.60}) is not understood; write it as '4GB'")
    if not 1 <= size <= MAX_MEGABYTES:
        raise ValueError(f"memory_limit ({memory_limit!r:.60}) must be at least 1MB and at most 1024TB")
    return int(size)


def _start_local_spark(memory: int | None, temp_directory: Path | str | None) -> SparkSession:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    java = Path(os.environ["JAVA_HOME"]) / "bin" / "java" if "JAVA_HOME" in os.environ else "java"
    if shutil.which(java) is None:
        raise FileNotFoundError(
            f"engine 'pyspark' needs Java 17 or newer, and {java} was not found; install it (such as the package "
            f"openjdk-17-jre-headless), or set JAVA_HOME"
        )
    folder = _scratch(temp_directory)
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.local.dir": folder,
        "spark.sql.warehouse.dir": f"{folder}/warehouse",  # by default a folder in the working directory
    }
    if memory is not None:
        settings["spark.driver.memory"] = f"{memory}m"
    builder = SparkSession.builder.master("local[*]").appName("mender")
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except PySparkException as error:
        raise OSError(f"Spark did not start ({error}); see what Java wrote above") from error


@cache
def _scratch(parent: Path | str | None = None) -> Path:
    """A temporary directory that lives as long as the process."""
    scratch = scratch_directory(parent)
    atexit.register(scratch.__exit__, None, None, None)
    return scratch.__enter__()
