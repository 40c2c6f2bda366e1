"""What commands set in the environment before torch and tqdm are loaded."""

import os
import subprocess
import sys

import pytest

from dataset_builders.commands.surroundings import set_defaults

LOOP = """
import {package}.commands
import time
from tqdm.auto import tqdm

for _ in tqdm(range(300), desc="working", unit="row"):
    time.sleep({seconds})
"""


def run_loop(package, seconds, **environment):
    """The stderr of a process with a loop of 300 rows."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    code = LOOP.format(package=package, seconds=seconds)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=inherited | environment
    ).stderr


@pytest.mark.parametrize("package", ["dataset_builders", "modeling_mender"])
def test_short_work_leaves_nothing_in_a_log(package):
    assert run_loop(package, 0) == ""


def test_long_work_leaves_whole_lines_in_a_log_at_the_interval_that_the_user_sets():
    shown = run_loop("dataset_builders", 0.005, TQDM_DELAY="0.3", TQDM_MININTERVAL="0.3")
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert 2 <= len(lines) <= 8
    assert all(line.startswith("working: ") and " of 300 [" in line for line in lines)


def test_bars_stay_bars_in_a_terminal():
    environment = {}
    set_defaults(environment, is_terminal=True)
    assert environment.keys() == {"GOMP_SPINCOUNT"}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_says_of_waiting_stands(name):
    environment = {name: "mine"}
    set_defaults(environment, is_terminal=True)
    assert environment == {name: "mine"}
