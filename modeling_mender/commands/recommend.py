"""Recommends in the terminal: a history and preferences in, titles and scores out.

    python scripts/recommend.py outputs/quickstart/model --history 17 "lavender honey bar" \\
        --preference "Look for walnut lamps" --avoid lavender --strength 2 --terms
    python scripts/recommend.py org/mender-tok-beauty --search "nail polish"

An item of the history is an id, or words of its title that fit no other item. Help, searches and mistyped items are
answered from `items.jsonl` alone: the libraries of the models are imported after that.
"""

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from textwrap import shorten
from typing import Any

from dataset_builders.commands.command_line import defaults_of, run_command

SHOWN = 10  # titles that an error about several lists
SUGGESTED = 5  # titles that are meant, perhaps
SAME_FOR_ALL = "normalization"  # the term that is the same for every item of a request


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
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--history", nargs="+", metavar="ITEM", help="ids or titles, oldest first")
    parser.add_argument("--preference", nargs="+", metavar="TEXT", help="one preference or several, each in quotes")
    parser.add_argument("--avoid", nargs="+", metavar="TEXT", help="what to move down, each in quotes")
    parser.add_argument(
        "--strength", nargs="+", type=float, metavar="NUMBER",
        help="how strongly texts count: one number for all, one per preference, or one per preference and text to "
        "avoid; 0 not at all, below 0 the other way around",
    )  # fmt: skip
    parser.add_argument("--user", help="user id, for a model that reads it")
    parser.add_argument("--candidates", nargs="+", metavar="ITEM", help="the only items that may come back")
    parser.add_argument("--exclude", nargs="+", metavar="ITEM", help="items that may not come back")
    parser.add_argument("--exclude_history", action="store_true", help="nor may those of the history")
    parser.add_argument("--k", type=int, help="number of items")
    parser.add_argument("--num_beams", type=int, help="beams of a generative model; its own choice where not given")
    parser.add_argument("--device", help="as in cpu or cuda")
    parser.add_argument("--terms", action="store_true", help="print what each term of a score adds, for each item")
    parser.add_argument("--json", action="store_true", help="print JSON: item_id, title, score and terms")
    parser.add_argument("--search", metavar="WORDS", help="list the items whose title has these words, and stop")
    parser.add_argument("--verify", action="store_true", help="check the downloaded files against the Hub's checksums")
    group = parser.add_argument_group("a language model that splits texts of any language, in place of English rules")
    group.add_argument("--split_base_url", help="of an OpenAI-compatible server, as in http://127.0.0.1:8000/v1")
    group.add_argument("--split_model", help="its name on the server")
    group.add_argument(
        "--split_api_key_env",
        help="environment variable that holds the key; by default OPENAI_API_KEY, or HF_TOKEN for the Hub's hosts",
    )
    group.add_argument("--split_max_tokens", type=int, help="new tokens of its reply, reasoning included")
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
    """Everything between the arguments and the list."""
    check_options(arguments)
    missing = None
    try:
        titles = read_titles(arguments.model, arguments.revision)
    except OSError as error:
        if arguments.search is not None:
            raise
        missing = error
    if missing:  # outside of the handler, so that what loading says is not taken for a consequence
        load(arguments)  # knows better what is wrong with a model of which more than the titles may be missing
        raise missing
    if arguments.search is not None:
        if arguments.verify:
            verify(arguments.model, arguments.revision)
        print_found(titles, arguments.search)
        return
    request = make_request(arguments, titles)
    split = make_splitter(arguments)
    model, processor = load(arguments)
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

    pipe = pipeline("preference-recommendation", model=model, processor=processor, device=arguments.device)
    items = pipe(request, k=arguments.k, num_beams=arguments.num_beams, return_terms=arguments.terms or None)
    if arguments.json:
        print(json.dumps({"request": request, "items": items}, ensure_ascii=False, indent=2))
    else:
        print_request(request, titles)
        if hasattr(processor, "read"):
            print_reading(processor, request, arguments.terms)
        print_items(items)


