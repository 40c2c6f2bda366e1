"""Request of the command recommend, made from ids and words of titles."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from ..items_file import Items
from ..manifest import ITEMS_FILE, ModelFiles
from ..recommendation_request import RecommendationRequest
from ..serving.title_search import search, suggest

if TYPE_CHECKING:
    from .recommend import RecommendationArguments

SHOWN = 10  # titles in an error about several matches


def read_titles(name: str, revision: str | None) -> tuple[list[str], frozenset[int]]:
    """Reads the titles of a model's items from `items.jsonl`, in the order of their ids, and the ids of removed items.

    Raises:
        ValueError: If the model is in the subfolder `model`, or a line of the file is no item.
        FileNotFoundError: If there is no such folder, or no such file in it.
        OSError: If the Hub has no such file or denies access.
    """
    folder = Path(name)
    if folder.is_dir():
        below = folder / "model"
        if not (folder / "config.json").is_file():
            if (below / "config.json").is_file():
                raise ValueError(f"{name} has no config.json, but {below} has; give that folder.")
            raise FileNotFoundError(
                f"{name} has no config.json, so it is no model; give the folder model/ of a training, or a name on "
                "the Hub."
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
                f"{name} is neither a folder nor a name on the Hub, such as org/mender-tok-beauty; check it."
            ) from error
    if path.parent == Path(name):  # on the Hub, the titles are all that is fetched
        ModelFiles(name).check((ITEMS_FILE,))
    items = Items.read(path)
    return [item["title"] for item in items], frozenset(items.removed)


def make_request(
    arguments: "RecommendationArguments", titles: Sequence[str], removed: Collection[int] = ()
) -> dict[str, Any]:
    """Makes the request of the pipeline, with every item as its id.

    Raises:
        ValueError: If the request is invalid, or fewer than k items may be recommended.
    """
    history = [find_item(titles, item, removed) for item in arguments.history]
    exclude = [find_item(titles, item, removed) for item in arguments.exclude]
    candidates = None
    if arguments.candidates is not None:
        candidates = [find_item(titles, item, removed) for item in arguments.candidates]
    if arguments.exclude_history:
        exclude += history
    if arguments.k > (number := len(titles) - len(removed)):
        raise ValueError(f"--k ({arguments.k}) must be in 1..{number}, the number of items; ask for fewer.")
    without = {*exclude, *removed}
    left = len(set(candidates) - without) if candidates else len(titles) - len(without)
    if left < arguments.k:
        raise ValueError(
            f"{counted(left, 'item')} left after --candidates, --exclude and --exclude_history, and --k is "
            f"{arguments.k}; {'ask for fewer, or ' if left else ''}allow more."
        )
    strength = arguments.strength
    request = {
        "history": history,
        "preference": arguments.preference,
        "avoid": arguments.avoid,
        "strength": strength[0] if strength and len(strength) == 1 else strength,
        "user": arguments.user,
        "candidates": candidates,
        "exclude": exclude,
    }
    RecommendationRequest.read(request, len(titles))
    return request


def find_item(titles: Sequence[str], item: str, removed: Collection[int] = ()) -> int:
    """Returns the id of an item given by its id or by words of its title; of a removed one where no other fits.

    Raises:
        ValueError: If there is no such id, or not exactly one title matches.
    """
    if re.fullmatch(r"\s*-?\d+\s*", item):
        if len(item) > 18 or not 1 <= int(item) <= len(titles):
            given = shorten(item, 40, placeholder="...")
            raise ValueError(
                f"the items given contain {given}, which is no item of this catalog (ids 1..{len(titles)}); "
                "look for others with --search."
            )
        return int(item)
    exact = [number for number, title in enumerate(titles, start=1) if title.casefold() == item.casefold().strip()]
    exact = [number for number in exact if number not in removed] or exact
    found = exact or search(titles, item, removed) or search(titles, item)
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
    """Formats items in one line."""
    return "; ".join(f"{item} {shorten(titles[item - 1], 80, placeholder='...')}" for item in items)


def counted(number: int, noun: str) -> str:
    """Formats a number with a noun in singular or plural.

    >>> counted(1, "item"), counted(0, "item")
    ('1 item', '0 items')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
