"""`datasets` builder of the benchmark: one config per domain and axis, from the raw reviews.

A benchmark that exists needs no builder: `load_dataset(<folder or name on the Hub>, "beauty_sentiment")` reads it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq

from ..benchmark.axes import AXES
from ..benchmark.fingerprints import split_file
from ..benchmark.schema import ITEM_TEXT_FIELDS, TABLES, config_name, features_of, splits_of
from .axes import UnsupportedAxis
from .domain_files import domain_source
from .domains import DOMAINS, default_embedding_model, get_domain
from .options import BuildOptions
from .preferences.llm.journal_approximator import JournalApproximator
from .preferences.matching import Embed
from .review_sentiment import DEFAULT_POLARITY, get_polarity_classifier
from .sources import get_source
from .stage_cache import StageCache
from .stages import BenchmarkBuild
from .text_embedding import TextEmbedder, published_name

SAMPLE = "sample"


@dataclass
class PreferenceDiscerningConfig(datasets.BuilderConfig):
    """Settings of one config; `name` is `<domain>_<table>`, as in `beauty_sentiment`.

    Args:
        domain (`str`): One of [`~dataset_builders.building.domains.DOMAINS`], or `sample`.
        table (`str`): An axis, or `items` or `preferences`.
        data_dir (`str`, *optional*): Folder of the domain's raw files; downloaded by default.
        journals (`tuple[str, ...]`): Preferences by a language model, from `scripts/approximate_preferences.py`; from
            metadata by default.
        polarity (`str`): See [`~dataset_builders.building.review_sentiment.get_polarity_classifier`].
        embedding_model (`str`, *optional*): Name of the text encoder, see
            [`~dataset_builders.building.text_embedding.load_embedder`]; the domain's own by default, see
            [`~dataset_builders.building.domains.default_embedding_model`].
        embedding_dtype (`str`): Data type in which it computes, see
            [`~dataset_builders.building.text_embedding.resolve_dtype`].
        steering, steering_pool, user_stride, min_count, window, seed: See
            [`~dataset_builders.building.options.BuildOptions`]; `user_stride` is the domain's own by default.
    """

    domain: str = SAMPLE
    table: str = "recommendation"
    journals: tuple[str, ...] = ()
    polarity: str = DEFAULT_POLARITY
    embedding_model: str | None = None
    embedding_dtype: str = "auto"
    steering: str = "balanced"
    steering_pool: str | None = None
    user_stride: int | None = None
    min_count: int = 5
    window: int = 20
    seed: int = 0


def _configs() -> list[PreferenceDiscerningConfig]:
    return [
        PreferenceDiscerningConfig(
            name=config_name(domain, table),
            domain=domain,
            table=table,
            description=AXES[table].description if table in AXES else f"the table of {table}",
        )
        for domain in (SAMPLE, *DOMAINS)
        for table in (*AXES, *TABLES)
    ]


class PreferenceDiscerning(datasets.GeneratorBasedBuilder):
    """Builds a config of the benchmark (section 3.2).

    Args:
        embed (`Callable`, *optional*): Texts to float32 `(num_texts, hidden_size)`, rows L2-normalized; by default
            sentence-transformers with the config's `embedding_model`.
        arguments: Arguments of `datasets.GeneratorBasedBuilder`, and fields of [`PreferenceDiscerningConfig`].

    Example:

    ```python
    builder = PreferenceDiscerning(config_name="beauty_sentiment", cache_dir="cache", data_dir="raw")
    builder.download_and_prepare()
    builder.as_dataset("test")
    ```
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = PreferenceDiscerningConfig
    BUILDER_CONFIGS = _configs()

    def __init__(self, *arguments: Any, embed: Embed | None = None, **named: Any) -> None:
        self._embed = embed
        super().__init__(*arguments, **named)

    def _info(self) -> datasets.DatasetInfo:
        known = DOMAINS.get(self.config.domain)
        return datasets.DatasetInfo(
            description=self.config.description or "",
            features=features_of(self.config.table, self._columns()),
            citation=known.citation if known else "",
            license=known.terms if known else "",
        )

    def _columns(self) -> list[str]:
        """Columns of the rows: only balanced steering has the optional ones."""
        axis = AXES.get(self.config.table)
        return list(axis.optional) if axis is not None and self.config.steering == "balanced" else []

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        build = self._build(Path(dl_manager.download_config.cache_dir or self._cache_dir_root))
        result = build.config(self.config.table)
        if result is None:
            raise UnsupportedAxis(self.config.table, build.report.left_out[self.config.table])
        return [
            datasets.SplitGenerator(split, gen_kwargs={"path": result.folder / split_file(split)})
            for split in splits_of(self.config.table)
        ]

    def _build(self, downloads: Path) -> BenchmarkBuild:
        config = self.config
        embedding_model = config.embedding_model or default_embedding_model(config.domain)
        stride, fields = 1, ITEM_TEXT_FIELDS
        if config.domain == SAMPLE:
            source = get_source(SAMPLE)
        else:
            domain = get_domain(config.domain)
            raw_dir = Path(config.data_dir) if config.data_dir else None
            source = domain_source(domain, raw_dir=raw_dir, download_dir=downloads)
            stride, fields = domain.user_stride, domain.item_text_fields
        options = BuildOptions(
            min_count=config.min_count,
            window=config.window,
            user_stride=stride if config.user_stride is None else config.user_stride,
            item_text_fields=fields,
            steering=config.steering,
            steering_pool=config.steering_pool,
            seed=config.seed,
        )
        return BenchmarkBuild(
            source,
            config.domain,
            self._embed or TextEmbedder(embedding_model, progress=False, dtype=config.embedding_dtype),
            StageCache(Path(self._cache_dir_root) / "mender_stages"),
            approximator=JournalApproximator([Path(path) for path in config.journals]) if config.journals else None,
            polarity=get_polarity_classifier(config.polarity),
            options=options,
            embedding_model=published_name(embedding_model),
        )

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                yield number, row
                number += 1
