"""Training on a benchmark: catalogue, examples, model, validation, and the loop (sections 3.3 and 4.3)."""

import contextlib
import logging
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import set_seed
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from dataset_builders.benchmark.schema import item_text
from dataset_builders.benchmark.tables import load_table
from dataset_builders.building.text_embedding import load_embedder
from dataset_builders.ranking_metrics import score_run

from .. import SemanticIds
from ..data.mixtures import mixture_examples
from ..data.requests import requests_of
from ..evaluation.ranking import rank
from ..hub.model_card import is_hub_name
from ..methods.building import Catalogue
from ..methods.request_weights_fit import Asked
from ..methods.table import Method, get_method
from ..training.arguments import (
    CachedEncoderArguments,
    DecoderArguments,
    LearnedArguments,
    MenderTokArguments,
    PreferenceArguments,
    TrainingArguments,
)
from ..training.checkpoints import TrainingState, save_model
from ..training.loop import TrainingRows, train
from ..training.lora import apply_finetuning
from ..training.recipes import default_paths
from .sample import prepare_sample

logger = logging.getLogger(__name__)


def read_catalogue(arguments: TrainingArguments) -> Catalogue:
    """Items as the processor keeps them, the texts that stand for them when embedded, and their semantic IDs."""
    rows = load_table(arguments.benchmark, arguments.domain, "items")
    if rows is None:
        raise FileNotFoundError(
            f"{arguments.benchmark} has no config {arguments.domain}_items; build the benchmark again."
        )
    fields = arguments.item_fields if isinstance(arguments, MenderTokArguments) else ["title"]
    items = []
    for row in rows:
        name = row["title"] or item_text(row) or row["source_id"]
        items.append({"title": name, "text": f"Title: {item_text(row, fields) or name}"})
    embedding_texts = [item_text(row) or item["title"] for row, item in zip(rows, items, strict=True)]
    plain_texts = [
        ", ".join(part for part in (row["title"], row["brand"], *(row["categories"] or ())) if part) or item["title"]
        for row, item in zip(rows, items, strict=True)
    ]
    semantic_ids = read_semantic_ids(arguments) if isinstance(arguments, DecoderArguments) else None
    return Catalogue(items, embedding_texts, semantic_ids, plain_texts, load_embedder)


def read_semantic_ids(arguments: DecoderArguments) -> SemanticIds:
    """The semantic IDs that the arguments name: a folder, or the repository of a published RQ-VAE."""
    folder = arguments.semantic_ids or default_paths(arguments.domain, arguments.method)["semantic_ids"]
    path = Path(folder) / "semantic_ids.parquet"
    if is_hub_name(folder):  # an RQ-VAE's, perhaps
        with contextlib.suppress(RepositoryNotFoundError, LocalEntryNotFoundError):
            path = Path(hf_hub_download(folder, path.name))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, and {arguments.method} generates semantic IDs; run mender learn-ids "
            f"--benchmark {arguments.benchmark} --domain {arguments.domain} --output_dir {path.parent}, and give "
            "--semantic_ids."
        )
    return SemanticIds.from_parquet(path)


def check_tracker(name: str) -> None:
    """Refuses a tracker that is not installed: accelerate itself would say nothing, and log nothing."""
    trackers = [str(tracker) for tracker in get_available_trackers()]
    if name not in ("none", *trackers):
        raise ValueError(
            f"report_to ({name}) must be none or an installed tracker ({', '.join(trackers) or 'there is none'}); "
            f"try pip install {name}."
        )


def read_validation(arguments: TrainingArguments, method: Method) -> Asked:
    """The rows that choose the best model: recommendation on validation, for methods that fit nothing on them."""
    rows = load_table(arguments.benchmark, arguments.domain, "recommendation", "validation")
    if rows is None:
        raise ValueError(f"{arguments.benchmark} has no config {arguments.domain}_recommendation; build it anew.")
    if 0 < arguments.max_eval_rows < len(rows):
        chosen = np.random.default_rng(arguments.seed).choice(len(rows), arguments.max_eval_rows, replace=False)
        rows = rows.select(sorted(chosen))
    requests = [method.restrict(request) for request in requests_of(rows)]
    return Asked("recommendation", requests, [[target] for target in rows["target"][:]])


