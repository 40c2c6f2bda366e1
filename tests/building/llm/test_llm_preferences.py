"""Preferences by a language model: nothing asked twice, nothing leaked, everything counted."""

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from benchmark_world import item, sequences
from fake_endpoint import Answer, FakeEndpoint, five
from hypothesis import given
from hypothesis import strategies as st

from dataset_builders.building.preferences.approximation import PastItem, PreferenceApproximator
from dataset_builders.building.preferences.llm.endpoint import EndpointError
from dataset_builders.building.preferences.llm.endpoint_settings import EndpointSettings
from dataset_builders.building.preferences.llm.estimate import common_prefix
from dataset_builders.building.preferences.llm.journal import Journal, read_journal
from dataset_builders.building.preferences.llm.journal_approximator import JournalApproximator
from dataset_builders.building.preferences.llm.journal_lines import Entry
from dataset_builders.building.preferences.llm.parsing import parse_preferences
from dataset_builders.building.preferences.llm.prompts import PROMPTS, answer_schema, request_digest
from dataset_builders.building.preferences.llm.property_table import write_properties
from dataset_builders.building.preferences.llm.replies import Usage
from dataset_builders.building.preferences.llm.run import Asked, RunCounts, check_answered, journal_header, run
from dataset_builders.building.preferences.llm.work import (
    check_shard,
    preference_work,
    property_work,
    shard_of,
    training_reviews,
)
from dataset_builders.building.preferences.table import approximate_preferences

PROMPT = PROMPTS["default"]
LIMITS = (PROMPT, 3, 100)


def events(user, count):
    return [PastItem(item(n, f"Item {n}"), 5.0, f"{user} on item {n}") for n in range(1, count + 1)]


REASONING = json.dumps(
    {
        "choices": [
            {"finish_reason": "length", "message": {"content": None, "reasoning_content": "Hm, five"}},
        ]
    }
)
REFUSAL = json.dumps({"choices": [{"message": {"content": None, "refusal": "I cannot help"}}]})
TOOL_CALL = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [{"function": {"name": "lookup"}}]}}]})
USERS = [("anna", events("anna", 5)), ("bert", events("bert", 3))]
NUM_POSITIONS = 8


def header(prompt=PROMPT, **options):
    settings = EndpointSettings("http://x/v1", options.pop("model", "toy"), **options)
    return journal_header("toy", settings, prompt, seed=0, max_items=3, max_review_characters=100)


def ask(path, server, users=USERS, settings=None, work=None, **options):
    """One whole run on a journal."""
    url = getattr(server, "base_url", server)
    endpoint = EndpointSettings(url, "toy", **{"backoff": 0.001, "timeout": 5.0, **(settings or {})})
    counts = options.setdefault("counts", RunCounts())
    with Journal(path, header()) as journal:
        work = preference_work(users, *LIMITS) if work is None else work
        run(endpoint, work, journal, progress=False, **options)
    return counts


def shown(request):
    """Titles that a request shows."""
    products = json.loads(request["messages"][-1]["content"].splitlines()[0])["products"]
    return [product["title"] for product in products]


def test_every_position_is_asked_for_once_with_the_window_that_ends_there(tmp_path):
    with FakeEndpoint() as server:
        counts = ask(tmp_path / "j.jsonl", server, concurrency=1)
    assert [shown(request) for request in server.requests] == [
        ["Item 1"],
        ["Item 1", "Item 2"],
        ["Item 1", "Item 2", "Item 3"],
        ["Item 2", "Item 3", "Item 4"],
        ["Item 3", "Item 4", "Item 5"],
        ["Item 1"],
        ["Item 1", "Item 2"],
        ["Item 1", "Item 2", "Item 3"],
    ]
    assert (counts.total, counts.answered, counts.replies) == (NUM_POSITIONS,) * 3
    entries = read_journal(tmp_path / "j.jsonl").entries
    assert sorted(entries) == [("anna", t) for t in range(1, 6)] + [("bert", t) for t in range(1, 4)]
    for request in server.requests:
        assert any(e.answer == tuple(json.loads(five(request))["instructions"]) for e in entries.values())


