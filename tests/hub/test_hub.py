"""End to end against a Hub on loopback, with the real client libraries: publish, load, submit, and what goes wrong.

Everything that a user types runs in processes of its own. The Hub is `fake_hub.py`; the model is tiny and random.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_world import ToySource, hash_embed, item
from fake_hub import FakeHub
from forked_python import server
from tiny_models import TITLES, save_text_encoder, train_tiny

from dataset_builders.building.build import build_benchmark
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands.fresh_process import PREFIX

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MODEL, DATASET, METRIC = "org/mender-toy", "org/pref-discerning", "org/ranking-metrics"
WISH = "search for red soap"

# Several commands in one process, each with its status and what it printed; importing the libraries takes seconds.
# What they load in a fresh process before they publish is loaded in a forked one: their own tests have fresh ones.
# The clients retry without waiting.
DRIVER = """
import contextlib, importlib, io, json, sys, time
from forked_python import server
from dataset_builders.commands import fresh_process

fresh_process.start_python = server().run
time.sleep = lambda seconds: None

sys.path[:0] = [sys.argv[1]]
answers = []
for script, words in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = importlib.import_module(script).main(words)
    errors = [line for line in err.getvalue().splitlines() if line.startswith(("error: ", "- "))]
    answers.append({"status": status, "out": out.getvalue(), "errors": errors})
print("\\n" + json.dumps(answers))
"""


class Site:
    """A Hub, a folder of somebody's work, and somebody who types."""

    def __init__(self, hub, folder):
        self.hub, self.folder = hub, folder
        self.benchmarks = [build(folder / "toy", "toy", toy_shop()), build(folder / "sample", "sample", shop(), 5)]
        self.model = train_tiny("mender_emb", folder)

    def python(self, code, *words, token="hf_writer", home="home"):
        """Output of a process that sees the Hub."""
        environment = self.hub.environment(self.folder / home, token)
        done = server().run(code, *words, environment=environment, cwd=self.folder)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def type(self, *commands, **options):
        """Answers to commands, each a script and its words."""
        lines = [[script, [str(word) for word in words]] for script, *words in commands]
        return json.loads(self.python(DRIVER, SCRIPTS, json.dumps(lines), **options).strip().splitlines()[-1])


def toy_shop():
    """The items of the tiny models, and twenty users of them."""
    numbers = sorted(range(1, 13), key=str)  # a build numbers its items in the order of their ids, which are text
    items = [item(number, title, "", title.split()) for number, title in zip(numbers, TITLES, strict=True)]
    generator = np.random.default_rng(0)
    return ToySource([(generator.permutation(12)[:7] + 1).tolist() for _ in range(20)], items)


def shop():
    return SampleSource(num_items=120, num_users=90)


def build(folder, domain, source, min_count=1):
    about = {"title": f"The {domain} shop", "terms": "Made up for a test.", "license": "apache-2.0"}
    options = BuildOptions(min_count=min_count)
    build_benchmark(source, domain, folder, hash_embed, options=options, progress=False, about=about)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Model, dataset and metric, published."""
    with FakeHub() as hub:
        site = Site(hub, tmp_path_factory.mktemp("site"))
        answers = site.type(
            ("publish_benchmark", *site.benchmarks, "--repo_id", DATASET),
            ("publish_space", "metric", "--repo_id", METRIC),
            ("publish_model", site.model, "--repo_id", MODEL, "--private"),
        )
        assert [answer["status"] for answer in answers] == [0, 0, 0], answers
        yield site


def commits(site, kind, name):
    return len(site.hub.repo(kind, name).commits)


STRANGER = """
import json
from datasets import load_dataset
import evaluate
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoProcessor, pipeline

