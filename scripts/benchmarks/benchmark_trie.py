"""Times and measures the trie of catalogs of several sizes: build, memory, a step of the search, changes.

    python scripts/benchmarks/benchmark_trie.py [--num_items 12101 1000000 20000000] [--num_changed 1000]

Codes are drawn at three levels of 256, with probabilities that fall as a power of their rank (--exponent; 0 is
uniform), and the last level tells apart the items that share them, with as many codes as that takes. Per size:
building, against sorting level by level; bytes of an item; peak memory above the codes themselves; adding and removing
--num_changed items, with a check that every array equals that of a new trie; and, without a network, a step of
the search for --batch_size requests, without weights and with --num_listed listed items each. Times are medians of
--repeats, alternated; a size has a process of its own. Prints a Markdown table.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmark_decoding import CODEBOOK_SIZE, seconds
from process_memory import PeakMemory

from modeling_mender.constrained_decoding import beam_search
from modeling_mender.item_log_weights import SparseItemLogWeights
from modeling_mender.trie import Trie, lexicographic_order

NUM_RESIDUAL_LEVELS = 3


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_items", type=int, nargs="+", default=[12_101, 1_000_000, 20_000_000])
    parser.add_argument("--num_changed", type=int, default=1000, help="items to add, and to remove")
    parser.add_argument("--exponent", type=float, default=0.5, help="of the power law of the codes; 0 is uniform")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_beams", type=int, default=30)
    parser.add_argument("--num_listed", type=int, default=1000, help="items that the sparse form lists per request")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # what a process of its own does
    return parser.parse_args(argv)


def skewed_catalogue(num_items: int, exponent: float, generator: torch.Generator) -> torch.Tensor:
    """Distinct codes of items, `(num_items, 4)`, uint8, or int16 if the collision level needs more than 256 codes."""
    shares = torch.arange(1, CODEBOOK_SIZE + 1, dtype=torch.float64).pow(-exponent).cumsum(0)
    prefixes = torch.zeros(num_items, dtype=torch.long)
    for _ in range(NUM_RESIDUAL_LEVELS):
        drawn = torch.rand(num_items, dtype=torch.float64, generator=generator) * shares[-1]
        prefixes.mul_(CODEBOOK_SIZE).add_(torch.searchsorted(shares, drawn).clamp(max=CODEBOOK_SIZE - 1))
        del drawn
    # the place of an item among those of the same codes
    order = prefixes.argsort(stable=True).int()
    ordered = prefixes.index_select(0, order)
    starts = torch.ones(num_items, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    del ordered
    places = torch.arange(num_items, dtype=torch.int32)
    first = places.masked_fill(~starts, 0).cummax(0).values
    collisions = torch.empty(num_items, dtype=torch.int32)
    collisions[order] = places - first
    code_type = torch.uint8 if int(collisions.max()) < 2**8 else torch.int16
    codes = torch.empty(num_items, NUM_RESIDUAL_LEVELS + 1, dtype=code_type)
    codes[:, -1] = collisions
    for level in reversed(range(NUM_RESIDUAL_LEVELS)):
        codes[:, level] = prefixes % CODEBOOK_SIZE
        prefixes //= CODEBOOK_SIZE
    return codes


class SameLogProbs:
    """The same random log-probabilities after every prefix: costs nothing, so that the search alone is timed."""

    def __init__(self, batch_size: int, num_beams: int, num_codes: int, generator: torch.Generator) -> None:
        self.table = torch.randn(batch_size, num_beams, num_codes, generator=generator).log_softmax(-1)

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        return self.table[:, : 1 if codes is None else codes.shape[1]]


def num_bytes(trie: Trie) -> int:
    """Bytes of the arrays of a trie, without those that are computed on first use."""
    arrays = [trie.leaf_items]
    for level in trie.levels:
        arrays += [level.codes, level.first_leaf, level.first_child]
    return sum(array.numel() * array.element_size() for array in arrays)


def is_same(trie: Trie, other: Trie) -> bool:
    """Whether all arrays and numbers are equal."""
    numbers = [(one.num_items, one.num_leaves) for one in (trie, other)]
    return numbers[0] == numbers[1] and torch.equal(trie.leaf_items, other.leaf_items) and all(
        (one.max_children, one.num_codes) == (two.max_children, two.num_codes)
        and torch.equal(one.codes, two.codes)
        and torch.equal(one.first_leaf, two.first_leaf)
        and torch.equal(one.first_child, two.first_child)
        for one, two in zip(trie.levels, other.levels, strict=True)
    )  # fmt: skip


def alternated(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, one after the other, several times."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            times[name].append(seconds(run, "cpu"))
    return {name: statistics.median(one) for name, one in times.items()}


def measure(num_items: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one size: seconds, bytes, MB."""
    torch.set_num_threads(arguments.num_threads)
    generator = torch.Generator().manual_seed(arguments.seed)
    num_changed = min(arguments.num_changed, num_items // 2)
    codes = skewed_catalogue(num_items + num_changed, arguments.exponent, generator)
    old, added = codes[:num_items], codes[num_items:]
    removed = torch.randperm(num_items, generator=generator)[:num_changed]
    memory = PeakMemory()
    trie = Trie(old)
    found: dict[str, Any] = {"num_items": num_items, "build_memory_mb": memory.above_start_mb()}
    found |= {"bytes_an_item": num_bytes(trie) / num_items, "num_codes": trie.levels[-1].num_codes}
    memory = PeakMemory()
    grown = trie.with_items(added)
    found["add_memory_mb"] = memory.above_start_mb()
    found["is_same"] = is_same(grown, Trie(codes))
    del grown
    shrunk = trie.without_items(removed + 1)
    left = old.short()
    left[removed] = -1
    found["is_same"] = found["is_same"] and is_same(shrunk, Trie(left))
    del shrunk, left
    ways: dict[str, Callable[[], object]] = {
        "build": lambda: Trie(old),
        "sort_by_level": lambda: lexicographic_order(old),
        "add": lambda: trie.with_items(added),
        "remove": lambda: trie.without_items(removed + 1),
    }
    found |= alternated(ways, arguments.repeats)
    batch_size, num_beams = arguments.batch_size, arguments.num_beams
    model = SameLogProbs(batch_size, num_beams, max(CODEBOOK_SIZE, trie.levels[-1].num_codes), generator)
    num_listed = min(arguments.num_listed, num_items)
    items = torch.stack([torch.randperm(num_items, generator=generator)[:num_listed] for _ in range(batch_size)]) + 1
    # so heavy that the beams go where the listed items are
    listed = SparseItemLogWeights(items, 15 + torch.randn(items.shape, generator=generator), torch.zeros(batch_size))
    trie.item_codes, trie.is_item  # noqa: B018  computed once a catalog
    searches: dict[str, Callable[[], object]] = {
        "step": lambda: beam_search(model, trie, batch_size, num_beams),
        "weighted_step": lambda: beam_search(model, trie, batch_size, num_beams, trie.mean_fold(listed)),
    }
    times = alternated(searches, 2 * arguments.repeats)
    return found | {name: time / trie.num_levels for name, time in times.items()}


def measure_apart(num_items: int, argv: Sequence[str]) -> dict[str, Any]:
    """[`measure`] in a process of its own: memory that one size leaves allocated would hide another's."""
    finished = subprocess.run(
        [sys.executable, __file__, *argv, "--measure", str(num_items)], capture_output=True, text=True, check=False
    )
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or [f"ended with {finished.returncode}"]
        raise RuntimeError(f"{num_items} items failed: {lines[-1]}")
    return json.loads(finished.stdout.splitlines()[-1])


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, one row per size."""
    heads = ("items", "codes of the last level", "build, s", "sort by level alone, s", "bytes an item",
             "peak to build, MB", "add, s", "build / add", "peak to add, MB", "remove, s", "equal to a build",
             "step, ms", "step with lists, ms")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + "---:|" * len(heads)]
    for one in results:
        cells = (
            f"{one['num_items']:,}", f"{one['num_codes']:,}", f"{one['build']:.3f}", f"{one['sort_by_level']:.3f}",
            f"{one['bytes_an_item']:.1f}", f"{one['build_memory_mb']:.0f}", f"{one['add']:.3f}",
            f"{one['build'] / one['add']:.1f}", f"{one['add_memory_mb']:.0f}", f"{one['remove']:.3f}",
            "yes" if one["is_same"] else "**no**", f"{1e3 * one['step']:.2f}", f"{1e3 * one['weighted_step']:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parse_arguments(argv)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments)))
        return 0
    if min(arguments.num_items) < 2 or arguments.num_changed < 1:
        print("error: --num_items must be at least 2 and --num_changed at least 1.", file=sys.stderr)
        return 1
    print(
        f"three levels of {CODEBOOK_SIZE} codes (exponent {arguments.exponent}) and a collision level, "
        f"{arguments.num_changed} items added and removed, {arguments.batch_size} requests of {arguments.num_beams} "
        f"beams, {arguments.num_listed} listed items each, {arguments.num_threads} thread(s), torch "
        f"{torch.__version__}; medians\n"
    )
    try:
        print(table([measure_apart(num_items, argv) for num_items in arguments.num_items]))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
