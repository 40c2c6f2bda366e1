"""Foreign JSON and YAML: what is valid is read as the libraries read it, all else is one named error."""

import contextlib
import json
import time

import pytest
import yaml

from dataset_builders.bounded_parsing import UnreadableFile, parse_json, parse_yaml, read_bounded
from dataset_builders.typed_arguments import shown

LETTERS = "abcdefghi"
EXPANDING = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip(LETTERS, LETTERS[1:], strict=False)
)
BROKEN_YAML = [
    (EXPANDING, "alias"), ("[" * 5000, "nested"), ("- " * 3000, "nested"), ("? " * 3000, "nested"),
    ("a: a: a:", "no YAML"),
    ("? [1, 2]\n: 3", "unhashable"), ("a: 2026-99-99", "month"), ("a: .inf", "finite"), ("a: .nan", "finite"),
    ("a: 1\na: 2", "'a' is set twice"), ("- !!python/object:os.system x", "constructor"), ("a: !!int x", "no YAML"),
    ("a: !!binary é", "no YAML"), ("\x00", "no YAML"), ('a: "\\ud800"', "surrogate"), ("a: " + "9" * 6000, "no YAML"),
    ("<<: 3", "no YAML"), ("a: !!set [1]", "no YAML"), ("!!timestamp x", "no YAML"), ("--- 1\n--- 2", "no YAML"),
    ("a" * 300_001, "300,000 bytes"), ("a: !!int 010", "no decimal number"), ("a: !!float 1:30", "no decimal number"),
    ("a: !!int 1" + ":1" * 100_000, "characters"), ("a: " + "9" * 301, "301 characters"),
    ("[" + "1," * 20_000 + "]", "20,000 keys and values"), ("k: v\n" * 20_000, "20,000 keys and values"),
    (f"{2**61 - 1}: a", "too large a number for a key"),
]  # fmt: skip
BROKEN_JSON = [
    ("[" * 100_000, "nested"), ("[" * 51 + "]" * 51, "nested more than 50"), ('{"a": NaN}', "finite"),
    ("1e999", "finite"), ("9" * 6000, "no JSON"), ('"\\ud800"', "surrogate"), (b"\xff", "no JSON"), ("", "no JSON"),
    ('{"a": {"b": 1, "b": 1}}', "'b' is set twice"), ("[1,]", "no JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), BROKEN_YAML)
def test_broken_yaml_is_refused_with_its_reason(text, reason):
    with pytest.raises(UnreadableFile, match=reason) as caught:
        parse_yaml(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("text", "reason"), BROKEN_JSON)
def test_broken_json_is_refused_with_its_reason(text, reason):
    with pytest.raises(UnreadableFile, match=reason):
        parse_json(text)


@pytest.mark.parametrize("value", [None, 3, "x: y", [], {"a": [{"b": None}, 1.5, True]}, {"é": "\U0001f3b5"}])
def test_what_is_valid_is_read_as_by_the_libraries(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-5", -5), ("+5", 5), ("1_000", 1000), ("0.5", 0.5), (".5", 0.5), ("1.", 1.0), ("2.0e-3", 0.002),
        ("3e-4", "3e-4"), ("010", "010"), ("0o10", "0o10"), ("0x1F", "0x1F"), ("0b1", "0b1"), ("1:30", "1:30"),
        ("1:30.5", "1:30.5"), ("1e5", "1e5"), ("00", "00"), ("yes", True), ("!!int '7'", 7), ("!!float 3", 3.0),
        ("1" + ":1" * 100_000, "1" + ":1" * 100_000), ("9" * 300, int("9" * 300)),
    ],
)  # fmt: skip
def test_numbers_of_yaml_are_decimal_and_all_else_is_text(text, value):
    read = parse_yaml(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "- value: 1" + ":1" * 145_000, "[" + "1," * 149_000 + "]", "".join(f"k{row}: 1\n" for row in range(9_900)),
        "".join(f"{row * (2**61 - 1)}: 1\n" for row in range(9_000)), "a:\n" + "  x\n" * 70_000, "[" * 290_000,
        "a: '" + "x y " * 70_000 + "'", "#\n" * 145_000, "? " * 140_000, "a: 2026-01-01 1:1:1." + "1" * 280_000 + "x",
    ],
    ids=["base 60", "entries", "keys", "equal hashes", "lines", "deep", "words", "comments", "deep keys", "date"],
)  # fmt: skip
def test_no_text_of_yaml_takes_long(text):
    started = time.process_time()
    with contextlib.suppress(UnreadableFile):
        parse_yaml(text)
    assert time.process_time() - started < 4  # about one second; machines differ


@pytest.mark.parametrize("value", [[10**5000], (10**5000,), {"a": 10**5000}, "x" * 10_000, [[[0] * 1000] * 1000]])
def test_a_value_of_any_size_is_shown_in_one_short_line(value):
    assert len(shown(value)) < 200 and "\n" not in shown(value)


def test_a_file_is_read_within_its_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_bounded(path) == "{}"
    with pytest.raises(UnreadableFile, match="more than 3 bytes"):
        read_bounded(path, max_bytes=3)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(UnreadableFile, match="not UTF-8 .* at byte 3"):
        read_bounded(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        read_bounded(tmp_path)
