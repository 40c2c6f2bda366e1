"""From a model to its answers on the axes: rankings in order, the ways of asking, the plot, the card."""

from dataclasses import replace
from types import SimpleNamespace

import datasets
import pytest
import torch
from matplotlib.image import imread
from tiny_models import build, train_tiny

from dataset_builders.benchmark.axes import get_axis
from dataset_builders.benchmark.tables import count_items, load_axes, load_table
from dataset_builders.paper_tables.figures import star_plot
from dataset_builders.scoring.figures import format_table, score_axes
from dataset_builders.scoring.ranks import rank_rows
from dataset_builders.scoring.result_parts import BenchmarkIdentity, Maker
from dataset_builders.scoring.results import Results
from dataset_builders.scoring.runs import Run
from modeling_mender.commands.evaluate import card_evaluation
from modeling_mender.data.collators import EmbeddingCollator
from modeling_mender.data.requests import Request, requests_of
from modeling_mender.evaluation.benchmark import answer_axes, ask_axes, texts_of
from modeling_mender.evaluation.ranking import rank, resolve_num_beams
from modeling_mender.hub.model_card import model_card


class Obedient:
    """A recommender that reads the first number in the preference and recommends that item; without one, the last
    item."""

    training = False
    device = torch.device("cpu")

    def __init__(self, **config):
        self.config = SimpleNamespace(num_items=12, **config)
        self.rows = 0

    def eval(self):
        return self

    def train(self, mode):
        return self

    def recommend(self, preference, k, num_beams):
        self.rows += len(preference)
        items = torch.tensor([[1 + (w - 1 + step) % 12 for step in range(k)] for w in preference.tolist()])
        return type("Output", (), {"items": items, "scores": -torch.arange(float(k)).expand(items.shape)})


class PreferenceCollator:
    def length(self, request):
        return len(request.history)

    def __call__(self, requests):
        numbers = [int(request.preferences[0].split()[-1]) if request.preferences else 12 for request in requests]
        return {"preference": torch.tensor(numbers)}


TABLES = {
    "recommendation": datasets.Dataset.from_dict(
        {"history": [[1], [2, 3]], "preference": ["item 4", "item 9"], "target": [4, 7]}
    ),
    "sentiment": datasets.Dataset.from_dict(
        {"preference_positive": ["find 3", "find 3"], "preference_negative": ["avoid 9", "avoid 3"], "target": [3, 3]}
    ),
    "fine": datasets.Dataset.from_dict({"history": [[], [2]], "preference": ["item 5", "item 12"], "target": [5, 12]}),
    "history": datasets.Dataset.from_dict({"history": [[1]], "preferences": [["item 4"] * 5], "target": [6]}),
}


def asked_of(tables):
    return {axis: get_axis(axis).asked for axis in tables}


def sees_all(request):
    return request


def sees_history(request):
    return Request(request.history, ())


def sees_preference(request):
    return Request((), request.preferences)


def score(model, tables, k, restrict=sees_all):
    queries = ask_axes(tables, asked_of(tables), restrict)
    answers = answer_axes(model, PreferenceCollator(), queries, max(k), batch_size=1)
    return score_axes(rank_rows(Run.from_answers(answers), tables), k, resamples=10)


@pytest.fixture
def results():
    return score(Obedient(), TABLES, k=(1, 3))


def test_every_axis_is_scored_by_its_own_metric_with_and_without_the_preference(results):
    assert results["recommendation"].all.with_preference["recall@1"] == 0.5
    assert results["recommendation"].all.without_preference["recall@3"] == 0.0
    assert results["history"].all.with_preference["recall@3"] == 1.0
    assert results["sentiment"].all.with_preference["m@3"] == 0.5  # the second row also hits when told to avoid
    assert results["sentiment"].all.without_preference is None


def test_a_row_without_history_counts_as_a_miss_when_asked_without_preference(results):
    assert results["fine"].all.with_preference["recall@1"] == 1.0
    assert (
        results["fine"].all.without_preference["recall@1"] == 0.5
    )  # item 12 by default, for the row that has a history


def test_the_table_says_what_is_not_defined(results):
    line = next(line for line in format_table(results, k=3).splitlines() if line.startswith("| sentiment"))
    assert line == "| sentiment | 2 | m@3 | 0.5000 | - | - | - |"


def test_the_plot_is_a_picture_and_nothing_half_written_stays(results, tmp_path):
    star_plot(results, 3, "toy", tmp_path / "axes.png")
    assert imread(tmp_path / "axes.png").shape[2] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["axes.png"]


