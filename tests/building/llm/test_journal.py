"""The journal: nothing that was paid for is lost, by a kill, a full disk, a second run, or a merge in any order."""

import dataclasses
import errno
import gzip
import json
import os
import resource
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.building.preferences.llm.journal import (
    Journal,
    merge_contents,
    merge_journals,
    read_journal,
)
from dataset_builders.building.preferences.llm.journal_lines import (
    BadLine,
    Entry,
    Header,
    entry_line,
    entry_of,
    failures_by_reason,
)
from dataset_builders.building.preferences.llm.prompts import PROMPTS
from dataset_builders.building.preferences.llm.replies import Usage

PROMPT = PROMPTS["default"]
HEADER = Header(
    domain="toy",
    model="parrot",
    task="preferences",
    prompt_version=PROMPT.version,
    prompt_digest=PROMPT.digest,
    instructions=PROMPT.instructions,
    reminder=PROMPT.reminder,
    temperature=0.6,
    top_p=0.9,
    max_tokens=512,
    seed=0,
    max_items=20,
    max_review_characters=1000,
)
FIVE = ("Look for a", "Prefer b", "Search for c", "Opt for d", "Avoid e")


def success(user="u1", position=1, answer=FIVE, **fields):
    return Entry((user, position), fields.pop("request", "ab"), answer, **fields)


def failure(user="u1", position=1, reason="truncated", **fields):
    return Entry((user, position), fields.pop("request", "ab"), None, reason, "{", **fields)


def written(path, *entries, header=HEADER):
    with Journal(path, header) as journal:
        for entry in entries:
            journal.append(entry)
    return path


def test_what_is_written_is_read(tmp_path):
    entries = [success(schema="json_schema"), failure("u\u2028é", 7, attempts=3, seed=2)]
    content = read_journal(written(tmp_path / "new" / "j.jsonl", *entries))
    assert content.header == HEADER and content.header.prompt == PROMPT
    assert list(content.entries.values()) == entries


def test_tokens_and_seconds_are_written_where_they_are_known_and_make_no_other_entry(tmp_path):
    entries = [success(usage=Usage(9, 4, 5), seconds=1.5), success(position=2, usage=Usage(9, 4))]
    path = written(tmp_path / "j.jsonl", *entries, success(position=3))
    _, *records = map(json.loads, path.read_text().splitlines())
    assert [record.get("tokens") for record in records] == [
        {"prompt": 9, "completion": 4, "cached": 5},
        {"prompt": 9, "completion": 4},
        None,
    ]
    assert [record.get("seconds") for record in records] == [1.5, None, None]
    read = list(read_journal(path).entries.values())
    assert [(entry.usage, entry.seconds) for entry in read[:2]] == [(Usage(9, 4, 5), 1.5), (Usage(9, 4), None)]
    assert read[0] == success() and read[0].better_than(success(usage=Usage(9, 4, 5), seconds=2.5))


def test_a_line_is_json_that_the_eye_can_read(tmp_path):
    lines = written(tmp_path / "j.jsonl", success(), failure(position=2)).read_text().splitlines()
    header, *records = map(json.loads, lines)
    assert all(len(record.pop("check")) == 16 for record in (header, *records))
    assert header["kind"] == "header" and header["format"] == 1 and header["model"] == "parrot"
    assert records[0] == {
        "user_id": "u1",
        "position": 1,
        "request": "ab",
        "preferences": list(FIVE),
        "attempts": 1,
        "seed": 0,
        "schema": "none",
    }
    assert records[1]["failure"] == "truncated" and records[1]["reply"] == "{" and "preferences" not in records[1]


def test_a_long_broken_reply_is_cut(tmp_path):
    entry = dataclasses.replace(failure(), reply="x" * 10_000)
    assert len(read_journal(written(tmp_path / "j.jsonl", entry)).entries["u1", 1].reply) == 500


def test_a_second_run_continues_the_first(tmp_path):
    path = written(tmp_path / "j.jsonl", success())
    written(path, success(position=2))
    assert list(read_journal(path).entries) == [("u1", 1), ("u1", 2)]
    assert len(path.read_text().splitlines()) == 3


