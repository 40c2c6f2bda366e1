"""Records beside a saved model, its training arguments and its training state, read within limits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..bounded_parsing import UnreadableFile, parse_json, parse_yaml, read_bounded
from ..manifest import ModelFiles
from .arguments import ARGUMENTS_FILE

STATE_FILE = "training_state.json"
_NUMBERS = ("step", "best_step", "epoch", "examples", "seconds", "best_score", "num_processes")


def read_arguments(folder: str | Path) -> dict[str, Any]:
    """Reads the training arguments of a model; empty if there are none.

    Raises:
        ValueError: If the file is damaged, or differs from the manifest of the folder.
    """
    return _read(Path(folder), ARGUMENTS_FILE, parse_yaml, dict.fromkeys(("method", "inputs", "text_encoder"), str))


def read_state(folder: str | Path) -> dict[str, Any]:
    """Reads the training state of a model; empty if there is none.

    Raises:
        ValueError: If the file is damaged, or differs from the manifest of the folder.
    """
    return _read(Path(folder), STATE_FILE, parse_json, dict.fromkeys(_NUMBERS, int | float))


def _read(folder: Path, name: str, parse: Callable[[str], Any], types: dict[str, Any]) -> dict[str, Any]:
    files = ModelFiles(folder)
    files.check((name,))
    path = files.find(name)
    if path is None:
        return {}
    try:
        fields = parse(read_bounded(path))
    except UnreadableFile as error:
        raise ValueError(f"{path} is damaged ({error}); fetch or copy the model again.") from None
    if not isinstance(fields, dict) or not all(isinstance(one, str) for one in fields):
        raise ValueError(f"{path} is damaged: it holds no fields by name; fetch or copy the model again.")
    for field, kind in types.items():
        if fields.get(field) is not None and not isinstance(fields[field], kind):
            raise ValueError(f"{path} has {field} {fields[field]!r:.80}, which is of a wrong type; it is damaged.")
    return fields
