"""Load a recommender from a folder or the Hub, with clear errors."""

import logging
from pathlib import Path
from typing import cast

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModel, AutoProcessor, PreTrainedConfig, PreTrainedModel

from .. import SemanticIds
from ..items_file import Items
from ..manifest import ITEMS_FILE, MANIFEST_FILE, ModelFiles
from ..methods.building import Catalogue
from ..methods.table import METHODS, get_method
from ..pipeline_preference_recommendation import check_pair
from ..processing_mender import MenderProcessor
from ..training.arguments import ARGUMENTS_FILE, make_arguments
from ..training.lora import ADAPTER_FILES, load_adapter
from ..training.records import read_arguments

logger = logging.getLogger(__name__)

RECOMMENDERS = tuple(
    dict.fromkeys(
        cast(type[PreTrainedConfig], method.model_class.config_class).model_type for method in METHODS.values()
    )
)

PROCESSORS = tuple(dict.fromkeys(method.processor_class.__name__ for method in METHODS.values()))
# Files that transformers reads before a class of this package does.
READ_FIRST = ("config.json", "processor_config.json", "tokenizer_config.json")
# Messages for a file that a repository or folder lacks.
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
        ValueError: If it is another kind of model, a file is damaged or another model's, or the device is not
            available.
        FileNotFoundError: If the folder or repository is incomplete.
        OSError: As `from_pretrained`, if there is no such repository or revision, or no permission.
    """
    name = str(name_or_path)
    where = f"{name} at revision {revision}" if revision else name
    if Path(name).exists() and not (Path(name) / "config.json").exists():
        raise FileNotFoundError(
            f"{where} has no config.json; give the folder that mender train wrote, as in outputs/quickstart/model."
        )
    files = ModelFiles(name, {"revision": revision} if revision else {})
    try:
        if files.folder is None:
            PreTrainedConfig.get_config_dict(name, revision=revision)  # to be told why where it cannot be fetched
        files.check(READ_FIRST)
        fields, processor_fields, _ = [files.read_json(one) or {} for one in READ_FIRST]
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
    processor_class = processor_fields.get("processor_class", PROCESSORS[0])
    if processor_class not in PROCESSORS:
        raise ValueError(
            f"the processor_config.json of {where} has the processor class {processor_class!r:.80}; there are "
            f"{', '.join(PROCESSORS)}. Name another model, or fetch or copy this one again."
        )
    try:
        options = {"revision": revision, "trust_remote_code": False}
        processor = AutoProcessor.from_pretrained(name, **options)
        model = AutoModel.from_pretrained(name, **options)
    except OSError as error:
        if not any(words in str(error) for words in MISSING_FILE):
            raise
        raise FileNotFoundError(
            f"{where} has a configuration but not all of its files ({' '.join(str(error).split())}); it was written "
            "or uploaded only in part: publish it again with mender publish-model, or name another revision."
        ) from error
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # of several kinds, where transformers reads a damaged file by itself
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{where} names a class that neither this project nor transformers has, and no code of a model is "
                "run; its processor_config.json or tokenizer_config.json is damaged or of another version: fetch or "
                "copy the model again, or install that version."
            ) from error
        if isinstance(error, ValueError) and name in str(error):
            raise
        raise ValueError(
            f"{where} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:200]}); a file of it "
            "is damaged or another model's: fetch or copy the model again."
        ) from error
    if not isinstance(processor, MenderProcessor):
        raise ValueError(
            f"the processor_config.json of {where} gives a {type(processor).__name__}, which is no processor of a "
            "recommender; fetch or copy the model again."
        )
    try:
        check_pair(model, processor)
    except ValueError as error:
        raise ValueError(f"{where} cannot answer: {error}") from None
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds shapes without numbers")
        model.to(device)
    except (RuntimeError, AssertionError, ModuleNotFoundError) as error:  # no such device, or torch lacks support
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"device {device} cannot be used here ({reason}); leave it out to use the CPU.") from None
    return model.eval(), processor


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
        ValueError: If the adapter does not fit its text encoder, or a file is damaged or another model's.
    """
    folder = local_folder(name_or_path, revision)
    files = ModelFiles(folder)
    for name in (ARGUMENTS_FILE, ITEMS_FILE, "semantic_ids.parquet", *ADAPTER_FILES):
        if files.find(name) is None:
            raise FileNotFoundError(f"{name_or_path} has no {name}; publish the adapter with mender publish-model.")
    if not files.check(rest=True):
        logger.warning("%s has no %s, by which damaged or mixed-up files are found.", name_or_path, MANIFEST_FILE)
    arguments = make_arguments(**read_arguments(folder), output_dir=str(folder), semantic_ids=str(folder))
    method = get_method(arguments.method).with_inputs(arguments.inputs)
    items = [
        {name: str(item.get(name) or "") for name in ("title", "text")} for item in Items.read(folder / ITEMS_FILE)
    ]
    semantic_ids = SemanticIds.from_parquet(folder / "semantic_ids.parquet")
    if semantic_ids.num_items != len(items):
        raise ValueError(
            f"{name_or_path} has {len(items)} items in items.jsonl and {semantic_ids.num_items} in "
            "semantic_ids.parquet; one of the two was cut or is another model's: fetch the adapter again."
        )
    catalogue = Catalogue(items, [item["text"] for item in items], semantic_ids)
    model, processor = method.build(method, arguments, catalogue, [])
    return load_adapter(model, folder).eval(), processor
