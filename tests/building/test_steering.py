"""Steering: neighbours over the catalog, unique preferences, other users with the same ground truth; as released."""

from collections import Counter

import benchmark_steering
import numpy as np
import pytest
from benchmark_world import hash_embed, read_events, sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.benchmark.schema import SPLITS
from dataset_builders.building.interactions import connect, prepare_interactions
from dataset_builders.building.sequences import TRAIN
from dataset_builders.building.sources.tables import TablesSource
from dataset_builders.building.steering.assignment import plan_steering
from dataset_builders.building.steering.claims import NO_PREFERENCE, PreferenceClaims
from dataset_builders.building.steering.nearest import ENGINES
from dataset_builders.building.steering.neighbors import choose_occurrences, similar_and_distinct

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


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_lists_made_anew_between_requests_change_no_answer(seed, num_requests, num_preferences, hubs, slack):
    generator = np.random.default_rng(seed)
    items = generator.integers(-2, 3, (6, 4)).astype(np.float32)
    preferences = generator.integers(-2, 3, (num_preferences, 4)).astype(np.float32)
    targets = generator.integers(0, 1 if hubs else 6, num_requests)
    splits = generator.integers(0, 3, num_requests)
    forbidden = {item: generator.integers(0, num_preferences, 3) for item in range(3)}
    pool = generator.random(num_preferences) < 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dataset_builders.building.steering.claims._SLACK", 32 if slack else -3
        )  # lists of one rank for an item of one request
        claims = PreferenceClaims(targets, splits, items, preferences, forbidden, pool)
        claims.rank_all()
        got = []
        for number, (item, split) in enumerate(zip(targets.tolist(), splits.tolist(), strict=True)):
            if number % 3 == 2:
                claims.replenish()
            got.append(claims.claim(item, split)[0])
    requests = list(zip(targets.tolist(), splits.tolist(), strict=True))
    assert got == slow_claims(requests, items, preferences, forbidden, pool)


@pytest.mark.parametrize("engine", ENGINES)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_every_engine_makes_the_same_claims(engine, seed, num_requests, num_preferences):
    generator = np.random.default_rng(seed)
    items = generator.integers(-2, 3, (6, 4)).astype(np.float32)
    preferences = generator.integers(-2, 3, (num_preferences, 4)).astype(np.float32)
    targets, splits = generator.integers(0, 6, num_requests), generator.integers(0, 3, num_requests)
    claims = PreferenceClaims(targets, splits, items, preferences, {}, engine=engine)
    claims.rank_all()
    requests = list(zip(targets.tolist(), splits.tolist(), strict=True))
    expected = slow_claims(requests, items, preferences, {}, np.ones(num_preferences, bool))
    assert [claims.claim(*request)[0] for request in requests] == expected


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
    monkeypatch.setattr("dataset_builders.building.steering.claims._SLACK", 0)
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


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_plans_the_same_rows(engine):
    table, items, texts, generator = world()
    preferences = unit(generator, 500, 16)
    pool = np.arange(500) % 3 > 0
    expected, _ = plan_steering(table, items, texts, preferences, {}, pool, engine="numpy")
    rows, _ = plan_steering(table, items, texts, preferences, {}, pool, engine=engine)
    for key, steered in rows.items():
        np.testing.assert_array_equal(steered.target, expected[key].target)
        np.testing.assert_array_equal(steered.preference, expected[key].preference)


def as_released(table, items, texts, matched, seed=0):
    nothing = np.zeros((1, items.shape[1]), np.float32)
    return plan_steering(
        table, items, texts, nothing, {}, np.ones(1, bool), seed, variant="as_released", matched=matched
    )


def numbered(table):
    """A preference of its own for every row that has a history: its number is that of the row."""
    return np.where(table.history_length > 0, np.arange(len(table)), NO_PREFERENCE)


