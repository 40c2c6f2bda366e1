"""What goes to the Hub of a training: the folder, its code, its card, and the refusals. Sending is `test_hub.py`'s."""

import ast
import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.numpy import load_file, save_file
from tiny_models import catalogue, save_text_encoder, train_tiny
from transformers import AutoModel

from dataset_builders.scoring.results import Results
from modeling_mender import RQVAEConfig, RQVAEModel
from modeling_mender.commands import evaluate as evaluate_axes
from modeling_mender.commands import publish_model, staging
from modeling_mender.hub.loading import load_adapted, load_recommender
from modeling_mender.hub.model_publication import weights_digest

pytestmark = pytest.mark.usefixtures("forked_checks")  # those of `published` and `quantizer`, made before, are fresh
NAME = "org/mender-toy"
NAMED = ["--repo_id", NAME]


def publish(folder, output, *words):
    """Everything up to the sending."""
    return publish_model.main(
        [str(folder), "--dry_run", "--output_dir", str(output), *(() if "--repo_id" in words else NAMED), *words]
    )  # fmt: skip


def error_of(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def figures(recall, sentiment=False):
    values = {"recall@10": recall, "ndcg@10": recall / 2}
    return values | ({"m@10": recall / 3} if sentiment else {})


def results_of(folder, method="mender_emb", **changes):
    """As `mender evaluate` writes them, of a benchmark on the Hub."""
    axes = {
        axis: {
            "num_rows": 4,
            "with_preference": figures(recall, axis == "sentiment"),
            "without_preference": None if axis == "sentiment" else figures(0.25),
        }
        for axis, recall in (("recommendation", 0.5), ("sentiment", 0.75), ("fine", 1.0))
    }
    return {
        "method": method, "model": "outputs/x", "domain": "toy", "split": "test", "k": [10], "num_beams": 12,
        "weights_sha256": weights_digest(folder), "axes": axes, "left_out": {"coarse": "too few items"},
        "benchmark": {"name": "org/pref-toy", "revision": "0" * 40, "approximator": "metadata",
                      "fingerprints": {"toy_fine": "a" * 32}},
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of training, its results beside the model."""
    folder = tmp_path_factory.mktemp("trained")
    model = train_tiny("mender_emb", folder)
    (folder / "results.json").write_text(json.dumps(results_of(model)))
    return model


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """What would be sent; the benchmark of the results is not at hand, so its report is not read."""
    output = tmp_path_factory.mktemp("published") / NAME
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(staging, "find_report", lambda arguments, results: None)
    assert publish(trained, output) == 0
    monkeypatch.undo()
    return output


def test_the_folder_holds_weights_items_code_handler_card_and_records(published):
    names = {path.name for path in published.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "processor_config.json", "items.jsonl",
            "tokenizer.json", "handler.py", "requirements.txt", "README.md", "results",
            "training_arguments.yaml", "manifest.json"} <= names  # fmt: skip
    code = {name for name in names if name.endswith(".py")} - {"handler.py"}
    assert code == {
        "atomic_write.py", "captured_decoding.py", "catalog_recipe.py", "catalog_update.py", "checked_loading.py",
        "configuration_checks.py", "configuration_mender.py", "configuration_rqvae.py",
        "configuration_semantic_ids.py", "constrained_decoding.py", "item_log_weights.py", "item_texts.py",
        "items_file.py", "manifest.py", "modeling_rqvae.py",
        "modeling_generative_retriever.py", "modeling_mender.py", "modeling_mender_base.py",
        "modeling_semantic_id_decoder.py",
        "pipeline_preference_recommendation.py", "processing_mender.py", "recommendation.py",
        "recommendation_request.py", "request_values.py", "semantic_ids.py", "t5_stacks.py", "text_encoder_mixin.py",
        "trie.py",
    }  # fmt: skip


def test_the_manifest_holds_every_file_but_the_card_and_the_results(published):
    listed = json.loads((published / "manifest.json").read_text())
    assert listed["num_items"] == 12
    assert listed["files"].keys() == {path.name for path in published.iterdir() if path.is_file()} - {
        "manifest.json",
        "README.md",
    }


def test_the_configuration_names_every_class_by_which_it_is_found(published):
    config = json.loads((published / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_mender.MenderEmbConfig",
        "AutoModel": "modeling_mender.MenderEmb",
        "AutoModelForSeq2SeqLM": "modeling_mender.MenderEmb",
    }
    assert list(config["custom_pipelines"]) == ["preference-recommendation"]


def test_the_figures_go_along_whole_and_as_entries_of_a_leaderboard(published):
    assert json.loads((published / "results/toy.json").read_text())["model"] == NAME
    entries = yaml.safe_load((published / ".eval_results/pref-toy_toy.yaml").read_text())
    assert {entry["dataset"]["task_id"]: entry["value"] for entry in entries} == {
        "toy_recommendation_recall_at_10": 0.5, "toy_sentiment_m_at_10": 0.25, "toy_fine_recall_at_10": 1.0,
    }  # fmt: skip
    assert {entry["dataset"]["revision"] for entry in entries} == {"0" * 40}


def test_nothing_tells_of_the_machine_that_trained_it(published, trained):
    for path in published.iterdir():
        if path.suffix in (".json", ".jsonl", ".yaml", ".md", ".py", ".txt"):
            assert str(trained.parent.parent) not in path.read_text(), path.name
    assert (
        not {"is_local", "local_files_only", "name_or_path"}
        & json.loads((published / "tokenizer_config.json").read_text()).keys()
    )


def test_the_card_s_header_is_filled_from_the_results(published):
    card = ModelCard.load(published / "README.md")
    data = card.data
    assert (data.license, data["library_name"], data.pipeline_tag) == ("apache-2.0", "transformers", "text-ranking")
    assert data.datasets == ["org/pref-toy"]
    by_metric = {(result.dataset_config, result.metric_type): result.metric_value for result in data.eval_results}
    assert by_metric == {
        ("toy_recommendation", "recall@10"): 0.5, ("toy_recommendation", "ndcg@10"): 0.25,
        ("toy_sentiment", "m@10"): 0.25, ("toy_fine", "recall@10"): 1.0, ("toy_fine", "ndcg@10"): 0.5,
    }  # fmt: skip
    assert {result.dataset_revision for result in data.eval_results} == {"0" * 40}
    assert "| fine | 4 | recall@10 | 1.0000 | 0.2500 | 0.5000 | 0.1250 |" in card.text
    assert "Left out: **coarse** (too few items)." in card.text
    assert "metadata" in card.text


def test_every_code_block_of_the_card_runs_as_it_is_printed(published, monkeypatch, capsys):
    """The folder stands where its name on the Hub would; JSON is sent to the handler."""
    monkeypatch.chdir(published.parents[1])
    text = (published / "README.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "python", "json", "bash", "yaml", "bibtex"]
    for language, block in blocks:
        if language == "python":
            exec(compile(block, "README.md", "exec"), {})
        elif language == "json":
            spec = {}
            exec(compile((published / "handler.py").read_text(), "handler.py", "exec"), spec)
            assert len(spec["EndpointHandler"](NAME)(json.loads(block))) == 5
        elif language == "bash":
            script, *words = block.split()[1:]
            evaluate_axes.parse_arguments(words)
            assert script == "scripts/evaluate_axes.py"
            assert words == [NAME, "--benchmark", "org/pref-toy", "--domain", "toy"]
        elif language == "yaml":
            assert yaml.safe_load(block)["method"] == "mender_emb"
    assert "soap" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lc_rec", "t5-with-decoder"),
        ("tiger_user_emb", "bert"),
        ("sasrec", "bert"),
        ("mender_steer", "t5-with-decoder"),
    ],
)
def test_other_methods_are_checked_in_a_fresh_process_too(tmp_path, name, family, capsys):
    folder = train_tiny(name, tmp_path / "trained", family)
    assert publish(folder, tmp_path / NAME) == 0
    printed = capsys.readouterr().out
    assert "the same items and scores bit for bit in a process without this project" in printed
    assert "nothing was sent" in printed
    card = (tmp_path / NAME / "README.md").read_text()
    assert "was not evaluated before it was published" in card
    assert ("It reads no preference" in card) == (name not in ("lc_rec", "mender_steer"))
    code = {path.name for path in (tmp_path / NAME).glob("*.py")}
    assert ("modeling_generative_retriever.py" in code) == (name != "sasrec")
    assert ({"item_words.py", "preference_parsing.py", "request_weights.py"} <= code) == (name == "mender_steer")


def test_a_steered_model_s_card_shows_terms_that_sum_to_scores_and_its_handler_avoids(tmp_path, monkeypatch, capsys):
    folder = train_tiny("mender_steer", tmp_path / "trained", use_decoder=True)
    assert publish(folder, tmp_path / NAME) == 0
    monkeypatch.chdir(tmp_path)
    text = (tmp_path / NAME / "README.md").read_text()
    assert "an addition to the methods of" in text and "| avoid, strength |" in text
    assert "A negative preference" not in text and "English rules" in text
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    variables = {}
    for block in blocks[:2]:
        exec(compile(block, "README.md", "exec"), variables)
    assert set(variables["output"].terms) == {"history", "graph", "preference 1", "avoid 1", "normalization"}
    total = torch.stack(list(variables["output"].terms.values())).sum(0)
    torch.testing.assert_close(total, variables["output"].scores, atol=1e-5, rtol=0)
    assert "avoid 1" in capsys.readouterr().out
    spec = {}
    exec(compile((tmp_path / NAME / "handler.py").read_text(), "handler.py", "exec"), spec)
    request = {"history": [1, 2], "preference": "Search for red tea", "avoid": "soap", "strength": 2}
    items = spec["EndpointHandler"](NAME)({"inputs": request, "parameters": {"k": 9, "return_terms": True}})
    assert not any("soap" in item["title"] for item in items)
    assert all(sum(item["terms"].values()) == pytest.approx(item["score"], abs=1e-4) for item in items)


def test_a_folder_whose_weights_differ_from_the_training_s_is_not_sent(trained, tmp_path, monkeypatch, capsys):
    stage = staging.stage_recommender

    def spoil(source, target, benchmark):
        stage(source, target, benchmark)
        weights = load_file(target / "model.safetensors")
        weights["projection.weight"] += 1
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(staging, "stage_recommender", spoil)
    monkeypatch.setattr(staging, "find_report", lambda arguments, results: None)
    assert publish(trained, tmp_path / "out") == 1
    assert "nothing was sent" in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_code_that_loading_does_not_use_is_not_sent(trained, tmp_path, monkeypatch, capsys):
    stage = staging.stage_recommender

    def add(source, target, benchmark):
        stage(source, target, benchmark)
        (target / "left_over.py").write_text("")

    monkeypatch.setattr(staging, "stage_recommender", add)
    monkeypatch.setattr(staging, "find_report", lambda arguments, results: None)
    assert publish(trained, tmp_path / "out") == 1
    assert "left_over.py" in error_of(capsys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "tiger"}, "the results are of 'tiger' and the model is 'mender_emb'"),
        ({"weights_sha256": "0" * 64}, "measured on other weights"),
    ],
)
def test_results_of_another_model_are_refused(trained, tmp_path, capsys, changes, message):
    path = tmp_path / "results.json"
    benchmark = {"name": "nowhere", "fingerprints": {}}
    path.write_text(json.dumps(results_of(trained, **changes, benchmark=benchmark)))
    assert publish(trained, tmp_path / "out", "--results", str(path)) == 1
    assert message in error_of(capsys)


def test_results_of_other_rows_than_the_benchmark_s_are_refused(trained):
    class Report:
        domain = "toy"
        fingerprints = {"toy_fine": "b" * 32, "toy_coarse": "c" * 32}

    content = results_of(trained)
    content["benchmark"]["fingerprints"]["toy_coarse"] = "c" * 32
    results = Results.from_json(content, "results.json")
    with pytest.raises(ValueError, match="other rows of toy_fine than"):
        staging.check_results(trained, results, Report())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "is no folder"),
        (lambda folder: folder, "has no config.json"),
    ],
)
def test_a_folder_that_is_none_of_the_kinds_is_refused(tmp_path, capsys, make, message):
    assert publish(make(tmp_path), tmp_path / "out") == 1
    assert message in error_of(capsys)


@pytest.mark.parametrize("words", [["--repo_id", "toy"], ["--create_pr", "--revision", "next"]])
def test_where_it_cannot_go_is_said(tmp_path, capsys, words, monkeypatch):
    monkeypatch.setattr(staging, "publish_recommender", lambda arguments, staged: None)
    (tmp_path / "config.json").write_text("{}")
    assert publish(tmp_path, tmp_path / "out", *words) == 1
    assert "org/name" in error_of(capsys) if "toy" in words else "branch" in error_of(capsys)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A folder of training with LoRA, and what would be sent; its text encoder has a name as on the Hub."""
    folder = tmp_path_factory.mktemp("lora")
    save_text_encoder("bert", folder / "org")
    with contextlib.chdir(folder):  # where `org/bert` stands for the repository
        train_tiny("mender_tok", folder, text_encoder="org/bert", lora_rank=2, save_adapter=True)
        assert publish(folder / "adapter", folder / NAME) == 0
    return folder, folder / NAME


class TestAdapter:
    @pytest.fixture(autouse=True)
    def beside_its_text_encoder(self, adapter, monkeypatch):
        monkeypatch.chdir(adapter[0])

    def test_its_repository_holds_what_a_model_is_built_anew_from(self, adapter):
        assert {path.name for path in adapter[1].iterdir()} >= {
            "adapter_config.json", "adapter_model.safetensors", "semantic_ids.parquet", "items.jsonl", "README.md",
            "training_arguments.yaml", "tokenizer.json",
        }  # fmt: skip

    def test_built_anew_it_recommends_as_the_merged_model(self, adapter):
        folder, output = adapter
        (merged, processor), (adapted, _) = load_recommender(folder / "model"), load_adapted(output)
        inputs = processor(history=[[2, 7, 9]], preference=["search for blue tea"])
        expected, found = merged.recommend(**inputs, k=12), adapted.recommend(**inputs, k=12)
        assert torch.equal(expected.items, found.items)
        torch.testing.assert_close(expected.scores, found.scores, atol=1e-5, rtol=1e-5)

    def test_the_code_of_its_card_runs(self, adapter, capsys):
        text = (adapter[1] / "README.md").read_text()
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert len(blocks) == 1
        exec(compile(blocks[0], "README.md", "exec"), {})
        assert len(ast.literal_eval(capsys.readouterr().out)) == 5  # titles

    def test_its_card_is_peft_s(self, adapter):
        data = ModelCard.load(adapter[1] / "README.md").data
        assert data["library_name"] == "peft" and "lora" in data.tags

    def test_an_adapter_of_a_text_encoder_that_nobody_else_has_is_refused(self, tmp_path, capsys):
        train_tiny("mender_tok", tmp_path, lora_rank=2, save_adapter=True)
        assert publish(tmp_path / "adapter", tmp_path / "out") == 1
        assert "is a local folder" in error_of(capsys)

    def test_without_its_merged_model_it_is_refused(self, adapter, tmp_path, capsys):
        (tmp_path / "adapter").mkdir()
        (tmp_path / "adapter/adapter_config.json").write_text("{}")
        assert publish(tmp_path / "adapter", tmp_path / "out") == 1
        assert "beside its merged model" in error_of(capsys)

    @pytest.mark.parametrize("with_manifest", [True, False])
    @pytest.mark.parametrize(
        ("name", "damage"),
        [
            ("items.jsonl", lambda content: content.splitlines(keepends=True)[0]),
            ("semantic_ids.parquet", lambda content: content[:-9]),
            ("adapter_model.safetensors", lambda content: content[:-9]),
            ("adapter_model.safetensors", lambda content: b""),
            ("adapter_config.json", lambda content: b"{"),
            ("training_arguments.yaml", lambda content: content + b"method: [1]\n"),
            ("training_arguments.yaml", lambda content: b""),
        ],
    )
    def test_a_damaged_repository_is_refused(self, adapter, tmp_path, name, damage, with_manifest):
        copy = shutil.copytree(adapter[1], tmp_path / "copy")
        (copy / name).write_bytes(damage((copy / name).read_bytes()))
        if not with_manifest:
            (copy / "manifest.json").unlink()
        with pytest.raises((ValueError, OSError), match=name):
            load_adapted(copy)

    @pytest.mark.parametrize("change", ["lost", "surplus", "nan"])
    def test_weights_that_are_not_those_of_the_model_are_refused(self, adapter, tmp_path, change):
        copy = shutil.copytree(adapter[1], tmp_path / "copy")
        (copy / "manifest.json").unlink()
        weights = load_file(copy / "adapter_model.safetensors")
        name = next(iter(weights))
        if change == "lost":
            weights.pop(name)
        elif change == "surplus":
            weights["surplus"] = weights[name]
        else:
            weights[name] = np.full_like(weights[name], np.nan)
        save_file(weights, copy / "adapter_model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match="surplus" if change == "surplus" else re.escape(name)):
            load_adapted(copy)

    def test_an_incomplete_repository_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="has no training_arguments.yaml"):
            load_adapted(tmp_path)


@pytest.fixture(scope="module")
def quantizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    torch.manual_seed(0)
    model = RQVAEModel(RQVAEConfig(embedding_size=8, hidden_sizes=[8, 4], num_codebooks=2, codebook_size=4)).eval()
    model.save_pretrained(folder / "rqvae")
    embeddings = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)
    save_file({"item_embeddings": embeddings}, folder / "item_embeddings.safetensors")
    codes = pa.array(catalogue().codes.tolist(), pa.list_(pa.int32()))
    pq.write_table(pa.table({"item_id": range(1, 13), "codes": codes}), folder / "semantic_ids.parquet")
    report = {"num_items": 12, "coverage": [1.0, 0.5], "num_distinct": 11, "seconds": {},
              "settings": {"embedding_model": "minilm", "domain": "toy", "output_dir": str(folder)}}  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))
    output = folder / NAME
    assert publish(folder, output) == 0
    return folder, output


