"""Manifest of a model folder: size and SHA-256 of each of its files, by which damage and mix-ups are found.

It finds files that are cut, damaged, missing, or another model's. It is no signature: a
deliberate change of a file and of the manifest is not found.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .atomic_write import write_text

logger = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1
ITEMS_FILE = "items.jsonl"
MAX_JSON_BYTES = 10_000_000  # of a JSON file other than a tokenizer's
MAX_DEPTH = 20
# Files that people edit, or that arrive after the manifest; no loading reads them.
NOT_LISTED = (MANIFEST_FILE, "README.md", "results.json", "LICENSE")
# Kinds of files that transformers reads when it finds them, listed or not.
READ_WHEN_FOUND = (".safetensors", ".json", ".jsonl", ".bin", ".model", ".jinja", "vocab.txt", "merges.txt")
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
_PLAIN_NAME = re.compile(r"\w[^/\\:\x00-\x1f]{0,254}")
POINTER = b"version https://git-lfs"


class ModelFiles:
    """Files of a model in a folder, or in a repository of the Hub, from which they are fetched one by one.

    Args:
        name_or_path (`str` or `Path`): Folder or repository.
        options (`Mapping`): Arguments of `from_pretrained`, of which `HUB_OPTIONS` are used.

    Attributes:
        where (`str`): Name for errors.
    """

    def __init__(self, name_or_path: str | os.PathLike, options: Mapping[str, Any] | None = None) -> None:
        self.name = os.fspath(name_or_path)
        self.options = {name: value for name, value in (options or {}).items() if name in HUB_OPTIONS}
        self.folder = Path(self.name, self.options.get("subfolder") or "") if Path(self.name).is_dir() else None
        revision = self.options.get("revision")
        self.where = f"{self.name} at revision {revision}" if revision not in (None, "main") else self.name

    def find(self, name: str) -> Path | None:
        """Path of a file, fetched if need be; `None` if there is none.

        Raises:
            ValueError: If it is something else than a file.
        """
        if self.folder is None:
            from transformers.utils import cached_file  # a search among titles waits for no library of models

            found = cached_file(
                self.name, name, **self.options, _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
            )  # fmt: skip
            return Path(found) if found else None
        path = self.folder / name
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is a folder and must be a file; fetch or copy the model again.")
        return path if path.is_file() else None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Fields of a JSON file; `None` if there is none.

        Raises:
            ValueError: If it is no JSON object, or too large.
        """
        path = self.find(name)
        return None if path is None else read_json_object(path)

    def check(self, names: Collection[str] = (), suffixes: tuple[str, ...] = (), rest: bool = False) -> bool:
        """Compares files with the manifest before they are read.

        Args:
            names, suffixes: The files to compare: those with these names, or with names that end like this.
            rest (`bool`): Whether it is all the others instead.

        Returns:
            `bool`: Whether there is a manifest.

        Raises:
            ValueError: If a file is missing, damaged, or not listed, or the manifest itself cannot be read.
        """
        path = self.find(MANIFEST_FILE)
        if path is None:
            return False

        def is_asked(name: str) -> bool:
            return (name in names or name.endswith(suffixes)) is not rest

        listed = read_manifest(path)["files"]
        for name, expected in listed.items():
            if is_asked(name):
                if self.folder is None and not name.endswith(".py"):  # code is fetched only where it is run
                    self.find(name)
                _compare(path.parent / name, expected, must_exist=self.folder is not None)
        if self.folder is not None:
            there = {one.name for one in path.parent.iterdir() if one.name.endswith(READ_WHEN_FOUND)}
            if stray := sorted(name for name in there - listed.keys() - {*NOT_LISTED} if is_asked(name)):
                raise ValueError(
                    f"{path.parent} holds {stray[0]}, which is not in its {MANIFEST_FILE} and would be read with the "
                    f"model; remove it, or delete {MANIFEST_FILE} if you put it there on purpose."
                )
        return True

    def check_num_items(self, num_items: int) -> None:
        """Compares a number of items with that of the manifest, if there is one.

        Raises:
            ValueError: If they differ.
        """
        path = self.find(MANIFEST_FILE)
        listed = num_items if path is None else read_manifest(path).get("num_items")
        if type(listed) is not int or listed != num_items:
            raise ValueError(
                f"{path} counts {listed!r:.80} items and {ITEMS_FILE} beside it has {num_items}; fetch or copy the "
                "model again."
            )


