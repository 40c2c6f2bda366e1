"""The demo as a Space or on one's own machine: recommendations, results on all axes, and a leaderboard."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio reads it when it is imported

import gradio as gr
from demo_recommend import Controls, RecommendTab, reads_preferences
from demo_results import axes_tab, leaderboard_tab, plain
from demo_style import look
from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.errors import EntryNotFoundError

HERE = Path(__file__).resolve().parent


def read_json(path: str | Path | None) -> Any:
    """Reads a JSON file; `None` if it does not exist.

    Raises:
        ValueError: If it is not JSON.
    """
    if path is None or not Path(path).is_file():
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); write it again.") from error


def model_file(model: str, name: str) -> Path | None:
    """Path of a file beside a model, in its folder or its repository on the Hub; `None` if it does not exist."""
    if Path(model).is_dir():
        path = Path(model) / name
        return path if path.is_file() else None
    with contextlib.suppress(EntryNotFoundError):  # unreachable and not in the cache counts as missing
        return Path(hf_hub_download(model, name))
    return None


def model_results(model: str) -> Path | None:
    """Path of a model's results: `results.json`, or `results/DOMAIN.json` of a published model; or `None`."""
    if (path := model_file(model, "results.json")) is not None:
        return path
    names: list[str] = []
    if Path(model).is_dir():
        names = [str(path.relative_to(model)) for path in Path(model).glob("results/*.json")]
    else:
        with contextlib.suppress(OSError):  # unreachable: no results
            names = [name for name in list_repo_files(model) if Path(name).match("results/*.json")]
    return model_file(model, min(names)) if names else None


