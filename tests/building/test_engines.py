"""What an engine needs before it starts, and the errors that say so; Spark itself is in test_interactions_spark."""

import importlib.util

import duckdb
import pytest

from dataset_builders.building import engines
from dataset_builders.building.engines import close, connect, drop, materialize


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
