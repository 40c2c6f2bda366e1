"""Public sets of the Hub as benchmarks: small files of the documented columns, with text of these tests' own."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from fake_hub import FakeHub
from forked_python import server

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.checks import check_benchmark, untestable
from dataset_builders.benchmark.report import read_report
from dataset_builders.benchmark.schema import SPLITS, TABLES, features
from dataset_builders.building.from_hub.build import SEMANTIC_IDS, build_from_hub
from dataset_builders.building.from_hub.known_sets import HUB_SETS, STEERABLE_GR, describe_columns, find_set
from dataset_builders.building.from_hub.reading import Request
from dataset_builders.building.from_hub.rows import paired_rows
from dataset_builders.commands.main import main
from dataset_builders.scoring.runs import Run, write_run

USERS = {"ann": [0, 1, 2, 3, 4], "bob": [3, 1, 5, 6], "cid": [7, 2, 0, 8, 9], "dee": [9, 4, 6]}
TITLES = ["rose soap", "clay mask", "oak comb", "mint balm", "silk cap", "fig oil", "tin box", "wax", "kohl", "loofah"]
CARD = """---
configs:
- config_name: benchmark
  default: true
  data_files:
  - {split: train, path: data/benchmark/train.parquet}
  - {split: validation, path: data/benchmark/validation.parquet}
  - {split: test, path: data/benchmark/test.parquet}
- config_name: catalog
  data_files:
  - {split: full, path: data/catalog/catalog.parquet}
---
"""
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("id", "dimension", "expected_behavior", "user_id"), pa.string()),
        "history_item_ids": pa.list_(pa.int32()),
        "history_titles": pa.list_(pa.string()),
        "prompt_text": pa.string(),
        "target_item_id": pa.int32(),
        "target_semantic_id": pa.list_(pa.int32()),
        "target_title": pa.string(),
        "steering_type": pa.string(),
        "previous_item_id": pa.int32(),
    }
)


def row(dimension, text, target, user=None, history=(), behavior="retrieve_target"):
    return {
        "id": f"{dimension}-{user}-{target}",
        "dimension": dimension,
        "expected_behavior": behavior,
        "user_id": user,
        "history_item_ids": list(history),
        "history_titles": [TITLES[item] for item in history],
        "prompt_text": text,
        "target_item_id": target,
        "target_semantic_id": codes(target),
        "target_title": TITLES[target] if 0 <= target < len(TITLES) else None,
        "steering_type": dimension.removesuffix("_steering") if "steering" in dimension else None,
        "previous_item_id": history[-1] if history else None,
    }


def codes(item):
    return [item // 4, item % 4, 1, 0]


def pair(dimension, wish, target, user=None, history=()):
    """Rows to retrieve and to avoid one target; lower-cased as the authors' code inverts."""
    return [
        row(dimension, f"Find {wish}".lower(), target, user, history),
        row(dimension, f"Avoid {wish}", target, user, history, "avoid_target"),
    ]


def rows_by_split():
    """A set of four users; history consolidation has no training rows."""
    splits = {split: [] for split in SPLITS}
    for user, items in USERS.items():
        for past in range(1, len(items)):
            split = SPLITS[max(0, 3 - (len(items) - past))]
            wish = f"I like {TITLES[items[past]]}"
            splits[split].append(row("preference_rec", wish, items[past], user, items[:past]))
            if split != "train":
                splits[split].append(
                    row("history_consolidation", f"Tidy things. {wish}.", items[past], user, items[:past])
                )
    for number, split in enumerate(SPLITS):
        history = USERS["ann"][: 2 + number]
        splits[split] += pair("sentiment", f"scent number {number}", number)
        splits[split] += pair("sentiment", f"smell number {number}", number)
        splits[split] += pair("sentiment_with_history", f"colour {number}", number, "ann", history)
        splits[split].append(row("fine_steering", f"a nearby wish {number}", 5 + number, "ann", history))
        splits[split].append(row("coarse_steering", f"a far wish {number}", 9, "ann", history))
    return splits


def catalog_rows():
    return [{"item_id": n, "semantic_id": codes(n), "title": title} for n, title in enumerate(TITLES)]


