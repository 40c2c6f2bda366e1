"""The Steam files of 2018 on small invented ones, in Python 2 literals as published."""

import gzip
import json

import pytest
from benchmark_world import hash_embed

from dataset_builders.building.build import build_benchmark
from dataset_builders.building.interactions import connect
from dataset_builders.building.sources import get_source
from dataset_builders.building.sources.steam import SteamSource, user_digest

REVIEW = {
    "username": "Moth & Lamp",
    "hours": 12.5,
    "products": 40.0,
    "product_id": "10",
    "page_order": 3,
    "date": "2017-12-17",
    "text": "A calm puzzle.",
    "early_access": False,
    "page": 1,
}
GAME = {
    "publisher": "Oakmere",
    "genres": ["Adventure", "Design &amp; Illustration"],
    "app_name": "Lantern Harbour",
    "title": "Lantern Harbour",
    "url": "http://store.example/app/10",
    "release_date": "2016-03-01",
    "tags": ["Puzzle", "Relaxing"],
    "discount_price": 3.0,
    "specs": ["Single-player", "Steam Cloud"],
    "price": 9.99,
    "early_access": False,
    "id": "10",
    "developer": "Oakmere",
    "sentiment": "Very Positive",
}


def python2(value) -> str:
    """repr() as Python 2 on a narrow build printed it: u before every text, ASCII only, emoji in two halves."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{python2(key)}: {python2(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(python2, value)) + "]"
    if isinstance(value, str):
        halves = value.encode("utf-16-be", "surrogatepass")
        units = (int.from_bytes(halves[place : place + 2], "big") for place in range(0, len(halves), 2))
        return "u'" + "".join(map(escaped, units)) + "'"
    return repr(value)


def escaped(unit: int) -> str:
    if chr(unit) in "\\'":
        return "\\" + chr(unit)
    if 32 <= unit < 127:
        return chr(unit)
    return f"\\x{unit:02x}" if unit < 256 else f"\\u{unit:04x}"


def without(record, *fields):
    return {name: value for name, value in record.items() if name not in fields}


def write_lines(path, records):
    lines = [record if isinstance(record, bytes) else python2(record).encode("ascii") for record in records]
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return path


def load(tmp_path, reviews, games=(GAME,)):
    source = SteamSource(
        write_lines(tmp_path / "steam_reviews.json.gz", reviews), write_lines(tmp_path / "steam_games.json.gz", games)
    )
    raw = source.load(connect())
    return (
        raw,
        raw.interactions.order_by("row").to_pyarrow().to_pylist(),
        raw.items.order_by("source_id").to_pyarrow().to_pylist(),
    )


def test_the_fixture_is_written_as_python_2_wrote_it():
    assert python2({"a": ["é’😀", "it's", 1.5, False]}) == r"{u'a': [u'\xe9\u2019\ud83d\ude00', u'it\'s', 1.5, False]}"


def test_review_and_game_become_an_action_and_an_item(tmp_path):
    raw, actions, items = load(tmp_path, [REVIEW])
    assert actions == [
        {
            "user_id": user_digest("Moth & Lamp"),
            "source_id": "10",
            "timestamp": 1_513_468_800,
            "rating": None,
            "review": "A calm puzzle.",
            "row": 0,
        }
    ]
    assert items == [
        {
            "source_id": "10",
            "title": "Lantern Harbour",
            "brand": "Oakmere",
            "categories": ["Adventure", "Design & Illustration"],
            "price": 9.99,
            "description": "specs: Single-player, Steam Cloud; tags: Puzzle, Relaxing; sentiment: Very Positive",
        }
    ]
    assert raw.skipped.total() == raw.noted.total() == 0


def test_every_user_keeps_the_review_they_wrote(tmp_path):
    reviews = [{**REVIEW, "username": name, "text": f"By {name}."} for name in ("ann", "bob", "cy")]
    _, actions, _ = load(tmp_path, reviews)
    assert [(action["user_id"], action["review"]) for action in actions] == [
        (user_digest("ann"), "By ann."),
        (user_digest("bob"), "By bob."),
        (user_digest("cy"), "By cy."),
    ]


def test_users_are_told_apart_by_name_because_many_reviews_lack_the_id(tmp_path):
    _, actions, _ = load(tmp_path, [{**REVIEW, "user_id": "7656"}, REVIEW])
    assert {action["user_id"] for action in actions} == {user_digest("Moth & Lamp")}


def test_no_name_of_a_person_reaches_the_tables(tmp_path):
    raw, _, _ = load(tmp_path, [REVIEW])
    assert "Moth" not in repr(raw.interactions.to_pyarrow().to_pylist())


@pytest.mark.parametrize("text", ["naïve, 日本", "great 😀", "quote \" and ' both", "back\\slash"])
def test_texts_survive_the_literals_of_python_2(tmp_path, text):
    _, actions, _ = load(tmp_path, [{**REVIEW, "text": text}])
    assert actions[0]["review"] == text


def test_half_an_emoji_is_replaced_not_fatal(tmp_path):
    _, actions, _ = load(tmp_path, [{**REVIEW, "text": "cut \ud83d"}])
    assert actions[0]["review"] == "cut \ufffd"


def test_half_an_emoji_in_json_is_replaced_too(tmp_path):
    _, actions, _ = load(tmp_path, [json.dumps({**REVIEW, "text": "cut \ud83d, whole 😀"}).encode()])
    assert actions[0]["review"] == "cut \ufffd, whole 😀"


@pytest.mark.parametrize(
    ("price", "expected"),
    [(4.99, 4.99), ("Free To Play", 0.0), ("Free", 0.0), ("Play for Free!", 0.0), ("Install Now", None), (..., None)],
)
def test_price_is_a_number_or_free_or_unknown(tmp_path, price, expected):
    game = without(GAME, "price") if price is ... else {**GAME, "price": price}
    _, _, items = load(tmp_path, [REVIEW], [game])
    assert items[0]["price"] == expected


def test_game_without_a_title_takes_the_name_of_the_app(tmp_path):
    _, _, items = load(tmp_path, [REVIEW], [{**without(GAME, "title"), "app_name": "Harbour"}])
    assert items[0]["title"] == "Harbour"


def test_game_with_an_id_alone_is_kept_without_the_rest(tmp_path):
    raw, _, items = load(tmp_path, [REVIEW], [{"id": "10"}])
    assert items == [
        {"source_id": "10", "title": None, "brand": "", "categories": [], "price": None, "description": ""}
    ]
    assert raw.noted == {"items: no usable title, kept without one": 1}


def test_reviewed_game_without_a_record_is_kept(tmp_path):
    raw, _, items = load(tmp_path, [REVIEW, {**REVIEW, "product_id": "11"}])
    assert [item["title"] for item in items] == ["Lantern Harbour", None]
    assert raw.noted == {"items: no metadata record, kept without a title": 1}


BAD_REVIEWS = [
    (b"{u'username': u'ann', u'product_id':", "malformed line"),
    (b"{u'username': __import__('os').getcwd()}", "malformed line"),
    (b"\xff\xfe", "malformed line"),
    (without(REVIEW, "username"), "a required field is missing"),
    (without(REVIEW, "product_id"), "a required field is missing"),
    (without(REVIEW, "date"), "a required field is missing"),
    ({**REVIEW, "username": None}, "user or item is no text"),
    ({**REVIEW, "username": " "}, "user or item is no text"),
    ({**REVIEW, "product_id": 10}, "user or item is no text"),
    ({**REVIEW, "date": "17 December"}, "date is no date"),
    ({**REVIEW, "date": None}, "date is no date"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_REVIEWS, ids=range(len(BAD_REVIEWS)))
def test_single_bad_review_is_skipped_and_counted_by_its_reason(tmp_path, bad, reason):
    raw, actions, _ = load(tmp_path, [{**REVIEW, "username": "u1"}, bad, {**REVIEW, "username": "u2"}])
    assert [(action["user_id"], action["row"]) for action in actions] == [
        (user_digest("u1"), 0),
        (user_digest("u2"), 2),
    ]
    assert raw.skipped == {f"reviews: {reason}": 1}


def test_review_without_text_is_an_action_without_a_review(tmp_path):
    _, actions, _ = load(tmp_path, [without(REVIEW, "text"), {**REVIEW, "text": ""}])
    assert [action["review"] for action in actions] == [None, None]


def test_bad_game_is_skipped_and_counted(tmp_path):
    raw, _, items = load(tmp_path, [REVIEW], [GAME, {**GAME, "id": 11}])
    assert len(items) == 1 and raw.skipped == {"games: item is no text": 1}


@pytest.mark.parametrize(
    ("reviews", "games", "label"), [([GAME] * 3, [GAME], "reviews"), ([REVIEW], [REVIEW], "games")]
)
def test_files_given_the_wrong_way_round_are_refused(tmp_path, reviews, games, label):
    with pytest.raises(ValueError, match=f"unusable as {label} .* in the layout of Kang and McAuley 2018"):
        load(tmp_path, reviews, games)


def test_games_of_another_shop_are_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the 1 items in .*steam_reviews.json.gz has a record in"):
        load(tmp_path, [REVIEW], [{**GAME, "id": "99"}])


def test_cut_off_file_names_the_way_out(tmp_path):
    source = SteamSource(
        write_lines(tmp_path / "r.json.gz", [{**REVIEW, "username": f"u{number}"} for number in range(500)]),
        write_lines(tmp_path / "g.json.gz", [GAME]),
    )
    source.reviews.write_bytes(source.reviews.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"reviews file .* is damaged or cut off .* download it again"):
        source.load(connect())


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="games file .*nowhere.json.gz does not exist"):
        SteamSource(write_lines(tmp_path / "r.json.gz", [REVIEW]), tmp_path / "nowhere.json.gz").load(connect())


def test_inputs_are_the_two_files(tmp_path):
    source = get_source("steam", reviews=str(tmp_path / "r"), games=str(tmp_path / "g"))
    assert source.inputs() == {"reviews": tmp_path / "r", "games": tmp_path / "g"}


def test_toy_dump_becomes_a_benchmark(tmp_path):
    # Six players review all of six games, one a day, each from another game on; the first two share their day.
    games = [{**GAME, "id": str(10 + place), "title": f"Game {place}", "tags": [f"tag{place}"]} for place in range(6)]
    reviews = [
        {
            **REVIEW,
            "username": f"p{player}",
            "product_id": str(10 + (player + day) % 6),
            "date": f"2017-01-0{max(day, 1)}",
        }
        for player in range(6)
        for day in range(6)
    ]
    source = SteamSource(
        write_lines(tmp_path / "steam_reviews.json.gz", reviews), write_lines(tmp_path / "steam_games.json.gz", games)
    )
    report = build_benchmark(source, "steam", tmp_path / "steam", hash_embed, progress=False)
    assert (report.num_users, report.num_items, report.num_actions) == (6, 6, 36)
    assert report.rows["steam_recommendation"]["test"] == 6
