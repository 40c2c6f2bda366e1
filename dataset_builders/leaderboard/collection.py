"""Collect leaderboard records from folders of results and from models on the Hub."""

import datetime
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from ..atomic_write import write_text
from ..benchmark.axes import AXES, Axis, get_axis
from ..benchmark.report import BuildReport, is_on_the_hub, read_report, resolve_revision
from ..benchmark.schema import config_name
from ..scoring.baselines import main_baselines, main_figures, read_baselines
from ..scoring.result_parts import is_share
from ..scoring.results import RESULTS_FILE, InvalidResults, Results
from .hub import list_models, model_url, newest_commit, read_text
from .submission import read_entry_files, results_file
from .validation import SPLIT, TOLERANCE, check_figures

logger = logging.getLogger(__name__)


def collect_local(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Collects records of every results.json below the folders; invalid ones are skipped with a warning.

    The name of a model is its path relative to the given folder.

    Args:
        paths (`Iterable[str | Path]`): Folders or files.

    Returns:
        `list[dict]`: One record per model, domain and axis; its date is that of the file.

    Raises:
        ValueError: If a path does not exist, or there is no results.json below any of them.
    """
    roots = [Path(path) for path in paths]
    files: dict[Path, Path] = {}
    for path in roots:
        if not path.exists():
            raise ValueError(f"{path} does not exist; pass output folders of mender evaluate.")
        for file in [path] if path.is_file() else sorted(path.rglob(RESULTS_FILE)):
            files.setdefault(file.resolve(), path)
    if not files:
        raise ValueError(f"no {RESULTS_FILE} below {', '.join(map(str, roots))}; score with mender evaluate.")
    records = []
    for file, root in files.items():
        results = _usable(file.read_bytes(), str(file))
        if results is None:
            continue
        folder = file.parent.relative_to(root.resolve()) if root.is_dir() else Path()
        name = Path(root.resolve().name, folder) if len(roots) > 1 else folder
        date = datetime.date.fromtimestamp(file.stat().st_mtime).isoformat()
        for axis in AXES:
            value = _value(results, axis)
            if value is not None:
                model = name.as_posix() if name != Path() else results.maker.method
                records.append(make_record(model, results.domain, axis, value, date) | figures_of(results, axis))
    return records


def collect_hub(benchmark: str, model_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Collects the submissions of models: `.eval_results/*.yaml`, with `results/{domain}.json` where it agrees.

    Args:
        benchmark (`str`): Name of the dataset on the Hub.
        model_ids (`Sequence[str]`, *optional*): Models to read; by default those with the tag `MODEL_TAG`, of which
            unreadable ones are skipped with a warning. Repeated entries of a task are skipped, too.
    """
    report_at = cache(lambda domain, revision: _report(benchmark, domain, revision))
    records = []
    for model in dict.fromkeys(list_models() if model_ids is None else model_ids):
        try:
            commit = newest_commit(model)
            files = read_entry_files(model, commit)
        except (ValueError, HfHubHTTPError) as error:
            if model_ids is not None:
                raise
            logger.warning("skipped: %s (%s)", model, " ".join(str(error).split()))
            continue
        results_at = cache(lambda domain, model=model, commit=commit: _submitted_results(model, domain, commit))
        values: dict[str, float] = {}
        for path, items in files.items():
            for item in items:
                task = str(item["dataset"]["task_id"])
                found = parse_task(task)
                if item["dataset"]["id"] != benchmark or found is None:
                    continue
                if not is_share(item["value"]):
                    logger.warning("skipped: %s of %s/%s is %r", task, model, path, item["value"])
                    continue
                if task in values:
                    logger.warning(
                        "skipped: %s of %s/%s is listed again, %r after %r", task, model, path, item["value"],
                        values[task],
                    )  # fmt: skip
                    continue
                values[task] = item["value"]
                domain, axis = found
                revision = item["dataset"].get("revision")
                revision = revision if isinstance(revision, str) else None
                record = make_record(model, domain, axis, float(item["value"]), str(item.get("date") or "")[:10])
                record |= _rows_of(report_at(domain, revision), domain, axis)
                results = results_at(domain)
                if results is not None and _agrees(results, axis, item["value"]):
                    record |= figures_of(results, axis)  # its own rows, should they differ from the revision's
                    record |= _baselines_of(report_at(domain, revision), domain, axis, record["fingerprint"])
                records.append(record | {"revision": revision, "url": model_url(model)})
    return records


def parse_task(task: str) -> tuple[str, str] | None:
    """Domain and axis of a task id; `None` if it has no axis.

    >>> parse_task("beauty_sentiment_m_at_10"), parse_task("beauty_fine_accuracy")
    (('beauty', 'sentiment'), None)
    """
    endings = {f"_{axis.name}_{axis.task_metric}": axis for axis in AXES.values()}
    fitting: list[tuple[str, Axis]] = [(end, axis) for end, axis in endings.items() if task.endswith(end)]
    if not fitting:
        return None
    ending, axis = max(fitting, key=lambda pair: len(pair[0]))  # one axis name may end with another
    domain = task.removesuffix(ending)
    return (domain, axis.name) if re.fullmatch(r"\w+", domain) else None


def make_record(model: str, domain: str, axis: str, value: float, date: str) -> dict[str, Any]:
    """A record with all keys, of which only the score is known."""
    return {
        "model": model,
        "method": "",
        "domain": domain,
        "axis": axis,
        "title": AXES[axis].title,
        "metric": get_axis(axis).main_metric(),
        "value": value,
        "without_preference": None,
        "baselines": {},
        "interval": None,
        "num_rows": None,
        "fingerprint": None,
        "revision": None,
        "date": date,
        "url": None,
        "approximator": None,
        "stale": False,
    }


def figures_of(results: Results, axis: str) -> dict[str, Any]:
    """Values that results add to the record of an axis."""
    found, benchmark = results.axes[axis], results.benchmark
    return {
        "method": results.maker.method,
        "without_preference": found.main_value("without_preference"),
        "baselines": main_baselines(found),
        "interval": (found.intervals.with_preference or {}).get(found.record.main_metric()),
        "num_rows": found.num_rows,
        "fingerprint": benchmark.fingerprints.get(config_name(results.domain, axis)),
        "revision": benchmark.revision,
        "approximator": benchmark.approximator,
    }


def mark_stale(records: Sequence[Mapping[str, Any]], benchmark: str) -> list[dict[str, Any]]:
    """Sets `stale` of each record: whether the benchmark has other rows now.

    Args:
        records (`Sequence[Mapping]`): Of [`collect_local`] or [`collect_hub`].
        benchmark (`str`): A local benchmark directory or a dataset on the Hub, read at its newest commit.
    """
    commit = resolve_revision(benchmark)
    reports = {domain: _report(benchmark, domain, commit) for domain in {record["domain"] for record in records}}
    marked = []
    for record in records:
        current = _rows_of(reports[record["domain"]], record["domain"], record["axis"])
        fresh = current and (record["fingerprint"], record["num_rows"]) == (
            current["fingerprint"],
            current["num_rows"],
        )
        marked.append({**record, "stale": not fresh})
    return marked


def write_records(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes leaderboard.json, whole or not at all."""
    write_text(path, json.dumps(list(records), indent=2, ensure_ascii=False) + "\n")


def _usable(content: str | bytes, name: str) -> Results | None:
    """Valid results of the test split; else `None`, with a warning."""
    try:
        results = Results.from_json(content, name)
        if problems := check_figures(results):
            raise InvalidResults(name, problems)
    except InvalidResults as error:
        logger.warning("skipped: %s", error)
        return None
    return results


def _submitted_results(model: str, domain: str, commit: str) -> Results | None:
    path = results_file(domain)
    try:
        text = read_text(model, path, commit)
    except UnicodeDecodeError as error:
        logger.warning("skipped: %s/%s is no text (%s)", model, path, error)
        return None
    results = None if text is None else _usable(text, f"{model}/{path}")
    return results if results is not None and results.domain == domain else None


def _value(results: Results, axis: str) -> float | None:
    """The score that an axis is ranked by."""
    return results.axes[axis].main_value() if axis in results.axes else None


def _agrees(results: Results, axis: str, value: float) -> bool:
    """Whether an entry came from these results."""
    found = _value(results, axis)
    return found is not None and abs(found - value) <= TOLERANCE


def _report(benchmark: str, domain: str, revision: str | None) -> BuildReport | None:
    """The report of a domain; `None` if there is none."""
    if revision is None and is_on_the_hub(benchmark):
        return None
    try:
        return read_report(benchmark, domain, revision)
    except (FileNotFoundError, EntryNotFoundError, HfHubHTTPError, ValueError) as error:
        logger.warning("no report of %s in %s at %s: %s", domain, benchmark, revision, " ".join(str(error).split()))
        return None


def _rows_of(report: BuildReport | None, domain: str, axis: str) -> dict[str, Any]:
    """Fingerprint, number of rows and approximator of one axis; empty if unknown."""
    config = config_name(domain, axis)
    if report is None or config not in report.fingerprints:
        return {}
    return {
        "fingerprint": report.fingerprints[config],
        "num_rows": report.rows[config][SPLIT],
        "approximator": report.approximator,
        **_baselines_of(report, domain, axis, report.fingerprints[config]),
    }


def _baselines_of(report: BuildReport | None, domain: str, axis: str, fingerprint: str | None) -> dict[str, Any]:
    """Baselines in the benchmark's own report of the same rows, which count before those of a submission."""
    if report is None or report.fingerprints.get(config_name(domain, axis)) != fingerprint:
        return {}
    record = get_axis(axis)
    found = main_figures(read_baselines({"baselines": report.baselines}, record, [10]), record.main_metric())
    return {"baselines": found} if found else {}
