"""Training loop of every method, on Accelerate: steps, validation, early stopping, checkpoints."""

import contextlib
import hashlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, ProcessorMixin, get_scheduler

from ..data.collators import Collator
from ..data.requests import Example
from .arguments import CodeArguments, LearnedArguments
from .checkpoints import Checkpoints
from .objectives import Objective
from .output_folder import TrainingState, check_score, fault_of_model, save_model
from .progress import Progress, Step, StepCounter, count_tokens
from .sampling import LengthGroupedBatches
from .sharding import embeddings_in_the_root, gather, is_sharded, without_weights
from .stopping import Interrupted, StopSignals, compilation, training_memory, validation_memory

logger = logging.getLogger(__name__)


class TrainingRows(Dataset):
    """Training rows of one or more examples each, with preference dropout.

    Which examples lose their preference depends only on seed, epoch and example, so that a run can be resumed.

    Args:
        examples (`Sequence[Example]`): Training examples.
        groups (`Sequence[Sequence[int]]`): Indices of the examples of each row, the longest history last, as from
            `Collator.group`.
        preference_dropout (`float`): Share of examples with a history that lose their preference, drawn again each
            epoch; examples that only their preference explains keep it.
        seed (`int`): Random seed of that draw.
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
        """Draws the examples that lose their preference (accelerate would call `set_epoch` with its own count)."""
        self.dropped = np.random.default_rng((self.seed, epoch)).random(len(self.examples)) < self.preference_dropout

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, row: int) -> list[Example]:
        return [self._example(number) for number in self.groups[row]]

    def _example(self, number: int) -> Example:
        example = self.examples[number]
        if self.dropped[number] and example.request.history and not example.needs_preference:
            example = example._replace(request=example.request._replace(preferences=()))
        return example


def train(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    collator: Collator,
    rows: TrainingRows,
    validate: Callable[[PreTrainedModel], float],
    arguments: LearnedArguments,
    accelerator: Accelerator,
) -> TrainingState:
    """Trains until `max_steps` or until validation stops improving; `output_dir/model` holds the best model so far.

    The same seed, rows and number of processes give the same weights bit for bit on the same machine and number of
    threads, whatever PYTHONHASHSEED is and however often the run was stopped and resumed. Another number of threads,
    another processor, a compiled model or a divided batch rounds sums otherwise: the order of rows, the dropped
    preferences and the initial weights are the same, and the weights differ from the last digits on.

    Under FSDP2 (see `sharding.py`) `validate` and `output_dir/model` get an unsharded copy.

    Args:
        model (`PreTrainedModel`): Model of any trained method.
        processor (`ProcessorMixin`): Its processor, saved beside it.
        collator ([`Collator`]): Collator of its batches.
        rows ([`TrainingRows`]): Training rows.
        validate (`Callable`): Score of a model, higher is better; in the paper NDCG@10 of the recommendation axis on
            validation.
        arguments ([`LearnedArguments`]): Training arguments.
        accelerator (`Accelerator`): Accelerator of the process.

    Returns:
        [`TrainingState`]: Final state, with every validation in `history`.

    Raises:
        FloatingPointError: If the loss or the gradient norm is not finite on any process (the weights are those of the
            step before), or a weight or the score in a validation; the best model and the last checkpoint are kept.
        FileNotFoundError: If the best model is gone from `output_dir/model`, and the weights are another step's.
        Interrupted: If any process received SIGINT or SIGTERM; a checkpoint of the last step is written.
        TooLittleMemory: If an allocation failed; the message names the batch size to try.
        ValueError: If a checkpoint or the model does not fit the arguments.
    """
    return _Run(model, processor, collator, rows, validate, arguments, accelerator).train()


@contextlib.contextmanager
def attention_without_cudnn() -> Iterator[None]:
    """Keeps attention on the GPU off the backend of cuDNN.

    From torch 2.11 on, its backward pass gives NaN where there is a mask, the number of keys is 64 above a multiple of
    128, and the scores are low, as T5's may be, which are not scaled (pytorch/pytorch#196678). On the CPU this changes
    nothing.
    """
    was_enabled = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was_enabled)


def check_launch(accelerator: Accelerator) -> None:
    """Refuses processes that accelerate does not connect: each would train the same model.

    Raises:
        ValueError: If accelerate sees fewer processes than the launcher started.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > accelerator.num_processes:
        raise ValueError(
            f"the launcher started {started} processes, and accelerate sees {accelerator.num_processes}; on the CPU, "
            "set ACCELERATE_USE_CPU=true in the environment."
        )


def digest(records: Iterable[Any]) -> str:
    """SHA-256 of the written form of records, in their order."""
    found = hashlib.sha256()
    for record in records:
        found.update(repr(record).encode("utf-8", "backslashreplace") + b"\n")
    return found.hexdigest()


