"""Publishes a Space: the metric, the demo of a model, or the leaderboard's page.

    python scripts/publish_space.py metric --repo_id org/ranking-metrics
    python scripts/publish_space.py demo --repo_id org/demo --model org/mender-tok-beauty --leaderboard leaderboard
    python scripts/publish_space.py leaderboard --repo_id org/leaderboard --leaderboard leaderboard

The metric's main file is named like the repository, for `evaluate.load("org/ranking-metrics")` looks for it under that
name; before it is sent, a process with the public libraries alone loads it and must give the figures that our own
functions give. The demo is model_cards/space/ with the model's name written into it. The leaderboard is what
scripts/make_leaderboard.py wrote, as it is.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .. import ranking_metrics
from ..hub_http import is_repo_id
from ..resources import resource
from .command_line import DISTRIBUTION, defaults_of, run_command
from .fresh_process import run_fresh_json
from .hub_push import PushArguments, add_push_arguments, stage_and_push

METRIC = Path(ranking_metrics.__file__).parent
# How card and docstring name the metric and its functions in the checkout.
LOCAL_NAME = '"dataset_builders/ranking_metrics"'
LOCAL_IMPORT = "from dataset_builders.ranking_metrics import"
LEADERBOARD_FILES = ("index.html", "leaderboard.json", "README.md")

KNOWN_ROWS = {
    "predictions": [[3, 9, 1], [4, 2], []],
    "references": [[9], [2, 8], [5]],
    "k": [1, 3],
    "predictions_negative": [[1, 3], [2], [5]],
}
LOAD_METRIC = """
import json
import evaluate

folder, rows = sys.argv[1:]
print("\\n" + json.dumps(evaluate.load(folder).compute(**json.loads(rows))))
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937; }}
pre {{ background: #f3f4f6; padding: .8rem; overflow-x: auto; border-radius: .4rem; }}
code {{ font-size: .9em; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


@dataclass(kw_only=True)
class SpacePublication(PushArguments):
    """Arguments of [`publish_space`]; see `--help` for what each is."""

    kind: str
    repo_id: str
    model: str | None = None
    leaderboard: Path | None = None


def parse_arguments(argv: list[str] | None) -> SpacePublication:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("kind", choices=STAGES, help="what to publish")
    parser.add_argument("--repo_id", required=True, help="Space on the Hub, as in org/ranking-metrics")
    parser.add_argument("--model", help="of the demo: a model on the Hub, as in org/mender-tok-beauty")
    parser.add_argument(
        "--leaderboard", type=Path, help="directory that scripts/make_leaderboard.py wrote; the demo may do without"
    )
    add_push_arguments(parser)
    parser.set_defaults(**defaults_of(SpacePublication))
    return SpacePublication(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Publishes; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: publish_space(arguments))


def publish_space(arguments: SpacePublication) -> str:
    """Stages, checks, sends; the address of the commit."""
    stale = ["*.py"] if arguments.kind == "metric" else None  # another main file of an earlier name
    stage = STAGES[arguments.kind]
    return stage_and_push(
        lambda folder: stage(folder, arguments), "space", arguments, stale, f"Publish the {arguments.kind}"
    )


def stage_metric(folder: Path, arguments: SpacePublication) -> None:
    """The metric under the repository's name, its card, and the card as a page."""
    name = arguments.repo_id.split("/")[-1]
    if not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ValueError(
            f"the metric's repository ({arguments.repo_id!r}) gives its file and its Python module their name: a "
            "letter, then letters, digits, - and _, as in org/ranking-metrics."
        )
    if name == "metrics":
        raise ValueError("the metric cannot be named 'metrics': it has a file of that name; try org/ranking-metrics.")
    for source, target in ((f"{METRIC.name}.py", f"{name}.py"), ("metrics.py", "metrics.py"), ("README.md",) * 2):
        text = (METRIC / source).read_text(encoding="utf-8")
        for ours, published in {LOCAL_NAME: f'"{arguments.repo_id}"', LOCAL_IMPORT: "from metrics import"}.items():
            text = text.replace(ours, published)
        (folder / target).write_text(text, encoding="utf-8")
    (folder / "index.html").write_text(render_page(folder / "README.md"), encoding="utf-8")
    check_metric(folder, name)


def render_page(card: Path) -> str:
    """A card as an HTML page, for a static Space shows its index.html and nothing else.

    Raises:
        ImportError: Without markdown-it-py.
    """
    from huggingface_hub import RepoCard

    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise ImportError(f"the metric's page needs markdown-it-py: pip install '{DISTRIBUTION}[hub]'") from None
    content = RepoCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=False)
    body = MarkdownIt("commonmark").enable("table").render(content.text)
    return PAGE.format(title=content.data.to_dict()["title"], body=body)


def check_metric(folder: Path, name: str) -> None:
    """Loads the metric as a stranger does, and compares.

    Raises:
        ValueError: If it does not load, or gives other figures than `dataset_builders.ranking_metrics`.
    """
    from ..ranking_metrics import score_run

    expected = score_run(**KNOWN_ROWS)
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(folder, Path(scratch) / name)  # evaluate wants the folder to be named like the file
        found = run_fresh_json(LOAD_METRIC, [copy, json.dumps(KNOWN_ROWS)])
    if found != expected:
        raise ValueError(f"the published metric gives {found}, and our own functions give {expected}.")
    print(f"loaded with evaluate alone: {len(expected)} figures, the same as ours")


def stage_demo(folder: Path, arguments: SpacePublication) -> None:
    """The demo with its model's name, and the leaderboard where there is one."""
    from huggingface_hub import RepoCard

    if arguments.model is None or not is_repo_id(arguments.model) or Path(arguments.model).is_dir():
        raise ValueError(
            f"--model ({arguments.model}) must be a model on the Hub, as in org/mender-tok-beauty: the Space loads it "
            "from there; scripts/publish_model.py publishes one."
        )
    shutil.copytree(
        resource("model_cards/spaces/demo"), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    card = RepoCard((folder / "README.md").read_text(encoding="utf-8"))
    card.data["models"] = [arguments.model]
    card.save(folder / "README.md")
    settings = {"model": arguments.model, "leaderboard": "leaderboard.json"}
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if arguments.leaderboard is not None:
        shutil.copyfile(find_files(arguments.leaderboard)["leaderboard.json"], folder / "leaderboard.json")


def stage_leaderboard(folder: Path, arguments: SpacePublication) -> None:
    """The leaderboard's page and its records."""
    if arguments.leaderboard is None:
        raise ValueError("the leaderboard needs --leaderboard, the directory that scripts/make_leaderboard.py wrote.")
    for name, path in find_files(arguments.leaderboard).items():
        shutil.copyfile(path, folder / name)


def find_files(leaderboard: Path) -> dict[str, Path]:
    """The files of a rendered leaderboard.

    Raises:
        FileNotFoundError: If one is missing.
    """
    found = {name: leaderboard / name for name in LEADERBOARD_FILES}
    if missing := [name for name, path in found.items() if not path.is_file()]:
        raise FileNotFoundError(
            f"{leaderboard} lacks {' and '.join(missing)}; pass the directory that scripts/make_leaderboard.py wrote."
        )
    return found


STAGES = {"metric": stage_metric, "demo": stage_demo, "leaderboard": stage_leaderboard}


if __name__ == "__main__":
    sys.exit(main())
