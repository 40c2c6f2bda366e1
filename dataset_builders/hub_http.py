"""The HTTP library that `huggingface_hub` calls, httpx2 since its version 2: whose errors are the ones to catch."""

from typing import TYPE_CHECKING

import huggingface_hub

if TYPE_CHECKING or int(huggingface_hub.__version__.partition(".")[0]) < 2:
    import httpx
else:
    import httpx2 as httpx

__all__ = ["httpx"]
