"""Obedience: what items are, what is asked, and that a perfect recommender scores 1 and a perverse one 0."""

import json
import math
from dataclasses import replace

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_models import build, random_codes

from dataset_builders.benchmark.fingerprints import content_fingerprint
from dataset_builders.building.interactions import connect
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.obedience.asking import Asker
from dataset_builders.obedience.asks import ASK_KINDS, Ask, avoid_what_comes, make_asks, misspell, with_histories
from dataset_builders.obedience.attributes import Attributes, read_attributes, stem, stems
from dataset_builders.obedience.baselines import WordOverlap, rank_by_cosine
from dataset_builders.obedience.measuring import measure, measure_curve, measure_strengths
from dataset_builders.obedience.metrics import (
    at_equal_suppression,
    by_wording,
    falls,
    found,
    list_values,
    main_measure,
    share,
    summarize,
    suppression,
    wilson_interval,
)
from dataset_builders.obedience.tables import format_results, format_wordings
from dataset_builders.obedience.wordings import FREE, LANGUAGES, SEEN, UNSEEN
from modeling_mender import SemanticIds
from modeling_mender.commands import obedience as evaluate_obedience

TRAINING_BEGINS = tuple(
    f"{words} "
    for words in (
        "search for",
        "look for",
        "find",
        "prefer",
        "opt for",
        "explore",
        "prioritize",
        "avoid",
        "i want",
        "show me",
        "not",
        "no",
    )
)
KINDS, COLORS = ("mugs", "lamps", "teas", "vases"), ("crimson", "azure", "golden", "ivory", "olive", "scarlet")


def shop(copies: int = 4) -> Attributes:
    """Four kinds in six colors, `copies` of each: item 1 is "Crimson Mug 0", item 2 "Crimson Mug 1"."""
    names = [(color, kind, copy) for kind in KINDS for color in COLORS for copy in range(copies)]
    titles = tuple(f"{color.title()} {kind[:-1].title()} {copy}" for color, kind, copy in names)
    return Attributes(
        titles,
        tuple(frozenset(stems(title)) for title in titles),
        {kind: frozenset(i for i, name in enumerate(names, 1) if name[1] == kind) for kind in KINDS},
        {color: frozenset(i for i, name in enumerate(names, 1) if name[0] == color) for color in COLORS},
        are_planted=False,
    )


ATTRIBUTES = shop()
NUM_ITEMS = len(ATTRIBUTES.titles)  # 96


def own_order(history: tuple[int, ...]) -> list[int]:
    """What a history brings without a preference: every 7th item from its last one on, so all kinds and colors."""
    return [(history[-1] + 7 * step) % NUM_ITEMS + 1 for step in range(NUM_ITEMS)]


class Fake:
    """A pipeline that knows what every sentence means; `perverse` does the opposite, strength moves items at all."""

    def __init__(self, asks, perverse=False, arguments=True, answers_nothing=False):
        self.meaning = {self.key(ask.preference, ask.avoid): ask for ask in asks}
        self.perverse, self.arguments, self.answers_nothing = perverse, arguments, answers_nothing
        self.requests, self.calls = [], []

    @staticmethod
    def key(preference, avoid):
        return json.dumps([list(preference), list(avoid)])

    def __call__(self, requests, k, **options):
        self.requests += requests
        self.calls.append(options)
        return [[{"item_id": item} for item in self.rank(request)[:k]] for request in requests]

    def rank(self, request):
        if not self.arguments and request.keys() & {"avoid", "strength"}:
            raise ValueError("this model reads neither avoid nor strength.")
        if not any(request.get(name) for name in ("history", "preference", "avoid")) and not self.answers_nothing:
            raise ValueError("request 0 is empty.")
        order = own_order(tuple(request.get("history") or (1,)))
        order = [item for item in order if item not in request.get("exclude", ())]
        said = request.get("preference", [])
        ask = self.meaning.get(self.key([said] if isinstance(said, str) else said, request.get("avoid", [])))
        if ask is None or request.get("strength") == 0:
            return order
        wanted = [item in ask.obeys and item not in ask.avoided for item in order]
        first = [item for item, good in zip(order, wanted, strict=True) if good is not self.perverse]
        return first + [item for item in order if item not in first]


