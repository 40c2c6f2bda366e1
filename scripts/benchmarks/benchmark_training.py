"""Times the training loop as it is against what makes it faster or smaller, in one run, as ratios.

    python scripts/benchmarks/benchmark_training.py [--variants plain torch_compile bf16] [--repeats 2]

Models and texts are random: the figures are of speed and memory alone. Every variant runs in a process of its own, all
in turn, several times, and the fastest stretch of `--logging_steps` steps counts, so the time to compile does not. A
ratio is to the variant that does without, named in its row. Prints a Markdown table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from process_memory import PeakMemory
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from modeling_mender import SemanticIds
from modeling_mender.data.requests import Example, Request
from modeling_mender.devices import default_device
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.table import get_method
from modeling_mender.training.arguments import make_arguments
from modeling_mender.training.loop import TrainingRows, train
from modeling_mender.training.lora import apply_finetuning

WORDS = [f"word{number}" for number in range(500)]
CODEBOOK_SIZE = 64


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        baseline (`str`): The variant that it is compared with; its own name for one that others are compared with.
        arguments (`dict`): Training arguments beside those of all.
        is_grouped (`bool`): Whether a row holds all positions of a sequence.
    """

    baseline: str
    arguments: dict[str, Any] = field(default_factory=dict)
    is_grouped: bool = True


