"""Measure whether a model follows preferences: obeyed, avoided, kept, and strength compared with a filter.

    mender obedience outputs/quickstart/model --benchmark outputs/quickstart/benchmark \\
        --domain sample

Requests use words that training does not see, with several histories and without one; every score is printed beside
simple baselines. Writes obedience.json into --output_dir. Which items obey is decided by the planted attributes on
the sample shop, and by words of title, brand and categories on other benchmarks.
"""

import datetime
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_builders.atomic_write import check_writable, write_text
from dataset_builders.benchmark.report import read_stated, resolve_revision
from dataset_builders.benchmark.tables import check_fingerprints, require_table
from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command
from dataset_builders.obedience.asking import Asker
from dataset_builders.obedience.attributes import read_attributes
from dataset_builders.obedience.measuring import Embed, measure
from dataset_builders.obedience.tables import format_results

from .evaluate import check_same_items

BASELINES = ("words", "cosine")
TEXTS_AT_A_TIME = 64


@dataclass(kw_only=True)
class ObedienceArguments:
    """Arguments of [`evaluate_obedience`]; see `--help` for what each is."""

    model: str
    revision: str | None = None
    benchmark: str
    benchmark_revision: str | None = None
    domain: str
    split: str = "test"
    histories: int = 10
    curve_rows: int = 200
    baseline: Sequence[str] = ("words", "cosine")
    seed: int = 0
    num_beams: int | None = None
    batch_size: int = 64
    device: str | None = None
    threads: int | None = None
    output_dir: Path | None = None


def parse_arguments(argv: list[str] | None) -> ObedienceArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="folder of a trained model, or name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or dataset on the Hub")
    parser.add_argument("--benchmark_revision", help="branch, tag or commit of a benchmark on the Hub")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, such as beauty")
    parser.add_argument("--split", choices=["train", "validation", "test"], help="split of the histories")
    parser.add_argument("--histories", type=int, help="number of histories that every preference is combined with")
    parser.add_argument("--curve_rows", type=int, help="rows of the curve of strength against a filter; 0: no curve")
    parser.add_argument("--baseline", nargs="*", choices=BASELINES, help="simple baselines to compare with")
    parser.add_argument("--seed", type=int, help="random seed for preferences and histories")
    parser.add_argument("--num_beams", type=int, help="beams of the search; default: that of the model")
    parser.add_argument("--batch_size", type=int, help="requests per batch")
    parser.add_argument("--device", help="device of the model; default: a GPU if there is one")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU; default: its choice")
    parser.add_argument("--output_dir", type=Path, help="folder for obedience.json; default: none is written")
    parser.set_defaults(**defaults_of(ObedienceArguments))
    return ObedienceArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Evaluates; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: evaluate_obedience(arguments))


