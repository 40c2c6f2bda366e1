"""Evaluate Mender_Steer without each term of its score in turn, with the other weights fitted again on validation.

    mender ablate outputs/quickstart/model --benchmark outputs/quickstart/benchmark --domain sample

Prints recall@10 and NDCG@10 with and without preference as a Markdown table. The model on disk does not change.
"""

import sys
from dataclasses import dataclass

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command


@dataclass(kw_only=True)
class AblationArguments:
    """Arguments of [`ablate`]; see `--help` for what each is."""

    model: str
    benchmark: str
    domain: str
    split: str = "test"
    max_rows: int = 0
    cache_dir: str | None = None


def parse_arguments(argv: list[str] | None) -> AblationArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="folder of a trained mender_steer model, or name on the Hub")
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or dataset on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, such as beauty")
    parser.add_argument("--split", choices=["validation", "test"], help="split to evaluate on")
    parser.add_argument("--max_rows", type=int, help="rows of each axis, drawn by a fixed seed; 0: all")
    parser.add_argument("--cache_dir", help="folder that caches the output of frozen text encoders")
    parser.set_defaults(**defaults_of(AblationArguments))
    return AblationArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Prints the table; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: run(arguments))


def run(arguments: AblationArguments) -> None:
    """Imports the libraries of the models and prints the table."""
    from transformers.utils import logging as transformers_logging

    from .ablation import ablate

    transformers_logging.set_verbosity_error()
    ablate(arguments)


if __name__ == "__main__":
    sys.exit(main())
