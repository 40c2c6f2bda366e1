"""From actions to sequences: k-core, time order with ties, numbering, window and split, against slow Python twins."""

import dataclasses
import random
from collections import Counter

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_world import read_events
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.benchmark.schema import SPLITS
from dataset_builders.building.interactions import (
    connect,
    prepare_interactions,
    target_counts,
    with_splits,
    write_interactions,
)
from dataset_builders.building.sources.raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, register_table
from dataset_builders.building.sources.tables import TablesSource

CONNECTION = connect()


def raw_tables(actions, items=None, connection=CONNECTION):
    """Actions are (user, item, timestamp) in input order; every item gets a title."""
    rows = [
        {
            "user_id": user,
            "source_id": item,
            "timestamp": time,
            "rating": 5.0,
            "review": f"{user} on {item}",
            "row": row,
        }
        for row, (user, item, time) in enumerate(actions)
    ]
    names = sorted({item for _, item, _ in actions}) if items is None else items
    described = [
        {"source_id": name, "title": f"Title {name}", "brand": "", "categories": [], "price": None, "description": ""}
        for name in names
    ]
    return RawTables(
        register_table(connection, pa.Table.from_pylist(rows, INTERACTION_SCHEMA), "toy"),
        register_table(connection, pa.Table.from_pylist(described, ITEM_SCHEMA), "toy"),
    )


def rows_of(interactions):
    return interactions.events.order_by("user_id", "position").to_pyarrow().to_pylist()


def sequences(interactions):
    """user -> source_ids in time order."""
    names = {row["item_id"]: row["source_id"] for row in interactions.items.to_pyarrow().to_pylist()}
    result = {}
    for row in rows_of(interactions):
        result.setdefault(row["user_id"], []).append(names[row["item_id"]])
    return result


def slow_k_core(actions, min_count):
    while True:
        users, items = Counter(a[0] for a in actions), Counter(a[1] for a in actions)
        kept = [a for a in actions if users[a[0]] >= min_count and items[a[1]] >= min_count]
        if len(kept) == len(actions):
            return kept
        actions = kept


def slow_sequences(actions, min_count):
    result = {}
    for user, item, _ in sorted(slow_k_core(actions, min_count), key=lambda a: a[2]):  # sorted is stable: ties by row
        result.setdefault(user, []).append(item)
    return result


def test_toy_world_by_eye():
    # u1 buys a, b at 1, 2; u2 the same the other way round; u3 buys only the rare c.
    actions = [("u1", "b", 2), ("u1", "a", 1), ("u2", "a", 9), ("u2", "b", 3), ("u3", "c", 5)]
    interactions = prepare_interactions(raw_tables(actions), min_count=2)
    assert sequences(interactions) == {"u1": ["a", "b"], "u2": ["b", "a"]}
    assert (interactions.num_users, interactions.num_items, interactions.num_actions) == (2, 2, 4)
    assert rows_of(interactions)[0] == {
        "user_id": "u1",
        "position": 1,
        "sequence_length": 2,
        "item_id": 1,
        "timestamp": 1,
        "rating": 5.0,
        "review": "u1 on a",
    }


def test_dropping_an_item_can_drop_a_user_which_can_drop_an_item():
    # c is rare, so u3 falls to one action, so b falls to one, so u2 falls to one...: only u1 and u4 on a and d remain.
    actions = [("u3", "c", 1), ("u3", "b", 2), ("u2", "b", 1), ("u2", "e", 2)]
    actions += [(user, item, time) for user in ("u1", "u4") for time, item in enumerate("ad")]
    assert set(sequences(prepare_interactions(raw_tables(actions), min_count=2))) == {"u1", "u4"}


@settings(max_examples=25, deadline=None)
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["u1", "u2", "u3", "u4"]), st.sampled_from("abcde"), st.integers(0, 5)), min_size=1
    ),
    min_count=st.integers(1, 4),
)
def test_core_and_order_equal_the_slow_twin(actions, min_count):
    expected = slow_sequences(actions, min_count)
    if not expected:
        with pytest.raises(ValueError, match="k-core"):
            prepare_interactions(raw_tables(actions), min_count)
        return
    interactions = prepare_interactions(raw_tables(actions), min_count)
    assert sequences(interactions) == expected
    for row in rows_of(interactions):
        assert row["sequence_length"] == len(expected[row["user_id"]])


