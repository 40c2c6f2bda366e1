"""Preparation of a model for sharding over processes (FSDP2), and its reassembly for ranking and saving.

The settings are accelerate's; see `scripts/accelerate_configs/fsdp2.yaml`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from accelerate import Accelerator, DistributedType
from torch import nn
from transformers import PreTrainedModel


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether parameters are sharded.

    Raises:
        ValueError: If they are sharded by anything but FSDP2.
    """
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED) and not accelerator.is_fsdp2:
        raise ValueError(
            "parameters can only be sharded by FSDP2; launch with --config_file "
            "scripts/accelerate_configs/fsdp2.yaml, or give --fsdp_version 2."
        )
    return accelerator.is_fsdp2


@contextmanager
def embeddings_in_the_root(model: PreTrainedModel) -> Iterator[None]:
    """Keeps accelerate from sharding the input embeddings separately.

    The decoder's head reads their weight outside their `forward`, where a separate shard is not gathered.
    """
    vars(model)["get_input_embeddings"] = lambda: None
    try:
        yield
    finally:
        del model.get_input_embeddings


def without_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Copies a model with its parameters on the meta device, where they take no memory."""
    empty = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=weight.requires_grad)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, memo=empty)


def gather(sharded: nn.Module, blueprint: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Gathers the unsharded model on every process; all processes must call this.

    `recommend` and `generate` read weights of inner modules outside the `forward` that would gather them, and
    processes rank different numbers of batches: on a sharded model they would fail or deadlock.

    Args:
        sharded (`nn.Module`): Model prepared by accelerate.
        blueprint (`PreTrainedModel`): Copy by [`without_weights`] of the model before that.
        device (`torch.device`): Device with room for all parameters beside the shard.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    whole = copy.deepcopy(blueprint)
    whole.load_state_dict(weights, assign=True)
    cast(nn.Module, whole).to(device)  # the types of transformers leave out the device
    return whole
