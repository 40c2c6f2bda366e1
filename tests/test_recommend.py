"""Recommendations in the terminal."""

import json
from pathlib import Path

import pytest
import recommend
from trained_folders import train_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(train_tiny("mender_tok", tmp_path_factory.mktemp("tok")))


def run(capsys, *words):
    status = recommend.main(list(words))
    printed = capsys.readouterr()
    return status, printed.out, [line for line in printed.err.splitlines() if line.startswith("error: ")]


def test_titles_and_scores_in_the_terminal(folder, capsys):
    status, out, _ = run(capsys, folder, "--history", "1", "5", "--preference", "search for red soap", "--k", "3")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split(maxsplit=2)[1:] == ["1", "red soap"]
    assert lines[2].startswith("preference") and "search for red soap" in lines[2]
    assert [line.split()[0] for line in lines[4:]] == ["1", "2", "3"]


def test_json_on_request(folder, capsys):
    _, out, _ = run(capsys, folder, "--history", "1", "--preference", "look for tea", "--k", "4", "--json")
    answer = json.loads(out)
    assert [set(item) for item in answer["items"]] == [{"item_id", "title", "score"}] * 4
    assert answer["request"]["history"] == [1]


def test_a_history_is_given_by_ids_or_by_words_of_titles(folder, capsys):
    _, by_id, _ = run(capsys, folder, "--history", "2", "10", "--json")
    _, by_words, _ = run(capsys, folder, "--history", "red lamp", "LAMP blue", "--json")
    assert by_id == by_words


def test_words_that_fit_several_items_list_them(folder, capsys):
    status, _, errors = run(capsys, folder, "--history", "lamp")
    assert status == 1
    assert "3 items fit 'lamp' (2 red lamp; 6 green lamp; 10 blue lamp)" in errors[0]


def test_words_that_fit_no_item_say_so(folder, capsys):
    status, _, errors = run(capsys, folder, "--history", "sofa")
    assert status == 1 and "'sofa'" in errors[0] and "--search" in errors[0]


def test_a_title_that_is_part_of_others_is_found_by_its_full_words():
    assert recommend.find_item(["Soap", "Rose Soap"], "soap") == 1


def test_search_lists_ids_and_titles(folder, capsys):
    _, out, _ = run(capsys, folder, "--search", "green")
    assert [line.split(maxsplit=1) for line in out.splitlines()] == [
        ["5", "green soap"], ["6", "green lamp"], ["7", "green tea"], ["8", "green mug"],
    ]  # fmt: skip


def test_candidates_and_exclusions_may_be_words_too(folder, capsys):
    _, out, _ = run(
        capsys, folder, "--history", "5", "--candidates", "green soap", "green mug", "1", "--exclude", "1",
        "--exclude_history", "--k", "1", "--json",
    )  # fmt: skip
    assert [item["title"] for item in json.loads(out)["items"]] == ["green mug"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--history", "99"], "99, which is no item"),
        ([], "empty history and no preference"),
        (["--history", "1", "--k", "13"], "k (13)"),
        (["--history", "1", "--verify"], "--verify compares a download with the Hub"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, words, message):
    status, _, errors = run(capsys, folder, *words)
    assert status == 1 and len(errors) == 1 and message in errors[0]


def test_a_model_that_is_not_there_is_named(tmp_path, capsys):
    status, _, errors = run(capsys, str(tmp_path / "nowhere"), "--history", "1")
    assert status == 1 and "nowhere" in errors[0]


def test_a_model_of_another_kind_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    status, _, errors = run(capsys, str(tmp_path), "--history", "1")
    assert status == 1 and "'bert'" in errors[0] and "mender_tok" in errors[0]


def test_a_folder_written_in_part_is_recognised(folder, tmp_path, capsys):
    (tmp_path / "config.json").write_text((Path(folder) / "config.json").read_text())
    status, _, errors = run(capsys, str(tmp_path), "--history", "1")
    assert status == 1 and "not all of its files" in errors[0] and "publish it again" in errors[0]
