"""Collect leaderboard records from folders of results and from models on the Hub."""

import datetime
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from ..atomic_write import write_text
from ..benchmark.axes import AXES, Axis, get_axis
from ..benchmark.report import BuildReport, is_on_the_hub, list_domains, read_report, resolve_revision
from ..benchmark.schema import config_name
from ..bounded_parsing import MAX_BYTES
from ..escaping import is_visible, look, one_line
from ..hub_http import httpx
from ..paper_tables.results import Group, Result, describe
from ..scoring.baselines import main_baselines, main_figures, read_baselines
from ..scoring.result_parts import is_share
from ..scoring.results import RESULTS_FILE, InvalidResults, Results
from ..typed_arguments import check_count, is_future, parse_day, shown
from .hub import find_model, list_models, model_url, read_text
from .submission import list_entry_files, read_entries, results_file
from .validation import SPLIT, TOLERANCE, check_figures

logger = logging.getLogger(__name__)

FAILURES = (ValueError, OSError, HfHubHTTPError, httpx.HTTPError)
"""Errors of a repository that is gone, private, slow or broken."""
MAX_DOMAIN = 100
LONGEST_NAME = 200
MAX_RECORDS = 200
"""Records of a model."""
MAX_REVISIONS = 20
"""Commits of the benchmark that the entries of a model may name, each of which is a read."""
MAX_WARNINGS = 10
"""Entries of a model of which each has a warning of its own."""
_COMMIT = re.compile("[0-9a-f]{40}")


