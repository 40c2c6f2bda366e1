"""Times the beam search as one CUDA graph against the same search step by step, and checks that both find the same.

    python scripts/benchmarks/benchmark_cuda_graph.py [--num_beams 30] [--batch_size 32] [--dtype bfloat16]

The paper's decoder with random weights over a random catalog, from random encoder states: all levels, with the keys
and values of the encoder states, but not the encoder itself. Three requests: without log-weights, with a weight for
every item, and with --num_listed listed items each; folding is not timed. On a GPU, the search also runs once under
torch's check for host synchronizations, which raises at the first. On the CPU everything runs but the capture, which
the output says; figures of a CPU are no figures of a GPU. Ways alternate; medians. Prints one JSON.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from benchmark_decoding import build_model, seconds

from modeling_mender import MenderTok
from modeling_mender.constrained_decoding import BeamSearchOutput
from modeling_mender.devices import default_device
from modeling_mender.item_log_weights import SparseItemLogWeights
from modeling_mender.trie import NodeLogWeights

GOAL_MS_A_USER = 1.0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_beams", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--sequence_length", type=int, default=256, help="length of the encoder states")
    parser.add_argument("--num_items", type=int, default=12_101, help="items of the random catalog")
    parser.add_argument("--num_listed", type=int, default=1000, help="items that the sparse form lists per request")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default_device())
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    return parser.parse_args(argv)


def log_weights(model: MenderTok, arguments: argparse.Namespace) -> dict[str, NodeLogWeights | None]:
    """Log-weights of nodes of each request, by the name of the form."""
    generator = torch.Generator().manual_seed(arguments.seed)
    rows, items = arguments.batch_size, arguments.num_items
    width = min(arguments.num_listed, items)
    listed = torch.stack([torch.randperm(items, generator=generator)[:width] + 1 for _ in range(rows)])
    values = 3 * torch.randn(rows, width, generator=generator)
    sparse = SparseItemLogWeights(listed, values, torch.zeros(rows)).to(model.device)
    dense = torch.randn(rows, items, generator=generator).to(model.device)
    return {"none": None, "dense": model.trie.mean_fold(dense), "listed": model.trie.mean_fold(sparse)}


@contextmanager
def no_synchronization(device: str):  # noqa: ANN201
    """Raises at the first operation that makes the host wait for the GPU."""
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def compare(run: Callable[[bool], BeamSearchOutput], arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a user of both ways, and how their results differ."""
    expected, found = run(False), run(True)  # the second captures
    with no_synchronization(arguments.device):
        run(False)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(arguments.repeats):
        for is_captured, spent in times.items():
            spent.append(seconds(lambda is_captured=is_captured: run(is_captured), arguments.device))
    eager, captured = (1e3 * statistics.median(times[way]) / arguments.batch_size for way in (False, True))
    again = run(True)
    return {
        "eager_ms_a_user": eager,
        "captured_ms_a_user": captured,
        "ratio": eager / captured,
        "reaches_goal": captured <= GOAL_MS_A_USER,
        "differing_items": int((found.items != expected.items).sum()),
        "results": found.items.numel(),
        "largest_score_difference": (found.scores - expected.scores).nan_to_num(posinf=0, neginf=0).abs().max().item(),
        "repeats_itself": torch.equal(again.items, found.items) and torch.equal(again.scores, found.scores),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(arguments.num_threads)
    model, inputs = build_model(arguments)
    states, mask = inputs["encoder_outputs"], inputs["attention_mask"]
    is_gpu = arguments.device == "cuda"
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if is_gpu else "cpu",
        "is_captured": is_gpu,
        "torch": torch.__version__,
        "goal_ms_a_user": GOAL_MS_A_USER,
        **{name: getattr(arguments, name) for name in ("num_beams", "batch_size", "sequence_length", "num_items")},
        "dtype": arguments.dtype,
        "by_log_weights": {},
    }
    if not is_gpu:
        found["note"] = "no GPU: searches ran from static buffers without a graph; the times are those of a CPU"
    model.capture_search()
    captured = model._captured
    for name, weights in log_weights(model, arguments).items():

        def run(is_captured: bool, weights: NodeLogWeights | None = weights) -> BeamSearchOutput:
            model._captured = captured if is_captured else None
            with torch.no_grad():
                return model._search_beams(states, mask, arguments.num_beams, weights)

        found["by_log_weights"][name] = compare(run, arguments)
    return found


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if min(arguments.num_beams, arguments.batch_size, arguments.repeats, arguments.num_listed) < 1:
        print("error: --num_beams, --batch_size, --repeats and --num_listed must be at least 1.", file=sys.stderr)
        return 1
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            "error: --device cuda needs a GPU and torch with CUDA, and there is none; leave it out.", file=sys.stderr
        )
        return 1
    text = json.dumps(measure(arguments), indent=1)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
