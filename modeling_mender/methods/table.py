"""The paper's methods as data: how each is given the history and the preference, and which classes do it.

A method is a name of the paper and a row here, not a class. What a row does not name, the method never sees: requests
pass through [`Method.restrict`], in training and evaluation alike. Knows no sizes: those are `arguments.py`'s and the
recipes'.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedModel, ProcessorMixin

from ..data.collators import Collator, EmbeddingCollator, TextCollator
from ..data.requests import Request
from ..modeling_baselines import MostPopular, TransitionGraph
from ..modeling_mender import MenderEmb, MenderTok
from ..modeling_mender_steer import MenderSteer
from ..modeling_sasrec import SASRec
from ..modeling_tiger import Tiger
from ..processing_item_ids import ItemIdProcessor
from ..processing_mender import MenderEmbProcessor, MenderTokProcessor
from ..processing_mender_steer import MenderSteerProcessor
from ..processing_tiger import TigerProcessor
from ..training.arguments import INPUTS
from .building import DECODER_SIZES, build_mender
from .item_ids import ItemIdCollator, build_most_popular, build_sasrec, build_transition_graph
from .steer import SteerCollator, SteerFit, build_mender_steer
from .tiger import TokenCollator, build_tiger, build_tiger_on_language_model

ARGUMENTS_FILE = "training_arguments.yaml"


@dataclass(frozen=True)
class Method:
    """One row of the table of methods.

    Attributes:
        name (`str`): The paper's name, in lower case.
        model_class (`type`): The model.
        processor_class (`type`): Its processor.
        collator_class (`type`): How its batches are made.
        build (`Callable`): Makes a new model and its processor; see `building.py`.
        history (`str`): `semantic_ids`, `text`, `embeddings`, `item_ids`, `item_ids, similar texts`, or `none`.
        preference (`str`): `text`, `embedding`, or `none`.
        backbone (`str`): What starts pretrained, and what does not.
        reads_user (`bool`): Whether it looks at who asks.
        is_trained (`bool`): Whether there is anything to train.
        config (`Mapping`): Fields of the model's configuration that make the method what it is.
        fit (`Callable`, *optional*): Prepares what is fitted on validation before every validation.
        own_options (`frozenset[str]`): Training arguments that it reads beside those that every method does.
    """

    name: str
    model_class: type[PreTrainedModel]
    processor_class: type[ProcessorMixin]
    collator_class: type[Collator]
    build: Callable[..., tuple[PreTrainedModel, ProcessorMixin]]
    history: str
    preference: str
    backbone: str
    reads_user: bool = False
    is_trained: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[..., Any] | None = None
    own_options: frozenset[str] = frozenset()

    @property
    def options(self) -> frozenset[str]:
        """Names of the training arguments that it reads."""
        asked = {"preference_dropout"} if self.is_trained and self.preference != "none" else set()
        return EVERY_METHOD | (TRAINED if self.is_trained else frozenset()) | self.own_options | asked

    @property
    def needs_semantic_ids(self) -> bool:
        """Whether it generates semantic IDs."""
        return self.model_class.can_generate()

    @property
    def is_pretrained(self) -> bool:
        """Whether a part of it starts from a language model, or its inputs come from one."""
        if self.model_class in (MenderEmb, MenderTok, MenderSteer):
            return True
        return "pretrained" in self.backbone or "text" in self.history

    @property
    def is_steered(self) -> bool:
        """Whether its processor reads what to avoid and how strongly, and its scores have terms."""
        return self.model_class is MenderSteer

    def restrict(self, request: Request) -> Request:
        """The request without what this method may not see."""
        return Request(
            request.history if self.history != "none" else (),
            request.preferences if self.preference != "none" else (),
            request.user if self.reads_user else "",
        )

    def with_inputs(self, inputs: str) -> "Method":
        """The method of an ablation (figure 5): `both`, `preference` or `history`.

        Raises:
            ValueError: If `inputs` is none of these, or asks for what the method does not read.
        """
        if inputs not in INPUTS:
            raise ValueError(f"inputs ({inputs!r}) must be one of {', '.join(INPUTS)}.")
        if inputs == "preference" and self.preference == "none":
            raise ValueError(f"{self.name} reads no preference; choose inputs history or both.")
        changes = {"preference": {"history": "none"}, "history": {"preference": "none"}, "both": {}}
        return dataclasses.replace(self, **changes[inputs])


EVERY_METHOD = frozenset(
    "benchmark domain output_dir semantic_ids method mixture inputs seed per_device_eval_batch_size max_eval_rows "
    "resume bf16 report_to".split()
)
TRAINED = frozenset(
    "learning_rate weight_decay max_grad_norm max_steps lr_scheduler_type warmup_steps per_device_train_batch_size "
    "gradient_accumulation_steps eval_steps early_stopping_patience save_steps save_total_limit logging_steps "
    "gradient_checkpointing torch_compile".split()
)
SIZES = frozenset({*DECODER_SIZES, "code_embedding_std"})
CODES = frozenset({"num_beams", "label_smoothing", "negative_loss", "negative_weight"})
EMBEDDED = frozenset({"text_encoder", "cache_dir", "cache_limit_gb"})
TUNED = frozenset(
    "text_encoder finetune_text_encoder lora_rank lora_alpha lora_dropout lora_target_modules save_adapter".split()
)
SASREC = frozenset({"d_model", "d_ff", "num_heads", "num_decoder_layers", "dropout_rate"})

METHODS = {
    method.name: method
    for method in (
        Method(
            "tiger", Tiger, TigerProcessor, TokenCollator, build_tiger, "semantic_ids", "none",
            "encoder and decoder from scratch",
            own_options=CODES | SIZES | {"num_encoder_layers", "causal_history"},
        ),
        Method(
            "tiger_user_emb", Tiger, TigerProcessor, TokenCollator, build_tiger, "semantic_ids", "none",
            "encoder and decoder from scratch, users hashed into tokens", reads_user=True,
            config={"num_user_tokens": 2000},
            own_options=CODES | SIZES | {"num_encoder_layers", "causal_history"},
        ),
        Method(
            "vocabext_rnd", Tiger, TigerProcessor, TokenCollator, build_tiger, "semantic_ids", "text",
            "encoder and decoder from scratch, words in the vocabulary",
            own_options=CODES | SIZES | {"num_encoder_layers", "causal_history", "text_encoder"},
        ),
        Method(
            "lc_rec", Tiger, TigerProcessor, TokenCollator, build_tiger_on_language_model, "semantic_ids", "text",
            "pretrained language model + LoRA, codes in the vocabulary", config={"pretrained_decoder": True},
            own_options=CODES | SIZES | TUNED,
        ),
        Method(
            "vocabext_lm", Tiger, TigerProcessor, TokenCollator, build_tiger_on_language_model, "text", "text",
            "pretrained encoder and decoder + LoRA", config={"pretrained_decoder": True},
            own_options=CODES | SIZES | TUNED,
        ),
        Method(
            "liger", Tiger, TigerProcessor, TokenCollator, build_tiger_on_language_model, "text", "none",
            "pretrained text encoder, decoder from scratch",
            own_options=CODES | SIZES | TUNED,
        ),
        Method(
            "mender_emb", MenderEmb, MenderEmbProcessor, EmbeddingCollator, build_mender, "embeddings", "embedding",
            "precomputed embeddings of a frozen text encoder, decoder from scratch",
            own_options=CODES | SIZES | EMBEDDED | {"num_encoder_layers", "code_embeddings"},
        ),
        Method(
            "mender_tok", MenderTok, MenderTokProcessor, TextCollator, build_mender, "text", "text",
            "pretrained text encoder (frozen or LoRA), decoder from scratch",
            own_options=CODES | SIZES | EMBEDDED | TUNED | {"item_fields"},
        ),
        Method(
            "mender_steer", MenderSteer, MenderSteerProcessor, SteerCollator, build_mender_steer,
            "item_ids and embeddings", "text",
            "item head from scratch over embeddings of a frozen text encoder; item-transition graph, counted",
            fit=SteerFit,
            own_options=frozenset(DECODER_SIZES) | EMBEDDED | {"num_encoder_layers", "use_decoder", "num_beams"},
        ),
        Method(
            "sasrec", SASRec, ItemIdProcessor, ItemIdCollator, build_sasrec, "item_ids", "none",
            "from scratch, full cross-entropy",
            own_options=SASREC,
        ),
        Method(
            "sasrec_bce", SASRec, ItemIdProcessor, ItemIdCollator, build_sasrec, "item_ids", "none",
            "from scratch, the binary cross-entropy of its paper", config={"loss": "bce"},
            own_options=SASREC,
        ),
        Method(
            "most_popular", MostPopular, ItemIdProcessor, ItemIdCollator, build_most_popular, "item_ids", "none",
            "counted", is_trained=False,
        ),
        Method(
            "transition_graph", TransitionGraph, ItemIdProcessor, ItemIdCollator, build_transition_graph, "item_ids",
            "none", "counted", is_trained=False,
        ),
        Method(
            "transition_graph_text", TransitionGraph, ItemIdProcessor, ItemIdCollator, build_transition_graph,
            "item_ids, similar texts", "none", "counted; item texts by a pretrained encoder", is_trained=False,
            config={"num_text_neighbours": 20, "text_weight": 0.25},
            own_options=EMBEDDED,
        ),
    )
}  # fmt: skip


def get_method(name: str) -> Method:
    """The row of a method.

    Raises:
        ValueError: If there is no such method.
    """
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}.")
    return METHODS[name]


def check_options(arguments: Any) -> None:
    """Refuses what the method does not read, where it is not left at its default.

    Args:
        arguments ([`TrainingArguments`]): Of a run.

    Raises:
        ValueError: Names the option, and the methods that read it.
    """
    method = get_method(arguments.method)
    for option in dataclasses.fields(arguments):
        has_factory = option.default_factory is not dataclasses.MISSING
        default = option.default_factory() if has_factory else option.default
        value = getattr(arguments, option.name)
        if value != default and option.name not in method.options:
            others = ", ".join(other.name for other in METHODS.values() if option.name in other.options)
            raise ValueError(
                f"{option.name} ({value}) is nothing that {method.name} reads; leave it out, or choose a method that "
                f"does: {others}."
            )


def load_method(folder: str | Path, model_type: str) -> Method:
    """The method that a saved model was trained as, its ablation included.

    Args:
        folder (`str` or `Path`): Of the model; its training arguments name the method.
        model_type (`str`): Of the model's configuration; names the method where there are no arguments.
    """
    path = Path(folder) / ARGUMENTS_FILE
    arguments = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return get_method(arguments.get("method", model_type)).with_inputs(arguments.get("inputs", "both"))
