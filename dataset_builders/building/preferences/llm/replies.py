"""Extract the reply, or the server's own error text, from the answer of a chat server.

Forms of a completion: one object, content in parts, or a stream of events; of an error: JSON of any provider, or HTML.
Reasoning is not part of the reply: it is dropped whether it is in a field of its own (`reasoning_content`,
`reasoning`), in parts of its own, or before the reply between `<think>` and `</think>`, of which templates often write
the first.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .parsing import ParseFailure

WORDS_CHARACTERS = 5_000
"""Of a body that is no JSON, searched for words."""
MAX_BLOCKS = 20
"""Blocks of reasoning before a reply."""
MAX_TOKENS = 2**40
"""Of a count of tokens; a larger one is no count."""
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_CUT = ("length", "max_tokens", "model_length")
_ENDED = (
    "",
    "stop",
    "stop_sequence",
    "eos",
    "eos_token",
    "end_turn",
    "tool_calls",
    "tool_use",
    "function_call",
    *_CUT,
)
"""Reasons of an end which do not say why there is no text."""
_ERROR_FIELDS = ("error", "errors", "message", "detail")
_TAG = r"(?:<{0}(?:think|thinking|thought|reasoning)>|\[{0}THINK\])"
_OPENED, _CLOSED = (re.compile(_TAG.format(slash), re.IGNORECASE) for slash in ("", "/"))
_LINE_END = re.compile(r"\r\n|\r|\n")
_MARKUP = re.compile(r"<(script|style|head)\b.*?</\1>|<[^<>]*>", re.IGNORECASE | re.DOTALL)


class NoCompletion(ValueError):
    """An answer that is no chat completion.

    Attributes:
        what (`str`): What it is instead.
        words (`str`): The server's own, of any length.
    """

    def __init__(self, what: str, words: str) -> None:
        super().__init__(f"no chat completion{what} {words[:WORDS_CHARACTERS]!r}")
        self.what, self.words = what, words


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply or of several.

    Attributes:
        prompt (`int`): Tokens that were read.
        completion (`int`): Tokens that were written.
        cached (`int`, *optional*): Of `prompt`, those from the server's prefix cache; `None` if it never says.
    """

    prompt: int
    completion: int
    cached: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        """The sum: some servers leave `cached` out where it is 0.

        >>> Usage(10, 5) + Usage(20, 5, cached=8)
        Usage(prompt=30, completion=10, cached=8)
        """
        cached = None if self.cached is other.cached is None else (self.cached or 0) + (other.cached or 0)
        return Usage(self.prompt + other.prompt, self.completion + other.completion, cached)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote.

    Attributes:
        text (`str`): The reply without its reasoning; may be empty.
        schema_mode (`str`): What the server was asked to hold it to, one of
            [`~dataset_builders.building.preferences.llm.endpoint.SCHEMA_MODES`].
        reasoning (`str`): What the model wrote before it.
        is_cut (`bool`): Whether the server says that the reply ended at the limit of new tokens.
        refusal (`str`): Why the server or the model gives no reply, in its words.
        tool_call (`str`): A call of a tool, of which none was offered, in place of a reply.
        usage ([`Usage`], *optional*): Tokens, as far as the server counts them.
    """

    text: str
    schema_mode: str
    reasoning: str = ""
    is_cut: bool = False
    refusal: str = ""
    tool_call: str = ""
    usage: Usage | None = None

    def words(self) -> str:
        """The text, for a parser.

        Raises:
            ParseFailure: If there is none, for a reason that the server gives.
        """
        if not self.text.strip():
            if self.refusal:
                raise ParseFailure("refusal", self.refusal)
            if self.tool_call:
                raise ParseFailure("tool_call", self.tool_call)
            if self.is_cut or self.reasoning.strip():  # a server may keep the reasoning to itself
                raise ParseFailure("reasoning_cut" if self.is_cut else "reasoning_only", self.reasoning.strip())
        return self.text


def read_reply(body: str, schema_mode: str) -> Reply:
    """Reads the body of an answer.

    Args:
        body (`str`): As it came with a status of 2xx.
        schema_mode (`str`): What the server was asked for.

    Returns:
        [`Reply`]: Its text may be empty or broken: that is for a parser to say.

    Raises:
        NoCompletion: If it is something else, with the server's own words.

    >>> read_reply('{"choices": [{"message": {"content": "<think>Short.</think> Yes."}}]}', "none").text
    'Yes.'
    >>> read_reply('{"error": {"message": "overloaded"}}', "none")
    Traceback (most recent call last):
        ...
    dataset_builders.building.preferences.llm.replies.NoCompletion: no chat completion, but says 'overloaded'
    """
    is_stream = body.lstrip().startswith(("data:", "event:", ":"))
    if is_stream:
        choice, usage = _streamed_choice(body)
    else:
        answer = _object(body)
        choice, usage = _first_choice(answer, body), _usage(answer)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise NoCompletion(", its choice has no message:", body)
    content = _content(message.get("content"))
    reasoning = content.reasoning
    reasoning += next(filter(None, (_string(message.get(field)) for field in _REASONING_FIELDS)), "")
    before, text = without_reasoning(content.text)
    finish = _string(choice.get("finish_reason")).lower()
    refusal = _string(message.get("refusal")) or content.refusal or (finish if finish not in _ENDED else "")
    calls = message.get("tool_calls") or message.get("function_call") or ""
    call = str(calls)[:WORDS_CHARACTERS]
    return Reply(text, schema_mode, reasoning + before, finish in _CUT, refusal, call, usage)


def without_reasoning(text: str) -> tuple[str, str]:
    """Splits what a model wrote into the reasoning before its reply and the reply.

    A text that begins like JSON has no reasoning before it, whatever its strings hold.

    >>> without_reasoning("<think>Five, short.</think>[1]"), without_reasoning("Five.</think>[1]")
    (('Five, short.', '[1]'), ('Five.', '[1]'))
    >>> without_reasoning("<think>Five, sho"), without_reasoning('["</think>"]')
    (('Five, sho', ''), ('', '["</think>"]'))
    """
    reasoning, rest = "", text.lstrip()
    for _ in range(MAX_BLOCKS):
        opened, closed = _OPENED.match(rest), _CLOSED.search(rest)
        if not opened and (not closed or reasoning or rest.startswith(("{", "["))):
            break
        start = opened.end() if opened else 0
        reasoning += rest[start : closed.start()] if closed else rest[start:]
        rest = rest[closed.end() :].lstrip() if closed else ""
    return reasoning, rest if reasoning or rest != text.lstrip() else text


def server_words(body: str) -> str:
    """What a server says of an error: the message in its JSON, the words of its HTML, or the body as it is.

    >>> server_words('{"error": {"message": "no such model", "code": 1}}'), server_words("<h1>Sign in</h1>")
    ('no such model', 'Sign in')
    """
    try:
        return _message(_json(body)) or body
    except (ValueError, RecursionError):
        text = body[:WORDS_CHARACTERS]
        return " ".join(_MARKUP.sub(" ", text).split()) or text


def error_codes(body: str) -> str:
    """Codes that stand beside a server's words, such as `authentication_error`, in lower case.

    >>> error_codes('[{"error": {"code": 400, "message": "No.", "status": "PERMISSION_DENIED"}}]')
    'permission_denied'
    """
    found = re.findall(r'"(?:code|type|status|reason)"\s*:\s*"(\w{1,60})"', body[:WORDS_CHARACTERS])
    return " ".join(found).lower()


def _message(value: Any, depth: int = 5) -> str:
    if isinstance(value, str) or not depth:
        return _string(value)
    if isinstance(value, list):
        return next(filter(None, (_message(entry, depth - 1) for entry in value)), "")
    if isinstance(value, Mapping):
        return next(filter(None, (_message(value.get(field), depth - 1) for field in _ERROR_FIELDS)), "")
    return ""


def _object(body: str) -> Any:
    """The JSON value of a body."""
    try:
        return _json(body)
    except (ValueError, RecursionError):
        kind = "a page of HTML" if body.lstrip().startswith("<") else "no JSON"
        raise NoCompletion(f" but {kind}, which says", server_words(body)) from None


def _json(body: str) -> Any:
    # No number of an answer is read, and int() would raise on thousands of digits.
    return json.loads(body, parse_int=float)


def _first_choice(answer: Any, body: str) -> Mapping[str, Any]:
    """The first choice of a completion, or of an event."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(choice, Mapping) and not answer.get("error") and not choice.get("error"):
        return choice
    error = choice if isinstance(choice, Mapping) and choice.get("error") else answer
    raise NoCompletion(", but says", _message(error) or body)


