"""Build, train, evaluate and try one small model on synthetic data, without Hub or GPU.

Builds the benchmark of the synthetic sample shop, learns semantic IDs, trains Mender, evaluates it with and
without preference, and shows one steering example. An interrupted run continues; a finished one starts again.
"""

import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from dataset_builders.atomic_write import write_text
from dataset_builders.benchmark.tables import load_table
from dataset_builders.commands.command_line import CommandParser
from dataset_builders.resources import resource

from ..training.recipes import load_recipe
from .evaluate import EvaluationArguments, evaluate
from .train import print_outcome, run_training

OUTPUT = Path("outputs/quickstart")
UNFINISHED = OUTPUT / "unfinished"  # holds the method of an unfinished run
# Preferences for one history of the sample shop: none, a planted taste, another category with a dislike, a dislike.
EXAMPLE_PREFERENCES = (
    None,
    "Search for lavender candles",
    "I'd like a table lamp, but not walnut",
    "Avoid {kind}",  # the most frequent category of the recommendations without a preference
)


def main(argv: list[str] | None = None) -> int:
    """Runs the quickstart; returns 0, 1 after an error, or 128 + the signal's number after an interruption."""
    parser = CommandParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--method",
        default="mender_steer",
        choices=["mender_steer", "mender_emb", "mender_tok"],
        help="method to train (default: mender_steer)",
    )
    method = parser.parse_args(argv).method
    return run_training(lambda: quickstart(method))


def quickstart(method: str = "mender_steer") -> None:
    """Builds the sample benchmark and its semantic IDs, trains a method, evaluates it, and shows one example.

    Args:
        method (`str`): `mender_steer`, `mender_emb` or `mender_tok`.

    Raises:
        Interrupted: After SIGINT or SIGTERM during training; the same call continues.
    """
    # after parsing: --help does not wait for torch.
    from transformers.utils import logging as transformers_logging

    from .sample import prepare_sample
    from .training_run import train_on_benchmark

    transformers_logging.set_verbosity_error()
    started = time.perf_counter()
    begin(method)
    step(1, "benchmark and semantic IDs of the sample shop (synthetic)")
    prepare_sample(str(OUTPUT / "benchmark"), str(OUTPUT / "semantic_ids"))
    step(2, f"training {method}")
    arguments = load_recipe(method, "sample", resource("scripts/recipes"), output_dir=str(OUTPUT))
    print_outcome(train_on_benchmark(arguments), OUTPUT)
    step(3, "all axes of the test split, with and without preference")
    evaluate(
        EvaluationArguments(
            model=str(OUTPUT / "model"),
            benchmark=str(OUTPUT / "benchmark"),
            domain="sample",
            card=True,
            output_dir=OUTPUT,
        )
    )
    step(4, "recommendations for one history, with different preferences")
    show_steering(OUTPUT / "model", OUTPUT / "benchmark")
    UNFINISHED.unlink()
    print(f"\n{time.perf_counter() - started:.0f} seconds. In {OUTPUT}/: benchmark/ model/ results.json axes.png")


def begin(method: str) -> None:
    """Keeps the files of an interrupted run of the same method, and removes those of any other run."""
    if UNFINISHED.is_file() and UNFINISHED.read_text(encoding="utf-8") == method:
        print("continuing the interrupted run")
        return
    for name in ("benchmark", "semantic_ids", "checkpoints"):
        shutil.rmtree(OUTPUT / name, ignore_errors=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    write_text(UNFINISHED, method)


def step(number: int, what: str) -> None:
    """Prints the heading of a step."""
    print(f"\n[{number}/4] {what}", flush=True)


def show_steering(model_folder: Path, benchmark: Path) -> None:
    """Prints recommendations for the first user of the test split, once per preference."""
    import torch
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(model_folder), AutoProcessor.from_pretrained(model_folder)
    rows, catalogue = (load_table(str(benchmark), "sample", *one) for one in (("recommendation", "test"), ("items",)))
    assert rows is not None and catalogue is not None, "the sample benchmark has every config"
    history = rows[0]["history"]
    kinds = [row["categories"][-1] for row in catalogue]
    print("history: " + "; ".join(processor.titles(history[-4:])))
    kind = ""
    for template in EXAMPLE_PREFERENCES:
        preference = template and template.format(kind=kind)
        inputs = processor(history=[history], preference=[preference], return_tensors="pt")
        with torch.no_grad():
            items = model.recommend(**inputs, k=3).items[0].tolist()
        kind = kind or Counter(kinds[item - 1] for item in items).most_common(1)[0][0].lower()
        print(f"  {preference or 'no preference'}")
        for title in processor.titles(items):
            print(f"    - {title}")


if __name__ == "__main__":
    sys.exit(main())
