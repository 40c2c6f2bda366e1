"""Rank leaderboard records and render them as an HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..benchmark.axes import AXES
from ..benchmark.baselines import BASELINES

TITLE = "Preference discerning leaderboard"


def make_tables(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups records into tables, one per set of scored rows, so that only comparable scores share a table.

    Args:
        records (`Iterable[Mapping]`): Of `leaderboard.json`.

    Returns:
        `list[dict]`: By domain and axis, those of the benchmark as it is now first: `domain`, `axis`, `title`,
        `metric`, `description`, `num_rows`, `fingerprint`, `stale`, and `entries`, best first: records with `rank`
        (equal values share one) and `bar`, the interval and the value in percent of the table's largest figure; and
        `baselines`, which have no rank, even where they were scored as a method: `title`, `value` and `bar`.
    """
    order = list(AXES)
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for record in records:
        rows = (record.get("stale", False), record["fingerprint"] or "", record["num_rows"] or 0)
        groups.setdefault((record["domain"], order.index(record["axis"]), *rows), []).append(record)
    tables = []
    for key in sorted(groups, key=lambda key: (*key[:3], -key[4], key[3])):
        domain, axis, stale, fingerprint, num_rows = key
        tables.append(
            {
                "domain": domain,
                "axis": order[axis],
                "title": AXES[order[axis]].title,
                "metric": groups[key][0]["metric"],
                "description": AXES[order[axis]].description,
                "num_rows": num_rows or None,
                "fingerprint": fingerprint or None,
                "stale": stale,
                "entries": rank_records(groups[key]),
                "baselines": baseline_rows(groups[key]),
            }
        )
    return tables


def rank_records(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ranks the records of one table but the baselines, best first.

    >>> records = [{"model": name, "value": value, "interval": None} for name, value in zip("abc", (0.1, 0.2, 0.2))]
    >>> [(record["rank"], record["model"]) for record in rank_records(records)]
    [(1, 'b'), (1, 'c'), (3, 'a')]
    """
    largest, models = _largest(records), _models(records)
    ranked = []
    for record in sorted(models, key=lambda record: (-record["value"], record["model"])):
        rank = 1 + sum(other["value"] > record["value"] for other in models)
        low, high = record["interval"] or (record["value"], record["value"])
        bar = [round(100 * min(figure / largest, 1), 2) for figure in (low, record["value"], high)]
        ranked.append({**record, "rank": rank, "bar": bar})
    return ranked


def baseline_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What needs no training on the rows of one table, best first.

    A value is that of the first record which states baselines, else of a baseline's own record.

    >>> baseline_rows([{"value": 0.5, "interval": None, "baselines": {"constant_list": 0.25}}])
    [{'title': 'constant list', 'value': 0.25, 'bar': 50.0}]
    """
    found = _baselines(records)
    largest = _largest(records)
    rows = [
        {"title": BASELINES[name], "value": value, "bar": round(100 * value / largest, 2)}
        for name, value in found.items()
    ]
    return sorted(rows, key=lambda row: -row["value"])


def _models(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [record for record in records if record.get("method") not in BASELINES]


def _baselines(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    stated: Mapping[str, float] = next((record["baselines"] for record in records if record.get("baselines")), {})
    scored = {record["method"]: record["value"] for record in records if record.get("method") in BASELINES}
    known = {**scored, **stated}
    return {name: known[name] for name in BASELINES if name in known}


def _largest(records: Sequence[Mapping[str, Any]]) -> float:
    """The largest figure of a table, baselines included; 1 if all are 0."""
    ends = [(record["interval"] or [0, record["value"]])[1] for record in _models(records)]
    return max(*ends, *_baselines(records).values(), 0) or 1


def writers(records: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Approximators of the preferences behind the scores, by domain."""
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record["domain"], set()).update(
            [record["approximator"]] if record.get("approximator") else []
        )
    return {domain: sorted(names) for domain, names in sorted(found.items())}


def render_page(records: Sequence[Mapping[str, Any]], template: Path, benchmark: str | None = None) -> str:
    """Renders the page as self-contained HTML.

    Args:
        records (`Sequence[Mapping]`): Of `leaderboard.json`.
        template (`Path`): A jinja2 template.
        benchmark (`str`, *optional*): Name of the dataset, for the text.
    """
    import jinja2  # imported here, for submissions do not need it

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        title=TITLE,
        benchmark=benchmark,
        domains=sorted({record["domain"] for record in records}),
        tables=make_tables(records),
        writers=writers(records),
        over_seeds=any(record["num_seeds"] > 1 for record in records),
    )


def readme(benchmark: str | None = None) -> str:
    """README.md of a static Space of the page."""
    of = f" of [{benchmark}](https://huggingface.co/datasets/{benchmark})" if benchmark else ""
    datasets = f"datasets:\n- {benchmark}\n" if benchmark else ""
    return (
        f"---\ntitle: {TITLE}\nsdk: static\ntags:\n- leaderboard\n- preference-discerning\n- recommender-systems\n"
        f"{datasets}---\n\n# {TITLE}\n\n"
        f"Scores{of} on the evaluation axes, collected by `mender leaderboard`: `index.html` is the page, "
        "`leaderboard.json` holds its records.\n"
    )
