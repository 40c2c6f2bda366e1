"""Runs Python as somebody who has the public libraries and nothing of ours: the last check before a publication.

Knows how to hide this project's packages from a child process. Knows nothing of what is checked there.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OUR_PACKAGES = ("modeling_mender", "dataset_builders")
# An installed package (editable, too) must not be found; a copy on the path cannot be, for the child is isolated.
PREFIX = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OUR_PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def run_fresh_json(code: str, arguments: Sequence[str | Path] = ()) -> Any:
    """[`run_fresh`] of code whose last line of output is JSON, and that value."""
    return json.loads(run_fresh(code, arguments).strip().splitlines()[-1])


def run_fresh(code: str, arguments: Sequence[str | Path] = ()) -> str:
    """Runs code in a new process without our packages and the Hub, with empty caches, in an empty working directory.

    Args:
        code (`str`): Python; finds `arguments` in `sys.argv[1:]`.
        arguments (`Sequence`): Paths are made absolute.

    Returns:
        `str`: What it printed.

    Raises:
        ValueError: With the last line of its error, if it failed.
    """
    words = [str(word.resolve()) if isinstance(word, Path) else word for word in arguments]
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for name in ("HF_MODULES_CACHE", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_EVALUATE_CACHE"):
            environment.pop(name, None)
        environment |= {"HF_HOME": f"{folder}/cache", "HF_HUB_OFFLINE": "1"}
        (Path(folder) / "empty").mkdir()
        # -P: the working directory and the script's are not on the path
        done = subprocess.run(
            [sys.executable, "-P", "-c", PREFIX + code, *words],
            cwd=f"{folder}/empty",
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
        raise ValueError(f"a process with the public libraries alone could not use it: {last}")
    return done.stdout