def test_a_run_is_in_the_order_of_its_requests_whatever_their_lengths(tmp_path):
    model, processor = build("emb", "bert", tmp_path)
    requests = [Request((1, 2, 3), ()), Request((4,), ("search for red tea",)), Request((), ()), Request((5, 6), ())]
    collator = EmbeddingCollator(processor, model, ["search for red tea"])
    found = rank(model, collator, requests, k=4, batch_size=2)
    assert found.items[2] == []
    for row in (0, 1, 3):
        alone = rank(model, collator, [requests[row]], k=4)
        assert alone.items[0] == found.items[row]
        assert alone.scores[0] == pytest.approx(found.scores[row], abs=1e-5)


def test_preferences_are_collected_from_every_axis_once():
    texts = texts_of(ask_axes(TABLES, asked_of(TABLES), sees_all).values())
    assert texts == ["item 4", "item 9", "find 3", "avoid 9", "avoid 3", "item 5", "item 12"]
    assert texts_of(ask_axes(TABLES, asked_of(TABLES), sees_history).values()) == []


def test_every_row_is_asked_in_two_ways_under_the_names_of_the_benchmark():
    queries = ask_axes(TABLES, asked_of(TABLES), sees_all)
    assert list(queries)[:4] == [
        "recommendation/0",
        "recommendation/1",
        "recommendation/0/no_preference",
        "recommendation/1/no_preference",
    ]
    assert queries["recommendation/1"] == Request((2, 3), ("item 9",))
    assert queries["recommendation/1/no_preference"] == Request((2, 3), ())
    assert queries["sentiment/0/negative"] == Request((), ("avoid 9",))
    assert queries["history/0"].preferences == ("item 4",) * 5
    assert "sentiment/0/no_preference" not in queries


def test_chosen_rows_are_asked_under_their_own_numbers():
    table = {"recommendation": TABLES["recommendation"]}
    queries = ask_axes(table, asked_of(table), sees_all, {"recommendation": [1]})
    assert queries == {
        "recommendation/1": Request((2, 3), ("item 9",)),
        "recommendation/1/no_preference": Request((2, 3), ()),
    }


def test_a_method_that_sees_no_preference_answers_the_history_alone_and_no_sentiment():
    results = score(Obedient(), TABLES, k=(1,), restrict=sees_history)
    assert list(results) == list(TABLES)
    assert results["sentiment"].all.with_preference is None
    for axis in ("recommendation", "fine", "history"):
        assert results[axis].all.with_preference == results[axis].all.without_preference is not None


def test_a_method_that_sees_no_history_has_nothing_to_ask_without_the_preference():
    results = score(Obedient(), TABLES, k=(1,), restrict=sees_preference)
    assert results["fine"].all.with_preference["recall@1"] == 1.0
    assert results["fine"].all.without_preference["recall@1"] == 0.0


def test_a_model_that_answers_empty_requests_is_asked_them():
    popular = Obedient(answers_empty_requests=True)
    results = score(popular, TABLES, k=(1,), restrict=sees_history)
    assert results["fine"].all.without_preference["recall@1"] == 0.5  # item 12, for the row without a history too
    tables = {"fine": TABLES["fine"].select([1, 1]).map(lambda row: {"history": []})}
    assert score(popular, tables, k=(1,), restrict=sees_history)["fine"].all.without_preference["recall@1"] == 1.0
    assert score(Obedient(), tables, k=(1,), restrict=sees_history)["fine"].all.without_preference["recall@1"] == 0.0


def test_beams_are_the_model_s_own_but_enough_for_what_is_asked_and_no_more_than_the_items():
    model = SimpleNamespace(config=SimpleNamespace(num_items=50), generation_config=SimpleNamespace(num_beams=30))
    assert resolve_num_beams(model, k=10) == 30
    assert resolve_num_beams(model, k=39) == 39
    assert resolve_num_beams(model, k=10, num_beams=12) == 12
    model.config.num_items = 20
    assert resolve_num_beams(model, k=20) == 20
    assert resolve_num_beams(Obedient(), k=20) is None


def test_rows_become_requests():
    assert requests_of(TABLES["fine"]) == [Request((), ("item 5",)), Request((2,), ("item 12",))]
    assert requests_of(TABLES["sentiment"], None) == [Request((), ()), Request((), ())]
    assert requests_of(TABLES["history"], "preferences")[0].preferences == ("item 4",) * 5


