"""Reports of builds, one per domain of a benchmark, in a directory or on the Hub: counts, omissions, times."""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

from ..bounded_parsing import parse_json, read_bounded
from ..hub_http import is_repo_id
from ..typed_arguments import shown
from .axes import get_axis
from .baselines import BASELINES
from .fingerprints import DIGEST, json_digest
from .schema import ITEM_TEXT_FIELDS, config_name, features

logger = logging.getLogger(__name__)

OUT_OF_REACH = "{} is not a local directory, and the Hub did not provide it; check the connection."
REPORTS_FOLDER = "reports"
NOT_STATED = "not stated"
"""Value of a field that the makers of a public set do not state."""


@dataclass
class SteeringReport:
    """Facts of steering and deviations from the paper's procedure, per axis and split (`"fine_train"`, ...).

    Attributes:
        reused: Rows whose preference is also assigned to another item of the same split (the pool was too small).
        dropped: Rows without a preference: none left to pair uniquely, or (`as_released`) none matched to the source.
        own_history: Fine rows for which no other user has the same ground truth: the user's own history is used.
        empty_history: Rows whose ground truth only occurs first in a window.
        no_target: Sources of `balanced` rows that are left out: no item is left within the bound.
        beyond_candidates: Rows of `balanced` whose target is not among the items that fit best.
        same_user: Split -> ground truths whose fine and coarse rows have the same user, for lack of another one.
        distinct_targets, most_frequent: Number of distinct targets, and rows of the most frequent one.
        shared_targets: Rows of test whose item is a target of the same axis in train, too.
        similarity: Mean cosine of preference and target.
    """

    reused: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    own_history: dict[str, int] = field(default_factory=dict)
    empty_history: dict[str, int] = field(default_factory=dict)
    no_target: dict[str, int] = field(default_factory=dict)
    beyond_candidates: dict[str, int] = field(default_factory=dict)
    same_user: dict[str, int] = field(default_factory=dict)
    distinct_targets: dict[str, int] = field(default_factory=dict)
    most_frequent: dict[str, int] = field(default_factory=dict)
    shared_targets: dict[str, int] = field(default_factory=dict)
    similarity: dict[str, float] = field(default_factory=dict)


