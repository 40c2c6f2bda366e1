"""Output folder of a run: its lock, the best model with its training state, and the removal of leftovers."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, ProcessorMixin

from ..atomic_write import check_writable, hold_directory, new_directory, remove_leftovers
from ..manifest import ModelFiles, write_manifest
from ..processing_mender import MenderProcessor
from .arguments import ARGUMENTS_FILE, TrainingArguments, TunedEncoderArguments, to_yaml
from .lora import merged_state_dict, save_adapter
from .records import STATE_FILE, read_state


@dataclass
class TrainingState:
    """State of a run, saved with every checkpoint and with the model.

    Attributes:
        step (`int`): Optimizer steps done.
        epoch (`int`), steps_in_epoch (`int`): Complete epochs, and steps of the current one.
        examples (`int`): Examples learned from, over all epochs and processes.
        seconds (`float`): Wall-clock time of training without validation, over all continuations.
        validation_seconds (`float`): Wall-clock time of validation.
        num_processes (`int`): Processes of the run.
        best_score (`float`), best_step (`int`): Score and step of the best validation.
        validations_without_gain (`int`): Validations since the best one.
        history (`list`): Step, epoch and score of every validation.
    """

    step: int = 0
    epoch: int = 0
    steps_in_epoch: int = 0
    examples: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0
    num_processes: int = 1
    best_score: float = -1.0
    best_step: int = 0
    validations_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for one in fields(self):
            setattr(self, one.name, state[one.name])


@contextmanager
def hold_output(output_dir: str | Path) -> Iterator[None]:
    """Holds the output folder of a run against other runs, after a check that it can be written to.

    What killed runs left there is removed. A folder that stays empty is removed at the end.

    Raises:
        BlockingIOError: If another run holds it.
        OSError: If it, or a part of it, is a file, or cannot be written to.
    """
    folder = Path(output_dir)
    parts = [folder, *(folder / name for name in ("model", "adapter", "checkpoints"))]
    parts += (folder / "checkpoints").glob("step_*")
    for path in parts:
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            what = "a link to nowhere" if path.is_symlink() else "a file"
            raise FileExistsError(f"{path} is {what} where a folder will be; move it, or give another --output_dir.")
    check_writable(folder)
    with hold_directory(folder):
        try:
            clear_leftovers(folder)
            yield
        finally:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def clear_leftovers(output_dir: str | Path) -> None:
    """Removes what killed runs left in an output folder, those of earlier versions included."""
    folder = Path(output_dir)
    for place in (folder, folder / "checkpoints"):
        remove_leftovers(place)
    before, model = folder / "model.old", folder / "model"
    if before.is_dir() and not model.exists():
        before.rename(model)
    earlier = [before, folder / "model.tmp", folder / "adapter.tmp", folder / "checkpoints/unfinished"]
    for left in (*earlier, *(folder / "checkpoints").glob("step_*.old")):
        shutil.rmtree(left, ignore_errors=True)


def check_score(score: float, arguments: TrainingArguments) -> float:
    """Returns the score of a validation, by which a model can be chosen.

    Raises:
        FloatingPointError: If it is not finite.
    """
    if not math.isfinite(score):
        raise FloatingPointError(
            f"the validation score is {score}, by which no model can be chosen; check the validation rows of "
            f"{arguments.benchmark}."
        )
    return score


def fault_of_model(output_dir: str | Path, state: TrainingState | None = None) -> str | None:
    """What keeps `output_dir/model` from being the best model of a run; `None` if nothing does.

    A model that was saved after the checkpoint that the run continues from is its own, too.

    Args:
        output_dir (`str` or `Path`): Output folder.
        state ([`TrainingState`], *optional*): State of the run that the model must be of; else it must be whole.
    """
    folder = Path(output_dir) / "model"
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        return "it is gone"
    try:
        ModelFiles(folder).check(rest=True)
        saved = read_state(folder)
    except ValueError as error:
        return str(error)
    if state is None:
        return None
    history = saved.get("history") or []
    shared = min(len(history), len(state.history))
    if history[:shared] != state.history[:shared] or (
        len(history) <= len(state.history) and saved.get("best_step") != state.best_step
    ):
        return f"its {STATE_FILE} is another run's"
    return None


def save_model(
    model: PreTrainedModel, processor: ProcessorMixin, state: TrainingState, arguments: TrainingArguments
) -> None:
    """Writes the model to `output_dir/model`, and its adapter if `save_adapter`; for the main process only."""
    final = Path(arguments.output_dir) / "model"
    with new_directory(final, overwrite=True) as folder:
        model.config.items_digest = cast(MenderProcessor, processor).items_digest
        with merged_state_dict(model) as state_dict:
            model.save_pretrained(folder, state_dict=state_dict)
        processor.save_pretrained(folder)
        write_records(folder, state, arguments)
        write_manifest(folder)
    if isinstance(arguments, TunedEncoderArguments) and arguments.save_adapter:
        save_adapter(model, final.with_name("adapter"))


def write_records(folder: Path, state: TrainingState, arguments: TrainingArguments) -> None:
    """Writes the training arguments and the training state into a folder."""
    (folder / ARGUMENTS_FILE).write_text(to_yaml(arguments), encoding="utf-8")
    (folder / STATE_FILE).write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
