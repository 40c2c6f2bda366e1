"""The paper's methods as data: how each is given the history and the preference, and which classes do it.

A method is a name of the paper and a row here, not a class. What a row does not name, the method never sees: requests
pass through [`Method.restrict`], in training and evaluation alike. Which arguments a method reads stands in
`training/arguments.py`, which needs no torch.
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
from ..training.arguments import (
    ARGUMENTS,
    ARGUMENTS_FILE,
    INPUTS,
    LearnedArguments,
    TrainingArguments,
    arguments_class,
)
from .building import build_mender
from .item_ids import ItemIdCollator, build_most_popular, build_sasrec, build_transition_graph
from .steer import SteerCollator, SteerFit, build_mender_steer
from .tiger import TokenCollator, build_tiger, build_tiger_on_language_model


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
        config (`Mapping`): Fields of the model's configuration that make the method what it is.
        fit (`type`, *optional*): Prepares what is fitted on validation before every validation.
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
    config: Mapping[str, Any] = field(default_factory=dict)
    fit: type[SteerFit] | None = None

    @property
    def arguments(self) -> type[TrainingArguments]:
        """The training arguments that it reads."""
        return ARGUMENTS[self.name]

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return issubclass(self.arguments, LearnedArguments)

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


METHODS = {
    method.name: method
    for method in (
        Method(
            "tiger", Tiger, TigerProcessor, TokenCollator, build_tiger, "semantic_ids", "none",
            "encoder and decoder from scratch",
        ),
        Method(
            "tiger_user_emb", Tiger, TigerProcessor, TokenCollator, build_tiger, "semantic_ids", "none",
            "encoder and decoder from scratch, users hashed into tokens", reads_user=True,
            config={"num_user_tokens": 2000},
        ),
        Method(
            "vocabext_rnd", Tiger, TigerProcessor, TokenCollator, build_tiger, "semantic_ids", "text",
            "encoder and decoder from scratch, words in the vocabulary",
        ),
        Method(
            "lc_rec", Tiger, TigerProcessor, TokenCollator, build_tiger_on_language_model, "semantic_ids", "text",
            "pretrained language model + LoRA, codes in the vocabulary", config={"pretrained_decoder": True},
        ),
        Method(
            "vocabext_lm", Tiger, TigerProcessor, TokenCollator, build_tiger_on_language_model, "text", "text",
            "pretrained encoder and decoder + LoRA", config={"pretrained_decoder": True},
        ),
        Method(
            "liger", Tiger, TigerProcessor, TokenCollator, build_tiger_on_language_model, "text", "none",
            "pretrained text encoder, decoder from scratch",
        ),
        Method(
            "mender_emb", MenderEmb, MenderEmbProcessor, EmbeddingCollator, build_mender, "embeddings", "embedding",
            "precomputed embeddings of a frozen text encoder, decoder from scratch",
        ),
        Method(
            "mender_tok", MenderTok, MenderTokProcessor, TextCollator, build_mender, "text", "text",
            "pretrained text encoder (frozen or LoRA), decoder from scratch",
        ),
        Method(
            "mender_steer", MenderSteer, MenderSteerProcessor, SteerCollator, build_mender_steer,
            "item_ids and embeddings", "text",
            "item head from scratch over embeddings of a frozen text encoder; item-transition graph, counted",
            fit=SteerFit,
        ),
        Method(
            "sasrec", SASRec, ItemIdProcessor, ItemIdCollator, build_sasrec, "item_ids", "none",
            "from scratch, full cross-entropy",
        ),
        Method(
            "sasrec_bce", SASRec, ItemIdProcessor, ItemIdCollator, build_sasrec, "item_ids", "none",
            "from scratch, the binary cross-entropy of its paper", config={"loss": "bce"},
        ),
        Method(
            "most_popular", MostPopular, ItemIdProcessor, ItemIdCollator, build_most_popular, "item_ids", "none",
            "counted",
        ),
        Method(
            "transition_graph", TransitionGraph, ItemIdProcessor, ItemIdCollator, build_transition_graph, "item_ids",
            "none", "counted",
        ),
        Method(
            "transition_graph_text", TransitionGraph, ItemIdProcessor, ItemIdCollator, build_transition_graph,
            "item_ids, similar texts", "none", "counted; item texts by a pretrained encoder",
            config={"num_text_neighbours": 20, "text_weight": 0.25},
        ),
    )
}  # fmt: skip


def get_method(name: str) -> Method:
    """The row of a method.

    Raises:
        ValueError: If there is no such method.
    """
    arguments_class(name)
    return METHODS[name]


def load_method(folder: str | Path, model_type: str) -> Method:
    """The method that a saved model was trained as, its ablation included.

    Args:
        folder (`str` or `Path`): Of the model; its training arguments name the method.
        model_type (`str`): Of the model's configuration; names the method where there are no arguments.
    """
    path = Path(folder) / ARGUMENTS_FILE
    arguments = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return get_method(arguments.get("method", model_type)).with_inputs(arguments.get("inputs", "both"))