def _usage(answer: Any) -> Usage | None:
    """The tokens that an answer or an event states; `None` if it states none, or no numbers."""
    counts = answer.get("usage") if isinstance(answer, Mapping) else None
    if not isinstance(counts, Mapping):
        return None
    details = counts.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    prompt, completion = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    return Usage(prompt, completion, None if cached is None else min(cached, prompt))


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, float) and 0 <= value <= MAX_TOKENS else None


def _streamed_choice(body: str) -> tuple[Mapping[str, Any], Usage | None]:
    """The first choice, put together from the events of a stream, and the last count of tokens."""
    fields = dict.fromkeys(("content", "refusal", *_REASONING_FIELDS), "")
    finish = usage = None
    events = [line.removeprefix("data:").strip() for line in _LINE_END.split(body) if line.startswith("data:")]
    for event in events:
        answer = _object(event) if event not in ("", "[DONE]") else {"choices": []}
        usage = _usage(answer) or usage
        if isinstance(answer, Mapping) and answer.get("choices") == [] and not answer.get("error"):
            continue  # the end, or the count of tokens before it
        choice = _first_choice(answer, event)
        delta = choice.get("delta")
        if isinstance(delta, Mapping) and not choice.get("index"):
            finish = choice.get("finish_reason") or finish
            for field in fields:
                fields[field] += _content(delta.get(field)).text if field == "content" else _string(delta.get(field))
    if finish is None and not any(fields.values()):
        raise NoCompletion(" but a stream without any:", body)
    return {"message": fields, "finish_reason": finish}, usage


class _Content(NamedTuple):
    text: str
    reasoning: str = ""
    refusal: str = ""


def _content(content: Any) -> _Content:
    """What a message's content holds: a string, nothing, or a list of parts."""
    if content is None or isinstance(content, str):
        return _Content(content or "")
    text = reasoning = refusal = ""
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            text += part["text"]
        elif kind == "refusal":
            refusal += _string(part.get("refusal"))
        elif kind in ("thinking", "reasoning"):
            inner = part.get(kind, part.get("text"))
            reasoning += _content(inner).text if isinstance(inner, list) else _string(inner)
        elif kind != "redacted_thinking":
            raise NoCompletion(", its content holds, where text was expected,", str(part))
    return _Content(text, reasoning, refusal)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
