"""The tree in CONTRIBUTING.md: every module of both packages, with the first sentence of its docstring."""

import ast
import re
from pathlib import Path

ROOMS = ("dataset_builders", "modeling_mender")
OTHERS = """
scripts/                  wrappers of the commands, so that `accelerate launch scripts/train.py` works
  recipes/                training arguments of every method and what a domain changes, each with its reason
  accelerate_configs/     one process, several, several GPUs, FSDP2
  benchmarks/             timings and memory, as ratios in one run
  on_gpu.py               what needs a GPU, packed for another machine and run within a time limit
  recbole_run.py          a RecBole model, in an environment of its own, to a run file
model_cards/              templates of the cards
  spaces/                 the demo, the page in the browser, the leaderboard and the user study as Spaces
tests/                    folders that mirror the rooms; fake_hub/ is a Hub on loopback
"""


def tree(project: Path) -> str:
    """The tree as CONTRIBUTING.md must show it."""
    lines = [line for room in ROOMS for line in _folder(project / room, 0)]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{text}".rstrip() for name, text in lines) + OTHERS


def _folder(path: Path, depth: int):
    yield f"{'  ' * depth}{path.name}/", _sentence(path / "__init__.py")
    for entry in sorted(path.iterdir(), key=lambda entry: (entry.is_dir(), entry.name)):
        if entry.is_dir() and (entry / "__init__.py").is_file():
            yield from _folder(entry, depth + 1)
        elif entry.suffix == ".py" and entry.name != "__init__.py":
            yield f"{'  ' * (depth + 1)}{entry.name}", _sentence(entry)


def _sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[^q]\.)\s", " ".join(docstring.split("\n\n")[0].split()))[0].rstrip(".")


def test_the_tree_is_that_of_the_packages(project):
    shown = (project / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The tree")[1].split("```")[1]
    assert shown.strip() == tree(project).strip()


def test_every_module_says_what_it_is_in_one_sentence(project):
    for room in ROOMS:
        for path in (project / room).rglob("*.py"):
            assert _sentence(path), path


if __name__ == "__main__":  # writes the tree
    root = Path(__file__).resolve().parents[1]
    head, _, rest = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The tree")
    before, _, after = rest.split("```", 2)
    (root / "CONTRIBUTING.md").write_text(f"{head}## The tree{before}```\n{tree(root).strip()}\n```{after}")
