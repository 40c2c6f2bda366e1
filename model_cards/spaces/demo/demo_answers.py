"""Rankings as HTML: places, moves, the reading of a text, and the terms of each score."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from demo_rankings import NUMBERED, Item, compare_rankings, reasons, round_to_sum, usual_terms

SAME_FOR_ALL = "normalization"
GIVEN = "given"  # log-weights of the request: 0 for listed items, as the demo only excludes items
TERM_NAMES = {
    "history": "history",
    "graph": "graph: what came next for others",
    "decoder": "decoder of semantic IDs",
    SAME_FOR_ALL: "the same for every item",
}


def notice(text: str) -> str:
    """Message in place of a result, as HTML."""
    return f'<p class="mender-notice" role="status">{html.escape(text)}</p>'


def signed(value: float, digits: int = 2) -> str:
    """Formats a number with its sign, and 0 without.

    >>> signed(-0.001), signed(2), signed(-1.5)
    ('0.00', '+2.00', '−1.50')
    """
    text = f"{abs(value):.{digits}f}"
    return text if not float(text) else ("+" if value > 0 else "−") + text


def movement(change: int | None, place: int = 0, depth: int = 0) -> str:
    """Mark for the move of an item, with a label for screen readers.

    Args:
        change: Places gained, `None` for an item that was not among the first ones.
        place: Its place.
        depth: Number of places that are compared.
    """
    if change is None:
        title = f"not among the first {depth:,} without your preference"
        return f'<span class="move new" title="{title}">new</span>'
    if change == 0:
        return '<span class="move same" aria-label="same place">=</span>'
    way, arrow = ("up", "▲") if change > 0 else ("down", "▼")
    said = f"moved {way} {abs(change)} {'place' if abs(change) == 1 else 'places'} by your preference"
    said += f", from {place + change} to {place}" if place else ""
    return f'<span class="move {way}" title="{said}" aria-label="{said}">{arrow} {abs(change)}</span>'


def whereabouts(place: int | None, shown: int, depth: int) -> str:
    """Mark for the place with the preference of an item of the list without it.

    Args:
        place: Place with the preference; `None` if not among the first `depth`.
        shown: Number of items that are shown.
        depth: Number of places that are compared.
    """
    if place is not None and place <= shown:
        return f'<span class="move stays" title="place {place} with your preference">now {place}</span>'
    if place is None:
        title = f"not among the first {depth:,} with your preference" if depth > shown else "not in the other list"
    else:
        title = f"place {place} with your preference"
    text = "gone" if place is None else f"now {place:,}"
    return f'<span class="move gone" title="{title}">{text}</span>'


def text_names(read: Sequence[Any]) -> dict[str, str]:
    """Texts of a request by the names of their terms, such as `preference 1`."""
    names = {}
    for kind, sign in (("preference", 1), ("avoid", -1)):
        own = [text for text in read if text.strength * sign > 0]
        names |= {f"{kind} {number}": text.text for number, text in enumerate(own, start=1)}
    return names


def term_label(name: str, texts: Mapping[str, str]) -> str:
    """Label of a term.

    >>> term_label("avoid 1", {"avoid 1": "lamps"}), term_label("history", {})
    ('avoid “lamps”', 'history')
    """
    numbered = NUMBERED.fullmatch(name)
    if numbered and name in texts:
        return f"{numbered[1]} “{texts[name]}”"
    return TERM_NAMES.get(name, name)


def terms_html(
    item: Item, texts: Mapping[str, str], why: Sequence[tuple[str, float]] = (), place: int | None = None
) -> str:
    """Table of the terms of a score, with the reasons why the item moved to a `place`."""
    terms = {name: value for name, value in item["terms"].items() if name != GIVEN or round(value, 2)}
    terms = {name: terms[name] for name in sorted(terms, key=lambda name: name == SAME_FOR_ALL)}
    # the term that is the same for every item is shown alike, so the others absorb its rounding error
    same = [round(value, 2) for name, value in terms.items() if name == SAME_FOR_ALL]
    values = [*round_to_sum(list(terms.values())[: len(terms) - len(same)], item["score"] - sum(same)), *same]
    rest = round(item["score"], 2) - sum(values)
    lines = list(zip((term_label(name, texts) for name in terms), values, strict=True))
    lines += [("rest", rest)] if abs(rest) > 0.005 else []
    said = f"<p>With your preference, place {place:,}:</p>" if place else ""
    if why:
        parts = [f"{term_label(name, texts)} {'adds' if by > 0 else 'takes'} {abs(by):.1f}" for name, by in why]
        said += f"<p>Compared with the list without it, {html.escape('; '.join(parts))}.</p>"
    rows = "".join(
        f'<tr class="{"minus" if value < 0 else "plus"}"><td>{html.escape(label)}</td><td>{signed(value)}</td></tr>'
        for label, value in lines
    )
    total = f'<tr class="sum"><td>score, the sum</td><td>{signed(item["score"])}</td></tr>'
    return f'<div class="terms">{said}<table>{rows}{total}</table></div>'


def ranking_html(
    title: str,
    note: str,
    items: Sequence[Item],
    marks: Sequence[str],
    details: Sequence[str] = (),
    avoided: Sequence[str] = (),
) -> str:
    """One column of ranked items, each with a mark and its score.

    Args:
        title, note: The heading.
        items: Best first.
        marks: HTML, one per item.
        details: HTML that opens on demand, one per item, if any.
        avoided: Why an item is avoided, in plain text, empty if it is not.
    """
    lines = []
    for place, (item, mark) in enumerate(zip(items, marks, strict=True), start=1):
        why = avoided[place - 1] if avoided else ""
        row = (
            f'<span class="place">{place}</span>'
            f'<span class="text"><span class="title">{html.escape(item["title"])}</span>'
            f"{f'<small>{html.escape(why)}</small>' if why else ''}</span>{mark or '<span></span>'}"
            f'<span class="score" title="log-probability; item {item["item_id"]}">{item["score"]:.2f}</span>'
        )
        detail = details[place - 1] if details else ""
        body = f"<details><summary>{row}</summary>{detail}</details>" if detail else f'<div class="row">{row}</div>'
        kind = "is-avoided" if why else "is-gone" if "gone" in mark else ""
        lines.append(f'<li class="{kind}">{body}</li>')
    body = f"<ol>{''.join(lines)}</ol>" if lines else '<p class="empty">No item is left to recommend.</p>'
    return f'<section class="mender-list"><h3>{title}<small>{note}</small></h3>{body}</section>'


def summary(placed: Sequence[Item], num_avoided: int = 0) -> str:
    """Summarizes the moves in a sentence.

    Args:
        placed: The list with the preference, of `compare_rankings`.
        num_avoided: Items of the list without it that are avoided.

    >>> summary([{"change": None}, {"change": 2}, {"change": 0}])
    'Your preference moved 2 of 3: 1 new, 1 up.'
    >>> summary([{"change": 214}, {"change": 2}], num_avoided=3)
    'Your preference moved 2 of 2: 2 up, one by 214; 3 of the others are avoided.'
    """
    changes = [item["change"] for item in placed]
    up = [change for change in changes if change is not None and change > 0]
    counts = {
        "new": sum(change is None for change in changes),
        "up": len(up),
        "down": sum(change is not None and change < 0 for change in changes),
    }
    moved = sum(counts.values())
    if not moved:
        return "Your preference changed nothing here."
    parts = [f"{number} {name}" for name, number in counts.items() if number]
    if len(up) > 1 and not counts["down"]:
        parts.append(f"one by {max(up):,}")
    avoided = f"; {num_avoided} of the others {'is' if num_avoided == 1 else 'are'} avoided" if num_avoided else ""
    return f"Your preference moved {moved} of {len(changes)}: {', '.join(parts)}{avoided}."


def reading_html(
    read: Sequence[Any], corrections: Mapping[str, str], num_history: int, unknown: Sequence[str] = ()
) -> str:
    """Describes how the texts of a request were read: wanted and avoided texts, corrections, and unknown words.

    Args:
        read: Texts with `text`, `strength` (below 0 if avoided) and `corrections`.
        corrections: Further corrections, as written word to new word.
        num_history: Number of items of the history.
        unknown: Words that no item has.
    """
    parts = []
    for verb, sign in (("wants", 1), ("avoids", -1)):
        said = [
            f"<b>{html.escape(text.text)}</b>{'' if abs(text.strength) == 1 else f' × {abs(text.strength):g}'}"
            for text in read
            if text.strength * sign > 0
        ]
        if said:
            parts.append(f'<span class="{verb}">{verb} {", ".join(said)}</span>')
    text = ", ".join(parts) or "no preference that counts"
    if num_history:
        text += f", after {num_history} {'item' if num_history == 1 else 'items'}"
    fixed = {word: better for one in read for word, better in one.corrections.items()} | dict(corrections)
    both = list({one.text.casefold(): one.text for one in read if one.strength == 0}.values())
    notes = [f"spelling: {', '.join(f'{word} → {better}' for word, better in fixed.items())}"] if fixed else []
    notes += [f"no item has {_quoted(unknown)}: guessed from the meaning"] if unknown else []
    notes += [f"{_quoted(both)} is wanted and avoided at once: only the difference counts"] if both else []
    note = f" <small>({html.escape('; '.join(notes))})</small>" if notes else ""
    return f'<p class="mender-reading">Read as: {text}{note}</p>'


def _quoted(words: Sequence[str]) -> str:
    """Words in quotation marks, separated by commas."""
    return ", ".join(f"“{word}”" for word in words)


def answer_html(
    ranking: Sequence[Item] | None,
    plain: Sequence[Item] | None,
    k: int,
    reason: str = "",
    read: Sequence[Any] = (),
) -> str:
    """Shows both rankings side by side.

    Args:
        ranking: Ranking with the preference; `None` without a preference.
        plain: Ranking without it; `None` if the model cannot answer that, for a `reason`.
        k: Number of items of each that are shown.
        reason: Message in place of the list without the preference.
        read: The request's texts, for models whose scores have terms.
    """
    texts = text_names(read)
    has_terms = any("terms" in item for item in (ranking or plain or [])[:1])
    note = "open one to see why" if has_terms else "with log-probabilities"
    if ranking is None:
        shown = list(plain or [])[:k]
        details = [terms_html(item, texts) for item in shown] if has_terms else []
        return ranking_html("Without a preference", note, shown, [""] * len(shown), details)
    if plain is None:
        details = [terms_html(item, texts) for item in ranking[:k]] if has_terms else []
        left = ranking_html("With your preference", note, ranking[:k], [""] * len(ranking[:k]), details)
        right = f'<section class="mender-list"><h3>Without it</h3><p class="empty">{html.escape(reason)}</p></section>'
        return f'<div class="mender-answer">{left}{right}</div>'
    usual = usual_terms(ranking, plain[:k])
    placed = compare_rankings(ranking[:k], plain)
    marks = [movement(item["change"], item["place"], len(plain)) for item in placed]
    details = [terms_html(item, texts, reasons(item, usual)) for item in placed] if has_terms else []
    left = ranking_html("With your preference", note, placed, marks, details)
    right, num_avoided = _without_html(ranking, plain[:k], k, texts, usual)
    said = f'<p class="mender-summary" role="status">{html.escape(summary(placed, num_avoided))}</p>'
    return f'{said}<div class="mender-answer">{left}{right}</div>'


def _without_html(
    ranking: Sequence[Item], plain: Sequence[Item], k: int, texts: Mapping[str, str], usual: Mapping[str, float]
) -> tuple[str, int]:
    """The list without the preference, with the place of each item in the other list, and the number of avoided
    ones."""
    now = {item["item_id"]: (place, item) for place, item in enumerate(ranking, start=1)}
    marks, details, reasons_named, num_avoided = [], [], [], 0
    for item in plain:
        place, with_it = now.get(item["item_id"], (None, {}))
        why = reasons(with_it, usual)
        avoided = next((texts.get(name, name) for name, by in why if name.startswith("avoid") and by < 0), "")
        num_avoided += bool(avoided)
        reasons_named.append(f"avoided: {avoided}" if avoided else "")
        marks.append(whereabouts(place, k, len(ranking)))
        details.append(terms_html(with_it, texts, why, place) if "terms" in with_it else "")
    return ranking_html("Without it", "and where each is now", plain, marks, details, reasons_named), num_avoided