@contextlib.contextmanager
def read_from(what: str) -> Iterator[None]:
    """Turns failures of reading foreign JSON into an error that names the file.

    Raises:
        ValueError: If it is not of the form that the page reads.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{what} is not of the form that the README of the demo describes ({type(error).__name__}: {error}); "
            "write it again, or take it away."
        ) from error


def about_tab(pipe: Any, model_name: str) -> None:
    """The fourth tab: the method, its limits, and code to load the model."""
    method = type(pipe.model).__name__
    num_items = pipe.processor.num_items - len(pipe.processor.removed_items)
    reads = (
        "It reads a history of items and preferences in plain language."
        + (" What each adds to a score is a term of a sum." if Controls.of(pipe).terms else "")
        if reads_preferences(pipe.processor)
        else "It reads a history of items, and no preference."
    )
    avoids = (
        "- What is avoided moves down; it is not filtered out. It is known by its words, and where no item has them "
        "by their meaning, which can be wrong. Spelling is corrected, sentences are read by rules for English: the "
        "line *Read as* says what came of it.\n"
        "- *new* and *gone* mean: beyond the places that are compared.\n"
        if Controls.of(pipe).avoid
        else "- What to avoid is understood only as far as the training data taught it: see sentiment following in "
        "*Five axes*.\n- *new* and *gone* mean: not among the results shown on the other side.\n"
    )
    gr.Markdown(
        f"### {plain(model_name)}\n\n**{method}**, for the tasks of *Preference Discerning with LLM-Enhanced "
        f"Generative Retrieval* (Paischer et al., 2024). {reads} It recommends from a catalog of {num_items:,} "
        "items.\n\n"
        "### Limits\n\n"
        "- It knows the items of its catalog and no others; those added after its training by their texts alone.\n"
        "- Scores are log-probabilities under the model, not of a purchase; they compare within one request.\n"
        f"{avoids}"
        "- It learned from the reviews of a domain, with their gaps and habits, and repeats them.\n\n### Load it"
    )
    gr.Code(
        "from transformers import pipeline\n\n"
        f'pipe = pipeline("preference-recommendation", model={model_name!r}, trust_remote_code=True)\n'
        'pipe({"history": [1, 2, 3]}, k=10)  # {"item_id", "title", "score"}, best first\n',
        language="python",
        interactive=False,
        label="Python",
    )


def build_demo(
    pipe: Any,
    results: Mapping[str, Any] | None,
    leaderboard: Sequence[Mapping[str, Any]] | None,
    model_name: str,
    examples: Sequence[Mapping[str, Any]] | None = None,
) -> gr.Blocks:
    """Builds the page.

    Args:
        pipe (`Pipeline`): `preference-recommendation`, with the model's processor.
        results (`Mapping`, *optional*): `results.json` of the model.
        leaderboard (`Sequence`, *optional*): Records of `leaderboard.json`.
        model_name (`str`): The model's id.
        examples (`Sequence`, *optional*): See the README of the Space; defaults to those found in the catalog.
    """
    with gr.Blocks(title=f"Mender: {model_name}", analytics_enabled=False) as demo:
        gr.Markdown("# Mender\nSay what you like and what to avoid, and see what that changes.", elem_id="head")
        with gr.Tab("Recommend"), read_from("examples.json of the model") if examples else contextlib.nullcontext():
            RecommendTab(pipe, model_name, examples)
        with gr.Tab("Five axes"), read_from("results.json of the model"):
            axes_tab(results, model_name, reads_preferences(pipe.processor))
        with gr.Tab("Leaderboard"), read_from("leaderboard.json"):
            leaderboard_tab(leaderboard)
        with gr.Tab("About"):
            about_tab(pipe, model_name)
    return demo


# -- command ----------------------------------------------------------------------------------------------------------


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads options, which take precedence over the environment and `settings.json` beside this file."""
    settings = read_json(HERE / "settings.json") or {}
    parser = argparse.ArgumentParser(description="Try a recommender that reads preferences, in the browser.")
    parser.add_argument(
        "--model",
        default=os.environ.get("MENDER_MODEL") or settings.get("model"),
        help="folder or Hub id (default: the variable MENDER_MODEL, or settings.json beside this file)",
    )
    parser.add_argument("--results", type=Path, help="results.json (default: the one beside the model)")
    parser.add_argument(
        "--leaderboard",
        type=Path,
        default=HERE / settings.get("leaderboard", "leaderboard.json"),
        help="leaderboard.json (default: the one beside this file)",
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    return parser.parse_args(argv)


def load_pipeline(model: str) -> Any:
    """Loads a model and its processor as the pipeline `preference-recommendation`.

    Where the project is installed, its own loader reads the files and no code of the model's folder runs. Elsewhere,
    as on a Space, the code of the model's repository runs (`trust_remote_code`).

    Raises:
        ValueError: If a file is damaged, or the model has no pipeline.
        OSError: If the model does not exist.
    """
    from transformers import pipeline

    try:
        import modeling_mender  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "modeling_mender":  # installed in part: no reason to run foreign code
            raise
    else:
        from modeling_mender.hub.loading import load_recommender

        loaded, processor = load_recommender(model)
        return pipeline("preference-recommendation", model=loaded, processor=processor)
    try:
        return pipeline("preference-recommendation", model=model, trust_remote_code=True)
    except KeyError as error:  # raised by the library for an unknown task
        raise ValueError(
            f"{model} has no pipeline; publish it with `mender publish-model`, or install the project."
        ) from error
    except (ValueError, RuntimeError) as error:  # several lines, tracebacks among them
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"{model} could not be loaded ({reason}); if another version of the code saved it, train it or publish it "
            "again."
        ) from error


def load(arguments: argparse.Namespace) -> gr.Blocks:
    """Builds the page for a model.

    Raises:
        ValueError: If no model is named, or as [`load_pipeline`], or a file is not JSON.
        OSError: If the model does not exist.
    """
    if not arguments.model:
        raise ValueError(
            'no model is named; pass --model, set MENDER_MODEL, or write {"model": "org/name"} to settings.json.'
        )
    pipe = load_pipeline(arguments.model)
    results = read_json(arguments.results or model_results(arguments.model))
    examples = read_json(model_file(arguments.model, "examples.json"))
    return build_demo(pipe, results, read_json(arguments.leaderboard), arguments.model, examples)


def serve(arguments: argparse.Namespace) -> None:
    """Serves the page until it is interrupted.

    Raises:
        ValueError, OSError: As [`load`], or if the port is not free.
    """
    load(arguments).queue(max_size=32).launch(server_port=arguments.port, ssr_mode=False, footer_links=[], **look())


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page; 1 if the model cannot be loaded."""
    arguments = parse_arguments(argv)
    try:
        serve(arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
