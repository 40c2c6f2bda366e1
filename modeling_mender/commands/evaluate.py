"""Evaluate a trained model, or the run file of any other recommender, on every axis of a benchmark.

    mender evaluate outputs/quickstart/model --benchmark outputs/quickstart/benchmark --domain sample
    mender evaluate --run my_run.parquet --benchmark outputs/quickstart/benchmark --domain sample

Prints one table with and without preference, and one without the items of each row's history. Writes results.json,
rows.parquet (the rank of every row), axes.png and, for a model, run.parquet into --output_dir. With --run it is the
command score, which does not import torch.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import datasets

from dataset_builders.benchmark.axes import get_axis
from dataset_builders.benchmark.report import read_stated
from dataset_builders.benchmark.schema import WINDOW, item_title
from dataset_builders.benchmark.tables import require_table
from dataset_builders.bounded_parsing import shortened
from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command
from dataset_builders.commands.score import (
    BY_SCORE_HELP,
    ScoreArguments,
    ScoringArguments,
    Tables,
    add_scoring_arguments,
    score,
    score_answers,
)
from dataset_builders.resources import resource
from dataset_builders.scoring.baselines import baselines_table, not_beaten
from dataset_builders.scoring.figures import format_table
from dataset_builders.scoring.ranks import choose_rows
from dataset_builders.scoring.result_parts import Maker, Ranking, Training, Weights
from dataset_builders.scoring.results import Results, about
from dataset_builders.scoring.runs import Run

if TYPE_CHECKING:
    from ..hub.model_card import Evaluation


@dataclass(kw_only=True)
class EvaluationArguments(ScoringArguments):
    """Arguments of [`evaluate`]; see `--help` for what each is."""

    model: str
    revision: str | None = None
    num_beams: int | None = None
    batch_size: int = 64
    cache_dir: str | None = None
    device: str | None = None
    threads: int | None = None
    card: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("threads", "num_beams", "batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1.")
        if self.card and not Path(self.model).is_dir():
            raise ValueError(
                f"--card writes the card into the folder of the model, and {self.model} is no folder; give a folder, "
                "or use mender publish-model."
            )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", nargs="?", help="folder of a trained model, or name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    parser.add_argument("--run", type=Path, help="run file in place of a model: Parquet with query, items, scores")
    parser.add_argument(
        "--name", help="name of the method of the run file; default: that in the file, or the name of the file"
    )
    parser.add_argument("--by_score", action="store_true", help=BY_SCORE_HELP)
    add_scoring_arguments(parser)
    parser.add_argument(
        "--num_beams", type=int, help="beams of the search; default: that of the model, or more if needed"
    )
    parser.add_argument("--batch_size", type=int, help="requests per batch")
    parser.add_argument("--cache_dir", help="folder that caches the output of frozen text encoders")
    parser.add_argument("--device", help="device of the model; default: a GPU if there is one")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU; default: its choice")
    parser.add_argument("--card", action="store_true", help="write the model's card (README.md) into its folder")
    parser.set_defaults(**defaults_of(EvaluationArguments))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Evaluates; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: evaluate_or_score(arguments))


def evaluate_or_score(arguments: argparse.Namespace) -> Results:
    """Evaluates the model, or scores the run file, that the command line names."""
    given = dict(vars(arguments))
    run, name = given.pop("run"), given.pop("name")
    if arguments.model is None and run is None:
        raise ValueError("there is nothing to evaluate; give the folder of a model, or --run with a run file.")
    if arguments.model is not None and run is not None:
        raise ValueError(f"give either the model ({arguments.model}) or --run ({run}), not both.")
    by_score = given.pop("by_score")
    if run is None:
        if name is not None:
            raise ValueError("--name is for run files; the method of a model is in its folder; leave --name out.")
        if by_score:
            raise ValueError("--by_score is for run files; the lists of a model are ranked already; leave it out.")
        return evaluate(EvaluationArguments(**given))
    if arguments.card:
        raise ValueError(
            "--card writes into the folder of a model and cannot be combined with --run; leave one of them out."
        )
    scoring = {key: value for key, value in given.items() if key in ScoringArguments.__dataclass_fields__}
    return score(ScoreArguments(run=run, name=name, by_score=by_score, **scoring))


def evaluate(arguments: EvaluationArguments) -> Results:
    """Evaluates a model.

    Args:
        arguments ([`EvaluationArguments`]): Model, benchmark and output folder.

    Raises:
        ValueError: If the model was trained on another benchmark.
        FileNotFoundError, OSError: If one of them cannot be loaded.
    """
    results = score_answers(arguments, partial(answer, arguments), keep_run=True)
    if arguments.card:
        report = read_stated(arguments.benchmark, arguments.domain, results.benchmark.revision)
        print(f"card: {write_card(arguments.model, results, report)}")
    return results


def answer(arguments: EvaluationArguments, tables: Tables, num_items: int) -> tuple[Run, Maker]:
    """Returns a model's answers to all rows, and the record of the model; imports torch."""
    import torch

    from ..devices import default_device
    from ..evaluation.benchmark import answer_axes, ask_axes, texts_of
    from ..evaluation.ranking import resolve_num_beams
    from ..hub.loading import load_recommender, local_folder
    from ..hub.model_publication import weights_digest
    from ..methods.table import load_method
    from ..training.records import read_arguments

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = arguments.device or default_device()
    model, processor = load_recommender(arguments.model, arguments.revision, device)
    folder = local_folder(arguments.model, arguments.revision)
    items = require_table(arguments.benchmark, arguments.domain, "items", revision=arguments.benchmark_revision)
    check_same_items(processor.items, items)
    method = load_method(folder, model.config.model_type)
    rows = {axis: choose_rows(len(table), arguments.max_rows).tolist() for axis, table in tables.items()}
    records = {axis: get_axis(axis) for axis in tables}
    asked = {axis: record.asked for axis, record in records.items()}
    strengths = {axis: record.strengths for axis, record in records.items()}
    queries = ask_axes(tables, asked, method.restrict, rows, strengths)
    collator = method.collator_class(processor, model, texts_of(queries.values()), cache_dir=arguments.cache_dir)
    collator.prepare(queries.values())
    depth = min(num_items, max(arguments.k) + WINDOW - 1)  # enough after removal of a history for `unseen`
    num_beams = resolve_num_beams(model, depth, arguments.num_beams)
    depth = min(depth, num_beams or depth)
    started = time.perf_counter()
    answers = answer_axes(model, collator, queries, depth, arguments.batch_size, num_beams)
    seconds = time.perf_counter() - started
    trained_with = read_arguments(folder) or None
    maker = Maker(
        method=method.name,
        model=arguments.model,
        weights=Weights(None if Path(arguments.model).is_dir() else folder.name, weights_digest(folder)),
        num_beams=num_beams,
        seed=(trained_with or {}).get("seed"),
        arguments=trained_with,
        training=read_training(folder),
        ranking=Ranking(round(seconds, 3), len(set(queries.values()))),
    )
    return Run.from_answers(cast(Any, answers), about(maker, arguments.domain, arguments.split)), maker


