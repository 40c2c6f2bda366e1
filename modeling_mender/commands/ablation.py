"""Ablation of the terms of Mender_Steer's score, each with the other weights fitted anew."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from dataset_builders.benchmark.tables import load_table
from dataset_builders.ranking_metrics import score_run

from ..data.requests import requests_of
from ..evaluation.ranking import rank
from ..hub.loading import load_recommender
from ..methods.request_weights_fit import fit_request_weights
from ..methods.steer import SteerCollator, SteerFit

if TYPE_CHECKING:
    from .ablate import AblationArguments

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


def ablate(arguments: "AblationArguments") -> None:
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


def read_requests(arguments: "AblationArguments") -> dict:
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
