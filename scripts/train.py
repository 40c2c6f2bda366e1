"""Trains a method of the paper on a benchmark.

    accelerate launch scripts/train.py                                             # Mender_Emb on the sample
    accelerate launch scripts/train.py scripts/recipes/mender_tok/beauty.yaml --seed 1

An interrupted run continues by the same command. Writes output_dir/model (the best so far, a Hugging Face folder) and
output_dir/checkpoints.
"""

import logging
import sys
from pathlib import Path

import build_benchmark
import learn_semantic_ids
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import set_seed

from dataset_builders.ranking_metrics import score_run
from dataset_builders.schema import item_text
from modeling_mender import SemanticIds
from modeling_mender.evaluation.ranking import rank
from modeling_mender.training.arguments import TrainingArguments, parse_arguments
from modeling_mender.training.benchmark_tables import load_table, requests_of
from modeling_mender.training.loop import TrainingRows, TrainingState, train
from modeling_mender.training.lora import add_lora
from modeling_mender.training.methods import build, get_method

DECODER_SIZES = ("d_model", "d_ff", "d_kv", "num_heads", "num_decoder_layers", "dropout_rate")
DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "mender_emb" / "sample.yaml"
# 354 items: 32 codes a level tell them apart and are few enough to be shared; an RQ-VAE of a few seconds.
SAMPLE_IDS = "--codebook_size 32 --hidden_sizes 128 64 --epochs 200 --batch_size 128".split()


def main(argv: list[str] | None = None) -> int:
    """Trains; returns 0, or 1 after one line on bad input."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        arguments = parse_arguments(argv, DEFAULT_RECIPE)
        state = run(arguments)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"best validation NDCG@10 {state.best_score:.4f} at step {state.best_step} of {state.step}")
    print(f"model: {Path(arguments.output_dir) / 'model'}")
    return 0


def prepare_sample(benchmark: str, semantic_ids: str, overwrite: bool = False) -> None:
    """Builds the sample benchmark and its semantic IDs where they are missing (or all anew)."""
    if overwrite or not Path(benchmark).is_dir():
        command = ["--source", "sample", "--domain", "sample", "--output_dir", benchmark, "--overwrite"]
        command += ["--polarity", "rating_vader"]  # the sample needs no Hub
        if build_benchmark.main(command):
            raise ValueError("the sample benchmark could not be built; see the line above.")
        overwrite = True
    if overwrite or not Path(semantic_ids).is_dir():
        command = ["--benchmark", benchmark, "--domain", "sample", "--output_dir", semantic_ids, "--overwrite"]
        if learn_semantic_ids.main([*command, *SAMPLE_IDS]):
            raise ValueError("the semantic IDs of the sample could not be learned; see the line above.")


def read_catalogue(arguments: TrainingArguments) -> tuple[SemanticIds, list[dict[str, str]], list[str]]:
    """Semantic IDs, items as the processor keeps them, and the texts that stand for items when embedded."""
    folder = Path(arguments.semantic_ids)
    if not (folder / "semantic_ids.parquet").is_file():
        raise FileNotFoundError(
            f"{folder} has no semantic_ids.parquet; run scripts/learn_semantic_ids.py --benchmark "
            f"{arguments.benchmark} --domain {arguments.domain} --output_dir {folder}."
        )
    rows = load_table(arguments.benchmark, arguments.domain, "items")
    if rows is None:
        raise FileNotFoundError(
            f"{arguments.benchmark} has no config {arguments.domain}_items; build the benchmark again."
        )
    items = []
    for row in rows:
        name = row["title"] or item_text(row) or row["source_id"]
        items.append({"title": name, "text": f"Title: {item_text(row, arguments.item_fields) or name}"})
    embedding_texts = [item_text(row) or item["title"] for row, item in zip(rows, items, strict=True)]
    return SemanticIds.from_parquet(folder / "semantic_ids.parquet"), items, embedding_texts


def run(arguments: TrainingArguments) -> TrainingState:
    """Everything between the arguments and the trained model."""
    method = get_method(arguments.method)
    trackers = [str(tracker) for tracker in get_available_trackers()]
    if arguments.report_to not in ("none", *trackers):  # accelerate itself would say nothing, and log nothing
        raise ValueError(
            f"report_to ({arguments.report_to}) must be none or an installed tracker "
            f"({', '.join(trackers) or 'there is none'}); "
            f"try pip install {arguments.report_to}."
        )
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    use_bf16 = has_bf16 if arguments.bf16 is None else arguments.bf16
    accelerator = Accelerator(
        mixed_precision="bf16" if use_bf16 else "no",
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_dir=arguments.output_dir,
    )
    with accelerator.main_process_first():
        if arguments.domain == "sample":
            prepare_sample(arguments.benchmark, arguments.semantic_ids)
    set_seed(arguments.seed)
    train_rows = load_table(arguments.benchmark, arguments.domain, "recommendation")
    validation_rows = load_table(arguments.benchmark, arguments.domain, "recommendation", "validation")
    if train_rows is None or validation_rows is None:
        raise ValueError(f"{arguments.benchmark} has no config {arguments.domain}_recommendation; build it anew.")
    if 0 < arguments.max_eval_rows < len(validation_rows):
        chosen = np.random.default_rng(arguments.seed).choice(
            len(validation_rows), arguments.max_eval_rows, replace=False
        )
        validation_rows = validation_rows.select(sorted(chosen))
    semantic_ids, items, embedding_texts = read_catalogue(arguments)
    model, processor = build(
        method, arguments.text_encoder, semantic_ids, items, embedding_texts, arguments.seed, accelerator.device,
        **{name: getattr(arguments, name) for name in DECODER_SIZES},
    )  # fmt: skip
    if arguments.lora_rank:
        add_lora(model, arguments.lora_rank, arguments.lora_alpha)
    model.generation_config.num_beams = min(arguments.num_beams, semantic_ids.num_items)
    requests, validation = requests_of(train_rows), requests_of(validation_rows)
    texts = [text for request in [*requests, *validation] for text in request.preferences]
    collator = method.collator_class(processor, model, texts)
    targets = list(validation_rows["target"][:])
    k = min(10, semantic_ids.num_items)

    def validate(candidate: torch.nn.Module) -> float:
        found = rank(
            candidate, collator, validation, k, arguments.per_device_eval_batch_size, accelerator=accelerator,
            description="validation",
        )  # fmt: skip
        return score_run(found.items, targets, k=[k])[f"ndcg@{k}"]

    if arguments.report_to != "none":
        accelerator.init_trackers("mender", config={key: str(value) for key, value in vars(arguments).items()})
    rows = TrainingRows(requests, list(train_rows["target"][:]), arguments.preference_dropout, arguments.seed)
    state = train(model, processor, collator, rows, validate, arguments, accelerator)
    accelerator.end_training()
    return state


if __name__ == "__main__":
    sys.exit(main())
