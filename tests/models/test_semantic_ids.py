"""The bijection between items, code tuples and tokens."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_mender.semantic_ids import SemanticIds, codes_to_tokens, tokens_to_codes


@given(st.sets(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=40))
def test_no_two_items_have_the_same_tokens(codes):
    ids = SemanticIds(sorted(codes), codebook_size=7)
    tokens = codes_to_tokens(ids.codes, ids.codebook_size)
    assert len(tokens.unique(dim=0)) == ids.num_items
    assert tokens.max() < ids.vocabulary_size


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_tokens_of_different_levels_never_meet_and_never_are_padding(codes):
    tokens = codes_to_tokens(torch.tensor(codes), codebook_size=7)
    assert tokens.min() > 0
    assert not set(tokens[:, 0].tolist()) & set(tokens[:, 1].tolist())
    assert tokens_to_codes(tokens, codebook_size=7).tolist() == [list(code) for code in codes]


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([[0, 1], [2, 0], [0, 1]], "items 1 and 3 share"),
        ([[0, 4]], "0..3"),
        ([[-1, 0]], "-1"),
        ([], "non-empty"),
        ([0, 1], "shape"),
        ([[0.5, 1.0]], "float"),
    ],
)
def test_a_bad_table_is_refused_by_name(codes, words):
    with pytest.raises(ValueError, match=words):
        SemanticIds(codes, codebook_size=4)


def test_parquet_is_read_in_item_order(tmp_path):
    path = tmp_path / "semantic_ids.parquet"
    pq.write_table(pa.table({"item_id": [2, 1], "codes": [[1, 0], [0, 3]]}), path)
    ids = SemanticIds.from_parquet(path)
    assert ids.codes.tolist() == [[0, 3], [1, 0]]
    assert ids.codebook_size == 4


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"item_id": [1, 3], "codes": [[0, 0], [1, 0]]}, "each once"),
        ({"item": [1], "codes": [[0, 0]]}, "item_id"),
    ],
)
def test_a_parquet_file_with_gaps_or_without_a_column_is_refused(tmp_path, table, words):
    pq.write_table(pa.table(table), tmp_path / "ids.parquet")
    with pytest.raises(ValueError, match=words):
        SemanticIds.from_parquet(tmp_path / "ids.parquet")
