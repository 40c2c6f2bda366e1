"""Every recommender over item ids on toy sequences: what they share, and what the counted ones count."""

import math
from types import SimpleNamespace

import pytest
import torch
from forked_python import run_alone
from transformers import AutoModel, AutoProcessor

from modeling_mender import ItemIdProcessor, MostPopular, SASRec, SASRecConfig, TransitionGraph
from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.item_ids import (
    ItemIdCollator,
    build_most_popular,
    build_sasrec,
    build_transition_graph,
    training_sequences,
)
from modeling_mender.modeling_baselines import text_neighbours
from modeling_mender.training.arguments import make_arguments

SEQUENCES = [(1, 2, 3, 4), (2, 3, 1), (3, 5, 3), (6, 2)]
NUM_ITEMS = 8  # 7 and 8 are in no sequence
ITEMS = [{"title": f"item {number}", "text": f"Title: item {number}"} for number in range(1, NUM_ITEMS + 1)]
COUNTS = [2, 3, 4, 1, 1, 1, 0, 0]


def embeddings():
    """Two of a kind next to each other: 1 is like 2, 3 like 4, ..., and all kinds are orthogonal."""
    table = torch.zeros(NUM_ITEMS, NUM_ITEMS // 2)
    for item in range(NUM_ITEMS):
        table[item, item // 2] = 1.0
    return table


def sasrec():
    torch.manual_seed(0)
    config = SASRecConfig(num_items=NUM_ITEMS, d_model=8, d_ff=8, num_heads=2, initializer_range=0.3)
    return SASRec(config).eval()


def text_graph():
    return TransitionGraph.from_sequences(SEQUENCES, NUM_ITEMS, embeddings(), num_text_neighbours=1, text_weight=0.1)


BUILDERS = {
    "sasrec": sasrec,
    "most_popular": lambda: MostPopular.from_sequences(SEQUENCES, NUM_ITEMS),
    "transition_graph": lambda: TransitionGraph.from_sequences(SEQUENCES, NUM_ITEMS),
    "transition_graph_text": text_graph,
}
HISTORIES = [(1,), (4, 2, 3), (7,), (8, 7, 6, 5, 4, 3, 2, 1)]
every_model = pytest.mark.parametrize("model", [pytest.param(build(), id=name) for name, build in BUILDERS.items()])


def ask(model, *histories, **kwargs):
    return model.recommend(**ItemIdCollator(None, model)([Request(history, ()) for history in histories]), **kwargs)


# -- what all share ---------------------------------------------------------------------------------------------------


@every_model
def test_every_item_of_the_catalogue_is_reachable(model):
    for item in range(1, NUM_ITEMS + 1):
        allowed = torch.zeros(1, NUM_ITEMS, dtype=torch.bool)
        allowed[0, item - 1] = True
        found = ask(model, (1, 2), k=1, allowed_items=allowed)
        assert found.items.tolist() == [[item]]
        assert math.isfinite(found.scores.item())
    for row in ask(model, *HISTORIES, k=NUM_ITEMS).items.tolist():
        assert sorted(row) == list(range(1, NUM_ITEMS + 1))


@every_model
def test_scores_are_log_probabilities_best_first(model):
    scores = ask(model, *HISTORIES, k=NUM_ITEMS).scores
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(len(HISTORIES)))
    assert bool((scores.diff(dim=-1) <= 0).all())


@every_model
def test_a_request_gets_the_same_answer_alone_in_a_batch_and_padded_on_the_right(model):
    together = ask(model, *HISTORIES, k=NUM_ITEMS)
    length = max(map(len, HISTORIES))
    right = torch.tensor([[*history, *[0] * (length - len(history))] for history in HISTORIES])
    found = model.recommend(history=right, k=NUM_ITEMS)
    assert found.items.equal(together.items)
    torch.testing.assert_close(found.scores, together.scores)
    for row, history in enumerate(HISTORIES):
        alone = ask(model, history, k=NUM_ITEMS)
        assert alone.items[0].equal(together.items[row])
        torch.testing.assert_close(alone.scores[0], together.scores[row])


@every_model
def test_allowed_items_take_others_out_and_change_no_score(model):
    allowed = torch.zeros(len(HISTORIES), NUM_ITEMS, dtype=torch.bool)
    allowed[:, 1::2] = True
    everything = ask(model, *HISTORIES, k=NUM_ITEMS)
    found = ask(model, *HISTORIES, k=4, allowed_items=allowed)
    for row in range(len(HISTORIES)):
        kept = [column for column, item in enumerate(everything.items[row].tolist()) if item % 2 == 0]
        assert found.items[row].tolist() == everything.items[row, kept].tolist()
        assert found.scores[row].tolist() == everything.scores[row, kept].tolist()


@every_model
def test_items_of_the_history_may_come_back_and_leaving_them_out_moves_the_others_up(model):
    history = (1, 2, 3)
    everything = ask(model, history, k=NUM_ITEMS).items[0].tolist()
    assert set(history) < set(everything)
    allowed = torch.ones(1, NUM_ITEMS, dtype=torch.bool)
    allowed[0, [item - 1 for item in history]] = False
    unseen = ask(model, history, k=NUM_ITEMS - 3, allowed_items=allowed).items[0].tolist()
    assert unseen == [item for item in everything if item not in history]


BAD_CALLS = [
    ({"k": 0}, r"k \(0\) must be in 1..8"),
    ({"k": 9}, r"k \(9\) must be in 1..8"),
    ({"preference": ["red"]}, "does not take preference"),
    ({"allowed_items": torch.ones(1, 5, dtype=torch.bool)}, r"shape \(1, 8\)"),
    ({"allowed_items": torch.ones(1, 8)}, "bool tensor"),
    ({"allowed_items": torch.eye(8, dtype=torch.bool)[:1], "k": 2}, "allows 1 item and 2 results"),
    ({"history": None}, "nothing to score"),
    ({"history": torch.tensor([[1, 9]])}, "history contains item 9, and the model has 8 items"),
]


@every_model
@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_a_bad_call_is_refused_by_name(model, call, message):
    with pytest.raises(ValueError, match=message):
        model.recommend(**({"history": torch.tensor([[1, 2]]), "k": 2} | call))


@every_model
def test_beams_are_accepted_and_change_nothing(model):
    history = torch.tensor([[1, 2]])
    assert model.recommend(history=history, k=8, num_beams=3).items.equal(model.recommend(history=history, k=8).items)


@every_model
def test_nothing_but_item_ids_enters(model):
    collator = ItemIdCollator(None, model)
    bare = collator([Request((1, 2), ())])
    assert set(bare) == {"history", "attention_mask"}
    told = collator([Request((1, 2), ("Search for red tea",), "user 7")])
    assert all(told[name].equal(bare[name]) for name in bare)


@every_model
def test_a_saved_model_recommends_bit_for_bit_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    one, other = (ask(each, *HISTORIES, k=NUM_ITEMS) for each in (model, loaded))
    assert one.items.equal(other.items)
    assert one.scores.equal(other.scores)
    assert loaded.config.answers_empty_requests == model.config.answers_empty_requests


# -- counts -----------------------------------------------------------------------------------------------------------


def test_the_most_popular_items_are_the_same_for_everyone():
    model = BUILDERS["most_popular"]()
    assert model.item_counts.tolist() == COUNTS
    for row in ask(model, (), *HISTORIES, k=NUM_ITEMS).items.tolist():
        assert row == [3, 2, 1, 4, 5, 6, 7, 8]  # by count; of equal counts the lower id first


def test_ties_fall_to_the_lower_id_however_many_there_are():
    model = MostPopular.from_sequences([(30_000, 5)], 30_000)
    assert ask(model, (), k=2000).items[0].tolist() == [5, 30_000, *range(1, 5), *range(6, 2000)]


def slow_graph(sequences, num_items, window=5, backward_weight=0.25, degree_power=0.5):
    """Pair by pair, as the definition reads."""
    weight = [[0.0] * (num_items + 1) for _ in range(num_items + 1)]
    for sequence in sequences:
        for i, earlier in enumerate(sequence):
            for j in range(i + 1, min(i + window, len(sequence) - 1) + 1):
                later = sequence[j]
                if earlier != later:
                    weight[earlier][later] += 1 / (j - i)
                    weight[later][earlier] += backward_weight / (j - i)
    for row in weight:
        degree = sum(row)
        row[:] = [value / degree**degree_power if degree else 0.0 for value in row]
    return weight


def slow_shares(weight, history, num_recent=5, counts=COUNTS, text=None):
    """Scores of all items, as the definition reads; they sum to 1."""
    scores = [0.0] * NUM_ITEMS
    for age, item in enumerate(reversed(history[-num_recent:]), start=1):
        for other in range(1, NUM_ITEMS + 1):
            scores[other - 1] += weight[item][other] / age
            if text is not None and other != item:
                scores[other - 1] += 0.1 * float(text[item - 1] @ text[other - 1]) / age
    popularity = [count + 1 - (item + 1) / (NUM_ITEMS + 1) for item, count in enumerate(counts)]
    scores = [score + 1e-3 * share / sum(popularity) for score, share in zip(scores, popularity, strict=True)]
    return [score / sum(scores) for score in scores]


@pytest.mark.parametrize("config", [{}, {"window": 1}, {"degree_power": 1.0, "backward_weight": 0.0}])
@pytest.mark.parametrize("history", HISTORIES)
def test_the_graph_scores_what_pair_by_pair_counting_scores(config, history):
    model = TransitionGraph.from_sequences(SEQUENCES, NUM_ITEMS, **config)
    found = ask(model, history, k=NUM_ITEMS)
    expected = slow_shares(slow_graph(SEQUENCES, NUM_ITEMS, **config), history)
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        assert math.exp(score) == pytest.approx(expected[item - 1], rel=1e-5)


@pytest.mark.parametrize("history", HISTORIES)
def test_texts_that_are_alike_add_to_the_graph(history):
    found = ask(text_graph(), history, k=NUM_ITEMS)
    expected = slow_shares(slow_graph(SEQUENCES, NUM_ITEMS), history, text=embeddings())
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        assert math.exp(score) == pytest.approx(expected[item - 1], rel=1e-5)


def test_an_item_that_no_edge_reaches_is_found_by_its_text():
    assert ask(text_graph(), (7,), k=1).items.item() == 8
    assert ask(BUILDERS["transition_graph"](), (7,), k=1).items.item() == 3  # without text: the most popular


def test_without_a_history_the_graph_gives_the_popular_items():
    popular = ask(BUILDERS["most_popular"](), (), k=NUM_ITEMS).items
    assert ask(BUILDERS["transition_graph"](), (), k=NUM_ITEMS).items.equal(popular)


def test_only_the_most_recent_items_are_asked():
    model = TransitionGraph.from_sequences(SEQUENCES, NUM_ITEMS, num_recent_items=2)
    assert ask(model, (6, 1, 2), k=NUM_ITEMS).scores.equal(ask(model, (5, 4, 1, 2), k=NUM_ITEMS).scores)


def test_sequences_of_one_item_make_a_graph_without_edges():
    model = TransitionGraph.from_sequences([(3,), (5,)], NUM_ITEMS)
    assert model.config.num_edges == 0
    assert ask(model, (3,), k=2).items.tolist() == [[3, 5]]


def test_the_nearest_texts_are_those_of_the_whole_table_in_small_batches_too():
    table = torch.nn.functional.normalize(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    similarity = (table @ table.T).fill_diagonal_(-torch.inf)
    for batch_size in (7, 1024):
        cosines, columns = text_neighbours(table, 5, batch_size)
        assert columns.equal(similarity.topk(5).indices)
        torch.testing.assert_close(cosines, similarity.topk(5).values.clamp(min=0))


BAD_BUILDS = [
    (lambda: MostPopular.from_sequences([], 3), "0 training sequences"),
    (lambda: MostPopular.from_sequences([(1, 4)], 3), r"contains 4, which is no item of this catalog \(ids 1..3\)"),
    (lambda: TransitionGraph.from_sequences([(0, 1)], 3), "contains 0"),
    (lambda: TransitionGraph.from_sequences([(1, 2)], 3, num_text_neighbours=2), "needs 3 text embeddings"),
    (lambda: TransitionGraph.from_sequences([(1, 2)], 3, window=0), r"window \(0\) must be at least 1"),
    (lambda: TransitionGraph.from_sequences([(1, 2)], 3, text_weight=-1.0), r"text_weight \(-1.0\) must not be"),
]


@pytest.mark.parametrize(("build", "message"), BAD_BUILDS, ids=[message for _, message in BAD_BUILDS])
def test_what_cannot_be_counted_is_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# -- from training examples -------------------------------------------------------------------------------------------


def example(history, target):
    return Example(Request(tuple(history), ()), target)


def test_sequences_are_put_together_from_the_training_rows():
    rows = [example((1, 2), 3), example((1,), 2), example((1, 2, 3), 4), example((1,), 7), example((5,), 6)]
    assert training_sequences(rows) == [(1, 2, 3, 4), (1, 7), (5, 6)]


def prefix_rows(sequences):
    return [example(one[:end], one[end]) for one in sequences for end in range(1, len(one))]


def method(model_class, **config):
    """As much of a row of the table of methods as a build function reads."""
    return SimpleNamespace(name="a name", model_class=model_class, config=config)


def test_an_item_is_counted_once_per_user_however_many_rows_show_it():
    model, processor = build_most_popular(method(MostPopular), None, Catalogue(ITEMS, []), prefix_rows(SEQUENCES))
    assert model.item_counts.tolist() == COUNTS
    assert processor.titles([3]) == ["item 3"]
    assert processor(history=[[]])["attention_mask"].tolist() == [[0]]


def test_the_graph_embeds_item_texts_only_where_its_arguments_name_an_encoder():
    asked = []

    def load_embedder(name, device):
        asked.append((name, device))
        return lambda texts: embeddings().numpy()

    given = {"benchmark": "b", "domain": "d", "output_dir": "o"}
    without = make_arguments(**given, method="transition_graph")
    arguments = make_arguments(**given, method="transition_graph_text", text_encoder="minilm")
    catalogue = Catalogue(ITEMS, [item["text"] for item in ITEMS], load_embedder=load_embedder)
    bare, _ = build_transition_graph(method(TransitionGraph), without, catalogue, prefix_rows(SEQUENCES))
    assert asked == []
    texts = method(TransitionGraph, num_text_neighbours=1, text_weight=0.1)
    told, _ = build_transition_graph(texts, arguments, catalogue, prefix_rows(SEQUENCES))
    assert asked == [("minilm", "cpu")]
    for model, expected in ((bare, BUILDERS["transition_graph"]()), (told, text_graph())):
        assert ask(model, *HISTORIES, k=8).scores.equal(ask(expected, *HISTORIES, k=8).scores)


def sasrec_arguments(**changes):
    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "num_decoder_layers": 3, "dropout_rate": 0.25}
    return SimpleNamespace(**(sizes | {"seed": 5} | changes))


def test_the_arguments_make_the_sasrec_and_only_their_seed_decides_its_start():
    def build():
        return build_sasrec(method(SASRec, loss="bce"), sasrec_arguments(), Catalogue(ITEMS, []), [])

    state = torch.get_rng_state()
    model, processor = build()
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(99)
    again, _ = build()
    assert model.item_embeddings.weight.equal(again.item_embeddings.weight)
    config = model.config
    assert (config.num_items, config.d_model, config.d_ff, config.num_layers) == (NUM_ITEMS, 8, 12, 3)
    assert (config.dropout_rate, config.loss) == (0.25, "bce")
    with pytest.raises(ValueError, match="empty history"):
        processor(history=[[]])


# -- processor --------------------------------------------------------------------------------------------------------


def test_histories_are_padded_left_cut_to_the_newest_and_read_alone():
    processor = ItemIdProcessor(max_history_length=3, items=ITEMS)
    features = processor(history=[[1, 2, 3, 4], [5]])
    assert features["history"].tolist() == [[2, 3, 4], [0, 0, 5]]
    assert features["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert processor(history=[1, 2])["history"].tolist() == [[1, 2]]
    assert processor(history=[[1]], preference=[None])["history"].tolist() == [[1]]


BAD_REQUESTS = [
    ({}, "both missing"),
    ({"history": [[1], []]}, "request 1 has an empty history"),
    ({"history": [[9]]}, r"9, which is no item of this catalog \(ids 1..8\)"),
    ({"history": [["1"]]}, "contains '1'"),
    ({"history": [[1]], "preference": ["red tea"]}, "reads no preference"),
    ({"history": [1], "preference": "red tea"}, "reads no preference"),
    ({"preference": "red tea"}, "reads no preference"),
]


@pytest.mark.parametrize(("request_", "message"), BAD_REQUESTS, ids=[message for _, message in BAD_REQUESTS])
def test_a_bad_request_is_refused(request_, message):
    with pytest.raises(ValueError, match=message):
        ItemIdProcessor(items=ITEMS)(**request_)


def test_an_empty_history_is_a_request_where_the_model_answers_one(tmp_path):
    ItemIdProcessor(answers_empty_requests=True, items=ITEMS).save_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert type(processor) is ItemIdProcessor
    assert processor.items == ITEMS
    features = processor(history=[[], [2]])
    assert features["attention_mask"].tolist() == [[0], [1]]
    assert BUILDERS["most_popular"]().recommend(**features, k=1).items.tolist() == [[3], [3]]


# -- the Hub ----------------------------------------------------------------------------------------------------------


FRESH_PROCESS = """
import sys
sys.path = [path for path in sys.path if path not in ("", {project!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
from transformers import AutoModel, AutoProcessor
try:
    import modeling_mender
except ImportError:
    pass
else:
    raise SystemExit("the package is still importable")
for folder in {folders!r}:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    print(model.recommend(**processor(history=[[1, 2], [7]]), k=8).items.tolist())
"""


def test_saved_folders_recommend_in_a_fresh_process_without_this_package(tmp_path, project):
    folders, expected = [], []
    for name, build in BUILDERS.items():
        model = build()
        folder = tmp_path / name
        model.save_pretrained(folder)
        processor = ItemIdProcessor(answers_empty_requests=model.config.answers_empty_requests, items=ITEMS)
        processor.save_pretrained(folder)
        folders.append(str(folder))
        expected.append(str(model.recommend(**processor(history=[[1, 2], [7]]), k=8).items.tolist()))
    code = FRESH_PROCESS.format(folders=folders, project=str(project))
    assert run_alone(code, tmp_path)[-len(expected) :] == expected
