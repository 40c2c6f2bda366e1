"""The estimate of a run: what it counts is what a run then sends, and its prices can be checked by hand."""

import json
from pathlib import Path

import pytest
from benchmark_world import item
from tiny_models import tokenizer

from dataset_builders.building.preferences.approximation import PastItem
from dataset_builders.building.preferences.llm.estimate import (
    CHARACTERS_PER_TOKEN,
    Estimate,
    Prices,
    common_prefix,
    estimate,
    tokenizer_of,
)
from dataset_builders.building.preferences.llm.journal_lines import Entry
from dataset_builders.building.preferences.llm.prompts import PROMPTS, request_digest
from dataset_builders.building.preferences.llm.replies import Usage
from dataset_builders.building.preferences.llm.work import Work, preference_work

FIVE = ("Look for a", "Prefer b", "Search for c", "Opt for d", "Avoid e")
JOURNAL = Path("j.jsonl")


def request(user, position, text):
    return Work((user, position), [{"role": "user", "content": text}])


def entry(work, answer=FIVE, **fields):
    return Entry(work.key, request_digest(work.messages), answer, **fields)


WORK = [
    request("anna", 1, "abcd"),
    request("anna", 2, "abcdefgh"),
    request("anna", 3, "abxxxxxx"),
    request("bo", 1, "abyy"),
]


def test_lengths_shared_beginnings_users_and_moved_windows_are_counted():
    found = estimate(WORK, {}, JOURNAL, max_items=2)
    assert (found.total, found.known, found.requests, found.users, found.moved) == (4, 0, 4, 2, 1)
    assert (found.length, found.shared) == (4 + 8 + 8 + 4, 0 + 4 + 2 + 2)
    assert (found.prompt_tokens, found.cached_tokens) == (24 / CHARACTERS_PER_TOKEN, 8 / CHARACTERS_PER_TOKEN)


def test_what_the_journal_holds_is_left_out_and_its_tokens_are_the_measure():
    known = {
        WORK[0].key: entry(WORK[0], usage=Usage(4, 30, 0), attempts=2),  # 4 characters are 2 tokens, read twice
        WORK[1].key: entry(WORK[1], None, failure="empty", usage=Usage(4, 50, 0)),  # 8 are 4
    }
    found = estimate(WORK, known, JOURNAL, max_items=5)
    assert (found.known, found.requests, found.measured) == (2, 2, 2)
    assert found.characters_per_token == 2 and found.prompt_tokens == (8 + 4) / 2
    assert found.completion_tokens == 2 * (30 + 50) / 2
    again = estimate(WORK, known, JOURNAL, max_items=5, retry_failures=True)
    assert (again.known, again.requests) == (1, 3)


def test_a_journal_of_other_data_is_refused():
    known = {WORK[1].key: entry(request("anna", 2, "other"))}
    with pytest.raises(ValueError, match=r"j\.jsonl was asked about other items or reviews .* user anna, position 2"):
        estimate(WORK, known, JOURNAL, max_items=5)


def test_the_price_is_that_of_fresh_cached_and_written_tokens():
    found = Estimate(True, total=10, length=4_000_000, shared=3_000_000, measured=1, measured_completion=100_000)
    with_cache, without = found.price(Prices(prompt=2.0, cached=0.5, completion=4.0))
    assert (with_cache, without) == (1 * 2 + 3 * 0.5 + 1 * 4, 4 * 2 + 1 * 4)
    assert "price: 7.50 with such a cache, 12.00 without" in found.summary(512, Prices(2.0, 0.5, 4.0))


def test_an_estimate_of_nothing_has_a_summary():
    assert "prompts: 0 tokens" in estimate([], {}, JOURNAL, 5).summary(None, Prices(1, 1, 1))


def test_a_tokenizer_counts_what_it_is_given_without_its_own_specials(tmp_path):
    tokenizer("bert").save_pretrained(tmp_path)
    encode = tokenizer_of(str(tmp_path))
    text = "one two three"
    assert len(encode(text)) == 3
    found = estimate([request("anna", 1, text), request("anna", 2, f"{text} four")], {}, JOURNAL, 5, encode=encode)
    assert (found.prompt_tokens, found.cached_tokens) == (7, 3)
    assert "7 tokens (of the tokenizer)" in found.summary(512)


def test_a_folder_without_a_tokenizer_is_named_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=rf"--tokenizer {tmp_path} .*leave it out to count characters"):
        tokenizer_of(str(tmp_path))


def test_the_shared_beginning_of_real_prompts_ends_where_the_slow_count_ends():
    events = [PastItem(item(n, f"Item {n}"), 5.0, f"review {n} " * n) for n in range(1, 8)]
    texts = [
        "\n".join(message["content"] for message in work.messages)
        for work in preference_work([("anna", events)], PROMPTS["default"], 4, 100)
    ]
    for before, text in zip(texts, texts[1:], strict=False):
        slow = next(n for n, pair in enumerate(zip(before, text, strict=False)) if pair[0] != pair[1])
        assert common_prefix(before, text) == slow
    assert json.loads(texts[0].splitlines()[1])["products"][0]["title"] == "Item 1"


def test_a_tokenizer_that_brings_code_of_its_own_counts_without_running_it(tmp_path):
    tokenizer("bert").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd"}}')
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["odd.Odd", "odd.Odd"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    assert len(tokenizer_of(str(tmp_path))("red tea")) > 0
    assert not (tmp_path / "ran").exists()


def test_a_damaged_tokenizer_is_named_with_the_way_out(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 5}')
    with pytest.raises(ValueError, match=rf"--tokenizer {tmp_path} has no tokenizer.json that can be read"):
        tokenizer_of(str(tmp_path))
