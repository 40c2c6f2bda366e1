"""What transformers asks of its own models, asked of all of ours: saving, precision, gradients, attention, decoding.

Follows the checks of transformers' ModelTesterMixin, GenerationTesterMixin and ProcessorTesterMixin as far as they go;
what does not apply is in `NOT_APPLICABLE`, each entry with a check that it is so. What a single model promises beyond
that is in that model's own tests.
"""

import copy
import importlib.util
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from tiny_models import ITEMS, SEQUENCES, catalogue
from torch import nn
from transformers import AutoModel, AutoProcessor, LogitsProcessor, PreTrainedModel
from transformers import initialization as init

from modeling_mender import (
    ItemIdProcessor,
    MenderEmb,
    MenderTok,
    MostPopular,
    RQVAEConfig,
    RQVAEModel,
    SASRec,
    SASRecConfig,
    Tiger,
    TigerConfig,
    TransitionGraph,
)

REQUESTS = {"history": [[1, 5, 9], [2]], "preference": ["search for red soap", None], "user": ["ada", None]}


# -- every model, tiny, with its processor and two requests -----------------------------------------------------------


def mender(method, family, **config):
    return lambda folder: tiny_models.build(method, family, folder, **config)


def tiger(name, family):
    return lambda folder: tiny_models.tiny_tiger(name, family, folder)


def causal_tiger(folder):
    _, processor = tiny_models.tiny_tiger("tiger", "bert", folder)
    torch.manual_seed(0)
    config = TigerConfig(num_items=12, num_levels=3, codebook_size=4, causal_history=True, **tiny_models.SIZES)
    model = Tiger(config).eval()
    model.set_item_semantic_ids(catalogue())
    return model, processor


def sasrec(loss):
    def build(folder):
        torch.manual_seed(0)
        config = SASRecConfig(num_items=12, d_model=16, d_ff=32, loss=loss, initializer_range=0.3)
        return SASRec(config).eval(), ItemIdProcessor(items=ITEMS)

    return build


def counted(model_class, **config):
    return lambda folder: (
        model_class.from_sequences(SEQUENCES, 12, **config),
        ItemIdProcessor(answers_empty_requests=True, items=ITEMS),
    )


def rqvae(folder):
    torch.manual_seed(0)
    config = RQVAEConfig(embedding_size=8, hidden_sizes=[16, 4], num_codebooks=2, codebook_size=5, dropout=0.0)
    return RQVAEModel(config).eval(), None


BUILDERS: dict[str, Callable] = {
    "mender_tok_bert": mender("tok", "bert"),
    "mender_tok_t5": mender("tok", "t5"),
    "mender_emb_bert": mender("emb", "bert"),
    "mender_emb_t5": mender("emb", "t5"),
    "mender_emb_causal": mender("emb", "t5", num_encoder_layers=2, code_embeddings=True),
    "mender_steer_bert": mender("steer", "bert"),
    "mender_steer_t5": mender("steer", "t5"),
    "mender_steer_decoder": mender("steer", "bert", use_decoder=True),
    "tiger": tiger("tiger", "bert"),
    "tiger_user_emb": tiger("tiger_user_emb", "bert"),
    "tiger_causal": causal_tiger,
    "vocabext_rnd": tiger("vocabext_rnd", "bert"),
    "lc_rec": tiger("lc_rec", "t5-with-decoder"),
    "vocabext_lm": tiger("vocabext_lm", "t5-with-decoder"),
    "liger_bert": tiger("liger", "bert"),
    "liger_t5": tiger("liger", "t5"),
    "sasrec": sasrec("cross_entropy"),
    "sasrec_bce": sasrec("bce"),
    "most_popular": counted(MostPopular),
    "transition_graph": counted(
        TransitionGraph, text_embeddings=torch.eye(12), num_text_neighbours=2, text_weight=0.1
    ),
    "rqvae": rqvae,
}
COUNTED = ("most_popular", "transition_graph")  # no weight is learned, so there is no forward pass
ITEM_IDS = ("sasrec", "sasrec_bce", *COUNTED)
GENERATIVE = tuple(name for name in BUILDERS if name not in (*ITEM_IDS, "rqvae"))
RECOMMENDERS = (*GENERATIVE, *ITEM_IDS)
TRAINED = tuple(name for name in BUILDERS if name not in COUNTED)
CAUSAL = ("mender_emb_causal", "tiger_causal")
STEERED = tuple(name for name in BUILDERS if name.startswith("mender_steer"))
BERTS = tuple(name for name in BUILDERS if name.endswith("_bert"))


