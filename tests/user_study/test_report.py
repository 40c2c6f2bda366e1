"""The report of a study against numbers worked out by hand, and in words where a number would mean nothing."""

import json
import math

import pytest
from study_world import row

from dataset_builders.user_study.form import MODEL, PERSON
from dataset_builders.user_study.report import (
    GIVEN_ACCURATE,
    Judgment,
    compare,
    format_report,
    krippendorff_alpha,
    make_report,
    share_of,
)


def judgments(table, kind=PERSON):
    """One text per annotator, a letter per preference; a space is no answer."""
    return [
        Judgment(name, kind, (f"u{place}", 3, "p"), letter)
        for name, letters in table.items()
        for place, letter in enumerate(letters)
        if letter != " "
    ]


def answers(annotator, question, letters, kind=PERSON, **about):
    """A row per letter (y, n, c), about users u0, u1, ..."""
    words = {"y": "yes", "n": "no", "c": "cannot_tell"}
    return [
        row(annotator, question, words[letter], user=f"u{place}", kind=kind, **about)
        for place, letter in enumerate(letters)
    ]


def test_alpha_is_that_of_the_textbook():
    """The example of Krippendorff (Computing Krippendorff's Alpha-Reliability, 2011), nominal: 0.691."""
    observers = {"A": "     34121133 3", "B": "1 213343       ", "C": "  21344 21133 4"}
    alpha, why = krippendorff_alpha(judgments(observers))
    assert (alpha, why) == (0.6914, "")


def test_alpha_of_two_annotators_is_that_of_the_formula_by_hand():
    """Four preferences, one disagreement: 8 values, 5 yes and 3 no; 1 - (2/8) / (2 * 5 * 3 / (8 * 7))."""
    alpha, _ = krippendorff_alpha(judgments({"ann": "yynn", "bob": "yyny"}))
    assert alpha == pytest.approx(1 - (2 / 8) / (30 / 56), abs=1e-4)


def test_alpha_counts_shared_preferences_alone():
    shared = {"ann": "yynn", "bob": "yyny"}
    more = {"ann": "yynnnnnn", "bob": "yyny    "}
    assert krippendorff_alpha(judgments(shared)) == krippendorff_alpha(judgments(more))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"ann": "yynn"}, "no preference was judged by two"),
        ({"ann": "yy  ", "bob": "  nn"}, "no preference was judged by two"),
        ({"ann": "yyyy", "bob": "yyyy"}, "all answers are the same"),
        ({"ann": "yyyyn", "bob": "yyyy "}, "all answers are the same"),
    ],
)
def test_alpha_is_not_defined_in_words(table, why):
    alpha, said = krippendorff_alpha(judgments(table))
    assert alpha is None and why in said


def test_many_answers_about_one_user_count_for_little():
    apart = share_of([True, False] * 20, [f"u{place}" for place in range(40)])
    together = share_of([True, False] * 20, [f"u{place % 4}" for place in range(40)])  # each user all yes or all no
    assert apart["share"] == together["share"] == 0.5
    assert apart["interval"][1] - apart["interval"][0] < 0.35 < 0.9 < together["interval"][1] - together["interval"][0]


def test_a_share_of_all_has_an_interval_and_one_user_has_none():
    all_yes = share_of([True] * 20, [f"u{place % 10}" for place in range(20)])
    assert all_yes["interval"] == [0.7225, 1.0]  # Wilson's of 10 of 10
    assert share_of([True, False], ["u", "u"])["interval"] is None


@pytest.fixture
def rows():
    """Two people and a model on four users; the model differs from ann once and from bob twice on `accurate`."""
    return [
        *answers("ann", "informed", "yyyy"),
        *answers("bob", "informed", "yyyy"),
        *answers("ann", "accurate", "yync"),
        *answers("bob", "accurate", "yyyc"),
        *answers("toy-model", "accurate", "yyny", kind=MODEL),
        *answers("ann", "related", "ynnn"),
        row("ann", "scenario", "skipped", user="u9", preference=""),
    ]


