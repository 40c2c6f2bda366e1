"""What Mender_Steer's processor reads in preferences: titles, corrections, what is avoided, and how strongly."""

import numpy as np
import pytest
import torch
from tiny_models import tokenizer
from transformers import AutoProcessor

from modeling_mender import MenderSteerProcessor
from modeling_mender.preference_parsing import SplitPreference

TITLES = [
    "Walnut Table Lamp",
    "Ceramic Table Lamp",
    "Lavender Soap",
    "Oat Soap",
    "No Crease Shirt",
    "Salt without Pepper",
    "Green Tea",
]
ITEMS = [{"title": title, "text": f"{title} by Oakmere"} for title in TITLES]
OAT = [("oat", 1.0)]


@pytest.fixture
def processor():
    return MenderSteerProcessor(tokenizer("bert"), items=ITEMS, max_length=32)


def read(processor, **fields):
    """(text, strength) of each request's texts."""
    return [[(text.text, text.strength) for text in texts] for _, texts in processor.read(**fields)]


def words(processor, text):
    """The catalog's words in a text, spelt out."""
    return {processor.words.vocabulary[word] for word in text.words}


# -- a sentence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Search for walnut lamps", [("walnut lamps", 1.0)]),
        ("Avoid lavender soap", [("lavender soap", -1.0)]),
        ("lamp, not walnut", [("lamp", 1.0), ("walnut", -1.0)]),
        ("soap but not lavender", [("soap", 1.0), ("lavender", -1.0)]),
        ("no preference", []),
        ("unicorn", [("unicorn", 1.0)]),
    ],
)
def test_a_sentence_is_split_into_what_is_wanted_and_avoided(processor, text, expected):
    assert read(processor, preference=text) == [expected]


@pytest.mark.parametrize("title", ["No Crease Shirt", "no crease  shirt", "Salt without Pepper"])
def test_an_exact_title_is_not_split(processor, title):
    assert read(processor, preference=title) == [[(title, 1.0)]]
    assert read(processor, avoid=title) == [[(title, -1.0)]]
    assert read(processor, preference="Salt without Pepper please") == [[("Salt", 1.0), ("Pepper", -1.0)]]


def test_misspelt_words_are_corrected_and_named_beside_the_text_that_has_them(processor):
    ((_, (wanted, avoided)),) = processor.read(preference="walnutt tablelamp, not lavander")
    assert (wanted.text, avoided.text) == ("walnut table lamp", "lavender")
    assert wanted.corrections == {"walnutt": "walnut", "tablelamp": "table lamp"}
    assert avoided.corrections == {"lavander": "lavender"}
    assert words(processor, wanted) == {"walnut", "table", "lamp"}


@pytest.mark.parametrize("mark", ["", "▁", "Ġ"])
def test_a_word_that_the_tokenizer_has_whole_is_not_misspelt(mark):
    """However its vocabulary marks the beginning of a word."""
    knowing = MenderSteerProcessor(tokenizer("bert", [f"{mark}sable"]), items=ITEMS)
    not_knowing = MenderSteerProcessor(tokenizer("bert"), items=ITEMS)
    assert read(knowing, preference="sable") == [[("sable", 1.0)]]
    assert read(not_knowing, preference="sable") == [[("table", 1.0)]]


def test_the_share_of_known_words_is_by_weight(processor):
    ((_, (text,)),) = processor.read(preference="oat soap")
    assert text.known == 1.0 and words(processor, text) == {"oat", "soap"}
    ((_, (text,)),) = processor.read(preference="unicorn soap")
    idf = processor.words.idf[processor.words.word_ids["soap"]]
    assert text.known == pytest.approx(idf / (idf + max(processor.words.idf)))
    ((_, (text,)),) = processor.read(preference="unicorn")
    assert (text.known, text.words) == (0.0, ())


def test_a_language_model_may_split_in_place_of_the_rules(processor):
    assert read(processor, preference="oat") == [OAT]
    processor.split = lambda text: SplitPreference(("tea",), (text.upper(), " "))
    assert read(processor, preference="oat", strength=2) == [[("tea", 2.0), ("OAT", -2.0)]]
    assert "split" not in processor.to_dict()


# -- what is avoided --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lavender soap", [("lavender soap", -1.0)]),
        ("no lavender soap", [("lavender soap", -1.0)]),
        ("Avoid lavender soap", [("lavender soap", -1.0)]),
        ("lamps and soap", [("lamps", -1.0), ("soap", -1.0)]),
        ("lamp but not walnut", [("lamp", -1.0), ("walnut", -1.0)]),
    ],
)
def test_in_the_field_of_what_is_avoided_all_of_a_sentence_is(processor, text, expected):
    assert read(processor, avoid=text) == [expected]


