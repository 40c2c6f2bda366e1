"""One explicit Accelerate loop for every method: steps, validation, the best model, checkpoints, resume.

Knows batches, gradients and files. Does not know methods (a collator hides them), nor metrics (a callable that scores
the model hides those).
"""

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, ProcessorMixin, get_scheduler
from transformers.trainer_pt_utils import LengthGroupedSampler

from .arguments import TrainingArguments, to_yaml
from .collators import Collator, Example
from .lora import merged_state_dict
from .methods import ARGUMENTS_FILE
from .objectives import Objective

logger = logging.getLogger(__name__)

# Arguments that may differ between a run and its continuation: they change what is written, not what is computed.
MAY_CHANGE_ON_RESUME = {
    "output_dir",
    "resume",
    "report_to",
    "save_total_limit",
    "save_steps",
    "early_stopping_patience",
}


class TrainingRows(Dataset):
    """Training rows, each of one or more examples; whether an example loses its preference depends on (seed, epoch,
    example) alone, so a run can be continued.

    Args:
        examples (`Sequence[Example]`): What is to be learned.
        groups (`Sequence[Sequence[int]]`): Numbers of the examples of each row, the longest history last; what
            `Collator.group` gave.
        preference_dropout (`float`): Share of examples with a history that lose their preference, each epoch anew.
        seed (`int`): Of that choice.
    """

    def __init__(
        self, examples: Sequence[Example], groups: Sequence[Sequence[int]], preference_dropout: float, seed: int
    ) -> None:
        if len(examples) == 0:
            raise ValueError(
                "there are 0 training rows; lower min_count when building the benchmark, or give more data."
            )
        self.examples, self.groups = examples, groups
        self.preference_dropout, self.seed = preference_dropout, seed
        self.drop_preferences(0)

    def drop_preferences(self, epoch: int) -> None:
        """Draws which examples lose their preference (not `set_epoch`: accelerate calls that with its own count)."""
        self.dropped = np.random.default_rng((self.seed, epoch)).random(len(self.examples)) < self.preference_dropout

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, row: int) -> list[Example]:
        return [self._example(number) for number in self.groups[row]]

    def _example(self, number: int) -> Example:
        example = self.examples[number]
        if self.dropped[number] and example.request.history:
            example = example._replace(request=example.request._replace(preferences=()))
        return example


@dataclass
class TrainingState:
    """Where a run is; saved with every checkpoint and, at the end, with the model."""

    step: int = 0
    epoch: int = 0
    steps_in_epoch: int = 0
    best_score: float = -1.0
    best_step: int = 0
    validations_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def train(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    collator: Collator,
    rows: TrainingRows,
    validate: Callable[[PreTrainedModel], float],
    arguments: TrainingArguments,
    accelerator: Accelerator,
) -> TrainingState:
    """Trains until `max_steps` or until validation stops improving; `output_dir/model` holds the best model so far.

    Args:
        model (`PreTrainedModel`): Of any method that is trained.
        processor (`ProcessorMixin`): Saved beside it.
        collator ([`Collator`]): Makes its batches.
        rows ([`TrainingRows`]): What it learns from.
        validate (`Callable`): Scores the model, higher is better; the paper's is NDCG@10 of recommendation on
            validation.
        arguments ([`TrainingArguments`]): Everything else.
        accelerator (`Accelerator`): Of the whole process.

    Returns:
        [`TrainingState`]: The last one, with every validation in `history`.

    Raises:
        FloatingPointError: If the loss is not finite; names the step, and the last good model stays.
    """
    return _Run(model, processor, collator, rows, validate, arguments, accelerator).train()


