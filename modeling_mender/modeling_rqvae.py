"""The RQ-VAE of appendix A.1: item embedding -> latent -> residual codes -> latent -> item embedding.

Knows the network and its losses. It does not know items, files, optimisers or how the codebooks get their start:
training and k-means live in `quantization/rqvae_training.py`, unique semantic IDs in `quantization/assignment.py`.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_rqvae import RQVAEConfig


@dataclass
class RQVAEOutput(ModelOutput):
    """
    What [`RQVAEModel`] returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`):
            Reconstruction + codebook + commitment_weight x commitment loss.
        reconstruction (`torch.FloatTensor` of shape `(num_items, embedding_size)`):
            The decoded embeddings, in the units of the input.
        codes (`torch.LongTensor` of shape `(num_items, num_codebooks)`):
            Codes, each in 0..codebook_size-1.
        reconstruction_loss (`torch.FloatTensor` of shape `(1,)`):
            Mean squared error between the standardised embeddings and their reconstruction.
        codebook_loss (`torch.FloatTensor` of shape `(1,)`):
            Summed over levels: mean squared distance of the chosen entries to the residuals, which are held fixed.
        commitment_loss (`torch.FloatTensor` of shape `(1,)`):
            The same distance with the entries held fixed, before its weight.
    """

    loss: torch.FloatTensor | None = None
    reconstruction: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    codebook_loss: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None


class RQVAELayer(nn.Module):
    """Linear, layer norm, ReLU, dropout, and a residual connection around them (projected where the widths differ)."""

    def __init__(self, input_size: int, output_size: int, dropout: float):
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        self.norm = nn.LayerNorm(output_size)
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Identity() if input_size == output_size else nn.Linear(input_size, output_size, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # (num_items, input_size) -> (num_items, output_size)
        return self.residual(hidden) + self.dropout(F.relu(self.norm(self.linear(hidden))))


class RQVAEPreTrainedModel(PreTrainedModel):
    """Initialisation and names shared by the RQ-VAE's classes."""

    config_class = RQVAEConfig
    base_model_prefix = "rqvae"
    main_input_name = "embeddings"
    input_modalities = ("embeddings",)
    _no_split_modules = ["RQVAELayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Linear):
            # Keeps the variance of a layer's input, whatever its width: one constant range would fade or blow up the
            # residual path, which carries no norm of its own.
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
    Residual-quantised autoencoder of item embeddings (appendix A.1; Lee et al., 2022).

    The embeddings are standardised by `embedding_mean` and `embedding_std`, which are buffers and travel with the
    weights. Use the model in evaluation mode (`from_pretrained` and training leave it so) for codes without dropout.

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

    def __init__(self, config: RQVAEConfig):
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
    def set_standardization(self, embeddings: torch.Tensor):
        """
        Takes mean and standard deviation of every dimension from the catalogue.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Embeddings of all items.
        """
        self._check_embeddings(embeddings)
        deviation, mean = torch.std_mean(embeddings.float(), dim=0, correction=0)
        # A dimension that never varies carries nothing: dividing by 1 leaves it at zero instead of at infinity.
        deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
        self.embedding_mean.copy_(mean)
        self.embedding_std.copy_(deviation)

    def latents(self, embeddings: torch.Tensor) -> torch.Tensor:
        """
        The continuous latents that are quantised.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardised.

        Returns:
            `torch.FloatTensor` of shape `(num_items, latent_size)`.
        """
        self._check_embeddings(embeddings)
        return self.encoder(self._standardize(embeddings))

    @torch.no_grad()
    def encode(self, embeddings: torch.Tensor) -> torch.LongTensor:
        """
        Codes of items.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardised.

        Returns:
            `torch.LongTensor` of shape `(num_items, num_codebooks)`, each code in 0..codebook_size-1.

        Raises:
            `ValueError`: If the embeddings have another width than the model.
        """
        residual = self.latents(embeddings).float()
        codes = []
        for codebook in self.codebooks.float():
            codes.append(nearest_entries(residual, codebook))
            residual = residual - codebook[codes[-1]]
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def decode(self, codes: torch.LongTensor) -> torch.Tensor:
        """
        Embeddings that the codes stand for.

        Args:
            codes (`torch.LongTensor` of shape `(num_items, num_codebooks)`): Codes in 0..codebook_size-1, without the
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
        One pass with gradients: straight through the quantisation to the encoder.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardised.

        Returns:
            [`RQVAEOutput`].
        """
        self._check_embeddings(embeddings)
        standardized = self._standardize(embeddings)
        # (num_items, latent_size). Distances and losses in float32: under bf16 neighbouring entries become ties.
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

        # The decoder sees the codes, the encoder gets the decoder's gradient as if nothing had been rounded.
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
        Reconstruction error without quantisation: what the network learns before its codebooks get their start.

        Args:
            embeddings (`torch.FloatTensor` of shape `(num_items, embedding_size)`): Item embeddings, not standardised.

        Returns:
            `torch.FloatTensor` of shape `(1,)`: as `reconstruction_loss` of [`RQVAEOutput`].
        """
        prediction, _ = self._reconstruct(self.latents(embeddings))
        return F.mse_loss(prediction.float(), self._standardize(embeddings).float())

    def _check_embeddings(self, embeddings: torch.Tensor):
        if embeddings.ndim != 2 or embeddings.shape[1] != self.config.embedding_size:
            raise ValueError(
                f"embeddings must have shape (num_items, {self.config.embedding_size}), got "
                f"{tuple(embeddings.shape)}; embed the items with the text encoder that this RQ-VAE was trained on."
            )

    def _standardize(self, embeddings: torch.Tensor) -> torch.Tensor:
        standardized = (embeddings.float() - self.embedding_mean.float()) / self.embedding_std.float()
        return standardized.to(self.output.weight.dtype)

    def _reconstruct(self, quantized: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(num_items, latent_size) -> standardised prediction and embedding, both (num_items, embedding_size)."""
        prediction = self.output(self.decoder(quantized.to(self.output.weight.dtype)))
        return prediction, prediction * self.embedding_std + self.embedding_mean


def nearest_entries(residual: torch.Tensor, codebook: torch.Tensor) -> torch.LongTensor:
    """
    Index of the nearest codebook entry, by Euclidean distance.

    Args:
        residual (`torch.FloatTensor` of shape `(num_items, latent_size)`): What the levels before left over.
        codebook (`torch.FloatTensor` of shape `(codebook_size, latent_size)`): Entries of this level.

    Returns:
        `torch.LongTensor` of shape `(num_items,)`.
    """
    # |r - c|^2 without |r|^2, which is the same for every entry.
    return (codebook.square().sum(dim=1) - 2 * residual @ codebook.T).argmin(dim=1)


__all__ = ["RQVAEModel", "RQVAEOutput", "RQVAEPreTrainedModel", "nearest_entries"]
