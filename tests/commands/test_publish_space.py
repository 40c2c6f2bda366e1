"""Spaces before they are sent: the metric under its published name, the demo with its model, the leaderboard as is."""

import json
import os
import re
import shutil

import pytest
from forked_python import server
from huggingface_hub import RepoCard

from dataset_builders.commands import fresh_process, hub_push, publish_space
from dataset_builders.ranking_metrics import score_run
from dataset_builders.resources import resource

PUSHED = {}


@pytest.fixture
def push(tmp_path, monkeypatch):
    """What would be sent lies in the folder of the repository's name, below the working directory."""
    monkeypatch.chdir(tmp_path)

    def keep(folder, repo_id, repo_type, arguments, delete_patterns=None, default_message="", parent_commit=None):
        assert repo_type == "space"
        PUSHED[repo_id] = delete_patterns
        shutil.copytree(folder, tmp_path / repo_id)
        return f"sent to {repo_id}"

    monkeypatch.setattr(hub_push, "push_folder", keep)
    return tmp_path


def refused(capsys, *words):
    assert publish_space.main(list(map(str, words))) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    return error


def run_without_us(folder, code):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    done = server().run(fresh_process.PREFIX + code, environment=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


DOCTEST = """
import doctest, pathlib, re
sys.path.insert(0, "org/ranking-metrics")  # `metrics.py` beside one's script
card = pathlib.Path("org/ranking-metrics/README.md").read_text()
examples = "\\n".join(re.findall("```python\\n(.*?)```", card, flags=re.S))
assert "from metrics import" in examples and 'evaluate.load("org/ranking-metrics")' in examples
print(doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(examples, {}, "card", None, 0)))
"""

LOAD = """
import evaluate, json
metric = evaluate.load("org/ranking-metrics")
print(json.dumps(metric.compute(predictions=[[3, 9, 1]], references=[9], k=[5, 10])))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A working directory below which `org/ranking-metrics` is the Space."""
    folder = tmp_path_factory.mktemp("world")
    words = ["--output_dir", str(folder / "org/ranking-metrics"), "--dry_run"]
    assert publish_space.main(["metric", "--repo_id", "org/ranking-metrics", *words]) == 0
    return folder


class TestMetric:
    def test_it_loads_by_its_published_name_and_its_card_runs_without_our_packages(self, world):
        *_, card, figures = run_without_us(world, DOCTEST + LOAD).splitlines()
        assert card == "TestResults(failed=0, attempted=9)"
        assert json.loads(figures) == score_run([[3, 9, 1]], [9], k=[5, 10])

    def test_nothing_in_it_names_a_path_of_the_checkout(self, world):
        files = sorted((world / "org/ranking-metrics").iterdir())
        assert [path.name for path in files] == ["README.md", "index.html", "metrics.py", "ranking-metrics.py"]
        for path in files:
            assert "dataset_builders" not in path.read_text(), path.name

    def test_the_page_is_the_card_for_a_space_that_runs_nothing(self, world):
        folder = world / "org/ranking-metrics"
        data = RepoCard.load(folder / "README.md", repo_type="space").data.to_dict()
        assert data["sdk"] == "static" and data["license"] == "apache-2.0" and len(data["short_description"]) <= 60
        page = (folder / "index.html").read_text()
        assert "<h1>Metric card: ranking metrics</h1>" in page and "<title>Ranking Metrics</title>" in page
        assert "evaluate.load(&quot;org/ranking-metrics&quot;)" in page and "sdk: static" not in page

    def test_a_main_file_of_an_earlier_name_goes(self, push, monkeypatch):
        monkeypatch.setattr(publish_space, "check_metric", lambda folder, name: None)
        assert publish_space.main(["metric", "--repo_id", "org/other-metrics"]) == 0
        assert PUSHED["org/other-metrics"] == ["*.py"] and (push / "org/other-metrics/other-metrics.py").is_file()

    @pytest.mark.usefixtures("forked_checks")
    def test_a_metric_that_counts_otherwise_is_not_published(self, push, monkeypatch, capsys):
        wrong = shutil.copytree(publish_space.METRIC, push / "ranking_metrics")
        text = (wrong / "metrics.py").read_text()
        (wrong / "metrics.py").write_text(text.replace("/ num_relevant\n", "/ (num_relevant + 1)\n"))
        assert (wrong / "metrics.py").read_text() != text
        monkeypatch.setattr(publish_space, "METRIC", wrong)
        assert "the staged metric computes" in refused(capsys, "metric", "--repo_id", "org/wrong")
        assert not (push / "org").exists()

    @pytest.mark.usefixtures("forked_checks")
    def test_a_metric_that_does_not_load_is_not_published(self, push, monkeypatch, capsys):
        broken = shutil.copytree(publish_space.METRIC, push / "ranking_metrics")
        main = broken / "ranking_metrics.py"
        main.write_text("import dataset_builders\n" + main.read_text())
        monkeypatch.setattr(publish_space, "METRIC", broken)
        assert "public libraries alone could not use it" in refused(capsys, "metric", "--repo_id", "org/broken")

    @pytest.mark.parametrize("name", ["org/1st", "org/v1.0", "org/metrics", "org/"])
    def test_a_name_that_cannot_be_a_module_is_refused(self, push, capsys, name):
        assert "org/ranking-metrics" in refused(capsys, "metric", "--repo_id", name)


@pytest.fixture
def leaderboard(tmp_path):
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "index.html").write_text("<p>the board</p>")
    (folder / "leaderboard.json").write_text('[{"model": "org/mender"}]')
    (folder / "README.md").write_text("---\ntitle: Board\nsdk: static\n---\n")
    (folder / "notes.txt").write_text("mine")
    return folder