def test_a_run_on_a_finished_journal_asks_nothing(tmp_path):
    with FakeEndpoint() as server:
        ask(tmp_path / "j.jsonl", server)
        before = (tmp_path / "j.jsonl").read_bytes()
        counts = ask(tmp_path / "j.jsonl", server)
    assert len(server.requests) == NUM_POSITIONS
    assert (counts.known, counts.answered, counts.replies) == (NUM_POSITIONS, 0, 0)
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_requests_in_flight_are_bounded_and_work_is_read_lazily(tmp_path):
    users = [(f"u{n}", events(f"u{n}", 2)) for n in range(20)]
    handed_out = []

    def work():
        for task in preference_work(users, *LIMITS):
            handed_out.append(task)
            yield task

    ahead = []

    def behave(number, request):
        ahead.append(len(handed_out) - number)
        return Answer(seconds=0.01)

    with FakeEndpoint(behave) as server:
        ask(tmp_path / "j.jsonl", server, work=work(), concurrency=4)
    assert 2 <= server.most_in_flight <= 4 and len(server.requests) == 40
    assert max(ahead) <= 4 * 2 + 1  # four users, and the first request of the next, which ends the fourth


def test_many_users_side_by_side_take_the_time_of_one(tmp_path):
    users = [(f"u{n}", events(f"u{n}", 1)) for n in range(30)]
    with FakeEndpoint(lambda number, request: Answer(seconds=0.5)) as server:
        start = time.monotonic()
        ask(tmp_path / "j.jsonl", server, users=users, concurrency=30)
    assert time.monotonic() - start < 5  # 15 s one after the other


def test_requests_of_a_user_wait_for_each_other_and_those_of_other_users_do_not(tmp_path):
    users = [(name, events(name, 6)) for name in ("anna", "bert", "cleo", "dora")]
    log = []

    def user_of(request):
        return request["messages"][-1]["content"].partition('"review": "')[2].partition(" ")[0]

    def behave(number, request):
        log.append((user_of(request), len(shown(request))))
        return Answer(seconds=0.02)

    with FakeEndpoint(behave) as server:
        run(
            EndpointSettings(server.base_url, "toy"),
            preference_work(users, PROMPT, 6, 100),
            NoJournal(),
            concurrency=2,
            progress=False,
            asked=Asked("preferences", answer_schema("preferences"), parse_preferences, 0),
        )
    assert server.most_in_flight == 2 and len(log) == 24
    for name, _ in users:
        assert [position for user, position in log if user == name] == [1, 2, 3, 4, 5, 6]
    assert {user for user, _ in log[:8]} == {"anna", "bert"}  # two users at a time, each to its end


def test_every_prompt_of_a_user_begins_as_the_one_before_it_until_the_window_moves():
    texts = ["".join(message["content"] for message in work.messages) for work in preference_work(USERS[:1], *LIMITS)]
    closing = len(f"]}}\n\n{PROMPT.reminder}")
    shared = [common_prefix(before, text) for before, text in pairwise(texts)]
    assert shared[:2] == [len(text) - closing for text in texts[:2]]  # all but what follows the actions
    instructions = len(PROMPT.instructions)
    assert all(instructions < length < instructions + 40 for length in shared[2:])  # three items are shown


class NoJournal:
    """A record that forgets."""

    path, entries = Path("nowhere"), {}

    def append(self, entry):
        pass


def test_tokens_and_seconds_of_all_attempts_are_journaled_and_summed(tmp_path):
    good = json.dumps({"instructions": ["Look for a", "Look for b", "Look for c", "Look for d", "Avoid e"]})

    def behave(number, request):
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        if number > 1:
            usage["prompt_tokens_details"] = {"cached_tokens": 60}
        message = {"content": "Sorry." if number == 1 else good}
        return Answer(body=json.dumps({"choices": [{"message": message}], "usage": usage}), seconds=0.01)

    with FakeEndpoint(behave) as server:
        counts = ask(tmp_path / "j.jsonl", server, users=[("bert", events("bert", 2))], concurrency=1)
    assert "tokens: 300 in, 120 of them cached (40.0%), 30 out" in counts.summary()
    entries = read_journal(tmp_path / "j.jsonl").entries
    assert [entries["bert", n].usage for n in (1, 2)] == [Usage(200, 20, 60), Usage(100, 10, 60)]
    assert all(0.01 <= entry.seconds < 5 for entry in entries.values())


def test_a_server_that_counts_no_tokens_leaves_none_in_the_journal(tmp_path):
    with FakeEndpoint() as server:
        counts = ask(tmp_path / "j.jsonl", server)
    assert "tokens" not in counts.summary() and '"tokens"' not in (tmp_path / "j.jsonl").read_text()


