"""Fit of the weights of Mender_Steer's terms on validation requests of several kinds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.collators import Collator
from ..data.requests import Request
from ..modeling_mender_steer import MenderSteer
from ..request_weights import COMPONENTS, FEATURES, PLAIN_FEATURES, REQUEST_COMPONENTS, wanted_shares, weigh_requests

NUM_BEST, NUM_DRAWN = 100, 150  # items compared per request: the best of each component, and random ones
MOST_TARGETS = 200  # correct items compared per request
PULL = 5e-4  # L2 penalty on the distance of the weights from their start
PULL_OF_NUMBER = 2e-2  # the same for features of the number of preferences: few rows have several
NUM_STEPS, RATE = 150, 0.15  # steps and initial rate of Adam; the rate decays linearly to 0
NO_WEIGHT = -40.0  # log-weight that stands for a weight of 0
LIKELIHOOD = 0.002  # weight of the cross-entropy beside the gain, which leaves the scale of scores free
LEAST_GAIN = 1 / math.log2(1 + 20)  # gain at the last rank that counts; otherwise deep ranks would dominate
TEMPERATURE = 0.5  # temperature of the comparison of two scores, in nats


@dataclass(frozen=True)
class Asked:
    """Requests of one kind.

    Attributes:
        name (`str`): Name of the kind.
        requests (`Sequence[Request]`): Requests.
        targets (`Sequence[Sequence[int]]`): Correct items of each request.
        weight (`float`): Weight of the kind.
    """

    name: str
    requests: Sequence[Request]
    targets: Sequence[Sequence[int]]
    weight: float = 1.0


@dataclass(frozen=True)
class _Rows:
    """Components of requests at the compared items, `(num_rows, num_components, num_compared)`, and their targets."""

    values: torch.Tensor
    offsets: torch.Tensor
    is_target: torch.Tensor
    first_targets: torch.Tensor
    features: torch.Tensor
    strengths: torch.Tensor
    weight: float
    name: str


@torch.no_grad()
def fit_request_weights(
    model: MenderSteer,
    collator: Collator,
    kinds: Sequence[Asked],
    batch_size: int = 64,
    seed: int = 0,
    without: Sequence[str] = (),
) -> dict[str, float]:
    """Sets the weights of the terms to those with the best smooth NDCG of the correct items, averaged over the kinds.

    A share of the cross-entropy in the loss keeps the scores on the scale of log-probabilities.

    Args:
        model ([`MenderSteer`]): Model whose weights are set; its training mode does not change.
        collator ([`Collator`]): Collator made for the texts of the requests.
        kinds (`Sequence[Asked]`): Requests by kind.
        batch_size (`int`, defaults to 64): Requests per batch.
        seed (`int`, defaults to 0): Random seed of the sample of items.
        without (`Sequence[str]`, *optional*): Components whose weight is set to 0.

    Returns:
        `dict[str, float]`: Smooth NDCG of each kind.
    """
    was_training = model.training
    model.eval()
    model.request_weights.reset()
    rows = [
        _look(model, collator, kind, slice(start, start + batch_size), seed + start)
        for kind in kinds
        for start in range(0, len(kind.requests), batch_size)
    ]
    unfitted = model.request_weights.table.detach().clone()
    left_out = [COMPONENTS.index(name) for name in without]
    for row in rows:
        row.values[:, left_out] = 0
    with torch.enable_grad():
        table = _minimize(rows, unfitted)
    table[:, left_out] = 0
    table[0, left_out] = table[PLAIN_FEATURES, left_out] = NO_WEIGHT  # the features that are 1 for every request
    model.request_weights.table.copy_(table)
    model.train(was_training)
    gains: dict[str, list[torch.Tensor]] = {kind.name: [] for kind in kinds}
    for row in rows:
        gains[row.name].append(1 - _missing_gain(row, table))
    return {name: float(torch.cat(gain).mean()) for name, gain in gains.items()}


def _minimize(rows: Sequence[_Rows], start: torch.Tensor) -> torch.Tensor:
    """Returns the table with the least mean loss over the kinds, near the given one."""
    table = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([table], lr=RATE)
    best, best_loss = start, float("inf")
    pull = torch.full((len(FEATURES), 1), PULL, device=start.device)
    pull[[FEATURES.index(name) for name in ("num_preferences", "num_preferences_bought")]] = PULL_OF_NUMBER
    for step in range(NUM_STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / NUM_STEPS)
        optimizer.zero_grad()
        total = _total(rows, table) + (pull * (table - start).square()).sum()
        if float(total.detach()) < best_loss:
            best, best_loss = table.detach().clone(), float(total.detach())
        total.backward()
        optimizer.step()
    return best


def _total(rows: Sequence[_Rows], table: torch.Tensor) -> torch.Tensor:
    """Returns the mean losses of the kinds, summed with the weights of the kinds."""
    losses = [(_missing_gain(row, table) + LIKELIHOOD * _cross_entropy(row, table)).sum() * row.weight for row in rows]
    return torch.stack(losses).sum()


def _look(model: MenderSteer, collator: Collator, kind: Asked, part: slice, seed: int) -> _Rows:
    """Computes the components of some requests at the compared items."""
    requests, targets = kind.requests[part], kind.targets[part]
    inputs = {name: value.to(model.device) for name, value in collator(requests).items()}
    found = model.components(**inputs)
    strengths = found["strengths"]
    wanted = wanted_shares(strengths).unsqueeze(-1)
    components = [found["history"], found["graph"]]
    components += [(wanted * found[name]).sum(1) for name in COMPONENTS[REQUEST_COMPONENTS:]]
    values = torch.stack(components, dim=1)  # (batch_size, num_components, num_items)
    num_items = values.shape[-1]
    is_target = torch.zeros(len(requests), num_items, dtype=torch.bool, device=values.device)
    for row, items in enumerate(targets):
        is_target[row, torch.tensor(list(items), device=values.device) - 1] = True
    looked = values.topk(min(NUM_BEST, num_items), dim=-1).indices.flatten(1)
    most = int(is_target.sum(1).max())
    chosen = torch.zeros_like(is_target).scatter_(1, looked, True)
    generator = torch.Generator().manual_seed(seed)  # its own: validation must not change the random state of training
    ties = torch.rand(is_target.shape, generator=generator).to(values.device)
    some_targets = (is_target * 2.0 + ties).topk(min(most, MOST_TARGETS)).indices
    chosen.scatter_(1, some_targets, True)
    drawn = torch.randperm(num_items, generator=generator)[:NUM_DRAWN].to(values.device)
    offsets = torch.full(chosen.shape, -torch.inf, device=values.device)
    # the drawn items stand for all that were not chosen
    share = (num_items - chosen.sum(1, keepdim=True)).clamp(min=1) / max(1, len(drawn))
    offsets[:, drawn] = share.log().clamp(min=0).expand(-1, len(drawn))
    offsets.masked_fill_(chosen, 0)
    width = int((offsets > -torch.inf).sum(1).max())
    kept = offsets.topk(width, dim=1)
    columns = kept.indices
    return _Rows(
        values=values.gather(2, columns.unsqueeze(1).expand(-1, values.shape[1], -1)),
        offsets=kept.values,
        is_target=is_target.gather(1, columns),
        first_targets=is_target.gather(1, columns).int().topk(1, dim=1).indices,
        features=found["features"],
        strengths=strengths.clamp(min=0).amax(1) if strengths.shape[1] else strengths.new_zeros(len(requests)),
        weight=kind.weight / len(kind.requests),
        name=kind.name,
    )


def _scores(rows: _Rows, table: torch.Tensor) -> torch.Tensor:
    """Returns the scores of the compared items, `(num_rows, num_compared)`."""
    return (weigh_requests(table, rows.features, rows.strengths).unsqueeze(-1) * rows.values).sum(1)


def _cross_entropy(rows: _Rows, table: torch.Tensor) -> torch.Tensor:
    """Returns the cross-entropy of the correct items, `(num_rows,)`."""
    log_probs = (_scores(rows, table) + rows.offsets).log_softmax(-1)
    return -log_probs.masked_fill(~rows.is_target, -torch.inf).logsumexp(-1)


def _missing_gain(rows: _Rows, table: torch.Tensor) -> torch.Tensor:
    """Returns 1 minus the discounted gain of the correct items, `(num_rows,)`: a smooth NDCG.

    Rows whose item no component finds dominate cross-entropy, but not this loss. The rank of an item is 1 plus the
    number of wrong items above it, each counted by a sigmoid.
    """
    scores = _scores(rows, table)
    wrong = rows.offsets.exp() * ~rows.is_target
    above = torch.sigmoid((scores.unsqueeze(1) - scores.gather(1, rows.first_targets).unsqueeze(2)) / TEMPERATURE)
    rank = 1 + (above * wrong.unsqueeze(1)).sum(-1)
    gain = (1 / torch.log2(1 + rank) - LEAST_GAIN).clamp(min=0) / (1 - LEAST_GAIN)
    return 1 - gain.mean(1)
