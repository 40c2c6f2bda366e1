"""The stages of a build: what each depends on, and what is counted.

Each stage is computed when something asks for its result, and kept by the content that it was made from. Leaves the
keeping to `stage_cache.py`, each stage to its module, and the published directory to `builder.py`.

    source -> interactions -> polarity -> preferences -> embeddings -> matching -> steering -> the configs
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..benchmark.fingerprints import content_fingerprint
from ..benchmark.negation import is_negative_preference
from ..benchmark.report import BuildReport, SteeringReport
from ..benchmark.schema import (
    AXES,
    ITEM_TEXT_FIELDS,
    NUM_PREFERENCES,
    SPLITS,
    TABLES,
    WINDOW,
    config_name,
    item_text,
    splits_of,
)
from .axes import BUILDERS, UnsupportedAxis
from .axes.base import as_table
from .engines import close, connect
from .interactions import load_source, prepare_interactions, write_interactions
from .preferences.approximation import PreferenceApproximator
from .preferences.matching import Embed, EmbeddingTable
from .preferences.metadata import MetadataApproximator
from .preferences.table import Preferences, approximate_preferences, match_targets
from .publication import write_splits
from .review_sentiment import PolarityClassifier, RatingVader
from .sequences import TRAIN, Sequences
from .sources import Source
from .stage_cache import StageCache, StageResult, digest_of
from .steering.assignment import STEERING_VARIANTS, SteeringRows, TooAlike, plan_steering

logger = logging.getLogger(__name__)

STEERING_POOLS = ("all", "positive")
STAGES = ("interactions", "polarity", "preferences", "embeddings", "steering", "axes")
"""In their order; a build can stop after any of them, and the next one goes on from there."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What a build may be asked for; the defaults are the paper's.

    Args:
        min_count (`int`): Users and items with fewer actions are dropped until none is left (k-core, appendix B).
        window (`int`): How many of a user's most recent items count (appendix A.2).
        user_stride (`int`): After the k-core every `user_stride`-th user is kept; 1 keeps all, 7 is Steam's subsample.
        item_text_fields (`tuple[str, ...]`): What of an item is embedded (appendix A.1), see
            [`~dataset_builders.benchmark.schema.item_text`].
        steering (`str`): `"paper"`, or `"as_released"` for the two rows per source item that the authors' code makes.
        steering_pool (`str`): The set P of eq. (3): `"all"` preferences as in the paper, or the `"positive"` ones, so
            that no steering row asks to avoid what its target is.
        steering_engine (`str`): How the nearest preferences are searched, see
            [`~dataset_builders.building.steering.nearest.top_k`].
        device (`str`, *optional*): Of the engine `"torch"`.
        seed (`int`): Of the choices among equals in steering.
        engine (`str`): Where the k-core and the time order are computed, `"duckdb"` or `"pyspark"`.
        memory_limit (`str`, *optional*): Of DuckDB, as in `"4GB"`; what exceeds it spills to disk.

    Raises:
        ValueError: On an unknown variant or pool, or numbers out of range.
    """

    min_count: int = 5
    window: int = WINDOW
    user_stride: int = 1
    item_text_fields: tuple[str, ...] = ITEM_TEXT_FIELDS
    steering: str = "paper"
    steering_pool: str = "all"
    steering_engine: str = "faiss"
    device: str | None = None
    seed: int = 0
    engine: str = "duckdb"
    memory_limit: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("steering", STEERING_VARIANTS), ("steering_pool", STEERING_POOLS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} ({getattr(self, name)!r}) must be one of {', '.join(allowed)}.")
        for name, least in (("min_count", 1), ("user_stride", 1), ("window", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {least}.")

    def published(self) -> dict[str, Any]:
        """What the rows depend on, as JSON values; not how they are computed."""
        how = ("device", "engine", "memory_limit")
        values = {name: value for name, value in asdict(self).items() if name not in how}
        return {**values, "item_text_fields": list(self.item_text_fields)}


class BenchmarkBuild:
    """The stages of one domain's benchmark (section 3.2); each is computed once, and only if asked for.

    It is also the [`~dataset_builders.building.axes.BenchmarkTables`] that the axes read.

    Args:
        source (`Source`): Where interactions and items come from, see
            [`~dataset_builders.building.sources.get_source`].
        domain (`str`): ASCII letters, digits, underscores; the first part of every config's name.
        embed (`Callable`): Texts to float32 `(num_texts, hidden_size)`, rows L2-normalised: the space of eq. (1)-(3).
        cache (`StageCache`): Keeps the stages' results.
        approximator (`PreferenceApproximator`, *optional*): Writes the preferences; the metadata one by default.
        polarity (`PolarityClassifier`, *optional*): Of reviews; star ratings and VADER by default.
        options ([`BuildOptions`], *optional*): The paper's by default.
        embedding_model (`str`): Name of the model behind `embed`; without one its vectors are not kept.
        progress (`bool`): Whether to show bars.

    Raises:
        ValueError: On a domain that cannot be a name.
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
        self.source, self.domain, self.cache = source, domain, cache
        self.options = options or BuildOptions()
        self.approximator = approximator or MetadataApproximator(self.options.window)
        self.classifier = polarity or RatingVader()
        self.embedding_model = embedding_model
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
            options=self.options.published(),
        )

    def run(self, until: str = "axes") -> BuildReport:
        """Computes the stages up to one of them.

        Args:
            until (`str`): One of [`STAGES`].

        Returns:
            [`BuildReport`]: Of what was computed or found in the cache.

        Raises:
            ValueError: If there is no such stage.
        """
        if until not in STAGES:
            raise ValueError(f"The stage {until!r} is not known; choose one of {', '.join(STAGES)}.")
        results: dict[str, Callable[[], object]] = {
            "interactions": lambda: self.interactions,
            "polarity": lambda: self._polarity,
            "preferences": lambda: self._preferences,
            "embeddings": lambda: (self.item_embeddings, self.preference_embeddings),
            "steering": lambda: self.steering,
            "axes": lambda: [self.config(name) for name in TABLES + AXES],
        }
        for stage in STAGES[: STAGES.index(until) + 1]:
            results[stage]()
        return self.report

    def _get(self, stage: str, depends_on: Mapping[str, Any], make: Callable[[Path], Any], *code: str) -> StageResult:
        """A stage's result, whose key covers this file and the modules that do the stage's work."""
        return self.cache.get(stage, {"stages": Path(__file__), **depends_on}, make, code)

    @cached_property
    def interactions(self) -> StageResult:
        """`events.parquet`, ordered by user and position, and `items.parquet`, ordered by item id (appendix B)."""
        depends_on = {
            "source": self.source.name,
            "inputs": self.source.inputs(),
            "min_count": self.options.min_count,
            "user_stride": self.options.user_stride,
        }
        with self.report.stage("interactions"):
            code = _modules(self.source, load_source, connect)
            result = self._get("interactions", depends_on, self._make_interactions, *code)
        counts = result.info
        self.report.num_users, self.report.num_items = counts["num_users"], counts["num_items"]
        self.report.num_actions = counts["num_actions"]
        self.report.skipped, self.report.noted = counts["skipped"], counts["noted"]
        return result

    def _make_interactions(self, folder: Path) -> dict[str, Any]:
        connection = connect(engine=self.options.engine, memory_limit=self.options.memory_limit)
        try:
            raw = load_source(self.source, connection)
            prepared = prepare_interactions(raw, self.options.min_count, self.options.user_stride)
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

    @cached_property
    def items(self) -> pa.Table:
        """The catalogue; row `item_id - 1` is the item `item_id`."""
        items = pq.read_table(self.interactions.folder / "items.parquet")
        assert np.array_equal(items["item_id"].to_numpy(), np.arange(1, items.num_rows + 1)), "item ids are 1..N"
        return items

    @cached_property
    def unclassified_sequences(self) -> Sequences:
        """All actions, of whose reviews nothing was asked yet."""
        events = pq.read_table(self.interactions.folder / "events.parquet")
        return Sequences.from_arrow(events, self.options.window)

    @cached_property
    def _polarity(self) -> StageResult:
        depends_on = {"interactions": self.interactions.digest, "classifier": self.classifier.fingerprint()}
        sequences = self.unclassified_sequences

        def make(folder: Path) -> dict[str, Any]:
            polarity = self.classifier.classify(sequences.ratings, sequences.reviews)
            pq.write_table(pa.table({"polarity": polarity}), folder / "polarity.parquet")
            return {"measured": self.classifier.measured}

        with self.report.stage("polarity"):
            result = self._get("polarity", depends_on, make, *_modules(self.classifier, Sequences))
        self.report.polarity_measured = result.info["measured"]
        return result

    @cached_property
    def sequences(self) -> Sequences:
        """All actions, with the polarity of their reviews."""
        polarity = pq.read_table(self._polarity.folder / "polarity.parquet")["polarity"].to_numpy()
        return self.unclassified_sequences.with_polarity(polarity)

    @cached_property
    def _preferences(self) -> StageResult:
        depends_on = {
            "interactions": self.interactions.digest,
            "polarity": self._polarity.digest,
            "approximator": self.approximator.fingerprint(),
        }
        sequences, items = self.sequences, self.items

        def make(folder: Path) -> dict[str, Any]:
            preferences = approximate_preferences(self.approximator, sequences, items.to_pylist(), self._progress)
            pq.write_table(pa.table({"preference": preferences.strings}), folder / "strings.parquet")
            pq.write_table(pa.table({"ids": preferences.ids.ravel()}), folder / "ids.parquet")
            return {"approximator_details": self.approximator.details(), **preferences.counts()}

        with self.report.stage("preferences"):
            result = self._get("preferences", depends_on, make, *_modules(self.approximator, Preferences))
        for name, value in result.info.items():
            setattr(self.report, name, value)
        return result

    @cached_property
    def preferences(self) -> Preferences:
        """The preferences of all users and positions."""
        folder = self._preferences.folder
        strings = pq.read_table(folder / "strings.parquet")["preference"].to_pylist()
        ids = pq.read_table(folder / "ids.parquet")["ids"].to_numpy().reshape(-1, NUM_PREFERENCES)
        return Preferences(strings, ids)

    @cached_property
    def embed(self) -> EmbeddingTable:
        """Embeds texts, each distinct one once; keeps the vectors if the model has a name."""
        folder = self.cache.folder / "embeddings" if self.embedding_model else None
        return EmbeddingTable(self._embed, folder, self.embedding_model, self._progress)

    @cached_property
    def item_texts(self) -> list[str]:
        """What is embedded of each item; entry `item_id - 1`."""
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
    def _embeddings_digest(self) -> str:
        return digest_of([self.item_embeddings, self.preference_embeddings])

    @cached_property
    def matched(self) -> np.ndarray:
        """int64 `(num_actions,)`, the preference of eq. (1) of every target."""
        arguments = self.sequences, self.preferences, self.item_embeddings, self.preference_embeddings
        with self.report.stage("matching"):
            return match_targets(*arguments)

    @cached_property
    def _steering(self) -> StageResult:
        options = self.options
        depends_on = {
            "interactions": self.interactions.digest,
            "preferences": self._preferences.digest,
            "embeddings": self._embeddings_digest,
            "options": [
                options.window,
                options.steering,
                options.steering_pool,
                options.steering_engine,
                options.seed,
            ],
            "texts": self.item_texts,
        }

        def make(folder: Path) -> dict[str, Any]:
            sequences, matched, negative = self.sequences, self.matched, self.preferences.negative
            train = sequences.target_rows(TRAIN)
            train = train[matched[train] >= 0]
            pool = np.ones_like(negative) if options.steering_pool == "all" else ~negative
            try:
                rows, report = plan_steering(
                    sequences,
                    self.item_embeddings,
                    self.item_texts,
                    self.preference_embeddings,
                    _grouped(sequences.item_id[train] - 1, matched[train]),
                    pool,
                    options.seed,
                    self._progress,
                    engine=options.steering_engine,
                    device=options.device,
                    variant=options.steering,
                    matched=matched,
                )
            except TooAlike as error:
                return {"unsupported": str(error)}
            for (axis, split), plan in rows.items():
                pq.write_table(pa.table(plan.__dict__), folder / f"{axis}-{split}.parquet")
            return {"report": asdict(report)}

        with self.report.stage("steering"):
            result = self._get("steering", depends_on, make, *_modules(SteeringRows, Preferences))
        if "report" in result.info:
            self.report.steering = SteeringReport(**result.info["report"])
        return result

    @cached_property
    def steering(self) -> Mapping[tuple[str, str], SteeringRows] | str:
        """`(axis, split) -> SteeringRows` (eq. 2, 3), or the reason why there are none."""
        result = self._steering
        if "unsupported" in result.info:
            return result.info["unsupported"]
        plans = {}
        for axis in ("fine", "coarse"):
            for split in SPLITS:
                table = pq.read_table(result.folder / f"{axis}-{split}.parquet")
                plans[axis, split] = SteeringRows(**{name: table[name].to_numpy() for name in table.column_names})
        return plans

    def config(self, name: str) -> StageResult | None:
        """One published config: a folder with a Parquet file per split.

        Args:
            name (`str`): An axis, or `items` or `preferences`.

        Returns:
            [`StageResult`] or `None`: None where the axis has to be left out; the report then has the reason.
        """
        depends_on = {"name": name, "window": self.options.window, **self._config_depends_on(name)}
        with self.report.stage(name):
            code = _modules(as_table, write_splits, *BUILDERS.values())
            result = self._get("configs", depends_on, lambda folder: self._make_config(name, folder), *code)
        if "left_out" in result.info:
            self.report.left_out[name] = result.info["left_out"]
            logger.warning("The axis %s is left out: %s.", name, result.info["left_out"])
            return None
        config = config_name(self.domain, name)
        self.report.rows[config] = result.info["rows"]
        self.report.fingerprints[config] = result.info["fingerprint"]
        if "negative_rows" in result.info:
            self.report.negative_rows[name] = result.info["negative_rows"]
        return result

    def _config_depends_on(self, name: str) -> dict[str, Any]:
        depends_on: dict[str, Any] = {"interactions": self.interactions.digest}
        if name != "items":
            depends_on["preferences"] = self._preferences.digest
        if name == "sentiment":
            depends_on["polarity"] = self._polarity.digest
        if name in ("recommendation", "sentiment"):
            depends_on["embeddings"] = self._embeddings_digest
        if name in ("fine", "coarse"):
            depends_on["steering"] = self._steering.digest
        return depends_on

    def _make_config(self, name: str, folder: Path) -> dict[str, Any]:
        try:
            splits = BUILDERS[name](self) if name in AXES else {"train": getattr(self, f"_{name}_table")()}
        except UnsupportedAxis as error:
            return {"left_out": error.reason}
        info: dict[str, Any] = {"rows": write_splits(folder, splits), "fingerprint": content_fingerprint(splits)}
        if "preference" in splits[splits_of(name)[0]].column_names:
            info["negative_rows"] = {split: _num_negative(table) for split, table in splits.items()}
        return info

    def _items_table(self) -> pa.Table:
        return as_table("items", {name: self.items[name].combine_chunks() for name in self.items.column_names})

    def _preferences_table(self) -> pa.Table:
        sequences = self.sequences
        rows = np.arange(len(sequences))
        columns = {
            "user_id": sequences.user_column(rows),
            "position": sequences.position,
            "item_id": sequences.item_id,
            "preferences": self.preferences.five(rows),
        }
        return as_table("preferences", columns)


def _modules(*makers: object) -> list[str]:
    """Names of the modules in which functions and classes, or the classes of instances, are defined."""
    return sorted({getattr(maker, "__module__", "") for maker in makers})


def _grouped(keys: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(values[order], starts[1:]), strict=True)) if len(keys) else {}


def _num_negative(table: pa.Table) -> int:
    return sum(is_negative_preference(preference) for preference in table["preference"].to_pylist())
