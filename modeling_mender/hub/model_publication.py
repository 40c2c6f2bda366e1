"""Folders as they go to the Hub: weights, configuration, processor, items, and exactly the code that these need.

Knows what each kind of repository holds. Does not check that strangers can load it, nor send it: the script that
publishes does both, for it alone may run other programs.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from transformers import AutoModel, PreTrainedModel, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save

from ..methods.table import Method
from ..pipeline_preference_recommendation import PreferenceRecommendationPipeline
from ..training.arguments import ARGUMENTS_FILE
from ..training.checkpoints import STATE_FILE
from ..training.lora import ADAPTER_FILES
from .loading import load_recommender
from .model_card import public_arguments

TASK = "preference-recommendation"
PIPELINE_FILE = f"pipeline_{TASK.replace('-', '_')}"
HANDLER = Path(__file__).with_name("handler.py")
# What a hosted endpoint installs beside its own transformers and torch.
REQUIREMENTS = "transformers>=5.17\n"


def kind_of(folder: Path) -> str:
    """What a folder holds: `recommender`, `adapter` (of LoRA), or `rqvae` (what learned the semantic IDs).

    Raises:
        FileNotFoundError: If there is no such folder, or it is none of these.
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
        "training, or the one that scripts/learn_semantic_ids.py wrote."
    )


def stage_recommender(source: Path, target: Path, benchmark: str | None = None) -> None:
    """Writes a recommender's repository, without its card.

    Args:
        source (`Path`): As training saved it.
        target (`Path`): An empty folder.
        benchmark (`str`, *optional*): The benchmark's name on the Hub, for the arguments of the training.
    """
    model, processor = load_recommender(source)
    forget_paths(model, processor)
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
    """Writes the repository of a LoRA adapter: peft's two files, and what [`load_adapted`] builds a model from.

    Args:
        source (`Path`): The adapter.
        model_folder (`Path`): The merged model of the same training.
        target (`Path`): An empty folder.
        benchmark (`str`, *optional*): The benchmark's name on the Hub, for the arguments of the training.
    """
    model, processor = load_recommender(model_folder)
    forget_paths(model, processor)
    for name in ADAPTER_FILES:
        shutil.copyfile(source / name, target / name)
    processor.save_pretrained(target)
    codes = pa.array(model.item_semantic_ids.tolist(), type=pa.list_(pa.int32()))
    item_ids = pa.array(range(1, len(codes) + 1), type=pa.int32())
    pq.write_table(pa.table({"item_id": item_ids, "codes": codes}), target / "semantic_ids.parquet")
    copy_records(model_folder, target, benchmark)


def stage_rqvae(source: Path, target: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Writes the repository of an RQ-VAE: its model, and the semantic IDs that it gave.

    Args:
        source (`Path`): As `scripts/learn_semantic_ids.py` wrote it.
        target (`Path`): An empty folder.

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
    """How the model was trained, without this machine's folders."""
    path = source / ARGUMENTS_FILE
    if path.is_file():
        arguments = public_arguments(yaml.safe_load(path.read_text(encoding="utf-8")), benchmark)
        text = yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True)
        (target / ARGUMENTS_FILE).write_text(text, encoding="utf-8")
    if (source / STATE_FILE).is_file():
        shutil.copyfile(source / STATE_FILE, target / STATE_FILE)


def forget_paths(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Takes out of both configurations where text encoder and tokenizer lay when the model was made."""
    text_config = getattr(model.config, "text_config", None)
    if text_config is not None:
        text_config.name_or_path = ""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is not None:
        for name in ("is_local", "local_files_only", "name_or_path"):
            tokenizer.init_kwargs.pop(name, None)


def module_of(model: PreTrainedModel) -> str:
    """The file that a class is written in, as a repository names it."""
    return type(model).__module__.rpartition(".")[2]


def weights_digest(folder: str | Path) -> str | None:
    """SHA-256 of a folder's weights, by which results know what was measured; `None` where there are none."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        return None
    state = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.hexdigest()


def reference_requests(items: list[Mapping[str, Any]], method: Method, num_requests: int = 8) -> list[dict[str, Any]]:
    """Requests over the whole catalogue that a method can answer, the same every time.

    Args:
        items (`list[Mapping]`): Of the processor.
        method ([`Method`]): What it may see.
        num_requests (`int`, defaults to 8): How many.
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