def test_a_broken_reply_is_asked_for_again_with_the_next_seed(tmp_path):
    def behave(number, request):
        return Answer(text="Sorry.") if request["seed"] < 2 else Answer()

    with FakeEndpoint(behave) as server:
        counts = ask(tmp_path / "j.jsonl", server)
    assert sorted(request["seed"] for request in server.requests) == sorted([0, 1, 2] * NUM_POSITIONS)
    assert counts.answered == NUM_POSITIONS and counts.broken_replies == {"not_json": 2 * NUM_POSITIONS}
    assert {(e.attempts, e.seed) for e in read_journal(tmp_path / "j.jsonl").entries.values()} == {(3, 2)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("```json\n{}\n```", "code_fence"),
        ('{"instructions": ["Look for', "truncated"),
        ("[[]]", "not_object"),
    ],
)
def test_a_reply_that_stays_broken_is_journaled_with_its_reason(tmp_path, text, reason):
    with FakeEndpoint(lambda number, request: Answer(text=text)) as server:
        counts = ask(tmp_path / "j.jsonl", server, max_attempts=2, max_failed_share=1)
        assert len(server.requests) == 2 * NUM_POSITIONS
        ask(tmp_path / "j.jsonl", server)
    assert len(server.requests) == 2 * NUM_POSITIONS  # a failure is an answer too: it was paid for
    assert counts.failed == {reason: NUM_POSITIONS} and counts.answered == 0
    entry = read_journal(tmp_path / "j.jsonl").entries["anna", 1]
    assert (entry.failure, entry.reply, entry.attempts, entry.answer) == (reason, text, 2, None)
    assert f"{reason} {NUM_POSITIONS}" in counts.summary()


def test_a_server_that_ignores_the_schema_is_named_once(tmp_path, caplog):
    texts = {1: '{"instructions": ["Look for', 2: "Sorry.", 3: "Sorry."}
    with FakeEndpoint(lambda number, request: Answer(text=texts.get(number))) as server:
        ask(tmp_path / "j.jsonl", server, concurrency=1)
    [record] = caplog.records
    assert "breaks it (not_json)" in record.message


def test_failures_are_asked_again_on_demand_with_seeds_not_yet_used(tmp_path):
    with FakeEndpoint(lambda number, request: Answer(text="no") if request["seed"] < 4 else Answer()) as server:
        ask(tmp_path / "j.jsonl", server, max_attempts=3, max_failed_share=1)
        server.requests.clear()
        counts = ask(tmp_path / "j.jsonl", server, max_attempts=3, retry_failures=True)
    assert sorted({request["seed"] for request in server.requests}) == [3, 4]
    assert counts.answered == NUM_POSITIONS
    assert {entry.attempts for entry in read_journal(tmp_path / "j.jsonl").entries.values()} == {5}


def test_a_request_without_a_reply_is_left_to_the_next_run(tmp_path):
    def behave(number, request):
        return Answer(status=500, body="no") if shown(request) == ["Item 2", "Item 3", "Item 4"] else Answer()

    with FakeEndpoint(behave) as server:
        counts = ask(tmp_path / "j.jsonl", server, settings={"max_retries": 1})
        assert (counts.unreachable, counts.answered) == (1, NUM_POSITIONS - 1)
        assert ("anna", 4) not in read_journal(tmp_path / "j.jsonl").entries
        assert "missing: 1" in counts.summary()
        server.behave = lambda number, request: Answer()
        server.requests.clear()
        ask(tmp_path / "j.jsonl", server)
    assert [shown(request) for request in server.requests] == [["Item 2", "Item 3", "Item 4"]]


def test_when_the_endpoint_goes_down_everything_finished_and_in_flight_is_kept(tmp_path):
    def behave(number, request):
        if number <= 3:
            return Answer()
        return Answer(seconds=0.3) if number == 4 else Answer(status=503, body="down")

    with FakeEndpoint(behave) as server, pytest.raises(EndpointError, match="in a row"):
        ask(tmp_path / "j.jsonl", server, concurrency=3, settings={"max_retries": 1, "max_failures": 2})
    assert len(read_journal(tmp_path / "j.jsonl").entries) == 4
    with FakeEndpoint() as server:
        counts = ask(tmp_path / "j.jsonl", server)
    assert (counts.known, counts.answered) == (4, 4) and len(server.requests) == 4


