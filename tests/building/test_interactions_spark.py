"""The same expressions on Spark, in local mode: every row that it writes equals DuckDB's."""

import json
import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builders.building.engines import drop, materialize
from dataset_builders.building.interactions import (
    close,
    connect,
    copy_tables,
    load_source,
    prepare_interactions,
    target_counts,
    write_interactions,
)
from dataset_builders.building.sources import get_source
from dataset_builders.building.sources.raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables

pytest.importorskip("pyspark", reason="the extra 'spark' is not installed")
pytestmark = [
    pytest.mark.skipif(
        shutil.which("java") is None and "JAVA_HOME" not in os.environ, reason="Spark needs Java, which is not here"
    ),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas", "ignore:The copy keyword is"),
    pytest.mark.filterwarnings("ignore:The 'future.infer_string' option"),
]

WINDOW = 4
# Their order differs between bytes, UTF-16 and alphabets: Z < a < e-acute < a private character < an emoji.
AWKWARD_KEYS = ["Z", "a", "\u00e9", "\ue000", "\U0001f600", "10", "9", "a b", "A"]


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """One local Spark for all tests: starting it takes seconds. Java compiles quickly rather than well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        connection = connect("pyspark", temp_directory=tmp_path_factory.mktemp("spark"))
    connection.raw_sql("SET spark.sql.shuffle.partitions = 2")
    connection.raw_sql("SET spark.sql.codegen.wholeStage = false")  # compiling takes longer than these rows
    yield connection
    close(connection)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Parquet files of invented raw tables: ties, equal actions, awkward keys, NULLs, empty lists, several parts."""
    folder, generator = tmp_path_factory.mktemp("world"), random.Random(0)
    users = AWKWARD_KEYS + [f"u{number}" for number in range(30)]
    items = AWKWARD_KEYS + [f"i{number}" for number in range(20)]
    rows = list(range(500))
    generator.shuffle(rows)
    actions = [
        {
            "user_id": generator.choice(users),
            "source_id": generator.choice(items),
            "timestamp": generator.randrange(-3, 12),
            "rating": generator.choice([None, 1.0, 4.5]),
            "review": generator.choice([None, "", "good \u00e9\n\u2028'\""]),
            "row": row,
        }
        for row in rows
    ]
    described = [
        {
            "source_id": item,
            "title": generator.choice([None, f"Title {item}"]),
            "brand": "",
            "categories": generator.choice([[], ["Root"], ["Root", "Leaf > x"]]),
            "price": generator.choice([None, 0.1, 12.99]),
            "description": generator.choice(["", "d"]),
        }
        for item in items
    ]
    (folder / "interactions").mkdir()
    for part in range(2):
        table = pa.Table.from_pylist(actions[part::2], INTERACTION_SCHEMA)
        pq.write_table(table, folder / "interactions" / f"part-{part}.parquet")
    pq.write_table(pa.Table.from_pylist(described, ITEM_SCHEMA), folder / "items.parquet")
    return {"interactions": folder / "interactions", "items": folder / "items.parquet"}


def written(source, connection, folder: Path, **options):
    """What the stage writes, as Arrow tables, and its counts."""
    folder.mkdir()
    prepared = prepare_interactions(load_source(source, connection), **options)
    write_interactions(prepared, folder, WINDOW)
    assert sorted(path.name for path in folder.iterdir()) == ["events.parquet", "items.parquet"]
    targets = target_counts(prepared.events, WINDOW).to_pyarrow().to_pylist()
    counts = (prepared.num_users, prepared.num_items, prepared.num_actions, prepared.num_rounds)
    tables = [pq.read_table(folder / f"{name}.parquet").replace_schema_metadata() for name in ("events", "items")]
    return *tables, counts, sorted((row["split"], row["targets"], row["items"]) for row in targets)


def test_both_engines_write_the_same_rows(spark, world, tmp_path):
    options = {"min_count": 10, "user_stride": 3}
    source = get_source("raw", **world)
    expected = written(source, connect(), tmp_path / "duckdb", **options)
    found = written(source, spark, tmp_path / "pyspark", **options)
    for name, one, other in zip(("events", "items"), found, expected, strict=False):
        assert one.to_pylist() == other.to_pylist(), name
        assert one.schema.names == other.schema.names
        assert [field.type for field in one.schema if field.name != "categories"] == [
            field.type for field in other.schema if field.name != "categories"
        ]
    assert found[2:] == expected[2:]
    assert 0 < found[0].num_rows < 500 and found[2][3] > 1  # the k-core had work to do


def test_beauty_is_the_same_row_by_row(spark, shared_data, tmp_path):
    folder = shared_data / "beauty"
    source = get_source("tables", interactions=folder / "interactions.parquet", items=folder / "items.parquet")
    expected = written(source, connect(), tmp_path / "duckdb")
    found = written(source, spark, tmp_path / "pyspark")
    assert found[2][:3] == (22_363, 12_101, 198_502)
    for one, other in zip(found[:2], expected[:2], strict=True):
        for name in other.column_names:  # columns: 198,502 dictionaries would take longer than Spark
            assert one[name].to_pylist() == other[name].to_pylist(), name
    assert found[2:] == expected[2:]


def test_the_script_writes_the_same_on_both_engines(spark, world, tmp_path, capsys):
    from dataset_builders.commands.prepare_interactions import main

    for engine in ("duckdb", "pyspark"):
        words = [f"--{name}={path}" for name, path in world.items()]
        words += [f"--output_dir={tmp_path / engine}", f"--temp_directory={tmp_path / 'scratch'}"]
        assert main(["--domain=toy", "--source=raw", f"--engine={engine}", "--min_count=9", *words]) == 0
        assert "actions of" in capsys.readouterr().out
    counts = [json.loads((tmp_path / engine / "counts.json").read_text()) for engine in ("duckdb", "pyspark")]
    assert counts[0] == counts[1] and counts[0]["targets"]["test"] > 0
    events = [pq.read_table(tmp_path / engine / "events.parquet").to_pylist() for engine in ("duckdb", "pyspark")]
    assert events[0] == events[1]
    assert not list((tmp_path / "scratch").glob("*"))  # intermediate tables are gone with the connection


def test_dropping_a_table_removes_its_files(spark, tmp_path):
    folder = tmp_path / "it's a folder"
    connection = connect("pyspark", temp_directory=folder)
    table = materialize(connection, connection.sql("SELECT 1 AS a"), "kept")
    assert list(folder.rglob("*.parquet"))
    drop(table)
    assert not list(folder.rglob("*.parquet"))
    close(connection)
    assert not list(folder.iterdir())


def test_two_connections_do_not_see_each_others_tables_nor_change_the_first_ones_database(spark):
    before = spark.current_database
    other = connect("pyspark")
    assert other.current_database != before == spark.current_database
    materialize(other, other.sql("SELECT 1 AS a"), "t")
    close(other)
    assert spark.current_database == before


def test_tables_handed_over_keep_their_counts(spark, world):
    raw = get_source("raw", **world).load(connect())
    copy = copy_tables(RawTables(raw.interactions, raw.items, {"bad": 1}, {"odd": 2}), spark)
    assert (copy.skipped, copy.noted) == ({"bad": 1}, {"odd": 2})
    assert copy.interactions.get_backend() is spark
    assert copy.items.count().to_pyarrow().as_py() == raw.items.count().to_pyarrow().as_py()


def test_memory_of_a_session_that_runs_already_cannot_be_set(spark):
    with pytest.raises(ValueError, match="configured elsewhere; set spark.driver.memory"):
        connect("pyspark", memory_limit="1GB")
