"""Export of a model to a folder of ONNX graphs, checked against the model."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from ..manifest import write_manifest
from ..modeling_generative_retriever import GenerativeRetriever
from ..modeling_mender_steer import MenderSteer
from ..processing_mender import MenderProcessor
from .decoder_graphs import DecoderStepGraph, RequestEncoderGraph
from .exported_folder import (
    DECODER_STEP,
    GRAPHS,
    ITEM_SCORES,
    REQUEST_ENCODER,
    SEMANTIC_IDS_FILE,
    SETTINGS_FILE,
    SIZES,
    TEXT_ENCODER,
)
from .graphs import Graph, ItemScoresGraph, TextEncoderGraph
from .runner import OnnxRecommender, OnnxSteer

OPSET = 20
DTYPES = ("float32", "int8")
TOLERANCE = 1e-4
"""Largest difference of a score from the model's, relative to scores beyond 1."""

DYNAMIC = torch.export.Dim.DYNAMIC
GRAPH_CLASSES: dict[str, Any] = {
    TEXT_ENCODER: TextEncoderGraph,
    ITEM_SCORES: ItemScoresGraph,
    REQUEST_ENCODER: RequestEncoderGraph,
    DECODER_STEP: DecoderStepGraph,
}


def export_onnx(
    model: PreTrainedModel, processor: MenderProcessor, folder: str | Path, dtype: str = "float32"
) -> dict[str, Any]:
    """Writes the graphs of a model, its processor and semantic IDs, `onnx.json`, which describes them, and a manifest.

    Args:
        model ([`GenerativeRetriever`]): A model with semantic IDs, on the CPU; a [`MenderSteer`] without an effective
            decoder.
        processor ([`MenderProcessor`]): Its processor.
        folder (`str` or `Path`): Existing, empty folder.
        dtype (`str`, defaults to `"float32"`): `"int8"` stores and multiplies the weights of the graph with the text
            encoder in 8 bits (dynamic quantization of ONNX Runtime); item scores and the steps of a decoder stay in
            float32.

    Returns:
        `dict`: The content of `onnx.json`.

    Raises:
        ValueError: For another kind of model or type, or graphs that score otherwise than the model.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype ({dtype}) must be one of {', '.join(DTYPES)}.")
    exported = _exportable(model, processor)
    config, model_type = exported.config, exported.config.model_type
    folder = Path(folder)
    graphs: dict[str, Graph] = {name: GRAPH_CLASSES[name](exported) for name in GRAPHS[model_type]}
    for name, graph in graphs.items():
        trace(graph).save(folder / name)
    processor.save_pretrained(folder)
    _write_semantic_ids(folder, exported)
    others = {} if isinstance(exported, MenderSteer) else {"constrained_softmax": config.constrained_softmax}
    settings = {
        "format": 1,
        "model_type": model_type,
        "dtype": dtype,
        "opset": OPSET,
        "num_items": config.num_items,
        **{name: _size(exported, name) for name in SIZES[model_type]},
        **others,
        "max_history_length": config.max_history_length,
        "num_trained_items": exported.num_trained_items,
        "max_length": processor.max_length,
        "pad_token_id": processor.tokenizer.pad_token_id or 0,
        "graphs": {name: graph.describe() for name, graph in graphs.items()},
    }
    _write_settings(folder, settings)
    difference = largest_difference(exported, processor, OnnxRecommender.from_pretrained(folder))
    if not difference <= TOLERANCE:
        raise ValueError(
            f"the graphs score otherwise than the model: by up to {difference:.1e}, and {TOLERANCE:.0e} is allowed; "
            "nothing was written."
        )
    if dtype == "int8":
        quantize(folder / GRAPHS[model_type][0])
        difference = largest_difference(exported, processor, OnnxRecommender.from_pretrained(folder))
    settings["largest_difference"] = difference
    _write_settings(folder, settings)
    write_manifest(folder)
    return settings


def _exportable(model: PreTrainedModel, processor: MenderProcessor) -> GenerativeRetriever:
    """A model that graphs can stand for; raises a ValueError for others."""
    model_type = model.config.model_type
    if not isinstance(model, GenerativeRetriever) or model_type not in GRAPHS:
        raise ValueError(
            f"a {model_type} model cannot be exported to ONNX; models with semantic IDs can: {', '.join(GRAPHS)}."
        )
    if model_type not in processor.model_types:
        raise ValueError(
            f"a {type(processor).__name__} is no processor of a {model_type}; load both from the same folder."
        )
    if isinstance(model, MenderSteer) and model.has_decoder:
        raise ValueError(
            "this mender_steer has a decoder that refines its item scores, which is not exported; export a model "
            "trained without --use_decoder."
        )
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(f"the model is {model.dtype} on {model.device}; load it in float32 on the CPU to export it.")
    return model


def _size(model: GenerativeRetriever, name: str) -> int:
    """A size of the settings."""
    if name == "num_beams":
        return model.generation_config.num_beams or 1
    if name == "num_input_tokens" and not hasattr(model.config, name):
        return model.config.text_config.vocab_size
    return getattr(model.config, name)


def _write_semantic_ids(folder: Path, model: GenerativeRetriever) -> None:
    """Writes a list whose row `i` is the semantic ID of item `i + 1`, or null where that was removed."""
    codes: list[Any] = cast(torch.Tensor, model.item_semantic_ids).tolist()
    if model.is_item is not None:
        codes = [row if known else None for row, known in zip(codes, model.is_item[1:].tolist(), strict=True)]
    (folder / SEMANTIC_IDS_FILE).write_text(json.dumps(codes) + "\n", encoding="utf-8")


def _write_settings(folder: Path, settings: dict[str, Any]) -> None:
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def trace(graph: Graph) -> torch.onnx.ONNXProgram:
    """Traces a graph; the sizes of its inputs that have a name vary."""
    example = graph.example()
    shapes = tuple(
        {axis: DYNAMIC for axis, size in enumerate(one["shape"]) if isinstance(size, str)}
        for one in graph.inputs.values()
    )
    graph.eval()
    # attention as plain products: the fused kernels have no counterpart in ONNX
    with quiet("onnx_ir", "onnxscript", "torch.onnx"), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        traced = torch.export.export(graph, example, dynamic_shapes=(shapes,), strict=graph.is_strict)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            custom_translation_table={torch.ops.aten.repeat_interleave.Tensor: repeated_indices},
        )
    assert program is not None
    return program


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Silences warnings, and the loggers of some names below the level of errors."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def repeated_indices(repeats: Any, output_size: int | None = None) -> Any:
    """ONNX nodes of `torch.repeat_interleave(repeats)`, also for no indices and for repeats that are all 0.

    The index at a place is the number of indices whose places end before it.
    """
    from onnxscript import opset20

    op: Any = opset20  # its types are of constants
    zero = op.Constant(value_ints=[0])
    total = op.ReduceSum(op.Concat(zero, repeats, axis=0), keepdims=1)
    ends = op.CumSum(repeats, op.Constant(value_int=0))
    empty = op.Expand(zero, op.Add(total, op.Constant(value_ints=[1])))
    ended = op.ScatterElements(empty, ends, op.Expand(op.Constant(value_ints=[1]), op.Shape(repeats)), reduction="add")
    return op.Slice(op.CumSum(ended, op.Constant(value_int=0)), zero, total)


def quantize(path: Path) -> None:
    """Replaces a graph by one whose matrices and embeddings are stored in 8 bits, with a scale per column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = path.with_name(f"plain_{path.name}")
    path.rename(plain)
    with quiet(""):  # it recommends a preparation that has been done
        quantize_dynamic(plain, path, weight_type=QuantType.QInt8, per_channel=True)
    plain.unlink()


