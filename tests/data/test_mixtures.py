"""Data mixtures: which rows a method learns from, and what it may not see of them."""

import datasets
import pytest

from modeling_mender.data.mixtures import MIXTURES, mixture_examples
from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.table import get_method

TABLES = {
    "recommendation": datasets.Dataset.from_dict(
        {"user_id": ["u"], "history": [[1]], "preference": ["look for red"], "target": [2]}
    ),
    "sentiment": datasets.Dataset.from_dict(
        {"preference_positive": ["find blue"], "preference_negative": ["avoid blue"], "target": [3]}
    ),
    "fine": datasets.Dataset.from_dict({"user_id": ["v"], "history": [[4]], "preference": ["fine"], "target": [5]}),
    "coarse": datasets.Dataset.from_dict({"user_id": ["w"], "history": [[]], "preference": ["far"], "target": [6]}),
    "history": datasets.Dataset.from_dict(
        {"user_id": ["u"], "history": [[1]], "preferences": [["a", "b", "c", "d", "e"]], "target": [2]}
    ),
}
RECOMMENDATION = Example(Request((1,), ("look for red",), "u"), 2)
# targets of sentiment and of steering did not follow a history
POSITIVE = Example(Request((), ("find blue",)), 3, needs_preference=True)
NEGATIVE = Example(Request((), ("avoid blue",)), 3, is_negative=True, needs_preference=True)
FINE = Example(Request((4,), ("fine",), "v"), 5, needs_preference=True)
COARSE = Example(Request((), ("far",), "w"), 6, needs_preference=True)


@pytest.mark.parametrize(
    ("mixture", "expected"),
    [
        ("none", [RECOMMENDATION]),
        ("pos", [RECOMMENDATION, POSITIVE]),
        ("neg", [RECOMMENDATION, NEGATIVE]),
        ("pos_neg", [RECOMMENDATION, POSITIVE, NEGATIVE]),
        ("fine", [RECOMMENDATION, FINE]),
        ("coarse", [RECOMMENDATION, COARSE]),
        ("fine_coarse", [RECOMMENDATION, FINE, COARSE]),
        ("all", [RECOMMENDATION, POSITIVE, NEGATIVE, FINE, COARSE]),
        ("wanted", [RECOMMENDATION, POSITIVE, FINE, COARSE]),
        ("all_prefs", [Example(Request((1,), ("a", "b", "c", "d", "e"), "u"), 2)]),
    ],
)
def test_a_mixture_is_the_papers_or_what_is_wanted(mixture, expected):
    assert mixture_examples(mixture, TABLES.get) == expected


def test_every_mixture_is_tested_above():
    assert len(MIXTURES) == 10


def test_what_is_wanted_is_that_of_the_axes_that_there_are():
    tables = {name: TABLES[name] for name in ("recommendation", "fine")} | {"coarse": TABLES["coarse"].select([])}
    assert mixture_examples("wanted", tables.get) == [RECOMMENDATION, FINE]
    with pytest.raises(ValueError, match="axis recommendation"):
        mixture_examples("wanted", {}.get)


def test_what_a_method_may_not_see_is_taken_out_and_empty_requests_are_dropped():
    restrict = get_method("mender_emb").with_inputs("history").restrict
    assert mixture_examples("all", TABLES.get, restrict) == [
        Example(Request((1,), ()), 2),
        Example(Request((4,), ()), 5, needs_preference=True),
    ]


def test_a_missing_axis_names_the_mixtures_that_need_none_of_it():
    with pytest.raises(ValueError, match="axis sentiment.*none, fine, coarse, fine_coarse, all_prefs"):
        mixture_examples("pos_neg", {**TABLES, "sentiment": None}.get)


def test_an_unknown_mixture_is_refused_by_name():
    with pytest.raises(ValueError, match="'positive' is unknown.*pos_neg"):
        mixture_examples("positive", TABLES.get)
