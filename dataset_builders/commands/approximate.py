"""Write the preferences of every user, or the properties of every item, with a language model.

    mender approximate --domain beauty --base_url http://127.0.0.1:8000/v1 \\
        --model meta-llama/Meta-Llama-3-70B-Instruct --journal beauty.jsonl
    mender approximate --domain beauty --merge shard0.jsonl shard1.jsonl --journal beauty.jsonl

Works with any OpenAI-compatible endpoint. Every reply is appended to the journal, and the same command continues an
interrupted run.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_write import check_creatable
from ..typed_arguments import MAX_COUNT, MAX_SEED, check_ranges
from .command_line import CommandParser, HelpFormatter, defaults_of, explain
from .endpoint_arguments import EndpointArguments, add_endpoint_arguments, endpoint_settings
from .source_arguments import SourceArguments, add_source_arguments, source_from, user_stride_of

if TYPE_CHECKING:
    from ..building.preferences.llm.estimate import Prices
    from ..building.preferences.llm.journal_lines import Header
    from ..building.preferences.llm.prompts import Prompt
    from ..building.preferences.llm.run import RunCounts
    from ..building.preferences.llm.work import Work
    from ..building.sources import Source

    Requests = tuple[Iterator[Work], int, list[dict[str, Any]]]
    """Requests of a run, their number, and the catalog."""

RANGES: dict[str, tuple[float, float]] = {
    "max_items": (1, MAX_COUNT),
    "max_review_characters": (1, MAX_COUNT),
    "num_shards": (1, MAX_COUNT),
    "max_users": (1, MAX_COUNT),
    "draw_seed": (0, MAX_SEED),
    "price_in": (0.0, 1e6),
    "price_cached": (0.0, 1e6),
    "price_out": (0.0, 1e6),
}
"""Smallest and largest value of the numbers among the options, but those of the endpoint."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, 128 + SIGINT."""


@dataclass(kw_only=True)
class ApproximationArguments(SourceArguments, EndpointArguments):
    """Arguments of [`approximate`]; `--help` describes each."""

    journal: Path
    merge: Sequence[Path] | None = None
    task: str = "preferences"
    output: Path | None = None
    prompt: str = "default"
    prompt_file: Path | None = None
    max_items: int | None = None
    max_review_characters: int = 1000
    num_shards: int = 1
    shard_index: int = 0
    max_users: int | None = None
    draw_seed: int | None = None
    retry_failures: bool = False
    wait: bool = False
    dry_run: bool = False
    tokenizer: str | None = None
    price_in: float | None = None
    price_cached: float | None = None
    price_out: float | None = None


