"""Pages of a reproduction: its figures with time, disk and machine of each step, and what differs from another one."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_builders.atomic_write import write_text
from dataset_builders.benchmark.axes import AXES, get_axis
from dataset_builders.bounded_parsing import UnreadableFile
from dataset_builders.commands.compare import default_metrics, format_tests, paired_tests, rows_of
from dataset_builders.scoring.ranks import read_ranks
from dataset_builders.scoring.results import RESULTS_FILE, Results
from dataset_builders.scoring.seeds import aggregate
from dataset_builders.scoring.significance import PairedTest

from .reproduction_steps import Record, read_sealed, write_sealed

PAGE, FACTS, COMPARISONS = "reproduction.md", "reproduction.json", "comparisons.md"
RANKS_FILE = "rows.parquet"
RESAMPLES = 2000
SHOWN_NAMES = 5
# Files with times or dates, or with digests of such files, which no two runs have in common.
TIMED = ("results.json", "report.json", "training_state.json", "manifest.json", "leaderboard.json", "index.html")

Tests = dict[tuple[str, str], PairedTest]


def write_page(folder: Path, domain: str, records: Mapping[str, Record], results: Mapping[str, Sequence[str]]) -> Path:
    """Writes the page, its facts as JSON, and the paired comparisons of the first method with all others.

    Args:
        folder (`Path`): Folder of the reproduction.
        domain (`str`): Its domain.
        records (`Mapping[str, Record]`): Records of all steps, in their order.
        results (`Mapping[str, Sequence[str]]`): Method -> folders of its results, relative to `folder`, one per seed.

    Returns:
        `Path`: The page, Markdown.
    """
    figures = {name: read_figures([folder / one for one in found]) for name, found in results.items()}
    main, *others = results
    tests = {name: compare_methods(folder, folder, results[main], results[name]) for name in others}
    pages = [folder / name for name in (PAGE, FACTS, COMPARISONS)]
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path not in pages)
    facts = {
        "domain": domain,
        "bytes": disk,
        "steps": {name: {**vars(record), "bytes": record.num_bytes} for name, record in records.items()},
        "results": {name: list(found) for name, found in results.items()},
        "figures": figures,
        "comparisons": {
            f"{main} minus {name}": [
                {"axis": axis, "metric": metric, **vars(test)} for (axis, metric), test in found.items()
            ]
            for name, found in tests.items()
        },
    }
    write_sealed(folder / FACTS, facts)
    parts = [
        f"# {main} minus each other method",
        "With the preference, all items; the value of a row is the mean over the seeds of a method.",
    ]
    parts += [f"## {main} minus {name}\n\n{format_tests(found)}" for name, found in tests.items()]
    write_text(folder / COMPARISONS, "\n\n".join(parts) + "\n")
    return write_text(folder / PAGE, page_text(facts))


def read_figures(folders: Sequence[Path]) -> dict[str, Any]:
    """Reads the figures of a method with the preference: mean, deviation and the intervals of its seeds, by axis."""
    results = [Results.read(one / RESULTS_FILE) for one in folders]
    figures: dict[str, Any] = {}
    for axis, found in aggregate(results).items():
        figures[axis] = {"num_rows": found.num_rows}
        for name, spread in (found.all.with_preference or {}).items():
            intervals = [(one.axes[axis].intervals.with_preference or {}).get(name) for one in results]
            figures[axis][name] = {"mean": spread.mean, "std": spread.std, "intervals": intervals}
    return figures


def compare_methods(
    here: Path, there: Path, first: Sequence[str], second: Sequence[str], axes: Sequence[str] = tuple(AXES)
) -> Tests:
    """Tests the main metrics of two methods, or of one in two folders, row by row.

    Raises:
        ValueError: If they were scored on other rows.
    """
    one, other = ([read_ranks(root / name / RANKS_FILE)[0] for name in names]
                  for root, names in ((here, first), (there, second)))  # fmt: skip
    metrics = {
        axis: default_metrics(axis) for axis in axes if all(len(rows_of(ranks, axis)) for ranks in (*one, *other))
    }
    return paired_tests(one, other, metrics, resamples=RESAMPLES)


def page_text(facts: Mapping[str, Any]) -> str:
    """Text of the page."""
    steps = facts["steps"]
    machines = list({json.dumps(step["machine"]): step["machine"] for step in steps.values()}.values())
    lines = [f"# Reproduction of {facts['domain']}", "", "## Machine", ""]
    lines += [f"{number}. {describe(machine)}" for number, machine in enumerate(machines, 1)]
    lines += ["", "## Figures", "", "Mean (standard deviation over seeds), with the preference, all items.", ""]
    lines += [figures_table(facts["figures"]), ""]
    lines += [f"Intervals and other metrics: `{FACTS}`. Paired comparisons: `{COMPARISONS}`. The paper's tables: "
              "`tables/`. Leaderboard: `leaderboard/index.html`. Logs: `logs/`.", "", "## Steps", ""]  # fmt: skip
    lines += [
        "| step | seconds | processor seconds | MB | threads | machine | runs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, step in steps.items():
        lines.append(
            f"| {name} | {step['seconds']:.1f} | {step['processor_seconds']:.1f} | {step['bytes'] / 1e6:.1f} | "
            f"{step['threads']} | {1 + machines.index(step['machine'])} | {step['runs']} |"
        )
    totals = [sum(step[name] for step in steps.values()) for name in ("seconds", "processor_seconds")]
    lines.append(
        f"| all, with caches and checkpoints | {totals[0]:.1f} | {totals[1]:.1f} | {facts['bytes'] / 1e6:.1f} | | | |"
    )
    lines += ["", "Commands, in this folder:", "", "```bash"]
    lines += [f"mender {shlex.join(step['words'])}" for step in steps.values()]
    return "\n".join([*lines, "```", ""])


def figures_table(figures: Mapping[str, Any]) -> str:
    """Table of the main metric of every axis, a column per method."""
    lines = [f"| axis | metric | rows | {' | '.join(figures)} |", f"|---|---|---:|{'---:|' * len(figures)}"]
    for axis in AXES:
        found = [of_method.get(axis, {}) for of_method in figures.values()]
        if any(found):
            metric = get_axis(axis).main_metric()
            cells = [_cell(one.get(metric)) for one in found]
            rows = next(one["num_rows"] for one in found if one)
            lines.append(f"| {axis} | {metric} | {rows} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    return f"{figure['mean']:.4f}" + ("" if figure["std"] is None else f" ({figure['std']:.4f})")


def describe(machine: Mapping[str, Any]) -> str:
    """A machine in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items() if value is not None)


