"""Download files completely: resume interrupted transfers, check them, and keep them under their own name.

Every transfer goes into `<name>.part` and is renamed when it is complete. An unfinished part has a `<name>.part.json`
with its address and validator (ETag or Last-Modified), which a request for the rest of the same file needs. The hosts
of the review datasets publish no checksums: the first download writes `<name>.sha256`, in the format of `sha256sum`,
and every later use is checked against it.
"""

# requests, because it has its own certificates and reads the proxy settings of the environment, which urllib leaves to
# the machine. Its retries are not used: they cannot resume.

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import logging
import re
import time
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import requests
import urllib3
from filelock import FileLock
from tqdm.auto import tqdm

from ..atomic_write import write_text
from .remote_file import RemoteFile

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT = 15.0, 60.0  # seconds
WAITS = (1.0, 3.0, 10.0)  # seconds before each retry; a try that receives bytes starts them again
LONGEST_WAIT = 60.0  # seconds, an upper bound on a server's Retry-After
CHUNK = 1 << 20  # bytes
GZIP_MAGIC = b"\x1f\x8b"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BUSY = (408, 425, 429)


class DownloadError(OSError):
    """A failed download, or a file that has changed since it was downloaded."""


def download(remote: RemoteFile, folder: Path, progress: bool = True) -> Path:
    """Downloads a file unless it exists; an earlier, unfinished download is resumed.

    The rest of a file is requested only if the server sent a validator, and only for the same content (If-Range);
    otherwise the file starts again. Failed connections, busy servers and interrupted transfers are retried after
    [`WAITS`]; a permanent failure (404, an HTML page, a wrong checksum, a bad certificate) leads to the next address.
    Of two processes that download the same file, the second waits for the first.

    Args:
        remote (`RemoteFile`): The file.
        folder (`Path`): Folder of the file; created if needed.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `Path`: `folder / remote.name`, complete and checked.

    Raises:
        DownloadError: If no address gave the file, the disk is full, or an existing file has another checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / remote.name
    with FileLock(folder / f".{remote.name}.lock"):
        if target.is_file():
            _verify(target, remote)
            return target
        partial = _Partial(folder / f"{remote.name}.part")
        failures = []
        for url in sorted(remote.urls, key=lambda url: url != partial.url):  # the address of the partial file first
            try:
                _fetch(url, partial, progress)
                digest = _check(partial, remote)
            except _Refused as error:
                failures.append(f"{url} {error}")
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                raise DownloadError(
                    f"no space left in {folder} for {remote.name}; {partial.size:,} bytes are kept in "
                    f"{partial.path.name}: free some space and run again to resume"
                ) from error
            else:
                partial.finish(target)
                _record(target, digest)
                return target
    raise DownloadError(
        f"could not download {remote.name}: {'; '.join(failures)}. Get it another way, put it into a folder and pass "
        f"that as --raw_dir, or run again later"
    )


class _Refused(Exception):
    """A permanent failure of one address."""


class _Interrupted(Exception):
    """A failure that a retry may resolve."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


_TRANSIENT = (_Interrupted, requests.RequestException, urllib3.exceptions.HTTPError)


