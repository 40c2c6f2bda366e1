"""Weaknesses of rows: each is found in the paper's rows, stated by the build, and found when it is planted."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_world import hash_embed

from dataset_builders.benchmark.checks import check_benchmark
from dataset_builders.benchmark.report import read_report, report_file
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.preferences.metadata import MetadataApproximator
from dataset_builders.building.publication import count_weaknesses
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands import describe

SOURCE = SampleSource(num_users=150)


def build(folder, **options):
    return build_benchmark(
        SOURCE, "sample", folder, hash_embed, approximator=MetadataApproximator(), progress=False,
        options=BuildOptions(**options),
    )  # fmt: skip


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papers") / "sample"
    return folder, build(folder, steering="paper")


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balanced") / "sample"
    return folder, build(folder)


@pytest.fixture
def copy(balanced, tmp_path):
    return shutil.copytree(balanced[0], tmp_path / "copy")


def file_of(folder, name, split):
    return folder / f"sample_{name}" / f"{split}-00000-of-00001.parquet"


def rows_of(folder, name, split):
    return pq.read_table(file_of(folder, name, split)).to_pylist()


def change(folder, name, split, edit):
    table = pq.read_table(file_of(folder, name, split))
    rows = table.to_pylist()
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file_of(folder, name, split))


FOUND_IN_PAPERS = (
    "coarse/test: rows that the 10 most frequent targets of coarse/train answer",
    "fine/validation: rows whose history ends in an earlier split",
    "fine/test: rows whose history ends in an earlier split",
    "train: ground truths with one user in fine and coarse, though another user has them",
    "sentiment/test: rows whose item the users of the preference only chose in train",
    "fine/validation: rows whose preference has only words of its target's title, brand and categories",
)
GONE_IN_BALANCED = FOUND_IN_PAPERS[:4]


def test_every_finding_is_in_the_papers_rows_and_those_of_steering_are_gone_in_balanced_ones(papers, balanced):
    assert set(FOUND_IN_PAPERS) <= papers[1].weaknesses.keys()
    assert not set(GONE_IN_BALANCED) & balanced[1].weaknesses.keys()


def test_a_list_of_frequent_targets_is_counted_as_one_counts(papers):
    train, test = (
        pq.read_table(file_of(papers[0], "coarse", split))["target"].to_numpy() for split in ("train", "test")
    )
    counts = np.bincount(train)
    frequent = sorted(range(len(counts)), key=lambda item: (-counts[item], item))[:10]
    name = "coarse/test: rows that the 10 most frequent targets of coarse/train answer"
    assert papers[1].weaknesses[name] == np.isin(test, frequent).sum() > 0.2 * len(test)


def test_a_build_states_its_weaknesses_so_the_check_has_nothing_to_add(papers, balanced):
    for folder, report in (papers, balanced):
        assert check_benchmark(folder) == []
        assert read_report(folder, "sample").weaknesses == report.weaknesses
        again = replace(report, weaknesses={})
        count_weaknesses(folder, again)
        assert again.weaknesses == report.weaknesses


def test_rows_of_a_build_that_stated_none_fail_the_check(papers, tmp_path):
    folder = shutil.copytree(papers[0], tmp_path / "old")
    content = json.loads((folder / report_file("sample")).read_text())
    del content["weaknesses"]
    (folder / report_file("sample")).write_text(json.dumps(content))
    lines = check_benchmark(folder)
    assert len(lines) == len(papers[1].weaknesses)
    assert all("a weakness is not as the report states" in line and "stated none" in line for line in lines)


def plant_hub(folder):
    change(folder, "coarse", "train", lambda rows: [row.update(target=7) for row in rows if row["source_item"] != 7])
    change(folder, "coarse", "test", lambda rows: [row.update(target=7) for row in rows if row["source_item"] != 7])


def plant_train_target(folder):
    target = rows_of(folder, "coarse", "train")[0]["target"]
    change(folder, "coarse", "test", lambda rows: rows[-1].update(target=target))


def plant_earlier_history(folder):
    lent = rows_of(folder, "recommendation", "train")[0]
    theft = {name: lent[name] for name in ("user_id", "position", "history")} | {"source_item": lent["target"]}
    change(folder, "fine", "test", lambda rows: rows[0].update(theft))


def plant_shared_user(folder):
    fine = {row["source_item"]: row for row in rows_of(folder, "fine", "train") if row["history_from"] != "own user"}

    def share(rows):
        row = next(row for row in rows if row["source_item"] in fine)
        row.update({name: fine[row["source_item"]][name] for name in ("user_id", "position", "history")})

    change(folder, "coarse", "train", share)


def plant_reuse(folder):
    change(folder, "fine", "test", lambda rows: [row.update(preference="Find a gift") for row in rows])


def plant_words(folder):
    titles = {row["item_id"]: row["title"] for row in rows_of(folder, "items", "train")}
    for split in ("validation", "test"):
        edit = lambda rows: [row.update(preference=f"Find {titles[row['target']]}") for row in rows]  # noqa: E731
        change(folder, "coarse", split, edit)


def plant_train_item(folder):
    """Gives a sentiment row an item that the users of its preference chose in train alone."""
    actions = rows_of(folder, "preferences", "train")
    last = {row["user_id"]: row["position"] for row in actions}
    late = {row["item_id"] for row in actions if last[row["user_id"]] - row["position"] < 2}
    early = next(item for item in range(1, 355) if item not in late)
    change(folder, "sentiment", "test", lambda rows: [row.update(target=early) for row in rows])


def edit_report(folder, edit):
    content = json.loads((folder / report_file("sample")).read_text())
    edit(content)
    (folder / report_file("sample")).write_text(json.dumps(content))


PLANTED = {
    "history_from is not what the users' actions say": lambda f: change(
        f, "fine", "test", lambda rows: [row.update(history_from="own user") for row in rows]
    ),
    "item_from is neither of its values": lambda f: change(
        f, "sentiment_with_history", "test", lambda rows: rows[0].update(item_from="bogus")
    ),
    "a preference in other words is the original": lambda f: change(
        f, "words", "test", lambda rows: rows[0].update(preference=rows[0]["original"])
    ),
    "a row of strength is none of coarse": lambda f: change(
        f, "strength", "test", lambda rows: rows[0].update(preference="Find a thing")
    ),
    "a baseline is not as the rows give it": lambda f: edit_report(
        f, lambda content: content["baselines"]["recommendation"]["constant_list"].update({"recall@10": 0.9})
    ),
    "the report says nothing of steering": lambda f: edit_report(f, lambda content: content.update(steering=None)),
    "ids are not in the catalog": lambda f: change(f, "coarse", "test", lambda rows: rows[0].update(target=9999)),
    "an item is a target more than 2 times": plant_hub,
    "coarse/test: rows that the 10 most frequent targets of coarse/train answer": plant_hub,
    "targets of test are targets of train": plant_train_target,
    "fine/test: rows whose history ends in an earlier split": plant_earlier_history,
    "train: ground truths with one user in fine and coarse": plant_shared_user,
    "fine/test: rows whose preference another row of the split has": plant_reuse,
    "coarse/test: rows whose preference has only words of its target's": plant_words,
    "sentiment/test: rows whose item the users of the preference only chose in train": plant_train_item,
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(copy, fault):
    before = "\n".join(check_benchmark(copy))
    PLANTED[fault](copy)
    found = "\n".join(check_benchmark(copy))
    assert fault not in before and fault in found, found


@pytest.mark.parametrize(("name", "value"), [("weaknesses", "none"), ("baselines", {"fine": 7}), ("rows", [1])])
def test_a_report_of_other_types_is_refused_and_no_crash(copy, name, value):
    edit_report(copy, lambda content: content.update({name: value}))
    with pytest.raises(ValueError, match="not one that this version writes"):
        check_benchmark(copy)


def test_a_missing_preference_is_no_crash(copy):
    change(copy, "fine", "test", lambda rows: rows[0].update(preference=None))
    assert check_benchmark(copy)


def test_the_description_says_what_the_report_says(papers, balanced, capsys):
    assert describe.main([str(papers[0])]) == 0
    shown = capsys.readouterr().out
    name, count = next(iter(papers[1].weaknesses.items()))
    assert f"weakness: {count:,} {name}" in shown
    assert "steering, distinct_targets: " in shown and "no leak, no broken promise" in shown
    assert describe.main([str(balanced[0])]) == 0
    assert GONE_IN_BALANCED[0] not in capsys.readouterr().out


def test_the_card_names_the_weaknesses_of_the_papers_rows(papers, balanced):
    card = (papers[0] / "README.md").read_text()
    assert "*Weakness*" in card and "*Distinct items are hubs.*" in card
    assert "**balanced**" in (balanced[0] / "README.md").read_text()
    assert "Distinct items are hubs" not in (balanced[0] / "README.md").read_text()