@dataclass
class BuildReport:
    """Result of a build, saved as `reports/{domain}.json` and rendered in the card.

    Attributes:
        domain, source, approximator, approximator_description, polarity, polarity_description, embedding_model:
            Domain, source of the data, and the approximator and models in use.
        options: Options of the build, see [`~dataset_builders.building.options.BuildOptions`].
        embedding_dtype: Data type in which the embedding model computed, `float32` or `bfloat16`; the last digits of
            cosines depend on it, and with them rows, above all of the steering axes.
        notice: The source's notice on its data, shown before any score.
        about: `title`, `terms` and `citation` of the data, where known.
        num_users, num_items, num_actions: Of table 3.
        num_preferences: Five for every action whose preferences are known (table 4); `num_distinct_preferences` of
            them are different strings, `num_negative` begin with Avoid, Exclude or No.
        num_missing: Actions without preferences; rows that would need them are left out.
        approximator_details: Further facts of the approximator: prompt version, model, failures.
        polarity_measured: Measurements of the polarity classifier on these reviews.
        rows: Config -> split -> number of rows; every split has some.
        fingerprints: Config -> digest of its rows, see
            [`~dataset_builders.benchmark.fingerprints.content_fingerprint`].
        negative_rows: Axis -> split -> rows whose one preference is negative; eq. (1) and (3) admit them.
        notes: Axis -> what was counted, as the end of a sentence that begins with the number -> split -> count.
        left_out: Axis -> reason.
        baselines: Axis -> baseline -> metric -> value on the split test, see
            [`~dataset_builders.benchmark.baselines.axis_baselines`]; empty in reports of earlier versions.
        skipped, noted: Raw records dropped, or kept though incomplete: reason -> count. Of a public set, `noted` also
            counts the promises that its rows break, see [`~dataset_builders.benchmark.checks.check_benchmark`].
        steering: Facts of steering, see [`SteeringReport`].
        weaknesses: Weakness -> rows that have it, see [`~dataset_builders.benchmark.weaknesses.find_weaknesses`].
        seconds: Stage -> wall-clock time of this build; not saved, since the files must be reproducible.
    """

    domain: str
    source: str
    approximator: str
    approximator_description: str
    polarity: str
    polarity_description: str
    embedding_model: str
    options: dict[str, Any]
    embedding_dtype: str = "float32"
    notice: str = ""
    about: dict[str, str] = field(default_factory=dict)
    num_users: int = 0
    num_items: int = 0
    num_actions: int = 0
    num_preferences: int = 0
    num_missing: int = 0
    num_distinct_preferences: int = 0
    num_negative: int = 0
    approximator_details: dict[str, Any] = field(default_factory=dict)
    polarity_measured: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    negative_rows: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    baselines: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    steering: SteeringReport | None = None
    weaknesses: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self._nested = 0.0

    @property
    def actions_per_user(self) -> float:
        """Average, a column of table 3."""
        return self.num_actions / self.num_users if self.num_users else 0.0

    @property
    def actions_per_item(self) -> float:
        """Average, a column of table 3."""
        return self.num_actions / self.num_items if self.num_items else 0.0

    @property
    def negative_share(self) -> float:
        """Share of negative preferences among all, not among the distinct ones."""
        return self.num_negative / self.num_preferences if self.num_preferences else 0.0

    def add_config(self, name: str, info: Mapping[str, Any]) -> None:
        """Adds what [`~dataset_builders.building.publication.write_config`] returned for an axis or a table."""
        config = config_name(self.domain, name)
        self.rows[config], self.fingerprints[config] = info["rows"], info["fingerprint"]
        if "negative_rows" in info:
            self.negative_rows[name] = info["negative_rows"]
        if "notes" in info:
            self.notes[name] = info["notes"]

    def to_json(self) -> str:
        """The report as JSON text, without the times, and with a digest by which a damaged one is known.

        Raises:
            ValueError: If a text holds half a surrogate pair, which no file can.
        """
        values = asdict(self)
        del values["seconds"]
        for name, value in values.items():
            _check_text(name, value)
        return json.dumps({**values, DIGEST: json_digest(values)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "the report") -> "BuildReport":
        """Reads what [`to_json`] wrote.

        Raises:
            ValueError: If another version wrote it, or it is not a report.
        """
        values = parse_report(text, name)
        if values.get("steering") is not None:
            values["steering"] = SteeringReport(**values["steering"])
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"The report is not one that this version writes ({error}); build again.") from error

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [self.notice] if self.notice else []
        lines += [
            f"{self.domain}: {self.num_users:,} users, {self.num_items:,} items, {self.num_actions:,} actions "
            f"({self.actions_per_user:.4f} per user, {self.actions_per_item:.4f} per item)",
        ]
        if self.num_preferences or self.num_missing:  # not where a build stopped before them
            lines.append(
                f"preferences: {self.num_preferences:,}, of which {self.num_distinct_preferences:,} distinct and "
                f"{self.negative_share:.1%} negative, by {self.approximator}"
            )
        if self.num_missing:
            lines.append(f"missing: the preferences of {self.num_missing:,} of {self.num_actions:,} actions")
        lines += [
            f"{config}: " + " / ".join(f"{count:,} {split}" for split, count in splits.items())
            for config, splits in self.rows.items()
        ]
        lines += self.note_lines()
        lines += [f"left out: {axis}: {reason}" for axis, reason in self.left_out.items()]
        for axis, found in self.baselines.items():
            metric = get_axis(axis).main_metric()
            figures = [f"{BASELINES[name]} {values[metric]:.3f}" for name, values in found.items()]
            lines.append(f"without training, {metric} of {axis}: {', '.join(figures)}")
        for word, counts in (("skipped", self.skipped), ("noted", self.noted)):
            what = "" if "from_hub" in self.options else " raw records"
            lines += [f"{word}: {count:,}{what}: {reason}" for reason, count in counts.items() if count]
        lines += self.steering_facts()
        lines += [f"weakness: {count:,} {weakness}" for weakness, count in self.weaknesses.items()]
        lines.append("seconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in self.seconds.items()))
        return "\n".join(lines)

    def steering_facts(self) -> list[str]:
        """One line per fact of steering that is not 0 everywhere."""
        facts = asdict(self.steering) if self.steering else {}
        return [
            f"steering, {name}: " + ", ".join(f"{key} {value:,}" for key, value in values.items() if value)
            for name, values in facts.items()
            if any(values.values())
        ]

    def note_lines(self) -> list[str]:
        """The notes whose count is not 0, one sentence each: `avoid: 3 train, 1 test rows ...`."""
        return [
            f"{axis}: {', '.join(f'{count:,} {split}' for split, count in counts.items() if count)} {note}"
            for axis, notes in self.notes.items()
            for note, counts in notes.items()
            if any(counts.values())
        ]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, without the time of stages inside it."""
        logger.info("stage %s", name)
        start, outer, self._nested = time.perf_counter(), self._nested, 0.0
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent - self._nested, 2)
            self._nested = outer + spent


def parse_report(text: str, name: str = "the report") -> dict[str, Any]:
    """Parses a report, of this version or an earlier one, which may lack keys; warns of one that was changed.

    Args:
        text (`str`): JSON.
        name (`str`): Name of the file, for the warning.

    Returns:
        `dict[str, Any]`: The keys that it has, with values of the types of [`BuildReport`], and none unknown.

    Raises:
        ValueError: If it is no report, or a value is of another type.
    """
    refused = "The report is not one that this version writes ({}); build again."
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(refused.format(error)) from None
    if not isinstance(values, dict):
        raise ValueError(refused.format(f"it holds a {type(values).__name__} and not an object"))
    digest = values.pop(DIGEST, None)
    if digest is not None and digest != json_digest(values):
        logger.warning(
            "%s was changed since it was written (its %s is of another content): what it states is not verified; "
            "build again if you did not change it yourself",
            name,
            DIGEST,
        )
    steering = values.get("steering")
    types = get_type_hints(BuildReport) | {"steering": dict[str, Any] | None}
    del types["seconds"]
    _check_types(values, types, "", refused)
    _check_types(steering or {}, get_type_hints(SteeringReport), "steering.", refused)
    return values


def _check_types(values: Mapping[str, Any], types: Mapping[str, Any], where: str, refused: str) -> None:
    for key, value in values.items():
        if key not in types:
            raise ValueError(refused.format(f"{where}{key:.60} is no key of it"))
        if not _fits(value, types[key]):
            wanted = str(types[key]) if get_args(types[key]) else types[key].__name__
            raise ValueError(refused.format(f"{where}{key} is {shown(value)} and not {wanted}"))


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value has the type of a field: texts, numbers at least 0, objects of them, or any."""
    if wanted is Any:
        return True
    if get_origin(wanted) is dict:
        _, of = get_args(wanted)
        return isinstance(value, dict) and all(_fits(one, of) for one in value.values())
    if get_args(wanted):  # a union
        return any(_fits(value, one) for one in get_args(wanted))
    if wanted in (int, float):
        is_number = isinstance(value, int) or (wanted is float and isinstance(value, float))
        return is_number and not isinstance(value, bool) and (wanted is float or 0 <= value < 2**63)
    return isinstance(value, wanted)


def _check_text(key: str, value: Any) -> None:
    """Refuses text that no file can hold."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            _check_text(f"{key}.{name}", one)
            _check_text(f"the keys of {key}", name)
    elif isinstance(value, list | tuple):
        for one in value:
            _check_text(key, one)
    elif isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise ValueError(f"{key:.120} of the report ({ascii(value):.100}) holds half a surrogate pair; mend it there.")


def report_file(domain: str) -> str:
    """Path of a domain's report in a benchmark.

    >>> report_file("beauty")
    'reports/beauty.json'
    """
    config_name(domain, "items")  # refuses a domain that cannot be part of a file name
    return f"{REPORTS_FOLDER}/{domain}.json"


def is_on_the_hub(benchmark: Path | str) -> bool:
    """Whether a benchmark is the name of a dataset on the Hub; a local directory of that name has precedence.

    Raises:
        FileNotFoundError: If it is neither.
    """
    if Path(benchmark).is_dir():
        return False
    if isinstance(benchmark, Path) or not is_repo_id(benchmark):
        raise FileNotFoundError(
            f"{benchmark} is no local directory, nor the name of a dataset on the Hub (org/name); pass a directory "
            "that mender build wrote, or such a name."
        )
    return True


def resolve_revision(benchmark: Path | str, revision: str | None = None) -> str | None:
    """Resolves a revision of a dataset on the Hub to a commit, from the cache if the Hub is out of reach.

    Args:
        benchmark (`str`): A local directory, or the name of a dataset on the Hub.
        revision (`str`, *optional*): Branch, tag or commit; the newest commit of main by default.

    Returns:
        `str`: 40 hexadecimal digits; `None` for a local directory, which has no revisions.

    Raises:
        ValueError: If a revision of a local directory is given.
        OSError: If the Hub's client fails.
    """
    if not is_on_the_hub(benchmark):
        if revision is not None:
            raise ValueError(f"{benchmark} is a local directory and has no revision {revision!r}; leave it out.")
        return None
    try:
        card = hf_hub_download(str(benchmark), "README.md", repo_type="dataset", revision=revision)
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(OUT_OF_REACH.format(benchmark)) from error
    return Path(card).parent.name  # the cache keeps a file under snapshots/{commit}/


def list_domains(benchmark: Path | str, revision: str | None = None) -> list[str]:
    """Lists the domains of a benchmark by its reports.

    Args:
        benchmark (`str` or `Path`): A local directory, or the name of a dataset on the Hub.
        revision (`str`, *optional*): Branch, tag or commit of the Hub.

    Returns:
        `list[str]`: In alphabetical order; never empty.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If it is a directory of an earlier version, which had one report.
        OSError: If the Hub's client fails.
    """
    if is_on_the_hub(benchmark):
        files = HfApi().list_repo_files(str(benchmark), repo_type="dataset", revision=revision)
    else:
        reports = (Path(benchmark) / REPORTS_FOLDER).glob("*.json")
        files = [f"{REPORTS_FOLDER}/{path.name}" for path in reports]
        old = Path(benchmark) / "report.json"
        if not files and old.is_file():
            found = re.search(r'"domain": "(\w+)"', read_bounded(old))
            raise ValueError(
                f"{benchmark} was built by an earlier version, which wrote {old.name}; move that file to "
                f"{REPORTS_FOLDER}/{found[1] if found else 'DOMAIN'}.json in the same directory, or build again."
            )
    domains = sorted(Path(file).stem for file in files if Path(file).match(f"{REPORTS_FOLDER}/*.json"))
    if not domains:
        raise FileNotFoundError(
            f"{benchmark} holds no {REPORTS_FOLDER}/DOMAIN.json: it is not a benchmark that mender build wrote; "
            "pass one."
        )
    return domains


def report_text(benchmark: Path | str, domain: str, revision: str | None = None) -> str:
    """Returns the stored report of one domain, as JSON text.

    Args:
        benchmark (`str` or `Path`): A local directory, or the name of a dataset on the Hub.
        domain (`str`): Such as `beauty`.
        revision (`str`, *optional*): Branch, tag or commit of the Hub.

    Raises:
        FileNotFoundError: If there is no such domain; the message names the existing ones.
        OSError: If the Hub's client fails.
    """
    path: Path | None = Path(benchmark) / report_file(domain)
    if is_on_the_hub(benchmark):
        try:
            path = Path(hf_hub_download(str(benchmark), report_file(domain), repo_type="dataset", revision=revision))
        except RemoteEntryNotFoundError:
            path = None
        except LocalEntryNotFoundError as error:
            raise FileNotFoundError(OUT_OF_REACH.format(benchmark)) from error
    if path is None or not path.is_file():  # outside the handler: the client's error is less specific
        domains = list_domains(benchmark, revision)
        raise FileNotFoundError(f"{benchmark} has no report of domain {domain!r}; it has {', '.join(domains)}.")
    try:
        return read_bounded(path)
    except ValueError as error:
        raise ValueError(f"{error} Or {_again(benchmark)} the benchmark again.") from None


def _again(benchmark: Path | str) -> str:
    return "publish" if is_on_the_hub(benchmark) else "build"


def read_stated(benchmark: Path | str, domain: str, revision: str | None = None) -> dict[str, Any]:
    """Reads what the report of one domain states; a report of an earlier version may lack keys.

    Args:
        benchmark, domain, revision: As in [`report_text`].

    Returns:
        `dict[str, Any]`: As [`parse_report`].

    Raises:
        FileNotFoundError, OSError: As [`report_text`].
        ValueError: If it is no report, or that of another domain; names the file.
    """
    name, text = f"{benchmark}/{report_file(domain)}", report_text(benchmark, domain, revision)
    try:
        values = parse_report(text, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    _check_domain(benchmark, domain, values.get("domain", domain))
    return values


def _check_domain(benchmark: Path | str, domain: str, stated: str) -> None:
    if stated != domain:
        raise ValueError(
            f"{benchmark}: {report_file(domain)} is the report of {stated!r}; a report is named by its domain."
        )


def read_report(benchmark: Path | str, domain: str, revision: str | None = None) -> BuildReport:
    """Reads the report of one domain.

    Args:
        benchmark, domain, revision: As in [`report_text`].

    Raises:
        FileNotFoundError, OSError: As [`report_text`].
        ValueError: If another version wrote it.
    """
    name, text = f"{benchmark}/{report_file(domain)}", report_text(benchmark, domain, revision)
    try:
        report = BuildReport.from_json(text, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    _check_domain(benchmark, domain, report.domain)
    return report


def read_item_text_fields(benchmark: Path | str, domain: str, revision: str | None = None) -> tuple[str, ...]:
    """Reads which fields of an item the build of a benchmark embedded, and in which order.

    Args:
        benchmark, domain, revision: As in [`report_text`].

    Returns:
        `tuple[str, ...]`: Columns of the config `items`; those of appendix A.1 for a local directory without reports,
        which no build wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: As [`read_report`].
    """
    if not is_on_the_hub(benchmark) and not (Path(benchmark) / REPORTS_FOLDER).is_dir():
        return ITEM_TEXT_FIELDS
    return item_text_fields(read_report(benchmark, domain, revision).options, benchmark)


def item_text_fields(options: Mapping[str, Any], benchmark: Path | str) -> tuple[str, ...]:
    """Fields of an item that a build embedded, from its options.

    Raises:
        ValueError: If they are no columns of the config `items`.
    """
    fields = options.get("item_text_fields") or ITEM_TEXT_FIELDS
    known = features("items")
    if isinstance(fields, str) or not all(isinstance(field, str) and field in known for field in fields):
        raise ValueError(
            f"{benchmark}: the report's options.item_text_fields is {shown(fields)}; it names columns of the items "
            f"({', '.join(known)}); {_again(benchmark)} the benchmark again."
        )
    return tuple(fields)


def read_reports(benchmark: Path | str, revision: str | None = None) -> list[BuildReport]:
    """Reads the reports of all domains of a benchmark, in alphabetical order.

    Raises:
        FileNotFoundError, ValueError, OSError: As [`list_domains`] and [`read_report`].
    """
    return [read_report(benchmark, domain, revision) for domain in list_domains(benchmark, revision)]
