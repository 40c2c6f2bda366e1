"""Staging of a model for publication: files, card and results, checked in a process without this project."""

import datetime
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from huggingface_hub import eval_result_entries_to_yaml
from safetensors.torch import load_file

from dataset_builders.atomic_write import scratch_directory
from dataset_builders.benchmark.report import BuildReport, read_report, resolve_revision
from dataset_builders.benchmark.schema import config_name
from dataset_builders.commands.fresh_process import run_fresh, run_fresh_json
from dataset_builders.escaping import printable
from dataset_builders.leaderboard.submission import entries_file, entries_text, make_entries, results_file
from dataset_builders.leaderboard.validation import check_figures
from dataset_builders.resources import resource
from dataset_builders.scoring.results import RESULTS_FILE, Results

from ..hub.loading import load_adapted, load_recommender
from ..hub.model_card import (
    HUB_NAMES,
    SavedModel,
    adapter_card,
    looks_like_hub_name,
    model_card,
    public_arguments,
    rqvae_card,
    write_card,
)
from ..hub.model_publication import (
    HANDLER,
    reference_requests,
    stage_adapter,
    stage_recommender,
    stage_rqvae,
    weights_digest,
)
from ..manifest import write_manifest
from ..modeling_rqvae import RQVAEModel
from ..recommendation import RecommendOutput
from .evaluate import card_evaluation

if TYPE_CHECKING:
    from .publish_model import ModelPublication

K = 5


class Recommends(Protocol):
    """Model that recommends."""

    def recommend(self, **inputs: Any) -> RecommendOutput: ...


CHECK_RECOMMENDER = """
import importlib.util, json
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor, pipeline

folder, requests, output, threads, k = sys.argv[1:]
torch.set_num_threads(int(threads))
requests, k = json.loads(Path(requests).read_text()), int(k)
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
found = [model.recommend(**processor(**{name: [value] for name, value in one.items()}), k=k) for one in requests]
save_file({name: torch.cat([getattr(one, name) for one in found]) for name in ("items", "scores")}, output)

pipe = pipeline("preference-recommendation", model=folder, trust_remote_code=True, device="cpu")
by_pipeline = [item["item_id"] for item in pipe(requests[0], k=k)]
assert by_pipeline == found[0].items[0].tolist(), "the pipeline disagrees with the model"
spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
handler = importlib.util.module_from_spec(spec)
spec.loader.exec_module(handler)
answer = handler.EndpointHandler(folder)({"inputs": requests[0], "parameters": {"k": k}})
assert [item["item_id"] for item in answer] == by_pipeline, "the endpoint's handler disagrees with the pipeline"
used = [module.__file__ for name, module in sys.modules.items() if name.startswith("transformers_modules")]
print(json.dumps(sorted({Path(file).name for file in used if file and not file.endswith("__init__.py")})))
"""

CHECK_RQVAE = """
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

folder, embeddings, output, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
save_file({"codes": model.encode(load_file(embeddings)["item_embeddings"])}, output)
"""


def publish_recommender(arguments: "ModelPublication", staged: Path) -> None:
    """Stages a recommender with its card and results, and checks that it gives the same answers elsewhere."""
    results = find_results(arguments)
    report = find_report(arguments, results)
    stage_recommender(arguments.folder, staged, arguments.benchmark)
    said_of_the_benchmark = asdict(report) if report else {}
    if results is not None:
        check_results(arguments.folder, results, report)
        results = name_publicly(results, arguments)
        path = staged / results_file(results.domain)
        path.parent.mkdir()
        results.write(path)
        write_entries(results, staged)
        said_of_the_benchmark = said_of_the_benchmark or {"approximator": results.benchmark.approximator}
    card = model_card(
        arguments.folder,
        resource("model_cards/model_card.md"),
        arguments.repo_id,
        card_evaluation(results) if results is not None else None,
        said_of_the_benchmark,
        arguments.benchmark,
        arguments.license,
    )
    write_card(card, staged)
    write_manifest(staged)
    check_recommender(arguments.folder, staged)


