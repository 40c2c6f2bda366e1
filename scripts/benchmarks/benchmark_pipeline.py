"""Times a trained model as its users meet it: requests a second through the pipeline, beside the bare model.

    python scripts/benchmarks/benchmark_pipeline.py outputs/quickstart/model [--batch_sizes 1 8 32] [--device cuda]

Requests are those that a publication is checked by: histories of one to five items over the whole catalog and, for a
model that reads one, a preference each. The bare model is given the processor's tensors, so the difference is what
reading requests and writing titles costs. Runs are interleaved and the minimum is taken. For a generative model the
last line says how many of the exact best among random candidates its usual beams would have found.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from benchmark_decoding import random_items, share_found
from transformers import PreTrainedModel, pipeline
from transformers.utils import logging as transformers_logging

from dataset_builders.commands.command_line import run_command
from modeling_mender.hub.loading import load_recommender, local_folder
from modeling_mender.hub.model_publication import reference_requests
from modeling_mender.methods.table import load_method
from modeling_mender.request_values import RequestLimits


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--num_requests", type=int, default=64, help="different requests of a run")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--k", type=int, default=10, help="items per request")
    parser.add_argument("--num_candidates", type=int, default=100, help="items of a part of the catalog, at least k")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measures; returns 0, or 1 after one line on bad input."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return run_command(lambda: run(parse_arguments(argv)))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the table."""
    for name in ("num_requests", "repeats", "num_threads"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"{name} ({getattr(arguments, name)}) must be at least 1.")
    if arguments.num_candidates < arguments.k:
        raise ValueError(f"num_candidates ({arguments.num_candidates}) must be at least k ({arguments.k}).")
    torch.set_num_threads(arguments.num_threads)
    model, processor = load_recommender(arguments.model, device=arguments.device)
    method = load_method(local_folder(arguments.model), model.config.model_type)
    requests = reference_requests(processor.items, method, arguments.num_requests)
    create: Any = pipeline  # its types list the tasks of transformers only
    pipe = create(
        "preference-recommendation",
        model=model,
        processor=processor,
        device=arguments.device,
        limits=RequestLimits.none(),
    )

    def by_pipeline(batch_size: int) -> None:
        pipe(requests, k=arguments.k, batch_size=batch_size)

    def by_model(batch_size: int) -> None:
        for start in range(0, len(requests), batch_size):
            model.recommend(**inputs_of(requests[start : start + batch_size], processor, model), k=arguments.k)

    by_pipeline(max(arguments.batch_sizes))  # the trie is built once, and the allocator finds its sizes
    print(
        f"{Path(arguments.model)}: {method.name}, {model.config.num_items} items, {len(requests)} requests, k = "
        f"{arguments.k}, {arguments.device}, {arguments.num_threads} thread(s), torch {torch.__version__}\n"
    )
    print("| batch | pipeline, requests/s | ms a request | bare model, requests/s | pipeline / bare |")
    print("|---:|---:|---:|---:|---:|")
    for batch_size in arguments.batch_sizes:
        spent = measure([by_pipeline, by_model], batch_size, arguments)
        rates = [len(requests) / one for one in spent]
        print(
            f"| {batch_size} | {rates[0]:.1f} | {1000 / rates[0]:.1f} | {rates[1]:.1f} | {rates[0] / rates[1]:.2f} |"
        )
    if model.can_generate():
        show_candidates(model, inputs_of(requests, processor, model), arguments)


def inputs_of(requests: Sequence[Mapping[str, Any]], processor: Any, model: PreTrainedModel) -> dict[str, Any]:
    """The model's inputs for requests, of which some may lack a field."""
    names = dict.fromkeys(name for request in requests for name in request)
    fields = {name: [request.get(name) for request in requests] for name in names}
    return dict(processor(**fields).to(model.device))


def show_candidates(model: PreTrainedModel, inputs: dict[str, torch.Tensor], arguments: argparse.Namespace) -> None:
    """How many of the exact best among random candidates the model's usual number of beams finds."""
    num_items, k = model.config.num_items, arguments.k
    candidates = random_items(arguments.num_requests, min(arguments.num_candidates, num_items), num_items, seed=0)
    beams = min(len(candidates[0]), max(2 * k, model.generation_config.num_beams))
    exact = model.recommend(**inputs, k=k, num_beams=len(candidates[0]), candidates=candidates).items
    found = model.recommend(**inputs, k=k, num_beams=beams, candidates=candidates).items
    share = share_found(found, exact)
    print(f"\nof the exact top {k} among {len(candidates[0])} random candidates, {beams} beams found {share:.1%}")


def measure(ways: list[Callable[[int], None]], batch_size: int, arguments: argparse.Namespace) -> list[float]:
    """Seconds of each way, the least of interleaved runs."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(arguments.repeats):
        for way, spent in zip(ways, times, strict=True):
            start = time.perf_counter()
            way(batch_size)
            if arguments.device.startswith("cuda"):
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - start)
    return [min(spent) for spent in times]


if __name__ == "__main__":
    sys.exit(main())