def compare_folders(here: Path, there: Path) -> str:
    """Compares two finished reproductions: machines, time and disk, files byte for byte, and figures row by row.

    Args:
        here, there (`Path`): Their folders; `reproduction.json` and the `rows.parquet` of the results suffice.

    Returns:
        `str`: Markdown.

    Raises:
        FileNotFoundError: If one is not finished.
        ValueError: If a file is damaged.
    """
    facts = [read_facts(folder) for folder in (here, there)]
    lines = [f"# {here} (first) and {there} (second)", "", *_machine_lines(*facts), ""]
    steps = [one["steps"] for one in facts]
    lines += [*_command_lines(*steps), "## Files", "", *_file_lines(*steps), ""]
    return "\n".join([*lines, "## Figures", "", *_figure_lines(here, there, *facts)])


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads the facts of a finished reproduction."""
    path = folder / FACTS
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; name the folder of a reproduction that has ended well.")
    try:
        return read_sealed(path)
    except UnreadableFile as error:
        raise ValueError(f"{path} cannot be read ({error}); run mender reproduce there again.") from None


def _machine_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What differs of the machines, and the time and disk of both."""
    described = [{**one["machine"], "threads": one["threads"]} for facts in (first, second)
                 for one in [next(iter(facts["steps"].values()))]]  # fmt: skip
    rows = {name: [one.get(name) for one in described] for name in described[0]}
    rows = {name: values for name, values in rows.items() if values[0] != values[1]}
    for name in ("seconds", "processor_seconds"):
        rows[name] = [f"{sum(step[name] for step in facts['steps'].values()):.0f}" for facts in (first, second)]
    rows["MB"] = [f"{facts['bytes'] / 1e6:.0f}" for facts in (first, second)]
    lines = ["| machine of the build, where it differs; sums over the steps | first | second |", "|---|---|---|"]
    return lines + [f"| {name.replace('_', ' ')} | {values[0]} | {values[1]} |" for name, values in rows.items()]


