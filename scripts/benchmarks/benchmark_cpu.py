"""Times single requests on a CPU from texts to items, and what each faster way costs in recall.

    python scripts/benchmarks/benchmark_cpu.py --model outputs/beauty/mender_steer/model \\
        --benchmark outputs/beauty/benchmark --domain beauty [--num_threads 1] [--onnx_dir outputs/onnx]

Test rows of the recommendation axis: PyTorch in float32 and bfloat16, in 8 bits, compiled, and ONNX Runtime. Every row
is asked once in every way, one by one. The ways take turns of ten rows, so other work on the machine slows all alike,
and each has its weights in the processor's cache as a service has; a text is read again each time. A Mender_Tok or
Mender_Emb is compared with the generic loop of `generate` as well. After a Mender_Steer comes a Mender_Tok over the
same items, with random weights of the paper's sizes (FLAN-T5-small and its decoder): its lists say nothing, so it has
no recall.
"""

import argparse
import copy
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from benchmark_decoding import random_catalogue
from torch import nn
from transformers import T5Config

from dataset_builders.benchmark.tables import choose_rows, load_table
from modeling_mender import MenderSteer, MenderTok, MenderTokConfig, MenderTokProcessor
from modeling_mender.hub.loading import load_recommender
from modeling_mender.onnx_export.export import DTYPES, export_onnx
from modeling_mender.onnx_export.runner import OnnxRecommender, OnnxSteer
from modeling_mender.semantic_ids import tokens_to_codes

K, NUM_BEAMS, TURN = 10, 20, 10
COLUMNS = "per request: median, 95th percentile, minimum, ratio to the first; median CPU time, ratio"
Fields = Mapping[str, Any]
Way = Callable[[Fields], list[int]]  # a request to the ids of K items


