"""Render the measurements of obedience as Markdown tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from .metrics import DEPTH, SHORT, main_measure

SIDES = ("without_history", "with_history")


def format_results(measured: Mapping[str, Any]) -> str:
    """Renders all tables of the result of [`~dataset_builders.obedience.measuring.measure`]."""
    parts = [
        format_scores(measured["methods"]),
        format_avoided(measured["methods"]),
        format_wordings(measured["wordings"]),
    ]
    if measured["monotone"] is not None:
        parts.append(format_strengths(measured["monotone"]))
    if measured["curve"] is not None:
        parts.append(format_curve(measured["curve"]))
    return "\n\n".join(parts)


def format_scores(methods: Mapping[str, Any]) -> str:
    """Renders the main measure of every kind of ask, of the model and of the baselines.

    >>> entry = {"free": {"seen": {"with_history": {"found": {"mean": 0.5, "low": 0.2, "high": 0.8, "lists": 9}}}}}
    >>> print(format_scores({"model": entry, "words": entry}).splitlines()[-1])
    | free | seen | found | - | 0.50 | 0.20 to 0.80 | 9 | - / 0.50 |
    """
    others = [name for name in methods if name != "model"]
    lines = [
        "| ask | wording | measure | no history | over histories | 95 % | lists | " + " | ".join(others) + " |",
        "|---|---|---|---:|---:|---|---:|" + "---:|" * len(others),
    ]
    for kind, seen, sides in _rows(methods["model"]):
        name = main_measure(kind)
        bare, over = (sides.get(side, {}).get(name) for side in SIDES)
        shown = over or bare
        beside = [
            " / ".join(_cell(methods[other].get(kind, {}).get(seen, {}).get(side, {}).get(name)) for side in SIDES)
            for other in others
        ]
        interval = f"{shown['low']:.2f} to {shown['high']:.2f}"
        cells = [kind, seen, name, _cell(bare), _cell(over), interval, str(shown["lists"]), *beside]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_avoided(methods: Mapping[str, Any]) -> str:
    """Renders avoided items before and after, and the kept part of the history's own list, over histories alone."""
    names = [f"{name}@{k}" for k in (SHORT, DEPTH) for name in ("avoided_before", "avoided")] + ["kept", "order_kept"]
    shown = [name for name in methods if name != "no preference"]
    lines = [
        "| ask | wording | method | before, first 5 | after | before, first 10 | after | kept | in order |",
        "|---|---|---|" + "---:|" * len(names),
    ]
    for kind, seen, _ in _rows(methods["model"]):
        for method in shown:
            values = methods[method].get(kind, {}).get(seen, {}).get("with_history", {})
            if f"avoided@{SHORT}" in values:
                cells = [kind, seen, method, *(_cell(values.get(name)) for name in names)]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_strengths(monotone: Mapping[str, Any]) -> str:
    """Renders compliance at each strength, and the number of requests in which it falls."""
    strengths = [f"{strength:g}" for strength in monotone["strengths"]]
    lines = [
        "| ask | requests | falling | largest fall | " + " | ".join(strengths) + " |",
        "|---|---:|---:|---:|" + "---:|" * len(strengths),
    ]
    for kind, entry in monotone["kinds"].items():
        cells = [kind, str(entry["requests"]), str(entry["falling"]), f"{entry['largest_fall']:.2f}"]
        lines.append(f"| {' | '.join([*cells, *(f'{value:.2f}' for value in entry['compliance'])])} |")
    zero = monotone["strength_0"]
    lines.append(f"\nStrength 0 gives the list without preference in {zero['equal']} of {zero['lists']} lists.")
    return "\n".join(lines)


def format_curve(curve: Mapping[str, Any]) -> str:
    """Renders strength against a hard filter: remaining avoided items, and NDCG@10 of the true next item."""
    sources = list(curve["filters"])
    lines = [
        f"| way | avoided among {DEPTH} | kept | NDCG@{DEPTH} | 95 % | "
        + " | ".join(f"filter by {name} at equal suppression" for name in sources)
        + " |",
        "|---|---:|---:|---:|---|" + "---:|" * len(sources),
    ]
    for place, point in enumerate(curve["strength"]):
        equal = [curve["filters"][name]["at_equal_suppression"][place] for name in sources]
        beside = ["-" if value is None else f"{value:.4f}" for value in equal]
        lines.append(_curve_line(f"strength {point['strength']:g}", point, beside))
    for name in sources:
        for point in curve["filters"][name]["points"]:
            lines.append(_curve_line(f"filter by {name}, {point['removed']:.0f} items", point, [""] * len(sources)))
    return "\n".join(lines)


def format_wordings(wordings: Mapping[str, Any]) -> str:
    """Renders the worst wording of each kind of ask by its main measure."""
    lines = ["| ask | worst wording, an example | measure | lists |", "|---|---|---:|---:|"]
    for kind, entries in wordings.items():
        sign = -1 if main_measure(kind).startswith("avoided") else 1
        worst = min(entries.values(), key=lambda entry: sign * entry["mean"])
        lines.append(f"| {kind} | {worst['example']} | {worst['mean']:.2f} | {worst['lists']} |")
    return "\n".join(lines)


def _curve_line(way: str, point: Mapping[str, float], beside: Sequence[str]) -> str:
    interval = f"{point['ndcg_low']:.4f} to {point['ndcg_high']:.4f}"
    avoided, kept, gain = point[f"avoided@{DEPTH}"], point["kept"], point[f"ndcg@{DEPTH}"]
    cells = [way, f"{avoided:.3f}", f"{kept:.2f}", f"{gain:.4f}", interval, *beside]
    return f"| {' | '.join(cells)} |"


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [(kind, seen, sides) for kind, entry in summary.items() for seen, sides in entry.items()]


def _cell(value: Mapping[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.2f}"
