"""Base of the models: `from_pretrained` refuses files and weights with which a model would answer wrongly."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .manifest import HUB_OPTIONS, MANIFEST_FILE, ModelFiles, check_plain_name, is_pointer, read_json_object

logger = logging.getLogger(__name__)

# Files that a model is loaded from; a processor is loaded from the others.
MODEL_FILES = ("config.json", "generation_config.json")
MODEL_SUFFIXES = (".safetensors", ".index.json", ".bin", ".py")
PROCESSOR_FILE = "processor_config.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# Types of the fields of generation_config.json that searches here read.
SEARCH_FIELDS = {
    **dict.fromkeys(("num_beams", "num_return_sequences", "max_length", "max_new_tokens", "min_length"), int),
    **dict.fromkeys(("min_new_tokens", "pad_token_id", "bos_token_id", "decoder_start_token_id"), int),
    **dict.fromkeys(("do_sample", "use_cache", "return_dict_in_generate", "output_scores"), bool),
    "length_penalty": int | float,
}
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")

Model = TypeVar("Model", bound="CheckedModel")


class CheckedModel(PreTrainedModel):
    """Model that is loaded from whole and fitting files only.

    Attributes:
        later_weights (`tuple[str, ...]`): Weights that earlier versions of the class lacked or shaped otherwise.
        has_listed_weights (`bool`): Whether the weights were loaded as a manifest lists them.
    """

    later_weights: tuple[str, ...] = ()
    has_listed_weights: bool = False

    @classmethod
    def from_pretrained(cls: type[Model], pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Loads a model as `PreTrainedModel.from_pretrained` does, from safetensors.

        The files are compared with the manifest of their folder; without one a warning says so. Shapes of weights are
        compared before memory is allocated for them.

        Args:
            pretrained_model_name_or_path (`str` or `Path`): Folder or repository on the Hub.
            model_args, kwargs: As in `PreTrainedModel.from_pretrained`. With `ignore_mismatched_sizes`, weights of
                another shape start afresh, and tables are not checked.

        Raises:
            ValueError: If a file differs from the manifest, weights are pickled, missing, unexpected, of another shape
                or not finite, or a table of the model contradicts its configuration.
            OSError: As `PreTrainedModel.from_pretrained`, if there is no such folder, repository or file.
        """
        load: Any = super().from_pretrained
        if pretrained_model_name_or_path is None:  # a state_dict, which the caller answers for
            return load(None, *model_args, **kwargs)
        if kwargs.pop("use_safetensors", None) is False or kwargs.get("gguf_file"):
            raise ValueError("weights are read from safetensors only, no pickle and no GGUF; leave the argument out.")
        starts_afresh = bool(kwargs.get("ignore_mismatched_sizes"))
        with_info = kwargs.pop("output_loading_info", False)
        files = ModelFiles(pretrained_model_name_or_path, kwargs)
        where = files.where
        is_listed = files.check(MODEL_FILES, MODEL_SUFFIXES)
        if not is_listed:
            logger.warning(
                "%s has no %s, by which damaged or mixed-up files are found; its weights are checked for shape and "
                "completeness only.", where, MANIFEST_FILE,
            )  # fmt: skip
        _check_search(files)
        _check_processor(files)
        if not starts_afresh:
            cls._check_shapes(files, kwargs)
        try:
            model, found = load(
                pretrained_model_name_or_path, *model_args, use_safetensors=True, output_loading_info=True, **kwargs
            )
        except (SafetensorError, AttributeError, IndexError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{where} cannot be loaded ({type(error).__name__}: {reason}); a file of it is damaged or another "
                "model's: fetch or copy the model again."
            ) from error
        check_weights(model, {**found, "mismatched_keys": ()} if starts_afresh else found, where)
        for part in model.modules():
            if isinstance(part, CheckedModel) and not starts_afresh:
                try:
                    part.check_tables()
                except ValueError as error:
                    raise ValueError(f"{where} cannot answer: {error}; fetch or copy the model again.") from None
        model.has_listed_weights = is_listed and not starts_afresh
        return (model, found) if with_info else model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as `PreTrainedModel.save_pretrained`, and removes the manifest of what was there before."""
        Path(save_directory, MANIFEST_FILE).unlink(missing_ok=True)
        super().save_pretrained(save_directory, *args, **kwargs)

    def check_tables(self) -> None:
        """Checks tables of the model that are looked up by number; overridden where there are any.

        Raises:
            ValueError: If one contradicts the configuration.
        """

    @classmethod
    def _check_shapes(cls, files: ModelFiles, kwargs: Mapping[str, Any]) -> None:
        """Compares the shapes in the files of weights with those of the configuration, on no device."""
        config = kwargs.get("config")
        if not isinstance(config, PreTrainedConfig):
            options = {name: value for name, value in kwargs.items() if name in HUB_OPTIONS}
            config = cast(Any, cls.config_class).from_pretrained(config or files.name, **options)
        if getattr(config, "transformers_weights", None):
            raise ValueError(
                f"the config.json of {files.where} names other weights (transformers_weights); remove it."
            )
        given = read_shapes(weight_files(files, kwargs.get("variant")))
        try:
            with torch.device("meta"), init.no_init_weights():
                model = cls(config)
        except (TypeError, AttributeError, KeyError, RuntimeError, AssertionError, ZeroDivisionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"the config.json of {files.where} describes no model ({reason}).") from error
        expected = model.state_dict()
        # transformers passes over names that some part, such as T5's encoder, may have too many of
        if surplus := sorted(name for name in given.keys() - expected.keys() if not name.startswith("text_encoder.")):
            raise ValueError(
                f"{files.where} cannot answer: its weights {_some(surplus)} are unexpected; config.json or they are "
                "damaged or another model's: fetch or copy the model again."
            )
        absent = [name for name in cls.later_weights if name in expected and name not in given]
        changed = [
            name
            for name, value in expected.items()
            if name in given and given[name] != (tuple(value.shape), value.is_floating_point())
        ]
        if (absent or changed) and {*absent, *changed} <= {*cls.later_weights}:
            raise ValueError(
                f"{files.where} is a {cast(Any, cls.config_class).model_type} of an earlier version of this project: "
                f"its {', '.join([*absent, *changed])} did not exist or had another shape; train it again with mender "
                "train, or load it with the version that it was trained with."
            )
        if changed:
            name = changed[0]
            raise ValueError(
                f"{files.where} cannot answer: its weights {_some(changed)} are of another shape or type "
                f"({given[name][0]}) than config.json describes ({tuple(expected[name].shape)}); one of the two is "
                "damaged or another model's: fetch or copy the model again."
            )


def _check_processor(files: ModelFiles) -> None:
    """Refuses a description of the processor that the pipeline's own loading stumbles over."""
    fields = files.read_json(PROCESSOR_FILE) or {}
    if not isinstance(fields.get("processor_class", ""), str):
        raise ValueError(
            f"the {PROCESSOR_FILE} of {files.where} gives processor_class as {fields['processor_class']!r:.80}, which "
            "is no name; it is damaged: fetch or copy the model again."
        )


