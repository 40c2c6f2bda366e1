"""Build a benchmark on disk from a source, or the users' sequences alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..atomic_write import new_directory, scratch_directory
from ..benchmark.axes import AXES
from ..benchmark.report import BuildReport
from ..benchmark.schema import TABLES, WINDOW, config_name
from ..replacing import benchmark_files, check_replaceable
from .options import BuildOptions
from .preferences.approximation import PreferenceApproximator
from .preferences.matching import Embed
from .publication import publish
from .review_sentiment import PolarityClassifier
from .sequences import Sequences
from .sources.raw_tables import Source
from .stage_cache import StageCache
from .stages import BenchmarkBuild


def build_benchmark(
    source: Source,
    domain: str,
    output_dir: Path | str,
    embed: Embed,
    approximator: PreferenceApproximator | None = None,
    polarity: PolarityClassifier | None = None,
    options: BuildOptions | None = None,
    cache_dir: Path | str | None = None,
    embedding_model: str = "",
    progress: bool = True,
    overwrite: bool = False,
    about: Mapping[str, str] | None = None,
) -> BuildReport:
    """Builds the benchmark of one domain, all axes (section 3.2), and writes it as a dataset directory.

    Args:
        source, domain, embed, approximator, polarity, options, embedding_model, progress:
            See [`BenchmarkBuild`].
        output_dir (`Path`): New directory, written under a temporary name beside it and renamed at the end.
        cache_dir (`Path`, *optional*): Folder that keeps the result of every stage, so that the next build, or the one
            after an interruption, computes only what has changed.
        overwrite (`bool`): Whether to replace an existing `output_dir`.
        about (`Mapping`, *optional*): `title`, `terms` and `citation` of the data, for the card.

    Returns:
        [`BuildReport`]: Also saved as `reports/{domain}.json` in the directory, without the times.

    Raises:
        ValueError: If the domain cannot be part of a config's name, or a source or the k-core refuses the input.
        FileExistsError: If `output_dir` exists and `overwrite` is false, or it holds more than a benchmark.
    """
    check_replaceable(output_dir, overwrite, benchmark_files(), (cache_dir,))
    with stage_cache(cache_dir) as cache, new_directory(Path(output_dir), overwrite) as folder:
        build = BenchmarkBuild(
            source, domain, embed, cache, approximator, polarity, options, embedding_model, progress
        )
        build.report.about = dict(about or {})
        configs = {config_name(domain, name): build.config(name) for name in (*TABLES, *AXES)}
        build.score_baselines({name: configs[config_name(domain, name)] for name in AXES})
        with build.report.stage("write"):
            folders = {config: result.folder for config, result in configs.items() if result is not None}
            publish(folder, folders, build.report, Path(output_dir).name)
    return build.report


@contextmanager
def stage_cache(cache_dir: Path | str | None) -> Iterator[StageCache]:
    """Opens the cache in a folder, or a temporary one for the block.

    Args:
        cache_dir (`Path`, *optional*): Folder of the results; temporary by default.

    Yields:
        [`~dataset_builders.building.stage_cache.StageCache`]: The cache.
    """
    if cache_dir is not None:
        yield StageCache(cache_dir)
        return
    with scratch_directory() as folder:
        yield StageCache(folder)


def load_sequences(
    source: Source, min_count: int = 5, window: int = WINDOW, user_stride: int = 1, cache_dir: Path | None = None
) -> tuple[Sequences, pa.Table]:
    """Computes the first stage alone: users' sequences and the catalog, as every later stage reads them.

    Args:
        source (`Source`): Source of interactions and items.
        min_count, window, user_stride: See [`BuildOptions`].
        cache_dir (`Path`, *optional*): As in [`build_benchmark`].

    Returns:
        `tuple`: The [`Sequences`], of unknown polarity (0), and the items (`pa.Table`, row `item_id - 1` is the item
        `item_id`).
    """
    options = BuildOptions(min_count=min_count, window=window, user_stride=user_stride)
    with stage_cache(cache_dir) as cache:
        build = BenchmarkBuild(source, "any", no_embedding, cache, options=options, progress=False)
        sequences = build.unclassified_sequences
        return sequences.with_polarity(np.zeros(len(sequences), np.int8)), build.items


def no_embedding(texts: Sequence[str]) -> np.ndarray:
    """Replaces the embedding model where only stages run that need none."""
    raise AssertionError(f"no stage before the embeddings embeds anything, but {len(texts)} texts came")
