"""The command `mender` and its subcommands."""

import difflib
import importlib
import sys
from typing import NamedTuple

from .. import __version__


class Command(NamedTuple):
    """A subcommand: the module of its `main`, and a one-line description."""

    module: str
    description: str


COMMANDS = {
    "build": Command("dataset_builders.commands.build", "build the benchmark of one domain from raw reviews"),
    "approximate": Command("dataset_builders.commands.approximate", "write preferences with a language model"),
    "prepare-interactions": Command(
        "dataset_builders.commands.prepare_interactions", "prepare large interaction logs: k-core and time order"
    ),
    "measure-polarity": Command(
        "dataset_builders.commands.measure_polarity", "measure sentiment classifiers against star ratings"
    ),
    "hold-out": Command("dataset_builders.commands.hold_out", "hold items out of a benchmark, to add them later"),
    "describe": Command("dataset_builders.commands.describe", "print statistics of benchmarks and check them"),
    "learn-ids": Command("modeling_mender.commands.learn_ids", "learn the semantic IDs of a catalog"),
    "train": Command("modeling_mender.commands.train", "train a method of the paper"),
    "evaluate": Command("modeling_mender.commands.evaluate", "evaluate a model on every axis"),
    "obedience": Command("modeling_mender.commands.obedience", "measure how well a model follows preferences"),
    "ablate": Command("modeling_mender.commands.ablate", "measure the contribution of each term of a model's score"),
    "recommend": Command("modeling_mender.commands.recommend", "recommend items for a history and preferences"),
    "update-catalogue": Command(
        "modeling_mender.commands.update_catalogue", "add items to a trained model, or remove some"
    ),
    "export-onnx": Command("modeling_mender.commands.export_onnx", "export a model to ONNX graphs, as for a browser"),
    "demo": Command("modeling_mender.commands.demo", "open a model in the browser"),
    "browser-page": Command("modeling_mender.commands.browser_page", "make a page that runs a model in the browser"),
    "serve": Command("modeling_mender.commands.serve", "serve models over HTTP on Ray Serve, or to agents by MCP"),
    "quickstart": Command("modeling_mender.commands.quickstart", "run the whole pipeline on the synthetic sample"),
    "reproduce": Command("modeling_mender.commands.reproduce", "reproduce a domain's figures from raw data to tables"),
    "score": Command("dataset_builders.commands.score", "score the run file of any recommender"),
    "baselines": Command("dataset_builders.commands.baselines", "score what needs no training on every axis"),
    "compare": Command("dataset_builders.commands.compare", "compare two methods by a paired test"),
    "draw-study": Command("dataset_builders.commands.draw_study", "draw the scenarios of a user study"),
    "user-study": Command("dataset_builders.commands.user_study", "have people judge generated preferences"),
    "judge-study": Command("dataset_builders.commands.judge_study", "have a language model judge them as well"),
    "report-study": Command("dataset_builders.commands.report_study", "report a study: shares and agreement"),
    "tables": Command("dataset_builders.commands.tables", "make the paper's tables and figures from results"),
    "submit": Command("dataset_builders.commands.submit", "submit scores to the leaderboard of a benchmark"),
    "leaderboard": Command("dataset_builders.commands.leaderboard", "collect scores into a leaderboard page"),
    "publish-model": Command("modeling_mender.commands.publish_model", "publish a model, an adapter or an RQ-VAE"),
    "publish-benchmark": Command("dataset_builders.commands.publish_benchmark", "publish built domains as a dataset"),
    "publish-space": Command(
        "dataset_builders.commands.publish_space", "publish a metric, demo, page, leaderboard or study"
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a subcommand.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: The exit status of the subcommand; 2 if there is none of that name, 1 if standard output fails.
    """
    from .command_line import with_output

    arguments = list(sys.argv[1:] if argv is None else argv)
    return with_output(lambda: run(arguments))


def run(argv: list[str]) -> int:
    """Runs a subcommand, whose name is the first argument; see [`main`]."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    name, *rest = argv
    if name == "--version":
        print(f"mender {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
        way_out = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}."
        print(f"error: mender has no command {name!r}; {way_out}", file=sys.stderr)
        return 2
    sys.argv[0] = f"mender {name}"  # argparse's program name
    try:
        module = importlib.import_module(COMMANDS[name].module)
    except ImportError as error:
        from .command_line import explain

        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return module.main(rest)


def usage() -> str:
    """Text of `mender --help`."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.description}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: mender COMMAND [options]", "", *lines, "", "See mender COMMAND --help for the options."])


if __name__ == "__main__":
    sys.exit(main())
