"""Registry of the sources of interactions and items; importing it loads no reader and no optional dependency."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .raw_tables import Source


@dataclass(frozen=True)
class SourceEntry:
    """One source of the registry.

    Args:
        reader (`str`): Its class, as `module:class` relative to this package.
        paths (`tuple[str, ...]`): Arguments of the class that name the files it needs.
        has_days (`bool`): Whether it can be limited to the days from `since` to `until`.
        page (`str`): Where users get the files of a source that is not downloaded for them.
    """

    reader: str
    paths: tuple[str, ...] = ()
    has_days: bool = False
    page: str = ""


SOURCES: Mapping[str, SourceEntry] = {
    "amazon_reviews": SourceEntry("amazon_reviews:AmazonReviewsSource", ("reviews", "metadata")),
    "raw": SourceEntry("raw:RawSource", ("interactions", "items")),
    "sample": SourceEntry("sample:SampleSource"),
    "steam": SourceEntry("steam:SteamSource", ("reviews", "games")),
    "tables": SourceEntry("tables:TablesSource", ("interactions", "items")),
    "yelp": SourceEntry("yelp:YelpSource", ("archive",), has_days=True, page="https://www.yelp.com/dataset"),
}
"""Name -> source, in alphabetical order."""


def get_source(name: str, **options: Any) -> Source:  # options belong to the source named
    """Makes a source by its name.

    Args:
        name (`str`): One of [`SOURCES`].
        options: The arguments of that source, for example `reviews` and `metadata` for `amazon_reviews`.

    Returns:
        `Source`: The source; nothing is read before its `load`.

    Raises:
        ValueError: If the name is unknown, or an option is unknown to this source or missing.
    """
    if name not in SOURCES:
        raise ValueError(f"source {name!r} is not known; choose one of {', '.join(SOURCES)}")
    module, _, class_name = SOURCES[name].reader.partition(":")
    source = getattr(import_module(f"{__name__}.{module}"), class_name)
    signature = inspect.signature(source)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"source {name!r} takes {signature}, got {sorted(options)}: {error}") from error
    return source(**options)
