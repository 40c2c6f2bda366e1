"""The sample shop: deterministic, labelled synthetic, and its planted truth shows in what users buy and write."""

import time
from collections import Counter

import pytest
from benchmark_world import follows_taste, is_averted

from dataset_builders.building.interactions import connect, prepare_interactions
from dataset_builders.building.sources import sample
from dataset_builders.building.sources.sample import FAMILIES, SYNTHETIC_NOTICE, SampleSource


@pytest.fixture(scope="module")
def source():
    return SampleSource()


@pytest.fixture(scope="module")
def raw(source):
    return source.load(connect())


@pytest.fixture(scope="module")
def actions(raw):
    return raw.interactions.order_by("row").to_pyarrow().to_pylist()


@pytest.fixture(scope="module")
def items(raw):
    return raw.items.order_by("source_id").to_pyarrow().to_pylist()


def test_same_seed_gives_the_same_shop_and_another_seed_another(actions, items):
    again = SampleSource().load(connect())
    assert again.interactions.order_by("row").to_pyarrow().to_pylist() == actions
    assert again.items.order_by("source_id").to_pyarrow().to_pylist() == items
    other = SampleSource(seed=1).load(connect())
    assert other.interactions.order_by("row").to_pyarrow().to_pylist() != actions


def test_generation_takes_less_than_two_seconds():
    start = time.process_time()
    SampleSource(seed=2).planted_truth()
    assert time.process_time() - start < 2


def test_items_have_unique_titles_that_name_their_values_and_their_brand(source, items):
    truth = source.planted_truth()
    assert len(items) == 360
    assert len({item["title"] for item in items}) == 360
    for item in items:
        planted = truth.items[item["source_id"]]
        assert item["brand"] == planted.brand and item["title"].endswith(f" by {planted.brand}")
        assert all(value.title() in item["title"] for value in planted.values.values())
        assert len(item["categories"]) == 3


def test_a_value_belongs_to_one_family_only():
    values = [value for family in FAMILIES.values() for value in family]
    assert len(values) == len(set(values))


def test_shop_is_labelled_synthetic(items):
    assert "synthetic" in SYNTHETIC_NOTICE
    assert all("synthetic" in item["description"] for item in items)


def test_users_have_two_or_three_kinds_and_never_like_what_they_avoid(source):
    for user in source.planted_truth().users.values():
        assert len(user.kinds) in (2, 3) and len(user.liked) in (1, 2) and len(user.averted) in (1, 2)
        assert set(user.liked).isdisjoint(user.averted)


def test_reviews_are_negative_exactly_where_an_averted_value_was_bought(source, actions):
    truth = source.planted_truth()
    for action in actions:
        averted = is_averted(truth, action["user_id"], action["source_id"])
        assert (action["rating"] <= 2) == averted
        if averted:
            values = set(truth.items[action["source_id"]].values.values())
            named = values & set(truth.users[action["user_id"]].averted)
            assert any(value in action["review"] for value in named)


def test_shares_of_negative_reviews_and_of_purchases_by_taste_are_as_planned(source, actions):
    truth = source.planted_truth()
    negative = sum(action["rating"] <= 2 for action in actions) / len(actions)
    by_taste = sum(follows_taste(truth, action["user_id"], action["source_id"]) for action in actions) / len(actions)
    assert 0.15 <= negative <= 0.20
    assert 0.80 <= by_taste <= 0.90


def test_no_user_buys_an_item_twice_and_every_user_buys_six_to_sixteen(actions):
    assert max(Counter((action["user_id"], action["source_id"]) for action in actions).values()) == 1
    lengths = Counter(action["user_id"] for action in actions).values()
    assert min(lengths) == 6 and max(lengths) == 16


def test_rows_of_a_user_are_in_time_order(actions):
    for earlier, later in zip(actions, actions[1:], strict=False):
        assert earlier["user_id"] != later["user_id"] or earlier["timestamp"] <= later["timestamp"]


def test_liked_values_are_bought_far_more_often_than_chance(source, actions):
    truth = source.planted_truth()
    in_kinds = [a for a in actions if truth.items[a["source_id"]].kind in truth.users[a["user_id"]].kinds]
    bought = sum(
        not set(truth.users[a["user_id"]].liked).isdisjoint(truth.items[a["source_id"]].values.values())
        for a in in_kinds
    ) / len(in_kinds)
    offered = total = 0
    for user in truth.users.values():
        choices = [item for item in truth.items.values() if item.kind in user.kinds]
        offered += sum(not set(user.liked).isdisjoint(item.values.values()) for item in choices)
        total += len(choices)
    assert bought > 2 * offered / total


def test_previous_kind_is_continued_more_often_than_a_random_taste_purchase_would(source, actions):
    truth = source.planted_truth()
    same = liked = 0
    for earlier, later in zip(actions, actions[1:], strict=False):
        user = truth.users[later["user_id"]]
        kinds = [truth.items[action["source_id"]].kind for action in (earlier, later)]
        if earlier["user_id"] == later["user_id"] and set(kinds) <= set(user.kinds):
            same, liked = same + (kinds[0] == kinds[1]), liked + 1 / len(user.kinds)
    assert same > 1.15 * liked


def test_most_of_the_shop_survives_the_five_core(raw):
    interactions = prepare_interactions(raw)
    assert interactions.num_items >= 350 and interactions.num_users >= 550


@pytest.mark.parametrize("num_items", [120, 480])
def test_other_sizes_keep_titles_unique(num_items):
    raw = SampleSource(num_items=num_items, num_users=20).load(connect())
    titles = raw.items.to_pyarrow()["title"].to_pylist()
    assert len(set(titles)) == len(titles) == num_items


@pytest.mark.parametrize(
    ("options", "named"), [({"num_items": 5}, "num_items (5)"), ({"num_users": 0}, "num_users (0)")]
)
def test_impossible_sizes_are_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named.replace("(", r"\(").replace(")", r"\)")):
        SampleSource(**options)


def test_largest_shop_has_a_title_for_every_item():
    smallest = min(len(sample._combinations(kind)) for kind in sample.KINDS)
    most = smallest * sample.BRANDS_PER_KIND * len(sample.KINDS)
    titles = SampleSource(num_items=most, num_users=1).load(connect()).items.to_pyarrow()["title"].to_pylist()
    assert len(set(titles)) == most
    with pytest.raises(ValueError, match="num_items"):
        SampleSource(num_items=most + 1)
