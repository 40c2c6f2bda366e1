"""Scenarios of a study are rows of the benchmark, with the reviews that their preferences were written from."""

import json

import pytest
from benchmark_world import hash_embed

from dataset_builders.benchmark.tables import require_table
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.domains import get_domain
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.sources import get_source
from dataset_builders.commands.draw_study import main
from dataset_builders.user_study.form import read_study

LONG = "word " * 500


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Eight users with six reviewed purchases each among twelve items, as tables, and their benchmark."""
    folder = tmp_path_factory.mktemp("shop")
    kinds, colors = ("lamp", "soap", "mug"), ("red", "blue", "green", "black")
    titles = [f"{color} {kind}" for kind in kinds for color in colors]
    items = [{"item_id": f"i{n}", "title": title, "brand": "Oakmoth"} for n, title in enumerate(titles)]
    actions = [
        {"user_id": f"u{u}", "item_id": f"i{(u + 2 * n) % 12}", "timestamp": n, "rating": 5 - n % 2}
        | {"review": LONG if n == 0 else f"u{u} likes purchase {n}"}
        for u in range(8)
        for n in range(6)
    ]
    for name, rows in (("items", items), ("interactions", actions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = get_source("tables", interactions=folder / "interactions.jsonl", items=folder / "items.jsonl")
    options = BuildOptions(min_count=1)
    build_benchmark(source, "toy", folder / "benchmark", hash_embed, options=options, progress=False)
    return folder


def draw(shop, output, *words):
    source = ["--source", "tables", "--interactions", shop / "interactions.jsonl", "--items", shop / "items.jsonl"]
    command = [shop / "benchmark", "--domain", "toy", *source, "--min_count", 1, "--output_dir", output, *words]
    return main(list(map(str, command)))


def test_a_scenario_is_a_row_with_its_history_reviews_and_next_item(shop, tmp_path, capsys):
    assert draw(shop, tmp_path / "study") == 0
    printed = capsys.readouterr().out
    assert "drawn: 8 scenarios of toy (all that there are; 220 were asked for), each for 2 annotators" in printed
    assert "at most 20 for one: 2 annotators" in printed
    study = read_study(tmp_path / "study")
    assert (study.benchmark, study.source) == ("benchmark", "tables")  # no path of this machine
    rows = require_table(str(shop / "benchmark"), "toy", "recommendation", "test")
    preferences = require_table(str(shop / "benchmark"), "toy", "preferences")
    sets = {(one["user_id"], one["position"]): one["preferences"] for one in preferences}
    titles = {one["item_id"]: one["title"] for one in require_table(str(shop / "benchmark"), "toy", "items")}
    expected = {(row["user_id"], row["position"]): row for row in rows}
    assert {(one.user_id, one.position) for one in study.scenarios} == expected.keys()
    for one in study.scenarios:
        row = expected[one.user_id, one.position]
        assert [item["title"] for item in one.history] == [titles[item_id] for item_id in row["history"]]
        assert one.target == {"title": titles[row["target"]], "brand": "Oakmoth"}
        assert one.preferences == sets[one.user_id, one.position - 1]
        assert one.preferences[one.matched] == row["preference"]
        assert [item["review"] for item in one.history[1:]] == [
            f"{one.user_id} likes purchase {n}" for n in range(1, 5)
        ]
        assert [item["rating"] for item in one.history] == [5, 4, 5, 4, 5]
        assert len(one.history[0]["review"]) <= 1002 and one.history[0]["review"].endswith("word …")


def test_a_draw_is_the_same_for_a_seed_and_another_for_another(shop, tmp_path):
    for name, words in {"a": [], "b": [], "c": ["--seed", 1]}.items():
        assert draw(shop, tmp_path / name, "--split", "train", "--num_scenarios", 6, *words) == 0
    a, b, c = (read_study(tmp_path / name).scenarios for name in "abc")
    assert a == b != c and len(a) == len(c) == 6
    assert len({(one.user_id, one.position) for one in a}) == 6
    assert all(len(one.history) == one.position - 1 < 4 for one in a)


def test_more_scenarios_than_there_are_are_said_to_be_all(shop, tmp_path, capsys):
    assert draw(shop, tmp_path / "study", "--num_scenarios", 5000) == 0
    there = len(read_study(tmp_path / "study").scenarios)
    assert (
        f"drawn: {there} scenarios of toy (all that there are; 5,000 were asked for), each" in capsys.readouterr().out
    )
    assert main([str(shop / "benchmark"), "--domain", "sample", "--output_dir", str(tmp_path / "other")]) == 1
    assert "has no report of domain 'sample'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="give --source sample, which comes with this package"):
        get_domain("sample")


def test_a_study_with_answers_is_not_replaced(shop, tmp_path, capsys):
    assert draw(shop, tmp_path / "study") == 0
    assert draw(shop, tmp_path / "study") == 1
    assert "already exists; choose another output directory, or give --overwrite" in capsys.readouterr().err
    assert draw(shop, tmp_path / "study", "--overwrite") == 0
    (tmp_path / "study/answers").mkdir()
    assert draw(shop, tmp_path / "study", "--overwrite") == 1
    assert "holds answers, which this command does not write" in capsys.readouterr().err


def test_reviews_of_another_source_are_not_shown_to_anybody(shop, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    lines = (shop / "interactions.jsonl").read_text().splitlines(keepends=True)
    other.write_text("".join([lines[1], lines[0], *lines[2:]]).replace('"timestamp": 0', '"timestamp": 9'))
    source = ["--source", "tables", "--interactions", other, "--items", shop / "items.jsonl", "--min_count", 1]
    words = [shop / "benchmark", "--domain", "toy", *source, "--output_dir", tmp_path / "study"]
    assert main(list(map(str, words))) == 1
    error = capsys.readouterr().err
    assert "has other purchases of user" in error and "give the source" in error and not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--raters", "0"], "raters (0)"),
        (["--num_scenarios", "-3"], "num_scenarios (-3)"),
        (["--domain", "beauty"], "has no report of domain 'beauty'"),
    ],
)
def test_bad_options_end_in_one_line(shop, tmp_path, capsys, words, said):
    source = ["--source", "tables", "--interactions", shop / "interactions.jsonl", "--items", shop / "items.jsonl"]
    domain = [] if "--domain" in words else ["--domain", "toy"]
    command = [shop / "benchmark", *domain, *source, "--min_count", 1, "--output_dir", tmp_path / "study", *words]
    assert main(list(map(str, command))) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1 and said in error
