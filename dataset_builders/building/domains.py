"""Records of the paper's domains and of other Amazon categories: files, terms, item text and counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..benchmark.schema import ITEM_TEXT_FIELDS, config_name
from .remote_file import RemoteFile
from .sources import SOURCES

Splits = tuple[int, int, int]

PAPER_EMBEDDING_MODEL = "sentence-transformers/sentence-t5-base"
DEFAULT_EMBEDDING_MODEL = "minilm"
"""Embedding model of every domain that is none of the paper's: needs no download, see
[`~dataset_builders.building.text_embedding.minilm_path`]."""


@dataclass(frozen=True)
class PaperCounts:
    """A row of table 3, and one of table 4 where there is one, as printed.

    Args:
        users, items, actions (`int`), actions_per_user, actions_per_item (`float`): Table 3, after the k-core.
        preferences, positive, negative (`int`, *optional*): Table 4.
        sentiment_rows, steering_rows (`tuple[int, int, int]`, *optional*): Rows of the splits train, validation and
            test: pos/neg, and fine and coarse together.
    """

    users: int
    items: int
    actions_per_user: float
    actions_per_item: float
    actions: int
    preferences: int | None = None
    positive: int | None = None
    negative: int | None = None
    sentiment_rows: Splits | None = None
    steering_rows: Splits | None = None


@dataclass(frozen=True)
class Domain:
    """A domain of the benchmark.

    Args:
        name (`str`): First part of its configs' names.
        title (`str`): Title for cards.
        source (`str`): Reader of its files, see [`~dataset_builders.building.sources.SOURCES`].
        collection (`str`): Folder of its downloads; files of two collections may share a name.
        files (`Mapping[str, RemoteFile | None]`): Option of the source -> file; `None` for a file that only the user
            can get.
        item_text_fields (`tuple[str, ...]`): Fields of an item that are embedded (appendix A.1), in the order of
            [`~dataset_builders.benchmark.schema.item_text`].
        embedding_model (`str`): Embedding model that a build of it uses unless another is given.
        terms (`str`): Origin, license and terms of use, with the place to read them; for the card.
        citation (`str`): Works to cite.
        user_stride (`int`): Stride of the users that are kept after the k-core.
        paper ([`PaperCounts`], *optional*): Counts that the paper reports.
        remark (`str`): Remark on the comparison with the paper's counts.
    """

    name: str
    title: str
    source: str
    collection: str
    files: Mapping[str, RemoteFile | None]
    item_text_fields: tuple[str, ...]
    terms: str
    citation: str
    embedding_model: str = DEFAULT_EMBEDDING_MODEL
    user_stride: int = 1
    paper: PaperCounts | None = None
    remark: str = ""

    def table_3_row(self) -> tuple[str, ...] | None:
        """Users, items, actions per user and per item, and actions as in the paper; `None` for other domains."""
        if self.paper is None:
            return None
        paper = self.paper
        averages = (str(paper.actions_per_user), str(paper.actions_per_item))
        return f"{paper.users:,}", f"{paper.items:,}", *averages, f"{paper.actions:,}"

    def table_4_row(self) -> tuple[str, ...] | None:
        """Preferences, positive and negative ones, and the rows of pos/neg and of fine/coarse as
        train/validation/test; `None` for a domain that table 4 does not have."""
        if self.paper is None or self.paper.preferences is None:
            return None
        paper = self.paper
        counts = (f"{count:,}" for count in (paper.preferences, paper.positive, paper.negative))
        rows = ("/".join(f"{count:,}" for count in rows or ()) for rows in (paper.sentiment_rows, paper.steering_rows))
        return *counts, *rows


_AMAZON_PAGES = {
    2014: "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    2018: "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
    2023: "https://amazon-reviews-2023.github.io/",
}
_AMAZON_CITATIONS = {
    2014: "R. He and J. McAuley, Ups and downs: modeling the visual evolution of fashion trends with one-class "
    "collaborative filtering, WWW 2016; J. McAuley, C. Targett, Q. Shi and A. van den Hengel, Image-based "
    "recommendations on styles and substitutes, SIGIR 2015.",
    2018: "J. Ni, J. Li and J. McAuley, Justifying recommendations using distantly-labeled reviews and fine-grained "
    "aspects, EMNLP 2019.",
    2023: "Y. Hou, J. Li, Z. He, A. Yan, X. Chen and J. McAuley, Bridging language and items for retrieval and "
    "recommendation, arXiv:2403.03952, 2024.",
}
_MCAULEY_LAB = "https://mcauleylab.ucsd.edu/public_datasets/data"
_WHAT_IS_IN_THE_ROWS = (
    "The rows hold texts about {items} and preferences that were made from their reviews or from those texts; no "
    "review is in them."
)


def _amazon_files(category: str, year: int) -> dict[str, RemoteFile]:
    """The reviews (5-core where published with texts) and the metadata of one category."""
    if year == 2014:
        # The lab's own page of this edition links to SNAP.
        bases = [
            "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
            f"{_MCAULEY_LAB}/amazon/categoryFiles",
        ]
        names = {"reviews": f"reviews_{category}_5.json.gz", "metadata": f"meta_{category}.json.gz"}
        folders = {"reviews": "", "metadata": ""}
    elif year == 2018:
        bases = [f"{_MCAULEY_LAB}/amazon_v2", "https://jmcauley.ucsd.edu/data/amazon_v2"]
        names = {"reviews": f"{category}_5.json.gz", "metadata": f"meta_{category}.json.gz"}
        folders = {"reviews": "/categoryFilesSmall", "metadata": "/metaFiles2"}
    else:
        bases = [f"{_MCAULEY_LAB}/amazon_2023/raw"]
        names = {"reviews": f"{category}.jsonl.gz", "metadata": f"meta_{category}.jsonl.gz"}
        folders = {"reviews": "/review_categories", "metadata": "/meta_categories"}
    return {
        option: RemoteFile(name, tuple(f"{base}{folders[option]}/{name}" for base in bases))
        for option, name in names.items()
    }


def amazon_domain(category: str, year: int = 2014, name: str | None = None) -> Domain:
    """Makes the record of an Amazon category that the paper does not use, by its name on the lab's pages.

    Args:
        category (`str`): Category as in its file's name, for example "Video_Games".
        year (`int`, *optional*, defaults to 2014): Edition: 2014 or 2018 (5-core files), or 2023 (all reviews, reduced
            to the k-core here).
        name (`str`, *optional*): Name of the domain; the category in lower case by default.

    Returns:
        `Domain`: With title, price, brand and categories as item text, as for most of the paper's.

    Raises:
        ValueError: If the year is unknown, or the category or the name is malformed.

    >>> domain = amazon_domain("Video_Games", 2018)
    >>> domain.name, domain.files["reviews"].name
    ('video_games', 'Video_Games_5.json.gz')
    """
    if year not in _AMAZON_PAGES:
        raise ValueError(f"year ({year}) must be one of {', '.join(map(str, _AMAZON_PAGES))}")
    if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", category):
        likely = "_".join(re.findall(r"[A-Za-z0-9]+", category.replace("&", " and ")))
        raise ValueError(
            f"category ({category!r}) must be written as in its file's name, such as {likely or 'Video_Games'!r}; see "
            f"{_AMAZON_PAGES[year]}"
        )
    name = name or category.lower()
    config_name(name, "items")
    kind = "all reviews" if year == 2023 else "5-core"
    return Domain(
        name=name,
        title=f"Amazon {category.replace('_', ' ')} ({year}, {kind})",
        source="amazon_reviews",
        collection=f"amazon_{year}",
        files=_amazon_files(category, year),
        item_text_fields=ITEM_TEXT_FIELDS,
        terms=(
            f"Amazon reviews and product data, edition of {year}, collected and published for research by the McAuley "
            f"lab (UC San Diego), which asks to be cited and states no open license; the rights in reviews and "
            f"product texts stay with their owners. Read {_AMAZON_PAGES[year]} before you use or pass on what is made "
            f"from them. " + _WHAT_IS_IN_THE_ROWS.format(items="products")
        ),
        citation=_AMAZON_CITATIONS[year],
    )


def _of_the_paper(
    category: str, name: str, paper: PaperCounts, item_text_fields: tuple[str, ...] = ITEM_TEXT_FIELDS
) -> Domain:
    of_2014 = amazon_domain(category, 2014, name)
    own = {"item_text_fields": item_text_fields, "embedding_model": PAPER_EMBEDDING_MODEL, "paper": paper}
    return Domain(**{**vars(of_2014), **own, "remark": _EDITION})


_EDITION = (
    "The paper cites Ni et al. (2019), who published the edition of 2018; table 3's counts are those of the 5-core "
    "files of 2014."
)
_STEAM_LAB = "https://cseweb.ucsd.edu/~wckang"
_YELP = SOURCES["yelp"].page

DOMAINS: Mapping[str, Domain] = {
    domain.name: domain
    for domain in (
        _of_the_paper(
            "Beauty",
            "beauty",
            PaperCounts(
                *(22_363, 12_101, 8.8764, 16.403, 198_502),
                *(992_510, 708_706, 283_804),
                *((17_811, 3_671, 3_716), (24_114, 16_702, 15_956)),
            ),
        ),
        _of_the_paper(
            "Toys_and_Games",
            "toys",
            PaperCounts(
                *(19_412, 11_924, 8.6337, 14.0554, 167_597),
                *(837_985, 645_696, 192_289),
                *((11_513, 2_342, 2_508), (23_730, 15_968, 14_950)),
            ),
            (*ITEM_TEXT_FIELDS, "description"),  # appendix A.1: descriptions help on Toys alone
        ),
        _of_the_paper(
            "Sports_and_Outdoors",
            "sports",
            PaperCounts(
                *(35_598, 18_357, 8.3245, 16.143, 296_337),
                *(1_481_685, 1_075_679, 406_006),
                *((21_402, 4_275, 4_293), (36_552, 25_728, 25_188)),
            ),
        ),
        Domain(
            name="steam",
            title="Steam (2018)",
            source="steam",
            collection="steam_2018",
            files={
                option: RemoteFile(name, (f"{_STEAM_LAB}/{name}", f"{_MCAULEY_LAB}/steam/{name}"))
                for option, name in (("reviews", "steam_reviews.json.gz"), ("games", "steam_games.json.gz"))
            },
            # Title, genre, specs with tags and sentiment, price, publisher: the columns that the source puts them in.
            item_text_fields=("title", "categories", "description", "price", "brand"),
            terms=(
                "Reviews and game data of the Steam store, collected and published for research by W.-C. Kang and J. "
                "McAuley (UC San Diego), who ask to be cited and state no open license; the rights in reviews and "
                "game texts stay with their owners. Read https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data "
                "before you use or pass on what is made from them. "
                + _WHAT_IS_IN_THE_ROWS.format(items="games")
                + " The names of the reviewers are replaced by digests."
            ),
            citation=(
                "W.-C. Kang and J. McAuley, Self-attentive sequential recommendation, ICDM 2018; M. Wan and J. "
                "McAuley, Item recommendation on monotonic behavior chains, RecSys 2018; A. Pathak, K. Gupta and J. "
                "McAuley, Generating and personalizing bundle recommendations on Steam, SIGIR 2017."
            ),
            embedding_model=PAPER_EMBEDDING_MODEL,
            user_stride=7,  # the authors' code keeps every seventh user; the paper says only that it sub-samples
            paper=PaperCounts(
                *(47_761, 10_403, 12.554, 54.6549, 599_620),
                *(2_026_225, 1_495_931, 530_294),
                *((31_505, 7_968, 8_493), (19_550, 10_678, 10_626)),
            ),
            remark=(
                "The paper's figures do not agree with each other: 599,620 actions on 10,403 items are 57.6 per item, "
                "not 54.65, and five preferences for each action would be 2,998,100. Which seventh of the users was "
                "kept is not stated, so the counts can be met only about."
            ),
        ),
        Domain(
            name="yelp",
            title="Yelp Open Dataset",
            source="yelp",
            collection="yelp",
            files={"archive": None},
            item_text_fields=("title", "categories", "description"),  # the paper names none
            terms=(
                f"The Yelp Open Dataset, which Yelp gives to those who accept its user agreement ({_YELP}; the text "
                f"is Dataset_User_Agreement.pdf in the archive). The agreement allows academic use only and restricts "
                f"passing the data on: keep what is made from it among those who accepted it, unless Yelp agrees. "
                + _WHAT_IS_IN_THE_ROWS.format(items="businesses")
            ),
            citation=f"Yelp Open Dataset, {_YELP}.",
            embedding_model=PAPER_EMBEDDING_MODEL,
            paper=PaperCounts(19_855, 14_540, 10.4279, 14.2387, 207_045),
            remark=(
                "The paper states neither the edition nor the filter behind table 3, and has no row in table 4; "
                "related work keeps the reviews of 2019. The counts cannot be expected."
            ),
        ),
    )
}


def get_domain(name: str) -> Domain:
    """Returns the record of a domain of the paper.

    Args:
        name (`str`): One of [`DOMAINS`].

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in DOMAINS:
        if name == "sample":
            raise ValueError("the domain 'sample' is no download; give --source sample, which comes with this package")
        raise ValueError(
            f"domain {name!r} is none of the paper's ({', '.join(DOMAINS)}); name its --amazon_category, or its "
            f"--source and files"
        )
    return DOMAINS[name]