class World(NamedTuple):
    """A model in evaluation mode, its processor, the tensors of two requests, what to learn from them, and a
    checkpoint of both."""

    name: str
    model: PreTrainedModel
    processor: Any
    inputs: dict
    labels: dict
    folder: Any


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    built: dict[str, World] = {}

    def get(name):
        if name not in built:
            folder = tmp_path_factory.mktemp(name)
            model, processor = BUILDERS[name](folder)
            inputs = {"embeddings": torch.randn(6, 8, generator=torch.Generator().manual_seed(0))}
            labels = {}
            if processor is not None:
                inputs = dict(processor(**readable(name, processor)))
                processor.save_pretrained(folder / "saved")
            if name in STEERED:
                labels = {"labels": torch.tensor([3, 4])}  # items: their scores come first, the codes from them
            elif name in GENERATIVE:
                labels = {"labels": model.item_labels(torch.tensor([3, 4]))}
            elif name not in (*COUNTED, "rqvae"):
                labels = {"labels": torch.tensor([[5, 9, 3], [0, 0, 4]])}
            model.save_pretrained(folder / "saved")
            built[name] = World(name, model, processor, inputs, labels, folder / "saved")
        return built[name]._replace(model=copy.deepcopy(built[name].model))

    return get


@pytest.fixture
def world(request, worlds):
    return worlds(request.param)


def every(names):
    """One test per model."""
    return pytest.mark.parametrize("world", list(names), indirect=True)


def readable(name, processor):
    """What the model's processor reads of the two requests."""
    requests = {"history": REQUESTS["history"]}
    if name.startswith("mender") or getattr(processor, "reads_preferences", False):
        requests["preference"] = REQUESTS["preference"]
    if getattr(processor, "num_user_tokens", 0):
        requests["user"] = REQUESTS["user"]
    return requests


def load(folder, **settings):
    """A saved model, its weights copied: mapped from a file they lie unaligned, which changes the last bit."""
    model = AutoModel.from_pretrained(folder, **settings)
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = weight.data.clone()
    return model


@torch.no_grad()
def answers(model, world):
    """Everything that the model says of the two requests, by name."""
    found = {}
    if world.name in RECOMMENDERS:
        ranked = model.recommend(**world.inputs, k=5)
        found |= {"items": ranked.items, "scores": ranked.scores}
    if world.name in TRAINED:
        torch.manual_seed(0)  # of the negatives that SASRec's binary loss draws
        found |= dict(model(**world.inputs, **world.labels))
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def assert_same_answers(found, expected, tolerance=0.0):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=0, msg=lambda text, name=name: name + text)


