"""Download files completely: resume interrupted transfers, check them, and keep them under their own name.

Every transfer goes into `<name>.part` and is renamed when it is complete. An unfinished part has a `<name>.part.json`
with its address and validator (ETag or Last-Modified), which a request for the rest of the same file needs. The hosts
of the review datasets publish no checksums: the first download writes `<name>.sha256`, in the format of `sha256sum`,
and every later use is checked against it.

A server may redirect, but not from https to http, and not to an address of a private network unless its own is one:
a redirect must not reach what only the user's machine can.
"""

# requests, because it has its own certificates and reads the proxy settings of the environment, which urllib leaves to
# the machine. Its retries are not used: they cannot resume.

from __future__ import annotations

import errno
import gzip
import hashlib
import ipaddress
import json
import logging
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from urllib.parse import urljoin

import requests
import urllib3
from filelock import FileLock
from tqdm.auto import tqdm

from ..atomic_write import write_text
from ..escaping import printable
from .remote_file import RemoteFile, retry_after

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT = 15.0, 60.0  # seconds
WAITS = (1.0, 3.0, 10.0)  # seconds before each retry; a try that receives bytes starts them again
LONGEST_WAIT = 60.0  # seconds, an upper bound on a server's Retry-After
CHUNK = 1 << 20  # bytes
MAX_REDIRECTS = 10
GZIP_MAGIC = b"\x1f\x8b"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BUSY = (408, 425, 429)
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class DownloadError(OSError):
    """A failed download, or a file that has changed since it was downloaded."""


def download(remote: RemoteFile, folder: Path, progress: bool = True) -> Path:
    """Downloads a file unless it exists; an earlier, unfinished download is resumed.

    The rest of a file is requested only if the server sent a validator, and only for the same content (If-Range);
    otherwise the file starts again. Failed connections, busy servers and interrupted transfers are retried after
    [`WAITS`]; a permanent failure (404, an HTML page, a wrong checksum, a bad certificate, a redirect to a private
    address, more bytes than `remote.max_bytes`) leads to the next address.
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
        for path in (target, target.with_name(f"{target.name}.part")):
            if path.is_dir():
                raise DownloadError(
                    f"{path} is a folder, and the name of a file; move it away, or choose another folder"
                )
        if target.is_file():
            _verify(target, remote)
            return target
        partial = _Partial(folder / f"{remote.name}.part", remote.max_bytes)
        failures = []
        for url in sorted(remote.urls, key=lambda url: url != partial.url):  # the address of the partial file first
            try:
                digest = _complete(url, partial, remote, progress)
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

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._state, self.max_bytes = path, path.with_name(path.name + ".json"), max_bytes
        self.url = self.validator = ""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            url, validator = state["url"], state["validator"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):  # missing or foreign: start again
            return
        # A validator goes into a header: a line break would begin another one.
        if isinstance(url, str) and isinstance(validator, str) and validator.isprintable() and validator.isascii():
            self.url, self.validator = url, validator

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


def _complete(url: str, partial: _Partial, remote: RemoteFile, progress: bool) -> str:
    """Fills the partial file, once more if bytes of an earlier run were damaged; returns the checksum."""
    is_resumed = partial.url == url and partial.size > 0
    _fetch(url, partial, progress)
    try:
        return _check(partial, remote)
    except _Refused as error:
        if not is_resumed:
            raise
        logger.warning("%s: with the bytes of an earlier run it %s; starting again", url, error)
    _fetch(url, partial, progress)
    return _check(partial, remote)


def _fetch(url: str, partial: _Partial, progress: bool) -> None:
    """Fills the partial file from one address, with retries."""
    waits = iter(WAITS)
    while True:
        before = partial.size if partial.url == url else 0
        try:
            return _receive(url, partial, progress)
        except requests.exceptions.SSLError as error:
            raise _Refused(f"has no valid certificate ({_short(error)})") from error
        except ValueError as error:  # of requests: a redirect to what is no address
            raise _Refused(f"cannot be asked for ({_short(error)})") from error
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
    with _opened(url, headers) as response:
        start, total = _offset_and_total(response, start, partial)
        if start and start == total:
            return
        if total is not None and total > partial.max_bytes:
            raise _Refused(f"gives {total:,} bytes, more than max_bytes ({partial.max_bytes:,})")
        # Not iter_content: it would decompress a .gz that a server declares as compressed for the transfer.
        chunks = response.raw.stream(CHUNK, decode_content=False)
        if not start:
            first = next(chunks, b"")
            if _is_page(response.headers.get("Content-Type", ""), first):
                raise _Refused("answers with an HTML page instead of the file")
            is_packed = partial.path.name.endswith(".gz.part")
            if response.headers.get("Content-Encoding", "identity") != "identity" and not is_packed:
                raise _Refused("compresses the file for the transfer, which was not asked for")
            partial.begin(url, response.headers)
            chunks = chain([first], chunks)
        _append(partial, chunks, start, total, progress)
    if total is not None and partial.size > total:
        partial.discard()
        raise _Refused(f"gives more than the {total:,} bytes that it says")
    if total is not None and partial.size != total:
        raise _Interrupted(f"the transfer ended after {partial.size:,} of {total:,} bytes")


class _OneStep(requests.Session):
    """A session that leaves redirects, and the reading of their bodies, to its caller."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, wherever the response leads."""


