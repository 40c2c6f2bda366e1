"""Types of `results.json`, with reading, writing and checking.

Files of earlier versions are read; values that they lack are `None` or empty.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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
    """Error of invalid results; `problems` has one sentence per objection."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        shown = [*self.problems[:5], *([f"And {len(self.problems) - 5} more."] if len(self.problems) > 5 else [])]
        super().__init__(f"{name}: {' '.join(shown)}")


@dataclass(frozen=True)
class Sides(Generic[T]):
    """A pair of values, with and without the preference in the input; `None` where not evaluated."""

    with_preference: T | None = None
    without_preference: T | None = None

    def items(self) -> Iterator[tuple[str, T | None]]:
        """Pairs of side and value."""
        yield "with_preference", self.with_preference
        yield "without_preference", self.without_preference

    def __getitem__(self, side: str) -> T | None:
        return dict(self.items())[side]


@dataclass(frozen=True)
class AxisResult:
    """Metrics of one axis.

    Attributes:
        axis (`str`): Its name.
        num_rows (`int`): Rows scored.
        all ([`Sides`]): Means over the rows, ranking all items; keys as in `recall@5`.
        unseen ([`Sides`]): The same without the items of each row's own history.
        intervals ([`Sides`]): 95 % intervals of `all`, lower and upper end.
    """

    axis: str
    num_rows: int
    all: Sides[Figures] = field(default_factory=Sides)
    unseen: Sides[Figures] = field(default_factory=Sides)
    intervals: Sides[Intervals] = field(default_factory=Sides)

    @property
    def record(self) -> Axis:
        """The benchmark's definition of the axis."""
        return get_axis(self.axis)

    def figures(self, side: str = "with_preference", protocol: str = "all") -> Figures:
        """Means of one side under one of `PROTOCOLS`; empty if not evaluated."""
        return (self.unseen if protocol == "unseen" else self.all)[side] or {}

    def main_value(self, side: str = "with_preference", k: int = 10) -> float | None:
        """The main metric of the axis; `None` if not evaluated."""
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
        """Yields objections to the metrics, given the cut-offs of the results."""
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
    """Identity of a benchmark and of its build.

    Attributes:
        name (`str`, *optional*): Local directory, or dataset on the Hub.
        revision (`str`, *optional*): Commit of the dataset; `None` for a directory.
        source, approximator, approximator_details, polarity, embedding_model, options: As in the report of its build.
        fingerprints (`Mapping[str, str]`): Digest of the rows of each config.
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
        """Makes an identity from a report or from its object in `results.json`.

        Raises:
            InvalidResults: If a value has the wrong type; names it.
        """
        reader = _Reader()
        identity = reader.benchmark(content)
        if problems := reader.problems + list(identity.problems()):
            raise InvalidResults(name, problems)
        return identity

    def content(self) -> dict[str, Any]:
        """Its object in `results.json`, without absent values of the report."""
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
    """Identity of a model's weights: commit on the Hub, and SHA-256 of the files."""

    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Training:
    """Length of a training: wall-clock `seconds`, `steps`, and the step whose weights were kept."""

    seconds: float | None = None
    steps: int | None = None
    best_step: int | None = None


@dataclass(frozen=True)
class Ranking:
    """Time of the ranking: wall-clock `seconds` for `num_queries` distinct queries."""

    seconds: float | None = None
    num_queries: int | None = None


