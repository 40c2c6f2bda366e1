"""A user's own tables: every format gives the same result, and what is missing or contradictory is named."""

import bz2
import collections
import csv
import datetime
import decimal
import functools
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.building import interactions
from dataset_builders.building.sources import delimited, json_lines, lines, parquet_table, table_file
from dataset_builders.building.sources.delimited import DelimitedFile
from dataset_builders.building.sources.json_lines import JsonLinesFile
from dataset_builders.building.sources.parquet_table import ParquetTable
from dataset_builders.building.sources.tables import TablesSource
from dataset_builders.building.sources.values import BadValue, mixed_kinds, read_price, read_time, texts, times

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


@functools.cache
def connect():
    """One connection for all tests, since opening takes longer than reading."""
    return interactions.connect()


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
        ([["Beauty"], ["Beauty", "Bath"], ["Home", "Bath"]], ["Beauty", "Bath", "Home"]),
        ([["A", "B"], ["A", "C"]], ["A", "B", "C"]),
        (["A", "B", "A"], ["A", "B", "A"]),
        ([[]], []),
        (["Beauty", "", "Bath"], ["Beauty", "Bath"]),
    ],
)
def test_categories_are_all_names_in_order_however_they_are_written(tmp_path, categories, expected):
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


def test_a_price_of_nan_is_missing_and_not_noted(tmp_path):
    raw, _, items = load(tmp_path, [ACTIONS[0]], [{**ITEMS[0], "price": float("nan")}])
    assert items[0]["price"] is None and raw.noted == {}


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
    ("no title column", ACTIONS, without(ITEMS, "title"), "1 items have neither title nor brand nor .* 'x' in row 2;"),
    ("no item column", ACTIONS, without(ITEMS, "item_id"), "lacks the column 'item_id' or 'item'"),
    ("unknown item", changed(ACTIONS, item_id="zz"), ITEMS, "lacks 1 items .* for example 'zz'; add them"),
    ("item twice", ACTIONS, [*ITEMS, ITEMS[0]], "more than one row: '10' in row 1, '10' in row 3"),
    (
        "nameless item",
        ACTIONS,
        changed(ITEMS, title=" ", categories=[]),
        "1 items have neither title nor brand nor categories: '10' in row 1; these .* give each",
    ),
    ("user NULL", changed(ACTIONS, user_id=None), ITEMS, "user_id is empty in 1 rows, first in row 1"),
    ("item NULL", changed(ACTIONS, item_id=None), ITEMS, "item_id is empty in 1 rows, first in row 1"),
    ("time NULL", changed(ACTIONS, timestamp=None), ITEMS, "timestamp is empty in 1 rows, first in row 1"),
    ("item key NULL", ACTIONS, changed(ITEMS, item_id=""), r"items file .* item_id is empty in 1 rows"),
    ("half a second", [{**a, "timestamp": 1.5} for a in ACTIONS], ITEMS, "row 1: timestamp 1.5 is no whole number"),
    (
        "no date",
        [{**a, "timestamp": "soon"} for a in ACTIONS],
        ITEMS,
        "row 1: timestamp 'soon' is neither",
    ),
    ("time a list", [{**a, "timestamp": [1]} for a in ACTIONS], ITEMS, "timestamp has the type list<.*int64>"),
    ("rating a word", [{**a, "rating": "good"} for a in ACTIONS], ITEMS, "row 1: rating 'good' is no number"),
    (
        "printed list",
        ACTIONS,
        changed(without(ITEMS, "categories"), categories="['A']"),
        "row 1: .* is a printed list",
    ),
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


SECONDS = 1_404_172_800


@pytest.mark.parametrize(
    ("moments", "kinds"),
    [
        ((SECONDS, SECONDS * 10**3), "in milliseconds' beside 1 of kind 'integer in seconds' .'1404172800' in line 2"),
        ((SECONDS, SECONDS * 10**6, SECONDS), "in microseconds' beside 2 of kind 'integer in seconds'"),
        ((SECONDS * 10**3, SECONDS * 10**9), "in nanoseconds' beside 1 of kind 'integer in milliseconds'"),
        ((f"{SECONDS}.0", SECONDS * 10**3), "in milliseconds' beside"),
        ((-SECONDS, SECONDS * 10**3), "in milliseconds' beside"),
        ((SECONDS, 20140701), "'integer like 20140701' beside 1 of kind 'integer in seconds'"),
        ((20140701120000, SECONDS), "in seconds' beside 1 of kind 'integer like 20140701120000'"),
        ((SECONDS, 41821), "'integer in days' beside 1 of kind 'integer in seconds'"),
        ((SECONDS, 0, -86_400, 86_400), None),
        ((SECONDS * 10**3, SECONDS * 10**3 + 1), None),
        ((20140701, 20140702), None),
        ((0, 16252, SECONDS), "in seconds' beside 2 of kind 'integer in days' .'16252' in line 3"),
        ((SECONDS, 201407), "'integer like 201407' beside 1 of kind 'integer in seconds'"),
        ((SECONDS, SECONDS, 2014, 1), "'integer like 2014' beside 3 of kind 'integer in seconds'"),
        ((SECONDS, 2014070112), "'integer like 2014070112' beside 1 of kind 'integer in seconds'"),
        ((SECONDS * 10**3, 201407011200, 0), "'integer like 201407011200' beside 2 of kind 'integer in milliseconds'"),
        ((0, 16252, 20140701), "'integer like 20140701' beside 2 of kind 'integer in days'"),
        ((0, 201407, 201408), None),
    ],
)
def test_integer_times_of_several_units_are_refused_and_never_reordered(tmp_path, moments, kinds):
    content = HEADER + "\n" + "".join(f"u,10,{moment}\n" for moment in moments)
    if kinds is None:
        assert [row["timestamp"] for row in load_texts(tmp_path, content)[1]] == list(moments)
    else:
        with pytest.raises(
            ValueError, match=rf"a\.csv: 1 timestamps are of kind .*{kinds}.* in line .*; give one kind"
        ):
            load_texts(tmp_path, content)


