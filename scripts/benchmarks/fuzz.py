"""Feeds damaged and hostile inputs to every parser; each must answer, or raise an error of ours.

    python scripts/benchmarks/fuzz.py [--cases 100000] [--seed 0] [--targets journal reply ...]

Hypothesis draws a valid input of the parser and edits it: pieces are cut, repeated, swapped, and replaced by texts
that parsers are known to stumble over. An error counts as ours if a `raise` statement of these packages raises it, as
a `ValueError`, `TypeError` or `OSError`; one that a library raises through ours, also of such a type, does not.
"""

import argparse
import json
import linecache
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dataset_builders.commands.command_line import HelpFormatter, run_command

PACKAGES = ("dataset_builders", "modeling_mender")
OURS = (ValueError, TypeError, OSError)
NASTY = (
    "", "\x00", "\n", "\r\n", '"', "'", "\\", ",", ";", "\t", "[", "]", "{", "}", ":", "-", "null", "true", "NaN",
    "Infinity", "1e400", "-1", "0", "99999999999999999999", "9" * 5000, "3.5", "1e5", "\\ud800", "\ud83d\ude00",
    "\ufeff", "\u202e", "&a [*a]", "<<: *a", "!!python/object:os.system", "<script>", "../../etc/passwd", "a" * 70_000,
    "[" * 2000, '{"a":' * 600, "2020-01-01T00:00:00+25:00", "# ", "---\n", "\x1b[31m", "\x85", "\u2028", "not ",
    "without", "but not", "$", "%s", "{0}",
)  # fmt: skip


RECIPE = """# a recipe
method: mender_tok
text_encoder: minilm
learning_rate: 3e-4
max_steps: 200
warmup_steps: 10
num_beams: 30
seed: 0
bf16: false
item_fields: [title, brand]
"""
ARGUMENTS = """benchmark: outputs/benchmark
domain: sample
output_dir: outputs/model
semantic_ids: outputs/semantic_ids
method: tiger
d_model: 64
dropout_rate: 0.3
cache_dir: null
report_to: none
"""
ENTRIES = """- dataset:
    id: org/pref-discerning
    task_id: beauty_fine_recall_at_10
    revision: 0123456789abcdef0123456789abcdef01234567
  value: 0.25
  date: '2026-01-01'
  source:
    url: https://huggingface.co/org/model
    name: results
"""
RECORD = """{"asin": "B0001", "title": "Walnut \\ud83d\\ude00 lamp", "price": "$1,012.99", "brand": "by Tern",
 "categories": [["Home", "Lamps"]], "description": ["Warm <b>light</b> &amp; shade"], "overall": 5.0}"""
REPLY = json.dumps(
    {"instructions": [f"{verb} soft wool scarves" for verb in ("Find", "Prefer", "Seek", "Choose", "Avoid")]}
)
PARTS = json.dumps({"wanted": ["walnut lamps"], "avoided": ["plastic", "mint"]})
COMPLETIONS = tuple(
    json.dumps({"id": "1", "choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": {}})
    for message in (
        {"role": "assistant", "content": "<think>so</think>" + REPLY, "reasoning_content": None},
        {"role": "assistant", "content": [{"type": "text", "text": REPLY}], "refusal": None},
    )
)
PREFERENCES = (
    "I'd like a table lamp, but not walnut", "Avoid lavender; nothing with mint, please", "no plastic, copper or tin",
    "Look for mugs without handles that aren't blue", "Anything but candles (or soap)",
)  # fmt: skip


ACTIONS_CSV = """user_id,item_id,timestamp,rating,review
u1,i1,2014-07-01T00:00:00+02:00,5,"Warm, ""soft"" light
and long"
u1,i2,2014-07-01T01:00:00Z,,
007,i1,2014-07-02T00:00:00Z,1.5,-
"""
ACTIONS_JSONL = """{"user": "u1", "item": 12345678901234567890, "timestamp": -5, "rating": 4.5, "review": null}
{"user": "u1", "item": "i2", "timestamp": 1404172800, "other": [1, {"a": true}]}
""".replace("12345678901234567890", '"i1"')
ENDPOINTS = (
    "http://127.0.0.1:8000/v1",
    "https://user:word@host.org/v1beta/openai/?key=a",
    "https://[::1]:80/chat/completions",
)
REQUESTS = (
    json.dumps({"inputs": {"history": [17, 4], "preference": "Find tea", "exclude": [9]}, "parameters": {"k": 5}}),
    json.dumps({"inputs": [{"preference": ["a mug", "tea"], "avoid": "mint", "strength": [2, 0.5]}, "a lamp"]}),
    json.dumps({"inputs": {"history": [1], "item_log_weights": {"12": 1.5, "3": -2}, "candidates": [1, 2, 3, 12]}}),
)
METRIC_ROWS = {"predictions", "references"}
METRIC_ARGUMENTS = METRIC_ROWS | {"k", "predictions_negative"}
METRIC_CALLS = (
    json.dumps({"predictions": [[3, 9, 1], [2]], "references": [9, 4], "k": [1, 3]}),
    json.dumps({"predictions": [[3, 9]], "references": [[9, 3]], "k": 2, "predictions_negative": [[1, 2]]}),
)
MANIFEST = json.dumps(
    {"format_version": 1, "num_items": 2, "files": {"model.safetensors": {"size": 12, "sha256": "ab" * 32}}}
)
ITEMS = """{"item_id": 1, "title": "Walnut lamp", "text": "Walnut lamp, Home"}
{"item_id": 2, "title": "Linen \\"soft\\" scarf", "text": "Linen scarf"}
"""


