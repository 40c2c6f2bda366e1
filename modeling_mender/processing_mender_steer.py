"""Processor of Mender_Steer: histories, preferences, avoided texts and strengths to tensors.

Sentences are split into wanted and avoided texts, and misspelled words are corrected to words of the catalogue.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import BatchFeature

from .item_texts import ITEM_TEXT_FIELDS, plain_text
from .item_words import ItemWords
from .preference_parsing import SplitPreference, split_preference
from .processing_mender import (
    MenderEmbProcessor,
    MenderProcessor,
    as_texts,
    is_one_history,
    pad_token_rows,
    refuse_list,
    refuse_unread,
)
from .request_values import as_list, as_rows, as_scalar, read_strength, shown

MAX_CACHED = 100_000  # number of texts whose reading is cached

# Words that negate another one: no-walnut and non-ceramic, leatherless, unscented.
_ABSENCE = re.compile(
    r"(?<![\w'’-])(?:(?:no|non)-(?P<no>[^\W\d_]{3,})|(?P<less>[^\W\d_]{3,})less|un(?P<un>[^\W\d_]{4,}))(?![\w'’-])",
    re.IGNORECASE,
)
_ALL_BUT = re.compile(r"\s*(?:everything|anything|all) (?:but|except)\b", re.IGNORECASE)

Texts = Sequence[str | Sequence[str] | None] | str | None


@dataclass(frozen=True)
class ReadText:
    """A text for the model, wanted or avoided.

    Attributes:
        text (`str`): The text without its frame, with corrected spelling.
        strength (`float`): Above 0 if wanted, below 0 if avoided; 0 if wanted and avoided cancel out.
        words (`tuple[int, ...]`): Ids of the catalogue's words in the text, from 0.
        known (`float`): Share of its words, by weight, that the catalogue has, in [0, 1].
        corrections (`dict[str, str]`): Corrected words, as written word to new word.
    """

    text: str
    strength: float
    words: tuple[int, ...] = ()
    known: float = 0.0
    corrections: dict[str, str] = field(default_factory=dict)


class MenderSteerProcessor(MenderProcessor):
    """Gives item ids, tokenized texts and their strengths; see [`MenderProcessor`] for the arguments.

    Attributes:
        split (`Callable`, *optional*): Splits a preference into wanted and avoided texts, such as a language model;
            defaults to the rules of `preference_parsing`.
    """

    model_types = ("mender_steer",)
    split: Callable[[str], SplitPreference] | None = None

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
            requests.append((items, self._read_texts(row, texts, others, strengths[row])))
        return requests

    def _read_request(self, row: int, items: Any, texts: Any) -> tuple[list[int], list[str]]:
        """Checks one request, which may be empty; empty texts are kept until strengths are assigned."""
        return self._read_history(row, items), as_texts(f"preference {row}", texts)

    def _read_texts(self, row: int, wanted: list[str], avoided: list[str], strength: Any) -> list[ReadText]:
        """Texts of one request without those that are empty or of strength 0, each text once per sign."""
        given = [*((text, 1) for text in wanted), *((text, -1) for text in avoided)]
        strengths = _as_strengths(row, strength, len(wanted), len(avoided))
        return once(
            part
            for (text, sign), factor in zip(given, strengths, strict=True)
            if text.strip() and factor != 0
            for part in self.read_preference(text, sign * factor, is_avoided=sign < 0)
        )

    def read_preference(self, text: str, strength: float = 1.0, is_avoided: bool = False) -> list[ReadText]:
        """Splits a sentence into wanted and avoided texts.

        The title of an item is one wanted text. In the field `avoid`, all of a sentence is avoided.

        Args:
            text (`str`): A sentence.
            strength (`float`, defaults to 1): Strength of the texts; below 0, wanted and avoided are exchanged.
            is_avoided (`bool`, defaults to `False`): Whether the sentence is from the field `avoid`; `strength` is
                below 0 then.
        """
        key = (text, is_avoided, self.split)
        cache = self.__dict__.setdefault("_read", {})
        if key not in cache:
            if len(cache) > MAX_CACHED:
                cache.clear()
            spelled = _ABSENCE.sub(self._spell_out, text)
            corrected, corrections = self.words.correct_text(spelled, self._is_word)
            if " ".join(text.split()).casefold() in self._titles:
                parts = [(text, 1)]
            else:
                parts = self._split(corrected, is_avoided)
            cache[key] = [self._read_part(part, direction, corrections) for part, direction in parts if part.strip()]
        return [replace(part, strength=part.strength * float(strength)) for part in cache[key]]

    def _spell_out(self, match: re.Match[str]) -> str:
        """Replaces "no-walnut" and "walnutless" by "walnut-free" if the catalogue has "walnut" and not that word."""
        whole, negated = match[0], match["no"] or match["less"] or match["un"]
        known = not self.words.knows(whole.casefold()) and self.words.match(negated).known
        return f"{negated}-free" if known else whole

    def _split(self, text: str, is_avoided: bool) -> list[tuple[str, int]]:
        """Parts of a sentence, each with 1 if wanted and -1 if avoided; in the field `avoid`, 1 stands for avoided."""
        split = self.split or (lambda sentence: split_preference(sentence, self.words.knows))
        found = split(f"Avoid {text}" if is_avoided and _ALL_BUT.match(text) else text)
        if is_avoided and found.wanted and not found.avoided:
            if _ALL_BUT.match(text):  # avoiding "everything but tea" wants tea
                return [(part, -1) for part in found.wanted]
            found = split(f"Avoid {text}")  # a bare list: "lavender, rose and citrus"
        parts = [(part, 1) for part in found.wanted]
        return parts + [(part, 1 if is_avoided else -1) for part in found.avoided]

    def _read_part(self, text: str, direction: int, corrections: dict[str, str]) -> ReadText:
        """Reads a part of a sentence with the catalogue's words in it."""
        match = self.words.match(text)
        corrections = {word: better for word, better in corrections.items() if better in text}
        weight = sum(weight for _, weight in match.known)
        unknown = len(match.unknown) * max(self.words.idf, default=1.0)
        known = weight / (weight + unknown) if weight else 0.0
        return ReadText(text, float(direction), tuple(word for word, _ in match.known), known, corrections)

    @property
    def _titles(self) -> frozenset[str]:
        """Case-folded titles of all items."""
        if self.__dict__.get("_known_titles") is None:
            titles = (" ".join(item["title"].split()).casefold() for item in self.items)
            self.__dict__["_known_titles"] = frozenset(titles)
        return self.__dict__["_known_titles"]

    def new_item(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Title and text of an item to add; see [`MenderProcessor.new_item`]."""
        further = [name for name in self.item_fields if name not in ITEM_TEXT_FIELDS]
        return {"title": self._new_title(item), "text": item.get("text") or plain_text(item, further)}

    @property
    def words(self) -> ItemWords:
        """Words of the catalogue's texts, computed on first use."""
        if self.__dict__.get("_words") is None:
            texts = [item["text"] for item in self.items]
            self.__dict__["_words"] = ItemWords(texts, self.num_trained_items)
        return self.__dict__["_words"]

    def _is_word(self, word: str) -> bool:
        """Whether the tokenizer has a word as one token, and it is thus not misspelled."""
        cache = self.__dict__.setdefault("_vocabulary", None) or self.tokenizer.get_vocab()
        self.__dict__["_vocabulary"] = cache
        # sentencepiece and byte-level vocabularies mark the beginning of a word
        return any(mark + word.casefold() in cache for mark in ("", "▁", "Ġ"))

    def to_dict(self) -> dict[str, Any]:
        """The configuration without caches."""
        fields = super().to_dict()
        for name in ("_vocabulary", "split"):
            fields.pop(name, None)
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


def once(parts: Iterable[ReadText]) -> list[ReadText]:
    """Keeps each wanted and each avoided text once, with its largest strength.

    For a text that is both wanted and avoided, the stronger side keeps the difference and the other side strength 0.

    >>> given = [ReadText("a", 1.0), ReadText("a", 2.0), ReadText("b", 1.0), ReadText("B", -1.0), ReadText("a", -3.0)]
    >>> [(part.text, part.strength) for part in once(given)]
    [('a', 0.0), ('b', 0.0), ('B', 0.0), ('a', -1.0)]
    """
    read: dict[tuple[str, bool], ReadText] = {}
    for part in parts:
        side = (part.text.casefold(), part.strength > 0)
        if side not in read or abs(part.strength) > abs(read[side].strength):
            read[side] = part
    sides = {side: part.strength for side, part in read.items()}
    for (text, is_wanted), part in read.items():
        net = part.strength + sides.get((text, not is_wanted), 0.0)
        read[text, is_wanted] = replace(part, strength=max(net, 0.0) if is_wanted else min(net, 0.0))
    return list(read.values())


def aligned(requests: Sequence[tuple[Sequence[int], Sequence[ReadText]]]) -> list[list[ReadText | None]]:
    """Arranges texts of requests in columns, wanted before avoided ones, with `None` as padding.

    >>> rows = [([], [ReadText("a", -1.0)]), ([], [ReadText("b", 1.0), ReadText("c", -1.0)])]
    >>> [[text and text.text for text in row] for row in aligned(rows)]
    [[None, 'a'], ['b', 'c']]
    """
    parts = [
        ([text for text in texts if text.strength > 0], [text for text in texts if text.strength < 0])
        for _, texts in requests
    ]  # texts of strength 0 have canceled out
    widths = [max((len(part[side]) for part in parts), default=0) for side in (0, 1)]
    return [
        [text for side in (0, 1) for text in (*part[side], *[None] * (widths[side] - len(part[side])))]
        for part in parts
    ]


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


def _as_strengths(row: int, strength: Any, num_wanted: int, num_avoided: int) -> list[float]:
    """Returns a strength for each text of a request; see [`read_strength`] for errors."""
    given = read_strength(f"the strength of request {row}", strength, num_wanted, num_avoided)
    if isinstance(given, tuple):
        return [*given, *[1.0] * (num_wanted + num_avoided - len(given))]
    return [1.0 if given is None else given] * (num_wanted + num_avoided)
