"""Report of a user study: shares of answers with intervals, agreement of annotators, and a model beside people."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..escaping import markdown
from ..scoring.significance import resampled_means, wilson_interval
from .form import ANSWERS, MODEL, PERSON, QUESTIONS, SKIP, Row

GIVEN_ACCURATE = "related, if accurate"
"""The matched preference where its annotator finds it accurate: the computed fourth question of appendix F."""
RESAMPLES = 10_000

Item = tuple[str, int, str]
"""(user_id, position, preference)."""


class Judgment(NamedTuple):
    """One answer of one annotator about one preference."""

    annotator: str
    kind: str
    item: Item
    answer: str


def make_report(rows: Iterable[Row]) -> dict[str, Any]:
    """Computes the report of answers; of two answers of one annotator to one question, the later one counts.

    Args:
        rows (`Iterable[Row]`): In the order in which they were given, of any domains.

    Returns:
        `dict`: JSON values: `people`, `models` (names), `skipped`, and `domains`, each with `people`, `models` and
        `compared` by question, see [`summarize`] and [`compare`].

    Raises:
        ValueError: If there is no answer.
    """
    latest = {(row["kind"], row["annotator"], row["domain"], row["question"], _item(row)): row for row in rows}
    by_domain: dict[str, dict[str, list[Judgment]]] = defaultdict(lambda: defaultdict(list))
    for row in latest.values():
        if row["question"] != SKIP:
            judgment = Judgment(row["annotator"], row["kind"], _item(row), row["answer"])
            by_domain[row["domain"]][row["question"]].append(judgment)
    if not by_domain:
        raise ValueError(
            "there is no answer yet; let people judge with mender user-study, or a model with judge-study."
        )
    given = [row for row in latest.values() if row["question"] != SKIP]
    return {
        "people": len({row["annotator"] for row in given if row["kind"] == PERSON}),
        "models": sorted({row["annotator"] for row in given if row["kind"] == MODEL}),
        "answers": len(given),
        "skipped": len(latest) - len(given),
        "domains": {domain: _report_domain(by_domain[domain]) for domain in sorted(by_domain)},
    }


def _report_domain(judgments: dict[str, list[Judgment]]) -> dict[str, Any]:
    accurate = {(one.kind, one.annotator, one.item) for one in judgments["accurate"] if one.answer == "yes"}
    related = [one for one in judgments["related"] if (one.kind, one.annotator, one.item) in accurate]
    questions = {name: judgments[name] for name in QUESTIONS} | {GIVEN_ACCURATE: related}
    people = {name: [one for one in found if one.kind == PERSON] for name, found in questions.items()}
    models = sorted({one.annotator for found in questions.values() for one in found if one.kind == MODEL})
    report: dict[str, Any] = {"people": _summaries(people), "models": {}, "compared": {}}
    for model in models:
        own = {
            name: [one for one in found if (one.kind, one.annotator) == (MODEL, model)]
            for name, found in questions.items()
        }
        report["models"][model] = _summaries(own)
        if any(people.values()):
            pairs = {name: compare(people[name], own[name]) for name in QUESTIONS}
            report["compared"][model] = {name: found for name, found in pairs.items() if found is not None}
    return report


def _summaries(questions: dict[str, list[Judgment]]) -> dict[str, Any]:
    return {name: summarize(found) for name, found in questions.items() if found}


def summarize(judgments: Sequence[Judgment]) -> dict[str, Any]:
    """Counts the answers to one question, with the share of yes and the agreement.

    Args:
        judgments (`Sequence[Judgment]`): At least one.

    Returns:
        `dict`: `annotators`, `answers`, `preferences` and `overlaps` (preferences judged by two or more); `counts` by
        answer; `share`, of yes among all answers, with its `interval` (or `None`) and the number of `users` that it
        was resampled over; `alpha` (or `None`) and, where it is not defined, `why`.
    """
    raters = Counter(one.item for one in judgments)
    alpha, why = krippendorff_alpha(judgments)
    return {
        "annotators": len({one.annotator for one in judgments}),
        "answers": len(judgments),
        "preferences": len(raters),
        "overlaps": sum(count > 1 for count in raters.values()),
        "counts": {name: sum(one.answer == name for one in judgments) for name in ANSWERS},
        **share_of([one.answer == "yes" for one in judgments], [one.item[0] for one in judgments]),
        "alpha": alpha,
        **({"why": why} if why else {}),
    }


def compare(people: Sequence[Judgment], model: Sequence[Judgment]) -> dict[str, Any] | None:
    """Holds the answers of a model to one question against those of people about the same preferences.

    Args:
        people, model (`Sequence[Judgment]`): Answers to one question, or none.

    Returns:
        `dict` or `None`: `pairs` of a person's and the model's answer; `share` of equal ones, with `interval` and
        `users`; `confusion`, the number of pairs by the person's answer and the model's; `alpha_people` and
        `alpha_with_model` on these preferences. `None` if they have no preference in common.
    """
    answer_of = {one.item: one.answer for one in model}
    both = [one for one in people if one.item in answer_of]
    if not both:
        return None
    confusion = {name: dict.fromkeys(ANSWERS, 0) for name in ANSWERS}
    for one in both:
        confusion[one.answer][answer_of[one.item]] += 1
    equal = [one.answer == answer_of[one.item] for one in both]
    shared = {one.item for one in both}
    return {
        "pairs": len(both),
        **share_of(equal, [one.item[0] for one in both]),
        "confusion": confusion,
        "alpha_people": krippendorff_alpha(both)[0],
        "alpha_with_model": krippendorff_alpha([*both, *(one for one in model if one.item in shared)])[0],
    }


def share_of(hits: Sequence[bool], users: Sequence[str]) -> dict[str, Any]:
    """A share, with a 95 % bootstrap interval over users: answers about one history are not independent.

    Where all answers are the same, resampling shows no variation, and the interval is Wilson's, one value a user.

    Args:
        hits (`Sequence[bool]`): At least one.
        users (`Sequence[str]`): User whose history each is about.

    Returns:
        `dict`: `share`, `interval` (`None` for a single user) and `users`.

    >>> share_of([True, True, False, False], ["a", "a", "b", "b"])
    {'share': 0.5, 'interval': [0.0, 1.0], 'users': 2}
    >>> share_of([True, True], ["a", "a"])
    {'share': 1.0, 'interval': None, 'users': 1}
    """
    clusters: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for hit, user in zip(hits, users, strict=True):
        clusters[user][0] += hit
        clusters[user][1] += 1
    share, interval = sum(hits) / len(hits), None
    if len(clusters) > 1:
        if share in (0, 1):
            low, high = wilson_interval(share, len(clusters))
        else:
            means = resampled_means(np.array(list(clusters.values()), float), np.random.default_rng(0), RESAMPLES)
            low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
        interval = [round(float(low), 4), round(float(high), 4)]
    return {"share": round(share, 4), "interval": interval, "users": len(clusters)}


def krippendorff_alpha(judgments: Sequence[Judgment]) -> tuple[float | None, str]:
    """Krippendorff's alpha of nominal answers: 1 for perfect agreement, 0 for that of chance (Krippendorff, 1980).

    Args:
        judgments (`Sequence[Judgment]`): Answers to one question.

    Returns:
        `tuple`: Alpha and `""`; or `None` and why it is not defined.

    Raises:
        ImportError: If nltk is not installed.
    """
    raters = Counter(one.item for one in judgments)
    shared = [one for one in judgments if raters[one.item] > 1]
    if not shared:
        return None, "no preference was judged by two annotators"
    if len({one.answer for one in shared}) == 1:
        return None, "all answers are the same, so that chance explains them as well"
    from nltk.metrics.agreement import AnnotationTask

    triples = [(f"{one.kind} {one.annotator}", one.item, one.answer) for one in shared]
    return round(float(AnnotationTask(data=triples).alpha()), 4), ""


def format_report(report: dict[str, Any]) -> str:
    """Renders a report as Markdown."""
    people, models = report["people"], report["models"]
    lines = [
        "# User study",
        "",
        f"{_count(people, 'person', 'people')} and {_count(len(models), 'model')} gave "
        f"{_count(report['answers'], 'answer')}; {_count(report['skipped'], 'history', 'histories')} skipped.",
    ]
    for domain, found in report["domains"].items():
        lines += ["", f"## {markdown(domain)}", "", *_format_summaries(found)]
        for model, compared in found["compared"].items():
            lines += ["", *_format_comparison(model, compared)]
    lines += [
        "",
        "Shares are of *yes* among all answers. Their 95 % intervals are resampled over the users whose histories "
        "were judged, not over annotators. Overlaps are preferences that two or more annotators judged; alpha is "
        "Krippendorff's, of nominal answers, over these.",
    ]
    return "\n".join(lines) + "\n"


def _format_summaries(found: dict[str, Any]) -> list[str]:
    header = [
        "question",
        "by",
        "annotators",
        "answers",
        "preferences",
        "overlaps",
        "yes",
        "95 %",
        "no",
        "cannot tell",
        "alpha",
    ]
    lines = [_line(header), "|---|---|" + "---:|" * (len(header) - 2)]
    notes = []
    makers = {"people": found["people"], **{markdown(name): one for name, one in found["models"].items()}}
    for maker, questions in makers.items():
        for question, one in questions.items():
            no, unknown = (f"{one['counts'][name] / one['answers']:.1%}" for name in ("no", "cannot_tell"))
            cells = [question, maker, one["annotators"], one["answers"], one["preferences"], one["overlaps"]]
            lines.append(_line([*cells, *_share_cells(one), no, unknown, _alpha_cell(one["alpha"])]))
            if maker == "people" and "why" in one:
                notes.append(f"- Alpha of *{question}* is not defined: {one['why']}.")
    return [*lines, "", *notes] if notes else lines


def _format_comparison(model: str, compared: dict[str, Any]) -> list[str]:
    name = markdown(model)
    if not compared:
        return [f"### {name} beside people", "", "They judged no preference in common."]
    lines = [
        f"### {name} beside people",
        "",
        "| question | pairs | equal | 95 % | alpha of the people | alpha with the model |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for question, one in compared.items():
        alphas = [_alpha_cell(one[key]) for key in ("alpha_people", "alpha_with_model")]
        lines.append(_line([question, one["pairs"], *_share_cells(one), *alphas]))
    said = [name.replace("_", " ") for name in ANSWERS]
    lines += [
        "",
        _line(["question", "people say", *(f"model: {answer}" for answer in said)]),
        "|---|---|---:|---:|---:|",
    ]
    for question, one in compared.items():
        for answer, row in zip(said, one["confusion"].values(), strict=True):
            lines.append(_line([question, answer, *row.values()]))
    return lines


def _line(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _share_cells(one: dict[str, Any]) -> list[str]:
    low_high = "one user" if one["interval"] is None else " to ".join(f"{end:.1%}" for end in one["interval"])
    return [f"{one['share']:.1%}", low_high]


def _alpha_cell(alpha: float | None) -> str:
    return "not defined" if alpha is None else f"{alpha:.3f}"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _item(row: Row) -> Item:
    return (row["user_id"], row["position"], row["preference"])