def largest_difference(model: GenerativeRetriever, processor: MenderProcessor, recommender: OnnxRecommender) -> float:
    """Largest difference between a model and its graphs in the scores of those recommended, and of all items where
    all are scored.

    Relative to scores beyond 1, over [`reference_requests`].
    """
    differences = []
    k = min(10, model.num_active_items)
    for request in reference_requests(model, processor):
        inputs = processor(**request)
        pairs = [(recommender.recommend(**inputs, k=k).scores, model.recommend(**inputs, k=k).scores)]
        if isinstance(recommender, OnnxSteer):
            with torch.no_grad():
                pairs.append((recommender.score_items(**inputs), cast(Any, model.encode(**inputs)).item_scores))
        for found, expected in pairs:
            difference = (found - expected).abs() / expected.abs().clamp(min=1)
            differences.append(difference.masked_fill(found == expected, 0).max())  # also of items at -inf
    return float(torch.stack(differences).max())


def reference_requests(model: GenerativeRetriever, processor: MenderProcessor) -> list[dict[str, Any]]:
    """Requests with and without what a model reads: history, preferences, avoided texts and strengths, alone and in a
    batch."""
    history = [1 + number * 7 % processor.num_items for number in range(min(5, model.config.max_history_length))]
    if not getattr(processor, "reads_preferences", True):
        return [{"history": [history]}, {"history": [history[:1], history]}]
    if not isinstance(model, MenderSteer):
        text = "Search for a gift"
        batch = {"history": [history, []], "preference": [[text, "tea"], text]}
        return [{"history": [history]}, {"history": [[]], "preference": [text]}, batch]
    first, middle, last = processor.titles([1, 1 + processor.num_items // 2, processor.num_items])
    return [
        {"history": [history]},
        {"history": [[]], "preference": [first]},
        {"history": [history], "preference": [[middle, last]], "strength": [[1.0, 0.3]]},
        {"history": [history[:1]], "preference": ["xyzzy"], "avoid": [first]},
        {"history": [history, []], "preference": [[first, middle], last], "avoid": [None, middle]},
    ]