def test_a_run_that_ends_does_not_try_again_what_is_in_flight(tmp_path):
    def behave(number, request):
        return Answer(status=401, body="who?") if number == 2 else Answer(seconds=0.3, status=503, body="busy")

    with FakeEndpoint(behave) as server, pytest.raises(EndpointError, match="key was not accepted"):
        ask(tmp_path / "j.jsonl", server, users=[(f"u{n}", events("u", 2)) for n in range(4)], concurrency=4)
    assert len(server.requests) == 4


def test_a_wrong_key_ends_the_run_after_the_first_request(tmp_path):
    with FakeEndpoint(lambda number, request: Answer(status=401, body="who?")) as server:
        with pytest.raises(EndpointError, match="key was not accepted"):
            ask(tmp_path / "j.jsonl", server, concurrency=1)
        assert len(server.requests) == 1


def test_a_full_disk_ends_the_run_and_keeps_what_was_written(tmp_path, monkeypatch):
    append = Journal.append

    def full(journal, entry):
        if len(journal.entries) == 3:
            raise OSError("Cannot write: No space left on device")
        append(journal, entry)

    monkeypatch.setattr(Journal, "append", full)
    with FakeEndpoint() as server, pytest.raises(OSError, match="No space left"):
        ask(tmp_path / "j.jsonl", server, concurrency=2)
    assert len(read_journal(tmp_path / "j.jsonl").entries) == 3
    assert len(server.requests) <= 6


def replies_of(text):
    return FakeEndpoint(lambda number, request: Answer(text=text))


MANY = [(f"user{n}", events(f"user{n}", 4)) for n in range(50)]


def test_a_run_whose_replies_mostly_fail_for_one_reason_ends_early_in_the_models_words(tmp_path):
    def behave(number, request):
        return Answer() if number % 3 == 0 else Answer(text="Sorry, no.")

    with FakeEndpoint(behave) as server, pytest.raises(EndpointError) as error:
        ask(tmp_path / "j.jsonl", server, users=MANY, concurrency=2, max_attempts=1)
    assert 30 <= len(server.requests) <= 33
    for words in ("requests failed for one reason, not_json", "'Sorry, no.'", "--max_failed_share 1"):
        assert words in str(error.value)
    assert any(entry.answer for entry in read_journal(tmp_path / "j.jsonl").entries.values())
    server = FakeEndpoint(behave)
    with server:
        counts = ask(tmp_path / "k.jsonl", server, users=MANY, max_attempts=1, max_failed_share=0.9)
    assert len(server.requests) == 200 and counts.answered == 66


def test_a_run_whose_requests_are_mostly_refused_ends_early_in_the_servers_words(tmp_path):
    def behave(number, request):
        return Answer() if number % 3 == 0 else Answer(status=400, body=f"no word number {number}")

    with (
        FakeEndpoint(behave) as server,
        pytest.raises(EndpointError, match="failed for one reason, status 400.*'no word number"),
    ):
        ask(tmp_path / "j.jsonl", server, users=MANY, concurrency=1)
    assert len(server.requests) <= 31


def test_a_server_that_breaks_after_a_long_time_of_answers_ends_the_run(tmp_path):
    users = [*MANY, *((f"{user}x", events(f"{user}x", 4)) for user, _ in MANY)]
    with FakeEndpoint(lambda number, request: Answer() if number <= 200 else Answer(text="Sorry.")) as server:
        with pytest.raises(EndpointError, match="100 of 100 requests failed for one reason, not_json"):
            ask(tmp_path / "j.jsonl", server, users=users, concurrency=1, max_attempts=1)
        assert len(server.requests) == 300


