"""Words of the catalog: which items have them, which of them a preference names, and misspelt ones."""

import math
import random

import pytest

from dataset_builders.building.sources.sample import KINDS
from modeling_mender.item_words import (
    MAX_CORRECTED,
    REQUEST_WORDS,
    STOP_WORDS,
    ItemWords,
    _signature,
    content_words,
    edit_distance,
    fold,
    stem,
)

TEXTS = [
    "Retro Walnut Table Lamp in Mustard by Oakmere",
    "Rustic Brass Table Lamps",
    "Lavender Honey Bar Soap",
    "Lavender Scented Candle, Paraben Free",
    "Sulfate-Free Shampoo without Parabens, 12 oz",
    "",
]


@pytest.fixture(scope="module")
def words():
    return ItemWords(TEXTS)


def never(word):
    return False


def always(word):
    return True


def names(words, text):
    return [words.vocabulary[number] for number, _ in words.match(text).known]


@pytest.mark.parametrize(
    "forms",
    [
        "candle candles",
        "box boxes",
        "vase vases",
        "glass glasses",
        "brush brushes",
        "watch watches",
        "peach peaches",
        "berry berries",
        "cookie cookies",
        "tie ties",
        "shoe shoes",
        "tomato tomatoes",
        "headache headaches",
        "leaf leaves",
        "woman women",
        "child children",
        "lens lenses",
        "color colour colors colours",
        "moisturize moisturizer moisturizers moisturizing moisturising moisturiser moisturised",
        "paraben-free parabens-free",
    ],
)
def test_inflections_of_a_word_share_their_stem(forms):
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize(
    "pair", ["bar bare", "car care", "pin pine", "cap cape", "rose rosin", "glass glaze", "wood wool", "star stare"]
)
def test_different_words_keep_different_stems(pair):
    first, second = pair.split()
    assert stem(first) != stem(second)


@pytest.mark.parametrize("word", ["cactus", "iris", "wedding", "earring", "dress", "gas", "red", "ring"])
def test_endings_that_are_no_inflections_stay(word):
    assert stem(word) == word


def test_case_accents_apostrophes_and_possessives_do_not_matter():
    assert fold("Crème") == fold("CREME") == "creme"
    assert fold("women's") == fold("Women’s") == "women"
    assert fold("L’Oréal") == fold("L'Oreal") == "loreal"


def test_stop_words_single_letters_and_single_digits_are_no_content():
    assert list(content_words("The no. 7 lipstick, with a 15 ml bottle & C vitamin")) == [
        "lipstick",
        "15",
        "ml",
        "bottle",
        "vitamin",
    ]


def test_what_an_item_lacks_is_another_word_than_what_it_has(words):
    assert names(words, "parabens") == []
    assert names(words, "paraben-free") == names(words, "without parabens") == ["paraben-free"]
    assert names(words, "no sulfates or parabens") == ["sulfate-free", "paraben-free"]
    assert len(words.items_with(words.word_ids["paraben-free"])) == 2


def test_a_word_is_known_in_any_inflection(words):
    assert words.knows("Lamp") and words.knows("CANDLES") and words.knows("Parabens-Free")
    assert not words.knows("parabens") and not words.knows("with")


def test_free_after_a_function_word_lacks_nothing():
    assert list(content_words("with free brush")) == ["brush"]
    assert list(content_words("no rinse and is gentle")) == ["rinse-free", "gentle"]


def test_the_vocabulary_is_sorted_and_distinct_and_the_lists_hold_every_item_of_a_word(words):
    assert words.vocabulary == sorted(set(words.vocabulary))
    assert len(words) == len(words.idf) == len(words.starts) - 1
    assert words.starts[0] == 0 and words.starts[-1] == len(words.items)
    for number, word in enumerate(words.vocabulary):
        expected = [item for item, text in enumerate(TEXTS) if word in {stem(one) for one in content_words(text)}]
        assert words.items_with(number) == expected
        assert words.word_ids[word] == number
        assert words.idf[number] == math.log(1 + len(TEXTS) / len(expected))


def test_two_inflections_in_one_text_count_the_item_once():
    words = ItemWords(["Soap and soaps", "Soaps"])
    assert words.vocabulary == ["soap"]
    assert words.items == [0, 1]


def test_a_word_of_fewer_items_weighs_more(words):
    assert words.idf[words.word_ids["walnut"]] > words.idf[words.word_ids["lavender"]] > 0


def test_a_preference_matches_whatever_its_inflection_case_and_order(words):
    assert names(words, "LAMPS, walnut; lamp") == ["lamp", "walnut"]
    assert words.match("walnut lamps").known == [
        (words.word_ids[word], words.idf[words.word_ids[word]]) for word in ("walnut", "lamp")
    ]


def test_content_that_the_catalogue_lacks_is_told_once_in_the_order_of_the_text(words):
    known, unknown = words.match("Please find me Velvet trays, walnut trays and a bathtub")
    assert unknown == ["velvet", "trays", "bathtub"]
    assert [words.vocabulary[number] for number, _ in known] == ["walnut"]


def test_words_of_asking_neither_match_nor_are_unknown():
    words = ItemWords(["Finding Things", "Search Light"])
    assert words.match("Search for something, please") == ([], [])
    assert REQUEST_WORDS.isdisjoint(STOP_WORDS)


def test_nothing_matches_an_empty_text_or_an_empty_catalogue(words):
    assert words.match("") == words.match("  ,;") == ([], [])
    assert ItemWords([]).match("walnut lamps") == ([], ["walnut", "lamps"])
    assert ItemWords([]).correct("walnutt", never) is None
    assert ItemWords([]).starts == [0]


