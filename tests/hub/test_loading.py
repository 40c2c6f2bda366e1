"""A model folder whose files are damaged or mixed up is refused, never asked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import save_text_encoder, train_tiny
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline

from modeling_mender.configuration_mender_steer import MenderSteerConfig
from modeling_mender.hub.loading import load_recommender
from modeling_mender.manifest import MANIFEST_FILE, write_manifest
from modeling_mender.methods.table import METHODS


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_tiny("mender_steer", tmp_path_factory.mktemp("steer"))


@pytest.fixture
def folder(trained, tmp_path):
    """A copy without a manifest, so that what is behind it has to find the fault."""
    copy = shutil.copytree(trained, tmp_path / "model")
    (copy / MANIFEST_FILE).unlink()
    return copy


def change_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(folder: Path, name: str, **fields) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("name", METHODS)
def test_a_whole_folder_of_every_method_is_taken(tmp_path, name, caplog):
    model, processor = load_recommender(train_tiny(name, tmp_path, "t5-with-decoder"))
    assert not model.training and processor.items
    assert MANIFEST_FILE not in caplog.text
    assert model.config.items_digest == processor.items_digest


def test_a_folder_without_a_manifest_is_taken_with_one_warning(folder, caplog):
    load_recommender(folder)
    assert [MANIFEST_FILE in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("lost", ["head.start", "item_embeddings", "graph."])
def test_a_missing_weight_is_named(folder, lost):
    name = next(name for name in load_file(folder / "model.safetensors") if name.startswith(lost))
    change_weights(folder, lambda tensors: tensors.pop(name))
    for load in (load_recommender, AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=f"its weights {name} are missing"):
            load(folder)


def test_an_unexpected_weight_is_named(folder):
    change_weights(folder, lambda tensors: tensors.update(surplus=torch.zeros(2)))
    with pytest.raises(ValueError, match="its weights surplus are unexpected"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(folder, number):
    change_weights(folder, lambda tensors: tensors["head.start"].view(-1)[:1].fill_(number))
    with pytest.raises(ValueError, match=r"head.start hold numbers that are not finite"):
        AutoModel.from_pretrained(folder, dtype=torch.float32)


def test_weights_of_another_shape_or_type_are_named_before_they_are_read(folder):
    change_weights(folder, lambda tensors: tensors.update({"head.start": torch.zeros(2, 2)}))
    with pytest.raises(ValueError, match=r"its weights head.start are of another shape or type \(\(2, 2\)\)"):
        AutoModel.from_pretrained(folder)
    change_weights(folder, lambda tensors: tensors.update({"head.start": torch.zeros(16, dtype=torch.long)}))
    with pytest.raises(ValueError, match=r"its weights head.start are of another shape or type"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("change", [{"request_weights.table": torch.zeros(9, 6)}, {"unrelated_cosine": None}])
def test_a_model_of_an_earlier_version_is_told_from_a_damaged_one(folder, change):
    def be_earlier(tensors):
        for name, value in change.items():
            tensors.pop(name)
            tensors |= {} if value is None else {name: value}

    change_weights(folder, be_earlier)
    with pytest.raises(ValueError, match="of an earlier version of this project.*train it again with mender train"):
        load_recommender(folder)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("item_semantic_ids", lambda codes: codes[0].fill_(9)),  # no such code
        ("item_semantic_ids", lambda codes: codes[0].copy_(codes[1])),  # shared
        ("word_items", lambda items: items[:1].fill_(12)),  # counted from 0
        ("word_starts", lambda starts: starts[1:2].fill_(500)),
        ("graph.edge_columns", lambda columns: columns[:1].fill_(-1)),
        ("graph.item_counts", lambda counts: counts[:1].fill_(-1)),
    ],
)
def test_a_table_that_would_be_looked_up_wrongly_is_refused(folder, table, change):
    change_weights(folder, lambda tensors: change(tensors[table]))
    with pytest.raises(ValueError, match="cannot answer"):
        AutoModel.from_pretrained(folder)


def test_weights_in_parts_are_read_and_parts_elsewhere_are_refused(trained, folder):
    expected = AutoModel.from_pretrained(trained)
    expected.save_pretrained(folder / "parts", max_shard_size="20KB")
    index = folder / "parts/model.safetensors.index.json"
    assert len({*json.loads(index.read_text())["weight_map"].values()}) > 1
    loaded, info = AutoModel.from_pretrained(folder / "parts", output_loading_info=True)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in expected.state_dict().items())
    assert not info["missing_keys"]
    whole = json.loads(index.read_text())
    for elsewhere in ("../model.safetensors", str(folder / "model.safetensors"), "..\\model.safetensors", "C:a", 7):
        index.write_text(json.dumps(whole | {"weight_map": whole["weight_map"] | {"head.start": elsewhere}}))
        with pytest.raises(ValueError, match="must be in the same folder"):
            AutoModel.from_pretrained(folder / "parts")


def test_pickled_weights_are_refused_by_name(folder):
    weights = load_file(folder / "model.safetensors")
    with pytest.raises(ValueError, match="no pickle"):
        AutoModel.from_pretrained(folder, use_safetensors=False)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    for load in (load_recommender, AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=r"are pickled \(pytorch_model.bin\)"):
            load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("num_items", value) for value in ("12", -1, 0, 10**9, None, [12], True, 12.5, {})],
        *[("num_levels", value) for value in ("3", 10**9, None)],
        ("num_decoder_layers", 10**9),
        ("d_model", 10**9),
        ("dropout_rate", "high"),
        ("dtype", "float99"),
        ("id2label", []),
        ("num_labels", 10**12),
        ("text_config", 5),
        ("text_config", {"model_type": "unheard"}),
        ("text_config", {"model_type": "bert", "hidden_size": "x"}),
        ("text_config", {"model_type": "bert", "num_hidden_layers": 10**9}),
        ("graph_config", {"num_items": 12, "num_edges": 10**12}),
        ("model_type", "mender_tok"),
        ("model_type", ["mender_tok"]),
        ("model_type", None),
        ("items_digest", 7),
        ("transformers_weights", "../model.safetensors"),
    ],
)
def test_a_configuration_with_a_wrong_field_is_refused(folder, name, value):
    change_json(folder, "config.json", **{name: value})
    with pytest.raises(ValueError, match=str(folder)):
        load_recommender(folder)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json", MANIFEST_FILE])
@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"a": ' + "[" * 300 + "]" * 300 + "}", "[" * 10**6]
)
def test_json_that_is_none_is_refused_with_its_file(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=str(folder / name)):
        load_recommender(folder)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("processor_config.json", {"max_history_length": "20"}),
        ("processor_config.json", {"max_history_length": 7}),
        ("processor_config.json", {"max_length": 0}),
        ("processor_config.json", {"processor_class": "MenderTokProcessor"}),
        ("processor_config.json", {"processor_class": "BertTokenizer"}),
        ("processor_config.json", {"processor_class": 5}),
        ("tokenizer_config.json", {"added_tokens_decoder": 5}),
        ("tokenizer.json", {"model": None}),
        ("generation_config.json", {"num_beams": "many"}),
    ],
)
def test_a_processor_or_search_with_a_wrong_field_is_refused(folder, name, fields):
    change_json(folder, name, **fields)
    with pytest.raises(ValueError, match=str(folder)):
        load_recommender(folder)


@pytest.mark.parametrize("name", ["UnknownProcessor", "", 7, ["MenderTokProcessor"]])
@pytest.mark.parametrize("auto_map", [{}, {"auto_map": {"AutoProcessor": "processing_mender.UnknownProcessor"}}])
def test_an_unknown_processor_is_refused_with_those_that_there_are(folder, name, auto_map):
    change_json(folder, "processor_config.json", processor_class=name, **auto_map)
    with pytest.raises(ValueError, match="there are .*MenderSteerProcessor, ItemIdProcessor") as caught:
        load_recommender(folder)
    assert "trust_remote_code" not in str(caught.value)


def test_a_tokenizer_without_its_words_is_refused(folder):
    change_json(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer")  # which takes none for no words
    (folder / "tokenizer.json").unlink()
    for load in (load_recommender, AutoProcessor.from_pretrained):
        with pytest.raises(OSError, match=r"no.* file named vocab.txt or tokenizer.json, the words of its tokenizer"):
            load(folder)


def test_an_unknown_tokenizer_is_refused_without_advice_to_run_code(folder):
    fields = {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["modeling_mender_steer.X", None]}}
    change_json(folder, "tokenizer_config.json", **fields)
    try:
        load_recommender(folder)
    except ValueError as error:
        assert str(folder) in str(error) and "`trust_remote_code=True`" not in str(error)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1].replace("12", "13")],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0].replace("red", "blue"), *lines[1:]],
        lambda lines: [lines[0], "[]", *lines[2:]],
        lambda lines: [lines[0][:9], *lines[1:]],
        lambda lines: [],
    ],
    ids=["cut", "longer", "order", "titles", "list", "torn", "empty"],
)
def test_other_items_than_the_model_was_trained_with_are_refused(folder, change):
    path = folder / "items.jsonl"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    for load in (load_recommender, AutoProcessor.from_pretrained):
        with pytest.raises(ValueError, match="items.jsonl"):
            load(folder)


@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "a\\b.json", "C:config.json", "", ".hidden"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(folder, name):
    write_manifest(folder)
    fields = json.loads((folder / MANIFEST_FILE).read_text())
    fields["files"][name] = next(iter(fields["files"].values()))
    (folder / MANIFEST_FILE).write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="must be in the same folder"):
        load_recommender(folder)


@pytest.mark.parametrize("stray", ["vocab.txt", "added_tokens.json", "model.safetensors.index.json"])
def test_a_file_that_would_be_read_and_is_not_listed_is_refused(folder, stray):
    write_manifest(folder)
    (folder / stray).write_text("{}")
    with pytest.raises(ValueError, match=f"{stray}, which is not in its {MANIFEST_FILE}"):
        load_recommender(folder)


def test_a_card_and_results_may_change(folder):
    write_manifest(folder)
    for name in ("README.md", "results.json", "LICENSE", ".gitattributes"):
        (folder / name).write_text("{}")
    (folder / "results").mkdir()
    load_recommender(folder)


def test_a_manifest_of_a_later_version_says_so(folder):
    (folder / MANIFEST_FILE).write_text('{"format_version": 2, "files": {}}')
    with pytest.raises(ValueError, match="install a newer one"):
        load_recommender(folder)


def test_saving_by_hand_forgets_the_manifest_of_what_was_there(folder):
    write_manifest(folder)
    model, processor = load_recommender(folder)
    model.save_pretrained(folder)
    assert not (folder / MANIFEST_FILE).exists()
    write_manifest(folder)
    processor.save_pretrained(folder)
    assert not (folder / MANIFEST_FILE).exists()
    load_recommender(folder)


def test_code_of_a_folder_is_not_run_by_our_commands(folder, tmp_path):
    """Neither that of its own files nor what `auto_map` names elsewhere."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for path in folder.glob("*.py"):
        path.write_text(code)
    (folder / "handler.py").write_text(code)
    for elsewhere in ("modeling_mender_steer.MenderSteer", "org/other--modeling_other.Other"):
        for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
            kinds = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoTokenizer")
            change_json(folder, name, auto_map=dict.fromkeys(kinds, elsewhere))
        load_recommender(folder)
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def trained_on_codes(tmp_path_factory):
    return train_tiny("lc_rec", tmp_path_factory.mktemp("codes"))


