"""The metadata approximator: five distinct preferences from the past only, aversions only where they are due."""

from collections import Counter

import pytest
from benchmark_world import item, read_events
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.benchmark.negation import is_negative_preference
from dataset_builders.benchmark.schema import known_brand
from dataset_builders.building.interactions import connect, prepare_interactions
from dataset_builders.building.preferences.approximation import PastItem, check_five
from dataset_builders.building.preferences.item_attributes import title_words
from dataset_builders.building.preferences.metadata import MetadataApproximator
from dataset_builders.building.sources.sample import SampleSource

SOAPS = ["Beauty", "Bath", "Soaps"]
POLISH = ["Beauty", "Makeup", "Nail Polish"]
SHOP = [
    item(1, "Lavender Bar Soap 4 oz", "Dove", SOAPS),
    item(2, "Patchouli Bar Soap 4 oz", "Nag", SOAPS),
    item(3, "Patchouli Oatmeal Soap", "Nag", SOAPS),
    item(4, "Shimmer Red Nail Polish", "OPI", POLISH),
    item(5, "Shimmer Lavender Polish", "OPI", POLISH),
    item(6, "Matte Oatmeal Mask", "Unknown", ["Beauty", "Skin Care", "Masks"]),
]


def approximate(events, shop=SHOP, **options):
    approximator = MetadataApproximator(**options)
    approximator.prepare(shop)
    by_id = {row["item_id"]: row for row in shop}
    past = [PastItem(by_id[item_id], polarity=polarity) for item_id, polarity in events]
    return approximator.approximate_user("u0", past)


def test_the_same_words_in_another_order_are_not_a_second_wish():
    shop = [item(1, "Holiday Snow Tin Card", "", ["Cards"]), item(2, "Snow Holiday Box Card", "", ["Cards"])]
    five = approximate([(1, 1), (2, 1)], shop)[-1]
    words = [frozenset(word for word in each.lower().split()[1:] if word not in ("for", "and")) for each in five]
    assert len(set(words)) == 5, five


def test_a_word_of_most_titles_tells_nothing_apart():
    shop = [item(n, f"Voucher {word}", "", []) for n, word in enumerate("alder birch cedar elm fir hazel".split(), 1)]
    assert not any("voucher" in each.lower() for each in approximate([(1, 1), (2, 1)], shop)[-1])


histories = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([None, 1, -1])), min_size=1, max_size=25)


@given(histories)
@settings(max_examples=200, deadline=None)
def test_every_position_has_five_distinct_preferences_and_at_most_two_aversions(events):
    result = approximate(events)
    assert len(result) == len(events)
    for position, five in enumerate(result):
        check_five(five)
        negative = [preference for preference in five if is_negative_preference(preference)]
        assert len(negative) <= 2
        assert all(preference.startswith("Avoid ") for preference in negative)
        if not any(polarity == -1 for _, polarity in events[max(0, position - 19) : position + 1]):
            assert not negative


@given(histories)
@settings(max_examples=100, deadline=None)
def test_preferences_never_depend_on_a_later_item_nor_on_one_before_the_window(events):
    result = approximate(events, window=5)
    for position in range(1, len(events) + 1):
        seen = events[max(0, position - 5) : position]
        assert approximate(seen, window=5)[-1] == result[position - 1]


@given(histories)
@settings(max_examples=200, deadline=None)
def test_an_aversion_never_names_a_word_or_brand_liked_more_often_than_disliked(events):
    by_id = {row["item_id"]: row for row in SHOP}
    for position, five in enumerate(approximate(events)):
        balance = Counter()
        for item_id, polarity in events[max(0, position - 19) : position + 1]:
            step = -1 if polarity == -1 else 1
            names = [*title_words(by_id[item_id]["title"]), known_brand(by_id[item_id]["brand"])]
            for name in names:
                balance[name.lower()] += step
        nouns = {"soaps", "soap", "nail", "polish", "masks", "mask", "products"}
        for preference in five:
            words = set(preference.lower().split()[1:]) - nouns
            if is_negative_preference(preference):
                assert words or min(balance[noun] for noun in ("soap", "polish", "mask")) < 0, (preference, balance)
                assert all(balance[word] < 0 for word in words), (preference, balance)
            else:
                assert all(balance[word] > 0 for word in words if word in {"lavender", "patchouli", "shimmer", "red"})


