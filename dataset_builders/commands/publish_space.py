"""Publish a Space: the metric, the demo of a model, its page in the browser, the leaderboard, or a user study.

    mender publish-space metric --repo_id org/ranking-metrics
    mender publish-space demo --repo_id org/demo --model org/mender-tok-beauty --leaderboard leaderboard
    mender publish-space browser --repo_id org/in-your-browser --page page
    mender publish-space leaderboard --repo_id org/leaderboard --leaderboard leaderboard
    mender publish-space user_study --repo_id org/study --study study --answers org/study-answers

The metric's main file has the name of the repository, as `evaluate.load("org/ranking-metrics")` requires; before it is
sent, a process with the public libraries alone loads it, and its values are compared with those of this project.
"""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import ranking_metrics, user_study
from ..atomic_write import scratch_directory
from ..bounded_parsing import parse_json, read_bounded
from ..hub_http import check_repo_id, is_repo_id
from ..resources import resource
from .command_line import DISTRIBUTION, CommandParser, HelpFormatter, defaults_of, run_command
from .fresh_process import run_fresh_json
from .hub_push import PushArguments, add_push_arguments, stage_and_push
from .publish_benchmark import RESTRICTED_SOURCES

METRIC = Path(ranking_metrics.__file__).parent
# names in card and docstrings that are replaced by published ones
LOCAL_NAME = '"dataset_builders/ranking_metrics"'
LOCAL_IMPORT = "from dataset_builders.ranking_metrics import"
STUDY_MODULES = ("form", "answers", "rendering")
"""Files of `dataset_builders.user_study` that its page imports."""
PAGE_FILE = "page.json"
LEADERBOARD_FILES = ("index.html", "leaderboard.json", "README.md")

