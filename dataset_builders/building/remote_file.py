"""Record of a file on the web."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web, at one address or several.

    Args:
        name (`str`): Local file name; a file whose name ends in `.gz` is tested for completeness.
        urls (`tuple[str, ...]`): Addresses (http or https), tried in this order.
        sha256 (`str`, *optional*): Checksum, where known.

    Raises:
        ValueError: If the name contains a folder, or there is no address or one of another scheme.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name:
            raise ValueError(f"name ({self.name!r}) must be a file name without a folder")
        if not self.urls:
            raise ValueError(f"{self.name} has no address; give at least one url")
        for url in self.urls:
            if not url.startswith(("https://", "http://")):
                raise ValueError(f"url ({url!r}) must start with https:// or http://")
