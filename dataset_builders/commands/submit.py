"""Submit a results.json to the leaderboard, as a pull request on the model's repository.

    mender submit outputs/my_model/results.json --model org/name \
        --benchmark org/pref-discerning --dry_run

Checks the file, recomputes its scores from rows.parquet beside it, and prints the files. The pull request has
`.eval_results/*.yaml`, which the Hub shows and the leaderboard collects, and `results/DOMAIN.json`, the results
without local paths.
"""

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ..benchmark.report import is_on_the_hub
from ..escaping import markdown, one_line, printable
from ..hub_http import check_repo_id
from ..leaderboard import hub
from ..leaderboard.submission import (
    Change,
    compare,
    entries_file,
    find_waiting,
    make_entries,
    merge,
    published_results,
    read_entry_files,
    results_file,
)
from ..leaderboard.validation import check_benchmark, check_figures, check_ranks
from ..scoring.ranks import read_ranks
from ..scoring.results import InvalidResults, Results
from ..typed_arguments import check_flag, is_future, parse_day, shown
from .command_line import CommandParser, defaults_of, explain, run_command


@dataclass(frozen=True)
class Submission:
    """A change of a model's repository: `files` is path -> text, `parent` the commit below it (`None` if local)."""

    changes: Sequence[Change]
    left_out: Sequence[str]
    files: Mapping[str, str]
    parent: str | None


@dataclass(kw_only=True)
class SubmissionArguments:
    """Arguments of [`submit`]; `--help` describes each."""

    results: Path
    model: str
    benchmark: str
    revision: str | None = None
    source_url: str | None = None
    notes: str | None = None
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    dry_run: bool = False
    no_pr: bool = False


