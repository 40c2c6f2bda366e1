"""Ablation of the terms of Mender_Steer's score, with the remaining weights fitted again each time."""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from dataset_builders.benchmark.tables import load_table
from dataset_builders.ranking_metrics import score_run

from ..data.requests import Request, requests_of
from ..evaluation.ranking import rank
from ..hub.loading import load_recommender
from ..methods.request_weights_fit import fit_request_weights
from ..methods.steer import SteerCollator, SteerFit
from ..modeling_mender_steer import MenderSteer
from ..processing_mender_steer import MenderSteerProcessor

if TYPE_CHECKING:
    from .ablate import AblationArguments

# Name of an ablation -> components of the score that it leaves out
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
    """Prints the table of ablations.

    Raises:
        ValueError: If the model is no mender_steer, or the benchmark lacks the domain.
    """
    loaded, loaded_processor = load_recommender(arguments.model)
    if loaded.config.model_type != "mender_steer":
        raise ValueError(
            f"{arguments.model} is a {loaded.config.model_type} model, whose scores have no terms; give a "
            "mender_steer model."
        )
    model, processor = cast(MenderSteer, loaded), cast(MenderSteerProcessor, loaded_processor)
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


def read_requests(arguments: "AblationArguments") -> dict[str, tuple[list[Request], list[int]]]:
    """Reads the requests and targets of every column of the table that the benchmark has rows for."""
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
            f"{arguments.benchmark} has no axis of {arguments.domain}; build it again, or give another domain."
        )
    return asked
