"""Make the paper's tables and figures from results, with the published values beside them.

    mender tables outputs/results --output_dir outputs/tables --protocol both

Reads every results.json below the folders; writes tables.md, table_N.md, tables.csv and figure_N_DOMAIN.png. Results
on preferences of different language models or prompts are separate blocks; results with the same preferences but
different rows are refused. A run of another recommender is compared with the published baseline of the same name.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic_write import check_writable, write_text
from ..paper_tables import figures
from ..paper_tables.layout import table_markdown, tables_csv
from ..paper_tables.results import Group, check_comparable, find_results, group_results
from ..paper_tables.tables import TABLES, Block, domain_order, make_table
from ..scoring.result_parts import PROTOCOLS
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command

FIGURES = (3, 4, 5, 6, 7)


@dataclass(kw_only=True)
class TableArguments:
    """Arguments of [`make_tables`]; `--help` describes each."""

    folders: Sequence[Path]
    output_dir: Path
    domains: Sequence[str] | None = None
    split: str = "test"
    tables: Sequence[int] = (1, 2, 5, 6, 7, 8, 9)
    figures: Sequence[int] = (3, 4, 5, 6, 7)
    protocol: str = "all"


def parse_arguments(argv: list[str] | None) -> TableArguments:
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RESULTS_DIR", help="folders of results.json files")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for tables and figures")
    parser.add_argument("--domains", nargs="+", help="domains to include; default: all")
    parser.add_argument("--split", choices=["train", "validation", "test"], help="split of the results")
    parser.add_argument("--tables", nargs="*", type=int, help="numbers of the tables to make; none if empty")
    parser.add_argument("--figures", nargs="*", type=int, help="numbers of the figures to make; none if empty")
    parser.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, "both"],
        help="candidates: all items, or only those unseen in the row's own history; both: tables of each",
    )
    parser.set_defaults(**defaults_of(TableArguments))
    return TableArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Makes tables and figures; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: make_tables(parse_arguments(argv)))


def make_tables(arguments: TableArguments) -> None:
    """Reads the results and writes tables and figures."""
    for word, numbers, known in (("table", arguments.tables, TABLES), ("figure", arguments.figures, FIGURES)):
        for number in numbers:
            if number not in known:
                raise ValueError(f"{word} {number} is unknown; choose among {', '.join(map(str, known))}.")
    groups = read_groups(arguments)
    check_writable(arguments.output_dir)
    protocols = PROTOCOLS if arguments.protocol == "both" else (arguments.protocol,)
    write_tables(groups, arguments.tables, protocols, arguments.output_dir)
    write_figures(groups, arguments.figures, protocols[0], arguments.output_dir)


def read_groups(arguments: TableArguments) -> list[Group]:
    """Groups the results of the chosen split and domains by configuration."""
    results = find_results(arguments.folders)
    chosen = [
        result
        for result in results
        if result.split == arguments.split and (not arguments.domains or result.domain in arguments.domains)
    ]
    if not chosen:
        found = sorted({f"{result.domain} ({result.split})" for result in results})
        raise ValueError(f"no results of {arguments.split} and the chosen domains; there are {', '.join(found)}.")
    if len(chosen) < len(results):
        print(f"{len(chosen)} of {len(results)} results are of the chosen split and domains")
    check_comparable(chosen)
    return group_results(chosen)


def write_tables(groups: Sequence[Group], numbers: Sequence[int], protocols: Sequence[str], folder: Path) -> None:
    """Writes table_N.md, tables.md and tables.csv; prints the reason of every skipped table."""
    blocks: list[Block] = []
    texts = []
    for number in sorted(set(numbers)):
        found = make_table(number, groups, protocols)
        if not found:
            print(f"table {number} skipped: {TABLES[number].missing}")
            (folder / f"table_{number}.md").unlink(missing_ok=True)  # an earlier one is of other results
            continue
        blocks += found
        texts.append(table_markdown(number, found))
        write(folder / f"table_{number}.md", texts[-1])
    if texts:
        write(folder / "tables.md", "# The paper's tables, ours beside the published figures\n\n" + "\n".join(texts))
        write(folder / "tables.csv", tables_csv(blocks))


def write_figures(groups: Sequence[Group], numbers: Sequence[int], protocol: str, folder: Path) -> None:
    """Writes a plot per figure, domain and kind of preferences; prints the reason of every skipped one."""
    for domain in sorted({group.first.domain for group in groups}, key=domain_order):
        of_domain = [group for group in groups if group.first.domain == domain]
        writers = sorted({group.first.preferences for group in of_domain})
        for writer in writers:
            own = [group for group in of_domain if group.first.preferences == writer]
            suffix = "_" + re.sub(r"[^a-z0-9]+", "-", writer.lower()).strip("-") if len(writers) > 1 else ""
            for number in sorted(set(numbers)):
                path = folder / f"figure_{number}_{domain}{suffix}.png"
                where = f"figure {number} of {domain}, preferences by {writer}"
                try:
                    for reason in figures.make_figure(number, own, of_domain, protocol, path):
                        print(f"{where}: {reason}")
                    print(path)
                except figures.Skipped as reason:
                    print(f"{where} skipped: {reason}")
                    path.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    print(write_text(path, text))


if __name__ == "__main__":
    sys.exit(main())
