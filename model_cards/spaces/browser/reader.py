"""Reading of requests in the page, by the code that reads them in Python; runs in Pyodide."""

import json
from typing import Any

from reading.preference_texts import TextReader, aligned
from reading.recommendation_request import CallOptions, RecommendationRequest


class PageReader:
    """Reads requests as JSON to what the graphs take, as JSON.

    Args:
        items (`str`): Content of `items.jsonl`.
        vocabulary (`str`): Tokens of the text encoder, as a JSON list.
        max_history_length (`int`): Number of most recent items of a history that are used.
        num_trained_items (`int`, *optional*): Number of items that the model was trained with; defaults to all.
    """

    def __init__(
        self, items: str, vocabulary: str, max_history_length: int, num_trained_items: int | None = None
    ) -> None:
        records = [json.loads(line) for line in items.split("\n") if line]
        self.removed = frozenset(number for number, one in enumerate(records, start=1) if one.get("removed"))
        self.num_items = len(records)
        self.max_history_length = max_history_length
        self.texts = TextReader(records, frozenset(json.loads(vocabulary)), num_trained_items)

    def read(self, call: str) -> str:
        """Reads a call, `{"request": {...}, "options": {"k": 10}}`.

        Returns:
            `str`: `{"error": "..."}`, or `history`, `texts` (wanted before avoided ones, each with `text`, `strength`,
            `words` from 1, `known`, and `corrections`), `k`, `num_beams`, and `weights`: `null`, or a number to add to
            the score of each item, where `null` excludes one.
        """
        try:
            return json.dumps(self._read(json.loads(call)))
        except ValueError as error:
            return json.dumps({"error": str(error)})

    def _read(self, call: dict[str, Any]) -> dict[str, Any]:
        options = CallOptions.read(call.get("options") or {}, self.num_items, removed=self.removed)
        request = RecommendationRequest.read(call["request"], self.num_items, defaults=options.defaults)
        if request.user is not None:
            raise ValueError("a mender_steer model does not read user; leave user out.")
        request.check_enough(options.k, self.num_items, removed=self.removed)
        num_left = self.num_items - len(self.removed)
        if options.num_beams is not None and not options.k <= options.num_beams <= num_left:
            raise ValueError(f"num_beams ({options.num_beams}) must be in {options.k}..{num_left}.")
        read = self.texts.read_request(0, request.preference, request.avoid, request.strength)
        return {
            "history": request.history[-self.max_history_length :],
            "texts": [
                {
                    "text": text.text,
                    "strength": text.strength,
                    "words": [word + 1 for word in text.words],
                    "known": text.known,
                    "corrections": text.corrections,
                }
                for text in aligned([(request.history, read)])[0]
                if text is not None
            ],
            "k": options.k,
            "num_beams": options.num_beams,
            "weights": self._weights(request),
        }

    def _weights(self, request: RecommendationRequest) -> list[float | None] | None:
        """Numbers to add to the scores of all items; `None` for an excluded one."""
        if request.candidates is None and not request.exclude and not request.item_log_weights:
            return None
        given = request.item_log_weights or {}
        weights = given if isinstance(given, dict) else dict(enumerate(given, start=1))
        allowed = set(range(1, 1 + self.num_items) if request.candidates is None else request.candidates)
        allowed -= {*request.exclude, *(item for item, weight in weights.items() if weight == float("-inf"))}
        return [weights.get(item, 0.0) if item in allowed else None for item in range(1, 1 + self.num_items)]
