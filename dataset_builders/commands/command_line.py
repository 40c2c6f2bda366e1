"""Run a command and report bad input as one line on stderr with exit status 1, whichever library raised it."""

import argparse
import dataclasses
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING
from importlib import metadata
from typing import Any, TextIO

from huggingface_hub import errors

from ..bounded_parsing import UnreadableFile, exact_float
from ..escaping import printable

DISTRIBUTION = "mender-recommender"
# module -> distribution, where the names differ
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "ibis": "ibis-framework",
    "markdown_it": "markdown-it-py",
    "httpx2": "openai",  # a dependency of it
}
_NO_MEMORY = re.compile("can(?:no|')t allocate memory|out of memory|bad_alloc|failed to allocate", re.IGNORECASE)
_NO_SPACE = re.compile("no space left on device|file too large|disk quota exceeded", re.IGNORECASE)
USER_ERRORS = (ValueError, OSError, ImportError)
_KINDS = {"datasets": "dataset", "spaces": "space", "models": "model"}
_REPOSITORY = re.compile(
    r"https?://[^/]+(?:/api)?/(?:(datasets|spaces|models)/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?=[/?\s'\"]|$)"
)
_REVISION = re.compile(r"/(?:revision|resolve|tree|commit|preupload)/([^/?\s]+)")


def check_port(port: int | None) -> None:
    """Checks the port of a page.

    Raises:
        ValueError: If there is no such port, or another program listens at it.
    """
    if port is None:
        return
    if not 1 <= port <= 65535:
        raise ValueError(f"--port ({port}) must be in 1..65535; leave it out for the first free one.")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ValueError(f"--port ({port}) is taken; give another one, or leave it out for the first free one.")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Appends the default of each option, unless it is empty or the help text describes it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if (
            action.default is None
            or action.default is False
            or action.default in ((), "")
            or "default: " in (action.help or "")
        ):
            return action.help
        return super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """Parser of a command that takes nothing for something else.

    Refused are an option that is given twice (except with `action="append"`), of which argparse would keep the last;
    an empty text, which as a path would be the current folder; and a number that a float would change.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._given: set[str] = set()
        super().__init__(*args, **kwargs)
        self.register("type", float, _exact_number)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given.clear()
        return super().parse_known_args(args, namespace)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Called by argparse for every option and positional argument of the command line."""
        if action.option_strings and not isinstance(action, argparse._AppendAction | argparse._CountAction):
            if action.dest in self._given:
                all_values = ", with all of its values after it" if action.nargs in ("+", "*") else ""
                raise argparse.ArgumentError(action, f"is given twice; give it once{all_values}")
            self._given.add(action.dest)
        for text in arg_strings:
            if not text.strip():
                raise argparse.ArgumentError(action, f"{text!r} is empty; give a value, or leave it out")
        return super()._get_values(action, arg_strings)


def _exact_number(text: str) -> float:
    try:
        return exact_float(text)
    except UnreadableFile as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run_command(run: Callable[[], Any], expected: tuple[type[Exception], ...] = USER_ERRORS) -> int:
    """Runs a command.

    Args:
        run (`Callable`): The work of the command.
        expected (`tuple`): Errors that bad input causes; others pass through.

    Returns:
        `int`: 0; 1 after one line on stderr; 130 after an interruption by Ctrl-C; 141 where the reader of the output
        has gone, as in `mender score ... | head`.
    """
    return with_output(lambda: _run(run, expected))


