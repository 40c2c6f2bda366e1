"""Several domains in one published dataset: merged, checked, described, loaded by a process without our packages."""

import importlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmark_world import ToySource, hash_embed, item
from datasets import load_dataset
from forked_python import server
from huggingface_hub import DatasetCard

from dataset_builders.benchmark.report import list_domains, read_report, report_file
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands import fresh_process, hub_push, publish_benchmark

NAME = "org/pref-discerning"
CHECK_LOADING = publish_benchmark.check_loading
SAMPLE = SampleSource(num_items=120, num_users=90)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def toy_shop(seed=0):
    """Twelve users of nine things, without ratings: it has no sentiment axis."""
    nouns = "lamp mug vase tray cushion candle soap blanket notebook".split()
    names = zip(["red", "green", "blue"] * 3, nouns, strict=True)
    items = [item(n, f"{colour} {noun}", "", ["Shop", colour]) for n, (colour, noun) in enumerate(names, 1)]
    generator = np.random.default_rng(seed)
    return ToySource([(generator.permutation(9)[:7] + 1).tolist() for _ in range(12)], items)


def build(folder, domain, source, min_count=1, **about):
    options = BuildOptions(min_count=min_count)
    build_benchmark(source, domain, folder, hash_embed, options=options, progress=False, about=about)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two benchmark directories: `toys` and `beauty`."""
    folder = tmp_path_factory.mktemp("built")
    terms = "Made up for a test; Apache-2.0."
    return {
        "toys": build(folder / "toys", "toys", toy_shop(), title="Toy shop", terms=terms, license="apache-2.0"),
        "beauty": build(folder / "beauty", "beauty", SAMPLE, min_count=5, title="Beauty shop", terms="Ask the shop."),
    }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The repository as a local folder `org/pref-discerning`, which the public libraries find below the working
    directory; what is pushed is laid over it as the Hub does, stale files first."""
    repository = tmp_path / NAME
    monkeypatch.chdir(tmp_path)

    def push(folder, repo_id, repo_type, arguments, delete_patterns=None, default_message="", parent_commit=None):
        assert (repo_id, repo_type) == (NAME, "dataset")
        sent = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for path in [path for path in repository.rglob("*") if path.is_file()]:
            name = path.relative_to(repository)
            if name not in sent and any(name.match(pattern) for pattern in delete_patterns):
                path.unlink()
        shutil.copytree(folder, repository, dirs_exist_ok=True)
        return f"sent {len(sent)}: {default_message}"

    def descriptions(repo_id, revision):
        return repository if repository.is_dir() else None

    monkeypatch.setattr(publish_benchmark, "check_loading", lambda folder, reports: None)  # seconds; has its own tests
    monkeypatch.setattr(hub_push, "push_folder", push)
    monkeypatch.setattr(publish_benchmark, "download_descriptions", descriptions)
    return repository


def publish(*words):
    return publish_benchmark.main([*map(str, words), "--repo_id", NAME])


def rows_of(config, cache):
    return {split: table.num_rows for split, table in load_dataset(NAME, config, cache_dir=str(cache)).items()}


def parquet_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet")}


