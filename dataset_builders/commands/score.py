"""Score the run file of any recommender on every axis of a benchmark; needs no torch.

    mender score my_run.parquet --benchmark outputs/quickstart/benchmark --domain sample --output_dir outputs/mine

Prints scores with and without the preference, then with the items of each row's own history excluded. Writes
results.json, rows.parquet (the rank of every row) and axes.png into --output_dir.
"""

import argparse
import datetime
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ..atomic_write import check_writable
from ..benchmark.axes import AXES, get_axis
from ..benchmark.report import read_stated, resolve_revision
from ..benchmark.tables import check_fingerprints, count_items, load_axes, load_table, require_table
from ..bounded_parsing import shortened
from ..escaping import one_line
from ..scoring.baselines import baselines_table, find_baselines, not_beaten
from ..scoring.figures import format_obeying, format_parts, format_table, score_axes
from ..scoring.ranks import Obeying, check_queries, choose_rows, rank_rows, write_ranks
from ..scoring.result_parts import AxisResult, BenchmarkIdentity, Maker
from ..scoring.results import RESULTS_FILE, Results, read_identity
from ..scoring.runs import Run, check_run, read_run, write_run
from ..typed_arguments import check_count, shown
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command

Tables = Mapping[str, datasets.Dataset]


@dataclass(kw_only=True)
class ScoringArguments:
    """Arguments of every scoring; `--help` describes each."""

    benchmark: str
    benchmark_revision: str | None = None
    domain: str
    split: str = "test"
    axes: Sequence[str] = field(default_factory=lambda: tuple(AXES))
    k: Sequence[int] = (1, 5, 10, 20)
    max_rows: int = 0
    resamples: int = 1000
    output_dir: Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.k, str) or not isinstance(self.k, Sequence) or not self.k:
            raise ValueError(f"k ({shown(self.k)}) must be a list of cut-offs, at least one.")
        for name, value, low in (*(("k", one, 1) for one in self.k), ("resamples", self.resamples, 1)):
            check_count(name, value, low)
        check_count("max_rows", self.max_rows, 0)
        for name, given in (("k", self.k), ("axes", self.axes)):
            if twice := [one for one in given if list(given).count(one) > 1]:
                raise ValueError(f"{name} holds {twice[0]} twice; name it once.")


@dataclass(kw_only=True)
class ScoreArguments(ScoringArguments):
    """Arguments of [`score`]."""

    run: Path
    name: str | None = None
    by_score: bool = False


BY_SCORE_HELP = "rank each query's items by their scores; default: the file's order, in which scores never rise"


def add_scoring_arguments(
    parser: argparse.ArgumentParser, benchmark: str = "--benchmark", needs_output: bool = False
) -> None:
    """Adds the options of [`ScoringArguments`] to a parser; without dashes, the benchmark is a positional argument."""
    action = parser.add_argument(benchmark, help="local benchmark directory, or a dataset's name on the Hub")
    action.required = True
    parser.add_argument("--benchmark_revision", help="branch, tag or commit of a benchmark on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, as in beauty")
    parser.add_argument("--split", choices=["train", "validation", "test"], help="split to score")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), help="axes to score")
    parser.add_argument("--k", nargs="+", type=int, help="cut-offs")
    parser.add_argument("--max_rows", type=int, help="maximum rows of each axis, drawn with a fixed seed; 0: all")
    parser.add_argument("--resamples", type=int, help="number of resamples of the bootstrap intervals")
    absent = "" if needs_output else "; default: none are written"
    parser.add_argument("--output_dir", type=Path, required=needs_output, help=f"folder for the result files{absent}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("run", type=Path, help="run file: Parquet with the columns query, items, scores")
    parser.add_argument("--name", help="name of the method; default: the one in the run file, or the file's name")
    parser.add_argument("--by_score", action="store_true", help=BY_SCORE_HELP)
    add_scoring_arguments(parser)
    parser.set_defaults(**defaults_of(ScoreArguments))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Scores a run; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: score(ScoreArguments(**vars(arguments))))


def score(arguments: ScoreArguments) -> Results:
    """Scores a run file.

    Args:
        arguments ([`ScoreArguments`]): The run file, the benchmark, and where the results go.

    Raises:
        ValueError: If run and benchmark do not match, or the benchmark's rows differ from its fingerprints.
        FileNotFoundError: If the run or the benchmark does not exist.
    """
    return score_answers(arguments, lambda tables, num_items: read_answers(arguments, num_items))