def evaluate_obedience(arguments: ObedienceArguments) -> dict[str, Any]:
    """Measures the obedience of a model, prints the tables and returns the results; imports torch.

    Raises:
        ValueError: If an argument is out of range, or the model was trained on another benchmark.
    """
    check_arguments(arguments)
    if arguments.output_dir is not None:
        check_writable(arguments.output_dir)
    revision = resolve_revision(arguments.benchmark, arguments.benchmark_revision)
    where = arguments.benchmark, arguments.domain
    items = require_table(*where, "items", revision=revision)
    rows = require_table(*where, "recommendation", arguments.split, revision)
    stated = read_stated(*where, revision).get("fingerprints", {})
    fingerprints = check_fingerprints(*where, ["items", "recommendation"], stated, revision)
    attributes = read_attributes(items, arguments.domain)
    drawn = draw_rows(rows, max(arguments.histories, arguments.curve_rows), arguments.seed)
    histories = [history for history, _ in drawn[: arguments.histories]]

    import torch
    from transformers import pipeline
    from transformers.utils import logging as transformers_logging

    from ..devices import default_device
    from ..evaluation.ranking import check_has_beams
    from ..hub.loading import load_recommender
    from ..request_values import RequestLimits

    transformers_logging.set_verbosity_error()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = arguments.device or default_device()
    model, processor = load_recommender(arguments.model, arguments.revision, device)
    check_same_items(processor.items, items)
    check_has_beams(model, arguments.num_beams)
    create: Any = pipeline  # its types list the tasks of transformers only
    pipe = create(
        "preference-recommendation", model=model, processor=processor, device=device, limits=RequestLimits.none()
    )
    options = {"batch_size": arguments.batch_size, "num_beams": arguments.num_beams}
    started = time.perf_counter()
    with torch.inference_mode():
        asker = Asker(pipe, histories[0], **{name: value for name, value in options.items() if value is not None})
        embed = text_embedder(model, processor)
        curve_rows = drawn[: arguments.curve_rows]
        measured = measure(asker, attributes, histories, curve_rows, arguments.baseline, embed, arguments.seed)
    results = {
        "model": arguments.model,
        "model_type": model.config.model_type,
        "domain": arguments.domain,
        "split": arguments.split,
        "date": datetime.date.today().isoformat(),
        "benchmark": {
            "name": arguments.benchmark,
            "revision": revision,
            "fingerprints": fingerprints,
        },
        "seed": arguments.seed,
        "num_histories": len(histories),
        "num_beams": arguments.num_beams,
        **measured,
        "seconds": round(time.perf_counter() - started, 1),
    }
    show(results, len(rows))
    if arguments.output_dir is not None:
        write_results(results, arguments.output_dir / "obedience.json")
    return results


def check_arguments(arguments: ObedienceArguments) -> None:
    """Refuses numbers that are too small."""
    for name, least in (("histories", 1), ("curve_rows", 0), ("batch_size", 1), ("num_beams", 10), ("threads", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"{name} ({value}) must be at least {least}.")


def draw_rows(rows: Any, count: int, seed: int) -> list[tuple[list[int], int]]:
    """Draws nonempty histories with their next items, in an order set by the seed."""
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    drawn = [(row["history"], row["target"]) for row in map(rows.__getitem__, order[: 2 * count].tolist())]
    return [row for row in drawn if row[0]][:count]


def text_embedder(model: Any, processor: Any) -> Embed | None:
    """Returns a function for mean-pooled embeddings by the model's text encoder; `None` if it has none."""
    import torch

    encoder, tokenizer = getattr(model, "text_encoder", None), getattr(processor, "tokenizer", None)
    if encoder is None or tokenizer is None:
        return None

    def embed(texts: Sequence[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # texts of similar length in one batch
        parts = []
        for start in range(0, len(order), TEXTS_AT_A_TIME):
            batch = [texts[index] for index in order[start : start + TEXTS_AT_A_TIME]]
            tokens = tokenizer(batch, padding=True, truncation=True, max_length=128, return_tensors="pt")
            tokens = {name: tokens[name].to(encoder.device) for name in ("input_ids", "attention_mask")}
            states = encoder(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"].unsqueeze(-1)
            parts.append(torch.nn.functional.normalize((states * mask).sum(1), dim=-1).cpu().numpy())
        return np.concatenate(parts)[np.argsort(order)]

    return embed


def show(measured: Mapping[str, Any], num_rows: int) -> None:
    """Prints the tables and notes on their limits."""
    print(format_results(measured))
    print(
        f"\n{measured['num_asks']} asks, without a history and over {measured['num_histories']} of {num_rows} "
        f"({measured['num_lists']} lists); what obeys is said by "
        + ("the planted attributes." if measured["attributes"] == "planted" else "words of title, brand, categories.")
    )
    if not measured["takes_avoid_and_strength"]:
        print('note: the model takes neither avoid nor strength; what is to be avoided was a preference, "Avoid ...".')
    if "cosine" not in measured["methods"]:
        print("note: no cosine beside it; it was not asked for, or the model has no text encoder.")
    print(f"{measured['num_requests']} requests in {measured['seconds']:.0f} seconds.")


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """Writes the results as JSON."""
    write_text(path, json.dumps(results, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
