"""The benchmark of the synthetic sample shop and its semantic IDs, built where a command needs them."""

from pathlib import Path

from dataset_builders.building.build import build_benchmark
from dataset_builders.building.review_sentiment import RatingVader
from dataset_builders.building.sources import get_source
from dataset_builders.building.sources.sample import ABOUT
from dataset_builders.building.text_embedding import load_embedder, published_name

from .learn_ids import SemanticIdArguments, learn_semantic_ids

# 354 items: 32 codes a level tell them apart and are few enough to be shared; an RQ-VAE of a few seconds.
SAMPLE_IDS = {"codebook_size": 32, "hidden_sizes": [128, 64], "epochs": 200, "batch_size": 128}


def prepare_sample(benchmark: str, semantic_ids: str | None, overwrite: bool = False) -> None:
    """Builds the sample benchmark and its semantic IDs where they are missing (or all anew).

    Args:
        benchmark (`str`): Directory of the benchmark.
        semantic_ids (`str`, *optional*): Directory of the semantic IDs; none are learned where not given.
        overwrite (`bool`): Whether what is there is replaced.
    """
    if overwrite or not Path(benchmark).is_dir():
        report = build_benchmark(
            get_source("sample"),
            "sample",
            Path(benchmark),
            load_embedder("minilm", progress=False),
            polarity=RatingVader(),  # the sample needs no Hub
            overwrite=True,
            about=ABOUT,
            embedding_model=published_name("minilm"),
        )
        print(f"{report.summary()}\nwritten: {benchmark}")
        overwrite = True
    if semantic_ids is not None and (overwrite or not Path(semantic_ids).is_dir()):
        learn_semantic_ids(
            SemanticIdArguments(
                benchmark=benchmark, output_dir=Path(semantic_ids), domain="sample", overwrite=True, **SAMPLE_IDS
            )
        )