@dataclass(frozen=True)
class Maker:
    """Description of the recommender.

    Attributes:
        method (`str`): Name of the method.
        model (`str`, *optional*): Folder or name of the model, or path of the run file.
        weights ([`Weights`], *optional*): Weights of a model; `None` for a run file.
        num_beams, seed (`int`, *optional*): Beam width and random seed, if known.
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
        """An argument of the training as text; `None` if not recorded."""
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
        texts = (
            ("model", self.model), ("model_revision", weights.revision), ("weights_sha256", weights.sha256),
        )  # fmt: skip
        for key, text in texts:
            yield from _check(key, text, _is_text, "a text")
        yield from _check("seed", self.seed, lambda seed: type(seed) is int, "an integer")
        counts = (
            ("num_beams", self.num_beams, 1), ("training.steps", training.steps, 0),
            ("training.best_step", training.best_step, 0), ("ranking.num_queries", ranking.num_queries, 0),
        )  # fmt: skip
        for key, count, low in counts:
            yield from _check(key, count, lambda count, low=low: _is_count(count, low), f"a count of at least {low}")
        for key, seconds in (("training.seconds", training.seconds), ("ranking.seconds", ranking.seconds)):
            yield from _check(key, seconds, _is_duration, f"seconds from 0 to {_LONGEST:g}")
        yield from _odd_values("arguments", self.arguments)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Scores of one method on one split of one domain.

    Attributes:
        maker ([`Maker`]): The recommender.
        domain, split (`str`): Domain and split of the scored rows.
        date (`str`, *optional*): Day of the scoring, as in `2026-11-20`.
        k (`tuple[int, ...]`): Cut-offs of the metrics.
        depth (`int`, *optional*): Number of items of the shortest ranking.
        benchmark ([`BenchmarkIdentity`]): The benchmark.
        axes (`Mapping[str, AxisResult]`): Results by axis.
        left_out (`Mapping[str, str]`): Reason of each axis that the benchmark lacks.
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
        """The cut-off of tables and plots: 10 if among `k`, else the largest."""
        return TABLE_K if TABLE_K in self.k else max(self.k)

    @property
    def about(self) -> dict[str, Any]:
        """Metadata of a table of ranks."""
        return {**about(self.maker, self.domain, self.split), "k": list(self.k)}

    @classmethod
    def from_json(cls, content: str | bytes | Mapping[str, Any], name: str) -> "Results":
        """Reads the JSON of [`to_json`], of this version or an earlier one.

        Args:
            content (`str`, `bytes` or `Mapping`): JSON text or parsed JSON.
            name (`str`): Name of the file, for errors.

        Raises:
            InvalidResults: If a value is invalid; names the file and every such key.
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
            InvalidResults: See [`from_json`].
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
            InvalidResults: If there are any; names `name`.
        """
        if problems := self.problems():
            raise InvalidResults(name, problems)

    def problems(self) -> list[str]:
        """All objections to the results, one sentence each, with the way out."""
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
    """Metadata of a run file."""
    return {
        "method": maker.method,
        "domain": domain,
        "split": split,
        "num_beams": maker.num_beams,
        "seed": maker.seed,
    }


def is_share(value: Any) -> bool:
    """Whether a value is a valid metric: a finite number from 0 to 1.

    >>> is_share(0.5), is_share(50), is_share(float("nan")), is_share("0.5"), is_share(True)
    (True, False, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


class _Reader:
    """Converts parsed JSON to types, and collects values that must be objects but are not."""

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
        # an unknown axis keeps only its name, which Results.problems refuses
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
        return BenchmarkIdentity(
            name=content.get("name"),
            revision=content.get("revision"),
            source=content.get("source"),
            approximator=content.get("approximator"),
            approximator_details=self.object("benchmark.approximator_details", content.get("approximator_details")),
            polarity=content.get("polarity"),
            embedding_model=content.get("embedding_model"),
            options=self.object("benchmark.options", content.get("options")),
            fingerprints=self.object("benchmark.fingerprints", content.get("fingerprints")) or {},
        )

    def axis(self, axis: str, value: Any) -> AxisResult:
        key = f"axes.{axis}"
        entry = self.object(key, value) or {}
        metric = entry.get("metric", AXES[axis].metric)
        if metric != AXES[axis].metric:
            self.problems.append(_must(f"{key}.metric", metric, f"{AXES[axis].metric!r}, what the axis is judged by"))
        return AxisResult(
            axis=axis,
            num_rows=_any(entry, "num_rows"),
            all=self.sides(key, entry),
            unseen=self.sides(f"{key}.unseen", self.object(f"{key}.unseen", entry.get("unseen")) or {}),
            intervals=self.sides(f"{key}.intervals", self.object(f"{key}.intervals", entry.get("intervals")) or {}),
        )

    def sides(self, key: str, content: Mapping[str, Any]) -> Sides[Any]:
        return Sides(**{side: self.object(f"{key}.{side}", content.get(side)) for side, _ in Sides().items()})


def _any(content: Mapping[str, Any], key: str) -> Any:
    """A value of any type, or `None` if absent; [`Results.problems`] checks it."""
    return content.get(key)


def _values(content: Mapping[str, Any], kind: type) -> list[Any]:
    return [content.get(field.name) for field in fields(kind)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses repeated keys, of which all values but the last would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {_short(twice)} stands twice in one object")
    return content


def _cutoffs(axes: Iterable[AxisResult]) -> list[int]:
    """The cut-offs in the names of metrics."""
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
    """Yields an objection to a value unless it is absent or valid."""
    if value is not None and not fits(value):
        yield _must(key, value, must)


def _odd_values(key: str, value: Any) -> Iterator[str]:
    """Yields objections to non-finite numbers and unencodable text in free-form values."""
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
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)  # lone surrogates cannot be encoded


def _is_count(value: Any, low: int = 0) -> bool:
    return type(value) is int and low <= value <= _LARGEST


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST


def _is_interval(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_share, value)) and value[0] <= value[1]


def _must(key: str, value: Any, must: str) -> str:
    return f"{_shown(key)} ({_short(value)}) must be {must}; {AGAIN}."


def _shown(key: str) -> str:
    """A key for an error message, printable and cut."""
    return ascii(key)[1:-1][:120]


def _short(value: Any) -> str:
    """A value for an error message, cut if long."""
    text = "missing" if value is None else ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
