"""Finetuning of pretrained parts: none, LoRA (with the extra package peft), or all weights.

LoRA is merged into plain weights when a model is saved, so that loading it needs no peft; the adapter can be kept
beside it in peft's format.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from ..atomic_write import new_directory
from ..checked_loading import not_finite, read_shapes
from ..manifest import read_json_object
from ..text_encoder_mixin import TextEncoderMixin
from .arguments import TrainingArguments, TunedEncoderArguments

# Names of the attention projections in families of text encoders (the paper: q, k, v and o of T5).
ATTENTION_PROJECTIONS = ("q", "k", "v", "o", "query", "key", "value", "attention.output.dense", "q_proj", "k_proj",
                         "v_proj", "o_proj", "out_proj")  # fmt: skip
EMBEDS_AHEAD = ("mender_emb", "mender_steer")  # model types that embed texts before training and drop the text encoder
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # peft's names


def apply_finetuning(model: PreTrainedModel, arguments: TrainingArguments) -> None:
    """Makes pretrained parts trainable as the arguments say: through LoRA, in full, or not at all.

    Args:
        model ([`PreTrainedModel`]): New model. `lora_parts` names its pretrained parts (default: the text encoder).
        arguments ([`TrainingArguments`]): Training arguments; only [`TunedEncoderArguments`] change anything.

    Raises:
        ImportError, ValueError: As [`add_lora`], or if there is no text encoder to train.
    """
    if not isinstance(arguments, TunedEncoderArguments):
        return
    if not arguments.lora_rank and not arguments.finetune_text_encoder:
        return
    parts = getattr(model, "lora_parts", ("text_encoder",))
    if not parts or not hasattr(model, "text_encoder"):
        raise ValueError(
            f"{arguments.method} has no pretrained part; set lora_rank to 0 and finetune_text_encoder to false."
        )
    if arguments.finetune_text_encoder:
        cast(TextEncoderMixin, model).unfreeze_text_encoder()
        for part in set(parts) - {"text_encoder"}:
            model.get_submodule(part).requires_grad_(True)
    else:
        add_lora(
            model, arguments.lora_rank, arguments.lora_alpha, parts, arguments.lora_dropout,
            arguments.lora_target_modules,
        )  # fmt: skip


def add_lora(
    model: PreTrainedModel,
    rank: int,
    alpha: int,
    parts: Sequence[str] = ("text_encoder",),
    dropout: float = 0.0,
    target_modules: Sequence[str] | None = None,
) -> int:
    """Makes linear layers of pretrained parts trainable through LoRA.

    The other weights of those parts are frozen, except their token embeddings (those of codes are new): these, and
    all weights outside those parts, stay as trainable as they were.

    Args:
        model (`PreTrainedModel`): Model, changed in place.
        rank (`int`): Rank of the update.
        alpha (`int`): Scale: the update is multiplied by `alpha / rank`.
        parts (`Sequence[str]`, defaults to `("text_encoder",)`): Attributes of the model, such as `decoder`.
        dropout (`float`, defaults to 0): Dropout of the update's input.
        target_modules (`Sequence[str]`, *optional*): Names of linear layers, or ends of them; defaults to the
            attention projections.

    Returns:
        `int`: Number of trainable weights added.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If a part or a target does not exist, or the method embeds texts before training.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ImportError("LoRA needs peft: pip install 'mender-recommender[lora]', or set lora_rank to 0.") from None
    if model.config.model_type in EMBEDS_AHEAD:
        raise ValueError(
            f"lora_rank ({rank}) must be 0 for {model.config.model_type}: its embeddings are computed before training "
            "(section 3.3)."
        )
    children = cast(dict[str, PreTrainedModel], dict(model.named_children()))
    for part in parts:
        if part not in children:
            raise ValueError(f"part {part!r} is not in {type(model).__name__}; its parts are {', '.join(children)}.")
    targets = find_targets(model, parts, target_modules)
    was_trainable = {name: weight.requires_grad for name, weight in model.named_parameters()}
    embeddings = {id(children[part].get_input_embeddings().weight) for part in parts}
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)
    inject_adapter_in_model(config, model)
    for name, weight in model.named_parameters():
        if ".lora_" not in name:
            is_free = name.split(".")[0] not in parts or id(weight) in embeddings
            weight.requires_grad_(is_free and was_trainable[name.replace(".base_layer.", ".")])
    if "text_encoder" in parts:
        cast(TextEncoderMixin, model).text_encoder_is_frozen = False  # the base weights still are
    return sum(weight.numel() for name, weight in model.named_parameters() if ".lora_" in name)


