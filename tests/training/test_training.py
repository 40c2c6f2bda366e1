"""Arguments, batches and the loop: what a run writes, how it stops, and that a continued run equals an unbroken
one."""

import json
import os
import shutil
import time

import benchmark_training
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_file
from tiny_models import TITLES, build
from tiny_training import EXAMPLES, REQUESTS, TARGETS, arguments, run
from torch._inductor import config as inductor
from transformers import AutoModel, AutoProcessor

from modeling_mender.data.collators import EmbeddingCollator, TextCollator, group_positions
from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.steer import SteerCollator
from modeling_mender.methods.table import get_method
from modeling_mender.training import loop
from modeling_mender.training.arguments import every_option
from modeling_mender.training.checkpoints import checkpoints
from modeling_mender.training.loop import TrainingRows
from modeling_mender.training.lora import add_lora, merged_state_dict
from modeling_mender.training.progress import count_tokens
from modeling_mender.training.recipes import parse_arguments
from modeling_mender.training.stopping import TooLittleMemory, compilation


def assert_same_weights(one, other):
    for (name, expected), (_, found) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(expected, found), name


@pytest.mark.parametrize("variant", ["emb", "tok", "steer"])
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


@pytest.mark.parametrize("before", [True, False])
def test_attention_leaves_cudnn_out_while_a_model_trains(tmp_path, before):
    torch.backends.cuda.enable_cudnn_sdp(before)
    try:
        used = []
        run(tmp_path, validate=lambda _: used.append(torch.backends.cuda.cudnn_sdp_enabled()) or 1.0)
        assert used == [False, False, False]
        assert torch.backends.cuda.cudnn_sdp_enabled() == before
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


# twelve users at two positions each: one row for both where a history is causal
SEQUENCES = [
    Example(Request(history, (f"search for {TITLES[(i + len(history)) % 12]}",)), 1 + (i + len(history)) % 12)
    for i in range(12)
    for history in ((1 + i,), (1 + i, 1 + (i + 1) % 12))
]
REFUSALS = [
    Example(Request(tuple(1 + (i + j) % 12 for j in range(3)), (f"avoid {TITLES[i]}",)), 1 + i, is_negative=True)
    for i in range(12)
]


GROUPED = {"examples": SEQUENCES, "config": {"num_encoder_layers": 1}, "per_device_train_batch_size": 4}


class Interruption(Exception):
    """What ends a run in the middle of a validation."""


@pytest.mark.parametrize(
    ("variant", "settings"),
    [
        ("emb", {}),
        ("tok", {}),
        ("emb", GROUPED),
        ("emb", GROUPED | {"examples": SEQUENCES + REFUSALS}),
        ("tok", {"examples": EXAMPLES + REFUSALS}),
        ("emb", {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}),
        ("tok", {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2, "examples": EXAMPLES + REFUSALS}),
        ("steer", {"examples": SEQUENCES, "per_device_train_batch_size": 4}),
        ("steer", {"examples": SEQUENCES, "per_device_train_batch_size": 4, "config": {"use_decoder": True}}),
    ],
    ids=[
        "emb",
        "tok",
        "grouped",
        "grouped, negatives",
        "negatives",
        "accumulation",
        "accumulation, negatives",
        "steer",
        "steer, decoder",
    ],
)
def test_a_continued_run_equals_an_unbroken_one_bit_for_bit_mid_epoch_too(tmp_path, variant, settings):
    calls = iter(range(1000))

    def stop_late(_):
        if (call := next(calls)) == 2:
            raise Interruption
        return call / 10

    settings = {
        "preference_dropout": 0.3,
        "eval_steps": 4,
        "max_steps": 12,
        **settings,
    }  # 6 steps an epoch, or 3, or 12
    expected_state, unbroken = run(tmp_path / "unbroken", variant, **settings)
    with pytest.raises(Interruption):
        run(tmp_path / "broken", variant, validate=stop_late, **settings)
    assert [path.name for path in checkpoints(tmp_path / "broken/run")] == ["step_4", "step_8"]
    assert json.loads((tmp_path / "broken/run/checkpoints/step_8/training_state.json").read_text())["steps_in_epoch"]
    torch.manual_seed(123)  # whatever happened in between
    state, continued = run(tmp_path / "broken", variant, **settings)
    assert (state.step, state.examples) == (12, expected_state.examples)
    assert_same_weights(unbroken, continued)


