"""The domains' records against the paper's own arithmetic, and the way from a domain to its files."""

import gzip
from pathlib import Path

import pytest

from dataset_builders.benchmark.schema import features, item_text
from dataset_builders.building import domain_files
from dataset_builders.building.domain_files import default_download_dir, domain_source
from dataset_builders.building.domains import DOMAINS, Domain, amazon_domain, get_domain
from dataset_builders.building.remote_file import RemoteFile
from modeling_mender.training.recipes import PUBLISHED_DOMAINS

PAPER = sorted(DOMAINS)
WITH_TABLE_4 = [name for name in PAPER if DOMAINS[name].table_4_row()]


def test_the_paper_has_five_domains_and_preferences_for_four():
    assert set(PAPER) == {"beauty", "toys", "sports", "steam", "yelp"}
    assert set(WITH_TABLE_4) == {"beauty", "toys", "sports", "steam"}


def test_the_domains_whose_benchmark_recipes_expect_on_the_hub_are_the_papers():
    assert set(PUBLISHED_DOMAINS) <= set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_record_is_under_its_own_name_with_fields_that_items_have(name):
    domain = get_domain(name)
    assert domain.name == name
    assert set(domain.item_text_fields) <= set(features("items"))
    assert domain.item_text_fields[0] == "title"
    assert "https://" in domain.terms and domain.terms.endswith((".", "digests.")) and domain.citation.endswith(".")


@pytest.mark.parametrize("name", PAPER)
def test_averages_of_table_3_follow_from_its_counts(name):
    paper = DOMAINS[name].paper
    assert paper.actions / paper.users == pytest.approx(paper.actions_per_user, abs=1e-3)
    printed = pytest.approx(paper.actions_per_item, abs=2e-3)
    if name == "steam":  # the one slip of the paper, kept as printed and told in the remark
        assert paper.actions / paper.items != printed and "57.6 per item" in DOMAINS[name].remark
    else:
        assert paper.actions / paper.items == printed


@pytest.mark.parametrize("name", WITH_TABLE_4)
def test_preferences_of_table_4_are_positive_or_negative_and_five_for_each_action(name):
    paper = DOMAINS[name].paper
    assert paper.positive + paper.negative == paper.preferences
    if name == "steam":
        assert 5 * paper.actions != paper.preferences and f"{5 * paper.actions:,}" in DOMAINS[name].remark
    else:
        assert 5 * paper.actions == paper.preferences
    assert all(rows % 2 == 0 for rows in paper.steering_rows)


def test_rows_read_as_the_paper_prints_them():
    beauty = DOMAINS["beauty"]
    assert beauty.table_3_row() == ("22,363", "12,101", "8.8764", "16.403", "198,502")
    assert beauty.table_4_row() == (
        "992,510",
        "708,706",
        "283,804",
        "17,811/3,671/3,716",
        "24,114/16,702/15,956",
    )
    assert DOMAINS["yelp"].table_3_row() and DOMAINS["yelp"].table_4_row() is None
    assert amazon_domain("Books").table_3_row() is None and amazon_domain("Books").table_4_row() is None


def test_item_text_of_toys_alone_among_the_amazon_domains_has_the_description():
    with_description = {
        name for name in ("beauty", "toys", "sports") if "description" in DOMAINS[name].item_text_fields
    }
    assert with_description == {"toys"}


def test_item_text_of_steam_holds_all_seven_attributes_of_the_appendix():
    game = {
        "title": "Lantern Harbour",
        "categories": ["Adventure"],
        "description": "specs: Single-player; tags: Puzzle; sentiment: Very Positive",
        "price": 9.99,
        "brand": "Oakmere",
    }
    text = item_text(game, DOMAINS["steam"].item_text_fields)
    for part in (
        "Lantern Harbour",
        "Adventure",
        "specs: Single",
        "tags: Puzzle",
        "sentiment: Very",
        "9.99",
        "Oakmere",
    ):
        assert part in text


def test_only_steam_is_subsampled():
    assert {name: DOMAINS[name].user_stride for name in PAPER if DOMAINS[name].user_stride != 1} == {"steam": 7}


@pytest.mark.parametrize("name", [name for name in PAPER if name != "yelp"])
def test_every_file_has_a_mirror_and_all_go_over_https(name):
    for remote in DOMAINS[name].files.values():
        assert len(remote.urls) >= 2
        assert all(url.startswith("https://") and url.endswith("/" + remote.name) for url in remote.urls)
        assert len({url.split("/")[2] for url in remote.urls}) == len(remote.urls)


def test_yelp_is_never_downloaded():
    assert DOMAINS["yelp"].files == {"archive": None}
    with pytest.raises(FileNotFoundError, match="cannot be downloaded: get the data yourself .*--raw_dir"):
        domain_source(DOMAINS["yelp"], download_dir=Path("unused"))


