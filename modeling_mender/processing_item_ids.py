"""Processor of the recommenders over item ids, which read a history and no preference."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchFeature, ProcessorMixin

from .processing_mender import MenderEmbProcessor, MenderProcessor, as_texts, check_size, refuse_unread
from .request_values import RequestError, shown


class ItemIdProcessor(MenderProcessor):
    """Pads histories of item ids, without a tokenizer; a preference is an error.

    Args:
        max_history_length (`int`, defaults to 20): Number of most recent items of a history that are used.
        answers_empty_requests (`bool`, defaults to `False`): Whether the model accepts an empty history.
        items (`Sequence[Mapping]`, *optional*): One record per item in the order of their ids 1..N, each with a
            `title`. Kept in `items.jsonl` beside the configuration.
    """

    model_types = ("sasrec", "most_popular", "transition_graph")

    def __init__(
        self,
        max_history_length: int = 20,
        answers_empty_requests: bool = False,
        items: Sequence[Mapping[str, str]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.max_history_length = check_size("max_history_length", max_history_length)
        if not isinstance(answers_empty_requests, bool):
            raise ValueError(f"answers_empty_requests ({shown(answers_empty_requests)}) must be true or false.")
        self.answers_empty_requests = answers_empty_requests
        self.items = items or ()
        ProcessorMixin.__init__(self)  # that of MenderProcessor requires a tokenizer

    def __call__(
        self,
        history: Sequence[Sequence[int]] | Sequence[int] | None = None,
        preference: None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Pads histories on the left.

        Args:
            history: One list of item ids per request, oldest first, or a single one.
            preference (*optional*): Only `None`, of all requests or of each.
            return_tensors (`str`, defaults to `"pt"`): The only supported form.

        Returns:
            `BatchFeature`: `history` and `attention_mask`, both `(batch_size, history_length)`.

        Raises:
            ValueError: For an unknown item, a preference, or an empty history that the model does not accept.
        """
        refuse_unread(kwargs, "history")
        return BatchFeature(MenderEmbProcessor.pad_requests(self._read_requests(history, preference)))

    def _read_request(self, row: int, items: Any, texts: Any) -> tuple[list[int], list[str]]:
        """Checks one request: no preference, and a history unless the model accepts none."""
        if any(text.strip() for text in as_texts(f"preference {row}", texts)):
            raise RequestError(
                row,
                f"has the preference {shown(texts)}, and this model reads no preference, only item ids; leave it out, "
                "or use a model that reads one.",
            )
        read = self._read_history(row, items)
        if not read and not self.answers_empty_requests:
            raise RequestError(row, "has an empty history; give at least one item id.")
        return read, []
