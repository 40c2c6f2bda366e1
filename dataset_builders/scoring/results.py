"""Results of a scoring: the one place that knows the keys of `results.json`, as types.

A file that an earlier version wrote is read; what it lacks is `None` or empty. What cannot be read is refused by file,
key and value.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..atomic_write import write_text
from ..benchmark.axes import AXES, Axis, get_axis
from ..benchmark.schema import SPLITS, config_name

RESULTS_FILE = "results.json"
PROTOCOLS = ("all", "unseen")
TABLE_K = 10
AGAIN = "score again with mender evaluate"
_LARGEST = 2**31 - 1
_LONGEST = 1e9  # seconds, 31 years

T = TypeVar("T")
Figures = Mapping[str, float]
Intervals = Mapping[str, Sequence[float]]


class InvalidResults(ValueError):
    """Results that cannot be used; `problems` are all the objections, a sentence each."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        shown = [*self.problems[:5], *([f"And {len(self.problems) - 5} more."] if len(self.problems) > 5 else [])]
        super().__init__(f"{name}: {' '.join(shown)}")


@dataclass(frozen=True)
class Sides(Generic[T]):
    """The same of the rows asked with their preference and asked without it; `None` where they were not asked."""

    with_preference: T | None = None
    without_preference: T | None = None

    def items(self) -> Iterator[tuple[str, T | None]]:
        """Name of the side -> what stands there."""
        yield "with_preference", self.with_preference
        yield "without_preference", self.without_preference

    def __getitem__(self, side: str) -> T | None:
        return dict(self.items())[side]


@dataclass(frozen=True)
class AxisResult:
    """Figures of one axis.

    Attributes:
        axis (`str`): Its name.
        num_rows (`int`): Rows scored.
        all ([`Sides`]): Means over the rows, every item ranked; keys as in `recall@5`.
        unseen ([`Sides`]): The same with the items of each row's own history taken out.
        intervals ([`Sides`]): 95 % intervals of `all`, lower and upper end.
    """

    axis: str
    num_rows: int
    all: Sides[Figures] = field(default_factory=Sides)
    unseen: Sides[Figures] = field(default_factory=Sides)
    intervals: Sides[Intervals] = field(default_factory=Sides)

    @property
    def record(self) -> Axis:
        """What the benchmark says of the axis."""
        return get_axis(self.axis)

    def figures(self, side: str = "with_preference", protocol: str = "all") -> Figures:
        """Means of one side under one of [`PROTOCOLS`]; empty where it was not asked."""
        return (self.unseen if protocol == "unseen" else self.all)[side] or {}

    def main_value(self, side: str = "with_preference", k: int = 10) -> float | None:
        """The figure that the axis is judged by; `None` where it was not asked."""
        return self.figures(side).get(self.record.main_metric(k))

    def content(self) -> dict[str, Any]:
        """Its object in `results.json`."""
        return {
            "title": self.record.title,
            "metric": self.record.metric,
            "num_rows": self.num_rows,
            **dict(self.all.items()),
            "unseen": dict(self.unseen.items()),
            "intervals": dict(self.intervals.items()),
        }

    def problems(self, k: Sequence[int]) -> Iterator[str]:
        """Objections to the figures, given the cut-offs of the results."""
        key = f"axes.{self.axis}"
        if not _is_count(self.num_rows, 1):
            yield _must(f"{key}.num_rows", self.num_rows, f"a count of at least 1 and at most {_LARGEST}")
        kinds = ("recall", "ndcg", *(["m"] if self.record.metric == "m" else []))
        names = [f"{kind}@{cutoff}" for kind in kinds for cutoff in k]
        for protocol, sides in (("", self.all), ("unseen.", self.unseen)):
            for side, figures in sides.items():
                if figures is not None:
                    yield from _check_figures(f"{key}.{protocol}{side}", figures, names)
        for side, intervals in self.intervals.items():
            if intervals and self.all[side] is None:
                yield f"{key}.{side} is missing, and has intervals; {AGAIN}."
                continue
            for metric, interval in (intervals or {}).items():
                where = f"{key}.intervals.{side}.{metric}"
                if metric not in (self.all[side] or {}):
                    yield f"{_shown(where)} ({_short(interval)}) has no figure beside it; {AGAIN}."
                elif not _is_interval(interval):
                    yield _must(where, interval, "two finite numbers from 0 to 1, the lower one first")