def test_death_at_any_byte_of_the_last_line_costs_that_line_alone(tmp_path):
    whole = written(tmp_path / "whole.jsonl", success(), success(position=2)).read_bytes()
    start = whole.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(start, len(whole) - 1):
        path = tmp_path / f"{end}.jsonl"
        path.write_bytes(whole[:end])
        assert list(read_journal(path).entries) == [("u1", 1)]
        written(path, success(position=3))
        assert list(read_journal(path).entries) == [("u1", 1), ("u1", 3)]
        torn = tmp_path / f"{end}.jsonl.torn"
        assert torn.exists() == (end > start) and (end == start or torn.read_bytes() == whole[start:end] + b"\n")


def test_a_whole_last_line_is_kept_without_its_end_of_line_and_gets_it_back(tmp_path):
    path = written(tmp_path / "j.jsonl", success(), success(position=2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert list(read_journal(path).entries) == [("u1", 1), ("u1", 2)]
    written(path, success(position=3))
    assert path.read_bytes().startswith(whole) and list(read_journal(path).entries) == [("u1", n) for n in (1, 2, 3)]
    assert not path.with_name("j.jsonl.torn").exists()
    path.write_bytes(whole[:-1].replace(b'"attempts": 1', b'"attempts": 2'))
    with pytest.raises(ValueError, match="line 2: not a line of a journal .its content does not fit"):
        read_journal(path)
    path.write_bytes(header := whole.splitlines()[0])
    assert not read_journal(path).entries and written(path).read_bytes() == header + b"\n"


@pytest.mark.parametrize("path", ["/proc/x/j.jsonl", "/proc/j.jsonl", "/dev/null/j.jsonl", "x" * 300])
def test_a_journal_that_cannot_be_opened_is_named(path):
    with pytest.raises(
        (OSError, ValueError), match=rf"^The journal {path} cannot be opened .*choose another --journal"
    ):
        Journal(path, HEADER)


def test_death_while_the_header_is_written_starts_the_journal_anew(tmp_path):
    header = written(tmp_path / "whole.jsonl").read_bytes()
    for end in (0, 1, 17, 40, len(header) - 2):
        path = tmp_path / f"{end}.jsonl"
        path.write_bytes(header[:end])
        with pytest.raises(ValueError, match="no whole line yet"):
            read_journal(path)
        assert list(read_journal(written(path, success())).entries) == [("u1", 1)]


def test_the_last_line_may_be_garbage_after_a_power_cut(tmp_path):
    path = written(tmp_path / "j.jsonl", success())
    path.write_bytes(path.read_bytes() + b"\0" * 64 + b"\n")
    assert list(read_journal(path).entries) == [("u1", 1)]
    assert list(read_journal(written(path, success(position=2))).entries) == [("u1", 1), ("u1", 2)]


@pytest.mark.parametrize(
    "broken",
    [
        b'{"user_id": "u1", "posi\n',
        b"\xff\xfe\n",
        b"[]\n",
        b'{"user_id": "u1", "position": 2, "request": "ab", "attempts": 1, "seed": 0, "schema": "none"}\n',
        b'{"user_id": "u1", "position": "2", "request": "ab", "preferences": [], "attempts": 1, "seed": 0}\n',
    ],
)
def test_a_torn_line_in_the_middle_is_an_error_that_names_the_line(tmp_path, broken):
    path = written(tmp_path / "j.jsonl", success(), success(position=2))
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second + broken + third)
    for read in (read_journal, lambda path: Journal(path, HEADER)):
        with pytest.raises(ValueError, match=r"j\.jsonl, line 3: not a line of a journal"):
            read(path)
    assert path.read_bytes() == first + second + broken + third
    written(tmp_path / "other.jsonl", success())  # and no lock stays behind
    Journal(tmp_path / "other.jsonl", HEADER).close()


def line(**fields):
    record = {"user_id": "u1", "position": 9, "request": "ab", "preferences": list(FIVE), "attempts": 1, "seed": 0}
    return {**record, "schema": "none", **fields}


def failed(**fields):
    record = line(**{"failure": "empty", "reply": "", **fields})
    return {name: value for name, value in record.items() if name != "preferences"}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (line(preferences="Look for a"), "preferences is 'Look for a', no array"),
        (line(preferences=list("abcdefghij")), "holds 10 texts, not 5"),
        (line(preferences=list(FIVE[:4])), "holds 4 texts, not 5"),
        (line(preferences=[]), "holds 0 texts"),
        (line(preferences={"a": 1}), "no array of texts"),
        (line(preferences=[*FIVE[:4], None]), "no array of texts"),
        (line(preferences=[*FIVE[:4], " "]), "no array of texts"),
        (line(preferences=[*FIVE[:4], FIVE[0].upper()]), "holds a text twice"),
        (line(preferences=True), "no array of texts"),
        (line(position=0), "position is 0, no whole number of at least 1"),
        (line(position=-3), "position is -3"),
        (line(position=True), "position is True"),
        (line(position=2.0), r"position is 2\.0"),
        (line(position=None), "position is None"),
        (line(user_id=7), "user_id is 7, no text"),
        (line(attempts=0), "attempts is 0"),
        (line(attempts=-1), "attempts is -1"),
        (line(attempts="3"), "attempts is '3'"),
        (line(attempts=1.5), r"attempts is 1\.5"),
        (line(seed=None), "seed is None"),
        (line(seed="0"), "seed is '0'"),
        (line(schema="xml"), "schema is 'xml'"),
        (line(schema=None), "schema is None"),
        (line(request=12), "request is 12"),
        (line(failure="empty"), "either preferences or failure"),
        (failed(failure=""), "failure gives no reason"),
        (failed(failure=3), "failure is 3"),
        (failed(reply=["{"]), "reply is"),
        ({"kind": "header"}, "user_id is missing"),
        ("Look for a", "is no object"),
        (line(position=1, request="cd"), r"an earlier line asked about different data under \('u1', 1\)"),
    ],
)
def test_a_line_that_no_run_writes_is_refused_by_number_and_value_also_at_the_end(tmp_path, record, words):
    path = written(tmp_path / "j.jsonl", success())
    path.write_text(path.read_text() + json.dumps(record) + "\n")
    before = path.read_bytes()
    for read in (read_journal, lambda path: Journal(path, HEADER)):
        with pytest.raises(ValueError, match=rf"j\.jsonl, line 3: not a line of a journal .*{words}"):
            read(path)
    assert path.read_bytes() == before


