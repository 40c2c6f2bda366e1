"""States of the random generators of a process, as JSON can hold them."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """State of the random generators of a process, as JSON can hold it."""
    numpy: Any = np.random.get_state(legacy=False)
    state = {
        "python": random.getstate(),
        "numpy": numpy | {"state": {name: np.asarray(one).tolist() for name, one in numpy["state"].items()}},
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state().cpu().numpy().tobytes().hex()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restores what [`random_state`] returned; that of another kind of device is left out."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    words = state["numpy"]["state"]
    np.random.set_state({**state["numpy"], "state": {**words, "key": np.array(words["key"], np.uint32)}})
    torch.set_rng_state(_bytes(state["torch"]))
    if device.type != "cpu" and device.type in state:
        torch.get_device_module(device).set_rng_state(_bytes(state[device.type]))


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