class _Run:
    """State of one call of [`train`]."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        collator: Collator,
        rows: TrainingRows,
        validate: Callable[[PreTrainedModel], float],
        arguments: LearnedArguments,
        accelerator: Accelerator,
    ) -> None:
        check_launch(accelerator)
        self.processor, self.collator, self.rows, self.validate = processor, collator, rows, validate
        self.arguments, self.accelerator = arguments, accelerator
        self.generator = torch.Generator()
        sampler = LengthGroupedBatches(
            [collator.length(rows.examples[group[-1]].request) if collator.groups_by_length else 0
             for group in rows.groups],
            arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * accelerator.num_processes,
            self.generator,
        )  # fmt: skip
        loader = DataLoader(
            rows,
            batch_size=arguments.per_device_train_batch_size,
            sampler=sampler,
            collate_fn=self._collate,
            generator=torch.Generator(),  # or every pass would draw from the random state of dropout
        )
        data = {
            "training examples": digest(rows.examples),
            "items": digest(getattr(processor, "items", ())),
            "semantic IDs": digest(
                (name, value.tolist()) for name, value in model.named_buffers() if not value.is_floating_point()
            ),
        }
        self._prepare_forward(model)
        optimizer = torch.optim.AdamW(
            [weight for weight in model.parameters() if weight.requires_grad],
            lr=arguments.learning_rate,
            weight_decay=arguments.weight_decay,
        )
        self.schedule = get_scheduler(
            arguments.lr_scheduler_type, optimizer, arguments.warmup_steps, arguments.max_steps
        )
        self.objective = Objective()
        if isinstance(arguments, CodeArguments):
            self.objective = Objective(arguments.label_smoothing, arguments.negative_weight, arguments.negative_loss)
        self.blueprint = without_weights(model) if is_sharded(accelerator) else None
        with embeddings_in_the_root(model):
            self.model, self.optimizer, self.loader = accelerator.prepare(model, optimizer, loader)
        self.state = TrainingState(num_processes=accelerator.num_processes)
        # the schedule counts optimizer steps of the whole run: it is not prepared, or each process would step it
        self.checkpoints = Checkpoints(
            accelerator, self.model, self.optimizer, self.schedule, self.state, data, arguments
        )
        self.counter, self.signals = StepCounter(accelerator), StopSignals()
        self.steps_per_epoch = math.ceil(len(self.loader) / arguments.gradient_accumulation_steps)
        self.eval_steps = arguments.eval_steps or 2 * self.steps_per_epoch
        self.save_steps = arguments.save_steps or self.eval_steps

    def _collate(self, rows: Sequence[Sequence[Example]]) -> dict[str, Any]:
        """Returns the collator's batch, with its counts taken while it is on the CPU."""
        batch = self.collator.training_batch(rows)
        return batch | {"num_examples": sum(map(len, rows)), "num_tokens": count_tokens(batch)}

    def _prepare_forward(self, model: PreTrainedModel) -> None:
        """Sets up gradient checkpointing and compilation."""
        if self.arguments.gradient_checkpointing:
            # transformers renamed it; the old name warns
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        if self.arguments.torch_compile:
            if is_sharded(self.accelerator):
                raise ValueError("torch_compile cannot be combined with FSDP2; leave one of them out.")
            model.compile(dynamic=True)  # in place: names stay; lengths differ from batch to batch

    def train(self) -> TrainingState:
        # dropout; a checkpoint restores its own
        torch.manual_seed(self.arguments.seed + self.accelerator.process_index)
        if self.arguments.resume:
            self.checkpoints.resume()
        elif self.accelerator.is_main_process:
            # or a later resume would find them
            shutil.rmtree(Path(self.arguments.output_dir) / "checkpoints", ignore_errors=True)
        self._keep_model(self.state)
        self.progress = Progress(
            self.accelerator, self.state, self.arguments.max_steps, self.steps_per_epoch, self.arguments.logging_steps
        )
        self.model.train()
        try:
            with self.signals, attention_without_cudnn():
                while not self._is_done():
                    self._train_epoch()
                if self.state.step > (self.state.history[-1]["step"] if self.state.history else -1):
                    self._validate()
        finally:
            self.progress.close()
        self._keep_model()
        return self.state

    def _is_done(self) -> bool:
        enough = self.state.validations_without_gain >= self.arguments.early_stopping_patience
        return enough or self.state.step >= self.arguments.max_steps

    def _train_epoch(self) -> None:
        """Trains from `state.steps_in_epoch` to the end of the epoch or of training."""
        self.generator.manual_seed(1_000_003 * self.arguments.seed + self.state.epoch)
        self.rows.drop_preferences(self.state.epoch)
        skipped = self.state.steps_in_epoch * self.arguments.gradient_accumulation_steps
        loader = self.accelerator.skip_first_batches(self.loader, skipped) if skipped else self.loader
        for batch in loader:
            step = self._forward_backward(batch)
            if step is None:
                continue
            self.state.step += 1
            self.state.steps_in_epoch += 1
            self.progress.add(step, self.schedule.get_last_lr()[0])
            if self.state.step % self.eval_steps == 0:
                self._validate()
            if self.state.step % self.save_steps == 0:
                self.checkpoints.save()
            if self._is_done():
                return
            if step.signal_number:
                self._interrupt(step.signal_number)
        self.state.epoch += 1
        self.state.steps_in_epoch = 0

    def _forward_backward(self, batch: dict[str, Any]) -> Step | None:
        """Runs one forward and backward pass, and the optimizer step once the gradients are complete."""
        negatives = batch.pop("negatives", None)
        examples, tokens = batch.pop("num_examples"), batch.pop("num_tokens")
        step = None
        with (
            compilation(),
            training_memory(self.arguments, self.state.step + 1, batch),
            self.accelerator.accumulate(self.model),
        ):
            with self.accelerator.autocast():
                loss = self.objective(self.model(**batch), batch["labels"], negatives)
            self.accelerator.backward(loss)
            self.counter.add(loss, examples, tokens)
            if self.accelerator.sync_gradients:
                grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
                step = self.counter.finish(grad_norm, self.signals.received)
                self._check_finite(step)
            self.optimizer.step()
            if self.accelerator.sync_gradients:
                self.schedule.step()
            self.optimizer.zero_grad()
        return step

    def _check_finite(self, step: Step) -> None:
        """Raises before the optimizer step, so that weights stay finite; on all processes, so that none waits."""
        for name, value in (("loss", step.loss), ("norm of the gradients", step.grad_norm)):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the {name} is {value} at step {self.state.step + 1}; the best model so far is kept. Lower "
                    f"learning_rate ({self.arguments.learning_rate}) or lengthen warmup_steps "
                    f"({self.arguments.warmup_steps})."
                )

    def _check_weights(self, model: PreTrainedModel) -> None:
        """Raises before a model is saved whose last step spoilt it, which no later loss would show."""
        for name, weight in model.named_parameters():
            if not weight.isfinite().all():
                raise FloatingPointError(
                    f"the weight {name} is no longer finite at step {self.state.step}; the best model so far is kept. "
                    f"Lower learning_rate ({self.arguments.learning_rate}) or weight_decay "
                    f"({self.arguments.weight_decay})."
                )

    def _interrupt(self, signal_number: int) -> None:
        """Writes a checkpoint and raises [`Interrupted`]."""
        folder = self.checkpoints.save()
        again = "the same command continues" + ("" if self.arguments.resume else ", without --resume false")
        raise Interrupted(f"interrupted after step {self.state.step}; {folder} is written, {again}.", signal_number)

    def _whole_model(self) -> PreTrainedModel:
        """Returns the unsharded model (a copy if it is sharded); all processes must call this."""
        if self.blueprint is None:
            return self.accelerator.unwrap_model(self.model)
        return gather(self.model, self.blueprint, self.accelerator.device)

    def _keep_model(self, run: TrainingState | None = None) -> None:
        """Writes the best model again if it is gone, damaged or not of `run`, and these are its weights.

        Raises:
            FileNotFoundError: If so, and the weights are those of another step.
        """
        fault = fault_of_model(self.arguments.output_dir, run) if self.state.best_step > 0 else None
        self.accelerator.wait_for_everyone()  # all have looked before one writes
        if fault is None:
            return
        if self.state.best_step != self.state.step:
            raise FileNotFoundError(
                f"the best model, of step {self.state.best_step}, is no longer in {self.arguments.output_dir}/model "
                f"({fault}), and the weights at hand are those of step {self.state.step}; put it back, or train again "
                "with --resume false."
            )
        logger.warning("%s/model is written again from the checkpoint: %s", self.arguments.output_dir, fault)
        whole = self._whole_model()
        if self.accelerator.is_main_process:
            save_model(whole, self.processor, self.state, self.arguments)

    def _validate(self) -> None:
        """Scores the model and saves it if it is the best so far."""
        state = self.state
        with validation_memory(self.arguments, state.step):
            whole = self._whole_model()
            self._check_weights(whole)
            score = check_score(self.validate(whole), self.arguments)
        self.model.train()
        self.progress.add_validation()
        state.history.append({"step": state.step, "epoch": state.epoch, "ndcg@10": score})
        self.accelerator.log({"validation_ndcg@10": score}, step=state.step)
        logger.info("step %d: validation NDCG@10 %.4f", state.step, score)
        if score > state.best_score:
            state.best_score, state.best_step = score, state.step
            state.validations_without_gain = 0
            if self.accelerator.is_main_process:
                save_model(whole, self.processor, state, self.arguments)
        else:
            state.validations_without_gain += 1