model, dataset, metric, wish = sys.argv[1:]
answer = {}
loaded = AutoModel.from_pretrained(model, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(model, trust_remote_code=True)
found = loaded.recommend(**processor(history=[[1, 5]], preference=[wish], return_tensors="pt"), k=5)
answer["items"], answer["scores"] = found.items[0].tolist(), [score.hex() for score in found.scores[0].tolist()]
generator = AutoModelForSeq2SeqLM.from_pretrained(model, trust_remote_code=True)
generated = generator.generate(**processor(history=[[1, 5]], preference=[wish]), num_beams=4, num_return_sequences=3)
answer["generated"] = list(generated.shape)
pipe = pipeline("preference-recommendation", model=model, trust_remote_code=True, device="cpu")
answer["pipeline"] = [item["item_id"] for item in pipe({"history": [1, 5], "preference": wish}, k=5)]
rows = load_dataset(dataset, "sample_sentiment")
answer["rows"] = {split: len(table) for split, table in rows.items()}
answer["columns"] = rows["test"].column_names
answer["streamed"] = len(list(load_dataset(dataset, "toy_recommendation", split="test", streaming=True)))
answer["metric"] = evaluate.load(metric).compute(predictions=[[3, 9, 1]], references=[9], k=[1, 3])
print("\\n" + json.dumps(answer))
"""


class TestLoading:
    @pytest.fixture(scope="class")
    def answer(self, site):
        """What the public libraries alone get of the three repositories."""
        return json.loads(
            site.python(PREFIX + STRANGER, MODEL, DATASET, METRIC, WISH, home="stranger").strip().splitlines()[-1]
        )

    def test_the_model_recommends_as_where_it_was_trained(self, site, answer):
        import torch

        from modeling_mender.hub.loading import load_recommender

        model, processor = load_recommender(site.model)
        torch.set_num_threads(1)
        found = model.recommend(**processor(history=[[1, 5]], preference=[WISH]), k=5)
        assert answer["items"] == found.items[0].tolist() == answer["pipeline"]
        assert answer["scores"] == [score.hex() for score in found.scores[0].tolist()]
        assert answer["generated"] == [3, 4]

    def test_the_configs_of_both_domains_load_and_stream(self, site, answer):
        import pyarrow.parquet as pq

        expected = {
            split: pq.read_metadata(site.benchmarks[1] / f"sample_sentiment/{split}-00000-of-00001.parquet").num_rows
            for split in ("train", "validation", "test")
        }
        assert answer["rows"] == expected
        assert answer["columns"] == ["preference_positive", "preference_negative", "target"]
        assert answer["streamed"] == 20

    def test_the_metric_computes(self, answer):
        assert answer["metric"]["recall@3"] == 1.0
        assert answer["metric"]["ndcg@3"] == pytest.approx(0.6309, abs=1e-4)

    def test_the_repositories_are_what_was_asked_for(self, site):
        assert site.hub.repo("model", MODEL).private
        assert not site.hub.repo("dataset", DATASET).private
        assert "eval.yaml" in site.hub.repo("dataset", DATASET).files()
        assert "ranking-metrics.py" in site.hub.repo("space", METRIC).files()
        assert "handler.py" in site.hub.repo("model", MODEL).files()


class TestLeaderboard:
    @pytest.fixture(scope="class")
    def submitted(self, site):
        """Scored on the Hub's benchmark, submitted, submitted again before and after the merge."""
        scores = site.folder / "scores"
        evaluate = ("evaluate_axes", MODEL, "--benchmark", DATASET, "--domain", "toy", "--resamples", "20",
                    "--num_beams", "12", "--output_dir", scores)  # fmt: skip
        submit = ("submit_to_leaderboard", scores / "results.json", "--model", MODEL, "--benchmark", DATASET)
        before = commits(site, "model", MODEL)
        first = site.type(evaluate, (*submit, "--dry_run"), submit, submit)
        assert [answer["status"] for answer in first] == [0, 0, 0, 1], first
        assert len(site.hub.repo("model", MODEL).pull_refs) == 1
        site.hub.repo("model", MODEL).merge(1)
        assert commits(site, "model", MODEL) > before
        board = site.folder / "board"
        second = site.type(submit, ("make_leaderboard", "--benchmark", DATASET, "--output_dir", board))
        return first, second, board, scores

    def test_results_name_the_commit_of_the_benchmark(self, site, submitted):
        results = json.loads((submitted[3] / "results.json").read_text())
        assert results["benchmark"]["name"] == DATASET
        assert results["benchmark"]["revision"] == site.hub.repo("dataset", DATASET).find("main").oid

    def test_the_pull_request_carries_entries_and_results(self, site, submitted):
        files = site.hub.repo("model", MODEL).files()
        assert ".eval_results/pref-discerning_toy.yaml" in files
        assert json.loads(files["results/toy.json"])["method"] == "mender_emb"
        assert "toy_fine_recall_at_10" in submitted[0][1]["out"]

    def test_what_waits_in_an_open_pull_request_or_is_merged_is_refused(self, submitted):
        assert "an open pull request already has all of these scores" in submitted[0][3]["errors"][0]
        assert submitted[1][0]["status"] == 1
        assert "already submitted" in submitted[1][0]["errors"][0]

    def test_the_leaderboard_shows_the_submission(self, submitted):
        assert submitted[1][1]["status"] == 0, submitted[1][1]
        records = json.loads((submitted[2] / "leaderboard.json").read_text())
        assert {record["model"] for record in records} == {MODEL}
        assert {record["axis"] for record in records} >= {"recommendation", "fine", "history", "compose", "words"}
        assert not any(record["stale"] for record in records)
        assert MODEL in (submitted[2] / "index.html").read_text()

    def test_demo_and_leaderboard_become_spaces(self, site, submitted):
        board = submitted[2]
        answers = site.type(
            ("publish_space", "demo", "--repo_id", "org/demo", "--model", MODEL, "--leaderboard", board),
            ("publish_space", "leaderboard", "--repo_id", "org/board", "--leaderboard", board),
        )
        assert [answer["status"] for answer in answers] == [0, 0], answers
        demo = site.hub.repo("space", "org/demo").files()
        assert json.loads(demo["settings.json"])["model"] == MODEL
        assert {"app.py", "requirements.txt", "leaderboard.json"} <= demo.keys()
        assert MODEL.encode() in site.hub.repo("space", "org/board").files()["index.html"]

    def test_the_command_line_of_the_hub_submits_too(self, site, submitted):
        """`hf upload ... --create-pr`, by somebody who may not write to the repository."""
        name = "org/open-model"
        site.hub.create_repo("model", name)
        entries = site.folder / "entries/.eval_results"
        entries.mkdir(parents=True, exist_ok=True)
        (entries / "pref-discerning_toy.yaml").write_bytes(
            site.hub.repo("model", MODEL).files()[".eval_results/pref-discerning_toy.yaml"]
        )
        done = subprocess.run(
            [Path(sys.executable).with_name("hf"), "upload", name, entries.parent, "--create-pr"],
            env=site.hub.environment(site.folder / "other", "hf_reader"), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        repository = site.hub.repo("model", name)
        assert ".eval_results/pref-discerning_toy.yaml" not in repository.files()
        repository.merge(1)
        assert ".eval_results/pref-discerning_toy.yaml" in repository.files()


class TestTraining:
    def test_semantic_ids_and_training_take_benchmark_and_ids_from_the_hub(self, site):
        """A team goes on from what another one published, without a file of its own."""
        encoder = save_text_encoder("bert", site.folder / "encoder")
        here = ("--benchmark", DATASET, "--domain", "toy")
        train = ("--output_dir", site.folder / "trained", "--max_steps", "3", "--warmup_steps", "1", "--eval_steps",
                 "3", "--num_beams", "12", "--text_encoder", encoder, "--semantic_ids", "org/rqvae-toy")  # fmt: skip
        answers = site.type(
            ("learn_semantic_ids", *here, "--output_dir", site.folder / "ids", "--embedding_model", encoder,
             "--codebook_size", "4", "--hidden_sizes", "8", "4", "--epochs", "3"),
            ("publish_model", site.folder / "ids", "--repo_id", "org/rqvae-toy"),
            ("train", SCRIPTS / "recipes/mender_emb/sample.yaml", *here, *train),
            ("publish_model", site.folder / "trained/model", "--repo_id", "org/second", "--benchmark", DATASET),
            ("recommend", "org/second", "--preference", WISH, "--k", "3", "--json"),
        )  # fmt: skip
        assert [answer["status"] for answer in answers] == [0] * 5, answers
        assert "semantic_ids.parquet" in site.hub.repo("model", "org/rqvae-toy").files()
        assert len(json.loads(answers[-1]["out"])["items"]) == 3
        arguments = site.hub.repo("model", "org/second").files()["training_arguments.yaml"].decode()
        assert f"benchmark: {DATASET}" in arguments and str(site.folder) not in arguments


class TestWhatGoesWrong:
    def test_an_interrupted_upload_shows_nothing_and_goes_on_where_it_stopped(self, site):
        name, hub = "org/interrupted", site.hub
        publish = ("publish_model", site.model, "--repo_id", name)
        hub.fail_after_uploads(0, status=507)
        arrived = hub.uploaded_bytes
        try:
            (first,) = site.type(publish)
        finally:
            hub.heal()
        assert first["status"] == 1 and len(first["errors"]) == 1
        assert "config.json" not in hub.repo("model", name).files()  # nobody ever sees half of it
        assert hub.uploaded_bytes == arrived
        second, third = site.type(publish, publish)
        assert second["status"] == third["status"] == 0
        sent = hub.uploaded_bytes - arrived
        weights = len(hub.repo("model", name).files()["model.safetensors"])
        assert weights <= sent < 2 * weights + 100_000  # once, whatever was asked how often

    def test_a_pull_request_in_place_of_a_commit_by_one_who_may_not_write(self, site):
        before = site.hub.repo("model", MODEL).find("main").oid
        site.hub.repo("model", MODEL).granted.add("reader")
        refused, proposed, unchanged = site.type(
            ("publish_model", site.model, "--repo_id", MODEL),
            ("publish_model", site.model, "--repo_id", MODEL, "--create_pr", "--license", "mit"),
            ("publish_model", site.model, "--repo_id", MODEL, "--create_pr"),
            token="hf_reader",
        )
        assert refused["status"] == 1 and "--create_pr" in refused["errors"][0]
        assert proposed["status"] == 0, proposed
        assert "discussions" in proposed["out"]
        assert unchanged["status"] == 0 and "nothing to propose" in unchanged["out"]
        assert site.hub.repo("model", MODEL).find("main").oid == before

    def test_a_branch_is_made_and_loaded_by_its_name(self, site):
        published, found = site.type(
            ("publish_model", site.model, "--repo_id", MODEL, "--revision", "next"),
            ("recommend", MODEL, "--revision", "next", "--history", "1", "--k", "2", "--json"),
        )
        assert (published["status"], found["status"]) == (0, 0), (published, found)
        assert "next" in site.hub.repo("model", MODEL).branches

    def test_a_download_that_was_cut_or_changed_is_noticed(self, site):
        ask = ("recommend", MODEL, "--history", "1")
        site.hub.corrupt("model.safetensors", how="truncate")
        try:
            (cut,) = site.type(ask, home="cut")
            site.hub.heal()
            site.hub.corrupt("items.jsonl", how="flip")
            site.hub.corrupt("model.safetensors", how="flip")
            (changed,) = site.type((*ask, "--verify"), home="changed")
        finally:
            site.hub.heal()
        (whole,) = site.type((*ask, "--verify"), home="cut")
        assert cut["status"] == 1 and len(cut["errors"]) == 1
        assert changed["status"] == 1 and "by manifest.json" in changed["errors"][0]
        assert "hf cache rm" in changed["errors"][0]
        assert whole["status"] == 0

    def test_two_who_publish_at_once_do_not_overwrite_each_other(self, site):
        """A commit between the reading of what is kept and the writing is refused, and the same command goes on."""
        code = """
from dataset_builders.commands import publish_benchmark
read = publish_benchmark.read_published

def late(*words):
    found = read(*words)
    from huggingface_hub import HfApi
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="note.txt", repo_id=words[0], repo_type="dataset")
    return found

publish_benchmark.read_published = late
status = publish_benchmark.main(sys.argv[2:])
publish_benchmark.read_published = read
print(status, publish_benchmark.main(sys.argv[2:]))
"""
        words = (site.benchmarks[0], "--repo_id", "org/shared-rows")
        site.type(("publish_benchmark", site.benchmarks[1], "--repo_id", "org/shared-rows"))
        out = site.python(f"import sys\nsys.path[:0] = [sys.argv[1]]\n{code}", SCRIPTS, *words)
        assert out.splitlines()[-1] == "1 0"
        files = site.hub.repo("dataset", "org/shared-rows").files()
        assert {"note.txt", "reports/toy.json", "reports/sample.json"} <= files.keys()

    def test_models_that_cannot_be_had_are_named_with_the_way_out(self, site):
        hub = site.hub
        hub.create_repo("model", "org/gated", {"config.json": "{}"}).gated = True
        files = hub.repo("model", MODEL).files()
        hub.create_repo("model", "org/half", {"config.json": files["config.json"]})
        renamed = json.loads(files["config.json"]) | {"model_type": "mender_embeddings"}
        hub.create_repo("model", "org/renamed", {"config.json": json.dumps(renamed)})
        public = hub.create_repo("model", "org/public", dict(files))
        assert public.files()
        asked = {
            "org/nowhere": "model org/nowhere does not exist on the Hub, or it is private",
            MODEL: f"model {MODEL} does not exist on the Hub, or it is private",
            "org/gated": "model org/gated is gated",
            "org/half": "org/half has a configuration but not all of its files",
            "org/renamed": "the config.json of org/renamed has the model type 'mender_embeddings'",
        }
        hub.repo("model", MODEL).granted.discard("reader")
        answers = site.type(
            *(("recommend", name, "--history", "1") for name in asked),
            ("recommend", "org/public", "--revision", "v9", "--history", "1"),
            token="hf_reader",
            home="reader",
        )
        for (name, message), answer in zip(asked.items(), answers, strict=False):
            assert answer["status"] == 1, name
            assert len(answer["errors"]) == 1 and message in answer["errors"][0], answer["errors"]
        assert "org/public has no revision 'v9'" in answers[-1]["errors"][0]

    def test_benchmarks_that_cannot_be_had_are_named_with_the_way_out(self, site):
        hub, run = site.hub, site.folder / "scores/run.parquet"
        hub.create_repo("dataset", "org/gated-rows").gated = True
        hidden = hub.create_repo("dataset", "org/hidden-rows")
        hidden.private = True
        half = dict(hub.repo("dataset", DATASET).files())
        for path in [path for path in half if path.startswith("toy_recommendation/")]:
            del half[path]
        hub.create_repo("dataset", "org/half-rows", half)
        score = ("evaluate_axes", "--run", run, "--domain", "toy", "--benchmark")
        cases = [
            ((*score, "org/no-rows"), "dataset org/no-rows does not exist on the Hub, or it is private"),
            ((*score, "org/hidden-rows"), "dataset org/hidden-rows does not exist on the Hub, or it is private"),
            ((*score, "org/gated-rows"), "org/gated-rows is gated"),
            ((*score, DATASET, "--benchmark_revision", "v9"), f"dataset {DATASET} has no revision 'v9'"),
            ((*score[:-2], "toys", "--benchmark", DATASET), "toys"),
            ((*score, "org/half-rows"), "org/half-rows"),
        ]
        answers = site.type(*(words for words, _ in cases), token="hf_reader", home="reader")
        for (words, message), answer in zip(cases, answers, strict=True):
            assert answer["status"] == 1, words
            assert len(answer["errors"]) == 1 and message in answer["errors"][0], (words, answer)
        assert "sample" in answers[4]["errors"][0] and "toy" in answers[4]["errors"][0]  # the domains that there are
