"""Both variants, over both families of text encoders: what generate and recommend promise, and what training
reaches."""

import pytest
import torch
from forked_python import run_alone
from tiny_models import build, catalogue, random_codes
from transformers import AutoConfig, AutoModel, AutoProcessor, GenerationConfig, LogitsProcessor, LogitsProcessorList

from modeling_mender import MenderEmb, MenderEmbConfig, MenderTok, MenderTokConfig, SemanticIds
from modeling_mender.semantic_ids import codes_to_tokens

VARIANTS = [("tok", "bert"), ("tok", "t5"), ("emb", "bert"), ("emb", "t5")]
HISTORIES = [[1, 5, 9], [2]]
PREFERENCES = ["search for red soap", None]


@pytest.fixture(params=VARIANTS, ids="-".join)
def mender(request, tmp_path):
    return build(*request.param, tmp_path)


def requests(processor):
    return processor(history=HISTORIES, preference=PREFERENCES, return_tensors="pt")


def items_of(sequences):
    """The item of each sequence of the toy catalog, start token first, shape (batch_size,); fails for any other."""
    ids = catalogue()
    items = {tuple(row): item for item, row in enumerate(codes_to_tokens(ids.codes, 4).tolist(), start=1)}
    return torch.tensor([items[tuple(row)] for row in sequences[:, 1:].tolist()])


def exhaustive_scores(model, inputs):
    """Log-probability of every item, by teacher forcing; shape (batch_size, num_items)."""
    items = torch.arange(1, model.config.num_items + 1)
    labels = model.item_labels(items)
    rows = []
    for row in range(len(inputs["attention_mask"])):
        repeated = {name: value[row : row + 1].expand(len(items), *value.shape[1:]) for name, value in inputs.items()}
        with torch.no_grad():
            log_probs = model(**repeated, labels=labels).logits.log_softmax(-1)
        rows.append(log_probs.gather(-1, labels.unsqueeze(-1)).sum((1, 2)))
    return torch.stack(rows)


def test_recommend_equals_scoring_every_item_where_the_beams_cover_the_catalogue(mender):
    model, processor = mender
    inputs = requests(processor)
    found = model.recommend(**inputs, k=12, num_beams=12)
    expected = exhaustive_scores(model, inputs).sort(descending=True)
    assert found.items.tolist() == (expected.indices + 1).tolist()
    torch.testing.assert_close(found.scores, expected.values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_beams", [2, 5, 20, 60])
@pytest.mark.parametrize(("method", "family"), VARIANTS)
def test_own_search_equals_the_generic_loop_beam_by_beam(tmp_path, method, family, num_beams):
    ids = SemanticIds(random_codes(60, 3, 6, seed=1), codebook_size=6)
    model, processor = build(method, family, tmp_path, ids)
    inputs = requests(processor)
    settings = {"num_beams": num_beams, "num_return_sequences": num_beams, "return_dict_in_generate": True}
    own = model.generate(**inputs, **settings)
    generic = model.generate(**inputs, **settings, output_scores=True)
    assert own.sequences.tolist() == generic.sequences.tolist()
    torch.testing.assert_close(own.sequences_scores, generic.sequences_scores, atol=1e-5, rtol=0)


def test_the_generic_loop_is_taken_only_for_what_the_own_search_cannot_give(mender, monkeypatch):
    model, processor = mender
    inputs = requests(processor)
    calls = []
    monkeypatch.setattr(model, "_search_beams", lambda *a: calls.append(a) or type(model)._search_beams(model, *a))
    for settings in ({}, {"num_beams": 4, "num_return_sequences": 2}, {"generation_config": model.generation_config}):
        model.generate(**inputs, **settings)
    assert len(calls) == 3
    for settings in (
        {"num_beams": 1, "num_return_sequences": 1},
        {"do_sample": True, "num_beams": 1},
        {"temperature": 0.5, "do_sample": True},
        {"repetition_penalty": 1.5},
        {"return_dict_in_generate": True, "output_scores": True},
        {"logits_processor": LogitsProcessorList([LogitsProcessor.__new__(Unchanged)])},
    ):
        model.generate(**inputs, **settings)
    assert len(calls) == 3


class Unchanged(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 6, "num_return_sequences": 6},
        {"num_beams": 1, "num_return_sequences": 1},
        {"num_beams": 1, "num_return_sequences": 5, "do_sample": True},
        {"num_beams": 6, "num_return_sequences": 6, "repetition_penalty": 1.5},
        {"num_beams": 12, "num_return_sequences": 12, "output_scores": True, "return_dict_in_generate": True},
    ],
    ids=str,
)
def test_every_way_of_decoding_gives_items_of_the_catalogue_and_nothing_else(mender, settings):
    model, processor = mender
    torch.manual_seed(0)
    output = model.generate(**requests(processor), **settings)
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    assert sequences.shape == (2 * settings["num_return_sequences"], 1 + 3)
    assert (sequences[:, 0] == 0).all()
    assert len(items_of(sequences)) == len(sequences)


