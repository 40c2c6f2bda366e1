"""Rows of the axes beyond the paper's on toy users, and the scores of a constant list of the commonest targets."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_world import ToySource, hash_embed, item, sequences

from dataset_builders.benchmark.axes import AXES
from dataset_builders.benchmark.checks import check_benchmark
from dataset_builders.benchmark.schema import SPLITS
from dataset_builders.building.axes import UnsupportedAxis, avoid, compose, sentiment, sentiment_with_history, words
from dataset_builders.building.axes import strength as strength_axis
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.preferences.matching import EmbeddingTable
from dataset_builders.building.preferences.table import Preferences, match_targets
from dataset_builders.building.steering.assignment import SteeringRows
from dataset_builders.scoring.figures import axis_values

NEW = ("sentiment_with_history", "avoid", "strength", "compose", "words")
TITLES = [
    "rose soap", "lemon soap", "wool cap", "wool scarf", "oat tea", "mint tea", "green mug", "blue mug",
    "oak tray", "ash tray", "red lamp", "gold lamp",
]  # fmt: skip
SOAP, LEMON, CAP, SCARF, OAT, MINT, GREEN, BLUE, OAK, ASH, RED, GOLD = range(1, 13)


def embed(texts):
    """Bags of words, without the collisions of a short hash."""
    return hash_embed(texts, 4096)


def tables(users, fives, ratings=None, steering="the reason", titles=TITLES):
    """`fives[user][position - 1]` are the preferences after that action, filled up to five."""
    found = sequences(users, ratings)
    flat = [preference for user in fives for some in user for preference in five(*some)]
    strings = list(dict.fromkeys(flat))
    ids = np.array([strings.index(preference) for preference in flat], np.int32).reshape(-1, 5)
    preferences, embeddings, items = Preferences(strings, ids), embed(strings), embed(titles)
    return SimpleNamespace(
        items=pa.table({"title": titles, "categories": [["Shop", "Caps"]] * len(titles)}),
        item_texts=titles,
        item_embeddings=items,
        sequences=found,
        preferences=preferences,
        preference_embeddings=embeddings,
        matched=match_targets(found, preferences, items, embeddings),
        embed=EmbeddingTable(embed, progress=False),
        steering=steering,
    )


def five(*first):
    return (*first, *[f"Find filler {n}" for n in range(5 - len(first))])


def plan(*rows):
    """Rows of a steering plan: occurrence, source item, target, preference."""
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return SteeringRows(columns[0], columns[1].astype(np.int32), columns[2].astype(np.int32), columns[3])


def constant_list(axis, splits, k=2):
    """The figures of the k commonest targets of train as the answer to every request of test."""
    record, train, test = AXES[axis], splits["train"].to_pylist(), splits["test"].to_pylist()
    columns = ["target", *([record.other] if record.metric == "all" else [])]
    common = [name for name, _ in Counter(row[c] for row in train for c in columns).most_common(k)]

    def ranks(column):
        return np.array([common.index(row[column]) + 1 if row[column] in common else 0 for row in test])

    found = dict.fromkeys(record.asked, ranks("target"))
    if record.other:
        found |= dict.fromkeys(("other", "other_no_preference"), ranks(record.other))
    return {name: float(value.mean()) for name, value in axis_values(record.metric, found, [k]).items()}


# -- sentiment with history -----------------------------------------------------------------------------------------

# One user dislikes the last item, one the item before it, and one an early one that the aversion recalls to the end.
DISLIKES = [[5.0, 5.0, 5.0, 1.0], [5.0, 5.0, 1.0, 5.0], [5.0, 1.0, 5.0, 5.0]]
BOUGHT = [[SOAP, CAP, OAT, GREEN], [SOAP, CAP, MINT, BLUE], [OAK, RED, GOLD, ASH]]
LATE = [
    [(), (), (), ("Avoid green mugs",)],
    [(), (), ("Avoid mint tea",), ("Avoid mint tea",)],
    [(), ("Avoid red lamps",), ("Avoid red lamps",), ("Avoid red lamps",)],
]


def test_an_aversion_is_asked_where_it_holds_with_the_history_that_lacks_the_disliked_item():
    splits = sentiment_with_history.build(tables(BOUGHT, LATE, DISLIKES))
    assert [(name, row) for name in SPLITS for row in splits[name].to_pylist()] == [
        (name, {"user_id": user, "position": position, "history": history, "preference_positive": f"Find {words}",
                "preference_negative": f"Avoid {words}", "target": target, "item_from": "own split"})
        for name, user, position, history, words, target in [
            ("train", "u2", 2, [OAK], "red lamps", RED),
            ("validation", "u1", 3, [SOAP, CAP], "mint tea", MINT),
            ("test", "u0", 4, [SOAP, CAP, OAT], "green mugs", GREEN),
        ]
    ]  # fmt: skip
    assert constant_list("sentiment_with_history", splits)["m@2"] == 0  # the same list for both preferences


def test_an_item_disliked_in_an_earlier_split_is_taken_out_of_the_history_and_marked():
    late = [[*LATE[2][:1], (), (), ("Avoid red lamps",)], LATE[1], LATE[2]]
    late[2] = [(), ("Avoid gold lamps",), (), ()]
    bought, dislikes = [BOUGHT[2], BOUGHT[1], [OAK, GOLD, RED, ASH]], [DISLIKES[2], DISLIKES[1], DISLIKES[2]]
    splits = sentiment_with_history.build(tables(bought, late, dislikes))
    row = splits["test"].to_pylist()[0]
    assert (row["history"], row["target"], row["item_from"]) == ([OAK, GOLD], RED, "earlier split")
    (counts,) = splits.notes.values()
    assert counts == {"train": 0, "validation": 0, "test": 1}


def test_sentiment_counts_its_rows_whose_item_is_of_an_earlier_split():
    late = [[(), (), (), ("Avoid red lamps",)], LATE[1], [(), ("Avoid gold lamps",), (), ()]]
    bought, dislikes = [BOUGHT[2], BOUGHT[1], [OAK, GOLD, RED, ASH]], [DISLIKES[2], DISLIKES[1], DISLIKES[2]]
    (counts,) = sentiment.build(tables(bought, late, dislikes)).notes.values()
    assert counts == {"train": 0, "validation": 0, "test": 1}


def test_an_aversion_of_all_splits_trains_where_its_item_was_disliked():
    ratings = [*DISLIKES[:2], [5.0, 1.0, 1.0, 1.0]]
    splits = sentiment_with_history.build(tables(BOUGHT, LATE, ratings))
    assert "Avoid red lamps" in splits["train"]["preference_negative"].to_pylist()
    everywhere = [text for table in splits.values() for text in table["preference_negative"].to_pylist()]
    assert len(everywhere) == len(set(everywhere)) == 3


def test_without_opinions_or_dislikes_there_is_no_sentiment_with_history():
    with pytest.raises(UnsupportedAxis, match="neither ratings nor review texts"):
        sentiment_with_history.build(tables(BOUGHT, LATE))
    with pytest.raises(UnsupportedAxis, match="no negative preference meets"):
        sentiment_with_history.build(tables(BOUGHT, LATE, [[5.0] * 4] * 3))


# -- avoid ----------------------------------------------------------------------------------------------------------

AVERSE = [[("Avoid soap",), ("Avoid soap",), ("Avoid soap",), ()] for _ in range(2)]


@pytest.fixture
def two_named(monkeypatch):
    """An aversion names two items of the toy shop, those with its word."""
    monkeypatch.setattr(avoid, "NAMED", 2)


def test_the_item_to_avoid_is_named_and_neither_the_target_nor_in_the_history(two_named):
    splits = avoid.build(tables([[CAP, OAT, GREEN, OAK], [SOAP, CAP, GREEN, BLUE]], AVERSE))
    rows = [row for name in SPLITS for row in splits[name].to_pylist()]
    assert {row["preference"] for row in rows} == {"Avoid soap"}
    assert [row["avoided"] for row in rows if row["user_id"] == "u1"] == [
        LEMON
    ] * 3  # the other soap is in the history
    assert [row["target"] for row in rows if row["user_id"] == "u1"] == [CAP, GREEN, BLUE]
    for row in rows:
        assert row["avoided"] in (SOAP, LEMON) and row["avoided"] not in (row["target"], *row["history"])
    assert constant_list("avoid", splits)["avoid@2"] == 0


def test_the_item_to_avoid_is_near_the_last_item_that_was_not_disliked(two_named):
    titles = [*TITLES, "rose oil", "lemon oil"]
    users, ratings = [[13, 14, OAT, OAK], [14, 13, OAT, OAK]], [[5.0, 1.0, 1.0, 5.0]] * 2
    splits = avoid.build(tables(users, AVERSE, ratings, titles=titles))
    assert splits["validation"].to_pylist()[0]["avoided"] == SOAP  # rose oil was liked, lemon oil and the tea were not
    assert splits["validation"].to_pylist()[1]["avoided"] == LEMON


def test_targets_that_an_aversion_contradicts_are_left_out_and_counted(two_named):
    splits = avoid.build(tables([[CAP, SOAP, GREEN, OAK], [CAP, SCARF, GREEN, BLUE]], AVERSE))
    assert [row["target"] for row in splits["train"].to_pylist()] == [SCARF]
    contradicted, exhausted = splits.notes.values()
    assert contradicted == {"train": 1, "validation": 0, "test": 0}
    assert exhausted == dict.fromkeys(SPLITS, 0)


def test_items_that_are_all_in_the_history_leave_none_to_avoid(two_named):
    splits = avoid.build(tables([[SOAP, CAP, LEMON, GREEN, OAK, RED], [CAP, SCARF, GREEN, BLUE]],
                                [[("Avoid soap",)] * 6, AVERSE[0]]))  # fmt: skip
    contradicted, exhausted = splits.notes.values()
    assert contradicted["train"] == 1 and exhausted == {"train": 1, "validation": 1, "test": 1}


def test_without_negative_preferences_there_is_nothing_to_avoid():
    with pytest.raises(UnsupportedAxis, match="no preference is negative"):
        avoid.build(tables([[CAP, OAT, GREEN, OAK]], [[("Find soap",)] * 4]))


# -- strength -------------------------------------------------------------------------------------------------------

USERS = [[CAP, OAT, GREEN, OAK], [SOAP, MINT, BLUE, RED], [LEMON, SCARF, ASH, GOLD]]
WISHES = [
    [("Find wool", "Find mugs"), ("Find trays", "Find lamps"), ("Find tea",), ("Find soap",)],
    [("Find a",), ("Find b",), ("Find c",), ("Find d",)],
    [("Find e",), ("Find f",), ("Find g",), ("Avoid h",)],
]


def steered(first=(0, 0, 0), **targets):
    """One plan for `fine` and `coarse`: three rows a split, at the users' positions 2, 3 and 4."""
    chosen = {"train": (CAP, GREEN, OAK), "validation": (OAT, RED, SOAP), "test": (MINT, GOLD, ASH)} | targets
    wishes = {"train": (0, 1, 9), "validation": (7, 8, 10), "test": (11, 12, 13)}
    return {
        (kind, name): plan(
            *[
                (4 * user + split + 1, USERS[user][split + 1], chosen[name][user], wishes[name][user])
                for user in range(3)
            ]
        )
        for kind in ("fine", "coarse")
        for split, name in enumerate(SPLITS)
    }


