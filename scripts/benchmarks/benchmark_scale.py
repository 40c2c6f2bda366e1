"""Measures how the stages of a catalog grow with the number of items, and checks what that predicts for larger ones.

    python scripts/benchmarks/benchmark_scale.py [--num_items 1000 10000 100000] [--check 1000000] [--predict 20000000]

Stages: reading `items.jsonl`, the words of the texts, semantic IDs, the trie, log-weights of a request folded up the
trie, the transition graph, text neighbors (of --num_rows items), the recommendations of Mender_Steer without its text
encoder, and a training step of its item head. Items, texts and sequences are random, in the proportions of Amazon
Beauty. Each stage and size runs in a process of its own, on one thread.

Prints, per stage, seconds of the processor and peak memory of each size, the power by which time grew between the two
largest, and a line through these two: so much for each further item (for each pair of items where all text neighbors
are found), and what it says of --predict items. With --check, a second table has that beside what was measured.
"""

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from benchmark_trie import skewed_catalogue
from process_memory import PeakMemory

from modeling_mender import MenderSteer, MenderSteerConfig, SemanticIds, TransitionGraph
from modeling_mender.configuration_baselines import TransitionGraphConfig
from modeling_mender.item_words import ItemWords
from modeling_mender.items_file import Items
from modeling_mender.modeling_baselines import text_neighbours
from modeling_mender.trie import Trie

# of Amazon Beauty: 12,101 items, 22,363 users, 161,727 pairs of a word and an item, 9,545 words, 623,548 edges
WORDS_AN_ITEM, USERS_AN_ITEM, EDGES_AN_ITEM = 14, 1.85, 52
VOCABULARY_POWER = 0.6  # by which the number of words grows with that of items; an assumption
NUM_NEIGHBOURS, WIDTH, EMBEDDING_SIZE = 20, 128, 384
Run = Callable[[], object]


class Stage(NamedTuple):
    """A stage of the catalog.

    Attributes:
        title (`str`): For the table.
        prepare (`Callable`): From the number of items, the options and a folder to what is measured.
        power (`int`): By which its time and memory grow with the number of items.
    """

    title: str
    prepare: Callable[[int, argparse.Namespace, Path], Run]
    power: int = 1


class Found(NamedTuple):
    """What one stage took at one size."""

    seconds: float
    memory_mb: float


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_items", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--check", type=int, help="a larger number of items, measured too and compared")
    parser.add_argument("--predict", type=int, nargs="+", default=[1_000_000, 20_000_000])
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=BY_DEFAULT, metavar="STAGE",
                        help=f"of {', '.join(STAGES)}; all but the last of these by default")  # fmt: skip
    parser.add_argument("--num_rows", type=int, default=256, help="items whose text neighbors are found")
    parser.add_argument("--batch_size", type=int, default=4, help="requests, each with a preference")
    parser.add_argument("--num_examples", type=int, default=16, help="examples of the training step")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


# -- random catalogs --------------------------------------------------------------------------------------------------


def random_texts(num_items: int, seed: int) -> list[str]:
    """Texts of `WORDS_AN_ITEM` words, whose frequencies fall off as their rank."""
    generator = np.random.default_rng(seed)
    num_words = round(34 * num_items**VOCABULARY_POWER)
    vocabulary = [letters(number) for number in range(num_words)]
    ranks = (num_words ** generator.random((num_items, WORDS_AN_ITEM))).astype(np.int64) - 1
    return [" ".join([vocabulary[rank] for rank in row]) for row in ranks.tolist()]


def letters(number: int) -> str:
    """A word of six letters, another one for each number below 1,000,000.

    >>> letters(0), letters(101)
    ('ababab', 'acacab')
    """
    word = ""
    for _ in range(3):
        number, consonant = divmod(number, 20)
        number, vowel = divmod(number, 5)
        word += "aeiou"[vowel] + "bcdfghjklmnpqrtvwxyz"[consonant]
    return word


