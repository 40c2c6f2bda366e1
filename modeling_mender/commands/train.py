"""Train a method of the paper on a benchmark.

    mender train                                          # Mender_Steer on the sample
    mender train mender_tok --domain beauty --seed 1
    accelerate launch --config_file scripts/accelerate_configs/multi_gpu.yaml scripts/train.py mender_tok --domain toys

The name of a method stands for its recipe, which is part of the package; `--domain` sets the default paths. The same
command continues an interrupted run. Writes output_dir/model (the best so far, a Hugging Face folder) and
output_dir/checkpoints.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.hf_argparser import HfArgumentParser

from dataset_builders.commands.command_line import USER_ERRORS, CommandParser, HelpFormatter, run_command
from dataset_builders.resources import resource

from ..training.recipes import parse_arguments

if TYPE_CHECKING:
    from ..training.output_folder import TrainingState


class TrainingParser(CommandParser, HfArgumentParser):
    """Parser of a dataclass of arguments, as strict as that of any other command."""


def main(argv: list[str] | None = None) -> int:
    """Trains; returns 0, 1 after one line on bad input, or 128 + the signal's number after an interruption."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_training(lambda: train(argv))


def train(argv: list[str] | None) -> None:
    """Trains as the command line says, and prints the best score and the folder of the model."""
    arguments = parse_arguments(argv, resource("scripts/recipes"), HelpFormatter, TrainingParser)
    from accelerate import PartialState  # after parsing: --help does not wait for torch

    from .training_run import train_on_benchmark

    state = train_on_benchmark(arguments)
    if PartialState().is_main_process:
        print_outcome(state, arguments.output_dir)


def print_outcome(state: "TrainingState", output_dir: str | Path) -> None:
    """Prints the best score of a training, and the folder of its model."""
    print(f"best validation NDCG@10 {state.best_score:.4f} at step {state.best_step} of {state.step}")
    print(f"model: {Path(output_dir) / 'model'}")


def run_training(run: Callable[[], Any]) -> int:
    """Runs a command that trains.

    Args:
        run (`Callable`): Body of the command.

    Returns:
        `int`: 0, 1 after one line on stderr, or 128 + the signal's number after an interruption.
    """
    status = 0

    def until_interrupted() -> None:
        nonlocal status
        try:
            run()
        except Exception as error:
            if "torch" not in sys.modules:
                raise
            from ..training.stopping import Interrupted, in_words  # imports torch, which --help must not

            if not isinstance(error, Interrupted):
                raise in_words(error) from error
            print(error, file=sys.stderr)
            status = 128 + error.signal_number

    return run_command(until_interrupted, (*USER_ERRORS, FloatingPointError, MemoryError)) or status


if __name__ == "__main__":
    sys.exit(main())