@dataclass(frozen=True)
class BenchmarkIdentity:
    """Which benchmark was scored, and how it was made.

    Attributes:
        name (`str`, *optional*): Local directory, or name of a dataset on the Hub.
        revision (`str`, *optional*): Commit of the dataset; a directory has none.
        source, approximator, approximator_details, polarity, embedding_model, options: As in the report of its build.
        fingerprints (`Mapping[str, str]`): Config -> digest of its rows.
    """

    name: str | None = None
    revision: str | None = None
    source: str | None = None
    approximator: str | None = None
    approximator_details: Mapping[str, Any] | None = None
    polarity: str | None = None
    embedding_model: str | None = None
    options: Mapping[str, Any] | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_content(cls, content: Mapping[str, Any], name: str) -> "BenchmarkIdentity":
        """Takes what there is of it from a report or from its object in `results.json`.

        Raises:
            InvalidResults: If a value is of another kind; names it.
        """
        reader = _Reader()
        identity = reader.benchmark(content)
        if problems := reader.problems + list(identity.problems()):
            raise InvalidResults(name, problems)
        return identity

    def content(self) -> dict[str, Any]:
        """Its object in `results.json`; what the report does not say is left out."""
        values = asdict(self)
        return {name: value for name, value in values.items() if value is not None or name in ("name", "revision")}

    def problems(self) -> Iterator[str]:
        """Objections to its values."""
        for name in ("name", "revision", "source", "approximator", "polarity", "embedding_model"):
            yield from _check(f"benchmark.{name}", getattr(self, name), _is_text, "a text")
        for config, digest in self.fingerprints.items():
            if not _is_text(digest):
                yield _must(f"benchmark.fingerprints.{config}", digest, "a text")
        for name in ("approximator_details", "options"):
            yield from _odd_values(f"benchmark.{name}", getattr(self, name))


@dataclass(frozen=True)
class Weights:
    """The weights that were measured: `revision` is the model's commit on the Hub, `sha256` of the files."""

    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Training:
    """How long a model was trained: wall-clock `seconds`, `steps`, and the step whose weights were kept."""

    seconds: float | None = None
    steps: int | None = None
    best_step: int | None = None


@dataclass(frozen=True)
class Ranking:
    """How long the answers took: wall-clock `seconds` for `num_queries` distinct queries."""

    seconds: float | None = None
    num_queries: int | None = None


@dataclass(frozen=True)
class Maker:
    """What gave the answers.

    Attributes:
        method (`str`): Name of the method.
        model (`str`, *optional*): Folder or name of the model, or path of the run file.
        weights ([`Weights`], *optional*): Of a model; a run file has none.
        num_beams, seed (`int`, *optional*): As far as they are known.
        arguments (`Mapping`, *optional*): Resolved arguments of the training.
        training ([`Training`], *optional*), ranking ([`Ranking`], *optional*): Times.
    """

    method: str
    model: str | None = None
    weights: Weights | None = None
    num_beams: int | None = None
    seed: int | None = None
    arguments: Mapping[str, Any] | None = None
    training: Training | None = None
    ranking: Ranking | None = None

    def argument(self, name: str) -> str | None:
        """An argument of the training that is a word; `None` where it is not recorded."""
        value = (self.arguments or {}).get(name)
        return None if value is None else str(value)

    def content(self) -> dict[str, Any]:
        """Its keys in `results.json`."""
        weights = self.weights and {"model_revision": self.weights.revision, "weights_sha256": self.weights.sha256}
        return {
            "method": self.method,
            "model": self.model,
            **(weights or {}),
            "num_beams": self.num_beams,
            "seed": self.seed,
            "arguments": None if self.arguments is None else dict(self.arguments),
            "training": None if self.training is None else asdict(self.training),
            "ranking": None if self.ranking is None else asdict(self.ranking),
        }

    def problems(self) -> Iterator[str]:
        """Objections to its values."""
        if not _is_text(self.method) or not self.method:
            yield _must("method", self.method, "a text, the name of the method")
        weights, training, ranking = self.weights or Weights(), self.training or Training(), self.ranking or Ranking()
        for key, value in (
            ("model", self.model), ("model_revision", weights.revision), ("weights_sha256", weights.sha256),
        ):  # fmt: skip
            yield from _check(key, value, _is_text, "a text")
        yield from _check("seed", self.seed, lambda seed: type(seed) is int, "an integer")
        for key, value, low in (
            ("num_beams", self.num_beams, 1), ("training.steps", training.steps, 0),
            ("training.best_step", training.best_step, 0), ("ranking.num_queries", ranking.num_queries, 0),
        ):  # fmt: skip
            yield from _check(key, value, lambda value, low=low: _is_count(value, low), f"a count of at least {low}")
        for key, value in (("training.seconds", training.seconds), ("ranking.seconds", ranking.seconds)):
            yield from _check(key, value, _is_duration, f"seconds from 0 to {_LONGEST:g}")
        yield from _odd_values("arguments", self.arguments)


