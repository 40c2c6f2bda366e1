"""The Amazon layouts of 2014, 2018 and 2023 on small invented files, with what crawled files break in."""

import gzip
import json

import pytest

from dataset_builders.building.interactions import connect, prepare_interactions
from dataset_builders.building.sources import records
from dataset_builders.building.sources.amazon_reviews import AmazonReviewsSource


def review_2014(user="u1", item="a", **changes):
    record = {
        "reviewerID": user,
        "asin": item,
        "unixReviewTime": 1_400_000_000,
        "overall": 5.0,
        "summary": "Lovely",
        "reviewText": "Smells of roses.",
    }
    return {name: value for name, value in {**record, **changes}.items() if value is not ...}


def review_2023(user="u1", item="a", **changes):
    record = {
        "user_id": user,
        "parent_asin": item,
        "asin": "variant",
        "timestamp": 1_600_000_000_123,
        "rating": 4.0,
        "title": "Lovely",
        "text": "Smells of roses.<br />Twice.",
    }
    return {**record, **changes}


META_2014 = {
    "asin": "a",
    "title": "Rose Soap",
    "brand": "Oakmere",
    "price": 9.49,
    "categories": [["Beauty", "Bath"], ["Beauty", "Bath", "Soaps"]],
    "description": "It's a soap.",
}
META_2018 = {
    "asin": "a",
    "title": "Rose &amp; Honey Soap",
    "brand": "by\n    \n    Oakmere",
    "price": "$12.99",
    "category": ["Beauty", "Soaps", "Made by hand, one at a time."],
    "description": ["A soap.", "By hand."],
}
META_2023 = {
    "parent_asin": "a",
    "title": "Rose Soap",
    "store": "Oakmere",
    "price": 7.5,
    "categories": ["Beauty", "Soaps"],
    "description": [],
}


def write_lines(path, lines):
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n"
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def load(tmp_path, reviews, metadata=(META_2018,)):
    source = AmazonReviewsSource(
        write_lines(tmp_path / "reviews.json.gz", reviews), write_lines(tmp_path / "meta.json.gz", metadata)
    )
    raw = source.load(connect())
    return (
        raw,
        raw.interactions.order_by("row").to_pyarrow().to_pylist(),
        raw.items.order_by("source_id").to_pyarrow().to_pylist(),
    )


def test_layout_of_2014_with_python_literals(tmp_path):
    raw, actions, items = load(tmp_path, [review_2014()], [repr(META_2014).encode()])
    assert actions == [
        {
            "user_id": "u1",
            "source_id": "a",
            "timestamp": 1_400_000_000,
            "rating": 5.0,
            "review": "Lovely. Smells of roses.",
            "row": 0,
        }
    ]
    assert items == [
        {
            "source_id": "a",
            "title": "Rose Soap",
            "brand": "Oakmere",
            "categories": ["Beauty", "Bath", "Soaps"],
            "price": 9.49,
            "description": "It's a soap.",
        }
    ]
    assert raw.skipped.total() == raw.noted.total() == 0


