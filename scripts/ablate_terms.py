"""Leaves each term of Mender_Steer's score out in turn, fits the others again on validation, and scores what is left.

    python scripts/ablate_terms.py outputs/quickstart/model --benchmark outputs/quickstart/benchmark --domain sample

Prints recall@10 and NDCG@10 on the test split, with the preference and without, as a Markdown table. The model on disk
stays as it is.
"""

import argparse
import sys

import numpy as np
import torch
from command_line import run_command
from transformers.utils import logging as transformers_logging

from dataset_builders.benchmark_tables import load_table
from dataset_builders.ranking_metrics import score_run
from modeling_mender.evaluation.ranking import rank
from modeling_mender.hub.loading import load_recommender
from modeling_mender.training.benchmark_tables import requests_of
from modeling_mender.training.request_weights_fit import fit_request_weights
from modeling_mender.training.steer_method import SteerCollator, SteerFit

# What is left out -> components of the score
ABLATIONS = {
    "nothing": (),
    "item head": ("history", "head"),
    "graph": ("graph",),
    "item head of preferences": ("head",),
    "words": ("words", "all_words"),
    "cosine of texts": ("cosine",),
    "words and cosine": ("words", "all_words", "cosine"),
    "everything but the graph": ("history", "head", "words", "all_words", "cosine"),
    "everything but words and cosine": ("history", "graph", "head"),
}
ASKED = (
    ("no preference", "recommendation", None),
    ("one preference", "recommendation", "preference"),
    ("five preferences", "history", "preferences"),
    ("fine", "fine", "preference"),
    ("coarse", "coarse", "preference"),
)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a trained mender_steer model, or its name on the Hub")
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or a dataset on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--max_rows", type=int, default=0, help="rows of each axis, drawn by a seed; 0 means all")
    parser.add_argument("--cache_dir", help="folder where what frozen encoders compute is kept and reused")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Prints the table; returns 0, or 1 after one line on bad input."""
    transformers_logging.set_verbosity_error()
    return run_command(lambda: run(parse_arguments(argv)))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the table."""
    model, processor = load_recommender(arguments.model)
    if model.config.model_type != "mender_steer":
        raise ValueError(
            f"{arguments.model} is a {model.config.model_type}, whose score has no terms; give a mender_steer model."
        )
    asked = read_requests(arguments)
    fit = SteerFit(
        processor,
        lambda axis: load_table(arguments.benchmark, arguments.domain, axis, "validation"),
        lambda request: request,
        max_rows=600,
    )
    read = [requests for requests, _ in asked.values()] + [kind.requests for kind in fit.kinds]
    texts = [text for requests in read for request in requests for text in request.preferences]
    collator = SteerCollator(processor, model, texts, cache_dir=arguments.cache_dir)
    print(f"| left out | {' | '.join(asked)} |\n|---|{'---:|' * len(asked)}", flush=True)
    for name, components in ABLATIONS.items():
        fit_request_weights(model, collator, fit.kinds, without=components)
        cells = []
        for requests, targets in asked.values():
            with torch.no_grad():
                found = rank(model, collator, requests, min(10, model.config.num_items))
            scores = score_run(found.items, targets, k=[10])
            cells.append(f"{scores['recall@10']:.4f} / {scores['ndcg@10']:.4f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def read_requests(arguments: argparse.Namespace) -> dict:
    """Requests and targets of each way of asking that the benchmark has rows for."""
    asked = {}
    for name, axis, column in ASKED:
        rows = load_table(arguments.benchmark, arguments.domain, axis, arguments.split)
        if rows is None or len(rows) == 0:
            continue
        if 0 < arguments.max_rows < len(rows):
            rows = rows.select(sorted(np.random.default_rng(0).choice(len(rows), arguments.max_rows, replace=False)))
        asked[name] = (requests_of(rows, column), list(rows["target"][:]))
    if not asked:
        raise ValueError(
            f"{arguments.benchmark} has no axis of {arguments.domain}; rebuild it, or name another domain."
        )
    return asked


if __name__ == "__main__":
    sys.exit(main())
