"""Print the statistics of built benchmarks beside the paper's, and check them for leaks.

    mender describe benchmarks/beauty benchmarks/toys --output_dir outputs/statistics

Prints tables 3 and 4 of the paper and the violations that the checks find; with --output_dir also writes statistics.md
and distribution.png (figure 8).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic_write import check_writable, write_text
from ..escaping import printable
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command


@dataclass(kw_only=True)
class DescriptionArguments:
    """Arguments of [`describe`]; `--help` describes each."""

    benchmarks: Sequence[Path]
    output_dir: Path | None = None
    no_checks: bool = False


def parse_arguments(argv: list[str] | None) -> DescriptionArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("benchmarks", type=Path, nargs="+", help="benchmark directories of mender build")
    parser.add_argument("--output_dir", type=Path, help="folder for statistics.md and distribution.png")
    parser.add_argument("--no_checks", action="store_true", help="skip the checks for leaks")
    parser.set_defaults(**defaults_of(DescriptionArguments))
    return DescriptionArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Describes benchmarks.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0; 1 on bad input, after one line on stderr; 2 if a benchmark fails a check.
    """
    arguments = parse_arguments(argv)
    broken: list[int] = []
    return run_command(lambda: broken.append(describe(arguments))) or (2 if any(broken) else 0)


def describe(arguments: DescriptionArguments) -> int:
    """Prints statistics and checks; returns the number of failed checks."""
    from ..benchmark.checks import check_benchmark, untestable
    from ..benchmark.report import read_reports
    from ..benchmark.statistics import plot_distributions, statistics_tables
    from ..building.domains import DOMAINS

    if arguments.output_dir is not None:
        check_writable(arguments.output_dir)
    paper = {name: (domain.table_3_row(), domain.table_4_row()) for name, domain in DOMAINS.items()}
    remarks = {name: domain.remark for name, domain in DOMAINS.items()}
    tables = statistics_tables(arguments.benchmarks, paper, remarks)
    print(tables)
    if arguments.output_dir is not None:
        write_text(arguments.output_dir / "statistics.md", tables)
        plot_distributions(arguments.benchmarks, arguments.output_dir / "distribution.png")
    broken = 0
    for folder in [] if arguments.no_checks else arguments.benchmarks:
        found = check_benchmark(folder)
        broken += len(found)
        print(f"{folder}: " + ("no leak, no broken promise" if not found else f"{len(found)} broken promises"))
        for line in found:
            print(f"  - {printable(line)}")
        for report in read_reports(folder):
            for line in untestable(report):
                print(f"  - not tested: {printable(line)}")
            for line in report.steering_facts():
                print(f"  - {report.domain}: {printable(line)}")
            for weakness, count in report.weaknesses.items():
                print(f"  - {report.domain}: weakness: {count:,} {printable(weakness)}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
