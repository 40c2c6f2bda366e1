"""A benchmark of nine rows, a method scored on it, and a Hub in memory, for the tests of the leaderboard."""

import hashlib
import json
from types import SimpleNamespace

import pyarrow as pa
import yaml
from huggingface_hub import errors
from huggingface_hub.hf_api import RepoFile

import dataset_builders.benchmark.report
from dataset_builders.benchmark.report import BuildReport
from dataset_builders.hub_http import httpx
from dataset_builders.leaderboard import hub
from dataset_builders.scoring.figures import score_axes
from dataset_builders.scoring.ranks import RANKS_SCHEMA, write_ranks
from dataset_builders.scoring.result_parts import BenchmarkIdentity, Maker
from dataset_builders.scoring.results import Results

BENCHMARK, MODEL = "org/pref-discerning", "me/my-model"
DATA_COMMIT, OLD_COMMIT = "d" * 40, "0" * 40
ROWS = {"recommendation": 4, "fine": 3, "sentiment": 2}
FINGERPRINTS = {f"toy_{name}": hashlib.md5(name.encode()).hexdigest() for name in ("items", "preferences", *ROWS)}
LEFT_OUT = {"coarse": "no two users share a target", "history": "too short"}
TASKS = ["toy_recommendation_recall_at_10", "toy_fine_recall_at_10", "toy_sentiment_m_at_10"]

# ranks with the preference, without it, and for the negative preference; 0 is not found
RANKS = {
    "recommendation": ([1, 3, 0, 12], [0, 3, 0, 0], None),  # recall@10 2/4, and 1/4 without
    "fine": ([2, 0, 0], [0, 0, 0], None),  # 1/3, and 0 without
    "sentiment": ([1, 1], None, [0, 1]),  # m@10 1/2: the second target is recommended to who avoids it as well
}


def make_ranks(ranks=RANKS):
    """A rows.parquet's table; a column of an axis is null where the way of asking is `None`."""
    tables = []
    for axis, (with_preference, without, negative) in ranks.items():
        count = ROWS[axis]
        columns = {
            "axis": [axis] * count,
            "row": list(range(count)),
            "history_length": [0] * count,
            "target": [1] * count,
            "rank": with_preference,
            "rank_unseen": with_preference,
            "rank_no_preference": without,
            "rank_no_preference_unseen": without,
            "rank_negative": negative,
        }
        arrays = [pa.array(columns.get(field.name) or [None] * count, field.type) for field in RANKS_SCHEMA]
        tables.append(pa.table(arrays, schema=RANKS_SCHEMA))
    return pa.concat_tables(tables)


def make_results(ranks=RANKS, method="my_method", **changes):
    """What results.json holds of these ranks, parsed."""
    results = Results(
        maker=Maker(method, "outputs/my_model"),
        domain="toy",
        split="test",
        k=(1, 10),
        benchmark=BenchmarkIdentity(BENCHMARK, DATA_COMMIT, approximator="metadata", fingerprints=dict(FINGERPRINTS)),
        axes=score_axes(make_ranks(ranks), [1, 10], resamples=50),
        left_out=dict(LEFT_OUT),
    )
    return json.loads(results.to_json()) | json.loads(json.dumps(changes))


