"""The page that runs a model in the browser: the same answers as Python, in a headless browser, and no word sent."""

import json
import math
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import tiny_models
import torch
from browsers import chromium
from page_server import serving
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, pipeline

from dataset_builders.commands import publish_space
from dataset_builders.commands.fresh_process import run_fresh
from modeling_mender import MenderSteer, MenderSteerProcessor, SemanticIds, TransitionGraph
from modeling_mender.commands import browser_page
from modeling_mender.hub import npm_packages
from modeling_mender.hub.browser_page import READING, with_imports, write_reading
from modeling_mender.hub.loading import load_recommender
from modeling_mender.item_words import ItemWords
from modeling_mender.semantic_ids import tokens_to_codes

SPACE = Path(__file__).resolve().parents[2] / "model_cards" / "spaces" / "browser"
KINDS, MATERIALS = (
    ("table lamp", "throw blanket", "serving tray", "bar soap"),
    ("walnut", "velvet", "enamel", "almond"),
)
SHOP = [
    f"{m} {k} in {c} by Quillon" for k in KINDS for m in MATERIALS for c in ("navy", "ivory", "mustard", "emerald")
]
STRANGE = "<img src=x onerror=alert(1)> crème lamp"
TITLES = [*SHOP, STRANGE]
REQUESTS = [
    {},
    {"history": [1, 2, 3]},
    {"history": list(range(1, 40))},
    {"history": [65], "preference": "ivory"},
    {"preference": "a walnut table lamp"},
    {"preference": "wallnut tabel lamps"},
    {"preference": "velvet blankets, but nothing in navy"},
    {"preference": "Avoid soap"},
    {"preference": "I don't want lamps; show me a tray instead"},
    {"preference": "anything but almond"},
    {"preference": "nothing but almond"},
    {"preference": "walnut-free trays"},
    {"preference": "no-walnut lamps"},
    {"preference": SHOP[17]},
    {"preference": SHOP[17].upper()},
    {"preference": ["emerald", "soap"], "strength": [2, 0.5]},
    {"preference": "soap", "avoid": "soap"},
    {"preference": "soap", "avoid": "almond, navy and ivory", "strength": 3},
    {"avoid": "everything but trays"},
    {"avoid": ["lamp", "blanket"], "strength": 0.3, "history": [5, 6]},
    {"preference": "soap", "strength": 0, "history": [7]},
    {"preference": "soap", "strength": -1},
    {"preference": "crème brûlée lamp", "history": [64, 65]},
    {"preference": "CRÈME"},
    {"preference": "灯 лампа λάμπα"},
    {"preference": "🕯️ candle 😀"},
    {"preference": "xqzzt"},
    {"preference": "!!!"},
    {"preference": "no preference"},
    {"preference": "mustard\ttray\nivory soap; not velvet"},
    {"preference": "lamp " * 300},
    {"preference": "lamp", "exclude": [1, 2, 3, 4, 65]},
    {"preference": "lamp", "candidates": list(range(20, 50)), "history": [9]},
    {"preference": "lamp", "item_log_weights": {"30": 5.5, "1": -3}},
    {"preference": "l’Oréal’s women's soap don't"},
]
REFUSED = [
    {"history": [66]},
    {"history": [0]},
    {"history": "1"},
    {"preference": 5},
    {"preference": "x" * 2001},
    {"preference": "\x00"},
    {"strength": "much", "preference": "soap"},
    {"candidates": [1, 2]},
    {"colour": "red"},
]


