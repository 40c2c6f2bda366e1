"""Training losses: cross-entropy of the target's semantic ID, and unlikelihood of negative examples (section 4.3)."""

from dataclasses import dataclass
from typing import Protocol

import torch

from ..modeling_semantic_id_decoder import NOT_ALLOWED

IGNORED = -100  # label of padding in a batch of sequences


class Outputs(Protocol):
    """Output of a model in training."""

    @property
    def loss(self) -> torch.Tensor: ...

    @property
    def logits(self) -> torch.Tensor | None: ...


@dataclass(frozen=True)
class Objective:
    """Loss of a batch; see section 4.3 for the negative examples.

    A negative example (a preference to avoid something, and an item to avoid) lowers the likelihood of its item. The
    paper subtracts the weighted cross-entropy (`plain`), which is unbounded: a few examples can outgrow all others.
    The default is bounded below by 0, and its gradient vanishes once the item is improbable.

    Attributes:
        label_smoothing (`float`): Share of the probability spread over the vocabulary, or over the part that a
            constrained softmax allows; positive examples only.
        negative_weight (`float`): Weight of a negative example beside a positive one.
        negative_loss (`str`): `level_unlikelihood`, the mean of `-log(1 - p)` over the codes of the semantic ID;
            `unlikelihood`, `-log(1 - p)` of the semantic ID, whose gradient is weak before the item leaves the first
            ten; `plain`, the log-probability itself.
    """

    label_smoothing: float = 0.0
    negative_weight: float = 3.0
    negative_loss: str = "level_unlikelihood"

    def __call__(self, outputs: Outputs, labels: torch.Tensor, negatives: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the mean loss over the examples of a batch.

        Args:
            outputs ([`Outputs`]): `logits` of shape `(..., num_levels, vocab_size)`, or a `loss` and no logits
                (SASRec).
            labels (`torch.Tensor`): Shape `(..., num_levels)`; `IGNORED` where there is no example.
            negatives (`torch.Tensor`, *optional*): Shape `(...)`, bool.

        Returns:
            `torch.Tensor`: Scalar loss.
        """
        if outputs.logits is None or (negatives is None and self.label_smoothing == 0):
            return outputs.loss
        logits = outputs.logits.float().view(*labels.shape, -1)
        is_example = labels[..., 0] != IGNORED
        every = logits.log_softmax(-1)
        log_probs = every.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        losses = -log_probs
        if self.label_smoothing:
            possible = logits > NOT_ALLOWED
            spread = -(every.masked_fill(~possible, 0)).sum(-1) / possible.sum(-1).clamp(min=1)
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * spread
        losses = losses.mean(-1)
        if negatives is not None:
            losses = torch.where(negatives, self.negative_weight * self._negative(log_probs), losses)
        return (losses * is_example).sum() / is_example.sum().clamp(min=1)

    def _negative(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Maps log-probabilities of the codes of negative examples, `(..., num_levels)`, to their loss, `(...)`."""
        if self.negative_loss == "plain":
            return log_probs.mean(-1)
        if self.negative_loss == "unlikelihood":
            return _log1mexp(log_probs.sum(-1)).neg()
        return _log1mexp(log_probs).neg().mean(-1)


def _log1mexp(log_probs: torch.Tensor) -> torch.Tensor:
    """Computes `log(1 - exp(x))` for `x <= 0`; it is finite at 0 and its gradient is bounded."""
    return torch.log1p(-log_probs.clamp(max=-1e-6).exp())
