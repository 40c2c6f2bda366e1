"""Push a finished folder to a repository on the Hub, as one commit or pull request."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from ..hub_http import check_repo_id, httpx
from ..replacing import PUBLISHED, benchmark_files, check_replaceable, other_values


@dataclass(kw_only=True)
class PushArguments:
    """Arguments of every publishing command."""

    output_dir: Path | None = None
    overwrite: bool = False
    private: bool = False
    revision: str | None = None
    create_pr: bool = False
    message: str | None = None
    dry_run: bool = False
    repo_id: str


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of [`PushArguments`] except `repo_id`."""
    parser.add_argument("--output_dir", type=Path, help="folder that keeps a copy of the published files")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to write to, created if missing; default: main")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request instead of a commit")
    parser.add_argument("--message", help="commit message")
    parser.add_argument("--dry_run", action="store_true", help="prepare, check and list all files, but send nothing")


def stage_and_push(
    fill: Callable[[Path], None],
    repo_type: str,
    arguments: PushArguments,
    delete_patterns: list[str] | None = None,
    default_message: str = "Upload",
    parent_commit: str | None = None,
) -> str:
    """Fills a folder, in `--output_dir` if given, and sends it by [`push_folder`]; prints the address.

    Args:
        fill (`Callable`): Writes and checks all files in the given folder; nothing is sent if it raises.
        repo_type, arguments, delete_patterns, default_message, parent_commit: See [`push_folder`].

    Returns:
        `str`: The address.
    """
    from ..atomic_write import new_directory, scratch_directory

    names = PUBLISHED.get(repo_type) or benchmark_files()
    check_replaceable(arguments.output_dir, arguments.overwrite, names, other_values(arguments))
    with scratch_directory() as scratch:
        staged = arguments.output_dir or Path(scratch) / repo_type
        with new_directory(staged, arguments.overwrite) as folder:
            fill(folder)
        address = push_folder(
            staged, arguments.repo_id, repo_type, arguments, delete_patterns, default_message, parent_commit
        )
    print(address)
    return address


def push_folder(
    folder: Path,
    repo_id: str,
    repo_type: str,
    arguments: PushArguments,
    delete_patterns: list[str] | None = None,
    default_message: str = "Upload",
    parent_commit: str | None = None,
) -> str:
    """Sends a folder in one commit; a repeated call after an interruption does not resend large files that arrived.

    Args:
        folder (`Path`): Files for the repository.
        repo_id (`str`): As in `org/name`; created if missing.
        repo_type (`str`): `model`, `dataset` or `space`.
        arguments ([`PushArguments`]): Of [`add_push_arguments`].
        delete_patterns (`list[str]`, *optional*): Patterns such as `*.py`; matching files of the repository are
            deleted unless the folder has them.
        default_message (`str`): Commit message where the arguments have none.
        parent_commit (`str`, *optional*): Commit that the folder was made from; the Hub refuses the push if the
            branch has moved since.

    Returns:
        `str`: Address of the commit or of the pull request, or a sentence if nothing was sent.

    Raises:
        ValueError: If both a pull request and a branch are given, or the repository is no `org/name`.
        ConnectionError: If the upload broke off.
        OSError: If the Hub refuses it.
    """
    _check_target(repo_id, arguments)
    _list_files(folder, repo_id, repo_type)
    if arguments.dry_run:
        return f"nothing was sent (--dry_run); it would go to {repo_type} {repo_id}"
    api = HfApi()
    sdk = _space_sdk(folder) if repo_type == "space" else None
    api.create_repo(repo_id, repo_type=repo_type, private=arguments.private or None, exist_ok=True, space_sdk=sdk)
    if arguments.revision:
        api.create_branch(repo_id, branch=arguments.revision, repo_type=repo_type, exist_ok=True)
    try:
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            revision=arguments.revision,
            create_pr=arguments.create_pr,
            commit_message=arguments.message or default_message,
            delete_patterns=delete_patterns,
            parent_commit=parent_commit,
        )
    except (RuntimeError, httpx.TransportError) as error:  # raised by the client when a large file fails
        raise ConnectionError(
            f"the upload to {repo_type} {repo_id} broke off ({' '.join(str(error).split())}); nothing was published; "
            "run the same command again to send the rest."
        ) from error
    if arguments.create_pr and not commit.pr_url:
        return f"{repo_type} {repo_id} has exactly these files already: there is nothing to propose"
    return commit.pr_url or commit.commit_url


def _check_target(repo_id: str, arguments: PushArguments) -> None:
    """Refuses a pull request against a branch, and a name that is no `org/name`."""
    if arguments.create_pr and arguments.revision:
        raise ValueError(
            f"create_pr opens a pull request against main, and revision ({arguments.revision}) names a branch; "
            "give one of them."
        )
    check_repo_id(repo_id, "the repository")


def _list_files(folder: Path, repo_id: str, repo_type: str) -> None:
    """Prints the files of a folder with their sizes in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    print(f"{repo_type} {repo_id}, {len(files)} files:")
    for path in files:
        print(f"  {path.stat().st_size:>12,}  {path.relative_to(folder)}")


def _space_sdk(folder: Path) -> str:
    """The `sdk` in the front matter of a Space's README."""
    for line in (folder / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("sdk:"):
            return line.removeprefix("sdk:").strip()
    raise ValueError(f"{folder / 'README.md'} names no sdk; a Space needs one, as in `sdk: gradio`.")
