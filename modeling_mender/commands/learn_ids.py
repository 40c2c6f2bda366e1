"""Learn the semantic IDs of a catalog: item texts -> embeddings -> codes -> unique IDs.

    mender learn-ids --benchmark outputs/quickstart/benchmark --output_dir outputs/quickstart/semantic_ids

Writes into the output directory: `semantic_ids.parquet` (item_id, codes with the collision level last),
`item_embeddings.safetensors` (tensor `item_embeddings`, rows in item_id order), `report.json`, and the quantizer
(`rqvae/` or `residual_kmeans.safetensors`).
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_builders.atomic_write import new_directory
from dataset_builders.benchmark.report import is_on_the_hub, read_item_text_fields
from dataset_builders.benchmark.schema import features, item_text
from dataset_builders.benchmark.tables import require_table
from dataset_builders.building.domains import default_embedding_model
from dataset_builders.building.text_embedding import EMBEDDING_DTYPES
from dataset_builders.commands.command_line import USER_ERRORS, CommandParser, HelpFormatter, defaults_of, run_command
from dataset_builders.replacing import SEMANTIC_IDS, check_replaceable, other_values

METHODS = ("rqvae", "residual_kmeans")
MAX_COUNT = 2**31 - 1
MAX_SEED = 2**32 - 1  # of NumPy


def main(argv: list[str] | None = None) -> int:
    """Learns semantic IDs; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: learn_semantic_ids(parse_arguments(argv)), (*USER_ERRORS, MemoryError))


@dataclass(kw_only=True)
class SemanticIdArguments:
    """Arguments of [`learn_semantic_ids`]; see `--help` for what each is."""

    benchmark: str
    domain: str | None = None
    output_dir: Path
    overwrite: bool = False
    embedding_model: str | None = None
    embedding_dtype: str = "auto"
    item_fields: Sequence[str] | None = None
    method: str = "rqvae"
    num_codebooks: int = 3
    codebook_size: int = 256
    seed: int = 0
    device: str | None = None
    epochs: int = 8000
    warmup_epochs: int | None = None
    batch_size: int = 2048
    learning_rate: float = 0.001
    weight_decay: float = 0.1
    hidden_sizes: Sequence[int] = (768, 512, 256, 128)
    reset_unused: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        counts = {name: getattr(self, name) for name in ("num_codebooks", "codebook_size", "epochs", "batch_size")}
        counts |= {"hidden_sizes": min(self.hidden_sizes, default=0)}
        for name, value in counts.items():
            if not 1 <= value <= MAX_COUNT:
                raise ValueError(f"--{name} ({value}) must be in 1..{MAX_COUNT}.")
        if not 0 <= self.seed <= MAX_SEED - self.num_codebooks:  # each level has a seed of its own
            raise ValueError(f"--seed ({self.seed}) must be in 0..{MAX_SEED - self.num_codebooks}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning_rate ({self.learning_rate}) must be a finite number above 0.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"--weight_decay ({self.weight_decay}) must be a finite number, and not negative.")
        if self.warmup_epochs is not None and not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"--warmup_epochs ({self.warmup_epochs}) must be in 0..{self.epochs - 1}, to leave some of the epochs "
                "for the codes."
            )
        if self.method not in METHODS:
            raise ValueError(f"--method ({self.method!r}) must be one of {', '.join(METHODS)}.")


