"""Steering: neighbours over the catalogue, unique preferences, other users with the same ground truth."""

from collections import Counter

import numpy as np
import pytest
from benchmark_world import hash_embed, sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.schema import SPLITS
from dataset_builders.steering import (
    NO_PREFERENCE,
    PreferenceClaims,
    choose_occurrences,
    plan_steering,
    similar_and_distinct,
)

TITLES = ["red nail polish", "dark red nail polish", "bar soap", "oat bar soap", "wool cap", "Red  nail POLISH"]


def unit(generator, *shape):
    vectors = generator.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_similar_is_the_nearest_and_distinct_the_farthest_item():
    similar, distinct = similar_and_distinct(hash_embed(TITLES), TITLES, block_size=2)
    assert TITLES[similar[0]] == "dark red nail polish"
    assert TITLES[similar[2]] == "oat bar soap" and TITLES[similar[3]] == "bar soap"
    assert TITLES[distinct[0]] in ("bar soap", "oat bar soap", "wool cap")


def test_an_item_with_the_same_text_is_never_the_neighbour():
    similar, distinct = similar_and_distinct(hash_embed(TITLES), TITLES)
    assert similar[0] != 5 and similar[5] != 0 and distinct[0] != 5 and distinct[5] != 0


@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_neighbours_equal_the_plain_double_loop(seed, num_items, block_size):
    generator = np.random.default_rng(seed)
    embeddings = unit(generator, num_items, 6)
    texts = [f"t{n}" for n in generator.integers(0, num_items // 2, num_items)]
    if len(set(texts)) < 2:
        return
    similar, distinct = similar_and_distinct(embeddings, texts, block_size)
    for item in range(num_items):
        others = {o: float(embeddings[item] @ embeddings[o]) for o in range(num_items) if texts[o] != texts[item]}
        assert others[similar[item]] == pytest.approx(max(others.values()), abs=1e-6)
        assert others[distinct[item]] == pytest.approx(min(others.values()), abs=1e-6)


def test_a_catalogue_of_one_text_cannot_be_steered():
    with pytest.raises(ValueError, match="distinct texts"):
        similar_and_distinct(hash_embed(["a", "A"]), ["a", "A"])


def slow_claims(requests, items, preferences, forbidden, pool):
    """Eq. (3) with uniqueness, word for word: a full ranking for every request."""
    owner, used, chosen = {}, set(), []
    counts = Counter(split for _, split in requests)
    size = int(pool.sum())
    quota = {s: n if len(requests) <= size else max(1, n * size // len(requests)) for s, n in counts.items()}
    for item, split in requests:
        order = np.argsort(-(preferences @ items[item]), kind="stable").tolist()
        order = [p for p in order if pool[p] and p not in forbidden.get(item, ())]
        free = [p for p in order if p not in owner]
        mine = [p for p in order if owner.get(p) == split and (p, item) not in used]
        if free and sum(s == split for s in owner.values()) < quota[split]:
            choice = free[0]
            owner[choice] = split
        else:
            choice = mine[0] if mine else NO_PREFERENCE
        used.add((choice, item))
        chosen.append(choice)
    return chosen


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.booleans())
@settings(max_examples=150, deadline=None)
def test_claims_equal_the_full_ranking_for_every_request(seed, num_requests, num_preferences, hubs):
    generator = np.random.default_rng(seed)
    # Whole-number vectors: products are exact, so that both ways see the same ties.
    items = generator.integers(-2, 3, (6, 4)).astype(np.float32)
    preferences = generator.integers(-2, 3, (num_preferences, 4)).astype(np.float32)
    targets = generator.integers(0, 1 if hubs else 6, num_requests)
    splits = generator.integers(0, 3, num_requests)
    forbidden = {item: generator.integers(0, num_preferences, 3) for item in range(3)}
    pool = generator.random(num_preferences) < 0.8
    claims = PreferenceClaims(targets, splits, items, preferences, forbidden, pool, block_size=2)
    claims.rank_all()
    got = [claims.claim(int(item), int(split))[0] for item, split in zip(targets, splits, strict=True)]
    expected = slow_claims(
        list(zip(targets.tolist(), splits.tolist(), strict=True)), items, preferences, forbidden, pool
    )
    assert got == expected


def test_a_hub_goes_down_its_ranking_one_preference_per_request(monkeypatch):
    monkeypatch.setattr("dataset_builders.steering._SLACK", 0)
    generator = np.random.default_rng(0)
    items, preferences = unit(generator, 2, 8), unit(generator, 4000, 8)
    targets = np.zeros(3000, np.int64)
    claims = PreferenceClaims(targets, targets, items, preferences, {})
    got = [claims.claim(0, 0) for _ in targets]
    cosines = preferences @ items[0]
    assert not any(reused for _, reused in got)
    np.testing.assert_array_equal([p for p, _ in got], np.argsort(-cosines, kind="stable")[:3000])


def world(seed=0, num_users=60, num_items=25):
    generator = np.random.default_rng(seed)
    users = [generator.integers(1, num_items + 1, generator.integers(3, 26)).tolist() for _ in range(num_users)]
    return sequences(users), unit(generator, num_items, 16), [f"item {n}" for n in range(num_items)], generator


def plan(table, items, texts, preferences, forbidden=None, seed=0):
    everything = np.ones(len(preferences), bool)
    return plan_steering(table, items, texts, preferences, forbidden or {}, everything, seed)


@pytest.mark.parametrize("num_preferences", [2000, 60])
def test_steering_pairs_are_unique_and_no_preference_serves_two_splits(num_preferences):
    table, items, texts, generator = world()
    forbidden = {item: generator.integers(0, num_preferences, 5) for item in range(25)}
    rows, report = plan(table, items, texts, unit(generator, num_preferences, 16), forbidden)
    pairs, owner = Counter(), {}
    for (_, split), steered in rows.items():
        for preference, target in zip(steered.preference.tolist(), steered.target.tolist(), strict=True):
            pairs[preference, target] += 1
            assert owner.setdefault(preference, split) == split
            assert preference not in forbidden[target - 1]
    assert max(pairs.values()) == 1
    used = Counter(preference for preference, _ in pairs)
    assert (max(used.values()) > 1) == (num_preferences == 60)
    assert sum(report.reused.values()) == sum(used.values()) - len(used)
    assert sum(report.dropped.values()) == 0


def test_there_is_one_row_per_distinct_target_of_the_window_and_split():
    table, items, texts, generator = world()
    rows, _ = plan(table, items, texts, unit(generator, 500, 16))
    for number, split in enumerate(SPLITS):
        expected = sorted(set(table.item_id[table.in_window & (table.split == number)].tolist()))
        for kind in ("fine", "coarse"):
            assert sorted(rows[kind, split].source_item.tolist()) == expected


def test_fine_takes_another_user_with_the_same_ground_truth_and_never_from_a_later_split():
    table, items, texts, generator = world()
    rows, report = plan(table, items, texts, unit(generator, 500, 16))
    similar, distinct = similar_and_distinct(items, texts)
    for number, split in enumerate(SPLITS):
        fine, coarse = rows["fine", split], rows["coarse", split]
        np.testing.assert_array_equal(table.item_id[fine.occurrence], fine.source_item)
        np.testing.assert_array_equal(table.item_id[coarse.occurrence], coarse.source_item)
        np.testing.assert_array_equal(fine.target, similar[fine.source_item - 1] + 1)
        np.testing.assert_array_equal(coarse.target, distinct[coarse.source_item - 1] + 1)
        assert np.all(table.split[fine.occurrence] <= number)
        assert np.all(table.split[coarse.occurrence] == number)
        alone = 0
        for row, item in zip(fine.occurrence.tolist(), fine.source_item.tolist(), strict=True):
            here = table.in_window & (table.split == number) & (table.item_id == item)
            earlier = table.in_window & (table.split < number) & (table.item_id == item)
            if np.any(here & (table.user != table.user[row])):
                continue  # somebody else of this split has the ground truth of the borrowed history
            assert table.split[row] == number, "a lonely row is the user's own"
            alone += not np.any(earlier & (table.user != table.user[row]))
        assert alone == report.own_history[f"fine_{split}"]


def test_a_ground_truth_of_one_user_falls_back_to_the_own_history_and_is_counted():
    table = sequences([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]])
    texts = [f"t{n}" for n in range(6)]
    rows, report = plan(table, hash_embed(texts), texts, hash_embed([f"p{n}" for n in range(40)]))
    assert report.own_history == {"fine_test": 2, "fine_validation": 0, "fine_train": 0}
    fine = rows["fine", "test"]
    assert table.item_id[fine.occurrence].tolist() == [5, 6]


def test_an_occurrence_with_a_history_is_preferred_and_the_others_are_counted():
    table = sequences([[1, 2, 3, 4], [2, 1, 3, 4], [5, 2, 3, 4]])
    own, fellow, has_fellow = choose_occurrences(table, 0, np.random.default_rng(0))
    lengths = dict(zip(table.item_id[own].tolist(), table.history_length[own].tolist(), strict=True))
    assert lengths == {1: 1, 2: 1, 5: 0}
    # Item 1's only fellow has it first, so the two change places; nobody else has 5.
    assert table.history_length[fellow].tolist() == [1, 1, 0]
    assert has_fellow.tolist() == [True, True, False]
    texts = [f"t{n}" for n in range(5)]
    _, report = plan(table, hash_embed(texts), texts, hash_embed([f"p{n}" for n in range(40)]))
    assert report.empty_history["coarse_train"] == 1


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    table, items, texts, generator = world()
    preferences = unit(generator, 500, 16)
    first, again, other = (plan(table, items, texts, preferences, seed=seed)[0] for seed in (1, 1, 2))
    assert all(np.array_equal(first[key].preference, again[key].preference) for key in first)
    assert any(not np.array_equal(first[key].occurrence, other[key].occurrence) for key in first)


def test_preferences_outside_the_pool_are_never_matched():
    table, items, texts, generator = world()
    pool = np.arange(500) % 2 == 0
    rows, _ = plan_steering(table, items, texts, unit(generator, 500, 16), {}, pool)
    assert all(np.all(steered.preference % 2 == 0) for steered in rows.values())
