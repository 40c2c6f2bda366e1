"""The command that scores: a run file without torch, a model, and that both ways agree on the same answers."""

import datetime
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import RemoteEntryNotFoundError
from tiny_models import build

from dataset_builders.benchmark import report
from dataset_builders.benchmark import tables as benchmark_tables
from dataset_builders.benchmark.fingerprints import content_fingerprint
from dataset_builders.hub_http import httpx
from dataset_builders.scoring.ranks import query_ids, variants_of
from dataset_builders.scoring.runs import METADATA_KEY, Run, write_run
from modeling_mender.commands import evaluate as evaluate_axes
from modeling_mender.commands.evaluate import check_same_items

NUM_ITEMS = 12
AXES = {
    "recommendation": {"user_id": ["ann", "bob", "cid"], "history": [[1], [2, 3], [4]], "target": [4, 7, 1],
                       "preference": ["search for red tea", "look for blue lamp", "avoid green mug"]},
    "sentiment": {"preference_positive": ["search for red tea"], "preference_negative": ["avoid red tea"],
                  "target": [3]},
    "fine": {"user_id": ["ann", "bob"], "history": [[1], []], "target": [5, 12], "preference": ["red", "blue"]},
}  # fmt: skip

# as if not installed; `None` in sys.modules would not do: datasets asks whether "torch" is in there, then imports it
WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder

find, hidden = PathFinder.find_spec, {"torch", "transformers", "accelerate"}
PathFinder.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest)
sys.path[:0] = ["."]
from dataset_builders.commands.main import main

