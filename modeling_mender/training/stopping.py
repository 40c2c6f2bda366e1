"""Early ends of a training run, each with the way out: a signal, too little memory, a missing compiler."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError

from .arguments import DecoderArguments, LearnedArguments

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Ctrl-C in a terminal reaches a worker twice at once: from the terminal, and from the launcher that passes it on.
SECONDS_OF_ONE_SIGNAL = 1.0


class Interrupted(RuntimeError):
    """Raised when training stopped between two steps after a signal; a checkpoint was written.

    Attributes:
        signal_number (`int`): SIGINT or SIGTERM; shells expect the exit status 128 plus this number.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class TooLittleMemory(MemoryError):
    """Raised when an allocation failed; the message names the argument to lower."""


class StopSignals:
    """Context in which the first SIGINT or SIGTERM is recorded in `received`, and a second one acts immediately.

    Only the main thread receives signals; in other threads the context changes nothing.

    Attributes:
        received (`int`): Number of the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._time = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self._time = number, time.monotonic()
            logger.warning("stopping after this step or validation; press Ctrl-C again to stop immediately")
        elif time.monotonic() - self._time > SECONDS_OF_ONE_SIGNAL:
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed on any device: CUDA raises its own class, the CPU and MPS only a message."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def in_words(error: Exception) -> Exception:
    """The error of a command for a failed allocation or an unreadable file, whose own errors are those of libraries.

    Args:
        error (`Exception`): Any error.

    Returns:
        `Exception`: [`TooLittleMemory`], an `OSError`, or the same error if it is neither.
    """
    reason = " ".join(str(error).split())
    if isinstance(error, TooLittleMemory):
        return error
    if is_out_of_memory(error):
        return TooLittleMemory(
            f"out of memory ({reason[:200] or 'MemoryError'}); choose smaller sizes or a machine with more."
        )
    if isinstance(error, SafetensorError):
        return OSError(f"a file of weights could not be read or written ({reason}); make it again.")
    return error


@contextmanager
def training_memory(arguments: LearnedArguments, step: int, batch: dict[str, Any]) -> Iterator[None]:
    """Turns a failed allocation of a training step into an error with the batch and the batch size to try.

    Raises:
        TooLittleMemory: If an allocation fails within.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        rows, passes = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
        shapes = ", ".join(
            f"{name} {' x '.join(map(str, value.shape))}" for name, value in batch.items() if torch.is_tensor(value)
        )
        if rows > 1:
            part = next(number for number in range(2, rows + 1) if rows % number == 0)
            advice = (
                f"the same command with --per_device_train_batch_size {rows // part} --gradient_accumulation_steps "
                f"{passes * part} continues from the newest checkpoint, with the same {rows * passes} rows per "
                "process and optimizer step"
            )
        else:
            advice = "the batch cannot be smaller: try --gradient_checkpointing true, or a smaller model"
        raise TooLittleMemory(
            f"out of memory at step {step}, with per_device_train_batch_size ({rows}) and a batch of {shapes}; "
            f"{advice}."
        ) from error


@contextmanager
def validation_memory(arguments: LearnedArguments, step: int) -> Iterator[None]:
    """Turns a failed allocation of validation into an error with the argument to lower.

    Raises:
        TooLittleMemory: If an allocation fails within.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        rows, beams = arguments.per_device_eval_batch_size, 0
        sizes = f"per_device_eval_batch_size ({rows})"
        if isinstance(arguments, DecoderArguments):
            beams = arguments.num_beams
            sizes += f" and num_beams ({beams})"
        if rows > 1:
            advice = f"the same command with --per_device_eval_batch_size {rows // 2} continues"
        elif beams > 2:
            advice = f"the same command with --num_beams {max(2, beams // 2)} continues"
        else:
            advice = "no argument can be lowered further; the same command on a machine with more memory continues"
        raise TooLittleMemory(
            f"out of memory in the validation at step {step}, with {sizes}; {advice} from the newest checkpoint."
        ) from error


@contextmanager
def compilation() -> Iterator[None]:
    """Turns a failure of `torch.compile` into an error of one line.

    Raises:
        ValueError: If the compiler is missing, or cannot compile the model.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"torch_compile failed ({reason}); install the compiler that it names, or set torch_compile to false."
        ) from error
