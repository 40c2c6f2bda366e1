"""Replies: five strings, or one named reason; most broken ones below were written by a small real model."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_builders.building.preferences.approximation import check_five
from dataset_builders.building.preferences.llm.parsing import (
    MAX_CHARACTERS,
    MAX_REPLY_CHARACTERS,
    REASONS,
    ParseFailure,
    parse_preferences,
    parse_properties,
)

GOOD = ["Look for shimmer", "Prefer mild soap", "Avoid harsh scents", "Find rich creams", "Avoid sweet candles"]


def reply(*entries, key="instructions"):
    return json.dumps({key: list(entries)}, ensure_ascii=False)


# By SmolLM2-135M-Instruct about invented products, shortened; each fails for the reason for which the whole reply did.
# Only the words of the first are ours: the model did this with a real review.
REAL = [
    ("duplicate_key", '{"products": [{"title": "Coral Lacquer", "rating": 5, "price": "$6.50", "rating": 3}]}'),
    ("missing_key", '{"products": [{"title": "Glimmerleaf Nail Lacquer, Coral", "brand": "Oakmoth", "rating": 5}]}'),
    ("not_json", '"JSON: [\n{\n    "product_id": "Glimmerleaf Nail Lacquer, Coral",\n    "price": "$6.50"\n}\n]\n```'),
    ("not_json", '"{"products": [{"title": "Brisk Pine Bar Soap", "rating": 2}]}\n\nThe JSON object is:\n{"pro'),
    ("not_json", 'JSON\n{\n    "products": [\n        {\n            "title": "Glimmerleaf Nail Lacquer, Coral"'),
    ("not_json", "Here is a Python list of five short search instructions with single quotes:\n\n```python\nsearch"),
    ("not_json", '**Demonstrative Instructions**\n\n"SELF-SUFFINESS"\n\nThis is a very short list of five.'),
    ("not_json", '"http://data.json/json/nice-nice-nice-nice-nice-nice-nice-nice-nice-nice-nice-nice-nice-nice'),
    ("not_object", '"Your order: Glimmerleaf Nail Lacquer, Coral, $6.50, 5 stars"'),
    ("code_fence", "```python\nimport json\n\ndef get_json_data(json_data):\n    data = json.dumps(json_data)\n```"),
    ("trailing_text", '{\n    "id": 1,\n    "name": "Awesome, thanks for your help!"\n}\n\nThe JSON object is:\n{\n'),
    (
        "trailing_text",
        '{"products": [{"title": "Coral"}]}\n\nThis JSON object contains five different strings that are',
    ),
    (
        "invalid_json",
        '{"products": [{"title": "Brisk Pine Bar Soap", "rating": 2}\n}}\n\nThe user message holds a JSON',
    ),
    ("invalid_json", '{"reviews": [\n {"rating": 3, "review": "Bright shimmer.",\n },\n {\n "review": "Bright'),
    ("truncated", '{"products": [{"title": "Lacquer", "review": "Smells of fish. Smells of fish. Smells of fish. Sm'),
    (
        "truncated",
        '{"instructions":[\n    "1. Glimmerleaf Nail Lacquer, Coral",\n    "2. Oakmoth, Cedar, Gold, Gold, G',
    ),
    (
        "truncated",
        '{\n  "id": "1234567890",\n  "items": [\n    {\n      "title": "Brisk Pine Bar Soap",\n      "rating":',
    ),
    (
        "one_word",
        '{"instructions":[\n    "Glimmerleaf Nail Lacquer, Coral","products","Beauty","Bath","Oakmoth,"\n  ]}',
    ),
    (
        "one_word",
        '{\n  "instructions": [\n    "Brisk Pine Bar Soap",\n    "Oakmoth, ",\n  "Bark, ",\n  "Oakmoth, "\n  ]\n}',
    ),
    (
        "duplicate_entry",
        '{\n  "instructions": [\n    "Brisk Pine Bar Soap",\n    "Glimmerleaf Nail Lacquer, Coral",\n    '
        '"Oakmoth, Breeze Pine Bar Soap",\n    "Oakmoth, Breeze Pine Bar Soap",\n    "Oakmoth, Breeze Pine Bar Soap"\n'
        "  ]\n}",
    ),
]
MADE = [
    ("empty", ""),
    ("empty", " \n\t"),
    ("reply_too_long", "x" * (MAX_REPLY_CHARACTERS + 1)),
    ("code_fence", f"```json\n{reply(*GOOD)}\n```"),
    ("not_json", f"Here are the instructions: {reply(*GOOD)}"),
    ("not_json", "I am sorry, but I cannot help with that."),
    ("not_json", "\ufeff" + reply(*GOOD)),
    ("not_json", "instructions:\n- Look for shimmer\n- Avoid harsh scents"),
    ("single_quotes", str({"instructions": GOOD})),
    ("single_quotes", str(GOOD)),
    ("truncated", reply(*GOOD)[:-1]),
    ("truncated", reply(*GOOD)[:40]),
    ("truncated", "{"),
    ("trailing_text", reply(*GOOD) + "\nI hope this helps!"),
    ("trailing_text", reply(*GOOD) + reply(*GOOD)),
    ("trailing_text", reply(*GOOD) + "}"),
    ("invalid_json", reply(*GOOD).replace("]", ",]")),
    ("invalid_json", "{instructions: []}"),
    ("invalid_json", "[" * 15_000),
    ("control_character", reply(*GOOD).replace("mild soap", "mild\nsoap")),
    ("control_character", reply(*GOOD).replace("mild soap", "mild\\nsoap")),
    ("control_character", reply(*GOOD).replace("mild soap", "mild \\u0000 soap")),
    ("control_character", reply(*GOOD).replace("mild soap", "mild \\ud83d soap")),
    ("control_character", reply(*GOOD[:4], "Avoid\u2028line breaks")),
    ("duplicate_key", '{"instructions": [], ' + reply(*GOOD)[1:]),
    ("not_finite", '{"instructions": NaN}'),
    ("not_finite", '{"instructions": [-Infinity]}'),
    ("not_object", json.dumps(GOOD)),
    ("not_object", json.dumps([{"instructions": GOOD}])),
    ("not_object", "null"),
    ("not_object", "5"),
    ("not_object", json.dumps(reply(*GOOD))),
    ("missing_key", reply(*GOOD, key="Instructions")),
    ("missing_key", json.dumps({"products": {"instructions": GOOD}})),
    ("missing_key", "{}"),
    ("unknown_key", json.dumps({"instructions": GOOD, "explanation": "They like soap."})),
    ("not_array", json.dumps({"instructions": "Look for shimmer"})),
    ("not_array", json.dumps({"instructions": dict(enumerate(GOOD))})),
    ("not_array", '{"instructions": null}'),
    ("not_array", '{"instructions": ' + "9" * 5000 + "}"),
    ("nested_entry", reply(GOOD)),
    ("nested_entry", reply(*({"instruction": text} for text in GOOD))),
    ("null_entry", reply(*GOOD[:4], None)),
    ("not_string", reply(*GOOD[:4], 5)),
    ("not_string", reply(*GOOD[:4], True)),
    ("blank_entry", reply(*GOOD[:4], "  ")),
    ("one_word", reply(*GOOD[:4], " Shimmer ")),
    ("entry_too_long", reply(*GOOD[:4], "Look for " + "very " * (MAX_CHARACTERS // 5) + "mild soap")),
    ("not_latin", reply("寻找 闪光 指甲油", "选择 温和 香皂", "避免 刺鼻 气味", "寻找 护手霜", "避免 甜 蜡烛")),
    ("not_latin", reply("寻找闪光指甲油", "选择温和香皂", "避免刺鼻气味", "寻找护手霜", "避免甜蜡烛")),
    ("not_latin", reply("Ищите лак с блеском", "Ищите мягкое мыло", "Без запаха", "Ищите крем", "Без сладких свечей")),
    ("too_few", reply(*GOOD[:4])),
    ("too_few", reply()),
    ("too_many", reply(*GOOD, "Look for frogs")),
    ("duplicate_entry", reply(*GOOD[:4], " look for SHIMMER")),
]


@pytest.mark.parametrize(("reason", "text"), REAL + MADE)
def test_a_broken_reply_fails_for_its_own_reason(reason, text):
    with pytest.raises(ParseFailure) as failure:
        parse_preferences(text)
    assert failure.value.reason == reason and failure.value.reply == text


def test_every_reason_has_an_example():
    assert {reason for reason, _ in REAL + MADE} == set(REASONS)


@pytest.mark.parametrize(
    "text",
    [
        reply(*GOOD),
        f"\n\n {reply(*GOOD)}\t\n",
        json.dumps({"instructions": GOOD}, indent=4),
        reply(*(f"  {text} " for text in GOOD)),
        json.dumps({"instructions": GOOD}).replace("Look", "\\u004cook"),
    ],
)
def test_white_space_and_escapes_change_nothing(text):
    assert list(parse_preferences(text)) == GOOD


def test_another_language_in_latin_script_passes_as_it_is():
    german = ("Suche nach Glanz", "Bevorzuge milde Seife", "Meide Düfte", "Finde Cremes", "Meide süße Kerzen")
    assert parse_preferences(reply(*german)) == german


def test_a_few_letters_of_another_script_do_no_harm():
    assert parse_preferences(reply(*GOOD[:4], "Look for Кино films 🎬"))[4] == "Look for Кино films 🎬"


def test_a_reply_that_obeys_a_review_is_five_strings_or_a_failure():
    with pytest.raises(ParseFailure):
        parse_preferences("Frogs leap and croak\nin ponds so green")
    # Form is all that a parser can see: what such strings say must be read by eye.
    assert (
        len(parse_preferences(reply("Buy frogs now", "Buy more frogs", "Praise frogs", "Love frogs", "Avoid toads")))
        == 5
    )


@given(
    st.text(max_size=60) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)
)
def test_any_reply_is_read_or_fails_by_name(text):
    for parse in (parse_preferences, parse_properties):
        try:
            parse(text)
        except ParseFailure as failure:
            assert failure.reason in REASONS


@given(st.lists(st.text(max_size=30), max_size=7))
def test_what_is_read_is_what_was_written_and_what_a_benchmark_takes(entries):
    try:
        five = parse_preferences(reply(*entries))
    except ParseFailure:
        return
    assert list(five) == [entry.strip() for entry in entries]
    check_five(five)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("too_few", reply(key="properties")),
        ("too_many", reply(*(f"property {number}" for number in range(11)), key="properties")),
        ("missing_key", reply("round", key="instructions")),
        ("not_object", '["round"]'),
        ("duplicate_entry", reply("round", "Round", key="properties")),
        ("blank_entry", reply("round", "", key="properties")),
        ("not_latin", reply("圆形", key="properties")),
    ],
)
def test_properties_fail_for_the_same_reasons(reason, text):
    with pytest.raises(ParseFailure) as failure:
        parse_properties(text)
    assert failure.value.reason == reason


def test_one_to_ten_properties_of_any_number_of_words_are_read():
    assert parse_properties(reply("round", key="properties")) == ("round",)
    ten = tuple(f"property {number}" for number in range(10))
    assert parse_properties(reply(*ten, key="properties")) == ten


def test_nothing_is_ever_evaluated(monkeypatch):
    monkeypatch.setattr("builtins.eval", lambda *_: pytest.fail("a reply was evaluated"))
    with pytest.raises(ParseFailure):
        parse_preferences("__import__('os').getcwd()")