def score_answers(
    arguments: ScoringArguments, answer: Callable[[Tables, int], tuple[Run, Maker]], keep_run: bool = False
) -> Results:
    """Scores the answers of any recommender, prints the tables, and writes the files.

    Args:
        arguments ([`ScoringArguments`]): The benchmark, and where the results go.
        answer (`Callable`): Maps the rows of each axis and the number of items to the answers and their maker.
        keep_run (`bool`, defaults to `False`): Whether to write the answers as run.parquet, too, with the fingerprints
            of the rows.

    Raises:
        ValueError: If the benchmark's rows differ from its fingerprints or from those of the answers, or the results
            are invalid.
    """
    if arguments.output_dir is not None:
        check_writable(arguments.output_dir)
    revision = resolve_revision(arguments.benchmark, arguments.benchmark_revision)
    every_axis = load_axes(arguments.benchmark, arguments.domain, arguments.split, revision=revision)
    tables = {axis: every_axis[axis] for axis in arguments.axes if axis in every_axis}
    if not tables:
        raise ValueError(
            f"{arguments.benchmark} has none of the axes {', '.join(arguments.axes)} for {arguments.domain}."
        )
    num_items = count_items(arguments.benchmark, arguments.domain, revision)
    deepest = max(num_items, *ScoringArguments.k)
    if max(arguments.k) > deepest:
        raise ValueError(
            f"k ({max(arguments.k)}) is beyond the {num_items} items of {arguments.domain}, of which any list finds "
            f"every target; name cut-offs up to {deepest}."
        )
    report = read_stated(arguments.benchmark, arguments.domain, revision)
    benchmark = identify(arguments, report, [*tables, "items"], revision)
    answers, maker = answer(tables, num_items)
    check_answered(answers, tables, maker)
    check_run(answers, f"the answers of {maker.method}", num_items)
    if keep_run and arguments.output_dir is not None:
        about = {**answers.about, "fingerprints": benchmark.fingerprints}
        write_run(replace(answers, about=about), arguments.output_dir / "run.parquet", num_items)
    check_same_rows(answers, benchmark, maker)
    check_queries(answers, {axis: len(rows) for axis, rows in every_axis.items()})
    ranks = rank_rows(answers, tables, arguments.max_rows, obeying_of(arguments, report, revision))
    scored = score_axes(ranks, sorted(arguments.k), arguments.resamples)
    results = Results(
        maker=maker,
        domain=arguments.domain,
        split=arguments.split,
        date=datetime.date.today().isoformat(),
        k=tuple(sorted(arguments.k)),
        depth=answers.depth,
        benchmark=benchmark,
        axes=add_baselines(scored, arguments, tables, num_items, report, revision),
        left_out=report.get("left_out", {}),
    )
    results.check(f"the results of {maker.method}")
    show(results, longest_history=ranks.column("history_length").to_numpy().max(), num_items=num_items)
    if arguments.output_dir is not None:
        results.write(arguments.output_dir / RESULTS_FILE)
        write_ranks(ranks, arguments.output_dir / "rows.parquet", results.about)
        draw(results, arguments.output_dir / "axes.png")
    return results


def check_same_rows(answers: Run, benchmark: BenchmarkIdentity, maker: Maker) -> None:
    """Refuses answers to other rows, where their file says which rows they answer.

    Raises:
        ValueError: If a fingerprint differs; names the config.
    """
    for config, digest in answers.about.get("fingerprints", {}).items():
        if benchmark.fingerprints.get(config, digest) != digest:
            raise ValueError(
                f"{maker.model} answers other rows of {config} (fingerprint {shown(digest)}) than {benchmark.name} "
                f"has ({benchmark.fingerprints[config]}); pass the benchmark that it was made for, or answer "
                "these."
            )


def check_answered(answers: Run, axes: Iterable[str], maker: Maker) -> None:
    """Refuses a run without an answer to any of the axes, of which every figure would be missing.

    Raises:
        ValueError: If there is none; names the maker.
    """
    answered = sorted({query.partition("/")[0] for query in answers.queries.to_pylist()})
    if not answered:
        raise ValueError(f"{maker.model} answers no query, and there is nothing to score; write the run again.")
    if not {*answered} & {*axes}:
        raise ValueError(
            f"{maker.model} answers no query of the axes {', '.join(axes)}, only of {shortened(', '.join(answered))}; "
            "choose other --axes, or answer these."
        )


def obeying_of(arguments: ScoringArguments, report: Mapping[str, Any], revision: str | None) -> Obeying | None:
    """Finds the items that obey a preference, by the planted truth of the sample shop; `None` of other domains."""
    if report.get("source") != "sample":
        return None
    from ..obedience.planted import obeying_sets  # tables of paraphrases, which no other domain needs

    items = require_table(arguments.benchmark, arguments.domain, "items", revision=revision)
    return partial(obeying_sets, items.to_list())


