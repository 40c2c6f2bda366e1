"""Serves a published recommender: hosted endpoints look for this file and for `EndpointHandler` in it.

Travels with every model as `handler.py`, so it knows the public libraries alone. A request is the JSON

    {"inputs": {"history": [17, 4], "preference": "Look for lavender soap"}, "parameters": {"k": 5}}

or a list of several under `inputs`; the answer is one list of `item_id`, `title` and `score` each. A mender_steer
model also reads what to avoid and how strongly each preference counts, and with `return_terms` each item has in
`terms` what each part of its score adds:

    {"inputs": {"history": [17], "preference": ["Find tea", "Find a mug"], "avoid": "mint", "strength": [2, 0.5]},
     "parameters": {"k": 5, "return_terms": true}}

Any model takes `item_log_weights`, numbers to add to the scores of single items; an item that may not come back
belongs in `exclude`, for JSON has no infinity:

    {"inputs": {"history": [17, 4], "item_log_weights": {"12": 1.5, "3": -2}, "exclude": [9]}}
"""

from typing import Any

from transformers import pipeline

BATCH_SIZE = 32


class EndpointHandler:
    """What a hosted endpoint makes one of at its start.

    Args:
        path (`str`): Folder of the model, or its name on the Hub.
    """

    def __init__(self, path: str = "") -> None:
        self.pipeline = pipeline("preference-recommendation", model=path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list:
        """Answers one call.

        Args:
            data (`dict`): `inputs`, a request (or a string, which is a preference alone) or a list of them; and
                optionally `parameters`, with `k`, `num_beams`, `candidates`, `exclude`, `item_log_weights`,
                `return_terms`. The fields of a request are the pipeline's.

        Returns:
            `list`: Items of the request, or one such list per request.

        Raises:
            ValueError: If a request cannot be answered; the endpoint passes the text on.
        """
        if "inputs" not in data:
            raise ValueError("the call has no inputs; give a request, as in {'inputs': {'preference': 'Find tea'}}.")
        requests = data["inputs"]
        parameters = data.get("parameters") or {}
        if isinstance(requests, list):
            return self.pipeline([_request(one) for one in requests], **{"batch_size": BATCH_SIZE} | parameters)
        return self.pipeline(_request(requests), **parameters)


def _request(given: Any) -> Any:
    """A bare string, as text boxes send it, is a preference."""
    return {"preference": given} if isinstance(given, str) else given
