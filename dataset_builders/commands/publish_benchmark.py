"""Publish built benchmarks as one dataset on the Hub, with one or more domains.

    mender publish-benchmark benchmarks/beauty benchmarks/toys --repo_id org/pref-discerning
    mender publish-benchmark benchmarks/beauty --repo_id org/pref-discerning --create_pr
    mender publish-benchmark benchmarks/beauty --repo_id org/pref-discerning --dry_run --output_dir staged

Checks every directory for leaks and against its fingerprints, stages the domains with card and leaderboard tasks,
loads every config in a process with `datasets` but without this project's packages, and then pushes in one commit.
Other domains of the repository are kept without transferring their rows (card and eval.yaml are rewritten from all
reports); a given domain replaces its namesake. --replace removes all other domains.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..bounded_parsing import UnreadableFile, parse_yaml, read_bounded
from .command_line import CommandParser, HelpFormatter, defaults_of, run_command
from .fresh_process import run_fresh_json
from .hub_push import PushArguments, add_push_arguments, stage_and_push

if TYPE_CHECKING:  # --help must not wait for datasets
    from datasets.info import DatasetInfosDict

    from ..benchmark.report import BuildReport

RESTRICTED_SOURCES = ("yelp",)
"""Sources whose terms restrict redistribution of derived data; `dataset_builders.building.domains` has the terms."""

# the same digest as dataset_publication.content_fingerprint, without this project's packages
LOAD_EVERY_CONFIG = """
import hashlib, json
from datasets import load_dataset

folder, configs = sys.argv[1], json.loads(sys.argv[2])
found = {}
for config in configs:
    state, rows = hashlib.blake2b(digest_size=16), {}
    for split, table in load_dataset(folder, config).items():
        state.update(json.dumps(split).encode() + b"\\n")
        rows[split] = table.num_rows
        for batch in table.with_format("arrow").iter(8192):
            for row in batch.to_pylist():
                state.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\\n")
    found[config] = {"rows": rows, "fingerprint": state.hexdigest()}
