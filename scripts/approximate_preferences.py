"""Has a language model write five preferences for every user and position, into a journal that nothing can empty.

    python scripts/approximate_preferences.py --domain beauty --base_url http://127.0.0.1:8000/v1 \\
        --model meta-llama/Meta-Llama-3-70B-Instruct --journal beauty.jsonl
    python scripts/approximate_preferences.py --domain beauty --merge shard0.jsonl shard1.jsonl --journal beauty.jsonl

The same command continues an interrupted run. Any OpenAI-compatible endpoint serves. Parses, calls
`dataset_builders.preferences.llm`, prints what was done.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from source_arguments import add_source_arguments, source_from

if TYPE_CHECKING:
    from dataset_builders.preferences.endpoint import EndpointSettings
    from dataset_builders.preferences.llm import RunCounts
    from dataset_builders.preferences.prompts import Prompt

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it."""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Ask a language model for the preferences of every user, or for the properties of every item.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_source_arguments(parser)
    parser.add_argument("--journal", type=Path, required=True, help="JSON lines, one per finished request; continued")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="JOURNAL", help="only put these into a new --journal")
    parser.add_argument(
        "--task",
        choices=("preferences", "properties"),
        default="preferences",
        help="what to ask for; properties are those of items (appendix C.1), from reviews at training positions alone",
    )
    parser.add_argument("--output", type=Path, help="properties: Parquet table of item_id, source_id and properties")
    group = parser.add_argument_group("the endpoint")
    group.add_argument("--base_url", help="of an OpenAI-compatible server, as in http://127.0.0.1:8000/v1")
    group.add_argument("--model", help="its name on the server; the journal and the card name it")
    group.add_argument(
        "--api_key_env",
        help="environment variable that holds the key; by default OPENAI_API_KEY, or HF_TOKEN for the Hub's hosts",
    )
    group.add_argument("--concurrency", type=int, default=16, help="requests in flight")
    group.add_argument("--timeout", type=float, default=120.0, help="seconds that one attempt may take")
    group.add_argument("--max_retries", type=int, default=5, help="further attempts of a request without a reply")
    group.add_argument(
        "--max_failures", type=int, default=10, help="requests in a row without a reply that end the run"
    )
    group.add_argument("--no_schema", action="store_true", help="do not ask the server to constrain replies to JSON")
    group = parser.add_argument_group("the request")
    group.add_argument(
        "--prompt", choices=("default", "coarse", "fine"), default="default", help="granularity (appendix C)"
    )
    group.add_argument("--prompt_file", type=Path, help="your own text; {products} in it marks where the JSON goes")
    group.add_argument("--max_items", type=int, help="items (or reviews of an item) shown; --window where not given")
    group.add_argument("--max_review_characters", type=int, default=1000, help="of one review that are shown")
    group.add_argument("--temperature", type=float, default=0.6, help="of the sampling")
    group.add_argument("--top_p", type=float, default=0.9, help="of the sampling")
    group.add_argument("--max_tokens", type=int, default=512, help="new tokens of a reply")
    group.add_argument("--seed", type=int, default=0, help="of the first attempt; further ones count up")
    group.add_argument("--max_attempts", type=int, default=3, help="replies per request until one can be read")
    group = parser.add_argument_group("the work")
    group.add_argument("--num_shards", type=int, default=1, help="parts that the users are split into")
    group.add_argument(
        "--shard_index", type=int, default=0, help="the part of this run, from 0; each its own --journal"
    )
    group.add_argument("--max_users", type=int, help="only so many users (or items) of the shard: a pilot")
    group.add_argument("--retry_failures", action="store_true", help="ask again for what the journal holds as failed")
    group.add_argument("--wait", action="store_true", help="wait while another run writes the journal")
    group.add_argument("--no_progress", action="store_true", help="no bar")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Asks a model, or merges journals.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: 0; 1 on bad input or an endpoint that cannot be used, after one line on stderr; 130 after Ctrl-C.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from dataset_builders.preferences.endpoint import EndpointError
    from dataset_builders.preferences.llm import RunCounts

    counts = RunCounts()
    try:
        if arguments.merge:
            print(merge(arguments))
        else:
            print(approximate(arguments, counts))
    except (ValueError, OSError, ImportError, EndpointError) as error:
        if counts.total:
            print(counts.summary())
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(counts.summary())
        print("interrupted: what is finished is kept; the same command continues.", file=sys.stderr)
        return INTERRUPTED
    return 0