def write_results(folder, results, ranks=None):
    """results.json, and rows.parquet beside it where ranks are given; returns the former."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    if ranks is not None:
        write_ranks(make_ranks(ranks), folder / "rows.parquet", {})
    return folder / "results.json"


def make_report(fingerprints=FINGERPRINTS, rows=ROWS):
    """The report of the benchmark."""
    return BuildReport(
        domain="toy",
        source="sample",
        approximator="metadata",
        approximator_description="",
        polarity="rating",
        polarity_description="",
        embedding_model="none",
        options={},
        rows={f"toy_{axis}": {"train": 9, "validation": 2, "test": count} for axis, count in rows.items()},
        fingerprints=dict(fingerprints),
        left_out=dict(LEFT_OUT),
    )


def benchmark_files(**changes):
    """What a dataset repository holds, as far as the leaderboard reads it."""
    tasks = [{"id": task, "config": task.rsplit("_", 3)[0], "split": "test"} for task in TASKS]
    return {
        "README.md": "# toy\n",
        "eval.yaml": yaml.safe_dump({"name": "toy", "tasks": tasks}),
        "reports/toy.json": make_report(**changes).to_json(),
    }


def write_benchmark(folder):
    """The same as a local directory."""
    for path, text in benchmark_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


class MemoryHub:
    """What `HfApi` does for the leaderboard, on files in memory: repository -> commit -> path -> text."""

    endpoint = "https://hub.invalid"

    def __init__(self, folder):
        self.folder = folder
        self.repos = {("dataset", BENCHMARK): {DATA_COMMIT: benchmark_files()}, ("model", MODEL): {"1" * 40: {}}}
        self.commits = []
        self.waiting = {}  # model -> reference of a pull request -> path -> text

    def set_model(self, name, files, commit="2" * 40):
        """A model with these files at its newest commit."""
        self.repos[("model", name)] = {commit: files}

    def model_info(self, name):
        """Of the newest commit; only models of `me` are tagged."""
        tags = ["preference-discerning"] if name.startswith("me/") else None
        return SimpleNamespace(id=name, sha=list(self._repo("model", name))[-1], tags=tags)

    def get_repo_discussions(self, name, discussion_type, discussion_status):
        """Open pull requests: commits that were sent as such."""
        assert (discussion_type, discussion_status) == ("pull_request", "open")
        return [SimpleNamespace(num=reference.rpartition("/")[2]) for reference in self.waiting.get(name, {})]

    def list_models(self, filter):
        """All models, whatever they are."""
        assert filter == "preference-discerning"
        return [SimpleNamespace(id=name) for kind, name in self.repos if kind == "model"]

    def list_repo_files(self, name, *, repo_type="model", revision=None):
        """Paths."""
        return list(self._files(repo_type, name, revision)[1])

    def list_repo_tree(self, name, folder, *, revision=None):
        """Files directly in a folder."""
        found = [path for path in self._files("model", name, revision)[1] if path.rpartition("/")[0] == folder]
        if not found:
            raise self._refusal(errors.RemoteEntryNotFoundError, f"api/models/{name}/tree/{revision}/{folder}")
        return self._described(found, name, "model", revision)

    def get_paths_info(self, name, paths, *, repo_type="model", revision=None):
        """The files among the paths."""
        files = self._files(repo_type, name, revision)[1]
        return self._described([path for path in paths if path in files], name, repo_type, revision)

    def _described(self, paths, name, kind, revision):
        files = self._files(kind, name, revision)[1]
        return [RepoFile(path=path, size=len(files[path].encode(errors="replace")), oid="0") for path in paths]

    def hf_hub_download(self, name, path, *, repo_type="model", revision=None):
        """Into a folder laid out as the client's cache."""
        commit, files = self._files(repo_type, name, revision)
        if path not in files:
            raise self._refusal(errors.RemoteEntryNotFoundError, f"{name}/resolve/{commit}/{path}")
        file = self.folder / repo_type / name / "snapshots" / commit / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(files[path])
        return str(file)

    def create_commit(self, name, operations, **options):
        """Kept for the test to look at; a direct commit is carried out."""
        added = {operation.path_in_repo: operation.path_or_fileobj.decode() for operation in operations}
        self.commits.append({"model": name, "files": added, **options})
        commit, files = self._files("model", name, None)
        assert options["parent_commit"] == commit
        if not options["create_pr"]:
            self.repos[("model", name)]["9" * 40] = {**files, **added}
        pr_url = f"{self.endpoint}/{name}/discussions/1" if options["create_pr"] else None
        return SimpleNamespace(commit_url=f"{self.endpoint}/{name}/commit/{'9' * 40}", pr_url=pr_url)

    def _repo(self, kind, name):
        if (kind, name) not in self.repos:
            raise self._refusal(errors.RepositoryNotFoundError, f"api/{kind}s/{name}")
        return self.repos[(kind, name)]

    def _files(self, kind, name, revision):
        if revision in self.waiting.get(name, {}):
            return revision, self.waiting[name][revision]
        repo = self._repo(kind, name)
        commit = list(repo)[-1] if revision in (None, "main") else revision
        if commit not in repo:
            raise self._refusal(errors.RevisionNotFoundError, f"api/{kind}s/{name}/revision/{revision}")
        return commit, repo[commit]

    def _refusal(self, kind, path):
        return kind("404", response=httpx.Response(404, request=httpx.Request("GET", f"{self.endpoint}/{path}")))


def use_memory_hub(monkeypatch, folder):
    """Puts a Hub in memory in the place of the client, wherever the leaderboard and reports ask for it."""
    memory = MemoryHub(folder)
    for module in (hub, dataset_builders.benchmark.report):
        monkeypatch.setattr(module, "HfApi", lambda: memory)
    monkeypatch.setattr(dataset_builders.benchmark.report, "hf_hub_download", memory.hf_hub_download)
    return memory
