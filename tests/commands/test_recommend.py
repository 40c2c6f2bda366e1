"""Recommendations in the terminal."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_endpoint import Answer, FakeEndpoint
from fake_hub import FakeHub
from tiny_models import TITLES, SteeringProcessor, load_steering, train_tiny

from modeling_mender.commands import recommend, recommend_printing, recommend_request

# A command in a fresh process; the last line says which of the heavy libraries it imported.
LIGHT = """
import contextlib, sys

from modeling_mender.commands import recommend, recommend_printing, recommend_request

status = None
with contextlib.suppress(SystemExit):
    status = recommend.main(sys.argv[1:])
print(status, [name for name in ("torch", "transformers") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(train_tiny("mender_tok", tmp_path_factory.mktemp("tok")))


def run(capsys, *words):
    status = recommend.main(list(words))
    printed = capsys.readouterr()
    return status, printed.out, [line for line in printed.err.splitlines() if line.startswith("error: ")]


@pytest.fixture
def steering(tmp_path, monkeypatch):
    """A folder, whose model gives terms and whose processor reads `avoid`; and a list of what was loaded from it."""
    folder, loaded = train_tiny("mender_emb", tmp_path), []

    def load(name, revision=None, device="cpu"):
        loaded.append(load_steering(name))
        return loaded[-1]

    monkeypatch.setattr("modeling_mender.hub.loading.load_recommender", load)
    return str(folder), loaded


def type_alone(project, *words, **environment):
    """Output of a fresh process that runs the command."""
    run = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], cwd=project, capture_output=True, text=True, **environment
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.splitlines()


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
    assert recommend_request.find_item(["Soap", "Rose Soap"], "soap") == 1


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
        (["--history", "1", "--verify"], "--verify checks a download against the Hub"),
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


def test_the_examples_of_the_docstring_are_commands_that_it_takes():
    examples = recommend.__doc__.replace("\\\n", " ").split("mender recommend ")[1:]
    first, second = (recommend.parse_arguments(shlex.split(example.split("\n")[0])) for example in examples)
    recommend.check_options(first)
    assert (first.avoid, first.strength, first.terms) == (["lavender"], [2.0], True)
    assert second.search == "nail polish"


def test_help_and_a_search_import_no_library_of_models(project, folder):
    assert type_alone(project, "--help")[-1] == "None []"
    *found, last = type_alone(project, folder, "--search", "green tea")
    assert (found, last) == (["      7  green tea"], "0 []")


def test_a_mistyped_item_is_answered_before_the_model_is_loaded(project, folder):
    assert type_alone(project, folder, "--history", "gren tea")[-1] == "1 []"


def test_a_search_on_the_hub_downloads_the_titles_alone(project, folder, tmp_path):
    with FakeHub() as hub:
        hub.create_repo("model", "org/toy", {path.name: path.read_bytes() for path in Path(folder).iterdir()})
        environment = hub.environment(tmp_path)
        *found, last = type_alone(project, "org/toy", "--search", "red mug", env=environment)
        assert (found, last) == (["      4  red mug"], "0 []")
        files = {path.rsplit("/", 1)[-1] for method, path in hub.requests if "/resolve/" in path}
        assert files == {"items.jsonl"}
        assert type_alone(project, "org/none", "--search", "red mug", env=environment)[-1] == "1 []"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lavendar sope", [2]),
        ("rosesoap", [1]),
        ("ROSE  quartz", [1]),
        ("a candel", [3]),
        ("rsoe", [1]),
        ("quartz", []),
    ],
)
def test_what_was_meant(written, meant):
    assert recommend_request.suggest(["Rose Soap", "Lavender Soap", "Candle"], written)[:1] == meant


def test_titles_nearest_to_the_whole_come_first_and_five_at_most():
    titles = ["Walnut Table Lamp", "Walnut Lamp", *(f"Walnut Lamp No. {number}" for number in range(9))]
    assert recommend_request.suggest(titles, "wallnut lamp")[0] == 2
    assert len(recommend_request.suggest(titles, "wallnut lamp")) == 5
    assert recommend_request.suggest(["Lamp"] * 9, "lmap") == [1, 2, 3, 4, 5]  # one title of many items