def merge(arguments: argparse.Namespace) -> str:
    """Merges journals into a new one; returns what it holds."""
    from dataset_builders.preferences.journal import failures_by_reason, merge_contents, merge_journals

    domain = merge_contents(arguments.merge).header.domain
    if domain != arguments.domain:
        raise ValueError(f"The journals are of the domain {domain}, not {arguments.domain}; name the one they are of.")
    entries = merge_journals(arguments.merge, arguments.journal).entries.values()
    failed = failures_by_reason(entries)
    return (
        f"merged: {len(arguments.merge)} journals, {len(entries):,} requests, {sum(failed.values()):,} of them failed "
        f"{failed or ''}\nwritten: {arguments.journal}"
    )


def approximate(arguments: argparse.Namespace, counts: "RunCounts") -> str:
    """Everything between the arguments and the summary of a run."""
    from dataset_builders.builder import load_sequences
    from dataset_builders.preferences import llm
    from dataset_builders.preferences.journal import Journal

    if arguments.output is not None and arguments.task != "properties":
        raise ValueError("--output is the table of --task properties; preferences are read from the journal.")
    settings = endpoint_settings(arguments)
    prompt = chosen_prompt(arguments)
    llm.check_shard(arguments.num_shards, arguments.shard_index)
    source, _ = source_from(arguments)
    max_items = arguments.max_items or arguments.window
    header = llm.journal_header(
        arguments.domain, settings, prompt, arguments.seed, max_items, arguments.max_review_characters
    )
    with Journal(arguments.journal, header, wait=arguments.wait) as journal:
        sequences, table = load_sequences(source, arguments.min_count, arguments.window, arguments.user_stride)
        items = table.to_pylist()
        limits = (prompt, max_items, arguments.max_review_characters)
        if arguments.task == "preferences":
            users = list(zip(sequences.user_ids, sequences.past_items(items), strict=True))
            mine = of_shard(users, [user_id for user_id, _ in users], arguments)
            work, total = llm.preference_work(mine, *limits), sum(len(events) for _, events in mine)
        else:
            reviews = llm.training_reviews(sequences, items)
            reviewed = [item for item in items if item["source_id"] in reviews]
            chosen = of_shard(reviewed, [item["source_id"] for item in reviewed], arguments)
            work, total = llm.property_work(chosen, reviews, *limits), len(chosen)
        llm.run(
            settings,
            work,
            journal,
            total,
            concurrency=arguments.concurrency,
            max_attempts=arguments.max_attempts,
            retry_failures=arguments.retry_failures,
            progress=not arguments.no_progress,
            counts=counts,
        )
        lines = [counts.summary(), f"journal: {arguments.journal}"]
        if arguments.output is not None:
            rows = llm.write_properties(journal, items, arguments.output)
            lines.append(f"written: {arguments.output}, {rows:,} items")
    return "\n".join(lines)


def endpoint_settings(arguments: argparse.Namespace) -> "EndpointSettings":
    """The endpoint that the options name, with its key from the environment."""
    from dataset_builders.preferences.endpoint import EndpointSettings, key_variable

    if not arguments.base_url or not arguments.model:
        raise ValueError("Name the endpoint by --base_url and --model (or give --merge).")
    variable = key_variable(arguments.base_url, os.environ, arguments.api_key_env)
    return EndpointSettings(
        arguments.base_url,
        arguments.model,
        os.environ[variable] if variable else None,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        max_tokens=arguments.max_tokens,
        timeout=arguments.timeout,
        max_retries=arguments.max_retries,
        max_failures=arguments.max_failures,
        schema_mode="none" if arguments.no_schema else "json_schema",
    )


def chosen_prompt(arguments: argparse.Namespace) -> "Prompt":
    """The prompt of the task, or the user's own text."""
    from dataset_builders.preferences.prompts import PROMPTS, custom_prompt

    if arguments.prompt_file is not None:
        return custom_prompt(arguments.prompt_file, arguments.task)
    return PROMPTS["properties" if arguments.task == "properties" else arguments.prompt]


def of_shard(things: list, names: list[str], arguments: argparse.Namespace) -> list:
    """Those of this run's shard, and of them no more than the pilot asks for."""
    from dataset_builders.preferences.llm import shard_of

    pairs = zip(things, names, strict=True)
    mine = [thing for thing, name in pairs if shard_of(name, arguments.num_shards) == arguments.shard_index]
    return mine[: arguments.max_users]


if __name__ == "__main__":
    sys.exit(main())