def random_sequences(num_items: int, seed: int) -> list[list[int]]:
    """Training sequences of 3 to 18 items, some items far more frequent than others."""
    generator = np.random.default_rng(seed)
    lengths = np.minimum(3 + generator.geometric(0.27, max(2, round(USERS_AN_ITEM * num_items))), 18)
    items = (num_items * generator.random(lengths.sum()) ** 2).astype(np.int64) + 1
    return [row.tolist() for row in np.split(items, lengths.cumsum()[:-1])]


def random_vectors(num_rows: int, width: int, seed: int) -> torch.Tensor:
    """Unit vectors, `(num_rows, width)`."""
    vectors = torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed))
    return vectors.div_(vectors.norm(dim=1, keepdim=True))


def random_codes(num_items: int, seed: int) -> torch.Tensor:
    """Semantic IDs `(num_items, 4)`, long."""
    return skewed_catalogue(num_items, 0.5, torch.Generator().manual_seed(seed)).long()


def random_model(num_items: int, seed: int) -> MenderSteer:
    """Mender_Steer of the recipe's sizes with a text encoder of one narrow layer, and tables of Beauty's density."""
    generator = torch.Generator().manual_seed(seed)
    codes = random_codes(num_items, seed)
    num_words = round(34 * num_items**VOCABULARY_POWER)
    neighbours = min(NUM_NEIGHBOURS, num_items - 1)
    graph = TransitionGraphConfig(
        num_items=num_items, num_edges=EDGES_AN_ITEM * num_items, num_text_neighbours=neighbours, text_weight=0.25
    )
    text = {"model_type": "bert", "vocab_size": 10, "hidden_size": EMBEDDING_SIZE, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8}  # fmt: skip
    model = MenderSteer(
        MenderSteerConfig(
            num_items=num_items, codebook_size=max(256, int(codes.max()) + 1), d_model=WIDTH, d_ff=4 * WIDTH,
            num_decoder_layers=1, text_config=text, graph_config=graph, num_words=num_words,
            num_word_items=WORDS_AN_ITEM * num_items,
        )
    )  # fmt: skip
    model.item_semantic_ids.copy_(codes)
    model.item_embeddings[1:] = random_vectors(num_items, EMBEDDING_SIZE, seed)
    # the words of low numbers have most of the items
    ends = (WORDS_AN_ITEM * num_items * torch.linspace(0, 1, 1 + num_words, dtype=torch.float64) ** 0.5).long()
    ends[-1] = WORDS_AN_ITEM * num_items
    model.word_starts.copy_(ends)
    model.word_items.random_(num_items, generator=generator)
    model.word_weights.uniform_(1, 10, generator=generator)
    tables = model.graph
    tables.item_counts.random_(1, 30, generator=generator)
    tables.edge_starts.copy_(torch.arange(1 + num_items) * EDGES_AN_ITEM)
    tables.edge_columns.random_(num_items, generator=generator)
    tables.edge_weights.uniform_(generator=generator)
    tables.text_columns.random_(num_items, generator=generator)
    tables.text_cosines.uniform_(generator=generator)
    return model.eval()


