"""Search among the titles of items, and titles similar to mistyped words."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

SUGGESTED = 5  # titles suggested for a mistyped one


def search(titles: Sequence[str], words: str, removed: Collection[int] = ()) -> list[int]:
    """Returns the ids of the items whose title contains every word, ignoring case, but for removed ones.

    >>> search(["Rose Soap", "Lavender Soap", "Lavender Candle"], "soap lav")
    [2]
    """
    wanted = words.casefold().split()
    return [
        item
        for item, title in enumerate(titles, start=1)
        if wanted and item not in removed and all(word in title.casefold() for word in wanted)
    ]


def suggest(titles: Sequence[str], words: str) -> list[int]:
    """Returns the ids of up to five items with titles similar to the words.

    Titles with most of the words, or of words of titles similar to them, come first; among these the most similar.

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
        rows, cutoff = list(range(len(titles))), 0.6  # two words written as one, or one as two
    by_title: dict[str, list[int]] = {}
    for row in rows:
        by_title.setdefault(lowered[row], []).append(row + 1)
    nearest = get_close_matches(whole, by_title, SUGGESTED, cutoff)
    return [item for title in nearest for item in by_title[title]][:SUGGESTED]