def test_a_key_that_stands_twice_in_a_line_is_refused(tmp_path):
    path = written(tmp_path / "j.jsonl", success())
    path.write_text(path.read_text() + json.dumps(line()).replace('"position"', '"position": 3, "position"') + "\n")
    with pytest.raises(ValueError, match="line 3: .*a key occurs twice"):
        read_journal(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(line(seed=1)).replace('"seed": 1', f'"seed": {"9" * 5000}'), "a number has 5,000 digits"),
        (json.dumps(line(seed=2**63)), "seed is 9223372036854775808"),
        (json.dumps(line()).replace('"position": 9', '"position": 1e3'), r"position is 1000\.0"),
        (json.dumps(line(attempts=1)).replace('"attempts": 1', '"attempts": NaN'), "attempts is nan"),
        (json.dumps(line(user_id="\ud83d")), "user_id is '.ud83d', with half of a surrogate pair"),
        (json.dumps(line(preferences=[*FIVE[:4], "Avoid \ud83d"])), "with a control character"),
        (json.dumps(line(preferences=[*FIVE[:4], "Avoid \0"])), "with a control character"),
        (json.dumps(line(preferences=[*FIVE[:4], "Avoid \x1b[2J"])), "with a control character"),
        (json.dumps(line(preferences="abcde")), "preferences is 'abcde', no array"),
        (json.dumps(line(failure="empty", preferences=None)), "either preferences or failure"),
        (json.dumps(line(source_id="i1")), "unknown keys: .'source_id'"),
        (json.dumps(line(tokens=5)), "tokens is 5, no object with prompt and completion"),
        (json.dumps(line(tokens={"prompt": 5})), "tokens is .*, no object with prompt and completion"),
        (json.dumps(line(tokens={"prompt": 5, "completion": -1})), "completion is -1, no whole number of at least 0"),
        (json.dumps(line(tokens={"prompt": 5, "completion": 1, "cached": 6})), "tokens has 6 cached of 5 tokens"),
        (json.dumps(line(seconds=-1)), "seconds is -1, no number of at least 0"),
        (json.dumps(line(seconds=float("inf"))), "seconds is inf, no number"),
        (json.dumps(line(check="0" * 16)), "does not fit its check"),
        (json.dumps(line(position=1, preferences=[*FIVE[:4], "Avoid z"])), r"another answer under \('u1', 1\)"),
        (json.dumps(line(reply="x" * 2**20)), "longer than 1,048,576 bytes"),
        ("x" * 3 * 2**20, "longer than 1,048,576 bytes"),
    ],
)
def test_a_strange_line_is_refused_by_number_also_at_the_end(tmp_path, text, words):
    path = written(tmp_path / "j.jsonl", success())
    path.write_text(path.read_text() + text + "\n")
    before = path.read_bytes()
    for read in (read_journal, lambda path: Journal(path, HEADER), lambda path: merge_contents([path])):
        with pytest.raises(ValueError, match=rf"(?s)j\.jsonl, line 3: not a line of a journal .*({words})"):
            read(path)
    assert path.read_bytes() == before


