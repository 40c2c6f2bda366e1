"""Damages every file of a model folder in turn, and counts what loading says: an error by name, or the same answer.

    python scripts/benchmarks/corruption_test.py outputs/quickstart/model --other outputs/other/model [--flips 20]

Each file is cut, emptied, flipped in single bits, deleted, and replaced by a folder, a pointer of Git LFS, and the
file of another model. Right is a ValueError or OSError that names the folder, or exactly the answer of the whole
folder. `--without_manifest` shows what is found without the manifest. A copy of the folder is damaged.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoProcessor, pipeline
from transformers.utils import logging as transformers_logging

from dataset_builders.commands.command_line import run_command
from modeling_mender.hub.loading import load_recommender
from modeling_mender.hub.model_card import SavedModel
from modeling_mender.hub.model_publication import reference_requests
from modeling_mender.manifest import MANIFEST_FILE

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@dataclass(frozen=True)
class Case:
    """A damaged file.

    Attributes:
        file (`str`): Its name.
        damage (`str`): What was done to it.
        outcome (`str`): `named`, `same`, `silent` (another answer, without an error), or `other` (another exception).
        message (`str`): The error, or the answer's difference.
    """

    file: str
    damage: str
    outcome: str
    message: str = ""


def damages(
    content: bytes, other: bytes | None, generator: random.Random, num_cuts: int, num_flips: int
) -> Iterator[tuple[str, bytes | None]]:
    """Damaged contents of a file by name; `None` stands for a folder in its place, and `b""` also for deletion."""
    for _ in range(num_cuts if content else 0):
        size = generator.randrange(len(content))
        yield f"cut to {size} bytes", content[:size]
    for _ in range(num_flips if content else 0):
        place, bit = generator.randrange(len(content)), generator.randrange(8)
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} flipped", bytes(flipped)
    lines = content.splitlines(keepends=True)
    if len(lines) > 1:
        yield "last line lost", b"".join(lines[:-1])
        yield "last line twice", b"".join([*lines, lines[-1]])
        yield "first two lines exchanged", b"".join([lines[1], lines[0], *lines[2:]])
    yield "emptied", b""
    yield "replaced by a pointer", POINTER
    yield "replaced by a folder", None
    if other is not None and other != content:
        yield "replaced by another model's", other


def corrupt(
    folder: Path,
    ask: Callable[[Path], Any],
    other: Path | None = None,
    files: list[str] | None = None,
    seed: int = 0,
    num_cuts: int = 3,
    num_flips: int = 5,
) -> list[Case]:
    """Damages the files of a folder one at a time, and puts each back.

    Args:
        folder (`Path`): Folder of a model, a copy.
        ask (`Callable`): Loads a folder and returns comparable answers.
        other (`Path`, *optional*): Folder of another model, whose files take the place of this one's.
        files (`list[str]`, *optional*): Names of the files; defaults to all.
        seed (`int`, defaults to 0): Seed of cuts and flips.
        num_cuts, num_flips (`int`): Number of each per file.

    Returns:
        `list[Case]`: A case per damage.
    """
    expected = ask(folder)
    generator = random.Random(seed)
    cases = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if files is not None and path.name not in files:
            continue
        content = path.read_bytes()
        theirs = other / path.name if other is not None else None
        swapped = theirs.read_bytes() if theirs is not None and theirs.is_file() else None
        kinds = [*damages(content, swapped, generator, num_cuts, num_flips), ("deleted", b"")]
        for damage, damaged in kinds:
            path.unlink()
            if damaged is None:
                path.mkdir()
            elif damage != "deleted":
                path.write_bytes(damaged)
            try:
                cases.append(_judge(path.name, damage, folder, ask, expected))
            finally:
                if path.is_dir():
                    path.rmdir()
                path.write_bytes(content)
    return cases


def _judge(file: str, damage: str, folder: Path, ask: Callable[[Path], Any], expected: Any) -> Case:
    try:
        found = ask(folder)
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        names = str(folder) in message and type(error).__module__ == "builtins"
        return Case(file, damage, "named" if names else "other", f"{type(error).__name__}: {message}")
    except Exception as error:
        return Case(file, damage, "other", f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Case(file, damage, "same" if found == expected else "silent", "" if found == expected else f"{found}")


def answers_of(model: Any, processor: Any, folder: Path) -> list:
    """Items, scores and titles of fixed requests."""
    saved = SavedModel.read(folder)
    k = min(5, saved.num_items)
    answers: list = []
    for request in reference_requests(processor.items, saved.method, num_requests=4):
        inputs = processor(**{name: [value] for name, value in request.items()})
        found = model.recommend(**inputs, k=k)
        answers.append((found.items.tolist(), found.scores.tolist(), processor.titles(found.items[0])))
    return answers


def ask_by_commands(folder: Path) -> list:
    """Answers of the model as the commands load it."""
    return answers_of(*load_recommender(folder), folder)


def ask_by_auto_classes(folder: Path) -> list:
    """Answers of the model as the Auto classes of transformers load it."""
    return answers_of(AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder), folder)


def ask_by_pipeline(folder: Path) -> list:
    """Answers of the pipeline."""
    create: Any = pipeline
    pipe = create("preference-recommendation", model=str(folder))
    return answers_of(pipe.model, pipe.processor, folder)


WAYS = {"commands": ask_by_commands, "auto": ask_by_auto_classes, "pipeline": ask_by_pipeline}


def count(cases: list[Case]) -> str:
    """Numbers of outcomes, in words."""
    numbers = Counter(case.outcome for case in cases)
    return f"{len(cases)} damaged files: " + ", ".join(
        f"{numbers[outcome]} {what}"
        for outcome, what in (
            ("named", "refused by name"),
            ("same", "with the same answer"),
            ("silent", "with another answer in silence"),
            ("other", "with another exception"),
        )
    )


def run(arguments: argparse.Namespace) -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "model"
        shutil.copytree(arguments.model, copy)
        if arguments.without_manifest:
            (copy / MANIFEST_FILE).unlink(missing_ok=True)
        cases = corrupt(
            copy, WAYS[arguments.load], arguments.other, arguments.files, arguments.seed, arguments.cuts,
            arguments.flips,
        )  # fmt: skip
    for case in cases:
        if case.outcome in ("silent", "other"):
            print(f"{case.outcome}: {case.file}, {case.damage}: {case.message[:200]}")
    print(count(cases))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("--other", type=Path, help="folder of another model, whose files take the place of this one's")
    parser.add_argument("--files", nargs="+", help="names of the files to damage; default: all")
    parser.add_argument("--load", choices=WAYS, default="commands", help="how the folder is loaded")
    parser.add_argument("--cuts", type=int, default=3, help="cuts per file")
    parser.add_argument("--flips", type=int, default=5, help="flipped bits per file, one at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without_manifest", action="store_true", help="remove the manifest first")
    arguments = parser.parse_args(argv)
    return run_command(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