class Target(NamedTuple):
    """A parser.

    Attributes:
        name (`str`): Name in the table.
        parse (`Callable`): Function of the input's bytes.
        valid (`tuple[str or bytes, ...]`): Inputs that it accepts.
        cost (`int`): It gets one input where a parser of cost 1 gets so many.
    """

    name: str
    parse: Callable[[bytes], Any]
    valid: tuple[str | bytes, ...]
    cost: int = 1


class Finding(NamedTuple):
    """An exception that is not ours, with the input that raised it."""

    target: str
    error: str
    content: bytes


def as_bytes(text: str | bytes) -> bytes:
    """Bytes of an input."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


@st.composite
def edited(draw: st.DrawFn, valid: tuple[str | bytes, ...]) -> bytes:
    """Draws a valid input with up to four edits, of text or of bytes."""
    content = as_bytes(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(("nasty", "text", "bytes", "cut", "repeat", "copy", "flip")))
        if kind == "nasty":
            piece = draw(st.sampled_from(NASTY)).encode("utf-8", "surrogatepass")
        elif kind == "text":
            piece = draw(st.text(max_size=6)).encode()
        elif kind == "bytes":
            piece = draw(st.binary(max_size=6))
        elif kind == "repeat":
            piece = content[start:end] * draw(st.integers(2, 40))
        elif kind == "copy":
            other = draw(st.integers(0, len(content)))
            piece = content[other : other + draw(st.integers(1, 60))]
        elif kind == "flip":
            piece = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[start : start + 1])
            end = start + len(piece)
        else:
            piece, end = b"", draw(st.integers(start, len(content)))
        content = content[:start] + piece + content[end:]
    return content


def is_ours(error: BaseException) -> bool:
    """Whether a `raise` statement of our packages raised an error of a type that users meet."""
    if not isinstance(error, OURS):
        return False
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    path = Path(trace.tb_frame.f_code.co_filename)
    line = linecache.getline(str(path), trace.tb_lineno)
    return any(package in path.parts for package in PACKAGES) and line.lstrip().startswith(
        ("raise", "else", "_refuse")
    )


def fuzz(target: Target, cases: int, number: int) -> tuple[Counter[str], list[Finding]]:
    """Feeds a parser.

    Args:
        target ([`Target`]): The parser.
        cases (`int`): Inputs.
        number (`int`): Random seed.

    Returns:
        `tuple`: Counts of "answered", "refused" and "other" outcomes, and one finding of each kind of the last.
    """
    counts: Counter[str] = Counter()
    findings: dict[str, Finding] = {}

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(edited(target.valid))
    def feed(content: bytes) -> None:
        try:
            target.parse(content)
            counts["answered"] += 1
        except Exception as error:
            if is_ours(error):
                counts["refused"] += 1
            else:
                counts["other"] += 1
                frame = innermost(error)
                findings.setdefault(
                    frame, Finding(target.name, f"{type(error).__name__} at {frame}: {error}", content)
                )

    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # a parser may warn of every input
    try:
        feed()
    finally:
        logging.disable(disabled)
    return counts, list(findings.values())


def innermost(error: BaseException) -> str:
    """Type and place of an error, by which findings are told apart."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if any(package in path.parts for package in PACKAGES) or not place:
            place = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} {place}"


def results_text() -> str:
    """A results.json with two axes."""
    from dataset_builders.scoring.figures import score_axes
    from dataset_builders.scoring.ranks import RANKS_SCHEMA
    from dataset_builders.scoring.result_parts import BenchmarkIdentity, Maker
    from dataset_builders.scoring.results import Results

    rows = [
        {"axis": axis, "row": row, "history_length": 1, "target": 1, "rank": row}
        for axis in ("fine", "coarse")
        for row in range(3)
    ]
    axes = score_axes(pa.Table.from_pylist(rows, schema=RANKS_SCHEMA), [1, 10], resamples=20)
    identity = BenchmarkIdentity(
        "org/pref-discerning", "d" * 40, approximator="metadata", fingerprints={"toy_fine": "ab" * 16}
    )
    return Results(
        maker=Maker("mine", "outputs/mine"), domain="toy", split="test", k=(1, 10), axes=axes, benchmark=identity,
        left_out={"history": "too short"},
    ).to_json()  # fmt: skip