def test_a_negative_strength_turns_a_text_around(processor):
    assert read(processor, preference="oat", strength=-0.5) == [[("oat", -0.5)]]
    assert read(processor, preference="Avoid oat", strength=-1) == [OAT]
    assert read(processor, avoid="oat", strength=-1) == [OAT]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"avoid": "oat"}, [["oat"]]),
        ({"avoid": ["oat", "tea"]}, [["oat"], ["tea"]]),
        ({"avoid": [["oat", "tea"]]}, [["oat", "tea"]]),
        ({"history": [[1]], "avoid": ["oat", "tea"]}, [["oat", "tea"]]),
        ({"history": [[1]], "avoid": [["oat", "tea"]]}, [["oat", "tea"]]),
        ({"history": [[1]], "avoid": ["oat"]}, [["oat"]]),
        ({"history": [[1], [2]], "avoid": "oat"}, [["oat"], ["oat"]]),
        ({"history": [[1], [2]], "avoid": ["oat", ["tea", "soap"]]}, [["oat"], ["tea", "soap"]]),
        ({"history": [[1], [2]], "avoid": [None, "tea"]}, [[], ["tea"]]),
        ({"history": [[1]], "avoid": [None]}, [[]]),
        ({"history": [[1]], "avoid": []}, [[]]),
        ({"history": [[1]], "avoid": ["", " "]}, [[]]),
    ],
    ids=str,
)
def test_what_is_avoided_comes_in_the_forms_of_preferences(processor, fields, expected):
    assert read(processor, **fields) == [[(text, -1.0) for text in texts] for texts in expected]


# -- strengths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (None, [1, 1, -1]),
        (0.5, [0.5, 0.5, -0.5]),
        ([0.5], [0.5, 0.5, -0.5]),
        ([[0.5, 2]], [0.5, 2, -1]),
        ([0.5, 2], [0.5, 2, -1]),
        ([[0.5, 2, 3]], [0.5, 2, -3]),
        ([[0.5, None]], [0.5, 1, -1]),
        ([(0.5, 2)], [0.5, 2, -1]),
        (torch.tensor([[0.5, 2.0]]), [0.5, 2, -1]),
        (-1, [-1, -1, 1]),
    ],
    ids=str,
)
def test_a_strength_is_one_for_all_texts_or_one_for_each(processor, strength, expected):
    (found,) = read(processor, history=[[1]], preference=[["oat", "tea"]], avoid=["soap"], strength=strength)
    assert found == list(zip(("oat", "tea", "soap"), expected, strict=True))


def test_each_of_several_requests_has_its_strength(processor):
    fields = {"history": [[1], [2]], "preference": ["oat", ["oat", "tea"]]}
    assert read(processor, **fields, strength=2) == [[("oat", 2.0)], [("oat", 2.0), ("tea", 2.0)]]
    assert read(processor, **fields, strength=[2, None]) == [[("oat", 2.0)], [("oat", 1.0), ("tea", 1.0)]]
    assert read(processor, **fields, strength=[3, [0.5, 0.25]]) == [[("oat", 3.0)], [("oat", 0.5), ("tea", 0.25)]]


def test_a_text_of_strength_0_and_an_empty_one_are_left_out_and_keep_their_place_among_strengths(processor):
    assert read(processor, preference=[["oat", "", "tea"]], strength=[[1, 2, 3]]) == [[("oat", 1.0), ("tea", 3.0)]]
    assert read(processor, preference=[["oat", "soap"]], strength=[[0, 1]]) == [[("soap", 1.0)]]
    asked, without = processor(history=[[1]], preference=["oat"], strength=0), processor(history=[[1]])
    assert asked.keys() == without.keys()


def test_a_text_that_is_said_twice_counts_once_by_its_larger_strength(processor):
    assert read(processor, preference=[["oat", "Search for oat"]], strength=[[1, 3]]) == [[("oat", 3.0)]]
    assert read(processor, preference="oat", avoid="oat") == [[("oat", 0.0), ("oat", 0.0)]]
    assert read(processor, preference="oat", avoid="oat", strength=[[1, 3]]) == [[("oat", 0.0), ("oat", -2.0)]]


# -- tensors ----------------------------------------------------------------------------------------------------------


def test_wanted_texts_stand_in_columns_before_avoided_ones(processor):
    features = processor(
        history=[[1, 2], [3], []], preference=[None, ["oat", "tea"], "soap"], avoid=["lamp", "soap", None]
    )
    assert features["history"].tolist() == [[1, 2], [0, 3], [0, 0]]
    assert features["attention_mask"].tolist() == [[1, 1], [0, 1], [0, 0]]
    assert features["preference_strengths"].tolist() == [[0, 0, -1], [1, 1, -1], [1, 0, 0]]
    assert features["preference_known"].tolist() == [[0, 0, 1], [1, 1, 1], [1, 0, 0]]
    assert (features["preference_attention_mask"].sum(-1) > 0).tolist() == [
        [False, False, True],
        [True, True, True],
        [True, False, False],
    ]
    names = processor.words.word_ids
    assert features["preference_words"].squeeze(-1).tolist() == [
        [0, 0, 1 + names["lamp"]],
        [1 + names["oat"], 1 + names["tea"], 1 + names["soap"]],
        [1 + names["soap"], 0, 0],
    ]
    assert features["preference_input_ids"].shape == features["preference_attention_mask"].shape


def test_a_long_history_keeps_its_most_recent_items(processor):
    history = [1 + place % 7 for place in range(25)]
    assert processor(history=[history])["history"].tolist() == [history[-20:]]