def random_requests(num_items: int, num_requests: int, seed: int) -> dict[str, torch.Tensor]:
    """Histories of ten items and a preference of three frequent words each."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "history": torch.randint(1, num_items + 1, (num_requests, 10), generator=generator),
        "preference_embeddings": random_vectors(num_requests, EMBEDDING_SIZE, seed).unsqueeze(1),
        "preference_words": torch.randint(1, 30, (num_requests, 1, 3), generator=generator),
        "preference_known": torch.ones(num_requests, 1),
    }


# -- stages -----------------------------------------------------------------------------------------------------------


def reading_items(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    """Reads `items.jsonl`, and the digest of it, as a processor does."""
    path = folder / "items.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(random_texts(num_items, arguments.seed), start=1):
            title = " ".join(text.split()[:8])
            file.write(json.dumps({"item_id": number, "title": title, "text": text}) + "\n")

    def read() -> Items:
        items = Items.read(path)
        assert items.digest
        return items

    return read


def item_words(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    texts = random_texts(num_items, arguments.seed)
    return lambda: ItemWords(texts)


def semantic_ids(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    codes = random_codes(num_items, arguments.seed)
    return lambda: SemanticIds(codes, int(codes.max()) + 1)


def trie(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    codes = random_codes(num_items, arguments.seed)
    return lambda: Trie(codes)


def fold(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    """Folds a weight for every item, of one request."""
    built, weights = Trie(random_codes(num_items, arguments.seed)), torch.randn(1, num_items)
    return lambda: built.mean_fold(weights)


def transition_graph(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    sequences = random_sequences(num_items, arguments.seed)
    return lambda: TransitionGraph.from_sequences(sequences, num_items)


def neighbours(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    """Finds the text neighbors of the last items."""
    vectors = random_vectors(num_items, EMBEDDING_SIZE, arguments.seed)
    num_neighbours, first = min(NUM_NEIGHBOURS, num_items - 1), max(0, num_items - arguments.num_rows)
    return lambda: text_neighbours(vectors, num_neighbours, first=first)


def all_neighbours(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    vectors = random_vectors(num_items, EMBEDDING_SIZE, arguments.seed)
    return lambda: text_neighbours(vectors, min(NUM_NEIGHBOURS, num_items - 1))


def requests(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    """Recommends for a batch of requests, with what is kept from one batch to the next already computed."""
    model, inputs = (
        random_model(num_items, arguments.seed),
        random_requests(num_items, arguments.batch_size, arguments.seed),
    )
    with torch.no_grad():
        model.item_vectors()
        return lambda: model.recommend(**inputs, k=10)


def training_step(num_items: int, arguments: argparse.Namespace, folder: Path) -> Run:
    """Runs one step of the item head with AdamW, whose state exists already."""
    model = random_model(num_items, arguments.seed).train()
    inputs = random_requests(num_items, arguments.num_examples, arguments.seed)
    labels = torch.randint(1, num_items + 1, (arguments.num_examples,))
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad])

    def step() -> None:
        optimizer.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()

    return step


STAGES = {
    "items": Stage("items.jsonl, read", reading_items),
    "words": Stage("words of the texts", item_words),
    "ids": Stage("semantic IDs, checked", semantic_ids),
    "trie": Stage("trie, built", trie),
    "fold": Stage("log-weights of one request, folded", fold),
    "graph": Stage("transition graph", transition_graph),
    "neighbours": Stage("text neighbors of some items", neighbours),
    "requests": Stage("Mender_Steer, a batch of requests", requests),
    "training": Stage("Mender_Steer, a training step", training_step),
    "all_neighbours": Stage("text neighbors of all items", all_neighbours, power=2),
}
BY_DEFAULT = [name for name, stage in STAGES.items() if stage.power == 1]  # the others take minutes


def measure(name: str, num_items: int, arguments: argparse.Namespace) -> Found:
    """Seconds of the processor, which other work on the machine changes least, and peak memory above the inputs."""
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = STAGES[name].prepare(num_items, arguments, Path(folder))
        memory, start = PeakMemory(), time.process_time()
        result = run()
        seconds = time.process_time() - start
        found = Found(seconds, memory.above_start_mb())
        del result
    return found


def measure_apart(name: str, num_items: int, arguments: argparse.Namespace) -> Found:
    """[`measure`] in a process of its own, forked so that imports are not repeated."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (name, num_items, arguments))