def test_a_line_that_is_nested_too_deeply_is_named_or_torn(tmp_path):
    path = written(tmp_path / "j.jsonl", success())
    whole = path.read_bytes()
    deep = b"[" * 100_000 + b"]" * 100_000 + b"\n"
    path.write_bytes(whole + deep)
    assert list(read_journal(path).entries) == [("u1", 1)]
    path.write_bytes(whole + deep + whole.splitlines(keepends=True)[1])
    with pytest.raises(ValueError, match="line 3: not a line of a journal .RecursionError"):
        read_journal(path)


def test_lines_without_a_check_are_read_and_a_changed_byte_is_never_taken_for_another_answer(tmp_path, caplog):
    header = dataclasses.replace(HEADER, instructions="Say five.", reminder="")
    path = written(tmp_path / "j.jsonl", success(seed=7), failure(position=2), header=header)
    whole, content = path.read_bytes(), read_journal(path)
    earlier = [{k: v for k, v in json.loads(text).items() if k != "check"} for text in whole.splitlines()]
    path.write_text("".join(json.dumps(record, indent=None, separators=(",", ":")) + "\n" for record in earlier))
    assert read_journal(path) == content
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= (1, 32)[place % 2]
        path.write_bytes(damaged)
        caplog.clear()
        try:
            read = read_journal(path)
        except ValueError as error:
            assert "j.jsonl" in str(error)
            refused += 1
            continue
        assert read.header == content.header
        assert read == content or (caplog.records and list(read.entries.items()) == [*content.entries.items()][:1])
    assert refused > 0.75 * len(whole)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 60), st.binary(max_size=40)), min_size=1, max_size=3))
def test_no_damage_breaks_the_reader(tmp_path_factory, damages):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "damaged.jsonl"
    header = dataclasses.replace(HEADER, instructions="Say five.", reminder="")
    path.unlink(missing_ok=True)
    whole = written(path, success(), failure(position=2), success(position=3), header=header).read_bytes()
    for start, length, put in damages:
        whole = whole[:start] + put + whole[start + length :]
    path.write_bytes(whole)
    for read in (read_journal, lambda path: Journal(path, header).close()):
        try:
            read(path)
        except ValueError as error:
            assert "damaged.jsonl" in str(error)


