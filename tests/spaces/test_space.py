"""The demo: its plain functions, its examples, what it asks of a model, and the page itself in a real browser."""

import ast
import doctest
import html
import importlib.util
import json
import os
import re
import shutil
import sys
import urllib.request
from html import parser as html_parser
from pathlib import Path

import pytest
import tiny_models
import torch
from browsers import chromium, free_port, served_app

pytest.importorskip("gradio", reason="the demo needs gradio: pip install -e '.[demo]'")

import gradio  # noqa: E402
from huggingface_hub import SpaceCard  # noqa: E402
from transformers import pipeline  # noqa: E402
from transformers.pipelines import PIPELINE_REGISTRY  # noqa: E402

import modeling_mender  # noqa: E402
from dataset_builders.commands.fresh_process import run_fresh  # noqa: E402
from modeling_mender.commands import demo  # noqa: E402
from modeling_mender.hub.model_publication import stage_recommender  # noqa: E402
from modeling_mender.item_words import ItemWords  # noqa: E402

SPACE = Path(__file__).resolve().parents[2] / "model_cards" / "spaces" / "demo"

sys.path.append(str(SPACE))  # as for a script that is started there
specification = importlib.util.spec_from_file_location("mender_space", SPACE / "app.py")
app = importlib.util.module_from_spec(specification)
specification.loader.exec_module(app)
import demo_answers as answers  # noqa: E402
import demo_catalogue  # noqa: E402
import demo_examples as examples  # noqa: E402
import demo_rankings as rankings  # noqa: E402
import demo_recommend  # noqa: E402
import demo_results  # noqa: E402
import demo_search  # noqa: E402


def figures(recall, ndcg):
    return {"recall@10": recall, "ndcg@10": ndcg}


RESULTS = {
    "method": "mender_tok",
    "domain": "toy",
    "split": "test",
    "num_beams": 12,
    "axes": {
        "recommendation": {
            "num_rows": 20,
            "with_preference": figures(0.5, 0.25),
            "without_preference": figures(0.125, 0.0625),
            "intervals": {"with_preference": {"recall@10": [0.375, 0.75]}},
        },
        "sentiment": {
            "num_rows": 8,
            "with_preference": {"m@10": 0.375, **figures(0.5, 0.25)},
            "without_preference": None,
        },
    },
    "left_out": {"fine": "no two items are alike"},
}


def record(model, value, domain="toy", axis="recommendation", **others):
    metric = "m@10" if axis == "sentiment" else "recall@10"
    return {"model": model, "method": "M", "domain": domain, "axis": axis, "metric": metric, "value": value} | others


LEADERBOARD = [
    record("org/second", 0.25, fingerprint="0123456789abcdef"),
    record("org/first", 0.5, url="https://hub.test/org/first", interval=[0.375, 0.75], fingerprint="0123456789abcdef"),
    record("org/first", 0.125, axis="sentiment"),
    record("elsewhere", 0.75, domain="other"),
]


def save_tiny_model(folder):
    """A random model that listens: as it is made, no preference would move an item."""
    model, processor = tiny_models.build("tok", "t5", folder / "parts")
    with torch.no_grad():
        for name, weight in model.decoder.named_parameters():
            if "EncDecAttention" in name:
                weight.mul_(10)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("preference-recommendation", model=str(model_folder))


KINDS, MATERIALS = (
    ("table lamp", "throw blanket", "serving tray", "bar soap"),
    ("walnut", "velvet", "enamel", "almond"),
)
SHOP = [
    f"{m} {k} in {c} by Quillon" for k in KINDS for m in MATERIALS for c in ("navy", "ivory", "mustard", "emerald")
]


def save_steer_model(folder):
    """A model that listens to `preference` and `avoid`: its head is random, words and weights are as they start."""
    texts = [f"{title}, {title.split(' in ')[0].split(' ', 1)[1]}s" for title in SHOP]  # with its category
    words = sorted({word for text in texts for word in text.replace(",", "").split()} - {"Quillon"})
    words += ["like", "search", "for"]
    checkpoint = tiny_models.save_text_encoder("bert", folder / "parts", words)
    semantic_ids = modeling_mender.SemanticIds(tiny_models.random_codes(64, 3, 8, 0).tolist(), codebook_size=8)
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_decoder_layers": 1}
    model = modeling_mender.MenderSteer.from_text_encoder(str(checkpoint), semantic_ids, ItemWords(texts), **sizes)
    tokenizer = tiny_models.tokenizer("bert", words)
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        model.eval().set_item_embeddings(model.embed_text(encoded["input_ids"], encoded["attention_mask"]))
    items = [{"title": title, "text": text} for title, text in zip(SHOP, texts, strict=True)]
    processor = modeling_mender.MenderSteerProcessor(tokenizer, items=items, max_length=64)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def steer_folder(tmp_path_factory):
    return save_steer_model(tmp_path_factory.mktemp("steer"))


@pytest.fixture(scope="module")
def steer(steer_folder):
    return pipeline("preference-recommendation", model=str(steer_folder))


@pytest.fixture(scope="module")
def steer_tab(steer):
    return tab_of(steer)


class Recorder:
    """A pipeline that remembers what it was asked."""

    def __init__(self, pipe):
        self.pipe, self.processor, self.model, self.requests = pipe, pipe.processor, pipe.model, []

    def __call__(self, request, **options):
        self.requests.append(request)
        return self.pipe(request, **options)


def tab_of(pipe):
    with gradio.Blocks():
        return demo_recommend.RecommendTab(pipe, "org/toy", None)


