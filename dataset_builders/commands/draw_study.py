"""Draw the scenarios of a user study from a benchmark and the reviews that it was built from.

    mender draw-study benchmarks/beauty --domain beauty --output_dir study
    mender user-study study

Appendix F of the paper had 22 people judge 20 scenarios each; the defaults give each scenario to two of them, so that
their agreement can be measured.
"""

import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from ..atomic_write import new_directory
from ..benchmark.report import read_stated
from ..benchmark.schema import SPLITS
from ..replacing import check_replaceable, other_values
from ..typed_arguments import MAX_COUNT, MAX_SEED, check_ranges
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command
from .source_arguments import SourceArguments, add_source_arguments, source_from, user_stride_of

RANGES = {
    "num_scenarios": (1, MAX_COUNT),
    "per_annotator": (1, MAX_COUNT),
    "raters": (1, MAX_COUNT),
    "max_review_characters": (1, MAX_COUNT),
    "seed": (0, MAX_SEED),
}


@dataclass(kw_only=True)
class DrawArguments(SourceArguments):
    """Arguments of [`draw_study`]; `--help` describes each."""

    benchmark: str
    output_dir: Path
    revision: str | None = None
    split: str = "test"
    num_scenarios: int = 220
    per_annotator: int = 20
    raters: int = 2
    max_review_characters: int = 1000
    seed: int = 0
    overwrite: bool = False


def parse_arguments(argv: list[str] | None) -> DrawArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("benchmark", help="benchmark: folder of mender build, or dataset on the Hub")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the study")
    parser.add_argument("--revision", help="branch, tag or commit of a benchmark on the Hub")
    parser.add_argument("--split", choices=SPLITS, help="split of the recommendation axis")
    parser.add_argument("--num_scenarios", type=int, help="number of scenarios to draw; all if there are fewer")
    parser.add_argument("--per_annotator", type=int, help="maximum scenarios of one annotator")
    parser.add_argument("--raters", type=int, help="number of annotators that each scenario is given to")
    parser.add_argument("--max_review_characters", type=int, help="maximum characters of a review")
    parser.add_argument("--seed", type=int, help="random seed of the draw")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing study that has no answers")
    add_source_arguments(parser)
    parser.set_defaults(**defaults_of(DrawArguments))
    return DrawArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Draws a study; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: draw_study(arguments))


def draw_study(arguments: DrawArguments) -> None:
    """Writes `study.json` into a new folder, and prints what was drawn."""
    from ..building.build import load_sequences
    from ..user_study.drawing import draw_scenarios
    from ..user_study.form import STUDY_FILE, Study

    check_ranges(vars(arguments), RANGES)
    check_replaceable(arguments.output_dir, arguments.overwrite, (STUDY_FILE,), other_values(arguments))
    with new_directory(arguments.output_dir, arguments.overwrite) as folder:
        stated = read_stated(arguments.benchmark, arguments.domain, arguments.revision)
        source, domain = source_from(arguments)
        sequences, _ = load_sequences(source, arguments.min_count, arguments.window, user_stride_of(arguments, domain))
        scenarios = draw_scenarios(
            arguments.benchmark,
            arguments.domain,
            sequences,
            arguments.num_scenarios,
            arguments.seed,
            arguments.split,
            arguments.max_review_characters,
            arguments.revision,
        )
        Study(
            benchmark=local.name if (local := Path(arguments.benchmark)).is_dir() else arguments.benchmark,
            domain=arguments.domain,
            split=arguments.split,
            source=stated.get("source", ""),
            seed=arguments.seed,
            raters=arguments.raters,
            per_annotator=arguments.per_annotator,
            scenarios=tuple(scenarios),
        ).write(folder)
    people = max(arguments.raters, ceil(len(scenarios) * arguments.raters / arguments.per_annotator))
    asked = arguments.num_scenarios
    fewer = f" (all that there are; {asked:,} were asked for)" if len(scenarios) < asked else ""
    print(
        f"drawn: {len(scenarios):,} scenarios of {arguments.domain}{fewer}, each for {arguments.raters} annotators, "
        f"at most {arguments.per_annotator} for one: {people:,} annotators\nwritten: {arguments.output_dir}"
    )


if __name__ == "__main__":
    sys.exit(main())
