"""Exact obedience on the sample shop: the items of each wish, counted from the planted attributes."""

import pytest

from dataset_builders.building.interactions import connect
from dataset_builders.building.preferences.metadata import Choice
from dataset_builders.building.preferences.paraphrases import paraphrase, word_choice
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.building.sources.sample_vocabulary import planted_item
from dataset_builders.obedience.planted import Wish, obeying_items, obeying_sets, wish_of


@pytest.fixture(scope="module")
def shop():
    """Rows of the config `items`, and the truth that they were drawn with."""
    source = SampleSource()
    rows = source.load(connect()).items.order_by("source_id").to_pyarrow().to_pylist()
    return [{"item_id": number, **row} for number, row in enumerate(rows, 1)], source.planted_truth().items


def test_every_row_is_read_as_the_item_that_was_drawn(shop):
    rows, truth = shop
    assert len(rows) == 360
    assert [planted_item(row) for row in rows] == [truth[row["source_id"]] for row in rows]


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Something Else"},
        {"title": None},
        {"brand": "Dove"},
        {"categories": ["Home"]},
        {"categories": None},
        {"title": "Lavender Oat Bar Soap"},
    ],
)
def test_an_item_of_another_shop_has_no_truth_and_its_shop_no_sets(shop, change):
    row = {**shop[0][1], **change}
    assert planted_item(row) is None
    assert obeying_sets([shop[0][0], row], ["Avoid mugs", "Search for oat bar soaps"]) == [None, None]


def test_sets_are_those_of_the_planted_attributes(shop):
    rows, truth = shop

    def items_with(kind, *names):
        planted = {row["item_id"]: truth[row["source_id"]] for row in rows}
        return {
            number
            for number, item in planted.items()
            if item.kind == kind and {*item.values.values(), item.brand}.issuperset(names)
        }

    everything = {row["item_id"] for row in rows}
    honey, oakmere = items_with("bar soap", "honey"), items_with("mug", "Oakmere")
    ceramic = items_with("mug", "botanical", "ceramic")
    assert honey and oakmere & ceramic and oakmere - ceramic
    expected = {
        "Search for honey bar soaps": honey,
        "Find honey bar soaps": honey,
        paraphrase("Search for honey bar soaps").text: honey,
        word_choice(Choice("Opt for", ("honey",), place="bar soaps")): honey,
        "Avoid honey bar soaps": everything - honey,
        "Explore other bath and body products": items_with("bar soap") | items_with("hand cream"),
        "Look for Oakmere mugs": oakmere,
        "Search for botanical ceramic mugs": ceramic,
        "Search for almond honey bar soaps": honey | items_with("bar soap", "almond"),  # no soap has both
        "Opt for durable products": None,
        "My skin is dry": None,
    }
    assert dict(zip(expected, obeying_sets(rows, list(expected)), strict=True)) == expected
    several = {
        (
            "Search for honey bar soaps",
            "Look for Oakmere mugs",
            "Opt for durable products",
            "Avoid botanical ceramic mugs",
        ): (honey | oakmere) - ceramic,
        ("Avoid mugs", "Avoid honey bar soaps"): everything - items_with("mug") - honey,
        ("Opt for durable products", "Explore popular products"): None,
    }
    assert dict(zip(several, obeying_sets(rows, list(several)), strict=True)) == several


def test_a_wish_that_no_item_can_have_is_obeyed_by_none():
    assert obeying_items(Wish(wanted=frozenset({"mugs", "plaid"})), {1: frozenset({"vases"})}) == frozenset()
    assert obeying_items(Wish(wanted=frozenset({"mugs", "retro"})), {1: frozenset({"mugs"})}) == frozenset()


def test_all_named_attributes_are_unwanted_together():
    wish = wish_of("Avoid retro glass mugs")
    assert wish == Wish(unwanted=frozenset({"retro", "glass", "mugs"}))
    assert obeying_items(wish, {1: wish.unwanted, 2: frozenset({"retro", "mugs"}), 3: frozenset()}) == {2, 3}
