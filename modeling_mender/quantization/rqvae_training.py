"""Training of an RQ-VAE on the item embeddings of a catalog (appendix A.1)."""

import math
from typing import Any, cast

import numpy as np
import torch
from tqdm.auto import tqdm

from ..configuration_rqvae import RQVAEConfig
from ..devices import default_device
from ..modeling_rqvae import RQVAEModel, nearest_entries
from .residual_kmeans import ResidualKMeans, as_matrix, check_codebook_size


def train_rqvae(
    embeddings: np.ndarray,
    config: RQVAEConfig,
    epochs: int = 8000,
    batch_size: int = 2048,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
    warmup_epochs: int | None = None,
    reset_unused: bool = False,
    evaluation_interval: int | None = None,
) -> tuple[RQVAEModel, list[dict[str, Any]]]:
    """
    Trains an RQ-VAE. The defaults are the paper's (appendix A.1), except for the warm-up.

    The warm-up trains encoder and decoder without quantization before k-means initializes the codebooks. If they are
    initialized on the latents of an untrained encoder (`warmup_epochs=0`), the latents drift away from the entries
    within the first epoch, and in short runs large parts of the codebooks stay unused (on a catalog of 12,101 items,
    a third to two thirds are in use after 30 epochs). Weight decay brings unused entries back slowly, `reset_unused`
    immediately: use it for runs of fewer than some thousand steps, especially with wide hidden layers.

    The state with the lowest reconstruction error over the whole catalog without dropout is kept, evaluated every
    `evaluation_interval` epochs after the warm-up and after the last one; codes need to distinguish only the items of
    this catalog.

    Args:
        embeddings (`np.ndarray` of shape `(num_items, embedding_size)`): Item embeddings, not standardized.
        config ([`RQVAEConfig`]): Shape of the network; `embedding_size` must be the embeddings' width.
        epochs (`int`, *optional*, defaults to 8000): Passes over the catalog.
        batch_size (`int`, *optional*, defaults to 2048): Number of items per step.
        learning_rate (`float`, *optional*, defaults to 1e-3): Constant learning rate of AdamW.
        weight_decay (`float`, *optional*, defaults to 0.1):
            Weight decay of AdamW on every parameter, codebooks included: an unused entry has no gradient and shrinks
            towards the center of the residuals, where items choose it again.
        seed (`int`, *optional*, defaults to 0): Seed of weights, k-means, batches and dropout. The caller's random
            state is restored.
        device (`str` or `torch.device`, *optional*): Defaults to the GPU if there is one.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a bar with losses and coverage.
        warmup_epochs (`int`, *optional*):
            Epochs, of `epochs`, without quantization. Defaults to a third of them, at most 100.
        reset_unused (`bool`, *optional*, defaults to `False`):
            Whether to move unused entries to residuals of random items after each epoch (Lee et al., 2022; the paper
            found no significant gain).
        evaluation_interval (`int`, *optional*): Defaults to a hundredth of the epochs, at least 1.

    Returns:
        `tuple[RQVAEModel, list[dict]]`: the model, in evaluation mode on the CPU, and one record per evaluation:
        `epoch`, `loss`, `reconstruction_loss`, `codebook_loss`, `commitment_loss`, `coverage` (a share per level),
        `distinct` (number of distinct code tuples), `kept` (whether it was the best so far).

    Raises:
        `ValueError`: If there are fewer items than `codebook_size`, the widths differ, an embedding is not finite, a
            number is out of range, or the loss is not finite.
    """
    embeddings = as_matrix(embeddings)
    warmup_epochs = min(100, epochs // 3) if warmup_epochs is None else warmup_epochs
    _check_arguments(embeddings, config, epochs, batch_size, learning_rate, warmup_epochs, evaluation_interval)
    device = torch.device(device or default_device())
    interval = evaluation_interval or max(1, epochs // 100)
    data = torch.from_numpy(embeddings).to(device)
    # dropout and initialization use the global generators, whose state is restored
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = RQVAEModel(config)
        cast(torch.nn.Module, model).to(device)  # the wrapper of transformers hides the signature
        model.set_standardization(data)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        batches = torch.Generator().manual_seed(seed)
        best: dict[str, torch.Tensor] | None = None
        best_error = math.inf
        history: list[dict[str, Any]] = []
        with tqdm(range(1, epochs + 1), desc="RQ-VAE", unit="epoch", disable=not progress) as bar:
            for epoch in bar:
                if epoch == warmup_epochs + 1:
                    initialize_codebooks(model, data, seed=seed)
                elif reset_unused and epoch > warmup_epochs:
                    reset_unused_entries(model, data, batches)
                _train_epoch(model, data, optimizer, batch_size, batches, quantize=epoch > warmup_epochs)
                if epoch <= warmup_epochs or (epoch % interval and epoch != epochs):
                    continue
                record = {"epoch": epoch, **evaluate_rqvae(model, data)}
                if not math.isfinite(record["loss"]):
                    raise ValueError(
                        f"the loss is {record['loss']} after epoch {epoch} at learning_rate {learning_rate}; pass a "
                        f"smaller one."
                    )
                record["kept"] = record["reconstruction_loss"] < best_error
                if record["kept"]:
                    best_error = record["reconstruction_loss"]
                    best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
                history.append(record)
                bar.set_postfix(_shown(record), refresh=False)
        assert best is not None, "a finite loss is below infinity, so the first evaluation is always kept"
        model.load_state_dict(best)
    return model.cpu().eval(), history


@torch.no_grad()
def initialize_codebooks(model: RQVAEModel, embeddings: torch.Tensor, seed: int) -> None:
    """
    Initializes the codebooks with the residual k-means centers of the catalog's latents.

    Args:
        model ([`RQVAEModel`]): The model; its codebooks change.
        embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Embeddings of all items.
        seed (`int`): Seed of the initial clusters.

    Raises:
        `ValueError`: If there are fewer items than `codebook_size`, or the latents are not finite.
    """
    was_training = model.training
    latents = model.eval().latents(embeddings).float().cpu().numpy()
    model.train(was_training)
    if not np.isfinite(latents).all():
        raise ValueError("the latents are no longer finite after the warm-up; pass a smaller learning_rate.")
    clusters = ResidualKMeans(model.config.num_codebooks, model.config.codebook_size, seed=seed).fit(latents)
    model.codebooks.copy_(torch.from_numpy(clusters.codebooks))


@torch.no_grad()
def evaluate_rqvae(model: RQVAEModel, embeddings: torch.Tensor, batch_size: int = 65_536) -> dict[str, Any]:
    """
    Computes losses and use of the codebooks over a catalog, without dropout.

    Args:
        model ([`RQVAEModel`]): The model.
        embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Embeddings of all items.
        batch_size (`int`, *optional*, defaults to 65536): Number of items per batch; the result does not
            depend on it.

    Returns:
        `dict`: `loss`, `reconstruction_loss`, `codebook_loss`, `commitment_loss` (means over items), `coverage`
        (`list[float]`, the share of entries used, per level) and `distinct` (number of distinct code tuples).
    """
    was_training = model.training
    model.eval()
    names = ("loss", "reconstruction_loss", "codebook_loss", "commitment_loss")
    sums = dict.fromkeys(names, 0.0)
    batches: list[torch.Tensor] = []
    for batch in embeddings.split(batch_size):
        output = model(batch)
        batches.append(output.codes)
        for name in names:
            sums[name] += output[name].item() * len(batch)
    model.train(was_training)
    codes = torch.cat(batches)
    coverage = [len(level.unique()) / model.config.codebook_size for level in codes.T]
    means = {name: total / len(embeddings) for name, total in sums.items()}
    return {**means, "coverage": coverage, "distinct": len(codes.unique(dim=0))}


@torch.no_grad()
def reset_unused_entries(model: RQVAEModel, embeddings: torch.Tensor, generator: torch.Generator) -> int:
    """
    Moves every unused entry to the residual of a random item at its level (Lee et al., 2022).

    Args:
        model ([`RQVAEModel`]): The model; its codebooks change.
        embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Embeddings of all items.
        generator (`torch.Generator`): Random generator that chooses the items.

    Returns:
        `int`: Number of entries moved, over all levels.
    """
    was_training = model.training
    residual, moved = model.eval().latents(embeddings).float(), 0
    model.train(was_training)
    for codebook in model.codebooks:
        counts = torch.bincount(nearest_entries(residual, codebook), minlength=len(codebook))
        unused = (counts == 0).nonzero().squeeze(1)
        moved += len(unused)
        items = torch.randperm(len(residual), generator=generator)[: len(unused)]
        codebook[unused] = residual[items.to(residual.device)]
        residual = residual - codebook[nearest_entries(residual, codebook)]
    return moved


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    """Values of an evaluation for the progress bar."""
    return {
        "loss": f"{record['loss']:.3f}",
        "reconstruction": f"{record['reconstruction_loss']:.3f}",
        "coverage": "/".join(f"{share:.0%}" for share in record["coverage"]),
        "distinct": record["distinct"],
    }


def _train_epoch(
    model: RQVAEModel,
    data: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    generator: torch.Generator,
    quantize: bool,
) -> None:
    """Trains one epoch, with or without quantization."""
    model.train()
    for rows in torch.randperm(len(data), generator=generator).split(batch_size):
        batch = data[rows.to(data.device)]
        optimizer.zero_grad(set_to_none=True)
        loss = model(batch).loss if quantize else model.autoencoding_loss(batch)
        loss.backward()
        optimizer.step()


def _check_arguments(
    embeddings: np.ndarray,
    config: RQVAEConfig,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup_epochs: int,
    evaluation_interval: int | None,
) -> None:
    """Raises a ValueError for the first argument out of range."""
    if embeddings.shape[1] != config.embedding_size:
        raise ValueError(
            f"the embeddings have width {embeddings.shape[1]}, the configuration says {config.embedding_size}; pass "
            f"RQVAEConfig(embedding_size={embeddings.shape[1]})."
        )
    check_codebook_size(len(embeddings), config.codebook_size)
    interval = 1 if evaluation_interval is None else evaluation_interval
    for name, value in {"epochs": epochs, "batch_size": batch_size, "evaluation_interval": interval}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs ({warmup_epochs}) must leave some of the epochs ({epochs}) for the codes.")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate}.")
