"""Web application of the service: pages, limits of size and time, errors as JSON, metrics and the OpenAPI schema.

Knows models by four methods alone ([`Model`]), so it runs in one process as well as on Ray Serve. It reads no request:
bodies are passed on as they come, and the request model of the pipeline decides on them.
"""

import asyncio
import hmac
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..request_values import json_errors, shown
from . import call_schema
from .answers import Answer, ServiceError, parse_body, to_json
from .metrics import CONTENT_TYPE, UNKNOWN, ServiceMetrics
from .settings import ServiceSettings

logger = logging.getLogger(__name__)

ADMIN_TOKEN = "MENDER_ADMIN_TOKEN"  # environment variable
MAX_SWAP_BYTES = 10_000
PAGES = ("/recommend", "/items", "/models", "/health", "/metrics", "/docs", "/openapi.json")
_JSON = "application/json"


class Model(Protocol):
    """What the application asks of a model; each raises a [`ServiceError`]."""

    async def recommend(self, content: bytes) -> Answer:
        """Answers the body of a call."""

    async def search(self, words: Any, limit: Any = None) -> Answer:
        """Searches the titles."""

    async def describe(self) -> dict[str, Any]:
        """Public description."""

    async def swap(self, folder: str) -> dict[str, Any]:
        """Loads another model, and puts it in place."""


