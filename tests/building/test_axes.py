"""Rows of the axes on toy users: what is paired with what, and which axis is left out for which reason."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from benchmark_world import hash_embed, sequences
from hypothesis import given
from hypothesis import strategies as st

from dataset_builders.building.axes import UnsupportedAxis, history, recommendation, sentiment
from dataset_builders.building.axes.base import as_table
from dataset_builders.building.axes.steered import steered_rows
from dataset_builders.building.preferences.matching import EmbeddingTable
from dataset_builders.building.preferences.table import Preferences, match_targets

TITLES = ["rose soap", "red polish", "wool cap", "oat tea", "green mug"]


def tables(users, fives, ratings=None, reviews=None, window=20):
    """`fives[user][position - 1]` are the five preferences after that action."""
    table = sequences(users, ratings, window)
    for row, review in enumerate(reviews or []):
        table.reviews[row] = review
    flat = [preference for user in fives for five in user for preference in five]
    strings = list(dict.fromkeys(flat))
    ids = np.array([strings.index(preference) for preference in flat], np.int32).reshape(-1, 5)
    preferences = Preferences(strings, ids)
    embeddings = hash_embed(strings)
    matched = match_targets(table, preferences, hash_embed(TITLES), embeddings)
    embed = EmbeddingTable(hash_embed, progress=False)
    return SimpleNamespace(
        items=pa.table({"title": TITLES}),
        sequences=table,
        preferences=preferences,
        matched=matched,
        preference_embeddings=embeddings,
        embed=embed,
        steering="the reason",
    )


def five(*first):
    return (*first, *[f"Find filler {n}" for n in range(5 - len(first))])


def test_recommendation_takes_the_preference_before_the_target_that_fits_it_best():
    fives = [five("Find red things", "Find wool"), five("Find oat", "Find mug"), five("Find green"), five("late")]
    splits = recommendation.build(tables([[1, 3, 4, 5]], [fives]))
    rows = [row for split in ("train", "validation", "test") for row in splits[split].to_pylist()]
    assert [(row["history"], row["preference"], row["target"]) for row in rows] == [
        ([1], "Find wool", 3),
        ([1, 3], "Find oat", 4),
        ([1, 3, 4], "Find green", 5),
    ]
    assert [row["position"] for row in rows] == [2, 3, 4] and {row["user_id"] for row in rows} == {"u0"}


def test_history_gives_all_five_of_the_position_before():
    fives = [five(f"a{n}", f"b{n}") for n in range(4)]
    splits = history.build(tables([[1, 3, 4, 5]], [fives]))
    assert splits["test"].to_pylist()[0]["preferences"] == list(fives[2])
    assert splits["train"].to_pylist()[0]["preferences"] == list(fives[0])


def test_a_user_cut_to_the_window_has_no_target_at_its_first_item():
    fives = [five(f"a{n}") for n in range(5)]
    splits = history.build(tables([[1, 2, 3, 4, 5]], [fives], window=4))
    assert [row["position"] for row in splits["train"].to_pylist()] == [3]
    assert splits["test"].to_pylist()[0]["history"] == [2, 3, 4]


def test_a_split_without_rows_leaves_the_axis_out():
    with pytest.raises(UnsupportedAxis, match="train") as caught:
        recommendation.build(tables([[1, 2, 3]], [[five(f"a{n}") for n in range(3)]]))
    assert caught.value.axis == "recommendation"


SOUR = [five("Avoid soap"), five("Avoid soap"), five("Avoid soap", "Avoid wool cap"), five("Avoid tea")]


def test_sentiment_without_ratings_and_reviews_is_left_out_by_name():
    with pytest.raises(UnsupportedAxis, match="neither ratings nor review texts") as caught:
        sentiment.build(tables([[1, 2, 3, 4]], [SOUR]))
    assert caught.value.axis == "sentiment"


def test_sentiment_without_dislikes_is_left_out():
    with pytest.raises(UnsupportedAxis, match="no negative preference meets"):
        sentiment.build(tables([[1, 2, 3, 4]], [SOUR], [[5.0] * 4]))


def test_an_aversion_is_paired_with_the_only_disliked_item_or_the_closest_review():
    users = [[1, 2, 3, 4], [1, 2, 3, 4]]
    other = [five("Avoid red polish"), five("Avoid red polish"), five("x"), five("y")]
    reviews = ["this soap smells", "fine", "the wool cap itches", "bad tea", None, "chips", None, None]
    built = sentiment.build(
        tables(users, [SOUR, other], [[1.0, 5.0, 2.0, 1.0], [5.0, 1.0, 5.0, 5.0]], reviews=reviews)
    )
    pairs = {split: {(r["preference_negative"], r["target"]) for r in t.to_pylist()} for split, t in built.items()}
    assert ("Avoid red polish", 2) in pairs["train"]
    assert pairs["test"] == {("Avoid tea", 4)}
    assert ("Avoid wool cap", 3) in pairs["validation"]
    everywhere = [pair for split in pairs.values() for pair in split]
    assert ("Avoid soap", 1) in everywhere
    assert len({preference for preference, _ in everywhere}) == len(everywhere)
    for table in built.values():
        for row in table.to_pylist():
            assert row["preference_positive"] == row["preference_negative"].replace("Avoid", "Find")


counts = st.dictionaries(st.integers(0, 200), st.dictionaries(st.integers(0, 2), st.integers(1, 3), min_size=1))


@given(counts)
def test_every_preference_goes_to_exactly_one_split_it_occurs_in(counts):
    owner = sentiment.divide(counts)
    assert set(owner) == set(counts)
    assert all(owner[preference] in counts[preference] for preference in counts)


def test_splits_come_near_their_shares_where_preferences_are_free_to_go_anywhere():
    owner = list(sentiment.divide({n: {0: 1, 1: 1, 2: 1} for n in range(1000)}).values())
    assert [round(owner.count(split) / 1000, 2) for split in range(3)] == [0.71, 0.15, 0.15]


def test_steering_axes_pass_on_why_there_is_no_steering():
    with pytest.raises(UnsupportedAxis, match="the reason") as caught:
        steered_rows("coarse", tables([[1, 2, 3, 4]], [SOUR]))
    assert caught.value.axis == "coarse"


def test_a_table_with_a_missing_column_breaks_the_contract():
    with pytest.raises(AssertionError, match="must have the columns"):
        as_table("sentiment", {"target": pa.array([1])})