def test_a_disliked_patchouli_soap_is_avoided_and_a_liked_lavender_soap_searched():
    five = approximate([(1, 1), (2, -1), (4, 1)])[-1]
    assert "Avoid patchouli bar soaps" in five or "Avoid patchouli soaps" in five
    assert any("lavender" in preference and "soaps" in preference for preference in five)
    assert any("shimmer" in preference and "nail polish" in preference for preference in five)


def test_wishes_come_from_different_categories():
    five = approximate([(1, None), (4, None), (6, None)])[-1]
    for category in ("soaps", "nail polish", "masks"):
        assert any(preference.endswith(category) for preference in five), five


@pytest.mark.parametrize(
    "only",
    [
        item(1, "Rose Water"),
        item(1, None, "", ["Beauty"]),
        item(1, "", "Dove"),
        item(1, None),
        item(1, "4 oz (Pack of 2)", "Unknown", ["Other"]),
    ],
)
@pytest.mark.parametrize("polarity", [None, -1])
def test_a_history_of_one_poor_item_still_gives_five(only, polarity):
    (five,) = approximate([(1, polarity)], [only])
    check_five(five)
    assert not any("unknown" in preference.lower() or "  " in preference for preference in five)


def test_what_an_item_lacks_is_not_named_as_what_it_has():
    assert title_words("Oil Free and Paraben-Free Gel, No Sulfates") == ["oil-free", "paraben-free", "gel"]


def test_a_word_that_the_category_says_is_not_repeated():
    shop = [item(n, "Ivory Vase Blush", "", ["Home", "Vases"]) for n in (1, 2)]
    assert "Search for ivory blush vases" in approximate([(1, None)], shop)[-1]


def test_an_unknown_item_is_named():
    approximator = MetadataApproximator()
    approximator.prepare(SHOP)
    with pytest.raises(ValueError, match="Item 99"):
        approximator.approximate_user("u0", [PastItem(item(99, "x"))])


@pytest.mark.parametrize("five", [("a", "b", "c", "d"), ("a", "A", "b", "c", "d"), ("a", " ", "b", "c", "d")])
def test_broken_sets_are_refused(five):
    with pytest.raises(ValueError, match="five|5 distinct"):
        check_five(five)


@pytest.fixture(scope="module")
def sample():
    source = SampleSource(num_users=200)
    interactions = prepare_interactions(source.load(connect()))
    items = interactions.items.order_by("item_id").to_pyarrow().to_pylist()
    return source.planted_truth(), read_events(interactions.events), items


def test_aversions_on_the_sample_name_what_disliked_items_have(sample):
    truth, sequences, items = sample
    approximator = MetadataApproximator()
    approximator.prepare(items)
    num_aversions = averted = wished = liked = 0
    for user_id, events in zip(sequences.user_ids, sequences.past_items(items), strict=True):
        five = approximator.approximate_user("u0", events)[-1]
        user = truth.users[user_id]
        disliked = [truth.items[event.item["source_id"]] for event in events if event.polarity == -1]
        for preference in five:
            words = set(preference.lower().split())
            if is_negative_preference(preference):
                num_aversions += 1
                of_disliked = {value for planted in disliked for value in planted.values.values()}
                brands = {word for planted in disliked for word in planted.brand.lower().split()}
                nouns = {word for planted in disliked for word in f"{planted.kind} {planted.kind}s".split()}
                assert words & (of_disliked | brands | nouns), (preference, disliked)
                averted += bool(words & set(user.averted))
            else:
                wished += bool(words & set(user.averted))
                liked += 1
    assert num_aversions > 100
    # Chance would name the averted one of the two or three values of a disliked item about every second time.
    assert averted / num_aversions > 0.8
    assert wished / liked < 0.02
