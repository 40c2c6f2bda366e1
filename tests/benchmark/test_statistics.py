"""Tables 3 and 4 and figure 8 of built benchmarks."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_world import hash_embed

from dataset_builders.benchmark.report import BuildReport
from dataset_builders.benchmark.schema import features
from dataset_builders.benchmark.statistics import (
    actions_per_item,
    interaction_statistics,
    preference_statistics,
    statistics_tables,
)
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.commands import describe as describe_benchmark


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "sample"
    build_benchmark(SampleSource(num_items=120, num_users=90), "sample", folder, hash_embed, progress=False)
    return folder


def report(**counts):
    words = ("domain", "source", "approximator", "approximator_description", "polarity", "polarity_description")
    return BuildReport(**dict.fromkeys(words, "toy"), embedding_model="", options={}, **counts)


def test_the_columns_of_table_3_are_counts_and_averages():
    row = interaction_statistics(report(num_users=22_363, num_items=12_101, num_actions=198_502))
    assert row == ("22,363", "12,101", "8.8764", "16.4038", "198,502")


def test_the_columns_of_table_4_add_fine_and_coarse_rows():
    rows = {"toy_sentiment": dict(train=3, validation=2, test=1)}
    rows |= {f"toy_{axis}": dict(train=10, validation=5, test=5) for axis in ("fine", "coarse")}
    row = preference_statistics(report(num_preferences=100, num_negative=30, rows=rows))
    assert row == ("100", "70", "30", "3/2/1", "20/10/10")


def test_an_axis_that_is_not_there_is_said_to_be_left_out():
    assert preference_statistics(report(num_preferences=5))[3:] == ("left out", "left out")


def test_the_papers_row_stands_under_the_domain_that_has_one(benchmark):
    row = ("1", "2", "3", "4", "5")
    tables = statistics_tables([benchmark], {"sample": (row, None)}, {"sample": "of another year", "toys": "absent"})
    assert "- sample: of another year" in tables and "absent" not in tables
    assert tables.count("*the paper*") == 1
    assert tables.index("Table 3") < tables.index("*the paper*") < tables.index("Table 4")


def test_the_distribution_counts_every_action_once_and_falls(benchmark):
    counts = actions_per_item(benchmark, "sample")
    rows = pq.read_table(benchmark / "sample_preferences" / "train-00000-of-00001.parquet")
    assert counts.sum() == rows.num_rows and np.all(np.diff(counts) <= 0) and counts[-1] >= 1


def test_every_domain_of_a_directory_has_its_rows_and_its_curve(benchmark, tmp_path, capsys):
    both = shutil.copytree(benchmark, tmp_path / "both")
    for path in benchmark.glob("sample_*"):
        shutil.copytree(path, both / path.name.replace("sample", "twin"))
    (both / "reports/twin.json").write_text((both / "reports/sample.json").read_text().replace('"sample', '"twin'))
    assert describe_benchmark.main([str(both)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for domain in ("sample", "twin"):
        assert sum(line.startswith(f"| {domain} |") for line in lines) == 2  # tables 3 and 4
    assert np.array_equal(actions_per_item(both, "sample"), actions_per_item(both, "twin"))


def test_the_command_writes_tables_and_picture_and_finds_no_leak(benchmark, tmp_path, capsys):
    assert describe_benchmark.main([str(benchmark), "--output_dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "no leak, no broken promise" in printed and "Table 4" in printed
    assert (tmp_path / "out" / "statistics.md").read_text() in printed
    assert (tmp_path / "out" / "distribution.png").stat().st_size > 10_000


def test_the_command_names_a_broken_promise_and_exits_with_2(benchmark, tmp_path, capsys):
    path = benchmark / "sample_fine" / "test-00000-of-00001.parquet"
    whole = path.read_bytes()
    rows = pq.read_table(path).to_pylist()[1:]
    pq.write_table(pa.Table.from_pylist(rows, features("fine").arrow_schema), path)
    try:
        assert describe_benchmark.main([str(benchmark)]) == 2
    finally:
        path.write_bytes(whole)
    assert "counts differ from the report" in capsys.readouterr().out


def test_the_command_refuses_what_is_no_benchmark(tmp_path, capsys):
    assert describe_benchmark.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
