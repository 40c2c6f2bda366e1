"""Draw scenarios of a user study from a benchmark, with the reviews of its source."""

from typing import TYPE_CHECKING

import numpy as np

from ..benchmark.tables import require_table
from ..building.preferences.approximation import PastItem
from ..building.preferences.llm.prompts import MAX_REVIEW_CHARACTERS, item_fields, product_fields
from .form import Scenario

if TYPE_CHECKING:
    from ..building.sequences import Sequences


def draw_scenarios(
    benchmark: str,
    domain: str,
    sequences: "Sequences",
    num_scenarios: int,
    seed: int = 0,
    split: str = "test",
    max_review_characters: int = MAX_REVIEW_CHARACTERS,
    revision: str | None = None,
) -> list[Scenario]:
    """Draws rows of the recommendation axis, and shows of each what a language model was shown, and the next item.

    Args:
        benchmark, domain, split, revision: As in [`~dataset_builders.benchmark.tables.load_table`].
        sequences ([`Sequences`]): Of the source that the benchmark was built from, for ratings and reviews.
        num_scenarios (`int`): Rows to draw; all if there are fewer.
        seed (`int`): Random seed of the draw.
        max_review_characters (`int`): Longer reviews are cut after a word.

    Returns:
        `list[Scenario]`: In random order.

    Raises:
        ValueError: If the benchmark lacks a table, or was built from other actions than the source has.
        FileNotFoundError, OSError: As `load_table`.
    """
    rows = require_table(benchmark, domain, "recommendation", split, revision)
    items = require_table(benchmark, domain, "items", revision=revision).to_list()
    preferences = require_table(benchmark, domain, "preferences", revision=revision)
    drawn = np.random.default_rng(seed).permutation(len(rows))[:num_scenarios]
    keys = zip(*(preferences.data[name].to_pylist() for name in ("user_id", "position")), strict=True)
    place = {key: row for row, key in enumerate(keys)}
    first = dict(zip(sequences.user_ids, np.flatnonzero(sequences.position == 1).tolist(), strict=True))
    scenarios = []
    for row in rows.select(drawn):
        user_id, position, length = row["user_id"], row["position"], len(row["history"])
        end = first.get(user_id, len(sequences)) + position - 1
        bought = sequences.item_id[end - length : end + 1].tolist()
        if bought != [*row["history"], row["target"]]:
            raise ValueError(
                f"{benchmark} has other purchases of user {user_id!r} than the source; give the source, the k-core "
                "and the files that it was built from."
            )
        known = place.get((user_id, position - 1))
        five = None if known is None else preferences[known]["preferences"]
        if five is None or row["preference"] not in five:
            raise ValueError(
                f"{benchmark} has no preferences of user {user_id!r} before position {position} that its row was "
                "matched from; build it again, or draw from one that mender build made."
            )
        events = [
            PastItem(items[item_id - 1], sequences.ratings[at], sequences.reviews[at])
            for at, item_id in enumerate(row["history"], end - length)
        ]
        scenarios.append(
            Scenario(
                user_id,
                position,
                [product_fields(event, max_review_characters) for event in events],
                list(five),
                five.index(row["preference"]),
                item_fields(items[row["target"] - 1]),
            )
        )
    return scenarios
