"""Residual k-means, unique semantic IDs, and the report."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans

from modeling_mender.quantization.assignment import assign_semantic_ids, quantization_report
from modeling_mender.quantization.residual_kmeans import ResidualKMeans, nearest


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)


def test_residual_kmeans_equals_one_kmeans_after_another(vectors):
    quantizer = ResidualKMeans(num_codebooks=3, codebook_size=8, seed=4).fit(vectors)
    codes, residual = quantizer.encode(vectors), vectors
    for level in range(3):
        clusters = KMeans(8, n_init=1, random_state=4 + level).fit(residual)
        np.testing.assert_array_equal(codes[:, level], clusters.predict(residual))
        residual = residual - clusters.cluster_centers_[codes[:, level]].astype(np.float32)
    np.testing.assert_allclose(quantizer.decode(codes), vectors - residual, atol=1e-6)


def test_each_level_explains_more(vectors):
    errors = []
    for levels in (1, 2, 3):
        quantizer = ResidualKMeans(levels, 16).fit(vectors)
        errors.append(np.square(vectors - quantizer.decode(quantizer.encode(vectors))).mean())
    assert errors[0] > 1.3 * errors[1] > 1.3 * 1.3 * errors[2]


def test_nearest_in_chunks_equals_all_distances_at_once(vectors):
    codebook = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    distances = np.linalg.norm(vectors[:, None] - codebook, axis=2)
    np.testing.assert_array_equal(nearest(vectors, codebook, chunk_size=7), distances.argmin(axis=1))


def test_residual_kmeans_saves_and_loads_bit_for_bit(vectors, tmp_path):
    quantizer = ResidualKMeans(2, 16, seed=3).fit(vectors)
    quantizer.save(tmp_path / "new" / "kmeans.safetensors")
    loaded = ResidualKMeans.load(tmp_path / "new" / "kmeans.safetensors")
    assert (loaded.num_codebooks, loaded.codebook_size, loaded.seed) == (2, 16, 3)
    np.testing.assert_array_equal(loaded.codebooks, quantizer.codebooks)
    np.testing.assert_array_equal(loaded.encode(vectors), quantizer.encode(vectors))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kmeans.safetensors"]


def test_residual_kmeans_is_deterministic_and_the_seed_matters(vectors):
    first, again, other = (ResidualKMeans(2, 16, seed=seed).fit(vectors).codebooks for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_repeated_texts_are_no_obstacle(vectors, caplog):
    repeated = np.repeat(vectors[:5], 10, axis=0)
    quantizer = ResidualKMeans(2, 8).fit(repeated)
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(repeated)), repeated, atol=1e-5)
    assert "fewer distinct vectors than codebook_size (8)" in caplog.text


def test_residual_kmeans_names_bad_input(vectors, tmp_path):
    with pytest.raises(ValueError, match=r"codebook_size \(256\).*number of items \(200\).*`--codebook_size 25`"):
        ResidualKMeans().fit(vectors)
    with pytest.raises(ValueError, match="num_codebooks must be at least 1, got 0"):
        ResidualKMeans(num_codebooks=0)
    with pytest.raises(ValueError, match="call `fit`"):
        ResidualKMeans().encode(vectors)
    quantizer = ResidualKMeans(2, 8).fit(vectors)
    with pytest.raises(ValueError, match="width 4, the codebooks 6"):
        quantizer.encode(vectors[:, :4])
    with pytest.raises(ValueError, match=r"got 0\.\.8"):
        quantizer.decode(np.array([[0, 8]]))
    with pytest.raises(ValueError, match=r"shape \(num_items, 2\)"):
        quantizer.decode(np.zeros((3, 3), dtype=int))
    with pytest.raises(ValueError, match="row 3 is not finite"):
        quantizer.encode(np.where(np.arange(200)[:, None] == 3, np.inf, vectors))
    with pytest.raises(FileNotFoundError, match="no residual k-means at"):
        ResidualKMeans.load(tmp_path / "nothing.safetensors")


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.integers(0, 3)))
def test_ids_are_unique_and_number_the_items_of_a_tuple_in_order(codes: np.ndarray):
    ids = assign_semantic_ids(codes, codebook_size=40)
    assert len({tuple(row) for row in ids.tolist()}) == len(codes)
    np.testing.assert_array_equal(ids[:, :-1], codes)
    seen: dict[tuple, int] = {}
    for row in ids.tolist():
        assert row[-1] == seen.get(tuple(row[:-1]), 0)
        seen[tuple(row[:-1])] = row[-1] + 1


def test_more_items_on_one_tuple_than_codes_is_an_error_with_a_way_out():
    codes = np.array([[1, 2]] * 5 + [[3, 3]])
    assert assign_semantic_ids(codes, codebook_size=5)[4].tolist() == [1, 2, 4]
    with pytest.raises(
        ValueError, match=r"5 items share the codes \(1, 2\).*only 4 apart.*--codebook_size.*--item_fields"
    ):
        assign_semantic_ids(codes, codebook_size=4)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.array([[0, 9]]), r"0\.\.7 \(codebook_size 8\), got 0\.\.9"),
        (np.array([[0, -1]]), r"got -1\.\.0"),
        (np.array([[0.0, 1.0]]), "float64"),
        (np.empty((0, 2), dtype=int), r"\(0, 2\)"),
        (np.array([1, 2]), r"\(2,\)"),
    ],
)
def test_bad_codes_are_named(codes: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        assign_semantic_ids(codes, codebook_size=8)


def test_report_by_hand():
    codes = np.array([[0, 0], [0, 0], [0, 0], [1, 2], [2, 1], [2, 1], [1, 0], [3, 0]])
    vectors = np.random.default_rng(0).normal(size=(8, 3))
    report = quantization_report(codes, assign_semantic_ids(codes, 8), vectors, vectors, codebook_size=8)
    assert report.coverage == [4 / 8, 3 / 8]
    assert (report.num_items, report.num_distinct, report.num_colliding, report.largest_collision) == (8, 5, 5, 3)
    assert (report.reconstruction_error, report.explained_variance) == (0, 1)
    entropy = -(3 / 8 * np.log(3 / 8) + 2 * 2 / 8 * np.log(2 / 8) + 1 / 8 * np.log(1 / 8))
    assert report.perplexity[0] == pytest.approx(np.exp(entropy))
    mean = np.broadcast_to(vectors.mean(axis=0), vectors.shape)
    assert quantization_report(
        codes, assign_semantic_ids(codes, 8), vectors, mean, codebook_size=8
    ).explained_variance == pytest.approx(0, abs=1e-12)
    assert "distinct before collisions    5 of 8" in str(report)
    assert report.to_dict()["num_colliding"] == 5


def test_report_refuses_what_does_not_belong_together():
    codes, vectors = np.array([[0, 1], [0, 1]]), np.zeros((2, 3))
    with pytest.raises(ValueError, match="share a semantic ID"):
        quantization_report(codes, np.array([[0, 1, 0], [0, 1, 0]]), vectors, vectors, codebook_size=2)
    with pytest.raises(ValueError, match="must be the codes"):
        quantization_report(codes, np.array([[0, 0, 0], [0, 1, 0]]), vectors, vectors, codebook_size=2)
    with pytest.raises(ValueError, match="must have one shape"):
        quantization_report(codes, assign_semantic_ids(codes, 2), vectors, vectors[:, :2], codebook_size=2)