def _check_search(files: ModelFiles) -> None:
    """Refuses a damaged generation_config.json, in whose place transformers takes defaults."""
    for name, value in (files.read_json("generation_config.json") or {}).items():
        kind = SEARCH_FIELDS.get(name)
        if kind is None or value is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(
                f"the generation_config.json of {files.where} gives {name} as {value!r:.80}, which is of a wrong "
                "type; fetch or copy the model again."
            )


def weight_files(files: ModelFiles, variant: str | None = None) -> list[Path]:
    """Files of weights of a model.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If they are pickled, an adapter's, or an index names a file elsewhere.
    """
    if files.find("adapter_config.json") is not None:
        raise ValueError(
            f"{files.where} holds adapter_config.json: it is an adapter, which load_adapted of modeling_mender.hub."
            "loading loads, or mixed up with one; remove that file then."
        )
    if files.folder and (parts := [one.name for one in files.folder.iterdir() if _DISTRIBUTED.fullmatch(one.name)]):
        raise ValueError(f"{files.where} holds {parts[0]}, a part of a distributed checkpoint; remove it.")
    single = f"model.{variant}.safetensors" if variant else "model.safetensors"
    if (path := files.find(single)) is not None:
        return [path]
    index = files.find(f"model.safetensors.index{f'.{variant}' if variant else ''}.json")
    if index is not None:
        names = read_json_object(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ValueError(f"{index} has no weight_map; fetch or copy the model again.")
        for name in names.values():
            check_plain_name(name, index)
        paths = {name: files.find(name) for name in sorted({*names.values()})}
        for name, path in paths.items():
            if path is None:
                raise FileNotFoundError(f"{files.where} lacks {name}, a part of its weights; fetch or copy it again.")
        return [cast(Path, path) for path in paths.values()]
    for name in PICKLED:
        if files.find(name) is not None:
            raise ValueError(
                f"the weights of {files.where} are pickled ({name}), which could run code; save them as safetensors "
                "with save_pretrained where you trust them."
            )
    raise FileNotFoundError(
        f"{files.where} does not appear to have a file named {single}, its weights; fetch or copy the model again."
    )


def read_shapes(paths: Iterable[Path]) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Shape of each weight, and whether it holds floating-point numbers, without reading the numbers.

    Raises:
        ValueError: If a file is no whole safetensors file.
    """
    shapes = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    shapes[name] = (tuple(part.get_shape()), "F" in part.get_dtype())
        except (SafetensorError, OSError) as error:
            reason = " ".join(str(error).split())
            kind = (
                "a pointer of Git LFS: run git lfs pull in the clone"
                if is_pointer(path)
                else ("cut or damaged: fetch or copy it again")
            )
            raise ValueError(f"the weights in {path} cannot be read ({reason}); the file is {kind}.") from error
    return shapes


def check_weights(model: PreTrainedModel, found: Mapping[str, Any], where: str) -> None:
    """Refuses defective weights, with which a model would return wrong answers without an error.

    Args:
        model ([`PreTrainedModel`]): Loaded model.
        found (`Mapping`): Loading info of `from_pretrained`.
        where (`str`): Name of the model, for the error.

    Raises:
        ValueError: If weights are missing, unexpected, of another shape, or not finite.
    """
    wrong = {
        "are missing": found["missing_keys"],
        "are unexpected": found["unexpected_keys"],
        "are of another shape": [key[0] if isinstance(key, tuple) else key for key in found["mismatched_keys"]],
        "hold numbers that are not finite": not_finite(model.state_dict()),
    }
    for what, names in wrong.items():
        if names:
            raise ValueError(
                f"{where} cannot answer: its weights {_some(sorted(map(str, names)))} {what}; fetch or publish the "
                "model again."
            )


def not_finite(weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of weights that hold NaN or an infinity; those on no device are passed over."""
    return [
        name
        for name, value in weights.items()
        if value.is_floating_point()
        and not value.is_meta
        and value.itemsize > 1  # numbers of 8 bits are those of quantized models
        and not value.sum(dtype=torch.float32).isfinite()  # a fast look first: a sum may also overflow
        and not value.isfinite().all()
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
