"""Training on a benchmark: data, model, validation, and the loop (sections 3.3 and 4.3)."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import set_seed
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import GenerationConfig, PreTrainedModel

from dataset_builders.benchmark.report import read_item_text_fields
from dataset_builders.benchmark.schema import ITEM_TEXT_FIELDS, item_text, item_title
from dataset_builders.benchmark.tables import load_table, require_table
from dataset_builders.building.text_embedding import load_embedder
from dataset_builders.ranking_metrics import score_run
from dataset_builders.replacing import TRAINED, check_replaceable

from .. import SemanticIds
from ..catalog_recipe import PROBED_ITEMS, CatalogRecipe
from ..data.collators import Collator
from ..data.mixtures import mixture_examples
from ..data.requests import Example, requests_of
from ..evaluation.ranking import rank
from ..hub.model_card import is_hub_name
from ..item_texts import plain_text
from ..manifest import ModelFiles
from ..methods.building import Catalogue
from ..methods.request_weights_fit import Asked
from ..methods.steer import SteerCollator, SteerFit
from ..methods.table import Method, get_method
from ..modeling_mender_base import MenderOnEmbeddings
from ..modeling_mender_steer import MenderSteer
from ..processing_mender import MenderProcessor
from ..processing_mender_steer import MenderSteerProcessor
from ..training.arguments import (
    CachedEncoderArguments,
    DecoderArguments,
    LearnedArguments,
    MenderTokArguments,
    PreferenceArguments,
    TrainingArguments,
)
from ..training.loop import TrainingRows, train
from ..training.lora import apply_finetuning
from ..training.output_folder import TrainingState, check_score, hold_output, save_model
from ..training.recipes import default_paths

logger = logging.getLogger(__name__)


def train_on_benchmark(arguments: TrainingArguments) -> TrainingState:
    """Trains a method on a benchmark, or fits it if it is non-parametric.

    Args:
        arguments ([`TrainingArguments`]): Training arguments.

    Returns:
        [`TrainingState`]: Final state; the best model is in `output_dir/model`.

    Raises:
        ValueError: If the arguments contradict the method, the benchmark or each other.
        FileNotFoundError: If the benchmark or the semantic IDs are missing.
        BlockingIOError: If another run holds the output folder.
        OSError: If the output folder cannot be written to.
        FloatingPointError: If the loss, the weights or the score are not finite.
        Interrupted: After SIGINT or SIGTERM; the same call continues.
    """
    method = get_method(arguments.method).with_inputs(arguments.inputs)
    check_tracker(arguments.report_to)
    accelerator = make_accelerator(arguments, method)
    if accelerator.is_main_process:
        for name, names in TRAINED.items():
            check_replaceable(Path(arguments.output_dir) / name, True, names)
    hold = hold_output(arguments.output_dir) if accelerator.is_main_process else contextlib.nullcontext()
    with hold:
        return _train(arguments, method, accelerator)


def _train(arguments: TrainingArguments, method: Method, accelerator: Accelerator) -> TrainingState:
    """Trains into an output folder that this run holds."""
    with accelerator.main_process_first():
        if arguments.domain == "sample":
            from .sample import prepare_sample  # the builder's libraries, which training itself does without

            prepare_sample(
                arguments.benchmark, ids_folder(arguments) if isinstance(arguments, DecoderArguments) else None
            )
    set_seed(arguments.seed)
    examples, catalogue = read_data(arguments, method)
    model, processor = build_model(arguments, method, catalogue, examples, accelerator.device)
    validation = Validation.read(arguments, method, processor)
    collator = make_collator(arguments, method, model, processor, examples, validation)

    def validate(candidate: PreTrainedModel) -> float:
        return validation.score(candidate, collator, arguments.per_device_eval_batch_size, accelerator)

    if not isinstance(arguments, LearnedArguments):
        state = TrainingState(best_score=check_score(validate(model), arguments))
        if accelerator.is_main_process:
            save_model(model, processor, state, arguments)
        return state
    if arguments.report_to != "none":
        accelerator.init_trackers("mender", config={key: str(value) for key, value in vars(arguments).items()})
    rows = TrainingRows(examples, collator.group(examples), dropout_of(arguments), arguments.seed)
    try:
        return train(model, processor, collator, rows, validate, arguments, accelerator)
    finally:
        accelerator.end_training()


def check_tracker(name: str) -> None:
    """Refuses a tracker that is not installed, which accelerate would silently ignore."""
    trackers = [str(tracker) for tracker in get_available_trackers()]
    if name not in ("none", *trackers):
        raise ValueError(
            f"report_to ({name}) must be none or an installed tracker ({', '.join(trackers) or 'there is none'}); "
            f"try pip install {name}."
        )


def make_accelerator(arguments: TrainingArguments, method: Method) -> Accelerator:
    """Makes the accelerator of the process, with the precision, accumulation and tracker of the arguments."""
    use_bf16 = has_fast_bf16(method) if arguments.bf16 is None else arguments.bf16
    return Accelerator(
        mixed_precision="bf16" if use_bf16 else "no",
        gradient_accumulation_steps=arguments.gradient_accumulation_steps
        if isinstance(arguments, LearnedArguments)
        else 1,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )


def has_fast_bf16(method: Method) -> bool:
    """Whether bfloat16 is fast: on a GPU that supports it, or on a CPU with AMX for a method made for CPUs."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return method.is_steered and bool(has_tiles())


