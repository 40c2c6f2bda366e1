"""Base of the configurations: types and sizes of their fields, checked when a configuration is made or read."""

import inspect
import math
import re
import types
from typing import Any, TypeVar, get_args, get_origin

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

MAX_LAYERS = 1000
MAX_LABELS = 100_000
# Text encoders that number positions from the one after the padding token's id.
POSITIONS_AFTER_PADDING = (
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip

Config = TypeVar("Config", bound="CheckedConfig")


class CheckedConfig(PreTrainedConfig):
    """Configuration whose fields must have the types that they are declared with.

    Args:
        items_digest (`str`, *optional*): SHA-256 of the `items.jsonl` that the model was trained with, which the
            processor compares.

    Raises:
        ValueError: If a field has another type, or a number is not finite.
    """

    items_digest: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        check_counts(kwargs)
        self.check_types()
        super().__post_init__(**kwargs)

    def check_types(self) -> None:
        """Checks the fields that the classes of this project declare; called before they are compared.

        Raises:
            ValueError: If a field has another type; names the first.
        """
        check_counts(vars(self))
        for owner in type(self).__mro__:
            if not issubclass(owner, CheckedConfig):
                continue
            for name, declared in inspect.get_annotations(owner).items():
                value = getattr(self, name)
                if not _fits(value, declared):
                    shown = getattr(declared, "__name__", declared)
                    raise ValueError(f"{name} ({_shown(value)}) must be of type {shown}; see {type(self).__name__}.")

    @classmethod
    def from_dict(cls: type[Config], config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Makes a configuration from the fields of a `config.json`.

        Raises:
            ValueError: If a field has a wrong type or value.
        """
        check_counts(config_dict)
        try:
            return super().from_dict(config_dict, **kwargs)
        except (StrictDataclassError, AttributeError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"the configuration of a {cls.model_type} has a field of a wrong type or value ({reason}); its "
                "config.json is damaged: fetch or copy the model again."
            ) from error


def count_positions(text_config: Any) -> int | None:
    """Largest number of tokens that a text encoder has positions for; `None` for one without positions, such as T5.

    Args:
        text_config (`PreTrainedConfig` or `Mapping`): Configuration of the text encoder.

    >>> count_positions({"model_type": "bert", "max_position_embeddings": 512})
    512
    >>> count_positions({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1})
    512
    """
    names = ("model_type", "max_position_embeddings", "pad_token_id")
    read = text_config.get if isinstance(text_config, dict) else lambda name: getattr(text_config, name, None)
    model_type, positions, padding = map(read, names)
    if not isinstance(positions, int):
        return None
    if model_type in POSITIONS_AFTER_PADDING:
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    return positions


def check_item_counts(config: PreTrainedConfig) -> None:
    """Checks that a catalog has its trained items, and items that are not removed.

    Raises:
        ValueError: If `num_trained_items` or `num_removed_items` is out of range.
    """
    num_items, trained, removed = config.num_items, config.num_trained_items, config.num_removed_items
    if trained is not None and not 1 <= trained <= num_items:
        raise ValueError(f"num_trained_items ({trained}) must be in 1..{num_items}, the number of items.")
    if not 0 <= removed < num_items:
        raise ValueError(f"num_removed_items ({removed}) must be in 0..{num_items - 1}, fewer than the items.")


def check_counts(fields: Any, depth: int = 0) -> None:
    """Refuses numbers of layers and labels, which would be created one by one, beyond any real model's; and labels
    without a number."""
    if not isinstance(fields, dict) or depth > 3:
        return
    for name, value in fields.items():
        limit = MAX_LABELS if name == "num_labels" else MAX_LAYERS if "layers" in str(name) else None
        if limit and isinstance(value, int | float) and value > limit:
            raise ValueError(f"{name} ({_shown(value)}) must be at most {limit}; the config.json is damaged.")
        if name == "id2label" and value is not None:
            wrong = [key for key in value if not _is_label(key)] if isinstance(value, dict) else [value]
            if wrong:
                raise ValueError(
                    f"id2label ({_shown(wrong[0])}) must map whole numbers to names; the config.json is damaged."
                )
        check_counts(value, depth + 1)


def _is_label(key: Any) -> bool:
    return not isinstance(key, bool) and re.fullmatch("[0-9]{1,9}", str(key)) is not None


def _fits(value: Any, declared: Any) -> bool:
    """Whether a value has a declared type; a bool is no number, and an integer is a float."""
    if isinstance(declared, types.UnionType):
        return any(_fits(value, one) for one in get_args(declared))
    origin, inner = get_origin(declared), get_args(declared)
    if origin in (list, tuple):
        return isinstance(value, origin) and all(_fits(one, inner[0]) for one in value)
    if declared in (int, float):
        kinds = (int, float) if declared is float else int
        return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    return not isinstance(declared, type) or isinstance(value, declared)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # of an integer with too many digits
        return f"a value of type {type(value).__name__}"