def find_targets(model: nn.Module, parts: Sequence[str], names: Sequence[str] | None = None) -> list[str]:
    """Returns the full names of the linear layers inside `parts` whose name ends with one of `names`.

    Raises:
        ValueError: If one of `names` matches no layer, or no `names` are given and a part has no known attention
            projection.
    """
    linear = [
        f"{part}.{name}"
        for part in parts
        for name, module in model.get_submodule(part).named_modules()
        if isinstance(module, nn.Linear)
    ]
    found = {
        name: [layer for layer in linear if layer.endswith(f".{name}")] for name in names or ATTENTION_PROJECTIONS
    }
    there = ", ".join(sorted({layer.rpartition(".")[2] for layer in linear}))
    for name in names or ():
        if not found[name]:
            raise ValueError(f"lora_target_modules names {name!r}, which is no linear layer of {', '.join(parts)}; "
                             f"there are {there}.")  # fmt: skip
    targets = {layer for layers in found.values() for layer in layers}
    for part in parts:
        if names is None and not any(layer.startswith(f"{part}.") for layer in targets):
            raise ValueError(
                f"found no attention projection in {type(model.get_submodule(part)).__name__}; set lora_rank to 0, or "
                f"name layers in lora_target_modules; there are {there}."
            )
    return [layer for layer in linear if layer in targets]


@contextmanager
def merged_state_dict(model: nn.Module) -> Iterator[dict[str, object]]:
    """Yields the model's weights with LoRA merged in, under the names that they have without it.

    The adapters are merged inside the context only, so that training can continue after it.
    """
    try:
        from peft.tuners.lora import LoraLayer
    except ImportError:
        yield model.state_dict()
        return
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.merge()
    try:
        yield {
            name.replace(".base_layer.", "."): value
            for name, value in model.state_dict().items()
            if ".lora_" not in name
        }
    finally:
        for layer in layers:
            layer.unmerge()


def save_adapter(model: PreTrainedModel, folder: str | Path) -> None:
    """Writes what training changed in peft's format: LoRA, and in full the modules that were trained in full.

    `PeftModel.from_pretrained(base, folder)` or [`load_adapter`] on a model built again (the same pretrained
    checkpoint, sizes and catalog) then gives the trained model.

    Args:
        model (`PreTrainedModel`): Model changed by [`add_lora`].
        folder (`str` or `Path`): Folder for `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        ValueError: If the model has no LoRA.
    """
    if not hasattr(model, "peft_config"):
        raise ValueError("the model has no LoRA, so there is no adapter to save; set lora_rank to at least 1.")
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad and ".lora_" not in name]
    modules = sorted({name.rpartition(".")[0] for name in trained})
    weights = {name.replace(".default.", "."): value for name, value in model.state_dict().items() if ".lora_" in name}
    for module in modules:
        weights |= {f"{module}.{name}": value for name, value in model.get_submodule(module).state_dict().items()}
    config: Any = copy.copy(model.peft_config["default"])  # a LoraConfig of peft, an extra
    config.modules_to_save, config.inference_mode = modules, True
    weights = {f"base_model.model.{name}": value.detach().cpu().contiguous() for name, value in weights.items()}
    with new_directory(folder, overwrite=True) as temporary:
        config.save_pretrained(str(temporary))
        save_file(weights, temporary / ADAPTER_FILES[1], metadata={"format": "pt"})


@torch.no_grad()
def load_adapter(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Merges an adapter of [`save_adapter`] into a newly built model.

    Args:
        model (`PreTrainedModel`): Model as it was before training; changed in place.
        folder (`str` or `Path`): Folder written by [`save_adapter`].

    Returns:
        `PreTrainedModel`: The same model with plain weights.

    Raises:
        ImportError: If peft is not installed.
        FileNotFoundError: If the folder holds no adapter.
        ValueError: If the adapter is damaged, or belongs to a model of other sizes.
    """
    for name in ADAPTER_FILES:
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(f"{folder} holds no adapter ({name} is missing); train with --save_adapter true.")
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError:
        raise ImportError(
            "an adapter needs peft: pip install 'mender-recommender[lora]', or load the merged model."
        ) from None
    path = Path(folder) / ADAPTER_FILES[1]
    read_json_object(Path(folder) / ADAPTER_FILES[0])
    given = read_shapes([path])
    if damaged := not_finite(load_file(path)):
        raise ValueError(f"{path} holds numbers that are not finite ({damaged[0]}); fetch or train it again.")
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
        expected = get_peft_model_state_dict(adapted)
        for what, names in (
            ("lacks", expected.keys() - given.keys()),
            ("has the unexpected", given.keys() - expected.keys()),
        ):
            if names:
                raise ValueError(f"{path} {what} {min(names)}")
        return adapted.merge_and_unload()
    except (RuntimeError, ValueError, TypeError, KeyError) as error:  # sizes differ; targets that do not exist
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(
            f"the adapter in {folder} does not fit this {type(model).__name__} ({reason}); build the model with the "
            "text encoder and sizes that it was trained with."
        ) from None
