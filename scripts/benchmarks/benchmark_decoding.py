"""Times the own beam search against the generic loop of transformers, on the same model, in one run.

    python scripts/benchmarks/benchmark_decoding.py [--num_beams 20] [--batch_size 16] [--device cuda]

Both are constrained by the same trie and start from the same encoder states, so the ratio is decoding alone. Runs are
interleaved and the minimum is taken; the largest difference of scores and the number of differing beams are printed
beside. Then what parts of the catalog cost: 20 items excluded, and 100 candidates, drawn for every request, with as
many beams as the whole catalog gets, and with as many as there are candidates, which is exact.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from process_memory import PeakMemory
from transformers import T5Config
from transformers.modeling_outputs import BaseModelOutput

from modeling_mender import MenderTok, MenderTokConfig, SemanticIds

CODEBOOK_SIZE = 256


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--num_beams", type=int, default=20)
    parser.add_argument("--sequence_length", type=int, default=256, help="length of the encoder states")
    parser.add_argument("--num_items", type=int, default=12_101, help="items of the random catalog (Beauty's number)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def random_catalogue(num_items: int, generator: torch.Generator) -> SemanticIds:
    """Distinct random codes at three levels, and a collision level of zeros."""
    codes = torch.randint(CODEBOOK_SIZE, (2 * num_items, 3), generator=generator).unique(dim=0)
    codes = codes[torch.randperm(len(codes), generator=generator)[:num_items]]
    return SemanticIds(torch.nn.functional.pad(codes, (0, 1)), CODEBOOK_SIZE)


def build_model(arguments: argparse.Namespace) -> tuple[MenderTok, dict[str, object]]:
    """The paper's decoder with random weights, and random encoder states; the text encoder is not timed and tiny."""
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    catalogue = random_catalogue(arguments.num_items, generator)
    text_config = T5Config(vocab_size=32, d_model=16, d_ff=16, num_layers=1, num_heads=1, d_kv=16)
    model = MenderTok(MenderTokConfig(num_items=arguments.num_items, text_config=text_config)).eval()
    model.set_item_semantic_ids(catalogue)
    model.to(arguments.device, getattr(torch, arguments.dtype))
    shape = (arguments.batch_size, arguments.sequence_length, model.config.d_model)
    states = torch.randn(shape, generator=generator).to(model.device, model.dtype)
    mask = torch.ones(shape[:2], dtype=torch.long, device=model.device)
    return model, {"encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": mask}


def peak_memory_mb(run: Callable[[], object], device: str) -> float:
    """Memory above what was held before, at its highest during `run`, in MB."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    memory = PeakMemory()
    run()
    return memory.above_start_mb()


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall-clock of one run."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def random_items(num_rows: int, count: int, num_items: int, seed: int) -> list[list[int]]:
    """Distinct random item ids, a list per request."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randperm(num_items, generator=generator)[:count] + 1).tolist() for _ in range(num_rows)]


def share_found(found: torch.Tensor, exact: torch.Tensor) -> float:
    """How many of the exact items are among those found, over all requests: both `(batch_size, k)`.

    >>> share_found(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[2, 9], [4, 3]]))
    0.75
    """
    return (found.unsqueeze(2) == exact.unsqueeze(1)).any(1).float().mean().item()


def show_parts(model: MenderTok, inputs: dict[str, object], arguments: argparse.Namespace) -> None:
    """Times `recommend` over the whole catalog and over parts of it, and how exact a part is."""
    k = min(10, arguments.num_beams)
    rows, items, seed = arguments.batch_size, arguments.num_items, arguments.seed
    candidates = random_items(rows, min(100, items), items, seed)
    ways = {
        "recommend, whole catalog": {},
        "recommend, 20 excluded": {"exclude": random_items(rows, min(20, items - k), items, seed)},
        "recommend, 100 candidates": {"candidates": candidates},
        "the same, exactly": {"candidates": candidates, "num_beams": None},
    }

    def ask(num_beams: int | None = arguments.num_beams, **limits: list[list[int]]) -> torch.Tensor:
        return model.recommend(**inputs, k=k, num_beams=num_beams, **limits).items

    times = {
        name: min(seconds(lambda limits=limits: ask(**limits), arguments.device) for _ in range(arguments.repeats))
        for name, limits in ways.items()
    }
    whole = times["recommend, whole catalog"]
    for name, time_spent in times.items():
        print(f"{name:<30} {time_spent:8.3f} s   {time_spent / whole:.2f} x")
    found, exact = ask(candidates=candidates), ask(None, candidates=candidates)
    found_share = share_found(found, exact)
    print(f"of the exact top {k} among the candidates, {arguments.num_beams} beams found {found_share:.1%}")


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.num_threads)
    model, inputs = build_model(arguments)
    settings = {
        "num_beams": arguments.num_beams,
        "num_return_sequences": arguments.num_beams,
        "return_dict_in_generate": True,
    }

    def own() -> object:
        return model.generate(**inputs, **settings)

    def generic() -> object:
        return model.generate(**inputs, **settings, output_scores=True)  # what the own loop does not give

    model.trie  # noqa: B018  built once per checkpoint, not per request
    memory_own = peak_memory_mb(own, arguments.device)
    memory_generic = peak_memory_mb(generic, arguments.device)
    times = [(seconds(own, arguments.device), seconds(generic, arguments.device)) for _ in range(arguments.repeats)]
    time_own, time_generic = (min(column) for column in zip(*times, strict=True))
    found, expected = own(), generic()
    difference = (found.sequences_scores - expected.sequences_scores).abs().max().item()
    differing = (found.sequences != expected.sequences).any(-1).sum().item()

    print(
        f"batch {arguments.batch_size}, encoder length {arguments.sequence_length}, {arguments.num_beams} beams, "
        f"{arguments.num_items} items, {arguments.dtype} on {arguments.device}, {arguments.num_threads} "
        f"thread(s), torch {torch.__version__}"
    )
    print(
        f"generic loop + trie processor  {time_generic:8.3f} s   peak memory above the model {memory_generic:7.0f} MB"
    )
    print(f"own beam search                {time_own:8.3f} s   peak memory above the model {memory_own:7.0f} MB")
    print(f"ratio                          {time_generic / time_own:8.1f} x")
    print(f"beams that differ {differing} of {len(found.sequences)}; largest score difference {difference:.1e}")
    show_parts(model, inputs, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