def collect_local(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Collects records of every results.json below the folders; invalid ones are skipped with a warning.

    The name of a model is its path relative to the given folder. Results that differ in their seed alone are one
    record per axis, named after the common part of their paths: `value` is their mean, `std` the sample standard
    deviation over `num_seeds`, `interval` reaches from the lowest end of their intervals to the highest.

    Args:
        paths (`Iterable[str | Path]`): Folders or files.

    Returns:
        `list[dict]`: One record per model, domain and axis; its date is that of the file, of several the newest.

    Raises:
        ValueError: If a path does not exist, or there is no results.json below any of them.
    """
    roots = [Path(path) for path in paths]
    files: dict[Path, Path] = {}
    for path in roots:
        if not path.exists():
            raise ValueError(f"{path} does not exist; pass output folders of mender evaluate.")
        for file in [path] if path.is_file() else sorted(path.rglob(RESULTS_FILE)):
            if file.is_file():
                files.setdefault(file.resolve(), path)
    if not files:
        raise ValueError(f"no {RESULTS_FILE} below {', '.join(map(str, roots))}; score with mender evaluate.")
    folders = [path.resolve().parent if path.is_file() else path.resolve() for path in roots]
    base = folders[0] if len(set(folders)) == 1 else Path(os.path.commonpath([folder.parent for folder in folders]))
    found = []
    known: dict[str, Path] = {}
    for file in files:
        results = _usable(file)
        if results is None:
            continue
        text = results.to_json()
        if text in known:
            logger.warning("skipped: %s, which holds the same results as %s", file, known[text])
            continue
        known[text] = file
        found.append(describe(file, results))
    records = []
    names: dict[str, Path] = {}
    for model, group in _rows_over_seeds(found, base):
        file = group.first.path
        if not is_visible(model) or names.setdefault(look(model), file) != file:
            same = names.get(look(model), file)
            why = "which cannot be seen" if same == file else f"which looks like that of {same}; rename its folder"
            logger.warning("skipped: %s, for its name %s, %s", file, ascii(model), why)
            continue
        newest = max(result.path.stat().st_mtime for result in group.results)
        date = datetime.date.fromtimestamp(newest).isoformat()
        for axis in AXES:
            value = _value(group.first.results, axis)
            if value is not None:
                record = make_record(model, group.first.domain, axis, value, date)
                records.append(record | figures_of(group.first.results, axis) | _spread_of(group, axis))
    return records


def _rows_over_seeds(found: Sequence[Result], base: Path) -> list[tuple[str, Group]]:
    """Names and results of the rows: over all seeds where results differ in nothing else and the name is free."""
    equal: dict[tuple[str, ...], list[Result]] = {}
    for result in found:
        key = (*result.configuration, repr(sorted(result.arguments.items())))
        equal.setdefault(key if result.results.maker.seed is not None else (str(result.path),), []).append(result)
    rows: list[tuple[str, Group]] = []
    for results in equal.values():
        try:
            rows.append((_name(results, base), Group.of(results)))
        except ValueError:  # a seed twice, or other rows
            rows += [(_name([result], base), Group.of([result])) for result in results]
    uses = Counter(look(name) for name, _ in rows)
    return [
        row
        for name, group in rows
        for row in (
            [(_name([result], base), Group.of([result])) for result in group.results]
            if uses[look(name)] > 1
            else [(name, group)]
        )
    ]


def _name(results: Sequence[Result], base: Path) -> str:
    """Name of a row: the path relative to `base` that its results share, or the method if there is none."""
    name = common_name([result.path.resolve().parent.relative_to(base).as_posix() for result in results])
    return one_line(name if name not in ("", ".") else results[0].results.maker.method, LONGEST_NAME)


def common_name(names: Sequence[str]) -> str:
    """Common part of paths, folder by folder; what numbers the seeds falls away.

    >>> common_name(["tiger/seed_0", "tiger/seed_1"]), common_name(["tiger-10/beauty", "tiger-11/beauty"])
    ('tiger', 'tiger/beauty')
    """
    parts = []
    for folders in zip(*(name.split("/") for name in names), strict=False):
        common = "".join(os.path.commonprefix([re.split(r"(\d+|[\W_]+)", folder) for folder in folders]))
        parts.append(common if len(set(folders)) == 1 else re.sub(r"[\W_]*(seed)?[\W_]*$", "", common))
    return "/".join(filter(None, parts))


def _spread_of(group: Group, axis: str) -> dict[str, Any]:
    """Values of a record that results over several seeds change; empty for one result."""
    metric, own = get_axis(axis).main_metric(), [result.results for result in group.results]
    cell = group.cell(axis, metric)
    if len(own) == 1 or cell is None:
        return {}
    without = (group.axes[axis].all.without_preference or {}).get(metric)
    intervals = [interval for results in own if (interval := figures_of(results, axis)["interval"])]
    return {
        "value": cell.mean,
        "std": cell.std,
        "num_seeds": cell.seeds,
        "without_preference": None if without is None else without.mean,
        "interval": [min(low for low, _ in intervals), max(high for _, high in intervals)] if intervals else None,
    }


def collect_hub(
    benchmark: str,
    model_ids: Sequence[str] | None = None,
    max_records: int = MAX_RECORDS,
    max_revisions: int = MAX_REVISIONS,
) -> list[dict[str, Any]]:
    """Collects the submissions of models: `.eval_results/*.yaml`, with `results/{domain}.json` where it agrees.

    Args:
        benchmark (`str`): Name of the dataset on the Hub.
        model_ids (`Sequence[str]`, *optional*): Models to read; by default those with the tag `MODEL_TAG`, of which
            unreadable ones are skipped with a warning. Repeated entries of a task, and domains that the benchmark
            lacks, are skipped, too.
        max_records (`int`): Records of a model; the rest is skipped with a warning.
        max_revisions (`int`): Commits of the benchmark that a model's entries may name; the rest is skipped, too.

    Raises:
        FileNotFoundError: If the benchmark has no reports.
        ValueError: If a limit is below 1.
    """
    check_count("max_records", max_records, 1)
    check_count("max_revisions", max_revisions, 1)
    domains = frozenset(list_domains(benchmark, resolve_revision(benchmark)))
    report_at = cache(lambda domain, revision: _report(benchmark, domain, revision))
    records: list[dict[str, Any]] = []
    known: set[str] = set()
    for model in list_models() if model_ids is None else model_ids:
        try:
            name, commit = find_model(model)
            if name.casefold() not in known:
                known.add(name.casefold())
                reader = _EntryReader(name, commit, benchmark, domains, report_at, max_records, max_revisions)
                records += reader.read(is_named=model_ids is not None)
        except FAILURES as error:
            if model_ids is not None:
                raise
            logger.warning("skipped: %s (%s)", model, " ".join(str(error).split()) or type(error).__name__)
    return records


@dataclass
class _EntryReader:
    """Reader of the entries of one model within limits, which says what it skips."""

    model: str
    commit: str
    benchmark: str
    domains: frozenset[str]
    report_at: Callable[..., BuildReport | None]
    max_records: int
    max_revisions: int
    values: dict[str, float] = field(default_factory=dict)
    revisions: set[str | None] = field(default_factory=set)
    num_warnings: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def read(self, is_named: bool) -> list[dict[str, Any]]:
        """Records of the model; a file that cannot be read is skipped with a warning unless the model `is_named`."""
        results_at = cache(lambda domain: _submitted_results(self.model, domain, self.commit))
        records = []
        for path in list_entry_files(self.model, self.commit):
            try:
                items = read_entries(self.model, path, self.commit, skip_wrong=not is_named)
            except FAILURES as error:
                if is_named:
                    raise
                logger.warning(
                    "skipped: %s/%s (%s)", self.model, path, " ".join(str(error).split()) or type(error).__name__
                )
                continue
            for item in items:
                if (found := self._usable_task(item, path)) is not None:
                    records.append(self._record(item, path, *found, results_at(found[0])))
        for why, count in self.skipped.items():
            logger.warning("skipped: %s entries of %s, %s", f"{count:,}", self.model, why)
        return records

    def _usable_task(self, item: Mapping[str, Any], path: str) -> tuple[str, str, str | None] | None:
        """Domain, axis and revision of an entry; `None` if it is skipped."""
        dataset, value = item["dataset"], item["value"]
        task = str(dataset["task_id"])
        found = parse_task(task)
        if dataset["id"] != self.benchmark or found is None:
            return None
        revision = dataset.get("revision")
        revision = revision if isinstance(revision, str) and _COMMIT.fullmatch(revision) else None
        if found[0] not in self.domains:
            self.skipped[f"whose domain {self.benchmark} does not have"] += 1
        elif not is_share(value):
            self._warn(f"{task} of {self.model}/{path} is {shown(value)}")
        elif task in self.values:
            self._warn(f"{task} of {self.model}/{path} is listed again, {value!r} after {self.values[task]!r}")
        elif len(self.values) == self.max_records:
            self.skipped[f"beyond the {self.max_records:,} records of a model (--max_records)"] += 1
        elif revision not in self.revisions and len(self.revisions) == self.max_revisions:
            self.skipped[f"beyond the {self.max_revisions:,} revisions of a model (--max_revisions)"] += 1
        else:
            self.values[task] = value
            self.revisions.add(revision)
            return *found, revision
        return None

    def _record(
        self, item: Mapping[str, Any], path: str, domain: str, axis: str, revision: str | None, results: Results | None
    ) -> dict[str, Any]:
        """The record of a usable entry, with what the benchmark's report and the submitted results say of it."""
        report = self.report_at(domain, revision)
        day = _day(item.get("date"), f"{self.model}/{path}")
        record = make_record(self.model, domain, axis, float(item["value"]), day) | _rows_of(report, domain, axis)
        if results is not None and _agrees(results, axis, item["value"]):
            record |= figures_of(results, axis)  # its own rows, should they differ from the revision's
            record |= _baselines_of(report, domain, axis, record["fingerprint"])
        return record | {"revision": revision, "url": model_url(self.model)}

    def _warn(self, why: str) -> None:
        self.num_warnings += 1
        if self.num_warnings <= MAX_WARNINGS:
            logger.warning("skipped: %s", why)
        else:
            self.skipped["which are no shares or are listed again"] += 1


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
    try:
        config_name(domain, axis.name)
    except ValueError:
        return None
    return (domain, axis.name) if len(domain) <= MAX_DOMAIN else None


def _day(date: Any, where: str) -> str:
    """A day as in `2026-11-20`; empty if there is none, and with a warning if it is none or in the future."""
    day = parse_day(date)
    if day is not None and not is_future(day):
        return day.isoformat()
    if date is not None:
        logger.warning("%s has the date %s, which is no day up to now; it is left out", where, shown(date))
    return ""


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
        "std": None,
        "num_seeds": 1,
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
        "method": one_line(results.maker.method, LONGEST_NAME),
        "without_preference": found.main_value("without_preference"),
        "baselines": main_baselines(found),
        "interval": (found.intervals.with_preference or {}).get(found.record.main_metric()),
        "num_rows": found.num_rows,
        "fingerprint": benchmark.fingerprints.get(config_name(results.domain, axis)),
        "revision": benchmark.revision if _COMMIT.fullmatch(benchmark.revision or "") else None,
        "approximator": benchmark.approximator and one_line(benchmark.approximator, LONGEST_NAME),
    }


