"""Read and change the repositories of benchmarks and models for the leaderboard."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import EntryNotFoundError

from ..benchmark.report import BuildReport, read_report, resolve_revision

TASKS_FILE = "eval.yaml"
MODEL_TAG = "preference-discerning"
"""Tag of the model card by which leaderboards find models."""


@dataclass(frozen=True)
class Benchmark:
    """One domain of a benchmark at one commit.

    Attributes:
        name: `org/name` on the Hub, or a local directory.
        revision: The commit; `None` for a local directory.
        report: Rows and fingerprints of every config of the domain.
        tasks: Ids of `eval.yaml`.
    """

    name: str
    revision: str | None
    report: BuildReport
    tasks: frozenset[str]


def read_benchmark(name: str, domain: str, revision: str | None = None) -> Benchmark:
    """Reads the benchmark that a submission is checked against.

    Args:
        name (`str`): A local benchmark directory, or a dataset on the Hub.
        domain (`str`): Such as `beauty`.
        revision (`str`, *optional*): Commit, branch or tag of the dataset; main by default.

    Raises:
        FileNotFoundError: If there is no report of the domain, or no `eval.yaml`.
        ValueError: If one of them cannot be read.
        HfHubHTTPError: If the dataset, or the revision of it, does not exist.
    """
    commit = resolve_revision(name, revision)
    report = read_report(name, domain, commit)
    if commit is None:
        path = Path(name) / TASKS_FILE
        text = path.read_text(encoding="utf-8") if path.is_file() else None
    else:
        text = read_text(name, TASKS_FILE, commit, "dataset")
    if text is None:
        raise FileNotFoundError(f"{name} has no {TASKS_FILE}, which lists its tasks; publish the benchmark again.")
    try:
        ids = frozenset(task["id"] for task in parse_yaml(text)["tasks"])
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{TASKS_FILE} of {name} lists no tasks with ids; publish the benchmark again.") from None
    return Benchmark(name, commit, report, ids)


def newest_commit(model: str) -> str:
    """The newest commit of the main branch of a model.

    Raises:
        ValueError: If the Hub names none.
    """
    commit = HfApi().model_info(model).sha
    if commit is None:
        raise ValueError(f"the Hub names no commit of {model}; run the same command again.")
    return commit


def is_tagged(model: str) -> bool:
    """Whether [`list_models`] finds a model."""
    return MODEL_TAG in (HfApi().model_info(model).tags or ())


def list_files(model: str, revision: str) -> list[str]:
    """Paths of all files of a commit of a model."""
    return HfApi().list_repo_files(model, revision=revision)


def open_pull_requests(model: str) -> dict[str, str]:
    """Addresses of the open pull requests of a model, by git reference."""
    waiting = HfApi().get_repo_discussions(model, discussion_type="pull_request", discussion_status="open")
    return {f"refs/pr/{one.num}": f"{model_url(model)}/discussions/{one.num}" for one in waiting}


def read_text(repo_id: str, path: str, revision: str, repo_type: str = "model") -> str | None:
    """Text of a file of a commit; `None` if the file does not exist."""
    try:
        file = HfApi().hf_hub_download(repo_id, path, repo_type=repo_type, revision=revision)
    except EntryNotFoundError:
        return None
    return Path(file).read_text(encoding="utf-8")


def list_models() -> list[str]:
    """Names of the models on the Hub with the tag `MODEL_TAG`."""
    return [model.id for model in HfApi().list_models(filter=MODEL_TAG)]


def model_url(repo_id: str) -> str:
    """Address of a model on the Hub's website."""
    return f"{HfApi().endpoint}/{repo_id}"


def commit_files(
    repo_id: str, files: Mapping[str, str], parent: str | None, message: str, description: str, create_pr: bool = True
) -> str:
    """Adds or replaces text files of a model repository in one commit.

    Args:
        repo_id (`str`): Existing repository, as in `org/name`.
        files (`Mapping[str, str]`): Path -> text.
        parent (`str`, *optional*): The commit that was read; a direct commit is refused if the branch has moved since.
        message, description (`str`): Texts of the commit and of the pull request.
        create_pr (`bool`, defaults to `True`): Opens a pull request; else commits to main.

    Returns:
        `str`: Address of the pull request or of the commit.
    """
    operations = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
    commit = HfApi().create_commit(
        repo_id,
        operations,
        commit_message=message,
        commit_description=description,
        create_pr=create_pr,
        parent_commit=parent,
    )
    return commit.pr_url or commit.commit_url


def parse_yaml(text: str) -> Any:
    """Parses YAML to plain values.

    Raises:
        ValueError: If it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {' '.join(str(error).split())}") from None