def test_equal_times_keep_the_input_order():
    actions = [("u", item, 7) for item in "cabed"]
    assert sequences(prepare_interactions(raw_tables(actions), 1)) == {"u": list("cabed")}


def test_equal_actions_count_separately():
    interactions = prepare_interactions(raw_tables([("u", "a", 1)] * 5), min_count=5)
    assert interactions.num_actions == 5
    assert [row["position"] for row in rows_of(interactions)] == [1, 2, 3, 4, 5]


def test_result_does_not_depend_on_the_physical_order_of_the_rows():
    generator = random.Random(0)
    actions = [
        (f"u{generator.randrange(20)}", f"i{generator.randrange(15)}", generator.randrange(30)) for _ in range(300)
    ]
    raw = raw_tables(actions)
    expected = prepare_interactions(raw, 3)
    shuffled = RawTables(
        *(
            register_table(CONNECTION, table.to_pyarrow().take(generator.sample(range(count), count)), "shuffled")
            for table in (raw.interactions, raw.items)
            for count in [table.count().to_pyarrow().as_py()]
        )
    )
    again = prepare_interactions(shuffled, 3)
    assert rows_of(again) == rows_of(expected)
    assert again.items.order_by("item_id").to_pyarrow() == expected.items.order_by("item_id").to_pyarrow()


def test_item_ids_run_from_one_in_the_order_of_the_keys():
    actions = [("u", item, 1) for item in ("z", "B", "a", "10", "9")]
    items = prepare_interactions(raw_tables(actions), 1).items.order_by("item_id").to_pyarrow()
    assert items["item_id"].to_pylist() == [1, 2, 3, 4, 5]
    assert items["source_id"].to_pylist() == ["10", "9", "B", "a", "z"]
    assert items["item_id"].type == pa.int32()


def test_items_without_a_single_action_get_no_id():
    interactions = prepare_interactions(raw_tables([("u", "a", 1)], items=["a", "unsold"]), 1)
    assert interactions.items.to_pyarrow()["source_id"].to_pylist() == ["a"]


def test_empty_core_names_the_limit_the_counts_and_the_way_out():
    with pytest.raises(ValueError, match=r"min_count=5; before it: 2 users, 1 items, 2 actions\. Lower min_count"):
        prepare_interactions(raw_tables([("u", "a", 1), ("v", "a", 2)]), 5)


def test_min_count_below_one_is_refused():
    with pytest.raises(ValueError, match=r"min_count \(0\)"):
        prepare_interactions(raw_tables([("u", "a", 1)]), 0)


def test_action_on_an_undescribed_item_is_refused_not_lost():
    with pytest.raises(ValueError, match="lacks, for example b"):
        prepare_interactions(raw_tables([("u", "a", 1), ("u", "b", 2)], items=["a"]), 1)


def test_item_described_twice_is_refused_since_it_would_double_actions():
    with pytest.raises(ValueError, match="items key must be unique, 1 of 2"):
        prepare_interactions(raw_tables([("u", "a", 1)], items=["a", "a"]), 1)


def test_row_must_be_unique_since_it_breaks_ties():
    raw = raw_tables([("u", "a", 1), ("u", "a", 1)])
    with pytest.raises(ValueError, match="'row' must be unique"):
        prepare_interactions(RawTables(raw.interactions.mutate(row=ibis.literal(0, type="int64")), raw.items), 1)


def test_every_kth_user_is_kept_and_the_items_left_are_numbered_anew():
    actions = [("u1", "b", 1), ("u2", "a", 1), ("u3", "d", 2), ("u3", "b", 1), ("u4", "c", 1), ("u5", "d", 1)]
    interactions = prepare_interactions(raw_tables(actions), 1, user_stride=2)
    assert sequences(interactions) == {"u1": ["b"], "u3": ["b", "d"], "u5": ["d"]}
    items = interactions.items.order_by("item_id").to_pyarrow()
    assert list(zip(*(items[name].to_pylist() for name in ("item_id", "source_id")), strict=True)) == [
        (1, "b"),
        (2, "d"),
    ]
    assert (interactions.num_users, interactions.num_items, interactions.num_actions) == (3, 2, 4)


def test_users_are_thinned_after_the_k_core_not_before():
    # Thinned before it, each item would have the two actions of u0 and u3, and nothing would be left.
    actions = [(f"u{number}", item, 1) for number in range(4) for item in "abc"]
    interactions = prepare_interactions(raw_tables(actions), min_count=3, user_stride=3)
    assert sequences(interactions) == {"u0": ["a", "b", "c"], "u3": ["a", "b", "c"]}


