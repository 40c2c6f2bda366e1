"""Answers of chat servers: the reply is told from reasoning, and what is no reply is named in the server's words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_builders.building.preferences.llm.parsing import ParseFailure
from dataset_builders.building.preferences.llm.replies import (
    NoCompletion,
    Usage,
    read_reply,
    server_words,
    without_reasoning,
)

GOOD = '{"instructions": ["Look for </think> tags"]}'


def body(content, finish="stop", **message):
    message = {"role": "assistant", "content": content, **message}
    return json.dumps({"choices": [{"index": 0, "finish_reason": finish, "message": message}]})


def text(value):
    return {"type": "text", "text": value}


def stream(*deltas, finish="stop"):
    """Events as servers send them: comments between, the count of tokens and the end after."""
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": {}}]
    return ": comment\n\n" + "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n"


COUNTS = '{"prompt_tokens": 9, "completion_tokens": 4}'


def counted(**usage):
    return json.dumps({**json.loads(body(GOOD)), "usage": usage})


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (counted(prompt_tokens=9, completion_tokens=4, prompt_tokens_details={"cached_tokens": 5}), Usage(9, 4, 5)),
        (counted(prompt_tokens=9, completion_tokens=4, prompt_tokens_details={"cached_tokens": 50}), Usage(9, 4, 9)),
        (counted(prompt_tokens=9, completion_tokens=4, prompt_tokens_details=None), Usage(9, 4)),
        (counted(prompt_tokens=9, completion_tokens=4, prompt_tokens_details={"cached_tokens": "5"}), Usage(9, 4)),
        (counted(prompt_tokens=9, completion_tokens=4), Usage(9, 4)),
        (counted(prompt_tokens=9), None),
        (counted(prompt_tokens=-9, completion_tokens=4), None),
        (counted(prompt_tokens=10**400, completion_tokens=float("nan")), None),
        (counted(prompt_tokens="9", completion_tokens=True), None),
        (body(GOOD), None),
        (stream({"content": GOOD}), None),
        (stream({"content": GOOD}).replace('"usage": {}', f'"usage": {COUNTS}'), Usage(9, 4)),
    ],
)
def test_tokens_are_read_where_the_server_counts_them(answer, usage):
    assert read_reply(answer, "none").usage == usage


@pytest.mark.parametrize(
    ("answer", "reasoning"),
    [
        (body(GOOD), ""),
        (body(GOOD, reasoning_content="Hm."), "Hm."),
        (body(GOOD, reasoning="Hm."), "Hm."),
        (body(f"<think>Hm.</think>\n{GOOD}"), "Hm."),
        (body(f"\n<think>\nHm.</think>{GOOD}"), "\nHm."),
        (body(f"Hm. </think>\n\n{GOOD}"), "Hm. "),  # the template wrote the opening tag
        (body(f"<think>H</think><think>m.</think>{GOOD}"), "Hm."),
        (body(f"<think></think>\n{GOOD}"), ""),
        (body(f"<Thinking>Hm.</Thinking>{GOOD}"), "Hm."),
        (body(f"[THINK]Hm.[/THINK]{GOOD}"), "Hm."),
        (body([text(GOOD[:9]), text(GOOD[9:])]), ""),
        (body([{"type": "thinking", "thinking": [text("Hm.")]}, text(GOOD)]), "Hm."),
        (body([{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": GOOD}]), "Hm."),
        (stream({"role": "assistant", "content": ""}, {"content": GOOD[:5]}, {"content": GOOD[5:]}), ""),
        (stream({"reasoning_content": "H"}, {"reasoning_content": "m."}, {"content": GOOD}), "Hm."),
        (stream({"content": "<think>Hm.</th"}, {"content": f"ink>{GOOD}"}), "Hm."),
        (stream({"content": GOOD, "note": "NOTE"}).replace("NOTE", "\u2028\x85"), ""),
        (body([{"type": "redacted_thinking", "data": "x"}, {"text": GOOD}]), ""),
    ],
)
def test_the_reply_is_told_from_the_reasoning_in_every_form(answer, reasoning):
    reply = read_reply(answer, "none")
    assert (reply.words(), reply.reasoning) == (GOOD, reasoning)


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (body(None, reasoning_content="Hm, five", finish="length"), "reasoning_cut", "Hm, five"),
        (body("", reasoning="Hm, five", finish="length"), "reasoning_cut", "Hm, five"),
        (body("<think>Hm, five", finish="length"), "reasoning_cut", "Hm, five"),
        (stream({"reasoning_content": "Hm, five"}, finish="length"), "reasoning_cut", "Hm, five"),
        (body(None, reasoning_content=GOOD), "reasoning_only", GOOD),
        (body("<think>Hm.</think>\n"), "reasoning_only", "Hm."),
        (body(None, refusal="I cannot help with that."), "refusal", "I cannot help"),
        (body("", finish="content_filter"), "refusal", "content_filter"),
        (body("", finish="SAFETY"), "refusal", "safety"),
        (body([{"type": "refusal", "refusal": "I cannot help."}]), "refusal", "I cannot help"),
        (body(None, tool_calls=[{"function": {"name": "lookup"}}]), "tool_call", "lookup"),
        (body(None, function_call={"name": "lookup"}, finish="function_call"), "tool_call", "lookup"),
        (body(None, finish="length"), "reasoning_cut", ""),  # the reasoning was not sent
        (body("", finish="MAX_TOKENS"), "reasoning_cut", ""),
    ],
)
def test_a_message_without_text_fails_for_the_reason_that_it_gives(answer, reason, said):
    with pytest.raises(ParseFailure) as failure:
        read_reply(answer, "none").words()
    assert failure.value.reason == reason and said in failure.value.reply


@pytest.mark.parametrize("answer", [body(None), body(""), body([]), body("<think></think>")])
def test_a_message_without_anything_is_an_empty_reply(answer):
    assert read_reply(answer, "none").words() == ""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            '{"error": {"message": "overloaded, retry later", "code": 502}, "choices": null}',
            "'overloaded, retry later'",
        ),
        ('{"error": "overloaded"}', "'overloaded'"),
        ('[{"error": {"message": "no quota"}}]', "'no quota'"),
        ('{"object": "error", "message": "no such model"}', "'no such model'"),
        ('{"detail": "Not Found"}', "'Not Found'"),
        ('{"choices": [{"finish_reason": "error", "error": {"message": "upstream died"}}]}', "'upstream died'"),
        (
            "<!doctype html><head><style>b {}</style></head><h1>Sign in</h1> to the proxy",
            "HTML, which says 'Sign in to",
        ),
        ("no available server", "'no available server'"),
        ('data: {"error": {"message": "overloaded"}}\n\n', "'overloaded'"),
        ("data: [DONE]\n\n", "a stream without any"),
        (": ping\n\n", "a stream without any"),
        (body({"type": "image"}), "image"),
        (body([{"type": "image_url"}]), "image_url"),
        ('{"usage": {}}', "usage"),
        ("", "no JSON"),
        ("[" * 200_000, "no JSON"),
        ('{"error": ' * 500 + "1" + "}" * 500, "no chat completion"),
    ],
)
def test_what_is_no_completion_is_named_in_the_servers_words(answer, words):
    with pytest.raises(NoCompletion, match="^no chat completion") as error:
        read_reply(answer, "none")
    assert words in str(error.value)


def test_many_blocks_of_reasoning_take_no_longer_than_reading_them():
    reasoning, rest = without_reasoning("<think></think>" * 200_000)
    assert reasoning == "" and rest.startswith("<think>")


FIELDS = "choices message content error type text delta reasoning finish_reason index refusal tool_calls".split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["text", "length", "<think>", "\ud83d", GOOD]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(["", "data: "]), st.integers(0, 200), st.binary(max_size=3))
def test_no_answer_breaks_the_reader(value, prefix, place, damage):
    text = json.dumps(value).encode()
    damaged = text[:place] + damage + text[place + len(damage) :] if damage else text
    for body in (text, damaged):
        try:
            reply = read_reply(prefix + body.decode("utf-8", "replace"), "none")
            assert isinstance(reply.reasoning, str) and isinstance(reply.refusal, str)
            assert isinstance(reply.words(), str)
        except (NoCompletion, ParseFailure):
            pass


@given(st.text())
def test_no_text_breaks_the_search_for_words(value):
    assert isinstance(server_words(value), str)
    reasoning, rest = without_reasoning(value)
    assert len(reasoning) + len(rest) <= len(value)
