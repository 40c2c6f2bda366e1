"""Files of a model that was exported to ONNX: names, settings, items, and graphs opened by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import torch

from ..items_file import Items
from ..manifest import ITEMS_FILE
from ..trie import Trie

SETTINGS_FILE = "onnx.json"
SEMANTIC_IDS_FILE = "semantic_ids.json"
TEXT_ENCODER, ITEM_SCORES = "text_encoder.onnx", "item_scores.onnx"
REQUEST_ENCODER, DECODER_STEP = "request_encoder.onnx", "decoder_step.onnx"
STEER = "mender_steer"
GRAPHS = {
    STEER: (TEXT_ENCODER, ITEM_SCORES),
    "mender_tok": (REQUEST_ENCODER, DECODER_STEP),
    "mender_emb": (TEXT_ENCODER, REQUEST_ENCODER, DECODER_STEP),
    "tiger": (REQUEST_ENCODER, DECODER_STEP),
}
"""Files of the graphs by model type. The first one holds the text encoder, whose weights `int8` stores in 8 bits."""
SIZES = {
    STEER: ("num_words", "embedding_size"),
    "mender_tok": ("num_levels", "codebook_size", "num_beams", "num_input_tokens"),
    "mender_emb": ("num_levels", "codebook_size", "num_beams", "embedding_size"),
    "tiger": ("num_levels", "codebook_size", "num_beams", "num_input_tokens"),
}
"""Names of the sizes in the settings by model type, beside `num_items` and `max_history_length`."""


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads `onnx.json`.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {SETTINGS_FILE}; give a folder that mender export-onnx wrote.")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] != 1:
            raise ValueError(f"it has the format {settings['format']!r:.40}, and this version reads 1")
        if settings["dtype"] not in ("float32", "int8"):
            raise ValueError(f"its dtype is {settings['dtype']!r:.40}")
        if settings["model_type"] not in GRAPHS:
            raise ValueError(f"its model_type is {settings['model_type']!r:.40}")
        for name in ("num_items", "max_history_length", *SIZES[settings["model_type"]]):
            if not isinstance(settings[name], int) or isinstance(settings[name], bool) or settings[name] < 1:
                raise ValueError(f"its {name} is {settings[name]!r:.40}")
        if settings["model_type"] != STEER and not isinstance(settings["constrained_softmax"], bool):
            raise ValueError(f"its constrained_softmax is {settings['constrained_softmax']!r:.40}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); export the model again.") from error
    return settings


def read_is_item(folder: Path, num_items: int) -> torch.Tensor:
    """Whether each number from 0 to `num_items` is an item that was not removed, by `items.jsonl`.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged, or has another number of items.
    """
    path = folder / ITEMS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; export the model again.")
    items = Items.read(path)
    if len(items) != num_items:
        raise ValueError(
            f"{path} has {len(items)} items and {SETTINGS_FILE} beside it counts {num_items}; export the model again."
        )
    is_item = torch.ones(1 + num_items, dtype=torch.bool)
    is_item[[0, *items.removed]] = False
    return is_item


def read_trie(folder: Path, is_item: torch.Tensor, num_levels: int) -> Trie:
    """Reads the trie of the catalog from `semantic_ids.json`.

    Args:
        folder (`Path`): Folder of the export.
        is_item (`torch.Tensor`): Result of [`read_is_item`].
        num_levels (`int`): Codes per item.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is damaged, or of other items.
    """
    path = folder / SEMANTIC_IDS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; export the model again.")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        trie = Trie(torch.tensor([[-1] * num_levels if row is None else row for row in rows], dtype=torch.long))
        if trie.num_levels != num_levels or not torch.equal(trie.is_item, is_item):
            raise ValueError(f"its items are not those of {ITEMS_FILE} and {SETTINGS_FILE} beside it")
    except (ValueError, TypeError, IndexError, RuntimeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again.") from error
    return trie


def open_graph(path: Path, num_threads: int) -> Any:
    """Opens a graph by ONNX Runtime on the CPU.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it cannot be read.
    """
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; export the model again.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own kinds, all below Exception
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be opened by ONNX Runtime ({reason}); export the model again.") from error
