"""Stages of a build, each computed on first use and cached by the content that it was made from.

source -> interactions -> polarity -> preferences -> embeddings -> matching -> steering -> the configs
"""

import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..benchmark.axes import AXES
from ..benchmark.baselines import BASELINES, MAX_ROWS, Catalog, axis_baselines
from ..benchmark.fingerprints import split_file
from ..benchmark.report import BuildReport, SteeringReport
from ..benchmark.schema import TABLES, config_name, features, item_text
from ..benchmark.tables import choose_rows
from .axes import UnsupportedAxis, builder_of
from .axes.base import as_table
from .axes.tables import TABLES_AS_ROWS
from .engines import close, connect
from .inputs import Inputs, UnclassifiedSequences
from .interactions import load_source, prepare_interactions, write_interactions
from .options import BuildOptions, default_pool
from .preferences.approximation import PreferenceApproximator
from .preferences.matching import Embed, EmbeddingTable
from .preferences.table import Preferences, approximate_preferences, match_targets
from .preferences.wordings import metadata_approximator
from .publication import write_config
from .review_sentiment import PolarityClassifier, RatingVader
from .sequences import Sequences
from .sources.raw_tables import Source
from .stage_cache import StageCache, StageResult, digest_of
from .steering.assignment import SteeringRows, plan_steering, read_rows, training_matches, write_rows
from .steering.neighbors import TooAlike
from .text_embedding import dtype_of

logger = logging.getLogger(__name__)

STAGES = ("interactions", "polarity", "preferences", "embeddings", "steering", "axes")
"""Stages in order; a build can stop after any of them, and the next build continues from there."""


