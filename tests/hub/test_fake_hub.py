"""The stand-in for the Hub against the real clients: what they upload they find again, and they see its faults."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from fake_hub import FakeHub, check_card
from forked_python import server
from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

CARD = "---\nlicense: apache-2.0\ntags: [preference-discerning]\npipeline_tag: text-generation\n---\n# Toy\n"
PARTS = {f"part{number}.bin": bytes([number]) * 1000 for number in range(3)}


@pytest.fixture
def hub():
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def online(hub, monkeypatch):
    """The clients of this process may speak to the stand-in, told so by `endpoint=`; they retry without waiting."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return hub


def api(hub, token="hf_writer"):
    return HfApi(endpoint=hub.url, token=token)


def run(hub, home, *command, token="hf_writer"):
    """Runs a command whose clients speak to the stand-in; gives its stdout."""
    done = subprocess.run(
        [str(word) for word in command], env=hub.environment(home, token), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(hub, home, code, token="hf_writer"):
    """Runs Python code in a process of its own; gives what its last line prints as JSON."""
    done = server().run(code, environment=hub.environment(home, token))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_uploaded_comes_back_small_and_large_by_cache_and_by_range(online, tmp_path):
    large = bytes(range(256)) * 4000
    client = api(online)
    assert client.create_repo("org/model").repo_id == "org/model"
    client.create_repo("org/model", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="already created"):
        client.create_repo("org/model")
    for path, content in {"README.md": CARD.encode(), "weights/model.safetensors": large}.items():
        client.upload_file(repo_id="org/model", path_in_repo=path, path_or_fileobj=content)
    got = Path(client.snapshot_download("org/model", cache_dir=tmp_path))
    assert (got / "README.md").read_text() == CARD
    assert (got / "weights/model.safetensors").read_bytes() == large
    assert online.uploaded_bytes == len(large)
    checked = client.verify_repo_checksums("org/model", cache_dir=tmp_path)
    assert checked.checked_count == 3 and not checked.mismatches and not checked.missing_paths

    entries = {entry.path: entry for entry in client.list_repo_tree("org/model", recursive=True, expand=True)}
    assert set(entries) == {".gitattributes", "README.md", "weights", "weights/model.safetensors"}
    assert entries["weights/model.safetensors"].lfs.size == len(large) and entries["README.md"].lfs is None
    assert entries["README.md"].last_commit.title == "Upload README.md with huggingface_hub"
    assert [entry.path for entry in client.list_repo_tree("org/model", "weights")] == ["weights/model.safetensors"]
    assert [entry.path for entry in client.get_paths_info("org/model", ["README.md", "absent"])] == ["README.md"]
    files = HfFileSystem(endpoint=online.url, token="hf_writer")
    with files.open("org/model/weights/model.safetensors", block_size=100) as file:
        file.seek(1000)
        assert file.read(16) == large[1000:1016]


def test_listings_are_filtered_by_the_tags_of_the_cards(online):
    online.create_repo("model", "org/tagged", {"README.md": CARD})
    online.create_repo("model", "org/untagged")
    online.create_repo("dataset", "org/data", {"README.md": CARD})
    online.create_repo("dataset", "org/hidden", {"README.md": CARD}).private = True
    client = api(online)
    assert [one.id for one in client.list_models(filter="preference-discerning")] == ["org/tagged"]
    assert [one.id for one in client.list_models(author="org", search="UNTAG")] == ["org/untagged"]
    assert [one.id for one in client.list_datasets(filter=["license:apache-2.0"])] == ["org/data", "org/hidden"]
    assert [one.id for one in api(online, "hf_reader").list_datasets()] == ["org/data"]
    info = client.model_info("org/tagged", files_metadata=True)
    assert info.pipeline_tag == "text-generation" and info.card_data.license == "apache-2.0"
    assert {file.rfilename: file.size for file in info.siblings}["README.md"] == len(CARD)


def test_branches_and_tags_pin_what_later_commits_change(online, tmp_path):
    online.create_repo("dataset", "org/data", {"a.txt": "one"})
    client, where = api(online), {"repo_id": "org/data", "repo_type": "dataset"}
    client.create_tag(**where, tag="v1")
    client.create_branch(**where, branch="next")
    client.upload_file(**where, path_in_repo="a.txt", path_or_fileobj=b"two")
    client.delete_file(**where, path_in_repo="a.txt", revision="next")
    contents = {
        revision: Path(
            hf_hub_download(**where, filename="a.txt", revision=revision, endpoint=online.url, cache_dir=tmp_path)
        ).read_text()
        for revision in ("main", "v1")
    }
    assert contents == {"main": "two", "v1": "one"}
    assert "a.txt" not in online.repo("dataset", "org/data").files("next")
    refs = client.list_repo_refs(**where)
    assert {ref.name for ref in refs.branches} == {"main", "next"} and refs.tags[0].name == "v1"
    assert len(client.list_repo_commits(**where)) == 3
    old = client.list_repo_commits(**where)[-1].commit_id
    with pytest.raises(HfHubHTTPError, match="412"):
        client.upload_file(**where, path_in_repo="b.txt", path_or_fileobj=b"late", parent_commit=old)


def test_access_is_refused_as_the_client_expects(online, tmp_path):
    client, stranger = api(online), api(online, "hf_reader")
    online.create_repo("model", "org/open", {"a.txt": "a"})
    online.create_repo("model", "org/private", {"a.txt": "a"}).private = True
    online.create_repo("model", "org/gated", {"a.txt": "a"}).gated = True

    def get(repo_id, path="a.txt", client=stranger, **more):
        return client.hf_hub_download(repo_id, path, cache_dir=tmp_path / str(client.token), **more)

    for repo_id in ("org/private", "org/absent"):
        for one in (stranger, api(online, False)):
            with pytest.raises(RepositoryNotFoundError) as caught:
                get(repo_id, client=one)
            assert not isinstance(caught.value, GatedRepoError)
    with pytest.raises(GatedRepoError):
        get("org/gated")
    assert [Path(get(f"org/{name}", client=client)).read_text() for name in ("private", "gated")] == ["a", "a"]
    online.repo("model", "org/gated").granted.add("reader")
    assert get("org/gated")
    with pytest.raises(EntryNotFoundError):
        get("org/open", "absent.txt")
    with pytest.raises(RevisionNotFoundError):
        get("org/open", revision="absent")
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        stranger.upload_file(repo_id="org/open", path_in_repo="b.txt", path_or_fileobj=b"b")
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        stranger.create_repo("org/new")
    assert stranger.whoami()["name"] == "reader"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api(online, "hf_unknown").whoami()


def test_a_stranger_proposes_by_the_hf_command_and_the_owner_merges(online, tmp_path):
    online.create_repo("dataset", "org/results", {"a.txt": "a"})
    (tmp_path / "mine.json").write_text("[1]")
    (tmp_path / "mine.bin").write_bytes(b"\0" * 100)
    hf = Path(sys.executable).with_name("hf")
    upload = [hf, "upload", "org/results", tmp_path, ".", "--repo-type", "dataset", "--include", "mine.*"]
    said = run(online, tmp_path / "home", *upload, "--create-pr", token="hf_reader")
    assert f"{online.url}/datasets/org/results" in said
    client, where = api(online), {"repo_id": "org/results", "repo_type": "dataset"}
    assert set(online.repo("dataset", "org/results").files()) == {".gitattributes", "a.txt"}
    assert [(one.num, one.author, one.status) for one in client.get_repo_discussions(**where)] == [
        (1, "reader", "open")
    ]
    assert client.get_discussion_details(**where, discussion_num=1).conflicting_files == []
    more = {"path_in_repo": "more.txt", "path_or_fileobj": b"more", "revision": "refs/pr/1"}
    api(online, "hf_reader").upload_file(**where, **more)
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        api(online, "hf_reader").merge_pull_request(**where, discussion_num=1)
    client.merge_pull_request(**where, discussion_num=1)
    assert client.get_discussion_details(**where, discussion_num=1).status == "merged"
    assert online.repo("dataset", "org/results").files()["mine.json"] == b"[1]"
    run(online, tmp_path / "home", hf, "download", "org/results", "--repo-type", "dataset", token="hf_reader")
    assert "Verified 5 file(s)" in run(
        online, tmp_path / "home", hf, "cache", "verify", "org/results", "--repo-type", "dataset"
    )


def test_a_pull_request_that_conflicts_is_not_merged(online):
    repo = online.create_repo("model", "org/model", {"a.txt": "a", "b.txt": "b"})
    client = api(online)
    for content in (b"mine", b"theirs"):
        client.upload_file(repo_id="org/model", path_in_repo="a.txt", path_or_fileobj=content, create_pr=True)
    client.merge_pull_request("org/model", 1)
    assert client.get_discussion_details("org/model", 2).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        client.merge_pull_request("org/model", 2)
    assert repo.files()["a.txt"] == b"mine"


def test_a_draft_is_merged_once_it_is_open(online):
    repo = online.create_repo("model", "org/model")
    client = api(online)
    draft = client.create_pull_request("org/model", "Add a file")
    client.upload_file(repo_id="org/model", path_in_repo="a.txt", path_or_fileobj=b"a", revision=draft.git_reference)
    with pytest.raises(HfHubHTTPError, match="is draft"):
        client.merge_pull_request("org/model", draft.num)
    client.change_discussion_status("org/model", draft.num, "open")
    client.merge_pull_request("org/model", draft.num)
    assert repo.files()["a.txt"] == b"a"
    assert client.get_discussion_details("org/model", draft.num).merge_commit_oid == repo.find("main").oid


def test_an_upload_that_broke_off_sends_only_the_rest_when_repeated(online, tmp_path):
    for path, content in PARTS.items():
        (tmp_path / path).write_bytes(content)
    repo = online.create_repo("model", "org/model")
    where = {"repo_id": "org/model", "folder_path": tmp_path}
    for status in (None, 507):
        online.fail_after_uploads(1, status)
        with pytest.raises(RuntimeError, match="Error while uploading 'part"):
            api(online).upload_folder(**where)
        with pytest.raises(Exception, match="507|disconnected"):
            api(online).repo_info("org/model")
        assert set(repo.files()) == {".gitattributes"}, "half an upload makes no commit"
        online.heal()
    assert online.uploaded_bytes == 2000 and len(repo.uploads) == 2
    api(online).upload_folder(**where)
    assert online.uploaded_bytes == 3000
    assert {path: repo.files()[path] for path in PARTS} == PARTS
    commits = len(repo.commits)
    api(online).upload_folder(**where)
    assert (online.uploaded_bytes, len(repo.commits)) == (3000, commits), "nothing changed: nothing is sent"


def test_a_download_cut_short_is_noticed_and_leaves_no_file(online, tmp_path):
    online.create_repo("model", "org/model", PARTS)
    online.corrupt("part1.bin", "truncate")
    with pytest.raises(Exception, match="peer closed connection|incomplete"):
        api(online).snapshot_download("org/model", cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.incomplete")) and not list(tmp_path.rglob("snapshots/*/part1.bin"))
    online.heal()
    got = Path(api(online).snapshot_download("org/model", cache_dir=tmp_path))
    assert {path: (got / path).read_bytes() for path in PARTS} == PARTS


def test_altered_bytes_pass_the_download_unnoticed_and_fail_the_checksums(online, tmp_path):
    """`huggingface_hub` compares lengths, never hashes: only `verify_repo_checksums` sees a bit that flipped."""
    online.create_repo("model", "org/model", PARTS)
    online.corrupt("part1.bin", "flip")
    got = Path(api(online).snapshot_download("org/model", cache_dir=tmp_path))
    different = [path for path in PARTS if (got / path).read_bytes() != PARTS[path]]
    assert different == ["part1.bin"] and (got / "part1.bin").stat().st_size == 1000
    checked = api(online).verify_repo_checksums("org/model", cache_dir=tmp_path)
    assert [one["path"] for one in checked.mismatches] == ["part1.bin"]


def test_ranges_and_etags_are_answered_as_http_asks(hub):
    hub.create_repo("dataset", "org/data", {"a.txt": "0123456789"})
    url = f"{hub.url}/datasets/org/data/resolve/main/a.txt"

    def get(**headers):
        request = urllib.request.Request(
            url, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    status, body, headers = get()
    assert (status, body, headers["X-Repo-Commit"]) == (
        200,
        b"0123456789",
        hub.repo("dataset", "org/data").find("main").oid,
    )
    assert get(If_None_Match=headers["ETag"])[:2] == (304, b"")
    ranges = {"bytes=2-4": b"234", "bytes=7-": b"789", "bytes=-2": b"89", "bytes=8-100": b"89"}
    assert {asked: get(Range=asked)[1] for asked in ranges} == ranges
    assert get(Range="bytes=2-4")[0] == 206 and get(Range="bytes=2-4")[2]["Content-Range"] == "bytes 2-4/10"
    assert get(Range="bytes=10-")[0] == 416


def test_a_client_that_goes_away_leaves_no_trace_on_stderr(hub, capfd):
    hub.create_repo("model", "org/model", {"large.bin": b"\0" * 2**23})
    port = int(hub.url.rpartition(":")[2])
    for request in (
        "PUT /lfs-storage/model/org/model/aa HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
        "GE",
        "GET /org/model/resolve/main/large.bin HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request.encode())
    with urllib.request.urlopen(f"{hub.url}/api/models/org/model") as answer:
        assert json.load(answer)["id"] == "org/model"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("kind", "header", "complaint"),
    [
        ("model", "license: [unclosed", "YAML does not parse"),
        ("model", "license: mit\nlicense: mit", "duplicated mapping key"),
        ("model", "license: my-own", '"license" must be one of'),
        ("model", "license: other", '"license_name" is required'),
        ("model", "tags: one", '"tags" must be an array of strings'),
        ("model", "language: [no]", '"language" must be a string'),
        (
            "model",
            "model-index: [{name: a, results: [{task: {type: t}, metrics: [{type: m, value: 1}]}]}]",
            "dataset.type",
        ),
        ("dataset", "configs: [{config_name: a}, {config_name: a}]", "names a config twice"),
        ("space", "title: a", '"sdk" must be one of'),
    ],
)
def test_a_card_that_the_hub_would_refuse_is_refused(kind, header, complaint):
    errors, _ = check_card(f"---\n{header}\n---\n", kind)
    assert complaint in " ".join(errors)


def test_the_client_reports_a_refused_card_and_warns_of_an_empty_one(online):
    online.create_repo("model", "org/model")
    where = {"repo_id": "org/model", "path_in_repo": "README.md"}
    with pytest.raises(ValueError, match='Invalid metadata in README.md.\n- "license" must be'):
        api(online).upload_file(**where, path_or_fileobj=b"---\nlicense: my-own\n---\n")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api(online).upload_file(**where, path_or_fileobj=b"# No header\n")


PUSH = """
import json
from datasets import Dataset
from transformers import BertConfig, BertModel

for config in ("first", "second"):
    Dataset.from_dict({"text": [config, "b"]}).push_to_hub("org/data", config, split="test")
BertModel(BertConfig(vocab_size=11, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
    max_position_embeddings=8)).push_to_hub("org/bert")
print("0")
"""

LOAD = """
import json
import evaluate
from datasets import get_dataset_config_names, load_dataset
from transformers import AutoModel

model = AutoModel.from_pretrained("org/bert")
print(json.dumps({
    "configs": get_dataset_config_names("org/data"),
    "rows": [load_dataset("org/data", config, split="test")["text"][:] for config in ("first", "second")],
    "streamed": [row["text"] for row in load_dataset("org/data", "second", split="test", streaming=True)],
    "model": [type(model).__name__, model.num_parameters()],
    "metric": evaluate.load("org/some-metric").compute(predictions=[1, 2], references=[1, 3]),
}))
"""

METRIC = """
import datasets
import evaluate

from .counting import equal


class SomeMetric(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"equal": equal(predictions, references)}
"""


def test_datasets_models_and_metrics_go_to_the_hub_and_load_in_a_fresh_process(hub, tmp_path):
    counting = "def equal(a, b):\n    return sum(x == y for x, y in zip(a, b))\n"
    hub.create_repo("space", "org/some-metric", {"some-metric.py": METRIC, "counting.py": counting})
    run_python(hub, tmp_path / "writer", PUSH)
    assert {("dataset", "org/data"), ("model", "org/bert")} <= set(hub.repositories)
    loaded = run_python(hub, tmp_path / "reader", LOAD, token=None)
    assert loaded["configs"] == ["first", "second"]
    assert loaded["rows"] == [["first", "b"], ["second", "b"]] and loaded["streamed"] == ["second", "b"]
    assert loaded["model"][0] == "BertModel" and loaded["model"][1] > 0
    assert loaded["metric"] == {"equal": 1}