class Slope(NamedTuple):
    """Seconds and MB of a stage as a line: a constant, and so much for each item, or for each pair of items.

    Attributes:
        power (`int`): 2 where time grows with the square of the number of items; memory grows in proportion.
        per_item, constant ([`Found`]): The line.
    """

    power: int
    per_item: Found
    constant: Found

    @classmethod
    def of(cls, found: dict[int, Found], power: int) -> "Slope":
        """The line through the two largest sizes, or through 0 and the only one."""
        *_, large = sizes = sorted(found)
        small, before = (sizes[-2], found[sizes[-2]]) if len(sizes) > 1 else (0, Found(0, 0))
        seconds = (found[large].seconds - before.seconds) / (large**power - small**power)
        memory = (found[large].memory_mb - before.memory_mb) / (large - small)
        constant = Found(before.seconds - seconds * small**power, before.memory_mb - memory * small)
        return cls(power, Found(seconds, memory), constant)

    def at(self, num_items: int) -> Found:
        """What it says of a number of items."""
        return Found(
            self.constant.seconds + self.per_item.seconds * num_items**self.power,
            self.constant.memory_mb + self.per_item.memory_mb * num_items,
        )


# -- tables -----------------------------------------------------------------------------------------------------------


def table(results: dict[str, dict[int, Found]], arguments: argparse.Namespace) -> str:
    """Markdown, one row per stage: seconds and MB of each size, the power of growth, slope and predictions."""
    sizes = sorted(arguments.num_items)
    wanted = [f"{size:,}, predicted" for size in arguments.predict]
    heads = ["stage", *(f"{size:,} items" for size in sizes), "power", "each further item", *wanted]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, found in results.items():
        slope = Slope.of(found, STAGES[name].power)
        seconds = f"{1e6 * slope.per_item.seconds:.2g} µs"
        if slope.power == 2:
            seconds = f"{1e9 * slope.per_item.seconds:.2g} ns a pair"
        cells = [STAGES[name].title, *(shown(found[size]) for size in sizes), growth(found, sizes)]
        cells.append(f"{seconds}, {2**20 * slope.per_item.memory_mb:,.0f} B")
        cells += [shown(slope.at(size)) for size in arguments.predict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def growth(found: dict[int, Found], sizes: Sequence[int]) -> str:
    """Power by which time grew between the two largest sizes."""
    if len(sizes) < 2:
        return "-"
    small, large = sizes[-2:]
    return f"{math.log(found[large].seconds / found[small].seconds) / math.log(large / small):.2f}"


def checks(results: dict[str, dict[int, Found]], checked: dict[str, Found], num_items: int) -> str:
    """Markdown, one row per stage: predicted and measured at a number of items."""
    lines = [
        f"| {num_items:,} items | predicted | measured | time, measured / predicted | memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in checked.items():
        expected = Slope.of(results[name], STAGES[name].power).at(num_items)
        ratios = (f"{one / other:.2f}" if other > 0 else "-" for one, other in zip(found, expected, strict=True))
        lines.append(f"| {STAGES[name].title} | {shown(expected)} | {shown(found)} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def shown(found: Found) -> str:
    """Seconds and MB.

    >>> shown(Found(0.01234, 3.2)), shown(Found(123.4, 45678))
    ('0.012 s, 3 MB', '123 s, 45,678 MB')
    """
    seconds = f"{found.seconds:,.0f}" if found.seconds >= 100 else f"{found.seconds:.2g}"
    return f"{seconds} s, {found.memory_mb:,.0f} MB"


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    sizes = [*arguments.num_items, *arguments.predict, *([arguments.check] if arguments.check else [])]
    if min(sizes) < 2 or min(arguments.num_rows, arguments.batch_size, arguments.num_examples) < 1:
        print("error: numbers of items must be at least 2, --num_rows, --batch_size and --num_examples at least 1.",
              file=sys.stderr)  # fmt: skip
        return 1
    results = {
        name: {size: measure_apart(name, size, arguments) for size in sorted(arguments.num_items)}
        for name in arguments.stages
    }
    print(
        f"one thread, torch {torch.__version__}; seconds of the processor, and peak memory above the inputs; "
        f"{arguments.num_rows} items with text neighbors, {arguments.batch_size} requests a batch, "
        f"{arguments.num_examples} examples a training step\n"
    )
    print(table(results, arguments), flush=True)
    if arguments.check:
        checked = {name: measure_apart(name, arguments.check, arguments) for name in arguments.stages}
        print("\n" + checks(results, checked, arguments.check))
    return 0


if __name__ == "__main__":
    sys.exit(main())
