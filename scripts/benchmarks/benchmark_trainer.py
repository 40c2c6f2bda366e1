"""Times the training of each method against `transformers.Seq2SeqTrainer` on the same model and rows, step by step of
what makes ours faster.

    python scripts/benchmarks/benchmark_trainer.py [--methods mender_tok mender_emb] [--repeats 2] [--device cuda]

The trainer gets the method's own batches, one example a row, padded to the longest of a batch, in random order. Then
one on top of the other, where a method has it: one width for all batches, as `padding="max_length"` gives (the trainer
alone); our loop on the same rows; batches of similar real lengths; the frozen text encoder's states from disk; one row
per sequence, whose prefixes share its states; bf16. Every way learns the same examples, as many at a step; histories
are random, of lengths that fall off as real ones do. Tokens are those of requests and labels, one example a row,
without padding, so that shared positions do not lower the figure. The second epoch is timed; on the CPU by the
processor's seconds of this process, which other programs lengthen less than those of the clock. Ways alternate;
medians. Models and texts are random: figures of speed alone. Prints a Markdown table.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from benchmark_training import Speeds, random_catalogue, save_text_encoder
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from modeling_mender.data.collators import Collator, TextCollator
from modeling_mender.data.requests import Example, Request
from modeling_mender.devices import default_device
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.table import METHODS
from modeling_mender.training.arguments import make_arguments
from modeling_mender.training.loop import TrainingRows, train
from modeling_mender.training.lora import apply_finetuning
from modeling_mender.training.progress import count_tokens

TRAINER = "Seq2SeqTrainer"
# Arguments of a method beside those of all, so that its passes can be shared and its encoder's states kept.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "mender_tok": {},
    "mender_emb": {"num_encoder_layers": 2},
    "mender_steer": {},
    "tiger": {"causal_history": True},
    "vocabext_rnd": {},
    "liger": {},
    "lc_rec": {},
    "vocabext_lm": {},
    "sasrec": {},
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(ARGUMENTS), default=list(ARGUMENTS), metavar="METHOD",
                        help=f"of {', '.join(ARGUMENTS)}")  # fmt: skip
    parser.add_argument("--batch_size", type=int, default=32, help="examples per optimizer step, the same in all")
    parser.add_argument("--num_users", type=int, default=12)
    parser.add_argument("--num_items", type=int, default=500)
    parser.add_argument("--longest", type=int, default=20, help="items of the longest history")
    parser.add_argument("--title_length", type=int, default=6, help="words of a title, and of a preference")
    parser.add_argument("--text_layers", type=int, default=4)
    parser.add_argument("--text_width", type=int, default=128)
    parser.add_argument("--width", type=int, default=128, help="of the decoder or of SASRec")
    parser.add_argument("--num_layers", type=int, default=2, help="of the decoder or of SASRec")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default_device())
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Way:
    """One way to train a method.

    Attributes:
        name (`str`): What it adds to the way before it.
        is_trainer (`bool`): Whether `Seq2SeqTrainer` runs it.
        has_one_width (`bool`): Whether all batches are as wide as the longest row.
        by_length (`bool`): Whether batches are of similar lengths.
        is_cached (`bool`): Whether the states of the frozen text encoder come from disk.
        is_shared (`bool`): Whether a row is a sequence with all its examples.
        bf16 (`bool`): Whether to compute in bfloat16.
    """

    name: str
    is_trainer: bool = False
    has_one_width: bool = False
    by_length: bool = False
    is_cached: bool = False
    is_shared: bool = False
    bf16: bool = False


def random_world(arguments: argparse.Namespace) -> tuple[Catalogue, list[Example]]:
    """Items with random titles and codes, and all positions of sequences whose lengths fall off, a preference each."""
    generator = torch.Generator().manual_seed(0)
    catalogue, text = random_catalogue(arguments, generator)
    # as after a 5-core: at least 4 in a history, half as many users for every 4 more
    extra = torch.empty(arguments.num_users).exponential_(0.17, generator=generator).long()
    lengths = (4 + extra).clamp(max=arguments.longest).tolist()
    sequences = [torch.randint(1, arguments.num_items + 1, (length + 1,), generator=generator) for length in lengths]
    examples = [
        Example(Request(tuple(sequence[:length].tolist()), (text(),)), int(sequence[length]))
        for sequence in sequences
        for length in range(1, len(sequence))
    ]
    return catalogue, examples


class Training:
    """A method, its rows and its batches, ready to be trained in any way."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: Path) -> None:
        self.method, self.arguments, self.folder = METHODS[name], arguments, folder
        self.encoder = save_text_encoder(folder / "text_encoder", arguments)
        self.catalogue, examples = random_world(arguments)
        self.examples = [example._replace(request=self.method.restrict(example.request)) for example in examples]
        _, collator, _ = self.build(Way("of batches alone"))
        # of rows of their own, without padding
        self.tokens = sum(count_tokens(collator.training_batch([[example]])) for example in self.examples)
        self.ways = self.ways_of(collator)

    def ways_of(self, collator: Collator) -> list[Way]:
        """The ways of this method, each on top of the one before."""
        ways = [Way(TRAINER, is_trainer=True)]
        if {"input_ids", "attention_mask"} <= set(collator.training_batch([self.examples[:1]])):
            ways.append(Way(f"{TRAINER}, one width", is_trainer=True, has_one_width=True))
        way = Way("our loop")
        ways.append(way)
        if type(collator).groups_by_length:
            way = replace(way, name="+ real lengths", by_length=True)
            ways.append(way)
        if isinstance(collator, TextCollator) and "cache_dir" in self.known:
            way = replace(way, name="+ cached encodings", is_cached=True)
            ways.append(way)
        if len(collator.group(self.examples)) < len(self.examples):
            way = replace(way, name="+ shared prefixes", is_shared=True)
            ways.append(way)
        return [*ways, replace(way, name="+ bf16", bf16=True)]

    @property
    def known(self) -> set[str]:
        """Names of the method's training arguments."""
        return set(self.method.arguments.__dataclass_fields__)

    def build(self, way: Way) -> tuple[Any, Collator, Any]:
        """A new model, its collator, and its training arguments, for two epochs."""
        sizes = {"d_model": self.arguments.width, "d_ff": 4 * self.arguments.width, "d_kv": 32, "num_heads": 4,
                 "num_decoder_layers": self.arguments.num_layers, "num_layers": self.arguments.num_layers,
                 "text_encoder": self.encoder}  # fmt: skip
        options = make_arguments(
            method=self.method.name, benchmark="none", domain="none", output_dir=str(self.folder / "run"),
            warmup_steps=1, eval_steps=10**6, save_steps=10**6, resume=False, **ARGUMENTS[self.method.name],
            **({"bf16": True} if way.bf16 else {}),
            **{name: value for name, value in sizes.items() if name in self.known},
        )  # fmt: skip
        torch.manual_seed(0)
        model, processor = self.method.build(self.method, options, self.catalogue, self.examples)
        apply_finetuning(model, options)
        texts = [text for example in self.examples for text in example.request.preferences]
        cache = {"cache_dir": self.folder / "cache"} if way.is_cached else {}
        model.train()
        collator = self.method.collator_class(processor, model, texts, **cache)
        collator.prepare(example.request for example in self.examples)
        collator.groups_by_length = way.by_length
        self.processor = processor
        groups = collator.group(self.examples) if way.is_shared else [[number] for number in range(len(self.examples))]
        rows_per_step = max(1, round(self.arguments.batch_size * len(groups) / len(self.examples)))
        steps = -(-len(groups) // rows_per_step)  # an epoch
        options = replace(options, per_device_train_batch_size=rows_per_step, logging_steps=steps, max_steps=2 * steps)
        self.groups = groups
        return model.to(self.arguments.device), collator, options

    def examples_per_second(self, way: Way) -> float:
        """Speed of the second epoch."""
        AcceleratorState._reset_state(reset_partial_state=True)
        model, collator, options = self.build(way)
        if way.is_trainer:
            return len(self.examples) / self._seconds_of_trainer(model, collator, options, way)
        laps = Laps()
        accelerator = Accelerator(
            cpu=self.arguments.device == "cpu", mixed_precision="bf16" if way.bf16 else "no", log_with=laps
        )
        accelerator.init_trackers("laps")
        rows = TrainingRows(self.examples, self.groups, 0.0, options.seed)
        train(model, self.processor, collator, rows, lambda _: 0.0, options, accelerator)
        return len(self.examples) / (laps.ends[1] - laps.ends[0])

    def _seconds_of_trainer(self, model: Any, collator: Collator, options: Any, way: Way) -> float:
        """Seconds of the second epoch of `Seq2SeqTrainer`, which gets what the collator makes of examples."""
        longest = max(collator.length(example.request) for example in self.examples)

        def collate(rows: Sequence[list[Example]]) -> dict[str, torch.Tensor]:
            batch = collator.training_batch(rows)
            if way.has_one_width:
                missing = longest - batch["input_ids"].shape[1]
                for name in ("input_ids", "attention_mask"):
                    batch[name] = torch.nn.functional.pad(batch[name], (0, missing))
            return batch

        clock = EpochClock()
        trainer = Seq2SeqTrainer(
            model,
            Seq2SeqTrainingArguments(
                output_dir=str(self.folder / "trainer"), max_steps=options.max_steps, save_strategy="no", report_to=[],
                per_device_train_batch_size=self.arguments.batch_size, warmup_steps=1,
                learning_rate=options.learning_rate, weight_decay=options.weight_decay,
                remove_unused_columns=False, disable_tqdm=True, logging_strategy="no",
                use_cpu=self.arguments.device == "cpu", dataloader_pin_memory=False, seed=0,
            ),
            data_collator=collate,
            train_dataset=[[example] for example in self.examples],
            callbacks=[clock],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return clock.ends[1] - clock.ends[0]


def now() -> float:
    """Seconds: of the clock where a GPU computes, once it has finished, or those that the processor spent on us."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Laps(Speeds):
    """Notes when each line of the log is written: at the end of an epoch."""

    name = "laps"

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        if "tokens_per_second" in values:
            self.ends.append(now())


class EpochClock(TrainerCallback):
    """Notes when each epoch ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(now())


def table(results: dict[str, dict[str, list[float]]], tokens_per_example: dict[str, float]) -> str:
    """Markdown: the median speed of each way, beside the trainer's and that of the way before."""
    lines = [
        "| method | way | rows/s | tokens/s | to the trainer | to the line before |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for method, ways in results.items():
        speeds = {name: statistics.median(found) for name, found in ways.items()}
        before = trainer = speeds[TRAINER]
        for name, speed in speeds.items():
            if name == "our loop":
                before = trainer
            lines.append(
                f"| {method} | {name} | {speed:.1f} | {speed * tokens_per_example[method]:,.0f} | "
                f"{speed / trainer:.2f} | {speed / before:.2f} |"
            )
            before = speed
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    for name in ("batch_size", "num_users", "repeats"):
        if getattr(arguments, name) < 1:
            print(f"error: --{name} ({getattr(arguments, name)}) must be at least 1.", file=sys.stderr)
            return 1
    torch.set_num_threads(arguments.num_threads)
    transformers_logging.set_verbosity_error()
    results: dict[str, dict[str, list[float]]] = {}
    tokens_per_example: dict[str, float] = {}
    for name in arguments.methods:
        with tempfile.TemporaryDirectory() as folder:
            training = Training(name, arguments, Path(folder))
            tokens_per_example[name] = training.tokens / len(training.examples)
            results[name] = {way.name: [] for way in training.ways}
            for _ in range(arguments.repeats):
                for way in training.ways:
                    results[name][way.name].append(training.examples_per_second(way))
    print(
        f"{arguments.device}, {arguments.num_threads} thread(s), torch {torch.__version__}; {len(training.examples)} "
        f"rows, {arguments.batch_size} a step, T5 text encoder {arguments.text_layers} x {arguments.text_width} "
        f"(random), decoder {arguments.num_layers} x {arguments.width}; medians of {arguments.repeats}\n"
    )
    print(table(results, tokens_per_example))
    return 0


if __name__ == "__main__":
    sys.exit(main())
