"""Fairness over every row of the table of methods: each can reach every item, sees what its row names and nothing
else, and answers the same after saving."""

import dataclasses
import inspect

import pytest
import torch
from tiny_models import (
    ASKED,
    CASES,
    EXAMPLES,
    ITEMS,
    PREFERENCES,
    catalogue,
    load,
    save_language_model,
    tiny_arguments,
)
from tiny_models import tiny_method as build
from transformers import AutoProcessor

from dataset_builders.building.text_embedding import load_embedder
from modeling_mender.data.requests import Example
from modeling_mender.methods.building import DECODER_SIZES, Catalogue
from modeling_mender.methods.table import METHODS
from modeling_mender.modeling_generative_retriever import GenerativeRetriever
from modeling_mender.training.arguments import ARGUMENTS, DecoderArguments, PreferenceArguments, make_arguments

OTHER_ITEMS = [{"title": f"mug {title}", "text": f"Title: mug {title}"} for title in (item["title"] for item in ITEMS)]


def asked(method, request=ASKED):
    """A request as the processor's arguments, without what the method may not see."""
    history, preferences, user, _ = method.restrict(request)
    fields = {"history": [list(history)]}
    fields |= {"preference": [list(preferences)]} if preferences else {}
    return fields | ({"user": [user]} if user else {})


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(params=CASES, ids="-".join)
def world(request, tmp_path):
    return build(*request.param, tmp_path)


def test_every_item_of_the_catalogue_can_be_recommended(world):
    """Also code 0 and the first token of the vocabulary, where a released baseline put the end of a sequence."""
    method, model, _, collator = world
    found = model.recommend(**collator([method.restrict(ASKED)]), k=12, num_beams=12)
    assert sorted(found.items[0].tolist()) == list(range(1, 13))
    assert torch.isfinite(found.scores).all()
    assert (found.scores[0].diff() <= 0).all()


def test_the_scores_of_the_whole_catalogue_are_log_probabilities(world):
    method, model, _, collator = world
    found = model.recommend(**collator([method.restrict(ASKED)]), k=12, num_beams=12)
    total = found.scores.double().exp().sum().item()
    assert 0 < total <= 1 + 1e-4
    if not isinstance(model, GenerativeRetriever):  # a generative one has tokens that no item has
        assert total == pytest.approx(1, abs=1e-4)


def test_a_method_sees_what_its_row_names_and_nothing_else(world):
    method, _, _, collator = world
    base = collator([method.restrict(ASKED)])
    other_wish = collator([method.restrict(ASKED._replace(preferences=(PREFERENCES[1],)))])
    no_wish = collator([method.restrict(ASKED._replace(preferences=()))])
    other_user = collator([method.restrict(ASKED._replace(user="bob"))])
    other_history = collator([method.restrict(ASKED._replace(history=(1, 5, 8)))])
    reads_preferences = method.preference != "none"
    assert equal(base, other_wish) == equal(base, no_wish) == (not reads_preferences)
    assert equal(base, other_user) == (not method.reads_user)
    assert not equal(base, other_history)


@pytest.mark.parametrize("name", METHODS)
def test_the_words_of_an_item_reach_only_methods_that_read_text_or_embeddings(tmp_path, name):
    method, model, _, collator = build(name, "bert", tmp_path)
    _, other_model, _, other_collator = build(name, "bert", tmp_path, OTHER_ITEMS)
    request = method.restrict(ASKED)
    found = model.recommend(**collator([request]), k=12, num_beams=12)
    other = other_model.recommend(**other_collator([request]), k=12, num_beams=12)
    reads_words = method.history in ("text", "embeddings", "item_ids and embeddings")
    if method.config.get("num_text_neighbours"):
        reads_words = True
    assert torch.equal(found.scores, other.scores) == (not reads_words)


@pytest.mark.parametrize("inputs", ["preference", "history"])
@pytest.mark.parametrize("name", METHODS)
def test_an_ablated_method_does_not_see_what_is_ablated(tmp_path, name, inputs):
    method = METHODS[name]
    if inputs == "preference" and method.preference == "none":
        with pytest.raises(ValueError, match="reads no preference"):
            method.with_inputs(inputs)
        return
    ablated = method.with_inputs(inputs)
    encoder = str(save_language_model("bert", tmp_path))
    arguments = tiny_arguments(name, tmp_path, inputs=inputs, text_encoder=encoder)
    items = Catalogue(
        ITEMS,
        [item["text"] for item in ITEMS],
        catalogue() if method.needs_semantic_ids else None,
        load_embedder=load_embedder,
    )
    model, processor = ablated.build(ablated, arguments, items, EXAMPLES)
    collator = ablated.collator_class(processor, model.eval(), PREFERENCES)
    changes = {"history": (2,)} if inputs == "preference" else {"preferences": (PREFERENCES[1],)}
    base, other = (collator([ablated.restrict(request)]) for request in (ASKED, ASKED._replace(**changes)))
    assert equal(base, other)
    assert len(set(model.recommend(**base, k=12, num_beams=12).items[0].tolist())) == 12