def test_a_row_of_a_group_holds_several_examples():
    positions = [(example.request.history, example.target) for example in SEQUENCES]
    assert sorted(map(len, group_positions(positions))) == [2] * 12


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
    monkeypatch.setattr(loop.Checkpoints, "resume", lambda *_: None)
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


def test_gradients_that_are_not_finite_stop_the_run_before_they_reach_a_weight(tmp_path, monkeypatch):
    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(context, loss):
            return loss.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * torch.inf

    kept = {}
    objective = loop.Objective.__call__

    def spoil(self, outputs, labels, negatives=None):
        loss = objective(self, outputs, labels, negatives)
        spoil.calls += 1
        return Overflow.apply(loss) if spoil.calls == 6 else loss

    spoil.calls = 0
    monkeypatch.setattr(loop.Objective, "__call__", spoil)
    with pytest.raises(FloatingPointError, match="norm of the gradients is (inf|nan) at step 6.*learning_rate"):
        run(tmp_path, change=lambda model: kept.update(model=model))
    assert all(weight.isfinite().all() for weight in kept["model"].parameters())
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_4"]
    assert AutoModel.from_pretrained(tmp_path / "run/model") is not None


def test_a_bad_pass_among_several_of_a_step_stops_the_run_too(tmp_path, monkeypatch):
    objective = loop.Objective.__call__

    def spoil(self, outputs, labels, negatives=None):
        spoil.calls += 1
        return objective(self, outputs, labels, negatives) * (float("nan") if spoil.calls == 5 else 1.0)

    spoil.calls = 0
    monkeypatch.setattr(loop.Objective, "__call__", spoil)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 2"):
        run(tmp_path, gradient_accumulation_steps=4, per_device_train_batch_size=2)


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


def test_batches_divided_for_memory_continue_a_run_with_the_same_rows_a_step(tmp_path, monkeypatch):
    seen = []
    training_batch = EmbeddingCollator.training_batch

    def record(self, rows):
        seen.append([id(example) for row in rows for example in row])
        return training_batch(self, rows)

    monkeypatch.setattr(EmbeddingCollator, "training_batch", record)
    large, small = (
        {"per_device_train_batch_size": 8},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    )
    run(tmp_path / "a", max_steps=6, **large)
    together, seen[:] = [sorted(batch) for batch in seen], []
    run(tmp_path / "b", max_steps=6, **small)
    assert [sorted(one + other) for one, other in zip(seen[::2], seen[1::2], strict=True)] == together
    state, _ = run(tmp_path / "a", max_steps=6, **small)
    assert state.step == 6
    with pytest.raises(ValueError, match="per_device_train_batch_size 8 -> 4"):
        run(tmp_path / "a", max_steps=6, per_device_train_batch_size=4)


def test_bf16_on_the_cpu_learns_like_full_precision(tmp_path):
    settings = {"max_steps": 6, "warmup_steps": 0, "dropout_rate": 0.0, "logging_steps": 1}
    losses = {}
    for precision in ("no", "bf16"):
        tracker = Recorder()
        _, model = run(tmp_path / precision, precision=precision, tracker=tracker, **settings)
        losses[precision] = torch.tensor([line["loss"] for line in tracker.lines if "loss" in line])
        assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in model.parameters())
    assert not torch.equal(losses["no"], losses["bf16"])
    torch.testing.assert_close(losses["no"], losses["bf16"], rtol=0.02, atol=0)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_gradient_checkpointing_gives_the_same_gradients(tmp_path, family):
    gradients = []
    for checkpointing in (False, True):
        model, processor = build("tok", family, tmp_path, dropout_rate=0.3)
        model.text_encoder.requires_grad_(True)
        model.text_encoder_is_frozen = False
        collator = TextCollator(processor, model, [])
        run = loop._Run.__new__(loop._Run)
        run.arguments = arguments(tmp_path, gradient_checkpointing=checkpointing)
        run._prepare_forward(model)
        layers = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
        assert bool(layers) == checkpointing
        if checkpointing:  # decoder and text encoder alike
            assert {type(layer).__name__ for layer in layers} >= {
                "T5Block",
                {"bert": "BertLayer"}.get(family, "T5Block"),
            }
        torch.manual_seed(3)  # dropout
        model.train()(**collator.training_batch([[example] for example in EXAMPLES[:6]])).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any(name.startswith("text_encoder") for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_equals_a_plain_one_and_leaves_no_trace_in_names(tmp_path, monkeypatch):
    compiled_with = []
    compile_module = torch.nn.Module.compile

    def remember(self, **options):
        compiled_with.append(options)
        compile_module(self, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", remember)
    settings = {"dropout_rate": 0.0, "max_steps": 2, "eval_steps": 2, "warmup_steps": 0}
    _, plain = run(tmp_path / "plain", **settings)
    _, compiled = run(tmp_path / "compiled", torch_compile=True, **settings)
    assert compiled_with == [{"dynamic": True}]
    for (name, expected), (_, found) in zip(plain.named_parameters(), compiled.named_parameters(), strict=True):
        # an optimizer step this early is learning_rate * sign(gradient), and rounding may choose the sign of noise
        assert ((expected - found).abs() > 1e-5).float().mean() < 0.01, name
    saved = load_file(tmp_path / "compiled/run/model/model.safetensors")
    assert set(saved) == set(load_file(tmp_path / "plain/run/model/model.safetensors"))
    assert not any("_orig_mod" in name for name in saved)


def test_a_missing_compiler_is_named_in_one_line(monkeypatch):
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "/nowhere/g++"))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    compiled = torch.compile(lambda values: (values + 1).exp())
    words = "torch_compile failed .*/nowhere/g.*torch_compile to false"
    with pytest.raises(ValueError, match=words) as caught, compilation():
        compiled(torch.ones(3))
    assert "\n" not in str(caught.value)