def gradients(model, world):
    """The loss of the two requests, and the gradient of every weight that got one."""
    model.train()
    model.zero_grad()
    torch.manual_seed(0)  # of dropout
    loss = model(**world.inputs, **world.labels).loss
    loss.backward()
    return loss.detach(), {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


# -- saving and loading -----------------------------------------------------------------------------------------------


@every(BUILDERS)
def test_saving_and_loading_changes_no_bit_of_the_answers(world):
    assert_same_answers(answers(load(world.folder), world), answers(world.model, world))


@every(BUILDERS)
def test_shards_hold_what_one_file_holds(world, tmp_path):
    world.model.save_pretrained(tmp_path, max_shard_size="1KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or world.name in COUNTED
    assert_same_answers(answers(load(tmp_path), world), answers(world.model, world))


@every(BUILDERS)
def test_a_checkpoint_is_safetensors_with_every_weight_once(world):
    weights = load_file(world.folder / "model.safetensors")
    model = world.model
    assert weights.keys() == model.state_dict().keys() - model.all_tied_weights_keys.keys()
    assert not [path for path in world.folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


@every(BUILDERS)
def test_loading_leaves_nothing_missing_unexpected_or_mismatched(world):
    _, report = AutoModel.from_pretrained(world.folder, output_loading_info=True)
    assert not any(report.values()), report


@every(BUILDERS)
def test_a_missing_and_an_unknown_weight_are_refused_by_name(world, tmp_path):
    weights = load_file(world.folder / "model.safetensors")
    missing = sorted(weights)[0]
    lost = {name: value for name, value in weights.items() if name != missing}
    world.model.config.save_pretrained(tmp_path)
    for wrong, match in (
        (lost, f"{missing} are missing"),
        (weights | {"nobody.weight": weights[missing].clone()}, "nobody.weight are unexpected"),
    ):
        save_file(wrong, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=match):
            AutoModel.from_pretrained(tmp_path)


@every(BUILDERS)
def test_tied_weights_are_one_after_loading_copying_and_moving(world):
    loaded = AutoModel.from_pretrained(world.folder)
    for model in (loaded, copy.deepcopy(loaded), AutoModel.from_pretrained(world.folder).to(torch.float64)):
        assert model.all_tied_weights_keys == world.model.all_tied_weights_keys
        for name, source in model.all_tied_weights_keys.items():  # T5's two names of its word embeddings
            assert name.startswith("text_encoder")
            assert model.get_parameter(name) is model.get_parameter(source)


@every(GENERATIVE)
def test_a_text_encoder_that_ties_nothing_is_saved_whole(world, tmp_path):
    config = copy.deepcopy(world.model.config)
    if config.text_config is not None:
        config.text_config.tie_word_embeddings = False
    type(world.model)(config).save_pretrained(tmp_path)
    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report


@pytest.mark.parametrize("model_class", [MenderEmb, MenderTok, Tiger])
@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_checkpoint_in_half_precision_is_trained_in_single_precision(model_class, family, tmp_path):
    folder = tiny_models.save_language_model(family, tmp_path)
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16"}), encoding="utf-8")
    own = {"pretrained_decoder": family == "t5-with-decoder"} if model_class is Tiger else tiny_models.SIZES
    model = model_class.from_text_encoder(str(folder), catalogue(), **own)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@every(BUILDERS)
def test_a_copy_answers_alike_and_shares_nothing(world):
    twin = copy.deepcopy(world.model)
    assert_same_answers(answers(twin, world), answers(world.model, world))
    own = {value.data_ptr() for value in world.model.state_dict().values() if value.numel()}
    assert not own & {value.data_ptr() for value in twin.state_dict().values() if value.numel()}


def another_size(config):
    """The same configuration with one item, or one code, more."""
    config = copy.deepcopy(config)
    name = "num_items" if hasattr(config, "num_items") else "codebook_size"
    setattr(config, name, getattr(config, name) + 1)
    return config


@every(BUILDERS)
def test_a_checkpoint_of_another_size_is_refused(world):
    with pytest.raises(ValueError, match="are of another shape"):
        type(world.model).from_pretrained(world.folder, config=another_size(world.model.config))


@pytest.fixture
def garbage_shows():
    """Memory that nobody wrote to holds NaN, or the largest integer, and not whatever lay there."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before)


@every(BUILDERS)
def test_what_does_not_fit_starts_afresh_where_that_is_asked_for(world, garbage_shows):
    config = another_size(world.model.config)
    model = type(world.model).from_pretrained(world.folder, config=config, ignore_mismatched_sizes=True)
    old, fresh = world.model.state_dict(), type(world.model)(config).state_dict()
    for name, value in model.state_dict().items():
        if value.shape == old[name].shape:
            assert torch.equal(value, old[name]), name
        elif name in dict(model.named_buffers()):
            assert torch.equal(value, fresh[name]), name
        else:
            assert 0.5 < value.std() / fresh[name].std() < 2, name


# -- initialisation ---------------------------------------------------------------------------------------------------


@pytest.fixture
def weights_show_their_spread(monkeypatch):
    """Every weight that is drawn becomes the standard deviation that it would have been drawn with."""
    monkeypatch.setitem(
        init.TORCH_INIT_FUNCTIONS, "normal_", lambda tensor, mean=0.0, std=1.0, generator=None: tensor.fill_(std)
    )


@every(BUILDERS)
def test_every_weight_is_drawn_at_a_sane_scale(world, weights_show_their_spread):
    model = type(world.model)(copy.deepcopy(world.model.config))
    for name, weight in model.named_parameters():
        values = set(weight.unique().tolist())
        assert len(values - {0.0}) <= 1, f"{name} is not reached by _init_weights"  # 0: rows of padding
        assert max(values) <= 1, name


@every(BUILDERS)
def test_weights_that_no_checkpoint_gives_are_drawn_as_a_new_models_are(
    world, weights_show_their_spread, garbage_shows
):
    config = world.model.config
    expected = type(world.model)(copy.deepcopy(config)).state_dict()
    found = type(world.model).from_pretrained(None, config=copy.deepcopy(config), state_dict={}).state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@every(BUILDERS)
def test_the_seed_decides_the_start(world):
    def start(seed):
        torch.manual_seed(seed)
        return type(world.model)(copy.deepcopy(world.model.config)).state_dict()

    assert all(torch.equal(one, other) for one, other in zip(start(1).values(), start(1).values(), strict=True))
    if world.name in TRAINED:
        assert any(
            not torch.equal(one, other) for one, other in zip(start(1).values(), start(2).values(), strict=True)
        )


# -- devices ----------------------------------------------------------------------------------------------------------


def on_meta(model):
    with torch.device("meta"):
        return type(model)(copy.deepcopy(model.config))


@every(BUILDERS)
def test_a_model_can_be_planned_without_memory(world):
    assert {value.device.type for value in on_meta(world.model).state_dict().values()} == {"meta"}


@every(BUILDERS)
def test_a_planned_model_comes_to_life_without_garbage(world):
    model = on_meta(world.model).to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(float("nan") if value.is_floating_point() else -7)
    model.init_weights()
    fresh = type(world.model)(copy.deepcopy(world.model.config))
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    for name, value in fresh.named_buffers():
        assert torch.equal(model.get_buffer(name), value), name


@every(BUILDERS)
def test_loading_onto_nothing_is_refused(world):
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta device"):
        AutoModel.from_pretrained(world.folder)


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
@every(BUILDERS)
def test_a_device_map_changes_no_answer(world, device_map):
    model = load(world.folder, device_map=device_map)
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    assert_same_answers(answers(model, world), answers(world.model, world))


# -- precision --------------------------------------------------------------------------------------------------------

HALVES = [(name, dtype) for name in BUILDERS for dtype in (torch.bfloat16, torch.float16)]


@pytest.mark.parametrize(("world", "dtype"), HALVES, indirect=["world"])
def test_half_precision_keeps_the_catalogue_whole_and_the_answers_finite(world, dtype, tmp_path):
    model = load(world.folder, dtype=dtype)
    state = world.model.state_dict()
    for name, value in model.state_dict().items():
        if not state[name].is_floating_point():
            assert value.dtype == torch.int64 and torch.equal(value, state[name]), name
        elif world.name not in COUNTED:  # whose tables are exact in every precision
            assert value.dtype == dtype or (dtype == torch.float16 and name.endswith("DenseReluDense.wo.weight")), name
    assert all(torch.isfinite(value).all() for value in answers(model, world).values())
    # the precision is written down, and stands where none is asked for
    model.save_pretrained(tmp_path)
    expected = torch.float32 if world.name in COUNTED else dtype
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(expected).removeprefix("torch.")
    assert AutoModel.from_pretrained(tmp_path).dtype == AutoModel.from_pretrained(tmp_path, dtype="auto").dtype
    assert AutoModel.from_pretrained(tmp_path).dtype == expected


@every(BUILDERS)
def test_double_precision_agrees_with_single(world):
    expected = answers(world.model, world)
    found = answers(load(world.folder, dtype=torch.float64), world)
    assert_same_answers({name: value.to(expected[name].dtype) for name, value in found.items()}, expected, 1e-4)


# -- configuration ----------------------------------------------------------------------------------------------------


@every(BUILDERS)
def test_a_configuration_survives_dict_json_and_the_short_form(world, tmp_path):
    config = world.model.config
    config_class = type(config)
    config.save_pretrained(tmp_path)
    twins = (
        config_class.from_dict(config.to_dict()),
        config_class(**config.to_diff_dict()),
        config_class(**json.loads(config.to_json_string(use_diff=False))),
        config_class.from_pretrained(tmp_path),
        copy.deepcopy(config),
    )
    for twin in twins:
        assert twin.to_dict() == config.to_dict()


@every(GENERATIVE)
def test_the_text_encoder_reads_the_models_own_configuration_of_it(world):
    if world.model.text_encoder is None:
        assert world.model.config.text_config is None
    else:
        assert world.model.text_encoder.config is world.model.config.text_config


@every(BUILDERS)
def test_parameters_are_counted_once(world):
    model = world.model
    weights = {id(weight): weight for weight in model.parameters()}.values()
    assert model.num_parameters() == sum(weight.numel() for weight in weights)
    trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
    assert model.num_parameters(only_trainable=True) == trainable
    assert (trainable == 0) == (world.name in COUNTED)


# -- embeddings -------------------------------------------------------------------------------------------------------

EMBEDDINGS = (*GENERATIVE, "sasrec", "sasrec_bce")


@every(EMBEDDINGS)
def test_the_input_embeddings_can_be_read_and_replaced(world):
    model = world.model
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    config = model.config
    assert len(embeddings.weight) == (config.vocab_size if world.name in GENERATIVE else 1 + config.num_items)
    new = nn.Embedding(*embeddings.weight.shape)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new


@every(EMBEDDINGS)
def test_the_vocabulary_is_the_catalogues_and_cannot_be_resized(world):
    before = answers(world.model, world)
    with pytest.raises(ValueError, match="catalog"):
        world.model.resize_token_embeddings(50)
    assert_same_answers(answers(world.model, world), before)


# -- training ---------------------------------------------------------------------------------------------------------


@every(TRAINED)
def test_a_step_reaches_every_trainable_weight_and_no_frozen_one(world):
    loss, found = gradients(world.model, world)
    assert torch.isfinite(loss) and loss.ndim == 0
    assert found.keys() == {name for name, weight in world.model.named_parameters() if weight.requires_grad}
    assert all(torch.isfinite(gradient).all() and gradient.any() for gradient in found.values())


@pytest.mark.parametrize("use_reentrant", [True, False])
@every(GENERATIVE)
def test_gradient_checkpointing_gives_the_same_loss_and_gradients(world, use_reentrant):
    model = world.model
    loss, expected = gradients(model, world)
    enable_checkpointing(model, {"use_reentrant": use_reentrant})
    assert all(
        module.gradient_checkpointing for module in model.modules() if hasattr(module, "gradient_checkpointing")
    )
    found_loss, found = gradients(model, world)
    torch.testing.assert_close(found_loss, loss)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    disable = getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable
    disable()
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def enable_checkpointing(model, settings=None):
    # the name since transformers 5.20, or the one before
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(settings)


@every([name for name in BUILDERS if name not in GENERATIVE])
def test_a_model_without_gradient_checkpointing_says_so(world):
    with pytest.raises(ValueError, match="does not support"):
        enable_checkpointing(world.model)


@every([name for name in GENERATIVE if name not in STEERED])  # which learns items, not their tokens
def test_labels_are_what_the_logits_beside_them_predict_not_the_next(world):
    output = world.model(**world.inputs, **world.labels)
    labels = world.labels["labels"]
    expected = nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(output.loss, expected)
    shifted = nn.functional.pad(labels[:, :-1], (1, 0))
    again = world.model(**world.inputs, decoder_input_ids=shifted)
    torch.testing.assert_close(again.logits, output.logits)


# -- attention --------------------------------------------------------------------------------------------------------

ATTENTIVE = (*GENERATIVE, "sasrec", "sasrec_bce")


@every(ATTENTIVE)
def test_eager_and_sdpa_attention_give_the_same_answers(world):
    eager, sdpa = (answers(load(world.folder, attn_implementation=name), world) for name in ("eager", "sdpa"))
    assert_same_answers(eager, sdpa, tolerance=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
def test_no_state_of_a_causal_history_sees_a_later_item(worlds, name, attention):
    world = worlds(name)
    model = load(world.folder, attn_implementation=attention)
    with torch.no_grad():
        one, other = (model.encode(**world.processor(history=[[1, 5, last]])).last_hidden_state for last in (9, 8))
    width = model.config.num_levels if name == "tiger_causal" else 1  # states per item
    torch.testing.assert_close(one[:, : 2 * width], other[:, : 2 * width])
    assert not torch.allclose(one[:, -width:], other[:, -width:])


@pytest.mark.parametrize("name", CAUSAL)
def test_all_prefixes_in_one_pass_cost_the_same_under_eager_attention(worlds, name):
    world = worlds(name)
    inputs = dict(world.processor(history=[[1, 5, 9]]))
    length = inputs["attention_mask"].shape[1]
    example_mask = torch.ones(1, 2, length, dtype=torch.bool)
    example_mask[0, 0, length // 3 :] = False  # the first example sees the oldest item, the second all three
    labels = torch.stack([world.model.item_labels(torch.tensor([5, 3]))])
    losses = [
        load(world.folder, attn_implementation=attention)(**inputs, example_mask=example_mask, labels=labels).loss
        for attention in ("eager", "sdpa")
    ]
    torch.testing.assert_close(*losses)


@every(ATTENTIVE)
def test_the_attention_can_be_changed_later_everywhere_at_once(world):
    model = load(world.folder, attn_implementation="eager")
    model.set_attn_implementation("sdpa")
    assert_same_answers(answers(model, world), answers(world.model, world), tolerance=1e-5)
    with pytest.raises(ValueError, match='"foo"` is not supported'):
        model.set_attn_implementation("foo")
    parts = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    assert {part.config._attn_implementation for part in parts} == {"sdpa"}


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention", "foo"])
@every(BUILDERS)
def test_an_attention_that_a_model_does_not_have_is_refused_by_name(world, attention):
    with pytest.raises(ValueError, match=r"Flash Attention 2|flex_attention|\"foo\"` is not supported"):
        AutoModel.from_pretrained(world.folder, attn_implementation=attention)


# -- what may not change an answer ------------------------------------------------------------------------------------


@every(BUILDERS)
def test_in_evaluation_mode_the_same_question_has_the_same_answer(world):
    assert_same_answers(answers(world.model, world), answers(world.model, world))


@every(RECOMMENDERS)
def test_a_request_is_answered_alike_alone_and_in_a_batch(world):
    together = world.model.recommend(**world.inputs, k=5)
    requests = readable(world.name, world.processor)
    for row in range(2):
        alone = world.processor(**{name: values[row : row + 1] for name, values in requests.items()})
        found = world.model.recommend(**alone, k=5)
        assert found.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(found.scores[0], together.scores[row], atol=1e-5, rtol=0)


# on which sides padding is read over: BERT counts positions from the left, Mender_Emb from the right
SIDES = {name: ("right",) for name in BERTS} | {"mender_emb_bert": ("left",), "mender_emb_t5": ("left",)}
PADDED = [(name, side) for name in RECOMMENDERS for side in SIDES.get(name, ("left", "right"))]


@pytest.mark.parametrize(("world", "side"), PADDED, indirect=["world"])
def test_more_padding_changes_nothing(world, side):
    inputs = dict(world.processor(history=REQUESTS["history"]))
    padding = (2, 0) if side == "left" else (0, 2)
    padded = {name: nn.functional.pad(value, padding) for name, value in inputs.items()}
    expected, found = (world.model.recommend(**one, k=5) for one in (inputs, padded))
    assert found.items.tolist() == expected.items.tolist()
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


# -- outputs ----------------------------------------------------------------------------------------------------------


@every(TRAINED)
def test_an_output_of_forward_is_a_tuple_and_a_dictionary_too(world):
    output = world.model(**world.inputs, **world.labels)
    assert output[0] is output["loss"] is output.loss is output.to_tuple()[0]
    assert len(output.to_tuple()) == len(output) == len(list(output.keys()))


@every(RECOMMENDERS)
def test_an_output_of_recommend_is_a_record_that_can_be_copied(world):
    found = world.model.recommend(**world.inputs, k=3)
    assert not isinstance(found, Mapping)  # a dictionary's method `items` would hide the field
    twin = copy.deepcopy(found)
    assert torch.equal(twin.items, found.items)
    assert torch.equal(twin.scores, found.scores)


@pytest.mark.parametrize(
    "asked",
    [{"output_attentions": True}, {"output_hidden_states": True}, {"return_dict": False}, {"lables": None}],
    ids=lambda asked: next(iter(asked)),
)
@every(TRAINED)
def test_what_forward_cannot_give_is_refused_and_not_passed_over(world, asked):
    if asked == {"lables": None}:
        asked = {"lables": world.inputs[world.model.main_input_name]}
    with pytest.raises((TypeError, ValueError), match=next(iter(asked))):
        world.model(**world.inputs, **world.labels, **asked)


@every(GENERATIVE)
def test_forward_tells_the_trainer_that_it_counts_no_items_of_other_batches(world):
    assert world.model.accepts_loss_kwargs is False


@every(BUILDERS)
def test_forward_names_the_main_input_first(world):
    assert next(iter(inspect.signature(world.model.forward).parameters)) == world.model.main_input_name
    assert world.model.main_input_name in world.inputs


@pytest.mark.parametrize("name", COUNTED)
def test_a_counted_model_says_what_to_call_instead_of_forward(worlds, name):
    world = worlds(name)
    with pytest.raises(ValueError, match="recommend"):
        world.model(**world.inputs)


# -- generation -------------------------------------------------------------------------------------------------------


class Unchanged(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores


class Counting:
    """A streamer that counts what it is given."""

    def __init__(self):
        self.num_puts = 0

    def put(self, value):
        self.num_puts += 1

    def end(self):
        pass


def never(input_ids, scores, **kwargs):
    return torch.zeros(len(input_ids), dtype=torch.bool)


WAYS = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4, "num_return_sequences": 4},
    "sampling": {"do_sample": True, "num_beams": 1, "num_return_sequences": 3},
    "top_k": {"do_sample": True, "num_beams": 1, "top_k": 2, "temperature": 0.5},
    "top_p": {"do_sample": True, "num_beams": 1, "top_p": 0.7},
    "sampled_beams": {"do_sample": True, "num_beams": 3, "num_return_sequences": 2},
    "logits_processor": {"num_beams": 3, "logits_processor": [Unchanged()]},
    "stopping_criteria": {"num_beams": 1, "stopping_criteria": [never]},
    "no_cache": {"num_beams": 3, "use_cache": False, "output_scores": True, "return_dict_in_generate": True},
    "shortest_length": {"num_beams": 1, "min_new_tokens": 3},
}


@pytest.mark.parametrize(
    ("way", "dtype"), [*((way, torch.float32) for way in WAYS), ("greedy", torch.bfloat16), ("beams", torch.bfloat16)]
)
@every(GENERATIVE)
def test_every_way_of_decoding_gives_items_and_nothing_else(world, way, dtype):
    model = world.model.to(dtype)
    torch.manual_seed(0)
    found = model.generate(**world.inputs, **WAYS[way])
    sequences = found if isinstance(found, torch.Tensor) else found.sequences
    assert sequences.shape == (2 * WAYS[way].get("num_return_sequences", 1), 4)
    assert (sequences[:, 0] == model.config.decoder_start_token_id).all()
    items = {tuple(row) for row in model.item_labels(torch.arange(1, 13)).tolist()}
    assert {tuple(row) for row in sequences[:, 1:].tolist()} <= items


@every(GENERATIVE)
def test_the_seed_decides_what_is_sampled(world):
    def sample(seed):
        torch.manual_seed(seed)
        return world.model.generate(**world.inputs, do_sample=True, num_beams=1, num_return_sequences=8).tolist()

    assert sample(1) == sample(1)
    assert any(sample(seed) != sample(1) for seed in (2, 3, 4))


@pytest.mark.parametrize(
    "cache",
    [{"use_cache": False}, {"use_cache": True}, {"cache_implementation": "static"}],
    ids=["none", "dynamic", "static"],
)
@every(GENERATIVE)
def test_the_cache_changes_nothing(world, cache):
    settings = {"num_beams": 1, "return_dict_in_generate": True, "output_logits": True}
    expected, found = (world.model.generate(**world.inputs, **settings, **more) for more in ({}, cache))
    assert found.sequences.tolist() == expected.sequences.tolist()
    torch.testing.assert_close(torch.stack(found.logits), torch.stack(expected.logits), atol=1e-5, rtol=0)


@every([name for name in GENERATIVE if name not in STEERED])  # whose forward pass is of training or of one step
def test_the_logits_of_a_generated_item_are_those_of_forward(world):
    found = world.model.generate(**world.inputs, num_beams=1, return_dict_in_generate=True, output_logits=True)
    with torch.no_grad():
        forced = world.model(**world.inputs, labels=found.sequences[:, 1:]).logits
    torch.testing.assert_close(torch.stack(found.logits, dim=1), forced, atol=1e-5, rtol=0)


@every(GENERATIVE)
def test_own_search_is_the_generic_beam_search(world):
    settings = {"num_beams": 6, "num_return_sequences": 4, "return_dict_in_generate": True}
    own = world.model.generate(**world.inputs, **settings)
    generic = world.model.generate(**world.inputs, **settings, output_scores=True)
    assert own.sequences.tolist() == generic.sequences.tolist()
    torch.testing.assert_close(own.sequences_scores, generic.sequences_scores, atol=1e-4, rtol=0)
    assert world.model.generate(**world.inputs, num_beams=6, num_return_sequences=4).equal(own.sequences)
    steps = world.model.compute_transition_scores(generic.sequences, generic.scores, generic.beam_indices)
    torch.testing.assert_close(steps.sum(1), own.sequences_scores, atol=1e-4, rtol=0)


@every(GENERATIVE)
def test_encoder_states_can_be_given_in_place_of_a_request(world):
    with torch.no_grad():
        states = world.model.encode(**world.inputs)
    given = {"encoder_outputs": states, "attention_mask": world.inputs["attention_mask"]}
    for settings in ({"num_beams": 4}, {"num_beams": 1}):
        assert world.model.generate(**given, **settings).equal(world.model.generate(**world.inputs, **settings))


@every(GENERATIVE)
def test_a_streamer_is_given_the_start_and_every_code(world):
    streamer = Counting()
    world.model.generate(**world.inputs, num_beams=1, streamer=streamer)
    assert streamer.num_puts == 1 + world.model.config.num_levels


@every(GENERATIVE)
def test_a_setting_that_nobody_knows_is_refused(world):
    with pytest.raises(ValueError, match="num_beens"):
        world.model.generate(**world.inputs, num_beens=3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"max_length": 2}, "max_length", id="max_length"),
        pytest.param({"num_beams": 1, "assistant_model": True}, "assist", id="assistant"),
        pytest.param(
            {"num_beams": 1, "output_attentions": True, "return_dict_in_generate": True}, "attentions", id="attentions"
        ),
    ],
)
@every(GENERATIVE)
def test_a_setting_that_a_semantic_id_cannot_satisfy_is_refused(world, settings, words):
    if "assistant_model" in settings:
        settings = settings | {"assistant_model": copy.deepcopy(world.model)}
    with pytest.raises(ValueError, match=words):
        world.model.generate(**world.inputs, **settings)


@every(BUILDERS)
def test_only_generative_models_say_that_they_generate(world):
    assert world.model.can_generate() == (world.name in GENERATIVE) == hasattr(world.model, "generate")


# -- processors -------------------------------------------------------------------------------------------------------


@every(RECOMMENDERS)
def test_a_processor_reads_alike_after_saving(world, tmp_path):
    requests = readable(world.name, world.processor)
    loaded = AutoProcessor.from_pretrained(world.folder)
    settings = loaded.to_dict()
    loaded.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    for processor in (loaded, again):
        assert type(processor) is type(world.processor)
        found = processor(**requests)
        assert found.keys() == world.inputs.keys()
        assert all(torch.equal(found[name], value) for name, value in world.inputs.items())
    assert again.to_dict() == settings
    assert json.loads(again.to_json_string()).keys() == settings.keys()
    assert again.items == world.processor.items


@every(RECOMMENDERS)
def test_a_processor_gives_what_its_model_reads_and_nothing_else(world):
    read = inspect.signature(world.model.forward if world.name in TRAINED else world.model.recommend).parameters
    assert world.inputs.keys() <= read.keys()
    floats = {"preference_strengths", "preference_known"} & world.inputs.keys()
    assert {value.dtype for name, value in world.inputs.items() if name not in floats} == {torch.int64}
    again = world.processor(**readable(world.name, world.processor))
    assert all(torch.equal(again[name], value) for name, value in world.inputs.items())


# -- what does not apply ----------------------------------------------------------------------------------------------


def lacks_parameter(*names):
    return lambda world: not set(names) & inspect.signature(world.model.forward).parameters.keys()


def lacks_attribute(*names):
    return lambda world: not any(hasattr(world.model, name) for name in names)


def lacks_field(*names):
    return lambda world: not any(hasattr(world.model.config, name) for name in names)


def is_not_installed(package):
    return lambda world: importlib.util.find_spec(package) is None


def is_refused(**settings):
    def check(world):
        if world.name not in GENERATIVE:
            return True
        with pytest.raises(ValueError, match="trust_remote_code|does not support"):
            world.model.generate(**world.inputs, **({"num_beams": 1} | settings))
        return True

    return check


# What transformers' testers check and we do not: the reason, and what makes it true of a model.
NOT_APPLICABLE: dict[str, tuple[str, Callable[[World], bool]]] = {
    "head pruning": ("transformers has given it up", lacks_attribute("prune_heads")),
    "head_mask": ("transformers has given it up", lacks_parameter("head_mask", "decoder_head_mask")),
    "inputs_embeds": (
        "a request is more than one embedded sequence; text_hidden_states, preference_embeddings and encoder_outputs "
        "are what may be computed before",
        lacks_parameter("inputs_embeds", "decoder_inputs_embeds"),
    ),
    "an output layer to tie or to resize": (
        "the decoder's head is the table of its input embeddings itself, and SASRec's the item embeddings",
        lambda world: world.model.get_output_embeddings() is None and not type(world.model)._tied_weights_keys,
    ),
    "position embeddings to resize": (
        "the length of a history is fixed by max_history_length",
        lambda world: "num_position_embeddings" not in world.model.config.to_dict(),
    ),
    "feed-forward chunking": (
        "no layer here has it",
        lambda world: not getattr(world.model.config, "chunk_size_feed_forward", 0),
    ),
    "base model prefix": (
        "there is no headless base model to load a head onto",
        lambda world: world.model.base_model is world.model,
    ),
    "classification heads and problem types": (
        "items are generated or scored, not classified",
        lacks_attribute("classifier", "score", "qa_outputs"),
    ),
    "images, audio and video": (
        "requests are item ids and text",
        lacks_parameter("pixel_values", "input_features", "pixel_values_videos"),
    ),
    "flash attention": (
        "T5 adds a position bias to its scores, which its kernels do not take; the others never had need",
        lambda world: not world.model._supports_flash_attn,
    ),
    "flex attention": ("not wired", lambda world: not world.model._supports_flex_attn),
    "tensor and expert parallelism": (
        "the models fit one device many times over",
        lambda world: not world.model._tp_plan and not world.model._ep_plan,
    ),
    "quantisation": (
        "needs kernels that are not there, and would save little",
        lambda world: (
            importlib.util.find_spec("bitsandbytes") is None and not getattr(world.model, "is_quantized", False)
        ),
    ),
    "deepspeed": ("not installed", is_not_installed("deepspeed")),
    "kernels from the Hub": ("not installed", is_not_installed("kernels")),
    "offloading to disk or from an accelerator": (
        "this test runs on one device",
        lambda world: not hasattr(world.model, "hf_device_map"),
    ),
    "rotary positions": ("T5 and SASRec have other ones", lacks_field("rope_parameters", "rope_theta")),
    "sliding windows": ("histories are short", lacks_field("sliding_window")),
    "router logits": ("no mixture of experts", lacks_field("output_router_logits", "num_experts")),
    "weights of older names": (
        "no checkpoint has any",
        lambda world: not getattr(world.model, "_checkpoint_conversion_mapping", None),
    ),
    "pickled checkpoints": ("only safetensors are written", lambda world: not list(world.folder.glob("*.bin"))),
    "an end token": (
        "a semantic ID has a fixed length",
        lambda world: world.name not in GENERATIVE or world.model.generation_config.eos_token_id is None,
    ),
    "cached decoding of item-id models": (
        "they score the catalog in one pass",
        lambda world: world.name in GENERATIVE or not world.model.can_generate(),
    ),
    "contrastive search": ("transformers has moved it to the Hub", is_refused(penalty_alpha=0.6, top_k=4)),
    "group beam search": (
        "transformers has moved it to the Hub",
        is_refused(num_beams=4, num_beam_groups=2, diversity_penalty=0.5),
    ),
    "DoLa": ("transformers has moved it to the Hub", is_refused(dola_layers="low")),
    "quantised cache": (
        "a semantic ID is a few tokens; Mender_Steer has no cache at all, and passes over what is said of it",
        lambda world: world.name in STEERED or is_refused(cache_implementation="quantized")(world),
    ),
    "chat templates": (
        "a request is no conversation",
        lambda world: getattr(world.processor, "chat_template", None) is None,
    ),
}


@pytest.mark.parametrize("name", NOT_APPLICABLE)
def test_what_is_said_not_to_apply_does_not(worlds, name):
    reason, holds = NOT_APPLICABLE[name]
    assert reason
    for model_name in BUILDERS:
        assert holds(worlds(model_name)), f"{name} applies to {model_name} after all: {reason}"