def test_allowed_items_hold_in_both_loops(mender):
    model, processor = mender
    inputs = requests(processor)
    allowed = torch.zeros(2, 12, dtype=torch.bool)
    allowed[0, :4] = True
    allowed[1, 8:] = True
    found = model.recommend(**inputs, k=4, allowed_items=allowed)
    assert [sorted(row) for row in found.items.tolist()] == [[1, 2, 3, 4], [9, 10, 11, 12]]
    sampled = model.generate(**inputs, allowed_items=allowed, do_sample=True, num_beams=1, num_return_sequences=8)
    items = items_of(sampled).view(2, 8)
    assert set(items[0].tolist()) <= {1, 2, 3, 4}
    assert set(items[1].tolist()) <= {9, 10, 11, 12}


def test_a_request_is_answered_alike_alone_and_in_a_batch(mender):
    model, processor = mender
    together = model.recommend(**requests(processor), k=5)
    for row in range(2):
        alone = model.recommend(
            **processor(history=HISTORIES[row : row + 1], preference=PREFERENCES[row : row + 1]), k=5
        )
        assert alone.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=0)


def test_the_preference_and_the_order_of_the_history_change_the_answer(mender):
    model, processor = mender

    def scores(history, preference):
        return model.recommend(**processor(history=[history], preference=[preference]), k=12, num_beams=12).scores

    base = scores([1, 5, 9], "search for red soap")
    assert not torch.allclose(base, scores([1, 5, 9], "avoid blue mug"), atol=1e-4)
    assert not torch.allclose(base, scores([9, 5, 1], "search for red soap"), atol=1e-5)


def test_recommend_is_the_same_in_training_mode_and_leaves_the_mode_alone(mender):
    model, processor = mender
    encoder_outputs = model.encode(**requests(processor))
    inputs = {"encoder_outputs": encoder_outputs, "attention_mask": requests(processor)["attention_mask"]}
    expected = model.recommend(**inputs, k=5)
    model.train()
    found = model.recommend(**inputs, k=5)
    assert found.items.tolist() == expected.items.tolist()
    assert model.decoder.training
    assert not model.text_encoder.training  # frozen: no dropout either


def test_a_step_of_training_moves_the_decoder_and_not_the_frozen_text_encoder(mender):
    model, processor = mender
    model.train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model(**requests(processor), labels=model.item_labels(torch.tensor([3, 4]))).loss.backward()
    optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert "projection.weight" in moved
    assert any(name.startswith("decoder.block.0") for name in moved)
    assert not any(name.startswith("text_encoder") for name in moved)


def test_a_model_can_learn_to_obey_a_preference(tmp_path):
    model, _ = build("emb", "bert", tmp_path)
    # a random text encoder embeds all texts nearly alike, so the preferences are given as embeddings
    preferences = torch.randn(12, 1, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(12, 2, dtype=torch.long)
    inputs = {
        "history": torch.ones(12, 1, dtype=torch.long),
        "preference_embeddings": preferences,
        "attention_mask": mask,
    }
    labels = model.item_labels(torch.arange(1, 13))
    model.train()
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=5e-3)
    for _ in range(200):
        optimizer.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
    found = model.eval().recommend(**inputs, k=1)
    assert (found.items[:, 0] == torch.arange(1, 13)).float().mean() >= 0.9


