"""Times and measures the change of a catalog of several sizes: load, add, remove, save.

    python scripts/benchmarks/benchmark_catalog_update.py [--num_items 12101 100000 1000000 10000000] [--num_new 1000]

A random TIGER of each size, whose items have titles of eight words and random codes, is saved, loaded, changed and
saved again, as mender update-catalogue does, without the embedding of texts. Per size: CPU seconds of loading model
and processor, of adding --num_new items, of removing as many, of saving with the manifest, of all of them and by the
clock, and peak memory above what Python and torch hold, which counts the mapped files of items and weights. A size has
a process of its own. Prints a Markdown table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from process_memory import PeakMemory

WORDS = "walnut brass linen amber ivory cedar lamp vase tray mug soap candle chair table rug clock".split()
SIZES = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_heads": 2, "num_decoder_layers": 1}
CODEBOOK_SIZE, NUM_LEVELS = 256, 4


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_items", type=int, nargs="+", default=[12_101, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--num_new", type=int, default=1000, help="items to add, and to remove")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # what a process of its own does
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.num_new, arguments.seed)))
        return 0
    columns = ("items", "load s", "add s", "remove s", "save s", "all s", "clock s", "peak MB", "bytes an item")
    print(f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}")
    for num_items in arguments.num_items:
        own = [sys.executable, __file__, "--measure", str(num_items), "--num_new", str(arguments.num_new)]
        run = subprocess.run([*own, "--seed", str(arguments.seed)], capture_output=True, text=True, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
        seconds = [found[name] for name in ("load", "add", "remove", "save")]
        cells = [f"{one:.2f}" for one in (*seconds, sum(seconds), found["clock"])]
        peak = found["peak_mb"]
        print(f"| {num_items:,} | {' | '.join(cells)} | {peak:,.0f} | {peak * 2**20 / num_items:,.0f} |", flush=True)
    return 0


def measure(num_items: int, num_new: int, seed: int) -> dict[str, float]:
    """CPU seconds of each step, seconds by the clock of all, and the peak of memory in MB."""
    from modeling_mender import SemanticIds, Tiger, TigerConfig, TigerProcessor
    from modeling_mender.hub.loading import load_recommender
    from modeling_mender.items_file import Items
    from modeling_mender.manifest import write_manifest
    from modeling_mender.methods.tiger import empty_tokenizer

    generator = torch.Generator().manual_seed(seed)
    numbers = (
        torch.randperm(CODEBOOK_SIZE**3, generator=generator)[:num_items] if num_items < CODEBOOK_SIZE**3 else None
    )
    if numbers is None:
        raise ValueError(f"--num_items ({num_items}) must be below {CODEBOOK_SIZE**3}.")
    powers = CODEBOOK_SIZE ** torch.arange(2, -1, -1)
    codes = torch.cat([numbers.unsqueeze(1) // powers % CODEBOOK_SIZE, torch.zeros(num_items, 1, dtype=torch.long)], 1)
    with tempfile.TemporaryDirectory() as folder:
        first, second, lines = Path(folder, "first"), Path(folder, "second"), Path(folder, "items.jsonl")
        model = Tiger(TigerConfig(num_items=num_items, num_levels=NUM_LEVELS, codebook_size=CODEBOOK_SIZE, **SIZES))
        model.set_item_semantic_ids(SemanticIds(codes, CODEBOOK_SIZE))
        with lines.open("w") as file:
            file.writelines(item_lines(codes))
        processor = TigerProcessor(empty_tokenizer(), NUM_LEVELS, CODEBOOK_SIZE, items=Items.read(lines))
        model.config.items_digest = processor.items_digest
        model.save_pretrained(first)
        processor.save_pretrained(first)
        write_manifest(first, num_items)
        del model, processor, codes, numbers
        memory, times, started = PeakMemory(), [time.process_time()], time.perf_counter()
        loaded: Any = load_recommender(first)
        times.append(time.process_time())
        changed, reader = loaded
        new = [{"title": f"new lamp {number}"} for number in range(num_new)]
        changed.add_items(new, reader, codes=torch.randint(CODEBOOK_SIZE, (num_new, 3), generator=generator))
        times.append(time.process_time())
        changed.remove_items(range(1, 1 + num_new), reader)
        times.append(time.process_time())
        changed.save_pretrained(second)
        reader.save_pretrained(second)
        write_manifest(second, num_items + num_new)
        times.append(time.process_time())
        steps = {
            name: after - before
            for name, before, after in zip(("load", "add", "remove", "save"), times, times[1:], strict=False)
        }
        return {**steps, "clock": time.perf_counter() - started, "peak_mb": memory.above_start_mb()}


def item_lines(codes: torch.Tensor) -> Iterator[str]:
    """Lines of `items.jsonl` of items with these codes, many at a time."""
    halves = [" ".join(WORDS[number >> shift & 15] for shift in range(0, 16, 4)) for number in range(1 << 16)]
    for start in range(0, len(codes), 1 << 16):
        lines = []
        for number, row in enumerate(codes[start : start + (1 << 16)].tolist(), start=start + 1):
            title = f"{halves[number & 0xFFFF]} {halves[number >> 16]}"
            lines.append(f'{{"item_id": {number}, "title": "{title}", "text": "{title}", "codes": {row}}}\n')
        yield "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
