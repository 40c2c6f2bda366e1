"""scripts/benchmarks/kill_test.py: what it takes for equal, and for left behind; nothing is killed here."""

import json

import kill_test
import numpy as np
import pytest
from safetensors.numpy import save_file


def fill(place, seconds=1.0, weight=0.5, lines=("a", "b")):
    (place / "tmp").mkdir(parents=True)
    (place / "log").write_text(str(seconds))
    state = {"step": 3, "seconds": seconds, "parts": [{"seconds": seconds, "rows": 2}]}
    (place / "state.json").write_text(json.dumps(state))
    (place / "journal.jsonl").write_text("".join(json.dumps({"key": line}) + "\n" for line in lines))
    save_file({"weight": np.array([weight], np.float32)}, place / "model.safetensors")
    return place


def test_times_and_the_order_of_lines_do_not_count(tmp_path):
    first, second = fill(tmp_path / "a"), fill(tmp_path / "b", seconds=2.5, lines=("b", "a"))
    assert kill_test.content(first) == kill_test.content(second)


@pytest.mark.parametrize("change", [{"weight": 0.25}, {"lines": ("a",)}, {"lines": ("a", "b", "b")}])
def test_weights_and_lines_count(tmp_path, change):
    assert kill_test.content(fill(tmp_path / "a")) != kill_test.content(fill(tmp_path / "b", **change))


def test_what_is_left_behind_is_seen_beside_the_output_among_temporary_files_and_in_the_cache(tmp_path):
    place = fill(tmp_path / "a")
    clean = kill_test.content(place)
    for left in (".out.abcdefgh.tmp", "tmp/.mender.abcdefgh.tmp", "cache/steering/.key.abcdefgh.tmp"):
        (place / left).mkdir(parents=True)
        assert left in kill_test.content(place).keys() - clean.keys()
    (place / "cache/steering/key").mkdir()
    assert "cache/steering/key" not in kill_test.content(place)


def test_every_command_comes_after_those_that_it_needs():
    names = [one.name for one in kill_test.ACTIVITIES]
    for number, one in enumerate(kill_test.ACTIVITIES):
        assert set(one.needs) <= set(names[:number]), one.name
