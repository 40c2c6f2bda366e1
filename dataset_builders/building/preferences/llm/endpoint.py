"""Chat endpoint with retries and time limits: one request in, one reply or one named error out."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ....escaping import printable
from .endpoint_settings import MAX_TOKENS_NAMES, PARAMETERS, SCHEMA_MODES, EndpointSettings
from .prompts import Messages
from .replies import NoCompletion, Reply, error_codes, read_reply, server_words

if TYPE_CHECKING:
    from .connection import BadStatus, Connection

logger = logging.getLogger(__name__)

MAX_WAIT = 60.0
"""Seconds between two attempts, at most; a server's Retry-After may ask for up to `MAX_RETRY_AFTER`."""
MAX_RETRY_AFTER = 600.0
WARNING_SECONDS = 30.0
"""At most one warning in so many seconds."""
SHOWN_CHARACTERS = 400
"""Of a server's words, at most."""
_FATAL = {
    HTTPStatus.UNAUTHORIZED: "the key was not accepted; set it in the environment variable that --api_key_env names",
    HTTPStatus.PAYMENT_REQUIRED: "the account has no credit left; what is finished is kept",
    HTTPStatus.FORBIDDEN: "the key may not use this model; check the key and its rights",
    HTTPStatus.NOT_FOUND: "there is no such model or path; check --model and --base_url, to which "
    "/chat/completions is added and nothing else (most servers' ends in /v1)",
}
_RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_MAY_REFUSE_A_PARAMETER = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.NOT_IMPLEMENTED,
}
_MAY_REFUSE_THE_KEY = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
_KEY_WORDS = re.compile(
    r"\b(api|access)[ _-]?(key|token)|unauthori[sz]ed|not authori[sz]ed|unauthenticated|authentication|credentials|"
    r"permission[ _]?denied|(no|not have|lacks?|insufficient|without|required|missing) (the )?(required )?permission"
)
KEY_WORDS_WITHIN = 300
"""Of a server's message, which may go on with the request and so with any words."""
_SCHEMA_WORDS = re.compile(
    r"(response|output)[ _]?(format|schema)|json[ _](schema|object|mode|output)|schema|grammar|guided|structured|"
    r"constrained"
)
# In the words of OpenAI, vLLM, llama.cpp, TGI, Anthropic and others.
_LONG_WORDS = re.compile(
    r"context[ _]*(length|window|size|limit)|too many tokens|reduce the length|(entity|payload) too large|"
    r"(prompt|inputs?|request|messages?) (is|are) too (long|large)|at most \d+ (completion|output) tokens"
)
_TOKEN_LIMIT = re.compile(r"max_?\w*tokens")
_SIZE_WORDS = re.compile(
    r"too (large|high|big|long)|exceed|at most|(less|greater|larger|more|higher) than|maximum (value|allowed)|"
    r"out of range|between|<="
)
_UNKNOWN_WORDS = re.compile(r"unsupported|not supported|unknown|unrecognized|instead")
_UNSUPPORTED_WORDS = re.compile(r"support|instead|unknown|unrecognized|not (permitted|allowed)")


class EndpointError(RuntimeError):
    """The endpoint cannot be used, now or at all: the run must stop."""


