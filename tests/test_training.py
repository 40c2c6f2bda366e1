"""Arguments, batches and the loop: what a run writes, how it stops, and that a continued run equals an unbroken
one."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_models import TITLES, build
from transformers import AutoModel, AutoProcessor

from modeling_mender.training import loop
from modeling_mender.training.arguments import TrainingArguments, parse_arguments, read_recipe
from modeling_mender.training.collators import EmbeddingCollator, Example, Request, TextCollator, group_prefixes
from modeling_mender.training.loop import TrainingRows, checkpoints, train
from modeling_mender.training.lora import add_lora, merged_state_dict
from modeling_mender.training.methods import METHODS, get_method

REQUIRED = {"benchmark": "b", "domain": "d", "semantic_ids": "s"}
# twelve users, each asking for the item that follows their one past item
REQUESTS = [Request((1 + i % 12,), (f"search for {TITLES[(i + 1) % 12]}",)) for i in range(12)] * 4
TARGETS = [1 + (i + 1) % 12 for i in range(12)] * 4
EXAMPLES = [Example(request, target) for request, target in zip(REQUESTS, TARGETS, strict=True)]


def arguments(tmp_path, **changes):
    settings = {
        "output_dir": str(tmp_path / "run"), "max_steps": 12, "warmup_steps": 2, "per_device_train_batch_size": 8,
        "eval_steps": 4, "learning_rate": 1e-3, "method": "mender_emb", **REQUIRED,
    }  # fmt: skip
    return TrainingArguments(**(settings | changes))


def run(tmp_path, variant="emb", validate=None, preference_dropout=0.0, **changes):
    """Trains the toy model; returns its state and model."""
    AcceleratorState._reset_state(reset_partial_state=True)
    options = arguments(tmp_path, method=f"mender_{variant}", preference_dropout=preference_dropout, **changes)
    model, processor = build(variant, "bert", tmp_path, dropout_rate=options.dropout_rate)
    collator = get_method(options.method).collator_class(
        processor, model, [t for r in REQUESTS for t in r.preferences]
    )
    rows = TrainingRows(EXAMPLES, collator.group(EXAMPLES), options.preference_dropout, options.seed)
    scores = iter(range(1000))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=options.gradient_accumulation_steps)
    state = train(model, processor, collator, rows, validate or (lambda _: next(scores) / 1000), options, accelerator)
    return state, accelerator.unwrap_model(model)


@pytest.mark.parametrize("variant", ["emb", "tok"])
def test_a_run_leaves_a_model_that_loads_and_says_how_it_was_made(tmp_path, variant):
    state, model = run(tmp_path, variant)
    folder = tmp_path / "run" / "model"
    assert state.step == 12
    assert [entry["step"] for entry in state.history] == [4, 8, 12]
    loaded, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    inputs = processor(history=[[1]], preference=["search for red tea"])
    assert loaded.recommend(**inputs, k=3).items.tolist() == model.eval().recommend(**inputs, k=3).items.tolist()
    assert yaml.safe_load((folder / "training_arguments.yaml").read_text())["max_steps"] == 12
    assert json.loads((folder / "training_state.json").read_text())["best_step"] == 12
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "model"]


def test_training_lowers_the_loss(tmp_path):
    model, processor = build("emb", "bert", tmp_path)
    collator = EmbeddingCollator(processor, model, [t for r in REQUESTS for t in r.preferences])
    inputs, labels = collator(REQUESTS[:12]), model.item_labels(torch.tensor(TARGETS[:12]))

    def loss(candidate):
        with torch.no_grad():
            return candidate.eval()(**inputs, labels=labels).loss.item()

    before = loss(model)
    _, trained = run(tmp_path, max_steps=60, eval_steps=30)
    assert loss(trained) < 0.7 * before


def test_the_best_model_is_kept_and_training_stops_when_validation_no_longer_gains(tmp_path):
    scores = iter([0.1, 0.3, 0.2, 0.2, 0.2])
    state, _ = run(tmp_path, validate=lambda _: next(scores), max_steps=100, early_stopping_patience=2)
    assert state.step == 16
    assert state.best_step == 8
    assert json.loads((tmp_path / "run/model/training_state.json").read_text())["step"] == 8


@pytest.mark.parametrize("variant", ["emb", "tok"])
def test_a_continued_run_equals_an_unbroken_one_bit_for_bit_mid_epoch_too(tmp_path, variant):
    class Interrupted(Exception):
        pass

    def stop_late(_):
        if stop_late.calls == 2:
            raise Interrupted
        stop_late.calls += 1
        return stop_late.calls / 10

    stop_late.calls = 0
    settings = {"preference_dropout": 0.3, "eval_steps": 4, "max_steps": 12}  # 6 steps an epoch
    _, unbroken = run(tmp_path / "unbroken", variant, **settings)
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", variant, validate=stop_late, **settings)
    assert [path.name for path in checkpoints(tmp_path / "broken/run")] == ["step_8"]
    torch.manual_seed(123)  # whatever happened in between
    state, continued = run(tmp_path / "broken", variant, **settings)
    assert state.step == 12
    for (name, expected), (_, found) in zip(unbroken.named_parameters(), continued.named_parameters(), strict=True):
        assert torch.equal(expected, found), name


def test_continuing_with_other_arguments_is_refused_by_name(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate 0.001 -> 0.002"):
        run(tmp_path, learning_rate=2e-3)


def test_starting_anew_forgets_old_checkpoints(tmp_path):
    run(tmp_path)
    state, _ = run(tmp_path, resume=False, max_steps=4)
    assert state.step == 4
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_4"]


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run(tmp_path, save_total_limit=2, save_steps=3)
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_9", "step_12"]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, monkeypatch):
    run(tmp_path, max_steps=4)
    kept = (tmp_path / "run/model/model.safetensors").read_bytes()
    monkeypatch.setattr(loop._Run, "_resume", lambda self: None)
    original = loop._Run._forward_backward

    def spoil(self, batch):
        if self.state.step == 2:
            with torch.no_grad():
                self.accelerator.unwrap_model(self.model).projection.weight.fill_(float("nan"))
        return original(self, batch)

    monkeypatch.setattr(loop._Run, "_forward_backward", spoil)
    with pytest.raises(FloatingPointError, match="at step 3.*learning_rate"):
        run(tmp_path, max_steps=4)
    assert (tmp_path / "run/model/model.safetensors").read_bytes() == kept


def test_accumulated_gradients_equal_one_large_batch(tmp_path):
    settings = {"max_steps": 1, "warmup_steps": 0, "dropout_rate": 0.0}
    _, large = run(tmp_path / "a", per_device_train_batch_size=48, **settings)
    _, small = run(tmp_path / "b", per_device_train_batch_size=12, gradient_accumulation_steps=4, **settings)
    differences = torch.cat([
        (one - other).abs().flatten()
        for one, other in zip(large.parameters(), small.parameters(), strict=True) if one.requires_grad
    ])  # fmt: skip
    # Adam's first step is learning_rate * sign(gradient): a gradient of rounding noise alone may take either sign
    assert (differences > 1e-5).float().mean() < 0.01


def test_preference_dropout_spares_rows_without_history_and_repeats_itself():
    examples = [Example(Request((1,), ("red",)), 1), Example(Request((), ("red",)), 1)] * 200
    rows = TrainingRows(examples, [[i] for i in range(400)], preference_dropout=0.5, seed=0)
    first = [rows[i][0].request.preferences for i in range(400)]
    assert all(first[1::2])
    assert 60 < sum(not texts for texts in first[::2]) < 140
    rows.drop_preferences(1)
    assert [rows[i][0].request.preferences for i in range(400)] != first
    rows.drop_preferences(0)
    assert [rows[i][0].request.preferences for i in range(400)] == first


def test_no_rows_is_an_error_and_not_an_endless_loop():
    with pytest.raises(ValueError, match="0 training rows"):
        TrainingRows([], [], 0.0, 0)


def test_grouped_examples_are_all_there_and_every_history_is_a_prefix_of_the_last_one():
    histories = [(1, 2), (1,), (7, 7), (), (1, 2, 3), (1, 9), (1, 2), (7,), ()]
    examples = [Example(Request(history, ()), 5) for history in histories]
    groups = group_prefixes(examples)
    assert sorted(number for group in groups for number in group) == list(range(len(examples)))
    for group in groups:
        longest = histories[group[-1]]
        assert all(histories[number] == longest[: len(histories[number])] for number in group)
    assert sorted(map(sorted, groups)) == [[0, 1, 4, 6], [2, 7], [3], [5], [8]]


@pytest.mark.parametrize(("variant", "collator_class"), [("emb", EmbeddingCollator), ("tok", TextCollator)])
def test_a_collator_reads_a_request_exactly_as_the_processor_does(tmp_path, variant, collator_class):
    model, processor = build(variant, "bert", tmp_path)
    requests = [
        Request((1, 5), ("search for red tea",)),
        Request((2,), ()),
        Request((), ("avoid blue mug", "green lamp")),
    ]
    collator = collator_class(processor, model, [text for request in requests for text in request.preferences])
    theirs = processor(
        history=[list(request.history) for request in requests],
        preference=[list(request.preferences) or None for request in requests],
    )
    found, expected = model.recommend(**collator(requests), k=12), model.recommend(**theirs, k=12)
    assert found.items.tolist() == expected.items.tolist()
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


class TestLora:
    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_only_adapters_of_the_text_encoder_train_and_merging_gives_plain_weights(self, tmp_path, family):
        pytest.importorskip("peft")
        model, processor = build("tok", family, tmp_path)
        plain = set(model.state_dict())
        assert add_lora(model, rank=2, alpha=1) > 0
        trainable = {name for name, weight in model.text_encoder.named_parameters() if weight.requires_grad}
        assert trainable
        assert all(".lora_" in name for name in trainable)
        inputs = processor(history=[[1, 2]], preference=["search for red tea"])
        model.train()
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
        for _ in range(3):
            model(**inputs, labels=model.item_labels(torch.tensor([3]))).loss.backward()
            optimizer.step()
        expected = model.eval().encode(**inputs).last_hidden_state
        with merged_state_dict(model) as merged:
            assert set(merged) == plain
            reloaded, _ = build("tok", family, tmp_path)
            before = reloaded.text_encoder.state_dict()
            assert any(not torch.equal(merged[f"text_encoder.{name}"], value) for name, value in before.items())
            reloaded.load_state_dict(merged)
        torch.testing.assert_close(reloaded.encode(**inputs).last_hidden_state, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.encode(**inputs).last_hidden_state, expected, atol=1e-5, rtol=1e-4)

    def test_a_run_with_lora_saves_a_model_that_needs_no_peft(self, tmp_path, monkeypatch):
        pytest.importorskip("peft")
        original = loop.train
        monkeypatch.setitem(
            globals(), "train", lambda model, *rest: (add_lora(model, 2, 1), original(model, *rest))[1]
        )
        _, model = run(tmp_path, "tok")
        loaded = AutoModel.from_pretrained(tmp_path / "run/model")
        assert not any("lora" in name for name in loaded.state_dict())
        inputs = AutoProcessor.from_pretrained(tmp_path / "run/model")(history=[[1, 2]], preference=["red tea"])
        found, expected = loaded.recommend(**inputs, k=5), model.eval().recommend(**inputs, k=5)
        assert found.items.tolist() == expected.items.tolist()

    def test_embeddings_computed_ahead_cannot_be_tuned(self, tmp_path):
        pytest.importorskip("peft")
        model, _ = build("emb", "bert", tmp_path)
        with pytest.raises(ValueError, match="lora_rank"):
            add_lora(model, rank=2, alpha=1)


class TestRecipes:
    def test_every_recipe_is_valid_and_names_a_method(self, project):
        recipes = sorted((project / "scripts/recipes").rglob("*.yaml"))
        assert recipes
        for recipe in recipes:
            options = parse_arguments([str(recipe), "--output_dir", "x", "--benchmark", "b", "--semantic_ids", "s"])
            assert options.method in METHODS
            assert recipe.parent.name == options.method

    def test_the_command_line_overrides_a_recipe_and_a_recipe_the_defaults(self, tmp_path):
        recipe = tmp_path / "r.yaml"
        recipe.write_text(
            "benchmark: b\ndomain: d\nsemantic_ids: s\noutput_dir: o\nlearning_rate: 1e-3\nmax_steps: 20000\n"
        )
        options = parse_arguments([str(recipe), "--max_steps", "30000"])
        assert (options.learning_rate, options.max_steps, options.weight_decay) == (1e-3, 30_000, 0.035)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("leraning_rate: 1", "unknown key"),
            ("weight_decay: 0.035", "its default"),
            ("- 1", "must be a mapping"),
            ("a: [", "not valid YAML"),
        ],
    )
    def test_a_bad_recipe_is_refused_by_name(self, tmp_path, text, words):
        (tmp_path / "r.yaml").write_text(text)
        with pytest.raises(ValueError, match=words):
            read_recipe(tmp_path / "r.yaml")

    def test_an_unknown_argument_is_refused_by_name(self):
        words = [
            "--benchmark",
            "b",
            "--domain",
            "d",
            "--semantic_ids",
            "s",
            "--output_dir",
            "o",
            "--leraning_rate",
            "1",
        ]
        with pytest.raises(ValueError, match="unknown argument.*--leraning_rate 1"):
            parse_arguments(words)

    def test_a_missing_recipe_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
            parse_arguments([str(tmp_path / "nowhere.yaml")])

    @pytest.mark.parametrize(
        "change",
        [
            {"max_steps": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"preference_dropout": 1.0},
            {"warmup_steps": 12}, {"eval_steps": -1}, {"num_beams": 0},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_value_out_of_range_is_refused_by_name(self, tmp_path, change):
        with pytest.raises(ValueError, match=next(iter(change))):
            arguments(tmp_path, **change)

    def test_an_unknown_method_names_those_that_exist(self):
        with pytest.raises(ValueError, match="mender_tok, mender_emb"):
            get_method("tigger")


TWO_PROCESSES = """
import sys
sys.path[:0] = [{tests!r}, {project!r}]
from pathlib import Path
from accelerate import Accelerator
import test_training as t
from modeling_mender.training.loop import TrainingRows, train
from modeling_mender.evaluation.ranking import rank
accelerator = Accelerator()
assert accelerator.num_processes == 2, accelerator.num_processes
options = t.arguments(Path({folder!r}))
with accelerator.main_process_first():  # save_pretrained writes on the main process alone
    model, processor = t.build("emb", "bert", Path({folder!r}))