def report_text() -> str:
    """A report of a build."""
    from dataset_builders.benchmark.report import BuildReport, SteeringReport

    words = ("toy", "tables", "metadata/1", "from metadata", "rating_vader", "ratings", "minilm")
    rows = {"toy_fine": {"train": 4, "test": 2}, "toy_items": {"train": 9}}
    return BuildReport(
        *words, options={"min_count": 5}, rows=rows, fingerprints={"toy_fine": "ab" * 16}, steering=SteeringReport(),
        left_out={"coarse": "too few items"}, baselines={"fine": {"constant_list": {"recall@10": 0.1}}},
    ).to_json()  # fmt: skip


def journal_text() -> str:
    """A journal with an answer and a failure."""
    from dataset_builders.building.preferences.llm.journal_lines import Entry, Header, entry_line, header_line
    from dataset_builders.building.preferences.llm.prompts import PREFERENCES as TASK

    header = Header("toy", "model", TASK, "default", "ab" * 16, "Write five.", "Again.", 0.7, 0.9, 512, 0, 20, 500)
    answer = tuple(json.loads(REPLY)["instructions"])
    entries = (Entry(("u1", 1), "cd" * 16, answer), Entry(("u1", 2), "ef" * 16, None, "not_json", "I am", 3, 2))
    return (header_line(header) + b"".join(entry_line(one, TASK) for one in entries)).decode()


def configuration_text() -> str:
    """A config.json of Mender_Tok without its text encoder."""
    from modeling_mender.configuration_mender import MenderConfig

    return MenderConfig(num_items=9, num_levels=4, codebook_size=8).to_json_string(use_diff=False)


def run_file(folder: Path) -> bytes:
    """A run file of two queries."""
    from dataset_builders.scoring.runs import Run, write_run

    write_run(
        Run.from_answers({"fine/0": ([3, 9], [1.5, 0.5]), "fine/1": ([2, 1], [0.5, 0.25])}, {"method": "mine"}),
        folder / "run.parquet",
        50,
    )
    return (folder / "run.parquet").read_bytes()


