"""The pipeline `preference-recommendation`: requests as dicts in, titles and scores out, for every model."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from transformers import Pipeline

from .item_log_weights import read_log_weights

REQUEST_FIELDS = ("history", "preference", "avoid", "strength", "user", "candidates", "exclude", "item_log_weights")

# Fields that only some processors read, and the way out for the others.
STEERING_FIELDS = {"avoid": "write what to avoid as a preference", "strength": "leave strength out"}


class PreferenceRecommendationPipeline(Pipeline):
    """Recommends items for requests given as dicts.

    A request has `history` (item ids, oldest first), `preference` (a string or several), or both. A model may also
    read `avoid` (a string or several: texts to move down), `strength` (a number for all preferences, or one per
    preference; defaults to 1; 0 ignores a preference, a negative one avoids it) and `user` (the user's id). Every
    model takes `candidates` (ids of the only items to rank), `exclude` (ids to leave out) and `item_log_weights`
    (added to the scores: a mapping of ids to numbers, or a number for each item of the catalogue).

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Makes the pipeline as [`Pipeline`] does.

        Raises:
            ValueError: If model and processor are of different catalogues.
        """
        super().__init__(*args, **kwargs)
        known = getattr(self.model.config, "num_items", None), getattr(self.processor, "num_items", None)
        if None not in known and known[0] != known[1]:
            raise ValueError(
                f"the model has {known[0]} items and the processor {known[1]}; load both from the same folder."
            )

    def __call__(self, inputs: Mapping | Iterable[Mapping], *args: Any, **kwargs: Any) -> Any:
        """Recommends items for one request or several.

        Args:
            inputs (`Mapping` or an iterable of them): One request, or several.
            k (`int`, *optional*, defaults to 10): Items per request.
            num_beams (`int`, *optional*): Number of beams of a generative model; defaults to the model's.
            candidates, exclude, item_log_weights (*optional*): Defaults for requests without these fields.
            return_terms (`bool`, *optional*, defaults to `False`): Whether to return the terms of each score, for a
                model whose score is a sum of terms.
            batch_size (`int`, *optional*, defaults to 1): Number of requests per batch.

        Returns:
            `list[dict]`: `item_id`, `title` and `score` (a log-probability, plus the item's log-weight where given)
            of `k` items, best first, and with `return_terms` their `terms` by name; one such list per request for a
            list of requests, and an iterator over them for any other iterable.

        Raises:
            ValueError: For any error of the processor or `recommend`, an unknown field, a field that this model does
                not read, or terms of a model without terms.
        """
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, *args, **kwargs)

    def _sanitize_parameters(
        self,
        k: int | None = None,
        num_beams: int | None = None,
        candidates: list[int] | None = None,
        exclude: list[int] | None = None,
        item_log_weights: Mapping[int, float] | list[float] | None = None,
        return_terms: bool | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        """Splits the options of a call into those of `preprocess`, `_forward` and `postprocess`."""
        if unknown:
            raise ValueError(
                f"{', '.join(sorted(unknown))}: no such option; there are k, num_beams, candidates, exclude, "
                "item_log_weights, return_terms and batch_size."
            )
        if return_terms not in (None, False, True):
            raise ValueError(f"return_terms is {return_terms!r}; give true or false.")
        limits = {"candidates": candidates, "exclude": exclude, "item_log_weights": item_log_weights}
        options = {"k": k, "num_beams": num_beams, "return_terms": return_terms}
        return (
            {name: value for name, value in limits.items() if value is not None},
            {name: value for name, value in options.items() if value is not None},
            {},
        )

    def preprocess(self, input_: Mapping[str, Any], **limits: Any) -> dict[str, Any]:
        """Checks the fields of a request and fills in those of the call."""
        if not isinstance(input_, Mapping):
            raise ValueError(f"a request is a dict with {', '.join(REQUEST_FIELDS)}, not {input_!r}.")
        if unknown := sorted(map(str, input_.keys() - set(REQUEST_FIELDS))):
            raise ValueError(f"a request has no field {', '.join(unknown)}; there are {', '.join(REQUEST_FIELDS)}.")
        request = dict.fromkeys(REQUEST_FIELDS) | limits
        return request | {name: value for name, value in input_.items() if value is not None}

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> Any:
        """Ranks a batch of requests: `items` and `scores (batch_size, k)`, and `terms` by name."""
        requests = input_tensors["requests"]
        fields = {"history": [request["history"] or [] for request in requests]}
        for name in ("preference", "user"):
            values = [request[name] for request in requests]
            if any(value is not None for value in values):
                fields[name] = values
        fields |= self._steering(requests)
        return_terms = options.pop("return_terms", False)
        if return_terms:
            if "return_terms" not in inspect.signature(self.model.recommend).parameters:
                raise ValueError(self._no_terms())
            options["return_terms"] = True
        limits: dict[str, Any] = {}
        if any(request["candidates"] is not None for request in requests):
            limits["candidates"] = [request["candidates"] for request in requests]
        if any(request["exclude"] for request in requests):  # an empty list excludes nothing
            limits["exclude"] = [request["exclude"] for request in requests]
        given = [request["item_log_weights"] for request in requests]
        if (log_weights := read_log_weights(given, self.model.config.num_items)) is not None:
            limits["item_log_weights"] = log_weights
        inputs = self.processor(**fields, return_tensors="pt").to(self.device)
        found = self.model.recommend(**inputs, **limits, **options)
        output = {"items": found.items, "scores": found.scores}
        if return_terms:
            if getattr(found, "terms", None) is None:
                raise ValueError(self._no_terms())
            output["terms"] = dict(found.terms)
        return output

    def _steering(self, requests: list[dict[str, Any]]) -> dict[str, list]:
        """Values of `avoid` and `strength` of requests that have them.

        Raises:
            ValueError: If the processor does not read them.
        """
        fields = {}
        for name in STEERING_FIELDS:
            values = [None if _is_absent(request[name]) else request[name] for request in requests]
            if any(value is not None for value in values):
                fields[name] = values
        unread = [name for name in fields if name not in inspect.signature(self.processor.__call__).parameters]
        if unread:
            raise ValueError(
                f"a {self.model.config.model_type} model does not read {' and '.join(unread)}; "
                f"{' and '.join(STEERING_FIELDS[name] for name in unread)}, or use a mender_steer model."
            )
        return fields

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

    def run_single(
        self, inputs: Mapping, preprocess_params: dict, forward_params: dict, postprocess_params: dict
    ) -> list[dict[str, Any]]:
        """Answers one request as a batch of its own."""
        return next(self.get_iterator([inputs], 0, 1, preprocess_params, forward_params, postprocess_params))

    def get_iterator(
        self,
        inputs: Iterable[Mapping],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict,
        forward_params: dict,
        postprocess_params: dict,
    ) -> Iterator[list[dict[str, Any]]]:
        """Answers requests in batches, which the processor pads; the collation of the library requires a tokenizer,
        and some models have none."""
        requests = (self.preprocess(request, **preprocess_params) for request in inputs)
        while batch := list(islice(requests, batch_size)):
            output = self.forward({"requests": batch}, **forward_params)
            for row, (items, scores) in enumerate(zip(output["items"], output["scores"], strict=True)):
                one = {"items": items, "scores": scores}
                if "terms" in output:
                    one["terms"] = {name: values[row] for name, values in output["terms"].items()}
                yield self.postprocess(one, **postprocess_params)


def _is_absent(value: Any) -> bool:
    """Whether a field is `None`, an empty text, or a list without any text, as forms send them."""
    values = [value] if isinstance(value, str) else value
    return values is None or (
        isinstance(values, list | tuple) and all(isinstance(one, str) and not one.strip() for one in values)
    )
