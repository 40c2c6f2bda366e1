"""Mixin for models with a text encoder that may be frozen."""

from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

Model = TypeVar("Model", bound="TextEncoderMixin")


class TextEncoderMixin(nn.Module):
    """Freezes and unfreezes a `text_encoder`; precedes `PreTrainedModel` among the bases.

    Attributes:
        text_encoder (`PreTrainedModel`, *optional*): `None` for a model without one.
        text_encoder_is_frozen (`bool`): Whether no part of it is trained. False under LoRA as well, which freezes only
            the base weights.
    """

    text_encoder: PreTrainedModel | None
    text_encoder_is_frozen: bool = False

    @property
    def pretrained(self) -> PreTrainedModel:
        """The text encoder of a model that has one."""
        assert self.text_encoder is not None, "this model has no text encoder"
        return self.text_encoder

    def check_tables(self) -> None:
        """Checks tables, and that the text encoder embeds a token, which shapes of weights alone do not show.

        Raises:
            ValueError: If it does not.
        """
        getattr(super(), "check_tables", lambda: None)()
        encoder = self.text_encoder
        if encoder is None or encoder.device.type == "meta":
            return
        token = torch.zeros(1, 1, dtype=torch.long, device=encoder.device)
        try:
            with torch.no_grad():
                states = encoder(input_ids=token, attention_mask=torch.ones_like(token)).last_hidden_state
            finite = bool(states.isfinite().all())
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"its text_config does not fit its text encoder ({type(error).__name__}: {reason})"
            ) from error
        if not finite:
            raise ValueError("its text encoder computes numbers that are not finite")

    def freeze_text_encoder(self) -> None:
        """Excludes the text encoder from training: no gradients of its weights and no dropout."""
        self.pretrained.requires_grad_(False)
        self.text_encoder_is_frozen = True
        self.pretrained.eval()

    def unfreeze_text_encoder(self) -> None:
        """Includes the text encoder in training."""
        self.pretrained.requires_grad_(True)
        pooler = getattr(self.pretrained, "pooler", None)
        if pooler is not None:  # BERT's; its output is not used
            pooler.requires_grad_(False)
        self.text_encoder_is_frozen = False
        self.pretrained.train(self.training)

    def train(self: Model, mode: bool = True) -> Model:
        """Sets the training mode as `nn.Module.train` does; a frozen text encoder stays in evaluation mode."""
        super().train(mode)
        if self.text_encoder_is_frozen:
            self.pretrained.eval()
        return self
