"""`pipeline("preference-recommendation")` and the endpoint's handler around it."""

import importlib.util
import json

import benchmark_pipeline
import pytest
import torch
from tiny_models import TITLES, SteeringModel, load_steering, train_tiny
from transformers import AutoModel, AutoProcessor, pipeline

from modeling_mender import MenderEmb
from modeling_mender.hub.model_publication import HANDLER, stage_recommender
from modeling_mender.methods.table import METHODS
from modeling_mender.recommendation import RecommendOutput

PREFERENCE = "search for red soap"
REQUESTS = [
    {"history": [1, 5], "preference": PREFERENCE},
    {"preference": [PREFERENCE, "avoid blue mug"]},
    {"history": [2, 3, 4], "exclude": [2, 3, 4]},
    {"history": [7], "candidates": [1, 2, 3, 4]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_tiny("mender_emb", tmp_path_factory.mktemp("emb"))


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("preference-recommendation", model=str(folder), device="cpu")


def test_a_dict_gives_items_with_titles_and_scores_best_first(pipe):
    items = pipe(REQUESTS[0], k=3)
    assert [set(item) for item in items] == [{"item_id", "title", "score"}] * 3
    assert all(item["title"] == TITLES[item["item_id"] - 1] for item in items)
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
    json.dumps(items)  # plain values


def test_it_says_what_the_model_says(pipe, folder):
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    found = model.eval().recommend(**processor(history=[[1, 5]], preference=[PREFERENCE]), k=5)
    assert [item["item_id"] for item in pipe(REQUESTS[0], k=5)] == found.items[0].tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_a_batch_gives_each_request_what_it_gets_alone(pipe, batch_size):
    alone = [pipe(request, k=4) for request in REQUESTS]
    together = pipe(REQUESTS, k=4, batch_size=batch_size)
    for one, other in zip(alone, together, strict=True):
        assert [item["item_id"] for item in one] == [item["item_id"] for item in other]
        assert [item["score"] for item in one] == pytest.approx([item["score"] for item in other], abs=1e-5)


def test_an_iterator_is_answered_as_it_comes(pipe):
    asked = []

    def requests():
        for request in REQUESTS:
            asked.append(request)
            yield request

    answers = pipe(requests(), k=2, batch_size=2)
    next(iter(answers))
    assert len(asked) == 2
    assert len(list(answers)) == 3


def test_no_request_gets_no_answer(pipe):
    assert pipe([]) == []


def test_a_request_s_own_limits_come_before_the_call_s(pipe):
    own, others = pipe([REQUESTS[3], {"history": [7]}], k=3, candidates=[9, 10, 11, 12])
    assert {item["item_id"] for item in own} <= {1, 2, 3, 4}
    assert {item["item_id"] for item in others} <= {9, 10, 11, 12}


def test_what_is_excluded_does_not_come_back(pipe):
    assert not {2, 3, 4} & {item["item_id"] for item in pipe(REQUESTS[2], k=9)}


class TestMenderSteer:
    """The model that has `avoid`, `strength` and terms, as training leaves it."""

    @pytest.fixture(scope="class")
    def steered(self, tmp_path_factory):
        folder = train_tiny("mender_steer", tmp_path_factory.mktemp("steer"))
        return pipeline("preference-recommendation", model=str(folder), device="cpu")

    def test_what_is_avoided_goes_down_and_strength_0_is_nothing(self, steered):
        request = {"history": [1, 5], "preference": PREFERENCE}
        assert not any("soap" in item["title"] for item in steered({"history": [1], "avoid": "soap"}, k=9))
        without = steered({"history": [1, 5]}, k=12)
        assert steered(request | {"avoid": ["mug"], "strength": 0}, k=12) == without
        assert steered(request, k=1)[0]["title"] == "red soap"
        assert steered(request | {"strength": -1}, k=12)[-1]["title"] == "red soap"

    def test_requests_of_every_kind_share_a_batch_and_terms_sum_to_scores(self, steered):
        requests = [
            *REQUESTS,
            {"history": [7], "avoid": ["soap", "tea"], "strength": [1, 0.5]},
            {"preference": [PREFERENCE, "tea but not green tea"], "avoid": "lamp", "strength": [2, 0.5]},
            {"item_log_weights": {3: 2.5}},
        ]
        alone = [steered(request, k=4, return_terms=True) for request in requests]
        for one, other in zip(alone, steered(requests, k=4, return_terms=True, batch_size=7), strict=True):
            assert [item["item_id"] for item in one] == [item["item_id"] for item in other]
            for item, again in zip(one, other, strict=True):
                assert item["score"] == pytest.approx(again["score"], abs=1e-5)
                for answer in (item, again):
                    assert sum(answer["terms"].values()) == pytest.approx(answer["score"], abs=1e-4)

    def test_a_strength_that_is_no_number_is_refused(self, steered):
        with pytest.raises(ValueError, match="is nan"):
            steered({"history": [1], "preference": PREFERENCE, "strength": float("nan")})


@pytest.fixture(scope="module")
def steering(folder):
    model, processor = load_steering(folder)
    return pipeline("preference-recommendation", model=model, processor=processor, device="cpu")


class TestSteering:
    """`avoid`, `strength` and `return_terms`, by a processor and a model that have them."""

    def test_what_to_avoid_and_strengths_reach_the_processor_by_request(self, steering):
        requests = [
            {"history": [1], "preference": [PREFERENCE, "look for tea"], "strength": [2, 0.5]},
            {"history": [2], "avoid": ["blue mug"]},
            {"history": [3], "preference": PREFERENCE, "avoid": "", "strength": 0},
        ]
        steering(requests, k=2, batch_size=3)
        assert steering.processor.given == {"avoid": [None, ["blue mug"], None], "strength": [[2, 0.5], None, 0]}

    @pytest.mark.parametrize("said", [{}, {"avoid": None, "strength": None}, {"avoid": ["", " "], "strength": []}])
    def test_where_nothing_is_said_nothing_is_passed(self, steering, pipe, said):
        steering({"history": [1]} | said, k=2)
        assert steering.processor.given == {"avoid": None, "strength": None}
        assert pipe({"history": [1]} | said, k=2) == pipe({"history": [1]}, k=2)

    def test_each_item_has_its_terms_and_they_sum_to_its_score(self, steering):
        alone = [steering(request, k=3, return_terms=True) for request in REQUESTS]
        for one, other in zip(alone, steering(REQUESTS, k=3, return_terms=True, batch_size=4), strict=True):
            for item, again in zip(one, other, strict=True):
                assert set(item) == {"item_id", "title", "score", "terms"}
                assert sum(item["terms"].values()) == pytest.approx(item["score"], abs=1e-5)
                assert item["terms"]["history"] == pytest.approx(item["score"] ** 2, abs=1e-4)
                assert again["terms"] == pytest.approx(item["terms"], abs=1e-4)
        json.dumps(alone)

    def test_terms_come_only_where_they_are_asked_for(self, steering, pipe):
        assert "terms" not in steering(REQUESTS[0], k=1)[0]
        assert pipe(REQUESTS[0], k=2, return_terms=False) == pipe(REQUESTS[0], k=2)

    def test_a_model_that_takes_the_option_and_gives_no_terms_is_refused(self, steering, monkeypatch):
        monkeypatch.setattr(
            SteeringModel, "recommend", lambda self, return_terms=False, **inputs: MenderEmb.recommend(self, **inputs)
        )
        with pytest.raises(ValueError, match="is no sum of terms"):
            steering(REQUESTS[0], k=2, return_terms=True)


@pytest.mark.parametrize(
    ("request_", "options", "message"),
    [
        ({"histori": [1]}, {}, "no field histori; there are history, preference"),
        ("red soap", {}, "a request is a dict"),
        ({"history": [13]}, {}, "13, which is no item"),
        ({}, {}, "empty history and no preference"),
        ({"history": [1], "user": "ada"}, {}, "a mender_emb model does not read user; leave user out"),
        ({"history": [1]}, {"top_k": 3}, "top_k: no such option"),
        ({"history": [1]}, {"k": 13}, r"k \(13\) must be in 1..12"),
        ({"history": [1]}, {"num_beams": 99}, r"num_beams \(99\)"),
        (
            {"history": [1], "avoid": "mug"},
            {},
            "a mender_emb model does not read avoid; write what to avoid as a preference, or use a",
        ),
        (
            {"preference": PREFERENCE, "strength": 0},
            {},
            "does not read strength; leave strength out, or use a mender_steer model",
        ),
        (
            {"avoid": ["mug"], "strength": [1]},
            {},
            "does not read avoid and strength; write .* and leave strength out, or use",
        ),
        (
            {"history": [1]},
            {"return_terms": True},
            "score of a mender_emb model is no sum of terms; leave return_terms",
        ),
        ({"history": [1]}, {"return_terms": "no"}, "return_terms is 'no'; give true or false"),
    ],
)
def test_bad_requests_are_refused_with_the_way_out(pipe, request_, options, message):
    with pytest.raises(ValueError, match=message):
        pipe(request_, **options)


def test_the_benchmark_prints_rates_of_both_ways_for_every_batch_size(folder, capsys):
    words = ["--num_requests", "4", "--batch_sizes", "1", "4", "--k", "3", "--repeats", "1"]
    assert benchmark_pipeline.main([str(folder), *words]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["batch", "1", "4"]
    assert all(float(cell) > 0 for row in rows[1:] for cell in row)
    assert benchmark_pipeline.main([str(folder), "--repeats", "0"]) == 1
    assert "repeats (0)" in capsys.readouterr().err


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_through_it(tmp_path, name):
    folder = train_tiny(name, tmp_path, "t5-with-decoder")
    pipe = pipeline("preference-recommendation", model=str(folder), device="cpu")
    request = {"history": [1, 5, 9]}
    if METHODS[name].preference != "none":
        request["preference"] = PREFERENCE
    if METHODS[name].reads_user:
        request["user"] = "ada"
    assert len(pipe([request, {"history": [2]}], k=12, num_beams=12, batch_size=2)[0]) == 12


@pytest.fixture(scope="module")
def handler(folder, tmp_path_factory):
    staged = tmp_path_factory.mktemp("staged")
    stage_recommender(folder, staged)
    spec = importlib.util.spec_from_file_location("handler", staged / HANDLER.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(staged))


class TestHandler:
    """As a hosted endpoint does: the file is imported from the folder, and called with what a call's body holds."""

    def call(self, handler, body):
        return json.loads(json.dumps(handler(json.loads(json.dumps(body)))))

    def test_one_request(self, handler, pipe):
        answer = self.call(handler, {"inputs": REQUESTS[0], "parameters": {"k": 4}})
        assert [item["item_id"] for item in answer] == [item["item_id"] for item in pipe(REQUESTS[0], k=4)]

    def test_several_requests(self, handler):
        answers = self.call(handler, {"inputs": REQUESTS, "parameters": {"k": 2}})
        assert [len(answer) for answer in answers] == [2] * 4

    def test_a_string_is_a_preference(self, handler):
        asked = self.call(handler, {"inputs": PREFERENCE, "parameters": {"k": 3}})
        assert asked == self.call(handler, {"inputs": {"preference": PREFERENCE}, "parameters": {"k": 3}})

    def test_parameters_may_be_absent(self, handler):
        assert len(self.call(handler, {"inputs": PREFERENCE, "parameters": None})) == 10

    def test_what_a_published_model_does_not_have_is_refused_in_one_line(self, handler):
        with pytest.raises(ValueError, match="does not read avoid, and request 1 has it; .*mender_steer"):
            self.call(handler, {"inputs": [PREFERENCE, {"history": [1], "avoid": "red mug"}]})
        with pytest.raises(ValueError, match="no sum of terms"):
            self.call(handler, {"inputs": PREFERENCE, "parameters": {"return_terms": True}})

    def test_a_call_without_inputs_says_so(self, handler):
        with pytest.raises(ValueError, match="no inputs"):
            handler({"history": [1]})

    def test_it_knows_the_public_libraries_alone(self):
        assert "from ." not in HANDLER.read_text() and "modeling_mender" not in HANDLER.read_text()


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_no_answer(score):
    with pytest.raises(ValueError, match="no finite numbers"):
        RecommendOutput(torch.tensor([[1, 2]]), torch.tensor([[score, 0.5]]))