def parse_arguments(argv: list[str] | None) -> SemanticIdArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--benchmark", required=True, help="local benchmark directory, or dataset on the Hub")
    parser.add_argument(
        "--domain", help="domain of the benchmark, such as beauty; default: the only one of a local directory"
    )
    parser.add_argument("--output_dir", required=True, type=Path, help="output directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the output directory if it exists")
    parser.add_argument(
        "--embedding_model",
        help="embedding model: name or folder for sentence-transformers, or minilm; default: that of the domain, see "
        "mender build --help",
    )
    parser.add_argument(
        "--embedding_dtype",
        choices=EMBEDDING_DTYPES,
        help="data type in which it computes; auto: bfloat16 on a CPU that multiplies it, else float32",
    )
    parser.add_argument(
        "--item_fields",
        nargs="+",
        help="columns that make up the text of an item; default: those that the benchmark embedded",
    )
    parser.add_argument("--method", choices=METHODS, help="quantizer")
    parser.add_argument("--num_codebooks", type=int, help="learned levels of a semantic ID")
    parser.add_argument("--codebook_size", type=int, help="number of codes per level")
    parser.add_argument("--seed", type=int, help="random seed")
    parser.add_argument("--device", help="device for embedding and training; default: a GPU if there is one")
    group = parser.add_argument_group("options of --method rqvae")
    group.add_argument("--epochs", type=int, help="passes over the catalog")
    group.add_argument(
        "--warmup_epochs",
        type=int,
        help="epochs without quantization at the start; default: a third of --epochs, at most 100",
    )
    group.add_argument("--batch_size", type=int, help="items per step")
    group.add_argument("--learning_rate", type=float, help="learning rate of AdamW")
    group.add_argument("--weight_decay", type=float, help="weight decay of AdamW")
    group.add_argument("--hidden_sizes", type=int, nargs="+", help="widths of the hidden layers of the encoder")
    group.add_argument("--reset_unused", action="store_true", help="move unused codes to items after each epoch")
    parser.set_defaults(**defaults_of(SemanticIdArguments))
    return SemanticIdArguments(**vars(parser.parse_args(argv)))


def learn_semantic_ids(arguments: SemanticIdArguments) -> None:
    """Embeds the items, quantizes the embeddings, makes the codes unique, and writes them.

    Raises:
        ValueError: If the output directory exists, the benchmark lacks the items, or too many have one text.
        BlockingIOError: If another run writes the output directory.
        OSError: If nothing can be written there.
    """
    if arguments.output_dir.exists() and not arguments.overwrite:
        raise ValueError(f"{arguments.output_dir} exists; pass --overwrite to replace it, or another --output_dir.")
    check_replaceable(arguments.output_dir, arguments.overwrite, SEMANTIC_IDS, other_values(arguments))
    with new_directory(arguments.output_dir, arguments.overwrite, alone=True) as folder:
        try:
            _learn(arguments, folder)
        except RuntimeError as error:
            from ..training.stopping import in_words

            raise in_words(error) from error
    print(f"semantic IDs written to {arguments.output_dir}")


def _learn(arguments: SemanticIdArguments, folder: Path) -> None:
    """Learns semantic IDs and writes them to an empty folder."""
    # imported here, so that --help and bad arguments do not wait for torch
    from safetensors.numpy import save_file

    from dataset_builders.building.text_embedding import dtype_of, load_embedder

    from ..manifest import write_manifest
    from ..quantization.assignment import assign_semantic_ids, check_distinct, quantization_report
    from ..quantization.residual_kmeans import check_codebook_size

    domain = _choose_domain(arguments.benchmark, arguments.domain)
    fields = list(arguments.item_fields or read_item_text_fields(arguments.benchmark, domain))
    embedding_model = arguments.embedding_model or default_embedding_model(domain)
    items = read_items(arguments.benchmark, domain, fields)
    check_codebook_size(len(items), arguments.codebook_size)
    texts = [item_text(item, fields) for item in items]
    empty = [item["item_id"] for item, text in zip(items, texts, strict=True) if not text]
    if empty:
        print(
            f"{len(empty)} items have no text in {', '.join(fields)} (first: item {empty[0]}); "
            "all of them get the same embedding."
        )
    check_distinct(texts, arguments.codebook_size)

    started = time.perf_counter()
    embed = load_embedder(embedding_model, device=arguments.device, dtype=arguments.embedding_dtype)
    embeddings = embed(texts)
    embedded = time.perf_counter()
    codes, reconstruction, save_quantizer = quantize(embeddings, arguments)
    quantized = time.perf_counter()
    ids = assign_semantic_ids(codes, arguments.codebook_size)
    report = quantization_report(codes, ids, embeddings, reconstruction, arguments.codebook_size)
    print(report)

    write_ids(ids, folder / "semantic_ids.parquet")
    save_file({"item_embeddings": embeddings}, folder / "item_embeddings.safetensors")
    save_quantizer(folder)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    settings |= {
        "embedding_model": embedding_model,
        "embedding_dtype": dtype_of(embed),
        "item_fields": fields,
    }
    seconds = {"embedding": embedded - started, "quantization": quantized - embedded}
    (folder / "report.json").write_text(
        json.dumps({**report.to_dict(), "seconds": seconds, "settings": settings}, indent=2) + "\n",
        encoding="utf-8",
    )
    write_manifest(folder, num_items=len(ids))