def _run(run: Callable[[], Any], expected: tuple[type[Exception], ...]) -> int:
    try:
        run()
    except expected as error:
        if output_error() is None:  # else with_output names it
            print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except Exception as error:
        if (shortage := explain_shortage(error)) is None:
            raise
        print(f"error: {shortage}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


class _Output:
    """Standard output that remembers the error of a write, which argparse and others pass over."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Writes as the stream does."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self.error = error
            raise


def output_error() -> OSError | None:
    """Why standard output takes nothing any more: its disk is full, or its reader has gone; `None` if it does."""
    try:
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
    except OSError as error:
        return error
    return getattr(sys.stdout, "error", None)


def with_output(run: Callable[[], int]) -> int:
    """Runs what prints to standard output, and names that in one line if it fails.

    Returns:
        `int`: What `run` returns; 1 or 141 as in [`run_command`] if a part of the output was lost.
    """
    before, ended = sys.stdout, None
    if isinstance(before, _Output):
        return run()  # within another call, which names it
    if before is not None:
        sys.stdout = _Output(before)
    try:
        try:
            status = run()
        except SystemExit as error:  # of argparse
            status, ended = 0, error
        except OSError:
            status = 1
            if output_error() is None:
                raise
        if (lost := output_error()) is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), before.fileno())  # what the interpreter still flushes at its end
            if isinstance(lost, BrokenPipeError):
                return 128 + signal.SIGPIPE
            print(f"error: {_system_error(OSError(lost.errno, lost.strerror, _OUTPUT))}", file=sys.stderr)
            return 1
    finally:
        sys.stdout = before
    if ended is not None:
        raise ended
    return status


def defaults_of(arguments: type) -> dict[str, Any]:
    """Defaults of the fields of a dataclass, for a parser with options of the same names."""
    defaults = {field.name: field.default for field in dataclasses.fields(arguments)}
    made = {field.name: field.default_factory for field in dataclasses.fields(arguments)}
    defaults |= {name: make() for name, make in made.items() if make is not MISSING}
    return {name: default for name, default in defaults.items() if default is not MISSING}


def explain(error: BaseException) -> str:
    """Message of an error for the user, with a way out for refusals of the Hub and missing extras."""
    for cause in causes(error):
        if isinstance(cause, errors.HfHubHTTPError) and (said := explain_refusal(cause)):
            return said
    for cause in causes(error):
        if isinstance(cause, ModuleNotFoundError) and (extra := extra_of(cause.name)):
            way_out = f"pip install '{DISTRIBUTION}[{extra}]'"
            return f"{cause.name} is not installed; it comes with the extra {extra}: {way_out}"
    own = printable(_system_error(error) or str(error)) or type(error).__name__
    for cause in causes(error):
        if isinstance(cause, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
            return f"{own} The Hub is out of reach (HF_HUB_OFFLINE, or no connection), and the cache has no copy."
    return own


_OUTPUT = "standard output"
_WAYS_OUT = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.EACCES: "change the rights, or choose another place",
    errno.EPERM: "change the rights, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "name a file",
    errno.EBADF: "open it for writing",
    errno.EMFILE: "raise the limit (ulimit -n)",
}


def _system_error(error: BaseException) -> str | None:
    """Error of the system as its path, its reason and a way out; `None` for other errors.

    >>> _system_error(FileNotFoundError(2, "No such file or directory", "/proc/x"))
    '/proc/x: No such file or directory; correct the path, or choose another place'
    """
    if not isinstance(error, OSError) or error.errno is None or error.filename is None or error.strerror is None:
        return None
    if str(error) != str(OSError(error.errno, error.strerror, error.filename, None, error.filename2)):
        return None  # it says it in words of its own
    paths = " and ".join(os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None)
    if ";" in error.strerror:
        return f"{paths}: {error.strerror}"  # of ours, with its way out
    return f"{paths}: {error.strerror}; {_WAYS_OUT.get(error.errno, 'correct the path, or choose another place')}"


def explain_shortage(error: BaseException) -> str | None:
    """Message of an error that says, in whatever type, that the machine has no memory, space or files left.

    >>> explain_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    "too little memory (DefaultCPUAllocator: can't allocate memory); close other programs, or ask for less at a time"
    >>> explain_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    """
    for cause in causes(error):
        said = " ".join(str(cause).split())[:200]
        if isinstance(cause, MemoryError) or _NO_MEMORY.search(said):
            return (
                f"too little memory ({said or type(cause).__name__}); close other programs, or ask for less at a time"
            )
        if _NO_SPACE.search(said):
            return f"a file cannot be written ({said}); make room there, or choose another place"
        if "Too many open files" in said:
            return f"too many open files ({said}); raise the limit (ulimit -n)"
    return None


def extra_of(module: str | None) -> str | None:
    """The extra of this distribution that installs a module; `None` if none does.

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
    """A refusal of the Hub as a sentence with the repository and the way out; `None` if there is no better text."""
    text = str(error)
    url = str(getattr(getattr(error, "response", None), "url", "")) or text
    found = _REPOSITORY.search(url) or _REPOSITORY.search(text)
    if not found:
        return None
    name = f"{_KINDS.get(found.group(1) or 'models')} {found.group(2)}"
    named = _REVISION.search(url)
    revision = named.group(1).replace("%2F", "/") if named else "main"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name} is gated, and this account has no access; open https://hf.co/{path_of(found)}, accept the "
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
            f"{name} at revision {revision!r} has no file {missing!r}: it was uploaded in part, or not by this "
            "project; publish it again, or name another revision."
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 412:
        return f"{name} was changed since it was read; run the same command again."
    if status in (401, 403):
        return (
            f"the Hub refuses this account's request on {name}; log in with a token that may (hf auth login), or "
            "propose the change as a pull request (--create_pr, or leave out --no_pr)."
        )
    return None


def path_of(found: re.Match) -> str:
    """Path of a repository on the Hub's website."""
    kind = found.group(1)
    return found.group(2) if kind in (None, "models") else f"{kind}/{found.group(2)}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its chain of causes and contexts."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
