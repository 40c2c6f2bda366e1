"""A training run of the toy shop in this process, for the tests of the loop and of launched runs."""

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_models import TITLES, build

from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.table import get_method
from modeling_mender.training.arguments import make_arguments
from modeling_mender.training.loop import TrainingRows, train
from modeling_mender.training.output_folder import hold_output

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
    return make_arguments(**(settings | changes))


def run(
    tmp_path, variant="emb", validate=None, preference_dropout=0.0, examples=EXAMPLES, config=None, precision="no",
    tracker=None, change=lambda model: None, **changes,
):  # fmt: skip
    """Trains the toy model; returns its state and model."""
    AcceleratorState._reset_state(reset_partial_state=True)
    options = arguments(tmp_path, method=f"mender_{variant}", preference_dropout=preference_dropout, **changes)
    model, processor = build(variant, "bert", tmp_path, dropout_rate=options.dropout_rate, **(config or {}))
    change(model)
    collator = get_method(options.method).collator_class(
        processor, model, [t for example in examples for t in example.request.preferences]
    )
    rows = TrainingRows(examples, collator.group(examples), options.preference_dropout, options.seed)
    scores = iter(range(1000))
    accelerator = Accelerator(
        cpu=True, gradient_accumulation_steps=options.gradient_accumulation_steps, mixed_precision=precision,
        log_with=tracker, project_dir=options.output_dir,
    )  # fmt: skip
    if tracker is not None:
        accelerator.init_trackers("mender")
    with hold_output(options.output_dir):
        state = train(
            model, processor, collator, rows, validate or (lambda _: next(scores) / 1000), options, accelerator
        )
    accelerator.end_training()
    return state, accelerator.unwrap_model(model)