def add_baselines(
    axes: Mapping[str, AxisResult],
    arguments: ScoringArguments,
    tables: Tables,
    num_items: int,
    report: Mapping[str, Any],
    revision: str | None,
) -> dict[str, AxisResult]:
    """Adds to the results of each axis what baselines without training reach on the same rows."""

    def columns(rows: datasets.Dataset, axis: str) -> pa.Table:
        names = [name for name in ("target", get_axis(axis).other) if name]
        return rows.select_columns(names).with_format("arrow")[:]

    def train(axis: str) -> pa.Table | None:
        try:
            rows = load_table(arguments.benchmark, arguments.domain, axis, "train", revision)
        except ValueError:  # published without that split: all files of the config were read before
            return None
        return None if rows is None else columns(rows, axis)

    found = {}
    for axis, result in axes.items():
        numbers = choose_rows(len(tables[axis]), arguments.max_rows)
        is_whole_test = arguments.split == "test" and len(numbers) == len(tables[axis])
        baselines = find_baselines(
            report if is_whole_test else None,
            get_axis(axis),
            columns(tables[axis], axis).take(pa.array(numbers)),
            partial(train, axis),
            num_items,
            sorted(arguments.k),
        )
        found[axis] = replace(result, baselines=baselines)
    return found


def identify(
    arguments: ScoringArguments, report: Mapping[str, Any], configs: Sequence[str], revision: str | None
) -> BenchmarkIdentity:
    """The benchmark's identity from its report, with the fingerprints of the scored configs, from their rows alone."""
    stated = report.get("fingerprints", {})
    found = check_fingerprints(arguments.benchmark, arguments.domain, configs, stated, revision)
    named = {"name": arguments.benchmark, "revision": revision, "fingerprints": found}
    return read_identity({**report, **named}, arguments.benchmark)


def read_answers(arguments: ScoreArguments, num_items: int) -> tuple[Run, Maker]:
    """The answers of a run file, and their maker."""
    answers = read_run(arguments.run, num_items, arguments.by_score)
    for name in ("domain", "split"):
        if name in answers.about and answers.about[name] != getattr(arguments, name):
            raise ValueError(
                f"{arguments.run} was made for {name} {answers.about[name]!r}, not {getattr(arguments, name)!r}; "
                f"pass --{name} {answers.about[name]} or another run."
            )
    maker = Maker(
        method=arguments.name or answers.about.get("method") or arguments.run.stem,
        model=str(arguments.run),
        num_beams=answers.about.get("num_beams"),
        seed=answers.about.get("seed"),
    )
    return answers, maker


def show(results: Results, longest_history: int, num_items: int) -> None:
    """Prints the tables, and notes on axes left out, on baselines that are not beaten, and on short rankings."""
    print(format_table(results.axes, results.table_k))
    if any(result.record.has_history for result in results.axes.values()):
        print("\nWithout the items of each row's own history:\n")
        print(format_table(results.axes, results.table_k, "unseen"))
    if obeying := format_obeying(results.axes):
        print(f"\n{obeying}")
    if parts := format_parts(results.axes, results.table_k):
        print(f"\n{parts}")
    if baselines := baselines_table(results.axes, results.table_k):
        print(f"\nWhat needs no training:\n\n{baselines}")
    for sentence in not_beaten(results.axes, results.table_k, results.maker.method):
        print(f"note: {one_line(sentence)}.")
    for axis, reason in results.left_out.items():
        print(f"left out: {axis} ({one_line(reason)})")
    depth, deepest = results.depth or 0, max(results.k)
    if depth < min(num_items, deepest):
        print(f"note: some rankings hold {depth} items; what stands below counts as a miss at k = {deepest}.")
    elif depth < min(num_items, deepest + longest_history):
        print(
            f"note: some rankings hold {depth} items; without a history of up to {longest_history} items fewer than "
            f"{deepest} may be left, and what stands below counts as a miss."
        )


def draw(results: Results, path: Path) -> None:
    """Draws the star plot if matplotlib is installed."""
    from ..paper_tables.figures import star_plot

    title = f"{results.maker.method} on {results.domain} ({results.split})"
    try:
        star_plot(results.axes, results.table_k, title, path)
    except ImportError as error:
        print(f"note: no {path.name}, {error}")


if __name__ == "__main__":
    sys.exit(main())
