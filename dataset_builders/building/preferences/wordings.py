"""Choice of the approximator from metadata by the name of its wording, with the default of each source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .metadata import MetadataApproximator

WORDINGS = ("metadata/1", "metadata/2")
"""Wordings of preferences from metadata: in the words of titles, and without these."""
DEFAULT_WORDINGS = {"sample": "metadata/2"}
"""Source -> wording; metadata/1 for every other source."""


def metadata_approximator(source: str, window: int, wording: str | None = None) -> MetadataApproximator:
    """Makes the approximator from metadata.

    Args:
        source (`str`): Name of the source, for the default.
        window (`int`): Number of past items that are read.
        wording (`str`, *optional*): One of [`WORDINGS`]; that of [`DEFAULT_WORDINGS`] by default.

    Raises:
        ValueError: If the wording is unknown, or the window is below 1.
    """
    from .metadata import MetadataApproximator
    from .paraphrased_metadata import ParaphrasedMetadataApproximator

    wording = wording or DEFAULT_WORDINGS.get(source, "metadata/1")
    if wording not in WORDINGS:
        raise ValueError(f"The wording {wording!r} is not known; choose one of {', '.join(WORDINGS)}.")
    return (ParaphrasedMetadataApproximator if wording == "metadata/2" else MetadataApproximator)(window)
