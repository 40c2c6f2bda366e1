"""The stage run alone, and the benchmark of it: what the scripts write, print and refuse. Spark has its own test."""

import json
from collections import Counter

import duckdb
import pyarrow.parquet as pq
import pytest
from benchmark_interactions import generation_sql
from benchmark_interactions import main as benchmark

from dataset_builders.commands.prepare_interactions import main


def sample(tmp_path, *words):
    return main(["--domain=toy", "--source=sample", f"--output_dir={tmp_path / 'out'}", *words])


def test_the_stage_writes_both_tables_and_the_counts(tmp_path, capsys):
    assert sample(tmp_path, "--min_count=3", "--window=5", "--user_stride=7", "--memory_limit=1GB") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "counts.json",
        "events.parquet",
        "items.parquet",
    ]
    events = pq.read_table(tmp_path / "out" / "events.parquet")
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    users = set(events["user_id"].to_pylist())
    assert (counts["num_users"], counts["num_actions"]) == (len(users), events.num_rows)
    assert counts["num_items"] == pq.read_table(tmp_path / "out" / "items.parquet").num_rows
    assert (counts["min_count"], counts["window"], counts["user_stride"]) == (3, 5, 7)
    assert max(events["history_length"].to_pylist()) == 4
    assert counts["targets"]["test"] == len(users)
    assert f"{events.num_rows:,} actions of {len(users):,} users" in capsys.readouterr().out


def test_the_stage_gives_the_same_bytes_again(tmp_path):
    for name in ("one", "two"):
        assert sample(tmp_path / name) == 0
    for file in ("events.parquet", "items.parquet", "counts.json"):
        assert (tmp_path / "one" / "out" / file).read_bytes() == (tmp_path / "two" / "out" / file).read_bytes(), file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min_count=999"], "no action is left after the k-core with min_count=999"),
        (["--memory_limit=lots"], "memory_limit ('lots')"),
        (["--window=1"], "window (1) must be at least 2"),
        (["--user_stride=0"], "user_stride (0)"),
        (["--min_count=-1"], "min_count (-1) must be at least 1"),
        (["--min_count=99999999999999999999"], "must be at least 1 and at most 2147483647"),
        (["--memory_limit=0.1KB"], "memory_limit ('0.1KB') must be at least 1MB"),
        (["--memory_limit=9" + "0" * 400 + "TB"], "must be at least 1MB and at most 1024TB"),
        (["--interactions=x.csv"], "does not take --interactions"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, words, message):
    assert sample(tmp_path, *words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert sample(tmp_path) == 1
    assert "already exists" in capsys.readouterr().err
    assert sample(tmp_path, "--overwrite") == 0


def test_raw_tables_are_read_in_place_from_a_file_or_a_folder(tmp_path, capsys):
    interactions, items = generation_sql(2000, 0, seed=0)
    (tmp_path / "actions").mkdir()
    for half in (0, 1):
        part = tmp_path / "actions" / f"{half}.parquet"
        duckdb.sql(f"COPY (FROM ({interactions}) WHERE \"row\" % 2 = {half}) TO '{part}'")
    duckdb.sql(f"COPY ({interactions}) TO '{tmp_path / 'actions.parquet'}'")
    duckdb.sql(f"COPY ({items}) TO '{tmp_path / 'items.parquet'}'")
    written = []
    for name in ("actions", "actions.parquet"):
        words = [f"--interactions={tmp_path / name}", f"--items={tmp_path / 'items.parquet'}", "--min_count=2"]
        assert main(["--domain=toy", "--source=raw", f"--output_dir={tmp_path / f'of-{name}'}", *words]) == 0
        written.append(pq.read_table(tmp_path / f"of-{name}" / "events.parquet").to_pylist())
    assert written[0] == written[1] and written[0]
    words = [f"--interactions={tmp_path / 'nowhere'}", f"--items={tmp_path / 'items.parquet'}"]
    assert main(["--domain=toy", "--source=raw", f"--output_dir={tmp_path / 'x'}", *words]) == 1
    assert f"--interactions {tmp_path / 'nowhere'} does not exist" in capsys.readouterr().err
    (tmp_path / "nowhere").write_text("user_id,source_id")
    assert main(["--domain=toy", "--source=raw", f"--output_dir={tmp_path / 'x'}", *words]) == 1
    assert "nowhere cannot be read (it begins with b'user_id,source_id', and is no Parquet)" in capsys.readouterr().err


def test_synthetic_actions_depend_on_the_seed_alone_and_name_known_items():
    interactions, items = generation_sql(20_000, 40, seed=0)
    rows = duckdb.sql(f'SELECT * FROM ({interactions}) ORDER BY "row"').fetchall()
    assert rows == duckdb.sql(f'SELECT * FROM ({interactions}) ORDER BY "row"').fetchall()
    assert rows != duckdb.sql(f'SELECT * FROM ({generation_sql(20_000, 40, seed=1)[0]}) ORDER BY "row"').fetchall()
    assert {row[1] for row in rows} <= {row[0] for row in duckdb.sql(f"SELECT source_id FROM ({items})").fetchall()}
    assert {len(row[4]) for row in rows} == {40}
    counts = [count for _, count in Counter(row[1] for row in rows).most_common()]
    assert counts[0] > 50 * counts[len(counts) // 2]  # a head and a long tail


def test_the_benchmark_prints_counts_time_and_memory_and_leaves_nothing(tmp_path, capsys):
    assert benchmark(["--rows", "3e3", "9e3", f"--folder={tmp_path}", "--memory_limit=1GB"]) == 0
    out = capsys.readouterr().out
    for words in ("3,000 rows -> ", "9,000 rows -> ", "k-core, round 2", "targets: train ", "peak memory 0.", "3.0 x"):
        assert words in out
    assert not list(tmp_path.iterdir())


def test_the_benchmark_refuses_too_few_rows(capsys):
    assert benchmark(["--rows", "10"]) == 1
    assert "at least 1000" in capsys.readouterr().err
