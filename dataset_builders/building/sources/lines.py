"""Lines of a text file, plain or gzip, in UTF-8 and of limited length."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

from .file_formats import AS_UTF_8, HEAD_BYTES, foreign_format

MAX_LINE_BYTES = 2**24
"""Longest line, and longest record of a CSV file, in bytes: a gzip file of some MB may hold one of several GB."""

# Errors of the readers of compressed files and archives on a damaged one.
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.ReadError, zipfile.BadZipFile)


def open_lines(path: Path) -> IO[bytes]:
    """Opens a file for reading, through gzip if its first bytes are gzip's, whatever its name.

    Args:
        path (`Path`): An existing file.

    Returns:
        A binary file, to be used in a `with` statement.
    """
    with path.open("rb") as start:
        compressed = start.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def byte_lines(file: IO[bytes], where: str, limit: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    r"""Reads the lines of a binary file, which end in \n, without holding more than one of them.

    Args:
        file (`IO[bytes]`): The open file.
        where (`str`): Its name in an error.
        limit (`int`, *optional*, defaults to 2**24): Longest line in bytes.

    Yields:
        `bytes`: Each line with its end.

    Raises:
        ValueError: If a line is longer than `limit`, or the file is in a format of [`foreign_format`].
    """
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]
    if (named := foreign_format(buffered.peek(HEAD_BYTES)[:HEAD_BYTES])) is not None:
        raise ValueError(f"{where} {named}")
    for number, line in enumerate(iter(partial(buffered.readline, limit + 1), b""), 1):
        if len(line) > limit:
            raise ValueError(
                f"{where}, line {number} is longer than {limit:,} bytes (it begins {shortened(line[:200])}); shorten "
                f"or remove it"
            )
        yield line


def text_lines(path: Path, where: str) -> Iterator[str]:
    """Reads the lines of a UTF-8 file, plain or gzip; a byte order mark at its start is left out.

    Args:
        path (`Path`): An existing file.
        where (`str`): Its name in an error.

    Yields:
        `str`: Each line with its end.

    Raises:
        ValueError: If a line is too long, is not UTF-8 or holds a NUL byte, or the file is damaged.
    """
    number = 0
    try:
        with open_lines(path) as file:
            for number, line in enumerate(byte_lines(file, where), 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if b"\0" in line:
                    raise ValueError(
                        f"{where}, line {number} holds a NUL byte (byte {line.index(0) + 1} of the line), as no text "
                        f"does but UTF-16; {AS_UTF_8}"
                    )
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{where}, line {number} is not UTF-8 (byte {error.start + 1} of the line is "
                        f"0x{line[error.start]:02x}, after {shortened(line[: error.start].decode()[-20:])}); "
                        f"{AS_UTF_8}"
                    ) from error
                yield text
    except DAMAGED as error:
        raise ValueError(
            f"{where} is damaged or cut off after line {number} ({error}); check it, or write it again"
        ) from error


def shortened(value: object, length: int = 60) -> str:
    """Prints a value for an error, at most `length` of its characters.

    >>> shortened("lamp"), shortened("x" * 100, 3), shortened(1.5)
    ("'lamp'", "'xxx'...", '1.5')
    """
    if isinstance(value, str | bytes):
        return repr(value[:length]) + ("..." if len(value) > length else "")
    text = repr(value)
    return text[:length] + ("..." if len(text) > length else "")
