"""Reproduce all figures of a domain, from raw reviews to tables, in steps of which each is done once.

    mender reproduce --domain beauty                             # raw files downloaded; make reproduce DOMAIN=beauty
    mender reproduce --domain beauty --raw_dir ~/amazon --seeds 0 --dry_run
    mender reproduce --domain beauty --compare other/beauty      # what moved on another machine

Builds the benchmark, learns semantic IDs, scores what needs no training, trains and evaluates each method with each
seed, and makes tables, figures, paired comparisons and a leaderboard. Each step is a command of mender with a log. An
interrupted reproduction continues by the same command; a changed option repeats the steps that depend on it.
"""

import os
import shlex
import sys
from pathlib import Path

from dataset_builders.atomic_write import check_writable, hold_directory
from dataset_builders.commands.build import add_build_options
from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of
from dataset_builders.commands.source_arguments import add_source_arguments

from .reproduction_plan import (
    CPU_IDS,
    CPU_METHODS,
    SMALL_DOMAINS,
    SMALL_METHODS,
    ReproductionArguments,
    make_plan,
    words_of,
)
from .reproduction_steps import THERE, Steps, available_cores, describe_machine
from .train import run_training


def parse_arguments(argv: list[str] | None) -> ReproductionArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    group = parser.add_argument_group("reproduction")
    group.add_argument("--output_dir", type=Path, help="folder of everything; default: outputs/DOMAIN")
    group.add_argument(
        "--methods",
        nargs="+",
        help="recipes: names, or YAML files; the first is compared with the others; default: "
        f"{' '.join(CPU_METHODS)}, of which the last two are {' and '.join(SMALL_METHODS[-2:])} for "
        f"{', '.join(SMALL_DOMAINS)}",
    )
    group.add_argument(
        "--seeds", nargs="+", type=int, help="random seeds of training; what is not trained has one run"
    )
    group.add_argument(
        "--learn_ids",
        metavar="OPTIONS",
        help="options of mender learn-ids as one text; default: those of the sample for "
        f"{', '.join(SMALL_DOMAINS)}, else {shlex.join(words_of(CPU_IDS))}",
    )
    group.add_argument("--max_rows", type=int, help="maximum rows of each axis that are scored; 0: all")
    group.add_argument("--threads", type=int, help="threads of each step; default: OMP_NUM_THREADS, or all cores")
    group.add_argument("--dry_run", action="store_true", help="print the steps, and which are there already")
    group.add_argument(
        "--compare", type=Path, metavar="FOLDER", help="run nothing, and print what differs in another finished folder"
    )
    add_source_arguments(parser)
    rows = parser.add_argument_group(
        "rows, as in mender build",
        "Three defaults are others than there, and need neither Hub nor GPU: --polarity rating_vader, "
        "--embedding_model minilm, and --embedding_dtype float32, which gives the same rows on every processor.",
    )
    add_build_options(rows)
    parser.set_defaults(**defaults_of(ReproductionArguments) | {"domain": None})  # it is required
    return ReproductionArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Reproduces; returns 0, 1 after one line on bad input, or 128 + the signal's number after an interruption."""
    return run_training(lambda: reproduce(parse_arguments(argv)))


def reproduce(arguments: ReproductionArguments) -> None:
    """Runs the steps that are not there, and writes the page.

    Raises:
        ValueError: If an argument is invalid, or a step fails; names its log.
        BlockingIOError: If another reproduction runs in the folder.
        Interrupted: After SIGINT or SIGTERM; the same call continues.
    """
    from .reproduction_page import compare_folders, write_page

    if arguments.compare is not None:
        print(compare_folders(arguments.folder, arguments.compare))
        return
    plan = make_plan(arguments)
    steps = Steps(arguments.folder, plan.steps)
    if arguments.dry_run:
        show(steps)
        return
    check_writable(arguments.folder)
    with hold_directory(arguments.folder):
        states = [steps.state(step.name) for step in plan.steps]  # refuses foreign folders before the work
        machine = describe_machine() if set(states) != {THERE} else {}
        records = {}
        for number, step in enumerate(plan.steps, 1):
            state = steps.state(step.name)
            print(f"[{number}/{len(plan.steps)}] {step.name}: {state}", flush=True)
            if state != THERE:
                steps.run(step.name, threads_of(arguments), machine)
            record = records[step.name] = steps.finished(step.name)
            if state != THERE:
                print(f"    {record.seconds:.0f} s, {record.num_bytes / 1e6:.1f} MB")
        page = write_page(arguments.folder, arguments.domain, records, plan.results)
    print(f"page: {page}")


def show(steps: Steps) -> None:
    """Prints the state and the command line of every step."""
    print(f"# in {steps.folder}")
    for step in steps.steps.values():
        print(f"{steps.state(step.name) + ':':<13} mender {shlex.join(step.words)}")


def threads_of(arguments: ReproductionArguments) -> int:
    """Threads of each step: as given, as the environment says, or one for each core."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return arguments.threads or (int(stated) if stated.isdecimal() and int(stated) else available_cores())


if __name__ == "__main__":
    sys.exit(main())
