"""What becomes of a request before a model sees it."""

import pytest
import torch
from tiny_models import ITEMS, TITLES, tokenizer

from modeling_mender import MenderEmbProcessor, MenderTokProcessor
from modeling_mender.processing_mender import pad_token_rows


def tok(family="bert", **kwargs):
    return MenderTokProcessor(tokenizer(family), items=ITEMS, **kwargs)


def words(processor, row):
    return processor.tokenizer.decode(row).replace("[CLS] ", "").replace(" [SEP]", "").replace(" </s>", "")


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_text_begins_and_ends_as_the_tokenizer_would_have_it(family):
    processor = tok(family)
    found = processor(history=[[1]], preference=["search for tea"])["input_ids"][0].tolist()
    text = f"Instructions: search for tea. Items: Title: {TITLES[0]}"
    assert found == processor.tokenizer(text)["input_ids"]


def test_items_stand_oldest_first_after_the_preference():
    processor = tok()
    row = processor(history=[[1, 12]], preference=["search for tea"])["input_ids"][0]
    text = words(processor, row)
    assert text.index("search for tea") < text.index("red soap") < text.index("blue mug")


def test_a_long_history_loses_whole_items_oldest_first_and_never_the_preference():
    processor = tok(max_length=24)
    text = words(processor, processor(history=[[1, 2, 3, 4]], preference=["avoid blue lamp"])["input_ids"][0])
    assert "avoid blue lamp" in text
    assert "red mug" in text  # item 4, the newest
    assert "red soap" not in text  # item 1, the oldest
    assert text.count("title :") == sum(text.count(title) for title in TITLES[:4])  # no half item


def test_only_the_most_recent_items_are_used():
    history = [1 + i % 12 for i in range(30)]
    features = MenderEmbProcessor(tokenizer("bert"), items=ITEMS, max_history_length=5)(history=[history])
    assert features["history"].tolist() == [history[-5:]]


def test_histories_are_padded_left_and_preferences_masked():
    features = MenderEmbProcessor(tokenizer("bert"), items=ITEMS)(
        history=[[1, 2], [3]], preference=[["red tea", "blue tea"], "green tea"]
    )
    assert features["history"].tolist() == [[1, 2], [0, 3]]
    assert features["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1]]
    assert features["preference_attention_mask"].sum(-1).tolist() == [[4, 4], [4, 0]]


@pytest.mark.parametrize("processor_class", [MenderTokProcessor, MenderEmbProcessor])
def test_a_single_request_needs_no_lists_around_it(processor_class):
    processor = processor_class(tokenizer("bert"), items=ITEMS)
    batch = processor(history=[[1, 2]], preference=["red tea"])
    for single in (
        processor(history=[1, 2], preference="red tea"),
        processor(history=torch.tensor([1, 2]), preference="red tea"),
    ):
        assert {name: value.tolist() for name, value in single.items()} == {
            name: value.tolist() for name, value in batch.items()
        }
    assert len(processor(preference="red tea")["attention_mask"]) == 1
    assert len(processor(history=[], preference="red tea")["attention_mask"]) == 1
    assert len(processor(history=[[], [1]], preference=["red tea", None])["attention_mask"]) == 2


BAD_REQUESTS = [
    ({}, "both missing"),
    ({"history": [[]], "preference": [""]}, "empty history and no preference"),
    ({"history": [[1], []]}, "request 1 has an empty history and no preference"),
    ({"history": [[13]]}, r"13, which is no item of this catalog \(ids 1..12\)"),
    ({"history": [[0]]}, "contains 0"),
    ({"history": [["1"]]}, "contains '1'"),
    ({"history": [[True]]}, "contains True"),
    ({"history": "12"}, "history must be item ids"),
    ({"history": [[1]], "preference": [7]}, "preference 0 is 7"),
    ({"history": [[1]], "preference": [["red", 7]]}, "no string"),
    ({"history": [[1], [2]], "preference": ["red"]}, "2 histories and 1 preferences"),
    ({"history": [[1], [2]], "preference": "red"}, "wrap a single one"),
    ({"history": [], "preference": []}, "no request"),
    ({"history": [3, 4], "preference": ["red", "blue"]}, "preference is a list of 2, and history or preference is"),
    ({"history": [[3], 4]}, "history 1 is 4; give a list of item ids"),
    ({"history": [[1], {2: 3}]}, "history 1 is {2: 3}; give a list of item ids"),
    ({"history": [b"12"]}, r"history 0 contains b'12', which is no item"),
    ({"history": {1: 2}}, "history must be item ids"),
    ({"history": [1.0]}, "contains 1.0, which is no item"),
    ({"history": [[[1]]]}, r"contains \[1\], which is no item"),
    ({"history": [[1]], "preference": {"red": 1}}, "preference must be a list"),
    ({"history": [[1]], "avoid": ["red"]}, "does not take avoid; it takes history and preference"),
]


@pytest.mark.parametrize("processor_class", [MenderTokProcessor, MenderEmbProcessor])
@pytest.mark.parametrize(("request_", "message"), BAD_REQUESTS, ids=[message for _, message in BAD_REQUESTS])
def test_a_bad_request_is_refused_by_name(processor_class, request_, message):
    with pytest.raises(ValueError, match=message):
        processor_class(tokenizer("bert"), items=ITEMS)(**request_)


def test_a_preference_longer_than_the_model_reads_is_refused():
    with pytest.raises(ValueError, match="max_length is 10"):
        tok(max_length=10)(preference="red " * 30)


def test_a_title_outside_the_catalogue_is_refused():
    with pytest.raises(ValueError, match="ids 1..12"):
        tok().titles([13])


def test_padding_rows_of_nothing_still_gives_a_column():
    assert pad_token_rows([[]], 0)["input_ids"].shape == (1, 1)
