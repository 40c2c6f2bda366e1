"""The card of a model, filled from its own results and its resolved arguments; no figure in it is written by hand.

Knows the Hub's card format. The words are in the templates of `model_cards/`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..atomic_write import write_text
from ..methods.table import Method, load_method
from ..training.arguments import ARGUMENTS_FILE
from ..training.checkpoints import STATE_FILE

# Names of text encoders in recipes -> repositories on the Hub; any other name with a slash is itself one.
HUB_NAMES = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-t5-base": "sentence-transformers/sentence-t5-base",
}
TAGS = ("recommender-systems", "sequential-recommendation", "preference-discerning", "generative-retrieval")
# Of this machine, and of no use to a reader.
PRIVATE_ARGUMENTS = ("output_dir", "cache_dir", "cache_limit_gb", "semantic_ids", "resume", "report_to")


def looks_like_hub_name(name: str | None) -> bool:
    """Whether it is written as a repository's name, `org/name`.

    >>> looks_like_hub_name("org/pref-discerning"), looks_like_hub_name("./model"), looks_like_hub_name(None)
    (True, False, False)
    """
    return bool(name) and name.count("/") == 1 and name[0] not in "./~"


def is_hub_name(name: str | None) -> bool:
    """Whether it can be a repository: `org/name`, and nothing here of that name.

    >>> is_hub_name("org/pref-discerning"), is_hub_name("outputs/a/benchmark"), is_hub_name(None)
    (True, False, False)
    """
    return looks_like_hub_name(name) and not Path(name).exists()


def base_model_of(arguments: Mapping[str, Any], method: Method) -> str | None:
    """The pretrained text encoder's repository; `None` where a method has none, or it was a local folder."""
    if not method.is_pretrained:
        return None
    name = arguments.get("text_encoder")
    name = HUB_NAMES.get(name, name)
    return name if is_hub_name(name) else None


def public_arguments(arguments: Mapping[str, Any], benchmark: str | None = None) -> dict[str, Any]:
    """Training arguments without what only the training machine knows.

    Args:
        arguments (`Mapping`): As saved beside a model.
        benchmark (`str`, *optional*): The benchmark's name on the Hub, in place of a folder.
    """
    kept = {name: value for name, value in arguments.items() if name not in PRIVATE_ARGUMENTS}
    if "benchmark" in kept:
        kept["benchmark"] = benchmark or Path(kept["benchmark"]).name
    if "text_encoder" in kept and Path(str(kept["text_encoder"])).is_absolute():
        kept["text_encoder"] = Path(kept["text_encoder"]).name
    return kept


@dataclass(frozen=True)
class Evaluation:
    """What a card says of an evaluation.

    Attributes:
        domain, split (`str`): Rows that were scored.
        table (`str`): All axes, in Markdown.
        figures (`Sequence[tuple[str, str, float]]`): Axis, metric and value, for the card's `model-index`.
        left_out (`Mapping[str, str]`): Axis that the benchmark lacks -> reason.
        num_beams (`int`, *optional*): Beams of the search.
        benchmark, revision (`str`, *optional*): Name and commit of the benchmark; a directory has no commit.
    """

    domain: str
    split: str
    table: str
    figures: Sequence[tuple[str, str, float]]
    left_out: Mapping[str, str]
    num_beams: int | None = None
    benchmark: str | None = None
    revision: str | None = None

    def entries(self, benchmark: str) -> list[EvalResult]:
        """The figures as the card's `model-index` has them, of a dataset on the Hub."""
        return [
            EvalResult(
                task_type="text-ranking",
                task_name=f"{axis} axis",
                dataset_type=benchmark,
                dataset_name=f"Preference discerning, {self.domain} {axis}",
                dataset_config=f"{self.domain}_{axis}",
                dataset_split=self.split,
                dataset_revision=self.revision,
                metric_type=metric,
                metric_name=metric,
                metric_value=round(value, 6),
            )
            for axis, metric, value in self.figures
        ]


@dataclass(frozen=True)
class SavedModel:
    """What the files of a model's folder say, without its weights being loaded.

    Attributes:
        method ([`Method`]): The row that it was trained as.
        arguments (`dict`): Resolved arguments of its training; empty where they are not recorded.
        training (`dict`): State of its training, such as `best_step`; empty likewise.
        num_items (`int`): Items of the catalogue.
        titles (`list[str]`): Of its first items.
    """

    method: Method
    arguments: dict[str, Any]
    training: dict[str, Any]
    num_items: int
    titles: list[str]

    @classmethod
    def read(cls, folder: str | Path) -> "SavedModel":
        """Reads a folder that training saved."""
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        arguments, state = folder / ARGUMENTS_FILE, folder / STATE_FILE
        with (folder / "items.jsonl").open(encoding="utf-8") as file:
            titles = [json.loads(line)["title"] for line in islice(file, 3)]
        return cls(
            method=load_method(folder, config["model_type"]),
            arguments=yaml.safe_load(arguments.read_text(encoding="utf-8")) if arguments.is_file() else {},
            training=json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {},
            num_items=config["num_items"],
            titles=titles,
        )

    def example(self) -> dict[str, Any]:
        """A request that it can answer, for the card's code."""
        example: dict[str, Any] = {}
        if self.method.history != "none":
            example["history"] = list(range(1, 1 + min(3, self.num_items - 1)))
        if self.method.preference != "none":
            example["preference"] = f"Search for {self.titles[-1]}"
        return example