def test_layout_of_2018_with_its_leftovers_cleaned(tmp_path):
    _, _, items = load(tmp_path, [review_2014()], [META_2018])
    assert items == [
        {
            "source_id": "a",
            "title": "Rose & Honey Soap",
            "brand": "Oakmere",
            "categories": ["Beauty", "Soaps"],
            "price": 12.99,
            "description": "A soap. By hand.",
        }
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_layout_of_2023_plain_and_compressed(tmp_path, suffix):
    reviews = tmp_path / f"reviews{suffix}"
    write_lines(reviews, [review_2023()])
    raw = AmazonReviewsSource(reviews, write_lines(tmp_path / "meta.jsonl", [META_2023])).load(connect())
    (action,) = raw.interactions.to_pyarrow().to_pylist()
    assert (action["source_id"], action["timestamp"], action["rating"]) == ("a", 1_600_000_000_123, 4.0)
    assert action["review"] == "Lovely. Smells of roses. Twice."
    (item,) = raw.items.to_pyarrow().to_pylist()
    assert (item["brand"], item["price"], item["categories"]) == ("Oakmere", 7.5, ["Beauty", "Soaps"])


def test_compression_is_told_from_the_content_not_from_the_name(tmp_path):
    path = tmp_path / "reviews.json"
    path.write_bytes(gzip.compress(json.dumps(review_2014()).encode()))
    raw = AmazonReviewsSource(path, write_lines(tmp_path / "m.json", [META_2014])).load(connect())
    assert raw.interactions.count().to_pyarrow().as_py() == 1


BAD_REVIEWS = [
    (b'{"reviewerID": "u1", "asin":', "malformed line"),
    (b"[1, 2]", "malformed line"),
    (b"\xff\xfe not text", "malformed line"),
    (b"{'a': __import__('os').getcwd()}", "malformed line"),
    (b"{'a': 1 + }", "malformed line"),
    (b"[" * 100_000, "malformed line"),
    (b"{'a': " + b"[" * 100_000, "malformed line"),
    (review_2014(asin=...), "a required field is missing"),
    (review_2014(overall=...), "a required field is missing"),
    (review_2023(), "a required field is missing"),
    (review_2014(user=None), "user or item is no text"),
    (review_2014(user="  "), "user or item is no text"),
    (review_2014(item=17), "user or item is no text"),
    (review_2014(overall="five"), "rating is no number"),
    (review_2014(overall=None), "rating is no number"),
    (review_2014(overall=True), "rating is no number"),
    (review_2014(overall=float("nan")), "rating is no number"),
    (review_2014(overall=0), "rating outside 1..5"),
    (review_2014(unixReviewTime="yesterday"), "time is no integer"),
    (review_2014(unixReviewTime=1.5), "time is no integer"),
    (review_2014(unixReviewTime=None), "time is no integer"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_REVIEWS, ids=range(len(BAD_REVIEWS)))
def test_single_bad_review_is_skipped_and_counted_by_its_reason(tmp_path, bad, reason):
    raw, actions, _ = load(tmp_path, [review_2014("u1"), bad, review_2014("u2")])
    assert [action["user_id"] for action in actions] == ["u1", "u2"]
    assert [action["row"] for action in actions] == [0, 2]
    assert raw.skipped == {f"reviews: {reason}": 1}


def test_bad_first_record_does_not_decide_the_layout(tmp_path):
    raw, actions, _ = load(tmp_path, [b"{}", review_2023("u1"), review_2023("u2")], [META_2023])
    assert len(actions) == 2 and raw.skipped == {"reviews: a required field is missing": 1}


def test_ratings_written_as_text_count_as_numbers(tmp_path):
    _, actions, _ = load(tmp_path, [review_2014(overall="4.0")])
    assert actions[0]["rating"] == 4.0


@pytest.mark.parametrize(
    ("summary", "text", "expected"),
    [
        ("Great!", "I love it", "Great! I love it"),
        ("Great", ..., "Great"),
        (..., "I love it", "I love it"),
        ("", "", None),
        (None, None, None),
    ],
)
def test_review_joins_headline_and_body(tmp_path, summary, text, expected):
    _, actions, _ = load(tmp_path, [review_2014(summary=summary, reviewText=text)])
    assert actions[0]["review"] == expected


def test_file_of_the_wrong_kind_is_refused_with_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match=r"reviews.json.gz are unusable as reviews .* 2014/2018 \(reviewerID, asin"):
        load(tmp_path, [META_2018] * 3)


def test_mostly_bad_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="3 of the first 5 records"):
        load(tmp_path, [review_2014(), review_2014()] + [b"garbage"] * 3)


def test_file_bad_from_the_start_is_refused_before_it_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FIRST_RECORDS", 10)
    with pytest.raises(ValueError, match="10 of the first 10 records"):
        load(tmp_path, [b"garbage"] * 10 + [review_2014()] * 90)


def test_empty_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no records"):
        load(tmp_path, [b""])


