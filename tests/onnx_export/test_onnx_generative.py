"""Generative models as ONNX graphs: the items, scores and errors of the model, for requests of every kind."""

import importlib.util
import json
import random
import shutil

import pytest
import torch
from described_graphs import check_description
from tiny_models import ITEMS, PREFERENCES, TITLES, build, tiny_tiger, train_tiny

from modeling_mender.commands import export_onnx as command
from modeling_mender.hub.loading import load_recommender
from modeling_mender.item_log_weights import SparseItemLogWeights
from modeling_mender.manifest import MANIFEST_FILE, write_manifest

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from modeling_mender.onnx_export.export import export_onnx, quantize, reference_requests  # noqa: E402
from modeling_mender.onnx_export.exported_folder import (  # noqa: E402
    DECODER_STEP,
    GRAPHS,
    SEMANTIC_IDS_FILE,
    SETTINGS_FILE,
)
from modeling_mender.onnx_export.runner import OnnxRecommender  # noqa: E402

REMOVED = [2, 6]


def tok(folder):
    """A saved Mender_Tok, with LoRA merged where peft is installed, two removed items and an added one."""
    rank = 2 if importlib.util.find_spec("peft") else 0
    model, processor = load_recommender(train_tiny("mender_tok", folder, family="t5", lora_rank=rank))
    codes = model.item_semantic_ids[1:2].clone()
    model.remove_items(REMOVED, processor)
    model.add_items([{"title": "red rose tea", "text": "Title: red rose tea"}], processor, codes=codes[:, :-1])
    return model, processor


def emb(folder):
    """A Mender_Emb with every option: causal layers, whose last state starts the decoder, and a limited softmax."""
    return build("emb", "bert", folder, num_encoder_layers=1, code_embeddings=True, constrained_softmax=True)


def lc_rec(folder):
    """A relative of TIGER with a pretrained decoder of another kind, which reads codes and words."""
    return tiny_tiger("lc_rec", "t5-with-decoder", folder)


@pytest.fixture(scope="module", params=[tok, emb, lc_rec], ids=lambda build: build.__name__)
def exported(request, tmp_path_factory):
    """A model, its processor, and the folder of its graphs."""
    folder = tmp_path_factory.mktemp("onnx")
    model, processor = request.param(tmp_path_factory.mktemp("model"))
    if request.param is not tok:
        export_onnx(model, processor, folder)
        return model, processor, folder
    saved = tmp_path_factory.mktemp("saved")
    model.save_pretrained(saved)
    processor.save_pretrained(saved)
    assert command.main([str(saved), "--output_dir", str(folder), "--overwrite"]) == 0
    return model, processor, folder


@pytest.fixture(scope="module")
def recommender(exported):
    return OnnxRecommender.from_pretrained(exported[2])


def random_requests(seed):
    """A batch of up to three requests with a history, up to two preferences, or both."""
    draw = random.Random(seed)
    size = draw.randint(1, 3)
    histories = [[draw.randint(1, len(ITEMS)) for _ in range(draw.randint(0, 6))] for _ in range(size)]
    preferences = [draw.sample([*TITLES, *PREFERENCES], draw.randint(0 if items else 1, 2)) for items in histories]
    return {"history": histories, "preference": preferences}


def test_the_graphs_give_the_items_and_scores_of_the_model(exported, recommender):
    model, processor, _ = exported
    limits = [{}, {"num_beams": 5}, {"exclude": [3, 5]}, {"candidates": [1, 4, 7, 9, 12], "num_beams": 6}]
    for fields in (*reference_requests(model, processor), *(random_requests(seed) for seed in range(20))):
        inputs = processor(**fields)
        size = len(fields["history"])
        seventh = SparseItemLogWeights(torch.full((size, 1), 7), torch.full((size, 1), 50.0), torch.zeros(size))
        dense = seventh.to_dense(model.config.num_items)
        for limit in (*limits, {"item_log_weights": dense}, {"item_log_weights": seventh}):
            expected = model.recommend(**inputs, k=5, **limit)
            found = recommender.recommend(**inputs, k=5, **limit)
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-5)
            assert torch.equal(found.items, expected.items), (fields, limit)
        assert (found.items[:, 0] == 7).all()


def test_a_request_scores_alike_alone_and_in_a_batch(exported, recommender):
    _, processor, _ = exported
    fields = {"history": [[1, 3, 4], [5]], "preference": [["red soap"], ["blue mug", "tea"]]}
    both = recommender.recommend(**processor(**fields), k=5)
    for row in range(2):
        alone = recommender.recommend(**processor(**{name: [one[row]] for name, one in fields.items()}), k=5)
        torch.testing.assert_close(both.scores[row], alone.scores[0], atol=1e-5, rtol=1e-5)
        assert torch.equal(both.items[row], alone.items[0])


def test_the_processor_beside_the_graphs_gives_the_same_inputs(exported):
    _, processor, folder = exported
    fields = random_requests(1)
    expected, found = processor(**fields), type(processor).from_pretrained(folder)(**fields)
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in expected.items()
    }