def word_pieces():
    """A tokenizer of MiniLM's kind: text cleaned, accents stripped, words split into pieces, unknown letters named."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = {word for title in TITLES for word in re.findall("[a-z]+", title.lower())} - {"quillon"}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{one}" for one in letters)]
    pieces += [*"!,;’'-<>=()", *sorted(words), "##s", "##ing", "candle", "preference"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(one, vocabulary[one]) for one in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)


def save_model(folder):
    """A random model of the shop, with one item whose title is markup."""
    tokenizer = word_pieces()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes))
    encoder.save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    semantic_ids = SemanticIds(tiny_models.random_codes(len(TITLES), 3, 8, 0).tolist(), codebook_size=8)
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_decoder_layers": 1}
    model = MenderSteer.from_text_encoder(str(folder / "encoder"), semantic_ids, ItemWords(TITLES), **sizes).eval()
    encoded = tokenizer(TITLES, padding=True, return_tensors="pt")
    with torch.no_grad():
        embeddings = model.embed_text(encoded["input_ids"], encoded["attention_mask"])
    model.set_item_embeddings(embeddings)
    walks = [[1 + (start + step * step) % len(TITLES) for step in range(6)] for start in range(len(TITLES))]
    graph = {"num_text_neighbours": 3, "text_weight": 0.25, "text_embeddings": embeddings}
    model.set_graph(TransitionGraph.from_sequences(walks, len(TITLES), **graph))
    items = [{"title": title, "text": title} for title in TITLES]
    processor = MenderSteerProcessor(tokenizer, items=items, max_length=64, max_history_length=20)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The npm packages, from npm's own cache: no test asks the network."""
    folder = tmp_path_factory.mktemp("npm")
    if shutil.which("npm") is None:
        pytest.skip("the page needs npm, for its libraries")
    for package in npm_packages.PACKAGES:
        run = subprocess.run(["npm", "pack", package.spec, "--offline", "--silent"], cwd=folder, capture_output=True)
        if run.returncode:
            pytest.skip(f"npm has no {package.spec} in its cache; npm cache add {package.spec} puts it there")
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def page_folder(model_folder, archives, tmp_path_factory):
    pytest.importorskip("onnx", reason="the page needs the extra onnx")
    folder = tmp_path_factory.mktemp("made") / "page"
    words = [str(model_folder), "--output_dir", str(folder), "--npm_archives", str(archives)]
    assert browser_page.main(words) == 0
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def opened(browser, page_folder):
    """The page, loaded once; it must not complain, nor ask anything of another host, nor of its own once loaded."""
    complaints, asked = [], []
    with serving(page_folder) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.context.on("request", lambda sent: asked.append(sent.url))
        page.goto(address)
        page.locator("body[data-ready]").wait_for(timeout=120_000)
        page.locator("#results li").first.wait_for()
        assert asked and all(url.startswith((address, f"blob:{address}", "data:")) for url in asked), asked
        asked.clear()
        yield page
        page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []


@pytest.fixture
def page(opened):
    opened.get_by_role("button", name="Start over").click()
    assert opened.get_by_label("I would like").input_value() == ""
    return opened


ANSWER = "([request, options]) => mender.recommend(request, options).catch((error) => ({ error: error.message }))"
GENERATE = ANSWER.replace("recommend", "generate")


def test_every_answer_is_that_of_python(page, model_folder):
    pipe = pipeline("preference-recommendation", model=str(model_folder))
    for request in REQUESTS:
        expected = pipe(request, k=10, return_terms=True)
        found = page.evaluate(ANSWER, [request, {"k": 10}])
        assert "error" not in found, (request, found)
        by_id = {item["item_id"]: item for item in pipe(request, k=pipe_size(request), return_terms=True)}
        assert [one["score"] for one in found["items"]] == pytest.approx([one["score"] for one in expected], abs=1e-4)
        for one in found["items"]:  # by id: items of equal scores may change places
            same = by_id[one["item_id"]]
            assert one["title"] == same["title"]
            assert one["score"] == pytest.approx(same["score"], abs=1e-4), request
            others = ("normalization", "given")
            terms = {name: value for name, value in same["terms"].items() if name not in others}
            assert one["terms"] == pytest.approx(terms, abs=1e-3), request
        assert len({one["item_id"] for one in found["items"]}) == 10


