"""Mender_Steer as ONNX graphs: the same items and scores as the model, for requests of every kind."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from described_graphs import check_description
from tiny_models import ITEMS, TITLES, build, tiny_method

from modeling_mender.commands import export_onnx as command
from modeling_mender.hub.browser_page import stage_page
from modeling_mender.manifest import MANIFEST_FILE, write_manifest

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from modeling_mender.onnx_export.export import export_onnx, quantize, reference_requests  # noqa: E402
from modeling_mender.onnx_export.exported_folder import (  # noqa: E402
    ITEM_SCORES,
    SEMANTIC_IDS_FILE,
    SETTINGS_FILE,
    TEXT_ENCODER,
)
from modeling_mender.onnx_export.graphs import stacked_terms  # noqa: E402
from modeling_mender.onnx_export.runner import OnnxRecommender  # noqa: E402

TRIE = Path(__file__).parents[2] / "model_cards" / "spaces" / "browser" / "trie.js"
REMOVED, NUM_ITEMS = [2, 6], len(ITEMS) + 1


@pytest.fixture(scope="module")
def steer(tmp_path_factory):
    """A model with two removed items and an added one that has the semantic ID of the first of them."""
    model, processor = build("steer", "bert", tmp_path_factory.mktemp("encoder"))
    model.unrelated_cosine.copy_(torch.tensor([0.2, 0.1]))
    codes = model.item_semantic_ids[1:2].clone()
    model.remove_items(REMOVED, processor)
    model.add_items([{"title": "red rose tea", "text": "Title: red rose tea"}], processor, codes=codes[:, :-1])
    assert torch.equal(model.item_semantic_ids[-1:], codes)
    return model, processor


@pytest.fixture(scope="module")
def folder(steer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(*steer, folder)
    return folder


@pytest.fixture(scope="module")
def recommender(folder):
    return OnnxRecommender.from_pretrained(folder)


def random_requests(seed):
    """A batch of requests: up to three texts each, wanted or avoided, of any strength, any history."""
    draw = random.Random(seed)
    texts = [*TITLES, "avoid red soap", "blue lamp but not a mug", "xyzzy plugh", "tea"]
    size = draw.randint(1, 3)
    preferences = [draw.sample(texts, draw.randint(0, 3)) for _ in range(size)]
    return {
        "history": [[draw.randint(1, len(ITEMS)) for _ in range(draw.randint(0, 6))] for _ in range(size)],
        "preference": preferences,
        "avoid": [draw.sample(texts, draw.randint(0, 2)) for _ in range(size)],
        "strength": [draw.choice([1.0, 0.3, 2.0, -1.0, 0]) for _ in range(size)],
    }


def test_the_graphs_give_the_items_and_scores_of_the_model(steer, recommender):
    model, processor = steer
    for request_fields in (*reference_requests(*steer), *(random_requests(seed) for seed in range(30))):
        inputs = processor(**request_fields)
        for limit in ({}, {"exclude": [3, 5]}, {"candidates": [1, 4, 7, 9, 12]}):
            expected = model.recommend(**inputs, k=5, **limit)
            found = recommender.recommend(**inputs, k=5, **limit)
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-5)
            assert torch.equal(found.items, expected.items), request_fields


def test_weights_and_masks_of_items_count_as_for_the_model(steer, recommender):
    model, processor = steer
    inputs = processor(history=[[1, 2]], preference=["red soap"])
    weights = torch.zeros(1, NUM_ITEMS)
    weights[0, 6] = 50
    allowed = torch.arange(NUM_ITEMS).unsqueeze(0) > 5
    given = {"k": 3, "item_log_weights": weights, "allowed_items": allowed}
    found, expected = recommender.recommend(**inputs, **given), model.recommend(**inputs, **given)
    assert found.items[0, 0] == 7
    assert torch.equal(found.items, expected.items)


def test_stacked_terms_are_the_terms(steer):
    model, processor = steer
    for seed in range(30):
        components = model.components(**processor(**random_requests(seed)))
        if components["strengths"].shape[1]:
            expected = torch.stack(list(model.weigh(components).values()), dim=1)
            found = stacked_terms(model, components)
            left = model.is_item[1:]
            torch.testing.assert_close(found[..., left], expected[..., left], atol=1e-4, rtol=1e-5)


def test_a_request_scores_alike_alone_and_in_a_batch(steer, recommender):
    _, processor = steer
    fields = {"history": [[1, 2, 3], []], "preference": [["red soap"], ["blue mug", "tea"]]}
    both = recommender.score_items(**processor(**fields))
    for row in range(2):
        alone = processor(**{name: [value[row]] for name, value in fields.items()})
        torch.testing.assert_close(both[row], recommender.score_items(**alone)[0], atol=1e-5, rtol=1e-5)


def test_the_settings_describe_the_graphs(folder, steer):
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    check_description(folder, settings["graphs"])
    assert settings["largest_difference"] < 1e-4
    assert settings["num_items"] == NUM_ITEMS


def test_8_bits_keep_the_embeddings_near_and_do_not_depend_on_the_batch(recommender, folder, tmp_path, steer):
    copy = tmp_path / "int8"
    shutil.copytree(folder, copy)
    quantize(copy / TEXT_ENCODER)
    settings = json.loads((copy / SETTINGS_FILE).read_text()) | {"dtype": "int8"}
    (copy / SETTINGS_FILE).write_text(json.dumps(settings))
    write_manifest(copy)
    assert {one.name for one in copy.iterdir()} == {one.name for one in folder.iterdir()}
    tokens = steer[1].tokenizer([*TITLES, "tea"], padding=True, return_tensors="pt")
    given = tokens["input_ids"], tokens["attention_mask"]
    quantized = OnnxRecommender.from_pretrained(copy)
    plain, found = recommender.embed_texts(*given), quantized.embed_texts(*given)
    assert not torch.equal(plain, found)
    assert ((plain * found).sum(1) > 0.99).all()
    alone = torch.cat([quantized.embed_texts(*(one[row : row + 1] for one in given)) for row in range(len(found))])
    assert torch.equal(alone, found)


# -- removed items ----------------------------------------------------------------------------------------------------


def test_removed_items_are_refused_as_by_the_model(steer, recommender):
    model, processor = steer
    inputs = processor(history=[[1, 2]], preference=["red soap"])
    for given in ({"k": 11}, {"k": 3, "candidates": [1, 4, 13]}, {"k": 10, "exclude": [1]}):
        assert torch.equal(recommender.recommend(**inputs, **given).items, model.recommend(**inputs, **given).items)
    dense = torch.zeros(1, NUM_ITEMS).index_fill(1, torch.tensor([0]), -torch.inf)
    for given in (
        {"k": 12},
        {"k": 3, "candidates": [2, 6, 1]},
        {"k": 1, "candidates": [6]},
        {"k": 11, "exclude": [1]},
        {"k": 11, "item_log_weights": dense},
    ):
        with pytest.raises(ValueError) as expected:
            model.recommend(**inputs, **given)
        with pytest.raises(ValueError) as found:
            recommender.recommend(**inputs, **given)
        assert str(found.value) == str(expected.value)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_trie_of_the_page_leaves_removed_items_out(steer, folder, tmp_path):
    model = steer[0]
    codes = json.loads((folder / SEMANTIC_IDS_FILE).read_text())
    assert [row for row, code in enumerate(codes, start=1) if code is None] == REMOVED
    shutil.copyfile(TRIE, tmp_path / "trie.mjs")
    (tmp_path / "main.mjs").write_text(
        f"import {{ Trie }} from './trie.mjs'; const trie = new Trie({json.dumps(codes)});"
        "console.log(JSON.stringify([[...trie.leafItems], ...trie.levels.map((level) => [...level.codes])]));"
    )
    said = subprocess.run(["node", tmp_path / "main.mjs"], capture_output=True, check=True, timeout=60).stdout
    expected = [model.trie.leaf_items.tolist(), *(level.codes.tolist() for level in model.trie.levels)]
    assert json.loads(said) == expected


# -- bad input --------------------------------------------------------------------------------------------------------


def test_what_is_no_item_of_the_catalogue_is_refused(recommender):
    for history, reason in (
        ([[14]], "item 14"),
        ([[-1]], "item -1"),
        ([[1] * 21], "has 21 items, the model takes 20"),
    ):
        with pytest.raises(ValueError, match=reason):
            recommender.recommend(history=torch.tensor(history), k=3)
    for given, reason in (({"k": 0}, "k"), ({"k": 12}, "1..11"), ({"k": 3, "candidates": [1, 3]}, "allows 2 items")):
        with pytest.raises(ValueError, match=reason):
            recommender.recommend(history=torch.tensor([[1]]), **given)
    with pytest.raises(ValueError, match="nothing to score"):
        recommender.recommend()


def test_word_ids_of_another_catalogue_are_refused(recommender, steer):
    inputs = steer[1](history=[[1]], preference=["red soap"])
    inputs["preference_words"] = inputs["preference_words"] + 1000
    with pytest.raises(ValueError, match="words"):
        recommender.recommend(**inputs, k=3)


@pytest.mark.parametrize("name", [ITEM_SCORES, TEXT_ENCODER, SETTINGS_FILE, SEMANTIC_IDS_FILE, "items.jsonl"])
def test_a_changed_file_is_named_before_it_is_used(folder, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = (folder / name).read_bytes()
    half = len(content) // 2
    start = content[:half].rfind(b"1")  # a digit of the files of text
    (copy / name).write_bytes(content[:start] + b"2" + content[start + 1 :])
    page = tmp_path / "page"
    for read in (OnnxRecommender.from_pretrained, lambda export: stage_page(export, TRIE.parent, tmp_path, page)):
        with pytest.raises(ValueError, match=f"{name} has another content .*damaged, or belongs to another model"):
            read(copy)
    assert not page.exists()


def test_without_a_manifest_the_items_are_counted(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / MANIFEST_FILE).unlink()
    with (copy / "items.jsonl").open("a") as file:
        file.write(json.dumps({"item_id": 14, "title": "lamp"}) + "\n")
    with pytest.raises(ValueError, match=r"has 14 items and onnx\.json beside it counts 13"):
        OnnxRecommender.from_pretrained(copy)


def test_damaged_and_missing_files_are_named(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / MANIFEST_FILE).unlink()
    (copy / ITEM_SCORES).write_bytes((folder / ITEM_SCORES).read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{ITEM_SCORES} cannot be opened"):
        OnnxRecommender.from_pretrained(copy)
    (copy / ITEM_SCORES).unlink()
    with pytest.raises(FileNotFoundError, match=f"{ITEM_SCORES} is missing"):
        OnnxRecommender.from_pretrained(copy)
    for text in (
        "{",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "dtype": "int4"}',
        '{"format": 1, "num_items": "many"}',
    ):
        (copy / SETTINGS_FILE).write_text(text)
        with pytest.raises(ValueError, match=f"{SETTINGS_FILE} is damaged"):
            OnnxRecommender.from_pretrained(copy)
    with pytest.raises(FileNotFoundError, match=SETTINGS_FILE):
        OnnxRecommender.from_pretrained(tmp_path)


def test_models_that_are_no_graph_are_refused(tmp_path, steer):
    _, sasrec, sasrec_processor, _ = tiny_method("sasrec", "bert", tmp_path / "sasrec")
    with pytest.raises(ValueError, match="a sasrec model cannot be exported .* semantic IDs can: .* mender_tok"):
        export_onnx(sasrec, sasrec_processor, tmp_path)
    with pytest.raises(ValueError, match="MenderSteerProcessor is no processor of a mender_tok"):
        export_onnx(build("tok", "bert", tmp_path / "tok")[0], steer[1], tmp_path)
    with pytest.raises(ValueError, match="decoder"):
        export_onnx(*build("steer", "bert", tmp_path / "decoder", use_decoder=True), tmp_path)
    with pytest.raises(ValueError, match="float16"):
        export_onnx(*steer, tmp_path, dtype="float16")


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    assert command.main([str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "mine.txt").write_text("mine")
    assert command.main(["no/model", "--output_dir", str(tmp_path), "--overwrite"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
