"""The published columns, and the text that stands for an item."""

import subprocess
import sys

import pytest
from datasets import Value

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.schema import TABLES, config_name, features, item_text, splits_of

COLUMNS = {
    "recommendation": ["user_id", "position", "history", "preference", "target"],
    "fine": ["user_id", "position", "history", "preference", "target", "source_item", "history_from"],
    "coarse": ["user_id", "position", "history", "preference", "target", "source_item"],
    "sentiment": ["preference_positive", "preference_negative", "target"],
    "history": ["user_id", "position", "history", "preferences", "target"],
    "sentiment_with_history": [
        "user_id",
        "position",
        "history",
        "preference_positive",
        "preference_negative",
        "target",
        "item_from",
    ],
    "avoid": ["user_id", "position", "history", "preference", "target", "avoided"],
    "strength": ["user_id", "position", "history", "preference", "target", "source_item"],
    "compose": ["user_id", "position", "history", "preferences", "target", "second_target"],
    "words": ["user_id", "position", "history", "preference", "original", "target"],
    "items": ["item_id", "source_id", "title", "brand", "categories", "price", "description"],
    "preferences": ["user_id", "position", "item_id", "preferences"],
}


@pytest.mark.parametrize("name", (*AXES, *TABLES))
def test_columns_are_the_published_ones_in_order(name):
    assert list(features(name)) == COLUMNS[name]


def test_types_are_the_published_ones():
    assert features("items")["price"] == Value("float32")
    assert features("recommendation")["history"].feature == Value("int32")
    assert features("history")["preferences"].feature == Value("string")
    assert [len(splits_of(name)) for name in (*AXES, *TABLES)] == [3] * len(AXES) + [1, 1]


@pytest.mark.parametrize("domain", ["", "my shop", "../up", "a/b", "_x", "x__y", "é"])
def test_a_domain_that_cannot_be_a_folder_name_is_refused(domain):
    with pytest.raises(ValueError, match="domain"):
        config_name(domain, "items")


def test_an_unknown_config_is_named():
    with pytest.raises(ValueError, match="'stars'"):
        features("stars")


def test_item_text_leaves_out_what_is_missing():
    full = {"title": "Soap", "price": 2.0, "brand": "Dove", "categories": ["Bath", "Soaps"]}
    assert item_text(full) == "Soap; price: $2.00; brand: Dove; categories: Bath, Soaps"
    assert item_text({"title": None, "price": float("nan"), "brand": "Unknown", "categories": []}) == ""
    assert item_text(full, fields=("title",)) == "Soap"


def test_the_benchmark_imports_neither_torch_nor_transformers_nor_the_models():
    code = (
        "import sys, dataset_builders.building.build, dataset_builders.benchmark.checks; "
        "print([m for m in ('torch', 'transformers', 'modeling_mender', 'vaderSentiment') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
