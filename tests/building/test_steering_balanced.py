"""Balanced steering: no item is a target too often, no target of train is one of test, no history of another split."""

from collections import Counter

import numpy as np
import pytest
from benchmark_world import hash_embed, sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.benchmark.schema import SPLITS
from dataset_builders.building.sequences import TEST
from dataset_builders.building.steering import balanced
from dataset_builders.building.steering.assignment import plan_steering
from dataset_builders.building.steering.balanced import NONE, assign_targets, divide_catalog
from dataset_builders.building.steering.neighbors import choose_users, similar_and_distinct


def hub_vectors(num_items, seed=0):
    """Unit vectors around one direction, but for two outliers that are the least similar of all others."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(num_items, 16)) * 0.3 + np.eye(16)[0]
    vectors[:2] = -np.eye(16)[0] + generator.normal(size=(2, 16)) * 0.01
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def shop(num_items, num_users, seed=0):
    """Users of seven distinct items each."""
    generator = np.random.default_rng(seed)
    return sequences([(generator.permutation(num_items)[:7] + 1).tolist() for _ in range(num_users)])


def plan(num_items=120, num_users=200, variant="balanced", bound=2, num_preferences=3000, **changes):
    generator = np.random.default_rng(7)
    preferences = generator.normal(size=(num_preferences, 16)).astype(np.float32)
    preferences /= np.linalg.norm(preferences, axis=1, keepdims=True)
    arguments = {
        "sequences": shop(num_items, num_users),
        "item_embeddings": hub_vectors(num_items),
        "item_texts": [f"item {number}" for number in range(num_items)],
        "preference_embeddings": preferences,
        "forbidden": {},
        "pool": np.ones(num_preferences, bool),
        "variant": variant,
        "bound": bound,
    }
    return plan_steering(**arguments | changes)


def frequent_share(rows, axis):
    """Recall@10 of the ten most frequent targets of train on test."""
    frequent = {item for item, _ in Counter(rows[axis, "train"].target.tolist()).most_common(10)}
    return np.mean([target in frequent for target in rows[axis, "test"].target.tolist()])


@pytest.mark.parametrize("axis", ["fine", "coarse"])
def test_a_list_of_frequent_targets_answers_the_papers_rows_and_none_of_the_balanced_ones(axis):
    papers, _ = plan(variant="paper")
    rows, report = plan()
    assert frequent_share(papers, "coarse") > 0.9  # the outliers
    assert frequent_share(rows, axis) == 0
    assert report.shared_targets == {"fine_test": 0, "coarse_test": 0}


@pytest.mark.parametrize("bound", [1, 2, 5])
def test_no_item_is_a_target_more_often_than_the_bound_within_a_split(bound):
    rows, report = plan(bound=bound, num_items=300, num_users=60)
    for (axis, split), steered in rows.items():
        assert max(Counter(steered.target.tolist()).values()) <= bound
        assert report.most_frequent[f"{axis}_{split}"] <= bound
        assert report.distinct_targets[f"{axis}_{split}"] == len(set(steered.target.tolist()))
        assert (steered.target != steered.source_item).all()


def test_every_ground_truth_keeps_its_row_and_its_own_history():
    rows, report = plan()
    found = shop(120, 200)
    for split, name in enumerate(SPLITS):
        sources = set(found.item_id[found.in_window & (found.split == split)].tolist())
        for axis in ("fine", "coarse"):
            steered = rows[axis, name]
            assert set(steered.source_item.tolist()) == sources and len(steered.target) == len(sources)
            assert (found.item_id[steered.occurrence] == steered.source_item).all()
            assert (found.split[steered.occurrence] == split).all()  # no history of another split
    assert not any(report.no_target.values()) and not any(report.reused.values())


def test_fine_and_coarse_have_different_users_where_there_are_two_and_else_say_so():
    rows, report = plan()
    found = shop(120, 200)
    for split, name in enumerate(SPLITS):
        users = {}
        here = found.in_window & (found.split == split)
        for row in np.flatnonzero(here).tolist():
            users.setdefault(int(found.item_id[row]), set()).add(int(found.user[row]))
        coarse = dict(zip(rows["coarse", name].source_item.tolist(), rows["coarse", name].occurrence, strict=True))
        fine = rows["fine", name]
        for item, occurrence, is_own in zip(fine.source_item.tolist(), fine.occurrence, fine.is_own, strict=True):
            shared = found.user[occurrence] == found.user[coarse[item]]
            assert shared == is_own == (len(users[item]) == 1)
        assert report.same_user[name] == int(fine.is_own.sum()) == report.own_history[f"fine_{name}"]


def test_where_only_one_of_two_users_has_a_history_it_is_the_fine_rows():
    # In windows of four, item 9 is u0's last with a history, and u1's only action.
    found = sequences([[1, 2, 3, 9], [9]])
    fine, coarse, is_own = choose_users(found, TEST, np.random.default_rng(0))
    assert found.history_length[fine].tolist() == [3] and found.history_length[coarse].tolist() == [0]
    assert found.user[fine] != found.user[coarse] and not is_own.any()


def test_distinct_targets_are_among_the_least_similar_tenth_and_similar_ones_near():
    vectors, num_items = hub_vectors(200), 200
    groups, sources = np.arange(num_items), np.arange(50)
    allowed = np.arange(num_items) >= 60
    products = vectors[sources] @ vectors[allowed].T
    found = assign_targets("coarse", vectors, groups, sources, allowed, 2, np.random.default_rng(0))
    chosen = np.einsum("nd,nd->n", vectors[sources], vectors[found.targets])
    assert found.beyond == 0 and (chosen <= np.sort(products, axis=1)[:, 14] + 1e-6).all()  # 14 of 140
    near = assign_targets("fine", vectors, groups, sources, allowed, 2, np.random.default_rng(0))
    assert np.einsum("nd,nd->n", vectors[sources], vectors[near.targets]).mean() > products.mean() + 0.1


def test_similar_targets_have_the_largest_sum_that_the_bound_allows():
    from scipy.optimize import linear_sum_assignment

    vectors = hub_vectors(40, seed=3)
    sources, allowed = np.arange(0, 18), np.arange(40) >= 20
    found = assign_targets("fine", vectors, np.arange(40), sources, allowed, 1, np.random.default_rng(0))
    products = vectors[sources].astype(np.float64) @ vectors[20:].astype(np.float64).T
    rows, columns = linear_sum_assignment(-products)
    assert products[np.arange(18), found.targets - 20].sum() == pytest.approx(products[rows, columns].sum())


@given(st.integers(0, 10**6), st.integers(2, 24), st.integers(1, 3), st.sampled_from(["fine", "coarse"]))
@settings(max_examples=60, deadline=None)
def test_as_many_sources_as_possible_get_a_target(seed, num_items, bound, kind):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    generator = np.random.default_rng(seed)
    groups = generator.integers(0, max(2, num_items // 3), num_items)
    allowed = generator.random(num_items) < 0.7
    sources = np.flatnonzero(generator.random(num_items) < 0.8)
    vectors = hub_vectors(num_items, seed)
    found = assign_targets(kind, vectors, groups, sources, allowed, bound, generator)
    served = found.targets != NONE
    assert allowed[found.targets[served]].all() and (groups[found.targets[served]] != groups[sources[served]]).all()
    assert np.bincount(found.targets[served], minlength=1).max(initial=0) <= bound
    size = len(sources) + num_items + 2  # source of the flow, sources, items, sink
    capacity = np.zeros((size, size), np.int32)
    capacity[0, 1 : 1 + len(sources)] = 1
    capacity[1 : 1 + len(sources), 1 + len(sources) : -1] = allowed & (groups[sources][:, None] != groups[None])
    capacity[1 + len(sources) : -1, -1] = bound
    assert served.sum() == maximum_flow(csr_array(capacity), 0, size - 1).flow_value


def test_a_catalog_too_small_for_two_parts_keeps_the_bound_and_says_what_it_could_not_keep():
    assert divide_catalog(10, 10, 8, 1, np.random.default_rng(0)) is None
    rows, report = plan(num_items=10, num_users=40, bound=1)
    assert all(max(Counter(steered.target.tolist()).values()) <= 1 for steered in rows.values())
    assert report.shared_targets["coarse_test"] > 0


def test_when_most_items_have_one_text_the_rows_that_the_bound_forbids_are_left_out_and_counted():
    texts = [f"item {number}" if number < 20 else "the same" for number in range(120)]
    rows, report = plan(item_texts=texts)
    assert report.no_target["coarse_train"] > 0
    for (axis, split), steered in rows.items():
        assert max(Counter(steered.target.tolist()).values()) <= 2
        same = [(texts[a - 1], texts[b - 1]) for a, b in zip(steered.source_item, steered.target, strict=True)]
        assert all(first != second for first, second in same), (axis, split)


def test_a_large_catalog_is_compared_in_random_parts(monkeypatch):
    monkeypatch.setattr(balanced, "NUM_COMPARED", 30)
    monkeypatch.setattr(balanced, "SOURCES_PER_SAMPLE", 7)
    vectors = hub_vectors(200)
    found = assign_targets(
        "coarse", vectors, np.arange(200), np.arange(100), np.ones(200, bool), 1, np.random.default_rng(0)
    )
    assert (found.targets != NONE).all() and len(set(found.targets.tolist())) == 100


def test_the_same_seed_gives_the_same_rows_from_every_engine():
    for engine in ("numpy", "torch"):
        rows, _ = plan(engine=engine)
        for key, steered in plan()[0].items():
            for name, values in vars(steered).items():
                np.testing.assert_array_equal(values, getattr(rows[key], name))


def test_a_bound_below_one_is_refused():
    for bound in (0, -1, 101, 10**20):
        with pytest.raises(ValueError, match=rf"bound \({bound}\) must be in 1\.\.100"):
            plan(bound=bound)


def test_the_papers_similar_item_is_still_the_nearest():
    similar, _ = similar_and_distinct(hash_embed(["red cap", "red wool cap", "bar soap"]), ["a", "b", "c"])
    assert similar[0] == 1