@pytest.mark.parametrize(
    "entry",
    [
        success(answer="abcde"),
        success(answer="Look for a"),
        success(answer=FIVE[:4]),
        success(answer=set(FIVE)),
        success(answer=(*FIVE[:4], 5)),
        success(answer=(*FIVE[:4], "\ud83d x")),
        success(position=0),
        success(position=-1),
        success(position=True),
        success(position=1.0),
        success(position=2**63),
        success(user=None),
        success(attempts=0),
        success(request=None),
        success(schema="xml"),
        success(user="x" * 2**20),
        dataclasses.replace(success(), key="u1"),
        dataclasses.replace(failure(), reply=None),
        failure(reason=""),
        success(position=9, request="cd"),
        success(position=9, answer=(*FIVE[:4], "Avoid z")),
    ],
)
def test_what_a_reader_would_refuse_is_never_written(tmp_path, entry):
    with Journal(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(success(position=9))
        before = journal.path.read_bytes()
        with pytest.raises(ValueError, match=r"j\.jsonl cannot take the entry of"):
            journal.append(entry)
        assert journal.path.read_bytes() == before and list(journal.entries) == [("u1", 9)]


def test_a_second_name_of_a_journal_is_locked_too_and_from_other_processes(tmp_path, project):
    path, link = tmp_path / "j.jsonl", tmp_path / "link.jsonl"
    with Journal(path, HEADER) as journal:
        link.symlink_to(path)
        with pytest.raises(BlockingIOError, match="Another run is writing"):
            Journal(link, HEADER)
        code = (
            "import sys; from pathlib import Path; from dataset_builders.building.preferences.llm.journal import *; "
            "Journal(Path(sys.argv[1]), read_journal(Path(sys.argv[1])).header)"
        )
        run = subprocess.run([sys.executable, "-c", code, link], cwd=project, capture_output=True, text=True)
        assert run.returncode == 1 and "Another run is writing" in run.stderr
        journal.append(success())
    assert list(read_journal(link).entries) == [("u1", 1)]


@pytest.mark.parametrize("kind", ["folder", "gzip", "pipe", "utf-16", "empty lines"])
def test_what_is_no_journal_is_refused_in_one_line_and_left_alone(tmp_path, kind):
    path = tmp_path / "j.jsonl"
    whole = written(tmp_path / "whole.jsonl", success()).read_bytes()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        packed = {"gzip": gzip.compress(whole), "utf-16": whole.decode().encode("utf-16"), "empty lines": b"\n\n"}
        path.write_bytes(packed[kind])
    for read in (read_journal, lambda path: Journal(path, HEADER), lambda path: merge_contents([path])):
        with pytest.raises(ValueError, match=r"j\.jsonl is (a folder or a device|not a journal)"):
            read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "0.6"),
        ("temperature", float("nan")),
        ("top_p", True),
        ("max_tokens", 0),
        ("seed", 1.5),
        ("max_items", "20"),
        ("max_items", None),
        ("max_review_characters", -1),
        ("task", "reviews"),
        ("model", None),
        ("instructions", ["a"]),
        ("extra", 1),
    ],
)
def test_a_header_that_no_run_writes_is_refused_by_name(tmp_path, field, value):
    header = {"kind": "header", **dataclasses.asdict(HEADER), field: value}
    (tmp_path / "j.jsonl").write_text(json.dumps(header) + "\n")
    with pytest.raises(ValueError, match=rf"j\.jsonl, line 1: not a line of a journal .*{field}"):
        read_journal(tmp_path / "j.jsonl")


@pytest.mark.parametrize("answer", [[], [f"p{n}" for n in range(11)], "round", ["round", "Round"]])
def test_properties_are_one_to_ten_different_texts(tmp_path, answer):
    path = written(tmp_path / "p.jsonl", header=dataclasses.replace(HEADER, task="properties"))
    record = {"source_id": "i1", "request": "ab", "properties": answer, "attempts": 1, "seed": 0, "schema": "none"}
    path.write_text(path.read_text() + json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="line 2: not a line of a journal .*properties"):
        read_journal(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "u1", "none", *FIVE]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["a", "kind"]), inner, max_size=2),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*line(), "failure", "reply", "source_id"]), VALUES))