class BenchmarkBuild:
    """Stages of one domain's benchmark (section 3.2); each is computed once, on first use.

    It is also the [`~dataset_builders.building.axes.BenchmarkTables`] that the axes read.

    Args:
        source (`Source`): Source of interactions and items, see [`~dataset_builders.building.sources.get_source`].
        domain (`str`): First part of every config's name, in ASCII letters, digits and underscores.
        embed (`Callable`): Texts to float32 `(num_texts, hidden_size)`, rows L2-normalized: the space of eq. (1)-(3).
        cache (`StageCache`): Cache of the stages' results.
        approximator (`PreferenceApproximator`, *optional*): Approximator of preferences; by default the one of
            [`~dataset_builders.building.preferences.wordings.metadata_approximator`] for the source.
        polarity (`PolarityClassifier`, *optional*): Classifier of reviews, star ratings and VADER by default.
        options ([`BuildOptions`], *optional*): Options, the paper's by default.
        embedding_model (`str`): Name of the model behind `embed`; without a name its vectors are not cached.
        progress (`bool`): Whether to show progress bars.

    Raises:
        ValueError: If the domain cannot be part of a config's name.
    """

    def __init__(
        self,
        source: Source,
        domain: str,
        embed: Embed,
        cache: StageCache,
        approximator: PreferenceApproximator | None = None,
        polarity: PolarityClassifier | None = None,
        options: BuildOptions | None = None,
        embedding_model: str = "",
        progress: bool = True,
    ) -> None:
        config_name(domain, "items")
        self.source: Source = source
        self.domain, self.cache = domain, cache
        self.options: BuildOptions = options or BuildOptions()
        self.approximator: PreferenceApproximator = approximator or metadata_approximator(
            source.name, self.options.window
        )
        self.classifier: PolarityClassifier = polarity or RatingVader()
        self.embedding_model: str = embedding_model
        self._embed, self._progress = embed, progress
        self.report = BuildReport(
            domain=domain,
            source=source.name,
            notice=getattr(source, "notice", ""),
            approximator=self.approximator.name,
            approximator_description=self.approximator.description,
            polarity=self.classifier.name,
            polarity_description=self.classifier.description,
            embedding_model=embedding_model,
            embedding_dtype=dtype_of(embed),
            options=self.options.published(),
        )

    def run(self, until: str = "axes") -> BuildReport:
        """Computes the stages up to one of them.

        Args:
            until (`str`): One of [`STAGES`].

        Returns:
            [`BuildReport`]: Report on the stages that were computed or found in the cache.

        Raises:
            ValueError: If there is no such stage.
        """
        if until not in STAGES:
            raise ValueError(f"The stage {until!r} is not known; choose one of {', '.join(STAGES)}.")
        results: dict[str, Callable[[], object]] = {
            "interactions": lambda: self.interactions,
            "polarity": lambda: self.polarity,
            "preferences": lambda: self.preference_sets,
            "embeddings": lambda: (self.item_embeddings, self.preference_embeddings),
            "steering": lambda: self.steering_plans,
            "axes": lambda: [self.config(name) for name in (*TABLES, *AXES)],
        }
        for stage in STAGES[: STAGES.index(until) + 1]:
            results[stage]()
        return self.report

    def _stage(
        self,
        name: str,
        make: Callable[[Inputs, Path], Mapping[str, Any]],
        reads: Collection[str],
        options: Collection[str],
        code: Iterable[object],
        variant: Mapping[str, Any] | None = None,
    ) -> StageResult:
        """Finds or makes the result of a stage.

        Args:
            name (`str`): Name of the stage.
            make (`Callable`): Function that writes files into a folder from its inputs alone and returns its counts.
            reads, options (`Collection[str]`): Names of the inputs and options that it reads, see [`Inputs`].
            code (`Iterable`): Functions, classes and instances whose modules do its work.
            variant (`Mapping`, *optional*): Further parts of the key, such as `name`.
        """
        variant = variant or {}
        inputs = Inputs(self, f"the stage {variant.get('name', name)}", reads, options)
        depends_on = {"make": inspect.getsource(make), **variant, **inputs.key()}
        with self.report.stage(variant.get("name", name)):
            return self.cache.get(name, depends_on, lambda folder: make(inputs, folder), _modules(*code))

    @cached_property
    def interactions(self) -> StageResult:
        """`events.parquet`, ordered by user and position, and `items.parquet`, ordered by item id (appendix B)."""
        engine, memory_limit = self.options.engine, self.options.memory_limit  # the rows do not depend on them

        def make(inputs: Inputs, folder: Path) -> dict[str, Any]:
            connection = connect(engine, memory_limit)
            try:
                raw = load_source(inputs.source, connection)
                prepared = prepare_interactions(raw, inputs.option("min_count"), inputs.option("user_stride"))
                write_interactions(prepared, folder)
                return {
                    "num_users": prepared.num_users,
                    "num_items": prepared.num_items,
                    "num_actions": prepared.num_actions,
                    "skipped": {reason: int(count) for reason, count in raw.skipped.items()},
                    "noted": {reason: int(count) for reason, count in raw.noted.items()},
                }
            finally:
                close(connection)

        code = self.source, load_source, connect
        result = self._stage("interactions", make, ["source"], ["min_count", "user_stride"], code)
        for name, value in result.info.items():
            setattr(self.report, name, value)
        return result

    @cached_property
    def items(self) -> pa.Table:
        """The catalog; row `item_id - 1` is the item `item_id`."""
        items = pq.read_table(self.interactions.folder / "items.parquet")
        assert np.array_equal(items["item_id"].to_numpy(), np.arange(1, items.num_rows + 1)), "item ids are 1..N"
        return items

    @cached_property
    def unclassified_sequences(self) -> Sequences:
        """All actions, without the polarity of their reviews."""
        events = pq.read_table(self.interactions.folder / "events.parquet")
        return UnclassifiedSequences.from_arrow(events, self.options.window)

    @cached_property
    def polarity(self) -> StageResult:
        """`polarity.parquet`: the polarity of every review (appendix D.1)."""

        def make(inputs: Inputs, folder: Path) -> dict[str, Any]:
            polarity = inputs.classifier.classify(inputs.sequences.ratings, inputs.sequences.reviews)
            pq.write_table(pa.table({"polarity": polarity}), folder / "polarity.parquet")
            return {"measured": inputs.classifier.measured}

        result = self._stage("polarity", make, ["sequences", "classifier"], [], (self.classifier, Sequences))
        self.report.polarity_measured = result.info["measured"]
        return result

    @cached_property
    def sequences(self) -> Sequences:
        """All actions, with the polarity of their reviews."""
        polarity = pq.read_table(self.polarity.folder / "polarity.parquet")["polarity"].to_numpy()
        return self.unclassified_sequences.with_polarity(polarity)

    @cached_property
    def preference_sets(self) -> StageResult:
        """`strings.parquet` and `ids.parquet`: the preferences of every user and position (algorithm 1)."""
        progress = self._progress

        def make(inputs: Inputs, folder: Path) -> dict[str, Any]:
            items = inputs.items.to_pylist()
            preferences = approximate_preferences(inputs.approximator, inputs.sequences, items, progress)
            preferences.write(folder)
            return {"approximator_details": inputs.approximator.details(), **preferences.counts()}

        reads = ["sequences", "polarity", "items", "approximator"]
        result = self._stage("preferences", make, reads, [], (self.approximator, Preferences))
        for name, value in result.info.items():
            setattr(self.report, name, value)
        return result

    @cached_property
    def preferences(self) -> Preferences:
        """The preferences of all users and positions."""
        return Preferences.read(self.preference_sets.folder)

    @cached_property
    def embed(self) -> EmbeddingTable:
        """Embeddings of texts, each distinct one computed once; cached if the model has a name."""
        folder = self.cache.folder / "embeddings" if self.embedding_model else None
        return EmbeddingTable(self._embed, folder, self.embedding_model, self._progress)

    @cached_property
    def item_texts(self) -> list[str]:
        """Text that is embedded for each item; entry `item_id - 1`."""
        return [item_text(item, self.options.item_text_fields) for item in self.items.to_pylist()]

    @cached_property
    def item_embeddings(self) -> np.ndarray:
        """float32 `(num_items, hidden_size)`; row `item_id - 1`."""
        texts = self.item_texts
        with self.report.stage("embeddings"):
            return self.embed(texts, "items")

    @cached_property
    def preference_embeddings(self) -> np.ndarray:
        """float32 `(num_preferences, hidden_size)`."""
        strings = self.preferences.strings
        with self.report.stage("embeddings"):
            return self.embed(strings, "preferences")

    @cached_property
    def embeddings_digest(self) -> str:
        """Digest of the embeddings of items and preferences."""
        return digest_of([self.item_embeddings, self.preference_embeddings])

    @cached_property
    def matched(self) -> np.ndarray:
        """int64 `(num_actions,)`, index of the preference of eq. (1) of every target."""
        arguments = self.unclassified_sequences, self.preferences, self.item_embeddings, self.preference_embeddings
        with self.report.stage("matching"):
            return match_targets(*arguments)

    @cached_property
    def steering_plans(self) -> StageResult:
        """`{axis}-{split}.parquet`: the rows of the steering axes as indices (eq. 2, 3)."""
        progress, device = self._progress, self.options.device  # the rows do not depend on them

        def make(inputs: Inputs, folder: Path) -> dict[str, Any]:
            negative = inputs.preferences.negative
            chosen = inputs.option("steering_pool") or default_pool(inputs.option("steering"))
            pool = np.ones_like(negative) if chosen == "all" else ~negative
            try:
                rows, report = plan_steering(
                    inputs.sequences,
                    inputs.item_embeddings,
                    inputs.item_texts,
                    inputs.preference_embeddings,
                    training_matches(inputs.sequences, inputs.matched),
                    pool,
                    inputs.option("seed"),
                    engine=inputs.option("steering_engine"),
                    variant=inputs.option("steering"),
                    bound=inputs.option("steering_bound"),
                    matched=inputs.matched,
                    progress=progress,
                    device=device,
                )
            except TooAlike as error:
                return {"unsupported": str(error)}
            write_rows(rows, folder)
            return {"report": asdict(report)}

        reads = "sequences preferences item_embeddings item_texts preference_embeddings matched".split()
        options = ["steering", "steering_bound", "steering_pool", "steering_engine", "seed"]
        result = self._stage("steering", make, reads, options, (SteeringRows, Preferences))
        if "report" in result.info:
            self.report.steering = SteeringReport(**result.info["report"])
        return result

    @cached_property
    def steering(self) -> Mapping[tuple[str, str], SteeringRows] | str:
        """`(axis, split) -> SteeringRows` (eq. 2, 3), or the reason why there are none."""
        result = self.steering_plans
        if "unsupported" in result.info:
            return result.info["unsupported"]
        return read_rows(result.folder)

    def config(self, name: str) -> StageResult | None:
        """Makes one published config: a folder with a Parquet file per split.

        Args:
            name (`str`): An axis, or `items` or `preferences`.

        Returns:
            [`StageResult`] or `None`: `None` where the axis has to be left out; the report then has the reason.
        """
        rows_of, reads = TABLES_AS_ROWS[name] if name in TABLES else (builder_of(AXES[name]), AXES[name].needs)

        def make(inputs: Inputs, folder: Path) -> dict[str, Any]:
            try:
                splits = rows_of(inputs)
            except UnsupportedAxis as error:
                return {"left_out": error.reason}
            info = write_config(folder, splits)
            if notes := getattr(splits, "notes", None):
                info["notes"] = notes
            return info

        variant = {"name": name, "columns": list(features(name))}
        result = self._stage("configs", make, reads, [], (as_table, write_config, rows_of), variant)
        if "left_out" in result.info:
            self.report.left_out[name] = result.info["left_out"]
            logger.warning("The axis %s is left out: %s.", name, result.info["left_out"])
            return None
        self.report.add_config(name, result.info)
        return result

    def score_baselines(self, configs: Mapping[str, StageResult | None]) -> StageResult:
        """Scores the baselines without training on rows of the split test, and puts the figures into the report.

        The constant list is scored on all rows, the others, which compare vectors, on at most [`MAX_ROWS`].

        Args:
            configs (`Mapping[str, StageResult]`): Axis -> result of [`config`]; `None` where it was left out.
        """
        built = [(AXES[axis], config) for axis, config in configs.items() if config is not None]

        def make(inputs: Inputs, folder: Path) -> dict[str, Any]:
            vectors = inputs.item_embeddings
            catalog = Catalog(len(vectors), vectors, inputs.embed)
            figures = {}
            for axis, config in built:
                test, train = (pq.read_table(config.folder / split_file(split)) for split in ("test", "train"))
                figures[axis.name] = axis_baselines(axis, test, train, catalog, names=("constant_list",))
                some = test.take(choose_rows(test.num_rows, MAX_ROWS))
                figures[axis.name] |= axis_baselines(axis, some, train, catalog, names=list(BASELINES)[1:])
            return {"baselines": figures}

        variant = {axis.name: [config.digest, axis.metric, axis.other, axis.asked] for axis, config in built}
        reads = ["item_embeddings", "embed"]
        result = self._stage("baselines", make, reads, [], (axis_baselines,), {"axes": variant})
        self.report.baselines = result.info["baselines"]
        return result


def _modules(*makers: object) -> list[str]:
    """Names of the modules in which functions and classes, or the classes of instances, are defined."""
    return sorted({getattr(maker, "__module__", "") for maker in makers})