def titles_in(answer):
    return re.findall(r'class="title">([^<]*)<', answer)


def text_of(markup):
    return html.unescape(re.sub("<[^>]*>", "", markup))


def columns(answer):
    """The lists of an answer, as HTML."""
    return answer.split('<section class="mender-list">')[1:]


# -- plain functions --------------------------------------------------------------------------------------------------


def test_the_docstrings_of_the_demo_are_true():
    modules = (app, answers, demo_catalogue, examples, rankings, demo_recommend, demo_results, demo_search)
    outcomes = [doctest.testmod(module) for module in modules]
    assert sum(outcome.attempted for outcome in outcomes) >= 18
    assert sum(outcome.failed for outcome in outcomes) == 0


def test_a_search_finds_every_word_in_any_order_and_gives_no_more_than_asked():
    assert demo_search.search_titles(tiny_models.TITLES, "SOAP blue") == [9]
    assert demo_search.search_titles(tiny_models.TITLES, "tea") == [3, 7, 11]
    assert demo_search.search_titles(tiny_models.TITLES, "", limit=4) == [1, 2, 3, 4]
    assert demo_search.search_titles(tiny_models.TITLES, "velvet") == []
    assert len(demo_search.search_titles([f"mug {n}" for n in range(20_000)], "mug")) == 50


@pytest.mark.parametrize("text", ["0", "13", "-1", "1, two", "1.5", "²"])
def test_ids_outside_the_catalogue_are_refused_by_name(text):
    with pytest.raises(ValueError, match="no item of this catalog; ids are 1 to 12"):
        demo_search.read_ids(text, num_items=12)


def test_a_comparison_says_new_up_down_and_same():
    def ranking(*ids):
        return [{"item_id": item} for item in ids]

    placed = rankings.compare_rankings(ranking(5, 9, 1, 4), ranking(1, 4, 5, 8))
    assert [(item["item_id"], item["place"], item["change"]) for item in placed] == [
        (5, 1, 2),
        (9, 2, None),
        (1, 3, -2),
        (4, 4, -2),
    ]
    assert [item["change"] for item in rankings.compare_rankings(ranking(1, 2), ranking(1, 2))] == [0, 0]
    assert answers.summary(placed) == "Your preference moved 4 of 4: 1 new, 1 up, 2 down."


def test_a_request_has_only_what_was_said():
    assert rankings.make_request([1], " Look for tea ", ["mugs"], 2, False) == {
        "history": [1],
        "preference": ["Look for tea"],
        "avoid": ["mugs"],
        "strength": [2, 2],
    }
    assert rankings.make_request([1], "  ", [], 2, True) == {"history": [1], "exclude": [1]}
    assert rankings.make_request([], "Look for tea", [], 1, True) == {"history": [], "preference": ["Look for tea"]}


def test_the_terms_shown_add_up_to_the_score_shown():
    values = [-1.574, -0.066, 9.694, 0.004, -10.354]
    shown = rankings.round_to_sum(values, sum(values))
    assert sum(round(100 * value) for value in shown) == round(100 * sum(values))
    assert all(abs(one - other) <= 0.01 for one, other in zip(shown, values, strict=True))
    item = {"score": 1.0, "terms": {"history": 0.25, "normalization": 0.25}}
    assert "<td>rest</td><td>+0.50</td>" in answers.terms_html(item, {})  # and what is missing is not hidden


def test_the_table_of_the_axes_uses_the_main_metric_and_says_what_is_missing():
    assert demo_results.axes_rows(RESULTS) == [
        ["Recommendation", "recall@10", "0.5000", "0.1250", "0.2500", "0.0625", 20],
        ["Sentiment following", "m@10", "0.3750", "-", "-", "-", 8],
    ]


def test_the_figure_draws_two_bars_per_axis_with_their_values_and_intervals():
    plot = demo_results.axes_figure(RESULTS).axes[0]
    assert [bar.get_width() for bars in plot.containers for bar in bars] == [0.5, 0.375, 0.125, 0.0]
    texts = [text.get_text() for text in plot.texts]
    assert texts[:4] == ["0.500", "0.375", "0.125", "not defined"]
    assert [list(line.get_xdata()) for line in plot.lines] == [[0.375, 0.75]]


def with_baselines(**values):
    """The results above, with baselines of the recommendation axis."""
    found = {name: {"recall@10": value} for name, value in values.items()}
    axes = {**RESULTS["axes"], "recommendation": {**RESULTS["axes"]["recommendation"], "baselines": found}}
    return {**RESULTS, "axes": axes}


def test_baselines_are_a_table_and_a_mark_and_are_said_where_they_are_not_beaten():
    results = with_baselines(constant_list=0.25, history_only=0.5, **{"<b>": 1.0})
    assert demo_results.baselines_rows(results) == [
        ["Recommendation", "recall@10", "0.2500", "-", "0.5000"],
        ["Sentiment following", "m@10", "-", "-", "-"],
    ]
    assert demo_results.not_beaten(results) == ["Recommendation"]
    assert demo_results.not_beaten(with_baselines(constant_list=0.25)) == []
    plot = demo_results.axes_figure(results).axes[0]
    assert [list(line.get_xdata()) for line in plot.lines][-1] == [0.5, 0.5]
    assert demo_results.baselines_rows(RESULTS) == [] and demo_results.not_beaten(RESULTS) == []


