"""Folder of a page that recommends in the browser: graphs, items, tokenizer, the code of requests, and libraries."""

import ast
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..manifest import ITEMS_FILE, ModelFiles, sha256
from ..onnx_export.exported_folder import ITEM_SCORES, SEMANTIC_IDS_FILE, STEER, TEXT_ENCODER, read_settings

READING = ("preference_texts", "recommendation_request")
"""Modules that read requests in the page; they and what they import need the standard library alone."""
PACKAGE = Path(__file__).parents[1]
SETTINGS_FILE = "page.json"
FROM_EXPORT = {
    "text_encoder": TEXT_ENCODER,
    "item_scores": ITEM_SCORES,
    "items": ITEMS_FILE,
    "semantic_ids": SEMANTIC_IDS_FILE,
    "tokenizer": "tokenizer.json",
    "tokenizer_config": "tokenizer_config.json",
}
"""Files of an exported model that the page reads, by their names in its settings."""
FETCHED = {name: f"model/{file}" for name, file in FROM_EXPORT.items()} | {
    "reading": "reading.zip",
    "reader": "reader.py",
}
"""Files that the engine of the page fetches by itself, by their names in its settings."""


def stage_page(export: Path, template: Path, libraries: Path, target: Path) -> dict[str, Any]:
    """Writes the folder of a page.

    Args:
        export (`Path`): Folder of a model that was exported to ONNX.
        template (`Path`): Folder of the page itself.
        libraries (`Path`): Folder of the libraries, written by [`~npm_packages.vendor`].
        target (`Path`): Empty folder.

    Returns:
        `dict`: The content of `page.json`: that of `onnx.json`, `paths` of the fetched files by name, and `files` with
        the length and the digest of each.

    Raises:
        FileNotFoundError: If a file of the model is missing.
        ValueError: If it is another kind of model, or a file of it is damaged, or of another export.
    """
    settings = read_settings(export)
    if settings["model_type"] != STEER:
        raise ValueError(
            f"{export} is a {settings['model_type']}, and the page runs a {STEER}; give one of that kind."
        )
    if missing := [name for name in FROM_EXPORT.values() if not (export / name).is_file()]:
        raise FileNotFoundError(
            f"{export} has no {missing[0]}, which the page reads; export the model again (with a fast tokenizer, "
            "where that is tokenizer.json)."
        )
    ModelFiles(export).check(rest=True)
    shutil.copytree(template, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "model").mkdir()
    for name, file in FROM_EXPORT.items():
        shutil.copyfile(export / file, target / FETCHED[name])
    write_reading(target / FETCHED["reading"])
    shutil.copytree(libraries, target / "vendor")
    paths = sorted(path for path in target.rglob("*") if path.is_file() and path.name != "README.md")
    files = {
        path.relative_to(target).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths
    }
    page = {**settings, "paths": FETCHED, "files": files}
    (target / SETTINGS_FILE).write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    return page


def write_reading(path: Path) -> None:
    """Writes the modules that read requests as the package `reading`, in a zip file with the same bytes each time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        sources = {name: (PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in with_imports(READING)}
        for name, source in {"__init__": "", **sources}.items():
            record = zipfile.ZipInfo(f"reading/{name}.py")  # its date is that of no clock
            record.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(record, source)


def with_imports(modules: Sequence[str]) -> list[str]:
    """Names of modules at the root of the package, and of those that they import, sorted.

    >>> with_imports(["request_values", "item_words"])
    ['item_words', 'request_values', 'word_forms']
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
            waiting += [str(node.module) for node in nodes]
    return sorted(found)