def has_fast_bf16(method: Method) -> bool:
    """Whether bfloat16 is worth it: on a GPU that has it; on a CPU with tiles (AMX), for a method made for CPUs."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return method.is_steered and bool(has_tiles())


def train_on_benchmark(arguments: TrainingArguments) -> TrainingState:
    """Trains a method on a benchmark, or fits it where there is nothing to train.

    Args:
        arguments ([`TrainingArguments`]): What to train, on what, and where it goes.

    Returns:
        [`TrainingState`]: Of the best model, which lies in `output_dir/model`.

    Raises:
        ValueError: If the arguments contradict the method, the benchmark or each other.
        FileNotFoundError: If the benchmark or the semantic IDs are missing.
        Interrupted: After SIGINT or SIGTERM; the same call continues.
    """
    method = get_method(arguments.method).with_inputs(arguments.inputs)
    check_tracker(arguments.report_to)
    is_trained = isinstance(arguments, LearnedArguments)
    use_bf16 = has_fast_bf16(method) if arguments.bf16 is None else arguments.bf16
    accelerator = Accelerator(
        mixed_precision="bf16" if use_bf16 else "no",
        gradient_accumulation_steps=arguments.gradient_accumulation_steps if is_trained else 1,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )
    with accelerator.main_process_first():
        if arguments.domain == "sample":
            has_codes = isinstance(arguments, DecoderArguments)
            prepare_sample(arguments.benchmark, arguments.semantic_ids if has_codes else None)
    set_seed(arguments.seed)
    examples = mixture_examples(
        arguments.mixture, lambda axis: load_table(arguments.benchmark, arguments.domain, axis), method.restrict
    )
    catalogue = read_catalogue(arguments)
    num_items = len(catalogue.items)
    if num_items < 2:
        raise ValueError(f"{arguments.benchmark} has {num_items} item; there is nothing to choose from.")
    model, processor = method.build(method, arguments, catalogue, examples, accelerator.device)
    apply_finetuning(model, arguments)
    model.to(accelerator.device)
    if isinstance(arguments, DecoderArguments):
        model.generation_config.num_beams = min(arguments.num_beams, num_items)
    fit = method.fit and method.fit(
        processor,
        lambda axis: load_table(arguments.benchmark, arguments.domain, axis, "validation"),
        method.restrict,
        arguments.seed,
        arguments.max_eval_rows,
    )
    validation = fit.kinds if fit else [read_validation(arguments, method)]
    requests = [example.request for example in examples] + [one for kind in validation for one in kind.requests]
    texts = [text for request in requests for text in request.preferences]
    cache = {}
    if isinstance(arguments, CachedEncoderArguments):
        cache = {"cache_dir": arguments.cache_dir, "cache_limit_gb": arguments.cache_limit_gb}
    collator = method.collator_class(processor, model, texts, **cache)
    preference_dropout = arguments.preference_dropout if isinstance(arguments, PreferenceArguments) else 0.0
    if preference_dropout:
        requests += [example.request._replace(preferences=()) for example in examples if example.request.history]
    collator.prepare(requests)
    k = min(10, num_items)

    def validate(candidate: torch.nn.Module) -> float:
        if fit:
            logger.info("weights fitted: %s", fit(candidate, collator))
        scores = {}
        for kind in validation:
            found = rank(
                candidate, collator, kind.requests, k, arguments.per_device_eval_batch_size, accelerator=accelerator,
                description="validation",
            )  # fmt: skip
            scores[kind.name] = score_run(found.items, kind.targets, k=[k])[f"ndcg@{k}"]
        logger.info("NDCG@%d by kind: %s", k, scores)
        return float(np.average(list(scores.values()), weights=[kind.weight for kind in validation]))

    if not isinstance(arguments, LearnedArguments):
        state = TrainingState(best_score=validate(model))
        if accelerator.is_main_process:
            save_model(model, processor, state, arguments)
        return state
    if arguments.report_to != "none":
        accelerator.init_trackers("mender", config={key: str(value) for key, value in vars(arguments).items()})
    rows = TrainingRows(examples, collator.group(examples), preference_dropout, arguments.seed)
    try:
        return train(model, processor, collator, rows, validate, arguments, accelerator)
    finally:
        accelerator.end_training()