@contextmanager
def targets() -> Iterator[list[Target]]:
    """Yields all parsers, those of files with a folder of their own."""
    from dataset_builders.benchmark.report import BuildReport
    from dataset_builders.bounded_parsing import parse_json, parse_yaml
    from dataset_builders.building.engines import connect
    from dataset_builders.building.preferences.llm.endpoint_settings import EndpointSettings
    from dataset_builders.building.preferences.llm.journal import read_journal
    from dataset_builders.building.preferences.llm.parsing import parse_parts, parse_preferences, parse_properties
    from dataset_builders.building.preferences.llm.replies import read_reply, server_words
    from dataset_builders.building.sources.cleaning import clean_brand, clean_price, clean_title, plain_text
    from dataset_builders.building.sources.records import parse_record
    from dataset_builders.building.sources.tables import TablesSource
    from dataset_builders.building.sources.values import read_price, read_time
    from dataset_builders.leaderboard.submission import parse_entries
    from dataset_builders.ranking_metrics import score_run
    from dataset_builders.scoring.results import Results
    from dataset_builders.scoring.runs import read_run
    from modeling_mender.configuration_mender import MenderConfig
    from modeling_mender.items_file import Items
    from modeling_mender.manifest import read_json_object, read_manifest
    from modeling_mender.preference_parsing import split_preference
    from modeling_mender.recommendation_request import CallOptions, read_call, read_requests
    from modeling_mender.training.recipes import load_recipe

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def of_file(file: str, parse: Callable[[Path], Any]) -> Callable[[bytes], Any]:
            def parse_content(content: bytes) -> Any:
                (folder / file).write_bytes(content)
                return parse(folder / file)

            return parse_content

        def of_text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
            return lambda content: parse(content.decode("utf-8", "surrogateescape"))

        connection = connect()
        (folder / "items.csv").write_text("item_id,title\ni1,Walnut lamp\ni2,Linen scarf\n", encoding="utf-8")

        def own_table(path: Path) -> None:
            TablesSource(path, folder / "items.csv").load(connection)

        def answered(content: bytes) -> None:
            requests, options = read_call(parse_json(content))
            read_requests(requests if isinstance(requests, list) else [requests], 50)
            CallOptions.read(options, 50)

        def scored(content: bytes) -> None:
            call = parse_json(content)
            whole = isinstance(call, dict) and METRIC_ROWS <= call.keys() <= METRIC_ARGUMENTS
            score_run(**call) if whole else score_run(call, call, 5)

        def configuration(path: Path) -> None:
            MenderConfig.from_dict(read_json_object(path))

        def cleaned(content: bytes) -> None:
            record = parse_record(content)
            for value in (record or {}).values():
                for clean in (clean_title, clean_brand, clean_price, plain_text):
                    clean(value)

        yield [
            Target("YAML", of_text(parse_yaml), (RECIPE, ENTRIES)),
            Target("JSON", parse_json, (RECORD, results_text())),
            Target("recipe", of_file("recipe.yaml", lambda path: load_recipe(path, "sample")), (RECIPE,)),
            Target("training_arguments", of_file("training_arguments.yaml", load_recipe), (ARGUMENTS,)),
            Target("leaderboard entries", of_text(lambda text: parse_entries(text, "entries")), (ENTRIES,)),
            Target("results", lambda content: Results.from_json(content, "results.json"), (results_text(),)),
            Target("report", of_text(BuildReport.from_json), (report_text(),)),
            Target("journal", of_file("journal.jsonl", read_journal), (journal_text(),)),
            Target("reply", of_text(parse_preferences), (REPLY,)),
            Target("properties", of_text(parse_properties), ('{"properties": ["soft wool", "long and warm"]}',)),
            Target("parts", of_text(lambda text: parse_parts(text, ("wanted", "avoided"), 5)), (PARTS,)),
            Target("completion", of_text(lambda text: read_reply(text, "none")), COMPLETIONS),
            Target("server words", of_text(server_words), ('{"error": {"message": "overloaded"}}', "<h1>502</h1>")),
            Target("crawled record", cleaned, (RECORD, "{u'asin': 'B1', 'price': 3.5, 'title': 'Walnut lamp'}")),
            Target("preference", of_text(split_preference), PREFERENCES),
            Target("own CSV", of_file("actions.csv", own_table), (ACTIONS_CSV,), 4),
            Target("own JSON lines", of_file("actions.jsonl", own_table), (ACTIONS_JSONL,), 4),
            Target("price", of_text(read_price), ("$1,012.99", "12,50", "1.234,00 EUR", "7")),
            Target("time", of_text(read_time), ("2014-07-01T00:00:00+02:00", "2014-07-01 00:00", "1404172800")),
            Target("endpoint", of_text(lambda text: EndpointSettings(text, "model")), ENDPOINTS),
            Target("request", answered, REQUESTS),
            Target("metric", scored, METRIC_CALLS),
            Target("run file", of_file("run.parquet", lambda path: read_run(path, 50)), (run_file(folder),)),
            Target("manifest", of_file("manifest.json", read_manifest), (MANIFEST,)),
            Target("configuration", of_file("config.json", configuration), (configuration_text(),)),
            Target("items", of_file("items.jsonl", lambda path: list(Items.read(path))), (ITEMS,)),
        ]


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the table.

    Raises:
        ValueError: If an exception was not ours.
    """
    findings: list[Finding] = []
    total: Counter[str] = Counter()
    with targets() as every:
        chosen = [one for one in every if not arguments.targets or one.name in arguments.targets]
        if missing := sorted(set(arguments.targets or ()) - {one.name for one in every}):
            names = ", ".join(one.name for one in every)
            raise ValueError(f"there is no parser {missing[0]!r}; there are {names}.")
        share = arguments.cases / sum(1 / one.cost for one in chosen)
        print("| parser | cases | answered | refused | not ours | seconds |\n|---|---|---|---|---|---|")
        for one in chosen:
            for text in one.valid:
                one.parse(as_bytes(text))
            started = time.perf_counter()
            counts, found = fuzz(one, max(1, round(share / one.cost)), arguments.seed)
            seconds = time.perf_counter() - started
            cells = [counts.total(), counts["answered"], counts["refused"], counts["other"], f"{seconds:.0f}"]
            print(f"| {one.name} | {' | '.join(map(str, cells))} |", flush=True)
            total += counts
            findings += found
    print(f"{total.total()} cases, {total['other']} exceptions that are not ours")
    for one in findings:
        print(f"  {one.target}: {one.error[:200]}\n    {one.content[:200]!r}")
    if findings:
        raise ValueError(f"{len(findings)} kinds of exceptions are not ours; they are listed above.")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--targets", nargs="+", help="parsers; default: all")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Feeds all parsers; returns 0, or 1 if an exception was not ours."""
    arguments = parse_arguments(argv)
    return run_command(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