collator = t.EmbeddingCollator(processor, model, [x for r in t.REQUESTS for x in r.preferences])
rows = TrainingRows(t.EXAMPLES, collator.group(t.EXAMPLES), 0.0, 0)
def validate(candidate):
    found = rank(candidate, collator, t.REQUESTS, k=3, batch_size=5, accelerator=accelerator).items
    alone = rank(candidate, collator, t.REQUESTS, k=3, batch_size=5).items
    assert found == alone and all(len(row) == 3 for row in found)
    return 0.5
state = train(model, processor, collator, rows, validate, options, accelerator)
accelerator.wait_for_everyone()
(Path({folder!r}) / f"process_{{accelerator.process_index}}").write_text(f"steps {{state.step}} epoch {{state.epoch}}")
"""


def test_two_processes_share_the_rows_and_rank_alike(tmp_path, project):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(tests=str(project / "tests"), project=str(project), folder=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    for process in range(2):  # 48 rows, 2 x 8 a step: 3 steps an epoch, the fourth epoch is number 3
        assert (tmp_path / f"process_{process}").read_text() == "steps 12 epoch 3"
    assert AutoModel.from_pretrained(tmp_path / "run/model") is not None


def test_defaults_are_the_papers():
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    expected = {
        "learning_rate": 3e-4, "weight_decay": 0.035, "max_grad_norm": 1.0, "warmup_steps": 10_000,
        "max_steps": 200_000, "per_device_train_batch_size": 64, "num_decoder_layers": 6,
        "d_model": 128, "d_ff": 1024, "dropout_rate": 0.2,
        "early_stopping_patience": 15, "preference_dropout": 0.0, "text_encoder": "google/flan-t5-small",
    }  # fmt: skip
    assert {name: defaults[name] for name in expected} == expected
