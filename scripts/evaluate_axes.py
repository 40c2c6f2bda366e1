"""Scores a trained model, or the run file of any other recommender, on every axis of a benchmark.

    python scripts/evaluate_axes.py outputs/quickstart/model --benchmark outputs/quickstart/benchmark --domain sample
    python scripts/evaluate_axes.py --run my_run.parquet --benchmark outputs/quickstart/benchmark --domain sample

Prints a table with the preference and without it, and one without the items of each row's own history. Writes
results.json and rows.parquet (the rank of every row) into --output_dir, of a model also run.parquet and axes.png. With
--run neither torch nor our models are imported.
"""

import argparse
import datetime
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import yaml
from command_line import run_command

from dataset_builders.atomic_write import write_text
from dataset_builders.benchmark_tables import AXES, count_items, load_axes
from dataset_builders.report import report_text, resolve_revision
from dataset_builders.schema import WINDOW
from dataset_builders.scoring.figures import format_table, format_unseen_table, score_axes
from dataset_builders.scoring.ranks import check_queries, choose_rows, rank_rows, write_ranks
from dataset_builders.scoring.runs import Run, read_run, write_run

CARD_TEMPLATE = Path(__file__).parents[1] / "model_cards" / "model_card.md"
TABLE_K = 10
BENCHMARK_FIELDS = (
    "source", "approximator", "approximator_details", "polarity", "embedding_model", "options", "fingerprints",
)  # fmt: skip


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit, of a model on the Hub")
    parser.add_argument("--run", type=Path, help="a run file in place of a model: Parquet with query, items, scores")
    parser.add_argument("--name", help="method of the run file; what the file says, or its name, where not given")
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or a dataset's name on the Hub")
    parser.add_argument("--benchmark_revision", help="branch, tag or commit, of a benchmark on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, as in beauty")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=AXES, help="which axes to score")
    parser.add_argument("--k", nargs="+", type=int, default=[1, 5, 10, 20], help="cut-offs")
    parser.add_argument(
        "--max_rows", type=int, default=0, help="rows of each axis, drawn by a fixed seed; 0 means all"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="resamples of the bootstrap intervals")
    parser.add_argument("--num_beams", type=int, help="beams; the model's own number or more where not given")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--cache_dir", help="folder where what frozen encoders compute is kept and reused")
    parser.add_argument("--device", help="a GPU if there is one")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU; its own choice where not given")
    parser.add_argument("--card", action="store_true", help="write the model's card (README.md) into its folder")
    parser.add_argument("--output_dir", type=Path, help="where the files go; nowhere if not given")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Evaluates; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything between the arguments and the results."""
    check_arguments(arguments)
    revision = resolve_revision(arguments.benchmark, arguments.benchmark_revision)
    every_axis = load_axes(arguments.benchmark, arguments.domain, arguments.split, revision=revision)
    tables = {axis: every_axis[axis] for axis in arguments.axes if axis in every_axis}
    if not tables:
        raise ValueError(
            f"{arguments.benchmark} has none of the axes {', '.join(arguments.axes)} for {arguments.domain}."
        )
    num_items = count_items(arguments.benchmark, arguments.domain, revision)
    report = json.loads(report_text(arguments.benchmark, arguments.domain, revision))
    if arguments.run is not None:
        answers, made_by = read_answers(arguments, num_items)
    else:
        answers, made_by = answer(arguments, tables, num_items)
    check_queries(answers, {axis: len(rows) for axis, rows in every_axis.items()})
    ranks = rank_rows(answers, tables, arguments.max_rows)
    results = {
        **made_by,
        "domain": arguments.domain,
        "split": arguments.split,
        "date": datetime.date.today().isoformat(),
        "k": sorted(arguments.k),
        "depth": answers.depth,
        "benchmark": {
            "name": arguments.benchmark,
            "revision": revision,
            **{name: report[name] for name in BENCHMARK_FIELDS if name in report},
        },
        "axes": score_axes(ranks, sorted(arguments.k), arguments.resamples),
        "left_out": report.get("left_out", {}),
    }
    show(results, longest_history=ranks.column("history_length").to_numpy().max(), num_items=num_items)
    if arguments.output_dir is not None:
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        write_results(results, arguments.output_dir / "results.json")
        write_ranks(ranks, arguments.output_dir / "rows.parquet", about_run(results))
        if arguments.run is None:
            write_run(answers, arguments.output_dir / "run.parquet", num_items)
        draw(results, arguments.output_dir / "axes.png")
    if arguments.card:
        print(f"card: {write_card(arguments.model, results, report)}")
    return results


def check_arguments(arguments: argparse.Namespace) -> None:
    if (arguments.model is None) == (arguments.run is None):
        raise ValueError("give either a model or --run with a run file, and not both.")
    for name in ("k", "resamples", "threads", "num_beams"):
        value = min(arguments.k) if name == "k" else getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1.")
    if arguments.run is not None and arguments.card:
        raise ValueError("--card writes into the folder of a model; it does not go with --run.")
    if arguments.card and not Path(arguments.model).is_dir():
        raise ValueError(
            f"--card writes into a folder, and {arguments.model} is none; scripts/publish_model.py publishes one."
        )
    if arguments.run is None and arguments.name is not None:
        raise ValueError("--name is for run files; a model says its own method.")


def read_answers(arguments: argparse.Namespace, num_items: int) -> tuple[Run, dict[str, Any]]:
    """The answers of a run file, and what `results.json` says of their maker."""
    answers = read_run(arguments.run, num_items)
    for name in ("domain", "split"):
        if name in answers.about and answers.about[name] != getattr(arguments, name):
            raise ValueError(
                f"{arguments.run} was made for {name} {answers.about[name]!r}, not {getattr(arguments, name)!r}; "
                f"pass --{name} {answers.about[name]} or another run."
            )
    return answers, {
        "method": arguments.name or answers.about.get("method") or arguments.run.stem,
        "model": str(arguments.run),
        "num_beams": answers.about.get("num_beams"),
        "seed": answers.about.get("seed"),
        "arguments": None,
        "training": None,
        "ranking": None,
    }


def answer(
    arguments: argparse.Namespace, tables: Mapping[str, datasets.Dataset], num_items: int
) -> tuple[Run, dict[str, Any]]:
    """Asks a model; the answers, and what `results.json` says of it. All that needs torch is imported here."""
    import torch

    from modeling_mender.evaluation.benchmark import answer_axes, ask_axes, texts_of
    from modeling_mender.evaluation.ranking import resolve_num_beams
    from modeling_mender.hub.loading import load_recommender, local_folder
    from modeling_mender.hub.model_publication import weights_digest
    from modeling_mender.training.methods import load_method

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model, processor = load_recommender(arguments.model, arguments.revision, device)
    folder = local_folder(arguments.model, arguments.revision)
    if model.config.num_items != num_items:
        raise ValueError(
            f"the model knows {model.config.num_items} items and the benchmark has {num_items}; evaluate it on the "
            "benchmark it was trained on."
        )
    method = load_method(folder, model.config.model_type)
    rows = {axis: choose_rows(len(table), arguments.max_rows) for axis, table in tables.items()}
    queries = ask_axes(tables, method.restrict, rows)
    collator = method.collator_class(processor, model, texts_of(queries.values()), cache_dir=arguments.cache_dir)
    collator.prepare(queries.values())
    depth = min(num_items, max(arguments.k) + WINDOW - 1)  # enough to take out a history under `unseen`
    num_beams = resolve_num_beams(model, depth, arguments.num_beams)
    depth = min(depth, num_beams or depth)
    started = time.perf_counter()
    answers = answer_axes(model, collator, queries, depth, arguments.batch_size, num_beams)
    seconds = time.perf_counter() - started
    trained_with = read_yaml(folder / "training_arguments.yaml")
    made_by = {
        "method": method.name,
        "model": arguments.model,
        "model_revision": None if Path(arguments.model).is_dir() else folder.name,
        "weights_sha256": weights_digest(folder),
        "num_beams": num_beams,
        "seed": (trained_with or {}).get("seed"),
        "arguments": trained_with,
        "training": read_training(folder / "training_state.json"),
        "ranking": {"seconds": round(seconds, 3), "num_queries": len(set(queries.values()))},
    }
    about = about_run({**made_by, "domain": arguments.domain, "split": arguments.split})
    return Run.from_answers(answers, about), made_by


def read_yaml(path: Path) -> dict[str, Any] | None:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_training(path: Path) -> dict[str, Any] | None:
    """How long the model was trained, as far as its folder says."""
    if not path.is_file():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    return {"seconds": state.get("seconds"), "steps": state.get("step"), "best_step": state.get("best_step")}


def about_run(results: Mapping[str, Any]) -> dict[str, Any]:
    """What a run file and a table of ranks say of their maker."""
    return {name: results[name] for name in ("method", "domain", "split", "num_beams", "seed", "k") if name in results}


def show(results: Mapping[str, Any], longest_history: int, num_items: int) -> None:
    """Prints both tables, and what limits their figures."""
    k = table_k(results["k"])
    print(format_table(results["axes"], k))
    if set(results["axes"]) != {"sentiment"}:
        print("\nWithout the items of each row's own history:\n")
        print(format_unseen_table(results["axes"], k))
    for axis, reason in results["left_out"].items():
        print(f"left out: {axis} ({reason})")
    depth, deepest = results["depth"], max(results["k"])
    if depth < min(num_items, deepest):
        print(f"note: some rankings hold {depth} items; what stands below counts as a miss at k = {deepest}.")
    elif depth < min(num_items, deepest + longest_history):
        print(
            f"note: some rankings hold {depth} items; without a history of up to {longest_history} items fewer than "
            f"{deepest} may be left, and what stands below counts as a miss."
        )


def table_k(k: list[int]) -> int:
    """The cut-off of tables and plots: 10 where it was asked for, else the deepest."""
    return TABLE_K if TABLE_K in k else max(k)


def write_results(results: Mapping[str, Any], path: Path) -> None:
    write_text(path, json.dumps(results, indent=2) + "\n")


def draw(results: Mapping[str, Any], path: Path) -> None:
    from dataset_builders.paper_tables.figures import star_plot

    title = f"{results['method']} on {results['domain']} ({results['split']})"
    try:
        star_plot(results["axes"], table_k(results["k"]), title, path)
    except ImportError as error:
        print(f"note: no {path.name}, {error}")


def write_card(model: str, results: Mapping[str, Any], report: Mapping[str, Any]) -> Path:
    from modeling_mender.hub import model_card

    table = format_table(results["axes"], table_k(results["k"]))
    text = model_card.model_card(model, CARD_TEMPLATE, model, results, table, report)
    return model_card.write_card(text, model)


if __name__ == "__main__":
    sys.exit(main())
