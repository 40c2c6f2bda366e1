"""Sources by name: what is known, what is refused, and that every source keeps to the documented columns."""

import contextlib

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builders.building.interactions import connect, prepare_interactions
from dataset_builders.building.sources import SOURCES, get_source
from dataset_builders.building.sources.raw import RawSource
from dataset_builders.building.sources.raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RecordCounts, Source


def test_unknown_source_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'goodreads' is not known; choose one of amazon_reviews, raw, sample"):
        get_source("goodreads")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("sample", {"colour": "blue"}, "unexpected keyword argument 'colour'"),
        ("tables", {"items": "items.csv"}, "missing a required argument: 'interactions'"),
        ("amazon_reviews", {}, "missing a required argument: 'reviews'"),
    ],
)
def test_options_a_source_does_not_take_are_refused_with_its_signature(name, options, reason):
    with pytest.raises(ValueError, match=reason) as error:
        get_source(name, **options)
    assert f"source '{name}' takes (" in str(error.value)


def test_every_source_is_a_source_under_its_own_name():
    assert list(SOURCES) == sorted(SOURCES)
    for name, entry in SOURCES.items():
        source = get_source(name, **{path: path for path in entry.paths})
        assert isinstance(source, Source) and source.name == name
        assert set(source.inputs()) >= set(entry.paths)
        assert {"since", "until"} <= set(source.inputs()) if entry.has_days else "since" not in source.inputs()


def test_sample_keeps_to_the_documented_columns_on_the_connection_given():
    connection = connect()
    raw = get_source("sample", num_users=5).load(connection)
    for table, schema in ((raw.interactions, INTERACTION_SCHEMA), (raw.items, ITEM_SCHEMA)):
        assert table.schema() == ibis.Schema.from_pyarrow(schema)
        assert table.get_backend() is connection


def test_record_counts_report_the_most_frequent_reason_first():
    counts = RecordCounts({"b": 1, "a": 1, "c": 3, "never": 0})
    assert counts.report() == "5 records: 3 c; 1 a; 1 b"
    assert isinstance(counts, dict)


ACTION = {"user_id": "u", "source_id": "i", "timestamp": 1, "rating": 4.0, "review": None, "row": 0}
ITEM = {"source_id": "i", "title": "Lamp", "brand": "", "categories": [], "price": 2.5, "description": ""}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rating": 99.0}, "rating .99.0. must be of 1 to 5"), ({"rating": 0.0}, "rating .0.0."),
        ({"rating": float("nan")}, "rating .nan."), ({"user_id": ""}, "user_id .* must be a text"),
        ({"user_id": " u"}, "without blanks"), ({"price": -1.0}, "price .-1.0. must be finite"),
        ({"price": float("inf")}, "price .inf."), ({}, None),
    ],
)  # fmt: skip
def test_raw_tables_hold_what_other_sources_give(tmp_path, changes, reason):
    for name, row, schema in (("a", ACTION, INTERACTION_SCHEMA), ("i", ITEM, ITEM_SCHEMA)):
        pq.write_table(pa.Table.from_pylist([row | changes], schema=schema), tmp_path / f"{name}.parquet")
    source = RawSource(tmp_path / "a.parquet", tmp_path / "i.parquet")
    with pytest.raises(ValueError, match=reason) if reason else contextlib.nullcontext():
        source.load(connect())


def test_raw_tables_of_several_units_of_time_or_with_damaged_pages_are_refused(tmp_path):
    times = [1_404_172_800, 1_404_172_801, 1_404_172_800_000]
    rows = [{**ACTION, "timestamp": time, "review": f"{time} " * 200, "row": row} for row, time in enumerate(times)]
    actions, items = tmp_path / "a.parquet", tmp_path / "i.parquet"
    pq.write_table(pa.Table.from_pylist([ITEM], schema=ITEM_SCHEMA), items)
    pq.write_table(pa.Table.from_pylist(rows, schema=INTERACTION_SCHEMA), actions)
    with pytest.raises(
        ValueError, match=r"1404172800 \(integer in seconds\) and 1404172800000 \(integer in milliseconds"
    ):
        RawSource(actions, items).load(connect())
    pq.write_table(pa.Table.from_pylist(rows[:2], schema=INTERACTION_SCHEMA), actions, use_dictionary=False)
    content = bytearray(actions.read_bytes())
    column = pq.read_metadata(actions).row_group(0).column(INTERACTION_SCHEMA.names.index("review"))
    end = column.data_page_offset + column.total_compressed_size
    content[end - 20 : end] = b"\xff" * 20
    actions.write_bytes(content)
    with pytest.raises(ValueError, match=r"^DuckDB cannot read the file .*a\.parquet: a part is damaged.*$"):
        prepare_interactions(RawSource(actions, items).load(connect()), 1)


def test_parts_of_raw_tables_with_other_types_are_refused(tmp_path):
    (tmp_path / "d").mkdir()
    pq.write_table(pa.Table.from_pylist([ACTION], schema=INTERACTION_SCHEMA), tmp_path / "d/a.parquet")
    pq.write_table(
        pa.table({**{name: [value] for name, value in ACTION.items()}, "user_id": [7]}), tmp_path / "d/b.parquet"
    )
    with pytest.raises(ValueError, match="user_id is string in .*a.parquet and int64 in .*b.parquet"):
        RawSource(tmp_path / "d", tmp_path / "d").load(connect())
