"""Times log-weights of single items in the beam search, and counts what they find that rescoring does not.

    python scripts/benchmarks/benchmark_item_log_weights.py [--num_large_items 20000000] [--num_listed 10000]

Three parts, over random catalogs and without a network, so that only folding and the search's own work is timed: a
weight for every item of a catalog of Beauty's size; the sparse form on a large catalog, where the listed items lie
anywhere or all below a few first codes, as those of one kind do; and, against scoring every item, the share of the
exact best that are found with the weights inside the search and with the same weights added to what it found. There
the log-probabilities are those of a random model over the trie, its logits normal with --logit_scale, and the weights
are normal with --weight_scale, independent of the codes.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from benchmark_decoding import CODEBOOK_SIZE, random_catalogue, seconds, share_found

from modeling_mender.constrained_decoding import BeamSearchOutput, SparseWalk, beam_search
from modeling_mender.item_log_weights import SparseItemLogWeights, weigh_items
from modeling_mender.trie import NodeLogWeights, Trie

NUM_LEVELS = 4
FIRST_CODES = 20  # of the listed items that lie together
BEAMS = (10, 20, 50)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--num_beams", type=int, default=20, help="of the timings")
    parser.add_argument("--num_items", type=int, default=12_101, help="items of the catalog with a weight each")
    parser.add_argument("--num_large_items", type=int, default=200_000, help="items of the catalog of the sparse form")
    parser.add_argument("--num_listed", type=int, default=10_000, help="items that the sparse form lists per request")
    parser.add_argument("--k", type=int, default=10, help="the exact best that are looked for")
    parser.add_argument("--logit_scale", type=float, default=2.0)
    parser.add_argument("--weight_scale", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=5, help="the minimum is taken")
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def large_catalogue(num_items: int, generator: torch.Generator) -> torch.Tensor:
    """Distinct random codes at four levels, `(num_items, 4)`, uint8."""
    numbers = torch.randint(CODEBOOK_SIZE**NUM_LEVELS, (int(1.01 * num_items) + 100,), generator=generator).unique()
    numbers = numbers[torch.randperm(len(numbers), generator=generator)[:num_items]]
    powers = CODEBOOK_SIZE ** torch.arange(NUM_LEVELS - 1, -1, -1)
    return torch.stack([(numbers // power % CODEBOOK_SIZE).to(torch.uint8) for power in powers], dim=1)


class SameLogProbs:
    """The same random log-probabilities after every prefix: costs nothing, so that the search alone is timed."""

    def __init__(self, batch_size: int, num_beams: int, generator: torch.Generator) -> None:
        self.table = torch.randn(batch_size, num_beams, CODEBOOK_SIZE, generator=generator).log_softmax(-1)

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        return self.table[:, : 1 if codes is None else codes.shape[1]]


class RandomModel:
    """Log-probabilities over the children of each node of a trie, from normal logits; knows those of every item."""

    def __init__(self, trie: Trie, batch_size: int, scale: float, generator: torch.Generator) -> None:
        self.trie = trie
        self.levels = []  # per level, shape (batch_size, num_nodes)
        sums = torch.zeros(batch_size, 1)  # of the log-probabilities down to each node
        for level in trie.levels:
            logits = scale * torch.randn(batch_size, len(level.codes), generator=generator)
            parents = level.parents.long().expand(batch_size, -1)
            totals = torch.zeros(batch_size, len(level.first_child) - 1).scatter_add(1, parents, logits.exp())
            self.levels.append(logits - totals.log().gather(1, parents))
            sums = sums.gather(1, parents) + self.levels[-1]
        self.item_log_probs = torch.zeros(batch_size, trie.num_items).scatter(
            1, (trie.leaf_items.long() - 1).expand(batch_size, -1), sums
        )
        self.nodes = torch.zeros(batch_size, 1, dtype=torch.long)

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        if codes is None:
            self.nodes = torch.zeros_like(self.nodes[:, :1])
        else:
            children, valid = self.trie.children(level - 1, self.nodes.gather(1, parents))
            is_chosen = valid & (self.trie.levels[level - 1].codes[children] == codes.unsqueeze(-1))
            self.nodes = children.gather(-1, is_chosen.int().argmax(-1, keepdim=True)).squeeze(-1)
        children, valid = self.trie.children(level, self.nodes)
        log_probs = self.levels[level].gather(1, children.flatten(1)).view_as(children)
        # what is no child goes to a column of its own
        columns = self.trie.levels[level].codes[children].long().masked_fill(~valid, CODEBOOK_SIZE)
        return torch.full((*self.nodes.shape, CODEBOOK_SIZE + 1), -torch.inf).scatter(2, columns, log_probs)[..., :-1]


def megabytes(*tensors: torch.Tensor) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def milliseconds_a_step(run: Callable[[], object], arguments: argparse.Namespace) -> float:
    """Of the fastest of several runs."""
    return 1e3 / NUM_LEVELS * min(seconds(run, "cpu") for _ in range(arguments.repeats + 1))


def show_dense(arguments: argparse.Namespace, trie: Trie, generator: torch.Generator) -> None:
    """Times a weight for every item."""
    model = SameLogProbs(arguments.batch_size, arguments.num_beams, generator)
    weights = torch.randn(arguments.batch_size, arguments.num_items, generator=generator)

    def search(node_log_weights: NodeLogWeights | None) -> BeamSearchOutput:
        return beam_search(model, trie, arguments.batch_size, arguments.num_beams, node_log_weights)

    folded = trie.mean_fold(weights)
    plain = milliseconds_a_step(lambda: search(None), arguments)
    fold = NUM_LEVELS * milliseconds_a_step(lambda: trie.mean_fold(weights), arguments)
    weighted = milliseconds_a_step(lambda: search(folded), arguments)
    print(f"{arguments.num_items} items: dense fold, once a batch {fold:.2f} ms")
    print(f"  search without weights, a step {plain:.2f} ms; with folded ones {weighted:.2f} ms")
    print(f"  state {megabytes(weights, *folded):.1f} MB")


def show_sparse(arguments: argparse.Namespace, generator: torch.Generator) -> None:
    """Builds the large catalog's trie and times the sparse form on it."""
    num_items, batch_size, num_beams = arguments.num_large_items, arguments.batch_size, arguments.num_beams
    start = time.perf_counter()
    trie = Trie(large_catalogue(num_items, generator))
    first_codes = trie.item_codes[0][1:]
    arrays = [array for level in trie.levels for array in (level.codes, level.first_leaf, level.first_child)]
    print(
        f"{num_items} items: trie and codes built in {time.perf_counter() - start:.1f} s; "
        f"{megabytes(trie.leaf_items, *arrays):.0f} MB, the codes by item another {megabytes(*trie.item_codes):.0f} MB"
    )
    model = SameLogProbs(batch_size, num_beams, generator)
    plain = milliseconds_a_step(lambda: beam_search(model, trie, batch_size, num_beams), arguments)
    print(f"  search without weights, a step {plain:.2f} ms")
    together = (first_codes < FIRST_CODES).nonzero().squeeze(1)
    for name, among in {"anywhere": None, f"below {FIRST_CODES} first codes": together}.items():
        pool = num_items if among is None else len(among)
        picked = [torch.randperm(pool, generator=generator)[: arguments.num_listed] for _ in range(batch_size)]
        items = torch.stack(picked if among is None else [among[rows] for rows in picked]) + 1
        # so heavy that the beams go where the listed items are
        log_weights = 15 + torch.randn(items.shape, generator=generator)
        given = SparseItemLogWeights(items, log_weights, torch.zeros(batch_size))

        def fold_and_search(given: SparseItemLogWeights = given) -> BeamSearchOutput:
            return beam_search(model, trie, batch_size, num_beams, trie.mean_fold(given))

        step = milliseconds_a_step(fold_and_search, arguments)
        check = NUM_LEVELS * milliseconds_a_step(
            lambda given=given: weigh_items(num_items, batch_size, item_log_weights=given), arguments
        )
        walk = SparseWalk(trie.mean_fold(given), batch_size)
        walk.weigh(0, torch.zeros(batch_size, 1, 1, dtype=torch.long), torch.zeros(batch_size, 1, 1, dtype=torch.long))
        state = megabytes(given.items, given.log_weights, walk.items, walk.values, walk.rows, walk.cells)
        print(
            f"  {items.shape[1]} listed {name}: sparse, a step {step:.2f} ms with folding; checks once a batch "
            f"{check:.2f} ms; state {state:.1f} MB (dense: {batch_size * num_items * 4 / 2**20:.0f} MB a level)"
        )