def name_publicly(results: Results, arguments: "ModelPublication") -> Results:
    """Returns results with names on the Hub in place of local folders."""
    benchmark, trained_with = results.benchmark, results.maker.arguments
    if arguments.benchmark and benchmark.name != arguments.benchmark:
        # equal fingerprints: its rows are the published ones
        benchmark = replace(benchmark, name=arguments.benchmark, revision=resolve_revision(arguments.benchmark))
    elif not benchmark.revision:
        benchmark = replace(benchmark, name=f"path/to/{Path(benchmark.name or 'benchmark').name}")
    if trained_with:
        trained_with = public_arguments(trained_with, arguments.benchmark)
    maker = replace(results.maker, model=arguments.repo_id, arguments=trained_with)
    return replace(results, maker=maker, benchmark=benchmark)


def write_entries(results: Results, staged: Path) -> None:
    """Writes `.eval_results/*.yaml`, from which leaderboards on the Hub read the scores of the model."""
    benchmark = results.benchmark
    if not benchmark.name or not benchmark.revision:
        print(
            "note: no .eval_results, because the results are of a local benchmark; give the published one with "
            "--benchmark."
        )
        return
    if objections := check_figures(results):
        print(f"note: no .eval_results, because a leaderboard would refuse the results: {' '.join(objections)}")
        return
    day = results.date or datetime.date.today().isoformat()
    entries, left_out = make_entries(results, benchmark.name, benchmark.revision, day)
    path = staged / entries_file(benchmark.name, results.domain)
    path.parent.mkdir()
    path.write_text(entries_text(eval_result_entries_to_yaml(entries)), encoding="utf-8")
    for line in left_out:
        print(f"left out of .eval_results: {printable(line)}")


def find_results(arguments: "ModelPublication") -> Results | None:
    """Reads the results of the evaluation; `None` if there are none."""
    path = arguments.results
    if path is None:
        beside = (arguments.folder / RESULTS_FILE, arguments.folder.parent / RESULTS_FILE)
        path = next((one for one in beside if one.is_file()), None)
    if path is None:
        print(f"note: no {RESULTS_FILE}; the card will say that the model was not evaluated.")
        return None
    return Results.read(path)


def find_report(arguments: "ModelPublication", results: Results | None) -> BuildReport | None:
    """Reads the build report of the domain; `None` if no benchmark is named or it has none."""
    if results is None:
        return None
    name = arguments.benchmark or results.benchmark.name
    revision = None if arguments.benchmark else results.benchmark.revision
    if name is None or not (arguments.benchmark or revision or Path(name).is_dir()):
        return None
    return read_report(name, results.domain, revision)


def check_results(folder: Path, results: Results, report: BuildReport | None) -> None:
    """Refuses results of another model, or of another benchmark than that of the card.

    Raises:
        ValueError: If method, weights or rows differ; the message names them.
    """
    saved = SavedModel.read(folder)
    if results.maker.method != saved.method.name:
        raise ValueError(
            f"the results are of {results.maker.method!r} and the model is {saved.method.name!r}; give --results of "
            "this model."
        )
    if results.maker.weights and results.maker.weights.sha256 not in (None, weights_digest(folder)):
        raise ValueError(
            f"the results were measured on other weights than those in {folder}: the model was trained again since; "
            "evaluate it again with mender evaluate."
        )
    if report is None:
        return
    measured = results.benchmark.fingerprints
    scored = {config_name(report.domain, name) for name in ("items", *results.axes)}
    differing = [
        name
        for name, digest in report.fingerprints.items()
        if (name in scored or name in measured) and measured.get(name) != digest
    ]
    if differing:
        raise ValueError(
            f"the results were measured on other rows of {', '.join(differing)} than the benchmark has now; "
            "evaluate the model again on that benchmark with mender evaluate."
        )


