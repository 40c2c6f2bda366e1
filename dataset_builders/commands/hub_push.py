"""The last step of every publication: a finished folder to a repository on the Hub, as a commit or a pull request.

Knows the Hub's client. Knows nothing of what lies in the folder; whoever prepared it has checked it.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from ..hub_http import check_repo_id, httpx


@dataclass(kw_only=True)
class PushArguments:
    """What every publication may be told."""

    output_dir: Path | None = None
    overwrite: bool = False
    private: bool = False
    revision: str | None = None
    create_pr: bool = False
    message: str | None = None
    dry_run: bool = False
    repo_id: str


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every publishing command has."""
    parser.add_argument("--output_dir", type=Path, help="keep what is published here")
    parser.add_argument("--overwrite", action="store_true", help="replace the output directory if it exists")
    parser.add_argument("--private", action="store_true", help="make the repository private where it is new")
    parser.add_argument("--revision", help="branch to write to, made where it is missing; main where not given")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request in place of a commit")
    parser.add_argument("--message", help="message of the commit")
    parser.add_argument("--dry_run", action="store_true", help="prepare and check everything, list it, send nothing")


def stage_and_push(
    fill: Callable[[Path], None],
    repo_type: str,
    arguments: PushArguments,
    delete_patterns: list[str] | None = None,
    default_message: str = "Upload",
    parent_commit: str | None = None,
) -> str:
    """Has a folder filled, keeps it where `--output_dir` says so, and sends it.

    Args:
        fill (`Callable`): Writes and checks everything in the folder it is given; nothing is sent if it raises.
        repo_type, arguments, delete_patterns, default_message, parent_commit: As in [`push_folder`]; the arguments
            name `repo_id`.

    Returns:
        `str`: As [`push_folder`]; printed, too.
    """
    from ..atomic_write import new_directory

    with tempfile.TemporaryDirectory() as scratch:
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
    """Sends a folder in one commit, so that nobody ever sees half of it.

    After an interruption the same call goes on: large files that arrived are not sent again.

    Args:
        folder (`Path`): Everything that the repository shall get.
        repo_id (`str`): As in `org/name`; made where it is missing.
        repo_type (`str`): `model`, `dataset` or `space`.
        arguments ([`PushArguments`]): Of [`add_push_arguments`].
        delete_patterns (`list[str]`, *optional*): Files that the repository loses where the folder has none of that
            name, such as `*.py`.
        default_message (`str`): Message of the commit where none was given.
        parent_commit (`str`, *optional*): The commit that the folder was made from; the Hub refuses where somebody
            else has written since.

    Returns:
        `str`: Address of the commit or of the pull request; with `--dry_run`, where it would have gone.

    Raises:
        ValueError: If a pull request is asked for together with a branch, or the repository is no `org/name`.
        ConnectionError: If the upload broke off.
        OSError: What the Hub refuses.
    """
    if arguments.create_pr and arguments.revision:
        raise ValueError(
            f"create_pr opens a pull request against main, and revision ({arguments.revision}) names a branch; "
            "give one of them."
        )
    check_repo_id(repo_id, "the repository")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    print(f"{repo_type} {repo_id}, {len(files)} files:")
    for path in files:
        print(f"  {path.stat().st_size:>12,}  {path.relative_to(folder)}")
    if arguments.dry_run:
        return f"nothing was sent (--dry_run); it would go to {repo_type} {repo_id}"
    api = HfApi()
    space_sdk = {"space_sdk": _space_sdk(folder)} if repo_type == "space" else {}
    api.create_repo(repo_id, repo_type=repo_type, private=arguments.private or None, exist_ok=True, **space_sdk)
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
    except (RuntimeError, httpx.TransportError) as error:  # the client's, when a large file does not get through
        raise ConnectionError(
            f"the upload to {repo_type} {repo_id} broke off ({' '.join(str(error).split())}); nobody sees any of it, "
            "and the same command goes on with what has not arrived."
        ) from error
    if arguments.create_pr and not commit.pr_url:
        return f"{repo_type} {repo_id} has exactly these files already: there is nothing to propose"
    return commit.pr_url or commit.commit_url


def _space_sdk(folder: Path) -> str:
    """What the front matter of a Space's README says it runs on."""
    for line in (folder / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("sdk:"):
            return line.removeprefix("sdk:").strip()
    raise ValueError(f"{folder / 'README.md'} names no sdk; a Space needs one, as in `sdk: gradio`.")