class TestReadingABenchmark:
    def write(self, folder, split="train"):
        (folder / "toy_items").mkdir(exist_ok=True)
        datasets.Dataset.from_dict({"item_id": [1]}).to_parquet(
            folder / "toy_items" / f"{split}-00000-of-00001.parquet"
        )

    def test_a_changed_file_is_read_anew(self, tmp_path):
        self.write(tmp_path)
        assert len(load_table(str(tmp_path), "toy", "items")) == 1
        path = tmp_path / "toy_items" / "train-00000-of-00001.parquet"
        datasets.Dataset.from_dict({"item_id": [1, 2]}).to_parquet(path)
        assert len(load_table(str(tmp_path), "toy", "items")) == 2

    def test_what_is_missing_is_named(self, tmp_path):
        self.write(tmp_path)
        assert load_table(str(tmp_path), "toy", "sentiment") is None
        with pytest.raises(FileNotFoundError, match="nowhere is no local directory.*mender build"):
            load_table("nowhere", "toy", "items")
        with pytest.raises(FileNotFoundError, match="toy_items"):
            load_table(str(tmp_path), "boats", "items")
        with pytest.raises(ValueError, match="no split 'test'"):
            load_table(str(tmp_path), "toy", "items", "test")
        with pytest.raises(ValueError, match="none of the axes fine, coarse for toy"):
            load_axes(str(tmp_path), "toy", "test", ["fine", "coarse"])

    def test_items_are_counted(self, tmp_path):
        self.write(tmp_path)
        assert count_items(str(tmp_path), "toy") == 1
        (tmp_path / "boats_fine").mkdir()
        with pytest.raises(ValueError, match="no config boats_items"):
            count_items(str(tmp_path), "boats")


def test_a_card_is_filled_from_results_and_is_valid(results, tmp_path, project):
    from huggingface_hub import ModelCard

    folder = train_tiny("mender_emb", tmp_path, seed=7)
    text = model_card(
        folder,
        project / "model_cards/model_card.md",
        str(folder),
        card_evaluation(
            Results(
                maker=Maker("mender_emb", num_beams=12),
                domain="toy",
                split="test",
                k=(1, 3),
                axes=results,
                left_out={"coarse": "too few items"},
                benchmark=BenchmarkIdentity("outputs/toy"),
            )
        ),
        {"approximator": "metadata", "approximator_description": "No language model was used."},
    )
    for words in (
        "| fine | 2 | recall@3 | 1.0000 | 0.5000 |",
        "**coarse** (too few items)",
        "**metadata**",
        "seed: 7",
        "after 3 steps",
        "without negative examples",
    ):
        assert words in text
    assert "{{" not in text and "{%" not in text
    data = ModelCard(text).data
    assert data["library_name"] == "transformers"
    assert not data.eval_results and not data.datasets  # a local benchmark is no dataset of the Hub


def test_a_card_names_the_baselines_that_the_model_does_not_beat(results, tmp_path, project):
    folder = train_tiny("mender_emb", tmp_path, seed=7)
    beaten, best = results["recommendation"].main_value(k=3), results["fine"].main_value(k=3)
    known = {
        "recommendation": {"constant_list": {"recall@3": beaten - 0.01}},
        "fine": {"history_only": {"recall@3": best}},
    }
    axes = {axis: replace(results[axis], baselines=known[axis]) for axis in known}
    scored = Results(maker=Maker("mender_emb"), domain="toy", split="test", k=(1, 3), axes=axes)
    text = model_card(folder, project / "model_cards/model_card.md", str(folder), card_evaluation(scored))
    assert f"| fine | recall@3 | - | - | {best:.4f} |" in text
    assert f"**Not beaten**, fine: recall@3 {best:.4f} does not beat the baseline history only ({best:.4f})." in text
    assert text.count("**Not beaten**") == 1
    bare = replace(scored, axes={axis: results[axis] for axis in known})
    text = model_card(folder, project / "model_cards/model_card.md", str(folder), card_evaluation(bare))
    assert "needs no training" not in text and "Not beaten" not in text


def test_two_axes_that_ask_the_same_are_answered_once():
    model = Obedient()
    row = {"history": [[1], [2]], "target": [12, 5]}
    tables = {
        "recommendation": datasets.Dataset.from_dict({**row, "preference": ["item 4", "item 9"]}),
        "history": datasets.Dataset.from_dict({**row, "preferences": [["item 1"] * 5, ["item 2"] * 5]}),
    }
    results = score(model, tables, k=(1,))
    assert model.rows == 6  # two with each axis's preference, two without any
    assert results["recommendation"].all.without_preference == results["history"].all.without_preference
    assert results["history"].all.without_preference["recall@1"] == 0.5

    model = Obedient()
    score(model, tables, k=(1,), restrict=sees_history)
    assert model.rows == 2