def test_the_report_counts_what_was_answered(rows):
    report = make_report(rows)
    assert (report["people"], report["models"], report["answers"], report["skipped"]) == (2, ["toy-model"], 24, 1)
    people = report["domains"]["toy"]["people"]
    accurate = people["accurate"]
    assert accurate["counts"] == {"yes": 5, "no": 1, "cannot_tell": 2} and accurate["share"] == 0.625
    assert (accurate["annotators"], accurate["preferences"], accurate["overlaps"], accurate["users"]) == (2, 4, 4, 4)
    assert people["informed"]["alpha"] is None and "the same" in people["informed"]["why"]
    assert people["related"]["alpha"] is None and "two annotators" in people["related"]["why"]
    assert people["related"]["share"] == 0.25
    assert people[GIVEN_ACCURATE]["answers"] == 2 and people[GIVEN_ACCURATE]["share"] == 0.5  # u0 and u1


def test_the_model_is_held_against_each_person(rows):
    compared = make_report(rows)["domains"]["toy"]["compared"]["toy-model"]
    assert compared.keys() == {"accurate"}
    found = compared["accurate"]
    assert (found["pairs"], found["share"]) == (8, 0.625)
    assert found["confusion"] == {
        "yes": {"yes": 4, "no": 1, "cannot_tell": 0},
        "no": {"yes": 0, "no": 1, "cannot_tell": 0},
        "cannot_tell": {"yes": 2, "no": 0, "cannot_tell": 0},
    }
    assert found["alpha_with_model"] < found["alpha_people"]


def test_a_model_and_people_without_a_common_preference_are_not_compared(rows):
    people, model = judgments({"ann": "yy  "}), judgments({"m": "  yy"}, MODEL)
    assert compare(people, model) is None
    others = answers("other", "related", "y", kind=MODEL, preference="q")
    text = format_report(make_report([*rows, *others]))
    assert "other beside people" in text and "no preference in common" in text


def test_a_model_alone_is_compared_with_nobody():
    report = make_report(answers("m", "accurate", "yn", kind=MODEL))
    assert report["domains"]["toy"]["compared"] == {} and "beside people" not in format_report(report)


def test_the_later_of_two_answers_counts():
    rows = [*answers("ann", "accurate", "yy"), *answers("ann", "accurate", "n")]
    assert make_report(rows)["domains"]["toy"]["people"]["accurate"]["counts"] == {"yes": 1, "no": 1, "cannot_tell": 0}


def test_domains_are_reported_apart(rows):
    report = make_report([*rows, *answers("ann", "accurate", "n", domain="steam")])
    assert report["domains"]["steam"]["people"]["accurate"]["share"] == 0.0
    assert report["domains"]["toy"]["people"]["accurate"]["share"] == 0.625


def test_without_an_answer_there_is_no_report():
    for rows in ([], [row("ann", "scenario", "skipped", preference="")]):
        with pytest.raises(ValueError, match="no answer yet"):
            make_report(rows)


def test_the_report_is_json_without_nan_and_its_tables_have_what_it_has(rows):
    report = make_report(rows)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    text = format_report(report)
    assert "2 people and 1 model gave 24 answers; 1 history skipped." in text
    assert "| accurate | people | 2 | 8 | 4 | 4 | 62.5% |" in text
    assert "Alpha of *informed* is not defined: all answers are the same" in text
    assert "| accurate | cannot tell | 2 | 0 | 0 |" in text
    assert "nan" not in text.lower().replace("annotator", "")
    for line in text.splitlines():
        if line.startswith("| accurate | toy-model"):
            assert line.endswith("| not defined |")
    assert not math.isnan(report["domains"]["toy"]["people"]["accurate"]["alpha"])


def test_the_name_of_a_model_stays_text():
    text = format_report(make_report(answers("<b>|x|</b>", "accurate", "yn", kind=MODEL)))
    assert "| \\<b>\\|x\\|\\</b> |" in text
