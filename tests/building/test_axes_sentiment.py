"""Which disliked item a negative preference is paired with, against the plain definition."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from benchmark_world import hash_embed, sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.benchmark.negation import is_negative_preference
from dataset_builders.building.axes import sentiment
from dataset_builders.building.preferences.matching import EmbeddingTable
from dataset_builders.building.preferences.table import Preferences

TITLES = ["rose soap", "red polish", "wool cap", "oat tea", "green mug"]
FILLER = tuple(f"Find filler {n}" for n in range(5))


def five(*first):
    return (*first, *FILLER[len(first) :])


def pairs(users, fives, polarity, reviews=None, titles=TITLES, window=20):
    """(user, preference, item, splits) of every aversion; a set of five may be `None`, for missing."""
    table = sequences(users, window=window).with_polarity(np.array([p for user in polarity for p in user]))
    for row, review in enumerate(reviews or []):
        table.reviews[row] = review
    sets = [a_set for user in fives for a_set in user]
    strings = list(dict.fromkeys(preference for a_set in sets if a_set for preference in a_set))
    ids = np.array([[strings.index(p) for p in s] if s else [-1] * 5 for s in sets], np.int32).reshape(-1, 5)
    tables = SimpleNamespace(
        items=pa.table({"title": pa.array(titles, pa.string())}),
        sequences=table,
        preferences=Preferences(strings, ids),
        preference_embeddings=hash_embed(strings or [""]),
        embed=EmbeddingTable(hash_embed, progress=False),
    )
    aversions = sentiment.find_aversions(tables)
    triggers = sentiment.find_triggers(tables, aversions)
    return [
        (int(table.user[row]), strings[aversion.preference], int(table.item_id[row]), set(aversion.rows))
        for aversion, row in zip(aversions, triggers, strict=True)
    ]


def test_the_only_disliked_item_is_the_one_whatever_its_review_says():
    found = pairs([[1, 2, 3]], [[five(), five("Avoid tea"), five()]], [[1, -1, 1]], [None, "lovely cap", None])
    assert found == [(0, "Avoid tea", 2, {1})]


def test_of_several_the_closest_review_decides():
    reviews = ["smells of glue", "smells of fish", None]
    found = pairs([[1, 2, 3]], [[None, None, five("Avoid fish")]], [[-1, -1, 1]], reviews)
    assert found == [(0, "Avoid fish", 2, {2})]


def test_a_review_is_read_under_the_title_of_its_item():
    reviews = ["it broke", "it broke", None]
    found = pairs([[1, 2, 3]], [[None, None, five("Avoid rose soap", "Avoid red polish")]], [[-1, -1, 1]], reviews)
    assert [(preference, item) for _, preference, item, _ in found] == [
        ("Avoid rose soap", 1),
        ("Avoid red polish", 2),
    ]


def test_an_item_without_title_and_review_can_be_a_candidate_and_ties_go_to_the_newest():
    found = pairs([[1, 2, 3]], [[None, None, five("Avoid it")]], [[-1, -1, 1]], titles=[None] * 5)
    assert found == [(0, "Avoid it", 2, {2})]


def test_a_later_dislike_takes_over_nothing_that_was_avoided_before():
    sets = [five("Avoid tea"), five("Avoid tea"), five("Avoid tea")]
    assert pairs([[1, 4, 2]], [sets], [[-1, -1, 1]], [None, "bad tea", None]) == [(0, "Avoid tea", 1, {0, 1, 2})]
    assert pairs([[1, 4, 2]], [[None, *sets[1:]]], [[-1, -1, 1]], [None, "bad tea", None]) == [
        (0, "Avoid tea", 4, {1, 2})
    ]


def test_every_user_has_items_of_their_own():
    sets = [five("Avoid tea"), five("Avoid tea"), five()]
    found = pairs([[1, 2, 3], [4, 2, 3]], [sets, sets], [[-1, 1, 1], [0, -1, 1]])
    assert found == [(0, "Avoid tea", 1, {0, 1}), (1, "Avoid tea", 2, {1})]


def test_missing_preferences_are_not_the_last_one():
    assert pairs([[1, 2, 3]], [[None, five("Avoid tea"), None]], [[-1, 1, 1]]) == [(0, "Avoid tea", 1, {1})]
    assert pairs([[1, 2, 3]], [[None, (*FILLER[:4], "Avoid tea"), None]], [[-1, 1, 1]])[0][3] == {1}
    assert pairs([[1, 2, 3]], [[None, None, None]], [[-1, -1, -1]]) == []


def test_what_lies_before_the_window_elicits_nothing():
    fives = [[five("Avoid tea")] * 4]
    assert pairs([[1, 2, 3, 4]], fives, [[-1, 1, 1, 1]], window=3) == []
    assert pairs([[1, 2, 3, 4]], fives, [[-1, -1, 1, 1]], window=3) == [(0, "Avoid tea", 2, {0, 1, 2})]


sets_of_five = st.permutations(["Avoid tea", "No cap", "Exclude soap", *FILLER]).map(lambda words: tuple(words[:5]))
actions = st.tuples(
    st.integers(1, 5),
    st.sampled_from([-1, -1, 0, 1]),
    st.one_of(st.none(), sets_of_five),
    st.sampled_from([None, "bad tea", "ugly cap", "soap"]),
)


@given(st.lists(st.lists(actions, min_size=3, max_size=8), min_size=1, max_size=4), st.integers(2, 6))
@settings(max_examples=150, deadline=None)
def test_pairs_equal_the_plain_definition(world, window):
    expected = []
    for number, user in enumerate(world):
        known = {}
        for end in range(len(user)):
            if end < len(user) - window:
                continue
            past = [user[at] for at in range(max(0, len(user) - window), end + 1)]
            disliked = [(item, review) for item, polarity, _, review in reversed(past) if polarity == -1]
            split = {len(user) - 1: 2, len(user) - 2: 1}.get(end, 0)
            for preference in user[end][2] or ():
                if not is_negative_preference(preference) or not disliked:
                    continue
                if preference not in known:
                    texts = [f"{TITLES[item - 1]}. {review or ''}" for item, review in disliked]
                    cosines = hash_embed(texts) @ hash_embed([preference])[0]
                    known[preference] = (disliked[int(cosines.argmax())][0], set())
                known[preference][1].add(split)
        expected += [(number, preference, item, splits) for preference, (item, splits) in known.items()]
    columns = [[[action[column] for action in user] for user in world] for column in range(4)]
    found = pairs(
        columns[0], columns[2], columns[1], [review for user in columns[3] for review in user], window=window
    )
    assert found == expected