def check_recommender(source: Path, staged: Path) -> None:
    """Compares recommendations in a process without this project with those of the trained model.

    Raises:
        ValueError: If the process cannot load the folder, returns other recommendations, or used other code files.
    """
    model, processor = load_recommender(source)
    saved = SavedModel.read(source)
    requests = reference_requests(processor.items, saved.method)
    k = min(K, saved.num_items)
    inputs = [processor(**{name: [value] for name, value in one.items()}) for one in requests]
    found = [cast(Recommends, model).recommend(**one, k=k) for one in inputs]
    with scratch_directory() as scratch:
        asked, answered = Path(scratch) / "requests.json", Path(scratch) / "answers.safetensors"
        asked.write_text(json.dumps(requests), encoding="utf-8")
        used = run_fresh_json(CHECK_RECOMMENDER, [staged, asked, answered, str(torch.get_num_threads()), str(k)])
        answers = load_file(answered)
    for name in ("items", "scores"):
        if not torch.equal(answers[name], torch.cat([getattr(one, name) for one in found])):
            raise ValueError(f"the published folder gives other {name} than {source}; nothing was sent.")
    there = sorted(path.name for path in staged.glob("*.py") if path.name != HANDLER.name)
    if there != used:
        raise ValueError(
            f"the folder's code ({', '.join(there)}) is not what loading it used ({', '.join(used)}); nothing was "
            "sent."
        )
    print(
        f"checked: {len(requests)} requests, the same items and scores bit for bit in a process without this project "
        f"({len(used)} files of code)"
    )


def publish_adapter(arguments: "ModelPublication", staged: Path) -> None:
    """Stages a LoRA adapter with its card, and checks that it recommends as the merged model does."""
    model_folder = arguments.folder.with_name("model")
    if not model_folder.is_dir():
        raise FileNotFoundError(
            f"{model_folder} does not exist; an adapter is published from the training's folder, beside its merged "
            "model."
        )
    encoder = SavedModel.read(model_folder).arguments["text_encoder"]
    if encoder not in HUB_NAMES and not looks_like_hub_name(encoder):
        raise ValueError(
            f"text_encoder ({encoder}) is a local folder, which others cannot load; publish the merged model "
            "instead, or publish the text encoder first and train with its name on the Hub."
        )
    stage_adapter(arguments.folder, model_folder, staged, arguments.benchmark)
    card = adapter_card(
        model_folder,
        resource("model_cards/adapter_card.md"),
        arguments.repo_id,
        arguments.benchmark,
        arguments.license,
    )
    write_card(card, staged)
    write_manifest(staged)
    merged, processor = load_recommender(model_folder)
    adapted, _ = load_adapted(staged)
    inputs = [
        processor(**{name: [value] for name, value in one.items()})
        for one in reference_requests(processor.items, SavedModel.read(model_folder).method)
    ]
    k = min(K, merged.config.num_items)
    for one in inputs:
        expected, found = (cast(Recommends, model).recommend(**one, k=k) for model in (merged, adapted))
        if not torch.equal(expected.items, found.items) or not torch.allclose(
            expected.scores, found.scores, atol=1e-4
        ):
            raise ValueError(
                f"the adapter on its text encoder recommends otherwise than {model_folder}; nothing was sent."
            )
    print(f"checked: {len(inputs)} requests, the same items as the merged model")


def publish_rqvae(arguments: "ModelPublication", staged: Path) -> None:
    """Stages an RQ-VAE with its card, and checks that it gives the same codes elsewhere."""
    model, report = stage_rqvae(arguments.folder, staged)
    write_card(
        rqvae_card(model.config, report, resource("model_cards/rqvae_card.md"), arguments.repo_id, arguments.license),
        staged,
    )
    write_manifest(staged)
    embeddings = arguments.folder / "item_embeddings.safetensors"
    with scratch_directory() as scratch:
        answered = Path(scratch) / "codes.safetensors"
        run_fresh(CHECK_RQVAE, [staged, embeddings, answered, str(torch.get_num_threads())])
        codes = load_file(answered)["codes"]
    if not torch.equal(codes, cast(RQVAEModel, model).encode(load_file(embeddings)["item_embeddings"])):
        raise ValueError(f"the published folder gives other codes than {arguments.folder}; nothing was sent.")
    print(f"checked: the same codes of {len(codes)} items in a process without this project")