def parse_arguments(argv: list[str] | None) -> ApproximationArguments:
    """Reads the command line."""
    parser = CommandParser(
        description=str(__doc__).split("\n")[0],
        formatter_class=HelpFormatter,
    )
    add_source_arguments(parser)
    parser.add_argument(
        "--journal",
        type=Path,
        required=True,
        help="JSON lines file, one line per finished request; continued if it exists",
    )
    parser.add_argument(
        "--merge", type=Path, nargs="+", metavar="JOURNAL", help="journals to merge into a new --journal"
    )
    parser.add_argument(
        "--task",
        choices=("preferences", "properties"),
        help="texts to write: preferences of users, or item properties (appendix C.1) from training reviews",
    )
    parser.add_argument(
        "--output", type=Path, help="Parquet file for the item properties (only with --task properties)"
    )
    add_endpoint_arguments(parser)
    group = parser.add_argument_group("the request")
    group.add_argument(
        "--prompt", choices=("default", "coarse", "fine"), help="granularity of the preferences (appendix C)"
    )
    group.add_argument("--prompt_file", type=Path, help="file of a custom prompt; {products} stands for the JSON data")
    group.add_argument(
        "--max_items", type=int, help="maximum items (or reviews of an item) in a prompt; default: --window"
    )
    group.add_argument("--max_review_characters", type=int, help="maximum characters of a review in a prompt")
    group = parser.add_argument_group("scope of the run")
    group.add_argument("--num_shards", type=int, help="number of shards that users (or items) are split into")
    group.add_argument("--shard_index", type=int, help="shard of this run, from 0; each needs its own --journal")
    group.add_argument("--max_users", type=int, help="maximum users (or items) of the shard, for a pilot run")
    group.add_argument(
        "--draw_seed", type=int, help="random seed by which --max_users are drawn; default: the first are taken"
    )
    group.add_argument("--retry_failures", action="store_true", help="repeat the failed requests of the journal")
    group.add_argument("--wait", action="store_true", help="wait for another run that has the journal open")
    group = parser.add_argument_group("estimate of a run")
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="send nothing: count requests, tokens, what a prefix cache can serve, and the price",
    )
    group.add_argument(
        "--tokenizer",
        help="folder or Hub repository of the tokenizer that counts; default: characters, at the rate of the tokens "
        "in the journal or else 4 to a token",
    )
    group.add_argument("--price_in", type=float, help="price of a million tokens of prompts, in any currency")
    group.add_argument("--price_cached", type=float, help="price of those that the cache serves; default: --price_in")
    group.add_argument("--price_out", type=float, help="price of a million tokens of replies")
    parser.set_defaults(**defaults_of(ApproximationArguments))
    return ApproximationArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Runs the requests, or merges journals.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0; 1 on bad input, an unusable endpoint or a run without any usable reply, after one line on stderr;
            130 after Ctrl-C.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from ..building.preferences.llm.endpoint import EndpointError
    from ..building.preferences.llm.run import RunCounts

    counts = RunCounts()
    try:
        if arguments.merge:
            print(merge(arguments, arguments.merge))
        else:
            print(approximate(arguments, counts))
    except (ValueError, OSError, ImportError, EndpointError) as error:
        if counts.total:
            print(counts.summary())
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(counts.summary())
        print("interrupted: what is finished is kept; the same command continues.", file=sys.stderr)
        return INTERRUPTED
    return 0


def merge(arguments: ApproximationArguments, journals: Sequence[Path]) -> str:
    """Merges journals into a new one; returns a summary."""
    from ..building.preferences.llm.journal import merge_contents, merge_journals
    from ..building.preferences.llm.journal_lines import failures_by_reason

    domain = merge_contents(journals).header.domain
    if domain != arguments.domain:
        raise ValueError(f"The journals are of the domain {domain}, not {arguments.domain}; pass --domain {domain}.")
    entries = merge_journals(journals, arguments.journal).entries.values()
    failed = failures_by_reason(entries)
    return (
        f"merged: {len(journals)} journals, {len(entries):,} requests, {sum(failed.values()):,} of them failed "
        f"{failed or ''}\nwritten: {arguments.journal}"
    )


def approximate(arguments: ApproximationArguments, counts: "RunCounts") -> str:
    """Runs all requests that the journal lacks; returns a summary."""
    from ..building.preferences.llm import work as tasks
    from ..building.preferences.llm.journal import Journal
    from ..building.preferences.llm.property_table import write_properties
    from ..building.preferences.llm.run import check_answered, journal_header, run

    if arguments.output is not None and arguments.task != "properties":
        raise ValueError("--output is only for --task properties; preferences stay in the journal.")
    check_ranges(vars(arguments), RANGES)
    prices = prices_of(arguments)
    settings = endpoint_settings(arguments)
    prompt = chosen_prompt(arguments)
    tasks.check_shard(arguments.num_shards, arguments.shard_index)
    if arguments.output is not None:
        check_creatable(arguments.output)
    source, domain = source_from(arguments)
    max_items = arguments.max_items or arguments.window
    header = journal_header(
        arguments.domain, settings, prompt, arguments.seed, max_items, arguments.max_review_characters
    )

    def requests() -> "Requests":
        return requests_of(arguments, header, source, user_stride_of(arguments, domain))

    if arguments.dry_run:
        return estimated(arguments, header, requests, prices)
    with Journal(arguments.journal, header, wait=arguments.wait) as journal:
        work, total, items = requests()
        run(
            settings,
            work,
            journal,
            total,
            concurrency=arguments.concurrency,
            max_attempts=arguments.max_attempts,
            retry_failures=arguments.retry_failures,
            max_failed_share=arguments.max_failed_share,
            progress=not arguments.no_progress,
            counts=counts,
        )
        check_answered(counts, arguments.journal, journal, arguments.max_failed_share)
        lines = [counts.summary(), f"journal: {arguments.journal}"]
        if arguments.output is not None:
            rows = write_properties(journal, items, arguments.output)
            lines.append(f"written: {arguments.output}, {rows:,} items")
    return "\n".join(lines)