class TestDemo:
    def test_it_knows_its_model_and_its_leaderboard(self, push, leaderboard):
        words = ["demo", "--repo_id", "org/demo", "--model", "org/mender", "--leaderboard", str(leaderboard)]
        assert publish_space.main(words) == 0
        folder = push / "org/demo"
        assert json.loads((folder / "settings.json").read_text()) == {
            "model": "org/mender",
            "leaderboard": "leaderboard.json",
        }
        assert (folder / "leaderboard.json").read_text() == (leaderboard / "leaderboard.json").read_text()
        published, ours = (
            RepoCard.load(path / "README.md", repo_type="space")
            for path in (folder, resource("model_cards/spaces/demo"))
        )
        assert published.data.to_dict() == {**ours.data.to_dict(), "models": ["org/mender"]}
        assert published.text.strip() == ours.text.strip()
        for name in ("app.py", "requirements.txt"):
            assert (folder / name).read_bytes() == (resource("model_cards/spaces/demo") / name).read_bytes()

    def test_it_does_without_a_leaderboard(self, push):
        assert publish_space.main(["demo", "--repo_id", "org/demo", "--model", "org/mender"]) == 0
        assert not (push / "org/demo/leaderboard.json").exists()

    @pytest.mark.parametrize("model", [[], ["--model", "mender"], ["--model", "outputs/quickstart/model"]])
    def test_without_a_model_of_the_hub_it_is_refused(self, push, capsys, model):
        error = refused(capsys, "demo", "--repo_id", "org/demo", *model)
        assert "must be a model on the Hub" in error and "mender publish-model" in error


class TestLeaderboard:
    def test_it_is_sent_as_it_is_and_nothing_beside_it(self, push, leaderboard):
        words = ["leaderboard", "--repo_id", "org/board", "--leaderboard", str(leaderboard)]
        assert publish_space.main(words) == 0
        names = ["README.md", "index.html", "leaderboard.json"]
        assert sorted(path.name for path in (push / "org/board").iterdir()) == names
        for name in names:
            assert (push / "org/board" / name).read_bytes() == (leaderboard / name).read_bytes()

    def test_what_is_missing_is_named(self, push, leaderboard, capsys):
        assert "needs --leaderboard" in refused(capsys, "leaderboard", "--repo_id", "org/board")
        (leaderboard / "index.html").unlink()
        error = refused(capsys, "leaderboard", "--repo_id", "org/board", "--leaderboard", leaderboard)
        assert "lacks index.html" in error and "mender leaderboard" in error


def test_a_dry_run_lists_everything_and_sends_nothing(leaderboard, tmp_path, capsys):
    words = ["--leaderboard", str(leaderboard), "--output_dir", str(tmp_path / "sent"), "--dry_run"]
    assert publish_space.main(["leaderboard", "--repo_id", "org/board", *words]) == 0
    printed = capsys.readouterr().out
    assert "nothing was sent" in printed and re.search(r"\d  index\.html", printed)
    assert (tmp_path / "sent" / "leaderboard.json").is_file()
