"""Export a model with semantic IDs to ONNX graphs, which run without PyTorch.

    mender export-onnx outputs/quickstart/model --output_dir outputs/quickstart/onnx [--dtype int8]

Writes the graphs (text_encoder.onnx and item_scores.onnx of a mender_steer; request_encoder.onnx and decoder_step.onnx
of a mender_tok or tiger; all but item_scores.onnx of a mender_emb), onnx.json, which describes their inputs and
outputs, semantic_ids.json, the processor and a manifest, and checks that the graphs recommend what the model does.
"""

import sys
from dataclasses import dataclass

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command

WRITTEN = ("onnx.json", "*.onnx", "*.onnx.data", "*.json", "*.jsonl", "*.py", "*.model", "*.txt", "*.jinja")
"""Patterns of the names that the command writes into its output folder."""


@dataclass(kw_only=True)
class ExportArguments:
    """Arguments of [`export`]; see `--help` for what each is."""

    model: str
    output_dir: str
    dtype: str = "float32"
    revision: str | None = None
    overwrite: bool = False


def parse_arguments(argv: list[str] | None) -> ExportArguments:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="folder of a trained model with semantic IDs, or name on the Hub")
    parser.add_argument("--output_dir", required=True, help="new folder of the graphs")
    parser.add_argument("--dtype", choices=("float32", "int8"), help="type of the text encoder's weights")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--overwrite", action="store_true", help="replace the output folder if it exists")
    parser.set_defaults(**defaults_of(ExportArguments))
    return ExportArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Exports a model; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)

    def run() -> None:
        export(arguments)
        print(f"written: {arguments.output_dir}")

    return run_command(run)


def export(arguments: ExportArguments) -> None:
    """Loads the model, writes the graphs and prints their sizes.

    Raises:
        ImportError: If onnx, onnxruntime or onnxscript is not installed.
        ValueError, OSError: As [`load_recommender`] and [`export_onnx`], or if the output folder cannot be replaced.
    """
    import onnx  # noqa: F401  first, so that a missing extra costs no time
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
    from transformers.utils import logging as transformers_logging

    from dataset_builders.atomic_write import new_directory
    from dataset_builders.replacing import check_replaceable, other_values

    from ..hub.loading import load_recommender
    from ..onnx_export.export import export_onnx

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    check_replaceable(arguments.output_dir, arguments.overwrite, WRITTEN, other_values(arguments))
    model, processor = load_recommender(arguments.model, arguments.revision)
    with new_directory(arguments.output_dir, overwrite=arguments.overwrite) as folder:
        settings = export_onnx(model, processor, folder, arguments.dtype)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.onnx*"))}
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:,.1f} MB")
    print(f"checked: scores differ from the model's by at most {settings['largest_difference']:.1e}")


if __name__ == "__main__":
    sys.exit(main())
