"""Model cards for the Hub, filled from results and training arguments into the templates of `model_cards/`."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..atomic_write import write_text
from ..escaping import code, escaped, fence, markdown, one_line
from ..items_file import Items
from ..manifest import ITEMS_FILE, read_json_object
from ..methods.table import Method, load_method
from ..training.records import read_arguments, read_state
from .catalog_changes import read_changes, with_unlisted

# Names of text encoders in recipes -> repositories on the Hub.
HUB_NAMES = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-t5-base": "sentence-transformers/sentence-t5-base",
}
TAGS = ("recommender-systems", "sequential-recommendation", "preference-discerning", "generative-retrieval")
LONGEST_TITLE = 200
# Arguments that only matter on the training machine.
PRIVATE_ARGUMENTS = ("output_dir", "cache_dir", "cache_limit_gb", "semantic_ids", "resume", "report_to")


def looks_like_hub_name(name: str | None) -> TypeGuard[str]:
    """Whether a name has the form of a repository's, `org/name`.

    >>> looks_like_hub_name("org/pref-discerning"), looks_like_hub_name("./model"), looks_like_hub_name(None)
    (True, False, False)
    """
    return name is not None and name.count("/") == 1 and name[0] not in "./~"


def is_hub_name(name: str | None) -> TypeGuard[str]:
    """Whether a name can be a repository's: it has the form `org/name`, and no file or folder has that name.

    >>> is_hub_name("org/pref-discerning"), is_hub_name("outputs/a/benchmark"), is_hub_name(None)
    (True, False, False)
    """
    return looks_like_hub_name(name) and not Path(name).exists()


def base_model_of(arguments: Mapping[str, Any], method: Method) -> str | None:
    """Returns the repository of the pretrained text encoder; `None` if there is none or it was a local folder."""
    if not method.is_pretrained:
        return None
    name = arguments.get("text_encoder")
    name = HUB_NAMES.get(name, name) if name else None
    return name if is_hub_name(name) else None


def public_arguments(arguments: Mapping[str, Any], benchmark: str | None = None) -> dict[str, Any]:
    """Returns training arguments without those that only matter on the training machine, and without local paths.

    Args:
        arguments (`Mapping`): Arguments as saved beside a model.
        benchmark (`str`, *optional*): Name of the benchmark on the Hub, in place of a local folder.
    """
    kept = {name: value for name, value in arguments.items() if name not in PRIVATE_ARGUMENTS}
    if "benchmark" in kept:
        kept["benchmark"] = benchmark or Path(kept["benchmark"]).name
    if "text_encoder" in kept and Path(str(kept["text_encoder"])).is_absolute():
        kept["text_encoder"] = Path(kept["text_encoder"]).name
    return kept


@dataclass(frozen=True)
class Evaluation:
    """Evaluation as shown in a model card.

    Attributes:
        domain, split (`str`): Domain and split of the scored rows.
        table (`str`): Scores on all axes, in Markdown.
        figures (`Sequence[tuple[str, str, float]]`): Axis, metric and score, for the `model-index` of the card.
        left_out (`Mapping[str, str]`): Reasons by axis that was not evaluated.
        baselines (`str`): What needs no training, a table in Markdown; empty if it is not known.
        not_beaten (`Sequence[str]`): A sentence for each axis on which the model is not above the best baseline.
        num_beams (`int`, *optional*): Beams of the search.
        benchmark, revision (`str`, *optional*): Name and commit of the benchmark; a local directory has no commit.
    """

    domain: str
    split: str
    table: str
    figures: Sequence[tuple[str, str, float]]
    left_out: Mapping[str, str]
    baselines: str = ""
    not_beaten: Sequence[str] = ()
    num_beams: int | None = None
    benchmark: str | None = None
    revision: str | None = None

    def entries(self, benchmark: str) -> list[EvalResult]:
        """Returns the scores as `model-index` entries of a dataset on the Hub."""
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
    """Description of a saved model, read from its folder without loading weights.

    Attributes:
        method ([`Method`]): Method of the training.
        arguments (`dict`): Training arguments; empty if there are none in the folder.
        training (`dict`): Training state, such as `best_step`; empty if there is none in the folder.
        num_items (`int`): Number of items, removed ones included: the largest id.
        num_active_items (`int`): Number of items that can be recommended.
        first_items (`list[int]`): Ids of the first of these.
        titles (`list[str]`): Their titles.
        changes (`list[dict]`): Changes of the catalog since the training, the oldest first.
    """

    method: Method
    arguments: dict[str, Any]
    training: dict[str, Any]
    num_items: int
    num_active_items: int
    first_items: list[int]
    titles: list[str]
    changes: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: str | Path) -> "SavedModel":
        """Reads a folder that training saved.

        Raises:
            ValueError: If a file is damaged.
        """
        folder = Path(folder)
        items = Items.read(folder / ITEMS_FILE)
        config = read_json_object(folder / "config.json")
        trained = config.get("num_trained_items")
        gone = set(items.removed)
        first = list(islice((item for item in range(1, 1 + len(items)) if item not in gone), 3))
        return cls(
            method=load_method(folder, str(config.get("model_type"))),
            arguments=read_arguments(folder),
            training=read_state(folder),
            num_items=len(items),
            num_active_items=len(items) - len(gone),
            first_items=first,
            titles=[one_line(items[item - 1]["title"], LONGEST_TITLE) for item in first],
            changes=with_unlisted(
                read_changes(folder),
                trained if isinstance(trained, int) else len(items),
                items,
                str(config.get("items_digest")),
            ),
        )

    def example(self) -> dict[str, Any]:
        """Returns a request that the model can answer, for the code in the card."""
        example: dict[str, Any] = {}
        if self.method.history != "none":
            example["history"] = self.first_items[: self.num_active_items - 1]
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
    """Fills the card of a recommender.

    Args:
        folder (`str` or `Path`): Folder of the model, as saved by training.
        template (`str` or `Path`): Path of `model_cards/model_card.md`.
        name (`str`): Name under which the code in the card loads the model.
        evaluation ([`Evaluation`], *optional*): Evaluation; without it the card says that there was none.
        report (`Mapping`, *optional*): Build report of the benchmark's domain.
        benchmark (`str`, *optional*): Name of the benchmark on the Hub; defaults to that of the evaluation or of the
            training arguments.
        license (`str`, defaults to `"apache-2.0"`): License of the weights.

    Returns:
        `str`: Text of the card.
    """
    saved = SavedModel.read(folder)
    domain = evaluation.domain if evaluation else saved.arguments.get("domain", "unknown")
    on_hub = benchmark is not None or bool(evaluation and evaluation.revision)  # a folder has no revision
    benchmark = benchmark or (evaluation and evaluation.benchmark) or saved.arguments.get("benchmark")
    domain, benchmark = code(domain), benchmark and one_line(benchmark)
    on_hub = on_hub and re.fullmatch(r"[\w.-]+/[\w.-]+", benchmark or "") is not None
    published = benchmark if on_hub else None
    base_model = base_model_of(saved.arguments, saved.method)
    example = saved.example()
    left = saved.num_active_items - len(example.get("history", ()))
    card = ModelCard.from_template(
        _recommender_metadata(saved, domain, base_model, published, name, evaluation, license),
        template_path=str(template),
        title=markdown(f"{saved.method.name} on {domain}"),
        saved=saved,
        method=saved.method,
        arguments=escaped(saved.arguments),
        training=saved.training,
        num_items=saved.num_active_items,
        **_code_of(example),
        k=min(10, left),
        few=min(5, left),
        name=json.dumps(name, ensure_ascii=False)[1:-1],
        domain=domain,
        command=shlex.join(
            ["python", "scripts/evaluate_axes.py", one_line(name), "--benchmark", str(benchmark), "--domain", domain]
        ),
        dataset=f"[{benchmark}](https://huggingface.co/datasets/{benchmark})"
        if on_hub
        else "a benchmark that was not published",
        base_model=base_model and markdown(base_model),
        evaluation=evaluation and _shown(evaluation),
        report=escaped(dict(report or {})),
        **_block("arguments", public_arguments(saved.arguments, published)),
    )
    return str(card)


def _shown(evaluation: Evaluation) -> Evaluation:
    """The evaluation with its texts escaped for the card."""
    return replace(
        evaluation,
        left_out=escaped(dict(evaluation.left_out)),
        not_beaten=[markdown(sentence) for sentence in evaluation.not_beaten],
        revision=evaluation.revision and code(evaluation.revision),
    )


def _block(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Values as YAML for a template, with the fence of their code block."""
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return {f"{name}_text": text, f"{name}_fence": fence(text)}