print("\\n" + json.dumps(found))
"""


@dataclass(kw_only=True)
class BenchmarkPublication(PushArguments):
    """Arguments of [`publish_benchmark`]; `--help` describes each."""

    benchmarks: Sequence[Path]
    repo_id: str
    replace: bool = False
    i_have_the_right_to_redistribute: bool = False


def parse_arguments(argv: list[str] | None) -> BenchmarkPublication:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("benchmarks", type=Path, nargs="+", help="benchmark directories of mender build")
    parser.add_argument("--repo_id", required=True, help="dataset on the Hub, as in org/pref-discerning")
    parser.add_argument("--replace", action="store_true", help="remove all other domains from the repository")
    parser.add_argument(
        "--i_have_the_right_to_redistribute",
        action="store_true",
        help=f"confirmation that you may publish data of a restricted source ({', '.join(RESTRICTED_SOURCES)})",
    )
    add_push_arguments(parser)
    parser.set_defaults(**defaults_of(BenchmarkPublication))
    return BenchmarkPublication(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Publishes a benchmark; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: publish_benchmark(arguments))


def publish_benchmark(arguments: BenchmarkPublication) -> str:
    """Stages, checks and pushes the domains; returns the address of the commit."""
    from ..building.publication import copy_configs, describe

    chosen = choose_domains(arguments.benchmarks)
    check_terms([report for _, report in chosen], arguments.i_have_the_right_to_redistribute)
    check_promises(arguments.benchmarks)
    given = {report.domain for _, report in chosen}
    kept: list[BuildReport] = []
    known, commit = None, None
    if arguments.dry_run and not arguments.replace:
        print(f"not checked (--dry_run does not contact the Hub): the present domains of {arguments.repo_id}.")
    elif not arguments.replace:
        kept, known, commit = read_published(arguments.repo_id, arguments.revision, given)

    def fill(folder: Path) -> None:
        for benchmark, report in chosen:
            copy_configs(folder, {config: benchmark / config for config in report.rows}, report)
        reports = [report for _, report in chosen]
        describe(folder, by_domain(reports), arguments.repo_id)
        check_loading(folder, reports)
        # after loading, for datasets refuses a folder whose card names configs without files
        describe(folder, by_domain(reports + kept), arguments.repo_id, known)
        if kept:
            print(f"kept as they are: {', '.join(report.domain for report in kept)}")

    stale, message = stale_files(given, arguments.replace), f"Publish {', '.join(sorted(given))}"
    return stage_and_push(fill, "dataset", arguments, stale, message, commit)


def by_domain(reports: Sequence["BuildReport"]) -> list["BuildReport"]:
    """The reports in the order of the card, by domain."""
    return sorted(reports, key=lambda report: report.domain)


def choose_domains(benchmarks: Sequence[Path]) -> list[tuple[Path, "BuildReport"]]:
    """Finds every domain of the directories; returns pairs of directory and report.

    Raises:
        ValueError: If two directories hold the same domain, or another version wrote one.
        FileNotFoundError: If one is no benchmark.
    """
    from ..benchmark.report import read_reports

    where: dict[str, Path] = {}
    chosen = []
    for benchmark in benchmarks:
        if not benchmark.is_dir():
            raise FileNotFoundError(f"{benchmark} is no directory; pass one that mender build wrote.")
        for report in read_reports(benchmark):
            key = report.domain.casefold()  # some file systems do not tell cases apart
            if key in where:
                raise ValueError(
                    f"{where[key]} and {benchmark} both hold the domain {report.domain}; give one of them, or build "
                    "one under another --domain."
                )
            where[key] = benchmark
            chosen.append((benchmark, report))
    return chosen


def check_terms(reports: Sequence["BuildReport"], has_the_right: bool) -> None:
    """Refuses domains that may not be redistributed, and prints a note where the terms are unknown.

    Raises:
        ValueError: If a source's terms restrict redistribution, unless `has_the_right`.
    """
    from ..building.domains import source_terms

    for report in reports:
        restricted = next((name for name in RESTRICTED_SOURCES if name in (report.source, report.domain)), None)
        if restricted and not has_the_right:
            raise ValueError(
                f"the domain {report.domain} is made from {restricted}, whose terms restrict redistribution "
                f"({source_terms(restricted)}) If you have that right, pass --i_have_the_right_to_redistribute."
            )
        if not report.about.get("terms"):
            print(f"note: the terms of the data of {report.domain} are unknown; the card says so.")


def check_promises(benchmarks: Sequence[Path]) -> None:
    """Refuses a benchmark with leaks, or with rows that differ from its fingerprints.

    Raises:
        ValueError: If a check fails; names the first violation and their number.
    """
    from ..benchmark.checks import check_benchmark

    for benchmark in benchmarks:
        if found := check_benchmark(benchmark):
            raise ValueError(
                f"{benchmark} fails {len(found)} checks and is not published: {found[0]}; list all with "
                f"mender describe {benchmark}, and build again."
            )
        print(f"{benchmark}: no leak, no broken promise")


def read_published(
    repo_id: str, revision: str | None, given: set[str]
) -> tuple[list["BuildReport"], "DatasetInfosDict | None", str | None]:
    """Reads the card and the reports of a published dataset, for the domains that are kept.

    Args:
        repo_id (`str`): The dataset.
        revision (`str`, *optional*): The branch to write to.
        given (`set[str]`): Domains to replace.

    Returns:
        `tuple`: The reports of the other domains, the card's description of their configs, and the commit read.

    Raises:
        ValueError: If this version cannot add to the dataset.
        OSError: If the Hub cannot be read.
    """
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCard

    from ..benchmark.axes import AXES
    from ..benchmark.report import read_report
    from ..benchmark.schema import TABLES, config_name, features_of

    folder = download_descriptions(repo_id, revision)
    if folder is None:
        return [], None, None
    domains = sorted({path.stem for path in folder.glob("reports/*.json")} - given)
    if alike := {domain.casefold() for domain in domains} & {domain.casefold() for domain in given}:
        raise ValueError(
            f"{repo_id} has the domain {min(alike)!r} in another spelling; build it under that one, or pass --replace "
            "to keep only the given domains."
        )
    card = folder / "README.md"
    known = DatasetInfosDict()
    if card.is_file():
        known = DatasetInfosDict.from_dataset_card_data(DatasetCard(read_card(card, repo_id)).data)
    way_out = f"publish that domain again as well, or pass --replace to keep only the given domains in {repo_id}"
    described = {config_name(domain, name) for domain in given.union(domains) for name in (*TABLES, *AXES)}
    if unknown := sorted(set(known) - described):
        raise ValueError(
            f"{repo_id} has configs without a report ({', '.join(unknown)}); choose another repository, or "
            "pass --replace to keep only the given domains."
        )
    kept = []
    for domain in domains:
        try:
            kept.append(read_report(folder, domain))
        except ValueError as error:
            raise ValueError(f"the domain {domain} of {repo_id} cannot be kept: {error} Or {way_out}.") from error
        for config in kept[-1].rows:
            name = config.removeprefix(f"{domain}_")
            if config not in known or known[config].features != features_of(name, known[config].features or ()):
                raise ValueError(
                    f"the card of {repo_id} does not describe the config {config} in the format of this version; "
                    f"{way_out}."
                )
    return kept, known, folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None


def read_card(path: Path, repo_id: str) -> str:
    """Reads a card whose front matter is within the limits of foreign YAML.

    Raises:
        ValueError: If it cannot be read; names the repository and the way out.
    """
    try:
        text = read_bounded(path)
        if front := re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL):
            parse_yaml(front[1])
    except UnreadableFile as error:
        raise ValueError(
            f"the card of {repo_id} cannot be read ({error}); mend its front matter, or pass --replace to keep only "
            "the given domains."
        ) from None
    return text


def download_descriptions(repo_id: str, revision: str | None) -> Path | None:
    """Downloads card and reports of a dataset, without its rows; returns `None` if the dataset does not exist.

    For a branch that does not exist, main is read, from which it will be created.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    def download(revision: str | None) -> Path:
        patterns = ["README.md", "reports/*.json"]
        return Path(snapshot_download(repo_id, repo_type="dataset", revision=revision, allow_patterns=patterns))

    try:
        try:
            return download(revision)
        except RevisionNotFoundError:
            return download(None)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None


