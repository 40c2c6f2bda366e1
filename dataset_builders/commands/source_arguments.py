"""Options that select the source of the reviews, shared by several commands."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..building.sources import SOURCES, get_source

if TYPE_CHECKING:
    from ..building.domains import Domain
    from ..building.sources.raw_tables import Source


@dataclass(kw_only=True)
class SourceArguments:
    """Where the reviews come from; see [`source_from`]."""

    domain: str
    source: str | None = None
    raw_dir: Path | None = None
    download_dir: Path | None = None
    amazon_category: str | None = None
    amazon_year: int = 2014
    reviews: Path | None = None
    metadata: Path | None = None
    games: Path | None = None
    archive: Path | None = None
    first_day: str | None = None
    last_day: str | None = None
    interactions: Path | None = None
    items: Path | None = None
    min_count: int = 5
    window: int = 20
    user_stride: int | None = None


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of [`source_from`] to a parser."""
    group = parser.add_argument_group(
        "where the reviews come from",
        "A domain of the paper (beauty, toys, sports, steam, yelp) brings its source with it and is downloaded, or "
        "read from --raw_dir. For all others name the --source and its files, or an --amazon_category.",
    )
    group.add_argument("--domain", required=True, help="first part of every config's name, as in beauty_sentiment")
    group.add_argument("--source", choices=tuple(SOURCES), help="kind of input, if not the domain's own")
    group.add_argument("--raw_dir", type=Path, help="folder that holds the domain's files under their published names")
    group.add_argument("--download_dir", type=Path, help="where downloads are kept; the user's cache where not given")
    group.add_argument("--amazon_category", help="any category of the Amazon reviews, as in Video_Games")
    group.add_argument("--amazon_year", type=int, choices=(2014, 2018, 2023), help="of --amazon_category")
    group.add_argument("--reviews", type=Path, help="amazon_reviews, steam: the reviews file")
    group.add_argument("--metadata", type=Path, help="amazon_reviews: the metadata file")
    group.add_argument("--games", type=Path, help="steam: the file of games")
    group.add_argument("--archive", type=Path, help="yelp: the archive or its folder")
    group.add_argument("--first_day", help="yelp: as in 2019-01-01")
    group.add_argument("--last_day", help="yelp: as in 2019-12-31")
    group.add_argument("--interactions", type=Path, help="tables: Parquet, CSV or JSON lines of actions; raw: Parquet")
    group.add_argument("--items", type=Path, help="tables: Parquet, CSV or JSON lines of items; raw: Parquet")
    group.add_argument("--min_count", type=int, help="k of the k-core")
    group.add_argument("--window", type=int, help="most recent items of a user that count")
    group.add_argument(
        "--user_stride",
        type=int,
        help="keep one user in so many, after the k-core; the domain's own where not given (7 for steam, else 1)",
    )


def source_from(arguments: SourceArguments, also: tuple[str, ...] = ()) -> tuple["Source", "Domain | None"]:
    """The source that the options name, and the domain's facts where it is one of the paper's or an Amazon category.

    Sets `arguments.user_stride` where it was not given.

    Args:
        arguments (`SourceArguments`): The options.
        also (`tuple[str, ...]`): Further options of the command whose files must exist.

    Returns:
        `tuple`: The `Source`, and the `Domain` or `None`.

    Raises:
        ValueError: If options are missing, or belong to another source.
        FileNotFoundError: If files do not exist; names all of them.
        OSError: If a download fails.
    """
    from ..building.domain_files import domain_source
    from ..building.domains import amazon_domain, get_domain

    domain = None
    if arguments.source is None:
        refuse_foreign_paths(arguments, "a domain's own source", ())
        check_files(arguments, also)
        if arguments.amazon_category:
            domain = amazon_domain(arguments.amazon_category, arguments.amazon_year, name=arguments.domain)
        else:
            domain = get_domain(arguments.domain)
        source = domain_source(
            domain, raw_dir=arguments.raw_dir, download_dir=arguments.download_dir, **_dates(arguments, domain.source)
        )
    else:
        if arguments.raw_dir is not None or arguments.amazon_category:
            raise ValueError("--source does not go with --raw_dir or --amazon_category: name its files instead.")
        needed = SOURCES[arguments.source].paths
        refuse_foreign_paths(arguments, f"the source {arguments.source}", needed)
        paths = {name: getattr(arguments, name) for name in needed}
        check_files(arguments, (*needed, *also))
        source = get_source(arguments.source, **paths, **_dates(arguments, arguments.source))
    if arguments.user_stride is None:
        arguments.user_stride = domain.user_stride if domain else 1
    return source, domain


def _dates(arguments: SourceArguments, source: str) -> dict[str, str]:
    dates = {"since": arguments.first_day, "until": arguments.last_day}
    given = {name: date for name, date in dates.items() if date is not None}
    if given and not SOURCES[source].has_days:
        with_days = " and ".join(name for name, entry in SOURCES.items() if entry.has_days)
        raise ValueError(
            f"The source {source} does not take --first_day or --last_day; they are options of {with_days}."
        )
    return given


def check_files(arguments: SourceArguments, names: tuple[str, ...]) -> None:
    """Refuses paths that do not exist, before anything is loaded or read.

    Args:
        arguments (`SourceArguments`): Holds a path, several or `None` under each name.
        names (`tuple[str, ...]`): Options to look at.

    Raises:
        FileNotFoundError: Naming every option and path that is missing.
    """
    missing = []
    for name in names:
        given = getattr(arguments, name)
        paths = [given] if isinstance(given, Path) else given or ()
        missing += [f"--{name} {path}" for path in paths if not path.exists()]
    if missing:
        verb, noun = ("does", "the path") if len(missing) == 1 else ("do", "the paths")
        raise FileNotFoundError(f"{' and '.join(missing)} {verb} not exist; correct {noun}.")


def refuse_foreign_paths(arguments: SourceArguments, what: str, needed: tuple[str, ...]) -> None:
    """Refuses paths of another source instead of ignoring them, and names missing ones.

    Raises:
        ValueError: Naming every such option.
    """
    names = sorted({name for entry in SOURCES.values() for name in entry.paths})
    given = {name for name in names if getattr(arguments, name) is not None}
    missing = [name for name in needed if name not in given]
    foreign = [name for name in names if name in given and name not in needed]
    for verb, wrong in (("needs", missing), ("does not take", foreign)):
        if wrong:
            options = " and ".join(f"--{name}" for name in wrong)
            raise ValueError(f"{what[0].upper()}{what[1:]} {verb} {options}; see --help.")