def test_a_new_decoder_has_t5_initialisation_and_not_unit_variance(mender):
    model, _ = mender
    layer = model.decoder.block[0].layer
    assert layer[0].SelfAttention.k.weight.std().item() == pytest.approx(16**-0.5, rel=0.3)
    assert layer[2].DenseReluDense.wo.weight.std().item() == pytest.approx(32**-0.5, rel=0.3)
    assert model.decoder.embed_tokens.weight.std().item() == pytest.approx(1.0, rel=0.3)


def test_round_trip_is_exact(mender, tmp_path):
    model, processor = mender
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    expected = model.recommend(**requests(processor), k=5)
    loaded, loaded_processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    found = loaded.recommend(**requests(loaded_processor), k=5)
    assert found.items.tolist() == expected.items.tolist()
    assert torch.equal(found.scores, expected.scores)
    assert loaded_processor.titles([1, 12]) == ["red soap", "blue mug"]
    assert loaded.generation_config.eos_token_id is None
    assert not list(folder.glob("*.bin"))


FRESH_PROCESS = """
import sys
sys.path = [path for path in sys.path if path not in ("", {project!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
import transformers
from transformers import AutoModel, AutoProcessor
try:
    import modeling_mender
except ImportError:
    pass
else:
    raise SystemExit("the package is still importable")
model = AutoModel.from_pretrained({folder!r}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
inputs = processor(history=[[1, 5, 9], [2]], preference=["search for red soap", None], return_tensors="pt")
print(model.recommend(**inputs, k=5).items.tolist())
print(model.generate(**inputs, num_beams=5, num_return_sequences=5).shape)
"""


@pytest.mark.parametrize("method", ["tok", "emb"])
def test_a_saved_folder_recommends_in_a_fresh_process_without_this_package(tmp_path, project, method):
    model, processor = build(method, "bert", tmp_path)
    folder = tmp_path / "org-model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    code = FRESH_PROCESS.format(folder=str(folder), project=str(project))
    lines = run_alone(code, tmp_path)
    assert lines[-2] == str(model.recommend(**requests(processor), k=5).items.tolist())
    assert lines[-1] == "torch.Size([10, 4])"


def test_bfloat16_keeps_the_catalogue_and_finds_items(mender, tmp_path):
    model, processor = mender
    model.save_pretrained(tmp_path / "saved")
    loaded = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    assert loaded.item_semantic_ids.dtype == torch.int64
    found = loaded.recommend(**requests(processor), k=12, num_beams=12)
    assert sorted(found.items[0].tolist()) == list(range(1, 13))


def test_eager_attention_recommends_the_same(mender, tmp_path):
    model, processor = mender
    model.save_pretrained(tmp_path / "saved")
    eager = AutoModel.from_pretrained(tmp_path / "saved", attn_implementation="eager")
    assert eager.decoder.config._attn_implementation == "eager"
    settings = {"num_beams": 6, "num_return_sequences": 6, "return_dict_in_generate": True, "output_scores": True}
    expected, found = (
        model.generate(**requests(processor), **settings),
        eager.generate(**requests(processor), **settings),
    )
    assert found.sequences.tolist() == expected.sequences.tolist()
    torch.testing.assert_close(found.sequences_scores, expected.sequences_scores, atol=1e-4, rtol=0)


def test_gradient_checkpointing_gives_the_same_gradients(mender):
    model, processor = mender
    model.train()
    gradients = []
    for checkpointing in (False, True):
        model.gradient_checkpointing_enable() if checkpointing else None
        model.zero_grad()
        torch.manual_seed(0)
        model(**requests(processor), labels=model.item_labels(torch.tensor([3, 4]))).loss.backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any(name.startswith("decoder.block.1") for name in gradients[0])
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("config_class", [MenderTokConfig, MenderEmbConfig])
def test_a_configuration_survives_json_and_refuses_nonsense(config_class, tmp_path):
    config = config_class(num_items=7, text_config={"model_type": "bert", "hidden_size": 24, "num_attention_heads": 2})
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.text_config.hidden_size == 24
    assert loaded.vocab_size == 1 + 4 * 256
    with pytest.raises(ValueError, match="num_items"):
        config_class(num_items=0)


