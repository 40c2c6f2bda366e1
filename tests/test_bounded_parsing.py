"""Foreign JSON and YAML: what is valid is read as the libraries read it, all else is one named error."""

import json

import pytest
import yaml

from dataset_builders.bounded_parsing import UnreadableFile, parse_json, parse_yaml, read_bounded

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
    ("a" * 1_000_001, "1,000,000 bytes"),
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