@dataclass(frozen=True, kw_only=True)
class Results:
    """One scoring of one method on one split of one domain.

    Attributes:
        maker ([`Maker`]): What gave the answers.
        domain, split (`str`): Rows that were scored.
        date (`str`, *optional*): Day of the scoring, as in `2026-11-20`.
        k (`tuple[int, ...]`): Cut-offs; every side has the figures of each.
        depth (`int`, *optional*): Items of the shortest ranking.
        benchmark ([`BenchmarkIdentity`]): Which benchmark it was.
        axes (`Mapping[str, AxisResult]`): Name -> figures.
        left_out (`Mapping[str, str]`): Axis that the benchmark lacks -> reason.
    """

    maker: Maker
    domain: str
    split: str
    k: tuple[int, ...]
    axes: Mapping[str, AxisResult]
    benchmark: BenchmarkIdentity = field(default_factory=BenchmarkIdentity)
    left_out: Mapping[str, str] = field(default_factory=dict)
    date: str | None = None
    depth: int | None = None

    @property
    def table_k(self) -> int:
        """The cut-off of tables and plots: 10 where it was asked for, else the deepest."""
        return TABLE_K if TABLE_K in self.k else max(self.k)

    @property
    def about(self) -> dict[str, Any]:
        """What a table of ranks says of its maker."""
        return {**about(self.maker, self.domain, self.split), "k": list(self.k)}

    @classmethod
    def from_json(cls, content: str | bytes | Mapping[str, Any], name: str) -> "Results":
        """Reads what [`to_json`] wrote, in this version or an earlier one.

        Args:
            content (`str`, `bytes` or `Mapping`): The text, or what was parsed from it.
            name (`str`): Of the file, for errors.

        Raises:
            InvalidResults: Naming the file, and every key whose value cannot be used.
        """
        try:
            if isinstance(content, str | bytes):
                content = json.loads(content, object_pairs_hook=_unique)
            reader = _Reader()
            results = reader.results(content)
            problems = reader.problems + (results.problems() if results is not None else [])
        except (ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            raise InvalidResults(name, [f"the file is no JSON that can be read ({reason}); {AGAIN}."]) from None
        if problems or results is None:
            raise InvalidResults(name, problems)
        return results

    @classmethod
    def read(cls, path: str | Path) -> "Results":
        """Reads a file.

        Raises:
            FileNotFoundError: If there is no such file.
            InvalidResults: As [`from_json`].
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} is no file; pass a {RESULTS_FILE} that mender evaluate wrote.")
        return cls.from_json(Path(path).read_bytes(), str(path))

    def to_json(self) -> str:
        """The results as JSON text."""
        content = {
            **self.maker.content(),
            "domain": self.domain,
            "split": self.split,
            **({} if self.date is None else {"date": self.date}),
            "k": list(self.k),
            **({} if self.depth is None else {"depth": self.depth}),
            "benchmark": self.benchmark.content(),
            "axes": {axis: result.content() for axis, result in self.axes.items()},
            "left_out": dict(self.left_out),
        }
        return json.dumps(content, indent=2) + "\n"

    def write(self, path: str | Path) -> Path:
        """Writes a file, whole or not at all.

        Raises:
            InvalidResults: If [`read`] would refuse it.
        """
        self.check(str(path))
        return write_text(path, self.to_json())

    def check(self, name: str) -> None:
        """Refuses results with [`problems`].

        Raises:
            InvalidResults: If there are any; `name` says whose.
        """
        if problems := self.problems():
            raise InvalidResults(name, problems)

    def problems(self) -> list[str]:
        """Every objection to being used, a sentence each, with its way out; empty if there is none."""
        problems = [*self.maker.problems()]
        try:
            config_name(self.domain, next(iter(AXES)))
        except (ValueError, TypeError, AttributeError):
            problems.append(_must("domain", self.domain, "ASCII letters and digits, joined by single underscores"))
        if self.split not in SPLITS:
            problems.append(_must("split", self.split, f"one of {', '.join(SPLITS)}"))
        problems += _check("date", self.date, _is_text, "a text")
        problems += _check("depth", self.depth, _is_count, "a count")
        problems += self.benchmark.problems()
        has_cutoffs = bool(self.k) and all(_is_count(k, 1) for k in self.k)
        if not has_cutoffs:
            problems.append(_must("k", list(self.k), "counts of at least 1, one or more"))
        if not self.axes:
            problems.append(f"axes is empty; {AGAIN}.")
        for axis, result in self.axes.items():
            if axis not in AXES:
                problems.append(f"{_shown(f'axes.{axis}')} is none of {', '.join(AXES)}; take it out, or {AGAIN}.")
            elif has_cutoffs:
                problems += result.problems(self.k)
        for axis, reason in self.left_out.items():
            if not _is_text(reason):
                problems.append(_must(f"left_out.{axis}", reason, "a text, the reason"))
        return problems


def about(maker: Maker, domain: str, split: str) -> dict[str, Any]:
    """What a run file says of its maker."""
    return {
        "method": maker.method,
        "domain": domain,
        "split": split,
        "num_beams": maker.num_beams,
        "seed": maker.seed,
    }


def is_share(value: Any) -> bool:
    """Whether a value can be a figure: a finite number from 0 to 1.

    >>> is_share(0.5), is_share(50), is_share(float("nan")), is_share("0.5"), is_share(True)
    (True, False, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


class _Reader:
    """Parsed JSON as types; notes what is no object, and leaves single values to [`Results.problems`]."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def results(self, content: Any) -> Results | None:
        if not isinstance(content, Mapping):
            self.problems.append(f"the file holds a {type(content).__name__} and not an object; {AGAIN}.")
            return None
        if missing := [key for key in ("method", "domain", "split", "axes") if content.get(key) is None]:
            self.problems += [f"{key} is missing; {AGAIN}." for key in missing]
            return None
        found = self.object("axes", content["axes"]) or {}
        # an axis that this version does not know keeps its name alone, and is refused by it
        axes = {axis: self.axis(axis, entry) if axis in AXES else AxisResult(axis, 1) for axis, entry in found.items()}
        k = content["k"] if "k" in content else _cutoffs(axes.values())  # the first version did not write it
        return Results(
            maker=self.maker(content),
            domain=content["domain"],
            split=content["split"],
            date=content.get("date"),
            k=tuple(k) if isinstance(k, list | tuple) else (k,),
            depth=content.get("depth"),
            benchmark=self.benchmark(self.object("benchmark", content.get("benchmark")) or {}),
            axes=axes,
            left_out=self.object("left_out", content.get("left_out")) or {},
        )

    def object(self, key: str, value: Any) -> Mapping[str, Any] | None:
        """A value that is an object or absent."""
        if value is None or isinstance(value, Mapping):
            return value
        self.problems.append(_must(key, value, "an object"))
        return None

    def maker(self, content: Mapping[str, Any]) -> Maker:
        is_model = "model_revision" in content or "weights_sha256" in content
        training, ranking = (self.object(key, content.get(key)) for key in ("training", "ranking"))
        return Maker(
            method=content["method"],
            model=content.get("model"),
            weights=Weights(content.get("model_revision"), content.get("weights_sha256")) if is_model else None,
            num_beams=content.get("num_beams"),
            seed=content.get("seed"),
            arguments=self.object("arguments", content.get("arguments")),
            training=None if training is None else Training(*_values(training, Training)),
            ranking=None if ranking is None else Ranking(*_values(ranking, Ranking)),
        )

    def benchmark(self, content: Mapping[str, Any]) -> BenchmarkIdentity:
        objects = {
            key: self.object(f"benchmark.{key}", content.get(key))
            for key in ("approximator_details", "options", "fingerprints")
        }
        objects["fingerprints"] = objects["fingerprints"] or {}
        texts = ("name", "revision", "source", "approximator", "polarity", "embedding_model")
        return BenchmarkIdentity(**{key: content.get(key) for key in texts}, **objects)

    def axis(self, axis: str, value: Any) -> AxisResult:
        key = f"axes.{axis}"
        entry = self.object(key, value) or {}
        metric = entry.get("metric", AXES[axis].metric)
        if metric != AXES[axis].metric:
            self.problems.append(_must(f"{key}.metric", metric, f"{AXES[axis].metric!r}, what the axis is judged by"))
        return AxisResult(
            axis=axis,
            num_rows=entry.get("num_rows"),
            all=self.sides(key, entry),
            unseen=self.sides(f"{key}.unseen", self.object(f"{key}.unseen", entry.get("unseen")) or {}),
            intervals=self.sides(f"{key}.intervals", self.object(f"{key}.intervals", entry.get("intervals")) or {}),
        )

    def sides(self, key: str, content: Mapping[str, Any]) -> Sides[Any]:
        return Sides(**{side: self.object(f"{key}.{side}", content.get(side)) for side, _ in Sides().items()})


def _values(content: Mapping[str, Any], kind: type) -> list[Any]:
    return [content.get(name) for name in kind.__dataclass_fields__]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice: of two values, one would be lost in silence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {_short(twice)} stands twice in one object")
    return content


def _cutoffs(axes: Iterable[AxisResult]) -> list[int]:
    """The cut-offs that figures are named by."""
    names = [name for result in axes for _, figures in result.all.items() for name in figures or ()]
    return sorted({int(found[1]) for name in names if (found := re.fullmatch(r"[a-z]+@(\d{1,9})", name))})


def _check_figures(key: str, figures: Figures, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in figures:
            yield f"{key}.{name} is missing, and follows from k; {AGAIN}."
    for name, value in figures.items():
        if name not in names:
            where = _shown(f"{key}.{name}")
            yield f"{where} ({_short(value)}) does not follow from k; take it out, or {AGAIN}."
        elif not is_share(value):
            yield _must(f"{key}.{name}", value, "a finite number from 0 to 1")


def _check(key: str, value: Any, fits: Any, must: str) -> Iterator[str]:
    """An objection to a value that may be absent."""
    if value is not None and not fits(value):
        yield _must(key, value, must)


def _odd_values(key: str, value: Any) -> Iterator[str]:
    """What free-form values cannot hold: numbers that are not finite, text that cannot be written."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _odd_values(f"{key}.{name}", one)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _odd_values(f"{key}.{number}", one)
    elif isinstance(value, float) and not float("-inf") < value < float("inf"):
        yield _must(key, value, "a finite number")
    elif isinstance(value, str) and not _is_text(value):
        yield _must(key, value, "a text of whole characters")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)  # half a character cannot be written


def _is_count(value: Any, low: int = 0) -> bool:
    return type(value) is int and low <= value <= _LARGEST


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST


def _is_interval(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_share, value)) and value[0] <= value[1]


def _must(key: str, value: Any, must: str) -> str:
    return f"{_shown(key)} ({_short(value)}) must be {must}; {AGAIN}."


def _shown(key: str) -> str:
    """A key as an error names it: foreign text, which may be long or not printable."""
    return ascii(key)[1:-1][:120]


def _short(value: Any) -> str:
    """A value as an error names it, cut where it is long."""
    text = "missing" if value is None else ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