def make_app(models: Mapping[str, Model], settings: ServiceSettings, admin_token: str | None = None) -> FastAPI:
    """Makes the web application.

    Args:
        models (`Mapping`): Models by their names, of which the first is the default.
        settings ([`ServiceSettings`]): Limits.
        admin_token (`str`, *optional*): Token that allows to exchange models; without one, nobody may.
    """
    app = FastAPI(
        title="Mender recommender",
        version=__version__,
        description='Recommendations for a history and preferences in words. Errors are JSON: `{"error": "..."}`.',
        docs_url=None,  # a page of libraries from the web, empty without it
        redoc_url=None,
    )
    service = _Service(models, settings, admin_token)
    app.add_middleware(_Counting, service=service)
    app.exception_handler(ServiceError)(_on_service_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    model = Query(None, description=f"Name of a model; {next(iter(models))} by default.")
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": what, "content": {_JSON: {"schema": call_schema.ERROR}}}
        for status, what in {
            400: "The body is no JSON.",
            404: "No such model.",
            413: "The body is too large.",
            422: "The call is invalid; the message names the field, the value and the way out.",
            503: "Busy, or the model cannot be reached; try again after the seconds of the header Retry-After.",
            504: "The time for a call is over.",
        }.items()
    }

    def responses(schema: dict[str, Any], *without: int) -> dict[int | str, dict[str, Any]]:
        kept = {status: error for status, error in errors.items() if status not in without}
        return {200: {"description": "The answer.", "content": {_JSON: {"schema": schema}}}, **kept}

    body = {"required": True, "content": {_JSON: {"schema": call_schema.CALL, "example": call_schema.EXAMPLE}}}

    @app.post("/recommend", responses=responses(call_schema.ANSWER), openapi_extra={"requestBody": body})
    async def recommend(request: Request, model: str | None = model) -> Response:
        """Recommends items for a request, or for each of a list."""
        check_query(request, "model")
        return await service.recommend(request, model)

    @app.get("/items", responses=responses(call_schema.FOUND, 400, 413))
    async def items(
        request: Request,
        search: str | None = Query(None, description="Words that the title has.", examples=["soap"]),
        limit: str | None = Query(None, description="Number of items, 20 by default."),
        model: str | None = model,
    ) -> Response:
        """Finds items by words of their titles."""
        check_query(request, "search", "limit", "model")
        return await service.search(request, search, limit, model)

    @app.get("/models")
    async def list_models() -> Response:
        """Lists the models with their types, numbers of items and versions."""
        return _respond(Answer(to_json(await service.describe())))

    @app.post("/models/{name}", responses=responses({"type": "object"}), openapi_extra={"requestBody": _SWAP_BODY})
    async def swap(request: Request, name: str) -> Response:
        """Exchanges a model without a gap; needs `Authorization: Bearer TOKEN`, where the service has a token."""
        check_query(request)
        return _respond(Answer(to_json(await service.swap(request, name))))

    @app.get("/health")
    async def health() -> Response:
        """Says whether every model answers: status 200, else 503."""
        found = await service.describe()
        alive = all(one["state"] != "unavailable" for one in found.values())
        content = {"status": "ok" if alive else "unavailable", "models": found}
        return _respond(Answer(to_json(content), 200 if alive else 503))

    @app.get("/metrics")
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Lists the pages."""
        return HTMLResponse(_docs(app.openapi()))

    return app


def _docs(schema: Mapping[str, Any]) -> str:
    """The pages of the service in plain HTML, by their schema."""
    pages = []
    for path, methods in schema["paths"].items():
        for method, page in methods.items():
            given = "".join(
                f"<li><code>{escape(one['name'])}</code>: {escape(one.get('description', one['in']))}</li>"
                for one in page.get("parameters", ())
            )
            body = page.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("example")
            example = f"<pre>{escape(json.dumps(body))}</pre>" if body else ""
            title = f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            pages.append(f"{title}<p>{escape(page['description'])}</p><ul>{given}</ul>{example}")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(schema['info']['title'])}</title>"
        f"<h1>{escape(schema['info']['title'])}</h1><p>{escape(schema['info']['description'])} "
        f"Full schema: <a href='openapi.json'>/openapi.json</a>.</p>{''.join(pages)}</html>\n"
    )


_SWAP_BODY = {
    "required": True,
    "content": {
        _JSON: {
            "schema": call_schema.object_schema({"model": {"type": "string"}}, ["model"]),
            "example": {"model": "outputs/new/model"},
        }
    },
}


def check_query(request: Request, *known: str) -> None:
    """Checks that the query of a URL is text, and has none but known parameters, each once.

    Raises:
        ServiceError: With status 422, which names the parameter.
    """
    try:
        unquote_to_bytes(request.url.query).decode()
    except UnicodeDecodeError:
        raise ServiceError(
            422, "the query of the URL is no text in UTF-8; encode it, as in search=caf%C3%A9 for café."
        ) from None
    given = Counter(name for name, _ in request.query_params.multi_items())
    if unknown := [shown(name) for name in given if name not in known]:
        page, names = shown(request.url.path), ", ".join(known) or "none"
        raise ServiceError(422, f"{unknown[0]}: no such query parameter of {page}; it takes {names}.")
    if twice := [name for name, count in given.items() if count > 1]:
        raise ServiceError(422, f"the query parameter {twice[0]} is given {given[twice[0]]} times; give it once.")


class _Counting:
    """Middleware of ASGI that counts calls, and answers failures of this code in JSON."""

    def __init__(self, app: ASGIApp, service: "_Service") -> None:
        self.app, self.metrics = app, service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        state = scope.setdefault("state", {})

        async def counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with self.metrics.in_progress.track_inprogress():
            try:
                with json_errors():
                    await self.app(scope, receive, counted)
            except Exception as error:
                if status:  # the answer has begun
                    raise
                logger.exception("a call failed")
                failure = ServiceError(500, f"the service failed ({type(error).__name__}); its log has the reason.")
                await _respond(failure.answer())(scope, receive, counted)
        path = scope["path"]
        page = path if path in PAGES else "/models/NAME" if path.startswith("/models/") else "other"
        self.metrics.record(page, state.get("model", UNKNOWN), status, started)


class _Service:
    """State of the application: its models, limits, metrics and calls in progress."""

    def __init__(self, models: Mapping[str, Model], settings: ServiceSettings, admin_token: str | None) -> None:
        self.models, self.settings, self.admin_token = models, settings, admin_token
        self.metrics = ServiceMetrics()
        self.in_service: Counter[str] = Counter()
        self.swapping: set[str] = set()
        self.ready: set[str] = set()  # models that have answered

    def find(self, request: Request, name: str | None) -> tuple[str, Model]:
        """The model of a name; the first where there is none.

        Raises:
            ServiceError: With status 404, for an unknown name.
        """
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            raise ServiceError(404, f"there is no model {shown(name)}; there are {', '.join(self.models)}.")
        request.state.model = name
        return name, self.models[name]

    async def recommend(self, request: Request, name: str | None) -> Response:
        """Answers a call, unless too many wait."""
        name, model = self.find(request, name)
        return await self._within_limits(name, lambda: self._recommend(request, model))

    async def _recommend(self, request: Request, model: Model) -> Answer:
        way_out = "ask in several calls, or raise --max_body_bytes"
        return await model.recommend(await self.read_body(request, self.settings.max_body_bytes, way_out))

    async def search(self, request: Request, words: str | None, limit: str | None, name: str | None) -> Response:
        """Searches the titles of a model."""
        name, model = self.find(request, name)
        number: Any = int(limit) if limit and limit.isdecimal() and len(limit) < 19 else limit
        return await self._within_limits(name, lambda: model.search(words, number))

    async def _within_limits(self, name: str, ask: Callable[[], Awaitable[Answer]]) -> Response:
        """Asks a model, unless more calls of it are in service than may be."""
        if self.in_service[name] >= self.settings.max_in_service:
            raise ServiceError(503, f"{self.in_service[name]} calls of the model {name} wait; try again soon.")
        self.in_service[name] += 1
        try:
            answer = await ask()
        finally:
            self.in_service[name] -= 1
        self.metrics.record_answer(name, answer.version, answer.batch_size)
        version = {"Mender-Version": str(answer.version)} if answer.version else {}
        return _respond(answer, {"Mender-Model": name, **version})

    async def describe(self) -> dict[str, dict[str, Any]]:
        """Descriptions of all models, with a `state`: ready, busy, or unavailable, also before the first answer."""

        async def one(name: str, model: Model) -> dict[str, Any]:
            try:
                found = await model.describe()
            except ServiceError as error:
                state = "busy" if error.status == 504 and name in self.ready else "unavailable"
                return {"state": state, "error": str(error)}
            self.ready.add(name)
            return {"state": "ready", **found}

        found = await asyncio.gather(*(one(name, model) for name, model in self.models.items()))
        return dict(zip(self.models, found, strict=True))

    async def swap(self, request: Request, name: str) -> dict[str, Any]:
        """Exchanges a model, if the client may."""
        if self.admin_token is None:
            raise ServiceError(
                403, f"models cannot be exchanged; start the service with {ADMIN_TOKEN} set to a secret."
            )
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.admin_token}".encode()):
            raise ServiceError(401, "the header Authorization is missing or wrong; send 'Bearer' and the admin token.")
        name, model = self.find(request, name)
        way_out = f"send {json.dumps({'model': 'outputs/new/model'})}"
        body = parse_body(await self.read_body(request, MAX_SWAP_BYTES, way_out), MAX_SWAP_BYTES)
        if not isinstance(body, dict) or body.keys() != {"model"} or not isinstance(body["model"], str):
            raise ServiceError(422, f"the body is {shown(body)}; {way_out}.")
        if name in self.swapping:
            raise ServiceError(409, f"the model {name} is being exchanged already; try again when that is done.")
        self.swapping.add(name)
        try:
            return {"name": name, **await model.swap(body["model"])}
        finally:
            self.swapping.discard(name)

    async def read_body(self, request: Request, most: int, way_out: str) -> bytes:
        """Reads a body of at most `most` bytes.

        Raises:
            ServiceError: With status 413 as soon as it is larger, by its length or by what has come; 408 if it does
                not come in time.
        """
        message = f"the body is larger than {most:,} bytes, the limit; {way_out}."
        length = request.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > most):
            raise ServiceError(413, message)
        content = bytearray()
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                async for part in request.stream():
                    content += part
                    if len(content) > most:
                        raise ServiceError(413, message)
        except TimeoutError:
            raise ServiceError(
                408,
                f"the body did not come within {self.settings.timeout_s:g} s; send it faster, or in several calls.",
            ) from None
        return bytes(content)


def _respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return Response(answer.content, answer.status, headers, media_type=_JSON)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return _respond(error.answer(), error.headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = shown(request.url.path), request.method
    message = {
        404: f"there is no page {path}; there are {', '.join(PAGES)}.",
        405: f"{path} has no method {method[:20]}; see /docs.",
    }.get(error.status_code, str(error.detail))
    return _respond(ServiceError(error.status_code, message).answer(), error.headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    return _respond(ServiceError(422, f"the call is invalid ({shown(str(error))}); see /docs.").answer())
