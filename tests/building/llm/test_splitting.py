"""A language model that splits sentences: strict about its replies, asked once per sentence, named where it fails."""

import asyncio
import json
import logging
import socket

import pytest
from fake_endpoint import Answer, FakeEndpoint

from dataset_builders.building.preferences.llm.parsing import ParseFailure, parse_parts
from dataset_builders.building.preferences.llm.splitting import (
    KEYS,
    MAX_TEXTS,
    SCHEMA,
    LanguageModelSplitter,
    SplitAnswer,
)

GERMAN = "Eine Lampe aus Nussbaum, aber nichts Rustikales"
LAMP = SplitAnswer(("walnut lamp",), ("rustic",))
RULES = SplitAnswer(wanted=("by rules",))


def split(wanted=("walnut lamp",), avoided=("rustic",), **more):
    return json.dumps({"wanted": list(wanted), "avoided": list(avoided), **more})


def replies(*texts):
    """Gives these texts in order, and the last one from then on."""
    return FakeEndpoint(lambda number, request: Answer(texts[min(number, len(texts)) - 1]))


def ask(server, text=GERMAN, **options):
    return LanguageModelSplitter(server.base_url, "toy", **options)(text)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


BROKEN = [
    ("empty", ""),
    ("not_json", "Sure: walnut lamp, not rustic"),
    ("code_fence", f"```json\n{split()}\n```"),
    ("trailing_text", f"{split()} Anything else?"),
    ("truncated", split()[:-5]),
    ("single_quotes", "{'wanted': ['walnut lamp'], 'avoided': []}"),
    ("not_object", '["walnut lamp"]'),
    ("missing_key", '{"wanted": ["walnut lamp"]}'),
    ("unknown_key", split(language="de")),
    ("duplicate_key", '{"wanted": [], "avoided": [], "wanted": ["walnut lamp"]}'),
    ("not_array", '{"wanted": "walnut lamp", "avoided": []}'),
    ("nested_entry", '{"wanted": [["walnut lamp"]], "avoided": []}'),
    ("null_entry", '{"wanted": ["walnut lamp"], "avoided": [null]}'),
    ("not_string", split(avoided=[3])),
    ("blank_entry", split(avoided=[" "])),
    ("control_character", split(avoided=["a\nb"])),
    ("entry_too_long", split(avoided=["a" * 301])),
    ("not_latin", split(["クルミのランプ"], [])),
    ("too_many", split(map(str, range(MAX_TEXTS + 1)))),
    ("duplicate_entry", split(["lamp", "Lamp"])),
    ("duplicate_entry", split(["lavender"], ["Lavender"])),  # which of the two?
]


@pytest.mark.parametrize(("reason", "reply"), BROKEN)
def test_a_reply_of_another_form_is_refused_for_its_reason(reason, reply):
    with pytest.raises(ParseFailure) as error:
        parse_parts(reply, KEYS, MAX_TEXTS)
    assert error.value.reason == reason


def test_a_sentence_is_sent_as_data_and_comes_back_as_two_tuples():
    with replies(split()) as server:
        assert ask(server, 'Nur "Nuss"\nbitte', api_key="sk-mine") == LAMP
    (request,) = server.requests
    assert server.keys == ["Bearer sk-mine"]
    assert (request["model"], request["temperature"]) == ("toy", 0.0)
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA
    assert json.loads(request["messages"][-1]["content"]) == {"sentence": 'Nur "Nuss"\nbitte'}


def test_half_of_a_character_does_not_stop_the_request():
    with replies(split()) as server:
        assert ask(server, "Lampe \ud83d") == LAMP


def test_the_endpoint_is_asked_once_per_sentence_and_never_for_none():
    with replies(split(), split(["soap"], [])) as server:
        splitter = LanguageModelSplitter(server.base_url, "toy")
        assert [splitter(GERMAN), splitter("Seife"), splitter(GERMAN)] == [LAMP, SplitAnswer(("soap",)), LAMP]
        assert splitter(" ") == SplitAnswer()
    assert len(server.requests) == 2


@pytest.mark.parametrize("broken", ["", "Sure!", '{"wanted": "lamp", "avoided": []}'])
def test_a_broken_reply_is_asked_for_once_more_in_another_way(broken, caplog):
    with replies(broken, split()) as server:
        assert ask(server, rules=lambda text: RULES) == LAMP
    first, second = server.requests
    assert first["messages"] == second["messages"]
    assert second["temperature"] > first["temperature"] and second["seed"] != first["seed"]
    assert warnings(caplog) == []


def test_an_answer_that_says_nothing_is_believed_the_second_time():
    with replies(split([], []), split()) as server:
        assert ask(server) == LAMP
    with replies(split([], [])) as server:
        assert ask(server, "Ganz egal") == SplitAnswer()
        assert len(server.requests) == 2


