"""Answers of the service as JSON with a status, errors included."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..bounded_parsing import UnreadableFile, parse_json

RETRY_AFTER_S = 1  # seconds in the header Retry-After of a refusal for want of room


class Answer(NamedTuple):
    """Answer to a call.

    Attributes:
        content: JSON in UTF-8.
        status: Status of HTTP.
        version: Number of the model's exchanges, from 1; 0 where no model answered.
        batch_size: Requests of the largest batch that the call was computed in; 0 where nothing was.
    """

    content: bytes
    status: int = 200
    version: int = 0
    batch_size: int = 0


class ServiceError(Exception):
    """Error with a status of HTTP, whose message is the answer.

    Args:
        status (`int`): Status, from 400.
        message (`str`): What is wrong, and the way out.

    >>> ServiceError(503, "busy").headers, ServiceError(404, "no such page").headers
    ({'Retry-After': '1'}, {})
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the answer."""
        return {"Retry-After": str(RETRY_AFTER_S)} if self.status == 503 else {}

    def answer(self) -> Answer:
        """The error as an answer."""
        return Answer(to_json({"error": self.message}), self.status)


def to_json(value: Any) -> bytes:
    """JSON in UTF-8 without NaN and infinities.

    >>> to_json({"title": "Thé", "score": -1.5})
    b'{"title":"Th\\xc3\\xa9","score":-1.5}'
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def parse_body(content: bytes, max_bytes: int) -> Any:
    """Parses a body of JSON in UTF-8.

    Raises:
        ServiceError: With status 400, if it is none, or is too deep.
    """
    try:
        return parse_json(content.decode("utf-8-sig"), max_bytes)
    except (UnicodeDecodeError, UnreadableFile) as error:
        raise ServiceError(400, f"the body cannot be read ({error}); send JSON in UTF-8.") from None
