"""Recommends in the terminal: a history and a wish in, titles and scores out.

    python scripts/recommend.py outputs/quickstart/model --history 17 "lavender honey bar" --preference "Look for tea"
    python scripts/recommend.py org/mender-tok-beauty --search "nail polish"

An item of the history is an id, or words of its title that fit no other item.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line import run_command
from huggingface_hub import HfApi
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from modeling_mender.hub.loading import load_recommender

SHOWN = 10  # titles that a search lists


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--history", nargs="+", default=[], metavar="ITEM", help="ids or titles, oldest first")
    parser.add_argument("--preference", nargs="+", metavar="WISH", help="one wish or several, each in quotes")
    parser.add_argument("--user", help="who asks, for a model that looks at it")
    parser.add_argument("--candidates", nargs="+", metavar="ITEM", help="the only items that may come back")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="ITEM", help="items that may not come back")
    parser.add_argument("--exclude_history", action="store_true", help="nor may those of the history")
    parser.add_argument("--k", type=int, default=10, help="number of items")
    parser.add_argument("--num_beams", type=int, help="beams of a generative model; its own choice where not given")
    parser.add_argument("--device", default="cpu", help="as in cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print JSON: item_id, title and score of each")
    parser.add_argument("--search", metavar="WORDS", help="list the items whose title has these words, and stop")
    parser.add_argument("--verify", action="store_true", help="check the downloaded files against the Hub's checksums")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Recommends; returns 0, or 1 after one line on bad input."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return run_command(lambda: run(parse_arguments(argv)))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the list."""
    model, processor = load_recommender(arguments.model, arguments.revision, arguments.device)
    if arguments.verify:
        verify(arguments.model, arguments.revision)
    titles = [item["title"] for item in processor.items]
    if arguments.search is not None:
        found = search(titles, arguments.search)
        print("\n".join(f"{item:>7}  {titles[item - 1]}" for item in found) or "no title has all of these words")
        return
    history = [find_item(titles, item) for item in arguments.history]
    exclude = [find_item(titles, item) for item in arguments.exclude]
    request = {
        "history": history,
        "preference": arguments.preference,
        "user": arguments.user,
        "candidates": arguments.candidates and [find_item(titles, item) for item in arguments.candidates],
        "exclude": exclude + history if arguments.exclude_history else exclude,
    }
    pipe = pipeline("preference-recommendation", model=model, processor=processor, device=arguments.device)
    items = pipe(request, k=arguments.k, num_beams=arguments.num_beams)
    if arguments.json:
        print(json.dumps({"request": request, "items": items}, ensure_ascii=False, indent=2))
        return
    for item in history:
        print(f"history     {item:>7}  {titles[item - 1]}")
    for wish in arguments.preference or ["none"]:
        print(f"preference           {wish}")
    print(f"{'rank':>4}  {'score':>7} {'item':>6}  title")
    for rank, item in enumerate(items, start=1):
        print(f"{rank:>4}  {item['score']:7.3f} {item['item_id']:>6}  {item['title']}")


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


def find_item(titles: Sequence[str], item: str) -> int:
    """The id that an id or a search stands for.

    Raises:
        ValueError: If no title has these words, or more than one has and none is exactly them.
    """
    if item.lstrip("-").isdigit():
        return int(item)  # whether there is such an item, the processor says
    exact = [number for number, title in enumerate(titles, start=1) if title.casefold() == item.casefold().strip()]
    found = exact or search(titles, item)
    if not found:
        raise ValueError(f"no item's title has all the words of {item!r}; look for others with --search, or give ids.")
    if len(found) > 1:
        listed = "; ".join(f"{number} {titles[number - 1]}" for number in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ValueError(f"{len(found)} items fit {item!r} ({listed}{more}); add a word, or give the id.")
    return found[0]


def verify(name: str, revision: str | None) -> None:
    """Compares what the cache holds of a repository with the Hub's checksums.

    Raises:
        ValueError: If a file differs, or there is nothing on the Hub to compare with.
    """
    if Path(name).is_dir():
        raise ValueError(f"--verify compares a download with the Hub, and {name} is a local folder; leave it out.")
    checked = HfApi().verify_repo_checksums(name, revision=revision)
    if checked.mismatches:
        files = ", ".join(sorted(str(mismatch["path"]) for mismatch in checked.mismatches))
        raise ValueError(
            f"{name}: {files} in the cache differ from the Hub's; delete that copy (hf cache rm model/{name}) and "
            "load the model again."
        )


if __name__ == "__main__":
    sys.exit(main())
