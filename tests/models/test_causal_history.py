"""All prefixes of a sequence in one pass: the same losses and the same items as one row per prefix."""

import pytest
import torch
from tiny_models import ITEMS, TITLES, build, catalogue

from modeling_mender import TigerConfig
from modeling_mender.data.collators import EmbeddingCollator
from modeling_mender.data.requests import Example, Request
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.table import get_method
from modeling_mender.t5_stacks import last_visible
from modeling_mender.training.arguments import make_arguments
from modeling_mender.training.objectives import Objective

TEXTS = [f"search for {title}" for title in TITLES]
SEQUENCES = [(1, 5, 9, 2), (7, 3), (4, 4, 8)]
EXAMPLES = [
    Example(Request(items[:length], (TEXTS[items[length] - 1],)), items[length])
    for items in SEQUENCES
    for length in range(1, len(items))
] + [
    Example(Request((), (TEXTS[5],)), 6),
    Example(Request((), (TEXTS[2],)), 3, is_negative=True),
    Example(Request((2, 6), ()), 4),
    Example(Request((2,), (TEXTS[0], TEXTS[1], TEXTS[2])), 9),
]


@pytest.fixture(params=[False, True], ids=["text", "text+codes"])
def world(tmp_path, request):
    model, processor = build("emb", "bert", tmp_path, num_encoder_layers=2, code_embeddings=request.param)
    return model, processor, EmbeddingCollator(processor, model, TEXTS)


def test_grouped_rows_have_the_losses_of_single_rows(world):
    model, _, collator = world
    groups = collator.group(EXAMPLES)
    assert len(groups) < len(EXAMPLES)
    objective = Objective(negative_weight=0.5)

    def loss(batch):
        negatives = batch.pop("negatives", None)
        return objective(model(**batch), batch["labels"], negatives).item()

    together = loss(collator.training_batch([[EXAMPLES[number] for number in group] for group in groups]))
    alone = [loss(collator.training_batch([[example]])) for example in EXAMPLES]
    assert together == pytest.approx(sum(alone) / len(alone), abs=1e-5)


def test_the_loss_of_a_row_is_that_of_the_request_as_it_is_asked(world):
    model, _, collator = world
    for example in EXAMPLES:
        batch = collator.training_batch([[example]] * 2)
        batch.pop("negatives", None)  # the loop's, for the objective
        grouped = model(**batch).loss
        asked = model(**collator([example.request]), labels=model.item_labels(torch.tensor([example.target]))).loss
        torch.testing.assert_close(grouped, asked, atol=1e-5, rtol=0)


def test_scores_are_those_of_teacher_forcing_and_batches_change_nothing(world):
    model, processor, collator = world
    requests = [example.request for example in EXAMPLES]
    together = model.recommend(**collator(requests), k=12)
    for row, request in enumerate(requests):
        alone = model.recommend(**collator([request]), k=12)
        assert alone.items[0].tolist() == together.items[row].tolist()
        best = alone.items[0, :1]
        loss = model(**collator([request]), labels=model.item_labels(best)).loss
        assert alone.scores[0, 0].item() == pytest.approx(-3 * loss.item(), abs=1e-4)


def test_the_generic_loop_finds_the_same_beams(world):
    model, processor, _ = world
    inputs = processor(history=[[1, 2, 3], [5]], preference=["search for red tea", None])
    own = model.generate(**inputs, num_beams=6, num_return_sequences=6)
    generic = model.generate(
        **inputs, num_beams=6, num_return_sequences=6, logits_processor=[lambda _, scores: scores]
    )
    assert own.tolist() == generic.tolist()


def test_no_state_sees_what_comes_later_nor_another_examples_preference(world):
    model, _, collator = world
    rows = [[EXAMPLES[0], EXAMPLES[1], EXAMPLES[2]]]
    before = model(**collator.training_batch(rows)).logits[:, : 2 * 3]
    later = EXAMPLES[2]._replace(request=Request((1, 5, 12), (TEXTS[11],)))
    after = model(**collator.training_batch([[EXAMPLES[0], EXAMPLES[1], later]])).logits[:, : 2 * 3]
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


def test_history_matters_and_so_does_its_order(world):
    model, _, collator = world
    scores = [model.recommend(**collator([Request(items, ())]), k=12).scores for items in ((1, 2), (2, 1), (2,))]
    assert not torch.allclose(scores[0], scores[1], atol=1e-5)
    assert not torch.allclose(scores[1], scores[2], atol=1e-5)


def test_every_weight_that_trains_gets_a_gradient(world):
    model, _, collator = world
    model.train()
    model(**collator.training_batch([EXAMPLES[:3]])).loss.backward()
    without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []


def test_the_last_visible_state_is_found_from_either_side():
    states = torch.arange(4.0).view(1, 4, 1)
    assert last_visible(states, torch.tensor([[0, 1, 1, 0]])).tolist() == [[2.0]]
    assert last_visible(states, torch.tensor([[[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]])).tolist() == [
        [[0.0], [3.0], [0.0]]
    ]


@pytest.mark.parametrize("name", ["tiger", "tiger_user_emb"])
class TestTiger:
    """The same of a history of codes, which knows no preferences."""

    EXAMPLES = [
        Example(Request(items[:length], (), user), items[length])
        for items, user in zip(SEQUENCES, ("ada", "bob", ""), strict=True)
        for length in range(1, len(items))
    ]

    def build(self, name, folder, **changes):
        method = get_method(name)
        arguments = make_arguments(
            benchmark="b", domain="d", output_dir=str(folder), method=name, causal_history=True, d_model=16, d_ff=32,
            d_kv=8, num_heads=2, num_decoder_layers=2, **changes,
        )  # fmt: skip
        model, processor = method.build(method, arguments, Catalogue(ITEMS, TITLES, catalogue()), self.EXAMPLES)
        examples = [example._replace(request=method.restrict(example.request)) for example in self.EXAMPLES]
        return model.eval(), method.collator_class(processor, model, ()), examples

    def test_grouped_rows_have_the_losses_of_single_rows_and_of_requests(self, name, tmp_path):
        model, collator, examples = self.build(name, tmp_path)
        groups = collator.group(examples)
        assert len(groups) == 3
        together = model(**collator.training_batch([[examples[number] for number in group] for group in groups])).loss
        alone = [
            model(**collator([example.request]), labels=model.item_labels(torch.tensor([example.target]))).loss.item()
            for example in examples
        ]
        assert together.item() == pytest.approx(sum(alone) / len(alone), abs=1e-5)

    def test_the_generic_loop_finds_the_same_beams(self, name, tmp_path):
        model, collator, examples = self.build(name, tmp_path)
        inputs = collator([example.request for example in examples])
        own = model.generate(**inputs, num_beams=6, num_return_sequences=6)
        nothing = [lambda _, scores: scores]
        generic = model.generate(**inputs, num_beams=6, num_return_sequences=6, logits_processor=nothing)
        assert own.tolist() == generic.tolist()

    def test_codes_start_at_the_spread_that_was_asked_for(self, name, tmp_path):
        wide, narrow = (
            self.build(name, tmp_path, **change)[0].decoder.embed_tokens.weight
            for change in ({}, {"code_embedding_std": 0.1})
        )
        torch.testing.assert_close(0.1 * wide, narrow)


def test_words_and_pretrained_encoders_are_never_causal():
    with pytest.raises(ValueError, match="causal_history"):
        TigerConfig(causal_history=True, num_text_tokens=5)
