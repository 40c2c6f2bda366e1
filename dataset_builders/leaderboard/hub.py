"""Read and change the repositories of benchmarks and models for the leaderboard."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.hf_api import RepoFile

from ..benchmark.report import BuildReport, read_report, resolve_revision
from ..benchmark.tables import check_fingerprints
from ..bounded_parsing import MAX_YAML_BYTES, UnreadableFile, parse_yaml, read_bounded

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
        ValueError: If one of them cannot be read, or the rows of a directory are not those of its report.
        HfHubHTTPError: If the dataset, or the revision of it, does not exist.
    """
    commit = resolve_revision(name, revision)
    report = read_report(name, domain, commit)
    if commit is None:
        there = [config for config in report.fingerprints if (Path(name) / config).is_dir()]
        names = [config.removeprefix(f"{domain}_") for config in there]
        check_fingerprints(name, domain, names, report.fingerprints)
        path = Path(name) / TASKS_FILE
        text = read_bounded(path, MAX_YAML_BYTES) if path.is_file() else None
    else:
        text = read_text(name, TASKS_FILE, commit, "dataset")
    if text is None:
        raise FileNotFoundError(f"{name} has no {TASKS_FILE}, which lists its tasks; publish the benchmark again.")
    try:
        ids = frozenset(task["id"] for task in parse_yaml(text)["tasks"])
    except (ValueError, TypeError, KeyError, IndexError):
        raise ValueError(f"{TASKS_FILE} of {name} lists no tasks with ids; publish the benchmark again.") from None
    return Benchmark(name, commit, report, ids)


def find_model(model: str) -> tuple[str, str]:
    """The name of a model as the Hub spells it, and the newest commit of its main branch.

    Raises:
        ValueError: If the Hub names no commit.
    """
    found = HfApi().model_info(model)
    if found.sha is None:
        raise ValueError(f"the Hub names no commit of {model}; run the same command again.")
    return found.id, found.sha


def is_tagged(model: str) -> bool:
    """Whether [`list_models`] finds a model."""
    return MODEL_TAG in (HfApi().model_info(model).tags or ())


def list_folder(model: str, folder: str, revision: str) -> list[str]:
    """Paths of the files directly in a folder of a commit of a model; none if there is no such folder."""
    try:
        found = list(HfApi().list_repo_tree(model, folder, revision=revision))
    except EntryNotFoundError:
        return []
    return [one.path for one in found if isinstance(one, RepoFile)]


def open_pull_requests(model: str) -> dict[str, str]:
    """Addresses of the open pull requests of a model, by git reference."""
    waiting = HfApi().get_repo_discussions(model, discussion_type="pull_request", discussion_status="open")
    return {f"refs/pr/{one.num}": f"{model_url(model)}/discussions/{one.num}" for one in waiting}


def read_text(
    repo_id: str, path: str, revision: str, repo_type: str = "model", max_bytes: int = MAX_YAML_BYTES
) -> str | None:
    """Text of a file of a commit, which is asked for its size before it is downloaded.

    Args:
        repo_id, path, revision, repo_type (`str`): File, commit and repository.
        max_bytes (`int`): Largest size.

    Returns:
        `str`: Its text; `None` if the file does not exist.

    Raises:
        UnreadableFile: If it is larger or not UTF-8; names the file.
    """
    found = [one for one in HfApi().get_paths_info(repo_id, [path], revision=revision, repo_type=repo_type)
             if isinstance(one, RepoFile)]  # fmt: skip
    if not found:
        return None
    if found[0].size > max_bytes:
        raise UnreadableFile(
            f"{repo_id}/{path} has {found[0].size:,} bytes, and the limit for such a file is {max_bytes:,}"
        )
    try:
        file = HfApi().hf_hub_download(repo_id, path, repo_type=repo_type, revision=revision)
    except EntryNotFoundError:
        return None
    try:
        return read_bounded(file, max_bytes)
    except UnreadableFile as error:
        raise UnreadableFile(f"{repo_id}/{path}: {error}") from None


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
