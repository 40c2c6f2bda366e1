"""Embeddings once per distinct text, kept on disk without pickle, and the argmax of eq. (1)."""

import hashlib

import numpy as np
import pytest
from benchmark_world import hash_embed

from dataset_builders.building.preferences.matching import EmbeddingTable, match_preferences


class CountingEmbed:
    def __init__(self):
        self.texts = []

    def __call__(self, texts):
        self.texts += texts
        return hash_embed(texts)


def test_each_distinct_text_is_embedded_once_and_returned_in_order():
    embed = CountingEmbed()
    table = EmbeddingTable(embed, progress=False)
    texts = ["b soap", "a mug", "b soap", "", "a mug"]
    np.testing.assert_array_equal(table(texts), hash_embed(texts))
    np.testing.assert_array_equal(table(["a mug", "c"]), hash_embed(["a mug", "c"]))
    assert sorted(embed.texts) == ["", "a mug", "b soap", "c"]


def test_no_text_gives_no_row():
    assert len(EmbeddingTable(hash_embed, progress=False)([])) == 0


def test_a_second_build_reads_the_cache_and_another_model_does_not(tmp_path):
    texts = [f"text {n}" for n in range(50)]
    EmbeddingTable(hash_embed, tmp_path, "m", progress=False)(texts)
    again, other = CountingEmbed(), CountingEmbed()
    vectors = EmbeddingTable(again, tmp_path, "m", progress=False)([*texts, "new"])
    EmbeddingTable(other, tmp_path, "another", progress=False)(texts)
    np.testing.assert_array_equal(vectors, hash_embed([*texts, "new"]))
    assert again.texts[1:] == ["new"] and len(other.texts[1:]) == 50  # after the sentence that tells models apart


def test_two_models_of_one_name_do_not_share_vectors(tmp_path):
    EmbeddingTable(hash_embed, tmp_path, "model", progress=False)(["a b"])
    smaller = EmbeddingTable(lambda texts: hash_embed(texts, 64), tmp_path, "model", progress=False)
    assert smaller(["a b"]).shape == (1, 64)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".parquet"}


def test_one_model_in_bfloat16_does_not_share_vectors_with_float32_whose_folder_keeps_its_name(tmp_path):
    EmbeddingTable(hash_embed, tmp_path, "m", progress=False)(["a mug"])
    (named_before,) = tmp_path.iterdir()
    probe = np.round(hash_embed(["A sentence by which text encoders can be told apart"]), 2) + np.float32(0)
    assert named_before.name == hashlib.blake2b(b"m" + probe.tobytes(), digest_size=8).hexdigest()
    for dtype, found in (("float32", 0), ("bfloat16", 1)):
        embed = CountingEmbed()
        embed.dtype = dtype
        EmbeddingTable(embed, tmp_path, "m", progress=False)(["a mug"])
        assert embed.texts.count("a mug") == found
    assert len(list(tmp_path.iterdir())) == 2


def test_interrupted_work_resumes_at_the_last_shard(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_builders.building.preferences.matching.SHARD_SIZE", 10)
    texts = [f"text {n:02d}" for n in range(30)]

    def dies(chunk):
        if "text 25" in chunk:
            raise KeyboardInterrupt
        return hash_embed(chunk)

    with pytest.raises(KeyboardInterrupt):
        EmbeddingTable(dies, tmp_path, "m", progress=False)(texts)
    embed = CountingEmbed()
    EmbeddingTable(embed, tmp_path, "m", progress=False)(texts)
    assert embed.texts[1:] == texts[20:]


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (lambda texts: np.ones((1, 4), np.float32) / 2, r"must return shape \(2, dim\)"),
        (lambda texts: np.ones((2, 4), np.float32), "L2-normalized"),
        (lambda texts: np.full((2, 4), np.nan, np.float32), "L2-normalized"),
        (lambda texts: np.ones(2, np.float32), "must return shape"),
    ],
)
def test_a_broken_embedder_is_named(embed, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(embed, progress=False)(["a", "b"])


def test_a_cache_without_the_name_of_the_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model_name"):
        EmbeddingTable(hash_embed, tmp_path)


def test_the_match_is_the_argmax_of_the_cosine_row_by_row():
    generator = np.random.default_rng(0)
    items, preferences = (generator.normal(size=(n, 8)).astype(np.float32) for n in (20, 60))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    preferences /= np.linalg.norm(preferences, axis=1, keepdims=True)
    targets, candidates = generator.integers(0, 20, 101), generator.integers(0, 60, (101, 5))
    best = match_preferences(targets, candidates, items, preferences, block_size=16)
    for target, five, chosen in zip(targets, candidates, best, strict=True):
        cosines = [float(items[target] @ preferences[preference]) for preference in five]
        assert cosines[chosen] == pytest.approx(max(cosines), abs=1e-6)


def test_the_first_of_equal_preferences_is_taken():
    one = np.eye(2, dtype=np.float32)
    assert match_preferences(np.array([0]), np.array([[1, 0, 0]]), one, one).tolist() == [1]
