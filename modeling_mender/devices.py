"""Default device of the commands."""

import torch


def default_device() -> str:
    """A GPU if there is one, the CPU otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"
