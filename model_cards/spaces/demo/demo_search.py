"""Search for items by their titles or ids."""

from collections.abc import Sequence
from difflib import get_close_matches

NUM_MATCHES = 50


def search_titles(titles: Sequence[str], query: str, limit: int = NUM_MATCHES) -> list[int]:
    """Ids (1..N) of the items whose titles contain every word of a query, those with whole words first.

    A query that is an id of the catalog gives that item first; an empty one gives the first items.

    >>> search_titles(["Red soap", "Blue soapstone", "Blue soap"], "soap blue")
    [3, 2]
    >>> search_titles(["Red soap", "Blue soapstone", "Blue soap"], "2")
    [2]
    """
    query = query.casefold().strip()
    words = query.split()
    found = []
    for item_id, title in enumerate(titles, start=1):
        text = title.casefold()
        if all(word in text for word in words):
            found.append((-len(set(words) & set(text.split())), item_id))
    ids = [item_id for _, item_id in sorted(found)]
    if query.isdecimal() and 1 <= int(query) <= len(titles):
        ids = list(dict.fromkeys([int(query), *ids]))
    return ids[:limit]


def similar_titles(titles: Sequence[str], query: str, limit: int = 5) -> list[int]:
    """Ids of the items whose titles have the words most similar to those of a query, best first.

    >>> similar_titles(["Red soap", "Blue lamp", "Blue soap"], "blu sope")
    [3]
    """
    split = [title.casefold().split() for title in titles]
    vocabulary = sorted({word for words in split for word in words})
    near = [set(get_close_matches(word, vocabulary, 3, 0.6)) for word in query.casefold().split()]
    found = [(-sum(bool(words & set(own)) for words in near), item_id) for item_id, own in enumerate(split, start=1)]
    most = min(found, default=(0, 0))[0]
    return [item_id for count, item_id in found if count == most < 0][:limit]


def all_of(query: str) -> str:
    """The words of a query, for a message.

    >>> all_of("tea"), all_of("green tea")
    ('the word “tea”', 'all words of “green tea”')
    """
    return f"all words of “{query.strip()}”" if len(query.split()) > 1 else f"the word “{query.strip()}”"


def read_ids(text: str, num_items: int) -> list[int]:
    """Reads ids separated by commas or blanks.

    Raises:
        ValueError: For a word that is not an id of the catalog.

    >>> read_ids("17, 4 5", num_items=20)
    [17, 4, 5]
    """
    words = text.replace(",", " ").split()
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= num_items:
            raise ValueError(f"{word!r} is no item of this catalog; ids are 1 to {num_items}.")
    return [int(word) for word in words]
