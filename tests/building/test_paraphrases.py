"""Paraphrases of the sample shop: no word of a title in them, and every sentence is read back as what was worded."""

import re

import pytest
from benchmark_world import read_events

from dataset_builders.benchmark.negation import invert, is_negative_preference
from dataset_builders.building.interactions import connect, prepare_interactions
from dataset_builders.building.preferences.metadata import GENERIC, Choice, MetadataApproximator
from dataset_builders.building.preferences.paraphrased_metadata import ParaphrasedMetadataApproximator
from dataset_builders.building.preferences.paraphrases import (
    FRAMES,
    HELD_OUT_FRAME,
    MAKERS,
    PLACES,
    SENTENCES,
    VALUES,
    paraphrase,
    read_choice,
    word_choice,
)
from dataset_builders.building.sources.sample import SampleSource
from dataset_builders.building.sources.sample_vocabulary import BRANDS, FAMILIES, KINDS, planted_item
from dataset_builders.obedience.attributes import stems
from dataset_builders.obedience.planted import attributes_of, wish_of

TABLE = VALUES | PLACES | MAKERS
PARAPHRASES = [phrase for phrases in TABLE.values() for phrase in phrases]
SHOP = {"in", "by"}.union(
    *(stems(name) for name in TABLE), *(stems(re.sub(r"{\w+}", "", kind.title) + kind.noun) for kind in KINDS)
) - {"and"}


def test_every_attribute_of_the_shop_has_paraphrases():
    assert VALUES.keys() == {value for values in FAMILIES.values() for value in values}
    assert MAKERS.keys() == set(BRANDS)
    assert PLACES.keys() == {name.replace("&", "and").lower() for kind in KINDS for name in kind.categories}
    assert SENTENCES.keys() == set(GENERIC)
    assert FRAMES.keys() == {"Search for", "Prefer", "Look for", "Opt for", "Prioritize", "Explore", "Avoid"}


def test_no_two_paraphrases_can_be_taken_for_each_other():
    assert not [(one, other) for one in PARAPHRASES for other in PARAPHRASES if one is not other and one in other]


@pytest.mark.parametrize(
    "sentence",
    [
        *PARAPHRASES,
        *(text for pair in SENTENCES.values() for text in pair),
        *(frame for frames in FRAMES.values() for frame in frames),
        HELD_OUT_FRAME,
    ],
)
def test_no_paraphrase_shares_a_stem_with_a_title_or_category(sentence):
    for word in stems(sentence):
        long = [name for name in SHOP if min(len(name), len(word)) >= 4]
        assert word not in SHOP, word
        assert not [name for name in long if name.startswith(word) or word.startswith(name)], word


class Recording(MetadataApproximator):
    """Remembers what each sentence was worded from."""

    def __init__(self):
        super().__init__()
        self.choices = {}

    def word(self, choice, tastes):
        sentence = super().word(choice, tastes)
        self.choices.setdefault(sentence, choice)
        assert self.choices[sentence].text == choice.text, "a sentence has one meaning"
        return sentence


class RecordingParaphrases(Recording, ParaphrasedMetadataApproximator):
    """The same of metadata/2."""


@pytest.fixture(scope="module")
def shop():
    interactions = prepare_interactions(SampleSource(num_users=200).load(connect()))
    items = interactions.items.order_by("item_id").to_pyarrow().to_pylist()
    sequences = read_events(interactions.events)
    return items, list(zip(sequences.user_ids, sequences.past_items(items), strict=True))


@pytest.fixture(scope="module", params=[Recording, RecordingParaphrases])
def worded(request, shop):
    approximator = request.param()
    approximator.prepare(shop[0])
    sets = {user: approximator.approximate_user(user, events) for user, events in shop[1]}
    return {text: approximator.choices[text] for five in sets.values() for texts in five for text in texts}


def test_every_preference_is_read_back_as_the_attributes_it_was_worded_from(worded):
    assert len(worded) > 1000
    generic = []
    for text, choice in worded.items():
        wish = wish_of(text)
        if choice.generic:
            generic.append(text)
            assert wish is None
            continue
        named = {*choice.words, choice.brand, choice.place} - {""}
        assert is_negative_preference(text) == (choice.verb == "Avoid")
        assert (wish.unwanted, wish.wanted) == ((named, set()) if choice.verb == "Avoid" else (set(), named))
        if choice.verb == "Avoid":
            assert wish_of(invert(text)).wanted == wish_of(invert(text, "Search for")).wanted == named
        assert set().union(*(attributes_of(planted_item_of(item)) for item in choice.items)) >= named
    assert len(generic) <= 1  # two generic ones would show that the ladder above them is short


def planted_item_of(attributes):
    """The planted item of an item's attributes: its words are its values."""
    kind = next(kind for kind in KINDS if kind.categories[2].lower() == attributes.leaf)
    values = {family: value for family, some in kind.values.items() for value in some if value in attributes.words}
    title = kind.title.format(**{family: value.title() for family, value in values.items()})
    return planted_item(
        {"title": f"{title} by {attributes.brand}", "brand": attributes.brand, "categories": kind.categories}
    )


def test_a_paraphrase_has_the_wish_and_polarity_of_the_preference_and_no_word_of_the_shop(worded):
    for text in worded:
        given = paraphrase(text)
        assert given.kind == "full"
        assert given.text != text and wish_of(given.text) == wish_of(text)
        assert is_negative_preference(given.text) == is_negative_preference(text)
        assert SHOP.isdisjoint(stems(given.text))


def test_the_two_wordings_make_the_same_choices_and_the_second_shares_no_word_with_any_item(shop):
    first, second = MetadataApproximator(), ParaphrasedMetadataApproximator()
    for approximator in (first, second):
        approximator.prepare(shop[0])
    for user, events in shop[1][:50]:
        pairs = zip(first.approximate_user(user, events), second.approximate_user(user, events), strict=True)
        for fives in pairs:
            for one, other in zip(*fives, strict=True):
                assert wish_of(one) == wish_of(other)
                assert SHOP.isdisjoint(stems(other))


def test_what_the_shop_does_not_have_is_not_read_and_not_worded():
    assert read_choice("Search for lavender dog food") is None
    assert read_choice("My sister loves lavender") is None
    with pytest.raises(ValueError, match="plaid"):
        word_choice(Choice("Search for", ("plaid",)))


@pytest.mark.parametrize(
    ("preference", "leaf", "brand", "expected"),
    [
        ("Search for shimmer red nail polish", "nail polish", "", "I am after nail polish with shimmer and red"),
        ("Prefer shimmer and red nail polish", "nail polish", "", "I am after nail polish with shimmer and red"),
        ("Look for O.P.I nail polish", "nail polish", "O.P.I", "I am after nail polish from O.P.I"),
        ("Avoid nail polish", "nail polish", "", "No nail polish"),
        ("No parabens", "", "", "Exclude parabens"),
        ("Prioritize other nail polish", "nail polish", "", "I am after other nail polish"),
        ("Search for gentle cleansers", "masks", "", "I am after gentle cleansers"),
    ],
)
def test_where_the_words_are_not_known_only_the_frame_changes(preference, leaf, brand, expected):
    given = paraphrase(preference, leaf, brand)
    assert (given.text, given.kind) == (expected, "frame")
    assert is_negative_preference(expected) == is_negative_preference(preference)


@pytest.mark.parametrize("preference", ["My skin is dry", "", "Find"])
def test_a_sentence_without_a_known_verb_has_no_paraphrase(preference):
    assert paraphrase(preference) is None
