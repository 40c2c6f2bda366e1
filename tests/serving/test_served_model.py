"""A served model answers in any batch what the pipeline answers, and an exchange changes no call that has begun."""

import asyncio
import json

import pytest
import torch
from serving_world import CALL, make_model
from transformers import pipeline

from modeling_mender.serving.answers import ServiceError
from modeling_mender.serving.served_model import ServedModel, Ticket, answer_tickets
from modeling_mender.serving.settings import ServiceSettings

REQUESTS = [
    {"history": [1, 5], "preference": "search for red soap"},
    {"history": [], "preference": ["look for blue tea", "lime"], "strength": [1, 0.5]},
    {"history": [2], "avoid": "green mug", "candidates": [3, 4, 5, 6]},
    {"history": [7, 8, 9], "exclude": [1], "item_log_weights": {"2": 1.5}},
]


@pytest.fixture(scope="module")
def served(folder):
    return ServedModel(str(folder))


def tickets_of(served, *calls):
    found = []
    for inputs, parameters in calls:
        requests, options = served.current.pipeline.read(inputs, **parameters)
        found += [Ticket(served.current, request, options) for request in requests]
    return found


def test_a_batch_of_several_calls_answers_what_each_gets_alone(served, folder):
    pipe = pipeline("preference-recommendation", model=str(folder), trust_remote_code=True)
    calls = [(REQUESTS[:2], {"k": 3}), (REQUESTS[2:], {"k": 2, "return_terms": True}), (REQUESTS[1], {"k": 3})]
    alone = [
        items
        for inputs, options in calls
        for items in pipe([inputs] if isinstance(inputs, dict) else inputs, **options)
    ]
    together = answer_tickets(tickets_of(served, *calls))
    assert [one.batch_size for one in together] == [3, 3, 2, 2, 3]
    for one, items in zip(together, alone, strict=True):
        assert [item["item_id"] for item in one.items] == [item["item_id"] for item in items]
        scores = [[item["score"] for item in each] for each in (one.items, items)]
        torch.testing.assert_close(torch.tensor(scores[0]), torch.tensor(scores[1]))
        assert ["terms" in item for item in one.items] == ["terms" in item for item in items]


def test_one_failing_request_of_a_batch_fails_alone(served, monkeypatch):
    tickets = tickets_of(served, (REQUESTS, {"k": 2}))
    forward = served.current.pipeline._forward

    def fragile(inputs, **parameters):
        if tickets[1].request in inputs["requests"]:
            raise RuntimeError("a number is too large")
        return forward(inputs, **parameters)

    monkeypatch.setattr(served.current.pipeline, "_forward", fragile)
    answers = [one.items for one in answer_tickets(tickets)]
    assert isinstance(answers[1], RuntimeError)
    assert [len(items) for number, items in enumerate(answers) if number != 1] == [2, 2, 2]


def test_an_exchange_lets_a_call_that_has_begun_end_with_the_old_model(folder, other_folder):
    model = make_model(folder)

    async def ask():
        waiting, begun = asyncio.Event(), asyncio.Event()

        async def slowly(tickets):
            begun.set()
            await waiting.wait()
            return answer_tickets(tickets)

        first = asyncio.create_task(model.served.recommend(CALL, slowly))
        await begun.wait()
        assert (await model.swap(str(other_folder)))["version"] == 2
        waiting.set()
        return await first, await model.recommend_parsed(CALL)

    first, second = asyncio.run(ask())
    assert (first.version, second.version) == (1, 2)
    assert json.loads(first.content) != json.loads(second.content)


def test_a_broken_model_never_takes_the_place_of_a_working_one(folder, tmp_path):
    model = make_model(folder)
    (tmp_path / "config.json").write_text("{}")
    for bad in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ServiceError, match="stays as it is"):
            asyncio.run(model.swap(str(bad)))
    assert not model.served.exchange(2)
    assert asyncio.run(model.recommend_parsed(CALL)).version == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": {}}, "models is"),
        ({"models": {"a b": "x"}}, "'a b'"),
        ({"models": {"a": 3}}, "the model a is 3"),
        ({"models": ["a"]}, "models is"),
        ({"replicas": 0}, "replicas is 0"),
        ({"replicas": True}, "replicas is True"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"gpus_per_replica": -1}, "gpus_per_replica"),
        ({"device": 0}, "device is 0"),
        ({"copies": 2}, "copies"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused_by_name(changes, words):
    with pytest.raises(ValueError, match=words):
        ServiceSettings.read({"models": {"a": "b"}, **changes})