def test_a_search_code_by_code_finds_what_generate_finds_with_as_few_beams(page, model_folder):
    model, processor = load_recommender(model_folder)
    given = [one for one in REQUESTS if not one.keys() & {"candidates", "exclude", "item_log_weights"}]
    inexact = 0
    for number, request in enumerate(given):
        fields = {name: [value] for name, value in {"history": [], **request}.items()}
        num_beams = 2 + 3 * (number % 2)
        options = {"num_beams": num_beams, "num_return_sequences": num_beams, "return_dict_in_generate": True}
        expected = model.generate(**processor(**fields), **options)
        answer = page.evaluate(GENERATE, [request, {"k": num_beams, "num_beams": num_beams}])
        codes = tokens_to_codes(expected.sequences[:, 1:], model.config.codebook_size).tolist()
        assert {tuple(one["codes"]) for one in answer["items"]} == set(map(tuple, codes)), request
        scores = [one["score"] for one in answer["items"]]
        assert scores == pytest.approx(expected.sequences_scores.tolist(), abs=1e-4)
        best = page.evaluate(ANSWER, [request, {"k": num_beams}])["items"]
        inexact += {one["item_id"] for one in best} != {one["item_id"] for one in answer["items"]}
        for one in best:  # the path to an item has its probability
            assert math.fsum(map(math.log, one["shares"])) == pytest.approx(one["score"], abs=1e-4)
    assert inexact  # else an exhaustive search would have passed
    assert "generate takes neither" in page.evaluate(GENERATE, [{"exclude": [1]}, {}])["error"]
    assert "num_beams (2) must be in 5..65" in page.evaluate(GENERATE, [{}, {"k": 5, "num_beams": 2}])["error"]


def pipe_size(request):
    """Number of items that a request allows."""
    return len(request.get("candidates", TITLES)) - len(request.get("exclude", ()))


def test_every_text_is_read_as_python_reads_it(page, model_folder):
    processor = MenderSteerProcessor.from_pretrained(model_folder)
    for request in REQUESTS:
        fields = ([request.get(name)] for name in ("history", "preference", "avoid", "strength"))
        ((_, texts),) = processor.read(*fields)
        found = page.evaluate(ANSWER, [request, {"k": 1}])["texts"]
        expected = [(one.text, one.strength, one.corrections) for one in texts if one.strength]
        expected.sort(key=lambda one: one[1] < 0)  # wanted before avoided ones
        assert [(one["text"], one["strength"], one["corrections"]) for one in found] == expected


def test_a_request_that_python_refuses_is_refused_with_the_same_words(page, model_folder):
    pipe = pipeline("preference-recommendation", model=str(model_folder))
    for request in REFUSED:
        with pytest.raises(ValueError) as error:
            pipe(request)
        assert page.evaluate(ANSWER, [request, {}])["error"] == str(error.value)
    assert "k (66)" in page.evaluate(ANSWER, [{}, {"k": 66}])["error"]
    assert len(page.evaluate(ANSWER, [{}, {}])["items"]) == 10  # it goes on


def test_a_wish_is_typed_and_the_answer_says_how_it_was_read_and_why(page):
    page.get_by_label("I would like").fill("wallnut lamps, nothing in navy")
    page.keyboard.press("Enter")
    page.locator(".tag.avoided").wait_for()
    tags = page.locator("#reading .tag").all_inner_texts()
    assert tags == ["wants walnut lamps", "spelled wallnut → walnut", "avoids navy"]
    titles = page.locator("#results .title").all_inner_texts()
    assert len(titles) == 10 and all("walnut table lamp" in title for title in titles[:3])
    assert not any("navy" in title for title in titles)
    names = page.locator("#results li").first.locator(".terms .name").all_inner_texts()
    assert names[2:] == ["wants “walnut lamps”", "avoids “navy”"]
    assert re.search(r"Answered in \d+ ms", page.locator("#status").inner_text())


