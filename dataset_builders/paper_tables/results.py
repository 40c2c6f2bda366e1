"""Read results from folders, check that they are comparable, and group them by configuration."""

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..benchmark.axes import AXES
from ..escaping import one_line
from ..scoring.result_parts import BenchmarkIdentity
from ..scoring.results import RESULTS_FILE, Results
from ..scoring.seeds import AxisSpread, aggregate

ROWS_FILE = "rows.parquet"
LONGEST_NAME = 80
SHOWN = 5  # files in an error about several
TABLE_1 = ("recommendation", "fine", "coarse", "sentiment", "history")  # its order
TIMES = ("train_minutes", "inference_ms")
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
    """A value of ours: mean over seeds, sample standard deviation (`None` for one seed), number of seeds."""

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
    """One results.json; `writer` and `prompt` describe the preferences of its benchmark."""

    path: Path
    results: Results = field(repr=False)
    mixture: str
    inputs: str
    text_encoder: str
    writer: str
    prompt: str

    @property
    def method(self) -> str:
        """Name of the method, in one line."""
        return one_line(self.results.maker.method, LONGEST_NAME)

    @property
    def domain(self) -> str:
        """Domain that was scored."""
        return self.results.domain

    @property
    def split(self) -> str:
        """Split that was scored."""
        return self.results.split

    @property
    def preferences(self) -> str:
        """Writer and non-default prompt of the preferences; results that differ in it are kept apart."""
        return self.writer if self.prompt == "default" else f"{self.writer}, {self.prompt} prompt"

    @property
    def configuration(self) -> tuple[str, ...]:
        """Preferences, domain, method, mixture, inputs and text encoder: a row of the tables, over its seeds."""
        return self.preferences, self.domain, self.method, self.mixture, self.inputs, self.text_encoder

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the training and the number of beams, without those that two seeds may differ in."""
        maker = self.results.maker
        given = {**(maker.arguments or {}), "num_beams": maker.num_beams}
        return {name: value for name, value in given.items() if name not in OWN_ARGUMENTS}

    def num_rows(self) -> dict[str, int]:
        """Number of rows by axis."""
        return {axis: found.num_rows for axis, found in self.results.axes.items()}

    def time(self, metric: str) -> float | None:
        """`train_minutes`, or `inference_ms` per query over all axes; `None` where it was not measured."""
        training, ranking = self.results.maker.training, self.results.maker.ranking
        if metric == "train_minutes":
            return None if training is None or training.seconds is None else training.seconds / 60
        if ranking is None or ranking.seconds is None or not ranking.num_queries:
            return None
        return 1000 * ranking.seconds / ranking.num_queries


@dataclass(frozen=True)
class Group:
    """One configuration on one benchmark: results that differ in their seed alone.

    `axes` holds their figures as [`~dataset_builders.scoring.seeds.aggregate`] gives them.
    """

    results: tuple[Result, ...]
    axes: dict[str, AxisSpread] = field(repr=False)

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Group":
        """Averages.

        Raises:
            ValueError: If the files are not comparable; the message names them and what differs.
        """
        try:
            axes = aggregate([result.results for result in results])
        except ValueError as error:
            raise ValueError(f"{', '.join(str(result.path) for result in results)}: {error}") from None
        return cls(tuple(results), axes)

    @property
    def first(self) -> Result:
        """The first result, for values that all share."""
        return self.results[0]

    def cell(self, axis: str, metric: str, protocol: str = "all") -> Cell | None:
        """Mean and deviation over seeds of a metric with the preference; `None` if not measured."""
        if metric in TIMES:
            times = [result.time(metric) for result in self.results]
            return Cell.of([time for time in times if time is not None])
        entry = self.axes.get(axis)
        if entry is None:
            return None
        figure = ((entry.unseen if protocol == "unseen" else entry.all).with_preference or {}).get(metric)
        return None if figure is None else Cell(figure.mean, figure.std, len(self.results))

    def differences(self) -> dict[str, list[Any]]:
        """Arguments, including the number of beams, other than the seed in which the averaged runs differ."""
        given = [result.arguments for result in self.results]
        names = dict.fromkeys(name for arguments in given for name in arguments)
        values = {}
        for name in names:  # earlier versions recorded what a method does not read, too
            recorded = [one for one in given if name in one or one.keys() == {"num_beams"}]
            values[name] = list({repr(one.get(name)) for one in recorded})
        return {name: sorted(found) for name, found in values.items() if len(found) > 1}


def find_results(folders: Iterable[Path]) -> list[Result]:
    """Reads every results.json below the folders, each once.

    Raises:
        ValueError: If a folder does not exist, none holds results, or files are not what the project writes; names
            each of these.
    """
    folders = list(folders)
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder; give folders with {RESULTS_FILE} in or below them.")
    paths = {path.resolve(): path for folder in folders for path in sorted(folder.rglob(RESULTS_FILE))}
    if not paths:
        raise ValueError(
            f"no {RESULTS_FILE} in or below {', '.join(map(str, folders))}; mender evaluate writes one "
            "into its --output_dir."
        )
    results, refused = [], []
    for path in paths.values():
        try:
            results.append(read_result(path))
        except ValueError as error:
            refused.append(str(error))
    if len(refused) > 1:
        more = f" And {len(refused) - SHOWN} more." if len(refused) > SHOWN else ""
        raise ValueError(f"{len(refused)} of {len(paths)} results cannot be read. {' '.join(refused[:SHOWN])}{more}")
    if refused:
        raise ValueError(refused[0])
    return results


def read_result(path: Path) -> Result:
    """Reads and checks one results.json.

    Raises:
        ValueError: Naming the file and what is wrong with it.
    """
    return describe(path, Results.read(path))


def describe(path: Path, results: Results) -> Result:
    """Finds the configuration of results that were read from a file."""
    maker = results.maker
    return Result(
        path=path,
        results=results,
        mixture=one_line(maker.argument("mixture") or "none", LONGEST_NAME),
        inputs="both" if maker.method in WITHOUT_PREFERENCE else maker.argument("inputs") or "both",
        text_encoder=""
        if maker.method in WITHOUT_TEXT
        else one_line(maker.argument("text_encoder") or "", LONGEST_NAME),
        writer=one_line(writer_of(results.benchmark), LONGEST_NAME),
        prompt=one_line(granularity(results.benchmark), LONGEST_NAME),
    )


def granularity(benchmark: BenchmarkIdentity) -> str:
    """Prompt of the preferences (appendix C): `default`, `coarse`, `fine` or a custom name.

    The prompt's version says so; where there is none, the name of the benchmark's folder may.

    >>> granularity(BenchmarkIdentity(approximator_details={"prompt_version": "coarse/1"}))
    'coarse'
    >>> granularity(BenchmarkIdentity("benchmarks/beauty-fine"))
    'fine'
    """
    version = str((benchmark.approximator_details or {}).get("prompt_version") or "")
    if version:
        return version if version.startswith("custom") else version.split("/")[0]
    found = re.search(r"(?:^|[-_.])(coarse|fine)(?:$|[-_.])", Path(benchmark.name or "").name)
    return found.group(1) if found else "default"


def writer_of(benchmark: BenchmarkIdentity) -> str:
    """The approximator and its model, if any.

    >>> writer_of(BenchmarkIdentity(approximator="llm", approximator_details={"model": "llama-3-70b"}))
    'llm llama-3-70b'
    """
    model = (benchmark.approximator_details or {}).get("model")
    return " ".join(filter(None, (benchmark.approximator or "unknown", str(model or ""))))


def encoder_size(name: str) -> tuple[int, str]:
    """Sort key of text encoders: the size in the name, `base` if there is none.

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
    """Refuses results of the same preferences and domain that have different rows.

    Results of different writers or prompts may lie side by side: they get tables of their own.

    Raises:
        ValueError: Naming two files that cannot stand in one table.
    """
    seen: dict[tuple[str, str], dict[tuple[str, str], tuple[Any, Path]]] = {}
    for result in results:
        benchmark = result.results.benchmark
        stated: dict[tuple[str, str], Any] = {
            ("rows of the axis", axis): count for axis, count in result.num_rows().items()
        }
        stated |= {("fingerprint of", config): digest for config, digest in benchmark.fingerprints.items()}
        if benchmark.embedding_model:
            stated["embedding", "model"] = benchmark.embedding_model
        known = seen.setdefault((result.preferences, result.domain), {})
        for what, value in stated.items():
            other, path = known.setdefault(what, (value, result.path))
            if other != value:
                raise ValueError(
                    f"{path} and {result.path} are of different benchmarks of {result.domain}: {' '.join(what)} "
                    f"{other} against {value}; give the results of one benchmark, evaluated with the same --max_rows."
                )


def group_results(results: Iterable[Result]) -> list[Group]:
    """Groups by configuration.

    Raises:
        ValueError: If two results of a group have the same seed, or are not comparable.
    """
    groups: dict[tuple[str, ...], dict[int | None, Result]] = {}
    for result in results:
        seeds, seed = groups.setdefault(result.configuration, {}), result.results.maker.seed
        if seed in seeds:
            raise ValueError(
                f"{seeds[seed].path} and {result.path} are both {result.method} on {result.domain} with seed "
                f"{seed}; give the folder of one of them."
            )
        seeds[seed] = result
    return [Group.of(list(seeds.values())) for seeds in groups.values()]