def parse_arguments(argv: list[str] | None) -> SubmissionArguments:
    parser = CommandParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "results", type=Path, metavar="RESULTS.json", help="results file of mender evaluate or mender score"
    )
    parser.add_argument("--model", required=True, help="model on the Hub, as in org/name")
    parser.add_argument(
        "--benchmark", required=True, help="benchmark on the Hub; with --dry_run also a local directory"
    )
    parser.add_argument("--revision", help="revision of the benchmark; default: that of the results, else main")
    parser.add_argument("--source_url", help="address of a description of the evaluation")
    parser.add_argument("--notes", help="short note on the setup")
    parser.add_argument("--date", help="day of the evaluation, as in 2026-11-20; default: today")
    parser.add_argument("--dry_run", action="store_true", help="check and print everything, but send nothing")
    parser.add_argument("--no_pr", action="store_true", help="commit directly instead of opening a pull request")
    parser.set_defaults(**defaults_of(SubmissionArguments))
    return SubmissionArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Submits results; returns 0, or 1 after one line per objection."""
    return run_command(lambda: submit(parse_arguments(argv)))


def submit(arguments: SubmissionArguments) -> None:
    """Checks and prints the submission, and sends it unless `--dry_run` is given."""
    check_arguments(arguments)
    results = read_results(arguments)
    revision = check(arguments, results)
    submission = prepare(arguments, results, revision)
    show(submission, arguments)
    if all(change.kind == "already submitted" for change in submission.changes):
        raise ValueError(
            f"all {len(submission.changes)} scores are already submitted: {arguments.model} has the same values for "
            "the same tasks and revision; nothing was sent."
        )
    if arguments.dry_run:
        print("nothing was sent (--dry_run)")
        return
    name = arguments.benchmark.split("/")[-1]
    url = hub.commit_files(
        arguments.model,
        submission.files,
        submission.parent,
        message=f"Add results on {name} ({results.domain})",
        description=change_table(submission.changes) + "\n",
        create_pr=not arguments.no_pr,
    )
    print(f"{'commit' if arguments.no_pr else 'pull request'}: {url}")


def check_arguments(arguments: SubmissionArguments) -> None:
    check_repo_id(arguments.model, "--model")
    if not is_on_the_hub(arguments.benchmark) and not arguments.dry_run:
        raise ValueError(
            f"--benchmark ({arguments.benchmark}) is a local directory; name the dataset on the Hub, or add --dry_run."
        )
    for name in ("dry_run", "no_pr"):
        check_flag(name, getattr(arguments, name))
    day = parse_day(arguments.date)
    if day is None or is_future(day):
        raise ValueError(f"--date ({shown(arguments.date)}) must be a day as in 2026-11-20, and none in the future.")
    url = arguments.source_url
    if url is not None and not (url.startswith(("https://", "http://")) and url.isprintable()):
        raise ValueError(f"--source_url ({shown(url)}) must be an address that begins with https:// or http://.")


def read_results(arguments: SubmissionArguments) -> Results:
    """Reads the results; refuses them with every objection if there is any."""
    try:
        results = Results.read(arguments.results)
        if problems := check_figures(results):
            raise InvalidResults(str(arguments.results), problems)
    except InvalidResults as error:
        refuse(arguments, error.problems, " so far (rows and ranks are checked once these are resolved)")
    return results


def check(arguments: SubmissionArguments, results: Results) -> str | None:
    """Checks rows and ranks; returns the commit of the benchmark, or refuses with every objection."""
    problems: list[str] = []
    benchmark = None
    revision, named_by = choose_revision(arguments, results)
    try:
        benchmark = hub.read_benchmark(arguments.benchmark, results.domain, revision)
        problems += check_benchmark(results, benchmark)
    except (ValueError, OSError) as error:
        problems.append(explain(error) + named_by)
    ranks = arguments.results.with_name("rows.parquet")
    if not ranks.is_file():
        print(f"note: no {ranks.name} beside {arguments.results}; the scores are not recomputed")
    else:
        try:
            problems += check_ranks(results, read_ranks(ranks)[0])
        except ValueError as error:
            problems.append(str(error))
    if problems or benchmark is None:
        refuse(arguments, problems)
    return benchmark.revision


def refuse(arguments: SubmissionArguments, problems: Sequence[str], more: str = "") -> NoReturn:
    """Prints the objections on stderr, and raises."""
    for problem in problems:
        print(f"- {printable(problem)}", file=sys.stderr)
    raise ValueError(f"{arguments.results} is refused, objections: {len(problems)}{more}; nothing was sent.")


def choose_revision(arguments: SubmissionArguments, results: Results) -> tuple[str | None, str]:
    """The revision of the benchmark to check against (`None` if local), and a sentence for errors on its origin."""
    named = results.benchmark.revision if is_on_the_hub(arguments.benchmark) else None
    if arguments.revision or named is None:
        return arguments.revision, ""
    return named, f" {arguments.results} names that revision ({named}); name another one with --revision."


def prepare(arguments: SubmissionArguments, results: Results, revision: str | None) -> Submission:
    """Compares the entries with those of the model; does not contact the Hub for a local benchmark."""
    benchmark = arguments.benchmark if revision else Path(arguments.benchmark).resolve().name
    entries, left_out = make_entries(
        results, benchmark, revision, arguments.date, arguments.source_url, arguments.notes
    )
    if not entries:
        raise ValueError(f"{arguments.results} has no score to submit: {'; '.join(left_out)}.")
    parent = hub.find_model(arguments.model)[1] if revision else None
    existing = read_entry_files(arguments.model, parent) if parent else {}
    changes = compare(entries, existing)
    files = merge(changes, existing, entries_file(benchmark, results.domain))
    if parent and (waiting := find_waiting(entries, arguments.model)):
        raise ValueError(f"an open pull request already has all of these scores: {waiting}; nothing was sent.")
    files[results_file(results.domain)] = published_results(results, arguments.model).to_json()
    return Submission(changes, left_out, files, parent)


def show(submission: Submission, arguments: SubmissionArguments) -> None:
    """Prints the scores and files of a submission."""
    print(f"model {arguments.model}, benchmark {arguments.benchmark}\n")
    print(change_table(submission.changes))
    for line in submission.left_out:
        print(f"left out: {one_line(line)}")
    if submission.parent is None:
        print("note: present scores of the model were not read (local benchmark)")
    elif not hub.is_tagged(arguments.model):
        print(f"note: leaderboards find models by the tag {hub.MODEL_TAG}, which the card of {arguments.model} lacks")
    print()
    for path, text in submission.files.items():
        if path.endswith(".yaml"):
            lines = (line[: len(line) - len(line.lstrip(" "))] + printable(line) for line in text.split("\n"))
            print(f"{printable(path)}:\n\n" + "\n".join(lines))
        else:
            print(f"{path}: {arguments.results} without local paths, {len(text.encode()):,} bytes\n")


def change_table(changes: Sequence[Change]) -> str:
    """Tasks and values as a Markdown table."""
    lines = ["| task | value | |", "|---|---:|---|"]
    for change in changes:
        lines.append(f"| {change.entry.task_id} | {change.entry.value:.4f} | {markdown(change.said)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
