"""The largest inner products: every engine against the plain definition, ties and blocks included."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.building.steering.nearest import (
    ENGINES,
    check_engine,
    nearest_and_farthest,
    top_k,
)


def slow_top_k(queries, keys, k):
    """Every product, sorted by (product, smaller index first)."""
    rows = [sorted(range(len(keys)), key=lambda key: (-float(query @ keys[key]), key))[:k] for query in queries]
    return np.array(rows)


def whole_numbers(generator, *shape):
    """Products of these are exact, so that all ways see the same ties; and they tie often."""
    return generator.integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 60), st.integers(1, 70), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_every_engine_gives_the_total_order_of_score_and_index(engine, seed, num_queries, num_keys, k, key_block_size):
    generator = np.random.default_rng(seed)
    queries, keys = whole_numbers(generator, num_queries, 3), whole_numbers(generator, num_keys, 3)
    scores, indices = top_k(queries, keys, k, engine, block_size=5, key_block_size=key_block_size)
    expected = slow_top_k(queries, keys, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(queries @ keys.T, expected, axis=1))
    assert scores.dtype == np.float32 and indices.dtype == np.int64


@pytest.mark.parametrize("engine", ENGINES)
def test_the_best_of_real_vectors_are_those_of_the_plain_way(engine):
    generator = np.random.default_rng(0)
    queries, keys = (generator.normal(size=(count, 24)).astype(np.float32) for count in (40, 3000))
    _, indices = top_k(queries, keys, 200, engine, block_size=16, key_block_size=700)
    np.testing.assert_array_equal(indices, np.argsort(-(queries @ keys.T), axis=1, kind="stable")[:, :200])


def nearly_equal(generator):
    """900 unit vectors in threes and thirties that differ in the last digits, which engines round differently."""
    sizes = [3] * 100 + [30] * 20
    vectors = np.repeat(generator.normal(size=(len(sizes), 48)), sizes, axis=0)
    vectors += generator.normal(size=vectors.shape) * 1e-7
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("blocks", [(7, 50), (64, 1000)])
def test_products_that_differ_in_the_last_digits_are_ordered_alike_by_all_engines_and_blocks(engine, blocks):
    vectors = nearly_equal(np.random.default_rng(0))
    products = np.round(vectors.astype(np.float64) @ vectors.astype(np.float64).T, 12)
    order = np.argsort(-products, axis=1, kind="stable")
    assert np.any(order[:, :10] != np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")[:, :10])
    _, indices = top_k(vectors, vectors, 10, engine, None, *blocks)
    np.testing.assert_array_equal(indices, order[:, :10])
    # Each vector is a group of its own, so that its near twins are its neighbours.
    nearest, farthest = nearest_and_farthest(vectors, np.arange(900), engine, None, *blocks)
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_array_equal(nearest, products.argmax(axis=1))
    np.fill_diagonal(products, np.inf)
    np.testing.assert_array_equal(farthest, products.argmin(axis=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_more_equal_keys_than_were_asked_for_come_in_the_order_of_their_index(engine):
    keys = np.ones((500, 4), np.float32)
    keys[300] = 2
    _, indices = top_k(np.ones((3, 4), np.float32), keys, 10, engine)
    assert indices.tolist() == [[300, 0, 1, 2, 3, 4, 5, 6, 7, 8]] * 3


@pytest.mark.parametrize("engine", ENGINES)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_nearest_and_farthest_equal_the_plain_double_loop(engine, seed, count, block_size, key_block_size):
    generator = np.random.default_rng(seed)
    vectors, groups = whole_numbers(generator, count, 3), generator.integers(0, max(2, count // 2), count)
    groups[:2] = 0, 1
    nearest, farthest = nearest_and_farthest(vectors, groups, engine, None, block_size, key_block_size)
    for number in range(count):
        others = [other for other in range(count) if groups[other] != groups[number]]
        products = {other: float(vectors[number] @ vectors[other]) for other in others}
        assert nearest[number] == min(others, key=lambda other: (-products[other], other))
        assert farthest[number] == min(others, key=lambda other: (products[other], other))


def test_one_group_has_no_neighbours():
    with pytest.raises(ValueError, match="at least 2 groups"):
        nearest_and_farthest(np.ones((3, 2), np.float32), np.zeros(3, np.int64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "annoy"}, r"engine \('annoy'\) must be one of faiss, torch, numpy"),
        ({"engine": "faiss", "device": "cuda"}, "give engine='torch' for a GPU"),
        ({"k": 0}, r"k \(0\)"),
        ({"queries": np.ones((2, 5), np.float32)}, r"queries \(2, 5\) and keys \(4, 3\)"),
        ({"keys": np.ones((0, 3), np.float32)}, r"number of keys \(0\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"queries": np.ones((2, 3), np.float32), "keys": np.ones((4, 3), np.float32), "k": 2}
    with pytest.raises(ValueError, match=message):
        top_k(**{**good, **arguments})


@pytest.mark.parametrize(
    ("engine", "library", "package"), [("faiss", "faiss", "faiss-cpu"), ("torch", "torch", "torch")]
)
def test_a_missing_library_names_the_command_that_installs_it(monkeypatch, engine, library, package):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"pip install {package}; or give engine='numpy'"):
        check_engine(engine)
    check_engine("numpy")


def test_neither_faiss_nor_torch_is_imported_before_it_is_asked_for():
    code = "import sys; from dataset_builders.building.steering import assignment; "
    code += "sys.exit(bool({'faiss', 'torch'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_memory_does_not_grow_with_the_number_of_keys():

    code = """
import resource, sys, numpy as np
import dataset_builders.building.steering.nearest as nearest
engine, count = sys.argv[1], 60_000
nearest.check_engine(engine)
vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
nearest.top_k(vectors[:64], vectors[:64], 5, engine, block_size=64, key_block_size=64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nearest.top_k(vectors[:1024], vectors, 20, engine, block_size=1024, key_block_size=256)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""
    whole = 1024 * 60_000 * 4 / 2**20  # 234 MB of products if they were made at once
    for engine in ENGINES:
        run = subprocess.run([sys.executable, "-c", code, engine], check=True, capture_output=True, text=True)
        assert float(run.stdout) < whole / 3, engine