def write_set(folder, splits=None, catalog=None, card=CARD, drop=(), kinds=None):
    """Writes a set in the documented layout."""
    (folder / "data/benchmark").mkdir(parents=True)
    (folder / "data/catalog").mkdir()
    (folder / "README.md").write_text(card, encoding="utf-8")
    for split, rows in (rows_by_split() if splits is None else splits).items():
        table = pa.Table.from_pylist(rows, SCHEMA).drop_columns(list(drop))
        for name, kind in (kinds or {}).items():
            table = table.set_column(table.column_names.index(name), name, pa.array([1] * len(rows), kind))
        pq.write_table(table, folder / f"data/benchmark/{split}.parquet")
    schema = pa.schema({"item_id": pa.int32(), "semantic_id": pa.list_(pa.int32()), "title": pa.string()})
    table = pa.Table.from_pylist(catalog_rows() if catalog is None else catalog, schema)
    pq.write_table(table, folder / "data/catalog/catalog.parquet")
    return folder


def build(folder, output_dir, **options):
    return build_from_hub(str(folder), output_dir, format_name="steerable_gr", **options)


def read(folder, name, split="train"):
    return pq.read_table(folder / f"beauty_{name}" / f"{split}-00000-of-00001.parquet").to_pylist()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The benchmark of the set, and its report."""
    folder = tmp_path_factory.mktemp("hub")
    report = build(write_set(folder / "set"), folder / "beauty")
    return folder / "beauty", report


@pytest.mark.parametrize("name", ("recommendation", "sentiment", "fine", "coarse", "history", *TABLES))
def test_every_config_loads_with_the_published_features(built, tmp_path, name):
    folder, report = built
    loaded = load_dataset(str(folder), f"beauty_{name}", cache_dir=str(tmp_path))
    assert {split: rows.num_rows for split, rows in loaded.items()} == report.rows[f"beauty_{name}"]
    assert all(rows.features == features(name) for rows in loaded.values())


def test_histories_targets_and_sentences_are_those_of_the_set_with_ids_from_1(built):
    ours = read(built[0], "recommendation", "test")
    assert [(one["user_id"], one["history"], one["target"], one["position"]) for one in ours] == [
        (user, [item + 1 for item in items[:-1]], items[-1] + 1, len(items)) for user, items in USERS.items()
    ]
    assert ours[0]["preference"] == "I like silk cap"
    assert [(one["item_id"], one["source_id"], one["title"]) for one in read(built[0], "items")][:2] == [
        (1, "0", "rose soap"),
        (2, "1", "clay mask"),
    ]


def test_a_split_that_the_set_has_no_rows_of_is_left_out_and_said(built):
    folder, report = built
    assert set(report.rows["beauty_history"]) == {"validation", "test"}
    assert report.noted["split train of history, of which the set has no rows"] == 1
    assert not list((folder / "beauty_history").glob("train*"))


def test_a_steering_row_has_the_ground_truth_of_its_history(built):
    ours = {split: read(built[0], "fine", split)[0] for split in SPLITS}
    assert [(one["position"], one["target"], one["source_item"]) for one in ours.values()] == [
        (3, 6, 3),
        (4, 7, 4),
        (5, 8, 5),
    ]


def test_two_rows_of_sentiment_become_one_with_both_preferences(built):
    assert read(built[0], "sentiment", "test") == [
        {"preference_positive": f"find {what} number 2", "preference_negative": f"Avoid {what} number 2", "target": 3}
        for what in ("scent", "smell")
    ]


def test_partners_are_found_by_what_an_inversion_keeps_and_the_others_are_counted():
    def ask(text, avoids, target=1):
        return Request("sentiment", avoids, None, (), text, target)

    asked = [
        *(ask("Search forparabens", False), ask("find glitter", False)),
        *(ask("Avoid glitter", True), ask("No parabens", True)),
        *(ask("something else altogether", False, 2), ask("Nothing like it", True, 2)),
        *(ask("find a", False, 3), ask("find b", False, 3), ask("Avoid c", True, 3)),
    ]
    table, unpaired = paired_rows(AXES["sentiment"], asked, {})
    found = [(one["preference_positive"], one["preference_negative"]) for one in table.to_pylist()]
    assert found == [
        ("find glitter", "Avoid glitter"),
        ("Search forparabens", "No parabens"),
        ("something else altogether", "Nothing like it"),
    ]
    assert unpaired == 3


def test_what_the_set_lacks_is_in_the_report_and_the_card(built):
    folder, report = built
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert report == read_report(folder, "beauty")
    assert report.noted["items without brand, categories, price and description"] == len(TITLES)
    assert report.noted["actions without the five preferences of their position"] == sum(map(len, USERS.values()))
    assert report.noted["rows of history with all preferences in one text"] == 2 * len(USERS)
    for reason in (*report.noted, *report.left_out.values()):
        assert reason in card
    assert "LLaMA-3-70B-Instruct" in card and "Items have titles alone" in card and "license: mit" in card
    for foreign in ("{{", "{%", "Every action has exactly five", "Users and items with fewer", "Approximator:"):
        assert foreign not in card
    assert {name for name, axis in AXES.items() if f"beauty_{name}" not in report.rows} <= set(report.left_out)


def test_an_axis_that_this_version_lacks_is_left_out_with_its_count(built):
    if "sentiment_with_history" in AXES:
        assert built[1].rows["beauty_sentiment_with_history"] == dict.fromkeys(SPLITS, 1)
    else:
        assert "the set has 6 rows of it" in built[1].left_out["sentiment_with_history"]


def test_no_check_fails_and_what_could_not_be_tested_is_said(built, capsys):
    folder, report = built
    assert check_benchmark(folder) == []
    assert any("precedes its target" in line for line in untestable(report))
    assert main(["describe", str(folder)]) == 0
    assert "not tested: beauty: whether a row's preference precedes its target" in capsys.readouterr().out


def test_a_promise_that_the_set_breaks_is_stated_and_fails_only_if_its_count_changes(built, tmp_path):
    splits = rows_by_split()
    splits["test"] += pair("sentiment", "scent number 0", 0)  # as in train
    report = build(write_set(tmp_path / "set", splits), tmp_path / "beauty")
    assert report.noted["a negative preference is in two splits"] == 1
    assert check_benchmark(tmp_path / "beauty") == []
    path = tmp_path / "beauty/reports/beauty.json"
    stored = json.loads(path.read_text())
    stored["noted"]["a negative preference is in two splits"] = 0
    path.write_text(json.dumps(stored))
    assert any("in two splits" in line for line in check_benchmark(tmp_path / "beauty"))


def test_a_history_outside_its_users_sequence_has_no_position(tmp_path):
    splits = rows_by_split()
    splits["test"].append(row("fine_steering", "a stray wish", 5, "ann", [8, 8]))
    report = build(write_set(tmp_path / "set", splits), tmp_path / "beauty")
    stray = read(tmp_path / "beauty", "fine", "test")[-1]
    assert (stray["position"], stray["source_item"], stray["history"]) == (None, None, [9, 9])
    assert any(reason.startswith("rows of fine: ") and count == 1 for reason, count in report.noted.items())
    assert check_benchmark(tmp_path / "beauty") == []
    assert any("1 rows of fine" in line for line in untestable(report))


def test_rows_without_a_text_and_a_dimension_without_test_rows_are_counted(tmp_path):
    splits = rows_by_split()
    splits["train"].append(row("preference_rec", "", 1, "ann", [0]))
    splits["test"] = [one for one in splits["test"] if one["dimension"] != "coarse_steering"]
    report = build(write_set(tmp_path / "set", splits), tmp_path / "beauty")
    assert report.skipped == {"rows without a prompt_text": 1}
    assert report.left_out["coarse"] == "the set has no test rows of coarse_steering"
    assert not (tmp_path / "beauty/beauty_coarse").exists()


def test_the_codes_are_semantic_ids_that_learn_ids_could_have_written(built):
    from modeling_mender.semantic_ids import SemanticIds

    ids = SemanticIds.from_parquet(built[0] / SEMANTIC_IDS)
    assert ids.codes.tolist() == [codes(item) for item in range(len(TITLES))]


def test_shared_codes_are_no_semantic_ids(tmp_path):
    shared = [{**one, "semantic_id": [1, 2, 3, 0]} for one in catalog_rows()]
    report = build(write_set(tmp_path / "set", catalog=shared), tmp_path / "beauty")
    assert not (tmp_path / "beauty" / SEMANTIC_IDS).exists()
    assert "items whose codes are not unique or not of one length: no semantic IDs" in report.noted


def test_a_popular_run_is_scored_on_every_axis(built, tmp_path, capsys):
    folder, report = built
    axes = [name for name in AXES if f"beauty_{name}" in report.rows]
    popular = list(range(10, 0, -1)), [float(score) for score in range(10, 0, -1)]
    queries = {
        "/".join(filter(None, (axis, str(number), variant))): popular
        for axis in axes
        for variant in AXES[axis].asked
        for number in range(report.rows[f"beauty_{axis}"]["test"])
    }
    write_run(Run.from_answers(queries, {"method": "popular"}), tmp_path / "run.parquet", len(TITLES))
    command = ["score", tmp_path / "run.parquet", "--benchmark", folder, "--domain", "beauty"]
    assert main([*map(str, command), "--output_dir", str(tmp_path / "results")]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert set(results["axes"]) == set(axes)


def test_a_model_trains_on_the_rows_with_the_codes_of_the_set_and_is_evaluated(built, tmp_path, capsys):
    folder, report = built
    where = ["--benchmark", str(folder), "--domain", "beauty", "--output_dir"]
    small = {"max_steps": 2, "warmup_steps": 1, "per_device_train_batch_size": 2, "num_decoder_layers": 1}
    options = [word for name, value in small.items() for word in (f"--{name}", str(value))]
    ids = ["--semantic_ids", str((folder / SEMANTIC_IDS).parent)]
    assert main(["train", "--method", "tiger", *where, str(tmp_path / "out"), *ids, *options]) == 0
    assert main(["evaluate", str(tmp_path / "out/model"), *where, str(tmp_path / "results"), "--resamples", "10"]) == 0
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert {f"beauty_{axis}" for axis in results["axes"]} | {f"beauty_{name}" for name in TABLES} == set(report.rows)


def error_of(capsys, *words):
    """The one line that the command prints."""
    assert main(["build", "--from_hub", *map(str, words)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and "Traceback" not in "".join(lines)
    return lines[-1]


def local(folder, tmp_path):
    return folder, "--from_hub_format", "steerable_gr", "--output_dir", tmp_path / "out"


def change(splits, **values):
    splits["test"][0].update(values)
    return splits


BROKEN = {
    "a missing column": ({"drop": ["prompt_text"]}, ["lacks the column(s) prompt_text; it has id,", "fb35fc8"]),
    "a column of another kind": ({"kinds": {"prompt_text": pa.int32()}}, ["prompt_text is integer and must be text"]),
    "an unknown dimension": (
        {"splits": change(rows_by_split(), dimension="mood")},
        ["test, row 0, has the dimension 'mood'", "coarse_steering"],
    ),
    "an unknown behavior": (
        {"splits": change(rows_by_split(), expected_behavior="shun")},
        ["expected_behavior 'shun'", "avoid_target"],
    ),
    "a target to avoid elsewhere": (
        {"splits": change(rows_by_split(), expected_behavior="avoid_target")},
        ["test has 1 rows of preference_rec whose target is to be avoided"],
    ),
    "an item outside the catalog": (
        {"splits": change(rows_by_split(), target_item_id=77)},
        ["test, row 0, names the item 77", "10 items"],
    ),
    "an item twice in the catalog": ({"catalog": [*catalog_rows(), catalog_rows()[0]]}, ["each item once"]),
    "a missing split": (
        {"card": CARD.replace("  - {split: validation, path: data/benchmark/validation.parquet}\n", "")},
        ["config benchmark, has no split 'validation'; it has train, test"],
    ),
    "a missing config": (
        {"card": CARD.split("- config_name: catalog")[0] + "---\n"},
        ["has no config 'catalog'; it has benchmark", "README.md"],
    ),
    "nothing to test": (
        {"splits": {**rows_by_split(), "test": pair("sentiment", "scent", 1)[:1]}},
        ["no test rows of any of preference_rec"],
    ),
    "an empty file": ({"splits": {**rows_by_split(), "test": []}}, ["config benchmark, cannot be loaded"]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_set_that_differs_from_its_record_is_refused_in_one_line(tmp_path, capsys, what):
    changes, said = BROKEN[what]
    line = error_of(capsys, *local(write_set(tmp_path / "set", **changes), tmp_path))
    assert all(part in line for part in said), line
    assert not (tmp_path / "out").exists()


def test_a_column_that_the_card_declares_and_the_file_lacks_is_named(tmp_path, capsys):
    declared = "".join(f"  - {{name: {name}, dtype: string}}\n" for name in ("dimension", "prompt_text"))
    card = CARD.removesuffix("---\n") + f"dataset_info:\n- config_name: benchmark\n  features:\n{declared}---\n"
    line = error_of(capsys, *local(write_set(tmp_path / "set", card=card, drop=["prompt_text"]), tmp_path))
    assert "lacks the column(s) prompt_text; it has id, dimension" in line


def test_a_folder_that_does_not_exist_or_holds_nothing_is_refused(tmp_path, capsys):
    assert "is no folder, nor the name" in error_of(capsys, *local(tmp_path / "none", tmp_path))
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in error_of(capsys, *local(tmp_path / "empty", tmp_path))


def test_a_repository_that_is_not_known_names_the_known_ones_and_the_way_out(tmp_path, capsys):
    line = error_of(capsys, "org/other", "--output_dir", tmp_path / "out")
    assert all(one.repository in line for one in HUB_SETS.values()) and "--from_hub_format steerable_gr" in line
    assert "'csv' is unknown; choose one of steerable_gr" in error_of(
        capsys, "org/other", "--from_hub_format", "csv", "--output_dir", tmp_path / "out"
    )


def test_the_set_without_documented_columns_says_what_can_be_read_instead(capsys, tmp_path):
    line = error_of(capsys, "paischer101/preference_discerning", "--output_dir", tmp_path / "out")
    assert "not documented" in line and STEERABLE_GR.repository in line and describe_columns(STEERABLE_GR) in line
    with pytest.raises(ValueError, match="not documented"):
        find_set("somewhere", "preference_discerning")
    assert find_set("paischer101/preference_discerning", "steerable_gr") is STEERABLE_GR


@pytest.mark.parametrize(
    "options", [("--source", "sample"), ("--raw_dir", "."), ("--journal", "j.jsonl", "--window", "9")]
)
def test_options_of_a_build_from_reviews_are_refused_by_name(tmp_path, capsys, options):
    line = error_of(capsys, *local(tmp_path, tmp_path), *options)
    assert "--from_hub cannot be combined with" in line
    assert all(option in line for option in options if option.startswith("--"))


def test_options_without_what_they_belong_to_are_refused(tmp_path, capsys):
    assert "--from_hub needs --output_dir" in error_of(capsys, tmp_path, "--from_hub_format", "steerable_gr")
    assert "has no revision 'v1'" in error_of(
        capsys, *local(write_set(tmp_path / "set"), tmp_path), "--revision", "v1"
    )
    assert main(["build", "--domain", "beauty", "--revision", "v1", "--output_dir", str(tmp_path / "out")]) == 1
    assert "--revision belong to --from_hub" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["build", "--output_dir", str(tmp_path / "out")])
    assert "required: --domain" in capsys.readouterr().err


def test_an_existing_directory_is_replaced_only_on_request(tmp_path, capsys):
    words = local(write_set(tmp_path / "set"), tmp_path)
    (tmp_path / "out").mkdir()
    assert "already exists" in error_of(capsys, *words)
    assert main(["build", "--from_hub", *map(str, words), "--overwrite", "--domain", "other"]) == 0
    assert (tmp_path / "out/other_sentiment").is_dir()


DRIVER = """
import contextlib, io, json, sys
from dataset_builders.commands.main import main

