"""A text encoder that may be frozen: what that means for gradients and for dropout, in one place."""

from transformers import PreTrainedModel


class TextEncoderMixin:
    """For a model with a `text_encoder`; comes before `PreTrainedModel` among the bases.

    Attributes:
        text_encoder (`PreTrainedModel`, *optional*): `None` where the model has none.
        text_encoder_is_frozen (`bool`): Whether it is out of training as a whole. False under LoRA too, where only the
            base weights are.
    """

    text_encoder: PreTrainedModel | None
    text_encoder_is_frozen: bool = False

    def freeze_text_encoder(self) -> None:
        """Takes the text encoder out of training: no gradients of its weights, and no dropout either."""
        self.text_encoder.requires_grad_(False)
        self.text_encoder_is_frozen = True
        self.text_encoder.eval()

    def unfreeze_text_encoder(self) -> None:
        """Trains the text encoder with the rest."""
        self.text_encoder.requires_grad_(True)
        if getattr(self.text_encoder, "pooler", None) is not None:  # BERT's, over a state that nothing here reads
            self.text_encoder.pooler.requires_grad_(False)
        self.text_encoder_is_frozen = False
        self.text_encoder.train(self.training)

    def train(self, mode: bool = True) -> "TextEncoderMixin":
        """Like `nn.Module.train`, but a frozen text encoder stays in evaluation mode."""
        super().train(mode)
        if self.text_encoder_is_frozen:
            self.text_encoder.eval()
        return self