def read_data(arguments: TrainingArguments, method: Method) -> tuple[list[Example], Catalogue]:
    """Reads the training examples and the catalog of the benchmark.

    Raises:
        ValueError: If there are fewer than two items, or the mixture lacks an axis.
        FileNotFoundError: If the items or the semantic IDs are missing.
    """
    examples = mixture_examples(
        arguments.mixture, lambda axis: load_table(arguments.benchmark, arguments.domain, axis), method.restrict
    )
    catalogue = read_catalogue(arguments)
    if len(catalogue.items) < 2:
        raise ValueError(
            f"{arguments.benchmark} has {len(catalogue.items)} item of {arguments.domain}; a recommender needs at "
            "least 2."
        )
    return examples, catalogue


def read_catalogue(arguments: TrainingArguments) -> Catalogue:
    """Reads the items of the benchmark, the texts to embed, and the semantic IDs if the method generates them.

    Texts that are embedded or searched for words have the fields that the build of the benchmark embedded.
    """
    rows = require_table(arguments.benchmark, arguments.domain, "items")
    embedded = read_item_text_fields(arguments.benchmark, arguments.domain)
    further = [name for name in embedded if name not in ITEM_TEXT_FIELDS]
    fields = history_fields(arguments, embedded)
    if unknown := [name for name in fields if name not in rows.column_names]:
        raise ValueError(
            f"item_fields names {', '.join(unknown)}, which the items of {arguments.benchmark} do not have; choose "
            f"among {', '.join(rows.column_names)}."
        )
    items, embedding_texts, plain_texts = [], [], []
    for row in rows:
        name = item_title(row)
        items.append({"title": name, "text": f"Title: {item_text({**row, 'title': name}, fields) or name}"})
        embedding_texts.append(item_text(row, embedded) or name)
        plain_texts.append(plain_text(row, further) or name)
    semantic_ids = read_semantic_ids(arguments) if isinstance(arguments, DecoderArguments) else None
    embedder = partial(load_embedder, dtype="float32")  # a model does not depend on the processor that trained it
    return Catalogue(items, embedding_texts, semantic_ids, plain_texts, embedder)


def ids_folder(arguments: DecoderArguments) -> str:
    """Folder of the semantic IDs, or repository: that of the arguments, or else of the domain."""
    return arguments.semantic_ids or default_paths(arguments.domain, arguments.method)["semantic_ids"]


def read_semantic_ids(arguments: DecoderArguments) -> SemanticIds:
    """Reads semantic IDs from the folder of the arguments, or from the repository of a published RQ-VAE."""
    folder = ids_folder(arguments)
    path = Path(folder) / "semantic_ids.parquet"
    if is_hub_name(folder):
        with contextlib.suppress(RepositoryNotFoundError, LocalEntryNotFoundError):
            path = Path(hf_hub_download(folder, path.name))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, and {arguments.method} generates semantic IDs; run mender learn-ids "
            f"--benchmark {arguments.benchmark} --domain {arguments.domain} --output_dir {path.parent}, and give "
            "--semantic_ids."
        )
    ModelFiles(path.parent).check((path.name,))
    return SemanticIds.from_parquet(path)


def build_model(
    arguments: TrainingArguments,
    method: Method,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device,
) -> tuple[PreTrainedModel, MenderProcessor]:
    """Builds the model on a device, with trainable parts and beams as the arguments say, and its processor."""
    model, processor = method.build(method, arguments, catalogue, examples, device)
    apply_finetuning(model, arguments)
    cast(torch.nn.Module, model).to(device)
    if isinstance(arguments, DecoderArguments):
        cast(MenderProcessor, processor).recipe = read_recipe(arguments, catalogue, model, processor)
        generation = cast(GenerationConfig, model.generation_config)
        generation.num_beams = min(arguments.num_beams, len(catalogue.items))
        if generation.num_beams < arguments.num_beams:
            logger.warning("%s beams (--num_beams %s), one for each item", generation.num_beams, arguments.num_beams)
    return model, processor


