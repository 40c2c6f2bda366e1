"""Make the `.eval_results/*.yaml` entries of results, and merge them into those of a model."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ..benchmark.axes import AXES
from ..bounded_parsing import parse_yaml
from ..scoring.results import Results
from .hub import list_folder, open_pull_requests, read_text
from .validation import task_id

logger = logging.getLogger(__name__)

ENTRIES_FOLDER = ".eval_results"
MAX_ENTRY_FILES = 50
MAX_ENTRIES = 500
"""Entries of a file."""
LOCAL_ARGUMENTS = ("benchmark", "cache_dir", "output_dir", "semantic_ids")
"""Training arguments that are local paths."""


@dataclass(frozen=True)
class Change:
    """Change of one task: `kind` is `new`, `update` or `already submitted`, `said` its text."""

    entry: EvalResultEntry
    kind: str
    said: str


def entries_file(benchmark: str, domain: str) -> str:
    """Path of the entries of a domain in a model's repository.

    >>> entries_file("org/pref-discerning", "beauty")
    '.eval_results/pref-discerning_beauty.yaml'
    """
    return f"{ENTRIES_FOLDER}/{benchmark.rstrip('/').split('/')[-1]}_{domain}.yaml"


def results_file(domain: str) -> str:
    """Path of the full results of a domain in a model's repository.

    >>> results_file("beauty")
    'results/beauty.json'
    """
    return f"results/{domain}.json"


def make_entries(
    results: Results,
    benchmark: str,
    revision: str | None,
    date: str,
    source_url: str | None = None,
    notes: str | None = None,
) -> tuple[list[EvalResultEntry], list[str]]:
    """Makes one entry per axis with a score.

    Args:
        results ([`~dataset_builders.scoring.results.Results`]): Valid results.
        benchmark (`str`): Name of the dataset.
        revision (`str`, *optional*): Commit of the dataset.
        date (`str`): Day of the evaluation, as in `2026-11-20`.
        source_url (`str`, *optional*): Address of a description of the evaluation.
        notes (`str`, *optional*): Note on the setup.

    Returns:
        `tuple[list[EvalResultEntry], list[str]]`: The entries, and a line on every axis without one.
    """
    entries, left_out = [], [f"{axis}: {why}" for axis, why in results.left_out.items()]
    for axis in AXES:
        if axis not in results.axes:
            continue
        value = results.axes[axis].main_value()
        if value is None:
            left_out.append(f"{axis}: no figure, for {results.maker.method} reads no preference; not submitted")
            continue
        entries.append(
            EvalResultEntry(
                dataset_id=benchmark,
                task_id=task_id(results.domain, axis),
                value=value,
                dataset_revision=revision,
                date=date,
                source_url=source_url,
                notes=notes,
            )
        )
    return entries, left_out


def read_entry_files(model: str, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Reads all `.eval_results/*.yaml` of a model at a commit, as lists of entries by path.

    Raises:
        ValueError: If one of them is no list of results.
    """
    return {path: read_entries(model, path, revision) for path in list_entry_files(model, revision)}


def list_entry_files(model: str, revision: str) -> list[str]:
    """Paths of all `.eval_results/*.yaml` of a model at a commit.

    Raises:
        ValueError: If there are more than `MAX_ENTRY_FILES`.
    """
    paths = [path for path in list_folder(model, ENTRIES_FOLDER, revision) if path.endswith(".yaml")]
    if len(paths) > MAX_ENTRY_FILES:
        raise ValueError(
            f"{model} has {len(paths)} files in {ENTRIES_FOLDER}, and the limit is {MAX_ENTRY_FILES}; merge them."
        )
    return paths


def read_entries(model: str, path: str, revision: str, skip_wrong: bool = False) -> list[dict[str, Any]]:
    """Reads one file of entries of a model at a commit; `skip_wrong` as in [`parse_entries`].

    Raises:
        ValueError: If it is no list of results.
    """
    return parse_entries(read_text(model, path, revision) or "", f"{model}/{path}", skip_wrong)


