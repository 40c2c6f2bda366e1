"""Rows of fine- and coarse-grained steering: source item, target and preference (eq. 2, 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ...benchmark.report import SteeringReport
from ...benchmark.schema import SPLITS
from ..sequences import TEST, TRAIN, VALIDATION, Sequences
from .balanced import BOUND, MAX_BOUND, NONE, assign_targets, divide_catalog
from .claims import NO_PREFERENCE, PreferenceClaims
from .nearest import check_engine
from .neighbors import TooAlike, choose_occurrences, choose_users, similar_and_distinct, text_groups

KINDS = ("fine", "coarse")
STEERING_VARIANTS = ("balanced", "paper", "as_released")
"""Ways to pair histories, preferences and targets (section 3.2, appendix D.2).

- `balanced`: as `paper`, but no item is a target of an axis more often than a bound within a split, and targets of
  train are not targets of validation or test, as far as the catalog allows (see
  [`~dataset_builders.building.steering.balanced`]): a list of frequent targets then scores nothing. The distinct item
  is one of the least similar tenth of a sample. Histories never come from another split; a fine row for which no
  other user of the split has the ground truth uses the user's own history and says so in the column `history_from`.
- `paper`: one fine and one coarse row per distinct target of each split. The similar or distinct item of the whole
  catalog is the new target; eq. (3) assigns a preference. The assignment is greedy over all rows: a preference
  that is already assigned is replaced by the next most similar one (appendix D.2), so that every (preference,
  item) pair is unique within and across splits, and no preference is used in two splits.
- `as_released`: two fine and two coarse rows per distinct target of each split, the source. Its neighbor is the
  similar or distinct item among the targets of that split. One row pairs the preference matched to the source with
  the history of a user whose ground truth is the neighbor, and its target is the source; the other row swaps the
  two. Preferences may repeat, in other splits too. The release cut one history at the position of the other, and
  so exposed labels and items of the test split; here each is cut at its own position.
