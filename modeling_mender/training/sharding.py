"""Models that are sharded over processes (FSDP2): prepared for it, and put together again to rank and to be saved.

Knows what `fully_shard` needs of a model. Does not know the loop. The settings are accelerate's, see
`scripts/accelerate_configs/fsdp2.yaml`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, DistributedType
from torch import nn
from transformers import PreTrainedModel


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether parameters are sharded.

    Raises:
        ValueError: If they are, by anything but FSDP2.
    """
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED) and not accelerator.is_fsdp2:
        raise ValueError(
            "parameters can be sharded by FSDP2 alone; launch with --config_file "
            "scripts/accelerate_configs/fsdp2.yaml, or give --fsdp_version 2."
        )
    return accelerator.is_fsdp2


@contextmanager
def embeddings_in_the_root(model: PreTrainedModel) -> Iterator[None]:
    """Keeps accelerate from sharding the input embeddings apart.

    The decoder's head reads their weight outside of their `forward`, where a shard of its own is not gathered.
    """
    model.get_input_embeddings = lambda: None
    try:
        yield
    finally:
        del model.get_input_embeddings


def without_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that has everything but the parameters, which are on the meta device and take no memory."""
    empty = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=weight.requires_grad)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, memo=empty)


def gather(sharded: nn.Module, blueprint: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The whole model, on every process; all must call this.

    `recommend` and `generate` read weights of inner modules outside of the `forward` that would gather them, and
    processes rank different numbers of batches: on a sharded model they would fail, or wait for each other for ever.

    Args:
        sharded (`nn.Module`): Prepared by accelerate.
        blueprint (`PreTrainedModel`): What [`without_weights`] made of it before.
        device (`torch.device`): Needs room for all parameters beside the shard.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    whole = copy.deepcopy(blueprint)
    whole.load_state_dict(weights, assign=True)
    return whole.to(device)