class TestAttributes:
    def test_the_sample_shops_planted_truth_says_what_its_items_are(self):
        source = SampleSource()
        items = source.load(connect()).items.order_by("source_id").to_pyarrow().to_pylist()
        attributes = read_attributes(items[:200], "sample")
        assert attributes.are_planted
        truth = source.planted_truth().items
        for number, item in enumerate(items[:200], start=1):
            planted = truth[item["source_id"]]
            assert [kind for kind, members in attributes.kinds.items() if number in members] == [f"{planted.kind}s"]
            assert {value for value, members in attributes.values.items() if number in members} == set(
                planted.values.values()
            )

    def test_another_shop_under_the_samples_name_is_read_by_words(self):
        source = SampleSource()
        items = source.load(connect()).items.order_by("source_id").to_pyarrow().to_pylist()
        items[5]["title"] = "Something Else"
        assert not read_attributes(items, "sample").are_planted

    def test_by_words_a_kind_may_stand_in_the_title_or_in_a_category(self):
        items = [{"title": f"Model {n}", "brand": "Oak", "categories": ["Home", "Boxes & Bags"]} for n in range(10)]
        items += [
            {"title": f"Velvet bag in a box {n}", "brand": None, "categories": ["Home", "Gifts"]} for n in range(5)
        ]
        items += [{"title": f"Plain thing {n}", "brand": None, "categories": ["Home", "Gifts"]} for n in range(15)]
        attributes = read_attributes(items, "shop")
        assert attributes.kinds["boxes and bags"] == set(range(1, 16))
        assert "gifts" not in attributes.kinds  # 20 of 30 are more than half
        assert attributes.values["velvet"] == set(range(11, 16))

    def test_a_catalogue_without_kinds_is_refused_with_what_it_has(self):
        with pytest.raises(ValueError, match="has 0 kinds of 10 items or more and 0 values"):
            read_attributes([{"title": "One thing"}, {"title": "Another"}], "tiny")


