"""`pipeline("preference-recommendation")`: a history and a preference in, titles and scores out, for every model here.

Knows how requests look from outside, as dicts of plain values. Leaves their meaning to the processor and the ranking
to the model, so what serves people (endpoints, the demo, the terminal) says nothing twice.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from transformers import Pipeline

from .item_log_weights import read_log_weights

REQUEST_FIELDS = (
    "history", "preference", "avoid", "strength", "user", "candidates", "exclude", "item_log_weights"
)  # fmt: skip

# Fields that not every processor reads, and what to do where it does not.
STEERING_FIELDS = {"avoid": "write what to avoid as a preference", "strength": "leave strength out"}


class PreferenceRecommendationPipeline(Pipeline):
    """Recommends items for requests given as dicts.

    A request has `history` (item ids, oldest first), `preference` (a string, or several), or both; for a model that
    reads them `avoid` (a string, or several: what to move down) and `strength` (a number for all preferences, or one
    per preference; defaults to 1; 0 as if there were none, a negative one avoids); and if needed `user` (for a
    model that looks at who asks), `candidates` (ids of the only items that may come back), `exclude` (ids that may
    not) and `item_log_weights` (what to add to the scores of single items: a mapping of ids to numbers, or a number
    for each item of the catalogue).

    >>> pipe = pipeline("preference-recommendation", model="org/name", trust_remote_code=True)  # doctest: +SKIP
    >>> pipe({"history": [17, 4], "preference": "Look for lavender soap"}, k=2)  # doctest: +SKIP
    [{'item_id': 12, 'title': 'Lavender soap', 'score': -1.7}, {'item_id': 3, 'title': 'Rose soap', 'score': -2.4}]
    """

    _load_processor = True
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False
    _pipeline_calls_generate = False

    def __call__(self, inputs: Mapping | Iterable[Mapping], **kwargs: Any) -> list:
        """Recommends.

        Args:
            inputs (`Mapping` or an iterable of them): One request, or several.
            k (`int`, *optional*, defaults to 10): Items per request.
            num_beams (`int`, *optional*): Beams of a generative model; its own choice where not given.
            candidates, exclude, item_log_weights (*optional*): As in a request, for those that do not say so
                themselves.
            return_terms (`bool`, *optional*, defaults to `False`): Whether each item has what the terms of its score
                add; for a model whose score is a sum of terms.
            batch_size (`int`, *optional*, defaults to 1): Requests that go through the model together.

        Returns:
            `list[dict]`: `item_id`, `title` and `score` (a log-probability, plus the item's log-weight where given)
            of `k` items, best first, and with `return_terms` their `terms`, name to number; for a list of requests one
            such list each, and for any other iterable an iterator over them.

        Raises:
            ValueError: For what the processor or `recommend` refuse, a field that no request has or this model does
                not read, or terms of a model that has none.
        """
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, **kwargs)

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

    def preprocess(self, inputs: Mapping[str, Any], **limits: Any) -> dict[str, Any]:
        """One request with every field; the call's limits where it has none of its own."""
        if not isinstance(inputs, Mapping):
            raise ValueError(f"a request is a dict with {', '.join(REQUEST_FIELDS)}, not {inputs!r}.")
        if unknown := sorted(map(str, inputs.keys() - set(REQUEST_FIELDS))):
            raise ValueError(f"a request has no field {', '.join(unknown)}; there are {', '.join(REQUEST_FIELDS)}.")
        request = dict.fromkeys(REQUEST_FIELDS) | limits
        return request | {name: value for name, value in inputs.items() if value is not None}

    def _forward(self, model_inputs: dict[str, list], return_terms: bool = False, **options: Any) -> dict[str, Any]:
        requests = model_inputs["requests"]
        fields = {"history": [request["history"] or [] for request in requests]}
        for name in ("preference", "user"):
            values = [request[name] for request in requests]
            if any(value is not None for value in values):
                fields[name] = values
        fields |= self._steering(requests)
        if return_terms:
            if "return_terms" not in inspect.signature(self.model.recommend).parameters:
                raise ValueError(self._no_terms())
            options["return_terms"] = True
        limits = {}
        if any(request["candidates"] is not None for request in requests):
            limits["candidates"] = [request["candidates"] for request in requests]
        if any(request["exclude"] for request in requests):  # an empty list excludes nothing
            limits["exclude"] = [request["exclude"] for request in requests]
        log_weights = [request["item_log_weights"] for request in requests]
        if (log_weights := read_log_weights(log_weights, self.model.config.num_items)) is not None:
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
        """`avoid` and `strength` where a request has them.

        Raises:
            ValueError: If the processor does not read them.
        """
        fields = {}
        for name in STEERING_FIELDS:
            values = [None if _says_nothing(request[name]) else request[name] for request in requests]
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
        return (
            f"the score of a {self.model.config.model_type} model is no sum of terms; leave return_terms out, or use "
            "a mender_steer model."
        )

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Items of one request, for people."""
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

    def run_single(self, inputs: Mapping, preprocess_params: dict, forward_params: dict, postprocess_params: dict):
        """One request, as a batch of its own."""
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
        """Batches of requests, whose length may differ: the processor pads, not the library's collation, which wants a
        tokenizer that some models here do not have."""
        requests = (self.preprocess(request, **preprocess_params) for request in inputs)
        while batch := list(islice(requests, batch_size)):
            output = self.forward({"requests": batch}, **forward_params)
            for row, (items, scores) in enumerate(zip(output["items"], output["scores"], strict=True)):
                one = {"items": items, "scores": scores}
                if "terms" in output:
                    one["terms"] = {name: values[row] for name, values in output["terms"].items()}
                yield self.postprocess(one, **postprocess_params)


def _says_nothing(value: Any) -> bool:
    """Whether a field is as good as absent: `None`, or empty texts or none in a list, as forms send them."""
    values = [value] if isinstance(value, str) else value
    return values is None or (
        isinstance(values, list | tuple) and all(isinstance(one, str) and not one.strip() for one in values)
    )