status = main(["score", *sys.argv[1:]])
assert not {"torch", "transformers", "modeling_mender"} & set(sys.modules)
sys.exit(status)
"""


def fingerprints_of(folder):
    """Of every config that is there, each of one split."""
    files = [next(config.glob("*.parquet")) for config in sorted(folder.glob("toy_*"))]
    return {file.parent.name: content_fingerprint({file.name.split("-")[0]: pq.read_table(file)}) for file in files}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    configs = {**AXES, "items": {"item_id": list(range(1, NUM_ITEMS + 1))}}
    for name, columns in configs.items():
        (folder / f"toy_{name}").mkdir()
        split = "train" if name == "items" else "test"
        datasets.Dataset.from_dict(columns).to_parquet(folder / f"toy_{name}/{split}-00000-of-00001.parquet")
    about = {"approximator": "metadata", "fingerprints": fingerprints_of(folder),
             "left_out": {"coarse": "too few items"}, "rows": {f"toy_{name}": {} for name in configs}}  # fmt: skip
    (folder / "reports").mkdir()
    (folder / "reports/toy.json").write_text(json.dumps(about))
    return str(folder)


def write_oracle(path, depth=NUM_ITEMS, change=None, **about):
    """A run that puts the target first, and last where it is to be avoided."""
    answers = {}
    for axis, columns in AXES.items():
        for variant in variants_of(axis):
            for row, query in enumerate(query_ids(axis, range(len(columns["target"])), variant)):
                others = [item for item in range(1, NUM_ITEMS + 1) if item != columns["target"][row]]
                target = [columns["target"][row]]
                items = (others + target if variant else target + others)[:depth]
                answers[query] = (items, -np.arange(len(items)))
    answers = change(answers) if change else answers
    write_run(Run.from_answers(answers, about), path, NUM_ITEMS)
    return str(path)


def evaluate_words(words):
    """The results of the command with these words."""
    return evaluate_axes.evaluate_or_score(evaluate_axes.parse_arguments(words))


def command(benchmark, *rest):
    known = {"--benchmark": benchmark, "--domain": "toy"}
    return [*(word for name, value in known.items() if name not in rest for word in (name, value)), *rest]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = build("tok", "bert", folder)
    model.generation_config.num_beams = 12
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    (folder / "model/training_arguments.yaml").write_text("method: mender_tok\nseed: 7\n")
    (folder / "model/training_state.json").write_text('{"step": 6, "best_step": 3, "best_score": 0.5}')
    return folder / "model"


class TestRunFile:
    def test_torch_is_never_imported(self, benchmark, project, tmp_path):
        path = write_oracle(tmp_path / "oracle.parquet")
        words = [path, *command(benchmark, "--output_dir", str(tmp_path / "out"))]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *words], cwd=project, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "| recommendation | 3 | recall@10 | 1.0000 | 0.0000 | 1.0000 | 0.0000 |" in done.stdout
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["axes.png", "results.json", "rows.parquet"]

    def test_the_results_say_what_was_scored_and_how(self, benchmark, tmp_path, capsys):
        path = write_oracle(tmp_path / "oracle.parquet")
        assert evaluate_axes.main(command(benchmark, "--run", path, "--output_dir", str(tmp_path / "out"))) == 0
        results = json.loads((tmp_path / "out/results.json").read_text())
        axes = results.pop("axes")
        assert datetime.date.fromisoformat(results.pop("date"))
        assert re.fullmatch("[0-9a-f]{32}", results.pop("digest"))
        assert results == {
            "method": "oracle", "model": path, "num_beams": None, "seed": None, "arguments": None, "training": None,
            "ranking": None, "domain": "toy", "split": "test", "k": [1, 5, 10, 20], "depth": 12,
            "benchmark": {"name": benchmark, "revision": None, "approximator": "metadata",
                          "fingerprints": fingerprints_of(Path(benchmark))},
            "left_out": {"coarse": "too few items"},
        }  # fmt: skip
        assert list(axes) == list(AXES)
        assert axes["sentiment"]["with_preference"]["m@10"] == 1.0
        assert axes["sentiment"]["without_preference"] is None
        low, high = axes["fine"]["intervals"]["with_preference"]["recall@5"]
        assert (low, high) == (pytest.approx(0.3424, abs=1e-4), 1.0)  # Wilson of two of two
        rows = pq.read_table(tmp_path / "out/rows.parquet")
        assert rows.num_rows == 6
        assert json.loads(rows.schema.metadata[METADATA_KEY])["method"] == "oracle"
        output = capsys.readouterr().out
        assert output.count("| fine | 2 | recall@10 |") == 2  # once under each protocol
        assert "left out: coarse (too few items)" in output
        assert "note:" not in output  # the whole catalog is ranked

    def test_the_name_is_the_one_given_else_the_file_s_word_else_the_file_s_name(self, benchmark, tmp_path):
        for about, options, expected in (
            ({}, [], "mine"), ({"method": "tiger"}, [], "tiger"), ({"method": "tiger"}, ["--name", "other"], "other"),
        ):  # fmt: skip
            path = write_oracle(tmp_path / "mine.parquet", **about)
            arguments = evaluate_axes.parse_arguments(command(benchmark, "--run", path, *options))
            assert evaluate_axes.evaluate_or_score(arguments).maker.method == expected

    def test_chosen_axes_are_scored_alone(self, benchmark, tmp_path):
        path = write_oracle(tmp_path / "oracle.parquet")
        arguments = evaluate_axes.parse_arguments(command(benchmark, "--run", path, "--axes", "fine", "--k", "3"))
        results = evaluate_axes.evaluate_or_score(arguments)
        assert list(results.axes) == ["fine"]
        assert list(results.axes["fine"].figures()) == ["recall@3", "ndcg@3"]

    @pytest.mark.parametrize(
        ("depth", "words"),
        [
            (4, "note: some rankings hold 4 items; what stands below"),
            (11, "note: some rankings hold 11 items; without"),
        ],
    )
    def test_rankings_that_are_too_short_are_noted(self, benchmark, tmp_path, capsys, depth, words):
        path = write_oracle(tmp_path / "oracle.parquet", depth=depth)
        assert evaluate_axes.main(command(benchmark, "--run", path, "--k", "10")) == 0
        assert words in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--run", "RUN", "--domain", "boats"], "no config of domain 'boats'"),
            (["--run", "RUN", "--split", "validation"], "no split 'validation'"),
            (["--run", "RUN", "--benchmark_revision", "main"], "is a local directory and has no revision 'main'"),
            (["--run", "RUN", "--benchmark", "a/b/c"], "a/b/c is no local directory, nor the name of a dataset"),
            (["--run", "RUN", "--axes", "coarse"], "none of the axes coarse for toy"),
            (["--run", "RUN", "--k", "0"], "k (0) must be an integer of at least 1"),
            (["--run", "RUN", "--resamples", "0"], "resamples (0) must be an integer of at least 1"),
            (["--run", "RUN", "--card"], "cannot be combined with --run"),
            (["--run", "nowhere.parquet"], "nowhere.parquet is no file"),
            (["model", "--run", "RUN"], "give either the model (model) or --run"),
            ([], "there is nothing to evaluate; give the folder of a model, or --run"),
            (["model", "--name", "mine"], "--name is for run files"),
        ],
    )
    def test_bad_arguments_are_one_line(self, benchmark, tmp_path, capsys, options, words):
        path = write_oracle(tmp_path / "oracle.parquet")
        assert evaluate_axes.main(command(benchmark, *(path if word == "RUN" else word for word in options))) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert words in lines[0]

    def test_runs_of_another_benchmark_are_refused(self, benchmark, tmp_path, capsys):
        def fails_with(words, change=None, **about):
            path = write_oracle(tmp_path / "oracle.parquet", change=change, **about)
            assert evaluate_axes.main(command(benchmark, "--run", path, "--axes", "recommendation")) == 1
            assert words in capsys.readouterr().err

        fails_with("was made for domain 'steam', not 'toy'", domain="steam")
        fails_with("was made for split 'validation'", split="validation")
        fails_with("the first is fine/2", lambda answers: {**answers, "fine/2": ([1], [0.0])})
        fails_with("query recommendation/1 is missing",
                   lambda answers: {q: a for q, a in answers.items() if q != "recommendation/1"})  # fmt: skip

    def test_cut_offs_and_folders_that_cannot_be_are_refused_before_the_work(self, benchmark, tmp_path, capsys):
        path = write_oracle(tmp_path / "oracle.parquet")
        (tmp_path / "file").touch()
        for words, said in (
            (["--k", "100000"], "k (100000) is beyond the 12 items"),
            (["--k", "5", "5"], "k holds 5 twice"),
            (["--axes", "fine", "fine"], "axes holds fine twice"),
            (["--output_dir", str(tmp_path / "file")], "is a file; name a folder"),
        ):
            assert evaluate_axes.main(command(benchmark, "--run", path, *words)) == 1
            assert said in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["fine", "items"])
    def test_rows_that_are_not_those_of_the_fingerprint_are_refused(self, benchmark, tmp_path, capsys, name):
        changed = shutil.copytree(benchmark, tmp_path / "changed")
        (file,) = (changed / f"toy_{name}").iterdir()
        rows = pq.read_table(file)
        column = "target" if name == "fine" else "item_id"
        pq.write_table(rows.set_column(rows.column_names.index(column), column, pa.array([3] * len(rows))), file)
        path = write_oracle(tmp_path / "oracle.parquet")
        assert evaluate_axes.main(command(str(changed), "--run", path)) == 1
        error = capsys.readouterr().err
        assert f"the rows of {changed}/toy_{name} are not those of its fingerprint" in error
        assert "build the benchmark again" in error

    def test_a_split_that_is_not_scored_counts_in_the_fingerprint(self, benchmark, tmp_path, capsys):
        changed = shutil.copytree(benchmark, tmp_path / "changed")
        (file,) = (changed / "toy_fine").iterdir()
        pq.write_table(pq.read_table(file), changed / "toy_fine/train-00000-of-00001.parquet")
        path = write_oracle(tmp_path / "oracle.parquet")
        assert evaluate_axes.main(command(str(changed), "--run", path, "--axes", "fine")) == 1
        assert "toy_fine are not those of its fingerprint" in capsys.readouterr().err

    def test_what_the_report_says_nothing_of_gets_the_fingerprint_of_its_rows(self, benchmark, tmp_path):
        silent = shutil.copytree(benchmark, tmp_path / "silent")
        (silent / "reports/toy.json").write_text(json.dumps({"rows": {}}))
        path = write_oracle(tmp_path / "oracle.parquet")
        results = evaluate_words(command(str(silent), "--run", path, "--axes", "fine"))
        expected = fingerprints_of(silent)
        assert results.benchmark.fingerprints == {name: expected[name] for name in ("toy_fine", "toy_items")}

    def test_a_file_that_is_no_parquet_is_named(self, benchmark, tmp_path, capsys):
        broken = shutil.copytree(benchmark, tmp_path / "broken")
        (file,) = (broken / "toy_fine").iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        path = write_oracle(tmp_path / "oracle.parquet")
        assert evaluate_axes.main(command(str(broken), "--run", path)) == 1
        assert f"{file} is not a readable Parquet file" in capsys.readouterr().err

    def test_a_run_file_that_says_odd_things_of_its_maker_is_refused_by_name(self, benchmark, tmp_path, capsys):
        path = write_oracle(tmp_path / "oracle.parquet", num_beams="many", method="mine")
        assert evaluate_axes.main(command(benchmark, "--run", path)) == 1
        assert "the results of mine: num_beams ('many') must be a count of at least 1" in capsys.readouterr().err


COMMIT = "c0ffee" + 34 * "0"


@pytest.fixture
def on_the_hub(benchmark, tmp_path, monkeypatch):
    """The benchmark as the Hub's client keeps `org/toys` after a download; its tag v1 is the commit `COMMIT`."""
    snapshot = shutil.copytree(benchmark, tmp_path / "snapshots" / COMMIT)
    (snapshot / "README.md").write_text("the card")
    asked = set()

    def download(repo_id, filename, repo_type, revision):
        assert (repo_id, repo_type) == ("org/toys", "dataset")
        asked.add(revision)
        if not (snapshot / filename).exists():
            raise RemoteEntryNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", filename)))
        return str(snapshot / filename)

    def download_some(repo_id, allow_patterns, **rest):
        for file in snapshot.glob(allow_patterns):
            download(repo_id, file.relative_to(snapshot), **rest)
        return str(snapshot)

    class Api:
        def list_repo_files(self, repo_id, repo_type, revision):
            return ["README.md", "reports/toy.json"]

    monkeypatch.setattr(report, "hf_hub_download", download)
    monkeypatch.setattr(report, "HfApi", Api)
    monkeypatch.setattr(benchmark_tables, "snapshot_download", download_some)
    return asked


