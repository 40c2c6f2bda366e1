"""Handler of hosted endpoints for a published recommender.

It is published with every model as `handler.py`, so it only imports public libraries. A request is the JSON

    {"inputs": {"history": [17, 4], "preference": "Look for lavender soap"}, "parameters": {"k": 5}}

or a list of several under `inputs`; each answer is a list of items with `item_id`, `title` and `score`. A
mender_steer model also accepts texts to avoid and a strength per text; with `return_terms`, each item also has
`terms`, the parts that sum to its score:

    {"inputs": {"history": [17], "preference": ["Find tea", "Find a mug"], "avoid": "mint", "strength": [2, 0.5]},
     "parameters": {"k": 5, "return_terms": true}}

Every model accepts `item_log_weights`, numbers added to the scores of single items. Items that must not be
recommended go into `exclude`, since JSON has no infinity:

    {"inputs": {"history": [17, 4], "item_log_weights": {"12": 1.5, "3": -2}, "exclude": [9]}}

A call has limits, such as 1,000 requests; environment variables of the endpoint change them, such as
MENDER_MAX_REQUESTS=5000. An error names the limit and its variable.
"""

from collections.abc import Mapping
from typing import Any

from transformers import pipeline

BATCH_SIZE = 32


class EndpointHandler:
    """Answers requests; a hosted endpoint makes one instance at its start.

    Args:
        path (`str`): Folder of the model, or name on the Hub.
        limits (`Mapping`, *optional*): Limits on requests by name; see the pipeline. Defaults to those of the
            environment.
    """

    def __init__(self, path: str = "", limits: Mapping[str, int | None] | None = None) -> None:
        create: Any = pipeline  # its types list the tasks of transformers only
        self.pipeline = create(
            "preference-recommendation", model=path, trust_remote_code=True, batch_size=BATCH_SIZE, limits=limits
        )

    def __call__(self, data: dict[str, Any]) -> list:
        """Answers one call.

        Args:
            data (`dict`): `inputs`, a request (or a string, which is a preference) or a list of them; optionally
                `parameters`, with `k`, `num_beams`, `candidates`, `exclude`, `item_log_weights`,
                `return_terms`, `batch_size`. The fields of a request are the pipeline's.

        Returns:
            `list`: Items, or one list of items per request.

        Raises:
            ValueError: If the call is invalid; the endpoint returns the message.
        """
        return self.pipeline.answer_call(data)
