"""A chat endpoint that may be slow, full, half-broken or gone: one request in, one reply or one named error out.

Knows `huggingface_hub`'s asynchronous client, time-outs, retries, waiting, and how to ask for JSON. Leaves the meaning
of replies to `parsing.py`, and the order of requests to `llm.py`.

Four things that the client does for the Hub are not wanted of an endpoint of one's own, and are set right here: it
sends the user's Hub token to whatever URL it is given when there is no other key; it rewrites a JSON schema into the
form of text-generation-inference, which others take for "any JSON object"; it refuses every request, to this machine
too, when `HF_HUB_OFFLINE` is set; and it keeps at most a hundred connections open.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from ....hub_http import httpx
from .prompts import Messages

logger = logging.getLogger(__name__)

SCHEMA_MODES = ("json_schema", "json_value", "json_object", "none")
"""How replies are constrained, from the strictest: by the schema in OpenAI's form (vLLM, llama.cpp, providers), by the
schema in the form of text-generation-inference, to any JSON object, not at all. A server that refuses one is asked for
the next."""
NO_KEY = "none"
"""Sent as the key where the user gave none."""
MAX_WAIT = 60.0
"""Seconds between two attempts, at most; a server's Retry-After may ask for up to `MAX_RETRY_AFTER`."""
MAX_RETRY_AFTER = 600.0
WARNING_SECONDS = 30.0
"""At most one warning in so many seconds."""
HUB_HOSTS = ("huggingface.co", "hf.space", "huggingface.cloud")
"""Hosts, with their sub-domains, that a token of the Hub is meant for."""

_FATAL = {
    HTTPStatus.UNAUTHORIZED: "the key was not accepted; set it in the environment variable that --api_key_env names",
    HTTPStatus.PAYMENT_REQUIRED: "the account has no credit left; what is finished is kept",
    HTTPStatus.FORBIDDEN: "the key may not use this model; check the key and its rights",
    HTTPStatus.NOT_FOUND: "there is no such model or path; check --model, and that --base_url ends in /v1",
}
_RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_MAY_REFUSE_A_SCHEMA = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_IMPLEMENTED}
_SCHEMA_WORDS = ("response_format", "response format", "json_schema", "json_object", "schema", "grammar", "guided")


class EndpointError(RuntimeError):
    """The endpoint cannot be used, now or at all: the run must stop."""


class RequestError(RuntimeError):
    """One request got no usable reply; others may."""


@dataclass(frozen=True)
class EndpointSettings:
    """Where the model is and how it is asked.

    Attributes:
        base_url (`str`): Of an OpenAI-compatible server, as in `http://127.0.0.1:8000/v1`.
        model (`str`): Its name on that server.
        api_key (`str`, *optional*): Never shown, logged or written.
        temperature, top_p, max_tokens: Of the sampling; the paper's values by default (appendix C).
        timeout (`float`): Seconds that one attempt may take from first to last byte.
        max_retries (`int`): Further attempts of a request after the first one failed.
        max_failures (`int`): So many requests in a row without any reply, each after its retries, mean that the
            endpoint is down.
        backoff (`float`): Seconds before the first retry; doubled for each further one, up to `MAX_WAIT`.
        schema_mode (`str`): The strictest of [`SCHEMA_MODES`] to ask for.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    temperature: float = 0.6
    top_p: float = 0.9
    max_tokens: int = 512
    timeout: float = 120.0
    max_retries: int = 5
    max_failures: int = 10
    backoff: float = 1.0
    schema_mode: str = SCHEMA_MODES[0]

    def __post_init__(self) -> None:
        if urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError(f"base_url ({self.base_url!r}) must begin with http:// or https://.")
        if not self.model:
            raise ValueError("model must name the model, as the server lists it under /v1/models.")
        if self.schema_mode not in SCHEMA_MODES:
            raise ValueError(f"schema_mode ({self.schema_mode!r}) must be one of {', '.join(SCHEMA_MODES)}.")
        for name, least in (("timeout", 0.001), ("max_tokens", 1), ("max_retries", 0), ("max_failures", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {least}.")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature ({self.temperature}) must be >= 0 and top_p ({self.top_p}) in (0, 1].")

    @property
    def shown_url(self) -> str:
        """The URL without user name, password and query."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote, and what the server was asked to hold it to (one of [`SCHEMA_MODES`])."""

    text: str
    schema_mode: str