class TestHub:
    def command(self, tmp_path, *rest):
        path = write_oracle(tmp_path / "oracle.parquet")
        return ["--run", path, "--benchmark", "org/toys", "--benchmark_revision", "v1", *rest]

    def test_a_benchmark_there_gives_what_the_local_one_gives_and_the_commit(self, on_the_hub, benchmark, tmp_path):
        there = evaluate_axes.evaluate_or_score(
            evaluate_axes.parse_arguments(self.command(tmp_path, "--domain", "toy"))
        )
        path = write_oracle(tmp_path / "oracle.parquet")
        here = evaluate_words(command(benchmark, "--run", path))
        assert there.benchmark == replace(here.benchmark, name="org/toys", revision=COMMIT)
        assert there.axes == here.axes
        assert on_the_hub == {"v1", COMMIT}  # the name of the revision is asked for once, everything else by commit

    def test_a_domain_that_is_not_there_is_answered_by_those_that_are(self, on_the_hub, tmp_path, capsys):
        assert evaluate_axes.main(self.command(tmp_path, "--domain", "boats")) == 1
        assert "org/toys has no report of domain 'boats'; it has toy." in capsys.readouterr().err

    def test_rows_that_are_not_those_of_the_fingerprint_are_refused(self, on_the_hub, tmp_path, capsys):
        (file,) = (tmp_path / "snapshots" / COMMIT / "toy_fine").iterdir()
        rows = pq.read_table(file)
        pq.write_table(rows.set_column(2, "target", pa.array([3] * len(rows))), file)
        assert evaluate_axes.main(self.command(tmp_path, "--domain", "toy")) == 1
        error = capsys.readouterr().err
        assert "the rows of org/toys/toy_fine are not those of its fingerprint" in error
        assert "publish the benchmark again" in error

    def test_a_config_without_files_was_not_published_whole(self, on_the_hub, tmp_path, capsys):
        for file in (tmp_path / "snapshots" / COMMIT / "toy_fine").iterdir():
            file.unlink()
        assert evaluate_axes.main(self.command(tmp_path, "--domain", "toy")) == 1
        assert "org/toys/toy_fine has no split 'test'; publish the benchmark again" in capsys.readouterr().err


