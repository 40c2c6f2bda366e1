"""Export of Mender_Steer to a folder of ONNX graphs, checked against the model."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from ..manifest import write_manifest
from ..modeling_mender_steer import MenderSteer
from ..processing_mender import MenderProcessor
from ..processing_mender_steer import MenderSteerProcessor
from .graphs import ItemScoresGraph, TextEncoderGraph
from .runner import ITEM_SCORES, SEMANTIC_IDS_FILE, SETTINGS_FILE, TEXT_ENCODER, OnnxRecommender

OPSET = 20
DTYPES = ("float32", "int8")
TOLERANCE = 1e-4
"""Largest difference of a score from the model's, relative to scores beyond 1."""

DYNAMIC = torch.export.Dim.DYNAMIC


def export_onnx(
    model: PreTrainedModel, processor: MenderProcessor, folder: str | Path, dtype: str = "float32"
) -> dict[str, Any]:
    """Writes the graphs of a model, its processor and semantic IDs, `onnx.json`, which describes them, and a manifest.

    Args:
        model ([`MenderSteer`]): The model, without an effective decoder, on the CPU.
        processor ([`MenderSteerProcessor`]): Its processor.
        folder (`str` or `Path`): Existing, empty folder.
        dtype (`str`, defaults to `"float32"`): `"int8"` stores and multiplies the weights of the text encoder in 8
            bits (dynamic quantization of ONNX Runtime); the item scores stay in float32.

    Returns:
        `dict`: The content of `onnx.json`.

    Raises:
        ValueError: For another kind of model or type, a model with a decoder, or graphs that score otherwise than the
            model.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype ({dtype}) must be one of {', '.join(DTYPES)}.")
    steer, steer_processor = _exportable(model, processor)
    folder = Path(folder)
    trace(TextEncoderGraph(steer)).save(folder / TEXT_ENCODER)
    trace(ItemScoresGraph(steer)).save(folder / ITEM_SCORES)
    processor.save_pretrained(folder)
    _write_semantic_ids(folder, steer)
    settings = {
        "format": 1,
        "model_type": steer.config.model_type,
        "dtype": dtype,
        "opset": OPSET,
        "num_items": steer.config.num_items,
        "num_words": steer.config.num_words,
        "embedding_size": steer.config.embedding_size,
        "max_history_length": steer.config.max_history_length,
        "num_trained_items": steer.num_trained_items,
        "max_length": processor.max_length,
        "pad_token_id": processor.tokenizer.pad_token_id or 0,
        "graphs": describe_graphs(steer),
    }
    _write_settings(folder, settings)
    difference = largest_difference(steer, steer_processor, OnnxRecommender(folder))
    if not difference <= TOLERANCE:
        raise ValueError(
            f"the graphs score otherwise than the model: by up to {difference:.1e}, and {TOLERANCE:.0e} is allowed; "
            "nothing was written."
        )
    if dtype == "int8":
        quantize(folder / TEXT_ENCODER)
        difference = largest_difference(steer, steer_processor, OnnxRecommender(folder))
    settings["largest_difference"] = difference
    _write_settings(folder, settings)
    write_manifest(folder)
    return settings


def _exportable(model: PreTrainedModel, processor: MenderProcessor) -> tuple[MenderSteer, MenderSteerProcessor]:
    """A model and its processor that graphs can stand for; raises a ValueError for others."""
    if not isinstance(model, MenderSteer) or not isinstance(processor, MenderSteerProcessor):
        raise ValueError(
            f"a {model.config.model_type} model cannot be exported to ONNX; only mender_steer can, the default method."
        )
    if model.has_decoder:
        raise ValueError(
            "this mender_steer has a decoder, whose beam search is no graph; export a model trained without "
            "--use_decoder."
        )
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(f"the model is {model.dtype} on {model.device}; load it in float32 on the CPU to export it.")
    return model, processor


def _write_semantic_ids(folder: Path, model: MenderSteer) -> None:
    """Writes a list whose row `i` is the semantic ID of item `i + 1`, or null where that was removed."""
    codes: list[Any] = cast(torch.Tensor, model.item_semantic_ids).tolist()
    if model.is_item is not None:
        codes = [row if known else None for row, known in zip(codes, model.is_item[1:].tolist(), strict=True)]
    (folder / SEMANTIC_IDS_FILE).write_text(json.dumps(codes) + "\n", encoding="utf-8")


def _write_settings(folder: Path, settings: dict[str, Any]) -> None:
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def describe_graphs(model: MenderSteer) -> dict[str, Any]:
    """Inputs and outputs of the graphs by file: name, type, shape and meaning."""
    size, items = model.config.embedding_size, model.config.num_items
    texts: list[Any] = ["batch_size", "num_texts"]

    def tensor(dtype: str, shape: list[Any], meaning: str) -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape, "meaning": meaning}

    return {
        TEXT_ENCODER: {
            "inputs": {
                "input_ids": tensor("int64", ["num_texts", "sequence_length"], "tokens, with special ones"),
                "attention_mask": tensor("int64", ["num_texts", "sequence_length"], "1, and 0 where padded"),
            },
            "outputs": {"embeddings": tensor("float32", ["num_texts", size], "embeddings of norm 1")},
        },
        ITEM_SCORES: {
            "inputs": {
                "history": tensor(
                    "int64", ["batch_size", "history_length"], "item ids from 1, oldest first; 0 where padded"
                ),
                "embeddings": tensor("float32", [*texts, size], "of the texts, wanted before avoided; 0 where padded"),
                "strengths": tensor("float32", texts, "above 0 if wanted, below 0 if avoided, 0 where padded"),
                "known": tensor("float32", texts, "share of the words of a text that the catalog has"),
                "words": tensor("int64", [*texts, "num_words"], "word ids from 1, each once; 0 where padded"),
            },
            "outputs": {
                "scores": tensor("float32", ["batch_size", items], "log-probabilities; column i is item i + 1"),
                "terms": tensor(
                    "float32",
                    ["batch_size", "2 + num_texts", items],
                    "sum to the scores up to a constant: history, graph, and one per text",
                ),
            },
            "note": "every dimension is at least 1: a request without texts has one of strength 0",
        },
    }


def trace(graph: TextEncoderGraph | ItemScoresGraph) -> torch.onnx.ONNXProgram:
    """Traces a graph with all dimensions of its inputs dynamic, except for that of embeddings."""
    example = graph.example()
    shapes = tuple(
        {axis: DYNAMIC for axis in range(value.dim()) if not (name == "embeddings" and axis == 2)}
        for name, value in zip(graph.inputs, example, strict=True)
    )
    graph.eval()
    # attention as plain products: the fused kernels have no counterpart in ONNX
    with quiet("onnx_ir", "onnxscript", "torch.onnx"), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        # strict: sizes given by `len` are symbols
        strict = isinstance(graph, ItemScoresGraph)
        traced = torch.export.export(graph, example, dynamic_shapes=shapes, strict=strict)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=graph.inputs,
            output_names=graph.outputs,
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


def largest_difference(model: MenderSteer, processor: MenderSteerProcessor, recommender: OnnxRecommender) -> float:
    """Largest difference between a model and its graphs in the scores of all items, and of those recommended.

    Relative to scores beyond 1, over [`reference_requests`].
    """
    differences = []
    titles = [str(item["title"]) for item in processor.items]
    k = min(10, len(titles))
    for request in reference_requests(titles, model.config.max_history_length):
        inputs = processor(**request)
        with torch.no_grad():
            scores = model.encode(**inputs).item_scores
        pairs = (
            (recommender.score_items(**inputs), scores),
            (recommender.recommend(**inputs, k=k).scores, model.recommend(**inputs, k=k).scores),
        )
        for found, expected in pairs:
            difference = (found - expected).abs() / expected.abs().clamp(min=1)
            differences.append(difference.masked_fill(found == expected, 0).max())  # also of items at -inf
    return float(torch.stack(differences).max())


def reference_requests(titles: Sequence[str], max_history_length: int) -> list[dict[str, Any]]:
    """Requests with and without history, preferences, avoided texts and strengths, alone and in a batch."""
    num_items = len(titles)
    history = [1 + number * 7 % num_items for number in range(min(5, max_history_length))]
    first, middle, last = titles[0], titles[num_items // 2], titles[-1]
    return [
        {"history": [history]},
        {"history": [[]], "preference": [first]},
        {"history": [history], "preference": [[middle, last]], "strength": [[1.0, 0.3]]},
        {"history": [history[:1]], "preference": ["xyzzy"], "avoid": [first]},
        {"history": [history, []], "preference": [[first, middle], last], "avoid": [None, middle]},
    ]