class _Partial:
    """An unfinished file, its address, and the server's validator of its content."""

    def __init__(self, path: Path) -> None:
        self.path, self._state = path, path.with_name(path.name + ".json")
        self.url = self.validator = ""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            self.url, self.validator = str(state["url"]), str(state["validator"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # missing or foreign: start again
            pass

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, url: str, headers: requests.structures.CaseInsensitiveDict) -> None:
        """Discards the bytes so far and records the address of the next ones."""
        self.discard()
        tag = headers.get("ETag", "")
        # A weak tag identifies equivalent content, not equal bytes.
        self.url, self.validator = url, tag if tag.startswith('"') else headers.get("Last-Modified", "")
        state = {"url": self.url, "validator": self.validator}
        self._state.write_text(json.dumps(state) + "\n", encoding="utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)
        self.url = self.validator = ""

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._state.unlink(missing_ok=True)


def _fetch(url: str, partial: _Partial, progress: bool) -> None:
    """Fills the partial file from one address, with retries."""
    waits = iter(WAITS)
    while True:
        before = partial.size if partial.url == url else 0
        try:
            return _receive(url, partial, progress)
        except requests.exceptions.SSLError as error:
            raise _Refused(f"has no valid certificate ({_short(error)})") from error
        except _TRANSIENT as error:
            if partial.url == url and partial.size > before:
                waits = iter(WAITS)
            wait = next(waits, None)
            if wait is None:
                raise _Refused(f"failed {len(WAITS) + 1} times in a row ({_short(error)})") from error
            wait = min(max(wait, getattr(error, "wait", 0.0)), LONGEST_WAIT)
            logger.warning("%s: %s; trying again in %g s", url, _short(error), wait)
            time.sleep(wait)


def _receive(url: str, partial: _Partial, progress: bool) -> None:
    """Requests the whole file, or its rest."""
    # Compressed for the transfer, the bytes and their number would not be those of the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "mender"}
    start = partial.size if partial.url == url and partial.validator else 0
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": partial.validator}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response:
        start, total = _offset_and_total(response, start, partial)
        if start and start == total:
            return
        # Not iter_content: it would decompress a .gz that a server declares as compressed for the transfer.
        chunks = response.raw.stream(CHUNK, decode_content=False)
        if not start:
            first = next(chunks, b"")
            if _is_page(response.headers.get("Content-Type", ""), first):
                raise _Refused("answers with an HTML page instead of the file")
            partial.begin(url, response.headers)
            chunks = chain([first], chunks)
        _append(partial, chunks, start, total, progress)
    if total is not None and partial.size != total:
        raise _Interrupted(f"the transfer ended after {partial.size:,} of {total:,} bytes")


def _offset_and_total(response: requests.Response, start: int, partial: _Partial) -> tuple[int, int | None]:
    """Offset of the response's body in the file, and the length of the file, if known."""
    status = response.status_code
    if status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    content_range = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
    if start and status == 206 and content_range and content_range[1] == str(start):
        return start, int(content_range[2])
    if start and status in (206, 416):
        if status == 416 and content_range and int(content_range[2]) == start:
            return start, start  # cut between the last byte and the renaming
        partial.discard()
        raise _Interrupted("it cannot give the rest of the file, which starts again")
    if status in _BUSY or status >= 500:
        wait = response.headers.get("Retry-After", "")
        raise _Interrupted(f"answers {status} {response.reason}", float(wait) if wait.isdigit() else 0.0)
    raise _Refused(f"answers {status} {response.reason}")


def _append(partial: _Partial, chunks: Iterator[bytes], start: int, total: int | None, progress: bool) -> None:
    bar = tqdm(
        desc=partial.path.name.removesuffix(".part"),
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    with bar, partial.path.open("ab" if start else "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            bar.update(len(chunk))


def _is_page(content_type: str, first: bytes) -> bool:
    if first.startswith(GZIP_MAGIC):
        return False
    return "html" in content_type.lower() or first.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _check(partial: _Partial, remote: RemoteFile) -> str:
    """Returns the checksum of the complete file; a wrong file is discarded."""
    digest = _sha256(partial.path)
    if remote.sha256 is not None and digest != remote.sha256.lower():
        partial.discard()
        raise _Refused(f"gives a file with the sha256 {digest}, not {remote.sha256}")
    if (damage := _damage(partial.path, remote.name)) is not None:
        partial.discard()
        raise _Refused(f"gives a file that is no whole gzip file ({damage})")
    return digest


def _verify(target: Path, remote: RemoteFile) -> None:
    """Checks an existing file against its checksum, or records its checksum."""
    record = _record_path(target)
    recorded = record.read_text(encoding="utf-8").split()[:1] if record.is_file() else []
    expected = [remote.sha256.lower()] if remote.sha256 is not None else recorded
    digest = _sha256(target)
    if expected and expected != [digest]:
        origin = "is the published one" if remote.sha256 is not None else "it had when it was downloaded"
        raise DownloadError(
            f"{target} has the sha256 {digest}, not {expected[0]}, which {origin}; delete it and {record.name} to "
            f"download it again"
        )
    if not expected and (damage := _damage(target, remote.name)) is not None:
        raise DownloadError(f"{target} is no whole gzip file ({damage}); delete it to download it again")
    if not recorded:
        _record(target, digest)


def _record_path(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _record(target: Path, digest: str) -> None:
    write_text(_record_path(target), f"{digest}  {target.name}\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(path: Path, name: str) -> str | None:
    """Describes why a file with a gzip name cannot be read to its end; `None` if it can."""
    if not name.endswith(".gz"):
        return None
    with path.open("rb") as start:
        if start.read(2) != GZIP_MAGIC:
            return "it does not begin like one"
    try:
        with gzip.open(path, "rb") as file:
            while file.read(CHUNK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return str(error)
    return None


def _short(error: Exception) -> str:
    """The innermost reason of an error of requests."""
    text = str(error)
    innermost = re.search(r"\[Errno [^\]]*\] ([^'\")]+)", text)
    return innermost[1] if innermost else text[:200]
