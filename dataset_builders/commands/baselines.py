"""Score what needs no training on every axis of a benchmark: a constant list, the preference alone, the history alone.

    mender baselines outputs/quickstart/benchmark --domain sample --output_dir outputs/baselines

Writes run.parquet, results.json, rows.parquet and axes.png for each into --output_dir, so that they are methods like
any other for the tables, the leaderboard, mender compare and the plots.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..atomic_write import check_writable
from ..benchmark.axes import get_axis
from ..benchmark.baselines import BASELINES, Catalog, depth_of, rank_axis
from ..benchmark.report import NOT_STATED, item_text_fields, read_stated, resolve_revision
from ..benchmark.schema import item_text
from ..benchmark.tables import load_table, require_table
from ..ranking_metrics.metrics import EMPTY
from ..scoring.ranks import choose_rows, query_ids
from ..scoring.result_parts import Maker
from ..scoring.results import Results, about
from ..scoring.runs import Run
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command
from .score import ScoringArguments, Tables, add_scoring_arguments, score_answers


@dataclass(kw_only=True)
class BaselineArguments(ScoringArguments):
    """Arguments of [`score_baselines`]; `--help` describes each."""

    output_dir: Path
    baselines: Sequence[str] = field(default_factory=lambda: tuple(BASELINES))
    embedding_model: str | None = None
    device: str | None = None


def parse_arguments(argv: list[str] | None) -> BaselineArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    add_scoring_arguments(parser, benchmark="benchmark", needs_output=True)
    parser.add_argument("--baselines", nargs="+", choices=list(BASELINES), help="baselines to score")
    parser.add_argument(
        "--embedding_model",
        help="'minilm', a sentence-transformers folder or a model on the Hub; default: that of the build",
    )
    parser.add_argument("--device", help="device of the embedding model; default: a GPU if there is one")
    parser.set_defaults(**defaults_of(BaselineArguments))
    return BaselineArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Scores the baselines; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: score_baselines(parse_arguments(argv)))


def score_baselines(arguments: BaselineArguments) -> dict[str, Results]:
    """Scores the baselines, and writes a folder for each.

    Returns:
        `dict[str, Results]`: Results by baseline, without those that can answer none of the axes.

    Raises:
        ValueError: If the build does not name its embedding model and no other is given, or as
            [`~dataset_builders.commands.score.score_answers`].
        FileNotFoundError: If the benchmark or the embedding model does not exist.
    """
    check_writable(arguments.output_dir)
    revision = resolve_revision(arguments.benchmark, arguments.benchmark_revision)
    catalog = load_catalog(arguments, revision)
    shared = {one.name: getattr(arguments, one.name) for one in fields(ScoringArguments)}
    scored = {}
    for name in arguments.baselines:
        if name == "history_only" and not any(get_axis(axis).has_history for axis in arguments.axes):
            print(f"{BASELINES[name]}: none of the axes {', '.join(arguments.axes)} has a history")
            continue
        scoring = replace(ScoringArguments(**shared), output_dir=arguments.output_dir / name)
        print(f"{BASELINES[name]}:\n")

        def answer(tables: Tables, num_items: int, name: str = name) -> tuple[Run, Maker]:
            maker = Maker(method=name)
            described = about(maker, arguments.domain, arguments.split)
            return make_run(name, tables, catalog, arguments, revision, described), maker

        scored[name] = score_answers(scoring, answer, keep_run=True)
        print()
    return scored


def load_catalog(arguments: BaselineArguments, revision: str | None) -> Catalog:
    """Loads the items, and embeds their texts if a baseline reads them."""
    items = require_table(arguments.benchmark, arguments.domain, "items", revision=revision)
    if set(arguments.baselines) == {"constant_list"}:
        return Catalog(len(items))
    report = read_stated(arguments.benchmark, arguments.domain, revision)
    name = arguments.embedding_model or report.get("embedding_model")
    if not name or name == NOT_STATED:
        raise ValueError(
            f"the report of {arguments.benchmark} does not name the embedding model of the build; pass "
            "--embedding_model, or --baselines constant_list, which needs none."
        )
    from ..building.text_embedding import load_embedder  # imports torch

    dtype = report.get("embedding_dtype") or "float32"
    embed = load_embedder(installed_name(name), device=arguments.device, dtype=dtype)
    chosen = item_text_fields(report.get("options", {}), arguments.benchmark)
    return Catalog(len(items), embed([item_text(item, chosen) for item in items]), embed)


def installed_name(model: str) -> str:
    """The name of MiniLM's package, if that model is meant and installed; else the model's own name."""
    from ..building.text_embedding import MINILM, minilm_path, published_name

    if model == published_name(MINILM):
        try:
            minilm_path()
        except FileNotFoundError:
            return model
        return MINILM
    return model


def make_run(
    baseline: str,
    tables: Tables,
    catalog: Catalog,
    arguments: BaselineArguments,
    revision: str | None,
    description: dict[str, Any],
) -> Run:
    """Ranks the items for every row of the axes that a baseline can answer."""
    answers: dict[str, tuple[Any, Any]] = {}
    for axis, table in tables.items():
        numbers = choose_rows(len(table), arguments.max_rows)
        rows = table.with_format("arrow")[:].take(numbers)
        train = load_table(arguments.benchmark, arguments.domain, axis, "train", revision)
        found = rank_axis(
            baseline,
            get_axis(axis),
            rows,
            None if train is None else train.with_format("arrow")[:],
            catalog,
            depth_of(arguments.k, catalog.num_items),
        )
        for variant, rankings in found.items():
            lengths = (rankings.items != EMPTY).sum(axis=1)
            for place, query in enumerate(query_ids(axis, numbers, variant)):
                length = lengths[place]
                answers[query] = rankings.items[place, :length], rankings.scores[place, :length]
    return Run.from_answers(answers, description)


if __name__ == "__main__":
    sys.exit(main())
