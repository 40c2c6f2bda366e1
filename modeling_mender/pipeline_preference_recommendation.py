"""The pipeline `preference-recommendation`: requests as dicts in, titles and scores out, for every model."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from transformers import Pipeline

from .catalog_update import LivingCatalog
from .item_log_weights import read_log_weights
from .recommendation import SAME_CATALOG
from .recommendation_request import (
    CALL_OPTIONS,
    CallOptions,
    RecommendationRequest,
    read_call,
    read_requests,
)
from .request_values import RequestError, RequestLimits, as_list, json_errors, refuse_unknown, shown

# Fields that only some processors read, and the way out for the others.
OPTIONAL_FIELDS = {
    "avoid": "write what to avoid as a preference",
    "strength": "leave strength out",
    "user": "leave user out",
}


def check_items(model: Any, processor: Any) -> None:
    """Checks that a model and a processor count the same items, and that neither was changed without the other.

    Raises:
        ValueError: If not.
    """
    if isinstance(model, LivingCatalog) and hasattr(processor, "items_digest"):
        model.check_processor(processor)
        return
    known = getattr(model.config, "num_items", None), getattr(processor, "num_items", None)
    if None not in known and known[0] != known[1]:
        raise ValueError(f"the processor has {known[1]} items and the model {known[0]}; {SAME_CATALOG}")


def check_pair(model: Any, processor: Any) -> None:
    """Checks that a model and a processor are of the same catalog.

    Raises:
        ValueError: If they have different items, or different semantic IDs of them.
    """
    check_items(model, processor)
    table = getattr(model, "item_semantic_ids", None)
    if table is None or table.is_meta:
        return
    digest = getattr(processor, "items_digest", None)
    if getattr(model, "has_listed_weights", False) and digest == model.config.items_digest is not None:
        return  # a manifest holds the table and the digest of the items together
    codes = getattr(processor, "item_codes", None)
    if codes is None:
        return
    own = table.cpu().numpy()
    differing = (own != codes).any(1).nonzero()[0] if own.shape == codes.shape else [0]
    if len(differing):
        row = differing[0]
        raise ValueError(
            f"item {row + 1} has the semantic ID {own[row].tolist()} in the model and {codes[row].tolist()} in the "
            "processor's items.jsonl; load both from the same folder, or fetch it again."
        )


class PreferenceRecommendationPipeline(Pipeline):
    """Recommends items for requests given as dicts.

    A request has `history` (item ids, oldest first), `preference` (a string or several), or both. A model may also
    read `avoid` (a string or several: texts to move down), `strength` (a number for all preferences, or one per
    preference; defaults to 1; 0 ignores a preference, a negative one avoids it) and `user` (the user's id). Every
    model takes `candidates` (ids of the only items to rank), `exclude` (ids to leave out) and `item_log_weights`
    (added to the scores: a mapping of ids to numbers, or a number for each item of the catalog). See
    [`RecommendationRequest`].

    Args:
        limits ([`RequestLimits`] or `Mapping`, *optional*): Limits on requests, as in `{"requests": 5000}`, where
            `None` stands for no limit; others are those of environment variables such as `MENDER_MAX_REQUESTS`, or
            the defaults.
        kwargs: Options of every call, see [`__call__`], and those of `transformers.Pipeline`.

    >>> pipe = pipeline("preference-recommendation", model="org/name", trust_remote_code=True)  # doctest: +SKIP
    >>> pipe({"history": [17, 4], "preference": "Look for lavender soap"}, k=2)  # doctest: +SKIP
    [{'item_id': 12, 'title': 'Lavender soap', 'score': -1.7}, {'item_id': 3, 'title': 'Rose soap', 'score': -2.4}]
    """

    # declared as None by the base class
    _load_processor: Any = True
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _pipeline_calls_generate = False
    model: Any  # a module with `recommend`
    processor: Any  # a processor with `titles`

    def __init__(
        self, *args: Any, limits: RequestLimits | Mapping[str, int | None] | None = None, **kwargs: Any
    ) -> None:
        """Makes the pipeline as [`Pipeline`] does.

        Raises:
            ValueError: If model and processor are of different catalogs, or a limit is invalid.
        """
        self.limits = RequestLimits.read(limits)
        super().__init__(*args, **kwargs)
        check_pair(self.model, self.processor)

    def __call__(self, inputs: Mapping | Iterable[Mapping], *args: Any, limits: Any = None, **options: Any) -> Any:
        """Recommends items for one request or several.

        All requests of a list are read and checked before the first one is answered.

        Args:
            inputs (`Mapping` or an iterable of them): One request, or several.
            k (`int`, *optional*, defaults to 10): Items per request.
            num_beams (`int`, *optional*): Number of beams of a generative model; defaults to the model's.
            candidates, exclude, item_log_weights (*optional*): Defaults for requests without these fields.
            return_terms (`bool`, *optional*, defaults to `False`): Whether to return the terms of each score, for a
                model whose score is a sum of terms.
            batch_size (`int`, *optional*, defaults to 1): Number of requests per batch.
            limits (*optional*): In place of those of the pipeline.

        Returns:
            `list[dict]`: `item_id`, `title` and `score` (a log-probability, plus the item's log-weight where given)
            of `k` items, best first, and with `return_terms` their `terms` by name; one such list per request for a
            list of requests, and an iterator over them for any other iterable.

        Raises:
            ValueError: For an invalid request or option, a field that this model does not read, or terms of a model
                without terms; it names the request of a list by its number, from 0.
        """
        if args:
            raise ValueError(f"{shown(args[0])} has no name; name the options of a call, as in k=5.")
        if as_list(inputs) is not None or isinstance(inputs, Mapping | RecommendationRequest):
            requests, call = self.read(inputs, limits, **options)
            answers = self.answer(requests, call)
            return answers if as_list(inputs) is not None else answers[0]
        if isinstance(inputs, str | bytes) or not isinstance(inputs, Iterable) or hasattr(inputs, "ndim"):
            raise ValueError(
                f"a request is a dict, and several are a list or an iterator of them, not {shown(inputs)}."
            )
        limits = self.limits if limits is None else RequestLimits.read(limits)
        call, check = self._read_options(options, limits)
        requests_read = (
            RecommendationRequest.read(one, self.model.config.num_items, limits, number, call.defaults)
            for number, one in enumerate(inputs)
        )
        return self._answer(
            (self.preprocess(one, number=number, **check) for number, one in enumerate(requests_read)), call
        )

    def read(
        self, inputs: Any, limits: RequestLimits | Mapping[str, int | None] | None = None, **options: Any
    ) -> tuple[list[RecommendationRequest], CallOptions]:
        """Reads and checks one request or a list of them, and the options of their call; see [`__call__`].

        Returns:
            `tuple`: The checked requests, and the options. [`answer`] takes them, also in batches of several calls.

        Raises:
            ValueError: As [`__call__`].
        """
        num_items = self.model.config.num_items
        limits = self.limits if limits is None else RequestLimits.read(limits)
        call, check = self._read_options(options, limits)
        if (several := as_list(inputs)) is None:
            request = RecommendationRequest.read(inputs, num_items, limits, defaults=call.defaults)
            return [self.preprocess(request, **check)], call
        requests = read_requests(several, num_items, limits, call.defaults)
        return [self.preprocess(request, number=number, **check) for number, request in enumerate(requests)], call

    def answer(self, requests: Sequence[RecommendationRequest], call: CallOptions) -> list[list[dict[str, Any]]]:
        """Answers requests that [`read`] has checked; see [`__call__`].

        Raises:
            RequestError: For a request that the processor cannot use, such as one without a history.
        """
        return list(self._answer(iter(requests), call))

    def _read_options(self, options: dict[str, Any], limits: RequestLimits) -> tuple[CallOptions, dict[str, Any]]:
        """Checked options of a call, and what [`preprocess`] is given with every request."""
        check_items(self.model, self.processor)  # one may have been changed since without the other
        own, _, _ = self._sanitize_parameters(**options)
        given = {"batch_size": self._batch_size} | self._preprocess_params | own
        call = CallOptions.read(given, self.model.config.num_items, limits, self.processor.removed_items)
        self._check_terms(call)
        read = inspect.signature(self.processor.__call__).parameters
        return call, {"call": call, "unread": [name for name in OPTIONAL_FIELDS if name not in read]}

    def answer_call(self, body: Any) -> list:
        """Answers the body of a call to an endpoint, which was JSON; see [`read_call`].

        Raises:
            ValueError: As [`read_call`] and [`__call__`].
        """
        with json_errors():
            requests, parameters = read_call(body)
            return self(requests, **parameters)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        """Options of the pipeline or a call, which [`__call__`] checks together."""
        refuse_unknown(options, CALL_OPTIONS, "{}: no such option")
        return {name: value for name, value in options.items() if value is not None}, {}, {}

    def preprocess(self, input_: RecommendationRequest, **preprocess_parameters: Any) -> Any:
        """Checks that the model reads the fields of a request, and that it allows enough items.

        Raises:
            ValueError: If not; names the request by its number in a list.
        """
        call, number = preprocess_parameters["call"], preprocess_parameters.get("number")
        if unread := [name for name in preprocess_parameters["unread"] if getattr(input_, name) not in (None, ())]:
            ways = [OPTIONAL_FIELDS[name] for name in unread]
            other = ", or use a mender_steer model" if {"avoid", "strength"} & {*unread} else ""
            which = "" if number is None else f", and request {number} has it"
            raise ValueError(
                f"a {self.model.config.model_type} model does not read {' and '.join(unread)}{which}; "
                f"{' and '.join(ways)}{other}."
            )
        input_.check_enough(call.k, self.model.config.num_items, number, self.processor.removed_items)
        return input_

    def _answer(self, requests: Iterator[RecommendationRequest], call: CallOptions) -> Iterator[list[dict[str, Any]]]:
        """Answers checked requests in batches, which the processor pads; the collation of the library requires a
        tokenizer, and some models have none."""
        start = 0
        while batch := list(islice(requests, call.batch_size)):
            try:
                output = self.forward({"requests": batch}, call=call)
            except RequestError as error:
                raise error.moved(start) from None
            for row, (items, scores) in enumerate(zip(output["items"], output["scores"], strict=True)):
                one = {"items": items, "scores": scores}
                if "terms" in output:
                    one["terms"] = {name: values[row] for name, values in output["terms"].items()}
                yield self.postprocess(one)
            start += len(batch)

    def _forward(self, input_tensors: dict[str, Any], **forward_parameters: Any) -> Any:
        """Ranks a batch of requests: `items` and `scores (batch_size, k)`, and `terms` by name."""
        call: CallOptions = forward_parameters["call"]
        requests: list[RecommendationRequest] = input_tensors["requests"]
        fields: dict[str, list] = {"history": [list(request.history) for request in requests]}
        for name in ("preference", "avoid", "strength", "user"):
            values = [getattr(request, name) for request in requests]
            values = [(list(value) or None) if isinstance(value, tuple) else value for value in values]
            if any(value is not None for value in values):
                fields[name] = values
        options: dict[str, Any] = {"k": call.k}
        if call.num_beams is not None:
            options["num_beams"] = call.num_beams
        if call.return_terms:
            options["return_terms"] = True
        if any(request.candidates is not None for request in requests):
            options["candidates"] = [request.candidates for request in requests]
        if any(request.exclude for request in requests):
            options["exclude"] = [request.exclude for request in requests]
        given = [request.item_log_weights for request in requests]
        if (log_weights := read_log_weights(given, self.model.config.num_items)) is not None:
            options["item_log_weights"] = log_weights
        inputs = self.processor(**fields, return_tensors="pt").to(self.device)
        found = self.model.recommend(**inputs, **options)
        output = {"items": found.items, "scores": found.scores}
        if call.return_terms:
            if getattr(found, "terms", None) is None:
                raise ValueError(self._no_terms())
            output["terms"] = dict(found.terms)
        return output

    def _check_terms(self, call: CallOptions) -> None:
        """Raises a ValueError if terms are asked of a model without terms."""
        if call.return_terms and "return_terms" not in inspect.signature(self.model.recommend).parameters:
            raise ValueError(self._no_terms())

    def _no_terms(self) -> str:
        """Message for a model without terms."""
        return (
            f"the score of a {self.model.config.model_type} model is no sum of terms; leave return_terms out, or use "
            "a mender_steer model."
        )

    def postprocess(self, model_outputs: dict[str, Any], **postprocess_parameters: Any) -> list[dict[str, Any]]:
        """Recommended items of one request with their titles."""
        items = model_outputs["items"].tolist()
        found = [
            {"item_id": item, "title": title, "score": score}
            for item, title, score in zip(
                items, self.processor.titles(items), model_outputs["scores"].tolist(), strict=True
            )
        ]
        if "terms" in model_outputs:
            terms = {name: values.tolist() for name, values in model_outputs["terms"].items()}
            for rank, item in enumerate(found):
                item["terms"] = {name: values[rank] for name, values in terms.items()}
        return found