def test_a_stride_beyond_the_users_keeps_the_first():
    interactions = prepare_interactions(raw_tables([("v", "a", 1), ("u", "a", 1)]), 1, user_stride=100)
    assert sequences(interactions) == {"u": ["a"]}


def test_stride_below_one_is_refused():
    with pytest.raises(ValueError, match=r"user_stride \(0\) must be at least 1"):
        prepare_interactions(raw_tables([("u", "a", 1)]), 1, 0)


def test_rounds_end_with_one_that_drops_nothing_once_users_and_items_were_both_seen():
    assert prepare_interactions(raw_tables([("u", "a", 1)]), 1).num_rounds == 0
    assert prepare_interactions(raw_tables([("u", "a", 1)] * 2), 2).num_rounds == 2
    # Users: none to drop. Items: the rare c. Users: u3, who is left with one action. Items: none.
    actions = [(user, item, 1) for user in ("u1", "u2") for item in "ab"] + [("u3", "c", 1), ("u3", "b", 1)]
    interactions = prepare_interactions(raw_tables(actions), 2)
    assert interactions.num_rounds == 4
    assert set(sequences(interactions)) == {"u1", "u2"}


@pytest.mark.parametrize("column", ["user_id", "timestamp", "review"])
def test_missing_column_is_named(column):
    raw = raw_tables([("u", "a", 1)])
    with pytest.raises(ValueError, match=f"interactions lack the column '{column}'"):
        prepare_interactions(RawTables(raw.interactions.drop(column), raw.items), 1)


def test_column_of_another_type_is_named():
    raw = raw_tables([("u", "a", 1)])
    with pytest.raises(ValueError, match="'timestamp' is string, must be int64"):
        prepare_interactions(
            RawTables(raw.interactions.mutate(timestamp=raw.interactions.timestamp.cast("string")), raw.items), 1
        )


@pytest.mark.parametrize("column", ["user_id", "source_id", "timestamp", "row"])
def test_null_key_is_refused(column):
    raw = raw_tables([("u", "a", 1)])
    nothing = ibis.null(raw.interactions[column].type())
    with pytest.raises(ValueError, match="1 interactions have a NULL"):
        prepare_interactions(RawTables(raw.interactions.mutate(**{column: nothing}), raw.items), 1)


def test_window_keeps_the_last_twenty_and_counts_positions_from_the_start():
    interactions = prepare_interactions(raw_tables([("u", f"i{time:02d}", time) for time in range(23)]), 1)
    rows = with_splits(interactions.events).order_by("position").to_pyarrow().to_pylist()
    assert [row["position"] for row in rows if row["in_window"]] == list(range(4, 24))
    assert [row["split"] for row in rows] == ["train"] * 21 + ["validation", "test"]
    assert [row["history_length"] for row in rows] == [0, 0, 0, *range(20)]


def test_short_sequences_have_a_test_target_before_any_other():
    actions = [(f"u{length}", f"i{time}", time) for length in (1, 2, 3) for time in range(length)]
    events = with_splits(prepare_interactions(raw_tables(actions), 1).events)
    splits = events.order_by("user_id", "position").to_pyarrow()["split"].to_pylist()
    assert splits == ["test", "validation", "test", "train", "validation", "test"]


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), window=st.integers(2, 22))
def test_window_history_and_split_equal_the_arrays(lengths, window):
    actions = [
        (f"u{user}", f"i{(user + time) % 7}", time) for user, length in enumerate(lengths) for time in range(length)
    ]
    events = prepare_interactions(raw_tables(actions), 1).events
    twin = read_events(events, window)
    found = with_splits(events, window).order_by("user_id", "position").to_pyarrow()
    assert found["in_window"].to_pylist() == twin.in_window.tolist()
    assert found["history_length"].to_pylist() == twin.history_length.tolist()
    assert found["history_length"].type == pa.int32()
    assert found["split"].to_pylist() == [SPLITS[split] for split in twin.split]
    counts = {row["split"]: row for row in target_counts(events, window).to_pyarrow().to_pylist()}
    for number, split in enumerate(SPLITS):
        rows = twin.target_rows(number)
        row = counts.get(split, {"targets": 0, "items": 0})
        assert (row["targets"], row["items"]) == (len(rows), len(np.unique(twin.item_id[rows])))


