"""Requests for recommendations, read once by the pipeline, the handler, the demo and the command `recommend`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from .request_values import (
    RequestError,
    RequestLimits,
    a_mapping,
    is_blank,
    read_items,
    read_log_weights_of,
    read_strength,
    read_texts,
    read_user,
    read_whole,
    refuse_unknown,
    shown,
    too_few,
)

DEFAULT_K = 10  # number of recommended items


@dataclass(frozen=True)
class RecommendationRequest:
    """A checked request.

    Attributes:
        history: Item ids, oldest first.
        preference: Wanted texts.
        avoid: Texts to move down.
        strength: A number for all texts, or one per preference, or one per preference and avoided text; `None` for 1.
        user: The user's id.
        candidates: Ids of the only items to rank; `None` for all.
        exclude: Ids of items to leave out.
        item_log_weights: Numbers added to the scores, by item id or one per item of the catalog.
    """

    history: tuple[int, ...] = ()
    preference: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    strength: float | tuple[float, ...] | None = None
    user: str | None = None
    candidates: tuple[int, ...] | None = None
    exclude: tuple[int, ...] = ()
    item_log_weights: Mapping[int, float] | tuple[float, ...] | None = None

    @classmethod
    def read(
        cls,
        given: Any,
        num_items: int,
        limits: RequestLimits | None = None,
        number: int | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> "RecommendationRequest":
        """Reads a request from a mapping of its fields.

        A field that is `None` counts as missing. Texts without a visible character are left out, with their
        strengths. Integers of NumPy and torch count as integers, one-dimensional arrays as lists; nothing else is
        converted.

        Args:
            given (`Mapping`): Fields of the request.
            num_items (`int`): Size of the catalog; item ids are 1..num_items.
            limits ([`RequestLimits`], *optional*): Defaults to [`RequestLimits.read`].
            number (`int`, *optional*): Number of the request in a list, from 0, for errors.
            defaults (`Mapping`, *optional*): Checked `candidates`, `exclude` and `item_log_weights` for a request
                without these fields.

        Raises:
            ValueError: For an unknown field, a value of another type, an unknown item, strengths that fit no texts, or
                more than a limit allows; it names the request, the field and the value.
        """
        if isinstance(given, cls):
            given = vars(given)
        of = "" if number is None else f" of request {number}"
        limits = limits or RequestLimits.read()
        which = "a request" if number is None else f"request {number}"
        if not isinstance(given, Mapping):
            raise ValueError(f"{which} is {a_mapping()} with {', '.join(REQUEST_FIELDS)}, not {shown(given)}.")
        refuse_unknown(given, REQUEST_FIELDS, f"{which} has no field {{}}")
        found = {name: value for name, value in given.items() if value is not None}
        wanted = read_texts(f"preference{of}", found.get("preference"), limits)
        avoided = read_texts(f"avoid{of}", found.get("avoid"), limits)
        num_texts = len(wanted) + len(avoided)
        limits.check("texts", num_texts, f"preference and avoid{of} have", "texts")
        strength = read_strength(f"strength{of}", found.get("strength"), len(wanted), len(avoided), limits)
        if isinstance(strength, tuple):
            texts = [*wanted, *avoided][: len(strength)]
            strength = tuple(one for text, one in zip(texts, strength, strict=True) if not is_blank(text)) or None
        checked: dict[str, Any] = dict(defaults or {})
        if "history" in found:
            checked["history"] = read_items(f"history{of}", found["history"], num_items, limits, "history")
        if "user" in found:
            checked["user"] = read_user(f"user{of}", found["user"], limits)
        for name in ("candidates", "exclude"):
            if name in found:
                checked[name] = read_items(f"{name}{of}", found[name], num_items, limits)
        if "item_log_weights" in found:
            name = f"item_log_weights{of}"
            checked["item_log_weights"] = read_log_weights_of(name, found["item_log_weights"], num_items, limits)
        return cls(
            preference=tuple(text for text in wanted if not is_blank(text)),
            avoid=tuple(text for text in avoided if not is_blank(text)),
            strength=strength,
            **checked,
        )

    def num_allowed(self, num_items: int, removed: Collection[int] = ()) -> int:
        """Number of items of the catalog that the request allows, without those that were removed from it."""
        weights = self.item_log_weights or {}
        weights = weights if isinstance(weights, Mapping) else dict(enumerate(weights, start=1))
        without = {*self.exclude, *removed, *(item for item, weight in weights.items() if weight == float("-inf"))}
        return num_items - len(without) if self.candidates is None else len(set(self.candidates) - without)

    def check_enough(self, k: int, num_items: int, number: int | None = None, removed: Collection[int] = ()) -> None:
        """Raises a ValueError if the request allows fewer than `k` items."""
        if (allowed := self.num_allowed(num_items, removed)) < k:
            raise RequestError(number or 0, too_few(allowed, k, {*(self.candidates or ())} & {*removed}))


REQUEST_FIELDS = tuple(field.name for field in fields(RecommendationRequest))


@dataclass(frozen=True)
class CallOptions:
    """Checked options of a call.

    Attributes:
        k: Items per request.
        num_beams: Beams of a generative model; `None` for its default.
        return_terms: Whether to return the terms of the scores.
        batch_size: Requests that are computed at once.
        defaults: `candidates`, `exclude` and `item_log_weights` of requests without these fields.
    """

    k: int = DEFAULT_K
    num_beams: int | None = None
    return_terms: bool = False
    batch_size: int = 1
    defaults: Mapping[str, Any] | None = None

    @classmethod
    def read(
        cls,
        given: Mapping[str, Any],
        num_items: int,
        limits: RequestLimits | None = None,
        removed: Collection[int] = (),
    ) -> "CallOptions":
        """Reads the options of a call; `None` stands for the default.

        Args:
            given (`Mapping`): Options by name.
            num_items (`int`): Size of the catalog; item ids are 1..num_items.
            limits ([`RequestLimits`], *optional*): Defaults to [`RequestLimits.read`].
            removed (`Collection[int]`): Ids of items that are never recommended.

        Raises:
            ValueError: For an unknown option, or a value of another type or out of its range.
        """
        limits = limits or RequestLimits.read()
        refuse_unknown(given, CALL_OPTIONS, "{}: no such option")
        found = {name: value for name, value in given.items() if value is not None}
        for name in ("k", "num_beams", "batch_size"):
            if name in found:
                found[name] = read_whole(name, found[name])
        num_left = num_items - len(removed)
        if (k := found.get("k", DEFAULT_K)) > num_left:
            raise ValueError(
                f"k ({shown(k)}) must be in 1..{num_left}, the number of items; ask for at most {num_left}."
            )
        for name, entries in (("k", "items"), ("num_beams", "beams"), ("batch_size", "requests")):
            limits.check(name, found.get(name, 1), f"{name} is", entries)
        if "return_terms" in found and not isinstance(found["return_terms"], bool):
            raise ValueError(f"return_terms is {shown(found['return_terms'])}; give true or false.")
        defaults: dict[str, Any] = {}
        for name in ("candidates", "exclude"):
            if name in found:
                defaults[name] = read_items(name, found.pop(name), num_items, limits)
        if "item_log_weights" in found:
            weights = found.pop("item_log_weights")
            defaults["item_log_weights"] = read_log_weights_of("item_log_weights", weights, num_items, limits)
        return cls(**found, defaults=defaults)


CALL_OPTIONS = ("k", "num_beams", "candidates", "exclude", "item_log_weights", "return_terms", "batch_size")


def read_requests(
    given: Sequence[Any],
    num_items: int,
    limits: RequestLimits | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> list[RecommendationRequest]:
    """Reads a list of requests; see [`RecommendationRequest.read`].

    Raises:
        ValueError: As [`RecommendationRequest.read`], and for more requests, texts, characters or items than the
            limits allow.
    """
    limits = limits or RequestLimits.read()
    limits.check("requests", len(given), "the call has", "requests")
    num_texts = num_characters = num_entries = 0
    shared = list(map(id, (defaults or {}).values()))
    found = []
    for number, one in enumerate(given):
        request = RecommendationRequest.read(one, num_items, limits, number, defaults)
        texts = (*request.preference, *request.avoid)
        num_texts += len(texts)
        num_characters += sum(map(len, texts))
        lists = (request.history, request.candidates, request.exclude, request.item_log_weights)
        num_entries += sum(len(entries) for entries in lists if entries and id(entries) not in shared)
        limits.check("all_texts", num_texts, "the call has at least", "texts")
        limits.check("all_characters", num_characters, "the call has at least", "characters in its texts")
        limits.check("all_items", num_entries, "the call has at least", "entries in its lists of items")
        found.append(request)
    return found


def read_call(body: Any) -> tuple[Any, dict[str, Any]]:
    """Reads the body of a call to an endpoint: `inputs`, and `parameters` where given.

    Returns:
        `tuple`: A request or a list of requests, where a string stands for a preference, and the options of the call.

    Raises:
        ValueError: If the body is no dict, has other keys, no inputs, or parameters that are no dict.
    """
    example = '{"inputs": {"preference": "Find tea"}, "parameters": {"k": 5}}'
    if not isinstance(body, Mapping):
        raise ValueError(f"the call is {shown(body)}; give {a_mapping()}, as in {example}.")
    inputs = body.get("inputs")
    if inputs is None:
        raise ValueError(f"the call has no inputs; give a request, as in {example}.")
    if unknown := [key for key in body if key not in ("inputs", "parameters")]:
        raise ValueError(f"a call has no {shown(unknown[0])}; there are inputs and parameters, as in {example}.")
    if not isinstance(inputs, Mapping | list | str) or isinstance(inputs, list | str) and not inputs:
        raise ValueError(f"inputs is {shown(inputs)}; give a request, a preference, or a list of them: {example}.")
    parameters = body.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ValueError(f"parameters is {shown(parameters)}; give {a_mapping()}, as in {example}.")
    refuse_unknown(parameters or {}, CALL_OPTIONS, "{}: no such option")
    requests = [_as_request(one) for one in inputs] if isinstance(inputs, list) else _as_request(inputs)
    return requests, dict(parameters or {})


def _as_request(given: Any) -> Any:
    """A request; a string, as sent by text boxes, is a preference."""
    return {"preference": given} if isinstance(given, str) else given
