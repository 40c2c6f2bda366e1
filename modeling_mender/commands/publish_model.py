"""Publish a recommender, its LoRA adapter, or the RQ-VAE of its semantic IDs on the Hub.

    mender publish-model outputs/quickstart/model --repo_id org/mender-emb-sample --dry_run
    mender publish-model outputs/beauty/model --repo_id org/mender-tok-beauty \\
        --benchmark org/pref-discerning
    mender publish-model outputs/beauty/adapter --repo_id org/mender-tok-beauty-lora
    mender publish-model outputs/beauty/semantic_ids --repo_id org/rqvae-beauty

The kind of the folder is detected. Before anything is sent, a fresh process without this project's packages loads the
folder and must return the same recommendations, bit for bit.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command
from dataset_builders.commands.hub_push import PushArguments, add_push_arguments, stage_and_push

# Files of an earlier version that are deleted from the repository if this version does not write them.
REPLACED = ["*.py", "*.safetensors", "*.safetensors.index.json"]


@dataclass(kw_only=True)
class ModelPublication(PushArguments):
    """Arguments of [`publish_model`]; see `--help` for what each is."""

    folder: Path
    repo_id: str
    results: Path | None = None
    benchmark: str | None = None
    license: str = "apache-2.0"


def parse_arguments(argv: list[str] | None) -> ModelPublication:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("folder", type=Path, help="model/ or adapter/ of a training, or a folder of semantic IDs")
    parser.add_argument("--repo_id", required=True, help="repository on the Hub, such as org/mender-tok-beauty")
    parser.add_argument(
        "--results", type=Path, help="results.json of its evaluation; default: the one in or beside the folder"
    )
    parser.add_argument("--benchmark", help="dataset of the benchmark on the Hub, such as org/pref-discerning")
    parser.add_argument("--license", help="license of the weights")
    add_push_arguments(parser)
    parser.set_defaults(**defaults_of(ModelPublication))
    return ModelPublication(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Publishes; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: publish_model(parse_arguments(argv)))


def publish_model(arguments: ModelPublication) -> None:
    """Stages the folder, checks it, and sends it unless `dry_run`."""
    # after parsing: --help does not wait for torch
    from ..hub.model_publication import kind_of
    from .staging import publish_adapter, publish_recommender, publish_rqvae

    kind = kind_of(arguments.folder)
    stage = {"recommender": publish_recommender, "adapter": publish_adapter, "rqvae": publish_rqvae}[kind]
    stage_and_push(lambda folder: stage(arguments, folder), "model", arguments, REPLACED, f"Upload {kind}")


if __name__ == "__main__":
    sys.exit(main())