"""
CLAIM_ORDER = (TEST, VALIDATION, TRAIN)
"""Evaluation splits choose first: a shortage of preferences shows in train."""
_PARTS = 8
"""Parts of the rows of an axis and split; before each part, the rank lists that became short are recomputed."""


@dataclass(frozen=True)
class SteeringRows:
    """Rows of one axis and split.

    Attributes:
        occurrence (`np.ndarray`): int64 `(num_rows,)`, row of [`Sequences`] that gives user, position and history.
        source_item (`np.ndarray`): int32 `(num_rows,)`, the original ground truth.
        target (`np.ndarray`): int32 `(num_rows,)`, the similar or distinct item.
        preference (`np.ndarray`): int64 `(num_rows,)`, index into the distinct preferences.
        is_own (`np.ndarray`, *optional*): bool `(num_rows,)`, whether the history is that of the user whose ground
            truth is steered; known of `balanced` rows.
    """

    occurrence: np.ndarray
    source_item: np.ndarray
    target: np.ndarray
    preference: np.ndarray
    is_own: np.ndarray | None = None


def write_rows(rows: Mapping[tuple[str, str], SteeringRows], folder: Path) -> None:
    """Writes the rows of every axis and split as `{axis}-{split}.parquet`."""
    for (axis, split), steered in rows.items():
        columns = {name: values for name, values in vars(steered).items() if values is not None}
        pq.write_table(pa.table(columns), folder / f"{axis}-{split}.parquet")


def read_rows(folder: Path) -> dict[tuple[str, str], SteeringRows]:
    """Reads what [`write_rows`] wrote: `(axis, split) -> SteeringRows`."""
    tables = {(axis, split): pq.read_table(folder / f"{axis}-{split}.parquet") for axis in KINDS for split in SPLITS}
    return {
        key: SteeringRows(**{name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names})
        for key, table in tables.items()
    }


def plan_steering(
    sequences: Sequences,
    item_embeddings: np.ndarray,
    item_texts: Sequence[str],
    preference_embeddings: np.ndarray,
    forbidden: Mapping[int, np.ndarray],
    pool: np.ndarray,
    seed: int = 0,
    progress: bool = False,
    *,
    engine: str = "torch",
    device: str | None = None,
    variant: str = "paper",
    matched: np.ndarray | None = None,
    bound: int = BOUND,
) -> tuple[dict[tuple[str, str], SteeringRows], SteeringReport]:
    """Plans the rows of both steering axes, in one of [`STEERING_VARIANTS`].

    Args:
        sequences (`Sequences`): All actions.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`; row `item_id - 1`.
        item_texts (`Sequence[str]`): The embedded texts; entry `item_id - 1`.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        forbidden (`Mapping[int, np.ndarray]`): Index of an item -> preferences of its rows in recommendation/train.
        pool (`np.ndarray`): bool `(num_preferences,)`, whether a preference belongs to the set P of eq. (3).
        seed (`int`): Random seed of the choice among users with the same ground truth, and of the order of the rows.
        progress (`bool`): Whether to show progress bars.
        engine (`str`): Engine of the vector products, one of
            [`~dataset_builders.building.steering.nearest.ENGINES`]; all are exact.
        device (`str`, *optional*): Device of the engine `"torch"`, such as `"cuda"`; CPU by default.
        variant (`str`): One of `STEERING_VARIANTS`.
        matched (`np.ndarray`, *optional*): int64 `(num_actions,)`, the preference of eq. (1) of every target, -1 where
            there is none; needed by `as_released`, which uses neither `forbidden` nor `pool` nor eq. (3).
        bound (`int`): Times that an item may be a target of one axis in one split of `balanced`.

    Returns:
        `tuple`: `(axis, split) -> SteeringRows`, and the [`SteeringReport`].

    Raises:
        TooAlike: If the catalog (`as_released`: a split) has no two items with different texts.
        ValueError: On an unknown variant, engine or device, a bound below 1, or if `matched` is missing or has another
            length.
        ImportError: If the engine's library is not installed.
    """
    check_engine(engine, device)
    if variant not in STEERING_VARIANTS:
        raise ValueError(f"variant ({variant!r}) must be one of {', '.join(STEERING_VARIANTS)}.")
    if not 1 <= bound <= MAX_BOUND:
        raise ValueError(f"bound ({bound}) must be in 1..{MAX_BOUND}; to leave out the bound, take variant='paper'.")
    generator = np.random.default_rng(seed)
    if variant == "as_released":
        if matched is None or len(matched) != len(sequences):
            count = "none" if matched is None else len(matched)
            raise ValueError(
                f"variant 'as_released' needs matched, one preference (or -1) per action; got {count} for "
                f"{len(sequences)} actions."
            )
        return _plan_as_released(sequences, item_embeddings, item_texts, matched, generator, engine, device)
    report = SteeringReport()
    if variant == "balanced":
        plans = _plan_balanced(sequences, item_embeddings, item_texts, bound, generator, engine, device, report)
    else:
        plans = _plan_paper(sequences, item_embeddings, item_texts, generator, engine, device, report)
    embeddings = item_embeddings, preference_embeddings
    rows = _claim_preferences(
        sequences, plans, embeddings, forbidden, pool, generator, engine, device, progress, report
    )
    _describe_targets(rows, embeddings, report)
    return rows, report


@dataclass(frozen=True)
class _Plan:
    """Rows of one axis and split before they have preferences.

    Attributes:
        occurrence (`np.ndarray`): int64 `(num_rows,)`, row of [`Sequences`] that gives user, position and history.
        source (`np.ndarray`): int32 `(num_rows,)`, id of the original ground truth.
        target (`np.ndarray`): int64 `(num_rows,)`, index of the target.
        is_own (`np.ndarray`, *optional*): As in [`SteeringRows`].
    """

    occurrence: np.ndarray
    source: np.ndarray
    target: np.ndarray
    is_own: np.ndarray | None = None


_Plans = dict[tuple[str, int], _Plan]


def _plan_paper(
    sequences: Sequences,
    item_embeddings: np.ndarray,
    item_texts: Sequence[str],
    generator: np.random.Generator,
    engine: str,
    device: str | None,
    report: SteeringReport,
) -> _Plans:
    """One row per distinct target, axis and split; see [`plan_steering`]."""
    similar, distinct = similar_and_distinct(item_embeddings, item_texts, engine=engine, device=device)
    plans: _Plans = {}
    for split in CLAIM_ORDER:
        own, fellow, has_fellow = choose_occurrences(sequences, split, generator)
        sources = sequences.item_id[own]
        plans["fine", split] = _Plan(fellow, sources, similar[sources - 1])
        plans["coarse", split] = _Plan(own, sources, distinct[sources - 1])
        report.own_history[f"fine_{SPLITS[split]}"] = int(np.count_nonzero(~has_fellow))
    return plans


def _plan_balanced(
    sequences: Sequences,
    item_embeddings: np.ndarray,
    item_texts: Sequence[str],
    bound: int,
    generator: np.random.Generator,
    engine: str,
    device: str | None,
    report: SteeringReport,
) -> _Plans:
    """One row per distinct target, axis and split that gets a target within the bound; see [`plan_steering`]."""
    groups = text_groups(item_texts)
    chosen = {split: choose_users(sequences, split, generator) for split in CLAIM_ORDER}
    counts = {split: len(fine) for split, (fine, _, _) in chosen.items()}
    in_train = divide_catalog(len(groups), counts[TRAIN], max(counts[TEST], counts[VALIDATION]), bound, generator)
    everything = np.ones(len(groups), bool)
    plans: _Plans = {}
    for split in CLAIM_ORDER:
        fine, coarse, is_own = chosen[split]
        sources = sequences.item_id[fine]
        allowed = everything if in_train is None else in_train if split == TRAIN else ~in_train
        for kind, occurrence in (("fine", fine), ("coarse", coarse)):
            name = f"{kind}_{SPLITS[split]}"
            found = assign_targets(
                kind, item_embeddings, groups, sources - 1, allowed, bound, generator, engine, device
            )
            kept = found.targets != NONE
            plans[kind, split] = _Plan(
                occurrence[kept], sources[kept], found.targets[kept], is_own[kept] if kind == "fine" else None
            )
            report.no_target[name] = int(np.count_nonzero(~kept))
            report.beyond_candidates[name] = found.beyond
        report.own_history[f"fine_{SPLITS[split]}"] = int(np.count_nonzero(is_own))
        report.same_user[SPLITS[split]] = int(np.count_nonzero(fine == coarse))
    return plans


def _claim_preferences(
    sequences: Sequences,
    plans: _Plans,
    embeddings: tuple[np.ndarray, np.ndarray],
    forbidden: Mapping[int, np.ndarray],
    pool: np.ndarray,
    generator: np.random.Generator,
    engine: str,
    device: str | None,
    progress: bool,
    report: SteeringReport,
) -> dict[tuple[str, str], SteeringRows]:
    """Assigns a preference to every planned row (eq. 3); rows for which none is left are dropped and counted."""
    # Fine first: it needs few preferences of each of many items; coarse may need many of a few hubs and uses up the
    # preferences around them.
    requests = [(kind, split) for kind in KINDS for split in CLAIM_ORDER]
    targets = {key: plans[key].target for key in requests}
    claims = PreferenceClaims(
        np.concatenate([targets[key] for key in requests]),
        np.concatenate([np.full(len(targets[key]), key[1]) for key in requests]),
        *embeddings,
        forbidden,
        pool,
        engine=engine,
        device=device,
    )
    claims.rank_all(progress)
    rows = {}
    with tqdm(total=sum(map(len, targets.values())), desc="Matching steering", disable=not progress) as bar:
        for kind, split in requests:
            name = f"{kind}_{SPLITS[split]}"
            order = generator.permutation(len(targets[kind, split]))
            chosen = np.full(len(order), NO_PREFERENCE, np.int64)
            report.reused[name] = 0
            for part in np.array_split(order, _PARTS):
                claims.replenish()
                for index in part.tolist():
                    chosen[index], reused = claims.claim(int(targets[kind, split][index]), split)
                    report.reused[name] += int(reused and chosen[index] != NO_PREFERENCE)
                bar.update(len(part))
            plan = plans[kind, split]
            rows[kind, SPLITS[split]] = _kept_rows(
                sequences, name, plan.occurrence, plan.source, plan.target + 1, chosen, report, plan.is_own
            )
    return rows


def _describe_targets(
    rows: Mapping[tuple[str, str], SteeringRows], embeddings: tuple[np.ndarray, np.ndarray], report: SteeringReport
) -> None:
    """Counts distinct targets and the most frequent one, and averages the cosine of preference and target."""
    items, preferences = embeddings
    for (kind, split), steered in rows.items():
        name, counts = f"{kind}_{split}", np.unique(steered.target, return_counts=True)[1]
        report.distinct_targets[name] = len(counts)
        report.most_frequent[name] = int(counts.max(initial=0))
        if len(steered.target):
            cosines = np.einsum("nd,nd->n", items[steered.target - 1], preferences[steered.preference])
            report.similarity[name] = round(float(cosines.mean()), 4)
    for kind in KINDS:
        shared = np.isin(rows[kind, "test"].target, rows[kind, "train"].target)
        report.shared_targets[f"{kind}_test"] = int(np.count_nonzero(shared))


def _plan_as_released(
    sequences: Sequences,
    item_embeddings: np.ndarray,
    item_texts: Sequence[str],
    matched: np.ndarray,
    generator: np.random.Generator,
    engine: str,
    device: str | None,
) -> tuple[dict[tuple[str, str], SteeringRows], SteeringReport]:
    """Two rows per source item and axis; see [`plan_steering`]."""
    report = SteeringReport()
    rows = {}
    for split in CLAIM_ORDER:
        shuffled = generator.permutation(len(sequences))
        here = shuffled[(sequences.in_window & (sequences.split == split))[shuffled]]
        # For each item an occurrence with a history and a matched preference, else one with a history, else any.
        worth = (sequences.history_length[here] > 0) * (1 + (matched[here] != NO_PREFERENCE))
        here = here[np.lexsort((-worth, sequences.item_id[here]))]
        items, first = np.unique(sequences.item_id[here], return_index=True)
        occurrence = here[first]
        try:
            neighbors = similar_and_distinct(
                item_embeddings[items - 1],
                [item_texts[item - 1] for item in items.tolist()],
                engine=engine,
                device=device,
            )
        except TooAlike as error:
            raise TooAlike(f"steering as released needs two items in the split {SPLITS[split]}: {error}") from error
        for kind, neighbor in zip(KINDS, neighbors, strict=True):
            name = f"{kind}_{SPLITS[split]}"
            report.reused[name] = 0
            # The two rows of a source are adjacent: the target of each is the ground truth of the other's history.
            histories = np.stack([occurrence[neighbor], occurrence], axis=1).ravel()
            wanted = np.stack([occurrence, occurrence[neighbor]], axis=1).ravel()
            truth, target = sequences.item_id[histories], sequences.item_id[wanted]
            rows[kind, SPLITS[split]] = _kept_rows(sequences, name, histories, truth, target, matched[wanted], report)
    return rows, report


def _kept_rows(
    sequences: Sequences,
    name: str,
    occurrence: np.ndarray,
    source_item: np.ndarray,
    target: np.ndarray,
    preference: np.ndarray,
    report: SteeringReport,
    is_own: np.ndarray | None = None,
) -> SteeringRows:
    """Keeps the rows that have a preference; counts the others, and the empty histories."""
    kept = preference != NO_PREFERENCE
    report.dropped[name] = int(np.count_nonzero(~kept))
    report.empty_history[name] = int(np.count_nonzero(sequences.history_length[occurrence[kept]] == 0))
    return SteeringRows(
        occurrence=occurrence[kept],
        source_item=source_item[kept].astype(np.int32),
        target=target[kept].astype(np.int32),
        preference=preference[kept].astype(np.int64),
        is_own=None if is_own is None else is_own[kept],
    )


def training_matches(sequences: Sequences, matched: np.ndarray) -> dict[int, np.ndarray]:
    """Preferences that eq. (1) matched to each item at training positions.

    Args:
        sequences ([`Sequences`]): All actions.
        matched (`np.ndarray`): int `(num_actions,)`, index of the preference of each target, -1 for none.

    Returns:
        `dict`: Item id - 1 -> indices of its preferences.
    """
    train = sequences.target_rows(TRAIN)
    train = train[matched[train] >= 0]
    keys, values = sequences.item_id[train] - 1, matched[train]
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(values[order], starts[1:]), strict=True)) if len(keys) else {}
