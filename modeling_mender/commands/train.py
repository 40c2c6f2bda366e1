"""Train a method of the paper on a benchmark.

    mender train                                          # Mender_Steer on the sample
    mender train mender_tok --domain beauty --seed 1
    accelerate launch scripts/train.py scripts/recipes/mender_tok.yaml --domain beauty --seed 1

A method's name stands for its recipe, which travels with the package; `--domain` fills in the paths.
An interrupted run continues by the same command. Writes output_dir/model (the best so far, a Hugging Face folder) and
output_dir/checkpoints.
"""

import logging
import sys
from pathlib import Path

from dataset_builders.commands.command_line import explain
from dataset_builders.resources import resource

from ..training.recipes import parse_arguments


def main(argv: list[str] | None = None) -> int:
    """Trains; returns 0, 1 after one line on bad input, or 128 + the signal's number after an interruption."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        arguments = parse_arguments(argv, resource("scripts/recipes"))
        from accelerate import PartialState  # after parsing: --help does not wait for torch

        from ..training.stopping import Interrupted
        from .training_run import train_on_benchmark
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    try:
        state = train_on_benchmark(arguments)
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 128 + interrupted.signal_number
    if PartialState().is_main_process:
        print(f"best validation NDCG@10 {state.best_score:.4f} at step {state.best_step} of {state.step}")
        print(f"model: {Path(arguments.output_dir) / 'model'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