def mark_stale(records: Sequence[Mapping[str, Any]], benchmark: str) -> list[dict[str, Any]]:
    """Sets `stale` of each record: whether the benchmark has other rows now.

    Args:
        records (`Sequence[Mapping]`): Of [`collect_local`] or [`collect_hub`].
        benchmark (`str`): A local benchmark directory or a dataset on the Hub, read at its newest commit.

    Raises:
        FileNotFoundError: If it is a directory without reports.
    """
    commit = resolve_revision(benchmark)
    if commit is None:
        list_domains(benchmark)  # refuses a directory without reports, of which every score would be stale
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


def _usable(source: Path | str, name: str | None = None) -> Results | None:
    """Valid results of the test split, of a file or of a text with a name; else `None`, with a warning."""
    try:
        results = Results.read(source) if isinstance(source, Path) else Results.from_json(source, str(name))
        if problems := check_figures(results):
            raise InvalidResults(str(name or source), problems)
    except (ValueError, OSError) as error:
        logger.warning("skipped: %s", error)
        return None
    return results


def _submitted_results(model: str, domain: str, commit: str) -> Results | None:
    path = results_file(domain)
    try:
        text = read_text(model, path, commit, max_bytes=MAX_BYTES)
    except FAILURES as error:
        logger.warning("skipped: %s/%s (%s)", model, path, " ".join(str(error).split()) or type(error).__name__)
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
    except FAILURES as error:
        logger.warning("no report of %s in %s at %s: %s", domain, benchmark, revision, " ".join(str(error).split()))
        return None


def _rows_of(report: BuildReport | None, domain: str, axis: str) -> dict[str, Any]:
    """Fingerprint, number of rows and approximator of one axis; empty if unknown."""
    config = config_name(domain, axis)
    if report is None or config not in report.fingerprints:
        return {}
    return {
        "fingerprint": report.fingerprints[config],
        "num_rows": report.rows.get(config, {}).get(SPLIT),
        "approximator": one_line(report.approximator, LONGEST_NAME),
        **_baselines_of(report, domain, axis, report.fingerprints[config]),
    }


def _baselines_of(report: BuildReport | None, domain: str, axis: str, fingerprint: str | None) -> dict[str, Any]:
    """Baselines in the benchmark's own report of the same rows, which count before those of a submission."""
    if report is None or report.fingerprints.get(config_name(domain, axis)) != fingerprint:
        return {}
    record = get_axis(axis)
    found = main_figures(read_baselines({"baselines": report.baselines}, record, [10]), record.main_metric())
    return {"baselines": found} if found else {}