def test_failures_of_many_reasons_do_not_end_a_run(tmp_path):
    texts = (None, "Sorry.", "[[]]", "")
    with FakeEndpoint(lambda number, request: Answer(text=texts[number % 4])) as server:
        counts = ask(tmp_path / "j.jsonl", server, users=MANY, max_attempts=1)
    assert counts.answered == 50 and counts.failed == {"not_json": 50, "not_object": 50, "empty": 50}


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (Answer(text="Sorry, no."), r"8 failed for not_json.*'Sorry, no\.'.*same command.*--max_failed_share 1"),
        (Answer(text=""), "8 failed for empty"),
        (Answer(text="[[]]"), "8 failed for not_object"),
        (Answer(text='{"instructions": ["a b"]}'), "8 failed for too_few"),
        (Answer(text='{"instructions": ["a b'), "8 failed for truncated.*raise --max_tokens"),
        (Answer(body=REFUSAL), "8 failed for refusal.*'I cannot help'.*--prompt_file"),
        (Answer(body=TOOL_CALL), "8 failed for tool_call.*lookup.*offer none"),
        (Answer(body="<h1>Sign in</h1>"), "8 failed for no chat completion.*'Sign in'"),
        (Answer(text="<think>Five, short"), r"8 failed for reasoning_only.*have the server not reason"),
        (Answer(body=REASONING), r"8 failed for reasoning_cut.*'Hm, five'.*raise --max_tokens"),
        (Answer(status=500, body="out of memory"), r"8 failed for status 500.*'out of memory'"),
        (Answer(status=400, body="no seed"), r"8 failed for status 400.*--omit seed"),
    ],
)
def test_a_run_without_a_single_answer_is_an_error_in_the_servers_words(tmp_path, behave, words):
    counts = RunCounts()
    settings = {"max_retries": 0, "max_failures": 99}
    with FakeEndpoint(lambda number, request: behave) as server:
        ask(tmp_path / "j.jsonl", server, counts=counts, settings=settings, max_attempts=1)
    journal = read_journal(tmp_path / "j.jsonl")
    with pytest.raises(EndpointError, match=words):
        check_answered(counts, tmp_path / "j.jsonl", journal)
    assert "http://" not in str(counts.last_failure)
    assert not journal.entries and f"missing: {NUM_POSITIONS} for the next run" in counts.summary()
    with FakeEndpoint() as mended:
        assert ask(tmp_path / "j.jsonl", mended).answered == NUM_POSITIONS


def test_a_run_that_mostly_fails_has_not_ended_well_even_if_it_is_short(tmp_path):
    with FakeEndpoint(lambda number, request: Answer() if number == 2 else Answer(text="Sorry.")) as server:
        counts = ask(tmp_path / "j.jsonl", server, max_attempts=1, concurrency=1)
    with pytest.raises(EndpointError, match="only 1 requests got an answer, 7 failed for not_json"):
        check_answered(counts, tmp_path / "j.jsonl", read_journal(tmp_path / "j.jsonl"))
    # The failure before the answer is the model's, those after it may be the server's.
    assert sorted(read_journal(tmp_path / "j.jsonl").entries) == [("anna", 1), ("anna", 2)]


def test_failures_between_answers_are_journaled_as_they_come(tmp_path):
    path, kept = tmp_path / "j.jsonl", []

    def behave(number, request):
        kept.append(len(path.read_bytes().splitlines()) - 1)
        return Answer(text="Sorry.") if number % 2 else Answer()

    with FakeEndpoint(behave) as server:
        counts = ask(path, server, max_attempts=1, concurrency=1)
    assert kept == [0, 0, 2, 2, 4, 4, 6, 6] and counts.failed == {"not_json": 4} and not counts.dropped
    check_answered(counts, path, read_journal(path))


def test_a_model_that_fails_for_many_reasons_and_never_answers_ends_the_run(tmp_path):
    texts = ("Sorry.", "[[]]", "")
    with FakeEndpoint(lambda number, request: Answer(text=texts[number % 3])) as server:
        with pytest.raises(EndpointError, match="of 100 requests failed for one reason"):
            ask(tmp_path / "j.jsonl", server, users=MANY, concurrency=1, max_attempts=1)
        assert len(server.requests) == 100
    assert not read_journal(tmp_path / "j.jsonl").entries


def test_a_run_that_finds_only_failures_of_earlier_runs_says_how_to_ask_again(tmp_path):
    path = tmp_path / "j.jsonl"
    for _ in range(2):
        with replies_of("no") as server:
            counts = ask(path, server, max_failed_share=1)
    with pytest.raises(EndpointError, match=r"j\.jsonl holds no answer.*not_json 8.*--retry_failures"):
        check_answered(counts, path, read_journal(path))
    with FakeEndpoint() as server:
        counts = ask(path, server, retry_failures=True)
    check_answered(counts, path, read_journal(path))
    check_answered(RunCounts(), path, read_journal(path))  # nothing to ask for is no failure