class TestBadInput:
    @pytest.fixture
    def emb(self, tmp_path):
        return build("emb", "bert", tmp_path)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"k": 13}, r"k \(13\) must be in 1..12"),
            ({"k": 0}, r"k \(0\)"),
            ({"k": 5, "num_beams": 13}, r"num_beams \(13\) must be in 5..12"),
            ({"k": 5, "num_beams": 4}, r"num_beams \(4\)"),
            ({"k": 5, "allowed_items": torch.ones(2, 11, dtype=torch.bool)}, r"\(2, 12\)"),
            ({"k": 5, "allowed_items": torch.zeros(2, 12, dtype=torch.bool)}, "allows 0 items"),
        ],
    )
    def test_recommend_names_value_limit_and_way_out(self, emb, arguments, words):
        model, processor = emb
        with pytest.raises(ValueError, match=words):
            model.recommend(**requests(processor), **arguments)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"num_beams": 13}, r"num_beams \(13\) exceeds the catalog \(12 items\)"),
            ({"num_beams": 4, "num_return_sequences": 5}, "num_return_sequences"),
            ({"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 2}, "length of a semantic ID"),
            ({"inputs": torch.zeros(1, 1)}, "by name"),
        ],
    )
    def test_generate_names_value_limit_and_way_out(self, emb, settings, words):
        model, processor = emb
        with pytest.raises(ValueError, match=words):
            model.generate(**requests(processor), **settings)

    def test_an_empty_request_is_refused(self, emb):
        model, _ = emb
        with pytest.raises(ValueError, match="request 1 is empty"):
            model.recommend(history=torch.tensor([[1], [0]]), attention_mask=torch.tensor([[1], [0]]), k=3)

    def test_an_input_that_recommend_does_not_know_is_not_ignored(self, emb):
        with pytest.raises(ValueError, match="recommend does not take histroy"):
            emb[0].recommend(**requests(emb[1]), histroy=torch.zeros(2, 1), k=3)

    def test_an_unknown_item_is_refused_where_no_processor_looked(self, emb):
        with pytest.raises(ValueError, match="item 13, and the model has 12"):
            emb[0].recommend(history=torch.tensor([[13]]), attention_mask=torch.tensor([[1]]), k=3)

    def test_nothing_at_all_is_refused(self, emb):
        with pytest.raises(ValueError, match="nothing to encode"):
            emb[0].recommend(k=3)

    def test_a_model_without_catalogue_says_so(self, emb):
        model = MenderEmb(emb[0].config)
        with pytest.raises(ValueError, match="set_item_semantic_ids"):
            model.recommend(**requests(emb[1]), k=3)

    def test_another_catalogue_is_refused(self, emb):
        with pytest.raises(ValueError, match=r"num_items of the item table \(2\) must match the model's \(12\)"):
            emb[0].set_item_semantic_ids(SemanticIds([[0, 0, 0], [1, 0, 0]], codebook_size=4))

    def test_embeddings_of_another_shape_are_refused(self, emb):
        with pytest.raises(ValueError, match=r"\(12, 16\)"):
            emb[0].set_item_embeddings(torch.zeros(12, 17))

    def test_forward_without_labels_says_what_to_call(self, emb):
        with pytest.raises(ValueError, match="generate or recommend"):
            emb[0](**requests(emb[1]))


def test_greedy_search_by_configuration_gives_one_item(tmp_path):
    model, processor = build("tok", "bert", tmp_path)
    config = GenerationConfig(num_beams=1, decoder_start_token_id=0, pad_token_id=0, bos_token_id=0)
    sequences = model.generate(**requests(processor), generation_config=config)
    assert items_of(sequences).shape == (2,)
    assert isinstance(model, MenderTok)
