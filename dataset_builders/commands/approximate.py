"""Write the preferences of every user, or the properties of every item, with a language model.

    mender approximate --domain beauty --base_url http://127.0.0.1:8000/v1 \\
        --model meta-llama/Meta-Llama-3-70B-Instruct --journal beauty.jsonl
    mender approximate --domain beauty --merge shard0.jsonl shard1.jsonl --journal beauty.jsonl

Works with any OpenAI-compatible endpoint. Every reply is appended to the journal, and the same command continues an
interrupted run.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic_write import check_creatable
from ..typed_arguments import MAX_COUNT, check_ranges
from .command_line import CommandParser, HelpFormatter, defaults_of, explain
from .endpoint_arguments import EndpointArguments, add_endpoint_arguments, endpoint_settings
from .source_arguments import SourceArguments, add_source_arguments, source_from, user_stride_of

if TYPE_CHECKING:
    from ..building.preferences.llm.prompts import Prompt
    from ..building.preferences.llm.run import RunCounts

RANGES: dict[str, tuple[float, float]] = {
    "max_items": (1, MAX_COUNT),
    "max_review_characters": (1, MAX_COUNT),
    "num_shards": (1, MAX_COUNT),
    "max_users": (1, MAX_COUNT),
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
    retry_failures: bool = False
    wait: bool = False


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
    group.add_argument("--retry_failures", action="store_true", help="repeat the failed requests of the journal")
    group.add_argument("--wait", action="store_true", help="wait for another run that has the journal open")
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
    from ..building.build import load_sequences
    from ..building.preferences.llm import work as tasks
    from ..building.preferences.llm.journal import Journal
    from ..building.preferences.llm.property_table import write_properties
    from ..building.preferences.llm.run import check_answered, journal_header, run

    if arguments.output is not None and arguments.task != "properties":
        raise ValueError("--output is only for --task properties; preferences stay in the journal.")
    check_ranges(vars(arguments), RANGES)
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
    with Journal(arguments.journal, header, wait=arguments.wait) as journal:
        sequences, table = load_sequences(
            source, arguments.min_count, arguments.window, user_stride_of(arguments, domain)
        )
        items = table.to_pylist()
        limits = (prompt, max_items, arguments.max_review_characters)
        if arguments.task == "preferences":
            users = list(zip(sequences.user_ids, sequences.past_items(items), strict=True))
            mine = of_shard(users, [user_id for user_id, _ in users], arguments)
            work, total = tasks.preference_work(mine, *limits), sum(len(events) for _, events in mine)
        else:
            reviews = tasks.training_reviews(sequences, items)
            reviewed = [item for item in items if item["source_id"] in reviews]
            chosen = of_shard(reviewed, [item["source_id"] for item in reviewed], arguments)
            work, total = tasks.property_work(chosen, reviews, *limits), len(chosen)
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


def chosen_prompt(arguments: ApproximationArguments) -> "Prompt":
    """The custom prompt of `--prompt_file`, or the one of the task and `--prompt`."""
    from ..building.preferences.llm.prompts import PROMPTS, custom_prompt

    if arguments.prompt_file is not None:
        return custom_prompt(arguments.prompt_file, arguments.task)
    return PROMPTS["properties" if arguments.task == "properties" else arguments.prompt]


def of_shard(things: list, names: list[str], arguments: ApproximationArguments) -> list:
    """The things of this run's shard, at most `max_users` of them."""
    from ..building.preferences.llm.work import shard_of

    pairs = zip(things, names, strict=True)
    mine = [thing for thing, name in pairs if shard_of(name, arguments.num_shards) == arguments.shard_index]
    return mine[: arguments.max_users]


if __name__ == "__main__":
    sys.exit(main())
