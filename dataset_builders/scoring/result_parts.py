"""Parts of results: metrics of an axis, identity of a benchmark, maker of the answers, and checks of their values."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from ..benchmark.axes import Axis, get_axis
from ..escaping import is_visible

PROTOCOLS = ("all", "unseen")
AGAIN = "score again with mender evaluate"
SHARE = "a finite number from 0 to 1"
OBEYING = "obeying@10"
"""Share of the first ten items that obey the request; known for the sample shop alone."""
SHARE_OF_ROWS = "share"
LARGEST = 2**31 - 1
LONGEST = 1e9  # seconds, 31 years

T = TypeVar("T")
Figures = Mapping[str, float]
Intervals = Mapping[str, Sequence[float]]


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
        intervals ([`Sides`]): 95 % intervals of `all`, lower and upper end: Wilson's for proportions, else the
            bootstrap's.
        original (`Mapping`, *optional*): Means with the preference in its original words, of an axis that rewords it.
        parts (`Mapping`): Value of the axis' part, such as the origin of a history, to the means of its rows with the
            preference, and under `share` their share of the rows.
        baselines (`Mapping`): Baseline of the benchmark, such as `constant_list`, to its means with the preference.
    """

    axis: str
    num_rows: int
    all: Sides[Figures] = field(default_factory=Sides)
    unseen: Sides[Figures] = field(default_factory=Sides)
    intervals: Sides[Intervals] = field(default_factory=Sides)
    original: Figures | None = None
    parts: Mapping[str, Figures] = field(default_factory=dict)
    baselines: Mapping[str, Figures] = field(default_factory=dict)

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
            **({} if self.original is None else {"original": dict(self.original)}),
            **({"parts": {name: dict(found) for name, found in self.parts.items()}} if self.parts else {}),
            **({"baselines": {name: dict(found) for name, found in self.baselines.items()}} if self.baselines else {}),
        }

    def problems(self, k: Sequence[int]) -> Iterator[str]:
        """Yields objections to the metrics, given the cut-offs of the results."""
        key = f"axes.{self.axis}"
        if not is_count(self.num_rows, 1):
            yield must_be(f"{key}.num_rows", self.num_rows, f"a count of at least 1 and at most {LARGEST}")
        both = [f"{kind}@{cutoff}" for kind in ("recall", "ndcg") for cutoff in k]
        own = [] if self.record.metric == "recall" else [f"{self.record.metric}@{cutoff}" for cutoff in k]
        for protocol, sides in (("", self.all), ("unseen.", self.unseen)):
            for side, figures in sides.items():
                if figures is not None:
                    names = both + (own if side == "with_preference" else [name for name in own if name in figures])
                    known = {name: value for name, value in figures.items() if name != OBEYING}
                    yield from check_means(f"{key}.{protocol}{side}", known, names)
                    yield from check_value(f"{key}.{protocol}{side}.{OBEYING}", figures.get(OBEYING), is_share, SHARE)
        if self.original is not None:
            yield from check_means(f"{key}.original", self.original, both)
        for group, found in (("parts", self.parts), ("baselines", self.baselines)):
            for name, figures in found.items():
                for metric, value in figures.items():
                    if not is_share(value):
                        yield must_be(f"{key}.{group}.{name}.{metric}", value, SHARE)
        for side, intervals in self.intervals.items():
            if intervals and self.all[side] is None:
                yield f"{key}.{side} is missing, and has intervals; {AGAIN}."
                continue
            for metric, interval in (intervals or {}).items():
                where = f"{key}.intervals.{side}.{metric}"
                if metric not in (self.all[side] or {}):
                    yield f"{shown_key(where)} ({short_value(interval)}) has no figure beside it; {AGAIN}."
                elif not is_interval(interval):
                    yield must_be(where, interval, "two finite numbers from 0 to 1, the lower one first")


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

    def content(self) -> dict[str, Any]:
        """Its object in `results.json`, without absent values of the report."""
        values = asdict(self)
        return {name: value for name, value in values.items() if value is not None or name in ("name", "revision")}

    def problems(self) -> Iterator[str]:
        """Objections to its values."""
        for name in ("name", "revision", "source", "approximator", "polarity", "embedding_model"):
            yield from check_value(f"benchmark.{name}", getattr(self, name), is_text, "a text")
        for config, digest in self.fingerprints.items():
            if not is_digest(digest):
                yield must_be(f"benchmark.fingerprints.{config}", digest, "32 hexadecimal digits in lower case")
        for name in ("approximator_details", "options"):
            yield from odd_values(f"benchmark.{name}", getattr(self, name))


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
        if not is_text(self.method) or not is_visible(self.method):
            yield must_be("method", self.method, "a text that can be seen, the name of the method")
        weights, training, ranking = self.weights or Weights(), self.training or Training(), self.ranking or Ranking()
        texts = (
            ("model", self.model), ("model_revision", weights.revision), ("weights_sha256", weights.sha256),
        )  # fmt: skip
        for key, text in texts:
            yield from check_value(key, text, is_text, "a text")
        yield from check_value("seed", self.seed, lambda seed: type(seed) is int, "an integer")
        counts = (
            ("num_beams", self.num_beams, 1), ("training.steps", training.steps, 0),
            ("training.best_step", training.best_step, 0), ("ranking.num_queries", ranking.num_queries, 0),
        )  # fmt: skip
        for key, count, low in counts:
            yield from check_value(
                key, count, lambda count, low=low: is_count(count, low), f"a count of at least {low}"
            )
        for key, seconds in (("training.seconds", training.seconds), ("ranking.seconds", ranking.seconds)):
            yield from check_value(key, seconds, is_duration, f"seconds from 0 to {LONGEST:g}")
        yield from odd_values("arguments", self.arguments)


