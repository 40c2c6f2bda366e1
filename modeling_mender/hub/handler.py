"""Serves a published recommender: hosted endpoints look for this file and for `EndpointHandler` in it.

Travels with every model as `handler.py`, so it knows the public libraries alone. A request is the JSON

    {"inputs": {"history": [17, 4], "preference": "Look for lavender soap"}, "parameters": {"k": 5}}

or a list of several under `inputs`; the answer is one list of `item_id`, `title` and `score` each.
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
                optionally `parameters`, with `k`, `num_beams`, `candidates`, `exclude`.

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
