"""A user's own tables: every format gives the same result, and what is missing or contradictory is named."""

import datetime
import gzip
import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dataset_builders.building.interactions import connect
from dataset_builders.building.sources.tables import TablesSource

ACTIONS = [
    {"user_id": "007", "item_id": "10", "timestamp": 3, "rating": 5, "review": "Fine"},
    {"user_id": "7", "item_id": "10", "timestamp": 2, "rating": None, "review": None},
    {"user_id": "007", "item_id": "x", "timestamp": 1, "rating": 1, "review": ""},
]
ITEMS = [
    {"item_id": "10", "title": "Rose Soap", "brand": "Unknown", "categories": ["Beauty", "Soaps"], "price": 3.5},
    {"item_id": "x", "title": "Mug", "brand": None, "categories": None, "price": None},
]
EXPECTED_ACTIONS = [
    {"user_id": "007", "source_id": "10", "timestamp": 3, "rating": 5.0, "review": "Fine", "row": 0},
    {"user_id": "7", "source_id": "10", "timestamp": 2, "rating": None, "review": None, "row": 1},
    {"user_id": "007", "source_id": "x", "timestamp": 1, "rating": 1.0, "review": None, "row": 2},
]
EXPECTED_ITEMS = [
    {
        "source_id": "10",
        "title": "Rose Soap",
        "brand": "",
        "categories": ["Beauty", "Soaps"],
        "price": 3.5,
        "description": "",
    },
    {"source_id": "x", "title": "Mug", "brand": "", "categories": [], "price": None, "description": ""},
]