class Measured(NamedTuple):
    """Seconds, seconds of the processor, and lists of items of each row, by way."""

    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]
    lists: dict[str, list[list[int]]]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a mender_steer, mender_tok or mender_emb")
    parser.add_argument("--benchmark", required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--onnx_dir", type=Path, help="keeps the exported graphs, or reads those of an earlier run")
    parser.add_argument("--num_rows", type=int, default=300, help="test rows for the model")
    parser.add_argument(
        "--num_tok_rows", type=int, default=12, help="test rows for a Mender_Tok with random weights; 0 leaves it out"
    )
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--no_compile", action="store_true", help="leave torch.compile out, which takes a minute")
    return parser.parse_args(argv)


def test_requests(arguments: argparse.Namespace) -> tuple[list[dict[str, Any]], list[int]]:
    """Requests with history and preference, and the item that each is for."""
    table = load_table(arguments.benchmark, arguments.domain, "recommendation", "test")
    rows = table.select(choose_rows(len(table), arguments.num_rows))
    requests = [
        {"history": [list(history)], "preference": [preference]}
        for history, preference in zip(rows["history"], rows["preference"], strict=True)
    ]
    return requests, list(rows["target"])


def in_8_bits(encoder: nn.Module) -> nn.Module:
    """A copy whose matrices are stored and multiplied in 8 bits, by PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and not yet removed
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(encoder), {nn.Linear}, dtype=torch.qint8)


def variants(model: Any, compiled: bool) -> dict[str, Any]:
    """Copies of a model whose text encoder, or all, is of another type."""
    made = {"PyTorch float32": model}
    made["PyTorch, encoder bfloat16"] = copy.deepcopy(model)
    made["PyTorch, encoder bfloat16"].text_encoder.to(torch.bfloat16)
    made["PyTorch bfloat16"] = copy.deepcopy(model).to(torch.bfloat16)
    made["PyTorch, encoder int8"] = copy.deepcopy(model)
    made["PyTorch, encoder int8"].text_encoder = in_8_bits(model.text_encoder)
    if compiled:
        made["PyTorch, encoder compiled"] = copy.deepcopy(model)
        made["PyTorch, encoder compiled"].text_encoder.compile(dynamic=True, options={"freezing": True})
    return made


def asking(recommend: Callable[..., Any], processor: Any, **settings: Any) -> Way:
    """From a request to items by a model with `recommend`."""

    def ask(fields: Fields) -> list[int]:
        return recommend(**processor(**fields), k=K, **settings).items[0].tolist()

    return ask


def exported(model: Any, processor: Any, arguments: argparse.Namespace, folder: Path) -> dict[str, OnnxRecommender]:
    """The graphs by type; exports what is missing."""
    graphs = {}
    for dtype in DTYPES:
        place = folder / model.config.model_type / dtype
        if not place.is_dir():
            place.mkdir(parents=True)
            export_onnx(model, processor, place, dtype)
        graphs[f"ONNX Runtime {dtype}"] = OnnxRecommender.from_pretrained(place, arguments.num_threads)
    return graphs


def measure(ways: Mapping[str, Way], requests: Sequence[Fields], processor: Any) -> Measured:
    """Asks every request in every way, in turns of `TURN` requests, each time another way first."""
    names = list(ways)
    measured = Measured(*({name: [] for name in names} for _ in range(3)))
    for name in names:
        for fields in requests[:3]:  # what is made on first use, or compiled
            ways[name](fields)
    for number, start in enumerate(range(0, len(requests), TURN)):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            ways[name](requests[start])  # into the processor's cache
            for fields in requests[start : start + TURN]:
                processor.__dict__.pop("_read", None)  # the cache of read texts
                began, cpu_began = time.perf_counter(), time.process_time()
                found = ways[name](fields)
                measured.seconds[name].append(time.perf_counter() - began)
                measured.cpu_seconds[name].append(time.process_time() - cpu_began)
                measured.lists[name].append(found)
    return measured


def paired_recall(
    lists: Sequence[Sequence[int]], other: Sequence[Sequence[int]], targets: Sequence[int]
) -> tuple[float, float, float]:
    """Recall of lists, its difference from that of others, and the half width of the difference's 95 % interval.

    >>> paired_recall([[1, 2], [3, 4]], [[1, 2], [5, 6]], [1, 3])
    (1.0, 0.5, 0.98)
    """
    hits, other_hits = (
        np.array([target in one for one, target in zip(found, targets, strict=True)], float)
        for found in (lists, other)
    )
    difference = hits - other_hits
    spread = 1.96 * float(difference.std(ddof=1)) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    return float(hits.mean()), float(difference.mean()), round(spread, 4)


def share_changed(lists: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Share of lists that differ in an item or in order, and share of their items that the other lists lack.

    >>> share_changed([[1, 2], [3, 4]], [[2, 1], [3, 4]])
    (0.5, 0.0)
    """
    changed = [list(one) != list(two) for one, two in zip(lists, other, strict=True)]
    lost = [len(set(one) - set(two)) / len(one) for one, two in zip(lists, other, strict=True)]
    return sum(changed) / len(changed), sum(lost) / len(lost)


def show(measured: Measured, reference: str, targets: Sequence[int] | None) -> None:
    """Prints a line per way; times are compared with the first way, lists with those of `reference`."""
    first, *_ = measured.seconds
    first_median, first_cpu = (statistics.median(times[first]) for times in (measured.seconds, measured.cpu_seconds))
    for name, seconds in measured.seconds.items():
        median, cpu = statistics.median(seconds), statistics.median(measured.cpu_seconds[name])
        tail = float(np.quantile(seconds, 0.95))
        line = f"{name:<28} {1000 * median:8.2f} ms {1000 * tail:8.2f} {1000 * min(seconds):8.2f}"
        line += f" {first_median / median:6.2f} x   CPU {1000 * cpu:8.2f} ms {first_cpu / cpu:6.2f} x"
        changed, lost = share_changed(measured.lists[name], measured.lists[reference])
        line += f"   lists changed {changed:6.1%}, items {lost:6.2%}"
        if targets is not None:
            recall, difference, spread = paired_recall(measured.lists[name], measured.lists[reference], targets)
            line += f"   recall@{K} {recall:.4f} ({difference:+.4f} +- {spread:.4f})"
        print(line, flush=True)


def show_parts(model: Any, processor: Any, graphs: OnnxSteer, requests: Sequence[Fields]) -> None:
    """Prints the median time of each part of a request, in PyTorch and in ONNX Runtime."""
    parts: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = run()
        parts.setdefault(name, []).append(time.perf_counter() - start)
        return value

    for fields in requests:
        processor.__dict__.pop("_read", None)
        inputs = dict(timed("processor: reading and tokens", lambda fields=fields: processor(**fields)))
        tokens = inputs.pop("preference_input_ids"), inputs.pop("preference_attention_mask")
        given = inputs | {
            "preference_embeddings": timed(
                "text encoder, PyTorch", lambda tokens=tokens: model.embed_preferences(1, *tokens, None)
            )
        }
        timed("text encoder, ONNX Runtime", lambda tokens=tokens: graphs.embed_texts(*tokens))
        scores = timed("item scores, PyTorch", lambda given=given: model.encode(**given).item_scores)
        timed("item scores, ONNX Runtime", lambda given=given: graphs.score_items(**given))
        timed(f"top {K}", lambda scores=scores: scores.topk(K))
    for name, seconds in parts.items():
        print(f"{name:<30} {1000 * statistics.median(seconds):8.2f} ms {1000 * min(seconds):8.2f}")


def show_steer(arguments: argparse.Namespace, model: Any, processor: Any, folder: Path) -> None:
    """Measures Mender_Steer."""
    requests, targets = test_requests(arguments)
    graphs = exported(model, processor, arguments, folder)
    made = variants(model, not arguments.no_compile) | graphs
    ways = {name: asking(one.recommend, processor) for name, one in made.items()}
    print(f"\nMender_Steer, {len(requests)} test rows, {COLUMNS}", flush=True)
    show(measure(ways, requests, processor), next(iter(ways)), targets)
    print("\nits parts: median and minimum")
    show_parts(model, processor, cast(OnnxSteer, graphs["ONNX Runtime float32"]), requests)


def build_tok(items: list[dict[str, str]], tokenizer: Any) -> tuple[MenderTok, MenderTokProcessor]:
    """Mender_Tok of the paper's sizes with random weights, over random semantic IDs, and its processor."""
    torch.manual_seed(0)
    text_config = T5Config(
        vocab_size=max(32_128, len(tokenizer)),
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
    )
    model = MenderTok(MenderTokConfig(num_items=len(items), text_config=text_config)).eval()
    model.set_item_semantic_ids(random_catalogue(len(items), torch.Generator().manual_seed(0)))
    return model, MenderTokProcessor(tokenizer, items=items, max_length=512)


def show_retriever(
    arguments: argparse.Namespace,
    model: Any,
    processor: Any,
    folder: Path,
    requests: Sequence[Fields],
    targets: Sequence[int] | None,
) -> None:
    """Measures a generative model; without targets its weights are random."""
    codebook_size = model.config.codebook_size
    num_beams = min(NUM_BEAMS, model.num_active_items)
    items = {tuple(codes): number for number, codes in enumerate(model.item_semantic_ids.tolist(), start=1)}

    def generic(fields: Fields) -> list[int]:
        found = model.generate(
            **processor(**fields),
            num_beams=num_beams,
            num_return_sequences=K,
            return_dict_in_generate=True,
            output_scores=True,  # which the own search does not give
        )
        return [items[tuple(codes)] for codes in tokens_to_codes(found.sequences[:, 1:], codebook_size).tolist()]

    made = {
        name.replace("PyTorch", "recommend"): one for name, one in variants(model, not arguments.no_compile).items()
    } | exported(model, processor, arguments, folder)
    ways = {"generic generate, float32": generic}
    ways |= {name: asking(one.recommend, processor, num_beams=num_beams) for name, one in made.items()}
    lengths = [int(processor(**fields)["attention_mask"].sum()) for fields in requests]
    weights = "random" if targets is None else "trained"
    print(
        f"\n{type(model).__name__}, {weights} weights, {len(requests)} test rows of {min(lengths)} to {max(lengths)} "
        f"states (median {statistics.median(lengths):.0f}), {num_beams} beams, {COLUMNS}",
        flush=True,
    )
    show(measure(ways, requests, processor), list(ways)[1], targets)


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    import onnxruntime  # of an extra

    torch.set_num_threads(arguments.num_threads)
    torch.set_grad_enabled(False)
    model, processor = load_recommender(arguments.model)
    print(
        f"{processor_name()}, {arguments.num_threads} thread(s), torch {torch.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, {model.config.num_items} items"
    )
    with TemporaryDirectory() as scratch:
        folder = arguments.onnx_dir or Path(scratch)
        if not isinstance(model, MenderSteer):
            show_retriever(arguments, model, processor, folder, *test_requests(arguments))
            return 0
        show_steer(arguments, model, processor, folder)
        if arguments.num_tok_rows:
            tok = build_tok(processor.items, processor.tokenizer)
            requests, _ = test_requests(arguments)
            show_retriever(arguments, *tok, folder, requests[: arguments.num_tok_rows], None)
    return 0


def processor_name() -> str:
    """Name of the CPU, and whether it has AMX."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {name.strip(): value for name, value in fields.items()}
    amx = "with" if "amx_bf16" in names.get("flags", "") else "without"
    return f"{names.get('model name', platform.processor()).strip()} {amx} AMX"


if __name__ == "__main__":
    sys.exit(main())