class TestRQVAE:
    def test_it_has_a_repository_of_its_own(self, quantizer):
        assert {path.name for path in quantizer[1].iterdir()} == {
            "config.json", "model.safetensors", "modeling_rqvae.py", "configuration_rqvae.py", "semantic_ids.parquet",
            "report.json", "README.md", "manifest.json", "manifest.py", "checked_loading.py",
            "configuration_checks.py", "atomic_write.py",
        }  # fmt: skip
        assert str(quantizer[0]) not in (quantizer[1] / "report.json").read_text()

    def test_the_code_of_its_card_runs(self, quantizer, monkeypatch, capsys):
        monkeypatch.chdir(quantizer[0])
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: str(Path(name) / file))
        text = (quantizer[1] / "README.md").read_text()
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert len(blocks) == 2
        for block in blocks:
            exec(compile(block, "README.md", "exec"), {})
        assert "item_id" in capsys.readouterr().out
        assert "| coverage | 1, 0.5 |" in text

    def test_it_loads_and_encodes_as_before(self, quantizer):
        embeddings = torch.randn(3, 8)
        before, after = AutoModel.from_pretrained(quantizer[0] / "rqvae"), AutoModel.from_pretrained(quantizer[1])
        assert torch.equal(before.eval().encode(embeddings), after.eval().encode(embeddings))
