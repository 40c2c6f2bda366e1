"""Processors of the two Mender variants: histories of item ids and preferences in words to tensors."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from .atomic_write import atomic_write
from .catalog_recipe import CatalogRecipe
from .configuration_checks import check_counts, count_positions
from .item_texts import ITEM_TEXT_FIELDS, known_brand, labeled_text, plain_text
from .items_file import Items
from .manifest import ITEMS_FILE, ModelFiles, forget_manifest
from .recommendation import SAME_CATALOG
from .request_values import RequestError, as_list, as_rows, read_items, shown

# Files that a model is loaded from, and not its processor.
NOT_READ = (".safetensors", ".index.json", ".bin", ".py", "generation_config.json")
# Settings of a processor that its model has too.
SHARED_SETTINGS = (
    "max_history_length", "num_levels", "codebook_size", "history_format", "num_user_tokens", "num_trained_items",
)  # fmt: skip
# Attributes that are computed from the items.
CACHES = ("_reader", "_token_cache", "_item_codes")

Processor = TypeVar("Processor", bound="MenderProcessor")


def check_size(name: str, value: Any, least: int = 1) -> int:
    """A size of a processor, unless it is no integer of at least `least`.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} ({value!r:.80}) must be an integer of at least {least}.")
    return value


def count_words(tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of rows that the embeddings of a tokenizer's words need: one more than its largest token id."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


class MenderProcessor(ProcessorMixin):
    """Base of the processors: the items of the catalog, and the checks of a request.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Tokenizer of the text encoder.
        max_history_length (`int`, defaults to 20): Number of most recent items of a history that are used.
        max_length (`int`, defaults to 512): Largest number of tokens of a text: the whole request for Mender_Tok, one
            preference for Mender_Emb.
        items (`Sequence[Mapping]`, *optional*): One record per item in the order of their ids 1..N, each with `title`
            (for display; "item 17" where it is missing) and `text` (read by Mender_Tok). Saved in `items.jsonl` beside
            the configuration.
        num_trained_items (`int`, *optional*): Number of items that the model was trained with, the first ones; `None`
            for all.

    Attributes:
        model_types (`tuple[str, ...]`): Model types that it prepares requests for; empty for any.
        recipe ([`CatalogRecipe`], *optional*): How a new item gets its texts and codes; saved in `catalog.json`.
    """

    model_types: tuple[str, ...] = ()
    num_trained_items: int | None = None
    recipe: CatalogRecipe | None = None

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_history_length: int = 20,
        max_length: int = 512,
        items: Sequence[Mapping[str, str]] | None = None,
        num_trained_items: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.max_history_length = check_size("max_history_length", max_history_length)
        self.max_length = check_size("max_length", max_length)
        self.num_trained_items = num_trained_items and check_size("num_trained_items", num_trained_items)
        self.items = items or ()
        super().__init__(tokenizer)

    @property
    def items(self) -> Items:
        """Records of the items 1..N, a list that parses each when it is asked for; assign other items to change them.

        What was computed from the items before is forgotten then.
        """
        return self._items

    @items.setter
    def items(self, items: Iterable[Mapping[str, Any]]) -> None:
        self._items = items if isinstance(items, Items) else Items.of(items)
        for name in CACHES:
            self.__dict__.pop(name, None)

    @property
    def num_items(self) -> int:
        """Number of items of the catalog."""
        return len(self.items)

    @property
    def removed_items(self) -> list[int]:
        """Ids of the items that are never recommended again, ascending."""
        return self.items.removed

    @property
    def active_items(self) -> list[int]:
        """Ids of the items that can be recommended: all that were not removed."""
        gone = set(self.removed_items)
        return [item for item in range(1, 1 + self.num_items) if item not in gone]

    @property
    def item_fields(self) -> Sequence[str]:
        """Fields of an item that are embedded for the model."""
        return (self.recipe and self.recipe.embedded_fields) or ITEM_TEXT_FIELDS

    @property
    def further_fields(self) -> Sequence[str]:
        """Fields that a new item may have because this catalog reads them."""
        recipe = self.recipe
        return () if recipe is None else (*recipe.item_fields, *recipe.embedded_fields, *recipe.history_fields)

    def new_item(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Title and text of an item to add, made as those of the trained items were.

        Args:
            item (`Mapping`): Record with `title`, `brand`, `categories` and further fields, or with a `text`.
        """
        title = self._new_title(item)
        fields = (self.recipe and self.recipe.history_fields) or ("title",)
        return {"title": title, "text": item.get("text") or f"Title: {labeled_text({**item, 'title': title}, fields)}"}

    @staticmethod
    def _new_title(item: Mapping[str, Any]) -> str:
        """Title that is shown for an item to add: its own, else its brand and categories, else its text."""
        title = item.get("title") or ""
        if title.strip():
            return title
        brand = item.get("brand") if known_brand(item.get("brand")) else ""
        return plain_text({**item, "title": "", "brand": brand}) or item.get("text") or ""

    def recipe_of_catalog(self) -> CatalogRecipe:
        """The recipe of the catalog.

        Raises:
            ValueError: If there is none.
        """
        if self.recipe is None:
            raise ValueError(
                "the model has no quantizer of its semantic IDs, which gives a new item its codes: it was trained by "
                "an earlier version, or on IDs without one; give codes, or --semantic_ids, the folder of mender "
                "learn-ids, to mender update-catalogue."
            )
        return self.recipe

    def titles(self, item_ids: Sequence[int] | torch.Tensor) -> list[str]:
        """Titles of items.

        Raises:
            ValueError: If an id is not in `1..num_items`.
        """
        try:
            return [self.items[item - 1]["title"] for item in read_items("item_ids", item_ids, self.num_items)]
        except ValueError as error:
            raise ValueError(f"{error} If its model recommended it, {SAME_CATALOG}") from None

    @property
    def items_digest(self) -> str:
        """SHA-256 of `items.jsonl`, which depends on the items and their order."""
        return self.items.digest

    def to_dict(self) -> dict[str, Any]:
        """The configuration without the items, which have a file of their own."""
        # removed for the call, because the base class would copy them
        large = {name: self.__dict__.pop(name) for name in ("_items", "recipe", *CACHES) if name in self.__dict__}
        try:
            fields = super().to_dict()
        finally:
            self.__dict__.update(large)
        if not self.num_trained_items:  # as before the first change
            fields.pop("num_trained_items", None)
        return fields

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Writes configuration, tokenizer and `items.jsonl`, and removes the manifest of what was there before."""
        forget_manifest(save_directory)
        files = super().save_pretrained(save_directory, push_to_hub, **kwargs)
        path = Path(save_directory) / ITEMS_FILE
        with atomic_write(path) as temporary:
            self.items.write(temporary)
        if self.recipe is not None:
            files = [*files, *self.recipe.save(save_directory)]
        return [*files, str(path)]

    @classmethod
    def from_pretrained(
        cls: type[Processor],
        pretrained_model_name_or_path: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        **kwargs: Any,
    ) -> Processor:
        """Reads the files of [`save_pretrained`] from a folder or the Hub; see `ProcessorMixin.from_pretrained`.

        Raises:
            ValueError: If a file differs from the manifest of its folder or is damaged, or the items are not those of
                the model beside them.
            OSError: If there is no such folder, repository or file.
        """
        hub: dict[str, Any] = {
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
            "token": token,
            "revision": revision,
        }
        files = ModelFiles(pretrained_model_name_or_path, {**hub, **kwargs})
        files.check(suffixes=NOT_READ, rest=True)
        if "tokenizer" in cls.get_attributes() and files.read_json("tokenizer_config.json") is None:
            raise FileNotFoundError(
                f"{files.where} does not appear to have a file named tokenizer_config.json; fetch or copy it again."
            )
        check_counts(files.read_json("config.json"))  # which the tokenizer's own loading reads as well
        try:
            processor = super().from_pretrained(pretrained_model_name_or_path, **hub, **kwargs)
        except (OSError, ImportError, MemoryError):
            raise
        except Exception as error:  # of several kinds, by what is damaged
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"the processor of {files.where} cannot be loaded ({type(error).__name__}: {reason}); "
                "processor_config.json or a file of the tokenizer is damaged: fetch or copy the model again."
            ) from error
        tokenizer = getattr(processor, "tokenizer", None)
        vocabularies = list(getattr(tokenizer, "vocab_files_names", {}).values())  # one of them; none for bytes
        if vocabularies and not any(files.find(name) for name in vocabularies):
            raise FileNotFoundError(
                f"{files.where} does not appear to have a file named {' or '.join(vocabularies)}, the words of its "
                "tokenizer, without which every text would be read as unknown words; fetch or copy the model again."
            )
        path = files.find(ITEMS_FILE)
        if path is None:
            raise FileNotFoundError(
                f"{files.where} does not appear to have a file named {ITEMS_FILE}, the items of its catalog; fetch "
                "or copy the model again."
            )
        processor.items = Items.read(path)
        processor.recipe = CatalogRecipe.find(files)
        config = files.read_json("config.json")
        if config is None or config.get("items_digest") != processor.items_digest:  # no model vouches for the lines
            processor._check_items()
        processor._check_model(config, path)
        files.check_num_items(processor.num_items)
        return processor

    def _check_items(self) -> None:
        """Refuses a line that is no item, or lacks what the processor reads of an item."""
        for _ in self.items:
            pass

    def _check_model(self, config: Mapping[str, Any] | None, path: Path) -> None:
        """Refuses items and words that are not those of the model beside them, if there is one."""
        if config is None or "num_items" not in config:
            return
        way_out = "one of the two is damaged or another model's: fetch or copy the model again."
        if self.model_types and config.get("model_type") not in self.model_types:
            raise ValueError(
                f"the processor beside {path} is a {type(self).__name__}, and the model in config.json a "
                f"{config.get('model_type')!r:.80}; {way_out}"
            )
        for name in SHARED_SETTINGS:
            if hasattr(self, name) and name in config and config[name] != getattr(self, name):
                raise ValueError(
                    f"{path.with_name('processor_config.json')} gives {name} as {getattr(self, name)!r:.80} and "
                    f"config.json as {config[name]!r:.80}; {way_out}"
                )
        if config.get("num_removed_items", 0) != len(self.removed_items):
            raise ValueError(
                f"{path} has {len(self.removed_items)} removed items and config.json counts "
                f"{config.get('num_removed_items')!r:.80}; {way_out}"
            )
        if config["num_items"] != self.num_items:
            raise ValueError(
                f"{path} has {self.num_items} items and the config.json beside it {config['num_items']!r:.80}; "
                f"{way_out}"
            )
        if config.get("items_digest") not in (None, self.items_digest):
            raise ValueError(
                f"{path} holds other items than the model was trained with, or the same in another order; fetch or "
                "copy the model again, or set items_digest in config.json to null if you changed titles on purpose."
            )
        if getattr(self, "tokenizer", None) is None:
            return
        text_config = config.get("text_config")
        known = text_config.get("vocab_size") if isinstance(text_config, dict) else config.get("num_text_tokens")
        if isinstance(known, int) and (num_words := count_words(self.tokenizer)) > known:
            raise ValueError(
                f"the tokenizer beside {path} has token ids up to {num_words - 1} and the model {known} words; it is "
                "another model's: fetch or copy the model again."
            )
        positions = count_positions(text_config)
        if positions is not None and self.max_length > positions:
            raise ValueError(
                f"{path.with_name('processor_config.json')} gives max_length as {self.max_length}, and the text "
                f"encoder of config.json has positions for {positions} tokens; {way_out}"
            )

    def _read_requests(self, history: Any, preference: Any) -> list[tuple[list[int], list[str]]]:
        """Reads every accepted form of `history` and `preference` as one (items, preferences) pair per request.

        A flat list of item ids and a single string are those of one request; any other list has one entry per
        request.
        """
        if history is None and preference is None:
            raise ValueError("history and preference are both missing; give at least one of them.")
        history, preference = _as_requests("history", history), _as_requests("preference", preference)
        if history is None:
            preference = [preference] if isinstance(preference, str) else preference
        elif is_one_history(history) and (history or not isinstance(preference, list)):
            refuse_list("preference", preference)
            history = [history]
            preference = [preference] if isinstance(preference, str) else preference
        if isinstance(preference, str):
            raise ValueError(
                f"preference must be a list with one entry per history, not {shown(preference)}; wrap a single one: "
                "[preference]."
            )
        size = len(preference or ()) if history is None else len(history)
        history = [()] * size if history is None else history
        preference = [None] * size if preference is None else preference
        if len(history) != len(preference):
            raise ValueError(
                f"{len(history)} histories and {len(preference)} preferences; give one preference per history."
            )
        if size == 0:
            raise ValueError("no request given: history and preference are empty lists; give at least one request.")
        return [
            self._read_request(row, items, texts)
            for row, (items, texts) in enumerate(zip(history, preference, strict=True))
        ]

    def _read_request(self, row: int, items: Any, texts: Any) -> tuple[list[int], list[str]]:
        """Checks one request, with the history cut to the most recent `max_history_length` items."""
        items = self._read_history(row, items)
        texts = [text.strip() for text in as_texts(f"preference {row}", texts) if text.strip()]
        if not items and not texts:
            raise RequestError(row, "has an empty history and no preference; give at least one of them.")
        return items, texts

    def _read_history(self, row: int, items: Any) -> list[int]:
        """Item ids of one request, the most recent `max_history_length` ones."""
        read = read_items(f"history {row}", () if items is None else items, self.num_items)
        return list(read[-self.max_history_length :])


def _as_requests(name: str, values: Any) -> Any:
    """Returns a list or an array as a list, and `None` or a string unchanged.

    Raises:
        ValueError: For another value, or a string as `history`.
    """
    if values is None or isinstance(values, str) and name != "history":
        return values
    rows = as_rows(values)
    if rows is None:
        what = "item ids or a list of such lists" if name == "history" else "a list with one entry per history"
        raise ValueError(f"{name} must be {what}, not {shown(values)}; wrap a single one in a list.")
    return list(rows)


def is_one_history(history: Sequence[Any]) -> bool:
    """Whether a list is the history of one request, and not one history per request.

    >>> is_one_history([17, 4]), is_one_history([[17], None]), is_one_history([])
    (True, False, True)
    """
    return not any(row is None or as_list(row) is not None for row in history)


def refuse_list(name: str, values: Any) -> None:
    """Raises a ValueError for a list of several entries beside the history or the preference of one request.

    It could hold one entry per request, or several of one request.
    """
    if values is not None and not isinstance(values, str) and len(values) > 1:
        raise ValueError(
            f"{name} is a list of {len(values)}, and history or preference is that of one request, without a list "
            f"around it; give one entry per request everywhere, as in history=[[17], [4]], or, for one request, "
            f"history=[[17, 4]] and {name}=[[...]]."
        )


def refuse_unread(given: Mapping[str, Any], known: str) -> None:
    """Raises a ValueError for fields that a processor does not read.

    Args:
        given (`Mapping`): Values by name; `None` counts as missing.
        known (`str`): Names of the fields that it reads.
    """
    if unread := sorted(name for name, value in given.items() if value is not None):
        raise ValueError(
            f"the processor does not take {', '.join(unread)}; it takes {known}. Leave it out, or use a model that "
            "reads it."
        )


def as_texts(name: str, texts: Any) -> list[str]:
    """Returns one string, several, or `None` as a list of strings.

    Raises:
        ValueError: For a value that is not a string, or a string with a lone surrogate, which no tokenizer accepts.
    """
    read = () if texts is None else [texts] if isinstance(texts, str) else as_list(texts)
    if read is None or not all(isinstance(text, str) for text in read):
        raise ValueError(
            f"{name} is {shown(texts)}, which is no string (nor a list of strings); write it in words, for example "
            "'Search for lavender soap'."
        )
    for text in read:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(
                f"{name} is {shown(text)}, which holds half of a character (a surrogate); decode it as UTF-8."
            )
    return list(read)


class MenderTokProcessor(MenderProcessor):
    """Writes a request as one text: `Instructions: {preference}. Items: {item} {item} ...`, oldest item first.

    A text that is too long loses whole items, the oldest first, never the preference. See [`MenderProcessor`] for the
    arguments.
    """

    model_types = ("mender_tok",)

    def _check_items(self) -> None:
        for item in range(1, 1 + self.num_items):
            self._item_text(item)

    def _item_text(self, item: int) -> str:
        """Text of an item, which histories are written in, unless it has none."""
        text = self.items[item - 1].get("text")
        if not isinstance(text, str):
            raise ValueError(f"{self.items.name(item)} has no text of the item; fetch or copy the model again.")
        return text

    def __call__(
        self,
        history: Sequence[Sequence[int]] | Sequence[int] | None = None,
        preference: Sequence[str | Sequence[str] | None] | str | None = None,
        *,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Tokenizes requests, padded to the longest.

        Args:
            history: One list of item ids per request, oldest first, or a single one.
            preference: One preference per request (a string, a list of strings, or `None`), or a single one.
            return_tensors (`str`, defaults to `"pt"`): The only supported form.

        Returns:
            `BatchFeature`: `input_ids` and `attention_mask`, both `(batch_size, sequence_length)`.

        Raises:
            ValueError: For an unknown item, a preference that is not a string, an empty request, or a preference that
                alone exceeds `max_length`.
        """
        refuse_unread(kwargs, "history and preference")
        rows = self._token_rows(self._read_requests(history, preference))
        return BatchFeature(pad_token_rows(rows, self.tokenizer.pad_token_id))

    def _token_rows(self, requests: Iterable[tuple[Any, ...]]) -> list[list[int]]:
        """Token ids of checked requests."""
        rows = []
        for row, request in enumerate(requests):
            try:
                rows.append(self.token_ids(*request))
            except RequestError as error:
                raise error.moved(row) from None
        return rows

    def token_ids(self, items: Sequence[int], preferences: Sequence[str]) -> list[int]:
        """Token ids of one checked request."""
        start, end = self._special_tokens()
        head = ""
        if preferences:
            head = f"Instructions: {'. '.join(text.rstrip('.') for text in preferences)}."
        if items:
            head = f"{head} Items:".lstrip()
        head_ids = self._text_ids(head)
        room = self.max_length - len(start) - len(end) - len(head_ids)
        if room < 0:
            raise RequestError(
                0,
                f"has a preference of {len(head_ids)} tokens and max_length is {self.max_length}; shorten it or raise "
                "max_length.",
            )
        kept: list[list[int]] = []
        for item in reversed(items):
            ids = self._item_ids(item)
            if len(ids) > room and (kept or preferences):
                break
            kept.append(ids[:room])  # a single item that is too long is cut
            room -= len(kept[-1])
        return [*start, *head_ids, *(token for ids in reversed(kept) for token in ids), *end]

    def _text_ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _item_ids(self, item: int) -> list[int]:
        """Token ids of an item's text, cached."""
        cache = self.__dict__.setdefault("_token_cache", {})
        if item not in cache:
            cache[item] = self._text_ids(self._item_text(item))
        return cache[item]

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Token ids that the tokenizer adds before and after a text: [CLS] and [SEP], or only </s>."""
        specials = self.tokenizer("")["input_ids"]
        start = (
            specials[:1]
            if specials and specials[0] in (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id)
            else []
        )
        return start, specials[len(start) :]


class MenderEmbProcessor(MenderProcessor):
    """Gives item ids and tokenized preferences, which the model embeds; see [`MenderProcessor`] for the arguments."""

    model_types = ("mender_emb",)

    def __call__(
        self,
        history: Sequence[Sequence[int]] | Sequence[int] | None = None,
        preference: Sequence[str | Sequence[str] | None] | str | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Pads histories on the left and tokenizes each preference by itself.

        Args:
            history: One list of item ids per request, oldest first, or a single one.
            preference: One preference per request (a string, a list of strings, or `None`), or a single one.
            return_tensors (`str`, defaults to `"pt"`): The only supported form.

        Returns:
            `BatchFeature`: `history (batch_size, history_length)`; where there are preferences,
            `preference_input_ids` and `preference_attention_mask (batch_size, num_preferences, sequence_length)`;
            `attention_mask (batch_size, num_preferences + history_length)`.

        Raises:
            ValueError: For an unknown item, a preference that is not a string, or an empty request.
        """
        refuse_unread(kwargs, "history and preference")
        requests = self._read_requests(history, preference)
        num_preferences = max(len(texts) for _, texts in requests)
        features = self.pad_requests(requests)
        if num_preferences:
            texts = [text for _, texts in requests for text in texts]
            tokens = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
            flat = iter(tokens)
            rows = [
                next(flat) if column < len(texts) else [] for _, texts in requests for column in range(num_preferences)
            ]
            padded = pad_token_rows(rows, self.tokenizer.pad_token_id)
            shape = (len(requests), num_preferences, -1)
            features["preference_input_ids"] = padded["input_ids"].view(shape)
            features["preference_attention_mask"] = padded["attention_mask"].view(shape)
        return BatchFeature(features)

    @staticmethod
    def pad_requests(requests: Sequence[tuple[Sequence[int], Sequence[Any]]]) -> dict[str, torch.Tensor]:
        """Pads checked requests to `history` and `attention_mask`; see [`__call__`] for their shapes."""
        # at least one masked column, so that no tensor is empty
        history_length = max(1, *(len(items) for items, _ in requests)) if requests else 1
        num_preferences = max(len(texts) for _, texts in requests)
        history = torch.zeros(len(requests), history_length, dtype=torch.long)
        mask = torch.zeros(len(requests), num_preferences + history_length, dtype=torch.long)
        for row, (items, texts) in enumerate(requests):
            if items:
                history[row, -len(items) :] = torch.as_tensor(items)
                mask[row, -len(items) :] = 1
            mask[row, : len(texts)] = 1
        return {"history": history, "attention_mask": mask}


def pad_token_rows(rows: Sequence[Sequence[int]], pad_token_id: int | None) -> dict[str, torch.Tensor]:
    """Pads token ids on the right to the longest row.

    >>> pad_token_rows([[5, 6], [7]], pad_token_id=0)["attention_mask"].tolist()
    [[1, 1], [1, 0]]
    """
    length = max(1, *(len(row) for row in rows)) if rows else 1
    input_ids = torch.full((len(rows), length), pad_token_id or 0)
    attention_mask = torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.as_tensor(row, dtype=torch.long)
        attention_mask[number, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
