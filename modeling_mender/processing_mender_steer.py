"""Processor of Mender_Steer: histories, preferences, avoided texts and strengths to tensors.

Sentences are split into wanted and avoided texts, and misspelled words are corrected to words of the catalog.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import BatchFeature

from .item_texts import ITEM_TEXT_FIELDS, plain_text
from .item_words import ItemWords
from .preference_texts import ReadText, Split, TextReader, aligned
from .processing_mender import (
    MenderEmbProcessor,
    MenderProcessor,
    as_texts,
    is_one_history,
    pad_token_rows,
    refuse_list,
    refuse_unread,
)
from .request_values import as_list, as_rows, as_scalar, shown

Texts = Sequence[str | Sequence[str] | None] | str | None


class MenderSteerProcessor(MenderProcessor):
    """Gives item ids, tokenized texts and their strengths; see [`MenderProcessor`] for the arguments.

    Attributes:
        split (`Callable`, *optional*): Splits a preference into wanted and avoided texts, such as a language model;
            defaults to the rules of `preference_parsing`.
    """

    model_types = ("mender_steer",)
    split: Split | None = None

    def __call__(
        self,
        history: Sequence[Sequence[int]] | Sequence[int] | None = None,
        preference: Texts = None,
        avoid: Texts = None,
        strength: Sequence[Any] | float | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Reads requests into tensors.

        Args:
            history: One list of item ids per request, oldest first, or a single one.
            preference: One preference per request (a string, several, or `None`), or a single one. "Avoid X" and "X
                but not Y" are split into wanted and avoided texts.
            avoid: Texts to avoid, in the same forms.
            strength: One number per request for all its texts, or one per preference (followed by one per avoided
                text); defaults to 1. 0 ignores a text, below 0 exchanges wanted and avoided.
            return_tensors (`str`, defaults to `"pt"`): The only supported form.

        Returns:
            `BatchFeature`: `history` and `attention_mask (batch_size, history_length)`; if there are texts,
            `preference_input_ids`, `preference_attention_mask (batch_size, num_texts, sequence_length)`,
            `preference_strengths`, `preference_known (batch_size, num_texts)` and `preference_words (batch_size,
            num_texts, num_words)`. Wanted texts precede avoided ones.

        Raises:
            ValueError: For an unknown item, a text that is not a string, a strength that is not finite, or a number of
                strengths that does not match the texts.
        """
        refuse_unread(kwargs, "history, preference, avoid and strength")
        requests = self.read(history, preference, avoid, strength)
        columns = aligned(requests)
        features = self.pad(requests, columns)
        texts = [text for row in columns for text in row]
        if texts:
            encoded = iter(
                self.tokenizer(
                    [text.text for text in texts if text is not None], truncation=True, max_length=self.max_length
                )["input_ids"]
            )
            rows = [[] if text is None else next(encoded) for text in texts]
            padded = pad_token_rows(rows, self.tokenizer.pad_token_id)
            shape = (len(requests), len(texts) // len(requests), -1)
            features["preference_input_ids"] = padded["input_ids"].view(shape)
            features["preference_attention_mask"] = padded["attention_mask"].view(shape)
        return BatchFeature(features)

    def read(
        self, history: Any = None, preference: Texts = None, avoid: Texts = None, strength: Any = None
    ) -> list[tuple[list[int], list[ReadText]]]:
        """Reads every accepted form of a batch as items and texts of each request, with corrections of spelling.

        See [`__call__`] for arguments and errors.
        """
        if history is None and preference is None and avoid is None:
            raise ValueError("history, preference and avoid are all missing; give at least one of them.")
        if history is None and preference is None:
            rows = as_list(avoid)
            history = [[]] if rows is None else [[] for _ in rows]
        pairs = self._read_requests(history, preference)
        is_one = isinstance(preference, str) if history is None else is_one_history(history)
        avoided = _per_request("avoid", avoid, len(pairs), is_one, str)
        strengths = _per_request("strength", strength, len(pairs), is_one, int | float)
        requests = []
        for row, (items, texts) in enumerate(pairs):
            others = as_texts(f"avoid {row}", avoided[row])
            requests.append((items, self.reader.read_request(row, texts, others, strengths[row], self.split)))
        return requests

    def _read_request(self, row: int, items: Any, texts: Any) -> tuple[list[int], list[str]]:
        """Checks one request, which may be empty; empty texts are kept until strengths are assigned."""
        return self._read_history(row, items), as_texts(f"preference {row}", texts)

    def read_preference(self, text: str, strength: float = 1.0, is_avoided: bool = False) -> list[ReadText]:
        """Splits a sentence into wanted and avoided texts; see [`TextReader.read`]."""
        return self.reader.read(text, strength, is_avoided, self.split)

    @property
    def reader(self) -> TextReader:
        """Reader of texts with the catalog's words, made on first use."""
        if self.__dict__.get("_reader") is None:
            self.__dict__["_reader"] = TextReader(self.items, self.tokenizer.get_vocab(), self.num_trained_items)
        return self.__dict__["_reader"]

    def new_item(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Title and text of an item to add; see [`MenderProcessor.new_item`]."""
        further = [name for name in self.item_fields if name not in ITEM_TEXT_FIELDS]
        return {"title": self._new_title(item), "text": item.get("text") or plain_text(item, further)}

    @property
    def words(self) -> ItemWords:
        """Words of the catalog's texts."""
        return self.reader.words

    def to_dict(self) -> dict[str, Any]:
        """The configuration without caches."""
        fields = super().to_dict()
        fields.pop("split", None)
        return fields

    @staticmethod
    def pad(
        requests: Sequence[tuple[Sequence[int], Sequence[ReadText]]], texts: Sequence[Sequence[ReadText | None]]
    ) -> dict[str, torch.Tensor]:
        """Pads read requests and their texts in columns ([`aligned`]) to tensors, without tokens; see [`__call__`]."""
        features = MenderEmbProcessor.pad_requests([(items, ()) for items, _ in requests])
        if texts and texts[0]:
            width = max(1, *(len(text.words) for row in texts for text in row if text is not None))
            strengths, known = torch.zeros(len(texts), len(texts[0])), torch.zeros(len(texts), len(texts[0]))
            words = torch.zeros(len(texts), len(texts[0]), width, dtype=torch.long)
            for row, line in enumerate(texts):
                for column, text in enumerate(line):
                    if text is not None:
                        strengths[row, column], known[row, column] = text.strength, text.known
                        words[row, column, : len(text.words)] = torch.tensor(text.words, dtype=torch.long) + 1
            features |= {"preference_strengths": strengths, "preference_known": known, "preference_words": words}
        return features


def _per_request(name: str, values: Any, size: int, is_one: bool, kind: Any) -> list[Any]:
    """Returns one entry per request: a single value stands for all requests, a flat list for a single one.

    Args:
        name, values: The field.
        size (`int`): Number of requests.
        is_one (`bool`): Whether history and preference are those of one request, without a list around them.
        kind: Type of a single value.
    """
    values = as_scalar(values)
    if values is None or isinstance(values, kind):
        return [values] * size
    rows = as_rows(values)
    if rows is None:
        what = "a number" if name == "strength" else "words"
        raise ValueError(f"{name} is {shown(values)}; give {what} for each request, or for all of them.")
    if is_one:
        refuse_list(name, rows)
    is_flat = not any(isinstance(value, list | tuple) for value in rows)
    if size == 1 and is_flat and len(rows) != 1:
        return [list(rows)]
    if len(rows) != size:
        raise ValueError(f"{name} has {len(rows)} entries and there are {size} requests; give one per request.")
    return list(rows)