def test_a_history_is_chosen_by_title_with_the_keyboard_alone(page):
    page.get_by_label("What I had before").focus()
    page.keyboard.type("ivory enamel")
    assert page.locator("#matches button").count() == 4
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("MUSTARD velvet")
    page.keyboard.press("Enter")  # the first match
    chosen = page.locator("#history bdi").all_inner_texts()
    assert len(chosen) == 2 and "enamel" in chosen[0] and "velvet" in chosen[1]
    page.get_by_role("button", name=f"Remove {chosen[0]}").click()
    assert page.locator("#history bdi").all_inner_texts() == chosen[1:]
    page.keyboard.type("no such thing")
    assert page.locator("#matches").inner_text() == "no title has these words"


def test_a_title_of_markup_is_shown_as_it_is(page):
    page.get_by_label("I would like").fill("crème")
    page.get_by_role("button", name="Recommend").click()
    page.get_by_text(STRANGE).first.wait_for()
    assert page.locator("img").count() == 0


def test_an_error_is_said_and_the_next_answer_takes_it_away(page):
    box = page.get_by_label("I would like")
    box.evaluate("(box) => { box.removeAttribute('maxlength'); box.value = 'x'.repeat(2001); }")
    box.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "2,001 characters" in page.get_by_role("alert").inner_text()
    box.fill("soap")
    box.press("Enter")
    page.get_by_role("alert").wait_for(state="hidden")
    assert page.locator("#results li").count() == 10


def test_the_browser_refuses_every_other_address(page, browser):
    """By the policy of the page, which its worker has too: it is made of a blob."""
    send = "(address) => fetch(address).then(() => 'sent', () => 'refused')"
    from_worker = f"""(address) => new Promise((resolve) => {{
        const code = `({send})(${{JSON.stringify(address)}}).then((said) => self.postMessage(said))`;
        const worker = new Worker(URL.createObjectURL(new Blob([code])));
        worker.onmessage = (event) => resolve(event.data);
    }})"""
    with serving(SPACE, [("Access-Control-Allow-Origin", "*")]) as elsewhere:  # another port is another origin
        assert page.evaluate(from_worker, elsewhere) == "refused"
        other = browser.new_page()
        other.goto(f"{page.url}style.css")  # of the same origin, without a policy
        assert other.evaluate(send, elsewhere) == "sent"
        other.close()


def test_nothing_sticks_out_on_a_phone_and_every_control_has_a_name(page):
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    finally:
        page.set_viewport_size({"width": 1280, "height": 900})
    for control in page.locator("input, button").all():
        assert control.evaluate("(one) => one.labels?.length || one.textContent || one.getAttribute('aria-label')")


# -- without a browser ----------------------------------------------------------------------------------------------


