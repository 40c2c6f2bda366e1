"""Run Python code in a child process with the public libraries but without this project's packages."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic_write import scratch_directory

OUR_PACKAGES = ("modeling_mender", "dataset_builders")
# hides installed packages (also editable ones); a copy on the path is out of reach, for the child is isolated
PREFIX = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OUR_PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def run_fresh_json(code: str, arguments: Sequence[str | Path] = ()) -> Any:
    """Value of the last line of output of [`run_fresh`], which is JSON."""
    return json.loads(run_fresh(code, arguments).strip().splitlines()[-1])


def run_fresh(code: str, arguments: Sequence[str | Path] = ()) -> str:
    """Runs code in a new process without our packages and the Hub, with empty caches, in an empty working directory.

    Args:
        code (`str`): Python source, with `arguments` in `sys.argv[1:]`.
        arguments (`Sequence`): Words, or paths, which are made absolute.

    Returns:
        `str`: Its standard output.

    Raises:
        ValueError: If the process failed; holds the last line of its stderr.
    """
    words = [str(word.resolve()) if isinstance(word, Path) else word for word in arguments]
    with scratch_directory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for name in ("HF_MODULES_CACHE", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_EVALUATE_CACHE"):
            environment.pop(name, None)
        environment |= {"HF_HOME": f"{folder}/cache", "HF_HUB_OFFLINE": "1"}
        (Path(folder) / "empty").mkdir()
        done = start_python(PREFIX + code, *words, environment=environment, cwd=f"{folder}/empty")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
        raise ValueError(f"a process with the public libraries alone could not use it: {last}")
    return done.stdout


def start_python(code: str, *words: str, environment: Mapping[str, str], cwd: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -P -c code words`: -P keeps the working directory and the script's folder off the path."""
    command = [sys.executable, "-P", "-c", code, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