def test_what_was_read_stays_out_of_the_saved_configuration(processor, tmp_path):
    fields = {"history": [[1], []], "preference": ["walnutt lamp, not ceramic", None], "avoid": "oat"}
    expected = processor(**fields)
    processor.save_pretrained(tmp_path)
    assert "Oakmere" not in (tmp_path / "processor_config.json").read_text()
    found = AutoProcessor.from_pretrained(tmp_path)(**fields)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


# -- bad input --------------------------------------------------------------------------------------------------------

BAD_REQUESTS = [
    ({}, "history, preference and avoid are all missing; give at least one"),
    ({"strength": 1}, "are all missing"),
    ({"history": [[8]]}, r"8, which is no item of this catalog \(ids 1..7\)"),
    ({"history": [["1"]]}, "contains '1'"),
    ({"history": [[1]], "preference": [7]}, "preference 0 is 7, which is no string"),
    ({"history": [1, 2], "avoid": ["oat", "tea"]}, "avoid is a list of 2, and history or preference is that of one"),
    ({"preference": "oat", "strength": [1, 2]}, "strength is a list of 2, and history or preference is that of one"),
    ({"history": [1, 2], "preference": ["oat", "tea"]}, r"give one entry per request .* preference=\[\[...\]\]"),
    ({"history": [[1]], "avoid": 7}, "avoid is 7; give words for each request"),
    ({"history": [[1]], "avoid": [7]}, "avoid 0 is 7, which is no string"),
    ({"history": [[1]], "avoid": [["oat", 7]]}, "no string"),
    ({"history": [[1], [2]], "avoid": ["oat"]}, "avoid has 1 entries and there are 2 requests"),
    ({"history": [[1], [2]], "preference": ["oat", "tea"], "strength": [1, 1, 1]}, "strength has 3 entries and there"),
    ({"preference": "oat", "strength": float("nan")}, "the strength of request 0 is nan, which is no finite number"),
    ({"preference": "oat", "strength": float("inf")}, "is inf"),
    ({"preference": "oat", "strength": -float("inf")}, "is -inf"),
    ({"history": [[1]], "strength": float("nan")}, "is nan"),  # where there is nothing to count it for, too
    ({"preference": [["oat", "tea"]], "strength": [[1, float("nan")]]}, "is nan"),
    ({"preference": "oat", "strength": True}, "is True"),
    ({"preference": "oat", "strength": "2"}, "strength is '2'; give a number"),
    ({"preference": "oat", "strength": [["2"]]}, "is '2'"),
    (
        {"preference": [["oat", "tea"]], "avoid": ["soap"], "strength": [[1]]},
        "has 1 numbers for 2 preferences and 1 avoided texts; give one number, one per preference, or 3",
    ),
    ({"preference": [["oat", "tea"]], "strength": [[1, 2, 3]]}, "has 3 numbers for 2 preferences and 0 avoided"),
]


@pytest.mark.parametrize(("request_", "message"), BAD_REQUESTS, ids=[message for _, message in BAD_REQUESTS])
def test_a_bad_request_is_refused_by_name(processor, request_, message):
    with pytest.raises(ValueError, match=message):
        processor(**request_)


@pytest.mark.parametrize("wrong", [1e38, -1e4])
def test_a_strength_beyond_reason_is_refused_and_not_nan(processor, wrong):
    with pytest.raises(ValueError, match="beyond"):
        processor(history=[[1]], preference=["lamps"], strength=wrong)


def test_a_misspelt_argument_is_refused_and_not_swallowed(processor):
    with pytest.raises(ValueError, match="prefrence"):
        processor(history=[[1]], prefrence=["lamps"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no-lavender soap", [("soap", 1.0), ("lavender", -1.0)]),
        ("a non-lavender soap", [("soap", 1.0), ("lavender", -1.0)]),
        ("no-rinse soap", [("no-rinse soap", 1.0)]),  # no item has the word rinse
    ],
)
def test_a_word_that_denies_one_of_the_catalogues_avoids_it(text, expected):
    items = [{"title": title, "text": title} for title in ("Lavender Soap", "Oat Soap")]
    processor = MenderSteerProcessor(tokenizer("bert"), items=items, max_length=32)
    assert read(processor, preference=text) == [expected]


def test_a_number_of_numpy_or_torch_is_a_strength_like_any_other(processor):
    for one in (np.float32(0.5), torch.tensor(0.5), 0.5):
        assert read(processor, history=[[1]], preference=["oat"], strength=one) == [[("oat", 0.5)]]


@pytest.mark.parametrize("field", ["preference", "avoid"])
def test_half_of_a_character_is_refused(processor, field):
    with pytest.raises(ValueError, match="half of a character"):
        processor(**{"history": [[1]], field: ["tea \ud83d"]})


def test_all_but_one_thing_to_be_avoided_wants_it(processor):
    for text in ("everything but tea", "Everything except tea", "anything but tea"):
        assert read(processor, avoid=text) == [[("tea", 1.0)]]
    assert read(processor, avoid="tea, soap") == [[("tea", -1.0), ("soap", -1.0)]]
