"""The RQ-VAE of appendix A.1: item embedding -> latent -> residual codes -> latent -> item embedding."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput

from .checked_loading import CheckedModel
from .configuration_rqvae import RQVAEConfig


@dataclass
class RQVAEOutput(ModelOutput):
    """
    Output of [`RQVAEModel`].

    Args:
        loss (`torch.Tensor` of shape `()`):
            Reconstruction + codebook + commitment_weight x commitment loss.
        reconstruction (`torch.Tensor` of shape `(num_items, embedding_size)`):
            The decoded embeddings, in the units of the input.
        codes (`torch.Tensor` of shape `(num_items, num_codebooks)`):
            Codes, int64, each in 0..codebook_size-1.
        reconstruction_loss (`torch.Tensor` of shape `()`):
            Mean squared error between the standardized embeddings and their reconstruction.
        codebook_loss (`torch.Tensor` of shape `()`):
            Summed over levels: mean squared distance of the chosen entries to the detached residuals.
        commitment_loss (`torch.Tensor` of shape `()`):
            The same distance with detached entries, before its weight.
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    codes: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    codebook_loss: torch.Tensor | None = None
    commitment_loss: torch.Tensor | None = None


class RQVAELayer(nn.Module):
    """Linear, layer norm, ReLU, dropout, and a residual connection around them (projected where the widths differ)."""

    def __init__(self, input_size: int, output_size: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        self.norm = nn.LayerNorm(output_size)
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Identity() if input_size == output_size else nn.Linear(input_size, output_size, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Applies the layer: `(num_items, input_size)` to `(num_items, output_size)`."""
        return self.residual(hidden) + self.dropout(F.relu(self.norm(self.linear(hidden))))


class RQVAEPreTrainedModel(CheckedModel):
    """Initialization and names shared by the classes of the RQ-VAE."""

    config_class = RQVAEConfig
    base_model_prefix = "rqvae"
    main_input_name = "embeddings"
    input_modalities = ["embeddings"]
    _no_split_modules = ["RQVAELayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            # keeps the variance of a layer's input at every width: with a constant range, the residual path, which has
            # no norm, would vanish or explode
            init.normal_(module.weight, mean=0.0, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, RQVAEModel):
            init.normal_(module.codebooks, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.embedding_mean)
            init.ones_(module.embedding_std)


class RQVAEModel(RQVAEPreTrainedModel):
    """
    Residual-quantized autoencoder of item embeddings (appendix A.1; Lee et al., 2022).

    The embeddings are standardized by `embedding_mean` and `embedding_std`, which are buffers and saved with the
    weights. Use the model in evaluation mode (as after `from_pretrained` and training) for codes without dropout.

    Args:
        config ([`RQVAEConfig`]): Shape of the network.

    Example:

    ```python
    >>> import torch
    >>> from modeling_mender.configuration_rqvae import RQVAEConfig
    >>> from modeling_mender.modeling_rqvae import RQVAEModel
    >>> config = RQVAEConfig(embedding_size=8, hidden_sizes=[16, 4], num_codebooks=3, codebook_size=5)
    >>> model = RQVAEModel(config).eval()
    >>> codes = model.encode(torch.zeros(2, 8))
    >>> codes.shape, model.decode(codes).shape
    (torch.Size([2, 3]), torch.Size([2, 8]))

    ```"""

    embedding_mean: torch.Tensor
    embedding_std: torch.Tensor

    def __init__(self, config: RQVAEConfig) -> None:
        super().__init__(config)
        down = [config.embedding_size, *config.hidden_sizes]
        up = config.hidden_sizes[::-1]
        self.encoder = nn.Sequential(*(RQVAELayer(a, b, config.dropout) for a, b in zip(down, down[1:], strict=False)))
        self.decoder = nn.Sequential(*(RQVAELayer(a, b, config.dropout) for a, b in zip(up, up[1:], strict=False)))
        self.output = nn.Linear(up[-1], config.embedding_size)
        self.codebooks = nn.Parameter(torch.empty(config.num_codebooks, config.codebook_size, config.latent_size))
        self.register_buffer("embedding_mean", torch.zeros(config.embedding_size))
        self.register_buffer("embedding_std", torch.ones(config.embedding_size))
        self.post_init()

    @torch.no_grad()
    def set_standardization(self, embeddings: torch.Tensor) -> None:
        """
        Sets mean and standard deviation of every dimension from the catalog.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Embeddings of all items.
        """
        self._check_embeddings(embeddings)
        deviation, mean = torch.std_mean(embeddings.float(), dim=0, correction=0)
        # a constant dimension is divided by 1 and becomes 0, not infinite
        deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
        self.embedding_mean.copy_(mean)
        self.embedding_std.copy_(deviation)

    def latents(self, embeddings: torch.Tensor) -> torch.Tensor:
        """
        Computes the continuous latents that are quantized.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardized.

        Returns:
            `torch.FloatTensor` of shape `(num_items, latent_size)`.
        """
        self._check_embeddings(embeddings)
        return self.encoder(self._standardize(embeddings))

    @torch.no_grad()
    def encode(self, embeddings: torch.Tensor) -> torch.Tensor:
        """
        Computes the codes of items.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardized.

        Returns:
            `torch.Tensor` of shape `(num_items, num_codebooks)`, int64, each code in 0..codebook_size-1.

        Raises:
            `ValueError`: If the width of the embeddings is not `embedding_size`.
        """
        return residual_codes(self.latents(embeddings).float(), self.codebooks.float())

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """
        Reconstructs embeddings from codes.

        Args:
            codes (`torch.Tensor` of shape `(num_items, num_codebooks)`): Codes in 0..codebook_size-1, without the
                collision level.

        Returns:
            `torch.FloatTensor` of shape `(num_items, embedding_size)`, in the units of the model's input.

        Raises:
            `ValueError`: If the number of codes differs from `num_codebooks` or a code lies outside its codebook.
        """
        num_codebooks, codebook_size = self.config.num_codebooks, self.config.codebook_size
        if codes.ndim != 2 or codes.shape[1] != num_codebooks:
            raise ValueError(
                f"codes must have shape (num_items, {num_codebooks}), got {tuple(codes.shape)}; leave out the "
                f"collision level, which is not learned."
            )
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < codebook_size:
            raise ValueError(
                f"codes must lie in 0..{codebook_size - 1} (codebook_size {codebook_size}), got "
                f"{int(codes.min())}..{int(codes.max())}."
            )
        levels = torch.arange(num_codebooks, device=codes.device)
        return self._reconstruct(self.codebooks[levels, codes].sum(dim=1))[1]

    def forward(self, embeddings: torch.Tensor) -> RQVAEOutput:
        """
        Computes losses and reconstruction, with straight-through gradients of the quantization.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardized.

        Returns:
            [`RQVAEOutput`].
        """
        self._check_embeddings(embeddings)
        standardized = self._standardize(embeddings)
        # (num_items, latent_size), in float32: under bf16, distances to neighboring entries become ties
        latents = self.encoder(standardized).float()
        residual, quantized = latents, torch.zeros_like(latents)
        codebook_loss = commitment_loss = latents.new_zeros(())
        codes = []
        for codebook in self.codebooks.float():
            codes.append(nearest_entries(residual.detach(), codebook.detach()))
            entries = codebook[codes[-1]]
            codebook_loss = codebook_loss + F.mse_loss(entries, residual.detach())
            commitment_loss = commitment_loss + F.mse_loss(residual, entries.detach())
            quantized = quantized + entries.detach()
            residual = residual - entries.detach()

        # straight-through: the decoder reads quantized latents, and its gradient passes to the encoder unchanged
        straight_through = latents + (quantized - latents).detach()
        prediction, reconstruction = self._reconstruct(straight_through)
        reconstruction_loss = F.mse_loss(prediction.float(), standardized.float())
        return RQVAEOutput(
            loss=reconstruction_loss + codebook_loss + self.config.commitment_weight * commitment_loss,
            reconstruction=reconstruction,
            codes=torch.stack(codes, dim=1),
            reconstruction_loss=reconstruction_loss,
            codebook_loss=codebook_loss,
            commitment_loss=commitment_loss,
        )

    def autoencoding_loss(self, embeddings: torch.Tensor) -> torch.Tensor:
        """
        Computes the reconstruction error without quantization, the loss before the codebooks are initialized.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardized.

        Returns:
            `torch.Tensor` of shape `()`: as `reconstruction_loss` of [`RQVAEOutput`].
        """
        prediction, _ = self._reconstruct(self.latents(embeddings))
        return F.mse_loss(prediction.float(), self._standardize(embeddings).float())

    def _check_embeddings(self, embeddings: torch.Tensor) -> None:
        """Raises a ValueError for embeddings of another shape."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.config.embedding_size:
            raise ValueError(
                f"embeddings must have shape (num_items, {self.config.embedding_size}), got "
                f"{tuple(embeddings.shape)}; embed the items with the text encoder that this RQ-VAE was trained on."
            )

    def _standardize(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Standardized embeddings in the type of the weights, the same shape."""
        standardized = (embeddings.float() - self.embedding_mean.float()) / self.embedding_std.float()
        return standardized.to(self.output.weight.dtype)

    def _reconstruct(self, quantized: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(num_items, latent_size)` to the standardized prediction and the embedding, `(num_items,
        embedding_size)` each."""
        prediction = self.output(self.decoder(quantized.to(self.output.weight.dtype)))
        return prediction, prediction * self.embedding_std + self.embedding_mean


def residual_codes(latents: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """
    Quantizes latents by the nearest entry of each codebook, what is left by the next one.

    Args:
        latents (`torch.FloatTensor` of shape `(num_items, latent_size)`): Latents.
        codebooks (`torch.FloatTensor` of shape `(num_codebooks, codebook_size, latent_size)`): Codebooks.

    Returns:
        `torch.Tensor` of shape `(num_items, num_codebooks)`, int64.
    """
    residual, codes = latents, []
    for codebook in codebooks:
        codes.append(nearest_entries(residual, codebook))
        residual = residual - codebook[codes[-1]]
    return torch.stack(codes, dim=1)


def nearest_entries(residual: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """
    Finds the nearest codebook entry by Euclidean distance.

    Args:
        residual (`torch.FloatTensor` of shape `(num_items, latent_size)`): Residuals of the previous levels.
        codebook (`torch.FloatTensor` of shape `(codebook_size, latent_size)`): Entries of this level.

    Returns:
        `torch.Tensor` of shape `(num_items,)`, int64.
    """
    # |r - c|^2 without |r|^2, which is the same for every entry
    return (codebook.square().sum(dim=1) - 2 * residual @ codebook.T).argmin(dim=1)


__all__ = ["RQVAEModel", "RQVAEOutput", "RQVAEPreTrainedModel", "nearest_entries"]
