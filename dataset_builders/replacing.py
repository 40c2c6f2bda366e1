"""Check of an output folder before a command replaces it, so that nothing else is lost with it."""

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .benchmark.axes import AXES, TABLES

# Patterns of the names that a command writes into its output folder; a folder of its kind has one of the first.
CHECKPOINTS = ("step_*", "unfinished")
SEMANTIC_IDS = ("semantic_ids.parquet", "*.safetensors", "rqvae", "manifest.json", "report.json")
INTERACTIONS = ("counts.json", "events.parquet", "items.parquet")
PUBLISHED = {
    "model": ("*config.json", "*.py", "*.json", "*.jsonl", "*.safetensors", "*.yaml", "*.txt", "*.model", "*.jinja",
              "*.parquet", "README.md", "results"),
    "space": ("README.md", "answers_card.md", "*.py", "*.json", "*.html", "*.css", "*.js", "*.zip", "*.txt",
              "model", "vendor"),
}  # fmt: skip
# Folders in the output folder of a training, and the names in each.
TRAINED = {"model": PUBLISHED["model"], "adapter": PUBLISHED["model"], "checkpoints": CHECKPOINTS}

_ANYWHERE = (".*.tmp", ".gitattributes", ".DS_Store")  # leftovers of killed runs, and files of other programs


def benchmark_files() -> tuple[str, ...]:
    """Patterns of what a benchmark's folder holds, with the registered axes."""
    return (
        "reports",
        "README.md",
        "LICENSE.md",
        "eval.yaml",
        "semantic_ids",
        *(f"*_{name}" for name in (*TABLES, *AXES)),
    )


def other_values(arguments: object) -> list[Any]:
    """Values of a command's arguments but its output folder."""
    return [value for name, value in vars(arguments).items() if name != "output_dir"]


def check_replaceable(
    path: str | os.PathLike | None, overwrite: bool, names: Sequence[str], needed: Iterable[Any] = ()
) -> None:
    """Refuses an output folder that is, or holds, what the command needs, or that holds what it does not write.

    Args:
        path (`str` or `Path`, *optional*): Output folder, which may exist.
        overwrite (`bool`): Whether an existing folder will be replaced.
        names (`Sequence[str]`): Patterns of the names that the command writes, as `SEMANTIC_IDS`.
        needed (`Iterable`): Values of the command's other arguments, of which texts and paths may name its inputs.

    Raises:
        ValueError: If it is or holds an input or the working directory.
        FileExistsError: If it is replaced, and holds a file or folder of another name.
    """
    if path is None:
        return
    target = Path(path).resolve()
    inputs = [one for value in needed for one in (value if isinstance(value, list | tuple) else [value])]
    for one in (Path.cwd(), *inputs):
        if isinstance(one, str | os.PathLike) and str(one) and "\0" not in str(one):
            place = Path(one).resolve()
            if target in (place, *place.parents) and (place.exists() or isinstance(one, os.PathLike)):
                what = "the working directory" if one == Path.cwd() else str(one)
                verb = "is" if target == place else "would hold"
                raise ValueError(
                    f"the output folder {path} {verb} {what}, which this command needs; name another one."
                )
    if not overwrite or not target.is_dir():
        return
    found = sorted(entry.name for entry in target.iterdir() if not _fits(entry.name, _ANYWHERE))
    foreign = [name for name in found if not _fits(name, names)]
    if not any(_fits(name, names[:1]) for name in found):
        foreign = found
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise FileExistsError(
            f"the output folder {path} holds {foreign[0]}{more}, which this command does not write and would delete; "
            "move it away, or name another folder."
        )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
