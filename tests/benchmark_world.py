"""A toy shop that the eye can check, and a deterministic embedder, for the tests of the benchmark."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa

from dataset_builders.building.review_sentiment import RatingVader
from dataset_builders.building.sequences import Sequences
from dataset_builders.building.sources.raw_tables import INTERACTION_SCHEMA, ITEM_SCHEMA, RawTables, register_table
from dataset_builders.building.sources.sample import PlantedTruth


def hash_embed(texts: Sequence[str], size: int = 128) -> np.ndarray:
    """Bag of hashed words, normalised: cosine grows with the words in common. `(num_texts, size)`."""
    vectors = np.full((len(texts), size), 1e-3, np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(",", " ").replace(";", " ").split():
            vectors[row, zlib.crc32(word.rstrip("s").encode()) % size] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def item(item_id: int, title: str | None, brand: str = "", categories: Sequence[str] = ()) -> dict:
    """A row of the catalog."""
    return {
        "item_id": item_id,
        "source_id": f"s{item_id}",
        "title": title,
        "brand": brand,
        "categories": list(categories),
        "price": None,
        "description": "",
    }


def sequences(
    users: Sequence[Sequence[int]], ratings: Sequence[Sequence[float | None]] | None = None, window: int = 20
) -> Sequences:
    """Users named u0, u1, ..., each a list of item ids in time order."""
    rows = []
    for number, items in enumerate(users):
        for place, item_id in enumerate(items):
            rating = ratings[number][place] if ratings else None
            rows.append((f"u{number}", place + 1, len(items), item_id, rating, None))
    names = ("user_id", "position", "sequence_length", "item_id", "rating", "review")
    types = (pa.string(), pa.int32(), pa.int32(), pa.int32(), pa.float64(), pa.string())
    columns = list(zip(*rows, strict=True))
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    found = Sequences.from_arrow(table, window)
    return found.with_polarity(RatingVader().classify(found.ratings, found.reviews))


def read_events(events: ibis.Table, window: int = 20) -> Sequences:
    """An events table, in any order of rows, with the polarity of stars and VADER."""
    found = Sequences.from_arrow(events.order_by("user_id", "position").to_pyarrow(), window)
    return found.with_polarity(RatingVader().classify(found.ratings, found.reviews))


def follows_taste(truth: PlantedTruth, user_id: str, source_id: str) -> bool:
    """Whether an item of the sample shop is of a kind that the user likes, or carries a liked value."""
    user, planted = truth.users[user_id], truth.items[source_id]
    return planted.kind in user.kinds or not set(user.liked).isdisjoint(planted.values.values())


def is_averted(truth: PlantedTruth, user_id: str, source_id: str) -> bool:
    """Whether an item of the sample shop carries a value that the user is averse to."""
    return not set(truth.users[user_id].averted).isdisjoint(truth.items[source_id].values.values())


class ToySource:
    """A source from rows in memory: `users` of item ids, in time order."""

    name = "toy"

    def __init__(self, users: Sequence[Sequence[int]], items: Sequence[dict], rating: float | None = None) -> None:
        self.users, self.items, self.rating = users, items, rating

    def inputs(self) -> dict[str, Path | str | int | None]:
        """The rows as text."""
        return {"users": repr(self.users), "items": repr(self.items), "rating": repr(self.rating)}

    def load(self, connection: ibis.BaseBackend) -> RawTables:
        """The rows as tables."""
        rows = []
        for number, items in enumerate(self.users):
            for place, item_id in enumerate(items):
                row = {"user_id": f"u{number}", "source_id": f"s{item_id}", "timestamp": place, "row": len(rows)}
                rows.append({**row, "rating": self.rating, "review": None})
        items = [{key: value for key, value in item.items() if key != "item_id"} for item in self.items]
        return RawTables(
            register_table(connection, pa.Table.from_pylist(rows, INTERACTION_SCHEMA), "toy_interactions"),
            register_table(connection, pa.Table.from_pylist(items, ITEM_SCHEMA), "toy_items"),
        )
