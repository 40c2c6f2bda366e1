"""Modules that `torch.onnx.export` traces, with names for their tensors: texts, and item scores of Mender_Steer."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ..modeling_mender_base import MenderOnEmbeddings
from ..modeling_steer_scores import TEXT_COMPONENTS, SteerScores
from ..request_weights import COMPONENTS, REQUEST_COMPONENTS, wanted_shares
from ..steer_terms import avoided_match

# Tensors by name: `dtype`, `shape`, a list of numbers and of names of sizes that vary, and `meaning`.
Tensors = dict[str, dict[str, Any]]
EXAMPLE_SIZES = {
    "batch_size": 2, "num_texts": 3, "num_words": 4, "history_length": 5, "sequence_length": 8, "num_beams": 7,
    "num_rows": 6, "level": 2,
}  # fmt: skip
"""Sizes for tracing: all differ, and none is 1, which would be taken for fixed."""
DTYPES = {"int64": torch.long, "float32": torch.float32}


def tensor(dtype: str, shape: Sequence[int | str], meaning: str) -> dict[str, Any]:
    """Describes a tensor; see `Tensors`."""
    return {"dtype": dtype, "shape": list(shape), "meaning": meaning}


class Graph(nn.Module):
    """Base of the graphs: subclasses implement `compute`, which takes the inputs by name.

    Args:
        model (`nn.Module`): The model; its weights are shared.
        inputs, outputs (`Tensors`): Inputs and outputs in their order.

    Attributes:
        note (`str`): What else a caller must know; may be empty.
        is_strict (`bool`): Whether it is traced from its bytecode, by which sizes given by `len` are symbols.
    """

    note: ClassVar[str] = ""
    is_strict: ClassVar[bool] = False

    def __init__(self, model: nn.Module, inputs: Tensors, outputs: Tensors) -> None:
        super().__init__()
        self.model: Any = model
        self.inputs, self.outputs = inputs, outputs

    def compute(self, **inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Outputs in their order; implemented by each subclass."""
        raise NotImplementedError

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """[`compute`] with the inputs in their order."""
        return self.compute(**dict(zip(self.inputs, tensors, strict=True)))

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs for tracing, full of 1, of [`EXAMPLE_SIZES`]."""
        return tuple(
            torch.ones([EXAMPLE_SIZES.get(size, size) for size in one["shape"]], dtype=DTYPES[one["dtype"]])
            for one in self.inputs.values()
        )

    def describe(self) -> dict[str, Any]:
        """Inputs, outputs and the note, for the settings of an export."""
        return {"inputs": self.inputs, "outputs": self.outputs, **({"note": self.note} if self.note else {})}


class TextEncoderGraph(Graph):
    """Tokens of texts to embeddings of norm 1.

    Args:
        model ([`MenderOnEmbeddings`]): The model; its weights are shared.
    """

    def __init__(self, model: MenderOnEmbeddings) -> None:
        inputs = {
            "input_ids": tensor("int64", ["num_texts", "sequence_length"], "tokens, with special ones"),
            "attention_mask": tensor("int64", ["num_texts", "sequence_length"], "1, and 0 where padded"),
        }
        size = cast(int, model.config.embedding_size)
        super().__init__(model, inputs, {"embeddings": tensor("float32", ["num_texts", size], "embeddings of norm 1")})

    def compute(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Computes embeddings `(num_texts, embedding_size)`; see [`MenderOnEmbeddings.embed_text`]."""
        return self.model.embed_text(**inputs)


class ItemScoresGraph(Graph):
    """Histories and embedded texts to the log-probabilities of all items, and the terms that they are made of.

    Args:
        model ([`SteerScores`]): The model; its weights are shared.
    """

    note = "every dimension is at least 1: a request without texts has one of strength 0"
    is_strict = True

    def __init__(self, model: SteerScores) -> None:
        size, items = cast(int, model.config.embedding_size), cast(int, model.config.num_items)
        texts = ["batch_size", "num_texts"]
        inputs = {
            "history": tensor(
                "int64", ["batch_size", "history_length"], "item ids from 1, oldest first; 0 where padded"
            ),
            "embeddings": tensor("float32", [*texts, size], "of the texts, wanted before avoided; 0 where padded"),
            "strengths": tensor("float32", texts, "above 0 if wanted, below 0 if avoided, 0 where padded"),
            "known": tensor("float32", texts, "share of the words of a text that the catalog has"),
            "words": tensor("int64", [*texts, "num_words"], "word ids from 1, each once; 0 where padded"),
        }
        outputs = {
            "scores": tensor("float32", ["batch_size", items], "log-probabilities; column i is item i + 1"),
            "terms": tensor(
                "float32",
                ["batch_size", "2 + num_texts", items],
                "sum to the scores up to a constant: history, graph, and one per text",
            ),
        }
        super().__init__(model, inputs, outputs)

    def compute(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes item scores `(batch_size, num_items)` and [`stacked_terms`]; see [`SteerScores.components`]."""
        texts = {f"preference_{name}": value for name, value in inputs.items() if name != "history"}
        terms = stacked_terms(self.model, self.model.components(inputs["history"], **texts))
        return terms.sum(1).log_softmax(-1), terms


def stacked_terms(model: SteerScores, components: dict[str, torch.Tensor]) -> torch.Tensor:
    """Terms of [`SteerScores.weigh`] without a loop over the texts, `(batch_size, 2 + num_preferences, num_items)`:
    history, graph, and one per text.

    A text has a share if it is wanted and a penalty if it is avoided, and the other one is 0.
    """
    strengths = components["strengths"]
    largest = strengths.clamp(min=0).amax(1)
    weights = model.request_weights(components["features"], largest)
    penalty = model.config.avoid_weight + largest * weights[:, TEXT_COMPONENTS].sum(1)
    avoided = strengths.clamp(max=0) * penalty.unsqueeze(1)  # (batch_size, num_preferences)
    shares = wanted_shares(strengths)
    texts = avoided.unsqueeze(2) * avoided_match(components, slice(None), model.num_trained_items)
    of_request = []
    for number, name in enumerate(COMPONENTS):
        weight = weights[:, number, None]
        if number < REQUEST_COMPONENTS:
            term = weight * components[name]
            of_request.append(model.without_removed(term) if name == "history" else term)
        else:
            texts = texts + (weight * shares).unsqueeze(2) * components[name]
    return torch.cat([torch.stack(of_request, dim=1), texts], dim=1)
