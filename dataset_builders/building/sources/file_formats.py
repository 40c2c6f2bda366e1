"""Formats of files by their first bytes, to name what is given in the place of a text or Parquet file."""

from __future__ import annotations

HEAD_BYTES = 1024
"""So many first bytes are enough for [`foreign_format`]."""

_UNPACK = "unpack it and give the file in it, plain or as .gz"
_AS_TABLE = "write the table as CSV, JSON lines or Parquet"
_EXCEL = "in Excel, save the sheet as CSV UTF-8"
AS_UTF_8 = "save it as UTF-8 (in Excel: CSV UTF-8; for Latin-1: iconv -f latin1 -t utf-8)"
_AS_PARQUET = "give it the suffix .parquet"
# First bytes -> format and way out.
_STARTS = {
    b"\xff\xfe": ("UTF-16 or UTF-32 (its first bytes are a mark of it)", AS_UTF_8),
    b"\xfe\xff": ("UTF-16 or UTF-32 (its first bytes are a mark of it)", AS_UTF_8),
    b"\0\0\xfe\xff": ("UTF-16 or UTF-32 (its first bytes are a mark of it)", AS_UTF_8),
    b"PK\x03\x04": ("a ZIP archive", _UNPACK),
    b"PK\x05\x06": ("an empty ZIP archive", _UNPACK),
    b"\x1f\x8b": ("compressed by gzip", "unpack it (twice, if it is .gz already) and give the file in it"),
    b"BZh": ("compressed by bzip2", _UNPACK),
    b"\xfd7zXZ\0": ("compressed by xz", _UNPACK),
    b"\x5d\0\0": ("compressed by lzma", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": ("a RAR archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed by Zstandard", _UNPACK),
    b"\x04\x22\x4d\x18": ("compressed by LZ4", _UNPACK),
    b"\xff\x06\0\0sNaPpY": ("compressed by Snappy", _UNPACK),
    b"\x1f\x9d": ("compressed by compress", _UNPACK),
    b"PAR1": ("a Parquet file", _AS_PARQUET),
    b"ARROW1": ("an Arrow or Feather file", _AS_TABLE),
    b"FEA1": ("a Feather file", _AS_TABLE),
    b"ORC": ("an ORC file", _AS_TABLE),
    b"Obj\x01": ("an Avro file", _AS_TABLE),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", _AS_TABLE),
    b"\x93NUMPY": ("a NumPy array", _AS_TABLE),
    b"SQLite format 3\0": ("an SQLite database", _AS_TABLE),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old Excel or Office file", _EXCEL),
    b"%PDF-": ("a PDF", _AS_TABLE),
    b"\x80\x03": ("a pickle", _AS_TABLE),
    b"\x80\x04\x95": ("a pickle", _AS_TABLE),
    b"\x80\x05\x95": ("a pickle", _AS_TABLE),
}
_TEXT_STARTS = {
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "fetch it (git lfs pull)"),
    b"<!DOCTYPE html": ("a page of HTML, not the file itself", "download the file that the page links to"),
    b"<!doctype html": ("a page of HTML, not the file itself", "download the file that the page links to"),
    b"<html": ("a page of HTML, not the file itself", "download the file that the page links to"),
    b"<?xml": ("XML", _AS_TABLE),
}
_LINE_ENDS = dict.fromkeys(map(ord, "\t\r\n"), " ")
_IN_ZIP = {
    b"xl/": ("an Excel workbook (.xlsx)", _EXCEL),
    b"[Content_Types].xml": ("an Excel workbook or another Office file", _EXCEL),
    b"application/vnd.oasis.opendocument": ("an OpenDocument sheet", "save the sheet as CSV in UTF-8"),
}


def foreign_format(head: bytes) -> str | None:
    r"""The format of a file that is neither text in UTF-8 nor meant as such, and what to do with it.

    Args:
        head (`bytes`): The first [`HEAD_BYTES`] bytes of the file.

    Returns:
        `str`, *optional*: End of an error, after the file's name; `None` for any other file.

    >>> foreign_format(b"BZh91AY&SY\x8a")
    'is compressed by bzip2; unpack it and give the file in it, plain or as .gz'
    >>> foreign_format(b"BZh91AY,user_id\n"), foreign_format(b"user_id,item_id\n")
    (None, None)
    """
    starts = _TEXT_STARTS if _is_text(head) else _STARTS | _TEXT_STARTS
    found = next((named for start, named in starts.items() if head.startswith(start)), None)
    if head.startswith(b"PK\x03\x04"):
        found = next((named for part, named in _IN_ZIP.items() if part in head), found)
    if head[257:262] == b"ustar":
        found = ("a tar archive", _UNPACK)
    return None if found is None else f"is {found[0]}; {found[1]}"


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are printable ASCII, as those of no binary format are for long."""
    return head[:64].isascii() and head[:64].decode().translate(_LINE_ENDS).isprintable()