def check_same_items(items: Sequence[Mapping[str, Any]], table: datasets.Dataset) -> None:
    """Checks that a model and a benchmark have the same items in the same order, by their number and their titles.

    Args:
        items (`Sequence[Mapping]`): Items of the model's processor; one without a title is named by its number.
        table (`datasets.Dataset`): Config `items` of the benchmark, in the order of the ids.

    Raises:
        ValueError: If their numbers differ, or more than one title in a hundred; fewer give a warning.
    """
    way_out = "evaluate it on the benchmark it was trained on"
    if len(items) != len(table):
        raise ValueError(f"the model has {len(items)} items and the benchmark has {len(table)}; {way_out}.")
    differing = [
        (number, item["title"], title)
        for number, (item, title) in enumerate(zip(items, map(item_title, table), strict=True), 1)
        if item["title"] != title and f"item {number}" not in (item["title"], title)
    ]
    if not differing:
        return
    number, own, title = differing[0]
    said = (
        f"{len(differing)} of {len(items)} items have another title in the benchmark than in the model, the first is "
        f"item {number}, {shortened(title)!r} and {shortened(own)!r}"
    )
    if len(differing) > len(items) // 100:
        raise ValueError(f"{said}; {way_out}.")
    print(f"warning: {said}; if they are not the same items, {way_out}", file=sys.stderr)


def read_training(folder: Path) -> Training | None:
    """Reads the length of the training from the training state; `None` if there is none."""
    from ..training.records import read_state

    state = read_state(folder)
    if not state:
        return None
    return Training(state.get("seconds"), state.get("step"), state.get("best_step"))


def write_card(model: str, results: Results, report: dict[str, Any]) -> Path:
    """Writes the card of a model into its folder."""
    from ..hub import model_card

    text = model_card.model_card(model, resource("model_cards/model_card.md"), model, card_evaluation(results), report)
    return model_card.write_card(text, model)


def card_evaluation(results: Results) -> "Evaluation":
    """Returns the results for a card: the main metric of every axis, and NDCG@10 where it is recall (section 3.2)."""
    from ..hub.model_card import Evaluation

    figures = [
        (axis, metric, found.figures()[metric])
        for axis, found in results.axes.items()
        for metric in found.record.shown_metrics()
        if metric in found.figures()
    ]
    return Evaluation(
        domain=results.domain,
        split=results.split,
        table=format_table(results.axes, results.table_k),
        figures=figures,
        left_out=results.left_out,
        baselines=baselines_table(results.axes, results.table_k),
        not_beaten=not_beaten(results.axes, results.table_k, results.maker.method),
        num_beams=results.maker.num_beams,
        benchmark=results.benchmark.name,
        revision=results.benchmark.revision,
    )


if __name__ == "__main__":
    sys.exit(main())