def test_what_is_left_out_of_the_requests_is_said_in_the_journal_and_on_the_card(tmp_path):
    path = tmp_path / "j.jsonl"
    left_out = header(omit=("seed", "top_p", "max_tokens"))
    assert (left_out.seed, left_out.top_p, left_out.max_tokens, left_out.temperature) == (None, None, None, 0.6)
    with FakeEndpoint() as server, Journal(path, left_out) as journal:
        settings = EndpointSettings(server.base_url, "toy", omit=("seed", "top_p", "max_tokens"))
        run(settings, preference_work(USERS, *LIMITS), journal, progress=False)
    assert not any({"seed", "top_p", "max_tokens"} & request.keys() for request in server.requests)
    content = read_journal(path)
    assert content.header == left_out and {entry.seed for entry in content.entries.values()} == {None}
    approximator = JournalApproximator([path])
    assert "temperature 0.6, top_p left to the server, at most" in approximator.description
    assert approximator.details()["top_p"] is None
    with pytest.raises(ValueError, match="differ in top_p: None and 0.9"):
        Journal(path, header())


@pytest.mark.parametrize("text", ["bad key sk-secret", "x" * 195 + "sk-secret", '{"instructions": ["sk-secret"]}'])
def test_a_key_that_the_model_repeats_is_kept_out_of_messages_and_failures(tmp_path, text):
    with replies_of(text) as server:
        counts = ask(tmp_path / "j.jsonl", server, settings={"api_key": "sk-secret"}, max_failed_share=1)
    assert "sk-s" not in counts.last_failure + (tmp_path / "j.jsonl").read_text()


def test_neither_key_nor_address_reaches_the_journal(tmp_path, caplog):
    def behave(number, request):
        return Answer(status=500, body="sk-secret") if number == 1 else Answer()

    with FakeEndpoint(behave) as server:
        ask(tmp_path / "j.jsonl", server, settings={"api_key": "sk-secret"})
        text = (tmp_path / "j.jsonl").read_text() + caplog.text
    assert server.keys[0] == "Bearer sk-secret" and caplog.records
    assert "sk-secret" not in text and "127.0.0.1" not in (tmp_path / "j.jsonl").read_text()


def test_the_journal_names_a_model_without_its_folder():
    assert header(model="/home/me/models/llama").model == "llama"
    assert header(model="meta-llama/Meta-Llama-3-70B-Instruct").model == "meta-llama/Meta-Llama-3-70B-Instruct"


def test_a_journal_of_other_data_is_refused_before_anything_is_asked(tmp_path):
    with FakeEndpoint() as server:
        ask(tmp_path / "j.jsonl", server)
        server.requests.clear()
        other = [("anna", [*events("anna", 2), *events("bert", 5)[2:]])]
        with pytest.raises(ValueError, match="user anna, position 3"):
            ask(tmp_path / "j.jsonl", server, users=other)
    assert server.requests == []


@pytest.mark.parametrize("option", ["concurrency", "max_attempts"])
def test_limits_below_one_are_refused(tmp_path, option):
    with pytest.raises(ValueError, match=rf"{option} \(0\)"):
        ask(tmp_path / "j.jsonl", "http://127.0.0.1:1/v1", **{option: 0})


@given(st.lists(st.text(max_size=8), unique=True), st.integers(1, 7))
def test_shards_are_disjoint_and_cover_all(names, num_shards):
    shards = [[name for name in names if shard_of(name, num_shards) == index] for index in range(num_shards)]
    assert sorted(name for shard in shards for name in shard) == sorted(names)


def test_shards_are_of_about_one_size():
    sizes = [sum(shard_of(f"user{n}", 4) == index for n in range(4000)) for index in range(4)]
    assert all(900 < size < 1100 for size in sizes)


@pytest.mark.parametrize(("num_shards", "index"), [(0, 0), (2, 2), (2, -1)])
def test_a_shard_that_does_not_exist_is_refused(num_shards, index):
    with pytest.raises(ValueError, match="shard_index"):
        check_shard(num_shards, index)


# The approximator that reads journals.


@pytest.fixture
def journal(tmp_path):
    """All of anna, one failure of bert's, and nothing else of him."""

    def behave(number, request):
        return Answer(text="no") if "bert" in request["messages"][-1]["content"] else Answer()

    with FakeEndpoint(behave) as server:
        ask(tmp_path / "j.jsonl", server, users=[USERS[0], ("bert", USERS[1][1][:1])], max_attempts=2)
    return tmp_path / "j.jsonl"