def test_two_directories_become_one_dataset_with_every_config_of_both(built, hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(publish_benchmark, "check_loading", CHECK_LOADING)
    assert publish(*built.values()) == 0
    count = sum(len(read_report(folder, domain).rows) for domain, folder in built.items())
    assert f"loaded with datasets alone: {count} configs" in capsys.readouterr().out
    assert list_domains(hub) == ["beauty", "toys"]
    for domain, folder in built.items():
        report = read_report(folder, domain)
        assert read_report(hub, domain) == report
        for config, counts in report.rows.items():
            assert rows_of(config, tmp_path / "cache") == counts
    tasks = yaml.safe_load((hub / "eval.yaml").read_text())["tasks"]
    assert len(tasks) == len({task["id"] for task in tasks}) == count - 4  # two tables a domain have no task
    assert {"beauty_sentiment_m_at_10", "toys_fine_recall_at_10"} < {task["id"] for task in tasks}


def test_the_front_matter_is_what_the_hub_asks_for(built, hub):
    assert publish(*built.values()) == 0
    data = DatasetCard.load(hub / "README.md").data.to_dict()
    assert data["license"] == "other" and data["license_name"] == "terms-of-the-source"
    assert (hub / data["license_link"]).read_text().count("## ") == 2
    for name in ("task_categories", "size_categories", "language", "tags", "configs", "dataset_info"):
        assert isinstance(data[name], list) and data[name], name
    assert data["pretty_name"] == "Preference discerning: Beauty shop, Toy shop"
    assert [config["config_name"] for config in data["configs"]] == [
        info["config_name"] for info in data["dataset_info"]
    ]


def test_one_licence_that_covers_everything_is_named_and_needs_no_file_of_terms(built, hub):
    assert publish(built["toys"]) == 0
    assert DatasetCard.load(hub / "README.md").data.license == "apache-2.0"
    assert not (hub / "LICENSE.md").exists()


def headings(card):
    prose = re.sub(r"^```.*?^```", "", card.split("---\n", 2)[2], flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) (.*)$", prose, re.MULTILINE)


def test_several_domains_have_a_section_each_one_level_below_the_header(built, hub):
    assert publish(*built.values()) == 0
    found = headings((hub / "README.md").read_text())
    assert [title for level, title in found if level == "#"] == ["Preference discerning: Beauty shop, Toy shop"]
    sections = [title for level, title in found if level == "##"]
    assert sections[:2] == ["Beauty shop (`beauty`)", "Toy shop (`toys`)"]
    assert sections[-4:] == ["Limits and known biases", "How to score", "How to submit", "Citation"]
    assert [title for level, title in found if level == "###"].count("Source, license and terms") == 2


def test_the_card_of_one_domain_has_no_deeper_headings(built):
    assert {level for level, _ in headings((built["toys"] / "README.md").read_text())} == {"#", "##"}


@pytest.mark.parametrize("domains", [["toys"], ["toys", "beauty"]])
def test_every_python_block_of_the_card_runs_without_our_packages(built, hub, tmp_path, domains):
    assert publish(*(built[domain] for domain in domains)) == 0
    blocks = [code for language, code in BLOCK.findall((hub / "README.md").read_text()) if language == "python"]
    assert len(blocks) == 2 and all(NAME in code for code in blocks)
    code = fresh_process.PREFIX + "\n".join(blocks)
    environment = {"PATH": "", "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = server().run(code, environment=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'preference': " in done.stdout
    assert 0 <= float(done.stdout.splitlines()[-1]) <= 1


def test_the_card_of_a_build_names_the_directory_and_its_code_runs_beside_it(built, monkeypatch, tmp_path):
    monkeypatch.chdir(built["toys"].parent)
    assert 'load_dataset("toys", "toys_recommendation", split="test")' in Path("toys/README.md").read_text()
    assert load_dataset("toys", "toys_recommendation", split="test", cache_dir=str(tmp_path)).num_rows == 12


def test_every_command_of_the_card_knows_its_options(built, hub, capsys):
    assert publish(*built.values()) == 0
    commands = "".join(code for language, code in BLOCK.findall((hub / "README.md").read_text()) if language == "bash")
    found = re.findall(r"scripts/(\w+)\.py(.*)", commands)
    assert [script for script, _ in found] == ["evaluate_axes", "evaluate_axes", "submit_to_leaderboard"]
    for script, words in found:
        with pytest.raises(SystemExit):
            importlib.import_module(script).main(["--help"])
        shown = capsys.readouterr().out
        for option in re.findall(r"--\w+", words):
            assert option in shown, (script, option)


def test_a_domain_that_is_not_given_stays_without_being_sent_again(built, hub, tmp_path, capsys):
    assert publish(built["beauty"]) == 0
    before = parquet_of(hub)
    assert publish(built["toys"], "--output_dir", tmp_path / "sent") == 0
    assert "kept as they are: beauty" in capsys.readouterr().out
    assert parquet_of(tmp_path / "sent") == parquet_of(built["toys"])
    assert parquet_of(hub) == before | parquet_of(built["toys"])
    assert list_domains(hub) == ["beauty", "toys"]
    assert rows_of("beauty_sentiment", tmp_path / "cache") == read_report(hub, "beauty").rows["beauty_sentiment"]
    together = tmp_path / "together"
    assert publish_benchmark.main([*map(str, built.values()), "--repo_id", NAME, "--output_dir", str(together)]) == 0
    for name in ("README.md", "eval.yaml", "LICENSE.md"):  # as if both had been sent at once
        assert (tmp_path / "sent" / name).read_text() == (together / name).read_text()


def test_a_domain_that_is_given_replaces_its_namesake_whole(built, hub, tmp_path):
    with_sentiment = build(tmp_path / "old", "toys", SAMPLE, min_count=5)
    assert publish(with_sentiment, built["beauty"]) == 0
    assert "toys_sentiment/test-00000-of-00001.parquet" in parquet_of(hub)
    assert publish(built["toys"]) == 0
    assert parquet_of(hub) == parquet_of(built["toys"]) | parquet_of(built["beauty"])
    assert "toys_sentiment" not in (hub / "README.md").read_text()


def test_replace_leaves_what_is_given_alone(built, hub):
    assert publish(built["beauty"]) == 0
    assert publish(built["toys"], "--replace") == 0
    assert parquet_of(hub) == parquet_of(built["toys"]) and list_domains(hub) == ["toys"]
    assert "beauty" not in (hub / "README.md").read_text().lower()
    assert not (hub / "LICENSE.md").exists()


@pytest.mark.usefixtures("forked_checks")
def test_a_dry_run_lists_everything_and_sends_nothing(built, tmp_path, capsys):
    words = ["--replace", "--dry_run", "--output_dir", tmp_path / "sent"]
    assert publish(built["toys"], *words) == 0
    printed = capsys.readouterr().out
    assert "nothing was sent" in printed and "reports/toys.json" in printed
    assert sorted(path.name for path in (tmp_path / "sent").iterdir() if path.is_file()) == ["README.md", "eval.yaml"]


@pytest.mark.usefixtures("forked_checks")
def test_a_dry_run_asks_nothing_of_the_hub_and_says_what_it_did_not_check(built, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(publish_benchmark, "download_descriptions", lambda *_: pytest.fail("the Hub was asked"))
    assert publish(built["toys"], "--dry_run") == 0
    assert "not checked (--dry_run does not contact the Hub)" in capsys.readouterr().out


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built["toys"], tmp_path / "copy")


def edit_report(folder, **changes):
    path = folder / report_file("toys")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(hub, capsys, *words):
    assert publish(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    return error


def test_one_domain_in_two_directories_is_refused(built, hub, copy, capsys):
    assert "both hold the domain toys" in refused(hub, capsys, built["toys"], copy)


def test_rows_that_are_not_those_of_the_fingerprint_are_refused(hub, copy, capsys):
    train, test = (copy / "toys_history" / f"{split}-00000-of-00001.parquet" for split in ("validation", "test"))
    shutil.copyfile(train, test)
    error = refused(hub, capsys, copy)
    assert "fails" in error and "mender describe" in error
    assert not hub.exists()


def test_what_yelp_forbids_is_not_published_unless_one_may(hub, copy, capsys):
    edit_report(copy, source="yelp")
    assert "Dataset_User_Agreement" in refused(hub, capsys, copy)
    assert not hub.exists()
    assert publish(copy, "--i_have_the_right_to_redistribute") == 0


def test_terms_that_nobody_stated_are_noted(hub, copy, capsys):
    edit_report(copy, about={})
    assert publish(copy) == 0
    assert "the terms of the data of toys are unknown" in capsys.readouterr().out
    assert "ask before you pass it on" in (hub / "LICENSE.md").read_text()


def test_a_directory_of_the_time_of_one_report_is_refused_with_the_way_out(hub, copy, capsys):
    (copy / report_file("toys")).rename(copy / "report.json")
    assert "move that file to reports/toys.json" in refused(hub, capsys, copy)


def test_what_is_no_benchmark_is_refused(hub, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "holds no reports/DOMAIN.json" in refused(hub, capsys, tmp_path / "empty")
    assert "nowhere is no directory" in refused(hub, capsys, tmp_path / "nowhere")


def test_an_existing_output_directory_is_kept_unless_asked(built, hub, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert "already exists" in refused(hub, capsys, built["toys"], "--output_dir", tmp_path / "mine")
    assert publish(built["toys"], "--output_dir", tmp_path / "mine", "--overwrite") == 0


def test_a_published_domain_of_another_version_is_not_lost_by_accident(built, hub, capsys):
    assert publish(built["toys"]) == 0
    edit_report(hub, a_field_of_the_future=1)
    error = refused(hub, capsys, built["beauty"])
    assert "the domain toys of org/pref-discerning cannot be kept" in error and "--replace" in error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("dtype: int32", "dtype: int64"), "in the format of this version"),
        (("toys_fine", "toys_finest"), "configs without a report (toys_finest)"),
    ],
)
def test_a_repository_whose_card_says_something_else_is_refused(built, hub, capsys, change, words):
    assert publish(built["toys"]) == 0
    card = hub / "README.md"
    card.write_text(card.read_text().replace(*change))
    assert words in refused(hub, capsys, built["beauty"])


@pytest.mark.usefixtures("forked_checks")
def test_a_config_that_loads_with_other_rows_is_refused(built):
    report = read_report(built["toys"], "toys")
    publish_benchmark.check_loading(built["toys"], [report])
    wrong = replace(report, fingerprints={**report.fingerprints, "toys_fine": "0" * 32})
    with pytest.raises(ValueError, match="toys_fine loads as .* in a separate process"):
        publish_benchmark.check_loading(built["toys"], [wrong])


@pytest.mark.usefixtures("forked_checks")
def test_a_folder_that_does_not_load_alone_is_refused(copy):
    card = copy / "README.md"
    card.write_text(card.read_text().replace("path: toys_fine/", "path: elsewhere/"))
    with pytest.raises(ValueError, match="public libraries alone could not use it"):
        publish_benchmark.check_loading(copy, [read_report(copy, "toys")])