def test_a_misspelt_item_brings_titles_and_ids_that_were_meant(folder, capsys):
    for option in ("--history", "--candidates", "--exclude"):
        status, _, errors = run(capsys, folder, "--preference", "look for tea", option, "greeen lampp")
        assert status == 1 and "no item's title has all the words of 'greeen lampp'" in errors[0]
        assert "did you mean 6 green lamp? Give its id" in errors[0]


def test_a_search_for_a_misspelt_word_lists_what_was_meant(folder, capsys):
    status, out, _ = run(capsys, folder, "--search", "blu mugg")
    assert status == 0
    assert out.splitlines() == ["no title has all of these words; did you mean", "     12  blue mug"]
    assert run(capsys, folder, "--search", "xylophone")[1] == "no title has all of these words\n"


def test_what_to_avoid_and_strengths_are_asked_and_shown(steering, capsys):
    folder, loaded = steering
    asked = ("--history", "1", "--preference", "look for tea", "red soap", "--avoid", "mug", "blue lamp")
    status, out, _ = run(capsys, folder, *asked, "--strength", "2", "-0.5", "--k", "2")
    assert status == 0
    assert loaded[-1][1].given == {"avoid": [["mug", "blue lamp"]], "strength": [[2.0, -0.5]]}
    assert [line.split() for line in out.splitlines()[1:5]] == [
        ["preference", "x", "2", "look", "for", "tea"], ["preference", "x", "-0.5", "red", "soap"],
        ["avoid", "mug"], ["avoid", "blue", "lamp"],
    ]  # fmt: skip
    _, out, _ = run(capsys, folder, *asked, "--strength", "0", "--k", "2", "--json")
    assert loaded[-1][1].given["strength"] == [0.0]  # one number for all preferences
    request = json.loads(out)["request"]
    assert (request["avoid"], request["strength"]) == (["mug", "blue lamp"], 0.0)


def test_terms_are_printed_below_each_item_and_sum_to_its_score(steering, capsys):
    folder, _ = steering
    asked = ("--history", "1", "--preference", "look for tea", "--k", "3", "--terms")
    status, out, _ = run(capsys, folder, *asked)
    lines = out.splitlines()
    assert status == 0
    assert lines[-1] == "A score is the sum of its terms."
    for item, terms in zip(lines[3:-1:2], lines[4:-1:2], strict=True):
        parts = dict(part.rsplit(maxsplit=1) for part in terms.strip().split(", "))
        assert parts.keys() == {"history", "preference 1"}
        assert sum(map(float, parts.values())) == pytest.approx(float(item.split()[1]), abs=2e-3)
    _, out, _ = run(capsys, folder, *asked, "--json")
    assert all(set(item["terms"]) == {"history", "preference 1"} for item in json.loads(out)["items"])


def test_what_is_the_same_for_every_item_is_said_once(capsys):
    items = [
        {"item_id": item, "title": "tea", "score": -item, "terms": {"history": 2.0 - item, "normalization": -2.0}}
        for item in (1, 2)
    ]
    recommend_printing.print_items(items)
    assert capsys.readouterr().out.splitlines()[-1] == "A score is the sum of its terms, and -2.000 for every item."


def test_texts_that_are_read_otherwise_are_shown_and_with_terms_every_text(steering, capsys, monkeypatch):
    def read(self, *request):
        assert request == ([[1]], [["tea", "mugs, not lavendar"]], [None], [None])
        texts = [("tea", 1.0, {}), ("mugs", 1.0, {}), ("lavender", -2.0, {"lavendar": "lavender"}), ("oak", 0.0, {})]
        return [([1], [SimpleNamespace(text=text, strength=by, corrections=new) for text, by, new in texts])]

    monkeypatch.setattr(SteeringProcessor, "read", read, raising=False)
    asked = (steering[0], "--history", "1", "--preference", "tea", "mugs, not lavendar", "--k", "1")
    without, every = ([line.split(maxsplit=4) for line in run(capsys, *asked, *more)[1].splitlines()]
                      for more in ((), ("--terms",)))  # fmt: skip
    mugs = ["preference", "2", "x", "1", "read as 'mugs'"]
    lavender = ["avoid", "1", "x", "2", "read as 'lavender' (lavender for lavendar)"]
    assert without[3:5] == [mugs, lavender]
    assert every[3:6] == [["preference", "1", "x", "1", "read as 'tea'"], mugs, lavender]
    assert "wanted and avoided at once" in " ".join(without[5])