def test_the_processor_and_the_collator_ask_alike(world):
    """What a user asks of a published model is what training and evaluation asked."""
    method, model, processor, collator = world
    found = model.recommend(**collator([method.restrict(ASKED)]), k=12, num_beams=12)
    other = model.recommend(**processor(**asked(method)), k=12, num_beams=12)
    torch.testing.assert_close(found.scores, other.scores, atol=1e-4, rtol=0)


def test_every_method_looks_at_the_same_window_of_twenty_items(world):
    method, model, processor, _ = world
    history = tuple(1 + item % 12 for item in range(25))
    assert processor.max_history_length == model.config.max_history_length == 20
    long, cut = (processor(**asked(method, ASKED._replace(history=past))) for past in (history, history[-20:]))
    assert equal(long, cut)


def test_saved_and_loaded_it_recommends_bit_for_bit_the_same(world, tmp_path):
    method, model, processor, _ = world
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    loaded = load(tmp_path / "saved").eval()
    loaded_processor = AutoProcessor.from_pretrained(tmp_path / "saved")
    found = model.recommend(**processor(**asked(method)), k=12, num_beams=12)
    other = loaded.recommend(**loaded_processor(**asked(method)), k=12, num_beams=12)
    assert type(loaded) is type(model)
    assert torch.equal(found.items, other.items)
    assert torch.equal(found.scores, other.scores)


def test_recommend_is_called_alike(world):
    _, model, _, _ = world
    signature = inspect.signature(type(model).recommend)
    expected = inspect.signature(GenerativeRetriever.recommend)
    for name in ("k", "num_beams", "allowed_items"):
        assert signature.parameters[name].default == expected.parameters[name].default
    assert model.config.num_items == 12


def test_allowed_items_hold_for_every_method(world):
    method, model, _, collator = world
    allowed = torch.zeros(1, 12, dtype=torch.bool)
    allowed[0, [0, 3, 11]] = True
    found = model.recommend(**collator([method.restrict(ASKED)]), k=3, allowed_items=allowed)
    assert sorted(found.items[0].tolist()) == [1, 4, 12]


def test_a_training_batch_has_a_loss_and_a_gradient_for_everything_that_trains(world):
    method, model, _, collator = world
    if not method.is_trained:
        return
    examples = [Example(method.restrict(example.request), example.target) for example in EXAMPLES]
    model.train()
    batch = collator.training_batch([[examples[number] for number in group] for group in collator.group(examples)])
    loss = model(**batch).loss
    assert torch.isfinite(loss)
    loss.backward()
    assert [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None] == []


@pytest.mark.parametrize("name", METHODS)
def test_building_a_method_reads_every_size_that_its_arguments_have(tmp_path, monkeypatch, name):
    """That it reads no other cannot be otherwise: its arguments do not have them."""
    method, read = METHODS[name], set()
    arguments = tiny_arguments(name, tmp_path, text_encoder=str(save_language_model("bert", tmp_path)))

    def note(self, attribute):
        read.add(attribute)
        return object.__getattribute__(self, attribute)

    monkeypatch.setattr(type(arguments), "__getattribute__", note, raising=False)
    texts = [item["text"] for item in ITEMS]
    semantic_ids = catalogue() if method.needs_semantic_ids else None
    method.build(method, arguments, Catalogue(ITEMS, texts, semantic_ids, load_embedder=load_embedder), EXAMPLES)
    built = {*DECODER_SIZES, "num_encoder_layers", "causal_history", "code_embeddings", "use_decoder", "text_encoder"}
    assert built & {one.name for one in dataclasses.fields(arguments)} <= read


def test_every_row_has_arguments_that_fit_it():
    assert list(METHODS) == list(ARGUMENTS)
    for method in METHODS.values():
        assert issubclass(method.arguments, DecoderArguments) == method.needs_semantic_ids
        reads_preferences = method.is_trained and method.preference != "none"
        assert issubclass(method.arguments, PreferenceArguments) == reads_preferences


@pytest.mark.parametrize(
    ("method", "option", "others"),
    [
        ("tiger", {"code_embeddings": True}, "mender_emb"),
        ("sasrec", {"constrained_softmax": True}, "tiger"),
        ("mender_emb", {"causal_history": True}, "tiger, tiger_user_emb, vocabext_rnd"),
        ("mender_tok", {"use_decoder": True}, "mender_steer"),
        ("most_popular", {"learning_rate": 0.1}, "mender_tok"),
        ("tiger", {"preference_dropout": 0.5}, "mender_tok"),
        ("mender_emb", {"item_fields": ["brand"]}, "mender_tok"),
    ],
)
def test_an_option_that_a_method_does_not_read_is_refused_with_those_that_do(method, option, others):
    given = {"benchmark": "b", "domain": "d", "output_dir": "o"}
    make_arguments(**given, method=method)
    with pytest.raises(ValueError, match=f"{method} does not read {next(iter(option))} .*{others}"):
        make_arguments(**given, method=method, **option)