def change_items(folder: Path, change) -> None:
    """Edits `items.jsonl` and takes back the digest of it in the configuration, as its error says one may."""
    path = folder / "items.jsonl"
    items = [json.loads(line) for line in path.read_text().splitlines()]
    change(items)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    change_json(folder, "config.json", items_digest=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[4].update(codes=[1, 2]), "line 5 of .*they must be 3 whole numbers"),
        (lambda items: items[4].update(codes=[1, 2, 0, 0]), "line 5 of .*they must be 3 whole numbers"),
        (lambda items: items[4].update(codes=[1, 2, "0"]), "line 5 of .*they must be 3 whole numbers"),
        (lambda items: items[4].update(codes=7), "line 5 of .*they must be 3 whole numbers"),
        (lambda items: items[4].pop("codes"), "line 5 of .*they must be 3 whole numbers"),
        (lambda items: items[4].update(codes=[1, 2, 4]), r"line 5 of .*whole numbers in 0\.\.3"),
        (lambda items: items[4].update(codes=[1, -2, 0]), r"line 5 of .*whole numbers in 0\.\.3"),
        (lambda items: items[4].update(codes=[1, 10**30, 0]), r"line 5 of .*whole numbers in 0\.\.3"),
        (lambda items: items[4].update(codes=items[3]["codes"]), "items 4 and 5 share the semantic ID"),
        (lambda items: items[4].update(codes=[3, 3, 3]), r"item 5 has the semantic ID \[1, 0, 0\] in the model"),
    ],
)
def test_codes_of_items_that_are_no_semantic_ids_of_the_model_are_refused(trained_on_codes, tmp_path, change, message):
    folder = shutil.copytree(trained_on_codes, tmp_path / "model")
    (folder / MANIFEST_FILE).unlink()
    change_items(folder, change)
    with pytest.raises(ValueError, match=message) as caught:
        load_recommender(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("text", [None, 7])
def test_an_item_without_the_text_that_a_history_is_written_in_is_refused(tmp_path, text):
    folder = train_tiny("mender_tok", tmp_path)
    (folder / MANIFEST_FILE).unlink()
    change_items(folder, lambda items: items[4].update(text=text))
    with pytest.raises(ValueError, match="line 5 of"):
        load_recommender(folder)


def rename_word(folder: Path, name: str, number: int) -> None:
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["model"]["vocab"][name] = number
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: rename_word(folder, "soap", 999), "token ids up to 999 and the model 26 words"),
        (
            lambda folder: change_json(folder, "processor_config.json", max_length=513),
            "max_length as 513, and the text encoder of config.json has positions for 512 tokens",
        ),
    ],
)
@pytest.mark.parametrize("fixture", ["trained", "trained_on_codes"])
def test_texts_beyond_the_words_or_positions_of_the_text_encoder_are_refused(
    request, tmp_path, fixture, change, message
):
    folder = shutil.copytree(request.getfixturevalue(fixture), tmp_path / "model")
    (folder / MANIFEST_FILE).unlink()
    change(folder)
    for load in (load_recommender, AutoProcessor.from_pretrained):
        with pytest.raises(ValueError, match=message):
            load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_attention_heads", -1),
        ("chunk_size_feed_forward", "7"),
        ("chunk_size_feed_forward", 10**6),
        ("output_hidden_states", "x"),
        ("return_dict", False),
        ("layer_norm_eps", -1.0),
    ],
)
def test_a_text_encoder_that_embeds_nothing_is_refused_when_it_is_loaded(folder, name, value):
    text_config = json.loads((folder / "config.json").read_text())["text_config"]
    change_json(folder, "config.json", text_config=text_config | {name: value})
    with pytest.raises(ValueError, match=f"{folder}.*text"):
        load_recommender(folder)