def test_strength_asks_the_rows_of_coarse_at_three_strengths():
    world = tables(USERS, WISHES, steering=steered())
    splits = strength_axis.build(world)
    row = splits["test"].to_pylist()[0]
    assert (row["user_id"], row["position"], row["history"]) == ("u0", 4, [CAP, OAT, GREEN])
    assert (row["target"], row["source_item"], row["preference"]) == (MINT, OAK, world.preferences.strings[11])
    assert AXES["strength"].strengths == {"weaker": 0.5, "stronger": 2.0}
    assert constant_list("strength", splits)["strength@2"] == 0


def test_at_most_so_many_rows_of_a_split_are_asked_for_strength(monkeypatch):
    monkeypatch.setattr(strength_axis, "MAX_ROWS", 2)
    whole = tables(USERS, WISHES, steering=steered())
    splits = strength_axis.build(whole)
    assert [splits[name].num_rows for name in SPLITS] == [2, 2, 2]
    assert strength_axis.build(whole)["train"].equals(splits["train"])
    targets = splits["train"]["target"].to_pylist()
    assert targets == [target for target in (CAP, GREEN, OAK) if target in targets]  # the order of the plan


def test_without_steering_there_is_neither_strength_nor_composition():
    for axis in (strength_axis, compose):
        with pytest.raises(UnsupportedAxis, match="the reason"):
            axis.build(tables(USERS, WISHES))


