"""Repository folders for the Hub: weights, configuration, processor, items, and exactly the code that these need."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from transformers import AutoModel, PreTrainedModel, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save

from ..methods.table import Method
from ..pipeline_preference_recommendation import PreferenceRecommendationPipeline
from ..training.arguments import ARGUMENTS_FILE
from ..training.lora import ADAPTER_FILES
from ..training.records import STATE_FILE, read_arguments
from .catalog_changes import CHANGES_FILE
from .loading import load_recommender
from .model_card import public_arguments

TASK = "preference-recommendation"
PIPELINE_FILE = f"pipeline_{TASK.replace('-', '_')}"
HANDLER = Path(__file__).with_name("handler.py")
# Packages that a hosted endpoint installs.
REQUIREMENTS = "transformers>=5.17\n"


def kind_of(folder: Path) -> str:
    """Returns the kind of a folder: `recommender`, `adapter` (LoRA), or `rqvae` (with semantic IDs).

    Raises:
        FileNotFoundError: If there is no such folder, or it is of another kind.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; train a model first, or name the folder that training wrote.")
    if (folder / ADAPTER_FILES[0]).is_file():
        return "adapter"
    if (folder / "rqvae" / "config.json").is_file():
        return "rqvae"
    if (folder / "config.json").is_file():
        return "recommender"
    raise FileNotFoundError(
        f"{folder} has no config.json, no {ADAPTER_FILES[0]} and no rqvae/; give the folder model/ or adapter/ of a "
        "training, or the one that mender learn-ids wrote."
    )


def stage_recommender(source: Path, target: Path, benchmark: str | None = None) -> None:
    """Writes the repository of a recommender, without its card.

    Args:
        source (`Path`): Folder of the model.
        target (`Path`): Empty folder.
        benchmark (`str`, *optional*): Name of the benchmark on the Hub, for the training arguments.
    """
    model, processor = load_recommender(source)
    forget_paths(model, processor)
    model.config.items_digest = processor.items_digest
    model.config.auto_map = getattr(model.config, "auto_map", None) or {}
    if model.can_generate():
        model.config.auto_map["AutoModelForSeq2SeqLM"] = f"{module_of(model)}.{type(model).__name__}"
    model.config.custom_pipelines = {
        TASK: {"impl": f"{PIPELINE_FILE}.{PreferenceRecommendationPipeline.__name__}", "pt": ["AutoModel"]}
    }
    model.save_pretrained(target)
    processor.save_pretrained(target)
    custom_object_save(PreferenceRecommendationPipeline, target)
    shutil.copyfile(HANDLER, target / HANDLER.name)
    (target / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
    copy_records(source, target, benchmark)


def stage_adapter(source: Path, model_folder: Path, target: Path, benchmark: str | None = None) -> None:
    """Writes the repository of a LoRA adapter: the two files of peft, and those that [`load_adapted`] needs.

    Args:
        source (`Path`): Folder of the adapter.
        model_folder (`Path`): Folder of the merged model of the same training.
        target (`Path`): Empty folder.
        benchmark (`str`, *optional*): Name of the benchmark on the Hub, for the training arguments.
    """
    model, processor = load_recommender(model_folder)
    forget_paths(model, processor)
    for name in ADAPTER_FILES:
        shutil.copyfile(source / name, target / name)
    processor.save_pretrained(target)
    codes = pa.array(cast(torch.Tensor, model.item_semantic_ids).tolist(), type=pa.list_(pa.int32()))
    item_ids = pa.array(range(1, len(codes) + 1), type=pa.int32())
    pq.write_table(pa.table({"item_id": item_ids, "codes": codes}), target / "semantic_ids.parquet")
    copy_records(model_folder, target, benchmark)


def stage_rqvae(source: Path, target: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Writes the repository of an RQ-VAE: the model, and the semantic IDs that it assigned.

    Args:
        source (`Path`): Folder written by `mender learn-ids`.
        target (`Path`): Empty folder.

    Returns:
        `tuple`: The model, in evaluation mode, and its report without paths.
    """
    model = AutoModel.from_pretrained(source / "rqvae").eval()
    model.save_pretrained(target)
    shutil.copyfile(source / "semantic_ids.parquet", target / "semantic_ids.parquet")
    report = json.loads((source / "report.json").read_text(encoding="utf-8"))
    report["settings"] = public_arguments(report["settings"])
    report["settings"].pop("overwrite", None)
    (target / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return model, report


def copy_records(source: Path, target: Path, benchmark: str | None) -> None:
    """Copies the training arguments, without local paths, and the training state."""
    if trained_with := read_arguments(source):
        arguments = public_arguments(trained_with, benchmark)
        text = yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True)
        (target / ARGUMENTS_FILE).write_text(text, encoding="utf-8")
    for name in (STATE_FILE, CHANGES_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def forget_paths(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Removes the local paths of text encoder and tokenizer from both configurations."""
    text_config = getattr(model.config, "text_config", None)
    if text_config is not None:
        text_config.name_or_path = ""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is not None:
        for name in ("is_local", "local_files_only", "name_or_path"):
            tokenizer.init_kwargs.pop(name, None)


def module_of(model: PreTrainedModel) -> str:
    """Returns the module of a model's class, as its repository names it."""
    return type(model).__module__.rpartition(".")[2]


def weights_digest(folder: str | Path) -> str | None:
    """Returns the SHA-256 of the weights in a folder, which identifies them in results; `None` if there are none."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        return None
    state = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.hexdigest()


def reference_requests(
    items: Sequence[Mapping[str, Any]], method: Method, num_requests: int = 8
) -> list[dict[str, Any]]:
    """Returns fixed requests over the whole catalog that a method can answer.

    Args:
        items (`Sequence[Mapping]`): Items of the processor.
        method ([`Method`]): Method of the model.
        num_requests (`int`, defaults to 8): Number of requests.
    """
    requests = []
    for number in range(num_requests):
        start = number * len(items) // num_requests
        request: dict[str, Any] = {}
        if method.history != "none":
            request["history"] = [1 + (start + step) % len(items) for step in range(1 + number % 5)]
        if method.preference != "none":
            request["preference"] = f"{'Avoid' if number % 2 else 'Search for'} {items[start]['title']}"
        if method.is_steered and number % 3 == 0:
            request |= {"avoid": items[-1 - start]["title"], "strength": 0.5 + number}
        if method.reads_user:
            request["user"] = f"user-{number}"
        requests.append(request)
    return requests
