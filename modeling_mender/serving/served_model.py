"""A loaded model that answers calls in batches, and can be exchanged for another one while it answers.

Knows nothing of HTTP and of Ray. Every call is read by the request model of the pipeline and the handler.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from transformers import pipeline

from ..hub.loading import load_recommender
from ..recommendation_request import CallOptions, RecommendationRequest, read_call
from ..request_values import RequestError, RequestLimits, json_errors, read_texts, read_whole, shown
from .answers import Answer, ServiceError, parse_body, to_json
from .batching import Batcher
from .title_search import search

logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 20  # items of a search


class LoadedModel:
    """A model with its processor, its titles and the number of its version.

    Args:
        folder (`str`): Folder, or name on the Hub.
        device (`str`): Device of the model.
        version (`int`): Number of the version.

    Raises:
        ValueError, OSError: If it cannot be loaded, or cannot answer a request.
    """

    def __init__(self, folder: str, device: str, version: int) -> None:
        self.folder, self.version = folder, version
        model, processor = load_recommender(folder, device=device)
        create: Any = pipeline  # its types list the tasks of transformers only
        self.pipeline = create("preference-recommendation", model=model, processor=processor, device=device)
        self.titles: list[str] = processor.titles(range(1, model.config.num_items + 1))
        self.removed = frozenset(processor.removed_items)
        self.pipeline({"history": [1], "preference": self.titles[0]}, k=1)  # it answers, and has built its trie

    def describe(self) -> dict[str, Any]:
        """Public description of the model."""
        config = self.pipeline.model.config
        num_items = config.num_items - len(self.removed)
        return {"version": self.version, "model_type": config.model_type, "num_items": num_items}


class Ticket(NamedTuple):
    """A checked request of a call, and the model that has checked it."""

    model: LoadedModel
    request: RecommendationRequest
    options: CallOptions


class Computed(NamedTuple):
    """Items for a request, or the error of it, and the number of requests that were computed with it."""

    items: list[dict[str, Any]] | Exception
    batch_size: int


def answer_tickets(tickets: Sequence[Ticket]) -> list[Computed]:
    """Answers requests of any calls: together those of the same model and options, an invalid one by itself."""
    groups: dict[Any, list[int]] = {}
    for number, (model, _, options) in enumerate(tickets):
        key = id(model), options.k, options.num_beams, options.return_terms
        groups.setdefault(key, []).append(number)
    computed: dict[int, Computed] = {}
    for numbers in groups.values():
        for number, items in zip(numbers, _answer_group([tickets[number] for number in numbers]), strict=True):
            computed[number] = Computed(items, len(numbers))
    return [computed[number] for number in range(len(tickets))]


def _answer_group(tickets: Sequence[Ticket]) -> list[list[dict[str, Any]] | Exception]:
    """Items of each request, all with the same options."""
    model, _, first = tickets[0]
    options = CallOptions(first.k, first.num_beams, first.return_terms, batch_size=len(tickets))
    try:
        with json_errors():
            return list(model.pipeline.answer([ticket.request for ticket in tickets], options))
    except Exception as error:  # of any kind: one request must not take the others of its batch with it
        if len(tickets) > 1:
            return [_answer_group([ticket])[0] for ticket in tickets]
        if not isinstance(error, ValueError):
            logger.exception("a checked request could not be answered")
        return [error]


class ServedModel:
    """A model under a name, and the one that may take its place.

    Args:
        folder (`str`): Folder, or name on the Hub.
        device (`str`): Device of the model.
        version (`int`): Number of the version.
        max_body_bytes (`int`): Size of a body.
    """

    def __init__(self, folder: str, device: str = "cpu", version: int = 1, max_body_bytes: int = 4_000_000) -> None:
        self.device, self.max_body_bytes = device, max_body_bytes
        self.limits = RequestLimits.read()
        self.current = LoadedModel(folder, device, version)
        self._prepared: LoadedModel | None = None

    async def recommend(self, body: Any, answer: Callable[[Sequence[Ticket]], Awaitable[list[Computed]]]) -> Answer:
        """Answers a call with the model that is current when it comes.

        Args:
            body: `inputs` and `parameters`; see [`read_call`].
            answer (`Callable`): Answers requests, in whatever batches; see [`answer_tickets`].

        Raises:
            ServiceError: With status 422 for an invalid call, 500 for a failure.
        """
        model = self.current
        try:
            with json_errors():
                inputs, parameters = read_call(body)
                requests, options = model.pipeline.read(inputs, **parameters)
        except ValueError as error:
            raise ServiceError(422, str(error)) from None
        computed = await answer([Ticket(model, request, options) for request in requests])
        for number, (items, _) in enumerate(computed):
            if isinstance(items, RequestError):
                raise ServiceError(422, str(items.moved(number)))
            if isinstance(items, ValueError):
                raise ServiceError(422, str(items))
            if isinstance(items, Exception):
                raise ServiceError(
                    500, f"request {number} could not be answered ({type(items).__name__}); see the log."
                )
        found = [items for items, _ in computed]
        content = to_json(found if isinstance(inputs, list) else found[0])
        return Answer(content, version=model.version, batch_size=max((size for _, size in computed), default=0))

    def search(self, words: Any, limit: Any = None) -> Answer:
        """Items whose titles have all words.

        Args:
            words (`str`): Words, or parts of words.
            limit (`int`, *optional*): Number of items; 20 by default.

        Raises:
            ServiceError: With status 422, without words, or for what the limits of requests refuse.
        """
        model = self.current
        try:
            with json_errors():
                if not isinstance(words, str) or not words.strip():
                    given = "missing" if words is None else shown(words)
                    raise ValueError(f"search is {given}; give words of titles, such as lavender soap.")
                read_texts("search", words, self.limits)
                limit = DEFAULT_LIMIT if limit is None else read_whole("limit", limit)
                self.limits.check("k", limit, "limit is", "items")
        except ValueError as error:
            raise ServiceError(422, str(error)) from None
        found = search(model.titles, words, model.removed)
        items = [{"item_id": item, "title": model.titles[item - 1]} for item in found[:limit]]
        return Answer(to_json({"search": words, "total": len(found), "items": items}), version=model.version)

    def prepare(self, folder: str, version: int) -> None:
        """Loads and checks a model beside the current one.

        Raises:
            ServiceError: With status 422, if it cannot be loaded.
        """
        self._prepared = None
        try:
            self._prepared = LoadedModel(folder, self.device, version)
        except (ValueError, OSError) as error:
            raise ServiceError(422, f"the model stays as it is: {' '.join(str(error).split())}") from None

    def exchange(self, version: int) -> bool:
        """Puts the prepared model of a version in place; calls that have begun are answered by the old one.

        Returns:
            `bool`: Whether that version is current now.
        """
        if self._prepared is not None and self._prepared.version == version:
            self.current, self._prepared = self._prepared, None
        return self.current.version == version


class LocalModel:
    """A served model in this process, with the methods that the web application asks for."""

    def __init__(self, served: ServedModel, batch_size: int = 32) -> None:
        self.served = served
        self._batches = Batcher(answer_tickets, batch_size)

    async def recommend(self, content: bytes) -> Answer:
        """Answers the body of a call."""
        return await self.recommend_parsed(parse_body(content, self.served.max_body_bytes))

    async def recommend_parsed(self, body: Any) -> Answer:
        """Answers a call whose body is parsed."""
        return await self.served.recommend(body, self._batches)

    async def search(self, words: Any, limit: Any = None) -> Answer:
        """Searches the titles."""
        return await asyncio.to_thread(self.served.search, words, limit)

    async def describe(self) -> dict[str, Any]:
        """Public description of the current model."""
        return self.served.current.describe()

    async def swap(self, folder: str) -> dict[str, Any]:
        """Loads another model, and puts it in place."""
        version = self.served.current.version + 1
        await asyncio.to_thread(self.served.prepare, folder, version)
        self.served.exchange(version)
        return await self.describe()
