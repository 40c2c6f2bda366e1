"""Catalog that changes without training: items are added to a model and its processor, or removed from them."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from .recommendation import SAME_CATALOG
from .request_values import check_text, is_blank, listed, read_items, refuse_unknown, shown
from .semantic_ids import codes_to_numbers
from .trie import Trie

logger = logging.getLogger(__name__)

MAX_TEXT = 100_000  # characters of a field of an added item
NEW_ITEM_FIELDS = ("item_id", "source_id", "title", "brand", "categories", "price", "description", "text")
FOUND_BY = ("title", "brand", "categories", "text")
NO_TEXTS = ("categories", "price", "item_id", "source_id")
LEAST_ITEMS = 2  # of a recommender


def check_new_items(items: Sequence[Mapping[str, Any]], first: int = 1, further: Sequence[str] = ()) -> None:
    """Checks records of items to add.

    Args:
        items (`Sequence[Mapping]`): Records with `title`, `brand`, `categories`, `price` and `description`, all
            optional but one of the first three; or with a `text` in place of them. An `item_id` that is a number must
            be the one that the item gets; another one, and a `source_id`, are not kept.
        first (`int`, defaults to 1): Id of the first one.
        further (`Sequence[str]`): Fields that this catalog embeds beside these.

    Raises:
        ValueError: If there are none, or one is no record, has an unknown field, nothing to be found by, the id of
            another item, a value of another type or size, or a text with a control character; names the item.
    """
    known = (*NEW_ITEM_FIELDS, *(field for field in further if field not in NEW_ITEM_FIELDS))
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise ValueError(f"items is {shown(items)}; give a list of records with title, brand and categories.")
    if not items:
        raise ValueError("items is empty; give at least one record with title, brand and categories.")
    for number, item in enumerate(items):
        name = f"new item {number + 1} (id {first + number})"
        if not isinstance(item, Mapping):
            raise ValueError(f"{name} is {shown(item)}; give a record with title, brand and categories.")
        refuse_unknown(item, known, f"{name} has no field {{}}")
        _check_id(item.get("item_id"), number, first, len(items))
        categories = item.get("categories")
        if categories is not None and (
            isinstance(categories, str)
            or not isinstance(categories, Sequence)
            or not all(isinstance(one, str) for one in categories)
        ):
            raise ValueError(f"the categories of {name} are {shown(categories)}; give a list of texts.")
        texts = {field: item[field] for field in item if item[field] is not None and field not in NO_TEXTS}
        if categories:
            texts["categories"] = ", ".join(categories)
        for field, value in texts.items():
            if not isinstance(value, str):
                raise ValueError(f"the {field} of {name} is {shown(value)}, which is no text; write it in words.")
            if len(value) > MAX_TEXT:
                raise ValueError(
                    f"the {field} of {name} has {len(value):,} characters and may have {MAX_TEXT:,}; shorten it."
                )
            check_text(f"the {field} of {name}", value)
        price = item.get("price")
        if price is not None and not _is_price(price):
            raise ValueError(f"the price of {name} is {shown(price)}; give a number of at least 0, or leave it out.")
        if all(is_blank(str(texts.get(field, "")).replace(",", " ")) for field in FOUND_BY):
            raise ValueError(f"{name} has no title, brand, category or text, so nothing can find it; give it one.")


def _check_id(given: Any, number: int, first: int, count: int) -> None:
    """Refuses an id that is the number of another item; a key of the caller's own is no number."""
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,18}", given, re.ASCII):
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and given != first + number:
        which = "exists already" if given < first else "would leave a gap"
        raise ValueError(
            f"new item {number + 1} has the item_id {shown(given)}, which {which}; new items get the ids {first} to "
            f"{first + count - 1} in their order, so leave item_id out."
        )


