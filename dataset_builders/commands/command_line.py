"""What every command does with bad input: one line on stderr and status 1, whatever library found it.

Knows how the Hub's refusals look from below (the client's exceptions, often three libraries deep) and says them with
the repository's name and the way out. Knows no command.
"""

import dataclasses
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING
from importlib import metadata
from typing import Any

from huggingface_hub import errors

DISTRIBUTION = "mender-recommender"
# Name of a module -> that of its distribution, where they differ.
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "ibis": "ibis-framework",
    "markdown_it": "markdown-it-py",
    "httpx2": "openai",  # which brings it
}
USER_ERRORS = (ValueError, OSError, ImportError)
_KINDS = {"datasets": "dataset", "spaces": "space", "models": "model"}
_REPOSITORY = re.compile(
    r"https?://[^/]+(?:/api)?/(?:(datasets|spaces|models)/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?=[/?\s'\"]|$)"
)
_REVISION = re.compile(r"/(?:revision|resolve|tree|commit|preupload)/([^/?\s]+)")


def run_command(run: Callable[[], Any], expected: tuple[type[Exception], ...] = USER_ERRORS) -> int:
    """Runs a command.

    Args:
        run (`Callable`): Everything the command does.
        expected (`tuple`): Errors that are the input's and not the code's; others pass through.

    Returns:
        `int`: 0; 1 after one line on stderr; 130 after an interruption by Ctrl-C; 141 where the reader of the output
        has gone, as in `mender score ... | head`.
    """
    try:
        run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what the interpreter still flushes at its end
        return 128 + signal.SIGPIPE
    except expected as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def defaults_of(arguments: type) -> dict[str, Any]:
    """Defaults of the fields of a dataclass, for a parser whose options are named like them."""
    defaults = {field.name: field.default for field in dataclasses.fields(arguments)}
    made = {field.name: field.default_factory for field in dataclasses.fields(arguments)}
    defaults |= {name: make() for name, make in made.items() if make is not MISSING}
    return {name: default for name, default in defaults.items() if default is not MISSING}


def explain(error: BaseException) -> str:
    """What an error means to whoever typed the command; its own text where nothing better is known."""
    for cause in causes(error):
        if isinstance(cause, errors.HfHubHTTPError) and (said := explain_refusal(cause)):
            return said
    for cause in causes(error):
        if isinstance(cause, ModuleNotFoundError) and (extra := extra_of(cause.name)):
            way_out = f"pip install '{DISTRIBUTION}[{extra}]'"
            return f"{cause.name} is not installed; it comes with the extra {extra}: {way_out}"
    own = " ".join(str(error).split()) or type(error).__name__
    for cause in causes(error):
        if isinstance(cause, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
            return f"{own} The Hub is out of reach (HF_HUB_OFFLINE, or no connection), and the cache has no copy."
    return own


def extra_of(module: str | None) -> str | None:
    """The extra of this distribution that brings a module; `None` if none does.

    >>> extra_of("no_such_module")
    """
    name = (module or "").split(".")[0]
    name = _DISTRIBUTIONS.get(name, name.replace("_", "-"))
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    for requirement in requirements:
        found = re.match(r"([\w.-]+).*?;.*extra == ['\"]([\w-]+)['\"]", requirement)
        if found and found[1].casefold() == name.casefold() and found[2] != "all":
            return found[2]
    return None


def explain_refusal(error: errors.HfHubHTTPError) -> str | None:
    """A refusal of the Hub as a sentence with the repository and the way out; `None` where its own text is best."""
    text = str(error)
    url = str(getattr(getattr(error, "response", None), "url", "")) or text
    found = _REPOSITORY.search(url) or _REPOSITORY.search(text)
    if not found:
        return None
    name = f"{_KINDS.get(found.group(1) or 'models')} {found.group(2)}"
    revision = _REVISION.search(url)
    revision = revision.group(1).replace("%2F", "/") if revision else "main"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name} is gated, and this account has not been let in; open https://hf.co/{path_of(found)}, accept the "
            "terms, and log in (hf auth login) or set HF_TOKEN."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{name} does not exist on the Hub, or it is private and this account may not see it; check the name, or "
            "log in (hf auth login) or set HF_TOKEN to a token with access."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{name} has no revision {revision!r}; leave it out for main, or list branches and tags: "
            f"hf repos tag list {found.group(2)}."
        )
    if isinstance(error, errors.EntryNotFoundError):
        missing = url.split(f"/{revision}/")[-1].split("?")[0]
        return (
            f"{name} at revision {revision!r} has no file {missing!r}: it was uploaded in part, or it is not one of "
            "ours; publish it again, or name another revision."
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 412:
        return f"{name} was changed by somebody else since it was read; run the same command again."
    if status in (401, 403):
        return (
            f"the Hub refuses this account's request on {name}; log in with a token that may (hf auth login), or "
            "propose the change as a pull request (--create_pr, or leave out --no_pr)."
        )
    return None


def path_of(found: re.Match) -> str:
    """Path of a repository on the Hub's site."""
    kind = found.group(1)
    return found.group(2) if kind in (None, "models") else f"{kind}/{found.group(2)}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from or during."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
