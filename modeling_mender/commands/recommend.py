"""Recommend items for a history and preferences, and print their titles and scores.

    mender recommend outputs/quickstart/model --history 17 "lavender honey bar" \\
        --preference "Look for walnut lamps" --avoid lavender --strength 2 --terms
    mender recommend org/mender-tok-beauty --search "nail polish"

An item is given by its id or by words of its title that match no other item. Searches and mistyped items only read
`items.jsonl`; the libraries of the models are imported after that.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command

from .recommend_printing import print_found, print_items, print_reading, print_request
from .recommend_request import make_request, read_titles


@dataclass(kw_only=True)
class RecommendationArguments:
    """Arguments of [`recommend`]; see `--help` for what each is."""

    model: str
    revision: str | None = None
    history: Sequence[str] = ()
    preference: Sequence[str] | None = None
    avoid: Sequence[str] | None = None
    strength: Sequence[float] | None = None
    user: str | None = None
    candidates: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    exclude_history: bool = False
    k: int = 10
    num_beams: int | None = None
    device: str = "cpu"
    terms: bool = False
    json: bool = False
    search: str | None = None
    verify: bool = False
    split_base_url: str | None = None
    split_model: str | None = None
    split_api_key_env: str | None = None
    split_max_tokens: int = 512
    split_omit: Sequence[str] = ()
    split_no_schema: bool = False


def parse_arguments(argv: list[str] | None) -> RecommendationArguments:
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="folder of a trained model, or name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    parser.add_argument("--history", nargs="+", metavar="ITEM", help="ids or words of titles, oldest item first")
    parser.add_argument("--preference", nargs="+", metavar="TEXT", help="preferences, each in quotes")
    parser.add_argument("--avoid", nargs="+", metavar="TEXT", help="texts to avoid, each in quotes")
    parser.add_argument(
        "--strength", nargs="+", type=float, metavar="NUMBER",
        help="weight of the texts: one number for all, one per preference, or one per preference and text to avoid; "
        "0 ignores a text, a negative number inverts it",
    )  # fmt: skip
    parser.add_argument("--user", help="user id, for models that read one")
    parser.add_argument(
        "--candidates", nargs="+", metavar="ITEM", help="items to choose from, as ids or words of titles; default: all"
    )
    parser.add_argument(
        "--exclude", nargs="+", metavar="ITEM", help="items not to recommend, as ids or words of titles"
    )
    parser.add_argument("--exclude_history", action="store_true", help="do not recommend items of the history")
    parser.add_argument("--k", type=int, help="number of items")
    parser.add_argument("--num_beams", type=int, help="beams of a generative model; default: that of the model")
    parser.add_argument("--device", help="device of the model, such as cpu or cuda")
    parser.add_argument("--terms", action="store_true", help="print the terms of every score (mender_steer only)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON with item_id, title, score and terms (--search: without scores)",
    )
    parser.add_argument("--search", metavar="WORDS", help="only list the items whose title has these words")
    parser.add_argument(
        "--verify", action="store_true", help="check the downloaded files against the checksums of the Hub"
    )
    group = parser.add_argument_group(
        "splitting of texts in any language by a language model, in place of English rules"
    )
    group.add_argument("--split_base_url", help="URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    group.add_argument("--split_model", help="name of the language model on the server")
    group.add_argument(
        "--split_api_key_env",
        help="environment variable with the API key; default: OPENAI_API_KEY, or HF_TOKEN for hosts of the Hub",
    )
    group.add_argument(
        "--split_max_tokens", type=int, help="maximum number of new tokens per reply, reasoning included"
    )
    group.add_argument(
        "--split_omit",
        nargs="+",
        choices=("temperature", "top_p", "max_tokens", "seed"),
        metavar="PARAMETER",
        help="do not send what the server refuses: temperature, top_p, max_tokens, seed",
    )
    group.add_argument("--split_no_schema", action="store_true", help="do not ask it to constrain replies to JSON")
    parser.set_defaults(**defaults_of(RecommendationArguments))
    return RecommendationArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Recommends; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: recommend(parse_arguments(argv)))


def recommend(arguments: RecommendationArguments) -> None:
    """Recommends items and prints them."""
    check_options(arguments)
    missing = None
    try:
        titles, removed = read_titles(arguments.model, arguments.revision)
    except OSError as error:
        if arguments.search is not None:
            raise
        missing = error
    if missing:  # outside the handler, so that an error of loading is not chained to it
        load(arguments)  # has the better message if more than the titles is missing
        raise missing
    if arguments.search is not None:
        if arguments.verify:
            verify(arguments.model, arguments.revision)
        print_found(titles, arguments.search, arguments.json, removed)
        return
    request = make_request(arguments, titles, removed)
    split = make_splitter(arguments)
    model, processor = load(arguments)

    from ..evaluation.ranking import check_has_beams  # after what needs no torch

    check_has_beams(model, arguments.num_beams)
    if split is not None:
        if not hasattr(processor, "split"):
            raise ValueError(
                f"a {model.config.model_type} model does not split texts; leave out --split_base_url, or use a "
                "mender_steer model."
            )
        processor.split = split
    if arguments.verify:
        verify(arguments.model, arguments.revision)

    from transformers import pipeline

    create: Any = pipeline  # its types list the tasks of transformers only
    pipe = create("preference-recommendation", model=model, processor=processor, device=arguments.device)
    items = pipe(request, k=arguments.k, num_beams=arguments.num_beams, return_terms=arguments.terms or None)
    if arguments.json:
        print(json.dumps({"request": request, "items": items}, ensure_ascii=False, indent=2))
    else:
        print_request(request, titles)
        if hasattr(processor, "read"):
            print_reading(processor, request, arguments.terms)
        print_items(items)


def check_options(arguments: RecommendationArguments) -> None:
    """Refuses options that are invalid for every model.

    Raises:
        ValueError: If a strength has no text, k is below 1, or the model to verify is a local folder.
    """
    strengths = arguments.strength or []
    num_preferences, num_avoided = len(arguments.preference or []), len(arguments.avoid or [])
    if strengths and not num_preferences + num_avoided:
        raise ValueError("--strength is the weight of a text, and there is none; give --preference or --avoid.")
    if arguments.k < 1:
        raise ValueError(f"--k ({arguments.k}) must be at least 1; it is the number of recommended items.")
    if arguments.verify and Path(arguments.model).is_dir():
        raise ValueError(
            f"--verify checks a download against the Hub, and {arguments.model} is a local folder; leave it out."
        )


def make_splitter(arguments: RecommendationArguments) -> Callable[[str], Any] | None:
    """Returns the splitter of texts by the language model of the options; `None` if there is none.

    Raises:
        ValueError: If an option is missing, the URL is invalid, or the variable of the key is not set.
    """
    url, name, variable = arguments.split_base_url, arguments.split_model, arguments.split_api_key_env
    if not url and not name and not variable:
        return None
    if not url or not name:
        raise ValueError(
            "splitting by a language model needs its server and its name; give --split_base_url and --split_model."
        )
    from dataset_builders.building.preferences.llm.endpoint_settings import key_variable
    from dataset_builders.building.preferences.llm.splitting import LanguageModelSplitter

    variable = key_variable(url, os.environ, variable)
    # No rules as a fallback: they are for English, and would read the German "ohne Rosen" as wanted.
    splitter = LanguageModelSplitter(
        url,
        name,
        os.environ[variable] if variable else None,
        max_tokens=arguments.split_max_tokens,
        omit=arguments.split_omit,
        schema_mode="none" if arguments.split_no_schema else "json_schema",
    )

    def split(text: str) -> Any:
        try:
            return splitter(text)
        except ValueError as error:  # it names the options of mender approximate
            raise ValueError(
                re.sub(r"--(?=base_url|model|api_key_env|max_tokens|omit|no_schema)", "--split_", str(error))
            ) from error

    return split


def load(arguments: RecommendationArguments) -> tuple[Any, Any]:
    """Loads the model and its processor; imports the libraries of the models."""
    from transformers.utils import logging as transformers_logging

    from ..hub.loading import load_recommender

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return load_recommender(arguments.model, arguments.revision, arguments.device)


def verify(name: str, revision: str | None) -> None:
    """Compares the cached files of a repository with the checksums of the Hub.

    Raises:
        ValueError: If a file differs.
    """
    from huggingface_hub import HfApi

    checked = HfApi().verify_repo_checksums(name, revision=revision)
    if checked.mismatches:
        files = ", ".join(sorted(str(mismatch["path"]) for mismatch in checked.mismatches))
        raise ValueError(
            f"{name}: {files} in the cache differ from the Hub's; delete that copy (hf cache rm model/{name}) and "
            "load the model again."
        )


if __name__ == "__main__":
    sys.exit(main())
