"""How far a run is and how fast: counts per step over all processes, a bar for people, a line for trackers.

Knows numbers of a step. Does not know models.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from .checkpoints import TrainingState
from .objectives import IGNORED

logger = logging.getLogger(__name__)


def count_tokens(batch: dict[str, Any]) -> int:
    """Positions that a batch makes the model work on, without padding: of the request, and labels.

    An item or a preference that enters as one vector is one position; so is one that many examples share.

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
    """An optimizer step, over all its forward passes and processes.

    Attributes:
        loss (`float`): Mean over passes and processes.
        grad_norm (`float`): Of all gradients together, before clipping.
        examples (`int`): That it learned from.
        tokens (`int`): See [`count_tokens`].
        signal_number (`int`): That some process received; 0 where none.
    """

    loss: float
    grad_norm: float
    examples: int
    tokens: int
    signal_number: int


class StepCounter:
    """Adds up the forward passes of an optimizer step on this process, and then the processes."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._clear()

    def _clear(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.examples = self.tokens = 0

    def add(self, loss: torch.Tensor, examples: int, tokens: int) -> None:
        """One forward pass; the loss stays on its device."""
        self.losses.append(loss.detach().float())
        self.examples += examples
        self.tokens += tokens

    def finish(self, grad_norm: torch.Tensor | float, signal_number: int) -> Step:
        """The step as every process sees it alike, so that they can stop together; all must call this."""
        if hasattr(grad_norm, "full_tensor"):  # sharded
            grad_norm = grad_norm.full_tensor()
        loss = torch.stack(self.losses).mean()
        counts = torch.tensor([float(grad_norm), self.examples, self.tokens, signal_number], device=loss.device)
        everyone = self.accelerator.gather(torch.cat([loss.unsqueeze(0), counts]).unsqueeze(0))  # (num_processes, 5)
        losses, norms, examples, tokens, signals = everyone.double().cpu().unbind(1)
        self._clear()
        return Step(
            loss=losses.mean().item(),
            grad_norm=norms.max().item(),  # the same on all, as gradients are averaged before
            examples=int(examples.sum()),
            tokens=int(tokens.sum()),
            signal_number=int(signals.max()),
        )


class Progress:
    """Shows and logs the steps of a run, and keeps its time in its state.

    Args:
        accelerator (`Accelerator`): Logs to its trackers; the bar is the main process's.
        state ([`TrainingState`]): Gets `seconds`, `validation_seconds` and `examples`.
        max_steps (`int`): End of training.
        steps_per_epoch (`int`): Optimizer steps.
        logging_steps (`int`): Steps between two lines.
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
        """A step that is done; `state.step` counts it already."""
        self.state.seconds += self._seconds_since_lap()
        self.state.examples += step.examples
        self._steps.append(step)
        self.bar.update()
        if self.state.step % self.logging_steps == 0:
            self._log(learning_rate)
            self._begin_line()

    def add_validation(self) -> None:
        """A validation that is done."""
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
