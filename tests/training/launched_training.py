"""A training run of the toy shop in processes of its own, for tests that spread, shard, interrupt or kill it.

    python -m torch.distributed.run --nproc_per_node 2 tests/training/launched_training.py FOLDER [trouble ...]

Every validation is the best so far, so FOLDER/run/model holds the last weights. Each process leaves its state, and the
rows it learned from, in FOLDER/process_N.json.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import tiny_models
import tiny_training
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from modeling_mender.evaluation.ranking import rank
from modeling_mender.methods.table import get_method
from modeling_mender.training import checkpoints, loop, output_folder
from modeling_mender.training.lora import add_lora

TROUBLES = ("fsdp", "lora", "nan_on_the_last_process", "kill_in_checkpoint", "slow", "stuck")


def shard_on_the_cpu(accelerator: Accelerator) -> None:
    """accelerate turns its FSDP plugin on where there are accelerators; this does the same for two CPU processes."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def make_trouble(troubles: set[str], accelerator: Accelerator) -> None:
    """Replaces parts of the loop by parts that fail."""
    forward_backward, write_manifest = loop._Run._forward_backward, checkpoints.write_manifest

    def spoilt(self, batch):
        if {"slow", "stuck"} & troubles:
            if self.state.step:
                started = Path(self.arguments.output_dir) / f"started_{accelerator.process_index}"
                started.with_suffix(".tmp").write_text(str(os.getpid()))
                started.with_suffix(".tmp").rename(started)
            time.sleep(0.1 if "slow" in troubles or not self.state.step else 100)
        if "nan_on_the_last_process" in troubles and self.state.step == 2 and accelerator.process_index == 1:
            batch["preference_embeddings"][:] = float("nan")
        return forward_backward(self, batch)

    def killed(folder):
        if json.loads((folder / "training_state.json").read_text())["step"] == 8:
            (folder / "model.safetensors").write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        write_manifest(folder)

    loop._Run._forward_backward = spoilt
    if "kill_in_checkpoint" in troubles:
        checkpoints.write_manifest = killed


def main() -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background of a shell: Python leaves it so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    troubles = {word for word in words if "=" not in word}
    assert troubles <= set(TROUBLES), troubles
    changes = {name: json.loads(value) for name, value in (word.split("=", 1) for word in words if "=" in word)}
    variant = changes.pop("variant", "emb")
    accelerator = Accelerator(
        gradient_accumulation_steps=changes.get("gradient_accumulation_steps", 1),
        mixed_precision="bf16" if changes.get("bf16") else "no",
    )
    if "fsdp" in troubles:
        shard_on_the_cpu(accelerator)
    options = tiny_training.arguments(folder, method=f"mender_{variant}", **changes)
    hold = output_folder.hold_output(options.output_dir) if accelerator.is_main_process else contextlib.nullcontext()
    with hold:
        accelerator.wait_for_everyone()
        run(folder, options, accelerator, variant, troubles)


def run(folder, options, accelerator: Accelerator, variant: str, troubles: set[str]) -> None:
    with accelerator.main_process_first():  # save_pretrained writes on the main process alone
        model, processor = tiny_models.build(variant, "bert", folder, dropout_rate=options.dropout_rate)
    if "lora" in troubles:
        add_lora(model, rank=2, alpha=1)
    texts = [text for request in tiny_training.REQUESTS for text in request.preferences]
    collator = get_method(options.method).collator_class(processor, model, texts)
    groups = collator.group(tiny_training.EXAMPLES)
    rows = loop.TrainingRows(tiny_training.EXAMPLES, groups, options.preference_dropout, options.seed)
    make_trouble(troubles, accelerator)
    seen = []
    training_batch = collator.training_batch
    collator.training_batch = lambda batch: (
        seen.append([e.target for row in batch for e in row]) or training_batch(batch)
    )

    def validate(candidate: torch.nn.Module) -> float:
        together = rank(candidate, collator, tiny_training.REQUESTS, k=3, batch_size=5, accelerator=accelerator).items
        alone = rank(candidate, collator, tiny_training.REQUESTS, k=3, batch_size=5).items
        assert together == alone
        assert all(len(row) == 3 for row in together)
        return time.time()

    state = loop.train(model, processor, collator, rows, validate, options, accelerator)
    left = {"num_processes": accelerator.num_processes, "seen": seen, **state.state_dict()}
    (folder / f"process_{accelerator.process_index}.json").write_text(json.dumps(left))


if __name__ == "__main__":
    main()
