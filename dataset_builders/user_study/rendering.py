"""HTML of a scenario of the user study, in which all text of others stays text.

The Space of the page carries this file: it imports the standard library alone.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from .form import OF_MATCH, Step, Study


def render_progress(study: Study, step: Step, annotator: str, num_finished: int) -> str:
    """Where an annotator is, as a sentence and a bar."""
    place, count = study.steps(step.scenario).index(step), len(study.steps(step.scenario))
    total = min(study.per_annotator, len(study.scenarios))
    done = (num_finished + place / count) / total
    return (
        f'<div class="progress"><p><b>History {num_finished + 1} of {total}</b> page {place + 1} of {count}'
        f'<span>{escape(annotator)}</span></p><div class="bar"><i style="width:{100 * done:.1f}%"></i></div></div>'
    )


def render_history(study: Study, step: Step) -> str:
    """The items of a history, oldest first, with ratings and reviews."""
    history = study.scenarios[step.scenario].history
    noun = "purchase" if len(history) == 1 else "purchases"
    items = "".join(f"<li>{render_item(item)}</li>" for item in history)
    return (
        f'<section class="history" tabindex="0" aria-label="History"><h2>{len(history)} {noun} of one customer'
        f"<small>oldest first</small></h2><ol>{items}</ol></section>"
    )


def render_preference(study: Study, step: Step) -> str:
    """The preference of a step, and the next purchase where the step asks about it."""
    scenario = study.scenarios[step.scenario]
    text = f"<blockquote>{escape(scenario.preferences[step.preference])}</blockquote>"
    if step.questions != OF_MATCH:
        count = len(scenario.preferences)
        return (
            f'<section class="preference"><h2>Sentence {step.preference + 1} of {count}'
            f"<small>made by a computer</small></h2>{text}</section>"
        )
    return (
        f'<section class="preference"><h2>Sentence {step.preference + 1} again</h2>{text}'
        f'<h2>The next purchase of this customer</h2><div class="next">{render_item(scenario.target)}</div></section>'
    )


def render_item(item: Mapping[str, Any]) -> str:
    """An item with its rating and review, as far as there are any.

    >>> render_item({"title": "<b>Soap", "price": "$4.50", "rating": 4, "review": "Nice"})[:80]
    '<h3>&lt;b&gt;Soap</h3><p class="facts">$4.50</p><p class="stars" aria-label="4 o'
    >>> render_item({})
    '<h3>Item without a title</h3>'
    """
    categories = item.get("categories") or []
    facts = [
        item.get("brand"),
        " › ".join(map(str, categories)) if isinstance(categories, list) else "",
        item.get("price"),
    ]
    facts_text = " · ".join(escape(str(fact)) for fact in facts if fact)
    html = f"<h3>{escape(str(item.get('title') or 'Item without a title'))}</h3>"
    if facts_text:
        html += f'<p class="facts">{facts_text}</p>'
    if isinstance(rating := item.get("rating"), int | float):
        full = min(5, max(0, round(rating)))
        html += f'<p class="stars" aria-label="{rating:g} of 5 stars">{"★" * full}<i>{"★" * (5 - full)}</i></p>'
    if review := item.get("review"):
        html += f'<p class="review">{escape(str(review))}</p>'
    return html