def test_a_benchmark_gets_what_the_model_wrote_and_none_where_it_failed(journal):
    approximator = JournalApproximator([journal])
    sets = approximator.approximate_user(*USERS[0])
    entries = read_journal(journal).entries
    assert sets == [entries["anna", t].answer for t in range(1, 6)]
    assert approximator.approximate_user(*USERS[1]) == [None, None, None]
    assert approximator.approximate_user("nobody", USERS[1][1]) == [None, None, None]


def test_a_journal_with_positions_that_the_data_do_not_have_is_refused(journal, caplog):
    approximator = JournalApproximator([journal])
    approximator.check_users({"anna": 5, "bert": 3, "cleo": 1})
    with pytest.raises(ValueError, match=r"j\.jsonl has position 5 of user 'anna', where these data have 4 actions"):
        approximator.check_users({"anna": 4, "bert": 3})
    assert not caplog.text
    approximator.check_users({"anna": 5})  # as in a build of every second user
    assert "these data lack 1 of the users, for example 'bert'" in caplog.text


def test_the_card_can_state_the_rates(journal):
    approximator = JournalApproximator([journal])
    assert (approximator.num_requests, approximator.num_failed) == (6, 1)
    assert approximator.failed == {"not_json": 1} and approximator.attempts == {1: 5, 2: 1}
    details = approximator.details()
    assert (details["num_replies"], details["num_broken_replies"]) == (7, 2)
    assert details["prompt_version"] == "default/1" and details["schema_modes"] == {"json_schema": 6}
    assert json.loads(json.dumps(details)) == details
    for words in ("toy", "default/1", "2 of 7 replies", "1 of 6 positions (16.7%)", "json_schema"):
        assert words in approximator.description


def test_journals_of_shards_are_read_as_one_in_any_order(tmp_path):
    with FakeEndpoint() as server:
        ask(tmp_path / "whole.jsonl", server)
        for name, users in (("a", USERS[:1]), ("b", USERS[1:])):
            ask(tmp_path / f"{name}.jsonl", server, users=users)
    whole = JournalApproximator([tmp_path / "whole.jsonl"])
    for names in ("ab", "ba"):
        parts = JournalApproximator([tmp_path / f"{name}.jsonl" for name in names])
        assert parts.fingerprint() == whole.fingerprint()
        assert [parts.approximate_user(*user) for user in USERS] == [whole.approximate_user(*user) for user in USERS]


def test_the_fingerprint_sees_every_answer(journal, tmp_path):
    before = JournalApproximator([journal]).fingerprint()
    content = read_journal(journal)
    with Journal(tmp_path / "other.jsonl", content.header) as other:
        for entry in content.entries.values():
            answer = entry.answer and (*entry.answer[:4], "Avoid frogs")
            other.append(Entry(entry.key, entry.request, answer, entry.failure, entry.reply, entry.attempts))
    assert JournalApproximator([tmp_path / "other.jsonl"]).fingerprint() != before


def test_an_answer_that_saw_a_later_item_is_refused(tmp_path):
    user, actions = USERS[0]
    with Journal(tmp_path / "leak.jsonl", header()) as journal:
        for work in preference_work([(user, actions)], *LIMITS):
            position = work.key[1]
            leaked = list(preference_work([(user, actions)], *LIMITS))[min(position, 4)]
            answer = tuple(json.loads(five({"messages": leaked.messages}))["instructions"])
            journal.append(Entry(work.key, request_digest(leaked.messages), answer))
    with pytest.raises(ValueError, match="user anna, position 1"):
        JournalApproximator([tmp_path / "leak.jsonl"]).approximate_user(user, actions)


def test_the_future_and_what_the_window_left_behind_change_nothing(journal):
    approximator = JournalApproximator([journal])
    user, actions = USERS[0]
    expected = approximator.approximate_user(user, actions)
    assert approximator.approximate_user(user, actions[:2]) == expected[:2]
    other = [PastItem(item(99, "Other"), 1.0, "Other"), *actions[1:]]
    with pytest.raises(ValueError, match="position 1"):
        approximator.approximate_user(user, other)


def test_a_journal_of_properties_holds_no_preferences(tmp_path):
    Journal(tmp_path / "p.jsonl", header(PROMPTS["properties"])).close()
    with pytest.raises(ValueError, match="holds item properties"):
        JournalApproximator([tmp_path / "p.jsonl"])


