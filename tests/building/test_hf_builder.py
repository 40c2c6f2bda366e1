"""The benchmark as a `datasets` builder: every config is there, and gives the rows of the published files."""

import json

import datasets
import pytest
from benchmark_world import hash_embed

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.schema import TABLES, features, splits_of
from dataset_builders.building.axes import UnsupportedAxis
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.domains import DOMAINS
from dataset_builders.building.hf_builder import PreferenceDiscerning
from dataset_builders.building.sources.sample import SampleSource


def builder(name, cache, **arguments):
    arguments = {"embed": hash_embed, "polarity": "rating_vader", "embedding_model": "hashed words", **arguments}
    return PreferenceDiscerning(config_name=name, cache_dir=str(cache), **arguments)


def test_there_is_a_config_for_every_domain_and_axis():
    assert set(PreferenceDiscerning.builder_configs) == {
        f"{domain}_{name}" for domain in ("sample", *DOMAINS) for name in (*AXES, *TABLES)
    }


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "sample"
    build_benchmark(SampleSource(), "sample", folder, hash_embed, progress=False)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", (*AXES, *TABLES))
def test_a_config_has_the_rows_of_the_published_files(name, published, cache, tmp_path):
    made = builder(f"sample_{name}", cache)
    made.download_and_prepare()
    dataset = made.as_dataset()
    loaded = datasets.load_dataset(str(published), f"sample_{name}", cache_dir=str(tmp_path))
    assert set(dataset) == set(splits_of(name))
    for split in dataset:
        assert dataset[split].features == features(name)
        assert dataset[split].to_list() == loaded[split].to_list()


def test_the_configs_of_a_domain_share_their_stages(cache):
    for name in ("fine", "coarse"):
        builder(f"sample_{name}", cache).download_and_prepare()
    assert len(list((cache / "mender_stages" / "steering").iterdir())) == 1


def test_an_option_makes_another_config(cache):
    paper, released = builder("sample_fine", cache), builder("sample_fine", cache, steering="as_released")
    assert paper.config_id != released.config_id
    for each in (paper, released):
        each.download_and_prepare()
    assert released.as_dataset("train").num_rows > paper.as_dataset("train").num_rows


def test_an_axis_that_the_data_cannot_give_says_why(cache, monkeypatch):
    monkeypatch.setattr("dataset_builders.building.sequences.Sequences.has_opinions", False)
    made = builder("sample_sentiment", cache, seed=9, min_count=4)
    with pytest.raises(UnsupportedAxis, match="neither ratings nor review texts"):
        made.download_and_prepare()


def raw_beauty(folder):
    """Twelve reviewers who all bought the same eight things, in the layout of 2014."""
    nouns = "soap polish mask cream oil brush comb scrub".split()
    reviews = [
        {
            "reviewerID": f"R{user}",
            "asin": f"B{n}",
            "overall": 1 + (user + n) % 5,
            "unixReviewTime": 10 * user + n,
            "summary": "So it goes",
            "reviewText": f"The {noun} is what it is.",
        }
        for user in range(12)
        for n, noun in enumerate(nouns)
    ]
    items = [{"asin": f"B{n}", "title": f"Rose {noun}", "categories": [["Beauty"]]} for n, noun in enumerate(nouns)]
    for name, records in (("reviews_Beauty_5.json", reviews), ("meta_Beauty.json", items)):
        (folder / name).write_text("\n".join(json.dumps(record) for record in records))


def test_a_domain_is_built_from_raw_files_in_a_folder(tmp_path):
    raw_beauty(tmp_path)
    made = builder("beauty_recommendation", tmp_path / "cache", data_dir=str(tmp_path))
    made.download_and_prepare()
    dataset = made.as_dataset("test")
    assert dataset.num_rows == 12 and "McAuley" in dataset.info.license
    assert all(len(row["history"]) == 7 and row["target"] == 8 for row in dataset)


def test_a_folder_without_the_files_says_which_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"reviews_Beauty_5\.json\.gz"):
        builder("beauty_items", tmp_path / "cache", data_dir=str(tmp_path)).download_and_prepare()
