"""The card of a trained model, filled from its own results, its resolved arguments and the benchmark's report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ..training.methods import ARGUMENTS_FILE


def write_model_card(
    model_folder: str | Path,
    template: str | Path,
    results: Mapping[str, Any],
    benchmark_report: Mapping[str, Any],
    num_items: int,
    table: str,
    example: str = "Search for lavender soap",
) -> Path:
    """Writes `README.md` into a folder that training saved.

    Args:
        model_folder (`str` or `Path`): With the arguments of its training.
        template (`str` or `Path`): A Jinja template, such as `model_cards/model_card.md`.
        results (`Mapping`): What `scripts/evaluate_axes.py` saved.
        benchmark_report (`Mapping`): `report.json` of the benchmark; empty where there is none.
        num_items (`int`): Items of the catalogue.
        table (`str`): The results as a Markdown table.
        example (`str`): A preference for the code block.

    Returns:
        `Path`: The card.
    """
    folder = Path(model_folder)
    arguments = folder / ARGUMENTS_FILE
    card = ModelCard.from_template(
        ModelCardData(
            library_name="transformers",
            license="apache-2.0",
            tags=["recommender-systems", "sequential-recommendation", "preference-discerning", "generative-retrieval"],
        ),
        template_path=str(template),
        title=f"{results['method']} on {results['domain']}",
        method=results["method"],
        name=str(model_folder),
        results=results,
        table=table,
        notice=benchmark_report.get("notice", ""),
        approximator=benchmark_report.get("approximator"),
        approximator_description=benchmark_report.get("approximator_description", ""),
        num_items=num_items,
        example=example,
        arguments=arguments.read_text(encoding="utf-8") if arguments.is_file() else "not recorded\n",
    )
    temporary = folder / "README.md.tmp"
    card.save(temporary)
    return temporary.replace(folder / "README.md")