@pytest.mark.parametrize("broken", ["reviews", "metadata"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_gzip_names_the_file_and_the_way_out(tmp_path, broken, damage):
    paths = {
        "reviews": write_lines(tmp_path / "r.json.gz", [review_2014(f"u{i}", f"{i:x}") for i in range(500)]),
        "metadata": write_lines(tmp_path / "m.json.gz", [{**META_2018, "asin": f"{i:x}"} for i in range(500)]),
    }
    data = bytearray(paths[broken].read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[-8] ^= 0xFF  # the checksum
    paths[broken].write_bytes(data)
    with pytest.raises(
        ValueError, match=rf"{broken} file .* is damaged or cut off after \d+ records .* download it again"
    ):
        AmazonReviewsSource(**paths).load(connect())


def test_missing_file_is_named(tmp_path):
    reviews = write_lines(tmp_path / "r.json", [review_2014()])
    with pytest.raises(FileNotFoundError, match=r"metadata file .*nowhere.json does not exist"):
        AmazonReviewsSource(reviews, tmp_path / "nowhere.json").load(connect())


def test_first_of_several_metadata_records_counts(tmp_path):
    raw, _, items = load(tmp_path, [review_2014()], [META_2018, {**META_2018, "title": "Later"}])
    assert [item["title"] for item in items] == ["Rose & Honey Soap"]
    assert raw.skipped == {"metadata: repeated record of an item, the first one counts": 1}


def test_item_without_metadata_is_kept_without_a_title(tmp_path):
    raw, actions, items = load(tmp_path, [review_2014(), review_2014(item="b")])
    assert len(actions) == 2
    assert items[1] == {
        "source_id": "b",
        "title": None,
        "brand": "",
        "categories": [],
        "price": None,
        "description": "",
    }
    assert raw.noted == {"items: no metadata record, kept without a title": 1}


@pytest.mark.parametrize("title", [None, "", "  ", "<span></span>", "var aPageStart = (new Date()).getTime();", 5])
def test_item_with_no_usable_title_is_kept_with_what_it_has(tmp_path, title):
    raw, _, items = load(tmp_path, [review_2014()], [{**META_2018, "title": title}])
    assert (items[0]["title"], items[0]["brand"]) == (None, "Oakmere")
    assert raw.noted == {"items: no usable title, kept without one": 1}


def test_metadata_with_the_key_alone_is_enough(tmp_path):
    _, _, items = load(tmp_path, [review_2014()], [{"asin": "a"}])
    assert items[0]["categories"] == [] and items[0]["price"] is None


def test_metadata_of_unreviewed_items_is_left_out(tmp_path):
    _, _, items = load(tmp_path, [review_2014()], [META_2018, {**META_2018, "asin": "unsold"}])
    assert [item["source_id"] for item in items] == ["a"]


def test_metadata_of_another_category_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the 1 items in .* give the metadata file of the same category"):
        load(tmp_path, [review_2014(item="zzz")])


def test_parts_smaller_than_the_file_change_nothing(tmp_path, monkeypatch):
    reviews = [review_2014(f"u{number}") for number in range(25)]
    whole = load(tmp_path, reviews)[1]
    monkeypatch.setattr(records, "PART_RECORDS", 4)
    assert load(tmp_path, reviews)[1] == whole


def test_parts_of_limited_size_change_nothing(tmp_path, monkeypatch):
    reviews = [review_2014(f"u{number}") for number in range(25)]
    whole = load(tmp_path, reviews)[1]
    monkeypatch.setattr(records, "PART_CHARACTERS", 40)
    assert load(tmp_path, reviews)[1] == whole


def test_a_line_of_a_gzip_that_expands_beyond_the_limit_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"reviews file .*, line 2 is longer than 16,777,216 bytes .* shorten or remove"
    ):
        load(tmp_path, [review_2014(), b"x" * (2**24 + 1)])


@pytest.mark.parametrize("title", [
    "Multi Function (3-in-1) Charger <Black>", "T-Shirt <Small>", "Function (Deluxe Edition)",
    "Sine Function { Math } Mug", "var coffee = true; Mug", "Style <A>", "I <3 You", "Var = Tea",
    "The getTime Watch", "<Size = L> Sock", "JavaScript: the <script> tag explained", "<script> and <style> for All",
    "Understanding function(){ return this; }", "function(){} and Other Stories", "Mastering Date.getTime()",
    "The <!DOCTYPE html> Line", "HTML: <script>; <style>; CSS", "Learn <script> Tags (2nd Edition)",
])  # fmt: skip
def test_a_title_with_brackets_or_words_of_code_is_kept(tmp_path, title):
    assert load(tmp_path, [review_2014()], [{**META_2018, "title": title}])[2][0]["title"] == title


@pytest.mark.parametrize("title", [
    "function load(a, b) { return a; }", "(function() {\n  var x = 1;\n})();", "var ue_t0 = ue_t0||+new Date();",
    "<script>load()</script>", "<style type='text/css'>.a { color: red }", "<!DOCTYPE html>", "<SPAN CLASS=a></SPAN>",
    "<script type='text/javascript'> load", "var aPageStart = (new Date()).getTime();\nvar ue", "<script>", "<STYLE>",
    "<!doctype html>\n<html>", "<Br>", "<nobr></nobr>", "<x onclick=load()>", "<svg/onload=load()>", "<!-- note -->",
])  # fmt: skip
def test_a_leaked_script_or_markup_is_no_title(tmp_path, title):
    assert load(tmp_path, [review_2014()], [{**META_2018, "title": title}])[2][0]["title"] is None


@pytest.mark.parametrize(
    "title", ["Soap <script>load(1)</script>", "<script src=x.js></script> Soap", "Soap <style>.a { color: red }"]
)
def test_the_title_beside_a_script_is_kept(tmp_path, title):
    assert load(tmp_path, [review_2014()], [{**META_2018, "title": title}])[2][0]["title"] == "Soap"


@pytest.mark.parametrize(
    "price", [10**400, "9" * 401, "$" + "9" * 401, float("inf"), -1, "-1", [1], {}, True, "12,50"]
)
def test_a_price_that_is_no_amount_is_left_out(tmp_path, price):
    assert load(tmp_path, [review_2014()], [{**META_2018, "price": price}])[2][0]["price"] is None


HOSTILE = [
    b"{'reviewerID': 'u', ['asin']: 'a'}",
    b"{'reviewerID': 'u', {}: 'a'}",
    b"{'reviewerID': " + b"9" * 5000 + b"}",
    b'{"reviewerID": ' + b"9" * 5000 + b"}",
    b'{"reviewerID": "\\ud83d", "asin": ' + b"[" * 990 + b"]" * 990 + b"}",
    b"{'reviewerID': 'u' 'v' * 9}",
    b"{'a': 1" + b"+1" * 5000 + b"}",
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lines_are_counted_and_never_fatal(tmp_path, line):
    raw, actions, _ = load(tmp_path, [review_2014("u1"), line, review_2014("u2")])
    assert len(actions) == 2 and raw.skipped.total() == 1


def test_half_surrogates_in_keys_and_nested_categories_are_never_fatal(tmp_path):
    nested = ["Beauty"]
    for _ in range(400):
        nested = [nested]
    item = {**META_2018, "asin": "a\ud83d", "category": nested, "brand": "b\udc00"}
    _, actions, items = load(
        tmp_path, [review_2014(item="a\ud83d"), repr(review_2014(user="\U0000d83d", item="a\ud83d")).encode()], [item]
    )
    assert [action["source_id"] for action in actions] == ["a\ufffd"] * 2
    assert items[0]["categories"] == [] and items[0]["brand"] == "b\ufffd"


@pytest.mark.parametrize("rating", ["4_0", "1_0"])
def test_an_underscore_makes_no_number(tmp_path, rating):
    raw, _, _ = load(tmp_path, [review_2014(), review_2014(overall=rating)])
    assert raw.skipped == {"reviews: rating is no number": 1}


def test_real_files_of_2018(shared_data):
    folder = shared_data / "raw" / "amazon_2018"
    raw = AmazonReviewsSource(folder / "Gift_Cards_5.json.gz", folder / "meta_Gift_Cards.json.gz").load(connect())
    table = prepare_interactions(raw, min_count=1)
    assert (table.num_users, table.num_items, table.num_actions) == (458, 148, 2_972)
    assert raw.skipped.total() == raw.noted.total() == 0


def test_real_files_of_2014(shared_data):
    folder = shared_data / "raw" / "amazon_2014"
    source = AmazonReviewsSource(folder / "reviews_Digital_Music_5.json.gz", folder / "meta_Digital_Music.json.gz")
    raw = source.load(connect())
    everything = prepare_interactions(raw, min_count=1)
    assert (everything.num_items, everything.num_actions) == (382, 6_908)
    core = prepare_interactions(raw, min_count=5)
    assert (core.num_users, core.num_items, core.num_actions) == (268, 206, 2_480)