TOK = {"method": "mender_tok", "finetune_text_encoder": True}
CAUSAL = {"method": "mender_emb", "num_encoder_layers": 2}
VARIANTS = {
    "plain": Variant("plain", TOK),
    "gradient_checkpointing": Variant("plain", TOK | {"gradient_checkpointing": True}),
    "torch_compile": Variant("plain", TOK | {"torch_compile": True}),
    "bf16": Variant("plain", TOK | {"bf16": True}),
    "row_per_prefix": Variant("row_per_prefix", CAUSAL, is_grouped=False),
    "row_per_sequence": Variant("row_per_prefix", CAUSAL),
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="VARIANT",
                        help=f"of {', '.join(VARIANTS)}; what one is compared with comes along")  # fmt: skip
    parser.add_argument("--batch_size", type=int, default=32, help="examples per optimizer step, the same in all")
    parser.add_argument("--sequence_length", type=int, default=9, help="items per user; one fewer examples")
    parser.add_argument("--num_users", type=int, default=200)
    parser.add_argument("--num_items", type=int, default=1000)
    parser.add_argument("--title_length", type=int, default=6, help="words of a title, and of a preference")
    parser.add_argument("--text_layers", type=int, default=4)
    parser.add_argument("--text_width", type=int, default=128)
    parser.add_argument("--num_decoder_layers", type=int, default=4)
    parser.add_argument("--max_steps", type=int, default=30)
    parser.add_argument("--logging_steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default_device())
    parser.add_argument("--measure", choices=list(VARIANTS), help=argparse.SUPPRESS)  # what a process of its own does
    return parser.parse_args(argv)


class Speeds(GeneralTracker):
    """Keeps the speed of every stretch of steps."""

    name, requires_logging_directory = "speeds", False

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, float]] = []

    @property
    def tracker(self) -> list[dict[str, float]]:
        return self.lines

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Nothing to keep."""

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        if "tokens_per_second" in values:
            self.lines.append(values)


def save_text_encoder(folder: Path, arguments: argparse.Namespace) -> str:
    """A random T5 encoder, and a tokenizer that knows `WORDS`."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "</s>", *WORDS])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", model_max_length=512
    )
    width = arguments.text_width
    sizes = {"d_model": width, "d_ff": 4 * width, "d_kv": 32, "num_heads": width // 32}
    config = T5Config(vocab_size=len(vocabulary), num_layers=arguments.text_layers, **sizes)
    T5EncoderModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def random_catalogue(arguments: argparse.Namespace, generator: torch.Generator) -> tuple[Catalogue, Callable[[], str]]:
    """Items with random titles and codes, and a function that draws further texts like the titles."""

    def text() -> str:
        return " ".join(
            WORDS[number] for number in torch.randint(len(WORDS), (arguments.title_length,), generator=generator)
        )

    titles = [text() for _ in range(arguments.num_items)]
    places = torch.randperm(CODEBOOK_SIZE**3, generator=generator)[: arguments.num_items].unsqueeze(1)
    codes = places // torch.tensor([CODEBOOK_SIZE**2, CODEBOOK_SIZE, 1]) % CODEBOOK_SIZE
    items = [{"title": title, "text": f"Title: {title}"} for title in titles]
    return Catalogue(items, titles, SemanticIds(codes, CODEBOOK_SIZE)), text


def random_world(arguments: argparse.Namespace) -> tuple[Catalogue, list[Example]]:
    """Items with random titles and codes, and all positions of random sequences, each with a preference."""
    generator = torch.Generator().manual_seed(0)
    catalogue, text = random_catalogue(arguments, generator)
    sequences = torch.randint(
        1, arguments.num_items + 1, (arguments.num_users, arguments.sequence_length), generator=generator
    ).tolist()
    examples = [
        Example(Request(tuple(sequence[:length]), (text(),)), sequence[length])
        for sequence in sequences
        for length in range(1, arguments.sequence_length)
    ]
    return catalogue, examples


def measure(variant: Variant, arguments: argparse.Namespace) -> dict[str, float]:
    """Speed of the fastest stretch of steps, in steps and examples a second, and peak memory in MB above the model."""
    torch.set_num_threads(arguments.num_threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        encoder = save_text_encoder(Path(folder) / "text_encoder", arguments)
        rows_per_step = arguments.batch_size
        if variant.is_grouped and variant.baseline != "plain":
            rows_per_step = max(1, arguments.batch_size // (arguments.sequence_length - 1))
        options = make_arguments(
            benchmark="none", domain="none", output_dir=f"{folder}/run", text_encoder=encoder,
            max_steps=arguments.max_steps, warmup_steps=1, eval_steps=arguments.max_steps,
            save_steps=10 * arguments.max_steps,
            logging_steps=arguments.logging_steps, per_device_train_batch_size=rows_per_step,
            num_decoder_layers=arguments.num_decoder_layers, **variant.arguments,
        )  # fmt: skip
        speeds = Speeds()
        accelerator = Accelerator(
            cpu=arguments.device == "cpu", mixed_precision="bf16" if options.bf16 else "no", log_with=speeds
        )
        accelerator.init_trackers("speeds")
        catalogue, examples = random_world(arguments)
        method = get_method(options.method)
        model, processor = method.build(method, options, catalogue, examples, accelerator.device)
        apply_finetuning(model, options)
        collator = method.collator_class(
            processor, model, [text for example in examples for text in example.request.preferences]
        )
        groups = collator.group(examples) if variant.is_grouped else [[number] for number in range(len(examples))]
        rows = TrainingRows(examples, groups, 0.0, options.seed)
        model.to(accelerator.device)
        memory = start_memory(arguments.device)
        train(model, processor, collator, rows, lambda _: 0.0, options, accelerator)
        peak = end_memory(memory)
    fastest = max(speeds.lines, key=lambda line: line["examples_per_second"])
    examples_per_second = fastest["examples_per_second"]
    examples_per_step = rows_per_step * len(examples) / len(groups)
    return {"steps": examples_per_second / examples_per_step, "examples": examples_per_second, "memory": peak}


def start_memory(device: str) -> PeakMemory | int:
    """Marks what is held now."""
    if device == "cpu":
        return PeakMemory()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def end_memory(start: PeakMemory | int) -> float:
    """The most that was held since then above it, in MB."""
    if isinstance(start, PeakMemory):
        return start.above_start_mb()
    return (torch.cuda.max_memory_allocated() - start) / 2**20


def measure_apart(name: str, argv: Sequence[str]) -> dict[str, float]:
    """[`measure`] in a process of its own: memory that one variant leaves allocated would hide another's."""
    finished = subprocess.run(
        [sys.executable, __file__, *argv, "--measure", name], capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise RuntimeError(f"{name} failed: {finished.stderr.strip().splitlines()[-1]}")
    return json.loads(finished.stdout.splitlines()[-1])


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: the best of each variant's runs, beside its baseline's."""
    best = {
        name: {key: (min if key == "memory" else max)(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    lines = ["| variant | compared with | steps/s | examples/s | ratio | peak memory, MB | ratio |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, found in best.items():
        base = best[VARIANTS[name].baseline]
        lines.append(
            f"| {name} | {VARIANTS[name].baseline} | {found['steps']:.2f} | {found['examples']:.1f} | "
            f"{found['examples'] / base['examples']:.2f} | {found['memory']:.0f} | "
            f"{found['memory'] / base['memory']:.2f} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parse_arguments(argv)
    if arguments.measure:
        print(json.dumps(measure(VARIANTS[arguments.measure], arguments)))
        return 0
    names = [name for name in VARIANTS if name in {VARIANTS[chosen].baseline for chosen in arguments.variants}]
    names += [name for name in VARIANTS if name in arguments.variants and name not in names]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(arguments.repeats):
        for name in names:
            try:
                results[name].append(measure_apart(name, argv))
            except RuntimeError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
    print(
        f"{arguments.device}, {arguments.num_threads} thread(s), torch {torch.__version__}; {arguments.batch_size} "
        f"examples a step, T5 text encoder {arguments.text_layers} x {arguments.text_width} (random), "
        f"{arguments.num_decoder_layers} decoder layers; best of {arguments.repeats}\n"
    )
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
