"""From a source to a benchmark on disk: runs the parts in order, and reports what came out.

Knows the order of the stages and what is counted. Leaves each stage to its module, and the files to
`dataset_publication.py`.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from .axes import BUILDERS, BenchmarkTables, Preferences, UnsupportedAxis
from .axes.base import as_table
from .dataset_publication import dataset_card, new_directory, write_config
from .interactions import Interactions, connect, prepare_interactions
from .preferences.approximation import PastItem, PreferenceApproximator, check_five
from .preferences.matching import Embed, EmbeddingTable, match_preferences
from .preferences.metadata import MetadataApproximator
from .report import REPORT_FILE, BuildReport
from .schema import NUM_PREFERENCES, WINDOW, config_name, item_text
from .sentiment import is_negative_preference
from .sequences import TRAIN, Sequences
from .sources import Source
from .steering import SteeringRows, plan_steering

logger = logging.getLogger(__name__)

STEERING_POOLS = ("all", "positive")


def build_benchmark(
    source: Source,
    domain: str,
    output_dir: Path | str,
    embed: Embed,
    approximator: PreferenceApproximator | None = None,
    min_count: int = 5,
    window: int = WINDOW,
    seed: int = 0,
    cache_dir: Path | str | None = None,
    progress: bool = True,
    embedding_model: str = "",
    overwrite: bool = False,
    steering_pool: str = "all",
) -> BuildReport:
    """Builds the five-axis benchmark of one domain (section 3.2) and writes it as a dataset directory.

    Args:
        source (`Source`): Where interactions and items come from, see [`~dataset_builders.sources.get_source`].
        domain (`str`): ASCII letters, digits, underscores; the first part of every config's name.
        output_dir (`Path`): New directory. It is written under a temporary name beside it and renamed at the end.
        embed (`Callable`): Texts to float32 `(num_texts, hidden_size)`, rows L2-normalised: the space of eq. (1)-(3).
        approximator (`PreferenceApproximator`, *optional*): Writes the preferences; the metadata one by default.
        min_count (`int`): Users and items with fewer actions are dropped until none is left (k-core).
        window (`int`): How many of a user's most recent items count.
        seed (`int`): Of the choices among equals in steering.
        cache_dir (`Path`, *optional*): Keeps embeddings for the next build.
        progress (`bool`): Whether to show bars.
        embedding_model (`str`): Name of the model behind `embed`, for the card and the cache.
        overwrite (`bool`): Whether to replace an existing `output_dir`.
        steering_pool (`str`): The set P of eq. (3): `"all"` preferences as in the paper, or the `"positive"` ones, so
            that no steering row asks to avoid what its target is.

    Returns:
        [`BuildReport`]: Also saved as `report.json` in the directory.

    Raises:
        ValueError: On a domain that cannot be a name, an unknown `steering_pool`, or input that a source or the k-core
            refuses.
        FileExistsError: If `output_dir` exists and `overwrite` is false.
    """
    config_name(domain, "items")
    if steering_pool not in STEERING_POOLS:
        raise ValueError(f"steering_pool ({steering_pool!r}) must be one of {', '.join(STEERING_POOLS)}.")
    approximator = approximator or MetadataApproximator(window)
    report = BuildReport(
        domain=domain,
        source=source.name,
        approximator=approximator.name,
        approximator_description=approximator.description,
        embedding_model=embedding_model,
        min_count=min_count,
        window=window,
        seed=seed,
        notice=getattr(source, "notice", ""),
        steering_pool=steering_pool,
    )
    with new_directory(Path(output_dir), overwrite) as folder:
        table = EmbeddingTable(embed, None if cache_dir is None else Path(cache_dir), embedding_model, progress)
        sequences, items = _load(source, min_count, window, report)
        with report.stage("preferences"):
            preferences = approximate_preferences(approximator, sequences, items.to_pylist(), progress)
        _count_preferences(preferences, report)
        tables = _intermediate_tables(sequences, items, preferences, table, progress, report)
        with report.stage("write"):
            _write_tables(folder, domain, items, sequences, preferences, report)
        _write_axes(folder, domain, tables, report)
        (folder / "README.md").write_text(dataset_card(folder, report), encoding="utf-8")
        (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


def approximate_preferences(
    approximator: PreferenceApproximator, sequences: Sequences, items: Sequence[Mapping[str, Any]], progress: bool
) -> Preferences:
    """Runs an approximator over all users and gives every distinct preference a number.

    Args:
        approximator ([`PreferenceApproximator`]): The writer.
        sequences ([`Sequences`]): All actions.
        items (`Sequence[Mapping]`): Catalogue rows, entry `item_id - 1` is the item `item_id`.
        progress (`bool`): Whether to show a bar.

    Returns:
        [`Preferences`]: Of all actions.

    Raises:
        ValueError: If the approximator gives a user too few or too many sets, or a set that is not five distinct ones.
    """
    approximator.prepare(items)
    users = sequences.past_items(items)
    number: dict[str, int] = {}
    ids: list[int] = []
    results = zip(users, approximator.approximate(users), strict=True)
    for events, sets in tqdm(results, total=len(users), desc="Approximating preferences", disable=not progress):
        _check_sets(events, sets, approximator.name)
        ids.extend(number.setdefault(preference, len(number)) for five in sets for preference in five)
    strings = list(number)
    negative = np.fromiter((is_negative_preference(preference) for preference in strings), bool, len(strings))
    return Preferences(strings, np.array(ids, np.int32).reshape(-1, NUM_PREFERENCES), negative)


def _check_sets(events: Sequence[PastItem], sets: Sequence[Sequence[str]], name: str) -> None:
    if len(sets) != len(events):
        raise ValueError(
            f"The approximator {name} gave {len(sets)} sets for {len(events)} actions of a user; one each is needed."
        )
    for five in sets:
        check_five(five)


def _load(source: Source, min_count: int, window: int, report: BuildReport) -> tuple[Sequences, pa.Table]:
    with report.stage("load"):
        connection = connect()
        try:
            raw = source.load(connection)
            interactions = prepare_interactions(raw, min_count)
            sequences = Sequences.from_events(interactions.events, window)
            items = interactions.items.order_by("item_id").to_pyarrow()
            report.skipped = {reason: int(count) for reason, count in raw.skipped.items()}
            report.noted = {reason: int(count) for reason, count in raw.noted.items()}
        finally:
            connection.disconnect()
        _count_interactions(interactions, report)
    assert np.array_equal(items["item_id"].to_numpy(), np.arange(1, items.num_rows + 1)), "item ids are 1..N"
    return sequences, items


def _count_interactions(interactions: Interactions, report: BuildReport) -> None:
    report.num_users, report.num_items = interactions.num_users, interactions.num_items
    report.num_actions = interactions.num_actions
    report.actions_per_user = interactions.num_actions / interactions.num_users
    report.actions_per_item = interactions.num_actions / interactions.num_items


def _count_preferences(preferences: Preferences, report: BuildReport) -> None:
    report.num_preferences = int(preferences.ids.size)
    report.num_distinct_preferences = len(preferences.strings)
    report.negative_share = float(preferences.negative[preferences.ids].mean())


def _intermediate_tables(
    sequences: Sequences,
    items: pa.Table,
    preferences: Preferences,
    embed: EmbeddingTable,
    progress: bool,
    report: BuildReport,
) -> BenchmarkTables:
    texts = [item_text(item) for item in items.to_pylist()]
    with report.stage("embed"):
        item_embeddings = embed(texts, "items")
        preference_embeddings = embed(preferences.strings, "preferences")
    with report.stage("match"):
        matched = match_targets(sequences, preferences, item_embeddings, preference_embeddings)
    with report.stage("steering"):
        train = sequences.target_rows(TRAIN)
        forbidden = _grouped(sequences.item_id[train] - 1, matched[train])
        pool = np.ones_like(preferences.negative) if report.steering_pool == "all" else ~preferences.negative
        steering: dict[tuple[str, str], SteeringRows] | str
        try:
            steering, report.steering = plan_steering(
                sequences, item_embeddings, texts, preference_embeddings, forbidden, pool, report.seed, progress
            )
        except ValueError as error:
            steering = str(error)
    return BenchmarkTables(sequences, preferences, matched, preference_embeddings, embed, steering)


def match_targets(
    sequences: Sequences, preferences: Preferences, item_embeddings: np.ndarray, preference_embeddings: np.ndarray
) -> np.ndarray:
    """For every target at position t, the preference of P^(t-1) that fits it best (eq. 1).

    Returns:
        `np.ndarray`: int64 `(num_actions,)`, indices into the distinct preferences; -1 for actions that are no target.
    """
    rows = np.flatnonzero(sequences.in_window & (sequences.history_length > 0))
    candidates = preferences.ids[rows - 1]
    best = match_preferences(sequences.item_id[rows] - 1, candidates, item_embeddings, preference_embeddings)
    matched = np.full(len(sequences), -1, np.int64)
    matched[rows] = candidates[np.arange(len(rows)), best]
    return matched


def _grouped(keys: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(values[order], starts[1:]), strict=True)) if len(keys) else {}


def _write_tables(
    folder: Path, domain: str, items: pa.Table, sequences: Sequences, preferences: Preferences, report: BuildReport
) -> None:
    catalogue = as_table("items", {name: items[name].combine_chunks() for name in items.column_names})
    all_preferences = _preference_table(sequences, preferences)
    for name, table in (("items", catalogue), ("preferences", all_preferences)):
        report.rows[config_name(domain, name)] = write_config(folder, config_name(domain, name), {"train": table})


def _preference_table(sequences: Sequences, preferences: Preferences) -> pa.Table:
    rows = np.arange(len(sequences))
    return as_table(
        "preferences",
        {
            "user_id": sequences.user_column(rows),
            "position": sequences.position,
            "item_id": sequences.item_id,
            "preferences": preferences.five(rows),
        },
    )


def _write_axes(folder: Path, domain: str, tables: BenchmarkTables, report: BuildReport) -> None:
    for axis, build in BUILDERS.items():
        with report.stage(axis):
            try:
                splits = build(tables)
            except UnsupportedAxis as error:
                report.left_out[axis] = error.reason
                logger.warning("%s", error)
                continue
            name = config_name(domain, axis)
            report.rows[name] = write_config(folder, name, splits)
            if "preference" in next(iter(splits.values())).column_names:
                report.negative_rows[axis] = {split: _num_negative(table) for split, table in splits.items()}


def _num_negative(table: pa.Table) -> int:
    return sum(is_negative_preference(preference) for preference in table["preference"].to_pylist())
