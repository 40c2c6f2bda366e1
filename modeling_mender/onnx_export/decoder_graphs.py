"""Graphs of the generative models: a request to keys and values of the decoder, and one step of the decoder."""

from typing import cast

import torch

from ..modeling_generative_retriever import GenerativeRetriever
from ..modeling_mender import MenderEmb
from ..t5_stacks import DecodingSteps, last_visible, project_states, rows_of_beams
from .graphs import Graph, Tensors, tensor

MASK = tensor("int64", ["batch_size", "sequence_length"], "1, and 0 where padded")


class RequestEncoderGraph(Graph):
    """Requests to all that the decoder reads of them: keys and values by layer, and what is added to its start token.

    Args:
        model ([`GenerativeRetriever`]): The model; its weights are shared.
    """

    def __init__(self, model: GenerativeRetriever) -> None:
        super().__init__(model, request_tensors(model), decoder_tensors(model))

    def compute(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Computes keys and values; see [`project_states`]."""
        states = cast(torch.Tensor, self.model.encode(**inputs).last_hidden_state)
        keys, values = project_states(self.model.decoder, states)
        start = [last_visible(states, inputs["attention_mask"])] if self.model.starts_from_last_state else []
        return (*keys, *values, *start)


class DecoderStepGraph(Graph):
    """One step of the decoder for all beams of requests, as [`DecodingSteps`].

    Args:
        model ([`GenerativeRetriever`]): The model; its weights are shared.
    """

    note = "the first step has one beam, token 0, parent 0, and a past of level 0"

    def __init__(self, model: GenerativeRetriever) -> None:
        config = model.config
        beams, num_layers = ["batch_size", "num_beams"], 2 * config.num_decoder_layers
        what = "self-attention keys, then values, by layer; a row is a beam, those of a request in succession"
        inputs = {
            "tokens": tensor("int64", beams, "of the codes chosen last: 1 + level * codebook_size + code"),
            "parents": tensor("int64", beams, "beams of the step before that these extend, from 0"),
            "past": tensor("float32", [num_layers, "num_rows", config.num_heads, "level", config.d_kv], what),
            "attention_mask": MASK,
            **decoder_tensors(model),
        }
        rows, levels = "batch_size * num_beams", "level + 1"
        outputs = {
            "log_probs": tensor("float32", [*beams, config.codebook_size], "of the next codes"),
            "present": tensor("float32", [num_layers, rows, config.num_heads, levels, config.d_kv], "the next past"),
        }
        super().__init__(model, inputs, outputs)

    def compute(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the log-probabilities of the next codes, and the self-attention cache."""
        config, past = self.model.config, inputs["past"]
        num_layers = config.num_decoder_layers
        past = past.index_select(1, rows_of_beams(inputs["parents"], past.shape[1]))
        cross = [value for name, value in inputs.items() if name.startswith(("keys_", "values_"))]
        steps = GraphSteps(
            self.model.decoder,
            (cross[:num_layers], cross[num_layers:]),
            inputs["attention_mask"],
            config.num_levels,
            config.codebook_size,
            inputs.get("start_states"),
        )
        steps.keys = dict(enumerate(past[:num_layers].unbind()))
        steps.values = dict(enumerate(past[num_layers:].unbind()))
        log_probs = steps.decode(past.shape[3], inputs["tokens"])
        return log_probs, torch.stack([*steps.keys.values(), *steps.values.values()])


class GraphSteps(DecodingSteps):
    """[`DecodingSteps`] with fewer nodes: the translation of PyTorch's attention provides for shapes not used here."""

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = query @ key.transpose(-1, -2)
        if mask.dtype == torch.bool:
            scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
        else:
            scores = scores + mask
        return scores.softmax(-1) @ value


def request_tensors(model: GenerativeRetriever) -> Tensors:
    """Inputs of [`RequestEncoderGraph`]."""
    if not isinstance(model, MenderEmb):
        return {"input_ids": tensor("int64", MASK["shape"], "tokens of the processor"), "attention_mask": MASK}
    history = tensor("int64", ["batch_size", "history_length"], "item ids from 1, oldest first; 0 where padded")
    size = cast(int, model.config.embedding_size)
    embeddings = tensor("float32", ["batch_size", "num_texts", size], "of the preferences; 0 where padded")
    return {"history": history, "preference_embeddings": embeddings, "attention_mask": MASK}


def decoder_tensors(model: GenerativeRetriever) -> Tensors:
    """Outputs of [`RequestEncoderGraph`], which are inputs of every step."""
    config = model.config
    shape = ["batch_size", config.num_heads, "sequence_length", config.d_kv]
    named = {
        f"{name}_{layer}": tensor("float32", shape, f"{name} of the request in layer {layer}")
        for name in ("keys", "values")
        for layer in range(config.num_decoder_layers)
    }
    if model.starts_from_last_state:
        named["start_states"] = tensor("float32", ["batch_size", config.d_model], "added to the start token")
    return named