def test_a_line_is_read_as_it_would_be_written_or_refused_by_name(fields):
    try:
        entry = entry_of({**line(), **fields}, HEADER)
    except BadLine:
        return
    assert entry_of(json.loads(entry_line(entry, HEADER.task)), HEADER) == entry
    assert entry.answer is None or len(entry.answer) == 5


@pytest.mark.parametrize("text", ["notes", "notes\n", '{"kind": "recipe"}\n', "[1]\n", '{"a": 1}'])
def test_another_file_is_never_touched(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"notes\.txt"):
        Journal(path, HEADER)
    assert path.read_text() == text


def test_another_format_is_refused(tmp_path):
    path = written(tmp_path / "j.jsonl")
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="format 2, this version reads 1"):
        read_journal(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "owl"),
        ("prompt_version", "default/2"),
        ("prompt_digest", "00"),
        ("temperature", 0.7),
        ("top_p", 1.0),
        ("max_tokens", 256),
        ("max_items", 5),
        ("domain", "beauty"),
        ("seed", 1),
    ],
)
def test_runs_and_merges_that_differ_in_what_was_asked_are_refused_by_name(tmp_path, field, value):
    other = dataclasses.replace(HEADER, **{field: value})
    mine, theirs = written(tmp_path / "a.jsonl", success()), written(tmp_path / "b.jsonl", success(), header=other)
    with pytest.raises(ValueError, match=rf"(?s)differ in {field}: .*{value}"):
        Journal(mine, other)
    with pytest.raises(ValueError, match=rf"a\.jsonl and .*b\.jsonl differ in {field}"):
        merge_contents([theirs, mine])


def test_a_journal_without_entries_binds_nobody(tmp_path):
    path = written(tmp_path / "j.jsonl", header=dataclasses.replace(HEADER, model="mistyped"))
    assert read_journal(written(path, success())).header == HEADER


def test_a_second_run_on_a_journal_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path, HEADER) as journal:
        journal.append(success())
        with pytest.raises(BlockingIOError, match=r"Another run is writing .*--wait.*--merge"):
            Journal(path, HEADER)
        assert len(read_journal(path).entries) == 1  # reading needs no lock
        journal.append(success(position=2))
    assert len(read_journal(written(path)).entries) == 2


def test_a_run_that_waits_sees_what_the_other_wrote(tmp_path):
    path = tmp_path / "j.jsonl"
    seen = []

    def second():
        with Journal(path, HEADER, wait=True) as journal:
            seen.append(len(journal.entries))

    with Journal(path, HEADER) as journal:
        waiting = threading.Thread(target=second)
        waiting.start()
        journal.append(success())
    waiting.join(timeout=10)
    assert seen == [1]