def test_what_reads_requests_needs_the_standard_library_alone(tmp_path):
    write_reading(tmp_path / "reading.zip")
    write_reading(tmp_path / "again.zip")
    assert (tmp_path / "reading.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    names = {f"reading/{name}.py" for name in ("__init__", *with_imports(READING))}
    assert set(zipfile.ZipFile(tmp_path / "reading.zip").namelist()) == names
    code = """
import json, sys
sys.path[:0] = sys.argv[1:]
before = set(sys.modules)
import reader
items = "".join(json.dumps({"title": title, "text": title}) + "\\n" for title in ("red soap", "blue\\u2028mug"))
page = reader.PageReader(items, '["soap"]', 20)
print(page.read('{"request": {"preference": "saop, no mug"}, "options": {"k": 1}}'))
print(sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    *_, answer, loaded = run_fresh(code, [SPACE, tmp_path / "reading.zip"]).strip().split("\n")
    read = json.loads(answer)
    assert [(one["text"], one["strength"], one["words"]) for one in read["texts"]] == [
        ("soap", 1.0, [4]),
        ("mug", -1.0, [2]),
    ]
    assert (read["history"], read["k"], read["weights"]) == ([], 1, None)
    assert loaded == "['reader', 'reading']"


def test_a_page_is_published_as_it_was_made_and_not_otherwise(page_folder, tmp_path, capsys):
    words = ["browser", "--repo_id", "org/page", "--page", str(page_folder), "--dry_run"]
    assert publish_space.main([*words, "--output_dir", str(tmp_path / "copy")]) == 0
    named = {path.relative_to(page_folder) for path in page_folder.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*") if path.is_file()} == named
    changed = shutil.copytree(page_folder, tmp_path / "changed")
    (changed / "page.js").write_text("alert(1)")
    capsys.readouterr()
    assert publish_space.main([*words[:4], str(changed), "--dry_run"]) == 1
    assert "page.js is not the file" in capsys.readouterr().err
    (changed / "engine.js").unlink()
    assert publish_space.main([*words[:4], str(changed), "--dry_run"]) == 1
    assert "lacks 'engine.js'" in capsys.readouterr().err
    listed = json.loads((changed / "page.json").read_text())
    (changed / "page.json").write_text(json.dumps({**listed, "files": {"../page/page.js": {"sha256": ""}}}))
    assert publish_space.main([*words[:4], str(changed), "--dry_run"]) == 1
    assert "lacks '../page/page.js'" in capsys.readouterr().err
    for given, said in ((["--page", str(tmp_path)], "has no page.json"), ([], "needs --page")):
        assert publish_space.main([*words[:3], *given, "--dry_run"]) == 1
        assert said in capsys.readouterr().err


def test_the_front_matter_is_a_static_space():
    fields = (SPACE / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "sdk: static" in fields and "app_file: index.html" in fields
    assert len(re.search("short_description: (.*)", fields)[1]) <= 60  # the Hub takes no more


def test_a_library_that_is_missing_or_another_ends_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(npm_packages.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="npm is not installed.*--npm_archives"):
        npm_packages.vendor(tmp_path / "first")
    package = npm_packages.PACKAGES[0]
    with tarfile.open(tmp_path / package.archive, "w:gz") as archive:
        archive.add(SPACE / "page.js", "package/package.json")
    with pytest.raises(ValueError, match="is not onnxruntime-web@.* as published"):
        npm_packages.vendor(tmp_path / "second", tmp_path)
    monkeypatch.setattr(npm_packages.shutil, "which", lambda name: sys.executable)  # which knows no such command
    with pytest.raises(ConnectionError, match="npm cannot fetch.*is there a network"):
        npm_packages.vendor(tmp_path / "third")
    assert browser_page.main([str(tmp_path), "--output_dir", str(tmp_path / "page")]) == 1
    assert "npm cannot fetch" in capsys.readouterr().err and not (tmp_path / "page").exists()


def test_an_exported_model_of_another_type_or_without_a_file_ends_in_one_line(archives, tmp_path, capsys):
    words = [str(tmp_path / "onnx"), "--output_dir", str(tmp_path / "page"), "--npm_archives", str(archives)]
    (tmp_path / "onnx").mkdir()
    names = "num_items num_words embedding_size max_history_length num_levels codebook_size num_beams num_input_tokens"
    known = {"format": 1, "dtype": "int8", "constrained_softmax": False, **dict.fromkeys(names.split(), 1)}
    for given, model_type, said in (
        (words, "mender_steer", "was exported in int8"),
        ([*words, "--dtype", "int8"], "mender_steer", "has no text_encoder.onnx"),
        ([*words, "--dtype", "int8"], "mender_tok", "is a mender_tok, and the page runs a mender_steer"),
    ):
        (tmp_path / "onnx" / "onnx.json").write_text(json.dumps({**known, "model_type": model_type}))
        assert browser_page.main(given) == 1
        assert said in capsys.readouterr().err and not (tmp_path / "page").exists()
