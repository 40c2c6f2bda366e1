"""Cache of a build's stages, addressed by the content that a result was made from."""

import ast
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_write import new_directory
from ..bounded_parsing import parse_json, read_bounded

logger = logging.getLogger(__name__)

LIBRARIES = ("datasets", "duckdb", "faiss-cpu", "ibis-framework", "numpy", "pyarrow")
"""Libraries whose versions are part of every key: another version may order or write the same rows differently."""
INFO_FILE = "stage.json"
PACKAGE = Path(__file__).parents[1]
_BLOCK = 1 << 20


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        folder (`Path`): Folder of its files, read-only.
        digest (`str`): Digest of the files' content, part of the key of every stage that reads them.
        info (`dict`): Counts of the stage.
    """

    folder: Path
    digest: str
    info: dict[str, Any]


class StageCache:
    """Cache of stages' results in a folder.

    A result is written under a temporary name and renamed when it is complete, so an interrupted build resumes at the
    interrupted stage. Its files are compared with their digest when it is found; a damaged result is made again, with
    a warning. Results are never deleted; remove the folder to discard them.

    Args:
        folder (`Path`): Folder of the results, as `<stage>/<key>/`.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def get(
        self,
        stage: str,
        depends_on: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        code: Sequence[str],
    ) -> StageResult:
        """Finds the result of a stage, or makes it.

        Args:
            stage (`str`): Name of the stage and of its folder.
            depends_on (`Mapping`): Everything the result depends on beside code: JSON values, and `Path`s of files or
                folders, which stand for their content.
            make (`Callable`): Function that writes files into an empty folder and returns its counts (JSON values).
            code (`Sequence[str]`): Names of the modules that make it; their imports are included ([`code_digest`]).

        Returns:
            [`StageResult`]: The result, found or made.
        """
        key = digest_of({"stage": stage, "code": code_digest(*sorted(code)), **depends_on})
        folder = self.folder / stage / key
        if (found := _read_result(folder)) is None:
            self._make(folder, make)
            found = _read_result(folder)
            if found is None:
                raise OSError(f"{folder} changed while it was written; keep other programs from it, and run again.")
        else:
            logger.info("stage %s is cached in %s", stage, folder)
        return found

    def _make(self, folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> None:
        # Another build may be faster, with the same result.
        with new_directory(folder, overwrite=True) as temporary:
            info = json.loads(json.dumps(dict(make(temporary))))  # as it will be read
            kept = {"digest": _digest_result(temporary, info), "info": info}
            (temporary / INFO_FILE).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _read_result(folder: Path) -> StageResult | None:
    """Reads a finished stage; `None` if there is none, or, with a warning, if its files are not those written."""
    if not folder.exists():
        return None
    try:
        kept = parse_json(read_bounded(folder / INFO_FILE))
        if _digest_result(folder, kept["info"]) == kept["digest"]:
            return StageResult(folder, kept["digest"], kept["info"])
        reason = f"its files do not match the digest in {INFO_FILE}"
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error)
    logger.warning("%s is damaged and made again: %s", folder, reason)
    return None


def _digest_result(folder: Path, info: Mapping[str, Any]) -> str:
    """Digests a stage's files, without the one that holds the digest, and its counts."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / INFO_FILE]
    return digest_of({"files": {path.relative_to(folder).as_posix(): path for path in files}, "info": info})


def digest_of(value: object) -> str:
    """Digests JSON values, sequences, mappings, arrays, and files and folders by their content.

    Args:
        value (`object`): Value to digest; a `Path` must exist.

    Returns:
        `str`: 32 hexadecimal digits.

    Raises:
        FileNotFoundError: If a path does not exist.
        TypeError: If a value has another type.

    >>> digest_of({"a": 1, "b": [2.5, None]}) == digest_of({"b": (2.5, None), "a": 1})
    True
    """
    state = hashlib.blake2b(digest_size=16)
    _feed(state, value)
    return state.hexdigest()


def _feed(state: hashlib.blake2b, value: object) -> None:
    # Every value is preceded by its kind and length: ["ab"] and ["a", "b"] must differ.
    if isinstance(value, Path):
        _feed_path(state, value)
    elif isinstance(value, Mapping):
        state.update(b"{%d" % len(value))
        for key in sorted(value):
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(b"[%d" % len(value))
        for entry in value:
            _feed(state, entry)
    elif isinstance(value, np.ndarray):
        _feed(state, [str(value.dtype), list(value.shape)])
        state.update(np.ascontiguousarray(value).data)
    elif value is None or isinstance(value, str | int | float):
        text = json.dumps(value).encode()
        state.update(b"j%d:" % len(text) + text)
    else:
        raise TypeError(f"{type(value).__name__} ({value!r}) cannot be part of a key; give JSON values or paths.")


def _feed_path(state: hashlib.blake2b, path: Path) -> None:
    if path.is_dir():
        inside = sorted(entry for entry in path.rglob("*") if entry.is_file())
        _feed(state, [entry.relative_to(path).as_posix() for entry in inside])
    elif path.is_file():
        inside = [path]
    else:
        raise FileNotFoundError(f"{path} does not exist; correct the path.")
    for entry in inside:
        state.update(b"f%d:" % entry.stat().st_size)
        with entry.open("rb") as file:
            while block := file.read(_BLOCK):
                state.update(block)


@cache
def code_digest(*modules: str, package: Path = PACKAGE) -> str:
    """Digests the code that can change what modules write, and the versions of the libraries that write their files.

    Args:
        modules (`str`): Names as in `dataset_builders.building.steering.assignment`. The digest covers their sources
            and those of this package that their imports reach; of a module outside the package, its own file.
        package (`Path`): Folder of the package.

    Returns:
        `str`: 32 hexadecimal digits.
    """
    sources = reached_sources(modules, package)
    return digest_of({"sources": sources, "versions": {name: _version(name) for name in LIBRARIES}})


def reached_sources(modules: Sequence[str], package: Path = PACKAGE) -> dict[str, Path]:
    """Finds the sources of modules and of everything they import, also inside functions, by their names.

    >>> reached = reached_sources(["dataset_builders.building.review_sentiment"])
    >>> "dataset_builders.benchmark.negation" in reached, "dataset_builders.building.steering.assignment" in reached
    (True, False)
    """
    waiting, found = list(modules), {}
    while waiting:
        name = waiting.pop()
        path = _source_of(name, package)
        if name in found or path is None:
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0]] if "." in name else []  # a package runs before what is in it
        waiting += _imported(name if path.name == "__init__.py" else name.rpartition(".")[0], path.read_bytes())
    return found


def _source_of(name: str, package: Path) -> Path | None:
    """File of a module: of the package, or one that is loaded."""
    if name.split(".")[0] != package.name:
        file = getattr(sys.modules.get(name), "__file__", None)
        return file and Path(file)
    base = package.parent.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache  # most stages reach the same files
def _imported(inside: str, source: bytes) -> tuple[str, ...]:
    """Full names that import statements may refer to, modules or names in them; `inside` is the file's package."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names if alias.name.startswith(f"{PACKAGE.name}."))
        elif isinstance(node, ast.ImportFrom):
            levels = inside.split(".")
            above = levels[: len(levels) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            if base.split(".")[0] == PACKAGE.name:
                found += (base, *(f"{base}.{alias.name}" for alias in node.names))
    return tuple(found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