def _command_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The words in which the commands of the two differ, each with its steps; nothing if there are none."""
    steps: dict[str, list[str]] = {}
    for name in [name for name in first if name in second]:
        one, other = (options_of(of_folder[name]["words"]) for of_folder in (first, second))
        only = {
            "first": [f"`{word}`" for word in one if word not in other],
            "second": [f"`{word}`" for word in other if word not in one],
        }
        said = "; ".join(f"only in the {which}: {_shortened(words)}" for which, words in only.items() if words)
        if said:
            steps.setdefault(said, []).append(name)
    lines = [f"- {said}. Steps: {_shortened(names)}." for said, names in steps.items()]
    return ["## Commands that differ", "", *lines, ""] if lines else []


def options_of(words: Sequence[str]) -> list[str]:
    """Parts of a command line: its positional arguments, and each option with its values.

    >>> options_of(["tables", "results/a", "--max_rows", "50", "--overwrite"])
    ['tables', 'results/a', '--max_rows 50', '--overwrite']
    """
    parts: list[str] = []
    for word in words:
        if parts and parts[-1].startswith("--") and not word.startswith("--"):
            parts[-1] += f" {shlex.quote(word)}"
        else:
            parts.append(shlex.quote(word))
    return parts


def _shortened(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def _file_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """How many files of each step are equal byte for byte, and the names of those that are not."""
    lines = ["| step | files | equal | with times or dates | different |", "|---|---:|---:|---:|---|"]
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second:
            lines.append(f"| {name} | | | | only in the {'first' if name in first else 'second'} |")
            continue
        files = [steps[name]["files"] for steps in (first, second)]
        names = dict.fromkeys([*files[0], *files[1]])
        unequal = [one for one in names if files[0].get(one) != files[1].get(one)]
        moved = [one for one in unequal if Path(one).name not in TIMED or not all(one in part for part in files)]
        num_equal, num_timed = len(names) - len(unequal), len(unequal) - len(moved)
        lines.append(f"| {name} | {len(names)} | {num_equal} | {num_timed} | {_shortened(moved)} |")
    return lines


def _figure_lines(here: Path, there: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The figures that differ, with the interval of the difference where both have the same rows."""
    lines = [
        "First minus second, with the preference, all items, means over the seeds of both.", "",
        "| method | axis | metric | first | second | difference | 95 % interval | rows that differ | rows |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    head, num_equal, num_equal_means = len(lines), 0, 0
    for method in [name for name in first["results"] if name in second["results"]]:
        both = [name for name in first["results"][method] if name in second["results"][method]]  # of the same seeds
        if not both:
            continue
        figures = [read_figures([folder / name for name in both]) for folder in (here, there)]
        for axis in [axis for axis in figures[0] if axis in figures[1]]:
            try:
                tests = compare_methods(here, there, both, both, [axis])
            except ValueError:  # other rows: of another benchmark, or another number
                tests = {}
            for metric in default_metrics(axis):
                one, other = (of_folder[axis].get(metric) for of_folder in figures)
                if one is None or other is None:
                    continue
                test = tests.get((axis, metric))
                if one["mean"] == other["mean"] and (test is None or not test.num_changed):
                    num_equal += test is not None
                    num_equal_means += test is None
                    continue
                rows = "other rows | | |"
                if test is not None:
                    low, high = test.interval
                    rows = f"{low:+.4f} .. {high:+.4f} | {test.num_changed} | {test.num_rows} |"
                lines.append(
                    f"| {method} | {axis} | {metric} | {_cell(one)} | {_cell(other)} | "
                    f"{one['mean'] - other['mean']:+.4f} | {rows}"
                )
    apart = f", {num_equal_means} have equal means on other rows" if num_equal_means else ""
    return [*lines, "", f"{len(lines) - head} figures differ, {num_equal} are equal on every row{apart}."]