def parse_entries(text: str, name: str, skip_wrong: bool = False) -> list[dict[str, Any]]:
    """Parses a file of entries to plain values, keeping unknown fields.

    Args:
        text (`str`): YAML.
        name (`str`): Name of the file, for errors.
        skip_wrong (`bool`, defaults to `False`): Whether what is no result is skipped with a warning.

    Raises:
        ValueError: If it is no list of results; names the file.
    """
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{name} is {error}; repair it first.") from None
    wrong = f"{name} is no list of results, each with dataset.id, dataset.task_id and value; repair it first."
    if not isinstance(content, list):
        raise ValueError(wrong)
    if len(content) > MAX_ENTRIES:
        raise ValueError(f"{name} has {len(content):,} entries, and the limit is {MAX_ENTRIES:,}; divide it.")
    if not skip_wrong and not all(map(_is_entry, content)):
        raise ValueError(wrong)
    found = [item for item in content if _is_entry(item)]
    if len(found) < len(content):
        logger.warning("skipped: %d entries of %s without dataset.id, dataset.task_id and value",
                       len(content) - len(found), name)  # fmt: skip
    return found


def _is_entry(item: Any) -> bool:
    dataset = item.get("dataset") if isinstance(item, dict) else None
    return isinstance(dataset, dict) and {"id", "task_id"} <= set(dataset) and "value" in item


def find_waiting(entries: Sequence[EvalResultEntry], model: str) -> str | None:
    """Address of an open pull request that already has all entries; `None` if there is none."""
    for reference, address in open_pull_requests(model).items():
        try:
            files = read_entry_files(model, reference)
        except ValueError:  # a broken file of another pull request
            continue
        if all(change.kind == "already submitted" for change in compare(entries, files)):
            return address
    return None


def published_results(results: Results, model: str) -> Results:
    """Results for publication: the model's name on the Hub, and no local paths."""
    arguments = results.maker.arguments
    if arguments is not None:
        arguments = {name: value for name, value in arguments.items() if name not in LOCAL_ARGUMENTS}
    return replace(results, maker=replace(results.maker, model=model, arguments=arguments))


def compare(entries: Sequence[EvalResultEntry], files: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Change]:
    """Compares entries with those of the model; repeated entries of a task count as an update."""
    changes = []
    for entry in entries:
        there = [(path, item) for path, content in files.items() for item in content if _same_task(item, entry)]
        updates = [
            f"{item['value']} at revision {item['dataset'].get('revision')} ({path})"
            for path, item in there
            if item["value"] != entry.value or item["dataset"].get("revision") != entry.dataset_revision
        ]
        if not there:
            changes.append(Change(entry, "new", "new"))
        elif updates:
            changes.append(Change(entry, "update", f"update of {', '.join(updates)}"))
        elif len(there) > 1:
            changes.append(Change(entry, "update", f"listed {len(there)} times, kept once ({there[0][0]})"))
        else:
            changes.append(Change(entry, "already submitted", f"already submitted ({there[0][0]})"))
    return changes


def merge(changes: Sequence[Change], files: Mapping[str, list[dict[str, Any]]], target: str) -> dict[str, str]:
    """Returns the changed files of a submission, as YAML text by path.

    An entry is replaced at its first occurrence and removed from the others; new ones are appended to `target`. Other
    entries are kept, and unchanged files are not returned.

    Args:
        changes (`Sequence[Change]`): Of [`compare`].
        files (`Mapping[str, list[dict]]`): All entries of the model, of [`read_entry_files`].
        target (`str`): Path for new entries.
    """
    merged = {path: list(content) for path, content in files.items()}
    for change in changes:
        (item,) = eval_result_entries_to_yaml([change.entry])
        if change.kind == "new":
            merged.setdefault(target, []).append(item)
        elif change.kind == "update":
            waiting = [item]
            for path, content in merged.items():
                merged[path] = []
                for old in content:
                    if not _same_task(old, change.entry):
                        merged[path].append(old)
                    elif waiting:
                        merged[path].append(waiting.pop())
    return {path: entries_text(content) for path, content in merged.items() if content != files.get(path)}


def entries_text(items: Sequence[Mapping[str, Any]]) -> str:
    """A list of entries as YAML.

    >>> print(entries_text([{"dataset": {"id": "o/n", "task_id": "t"}, "value": 0.5, "date": "2026-11-20"}]), end="")
    - dataset:
        id: o/n
        task_id: t
      value: 0.5
      date: '2026-11-20'
    """
    return yaml.safe_dump(list(items), sort_keys=False, allow_unicode=True, width=120)


def _same_task(item: Mapping[str, Any], entry: EvalResultEntry) -> bool:
    return item["dataset"].get("id") == entry.dataset_id and item["dataset"].get("task_id") == entry.task_id