def write(path, rows):
    """Writes rows in the format of the suffix."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    if suffixes == [".parquet"]:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if suffixes == [".csv"]:
        flat = [{k: " > ".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(pa.Table.from_pylist(flat), sink)
        data = sink.getvalue().to_pybytes()
    else:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def load(tmp_path, actions=ACTIONS, items=ITEMS, suffix=".parquet"):
    source = TablesSource(
        write(tmp_path / f"interactions{suffix}", actions), write(tmp_path / f"items{suffix}", items)
    )
    raw = source.load(connect())
    return (
        raw,
        raw.interactions.order_by("row").to_pyarrow().to_pylist(),
        raw.items.order_by("source_id").to_pyarrow().to_pylist(),
    )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json"])
def test_every_format_gives_the_same_tables(tmp_path, suffix):
    raw, actions, items = load(tmp_path, suffix=suffix)
    assert actions == EXPECTED_ACTIONS  # the keys 007 and 7 stay two users
    assert items == EXPECTED_ITEMS
    assert raw.skipped == raw.noted == {}


def test_user_and_item_are_accepted_as_column_names_and_integer_keys_as_keys(tmp_path):
    _, actions, items = load(
        tmp_path, [{"user": 1, "item": 2, "timestamp": 5}], [{"item": 2, "asin": "ignored", "title": "Mug"}]
    )
    assert (actions[0]["user_id"], actions[0]["source_id"]) == ("1", "2")
    assert items[0]["source_id"] == "2"


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ("Beauty > Bath >  Soaps ", ["Beauty", "Bath", "Soaps"]),
        ("Soaps", ["Soaps"]),
        ("", []),
        ([["Beauty"], ["Beauty", "Bath"], ["Home", "Bath"]], ["Beauty", "Bath"]),
        ([[]], []),
        (["Beauty", "", "Bath"], ["Beauty", "Bath"]),
    ],
)
def test_categories_are_one_path_however_they_are_written(tmp_path, categories, expected):
    items = [
        {"item_id": "10", "title": "Soap", "categories": categories},
        {"item_id": "x", "title": "Mug", "categories": None},
    ]
    loaded = load(tmp_path, items=items)[2]
    assert [item["categories"] for item in loaded] == [expected, []]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("categories", [None, [], [[]]])
def test_a_column_of_nothing_but_empty_categories_has_no_type_and_is_read_as_empty(tmp_path, suffix, categories):
    items = load(tmp_path, items=[{**item, "categories": categories} for item in ITEMS], suffix=suffix)[2]
    assert [item["categories"] for item in items] == [[], []]


def test_numbers_and_texts_may_mix_in_the_keys_of_json_lines(tmp_path):
    actions = [{"user_id": user, "item_id": "10", "timestamp": 1} for user in (7, "x", "007")]
    loaded = load(tmp_path, actions, suffix=".jsonl")[1]
    assert [action["user_id"] for action in loaded] == ["7", "x", "007"]


MOMENT = datetime.datetime(2014, 7, 1, 12, 0, 0, 5)
MICROSECONDS = 1_404_216_000_000_005


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1_404_216_000, 1_404_216_000),
        (1_404_216_000.0, 1_404_216_000),
        ("1404216000", 1_404_216_000),
        (MOMENT, MICROSECONDS),
        (MOMENT.replace(tzinfo=datetime.UTC), MICROSECONDS),
        ("2014-07-01 12:00:00.000005", MICROSECONDS),
        (datetime.date(1969, 12, 31), -86_400_000_000),
    ],
)
def test_times_may_be_integers_or_dates(tmp_path, timestamp, expected):
    assert load(tmp_path, [{**ACTIONS[0], "timestamp": timestamp}])[1][0]["timestamp"] == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_times_written_as_dates_in_text_formats(tmp_path, suffix):
    actions = [{**ACTIONS[0], "timestamp": "2014-07-01 12:00:00.000005"}, {**ACTIONS[1], "timestamp": "2014-07-02"}]
    loaded = load(tmp_path, actions, suffix=suffix)[1]
    assert [action["timestamp"] for action in loaded] == [MICROSECONDS, MICROSECONDS - 5 + 12 * 3_600_000_000]


def test_prices_with_a_dollar_sign_are_read_and_others_noted(tmp_path):
    items = [{**ITEMS[0], "price": "$1,012.99"}, {**ITEMS[1], "price": "ask us"}]
    raw, _, loaded = load(tmp_path, items=items)
    assert [item["price"] for item in loaded] == [1012.99, None]
    assert list(raw.noted.values()) == [1]


def test_nan_counts_as_missing(tmp_path):
    nan = float("nan")
    _, actions, items = load(tmp_path, [{**ACTIONS[0], "rating": nan}], [{**ITEMS[0], "price": nan}])
    assert actions[0]["rating"] is None and items[0]["price"] is None


def test_row_is_the_order_of_the_file_also_when_it_is_large(tmp_path):
    count = 400_000  # several row groups, read by several threads
    table = pa.table({"user_id": ["u"] * count, "item_id": ["10"] * count, "timestamp": range(count)})
    path = tmp_path / "interactions.parquet"
    pq.write_table(table, path, row_group_size=50_000)
    raw = TablesSource(path, write(tmp_path / "items.parquet", ITEMS)).load(connect())
    assert (
        raw.interactions.filter(raw.interactions.row != raw.interactions.timestamp).count().to_pyarrow().as_py() == 0
    )


def without(rows, column):
    return [{name: value for name, value in row.items() if name != column} for row in rows]


def changed(rows, **changes):
    return [{**rows[0], **changes}, *rows[1:]]


BROKEN = [
    (
        "no time",
        without(ACTIONS, "timestamp"),
        ITEMS,
        r"lacks the column 'timestamp'; it has user_id, item_id, rating",
    ),
    ("no user", without(ACTIONS, "user_id"), ITEMS, "lacks the column 'user_id' or 'user'"),
    ("no title column", ACTIONS, without(ITEMS, "title"), r"1 items have neither title nor brand nor .* x \(row 2\);"),
    ("no item column", ACTIONS, without(ITEMS, "item_id"), "lacks the column 'item_id' or 'item'"),
    ("unknown item", changed(ACTIONS, item_id="zz"), ITEMS, r"lacks 1 items .* for example zz; add them"),
    ("item twice", ACTIONS, [*ITEMS, ITEMS[0]], "1 items stand in more than one row, for example 10"),
    (
        "nameless item",
        ACTIONS,
        changed(ITEMS, title=" ", categories=[]),
        r"1 items have neither title nor brand nor categories, for example 10 \(row 1\); these .* give each",
    ),
    ("user NULL", changed(ACTIONS, user_id=None), ITEMS, "user_id is empty in 1 rows, first in row 1"),
    ("item NULL", changed(ACTIONS, item_id=None), ITEMS, "item_id is empty in 1 rows, first in row 1"),
    ("time NULL", changed(ACTIONS, timestamp=None), ITEMS, "timestamp is empty in 1 rows, first in row 1"),
    ("item key NULL", ACTIONS, changed(ITEMS, item_id=""), r"items file .* item_id is empty in 1 rows"),
    ("half a second", [{**a, "timestamp": 1.5} for a in ACTIONS], ITEMS, "3 timestamps are no whole numbers.* 1.5"),
    ("no date", [{**a, "timestamp": "soon"} for a in ACTIONS], ITEMS, "3 timestamps are no dates .* soon"),
    ("time a list", [{**a, "timestamp": [1]} for a in ACTIONS], ITEMS, r"timestamp has the type array<int64>"),
    ("rating a word", [{**a, "rating": "good"} for a in ACTIONS], ITEMS, "3 ratings are no numbers.* good"),
    ("printed list", ACTIONS, changed(without(ITEMS, "categories"), categories="['A']"), "printed lists"),
    (
        "categories a number",
        ACTIONS,
        changed(without(ITEMS, "categories"), categories=4),
        "categories has the type int64",
    ),
]


@pytest.mark.parametrize(
    ("actions", "items", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_what_a_table_lacks_is_named(tmp_path, actions, items, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, actions, items)


def test_at_most_five_examples_are_named(tmp_path):
    with pytest.raises(ValueError, match="lacks 9 items .* for example z0, z1, z2, z3, z4; add them"):
        load(tmp_path, [{**ACTIONS[0], "item_id": f"z{number}"} for number in range(9)])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_brand_or_categories_stand_for_a_title_and_the_items_without_are_counted(tmp_path, suffix):
    items = [{**ITEMS[0], "title": ""}, {**ITEMS[1], "title": None, "brand": "Dove"}]
    for number, rows in enumerate((items, [{k: v for k, v in item.items() if k != "title"} for item in items])):
        folder = tmp_path / str(number)
        folder.mkdir()
        raw, _, found = load(folder, items=rows, suffix=suffix)
        assert [(item["title"], item["brand"]) for item in found] == [(None, ""), (None, "Dove")]
        assert dict(raw.noted) == {
            f"items file {folder / f'items{suffix}'}: no title, brand and categories stand for it": 2
        }


def test_untitled_item_that_nobody_bought_is_no_obstacle(tmp_path):
    items = load(tmp_path, items=[*ITEMS, {**ITEMS[0], "item_id": "unsold", "title": None}])[2]
    assert [item["source_id"] for item in items] == ["10", "x"]


def test_braces_in_a_path_do_not_disturb_the_message(tmp_path):
    folder = tmp_path / "{count}{other}"
    folder.mkdir()
    with pytest.raises(ValueError, match="have neither title"):
        load(folder, items=changed(ITEMS, title=None, categories=None))


def test_unknown_suffix_is_answered_with_the_known_ones(tmp_path):
    (tmp_path / "interactions.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"unknown suffix; give one of .parquet, .csv"):
        TablesSource(tmp_path / "interactions.xlsx", tmp_path / "items.csv").load(connect())


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"interactions file .*nowhere.csv does not exist"):
        TablesSource(tmp_path / "nowhere.csv", tmp_path / "items.csv").load(connect())


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz", ".jsonl.gz"])
def test_file_that_is_cut_off_is_refused(tmp_path, suffix):
    rows = [{**ACTIONS[0], "user_id": f"{number * 7919 % 10_007}"} for number in range(5_000)]
    path = write(tmp_path / f"interactions{suffix}", rows)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"interactions file .* cannot be read \(.*\); check it"):
        TablesSource(path, write(tmp_path / "items.csv", ITEMS)).load(connect())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("interactions.csv", "user_id,item_id,timestamp\n"),
        ("interactions.csv", "user_id,item_id,timestamp\nu,10,1\nu,10,1,9,9\n"),
        ("interactions.csv", ""),
        ("interactions.jsonl", ""),
        ("interactions.jsonl", '{"user_id": "u", "item_id": "10", "timestamp": 1}\n{"user_id": \n'),
        ("interactions.jsonl", "not json\n"),
    ],
)
def test_empty_or_malformed_text_files_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match="interactions file .* (cannot be read|holds no rows|lacks the column)"):
        TablesSource(path, write(tmp_path / "items.csv", ITEMS)).load(connect())