class _Run:
    """The state of one call of [`train`]."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        collator: Collator,
        rows: TrainingRows,
        validate: Callable[[PreTrainedModel], float],
        arguments: TrainingArguments,
        accelerator: Accelerator,
    ) -> None:
        self.processor, self.rows, self.validate = processor, rows, validate
        self.arguments, self.accelerator = arguments, accelerator
        self.output_dir = Path(arguments.output_dir)
        self.generator = torch.Generator()
        sampler = LengthGroupedSampler(
            arguments.per_device_train_batch_size * accelerator.num_processes,
            lengths=[collator.length(rows.examples[group[-1]].request) for group in rows.groups],
            generator=self.generator,
        )
        loader = DataLoader(
            rows,
            batch_size=arguments.per_device_train_batch_size,
            sampler=sampler,
            collate_fn=collator.training_batch,
            generator=torch.Generator(),  # or every new pass would draw from the random state that dropout uses
        )
        optimizer = torch.optim.AdamW(
            [weight for weight in model.parameters() if weight.requires_grad],
            lr=arguments.learning_rate,
            weight_decay=arguments.weight_decay,
        )
        self.schedule = get_scheduler(
            arguments.lr_scheduler_type, optimizer, arguments.warmup_steps, arguments.max_steps
        )
        self.objective = Objective(arguments.label_smoothing, arguments.negative_weight, arguments.negative_loss)
        self.model, self.optimizer, self.loader = accelerator.prepare(model, optimizer, loader)
        self.state = TrainingState()
        # the schedule counts optimizer steps of the whole run: stepped here, once, not once per process
        accelerator.register_for_checkpointing(self.schedule, self.state)
        self.steps_per_epoch = math.ceil(len(self.loader) / arguments.gradient_accumulation_steps)
        self.eval_steps = arguments.eval_steps or 2 * self.steps_per_epoch
        self.save_steps = arguments.save_steps or self.eval_steps

    def train(self) -> TrainingState:
        torch.manual_seed(
            self.arguments.seed + self.accelerator.process_index
        )  # dropout; a checkpoint restores its own
        if self.arguments.resume:
            self._resume()
        elif self.accelerator.is_main_process:
            shutil.rmtree(self.output_dir / "checkpoints", ignore_errors=True)  # or a later resume would find them
        progress = tqdm(
            total=self.arguments.max_steps,
            initial=self.state.step,
            desc="training",
            unit="step",
            disable=not self.accelerator.is_local_main_process,
        )
        self.model.train()
        while not self._is_done():
            self._train_epoch(progress)
        progress.close()
        if self.state.step > (self.state.history[-1]["step"] if self.state.history else -1):
            self._validate()
        return self.state

    def _is_done(self) -> bool:
        enough = self.state.validations_without_gain >= self.arguments.early_stopping_patience
        return enough or self.state.step >= self.arguments.max_steps

    def _train_epoch(self, progress: tqdm) -> None:
        """From `state.steps_in_epoch` to the end of the epoch, or to the end of training."""
        self.generator.manual_seed(1_000_003 * self.arguments.seed + self.state.epoch)
        self.rows.drop_preferences(self.state.epoch)
        skipped = self.state.steps_in_epoch * self.arguments.gradient_accumulation_steps
        loader = self.accelerator.skip_first_batches(self.loader, skipped) if skipped else self.loader
        for batch in loader:
            loss = self._forward_backward(batch)
            if not self.accelerator.sync_gradients:
                continue
            self.state.step += 1
            self.state.steps_in_epoch += 1
            progress.update()
            if self.state.step % 10 == 0:
                value = self._mean_loss(loss)
                progress.set_postfix(loss=f"{value:.3f}", best_ndcg=f"{max(self.state.best_score, 0):.4f}")
                self.accelerator.log(
                    {"loss": value, "learning_rate": self.schedule.get_last_lr()[0]}, step=self.state.step
                )
            if self.state.step % self.eval_steps == 0:
                self._validate()
            if self.state.step % self.save_steps == 0:
                self._save_checkpoint()
            if self._is_done():
                return
        self.state.epoch += 1
        self.state.steps_in_epoch = 0

    def _forward_backward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """One forward and backward pass, and an optimizer step where gradients are complete."""
        with self.accelerator.accumulate(self.model):
            negatives = batch.pop("negatives", None)
            with self.accelerator.autocast():
                loss = self.objective(self.model(**batch), batch["labels"], negatives)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss.item()} at step {self.state.step + 1}; the best model so far is kept. Lower "
                    f"learning_rate ({self.arguments.learning_rate}) or lengthen warmup_steps "
                    f"({self.arguments.warmup_steps})."
                )
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
            self.optimizer.step()
            if self.accelerator.sync_gradients:
                self.schedule.step()
            self.optimizer.zero_grad()
        return loss.detach()

    def _mean_loss(self, loss: torch.Tensor) -> float:
        return self.accelerator.gather(loss.unsqueeze(0)).mean().item()

    def _validate(self) -> None:
        """Scores the model and keeps it if it is the best so far."""
        score = self.validate(self.accelerator.unwrap_model(self.model))
        self.model.train()
        self.state.history.append({"step": self.state.step, "epoch": self.state.epoch, "ndcg@10": score})
        self.accelerator.log({"validation_ndcg@10": score}, step=self.state.step)
        logger.info("step %d: validation NDCG@10 %.4f", self.state.step, score)
        if score > self.state.best_score:
            self.state.best_score, self.state.best_step = score, self.state.step
            self.state.validations_without_gain = 0
            self._save_model()
        else:
            self.state.validations_without_gain += 1

    def _save_model(self) -> None:
        """Writes `output_dir/model` beside its final name, then renames."""
        if not self.accelerator.is_main_process:
            return
        model = self.accelerator.unwrap_model(self.model)
        final, temporary = self.output_dir / "model", self.output_dir / "model.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        with merged_state_dict(model) as state_dict:
            model.save_pretrained(temporary, state_dict=state_dict)
        self.processor.save_pretrained(temporary)
        (temporary / ARGUMENTS_FILE).write_text(to_yaml(self.arguments), encoding="utf-8")
        (temporary / "training_state.json").write_text(json.dumps(asdict(self.state), indent=2), encoding="utf-8")
        replace_folder(temporary, final)

    def _save_checkpoint(self) -> None:
        """Writes everything that resuming needs to `output_dir/checkpoints/step_N`, and drops the oldest."""
        folder = self.output_dir / "checkpoints"
        temporary = folder / "unfinished"
        if self.accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(temporary))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (temporary / ARGUMENTS_FILE).write_text(to_yaml(self.arguments), encoding="utf-8")
            replace_folder(temporary, folder / f"step_{self.state.step}")
            for old in checkpoints(self.output_dir)[: -self.arguments.save_total_limit]:
                shutil.rmtree(old)

    def _resume(self) -> None:
        """Continues from the newest complete checkpoint, if there is one."""
        found = checkpoints(self.output_dir)
        if not found:
            return
        before = yaml.safe_load((found[-1] / ARGUMENTS_FILE).read_text(encoding="utf-8"))
        now = asdict(self.arguments)
        changed = sorted(name for name in now.keys() - MAY_CHANGE_ON_RESUME if now[name] != before.get(name))
        if changed:
            differences = ", ".join(f"{name} {before.get(name)!r} -> {now[name]!r}" for name in changed)
            raise ValueError(
                f"{found[-1]} was made with other arguments ({differences}); use the same ones to continue, another "
                "output_dir to start anew, or --resume false to train over it."
            )
        self.accelerator.load_state(str(found[-1]))
        logger.info("resuming from %s", found[-1])


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    folder = Path(output_dir) / "checkpoints"
    return sorted(folder.glob("step_*"), key=lambda path: int(path.name.removeprefix("step_")))


def replace_folder(temporary: Path, final: Path) -> None:
    """Puts `temporary` in the place of `final`; at no moment does a half-written folder bear the final name."""
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    shutil.rmtree(old, ignore_errors=True)
