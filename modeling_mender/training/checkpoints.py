"""Checkpoints of a run, of safetensors and JSON alone, each whole under its final name."""

import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..atomic_write import new_directory
from ..bounded_parsing import parse_json, parse_yaml, read_bounded
from ..manifest import MANIFEST_FILE, sha256, write_manifest
from .arguments import (
    ARGUMENTS_FILE,
    LearnedArguments,
    every_option,
)
from .output_folder import TrainingState, write_records
from .random_states import random_state, set_random_state
from .records import STATE_FILE

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
MOMENTS_FILE = "optimizer.safetensors"  # of the optimizer: tensors, by the name of the weight and of the moment
SETTINGS_FILE = "settings.json"  # of optimizer and schedule; random states by process; digests of the data
CHECKPOINT_FILES = (WEIGHTS_FILE, MOMENTS_FILE, SETTINGS_FILE, STATE_FILE, ARGUMENTS_FILE)
_MAX_BYTES = 100_000_000  # of a file of JSON: 25 kB for each process
# Arguments that may differ when a run is resumed: they change files, speed and memory, not what is computed (up to
# rounding). Of the data it is the contents that must be the same, not the place.
MAY_CHANGE_ON_RESUME = {
    "output_dir", "resume", "report_to", "save_total_limit", "save_steps", "logging_steps", "early_stopping_patience",
    "per_device_eval_batch_size", "gradient_checkpointing", "torch_compile", "cache_dir", "cache_limit_gb",
    "save_adapter", "benchmark", "semantic_ids",
}  # fmt: skip
# These may differ if their product, the rows per process and optimizer step, stays the same.
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Returns the checkpoints of a run, oldest first."""
    found = (Path(output_dir) / "checkpoints").glob("step_*")
    return sorted((path for path in found if re.fullmatch(r"step_\d+", path.name)), key=_step_of)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


class AnotherRun(ValueError):
    """Error of a checkpoint that another run has made."""


class Checkpoints:
    """Checkpoints of a run, `output_dir/checkpoints/step_N`.

    They hold safetensors, JSON and YAML, from which nothing is executed, and the same files for one process, several,
    and sharded models: the main process writes the whole of each tensor.

    Args:
        accelerator (`Accelerator`): Accelerator of the process.
        model (`nn.Module`), optimizer (`Optimizer`), schedule (`LRScheduler`): What is trained, after preparation.
        state ([`TrainingState`]): Progress of the run.
        data (`Mapping[str, str]`): Digest of each part of the data, which must be the same when a run is resumed.
        arguments ([`LearnedArguments`]): Training arguments.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        state: TrainingState,
        data: Mapping[str, str],
        arguments: LearnedArguments,
    ) -> None:
        self.accelerator, self.arguments = accelerator, arguments
        self.model, self.optimizer, self.schedule = accelerator.unwrap_model(model), optimizer, schedule
        self.state, self.data = state, dict(data)
        self._trained = [(name, one) for name, one in self.model.named_parameters() if one.requires_grad]

    def save(self) -> Path:
        """Writes a checkpoint and deletes the oldest ones; all processes must call this."""
        final = Path(self.arguments.output_dir) / "checkpoints" / f"step_{self.state.step}"
        weights = self._whole(_weights(self.model))
        moments = self._whole(self._moments())
        states = gather_object([random_state(self.accelerator.device)])
        if self.accelerator.is_main_process:
            settings = {
                "optimizer": [_without_weights(group) for group in self.optimizer.state_dict()["param_groups"]],
                "schedule": self.schedule.state_dict(),
                "random_states": states,
                "data": self.data,
            }
            with new_directory(final, overwrite=True) as folder:
                save_file(weights, folder / WEIGHTS_FILE)
                save_file(moments, folder / MOMENTS_FILE)
                (folder / SETTINGS_FILE).write_text(json.dumps(settings), encoding="utf-8")
                write_records(folder, self.state, self.arguments)
                write_manifest(folder)
            self._delete_others()
        self.accelerator.wait_for_everyone()
        return final

    def resume(self) -> None:
        """Resumes from the newest whole checkpoint, if there is one; all processes must call this.

        Raises:
            AnotherRun: If it was made with other arguments, other data or another number of processes.
            ValueError: If it was made by an earlier version, or if there are checkpoints and none is whole.
        """
        folder = newest_whole(self.arguments.output_dir, warn=self.accelerator.is_main_process)
        if folder is None:
            return
        try:
            self._load(folder)
        except AnotherRun:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{folder} does not hold what a checkpoint holds ({reason}); {_WAY_OUT}.") from error
        logger.info("resuming from %s", folder)

    def _load(self, folder: Path) -> None:
        settings, state, before = (
            parse_json(read_bounded(folder / SETTINGS_FILE, _MAX_BYTES), _MAX_BYTES),
            parse_json(read_bounded(folder / STATE_FILE)),
            parse_yaml(read_bounded(folder / ARGUMENTS_FILE)),
        )
        self._check_same(folder, before, state["num_processes"], settings["data"])
        weights, moments = load_file(folder / WEIGHTS_FILE), load_file(folder / MOMENTS_FILE)
        places = _weights(self.model)
        if unlike := [name for name in {**places, **weights} if _shape(places, name) != _shape(weights, name)]:
            raise AnotherRun(
                f"the weights of {folder} do not fit the model ({unlike[0]} is {_shape(weights, unlike[0])}, and "
                f"{_shape(places, unlike[0])} in the model); {_WAY_OUT}."
            )
        with torch.no_grad():
            for name, place in places.items():
                place.copy_(_placed(weights[name], place))
        numbers = {name: number for number, (name, _) in enumerate(self._trained)}
        by_weight: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in moments.items():
            name, _, moment = key.rpartition(".")
            by_weight.setdefault(numbers[name], {})[moment] = _placed(value, self._trained[numbers[name]][1])
        groups = self.optimizer.state_dict()["param_groups"]
        groups = [now | saved for now, saved in zip(groups, settings["optimizer"], strict=True)]
        for group in groups:
            group["betas"] = tuple(group["betas"])
        self.optimizer.load_state_dict({"state": by_weight, "param_groups": groups})
        self.schedule.load_state_dict(settings["schedule"])
        self.state.load_state_dict(state)
        set_random_state(settings["random_states"][self.accelerator.process_index], self.accelerator.device)

    def _check_same(self, folder: Path, before: dict[str, Any], num_processes: int, data: dict[str, str]) -> None:
        """Refuses a checkpoint of another run."""
        now = asdict(self.arguments)
        options = every_option()
        before = {name: options[name].default for name in now if name in options} | before
        may_change = MAY_CHANGE_ON_RESUME | ({*BATCH} if _rows_per_step(before) == _rows_per_step(now) else set())
        encoders = [one.get("text_encoder") for one in (before, now)]
        if (
            all(encoders) and len({Path(str(one)).resolve() for one in encoders}) == 1
        ):  # one folder, written another way
            may_change = may_change | {"text_encoder"}
        changed = sorted(name for name in now.keys() - may_change if now[name] != before[name])
        differences = [f"{name} {before[name]!r} -> {now[name]!r}" for name in changed]
        if num_processes != self.accelerator.num_processes:
            differences.append(f"num_processes of the launcher {num_processes} -> {self.accelerator.num_processes}")
        if differences:
            raise AnotherRun(
                f"{folder} was made with other arguments ({', '.join(differences)}); use the same ones to continue, "
                "another output_dir to start over, or --resume false to train over it."
            )
        if other := [name for name in self.data if self.data[name] != data.get(name)]:
            raise AnotherRun(
                f"{folder} was made with other data: the {' and the '.join(other)} of the benchmark "
                f"{self.arguments.benchmark} are not those that it learned from; give the same benchmark and semantic "
                "IDs to continue, another output_dir to start over, or --resume false to train over it."
            )

    def _moments(self) -> dict[str, torch.Tensor]:
        """Tensors of the optimizer, by the name of their weight and their own."""
        state = self.optimizer.state_dict()["state"]
        return {
            f"{self._trained[number][0]}.{moment}": value
            for number, moments in state.items()
            for moment, value in moments.items()
        }

    def _whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors on the CPU, unsharded; empty on all processes but the main one."""
        whole = {}
        for name, value in tensors.items():
            value = value.detach()
            if hasattr(value, "full_tensor"):  # sharded: all processes take part
                value = value.full_tensor()
            if self.accelerator.is_main_process:
                whole[name] = value.cpu().contiguous()
        return whole

    def _delete_others(self) -> None:
        """Deletes checkpoints beyond the limit, and those of later steps, which were damaged and are made again."""
        found = checkpoints(self.arguments.output_dir)
        kept = [one for one in found if _step_of(one) <= self.state.step][-self.arguments.save_total_limit :]
        for old in found:
            if old not in kept and old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            elif old not in kept:
                old.unlink()


_WAY_OUT = "start over with --resume false, or with another --output_dir"


def newest_whole(output_dir: str | Path, warn: bool = True) -> Path | None:
    """Finds the newest checkpoint of which no file is damaged.

    Args:
        output_dir (`str` or `Path`): Output folder of a run.
        warn (`bool`): Whether damaged ones that are passed over are named in a warning.

    Returns:
        `Path`, *optional*: `None` if there is no checkpoint at all.

    Raises:
        ValueError: If there are checkpoints and none is whole, or the newest is of an earlier version.
    """
    damage: list[str] = []
    for folder in reversed(checkpoints(output_dir)):
        if not (folder / MANIFEST_FILE).exists() and any((*folder.glob("*.bin"), *folder.glob("*.pkl"))):
            raise ValueError(
                f"{folder} was written by an earlier version, in files that can run code when they are read; finish "
                f"the run with that version, or {_WAY_OUT}."
            )
        try:
            check_manifest(folder, CHECKPOINT_FILES)
        except (ValueError, FileNotFoundError) as error:
            damage.append(str(error))
            continue
        if damage and warn:
            logger.warning("%s; resuming from %s instead", "; ".join(damage), folder)
        return folder
    if damage:
        raise ValueError(
            f"no checkpoint in {Path(output_dir) / 'checkpoints'} is whole: {'; '.join(damage)}; {_WAY_OUT}."
        )
    return None


def check_manifest(folder: Path, names: tuple[str, ...]) -> None:
    """Compares files of a folder with its manifest.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged; names it.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        files = parse_json(read_bounded(path))["files"]
        expected = {name: dict(files[name]) for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    for name, measures in expected.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing")
        if measures != {"size": (folder / name).stat().st_size, "sha256": sha256(folder / name)}:
            raise ValueError(f"{folder / name} is damaged: its size or SHA-256 is not that of {MANIFEST_FILE}")


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and saved buffers of a model, those under several names once."""
    by_identity: dict[int, tuple[str, torch.Tensor]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        by_identity.setdefault(id(value), (name, value))
    return dict(by_identity.values())


def _placed(value: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """A whole tensor, or this process's shard of it where `place` of the same shape is sharded."""
    if not hasattr(place, "device_mesh") or value.shape != place.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(place, DTensor), "only these have a mesh of devices"
    return distribute_tensor(value.to(place.device), place.device_mesh, place.placements)


def _shape(tensors: Mapping[str, torch.Tensor], name: str) -> str:
    return f"{tensors[name].dtype} {tuple(tensors[name].shape)}" if name in tensors else "missing"


def _without_weights(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _rows_per_step(arguments: dict[str, Any]) -> int:
    return arguments[BATCH[0]] * arguments[BATCH[1]]
