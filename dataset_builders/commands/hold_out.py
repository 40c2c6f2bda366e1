"""Hold items out of a benchmark, to train without them, add them to the model, and ask for them.

    mender hold-out --benchmark outputs/quickstart/benchmark --domain sample --output_dir outputs/cold

Writes benchmarks into subfolders: train (without the items), cold (test rows that ask for them), warm (test rows
without them), full (nothing held out); and new_items.parquet for mender update-catalogue.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ..replacing import other_values
from .command_line import USER_ERRORS, CommandParser, HelpFormatter, defaults_of, run_command


@dataclass(kw_only=True)
class HoldOutArguments:
    """Arguments of [`hold_out`]; see `--help` for what each is."""

    benchmark: str
    domain: str
    output_dir: Path
    share: float = 0.05
    interactions: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuses a share that is none."""
        if not 0 < self.share < 1:
            raise ValueError(f"--share ({self.share}) must be above 0 and below 1, as in 0.05.")


def parse_arguments(argv: list[str] | None) -> HoldOutArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or dataset on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, such as beauty")
    parser.add_argument("--output_dir", required=True, type=Path, help="directory of the benchmarks")
    parser.add_argument("--share", type=float, help="share of the items to hold out, those that came last")
    parser.add_argument(
        "--interactions",
        type=Path,
        help="table of the actions with item_id and timestamp, for when an item came; default: the median of its "
        "places in the sequences of users",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output directory if it exists")
    parser.set_defaults(**defaults_of(HoldOutArguments))
    return HoldOutArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Holds items out; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: hold_out(parse_arguments(argv)), USER_ERRORS)


def hold_out(arguments: HoldOutArguments) -> None:
    """Writes the benchmarks and prints their sizes."""
    from ..building.hold_out import PARTS, hold_out_items
    from ..building.sources.tables import read_first_times
    from ..replacing import check_replaceable

    names = (*PARTS, "new_items.parquet")
    check_replaceable(arguments.output_dir, arguments.overwrite, names, other_values(arguments))
    times = None if arguments.interactions is None else read_first_times(arguments.interactions)
    held = hold_out_items(
        arguments.benchmark, arguments.domain, arguments.output_dir, arguments.share, times, arguments.overwrite
    )
    num_cold = len(held.new_ids) - 1 - held.num_warm
    ids = f"ids {held.num_warm + 1} to {held.num_warm + num_cold}"
    print(f"{num_cold:,} of {len(held.new_ids) - 1:,} items held out, {ids}")
    for part, what in PARTS.items():
        print(f"{arguments.output_dir / part}: {what}")
    print(f"{arguments.output_dir / 'new_items.parquet'}: the items that are held out")


if __name__ == "__main__":
    sys.exit(main())