class TestAsks:
    def test_there_are_200_in_five_wordings_of_each_kind_that_training_does_not_see(self):
        asks = make_asks(ATTRIBUTES)
        assert len([ask for ask in asks if not ask.is_seen]) >= 100  # of 4 kinds and 6 values; 12 and 42 give 333
        said_one_way = {"several wishes", "mixed, two arguments", "avoid kind, argument"}
        for kind in set(ASK_KINDS) - {"other language"} - said_one_way:
            assert len({ask.wording for ask in asks if ask.kind == kind and not ask.is_seen}) >= 5, kind

    def test_on_the_sample_shop_there_are_more_than_200_unseen_ones(self):
        items = SampleSource().load(connect()).items.order_by("source_id").to_pyarrow().to_pylist()
        asks = make_asks(read_attributes(items, "sample"))
        assert len({ask.sentence for ask in asks if not ask.is_seen}) > 300
        assert {ask.kind for ask in asks} == set(ASK_KINDS)

    def test_of_several_wishes_every_one_is_a_preference_and_something_has_all_of_them(self):
        asks = [ask for ask in make_asks(ATTRIBUTES) if ask.kind == "several wishes"]
        assert asks
        for ask in asks:
            search, *values = ask.preference
            assert search.startswith("Search for ") and len(set(values)) == len(values) >= 1
            kind = ATTRIBUTES.kinds[search.removeprefix("Search for ")]
            assert ask.obeys == kind.intersection(*(ATTRIBUTES.values[value] for value in values)) and ask.obeys

    def test_no_unseen_wording_begins_as_training_does(self):
        texts = [text for part in UNSEEN.values() for text in part] + [text for text, _, _ in FREE]
        assert not [text for text in texts if text.lower().startswith(TRAINING_BEGINS)]
        assert all(
            text.lower().startswith((*TRAINING_BEGINS, "i do not want ")) for one in SEEN.values() for text in one
        )
        assert all(len(set(part)) >= 5 for part in UNSEEN.values())

    def test_the_same_seed_gives_the_same_asks_and_another_seed_others(self):
        assert make_asks(ATTRIBUTES, 3) == make_asks(ATTRIBUTES, 3)
        assert make_asks(ATTRIBUTES, 3) != make_asks(ATTRIBUTES, 4)

    def test_every_ask_can_be_obeyed_and_what_obeys_is_not_avoided(self):
        for ask in make_asks(ATTRIBUTES):
            assert ask.obeys and ask.obeys.isdisjoint(ask.avoided), ask
            if ask.only_avoids:
                assert ask.obeys | ask.avoided == ATTRIBUTES.everything and ask.avoided

    def test_what_obeys_is_what_the_sentence_says(self):
        asks = {ask.sentence: ask for ask in make_asks(ATTRIBUTES)}
        mugs, azure = ATTRIBUTES.kinds["mugs"], ATTRIBUTES.values["azure"]
        assert asks["Search for azure mugs"].obeys == mugs & azure
        assert asks["Search for mugs but not azure"].obeys == mugs - azure
        assert asks["Search for mugs but not azure"].avoided == azure
        assert asks["Search for mugs. Avoid azure"].preference == ("Search for mugs",)
        assert asks["Search for mugs. Avoid azure"].avoid == ("azure",)
        assert asks["nothing with mugs for me"].avoided == mugs
        (title,) = [ask for ask in asks.values() if ask.kind == "exact title" and ask.is_seen][:1]
        (item,) = title.obeys
        assert title.sentence == f"Search for {ATTRIBUTES.titles[item - 1]}"

    def test_a_misspelt_word_is_one_edit_away_begins_alike_and_means_nothing(self):
        generator, known = np.random.default_rng(0), {"tea", "teak", "mug"}
        for word in ("teak", "lavender", "mug"):
            for _ in range(200):
                wrong = misspell(word, generator, known.__contains__)
                assert wrong[0] == word[0] and wrong not in known and wrong in one_edit_away(word) - {word}
        with pytest.raises(ValueError, match="has 2 letters"):
            misspell("no", generator, known.__contains__)

    def test_a_misspelt_ask_shares_all_but_one_word_with_its_right_form(self):
        vocabulary = frozenset().union(*ATTRIBUTES.words)
        for ask in make_asks(ATTRIBUTES):
            if ask.kind == "misspelt" and ask.is_seen:
                wrong = [word for word in ask.sentence.split()[2:] if stem(word) not in vocabulary]
                assert len(wrong) == 1

    def test_every_kind_of_the_sample_shop_has_a_word_in_every_language(self):
        from dataset_builders.building.sources.sample import KINDS as PLANTED

        for language in LANGUAGES.values():
            assert set(language.kinds) == {f"{kind.noun}s" for kind in PLANTED}
            assert len(language.wordings) == 5
        named = {kind for _, kinds, _ in FREE for kind in kinds}
        assert named <= {f"{kind.noun}s" for kind in PLANTED}

    def test_what_is_avoided_on_the_curve_comes_most_often_and_is_not_the_targets_kind(self):
        own = [1, 2, 3, 25, 26, 49]  # three mugs, two lamps, a tea
        assert avoid_what_comes(ATTRIBUTES, (5,), own, target=30).avoid == ("mugs",)
        assert avoid_what_comes(ATTRIBUTES, (5,), own, target=4).avoid == ("lamps",)
        assert avoid_what_comes(ATTRIBUTES, (5,), [1, 2], target=4) is None


