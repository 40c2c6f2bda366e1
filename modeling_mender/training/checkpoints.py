"""Files of a run: the best model, and checkpoints to resume from. A folder with its final name is complete."""

import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from accelerate import Accelerator
from transformers import PreTrainedModel, ProcessorMixin

from ..manifest import write_manifest
from ..processing_mender import MenderProcessor
from .arguments import ARGUMENTS_FILE, LearnedArguments, TrainingArguments, TunedEncoderArguments, to_yaml
from .lora import merged_state_dict, save_adapter
from .records import STATE_FILE

logger = logging.getLogger(__name__)

# Arguments that may differ when a run is resumed: they change files, speed and memory, not what is computed (up to
# rounding).
MAY_CHANGE_ON_RESUME = {
    "output_dir", "resume", "report_to", "save_total_limit", "save_steps", "logging_steps", "early_stopping_patience",
    "per_device_eval_batch_size", "gradient_checkpointing", "torch_compile", "cache_limit_gb", "save_adapter",
}  # fmt: skip
# These may differ if their product, the rows per process and optimizer step, stays the same.
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


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
        self.__dict__.update(state)


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Returns the complete checkpoints of a run, oldest first."""
    found = (Path(output_dir) / "checkpoints").glob("step_*")
    complete = [path for path in found if re.fullmatch(r"step_\d+", path.name)]  # step_8.old is being replaced
    return sorted(complete, key=lambda path: int(path.name.removeprefix("step_")))


def save_checkpoint(accelerator: Accelerator, state: TrainingState, arguments: LearnedArguments) -> Path:
    """Writes a checkpoint to `output_dir/checkpoints/step_N` and deletes the oldest ones."""
    folder = Path(arguments.output_dir) / "checkpoints"
    temporary, final = folder / "unfinished", folder / f"step_{state.step}"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _write_texts(temporary, state, arguments)
        replace_folder(temporary, final)
        for old in checkpoints(arguments.output_dir)[: -arguments.save_total_limit]:
            shutil.rmtree(old)
    return final


def resume(accelerator: Accelerator, arguments: LearnedArguments) -> None:
    """Resumes from the newest complete checkpoint, if there is one.

    Raises:
        ValueError: If it was made with other arguments or another number of processes.
    """
    if accelerator.is_main_process:
        finish_replacing(Path(arguments.output_dir) / "model")
    found = checkpoints(arguments.output_dir)
    if not found:
        return
    before = yaml.safe_load((found[-1] / ARGUMENTS_FILE).read_text(encoding="utf-8"))
    now = asdict(arguments)
    may_change = MAY_CHANGE_ON_RESUME | ({*BATCH} if _rows_per_step(before) == _rows_per_step(now) else set())
    changed = sorted(name for name in now.keys() - may_change if now[name] != before.get(name))
    differences = [f"{name} {before.get(name)!r} -> {now[name]!r}" for name in changed]
    processes = json.loads((found[-1] / STATE_FILE).read_text(encoding="utf-8"))["num_processes"]
    if processes != accelerator.num_processes:
        differences.append(f"num_processes of the launcher {processes} -> {accelerator.num_processes}")
    if differences:
        raise ValueError(
            f"{found[-1]} was made with other arguments ({', '.join(differences)}); use the same ones to continue, "
            "another output_dir to start over, or --resume false to train over it."
        )
    accelerator.load_state(str(found[-1]))
    logger.info("resuming from %s", found[-1])


def _rows_per_step(arguments: dict[str, Any]) -> int:
    return arguments[BATCH[0]] * arguments[BATCH[1]]


def save_model(
    model: PreTrainedModel, processor: ProcessorMixin, state: TrainingState, arguments: TrainingArguments
) -> None:
    """Writes the model to `output_dir/model`, and its adapter if `save_adapter`; for the main process only."""
    final = Path(arguments.output_dir) / "model"
    temporary = final.with_name("model.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.items_digest = cast(MenderProcessor, processor).items_digest
    with merged_state_dict(model) as state_dict:
        model.save_pretrained(temporary, state_dict=state_dict)
    processor.save_pretrained(temporary)
    _write_texts(temporary, state, arguments)
    write_manifest(temporary)
    replace_folder(temporary, final)
    if isinstance(arguments, TunedEncoderArguments) and arguments.save_adapter:
        save_adapter(model, final.with_name("adapter"))


def _write_texts(folder: Path, state: TrainingState, arguments: TrainingArguments) -> None:
    (folder / ARGUMENTS_FILE).write_text(to_yaml(arguments), encoding="utf-8")
    (folder / STATE_FILE).write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")


def replace_folder(temporary: Path, final: Path) -> None:
    """Replaces `final` by `temporary`; a half-written folder never has the final name."""
    finish_replacing(final)
    old = _old(final)
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def finish_replacing(final: Path) -> None:
    """Completes a [`replace_folder`] that was killed between its two renamings or before its cleanup."""
    old = _old(final)
    if old.exists() and not final.exists():
        old.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _old(final: Path) -> Path:
    return final.with_name(final.name + ".old")
