"""What a submission sends: the entries of results, and how they go beside those that a model already has.

Knows the Hub's `.eval_results/*.yaml`. Leaves to `validation.py` whether the figures may be sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ..benchmark.axes import AXES
from ..scoring.results import Results
from .hub import list_files, open_pull_requests, parse_yaml, read_text
from .validation import task_id

ENTRIES_FOLDER = ".eval_results"
LOCAL_ARGUMENTS = ("benchmark", "cache_dir", "output_dir", "semantic_ids")
"""Arguments of a training that name folders of the machine it ran on."""


@dataclass(frozen=True)
class Change:
    """What becomes of one task: `new`, `update` or `already submitted`; `said` is that in words."""

    entry: EvalResultEntry
    kind: str
    said: str


def entries_file(benchmark: str, domain: str) -> str:
    """Where the entries of a domain go in a model's repository.

    >>> entries_file("org/pref-discerning", "beauty")
    '.eval_results/pref-discerning_beauty.yaml'
    """
    return f"{ENTRIES_FOLDER}/{benchmark.rstrip('/').split('/')[-1]}_{domain}.yaml"


def results_file(domain: str) -> str:
    """Where the whole results go: intervals and the figures without the preference are read from it.

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
    """One entry per axis that has its figure.

    Args:
        results ([`~dataset_builders.scoring.results.Results`]): Results without objections.
        benchmark (`str`): Name of the dataset.
        revision (`str`, *optional*): Commit of the dataset.
        date (`str`): Day of the evaluation, as in `2026-11-20`.
        source_url (`str`, *optional*): Where the evaluation can be looked up.
        notes (`str`, *optional*): On the set-up.

    Returns:
        `tuple[list[EvalResultEntry], list[str]]`: The entries, and a line on every axis that has none.
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
    """All `.eval_results/*.yaml` of a model at a commit: path -> its list, as it stands.

    Raises:
        ValueError: If one of them is no list of results.
    """
    paths = [
        path for path in list_files(model, revision)
        if path.startswith(f"{ENTRIES_FOLDER}/") and path.endswith(".yaml") and path.count("/") == 1
    ]  # fmt: skip
    return {path: parse_entries(read_text(model, path, revision) or "", f"{model}/{path}") for path in paths}


def parse_entries(text: str, name: str) -> list[dict[str, Any]]:
    """A file of entries as plain values, those kept that the client's own class does not know.

    Raises:
        ValueError: If it is no list of results; names the file.
    """
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{name} is {error}; repair it first.") from None
    for item in content if isinstance(content, list) else [None]:
        dataset = item.get("dataset") if isinstance(item, dict) else None
        if not isinstance(dataset, dict) or not {"id", "task_id"} <= set(dataset) or "value" not in item:
            raise ValueError(
                f"{name} is no list of results, each with dataset.id, dataset.task_id and value; repair it first."
            )
    return content


def find_waiting(entries: Sequence[EvalResultEntry], model: str) -> str | None:
    """Address of an open pull request that already carries every one of the entries; `None` where there is none."""
    for reference, address in open_pull_requests(model).items():
        try:
            files = read_entry_files(model, reference)
        except ValueError:  # somebody's broken file is that pull request's trouble
            continue
        if all(change.kind == "already submitted" for change in compare(entries, files)):
            return address
    return None


def published_results(results: Results, model: str) -> Results:
    """Results as others may read them: the model by its name on the Hub, and no folder of one machine."""
    arguments = results.maker.arguments
    if arguments is not None:
        arguments = {name: value for name, value in arguments.items() if name not in LOCAL_ARGUMENTS}
    return replace(results, maker=replace(results.maker, model=model, arguments=arguments))


def compare(entries: Sequence[EvalResultEntry], files: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Change]:
    """What the entries change, given those that the model already has; a task that stands twice is to stand once."""
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
    """The files that a submission changes: path -> YAML text.

    An entry is replaced in the file where it stands first, and taken out where it stands again, for a task has one
    value; new ones go to the end of `target`.
    What else is in the files stays as it is, and a file without a change is not among those returned.

    Args:
        changes (`Sequence[Change]`): Of [`compare`].
        files (`Mapping[str, list[dict]]`): All entries that the model has, of [`read_entry_files`].
        target (`str`): Path for what is new.
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