def one_edit_away(word: str) -> set[str]:
    """Every word that one letter left out, put in or replaced, or two neighbors swapped, can make of a word."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    return (
        {head + tail[1:] for head, tail in cuts}
        | {head + letter + tail for head, tail in cuts for letter in letters}
        | {head + letter + tail[1:] for head, tail in cuts if tail for letter in letters}
        | {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1}
    )


class TestMetrics:
    def test_shares_count_places_and_found_counts_what_there_is(self):
        good = frozenset({1, 2, 3})
        assert share([1, 9, 2, 8, 7], good, 5) == 2 / 5
        assert share([1], good, 5) == 1 / 5
        assert found([1, 9, 2, 3], good) == 2 / 3
        assert found(list(range(1, 11)), frozenset(range(1, 50))) == 1.0

    def test_an_avoiding_list_is_held_against_the_histories_own(self):
        ask = Ask("avoid kind", 0, True, ("Avoid mugs",), history=(5,), obeys=frozenset({3, 4, 5}), avoided={1, 2})
        own = [1, 3, 2, 4, 5]
        assert list_values(ask, [3, 5, 4, 9, 1], own) == {
            "avoided@5": 1 / 5,
            "avoided@10": 1 / 10,
            "avoided_before@5": 2 / 5,
            "avoided_before@10": 2 / 10,
            "kept": 1.0,
            "order_kept": 0.0,
        }
        assert list_values(ask, [3, 9, 5], own)["kept"] == 2 / 3
        assert list_values(ask, [3, 9, 5], own)["order_kept"] == 1.0
        assert "order_kept" not in list_values(ask, [3, 9, 8], own)  # one item is in order whatever it does

    def test_an_exact_title_is_first_or_among_ten(self):
        ask = Ask("exact title", 0, True, ("Search for Red Mug",), obeys=frozenset({7}))
        assert list_values(ask, [7, 1]) | {"obeying@5": 0} == {
            "obeying@5": 0,
            "obeying@10": 0.1,
            "found": 1.0,
            "first": 1.0,
            "among@10": 1.0,
        }
        assert list_values(ask, [1, 7])["first"] == 0.0 and list_values(ask, [1, 7])["among@10"] == 1.0

    @pytest.mark.parametrize(
        ("mean", "count", "low", "high"), [(0.0, 10, 0.0, 0.2775), (1.0, 10, 0.7225, 1.0), (0.1, 100, 0.0552, 0.1744)]
    )
    def test_wilsons_interval_is_the_published_one(self, mean, count, low, high):
        assert wilson_interval(mean, count) == pytest.approx((low, high), abs=1e-4)

    def test_a_share_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match="share of 0"):
            wilson_interval(0.5, 0)

    def test_means_are_taken_by_kind_wording_and_history_and_answers_that_are_missing_are_left_out(self):
        asks = [
            Ask("free", 0, False, ("a",), obeys=frozenset({1})),
            Ask("free", 0, False, ("a",), obeys=frozenset({1}), history=(3,)),
            Ask("free", 0, False, ("a",), obeys=frozenset({1}), history=(4,)),
            Ask("free", 1, False, ("b",), obeys=frozenset({1}), history=(4,)),
        ]
        summary = summarize(asks, [None, [1], [2], [1]], {})
        assert list(summary["free"]) == ["unseen"] and list(summary["free"]["unseen"]) == ["with_history"]
        value = summary["free"]["unseen"]["with_history"]["found"]
        assert (value["mean"], value["lists"]) == (2 / 3, 3)
        worded = by_wording(asks, [None, [1], [2], [1]])["free"]
        assert (worded["0"]["mean"], worded["1"]["mean"], worded["1"]["example"]) == (0.5, 1.0, "b")

    def test_the_worst_wording_of_what_avoids_is_the_one_that_leaves_most(self):
        entry = {"low": 0, "high": 1, "lists": 1}
        table = format_wordings(
            {
                "avoid kind": {
                    "0": {"example": "good", "mean": 0.1, **entry},
                    "1": {"example": "bad", "mean": 0.9, **entry},
                },
                "free": {
                    "0": {"example": "right", "mean": 0.9, **entry},
                    "1": {"example": "wrong", "mean": 0.1, **entry},
                },
            }
        )
        assert "| avoid kind | bad | 0.90 | 1 |" in table and "| free | wrong | 0.10 | 1 |" in table

    def test_a_point_of_the_curve_is_what_is_left_and_the_gain_of_the_target(self):
        ask = Ask("avoid kind", 0, True, avoid=("x",), history=(5,), avoided=frozenset({1, 2}))
        point = suppression([ask, ask], [9, 9], [[1, 9, 3], [4, 5, 6]], {(5,): [2, 3, 4, 9, 8]})
        assert point["avoided@10"] == pytest.approx(0.05)
        assert point["kept"] == (2 / 4 + 1 / 4) / 2
        assert point["ndcg@10"] == pytest.approx(0.5 / math.log2(3))

    def test_at_equal_suppression_the_other_curve_is_read_between_its_points(self):
        curve = [
            {"avoided@10": left, "ndcg@10": gain} for left, gain in ((0.4, 0.2), (0.2, 0.1), (0.2, 0.3), (0.0, 0.0))
        ]
        points = [{"avoided@10": left} for left in (0.4, 0.3, 0.1, 0.5)]
        assert at_equal_suppression(points, curve) == [0.2, 0.25, 0.15, None]

    def test_a_request_falls_where_more_strength_finds_less(self):
        ask = Ask("free", 0, False, obeys=frozenset({1, 2}))
        better, worse = [[9, 8], [1, 8], [1, 2]], [[1, 2], [9, 8], [1, 9]]
        assert falls([ask, ask], [better, worse]) == {
            "requests": 2,
            "falling": 1,
            "steps": 1,
            "largest_fall": 1.0,
            "compliance": [0.5, 0.25, 0.75],
        }

    def test_a_list_that_is_missing_at_strength_0_is_no_fall(self):
        ask = Ask("avoid kind", 0, True, avoided=frozenset({1}))
        assert falls([ask], [[None, [1, 2], [2, 3]]])["falling"] == 0


@pytest.fixture(scope="module")
def asks():
    return make_asks(ATTRIBUTES)


class TestRecommenders:
    histories = ((3, 50), (70, 20))

    def measured(self, asks, **options):
        fake = Fake(asks, **options)
        asker = Asker(fake, self.histories[0])
        rows = [(list(history), target) for history in self.histories for target in (1, 30)]
        return measure(asker, ATTRIBUTES, self.histories, rows), fake

    @pytest.mark.parametrize(("perverse", "best"), [(False, 1.0), (True, 0.0)])
    def test_a_perfect_one_scores_1_everywhere_and_a_perverse_one_0(self, asks, perverse, best):
        results, _ = self.measured(asks, perverse=perverse)
        model = results["methods"]["model"]
        assert set(model) == set(ASK_KINDS) - {"other language"}
        for kind, entry in model.items():
            for sides in entry.values():
                assert set(sides) == {"without_history", "with_history"}
                for values in sides.values():
                    name = main_measure(kind)
                    assert values[name]["mean"] == (1 - best if name.startswith("avoided") else best), (kind, name)
        kept = model["avoid kind"]["unseen"]["with_history"]
        assert (kept["kept"]["mean"], kept["avoided@10"]["mean"]) == (best, 1 - best)
        if not perverse:
            assert kept["order_kept"]["mean"] == 1.0
            assert 0 < kept["avoided_before@5"]["mean"] < 1

    def test_no_request_is_made_twice(self, asks):
        results, fake = self.measured(asks)
        asked = [json.dumps(request, sort_keys=True) for request in fake.requests[4:]]  # the first four are trials
        assert len(asked) == len(set(asked)) == results["num_requests"]

    def test_one_without_avoid_is_asked_in_a_preference(self, asks):
        fake = Fake(asks, arguments=False)
        asker = Asker(fake, (3,))
        assert not asker.takes_arguments and not asker.answers_nothing
        two = next(ask for ask in asks if ask.kind == "mixed, two arguments")
        wanted = {"preference": ["Search for " + two.preference[0].split()[-1], f"Avoid {two.avoid[0]}"]}
        assert asker.request(two) == wanted
        assert asker.request(replace(two, strength=2.0, history=(4,))) == {"history": [4], **wanted}
        results, fake = self.measured(asks, arguments=False)
        assert results["monotone"] is None
        assert [point["strength"] for point in results["curve"]["strength"]] == [0, 1]
        assert not [request for request in fake.requests[4:] if request.keys() & {"avoid", "strength"}]

    def test_one_that_reads_no_preference_is_refused_in_its_own_words(self):
        def deaf(requests, k):
            if any(request.get("preference") for request in requests):
                raise ValueError("this model reads no preference.")
            return [[{"item_id": 1}] for _ in requests]

        with pytest.raises(ValueError, match="reads no preference"):
            Asker(deaf, (3,))

    def test_an_empty_request_is_answered_only_by_one_that_can(self, asks):
        nothing = Ask("none", 0, False)
        assert Asker(Fake(asks), (3,)).answers([nothing]) == [None]
        assert Asker(Fake(asks, answers_nothing=True), (3,)).answers([nothing]) == [own_order((1,))[:10]]

    def test_strength_0_is_no_preference_and_one_that_weakens_is_found_out(self, asks):
        results, _ = self.measured(asks)
        monotone = results["monotone"]
        assert monotone["strength_0"]["equal"] == monotone["strength_0"]["lists"] > 0
        assert all(entry["falling"] == 0 for entry in monotone["kinds"].values())

        class Tired(Fake):
            def rank(self, request):
                return super().rank(request | ({"strength": 0} if request.get("strength") == 4 else {}))

        tired = measure_strengths(Asker(Tired(asks), (3,)), asks, self.histories)
        assert tired["kinds"]["search kind"]["falling"] == tired["kinds"]["search kind"]["requests"] > 0

    def test_the_curve_starts_at_the_own_list_and_a_perfect_word_filter_ends_at_nothing(self, asks):
        results, _ = self.measured(asks)
        curve = results["curve"]
        assert list(curve["filters"]) == ["words"]
        points = curve["filters"]["words"]["points"]
        assert points[0]["removed"] == 0 and points[-1]["avoided@10"] == 0.0
        assert points[-1]["removed"] == 24  # all of one kind, and nothing else, though 40 % of 96 were asked for
        assert curve["strength"][0]["avoided@10"] == points[0]["avoided@10"] > 0
        assert curve["strength"][0]["ndcg@10"] == points[0]["ndcg@10"]
        assert curve["strength"][-1]["avoided@10"] == 0.0
        assert curve["filters"]["words"]["at_equal_suppression"][-1] == points[-1]["ndcg@10"]

    def test_a_filter_by_the_models_own_relevance_reads_the_terms(self, asks):
        class Explained(Fake):
            def __call__(self, requests, k, return_terms=False, **options):
                if not return_terms:
                    return super().__call__(requests, k, **options)
                self.calls.append((k, [len(request["candidates"]) for request in requests]))
                return [
                    [{"item_id": item, "terms": {"history": 0.5, "avoid 1": -item}} for item in request["candidates"]]
                    for request in requests
                ]

        asker = Asker(Explained(asks), (3,))
        for count in (NUM_ITEMS, 200, 450):
            assert asker.avoided_relevance("mugs", count, (3,)).tolist() == list(range(1, count + 1))
        assert asker.recommend.calls[-2:] == [(200, [200, 200]), (50, [50])]
        curve = measure_curve(asker, ATTRIBUTES, [([3, 50], 1)], WordOverlap(ATTRIBUTES.words))
        assert list(curve["filters"]) == ["words", "model"]
        assert [point["removed"] for point in curve["filters"]["model"]["points"]] == [0, 1, 2, 3, 5, 7, 10, 19, 38]

    def test_without_a_row_to_avoid_anything_on_there_is_no_curve(self, asks):
        assert measure_curve(Asker(Fake(asks), (3,)), ATTRIBUTES, [], WordOverlap(ATTRIBUTES.words)) is None

    def test_the_tables_name_every_ask_and_every_way(self, asks):
        results, _ = self.measured(asks)
        text = format_results(results)
        assert all(f"| {kind} |" in text for kind in results["methods"]["model"])
        assert "| strength 0.25 |" in text and "| filter by words, 24 items |" in text
        assert "Strength 0 gives the list without preference in" in text


class TestBaselines:
    def test_words_find_value_and_kind_and_put_the_rest_in_the_histories_order(self):
        overlap = WordOverlap(ATTRIBUTES.words)
        azure_mugs = ATTRIBUTES.kinds["mugs"] & ATTRIBUTES.values["azure"]
        assert set(overlap.rank(Ask("free", 0, False, ("Search for azure mugs",)), 4)) == azure_mugs
        own = own_order((9,))[:20]
        avoiding = overlap.rank(Ask("avoid kind", 0, True, ("Avoid mugs",)), 10, own)
        assert avoiding == [item for item in own if item not in ATTRIBUTES.kinds["mugs"]][:10]

    def test_words_behind_a_negation_count_against_an_item(self):
        overlap = WordOverlap(ATTRIBUTES.words)
        ranked = overlap.rank(Ask("mixed", 0, True, ("Search for mugs but not azure",)), 20)
        assert set(ranked) == ATTRIBUTES.kinds["mugs"] - ATTRIBUTES.values["azure"]

    def test_the_nearest_title_comes_first_and_the_smaller_id_where_two_tie(self):
        titles = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
        assert rank_by_cosine(np.array([[0, 1], [1, 0]], np.float32), titles, 3, block_size=1) == [
            [2, 3, 1],
            [1, 2, 3],
        ]

    def test_histories_come_after_the_asks_without(self):
        ask = Ask("free", 0, False, ("a",))
        assert [one.history for one in with_histories([ask, ask], [(1,), (2,)])] == [(), (), (1,), (1,), (2,), (2,)]


@pytest.fixture(scope="module")
def small_shop(tmp_path_factory):
    """A benchmark of 24 mugs and lamps in five colors, and a random Mender_Emb for it."""
    folder = tmp_path_factory.mktemp("obedience")
    kinds = [("Mugs", "Kitchen")] * 12 + [("Lamps", "Home")] * 12
    items = {
        "item_id": list(range(1, 25)),
        "title": [f"{COLORS[number % 5].title()} {kind[:-1]}" for number, (kind, _) in enumerate(kinds)],
        "brand": [None] * 24,
        "categories": [[place, kind] for kind, place in kinds],
    }
    rows = {"user_id": list("abcd"), "history": [[1], [2, 3], [], [14]], "target": [4, 7, 1, 20]}
    for name, split, columns in (("items", "train", items), ("recommendation", "test", rows)):
        (folder / f"toy_{name}").mkdir()
        datasets.Dataset.from_dict(columns).to_parquet(folder / f"toy_{name}/{split}-00000-of-00001.parquet")
    (folder / "reports").mkdir()
    digest = content_fingerprint({"train": pq.read_table(folder / "toy_items/train-00000-of-00001.parquet")})
    (folder / "reports/toy.json").write_text(json.dumps({"fingerprints": {"toy_items": digest}, "rows": {}}))
    ids = SemanticIds(random_codes(24, 3, 4, seed=0), codebook_size=4)
    model, processor = build("emb", "bert", folder, ids)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder


def command(folder, *rest):
    usual = {"--benchmark": str(folder), "--domain": "toy", "--histories": "2"}
    usual = {name: value for name, value in usual.items() if name not in rest}
    return [str(folder / "model"), *(word for pair in usual.items() for word in pair), *rest]


class TestCommand:
    def test_a_model_is_asked_through_the_pipeline_and_the_file_says_what_was_printed(
        self, small_shop, tmp_path, capsys
    ):
        status = evaluate_obedience.main(command(small_shop, "--curve_rows", "3", "--output_dir", str(tmp_path)))
        assert status == 0, capsys.readouterr().err
        printed = capsys.readouterr().out
        assert [path.name for path in tmp_path.iterdir()] == ["obedience.json"]
        results = json.loads((tmp_path / "obedience.json").read_text())
        assert (results["model_type"], results["attributes"], results["num_histories"]) == ("mender_emb", "words", 2)
        assert results["num_lists"] == 3 * results["num_asks"]
        assert set(results["methods"]) == {"model", "no preference", "words", "cosine"}
        fingerprints = results["benchmark"]["fingerprints"]  # of the rows themselves, whatever the report states
        stated = json.loads((small_shop / "reports/toy.json").read_text())["fingerprints"]
        assert set(fingerprints) == {"toy_items", "toy_recommendation"} and stated.items() < fingerprints.items()
        mean = results["methods"]["words"]["search kind"]["seen"]["with_history"]["obeying@5"]["mean"]
        assert mean == 1.0
        assert format_results(results) in printed

    def test_the_same_seed_gives_the_same_scores(self, small_shop, tmp_path):
        for name in ("one", "two"):
            words = command(small_shop, "--curve_rows", "0", "--baseline", "--output_dir", str(tmp_path / name))
            assert evaluate_obedience.main(words) == 0
        one, two = (json.loads((tmp_path / name / "obedience.json").read_text()) for name in ("one", "two"))
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
        assert set(one["methods"]) == {"model", "no preference"} and one["curve"] is None

    @pytest.mark.parametrize(
        ("rest", "says"),
        [
            (["--histories", "0"], "histories (0) must be at least 1"),
            (["--num_beams", "4"], "num_beams (4) must be at least 10"),
            (["--domain", "other"], "no config of domain 'other'"),
        ],
    )
    def test_bad_input_is_one_line(self, small_shop, capsys, rest, says):
        assert evaluate_obedience.main(command(small_shop, *rest)) == 1
        error = capsys.readouterr().err.strip()
        assert says in error and "\n" not in error