def test_as_released_changes_preference_and_history_between_an_item_and_its_neighbour():
    # Three users; test targets 3 (u0), 4 (u1), 5 (u2). In one dimension 3 and 4 lie together and 5 apart.
    table = sequences([[1, 2, 3], [1, 2, 4], [2, 1, 5]])
    angle = np.array([0.0, 0.3, 1.0, 1.1, 2.0])
    items = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    rows, report = as_released(table, items, [f"t{n}" for n in range(5)], numbered(table))
    fine, coarse = rows["fine", "test"], rows["coarse", "test"]
    # Row 2 is u0's ground truth 3, row 5 u1's 4, row 8 u2's 5; the preference of a row is its number.
    assert list(zip(fine.occurrence, fine.source_item, fine.preference, fine.target, strict=True)) == [
        (5, 4, 2, 3),  # source 3, similar 4: 3's preference, the history before 4, asks for 3
        (2, 3, 5, 4),  # and the other way round
        (2, 3, 5, 4),  # source 4, similar 3
        (5, 4, 2, 3),
        (5, 4, 8, 5),  # source 5, similar 4
        (8, 5, 5, 4),
    ]
    assert coarse.target.tolist() == [3, 5, 4, 5, 5, 3]
    assert coarse.source_item.tolist() == [5, 3, 5, 4, 3, 5]
    assert report.dropped["fine_test"] == report.dropped["coarse_test"] == 0


def test_as_released_stays_in_its_split_and_cuts_each_history_at_its_own_position():
    table, items, texts, generator = world(num_users=200)
    matched = numbered(table)
    rows, report = as_released(table, items, texts, matched)
    item_of = table.item_id
    for number, split in enumerate(SPLITS):
        targets = sorted(set(item_of[table.in_window & (table.split == number)].tolist()))
        places = np.array(targets) - 1
        similar, distinct = similar_and_distinct(items[places], [texts[place] for place in places])
        for kind, neighbour in (("fine", similar), ("coarse", distinct)):
            steered = rows[kind, split]
            assert len(steered.target) == 2 * len(targets) - report.dropped[f"{kind}_{split}"]
            # The published invariant: the source item is the user's item at the position where the history is cut.
            np.testing.assert_array_equal(steered.source_item, item_of[steered.occurrence])
            np.testing.assert_array_equal(table.split[steered.occurrence], number)
            # The preference is one that eq. (1) matched to the target, in the same split.
            np.testing.assert_array_equal(item_of[steered.preference], steered.target)
            np.testing.assert_array_equal(table.split[steered.preference], number)
            pairs = Counter(zip(steered.source_item.tolist(), steered.target.tolist(), strict=True))
            expected = Counter()
            for place, other in enumerate(neighbour.tolist()):
                expected[targets[other], targets[place]] += 1
                expected[targets[place], targets[other]] += 1
            assert pairs == expected and report.dropped[f"{kind}_{split}"] == 0


def test_as_released_never_pairs_items_of_the_same_text():
    table, items, _, generator = world(num_users=200)
    texts = [f"item {n // 2}" for n in range(25)]
    items[1::2] = items[:24:2]
    rows, _ = as_released(table, items, texts, numbered(table))
    for steered in rows.values():
        assert not any(texts[a - 1] == texts[b - 1] for a, b in zip(steered.source_item, steered.target, strict=True))


def test_as_released_prefers_an_occurrence_with_a_preference_and_drops_and_counts_rows_without():
    table = sequences([[9, 1, 2, 3], [9, 1, 2, 3], [9, 1, 2, 4], [9, 1, 6, 5]])
    items, texts = unit(np.random.default_rng(0), 9, 8), [f"t{n}" for n in range(9)]
    matched = numbered(table)
    matched[3] = NO_PREFERENCE  # of u0's ground truth 3 there is none, but u1's has one
    matched[15] = NO_PREFERENCE  # of 5 there is none at all
    for seed in range(8):
        rows, report = as_released(table, items, texts, matched, seed)
        for kind in ("fine", "coarse"):
            steered = rows[kind, "test"]
            assert np.all(steered.preference[steered.target == 3] == 7)
            assert 5 not in steered.target and 5 in steered.source_item
            assert len(steered.target) == 2 * 3 - report.dropped[f"{kind}_test"] and report.dropped[f"{kind}_test"] > 0
    # 9 only ever comes first: no preference is matched to it, and the rows with its history are counted.
    assert report.dropped["fine_train"] == 2 and report.empty_history["fine_train"] == 2
    assert rows["fine", "train"].target.tolist() == [1, 1] and rows["fine", "train"].source_item.tolist() == [9, 9]