@contextmanager
def _opened(url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """The response of an address, or of the one that it leads to."""
    current = url
    with _OneStep() as session:
        for _ in range(MAX_REDIRECTS + 1):
            with session.get(
                current, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
            ) as response:
                location = response.headers.get("Location")
                if response.status_code not in _REDIRECTS or location is None:
                    yield response
                    return
            target = urljoin(current, location.encode("latin-1").decode("utf-8", "replace"))
            _check_redirect(url, current, target)
            current = target
    raise _Refused(f"redirects more than {MAX_REDIRECTS} times")


def _check_redirect(first: str, current: str, target: str) -> None:
    """Refuses a redirect to another scheme, to less protection, or into a network that its server may not reach."""
    shown = printable(target)[:200]
    if not target.lower().startswith(("https://", "http://")):
        raise _Refused(f"redirects to {shown}, which is neither https nor http")
    if current.lower().startswith("https://") and not target.lower().startswith("https://"):
        raise _Refused(f"redirects from https to {shown}, which anyone on the way can change")
    if (address := _private_address(target)) and not _private_address(first):
        raise _Refused(f"redirects to {shown}, which is the private address {address}")


def _private_address(url: str) -> str | None:
    """The first address of a URL's host that is not one of the public internet."""
    # The parser of requests, so that the host is the one that it would ask.
    host = urllib3.util.parse_url(str(requests.Request("GET", url).prepare().url)).host or ""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a proxy may know it; else connecting names it
        return None
    return next((str(each[4][0]) for each in found if not _is_public(str(each[4][0]).partition("%")[0])), None)


def _is_public(text: str) -> bool:
    """Whether an IP address is of the public internet, also where one of version 4 is packed into version 6.

    >>> _is_public("8.8.8.8"), _is_public("::ffff:127.0.0.1"), _is_public("64:ff9b::10.0.0.1"), _is_public("fe80::1")
    (True, False, False, False)
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        packed = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64 or int(address) < 2**32:
            packed = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = packed or address
    return address.is_global and not address.is_multicast


def _offset_and_total(response: requests.Response, start: int, partial: _Partial) -> tuple[int, int | None]:
    """Offset of the response's body in the file, and the length of the file, if known."""
    status, reason = response.status_code, printable(response.reason or "")[:100]
    if status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    content_range = re.fullmatch(
        r"bytes (?:([0-9]{1,18})-[0-9]+|\*)/([0-9]{1,18})", response.headers.get("Content-Range", "")
    )
    stated = [value for name in ("ETag", "Last-Modified") if (value := response.headers.get(name))]
    is_same = not stated or partial.validator in stated  # a server that ignores If-Range may give the rest of another
    if start and status == 206 and content_range and content_range[1] == str(start) and is_same:
        return start, int(content_range[2])
    if start and status in (206, 416):
        if status == 416 and content_range and int(content_range[2]) == start:
            return start, start  # cut between the last byte and the renaming
        partial.discard()
        raise _Interrupted("it cannot give the rest of the file, which starts again")
    if status in _BUSY or status >= 500:
        raise _Interrupted(f"answers {status} {reason}", retry_after(response.headers.get("Retry-After", "")) or 0.0)
    raise _Refused(f"answers {status} {reason}")


def _append(partial: _Partial, chunks: Iterator[bytes], start: int, total: int | None, progress: bool) -> None:
    bar = tqdm(
        desc=partial.path.name.removesuffix(".part"),
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    left = partial.max_bytes - start
    with bar, partial.path.open("ab" if start else "wb") as file:
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                partial.discard()
                raise _Refused(f"gives more than max_bytes ({partial.max_bytes:,})")
            file.write(chunk)
            bar.update(len(chunk))


def _is_page(content_type: str, first: bytes) -> bool:
    if first.startswith(GZIP_MAGIC):
        return False
    # No table or archive begins with a tag, and a page may with a comment before its own.
    return "html" in content_type.lower() or first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _check(partial: _Partial, remote: RemoteFile) -> str:
    """Returns the checksum of the complete file; a wrong file is discarded."""
    if partial.size == 0:
        partial.discard()
        raise _Refused("gives an empty file")
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
    recorded = record.read_text(encoding="utf-8", errors="replace").split()[:1] if record.is_file() else []
    expected = [remote.sha256.lower()] if remote.sha256 is not None else recorded
    digest = _sha256(target)
    if expected and expected != [digest]:
        origin = "is the published one" if remote.sha256 is not None else "it had when it was downloaded"
        raise DownloadError(
            f"{target} has the sha256 {digest}, not {printable(expected[0])[:64]}, which {origin}; delete it and "
            f"{record.name} to download it again"
        )
    if not expected and (damage := _damage(target, remote.name)) is not None:
        raise DownloadError(f"{target} is no whole gzip file ({damage}); delete it to download it again")
    if not recorded:
        _record(target, digest)


def _record_path(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _record(target: Path, digest: str) -> None:
    try:
        write_text(_record_path(target), f"{digest}  {target.name}\n")
    except OSError as error:
        raise DownloadError(f"{target} is complete, but {_record_path(target)} cannot be written ({error})") from error


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
    text = printable(str(error))
    innermost = re.search(r"\[Errno [^\]]*\] ([^'\")]+)", text)
    return innermost[1] if innermost else text[:200]
