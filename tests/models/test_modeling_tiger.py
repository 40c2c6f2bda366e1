"""TIGER and its relatives over both families of language models: what they read, what starts how, what trains."""

import logging
import zlib

import pytest
import torch
from forked_python import run_alone
from tiny_models import (
    FAMILIES,
    ITEMS,
    PRETRAINED,
    ROWS,
    SCRATCH,
    SIZES,
    VARIANTS,
    catalogue,
    load,
    random_codes,
    save_language_model,
    tiny_arguments,
    tokenizer,
)
from tiny_models import tiny_tiger as build
from transformers import AutoConfig, AutoModel, AutoProcessor, T5Config, T5ForConditionalGeneration

from modeling_mender import SemanticIds
from modeling_mender.configuration_tiger import TigerConfig
from modeling_mender.data.requests import Request
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.tiger import TokenCollator, empty_tokenizer
from modeling_mender.modeling_tiger import Tiger, draw_like
from modeling_mender.processing_mender import MenderTokProcessor
from modeling_mender.processing_tiger import TigerProcessor
from modeling_mender.t5_stacks import build_decoder
from modeling_mender.training.lora import add_lora, apply_finetuning, merged_state_dict

FIRST_WORD = 1 + 3 * 4  # of the toy catalog: padding and three levels of four codes come before


@pytest.fixture(params=VARIANTS, ids="-".join)
def tiger(request, tmp_path):
    return build(*request.param, tmp_path)


def requests(processor):
    """Two requests, with preferences and users where the model reads them."""
    inputs = {"history": [[1, 5, 9], [2]]}
    if processor.reads_preferences:
        inputs["preference"] = ["search for red soap", None]
    if processor.num_user_tokens:
        inputs["user"] = ["ada", None]
    return processor(**inputs, return_tensors="pt")


