"""Polarity of reviews: by stars and lexicon, calibrated, and by a (tiny random) text classifier."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import REVIEW_WORDS, tiny_random_roberta, tokenizer
from transformers import RobertaForSequenceClassification

from dataset_builders.building.review_sentiment import (
    DEFAULT_POLARITY,
    PipelineClassifier,
    RatingVader,
    agreement,
    fit_threshold,
    get_polarity_classifier,
    held_out_agreement,
    measured_text,
    pipeline_classifier,
    vader_scores,
)
from dataset_builders.building.review_sentiment import rating_vader as polarity

BAD, GOOD = "I hate this awful soap.", "I love this wonderful soap."


@pytest.mark.parametrize(
    ("rating", "review", "expected"),
    [
        (1.0, None, -1),
        (2.0, "I love it", -1),
        (4.0, "terrible", 1),
        (5.0, "", 1),
        (3.0, "I love this, wonderful and great.", 1),
        (3.0, "Terrible, awful, I hate the smell.", -1),
        (3.0, "It is a soap.", 0),
        (3.0, None, 0),
        (None, "Horrible. The worst.", -1),
        (float("nan"), "Excellent!", 1),
        (None, "  ", 0),
        (None, None, 0),
    ],
)
def test_the_rating_decides_and_the_text_only_where_it_does_not(rating, review, expected):
    answer = RatingVader().classify([rating], [review])
    assert answer.dtype == np.int8 and answer.tolist() == [expected]


def test_lukewarm_praise_is_a_dislike_at_three_stars_and_not_without_stars():
    lukewarm = "It is a nice soap. It came in a box. It has a lid. There is a label on it. It weighs a pound."
    assert 0 < vader_scores([lukewarm])[0] < polarity.DEFAULT_THRESHOLD
    assert RatingVader().classify([3.0, None], [lukewarm, lukewarm]).tolist() == [-1, 1]


def test_a_long_review_is_scored_by_the_mean_of_its_sentences():
    complaint = "I love the scent. I hate the texture. It leaks.\nAwful!"
    parts = ["I love the scent.", "I hate the texture.", "It leaks.", "Awful!"]
    analyzer = polarity.vader_analyzer()
    assert vader_scores([complaint])[0] == np.mean([analyzer.polarity_scores(p)["compound"] for p in parts])


def test_every_distinct_text_is_scored_once(monkeypatch):
    class Counting:
        calls: list = []

        def polarity_scores(self, text):
            self.calls.append(text)
            return {"compound": 0.5}

    monkeypatch.setattr(polarity, "vader_analyzer", Counting)
    assert vader_scores(["a", "b", "a", "a"]).tolist() == [0.5] * 4
    assert sorted(Counting.calls) == ["a", "b"]


scores = st.lists(st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 2)), min_size=1, max_size=25)


def balanced(disliked, liked, threshold):
    return ((np.array(disliked) < threshold).mean() + (np.array(liked) >= threshold).mean()) / 2


@given(scores, scores)
@settings(deadline=None)
def test_the_fitted_threshold_has_the_largest_balanced_accuracy_of_all(disliked, liked):
    threshold = fit_threshold(np.array(disliked), np.array(liked))
    everywhere = np.arange(-1.005, 1.02, 0.01)  # between any two scores
    assert balanced(disliked, liked, threshold) >= max(balanced(disliked, liked, t) for t in everywhere) - 1e-12


def test_scores_that_tell_nothing_make_nothing_negative():
    same = np.full(60, 0.4)
    assert fit_threshold(same, same) < 0.4
    worse = fit_threshold(np.full(60, 0.9), np.full(60, 0.1))
    assert worse < 0.1
    with pytest.raises(ValueError, match="both classes"):
        fit_threshold(np.array([np.nan]), same)


def test_agreement_on_four_texts_by_hand():
    figures = agreement(np.array([-0.5, 0.6]), np.array([0.4, 0.8, np.nan]), 0.0)
    assert figures == {"num_disliked": 2, "num_liked": 3, "auc": 0.75, "sensitivity": 0.5, "specificity": 1.0}
    assert agreement(np.zeros(0), np.array([0.4]), 0.0) == {"num_disliked": 0, "num_liked": 1}


def test_held_out_figures_do_not_use_the_threshold_of_their_own_half():
    # Either half alone is told apart without an error, at 0.1 and at 0.5; the other half's threshold fails it.
    disliked, liked = np.array([-0.1, 0.4] * 20), np.array([0.3, 0.6] * 20)
    even, odd = fit_threshold(disliked[::2], liked[::2]), fit_threshold(disliked[1::2], liked[1::2])
    assert (even, odd) == pytest.approx((0.1, 0.5))
    figures = held_out_agreement(disliked, liked)
    assert (figures["sensitivity"], figures["specificity"]) == (0.5, 0.5)


def shop(count: int, monkeypatch):
    """`count` texts of each class; the dislikes score 0.5 + n / 1000 and the likes 0.7 + n / 1000."""
    texts = [f"d{n}" for n in range(count)] + [f"l{n}" for n in range(count)] + ["three low", "three high"]
    table = {f"d{n}": 0.5 + n / 1000 for n in range(count)} | {f"l{n}": 0.7 + n / 1000 for n in range(count)}
    table |= {"three low": 0.55, "three high": 0.75}
    monkeypatch.setattr(polarity, "vader_scores", lambda texts, progress=False: np.array([table[t] for t in texts]))
    return [1.0] * count + [5.0] * count + [3.0, 3.0], texts


def test_three_stars_are_read_by_a_threshold_calibrated_on_the_decisive_reviews(monkeypatch):
    classifier = RatingVader()
    assert classifier.classify(*shop(60, monkeypatch))[-2:].tolist() == [-1, 1]
    measured = classifier.measured
    assert measured["calibrated"] and 0.559 < measured["threshold"] <= 0.7
    assert (measured["auc"], measured["sensitivity"], measured["specificity"]) == (1.0, 1.0, 1.0)
    assert measured["num_disliked"] == measured["num_liked"] == 60


def test_with_too_few_decisive_reviews_the_default_threshold_holds(monkeypatch):
    classifier = RatingVader()
    assert classifier.classify(*shop(polarity.MIN_CALIBRATION - 1, monkeypatch))[-2:].tolist() == [1, 1]
    assert not classifier.measured["calibrated"]
    assert classifier.measured["threshold"] == polarity.DEFAULT_THRESHOLD
    assert "fewer than 50" in measured_text(classifier.measured)


def test_reviews_in_a_language_that_the_lexicon_does_not_know_stay_unknown():
    texts = [f"Das ist ein Te{'x' * n}t." for n in range(240)]
    classifier = RatingVader()
    answers = classifier.classify([1.0] * 80 + [5.0] * 80 + [3.0] * 40 + [None] * 40, texts)
    assert answers.tolist() == [-1] * 80 + [1] * 80 + [0] * 80
    assert "auc" not in classifier.measured and not classifier.measured["calibrated"]
    assert "default" in measured_text(classifier.measured)


def test_texts_without_a_score_do_not_empty_a_half():
    disliked = np.array([0.1, np.nan] * 30)
    figures = held_out_agreement(disliked, np.array([0.9, np.nan] * 30))
    assert (figures["sensitivity"], figures["specificity"], figures["auc"]) == (0.5, 1.0, 1.0)


def test_calibration_looks_at_a_bounded_sample_from_all_over_the_reviews(monkeypatch):
    monkeypatch.setattr(polarity, "MAX_CALIBRATION", 10)
    assert polarity._evenly([str(n) for n in range(100)]) == [str(n) for n in range(0, 100, 11)]
    assert polarity._evenly(["a", "b"]) == ["a", "b"] and polarity._evenly([]) == []


def test_shares_add_up_and_are_told_in_words():
    classifier = RatingVader()
    classifier.classify([1.0, 5.0, 3.0, 3.0], [BAD, GOOD, BAD, "A soap."])
    measured = classifier.measured
    assert [measured[name] for name in ("decided_by_rating", "decided_by_text", "unknown", "disliked")] == [
        0.5,
        0.25,
        0.25,
        0.5,
    ]
    text = measured_text(measured)
    assert "50.0% of 4 actions and the text 25.0%" in text and "AUC of 1.000" in text


def test_without_a_text_to_read_nothing_is_scored(monkeypatch):
    monkeypatch.setattr(polarity, "vader_analyzer", None)
    classifier = RatingVader()
    assert classifier.classify([1.0, 5.0], [BAD, GOOD]).tolist() == [-1, 1]
    assert "threshold" not in classifier.measured
    assert measured_text(classifier.measured).count(".") < 8


def test_one_rating_and_one_review_per_action():
    for classifier in (RatingVader(), PipelineClassifier("anything")):
        with pytest.raises(ValueError, match="2 ratings but 1 reviews"):
            classifier.classify([1.0, 2.0], ["x"])


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    return tiny_random_roberta(tmp_path_factory.mktemp("models") / "tiny-random-roberta")


TEXTS = ["i love this soap", "i hate the tea", "it broke", "smells of rust and roses", "never again", "fine", "it"]


def one_by_one(folder, texts):
    """The slow way: no pipeline, no batch, no padding."""
    model = RobertaForSequenceClassification.from_pretrained(folder).eval()
    encode = tokenizer("bert", REVIEW_WORDS)
    answers = []
    for text in texts:
        ids = torch.tensor([encode(text, truncation=True, max_length=64)["input_ids"]])
        with torch.no_grad():
            answers.append([-1, 1][int(model(input_ids=ids).logits.argmax())])
    return answers


def test_the_pipeline_reads_every_review_as_the_model_alone_would(roberta):
    texts = [*TEXTS, "soap " * 500]
    expected = one_by_one(roberta, texts)
    assert set(expected) == {-1, 1}
    classifier = PipelineClassifier(str(roberta), device="cpu", batch_size=3, progress=False)
    answers = classifier.classify([None, 5.0, 1.0, None, 3.0, None, None, None], texts)
    assert answers.dtype == np.int8 and answers.tolist() == expected
    assert classifier.name == "tiny-random-roberta" and str(roberta.parent) not in classifier.description


def test_stars_decide_only_where_there_is_no_text(roberta):
    classifier = PipelineClassifier(str(roberta), progress=False)
    text = next(t for t, answer in zip(TEXTS, one_by_one(roberta, TEXTS), strict=True) if answer == -1)
    answers = classifier.classify([5.0, 5.0, 1.0, 3.0, None], [text, None, "", " ", None])
    assert answers.tolist() == [-1, 1, -1, 0, 0]
    assert classifier.measured["decided_by_rating"] == 0.4 and classifier.measured["decided_by_text"] == 0.2


def test_the_pipeline_is_measured_against_the_stars(roberta):
    called = one_by_one(roberta, TEXTS)
    agreeing = [2.0 if answer < 0 else 4.0 for answer in called]
    classifier = PipelineClassifier(str(roberta), progress=False)
    classifier.classify(agreeing, TEXTS)
    measured = classifier.measured
    assert (measured["auc"], measured["sensitivity"], measured["specificity"]) == (1.0, 1.0, 1.0)
    assert measured["num_disliked"] == called.count(-1)
    classifier.classify([6 - stars for stars in agreeing], TEXTS)
    assert (classifier.measured["auc"], classifier.measured["sensitivity"]) == (0.0, 0.0)


def test_the_pipeline_reads_each_distinct_text_once_and_the_longest_first(roberta, monkeypatch):
    seen = []
    load = PipelineClassifier._load

    def spying(self):
        pipe = load(self)

        def call(texts, **options):
            seen.extend(texts)
            return pipe((text for text in seen), **options)

        call.model, call.tokenizer = pipe.model, pipe.tokenizer
        return call

    monkeypatch.setattr(PipelineClassifier, "_load", spying)
    answers = PipelineClassifier(str(roberta), progress=False).classify([None] * 14, TEXTS + TEXTS)
    assert sorted(seen) == sorted(TEXTS)
    assert [len(text) for text in seen] == sorted(map(len, TEXTS), reverse=True)
    assert answers[:7].tolist() == answers[7:].tolist() == one_by_one(roberta, TEXTS)


def test_a_neutral_label_is_unknown(tmp_path):
    folder = tiny_random_roberta(tmp_path / "three", ("Neutral", "negative", "Positive"))
    answers = PipelineClassifier(str(folder), progress=False).classify([None] * len(TEXTS), TEXTS)
    model = RobertaForSequenceClassification.from_pretrained(folder).eval()
    encode = tokenizer("bert", REVIEW_WORDS)
    for text, answer in zip(TEXTS, answers.tolist(), strict=True):
        with torch.no_grad():
            best = int(model(input_ids=torch.tensor([encode(text)["input_ids"]])).logits.argmax())
        assert answer == [0, -1, 1][best]


@pytest.mark.parametrize(
    "labels", [("LABEL_0", "LABEL_1"), ("1 star", "5 stars"), ("POS", "positive"), ("neg", "neu")]
)
def test_labels_that_do_not_say_what_they_mean_are_refused(tmp_path, labels):
    folder = tiny_random_roberta(tmp_path / "odd", labels)
    with pytest.raises(ValueError, match="id2label") as caught:
        PipelineClassifier(str(folder), progress=False).classify([None], ["fine"])
    assert all(label in str(caught.value) for label in labels)


def test_a_model_that_cannot_be_had_names_the_way_out(tmp_path):
    for model in ("nobody/no-such-classifier", str(tmp_path)):
        classifier = PipelineClassifier(model, progress=False)
        with pytest.raises(FileNotFoundError, match="rating_vader"):
            classifier.classify([None], ["fine"])
    with pytest.raises(FileNotFoundError, match="rating_vader"):
        PipelineClassifier("nobody/no-such-classifier").fingerprint()


def test_the_fingerprint_of_a_folder_is_its_content(roberta, tmp_path):
    same = tiny_random_roberta(tmp_path / "tiny-random-roberta")
    first = PipelineClassifier(str(roberta)).fingerprint()
    assert PipelineClassifier(str(same)).fingerprint() == first
    config = same / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("POSITIVE", "positive"), encoding="utf-8")
    assert PipelineClassifier(str(same)).fingerprint() != first
    assert RatingVader().fingerprint() == RatingVader().fingerprint() != first


def test_the_fingerprint_of_a_name_is_its_commit(monkeypatch, tmp_path):
    commits = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(
        pipeline_classifier, "hf_hub_download", lambda name, file: str(tmp_path / "snapshots" / next(commits) / file)
    )
    first, same, other = (PipelineClassifier("some/classifier").fingerprint() for _ in range(3))
    assert first == same != other


def test_classifiers_by_name():
    assert isinstance(get_polarity_classifier("rating_vader"), RatingVader)
    default = get_polarity_classifier()
    assert isinstance(default, PipelineClassifier)
    assert default.name == DEFAULT_POLARITY == "siebert/sentiment-roberta-large-english"
    with pytest.raises(ValueError, match=r"batch_size \(0\)"):
        PipelineClassifier(batch_size=0)


def test_on_real_reviews_the_calibrated_threshold_beats_the_lexicons_own(shared_data):
    from dataset_builders.building.interactions import connect
    from dataset_builders.building.sources import get_source

    folder = shared_data / "raw" / "amazon_2018"
    files = {"reviews": folder / "Gift_Cards_5.json.gz", "metadata": folder / "meta_Gift_Cards.json.gz"}
    table = get_source("amazon_reviews", **files).load(connect()).interactions.select("rating", "review").to_pyarrow()
    classifier = RatingVader()
    classifier.classify(table["rating"].to_pylist(), table["review"].to_pylist())
    measured = classifier.measured
    assert measured["auc"] > 0.8
    assert measured["sensitivity"] + measured["specificity"] > 1.4
