"""HTTP library of the installed `huggingface_hub`, for its errors, and the check of repositories' names."""

from typing import TYPE_CHECKING

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

if TYPE_CHECKING or int(huggingface_hub.__version__.partition(".")[0]) < 2:
    import httpx
else:
    import httpx2 as httpx

__all__ = ["check_repo_id", "httpx", "is_repo_id"]


def is_repo_id(name: str | None) -> bool:
    """Whether a text can be the full name of a repository on the Hub, `org/name`.

    >>> is_repo_id("org/pref-discerning"), is_repo_id("gpt2"), is_repo_id("a/b/c"), is_repo_id(None)
    (True, False, False, False)
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name is not None and "/" in name


def check_repo_id(name: str | None, label: str) -> None:
    """Refuses what cannot be the full name of a repository.

    Args:
        name (`str`, *optional*): To be checked.
        label (`str`): What it names, or the option that gave it; the beginning of the error.

    Raises:
        ValueError: If it is not `org/name`.
    """
    if not is_repo_id(name):
        raise ValueError(
            f"{label} ({name!r}) must be org/name in letters, digits, '-', '_' and '.', as in "
            "my-team/mender-tok-beauty."
        )