def test_baselines_follow_the_models_of_their_task_without_a_rank():
    known = {"constant_list": 0.25, "<b>": 1.0}
    rows = demo_results.leaderboard_rows([record("a", 0.5, baselines=known), record("b", 0.125, baselines=known)])
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (1, "a", "0.5000"),
        (2, "b", "0.1250"),
        (None, "*constant list*", "0.2500"),
    ]
    assert all(len(row) == len(demo_results.LEADERBOARD_HEADERS) for row in rows)


def test_a_baseline_that_was_scored_as_a_method_has_one_row_without_a_rank():
    scored = record("b/constant_list", 0.75) | {"method": "constant_list"}
    rows = demo_results.leaderboard_rows([record("a", 0.5), scored])
    assert [row[:3] for row in rows] == [[1, "a", "0.5000"], [None, "*constant list*", "0.7500"]]


def test_the_leaderboard_ranks_within_a_task_and_filters():
    rows = demo_results.leaderboard_rows(LEADERBOARD, domain="toy", axis="recommendation")
    assert [row[:5] for row in rows] == [
        [1, "[org/first](https://hub.test/org/first)", "0.5000", "", "0.3750 to 0.7500"],
        [2, "org/second", "0.2500", "", ""],
    ]
    assert all(
        len(row) == len(demo_results.LEADERBOARD_HEADERS) == len(demo_results.LEADERBOARD_TYPES) for row in rows
    )
    assert {row[5] for row in rows} == {"toy: recommendation, recall@10"}
    assert [row[0] for row in demo_results.leaderboard_rows(LEADERBOARD)] == [1, 1, 2, 1]  # one task after the other
    assert [
        row[0] for row in demo_results.leaderboard_rows([record("b", 0.5), record("a", 0.5), record("c", 0.25)])
    ] == [
        1,
        1,
        3,
    ]
    assert demo_results.leaderboard_rows(LEADERBOARD, domain="nowhere") == []


