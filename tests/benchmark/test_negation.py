"""Polarity of preferences, and inversion by the leading word only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_builders.benchmark.negation import invert, is_negative_preference


@pytest.mark.parametrize("preference", ["Avoid soap", "no soap", "EXCLUDE soap", "  Avoid soap", "Avoid: soap", "No"])
def test_the_words_avoid_exclude_and_no_are_negative(preference):
    assert is_negative_preference(preference)


@pytest.mark.parametrize(
    "preference",
    ["Nourishing oils", "Note the scent", "Nontoxic polish", "No-rinse shampoo", "Avoidance", "Find no soap", ""],
)
def test_their_letters_alone_are_not(preference):
    assert not is_negative_preference(preference)
    with pytest.raises(ValueError, match="cannot be inverted"):
        invert(preference)


def test_inversion_replaces_the_leading_word_only():
    assert invert("Avoid parabens") == "Find parabens"
    assert invert("avoid OPI, and avoid No7") == "Find OPI, and avoid No7"
    assert invert("Exclude Soap", "Search for") == "Search for Soap"


@given(st.sampled_from(["Avoid", "exclude", "NO"]), st.text(max_size=30), st.sampled_from(["Find", "Search for"]))
def test_an_inverted_preference_is_positive_and_keeps_the_rest(word, rest, replacement):
    inverted = invert(f"{word} {rest}", replacement)
    assert inverted == f"{replacement} {rest}"
    assert not is_negative_preference(inverted)