@pytest.mark.parametrize(
    "counter",
    [
        range(1, 300_000),
        range(199_990, 200_020),
        range(1, 30_000_000, 977),
        range(1, 3 * 10**8, 99_991),
        range(1_960_000_000, 1_990_000_000, 9973),  # seconds of the year 2032
        range(195 * 10**9, 205 * 10**9, 9_999_991),  # milliseconds of the year 1976
    ],
)
def test_a_counter_and_times_of_one_unit_pass_through_numbers_that_look_like_dates(counter):
    kinds = times(pa.array(counter))[1]
    assert any("like" in kind for kind in kinds) and len(mixed_kinds(collections.Counter(kinds))) == 1


@pytest.mark.parametrize(
    ("written", "amounts"),
    [
        (("1.234", "1.234.567"), [1234.0, 1234567.0]),
        (("1,234", "1.234,56"), [1.234, 1234.56]),
        (("1.234", "9,99"), [1234.0, 9.99]),
        (("1,234", "12.50", "1.234"), [1234.0, 12.5, 1.234]),
        (("1,234", "1,234,567"), [1234.0, 1234567.0]),
        (("1.234",), [1.234]),
        (("1.234", "12,50", "12.5"), "1 prices may .* both, as line 3 has ',', as line 4 has '.': '1.234' in line 2"),
        (("1,234", "1.234"), "2 prices may have a decimal comma or a decimal point"),
    ],
)
def test_the_prices_of_a_column_are_read_in_one_convention_or_refused(tmp_path, written, amounts):
    actions = HEADER + "\n" + "".join(f"u,{number},1\n" for number in range(len(written)))
    items = "item_id,title,price\n" + "".join(f'{number},Mug,"{text}"\n' for number, text in enumerate(written))
    if isinstance(amounts, str):
        with pytest.raises(ValueError, match=rf"i\.csv: {amounts}"):
            load_texts(tmp_path, actions, items)
    else:
        assert [item["price"] for item in load_texts(tmp_path, actions, items)[2]] == amounts


@pytest.mark.parametrize(
    "categories", ['{"A": 1}', '[{"name": "A"}]', '[["A", ["B"]]]', "\"{'A': 1}\"", "[3]", "true"]
)
def test_categories_that_are_no_lists_of_texts_are_refused_and_never_lost(tmp_path, categories):
    item = f'{{"item_id": "10", "title": "Mug", "categories": {categories}}}\n'
    with pytest.raises(ValueError, match=r"i\.jsonl, line 1: categories "):
        load_texts(tmp_path, object_line(), item, names=("a.jsonl", "i.jsonl"))


@pytest.mark.parametrize("first", ["sep=;\n", "\ufeffSEP=;\r\n", '"sep=;"\n'])
def test_a_first_line_of_excel_names_the_delimiter(tmp_path, first):
    plain = load_texts(tmp_path, HEADER + "\nu,10,1\n")[1]
    assert load_texts(tmp_path, first + f"{HEADER}\nu,10,1\n".replace(",", ";"))[1] == plain
    assert load_texts(tmp_path, f"sep=|\n{HEADER}\nu,10,1\n".replace(",", "|"))[1] == plain
    with pytest.raises(ValueError, match="line 4 has 2 values"):
        load_texts(tmp_path, first + f"{HEADER}\nu,10,1\nu,10\n".replace(",", ";"))


def zipped(name):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, "x")
    return sink.getvalue()