class TestModel:
    def evaluate(self, model_folder, benchmark, output, *options):
        words = command(benchmark, "--threads", "1", "--device", "cpu", "--output_dir", str(output), *options)
        assert evaluate_axes.main([str(model_folder), *words]) == 0
        return json.loads((output / "results.json").read_text())

    def test_a_model_and_its_own_run_file_get_the_same_figures(self, model_folder, benchmark, tmp_path):
        results = self.evaluate(model_folder, benchmark, tmp_path)
        names = ["axes.png", "results.json", "rows.parquet", "run.parquet"]
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        run_file = str(tmp_path / "run.parquet")
        again = json.loads(evaluate_words(command(benchmark, "--run", run_file)).to_json())
        for name in ("axes", "method", "num_beams", "seed", "k", "depth", "benchmark", "left_out", "domain", "split"):
            assert again[name] == results[name], name

    def test_the_results_say_how_the_model_was_made_and_asked(self, model_folder, benchmark, tmp_path):
        results = self.evaluate(model_folder, benchmark, tmp_path)
        assert (results["method"], results["seed"], results["num_beams"]) == ("mender_tok", 7, 12)
        assert results["arguments"] == {"method": "mender_tok", "seed": 7}
        assert results["training"] == {"seconds": None, "steps": 6, "best_step": 3}
        assert results["ranking"]["num_queries"] == 11  # 12 are asked, but ann's history of item 1 alone twice
        assert results["ranking"]["seconds"] > 0

    def test_chosen_rows_pair_by_their_numbers(self, model_folder, benchmark, tmp_path):
        self.evaluate(model_folder, benchmark, tmp_path / "all")
        self.evaluate(model_folder, benchmark, tmp_path / "some", "--max_rows", "1")
        everything = pq.read_table(tmp_path / "all/rows.parquet").to_pylist()
        some = pq.read_table(tmp_path / "some/rows.parquet").to_pylist()
        assert [row["axis"] for row in some] == list(AXES)
        assert all(row in everything for row in some)

    def test_a_model_trained_on_histories_alone_is_not_asked_for_sentiment(self, model_folder, benchmark, tmp_path):
        arguments = model_folder / "training_arguments.yaml"
        before = arguments.read_text()
        arguments.write_text(before + "inputs: history\n")
        try:
            axes = self.evaluate(model_folder, benchmark, tmp_path)["axes"]
        finally:
            arguments.write_text(before)
        assert axes["sentiment"]["with_preference"] is None
        assert axes["fine"]["with_preference"] == axes["fine"]["without_preference"]

    def test_fewer_beams_than_the_deepest_cut_off_make_shorter_rankings(
        self, model_folder, benchmark, tmp_path, capsys
    ):
        results = self.evaluate(model_folder, benchmark, tmp_path, "--num_beams", "5")
        assert (results["depth"], results["num_beams"]) == (5, 5)
        assert "note: some rankings hold 5 items" in capsys.readouterr().out

    def test_a_model_of_another_catalogue_is_refused(self, model_folder, benchmark, tmp_path, capsys):
        for name in ("toy_recommendation", "toy_items", "reports"):
            (tmp_path / name).mkdir()
        (tmp_path / "reports/toy.json").write_text("{}")
        source = f"{benchmark}/toy_recommendation/test-00000-of-00001.parquet"
        pq.write_table(pq.read_table(source), tmp_path / "toy_recommendation/test-00000-of-00001.parquet")
        pq.write_table(pa.table({"item_id": [1, 2]}), tmp_path / "toy_items/train-00000-of-00001.parquet")
        assert evaluate_axes.main([str(model_folder), *command(str(tmp_path))]) == 1
        assert "the model has 12 items and the benchmark has 2" in capsys.readouterr().err

    def test_a_catalogue_of_other_titles_is_refused_and_a_few_of_them_are_named(self, capsys):
        titles = [f"lamp {number}" for number in range(200)]
        items = [{"title": title} for title in titles]

        def check(*changed):
            named = [f"mug {row}" if row in changed else title for row, title in enumerate(titles)]
            check_same_items(items, datasets.Dataset.from_dict({"item_id": list(range(1, 201)), "title": named}))

        check()
        assert capsys.readouterr().err == ""
        check(7, 9)
        warning = "warning: 2 of 200 items have another title in the benchmark than in the model, the first is item 8,"
        assert warning in capsys.readouterr().err
        with pytest.raises(ValueError, match=r"3 of 200 items .* 'mug 7' and 'lamp 7'; evaluate it on the benchmark"):
            check(7, 9, 11)
        items[7:] = [{"title": f"item {number}"} for number in range(8, 201)]  # items without titles
        check(7, 9, 11)