def requests_of(arguments: ApproximationArguments, header: "Header", source: "Source", user_stride: int) -> "Requests":
    """The requests of this run's shard, their number, and the catalog."""
    from ..building.build import load_sequences
    from ..building.preferences.llm import work as tasks

    sequences, table = load_sequences(source, arguments.min_count, arguments.window, user_stride)
    items = table.to_pylist()
    limits = (header.prompt, header.max_items, header.max_review_characters)
    if arguments.task == "preferences":
        users = list(zip(sequences.user_ids, sequences.past_items(items), strict=True))
        mine = of_shard(users, [user_id for user_id, _ in users], arguments)
        return tasks.preference_work(mine, *limits), sum(len(events) for _, events in mine), items
    reviews = tasks.training_reviews(sequences, items)
    reviewed = [item for item in items if item["source_id"] in reviews]
    chosen = of_shard(reviewed, [item["source_id"] for item in reviewed], arguments)
    return tasks.property_work(chosen, reviews, *limits), len(chosen), items


def prices_of(arguments: ApproximationArguments) -> "Prices | None":
    """The prices of the options; `None` without any.

    Raises:
        ValueError: If they are given in part, or they or the tokenizer without `--dry_run`.
    """
    from ..building.preferences.llm.estimate import Prices

    given = {name: getattr(arguments, name) for name in ("price_in", "price_cached", "price_out", "tokenizer")}
    named = [name for name, value in given.items() if value is not None]
    if named and not arguments.dry_run:
        raise ValueError(f"--{named[0]} ({given[named[0]]}) is only for an estimate; add --dry_run, or leave it out.")
    if not set(named) & {"price_in", "price_cached", "price_out"}:
        return None
    if arguments.price_in is None or arguments.price_out is None:
        missing = "price_in" if arguments.price_in is None else "price_out"
        raise ValueError(f"--{named[0]} ({given[named[0]]}) alone gives no price; add --{missing}.")
    cached = arguments.price_in if arguments.price_cached is None else arguments.price_cached
    if cached > arguments.price_in:
        raise ValueError(
            f"--price_cached ({cached:g}) is above --price_in ({arguments.price_in:g}), which it saves; swap them."
        )
    return Prices(arguments.price_in, cached, arguments.price_out)


def estimated(
    arguments: ApproximationArguments, header: "Header", requests: "Callable[[], Requests]", prices: "Prices | None"
) -> str:
    """Counts what the run would send, and sends and writes nothing; returns a summary."""
    from ..building.preferences.llm.estimate import estimate, tokenizer_of
    from ..building.preferences.llm.journal import read_journal
    from ..building.preferences.llm.journal_lines import JournalContent

    encode = None if arguments.tokenizer is None else tokenizer_of(arguments.tokenizer)
    content = JournalContent(header)
    if arguments.journal.exists():
        content = read_journal(arguments.journal)
        content.header.check_same(header, arguments.journal, Path("this run"))
    work, _, _ = requests()
    found = estimate(work, content.entries, arguments.journal, header.max_items, arguments.retry_failures, encode)
    return found.summary(header.max_tokens, prices)


def chosen_prompt(arguments: ApproximationArguments) -> "Prompt":
    """The custom prompt of `--prompt_file`, or the one of the task and `--prompt`."""
    from ..building.preferences.llm.prompts import PROMPTS, custom_prompt

    if arguments.prompt_file is not None:
        return custom_prompt(arguments.prompt_file, arguments.task)
    return PROMPTS["properties" if arguments.task == "properties" else arguments.prompt]


def of_shard(things: list, names: list[str], arguments: ApproximationArguments) -> list:
    """The things of this run's shard, at most `max_users` of them; a larger draw begins with a smaller one."""
    from ..building.preferences.llm.work import draw_order, shard_of

    seed = arguments.draw_seed
    mine = [n for n, name in enumerate(names) if shard_of(name, arguments.num_shards) == arguments.shard_index]
    if seed is not None:
        mine.sort(key=lambda n: draw_order(names[n], seed))
    return [things[n] for n in mine[: arguments.max_users]]


if __name__ == "__main__":
    sys.exit(main())
