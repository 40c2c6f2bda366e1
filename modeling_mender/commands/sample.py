"""Construction of the benchmark of the synthetic sample shop and of its semantic IDs."""

from pathlib import Path
from typing import Any

from dataset_builders.atomic_write import check_creatable
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.review_sentiment import RatingVader
from dataset_builders.building.sources import get_source
from dataset_builders.building.sources.sample import ABOUT
from dataset_builders.building.text_embedding import load_embedder, published_name

from .learn_ids import SemanticIdArguments, learn_semantic_ids

# 354 items: 32 codes per level distinguish them and are few enough to be shared; the RQ-VAE takes a few seconds.
SAMPLE_IDS: dict[str, Any] = {
    "codebook_size": 32,
    "hidden_sizes": [128, 64],
    "epochs": 200,
    "batch_size": 128,
    "embedding_dtype": "float32",  # the same IDs on every processor
}


def prepare_sample(benchmark: str, semantic_ids: str | None) -> None:
    """Builds the sample benchmark and its semantic IDs if they are missing.

    Args:
        benchmark (`str`): Directory of the benchmark.
        semantic_ids (`str`, *optional*): Directory of the semantic IDs, learned again after the benchmark was built;
            if not given, none are learned.
    """
    is_missing = not Path(benchmark).is_dir()
    if is_missing:
        check_creatable(benchmark)
    if semantic_ids is not None and not Path(semantic_ids).is_dir():
        check_creatable(semantic_ids)
    if is_missing:
        report = build_benchmark(
            get_source("sample"),
            "sample",
            Path(benchmark),
            load_embedder("minilm", progress=False, dtype="float32"),  # the same rows on every processor
            polarity=RatingVader(),  # needs no download
            about=ABOUT,
            embedding_model=published_name("minilm"),
        )
        print(f"{report.summary()}\nwritten: {benchmark}")
    if semantic_ids is not None and (is_missing or not Path(semantic_ids).is_dir()):
        learn_semantic_ids(
            SemanticIdArguments(
                benchmark=benchmark, output_dir=Path(semantic_ids), domain="sample", overwrite=True, **SAMPLE_IDS
            )
        )