def test_a_window_without_room_for_a_history_has_no_splits():
    events = prepare_interactions(raw_tables([("u", "a", 1)]), 1).events
    with pytest.raises(ValueError, match=r"window \(1\) must be at least 2"):
        with_splits(events, 1)


def test_files_are_ordered_and_replace_older_ones(tmp_path):
    actions = [(user, item, time) for user in ("v", "u") for time, item in enumerate("cab")]
    interactions = prepare_interactions(raw_tables(actions), 1)
    (tmp_path / "events.parquet").write_text("an older build")
    write_interactions(interactions, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "items.parquet"]
    events, items = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("events", "items"))
    assert tuple(events.column_names) == interactions.events.columns
    assert events["user_id"].to_pylist() == ["u"] * 3 + ["v"] * 3
    assert events["position"].to_pylist() == [1, 2, 3] * 2
    assert items["item_id"].to_pylist() == [1, 2, 3]
    write_interactions(interactions, tmp_path, window=2)
    events = pq.read_table(tmp_path / "events.parquet")
    assert events["history_length"].to_pylist() == [0, 0, 1] * 2


def test_a_failed_write_leaves_the_older_file_and_no_other(tmp_path):
    interactions = prepare_interactions(raw_tables([("u", "a", 1)]), 1)
    write_interactions(interactions, tmp_path)
    before = (tmp_path / "events.parquet").read_bytes()
    broken = interactions.events.mutate(rating=ibis.literal("x").cast("float64"))
    with pytest.raises(duckdb.Error):
        write_interactions(dataclasses.replace(interactions, events=broken), tmp_path)
    assert (tmp_path / "events.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "items.parquet"]


def wide_actions(connection, count):
    """Actions whose review texts alone take about 0.5 kB each, as an expression that is never held whole."""
    connection.raw_sql("SET threads = 2")  # each thread needs room of its own
    numbers = connection.create_table("numbers", ibis.range(count).unnest().name("n").as_table(), temp=True)
    n = numbers.n.cast("int64")
    actions = numbers.select(
        user_id="user " + (n % 5_000).cast("string"),
        source_id="item " + (n % 701).cast("string"),
        timestamp=n,
        rating=ibis.literal(5.0),
        review=ibis.literal("a review of some length ").repeat(20) + n.cast("string"),
        row=n,
    )
    items = register_table(
        connection,
        pa.Table.from_pylist(
            [{"source_id": f"item {number}", "title": "t", "brand": "", "categories": []} for number in range(701)],
            ITEM_SCHEMA,
        ),
        "wide_items",
    )
    return RawTables(actions, items)


def test_input_beyond_the_memory_limit_spills_to_disk(tmp_path):
    count, limit = 300_000, "100MB"  # 150 MB of text
    connection = connect(memory_limit=limit, temp_directory=tmp_path / "spill")
    assert prepare_interactions(wide_actions(connection, count)).num_actions == count
    # The limit is real: without room to spill the same input does not fit.
    connection = connect(memory_limit=limit, temp_directory=tmp_path / "no_spill")
    connection.raw_sql("SET max_temp_directory_size = '0KB'")
    with pytest.raises(duckdb.OutOfMemoryException):
        prepare_interactions(wide_actions(connection, count))


def test_unreadable_memory_limit_is_named():
    with pytest.raises(ValueError, match="memory_limit \\('lots'\\)"):
        connect(memory_limit="lots")


@pytest.mark.parametrize(
    ("domain", "counts", "steering_rows"),
    [
        ("beauty", (22_363, 12_101, 198_502), (24_114, 16_702, 15_956)),
        ("toys", (19_412, 11_924, 167_597), (23_730, 15_968, 14_950)),
    ],
)
def test_counts_are_those_of_the_papers_tables_three_and_four(shared_data, domain, counts, steering_rows):
    folder = shared_data / domain
    raw = TablesSource(folder / "interactions.parquet", folder / "items.parquet").load(connect())
    interactions = prepare_interactions(raw, min_count=5)
    assert (interactions.num_users, interactions.num_items, interactions.num_actions) == counts
    events = with_splits(interactions.events)
    events = events.filter(events.in_window)
    targets = events.group_by("split").agg(rows=2 * events.item_id.nunique()).to_pyarrow().to_pylist()
    found = {row["split"]: row["rows"] for row in targets}
    assert (found["train"], found["validation"], found["test"]) == steering_rows
