"""The tensors part of a request to Mender_Steer as two modules that `torch.onnx.export` traces."""

from typing import cast

import torch
from torch import nn

from ..modeling_steer_scores import TEXT_COMPONENTS, SteerScores
from ..request_weights import COMPONENTS, REQUEST_COMPONENTS, wanted_shares
from ..steer_terms import avoided_match


class TextEncoderGraph(nn.Module):
    """Tokens of texts to embeddings of norm 1.

    Args:
        model ([`SteerScores`]): The model; its weights are shared.
    """

    inputs = ("input_ids", "attention_mask")
    outputs = ("embeddings",)

    def __init__(self, model: SteerScores) -> None:
        super().__init__()
        self.model = model

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs for tracing: two texts of three tokens."""
        tokens = torch.ones(2, 3, dtype=torch.long)
        return tokens, torch.ones_like(tokens)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Computes embeddings `(num_texts, embedding_size)`; see [`MenderOnEmbeddings.embed_text`]."""
        return self.model.embed_text(input_ids, attention_mask)


class ItemScoresGraph(nn.Module):
    """Histories and embedded texts to the log-probabilities of all items, and the terms that they are made of.

    Args:
        model ([`SteerScores`]): The model; its weights are shared.
    """

    inputs = ("history", "embeddings", "strengths", "known", "words")
    outputs = ("scores", "terms")

    def __init__(self, model: SteerScores) -> None:
        super().__init__()
        self.model = model

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs for tracing: two requests of five items and three texts of four words, all sizes different."""
        size = cast(int, self.model.config.embedding_size)
        embeddings = torch.full((2, 3, size), size**-0.5)
        strengths = torch.tensor([[1.0, 1.0, -1.0]] * 2)
        words = torch.zeros(2, 3, 4, dtype=torch.long)
        words[:, :, 0] = min(1, cast(int, self.model.config.num_words))
        return torch.ones(2, 5, dtype=torch.long), embeddings, strengths, torch.ones(2, 3), words

    def forward(
        self,
        history: torch.Tensor,
        embeddings: torch.Tensor,
        strengths: torch.Tensor,
        known: torch.Tensor,
        words: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes item scores `(batch_size, num_items)` and [`stacked_terms`]; see [`SteerScores.components`]."""
        components = self.model.components(
            history,
            preference_embeddings=embeddings,
            preference_strengths=strengths,
            preference_known=known,
            preference_words=words,
        )
        terms = stacked_terms(self.model, components)
        return terms.sum(1).log_softmax(-1), terms


def stacked_terms(model: SteerScores, components: dict[str, torch.Tensor]) -> torch.Tensor:
    """Terms of [`SteerScores.weigh`] without a loop over the texts, `(batch_size, 2 + num_preferences, num_items)`:
    history, graph, and one per text.

    A text has a share if it is wanted and a penalty if it is avoided, and the other one is 0.
    """
    strengths = components["strengths"]
    largest = strengths.clamp(min=0).amax(1)
    weights = model.request_weights(components["features"], largest)
    penalty = model.config.avoid_weight + largest * weights[:, TEXT_COMPONENTS].sum(1)
    avoided = strengths.clamp(max=0) * penalty.unsqueeze(1)  # (batch_size, num_preferences)
    shares = wanted_shares(strengths)
    texts = avoided.unsqueeze(2) * avoided_match(components, slice(None), model.num_trained_items)
    of_request = []
    for number, name in enumerate(COMPONENTS):
        weight = weights[:, number, None]
        if number < REQUEST_COMPONENTS:
            term = weight * components[name]
            of_request.append(model.without_removed(term) if name == "history" else term)
        else:
            texts = texts + (weight * shares).unsqueeze(2) * components[name]
    return torch.cat([torch.stack(of_request, dim=1), texts], dim=1)