def check_loading(folder: Path, reports: Sequence["BuildReport"]) -> None:
    """Loads every config without this project's packages, and compares rows and fingerprints with the reports.

    Args:
        folder (`Path`): Staged files.
        reports (`Sequence[BuildReport]`): Reports of the domains in it.

    Raises:
        ValueError: If a config does not load, or has other rows.
    """
    expected = {
        config: {"rows": report.rows[config], "fingerprint": report.fingerprints[config]}
        for report in reports
        for config in report.rows
    }
    found = run_fresh_json(LOAD_EVERY_CONFIG, [folder, json.dumps(list(expected))])
    for config, what in expected.items():
        if found[config] != what:
            raise ValueError(
                f"{config} loads as {found[config]} in a separate process, but the report has {what}; build again."
            )
    print(f"loaded with datasets alone: {len(expected)} configs, with the rows and fingerprints of the reports")


def stale_files(domains: set[str], replace: bool) -> list[str]:
    """Patterns of files to delete from the repository unless the folder has them.

    >>> stale_files({"beauty"}, replace=False)[:2]
    ['beauty_items/*', 'beauty_preferences/*']
    >>> stale_files({"beauty"}, replace=True)
    ['*.parquet', 'reports/*.json', 'LICENSE.md']
    """
    from ..benchmark.axes import AXES
    from ..benchmark.schema import TABLES, config_name
    from ..building.publication import LICENSE_FILE

    if replace:
        return ["*.parquet", "reports/*.json", LICENSE_FILE]
    names = [config_name(domain, name) for domain in sorted(domains) for name in (*TABLES, *AXES)]
    return [*(f"{name}/*" for name in names), LICENSE_FILE]


if __name__ == "__main__":
    sys.exit(main())