def test_a_score_of_a_part_of_the_rows_is_ranked_apart():
    records = [record("part", 0.9) | {"num_rows": 10}, record("whole", 0.5) | {"num_rows": 20}]
    records += [record("old", 0.8) | {"num_rows": 20, "stale": True}]
    rows = demo_results.leaderboard_rows(records)
    assert [(row[0], row[1]) for row in rows] == [(1, "whole"), (1, "part"), (1, "old")]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x) [y](javascript:alert(1)", 'https://x"onclick="y'])
def test_a_submitted_model_cannot_write_links_or_html_of_its_own(url):
    name = demo_results.leaderboard_rows([record("<b>[x](y)", 0.5, url=url)])[0][1]
    assert name == "\\<b\\>\\[x\\](y)"


def test_titles_and_messages_are_escaped():
    item = {"item_id": 1, "title": "<script>tea</script> & co", "score": -1.0}
    assert "<script>" not in answers.answer_html([item], [item], 1)
    assert "&lt;script&gt;tea" in answers.answer_html(None, [item], 1)
    assert "<b>" not in answers.notice("<b>")


HOSTILE = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) **b** $\\frac{"


class Tags(html_parser.HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_titles_and_texts_of_foreign_origin_never_become_tags_links_or_formulas(tmp_path, monkeypatch):
    """A catalog, a request and results that try, shown on the whole page."""
    titles = [f"{HOSTILE} {number}" for number in range(12)]
    _, model, processor, _ = tiny_models.tiny_method("mender_steer", "bert", tmp_path)
    processor.items = [{"title": title, "text": title} for title in titles]
    pipe = modeling_mender.PreferenceRecommendationPipeline(model=model, processor=processor)
    tab = tab_of(pipe)
    shown = [tab.recommend([1, 2], text, avoid, 2, True, 5)[0] for text in (HOSTILE, "") for avoid in (HOSTILE, "")]
    shown += [answers.notice(HOSTILE), answers.reading_html([], {HOSTILE: HOSTILE}, 1, [HOSTILE])]
    for page in shown:
        found = Tags(page)
        assert found.tags <= {*"div p b span section h3 small ol li details summary table tr td".split()}
        assert found.attributes <= {"class", "role", "title", "aria-label"}
    assert sum(f'class="title">{html.escape(HOSTILE)} ' in page for page in shown) == 4
    toasts: list[str] = []
    monkeypatch.setattr(gradio, "Warning", toasts.append)
    tab.recommend([1], f"{HOSTILE}\0", "", 1, True, 5)
    tab.recommend([1], "x" * 501, "", 1, True, 5)
    tab.add_typed([], HOSTILE * 2)
    assert len(toasts) == 3 and "<" not in "".join(toasts) and "at most 500" in toasts[1]
    written: list[str] = []
    monkeypatch.setattr(gradio, "Markdown", lambda text, **options: written.append(text))
    axis = RESULTS["axes"]["recommendation"] | {"title": HOSTILE, "baselines": {"constant_list": figures(1.0, 1.0)}}
    results = RESULTS | {"method": HOSTILE, "domain": HOSTILE, "axes": {HOSTILE: axis}, "left_out": {HOSTILE: HOSTILE}}
    with gradio.Blocks():
        demo_results.axes_tab(results | {"benchmark": {"name": HOSTILE}}, HOSTILE, True)
        demo_results.axes_tab(None, HOSTILE, True)
        app.about_tab(pipe, HOSTILE)
    text = "\n".join(written)
    assert text.count(demo_results.plain(HOSTILE)) == 8
    assert HOSTILE not in text and not re.search(r"(?<!\\)<img|(?<!\\)\[x", text)
    demo_results.axes_figure(results).savefig(tmp_path / "axes.png")  # a formula that does not end is no formula


# -- what is asked of a model -----------------------------------------------------------------------------------------


def test_both_rankings_are_the_pipelines_own(pipe):
    tab = tab_of(pipe)
    answer, code = tab.recommend([1, 6], "look for blue tea", "", 1, True, 5)
    request = {"history": [1, 6], "exclude": [1, 6]}
    expected = pipe(request | {"preference": ["look for blue tea"]}, k=5) + pipe(request, k=5)
    assert titles_in(answer) == [item["title"] for item in expected]
    assert "Without it" in answer
    assert "look for blue tea" in code


def test_the_request_shown_as_code_is_the_one_that_was_asked(pipe, steer):
    for model, expected in (
        (pipe, {"history": [1], "preference": ["look for tea"]}),
        (
            steer,
            {
                "history": [1],
                "preference": ["look for tea"],
                "avoid": ["velvet", "enamel"],
                "strength": [2.5, 2.5, 2.5],
            },
        ),
    ):
        tab = tab_of(model)
        tab.pipe = Recorder(model)
        _, code = tab.recommend([1], "look for tea", "velvet and enamel", 2.5, False, 3)
        call = ast.parse(code).body[-1].value
        assert ast.literal_eval(call.args[0]) == tab.pipe.requests[-1]
        assert tab.pipe.requests == [{"history": [1]}, expected]  # a model that reads no `avoid` is not sent any


def test_what_was_had_comes_back_only_where_it_may(pipe):
    tab = tab_of(pipe)
    excluding, _ = tab.recommend([1, 2], "", "", 1, True, 12)
    assert sorted(titles_in(excluding)) == sorted(tiny_models.TITLES[2:])  # 10 are left, and 12 were asked for
    including, _ = tab.recommend([1, 2], "", "", 1, False, 12)
    assert sorted(titles_in(including)) == sorted(tiny_models.TITLES)
    assert "whole catalog" in tab.recommend(list(range(1, 13)), "", "", 1, True, 5)[0]


def test_an_empty_request_gets_the_start_and_a_preference_alone_an_answer(pipe, steer_tab):
    for tab in (tab_of(pipe), steer_tab):
        assert "Write what you would like" in tab.recommend([], " ", "", 1, True, 5)[0]
        answer, _ = tab.recommend([], "look for tea", "", 1, True, 5)
        assert len(titles_in(answer)) == 5
        assert "Choose a history, and this half shows what it brings without your preference" in answer
    assert len(titles_in(steer_tab.recommend([], "", "velvet", 1, True, 5)[0])) == 5


def test_what_is_avoided_leaves_the_list_and_is_named_where_it_was(steer, steer_tab):
    history = [2, 3, 4]  # walnut table lamps
    plain = [item["title"] for item in steer({"history": history, "exclude": history}, k=10)]
    lamps = [title for title in plain if "lamp" in title]
    assert lamps, plain
    answer, _ = steer_tab.recommend(history, "", "lamps", 1, True, 10)
    left, right = columns(answer)
    assert not any("lamp" in title for title in titles_in(left))
    assert titles_in(right) == plain
    assert right.count("avoided: lamps") == len(lamps)
    assert f"{len(lamps)} of the others" in answer


def test_a_list_of_things_to_avoid_avoids_each_of_them(steer_tab):
    answer, code = steer_tab.recommend([], "navy", "velvet, enamel and amlond", 1, True, 10)
    assert "'avoid': ['velvet', 'enamel', 'almond']" in code
    assert not any(word in title for title in titles_in(answer) for word in ("velvet", "enamel", "almond"))
    assert "spelling: amlond → almond" in text_of(answer)


def test_the_answer_says_how_the_texts_were_read(steer_tab):
    answer, _ = steer_tab.recommend([1, 2], "enmael trays, but no navy", "", 2, True, 5)
    assert "Read as: wants enamel trays × 2, avoids navy × 2, after 2 items (spelling: enmael → enamel)" in text_of(
        answer
    )
    assert "no item has “qqq”" in text_of(steer_tab.recommend([], "qqq lamps", "", 1, True, 5)[0])
    assert "“velvet” is wanted and avoided at once" in text_of(
        steer_tab.recommend([], "velvet", "velvet", 1, True, 5)[0]
    )


def test_items_are_said_to_move_by_as_many_places_as_they_do(steer, steer_tab):
    request = {"history": [2, 3], "exclude": [2, 3]}
    every = [item["item_id"] for item in steer(request, k=62)]
    asked = steer(request | {"preference": ["velvet"]}, k=62)
    left, right = columns(steer_tab.recommend([2, 3], "velvet", "", 1, True, 5)[0])
    moves = [every.index(item["item_id"]) - place for place, item in enumerate(asked[:5])]
    assert max(moves) > 5  # from beyond the list
    marks = [f"{'▲' if move > 0 else '▼'} {abs(move)}" if move else "=" for move in moves]
    assert re.findall(r'class="move [^>]*>([^<]*)<', left) == marks
    now = [[item["item_id"] for item in asked].index(item_id) + 1 for item_id in every[:5]]
    assert re.findall(r'class="move [^>]*>([^<]*)<', right) == [f"now {place}" for place in now]


def test_an_opened_item_shows_the_terms_that_make_its_score(steer, steer_tab):
    answer, _ = steer_tab.recommend([2, 3], "velvet", "navy", 1, True, 5)
    request = {"history": [2, 3], "exclude": [2, 3], "preference": ["velvet"], "avoid": ["navy"]}
    items = steer(request, k=5, return_terms=True)
    left = columns(answer)[0]
    opened = re.findall("<details>.*?</details>", left)
    assert len(opened) == 5
    for item, markup in zip(items, opened, strict=True):
        rows = dict(re.findall(r"<td>([^<]*)</td><td>([^<]*)</td>", markup))
        numbers = {label: float(value.replace("−", "-")) for label, value in rows.items()}
        assert numbers.pop("score, the sum") == round(item["score"], 2)
        assert set(numbers) >= {"history", "preference “velvet”", "avoid “navy”", "the same for every item"}
        assert sum(round(100 * value) for value in numbers.values()) == round(100 * item["score"])
        assert numbers["preference “velvet”"] == pytest.approx(item["terms"]["preference 1"], abs=0.011)


def test_what_is_avoided_stays_so_however_strong_the_preference_is(steer_tab):
    for strength in (0.3, 1, 2, 3):
        answer, _ = steer_tab.recommend([2, 3], "velvet blankets", "mustard", strength, True, 5)
        assert not any("mustard" in title for title in titles_in(columns(answer)[0])), strength


def test_a_strength_of_0_moves_nothing(steer_tab):
    answer, _ = steer_tab.recommend([2, 3], "velvet", "", 0, True, 5)
    assert "Your preference changed nothing here." in answer
    assert "no preference that counts" in answer


def test_controls_that_a_model_does_not_read_are_hidden(pipe, steer):
    for model, shown in ((pipe, False), (steer, True)):
        with gradio.Blocks() as page:
            demo_recommend.RecommendTab(model, "org/toy", None)
        named = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
        assert named["avoid"].visible is named["strength"].visible is shown
        assert "<details>" in named["answer"].value or not shown
    assert "<details>" not in tab_of(pipe).recommend([1], "tea", "", 1, True, 5)[0]


def test_errors_of_the_processor_are_shown_as_text(pipe):
    with pytest.warns(UserWarning, match="max_length"):  # outside of a browser, gradio's toast is a Python warning
        answer, _ = tab_of(pipe).recommend([1], "tea " * 100, "", 1, True, 5)
    assert "The model cannot answer this: request 0 has a preference of 105 tokens" in answer


def test_a_failure_of_the_model_ends_in_a_friendly_line_and_in_the_log(pipe, caplog):
    class Broken(Recorder):
        def __call__(self, request, **options):
            raise RuntimeError("no memory for <this>")

    tab = tab_of(pipe)
    tab.pipe = Broken(pipe)
    answer, _ = tab.recommend([1], "tea", "", 1, True, 5)
    assert "The model failed at this request" in answer
    assert "no memory" not in answer
    assert "no memory for <this>" in caplog.text


def test_a_model_without_preferences_says_so_and_asks_for_a_history():
    from modeling_mender import ItemIdProcessor, SASRec, SASRecConfig

    model = SASRec(SASRecConfig(num_items=12, d_model=8, d_ff=8, num_heads=2)).eval()
    processor = ItemIdProcessor(items=tiny_models.ITEMS)
    pipe = modeling_mender.PreferenceRecommendationPipeline(model=model, processor=processor)
    with gradio.Blocks() as page:
        tab = demo_recommend.RecommendTab(pipe, "org/sasrec", None)
    labels = {block.label: block for block in page.blocks.values() if isinstance(block, gradio.Textbox)}
    assert "reads no preference" in labels["Preference"].info
    assert not labels["Preference"].interactive
    assert not any("preference" in example or "avoid" in example for example in tab.examples)
    assert "needs a history" in tab.recommend([], "", "", 1, True, 5)[0]
    assert len(titles_in(tab.recommend([3], "", "", 1, True, 5)[0])) == 5


# -- examples ---------------------------------------------------------------------------------------------------------


def answer_to(tab, example):
    """Titles that an example brings, and its history."""
    history, preference, avoid, strength = tab.filled(example)
    answer, _ = tab.recommend(history, preference, avoid, strength, True, 10)
    return titles_in(columns(answer)[0]), [tab.titles[item_id - 1] for item_id in history]


def says(pattern, name):
    found = re.fullmatch(pattern, name)
    return found and found.groups()


def singular(word):
    return word.removesuffix("s")


def check_name(name, shown, history):
    """Compares a name with what is shown; whether it was of a known form."""
    if groups := says("likes (.+), wants (.+), no (.+)", name):
        taste, wanted, avoided = groups
        assert all(singular(taste) in title for title in history)
        assert sum(wanted in title for title in shown) >= 8
        assert not any(avoided in title for title in shown)
    elif groups := says("likes (.+), but no more (.+)", name):
        assert all(singular(groups[0]) in title for title in history)
        assert not any(singular(groups[1]) in title for title in shown)
    elif groups := says("wants (.+) (.+)", name):
        both = [title for title in SHOP if groups[0] in title and singular(groups[1]) in title]
        assert both and set(shown[: len(both)]) == set(both)
    elif groups := says("misspelt: “(.+) (.+), but no (.+)”", name):
        kind, avoided = singular(groups[1]), groups[2]
        assert not any(groups[0] in title for title in SHOP)
        assert all(kind in title for title in shown[:3])
        assert not any(avoided in title for title in shown)
    elif groups := says("asks for “(.+)”", name):
        assert groups[0] in shown
    else:
        return False
    return True


def test_every_example_does_what_its_name_says(steer_tab):
    names = [example["name"] for example in steer_tab.examples]
    assert len(names) == len(set(names)) == 5
    assert says("likes (.+), wants (.+), no (.+)", names[0])
    assert says("misspelt: “(.+) (.+), but no (.+)”", names[3])
    for example in steer_tab.examples:
        assert check_name(example["name"], *answer_to(steer_tab, example)), example


def test_a_check_of_names_finds_a_name_that_is_wrong(steer_tab):
    shown, history = answer_to(steer_tab, {"history": [2, 3], "preference": "velvet"})
    for name in (
        "likes walnut table lamps, wants velvet, no velvet",
        "asks for “velvet lamp in rose”",
        "wants ivory soaps",
    ):
        with pytest.raises(AssertionError):
            check_name(name, shown, history)


def test_a_model_that_does_not_listen_gets_examples_that_promise_nothing(steer):
    class Deaf(Recorder):
        def __call__(self, requests, **options):
            return [self.pipe({"history": [1]}, k=options["k"]) for _ in requests]

    found = examples.find_examples(Deaf(steer), True, True, steer.processor.read_preference)
    assert [example["name"].split()[0] for example in found] == ["likes", "likes", "asks"]
    for example in found[:2]:
        phrase = example["name"].removeprefix("likes ")
        assert all(singular(phrase) in SHOP[item_id - 1] for item_id in example["history"])
        assert set(example) == {"name", "history"}
    assert found[2]["name"] == f"asks for “{found[2]['preference'].removeprefix('Search for ')}”"


def test_a_model_of_the_paper_opens_with_a_history_and_is_asked_for_nothing_that_it_does_not_read(pipe):
    found = examples.find_examples(pipe, True, False)
    assert found[0]["name"].startswith(("likes", "after")) and found[0]["history"]
    assert not any("avoid" in example for example in found)
    for example in found:
        if example["name"].startswith("asks for"):
            assert f"asks for “{example['preference'].removeprefix('Search for ')}”" == example["name"]


@pytest.mark.parametrize("titles", [["tea"], ["Ünï 7", "", "..."], ["mug"] * 50, [f"thing {n}" for n in range(30)]])
def test_any_catalogue_gives_an_example(titles):
    class Alphabetic:
        processor = type("Processor", (), {"items": [{"title": title} for title in titles], "tokenizer": None})

        def __call__(self, requests, k, batch_size):
            return [[{"item_id": i + 1, "title": title} for i, title in enumerate(titles[:k])] for _ in requests]

    for reads in (True, False):
        found = examples.find_examples(Alphabetic(), reads, reads)
        assert found and all(example["name"] for example in found)
        assert all(1 <= item_id <= len(titles) for example in found for item_id in example.get("history", []))


def test_the_page_opens_with_the_first_example_and_its_answer(steer):
    own = [{"name": "mine", "history": [3, 1], "preference": "velvet", "avoid": "navy", "strength": 2}]
    for given in (None, own):
        with gradio.Blocks() as page:
            tab = demo_recommend.RecommendTab(steer, "org/toy", given)
        first = tab.examples[0]
        named = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
        assert named["history"].value == first["history"]
        assert (named["preference"].value, named["avoid"].value) == (first["preference"], first["avoid"])
        assert named["strength"].value == first.get("strength", 1)
        assert titles_in(columns(named["answer"].value)[0]) == answer_to(tab, first)[0]


def test_the_page_is_built_without_results_and_without_a_leaderboard(pipe):
    page = app.build_demo(pipe, None, None, "org/toy")
    texts = "\n".join(block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown))
    assert "has no results to show" in texts
    assert "no leaderboard here" in texts


def test_a_missing_model_an_unpublished_one_and_a_broken_file_end_in_one_line(
    tmp_path, capsys, monkeypatch, model_folder
):
    monkeypatch.delenv("MENDER_MODEL", raising=False)
    assert app.main([]) == 1
    assert "no model is named" in capsys.readouterr().err
    assert app.main(["--model", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    changed = Path(shutil.copytree(model_folder, tmp_path / "changed"))
    settings = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(settings | {"d_model": 2 * settings["d_model"]}))
    capsys.readouterr()
    assert app.main(["--model", str(changed)]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "cannot answer" in error[0]
    monkeypatch.setitem(sys.modules, "modeling_mender", None)  # not installed, as on a Space
    assert app.main(["--model", str(changed)]) == 1
    assert "could not be loaded" in capsys.readouterr().err
    monkeypatch.delitem(PIPELINE_REGISTRY.supported_tasks, "preference-recommendation")
    assert app.main(["--model", str(model_folder)]) == 1
    assert "has no pipeline" in capsys.readouterr().err
    broken = tmp_path / "results.json"
    broken.write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        app.read_json(broken)
    assert app.read_json(tmp_path / "absent.json") is None
    assert app.model_file(str(model_folder), "absent.json") is None
    assert app.model_file("org/absent", "results.json") is None  # the Hub is out of reach here


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *[("results.json", content) for content in ([1], {"axes": 5}, {**RESULTS, "left_out": 5}, 5)],
        *[("leaderboard.json", content) for content in ({"a": 1}, [1], [{"model": "x"}], [record("x", "high")], 5)],
        *[("examples.json", content) for content in (5, [{}], [1], [{"name": "a", "history": [999]}])],
    ],
)
def test_a_file_of_another_form_is_refused_by_its_name(pipe, name, content):
    given = {"results": None, "leaderboard": None, "examples": None, name.removesuffix(".json"): content}
    with pytest.raises(ValueError, match=f"{name}.* is not of the form"):
        app.build_demo(pipe, model_name="org/toy", **given)


def test_the_demo_of_a_folder_answers_and_runs_no_code_of_it(model_folder, tmp_path, monkeypatch, capsys):
    folder, ran = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "ran"
    for name in ("modeling_mender", "processing_mender", "configuration_mender", "pipeline", "handler"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\n")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        fields = json.loads((folder / name).read_text())
        kinds = ("AutoConfig", "AutoModel", "AutoModelForTextEncoding", "AutoProcessor", "AutoTokenizer")
        fields["auto_map"] = dict.fromkeys(kinds, "modeling_mender.MenderTok")
        fields["custom_pipelines"] = {"preference-recommendation": {"impl": "pipeline.Other", "pt": ["AutoModel"]}}
        (folder / name).write_text(json.dumps(fields))
    port, served = free_port(), []

    def launch(blocks, **options):
        served.append(blocks)
        return launch_and_wait(blocks, **options, prevent_thread_lock=True)

    launch_and_wait = gradio.Blocks.launch
    monkeypatch.setattr(gradio.Blocks, "launch", launch)
    assert demo.main([str(folder), "--port", str(port)]) == 0
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=60) as reply:
            page = reply.read().decode()
    finally:
        served[0].close()
    assert titles_in(page.replace('\\"', '"'))  # HTML in JSON: the answer to the first example
    assert not ran.exists()
    for words in (["--results", "absent.json"], ["--leaderboard", str(tmp_path)], ["--port", "99999"]):
        assert demo.main([str(folder), *words]) == 1
        assert words[1] in capsys.readouterr().err


def test_results_lie_beside_a_trained_model_and_under_their_domain_in_a_published_one(tmp_path):
    assert app.model_results(str(tmp_path)) is None
    assert app.model_results("org/absent") is None  # the Hub is out of reach here
    (tmp_path / "results").mkdir()
    (tmp_path / "results/toy.json").write_text("{}")
    assert app.model_results(str(tmp_path)) == tmp_path / "results/toy.json"
    (tmp_path / "results.json").write_text("{}")
    assert app.model_results(str(tmp_path)) == tmp_path / "results.json"


# -- as a Space -------------------------------------------------------------------------------------------------------


def test_the_front_matter_is_a_gradio_space_that_starts_this_app():
    card = SpaceCard.load(SPACE / "README.md").data
    assert (card.sdk, card.app_file) == ("gradio", "app.py")
    assert len(card.to_dict()["short_description"]) <= 60  # the Hub takes no more


def test_the_requirements_name_every_library_that_is_imported():
    required = {re.split("[>=<]", line)[0] for line in (SPACE / "requirements.txt").read_text().split()}
    imported = set()
    sources = [path.read_text(encoding="utf-8") for path in SPACE.glob("*.py")]
    for node in ast.walk(ast.Module([ast.parse(source) for source in sources], [])):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    own = {"modeling_mender", *(path.stem for path in SPACE.glob("*.py"))}
    assert imported - set(sys.stdlib_module_names) - own <= required
    assert required >= {"gradio", "transformers", "torch"}


@pytest.mark.usefixtures("forked_checks")
@pytest.mark.parametrize("folder", ["model_folder", "steer_folder"])
def test_a_published_model_is_served_without_our_package(folder, request, tmp_path):
    stage_recommender(request.getfixturevalue(folder), tmp_path / "published")
    code = (
        "import os, runpy, sys\n"
        "os.environ['MENDER_MODEL'] = sys.argv[2]\n"
        "sys.path.insert(0, os.path.dirname(sys.argv[1]))\n"
        "app = runpy.run_path(sys.argv[1])\n"
        "page = app['load'](app['parse_arguments']([]))\n"
        "print(type(page).__name__, 'modeling_mender' in sys.modules)\n"
    )
    printed = run_fresh(code, [SPACE / "app.py", tmp_path / "published"])
    assert printed.split()[-2:] == ["Blocks", "False"]


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory, project):
    """The app in a process of its own, as `make demo` starts it; the address."""
    folder = tmp_path_factory.mktemp("served")
    model = save_steer_model(folder)
    (model / "results.json").write_text(json.dumps(RESULTS))
    (folder / "leaderboard.json").write_text(json.dumps(LEADERBOARD))
    command = [SPACE / "app.py", "--model", model, "--leaderboard", folder / "leaderboard.json"]
    with served_app(command, folder, os.environ | {"PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1"}) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser, served):
    """The page, which must not complain, nor ask anything of another host."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors, foreign = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda sent: foreign.append(sent.url) if not sent.url.startswith(local(served)) else None)
    page.goto(served)
    page.get_by_label("Search the catalog").wait_for()
    yield page
    page.close()
    assert errors == []
    assert foreign == []


def local(served):
    return (served, "data:", "blob:")


def textbox(page, name):
    return page.get_by_role("textbox", name=re.compile(f"^{name}"))


def recommend(page):
    page.get_by_role("button", name="Recommend", exact=True).click()


def start_over(page):
    from playwright.sync_api import expect

    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".mender-notice")).to_contain_text("Write what you would like")
    expect(page.locator("#history")).not_to_contain_text("Quillon")


def pick(page, words):
    """Searches for a title and takes the first match."""
    from playwright.sync_api import expect

    textbox(page, "Search the catalog").fill("")
    textbox(page, "Search the catalog").press_sequentially(words)
    match = page.locator("#matches label").first
    expect(match).to_contain_text(words)
    match.click()
    expect(page.locator("#history")).to_contain_text(words)


def test_a_history_and_a_preference_give_two_lists_and_what_moved(page):
    from playwright.sync_api import expect

    start_over(page)
    pick(page, "enamel bar soap in navy")
    pick(page, "walnut table lamp in ivory")
    textbox(page, "Preference").fill("look for velvet blankets")
    recommend(page)
    lists = page.locator(".mender-list")
    expect(lists).to_have_count(2)
    assert lists.nth(0).locator("li").count() == lists.nth(1).locator("li").count() == 10
    assert "With your preference" in lists.nth(0).inner_text()
    assert "velvet throw blanket" in lists.nth(0).locator(".title").first.inner_text()
    marks = lists.nth(0).locator(".move").all_inner_texts()
    assert len(marks) == 10
    assert "▲" in {mark[0] for mark in marks}, marks
    shown = lists.locator(".title").all_inner_texts()
    history = [SHOP[56], SHOP[1]]
    assert not set(history) & set(shown)  # the history is excluded by default
    code = request_of(page)
    assert "'history': [57, 2]" in code  # oldest first: as they were picked
    assert "'preference': ['look for velvet blankets']" in code


def request_of(page):
    """The request, from the fold below the answer; opened once."""
    fold = page.get_by_role("button", name="This request in Python")
    if not page.locator(".cm-content").first.is_visible():
        fold.click()
    page.locator(".cm-content").first.wait_for()
    return page.locator(".cm-content").first.inner_text().replace("\n", "")


def test_the_avoid_box_avoids_and_an_item_opens_to_its_terms(page):
    from playwright.sync_api import expect

    start_over(page)
    textbox(page, "Preference").fill("navy")
    textbox(page, "Avoid").fill("velvet, walnut")
    recommend(page)
    expect(page.locator(".mender-reading")).to_contain_text("wants navy, avoids velvet, walnut")
    titles = page.locator(".mender-list").nth(0).locator(".title").all_inner_texts()
    assert len(titles) == 10
    assert not any("velvet" in title or "walnut" in title for title in titles)
    expect(page.locator(".mender-list").nth(1)).to_contain_text("Choose a history")
    assert "'avoid': ['velvet', 'walnut']" in request_of(page)
    terms = page.locator(".mender-list .terms").first
    expect(terms).not_to_be_visible()
    page.locator(".mender-list summary").first.click()
    expect(terms).to_contain_text("avoid “velvet”")


def test_typed_ids_an_example_and_starting_over_fill_and_empty_the_boxes(page):
    from playwright.sync_api import expect

    start_over(page)
    textbox(page, "Search the catalog").fill("64, 5")
    textbox(page, "Search the catalog").press("Enter")
    expect(page.locator("#history")).to_contain_text(SHOP[63])
    expect(page.locator("#history")).to_contain_text(SHOP[4])
    page.get_by_role("button", name="no more").click()
    expect(page.locator(".mender-list")).to_have_count(2)
    expect(textbox(page, "Avoid")).to_have_value(re.compile("s$"))
    expect(textbox(page, "Preference")).to_have_value("")
    expect(page.locator("#history")).not_to_contain_text(SHOP[63])
    start_over(page)
    expect(page.locator(".mender-list")).to_have_count(0)
    expect(textbox(page, "Avoid")).to_have_value("")


def test_a_misspelt_search_is_asked_back(page):
    from playwright.sync_api import expect

    textbox(page, "Search the catalog").fill("wallnut lamp")
    expect(page.locator("#matches")).to_contain_text("did you mean")
    expect(page.locator("#matches label").first).to_contain_text("walnut table lamp")


def test_the_other_tabs_show_figures_leaderboard_and_code(page):
    from playwright.sync_api import expect

    page.get_by_role("tab", name="Five axes").click()
    expect(page.locator("#axes-plot img")).to_be_visible()
    expect(page.locator("#axes-table")).to_contain_text("0.3750")
    expect(page.get_by_text("no two items are alike")).to_be_visible()
    page.get_by_role("tab", name="Leaderboard").click()
    table = page.locator("#leaderboard-table")
    expect(table).to_contain_text("elsewhere")  # the first domain by name
    page.get_by_label("Domain").click()
    page.get_by_role("option", name="toy").click()
    expect(table).to_contain_text("org/first")
    expect(table).not_to_contain_text("elsewhere")
    rows = table.get_by_role("row").filter(has_text="org/")
    expect(rows).to_contain_text(["org/first", "org/second"])
    table.get_by_role("columnheader", name="value").get_by_role("button", name="Open cell menu").click()
    page.get_by_role("menuitem", name="Sort ascending").click()
    expect(rows).to_contain_text(["org/second", "org/first"])
    page.get_by_role("tab", name="About").click()
    expect(page.locator(".cm-content").filter(has_text="preference-recommendation").last).to_be_visible()


def test_the_whole_leaderboard_is_seen_at_1280(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("tab", name="Leaderboard").click()
    page.locator("#leaderboard-table").get_by_role("columnheader", name="date").last.wait_for()
    last = page.locator("#leaderboard-table").get_by_role("columnheader", name="date").last.bounding_box()
    assert last["x"] + last["width"] <= 1280 - 16
    cut = "[...document.querySelectorAll('#leaderboard-table *')].filter(e => e.scrollWidth > e.clientWidth + 1 &&"
    cut += " ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) && e.clientWidth > 600).length"
    assert page.evaluate(cut) == 0


def test_nothing_sticks_out_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Recommend", "Five axes", "Leaderboard", "About"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, tab


def test_preference_avoid_box_and_first_results_are_on_one_screen_of_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".mender-list li").nth(2).wait_for()
    boxes = [textbox(page, "Preference"), textbox(page, "Avoid"), page.get_by_role("slider").first]
    boxes += [page.locator(".mender-list li").nth(place) for place in range(3)]
    for box in [one.bounding_box() for one in boxes]:
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