PREDICTIONS = [[3, 9, 1], [4, 2], []]
REFERENCES = [[9], [2, 8], [5]]
CUTOFFS = [1, 3]
PREDICTIONS_NEGATIVE = [[1, 3], [2], [5]]
KNOWN_ROWS = {
    "predictions": PREDICTIONS,
    "references": REFERENCES,
    "k": CUTOFFS,
    "predictions_negative": PREDICTIONS_NEGATIVE,
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
    """Arguments of [`publish_space`]; `--help` describes each."""

    kind: str
    repo_id: str
    model: str | None = None
    leaderboard: Path | None = None
    page: Path | None = None
    study: Path | None = None
    answers: str | None = None


def parse_arguments(argv: list[str] | None) -> SpacePublication:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("kind", choices=STAGES, help="kind of the Space")
    parser.add_argument("--repo_id", required=True, help="Space on the Hub, as in org/ranking-metrics")
    parser.add_argument("--model", help="model of the demo, on the Hub, as in org/mender-tok-beauty")
    parser.add_argument("--leaderboard", type=Path, help="folder of mender leaderboard; optional for the demo")
    parser.add_argument("--page", type=Path, help="folder of mender browser-page")
    parser.add_argument("--study", type=Path, help="folder of mender draw-study")
    parser.add_argument("--answers", help="dataset on the Hub that gets the answers to the study")
    add_push_arguments(parser)
    parser.set_defaults(**defaults_of(SpacePublication))
    return SpacePublication(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Publishes a Space; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: publish_space(arguments))


def publish_space(arguments: SpacePublication) -> str:
    """Stages, checks and pushes the Space; returns the address of the commit."""
    stale = ["*.py"] if arguments.kind == "metric" else None  # removes a main file of an earlier name
    stage = STAGES[arguments.kind]
    return stage_and_push(
        lambda folder: stage(folder, arguments),
        "space",
        arguments,
        stale,
        f"Publish the {arguments.kind.replace('_', ' ')}",
    )


def stage_metric(folder: Path, arguments: SpacePublication) -> None:
    """Writes the metric under the repository's name, its card, and the card as a page."""
    name = arguments.repo_id.split("/")[-1]
    if not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ValueError(
            f"the metric's repository ({arguments.repo_id!r}) is also the name of a Python module: a letter, "
            "then letters, digits, - and _, as in org/ranking-metrics."
        )
    if name == "metrics":
        raise ValueError(
            "the metric cannot be named 'metrics', the name of one of its files; try org/ranking-metrics."
        )
    for source, target in ((f"{METRIC.name}.py", f"{name}.py"), ("metrics.py", "metrics.py"), ("README.md",) * 2):
        text = (METRIC / source).read_text(encoding="utf-8")
        for ours, published in {LOCAL_NAME: f'"{arguments.repo_id}"', LOCAL_IMPORT: "from metrics import"}.items():
            text = text.replace(ours, published)
        (folder / target).write_text(text, encoding="utf-8")
    (folder / "index.html").write_text(render_page(folder / "README.md"), encoding="utf-8")
    check_metric(folder, name)


def render_page(card: Path) -> str:
    """Renders a card as the index.html of a static Space.

    Raises:
        ImportError: If markdown-it-py is not installed.
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
    """Loads the metric without this project's packages, and compares its values with this project's.

    Raises:
        ValueError: If it does not load, or computes other values.
    """
    from ..ranking_metrics import score_run

    expected = score_run(PREDICTIONS, REFERENCES, CUTOFFS, PREDICTIONS_NEGATIVE)
    with scratch_directory() as scratch:
        copy = shutil.copytree(folder, Path(scratch) / name)  # evaluate requires the folder to have the file's name
        found = run_fresh_json(LOAD_METRIC, [copy, json.dumps(KNOWN_ROWS)])
    if found != expected:
        raise ValueError(f"the staged metric computes {found}, but dataset_builders.ranking_metrics {expected}.")
    print(f"loaded with evaluate alone: {len(expected)} figures, the same as ours")


def stage_demo(folder: Path, arguments: SpacePublication) -> None:
    """Writes the demo with its model's name, and the leaderboard's records if given."""
    from huggingface_hub import RepoCard

    if arguments.model is None or not is_repo_id(arguments.model) or Path(arguments.model).is_dir():
        raise ValueError(
            f"--model ({arguments.model}) must be a model on the Hub, as in org/mender-tok-beauty: the Space loads it "
            "from there; publish one with mender publish-model."
        )
    copy_app("demo", folder)
    card = RepoCard((folder / "README.md").read_text(encoding="utf-8"))
    card.data["models"] = [arguments.model]
    card.save(folder / "README.md")
    settings = {"model": arguments.model, "leaderboard": "leaderboard.json"}
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if arguments.leaderboard is not None:
        shutil.copyfile(find_files(arguments.leaderboard)["leaderboard.json"], folder / "leaderboard.json")


def stage_leaderboard(folder: Path, arguments: SpacePublication) -> None:
    """Copies the leaderboard's page and its records."""
    if arguments.leaderboard is None:
        raise ValueError("the leaderboard needs --leaderboard, the output folder of mender leaderboard.")
    for name, path in find_files(arguments.leaderboard).items():
        shutil.copyfile(path, folder / name)


def find_files(leaderboard: Path) -> dict[str, Path]:
    """Paths of the files of a rendered leaderboard, by name.

    Raises:
        FileNotFoundError: If one is missing.
    """
    found = {name: leaderboard / name for name in LEADERBOARD_FILES}
    if missing := [name for name, path in found.items() if not path.is_file()]:
        raise FileNotFoundError(
            f"{leaderboard} lacks {' and '.join(missing)}; pass the output folder of mender leaderboard."
        )
    return found


def stage_browser(folder: Path, arguments: SpacePublication) -> None:
    """Copies the page that runs a model in the browser, after a check of its files against their digests.

    Raises:
        FileNotFoundError: If the page, or a file of it, is missing.
        ValueError: If a file is not the one that was made.
    """
    page = arguments.page
    if page is None:
        raise ValueError("the browser needs --page, the output folder of mender browser-page.")
    if not (page / PAGE_FILE).is_file():
        raise FileNotFoundError(f"{page} has no {PAGE_FILE}; pass the output folder of mender browser-page.")
    try:
        files = {name: file["sha256"] for name, file in parse_json(read_bounded(page / PAGE_FILE))["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{page / PAGE_FILE} names no files; make the page again.") from error
    for name in (PAGE_FILE, "README.md", *files):
        source = page / name
        if page.resolve() not in source.resolve().parents or not source.is_file():
            raise FileNotFoundError(f"{page} lacks {name!r:.80}; make the page again.")
        if name in files and digest_of(source) != files[name]:
            raise ValueError(f"{source} is not the file that the page was made with; make the page again.")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)


def stage_user_study(folder: Path, arguments: SpacePublication) -> None:
    """Writes the page of a user study with its scenarios, and with the files of the package that it imports.

    Raises:
        FileNotFoundError, ValueError: If the study cannot be read, the answers have no dataset, or the reviews may not
            be shown to everybody.
    """
    from ..user_study.form import STUDY_FILE, read_study

    if arguments.study is None:
        raise ValueError("the user study needs --study, the output folder of mender draw-study.")
    check_repo_id(arguments.answers, "--answers")
    study = read_study(arguments.study)
    if study.source in RESTRICTED_SOURCES and not arguments.private:
        raise ValueError(
            f"the reviews of {study.domain} are of {study.source}, whose terms restrict their redistribution; pass "
            "--private, and invite the annotators."
        )
    copy_app("user_study", folder)
    for name in STUDY_MODULES:
        text = (Path(user_study.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        (folder / f"{name}.py").write_text(text.replace("from .", "from "), encoding="utf-8")
    app = (folder / "app.py").read_text(encoding="utf-8")
    (folder / "app.py").write_text(app.replace(f"from {user_study.__name__}.", "from "), encoding="utf-8")
    shutil.copyfile(arguments.study / STUDY_FILE, folder / STUDY_FILE)
    (folder / "settings.json").write_text(json.dumps({"answers": arguments.answers}) + "\n", encoding="utf-8")


def copy_app(name: str, folder: Path) -> None:
    """Copies the files of an app."""
    source = resource(f"model_cards/spaces/{name}")
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


STAGES = {
    "metric": stage_metric,
    "demo": stage_demo,
    "browser": stage_browser,
    "leaderboard": stage_leaderboard,
    "user_study": stage_user_study,
}


if __name__ == "__main__":
    sys.exit(main())
