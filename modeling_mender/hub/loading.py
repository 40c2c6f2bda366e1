"""Load a recommender from a folder or the Hub, with clear errors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoModel, AutoProcessor, PreTrainedConfig, PreTrainedModel

from .. import SemanticIds
from ..methods.building import Catalogue
from ..methods.table import METHODS, get_method
from ..processing_mender import MenderProcessor
from ..training.arguments import ARGUMENTS_FILE, make_arguments
from ..training.lora import load_adapter

RECOMMENDERS = tuple(
    dict.fromkeys(
        cast(type[PreTrainedConfig], method.model_class.config_class).model_type for method in METHODS.values()
    )
)

# Messages of transformers for a file that a repository or folder lacks.
MISSING_FILE = ("does not appear to have a file named", "no file named")


def load_recommender(
    name_or_path: str | Path, revision: str | None = None, device: str | torch.device = "cpu"
) -> tuple[PreTrainedModel, MenderProcessor]:
    """Loads a model and its processor from a folder or the Hub.

    Args:
        name_or_path (`str` or `Path`): Folder or repository, such as `outputs/quickstart/model` or
            `org/mender-tok-beauty`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        device (defaults to cpu): Device of the model.

    Returns:
        `tuple`: The model in evaluation mode, and its processor.

    Raises:
        ValueError: If it is another kind of model, or the device is not available.
        FileNotFoundError: If the folder or repository is incomplete.
        OSError: As `from_pretrained`, if there is no such repository or revision, or no permission.
    """
    name = str(name_or_path)
    where = f"{name} at revision {revision}" if revision else name
    if Path(name).exists() and not (Path(name) / "config.json").is_file():
        raise FileNotFoundError(
            f"{where} has no config.json; give the folder that mender train wrote, as in outputs/quickstart/model."
        )
    try:
        fields, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise OSError(
            f"{where} is no folder with a config.json in {Path.cwd()}, and the Hub has none ({reason})"
        ) from error
    model_type = fields.get("model_type")
    if model_type not in RECOMMENDERS:
        raise ValueError(
            f"the config.json of {where} has the model type {model_type!r}; recommenders have one of "
            f"{', '.join(RECOMMENDERS)}. Name another model, or publish it again with mender publish-model if its "
            "configuration was renamed."
        )
    try:
        model, found = AutoModel.from_pretrained(name, revision=revision, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(name, revision=revision)
    except OSError as error:
        if not any(words in str(error) for words in MISSING_FILE):
            raise
        raise FileNotFoundError(
            f"{where} has a configuration but not all of its files ({' '.join(str(error).split())}); it was written "
            "or uploaded only in part: publish it again with mender publish-model, or name another revision."
        ) from error
    except (
        SafetensorError,
        RuntimeError,
    ) as error:  # a Git LFS pointer, a truncated file, or weights of another shape
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the weights of {where} cannot be read ({reason}); the file is truncated, a pointer of Git LFS, or "
            "another model's: fetch or publish it again."
        ) from error
    check_weights(model, found, where)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # no such device, or torch was built without support for it
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"device {device} cannot be used here ({reason}); leave it out to use the CPU.") from error
    return model.eval(), processor


def check_weights(model: PreTrainedModel, found: Mapping[str, Any], where: str) -> None:
    """Refuses defective weights, with which a model would return wrong answers without an error.

    Args:
        model ([`PreTrainedModel`]): Loaded model.
        found (`Mapping`): Loading info of `from_pretrained`.
        where (`str`): Name of the model, for the error.

    Raises:
        ValueError: If weights are missing, of another shape, or not finite.
    """
    wrong = {
        "are missing": sorted(found["missing_keys"]),
        "are of another shape": sorted(
            str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"]
        ),
        "hold numbers that are not finite": sorted(
            name
            for name, value in model.state_dict().items()
            if value.is_floating_point() and not torch.isfinite(value).all()
        ),
    }
    for what, names in wrong.items():
        if names:
            some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ValueError(f"{where} cannot answer: its weights {some} {what}; fetch or publish the model again.")


def local_folder(name_or_path: str | Path, revision: str | None = None) -> Path:
    """Returns the local folder of a model: its own, or that of a commit in the cache, which is named after the commit.

    Args:
        name_or_path, revision: As in [`load_recommender`].
    """
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    return Path(snapshot_download(str(name_or_path), revision=revision))


def load_adapted(name_or_path: str | Path, revision: str | None = None) -> tuple[PreTrainedModel, MenderProcessor]:
    """Builds a model around its pretrained text encoder and merges a published LoRA adapter into it.

    Args:
        name_or_path (`str` or `Path`): Folder or repository of the adapter, as written by `mender publish-model`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.

    Returns:
        `tuple`: The model in evaluation mode, with plain weights, and its processor.

    Raises:
        FileNotFoundError: If the adapter is incomplete.
        ImportError: If peft is not installed.
        ValueError: If the adapter does not fit its text encoder.
    """
    folder = local_folder(name_or_path, revision)
    for name in (ARGUMENTS_FILE, "items.jsonl", "semantic_ids.parquet"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{name_or_path} has no {name}; publish the adapter with mender publish-model.")
    arguments = make_arguments(
        **yaml.safe_load((folder / ARGUMENTS_FILE).read_text(encoding="utf-8")), output_dir="", semantic_ids=""
    )
    method = get_method(arguments.method).with_inputs(arguments.inputs)
    with (folder / "items.jsonl").open(encoding="utf-8") as file:
        items = [{"title": item["title"], "text": item["text"]} for item in map(json.loads, file)]
    semantic_ids = SemanticIds.from_parquet(folder / "semantic_ids.parquet")
    catalogue = Catalogue(items, [item["text"] for item in items], semantic_ids)
    model, processor = method.build(method, arguments, catalogue, [])
    return load_adapter(model, folder).eval(), processor