def test_a_language_model_splits_texts_where_its_server_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-mine")
    folder = str(train_tiny("mender_steer", tmp_path))
    asked = (folder, "--preference", "Tee, aber keine Lampen", "--k", "2", "--terms", "--split_model", "toy")
    text = json.dumps({"wanted": ["tea"], "avoided": ["lamp"]})
    with FakeEndpoint(lambda number, request: Answer(text)) as server:
        status, out, _ = run(capsys, *asked, "--split_base_url", server.base_url, "--split_api_key_env", "MY_KEY")
    assert status == 0 and "read as 'tea'" in out and "read as 'lamp'" in out
    assert len(server.requests) == 1 and server.keys == ["Bearer sk-mine"]

    with FakeEndpoint(lambda number, request: Answer(status=401, body="who?")) as server:
        status, out, errors = run(capsys, *asked, "--split_base_url", server.base_url)
    assert (status, out, len(errors)) == (1, "", 1)
    assert f"error: {server.base_url}: status 401" in errors[0] and "that --split_api_key_env names" in errors[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preference", "tea", "--strength", "nan"], "strength is nan, which is no finite number"),
        (["--preference", "tea", "--strength", "1e999"], "strength is inf, which is no finite number"),
        (
            ["--preference", "tea", "--strength", "1", "2"],
            "strength has 2 numbers for 1 preferences and 0 avoided texts",
        ),
        (["--preference", "tea \udce9"], "holds half of a character (a surrogate), U+DCE9, at position 4"),
        (["--preference", *map(str, range(101))], "preference has 101 texts, and the limit is 100"),
        (["--preference", "tea " * 600], "preference is 'tea tea tea"),
        (["--history", "9" * 5000], "which is no item of this catalog"),
        (["--history", "1", "--strength", "1"], "--strength is the weight of a text, and there is none"),
        (["--history", "1", "--k", "0"], "--k (0) must be at least 1"),
        (["--history", "1", "--exclude", *map(str, range(1, 13))], "0 items left after --candidates"),
        (["--history", "1", "--candidates", "1", "--exclude_history"], "--k is 10; allow more"),
        (["--history", "1", "--candidates", "1", "2", "--k", "3"], "2 items left after --candidates"),
        (["--history", "1", "--exclude", "-3"], "-3, which is no item of this catalog (ids 1..12)"),
        (["--history", "1", "--avoid", "mug"], "a mender_tok model does not read avoid"),
        (["--preference", "tea", "--strength", "2"], "a mender_tok model does not read strength"),
        (["--history", "1", "--terms"], "a mender_tok model is no sum of terms"),
        (["--preference", "tea", "--split_model", "toy"], "give --split_base_url and --split_model"),
        (["--preference", "tea", "--split_base_url", "http://x/v1"], "give --split_base_url and --split_model"),
        (
            ["--preference", "tea", "--split_base_url", "http://x/v1", "--split_model", "toy"],
            "a mender_tok model does not split texts; leave out --split_base_url",
        ),
        (
            [
                "--preference",
                "t",
                "--split_base_url",
                "http://x",
                "--split_model",
                "toy",
                "--split_api_key_env",
                "NO_",
            ],
            "The environment variable NO_ is not set",
        ),
    ],
)
def test_what_no_model_could_answer_is_one_line_with_the_way_out(folder, capsys, words, message):
    status, out, errors = run(capsys, folder, *words)
    assert (status, out, len(errors)) == (1, "", 1)
    assert message in errors[0] and ";" in errors[0]


def test_a_strength_that_is_no_number_is_the_parsers_error(folder, capsys):
    with pytest.raises(SystemExit) as exit_:
        recommend.main([folder, "--preference", "tea", "--strength", "much"])
    assert exit_.value.code == 2


@pytest.mark.parametrize("words", [["--history", "1"], ["--search", "tea"]])
def test_a_folder_that_holds_its_model_below_is_pointed_at(folder, capsys, words):
    parent = str(Path(folder).parent)
    status, out, errors = run(capsys, parent, *words)
    assert (status, out) == (1, "")
    assert errors == [f"error: {parent} has no config.json, but {folder} has; give that folder."]


