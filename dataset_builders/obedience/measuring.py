"""Measurements of obedience: all asks, strength against a hard filter, and monotonicity in strength.

The result is `obedience.json`, except for the names of model and benchmark.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .asking import Asker, nothing_said
from .asks import ASK_KINDS, Ask, avoid_what_comes, make_asks, with_histories
from .attributes import Attributes
from .baselines import WordOverlap, rank_by_cosine
from .metrics import DEPTH, at_equal_suppression, by_wording, falls, summarize, suppression

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
CURVE_STRENGTHS = (0.0, 0.0625, 0.125, *STRENGTHS[1:])
"""Weaker strengths as well: a curve and a filter differ at partial suppression."""
FRACTIONS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.4)
"""Shares of the catalog that a hard filter removes."""
ASKS_OF_EACH_KIND = 6
"""Number of asks of each kind that are tried at every strength."""
HISTORIES_OF_EACH_ASK = 3
"""Number of histories with which these are tried, beside without one."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to float32 vectors of length 1, `(num_texts, hidden_size)`."""


def measure(
    asker: Asker,
    attributes: Attributes,
    histories: Sequence[Sequence[int]],
    curve_rows: Sequence[tuple[Sequence[int], int]] = (),
    baselines: Sequence[str] = ("words",),
    embed: Embed | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Runs every measurement.

    Args:
        asker ([`Asker`]): The recommender.
        attributes ([`Attributes`]): Attributes of the items.
        histories (`Sequence`): Histories of every ask, beside without one.
        curve_rows (`Sequence`): Histories and their true next items, for the curve; empty for no curve.
        baselines (`Sequence[str]`): Baselines, of "words" and "cosine"; the latter needs `embed`.
        embed (`Callable`, *optional*): A text encoder.
        seed (`int`, defaults to 0): Random seed of the asks.

    Returns:
        `dict`: `methods`, each as of [`summarize`]; `wordings`; `monotone`; `curve`; and facts on the asks.
    """
    first = make_asks(attributes, seed)
    asks = with_histories(first, histories)
    own = asker.own_lists([(), *histories])
    answers = asker.answers(asks)
    methods: dict[str, Any] = {"model": summarize(asks, answers, own)}
    methods["no preference"] = summarize(asks, [own.get(ask.history) for ask in asks], own)
    overlap = WordOverlap(attributes.words)
    if "words" in baselines:
        ranked = [overlap.rank(ask, DEPTH, own.get(ask.history, ())) for ask in asks]
        methods["words"] = summarize(asks, ranked, own)
    if "cosine" in baselines and embed is not None:
        sentences = sorted({ask.sentence for ask in asks})
        ranked = rank_by_cosine(embed(sentences), embed(attributes.titles), DEPTH)
        near = dict(zip(sentences, ranked, strict=True))
        methods["cosine"] = summarize(asks, [near[ask.sentence] for ask in asks], own)
    results = {
        "attributes": "planted" if attributes.are_planted else "words",
        "num_asks": len(first),
        "num_lists": len(asks),
        "takes_avoid_and_strength": asker.takes_arguments,
        "answers_empty_requests": asker.answers_nothing,
        "methods": methods,
        "wordings": by_wording(asks, answers),
        "monotone": measure_strengths(asker, first, histories),
        "curve": measure_curve(asker, attributes, curve_rows, overlap),
    }
    return results | {"num_requests": asker.num_requests}


def measure_strengths(asker: Asker, asks: Sequence[Ask], histories: Sequence[Sequence[int]]) -> dict[str, Any] | None:
    """Measures whether compliance ever falls with growing strength, by kind of ask.

    Returns:
        `dict`, *optional*: `strengths`; `kinds`, each as of [`falls`]; and `strength_0`, the number of lists over a
        history for which strength 0 gives exactly the list without preference. `None` for a recommender without
        strength.
    """
    if not asker.takes_arguments:
        return None
    kinds: dict[str, Any] = {}
    zero = {"lists": 0, "equal": 0}
    for kind in ASK_KINDS:
        of_kind = [ask for ask in asks if ask.kind == kind]
        chosen = of_kind[:: max(1, -(-len(of_kind) // ASKS_OF_EACH_KIND))]
        tried = with_histories(chosen, histories[:HISTORIES_OF_EACH_ASK])
        if not tried:
            continue
        lists = [asker.answers([replace(ask, strength=strength) for ask in tried]) for strength in STRENGTHS]
        kinds[kind] = falls(tried, list(zip(*lists, strict=True)))
        with_history = [place for place, ask in enumerate(tried) if ask.history]
        own = asker.own_lists(tried[place].history for place in with_history)
        zero["lists"] += len(with_history)
        zero["equal"] += sum(lists[0][place] == own[tried[place].history] for place in with_history)
    return {"strengths": list(STRENGTHS), "kinds": kinds, "strength_0": zero}


def measure_curve(
    asker: Asker, attributes: Attributes, rows: Sequence[tuple[Sequence[int], int]], overlap: WordOverlap
) -> dict[str, Any] | None:
    """Compares avoiding by strength with removing the items most relevant to the avoided text.

    The true next item is never avoided.

    Args:
        asker ([`Asker`]): The recommender; without strength it has two points, "Avoid ..." and no request.
        attributes ([`Attributes`]): Attributes of the items.
        rows (`Sequence`): Histories and their true next items.
        overlap ([`WordOverlap`]): Relevance of items to a text by words.

    Returns:
        `dict`, *optional*: `strength`, points as of [`suppression`]; `filters`, by the relevance that orders the
        removed items ("words", and "model" if the recommender has its own): their `points`, and
        `at_equal_suppression`, the NDCG@10 of the filter at each point of `strength`. `None` if no row has anything to
        avoid.
    """
    own = asker.own_lists(history for history, _ in rows)
    pairs = [
        (ask, target)
        for history, target in rows
        if (ask := avoid_what_comes(attributes, history, own[tuple(history)], target)) is not None
    ]
    if not pairs:
        return None
    asks, targets = [ask for ask, _ in pairs], [target for _, target in pairs]
    points = []
    for strength in CURVE_STRENGTHS if asker.takes_arguments else (0.0, 1.0):
        said = [replace(ask, strength=strength) for ask in asks]
        if not asker.takes_arguments and strength == 0:
            said = [nothing_said(ask.history) for ask in asks]
        points.append({"strength": strength, **suppression(asks, targets, _all_of(asker.answers(said)), own)})
    filters = {}
    texts = sorted({ask.avoid[0] for ask in asks})
    for relevance, orders in _orders(asker, texts, attributes, asks[0].history, overlap).items():
        removed = []
        for fraction in FRACTIONS:
            count = round(fraction * len(attributes.titles))
            exclude = [orders[ask.avoid[0]][:count] for ask in asks]
            lists = _all_of(asker.answers([nothing_said(ask.history) for ask in asks], exclude))
            mean_removed = float(np.mean([len(items) for items in exclude]))
            removed.append({"fraction": fraction, "removed": mean_removed, **suppression(asks, targets, lists, own)})
        filters[relevance] = {"points": removed, "at_equal_suppression": at_equal_suppression(points, removed)}
    return {"strength": points, "filters": filters}


def _orders(
    asker: Asker, texts: Sequence[str], attributes: Attributes, history: Sequence[int], overlap: WordOverlap
) -> dict[str, dict[str, list[int]]]:
    """Source of relevance -> avoided text -> items in the order in which a filter removes them.

    By words, an item without a shared word is never removed, since these have no order.
    """
    orders: dict[str, dict[str, list[int]]] = {"words": {}}
    for text in texts:
        by_words = overlap.relevance(text)
        orders["words"][text] = (np.argsort(-by_words, kind="stable")[: int((by_words > 0).sum())] + 1).tolist()
    own: dict[str, list[int]] = {}
    for text in texts:
        relevance = asker.avoided_relevance(text, len(attributes.titles), history)
        if relevance is None:
            return orders
        own[text] = (np.argsort(-relevance, kind="stable") + 1).tolist()
    return {**orders, "model": own}


def _all_of(answers: Sequence[list[int] | None]) -> list[list[int]]:
    """The answers to requests with a history, which every recommender answers."""
    lists = [items for items in answers if items is not None]
    assert len(lists) == len(answers), "a request with a history has an answer"
    return lists