def test_a_full_disk_is_one_clear_error_and_costs_nothing_that_was_written(tmp_path):
    path = written(tmp_path / "j.jsonl", success())
    whole = path.read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(path, HEADER)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, hard))  # room for a part of the next line
    try:
        with pytest.raises(OSError, match=r"Cannot write to .*j\.jsonl .*kept: make room"):
            journal.append(success(position=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.read_bytes() == whole and list(journal.entries) == [("u1", 1)]
    journal.append(success(position=3))
    journal.close()
    assert list(read_journal(path).entries) == [("u1", 1), ("u1", 3)]


def test_no_space_for_a_torn_end_is_the_same_error_and_keeps_it(tmp_path):
    path = written(tmp_path / "j.jsonl", success())
    path.write_bytes(torn := path.read_bytes() + b'{"user_id": "u1"')
    (tmp_path / "j.jsonl.torn").mkdir()
    with pytest.raises(OSError, match=r"Cannot write to .*j\.jsonl\.torn"):
        Journal(path, HEADER)
    assert path.read_bytes() == torn


def test_no_space_for_a_single_byte_is_the_same_error(tmp_path, monkeypatch):
    with Journal(tmp_path / "j.jsonl", HEADER) as journal:

        def full(descriptor, line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left on device"):
            journal.append(success())
        monkeypatch.undo()
        journal.append(success())
    assert len(read_journal(tmp_path / "j.jsonl").entries) == 1


ENTRIES = st.builds(
    lambda user, position, ok, attempts, text: (
        success(f"u{user}", position, (*FIVE[:4], f"Avoid {text}"), attempts=attempts)
        if ok
        else failure(f"u{user}", position, text, attempts=attempts)
    ),
    st.integers(0, 2),
    st.integers(1, 2),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from(["x", "y"]),
)


def one_answer_each(entries):
    """Without a second answer to one request, which no run writes."""
    first = {}
    return [e for e in entries if e.answer is None or first.setdefault(e.key, e.answer) == e.answer]


JOURNALS = st.lists(ENTRIES, max_size=5).map(one_answer_each)


@settings(max_examples=40, deadline=None)
@given(st.lists(JOURNALS, min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_merging_gives_the_same_bytes_in_any_order(tmp_path_factory, journals, random):
    folder = tmp_path_factory.mktemp("merge")
    paths = [written(folder / f"{number}.jsonl", *entries) for number, entries in enumerate(journals)]
    merge_journals(paths, folder / "forwards")
    random.shuffle(paths)
    merge_journals(paths, folder / "shuffled")
    merge_journals(paths[:2], folder / "two")
    content = merge_journals([folder / "two", *paths[2:]], folder / "nested")
    bytes_of = (folder / "forwards").read_bytes()
    assert bytes_of == (folder / "shuffled").read_bytes() == (folder / "nested").read_bytes()
    by_key = {}
    for entry in (entry for entries in journals for entry in entries):
        by_key.setdefault(entry.key, []).append(entry)
    assert set(content.entries) == set(by_key)
    for key, entries in by_key.items():
        best = content.entries[key]
        assert best in entries and (best.answer is not None) == any(entry.answer is not None for entry in entries)
        if best.answer is not None:
            assert best.attempts == min(entry.attempts for entry in entries if entry.answer is not None)


def test_of_two_answers_the_easier_one_wins_and_of_two_failures_the_one_that_knows_more():
    assert success(attempts=1).better_than(success(attempts=2))
    assert success(attempts=3).better_than(failure(attempts=1))
    assert failure(attempts=4).better_than(failure(attempts=3))
    assert success(answer=(*FIVE[:4], "Avoid a")).better_than(success())
    assert not success().better_than(success())


def test_a_merge_of_different_data_under_one_key_is_refused(tmp_path):
    paths = [written(tmp_path / f"{name}.jsonl", success(request=name)) for name in ("aa", "bb")]
    with pytest.raises(ValueError, match="different data"):
        merge_contents(paths)


def test_a_merge_never_replaces_a_file_and_leaves_no_half_one(tmp_path):
    path = written(tmp_path / "a.jsonl", success())
    with pytest.raises(FileExistsError, match="merge into a new file"):
        merge_journals([path], path)
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        merge_journals([path, tmp_path / "missing.jsonl"], tmp_path / "new.jsonl")
    assert not list(tmp_path.glob("new*"))
    with pytest.raises(ValueError, match="at least one"):
        merge_contents([])


def test_item_properties_have_a_journal_of_the_same_form(tmp_path):
    header = dataclasses.replace(HEADER, task="properties")
    path = written(tmp_path / "p.jsonl", success("item9", 0, ("round",)), header=header)
    assert json.loads(path.read_text().splitlines()[1])["properties"] == ["round"]
    assert read_journal(path).entries["item9", 0].answer == ("round",)
    with pytest.raises(ValueError, match="differ in task"):
        merge_contents([path, written(tmp_path / "q.jsonl")])


def test_failures_are_counted_by_reason():
    entries = [failure(), failure(position=2), failure(position=3, reason="empty"), success(position=4)]
    assert list(failures_by_reason(entries).items()) == [("truncated", 2), ("empty", 1)]