class Recorder(GeneralTracker):
    """A tracker that keeps its lines."""

    name, requires_logging_directory = "recorder", False

    def __init__(self):
        super().__init__()
        self.lines = []

    @property
    def tracker(self):
        return self.lines

    def store_init_configuration(self, values):
        pass

    def log(self, values, step=None, **kwargs):
        self.lines.append({"step": step, **values})


class TestProgress:
    def test_trackers_get_loss_rate_norm_and_speed(self, tmp_path):
        tracker = Recorder()
        run(tmp_path, tracker=tracker, logging_steps=3)
        lines = [line for line in tracker.lines if "loss" in line]
        assert [line["step"] for line in lines] == [3, 6, 9, 12]
        assert [line["epoch"] for line in lines] == [0.5, 1.0, 1.5, 2.0]  # 6 steps an epoch
        for line in lines:
            assert line["grad_norm"] > 0
            # an item, a preference and three codes each
            assert line["tokens_per_second"] == pytest.approx(5 * line["examples_per_second"])
        assert [line["step"] for line in tracker.lines if "validation_ndcg@10" in line] == [4, 8, 12]

    def test_the_loss_of_a_line_is_the_mean_since_the_last_one(self, tmp_path):
        fine, coarse = Recorder(), Recorder()
        run(tmp_path / "fine", tracker=fine, logging_steps=1)
        run(tmp_path / "coarse", tracker=coarse, logging_steps=6)
        single = [line["loss"] for line in fine.lines if "loss" in line]
        means = [line["loss"] for line in coarse.lines if "loss" in line]
        assert means == pytest.approx([sum(single[:6]) / 6, sum(single[6:]) / 6])

    def test_the_bar_shows_what_is_counted_and_the_time_left(self, tmp_path, capsys):
        run(tmp_path, logging_steps=4)
        shown = capsys.readouterr().err
        for words in ("loss=", "tokens/s=", "examples/s=", "left=", "best_ndcg="):
            assert words in shown

    def test_padding_is_no_token(self):
        batch = {
            "attention_mask": torch.tensor([[0, 1, 1], [1, 1, 1]]),
            "labels": torch.tensor([[4, 9], [-100, -100]]),
        }
        assert count_tokens(batch) == 5 + 2
        assert count_tokens({"labels": batch["labels"]}) == 2

    def test_time_is_kept_over_continuations_and_validation_apart(self, tmp_path):
        def slowly(_):
            time.sleep(0.2)
            return 0.1

        first, _ = run(tmp_path, validate=slowly, max_steps=8)
        assert first.validation_seconds > 0.4
        assert 0 < first.seconds < first.validation_seconds + 10
        before = json.loads((tmp_path / "run/checkpoints/step_8/training_state.json").read_text())
        assert before["examples"] == 64
        again, _ = run(tmp_path, validate=slowly, max_steps=8)
        assert (again.examples, again.validation_seconds) == (64, before["validation_seconds"])
        kept = json.loads((tmp_path / "run/model/training_state.json").read_text())
        assert {"seconds", "validation_seconds", "examples"} <= set(kept)

    @pytest.mark.parametrize(("name", "pattern"), [("tensorboard", "**/events.out.*"), ("trackio", "**/*.db")])
    def test_a_tracker_that_is_installed_gets_its_files(self, tmp_path, name, pattern, monkeypatch):
        pytest.importorskip(name, reason=f"the tracker {name} is not installed")
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
        run(tmp_path, tracker=name)
        assert list(tmp_path.glob(pattern))