def test_the_settings_describe_the_graphs(exported):
    model, _, folder = exported
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    check_description(folder, settings["graphs"])
    assert settings["largest_difference"] < 1e-4
    assert (settings["num_items"], settings["num_beams"]) == (
        model.config.num_items,
        model.generation_config.num_beams,
    )


def test_8_bits_change_scores_a_little_and_do_not_depend_on_the_batch(exported, recommender, tmp_path):
    model, processor, folder = exported
    copy = tmp_path / "int8"
    shutil.copytree(folder, copy)
    quantize(copy / GRAPHS[model.config.model_type][0])
    settings = json.loads((copy / SETTINGS_FILE).read_text()) | {"dtype": "int8"}
    (copy / SETTINGS_FILE).write_text(json.dumps(settings))
    write_manifest(copy)
    quantized = OnnxRecommender.from_pretrained(copy)
    fields = {"history": [[1, 3, 4], [5]], "preference": [["red soap"], ["search for blue mug", "tea"]]}
    found, plain = (one.recommend(**processor(**fields), k=11).scores for one in (quantized, recommender))
    assert not torch.equal(found, plain)
    torch.testing.assert_close(found, plain, atol=0.1, rtol=0)
    for row in range(2):
        alone = quantized.recommend(**processor(**{name: [one[row]] for name, one in fields.items()}), k=11).scores
        # the steps of the decoder are in float32: their rounding depends on the shapes
        torch.testing.assert_close(alone[0], found[row], atol=1e-6, rtol=1e-6)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_requests_are_refused_as_by_the_model(exported, recommender):
    model, processor, _ = exported
    inputs = dict(processor(history=[[1, 3], [4]], preference=["red soap", "tea"]))
    empty = inputs["attention_mask"].clone()
    empty[1] = 0
    num_items = model.config.num_items
    dense = torch.zeros(2, num_items)
    cases = [
        {"k": 0},
        {"k": 14},
        {"k": 3, "num_beams": 2},
        {"k": 3, "num_beams": "many"},
        {"k": 3, "candidates": [1, 4]},
        {"k": 3, "candidates": [1, 99]},
        {"k": model.num_active_items, "exclude": [1]},
        {"k": 3, "attention_mask": empty},
        {"k": 3, "item_log_weights": dense[:, 1:]},
        {"k": 3, "item_log_weights": dense * torch.nan},
    ]
    for given in cases:
        with pytest.raises(ValueError) as expected:
            model.recommend(**inputs | given)
        with pytest.raises(ValueError) as found:
            recommender.recommend(**inputs | given)
        assert str(found.value) == str(expected.value)
    with pytest.raises(ValueError, match="recommend does not take avoid; it takes the processor's output"):
        recommender.recommend(**inputs, avoid="tea")
    with pytest.raises(ValueError, match="nothing to encode"):
        recommender.recommend(k=3)


def test_ids_beyond_the_tables_are_refused(recommender):
    if "history" in recommender.encoder_input_names:
        cases = [([[13]], "item 13"), ([[-1]], "item -1"), ([[1] * 21], "has 21 items, the model takes 20")]
        name = "history"
    else:
        size = recommender.settings["num_input_tokens"]
        cases, name = [([[size]], f"contains {size}, .* reads {size} tokens"), ([[-1]], "contains -1")], "input_ids"
    for ids, reason in cases:
        with pytest.raises(ValueError, match=reason):
            recommender.recommend(**{name: torch.tensor(ids)}, k=3)


def test_damaged_and_missing_files_are_named(exported, tmp_path):
    _, _, folder = exported
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / SEMANTIC_IDS_FILE
    codes = json.loads(path.read_text())
    path.write_text(json.dumps(codes[::-1]) + "\n")
    with pytest.raises(ValueError, match=f"{SEMANTIC_IDS_FILE} has another content"):
        OnnxRecommender.from_pretrained(copy)
    (copy / MANIFEST_FILE).unlink()
    for content in ("{", "7", "[]", json.dumps(codes[:-1]), json.dumps([codes[0], *codes]), json.dumps([[0]] * 13)):
        path.write_text(content)
        with pytest.raises(ValueError, match=f"{SEMANTIC_IDS_FILE} is damaged"):
            OnnxRecommender.from_pretrained(copy)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{SEMANTIC_IDS_FILE} is missing"):
        OnnxRecommender.from_pretrained(copy)
    (copy / DECODER_STEP).unlink()
    with pytest.raises(FileNotFoundError, match=f"{DECODER_STEP} is missing"):
        OnnxRecommender.from_pretrained(copy)
    settings = json.loads((copy / SETTINGS_FILE).read_text())
    for changed in ({"num_levels": 0}, {"codebook_size": "4"}, {"constrained_softmax": 1}, {"model_type": "sasrec"}):
        (copy / SETTINGS_FILE).write_text(json.dumps(settings | changed))
        with pytest.raises(ValueError, match=f"{SETTINGS_FILE} is damaged .*its {next(iter(changed))}"):
            OnnxRecommender.from_pretrained(copy)