def model_card(
    folder: str | Path,
    template: str | Path,
    name: str,
    evaluation: Evaluation | None = None,
    report: Mapping[str, Any] | None = None,
    benchmark: str | None = None,
    license: str = "apache-2.0",
) -> str:
    """The card of a recommender.

    Args:
        folder (`str` or `Path`): Of the model, as training saved it.
        template (`str` or `Path`): `model_cards/model_card.md`.
        name (`str`): Where the model will be found, in the card's code.
        evaluation ([`Evaluation`], *optional*): What was measured; without it the card says that nothing was.
        report (`Mapping`, *optional*): The benchmark's report of the domain.
        benchmark (`str`, *optional*): The benchmark's name on the Hub; what the results or the arguments say where not
            given.
        license (`str`, defaults to `"apache-2.0"`): Of the weights.

    Returns:
        `str`: Text of the card.
    """
    saved = SavedModel.read(folder)
    report = report or {}
    example = saved.example()
    left = saved.num_items - len(example.get("history", ()))
    domain = evaluation.domain if evaluation else saved.arguments.get("domain", "unknown")
    on_hub = benchmark is not None or bool(evaluation and evaluation.revision)  # a folder has no revision
    benchmark = benchmark or (evaluation and evaluation.benchmark) or saved.arguments.get("benchmark")
    base_model = base_model_of(saved.arguments, saved.method)
    measured = {"eval_results": evaluation.entries(benchmark), "model_name": name} if on_hub and evaluation else {}
    data = ModelCardData(
        language="en",
        license=license,
        library_name="transformers",
        pipeline_tag="text-ranking" if saved.method.preference != "none" else "other",
        base_model=base_model,
        datasets=[benchmark] if on_hub else None,
        metrics=["recall", "ndcg"],
        tags=[*TAGS, saved.method.name, domain],
        **measured,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(template),
        title=f"{saved.method.name} on {domain}",
        saved=saved,
        method=saved.method,
        arguments=saved.arguments,
        training=saved.training,
        num_items=saved.num_items,
        **_code_of(example),
        k=min(10, left),
        few=min(5, left),
        name=name,
        domain=domain,
        benchmark=benchmark,
        dataset=f"[{benchmark}](https://huggingface.co/datasets/{benchmark})"
        if on_hub
        else "a benchmark that was not published",
        base_model=base_model,
        evaluation=evaluation,
        report=report,
        arguments_text=yaml.safe_dump(
            public_arguments(saved.arguments, benchmark if on_hub else None), sort_keys=False, allow_unicode=True
        ),
    )
    return str(card)


def _code_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """An example for a template: as it is, and as text that is both JSON and Python."""
    return {
        "example": dict(example),
        "example_json": json.dumps(example, ensure_ascii=False),
        "example_preference": json.dumps(example.get("preference"), ensure_ascii=False),
    }


def write_card(text: str, folder: str | Path) -> Path:
    """Writes `README.md`, whole or not at all."""
    return write_text(Path(folder) / "README.md", text)


def adapter_card(
    folder: str | Path, template: str | Path, name: str, benchmark: str | None = None, license: str = "apache-2.0"
) -> str:
    """The card of a LoRA adapter.

    Args:
        folder (`str` or `Path`): Of the merged model of the same training.
        template (`str` or `Path`): `model_cards/adapter_card.md`.
        name, benchmark, license: As in [`model_card`].

    Returns:
        `str`: Text of the card.
    """
    saved = SavedModel.read(folder)
    domain = saved.arguments.get("domain", "unknown")
    base_model = base_model_of(saved.arguments, saved.method)
    data = ModelCardData(
        language="en",
        license=license,
        library_name="peft",
        base_model=base_model,
        datasets=[benchmark] if benchmark else None,
        tags=[*TAGS, saved.method.name, domain, "lora"],
    )
    card = ModelCard.from_template(
        data,
        template_path=str(template),
        title=f"{saved.method.name} on {domain}, LoRA adapter",
        name=name,
        method=saved.method,
        domain=domain,
        base_model=base_model,
        arguments=saved.arguments,
        **_code_of(saved.example()),
        few=min(5, saved.num_items),
        arguments_text=yaml.safe_dump(public_arguments(saved.arguments, benchmark), sort_keys=False),
    )
    return str(card)


def rqvae_card(
    config: Any, report: Mapping[str, Any], template: str | Path, name: str, license: str = "apache-2.0"
) -> str:
    """The card of an RQ-VAE.

    Args:
        config ([`RQVAEConfig`]): Its sizes.
        report (`Mapping`): `report.json` of `scripts/learn_semantic_ids.py`.
        template (`str` or `Path`): `model_cards/rqvae_card.md`.
        name, license: As in [`model_card`].

    Returns:
        `str`: Text of the card.
    """
    settings = report["settings"]
    figures = {key: value for key, value in report.items() if key not in ("settings", "seconds", "num_items")}
    rounded = {
        key: ", ".join(f"{one:.4g}" for one in value) if isinstance(value, list) else f"{value:.6g}"
        for key, value in figures.items()
    }
    data = ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=[*TAGS, "rq-vae", "semantic-ids"],
    )
    card = ModelCard.from_template(
        data,
        template_path=str(template),
        title=f"RQ-VAE for {settings.get('domain') or 'a catalogue'}",
        name=name,
        config=config,
        num_items=report["num_items"],
        embedding_model=settings["embedding_model"],
        figures=rounded,
        settings_text=yaml.safe_dump(dict(settings), sort_keys=False),
    )
    return str(card)