def _is_price(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return 0 <= float(value) < math.inf
    except OverflowError:
        return False


def as_tensor(name: str, values: Any, kind: str) -> torch.Tensor:
    """A tensor of given values.

    Raises:
        ValueError: If they are none.
    """
    try:
        found = torch.as_tensor(values)
        if found.is_meta or found.layout != torch.strided or found.ndim != 2:
            raise ValueError
        return found
    except (ValueError, TypeError, RuntimeError, OverflowError):
        raise ValueError(f"{name} are {shown(values)}; give a table of {kind}, one row per new item.") from None


def read_embeddings(embeddings: Any, shape: tuple[int, int]) -> torch.Tensor:
    """Checked embeddings of new items, of norm 1.

    Raises:
        ValueError: If they have another shape, or one is not finite or 0; names the item.
    """
    embeddings = as_tensor("embeddings", embeddings, "numbers")
    if tuple(embeddings.shape) != shape or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings are {embeddings.dtype} of shape {tuple(embeddings.shape)}, and must be floats of shape "
            f"{shape}: one row per new item, as wide as those of the model; leave them out, and its text encoder "
            "makes them."
        )
    norms = embeddings.float().norm(dim=1)
    wrong = ~(norms.isfinite() & (norms > 0))
    if bool(wrong.any()):
        row = int(wrong.int().argmax())
        raise ValueError(
            f"the embedding of new item {row + 1} has the norm {float(norms[row])}, which must be finite and above 0; "
            "embed its text again."
        )
    return (embeddings.float() / norms.unsqueeze(1)).to(embeddings.dtype)


