"""Build the preference-discerning benchmark of one domain from raw reviews.

    mender build --source sample --domain sample --output_dir outputs/benchmark
    mender build --domain beauty --journal beauty.jsonl --output_dir benchmarks/beauty
    mender build --source amazon_reviews --reviews Gift_Cards_5.json.gz \\
        --metadata meta_Gift_Cards.json.gz --domain gift_cards --output_dir benchmarks/gift_cards
    mender build --from_hub xiaoleichu/amazon-beauty-steerable-gr --output_dir benchmarks/beauty_from_hub
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic_write import check_creatable, check_writable
from ..building.domains import DEFAULT_EMBEDDING_MODEL, DOMAINS, PAPER_EMBEDDING_MODEL, default_embedding_model
from ..building.preferences.wordings import DEFAULT_WORDINGS, WORDINGS, metadata_approximator
from ..building.text_embedding import EMBEDDING_DTYPES
from ..replacing import benchmark_files, check_replaceable, other_values
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command
from .source_arguments import SourceArguments, add_source_arguments, source_from, user_stride_of

STAGES = ("interactions", "polarity", "preferences", "embeddings", "steering", "axes")


@dataclass(kw_only=True)
class BuildArguments(SourceArguments):
    """Arguments of [`build`]; `--help` describes each."""

    domain: str = ""
    from_hub: str | None = None
    from_hub_format: str | None = None
    revision: str | None = None
    output_dir: Path | None = None
    journal: Sequence[Path] | None = None
    preferences: str | None = None
    polarity: str = "siebert/sentiment-roberta-large-english"
    embedding_model: str | None = None
    embedding_dtype: str = "auto"
    item_text_fields: Sequence[str] | None = None
    steering: str = "balanced"
    steering_bound: int = 2
    steering_pool: str | None = None
    steering_engine: str = "torch"
    device: str | None = None
    seed: int = 0
    engine: str = "duckdb"
    memory_limit: str | None = None
    cache_dir: Path | None = None
    until: str = "axes"
    overwrite: bool = False


def parse_arguments(argv: list[str] | None) -> BuildArguments:
    """Reads the command line."""
    parser = CommandParser(
        description=str(__doc__).split("\n")[0],
        formatter_class=HelpFormatter,
    )
    add_source_arguments(parser, domain_required=False)
    add_hub_arguments(parser)
    parser.add_argument("--output_dir", type=Path, help="new dataset directory; required unless --until stops earlier")
    add_build_options(parser)
    parser.add_argument(
        "--cache_dir", type=Path, help="folder that keeps the result of every stage for the next build"
    )
    parser.add_argument("--until", choices=STAGES, help="last stage to compute; earlier than axes needs --cache_dir")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    parser.set_defaults(**defaults_of(BuildArguments))
    arguments = BuildArguments(**vars(parser.parse_args(argv)))
    if not arguments.domain and arguments.from_hub is None:
        parser.error("the following arguments are required: --domain")
    return arguments


def add_build_options(parser: argparse._ActionsContainer) -> None:
    """Adds the options of [`build`] that decide its rows, but those of the source, to a parser."""
    parser.add_argument(
        "--journal",
        type=Path,
        nargs="+",
        help="journals of mender approximate; if omitted, preferences are derived from item metadata",
    )
    parser.add_argument(
        "--preferences",
        choices=WORDINGS,
        help="wording of preferences from item metadata: words of titles (metadata/1), or paraphrases, categories and "
        f"prices without these (metadata/2); default: {DEFAULT_WORDINGS['sample']} for the sample, else metadata/1",
    )
    parser.add_argument(
        "--polarity",
        help="sentiment classifier of reviews: a model on the Hub, a folder, or 'rating_vader' (no Hub, no GPU)",
    )
    parser.add_argument(
        "--embedding_model",
        help="'minilm', a sentence-transformers folder or a model on the Hub; default: "
        f"{PAPER_EMBEDDING_MODEL}, the paper's, for a domain named as one of the paper's ({', '.join(DOMAINS)}), and "
        f"{DEFAULT_EMBEDDING_MODEL} for any other",
    )
    parser.add_argument(
        "--embedding_dtype",
        choices=EMBEDDING_DTYPES,
        help="data type in which the embedding model computes; auto: bfloat16 on a CPU that multiplies it (AMX, "
        "AVX-512 BF16), else float32. Steering rows in particular depend on it; the report and the card name it",
    )
    parser.add_argument(
        "--item_text_fields", nargs="+", help="item columns that are embedded; default: those of the domain"
    )
    parser.add_argument(
        "--steering",
        choices=("balanced", "paper", "as_released"),
        help="rows of the steering axes: one per target (paper), the same without frequent targets (balanced), or two "
        "as in the authors' code but without its leak",
    )
    parser.add_argument(
        "--steering_bound",
        type=int,
        help="times that an item may be a target of an axis in a split, if balanced; with 1, most catalogs are too "
        "small to keep the targets of train out of test",
    )
    parser.add_argument(
        "--steering_pool",
        choices=("all", "positive"),
        help="preferences for steering: all as in the paper, or only positive ones, the default if balanced",
    )
    parser.add_argument(
        "--steering_engine",
        choices=("torch", "faiss", "numpy"),
        help="library of the exact nearest-neighbor search, with the same rows; torch can use a GPU",
    )
    parser.add_argument(
        "--device", help="torch device of the models and of --steering_engine torch; default: a GPU if available"
    )
    parser.add_argument("--seed", type=int, help="random seed of tie-breaking in steering")
    parser.add_argument("--engine", choices=("duckdb", "pyspark"), help="engine of the k-core and time order")
    parser.add_argument("--memory_limit", help="memory limit of DuckDB, as in 4GB; the rest spills to disk")


def add_hub_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of [`build_public_set`] to a parser."""
    group = parser.add_argument_group(
        "a public set of the Hub",
        "Rows that others published become configs of ours, without a build from reviews; --domain is that of the set "
        "by default, and no option but --output_dir and --overwrite goes with it.",
    )
    group.add_argument("--from_hub", metavar="REPO", help="xiaoleichu/amazon-beauty-steerable-gr, a copy, or a folder")
    group.add_argument("--from_hub_format", help="format of a copy or folder, as in steerable_gr")
    group.add_argument("--revision", help="branch, tag or commit of --from_hub")


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