def check_options(arguments: RecommendationArguments) -> None:
    """Refuses what no model could answer.

    Raises:
        ValueError: For an empty text, a strength that is no finite number or belongs to no preference, no item to
            return, or a local folder to verify.
    """
    for name in ("history", "preference", "avoid", "candidates", "exclude", "user", "search"):
        given = getattr(arguments, name)
        texts = [given] if isinstance(given, str) else given or []
        if not all(text.strip() for text in texts):
            raise ValueError(f"--{name} has an empty text; write it in words, or leave it out.")
    strengths = arguments.strength or []
    num_preferences, num_avoided = len(arguments.preference or []), len(arguments.avoid or [])
    for strength in strengths:
        if not math.isfinite(strength):
            raise ValueError(f"--strength {strength} is no finite number; give one such as 0.5, 1 or 2.")
    if strengths and not num_preferences + num_avoided:
        raise ValueError("--strength says how much a text counts, and there is none; give --preference or --avoid.")
    if strengths and len(strengths) not in {1, num_preferences, num_preferences + num_avoided}:
        raise ValueError(
            f"--strength has {counted(len(strengths), 'number')}, --preference {counted(num_preferences, 'text')} and "
            f"--avoid {num_avoided}; give one number for all, or one per preference."
        )
    if arguments.k < 1:
        raise ValueError(f"--k ({arguments.k}) must be at least 1; it is the number of items that come back.")
    if arguments.verify and Path(arguments.model).is_dir():
        raise ValueError(
            f"--verify compares a download with the Hub, and {arguments.model} is a local folder; leave it out."
        )


