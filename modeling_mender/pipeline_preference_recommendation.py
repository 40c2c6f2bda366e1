"""`pipeline("preference-recommendation")`: a history and a wish in, titles and scores out, for every model here.

Knows how requests look from outside, as dicts of plain values. Leaves their meaning to the processor and the ranking
to the model, so what serves people (endpoints, the demo, the terminal) says nothing twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from transformers import Pipeline

REQUEST_FIELDS = ("history", "preference", "user", "candidates", "exclude")


class PreferenceRecommendationPipeline(Pipeline):
    """Recommends items for requests given as dicts.

    A request has `history` (item ids, oldest first), `preference` (a string, or several), or both; and if needed
    `user` (for a model that looks at who asks), `candidates` (ids of the only items that may come back) and `exclude`
    (ids that may not).

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
            candidates, exclude (*optional*): As in a request, for those that do not say so themselves.
            batch_size (`int`, *optional*, defaults to 1): Requests that go through the model together.

        Returns:
            `list[dict]`: `item_id`, `title` and `score` (a log-probability) of `k` items, best first; for a list of
            requests one such list each, and for any other iterable an iterator over them.

        Raises:
            ValueError: For what the processor or `recommend` refuse, or a field that no request has.
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
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise ValueError(
                f"{', '.join(sorted(unknown))}: no such option; there are k, num_beams, candidates, exclude and "
                "batch_size."
            )
        limits = {"candidates": candidates, "exclude": exclude}
        options = {"k": k, "num_beams": num_beams}
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

    def _forward(self, model_inputs: dict[str, list], **options: Any) -> dict[str, Any]:
        requests = model_inputs["requests"]
        fields = {"history": [request["history"] or [] for request in requests]}
        for name in ("preference", "user"):
            values = [request[name] for request in requests]
            if any(value is not None for value in values):
                fields[name] = values
        limits = {}
        if any(request["candidates"] is not None for request in requests):
            everything = range(1, self.model.config.num_items + 1)
            limits["candidates"] = [
                everything if request["candidates"] is None else request["candidates"] for request in requests
            ]
        if any(request["exclude"] for request in requests):
            limits["exclude"] = [request["exclude"] or [] for request in requests]
        inputs = self.processor(**fields, return_tensors="pt").to(self.device)
        found = self.model.recommend(**inputs, **limits, **options)
        return {"items": found.items, "scores": found.scores}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Items of one request, for people."""
        items = model_outputs["items"].tolist()
        return [
            {"item_id": item, "title": title, "score": score}
            for item, title, score in zip(
                items, self.processor.titles(items), model_outputs["scores"].tolist(), strict=True
            )
        ]

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
            for items, scores in zip(output["items"], output["scores"], strict=True):
                yield self.postprocess({"items": items, "scores": scores}, **postprocess_params)
