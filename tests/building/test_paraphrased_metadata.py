"""Metadata/2 on shops without a table: categories, brands and prices, never a word of a title."""

import pytest
from benchmark_world import item
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.benchmark.negation import is_negative_preference
from dataset_builders.building.preferences.approximation import PastItem, check_five
from dataset_builders.building.preferences.item_attributes import title_words, word_stems
from dataset_builders.building.preferences.metadata import MetadataApproximator
from dataset_builders.building.preferences.paraphrased_metadata import ParaphrasedMetadataApproximator
from dataset_builders.building.preferences.wordings import WORDINGS, metadata_approximator

SOAPS = ["Beauty", "Bath", "Cleansing"]
POLISH = ["Beauty", "Makeup", "Nail Polish"]
SHOP = [
    item(1, "Lavender Bar Soap 4 oz", "Dove", SOAPS),
    item(2, "Patchouli Bath Soap by Nag", "Nag", SOAPS),
    item(3, "Patchouli Cleansing Oatmeal Soap", "Nag", SOAPS),
    item(4, "Shimmer Red Nail Polish OPI", "OPI", POLISH),
    item(5, "Shimmer Lavender Lacquer", "OPI", POLISH),
    item(6, "Things from the Shelf", "Unknown", ["Beauty", "Skin Care", "Masks"]),
    item(7, "Suggest Nothing", "", []),
    item(8, "Brown Sugar Scrub", "Nag", SOAPS),
    item(9, "Tea Tree Gel", "Dove", SOAPS),
    item(10, "Almond Butter", "Nag", SOAPS),
]
for number, one in enumerate(SHOP):
    one["price"] = None if number == 6 else float(number)  # the two dearest of "cleansing" are 9 and 10


class Recording(ParaphrasedMetadataApproximator):
    """Remembers the choices behind each sentence."""

    def word(self, choice, tastes):
        sentence = super().word(choice, tastes)
        self.choices = {**getattr(self, "choices", {}), sentence: choice}
        return sentence


def approximate(events, shop=SHOP, kind=ParaphrasedMetadataApproximator, **options):
    approximator = kind(**options)
    approximator.prepare(shop)
    by_id = {row["item_id"]: row for row in shop}
    past = [PastItem(by_id[item_id], polarity=polarity) for item_id, polarity in events]
    return approximator.approximate_user("u0", past), approximator


histories = st.lists(st.tuples(st.integers(1, 10), st.sampled_from([None, 1, -1])), min_size=1, max_size=25)


@given(histories)
@settings(max_examples=150, deadline=None)
def test_no_preference_has_a_word_of_a_title_it_was_derived_from(events):
    result, approximator = approximate(events, kind=Recording)
    titles = {approximator._attributes[row["item_id"]]: row["title"] for row in SHOP}
    for five in result:
        check_five(five)
        negative = [text for text in five if is_negative_preference(text)]
        assert len(negative) <= 2 and all(text.startswith("Avoid ") for text in negative)
    for sentence, choice in approximator.choices.items():
        if sentence is not None and not choice.generic:
            said = set().union(*(word_stems(word) for one in choice.items for word in title_words(titles[one])))
            stems = set().union(*(word_stems(word) for word in title_words(sentence)))
            assert said.isdisjoint(stems), (sentence, choice)


@given(histories)
@settings(max_examples=75, deadline=None)
def test_preferences_depend_on_the_window_alone(events):
    result, _ = approximate(events, window=5)
    for position in range(1, len(events) + 1):
        assert approximate(events[max(0, position - 5) : position], window=5)[0][-1] == result[position - 1]


def test_a_category_a_brand_and_a_price_are_named_where_the_title_does_not_say_them():
    (five,), _ = approximate([(10, 1)])
    assert "Suggest things from the cleansing shelf, dearer than most of them" in five
    assert "Suggest things from the cleansing shelf of the brand Nag, dearer than most of them" in five


def test_a_category_in_the_title_gives_way_to_the_one_above():
    (five,), _ = approximate([(3, 1)])
    assert any("from the bath shelf" in text for text in five)
    assert not any("cleansing" in text for text in five)


def test_a_price_is_avoided_only_if_it_is_disliked_more_often_than_liked():
    dear = "Avoid things from the cleansing shelf, dearer than most of them"
    assert dear in approximate([(1, 1), (9, -1)])[0][-1]
    assert dear not in approximate([(10, 1), (9, -1)])[0][-1]  # as dear, and liked


@pytest.mark.parametrize(
    "only",
    [
        item(1, "Rose Water"),
        item(1, None, "", ["Beauty"]),
        item(1, "", "Dove"),
        item(1, None),
        item(1, "Suggest Things", "Unknown", ["Other"]),
    ],
)
@pytest.mark.parametrize("polarity", [None, -1])
def test_a_history_of_one_poor_item_still_gives_five(only, polarity):
    (five,), _ = approximate([(1, polarity)], [only])
    check_five(five)
    assert not any("unknown" in preference.lower() or "  " in preference for preference in five)


def test_the_name_of_a_wording_chooses_the_approximator():
    assert [type(metadata_approximator("tables", 20, wording)) for wording in (*WORDINGS, None)] == [
        MetadataApproximator,
        ParaphrasedMetadataApproximator,
        MetadataApproximator,
    ]
    fingerprints = [metadata_approximator("tables", 20, wording).fingerprint() for wording in WORDINGS]
    assert fingerprints == ["metadata/20", "metadata/2/20"]
    with pytest.raises(ValueError, match="'metadata/3' is not known; choose one of metadata/1, metadata/2"):
        metadata_approximator("tables", 20, "metadata/3")