def default_embedding_model(domain: str) -> str:
    """Returns the embedding model of a domain by its name, whatever is installed: the paper's for a domain of the
    paper, MiniLM for the sample, one's own tables and other Amazon categories.

    >>> default_embedding_model("beauty"), default_embedding_model("sample")
    ('sentence-transformers/sentence-t5-base', 'minilm')
    """
    return DOMAINS[domain].embedding_model if domain in DOMAINS else DEFAULT_EMBEDDING_MODEL


def source_terms(source: str) -> str:
    """Returns the terms of data of which only the source is known.

    Args:
        source (`str`): See [`~dataset_builders.building.sources.SOURCES`].

    Returns:
        `str`: Origin, license and terms of use; "" for a source of the user's own data.

    >>> source_terms("yelp") == DOMAINS["yelp"].terms, source_terms("tables")
    (True, '')
    """
    if source == "amazon_reviews":
        pages = ", ".join(f"{year} {page}" for year, page in _AMAZON_PAGES.items())
        return (
            "Amazon reviews and product data, collected and published for research by the McAuley lab (UC San Diego), "
            "which asks to be cited and states no open license; the rights in reviews and product texts stay with "
            f"their owners. Read the page of your edition ({pages}) before you use or pass on what is made from them. "
            + _WHAT_IS_IN_THE_ROWS.format(items="products")
        )
    return next((domain.terms for domain in DOMAINS.values() if domain.source == source), "")