def show_found(arguments: argparse.Namespace, trie: Trie, generator: torch.Generator) -> None:
    """Counts what is found of the exact best, with the weights inside the search and after it."""
    batch_size, k = arguments.batch_size, arguments.k
    model = RandomModel(trie, batch_size, arguments.logit_scale, generator)
    weights = arguments.weight_scale * torch.randn(batch_size, arguments.num_items, generator=generator)
    exact = (model.item_log_probs + weights).topk(k).indices + 1
    folded = trie.mean_fold(weights)
    print(f"share of the exact top {k} of {arguments.num_items} items, {batch_size} requests")
    print("| beams | found inside | found after |")
    print("|---|---|---|")
    for num_beams in BEAMS:
        inside = beam_search(model, trie, batch_size, num_beams, folded).items[:, :k]
        found = beam_search(model, trie, batch_size, num_beams)
        rescored = found.scores + weights.gather(1, found.items - 1)
        after = found.items.gather(1, rescored.topk(min(k, num_beams)).indices)
        print(f"| {num_beams} | {share_found(inside, exact):.3f} | {share_found(after, exact):.3f} |")


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.num_threads)
    generator = torch.Generator().manual_seed(arguments.seed)
    print(
        f"batch {arguments.batch_size}, {arguments.num_beams} beams, {NUM_LEVELS} levels of {CODEBOOK_SIZE} codes, "
        f"{arguments.num_threads} thread(s), torch {torch.__version__}"
    )
    trie = Trie(random_catalogue(arguments.num_items, generator).codes)
    show_dense(arguments, trie, generator)
    show_sparse(arguments, generator)
    show_found(arguments, trie, generator)
    return 0


if __name__ == "__main__":
    sys.exit(main())