class TestMemory:
    def starve(self, model, error, after=2):
        """Makes the model's forward fail after some calls."""
        forward, calls = model.forward, iter(range(1000))

        def failing(*args, **kwargs):
            if next(calls) >= after:
                raise error
            return forward(*args, **kwargs)

        model.forward = failing

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't allocate memory: you "
                         "tried to allocate 9663676416 bytes. Error code 12 (Cannot allocate memory)"),
            MemoryError(),
        ],
        ids=["CUDA", "CPU", "Python"],
    )  # fmt: skip
    def test_too_little_memory_names_the_batch_and_the_one_to_try(self, tmp_path, error):
        words = (
            r"step 3, with per_device_train_batch_size \(8\) and a batch of .*labels 8 x 3.*"
            "--per_device_train_batch_size 4 --gradient_accumulation_steps 4 .*16 rows"
        )
        with pytest.raises(TooLittleMemory, match=words) as caught:
            run(tmp_path, change=lambda model: self.starve(model, error, after=4), gradient_accumulation_steps=2)
        assert "\n" not in str(caught.value)

    def test_the_batch_to_try_is_divided_without_a_rest(self, tmp_path):
        with pytest.raises(TooLittleMemory, match="batch_size 3 --gradient_accumulation_steps 3 .*9 rows"):
            run(tmp_path, change=lambda model: self.starve(model, MemoryError()), per_device_train_batch_size=9)
        with pytest.raises(TooLittleMemory, match="cannot be smaller.*gradient_checkpointing"):
            run(tmp_path, change=lambda model: self.starve(model, MemoryError()), per_device_train_batch_size=1)

    def test_other_errors_are_not_dressed_up(self, tmp_path):
        with pytest.raises(RuntimeError, match="^shapes differ$"):
            run(tmp_path, change=lambda model: self.starve(model, RuntimeError("shapes differ")))

    def test_too_little_memory_in_validation_names_its_own_batch(self, tmp_path):
        def validate(_):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        with pytest.raises(
            TooLittleMemory, match="validation at step 4, with per_device_eval_batch_size .64.*size 32"
        ):
            run(tmp_path, validate=validate)

    def test_the_advice_can_be_followed(self, tmp_path):
        with pytest.raises(TooLittleMemory):
            run(tmp_path, change=lambda model: self.starve(model, MemoryError(), after=5))
        state, _ = run(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2)
        assert state.step == 12
        assert state.examples == 12 * 8


class TestUnfinishedFiles:
    def test_a_half_written_checkpoint_is_not_continued_from(self, tmp_path):
        run(tmp_path, max_steps=4)
        folder = tmp_path / "run/checkpoints"
        for name in (
            "unfinished",
            "step_8.old",
            ".step_8.abcd1234.tmp/new",
            "../.model.abcd1234.tmp/old",
            "../model.tmp",
        ):
            (folder / name).mkdir(parents=True)
            (folder / name / "model.safetensors").write_bytes(b"half a file")
        assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_4"]
        state, _ = run(tmp_path, max_steps=4)
        assert state.step == 4
        assert [path.name for path in folder.iterdir()] == ["step_4"]
        assert sorted(path.name for path in folder.parent.iterdir()) == ["checkpoints", "model"]

    def test_a_model_that_was_being_replaced_comes_back(self, tmp_path):
        run(tmp_path, max_steps=4)
        (tmp_path / "run/model").rename(tmp_path / "run/model.old")  # killed between two renamings
        run(tmp_path, max_steps=4)
        assert AutoModel.from_pretrained(tmp_path / "run/model") is not None
        assert not (tmp_path / "run/model.old").exists()


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