# -- compose --------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_alike(monkeypatch):
    """Only the nearest item of another is like it."""
    monkeypatch.setattr(compose, "ALIKE", 1)


def test_two_rows_of_a_split_make_one_that_asks_for_both_targets(one_alike):
    world = tables(USERS, WISHES, steering=steered())
    splits = compose.build(world)
    for name in SPLITS:
        (row,) = splits[name].to_pylist()  # of three rows a split, one is left over
        fine = world.steering["fine", name]
        wish_of = {
            target: world.preferences.strings[p] for target, p in zip(fine.target, fine.preference, strict=True)
        }
        assert row["preferences"] == [wish_of[row["target"]], wish_of[row["second_target"]]]
        user = int(row["user_id"][1:])
        assert row["target"] == fine.target[user]
        assert row["history"] == USERS[user][: row["position"] - 1]
        assert row["second_target"] not in row["history"]
    assert list(splits.notes.values()) == [{"train": 1, "validation": 1, "test": 1}]
    assert constant_list("compose", splits)["all@2"] == 0


def test_items_of_one_text_or_near_each_other_and_negative_preferences_are_not_composed(one_alike):
    def built(**targets):
        with pytest.raises(UnsupportedAxis, match="no rows for the split") as caught:
            compose.build(tables(USERS, WISHES, steering=steered(**targets)))
        return caught.value.reason

    assert "train" in built(train=(SOAP, SOAP, SOAP))
    assert "train" in built(train=(SOAP, LEMON, SOAP))  # each is nearest to the other
    world = tables(USERS, WISHES, steering=steered())
    negative = int(np.flatnonzero(world.preferences.negative)[0])
    for kind in ("fine", "coarse"):
        world.steering[kind, "test"].preference[:2] = negative
    with pytest.raises(UnsupportedAxis, match="test"):
        compose.build(world)