class RequestError(RuntimeError):
    """One request got no usable reply; others may.

    Attributes:
        kind (`str`): Its reason in a few words, without what differs between requests.
    """

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Endpoint:
    """An open connection to a chat endpoint, used with `async with`.

    Args:
        settings ([`EndpointSettings`]): Where and how.
        schema (`Mapping`): JSON schema of the replies.

    Attributes:
        settings ([`EndpointSettings`]): By now: asks for less after the server refused something.
        attempts (`int`): HTTP requests sent.
    """

    def __init__(self, settings: EndpointSettings, schema: Mapping[str, Any]) -> None:
        self.settings = settings
        self.attempts = 0
        self._schema = schema
        self._connection: Connection | None = None
        self._failures_in_a_row = 0
        self._stopped = False
        self._warned_at = -WARNING_SECONDS
        self._resume_at = 0.0
        self._jitter = random.Random()

    async def __aenter__(self) -> "Endpoint":
        from .connection import Connection

        settings = self.settings
        self._connection = Connection(settings.base_url, settings.api_key, settings.timeout, settings.max_reply_bytes)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._connection is not None
        await self._connection.close()

    @property
    def schema_mode(self) -> str:
        """What the server is asked to hold replies to by now, one of [`SCHEMA_MODES`]."""
        return self.settings.schema_mode

    async def complete(self, messages: Messages, seed: int | None) -> Reply:
        """Asks once, and again as often as the settings allow while there is no reply.

        Args:
            messages (`list[dict]`): The chat so far.
            seed (`int`, *optional*): Of the sampling.

        Returns:
            [`Reply`]: Its text may be empty or broken: that is for a parser to say.

        Raises:
            EndpointError: If the endpoint refuses the key or the model, or gave no reply to many requests in a row.
            RequestError: If this request got no reply.
        """
        tries = 0
        while True:
            await self._wait_for_server()
            asked = self.settings
            self.attempts += 1
            try:
                reply = await self._ask(messages, seed, asked)
            except _Refused as refusal:
                if not _is_too_long(refusal.words) and self._ask_for_less(asked, refusal):
                    continue
                raise self._give_up(f"{refusal}{_way_out(asked, refusal.words)}", refusal) from refusal
            except _Trouble as trouble:
                if self._stopped or tries >= self.settings.max_retries:
                    attempts = "1 attempt" if not tries else f"{tries + 1} attempts"
                    raise self._give_up(f"{trouble}, after {attempts}", trouble) from trouble
                self._warn(trouble)
                await self._back_off(tries, trouble.retry_after)
                tries += 1
            else:
                self._failures_in_a_row = 0
                return reply

    def stop(self) -> None:
        """From now on a request has no second attempt: the run is ending, and waits for what is in flight."""
        self._stopped = True

    async def _ask(self, messages: Messages, seed: int | None, settings: EndpointSettings) -> Reply:
        assert self._connection is not None, "used outside async with"
        from .connection import BadStatus, ConnectionTrouble

        try:
            body = await self._connection.post(_parameters(messages, seed, settings, self._schema))
            return read_reply(body, settings.schema_mode)
        except BadStatus as bad:
            raise self._status_error(bad) from None
        except ConnectionTrouble as trouble:
            said = printable(self._safe(str(trouble)))
            raise _Trouble(said, said.partition(" (")[0]) from trouble
        except NoCompletion as error:
            said = f"the answer is no chat completion{error.what} {self._safe(error.words)!r}"
            raise _Trouble(said, "no chat completion") from None

    def _status_error(self, bad: "BadStatus") -> Exception:
        status, kind = bad.status, f"status {bad.status}"
        said = f"moved to {bad.location}" if bad.location else server_words(bad.body)
        trouble = f"{kind}, {self._safe(said)!r}"
        words = said.lower()
        may_mean_schema = self.schema_mode != "none" and status >= HTTPStatus.BAD_REQUEST and status not in _RETRIED
        if may_mean_schema and _SCHEMA_WORDS.search(words) and _UNSUPPORTED_WORDS.search(words):
            return _Refused(trouble, kind, words)  # some servers say it with a status that means something else
        if status in _MAY_REFUSE_THE_KEY and _KEY_WORDS.search(f"{words[:KEY_WORDS_WITHIN]} {error_codes(bad.body)}"):
            status = HTTPStatus.UNAUTHORIZED
        if status in _FATAL:
            return EndpointError(f"{self.settings.shown_url}: {trouble}: {_FATAL[HTTPStatus(status)]}.")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and _is_too_long(bad.body.lower()):
            return _Refused(trouble, kind, bad.body.lower())  # some servers say it so; asking again changes nothing
        if status in _RETRIED or status < HTTPStatus.BAD_REQUEST:
            return _Trouble(trouble, kind, bad.retry_after)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _MAY_REFUSE_A_PARAMETER:
            return _Trouble(trouble, kind, bad.retry_after)
        return _Refused(trouble, kind, bad.body.lower() if status in _MAY_REFUSE_A_PARAMETER else "")

    def _ask_for_less(self, asked: EndpointSettings, refusal: "_Refused") -> bool:
        """Leaves out from now on what the server refused, if that is known; whether to ask this request again."""
        less: dict[str, Any] = {}
        renamed = MAX_TOKENS_NAMES[1]
        if asked.max_tokens_name != renamed and renamed in refusal.words and _UNSUPPORTED_WORDS.search(refusal.words):
            less = {"max_tokens_name": renamed}
        elif asked.schema_mode != "none" and _SCHEMA_WORDS.search(refusal.words):
            less = {"schema_mode": SCHEMA_MODES[SCHEMA_MODES.index(asked.schema_mode) + 1]}
        for name, value in less.items():
            if getattr(asked, name) == getattr(self.settings, name):  # else another request has already found out
                self.settings = replace(self.settings, **{name: value})
                url, refused = self.settings.shown_url, getattr(asked, name)
                logger.warning("%s: no %s (%s); asking for %s", url, refused, refusal, value)
        return bool(less)

    def _give_up(self, reason: str, error: "_Trouble | _Refused") -> Exception:
        self._failures_in_a_row += 1
        if self._failures_in_a_row < self.settings.max_failures:
            return RequestError(reason, error.kind)
        mend = "Start or mend the server"
        if isinstance(error, _Refused):
            too_long = _is_too_long(error.words)
            mend = "Ask for less" if too_long else "Leave out what it refuses"
        return EndpointError(
            f"{self.settings.shown_url} gave no reply to {self._failures_in_a_row} requests in a row; the last one: "
            f"{reason}. {mend} and give the same command again; what is finished is kept."
        )

    async def _back_off(self, tries: int, retry_after: float | None) -> None:
        if retry_after is not None:
            # For every request, not for this one alone: they all meet the same limit.
            self._resume_at = max(self._resume_at, time.monotonic() + min(retry_after, MAX_RETRY_AFTER))
            return
        await asyncio.sleep(min(self.settings.backoff * 2**tries, MAX_WAIT) * self._jitter.uniform(0.5, 1.0))

    def _warn(self, trouble: "_Trouble") -> None:
        if time.monotonic() - self._warned_at > WARNING_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("%s: %s; asking again", self.settings.shown_url, trouble)

    async def _wait_for_server(self) -> None:
        while (seconds := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(seconds)

    def _safe(self, text: str) -> str:
        """One short line of a server's words, without the secrets that it may repeat."""
        text = " ".join(self.settings.masked(text).split())
        return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


class _Trouble(Exception):
    """An attempt that is worth another one."""

    def __init__(self, reason: str, kind: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.kind, self.retry_after = kind, retry_after


class _Refused(Exception):
    """A request that the server will refuse again as it is; `words` are its own where it may mean a parameter."""

    def __init__(self, reason: str, kind: str, words: str) -> None:
        super().__init__(reason)
        self.kind, self.words = kind, words


def _parameters(
    messages: Messages, seed: int | None, settings: EndpointSettings, schema: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a request."""
    sampling = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        settings.max_tokens_name: settings.max_tokens,
        "seed": seed,
    }
    left_out = {settings.max_tokens_name if name == "max_tokens" else name for name in settings.omit}
    formats: dict[str, dict[str, Any]] = {
        "json_schema": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)},
        },
        "json_value": {"type": "json_object", "value": dict(schema)},
        "json_object": {"type": "json_object"},
    }
    optional = {
        **{name: value for name, value in sampling.items() if name not in left_out},
        "response_format": formats.get(settings.schema_mode),
    }
    sent = {name: value for name, value in optional.items() if value is not None}
    return {"model": settings.model, "messages": messages, **sent}


def _is_too_long(words: str) -> bool:
    """Whether a refusal means more tokens than the model or its server takes, in the request or for the reply."""
    by_limit = _TOKEN_LIMIT.search(words) and _SIZE_WORDS.search(words) and not _UNKNOWN_WORDS.search(words)
    return bool(by_limit or _LONG_WORDS.search(words))


def _way_out(asked: EndpointSettings, words: str) -> str:
    """Which options may mend a refusal."""
    if _is_too_long(words):
        lower = "" if "max_tokens" in asked.omit else f"--max_tokens below {asked.max_tokens}, "
        return f" ({lower}--max_items or --max_review_characters makes the request shorter; with a new --journal)"
    if not words:
        return ""
    if asked.max_tokens_name != MAX_TOKENS_NAMES[0] and asked.max_tokens_name in words:
        return f" (--max_tokens_name {MAX_TOKENS_NAMES[0]} gives it the other name, --omit max_tokens leaves it out)"
    named = [name for name in PARAMETERS if name not in asked.omit and re.search(rf"\b{name}\b", words)]
    if named:
        return f" (--omit {' or --omit '.join(named)} leaves it out)"
    return "" if asked.schema_mode == "none" else " (if it means the schema of the reply: --no_schema)"