def read_titles(name: str, revision: str | None) -> list[str]:
    """Titles of a model's items in the order of their ids, from `items.jsonl` alone.

    Raises:
        ValueError: If a folder holds its model one folder below, or the file is none of ours.
        FileNotFoundError: If there is no such folder, or no such file in it.
        OSError: If the Hub refuses it.
    """
    folder = Path(name)
    if folder.is_dir():
        below = folder / "model"
        if not (folder / "config.json").is_file():
            if (below / "config.json").is_file():
                raise ValueError(f"{name} has no config.json and holds a model in {below}; give that.")
            raise FileNotFoundError(
                f"{name} has no config.json, so no model was saved there; give the folder model/ of a training, or a "
                "name on the Hub."
            )
        path = folder / "items.jsonl"
        if not path.is_file():
            raise FileNotFoundError(
                f"{name} has no items.jsonl, the titles of a recommender's items; save the model's processor there, "
                "or name another folder."
            )
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HFValidationError

        try:
            path = Path(hf_hub_download(name, "items.jsonl", revision=revision))
        except HFValidationError as error:
            raise FileNotFoundError(
                f"{name} is no folder here, and no name on the Hub, such as org/mender-tok-beauty; check it."
            ) from error
    titles = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                titles.append(str(json.loads(line)["title"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"line {number} of {path} is no item with a title; save or publish the model again."
                ) from error
    return titles


def make_request(arguments: RecommendationArguments, titles: Sequence[str]) -> dict[str, Any]:
    """The pipeline's request, with every item as its id.

    Raises:
        ValueError: For an item that is not in the catalogue, or fewer items than are asked for.
    """
    history = [find_item(titles, item) for item in arguments.history]
    exclude = [find_item(titles, item) for item in arguments.exclude]
    candidates = arguments.candidates and [find_item(titles, item) for item in arguments.candidates]
    if arguments.exclude_history:
        exclude += history
    if arguments.k > len(titles):
        raise ValueError(f"--k ({arguments.k}) must be in 1..{len(titles)}, the number of items; ask for fewer.")
    left = len(set(candidates) - set(exclude)) if candidates else len(titles) - len(set(exclude))
    if left < arguments.k:
        raise ValueError(
            f"{counted(left, 'item')} may come back after --candidates, --exclude and --exclude_history, and --k is "
            f"{arguments.k}; {'ask for fewer, or ' if left else ''}allow more."
        )
    strength = arguments.strength
    return {
        "history": history,
        "preference": arguments.preference,
        "avoid": arguments.avoid,
        "strength": strength[0] if strength and len(strength) == 1 else strength,
        "user": arguments.user,
        "candidates": candidates,
        "exclude": exclude,
    }


def make_splitter(arguments: RecommendationArguments) -> Callable[[str], Any] | None:
    """The language model that the options name; `None` where they name none.

    Raises:
        ValueError: If they name it in part, the URL is none, or the variable for the key is not set.
    """
    url, name, variable = arguments.split_base_url, arguments.split_model, arguments.split_api_key_env
    if not url and not name and not variable:
        return None
    if not url or not name:
        raise ValueError(
            "a language model that splits texts has a server and a name; give --split_base_url and --split_model."
        )
    from dataset_builders.building.preferences.llm.endpoint_settings import key_variable
    from dataset_builders.building.preferences.llm.splitting import LanguageModelSplitter

    variable = key_variable(url, os.environ, variable)
    # Without rules to fall back on: they read English, and in another language would take "ohne Rosen" as wanted.
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
        except ValueError as error:  # which names the options of the command that writes preferences
            raise ValueError(
                re.sub(r"--(?=base_url|model|api_key_env|max_tokens|omit|no_schema)", "--split_", str(error))
            ) from error

    return split


def load(arguments: RecommendationArguments) -> tuple[Any, Any]:
    """The model and its processor; from here on the libraries of the models are imported."""
    from transformers.utils import logging as transformers_logging

    from ..hub.loading import load_recommender

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return load_recommender(arguments.model, arguments.revision, arguments.device)


def print_request(request: dict[str, Any], titles: Sequence[str]) -> None:
    """What was asked, with the titles of the history."""
    for item in request["history"]:
        print(f"{'history':<12}{item:>7}  {titles[item - 1]}")
    texts = [(name, text) for name in ("preference", "avoid") for text in request[name] or []]
    strength = request["strength"]
    strengths = strength if isinstance(strength, list) else [strength] * len(texts)
    for (name, text), given in zip_longest(texts, strengths):
        print_text(name, text, given)
    if not request["preference"]:
        print_text("preference", "none")


def print_reading(processor: Any, request: dict[str, Any], as_terms: bool) -> None:
    """How a processor has read the texts, by the names of their terms; or only those that it reads otherwise.

    Args:
        processor: Its `read` gives for each request the items, and texts with `text`, `strength` and `corrections`.
        request (`dict`): The pipeline's.
        as_terms (`bool`): Whether to print every text.
    """
    fields = ("preference", "avoid", "strength")
    ((_, read),) = processor.read([request["history"]], *([request[name]] for name in fields))
    given = {text for field in fields[:2] for text in request[field] or []}
    for name, sign in (("preference", 1), ("avoid", -1)):
        for number, text in enumerate([text for text in read if text.strength * sign > 0], start=1):
            corrected = ", ".join(f"{new} for {written}" for written, new in text.corrections.items())
            if as_terms or text.text not in given:
                note = f" ({corrected})" if corrected else ""
                print_text(f"{name} {number}", f"read as {text.text!r}{note}", abs(text.strength))
    for text in dict.fromkeys(text.text.casefold() for text in read if text.strength == 0):
        print_text("note", f"{text!r} is wanted and avoided at once; only the difference counts")


def print_text(name: str, text: str, strength: float | None = None) -> None:
    print(f"{name:<12} {'' if strength is None else f'x {strength:g}':>6}  {text}")


def print_items(items: Sequence[dict[str, Any]]) -> None:
    """The list, best first, each with the terms of its score where it has them."""
    print(f"{'rank':>4}  {'score':>7} {'item':>6}  title")
    for rank, item in enumerate(items, start=1):
        print(f"{rank:>4}  {item['score']:7.3f} {item['item_id']:>6}  {item['title']}")
        if "terms" in item:
            terms = {name: value for name, value in item["terms"].items() if name != SAME_FOR_ALL}
            rest = item["score"] - sum(terms.values())
            print(f"{'':>22}{', '.join(f'{name} {round(value, 3) + 0:+.3f}' for name, value in terms.items())}")
    if items and "terms" in items[0]:
        same = f", and {rest:+.3f} for every item" if abs(rest) >= 0.0005 else ""
        print(f"A score is the sum of its terms{same}.")


def print_found(titles: Sequence[str], words: str) -> None:
    """The items of a search, or those whose titles come near."""
    found = search(titles, words)
    if not found:
        found = suggest(titles, words)
        print(f"no title has all of these words{'; did you mean' if found else ''}")
    print_titles(titles, found)


def print_titles(titles: Sequence[str], items: Iterable[int]) -> None:
    for item in items:
        print(f"{item:>7}  {titles[item - 1]}")


def search(titles: Sequence[str], words: str) -> list[int]:
    """Ids of the items whose title has every word, in any case, as a part of one of its own.

    >>> search(["Rose Soap", "Lavender Soap", "Lavender Candle"], "soap lav")
    [2]
    """
    wanted = words.casefold().split()
    return [
        item
        for item, title in enumerate(titles, start=1)
        if wanted and all(word in title.casefold() for word in wanted)
    ]


def suggest(titles: Sequence[str], words: str) -> list[int]:
    """Ids of up to five items whose title was meant, perhaps: those with most of the words, each as it is written or
    as the words of titles that come near it; among these the titles nearest to the whole.

    >>> suggest(["Rose Soap", "Lavender Soap", "Lavender Candle"], "lavendar sope")
    [2]
    >>> suggest(["Rose Soap", "Lavender Soap", "Lavender Candle"], "quartz")
    []
    """
    lowered = [title.casefold() for title in titles]
    vocabulary = sorted({word.strip(".,;:!?()[]\"'") for title in lowered for word in title.split()})
    wanted = words.casefold().split()
    counts = [0] * len(titles)
    for word in [word for word in wanted if len(word) > 2] or wanted:  # most titles have an "a" somewhere
        near = [word] if any(word in title for title in lowered) else get_close_matches(word, vocabulary, 3, 0.65)
        for row, title in enumerate(lowered):
            counts[row] += any(one in title for one in near)
    most = max(counts, default=0)
    whole = " ".join(wanted)
    if most:
        rows = [row for row, count in enumerate(counts) if count == most]
        cutoff = 0.0
    else:
        rows, cutoff = range(len(titles)), 0.6  # words written as one, or one as two
    by_title = {}
    for row in rows:
        by_title.setdefault(lowered[row], []).append(row + 1)
    nearest = get_close_matches(whole, by_title, SUGGESTED, cutoff)
    return [item for title in nearest for item in by_title[title]][:SUGGESTED]


def find_item(titles: Sequence[str], item: str) -> int:
    """The id that an id or a search stands for.

    Raises:
        ValueError: If there is no such id, no title has these words, or more than one has and none is exactly them.
    """
    if re.fullmatch(r"\s*-?\d+\s*", item):
        if not 1 <= int(item) <= len(titles):
            raise ValueError(
                f"the items given contain {int(item)}, which is no item of this catalogue (ids 1..{len(titles)}); "
                "look for others with --search."
            )
        return int(item)
    exact = [number for number, title in enumerate(titles, start=1) if title.casefold() == item.casefold().strip()]
    found = exact or search(titles, item)
    if not found:
        near = listed(titles, suggest(titles, item))
        meant = f"did you mean {near}? Give its id, or " if near else "give ids, or "
        raise ValueError(f"no item's title has all the words of {item!r}; {meant}look for others with --search.")
    if len(found) > 1:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ValueError(
            f"{len(found)} items fit {item!r} ({listed(titles, found[:SHOWN])}{more}); add a word, or give the id."
        )
    return found[0]


def listed(titles: Sequence[str], items: Iterable[int]) -> str:
    """Items in one line."""
    return "; ".join(f"{item} {shorten(titles[item - 1], 80, placeholder='...')}" for item in items)


def counted(number: int, noun: str) -> str:
    """A number and what is counted.

    >>> counted(1, "item"), counted(0, "item")
    ('1 item', '0 items')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verify(name: str, revision: str | None) -> None:
    """Compares what the cache holds of a repository with the Hub's checksums.

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