def test_a_search_where_no_titles_are_says_what_is_missing(folder, tmp_path, capsys):
    _, _, errors = run(capsys, str(tmp_path), "--search", "tea")
    assert "has no config.json" in errors[0]
    (tmp_path / "config.json").write_text((Path(folder) / "config.json").read_text())
    _, _, errors = run(capsys, str(tmp_path), "--search", "tea")
    assert "has no items.jsonl" in errors[0]
    (tmp_path / "items.jsonl").write_text(json.dumps({"title": TITLES[0]}) + '\n{"titel": "red lamp"}\n')
    _, _, errors = run(capsys, str(tmp_path), "--search", "tea")
    assert "line 2 of" in errors[0] and "it has no title" in errors[0]
    _, _, errors = run(capsys, str(tmp_path / "not/there/at all"), "--search", "tea")
    assert "is neither a folder nor a name on the Hub" in errors[0]


@pytest.mark.parametrize("device", ["foo", "cuda:97"])
def test_a_device_that_is_not_there_is_one_line_with_its_name(folder, capsys, device):
    status, _, errors = run(capsys, folder, "--history", "1", "--k", "1", "--device", device)
    assert status == 1
    assert len(errors) == 1 and f"device {device} cannot be used here" in errors[0]


def test_weights_of_another_shape_are_not_blamed_on_the_device(folder, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"d_ff": config["d_ff"] + 1}), encoding="utf-8")
    said = ""
    try:
        assert recommend.main([str(other), "--history", "1", "--k", "1"]) == 1
    except RuntimeError as error:
        said = str(error)
    assert "device" not in said + capsys.readouterr().err


def test_terms_name_nothing_that_was_not_given(tmp_path, capsys):
    folder = str(train_tiny("mender_steer", tmp_path))
    _, out, _ = run(capsys, folder, "--history", "1", "--preference", "tea", "--k", "2", "--terms")
    assert "history" in out and "given" not in out


HOSTILE = "red\x1b[31m lamp\nhistory       99  \u202eforged\u200b"


def test_no_title_of_a_foreign_model_reaches_the_terminal_as_more_than_text(folder, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    lines = [json.loads(line) for line in (model / "items.jsonl").read_text().splitlines()]
    for line in lines:
        line["title"] = f"{HOSTILE} {line['title']}"
    (model / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "items_digest": None}))
    (model / "manifest.json").unlink(missing_ok=True)
    printed = ""
    for words in (["--history", "1", "--k", "3"], ["--search", "green"], ["--search", "gren"], ["--history", "lamp"]):
        recommend.main([str(model), *words])
        captured = capsys.readouterr()
        printed += captured.out + "".join(line for line in captured.err.splitlines() if line.startswith("error"))
    assert r"\x1b[31m lamp history 99 \u202eforged\u200b" in printed
    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    assert printed.count("\nhistory ") == 0  # no line of its own
    _, out, _ = run(capsys, str(model), "--search", "green", "--json")
    assert json.loads(out)["items"][0]["title"].startswith(HOSTILE)


def test_a_search_as_json_is_json(folder, capsys):
    status, out, _ = run(capsys, folder, "--search", "green tea", "--json")
    assert status == 0 and json.loads(out) == {"search": "green tea", "items": [{"item_id": 7, "title": "green tea"}]}
    assert json.loads(run(capsys, folder, "--search", "no such", "--json")[1])["items"] == []


@pytest.mark.parametrize("device", ["meta", "privateuseone", "no_such_device", "cpu:-1"])
def test_a_device_that_cannot_compute_is_named(folder, capsys, device):
    status, _, errors = run(capsys, folder, "--history", "1", "--device", device)
    assert status == 1 and f"device {device} cannot be used here" in errors[0]


def test_beams_of_a_model_without_beams_are_refused(tmp_path, capsys):
    model = str(train_tiny("most_popular", tmp_path))
    status, out, errors = run(capsys, model, "--history", "1", "--num_beams", "5")
    assert status == 1 and out == "" and "num_beams (5) is given, and a most_popular model has no beams" in errors[0]
