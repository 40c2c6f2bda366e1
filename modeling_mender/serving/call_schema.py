"""JSON Schema of a call, for the OpenAPI page and for agents; what a call may be is decided by the request model."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..recommendation_request import DEFAULT_K
from ..request_values import MAX_STRENGTH

_ITEMS = {"type": "array", "items": {"type": "integer", "minimum": 1}}
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_STRENGTH = {"type": "number", "minimum": -MAX_STRENGTH, "maximum": MAX_STRENGTH}
_LOG_WEIGHTS = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": "number"}},
        {"type": "array", "items": {"type": "number"}},
    ],
    "description": "Numbers added to the scores: an object of item ids, or a number per item of the catalog.",
}
_CANDIDATES = {**_ITEMS, "description": "Ids of the only items to rank; all by default."}
_EXCLUDE = {**_ITEMS, "description": "Ids of items not to recommend."}

REQUEST_PROPERTIES: Mapping[str, dict[str, Any]] = {
    "history": {**_ITEMS, "description": "Ids of the user's items, oldest first."},
    "preference": {**_TEXTS, "description": "What is wanted, in words, as in 'Look for walnut lamps'."},
    "avoid": {**_TEXTS, "description": "What to move down, in words (mender_steer models only)."},
    "strength": {
        "anyOf": [_STRENGTH, {"type": "array", "items": _STRENGTH}],
        "description": "Weight of the texts, 1 by default: one number, or one per text (mender_steer models only).",
    },
    "user": {"type": "string", "description": "Id of the user, for models that read one."},
    "candidates": _CANDIDATES,
    "exclude": _EXCLUDE,
    "item_log_weights": _LOG_WEIGHTS,
}
OPTION_PROPERTIES: Mapping[str, dict[str, Any]] = {
    "k": {"type": "integer", "minimum": 1, "default": DEFAULT_K, "description": "Items per request."},
    "num_beams": {"type": "integer", "minimum": 1, "description": "Beams of a generative model."},
    "candidates": _CANDIDATES,
    "exclude": _EXCLUDE,
    "item_log_weights": _LOG_WEIGHTS,
    "return_terms": {"type": "boolean", "description": "Whether to explain each score (mender_steer models only)."},
    "batch_size": {"type": "integer", "minimum": 1, "description": "Read for hosted endpoints; the service batches."},
}

EXAMPLE = {"inputs": {"history": [1, 2], "preference": "Find a gift"}, "parameters": {"k": 3}}


def object_schema(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Schema of an object without other properties."""
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


REQUEST = object_schema(REQUEST_PROPERTIES)
ONE_OR_SEVERAL = {
    "anyOf": [REQUEST, {"type": "string"}, {"type": "array", "items": {"anyOf": [REQUEST, {"type": "string"}]}}]
}
CALL = object_schema({"inputs": ONE_OR_SEVERAL, "parameters": object_schema(OPTION_PROPERTIES)}, ["inputs"])

ITEM = {
    "type": "object",
    "properties": {
        "item_id": {"type": "integer"},
        "title": {"type": "string"},
        "score": {"type": "number", "description": "Log-probability, plus the item's log-weight where given."},
        "terms": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "required": ["item_id", "title"],
}
ITEMS = {"type": "array", "items": ITEM}
ANSWER = {"anyOf": [ITEMS, {"type": "array", "items": ITEMS}]}
FOUND = object_schema({"search": {"type": "string"}, "total": {"type": "integer"}, "items": ITEMS})
ERROR = object_schema({"error": {"type": "string"}}, ["error"])