class TestWriting:
    def test_tiger_writes_codes_oldest_item_first_and_nothing_else(self, tmp_path):
        _, processor = build("tiger", "bert", tmp_path)
        inputs = processor(history=[[1, 12], [5]])
        # item 1 = codes 0 0 0, item 12 = 2 3 0, item 5 = 1 0 0; four codes a level, 0 is padding
        assert inputs["input_ids"].tolist() == [[1, 5, 9, 3, 8, 9], [2, 5, 9, 0, 0, 0]]
        assert inputs["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]

    def test_the_user_comes_first_in_a_bucket_that_every_process_agrees_on(self, tmp_path):
        _, processor = build("tiger_user_emb", "bert", tmp_path)
        inputs = processor(history=[[1], [1]], user=["ada", None])
        assert inputs["input_ids"].tolist() == [[FIRST_WORD + zlib.crc32(b"ada") % 50, 1, 5, 9], [1, 5, 9, 0]]

    def test_codes_stand_where_a_text_would_have_the_titles(self, tmp_path):
        _, processor = build("vocabext_rnd", "bert", tmp_path)
        words = tokenizer("bert").get_vocab()
        row = processor(history=[[1, 12]], preference=["search for red soap"])["input_ids"][0].tolist()
        text = "[CLS] instructions : search for red soap . items :".split()
        assert row == [*(FIRST_WORD + words[word] for word in text), 1, 5, 9, 3, 8, 9, FIRST_WORD + words["[SEP]"]]

    @pytest.mark.parametrize("name", ["vocabext_lm", "liger"])
    def test_a_text_is_mender_toks_word_for_word(self, tmp_path, name):
        _, processor = build(name, "bert", tmp_path)
        mender = MenderTokProcessor(tokenizer("bert"), max_length=64, items=ITEMS)
        preference = ["search for red soap", None] if processor.reads_preferences else None
        expected = mender(history=[[1, 5, 9], [2]], preference=preference)
        found = processor(history=[[1, 5, 9], [2]], preference=preference)
        mask = expected["attention_mask"]
        assert torch.equal(found["attention_mask"], mask)
        assert torch.equal(found["input_ids"], (expected["input_ids"] + FIRST_WORD) * mask)

    def test_too_long_a_request_loses_whole_items_the_oldest_first_and_never_the_preference(self, tmp_path):
        _, processor = build("vocabext_rnd", "bert", tmp_path)
        processor.max_length = 11 + 3 + 2  # [CLS], nine words, [SEP]; room for one item and two codes of another
        row = processor(history=[[1, 5, 12]], preference=["search for red soap"])["input_ids"][0].tolist()
        assert row[10:] == [3, 8, 9, FIRST_WORD + tokenizer("bert").get_vocab()["[SEP]"]]

    @pytest.mark.parametrize("name", list(ROWS))
    def test_a_cached_token_row_is_the_same_as_a_fresh_one(self, tmp_path, name, monkeypatch):
        monkeypatch.setattr("modeling_mender.processing_tiger.MAX_CACHED_TEXTS", 2)
        _, processor = build(name, "bert", tmp_path)
        _, fresh = build(name, "bert", tmp_path)
        for _ in range(3):
            assert torch.equal(requests(processor)["input_ids"], requests(fresh)["input_ids"])
            processor.to_dict()
            del fresh._token_cache
        assert len(processor._token_cache) <= 2 + 12 + 1

    def test_the_collator_writes_what_the_processor_writes(self, tiger):
        model, processor = tiger
        collator = TokenCollator(processor, model, [])
        preferences = ("search for red soap",) if processor.reads_preferences else ()
        batch = [Request((1, 5, 9), preferences, "ada"), Request((2,), (), "")]
        expected = requests(processor)
        for name, value in collator(batch).items():
            assert torch.equal(value, expected[name])
        assert [collator.length(request) for request in batch] == expected["attention_mask"].sum(1).tolist()


def exhaustive_scores(model, inputs):
    """Log-probability of every item, by teacher forcing; shape (batch_size, num_items)."""
    items = torch.arange(1, model.config.num_items + 1)
    labels = model.item_labels(items)
    rows = []
    for number in range(len(inputs["attention_mask"])):
        repeated = {name: value[number : number + 1].expand(len(items), -1) for name, value in inputs.items()}
        with torch.no_grad():
            log_probs = model(**repeated, labels=labels).logits.log_softmax(-1)
        rows.append(log_probs.gather(-1, labels.unsqueeze(-1)).sum((1, 2)))
    return torch.stack(rows)


def test_recommend_equals_scoring_every_item_where_the_beams_cover_the_catalogue(tiger):
    model, processor = tiger
    inputs = requests(processor)
    found = model.recommend(**inputs, k=12, num_beams=12)
    expected = exhaustive_scores(model, inputs).sort(descending=True)
    torch.testing.assert_close(found.scores, expected.values, atol=1e-4, rtol=0)
    assert found.items.tolist() == (expected.indices + 1).tolist()


@pytest.mark.parametrize("num_beams", [2, 20, 60])
@pytest.mark.parametrize(("name", "family"), VARIANTS)
def test_own_search_equals_the_generic_loop_beam_by_beam(tmp_path, name, family, num_beams):
    ids = SemanticIds(random_codes(60, 3, 6, seed=1), codebook_size=6)
    model, processor = build(name, family, tmp_path, ids)
    settings = {"num_beams": num_beams, "num_return_sequences": num_beams, "return_dict_in_generate": True}
    own = model.generate(**requests(processor), **settings)
    generic = model.generate(**requests(processor), **settings, output_scores=True)
    assert own.sequences.tolist() == generic.sequences.tolist()
    torch.testing.assert_close(own.sequences_scores, generic.sequences_scores, atol=1e-4, rtol=0)


def test_a_request_is_answered_alike_alone_and_in_a_batch(tiger):
    model, processor = tiger
    together = model.recommend(**requests(processor), k=5)
    alone = model.recommend(**processor(history=[2]), k=5)
    assert alone.items[0].tolist() == together.items[1].tolist()
    torch.testing.assert_close(alone.scores[0], together.scores[1], atol=1e-5, rtol=0)


def test_order_preference_and_user_change_the_answer_of_whoever_reads_them(tiger):
    model, processor = tiger

    def scores(history, preference, user):
        read = {"preference": [preference]} if processor.reads_preferences else {}
        read |= {"user": user} if processor.num_user_tokens else {}
        return model.recommend(**processor(history=[history], **read), k=12, num_beams=12).scores

    base = scores([1, 5, 9], "search for red soap", "ada")
    assert torch.equal(base, scores([1, 5, 9], "search for red soap", "ada"))
    assert not torch.allclose(base, scores([9, 5, 1], "search for red soap", "ada"), atol=1e-6)
    changed = scores([1, 5, 9], "avoid blue mug", "ada")
    assert torch.equal(base, changed) == (not processor.reads_preferences)
    assert torch.equal(base, scores([1, 5, 9], "search for red soap", "bob")) == (not processor.num_user_tokens)


class TestWhatStartsPretrained:
    @pytest.mark.parametrize("name", ["lc_rec", "vocabext_lm"])
    def test_the_decoder_is_the_checkpoints_but_for_the_embeddings_of_the_codes(self, tmp_path, name):
        model, _ = build(name, "t5-with-decoder", tmp_path)
        checkpoint = T5ForConditionalGeneration.from_pretrained(tmp_path / "t5-with-decoder")
        weights, expected = model.decoder.state_dict(), checkpoint.decoder.state_dict()
        assert weights.keys() == expected.keys()
        for weight_name, weight in weights.items():
            if weight_name == "embed_tokens.weight":
                assert weight.shape == (FIRST_WORD, 20)
            else:
                assert torch.equal(weight, expected[weight_name]), weight_name
        assert any("EncDecAttention" in weight_name for weight_name in weights)
        states = torch.randn(2, 5, 20, generator=torch.Generator().manual_seed(0))
        embeds = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(1))
        given = {"inputs_embeds": embeds, "encoder_hidden_states": states}
        torch.testing.assert_close(
            model.decoder(**given).last_hidden_state, checkpoint.decoder.eval()(**given).last_hidden_state
        )

    def test_the_encoder_reads_words_as_the_checkpoint_does(self, tmp_path):
        for family in FAMILIES:
            model, processor = build("vocabext_lm", family, tmp_path)
            inputs = requests(processor)
            words = (inputs["input_ids"] - FIRST_WORD).clamp(min=0)
            with torch.no_grad():
                expected = model.text_encoder(input_ids=words, attention_mask=inputs["attention_mask"])
                found = model.encode(**inputs).last_hidden_state
                states = expected.last_hidden_state
                states = states if model.config.pretrained_decoder else model.projection(states)
            visible = inputs["attention_mask"].bool()
            torch.testing.assert_close(found[visible], states[visible])

    def test_new_codes_are_drawn_from_where_the_words_are(self):
        words = torch.randn(500, 3) * torch.tensor([0.1, 1.0, 10.0]) + torch.tensor([0.0, 5.0, -20.0])
        codes = torch.empty(2000, 3)
        draw_like(codes, words)
        torch.testing.assert_close(codes.std(0), words.std(0), rtol=0.1, atol=0)
        assert ((codes.mean(0) - words.mean(0)).abs() < 0.2 * words.std(0)).all()

    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_without_a_decoder_in_the_checkpoint_it_starts_from_scratch_and_says_so_once(
        self, tmp_path, family, caplog
    ):
        with caplog.at_level(logging.WARNING, logger="modeling_mender.modeling_tiger"):
            model, _ = build("lc_rec", family, tmp_path)
        said = [record.getMessage() for record in caplog.records if record.name == "modeling_mender.modeling_tiger"]
        assert [text.count("starts from scratch") for text in said] == [1]
        assert not model.config.pretrained_decoder
        assert model.config.d_model == 16

    def test_a_decoder_that_is_not_t5s_is_refused(self, tmp_path):
        folder = save_language_model("t5-with-decoder", tmp_path)
        config = T5Config.from_pretrained(folder)
        config.relative_attention_max_distance = 64
        config.save_pretrained(folder)
        with pytest.raises(ValueError, match="relative_attention_max_distance is 64, and this decoder's 128"):
            build("lc_rec", "t5-with-decoder", tmp_path)

    @pytest.mark.parametrize("name", list(ROWS))
    def test_the_seed_decides_and_the_random_state_of_the_caller_is_left_alone(self, tmp_path, name):
        model, _ = build(name, "bert", tmp_path, seed=3)
        same, _ = build(name, "bert", tmp_path, seed=3)
        other, _ = build(name, "bert", tmp_path, seed=4)
        for weight in set(model.state_dict()) - {"item_semantic_ids"}:
            assert torch.equal(model.state_dict()[weight], same.state_dict()[weight]), weight
        assert not torch.equal(model.decoder.embed_tokens.weight, other.decoder.embed_tokens.weight)
        given = tiny_arguments(name, tmp_path, text_encoder=str(tmp_path / "bert"), seed=3)
        torch.manual_seed(7)
        expected = torch.rand(1)
        torch.manual_seed(7)
        ROWS[name].build(ROWS[name], given, Catalogue(ITEMS, [], catalogue()), [])
        assert torch.equal(torch.rand(1), expected)


