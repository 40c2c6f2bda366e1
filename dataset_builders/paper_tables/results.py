"""Our results: finds every results.json, holds those of one benchmark together, and groups them by configuration.

Knows the file and what makes two files comparable. Leaves to `tables` and `figures` which of them belong where.
"""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..benchmark.axes import AXES
from ..scoring.seeds import aggregate

RESULTS_FILE, ROWS_FILE = "results.json", "rows.parquet"
PROTOCOLS = ("all", "unseen")
TABLE_1 = ("recommendation", "fine", "coarse", "sentiment", "history")  # its order
TIMES = ("train_minutes", "inference_ms")
KEYS = ("method", "domain", "split", "k", "seed", "arguments", "training", "ranking", "benchmark", "axes")
AXIS_KEYS = {"num_rows", "with_preference", "without_preference", "unseen"}
WITHOUT_TEXT = ("most_popular", "transition_graph", "sasrec", "sasrec_bce", "tiger", "tiger_user_emb")
WITHOUT_PREFERENCE = (*WITHOUT_TEXT, "liger")

# Arguments that two seeds of one configuration may differ in: they say where and how fast, not what is learned.
OWN_ARGUMENTS = {"seed", "output_dir", "benchmark", "semantic_ids", "resume", "report_to", "save_steps",
                 "save_total_limit", "per_device_eval_batch_size"}  # fmt: skip
ENCODER_SIZES = ("tiny", "mini", "small", "base", "large", "xl", "xxl")


def axes_in_order() -> list[str]:
    """Names of all axes: those of table 1 in its order, then the others."""
    return [*TABLE_1, *(axis for axis in AXES if axis not in TABLE_1)]


@dataclass(frozen=True)
class Cell:
    """One figure of ours: mean over seeds, sample standard deviation (`None` for one seed), number of seeds."""

    mean: float
    std: float | None = None
    seeds: int = 1

    @classmethod
    def of(cls, values: Sequence[float]) -> "Cell | None":
        """
        >>> Cell.of([0.25, 0.5, 0.75])
        Cell(mean=0.5, std=0.25, seeds=3)
        """
        if not values:
            return None
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.mean(values), std, len(values))


@dataclass(frozen=True)
class Result:
    """One results.json; `writer` and `prompt` say how the preferences of its benchmark came to be."""

    path: Path
    method: str
    domain: str
    split: str
    mixture: str
    inputs: str
    text_encoder: str
    seed: int | None
    writer: str
    prompt: str
    content: dict[str, Any] = field(repr=False)

    @property
    def preferences(self) -> str:
        """The writer, and the prompt where it is not the default one: results that differ in it never mix."""
        return self.writer if self.prompt == "default" else f"{self.writer}, {self.prompt} prompt"

    @property
    def benchmark(self) -> dict[str, Any]:
        """What the benchmark says of itself."""
        return self.content["benchmark"] or {}

    def num_rows(self) -> dict[str, int]:
        """Axis -> rows."""
        return {axis: entry["num_rows"] for axis, entry in self.content["axes"].items()}

    def time(self, metric: str) -> float | None:
        """`train_minutes`, or `inference_ms` per query over all axes; `None` where it was not measured."""
        if metric == "train_minutes":
            seconds = (self.content["training"] or {}).get("seconds")
            return None if seconds is None else seconds / 60
        ranking = self.content["ranking"] or {}
        seconds, queries = ranking.get("seconds"), ranking.get("num_queries")
        return 1000 * seconds / queries if seconds is not None and queries else None


@dataclass(frozen=True)
class Group:
    """One configuration on one benchmark: results that differ in their seed alone.

    `axes` holds their figures as [`~dataset_builders.scoring.seeds.aggregate`] gives them.
    """

    results: tuple[Result, ...]
    axes: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Group":
        """Averages.

        Raises:
            ValueError: If the files are not comparable; the message names them and what differs.
        """
        try:
            axes = aggregate([result.content for result in results])["axes"]
        except ValueError as error:
            raise ValueError(f"{', '.join(str(result.path) for result in results)}: {error}") from None
        return cls(tuple(results), axes)

    @property
    def first(self) -> Result:
        """Speaks for all where they agree."""
        return self.results[0]

    def cell(self, axis: str, metric: str, protocol: str = "all") -> Cell | None:
        """Mean and deviation over seeds of a figure asked with the preference; `None` where it was not measured."""
        if metric in TIMES:
            times = [result.time(metric) for result in self.results]
            return Cell.of([time for time in times if time is not None])
        entry = self.axes.get(axis)
        if entry is None:
            return None
        figures = (entry["unseen"] if protocol == "unseen" else entry)["with_preference"] or {}
        figure = figures.get(metric)
        return None if figure is None else Cell(figure["mean"], figure["std"], len(self.results))

    def differences(self) -> dict[str, list[Any]]:
        """Arguments, and the number of beams, in which the averaged runs differ although only the seed should."""
        given = [
            {**(result.content["arguments"] or {}), "num_beams": result.content.get("num_beams")}
            for result in self.results
        ]
        names = dict.fromkeys(name for arguments in given for name in arguments if name not in OWN_ARGUMENTS)
        values = {}
        for name in names:  # earlier versions recorded what a method does not read, too
            recorded = [one for one in given if name in one or one.keys() == {"num_beams"}]
            values[name] = list({repr(one.get(name)) for one in recorded})
        return {name: sorted(found) for name, found in values.items() if len(found) > 1}


