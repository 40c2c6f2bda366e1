"""Options that select the source of the reviews, shared by several commands."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..building.sources import SOURCES, get_source
from ..typed_arguments import check_ranges

if TYPE_CHECKING:
    from ..building.domains import Domain
    from ..building.sources.raw_tables import Source


@dataclass(kw_only=True)
class SourceArguments:
    """Arguments that select the source of the reviews; see [`source_from`]."""

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


def add_source_arguments(parser: argparse.ArgumentParser, domain_required: bool = True) -> None:
    """Adds the options of [`source_from`] to a parser."""
    group = parser.add_argument_group(
        "source of the reviews",
        "A domain of the paper (beauty, toys, sports, steam, yelp) has its own source and is downloaded, or read "
        "from --raw_dir. For any other domain, give --source and its files, or --amazon_category.",
    )
    group.add_argument(
        "--domain", required=domain_required, help="name of the domain, as in beauty; prefix of every config"
    )
    group.add_argument("--source", choices=tuple(SOURCES), help="format of the input; default: that of the domain")
    group.add_argument("--raw_dir", type=Path, help="folder with the domain's files under their published names")
    group.add_argument("--download_dir", type=Path, help="folder for downloads; default: the user's cache")
    group.add_argument("--amazon_category", help="category of the Amazon reviews, as in Video_Games")
    group.add_argument("--amazon_year", type=int, choices=(2014, 2018, 2023), help="release of --amazon_category")
    group.add_argument("--reviews", type=Path, help="reviews file (amazon_reviews, steam)")
    group.add_argument("--metadata", type=Path, help="metadata file (amazon_reviews)")
    group.add_argument("--games", type=Path, help="games file (steam)")
    group.add_argument("--archive", type=Path, help="archive or its folder (yelp)")
    group.add_argument("--first_day", help="first day of reviews, as in 2019-01-01 (yelp)")
    group.add_argument("--last_day", help="last day of reviews, as in 2019-12-31 (yelp)")
    group.add_argument(
        "--interactions", type=Path, help="actions: Parquet, CSV or JSON lines (tables), or Parquet (raw)"
    )
    group.add_argument("--items", type=Path, help="items: Parquet, CSV or JSON lines (tables), or Parquet (raw)")
    group.add_argument("--min_count", type=int, help="k of the k-core")
    group.add_argument("--window", type=int, help="number of most recent items of a user that are used")
    group.add_argument(
        "--user_stride",
        type=int,
        help="keep every n-th user after the k-core; default: that of the domain (7 for steam, else 1)",
    )


def source_from(arguments: SourceArguments, also: tuple[str, ...] = ()) -> tuple["Source", "Domain | None"]:
    """Makes the source that the options select, and finds its domain (one of the paper's or an Amazon category).

    Args:
        arguments (`SourceArguments`): The options.
        also (`tuple[str, ...]`): Further options of the command whose files must exist.

    Returns:
        `tuple`: The `Source`, and the `Domain` or `None`.

    Raises:
        ValueError: If options are missing, out of range or belong to another source.
        FileNotFoundError: If files do not exist; names all of them.
        OSError: If a download fails.
    """
    from ..building.domain_files import domain_source
    from ..building.options import RANGES

    check_ranges(vars(arguments), RANGES)
    domain = None
    if arguments.source is None:
        domain = domain_of(arguments, also)
        source = domain_source(
            domain, raw_dir=arguments.raw_dir, download_dir=arguments.download_dir, **_dates(arguments, domain.source)
        )
    else:
        if arguments.raw_dir is not None or arguments.amazon_category:
            raise ValueError(
                "--source cannot be combined with --raw_dir or --amazon_category; give its files instead."
            )
        needed = SOURCES[arguments.source].paths
        refuse_foreign_paths(arguments, f"the source {arguments.source}", needed)
        paths = {name: getattr(arguments, name) for name in needed}
        check_files(arguments, (*needed, *also))
        source = get_source(arguments.source, **paths, **_dates(arguments, arguments.source))
    return source, domain


def domain_of(arguments: SourceArguments, also: tuple[str, ...] = ()) -> "Domain":
    """Finds the domain of the options where no `--source` is given: one of the paper's or an Amazon category.

    Raises:
        ValueError: If the domain is unknown, or options belong to another source.
        FileNotFoundError: If files of the options in `also` do not exist.
    """
    from ..building.domains import amazon_domain, get_domain

    refuse_foreign_paths(arguments, "a domain's own source", ())
    check_files(arguments, also)
    if arguments.amazon_category:
        return amazon_domain(arguments.amazon_category, arguments.amazon_year, name=arguments.domain)
    return get_domain(arguments.domain)


def user_stride_of(arguments: SourceArguments, domain: "Domain | None") -> int:
    """The `--user_stride` given, else that of the domain, else 1."""
    if arguments.user_stride is not None:
        return arguments.user_stride
    return domain.user_stride if domain else 1


def _dates(arguments: SourceArguments, source: str) -> dict[str, Any]:
    dates = {"since": arguments.first_day, "until": arguments.last_day}
    given = {name: date for name, date in dates.items() if date is not None}
    if given and not SOURCES[source].has_days:
        with_days = " and ".join(name for name, entry in SOURCES.items() if entry.has_days)
        raise ValueError(
            f"The source {source} does not take --first_day or --last_day; they are options of {with_days}."
        )
    return given


def check_files(arguments: SourceArguments, names: tuple[str, ...]) -> None:
    """Refuses paths that do not exist.

    Args:
        arguments (`SourceArguments`): Holds a path, several or `None` under each name.
        names (`tuple[str, ...]`): Options to check.

    Raises:
        FileNotFoundError: Names every missing option and path.
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
    """Refuses missing paths and paths of another source.

    Raises:
        ValueError: Names every such option.
    """
    names = sorted({name for entry in SOURCES.values() for name in entry.paths})
    given = {name for name in names if getattr(arguments, name) is not None}
    missing = [name for name in needed if name not in given]
    foreign = [name for name in names if name in given and name not in needed]
    for verb, wrong in (("needs", missing), ("does not take", foreign)):
        if wrong:
            options = " and ".join(f"--{name}" for name in wrong)
            raise ValueError(f"{what[0].upper()}{what[1:]} {verb} {options}; see --help.")
