"""What an engine needs before it starts, and the errors that say so; Spark itself is in test_interactions_spark."""

import importlib.util

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builders.building import engines
from dataset_builders.building.engines import close, connect, drop, materialize, read_parquet


def test_engine_that_is_not_known_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"engine \('polars'\) must be one of duckdb, pyspark"):
        connect("polars")


def test_missing_pyspark_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mender-recommender\[spark\]'"):
        connect("pyspark")


@pytest.mark.parametrize("home", [None, "/nowhere"])
def test_missing_java_is_named_before_spark_starts(monkeypatch, tmp_path, home):
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if home:
        monkeypatch.setenv("JAVA_HOME", home)
    with pytest.raises(FileNotFoundError, match="needs Java 17 or newer, and .*java was not found"):
        engines._start_local_spark(None, None)


@pytest.mark.parametrize("limit", ["lots", "4", "-1GB", "0GB", "GB"])
@pytest.mark.parametrize("engine", ["duckdb", "pyspark"])
def test_unreadable_memory_limit_is_named_by_both(engine, limit):
    with pytest.raises(ValueError, match=rf"memory_limit \('{limit}'\)"):
        connect(engine, memory_limit=limit)


def test_a_table_is_computed_once_and_can_be_dropped():
    connection = connect()
    first = materialize(connection, connection.sql("SELECT 1 AS a"), "t")
    second = materialize(connection, first.mutate(b=first.a + 1), "t")
    drop(first)
    assert second.to_pyarrow().to_pylist() == [{"a": 1, "b": 2}]
    with pytest.raises(duckdb.CatalogException):
        first.to_pyarrow()
    close(connection)


def test_the_spill_goes_where_it_is_told_and_the_folder_is_made(tmp_path):
    connection = connect(memory_limit="1GB", temp_directory=tmp_path / "new" / "spill")
    [[where]] = connection.raw_sql("SELECT current_setting('temp_directory')").fetchall()
    assert where == str(tmp_path / "new" / "spill") and (tmp_path / "new").is_dir()


@pytest.mark.parametrize("name", ["run[1]", "*", "it's ?{a,b} \u00e9", "user_id=7", 'a"b\\c'])
def test_a_path_is_never_a_pattern_nor_a_column(tmp_path, name):
    connection = connect()
    for folder in ("run1", "other", name):
        (tmp_path / folder).mkdir(exist_ok=True)
        pq.write_table(pa.table({"folder": [folder]}), tmp_path / folder / "a.parquet")
    for path in (tmp_path / name, tmp_path / name / "a.parquet"):
        assert read_parquet(connection, path, "rows").to_pyarrow().to_pylist() == [{"folder": name}]


def test_spark_refuses_a_path_that_it_would_take_for_a_pattern(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "is_duckdb", lambda connection: False)
    with pytest.raises(ValueError, match=r"Spark takes '\[' in .*run\[1\] for a pattern; rename"):
        read_parquet(connect(), tmp_path / "run[1]", "rows")