def find_results(folders: Iterable[Path]) -> list[Result]:
    """Reads every results.json below the folders, each once.

    Raises:
        ValueError: If a folder does not exist, none holds results, or a file is not what the project writes.
    """
    folders = list(folders)
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder; give folders with {RESULTS_FILE} in or below them.")
    paths = {path.resolve(): path for folder in folders for path in sorted(folder.rglob(RESULTS_FILE))}
    if not paths:
        raise ValueError(
            f"no {RESULTS_FILE} in or below {', '.join(map(str, folders))}; scripts/evaluate_axes.py writes one "
            "into its --output_dir."
        )
    return [read_result(path) for path in paths.values()]


def read_result(path: Path) -> Result:
    """Reads and checks one results.json.

    Raises:
        ValueError: Naming the file and what is wrong with it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); score the model again.") from None
    missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; score the model again with this version.")
    if not isinstance(content["axes"], dict) or not all(
        isinstance(entry, dict) and set(entry) >= AXIS_KEYS for entry in content["axes"].values()
    ):
        raise ValueError(
            f"{path} has an axis that lacks one of {', '.join(sorted(AXIS_KEYS))}; "
            "score the model again with this version."
        )
    arguments = content["arguments"] or {}
    return Result(
        path=path,
        method=content["method"],
        domain=content["domain"],
        split=content["split"],
        mixture=arguments.get("mixture") or "none",
        inputs="both" if content["method"] in WITHOUT_PREFERENCE else arguments.get("inputs") or "both",
        text_encoder="" if content["method"] in WITHOUT_TEXT else arguments.get("text_encoder") or "",
        seed=content["seed"],
        writer=writer_of(content["benchmark"] or {}),
        prompt=granularity(content["benchmark"] or {}),
        content=content,
    )


def granularity(benchmark: dict[str, Any]) -> str:
    """Which prompt of appendix C the preferences were asked with: `default`, `coarse`, `fine` or a name of one's own.

    The prompt's version says so; where there is none, the name of the benchmark's folder may.

    >>> granularity({"approximator_details": {"prompt_version": "coarse/1"}})
    'coarse'
    >>> granularity({"path": "benchmarks/beauty-fine"})
    'fine'
    """
    version = benchmark.get("prompt") or (benchmark.get("approximator_details") or {}).get("prompt_version")
    if version:
        return str(version).split("/")[0] if not str(version).startswith("custom") else str(version)
    found = re.search(
        r"(?:^|[-_.])(coarse|fine)(?:$|[-_.])", Path(str(benchmark.get("path") or benchmark.get("name") or "")).name
    )
    return found.group(1) if found else "default"


def writer_of(benchmark: dict[str, Any]) -> str:
    """The approximator, and its model where it has one.

    >>> writer_of({"approximator": "llm", "approximator_details": {"model": "llama-3-70b"}})
    'llm llama-3-70b'
    """
    model = (benchmark.get("approximator_details") or {}).get("model")
    return " ".join(filter(None, (str(benchmark.get("approximator") or "unknown"), model)))


def encoder_size(name: str) -> tuple[int, str]:
    """Orders text encoders by the size in their names, `base` where a name has none.

    >>> sorted(["google/flan-t5-xxl", "google/flan-t5-small", "minilm"], key=encoder_size)
    ['minilm', 'google/flan-t5-small', 'google/flan-t5-xxl']
    """
    words = re.split(r"[^a-z0-9]+", name.rsplit("/", 1)[-1].lower())
    sizes = [
        ENCODER_SIZES.index(size)
        for word in words
        for size in ENCODER_SIZES
        if word == size or (size in ("tiny", "mini") and word.startswith(size))
    ]
    return max(sizes, default=ENCODER_SIZES.index("base")), name


def check_comparable(results: Iterable[Result]) -> None:
    """Results that say they are of the same preferences and domain must be of the same rows.

    Results of different writers or prompts may lie side by side: they get tables of their own.

    Raises:
        ValueError: Naming two files that cannot stand in one table.
    """
    seen: dict[tuple[str, str], dict[tuple[str, str], tuple[Any, Path]]] = {}
    for result in results:
        stated = {("rows of the axis", axis): count for axis, count in result.num_rows().items()}
        digests = result.benchmark.get("fingerprints") or result.benchmark.get("fingerprint") or {}
        digests = digests if isinstance(digests, dict) else {"benchmark": digests}
        stated |= {("fingerprint of", config): digest for config, digest in digests.items()}
        if result.benchmark.get("embedding_model"):
            stated["embedding", "model"] = result.benchmark["embedding_model"]
        known = seen.setdefault((result.preferences, result.domain), {})
        for what, value in stated.items():
            other, path = known.setdefault(what, (value, result.path))
            if other != value:
                raise ValueError(
                    f"{path} and {result.path} are of different benchmarks of {result.domain}: {' '.join(what)} "
                    f"{other} against {value}; give the results of one benchmark, evaluated with the same --max_rows."
                )


def group_results(results: Iterable[Result]) -> list[Group]:
    """Groups by preferences, domain, method, mixture, inputs and text encoder.

    Raises:
        ValueError: If two results of a group have the same seed, or are not comparable.
    """
    groups: dict[tuple[str, ...], dict[int | None, Result]] = {}
    for result in results:
        key = (
            result.preferences, result.domain, result.method, result.mixture, result.inputs, result.text_encoder,
        )  # fmt: skip
        seeds = groups.setdefault(key, {})
        if result.seed in seeds:
            raise ValueError(
                f"{seeds[result.seed].path} and {result.path} are both {result.method} on {result.domain} with seed "
                f"{result.seed}; give the folder of one of them."
            )
        seeds[result.seed] = result
    return [Group.of(list(seeds.values())) for seeds in groups.values()]