def build_public_set(arguments: BuildArguments) -> None:
    """Builds the benchmark of a public set, and prints the report.

    Raises:
        ValueError: If options of a build from reviews are given, or the set is not as its record says.
    """
    from ..building.from_hub.build import build_from_hub

    allowed = {"from_hub", "from_hub_format", "revision", "domain", "output_dir", "overwrite"}
    defaults = defaults_of(BuildArguments)
    foreign = [name for name, value in vars(arguments).items() if name not in allowed and value != defaults[name]]
    if foreign:
        options = " and ".join(f"--{name}" for name in foreign)
        raise ValueError(
            f"--from_hub cannot be combined with {options}: its rows are taken as they are; leave it out."
        )
    if arguments.from_hub is None or arguments.output_dir is None:
        raise ValueError("--from_hub needs --output_dir, the new dataset directory.")
    report = build_from_hub(
        arguments.from_hub,
        arguments.output_dir,
        domain=arguments.domain or None,
        format_name=arguments.from_hub_format,
        revision=arguments.revision,
        overwrite=arguments.overwrite,
    )
    print(report.summary())
    print(f"written: {arguments.output_dir}")


def build(arguments: BuildArguments) -> None:
    """Builds what the arguments describe, and prints the report."""
    if arguments.from_hub is not None:
        build_public_set(arguments)
        return
    if arguments.from_hub_format is not None or arguments.revision is not None:
        raise ValueError("--from_hub_format and --revision belong to --from_hub; name the set, or leave them out.")
    # imported after parsing, for --help must not load torch
    from ..benchmark.schema import ITEM_TEXT_FIELDS
    from ..building.build import build_benchmark, no_embedding
    from ..building.engines import megabytes
    from ..building.options import BuildOptions
    from ..building.preferences.llm.journal_approximator import JournalApproximator
    from ..building.review_sentiment import get_polarity_classifier
    from ..building.stage_cache import StageCache
    from ..building.stages import BenchmarkBuild, Embed
    from ..building.text_embedding import load_embedder, published_name

    whole, output_dir, cache_dir = arguments.until == STAGES[-1], arguments.output_dir, arguments.cache_dir
    if whole and output_dir is None:
        raise ValueError(
            "A whole build needs --output_dir; to compute only some stages, give --until and --cache_dir."
        )
    if not whole and cache_dir is None:
        raise ValueError(f"--until {arguments.until} needs --cache_dir, where its result is kept.")
    if whole and output_dir is not None and output_dir.exists() and not arguments.overwrite:
        raise FileExistsError(f"{output_dir} already exists; pass --overwrite to replace it.")
    if arguments.journal and arguments.preferences:
        raise ValueError(
            f"--preferences {arguments.preferences} words preferences from item metadata, but --journal has written "
            "ones; leave one out."
        )
    if whole and output_dir is not None:
        check_replaceable(output_dir, arguments.overwrite, benchmark_files(), other_values(arguments))
        check_creatable(output_dir)
    if cache_dir is not None:
        check_writable(cache_dir)
    if arguments.memory_limit is not None:
        megabytes(arguments.memory_limit)
    source, domain = source_from(arguments, also=("journal",))
    embedding_model = arguments.embedding_model or default_embedding_model(arguments.domain)
    fields = arguments.item_text_fields or (domain.item_text_fields if domain else ITEM_TEXT_FIELDS)
    options = BuildOptions(
        min_count=arguments.min_count,
        window=arguments.window,
        user_stride=user_stride_of(arguments, domain),
        item_text_fields=tuple(fields),
        steering=arguments.steering,
        steering_bound=arguments.steering_bound,
        steering_pool=arguments.steering_pool,
        steering_engine=arguments.steering_engine,
        device=arguments.device if arguments.steering_engine == "torch" else None,
        seed=arguments.seed,
        engine=arguments.engine,
        memory_limit=arguments.memory_limit,
    )
    inputs: dict[str, Any] = {
        "approximator": (
            JournalApproximator(arguments.journal)
            if arguments.journal
            else metadata_approximator(source.name, arguments.window, arguments.preferences)
        ),
        "polarity": get_polarity_classifier(arguments.polarity, arguments.device),
        "options": options,
        "embedding_model": published_name(embedding_model),
    }
    embed: Embed = no_embedding
    if STAGES.index(arguments.until) >= STAGES.index("embeddings"):
        embed = load_embedder(embedding_model, arguments.device, progress=False, dtype=arguments.embedding_dtype)
    if output_dir is None or not whole:
        assert cache_dir is not None  # checked above
        build = BenchmarkBuild(source, arguments.domain, embed, StageCache(cache_dir), **inputs)
        print(build.run(arguments.until).summary())
        return
    report = build_benchmark(
        source,
        arguments.domain,
        output_dir,
        embed,
        cache_dir=cache_dir,
        overwrite=arguments.overwrite,
        about=about(domain, arguments.source),
        **inputs,
    )
    print(report.summary())
    print(f"written: {output_dir}")


def about(domain: object, source: str | None) -> dict[str, str]:
    """Title, terms and citation of the data, for the dataset card."""
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
