"""Scores a trained model on every axis of a benchmark, with the preference and without it.

    python scripts/evaluate_axes.py outputs/quickstart/model --benchmark outputs/quickstart/benchmark --domain sample

Prints a table; writes results.json and axes.png into --output_dir.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoProcessor

import modeling_mender  # noqa: F401  registers the Auto classes
from dataset_builders.ranking_metrics import score_run
from modeling_mender.evaluation.benchmark import evaluate_axes, format_table, preferences_of
from modeling_mender.evaluation.plots import star_plot
from modeling_mender.hub.model_card import write_model_card
from modeling_mender.training.benchmark_tables import AXES, load_table
from modeling_mender.training.methods import get_method

CARD_TEMPLATE = Path(__file__).parents[1] / "model_cards" / "model_card.md"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or a dataset's name on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, as in beauty")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=AXES, help="which axes to score")
    parser.add_argument("--k", nargs="+", type=int, default=[5, 10], help="cut-offs")
    parser.add_argument("--num_beams", type=int, help="beams; the model's own default where not given")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument(
        "--max_rows", type=int, default=0, help="rows of each axis, drawn by a fixed seed; 0 means all"
    )
    parser.add_argument("--device", help="a GPU if there is one")
    parser.add_argument("--card", action="store_true", help="write the model's card (README.md) into its folder")
    parser.add_argument("--output_dir", type=Path, help="where results.json and axes.png go; nowhere if not given")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Evaluates; returns 0, or 1 after one line on bad input."""
    try:
        run(parse_arguments(argv))
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_report(benchmark: str) -> dict[str, object]:
    """What a local benchmark says of itself, the axes it had to leave out among it; empty where it says nothing."""
    report = Path(benchmark) / "report.json"
    return json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Everything between the arguments and the results."""
    if min(arguments.k) < 1:
        raise ValueError(f"k ({min(arguments.k)}) must be at least 1.")
    tables = {}
    for axis in arguments.axes:
        rows = load_table(arguments.benchmark, arguments.domain, axis, arguments.split)
        if rows is not None and len(rows):
            if 0 < arguments.max_rows < len(rows):
                chosen = np.random.default_rng(0).choice(len(rows), arguments.max_rows, replace=False)
                rows = rows.select(sorted(chosen))
            tables[axis] = rows
    if not tables:
        raise ValueError(
            f"{arguments.benchmark} has none of the axes {', '.join(arguments.axes)} for {arguments.domain}."
        )
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModel.from_pretrained(arguments.model).to(device).eval()
    processor = AutoProcessor.from_pretrained(arguments.model)
    method = get_method(model.config.model_type)
    collator = method.collator_class(processor, model, preferences_of(tables))
    axes = evaluate_axes(model, collator, tables, score_run, arguments.k, arguments.batch_size, arguments.num_beams)
    report = read_report(arguments.benchmark)
    left_out = report.get("left_out", {})
    print(format_table(axes, max(arguments.k)))
    for axis, reason in left_out.items():
        print(f"left out: {axis} ({reason})")
    results = {
        "method": method.name,
        "domain": arguments.domain,
        "split": arguments.split,
        "k": sorted(arguments.k),
        "num_beams": arguments.num_beams or model.generation_config.num_beams,
        "axes": axes,
        "left_out": left_out,
    }
    if arguments.output_dir is not None:
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        path = arguments.output_dir / "results.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
        star_plot(axes, max(arguments.k), f"{method.name} on {arguments.domain} ({arguments.split})",
                  arguments.output_dir / "axes.png")  # fmt: skip
    if arguments.card:
        print(f"card: {write_model_card(arguments.model, CARD_TEMPLATE, results, report, model.config.num_items)}")
    return results


if __name__ == "__main__":
    sys.exit(main())
