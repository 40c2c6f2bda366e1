"""The HTTP library that `huggingface_hub` calls, httpx2 since its version 2: whose errors are the ones to catch."""

import huggingface_hub

if int(huggingface_hub.__version__.partition(".")[0]) >= 2:
    import httpx2 as httpx
else:
    import httpx

__all__ = ["httpx"]