def _recommender_metadata(
    saved: SavedModel,
    domain: str,
    base_model: str | None,
    benchmark: str | None,
    name: str,
    evaluation: Evaluation | None,
    license: str,
) -> ModelCardData:
    """Returns the metadata of a recommender's card; scores are listed only for a published benchmark."""
    measured: dict[str, Any] = {}
    if benchmark is not None and evaluation is not None:
        measured = {"eval_results": evaluation.entries(benchmark), "model_name": name}
    return ModelCardData(
        language="en",
        license=license,
        library_name="transformers",
        pipeline_tag="text-ranking" if saved.method.preference != "none" else "other",
        base_model=base_model,
        datasets=[benchmark] if benchmark is not None else None,
        metrics=["recall", "ndcg"],
        tags=[*TAGS, saved.method.name, domain],
        **measured,
    )


def _code_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an example for a template, as a value and as text that is both JSON and Python."""
    return {
        "example": dict(example),
        "example_json": json.dumps(example, ensure_ascii=False),
        "example_preference": json.dumps(example.get("preference"), ensure_ascii=False),
    }


def write_card(text: str, folder: str | Path) -> Path:
    """Writes `README.md` atomically and returns its path."""
    return write_text(Path(folder) / "README.md", text)


def adapter_card(
    folder: str | Path, template: str | Path, name: str, benchmark: str | None = None, license: str = "apache-2.0"
) -> str:
    """Fills the card of a LoRA adapter.

    Args:
        folder (`str` or `Path`): Folder of the merged model of the same training.
        template (`str` or `Path`): Path of `model_cards/adapter_card.md`.
        name, benchmark, license: As in [`model_card`].

    Returns:
        `str`: Text of the card.
    """
    saved = SavedModel.read(folder)
    domain = code(saved.arguments.get("domain", "unknown"))
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
        title=markdown(f"{saved.method.name} on {domain}, LoRA adapter"),
        name=json.dumps(name, ensure_ascii=False)[1:-1],
        method=saved.method,
        domain=domain,
        base_model=base_model and markdown(base_model),
        arguments=escaped(saved.arguments),
        **_code_of(saved.example()),
        few=min(5, saved.num_active_items),
        **_block("arguments", public_arguments(saved.arguments, benchmark)),
    )
    return str(card)


def rqvae_card(
    config: Any, report: Mapping[str, Any], template: str | Path, name: str, license: str = "apache-2.0"
) -> str:
    """Fills the card of an RQ-VAE.

    Args:
        config ([`RQVAEConfig`]): Configuration of the RQ-VAE.
        report (`Mapping`): Content of the `report.json` written by `mender learn-ids`.
        template (`str` or `Path`): Path of `model_cards/rqvae_card.md`.
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
        title=markdown(f"RQ-VAE for {settings.get('domain') or 'a catalog'}"),
        name=name,
        config=config,
        num_items=report["num_items"],
        embedding_model=markdown(settings["embedding_model"]),
        figures=rounded,
        **_block("settings", settings),
    )
    return str(card)