def quantize(
    embeddings: np.ndarray, arguments: SemanticIdArguments
) -> tuple[np.ndarray, np.ndarray, Callable[[Path], None]]:
    """Quantizes embeddings.

    Args:
        embeddings (`np.ndarray`): Shape `(num_items, embedding_size)`.
        arguments ([`SemanticIdArguments`]): Method and its settings.

    Returns:
        `tuple`: Codes `(num_items, num_codebooks)`, reconstruction `(num_items, embedding_size)`, and a function that
        saves the quantizer to a folder.
    """
    if arguments.method == "residual_kmeans":
        from ..quantization.residual_kmeans import ResidualKMeans

        clusters = ResidualKMeans(arguments.num_codebooks, arguments.codebook_size, arguments.seed).fit(embeddings)
        codes = clusters.encode(embeddings)
        return codes, clusters.decode(codes), lambda folder: clusters.save(folder / "residual_kmeans.safetensors")

    import torch

    from ..configuration_rqvae import RQVAEConfig
    from ..manifest import write_manifest
    from ..quantization.rqvae_training import train_rqvae

    config = RQVAEConfig(
        embedding_size=embeddings.shape[1],
        hidden_sizes=list(arguments.hidden_sizes),
        num_codebooks=arguments.num_codebooks,
        codebook_size=arguments.codebook_size,
    )
    model, history = train_rqvae(
        embeddings,
        config,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        seed=arguments.seed,
        device=arguments.device,
        warmup_epochs=arguments.warmup_epochs,
        reset_unused=arguments.reset_unused,
    )
    quantized = model.encode(torch.from_numpy(embeddings))

    def save(folder: Path) -> None:
        model.save_pretrained(folder / "rqvae")
        lines = "".join(json.dumps(record) + "\n" for record in history)
        (folder / "rqvae" / "training.jsonl").write_text(lines, encoding="utf-8")
        write_manifest(folder / "rqvae")

    return quantized.numpy(), model.decode(quantized).numpy(), save


def read_items(benchmark: str, domain: str, fields: Sequence[str]) -> list[dict]:
    """Reads the rows of the config `{domain}_items` in item_id order.

    Raises:
        ValueError: If the config or a column is missing, or the ids are not 1..N.
    """
    if unknown := [field for field in fields if field not in features("items")]:
        raise ValueError(
            f"--item_fields {' '.join(unknown)}: no such column; choose among {', '.join(features('items'))}."
        )
    table = require_table(benchmark, domain, "items").with_format("arrow")[:]
    if missing := [name for name in ("item_id", *fields) if name not in table.column_names]:
        raise ValueError(
            f"the items of {benchmark} lack the columns {', '.join(missing)}; they have {table.column_names}."
        )
    rows = sorted(table.select(["item_id", *fields]).to_pylist(), key=lambda row: row["item_id"])
    for expected, row in enumerate(rows, start=1):
        if row["item_id"] != expected:
            raise ValueError(
                f"item ids must be 1..{len(rows)}, each once; row {expected} of {benchmark} has {row['item_id']}."
            )
    return rows


def write_ids(ids: np.ndarray, path: Path) -> None:
    """Writes semantic IDs, `(num_items, num_codebooks + 1)`, as the columns item_id (1..N) and codes."""
    codes = pa.array(ids.tolist(), type=pa.list_(pa.int32()))
    pq.write_table(pa.table({"item_id": pa.array(range(1, len(ids) + 1), type=pa.int32()), "codes": codes}), path)


def _choose_domain(benchmark: str, domain: str | None) -> str:
    """Returns the given domain, or the only one of a local directory."""
    if is_on_the_hub(benchmark):
        if domain is None:
            raise ValueError(f"{benchmark} is no local directory; give --domain for a dataset on the Hub.")
        return domain
    folders = Path(benchmark).glob("*_items")
    domains = sorted(folder.name.removesuffix("_items") for folder in folders if folder.is_dir())
    if domain is None and len(domains) == 1:
        return domains[0]
    if domain not in domains:
        found = f"it has {', '.join(domains)}" if domains else "it has no folder <domain>_items"
        raise ValueError(f"--domain {domain}: no such domain in {benchmark}; {found}.")
    return domain


if __name__ == "__main__":
    sys.exit(main())