def test_grouped_positions_are_all_there_and_every_one_is_a_prefix_of_the_last():
    sequences = [(1, 2, 5), (1, 2), (7, 7), (6,), (1, 2, 5, 3), (1, 9), (1, 2, 5), (7, 7, 1), (6,), (1, 2, 4)]
    groups = group_positions([(sequence[:-1], sequence[-1]) for sequence in sequences])
    assert sorted(number for group in groups for number in group) == list(range(len(sequences)))
    for group in groups:
        longest = sequences[group[-1]]
        assert all(sequences[number] == longest[: len(sequences[number])] for number in group)
        assert len({len(sequences[number]) for number in group}) == len(group)
    assert sorted(map(sorted, groups)) == [[0, 1, 4], [2, 7], [3], [5], [6], [8], [9]]


def test_mender_steer_learns_no_negatives_and_says_so(tmp_path):
    with pytest.raises(ValueError, match="cannot learn from negative examples; choose a mixture without them"):
        run(tmp_path, "steer", examples=EXAMPLES + REFUSALS)


@pytest.mark.parametrize(
    ("variant", "collator_class"), [("emb", EmbeddingCollator), ("tok", TextCollator), ("steer", SteerCollator)]
)
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

    def test_a_run_with_lora_saves_a_model_that_needs_no_peft(self, tmp_path):
        pytest.importorskip("peft")
        _, model = run(tmp_path, "tok", change=lambda model: add_lora(model, 2, 1))
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
        model, _ = build("steer", "bert", tmp_path)
        with pytest.raises(ValueError, match=r"lora_rank \(2\) must be 0 for mender_steer"):
            add_lora(model, rank=2, alpha=1)


class TestRecipes:
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
            ("- 1", "must be a mapping"),
            ("a: [", "no YAML"),
            ("seed: 1\nseed: 2", "key 'seed' is set twice"),
            ("learning_rate:", "learning_rate to empty; it must be a number, or leave the key out"),
            ("learning_rate: yes", "learning_rate to True; it must be a number"),
            ("learning_rate: .inf", "inf is no finite number"),
            ("learning_rate: fast", "learning_rate to 'fast'"),
            ("max_steps: 10.5", "max_steps to 10.5; it must be a whole number"),
            ("max_steps: [1]", r"max_steps to \[1\]"),
            ("resume: 1", "resume to 1; it must be true or false"),
            ("domain: 2014", "domain to 2014; it must be text; quote it"),
            ("item_fields: title", "item_fields to 'title'; it must be a list of texts"),
            ("seed: -1", r"seed \(-1\) must not be negative"),
            ("seed: 4294967296", "seed"),
            ("method: " + "[" * 2000, "recipe"),
            ("? {a: 1}\n: 2", "no YAML"),
            ("seed: 18446744073709551616", "at most 4294967295"),
            ("max_steps: 1" + "0" * 290, r"max_steps \(a number of more than 30 digits\) must be at most 4294967295"),
            ("max_steps: 1" + "0" * 5000, "no YAML: a number has 5,001 characters, and the limit is 300"),
            ("learning_rate: 1e400", "learning_rate to '1e400'; it must be a number"),
            ("learning_rate: .nan", "nan is no finite number"),
            ("learning_rate: 0,001", "learning_rate to '0,001'"),
            ("seed: 0x10", "seed to 0x10; write the number in decimal digits"),
            ("seed: 010", "seed to 010; write the number in decimal digits"),
            ("max_steps: 1:30", "max_steps to 1:30; write the number in decimal digits"),
            ("seed: 2014-01-01", r"seed to datetime.date\(2014, 1, 1\); it must be a whole number"),
            ("resume: 'yes'", "resume to 'yes'; it must be true or false"),
            ("a: &a [1]\nb: *a", "alias"),
            ("\tseed: 1", "no YAML"),
            ("seed: 1\n---\nseed: 2", "no YAML"),
            ("", "not empty"),
            ("domain: !!python/object/apply:os.getcwd []", "no YAML"),
            ('domain: "a\\0b"', "without control characters"),
            ("domain: ''", r"domain \(''\) must be a text, not empty"),
            ("#" * 300_001, "more than 300,000 bytes"),
            ("base: ../r", "has the base ../r, which does not exist"),
            ("lr_scheduler_type: reduce_lr_on_plateau", "must be one of linear, cosine"),
            ("method: mender_emb\nnum_encoder_layers: -1", r"num_encoder_layers \(-1\) must not be negative"),
        ],
    )
    def test_a_bad_recipe_is_refused_by_name(self, tmp_path, text, words):
        (tmp_path / "r.yaml").write_text(text)
        needed = ["--benchmark", "b", "--output_dir", "o"] + ([] if text.startswith("domain") else ["--domain", "d"])
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            parse_arguments([str(tmp_path / "r.yaml"), *needed])
        (tmp_path / "training_arguments.yaml").write_text(text)
        if not text.startswith("base"):
            with pytest.raises(ValueError, match=words):
                parse_arguments([str(tmp_path / "training_arguments.yaml"), *needed])

    def test_a_recipe_that_is_not_utf_8_is_refused(self, tmp_path):
        (tmp_path / "r.yaml").write_bytes("domain: süß".encode("latin-1"))
        with pytest.raises(ValueError, match="r.yaml is not UTF-8"):
            parse_arguments([str(tmp_path / "r.yaml")])

    def test_numbers_may_be_written_as_yaml_reads_them_not(self, tmp_path):
        text = "learning_rate: 3e-3\nweight_decay: 0\nmax_steps: 3e4\ncache_dir: null"
        (tmp_path / "r.yaml").write_text(text)
        options = parse_arguments([str(tmp_path / "r.yaml"), "--benchmark", "b", "--domain", "d", "--output_dir", "o"])
        assert (options.learning_rate, options.weight_decay, options.max_steps) == (3e-3, 0.0, 30_000)
        assert options.cache_dir is None

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
            {"warmup_steps": 12}, {"eval_steps": -1}, {"num_beams": 0}, {"num_beams": 1}, {"seed": -1},
            {"seed": 2**32}, {"learning_rate": float("inf")}, {"negative_weight": float("inf")},
            {"d_model": 10**30}, {"weight_decay": 1e300}, {"output_dir": ""},
            {"benchmark": "b\udcff"}, {"lr_scheduler_type": "greedy"},
            {"num_encoder_layers": -1},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_value_out_of_range_is_refused_by_name(self, tmp_path, change):
        with pytest.raises(ValueError, match=next(iter(change))):
            arguments(tmp_path, **change)

    def test_an_unknown_method_names_those_that_exist(self):
        with pytest.raises(ValueError, match="mender_emb, mender_tok"):
            get_method("tigger")