def test_two_broken_replies_are_an_error_with_the_endpoint_and_the_beginning_of_the_last():
    with replies("Sure!", "Here you are: a lamp\n" + "x" * 5000) as server, pytest.raises(ValueError) as error:
        ask(server)
    message = str(error.value)
    assert len(server.requests) == 2
    assert message.startswith(f"{server.base_url}: the model toy did not split '{GERMAN}': ")
    assert "not_json: 'Here you are: a lamp" in message and message.endswith("; name another model.")
    assert len(message) < 500 and "\n" not in message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"text": "Sure!"}, "'Sure!'"),
        ({"status": 500, "body": "broken"}, "status 500, 'broken'"),
        ({"status": 400, "body": "too long"}, "status 400, 'too long'"),
        ({"status": 401, "body": "who?"}, "the key was not accepted"),
        ({"status": 404, "body": "no such model"}, "no such model"),
    ],
)
def test_rules_split_what_the_endpoint_does_not_after_one_warning_that_says_why(answer, said, caplog):
    with FakeEndpoint(lambda number, request: Answer(**answer)) as server:
        assert ask(server, rules=lambda text: RULES if text == GERMAN else None, max_retries=0) is RULES
        (warning,) = [line for line in warnings(caplog) if line.endswith("This time rules split it.")]
        assert server.base_url in warning and said in warning
        with pytest.raises(ValueError, match=said) as error:
            ask(server, max_retries=0)
    assert server.base_url in str(error.value) and ";" in str(error.value)


def test_a_model_that_reasons_is_understood_and_one_that_only_reasons_is_named():
    with replies(f"<think>A lamp.</think>{split()}") as server:
        assert ask(server) == LAMP
    cut = {"finish_reason": "length", "message": {"content": "", "reasoning_content": "A lamp, so"}}
    with FakeEndpoint(lambda number, request: Answer(body=json.dumps({"choices": [cut]}))) as server:
        with pytest.raises(ValueError, match=r"reasoning_cut: 'A lamp, so'; raise --max_tokens \(99\)"):
            ask(server, max_tokens=99)
        assert server.requests[0]["max_tokens"] == 99


def test_parameters_can_be_left_out_of_the_requests():
    with replies(split()) as server:
        ask(server, omit=("seed", "temperature"), schema_mode="none")
    assert not {"seed", "temperature", "response_format"} & server.requests[0].keys()


def test_what_rules_gave_is_not_kept():
    with replies("Sure!", "Sure!", split()) as server:
        splitter = LanguageModelSplitter(server.base_url, "toy", rules=lambda text: RULES)
        assert [splitter(GERMAN), splitter(GERMAN)] == [RULES, LAMP]


def test_a_server_that_is_down_or_hangs_is_named_in_bounded_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://me:secret@127.0.0.1:{listener.getsockname()[1]}/v1"
    with pytest.raises(ValueError, match="connection failed") as error:
        LanguageModelSplitter(url, "toy", max_retries=0)("Seife")
    assert url.replace("me:secret@", "") in str(error.value) and "secret" not in str(error.value)
    full = Answer(status=429, body="{}", headers={"Retry-After": "500"})
    for answer in (Answer(seconds=3.0), full):
        with FakeEndpoint(lambda number, request, answer=answer: answer) as server:
            with pytest.raises(ValueError, match=r"no reply within 1 s; start or mend the server"):
                ask(server, timeout=1.0)
            assert len(server.requests) <= 1


def test_what_a_server_refused_once_is_not_asked_for_again():
    def behave(number, request):
        is_refused = request.get("response_format", {}).get("type") == "json_schema"
        return Answer(status=400, body="json_schema is unknown") if is_refused else Answer(split())

    with FakeEndpoint(behave) as server:
        splitter = LanguageModelSplitter(server.base_url, "toy")
        assert [splitter("Seife"), splitter("Lampe")] == [LAMP, LAMP]
    assert len(server.requests) == 3


def test_it_answers_inside_a_running_event_loop_too():
    with replies(split()) as server:

        async def work():
            return ask(server)

        assert asyncio.run(work()) == LAMP


def test_a_processor_reads_the_catalogues_words_by_its_split():
    from test_processing_mender_steer import ITEMS, read
    from tiny_models import tokenizer

    from modeling_mender import MenderSteerProcessor

    processor = MenderSteerProcessor(tokenizer("bert"), items=ITEMS, max_length=32)
    with replies(split(["walnut lamp"], ["lavender"])) as server:
        processor.split = LanguageModelSplitter(server.base_url, "toy")
        for _ in range(2):
            assert read(processor, preference="Nussbaum, ohne Lavendel") == [[("walnut lamp", 1), ("lavender", -1)]]
        assert read(processor, preference="Nussbaum, ohne Lavendel", strength=-2) == [
            [("walnut lamp", -2), ("lavender", 2)]
        ]
    assert len(server.requests) == 1


@pytest.mark.parametrize("options", [{"base_url": "localhost:8000"}, {"model": ""}, {"timeout": 0}])
def test_an_endpoint_that_cannot_be_asked_is_refused_at_once(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LanguageModelSplitter(**{"base_url": "http://x/v1", "model": "toy", **options})
