"""Record of a file on the web, and the time that its server asks to wait."""

import email.utils
import math
import re
import time
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

MAX_BYTES = 64 * 2**30
"""Of a download, unless its record states another limit; the largest file of the known datasets has about 20 GiB."""
MAX_NAME_BYTES = 200
"""Of a name, beside which files with longer suffixes are written."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web, at one address or several.

    Args:
        name (`str`): Local file name; a file whose name ends in `.gz` is tested for completeness.
        urls (`tuple[str, ...]`): Addresses (http or https), tried in this order.
        sha256 (`str`, *optional*): Checksum, where known.
        max_bytes (`int`, *optional*, defaults to 64 GiB): A longer file is refused.

    Raises:
        ValueError: If the name is none on every system, there is no address or one of another scheme, or the checksum
            or the limit is none.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        # On every system: no folder, drive or stream, nothing hidden, nothing that a terminal or a file system hides.
        is_plain = PurePosixPath(self.name).name == PureWindowsPath(self.name).name == self.name.rstrip(". ")
        if not (self.name and is_plain and self.name.isprintable()) or self.name.startswith(".") or ":" in self.name:
            raise ValueError(f"name ({self.name!r}) must be a plain file name without a folder")
        if len(self.name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"name ({self.name[:40]!r}...) must have at most {MAX_NAME_BYTES} bytes")
        if isinstance(self.urls, str) or not self.urls:
            raise ValueError(f"{self.name} has no address; give at least one url, in a tuple")
        for url in self.urls:
            if not (url.startswith(("https://", "http://")) and url.isprintable() and urlsplit(url).hostname):
                raise ValueError(f"url ({url!r}) must start with https:// or http:// and name a host")
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError(f"sha256 ({self.sha256!r}) must be 64 hexadecimal digits")
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes ({self.max_bytes}) must be at least 1")


def retry_after(value: str) -> float | None:
    """Seconds that the header Retry-After asks to wait.

    Args:
        value (`str`): Of the header: seconds or a date; `""` without it.

    Returns:
        `float` or `None`: At least 0 and finite; `None` for anything else.

    >>> retry_after("20"), retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), retry_after("soon"), retry_after("-1")
    (20.0, 0.0, None, None)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError, TypeError, OSError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
