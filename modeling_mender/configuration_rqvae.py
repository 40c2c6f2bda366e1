"""Configuration of the RQ-VAE that maps item embeddings to codes (appendix A.1)."""

from huggingface_hub.dataclasses import strict

from .configuration_checks import CheckedConfig


@strict
class RQVAEConfig(CheckedConfig):
    r"""
    Configuration of an [`RQVAEModel`]. The defaults are the paper's (appendix A.1).

    Args:
        embedding_size (`int`, *optional*, defaults to 768):
            Width of the item embeddings (Sentence-T5: 768, MiniLM: 384).
        hidden_sizes (`list[int]`, *optional*, defaults to `[768, 512, 256, 128]`):
            Widths of the encoder's layers; the last one is the width of the codebooks. The decoder mirrors them.
        num_codebooks (`int`, *optional*, defaults to 3):
            Depth of the residual quantization: the number of learned codes of an item.
        codebook_size (`int`, *optional*, defaults to 256):
            Number of entries of each codebook.
        dropout (`float`, *optional*, defaults to 0.1):
            Dropout after each layer's activation.
        commitment_weight (`float`, *optional*, defaults to 0.25):
            Weight of the loss that pulls latents towards their codes.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the codebooks before they are initialized by k-means.

    Raises:
        `ValueError`: If a size is below 1, `hidden_sizes` is empty, or `dropout` lies outside [0, 1).

    Example:

    ```python
    >>> from modeling_mender.configuration_rqvae import RQVAEConfig
    >>> RQVAEConfig(embedding_size=384).latent_size
    128

    ```"""

    model_type = "mender_rqvae"

    embedding_size: int = 768
    hidden_sizes: list[int] | tuple[int, ...] = (768, 512, 256, 128)
    num_codebooks: int = 3
    codebook_size: int = 256
    dropout: float | int = 0.1
    commitment_weight: float | int = 0.25
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        self.check_types()
        self.hidden_sizes = list(self.hidden_sizes)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Checks the sizes, as part of the `@strict` validation."""
        if not self.hidden_sizes:
            raise ValueError(
                "hidden_sizes is empty; give the width of at least one layer, as in hidden_sizes=[256, 64]."
            )
        sizes = {
            "embedding_size": self.embedding_size,
            "num_codebooks": self.num_codebooks,
            "codebook_size": self.codebook_size,
            "every entry of hidden_sizes": min(self.hidden_sizes),
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}.")

    @property
    def latent_size(self) -> int:
        """Width of the latents and of every codebook entry."""
        return self.hidden_sizes[-1]


__all__ = ["RQVAEConfig"]