def test_unknown_domain_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'books' is none of the paper's .beauty, toys, sports, steam, yelp"):
        get_domain("books")


@pytest.mark.parametrize(
    ("year", "reviews", "metadata"),
    [
        (
            2014,
            "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_Video_Games_5.json.gz",
            "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_Video_Games.json.gz",
        ),
        (
            2018,
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/Video_Games_5.json.gz",
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/metaFiles2/meta_Video_Games.json.gz",
        ),
        (
            2023,
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/Video_Games.jsonl.gz",
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_Video_Games.jsonl.gz",
        ),
    ],
)
def test_category_of_any_edition_has_its_address(year, reviews, metadata):
    domain = amazon_domain("Video_Games", year)
    assert (domain.files["reviews"].urls[0], domain.files["metadata"].urls[0]) == (reviews, metadata)
    assert str(year) in domain.title and domain.paper is None and domain.user_stride == 1


def test_editions_keep_apart_files_of_one_name():
    assert amazon_domain("Books", 2014).files["metadata"].name == amazon_domain("Books", 2018).files["metadata"].name
    assert amazon_domain("Books", 2014).collection != amazon_domain("Books", 2018).collection


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("Video Games",), "such as 'Video_Games'"),
        (("Clothing, Shoes & Jewelry",), "such as 'Clothing_Shoes_and_Jewelry'"),
        (("../secret",), "such as 'secret'"),
        (("",), "such as 'Video_Games'"),
        (("Books", 2015), "must be one of 2014, 2018, 2023"),
        (("Books", 2014, "my books"), "must be ASCII letters and digits"),
    ],
)
def test_category_that_cannot_be_one_is_refused_with_the_likely_one(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        amazon_domain(*arguments)


@pytest.mark.parametrize("packed", [True, False])
def test_own_files_are_taken_packed_or_not_and_nothing_is_downloaded(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(domain_files, "download", lambda *_: pytest.fail("asked the web"))
    names = ["reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"]
    paths = [tmp_path / (name if packed else name.removesuffix(".gz")) for name in names]
    for path in paths:
        path.write_bytes(gzip.compress(b"{}") if packed else b"{}")
    source = domain_source(DOMAINS["beauty"], raw_dir=tmp_path, download_dir=tmp_path / "unused")
    assert source.name == "amazon_reviews"
    assert source.inputs() == {"reviews": paths[0], "metadata": paths[1]}


def test_missing_own_files_are_all_named_with_where_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks steam_reviews.json.gz .https.* and steam_games.json.gz .https"):
        domain_source(DOMAINS["steam"], raw_dir=tmp_path)
    (tmp_path / "steam_games.json").write_bytes(b"{}")
    with pytest.raises(FileNotFoundError, match="lacks steam_reviews.json.gz .https[^ ]* of the domain steam"):
        domain_source(DOMAINS["steam"], raw_dir=tmp_path)


def test_raw_dir_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder; give the one that holds the files of toys"):
        domain_source(DOMAINS["toys"], raw_dir=tmp_path / "nowhere")


def test_archive_of_yelp_is_found_and_its_days_are_handed_on(tmp_path):
    (tmp_path / "yelp_dataset.tar").write_bytes(b"")
    source = domain_source(DOMAINS["yelp"], raw_dir=tmp_path, since="2019-01-01", until="2019-12-31")
    assert source.inputs() == {"archive": tmp_path / "yelp_dataset.tar", "since": "2019-01-01", "until": "2019-12-31"}


def test_option_that_the_source_does_not_take_is_refused(tmp_path):
    (tmp_path / "yelp_dataset.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="unexpected keyword argument 'colour'"):
        domain_source(DOMAINS["yelp"], raw_dir=tmp_path, colour="blue")


def test_files_are_downloaded_into_the_folder_of_their_collection(tmp_path, monkeypatch):
    asked = []

    def pretend(remote: RemoteFile, folder: Path, progress: bool) -> Path:
        asked.append((remote.name, folder, progress))
        return folder / remote.name

    monkeypatch.setattr(domain_files, "download", pretend)
    source = domain_source(DOMAINS["steam"], download_dir=tmp_path, progress=False)
    folder = tmp_path / "steam_2018"
    assert asked == [("steam_reviews.json.gz", folder, False), ("steam_games.json.gz", folder, False)]
    assert source.inputs() == {"reviews": folder / "steam_reviews.json.gz", "games": folder / "steam_games.json.gz"}


def test_downloads_are_kept_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_download_dir() == tmp_path / "mender" / "downloads"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_download_dir() == tmp_path / "home" / ".cache" / "mender" / "downloads"


def test_domain_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        DOMAINS["beauty"].user_stride = 2
    assert isinstance(DOMAINS["beauty"], Domain)
