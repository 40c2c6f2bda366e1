"""Table of the paper's methods: classes, and form of the history and the preference.

Requests pass through [`Method.restrict`] in training and evaluation, so that a method never receives an input that
its row does not name. Its arguments are in `training/arguments.py`, which needs no torch.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..data.collators import Collator, EmbeddingCollator, TextCollator
from ..data.requests import Request
from ..modeling_baselines import MostPopular, TransitionGraph
from ..modeling_mender import MenderEmb, MenderTok
from ..modeling_mender_steer import MenderSteer
from ..modeling_sasrec import SASRec
from ..modeling_tiger import Tiger
from ..processing_item_ids import ItemIdProcessor
from ..processing_mender import MenderEmbProcessor, MenderProcessor, MenderTokProcessor
from ..processing_mender_steer import MenderSteerProcessor
from ..processing_tiger import TigerProcessor
from ..training.arguments import (
    ARGUMENTS,
    INPUTS,
    LearnedArguments,
    TrainingArguments,
    arguments_class,
)
from ..training.records import read_arguments
from .building import build_mender
from .item_ids import ItemIdCollator, build_most_popular, build_sasrec, build_transition_graph
from .steer import SteerCollator, SteerFit, build_mender_steer
from .tiger import TokenCollator, build_tiger, build_tiger_on_language_model


@dataclass(frozen=True)
class Method:
    """Row of the table of methods.

    Attributes:
        name (`str`): Name in the paper, in lower case.
        model_class (`type`): Class of the model.
        processor_class (`type`): Class of its processor.
        collator_class (`type`): Class of the collator of its batches.
        build (`Callable`): Function that builds a model and its processor; see `build_mender`.
        history (`str`): `semantic_ids`, `text`, `embeddings`, `item_ids`, `item_ids, similar texts`, or `none`.
        preference (`str`): `text`, `embedding`, or `none`.
        backbone (`str`): Which parts start pretrained, and which from scratch.
        reads_user (`bool`): Whether the model is conditioned on the user id.
        config (`Mapping`): Fields of the model's configuration that define the method.
        fit (`type`, *optional*): Fit of weights on validation rows before every validation.
    """

    name: str
    model_class: type[PreTrainedModel]
    processor_class: type[MenderProcessor]
    collator_class: type[Collator]
    build: Callable[..., tuple[PreTrainedModel, MenderProcessor]]
    history: str
    preference: str
    backbone: str
    reads_user: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    fit: type[SteerFit] | None = None

    @property
    def arguments(self) -> type[TrainingArguments]:
        """Class of its training arguments."""
        return ARGUMENTS[self.name]

    @property
    def is_trained(self) -> bool:
        """Whether it is trained by gradients."""
        return issubclass(self.arguments, LearnedArguments)

    @property
    def needs_semantic_ids(self) -> bool:
        """Whether it generates semantic IDs."""
        return self.model_class.can_generate()

    @property
    def is_pretrained(self) -> bool:
        """Whether a part of it, or the source of its inputs, is a pretrained language model."""
        if self.model_class in (MenderEmb, MenderTok, MenderSteer):
            return True
        return "pretrained" in self.backbone or "text" in self.history

    @property
    def is_steered(self) -> bool:
        """Whether its requests may have texts to avoid and strengths, and its scores have terms."""
        return self.model_class is MenderSteer

    def restrict(self, request: Request) -> Request:
        """Returns a request without the inputs that the method does not read."""
        return Request(
            request.history if self.history != "none" else (),
            request.preferences if self.preference != "none" else (),
            request.user if self.reads_user else "",
            request.strength if self.is_steered else 1.0,
        )

    def with_inputs(self, inputs: str) -> "Method":
        """Returns the method restricted to some inputs (figure 5).

        Args:
            inputs (`str`): `both`, `preference` or `history`.

        Raises:
            ValueError: If `inputs` is none of these, or names an input that the method does not read.
        """
        if inputs not in INPUTS:
            raise ValueError(f"inputs ({inputs!r}) must be one of {', '.join(INPUTS)}.")
        if inputs == "preference" and self.preference == "none":
            raise ValueError(f"{self.name} reads no preference; choose inputs history or both.")
        if inputs == "preference":
            return dataclasses.replace(self, history="none")
        return self if inputs == "both" else dataclasses.replace(self, preference="none")


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
    """Returns the row of a method.

    Raises:
        ValueError: If there is no such method.
    """
    arguments_class(name)
    return METHODS[name]


def load_method(folder: str | Path, model_type: str) -> Method:
    """Returns the method that a saved model was trained with, restricted to the inputs of its training.

    Args:
        folder (`str` or `Path`): Folder of the model; its training arguments name the method.
        model_type (`str`): Model type of the configuration; the method if there are no training arguments.
    """
    arguments = read_arguments(folder)
    return get_method(arguments.get("method", model_type)).with_inputs(arguments.get("inputs", "both"))