class _Client(AsyncInferenceClient):
    """The client without the Hub's switch for offline work, its limit of connections, and its form of schemas."""

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        if "response_format" in request_parameters.json:
            # Wrapped by _response_format in what the client takes for a schema and moves to `value`.
            request_parameters.json["response_format"] = request_parameters.json["response_format"]["value"]
        return await super()._inner_post(request_parameters, stream=stream)

    async def _get_async_client(self) -> httpx.AsyncClient:
        if self._async_client is None:
            client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))
            self._async_client = await self.exit_stack.enter_async_context(client)
        return self._async_client


class Endpoint:
    """An open connection to a chat endpoint, used with `async with`.

    Args:
        settings ([`EndpointSettings`]): Where and how.
        schema (`Mapping`): JSON schema of the replies.

    Attributes:
        schema_mode (`str`): What the server is asked to hold replies to by now; it falls when the server refuses.
        attempts (`int`): HTTP requests sent.
    """

    def __init__(self, settings: EndpointSettings, schema: Mapping[str, Any]) -> None:
        self.settings = settings
        self.schema_mode = settings.schema_mode
        self.attempts = 0
        self._schema = schema
        self._client: _Client | None = None
        self._failures_in_a_row = 0
        self._stopped = False
        self._warned_at = -WARNING_SECONDS
        self._resume_at = 0.0
        self._jitter = random.Random()

    async def __aenter__(self) -> "Endpoint":
        # A key must be given, or the client looks for the user's Hub token and sends that.
        self._client = _Client(
            base_url=self.settings.base_url,
            api_key=self.settings.api_key or NO_KEY,
            timeout=self.settings.timeout,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        await self._client.close()

    async def complete(self, messages: Messages, seed: int) -> Reply:
        """Asks once, and again as often as the settings allow while there is no reply.

        Args:
            messages (`list[dict]`): The chat so far.
            seed (`int`): Of the sampling.

        Returns:
            [`Reply`]: Its text may be empty or broken: that is for a parser to say.

        Raises:
            EndpointError: If the endpoint refuses the key or the model, or gave no reply to many requests in a row.
            RequestError: If this request got no reply.
        """
        tries = 0
        while True:
            await self._wait_for_server()
            mode = self.schema_mode
            self.attempts += 1
            try:
                text = await self._ask(messages, seed, mode)
            except _Refused as refusal:
                if self._loosen(mode, refusal):
                    continue
                raise self._give_up(str(refusal)) from refusal
            except _Trouble as trouble:
                self._warn(trouble)
                if self._stopped or tries >= self.settings.max_retries:
                    raise self._give_up(f"{trouble}, after {tries + 1} attempts") from trouble
                await self._back_off(tries, trouble.retry_after)
                tries += 1
            else:
                self._failures_in_a_row = 0
                return Reply(text, mode)

    def stop(self) -> None:
        """From now on a request has no second attempt: the run is ending, and waits for what is in flight."""
        self._stopped = True

    async def _ask(self, messages: Messages, seed: int, mode: str) -> str:
        assert self._client is not None, "used outside async with"
        try:
            # The client's own time-out starts anew with every byte; this one does not.
            async with asyncio.timeout(self.settings.timeout):
                output = await self._client.chat_completion(
                    messages,
                    model=self.settings.model,
                    temperature=self.settings.temperature,
                    top_p=self.settings.top_p,
                    max_tokens=self.settings.max_tokens,
                    seed=seed,
                    response_format=_response_format(mode, self._schema),
                )
                return _text(output)
        except (TimeoutError, InferenceTimeoutError) as error:
            raise _Trouble(f"no reply within {self.settings.timeout:g} s") from error
        except HfHubHTTPError as error:
            raise self._http_error(error.response) from None  # whose own text may repeat the key
        except httpx.HTTPError as error:
            raise _Trouble(f"the connection failed ({self._safe(str(error)) or type(error).__name__})") from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise _Trouble(f"the answer is no chat completion ({self._safe(str(error))})") from error

    def _http_error(self, response: httpx.Response) -> Exception:
        status = response.status_code
        trouble = f"status {status}, {self._safe(response.text)!r}"
        if status in _FATAL:
            return EndpointError(f"{self.settings.shown_url}: {trouble}: {_FATAL[HTTPStatus(status)]}.")
        if status in _MAY_REFUSE_A_SCHEMA:
            return _Refused(trouble, about_schema=any(word in response.text.lower() for word in _SCHEMA_WORDS))
        if status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _Trouble(trouble, _retry_after(response))
        return _Refused(trouble)

    def _loosen(self, mode: str, refusal: "_Refused") -> bool:
        """Asks the server for less from now on, if that is what it refused; whether to ask this request again."""
        if mode == "none" or not refusal.about_schema:
            return False
        if mode == self.schema_mode:  # else another request has already found out
            self.schema_mode = SCHEMA_MODES[SCHEMA_MODES.index(mode) + 1]
            logger.warning("%s: no %s (%s); asking for %s", self.settings.shown_url, mode, refusal, self.schema_mode)
        return True

    def _give_up(self, reason: str) -> Exception:
        self._failures_in_a_row += 1
        if self._failures_in_a_row < self.settings.max_failures:
            return RequestError(reason)
        return EndpointError(
            f"{self.settings.shown_url} gave no reply to {self._failures_in_a_row} requests in a row; the last one: "
            f"{reason}. Start or mend the server and give the same command again; what is finished is kept."
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
        """One short line of a server's words, without the key that it may repeat."""
        text = " ".join(text.split())
        if self.settings.api_key:
            text = text.replace(self.settings.api_key, "***")
        return text if len(text) <= 200 else f"{text[:197]}..."


class _Trouble(Exception):
    """An attempt that is worth another one."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _Refused(Exception):
    """A request that the server will refuse again as it is."""

    def __init__(self, reason: str, about_schema: bool = False) -> None:
        super().__init__(reason)
        self.about_schema = about_schema


def _response_format(mode: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The response_format of a mode, wrapped so that the client's rewriting keeps it whole, see [`_Client`]."""
    if mode == "none":
        return None
    formats: dict[str, dict[str, Any]] = {
        "json_schema": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)},
        },
        "json_value": {"type": "json_object", "value": dict(schema)},
        "json_object": {"type": "json_object"},
    }
    return {"type": "json_schema", "json_schema": {"schema": formats[mode]}}