# -- words ----------------------------------------------------------------------------------------------------------


def test_the_row_of_recommendation_is_asked_in_other_words():
    unworded = tuple(f"Mugs in {color}" for color in ("green", "red", "blue", "gold", "gray"))
    fives = [[("Find wool caps",), ("Search for oat tea",), last, ("late",)] for last in (unworded, ("Find mugs",))]
    splits = words.build(tables([[SOAP, CAP, OAT, GREEN], [LEMON, CAP, OAT, BLUE]], fives))
    row = splits["train"].to_pylist()[0]
    assert (row["history"], row["target"], row["original"]) == ([SOAP], CAP, "Find wool caps")
    assert row["preference"] == "I am after caps with wool"  # caps are its leaf category
    assert splits["test"]["original"].to_pylist() == ["Find mugs"]  # the other user's begin with no verb
    without, framed = splits.notes.values()
    assert without["test"] == 1 and framed == {"train": 2, "validation": 2, "test": 0}  # the table knows mugs
    assert constant_list("words", splits)["recall@2"] == 0


def test_a_preference_that_ends_in_a_leaf_category_is_turned_around():
    leaves = frozenset({"nail polish", "polish"})
    assert words._leaf_of("Search for shimmer red nail polish", leaves) == "nail polish"
    assert words._leaf_of("Search for shimmer red lipstick", leaves) == ""


# -- all, in a build ------------------------------------------------------------------------------------------------


def shop():
    """48 items of 6 kinds in 8 materials."""
    kinds, materials = (
        "lamp mug vase tray cushion candle".split(),
        "oak wool glass brass cork linen jute steel".split(),
    )
    pairs = [(kind, material) for kind in kinds for material in materials]
    return [item(n, f"{m} {k}".title(), "", ["Shop", k]) for n, (k, m) in enumerate(pairs, 1)]


def build(folder, rating):
    users = [(np.random.default_rng(user).permutation(48)[:9] + 1).tolist() for user in range(60)]
    source = ToySource(users, shop(), rating)
    return build_benchmark(
        source, "toy", folder, hash_embed, options=BuildOptions(min_count=1), progress=False, overwrite=True
    )


def test_the_axes_of_a_shop_without_ratings_are_those_that_need_none_and_break_no_promise(tmp_path):
    report = build(tmp_path / "benchmark", None)
    assert report.left_out["sentiment_with_history"] == "the interactions carry neither ratings nor review texts"
    assert report.left_out["avoid"] == "no preference is negative"
    for axis in ("strength", "compose", "words"):
        assert min(report.rows[f"toy_{axis}"].values()) > 0
    assert check_benchmark(tmp_path / "benchmark") == []
    card = (tmp_path / "benchmark/README.md").read_text()
    assert AXES["compose"].limits in card and "rows of the fine axis are in no pair" in card


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (lambda row: {"second_target": row["target"]}, "the second item is the target or in the history"),
        (lambda row: {"second_target": 999}, "ids are not in the catalog"),
        (lambda row: {"preferences": row["preferences"][:1] * 2}, "a row has not two different preferences"),
        (lambda row: {"preferences": row["preferences"][::-1]}, "a pair is of no steering row of its split"),
    ],
)
def test_a_broken_composition_is_found(tmp_path, change, promise):
    build(tmp_path / "benchmark", None)
    (path,) = (tmp_path / "benchmark/toy_compose").glob("test-*.parquet")
    table = pq.read_table(path)
    rows = [row | change(row) for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    assert any(f"toy: {promise}" in line for line in check_benchmark(tmp_path / "benchmark"))