def read_recipe(
    arguments: DecoderArguments, catalogue: Catalogue, model: PreTrainedModel, processor: MenderProcessor
) -> CatalogRecipe | None:
    """Reads how a new item joins the catalog from the folder of the semantic IDs; `None` without a quantizer."""
    folder = ids_folder(arguments)
    recipe = CatalogRecipe.from_semantic_ids(folder)
    if recipe is None:
        return None
    embedded = read_item_text_fields(arguments.benchmark, arguments.domain)
    recipe.embedded_fields = tuple(embedded)
    recipe.history_fields = tuple(history_fields(arguments, embedded))
    if isinstance(model, MenderOnEmbeddings) and tuple(recipe.item_fields) == recipe.embedded_fields:
        # codes of a few items tell whether the model's own encoder is the one that they were learned on
        chosen = np.random.default_rng(0).permutation(len(catalogue.items))[:PROBED_ITEMS]
        texts = [catalogue.embedding_texts[row] for row in chosen]
        codes = catalogue.known_semantic_ids.codes[chosen, :-1]
        recipe.measure(model.embed_texts(texts, processor), codes)
    return recipe


def history_fields(arguments: TrainingArguments, embedded: Sequence[str]) -> Sequence[str]:
    """Fields of an item in a history that is a text."""
    further = [name for name in embedded if name not in ITEM_TEXT_FIELDS]
    if not isinstance(arguments, MenderTokArguments):
        return ["title"]
    return arguments.item_fields or ["title", *further]


@dataclass(frozen=True)
class Validation:
    """Validation during training: fits the weights of methods that have a fit, then ranks the validation requests.

    Attributes:
        kinds (`Sequence[Asked]`): Requests by kind; the recommendation axis alone for methods without a fit.
        k (`int`): Cutoff of NDCG, 10 or the number of items if that is smaller.
        fit ([`SteerFit`], *optional*): Fit of the weights, called before each ranking.
    """

    kinds: Sequence[Asked]
    k: int
    fit: SteerFit | None = None

    @classmethod
    def read(cls, arguments: TrainingArguments, method: Method, processor: MenderProcessor) -> "Validation":
        """Reads the validation rows of the benchmark."""
        k = min(10, processor.num_items)
        if method.fit is None:
            return cls([read_recommendation(arguments, method)], k)
        fit = method.fit(
            cast(MenderSteerProcessor, processor),
            lambda axis: load_table(arguments.benchmark, arguments.domain, axis, "validation"),
            method.restrict,
            arguments.seed,
            arguments.max_eval_rows,
        )
        return cls(fit.kinds, k, fit)

    def score(self, model: PreTrainedModel, collator: Collator, batch_size: int, accelerator: Accelerator) -> float:
        """Returns NDCG@k, averaged over the kinds with their weights."""
        if self.fit is not None:
            fitted = self.fit(cast(MenderSteer, model), cast(SteerCollator, collator))
            logger.info("weights fitted: %s", fitted)
        scores = {}
        for kind in self.kinds:
            found = rank(
                model, collator, kind.requests, self.k, batch_size, accelerator=accelerator, description="validation"
            )
            scores[kind.name] = score_run(found.items, kind.targets, k=[self.k])[f"ndcg@{self.k}"]
        logger.info("NDCG@%d by kind: %s", self.k, scores)
        return float(np.average(list(scores.values()), weights=[kind.weight for kind in self.kinds]))


def read_recommendation(arguments: TrainingArguments, method: Method) -> Asked:
    """Reads the requests of the recommendation axis on validation, by which the best model is chosen."""
    rows = require_table(arguments.benchmark, arguments.domain, "recommendation", "validation")
    if 0 < arguments.max_eval_rows < len(rows):
        chosen = np.random.default_rng(arguments.seed).choice(len(rows), arguments.max_eval_rows, replace=False)
        rows = rows.select(sorted(chosen))
    if len(rows) == 0:
        raise ValueError(
            f"{arguments.benchmark} has no validation rows in {arguments.domain}_recommendation, by which the best "
            "model is chosen; build it of users with more items."
        )
    requests = [method.restrict(request) for request in requests_of(rows)]
    return Asked("recommendation", requests, [[target] for target in rows["target"][:]])


def make_collator(
    arguments: TrainingArguments,
    method: Method,
    model: PreTrainedModel,
    processor: MenderProcessor,
    examples: Sequence[Example],
    validation: Validation,
) -> Collator:
    """Makes the collator of all requests of the training, prepared for them."""
    requests = [example.request for example in examples] + [one for kind in validation.kinds for one in kind.requests]
    texts = [text for request in requests for text in request.preferences]
    if isinstance(arguments, CachedEncoderArguments):
        collator = method.collator_class(
            processor, model, texts, cache_dir=arguments.cache_dir, cache_limit_gb=arguments.cache_limit_gb
        )
    else:
        collator = method.collator_class(processor, model, texts)
    if dropout_of(arguments):
        requests += [example.request._replace(preferences=()) for example in examples if example.request.history]
    collator.prepare(requests)
    return collator


def dropout_of(arguments: TrainingArguments) -> float:
    """Returns the share of preferences dropped in training; 0 for methods that do not learn from preferences."""
    return arguments.preference_dropout if isinstance(arguments, PreferenceArguments) else 0.0