class TestWhatTrains:
    def moved(self, model, processor):
        model.train()
        before = {name: value.clone() for name, value in model.named_parameters()}
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
        model(**requests(processor), labels=model.item_labels(torch.tensor([3, 4]))).loss.backward()
        unused = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
        assert unused == []  # a weight without a gradient would stop distributed training
        optimizer.step()
        return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}

    @pytest.mark.parametrize("name", [method.name for method in SCRATCH])
    def test_everything_from_scratch_trains(self, tmp_path, name):
        model, processor = build(name, "bert", tmp_path)
        moved = self.moved(model, processor)
        assert {"decoder.embed_tokens.weight", "encoder.final_layer_norm.weight"} <= moved
        assert ("token_embeddings.weight" in moved) == (name != "tiger")

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("name", [method.name for method in PRETRAINED])
    def test_what_is_pretrained_is_frozen_and_the_codes_are_not(self, tmp_path, name, family):
        model, processor = build(name, family, tmp_path)
        moved = self.moved(model, processor)
        assert not any(weight.startswith("text_encoder") for weight in moved)
        assert not model.text_encoder.training
        assert "decoder.embed_tokens.weight" in moved
        if model.config.pretrained_decoder:
            assert moved == {"decoder.embed_tokens.weight"}
        else:
            assert "projection.weight" in moved
            assert ("code_embeddings.weight" in moved) == (name == "lc_rec")

    @pytest.mark.parametrize("family", ["bert", "t5-with-decoder"])
    @pytest.mark.parametrize("name", [method.name for method in PRETRAINED])
    def test_lora_adapts_the_pretrained_parts_and_leaves_their_weights(self, tmp_path, name, family):
        pytest.importorskip("peft")
        model, processor = build(name, family, tmp_path)
        add_lora(model, rank=2, alpha=4, parts=model.lora_parts)
        moved = self.moved(model, processor)
        adapted = {weight.split(".")[0] for weight in moved if ".lora_" in weight}
        assert adapted == set(model.lora_parts)
        assert ("decoder" in adapted) == model.config.pretrained_decoder
        assert "decoder.embed_tokens.weight" in moved
        assert not any(".base_layer." in weight for weight in moved)
        model.eval()
        settings = {"num_beams": 6, "num_return_sequences": 6, "return_dict_in_generate": True}
        own = model.generate(**requests(processor), **settings)
        generic = model.generate(**requests(processor), **settings, output_scores=True)
        assert own.sequences.tolist() == generic.sequences.tolist()
        merged = Tiger(model.config).eval()
        with merged_state_dict(model) as weights:
            merged.load_state_dict(weights)
        found = merged.generate(**requests(processor), **settings)
        torch.testing.assert_close(found.sequences_scores, own.sequences_scores, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("family", ["bert", "t5-with-decoder"])
    @pytest.mark.parametrize("name", [method.name for method in PRETRAINED])
    def test_the_pretrained_parts_can_be_trained_whole(self, tmp_path, name, family):
        model, processor = build(name, family, tmp_path)
        apply_finetuning(model, tiny_arguments(name, tmp_path, finetune_text_encoder=True))
        moved = self.moved(model, processor)
        assert any(weight.startswith("text_encoder") for weight in moved)
        assert any(weight.startswith("decoder.block") for weight in moved)
        assert model.text_encoder.training

    def test_what_is_from_scratch_has_nothing_for_lora_to_adapt(self, tmp_path):
        for method in SCRATCH:
            assert build(method.name, "bert", tmp_path)[0].lora_parts == ()

    def test_codes_in_the_input_learn_through_a_frozen_encoder(self, tmp_path):
        model, processor = build("lc_rec", "t5-with-decoder", tmp_path)
        states = model.encode(**requests(processor)).last_hidden_state
        states.sum().backward()
        learned = model.decoder.embed_tokens.weight.grad.abs().sum(1) > 0
        assert learned.tolist() == [True, *[True] * 3, False, True, True, *[False] * 2, True, *[False] * 3]

    def test_tiger_holds_one_table_of_codes(self, tmp_path):
        model, _ = build("tiger", "bert", tmp_path)
        tables = [name for name, value in model.named_parameters() if len(value) == FIRST_WORD]
        assert tables == ["decoder.embed_tokens.weight"]

    def test_words_and_users_start_at_the_scale_of_the_codes(self, tmp_path):
        model, _ = build("vocabext_rnd", "bert", tmp_path)
        for table in (model.token_embeddings, model.decoder.embed_tokens):
            assert table.weight.std().item() == pytest.approx(1.0, rel=0.2)
        key = model.encoder.block[0].layer[0].SelfAttention.k.weight
        assert key.std().item() == pytest.approx(16**-0.5, rel=0.3)

    def test_tiger_can_learn_which_item_follows(self, tmp_path):
        model, processor = build("tiger", "bert", tmp_path)
        inputs = processor(history=[[item] for item in range(1, 13)])
        labels = model.item_labels(torch.arange(1, 13).roll(-1))
        model.train()
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(100):
            optimizer.zero_grad()
            model(**inputs, labels=labels).loss.backward()
            optimizer.step()
        found = model.eval().recommend(**inputs, k=1)
        assert found.items[:, 0].tolist() == [*range(2, 13), 1]

    def test_gradient_checkpointing_gives_the_same_gradients(self, tiger):
        model, processor = tiger
        model.train()
        gradients = []
        for checkpointing in (False, True):
            model.gradient_checkpointing_enable() if checkpointing else None
            model.zero_grad()
            torch.manual_seed(0)
            model(**requests(processor), labels=model.item_labels(torch.tensor([3, 4]))).loss.backward()
            gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name, expected in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], expected, atol=1e-6, rtol=1e-4)