def is_share(value: Any) -> bool:
    """Whether a value is a valid metric: a finite number from 0 to 1.

    >>> is_share(0.5), is_share(50), is_share(float("nan")), is_share("0.5"), is_share(True), is_share(-0.0)
    (True, False, False, False, False, False)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= 1 and math.copysign(1, value) > 0


def check_means(key: str, figures: Figures, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in figures:
            yield f"{key}.{name} is missing, and follows from k; {AGAIN}."
    for name, value in figures.items():
        if name not in names:
            where = shown_key(f"{key}.{name}")
            yield f"{where} ({short_value(value)}) does not follow from k; take it out, or {AGAIN}."
        elif not is_share(value):
            yield must_be(f"{key}.{name}", value, SHARE)


def check_value(key: str, value: Any, fits: Any, must: str) -> Iterator[str]:
    """Yields an objection to a value unless it is absent or valid."""
    if value is not None and not fits(value):
        yield must_be(key, value, must)


def odd_values(key: str, value: Any) -> Iterator[str]:
    """Yields objections to non-finite numbers and unencodable text in free-form values."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from odd_values(f"{key}.{name}", one)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from odd_values(f"{key}.{number}", one)
    elif isinstance(value, float) and not float("-inf") < value < float("inf"):
        yield must_be(key, value, "a finite number")
    elif isinstance(value, str) and not is_text(value):
        yield must_be(key, value, "a text of whole characters")


def is_text(value: Any) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)  # lone surrogates cannot be encoded


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) is not None


def is_count(value: Any, low: int = 0) -> bool:
    return type(value) is int and low <= value <= LARGEST


def is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def is_interval(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_share, value)) and value[0] <= value[1]


def must_be(key: str, value: Any, must: str) -> str:
    return f"{shown_key(key)} ({short_value(value)}) must be {must}; {AGAIN}."


def shown_key(key: str) -> str:
    """A key for an error message, printable and cut."""
    return ascii(key)[1:-1][:120]


def short_value(value: Any) -> str:
    """A value for an error message, cut if long."""
    text = "missing" if value is None else ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
