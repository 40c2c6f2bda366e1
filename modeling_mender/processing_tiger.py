"""Processor of TIGER and its relatives: a request as one sequence of user, text and code tokens.

The input vocabulary has the tokens of the decoder, then one token per bucket of users, then the tokenizer's words.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedTokenizerBase

from .configuration_semantic_ids import PAD_TOKEN_ID, vocabulary_size
from .processing_mender import MenderTokProcessor, as_texts, check_size, pad_token_rows, refuse_unread
from .request_values import RequestError, as_list, shown
from .semantic_ids import SemanticIds, codes_to_tokens

MAX_CACHED_TEXTS = 100_000  # bounds the memory of a server; the texts of a benchmark fit


class TigerProcessor(MenderTokProcessor):
    """Writes a request as `[user] Instructions: {preference}. Items: {item} {item} ...`, oldest item first.

    An item is its codes or its text. A request that is too long loses whole items, the oldest first, never the
    preference.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Tokenizer of the text encoder; one without words for a model without
            texts ([`empty_tokenizer`](modeling_mender.methods.tiger)).
        num_levels (`int`, defaults to 4): Codes per item.
        codebook_size (`int`, defaults to 256): Codes per level.
        history_format (`str`, defaults to `"semantic_ids"`): `"semantic_ids"` or `"text"`.
        reads_preferences (`bool`, defaults to `False`): Whether the model was trained with preferences.
        num_user_tokens (`int`, defaults to 0): Number of buckets that users are hashed into; 0 for a model that is not
            conditioned on the user id.
        max_history_length (`int`, defaults to 20): Number of most recent items of a history that are used.
        max_length (`int`, defaults to 512): Largest number of tokens of a request, without that of the user.
        items (`Sequence[Mapping]`, *optional*): One record per item in the order of their ids 1..N, each with `title`
            (for display), `text`, and `codes`, its semantic ID. Saved in `items.jsonl` beside the configuration.
        num_trained_items (`int`, *optional*): See [`MenderProcessor`].
    """

    model_types = ("tiger",)

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num_levels: int = 4,
        codebook_size: int = 256,
        history_format: str = "semantic_ids",
        reads_preferences: bool = False,
        num_user_tokens: int = 0,
        max_history_length: int = 20,
        max_length: int = 512,
        items: Sequence[Mapping[str, Any]] | None = None,
        num_trained_items: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            tokenizer,
            max_history_length=max_history_length,
            max_length=max_length,
            items=items,
            num_trained_items=num_trained_items,
        )
        if history_format not in ("semantic_ids", "text"):
            raise ValueError(f"history_format ({shown(history_format)}) must be semantic_ids or text.")
        if not isinstance(reads_preferences, bool):
            raise ValueError(f"reads_preferences ({shown(reads_preferences)}) must be true or false.")
        self.num_levels = check_size("num_levels", num_levels)
        self.codebook_size = check_size("codebook_size", codebook_size)
        self.history_format = history_format
        self.reads_preferences = reads_preferences
        self.num_user_tokens = check_size("num_user_tokens", num_user_tokens, least=0)

    def __call__(
        self,
        history: Sequence[Sequence[int]] | Sequence[int] | None = None,
        preference: Sequence[str | Sequence[str] | None] | str | None = None,
        user: Sequence[str | None] | str | None = None,
        *,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Writes requests as tokens, padded to the longest.

        Args:
            history: One list of item ids per request, oldest first, or a single one.
            preference: One preference per request (a string, a list of strings, or `None`), or a single one; only for
                a model that reads preferences.
            user: One user id per request, or `None` for an unknown user; only for a model that is conditioned on the
                user id.
            return_tensors (`str`, defaults to `"pt"`): The only supported form.

        Returns:
            `BatchFeature`: `input_ids` and `attention_mask`, both `(batch_size, sequence_length)`.

        Raises:
            ValueError: For an unknown item, an empty request, a preference or a user that this model does not read, or
                a preference that alone exceeds `max_length`.
        """
        refuse_unread(kwargs, "history, preference and user")
        requests = self._read_requests(history, preference)
        for row, (_, texts) in enumerate(requests):
            if texts and not self.reads_preferences:
                raise RequestError(
                    row,
                    f"has the preference {shown(texts[0])}, and this model was trained without preferences and would "
                    "not read it; leave preference out, or load a model that reads preferences.",
                )
        users = self._read_users(user, len(requests))
        rows = self._token_rows((*request, one) for request, one in zip(requests, users, strict=True))
        return BatchFeature(pad_token_rows(rows, PAD_TOKEN_ID))

    def token_ids(self, items: Sequence[int], preferences: Sequence[str], user: str = "") -> list[int]:
        """Token ids of one checked request."""
        tokens = super().token_ids(items, preferences)
        return [self.user_token(user), *tokens] if user and self.num_user_tokens else tokens

    def user_token(self, user: str) -> int:
        """Token id of a user's bucket, the same in every process."""
        bucket = zlib.crc32(user.encode()) % self.num_user_tokens
        return vocabulary_size(self.num_levels, self.codebook_size) + bucket

    @property
    def item_codes(self) -> np.ndarray | None:
        """Semantic IDs of all items, shape `(num_items, num_levels)`; `None` where histories are texts and no item has
        one."""
        if "_item_codes" not in self.__dict__:
            codes = None
            if self.history_format == "semantic_ids" or any("codes" in item for item in self.items):
                every = (code for item in range(1, 1 + self.num_items) for code in self._codes(item))
                codes = np.fromiter(every, np.int32).reshape(-1, self.num_levels)
            self.__dict__["_item_codes"] = codes
        return self.__dict__["_item_codes"]

    def _codes(self, item: int) -> list[int]:
        """Semantic ID of an item, unless its codes are none."""
        codes = self.items[item - 1].get("codes")
        if (
            not isinstance(codes, list)
            or [type(code) for code in codes] != [int] * self.num_levels
            or not 0 <= min(codes) <= max(codes) < self.codebook_size
        ):
            raise ValueError(
                f"{self.items.name(item)} gives codes as {shown(codes)}, and they must be {self.num_levels} whole "
                f"numbers in 0..{self.codebook_size - 1}, the item's semantic ID; fetch or copy the model again."
            )
        return codes

    def _check_items(self) -> None:
        if self.history_format == "text":
            super()._check_items()
        if (codes := self.item_codes) is None:
            return
        used = np.delete(codes, np.array(self.removed_items, np.int64) - 1, axis=0)
        try:
            SemanticIds(torch.from_numpy(used), self.codebook_size)
        except ValueError as error:
            raise ValueError(
                f"{self.items.path} holds codes that are no semantic IDs: {error} Fetch or copy it again."
            ) from None

    def _read_users(self, user: Any, num_requests: int) -> list[str]:
        """Reads one user id per request, empty for an unknown user."""
        users = [None] * num_requests if user is None else [user] if isinstance(user, str) else as_list(user)
        if users is None:
            raise ValueError(f"user is {shown(user)}; give the benchmark's user_id, or one for each request.")
        if len(users) != num_requests:
            raise ValueError(f"{num_requests} requests and {len(users)} users; give one user per request.")
        for row, one in enumerate(users):
            if one is not None and not isinstance(one, str):
                raise ValueError(f"user {row} is {shown(one)}, which is no string; give the benchmark's user_id.")
            as_texts(f"user {row}", one)
            if one and not self.num_user_tokens:
                raise RequestError(row, "has a user, and this model is not conditioned on the user id; leave it out.")
        return [one or "" for one in users]

    def _text_ids(self, text: str) -> list[int]:
        """Token ids of a text in the input vocabulary, cached."""
        cache = self.__dict__.setdefault("_token_cache", {})
        if text not in cache:
            if len(cache) >= MAX_CACHED_TEXTS:
                cache.clear()
            cache[text] = self._shift(super()._text_ids(text))
        return cache[text]

    def _item_ids(self, item: int) -> list[int]:
        """Token ids of an item, its codes or its text, cached."""
        if self.history_format == "text":
            return super()._item_ids(item)
        cache = self.__dict__.setdefault("_token_cache", {})
        if item not in cache:
            cache[item] = codes_to_tokens(torch.tensor(self._codes(item)), self.codebook_size).tolist()
        return cache[item]

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Token ids before and after a text in the input vocabulary, cached."""
        cache = self.__dict__.setdefault("_token_cache", {})
        if None not in cache:  # a key of neither an item nor a text
            cache[None] = tuple(self._shift(words) for words in super()._special_tokens())
        return cache[None]

    def _shift(self, words: Sequence[int]) -> list[int]:
        """Maps token ids of the tokenizer to those of the input vocabulary."""
        first = vocabulary_size(self.num_levels, self.codebook_size) + self.num_user_tokens
        return [first + word for word in words]