def _text(output: Any) -> str:
    """The words of a chat completion; a message without any is an empty reply."""
    choices = output.choices
    if not choices:
        raise ValueError(f"no choices in {str(output)[:100]}")
    content = choices[0].message.content
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError(f"content of type {type(content).__name__}")
    return content


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, given as seconds or as a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except ValueError:
        return None


def key_variable(base_url: str, environment: Mapping[str, str], name: str | None = None) -> str | None:
    """Which environment variable holds the key for an endpoint.

    Args:
        base_url (`str`): The endpoint.
        environment (`Mapping`): As `os.environ`.
        name (`str`, *optional*): What the user asked for; by default OPENAI_API_KEY, or, for hosts of the Hub alone,
            HF_TOKEN: a token of the Hub must not reach anyone else.

    Returns:
        `str` or `None`: A variable that is set, or `None` to ask without a key.

    Raises:
        ValueError: If `name` is given and not set.

    >>> key_variable("http://127.0.0.1:8000/v1", {"HF_TOKEN": "x"}) is None
    True
    >>> key_variable("https://router.huggingface.co/v1", {"HF_TOKEN": "x", "OPENAI_API_KEY": "y"})
    'HF_TOKEN'
    """
    if name:
        if not environment.get(name):
            raise ValueError(f"The environment variable {name} is not set; export the endpoint's key in it.")
        return name
    host = urlsplit(base_url).hostname or ""
    of_hub = any(host == hub or host.endswith(f".{hub}") for hub in HUB_HOSTS)
    candidate = "HF_TOKEN" if of_hub else "OPENAI_API_KEY"
    return candidate if environment.get(candidate) else None