class Odd(PreferenceApproximator):
    """Gives whatever it was made with."""

    name, description = "odd", "Any."

    def __init__(self, sets):
        self.sets = sets

    def approximate_user(self, user_id, events):
        return self.sets


FIVE = ["Look for a", "Prefer b", "Search for c", "Opt for d", "Avoid e"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ("abc", "gave a str for 3 actions of user 'u0'"),
        (None, "gave a NoneType for 3 actions"),
        (iter([None] * 3), "gave a list_iterator for 3 actions"),
        ([FIVE] * 2, "gave 2 sets for 3 actions"),
        ([FIVE, FIVE, "abcde"], "user 'u0', position 3: .*got 'abcde'"),
        ([FIVE, "Look for a", FIVE], "position 2: .*got 'Look for a'"),
        ([set(FIVE), None, None], "position 1: .*5 distinct"),
        ([dict.fromkeys(FIVE), None, None], "position 1: .*5 distinct"),
        ([[*FIVE[:4], None], None, None], "position 1: .*5 distinct"),
        ([[*FIVE[:4], 5], None, None], "position 1: .*5 distinct"),
        ([[*FIVE[:4], FIVE[0].upper()], None, None], "position 1: .*5 distinct"),
        ([[*FIVE, "Avoid f"], None, None], "position 1: .*5 distinct"),
    ],
)
def test_what_is_no_list_of_five_texts_is_refused_with_its_place(sets, words):
    items = [item(number, f"Item {number}") for number in range(1, 4)]
    with pytest.raises(ValueError, match=f"The approximator odd.*{words}"):
        approximate_preferences(Odd(sets), sequences([[1, 2, 3]]), items, progress=False)


# Item properties.


def test_properties_come_from_reviews_at_training_positions_alone(tmp_path):
    actions = sequences([[1, 2, 3, 4], [2, 1, 4, 3]])
    reviews = [f"review {user} {item_id}" for user, ids in enumerate([[1, 2, 3, 4], [2, 1, 4, 3]]) for item_id in ids]
    actions.reviews[:] = reviews
    items = [item(number, f"Item {number}") for number in range(1, 5)]
    seen = training_reviews(actions, items)
    assert seen == {"s1": ["review 0 1", "review 1 1"], "s2": ["review 0 2", "review 1 2"]}
    works = list(property_work(items, seen, PROMPTS["properties"], 20, 100))
    assert [work.key for work in works] == [("s1", 0), ("s2", 0)]
    assert all(f"review {user} {late}" not in str(works) for user in (0, 1) for late in (3, 4))

    def behave(number, request):
        return Answer(text='{"properties": ["round", "blue lid"]}') if "Item 1" in str(request) else Answer(text="no")

    with FakeEndpoint(behave) as server, Journal(tmp_path / "p.jsonl", header(PROMPTS["properties"])) as journal:
        counts = run(EndpointSettings(server.base_url, "toy"), works, journal, progress=False, max_attempts=1)
        assert server.requests[0]["response_format"]["json_schema"]["schema"]["required"] == ["properties"]
        assert write_properties(journal, items, tmp_path / "properties.parquet") == 1
    assert counts.answered == 1 and counts.failed == {"not_json": 1}
    assert pq.read_table(tmp_path / "properties.parquet").to_pylist() == [
        {"item_id": 1, "source_id": "s1", "properties": ["round", "blue lid"]}
    ]
    with Journal(tmp_path / "none.jsonl", header(PROMPTS["properties"])) as journal:
        assert write_properties(journal, items, tmp_path / "none.parquet") == 0
    assert pq.read_table(tmp_path / "none.parquet").column_names == ["item_id", "source_id", "properties"]


def test_an_interrupted_run_closes_its_journal_and_lets_the_next_one_in(tmp_path):
    from dataset_builders.building.preferences.llm.run import run_async

    async def interrupted(server, journal):
        settings = EndpointSettings(server.base_url, "toy")
        task = asyncio.create_task(run_async(settings, preference_work(USERS, *LIMITS), journal, progress=False))
        while len(journal.entries) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def behave(number, request):
        return Answer(seconds=0.0 if number <= 2 else 0.5)

    with FakeEndpoint(behave) as server:
        with Journal(tmp_path / "j.jsonl", header()) as journal:
            asyncio.run(interrupted(server, journal))
        server.behave = lambda number, request: Answer()
        assert ask(tmp_path / "j.jsonl", server).known >= 2
