"""Send one request to a chat server with the `openai` client, and return the text of its answer or a named error.

The client's own retries are off: its time limit starts again with every byte, and each of its requests waits for
itself, although all requests in flight meet the same limit of the server. Importing this file imports `openai`, which
takes a second.
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import openai

from ...remote_file import retry_after

NO_KEY = "none"
"""Sent as the key where the user gave none."""
ERROR_BYTES = 65_536
"""How much of an error's body is read."""
COMPLETIONS = "/chat/completions"


class ConnectionTrouble(Exception):
    """An attempt that brought no answer."""


class BadStatus(Exception):
    """An answer that says by its status that it is none.

    Attributes:
        status (`int`): Of HTTP.
        body (`str`): Its first bytes, as text.
        location (`str`): Where a redirect leads, or `""`; it is not followed.
        retry_after (`float`, *optional*): Seconds that the server asks to wait.
    """

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        try:
            self.body = decoded(response.content, response.charset_encoding)
        except ConnectionTrouble:  # the words of an error are only shown
            self.body = response.content.decode("utf-8", "replace")
        self.location = response.headers.get("Location", "")
        self.retry_after = retry_after(response.headers.get("Retry-After", ""))


class Connection:
    """An open client.

    Args:
        base_url (`str`): Taken as it is given: requests go to `base_url/chat/completions`, with its query and its user
            name and password.
        api_key (`str`, *optional*): Of that server; nothing else is sent as one.
        timeout (`float`): Seconds from the first to the last byte.
        max_bytes (`int`): Of an answer, at most, once it is unpacked.

    Raises:
        ValueError: If the URL cannot be read.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout: float, max_bytes: int) -> None:
        self._timeout, self._max_bytes = timeout, max_bytes
        parts = urlsplit(base_url)
        path = parts.path.rstrip("/").removesuffix(COMPLETIONS)
        headers: dict[str, Any] = {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        headers["Accept-Encoding"] = "identity"
        user, _, host = parts.netloc.rpartition("@")
        http_client = openai.DefaultAsyncHttpxClient(
            auth=httpx2.BasicAuth(unquote(parts.username or ""), unquote(parts.password or "")) if user else None,
            follow_redirects=False,  # the reviews go to the server that was named, to no other
            limits=httpx2.Limits(max_connections=None),
            event_hooks={"response": [self._limit]},
        )
        try:
            self._client = openai.AsyncOpenAI(
                base_url=parts._replace(netloc=host, path=path, query="", fragment="").geturl(),
                api_key=api_key or NO_KEY,  # without one the client takes OPENAI_API_KEY, whosever the server is
                default_query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                default_headers=headers,
                max_retries=0,
                timeout=timeout,
                http_client=http_client,
            )
        except httpx2.InvalidURL as error:
            raise ValueError(
                f"base_url names the host {parts.hostname!r}, which is none ({error}); give it as in "
                "http://127.0.0.1:8000/v1."
            ) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _limit(self, response: httpx2.Response) -> None:
        """Limits how much of a body the client reads, and of an error's still more."""
        if isinstance(response.stream, httpx2.AsyncByteStream):
            packing = response.headers.pop("Content-Encoding", "").strip().lower()
            limit = self._max_bytes + 1 if response.is_success else ERROR_BYTES
            response.stream = _Unpacked(response.stream, packing, limit)

    async def post(self, parameters: Mapping[str, Any]) -> str:
        """Sends one request.

        Args:
            parameters (`Mapping`): Of a chat completion.

        Returns:
            `str`: The body of the answer.

        Raises:
            BadStatus: If the status is not 2xx.
            ConnectionTrouble: If no answer came, not in time, one that is too long, or not to be unpacked or decoded.
        """
        create = self._client.chat.completions.with_streaming_response.create
        try:
            async with asyncio.timeout(self._timeout), create(**parameters, stream=False) as response:
                body = bytearray()
                async for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise ConnectionTrouble(f"the answer is longer than {self._max_bytes:,} bytes")
                return decoded(bytes(body), response.http_response.charset_encoding)
        except (TimeoutError, httpx2.TimeoutException, openai.APITimeoutError) as error:
            raise ConnectionTrouble(f"no reply within {self._timeout:g} s") from error
        except openai.APIStatusError as error:
            raise BadStatus(error.response) from None  # whose own text may repeat the key
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            raise ConnectionTrouble(f"the connection failed ({str(cause) or type(cause).__name__})") from error


def decoded(body: bytes, charset: str | None) -> str:
    r"""Text of a body in the charset that its server states, or in UTF-8 if it states none that is known.

    Raises:
        ConnectionTrouble: If the body is not in that charset.

    >>> decoded(b"caf\xe9", "iso-8859-1") == decoded(b"caf\xc3\xa9", None) == "caf\u00e9"
    True
    """
    name = charset or "utf-8"
    try:
        try:
            return body.decode("utf-8-sig" if name.lower() in ("utf-8", "utf8") else name)
        except LookupError:
            name = "utf-8"
            return body.decode("utf-8-sig")
    except UnicodeError as error:
        raise ConnectionTrouble(f"the answer is not in {name[:40]} ({str(error)[:200]})") from error


class _Unpacked(httpx2.AsyncByteStream):
    """At most `limit` bytes of a body, unpacked piece by piece: a short one may be packed from a very long one."""

    def __init__(self, stream: httpx2.AsyncByteStream, packing: str, limit: int) -> None:
        self._stream, self._packing, self._left = stream, packing, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._packing not in _PACKINGS:
            raise ConnectionTrouble(f"the answer is packed as {self._packing[:40]!r}, which was not asked for")
        bits = _PACKINGS[self._packing]
        unpack = zlib.decompressobj(bits) if bits else None
        async for chunk in self._stream:
            try:
                piece = unpack.decompress(chunk, self._left) if unpack else chunk[: self._left]
            except zlib.error as error:
                raise ConnectionTrouble(f"the answer cannot be unpacked ({error})") from error
            yield piece
            self._left -= len(piece)
            if self._left <= 0:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


_PACKINGS = {"": 0, "identity": 0, "gzip": 31, "x-gzip": 31, "deflate": 15}
"""Of the header Content-Encoding -> window bits of zlib."""


class _ShownUrl(logging.Filter):
    """Takes the query, which may hold a key, out of the lines that the client logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                argument.copy_with(query=None) if isinstance(argument, httpx2.URL) else argument
                for argument in record.args
            )
        return True


logging.getLogger("httpx2").addFilter(_ShownUrl())