ROW = b"user_id,item_id,timestamp\nu,10,1\n"
OTHER_FORMATS = {
    "a ZIP archive": zipped("a.csv"), "an Excel workbook": zipped("xl/workbook.xml"),
    "compressed by bzip2": bz2.compress(ROW), "compressed by xz": lzma.compress(ROW),
    "compressed by lzma": lzma.compress(ROW, format=lzma.FORMAT_ALONE), "a 7z archive": b"7z\xbc\xaf\x27\x1c\0\4",
    "compressed by gzip": gzip.compress(gzip.compress(ROW)), "compressed by Zstandard": b"\x28\xb5\x2f\xfd\0",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n", "a page of HTML": b"<!DOCTYPE html>\n",
    "an SQLite database": b"SQLite format 3\0" + bytes(99), "an old Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_file_of_another_format_is_named_by_its_first_bytes(tmp_path, name):
    for named, content in OTHER_FORMATS.items():
        if name == "a.parquet" and named == "compressed by gzip":
            continue
        with pytest.raises(ValueError, match=rf"{name.replace('.', '[.]')} is {named}.*; \w+"):
            load_texts(tmp_path, content, names=(name, "i.csv"))
    if name != "a.parquet":
        with pytest.raises(ValueError, match="is a Parquet file; give it the suffix"):
            load_texts(tmp_path, b"PAR1\x15\x04\x15" + bytes(60), names=(name, "i.csv"))


def test_a_damaged_parquet_file_is_named_in_one_line_of_ours(tmp_path):
    rows = [{**ACTIONS[0], "user_id": f"{number * 7919 % 10_007}"} for number in range(3_000)]
    whole = write(tmp_path / "whole.parquet", rows).read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    (tmp_path / "i.csv").write_text(ONE_ITEM)
    path = tmp_path / "a.parquet"
    for content, reason in [
        (b"", "it is empty"), (b"user_id,item_id\n", "it begins with b'user_id,item_id.n', and is no Parquet"),
        (whole[:-9], "its end is missing"), (whole[:-4] + b"PARE", "it is encrypted"),
        (whole[:20] + bytes(2000) + whole[2020:], "a part of it is damaged"),
        (whole[:footer] + bytes(99) + whole[footer + 99 :], "a part of it is damaged"),
    ]:  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^interactions file .*a\.parquet cannot be read \({reason}.*$"):
            TablesSource(path, tmp_path / "i.csv").load(connect())


def test_at_most_five_examples_are_named(tmp_path):
    with pytest.raises(ValueError, match="lacks 9 items .* for example 'z0', 'z1', 'z2', 'z3', 'z4'; add them"):
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
    with pytest.raises(
        ValueError,
        match=r"interactions file .* (cannot be read|is damaged .* line \d+) \(.*\); check it",
    ):
        TablesSource(path, write(tmp_path / "items.csv", ITEMS)).load(connect())


HEADER = "user_id,item_id,timestamp"
ONE_ITEM = "item_id,title\n10,Mug\n"


def load_texts(tmp_path, actions, items=ONE_ITEM, names=("a.csv", "i.csv")):
    """Loads two files of the given texts or bytes."""
    for name, content in zip(names, (actions, items), strict=True):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    raw = TablesSource(tmp_path / names[0], tmp_path / names[1]).load(connect())
    return (
        raw,
        raw.interactions.order_by("row").to_pyarrow().to_pylist(),
        raw.items.order_by("source_id").to_pyarrow().to_pylist(),
    )


REFUSED_CSV = [
    ("", "holds no rows"),
    ("\n\n", "holds no rows"),
    (HEADER + "\n", "holds no rows"),
    (HEADER + "\nu,10,1\nu,10,1,9,9\n", "line 3 has 5 values, but the header names 3 columns"),
    (HEADER + "\nu,10,1\nu,10\n", "line 3 has 2 values, but the header names 3 columns"),
    (HEADER + "\nu,10,1\nu\n", "line 3 has 1 value, but"),
    (HEADER + '\n"u\nv",10,1\nu,10\n', "line 4 has 2 values"),
    (HEADER + ",review\nu1,10,1,fine\nu1,10,2,nice, really\n", "line 3 has 5 values, but the header names 4 columns"),
    (HEADER + f"\nu,10,1\n{HEADER}\nu,10,2\n", "line 3 is a header again"),
    (HEADER + f"\nu,10,1\n{HEADER},rating\nu,10,2,5\n", "line 3 has 4 values, .* it is another header"),
    (HEADER + "\nu,10,1\nuser_id,item_id,rating\nu,10,2\n", "line 3 is a header again"),
    (HEADER + "\nu,10,1\nitem_id,user_id,timestamp\n10,u,2\n", "line 3 is a header again"),
    ("user_id,item_id,timestamp,user_id\nu,10,1,v\n", r"names 'user_id' 2 times \(columns 1, 4\)"),
    ("user_id, item_id,timestamp\nu,10,1\n", "lacks the column 'item_id' or 'item'; it has user_id,  item_id"),
    ("# made by hand\n" + HEADER + "\nu,10,1\n", "line 1 begins with '#' .* a CSV file has no comments: remove"),
    ("#user_id,item_id,timestamp\nu,10,1\n", "line 1 begins with '#' .* and '#' before the header"),
    (HEADER + "\nu,10,1\n# end\n", "line 3 has 1 value, .* a CSV file has no comments: remove such lines"),
    ("user_id|item_id|timestamp\nu|10|1\n", "separated by '|' instead of commas: .* sep='|'"),
    (HEADER + '\nu,10,1\n"u,10,1\n', "line 3 opens a quote that is never closed"),
    (HEADER + '\nu,10,1\n"u"x,10,1\n', "line 3 has text after a closing quote"),
    (HEADER + '\nu,10,1\n"u\\"x",10,1\n', "line 3 has text after a closing quote .* without backslashes"),
    (HEADER + '\nu, "10", 1\n', "line 2 has a blank before a quoted value"),
    (HEADER + '\nu, "",1\n', "line 2 has a blank before a quoted value"),
    (HEADER + "\ru,10,1\r", r"line 1 has a carriage return \(\\r\) outside quotes"),
    (HEADER + "\nu,10,1\nu\0,10,1\n", "line 3 holds a NUL byte .byte 2 of the line"),
    ((HEADER + "\nu,10,1\nd\u00e9j\u00e0,10,2\n").encode("latin-1"), "line 3 is not UTF-8 .byte 2 .* 0xe9, after 'd'"),
    ((HEADER + "\nu,10,1\n").encode("utf-16"), "is UTF-16 or UTF-32 .* save it as UTF-8"),
    ((HEADER + "\nu,10,1\n").encode("utf-16-le"), "line 1 holds a NUL byte"),
    (gzip.compress(HEADER.encode() + b"\nu,10,1\n" * 99, mtime=0)[:-9], "is damaged or cut off after line"),
    (HEADER + "\nu,10,1\n,10,1\n", "user_id is empty in 1 rows, first in line 3"),
    (HEADER + "\nu,10,1\nu,10,\n", "timestamp is empty in 1 rows, first in line 3"),
    (HEADER + "\nu,10,1\nu,10,9223372036854775808\n", "line 3: timestamp '9223372036854775808' does not fit into 64"),
    (HEADER + "\nu,10,1\nu,10," + "9" * 5000 + "\n", "line 3: timestamp '9{60}'... does not fit"),
    (HEADER + "\nu,10,1\nu,10,2014-02-30\n", "line 3: timestamp '2014-02-30' is neither"),
    (HEADER + "\nu,10,1\nu,10,infinity\n", "line 3: timestamp 'infinity' is neither"),
    (HEADER + "\nu,10,1\nu,10,1.5\n", "line 3: timestamp '1.5' is neither"),
    (HEADER + "\nu,10,2014-01-01 00:00:00.0000001\n", "line 2: timestamp .* microseconds"),
    (
        HEADER + "\nu,10,2014-01-01\nu,10,2014-01-02\nu,10,7\n",
        "1 timestamps are of kind 'integer' beside 2 of kind 'date' .'2014-01-01' in line 2.: '7' in line 4; give one",
    ),
    (
        HEADER + "\nu,10,7\nu,10,2014-01-02\nu,10,8\n",
        "1 timestamps are of kind 'date' beside 2 of kind 'integer' .'7' in line 2.: '2014-01-02' in line 3",
    ),
    (
        HEADER + "\nu,10,2014-01-01 00:00:00\nu,10,2014-01-01T00:00:00Z\n",
        "1 timestamps are of kind 'date with an offset' beside 1 of kind 'date' .*: '2014-01-01T00:00:00Z' in line 3",
    ),
    *(
        (HEADER + f",rating\nu,10,1,5\nu,10,1,{rating}\n", f"line 3: rating '{rating}' {reason}")
        for rating, reason in [
            ("0", "lies outside 1..5; leave a missing one empty"),
            ("-1", "lies outside"),
            ("99", "lies outside"),
            ("5.0001", "lies outside"),
            ("1e400", "lies outside"),
            ("NaN", "is no number"),
            ("inf", "is no number"),
            ("4_0", "is no number"),
        ]
    ),
]


@pytest.mark.parametrize(("content", "message"), REFUSED_CSV, ids=range(len(REFUSED_CSV)))
def test_what_is_not_in_the_dialect_of_csv_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"interactions file .*a\.csv.*{message}"):
        load_texts(tmp_path, content)


def object_line(**changes):
    return json.dumps({"user_id": "u", "item_id": "10", "timestamp": 1, **changes}) + "\n"


REFUSED_JSON = [
    ("", "holds no rows"),
    ("{}\n", "lacks the column 'user_id' or 'user'"),
    ("not json\n", "line 1 is no JSON object"),
    (object_line() + '{"user_id": \n', "line 2 is no JSON object .Expecting value"),
    (object_line() + object_line().strip() * 2, "line 2 is no JSON object .Extra data"),
    (f"[{object_line().strip()}]", "is a JSON array; write one object a line"),
    (f"\n[\n{object_line()}]", "is a JSON array; write one object a line"),
    (object_line() + "[1]\n", r"line 2 is '\[1\]', no JSON object"),
    (json.dumps(json.loads(object_line()), indent=1), "line 1 is no JSON object .* write one object a line"),
    (object_line() + '{"user_id": "u", "user_id": "v"}\n', "line 2: the key 'user_id' stands twice"),
    (object_line() + object_line(rating=float("nan")), "line 2: NaN is no JSON value; write null"),
    (object_line() + object_line(other=float("-inf")), "line 2: -Infinity is no JSON value"),
    (object_line() + object_line(user_id="u\ud83d"), "line 2: user_id .* half a surrogate pair"),
    (object_line() + object_line(review="a\0b"), "line 2: review .* NUL character"),
    (object_line() + '{"a": ' + "[" * 100_000, "line 2 is nested too deeply"),
    (object_line() + object_line(user_id=True), "line 2: user_id true is neither text nor number"),
    (object_line() + object_line(item_id=[1]), r"line 2: item_id \['1'\] is neither text nor number"),
    (object_line() + object_line(review={}), "line 2: review {} is neither text nor number"),
    (object_line() + object_line(user_id=1.5), "line 2: user_id '1.5' is no whole number"),
    (object_line() + object_line(user_id=1e300), r"line 2: user_id '1e\+300' is a float too large to be exact"),
    (object_line() + object_line(timestamp=[1]), "line 2: timestamp .* is neither text nor number"),
    (object_line() + object_line(timestamp=10**30), "line 2: timestamp .* does not fit into 64 bits"),
    (object_line() + object_line(rating=0), "line 2: rating '0' lies outside 1..5"),
    (object_line() + object_line(user_id=None), "user_id is empty in 1 rows, first in line 2"),
    (object_line(rating=5) + object_line(Rating=5), "line 2 has the key 'Rating'; spell it 'rating' in every line"),
    (object_line() + object_line(**{"review ": "x"}), "line 2 has the key 'review '; spell it 'review'"),
    (object_line(rating=None, RATING=5), "line 1 has the key 'RATING'"),
    (object_line() + '{"user_id": "u", "Item_ID": "10", "timestamp": 1}', "line 2 has the key 'Item_ID'"),
    (object_line().encode("utf-16"), "is UTF-16 or UTF-32"),
    (object_line().encode() + b'{"user_id": "\xff"}', "line 2 is not UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED_JSON, ids=range(len(REFUSED_JSON)))
def test_what_is_no_json_line_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"interactions file .*a\.json.*{message}"):
        load_texts(tmp_path, content, names=("a.json", "i.csv"))


REFUSED_PARQUET = [
    ({"user_id": [1.5, 2.0]}, "row 1: user_id 1.5 is no whole number"),
    ({"user_id": [1.0, 2.0**53]}, "row 2: user_id .* is a float too large to be exact"),
    ({"user_id": pa.array([1, 2**24], pa.float32())}, "row 2: user_id .* too large to be exact"),
    ({"user_id": pa.array([b"u", b"v"])}, "user_id has the type binary; store it as text"),
    ({"user_id": [True, False]}, "user_id has the type bool"),
    ({"user_id": [["u"], ["v"]]}, "user_id has the type list"),
    ({"user_id": pa.array([1, 2], pa.date32())}, "user_id has the type date32"),
    ({"user_id": pa.array([decimal.Decimal("1.50")] * 2)}, "row 1: user_id '1.50' is no whole number"),
    ({"timestamp": [1.0, 2.5]}, "row 2: timestamp 2.5 is no whole number"),
    (
        {"timestamp": pa.array([1000, 1001], pa.timestamp("ns"))},
        "row 2: timestamp 1001 ns .* finer than",
    ),
    ({"timestamp": pa.array([0, 2**62], pa.timestamp("ms"))}, "timestamp has times too far from 1970"),
    ({"timestamp": pa.array([1, 2], pa.time32("s"))}, "timestamp has the type time32"),
    ({"timestamp": pa.array([0, 2**63], pa.uint64())}, "row 2: timestamp '9223372036854775808' does not fit"),
    ({"rating": [5.0, float("nan")]}, "row 2: rating 'nan' is no number; leave a missing one empty"),
    ({"rating": [5.0, float("inf")]}, "row 2: rating 'inf' is no number"),
    ({"rating": [5, 0]}, "row 2: rating '0' lies outside 1..5"),
    ({"review": ["a\0", "b"]}, "row 1: review .* NUL"),
]


@pytest.mark.parametrize(("columns", "message"), REFUSED_PARQUET, ids=range(len(REFUSED_PARQUET)))
def test_parquet_columns_of_another_type_are_refused_with_their_row(tmp_path, columns, message):
    table = pa.table({"user_id": ["u", "v"], "item_id": ["10", "10"], "timestamp": [1, 2], **columns})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "i.csv").write_text(ONE_ITEM)
    with pytest.raises(ValueError, match=f"interactions file .*{message}"):
        TablesSource(tmp_path / "a.parquet", tmp_path / "i.csv").load(connect())


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_column_in_two_spellings_is_refused_and_a_needless_second_name_is_not(tmp_path, suffix):
    with pytest.raises(ValueError, match="items.* has the (column|key) 'Price'"):
        load(tmp_path, items=[{**item, "Price": 1.0} for item in ITEMS], suffix=suffix)
    load(tmp_path, [{**row, "User": "Ann"} for row in ACTIONS], suffix=suffix)


def bomb(path, size, rows, column="review", **options):
    """Writes a Parquet file that stores one long text for all of its rows."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    table = pa.table({"user_id": ["u"] * rows, "item_id": ["10"] * rows, "timestamp": range(rows)})
    if column == "categories":
        texts = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), texts)
    table = table.append_column(column, texts)
    pq.write_table(table, path, compression="zstd", **options)


@pytest.mark.parametrize("column", ["review", "categories"])
@pytest.mark.parametrize(
    ("size", "rows", "message"),
    [
        (2**20, 4000, "file: up to row 4000, .* takes 4,.* above 1,000 times the file of .* shorten them"),
        (2**24 + 1, 300, r"file, row 1: .* is longer than 16,777,216 bytes; shorten or remove it"),
    ],
)
def test_a_small_parquet_file_of_huge_values_is_refused_in_little_memory(tmp_path, size, rows, message, column):
    bomb(tmp_path / "a.parquet", size, rows, column)
    names = ("user_id", column)
    before = pa.total_allocated_bytes()
    with pytest.raises(ValueError, match=message):
        for _ in ParquetTable(tmp_path / "a.parquet", "file", names, ()):
            assert pa.total_allocated_bytes() - before < 2**28


@pytest.mark.parametrize("encoding", [None, "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_batches_of_parquet_are_limited_in_bytes(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(parquet_table, "BATCH_BYTES", 10_000)
    encoded = {"use_dictionary": False, "column_encoding": {"review": encoding}} if encoding else {}
    reviews = [str(number) * 300 if number % 3 else None for number in range(200)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"review": reviews, "n": range(200)}), path, row_group_size=70, **encoded)
    batches = list(ParquetTable(path, "file", ("review", "n"), ()))
    assert [text for batch in batches for text in batch.columns["review"].to_pylist()] == reviews
    assert [place for batch in batches for place in batch.places] == list(range(1, 201))
    assert all(sum(map(len, filter(None, b.columns["review"].to_pylist()))) <= 10_000 for b in batches)


def test_parquet_with_a_column_twice_or_not_parquet_is_refused(tmp_path):
    (tmp_path / "i.csv").write_text(ONE_ITEM)
    table = pa.table([["u"], ["v"], ["10"], [1]], names=["user_id", "user_id", "item_id", "timestamp"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="has the column 'user_id' twice"):
        TablesSource(tmp_path / "a.parquet", tmp_path / "i.csv").load(connect())
    (tmp_path / "a.parquet").write_text(HEADER)
    with pytest.raises(ValueError, match="cannot be read"):
        TablesSource(tmp_path / "a.parquet", tmp_path / "i.csv").load(connect())


KEPT_KEYS = "007 1e5 18446744073709551617 12:30:00 2014-07-01 true null NaN 0x1F ['a'] d9428888-122b-11e1-b85c"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_keys_are_text_and_stay_as_they_are(tmp_path, suffix):
    keys = [*KEPT_KEYS.split(), "d\u00e9j\u00e0 vu", 'a"b', "a,b", "a\nb"]
    actions = [{"user_id": key, "item_id": key, "timestamp": 1} for key in keys]
    _, loaded, items = load(tmp_path, actions, [{"item_id": key, "title": "Mug"} for key in keys], suffix)
    assert [row["user_id"] for row in loaded] == keys and {row["source_id"] for row in items} == set(keys)


@pytest.mark.parametrize(("key", "expected"), [(10**30, str(10**30)), (-5, "-5"), (7.0, "7"), (0, "0")])
def test_numbers_are_keys_by_their_digits_in_json_lines(tmp_path, key, expected):
    _, loaded, _ = load_texts(tmp_path, object_line(user_id=key), names=("a.jsonl", "i.csv"))
    assert loaded[0]["user_id"] == expected


def test_integers_categories_and_decimals_of_parquet_are_keys_by_their_digits(tmp_path):
    big = 2**64 - 1
    for number, column in enumerate(
        [
            pa.array([big], pa.uint64()),
            pa.array([decimal.Decimal(big)]),
            pa.array([str(big)]).dictionary_encode(),
            pa.array([str(big)], pa.large_string()),
        ]
    ):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"user_id": column, "item_id": ["10"], "timestamp": [1]}), path)
        (tmp_path / "i.csv").write_text(ONE_ITEM)
        rows = TablesSource(path, tmp_path / "i.csv").load(connect()).interactions.to_pyarrow().to_pylist()
        assert rows[0]["user_id"] == str(big)


def test_the_first_name_of_a_key_counts_wherever_it_stands_and_the_second_is_then_ignored(tmp_path):
    lines = [object_line(user={"name": "Ann"}), object_line(user="Bob", user_id="v")]
    _, loaded, _ = load_texts(tmp_path, "".join(lines), names=("a.jsonl", "i.csv"))
    assert [row["user_id"] for row in loaded] == ["u", "v"]
    with pytest.raises(ValueError, match="user_id is empty in 1 rows, first in line 1"):
        load_texts(
            tmp_path, '{"user": "Ann", "item_id": "10", "timestamp": 1}\n' + lines[1], names=("a.jsonl", "i.csv")
        )
    with pytest.raises(ValueError, match="line 1: user {'name': 'Ann'} is neither"):
        load_texts(tmp_path, lines[0].replace('"user_id": "u", ', ""), names=("a.jsonl", "i.csv"))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_integer_times_of_any_sign_and_64_bits_are_the_same_in_every_format(tmp_path, name):
    moments = [-86_400, 0, 86_400, 1_404_172_800_000_000_001, -(2**63), 2**63 - 1]
    actions = [{"user_id": "u", "item_id": "10", "timestamp": moment} for moment in moments]
    write(tmp_path / name, actions)
    (tmp_path / "i.csv").write_text(ONE_ITEM)
    table = TablesSource(tmp_path / name, tmp_path / "i.csv").load(connect()).interactions
    assert [row["timestamp"] for row in table.order_by("row").to_pyarrow().to_pylist()] == moments


@settings(max_examples=80, deadline=None)
@given(
    st.datetimes(min_value=datetime.datetime(1, 1, 1), max_value=datetime.datetime(9999, 12, 31)),
    st.none() | st.integers(-23 * 60, 23 * 60),
    st.sampled_from("T "),
)
def test_times_agree_with_datetime(moment, offset, separator):
    east = datetime.timedelta(minutes=offset or 0)
    zone = None if offset is None else datetime.timezone(east)
    since = moment - datetime.datetime(1970, 1, 1) - east
    kind, value = read_time(moment.replace(tzinfo=zone).isoformat(separator))
    assert (kind, value) == ("date with an offset" if zone else "date", since // datetime.timedelta(microseconds=1))


OTHER_TIMES = (
    "2014-1-1; 2014-01-01 24:00; 2014-01-01 1:00; 01/02/2014; now; 2014-01-01 00:00 CET; 2014-01-01 00:00+25:00; "
    "1_000; 0x10; 1e9; 2014-01-01 00:00.5; 2014-01-01Z; 0000-01-01; \u0661"
)


@pytest.mark.parametrize("text", OTHER_TIMES.split("; "))
def test_other_notations_of_a_time_are_refused(text):
    with pytest.raises(ValueError, match="is neither an integer nor a date"):
        read_time(text)


@pytest.mark.parametrize("delimiter", ";\t")
def test_semicolons_and_tabs_stand_for_commas_if_the_header_says_so(tmp_path, delimiter):
    actions = "user_id|item_id|timestamp|review\nu|10|1|a, b".replace("|", delimiter)
    items = "item_id|title|price\n10|Mug|12,50".replace("|", delimiter)
    _, loaded, described = load_texts(tmp_path, actions, items)
    assert loaded[0]["review"] == "a, b" and described[0]["price"] == 12.5


def test_line_ends_a_mark_at_the_start_and_blank_lines_do_not_matter(tmp_path):
    plain = load_texts(tmp_path, HEADER + "\nu,10,1\nv,10,2\n")[1]
    content = "\ufeff" + HEADER + "\r\n\r\nu,10,1\r\nv,10,2"
    assert load_texts(tmp_path, content)[1] == load_texts(tmp_path, gzip.compress(content.encode()))[1] == plain


def test_quotes_may_begin_anywhere_in_a_long_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BATCH_ROWS", 1000)
    rows = [f"{number},Mug" for number in range(25_000)] + ['a,"5"" lamp"', 'b,"Lamp, red"', f'c,"{"long " * 40_000}"']
    items = load_texts(tmp_path, HEADER + "\nu,a,1\nu,b,2\nu,c,3\n", "item_id,title\n" + "\n".join(rows))[2]
    assert [item["title"] for item in items] == ['5" lamp', "Lamp, red", ("long " * 40_000).strip()]


def test_prices_in_any_notation_are_numbers_or_noted(tmp_path):
    rows = {"12,50": 12.5, "1.234,00": 1234.0, "$1,012.99": 1012.99, "9.5": 9.5}
    rows |= {"ask": None, "-5": None, "inf": None, "9" * 401: None, "1e400": None, "": None}
    actions = HEADER + "\n" + "".join(f"u,{number},1\n" for number in range(len(rows)))
    items = "item_id,title,price\n" + "".join(f'{number},Mug,"{price}"\n' for number, price in enumerate(rows))
    raw, _, loaded = load_texts(tmp_path, actions, items)
    assert {int(item["source_id"]): item["price"] for item in loaded} == dict(enumerate(rows.values()))
    assert {reason.split(": ")[1]: count for reason, count in raw.noted.items()} == {
        "price is no number, kept without one": 5,
    }


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 99))
def test_amounts_with_two_decimals_are_read_alike_in_all_notations(whole, cents):
    commas, expected = f"{whole:,}", float(f"{whole}.{cents:02}")
    points, blanks = commas.replace(",", "."), commas.replace(",", " ")
    for written in (f"{commas}.{cents:02}", f"{points},{cents:02}", f"{blanks},{cents:02}"):
        assert read_price(written) == read_price(f"$ {written}") == read_price(f"{written} \u20ac") == expected


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="0123456789.,-+eE$ _'x", max_size=12))
def test_a_text_is_never_another_price_than_its_digits_say(text):
    price = read_price(text)
    if price is not None and "e" not in text.lower():
        digits = "".join(filter(str.isdigit, text)).strip("0")
        assert digits in f"{decimal.Decimal(repr(price)):f}".replace(".", "")


def rows_of(file, names):
    """Rows of all batches, with None for what a batch lacks."""
    return [
        [batch.columns[name][row] if name in batch.columns else None for name in names]
        for batch in file
        for row in range(len(batch.places))
    ]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6), st.sampled_from(["\r\n", "\n"]), st.booleans()
)
def test_csv_that_the_csv_module_writes_is_read_as_the_csv_module_reads_it(tmp_path_factory, rows, end, packed):
    if end == "\n":  # some versions of the module then leave a carriage return unquoted
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
    names = ["user_id", "item_id", "timestamp"]
    sink = io.StringIO()
    csv.writer(sink, lineterminator=end).writerows([names, *rows])
    path = tmp_path_factory.getbasetemp() / "property.csv"
    data = sink.getvalue().encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    read = rows_of(DelimitedFile(path, "file", names, [[name] for name in names]), names)
    assert read == list(csv.reader(io.StringIO(sink.getvalue(), newline=""), strict=True))[1:]


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="ab,;\"'\n\r \t\\0", max_size=40))
def test_any_text_is_read_as_the_csv_module_reads_it_or_refused(tmp_path_factory, body):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(f"x,y\n{body}".encode())
    try:
        read = rows_of(DelimitedFile(path, "file", "xy", ["x", "y"]), "xy")
    except ValueError as error:
        assert str(error).startswith("file, line ")
    else:
        assert read == [row for row in csv.reader(io.StringIO(body, newline=""), strict=True) if row]


json_values = st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["user_id", "item_id", "x"]), json_values), min_size=1, max_size=5),
    st.booleans(),
)
def test_json_lines_are_read_as_the_json_module_reads_them(tmp_path_factory, records, ascii_only):
    path = tmp_path_factory.getbasetemp() / "property.jsonl"
    path.write_bytes("".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records).encode())
    names = ("user_id", "item_id")
    written = [[None if record.get(name) is None else str(record[name]) for name in names] for record in records]
    assert rows_of(JsonLinesFile(path, "file", names, ()), names) == written


@settings(max_examples=80, deadline=None)
@given(st.lists(st.none() | st.booleans() | st.text() | st.lists(st.integers()) | st.binary(), max_size=4))
def test_a_column_is_texts_or_names_its_bad_value(values):
    try:
        assert len(texts(values)) == len(values)
    except BadValue as error:
        assert error.index is not None and values[error.index] is not None


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_of_a_gzip_that_expands_beyond_the_limit_is_refused(tmp_path, name):
    first = HEADER + "\n" if name == "a.csv" else object_line()
    content = gzip.compress(first.encode() + b"x" * (lines.MAX_LINE_BYTES + 9))
    with pytest.raises(ValueError, match=r"line 2 is longer than 16,777,216 bytes .*'xxx"):
        load_texts(tmp_path, content, names=(name, "i.csv"))


def test_a_quote_left_open_is_refused_before_it_takes_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_LINE_BYTES", 1000)
    with pytest.raises(ValueError, match="line 3: the row that begins there is longer than 1,000 .* is not closed"):
        load_texts(tmp_path, HEADER + '\nu,10,1\n"u,10,1\n' + "u,10,1\n" * 10_000)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_batches_smaller_than_the_file_change_nothing(tmp_path, monkeypatch, suffix):
    actions = [{"user_id": f"u{number}", "item_id": "10", "timestamp": number} for number in range(25)]
    whole = load(tmp_path, actions, suffix=suffix)[1]
    for module in (delimited, json_lines, table_file):
        monkeypatch.setattr(module, "BATCH_ROWS", 4)
    assert load(tmp_path, actions, suffix=suffix)[1] == whole


@pytest.mark.parametrize("folder", ["run[1]", "*", "it's ?{a,b} \u00e9", "user_id=7", 'a"b\\c'])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_path_is_never_a_pattern(tmp_path, folder, suffix):
    for name in ("run1", "run[1]", "other", folder):
        (tmp_path / name).mkdir(exist_ok=True)
        write(tmp_path / name / f"interactions{suffix}", [{"user_id": name, "item_id": "10", "timestamp": 1}])
        write(tmp_path / name / f"items{suffix}", ITEMS)
    source = TablesSource(tmp_path / folder / f"interactions{suffix}", tmp_path / folder / f"items{suffix}")
    assert [row["user_id"] for row in source.load(connect()).interactions.to_pyarrow().to_pylist()] == [folder]


@pytest.mark.parametrize(
    "second", ["\ufeffitem_id,brand,title", "ITEM_ID,brand,title", " item_id,colour,maker", "item,title,brand"]
)
def test_a_second_header_is_refused_however_it_is_spelled(tmp_path, second):
    (tmp_path / "actions.csv").write_text("user_id,item_id,timestamp\nu,A1,1\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text(
        f"item_id,title,brand\nA1,Lamp,Oak\n{second}\nA2,Pine,Desk\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"items\.csv, line 3 is a header again .* or, if it is a row after all, "):
        TablesSource(tmp_path / "actions.csv", tmp_path / "items.csv").load(connect())


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (HEADER + "\nuser,A1,1404172800\n", "user"),
        (HEADER + "\nuser,item,1404172800\n", "user"),
        (HEADER + "\nuser_id,A1,1404172800\n", "user_id"),
        ("user,item,timestamp\nuser,A1,1404172800\n", "user"),
        ("user_id,item_id,timestamp,review\ntimestamp,A1,1404172800,\n", "timestamp"),
    ],
)
def test_a_user_whose_name_is_that_of_a_column_is_no_header(tmp_path, content, key):
    items = "item_id,title\nA1,Lamp\nitem,Tea\nitem_id,Mug\n"
    assert [row["user_id"] for row in load_texts(tmp_path, content, items)[1]] == [key]


def test_a_header_with_blanks_or_capitals_is_named(tmp_path):
    (tmp_path / "actions.csv").write_text("user_id, item_id,timestamp\nu,A1,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the column 'item_id'.*' item_id' is spelled otherwise than 'item_id'"):
        TablesSource(tmp_path / "actions.csv", tmp_path / "actions.csv").load(connect())


@pytest.mark.parametrize("offset", ["+02:60", "+02:99", "+0299", "-01:75"])
def test_an_offset_of_more_than_59_minutes_is_no_time(offset):
    with pytest.raises(ValueError, match="neither an integer nor a date"):
        read_time(f"2014-07-01T00:00:00{offset}")


def test_an_optional_column_is_not_left_out_for_its_spelling_and_a_needless_alias_may_be(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\nA1,Lamp\n", encoding="utf-8")
    for header in ("user_id,item_id,timestamp, rating", "user_id,item_id,timestamp,Rating"):
        (tmp_path / "actions.csv").write_text(f"{header}\nu,A1,1,5\n", encoding="utf-8")
        with pytest.raises(ValueError, match="has the column '( r|R)ating'; name it 'rating', or drop it"):
            TablesSource(tmp_path / "actions.csv", tmp_path / "items.csv").load(connect())
    (tmp_path / "actions.csv").write_text("user_id,item_id,timestamp,User\nu,A1,1,Ann\n", encoding="utf-8")
    TablesSource(tmp_path / "actions.csv", tmp_path / "items.csv").load(connect())
