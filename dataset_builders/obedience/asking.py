"""Send asks to a recommender through its pipeline, each request once."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .asks import Ask
from .metrics import DEPTH

Recommend = Callable[..., list[list[dict[str, Any]]]]
"""As `pipeline("preference-recommendation")`: a list of requests, `k` and other options to a list of items each."""

EXACT_CHUNK = 200
"""Candidates per request for every item's score terms: as many as a beam search ranks exactly."""

AVOID_TERM = "avoid 1"
"""Name of the first avoided text's score term."""


class Asker:
    """A recommender with a cache of its answers; the accepted request fields are determined by trial.

    Args:
        recommend (`Recommend`): The pipeline.
        history (`Sequence[int]`): Item ids of the trial requests' history.
        options: Options of every call, as in `batch_size` and `num_beams`.

    Attributes:
        takes_arguments (`bool`): Whether it accepts `avoid` and `strength`; if not, an avoided text becomes the
            preference "Avoid ...".
        answers_avoid_alone (`bool`): Whether it accepts `avoid` without a history or a preference.
        answers_nothing (`bool`): Whether it answers an empty request.
        num_requests (`int`): Number of requests so far.

    Raises:
        ValueError: If it accepts no preference.
    """

    def __init__(self, recommend: Recommend, history: Sequence[int], **options: Any) -> None:
        self.recommend, self.options = recommend, options
        # without num_beams: exact terms need as many beams as candidates
        self.relevance_options = {name: value for name, value in options.items() if name != "num_beams"}
        self.num_requests = 0
        self._known: dict[str, list[int]] = {}
        known = {"history": list(history)}
        recommend([{**known, "preference": "Search for tea"}], k=1)  # raises what the recommender objects to
        self.takes_arguments = self._accepts({**known, "avoid": ["tea"], "strength": 1.0})
        self.answers_avoid_alone = self.takes_arguments and self._accepts({"avoid": ["tea"]})
        self.answers_nothing = self._accepts({"history": []})

    def answers(self, asks: Sequence[Ask], exclude: Sequence[Iterable[int]] | None = None) -> list[list[int] | None]:
        """Returns the first ten items for each ask; `None` where the recommender does not answer such a request.

        Args:
            asks (`Sequence[Ask]`): The asks.
            exclude (`Sequence`, *optional*): Excluded items of each ask; none by default.
        """
        keys: list[str | None] = []
        new: dict[str, dict[str, Any]] = {}
        for place, ask in enumerate(asks):
            request = self.request(ask)
            if request is None:
                keys.append(None)
                continue
            if exclude is not None:
                request["exclude"] = sorted(exclude[place])
            key = json.dumps(request, sort_keys=True)
            keys.append(key)
            if key not in self._known:
                new[key] = request
        ordered = sorted(new, key=len)  # requests of similar length in one batch
        if ordered:
            lists = self.recommend([new[key] for key in ordered], k=DEPTH, **self.options)
            for key, items in zip(ordered, lists, strict=True):
                self._known[key] = [item["item_id"] for item in items]
            self.num_requests += len(ordered)
        return [None if key is None else self._known[key] for key in keys]

    def own_lists(self, histories: Iterable[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
        """Returns the answers to histories alone, also to an empty request if the recommender answers it."""
        wanted = list(dict.fromkeys(map(tuple, histories)))
        found = self.answers([nothing_said(history) for history in wanted])
        return {history: items for history, items in zip(wanted, found, strict=True) if items is not None}

    def request(self, ask: Ask) -> dict[str, Any] | None:
        """Converts an ask to a request of the pipeline; `None` where this recommender does not answer it."""
        request: dict[str, Any] = {"history": list(ask.history)} if ask.history else {}
        preference, avoid = list(ask.preference), list(ask.avoid)
        alone = not ask.history and not preference
        if avoid and not (self.answers_avoid_alone if alone else self.takes_arguments):
            preference, avoid = [*preference, *(f"Avoid {text}" for text in avoid)], []
        says_nothing = not ask.history and (ask.strength == 0 or not (preference or avoid))
        if says_nothing and not self.answers_nothing:
            return None
        if preference:
            request["preference"] = preference[0] if len(preference) == 1 else preference
        if avoid:
            request["avoid"] = avoid
        if ask.strength is not None and self.takes_arguments:
            request["strength"] = ask.strength
        return request or {"history": []}

    def avoided_relevance(self, text: str, num_items: int, history: Sequence[int]) -> np.ndarray | None:
        """Relevance of every item to an avoided text by the recommender's own score terms.

        Args:
            text (`str`): The avoided text.
            num_items (`int`): Number of items of the catalog.
            history (`Sequence[int]`): History of the request.

        Returns:
            `np.ndarray`, *optional*: float64 `(num_items,)`; `None` if the recommender does not return score terms.
        """
        if not self.takes_arguments:
            return None
        whole = num_items - num_items % EXACT_CHUNK
        starts = list(range(1, whole, EXACT_CHUNK))
        chunks = [list(range(start, start + EXACT_CHUNK)) for start in starts]
        relevance = np.zeros(num_items)
        for group in (chunks, [list(range(whole + 1, num_items + 1))]):  # the rest is shorter: another k
            requests = [
                {"history": list(history), "avoid": [text], "strength": 1.0, "candidates": chunk}
                for chunk in group
                if chunk
            ]
            if not requests:
                continue
            self.num_requests += len(requests)
            try:
                found = self.recommend(requests, k=len(group[0]), return_terms=True, **self.relevance_options)
            except ValueError:
                return None
            for item in (item for items in found for item in items):
                if AVOID_TERM not in item.get("terms", {}):
                    return None
                relevance[item["item_id"] - 1] = -item["terms"][AVOID_TERM]
        return relevance

    def _accepts(self, request: Mapping[str, Any]) -> bool:
        try:
            self.recommend([dict(request)], k=1)
        except ValueError:
            return False
        return True


def nothing_said(history: Sequence[int]) -> Ask:
    """Makes an ask without a preference."""
    return Ask("none", 0, False, history=tuple(history))
