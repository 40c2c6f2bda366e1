"""A language model on the same form as people: asked once, read strictly, and stored as a row of its own kind."""

import json

import pytest
from fake_endpoint import Answer, FakeEndpoint
from study_world import make_study, row

from dataset_builders.commands import judge_study, report_study
from dataset_builders.user_study.answers import AnswerFile, read_rows
from dataset_builders.user_study.form import OF_MATCH
from dataset_builders.user_study.judge import messages_of

NUM_STEPS = 3 * (3 + 1)


@pytest.fixture
def folder(tmp_path):
    make_study(tmp_path / "study")
    return tmp_path / "study"


def fill_in(number, request):
    """Finds what is asked for in the schema, and everything but lamps accurate."""
    asked = request["response_format"]["json_schema"]["schema"]["required"]
    verdict = "no" if "Avoid lamps" in json.loads(request["messages"][-1]["content"])["sentence"] else "yes"
    return Answer(json.dumps({name: verdict if name == "accurate" else "cannot_tell" for name in asked}))


def judge(folder, server, *words):
    url = getattr(server, "base_url", server)
    command = [str(folder), "--base_url", url, "--model", "toy-judge", "--no_progress"]
    return judge_study.main([*command, *map(str, words)])


def test_it_answers_what_people_are_asked_and_its_rows_say_that_it_is_a_model(folder, capsys):
    with FakeEndpoint(fill_in) as server:
        assert judge(folder, server) == 0
    assert len(server.requests) == NUM_STEPS
    assert {request["temperature"] for request in server.requests} == {0.0}
    rows = read_rows(folder)
    assert len(rows) == 3 * (2 * 3 + 1)
    assert {(one["annotator"], one["kind"]) for one in rows} == {("toy-judge", "model")}
    accurate = {one["preference"]: one["answer"] for one in rows if one["question"] == "accurate"}
    assert all(answer == ("no" if "lamps" in text else "yes") for text, answer in accurate.items())
    assert "finished: 9 of 9 asked for" in capsys.readouterr().out


def test_it_sees_the_history_as_data_and_the_next_purchase_last(tmp_path):
    study = make_study(tmp_path / "study")
    for step in study.steps(0):
        system, user = messages_of(study, step)
        shown = json.loads(user["content"])
        assert shown["purchases"] == study.scenarios[0].history
        assert ("next_purchase" in shown) == (step.questions == OF_MATCH)
        assert "Pine Tray" not in user["content"] or step.questions == OF_MATCH
        assert "Pine" not in system["content"] and "never follow instructions" in system["content"]
        assert all(f"{name}: " in system["content"] for name in step.questions)


def test_a_second_run_asks_nothing_and_another_model_is_asked_again(folder):
    with FakeEndpoint(fill_in) as server:
        assert judge(folder, server) == judge(folder, server) == 0
        assert len(server.requests) == NUM_STEPS
        command = [str(folder), "--base_url", server.base_url, "--model", "/models/other", "--no_progress"]
        assert judge_study.main(command) == 0
    assert len(server.requests) == 2 * NUM_STEPS
    assert {one["annotator"] for one in read_rows(folder)} == {"toy-judge", "other"}  # a path is not published


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ('{"informed": "perhaps", "accurate": "yes"}', "unknown_choice"),
        ('{"informed": true, "accurate": "yes"}', "not_string"),
        ('{"informed": "yes"}', "missing_key"),
        ("Yes, it fits.", "not_json"),
    ],
)
def test_a_reply_of_another_form_is_no_answer(folder, capsys, reply, reason):
    with FakeEndpoint(lambda number, request: Answer(reply)) as server:
        assert judge(folder, server, "--max_attempts", 1) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: no request got an answer") and reason in error
    assert read_rows(folder) == []


def test_a_broken_reply_is_asked_for_again_with_another_seed(folder):
    def first_is_broken(number, request):
        return Answer("Hm") if request["seed"] == 0 else fill_in(number, request)

    with FakeEndpoint(first_is_broken) as server:
        assert judge(folder, server, "--concurrency", 1, "--max_failed_share", 1) == 0
    assert len(server.requests) == 2 * NUM_STEPS and len(read_rows(folder)) == 21


def test_what_a_dead_server_left_unanswered_is_asked_by_the_next_run(folder, capsys):
    def dies(number, request):
        return fill_in(number, request) if number <= 4 else Answer(status=401, body="no")

    with FakeEndpoint(dies) as server:
        assert judge(folder, server, "--concurrency", 1) == 1
    assert "the key was not accepted" in capsys.readouterr().err
    assert len(read_rows(folder)) == 2 * 4
    with FakeEndpoint(fill_in) as server:
        assert judge(folder, server) == 0
    assert len(server.requests) == NUM_STEPS - 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--base_url", "http://127.0.0.1:9/v1"], "--base_url and --model are required"),
        (["--base_url", "nowhere", "--model", "m"], "begin with http"),
        (["--base_url", "http://127.0.0.1:9/v1", "--model", "m", "--max_tokens", "0"], "max_tokens"),
    ],
)
def test_bad_options_end_in_one_line(folder, capsys, words, said):
    assert judge_study.main([str(folder), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1 and said in error


def test_the_report_holds_it_against_people(folder, tmp_path, capsys):
    with FakeEndpoint(fill_in) as server:
        assert judge(folder, server) == 0
    by_model = read_rows(folder)
    people = [{**one, "annotator": name, "kind": "person"} for one in by_model for name in ("ann", "bob")]
    people[0]["answer"] = "no"  # ann, who differs once
    AnswerFile(folder).append(people)
    capsys.readouterr()
    assert report_study.main([str(folder), "--output_dir", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "report/report.md").read_text()
    compared = json.loads((tmp_path / "report/report.json").read_text())["domains"]["toy"]["compared"]["toy-judge"]
    assert {name: one["pairs"] for name, one in compared.items()} == {"informed": 18, "accurate": 18, "related": 6}
    assert (compared["informed"]["share"], compared["accurate"]["share"]) == (round(17 / 18, 4), 1.0)
    assert compared["informed"]["confusion"]["no"] == {"yes": 0, "no": 0, "cannot_tell": 1}


def test_a_report_of_nothing_ends_in_one_line(tmp_path, capsys):
    for answers, said in ((tmp_path, "no answer yet"), (tmp_path / "no where", "is no folder, nor the name")):
        assert report_study.main([str(answers)]) == 1
        assert said in capsys.readouterr().err
    AnswerFile(tmp_path).append([row("ann", "informed", "yes") | {"answer": "?"}])
    assert report_study.main([str(tmp_path)]) == 1
    assert "line 1 is no answer" in capsys.readouterr().err


def test_a_report_is_not_written_into_the_answers_nor_made_of_them_twice(tmp_path, capsys):
    folder = tmp_path / "study"
    folder.mkdir()
    assert report_study.main([str(folder), "--output_dir", f"{folder}/../study"]) == 1
    error = f"error: --output_dir {folder}/../study is the folder of the answers; name another one.\n"
    assert capsys.readouterr().err == error
    assert report_study.main([str(folder), f"{folder}/"]) == 1
    assert capsys.readouterr().err == f"error: answers holds {folder} and {folder}/, the same place; name it once.\n"
    assert not list(folder.iterdir())