answers = []
for words in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        status = main(words)
    answers.append([status, [line for line in err.getvalue().splitlines() if line.startswith("error: ")]])
print("\\n" + json.dumps(answers))
"""


def type_commands(environment, folder, *commands):
    done = server().run(DRIVER, json.dumps(commands), environment=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_the_set_is_read_from_the_hub_at_a_commit_and_refusals_are_one_line(built, tmp_path):
    folder = write_set(tmp_path / "set")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    command = ["build", "--from_hub", STEERABLE_GR.repository, "--output_dir"]
    root = str(Path(__file__).resolve().parents[2])
    with FakeHub() as hub:
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": root}
        (absent,) = type_commands(environment, tmp_path, [*command, "none"])
        commit = hub.create_repo("dataset", STEERABLE_GR.repository, files).find("main").oid
        good, revision = type_commands(
            environment, tmp_path, [*command, "beauty"], [*command, "other", "--revision", "v9"]
        )
    offline = environment | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "elsewhere")}
    (away,) = type_commands(offline, tmp_path, [*command, "away"])
    assert good == [0, []]
    report = read_report(tmp_path / "beauty", "beauty")
    assert report.options["from_hub"]["revision"] == commit
    assert report.fingerprints == built[1].fingerprints
    for (status, lines), said in (
        (absent, "dataset xiaoleichu/amazon-beauty-steerable-gr does not exist on the Hub"),
        (revision, "has no revision 'v9'"),
        (away, "out of reach"),
    ):
        assert status == 1 and len(lines) == 1 and said in lines[0], lines