def write_manifest(folder: str | os.PathLike, num_items: int | None = None) -> None:
    """Writes the manifest of a folder, whose subfolders and `NOT_LISTED` files are left out.

    Args:
        folder (`str` or `Path`): Folder of a model, adapter or semantic IDs, with all of its files.
        num_items (`int`, *optional*): Number of items; defaults to the lines of `items.jsonl` if there is one.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.iterdir() if path.is_file() and _PLAIN_NAME.fullmatch(path.name))
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in paths
        if path.name not in NOT_LISTED
    }
    if num_items is None and ITEMS_FILE in files:
        with (folder / ITEMS_FILE).open("rb") as file:
            num_items = sum(1 for _ in file)
    fields = {"format_version": FORMAT_VERSION, "num_items": num_items, "files": files}
    write_text(folder / MANIFEST_FILE, json.dumps(fields, indent=2) + "\n")


def forget_manifest(folder: str | os.PathLike) -> None:
    """Removes a manifest that new files of a folder have made wrong."""
    (Path(folder) / MANIFEST_FILE).unlink(missing_ok=True)


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
        ValueError: If it is damaged, of a later version, or names a file elsewhere.
    """
    fields = read_json_object(path)
    version, files = fields.get("format_version"), fields.get("files")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has the format {version}, and this version reads {FORMAT_VERSION}; install a newer one."
        )
    if version != FORMAT_VERSION or isinstance(version, bool) or not isinstance(files, dict):
        raise ValueError(f"{path} is no manifest of a model; fetch or copy the model again.")
    for name, entry in files.items():
        check_plain_name(name, path)
        if not isinstance(entry, dict) or not isinstance(entry.get("size"), int) or "sha256" not in entry:
            raise ValueError(f"{path} gives no size and sha256 of {name}; fetch or copy the model again.")
    return fields


def check_plain_name(name: Any, path: Path) -> None:
    """Refuses the name of a file that could lie in another folder than `path`, which names it.

    Raises:
        ValueError: If it is no plain name.
    """
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{path} names the file {name!r}, which must be in the same folder; do not use this model.")


def read_json_object(path: Path) -> dict[str, Any]:
    """Fields of a JSON file.

    Raises:
        ValueError: If it is no JSON object, repeats a key, or is too large.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file; fetch or copy the model again.")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} has more than {MAX_JSON_BYTES:,} bytes, the limit for such a file.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is no JSON ({error}); {_way_out(path)}.") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object; {_way_out(path)}.")
    level: list[Any] = [fields]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        level = [inner for inner in level if isinstance(inner, dict | list)]
    if level:
        raise ValueError(f"{path} is nested more than {MAX_DEPTH} deep, the limit for such a file.")
    return fields


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer of Git LFS in place of its content."""
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def _compare(path: Path, expected: Mapping[str, Any], must_exist: bool) -> None:
    """Refuses a file that differs from its entry in the manifest."""
    if not path.is_file():
        if not path.exists() and not must_exist:  # not fetched, hence not read
            return
        what = "is missing" if not path.exists() else "is a folder"
    elif (size := path.stat().st_size) != expected["size"]:
        what = f"has {size:,} bytes and should have {expected['size']:,}"
    elif sha256(path) != expected["sha256"]:
        what = "has another content than it should (its SHA-256 differs)"
    else:
        return
    raise ValueError(
        f"{path} {what}, by {MANIFEST_FILE}: it was damaged, or belongs to another model; {_way_out(path)}, or delete "
        f"{MANIFEST_FILE} if you changed it on purpose."
    )


def _way_out(path: Path) -> str:
    if path.is_file() and is_pointer(path):
        return "it is a pointer of Git LFS: run git lfs pull in the clone"
    cached = next((part for part in path.parts if part.startswith("models--")), None)
    if cached is not None:  # in the cache of the Hub
        name = cached.removeprefix("models--").replace("--", "/")
        return f"delete the copy in the cache (hf cache rm model/{name}) and load the model again"
    return "fetch or copy the model again"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is set twice")
    return fields
