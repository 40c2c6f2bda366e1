"""Folders as training leaves them, of tiny random models of any method, for the tests of what reaches the Hub."""

import torch
from test_methods import EXAMPLES
from test_modeling_tiger import save_language_model, tiny_arguments
from tiny_models import ITEMS, catalogue

from dataset_builders.building.text_embedding import load_embedder
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.table import METHODS
from modeling_mender.training.checkpoints import TrainingState, save_model
from modeling_mender.training.lora import apply_finetuning


def train_tiny(name, folder, family="bert", **changes):
    """`folder/model`, and `folder/adapter` where asked for, as `scripts/train.py` writes them after a step."""
    method = METHODS[name]
    if "text_encoder" not in changes:
        changes["text_encoder"] = str(save_language_model(family, folder))
    arguments = tiny_arguments(name, folder, **changes)
    semantic_ids = catalogue() if method.needs_semantic_ids else None
    model, processor = method.build(
        method,
        arguments,
        Catalogue(ITEMS, [item["text"] for item in ITEMS], semantic_ids, load_embedder=load_embedder),
        EXAMPLES,
    )
    apply_finetuning(model, arguments)
    if changes.get("lora_rank"):
        with torch.no_grad():  # as if trained: LoRA starts at 0
            for weight_name, weight in model.named_parameters():
                if ".lora_" in weight_name:
                    weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(weight_name)))
    save_model(model.eval(), processor, TrainingState(step=4, best_step=3, best_score=0.5), arguments)
    return folder / "model"