def test_round_trip_is_exact(tiger, tmp_path):
    model, processor = tiger
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    expected = model.recommend(**requests(processor), k=5)
    loaded, loaded_processor = load(folder), AutoProcessor.from_pretrained(folder)
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
from transformers import AutoModel, AutoProcessor
try:
    import modeling_mender
except ImportError:
    pass
else:
    raise SystemExit("the package is still importable")
model = AutoModel.from_pretrained({folder!r}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
inputs = processor(history=[[1, 5, 9], [2]], {asked}, return_tensors="pt")
print(model.recommend(**inputs, k=5).items.tolist())
print(model.generate(**inputs, num_beams=5, num_return_sequences=5).shape)
"""


@pytest.mark.parametrize(
    ("name", "family", "asked"),
    [
        ("tiger_user_emb", "bert", "user=['ada', None]"),
        ("lc_rec", "t5-with-decoder", "preference=['search for red soap', None]"),
    ],
)
def test_a_saved_folder_recommends_in_a_fresh_process_without_this_package(tmp_path, project, name, family, asked):
    model, processor = build(name, family, tmp_path)
    folder = tmp_path / "org-model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    code = FRESH_PROCESS.format(folder=str(folder), project=str(project), asked=asked)
    lines = run_alone(code, tmp_path)
    assert lines[-2] == str(model.recommend(**requests(processor), k=5).items.tolist())
    assert lines[-1] == "torch.Size([10, 4])"


def test_bfloat16_keeps_the_catalogue_and_finds_every_item(tiger, tmp_path):
    model, processor = tiger
    model.save_pretrained(tmp_path / "saved")
    loaded = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    found = loaded.recommend(**requests(processor), k=12, num_beams=12)
    assert sorted(found.items[0].tolist()) == list(range(1, 13))


def test_eager_attention_recommends_the_same(tiger, tmp_path):
    model, processor = tiger
    model.save_pretrained(tmp_path / "saved")
    eager = AutoModel.from_pretrained(tmp_path / "saved", attn_implementation="eager")
    assert eager.decoder.config._attn_implementation == "eager"
    expected, found = (one.recommend(**requests(processor), k=6) for one in (model, eager))
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)
    assert found.items.tolist() == expected.items.tolist()


def test_an_empty_tokenizer_reads_nothing_and_survives_saving(tmp_path):
    empty_tokenizer().save_pretrained(tmp_path)
    for one in (empty_tokenizer(), type(empty_tokenizer()).from_pretrained(tmp_path)):
        assert one("Instructions: search for red soap. Items:")["input_ids"] == []
        assert len(one) == 0


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_the_decoder_has_the_feed_forward_layers_that_the_configuration_names(feed_forward):
    decoder = build_decoder(TigerConfig(**SIZES, feed_forward_proj=feed_forward))
    assert hasattr(decoder.block[0].layer[2].DenseReluDense, "wi_0") == (feed_forward == "gated-gelu")


def test_a_configuration_survives_json(tmp_path):
    text_config = {"model_type": "bert", "hidden_size": 24, "num_attention_heads": 2, "vocab_size": 99}
    for config in (TigerConfig(num_user_tokens=5), TigerConfig(text_config=text_config, history_format="text")):
        config.save_pretrained(tmp_path)
        loaded = AutoConfig.from_pretrained(tmp_path)
        assert loaded.num_input_tokens == config.num_input_tokens == 1025 + (5 if config.text_config is None else 99)
        assert loaded.num_encoder_layers == 6


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"num_items": 0}, r"num_items \(0\) must be at least 1"),
            ({"num_user_tokens": -1}, r"num_user_tokens \(-1\) must be at least 0"),
            ({"history_format": "embeddings"}, "must be one of semantic_ids, text"),
            ({"history_format": "text"}, "needs words"),
            ({"pretrained_decoder": True}, "needs the language model"),
            ({"num_user_tokens": 2, "text_config": {"model_type": "t5"}}, "must be 0 with a language encoder"),
        ],
    )
    def test_a_configuration_refuses_nonsense(self, fields, words):
        with pytest.raises(ValueError, match=words):
            TigerConfig(**fields)

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"preference": ["search for red soap"]}, "trained without preferences"),
            ({"user": "ada"}, "not conditioned on the user id"),
            ({"user": ["ada", "bob"]}, "1 requests and 2 users"),
            ({"user": [7]}, "user 0 is 7"),
            ({"history": [[13]]}, "item of this catalog"),
            ({"history": [[]]}, "empty history"),
        ],
    )
    def test_the_processor_names_what_this_model_cannot_read(self, tmp_path, asked, words):
        _, processor = build("tiger", "bert", tmp_path)
        with pytest.raises(ValueError, match=words):
            processor(**{"history": [[1]]} | asked)

    def test_an_empty_preference_is_no_preference(self, tmp_path):
        _, processor = build("tiger", "bert", tmp_path)
        assert processor(history=[[1]], preference=[None])["input_ids"].tolist() == [[1, 5, 9]]

    def test_items_without_codes_are_refused_where_codes_are_written(self):
        processor = TigerProcessor(empty_tokenizer(), items=ITEMS)
        with pytest.raises(ValueError, match="item 3 gives codes as None, and they must be 4 whole"):
            processor(history=[[3]])

    def test_tokens_of_another_model_are_refused(self, tmp_path):
        model, _ = build("tiger", "bert", tmp_path)
        with pytest.raises(ValueError, match="input_ids contains 13, and this model reads 13 tokens"):
            model.recommend(input_ids=torch.tensor([[13]]), attention_mask=torch.tensor([[1]]), k=3)
