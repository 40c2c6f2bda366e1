"""Weights of the terms of Mender_Steer's score as functions of a request's features, fitted on validation rows."""

import math

import torch
from torch import nn

COMPONENTS = ("history", "graph", "head", "words", "all_words", "cosine")
"""Components of a score: the item head without preferences, the transition graph, and for each preference its gain in
the item head, the share of its words that an item has, whether the item has them all, and the cosine of the texts."""
REQUEST_COMPONENTS = 2  # the first ones, which do not depend on a preference
FEATURES = (
    "constant",
    "history_length",
    "has_preference",
    "history_length_with_preference",
    "num_preferences",
    "num_preferences_bought",
    "departure",
    "bought_words",
    "known_words",
    "matches",
)
PLAIN_FEATURES = 2  # the first ones describe a request without preferences, the others one with
# weights of an unfitted model, and their factors for five preferences in place of one whose words the history has:
# five preferences of a user's past tell little about the next item, five preferences for one item tell it all
_START = (1.0, 1.0, 1.0, 3.0, 3.0, 6.0)
_START_OF_FIVE = (1.0, 2.0, 0.1, 0.03, 0.03, 0.03)


class RequestWeights(nn.Module):
    """Computes weights as exponentials of linear functions of the request's features.

    For strengths below 1, weights are interpolated between those without a preference and those of strength 1, so they
    are continuous at strength 0.
    """

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(len(FEATURES), len(COMPONENTS)))  # fitted, not trained
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Sets the weights of an unfitted model."""
        self.table.copy_(unfitted_table())

    def forward(self, features: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Computes the weights of requests.

        Args:
            features (`torch.Tensor`): Shape `(batch_size, num_features)`, of [`request_features`].
            strength (`torch.Tensor`): Shape `(batch_size,)`, the largest strength of a preference, 0 without one.

        Returns:
            `torch.Tensor`: Shape `(batch_size, num_components)`.
        """
        return weigh_requests(self.table.float(), features, strength)


def unfitted_table() -> torch.Tensor:
    """The table of an unfitted model, `(num_features, num_components)`."""
    table = torch.zeros(len(FEATURES), len(COMPONENTS), device="cpu")  # also under a default device
    table[0] = table[PLAIN_FEATURES] = torch.tensor(_START, device="cpu").log()
    table[FEATURES.index("num_preferences_bought")] = torch.tensor(_START_OF_FIVE, device="cpu").log()
    return table


def weigh_requests(table: torch.Tensor, features: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Weights of requests by a table `(num_features, num_components)`; see [`RequestWeights.forward`]."""
    plain = (features[:, :PLAIN_FEATURES] @ table[:PLAIN_FEATURES]).exp()
    preferred = (features[:, PLAIN_FEATURES:] @ table[PLAIN_FEATURES:]).exp()
    return torch.lerp(plain, preferred, strength.clamp(0, 1).unsqueeze(1))


def wanted_shares(strengths: torch.Tensor) -> torch.Tensor:
    """Share of each preference, `(batch_size, num_preferences)`: its strength over their number, 0 if avoided."""
    wanted = strengths.clamp(min=0)
    return wanted / number_of_wanted(wanted).unsqueeze(1).clamp(min=1)


def number_of_wanted(wanted: torch.Tensor) -> torch.Tensor:
    """Effective number of preferences, `(batch_size,)`: the sum of their strengths over the largest.

    >>> number_of_wanted(torch.tensor([[2.0, 2.0, 0.0], [1.0, 0.01, 0.0], [0.0, 0.0, 0.0]]))
    tensor([2.0000, 1.0100, 0.0000])
    """
    if not wanted.shape[1]:
        return wanted.sum(1)
    return wanted.sum(1) / wanted.amax(1).clamp(min=torch.finfo(wanted.dtype).tiny)


def request_features(
    history_lengths: torch.Tensor,
    strengths: torch.Tensor,
    nearest: torch.Tensor,
    bought: torch.Tensor,
    known: torch.Tensor,
    num_matches: torch.Tensor,
) -> torch.Tensor:
    """Computes the features of requests; see `FEATURES`.

    Args:
        history_lengths (`torch.Tensor`): Shape `(batch_size,)`.
        strengths (`torch.Tensor`): Shape `(batch_size, num_preferences)`; only those above 0 count, by their size.
        nearest (`torch.Tensor`): The same shape, cosine of a preference and the nearest item of the history.
        bought (`torch.Tensor`): The same shape, largest share of its words that an item of the history has.
        known (`torch.Tensor`): The same shape, share of its words that the catalog has, in `[0, 1]`.
        num_matches (`torch.Tensor`): The same shape, number of items that have all of its words.

    Returns:
        `torch.Tensor`: Shape `(batch_size, num_features)`, float32, each about 0 to 1.
    """
    wanted = strengths.clamp(min=0).float()
    share = wanted / wanted.sum(1, keepdim=True).clamp(min=1e-9)
    count = number_of_wanted(wanted)
    has = (count > 0).float()
    length = torch.log1p(history_lengths.float()) / 3
    number = torch.log(count.clamp(min=1)) / math.log(5)
    bought_words = (share * bought.float()).sum(1)
    features = [
        torch.ones_like(has),
        length,
        has,
        has * length,
        number,
        number * bought_words,
        (share * (1 - nearest.float())).sum(1),
        bought_words,
        (share * known.float()).sum(1),
        (share * torch.log1p(num_matches.float())).sum(1) / 5,
    ]
    return torch.stack(features, dim=1)
