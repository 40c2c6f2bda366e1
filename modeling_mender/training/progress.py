"""Progress of a run: counts per step over all processes, a progress bar, and values for trackers."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from .objectives import IGNORED
from .output_folder import TrainingState

logger = logging.getLogger(__name__)


def count_tokens(batch: dict[str, Any]) -> int:
    """Counts the positions of a batch that the model processes, without padding: those of requests, and labels.

    An item or a preference that enters as one vector is one position, also where many examples share it.

    >>> count_tokens({"attention_mask": torch.tensor([[0, 1, 1]]), "labels": torch.tensor([[5, 9, IGNORED]])})
    4
    >>> prefixes = torch.tensor([[[1, 0, 0], [1, 1, 0]]]).bool()  # two examples of one history, and padding
    >>> count_tokens({"example_mask": prefixes, "labels": torch.tensor([[[5, 9], [5, 8]]])})
    6
    """
    count = int((batch["labels"] != IGNORED).sum())
    if "attention_mask" in batch:
        return count + int(batch["attention_mask"].sum())
    return count + (int(batch["example_mask"].any(1).sum()) if "example_mask" in batch else 0)


@dataclass(frozen=True)
class Step:
    """Optimizer step over all its forward passes and processes.

    Attributes:
        loss (`float`): Mean over passes and processes.
        grad_norm (`float`): Norm of all gradients together, before clipping.
        examples (`int`): Number of examples learned from.
        tokens (`int`): Number of positions; see [`count_tokens`].
        signal_number (`int`): Signal that some process received; 0 if none did.
    """

    loss: float
    grad_norm: float
    examples: int
    tokens: int
    signal_number: int


class StepCounter:
    """Sums an optimizer step over its forward passes on this process, then over all processes."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._clear()

    def _clear(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.examples = self.tokens = 0

    def add(self, loss: torch.Tensor, examples: int, tokens: int) -> None:
        """Adds one forward pass; the loss stays on its device."""
        self.losses.append(loss.detach().float())
        self.examples += examples
        self.tokens += tokens

    def finish(self, grad_norm: torch.Tensor | float, signal_number: int) -> Step:
        """Returns the step, identical on all processes so that they stop together; all must call this."""
        if hasattr(grad_norm, "full_tensor"):  # sharded
            grad_norm = grad_norm.full_tensor()
        loss = torch.stack(self.losses).mean()
        counts = torch.tensor([float(grad_norm), self.examples, self.tokens, signal_number], device=loss.device)
        everyone = self.accelerator.gather(torch.cat([loss.unsqueeze(0), counts]).unsqueeze(0))  # (num_processes, 5)
        losses, norms, examples, tokens, signals = everyone.double().cpu().unbind(1)
        self._clear()
        return Step(
            loss=losses.mean().item(),
            grad_norm=norms.max().item(),  # the same on all: gradients are averaged before
            examples=int(examples.sum()),
            tokens=int(tokens.sum()),
            signal_number=int(signals.max()),
        )


class Progress:
    """Shows and logs the steps of a run, and adds up its time in its state.

    Args:
        accelerator (`Accelerator`): Trackers to log to; only the local main process shows the bar.
        state ([`TrainingState`]): State whose `seconds`, `validation_seconds` and `examples` are updated.
        max_steps (`int`): Last step of training.
        steps_per_epoch (`int`): Optimizer steps per epoch.
        logging_steps (`int`): Steps between two logged lines.
    """

    def __init__(
        self, accelerator: Accelerator, state: TrainingState, max_steps: int, steps_per_epoch: int, logging_steps: int
    ) -> None:
        self.accelerator, self.state = accelerator, state
        self.max_steps, self.steps_per_epoch, self.logging_steps = max_steps, steps_per_epoch, logging_steps
        self.bar = tqdm(
            total=max_steps, initial=state.step, desc="training", unit="step",
            disable=not accelerator.is_local_main_process,
        )  # fmt: skip
        self._lap = time.perf_counter()
        self._begin_line()

    def _begin_line(self) -> None:
        self._steps: list[Step] = []
        self._seconds_before = self.state.seconds

    def close(self) -> None:
        self.bar.close()

    def _seconds_since_lap(self) -> float:
        now = time.perf_counter()
        seconds, self._lap = now - self._lap, now
        return seconds

    def add(self, step: Step, learning_rate: float) -> None:
        """Records a finished step, which `state.step` counts already."""
        self.state.seconds += self._seconds_since_lap()
        self.state.examples += step.examples
        self._steps.append(step)
        self.bar.update()
        if self.state.step % self.logging_steps == 0:
            self._log(learning_rate)
            self._begin_line()

    def add_validation(self) -> None:
        """Records a finished validation."""
        self.state.validation_seconds += self._seconds_since_lap()

    def _log(self, learning_rate: float) -> None:
        state, seconds = self.state, max(self.state.seconds - self._seconds_before, 1e-9)
        left = (state.seconds + state.validation_seconds) / state.step * (self.max_steps - state.step)
        line = {
            "loss": sum(step.loss for step in self._steps) / len(self._steps),
            "learning_rate": learning_rate,
            "grad_norm": self._steps[-1].grad_norm,
            "tokens_per_second": sum(step.tokens for step in self._steps) / seconds,
            "examples_per_second": sum(step.examples for step in self._steps) / seconds,
            "epoch": state.epoch + state.steps_in_epoch / self.steps_per_epoch,
        }
        self.accelerator.log(line, step=state.step)
        self.bar.set_postfix({
            "loss": f"{line['loss']:.3f}", "best_ndcg": f"{max(state.best_score, 0):.4f}",
            "tokens/s": f"{line['tokens_per_second']:.0f}", "examples/s": f"{line['examples_per_second']:.0f}",
            "left": tqdm.format_interval(left),
        }, refresh=False)  # fmt: skip
        logger.info(
            "step %d of %d: %s, %s left", state.step, self.max_steps,
            ", ".join(f"{name} {value:.4g}" for name, value in line.items()), tqdm.format_interval(left),
        )  # fmt: skip
