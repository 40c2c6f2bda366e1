"""Record of a file on the web."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RemoteFile:
    """
    A file on the web, at one place or several.

    Args:
        name (`str`): What it is called here; a name that ends in `.gz` is tested for being whole.
        urls (`tuple[str, ...]`): Its addresses (http or https), tried in this order.
        sha256 (`str`, *optional*): Its checksum, where known.

    Raises:
        ValueError: a name with a folder in it, no address, or an address of another kind.
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
