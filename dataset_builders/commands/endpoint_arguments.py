"""Options of a language model behind an OpenAI-compatible endpoint, shared by several commands."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..typed_arguments import MAX_COUNT, MAX_SEED, check_ranges

if TYPE_CHECKING:
    from ..building.preferences.llm.endpoint_settings import EndpointSettings

ENDPOINT_RANGES: dict[str, tuple[float, float]] = {
    "concurrency": (1, 10_000),
    "timeout": (0.001, 1e6),
    "max_retries": (0, 1000),
    "max_failures": (1, MAX_COUNT),
    "max_failed_share": (1e-9, 1.0),
    "max_reply_bytes": (1, MAX_COUNT),
    "max_tokens": (1, MAX_COUNT),
    "seed": (0, MAX_SEED),
    "max_attempts": (1, MAX_COUNT),
}
"""Smallest and largest value of the numbers among the options; `EndpointSettings` checks those of the sampling."""


@dataclass(kw_only=True)
class EndpointArguments:
    """Arguments of the endpoint and of a run of requests; see [`endpoint_settings`]."""

    base_url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    concurrency: int = 16
    timeout: float = 120.0
    max_retries: int = 5
    max_failures: int = 10
    max_failed_share: float = 0.5
    max_reply_bytes: int = 4 * 2**20
    omit: Sequence[str] = ()
    max_tokens_name: str = "max_tokens"
    no_schema: bool = False
    temperature: float = 0.6
    top_p: float = 0.9
    max_tokens: int = 512
    seed: int = 0
    max_attempts: int = 3
    no_progress: bool = False


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of [`EndpointArguments`]: address, limits and parameters of the endpoint."""
    group = parser.add_argument_group("the endpoint")
    group.add_argument(
        "--base_url",
        help="base URL of an OpenAI-compatible server, as in http://127.0.0.1:8000/v1 (without /chat/completions)",
    )
    group.add_argument("--model", help="name of the model on the server")
    group.add_argument(
        "--api_key_env",
        help="environment variable of the API key; default: OPENAI_API_KEY, or HF_TOKEN for the Hub's hosts",
    )
    group.add_argument("--concurrency", type=int, help="maximum simultaneous requests, each of another user")
    group.add_argument("--timeout", type=float, help="time limit of one attempt in seconds")
    group.add_argument("--max_retries", type=int, help="maximum retries of a request without a reply")
    group.add_argument(
        "--max_failures", type=int, help="consecutive requests without a reply after which the run ends"
    )
    group.add_argument(
        "--max_failed_share",
        type=float,
        help="share of requests failing for one reason above which the run ends, after at least 30 requests; 1: "
        "never, and every failure counts as the model's",
    )
    group.add_argument("--max_reply_bytes", type=int, help="maximum size of an HTTP response in bytes")
    group.add_argument(
        "--omit",
        nargs="+",
        choices=("temperature", "top_p", "max_tokens", "seed"),
        metavar="PARAMETER",
        help="parameters that are not sent: temperature, top_p, max_tokens, seed; a journal names them",
    )
    group.add_argument(
        "--max_tokens_name",
        choices=("max_tokens", "max_completion_tokens"),
        help="name of the token limit in requests; switched automatically if the server requires the other",
    )
    group.add_argument("--no_schema", action="store_true", help="send no JSON schema that constrains the replies")
    group.add_argument("--temperature", type=float, help="sampling temperature")
    group.add_argument("--top_p", type=float, help="probability mass of nucleus sampling")
    group.add_argument("--max_tokens", type=int, help="maximum new tokens of a reply")
    group.add_argument("--seed", type=int, help="random seed of the first attempt; each further attempt adds 1")
    group.add_argument("--max_attempts", type=int, help="maximum replies per request until one can be parsed")
    group.add_argument("--no_progress", action="store_true", help="hide the progress bar")


def endpoint_settings(arguments: EndpointArguments) -> "EndpointSettings":
    """Settings of the endpoint from the options, with the API key from the environment.

    Raises:
        ValueError: If the server or the model is not named, the key is not set, or a number is out of range.
    """
    from ..building.preferences.llm.endpoint_settings import EndpointSettings, key_variable

    if not arguments.base_url or not arguments.model:
        raise ValueError("--base_url and --model are required: a server, and the name that it has for the model.")
    check_ranges(vars(arguments), ENDPOINT_RANGES)
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
        omit=tuple(arguments.omit),
        max_tokens_name=arguments.max_tokens_name,
        max_reply_bytes=arguments.max_reply_bytes,
    )