def test_defaults_are_the_papers():
    defaults = {name: one.default for name, one in every_option().items()}
    expected = {
        "learning_rate": 3e-4, "weight_decay": 0.035, "max_grad_norm": 1.0, "warmup_steps": 10_000,
        "max_steps": 200_000, "per_device_train_batch_size": 64, "num_decoder_layers": 6,
        "d_model": 128, "d_ff": 1024, "dropout_rate": 0.2,
        "early_stopping_patience": 15, "preference_dropout": 0.0, "text_encoder": "google/flan-t5-small",
    }  # fmt: skip
    assert {name: defaults[name] for name in expected} == expected


class TestBenchmark:
    def test_a_variant_is_measured_and_a_grouped_one_learns_as_many_examples_a_step(self):
        options = benchmark_training.parse_arguments(
            "--num_users 8 --sequence_length 5 --num_items 30 --text_layers 1 --text_width 32 --num_decoder_layers 1 "
            "--batch_size 8 --max_steps 4 --logging_steps 2 --device cpu".split()
        )
        for name in ("row_per_prefix", "row_per_sequence"):
            AcceleratorState._reset_state(reset_partial_state=True)
            found = benchmark_training.measure(benchmark_training.VARIANTS[name], options)
            assert found["examples"] == pytest.approx(8 * found["steps"])
            assert found["memory"] >= 0

    def test_the_table_takes_the_best_of_each_and_compares_it_with_its_baseline(self):
        slow = {"steps": 1.0, "examples": 8.0, "memory": 100.0}
        fast = {"steps": 2.0, "examples": 16.0, "memory": 50.0}
        lines = benchmark_training.table({"plain": [slow, slow | {"memory": 80.0}], "bf16": [slow, fast]}).splitlines()
        assert lines[2] == "| plain | plain | 1.00 | 8.0 | 1.00 | 80 | 1.00 |"
        assert lines[3] == "| bf16 | plain | 2.00 | 16.0 | 2.00 | 50 | 0.62 |"
