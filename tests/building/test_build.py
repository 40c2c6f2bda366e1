"""The whole benchmark: built from the sample, loaded by `datasets`, checked for leaks, never half-written."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from benchmark_world import ToySource, hash_embed, is_averted, item
from datasets import load_dataset

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.checks import check_benchmark
from dataset_builders.benchmark.report import BuildReport, list_domains, read_report, report_file
from dataset_builders.benchmark.schema import SPLITS, TABLES, features, splits_of
from dataset_builders.building.build import build_benchmark, load_sequences
from dataset_builders.building.domains import DOMAINS
from dataset_builders.building.hf_builder import PreferenceDiscerningConfig
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.preferences.approximation import PreferenceApproximator
from dataset_builders.building.preferences.metadata import MetadataApproximator
from dataset_builders.building.sources import SOURCES
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.building.stage_cache import StageCache
from dataset_builders.building.stages import STAGES, BenchmarkBuild
from dataset_builders.commands import build as build_command
from dataset_builders.commands import source_arguments

SOURCE = SampleSource(num_users=150)


OPTIONS = set(BuildOptions.__dataclass_fields__)


def build(folder, source=SOURCE, embed=hash_embed, **arguments):
    options = BuildOptions(**{name: arguments.pop(name) for name in OPTIONS & set(arguments)})
    return build_benchmark(source, "sample", folder, embed, options=options, progress=False, **arguments)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "sample"
    # metadata/1, whose words the tests can compare with those of titles
    return folder, build(folder, approximator=MetadataApproximator(), embedding_model="hashed words")


@pytest.fixture
def copy(benchmark, tmp_path):
    return shutil.copytree(benchmark[0], tmp_path / "copy")


def rows_of(folder, name, split="train"):
    return pq.read_table(folder / f"sample_{name}" / f"{split}-00000-of-00001.parquet").to_pylist()


@pytest.mark.parametrize("name", (*AXES, *TABLES))
def test_every_config_loads_with_the_published_features(benchmark, tmp_path, name):
    folder, report = benchmark
    loaded = load_dataset(str(folder), f"sample_{name}", cache_dir=str(tmp_path))
    assert set(loaded) == set(splits_of(name))
    for split, dataset in loaded.items():
        assert dataset.features == features(name)
        assert dataset.num_rows == report.rows[f"sample_{name}"][split] > 0


def test_the_benchmark_of_the_sample_breaks_no_promise(benchmark):
    assert check_benchmark(benchmark[0]) == []


def test_counts_are_those_of_table_3_and_4(benchmark):
    folder, report = benchmark
    assert report.num_preferences == 5 * report.num_actions
    assert report.num_actions == len(rows_of(folder, "preferences"))
    assert report.num_items == len(rows_of(folder, "items"))
    for axis in ("recommendation", "history"):
        assert report.rows[f"sample_{axis}"]["test"] == report.num_users
    assert report.rows["sample_fine"] == report.rows["sample_coarse"]


def test_sentiment_targets_were_really_disliked(benchmark):
    folder, _ = benchmark
    truth = SOURCE.planted_truth()
    source_ids = {row["item_id"]: row["source_id"] for row in rows_of(folder, "items")}
    actions = SOURCE._shop[2].to_pylist()
    disliked = {row["source_id"] for row in actions if row["rating"] <= 3}
    averted = Counter()
    for split in SPLITS:
        for row in rows_of(folder, "sentiment", split):
            source_id = source_ids[row["target"]]
            assert source_id in disliked
            averted[any(is_averted(truth, user, source_id) for user in truth.users)] += 1
    assert averted[True] > averted[False]


def test_an_aversion_shares_words_with_the_items_its_user_disliked(benchmark):
    folder, _ = benchmark
    source_ids = {row["item_id"]: row for row in rows_of(folder, "items")}
    ratings = {(row["user_id"], row["source_id"]): row["rating"] for row in SOURCE._shop[2].to_pylist()}
    bought = {}
    checked = 0
    for row in rows_of(folder, "preferences"):
        catalogued = source_ids[row["item_id"]]
        if ratings[row["user_id"], catalogued["source_id"]] <= 3:
            words = f"{catalogued['title']} {catalogued['brand']} {catalogued['categories'][-1]}".lower().split()
            bought.setdefault(row["user_id"], set()).update(words)
        for preference in row["preferences"]:
            if preference.startswith("Avoid "):
                checked += 1
                assert set(preference.lower().split()[1:]) & bought[row["user_id"]], preference
    assert checked > 100


def test_the_report_is_saved_and_says_what_the_card_says(benchmark):
    folder, report = benchmark
    assert read_report(folder, "sample") == report
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "hashed words" in card and "**metadata**" in card and f"{report.num_actions:,}" in card
    assert "knows the target" in card and "Left out" not in card
    assert "{{" not in card and "{%" not in card
    assert all(fingerprint in card for fingerprint in report.fingerprints.values())
    assert set(report.seconds) >= {
        "interactions",
        "polarity",
        "preferences",
        "embeddings",
        "steering",
        "fine",
        "write",
    }
    assert "seconds" not in json.loads((folder / "reports/sample.json").read_text())
    assert "sample_sentiment" in report.summary()


def test_nothing_but_parquet_and_text_is_written(benchmark):
    suffixes = {path.suffix for path in benchmark[0].rglob("*") if path.is_file()}
    assert suffixes == {".parquet", ".md", ".json", ".yaml"}


def test_the_same_input_and_seed_give_the_same_bytes(benchmark, tmp_path):
    again = tmp_path / "again" / "sample"  # the card's code names the directory
    build(again, approximator=MetadataApproximator(), embedding_model="hashed words")
    first, again = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (benchmark[0], tmp_path / "again" / "sample")
    )
    assert first.keys() == again.keys()
    assert [path for path in first if first[path] != again[path]] == []


def test_without_ratings_sentiment_is_left_out_with_its_reason_and_the_rest_is_whole(tmp_path):
    nouns = "lamp mug vase tray cushion candle soap blanket notebook".split()
    words = zip(["red", "green", "blue"] * 3, nouns, strict=True)
    shop = [item(n, f"{colour} {noun}", "", ["Shop", colour]) for n, (colour, noun) in enumerate(words, 1)]
    generator = np.random.default_rng(0)
    users = [generator.permutation(9)[:7] + 1 for _ in range(12)]
    report = build(tmp_path / "toy", ToySource([user.tolist() for user in users], shop), min_count=1)
    without_opinions = "the interactions carry neither ratings nor review texts"
    assert report.left_out == {
        "sentiment": without_opinions,
        "sentiment_with_history": without_opinions,
        "avoid": "no preference is negative",
        "compose": "no rows for the split(s) validation",  # nine items: most are alike
    }
    assert not (tmp_path / "toy" / "sample_sentiment").exists()
    assert "**sentiment**: the interactions carry" in (tmp_path / "toy" / "README.md").read_text(encoding="utf-8")
    assert check_benchmark(tmp_path / "toy") == []
    with pytest.raises(ValueError, match="sample_sentiment"):
        load_dataset(str(tmp_path / "toy"), "sample_sentiment", cache_dir=str(tmp_path / "cache"))


def test_items_of_one_text_leave_the_steering_axes_out(tmp_path):
    users = [[1, 2, 3, 4, 1], [4, 3, 2, 1, 2]]
    report = build(tmp_path / "toy", ToySource(users, [item(n, "Same") for n in range(1, 5)]), min_count=1)
    of_opinions, of_steering = (
        {"sentiment", "sentiment_with_history", "avoid"},
        {"fine", "coarse", "strength", "compose"},
    )
    assert set(report.left_out) == of_opinions | of_steering
    assert all("distinct texts" in report.left_out[axis] for axis in of_steering)
    assert check_benchmark(tmp_path / "toy") == []


def test_a_device_that_is_not_there_is_an_error_and_no_missing_axis(tmp_path):
    with pytest.raises(ValueError, match="device"):
        build(tmp_path / "toy", steering_engine="torch", device="cuda:9")


def test_only_positive_preferences_steer_where_asked_for(tmp_path):
    report = build(tmp_path / "toy", steering_pool="positive")
    assert report.negative_rows["fine"] == report.negative_rows["coarse"] == dict.fromkeys(SPLITS, 0)
    with pytest.raises(ValueError, match="steering_pool"):
        build(tmp_path / "other", steering_pool="some")


def test_an_existing_directory_is_refused_or_replaced_whole(tmp_path):
    target = tmp_path / "toy"
    target.mkdir()
    (target / "mine.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="already exists"):
        build(target)
    with pytest.raises(FileExistsError, match=r"holds mine.txt, which this command does not write"):
        build(target, overwrite=True)
    assert (target / "mine.txt").read_text() == "keep me"
    (target / "mine.txt").unlink()
    (target / "reports").mkdir()
    (target / "other_items").mkdir()
    build(target, overwrite=True)
    assert not (target / "other_items").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_no_order_of_a_process_shows_in_the_files(project, tmp_path):
    code = (
        "import sys; sys.path[:0] = ['.', 'tests']\n"
        "from benchmark_world import hash_embed\n"
        "from dataset_builders.building.build import build_benchmark\n"
        "from dataset_builders.building.sources.sample import SampleSource\n"
        "source = SampleSource(num_items=120, num_users=90)\n"
        "build_benchmark(source, 'sample', sys.argv[1], hash_embed, progress=False)\n"
    )
    written = []
    for seed in ("1", "2"):
        folder = tmp_path / seed / "sample"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        subprocess.run([sys.executable, "-c", code, str(folder)], cwd=project, env=environment, check=True)
        written.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert written[0] == written[1] and len(written[0]) > 15


@pytest.mark.parametrize("name", ["sentiment", "preferences"])
def test_a_config_streams_like_it_loads(benchmark, name):
    folder, _ = benchmark
    streamed = load_dataset(str(folder), f"sample_{name}", split="train", streaming=True)
    assert list(streamed) == rows_of(folder, name)


def test_the_leaderboard_has_one_task_per_axis_that_was_built(benchmark):
    folder, report = benchmark
    tasks = yaml.safe_load((folder / "eval.yaml").read_text())["tasks"]
    metrics = {
        "sentiment": "m",
        "sentiment_with_history": "m",
        "avoid": "avoid",
        "strength": "strength",
        "compose": "all",
    }
    assert [task["id"] for task in tasks] == [f"sample_{axis}_{metrics.get(axis, 'recall')}_at_10" for axis in AXES]
    assert all(task["config"] in report.rows and task["split"] == "test" for task in tasks)


def test_the_entry_to_send_is_of_the_framework_that_a_benchmark_names(benchmark, project):
    folder, _ = benchmark
    framework = yaml.safe_load((folder / "eval.yaml").read_text())["evaluation_framework"]
    entry = (project / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```ts\n")[1].split("```")[0]
    assert re.fullmatch(
        rf'\t"{framework}": {{\n\t\tname: "{framework}",\n\t\tdescription: "[^"]+\.",\n\t\turl: "https://[^"]+",\n\t}},\n',
        entry,
    )


class CountingSource(SampleSource):
    loads = 0

    def load(self, connection):
        self.loads += 1
        return super().load(connection)


class Shy(MetadataApproximator):
    """Says nothing of a tenth of the positions, as a language model that fails."""

    name = "shy"

    def approximate_user(self, user_id, events):
        sets = super().approximate_user(user_id, events)
        silent = np.random.default_rng(len(user_id) + len(events)).random(len(sets)) < 0.1
        return [None if quiet else five for quiet, five in zip(silent, sets, strict=True)]

    def details(self):
        return {"failures": {"empty": 3}}


def test_every_stage_is_read_from_the_cache_in_the_next_build(tmp_path):
    source, calls = CountingSource(num_items=120, num_users=90), []

    def embed(texts):
        calls.append(len(texts))
        return hash_embed(texts)

    arguments = {"source": source, "embed": embed, "embedding_model": "m", "cache_dir": tmp_path / "cache"}
    first = build(tmp_path / "first", approximator=MetadataApproximator(), **arguments)
    embedded = len(calls)
    second = build(tmp_path / "second", approximator=MetadataApproximator(), **arguments)
    assert source.loads == 1 and len(calls) == embedded + 1  # the sentence that tells models apart
    assert second == first
    third = build(tmp_path / "third", approximator=MetadataApproximator(), seed=1, **arguments)
    assert third.fingerprints["sample_history"] == first.fingerprints["sample_history"]
    assert third.fingerprints["sample_fine"] != first.fingerprints["sample_fine"]
    assert source.loads == 1


def test_an_interrupted_build_goes_on_at_the_stage_it_was_in(tmp_path):
    source = CountingSource(num_items=120, num_users=90)

    def dies(texts):
        if len(texts) > 1:
            raise KeyboardInterrupt
        return hash_embed(texts)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "toy", source, dies, cache_dir=tmp_path / "cache", embedding_model="m")
    assert not (tmp_path / "toy").exists()
    report = build(tmp_path / "toy", source, cache_dir=tmp_path / "cache", embedding_model="m")
    assert source.loads == 1 and report == build(tmp_path / "again", source, embedding_model="m")


def test_a_stage_runs_alone_and_computes_nothing_after_it(tmp_path):
    source = CountingSource(num_items=120, num_users=90)

    def never(texts):
        raise AssertionError("preferences need no embeddings")

    cache = StageCache(tmp_path)
    report = BenchmarkBuild(source, "sample", never, cache, progress=False).run("preferences")
    assert report.num_preferences == 5 * report.num_actions and report.rows == {}
    assert {path.name for path in tmp_path.iterdir()} == {"interactions", "polarity", "preferences"}
    alone = BenchmarkBuild(source, "sample", never, cache, progress=False)
    assert alone.config("history") is not None and source.loads == 1
    with pytest.raises(ValueError, match="stage 'soup' is not known"):
        alone.run("soup")


def test_the_first_stage_asks_nothing_of_the_reviews(monkeypatch):
    def never(*_):
        raise AssertionError("polarity is a later stage")

    monkeypatch.setattr("dataset_builders.building.review_sentiment.RatingVader.classify", never)
    sequences, items = load_sequences(SOURCE)
    assert {event.polarity for events in sequences.past_items(items.to_pylist()) for event in events} == {None}


def test_the_command_loads_no_encoder_for_stages_that_embed_nothing(script, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("nothing is embedded")

    monkeypatch.setattr("dataset_builders.building.text_embedding.load_embedder", never)
    command = ["--source", "sample", "--domain", "shop", "--cache_dir", str(tmp_path), "--until", "preferences"]
    assert script.main([*command, "--polarity", "rating_vader"]) == 0
    assert "preferences: " in capsys.readouterr().out


def test_the_wording_of_metadata_is_an_option_of_the_command_and_named_in_the_report(script, tmp_path, capsys):
    command = ["--source", "sample", "--domain", "shop", "--cache_dir", str(tmp_path), "--until", "preferences"]
    printed = []
    for wording in ("metadata/1", "metadata/2"):
        assert script.main([*command, "--polarity", "rating_vader", "--preferences", wording]) == 0
        printed.append(capsys.readouterr().out)
    assert "17.6% negative, by metadata\n" in printed[0]
    assert "17.6% negative, by metadata/2\n" in printed[1]


def test_a_build_that_stops_early_prints_the_counts_of_what_it_did_alone(script, tmp_path, capsys):
    command = ["--source", "sample", "--domain", "shop", "--cache_dir", str(tmp_path), "--polarity", "rating_vader"]
    assert script.main([*command, "--until", "interactions"]) == 0
    printed = capsys.readouterr().out
    assert "shop: 600 users, 354 items, 6,480 actions" in printed
    assert "preferences" not in printed


def test_missing_files_are_found_before_a_model_is_loaded(script, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("the files come first")

    monkeypatch.setattr("dataset_builders.building.text_embedding.load_embedder", never)
    monkeypatch.setattr("dataset_builders.building.review_sentiment.get_polarity_classifier", never)
    tables = ["--source", "tables", "--interactions", str(tmp_path / "i.csv"), "--items", str(tmp_path / "j.csv")]
    journal = ["--journal", str(tmp_path / "a.jsonl"), str(tmp_path)]
    assert script.main([*tables, *journal, "--domain", "shop", "--output_dir", str(tmp_path / "shop")]) == 1
    error = capsys.readouterr().err
    assert all(
        f"{option} {tmp_path / name}" in error
        for option, name in (("--interactions", "i.csv"), ("--items", "j.csv"), ("--journal", "a.jsonl"))
    )
    assert error.count("--") == 3


def test_only_every_third_user_is_kept_where_asked_for(benchmark, tmp_path):
    _, whole = benchmark
    report = build(tmp_path / "toy", user_stride=3)
    assert report.num_users == -(-whole.num_users // 3)
    assert check_benchmark(tmp_path / "toy") == []
    assert "one user in 3" in (tmp_path / "toy" / "README.md").read_text()


def test_missing_preferences_are_null_and_their_rows_left_out(tmp_path):
    report = build(tmp_path / "toy", approximator=Shy())
    rows = rows_of(tmp_path / "toy", "preferences")
    missing = {(row["user_id"], row["position"]) for row in rows if row["preferences"] is None}
    assert 0 < len(missing) == report.num_missing < report.num_actions
    assert report.num_preferences == 5 * (report.num_actions - len(missing))
    users = {row["user_id"]: row["position"] for row in rows}
    for axis in ("recommendation", "history"):
        kept = {row["user_id"] for row in rows_of(tmp_path / "toy", axis, "test")}
        assert kept == {user for user, length in users.items() if (user, length - 1) not in missing}
    assert check_benchmark(tmp_path / "toy") == []
    card = (tmp_path / "toy" / "README.md").read_text()
    assert f"**Missing**: {len(missing):,} of {report.num_actions:,} actions" in card and "empty 3" in card


class Silent(MetadataApproximator):
    def approximate_user(self, user_id, events):
        return [None] * len(events)


def test_an_approximator_that_knows_nobody_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no preferences for any of the"):
        build(tmp_path / "toy", approximator=Silent())


def test_steering_as_released_keeps_what_it_promises(tmp_path):
    report = build(tmp_path / "toy", steering="as_released", cache_dir=tmp_path / "cache")
    assert check_benchmark(tmp_path / "toy") == []
    paper = build(tmp_path / "paper", cache_dir=tmp_path / "cache")
    assert report.rows["sample_fine"]["train"] > 1.5 * paper.rows["sample_fine"]["train"]
    assert "**as released**" in (tmp_path / "toy" / "README.md").read_text()


class FourPreferences(PreferenceApproximator):
    name, description = "four", "Too few."

    def approximate_user(self, user_id, events):
        return [("a", "b", "c", "d")] * len(events)


def test_a_failed_build_leaves_nothing_behind_and_keeps_what_was_there(tmp_path):
    target = tmp_path / "toy"
    with pytest.raises(ValueError, match="5 distinct"):
        build(target, approximator=FourPreferences())
    assert list(tmp_path.iterdir()) == []
    (target / "reports").mkdir(parents=True)
    with pytest.raises(ValueError, match="5 distinct"):
        build(target, approximator=FourPreferences(), overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["toy", "reports"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--seed=-1", "seed (-1) must be at least 0 and at most 4294967295"),
        ("--seed=4294967296", "seed (4294967296) must be"),
        ("--steering_bound=0", "steering_bound (0) must be"),
        ("--steering_bound=101", "steering_bound (101) must be at least 1 and at most 100"),
        ("--window=1", "window (1) must be"),
        ("--min_count=0", "min_count (0) must be"),
        ("--user_stride=-7", "user_stride (-7) must be"),
        ("--memory_limit=0GB", "memory_limit ('0GB')"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name_before_any_work(tmp_path, capsys, monkeypatch, option, message):
    def work(*_, **__):
        raise AssertionError("the source is looked for although an option is bad")

    monkeypatch.setattr(source_arguments, "get_source", work)
    arguments = ["--source", "sample", "--domain", "sample", "--output_dir", str(tmp_path / "out"), option]
    assert build_command.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1
    with pytest.raises(ValueError, match="seed .'1'. must be an integer"):
        BuildOptions(seed="1")


def test_a_bad_domain_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="domain"):
        build_benchmark(SOURCE, "no/good", tmp_path / "x", hash_embed)


def change(folder, name, split, edit):
    path = folder / f"sample_{name}" / f"{split}-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows, features(name).arrow_schema), path)


def steal_preference(folder):
    theft = rows_of(folder, "fine", "train")[0]
    change(folder, "coarse", "test", lambda rows: rows[0].update(preference=theft["preference"]))


def train_on_steering(folder):
    steered = rows_of(folder, "fine", "test")[0]
    pair = {key: steered[key] for key in ("preference", "target")}
    change(folder, "recommendation", "train", lambda rows: rows[0].update(pair))


def take_from_the_future(folder):
    row = rows_of(folder, "recommendation", "train")[0]
    later = [r for r in rows_of(folder, "preferences") if r["user_id"] == row["user_id"]][-1]
    new = next(p for p in later["preferences"] if p != row["preference"])
    change(folder, "recommendation", "train", lambda rows: rows[0].update(preference=new))


BREAKS = {
    "the history is not the window": lambda f: change(
        f, "history", "test", lambda rows: rows[0]["history"].append(rows[0]["target"])
    ),
    "not one of the position before": take_from_the_future,
    "ids are not in the catalog": lambda f: change(f, "sentiment", "test", lambda rows: rows[0].update(target=9999)),
    "not five distinct": lambda f: change(
        f, "preferences", "train", lambda rows: rows[3].update(preferences=["a"] * 5)
    ),
    "a steering preference is in two splits": steal_preference,
    "in recommendation/train": train_on_steering,
    "the rows are not those of the fingerprint": lambda f: change(
        f, "fine", "train", lambda rows: rows[0].update(preference="Find something that nobody asked for")
    ),
    "counts differ from the report": lambda f: change(f, "fine", "test", lambda rows: rows.pop()),
    "a sentiment pair repeats": lambda f: change(f, "sentiment", "test", lambda rows: rows.append(rows[0])),
    "not the inversion": lambda f: change(
        f, "sentiment", "test", lambda rows: rows[0].update(preference_positive="Find something else")
    ),
    "position of another split": lambda f: change(
        f, "recommendation", "test", lambda rows: rows.__setitem__(0, rows_of(f, "recommendation", "train")[0])
    ),
    "leads back to the ground truth": lambda f: change(
        f, "fine", "test", lambda rows: rows[0].update(target=rows[0]["source_item"])
    ),
}


@pytest.mark.parametrize("violation", BREAKS)
def test_a_broken_promise_is_found(copy, violation):
    BREAKS[violation](copy)
    assert any(violation in line for line in check_benchmark(copy)), check_benchmark(copy)


def test_a_folder_that_is_no_benchmark_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no reports/DOMAIN\.json"):
        check_benchmark(tmp_path)


def test_a_directory_of_several_domains_is_checked_domain_by_domain(copy):
    for path in copy.glob("sample_*"):
        shutil.copytree(path, copy / path.name.replace("sample", "twin"))
    report = read_report(copy, "sample").to_json()
    (copy / report_file("twin")).write_text(report.replace('"sample', '"twin'))
    assert list_domains(copy) == ["sample", "twin"] and check_benchmark(copy) == []
    (copy / "twin_fine" / "test-00000-of-00001.parquet").unlink()
    (line,) = check_benchmark(copy)
    assert line.startswith("twin: a split is missing")


def test_a_directory_of_the_time_of_one_report_says_where_to_move_it(copy):
    (copy / "reports" / "sample.json").rename(copy / "report.json")
    for read in (list_domains, check_benchmark, lambda folder: read_report(folder, "sample")):
        with pytest.raises(ValueError, match=r"earlier version.* move that file to reports/sample\.json"):
            read(copy)


def test_a_domain_that_is_not_there_is_answered_by_those_that_are(copy):
    with pytest.raises(FileNotFoundError, match="no report of domain 'boats'; it has sample"):
        read_report(copy, "boats")
    (copy / "reports" / "sample.json").rename(copy / "reports" / "boats.json")
    with pytest.raises(ValueError, match="is the report of 'sample'"):
        read_report(copy, "boats")
    with pytest.raises(ValueError, match="domain '../secret'"):
        read_report(copy, "../secret")


def test_a_report_survives_its_json(benchmark):
    report = benchmark[1]
    assert BuildReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["domain"] == "sample"


@pytest.mark.parametrize("text", ['{"domain": "sample", "seconds_of_old": 1}', "[]", "{"])
def test_a_report_of_another_version_is_an_error_with_a_way_out(text):
    with pytest.raises(ValueError, match="build again"):
        BuildReport.from_json(text)


@pytest.fixture
def script(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project / "scripts"))
    sys.modules.pop("build_benchmark", None)
    import dataset_builders.building.text_embedding as embed_items
    from dataset_builders.commands import build as module

    monkeypatch.setattr(embed_items, "load_embedder", lambda name, *_, **options: hash_embed)
    return module


def test_the_command_builds_the_sample_and_prints_the_report(script, tmp_path, capsys):
    arguments = ["--source", "sample", "--domain", "shop", "--output_dir", str(tmp_path / "shop")]
    arguments += ["--polarity", "rating_vader"]
    assert script.main(arguments) == 0
    assert "shop_sentiment" in capsys.readouterr().out
    assert check_benchmark(tmp_path / "shop") == []
    assert script.main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert "Apache-2.0" in (tmp_path / "shop" / "README.md").read_text().split("## Source, license and terms")[1]


def test_what_the_command_says_before_anything_is_loaded_is_what_the_package_knows(script):
    assert script.STAGES == STAGES
    defaults = script.parse_arguments(["--domain", "toy"])
    assert defaults.polarity == PreferenceDiscerningConfig().polarity
    built = BuildOptions()
    for name in ("min_count", "window", "seed", "steering", "steering_pool", "steering_engine", "engine"):
        assert getattr(defaults, name) == getattr(built, name), name


@pytest.mark.parametrize(
    ("domain", "given", "expected"),
    [
        ("sample", [], "sentence-transformers/all-MiniLM-L6-v2"),
        ("beauty", [], "sentence-transformers/sentence-t5-base"),
        ("beauty", ["--embedding_model", "minilm"], "sentence-transformers/all-MiniLM-L6-v2"),
    ],
)
def test_the_embedding_model_is_that_of_the_domain_even_where_no_package_has_one(
    script, tmp_path, monkeypatch, domain, given, expected
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    folder = tmp_path / domain
    options = ["--source", "sample", "--domain", domain, "--output_dir", str(folder), "--polarity", "rating_vader"]
    assert script.main([*options, *given]) == 0
    assert read_report(folder, domain).embedding_model == expected


@pytest.mark.parametrize("option", ["--output_dir", "--cache_dir"])
def test_a_place_that_cannot_be_written_is_named_before_an_encoder_is_loaded(
    script, tmp_path, capsys, monkeypatch, option
):
    def load(*args, **kwargs):
        raise AssertionError("loaded")

    monkeypatch.setattr("dataset_builders.building.text_embedding.load_embedder", load)
    places = {"--output_dir": str(tmp_path / "out"), option: "/proc/x/out"}
    words = [word for pair in places.items() for word in pair]
    assert script.main(["--source", "sample", "--domain", "toy", "--polarity", "rating_vader", *words]) == 1
    assert capsys.readouterr().err.startswith("error: /proc/x/out: cannot write (")


def test_the_help_names_every_domain_and_every_source(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert words >= {*DOMAINS, *SOURCES, *(path for entry in SOURCES.values() for path in entry.paths)}


def test_the_card_of_an_amazon_file_names_the_terms_of_its_source(script):
    assert "McAuley lab" in script.about(None, "amazon_reviews")["terms"]
    assert script.about(None, "tables") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "tables"], "needs --interactions and --items"),
        (["--source", "sample", "--reviews", "x.json"], "does not take --reviews"),
        (
            ["--source", "amazon_reviews", "--reviews", "no.json.gz", "--metadata", "neither.json.gz"],
            "--reviews no.json.gz and --metadata neither.json.gz do not exist",
        ),
        (["--source", "sample", "--min_count", "100000"], "min_count"),
        (["--source", "sample", "--window", "1"], "window"),
        ([], "'shop' is none of the paper's"),
        (["--source", "sample", "--raw_dir", "."], "--source cannot be combined with --raw_dir"),
        (["--source", "sample", "--first_day", "2019-01-01"], "does not take --first_day"),
        (["--source", "sample", "--journal", "none.jsonl"], "--journal none.jsonl does not exist"),
        (
            ["--source", "sample", "--journal", "none.jsonl", "--preferences", "metadata/2"],
            "--preferences metadata/2 words preferences from item metadata, but --journal has written ones",
        ),
        (["--source", "sample", "--until", "preferences"], "needs --cache_dir"),
        (["--amazon_category", "Toys & Games"], "Toys_and_Games"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_1(script, tmp_path, capsys, arguments, message):
    command = [*arguments, "--domain", "shop", "--output_dir", str(tmp_path / "shop")]
    assert script.main([*command, "--polarity", "rating_vader"]) == 1
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "shop").exists()
