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

from ..modeling_mender import MenderEmb, MenderTok
from ..processing_mender import MenderEmbProcessor, MenderTokProcessor
from .building import build_mender
from .collators import Collator, EmbeddingCollator, Request, TextCollator

ARGUMENTS_FILE = "training_arguments.yaml"
INPUTS = ("both", "preference", "history")


@dataclass(frozen=True)
class Method:
    """One row of the table of methods.

    Attributes:
        name (`str`): The paper's name, in lower case.
        model_class (`type`): The model.
        processor_class (`type`): Its processor.
        collator_class (`type`): How its batches are made.
        build (`Callable`): Makes a new model and its processor; see `building.py`.
        history (`str`): `semantic_ids`, `text`, `embeddings`, `item_ids`, or `none`.
        preference (`str`): `text`, `embedding`, or `none`.
        backbone (`str`): What starts pretrained, and what does not.
        reads_user (`bool`): Whether it looks at who asks.
        is_trained (`bool`): Whether there is anything to train.
        config (`Mapping`): Fields of the model's configuration that make the method what it is.
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

    @property
    def needs_semantic_ids(self) -> bool:
        """Whether it generates semantic IDs."""
        return self.history != "item_ids" and self.is_trained

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
            "mender_tok", MenderTok, MenderTokProcessor, TextCollator, build_mender, "text", "text",
            "pretrained text encoder (frozen or LoRA), decoder from scratch",
        ),
        Method(
            "mender_emb", MenderEmb, MenderEmbProcessor, EmbeddingCollator, build_mender, "embeddings", "embedding",
            "precomputed embeddings of a frozen text encoder, decoder from scratch",
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


def load_method(folder: str | Path, model_type: str) -> Method:
    """The method that a saved model was trained as, its ablation included.

    Args:
        folder (`str` or `Path`): Of the model; its training arguments name the method.
        model_type (`str`): Of the model's configuration; names the method where there are no arguments.
    """
    path = Path(folder) / ARGUMENTS_FILE
    arguments = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return get_method(arguments.get("method", model_type)).with_inputs(arguments.get("inputs", "both"))
