"""Types of `results.json`, with reading, writing and checking.

Files of earlier versions are read; values that they lack are `None` or empty.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..atomic_write import write_text
from ..benchmark.axes import AXES
from ..benchmark.fingerprints import DIGEST, json_digest
from ..benchmark.schema import SPLITS, config_name
from ..bounded_parsing import UnreadableFile, parse_json, read_bounded
from ..typed_arguments import parse_day
from .result_parts import (
    AGAIN,
    AxisResult,
    BenchmarkIdentity,
    Maker,
    Ranking,
    Sides,
    Training,
    Weights,
    check_value,
    is_count,
    is_text,
    must_be,
    shown_key,
)

logger = logging.getLogger(__name__)

RESULTS_FILE = "results.json"
TABLE_K = 10
MAX_CUTOFFS = 100


class InvalidResults(ValueError):
    """Error of invalid results; `problems` has one sentence per objection."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        shown = [*self.problems[:5], *([f"And {len(self.problems) - 5} more."] if len(self.problems) > 5 else [])]
        super().__init__(f"{name}: {' '.join(shown)}")


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
                content = parse_json(content)
            if isinstance(content, Mapping) and DIGEST in content:
                rest = {key: value for key, value in content.items() if key != DIGEST}
                if content[DIGEST] != json_digest(rest):
                    logger.warning(
                        "%s was changed since it was written (its %s is of another content); %s if you did not "
                        "change it yourself", name, DIGEST, AGAIN,
                    )  # fmt: skip
            reader = _Reader()
            results = reader.results(content)
            problems = reader.problems + (results.problems() if results is not None else [])
        except UnreadableFile as error:
            raise InvalidResults(name, [f"the file is no JSON that can be read ({error}); {AGAIN}."]) from None
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
        try:
            return cls.from_json(read_bounded(path), str(path))
        except UnreadableFile as error:
            raise InvalidResults(str(path), [str(error).removeprefix(f"{path} ")]) from None

    def to_json(self) -> str:
        """The results as JSON text, with a digest by which a damaged one is known."""
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
        return json.dumps({**content, DIGEST: json_digest(content)}, indent=2) + "\n"

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
            problems.append(must_be("domain", self.domain, "ASCII letters and digits, joined by single underscores"))
        if self.split not in SPLITS:
            problems.append(must_be("split", self.split, f"one of {', '.join(SPLITS)}"))
        problems += check_value("date", self.date, lambda date: parse_day(date) is not None, "a day as in 2026-11-20")
        problems += check_value("depth", self.depth, is_count, "a count")
        problems += self.benchmark.problems()
        has_cutoffs = 0 < len(self.k) <= MAX_CUTOFFS and all(is_count(k, 1) for k in self.k)
        if len(self.k) > MAX_CUTOFFS:
            problems.append(must_be("k", f"{len(self.k):,} counts", f"at most {MAX_CUTOFFS} of them"))
        elif not has_cutoffs:
            problems.append(must_be("k", list(self.k), "counts of at least 1, one or more"))
        elif len(set(self.k)) < len(self.k):
            problems.append(must_be("k", list(self.k), "counts that differ from each other"))
        if not self.axes:
            problems.append(f"axes is empty; {AGAIN}.")
        for axis, result in self.axes.items():
            if axis not in AXES:
                problems.append(f"{shown_key(f'axes.{axis}')} is none of {', '.join(AXES)}; take it out, or {AGAIN}.")
            elif has_cutoffs:
                problems += result.problems(self.k)
        for axis, reason in self.left_out.items():
            if not is_text(reason):
                problems.append(must_be(f"left_out.{axis}", reason, "a text, the reason"))
        return problems


def read_identity(content: Mapping[str, Any], name: str) -> BenchmarkIdentity:
    """Makes the identity of a benchmark from its report or from its object in `results.json`.

    Raises:
        InvalidResults: If a value has the wrong type; names it.
    """
    reader = _Reader()
    identity = reader.benchmark(content)
    if problems := reader.problems + list(identity.problems()):
        raise InvalidResults(name, problems)
    return identity


def about(maker: Maker, domain: str, split: str) -> dict[str, Any]:
    """Metadata of a run file."""
    return {
        "method": maker.method,
        "domain": domain,
        "split": split,
        "num_beams": maker.num_beams,
        "seed": maker.seed,
    }


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
        self.problems.append(must_be(key, value, "an object"))
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
            self.problems.append(
                must_be(f"{key}.metric", metric, f"{AXES[axis].metric!r}, what the axis is judged by")
            )
        self.problems += check_value(f"{key}.title", entry.get("title"), is_text, "a text")
        return AxisResult(
            axis=axis,
            num_rows=_any(entry, "num_rows"),
            all=self.sides(key, entry),
            unseen=self.sides(f"{key}.unseen", self.object(f"{key}.unseen", entry.get("unseen")) or {}),
            intervals=self.sides(f"{key}.intervals", self.object(f"{key}.intervals", entry.get("intervals")) or {}),
            original=self.object(f"{key}.original", entry.get("original")),
            parts=self.objects(f"{key}.parts", entry.get("parts")),
            baselines=self.objects(f"{key}.baselines", entry.get("baselines")),
        )

    def objects(self, key: str, value: Any) -> dict[str, Mapping[str, Any]]:
        """An object of objects, empty if absent."""
        found = {name: self.object(f"{key}.{name}", one) for name, one in (self.object(key, value) or {}).items()}
        return {name: one for name, one in found.items() if one is not None}

    def sides(self, key: str, content: Mapping[str, Any]) -> Sides[Any]:
        return Sides(**{side: self.object(f"{key}.{side}", content.get(side)) for side, _ in Sides().items()})


def _any(content: Mapping[str, Any], key: str) -> Any:
    """A value of any type, or `None` if absent; [`Results.problems`] checks it."""
    return content.get(key)


def _values(content: Mapping[str, Any], kind: type) -> list[Any]:
    return [content.get(field.name) for field in fields(kind)]


def _cutoffs(axes: Iterable[AxisResult]) -> list[int]:
    """The cut-offs in the names of metrics."""
    names = [name for result in axes for _, figures in result.all.items() for name in figures or ()]
    return sorted({int(found[1]) for name in names if (found := re.fullmatch(r"[a-z]+@(\d{1,9})", name))})
