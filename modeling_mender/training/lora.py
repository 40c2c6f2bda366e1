"""LoRA on the text encoder through peft (an extra): injected for training, merged into plain weights when saved.

A saved model therefore needs no peft to load, and the root files, which reach the Hub, never mention it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

# The attention projections, by the names that text encoder families give them (the paper: q, k, v and o of T5).
ATTENTION_PROJECTIONS = {"q", "k", "v", "o", "query", "key", "value", "attention.output.dense", "q_proj", "k_proj",
                         "v_proj", "o_proj", "out_proj"}  # fmt: skip


def add_lora(model: PreTrainedModel, rank: int, alpha: int) -> int:
    """Makes the attention projections of `model.text_encoder` trainable through LoRA.

    Args:
        model: With a `text_encoder`.
        rank (`int`): Rank of the update.
        alpha (`int`): Scale; the update is multiplied by `alpha / rank`.

    Returns:
        `int`: Number of trainable weights added.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If the text encoder has no projection with a known name, or the method embeds texts ahead of
            training.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ImportError("LoRA needs peft: pip install 'mender[lora]', or set lora_rank to 0.") from None
    if model.config.model_type == "mender_emb":
        raise ValueError(
            f"lora_rank ({rank}) must be 0 for mender_emb: its embeddings are computed ahead (section 3.3)."
        )
    text_encoder = model.text_encoder
    targets = [
        name
        for name, module in text_encoder.named_modules()
        if isinstance(module, nn.Linear) and any(f".{name}".endswith(f".{known}") for known in ATTENTION_PROJECTIONS)
    ]
    if not targets:
        raise ValueError(
            f"found no attention projection in {type(text_encoder).__name__}; set lora_rank to 0, or add its names to "
            "ATTENTION_PROJECTIONS."
        )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    model.text_encoder = inject_adapter_in_model(config, text_encoder)
    model.text_encoder_is_frozen = False  # the base weights still are: peft saw to it
    return sum(weight.numel() for weight in model.text_encoder.parameters() if weight.requires_grad)


@contextmanager
def merged_state_dict(model: nn.Module) -> Iterator[dict[str, object]]:
    """The model's weights with LoRA merged in, under the names that the model has without it.

    Inside the context the adapters are merged; on leaving they are separate again, so training can go on.
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