def assign_codes(learned: torch.Tensor, taken: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Semantic IDs of new items: their learned codes, and the smallest free code of the collision level.

    Args:
        learned (`torch.Tensor`): Shape `(num_new, num_levels - 1)`, integers.
        taken (`torch.Tensor`): Shape `(num_items, num_levels)`, semantic IDs that are in use.
        codebook_size (`int`): Codes per level.

    Returns:
        `torch.Tensor`: Shape `(num_new, num_levels)`; an earlier item has a smaller code than a later one with the
        same learned codes.

    Raises:
        ValueError: If the codes are no codes, or all codes of the collision level are taken; names the item.

    >>> assign_codes(torch.tensor([[1], [1], [0]]), torch.tensor([[1, 0], [1, 2]]), codebook_size=4).tolist()
    [[1, 1], [1, 3], [0, 0]]
    """
    num_learned = taken.shape[1] - 1
    learned = as_tensor("codes", learned, "integers")
    if learned.shape[1] != num_learned or learned.is_floating_point() or learned.dtype == torch.bool:
        raise ValueError(
            f"codes are {learned.dtype} of shape {tuple(learned.shape)}, and must be integers of shape (num_new, "
            f"{num_learned}): the learned levels of the catalog, without the collision level."
        )
    learned = learned.long().cpu()
    if learned.numel() and not 0 <= int(learned.min()) <= int(learned.max()) < codebook_size:
        raise ValueError(
            f"codes range from {int(learned.min())} to {int(learned.max())}, outside 0..{codebook_size - 1}; encode "
            "the items with the quantizer of this catalog."
        )
    taken = taken.long().cpu()
    numbers = [codes_to_numbers(codes, codebook_size) for codes in (taken[:, :-1], learned)]
    taken = taken[torch.isin(*numbers)]  # those that may have the codes of a new item
    _, group = torch.cat([learned, taken[:, :-1]]).unique(dim=0, return_inverse=True)
    group, others = group[: len(learned)], group[len(learned) :]
    used: dict[int, set[int]] = {}
    for number, code in zip(others.tolist(), taken[:, -1].tolist(), strict=True):
        used.setdefault(number, set()).add(code)
    following: dict[int, int] = {}  # the smallest code that may be free
    collision = []
    for number in group.tolist():
        code, before = following.get(number, 0), used.get(number, set())
        while code in before:
            code += 1
        following[number] = code + 1
        collision.append(code)
    if full := [row for row, code in enumerate(collision) if code >= codebook_size]:
        raise ValueError(
            f"{len(full)} of {len(learned)} new items find all {codebook_size} codes of the collision level taken by "
            f"items with their learned codes: {listed(f'{row + 1} {learned[row].tolist()}' for row in full)}; leave "
            "these out, remove items that are like them, or learn new IDs for the whole catalog (mender learn-ids) "
            "with a larger codebook_size, and train again."
        )
    return torch.cat([learned, torch.tensor(collision).unsqueeze(1)], dim=1)


class LivingCatalog(PreTrainedModel):
    """Items of a model with semantic IDs, added and removed without training.

    Ids of the other items stay. An added item is the next number; that of a removed one is never given again, because
    histories may hold it, but its semantic ID is free for another item.
    """

    config: Any
    item_semantic_ids: torch.Tensor
    removed_items: torch.Tensor
    _trie: Trie | None
    _is_changed: bool = False  # since it was loaded or made

    @property
    def num_trained_items(self) -> int:
        """Number of items that the model was trained with, the first ones."""
        return self.config.num_trained_items or self.config.num_items

    @property
    def num_active_items(self) -> int:
        """Number of items that can be recommended: all that were not removed."""
        return self.config.num_items - self.config.num_removed_items

    @property
    def is_item(self) -> torch.Tensor | None:
        """Whether each number from 0 to `num_items` is an item that was not removed; `None` if none were removed."""
        if not self.config.num_removed_items:
            return None
        known = torch.ones(1 + self.config.num_items, dtype=torch.bool, device=self.removed_items.device)
        known[0] = known[self.removed_items] = False
        return known

    def without_removed(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores `(batch_size, num_items)` with `-inf` for removed items; the same tensor where there are none."""
        if not self.config.num_removed_items:
            return scores
        return scores.index_fill(1, self.removed_items - 1, -torch.inf)

    @torch.no_grad()
    def add_items(
        self,
        items: Sequence[Mapping[str, Any]],
        processor: Any,
        embeddings: torch.Tensor | None = None,
        codes: torch.Tensor | None = None,
    ) -> list[int]:
        """Adds items to the catalog of the model and of its processor, without training.

        The scores of the other items among themselves stay what they are. Nothing changes if an error is raised.
        Items with the title and text of another are added too, with a warning that counts them. To keep the change,
        save both into one folder: `model.save_pretrained(folder)` and `processor.save_pretrained(folder)`; `mender
        update-catalogue` also writes a list of changes, a card and a manifest, and lists such changes on its next run.

        Args:
            items (`Sequence[Mapping]`): Records with `title`, `brand`, `categories`, `price`, or with `title` and
                `text`; as the rows of the benchmark's config `items`. See [`check_new_items`].
            processor ([`MenderProcessor`]): Processor of this model; gets titles and texts, and its words.
            embeddings (`torch.Tensor`, *optional*): Shape `(num_new, embedding_size)`, for models that have item
                embeddings; computed by the model's text encoder by default.
            codes (`torch.Tensor`, *optional*): Shape `(num_new, num_levels - 1)`, learned codes of the items; computed
                by the catalog's quantizer by default, which the processor's `recipe` holds.

        Returns:
            `list[int]`: Ids of the new items.

        Raises:
            ValueError: If an item is invalid ([`check_new_items`]), an embedding is not finite, codes are exhausted,
                the processor is of another model, or there is no quantizer and no codes are given.
        """
        self._check_change(processor)
        num_items = self.config.num_items
        check_new_items(items, num_items + 1, processor.further_fields)
        new = [processor.new_item(item) for item in items]
        embeddings = self._new_embeddings(items, new, processor, embeddings)
        if codes is None:
            codes = self._new_codes(items, processor)
        elif len(codes := as_tensor("codes", codes, "integers")) != len(new):
            raise ValueError(f"{len(new)} items and {len(codes)} rows of codes; give one row per item.")
        assigned = assign_codes(codes, self._codes_in_use(), self.config.codebook_size)
        if hasattr(processor, "codebook_size"):  # histories are written in codes
            new = [item | {"codes": row} for item, row in zip(new, assigned.tolist(), strict=True)]
        twins = processor.items.twins(new)
        before = processor.items, processor.num_trained_items
        processor.num_trained_items = self.num_trained_items
        processor.items = processor.items.changed(dict(enumerate(new, start=num_items + 1)))
        try:
            self._append_items(assigned, embeddings, processor)
        except BaseException:
            processor.items, processor.num_trained_items = before
            raise
        self.config.num_trained_items = processor.num_trained_items
        self.config.num_items = num_items + len(new)
        self._follow(processor)
        if twins:
            examples = (f"{num_items + 1 + row} as {item} ({shown(new[row]['title'])})" for row, item in twins.items())
            logger.warning(
                "title and text of %d of %d new items are those of another item: %s; remove_items takes out what was "
                "added twice.",
                len(twins),
                len(new),
                listed(examples),
            )
        return list(range(num_items + 1, self.config.num_items + 1))

    @torch.no_grad()
    def remove_items(self, ids: Sequence[int], processor: Any) -> None:
        """Removes items from the catalog of the model and of its processor, without training.

        They are never recommended again, and their semantic IDs are free; histories may still hold them.

        Args:
            ids (`Sequence[int]`): Ids of items.
            processor ([`MenderProcessor`]): Processor of this model.

        Raises:
            ValueError: If an id is unknown, listed twice or removed already, or no item would be left.
        """
        self._check_change(processor)
        num_items = self.config.num_items
        ids = read_items("ids", ids, num_items)
        gone = set(processor.removed_items)
        if not ids:
            raise ValueError("there are no ids to remove; give at least one.")
        for item in ids:
            if item in gone:
                raise ValueError(f"item {item} is removed already, or listed twice; leave it out.")
            gone.add(item)
        if num_items - len(gone) < LEAST_ITEMS:
            raise ValueError(
                f"{num_items - len(gone)} of {self.num_active_items} items would be left, and a recommender needs at "
                f"least {LEAST_ITEMS}; remove fewer, or add others first."
            )
        if self._trie is not None:
            self._trie = self._trie.without_items(ids)
        self.config.num_removed_items = len(gone)
        removed = torch.tensor(sorted(gone), device=self.item_semantic_ids.device)
        self.register_buffer("removed_items", removed, persistent=True)
        processor.items = processor.items.changed(
            {item: processor.items[item - 1] | {"removed": True} for item in ids}
        )
        self._follow(processor)

    def _follow(self, processor: Any) -> None:
        """Notes that the items are those of the processor, which later changes must come with."""
        self.config.items_digest = processor.items_digest
        self._is_changed = True

    def _codes_in_use(self) -> torch.Tensor:
        """Semantic IDs of the items that were not removed, `(num_active_items, num_levels)`."""
        if not self.config.num_removed_items:
            return self.item_semantic_ids
        return self.item_semantic_ids[cast(torch.Tensor, self.is_item)[1:]]

    def _check_change(self, processor: Any) -> None:
        """Refuses to change another catalog than that of the processor, or a model in training."""
        self.check_processor(processor)
        if self.training:
            raise ValueError("the model is in training; call eval().")

    def check_processor(self, processor: Any) -> None:
        """Refuses a processor of another catalog, or one that was changed without this model.

        Raises:
            ValueError: If items, or removed items, are not those of the model.
        """
        if (known := getattr(processor, "num_items", None)) != self.config.num_items:
            raise ValueError(
                f"the processor has {'no' if known is None else known} items and the model {self.config.num_items}; "
                f"{SAME_CATALOG}"
            )
        removed = self.removed_items.tolist() if self.config.num_removed_items else []
        if processor.removed_items != removed:
            raise ValueError(
                f"{len(processor.removed_items)} items of the processor are removed and {len(removed)} of the model, "
                f"or others; {SAME_CATALOG}"
            )
        if self._is_changed and processor.items_digest != self.config.items_digest:
            raise ValueError(f"the processor's items are not those that this model was changed to; {SAME_CATALOG}")

    def _new_codes(self, items: Sequence[Mapping[str, Any]], processor: Any) -> torch.Tensor:
        """Learned codes of new items by the quantizer of the catalog; models with item embeddings compute them."""
        recipe = processor.recipe_of_catalog()
        raise ValueError(
            f"the codes of this catalog are those of embeddings of {recipe.embedding_model}, which a "
            f"{self.config.model_type} does not compute; give codes, made by the recipe's quantize of such embeddings"
            ", or use mender update-catalogue, which loads that text encoder."
        )

    def _new_embeddings(
        self,
        items: Sequence[Mapping[str, Any]],
        new: Sequence[Mapping[str, str]],
        processor: Any,
        embeddings: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Embeddings of new items; `None` for a model without item embeddings, which takes none."""
        if embeddings is not None:
            raise ValueError(f"a {self.config.model_type} has no item embeddings; leave embeddings out.")
        return None

    def _append_items(self, codes: torch.Tensor, embeddings: torch.Tensor | None, processor: Any) -> None:
        """Appends the rows of new items to the tables of the model, before the configuration is changed."""
        codes = codes.to(self.item_semantic_ids)
        self.item_semantic_ids = torch.cat([self.item_semantic_ids, codes])
        if self._trie is not None:
            self._trie = self._trie.with_items(codes)
