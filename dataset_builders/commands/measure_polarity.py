"""Measure how well classifiers of review texts agree with the star ratings.

    mender measure-polarity --source amazon_reviews --reviews Gift_Cards_5.json.gz \\
        --metadata meta_Gift_Cards.json.gz --domain gift_cards
    mender measure-polarity --domain beauty --model siebert/sentiment-roberta-large-english

Reads every review of the source, before any k-core; at most two stars count as dislike, four or more as like.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_write import write_text
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command
from .source_arguments import SourceArguments, add_source_arguments, source_from

Row = tuple[str, dict[str, Any], float | None]
"""(name, scores of [`~dataset_builders.building.review_sentiment.agreement`], share of three-star texts called
disliked)."""


@dataclass(kw_only=True)
class PolarityArguments(SourceArguments):
    """Arguments of [`measure_polarity`]; `--help` describes each."""

    model: Sequence[str] = ()
    device: str | None = None
    output: Path | None = None


def parse_arguments(argv: list[str] | None) -> PolarityArguments:
    """Reads the command line."""
    parser = CommandParser(
        description=str(__doc__).split("\n")[0],
        formatter_class=HelpFormatter,
    )
    add_source_arguments(parser)
    parser.add_argument(
        "--model", nargs="+", help="text classifiers (models on the Hub or folders) to measure beside VADER"
    )
    parser.add_argument("--device", help="torch device of the text classifiers; default: a GPU if available")
    parser.add_argument("--output", type=Path, help="file for the table, which is also printed")
    parser.set_defaults(**defaults_of(PolarityArguments))
    return PolarityArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Measures sentiment classifiers.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0, or 1 on bad input, after one line on stderr.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return run_command(lambda: measure_polarity(arguments))


def measure_polarity(arguments: PolarityArguments) -> None:
    """Prints the table, and writes it to `--output`."""
    table = measure(arguments)
    if arguments.output is not None:
        write_text(arguments.output, table + "\n")
    print(table)


def measure(arguments: PolarityArguments) -> str:
    """Measures VADER and the models on all reviews of the source; returns the table."""
    # imported after parsing, for --help must not load Ibis
    from ..building.interactions import connect

    source, _ = source_from(arguments)
    connection = connect()
    try:
        reviews = source.load(connection).interactions.order_by("row").select("rating", "review").to_pyarrow()
    finally:
        connection.disconnect()
    ratings, texts = reviews["rating"].to_pylist(), reviews["review"].to_pylist()
    by_stars = texts_by_stars(ratings, texts)
    if not (by_stars["disliked"] and by_stars["liked"]):
        raise ValueError(
            f"{arguments.domain} has {len(by_stars['disliked'])} texts with at most two stars and "
            f"{len(by_stars['liked'])} with at least four; at least one of each is needed."
        )
    rows = [*vader_rows(by_stars), *model_rows(by_stars, arguments.model, arguments.device)]
    return "\n".join([f"{arguments.domain}: {count_stars(ratings, texts)}", "", *format_rows(rows, by_stars)])


def texts_by_stars(ratings: Sequence[float | None], reviews: Sequence[str | None]) -> dict[str, list[str]]:
    """The distinct texts with at most two, three, and at least four stars."""
    from ..building.review_sentiment import decisive_texts, polarity_of_stars

    stars = np.array([np.nan if rating is None else rating for rating in ratings], float)
    polarity, texts = polarity_of_stars(stars), [(review or "").strip() for review in reviews]
    between = np.where(np.isnan(stars), 9, polarity)  # a missing rating does not count as three stars
    return {
        name: decisive_texts(between, texts, label) for name, label in (("disliked", -1), ("between", 0), ("liked", 1))
    }


def vader_rows(by_stars: dict[str, list[str]]) -> Iterator[Row]:
    """Rows of VADER: on whole texts, by sentences with the default thresholds, and calibrated."""
    from ..building.review_sentiment import rating_vader as polarity

    analyzer = polarity.vader_analyzer()
    whole = {
        name: np.array([analyzer.polarity_scores(text)["compound"] for text in texts])
        for name, texts in by_stars.items()
    }
    scores = {name: polarity.vader_scores(texts) for name, texts in by_stars.items()}
    for name, values, threshold in (
        ("VADER, whole text, threshold -0.05", whole, -0.05),
        (f"mean over sentences, {polarity.UNRATED_THRESHOLD} (no stars)", scores, polarity.UNRATED_THRESHOLD),
        (f"mean over sentences, default {polarity.DEFAULT_THRESHOLD}", scores, polarity.DEFAULT_THRESHOLD),
    ):
        figures = polarity.agreement(values["disliked"], values["liked"], threshold)
        yield name, figures, share_below(values["between"], threshold)
    if min(np.count_nonzero(~np.isnan(scores[name])) for name in ("disliked", "liked")) > 1:
        fitted = polarity.fit_threshold(scores["disliked"], scores["liked"])
        figures = polarity.held_out_agreement(scores["disliked"], scores["liked"])
        yield f"mean over sentences, calibrated {fitted:.3f}", figures, share_below(scores["between"], fitted)


def model_rows(by_stars: dict[str, list[str]], models: Sequence[str], device: str | None) -> Iterator[Row]:
    """Rows of the text classifiers."""
    from ..building.review_sentiment import PipelineClassifier

    stars = {"disliked": 1.0, "between": 3.0, "liked": 5.0}
    texts = [text for name in stars for text in by_stars[name]]
    ratings = [stars[name] for name in stars for _ in by_stars[name]]
    for model in models:
        classifier = PipelineClassifier(model, device)
        answers = classifier.classify(ratings, texts)
        yield classifier.name, classifier.measured, share_below(answers[np.array(ratings) == 3.0].astype(float), 0.0)


def share_below(scores: np.ndarray, threshold: float) -> float | None:
    """Share of texts below a threshold; `None` where there are none."""
    return float((scores < threshold).mean()) if len(scores) else None


def count_stars(ratings: Sequence[float | None], reviews: Sequence[str | None]) -> str:
    """Number of reviews, by stars, and of those with a text."""
    counts = Counter(
        "no rating" if rating is None else f"{rating:g} star{'' if rating == 1 else 's'}" for rating in ratings
    )
    written = sum(bool((review or "").strip()) for review in reviews)
    stars = ", ".join(f"{counts[name]:,} with {name}" for name in sorted(counts))
    return f"{len(ratings):,} reviews ({stars}); {written:,} have a text"


def format_rows(rows: Sequence[Row], by_stars: dict[str, list[str]]) -> Iterator[str]:
    """Lines of the Markdown table."""
    between = len(by_stars["between"])
    yield (
        f"| distinct texts: {len(by_stars['disliked']):,} disliked, {len(by_stars['liked']):,} liked | AUC "
        f"| dislikes found | likes spared | balanced accuracy | dislikes among {between:,} three-star texts |"
    )
    yield "|---|---:|---:|---:|---:|---:|"
    for name, figures, share in rows:
        found, spared = figures["sensitivity"], figures["specificity"]
        three = "-" if share is None else f"{share:.1%}"
        yield f"| {name} | {figures['auc']:.3f} | {found:.1%} | {spared:.1%} | {(found + spared) / 2:.1%} | {three} |"


if __name__ == "__main__":
    sys.exit(main())