def test_one_string_instead_of_a_list_is_refused():
    with pytest.raises(ValueError, match="one text per item"):
        ItemWords("Walnut Lamp")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lavander", "lavender"),  # replaced
        ("lavenderr", "lavender"),  # one too many
        ("lavnder", "lavender"),  # one missing
        ("lavedner", "lavender"),  # swapped
        ("candel", "candle"),
        ("Wallnut", "walnut"),
        ("shmapo", None),  # two edits, six letters
        ("shmapooo", "shampoo"),  # two edits, eight letters
        ("lavandar", "lavender"),
        ("sop", None),  # three letters
        ("sopa", "soap"),
        ("serach", "search"),
        ("withuot", "without"),
        ("exlude", "exclude"),
        ("tablelamp", "table lamp"),
        ("barsoap", "bar soap"),
        ("lampsoap", None),  # no item has both
        ("zzzzzzzz", None),
        ("lamp5", None),
        ("lamps", None),  # known
        ("please", None),
        ("without", None),
    ],
)
def test_a_misspelt_word_becomes_its_neighbor_in_the_catalogue_and_no_other_does(words, written, meant):
    assert words.correct(written, never) == meant


def test_a_correct_english_word_that_the_catalogue_lacks_never_becomes_another(words):
    assert words.correct("candie", never) == "candle"
    assert words.correct("candie", always) is None
    assert words.correct("hoap", lambda word: word == "hoap") is None
    # the plural of a correct word is correct
    assert words.correct("camps", never) == "lamps"
    assert words.correct("camps", lambda word: word == "camp") is None


def test_is_word_is_asked_in_lower_case_and_for_words_in_doubt_only(words):
    asked = []
    words.correct_text("Lavander LAMPS, please, it's 12", lambda word: asked.append(word))
    assert asked == ["lavander", "lavander"]


def test_the_first_letter_and_then_the_number_of_items_decide_between_equally_near_words():
    words = ItemWords(["bamp", "bamp", "lama", "lame", "lame", "lamb"])
    assert words.correct("lamp", never) == "lame"
    assert ItemWords(["bamp", "bamp", "lama", "lamb"]).correct("lamp", never) == "lama"
    assert ItemWords(["bamp"]).correct("lamp", never) == "bamp"


def test_a_correction_has_the_form_that_the_texts_have():
    words = ItemWords(["Gold Berries"])
    assert words.correct("berreis", never) == "berries"


def test_a_corrected_text_keeps_everything_else(words):
    text = "Serach for LAVANDER candels—12 oz, it's for Retro  lovers; candels!"
    assert words.correct_text(text, lambda word: word == "lovers") == (
        "Search for LAVENDER candle—12 oz, it's for Retro  lovers; candle!",
        {"Serach": "Search", "LAVANDER": "LAVENDER", "candels": "candle"},
    )


def test_a_text_without_mistakes_comes_back_as_it_was(words):
    text = "Find paraben-free shampoo,  please"
    assert words.correct_text(text, never) == (text, {})
    assert words.correct_text("", never) == ("", {})


def test_words_without_end_are_left_alone(words):
    assert words.correct("l" * (MAX_CORRECTED + 1), never) is None
    long_text = "lavander " * 1000 + "x" * 10_000
    corrected, corrections = words.correct_text(long_text, never)
    assert corrections == {"lavander": "lavender"}
    assert corrected.count("lavender ") == 1000


def test_the_edit_distance_equals_the_whole_table():
    def by_table(first, second):
        cost = {(-1, column): column + 1 for column in range(-1, len(second))}
        cost |= {(row, -1): row + 1 for row in range(-1, len(first))}
        for row, letter in enumerate(first):
            for column, other in enumerate(second):
                ways = [cost[row - 1, column] + 1, cost[row, column - 1] + 1]
                ways.append(cost[row - 1, column - 1] + (letter != other))
                if row and column and letter == second[column - 1] and first[row - 1] == other:
                    ways.append(cost[row - 2, column - 2] + 1)
                cost[row, column] = min(ways)
        return cost[len(first) - 1, len(second) - 1]

    generator = random.Random(0)
    for _ in range(3000):
        first, second = ("".join(generator.choices("abc", k=generator.randrange(7))) for _ in range(2))
        exact = by_table(first, second)
        assert [edit_distance(first, second, limit) for limit in (1, 2, 3)] == [
            min(exact, limit + 1) for limit in (1, 2, 3)
        ]
        # what the search for neighbors skips is farther than it looks for
        apart = (_signature(first) ^ _signature(second)).bit_count()
        assert apart <= 2 * exact - abs(len(first) - len(second))


def test_nine_of_ten_edits_in_words_of_the_sample_shop_are_undone():
    """The others are nearer to another word of the shop."""
    titles = [
        kind.title.format(**{family: values[number % len(values)] for family, values in kind.values.items()})
        for kind in KINDS
        for number in range(12)
    ]
    words = ItemWords(titles)
    vocabulary = sorted({word for title in titles for word in content_words(title) if len(word) >= 5})
    generator = random.Random(0)
    right = asked = 0
    for word in vocabulary:
        place = generator.randrange(1, len(word) - 1)
        head, letter, following, tail = word[:place], word[place], word[place + 1], word[place + 2 :]
        for end in (following, letter + letter + following, following + letter, "q" + following):
            written = head + end + tail
            if stem(written) not in words.word_ids:
                asked += 1
                right += words.correct(written, never) == word
    assert asked > 150
    assert right / asked > 0.9
