"""What a request may hold: every wrong value is refused by name, and no request sees another's data."""

import contextlib
import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import ITEMS, tiny_method, train_tiny
from transformers import pipeline

from modeling_mender.hub.handler import EndpointHandler
from modeling_mender.item_log_weights import weigh_items
from modeling_mender.methods.table import METHODS
from modeling_mender.recommendation_request import (
    REQUEST_FIELDS,
    CallOptions,
    RecommendationRequest,
    read_call,
    read_requests,
)
from modeling_mender.request_values import RequestLimits

NUM_ITEMS = len(ITEMS)
GOOD = {"history": [1, 5], "preference": "search for red soap"}
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_tiny("mender_steer", tmp_path_factory.mktemp("steer"))


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("preference-recommendation", model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def handler(folder):
    return EndpointHandler(str(folder))


# -- wrong values -----------------------------------------------------------------------------------------------------

NO_LIST = ["17", 17, 3.7, True, b"12", {1: 2}, {1, 2}, object(), np.ones((2, 2))]
NO_ITEM = [3.0, 3.7, "3", True, None, [3], 0, -1, NUM_ITEMS + 1, 10**400, float("nan"), b"3", DEEP, np.float32(3)]
NO_TEXT = [7, 3.5, True, b"tea", {"tea": 1}, {"tea"}, [7], ["tea", None], [["tea"]], [b"tea"], object(), DEEP]
NO_NUMBER = [
    "2",
    True,
    float("nan"),
    math.inf,
    -math.inf,
    1001,
    -1e4,
    10**400,
    [[1]],
    {1: 2},
    [1, "2"],
    b"1",
    [1, 2, 3],
]
NO_WEIGHT = ["1", True, float("nan"), math.inf, 1e39, -1e39, 10**400, None, [1]]

WRONG = [
    *(({"history": value}, "history.* is .*; give a list of item ids") for value in NO_LIST),
    *(({"history": [1, value]}, "history.* contains .* no item of this catalog") for value in NO_ITEM),
    *((GOOD | {"candidates": value}, "candidates.* is .*; give a list of item ids") for value in NO_LIST),
    *((GOOD | {"candidates": [value]}, "candidates.* contains .* no item") for value in NO_ITEM),
    *((GOOD | {"exclude": value}, "exclude.* is .*; give a list of item ids") for value in NO_LIST),
    *((GOOD | {"exclude": [value, 2]}, "exclude.* contains .* no item") for value in NO_ITEM),
    *(({"history": [1], "preference": value}, "preference.* (is|contains) ") for value in NO_TEXT),
    *(({"history": [1], "avoid": value}, "avoid.* (is|contains) ") for value in NO_TEXT),
    *((GOOD | {"strength": value}, "strength.* (is|has) .*; give ") for value in NO_NUMBER),
    *((GOOD | {"item_log_weights": {3: value}}, "item_log_weights.* for item 3 is ") for value in NO_WEIGHT),
    *((GOOD | {"item_log_weights": {key: 1.0}}, "contains .* no item") for key in (0, 13, "03", "٣", "1.0", "", 2.5)),
    *((GOOD | {"item_log_weights": value}, "must map item ids to") for value in ("1", 1, b"1", {1}, [0.0] * 11)),
    (GOOD | {"item_log_weights": {3: 1.0, "3": 2.0}}, "names item 3 twice"),
    (GOOD | {"item_log_weights": {"9" * 5000: 1.0}}, "contains '999.* no item"),
    *((GOOD | {"user": value}, "user.* is .* no string") for value in (7, True, b"ada", ["ada"], {"ada": 1})),
    (GOOD | {"histori": [1]}, "no field histori; there are history"),
    (GOOD | {7: [1], "k": 3}, "no field 7, k; there are history"),
    *((value, "is a dict with history, preference") for value in ("red soap", 7, None, [1], [GOOD], b"", DEEP)),
    (GOOD | {"candidates": [1, 2], "exclude": [2]}, "allows 1 item and 2 results are asked for"),
    (GOOD | {"candidates": []}, "allows 0 items"),
    (GOOD | {"item_log_weights": {item: -math.inf for item in range(2, 13)}}, "allows 1 item and"),
    (GOOD | {"user": "ada"}, "does not read user.*; leave user out"),
    *(({"history": [1], "preference": text}, "half of a character") for text in ("tea \ud83d", ["", "\udc00"])),
    *(({"history": [1], "avoid": text}, "a control character, U\\+00") for text in ("\0", "t\x1b[2J", "\x7f", "\x9b")),
]  # fmt: skip


@pytest.mark.parametrize("number", [None, 2])
def test_a_wrong_value_is_refused_by_name_and_number_before_any_answer(pipe, number, monkeypatch):
    monkeypatch.setattr(pipe, "forward", lambda *inputs, **options: pytest.fail("it was answered"))
    for request, message in WRONG:
        if number is None and not isinstance(request, dict):
            continue  # a list is a list of requests
        with pytest.raises(ValueError, match=message) as error:
            pipe(request if number is None else [GOOD, GOOD, request, GOOD], k=2)
        assert type(error.value).__name__ in ("ValueError", "RequestError")
        assert number is None or f"request {number}" in str(error.value), (request, error.value)
        assert len(str(error.value)) < 600


def test_wrong_options_are_refused_by_name(pipe, handler):
    for name in ("k", "num_beams", "batch_size"):
        for value in (0, -1, 2.5, 5.0, True, "5", [5], {}, b"5", float("nan"), math.inf, DEEP):
            for requests in (GOOD, [GOOD, GOOD]):
                with pytest.raises(ValueError, match=rf"{name} \(.*\) must be a whole number"):
                    pipe(requests, **{name: value})
                with pytest.raises(ValueError, match=rf"{name} \(.*\) must be a whole number"):
                    handler({"inputs": requests, "parameters": {name: value}})
    for options, message in [
        ({"k": 13}, r"k \(13\) must be in 1..12"),
        ({"k": 10**400}, "k .* must be in 1..12"),
        ({"batch_size": 257}, "batch_size is 257 requests, and the limit is 256; .* limits={'batch_size': 257}"),
        ({"num_beams": 2001}, "num_beams is 2,001 beams, and the limit is 2,000; .* MENDER_MAX_NUM_BEAMS"),
        ({"return_terms": 1}, "return_terms is 1; give true or false"),
        ({"candidates": 3}, "candidates is 3; give a list"),
        ({"exclude": [True]}, "exclude contains True"),
        ({"item_log_weights": {"3": "1"}}, "item_log_weights for item 3 is '1'"),
        ({"top_k": 3, "num_workers": 2}, "top_k, num_workers: no such option"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipe([GOOD], **options)
    with pytest.raises(ValueError, match="name the options of a call"):
        pipe(GOOD, 5)
    with pytest.raises(ValueError, match="batch_size"):
        pipeline("preference-recommendation", model=pipe.model, processor=pipe.processor, batch_size=0)([GOOD])
    with pytest.raises(ValueError, match="k is 3 items, and the limit is 2"):
        pipe(GOOD, k=3, limits={"k": 2})
    for inputs in ("tea", b"tea", 7, None, np.array(7), np.ones((2, 2))):
        with pytest.raises(ValueError, match="a request is a dict, and several are a list"):
            pipe(inputs)


def test_the_body_of_a_call_is_refused_by_name(handler):
    for body, message in [
        *((body, "the call is .*; give an object") for body in (None, [], [GOOD], "tea", 7)),
        *((body, "the call has no inputs") for body in ({}, {"inputs": None}, {"history": [1]})),
        *(({"inputs": inputs}, "inputs is .*; give a request") for inputs in (7, 0, True, 2.5, "", [], (GOOD,))),
        ({"inputs": ["tea", 7]}, "request 1 is an object with .*, not 7"),
        ({"inputs": [[GOOD]]}, "request 0 is an object"),
        ({"inputs": ["tea", None]}, "request 1 is an object with .*, not null"),
        *(
            ({"inputs": "tea", "parameters": value}, "parameters is .*; give an object")
            for value in ([], 0, "", "k", [3])
        ),
        ({"inputs": "tea", "k": 3}, 'a call has no "k"; there are inputs and parameters'),
        ({"inputs": "tea", "parameters": {"limits": {"texts": None}}}, "limits: no such option"),
        ({"inputs": "tea", "parameters": {3: 4}}, "3: no such option"),
        ({"inputs": {"preference": "tea \ud83d"}}, "half of a character"),
    ]:
        with pytest.raises(ValueError, match=message):
            handler(body)
    assert len(handler({"inputs": "tea", "parameters": {"k": 3}})) == 3
    assert [len(items) for items in handler({"inputs": ["tea", GOOD], "parameters": {"k": 2}})] == [2, 2]


# -- right values -----------------------------------------------------------------------------------------------------


def test_numbers_and_arrays_of_numpy_and_torch_are_those_of_python(pipe):
    plain = {
        "history": [1, 5],
        "exclude": [2],
        "candidates": [3, 4, 2, 7],
        "strength": [2.0],
        "item_log_weights": {3: 1.5},
    }
    expected = pipe(plain | {"preference": ["tea"]}, k=2)
    for form in (
        {
            "history": np.array([1, 5]),
            "exclude": (np.int64(2),),
            "strength": np.array([2.0]),
            "candidates": range(2, 8),
        },
        {"history": torch.tensor([1, 5]), "exclude": [torch.tensor(2)], "strength": torch.tensor(2)},
        {"history": (1, np.uint8(5)), "item_log_weights": {np.int32(3): np.float32(1.5)}, "preference": ("tea",)},
        {"item_log_weights": {"3": 1.5}, "preference": np.array(["tea"])},
    ):
        request = plain | {"preference": "tea"} | form
        assert pipe(request, k=np.int64(2)) == expected if "candidates" not in form else pipe(request, k=2)


def test_what_is_not_visible_is_not_said(pipe):
    expected = pipe({"history": [1, 5], "preference": ["tea", "red mug"], "strength": [2, 0.5]}, k=12)
    for form in (
        {"preference": ["", "tea", "\u200f", "red mug"], "strength": [9, 2, 9, 0.5]},
        {"preference": ["tea", "red mug", " \n"], "avoid": ["", "\ufeff"], "strength": [2, 0.5, 7, 8, 9]},
        {"preference": ["tea", "red mug"], "avoid": "", "strength": [2, 0.5, 7], "user": "", "exclude": []},
    ):
        assert pipe({"history": [1, 5]} | form, k=12) == expected
    assert pipe({"history": [1], "preference": " \u200b", "avoid": []}, k=12) == pipe({"history": [1]}, k=12)


@pytest.mark.parametrize(
    "text",
    [
        "\u202etea\u202c", "\u0633\u0644\u0627\u0645 tea", "a\u0301\u200d\U0001f469", "\ufffe\ue000", "x" * 2000,
        "<img src=x>", "tea\n\tred\r\n\x0b", "no-" * 600, "tea but not " * 160, "." * 2000, "\u00a0 \u3000 tea",
    ],
)  # fmt: skip
def test_any_other_text_has_an_answer_alone_and_in_a_batch(pipe, text):
    requests = [{"preference": text}, {"avoid": [text]}, GOOD]
    together = pipe(requests, k=12, batch_size=3)
    for request, items in zip(requests, together, strict=True):
        alone = pipe(request, k=12)
        assert [item["score"] for item in alone] == pytest.approx([item["score"] for item in items], abs=1e-3)


# -- data of one request in another -----------------------------------------------------------------------------------


RECURSIVE: list = []
RECURSIVE.append(RECURSIVE)
ANYTHING = [
    pd.DataFrame({"a": [1]}), 7, 3.7, True, "17", "", b"17", [], [1.0], ["1"], [True], {1: 2}, {1}, RECURSIVE, -1,
    "tea", ["tea", "mug"], np.array([1, 2]), np.array(["a"]), np.array(3), torch.tensor([[1, 2]]), torch.tensor([1.5]),
    pd.Series([1, 2]), object(), "\ud800", 10**400, float("nan"), ["tea", None], [[1, 2], [3]], [["tea"], "mug"],
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_scalars_of_a_batch_are_refused_and_never_joined(tmp_path, name):
    """For every method: a value without a list around it in each of two requests, and the same of the processor."""
    method, model, processor, _ = tiny_method(name, "bert", tmp_path)
    pipe = pipeline("preference-recommendation", model=model, processor=processor, device="cpu")
    for field in ("history", "exclude", "candidates", "item_log_weights"):
        with pytest.raises(ValueError, match=f"{field} of request 0"):
            pipe([{"history": [1], field: 7}, {"history": [2], field: 4}], k=1, batch_size=2)
    forms: list[dict] = [{"history": [7, [4]]}, {"history": [[7], 4]}, {"history": {7: 4}}, {"history": [[7], {4: 1}]}]
    if method.preference != "none":
        forms += [{"history": [7, 4], "preference": ["tea", "soap"]}, {"history": [[7], [4]], "preference": "tea"}]
    if method.reads_user:
        forms += [{"history": [7, 4], "user": ["a", "b"]}, {"history": [[7], [4]], "user": "a"}]
        forms += [{"history": [[7], [4]], "user": {"a": 1, "b": 2}}, {"history": [[7]], "user": b"a"}]
    if method.is_steered:
        forms += [{"history": [7, 4], "avoid": ["tea", "soap"]}, {"preference": "tea", "avoid": ["tea", "soap"]}]
        forms += [{"history": [7, 4], "strength": [1, 2]}, {"history": [[7]], "strength": [{1: 2}]}]
    for form in forms:
        with pytest.raises(ValueError, match="history|preference|user|avoid|strength"):
            processor(**form)
    inputs = processor(history=[[7], [4]])
    together = model.recommend(**inputs, k=2, exclude=[3, 5]).items
    assert torch.equal(together, model.recommend(**inputs, k=2, exclude=[[3, 5], [3, 5]]).items)  # the same for all
    for wrong in ([3, [5]], [[3], 5], [[3, 5]], {3: 5}, [b"\3", b"\5"], "35", [{3: 1}, {5: 1}], np.ones((2, 2, 2))):
        for field in ("exclude", "candidates"):
            with pytest.raises(ValueError, match=field):
                model.recommend(**inputs, k=2, **{field: wrong})
    for value in ANYTHING:  # some are right; none ends in another error
        for field in ("history", "preference", "user", "avoid", "strength"):
            for others in ({"history": [[1], [2]]}, {"history": [1, 2]}, {}):
                with contextlib.suppress(ValueError):
                    processor(**others | {field: value})
        for field in ("candidates", "exclude", "k", "num_beams", "item_log_weights", "allowed_items"):
            with contextlib.suppress(ValueError):
                model.recommend(**inputs, **{"k": 1} | {field: value})


def test_ids_in_rows_of_arrays_are_those_of_lists():
    expected = weigh_items(5, 2, exclude=[[1, 2], [3, 4]])
    for rows in (torch.tensor([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]]), [np.array([1, 2]), (3, 4)]):
        assert torch.equal(weigh_items(5, 2, exclude=rows), expected)


# -- limits -----------------------------------------------------------------------------------------------------------

SMALL = RequestLimits(3, 2, 5, 9, 2, 20, 4, 5, 4, 60, 12)
TOO_LARGE = [
    ([GOOD] * 4, "requests", "the call has 4 requests, and the limit is 3"),
    ([{"preference": ["a", "b"], "avoid": "c"}], "texts", "preference and avoid of request 0 have 3 texts"),
    ([GOOD, {"preference": list("abc")}], "texts", "preference of request 1 has 3 texts"),
    ([{"avoid": "x" * 21}], "characters", "avoid of request 0 is 'xxxxx.*' of 21 characters, and the"),
    ([{"user": "x" * 21}], "characters", "user of request 0 is .* of 21 characters"),
    ([{"history": [1] * 5}], "history", "history of request 0 has 5 items, and the limit is 4"),
    ([{"exclude": [1] * 6}], "items", "exclude of request 0 has 6 items"),
    ([{"candidates": [1] * 6}], "items", "candidates of request 0 has 6 items"),
    ([{"item_log_weights": dict.fromkeys(range(1, 7), 1)}], "items", "item_log_weights of request 0 has 6 entries"),
    ([{"preference": ["a", "b"]}] * 3, "all_texts", "the call has at least 6 texts, and the limit is 4"),
    ([{"preference": ["x" * 20, "y" * 20]}] * 2, "all_characters", "the call has at least 80 characters in its texts"),
    ([{"exclude": [1] * 5, "history": [1] * 4}] * 2, "all_items", "the call has at least 18 entries in its lists"),
]  # fmt: skip


def test_what_exceeds_a_limit_is_refused_with_the_way_to_raise_it(monkeypatch):
    for requests, limit, message in TOO_LARGE:
        with pytest.raises(ValueError, match=message) as error:
            read_requests(requests, NUM_ITEMS, SMALL)
        assert f"limits={{'{limit}': " in str(error.value) and f"MENDER_MAX_{limit.upper()}" in str(error.value)
        assert read_requests(requests, NUM_ITEMS, RequestLimits.none())
        monkeypatch.setenv(f"MENDER_MAX_{limit.upper()}", "1")
        with pytest.raises(ValueError, match="the limit is 1; give fewer"):
            read_requests(requests, NUM_ITEMS)
        monkeypatch.setenv(f"MENDER_MAX_{limit.upper()}", "none")
        assert read_requests(requests, NUM_ITEMS)
        monkeypatch.delenv(f"MENDER_MAX_{limit.upper()}")
    for wrong in ("0", "-1", "2.5", "many", "1e3", "٣"):
        monkeypatch.setenv("MENDER_MAX_TEXTS", wrong)
        with pytest.raises(ValueError, match="MENDER_MAX_TEXTS is .*; give a whole number from 1, or none"):
            RequestLimits.read()
    for wrong in (
        {"texts": 0},
        {"texts": "5"},
        {"texts": True},
        {"texts": 2.5},
        {"text": 5},
        {3: 5},
        5,
        "texts",
        [("texts", 5)],
    ):
        with pytest.raises(ValueError, match="limit"):
            RequestLimits.read(wrong)


def test_pipeline_and_handler_hold_to_their_limits(folder, pipe, monkeypatch):
    with pytest.raises(ValueError, match="the call has 1,001 requests, and the limit is 1,000"):
        pipe([GOOD] * 1001, k=1)
    with pytest.raises(ValueError, match="preference has 20,000 texts, and the limit is 100"):
        pipe({"preference": ["tea"] * 20_000})
    with pytest.raises(ValueError, match="the call has 2 requests"):
        pipe([GOOD] * 2, k=1, limits={"requests": 1})
    assert len(pipe([GOOD] * 3, k=1, limits={"requests": None})) == 3
    assert len(pipe([GOOD] * 3, k=1, exclude=[3], limits={"all_items": 6})) == 3  # a list of the call counts once
    assert len(list(pipe(iter([GOOD] * 3), k=1, limits={"requests": 2}))) == 3  # as it comes
    with pytest.raises(ValueError, match="history of request 1 has 3 items"):
        list(pipe(iter([GOOD, {"history": [1, 2, 3]}]), k=1, limits={"history": 2}))
    monkeypatch.setenv("MENDER_MAX_CHARACTERS", "3")
    monkeypatch.setenv("MENDER_MAX_REQUESTS", "2")
    small = EndpointHandler(str(folder), limits={"requests": 1})
    for body, message in (
        ({"inputs": ["tea", "mug"]}, "the call has 2 requests"),
        ({"inputs": "soap"}, "4 characters"),
    ):
        with pytest.raises(ValueError, match=message):
            small(body)
    with pytest.raises(ValueError, match="the call has 3 requests, and the limit is 2"):
        EndpointHandler(str(folder))({"inputs": ["tea"] * 3})


# -- any request ------------------------------------------------------------------------------------------------------

texts = st.one_of(st.sampled_from(["tea", "red soap", "avoid mug", "", " ", "no lamps but tea"]), st.text(max_size=12))
items = st.lists(st.integers(1, NUM_ITEMS), max_size=4)
VALUES = {
    "history": items,
    "preference": st.one_of(texts, st.lists(texts, max_size=3)),
    "avoid": st.one_of(texts, st.lists(texts, max_size=2)),
    "strength": st.one_of(st.floats(-3, 3), st.integers(0, 2), st.lists(st.floats(-3, 3), max_size=3)),
    "user": st.just(""),
    "candidates": st.one_of(st.none(), st.lists(st.integers(1, NUM_ITEMS), min_size=3, max_size=9)),
    "exclude": items,
    "item_log_weights": st.dictionaries(st.integers(1, NUM_ITEMS), st.floats(-9, 9), max_size=3),
}
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)
sound = st.fixed_dictionaries({}, optional=VALUES)
spoiled = st.fixed_dictionaries({}, optional={name: st.one_of(value, junk) for name, value in VALUES.items()})
anything = st.one_of(sound, sound, spoiled, st.dictionaries(st.sampled_from([*REQUEST_FIELDS, "k"]), junk), junk)
options = st.fixed_dictionaries({}, optional={name: junk for name in ("k", "num_beams", "batch_size", "return_terms")})


def answer(pipe, requests, **given):
    """The answers, or `None` for a refusal; any other exception is the test's."""
    try:
        return pipe(requests, **given)
    except ValueError as error:
        assert str(error).strip() and type(error).__name__ in ("ValueError", "RequestError"), repr(error)
        return None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(anything, min_size=1, max_size=3))
@example([{"history": 7}, {"history": 4}])
def test_a_batch_of_anything_is_answered_as_one_by_one_or_refused_with_a_number(pipe, requests):
    alone = [answer(pipe, one, k=3) if isinstance(one, dict) else None for one in requests]
    together = answer(pipe, requests, k=3, batch_size=3)
    assert (together is None) == any(one is None for one in alone)
    for one, other in zip(alone, together or (), strict=bool(together)):
        assert [item["score"] for item in one] == pytest.approx([item["score"] for item in other], abs=1e-3)
        known = {item["item_id"]: item["score"] for item in one}
        for item in other:  # equal scores may change places
            assert known.get(item["item_id"], one[-1]["score"]) == pytest.approx(item["score"], abs=1e-3)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        junk,
        st.fixed_dictionaries(
            {"inputs": st.one_of(anything, st.lists(anything)), "parameters": st.one_of(options, junk)}
        ),
    )
)
def test_any_body_of_a_call_is_answered_or_refused(handler, body):
    found = answer(handler, body)
    assert found is None or json.dumps(found)


def test_a_request_that_was_read_is_read_again_unchanged():
    request = RecommendationRequest.read(GOOD | {"item_log_weights": {"3": 1}, "strength": [2]}, NUM_ITEMS)
    assert request == RecommendationRequest((1, 5), ("search for red soap",), (), (2.0,), None, None, (), {3: 1.0})
    for again in (request, dataclasses.asdict(request)):
        assert RecommendationRequest.read(again, NUM_ITEMS) == request
    with pytest.raises(ValueError, match="history is 7; give a list"):
        RecommendationRequest.read(RecommendationRequest(7), NUM_ITEMS)
    with pytest.raises(ValueError, match=r"k \(10\) must be in 1..8"):
        CallOptions.read({}, 8)
    assert CallOptions.read({"k": 3, "exclude": (2,)}, NUM_ITEMS) == CallOptions(k=3, defaults={"exclude": (2,)})
    assert read_call({"inputs": "tea", "parameters": None}) == ({"preference": "tea"}, {})