def test_as_released_chooses_by_the_seed():
    table, items, texts, _ = world()
    first, again, other = (as_released(table, items, texts, numbered(table), seed)[0] for seed in (1, 1, 2))
    assert all(np.array_equal(first[key].occurrence, again[key].occurrence) for key in first)
    assert any(not np.array_equal(first[key].occurrence, other[key].occurrence) for key in first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "as_relased"}, r"variant \('as_relased'\) must be one of balanced, paper, as_released"),
        ({"variant": "as_released"}, "needs matched, one preference .* got none"),
        ({"variant": "as_released", "matched": np.zeros(3, np.int64)}, "got 3 for 6 actions"),
        (
            {"variant": "as_released", "matched": np.zeros(6, np.int64)},
            "two items in the split test: .*1 distinct text",
        ),
        ({"engine": "annoy"}, "must be one of faiss, torch, numpy"),
        ({"engine": "faiss", "device": "cuda"}, "give engine='torch' for a GPU"),
    ],
)
def test_bad_arguments_of_steering_are_named(arguments, message):
    table = sequences([[1, 2, 3], [2, 1, 3]])
    texts = ["a", "b", "c"]
    with pytest.raises(ValueError, match=message):
        plan_steering(table, hash_embed(texts), texts, hash_embed(texts), {}, np.ones(3, bool), **arguments)


def test_rows_of_beauty_are_those_of_table_four(shared_data):
    folder = shared_data / "beauty"
    raw = TablesSource(folder / "interactions.parquet", folder / "items.parquet").load(connect())
    table = read_events(prepare_interactions(raw, min_count=5).events)
    items = unit(np.random.default_rng(0), int(table.item_id.max()), 16)
    texts = [f"t{n}" for n in range(len(items))]
    rows, report = as_released(table, items, texts, numbered(table))
    for split, published in zip(SPLITS, (24_114, 16_702, 15_956), strict=True):
        for kind in ("fine", "coarse"):
            assert len(rows[kind, split].target) + report.dropped[f"{kind}_{split}"] == published
    # Only items that nobody has but as the first of a window miss a preference.
    train = table.in_window & (table.split == TRAIN)
    never = set(table.item_id[train].tolist()) - set(table.item_id[train & (table.history_length > 0)].tolist())
    for kind in ("fine", "coarse"):
        steered = rows[kind, "train"]
        assert not never & set(steered.target.tolist())
        assert report.dropped[f"{kind}_train"] >= len(never) > 0
        assert report.dropped[f"{kind}_validation"] == report.dropped[f"{kind}_test"] == 0


def test_the_benchmark_of_steering_runs_and_names_bad_input(capsys):
    tiny = "--num_items 40 --num_preferences 400 --hidden_size 16 --num_centres 8 --k 5 --num_lists 4".split()
    assert benchmark_steering.main([*tiny, "--engine", "faiss", "numpy", "--approximate", "--num_probes", "4"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("240 rows, 0 preferences reused, 0 rows dropped") == 2
    assert printed.splitlines()[-1].split()[-2:] == ["100.0%", "100.0%"]  # all four lists read
    assert benchmark_steering.main([*tiny, "--engine", "annoy"]) == 1
    assert capsys.readouterr().err.startswith("error: engine ('annoy')")
    assert benchmark_steering.main([*tiny, "--num_users", "5"]) == 1
    assert capsys.readouterr().err == "error: --num_users (5) must be at least --num_items (40)\n"