def test_weights_of_layers_that_the_configuration_lacks_are_unexpected(tmp_path):
    """With T5, transformers passes over every name with "decoder" in it."""
    folder = train_tiny("mender_tok", tmp_path, "t5-with-decoder")
    (folder / MANIFEST_FILE).unlink()
    change_json(folder, "config.json", num_decoder_layers=1)
    with pytest.raises(ValueError, match="its weights decoder.block.1.* are unexpected"):
        load_recommender(folder)


def test_a_new_model_reads_texts_that_its_text_encoder_has_positions_for(tmp_path):
    encoder = save_text_encoder("bert", tmp_path)
    config = AutoConfig.from_pretrained(encoder, max_position_embeddings=40)
    AutoModel.from_config(config).save_pretrained(encoder)
    assert load_recommender(train_tiny("mender_tok", tmp_path, text_encoder=str(encoder)))[1].max_length == 40


@pytest.mark.parametrize("name", ["mender_tok", "mender_emb", "mender_steer", "tiger", "sasrec"])
def test_finite_weights_without_finite_scores_give_no_answer(tmp_path, name):
    model, processor = load_recommender(train_tiny(name, tmp_path))
    for weight in [value for value in model.parameters() if value.requires_grad][-3:]:
        kept = weight.detach().clone()
        weight.data.fill_(3e38)
        try:
            scores = model.recommend(**processor(history=[[1, 5]]), k=3).scores
        except ValueError as error:
            assert "no finite numbers" in str(error)
        else:
            assert scores.isfinite().all()
        weight.data.copy_(kept)


@pytest.mark.parametrize("text", ["null", "[]", '{"processor_class": 5}', '{"processor_class": ["x"]}', "{"])
def test_a_pipeline_names_a_processor_config_that_is_none(folder, text):
    (folder / "processor_config.json").write_text(text)
    with pytest.raises(ValueError, match="processor_config.json"):
        pipeline("preference-recommendation", model=str(folder))


@pytest.mark.parametrize("labels", [{"x": "a"}, {"": "a"}, {"1.5": "a"}, {"-1": "a"}, {None: "a"}, ["a"], "a", 5, []])
@pytest.mark.parametrize("make", [MenderSteerConfig, MenderSteerConfig.from_dict], ids=["made", "read"])
def test_labels_without_numbers_are_refused_by_name(make, labels):
    for fields in ({"id2label": labels}, {"text_config": {"model_type": "t5", "id2label": labels}}):
        with pytest.raises(ValueError, match="id2label .* must map whole numbers to names"):
            make(fields) if make is not MenderSteerConfig else make(**fields)
    assert MenderSteerConfig(id2label={"0": "a", 1: "b"}).id2label == {0: "a", 1: "b"}
